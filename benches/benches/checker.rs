//! How fast everything that can happen is explored: by our search, and by stateright's own checkers in the same run.
//!
//! ```text
//! cargo bench --bench checker
//! ```
//!
//! Criterion's estimates come first, in wall time. The table then puts medians of processor time side by side; runs
//! alternate, on one thread each. stateright explores two things: our mutex as a [`stateright::Model`], in a smaller
//! scope, and its own example, two-phase commit with seven members, whose states are much smaller than a world. The
//! first also puts every choice into words, which our search does not.

use std::fmt::Debug;
use std::hash::Hash;
use std::hint::black_box;
use std::time::Duration;

use cpu_time::ProcessTime;
use criterion::{Criterion, SamplingMode, Throughput};
use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Fairness, Mutex, MutexConfig};
use fencepost::time::{Ppm, Span};
use fencepost_benches::two_phase::TwoPhase;
use fencepost_models::checker::{Model, Scope};
use fencepost_models::property::{Property, PropertySet};
use fencepost_models::world::{Bounds, Setup};
use fencepost_sim::{Budget, CheckPlan, Spend};
use stateright::Checker;

const ROUNDS: usize = 5;

/// What was explored, by one run.
#[derive(Clone, Copy, Debug)]
struct Count {
    unique: u64,
    generated: u64,
    /// The memory that each unique state took, where that is known.
    bytes: Option<f64>,
}

/// One line of the table.
struct Contender {
    model: &'static str,
    explorer: &'static str,
    explore: Box<dyn Fn() -> Count>,
}

fn plan(instances: u32, ttl: u32, pauses: u8) -> CheckPlan {
    let budget = Budget::NONE.with(Spend::Pause, pauses);
    CheckPlan { instances, ttl, delay: 1, budget, ..CheckPlan::default() }
}

/// Our search.
fn search(plan: &CheckPlan) -> Count {
    let algorithms = fencepost_sim::algorithms();
    let mutex = algorithms.iter().find(|one| one.card().name == "mutex").expect("the mutex is registered");
    let checked = mutex.check(plan, &|_| true).expect("the plan is sound");
    let [checked] = &checked[..] else { panic!("the mutex has one case") };
    assert!(checked.is_proved(), "the mutex keeps its promises");
    let bytes = Some(checked.bytes as f64 / checked.states as f64);
    Count { unique: checked.states, generated: checked.generated, bytes }
}

/// The mutex as our search sees it: two instances, a time to live of three ticks, a delay of one, nothing wrong.
fn mutex() -> Model<Mutex> {
    let tick = Duration::from_secs(1);
    let config = MutexConfig {
        lease: LeaseConfig {
            ttl: tick * 3,
            refresh_interval: tick,
            jitter: Ppm::ZERO,
            renew_timeout: tick * 2 - Duration::from_nanos(1),
            drift: Ppm::ZERO,
            delay_bound: Duration::ZERO,
            ablated: None,
        },
        poll_interval: tick,
        fairness: Fairness::Unordered,
        lock_delay: Duration::ZERO,
        metrics_group: None,
    };
    let config = config.terms().expect("a sound configuration");
    let tick = Span::from(tick);
    let bounds = Bounds {
        delay: tick,
        slack: tick.minus(Span::from_nanos(1)),
        call: tick * 2,
        orphan: Span::ZERO,
        progress: tick * 20,
    };
    let setup = Setup {
        config,
        instances: 2,
        resources: 1,
        jobs: 0,
        stores: 1,
        hints: false,
        merges_hints: true,
        bounds,
        strict: false,
    };
    let unasked = PropertySet::of(&[Property::Order, Property::Determinism, Property::Stability]);
    let judged = PropertySet::usual().without(unasked);
    Model::new(Scope {
        setup,
        tick,
        budget: Budget::NONE,
        judged,
        keeps_facts: false,
        symmetry: true,
        reduction: false,
        at_once: false,
    })
}

/// What stateright can explore.
trait Explored:
    stateright::Model<
        State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static,
        Action: Clone + PartialEq,
    > + Send
    + Sync
    + 'static
{
}

impl Explored for Model<Mutex> {}

impl Explored for TwoPhase {}

fn depth_first<M: Explored>(model: M) -> Count {
    count(&model.checker().threads(1).spawn_dfs().join())
}

fn breadth_first<M: Explored>(model: M) -> Count {
    count(&model.checker().threads(1).spawn_bfs().join())
}

fn count<M: stateright::Model>(checker: &impl Checker<M>) -> Count {
    let (unique, generated) = (checker.unique_state_count() as u64, checker.state_count() as u64);
    Count { unique, generated, bytes: None }
}

fn contenders() -> Vec<Contender> {
    let contender = |model, explorer, explore: Box<dyn Fn() -> Count>| Contender { model, explorer, explore };
    let two_phase = TwoPhase { members: 7 };
    let (small, two, three) = ("mutex, 2 instances", "mutex, 2 instances, 1 pause", "mutex, 3 instances");
    vec![
        contender(two, "fencelab", Box::new(|| search(&plan(2, 3, 1)))),
        contender(three, "fencelab", Box::new(|| search(&plan(3, 4, 0)))),
        contender(small, "fencelab", Box::new(|| search(&plan(2, 3, 0)))),
        contender(small, "stateright, depth first", Box::new(|| depth_first(mutex()))),
        contender(small, "stateright, breadth first", Box::new(|| breadth_first(mutex()))),
        contender("two-phase commit", "stateright, depth first", Box::new(move || depth_first(two_phase))),
        contender(
            "two-phase commit",
            "stateright, breadth first",
            Box::new(move || breadth_first(two_phase)),
        ),
    ]
}

fn seconds(explore: impl FnOnce() -> Count) -> f64 {
    let start = ProcessTime::now();
    black_box(explore());
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_table(contenders: &[Contender]) {
    let counts: Vec<_> = contenders.iter().map(|one| (one.explore)()).collect();
    let rounds: Vec<Vec<f64>> =
        (0..ROUNDS).map(|_| contenders.iter().map(|one| seconds(|| (one.explore)())).collect()).collect();
    println!("\nExploring, on one thread (medians of {ROUNDS} alternating rounds, in processor time)\n");
    println!(
        "| model | explored by | unique states | generated | unique per s | generated per s | bytes per state |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|");
    for (at, (Contender { model, explorer, .. }, count)) in contenders.iter().zip(counts).enumerate() {
        let Count { unique, generated, bytes } = count;
        let seconds = median(rounds.iter().map(|round| round[at]).collect());
        let [per_second, tried] = [unique, generated].map(|number| number as f64 / seconds);
        let bytes = bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.1}"));
        println!(
            "| {model} | {explorer} | {unique} | {generated} | {per_second:.0} | {tried:.0} | {bytes} |"
        );
    }
}

fn exploring(criterion: &mut Criterion, contenders: &[Contender]) {
    let mut group = criterion.benchmark_group("exploring");
    group.sampling_mode(SamplingMode::Flat);
    for Contender { model, explorer, explore } in contenders {
        let count = explore();
        if model.starts_with("two-phase") {
            assert_eq!(count.unique, 296_448, "the states of stateright's example");
        }
        group.throughput(Throughput::Elements(count.generated));
        group.bench_function(format!("{model}, {explorer}"), |bencher| bencher.iter(explore));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let contenders = contenders();
    exploring(&mut criterion, &contenders);
    criterion.final_summary();
    // Not when something else was asked for: a filter, a list, or the one iteration of a test.
    if std::env::args().skip(1).eq(["--bench"]) {
        print_table(&contenders);
    }
}
