//! The writer lease of OpenShift's router: who succeeds in writing leads, and nobody asks a store.
//!
//! There is one worker, which takes keys from a queue. Work of a follower waits in the worker itself: it sleeps until
//! its back-off is over, over one key, and nothing wakes it (W5). What was seen done erases whatever is wanted under
//! its key (W3), and counts once for each key (W8). Nobody ever looks at the end of a leader's term (W2).
//!
//! # Transitions
//!
//! The worker, whenever it is idle and the queue has a key:
//!
//! | | the key's work | state | next | effects |
//! |---|---|---|---|---|
//! | G1 | was dropped meanwhile | any | idle | none: the key is done |
//! | G2 | there | follower, its wait is not over | asleep until it is | |
//! | G3 | there | any other | busy | event work |
//! | G4 | none, the queue is shut and empty | any | gone | |
//!
//! | | worker | input | next | effects |
//! |---|---|---|---|---|
//! | A1 | asleep | wake, its sleep is over | idle | the key goes to the end of the queue |
//! | A2 | busy | done, retry | idle | apply the result; the key is queued after the retry interval |
//! | A3 | busy | done, no retry | idle | apply the result; drop the work, unless it was tried anew meanwhile |
//! | A4 | busy | panicked | gone | none: nobody takes a key any more (W7) |
//!
//! | | input | state | next | effects |
//! |---|---|---|---|---|
//! | T1 | try | follower | the same | note it in place of what was there; queued when the wait is over, 2 first waits from now at the least |
//! | T2 | try | any other | the same | the same; queued now |
//! | E1 | extend, work is pending under the key | follower | follower, one step further | drop it, whichever it is (W3, W8) |
//! | E2 | extend, work is pending under the key | any other | the same | drop it (W4) |
//! | E3 | extend, nothing is pending under the key | any | the same | |
//! | R1 | remove | any | the same | drop it |
//! | X1 | expire | any | the same, its end is long ago | none: a sleeper sleeps on |
//! | S1 | start | at rest | election | the worker is idle |
//! | S2 | stop | any | at rest | the queue is shut; event closed; whoever runs or sleeps goes on (W6) |
//!
//! | result | election | leader | follower |
//! |---|---|---|---|
//! | extend | leader; waits end | leader | leader |
//! | release | follower, step 0; waits end | follower, step 0 | follower, one step further |
//! | none | the same, and no wait ends (W4) | the same | the same |
//!
//! A key is queued once; one that is queued while the worker is at it is taken again afterwards; one that is queued for
//! later only ever moves earlier. After the queue was shut nothing is added, and what is in it is still taken.
//!
//! # What is left out
//!
//! A lease of zero and waits that make no sense (W10) are no lengths here; a lease that is run twice at a time (W10) is
//! rejected. Its clock is monotonic here, as it is where it runs: what a wall clock would do (W9) is not shown. Started
//! again, it is another lease: what the worker of the last one sleeps over is forgotten then. Counts of steps stop
//! where the wait is longest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

use fencepost::line::{Key, Owner};
use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::store::Contract;
use fencepost::time::{Draw, Instant, Now, Span};
use fencepost::writer::{Backoff, WorkResult};
use serde::{Deserialize, Serialize};

use crate::subject::{Ask, JobId, Play, Subject, Tidings, Told, Word};
use crate::writers::patience;

/// How long it leads, and waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriterleaseConfig {
    /// For how long a success should make it lead.
    pub lease: Span,
    /// How long after its end a unit is run again.
    pub retry_interval: Span,
    /// How long a follower waits. No wait but the first is longer than the lease.
    pub backoff: Backoff,
}

impl Default for WriterleaseConfig {
    /// What the router uses.
    fn default() -> WriterleaseConfig {
        let (lease, retry_interval) = (Span::from_secs(60), Span::from_secs(3));
        WriterleaseConfig { lease, retry_interval, backoff: Backoff::default() }
    }
}

impl WriterleaseConfig {
    fn wait(&self, step: u32, draw: Draw) -> Span {
        let most = if step == 0 { Span::MAX } else { self.lease };
        self.backoff.wait(step, most, draw)
    }

    fn courtesy(&self) -> Span {
        Span::from(self.backoff.first) * 2
    }
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// `Run`.
    Start,
    /// To close the channel on which `Run` waits.
    Stop,
    /// `Try`, with a function that brings the object to this value.
    Try(JobId, u32),
    /// `Extend`.
    Extend(JobId),
    /// `Remove`.
    Remove(JobId),
    /// `Expire`.
    Expire,
    /// The function returns.
    Done(JobId, WorkResult, bool),
    /// The function panics.
    Panicked(JobId),
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The function is called.
    Work(JobId, u32),
    /// The function is dropped.
    Dropped(JobId, u32),
    /// It takes itself for the leader.
    Leads,
    /// It does not.
    Follows,
    /// `Wait` returns.
    Decided,
    /// `Run` returns.
    Stopped,
    /// The request is one that the model does not cover.
    Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Election,
    Leader,
    Follower,
}

