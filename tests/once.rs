//! Jobs that run once, as their callers and hosts know them: one story for each row of the tables, and what holds for
//! every sequence of inputs.

mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use fencepost::job::Outcome;
use fencepost::lease::LeaseConfig;
use fencepost::line::Owner;
use fencepost::machine::{Effect, Identity, Input, Machine, Relocate};
use fencepost::mutex::{self, MutexConfig};
use fencepost::once::{
    Backoff, Call, Delivery, Event, Key, Message, Once, OnceConfig, OnceTerms, Request, RunAt, State, Task,
};
use fencepost::run::{self, Record, Work};
use fencepost::store::{Answer, Entry, FencingToken, Op, Revision};
use fencepost::time::{Instant, Ppm, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use story::shift::{Forget, Speech, check_relocation};
use story::*;

/// Keys are letters, props are digits.
type Scheduler = Once<char, u8>;
type Tale = Story<Scheduler>;
type Said = Answer<Key<char>, Record<Task<u8>>>;

const START: Input<Scheduler> = Input::Request(Request::Start);
const STOP: Input<Scheduler> = Input::Request(Request::Stop);
const WAKE: Input<Scheduler> = Input::Wake;
const CANCEL: Input<Scheduler> = Input::Request(Request::Cancel { key: 'k' });
const FIND: Input<Scheduler> = Input::Request(Request::Find { key: 'k' });
const LIST: Input<Scheduler> = Input::Request(Request::List { after: None, limit: 3 });
const DONE: Input<Scheduler> = finish(Outcome::Succeeded);
const FAIL: Input<Scheduler> = finish(Outcome::Failed);

const ASK: Call = Call::Ask(0);
const READ: Call = Call::Slot(0, run::Call::Read);
const CLAIM: Call = Call::Slot(0, run::Call::Claim);
const STAMP: Call = Call::Slot(0, run::Call::Stamp);
const RECORD: Call = Call::Slot(0, run::Call::Record);
const TAKE: Call = Call::Slot(0, run::Call::Lock(mutex::Call::Claim));
const KEEP: Call = Call::Slot(0, run::Call::Lock(mutex::Call::Renew));
const FREE: Call = Call::Slot(0, run::Call::Lock(mutex::Call::Release));

const fn finish(outcome: Outcome) -> Input<Scheduler> {
    Input::Request(Request::Finish { slot: 0, outcome })
}

fn schedule(ms: u64) -> Input<Scheduler> {
    Input::Request(Request::Schedule { key: 'k', run_at: RunAt::In(Span::from_millis(ms)), props: 5 })
}

fn reschedule(ms: u64, props: Option<u8>) -> Input<Scheduler> {
    Input::Request(Request::Reschedule { key: 'k', run_at: RunAt::At(millis(ms)), props })
}

fn hint(due: u64, wait: u64) -> Input<Scheduler> {
    Input::Message(Message::Scheduled { key: 'k', due: millis(due), wait: Span::from_millis(wait) })
}

impl Hero for Scheduler {
    fn tell(effect: &Effect<Scheduler>) -> String {
        match effect {
            Effect::Store { store, call, op } => {
                assert!(is_first(*store));
                tell_call(*call, op)
            }
            Effect::Forget(Call::Slot(0, call)) => format!("forget {call:?}"),
            Effect::Forget(call) => format!("forget {call:?}"),
            Effect::Publish(Message::Scheduled { key, due, wait }) => {
                format!("publish {key} @{} in {wait}", ms(*due))
            }
            Effect::Event(Event::Began { slot: 0, key, token, task }) => {
                format!("Began({key}, {}, attempt {}, props {})", token.0, task.attempt, task.props)
            }
            Effect::Event(Event::Ended { slot: 0, key, outcome, noted }) => {
                format!("Ended({key}, {outcome:?}, {noted:?})")
            }
            Effect::Event(Event::Accepted { key, generation: Some(by) }) => {
                format!("Accepted({key}, #{})", by.attempt)
            }
            Effect::Event(Event::Accepted { key, generation: None }) => format!("Accepted({key})"),
            Effect::Event(Event::Found { key, task }) => {
                format!("Found({key}, {})", task.as_ref().map_or(String::from("nothing"), tell_task))
            }
            Effect::Event(Event::Listed { page }) => {
                format!("Listed({})", page.iter().map(|(key, _)| *key).collect::<String>())
            }
            Effect::Event(Event::Interrupted { slot: 0, key }) => format!("Interrupted({key})"),
            Effect::Event(Event::Declined { key, why }) => format!("Declined({key}, {why:?})"),
            Effect::Event(
                event @ (Event::Began { .. } | Event::Ended { .. } | Event::Interrupted { .. }),
            ) => {
                panic!("there is one slot: {event:?}")
            }
            Effect::Event(Event::Rejected { key: _, misuse }) => format!("Rejected({misuse:?})"),
            Effect::Event(Event::Stopped) => String::from("Stopped"),
        }
    }
}

fn tell_call(call: Call, op: &Op<Key<char>, Record<Task<u8>>>) -> String {
    match (call, op) {
        (Call::Ask(_) | READ | STAMP, Op::Get { key: Key::Job(key) }) => format!("get {key}"),
        (
            Call::Ask(_) | CLAIM | RECORD,
            Op::PutIf { key: Key::Job(key), expect, record: Record::Work(task), ttl },
        ) => {
            let kept = ttl.map_or(String::new(), |ttl| format!(" for {ttl}"));
            format!("put {key} {}{kept} over {}", tell_task(task), tell_expect(expect))
        }
        (Call::Slot(_, run::Call::Lock(call)), op) => tell_lock(call, op),
        (Call::List | Call::Refresh, Op::List { after: Key::Jobs, limit }) => format!("list {limit}"),
        (Call::List | Call::Refresh, Op::List { after: Key::Job(after), limit }) => {
            format!("list {limit} after {after}")
        }
        (Call::Slot(_, run::Call::Read), Op::Get { key: Key::Job(key) }) => format!("get {key}"),
        other => panic!("{other:?}"),
    }
}

fn tell_task(task: &Task<u8>) -> String {
    let state = match task.state {
        State::Scheduled => "scheduled",
        State::Claimed { .. } => "claimed",
        State::Done { .. } => "done",
        State::Failed { .. } => "failed",
        State::Dead { .. } => "dead",
        State::Cancelled { .. } => "cancelled",
    };
    format!("@{} gen {} #{} {state}", ms(task.due), task.generation.attempt, task.attempt)
}

/// Lease of 15 s renewed every 5 s, time-out 2 s, poll 1 s, none of them jittered; belief 14.935 s. A listing of pages of
/// two every 40 s; one slot.
fn terms(delivery: Delivery) -> OnceTerms {
    let lease = LeaseConfig { jitter: Ppm::ZERO, ..LeaseConfig::default() };
    let config = OnceConfig {
        slots: 1,
        page: 2,
        refresh_interval: Duration::from_secs(40),
        retention: Duration::from_secs(7),
        mutex: MutexConfig { lease, ..MutexConfig::default() },
        ..OnceConfig::new(delivery)
    };
    config.terms().expect("sound terms")
}

const TWICE: Delivery = Delivery::AtLeastOnce {
    attempts: 2,
    backoff: Backoff { first: Duration::from_secs(3), longest: Duration::from_secs(60) },
};

fn reply(call: Call, answer: Said) -> Input<Scheduler> {
    Input::Reply { call, answer, at: millis(0) }
}

fn applied(call: Call, revision: u64) -> Input<Scheduler> {
    reply(call, Answer::Applied(Revision(revision)))
}

fn refused_by(call: Call, task: Task<u8>, revision: u64) -> Input<Scheduler> {
    reply(call, Answer::Refused(Some(entry(Record::Work(task), revision))))
}

fn unknown(call: Call) -> Input<Scheduler> {
    reply(call, Answer::Unknown)
}

fn found(call: Call, task: Option<Task<u8>>) -> Input<Scheduler> {
    reply(call, Answer::Found(task.map(|task| entry(Record::Work(task), 3))))
}

fn listed(call: Call, page: &[(char, Task<u8>)]) -> Input<Scheduler> {
    let row = |(key, task): &(char, Task<u8>)| (Key::Job(*key), entry(Record::Work(task.clone()), 3));
    reply(call, Answer::Listed(page.iter().map(row).collect()))
}

/// A job of another one's.
fn task(due: u64, state: State) -> Task<u8> {
    Task { due: millis(due), generation: STRANGER, attempt: 0, state, props: 5 }
}

fn scheduled(due: u64) -> Task<u8> {
    task(due, State::Scheduled)
}

/// One that another one has begun for the `attempt`th time.
fn claimed(attempt: u32) -> Task<u8> {
    Task { attempt, ..task(0, State::Claimed { by: STRANGER, at: millis(0) }) }
}

fn of(delivery: Delivery) -> Tale {
    Tale::of(terms(delivery))
}

fn listing(delivery: Delivery) -> Tale {
    of(delivery).at(0, START, "list 2").wakes(2_000)
}

/// It knows of a job that is due after 100 ms.
fn waiting(delivery: Delivery) -> Tale {
    listing(delivery).at(10, listed(Call::Refresh, &[('k', scheduled(100))]), "").wakes(100)
}

fn trying(delivery: Delivery) -> Tale {
    waiting(delivery).at(100, WAKE, "lock")
}

fn reading(delivery: Delivery) -> Tale {
    trying(delivery).at(110, applied(TAKE, 5), "get k")
}

/// What the hero claims at 120 ms.
fn mine() -> Task<u8> {
    let by = Owner { identity: ME, attempt: 1 };
    Task { attempt: 1, ..task(100, State::Claimed { by, at: millis(120) }) }
}

fn claiming(delivery: Delivery) -> Tale {
    reading(delivery).at(120, found(READ, Some(scheduled(100))), "put k @100 gen 1 #1 claimed over r3")
}

fn running(delivery: Delivery) -> Tale {
    claiming(delivery).at(130, applied(CLAIM, 6), "Began(k, 5, attempt 1, props 5)").wakes(5_100)
}

fn stamped(revision: u64) -> Input<Scheduler> {
    reply(STAMP, Answer::Found(Some(entry(Record::Work(mine()), revision))))
}

/// The callback has ended at 200 ms.
fn settling(delivery: Delivery, how: Input<Scheduler>) -> Tale {
    running(delivery).at(200, how, "get k")
}

#[test]
fn s1_s6_who_is_started_lists_what_is_pending() {
    listing(TWICE).at(5, START, "Rejected(Started)");
}

#[test]
fn s2_s3_s4_s5_who_is_stopped_waits_for_its_callbacks_only() {
    of(TWICE).at(0, STOP, "Stopped").rests();
    listing(TWICE).at(5, STOP, "forget Refresh, Stopped").rests().at(6, START, "list 2");
    waiting(TWICE).at(20, STOP, "Stopped").rests();
    trying(TWICE).at(105, STOP, "Stopped").wakes(2_100);
    let left = reading(TWICE).at(115, STOP, "forget Read, unlock r5").at(116, STOP, "");
    left.clone().at(117, START, "Rejected(Started)");
    left.at(120, applied(FREE, 5), "Stopped").rests();
    let told = running(TWICE).at(140, STOP, "Interrupted(k)").at(150, STOP, "");
    told.at(200, DONE, "get k")
        .at(210, stamped(6), "put k @100 gen 1 #1 done for 7s over r6")
        .at(220, applied(RECORD, 7), "unlock r5")
        .at(230, applied(FREE, 5), "Ended(k, Succeeded, Recorded), Stopped")
        .rests();
}

#[test]
fn s2_f6_a_claim_that_is_out_begins_and_is_interrupted() {
    let stopping = claiming(TWICE).at(125, STOP, "");
    stopping.at(130, applied(CLAIM, 6), "Began(k, 5, attempt 1, props 5), Interrupted(k)");
}

#[test]
fn l1_l2_l4_a_listing_goes_page_by_page() {
    let full = [('a', scheduled(9_000)), ('k', task(0, State::Done { at: millis(1) }))];
    let second = listing(TWICE).at(10, listed(Call::Refresh, &full), "list 2 after k").wakes(2_010);
    let over = second.at(20, listed(Call::Refresh, &[('z', scheduled(60_000))]), "").wakes(9_000);
    assert_eq!(over.machine.pending(), 2);
    let none = listing(TWICE).at(10, listed(Call::Refresh, &[]), "").wakes(40_010);
    none.at(40_010, WAKE, "list 2").wakes(42_010);
}

#[test]
fn l2_what_was_tried_before_a_stop_is_noted_after_a_start() {
    // The lock still follows up its request, and needs the only slot for that.
    let again = trying(TWICE).at(105, STOP, "Stopped").at(106, START, "list 2");
    let noted = again.at(110, listed(Call::Refresh, &[('k', scheduled(100))]), "");
    assert_eq!(noted.machine.pending(), 1);
    noted.at(120, reply(TAKE, Answer::Refused(Some(entry(Record::Lock(STRANGER), 4)))), "lock");
}

#[test]
fn l3_a_page_is_asked_for_again() {
    listing(TWICE).at(10, unknown(Call::Refresh), "").at(2_000, WAKE, "list 2").wakes(4_000);
}

#[test]
fn l5_a_hint_shortens_the_wait() {
    let idle = || listing(TWICE).at(10, listed(Call::Refresh, &[]), "");
    idle().at(20, hint(5_000, 300), "").wakes(320).at(320, WAKE, "lock");
    of(TWICE).at(0, hint(5_000, 300), "").rests();
}

#[test]
fn l6_who_may_have_missed_hints_lists_anew() {
    let idle = listing(TWICE).at(10, listed(Call::Refresh, &[]), "");
    let missed = || Input::Request(Request::Refresh);
    idle.at(20, missed(), "list 2").at(30, missed(), "list 2");
    // Half a listing may have passed what is new.
    let two = [('a', scheduled(50)), ('b', scheduled(60))];
    listing(TWICE).at(10, listed(Call::Refresh, &two), "list 2 after b").at(20, missed(), "list 2");
    of(TWICE).at(0, missed(), "").rests();
}

#[test]
fn f1_what_is_due_is_tried_where_a_slot_is_free() {
    trying(TWICE);
    // One slot: the other waits for it.
    let two = [('a', scheduled(50)), ('b', scheduled(60))];
    let both = listing(TWICE).at(10, listed(Call::Refresh, &two), "list 2 after b");
    let first = both.at(20, listed(Call::Refresh, &[]), "").wakes(50).at(55, WAKE, "lock");
    let left = first.at(56, applied(TAKE, 5), "get a").at(70, found(READ, None), "unlock r5");
    left.at(80, applied(FREE, 5), "lock");
    // Whoever found no answer looks at the next to learn how late it is.
    let overdue = [('a', scheduled(0)), ('b', scheduled(0))];
    let blind = listing(TWICE).at(10, listed(Call::Refresh, &overdue), "list 2 after b, lock");
    assert_eq!(blind.machine.pending(), 1);
}

#[test]
fn f1_who_has_waited_for_a_slot_for_longer_goes_first() {
    // Also if nobody remembers for how long: the listing says of z first that its claimant may have died.
    for moment in [0, 25] {
        let busy = [('b', claimed(1)), ('z', claimed(1))];
        let first = listing(TWICE).at(10, listed(Call::Refresh, &busy), "list 2 after z, lock");
        let mut both = first.at(20, listed(Call::Refresh, &[('a', claimed(1))]), "");
        both.machine.relocate(&mut Forget(millis(moment)));
        let stranger = reply(TAKE, Answer::Refused(Some(entry(Record::Lock(STRANGER), 4))));
        let next = both.at(30, stranger, "lock").at(40, applied(TAKE, 5), "get z");
        let last = next.at(50, found(READ, None), "unlock r5").at(60, applied(FREE, 5), "lock");
        last.at(70, applied(TAKE, 6), "get a");
    }
}

#[test]
fn f2_v1_what_is_due_is_claimed() {
    claiming(Delivery::AtMostOnce);
}

#[test]
fn f3_v2_a_stale_timer_is_harmless() {
    let left = reading(TWICE).at(120, found(READ, Some(scheduled(9_000))), "unlock r5");
    left.at(130, applied(FREE, 5), "").wakes(9_000);
}

#[test]
fn f2_v3_a_dead_claimants_job_is_claimed_again() {
    let again = reading(TWICE).at(120, found(READ, Some(claimed(1))), "put k @0 gen 1 #2 claimed over r3");
    again.at(130, applied(CLAIM, 6), "Began(k, 5, attempt 2, props 5)");
}

#[test]
fn f4_v4_a_job_without_an_attempt_left_is_dead() {
    for (delivery, attempt) in [(TWICE, 2), (Delivery::AtMostOnce, 1)] {
        let expected = format!("put k @0 gen 1 #{attempt} dead over r3");
        let buried = reading(delivery).at(120, found(READ, Some(claimed(attempt))), &expected);
        buried.at(130, applied(RECORD, 7), "unlock r5").at(140, applied(FREE, 5), "").wakes(40_010);
    }
}

#[test]
fn f5_v5_what_is_over_is_left_alone() {
    let at = millis(5);
    let over =
        [State::Done { at }, State::Failed { at }, State::Dead { at }, State::Cancelled { by: STRANGER, at }];
    for state in over {
        let left = reading(TWICE).at(120, found(READ, Some(task(0, state))), "unlock r5");
        left.at(130, applied(FREE, 5), "").wakes(40_010);
    }
    reading(TWICE).at(120, found(READ, None), "unlock r5");
}

#[test]
fn f7_who_could_not_claim_looks_again() {
    let stranger = reply(TAKE, Answer::Refused(Some(entry(Record::Lock(STRANGER), 4))));
    trying(TWICE).at(110, stranger, "").wakes(15_110).at(15_110, WAKE, "lock");
    let refused = claiming(TWICE).at(130, refused_by(CLAIM, scheduled(9_000), 9), "unlock r5");
    refused.at(140, applied(FREE, 5), "").wakes(1_140);
}

#[test]
fn f8_a_callback_whose_lock_is_lost_is_told_at_once() {
    let lost = running(TWICE).at(5_100, WAKE, "renew r5").at(
        5_110,
        reply(KEEP, Answer::Refused(None)),
        "Interrupted(k)",
    );
    // It was interrupted, whatever it says.
    let stamps = lost.at(6_000, DONE, "get k");
    let records = stamps.at(6_010, stamped(6), "put k @9010 gen 1 #1 scheduled over r6");
    records.at(6_020, applied(RECORD, 7), "Ended(k, Interrupted, Recorded)").wakes(9_010);
}

#[test]
fn f9_f10_f11_an_outcome_is_written_on_the_claim() {
    let rows = [
        (TWICE, DONE, "done for 7s", "Succeeded"),
        (Delivery::AtMostOnce, DONE, "done for 7s", "Succeeded"),
        (Delivery::AtMostOnce, FAIL, "failed for 7s", "Failed"),
    ];
    for (delivery, how, state, outcome) in rows {
        let records =
            settling(delivery, how).at(210, stamped(6), &format!("put k @100 gen 1 #1 {state} over r6"));
        let unlocks = records.at(220, applied(RECORD, 7), "unlock r5");
        unlocks.at(230, applied(FREE, 5), &format!("Ended(k, {outcome}, Recorded)")).wakes(40_010);
    }
}

#[test]
fn f10_a_failure_is_tried_again_until_no_attempt_is_left() {
    let again = settling(TWICE, FAIL).at(210, stamped(6), "put k @3210 gen 1 #1 scheduled over r6");
    let over = again.at(220, applied(RECORD, 7), "unlock r5");
    over.at(230, applied(FREE, 5), "Ended(k, Failed, Recorded)").wakes(3_210);
    let second = Task { attempt: 1, ..scheduled(100) };
    let claims = reading(TWICE).at(120, found(READ, Some(second)), "put k @100 gen 1 #2 claimed over r3");
    let fails = claims.at(130, applied(CLAIM, 6), "Began(k, 5, attempt 2, props 5)").at(200, FAIL, "get k");
    let last = reply(STAMP, Answer::Found(Some(entry(Record::Work(Task { attempt: 2, ..mine() }), 6))));
    fails.at(210, last, "put k @100 gen 1 #2 dead over r6");
}

#[test]
fn f11_what_was_changed_meanwhile_is_looked_at_again() {
    let superseded = settling(TWICE, DONE).at(210, found(STAMP, Some(scheduled(9_000))), "unlock r5");
    superseded.at(220, applied(FREE, 5), "Ended(k, Succeeded, Superseded)").wakes(1_220);
    // Nobody knows what was recorded: the lock is lost first, and then patience.
    let silent = settling(TWICE, DONE).at(5_100, WAKE, "renew r5, get k").at(14_000, WAKE, "renew r5, get k");
    let lost = silent.at(15_035, WAKE, "forget Lock(Renew), unlock r5").wakes(15_200);
    lost.at(15_200, WAKE, "forget Stamp, Ended(k, Succeeded, Unknown)").wakes(30_200);
}

#[test]
fn f12_only_a_callback_that_runs_can_end() {
    for story in [of(TWICE), waiting(TWICE), trying(TWICE), claiming(TWICE), settling(TWICE, DONE)] {
        let deadline = story.deadline();
        let rejected = story.at(99, DONE, "Rejected(NotRunning)");
        assert_eq!(rejected.deadline(), deadline);
    }
}

#[test]
fn a1_a3_a6_a_job_is_scheduled_by_one_write() {
    let reads = of(TWICE).at(0, schedule(100), "get k").wakes(2_000);
    let writes = reads.at(10, found(ASK, None), "put k @110 gen 1 #0 scheduled over new");
    writes.at(20, applied(ASK, 4), "Accepted(k, #1), publish k @110 in 90ms").rests();
    // Where jobs are run, it is on the agenda.
    let started = listing(TWICE).at(10, listed(Call::Refresh, &[]), "").at(20, schedule(100), "get k");
    let writes = started.at(30, found(ASK, None), "put k @130 gen 1 #0 scheduled over new");
    writes.at(40, applied(ASK, 4), "Accepted(k, #1), publish k @130 in 90ms").wakes(130);
    // A job that is over makes room.
    let over = task(0, State::Done { at: millis(1) });
    of(TWICE).at(0, schedule(100), "get k").at(
        10,
        found(ASK, Some(over)),
        "put k @110 gen 1 #0 scheduled over r3",
    );
}

#[test]
fn a3_a6_a_job_is_rescheduled_by_one_write_whatever_its_state() {
    for state in
        [State::Scheduled, State::Claimed { by: STRANGER, at: millis(0) }, State::Dead { at: millis(0) }]
    {
        let reads = of(TWICE).at(0, reschedule(500, None), "get k");
        let writes = reads.at(10, found(ASK, Some(task(0, state))), "put k @500 gen 1 #0 scheduled over r3");
        writes.at(20, applied(ASK, 4), "Accepted(k, #1), publish k @500 in 480ms");
    }
}

#[test]
fn a3_a6_a_job_is_cancelled_by_one_write_also_from_its_callback() {
    let waits = waiting(TWICE).at(20, CANCEL, "get k").at(
        30,
        found(ASK, Some(scheduled(100))),
        "put k @100 gen 1 #0 cancelled for 7s over r3",
    );
    waits.at(40, applied(ASK, 4), "Accepted(k)").wakes(40_010);
    running(TWICE)
        .at(140, CANCEL, "get k")
        .at(150, found(ASK, Some(mine())), "put k @100 gen 1 #1 cancelled for 7s over r3")
        .at(160, applied(ASK, 4), "Accepted(k)")
        .at(200, DONE, "get k")
        .at(210, found(STAMP, None), "unlock r5");
}

#[test]
fn a2_one_request_of_a_key_at_a_time() {
    let reads = of(TWICE).at(0, schedule(100), "get k");
    for input in [schedule(5), CANCEL, FIND, reschedule(5, None)] {
        reads.clone().at(5, input, "Rejected(Busy)");
    }
    let other = Input::Request(Request::Cancel { key: 'x' });
    reads.at(5, other, "get x").at(10, found(ASK, None), "put k @110 gen 1 #0 scheduled over new");
}

#[test]
fn a4_what_makes_no_difference_is_declined() {
    for open in [scheduled(9), claimed(1), task(0, State::Dead { at: millis(1) })] {
        of(TWICE).at(0, schedule(100), "get k").at(10, found(ASK, Some(open)), "Declined(k, Taken)").rests();
    }
    for over in [None, Some(task(0, State::Done { at: millis(1) }))] {
        of(TWICE).at(0, CANCEL, "get k").at(10, found(ASK, over), "Declined(k, Missing)").rests();
    }
    of(TWICE).at(0, reschedule(5, None), "get k").at(10, found(ASK, None), "Declined(k, Missing)");
}

#[test]
fn a5_a_job_can_be_looked_at() {
    of(TWICE).at(0, FIND, "get k").at(10, found(ASK, None), "Found(k, nothing)").rests();
    of(TWICE).at(0, FIND, "get k").at(10, found(ASK, Some(claimed(1))), "Found(k, @0 gen 1 #1 claimed)");
}

#[test]
fn a6_a7_a8_a_write_of_unknown_outcome_is_repeated_and_recognised() {
    let writes = || {
        of(TWICE).at(0, schedule(100), "get k").at(
            10,
            found(ASK, None),
            "put k @110 gen 1 #0 scheduled over new",
        )
    };
    let again =
        || writes().at(20, unknown(ASK), "").at(2_010, WAKE, "put k @110 gen 1 #0 scheduled over new");
    let own = Owner { identity: ME, attempt: 1 };
    // Somebody may have begun it meanwhile.
    let begun = Task { generation: own, ..claimed(1) };
    again().at(2_020, refused_by(ASK, begun, 4), "Accepted(k, #1)").rests();
    let taken = writes().at(20, refused_by(ASK, scheduled(9), 4), "get k");
    taken.at(30, found(ASK, Some(scheduled(9))), "Declined(k, Taken)").rests();
    of(TWICE).at(0, schedule(100), "get k").at(10, unknown(ASK), "").at(2_000, WAKE, "get k").wakes(4_000);
    let cancelled = task(0, State::Cancelled { by: own, at: millis(10) });
    let cancels = of(TWICE).at(0, CANCEL, "get k").at(
        10,
        found(ASK, Some(scheduled(0))),
        "put k @0 gen 1 #0 cancelled for 7s over r3",
    );
    cancels.at(20, refused_by(ASK, cancelled, 4), "Accepted(k)");
}

#[test]
fn a7_a9_a_request_is_not_carried_out_twice() {
    let sent = || {
        let reads = of(TWICE).at(0, reschedule(500, None), "get k");
        reads.at(10, found(ASK, Some(scheduled(9))), "put k @500 gen 1 #0 scheduled over r3")
    };
    let again = || sent().at(2_010, WAKE, "put k @500 gen 1 #0 scheduled over r3");
    // What was read has been begun meanwhile, so nothing was written.
    again().at(2_020, refused_by(ASK, claimed(1), 4), "get k").at(
        2_030,
        found(ASK, Some(claimed(1))),
        "put k @500 gen 1 #0 scheduled over r3",
    );
    let another = Task { generation: Owner { attempt: 9, ..STRANGER }, ..scheduled(9) };
    again().at(2_020, refused_by(ASK, another.clone(), 4), "Declined(k, Overtaken)").rests();
    again().at(2_020, reply(ASK, Answer::Refused(None)), "Declined(k, Overtaken)").rests();
    // Sent once, it was not carried out; but what is written next is another generation in any case.
    sent().at(20, refused_by(ASK, another.clone(), 4), "get k").at(
        30,
        found(ASK, Some(another)),
        "put k @500 gen 2 #0 scheduled over r3",
    );
}

#[test]
fn p1_p2_p3_p4_callers_list_page_by_page() {
    let asked = of(TWICE).at(0, LIST, "list 3").wakes(2_000).at(5, LIST, "Rejected(Busy)");
    let again = asked.at(10, unknown(Call::List), "").at(2_000, WAKE, "list 3").wakes(4_000);
    let page = [('a', scheduled(9)), ('b', claimed(1))];
    again.at(2_010, listed(Call::List, &page), "Listed(ab)").rests();
}

#[test]
fn every_row_has_its_story() {
    for docs in [include_str!("../src/once.rs"), include_str!("../src/once/task.rs")] {
        check_told(docs, include_str!("once.rs"));
    }
}

#[test]
fn a_hundred_thousand_pending_jobs_have_one_timer() {
    let mut story = Tale::of(terms(TWICE));
    story.step(millis(0), START);
    for number in 0..100_000u32 {
        let key = char::from_u32(0x1_0000 + number).expect("a character");
        let page = vec![(Key::Job(key), entry(Record::Work(scheduled(100_000 + u64::from(number))), 3)); 2];
        story.step(millis(1), reply(Call::Refresh, Answer::Listed(page)));
    }
    assert_eq!(story.machine.pending(), 100_000);
    assert_eq!(story.deadline(), Some(millis(2_001)));
}

impl Speech for Scheduler {
    fn heard(input: &mut Input<Scheduler>, map: &mut impl Relocate) {
        match input {
            Input::Reply { answer, at, .. } => {
                map.store_time(at);
                relocate_answer(answer, map);
            }
            Input::Request(
                Request::Schedule { run_at: RunAt::At(at), .. }
                | Request::Reschedule { run_at: RunAt::At(at), .. },
            )
            | Input::Message(Message::Scheduled { due: at, .. }) => map.store_time(at),
            Input::Request(_) | Input::Wake => {}
        }
    }

    fn said(effect: &mut Effect<Scheduler>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { op, .. } => relocate_op(op, map),
            Effect::Publish(Message::Scheduled { due, .. }) => map.store_time(due),
            Effect::Event(Event::Began { token, task, .. }) => {
                task.relocate(map);
                let mut revision = Revision(token.0);
                map.revision(&mut revision);
                *token = FencingToken::from(revision);
            }
            Effect::Event(Event::Accepted { generation, .. }) => {
                generation.iter_mut().for_each(|owner| owner.relocate(map));
            }
            Effect::Event(Event::Found { task, .. }) => task.iter_mut().for_each(|task| task.relocate(map)),
            Effect::Event(Event::Listed { page }) => page.iter_mut().for_each(|(_, task)| task.relocate(map)),
            Effect::Event(_) | Effect::Forget(_) => {}
        }
    }
}

