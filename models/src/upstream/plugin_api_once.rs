//! The scheduler of Mattermost's plugin API for jobs that are to run once: a record per job, and on every server that
//! knows of it a goroutine that sleeps until its time and then looks whether the record is still there.
//!
//! Whoever finds the record under the job's mutex runs the callback and deletes the record afterwards. A record that
//! is there still, or again, is therefore run again (O1, O2), and one that is gone, for whatever reason, is not (O3,
//! O5). The time is what the wall clock of any server says (O11).
//!
//! # Transitions
//!
//! Of the scheduler of a process, which lists the records when it is started and every five minutes from then on:
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | S1 | unstarted | start | | loading | list the first page |
//! | S2 | loading, or started | start | | the same | event rejected |
//! | L1 | listing | a page | | reading, or as L4 | get, for each key of a job in turn |
//! | L2 | reading | found | | reading, or as L4 | it is remembered |
//! | L3 | reading | nothing, or any error | | reading, or as L4 | it is skipped |
//! | L4 | end of a page | | it was full | listing | list the next page, by offset (O10) |
//! | L5 | end of a page | | it was not | tracking | |
//! | L6 | tracking | the map is free | | sleeping; the scheduler has started | a goroutine for each job that has none here |
//! | L7 | listing | any error | loading | unstarted | event not-started |
//! | L8 | listing | any error | started | sleeping | |
//! | L9 | sleeping | wake | its time has come | listing | list the first page |
//!
//! Of the goroutine of a job:
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | G1 | sleeping | wake | its time has come | locking | the mutex is locked, however long it takes |
//! | G2 | sleeping | signal | | gone | |
//! | G3 | locking | locked | | reading | get, from a replica (O2) |
//! | G4 | reading | any error | no more than three | unlocking | unlock |
//! | G5 | reading | any error | the fourth | deleting | delete, unrun (O5) |
//! | G6 | reading | nothing, or another time | | deleting | delete, whatever is there (O3) |
//! | G7 | reading | its time | | queueing | |
//! | G8 | queueing | no callback runs in this process | | running | event began |
//! | G9 | running | finish | nothing that the callback asked for is open | deleting | event ended; delete |
//! | G10 | running | finish | something is | running, to return | none: G9 follows when it is not, if ever (O7) |
//! | G11 | deleting | any answer | | dropping | none: it may still be there (O1) |
//! | G12 | dropping | the map is free | | unlocking | the map forgets the job; it signals itself; unlock |
//! | G13 | unlocking | unlocked | signalled | gone | |
//! | G14 | unlocking | unlocked | not signalled | sleeping, a second | |
//!
//! Of what a caller asks for. `Cancel` of a handle is C1 to C6, that of a key begins with K1, and to reschedule is to
//! cancel and then to schedule.
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | A1 | asked to schedule | | unstarted, or no key | | event declined |
//! | A2 | asked to schedule | | loading | awaiting the start | none: A1 or A3 follows |
//! | A3 | asked to schedule | | started | locking | the mutex is locked |
//! | A4 | locking | locked | | saving | insert |
//! | A5 | saving | any answer | | unlocking | unlock |
//! | A6 | unlocking | unlocked | it was not inserted, or nobody knows | | event declined |
//! | A7 | unlocking | unlocked | it was | tracking | |
//! | A8 | tracking | the map is free | | | event accepted; a goroutine, if the job has none here (O4) |
//! | C1 | asked to cancel | | | locking | the mutex is locked |
//! | C2 | locking | locked | | deleting | delete |
//! | C3 | deleting | any answer | | dropping | |
//! | C4 | dropping | the map is free | | joining | the map forgets the job; its goroutine is signalled |
//! | C5 | joining | the goroutine is gone | | unlocking | unlock: until then the mutex stays locked (O6), for ever if there is none (O4) |
//! | C6 | unlocking | unlocked | | | event accepted, or as A1 to A3 |
//! | K1 | asked to cancel by key | nobody waits to change the map | the job has a goroutine here | as C1 | |
//! | K2 | asked to cancel by key | nobody waits to change the map | it has none | locking, the map held | the mutex is locked |
//! | K3 | locking | locked | | deleting, the map held | delete |
//! | K4 | deleting | any answer | | unlocking, the map held | unlock |
//! | K5 | unlocking | unlocked | | as C6 | the map is free again (O8) |
//! | K6 | asked to cancel by key | | the key is empty | the process is dead | event panicked (O9) |
//! | F1 | no callback runs | finish | | | event rejected |
//! | Z1 | the process is dead | any | | | |
//!
//! The map of a process says which jobs have a goroutine here. Whoever changes it waits for those who hold it, and
//! whoever wants to hold it waits for those who wait to change it. The mutexes take their own transitions beside these:
//! see [`super::plugin_api_mutex`].
//!
//! # What is left out
//!
//! Every goroutine has a mutex object of its own; in the original a handle and its goroutine share one, which adds the
//! flaw M5. A record that cannot be decoded is an error like any other. What a job's mutex is called is the caller's to
//! choose, too, so a mutex of the user's may stand in a job's way (O7): no caller here has one. There is nothing that
//! ends a scheduler (O12).

