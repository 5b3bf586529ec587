//! The lease mutex as its callers and hosts know it: one story for each row of its transition tables, and what
//! holds for every sequence of inputs.

mod common;

use std::collections::BTreeSet;

use common::shift::{Speech, check_relocation};
use common::walk::{fairness, steps, timed, walk};
use common::*;
use fencepost::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use fencepost::mutex::{Call, Event, Fairness, Freed, Loss, Mutex};
use fencepost::store::{Answer, Contract, FencingToken};
use fencepost::time::{Instant, Now, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn unordered() -> Story {
    Story::of(Fairness::Unordered)
}

fn fifo() -> Story {
    Story::of(Fairness::Fifo)
}

fn claiming() -> Story {
    unordered().at(0, LOCK, "claim #1")
}

fn pausing() -> Story {
    claiming().at(10, refused_by(Call::Claim, STRANGER, 4), "").wakes(1_010)
}

fn holding() -> Story {
    claiming().at(10, applied(Call::Claim, 5), "Acquired(5)").believes(14_935).wakes(5_000)
}

fn withdrawing() -> Story {
    claiming().at(10, CANCEL, "Cancelled").wakes(2_000)
}

fn releasing() -> Story {
    holding().at(100, UNLOCK, "delete r5").wakes(2_100)
}

fn asking() -> Story {
    fifo().at(0, LOCK, "list").wakes(2_000)
}

/// A waiter behind a stranger, whose request for a place is on its way since 10 ms.
fn joining() -> Story {
    asking().at(10, first_is(place(5, STRANGER)), "join @10#0").wakes(1_010)
}

fn in_line() -> Story {
    joining().at(20, applied(JOIN, 7), "")
}

/// A waiter whose turn has come.
fn claiming_in_line() -> Story {
    in_line().at(1_010, WAKE, "list").at(1_020, first_is(place(10, me(0))), "claim #1")
}

/// A caller who gave up, and asked again before it knew what became of its first attempt.
fn claiming_over_a_leftover() -> Story {
    withdrawing().at(20, LOCK, "forget claim, claim #2")
}

fn leaving() -> Story {
    in_line().at(100, CANCEL, "Cancelled, leave r7").wakes(2_100)
}

#[test]
fn t1_a_wait_ends_with_its_patience() {
    let claims = || unordered().at(0, lock_within(500), "claim #1").wakes(500);
    claims().at(500, WAKE, "TimedOut").wakes(2_000);
    claims().at(500, applied(Call::Claim, 5), "TimedOut, delete r5").rests();
    claims().at(10, refused(Call::Claim), "").wakes(500).at(500, FREED, "TimedOut").rests();
    fifo().at(0, lock_within(500), "list").at(500, WAKE, "TimedOut, forget look").rests();
    fifo().at(0, lock_within(0), "list, TimedOut, forget look").rests();
    unordered().at(0, ONCE, "claim #1").at(20_000, WAKE, "TimedOut, get");
}

#[test]
fn t2_belief_ends_whatever_comes() {
    let lost = "Lost(Expired), delete r5";
    holding().at(14_935, WAKE, lost).rests();
    holding().at(14_935, UNLOCK, &format!("{lost}, Rejected(NotHeld)")).rests();
    holding().at(14_935, LOCK, &format!("{lost}, claim #2"));
    holding().at(5_000, WAKE, "renew r5").at(14_935, unknown(Call::Renew), lost).rests();
    let renewing = holding().at(5_000, WAKE, "renew r5");
    renewing.at(14_935, WAKE, "Lost(Expired), forget renew, delete r5").rests();
}

#[test]
fn a1_a_caller_at_rest_tries_at_once() {
    unordered().at(0, LOCK, "claim #1").wakes(2_000);
    fifo().at(0, LOCK, "list").wakes(2_000);
}

#[test]
fn a2_a_caller_at_rest_has_nothing_to_give_up() {
    for input in [UNLOCK, EXTEND, CANCEL] {
        unordered().at(0, input, "Rejected(NotHeld)").rests();
    }
}

#[test]
fn a3_a_record_that_was_deleted_frees_the_lock_for_all() {
    let lost = || holding().at(14_935, WAKE, "Lost(Expired), delete r5");
    lost().at(14_940, applied(Call::Release, 5), "publish freed").rests();
    lost().at(14_940, refused(Call::Release), "").rests();
}

#[test]
fn p1_a_pause_ends_with_another_attempt() {
    pausing().at(1_009, WAKE, "").at(1_010, WAKE, "claim #2");
    in_line().at(1_010, WAKE, "list");
}

#[test]
fn p2_a_freed_lock_ends_a_pause() {
    pausing().at(20, FREED, "claim #2");
    in_line().at(30, FREED, "list");
    // Its own old place could stand in front.
    let own = leaving().at(200, LOCK, "").at(300, FREED, "").wakes(1_200);
    own.at(400, applied(LEAVE, 7), "list");
}

#[test]
fn p3_c3_a_leftover_of_an_earlier_attempt_is_deleted() {
    let deleting =
        claiming_over_a_leftover().at(30, refused_by(Call::Claim, me(1), 5), "delete r5").wakes(1_030);
    deleting.clone().at(40, applied(Call::Release, 5), "publish freed, claim #3");
    deleting.at(40, unknown(Call::Release), "").at(1_030, WAKE, "claim #3");
}

#[test]
fn q1_the_first_in_line_claims() {
    asking().at(10, nobody(), "claim #1").wakes(2_010);
    in_line().at(1_010, WAKE, "list").at(1_020, first_is(place(10, me(0))), "claim #1");
}

#[test]
fn q2_whoever_is_behind_joins_the_line_once() {
    asking().at(10, first_is(place(5, STRANGER)), "join @10#0").wakes(1_010);
    in_line().at(1_010, WAKE, "list").at(1_020, first_is(place(5, STRANGER)), "").wakes(2_020);
    fifo().at(0, ONCE, "list").at(10, first_is(place(5, STRANGER)), "Contended").rests();
}

#[test]
fn q3_a_look_at_the_line_is_repeated() {
    asking().at(10, unknown(Call::Look), "").at(2_000, WAKE, "list").wakes(4_000);
}

#[test]
fn c1_a_claim_that_took_effect_holds_from_its_first_request_on() {
    let repeated = || claiming().at(2_000, WAKE, "claim #1");
    repeated().at(2_100, applied(Call::Claim, 5), "Acquired(5)").believes(14_935);
    repeated().at(2_100, refused_by(Call::Claim, me(1), 5), "Acquired(5)").believes(14_935);
    claiming_in_line().at(1_030, applied(Call::Claim, 9), "Acquired(9), leave r7").believes(15_955);
}

#[test]
fn c2_a_claim_that_is_known_too_late_is_deleted() {
    claiming().at(14_934, applied(Call::Claim, 5), "Acquired(5)");
    for answer in [applied(Call::Claim, 5), refused_by(Call::Claim, me(1), 5)] {
        claiming().at(14_935, answer, "delete r5").wakes(15_935).at(15_935, WAKE, "claim #2");
    }
}

#[test]
fn c4_one_attempt_is_contended() {
    let once = || unordered().at(0, ONCE, "claim #1");
    once().at(10, refused_by(Call::Claim, STRANGER, 4), "Contended").rests();
    once().at(10, refused(Call::Claim), "Contended").rests();
}

#[test]
fn c5_a_claim_that_met_another_waits_in_line() {
    claiming().at(10, refused_by(Call::Claim, STRANGER, 4), "").wakes(1_010);
    asking().at(10, nobody(), "claim #1").at(20, refused(Call::Claim), "join @20#1").wakes(1_020);
    claiming_in_line().at(1_030, refused(Call::Claim), "").wakes(2_030);
}

#[test]
fn c6_c7_a_claim_of_unknown_outcome_is_repeated() {
    for answer in [Answer::Unknown, Answer::Found(None), Answer::Listed(Vec::new())] {
        claiming()
            .at(10, reply(Call::Claim, answer), "")
            .wakes(2_000)
            .at(2_000, WAKE, "claim #1")
            .wakes(4_000);
    }
}

#[test]
fn k1_who_waits_without_a_claim_may_leave_at_once() {
    pausing().at(20, CANCEL, "Cancelled").rests();
    asking().at(20, CANCEL, "Cancelled, forget look").rests();
    in_line().at(30, CANCEL, "Cancelled, leave r7").wakes(2_030);
}

#[test]
fn k2_a_claim_that_is_out_is_followed_up() {
    claiming().at(10, CANCEL, "Cancelled").wakes(2_000);
    claiming_in_line().at(1_030, CANCEL, "Cancelled, leave r7").wakes(3_020);
}

#[test]
fn k3_a_cancellation_that_crossed_the_grant_releases() {
    let crossed = holding().at(20, CANCEL, "Cancelled, delete r5");
    let renewing = holding().at(5_000, WAKE, "renew r5");
    renewing.at(5_010, CANCEL, "Cancelled, forget renew, delete r5").rests();
    crossed.rests().at(30, applied(Call::Release, 5), "publish freed").rests();
}

#[test]
fn d1_a_withdrawn_claim_that_took_effect_is_deleted() {
    for answer in [applied(Call::Claim, 5), refused_by(Call::Claim, me(1), 5)] {
        withdrawing().at(20, answer, "delete r5").rests();
    }
    let inspecting = withdrawing().at(2_000, WAKE, "get");
    inspecting.at(2_010, found(Some(entry(me(1), 5))), "delete r5, forget claim").rests();
}

#[test]
fn d2_a_withdrawn_claim_that_took_no_effect_is_over() {
    for answer in [refused(Call::Claim), refused_by(Call::Claim, STRANGER, 4)] {
        withdrawing().at(20, answer, "").rests();
    }
    for found_there in [None, Some(entry(STRANGER, 4))] {
        withdrawing().at(2_000, WAKE, "get").at(2_010, found(found_there), "forget claim").rests();
    }
}

#[test]
fn d2_an_inspection_ends_with_its_withdrawal() {
    // Else the old answer would end the next withdrawal, and the record it is after would stay.
    let next = withdrawing()
        .at(2_000, WAKE, "get")
        .late(2_010, refused(Call::Claim))
        .at(2_020, LOCK, "claim #2")
        .at(2_030, CANCEL, "Cancelled")
        .late(2_040, found(None));
    next.at(2_050, applied(Call::Claim, 5), "delete r5").rests();
}

#[test]
fn d3_d4_a_withdrawn_claim_is_inspected_until_it_must_have_expired() {
    withdrawing()
        .at(20, unknown(Call::Claim), "")
        .at(2_000, WAKE, "get")
        .at(2_010, unknown(Call::Inspect), "")
        .wakes(4_000)
        .at(4_000, WAKE, "get")
        .at(20_009, WAKE, "get")
        .wakes(20_010)
        .at(20_010, WAKE, "forget inspect")
        .rests();
}

#[test]
fn d5_a_withdrawn_claim_does_not_hinder_the_next() {
    withdrawing().at(2_000, WAKE, "get").at(2_010, LOCK, "forget claim, forget inspect, claim #2");
    claiming_over_a_leftover().at(30, applied(Call::Claim, 6), "Acquired(6)").believes(14_955);
    claiming_in_line().at(1_030, CANCEL, "Cancelled, leave r7").at(1_040, applied(LEAVE, 7), "").at(
        1_050,
        LOCK,
        "forget claim, list",
    );
}

#[test]
fn h1_h4_a_renewal_is_repeated_until_it_is_answered() {
    for answer in [Answer::Unknown, Answer::Found(None), Answer::Listed(Vec::new())] {
        holding()
            .at(5_000, WAKE, "renew r5")
            .at(5_010, reply(Call::Renew, answer), "")
            .wakes(7_000)
            .at(7_000, WAKE, "renew r5")
            .believes(14_935);
    }
}

#[test]
fn h2_a_renewal_counts_from_its_request() {
    let renewing = holding().at(5_000, WAKE, "renew r5");
    renewing.at(5_300, applied(Call::Renew, 5), "").believes(19_935).wakes(10_000);
}

#[test]
fn h3_a_refused_renewal_is_a_loss() {
    let renewing = || holding().at(5_000, WAKE, "renew r5");
    renewing().at(5_010, refused(Call::Renew), "Lost(Gone)").rests();
    renewing().at(5_010, refused_by(Call::Renew, STRANGER, 6), "Lost(Gone)").rests();
}

#[test]
fn h5_a_holder_deletes_its_own_record() {
    holding().at(100, UNLOCK, "delete r5").wakes(2_100);
    holding().at(5_000, WAKE, "renew r5").at(5_010, UNLOCK, "forget renew, delete r5").wakes(7_010);
}

#[test]
fn h6_a_holder_may_renew_at_once() {
    let extending = holding().at(100, EXTEND, "renew r5").wakes(2_100);
    extending.at(110, applied(Call::Renew, 5), "Extended(15.035s)").believes(15_035).wakes(5_100);
    let under_way = holding().at(5_000, WAKE, "renew r5").at(5_010, EXTEND, "");
    under_way.at(5_020, applied(Call::Renew, 5), "Extended(19.935s)");
}

#[test]
fn r1_r2_a_release_tells_whether_the_lock_was_still_held() {
    releasing().at(110, applied(Call::Release, 5), "publish freed, Released(Clean)").rests();
    releasing().at(110, refused(Call::Release), "Released(Gone)").rests();
}

#[test]
fn r3_r4_a_release_is_repeated_until_the_record_must_have_expired() {
    releasing()
        .at(110, unknown(Call::Release), "")
        .at(2_100, WAKE, "delete r5")
        .wakes(4_100)
        .at(20_099, WAKE, "delete r5")
        .wakes(20_100)
        .at(20_100, WAKE, "forget release, Released(Unknown)")
        .rests();
}

#[test]
fn b1_b2_what_makes_no_sense_is_rejected() {
    for story in [claiming(), pausing(), asking(), releasing()] {
        for (input, expected) in
            [(LOCK, "Rejected(Busy)"), (UNLOCK, "Rejected(NotHeld)"), (EXTEND, "Rejected(NotHeld)")]
        {
            story.clone().at(150, input, expected);
        }
    }
    holding().at(20, LOCK, "Rejected(Busy)").believes(14_935);
    for input in [UNLOCK, EXTEND, CANCEL] {
        withdrawing().at(20, input, "Rejected(NotHeld)").wakes(2_000);
    }
}

#[test]
fn n1_n2_a_waiter_joins_with_its_own_name() {
    let waits = || asking().at(10, first_is(place(5, STRANGER)), "join @10#0");
    for answer in [applied(JOIN, 7), refused_by(JOIN, me(0), 7)] {
        waits().at(20, answer, "").at(30, CANCEL, "Cancelled, leave r7");
    }
}

#[test]
fn n3_a_request_to_join_is_repeated() {
    joining().at(20, unknown(JOIN), "").at(1_010, WAKE, "list").at(2_010, WAKE, "join @10#0").wakes(3_010);
}

#[test]
fn n4_a_place_is_kept_alive() {
    in_line()
        .at(5_010, WAKE, "keep r7, list")
        .at(5_020, unknown(KEEP), "")
        .at(7_010, WAKE, "keep r7, list")
        .at(7_020, applied(KEEP, 7), "")
        .at(12_010, WAKE, "keep r7, list");
}

#[test]
fn n5_a_place_that_is_gone_is_asked_for_again() {
    in_line().at(5_010, WAKE, "keep r7, list").at(5_020, refused(KEEP), "").at(
        5_030,
        first_is(place(5, STRANGER)),
        "join @5030#0",
    );
}

#[test]
fn n6_n8_a_place_that_was_not_known_yet_is_deleted_when_it_is() {
    for answer in [applied(JOIN, 7), refused_by(JOIN, me(0), 7)] {
        let leaves = joining().at(20, CANCEL, "Cancelled");
        leaves.at(30, answer, "leave r7").wakes(2_030).at(40, applied(LEAVE, 7), "").rests();
    }
}

#[test]
fn n6_n9_a_place_that_never_becomes_known_expires() {
    let leaves = joining().at(20, CANCEL, "Cancelled").at(30, unknown(JOIN), "");
    leaves.at(2_020, WAKE, "find").at(14_000, WAKE, "find").at(15_020, WAKE, "").rests();
}

#[test]
fn n11_n12_a_place_that_may_be_there_is_looked_for() {
    let looks = || joining().at(20, CANCEL, "Cancelled").at(2_020, WAKE, "find").wakes(4_020);
    let answer = |found| reply(FIND, Answer::Found(found));
    looks().at(2_030, answer(None), "").rests();
    looks().at(2_030, unknown(FIND), "").at(4_020, WAKE, "find");
    looks().at(2_030, answer(Some(entry(me(0), 7))), "leave r7").at(2_040, applied(LEAVE, 7), "").rests();
}

#[test]
fn n7_n10_a_deletion_of_a_place_is_repeated() {
    let leaving = leaving().at(110, unknown(LEAVE), "").at(2_100, WAKE, "leave r7").wakes(4_100);
    leaving.at(4_000, applied(LEAVE, 7), "").rests();
}

#[test]
fn n9_a_place_that_is_left_is_gone_after_a_time_to_live() {
    for answer in [applied(LEAVE, 7), refused(LEAVE)] {
        leaving().at(110, answer, "").rests();
    }
    leaving().at(15_099, WAKE, "leave r7").wakes(15_100).at(15_100, WAKE, "").rests();
}

#[test]
fn n7_n9_a_late_answer_about_an_old_place_does_not_touch_a_new_one() {
    // Else the new place would stay behind, and all who wait would wait for it to expire.
    let kept = in_line().at(5_010, WAKE, "keep r7, list");
    let old_renewal = kept.late(5_020, CANCEL).late(5_030, applied(LEAVE, 7)).rests();
    let old_deletion = leaving().at(15_100, WAKE, "");
    for (story, answer) in [(old_renewal, refused(KEEP)), (old_deletion, refused(LEAVE))] {
        story
            .at(16_000, LOCK, "list")
            .late(16_010, first_is(place(5, STRANGER)))
            .late(16_020, answer)
            .at(16_030, applied(JOIN, 8), "")
            .at(16_040, FREED, "list")
            .at(16_050, first_is(place(16_010, me(0))), "claim #1");
    }
}

#[test]
fn every_row_has_its_story() {
    let source = include_str!("mutex.rs");
    let names = source.lines().filter_map(|line| line.strip_prefix("fn ")?.split_once('('));
    let told: BTreeSet<String> = names.flat_map(|(name, _)| name.split('_').map(str::to_uppercase)).collect();
    for table in [include_str!("../src/mutex.rs"), include_str!("../src/line.rs")] {
        let labels: Vec<&str> = table.lines().filter_map(row_label).collect();
        assert!(labels.len() >= 10, "the table was not found");
        let untold: Vec<&&str> = labels.iter().filter(|label| !told.contains(**label)).collect();
        assert!(untold.is_empty(), "no story tells {untold:?}");
    }
}

/// The label of a row of a transition table: a letter and a number.
fn row_label(line: &str) -> Option<&str> {
    let (label, _) = line.strip_prefix("//! | ")?.split_once(" |")?;
    let number = label.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
    number.parse::<u32>().is_ok().then_some(label)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(fairness in fairness(), steps in steps()) {
        walk(fairness, Instant::ZERO, steps);
    }

    #[test]
    fn nor_does_one_at_the_end_of_time(fairness in fairness(), steps in steps(), early in 0..40_000u64) {
        walk(fairness, Instant::MAX - Span::from_millis(early), steps);
    }

    #[test]
    fn a_mutex_does_the_same_in_another_world(
        fairness in fairness(), steps in steps(), draws in prop::collection::vec(any::<u32>(), 80),
    ) {
        let steps = timed(fairness, steps, draws);
        prop_assert_eq!(check_relocation::<Mutex>(&terms(fairness), ME, &steps), Ok(()));
    }
}

#[test]
fn the_random_walks_meet_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..4_000 {
        let (fairness, steps) = (fairness(), steps()).new_tree(&mut runner).unwrap().current();
        let events = walk(fairness, Instant::ZERO, steps).into_iter().filter_map(|effect| match effect {
            Effect::Event(Event::Acquired(_)) => Some(String::from("Acquired")),
            Effect::Event(Event::Extended(_)) => Some(String::from("Extended")),
            Effect::Event(event) => Some(format!("{event:?}")),
            Effect::Store { .. } | Effect::Forget(_) | Effect::Publish(Freed) => None,
        });
        met.extend(events);
    }
    let all = "Acquired Cancelled Contended Extended Lost(Expired) Lost(Gone) Rejected(Busy) Rejected(NotHeld) \
               Released(Clean) Released(Gone) Released(Unknown) TimedOut";
    assert_eq!(met.into_iter().collect::<Vec<_>>().join(" "), all);
}

