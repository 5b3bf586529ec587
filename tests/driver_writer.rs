//! The writer lease on the driver, on the engine in memory: what runs, who leads, and what is left behind.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

mod rig;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fencepost::driver::{SetupError, Store, WorkRun, Worked, WriterLease};
use fencepost::engine::memory::Memory;
use fencepost::writer::{Arbiter, End, State, Unit, WorkId, WorkResult, WriterConfig};
use rig::*;

const ONE: WorkId = WorkId(1);
const TWO: WorkId = WorkId(2);

fn config() -> WriterConfig {
    WriterConfig { retry_interval: Duration::from_millis(1), ..WriterConfig::default() }
}

fn locked() -> WriterConfig {
    WriterConfig { arbiter: Arbiter::Lock(short()), ..config() }
}

fn writer(store: &Store, config: WriterConfig) -> WriterLease<&'static str> {
    WriterLease::start(store, "w", config).unwrap()
}

async fn succeed(_: WorkRun<&'static str>) -> Worked {
    Worked::done(WorkResult::Extend)
}

/// It ends when it is told to.
async fn linger(run: WorkRun<&'static str>) -> Worked {
    run.interrupted().await;
    Worked::done(WorkResult::None)
}

#[tokio::test]
async fn whoever_succeeds_leads_and_who_sees_that_follows_without_a_store() {
    let moody = Moody::new(&Memory::new(), Mood::Held);
    let remote = moody.remote();
    let store = Store::start(moody).unwrap();
    let (one, other) = (writer(&store, config()), writer(&store, config()));
    assert_eq!((one.state(), one.is_leader(), one.is_empty()), (State::Election, false, true));
    assert_eq!(one.wait_timeout(Duration::from_millis(1)).await, None);
    let (attempt, leads) =
        tokio::join!(soon(one.attempt("k", Unit::new(ONE), succeed).settled()), soon(one.wait()));
    other.extend("k", ONE);
    assert_eq!((attempt, leads), (End::Done, true));
    assert_eq!((one.state(), one.is_leader()), (State::Leader, true));
    assert!(!soon(other.wait()).await);
    assert_eq!(other.state(), State::Follower);
    let late =
        other.attempt("k", Unit::new(TWO), |_| async { panic!("it follows, and leaves it to the other") });
    assert_eq!(other.len(), 1);
    other.extend("k", TWO);
    assert_eq!(once(late.settled()), Some(End::Observed));
    assert_eq!((other.len(), remote.waiting()), (0, 0));
    one.expire();
    assert_eq!((one.state(), one.is_leader()), (State::Follower, false));
}

#[tokio::test]
async fn work_that_panics_has_failed_and_is_run_again_as_often_as_it_may() {
    let store = Store::memory();
    let writer = writer(&store, config());
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let attempt = writer.attempt("k", Unit::new(ONE), move |_| {
        let run = count.fetch_add(1, Ordering::Relaxed);
        assert!(run > 0, "before there is a future");
        async move {
            assert!(run > 1, "and within it");
            Worked::done(WorkResult::Extend)
        }
    });
    assert_eq!(soon(attempt.settled()).await, End::Done);
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    let count = runs.clone();
    let hopeless = writer.attempt("k", Unit::new(TWO).limit_retries(1), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Worked::again(WorkResult::None) }
    });
    assert_eq!(soon(hopeless.settled()).await, End::GaveUp);
    assert_eq!(runs.load(Ordering::Relaxed), 5);
    assert!(writer.is_empty());
}

#[tokio::test]
async fn a_stop_interrupts_what_runs_and_waits_for_it() {
    let store = Store::memory();
    let writer = writer(&store, config());
    let running = writer.attempt("k", Unit::new(ONE), linger);
    let waiting = writer.attempt("k", Unit::new(TWO), succeed);
    let removed = writer.attempt("k", Unit::new(WorkId(3)), succeed);
    assert_eq!(once(waiting.settled()), Some(End::Replaced));
    writer.remove("k");
    assert_eq!(once(removed.settled()), Some(End::Removed));
    assert_eq!(writer.len(), 1, "what runs goes on");
    {
        let mut stopping = pin!(writer.stop());
        pending(stopping.as_mut());
        soon(stopping).await;
    }
    assert!(matches!(once(running.settled()), Some(End::Done)));
    assert!(writer.is_empty() && !soon(writer.wait()).await);
    let late = writer.attempt("k", Unit::new(ONE), |_| async { panic!("it has stopped") });
    assert_eq!(once(late.settled()), Some(End::Stopped));
}

#[tokio::test]
async fn under_a_lock_work_bears_its_token_and_hears_of_its_loss() {
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let writer = writer(&store, locked());
    let (sender, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let attempt = writer.attempt("k", Unit::new(ONE), move |run| {
        sender.send(run.clone()).unwrap();
        linger(run)
    });
    let run = soon(runs.recv()).await.unwrap();
    let (revision, _) = entry(&memory, "writer/w").unwrap();
    assert_eq!(run.token().map(|token| token.0), Some(revision.0));
    assert!(run.is_held() && !run.is_interrupted() && writer.is_leader());
    assert_eq!((*run.key(), run.id()), ("k", ONE));
    steal(&memory, "writer/w");
    soon(run.interrupted()).await;
    assert!(!run.is_held() && !writer.is_leader());
    assert_eq!(soon(attempt.settled()).await, End::Done);
    soon(writer.stop()).await;
    assert_eq!(entry(&memory, "writer/w"), None);
}

#[tokio::test]
async fn who_finds_the_lock_taken_follows_until_it_is_free() {
    let memory = Memory::new();
    let (ours, theirs) = (Store::start(memory.share()).unwrap(), Store::start(memory.share()).unwrap());
    let (one, other) = (writer(&ours, locked()), writer(&theirs, locked()));
    assert_eq!(soon(one.attempt("k", Unit::new(ONE), succeed).settled()).await, End::Done);
    let attempt = other.attempt("k", Unit::new(TWO), succeed);
    assert!(!soon(other.wait()).await && one.is_leader());
    soon(one.stop()).await;
    assert_eq!(soon(attempt.settled()).await, End::Done);
    assert!(other.is_leader());
}

#[tokio::test]
async fn a_store_that_is_closed_stops_its_writers_and_so_does_the_last_handle() {
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let dropped = writer(&store, locked());
    assert_eq!(soon(dropped.attempt("k", Unit::new(ONE), succeed).settled()).await, End::Done);
    assert!(entry(&memory, "writer/w").is_some());
    drop(dropped);
    assert_eq!(entry(&memory, "writer/w"), None);
    let writer = writer(&store, locked());
    let running = writer.attempt("k", Unit::new(ONE), linger);
    until(|| writer.is_leader()).await;
    soon(store.close(SOON)).await.unwrap();
    assert!(!writer.is_leader());
    assert_eq!(once(running.settled()), Some(End::Done));
    soon(writer.stop()).await;
    assert_eq!(entry(&memory, "writer/w"), None);
    let closed = SetupError::Closed { key: "w".into() };
    assert_eq!(WriterLease::<u8>::start(&store, "w", config()).unwrap_err(), closed);
}
