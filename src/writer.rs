//! Leadership by competing to do work: every instance wants the same work done, and whoever succeeds leads.
//!
//! Each instance tries the work that it sees is wanted, as units under keys. A unit of its own that succeeds makes it
//! lead for a term; work of others that it sees, and work of its own that fails, makes it follow: it lets its work
//! wait, and forgets what it sees done. Who has seen no work of others for as long as its back-off says competes again.
//!
//! # What is promised
//!
//! | | [`Arbiter::Work`] | [`Arbiter::Lock`] |
//! |---|---|---|
//! | who may run work | whoever leads, competes, or has seen nothing yet; two may at one moment | the holder of the lock, under its token |
//! | two lead at one moment | possible: two who succeed under different keys both lead, until one fails or its term passes | never, as long as clocks keep their assumed drift; and the token protects what is written whatever happens |
//! | what it costs | no store | one claim for each competition, a renewal now and then |
//! | a write beside another one's | must be refused by what is written to: compare its version | is refused by its lower token |
//! | work is not lost | what was tried runs until it is done, seen done, removed, or out of retries | the same |
//! | who dies | is replaced after the back-off of the others, a term at most | the same, and once its lock has expired |
//!
//! With [`Arbiter::Work`], leadership is a guess that saves conflicts: the work itself is the arbiter. It has to bear
//! being done by two, and say so by its result. Whatever may be done by one only needs [`Arbiter::Lock`].
//!
//! In both, a leader reads the end of its own term; an idle one competes again. Nothing of a follower's wait is
//! anybody else's: timers are kept for each key, so a request is heard at any time. At most one unit runs under a key,
//! and [`WriterConfig::slots`] in all, so a unit that never returns blocks its own key and one of the slots. With a
//! lock, a leader whose unit never returns goes on leading.
//!
//! # Transitions
//!
//! Phases: at rest, started, stopping. States, while started: election, leader until the end of its term, follower until
//! the end of its wait. To follow is to wait for the back-off of a step, to begin with step 0.
//!
//! | | phase or state | input | guard | next | effects |
//! |---|---|---|---|---|---|
//! | S1 | at rest | start | | started, election | |
//! | S2 | started, at rest | stop | | stopping, election | event follows, if it led; drop what waits, each settled (stopped); interrupt what runs; then S3 |
//! | S3 | stopping | any | nothing runs and the lock is free | at rest | event stopped |
//! | S4 | started, stopping | start | | the same | event rejected (started) |
//! | S5 | stopping | stop | | the same | |
//! | T1 | at rest, started | try | | the same | note it, due now, or, if it follows, after a courtesy of two first waits; settled (replaced), if other work waited under the key |
//! | T2 | stopping | try | | the same | event rejected (stopping) |
//! | T3 | any | remove | | the same | drop it; settled (removed), if it waited |
//! | X1 | any | extend | | the same | drop that very work; settled (observed), if it waited |
//! | X2 | election | extend | | follower | |
//! | X3 | follower | extend | the wait is not over | follower | wait anew for the same step, and no shorter |
//! | X4 | follower | extend | the wait is over | follower | wait for the next step |
//! | X5 | leader | extend | | the same | none: it cannot tell its own work from that of others |
//! | L1 | leader | any | the term has passed; with a lock, nothing runs | follower | leave the lock |
//! | L2 | leader | expire | | follower | leave the lock |
//! | L3 | follower | expire | | follower, the wait is over | |
//! | W1 | leader, election, or follower whose wait is over | any | a unit is due, a slot is free; no lock | the same | event work |
//! | W2 | leader with a lock | any | a unit is due, a slot is free | the same | event work, with the token |
//! | W3 | election, or follower whose wait is over, with a lock | any | a unit is due, the lock is free here | the same, asking | claim, once |
//! | D1 | any | done | no such unit runs | the same | event rejected (not running) |
//! | D2 | started | done, extend | no lock | leader, for a term | event leads, unless it did |
//! | D3 | leader with a lock | done, extend | | leader, for a term | |
//! | D4 | started | done, release; panicked | | follower: as X2 to X4; from leader, step 0 | leave the lock |
//! | D5 | any | done, none | | the same | |
//! | D6 | started | done, retry; panicked | it is still wanted, a retry is left | the same | note it, due after the retry interval |
//! | D7 | any | done, or panicked | otherwise | the same | settled |
//! | D8 | any | done, or panicked | other work was tried under the key meanwhile | the same | note that, due now |
//! | K1 | asking | acquired | | leader, for a term | event leads |
//! | K2 | asking | not to be had | | follower: as X2 to X4 | |
//! | K3 | leader with a lock | lost | | follower, step 0 | interrupt what runs |
//! | K4 | leaving the lock | nothing runs, or a term has passed | | the same | unlock |
//! | K5 | leaving the lock | any | something runs | the same | interrupt it, once |
//! | K6 | follower with a lock | a peer has freed it | | follower, the wait is over | |
//! | K7 | asking | stop | | stopping | cancel the claim |
//! | E1 | started | any unit ends, or is settled; it follows | for the first time since the start | the same | event decided |
//!
//! # Example
//!
//! ```
//! use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
//! use fencepost::time::Now;
//! use fencepost::writer::{Event, Request, State, Unit, WorkId, WorkResult, WriterConfig, WriterLease};
//!
//! let terms = WriterConfig::default().terms()?;
//! let mut writer = WriterLease::<&str>::new(&terms, Identity(7));
//! let mut effects = Effects::new();
//! let mut ask = |writer: &mut WriterLease<_>, request| {
//!     writer.step(&terms, Now::default(), Input::Request(request), &mut effects);
//!     effects.drain().collect::<Vec<_>>()
//! };
//! ask(&mut writer, Request::Start);
//! let told = ask(&mut writer, Request::Try("route 5", Unit::new(WorkId(17))));
//! assert_eq!(told, [Effect::Event(Event::Work { key: "route 5", id: WorkId(17), token: None })]);
//! // The caller does it, and it succeeds.
//! let (id, result) = (WorkId(17), WorkResult::Extend);
//! ask(&mut writer, Request::Done { key: "route 5", id, result, retry: false });
//! assert_eq!(writer.state(), State::Leader);
//! # Ok::<(), fencepost::writer::WriterConfigError>(())
//! ```

