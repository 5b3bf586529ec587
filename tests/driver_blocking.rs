//! The handles for callers without async.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::LockError;
use fencepost::driver::blocking::{Job, Mutex, Once, Store};
use fencepost::engine::memory::Memory;
use fencepost::job::JobConfig;
use fencepost::mutex::{MutexConfig, Release};
use fencepost::once::{Delivery, OnceConfig, RunAt};
use fencepost::time::Span;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn threads_take_turns_and_see_what_the_others_wrote() {
    let store = Store::memory().unwrap();
    let mutex = Mutex::new(&store, "a", MutexConfig::default()).unwrap();
    let (sender, tokens) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (mutex, sender) = (mutex.clone(), sender.clone());
            scope.spawn(move || {
                for _ in 0..50 {
                    let guard = mutex.lock().unwrap();
                    assert!(guard.is_held() && guard.remaining() > Duration::ZERO);
                    sender.send(guard.token()).unwrap();
                }
            });
        }
    });
    drop(sender);
    let tokens: Vec<_> = tokens.iter().collect();
    assert_eq!(tokens.len(), 200);
    assert!(tokens.is_sorted_by(|one, next| one < next), "each one sees a higher token");
}

#[test]
fn a_waiter_times_out_and_is_refused_when_the_store_closes() {
    let memory = Memory::new();
    let (ours, theirs) = (Store::start(memory.share()).unwrap(), Store::start(memory).unwrap());
    let theirs = Mutex::new(&theirs, "a", MutexConfig::default()).unwrap();
    let guard = theirs.lock().unwrap();
    assert!(guard.extend().unwrap() > Duration::ZERO);
    let mutex = Mutex::new(&ours, "a", MutexConfig::default()).unwrap();
    assert!(matches!(mutex.try_lock(), Err(LockError::Contended { .. })));
    assert!(matches!(mutex.lock_timeout(Duration::from_millis(5)), Err(LockError::TimedOut { .. })));
    assert_eq!(guard.release(), Release::Clean);
    drop(mutex.lock().unwrap());
    ours.close(SOON).unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Closed { .. })));
}

#[test]
fn a_store_is_opened_by_its_address() {
    assert!(!Store::open("memory:").unwrap().limits().durable);
    let error = Store::open("memory").unwrap_err().to_string();
    assert!(error.contains("accepted: memory:"), "{error}");
}

#[test]
fn callbacks_are_plain_functions_on_threads_of_their_own() {
    let store = Store::memory().unwrap();
    let (sender, runs) = mpsc::channel();
    let config = JobConfig::new(Schedule::every(Duration::from_secs(3_600)).unwrap());
    let of_job = sender.clone();
    let job = Job::schedule(&store, "a", config, move |run| {
        of_job.send(String::from("job")).unwrap();
        while !run.is_interrupted() {
            thread::yield_now();
        }
    });
    let job = job.unwrap();
    assert_eq!(runs.recv_timeout(SOON).unwrap(), "job");
    // It blocks its thread, and nobody else's.
    let once = Once::<String>::new(&store, "o", OnceConfig::new(Delivery::AtMostOnce)).unwrap();
    once.start(move |run| sender.send(run.props().clone())).unwrap();
    once.schedule("k", RunAt::In(Span::ZERO), &"once".into()).unwrap();
    assert_eq!(runs.recv_timeout(SOON).unwrap(), "once");
    job.close();
    once.stop();
    assert!(once.find("k").unwrap().is_some());
    store.close(SOON).unwrap();
}
