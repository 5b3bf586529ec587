//! The handles for callers without async.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_methods, reason = "these are handles for threads")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::blocking::{Flag, Job, Locker, Mutex, Once, Store, WriterLease};
use fencepost::driver::{LockError, LockerError, LockerLost, PetitionError, Worked};
use fencepost::engine::memory::Memory;
use fencepost::flag::{FlagConfig, PetitionEnd};
use fencepost::job::JobConfig;
use fencepost::locker::{Bid, LockKey, LockerConfig};
use fencepost::mutex::{MutexConfig, Release};
use fencepost::once::{Delivery, OnceConfig, RunAt};
use fencepost::time::Span;
use fencepost::writer::{End, State, Unit, WorkId, WorkResult, WriterConfig};

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

#[test]
fn a_holder_hears_on_its_thread_that_it_should_yield() {
    let memory = Memory::new();
    let (ours, theirs) = (Store::start(memory.share()).unwrap(), Store::start(memory).unwrap());
    let config = LockerConfig { lock_delay: None, ..LockerConfig::default() };
    let locker = |store| Locker::new(store, LockKey::Number(7), config.clone()).unwrap();
    let (one, other) = (locker(&ours), locker(&theirs));
    let guard = one.lock(Bid::new("first")).unwrap();
    assert!(guard.is_held() && !guard.is_asked() && guard.extend().unwrap() > Duration::ZERO);
    let newer = thread::spawn(move || other.lock(Bid::new("newer")).unwrap());
    while !guard.is_asked() {
        thread::yield_now();
    }
    assert_eq!(guard.asked().map(|notice| notice.message).as_deref(), Some("newer"));
    assert!(!guard.is_asked(), "it was heard");
    let token = guard.token();
    assert_eq!(guard.release(), Release::Clean);
    let guard = newer.join().unwrap();
    assert!(guard.token() > token && guard.remaining() > Duration::ZERO);
    theirs.close(SOON).unwrap();
    assert_eq!((guard.lost(), guard.asked()), (LockerLost::Closed, None));
    ours.close(SOON).unwrap();
    assert!(matches!(one.lock(Bid::new("late")), Err(LockerError::Closed { .. })));
    assert_eq!(one.key(), &LockKey::Number(7));
}

#[test]
fn threads_of_two_processes_lead_in_turn() {
    let memory = Memory::new();
    let (ours, theirs) = (Store::start(memory.share()).unwrap(), Store::start(memory).unwrap());
    let stand = |store, name| Flag::stand(store, FlagConfig::new("boss", name)).unwrap();
    let one = stand(&ours, "a");
    let term = one.until_raised().unwrap();
    assert!(one.raised() == Some(term) && one.remaining() > Duration::ZERO);
    let other = stand(&theirs, "b");
    let seen = other.until_leader_is_not(None).unwrap();
    assert_eq!(seen.process.to_string(), "a");
    let yielding = {
        let one = one.clone();
        thread::spawn(move || {
            let who = one.petitioned().unwrap();
            one.resign();
            one.until_lowered(term);
            who.to_string()
        })
    };
    assert_eq!(other.petition(), Ok(PetitionEnd::Granted));
    assert_eq!(yielding.join().unwrap(), "b");
    assert!(other.until_raised().unwrap() > term);
    assert_eq!(other.petition(), Err(PetitionError::NoLeader));
    other.set_fit(false);
    other.close();
    assert_eq!((other.leader(), other.until_raised()), (None, None));
}

#[test]
fn work_is_a_plain_function_and_is_run_again_if_it_panics() {
    let store = Store::memory().unwrap();
    let config = WriterConfig { retry_interval: Duration::from_millis(1), ..WriterConfig::default() };
    let writer = WriterLease::start(&store, "routes", config).unwrap();
    assert_eq!((writer.state(), writer.wait_timeout(Duration::ZERO)), (State::Election, None));
    let (sender, runs) = mpsc::channel();
    let attempt = writer.attempt("k", Unit::new(WorkId(1)), move |run| {
        sender.send(*run.key()).unwrap();
        assert!(run.token().is_none());
        static FIRST: std::sync::Once = std::sync::Once::new();
        let mut is_first = false;
        FIRST.call_once(|| is_first = true);
        assert!(!is_first, "so it is run again");
        Worked::done(WorkResult::Extend)
    });
    assert_eq!(attempt.settled(), End::Done);
    assert_eq!(runs.try_iter().collect::<Vec<_>>(), ["k", "k"]);
    assert!(writer.wait() && writer.is_leader() && writer.is_empty());
    writer.expire();
    // Another thread may be at the machine, and works this off, too.
    while writer.is_leader() {
        thread::yield_now();
    }
    writer.clone().stop();
    let late = writer.attempt("k", Unit::new(WorkId(2)), |_| Worked::done(WorkResult::Extend));
    assert_eq!(late.settled(), End::Stopped);
    writer.extend("k", WorkId(2));
    writer.remove("k");
    assert_eq!(writer.len(), 0);
}
