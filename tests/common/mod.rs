//! A story: one mutex, told as a list of moments, inputs and what they bring about.

pub(crate) mod shift;
pub(crate) mod walk;

use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::line::{Key, LineCall, Owner, Place};
use fencepost::machine::{Effect, Effects, Identity, Input, Machine, OpOf};
use fencepost::mutex::{Call, Event, Fairness, Freed, Mutex, MutexConfig, MutexTerms, Patience, Request};
use fencepost::store::{Answer, Entry, Expect, FencingToken, Op, Revision, StoreId};
use fencepost::time::{Instant, Now, Ppm, Span, StoreTime};

/// The hero of every story.
pub(crate) const ME: Identity = Identity(7);
/// Another one's attempt.
pub(crate) const STRANGER: Owner = Owner { identity: Identity(8), attempt: 1 };
const TTL: Span = Span::from_secs(15);
const ENTRY_TTL: Span = Span::from_secs(20);

pub(crate) const LOCK: Input<Mutex> = Input::Request(Request::Lock(Patience::Forever));
pub(crate) const ONCE: Input<Mutex> = Input::Request(Request::Lock(Patience::Once));
pub(crate) const CANCEL: Input<Mutex> = Input::Request(Request::Cancel);
pub(crate) const UNLOCK: Input<Mutex> = Input::Request(Request::Unlock);
pub(crate) const EXTEND: Input<Mutex> = Input::Request(Request::Extend);
pub(crate) const FREED: Input<Mutex> = Input::Message(Freed);
pub(crate) const WAKE: Input<Mutex> = Input::Wake;

pub(crate) const JOIN: Call = Call::Line(LineCall::Join);
pub(crate) const KEEP: Call = Call::Line(LineCall::Keep);
pub(crate) const LEAVE: Call = Call::Line(LineCall::Leave);
pub(crate) const FIND: Call = Call::Line(LineCall::Find);

/// Asks for the lock with so much patience.
pub(crate) fn lock_within(ms: u64) -> Input<Mutex> {
    Input::Request(Request::Lock(Patience::For(Span::from_millis(ms))))
}

/// The hero's attempt of that number.
pub(crate) fn me(attempt: u32) -> Owner {
    Owner { identity: ME, attempt }
}

/// The place of someone who has waited since then.
pub(crate) fn place(ms: u64, owner: Owner) -> Place {
    Place { since: StoreTime::ZERO + Span::from_millis(ms), owner }
}

/// An answer; the story adds the store's time.
pub(crate) fn reply(call: Call, answer: Answer<Key, Owner>) -> Input<Mutex> {
    Input::Reply { call, answer, at: StoreTime::ZERO }
}

pub(crate) fn applied(call: Call, revision: u64) -> Input<Mutex> {
    reply(call, Answer::Applied(Revision(revision)))
}

pub(crate) fn refused(call: Call) -> Input<Mutex> {
    reply(call, Answer::Refused(None))
}

pub(crate) fn refused_by(call: Call, owner: Owner, revision: u64) -> Input<Mutex> {
    reply(call, Answer::Refused(Some(entry(owner, revision))))
}

pub(crate) fn unknown(call: Call) -> Input<Mutex> {
    reply(call, Answer::Unknown)
}

/// What a look at the lock has found.
pub(crate) fn found(entry: Option<Entry<Owner>>) -> Input<Mutex> {
    reply(Call::Inspect, Answer::Found(entry))
}

/// Who is first in line.
pub(crate) fn first_is(head: Place) -> Input<Mutex> {
    reply(Call::Look, Answer::Listed(vec![(Key::Place(head), entry(head.owner, 1))]))
}

/// The line is empty.
pub(crate) fn nobody() -> Input<Mutex> {
    reply(Call::Look, Answer::Listed(Vec::new()))
}

pub(crate) fn entry(record: Owner, revision: u64) -> Entry<Owner> {
    Entry { revision: Revision(revision), record }
}

