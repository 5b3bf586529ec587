//! The preemptive lock on the driver, on the engine in memory: what callers see, and what they leave behind.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fencepost::driver::{Locker, LockerError, LockerLost, SetupError, Store};
use fencepost::engine::memory::Memory;
use fencepost::locker::{Bid, LockKey, LockerConfig};
use fencepost::mutex::Release;
use fencepost::store::{Answer, Op};
use fencepost::time::Span;
use rig::*;

const SPACE: &str = r#"locker/("acme/website",4711)"#;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn config() -> LockerConfig {
    LockerConfig { mutex: short(), lock_delay: None, ..LockerConfig::default() }
}

fn with(store: &Store, config: LockerConfig) -> Locker {
    Locker::new(store, LockKey::tuple(["acme/website".into(), 4_711.into()]), config).unwrap()
}

/// Two processes that share a store in memory: `ours` does as the test says.
struct Pair {
    memory: Memory,
    remote: Arc<Inner>,
    ours: Store,
    theirs: Store,
}

fn pair() -> Pair {
    let memory = Memory::new();
    let moody = Moody::new(&memory, Mood::AtOnce);
    let remote = moody.remote();
    let (ours, theirs) = (Store::start(moody).unwrap(), Store::start(memory.share()).unwrap());
    Pair { memory, remote, ours, theirs }
}

impl Pair {
    fn contender(&self) -> Option<String> {
        match ask(&self.memory, SPACE, Op::Get { key: Box::from([1]) }) {
            Answer::Found(found) => found.map(|entry| entry.record.to_string()),
            other => panic!("a read answers {other:?}"),
        }
    }

    fn is_empty(&self) -> bool {
        entry(&self.memory, SPACE).is_none() && self.contender().is_none()
    }
}

#[tokio::test]
async fn an_uncontended_lock_and_its_release_end_where_they_began_and_leave_nothing() {
    let pair = pair();
    let locker = with(&pair.ours, config());
    let mut last = None;
    for _ in 0..3 {
        let guard = once(locker.lock(Bid::new("first"))).expect("no switch of tasks").unwrap();
        assert!(guard.is_held() && guard.remaining() > MS(1_000));
        assert!(pair.contender().is_none() && entry(&pair.memory, SPACE).is_some());
        assert!(last < Some(guard.token()));
        last = Some(guard.token());
        pending(pin!(guard.asked()));
        assert_eq!(once(guard.release()), Some(Release::Clean));
        assert!(pair.is_empty());
    }
    drop(once(locker.lock(Bid::new("and dropped"))).unwrap().unwrap());
    assert!(pair.is_empty());
}

