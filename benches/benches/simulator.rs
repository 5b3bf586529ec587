//! What an event of the reference workload costs: on the simulator, and on tokio with paused time in the same run.
//!
//! ```text
//! cargo bench --bench simulator
//! ```
//!
//! Criterion's estimates come first, in wall time. Then tables put both side by side: their runs alternate, so that
//! whatever else the machine does meets both; processor time is measured, and medians are compared. Two things to
//! keep in mind: tokio runs ordinary async code, which the simulator does not, and the simulator also judges every
//! property and hashes each event.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use fencepost::time::Span;
use fencepost_benches::tokio_w::{self, Workload};
use fencepost_sim::Reference;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// One size of the workload. The more instances, the shorter it is: an iteration stays near 100 000 events.
#[derive(Clone, Copy)]
struct Size {
    instances: u32,
    locks: u32,
    seconds: u64,
}

const SIZES: [Size; 5] = [
    Size { instances: 3, locks: 1, seconds: HOUR },
    Size { instances: 10, locks: 1, seconds: HOUR },
    Size { instances: 100, locks: 1, seconds: 360 },
    Size { instances: 1_000, locks: 1, seconds: 60 },
    Size { instances: 10_000, locks: 1_000, seconds: 20 },
];

/// Nobody to contend with: a lone instance that holds, renews and thinks, seconds apart.
const IDLE: [Size; 2] =
    [Size { instances: 1, locks: 1, seconds: DAY }, Size { instances: 1, locks: 1, seconds: 30 * DAY }];

const ROUNDS: u64 = 9;

impl Size {
    fn simulator(self) -> Reference {
        Reference::new(self.instances, self.locks, Span::from_secs(self.seconds))
    }

    fn on_tokio(self) -> Workload {
        Workload::new(self.instances, self.locks, Duration::from_secs(self.seconds))
    }
}

/// Runs one seed on the simulator: how many events it had.
fn simulate(reference: &mut Reference, seed: u64) -> u64 {
    let outcome = reference.run(seed);
    assert!(outcome.violations.is_empty(), "the reference workload breaks nothing: {:?}", outcome.violations);
    outcome.events
}

/// Runs one seed on tokio: how many events it had.
fn run_on_tokio(workload: &Workload, seed: u64) -> u64 {
    let outcome = tokio_w::run(workload, seed);
    assert_eq!(outcome.intrusions, 0, "a sound store lets nobody in twice");
    outcome.events
}

fn nanos_per_event(run: impl FnOnce() -> u64) -> f64 {
    let start = ThreadTime::now();
    let events = black_box(run());
    start.elapsed().as_nanos() as f64 / events as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn reference_workload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reference");
    group.sampling_mode(SamplingMode::Flat);
    for size in SIZES {
        let (mut reference, workload) = (size.simulator(), size.on_tokio());
        group.throughput(Throughput::Elements(simulate(&mut reference, 1)));
        group.bench_function(BenchmarkId::new("simulator", size.instances), |bencher| {
            bencher.iter(|| simulate(&mut reference, 1));
        });
        group.throughput(Throughput::Elements(run_on_tokio(&workload, 1)));
        group.bench_function(BenchmarkId::new("tokio", size.instances), |bencher| {
            bencher.iter(|| run_on_tokio(&workload, 1));
        });
    }
    group.finish();
}

fn idle_time(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("idle");
    group.sampling_mode(SamplingMode::Flat);
    for size in IDLE {
        let mut reference = size.simulator();
        group.throughput(Throughput::Elements(simulate(&mut reference, 1)));
        group.bench_function(BenchmarkId::new("days", size.seconds / DAY), |bencher| {
            bencher.iter(|| simulate(&mut reference, 1));
        });
    }
    group.finish();
}