#[test]
fn a_broken_promise_is_noticed() {
    let acquired = Effect::Event(Event::Acquired(FencingToken(1)));
    let lost = Effect::Event(Event::Lost(Loss::Gone));
    let fine = Sight { mono: millis(5), woken: true, deadline: None, overheld: false, effects: &[] };
    let watch = |sight: Sight<'_>| Promises::default().watch(&sight);
    assert!(watch(Sight { deadline: Some(millis(6)), ..fine }).is_ok());
    assert!(watch(Sight { deadline: Some(millis(5)), ..fine }).is_err());
    assert!(watch(Sight { overheld: true, ..fine }).is_err());
    assert!(watch(Sight { effects: &[acquired.clone(), lost, acquired.clone()], ..fine }).is_ok());
    assert!(watch(Sight { effects: &[acquired.clone(), acquired], ..fine }).is_err());
}

/// Rings a minute after it was last told to. It may forget to show when that is; it may ring within another minute only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alarm<const SHOWS: bool, const WAITS: bool>(Instant);

const MINUTE: Span = Span::from_secs(60);

impl<const SHOWS: bool, const WAITS: bool> Machine for Alarm<SHOWS, WAITS> {
    type Config = ();
    type Store = Contract<(), ()>;
    type Request = ();
    type Event = ();
    type Message = ();
    type Call = ();

