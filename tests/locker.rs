//! The locker as its callers and hosts know it: one story for each row of its tables, and what holds for every sequence of
//! inputs.

#[allow(dead_code, reason = "a locker's records are not those of a run")]
mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::line::Owner;
use fencepost::locker::{
    Bid, Call, Contender, Event, Hint, Key, LockKey, Locker, LockerConfig, LockerTerms, Notice, Part, Record,
    Request,
};
use fencepost::machine::{Effect, Identity, Input, Relocate};
use fencepost::mutex::{self, MutexConfig};
use fencepost::store::{Answer, Entry, FencingToken, Op, Revision};
use fencepost::time::{Instant, Ppm, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use story::shift::{Speech, check_relocation};
use story::*;

type Tale = Story<Locker>;

const CANCEL: Input<Locker> = Input::Request(Request::Cancel);
const UNLOCK: Input<Locker> = Input::Request(Request::Unlock);
const EXTEND: Input<Locker> = Input::Request(Request::Extend);
const ASKED: Input<Locker> = Input::Message(Hint::Asked);
const FREED: Input<Locker> = Input::Message(Hint::Freed);
const WAKE: Input<Locker> = Input::Wake;

const TAKE: Call = Call::Lock(mutex::Call::Claim);
const RENEW: Call = Call::Lock(mutex::Call::Renew);
const FREE: Call = Call::Lock(mutex::Call::Release);

impl Hero for Locker {
    fn tell(effect: &Effect<Locker>) -> String {
        match effect {
            Effect::Store { store, call, op } => {
                assert!(is_first(*store));
                tell_call(*call, op)
            }
            Effect::Forget(call) => format!("forget {call:?}").to_lowercase(),
            Effect::Publish(hint) => format!("publish {hint:?}").to_lowercase(),
            Effect::Event(Event::Acquired(token)) => format!("Acquired({})", token.0),
            Effect::Event(Event::Asked(notice)) => format!("Asked({})", tell_notice(notice)),
            Effect::Event(Event::Preempted(notice)) => format!("Preempted({})", tell_notice(notice)),
            Effect::Event(event) => format!("{event:?}"),
        }
    }

    fn watch(&self, terms: &LockerTerms, now: Instant) -> Result<(), String> {
        let (held, until) = (self.held(now), self.until());
        if held.is_some() != until.is_some_and(|until| now < until) {
            return Err(format!("it holds {held:?}, until {until:?}"));
        }
        let deadline = fencepost::machine::Machine::deadline(self, terms);
        let is_woken =
            until.is_none_or(|until| until == Instant::MAX || deadline.is_some_and(|at| at <= until));
        is_woken.then_some(()).ok_or_else(|| format!("it is woken at {deadline:?}, after its belief ends"))
    }
}

fn tell_notice(notice: &Notice) -> String {
    format!("{}#{} {:?}", notice.by.identity.0, notice.by.attempt, notice.message)
}

fn tell_call(call: Call, op: &Op<Key, Record>) -> String {
    match (call, op) {
        (Call::Lock(call), op) => tell_lock(call, op),
        (Call::Look, Op::Get { key: Key::Contender }) => String::from("look"),
        (Call::Join, Op::PutIf { key: Key::Contender, expect, record: Record::Contender(record), ttl }) => {
            assert_eq!((record.owner.identity, *ttl), (ME, Some(Span::from_secs(15))));
            format!("join {} @{} since @{}", tell_expect(expect), ms(record.asked), ms(record.since))
        }
        (Call::Keep, Op::Renew { key: Key::Contender, revision, .. }) => format!("keep r{}", revision.0),
        (Call::Leave, Op::DeleteIf { key: Key::Contender, revision }) => format!("leave r{}", revision.0),
        (Call::Revoke, Op::PutIf { key: Key::Lock, expect, record: Record::Revoked(owner), ttl }) => {
            assert_eq!((*owner, *ttl), (STRANGER, Some(Span::from_secs(15))));
            format!("revoke {}", tell_expect(expect))
        }
        (Call::Inspect, Op::Get { key: Key::Lock }) => String::from("look whether revoked"),
        (Call::Acknowledge, Op::DeleteIf { key: Key::Lock, revision }) => {
            format!("acknowledge r{}", revision.0)
        }
        other => panic!("{other:?}"),
    }
}

/// Lease of 15 s renewed every 5 s, time-out 2 s, poll 1 s, none of them jittered; belief 14.935 s. A holder looks
/// within 9 s, and is revoked after 19.019 s.
fn config() -> LockerConfig {
    let lease = LeaseConfig { jitter: Ppm::ZERO, ..LeaseConfig::default() };
    LockerConfig {
        mutex: MutexConfig { lease, ..MutexConfig::default() },
        lock_timeout: Some(Duration::from_secs(40)),
        max_lock_duration: Some(Duration::from_secs(60)),
        lock_delay: Some(Duration::from_secs(3)),
        storm_bound: Some(Duration::from_secs(30)),
        ..LockerConfig::default()
    }
}

fn terms() -> LockerTerms {
    config().terms().expect("sound terms")
}

fn without_delay() -> Tale {
    Tale::of(LockerConfig { lock_delay: None, ..config() }.terms().expect("sound terms"))
}

fn bid(priority: u8, patience: Option<u64>) -> Input<Locker> {
    let patience = patience.map(Span::from_millis);
    Input::Request(Request::Lock(Bid { priority, patience, ..Bid::new("mine") }))
}

fn lock() -> Input<Locker> {
    bid(0, None)
}

fn reply(call: Call, answer: Answer<Key, Record>) -> Input<Locker> {
    Input::Reply { call, answer, at: millis(0) }
}

fn applied(call: Call, revision: u64) -> Input<Locker> {
    reply(call, Answer::Applied(Revision(revision)))
}

fn refused(call: Call) -> Input<Locker> {
    reply(call, Answer::Refused(None))
}

fn unknown(call: Call) -> Input<Locker> {
    reply(call, Answer::Unknown)
}

fn nobody() -> Input<Locker> {
    reply(Call::Look, Answer::Found(None))
}

fn found(contender: Contender, revision: u64) -> Input<Locker> {
    reply(Call::Look, Answer::Found(Some(entry(Record::Contender(contender), revision))))
}

fn me(attempt: u32) -> Owner {
    Owner { identity: ME, attempt }
}

/// A request of somebody else's that was made then.
fn other(asked: u64) -> Contender {
    Contender {
        owner: STRANGER,
        priority: 0,
        asked: millis(asked),
        since: millis(asked),
        message: "theirs".into(),
    }
}

fn own(number: u32) -> Contender {
    Contender { owner: me(number), ..other(10) }
}

/// The lock is a stranger's.
fn held_by_another() -> Input<Locker> {
    refused_by(TAKE, Record::Held { owner: STRANGER, priority: 0 }, 4)
}

fn refused_by(call: Call, record: Record, revision: u64) -> Input<Locker> {
    reply(call, Answer::Refused(Some(entry(record, revision))))
}

fn looking() -> Tale {
    Tale::of(terms()).at(0, lock(), "look").wakes(2_000)
}

fn joining() -> Tale {
    looking().at(10, nobody(), "join new @10 since @10").wakes(2_010)
}

/// It is the contender, and claims the lock.
fn claiming() -> Tale {
    joining().at(20, applied(Call::Join, 3), "publish asked, lock").wakes(2_020)
}

/// It waits for a stranger who holds the lock.
fn waiting() -> Tale {
    claiming().at(30, held_by_another(), "look").at(40, found(own(1), 3), "").wakes(1_030)
}

/// It has the lock, and its caller was not told yet.
fn settling() -> Tale {
    claiming().at(30, applied(TAKE, 5), "").wakes(3_030)
}

fn holding() -> Tale {
    let told = settling().at(3_030, WAKE, "Acquired(5), leave r3");
    told.at(3_040, applied(Call::Leave, 3), "").wakes(5_020)
}

/// A newer request asks it to yield.
fn asked() -> Tale {
    holding().at(4_000, ASKED, "look").at(4_010, found(other(3_900), 8), "Asked(8#1 \"theirs\")")
}

fn releasing() -> Tale {
    holding().at(3_100, UNLOCK, "unlock r5")
}

/// It has gone before it knew whether it was the contender.
fn leaving() -> Tale {
    joining().at(15, CANCEL, "Cancelled").wakes(2_015)
}

#[test]
fn a1_s1_a_request_looks_first() {
    looking();
    // What is left of an old request is met later.
    let again = leaving().at(20, lock(), "forget join, look");
    again.at(30, found(own(1), 3), "join r3 @30 since @10");
}

#[test]
fn a2_b1_b2_what_makes_no_sense_is_rejected() {
    for input in [UNLOCK, CANCEL, EXTEND] {
        Tale::of(terms()).at(0, input, "Rejected(NotHeld)").rests();
    }
    let released = releasing().at(3_110, UNLOCK, "Rejected(NotHeld)").at(3_120, EXTEND, "Rejected(NotHeld)");
    released.at(3_130, lock(), "Rejected(Busy)");
    for story in [looking(), waiting(), settling()] {
        let busy = story.at(50, lock(), "Rejected(Busy)").at(60, UNLOCK, "Rejected(NotHeld)");
        busy.at(70, EXTEND, "Rejected(NotHeld)");
    }
}

#[test]
fn w1_s2_s7_whoever_is_the_contender_claims_the_lock() {
    claiming();
    // Its lease on the record was over before it knew of it.
    let late = joining().at(14_945, applied(Call::Join, 3), "look");
    late.at(14_950, found(own(1), 3), "publish asked, lock").at(14_960, WAKE, "keep r3");
}

#[test]
fn s3_its_own_record_is_its_own_whatever_it_heard_before() {
    let repeated = joining().at(2_010, WAKE, "join new @10 since @10");
    repeated.at(2_020, refused_by(Call::Join, Record::Contender(own(1)), 3), "publish asked, lock");
}

#[test]
fn s4_a_newer_request_is_written_over_an_older_one() {
    let over = looking().at(1_000, found(other(10), 8), "join r8 @1000 since @10");
    over.at(1_010, applied(Call::Join, 9), "publish asked, lock");
    // It was superseded by a request that is older than it, in turn.
    joining().at(1_000, refused_by(Call::Join, Record::Contender(other(9)), 8), "join r8 @10 since @9");
}

#[test]
fn s4_s5_a_higher_priority_goes_first() {
    let urgent = || Tale::of(terms()).at(0, bid(1, None), "look");
    urgent().at(10, found(other(5), 8), "join r8 @10 since @5");
    let high = Contender { priority: 1, ..other(5) };
    looking().at(10, found(high.clone(), 8), "").wakes(1_010);
    let low = joining().at(20, refused_by(Call::Join, Record::Contender(high), 8), "");
    low.wakes(1_020).at(1_020, WAKE, "look");
}

#[test]
fn s5_s12_nobody_supersedes_a_row_that_has_lasted_for_long() {
    let one_of_many = Contender { since: millis(10), ..other(20_000) };
    let newest = || Tale::of(terms()).at(29_000, lock(), "look");
    newest().at(30_009, found(one_of_many.clone(), 8), "join r8 @30009 since @10");
    let aside = newest().at(30_010, found(one_of_many, 8), "").wakes(31_010);
    aside.at(31_010, WAKE, "look").at(31_020, nobody(), "join new @30010 since @31020");
}

#[test]
fn s6_of_two_of_one_moment_the_one_that_is_there_stays() {
    let told = "Preempted(8#1 \"theirs\")";
    looking().at(10, found(other(10), 8), told).rests();
    looking().at(10, found(other(9), 8), "join r8 @10 since @9");
}

#[test]
fn s4_where_nothing_bounds_a_row_each_request_begins_one() {
    let config = LockerConfig { storm_bound: None, ..config() };
    let over = Tale::of(config.terms().expect("sound terms")).at(0, lock(), "look");
    over.at(1_000, found(other(10), 8), "join r8 @1000 since @1000");
}

#[test]
fn w3_s6_whoever_waits_is_told_at_once_that_it_was_superseded() {
    let told = "Preempted(8#1 \"theirs\")";
    looking().at(10, found(other(11), 8), told).rests();
    joining().at(20, refused_by(Call::Join, Record::Contender(other(11)), 8), told).rests();
    let heard = waiting().at(100, ASKED, "look").at(110, found(other(90), 8), told).rests();
    heard.at(200, lock(), "look");
    let claiming = claiming().at(25, ASKED, "look").at(30, found(other(24), 8), told);
    // What may have become of its claim is followed up.
    claiming.wakes(2_020).at(2_000, applied(TAKE, 5), "unlock r5").rests();
    settling()
        .at(50, ASKED, "look")
        .at(60, found(other(45), 8), "Preempted(8#1 \"theirs\"), unlock r5")
        .rests();
}

#[test]
fn w2_whoever_is_put_aside_gives_the_lock_up_and_waits() {
    let high = Contender { priority: 1, ..other(45) };
    let aside = settling().at(50, ASKED, "look").at(60, found(high, 8), "unlock r5").wakes(1_060);
    let again = aside.at(1_060, WAKE, "look").at(1_070, nobody(), "join new @10 since @1070");
    again.at(1_080, applied(Call::Join, 9), "publish asked, lock");
}

#[test]
fn w4_a_wait_ends_with_its_patience_or_the_lock_timeout() {
    let asks = || Tale::of(terms()).at(0, bid(0, Some(500)), "look").wakes(500);
    asks().at(500, WAKE, "TimedOut, forget look").rests();
    let takes = asks().at(10, nobody(), "join new @10 since @10").at(
        20,
        applied(Call::Join, 3),
        "publish asked, lock",
    );
    takes.at(30, applied(TAKE, 5), "").wakes(500).at(500, WAKE, "TimedOut, leave r3, unlock r5");
    // The lock timeout is over once the lock is taken.
    let late =
        Tale::of(terms()).at(39_980, lock(), "look").at(39_990, nobody(), "join new @39990 since @39990");
    late.at(79_980, WAKE, "TimedOut");
    let silent = looking().at(39_999, WAKE, "look").wakes(40_000);
    silent.at(40_000, WAKE, "TimedOut, forget look").rests();
}

#[test]
fn w4_whoever_cancels_leaves_nothing_behind() {
    looking().at(10, CANCEL, "Cancelled, forget look").rests();
    waiting().at(50, CANCEL, "Cancelled, leave r3").at(60, applied(Call::Leave, 3), "").rests();
    settling().at(50, CANCEL, "Cancelled, leave r3, unlock r5").at(60, applied(Call::Leave, 3), "").rests();
}

#[test]
fn w5_v1_whoever_is_refused_looks_and_asks_again() {
    let polls = waiting().at(1_030, WAKE, "lock").at(1_040, held_by_another(), "publish asked, look");
    polls.wakes(2_040).at(1_050, found(own(1), 3), "");
    // Nobody is asked whose request has a higher priority.
    let high = refused_by(TAKE, Record::Held { owner: STRANGER, priority: 1 }, 4);
    claiming()
        .at(30, high.clone(), "look")
        .at(40, found(own(1), 3), "")
        .at(1_030, WAKE, "lock")
        .at(1_040, high, "look");
}

#[test]
fn w6_a_hint_makes_it_look_sooner() {
    waiting().at(50, ASKED, "look").at(60, found(own(1), 3), "").wakes(1_030);
    looking().at(10, ASKED, "");
    waiting().at(60, FREED, "lock");
}

#[test]
fn w7_w9_its_caller_is_told_after_the_lock_delay() {
    holding().believes(14_955);
    let told = without_delay().at(0, lock(), "look").at(10, nobody(), "join new @10 since @10");
    let told = told.at(20, applied(Call::Join, 3), "publish asked, lock");
    told.at(30, applied(TAKE, 5), "Acquired(5), leave r3").believes(14_955);
    // It is the contender no longer, as far as it knows.
    let unsure = settling().at(50, ASKED, "look").at(3_000, nobody(), "join new @10 since @10");
    unsure.at(3_030, WAKE, "").at(3_040, applied(Call::Join, 9), "publish asked, Acquired(5), leave r9");
}

#[test]
fn w8_a_lock_that_is_lost_before_its_caller_was_told_is_asked_for_again() {
    let slow = LockerConfig { lock_delay: Some(Duration::from_secs(30)), ..config() }.terms().expect("sound");
    let settling = Tale::of(slow).at(0, lock(), "look").at(10, nobody(), "join new @10 since @10");
    let settling =
        settling.at(20, applied(Call::Join, 3), "publish asked, lock").at(30, applied(TAKE, 5), "");
    let renewing = settling.at(5_020, WAKE, "renew r5, keep r3");
    renewing.at(5_030, refused(RENEW), "lock");
}

#[test]
fn v1_v2_v3_v4_v5_a_holder_that_does_not_yield_is_revoked() {
    let polls = |story: Tale, at: u64| {
        let claims = story.at(at, WAKE, "lock").at(at, held_by_another(), "publish asked, look");
        claims.at(at, found(own(1), 3), "")
    };
    let mut story = waiting();
    for at in [1_030, 2_030, 3_030, 4_030] {
        story = polls(story, at);
    }
    story = story.at(5_010, WAKE, "keep r3").at(5_010, applied(Call::Keep, 3), "");
    for at in (5_030..10_000).step_by(1_000) {
        story = polls(story, at);
    }
    story = story.at(10_010, WAKE, "keep r3").at(10_010, applied(Call::Keep, 3), "");
    for at in (10_030..15_000).step_by(1_000) {
        story = polls(story, at);
    }
    story = story.at(15_010, WAKE, "keep r3").at(15_010, applied(Call::Keep, 3), "");
    for at in (15_030..19_049).step_by(1_000) {
        story = polls(story, at);
    }
    let revoking = story.wakes(19_049).at(19_049, WAKE, "revoke r4");
    let again = revoking.clone().at(19_050, unknown(Call::Revoke), "");
    again.at(20_030, WAKE, "lock, keep r3").at(21_049, WAKE, "revoke r4");
    for answer in [applied(Call::Revoke, 9), refused(Call::Revoke)] {
        let waits = revoking.clone().at(19_060, answer, "").wakes(20_010);
        let waits = waits.at(20_030, WAKE, "lock, keep r3").at(
            20_040,
            refused_by(TAKE, Record::Revoked(STRANGER), 9),
            "look",
        );
        // It expired, or was acknowledged.
        waits.at(20_050, FREED, "lock").at(20_060, applied(TAKE, 11), "");
    }
    // The holder was gone, and an old claim of its own has taken effect: that is a leftover.
    let leftover = Record::Held { owner: me(21), priority: 0 };
    let deletes = revoking.clone().at(19_060, refused_by(Call::Revoke, leftover, 9), "acknowledge r9");
    deletes.at(19_070, applied(Call::Acknowledge, 9), "publish freed, lock");
    // The holder was gone, and its own claim has taken effect: the answer to that is lost, and this one says so.
    let claims = again_claiming(revoking);
    let held = Record::Held { owner: me(22), priority: 0 };
    claims.at(20_050, refused_by(Call::Revoke, held, 9), "forget lock(claim), look").wakes(23_050);
}

#[test]
fn w1_a_holder_that_could_not_hear_of_a_request_is_not_revoked_for_it() {
    // It slept for so long that its record has expired, and its patience is over.
    let late = waiting().at(30_000, WAKE, "lock, look").at(30_010, nobody(), "join new @10 since @10");
    let late = late.at(30_020, applied(Call::Join, 9), "publish asked");
    let polls = late.at(30_030, held_by_another(), "publish asked, look").at(30_040, found(own(1), 9), "");
    let polls = polls.at(31_030, WAKE, "lock").at(31_040, held_by_another(), "publish asked, look");
    polls.at(31_050, found(own(1), 9), "").at(32_000, WAKE, "").wakes(32_040);
}

/// It has claimed again before it heard what became of its revocation.
fn again_claiming(revoking: Tale) -> Tale {
    let keeping = revoking.at(20_010, WAKE, "keep r3").at(20_010, applied(Call::Keep, 3), "");
    keeping.at(20_030, WAKE, "lock")
}

#[test]
fn h1_h3_a_holder_looks_whenever_it_renews() {
    let renewing = holding().at(5_020, WAKE, "renew r5, look");
    let told = renewing.at(5_030, found(other(4_000), 8), "Asked(8#1 \"theirs\")").believes(14_955);
    let again = told.at(5_040, applied(RENEW, 5), "").believes(15_030).at(5_050, ASKED, "look");
    again.clone().at(5_060, found(other(4_000), 8), "").believes(15_030);
    // Another one is told of, and does not prolong the grace.
    let newest = Contender { owner: Owner { attempt: 2, ..STRANGER }, ..other(5_050) };
    again.at(5_060, found(newest, 9), "Asked(8#2 \"theirs\")").believes(15_030);
}

#[test]
fn h2_what_asked_before_it_held_is_found() {
    let told = settling().at(3_030, WAKE, "Acquired(5), leave r3");
    told.at(3_040, refused(Call::Leave), "look").at(3_050, found(other(3_020), 8), "Asked(8#1 \"theirs\")");
    holding().at(3_500, ASKED, "look").at(3_510, nobody(), "").at(3_520, FREED, "");
}

#[test]
fn h3_a_holder_yields_to_no_lower_priority_and_not_to_itself() {
    let urgent = Tale::of(terms()).at(0, bid(1, None), "look").at(10, nobody(), "join new @10 since @10");
    let urgent = urgent.at(20, applied(Call::Join, 3), "publish asked, lock").at(30, applied(TAKE, 5), "");
    let urgent = urgent.at(3_030, WAKE, "Acquired(5), leave r3").at(3_040, ASKED, "look");
    urgent.at(3_050, found(other(3_000), 8), "").believes(14_955);
    holding().at(3_500, ASKED, "look").at(3_510, found(own(0), 8), "");
}

#[test]
fn h4_a_look_is_repeated_until_it_is_answered() {
    let looks = holding().at(4_000, ASKED, "look").wakes(5_020).at(4_010, unknown(Call::Look), "");
    let looks = looks.at(5_020, WAKE, "renew r5, look").at(5_030, applied(RENEW, 5), "").wakes(7_020);
    looks.at(7_020, WAKE, "look").at(7_030, found(other(3_900), 8), "Asked(8#1 \"theirs\")");
}

#[test]
fn h5_a_grace_that_is_over_ends_belief_whatever_comes() {
    let renewed = asked().at(5_020, WAKE, "renew r5, look").at(5_030, applied(RENEW, 5), "");
    let renewed = renewed.at(5_040, found(other(3_900), 8), "").at(10_020, WAKE, "renew r5, look");
    let renewed = renewed.at(10_030, applied(RENEW, 5), "").believes(14_010);
    renewed.clone().at(14_010, WAKE, "Lost(Preempted), forget look, unlock r5").rests();
    renewed.at(14_010, UNLOCK, "Lost(Preempted), forget look, unlock r5, Rejected(NotHeld)").rests();
}

#[test]
fn h6_nobody_holds_for_longer_than_the_maximum() {
    let mut story = holding();
    let mut renewed = 5_020;
    while renewed < 63_030 {
        story = story.at(renewed, WAKE, "renew r5, look").at(renewed, applied(RENEW, 5), "").at(
            renewed,
            nobody(),
            "",
        );
        renewed += 5_000;
    }
    story.believes(63_030).at(63_030, WAKE, "Lost(TooLong), unlock r5").rests();
}

#[test]
fn h7_a_lock_that_is_lost_is_lost_at_once() {
    let renewing = || holding().at(5_020, WAKE, "renew r5, look");
    renewing().at(14_955, WAKE, "Lost(Expired), forget look, forget lock(renew), unlock r5").rests();
    renewing().at(5_030, refused(RENEW), "Lost(Gone), forget look, look whether revoked").rests();
}

#[test]
fn h8_a_cancellation_that_crossed_the_grant_releases() {
    holding()
        .at(3_100, CANCEL, "Cancelled, unlock r5")
        .rests()
        .at(3_110, applied(FREE, 5), "publish freed")
        .rests();
}

#[test]
fn h9_h10_a_holder_is_told_when_it_is_renewed_on_request_and_no_grace_is_prolonged() {
    let extending = || holding().at(4_000, EXTEND, "renew r5, look").believes(14_955);
    extending().at(4_010, applied(RENEW, 5), "Extended(18.935s)").believes(18_935);
    extending().at(4_010, refused(RENEW), "Lost(Gone), forget look, look whether revoked").rests();
    let asked = extending().at(4_010, found(other(3_900), 8), "Asked(8#1 \"theirs\")").believes(14_010);
    asked.at(4_020, applied(RENEW, 5), "Extended(14.01s)").believes(14_010);
}

#[test]
fn r1_r2_a_release_ends_as_the_locks_does() {
    releasing().at(3_110, applied(FREE, 5), "publish freed, Released(Clean)").rests();
    releasing().at(3_110, refused(FREE), "Released(Gone), look whether revoked").rests();
}

#[test]
fn k1_k2_an_entry_that_was_revoked_is_acknowledged() {
    let lost = || {
        holding().at(5_020, WAKE, "renew r5, look").at(
            5_030,
            refused(RENEW),
            "Lost(Gone), forget look, look whether revoked",
        )
    };
    let shown = |owner| reply(Call::Inspect, Answer::Found(Some(entry(Record::Revoked(owner), 9))));
    let acknowledged = lost().at(5_040, shown(me(1)), "acknowledge r9");
    acknowledged.at(5_050, applied(Call::Acknowledge, 9), "publish freed").rests();
    lost().at(5_040, shown(STRANGER), "").rests();
    // A claim that was answered late, and revoked meanwhile, is no acquisition: its entry is a leftover.
    let repeated = claiming().at(2_020, WAKE, "lock");
    repeated.at(2_030, refused_by(TAKE, Record::Revoked(me(1)), 9), "look, unlock r9").at(
        2_040,
        applied(FREE, 9),
        "publish freed, lock",
    );
}

#[test]
fn s8_a_join_that_met_nothing_it_knows_looks_again() {
    joining().at(20, refused(Call::Join), "look").at(30, nobody(), "join new @10 since @10");
}

#[test]
fn s9_a_look_or_a_join_is_repeated_until_it_is_answered() {
    looking().at(10, unknown(Call::Look), "").at(2_000, WAKE, "look").wakes(4_000);
    joining().at(20, unknown(Call::Join), "").at(2_010, WAKE, "join new @10 since @10").wakes(4_010);
}

#[test]
fn s10_s11_a_record_is_kept_alive_and_looked_for() {
    let keeps = || settled_slowly().at(5_020, WAKE, "renew r5, keep r3");
    keeps().at(5_030, applied(Call::Keep, 3), "").at(5_040, applied(RENEW, 5), "").wakes(10_020);
    keeps().at(5_030, refused(Call::Keep), "look").at(5_040, nobody(), "join new @10 since @10");
    let silent =
        keeps().at(5_040, applied(RENEW, 5), "").at(7_020, WAKE, "keep r3").at(9_020, WAKE, "keep r3");
    let silent = silent.at(10_020, WAKE, "renew r5").at(10_030, applied(RENEW, 5), "");
    silent.at(14_945, WAKE, "forget keep, look");
}

/// It has the lock, and its caller is told much later.
fn settled_slowly() -> Tale {
    let slow = LockerConfig { lock_delay: Some(Duration::from_secs(30)), ..config() }.terms().expect("sound");
    let settling = Tale::of(slow).at(0, lock(), "look").at(10, nobody(), "join new @10 since @10");
    settling.at(20, applied(Call::Join, 3), "publish asked, lock").at(30, applied(TAKE, 5), "")
}

#[test]
fn s13_s16_s17_s18_a_record_that_is_left_is_gone_after_a_time_to_live() {
    let leaves = || waiting().at(50, CANCEL, "Cancelled, leave r3");
    for answer in [applied(Call::Leave, 3), refused(Call::Leave)] {
        leaves().at(60, answer, "").rests();
    }
    let repeated = leaves().at(60, unknown(Call::Leave), "").at(2_050, WAKE, "leave r3").wakes(4_050);
    repeated.at(15_050, WAKE, "forget leave").rests();
}

#[test]
fn s14_s17_s19_s20_a_record_that_may_be_there_is_looked_for() {
    leaving().at(20, applied(Call::Join, 3), "leave r3").at(30, applied(Call::Leave, 3), "").rests();
    leaving().at(20, refused(Call::Join), "").rests();
    let looks = || leaving().at(2_015, WAKE, "look");
    looks().at(2_020, nobody(), "forget join").rests();
    looks().at(2_020, found(own(1), 3), "forget join, leave r3").wakes(4_020);
}

#[test]
fn s15_whoever_only_looked_leaves_at_once() {
    looking().at(10, CANCEL, "Cancelled, forget look").rests();
    let high = Contender { priority: 1, ..other(5) };
    looking().at(10, found(high, 8), "").at(20, CANCEL, "Cancelled").rests();
}

#[test]
fn a_length_that_is_switched_off_never_ends_anything() {
    let off = LockerConfig {
        lock_timeout: None,
        max_lock_duration: None,
        preemption_timeout: None,
        lock_delay: None,
        storm_bound: None,
        ..config()
    };
    let terms = off.terms().expect("sound terms");
    assert_eq!((terms.limit(), terms.grace(), terms.delay()), (Span::MAX, Span::MAX, Span::ZERO));
    assert_eq!((terms.patience(), terms.contention()), (Span::MAX, Span::MAX));
    for (config, field) in [
        (LockerConfig { lock_timeout: Some(Duration::ZERO), ..config() }, "lock_timeout"),
        (LockerConfig { max_lock_duration: Some(Duration::ZERO), ..config() }, "max_lock_duration"),
        (LockerConfig { preemption_timeout: Some(Duration::ZERO), ..config() }, "preemption_timeout"),
        (LockerConfig { lock_delay: Some(Duration::ZERO), ..config() }, "lock_delay"),
        (LockerConfig { storm_bound: Some(Duration::ZERO), ..config() }, "storm_bound"),
    ] {
        assert_eq!(config.terms().unwrap_err().to_string(), format!("{field} is 0; it must be positive"));
    }
}

#[test]
fn the_defaults_are_those_that_acyl_had() {
    let LockerConfig { lock_timeout, max_lock_duration, preemption_timeout, lock_delay, .. } =
        LockerConfig::default();
    let secs = [lock_timeout, max_lock_duration, preemption_timeout, lock_delay]
        .map(|length| length.map(|one| one.as_secs()));
    assert_eq!(secs, [Some(20), Some(1_830), Some(10), Some(10)]);
}

#[test]
fn no_two_keys_are_written_alike() {
    let tuple = |parts: &[&str]| LockKey::tuple(parts.iter().map(|part| Part::from(*part))).to_string();
    let written = BTreeSet::from([
        tuple(&["a", "b"]),
        tuple(&["a,b"]),
        tuple(&["a\",\"b"]),
        tuple(&["a\\", "b"]),
        tuple(&["a\\\",\"b"]),
        LockKey::tuple([Part::from(1)]).to_string(),
        tuple(&["1"]),
        LockKey::Number(1).to_string(),
        tuple(&[]),
        tuple(&[""]),
    ]);
    assert_eq!(written.len(), 10, "{written:?}");
}

#[cfg(feature = "serde")]
#[test]
fn a_payload_is_written_as_holders_of_acyl_know_it() {
    let notice = other(0).notice();
    let payload = notice.payload(LockKey::tuple([Part::from("acme/website"), Part::from(7)]));
    let written = serde_json::to_value(&payload).expect("it can be written");
    assert_eq!(written["event"], "theirs");
    assert_eq!(written["lockKey"], serde_json::json!(["acme/website", 7]));
    assert_eq!(
        serde_json::from_value::<fencepost::locker::NotificationPayload>(written).expect("and read"),
        payload
    );
}

#[test]
fn every_row_has_its_story() {
    for docs in [include_str!("../src/locker.rs"), include_str!("../src/locker/standing.rs")] {
        check_told(docs, include_str!("locker.rs"));
    }
}

fn relocate_entry(entry: &mut Entry<Record>, map: &mut impl Relocate) {
    map.revision(&mut entry.revision);
    entry.record.relocate(map);
}

impl Speech for Locker {
    fn heard(input: &mut Input<Locker>, map: &mut impl Relocate) {
        let Input::Reply { answer, at, .. } = input else { return };
        map.store_time(at);
        match answer {
            Answer::Refused(entry) | Answer::Found(entry) => {
                entry.iter_mut().for_each(|one| relocate_entry(one, map))
            }
            Answer::Listed(page) => page.iter_mut().for_each(|(_, entry)| relocate_entry(entry, map)),
            Answer::Applied(revision) => map.revision(revision),
            Answer::Unknown => {}
        }
    }

    fn said(effect: &mut Effect<Locker>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { op: Op::PutIf { expect, record, .. }, .. } => {
                expect.relocate(map);
                record.relocate(map);
            }
            Effect::Store { op: Op::Renew { revision, .. } | Op::DeleteIf { revision, .. }, .. } => {
                map.revision(revision)
            }
            Effect::Event(Event::Acquired(token)) => {
                let mut revision = Revision(token.0);
                map.revision(&mut revision);
                *token = FencingToken::from(revision);
            }
            Effect::Event(Event::Asked(notice) | Event::Preempted(notice)) => notice.by.relocate(map),
            Effect::Event(Event::Extended(until)) => map.instant(until),
            Effect::Store { op: Op::Get { .. } | Op::List { .. }, .. }
            | Effect::Event(_)
            | Effect::Forget(_)
            | Effect::Publish(_) => {}
        }
    }
}