fn an_owner() -> impl Strategy<Value = Owner> {
    (7..9u64, 0..4u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt })
}

fn a_task() -> impl Strategy<Value = Task<u8>> {
    let state = (0..6, an_owner(), 0..9_000u64).prop_map(|(state, by, at)| {
        let at = millis(at);
        match state {
            0 => State::Claimed { by, at },
            1 => State::Done { at },
            2 => State::Failed { at },
            3 => State::Dead { at },
            4 => State::Cancelled { by, at },
            _ => State::Scheduled,
        }
    });
    (0..9_000u64, an_owner(), 0..3u32, state).prop_map(|(due, generation, attempt, state)| Task {
        due: millis(due),
        generation,
        attempt,
        state,
        props: 5,
    })
}

fn a_record() -> impl Strategy<Value = Entry<Record<Task<u8>>>> {
    let record = prop_oneof![1 => an_owner().prop_map(Record::Lock), 3 => a_task().prop_map(Record::Work)];
    (1..9u64, record).prop_map(|(revision, record)| entry(record, revision))
}

fn a_key() -> impl Strategy<Value = char> {
    prop::sample::select(vec!['j', 'k', 'k', 'l'])
}

/// Any answer, whether or not any call could have it.
fn an_answer() -> impl Strategy<Value = Said> {
    let row = (a_key(), a_record()).prop_map(|(key, entry)| (Key::Job(key), entry));
    prop_oneof![
        4 => (1..9u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        2 => prop::option::of(a_record()).prop_map(Answer::Refused),
        4 => prop::option::of(a_record()).prop_map(Answer::Found),
        2 => prop::collection::vec(row, 0..3).prop_map(Answer::Listed),
        1 => Just(Answer::Unknown),
    ]
}

fn a_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => prop::sample::select(vec![ASK, Call::Refresh, TAKE, READ, CLAIM, STAMP, RECORD, FREE]),
        1 => prop::sample::select(vec![
            Call::Ask(1), Call::Ask(9), Call::List, KEEP, Call::Slot(7, run::Call::Read),
            Call::Slot(0, run::Call::Lock(mutex::Call::Inspect)),
        ]),
    ]
}