mod config;
mod desk;
mod words;

pub use config::{
    Arbiter, Backoff, WriterConfig, WriterConfigBuilder, WriterConfigError, WriterProtection, WriterTerms,
};
pub use words::{End, Event, Misuse, Request, State, Unit, WorkId, WorkResult};

use crate::line::{Key, Owner};
use crate::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use crate::mutex::{self, Call, Freed, Mutex, MutexTerms, Patience};
use crate::once::Name;
use crate::store::{Contract, FencingToken};
use crate::time::{Instant, Now};

use desk::{Desk, Ended};

/// A writer of work under keys `K`; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriterLease<K> {
    phase: Phase,
    standing: Standing,
    /// Whether something has come to its end since the start.
    decided: bool,
    desk: Desk<K>,
    /// If the work itself decides, there is none.
    lock: Option<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Started,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Standing {
    Election,
    Leader { until: Instant },
    Follower { step: u32, until: Instant },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lock {
    mutex: Mutex,
    grip: Grip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Grip {
    Free,
    Asking,
    Held,
    /// It is to be unlocked when nothing runs under it any more, and then at the latest.
    Leaving {
        until: Instant,
    },
    Unlocking,
}

type Out<'a, K> = &'a mut Effects<WriterLease<K>>;

impl<K: Name> Machine for WriterLease<K> {
    type Config = WriterTerms;
    type Store = Contract<Key, Owner>;
    type Request = Request<K>;
    type Event = Event<K>;
    type Message = Freed;
    type Call = Call;

    fn new(terms: &WriterTerms, identity: Identity) -> WriterLease<K> {
        let lock =
            terms.mutex.as_ref().map(|mutex| Lock { mutex: Mutex::new(mutex, identity), grip: Grip::Free });
        WriterLease {
            phase: Phase::AtRest,
            standing: Standing::Election,
            decided: false,
            desk: Desk::new(),
            lock,
        }
    }

    fn step(&mut self, terms: &WriterTerms, now: Now, input: Input<WriterLease<K>>, out: Out<'_, K>) {
        // The clock is read before the input: a lease or a term that has ended has ended, whatever comes now.
        self.lapse(terms, now, out);
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call, answer, at } => {
                self.drive(terms, now, Input::Reply { call, answer, at }, out);
            }
            Input::Message(Freed) => self.freed(terms, now, out),
            Input::Wake => self.drive(terms, now, Input::Wake, out),
        }
        self.leave(terms, now, out);
        self.dispatch(terms, now, out);
        self.come_to_rest(terms, out);
    }

    fn deadline(&self, terms: &WriterTerms) -> Option<Instant> {
        let at = self.next_work(terms).min(self.end_of_term()).min(self.lock_deadline(terms));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        match &mut self.standing {
            Standing::Election => {}
            Standing::Leader { until } | Standing::Follower { step: _, until } => map.deadline(until),
        }
        self.desk.relocate(map);
        if let Some(lock) = &mut self.lock {
            lock.mutex.relocate(map);
            match &mut lock.grip {
                Grip::Leaving { until } => map.deadline(until),
                Grip::Free | Grip::Asking | Grip::Held | Grip::Unlocking => {}
            }
        }
    }
}