use std::collections::BTreeMap;
use std::convert::Infallible;

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Now, Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::mattermost::{self, Value};
use super::plugin_api_mutex::{PluginApiConfig, PluginApiMutex};
use super::table::{Table, TableAnswer};
use crate::store::LockKey;
use crate::subject::{Ask, JobId, Knot, Occurrence, Play, Run, Subject, Told};

mod goroutine;
mod lister;
#[cfg(test)]
mod tests;

use goroutine::{Goroutine, Object};
use lister::Lister;

/// The constants of the original, which no caller can change, and how callers behave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginApiOnceConfig {
    /// How often the records are listed. 300 s.
    pub poll_interval: Span,
    /// How many keys a page has. 1000.
    pub page: u32,
    /// How many reads of its record a job survives that fail. 3.
    pub fails_allowed: u32,
    /// The wait after such a read. 1 s.
    pub retry: Span,
    /// By how much a wait is longer at most. 100 ms.
    pub jitter: Span,
    /// The constants of its mutexes.
    pub mutex: PluginApiConfig,
    /// Whether callers cancel by key, though they have a handle.
    pub cancels_by_key: bool,
    /// Whether what is asked for while a callback runs is asked for by the callback.
    pub asks_inside: bool,
    /// The job whose key is the empty string, if there is one.
    pub without_key: Option<JobId>,
}

impl Default for PluginApiOnceConfig {
    fn default() -> PluginApiOnceConfig {
        PluginApiOnceConfig {
            poll_interval: Span::from_secs(300),
            page: 1_000,
            fails_allowed: 3,
            retry: Span::from_secs(1),
            jitter: Span::from_millis(100),
            mutex: PluginApiConfig::default(),
            cancels_by_key: false,
            asks_inside: false,
            without_key: None,
        }
    }
}

/// The rows of a plugin's jobs, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The mutex of a job.
    Mutex(JobId),
    /// The record of a job: when it is to run.
    Job(JobId),
}

/// There are as many mutexes as jobs, and what is asked of a single lock is asked of none of them.
impl LockKey for Key {
    fn is_lock(&self) -> bool {
        false
    }
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To start the scheduler.
    Start,
    /// The callback returns.
    Finish,
    /// To run a job once, so long from now on the wall clock.
    Schedule(JobId, Span),
    /// To cancel it, and then to schedule it.
    Reschedule(JobId, Span),
    /// To cancel a job: by its handle, if the caller has one.
    Cancel(JobId),
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `Start` returned an error.
    NotStarted,
    /// The callback is called for a job that was to run then.
    Began(JobId, Timestamp),
    /// The callback has returned.
    Ended,
    /// The job was scheduled for then, or cancelled.
    Accepted(JobId, Option<Timestamp>),
    /// `ScheduleOnce` returned an error.
    Declined(JobId),
    /// The log says that a job is cancelled because its record could not be read.
    GaveUp(JobId),
    /// The request is one that the model does not cover.
    Rejected,
    /// The process died.
    Panicked,
}