fn a_request() -> impl Strategy<Value = Request<char, u8>> {
    let run_at = prop_oneof![
        (0..9_000u64).prop_map(|ms| RunAt::In(Span::from_millis(ms))),
        (0..9_000u64).prop_map(|ms| RunAt::At(millis(ms))),
    ];
    let outcome = prop::sample::select(vec![Outcome::Succeeded, Outcome::Failed, Outcome::Interrupted]);
    (0..10, a_key(), run_at, outcome).prop_map(|(which, key, run_at, outcome)| match which {
        0 | 1 => Request::Start,
        2 => Request::Stop,
        3 => Request::Schedule { key, run_at, props: 5 },
        4 => Request::Reschedule { key, run_at, props: None },
        5 => Request::Cancel { key },
        6 => Request::Find { key },
        7 => Request::List { after: Some(key), limit: 2 },
        _ => Request::Finish { slot: 0, outcome },
    })
}

fn an_input() -> impl Strategy<Value = Input<Scheduler>> {
    let reply = (a_call(), an_answer(), 0..9_000u64).prop_map(|(call, answer, at)| Input::Reply {
        call,
        answer,
        at: millis(at),
    });
    prop_oneof![
        3 => a_request().prop_map(Input::Request),
        6 => reply,
        1 => (0..9_000u64, 0..2_000u64).prop_map(|(due, wait)| hint(due, wait)),
        2 => Just(WAKE),
    ]
}

