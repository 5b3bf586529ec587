//! How stores come to an end, and what is not to end with them: what is on its way when a store closes, runtimes that end
//! first, code of users that panics.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fencepost::calendar::{Last, Schedule};
use fencepost::driver::{
    Flag, Job, JobRun, LockError, Locker, Lost, Mutex, Once, OnceError, OnceRun, PetitionError, SetupError,
    Store, blocking,
};
use fencepost::engine::memory::Memory;
use fencepost::flag::FlagConfig;
use fencepost::job::JobConfig;
use fencepost::lease::LeaseConfig;
use fencepost::locker::{Bid, LockKey, LockerConfig};
use fencepost::mutex::{Fairness, MutexConfig};
use fencepost::once::{Delivery, OnceConfig, RunAt};
use fencepost::store::{Answer, Op};
use fencepost::time::{Span, StoreTime};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rig::*;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch::{self, Sender};

type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

const NOW: RunAt = RunAt::In(Span::ZERO);

fn mutex(store: &Store, key: &str) -> Mutex {
    Mutex::new(store, key, short()).unwrap()
}

fn scheduler(store: &Store) -> Once<u32> {
    Once::new(store, "o", OnceConfig::new(Delivery::AtMostOnce)).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[tokio::test]
async fn what_a_claim_on_its_way_takes_is_given_back_before_its_store_has_closed() {
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::Held);
    let remote = moody.remote();
    let store = Store::start(moody).unwrap();
    let lock = mutex(&store, "a");
    let mut waiting = Box::pin(lock.lock());
    pending(waiting.as_mut());
    let mut closing = Box::pin(store.close(SOON));
    pending(closing.as_mut());
    assert!(matches!(once(waiting), Some(Err(LockError::Closed { .. }))));
    remote.answer_all();
    assert!(entry(&memory, "mutex/a").is_some(), "it was taken after all");
    pending(closing.as_mut());
    remote.answer_all();
    assert_eq!(soon(closing).await, Ok(()));
    assert_eq!(entry(&memory, "mutex/a"), None);
}

#[tokio::test]
async fn what_could_not_be_given_back_in_time_is_said() {
    let moody = Moody::new(&Memory::new(), Mood::Held);
    let remote = moody.remote();
    let store = Store::start(moody).unwrap();
    let lock = mutex(&store, "a");
    pending(std::pin::pin!(lock.lock()));
    remote.answer_all();
    let unfinished = store.close(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(
        unfinished.to_string(),
        "the store was closed, but not all had ended within 20ms: mutex/a (waiting for an answer of the store)"
    );
}

#[tokio::test]
async fn a_store_may_take_as_long_as_it_likes_to_close() {
    assert_eq!(soon(Store::memory().close(Duration::MAX)).await, Ok(()));
}

#[test]
fn once_its_runtime_has_ended_a_store_is_closed_and_whoever_asks_is_told() {
    let first = runtime();
    let memory = Memory::new();
    let (ours, theirs) =
        first.block_on(async { (Store::start(memory.share()).unwrap(), Store::start(memory).unwrap()) });
    let (lock, jobs) = (mutex(&ours, "a"), scheduler(&ours));
    let held = first.block_on(mutex(&theirs, "a").lock()).unwrap();
    let flag = Flag::stand(&ours, FlagConfig::new("f", "p")).unwrap();
    assert!(flag.raised().is_some() && !ours.is_closed());
    drop(first);

    runtime().block_on(async {
        assert!(ours.is_closed());
        assert!(matches!(soon(lock.lock()).await, Err(LockError::Closed { .. })));
        assert!(matches!(soon(lock.lock_timeout(SOON)).await, Err(LockError::Closed { .. })));
        assert_eq!(soon(jobs.schedule("a", NOW, &1)).await, Err(OnceError::Closed));
        soon(jobs.stop()).await;
        assert_eq!(soon(flag.petition()).await, Err(PetitionError::Closed));
        assert_eq!((flag.raised(), soon(flag.until_raised()).await), (None, None));
        assert_eq!(soon(held.lost()).await, Lost::Closed);
        let late = Mutex::new(&ours, "b", short()).unwrap_err();
        assert!(matches!(late, SetupError::Closed { .. }));
    });
}

#[test]
fn what_is_given_back_with_the_last_handle_of_a_blocking_store_is_followed_up() {
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::AtOnce);
    let remote = moody.remote();
    let store = blocking::Store::start(moody).unwrap();
    let lease = LeaseConfig { ttl: 3 * SOON, refresh_interval: SOON, ..short().lease };
    let lock = blocking::Mutex::new(&store, "a", MutexConfig { lease, ..short() }).unwrap();
    let guard = lock.lock().unwrap();
    drop(lock);
    drop(store);
    remote.set(Mood::Held);
    drop(guard);
    assert_eq!(remote.waiting(), 1);
    remote.set(Mood::AtOnce);
    remote.lose_all();
    runtime().block_on(until(|| entry(&memory, "mutex/a").is_none()));
}

