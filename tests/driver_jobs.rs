//! Jobs on the driver, on the engine in memory: callbacks, and what becomes of them.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, JobRun, Once, OnceError, OnceRun, Store};
use fencepost::engine::memory::Memory;
use fencepost::job::{JobConfig, Outcome};
use fencepost::mutex::MutexConfig;
use fencepost::once::{Backoff, Delivery, OnceConfig, PROPS_BYTES_MAX, RunAt, State};
use fencepost::store::{Answer, Op};
use fencepost::time::{Span, StoreTime};
use rig::*;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const NOW: RunAt = RunAt::In(Span::ZERO);

fn every(interval: Duration) -> JobConfig {
    let poll_interval = Duration::from_millis(20);
    let mutex = MutexConfig { poll_interval, ..short() };
    JobConfig { mutex, ..JobConfig::new(Schedule::every(interval).unwrap()) }
}

fn scheduler(delivery: Delivery) -> OnceConfig {
    let mutex = MutexConfig { poll_interval: Duration::from_millis(20), ..short() };
    OnceConfig { mutex, ..OnceConfig::new(delivery) }
}

fn again() -> Delivery {
    let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(1) };
    Delivery::AtLeastOnce { attempts: 3, backoff }
}

/// What an engine keeps of a recurring job's last run.
fn record(memory: &Memory) -> String {
    match ask(memory, "job/a", Op::Get { key: Box::from([1]) }) {
        Answer::Found(Some(entry)) => entry.record.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn occurrences_are_run_by_one_of_two_processes_each_under_a_higher_token() {
    let memory = Memory::new();
    let stores = [Store::start(memory.share()).unwrap(), Store::start(memory.share()).unwrap()];
    let (sender, mut runs) = unbounded_channel();
    let inside = Arc::new(AtomicBool::new(false));
    let jobs: Vec<_> = stores
        .iter()
        .map(|store| {
            let (sender, inside) = (sender.clone(), inside.clone());
            let run = move |run: JobRun| {
                let (sender, inside) = (sender.clone(), inside.clone());
                async move {
                    assert!(!inside.swap(true, Ordering::SeqCst) && run.is_held() && !run.is_interrupted());
                    tokio::task::yield_now().await;
                    inside.store(false, Ordering::SeqCst);
                    sender.send((run.occurrence(), run.token(), run.runs())).unwrap();
                }
            };
            Job::schedule(store, "a", every(Duration::from_millis(1)), run).unwrap()
        })
        .collect();
    let mut last = (StoreTime::ZERO, Default::default(), 0);
    for number in 0..20 {
        let run = soon(runs.recv()).await.unwrap();
        assert!(run.0 > last.0 && run.1 > last.1 && run.2 == number, "{last:?} {run:?}");
        last = run;
    }
    for job in &jobs {
        soon(job.close()).await;
    }
    drop(sender);
    assert!(record(&memory).contains(r#""outcome":"succeeded""#));
    assert_eq!(entry(&memory, "job/a"), None, "nobody holds its lock");
}

/// Runs one callback, and closes the job when it has ended: what was recorded.
async fn recorded<F>(callback: fn(JobRun) -> F) -> String
where
    F: Future<Output: fencepost::driver::Report> + Send + 'static,
{
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let job = Job::schedule(&store, "a", every(Duration::from_secs(3_600)), callback).unwrap();
    until(|| record(&memory).contains("ended")).await;
    soon(job.close()).await;
    record(&memory)
}

#[tokio::test]
async fn what_a_callback_returns_is_recorded_and_a_panic_is_a_failure() {
    let outcome =
        |text: String| text.split("outcome\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(outcome(recorded(|_| async {}).await), "succeeded");
    assert_eq!(outcome(recorded(|_| async { Err::<(), _>("no paper") }).await), "failed");
    assert_eq!(outcome(recorded(|_| async { Outcome::Interrupted }).await), "interrupted");
    async fn late(_: JobRun) {
        panic!("in the callback, on purpose")
    }
    assert_eq!(outcome(recorded(late).await), "failed");
    fn early(_: JobRun) -> std::future::Ready<()> {
        panic!("before the callback's future is made, on purpose")
    }
    assert_eq!(outcome(recorded(early).await), "failed");
}

#[tokio::test]
async fn a_callback_is_told_that_its_job_closes_and_is_waited_for() {
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let (sender, mut news) = unbounded_channel();
    let job = Job::schedule(&store, "a", every(Duration::from_millis(1)), move |run: JobRun| {
        let sender = sender.clone();
        async move {
            sender.send("began").unwrap();
            run.interrupted().await;
            assert!(run.is_held() && run.is_interrupted(), "it still has its lock to end under");
            sender.send("interrupted").unwrap();
        }
    });
    let job = job.unwrap();
    assert_eq!(soon(news.recv()).await, Some("began"));
    soon(job.close()).await;
    assert_eq!(news.try_recv(), Ok("interrupted"));
    assert!(record(&memory).contains("ended"));
}

#[tokio::test]
async fn a_callback_is_told_that_its_lock_is_lost_and_closing_the_store_waits_for_it() {
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let (sender, mut news) = unbounded_channel();
    let may_end = Arc::new(AtomicBool::new(false));
    let end = may_end.clone();
    let job = Job::schedule(&store, "a", every(Duration::from_secs(3_600)), move |run: JobRun| {
        let (sender, end) = (sender.clone(), end.clone());
        async move {
            sender.send("began").unwrap();
            run.interrupted().await;
            sender.send(if run.is_held() { "held" } else { "lost" }).unwrap();
            until(|| end.load(Ordering::Relaxed)).await;
        }
    });
    let _job = job.unwrap();
    assert_eq!(soon(news.recv()).await, Some("began"));
    match ask(&memory, "job/a", Op::Get { key: Box::from([0, 0]) }) {
        Answer::Found(Some(lock)) => {
            let op = Op::DeleteIf { key: Box::from([0, 0]), revision: lock.revision };
            assert_eq!(ask(&memory, "job/a", op), Answer::Applied(lock.revision));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(soon(news.recv()).await, Some("lost"));
    let unfinished = store.close(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(unfinished.left.len(), 1);
    assert_eq!(unfinished.left[0].doing, "running a callback");
    may_end.store(true, Ordering::Relaxed);
}

/// A scheduler whose callbacks tell what they got.
fn telling(store: &Store, delivery: Delivery) -> (Once<String>, UnboundedReceiver<(String, u32, String)>) {
    let once = Once::<String>::new(store, "o", scheduler(delivery)).unwrap();
    let (sender, told) = unbounded_channel();
    let told_of = move |run: OnceRun<String>| {
        let sender = sender.clone();
        async move {
            assert!(run.is_held() && run.token().0 > 0);
            sender.send((run.key().to_string(), run.attempt(), run.props().clone())).unwrap();
            if run.props() == "fails" { Err("on purpose") } else { Ok(()) }
        }
    };
    once.start(told_of).unwrap();
    (once, told)
}

fn got(key: &str, attempt: u32, props: &str) -> Option<(String, u32, String)> {
    Some((key.into(), attempt, props.into()))
}

#[tokio::test]
async fn jobs_that_run_once_are_scheduled_run_found_listed_rescheduled_and_cancelled() {
    let memory = Memory::new();
    let (ours, theirs) = (Store::start(memory.share()).unwrap(), Store::start(memory.share()).unwrap());
    let (_runner, mut told) = telling(&theirs, Delivery::AtMostOnce);
    let once = Once::<String>::new(&ours, "o", scheduler(Delivery::AtMostOnce)).unwrap();

    let far = RunAt::In(Span::from_secs(3_600));
    once.schedule("b", far, &"later".into()).await.unwrap();
    once.schedule("a", NOW, &"now".into()).await.unwrap();
    assert_eq!(soon(told.recv()).await, got("a", 1, "now"));
    assert!(matches!(once.schedule("b", NOW, &"x".into()).await, Err(OnceError::Taken { .. })));
    assert_eq!(
        once.find("b").await.unwrap().map(|task| (task.state, task.props)),
        Some((State::Scheduled, "later".into()))
    );
    assert_eq!(once.find("c").await.unwrap(), None);
    let page = once.list(None, 9).await.unwrap();
    assert_eq!(page.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(once.list(Some("a"), 9).await.unwrap().len(), 1);

    once.reschedule("b", NOW, None).await.unwrap();
    assert_eq!(soon(told.recv()).await, got("b", 1, "later"));
    once.schedule("d", far, &"never".into()).await.unwrap();
    once.cancel("d").await.unwrap();
    assert!(matches!(once.cancel("d").await, Err(OnceError::Missing { .. })));
    assert!(matches!(once.find("d").await.unwrap().map(|task| task.state), Some(State::Cancelled { .. })));
    assert!(matches!(once.reschedule("e", NOW, None).await, Err(OnceError::Missing { .. })));
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again_until_no_attempt_is_left() {
    let store = Store::memory();
    let (once, mut told) = telling(&store, again());
    once.schedule("a", NOW, &"fails".into()).await.unwrap();
    for attempt in 1..=3 {
        assert_eq!(soon(told.recv()).await, got("a", attempt, "fails"));
    }
    soon(once.stop()).await;
    assert!(matches!(once.find("a").await.unwrap().unwrap().state, State::Dead { .. }));
    assert!(told.try_recv().is_err());
    let (_, mut told) = {
        let (sender, told) = unbounded_channel();
        once.start(move |run: OnceRun<String>| {
            let sender = sender.clone();
            async move { sender.send(run.attempt()) }
        })
        .unwrap();
        ((), told)
    };
    assert_eq!(once.start(|_| async {}).unwrap_err(), OnceError::Started);
    once.reschedule("a", NOW, None).await.unwrap();
    assert_eq!(soon(told.recv()).await, Some(1), "a new generation has all its attempts");
}

#[tokio::test]
async fn requests_about_one_key_wait_for_each_other_and_a_callback_may_ask_about_its_own() {
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::Held);
    let remote = moody.remote();
    let store = Store::start(moody).unwrap();
    let once = Once::<String>::new(&store, "o", scheduler(Delivery::AtMostOnce)).unwrap();
    let props = String::new();
    let (mut schedule, mut cancel, mut find) = (
        Box::pin(once.schedule("a", RunAt::In(Span::from_secs(60)), &props)),
        Box::pin(once.cancel("a")),
        Box::pin(once.find("a")),
    );
    pending(schedule.as_mut());
    pending(cancel.as_mut());
    pending(find.as_mut());
    // What was dropped before it was sent is not sent.
    drop(cancel);
    remote.set(Mood::AtOnce);
    remote.answer_all();
    assert_eq!(rig::once(schedule), Some(Ok(())));
    assert_eq!(rig::once(find).unwrap().unwrap().unwrap().state, State::Scheduled);

    let (sender, mut told) = unbounded_channel();
    let (runs, own) = (Arc::new(AtomicU64::new(0)), once.clone());
    let start = once.start(move |run: OnceRun<String>| {
        let (sender, own, first) = (sender.clone(), own.clone(), runs.fetch_add(1, Ordering::Relaxed) == 0);
        async move {
            if first {
                own.reschedule(run.key().as_str(), NOW, None).await.unwrap();
            }
            sender.send(first).unwrap();
        }
    });
    start.unwrap();
    once.reschedule("a", NOW, None).await.unwrap();
    assert_eq!(soon(told.recv()).await, Some(true));
    assert_eq!(soon(told.recv()).await, Some(false));
    soon(store.close(SOON)).await.unwrap();
    assert_eq!(once.find("a").await.unwrap_err(), OnceError::Closed);
    assert_eq!(once.start(|_| async {}).unwrap_err(), OnceError::Closed);
}

#[tokio::test]
async fn keys_and_props_are_refused_with_what_would_be_accepted() {
    let store = Store::memory();
    let once = Once::<String>::new(&store, "o", scheduler(Delivery::AtMostOnce)).unwrap();
    let refused = async |key: &str, props: usize| {
        once.schedule(key, NOW, &"x".repeat(props)).await.unwrap_err().to_string()
    };
    assert_eq!(refused("", 1).await, "the key of a job is empty; it needs 1 to 150 characters");
    assert_eq!(refused(&"k".repeat(151), 1).await, "the key of a job has 151 characters; it may have 150");
    assert_eq!(
        refused("k", PROPS_BYTES_MAX).await,
        "the props of k take 10002 bytes as JSON; they may take 10000"
    );
    once.schedule("k", RunAt::In(Span::from_secs(60)), &"x".repeat(PROPS_BYTES_MAX - 2)).await.unwrap();
    let other = Once::<u32>::new(&store, "o", scheduler(Delivery::AtMostOnce)).unwrap();
    assert!(matches!(other.find("k").await, Err(OnceError::PropsUnreadable { .. })));
}

#[tokio::test]
async fn what_was_scheduled_while_nobody_listened_is_run_once_one_does_again() {
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::AtOnce);
    let remote = moody.remote();
    let (ours, theirs) = (Store::start(moody).unwrap(), Store::start(memory).unwrap());
    let (_once, mut told) = telling(&ours, Delivery::AtMostOnce);
    remote.deafen();
    let (other, _) = telling(&theirs, Delivery::AtMostOnce);
    other.stop().await;
    other.schedule("a", NOW, &"x".into()).await.unwrap();
    tokio::task::yield_now().await;
    assert!(told.try_recv().is_err(), "nobody has said anything");
    remote.listen_again();
    assert_eq!(soon(told.recv()).await, got("a", 1, "x"));
}

#[tokio::test]
async fn a_scheduler_without_handles_stops_and_its_jobs_stay() {
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let (once, told) = telling(&store, Delivery::AtMostOnce);
    once.schedule("a", RunAt::In(Span::from_secs(60)), &"x".into()).await.unwrap();
    drop((once, told));
    assert_eq!(soon(store.close(SOON)).await, Ok(()));
    let page = ask(&memory, "once/o", Op::List { after: Box::from([1]), limit: 9 });
    assert!(matches!(page, Answer::Listed(page) if page.len() == 1));
}
