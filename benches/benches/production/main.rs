//! What the driver adds to its engines.
//!
//! ```text
//! cargo bench --bench production
//! cargo bench --bench production -- pairs
//! ```
//!
//! First the engine in memory, in processor time of the one thread that does it all. `lock` is an uncontended lock and its
//! release, beside the same two requests to the bare engine. `is_held` is beside the clock that it reads, and the one of the
//! standard library. `hand-off` passes one lock to and fro between two tasks, each with a store handle of its own, beside two
//! tasks that do the same by hand: a write if absent, a delete, and a notification between them; it has no renewal, no
//! time-out, no cancellation and no clock.
//!
//! Then all engines, in time that passes: `pairs` is the same done through fencepost, by the bare engine and by a client
//! written by hand, in turn, and how long a hand-off takes that nobody hears of; `renewals` is how fast 10,000 held locks are
//! renewed. A server is started for that, if one is installed.

mod by_hand;
mod pairs;
mod renewals;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use criterion::{Bencher, Criterion, Throughput};
use fencepost::driver::{Guard, Mutex, Store};
use fencepost::engine::clock;
use fencepost::engine::memory::Memory;
use fencepost::mutex::MutexConfig;
use fencepost_conformance::server::PostgresServer;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use by_hand::Bare;

const HELD: usize = 10_000;

/// Counts processor time: other processes may want the machine, too.
fn time<R>(bench: &mut Bencher<'_>, mut what: impl FnMut() -> R) {
    bench.iter_custom(|times| {
        let began = ThreadTime::now();
        for _ in 0..times {
            black_box(what());
        }
        began.elapsed()
    });
}

/// What is ready at once needs no runtime to say so.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the engine in memory answers at once"),
    }
}

fn mutex(store: &Store, key: &str) -> Mutex {
    Mutex::new(store, key, MutexConfig::default()).expect("it is a key")
}

fn lock(mutex: &Mutex) -> Guard {
    at_once(mutex.lock()).expect("nobody else wants it")
}

fn uncontended(criterion: &mut Criterion, runtime: &Runtime) {
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("lock");
    let bare = Bare::new(Arc::new(Memory::new()), "mutex/a");
    group.bench_function("bare engine", |bench| {
        time(bench, || bare.release_at_once(bare.claim_at_once().expect("it is free")));
    });
    let store = Store::memory();
    let one = mutex(&store, "a");
    group.bench_function("lock and release", |bench| time(bench, || at_once(lock(&one).release())));
    group.bench_function("lock and drop", |bench| time(bench, || drop(lock(&one))));
    group.bench_function("new, lock and release", |bench| {
        time(bench, || at_once(lock(&mutex(&store, "b")).release()));
    });
    let others: Vec<_> = (0..HELD).map(|number| mutex(&store, &format!("lock {number}"))).collect();
    let guards: Vec<_> = others.iter().map(lock).collect();
    group.bench_function("lock and release among 10,000 held", |bench| {
        time(bench, || at_once(lock(&one).release()));
    });
    assert!(guards.iter().all(Guard::is_held));
    group.finish();
}

fn belief(criterion: &mut Criterion, runtime: &Runtime) {
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("is_held");
    let store = Store::memory();
    let guard = lock(&mutex(&store, "a"));
    group.bench_function("is_held", |bench| time(bench, || black_box(&guard).is_held()));
    group.bench_function("the clock that it reads", |bench| time(bench, clock::mono));
    group.bench_function("std::time::Instant::now", |bench| time(bench, Instant::now));
    group.finish();
}

/// How long it takes to pass a lock on so many times.
async fn hand_offs(memory: &Memory, times: u64) -> Duration {
    let stores = [(); 2].map(|()| Store::start(memory.share()).expect("it is in a runtime"));
    let began = ThreadTime::now();
    let tasks = stores.each_ref().map(|store| {
        let mutex = mutex(store, "a");
        tokio::spawn(async move {
            for _ in 0..times / 2 {
                let guard = mutex.lock().await.expect("the store is open");
                // The other one comes to wait for it.
                tokio::task::yield_now().await;
                drop(guard);
            }
        })
    });
    for task in tasks {
        task.await.expect("it does not panic");
    }
    began.elapsed()
}

/// The same by hand.
async fn hand_offs_by_hand(times: u64) -> Duration {
    let bare = Arc::new(Bare::new(Arc::new(Memory::new()), "mutex/a"));
    let freed = Arc::new(Notify::new());
    let began = ThreadTime::now();
    let tasks = [(); 2].map(|()| {
        let (bare, freed) = (bare.clone(), freed.clone());
        tokio::spawn(async move {
            for _ in 0..times / 2 {
                let revision = loop {
                    match bare.claim_at_once() {
                        Some(revision) => break revision,
                        None => freed.notified().await,
                    }
                };
                tokio::task::yield_now().await;
                bare.release_at_once(revision);
                freed.notify_one();
            }
        })
    });
    for task in tasks {
        task.await.expect("it does not panic");
    }
    began.elapsed()
}

fn handed_over(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("hand-off");
    group.throughput(Throughput::Elements(1));
    group.bench_function("by hand", |bench| {
        bench.iter_custom(|times| runtime.block_on(hand_offs_by_hand(times)));
    });
    group.bench_function("mutex", |bench| {
        bench.iter_custom(|times| runtime.block_on(hand_offs(&Memory::new(), times)));
    });
    group.finish();
}

/// Whether this part is wanted: all are, unless a filter names another one. Criterion has filters of its own.
fn is_wanted(part: &str) -> bool {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    arguments.next().is_none_or(|filter| part.contains(&*filter))
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    uncontended(&mut criterion, &runtime);
    belief(&mut criterion, &runtime);
    handed_over(&mut criterion, &runtime);
    criterion.final_summary();
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = PostgresServer::is_installed().then(|| PostgresServer::start(&[]));
    if server.is_none() {
        println!("PostgreSQL is left out: its programs are not installed");
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if is_wanted("pairs") {
        pairs::compare(&runtime, server.as_ref());
    }
    if is_wanted("renewals") {
        renewals::measure(&runtime, server.as_ref());
    }
}
