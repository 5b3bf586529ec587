//! The handles on a file that two processes share, as far as the engine lets them tell the difference: answers come later, on
//! another thread, and hints by way of the file.
#![cfg(all(feature = "tokio", feature = "sqlite"))]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, LockError, Mutex, Once, OnceRun, Store};
use fencepost::job::JobConfig;
use fencepost::mutex::{MutexConfig, Release};
use fencepost::once::{Delivery, OnceConfig, RunAt};
use fencepost::time::Span;
use rig::*;

#[tokio::test]
async fn a_lock_is_handed_over_and_a_job_is_run_through_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}?synchronous=normal", folder.path().join("locks.db").display());
    let (ours, theirs) = (Store::open(&address).await.unwrap(), Store::open(&address).await.unwrap());
    let mutex = |store| Mutex::new(store, "a", MutexConfig::default()).unwrap();
    let (one, other) = (mutex(&ours), mutex(&theirs));
    let first = soon(one.lock()).await.unwrap();
    assert!(first.is_held());
    assert!(matches!(soon(other.try_lock()).await, Err(LockError::Contended { .. })));
    let mut waiting = Box::pin(other.lock());
    pending(waiting.as_mut());
    let token = first.token();
    assert!(soon(first.extend()).await.unwrap() > Duration::ZERO);
    assert_eq!(soon(first.release()).await, Release::Clean);
    let second = soon(waiting).await.unwrap();
    assert!(second.token() > token);
    // What is dropped is given back there, too.
    drop(second);
    assert!(soon(one.lock()).await.is_ok());

    let (sender, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let every_hour = JobConfig::new(Schedule::every(Duration::from_secs(3_600)).unwrap());
    let job = Job::schedule(&ours, "j", every_hour, move |run| {
        let sender = sender.clone();
        async move { sender.send(run.token()) }
    });
    let job = job.unwrap();
    assert!(soon(runs.recv()).await.is_some());
    soon(job.close()).await;
    assert_eq!(soon(ours.close(SOON)).await, Ok(()));
    assert_eq!(soon(theirs.close(SOON)).await, Ok(()));
}

#[tokio::test]
async fn what_was_scheduled_just_before_its_store_closed_is_run_at_once_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}?synchronous=normal", folder.path().join("locks.db").display());
    // Whoever does not hear of a job finds it an hour later.
    let config =
        OnceConfig { refresh_interval: Duration::from_secs(3_600), ..OnceConfig::new(Delivery::AtMostOnce) };
    let theirs = Store::open(&address).await.unwrap();
    let runner = Once::<u32>::new(&theirs, "o", config.clone()).unwrap();
    let (sender, mut runs) = tokio::sync::mpsc::unbounded_channel();
    runner
        .start(move |run: OnceRun<u32>| {
            let sender = sender.clone();
            async move { sender.send(*run.props()) }
        })
        .unwrap();
    for round in 0..20 {
        let ours = Store::open(&address).await.unwrap();
        let scheduler = Once::<u32>::new(&ours, "o", config.clone()).unwrap();
        soon(scheduler.schedule(&format!("{round}"), RunAt::In(Span::ZERO), &round)).await.unwrap();
        soon(ours.close(SOON)).await.unwrap();
        assert_eq!(soon(runs.recv()).await, Some(round));
    }
    soon(theirs.close(SOON)).await.unwrap();
}
