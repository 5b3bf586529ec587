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

/// One step of a walk.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Reads a key.
    Get(u8),
    /// Writes a key that is absent; lives for so many milliseconds.
    Create(u8, Option<u64>),
    /// Writes over a revision.
    Replace(u8, Named, Option<u64>),
    /// Prolongs a life.
    Renew(u8, Named, u64),
    /// Deletes.
    Delete(u8, Named),
    /// Lists what comes after a key.
    List(u8, u32),
    /// Goes to another space.
    Move(u8),
    /// Lets so many milliseconds pass.
    Wait(u64),
}

const KEYS: usize = 3;

/// Which walks there are. What is known of the store before a walk is taken is how often each key will have been written by then,
/// so how many revisions of it there may be to name: whether a write is applied depends on who has died meanwhile.
struct Walks;

impl ReferenceStateMachine for Walks {
    type State = [u32; KEYS];
    type Transition = Step;

    fn init_state() -> BoxedStrategy<[u32; KEYS]> {
        Just([0; KEYS]).boxed()
    }

    fn transitions(written: &[u32; KEYS]) -> BoxedStrategy<Step> {
        let written = *written;
        let key = || 0..KEYS as u8;
        let named = move || key().prop_flat_map(move |key| (Just(key), named(written[usize::from(key)])));
        let lives = || prop_oneof![Just(None), (1u64..12).prop_map(Some), Just(Some(60_000))];
        let step = prop_oneof![
            4 => key().prop_map(Step::Get),
            6 => (key(), lives()).prop_map(|(key, ttl)| Step::Create(key, ttl)),
            4 => (named(), lives()).prop_map(|((key, named), ttl)| Step::Replace(key, named, ttl)),
            4 => (named(), 1u64..12).prop_map(|((key, named), ttl)| Step::Renew(key, named, ttl)),
            4 => named().prop_map(|(key, named)| Step::Delete(key, named)),
            2 => (key(), 0u32..4).prop_map(|(key, limit)| Step::List(key, limit)),
            1 => (0u8..2).prop_map(Step::Move),
            2 => (0u64..8).prop_map(Step::Wait),
        ];
        step.boxed()
    }

    /// What is left of a walk that is made smaller still names what there may be.
    fn preconditions(written: &[u32; KEYS], step: &Step) -> bool {
        match *step {
            Step::Replace(key, named, _) | Step::Renew(key, named, _) | Step::Delete(key, named) => {
                written[usize::from(key)] >= named.writes()
            }
            Step::Get(_) | Step::Create(..) | Step::List(..) | Step::Move(_) | Step::Wait(_) => true,
        }
    }

    fn apply(mut written: [u32; KEYS], step: &Step) -> [u32; KEYS] {
        if let Step::Create(key, _) | Step::Replace(key, ..) = *step {
            written[usize::from(key)] += 1;
        }
        written
    }
}

impl Named {
    /// How many writes there must have been, for there to be such a revision.
    fn writes(self) -> u32 {
        match self {
            Named::Newest => 1,
            Named::Earlier => 2,
            Named::Other | Named::Zero => 0,
        }
    }
}

/// What can be named of a key that was written so often.
fn named(written: u32) -> impl Strategy<Value = Named> {
    let all = [(6, Named::Newest), (2, Named::Earlier), (1, Named::Other), (1, Named::Zero)];
    let possible = all.into_iter().filter(|(_, named)| written >= named.writes());
    Union::new_weighted(possible.map(|(weight, named)| (weight, Just(named))).collect())
}

/// The walks that every examination takes: the same ones each time.
pub(crate) fn at_random(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let place = of.space.clone();
    let walks = std::cell::Cell::new(0);
    let of = std::cell::RefCell::new(of);
    let broken = std::cell::Cell::new(None);
    let walked = runner.run(&Walks::sequential_strategy(1..40), |(_, steps, taken)| {
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
    let mut given = [[Revision(0); 2]; KEYS];
    of.space = format!("{place}/0").into();
    for step in steps {
        taken.map(|taken| taken.fetch_add(1, Ordering::SeqCst));
        match *step {
            Step::Move(space) => of.space = format!("{place}/{space}").into(),
            Step::Wait(ms) => of.wait_until(of.twin.last() + Span::from_millis(ms))?,
            step => {
                let answer = of.ask(op(step, &given))?;
                if let (Step::Create(key, _) | Step::Replace(key, ..), Answer::Applied(revision)) =
                    (step, answer)
                {
                    let [newest, earlier] = &mut given[usize::from(key)];
                    (*newest, *earlier) = (revision, *newest);
                }
            }
        }
    }
    Ok(())
}

fn op(step: Step, given: &[[Revision; 2]; KEYS]) -> EngineOp {
    let name = |at: u8| ["a", "ab", "b"][usize::from(at)];
    let ttl = |ms: u64| Span::from_millis(ms);
    let revision = |at: u8, named| match named {
        Named::Newest => given[usize::from(at)][0],
        Named::Earlier => given[usize::from(at)][1],
        Named::Other => Revision(given[usize::from(at)][0].0 + 1_000_000_007),
        Named::Zero => Revision::ANY,
    };
    match step {
        Step::Create(at, ms) => put(name(at), None, "created", ms.map(ttl)),
        Step::Replace(at, named, ms) => put(name(at), Some(revision(at, named)), "replaced", ms.map(ttl)),
        Step::Renew(at, named, ms) => {
            Op::Renew { key: key(name(at)), revision: revision(at, named), ttl: ttl(ms) }
        }
        Step::Delete(at, named) => Op::DeleteIf { key: key(name(at)), revision: revision(at, named) },
        Step::List(at, limit) => Op::List { after: key(name(at)), limit },
        Step::Get(at) | Step::Move(at) => Op::Get { key: key(name(at)) },
        Step::Wait(_) => Op::Get { key: key("clock") },
    }
}