/// A callback that begins, and ends when the test says so, whatever it is told.
fn stubborn() -> (impl Fn() -> Run + Clone, Receiver<()>, Sender<bool>) {
    let ((began, has_begun), (end, ends)) = (channel(1), watch::channel(false));
    let callback = move || {
        let (began, mut ends) = (began.clone(), ends.clone());
        let run = async move {
            began.send(()).await.unwrap();
            ends.wait_for(|ends| *ends).await.unwrap();
        };
        Box::pin(run) as Run
    };
    (callback, has_begun, end)
}

#[tokio::test]
async fn whoever_waits_for_a_callback_that_outlived_its_store_waits_for_that_and_no_longer() {
    let store = Store::memory();
    let (callback, mut has_begun, end) = stubborn();
    let jobs = scheduler(&store);
    let run = callback.clone();
    jobs.start(move |_: OnceRun<u32>| run()).unwrap();
    jobs.schedule("a", NOW, &1).await.unwrap();
    let every = Schedule::every(Duration::from_millis(1)).unwrap();
    let config = JobConfig { mutex: short(), ..JobConfig::new(every) };
    let job = Job::schedule(&store, "j", config, move |_: JobRun| callback()).unwrap();
    for _ in 0..2 {
        soon(has_begun.recv()).await.unwrap();
    }
    let unfinished = store.close(Duration::from_millis(20)).await.unwrap_err();
    let doing: Vec<_> = unfinished.left.iter().map(|left| left.doing).collect();
    assert_eq!(doing, ["running a callback", "running callbacks"]);
    let (mut stopping, mut closing) = (Box::pin(jobs.stop()), Box::pin(job.close()));
    pending(stopping.as_mut());
    pending(closing.as_mut());
    end.send(true).unwrap();
    soon(stopping).await;
    soon(closing).await;
    soon(jobs.stop()).await;
}

// ── what users bring along ──

static PANICS: AtomicBool = AtomicBool::new(false);
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

fn a_schedule_that_panics(_: StoreTime, _: Option<&Last>) -> Span {
    if PANICS.load(Ordering::SeqCst) {
        HAS_PANICKED.store(true, Ordering::SeqCst);
        panic!("a schedule of a user has panicked");
    }
    Span::from_millis(500)
}

#[tokio::test]
async fn a_schedule_that_panics_ends_its_job_and_nothing_else() {
    let store = Store::memory();
    let guard = mutex(&store, "other").lock().await.unwrap();
    let config = JobConfig { mutex: short(), ..JobConfig::new(Schedule::Custom(a_schedule_that_panics)) };
    let (ran, mut has_run) = tokio::sync::mpsc::unbounded_channel();
    let job = Job::schedule(&store, "j", config, move |_: JobRun| {
        let ran = ran.clone();
        async move { ran.send(()) }
    })
    .unwrap();
    soon(has_run.recv()).await;
    // It is asked again when the job is woken for the next one.
    tokio::time::sleep(Duration::from_millis(100)).await;
    PANICS.store(true, Ordering::SeqCst);
    until(|| HAS_PANICKED.load(Ordering::SeqCst)).await;
    // It answers, although nobody would have asked it.
    soon(job.close()).await;
    tokio::time::sleep(2 * short().lease.ttl).await;
    assert!(guard.is_held(), "it is renewed");
    assert_eq!(soon(store.close(SOON)).await, Ok(()));
}

/// A recorder of which a histogram panics.
struct Panics(&'static str);

struct Panicking;

impl HistogramFn for Panicking {
    fn record(&self, _: f64) {
        panic!("a recorder of a user has panicked");
    }
}

impl Recorder for Panics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == self.0 { Histogram::from_arc(Arc::new(Panicking)) } else { Histogram::noop() }
    }
}