fn print_comparison() {
    println!("\nThe reference workload, ns per event (medians of {ROUNDS} alternating rounds)\n");
    println!("| instances | locks | simulated s | events | simulator | tokio, paused | ratio |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for size in SIZES {
        let Size { instances, locks, seconds } = size;
        let (mut reference, workload) = (size.simulator(), size.on_tokio());
        let events = simulate(&mut reference, 1);
        let rounds = (1..=ROUNDS).map(|seed| {
            let simulator = nanos_per_event(|| simulate(&mut reference, seed));
            (simulator, nanos_per_event(|| run_on_tokio(&workload, seed)))
        });
        let (simulator, tokio): (Vec<_>, Vec<_>) = rounds.unzip();
        let (simulator, tokio) = (median(simulator), median(tokio));
        let ratio = tokio / simulator;
        println!(
            "| {instances} | {locks} | {seconds} | {events} | {simulator:.1} | {tokio:.0} | {ratio:.1} |"
        );
    }
}

/// Events cost, hours do not: the cost of an event stays the same when there is next to nothing to do.
fn print_idle() {
    println!("\nA lone instance\n");
    println!("| simulated days | events | events per simulated s | ns per event | simulated days per s |");
    println!("|---:|---:|---:|---:|---:|");
    for size in IDLE {
        let mut reference = size.simulator();
        let events = simulate(&mut reference, 1);
        let rounds = (1..=ROUNDS).map(|seed| nanos_per_event(|| simulate(&mut reference, seed)));
        let nanos = median(rounds.collect());
        let days = size.seconds / DAY;
        let density = events as f64 / size.seconds as f64;
        let speed = days as f64 / (events as f64 * nanos / 1e9);
        println!("| {days} | {events} | {density:.2} | {nanos:.1} | {speed:.0} |");
    }
}

const SWEEP: u64 = 64;

/// What a sweep took, in seconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    processors: f64,
}

/// Runs the same seeds on so many threads.
fn sweep(threads: usize) -> Cost {
    let (next, nanos) = (AtomicU64::new(1), AtomicU64::new(0));
    let work = || {
        let start = ThreadTime::now();
        let mut reference = SIZES[1].simulator();
        while let seed @ 1..=SWEEP = next.fetch_add(1, Ordering::Relaxed) {
            black_box(simulate(&mut reference, seed));
        }
        nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    };
    let start = Instant::now();
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    Cost { wall: start.elapsed().as_secs_f64(), processors: nanos.into_inner() as f64 / 1e9 }
}

/// Two threads take half the time, if the machine lets them: where it has other work, "processors" says how many
/// they were given, and a ratio at which they had less than two is not about them.
fn print_threads() {
    let rounds: Vec<_> = (0..5).map(|_| [sweep(1), sweep(2)]).collect();
    let of = |threads: usize, figure: fn(Cost) -> f64| {
        median(rounds.iter().map(|costs| figure(costs[threads - 1])).collect())
    };
    let one = of(1, |cost| cost.wall);
    let available = thread::available_parallelism().map_or(1, usize::from);
    println!("\n{SWEEP} seeds of an hour with 10 instances, on a machine of {available} processors\n");
    println!("| threads | seeds per s | ratio | processors | seeds per processor second |");
    println!("|---:|---:|---:|---:|---:|");
    for threads in [1, 2] {
        let wall = of(threads, |cost| cost.wall);
        let (speed, ratio) = (SWEEP as f64 / wall, one / wall);
        let given = of(threads, |cost| cost.processors / cost.wall);
        let thrift = SWEEP as f64 / of(threads, |cost| cost.processors);
        println!("| {threads} | {speed:.0} | {ratio:.2} | {given:.2} | {thrift:.0} |");
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    reference_workload(&mut criterion);
    idle_time(&mut criterion);
    criterion.final_summary();
    // Not when something else was asked for: a filter, a list, or the one iteration of a test.
    if std::env::args().skip(1).eq(["--bench"]) {
        print_comparison();
        print_idle();
        print_threads();
    }
}