#[tokio::test]
async fn a_holder_is_asked_with_a_reason_and_who_asked_enters_when_it_yields() {
    let pair = pair();
    // Of another process, and of the same handle.
    for newer in [with(&pair.theirs, config()), with(&pair.ours, config())] {
        let holder = with(&pair.ours, config());
        let guard = holder.lock(Bid::new("first")).await.unwrap();
        let mut waiting = pin!(newer.lock(Bid::new("pushed again")));
        pending(waiting.as_mut());
        let notice = once(guard.asked()).expect("the hint has done it already").unwrap();
        assert_eq!(&*notice.message, "pushed again");
        assert_eq!(notice.payload(holder.key().clone()).lock_key.to_string(), r#"("acme/website",4711)"#);
        pending(pin!(guard.asked()));
        assert!(guard.is_held(), "it has its grace");
        let token = guard.token();
        assert_eq!(guard.release().await, Release::Clean);
        let next = once(waiting).expect("the hint has done it already").unwrap();
        assert!(next.is_held() && next.token() > token);
    }
}

#[tokio::test]
async fn who_waits_gives_way_to_a_newer_request_and_not_to_a_lower_one() {
    let pair = pair();
    let (ours, theirs) = (with(&pair.ours, config()), with(&pair.theirs, config()));
    let guard = ours.lock(Bid::new("holder")).await.unwrap();
    let mut first = pin!(ours.lock(Bid { priority: 1, ..Bid::new("first") }));
    pending(first.as_mut());
    let mut low = pin!(theirs.lock(Bid::new("low")));
    pending(low.as_mut());
    pending(first.as_mut());
    let mut second = pin!(theirs.lock(Bid { priority: 1, ..Bid::new("second") }));
    pending(second.as_mut());
    let error = once(first).expect("it gives way at once").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(r#"{SPACE} was asked for, but a newer request came first: "second""#)
    );
    assert!(matches!(error, LockerError::Preempted { notice, .. } if notice.priority == 1));
    assert_eq!(once(guard.asked()).unwrap().map(|notice| notice.message), Some("second".into()));
    drop(guard);
    assert!(once(second).expect("it is the newest").unwrap().is_held());
}

#[tokio::test]
async fn who_drops_a_wait_waits_no_longer_and_leaves_nothing() {
    let pair = pair();
    let (ours, theirs) = (with(&pair.ours, config()), with(&pair.theirs, config()));
    let guard = theirs.lock(Bid::new("holder")).await.unwrap();
    {
        let mut waiting = pin!(ours.lock(Bid::new("dropped")));
        pending(waiting.as_mut());
        assert!(pair.contender().is_some_and(|record| record.contains("dropped")));
    }
    assert_eq!(pair.contender(), None);
    assert_eq!(guard.release().await, Release::Clean);
    assert!(pair.is_empty());

    // Dropped while its requests are under way, however many of them were answered by then.
    for answered in 0..6 {
        pair.remote.set(Mood::Held);
        {
            let mut waiting = pin!(ours.lock(Bid::new("under way")));
            let mut is_ready = once(waiting.as_mut()).is_some();
            for _ in 0..answered {
                pair.remote.answer_all();
                is_ready = is_ready || once(waiting.as_mut()).is_some();
            }
        }
        until(|| {
            pair.remote.answer_all();
            pair.remote.waiting() == 0 && pair.is_empty()
        })
        .await;
        pair.remote.set(Mood::AtOnce);
        drop(once(theirs.lock(Bid::new("next"))).expect("nobody is in the way").unwrap());
    }
}

#[tokio::test]
async fn a_holder_that_does_not_yield_loses_the_lock_when_its_grace_is_over() {
    let pair = pair();
    let stubborn = with(&pair.ours, LockerConfig { preemption_timeout: Some(MS(40)), ..config() });
    let guard = stubborn.lock(Bid::new("stubborn")).await.unwrap();
    let newer = with(&pair.theirs, config());
    let next = soon(newer.lock(Bid::new("newer"))).await.unwrap();
    assert!(!guard.is_held() && guard.remaining() == Duration::ZERO);
    assert_eq!(once(guard.lost()), Some(LockerLost::Preempted));
    assert_eq!(once(guard.asked()), Some(None), "it need not yield any more");
    assert!(next.is_held() && next.token() > guard.token());
    assert_eq!(once(guard.release()), Some(Release::Gone));
    assert!(next.is_held(), "it was not the other one's to release");
}

#[tokio::test]
async fn nobody_holds_beyond_the_maximum_nor_what_was_taken_away() {
    let pair = pair();
    let brief = with(&pair.ours, LockerConfig { max_lock_duration: Some(MS(20)), ..config() });
    let guard = brief.lock(Bid::new("brief")).await.unwrap();
    assert_eq!(soon(guard.lost()).await, LockerLost::TooLong);
    assert!(pair.is_empty());
    let guard = with(&pair.ours, config()).lock(Bid::new("robbed")).await.unwrap();
    steal(&pair.memory, SPACE);
    assert_eq!(soon(guard.lost()).await, LockerLost::Gone);
    assert!(!guard.is_held());
}

#[tokio::test]
async fn who_extends_is_told_for_how_long_and_a_grace_is_not_prolonged() {
    let pair = pair();
    let grace = Duration::from_millis(500);
    let holder = with(&pair.ours, LockerConfig { preemption_timeout: Some(grace), ..config() });
    let guard = holder.lock(Bid::new("first")).await.unwrap();
    pair.remote.set(Mood::Held);
    {
        let mut extending = pin!(guard.extend());
        pending(extending.as_mut());
        pair.remote.answer_all();
        assert!(once(extending).unwrap().unwrap() > MS(1_000));
    }
    pair.remote.set(Mood::AtOnce);
    let newer = with(&pair.theirs, config());
    let mut waiting = pin!(newer.lock(Bid::new("newer")));
    pending(waiting.as_mut());
    assert!(once(guard.extend()).unwrap().unwrap() <= grace, "it was asked to yield");
    steal(&pair.memory, SPACE);
    assert_eq!(soon(guard.extend()).await, Err(LockerLost::Gone));
    assert_eq!(soon(guard.extend()).await, Err(LockerLost::Gone));
}

#[tokio::test]
async fn what_runs_while_held_is_dropped_when_the_lock_is_lost() {
    let pair = pair();
    let stubborn = with(&pair.ours, LockerConfig { preemption_timeout: Some(MS(40)), ..config() });
    let guard = stubborn.lock(Bid::new("stubborn")).await.unwrap();
    assert_eq!(guard.run_while_held(async { 7 }).await, Ok(7));
    let alive = Arc::new(());
    let work = {
        let alive = alive.clone();
        async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        }
    };
    let newer = with(&pair.theirs, config());
    let mut waiting = pin!(newer.lock(Bid::new("newer")));
    pending(waiting.as_mut());
    assert_eq!(soon(guard.run_while_held(work)).await, Err(LockerLost::Preempted));
    assert_eq!(Arc::strong_count(&alive), 1, "it was dropped");
}