/// The outstanding requests of a scheduler. A goroutine is named by its place among those that are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Of the mutex of a goroutine.
    Mutex(u32, mattermost::Call),
    /// Read the record, for a goroutine.
    Read(u32),
    /// Insert the record, for a goroutine.
    Save(u32),
    /// Delete the record, for a goroutine.
    Delete(u32),
    /// List a page of keys.
    List,
    /// Read a record that was listed.
    ReadListed,
}

/// The scheduler of one process. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginApiOnce {
    stage: Stage,
    lister: Lister,
    /// Each at its place. The last one is never empty.
    goroutines: Vec<Option<Goroutine>>,
    /// The map: which jobs have a goroutine here, and where.
    tracked: BTreeMap<JobId, u32>,
    /// What callers got when they scheduled a job.
    handles: BTreeMap<JobId, Object>,
    /// The goroutine whose callback runs, and those who wait for it to return.
    callbacks: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Unstarted,
    Loading,
    Started,
    Dead,
}

/// What a step is given.
struct Turn<'a> {
    config: &'a PluginApiOnceConfig,
    now: Now,
    out: &'a mut Effects<PluginApiOnce>,
}

impl Turn<'_> {
    /// A moment so far from now, and a little more.
    fn after(&self, wait: Span) -> Instant {
        self.now.mono + wait + self.config.jitter.drawn(self.now.draw)
    }
}

impl Machine for PluginApiOnce {
    type Config = PluginApiOnceConfig;
    type Store = Table<Key, Value>;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    fn new(_: &PluginApiOnceConfig, _: Identity) -> PluginApiOnce {
        PluginApiOnce {
            stage: Stage::Unstarted,
            lister: Lister::Off,
            goroutines: Vec::new(),
            tracked: BTreeMap::new(),
            handles: BTreeMap::new(),
            callbacks: Vec::new(),
        }
    }

    fn step(
        &mut self,
        config: &PluginApiOnceConfig,
        now: Now,
        input: Input<PluginApiOnce>,
        out: &mut Effects<PluginApiOnce>,
    ) {
        // Z1
        if self.stage == Stage::Dead {
            return;
        }
        let turn = &mut Turn { config, now, out };
        match input {
            Input::Request(request) => self.request(turn, request),
            Input::Reply { call, answer, at: _ } => self.answered(turn, call, answer),
            Input::Message(never) => match never {},
            Input::Wake => self.wake(turn),
        }
        while self.stage != Stage::Dead && self.settle(turn) {}
    }

    fn deadline(&self, config: &PluginApiOnceConfig) -> Option<Instant> {
        let goroutines = self.goroutines.iter().flatten().filter_map(|one| one.deadline(&config.mutex));
        goroutines.chain(self.lister.deadline()).min()
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        self.lister.relocate(map);
        self.goroutines.iter_mut().flatten().for_each(|goroutine| goroutine.relocate(map));
    }
}

impl PluginApiOnce {
    fn request(&mut self, turn: &mut Turn<'_>, request: Request) {
        match request {
            Request::Start => self.start(turn),
            Request::Finish => self.finish(turn),
            Request::Schedule(job, span) => {
                let at = self.begin_ask(turn, job);
                self.schedule(turn, at, turn.now.wall + span);
            }
            Request::Reschedule(job, span) => self.cancel(turn, job, Some(turn.now.wall + span)),
            Request::Cancel(job) => self.cancel(turn, job, None),
        }
    }

    fn answered(&mut self, turn: &mut Turn<'_>, call: Call, answer: TableAnswer<Key, Value>) {
        match call {
            Call::Mutex(at, call) => {
                let answer = mattermost::heard(answer.row());
                self.drive(turn, at, Input::Reply { call, answer, at: Default::default() });
            }
            Call::Read(at) => self.read(turn, at, &answer.row()),
            Call::Save(at) => self.saved(turn, at, &answer.row()),
            Call::Delete(at) => self.deleted(turn, at),
            Call::List => self.listed(turn, answer),
            Call::ReadListed => self.read_listed(turn, &answer.row()),
        }
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        self.poll(turn);
        for at in 0..self.goroutines.len() as u32 {
            self.wake_sleeper(turn, at);
            self.drive(turn, at, Input::Wake);
        }
    }

