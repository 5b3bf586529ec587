//! Random walks: requests of all kinds about a few keys, held against the twin step by step.

use std::sync::atomic::{AtomicUsize, Ordering};

use fencepost::engine::EngineOp;
use fencepost::store::{Answer, Op, Revision};
use fencepost::time::Span;
use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use crate::cases::{Examiner, key, put};
use crate::twin::{Breach, Rule};

/// Which revision a request names.
#[derive(Clone, Copy, Debug)]
enum Named {
    /// The newest that the key has had.
    Newest,
    /// An earlier one.
    Earlier,
    /// One that it has never had.
    Other,
    /// Zero, which nothing has.
    Zero,
}

/// A key in one of two spaces.
type Place = u8;

const PLACES: [(&str, &str); 4] = [("0", "a"), ("0", "ab"), ("0", "b"), ("1", "a")];

/// One step of a walk.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Lets so many milliseconds pass.
    Wait(u64),
    /// Asks for something there.
    Ask(Place, What),
}

/// What is asked for, lives in milliseconds.
#[derive(Clone, Copy, Debug)]
enum What {
    /// Reads a key.
    Get,
    /// Writes a key that is absent.
    Create(Option<u64>),
    /// Writes over a revision.
    Replace(Named, Option<u64>),
    /// Prolongs a life.
    Renew(Named, u64),
    /// Deletes.
    Delete(Named),
    /// Lists what comes after a key.
    List(u32),
}

/// What is known of a key before a walk is taken, whatever the time that its steps take.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// So many revisions it has had, at least.
    revisions: u32,
    life: Life,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    #[default]
    Absent,
    /// It lives, or has died by now.
    Mortal,
    /// It lives for longer than any walk takes.
    Lasting,
}

impl Life {
    fn of(ttl: Option<u64>) -> Life {
        if ttl.is_none_or(|ms| ms >= LONG) { Life::Lasting } else { Life::Mortal }
    }
}

/// No walk takes so many milliseconds.
const LONG: u64 = 60_000;

/// Which walks there are: those that name what there may be.
struct Walks;

impl ReferenceStateMachine for Walks {
    type State = [Known; PLACES.len()];
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self::State> {
        Just(Self::State::default()).boxed()
    }

    fn transitions(known: &Self::State) -> BoxedStrategy<Step> {
        let place = || 0..PLACES.len() as Place;
        let named = || named(*known);
        let lives = || prop_oneof![Just(None), (1u64..12).prop_map(Some), Just(Some(LONG))];
        let step = prop_oneof![
            4 => place().prop_map(|place| Step::Ask(place, What::Get)),
            6 => (place(), lives()).prop_map(|(place, ttl)| Step::Ask(place, What::Create(ttl))),
            6 => (named(), lives()).prop_map(|((place, named), ttl)| Step::Ask(place, What::Replace(named, ttl))),
            4 => (named(), 1u64..12).prop_map(|((place, named), ttl)| Step::Ask(place, What::Renew(named, ttl))),
            4 => named().prop_map(|(place, named)| Step::Ask(place, What::Delete(named))),
            2 => (place(), 0u32..4).prop_map(|(place, limit)| Step::Ask(place, What::List(limit))),
            2 => (0u64..8).prop_map(Step::Wait),
        ];
        step.boxed()
    }

    /// What is left of a walk that is made smaller still names what there may be.
    fn preconditions(known: &Self::State, step: &Step) -> bool {
        let Step::Ask(place, what) = *step else { return true };
        what.named().is_none_or(|named| known[usize::from(place)].revisions >= named.revisions())
    }

    fn apply(mut known: Self::State, step: &Step) -> Self::State {
        if let Step::Ask(place, what) = *step {
            known[usize::from(place)].learn(what);
        }
        known
    }
}

impl Known {
    /// A write that finds nothing is applied, one that finds something is not, and of one that may find either nobody knows.
    fn learn(&mut self, what: What) {
        match (what, self.life) {
            (What::Create(ttl), Life::Absent) | (What::Replace(Named::Newest, ttl), Life::Lasting) => {
                *self = Known { revisions: self.revisions + 1, life: Life::of(ttl) };
            }
            (What::Renew(Named::Newest, _), life) => self.life = life.min(Life::Mortal),
            (What::Delete(Named::Newest), _) => self.life = Life::Absent,
            (What::Create(_) | What::Replace(..) | What::Renew(..) | What::Delete(_), _) => {}
            (What::Get | What::List(_), _) => {}
        }
    }
}

impl What {
    /// Which revision it names, if it names one.
    fn named(self) -> Option<Named> {
        match self {
            What::Replace(named, _) | What::Renew(named, _) | What::Delete(named) => Some(named),
            What::Get | What::Create(_) | What::List(_) => None,
        }
    }
}

