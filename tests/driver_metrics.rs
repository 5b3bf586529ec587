//! What is counted, under the names that operations.md gives.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use fencepost::driver::{Mutex, Store};
use fencepost::engine::memory::Memory;
use fencepost::mutex::MutexConfig;
use fencepost::store::{Answer, Expect, Op};
use fencepost::time::Span;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use rig::*;

/// How often each series was touched.
#[derive(Clone, Default)]
struct Counts(Arc<Lock<BTreeMap<String, u64>>>);

struct Series(Counts, String);

impl Counts {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }

    fn seen(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().clone().into_iter().collect()
    }
}

impl Series {
    fn add(&self, times: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += times;
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Series {
    fn record(&self, seconds: f64) {
        assert!((0.0..3_700.0).contains(&seconds), "{} {seconds}", self.1);
        self.add(1);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

#[tokio::test]
async fn a_hand_over_a_loss_and_a_lost_answer_are_counted_by_group() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::AtOnce);
    let remote = moody.remote();
    let (ours, theirs) = (Store::start(moody).unwrap(), Store::start(memory.share()).unwrap());
    let config = MutexConfig { metrics_group: Some("reports".into()), ..short() };
    let ours = Mutex::new(&ours, "a", config).unwrap();
    let theirs = Mutex::new(&theirs, "a", short()).unwrap();

    let first = theirs.lock().await.unwrap();
    let mut waiting = Box::pin(ours.lock());
    pending(waiting.as_mut());
    first.release().await;
    let guard = once(waiting).expect("it was handed over").unwrap();
    remote.set(Mood::Held);
    let mut extending = Box::pin(guard.extend());
    pending(extending.as_mut());
    remote.lose_all();
    drop(extending);
    remote.set(Mood::AtOnce);
    steal(&memory, "mutex/a");
    soon(guard.lost()).await;

    let expected = [
        ("fencepost_lock_grab_seconds group=a", 1),
        ("fencepost_lock_grab_seconds group=reports", 1),
        ("fencepost_lock_handoff_seconds group=reports", 1),
        ("fencepost_lock_held_seconds group=a", 1),
        ("fencepost_lock_held_seconds group=reports", 1),
        ("fencepost_lock_losses_total group=reports reason=gone", 1),
        ("fencepost_lock_retries_total group=reports", 1),
        ("fencepost_unknown_outcomes_total group=reports", 1),
    ];
    assert_eq!(counts.seen(), expected.map(|(name, times)| (name.to_owned(), times)));
}

#[tokio::test]
async fn what_is_freed_beside_a_lock_is_no_hand_over_of_it() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let memory = Memory::new();
    let store = Store::start(memory.share()).unwrap();
    let put = |key: &[u8]| {
        let record = r#"{"identity":1,"attempt":1}"#.into();
        let op = Op::PutIf { key: Box::from(key), expect: Expect::Absent, record, ttl: None };
        match ask(&memory, "mutex/a", op) {
            Answer::Applied(revision) => revision,
            answer => panic!("{answer:?}"),
        }
    };
    let (held, other) = (put(&[0]), put(&[9]));
    let poll_interval = Duration::from_millis(5);
    let lock = Mutex::new(&store, "a", MutexConfig { poll_interval, ..short() }).unwrap();
    let mut waiting = Box::pin(lock.lock());
    pending(waiting.as_mut());
    // Word comes, and the claim that follows is refused.
    ask(&memory, "mutex/a", Op::DeleteIf { key: Box::from([9]), revision: other });
    pending(waiting.as_mut());
    // The holder dies, of which nobody hears: the waiter finds out by looking.
    let ttl = Span::from_millis(1);
    ask(&memory, "mutex/a", Op::Renew { key: Box::from([0]), revision: held, ttl });
    drop(soon(waiting).await.unwrap());
    let is_hand_over = |(name, _): &(String, u64)| name.starts_with("fencepost_lock_handoff_seconds");
    assert!(!counts.seen().iter().any(is_hand_over), "{:?}", counts.seen());
}

#[cfg(feature = "cron")]
#[tokio::test]
async fn occurrences_that_nobody_ran_are_counted_by_whoever_runs_the_next_one() {
    use fencepost::calendar::Schedule;
    use fencepost::driver::wire::WireKey;
    use fencepost::driver::{Job, JobRun};
    use fencepost::engine::{Engine, Request};
    use fencepost::job::{Dropped, JobConfig, Meta, Outcome, Progress};
    use fencepost::line::Owner;
    use fencepost::machine::Identity;
    use fencepost::run::{Key, Record};
    use fencepost::time::StoreTime;

    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let memory = Memory::new();
    let hour = Span::from_secs(3_600);
    let look = Request { space: "job/reports".into(), op: Op::Get { key: Box::from([0]) } };
    let now = memory.answer(&look).unwrap().at;
    // Three hours ago it ran, and nobody was there since.
    let last = StoreTime::from_nanos(now.as_nanos() / hour.as_nanos() * hour.as_nanos()) - hour * 3;
    let progress = Progress::Ended { at: last, outcome: Outcome::Succeeded };
    let owner = Owner { identity: Identity(1), attempt: 1 };
    let meta = Meta { occurrence: last, started: last, busy_since: None, progress, runs: 1, owner };
    let record = serde_json::to_string(&Record::Work(meta)).unwrap();
    let mut key = Vec::new();
    Key::Work.write(&mut key);
    let put =
        Op::PutIf { key: key.into(), expect: Expect::Absent, record: record.as_str().into(), ttl: None };
    assert!(matches!(ask(&memory, "job/reports", put), Answer::Applied(_)));

    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let config = JobConfig::new(Schedule::cron("0 * * * *", "UTC").unwrap());
    let store = Store::start(memory.share()).unwrap();
    let job = Job::schedule(&store, "reports", config, move |run: JobRun| {
        sender.send((run.occurrence(), run.dropped())).unwrap();
        async {}
    });
    let (occurrence, dropped) = soon(begun.recv()).await.unwrap();
    let missed = occurrence.since(last).as_nanos() / hour.as_nanos() - 1;
    assert_eq!(dropped, Dropped { missed: missed as u32, skipped: 0 });
    job.unwrap().close().await;
    let seen = counts.seen();
    assert!(
        seen.contains(&("fencepost_job_dropped_total group=reports reason=missed".into(), missed)),
        "{seen:?}"
    );
}