/// What a handle reads.
impl<K: Name> WriterLease<K> {
    /// How it stands.
    pub fn state(&self) -> State {
        match self.standing {
            Standing::Election => State::Election,
            Standing::Leader { .. } => State::Leader,
            Standing::Follower { .. } => State::Follower,
        }
    }

    /// Until when it may say that it leads, if it does: the end of its term, and of its lock, if it has one.
    pub fn until(&self) -> Option<Instant> {
        match (&self.standing, &self.lock) {
            (Standing::Leader { until }, None) => Some(*until),
            (_, Some(lock)) => lock.until(),
            (Standing::Election | Standing::Follower { .. }, None) => None,
        }
    }

    /// Whether it leads at `now`.
    pub fn leads(&self, now: Instant) -> bool {
        self.state() == State::Leader && self.until().is_some_and(|until| now < until)
    }

    /// Whether a wait has ended since the start: something has come to its end. See [`Event::Decided`].
    pub fn is_decided(&self) -> bool {
        self.decided
    }

    /// How many keys have work, running or waiting.
    pub fn len(&self) -> usize {
        self.desk.len()
    }

    /// Whether there is no work.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many units run.
    pub fn running(&self) -> usize {
        self.desk.running()
    }
}

impl Lock {
    /// Until when it may be believed held.
    fn until(&self) -> Option<Instant> {
        match (self.grip, self.mutex.until()) {
            // Only where work does not need the lock.
            (Grip::Held, None) => Some(Instant::MAX),
            (_, until) => until,
        }
    }

    fn token(&self, now: Instant) -> Option<FencingToken> {
        self.mutex.held(now)
    }
}

/// What callers ask.
impl<K: Name> WriterLease<K> {
    fn request(&mut self, terms: &WriterTerms, now: Now, request: Request<K>, out: Out<'_, K>) {
        match (self.phase, request) {
            // S1
            (Phase::AtRest, Request::Start) => {
                (self.phase, self.standing, self.decided) = (Phase::Started, Standing::Election, false);
            }
            // S4
            (Phase::Started | Phase::Stopping, Request::Start) => out.event(Event::Rejected(Misuse::Started)),
            // S2
            (Phase::AtRest | Phase::Started, Request::Stop) => self.stop(terms, now, out),
            // S5
            (Phase::Stopping, Request::Stop) => {}
            // T1
            (Phase::AtRest | Phase::Started, Request::Try(key, unit)) => {
                self.attempt(terms, now, key, unit, out);
            }
            // T2
            (Phase::Stopping, Request::Try(..)) => out.event(Event::Rejected(Misuse::Stopping)),
            // T3
            (Phase::AtRest | Phase::Started | Phase::Stopping, Request::Remove(key)) => {
                self.forget(terms, key, End::Removed, |_| true, out);
            }
            (Phase::AtRest | Phase::Started | Phase::Stopping, Request::Extend(key, id)) => {
                self.observe(terms, now, key, id, out);
            }
            (Phase::Started, Request::Expire) => self.expire(terms, now, out),
            (Phase::AtRest | Phase::Stopping, Request::Expire) => {}
            (Phase::AtRest | Phase::Started | Phase::Stopping, Request::Done { key, id, result, retry }) => {
                self.end(terms, now, (key, id), (result, retry), out);
            }
            // D4, D6
            (Phase::AtRest | Phase::Started | Phase::Stopping, Request::Panicked { key, id }) => {
                self.end(terms, now, (key, id), (WorkResult::Release, true), out);
            }
        }
    }

