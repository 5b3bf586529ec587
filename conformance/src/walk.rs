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
    /// Reads a key.
    Get(Place),
    /// Writes a key that is absent; lives for so many milliseconds.
    Create(Place, Option<u64>),
    /// Writes over a revision.
    Replace(Place, Named, Option<u64>),
    /// Prolongs a life.
    Renew(Place, Named, u64),
    /// Deletes.
    Delete(Place, Named),
    /// Lists what comes after a key.
    List(Place, u32),
    /// Lets so many milliseconds pass.
    Wait(u64),
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
            4 => place().prop_map(Step::Get),
            6 => (place(), lives()).prop_map(|(place, ttl)| Step::Create(place, ttl)),
            6 => (named(), lives()).prop_map(|((place, named), ttl)| Step::Replace(place, named, ttl)),
            4 => (named(), 1u64..12).prop_map(|((place, named), ttl)| Step::Renew(place, named, ttl)),
            4 => named().prop_map(|(place, named)| Step::Delete(place, named)),
            2 => (place(), 0u32..4).prop_map(|(place, limit)| Step::List(place, limit)),
            2 => (0u64..8).prop_map(Step::Wait),
        ];
        step.boxed()
    }

    /// What is left of a walk that is made smaller still names what there may be.
    fn preconditions(known: &Self::State, step: &Step) -> bool {
        step.named().is_none_or(|(place, named)| known[usize::from(place)].revisions >= named.revisions())
    }

    fn apply(mut known: Self::State, step: &Step) -> Self::State {
        let known_of = |place: Place| known[usize::from(place)];
        let (place, after) = match *step {
            Step::Create(place, ttl) => (place, known_of(place).created(ttl)),
            Step::Replace(place, Named::Newest, ttl) => (place, known_of(place).replaced(ttl)),
            Step::Renew(place, Named::Newest, _) => {
                (place, Known { life: known_of(place).life.min(Life::Mortal), ..known_of(place) })
            }
            Step::Delete(place, Named::Newest) => (place, Known { life: Life::Absent, ..known_of(place) }),
            Step::Replace(..) | Step::Renew(..) | Step::Delete(..) => return known,
            Step::Get(_) | Step::List(..) | Step::Wait(_) => return known,
        };
        known[usize::from(place)] = after;
        known
    }
}

impl Known {
    /// A write that finds nothing is applied, one that finds something is not, and of one that may find either nobody knows.
    fn created(self, ttl: Option<u64>) -> Known {
        match self.life {
            Life::Absent => Known { revisions: self.revisions + 1, life: Life::of(ttl) },
            Life::Mortal | Life::Lasting => self,
        }
    }

    fn replaced(self, ttl: Option<u64>) -> Known {
        match self.life {
            Life::Lasting => Known { revisions: self.revisions + 1, life: Life::of(ttl) },
            Life::Absent | Life::Mortal => self,
        }
    }
}

impl Step {
    /// Of which key it names a revision, and which.
    fn named(self) -> Option<(Place, Named)> {
        match self {
            Step::Replace(place, named, _) | Step::Renew(place, named, _) | Step::Delete(place, named) => {
                Some((place, named))
            }
            Step::Get(_) | Step::Create(..) | Step::List(..) | Step::Wait(_) => None,
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
        let (at, op) = match op(*step, &given) {
            Ok(request) => request,
            Err(pause) => {
                of.wait_until(of.twin.last() + pause)?;
                continue;
            }
        };
        of.space = format!("{place}/{}", PLACES[usize::from(at)].0).into();
        let answer = of.ask(op)?;
        if let (Step::Create(..) | Step::Replace(..), Answer::Applied(revision)) = (step, answer) {
            let [newest, earlier] = &mut given[usize::from(at)];
            (*newest, *earlier) = (revision, *newest);
        }
    }
    Ok(())
}

/// What is asked, and where; or how long nothing is.
fn op(step: Step, given: &[[Revision; 2]; PLACES.len()]) -> Result<(Place, EngineOp), Span> {
    let name = |at: Place| PLACES[usize::from(at)].1;
    let ttl = |ms: u64| Span::from_millis(ms);
    let revision = |at: Place, named| match named {
        Named::Newest => given[usize::from(at)][0],
        Named::Earlier => given[usize::from(at)][1],
        Named::Other => Revision(given[usize::from(at)][0].0 + 1_000_000_007),
        Named::Zero => Revision::ANY,
    };
    Ok(match step {
        Step::Get(at) => (at, Op::Get { key: key(name(at)) }),
        Step::Create(at, ms) => (at, put(name(at), None, "created", ms.map(ttl))),
        Step::Replace(at, named, ms) => {
            (at, put(name(at), Some(revision(at, named)), "replaced", ms.map(ttl)))
        }
        Step::Renew(at, named, ms) => {
            (at, Op::Renew { key: key(name(at)), revision: revision(at, named), ttl: ttl(ms) })
        }
        Step::Delete(at, named) => (at, Op::DeleteIf { key: key(name(at)), revision: revision(at, named) }),
        Step::List(at, limit) => (at, Op::List { after: key(name(at)), limit }),
        Step::Wait(ms) => return Err(ttl(ms)),
    })
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
                if let Some((place, named)) = step.named() {
                    *met.entry((format!("{named:?}"), known[usize::from(place)].life)).or_default() += 1;
                }
                known = Walks::apply(known, &step);
            }
        }
        assert_eq!(met.len(), 12, "{met:?}");
        assert!(met.values().all(|times| *times >= 5), "{met:?}");
    }
}