/// Refresh 5 s, time-out 2 s, poll 1 s, none of them jittered; belief 14.935 s. The lock's entry lives for 20 s
/// and a place for 15 s, so that one cannot pass for the other.
pub(crate) fn terms(fairness: Fairness) -> MutexTerms {
    let lease = LeaseConfig { jitter: Ppm::ZERO, ..LeaseConfig::default() };
    let lock_delay = Duration::from_secs(5);
    MutexConfig { lease, lock_delay, fairness, ..MutexConfig::default() }.terms().expect("sound terms")
}

pub(crate) fn millis(ms: u64) -> Instant {
    Instant::ZERO + Span::from_millis(ms)
}

/// One mutex and its host, who remembers which replies the mutex still waits for.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    terms: MutexTerms,
    mutex: Mutex,
    effects: Effects<Mutex>,
    outstanding: Vec<Call>,
    promises: Promises,
}

impl Story {
    pub(crate) fn of(fairness: Fairness) -> Story {
        let terms = terms(fairness);
        let mutex = Mutex::new(&terms, ME);
        let (effects, outstanding, promises) = (Effects::new(), Vec::new(), Promises::default());
        Story { terms, mutex, effects, outstanding, promises }
    }

    /// `input` arrives after `ms` milliseconds, on a store's clock that reads the same, and `expected` is done.
    #[track_caller]
    pub(crate) fn at(mut self, ms: u64, input: Input<Mutex>, expected: &str) -> Story {
        assert!(self.awaits(&input), "at {ms} ms nobody waits for {input:?}");
        let effects = self.step(millis(ms), stamped(input.clone(), ms));
        let told: Vec<String> = effects.iter().map(tell).collect();
        assert_eq!(told.join(", "), expected, "at {ms} ms: {input:?}");
        self
    }

    /// The same, whatever it brings about; the host drops a reply that nobody waits for any more.
    #[track_caller]
    pub(crate) fn late(mut self, ms: u64, input: Input<Mutex>) -> Story {
        if self.awaits(&input) {
            self.step(millis(ms), stamped(input, ms));
        }
        self
    }

    /// Whether its host would hand it this.
    fn awaits(&self, input: &Input<Mutex>) -> bool {
        match input {
            Input::Reply { call, .. } => self.outstanding.contains(call),
            Input::Request(_) | Input::Message(Freed) | Input::Wake => true,
        }
    }

    /// Takes a step and holds the mutex to its promises; the effects, but for those that change nothing.
    #[track_caller]
    pub(crate) fn step(&mut self, mono: Instant, input: Input<Mutex>) -> Vec<Effect<Mutex>> {
        let woken = input == Input::Wake;
        if let Input::Reply { call, .. } = &input {
            self.outstanding.retain(|other| other != call);
        }
        self.mutex.step(&self.terms, Now { mono, ..Now::default() }, input, &mut self.effects);
        let mut effects: Vec<Effect<Mutex>> = self.effects.drain().collect();
        effects.retain(|effect| self.carry_out(effect));
        let (deadline, until) = (self.deadline(), self.mutex.until());
        let overheld = [until, Some(Instant::MAX)].into_iter().flatten().any(|at| self.mutex.is_held(at));
        let kept = self.promises.watch(&Sight { mono, woken, deadline, overheld, effects: &effects });
        assert_eq!(kept, Ok(()), "{:?}", self.mutex);
        effects
    }

    /// Keeps the host's books; false if there is nothing to do, because nobody waits for the reply to be forgotten.
    fn carry_out(&mut self, effect: &Effect<Mutex>) -> bool {
        let known = self.outstanding.len();
        match effect {
            Effect::Store { call, .. } => self.outstanding.push(*call),
            Effect::Forget(call) => self.outstanding.retain(|other| other != call),
            Effect::Publish(Freed) | Effect::Event(_) => return true,
        }
        self.outstanding.len() != known
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.mutex.deadline(&self.terms)
    }

    /// It wants to be woken after so many milliseconds.
    #[track_caller]
    pub(crate) fn wakes(self, ms: u64) -> Story {
        assert_eq!(self.deadline(), Some(millis(ms)), "{:?}", self.mutex);
        self
    }

    /// It wants nothing any more.
    #[track_caller]
    pub(crate) fn rests(self) -> Story {
        assert_eq!((self.deadline(), self.mutex.until()), (None, None), "{:?}", self.mutex);
        self
    }