fn a_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        8 => (0..100u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        1 => (0..9_000u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        2 => Just(Wait::UntilDeadline),
    ]
}

/// Any inputs, among them what keeps a story going.
fn steps() -> impl Strategy<Value = Vec<(Wait, Input<Scheduler>)>> {
    let good = prop::sample::select(vec![
        listed(Call::Refresh, &[('k', scheduled(0))]),
        applied(TAKE, 5),
        found(READ, Some(scheduled(0))),
        applied(CLAIM, 6),
        DONE,
        FAIL,
        stamped(6),
        applied(RECORD, 7),
        applied(FREE, 5),
    ]);
    let any = prop_oneof![1 => good, 2 => an_input()];
    prop::collection::vec((a_wait(), any), 1..80).prop_map(|mut steps| {
        steps[0].1 = START;
        steps
    })
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop::sample::select(vec![Delivery::AtMostOnce, TWICE])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(delivery in delivery(), steps in steps()) {
        walk::<Scheduler>(terms(delivery), Instant::ZERO, steps);
    }

    #[test]
    fn nor_does_one_at_the_end_of_time(delivery in delivery(), steps in steps(), early in 0..40_000u64) {
        walk::<Scheduler>(terms(delivery), Instant::MAX - Span::from_millis(early), steps);
    }

    #[test]
    fn a_scheduler_does_the_same_in_another_world(delivery in delivery(), steps in steps()) {
        let walked = walk::<Scheduler>(terms(delivery), millis(1), steps);
        let steps: Vec<_> = walked.into_iter().map(|(now, input, _)| (now, input)).collect();
        prop_assert_eq!(check_relocation::<Scheduler>(&terms(delivery), ME, &steps), Ok(()));
    }

    #[test]
    fn callbacks_begin_and_end_in_turn(delivery in delivery(), steps in steps()) {
        let mut running = BTreeSet::new();
        for effect in walk::<Scheduler>(terms(delivery), Instant::ZERO, steps).into_iter().flat_map(|(_, _, done)| done) {
            let Effect::Event(event) = effect else { continue };
            match event {
                Event::Began { key, .. } => prop_assert!(running.insert(key)),
                Event::Ended { key, .. } => prop_assert!(running.remove(&key)),
                Event::Interrupted { key, .. } => prop_assert!(running.contains(&key)),
                Event::Stopped => prop_assert!(running.is_empty()),
                Event::Accepted { .. } | Event::Declined { .. } | Event::Found { .. } | Event::Listed { .. }
                | Event::Rejected { .. } => {}
            }
        }
    }
}