    /// T1: whoever follows leaves it to others for a little.
    fn attempt(&mut self, terms: &WriterTerms, now: Now, key: K, unit: Unit, out: Out<'_, K>) {
        let due = match self.standing {
            Standing::Election | Standing::Leader { .. } => now.mono,
            Standing::Follower { .. } => now.mono + terms.courtesy(),
        };
        if let Some(id) = self.desk.put(key.clone(), unit, due) {
            out.event(Event::Settled { key, id, end: End::Replaced });
        }
    }

    /// X1 to X5.
    fn observe(&mut self, terms: &WriterTerms, now: Now, key: K, id: WorkId, out: Out<'_, K>) {
        let names = terms.has(WriterProtection::WorkIdentity);
        match (self.phase, self.standing) {
            (Phase::Started, Standing::Election | Standing::Follower { .. }) => {
                self.follow(terms, now, out);
                self.come_to_end(terms, WorkResult::None, out);
            }
            (Phase::Started, Standing::Leader { .. }) | (Phase::AtRest | Phase::Stopping, _) => {}
        }
        self.forget(terms, key, End::Observed, |other| other == id || !names, out);
    }

    /// L2, L3
    fn expire(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        match &mut self.standing {
            Standing::Election => {}
            Standing::Leader { .. } => self.step_down(terms, now, out),
            Standing::Follower { until, .. } => *until = (*until).min(now.mono),
        }
    }

    fn forget(
        &mut self,
        terms: &WriterTerms,
        key: K,
        end: End,
        is_meant: impl Fn(WorkId) -> bool,
        out: Out<'_, K>,
    ) {
        if let Some(id) = self.desk.drop(&key, end, is_meant) {
            out.event(Event::Settled { key, id, end });
            self.come_to_end(terms, WorkResult::None, out);
        }
    }

    /// A unit has come to its end.
    fn end(
        &mut self,
        terms: &WriterTerms,
        now: Now,
        (key, id): (K, WorkId),
        (result, retry): (WorkResult, bool),
        out: Out<'_, K>,
    ) {
        let again = now.mono + terms.retry;
        match self.desk.end(key.clone(), id, retry, now.mono, again) {
            // D1
            Ended::Unknown => return out.event(Event::Rejected(Misuse::NotRunning)),
            // D6, D8
            Ended::Again => self.apply(terms, now, result, out),
            // D7, D8
            Ended::Settled(end) => {
                self.apply(terms, now, result, out);
                out.event(Event::Settled { key, id, end });
            }
        }
        self.come_to_end(terms, result, out);
    }

    /// E1: something has come to its end, with this result.
    fn come_to_end(&mut self, terms: &WriterTerms, result: WorkResult, out: Out<'_, K>) {
        let counts = result != WorkResult::None || terms.has(WriterProtection::FirstEnd);
        if counts && self.phase == Phase::Started && !self.decided {
            self.decided = true;
            out.event(Event::Decided { leads: self.state() == State::Leader });
        }
    }

    /// What a result says about who leads.
    fn apply(&mut self, terms: &WriterTerms, now: Now, result: WorkResult, out: Out<'_, K>) {
        match (self.phase, result, &self.lock) {
            // D2
            (Phase::Started, WorkResult::Extend, None) => self.lead(terms, now, out),
            // D3: only the lock makes a leader.
            (Phase::Started, WorkResult::Extend, Some(_)) => {
                if let Standing::Leader { until } = &mut self.standing {
                    *until = terms.end_of_term(now.mono);
                }
            }
            // D4
            (Phase::Started, WorkResult::Release, _) => match self.standing {
                Standing::Election | Standing::Follower { .. } => self.follow(terms, now, out),
                Standing::Leader { .. } => self.step_down(terms, now, out),
            },
            // D5
            (Phase::Started, WorkResult::None, _) | (Phase::AtRest | Phase::Stopping, _, _) => {}
        }
    }

    /// S2
    fn stop(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        self.phase = Phase::Stopping;
        if let Standing::Leader { .. } = core::mem::replace(&mut self.standing, Standing::Election) {
            out.event(Event::Follows);
        }
        for (key, id) in self.desk.clear() {
            out.event(Event::Settled { key, id, end: End::Stopped });
        }
        self.interrupt(out);
        let Some(lock) = &mut self.lock else { return };
        match lock.grip {
            // K7
            Grip::Asking => self.drive(terms, now, Input::Request(mutex::Request::Cancel), out),
            Grip::Held => lock.grip = Grip::Leaving { until: Instant::MAX },
            Grip::Free | Grip::Leaving { .. } | Grip::Unlocking => {}
        }
    }
}

