//! The flag on the driver, on the engine in memory: two processes that stand for it.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::time::Duration;

use fencepost::driver::{Flag, PetitionError, SetupError, Store};
use fencepost::engine::memory::Memory;
use fencepost::flag::{FlagConfig, PetitionEnd};
use rig::*;

fn config(process: &str) -> FlagConfig {
    let ms = Duration::from_millis;
    FlagConfig {
        interval: ms(3_000),
        check_interval: ms(60),
        timeout: ms(100),
        ..FlagConfig::new("f", process)
    }
}

struct Pair {
    memory: Memory,
    ours: Store,
    leader: Flag,
    other: Flag,
}

/// The first one leads, and the second one sees it.
async fn pair() -> Pair {
    let memory = Memory::new();
    let (ours, theirs) = (Store::start(memory.share()).unwrap(), Store::start(memory.share()).unwrap());
    let leader = Flag::stand(&ours, config("one")).unwrap();
    let term = once(leader.until_raised()).expect("nobody else stands").unwrap();
    let other = Flag::stand(&theirs, config("two")).unwrap();
    let seen = soon(other.until_leader_is_not(None)).await.unwrap();
    assert_eq!((seen.process.as_str(), seen.term), ("one", term));
    assert_eq!((leader.raised(), other.raised()), (Some(term), None));
    Pair { memory, ours, leader, other }
}

#[tokio::test]
async fn who_resigns_gives_the_other_one_a_turn_under_a_higher_term() {
    let pair = pair().await;
    let term = pair.leader.raised().unwrap();
    pair.leader.resign();
    assert_eq!(once(pair.leader.until_lowered(term)), Some(()));
    assert_eq!(pair.leader.raised(), None);
    let next = soon(pair.other.until_raised()).await.unwrap();
    assert!(next > term);
    let seen = soon(pair.leader.until_leader_is_not(None)).await;
    assert_eq!(seen.map(|leader| leader.term), Some(next));
}

#[tokio::test]
async fn a_petition_is_heard_by_the_leader_who_decides() {
    let pair = pair().await;
    assert_eq!(pair.leader.petition().await, Err(PetitionError::NoLeader));
    let (heard, granted) = tokio::join!(
        async {
            let by = soon(pair.leader.petitioned()).await.unwrap();
            assert_eq!(pair.other.petition().await, Err(PetitionError::UnderWay));
            pair.leader.resign();
            by
        },
        soon(pair.other.petition())
    );
    assert_eq!((heard.as_str(), granted), ("two", Ok(PetitionEnd::Granted)));
    assert!(soon(pair.other.until_raised()).await.is_some());
    // Nobody listens this time.
    assert_eq!(soon(pair.leader.petition()).await, Ok(PetitionEnd::Unanswered));
}

#[tokio::test]
async fn who_is_not_fit_does_not_lead_and_who_is_robbed_learns_of_it() {
    let pair = pair().await;
    pair.leader.set_fit(false);
    assert_eq!(pair.leader.raised(), None);
    let term = soon(pair.other.until_raised()).await.unwrap();
    steal(&pair.memory, "flag/f");
    soon(pair.other.until_lowered(term)).await;
    assert!(soon(pair.other.until_raised()).await.unwrap() > term, "the first one is still not fit");
    pair.other.close().await;
    pair.leader.set_fit(true);
    assert!(soon(pair.leader.until_raised()).await.is_some());
}

#[tokio::test]
async fn a_flag_that_nobody_has_is_lowered_and_a_closed_store_has_none() {
    let pair = pair().await;
    drop(pair.leader);
    assert_eq!(entry(&pair.memory, "flag/f").filter(|(_, text)| text.contains("one")), None);
    assert!(soon(pair.other.until_raised()).await.is_some());
    soon(pair.ours.close(SOON)).await.unwrap();
    let closed = SetupError::Closed { key: "f".into() };
    assert_eq!(Flag::stand(&pair.ours, config("one")).unwrap_err(), closed);
    soon(pair.other.close()).await;
    assert_eq!(pair.other.petition().await, Err(PetitionError::Closed));
    assert_eq!((pair.other.until_raised().await, pair.other.petitioned().await), (None, None));
}