/// Work under a key: the value, and the name of the attempt.
type Work = (u32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    Asleep { key: JobId, until: Instant },
    Busy { key: JobId, work: Work },
    Gone,
}

/// The keys to take, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Queue {
    ready: VecDeque<JobId>,
    /// Those that are to be taken again when the worker is through with them.
    again: BTreeSet<JobId>,
    later: BTreeMap<JobId, Instant>,
    shut: bool,
}

/// The lease. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writerlease {
    identity: Identity,
    started: bool,
    state: State,
    step: u32,
    /// The end of its wait. That of its term, nobody reads.
    expires: Instant,
    decided: bool,
    works: BTreeMap<JobId, Work>,
    serial: u32,
    queue: Queue,
    worker: Worker,
}

type Out<'a> = &'a mut Effects<Writerlease>;

impl Machine for Writerlease {
    type Config = WriterleaseConfig;
    type Store = Contract<Key, Owner>;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Infallible;

    fn new(_: &WriterleaseConfig, identity: Identity) -> Writerlease {
        Writerlease {
            identity,
            started: false,
            state: State::Election,
            step: 0,
            expires: Instant::ZERO,
            decided: false,
            works: BTreeMap::new(),
            serial: 0,
            queue: Queue::default(),
            worker: Worker::Gone,
        }
    }

    fn step(&mut self, config: &WriterleaseConfig, now: Now, input: Input<Writerlease>, out: Out<'_>) {
        self.pass(now);
        match input {
            Input::Request(request) => self.request(config, now, request, out),
            Input::Reply { call, .. } => match call {},
            Input::Message(never) => match never {},
            Input::Wake => {}
        }
        self.work(now, out);
    }

    fn deadline(&self, _: &WriterleaseConfig) -> Option<Instant> {
        let sleep = match self.worker {
            Worker::Asleep { until, .. } => Some(until),
            Worker::Idle | Worker::Busy { .. } | Worker::Gone => None,
        };
        self.queue.later.values().copied().chain(sleep).min()
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.deadline(&mut self.expires);
        map.serial(self.identity, &mut self.serial);
        self.works.values_mut().for_each(|(_, serial)| map.serial(self.identity, serial));
        self.queue.later.values_mut().for_each(|at| map.deadline(at));
        match &mut self.worker {
            Worker::Asleep { key: _, until } => map.deadline(until),
            Worker::Busy { key: _, work: (_, serial) } => map.serial(self.identity, serial),
            Worker::Idle | Worker::Gone => {}
        }
        map.identity(&mut self.identity);
    }
}

impl Queue {
    fn add(&mut self, key: JobId, worker: &Worker) {
        let is_taken = match worker {
            Worker::Asleep { key: taken, .. } | Worker::Busy { key: taken, .. } => *taken == key,
            Worker::Idle | Worker::Gone => false,
        };
        if self.shut {
        } else if is_taken {
            self.again.insert(key);
        } else if !self.ready.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_later(&mut self, key: JobId, at: Instant, now: Instant, worker: &Worker) {
        if at <= now {
            self.add(key, worker);
        } else if !self.shut {
            let due = self.later.entry(key).or_insert(at);
            *due = (*due).min(at);
        }
    }

    /// The worker is through with a key.
    fn done(&mut self, key: JobId) {
        if self.again.remove(&key) {
            self.ready.push_back(key);
        }
    }
}

impl Writerlease {
    fn request(&mut self, config: &WriterleaseConfig, now: Now, request: Request, out: Out<'_>) {
        match request {
            // S1
            Request::Start if !self.started => {
                let fresh = Writerlease::new(config, self.identity);
                *self = Writerlease { started: true, worker: Worker::Idle, serial: self.serial, ..fresh };
            }
            Request::Start => out.event(Event::Rejected),
            // S2
            Request::Stop => {
                self.started = false;
                self.queue.shut = true;
                self.queue.later.clear();
                out.event(Event::Stopped);
            }
            Request::Try(key, value) => self.attempt(config, now, key, value),
            Request::Extend(key) => self.extend(config, now, key, out),
            // R1
            Request::Remove(key) => self.drop(key, out),
            // X1
            Request::Expire => self.expires = Instant::ZERO,
            Request::Done(key, result, retry) => self.end(config, now, key, (result, retry), out),
            // A4
            Request::Panicked(_) => self.worker = Worker::Gone,
        }
    }

    /// T1, T2
    fn attempt(&mut self, config: &WriterleaseConfig, now: Now, key: JobId, value: u32) {
        self.serial = self.serial.wrapping_add(1);
        self.works.insert(key, (value, self.serial));
        let due = match self.state {
            State::Follower => self.expires.max(now.mono + config.courtesy()),
            State::Election | State::Leader => now.mono,
        };
        self.queue.add_later(key, due, now.mono, &self.worker);
    }

    /// E1, E2, E3
    fn extend(&mut self, config: &WriterleaseConfig, now: Now, key: JobId, out: Out<'_>) {
        if !self.works.contains_key(&key) {
            return;
        }
        self.drop(key, out);
        if self.state == State::Follower {
            self.wait_longer(config, now);
        }
    }