/// Who leads.
impl<K: Name> WriterLease<K> {
    /// D2, K1
    fn lead(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        let did = matches!(self.standing, Standing::Leader { .. });
        self.standing = Standing::Leader { until: terms.end_of_term(now.mono) };
        if !did {
            out.event(Event::Leads(self.lock.as_ref().and_then(|lock| lock.token(now.mono))));
        }
    }

    /// X2, X3, X4: work of others was seen, or its own has failed.
    fn follow(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        let counts = !terms.has(WriterProtection::OneStepPerWait);
        let (step, least) = match self.standing {
            Standing::Election | Standing::Leader { .. } => {
                out.event(Event::Follows);
                (0, now.mono)
            }
            Standing::Follower { step, until } if now.mono < until && !counts => (step, until),
            Standing::Follower { step, until } => ((step + 1).min(terms.last_step()), until),
        };
        let until = (now.mono + terms.wait(step, now.draw)).max(least);
        self.standing = Standing::Follower { step, until };
    }

    /// L1, L2, D4: it leads no longer.
    fn step_down(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        self.follow(terms, now, out);
        if let Some(lock) = &mut self.lock
            && lock.grip == Grip::Held
        {
            lock.grip = Grip::Leaving { until: now.mono + terms.term };
            // K5
            self.interrupt(out);
        }
    }

    fn interrupt(&mut self, out: Out<'_, K>) {
        for (key, id) in self.desk.interrupt() {
            out.event(Event::Interrupted { key, id });
        }
    }

    /// L1, and what the lock's own lease has lost.
    fn lapse(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        if self.lock.as_ref().and_then(|lock| lock.mutex.until()).is_some_and(|until| now.mono >= until) {
            self.drive(terms, now, Input::Wake, out);
        }
        if is_past(self.end_of_term(), now) {
            self.step_down(terms, now, out);
        }
    }

    /// When its term ends, if it reads that: with a lock, nobody is idle while something runs.
    fn end_of_term(&self) -> Instant {
        let is_idle = self.lock.is_none() || self.desk.running() == 0;
        match (self.phase, self.standing) {
            (Phase::Started, Standing::Leader { until }) if is_idle => until,
            (Phase::AtRest | Phase::Started | Phase::Stopping, _) => Instant::MAX,
        }
    }
}

/// What runs.
impl<K: Name> WriterLease<K> {
    /// When it may run what waits, or ask for the lock.
    fn next_work(&self, terms: &WriterTerms) -> Instant {
        let is_able = self.phase == Phase::Started && self.desk.running() < terms.slots();
        let is_free = match (&self.lock, self.standing) {
            (None, _) => true,
            (Some(lock), Standing::Leader { .. }) => lock.grip == Grip::Held,
            (Some(lock), Standing::Election | Standing::Follower { .. }) => lock.grip == Grip::Free,
        };
        let due = if is_able && is_free { self.desk.due() } else { Instant::MAX };
        match self.standing {
            Standing::Follower { until, .. } => due.max(until),
            Standing::Election | Standing::Leader { .. } => due,
        }
    }

    /// W1, W2, W3
    fn dispatch(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        if !is_past(self.next_work(terms), now) {
            return;
        }
        if self.lock.as_ref().is_some_and(|lock| lock.grip == Grip::Free) {
            self.grasp(Grip::Asking);
            return self.drive(terms, now, Input::Request(mutex::Request::Lock(Patience::Once)), out);
        }
        let token = self.lock.as_ref().and_then(|lock| lock.token(now.mono));
        while self.desk.running() < terms.slots()
            && let Some((key, id)) = self.desk.take(now.mono)
        {
            out.event(Event::Work { key, id, token });
        }
    }

    /// S3
    fn come_to_rest(&mut self, terms: &WriterTerms, out: Out<'_, K>) {
        let is_idle = self.desk.running() == 0 || !terms.has(WriterProtection::Join);
        let is_free = self.lock.as_ref().is_none_or(|lock| lock.grip == Grip::Free);
        if self.phase == Phase::Stopping && is_idle && is_free {
            self.phase = Phase::AtRest;
            out.event(Event::Stopped);
        }
    }
}

