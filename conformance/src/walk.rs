//! Random walks: requests of all kinds about a few keys, held against the twin step by step.

use fencepost::engine::EngineOp;
use fencepost::store::{Answer, Op, Revision};
use fencepost::time::Span;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::cases::{Examiner, key, put};
use crate::twin::{Breach, Rule};

/// Which revision a request names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
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
pub(crate) enum Step {
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

const KEYS: u8 = 3;

fn named() -> impl Strategy<Value = Named> {
    prop_oneof![
        6 => Just(Named::Newest),
        2 => Just(Named::Earlier),
        1 => Just(Named::Other),
        1 => Just(Named::Zero),
    ]
}

/// All walks.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let lives = || prop_oneof![Just(None), (1u64..12).prop_map(Some), Just(Some(60_000))];
    let step = prop_oneof![
        4 => key().prop_map(Step::Get),
        6 => (key(), lives()).prop_map(|(key, ttl)| Step::Create(key, ttl)),
        4 => (key(), named(), lives()).prop_map(|(key, named, ttl)| Step::Replace(key, named, ttl)),
        4 => (key(), named(), 1u64..12).prop_map(|(key, named, ttl)| Step::Renew(key, named, ttl)),
        4 => (key(), named()).prop_map(|(key, named)| Step::Delete(key, named)),
        2 => (key(), 0u32..4).prop_map(|(key, limit)| Step::List(key, limit)),
        1 => (0u8..2).prop_map(Step::Move),
        2 => (0u64..8).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The walks that every examination takes: the same ones each time.
pub(crate) fn at_random(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let place = of.space.clone();
    let walks = std::cell::Cell::new(0);
    let of = std::cell::RefCell::new(of);
    let broken = std::cell::Cell::new(None);
    let walked = runner.run(&steps(), |steps| {
        walks.set(walks.get() + 1);
        let mut of = of.borrow_mut();
        walk(&mut of, &format!("{place}/{}", walks.get()), &steps).map_err(|breach| {
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

/// Takes one walk.
pub(crate) fn walk(of: &mut Examiner<'_>, place: &str, steps: &[Step]) -> Result<(), Breach> {
    let mut given = [[Revision(0); 2]; KEYS as usize];
    of.space = format!("{place}/0").into();
    for step in steps {
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

fn op(step: Step, given: &[[Revision; 2]; KEYS as usize]) -> EngineOp {
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
