//! The driver and the handle of the mutex, on the engine in memory: what callers see, and what they leave behind.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fencepost::driver::{LockError, Lost, Mutex, SetupError, StartError, Store};
use fencepost::engine::memory::Memory;
use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Fairness, MutexConfig, Release};
use rig::*;

const SPACE: &str = "mutex/a";

fn mutex(store: &Store) -> Mutex {
    Mutex::new(store, "a", short()).unwrap()
}

/// Two processes that share a store in memory: `ours` does as the test says.
struct Pair {
    memory: Memory,
    remote: Arc<Inner>,
    ours: Store,
    theirs: Store,
}

fn pair(mood: Mood) -> Pair {
    let memory = Memory::new();
    let moody = Moody::new(&memory, mood);
    let remote = moody.remote();
    let (ours, theirs) = (Store::start(moody).unwrap(), Store::start(memory.share()).unwrap());
    Pair { memory, remote, ours, theirs }
}

#[tokio::test]
async fn an_uncontended_lock_and_its_release_end_where_they_began() {
    let store = Store::memory();
    let mutex = mutex(&store);
    let mut last = None;
    for _ in 0..3 {
        let guard = once(mutex.lock()).expect("no switch of tasks").unwrap();
        assert!(guard.is_held() && guard.remaining() > Duration::from_millis(1_000));
        assert!(last < Some(guard.token()));
        last = Some(guard.token());
        assert_eq!(once(guard.release()), Some(Release::Clean));
    }
    assert!(once(mutex.try_lock()).is_some_and(|guard| guard.is_ok()));
    assert!(once(mutex.lock_timeout(Duration::from_millis(1))).is_some_and(|guard| guard.is_ok()));
}

#[tokio::test]
async fn an_engine_that_answers_later_serves_as_well() {
    let pair = pair(Mood::Later);
    let guard = once(mutex(&pair.ours).lock()).unwrap().unwrap();
    assert_eq!(once(guard.release()), Some(Release::Clean));
    assert_eq!(entry(&pair.memory, SPACE), None);
}

#[tokio::test]
async fn a_waiter_in_another_process_enters_when_it_hears_of_the_release() {
    let pair = pair(Mood::AtOnce);
    let (ours, theirs) = (mutex(&pair.ours), mutex(&pair.theirs));
    let guard = theirs.lock().await.unwrap();
    let mut waiting = pin!(ours.lock());
    pending(waiting.as_mut());
    let token = guard.token();
    assert_eq!(guard.release().await, Release::Clean);
    let next = once(waiting).expect("the hint has done it already").unwrap();
    assert!(next.token() > token);
    assert!(pair.remote.published.lock().unwrap().is_empty(), "the engine says itself what was freed");
}

#[tokio::test]
async fn clones_wait_for_each_other_in_the_order_in_which_they_came() {
    let store = Store::memory();
    let mutex = mutex(&store);
    let guard = mutex.lock().await.unwrap();
    let (one, other) = (mutex.clone(), mutex.clone());
    let (mut first, mut second) = (pin!(one.lock()), pin!(other.lock()));
    pending(first.as_mut());
    pending(second.as_mut());
    assert!(matches!(mutex.try_lock().await, Err(LockError::Contended { .. })));
    let late = mutex.lock_timeout(Duration::from_millis(5)).await;
    assert!(matches!(late, Err(LockError::TimedOut { .. })), "{late:?}");
    drop(guard);
    pending(second.as_mut());
    drop(once(first).expect("it is the first one's turn").unwrap());
    assert!(once(second).expect("and then the second one's").unwrap().is_held());
}

#[tokio::test]
async fn a_lock_that_is_held_elsewhere_is_contended_or_times_out() {
    let pair = pair(Mood::AtOnce);
    let theirs = mutex(&pair.theirs);
    let _guard = theirs.lock().await.unwrap();
    let ours = mutex(&pair.ours);
    let error = ours.try_lock().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "mutex/a was tried once, and another one holds it; wait for it with lock or lock_timeout"
    );
    let error = soon(ours.lock_timeout(Duration::from_millis(20))).await.unwrap_err();
    let LockError::TimedOut { waited, .. } = error else { panic!("{error:?}") };
    assert!(waited >= Duration::from_millis(20), "{waited:?}");
}