impl Named {
    /// How many revisions a key must have had to have this one.
    fn revisions(self) -> u32 {
        match self {
            Named::Newest => 1,
            Named::Earlier => 2,
            Named::Other | Named::Zero => 0,
        }
    }
}

/// What can be named, mostly of keys that have been written.
fn named(known: [Known; PLACES.len()]) -> impl Strategy<Value = (Place, Named)> {
    let all = [(8, Named::Newest), (12, Named::Earlier), (1, Named::Other), (1, Named::Zero)];
    let places = (0..).zip(known).flat_map(|(place, known)| {
        let possible = all.into_iter().filter(move |(_, named)| known.revisions >= named.revisions());
        possible.map(move |(weight, named)| (weight, Just((place, named))))
    });
    Union::new_weighted(places.collect())
}

/// How many walks an examination takes, and of how many steps.
const CASES: u32 = 48;
const LENGTHS: core::ops::Range<usize> = 1..60;

/// The walks that every examination takes: the same ones each time.
pub(crate) fn at_random(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let place = of.space.clone();
    let walks = std::cell::Cell::new(0);
    let of = std::cell::RefCell::new(of);
    let broken = std::cell::Cell::new(None);
    let walked = runner.run(&Walks::sequential_strategy(LENGTHS), |(_, steps, taken)| {
        walks.set(walks.get() + 1);
        let mut of = of.borrow_mut();
        walk(&mut of, &format!("{place}/{}", walks.get()), &steps, taken.as_deref()).map_err(|breach| {
            let told = TestCaseError::fail(breach.to_string());
            broken.set(Some(breach));
            told
        })
    });
    match (walked, broken.into_inner()) {
        (Err(walked), Some(Breach { rule, what })) => Err(Breach::of(rule, format!("{what}\n{walked}"))),
        (Err(walked), None) => Err(Breach::of(Rule::Answered, walked.to_string())),
        (Ok(()), _) => Ok(()),
    }
}

/// Takes one walk, and counts the steps that were taken: what comes after a broken rule need not be made smaller.
fn walk(
    of: &mut Examiner<'_>,
    place: &str,
    steps: &[Step],
    taken: Option<&AtomicUsize>,
) -> Result<(), Breach> {
    let mut given = [[Revision(0); 2]; PLACES.len()];
    for step in steps {
        taken.map(|taken| taken.fetch_add(1, Ordering::SeqCst));
        match *step {
            Step::Wait(ms) => of.wait_until(of.twin.last() + Span::from_millis(ms))?,
            Step::Ask(at, what) => {
                let (space, key) = PLACES[usize::from(at)];
                of.space = format!("{place}/{space}").into();
                let [newest, earlier] = &mut given[usize::from(at)];
                let answer = of.ask(op(key, what, *newest, *earlier))?;
                if let (What::Create(_) | What::Replace(..), Answer::Applied(revision)) = (what, answer) {
                    (*newest, *earlier) = (revision, *newest);
                }
            }
        }
    }
    Ok(())
}

fn op(name: &str, what: What, newest: Revision, earlier: Revision) -> EngineOp {
    let (key, ttl) = (key(name), Span::from_millis);
    let revision = |named| match named {
        Named::Newest => newest,
        Named::Earlier => earlier,
        Named::Other => Revision(newest.0 + 1_000_000_007),
        Named::Zero => Revision::ANY,
    };
    match what {
        What::Get => Op::Get { key },
        What::Create(ms) => put(name, None, "created", ms.map(ttl)),
        What::Replace(named, ms) => put(name, Some(revision(named)), "replaced", ms.map(ttl)),
        What::Renew(named, ms) => Op::Renew { key, revision: revision(named), ttl: ttl(ms) },
        What::Delete(named) => Op::DeleteIf { key, revision: revision(named) },
        What::List(limit) => Op::List { after: key, limit },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::strategy::ValueTree;

    use super::*;

    #[test]
    fn walks_name_all_kinds_of_revisions_of_all_kinds_of_keys() {
        let mut runner = TestRunner::deterministic();
        let mut met: BTreeMap<_, u32> = BTreeMap::new();
        for _ in 0..CASES {
            let walk = Walks::sequential_strategy(LENGTHS).new_tree(&mut runner).unwrap();
            let (mut known, steps, _) = walk.current();
            for step in steps {
                if let Step::Ask(place, what) = step
                    && let Some(named) = what.named()
                {
                    *met.entry((format!("{named:?}"), known[usize::from(place)].life)).or_default() += 1;
                }
                known = Walks::apply(known, &step);
            }
        }
        assert_eq!(met.len(), 12, "{met:?}");
        assert!(met.values().all(|times| *times >= 5), "{met:?}");
    }
}