#[test]
fn the_random_walks_meet_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..4_000 {
        let (delivery, steps) = (delivery(), steps()).new_tree(&mut runner).unwrap().current();
        for effect in
            walk::<Scheduler>(terms(delivery), Instant::ZERO, steps).into_iter().flat_map(|(_, _, done)| done)
        {
            let Effect::Event(event) = effect else { continue };
            met.insert(match event {
                Event::Began { .. } => String::from("Began"),
                Event::Ended { noted, .. } => format!("Ended({noted:?})"),
                Event::Interrupted { .. } => String::from("Interrupted"),
                Event::Accepted { .. } => String::from("Accepted"),
                Event::Declined { why, .. } => format!("Declined({why:?})"),
                Event::Found { .. } => String::from("Found"),
                Event::Listed { .. } => String::from("Listed"),
                Event::Rejected { misuse, .. } => format!("Rejected({misuse:?})"),
                Event::Stopped => String::from("Stopped"),
            });
        }
    }
    let all = "Accepted Began Declined(Missing) Declined(Overtaken) Declined(Taken) Ended(Recorded) Ended(Superseded) Ended(Unknown) \
               Found Interrupted Listed Rejected(Busy) Rejected(NotRunning) Rejected(Started) Stopped";
    assert_eq!(met.into_iter().collect::<Vec<_>>().join(" "), all);
}