#[tokio::test]
async fn a_wait_is_bounded_by_the_configuration_and_by_the_callers_patience() {
    let pair = pair();
    let theirs = with(&pair.theirs, config());
    let _guard = theirs.lock(Bid { priority: 9, ..Bid::new("important") }).await.unwrap();
    let brief = with(&pair.ours, LockerConfig { lock_timeout: Some(MS(20)), ..config() });
    let patience = Some(Span::from(MS(20)));
    for (locker, patience) in [(brief, None), (with(&pair.ours, config()), patience)] {
        let error = soon(locker.lock(Bid { patience, ..Bid::new("late") })).await.unwrap_err();
        let LockerError::TimedOut { waited, .. } = error else { panic!("{error:?}") };
        assert!(waited >= MS(20), "{waited:?}");
        assert_eq!(pair.contender(), None);
    }
}

#[tokio::test]
async fn until_the_lock_delay_has_passed_a_newer_request_comes_first() {
    let pair = pair();
    let (delayed, theirs) = (
        with(&pair.ours, LockerConfig { lock_delay: Some(SOON * 100), ..config() }),
        with(&pair.theirs, config()),
    );
    let mut waiting = pin!(delayed.lock(Bid::new("settling")));
    pending(waiting.as_mut());
    assert!(entry(&pair.memory, SPACE).is_some(), "it has the lock, and is not told");
    let newer = once(theirs.lock(Bid::new("newer"))).expect("the other one gives way at once").unwrap();
    assert!(matches!(once(waiting), Some(Err(LockerError::Preempted { .. }))));
    assert!(newer.is_held());
    drop(newer);
    let delayed = with(&pair.ours, LockerConfig { lock_delay: Some(MS(20)), ..config() });
    let mut waiting = pin!(delayed.lock(Bid::new("settling")));
    pending(waiting.as_mut());
    assert!(soon(waiting).await.unwrap().is_held());
}

#[tokio::test]
async fn a_store_that_is_closed_releases_the_holder_and_refuses_those_who_wait() {
    let pair = pair();
    let locker = with(&pair.ours, config());
    let guard = locker.lock(Bid::new("holder")).await.unwrap();
    let mut waiting = pin!(locker.lock(Bid::new("waiter")));
    pending(waiting.as_mut());
    soon(pair.ours.close(SOON)).await.unwrap();
    assert!(!guard.is_held());
    assert_eq!(once(guard.lost()), Some(LockerLost::Closed));
    let closed = |outcome| matches!(outcome, Some(Err(LockerError::Closed { .. })));
    assert!(closed(once(waiting)) && closed(once(locker.lock(Bid::new("later")))));
    assert!(pair.is_empty());
    let error = Locker::new(&pair.ours, LockKey::Number(-3), config()).unwrap_err();
    assert_eq!(error, SetupError::Closed { key: "-3".into() });
}
