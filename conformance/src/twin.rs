//! The simulated store beside an engine: the same requests at the same time have to get the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::engine::{EngineAnswer, Key, Reply, Request, Text};
use fencepost::machine::Relocate;
use fencepost::store::{Answer, Contract, Expect, Limits, Op, Revision};
use fencepost::time::{Span, StoreTime};
use fencepost_models::clock::Time;
use fencepost_models::store::{Grain, LockKey, Named, Serving, Simulated, Tag, Touch};
use fencepost_models::subject::InstanceId;
use thiserror::Error;

/// What an engine owes, in the order in which it is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every request gets one answer, in time.
    Answered,
    /// In calm weather an answer is known.
    Known,
    /// The time in answers runs as clocks do.
    Clock,
    /// A read shows the live entry, or none.
    Get,
    /// A write is applied if and only if what it expects is there; a refusal shows what is there instead.
    PutIf,
    /// A renewal is applied to the live entry of its revision, and to nothing else.
    Renew,
    /// A deletion is applied to the live entry of its revision, and to nothing else.
    DeleteIf,
    /// A page has the live entries after a key, in order, and no more than were asked for.
    List,
    /// A new revision is greater than every earlier one of its key.
    RevisionsGrow,
    /// No entry dies before its time.
    NotEarly,
    /// No entry is shown after its time, give or take the grain.
    NotLate,
    /// What several callers do at once happens in some order.
    Atomic,
    /// The requests of one handle about one space are carried out in order.
    Order,
    /// Deletions and messages are heard by everybody, or a gap is.
    Hints,
    /// A survey shows what lives, all of it.
    Survey,
    /// What was acknowledged outlives the engine and its store.
    Durable,
    /// A closed engine ends, and answers what comes later as unknown.
    Closed,
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{rule:?} is broken: {what}")]
pub struct Breach {
    /// Which one.
    pub rule: Rule,
    /// How.
    pub what: String,
}

impl Breach {
    pub(crate) fn of(rule: Rule, what: impl Into<String>) -> Breach {
        Breach { rule, what: what.into() }
    }
}

/// A key or a record that the simulated store can hold: without names inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Plain<T>(T);

impl<T> Named for Plain<T> {
    fn relocate(&mut self, _: &mut impl Relocate) {}
}

impl<T> LockKey for Plain<T> {}

type Language = Contract<Plain<Key>, Plain<Text>>;
type Shelf = <Language as Simulated>::Shelf;

/// The simulated store, with its spaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelves(BTreeMap<Arc<str>, Shelf>);

impl Shelves {
    /// Carries `request` out at `now`. `counter` is the revision that was given last.
    pub(crate) fn serve(&mut self, request: &Request, now: StoreTime, counter: &mut u64) -> EngineAnswer {
        let nobody = Tag { instance: InstanceId(0), acquisition: 0 };
        let mut serving = Serving {
            now,
            truth: Time::ZERO,
            age: Span::ZERO,
            by: nobody,
            wanted: true,
            grain: Grain::default(),
            counter,
            keys: None,
            touch: Touch::None,
            to_lock: true,
            request: None,
            grain_seen: false,
        };
        let shelf = self.0.entry(request.space.clone()).or_default();
        let op = without_any(request.op.clone()).map(Plain, Plain);
        Language::serve(&op, shelf, &mut serving).narrow(|key| Some(key.0), |record| Some(record.0))
    }
}

/// Zero is what no write has. Only the simulated store takes it for "whatever is there", for the originals; the
/// contract does not.
fn without_any(mut op: Op<Key, Text>) -> Op<Key, Text> {
    match &mut op {
        Op::Renew { revision, .. } | Op::DeleteIf { revision, .. } if *revision == Revision::ANY => {
            *revision = Revision(u64::MAX);
        }
        Op::Get { .. } | Op::PutIf { .. } | Op::Renew { .. } | Op::DeleteIf { .. } | Op::List { .. } => {}
    }
    op
}

/// One request and its answer, with the times of the examiner's clock.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// What was said.
    pub reply: Reply,
    /// When it was asked.
    pub sent: Instant,
    /// When it was said.
    pub received: Instant,
}

/// How far clocks may run apart while a test lasts.
const TOLERANCE: Duration = Duration::from_millis(2);

/// The simulated store, in the place of an engine: it goes through what the engine goes through.
///
/// It follows one caller, or several who wait for each other.
#[derive(Clone, Debug)]
pub struct Twin {
    shelves: Shelves,
    limits: Limits,
    greatest: BTreeMap<(Arc<str>, Key), Revision>,
    /// The first exchange and the last one, as far as clocks go.
    first: Option<(StoreTime, Instant, Instant)>,
    last: StoreTime,
}

impl Twin {
    /// The twin of an empty store that can do so much.
    pub fn new(limits: Limits) -> Twin {
        Twin {
            shelves: Shelves::default(),
            limits,
            greatest: BTreeMap::new(),
            first: None,
            last: StoreTime::ZERO,
        }
    }

    /// The time on the store's clock that was told last.
    pub fn last(&self) -> StoreTime {
        self.last
    }