    /// Lets whoever waits for something in this process go on, if it can. Says whether one could.
    fn settle(&mut self, turn: &mut Turn<'_>) -> bool {
        self.settle_map(turn)
            || self.settle_callbacks(turn)
            || (0..self.goroutines.len() as u32).any(|at| self.settle_ask(turn, at))
    }

    /// Whoever changes the map waits for those who hold it, and goes before those who want to.
    fn settle_map(&mut self, turn: &mut Turn<'_>) -> bool {
        let places = 0..self.goroutines.len() as u32;
        let is_held = self.goroutines.iter().flatten().any(Goroutine::holds_map);
        let writer = places.clone().find(|&at| self.goroutine(at).is_some_and(Goroutine::changes_map));
        match writer {
            Some(_) if is_held => false,
            Some(at) => {
                self.change_map(turn, at);
                true
            }
            None if self.lister.changes_map() => !is_held && self.track_found(turn),
            None => {
                let reader =
                    places.into_iter().find(|&at| self.goroutine(at).is_some_and(Goroutine::wants_map));
                reader.is_some_and(|at| self.hold_map(turn, at))
            }
        }
    }

    /// The job whose key is empty crashes whoever cancels it by its key.
    fn panic(&mut self, turn: &mut Turn<'_>) {
        *self = PluginApiOnce { stage: Stage::Dead, ..PluginApiOnce::new(turn.config, Identity::default()) };
        turn.out.event(Event::Panicked);
    }
}

impl Subject for PluginApiOnce {
    fn request(ask: Ask) -> Option<Request> {
        match ask {
            Ask::Start => Some(Request::Start),
            Ask::Finish(_) => Some(Request::Finish),
            Ask::Schedule(job, span) => Some(Request::Schedule(job, span)),
            Ask::Reschedule(job, span) => Some(Request::Reschedule(job, span)),
            Ask::Withdraw(job) => Some(Request::Cancel(job)),
            _ => None,
        }
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::NotStarted => Told::Closed,
            Event::Began(job, run_at) => {
                let occurrence = Some(Occurrence::Due(*run_at));
                Told::Began(Run { job: *job, occurrence, attempt: 1, token: None })
            }
            Event::Ended => Told::Ended,
            Event::Accepted(job, run_at) => Told::Accepted(*job, run_at.map(Occurrence::Due)),
            Event::Declined(job) => Told::Declined(*job),
            Event::GaveUp(job) => Told::GaveUp(*job),
            Event::Rejected => Told::Rejected,
            Event::Panicked => Told::Panicked,
        }
    }

    /// As long as the callback runs: nothing tells it that the mutex was lost.
    fn belief(&self) -> Option<Instant> {
        (!self.callbacks.is_empty()).then_some(Instant::MAX)
    }

    fn ttl(config: &PluginApiOnceConfig) -> Span {
        PluginApiMutex::ttl(&config.mutex)
    }

    const PLAY: Play = Play::Once;

    fn knot(&self) -> Option<Knot> {
        (0..self.goroutines.len() as u32).find_map(|at| self.knot_at(at))
    }

    /// Whoever has not heard of a job hears of it when it lists the records next.
    fn lateness(config: &PluginApiOnceConfig) -> Span {
        config.poll_interval + config.jitter
    }

    fn reads_store_time(_: &PluginApiOnceConfig) -> bool {
        false
    }

    fn phase(config: &PluginApiOnceConfig) -> Span {
        PluginApiMutex::phase(&config.mutex)
    }

    /// It has no identities at all.
    fn is_symmetric(_: &PluginApiOnceConfig) -> bool {
        true
    }
}