fn an_owner() -> impl Strategy<Value = Owner> {
    (7..9u64, 0..4u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt })
}

fn a_contender() -> impl Strategy<Value = Contender> {
    let message = prop::sample::select(vec!["theirs", "ours"]).prop_map(Into::into);
    (an_owner(), 0..2u8, 1..50_000u64, 1..50_000u64, message).prop_map(
        |(owner, priority, asked, since, message)| Contender {
            owner,
            priority,
            asked: millis(asked),
            since: millis(since),
            message,
        },
    )
}

fn a_record() -> impl Strategy<Value = Entry<Record>> {
    let record = prop_oneof![
        1 => (an_owner(), 0..2u8).prop_map(|(owner, priority)| Record::Held { owner, priority }),
        1 => an_owner().prop_map(Record::Revoked),
        2 => a_contender().prop_map(Record::Contender),
    ];
    (1..9u64, record).prop_map(|(revision, record)| entry(record, revision))
}

/// Any answer, whether or not any call could have it.
fn an_answer() -> impl Strategy<Value = Answer<Key, Record>> {
    prop_oneof![
        4 => (1..9u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        2 => prop::option::of(a_record()).prop_map(Answer::Refused),
        3 => prop::option::of(a_record()).prop_map(Answer::Found),
        1 => prop::collection::vec(a_record().prop_map(|entry| (Key::Lock, entry)), 0..3).prop_map(Answer::Listed),
        1 => Just(Answer::Unknown),
    ]
}

fn a_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => prop::sample::select(vec![Call::Look, Call::Join, TAKE, RENEW, FREE]),
        1 => prop::sample::select(vec![Call::Keep, Call::Leave, Call::Revoke, Call::Inspect, Call::Acknowledge,
            Call::Lock(mutex::Call::Inspect)]),
    ]
}