    fn new((): &(), _: Identity) -> Self {
        Alarm(Instant::MAX)
    }

    fn step(&mut self, (): &(), now: Now, input: Input<Self>, out: &mut Effects<Self>) {
        match input {
            Input::Request(()) => self.0 = now.mono + MINUTE,
            Input::Wake if now.mono >= self.0 && (WAITS || now.mono < self.0 + MINUTE) => out.event(()),
            Input::Wake | Input::Message(()) | Input::Reply { .. } => {}
        }
    }

    fn deadline(&self, (): &()) -> Option<Instant> {
        None
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        if SHOWS {
            map.deadline(&mut self.0);
        }
    }
}

impl<const SHOWS: bool, const WAITS: bool> Speech for Alarm<SHOWS, WAITS> {
    fn heard(_: &mut Input<Self>, _: &mut impl Relocate) {}
    fn said(_: &mut Effect<Self>, _: &mut impl Relocate) {}
}

#[test]
fn a_field_that_is_not_shown_is_noticed_and_an_age_that_matters() {
    fn relocated<const SHOWS: bool, const WAITS: bool>() -> Result<(), String> {
        let late = Now { mono: Instant::ZERO + MINUTE + MINUTE, ..Now::default() };
        let steps = [(Now::default(), Input::Request(())), (late, Input::Wake)];
        check_relocation::<Alarm<SHOWS, WAITS>>(&(), ME, &steps)
    }
    assert_eq!(relocated::<true, true>(), Ok(()));
    assert!(relocated::<false, true>().unwrap_err().starts_with("step 0: state"));
    assert!(relocated::<true, false>().unwrap_err().starts_with("step 1: effects of one that forgets"));
}