/// The lock, where there is one.
impl<K: Name> WriterLease<K> {
    fn grasp(&mut self, grip: Grip) {
        if let Some(lock) = &mut self.lock {
            lock.grip = grip;
        }
    }

    fn grip(&self) -> Grip {
        self.lock.as_ref().map_or(Grip::Free, |lock| lock.grip)
    }

    fn lock_deadline(&self, terms: &WriterTerms) -> Instant {
        let (Some(lock), Some(mutex)) = (&self.lock, &terms.mutex) else { return Instant::MAX };
        let own = match lock.grip {
            Grip::Leaving { until } => until,
            Grip::Free | Grip::Asking | Grip::Held | Grip::Unlocking => Instant::MAX,
        };
        own.min(lock.mutex.deadline(mutex).unwrap_or(Instant::MAX))
    }

    /// K4
    fn leave(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        if let Grip::Leaving { until } = self.grip()
            && (self.desk.running() == 0 || now.mono >= until)
        {
            self.grasp(Grip::Unlocking);
            self.drive(terms, now, Input::Request(mutex::Request::Unlock), out);
        }
    }

    /// K6: a hint that costs an attempt at worst.
    fn freed(&mut self, terms: &WriterTerms, now: Now, out: Out<'_, K>) {
        self.drive(terms, now, Input::Message(Freed), out);
        if self.lock.is_some()
            && let Standing::Follower { until, .. } = &mut self.standing
        {
            *until = (*until).min(now.mono);
        }
    }

    /// Hands the lock an input, and does what it says.
    fn drive(&mut self, terms: &WriterTerms, now: Now, input: Input<Mutex>, out: Out<'_, K>) {
        let Some(config) = &terms.mutex else { return };
        let mut effects = Effects::new();
        self.feed(config, now, input, &mut effects);
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Store { store, call, op } => out.store_at(store, call, op),
                Effect::Forget(call) => out.forget(call),
                Effect::Publish(Freed) => out.publish(Freed),
                Effect::Event(event) => self.told(terms, now, event, out),
            }
        }
        // One attempt is one attempt, whatever has come of it.
        if self.grip() == Grip::Asking && self.lock.as_ref().is_some_and(|lock| lock.mutex.is_pausing()) {
            self.drive(terms, now, Input::Request(mutex::Request::Cancel), out);
        }
    }

    fn feed(&mut self, terms: &MutexTerms, now: Now, input: Input<Mutex>, effects: &mut Effects<Mutex>) {
        if let Some(lock) = &mut self.lock {
            lock.mutex.step(terms, now, input, effects);
        }
    }

    /// What the lock tells.
    fn told(&mut self, terms: &WriterTerms, now: Now, event: mutex::Event, out: Out<'_, K>) {
        use mutex::Event as E;
        match (self.grip(), event) {
            // K1
            (Grip::Asking, E::Acquired(_)) => {
                self.grasp(Grip::Held);
                self.lead(terms, now, out);
            }
            // K2, K7
            (
                Grip::Asking,
                E::Contended | E::TimedOut | E::Cancelled | E::Released(_) | E::Lost(_) | E::Rejected(_),
            ) => {
                self.grasp(Grip::Free);
                if self.phase == Phase::Started {
                    self.follow(terms, now, out);
                    self.come_to_end(terms, WorkResult::Release, out);
                }
            }
            // K3
            (Grip::Held | Grip::Leaving { .. }, E::Lost(_)) if terms.has(WriterProtection::UnderLock) => {
                self.grasp(Grip::Free);
                if let Standing::Leader { .. } = self.standing {
                    self.follow(terms, now, out);
                }
                self.interrupt(out);
            }
            (Grip::Unlocking, E::Released(_) | E::Lost(_) | E::Rejected(_)) => self.grasp(Grip::Free),
            (Grip::Asking, E::Extended(_))
            | (
                Grip::Free | Grip::Held | Grip::Leaving { .. },
                E::Acquired(_)
                | E::Contended
                | E::TimedOut
                | E::Cancelled
                | E::Extended(_)
                | E::Released(_)
                | E::Lost(_)
                | E::Rejected(_),
            )
            | (
                Grip::Unlocking,
                E::Acquired(_) | E::Contended | E::TimedOut | E::Cancelled | E::Extended(_),
            ) => {}
        }
    }
}

/// Whether a moment has come that may be never.
fn is_past(moment: Instant, now: Now) -> bool {
    moment <= now.mono && moment != Instant::MAX
}