fn an_input() -> impl Strategy<Value = Input<Locker>> {
    let reply = (a_call(), an_answer(), 1..50_000u64).prop_map(|(call, answer, at)| Input::Reply {
        call,
        answer,
        at: millis(at),
    });
    prop_oneof![
        1 => prop::sample::select(vec![lock(), bid(1, None), bid(0, Some(9_000)), CANCEL, UNLOCK, EXTEND]),
        5 => reply,
        1 => prop::sample::select(vec![ASKED, FREED]),
        2 => Just(WAKE),
    ]
}

fn a_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        8 => (0..100u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        1 => (0..9_000u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        3 => Just(Wait::UntilDeadline),
    ]
}

/// What the hero would hear, if the store were in a good mood: it keeps the story going.
fn steps() -> impl Strategy<Value = Vec<(Wait, Input<Locker>)>> {
    let good = prop::sample::select(vec![
        lock(),
        nobody(),
        applied(Call::Join, 3),
        applied(TAKE, 5),
        applied(RENEW, 5),
        applied(Call::Keep, 3),
        found(other(40_000), 8),
        WAKE,
    ]);
    let any = prop_oneof![3 => good, 2 => an_input()];
    prop::collection::vec((a_wait(), any), 1..80).prop_map(|mut steps| {
        steps[0].1 = lock();
        steps
    })
}

