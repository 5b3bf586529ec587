//! What jobs cost: very many that run once on one scheduler, and many recurring ones on many hosts.
//!
//! ```text
//! cargo bench --bench jobs
//! ```
//!
//! Criterion's estimates come first, in wall time; then tables, in processor time. A scheduler of jobs that run once is
//! driven by hand over a store in memory that answers at once, so its figures contain that store's work; the recurring
//! jobs run in the simulator. What a pending job takes in memory is counted by the test `pending` of this package,
//! which also shows that all pending jobs share one timer.

use std::hint::black_box;
use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use fencepost::calendar::Schedule;
use fencepost::job::Job;
use fencepost::time::Span;
use fencepost_benches::pending::Pending;
use fencepost_sim::Reference;

/// How many jobs are pending.
const PENDING: [u32; 3] = [1_000, 10_000, 100_000];

/// How many firings are timed together; as many new jobs are scheduled before the next.
const FIRINGS: u32 = 100;

const ROUNDS: u64 = 9;

/// One size of the recurring workload.
#[derive(Clone, Copy)]
struct Size {
    hosts: u32,
    jobs: u32,
    seconds: u64,
}

const SIZES: [Size; 3] = [
    Size { hosts: 3, jobs: 1, seconds: 30 * 86_400 },
    Size { hosts: 10, jobs: 100, seconds: 6 * 3_600 },
    Size { hosts: 100, jobs: 1_000, seconds: 3_600 },
];

/// The largest size takes seconds a round.
const RECURRING_ROUNDS: u64 = 3;

impl Size {
    fn simulator(self) -> Reference<Job> {
        let schedule = Schedule::cron("*/5 * * * *", "UTC").expect("it is a cron expression");
        Reference::recurring(schedule, self.hosts, self.jobs, Span::from_secs(self.seconds))
    }

    /// How many occurrences there are: the first and the last one lie at the very ends.
    fn occurrences(self) -> u64 {
        (self.seconds / 300 - 1) * u64::from(self.jobs)
    }
}

/// Runs one seed: how many events it had.
fn simulate(reference: &mut Reference<Job>, size: Size, seed: u64) -> u64 {
    let outcome = reference.run(seed);
    assert!(outcome.violations.is_empty(), "the workload breaks nothing: {:?}", outcome.violations);
    assert_eq!(outcome.acquisitions, size.occurrences(), "each occurrence is run once");
    outcome.events
}

/// A scheduler that knows all of its jobs.
fn started(jobs: u32) -> Pending {
    let mut pending = Pending::new(jobs);
    pending.start();
    assert_eq!(pending.wake(), None, "it lists them once more before the first is due");
    pending
}

fn fire(pending: &mut Pending) {
    (0..FIRINGS).for_each(|_| assert!(black_box(pending.wake()).is_some()));
}

fn schedule(pending: &mut Pending) {
    (0..FIRINGS).for_each(|_| pending.schedule());
}

fn nanos(run: impl FnOnce()) -> f64 {
    let start = ThreadTime::now();
    run();
    start.elapsed().as_nanos() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn once(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("once");
    group.sampling_mode(SamplingMode::Flat);
    for jobs in PENDING {
        group.throughput(Throughput::Elements(u64::from(jobs)));
        group.bench_function(BenchmarkId::new("start", jobs), |bencher| {
            bencher.iter_batched_ref(|| Pending::new(jobs), Pending::start, BatchSize::PerIteration);
        });
        let mut pending = started(jobs);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("schedule and fire", jobs), |bencher| {
            bencher.iter(|| {
                pending.schedule();
                assert!(black_box(pending.wake()).is_some());
            });
        });
    }
    group.finish();
}

fn recurring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recurring");
    group.sampling_mode(SamplingMode::Flat);
    for size in &SIZES[..2] {
        let mut reference = size.simulator();
        group.throughput(Throughput::Elements(simulate(&mut reference, *size, 1)));
        group.bench_function(BenchmarkId::new("machines", size.hosts * size.jobs), |bencher| {
            bencher.iter(|| simulate(&mut reference, *size, 1));
        });
    }
    group.finish();
}

/// What one round measures, in nanoseconds for each job.
fn measure(jobs: u32) -> [f64; 4] {
    let mut pending = Pending::new(jobs);
    let start = nanos(|| pending.start()) / f64::from(jobs);
    let again = nanos(|| assert_eq!(pending.wake(), None)) / f64::from(jobs);
    let scheduled = nanos(|| schedule(&mut pending)) / f64::from(FIRINGS);
    let fired = nanos(|| fire(&mut pending)) / f64::from(FIRINGS);
    [start, again, scheduled, fired]
}

fn print_once() {
    println!("\nJobs that run once, µs of each (medians of {ROUNDS} rounds, the store in memory included)\n");
    println!("| pending | start-up, per job | another listing, per job | schedule one more | fire one |");
    println!("|---:|---:|---:|---:|---:|");
    for jobs in PENDING {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| measure(jobs)).collect();
        let of = |which: usize| median(rounds.iter().map(|round| round[which] / 1e3).collect());
        println!("| {jobs} | {:.3} | {:.3} | {:.2} | {:.2} |", of(0), of(1), of(2), of(3));
    }
}

fn print_recurring() {
    println!("\nRecurring jobs, each five minutes (medians of {RECURRING_ROUNDS} rounds)\n");
    println!("| hosts | jobs | machines | simulated s | runs | events | ns per event | events per s |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in SIZES {
        let Size { hosts, jobs, seconds } = size;
        let mut reference = size.simulator();
        let mut events = simulate(&mut reference, size, 1);
        let rounds = (1..=RECURRING_ROUNDS).map(|seed| {
            let taken = nanos(|| events = black_box(simulate(&mut reference, size, seed)));
            taken / events as f64
        });
        let each = median(rounds.collect());
        let (machines, runs, speed) = (hosts * jobs, size.occurrences(), 1e9 / each);
        println!(
            "| {hosts} | {jobs} | {machines} | {seconds} | {runs} | {events} | {each:.1} | {speed:.0} |"
        );
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    once(&mut criterion);
    recurring(&mut criterion);
    criterion.final_summary();
    // Not when something else was asked for: a filter, a list, or the one iteration of a test.
    if std::env::args().skip(1).eq(["--bench"]) {
        print_once();
        print_recurring();
    }
}