    fn drop(&mut self, key: JobId, out: Out<'_>) {
        if let Some((value, _)) = self.works.remove(&key) {
            out.event(Event::Dropped(key, value));
        }
    }

    fn wait_longer(&mut self, config: &WriterleaseConfig, now: Now) {
        self.step = (self.step + 1).min(config.backoff.steps + 1);
        self.expires = now.mono + config.wait(self.step, now.draw);
    }

    fn end(
        &mut self,
        config: &WriterleaseConfig,
        now: Now,
        key: JobId,
        (result, retry): (WorkResult, bool),
        out: Out<'_>,
    ) {
        let Worker::Busy { key: taken, work } = self.worker else { return };
        if taken != key {
            return;
        }
        self.apply(config, now, result, out);
        if retry {
            // A2
            let at = now.mono + config.retry_interval;
            self.queue.add_later(key, at, now.mono, &self.worker);
        } else if self.works.get(&key) == Some(&work) {
            // A3
            self.drop(key, out);
        }
        self.worker = Worker::Idle;
        self.queue.done(key);
    }

    fn apply(&mut self, config: &WriterleaseConfig, now: Now, result: WorkResult, out: Out<'_>) {
        match (result, self.state) {
            (WorkResult::Extend, before) => {
                (self.state, self.step, self.expires) = (State::Leader, 0, now.mono + config.lease);
                if before != State::Leader {
                    out.event(Event::Leads);
                }
            }
            (WorkResult::Release, State::Election | State::Leader) => {
                (self.state, self.step) = (State::Follower, 0);
                self.expires = now.mono + config.wait(0, now.draw);
                out.event(Event::Follows);
            }
            (WorkResult::Release, State::Follower) => self.wait_longer(config, now),
            (WorkResult::None, _) => return,
        }
        if !self.decided {
            self.decided = true;
            out.event(Event::Decided);
        }
    }

    /// What time alone brings about: keys that are due are queued, and a sleep ends.
    fn pass(&mut self, now: Now) {
        let due: Vec<JobId> =
            self.queue.later.iter().filter(|(_, at)| **at <= now.mono).map(|(key, _)| *key).collect();
        for key in due {
            self.queue.later.remove(&key);
            self.queue.add(key, &self.worker);
        }
        // A1
        if let Worker::Asleep { key, until } = self.worker
            && until <= now.mono
        {
            self.queue.add(key, &self.worker);
            self.worker = Worker::Idle;
            self.queue.done(key);
        }
    }

    /// The worker takes keys for as long as it is idle.
    fn work(&mut self, now: Now, out: Out<'_>) {
        while self.worker == Worker::Idle {
            let Some(key) = self.queue.ready.pop_front() else {
                // G4
                if self.queue.shut {
                    self.worker = Worker::Gone;
                }
                return;
            };
            // G1
            let Some(&work) = self.works.get(&key) else { continue };
            if self.state == State::Follower && now.mono < self.expires {
                // G2
                self.worker = Worker::Asleep { key, until: self.expires };
            } else {
                // G3
                self.worker = Worker::Busy { key, work };
                out.event(Event::Work(key, work.0));
            }
        }
    }
}

impl Subject for Writerlease {
    const PLAY: Play = Play::Write;
    const READS_WALL: bool = false;

    fn request(ask: Ask) -> Option<Request> {
        match ask {
            Ask::Start => Some(Request::Start),
            Ask::Close => Some(Request::Stop),
            Ask::Expire => Some(Request::Expire),
            _ => None,
        }
    }

    fn work(job: JobId, word: Word) -> Option<Request> {
        Some(match word {
            Word::Try(value) => Request::Try(job, value),
            Word::Extend(_) => Request::Extend(job),
            Word::Remove => Request::Remove(job),
            Word::Done { id: _, result, retry } => Request::Done(job, result, retry),
            Word::Panicked(_) => Request::Panicked(job),
        })
    }

    fn told(event: &Event) -> Told {
        Told::Writer(match event {
            Event::Work(job, value) => Tidings::Work(*job, *value, None),
            Event::Dropped(job, value) => Tidings::Settled(*job, *value),
            Event::Leads => Tidings::Leads(None),
            Event::Follows => Tidings::Follows,
            Event::Decided => Tidings::Decided,
            Event::Stopped => return Told::Closed,
            Event::Rejected => return Told::Rejected,
        })
    }

    /// It believes until it fails, or is stopped.
    fn belief(&self) -> Option<Instant> {
        (self.started && self.state == State::Leader).then_some(Instant::MAX)
    }

    fn ttl(config: &WriterleaseConfig) -> Span {
        config.lease
    }

    fn lateness(config: &WriterleaseConfig) -> Span {
        (config.lease + config.retry_interval) * 4
    }

    fn patience(config: &WriterleaseConfig, followed: Span, cuts: [u32; 2]) -> Span {
        let shortest = |step| config.wait(step, Draw(0));
        let longest = |step| config.wait(step, Draw(u32::MAX));
        patience(shortest, longest, config.courtesy(), followed, cuts)
    }

    fn reads_store_time(_: &WriterleaseConfig) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