    /// It believes until then, and no longer.
    #[track_caller]
    pub(crate) fn believes(self, ms: u64) -> Story {
        assert_eq!(self.mutex.until(), Some(millis(ms)), "{:?}", self.mutex);
        assert!(self.mutex.is_held(millis(ms) - Span::from_nanos(1)));
        self
    }
}

/// The input with the time of a store whose clock shows `ms`.
fn stamped(mut input: Input<Mutex>, ms: u64) -> Input<Mutex> {
    if let Input::Reply { at, .. } = &mut input {
        *at = StoreTime::ZERO + Span::from_millis(ms);
    }
    input
}

/// What one step has shown.
#[derive(Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) mono: Instant,
    pub(crate) woken: bool,
    pub(crate) deadline: Option<Instant>,
    /// Whether the lock counts as held when belief has ended.
    pub(crate) overheld: bool,
    pub(crate) effects: &'a [Effect<Mutex>],
}

/// What holds for every mutex after every step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promises {
    acquired: bool,
}

impl Promises {
    pub(crate) fn watch(&mut self, sight: &Sight<'_>) -> Result<(), &'static str> {
        if sight.woken && sight.deadline.is_some_and(|at| at <= sight.mono) {
            return Err("woken at its deadline, it wants to be woken again at once");
        }
        if sight.overheld {
            return Err("held at the end of belief");
        }
        for effect in sight.effects {
            let Effect::Event(event) = effect else { continue };
            match event {
                Event::Acquired(_) if self.acquired => return Err("acquired twice"),
                Event::Acquired(_) => self.acquired = true,
                Event::Lost(_) | Event::Released(_) | Event::Cancelled => self.acquired = false,
                Event::Contended | Event::TimedOut | Event::Extended(_) | Event::Rejected(_) => {}
            }
        }
        Ok(())
    }
}

/// An effect in few words: requests and hints in lower case, events as they are.
fn tell(effect: &Effect<Mutex>) -> String {
    match effect {
        Effect::Store { store: StoreId(0), call, op } => {
            tell_call(*call, op).unwrap_or_else(|| format!("{effect:?}"))
        }
        Effect::Store { .. } => format!("{effect:?}"),
        Effect::Forget(call) => format!("forget {call:?}").to_lowercase(),
        Effect::Publish(Freed) => String::from("publish freed"),
        Effect::Event(Event::Acquired(FencingToken(token))) => format!("Acquired({token})"),
        Effect::Event(event) => format!("{event:?}"),
    }
}

/// A request in few words, if it is exactly what its call must ask.
fn tell_call(call: Call, op: &OpOf<Mutex>) -> Option<String> {
    let told = match (call, op) {
        (
            Call::Claim,
            Op::PutIf {
                key: Key::Lock,
                expect: Expect::Absent,
                record: Owner { identity: ME, attempt },
                ttl: Some(ENTRY_TTL),
            },
        ) => format!("claim #{attempt}"),
        (Call::Renew, Op::Renew { key: Key::Lock, revision: Revision(revision), ttl: ENTRY_TTL }) => {
            format!("renew r{revision}")
        }
        (Call::Release, Op::DeleteIf { key: Key::Lock, revision: Revision(revision) }) => {
            format!("delete r{revision}")
        }
        (Call::Inspect, Op::Get { key: Key::Lock }) => String::from("get"),
        (FIND, Op::Get { key: Key::Place(_) }) => String::from("find"),
        (Call::Look, Op::List { after: Key::Lock, limit: 1 }) => String::from("list"),
        (JOIN, Op::PutIf { key: Key::Place(place), expect: Expect::Absent, record, ttl: Some(TTL) })
            if *record == place.owner && record.identity == ME =>
        {
            format!("join @{}#{}", place.since.as_nanos() / 1_000_000, record.attempt)
        }
        (KEEP, Op::Renew { key: Key::Place(_), revision: Revision(revision), ttl: TTL }) => {
            format!("keep r{revision}")
        }
        (LEAVE, Op::DeleteIf { key: Key::Place(_), revision: Revision(revision) }) => {
            format!("leave r{revision}")
        }
        _ => return None,
    };
    Some(told)
}