#[tokio::test]
async fn a_recorder_that_panics_ends_its_lock_and_nothing_else() {
    let store = Store::memory();
    let counted = {
        let _recording = metrics::set_default_local_recorder(&Panics("fencepost_lock_held_seconds"));
        mutex(&store, "counted")
    };
    let guard = mutex(&store, "other").lock().await.unwrap();
    drop(soon(counted.lock()).await.unwrap());
    assert!(matches!(soon(counted.lock()).await, Err(LockError::Closed { .. })));
    assert!(guard.is_held() && once(mutex(&store, "third").lock()).is_some());
    drop(guard);
    assert_eq!(soon(store.close(SOON)).await, Ok(()));
}

#[tokio::test]
async fn whoever_waits_is_told_before_anything_is_counted() {
    let store = Store::memory();
    let _recording = metrics::set_default_local_recorder(&Panics("fencepost_lock_grab_seconds"));
    let key = LockKey::tuple(["a".into()]);
    let locker =
        Locker::new(&store, key, LockerConfig { lock_delay: None, ..LockerConfig::default() }).unwrap();
    let _ = soon(locker.lock(Bid::new("to see what comes of it"))).await;
    let _ = soon(mutex(&store, "a").lock()).await;
    assert_eq!(soon(store.close(SOON)).await, Ok(()));
}

#[tokio::test]
async fn a_callback_whose_scheduler_has_panicked_is_waited_for() {
    let store = Store::memory();
    let (callback, mut has_begun, end) = stubborn();
    let jobs = {
        let _recording = metrics::set_default_local_recorder(&Panics("fencepost_job_run_seconds"));
        let config = OnceConfig { slots: 2, ..OnceConfig::new(Delivery::AtMostOnce) };
        Once::<u32>::new(&store, "o", config).unwrap()
    };
    let jobs_run = move |run: OnceRun<u32>| if *run.props() == 1 { callback() } else { Box::pin(async {}) };
    jobs.start(jobs_run).unwrap();
    jobs.schedule("a", NOW, &1).await.unwrap();
    soon(has_begun.recv()).await.unwrap();
    jobs.schedule("b", NOW, &2).await.unwrap();
    // Once it is told that it is over, what was asked for has panicked.
    until(|| once(jobs.find("a")).is_some_and(|found| found == Err(OnceError::Closed))).await;
    let unfinished = store.close(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(unfinished.left[0].doing, "running callbacks");
    end.send(true).unwrap();
    soon(jobs.stop()).await;
    assert_eq!(soon(store.close(SOON)).await, Ok(()));
}

// ── crowds and crossings ──

const CROWD: usize = 400;

#[test]
fn a_crowd_in_line_needs_no_deeper_stack() {
    let mut small = Builder::new_multi_thread();
    let runtime = small.worker_threads(2).thread_stack_size(128 << 10).enable_time().build().unwrap();
    let crowd = async {
        let memory = Memory::new();
        let store = Store::start(memory.share()).unwrap();
        let config = || MutexConfig { fairness: Fairness::Fifo, ..short() };
        let handle = || Mutex::new(&store, "a", config()).unwrap();
        let first = handle().lock().await.unwrap();
        let enter = |lock: Mutex| async move { drop(lock.lock().await.unwrap()) };
        let waiting: Vec<_> = (0..CROWD).map(|_| tokio::spawn(enter(handle()))).collect();
        let places = || match ask(&memory, "mutex/a", Op::List { after: Box::from([0]), limit: 1_000 }) {
            Answer::Listed(places) => places.len(),
            answer => panic!("{answer:?}"),
        };
        until(|| places() == CROWD).await;
        drop(first);
        for waits in waiting {
            waits.await.unwrap();
        }
    };
    runtime.block_on(runtime.spawn(crowd)).unwrap();
}

#[tokio::test]
async fn word_of_a_release_that_overtakes_the_refusal_before_it_is_heard() {
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::Held);
    let remote = moody.remote();
    let (ours, theirs) = (Store::start(moody).unwrap(), Store::start(memory).unwrap());
    let held = mutex(&theirs, "a").lock().await.unwrap();
    let lock = mutex(&ours, "a");
    let mut waiting = Box::pin(lock.lock());
    pending(waiting.as_mut());
    let refusals = remote.carry_out_all();
    held.release().await;
    refusals.into_iter().for_each(|(responder, reply)| responder.answer(reply));
    // Nobody looks again for an hour.
    remote.answer_all();
    assert!(once(waiting).is_some_and(|guard| guard.is_ok()));
}