#[tokio::test]
async fn who_drops_a_wait_waits_no_longer_and_leaves_nothing() {
    for fairness in [Fairness::Unordered, Fairness::Fifo] {
        let pair = pair(Mood::AtOnce);
        let theirs = mutex(&pair.theirs);
        let guard = theirs.lock().await.unwrap();
        let ours = Mutex::new(&pair.ours, "a", MutexConfig { fairness, ..short() }).unwrap();
        {
            let mut waiting = pin!(ours.lock());
            pending(waiting.as_mut());
        }
        guard.release().await;
        assert_eq!(entry(&pair.memory, SPACE), None, "nobody wants it any more");
        let page = ask(&pair.memory, SPACE, fencepost::store::Op::List { after: Box::from([]), limit: 9 });
        assert_eq!(page, fencepost::store::Answer::Listed(vec![]));
    }
}

#[tokio::test]
async fn a_claim_that_is_on_its_way_when_its_wait_is_dropped_is_given_back() {
    let pair = pair(Mood::Held);
    let ours = mutex(&pair.ours);
    {
        let mut waiting = pin!(ours.lock());
        pending(waiting.as_mut());
        assert_eq!(pair.remote.waiting(), 1);
    }
    pair.remote.answer_all();
    assert!(entry(&pair.memory, SPACE).is_some(), "it was granted to nobody");
    pair.remote.answer_all();
    assert_eq!(entry(&pair.memory, SPACE), None, "and given back");
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_looked_for_even_if_all_handles_are_gone() {
    let pair = pair(Mood::Held);
    {
        let ours = mutex(&pair.ours);
        let mut waiting = pin!(ours.lock());
        pending(waiting.as_mut());
    }
    pair.remote.carry_out_and_lose_all();
    assert!(entry(&pair.memory, SPACE).is_some());
    pair.remote.set(Mood::Later);
    let began = Instant::now();
    until(|| entry(&pair.memory, SPACE).is_none()).await;
    assert!(began.elapsed() < short().lease.ttl, "it was not left to expire");
}

#[tokio::test]
async fn a_lock_that_was_granted_but_never_seen_is_given_back() {
    let pair = pair(Mood::Held);
    let ours = mutex(&pair.ours);
    {
        let mut waiting = pin!(ours.lock());
        pending(waiting.as_mut());
        pair.remote.set(Mood::AtOnce);
        pair.remote.answer_all();
        assert!(entry(&pair.memory, SPACE).is_some());
    }
    assert_eq!(entry(&pair.memory, SPACE), None);
    assert!(ours.try_lock().await.is_ok(), "the turn was given back, too");
}

#[tokio::test]
async fn a_dropped_guard_releases_even_if_the_first_try_is_lost() {
    let pair = pair(Mood::AtOnce);
    let guard = mutex(&pair.ours).lock().await.unwrap();
    pair.remote.set(Mood::Held);
    drop(guard);
    pair.remote.lose_all();
    pair.remote.set(Mood::Later);
    let began = Instant::now();
    until(|| entry(&pair.memory, SPACE).is_none()).await;
    assert!(began.elapsed() < short().lease.ttl);
}

#[tokio::test]
async fn a_lock_is_kept_as_long_as_it_is_held() {
    let pair = pair(Mood::Later);
    let guard = mutex(&pair.ours).lock().await.unwrap();
    let (revision, _) = entry(&pair.memory, SPACE).unwrap();
    // So many renewals take longer than a time to live.
    until(|| pair.remote.renewals.load(Ordering::Relaxed) > 22).await;
    assert!(guard.is_held());
    assert_eq!(entry(&pair.memory, SPACE).map(|(revision, _)| revision), Some(revision));
    assert_eq!(guard.token().0, revision.0);
    assert_eq!(guard.release().await, Release::Clean);
}

#[tokio::test]
async fn who_extends_is_told_for_how_long() {
    let pair = pair(Mood::AtOnce);
    let guard = mutex(&pair.ours).lock().await.unwrap();
    pair.remote.set(Mood::Held);
    let mut extending = pin!(guard.extend());
    pending(extending.as_mut());
    pair.remote.answer_all();
    assert!(once(extending).unwrap().unwrap() > Duration::from_millis(1_000));
    assert_eq!(pair.remote.renewals.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stolen_lock_is_lost_when_that_comes_out_and_nobody_else_is_hurt() {
    let pair = pair(Mood::AtOnce);
    let guard = mutex(&pair.ours).lock().await.unwrap();
    let theirs = mutex(&pair.theirs);
    let mut waiting = pin!(theirs.lock());
    pending(waiting.as_mut());
    steal(&pair.memory, SPACE);
    let thief = once(waiting).unwrap().unwrap();
    assert_eq!(guard.extend().await, Err(Lost::Gone));
    assert_eq!(once(guard.lost()), Some(Lost::Gone));
    assert!(!guard.is_held() && guard.remaining() == Duration::ZERO);
    assert_eq!(guard.release().await, Release::Gone);
    assert!(thief.is_held());
    assert_eq!(thief.release().await, Release::Clean);
}

#[tokio::test]
async fn a_lock_of_a_silent_store_is_lost_before_its_entry_expires() {
    let pair = pair(Mood::AtOnce);
    let ours = mutex(&pair.ours);
    let guard = ours.lock().await.unwrap();
    pair.remote.set(Mood::Held);
    assert_eq!(soon(guard.lost()).await, Lost::Expired);
    assert!(!guard.is_held());
    // The next one in this process does not wait for the guard.
    drop(once(ours.lock()));
    assert_eq!(guard.release().await, Release::Gone);
}

#[tokio::test]
async fn an_answer_to_a_request_that_was_sent_again_is_not_taken_for_the_later_one() {
    let pair = pair(Mood::Held);
    let ours = mutex(&pair.ours);
    let mut waiting = pin!(ours.lock());
    pending(waiting.as_mut());
    // The claim is sent again after its time-out. Both are carried out; the first one's answer comes last.
    until(|| pair.remote.waiting() >= 2).await;
    pair.remote.answer_all();
    let guard = soon(waiting).await.unwrap();
    assert_eq!(entry(&pair.memory, SPACE).map(|(revision, _)| revision.0), Some(guard.token().0));
    pair.remote.set(Mood::AtOnce);
    assert_eq!(guard.release().await, Release::Clean);
}

#[tokio::test]
async fn what_runs_while_held_is_dropped_when_the_lock_is_lost() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let pair = pair(Mood::AtOnce);
    let guard = mutex(&pair.ours).lock().await.unwrap();
    assert_eq!(guard.run_while_held(async { 7 }).await, Ok(7));
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Flag(dropped.clone());
    let work = async move {
        let _flag = flag;
        std::future::pending::<()>().await;
    };
    pair.remote.set(Mood::Held);
    assert_eq!(soon(guard.run_while_held(work)).await, Err(Lost::Expired));
    assert!(dropped.load(Ordering::Relaxed));
}

/// Without its timers, a process knows by its clock alone.
#[test]
fn a_holder_whose_runtime_stands_still_does_not_believe_beyond_its_lease() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let guard = runtime.block_on(async { mutex(&Store::memory()).lock().await.unwrap() });
    assert!(guard.is_held());
    let began = Instant::now();
    while guard.is_held() {
        assert!(began.elapsed() < short().lease.ttl, "belief outlives the lease");
        std::thread::yield_now();
    }
    let mut late = Box::pin(guard.run_while_held(async { panic!("it must not go on") }));
    assert_eq!(once(late.as_mut()), Some(Err::<(), _>(Lost::Expired)));
}

#[tokio::test]
async fn a_closed_store_tells_who_waits_releases_what_is_held_and_takes_nothing_new() {
    let pair = pair(Mood::AtOnce);
    let theirs = mutex(&pair.theirs);
    let _guard = theirs.lock().await.unwrap();
    let other = Mutex::new(&pair.ours, "b", short()).unwrap();
    let held = other.lock().await.unwrap();
    let ours = mutex(&pair.ours);
    let clone = ours.clone();
    let (mut waiting, mut behind) = (pin!(ours.lock()), pin!(clone.lock()));
    pending(waiting.as_mut());
    pending(behind.as_mut());

    assert_eq!(soon(pair.ours.close(SOON)).await, Ok(()));
    let closed = LockError::Closed { lock: SPACE.into() };
    assert_eq!(once(waiting).unwrap().unwrap_err(), closed);
    assert_eq!(once(behind).unwrap().unwrap_err(), closed);
    assert_eq!(once(held.lost()), Some(Lost::Closed));
    assert!(!held.is_held());
    assert_eq!(entry(&pair.memory, "mutex/b"), None);
    assert_eq!(held.release().await, Release::Clean);
    assert_eq!(ours.try_lock().await.unwrap_err(), closed);
    assert_eq!(Mutex::new(&pair.ours, "c", short()).unwrap_err(), SetupError::Closed { key: "c".into() });
    assert!(pair.ours.is_closed() && !pair.theirs.is_closed());
    assert_eq!(soon(pair.ours.close(SOON)).await, Ok(()), "closing twice is closing");
}

/// What the holder gives back, the waiter beside it hears of before it is told itself that the store closes.
#[tokio::test]
async fn of_two_handles_of_a_closing_store_none_takes_what_the_other_gives_back() {
    let pair = pair(Mood::AtOnce);
    let (holder, waiter, theirs) = (mutex(&pair.ours), mutex(&pair.ours), mutex(&pair.theirs));
    let guard = holder.lock().await.unwrap();
    let (mut waiting, mut elsewhere) = (pin!(waiter.lock()), pin!(theirs.lock()));
    pending(waiting.as_mut());
    pending(elsewhere.as_mut());
    soon(pair.ours.close(SOON)).await.unwrap();
    assert_eq!(once(waiting).unwrap().unwrap_err(), LockError::Closed { lock: SPACE.into() });
    let next = once(elsewhere).expect("it has heard of the release").unwrap();
    assert_eq!(next.token().0, guard.token().0 + 1, "nobody had it in between");
}

#[tokio::test]
async fn a_lock_that_was_granted_but_not_seen_before_its_store_closed_is_none() {
    let pair = pair(Mood::Held);
    let ours = mutex(&pair.ours);
    let mut waiting = pin!(ours.lock());
    pending(waiting.as_mut());
    pair.remote.set(Mood::AtOnce);
    pair.remote.answer_all();
    assert!(entry(&pair.memory, SPACE).is_some(), "it is granted");
    soon(pair.ours.close(SOON)).await.unwrap();
    assert_eq!(entry(&pair.memory, SPACE), None, "and given back");
    assert_eq!(once(waiting).unwrap().unwrap_err(), LockError::Closed { lock: SPACE.into() });
}

#[tokio::test]
async fn closing_lists_what_did_not_end_in_time() {
    let pair = pair(Mood::AtOnce);
    let _guard = mutex(&pair.ours).lock().await.unwrap();
    pair.remote.set(Mood::Held);
    let unfinished = pair.ours.close(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(
        unfinished.to_string(),
        "the store was closed, but not all had ended within 20ms: mutex/a (releasing a lock)"
    );
}

#[test]
fn when_the_runtime_ends_what_is_held_is_given_back_and_who_waits_is_told() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let memory = Memory::new();
    let (guard, ours) = runtime.block_on(async {
        let store = Store::start(memory.share()).unwrap();
        let held = Mutex::new(&store, "b", short()).unwrap();
        (held.lock().await.unwrap(), mutex(&store))
    });
    occupy(&memory, SPACE);
    let mut waiting = pin!(ours.lock());
    pending(waiting.as_mut());
    drop(runtime);
    assert_eq!(once(waiting).unwrap().unwrap_err(), LockError::Closed { lock: SPACE.into() });
    assert_eq!(once(guard.lost()), Some(Lost::Closed));
    assert_eq!(entry(&memory, "mutex/b"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_of_several_processes_enter_one_at_a_time_and_all_of_them_do() {
    for mood in [Mood::AtOnce, Mood::Later] {
        let pair = pair(mood);
        let (inside, entries, highest) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for process in [&pair.ours, &pair.theirs] {
            for _ in 0..2 {
                let mutex =
                    Mutex::new(process, "a", MutexConfig { lease: LeaseConfig::default(), ..short() });
                let mutex = mutex.unwrap();
                for _ in 0..4 {
                    let (mutex, inside) = (mutex.clone(), inside.clone());
                    let (entries, highest) = (entries.clone(), highest.clone());
                    tasks.push(tokio::spawn(async move {
                        for _ in 0..100 {
                            let guard = mutex.lock().await.unwrap();
                            assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                            assert!(highest.swap(guard.token().0, Ordering::SeqCst) < guard.token().0);
                            entries.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                            inside.store(false, Ordering::SeqCst);
                            drop(guard);
                        }
                    }));
                }
            }
        }
        for task in tasks {
            soon(task).await.unwrap();
        }
        assert_eq!(entries.load(Ordering::Relaxed), 2 * 2 * 4 * 100);
    }
}

#[tokio::test]
async fn handles_are_refused_with_what_would_be_accepted() {
    let store = Store::memory();
    let refused = |key: &str, config| Mutex::new(&store, key, config).unwrap_err().to_string();
    assert_eq!(refused("", short()), "the key is empty; it needs at least one character");
    assert_eq!(refused("a\0", short()), "the key \"a\\0\" has a NUL in it; it may have any other character");
    let long = "x".repeat(70_000);
    assert!(refused(&long, short()).ends_with("takes 70006 bytes in this store; it may take 65536"));
    let lease = LeaseConfig { ttl: Duration::ZERO, ..LeaseConfig::default() };
    assert_eq!(refused("a", MutexConfig { lease, ..short() }), "ttl is 0; it must be positive");
}

#[test]
fn a_store_is_started_inside_a_runtime() {
    assert_eq!(Store::start(Memory::new()).unwrap_err(), StartError::NoRuntime);
}
