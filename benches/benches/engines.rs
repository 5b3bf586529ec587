//! What the engines cost on their own: round trips, hints from one handle to another, and many writers at once.
//!
//! Servers are private and local. A thread waits for each answer, so a row contains what it takes to wake that thread.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use fencepost::engine::postgres::PostgresOptions;
use fencepost::engine::sqlite::{SqliteOptions, Synchronous};
use fencepost::engine::{Ear, Engine, EngineOp, Hint};
use fencepost::store::{Answer, Expect, Op, Revision};
use fencepost::time::Span;
use fencepost_conformance::{Caller, Candidate, Memory, Postgres, Sqlite};

const PATIENCE: Duration = Duration::from_secs(60);
/// How many write at once.
const WRITERS: u32 = 16;

fn put(key: &str, expect: Expect) -> EngineOp {
    let record = "{\"owner\":{\"identity\":1234567890,\"attempt\":7}}".into();
    Op::PutIf { key: key.as_bytes().into(), expect, record, ttl: Some(Span::from_secs(15)) }
}

fn delete(key: &str, revision: Revision) -> EngineOp {
    Op::DeleteIf { key: key.as_bytes().into(), revision }
}

/// Asks for something that has to be applied.
fn applied(caller: &Caller, space: &str, op: EngineOp) -> (Revision, Duration) {
    let call = caller.call(space, op).expect("an answer");
    match call.reply.answer {
        Answer::Applied(revision) => (revision, call.received - call.sent),
        answer => panic!("{answer:?}"),
    }
}

fn round_trips(group: &mut BenchmarkGroup<'_, WallTime>, caller: &Caller) {
    let (mut revision, _) = applied(caller, "bench", put("a", Expect::Absent));
    group.bench_function("get", |bencher| {
        bencher.iter(|| caller.call("bench", Op::Get { key: Box::from(*b"a") }).expect("an answer"));
    });
    group.bench_function("put_if", |bencher| {
        bencher.iter(|| revision = applied(caller, "bench", put("a", Expect::Revision(revision))).0);
    });
    group.bench_function("delete_if", |bencher| {
        bencher.iter_custom(|count| {
            let one = |_| {
                let (revision, _) = applied(caller, "bench", put("b", Expect::Absent));
                applied(caller, "bench", delete("b", revision)).1
            };
            (0..count).map(one).sum()
        });
    });
    applied(caller, "bench", delete("a", revision));
}

/// Says when something was freed.
struct Bell(Mutex<Sender<Instant>>);

impl Ear for Bell {
    fn hear(&self, hint: Hint<'_>) {
        if hint == (Hint::Freed { space: "hand-off" }) {
            let _ = self.0.lock().expect("no panic").send(Instant::now());
        }
    }
}

fn hear(engine: &dyn Engine) -> Receiver<Instant> {
    let (rings, heard) = channel();
    engine.listen(Arc::new(Bell(Mutex::new(rings))));
    heard
}

/// From the moment at which one handle sends a deletion to the one at which another one's ear hears of it.
fn hand_off(group: &mut BenchmarkGroup<'_, WallTime>, candidate: &dyn Candidate, caller: &Caller) {
    let other = candidate.open();
    let heard = hear(&*other);
    group.bench_function("hand-off", |bencher| {
        bencher.iter_custom(|count| {
            let one = |_| {
                let (revision, _) = applied(caller, "hand-off", put("a", Expect::Absent));
                let sent = Instant::now();
                applied(caller, "hand-off", delete("a", revision));
                heard.recv_timeout(PATIENCE).expect("a hint") - sent
            };
            (0..count).map(one).sum()
        });
    });
    Caller::of(other, PATIENCE).close().expect("an end");
}

/// So many threads write at once, each to a key and a space of its own.
fn writers(group: &mut BenchmarkGroup<'_, WallTime>, engine: &Arc<dyn Engine>) {
    group.throughput(Throughput::Elements(WRITERS.into()));
    group.bench_function("16 writers", |bencher| {
        bencher.iter_custom(|count| {
            let began = Instant::now();
            thread::scope(|scope| {
                for writer in 0..WRITERS {
                    scope.spawn(move || {
                        let (caller, space) =
                            (Caller::of(engine.clone(), PATIENCE), format!("writer/{writer}"));
                        let (mut revision, _) = applied(&caller, &space, put("a", Expect::Absent));
                        for _ in 0..count {
                            revision = applied(&caller, &space, put("a", Expect::Revision(revision))).0;
                        }
                        applied(&caller, &space, delete("a", revision));
                    });
                }
            });
            began.elapsed()
        });
    });
}

fn bench(criterion: &mut Criterion, name: &str, candidate: &dyn Candidate) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let engine = candidate.open();
    let caller = Caller::of(engine.clone(), PATIENCE);
    round_trips(&mut group, &caller);
    hand_off(&mut group, candidate, &caller);
    writers(&mut group, &engine);
    caller.close().expect("an end");
    group.finish();
}

fn engines(criterion: &mut Criterion) {
    bench(criterion, "memory", &Memory::default());
    for (name, synchronous) in [("sqlite full", Synchronous::Full), ("sqlite normal", Synchronous::Normal)] {
        let mut options = SqliteOptions::default();
        options.synchronous = synchronous;
        bench(criterion, name, &Sqlite::new(options));
    }
    for (name, connections, setting) in [
        ("postgres, 1 connection", 1, "synchronous_commit=on"),
        ("postgres, 2 connections", 2, "synchronous_commit=on"),
        ("postgres, 8 connections", 8, "synchronous_commit=on"),
        (
            "postgres, synchronous_commit=off",
            PostgresOptions::default().connections,
            "synchronous_commit=off",
        ),
    ] {
        let mut options = PostgresOptions::default();
        options.connections = connections;
        bench(criterion, name, &Postgres::new(&[setting], options));
    }
}

criterion_group!(benches, engines);
criterion_main!(benches);