    /// The store's clock was set: what it showed before says nothing of what it shows now.
    pub(crate) fn clock_was_set(&mut self) {
        (self.first, self.last) = (None, StoreTime::ZERO);
    }

    /// Holds an engine's answer against the simulated store's.
    pub fn judge(&mut self, exchange: &Exchange) -> Result<(), Breach> {
        let Exchange { request, reply, .. } = exchange;
        if reply.answer == Answer::Unknown {
            return Err(Breach::of(
                Rule::Known,
                format!("{request:?} was answered as unknown in calm weather"),
            ));
        }
        self.judge_clock(exchange)?;
        self.judge_revision(request, &reply.answer)?;
        let request = self.rounded(request.clone());
        let before = self.shelves.clone();
        let expected = serve(&mut self.shelves, &request, reply);
        if expected == reply.answer {
            return Ok(());
        }
        let rule = rule_of(&before, &request, reply);
        let what =
            format!("{request:?} at {:?}: {:?}, but the twin says {expected:?}", reply.at, reply.answer);
        Err(Breach::of(rule, what))
    }

    /// The times in answers do not go back, and advance by as much as the examiner's clock does.
    fn judge_clock(&mut self, Exchange { reply, sent, received, request }: &Exchange) -> Result<(), Breach> {
        let wrong = |what: String| Err(Breach::of(Rule::Clock, format!("{what}, answering {request:?}")));
        if reply.at < self.last {
            return wrong(format!("the store's clock goes back from {:?} to {:?}", self.last, reply.at));
        }
        self.last = reply.at;
        let &mut (at, since, until) = self.first.get_or_insert((reply.at, *sent, *received));
        let elapsed = Duration::from(reply.at.since(at));
        let at_least = sent.saturating_duration_since(until).saturating_sub(TOLERANCE);
        let at_most = *received - since + TOLERANCE;
        if elapsed < at_least || elapsed > at_most {
            return wrong(format!(
                "the store's clock advanced by {elapsed:?} in {at_least:?} to {at_most:?}"
            ));
        }
        Ok(())
    }

    fn judge_revision(&mut self, request: &Request, answer: &EngineAnswer) -> Result<(), Breach> {
        let (Op::PutIf { key, .. }, Answer::Applied(revision)) = (&request.op, answer) else { return Ok(()) };
        let place = (request.space.clone(), key.clone());
        match self.greatest.insert(place, *revision) {
            Some(earlier) if earlier >= *revision => {
                let what = format!("{revision:?} after {earlier:?}, answering {request:?}");
                Err(Breach::of(Rule::RevisionsGrow, what))
            }
            _ if *revision == Revision::ANY => {
                Err(Breach::of(Rule::RevisionsGrow, "zero is no revision that a write can have"))
            }
            _ => Ok(()),
        }
    }

    /// The request with its time to live as the engine counts it.
    fn rounded(&self, mut request: Request) -> Request {
        let grain = self.limits.ttl_grain.as_nanos().max(1);
        let round = |ttl: &mut Span| {
            let longer = (*ttl).max(self.limits.ttl_min);
            *ttl = Span::from_nanos(longer.as_nanos().div_ceil(grain).saturating_mul(grain));
        };
        match &mut request.op {
            Op::PutIf { ttl, .. } => ttl.iter_mut().for_each(round),
            Op::Renew { ttl, .. } => round(ttl),
            Op::Get { .. } | Op::DeleteIf { .. } | Op::List { .. } => {}
        }
        request
    }
}

/// What the simulated store says at the time of `reply`. If the engine has given a revision, it gives the same one.
fn serve(shelves: &mut Shelves, request: &Request, reply: &Reply) -> EngineAnswer {
    let mut counter = match (&request.op, &reply.answer) {
        (Op::PutIf { .. }, Answer::Applied(given)) => given.0 - 1,
        _ => u64::MAX - 2,
    };
    shelves.serve(request, reply.at, &mut counter)
}

/// Which rule an engine has broken that gave this wrong answer.
fn rule_of(before: &Shelves, request: &Request, reply: &Reply) -> Rule {
    let says_so_at = |at: StoreTime| {
        let moved = Reply { at, ..reply.clone() };
        serve(&mut before.clone(), request, &moved) == reply.answer
    };
    // Everything that can die is dead at the one end of time, and nothing is at the other.
    if says_so_at(StoreTime::MAX - Span::from_nanos(1)) {
        return Rule::NotEarly;
    }
    if says_so_at(StoreTime::ZERO) {
        return Rule::NotLate;
    }
    match request.op {
        Op::Get { .. } => Rule::Get,
        Op::PutIf { .. } => Rule::PutIf,
        Op::Renew { .. } => Rule::Renew,
        Op::DeleteIf { .. } => Rule::DeleteIf,
        Op::List { .. } => Rule::List,
    }
}

/// What must be there for a write, in the words of a test.
pub(crate) fn expecting(revision: Option<Revision>) -> Expect {
    revision.map_or(Expect::Absent, Expect::Revision)
}