fn some_terms() -> impl Strategy<Value = LockerTerms> {
    let delay = prop::sample::select(vec![None, Some(3)]);
    let max = prop::sample::select(vec![None, Some(2), Some(60)]);
    (delay, max).prop_map(|(delay, max)| {
        let [delay, max] = [delay, max].map(|secs| secs.map(Duration::from_secs));
        LockerConfig { lock_delay: delay, max_lock_duration: max, ..config() }.terms().expect("sound terms")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(terms in some_terms(), steps in steps()) {
        walk::<Locker>(terms, Instant::ZERO, steps);
    }

    #[test]
    fn nor_does_one_at_the_end_of_time(terms in some_terms(), steps in steps(), early in 0..40_000u64) {
        walk::<Locker>(terms, Instant::MAX - Span::from_millis(early), steps);
    }

    #[test]
    fn a_locker_does_the_same_in_another_world(terms in some_terms(), steps in steps()) {
        let met = walk::<Locker>(terms.clone(), millis(1), steps);
        let steps: Vec<_> = met.into_iter().map(|(now, input, _)| (now, input)).collect();
        prop_assert_eq!(check_relocation::<Locker>(&terms, ME, &steps), Ok(()));
    }

    /// Each wait ends once; nobody is asked who does not hold, and nobody holds who was not told.
    #[test]
    fn a_caller_is_told_in_turn(terms in some_terms(), steps in steps()) {
        let (mut waits, mut holds) = (false, false);
        for (_, input, effects) in walk::<Locker>(terms, Instant::ZERO, steps) {
            waits |= matches!(input, Input::Request(Request::Lock(_))) && !holds;
            for effect in effects {
                let Effect::Event(event) = effect else { continue };
                match event {
                    Event::Acquired(_) => {
                        prop_assert!(core::mem::take(&mut waits));
                        prop_assert!(!core::mem::replace(&mut holds, true));
                    }
                    // Whoever asks again just then waits again.
                    Event::Preempted(_) | Event::TimedOut => {
                        prop_assert!(waits);
                        waits = matches!(input, Input::Request(Request::Lock(_)));
                    }
                    Event::Asked(_) | Event::Extended(_) => prop_assert!(holds),
                    Event::Cancelled => prop_assert!(core::mem::take(&mut waits) | core::mem::take(&mut holds)),
                    Event::Released(_) | Event::Lost(_) => (waits, holds) = (matches!(input, Input::Request(Request::Lock(_))), false),
                    Event::Rejected(_) => {}
                }
            }
        }
    }
}

#[test]
fn the_random_walks_meet_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..4_000 {
        let (terms, steps) = (some_terms(), steps()).new_tree(&mut runner).unwrap().current();
        for effect in
            walk::<Locker>(terms, Instant::ZERO, steps).into_iter().flat_map(|(_, _, effects)| effects)
        {
            if let Effect::Event(event) = effect {
                met.insert(match event {
                    Event::Acquired(_) => String::from("Acquired"),
                    Event::Asked(_) => String::from("Asked"),
                    Event::Preempted(_) => String::from("Preempted"),
                    Event::Extended(_) => String::from("Extended"),
                    event => format!("{event:?}"),
                });
            }
        }
    }
    let all = "Acquired Asked Cancelled Extended Lost(Expired) Lost(Gone) Lost(Preempted) Lost(TooLong) Preempted \
               Rejected(Busy) Rejected(NotHeld) Released(Clean) Released(Gone) Released(Unknown) TimedOut";
    assert_eq!(met.into_iter().collect::<Vec<_>>().join(" "), all);
}

trait Believes {
    fn believes(self, ms: u64) -> Self;
}

impl Believes for Tale {
    /// Its belief ends after so many milliseconds.
    #[track_caller]
    fn believes(self, ms: u64) -> Tale {
        assert_eq!(self.machine.until(), Some(millis(ms)), "{:?}", self.machine);
        assert!(self.machine.held(millis(ms - 1)).is_some() && self.machine.held(millis(ms)).is_none());
        self
    }
}
