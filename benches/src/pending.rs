//! A scheduler with many pending jobs, driven by hand over a store in memory that answers at once.
//!
//! What the store hands out is made anew for each answer, as it is where answers are decoded: no key is shared with
//! the scheduler, whose memory can therefore be counted.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use fencepost::job::Outcome;
use fencepost::line::Owner;
use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
use fencepost::once::{
    Call, Delivery, Event, JobKey, Key, Once, OnceConfig, OnceTerms, Request, RunAt, State, Task,
};
use fencepost::run::Record;
use fencepost::store::{Answer, Entry, Expect, Op, Revision};
use fencepost::time::{Instant, Now, Span, StoreTime};

type Scheduler = Once<JobKey, ()>;
type Rec = Record<Task<()>>;

const DAY: u64 = 86_400;

/// How long after a listing the next one begins: the second one before any job is due, the third one long after all
/// have run.
const REFRESH: Duration = Duration::from_secs(300 * DAY);

/// When the first job is due.
const FIRST_DUE: StoreTime = StoreTime::from_nanos(400 * DAY * 1_000_000_000);

/// How far apart two jobs are due.
const APART: Span = Span::from_secs(1);

/// The entries of one namespace. Nothing expires while it is watched.
#[derive(Default)]
struct Store {
    entries: BTreeMap<Key<JobKey>, Entry<Rec>>,
    counter: u64,
    listings: usize,
}

impl Store {
    fn serve(&mut self, op: Op<Key<JobKey>, Rec>) -> Answer<Key<JobKey>, Rec> {
        match op {
            Op::Get { key } => Answer::Found(self.entries.get(&key).cloned()),
            Op::PutIf { key, expect, record, ttl: _ } => {
                let found = self.entries.get(&key);
                let is_expected = match expect {
                    Expect::Absent => found.is_none(),
                    Expect::Revision(revision) => found.is_some_and(|entry| entry.revision == revision),
                };
                if is_expected { self.put(key, record) } else { Answer::Refused(found.cloned()) }
            }
            Op::Renew { key, revision, ttl: _ } => self.if_current(&key, revision),
            Op::DeleteIf { key, revision } => {
                let answer = self.if_current(&key, revision);
                if answer == Answer::Applied(revision) {
                    self.entries.remove(&key);
                }
                answer
            }
            Op::List { after, limit } => {
                self.listings += 1;
                let range = self.entries.range((Bound::Excluded(after), Bound::Unbounded));
                let decoded = range.take(limit as usize).map(|(key, entry)| (decoded(key), entry.clone()));
                Answer::Listed(decoded.collect())
            }
        }
    }

    fn put(&mut self, key: Key<JobKey>, record: Rec) -> Answer<Key<JobKey>, Rec> {
        self.counter += 1;
        let revision = Revision(self.counter);
        self.entries.insert(key, Entry { revision, record });
        Answer::Applied(revision)
    }

    fn if_current(&self, key: &Key<JobKey>, revision: Revision) -> Answer<Key<JobKey>, Rec> {
        let found = self.entries.get(key);
        if found.is_some_and(|entry| entry.revision == revision) {
            Answer::Applied(revision)
        } else {
            Answer::Refused(found.cloned())
        }
    }
}

/// The same key in memory of its own.
fn decoded(key: &Key<JobKey>) -> Key<JobKey> {
    let anew = |key: &JobKey| JobKey::new(key.as_str()).expect("it was a key before");
    match key {
        Key::Lock(key, part) => Key::Lock(anew(key), *part),
        Key::Jobs => Key::Jobs,
        Key::Job(key) => Key::Job(anew(key)),
    }
}

/// The key of a job: what a service would call it, an object's kind and its identifier.
pub fn key(number: u32) -> JobKey {
    // No order of keys is that in which the jobs are due.
    JobKey::new(&format!("reminder-{:010}", number.wrapping_mul(2_654_435_761))).expect("it is short")
}

/// A scheduler on a store with so many pending jobs, due a second apart.
pub struct Pending {
    terms: OnceTerms,
    once: Scheduler,
    store: Store,
    effects: Effects<Scheduler>,
    /// What every clock shows.
    time: Span,
    jobs: u32,
}

impl Pending {
    /// So many jobs; the scheduler is at rest.
    pub fn new(jobs: u32) -> Pending {
        let config = OnceConfig { refresh_interval: REFRESH, ..OnceConfig::new(Delivery::AtMostOnce) };
        let terms = config.terms().expect("these are sound");
        let mut store = Store::default();
        for number in 0..jobs {
            let generation = Owner { identity: Identity(1), attempt: number };
            let due = due(number);
            let task = Task { due, generation, attempt: 0, state: State::Scheduled, props: () };
            store.put(Key::Job(key(number)), Record::Work(task));
        }
        let once = Scheduler::new(&terms, Identity(2));
        Pending { terms, once, store, effects: Effects::new(), time: Span::ZERO, jobs }
    }

    /// How many pending jobs the scheduler knows of.
    pub fn known(&self) -> usize {
        self.once.pending()
    }

    /// How many pages the store has listed.
    pub fn listings(&self) -> usize {
        self.store.listings
    }

    /// When the scheduler wants to be woken.
    pub fn deadline(&self) -> Option<Instant> {
        self.once.deadline(&self.terms)
    }

    /// Starts the scheduler: it lists all jobs, page by page.
    pub fn start(&mut self) {
        self.step(Input::Request(Request::Start));
        self.settle();
    }

    /// Lets time pass until the scheduler wants to be woken, and has it do what it does then, until it wants nothing
    /// more. Which job it ran, if it was not time to list them all again.
    pub fn wake(&mut self) -> Option<JobKey> {
        let deadline = self.deadline().unwrap_or(Instant::MAX);
        self.time = deadline.since(Instant::ZERO);
        self.step(Input::Wake);
        self.settle()
    }

    /// Schedules one more job, due after all others.
    pub fn schedule(&mut self) {
        let (key, run_at) = (key(self.jobs), RunAt::At(due(self.jobs)));
        self.jobs += 1;
        self.step(Input::Request(Request::Schedule { key, run_at, props: () }));
        self.settle();
    }

    fn step(&mut self, input: Input<Scheduler>) {
        let now = Now { mono: Instant::ZERO + self.time, ..Now::default() };
        self.once.step(&self.terms, now, input, &mut self.effects);
    }

    /// Carries out what the scheduler wants until it wants nothing more. A callback ends as soon as it has begun.
    fn settle(&mut self) -> Option<JobKey> {
        let mut ran = None;
        while let Some(effect) = self.effects.pop() {
            match effect {
                Effect::Store { call, op, .. } => self.answer(call, op),
                Effect::Event(Event::Began { slot, .. }) => {
                    self.step(Input::Request(Request::Finish { slot, outcome: Outcome::Succeeded }));
                }
                Effect::Event(Event::Ended { key, .. }) => ran = Some(key),
                Effect::Event(_) | Effect::Publish(_) | Effect::Forget(_) => {}
            }
        }
        ran
    }

    fn answer(&mut self, call: Call, op: Op<Key<JobKey>, Rec>) {
        let answer = self.store.serve(op);
        let at = StoreTime::ZERO + self.time;
        self.step(Input::Reply { call, answer, at });
    }
}

/// When a job is due: each at a moment of its own, in the order of their numbers.
pub fn due(number: u32) -> StoreTime {
    FIRST_DUE + APART * u64::from(number)
}
