//! A run as the machine that embeds it knows it: one story for each row of its table, and what holds for every sequence
//! of inputs.

mod story;

use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::line::Owner;
use fencepost::machine::{Effect, Identity, Input, Machine, Relocate};
use fencepost::mutex::{self, Freed, MutexConfig};
use fencepost::run::{Call, End, Event, Key, Noted, Record, Request, Run, Terms, Work};
use fencepost::store::{Answer, FencingToken, Op, Revision};
use fencepost::time::{Instant, Ppm, Span};
use proptest::prelude::*;
use story::shift::{Speech, check_relocation};
use story::*;

/// What is kept: who wrote it, and what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Note(Owner, &'static str);

impl Work for Note {
    fn relocate(&mut self, map: &mut impl Relocate) {
        self.0.relocate(map);
    }
}

type Noter = Run<Note>;
type Tale = Story<Noter>;

const ENTER: Input<Noter> = Input::Request(Request::Enter);
const LEAVE: Input<Noter> = Input::Request(Request::Leave);
const FINISH: Input<Noter> = Input::Request(Request::Finish);
const WAKE: Input<Noter> = Input::Wake;
const CLAIM: Input<Noter> = Input::Request(Request::Claim(mine("claim")));
const RECORD: Input<Noter> =
    Input::Request(Request::Record { work: mine("outcome"), ttl: Some(Span::from_secs(9)) });

const TAKE: Call = Call::Lock(mutex::Call::Claim);
const KEEP: Call = Call::Lock(mutex::Call::Renew);
const FREE: Call = Call::Lock(mutex::Call::Release);

/// What the hero writes.
const fn mine(what: &'static str) -> Note {
    Note(Owner { identity: ME, attempt: 1 }, what)
}

const fn others(what: &'static str) -> Note {
    Note(STRANGER, what)
}

impl Hero for Noter {
    fn tell(effect: &Effect<Noter>) -> String {
        match effect {
            Effect::Store { store, call, op } => {
                assert!(is_first(*store));
                tell_call(*call, op)
            }
            Effect::Forget(call) => format!("forget {call:?}"),
            Effect::Publish(Freed) => String::from("publish freed"),
            Effect::Event(Event::Found { entry, at }) => {
                format!("Found({}, @{})", entry.as_ref().map_or("nothing", |entry| entry.record.1), ms(*at))
            }
            Effect::Event(Event::Began { work, token }) => format!("Began({}, {})", work.1, token.0),
            Effect::Event(Event::Settle { work, at, held }) => {
                format!("Settle({}, @{}, {held})", work.1, ms(*at))
            }
            Effect::Event(event) => format!("{event:?}"),
        }
    }

    fn watch(&self, _: &Terms, now: Instant) -> Result<(), String> {
        match self.until() {
            Some(until) if until <= now => Err(String::from("held at the end of belief")),
            Some(_) if self.is_idle() => Err(String::from("idle, it holds the lock")),
            Some(_) | None => Ok(()),
        }
    }
}

fn tell_call(call: Call, op: &Op<Key, Record<Note>>) -> String {
    match (call, op) {
        (Call::Read, Op::Get { key: Key::Work }) => String::from("read"),
        (Call::Stamp, Op::Get { key: Key::Work }) => String::from("stamp"),
        (
            Call::Claim | Call::Record,
            Op::PutIf { key: Key::Work, expect, record: Record::Work(note), ttl },
        ) => {
            let kept = ttl.map_or(String::new(), |ttl| format!(" for {ttl}"));
            format!("put {}{kept} over {}", note.1, tell_expect(expect))
        }
        (Call::Lock(call), op) => tell_lock(call, op),
        other => panic!("{other:?}"),
    }
}

/// Lease of 15 s renewed every 5 s, time-out 2 s, none of them jittered; belief 14.935 s, lock delay 5 s.
fn terms() -> Terms {
    let lease = LeaseConfig { jitter: Ppm::ZERO, ..LeaseConfig::default() };
    let mutex = MutexConfig { lease, lock_delay: Duration::from_secs(5), ..MutexConfig::default() };
    Terms {
        mutex: mutex.terms().expect("sound terms"),
        #[cfg(feature = "ablation")]
        ablated: None,
    }
}

fn reply(call: Call, answer: Answer<Key, Record<Note>>) -> Input<Noter> {
    Input::Reply { call, answer, at: millis(0) }
}

fn applied(call: Call, revision: u64) -> Input<Noter> {
    reply(call, Answer::Applied(Revision(revision)))
}

fn refused_by(call: Call, note: Note, revision: u64) -> Input<Noter> {
    reply(call, Answer::Refused(Some(entry(Record::Work(note), revision))))
}

fn found(call: Call, note: Note, revision: u64) -> Input<Noter> {
    reply(call, Answer::Found(Some(entry(Record::Work(note), revision))))
}

fn unknown(call: Call) -> Input<Noter> {
    reply(call, Answer::Unknown)
}

fn entering() -> Tale {
    Tale::of(terms()).at(0, ENTER, "lock").wakes(2_000)
}

fn reading() -> Tale {
    entering().at(10, applied(TAKE, 5), "read").wakes(2_010)
}

fn deciding() -> Tale {
    reading().at(20, found(Call::Read, others("old"), 3), "Found(old, @20)").wakes(5_000)
}

fn claiming() -> Tale {
    deciding().at(20, CLAIM, "put claim over r3").wakes(2_020)
}

fn running() -> Tale {
    claiming().at(30, applied(Call::Claim, 6), "Began(claim, 5)").wakes(5_000)
}

fn stamping() -> Tale {
    running().at(100, FINISH, "stamp").wakes(2_100)
}

fn settling() -> Tale {
    stamping().at(110, found(Call::Stamp, mine("claim"), 6), "Settle(claim, @110, true)")
}

fn recording() -> Tale {
    settling().at(110, RECORD, "put outcome for 9s over r6").wakes(2_110)
}

/// The lock is lost while the callback runs.
fn interrupted() -> Tale {
    running().at(5_000, WAKE, "renew r5").at(5_010, reply(KEEP, Answer::Refused(None)), "Interrupted").rests()
}

/// The lock is released, and it ends so.
#[track_caller]
fn ends(story: Tale, ms: u64, end: End) {
    story.at(ms, applied(FREE, 5), &format!("publish freed, {:?}", Event::<Note>::Ended(end))).rests();
}

#[test]
fn e1_e2_it_reads_what_was_done_under_the_lock() {
    reading();
}

#[test]
fn e3_one_attempt_is_one_attempt() {
    let stranger = || reply(TAKE, Answer::Refused(Some(entry(Record::Lock(STRANGER), 4))));
    entering().at(10, stranger(), "Ended(Contended)").rests().at(20, ENTER, "lock");
    entering().at(20_000, WAKE, "Ended(Contended), inspect");
    // A lock that is known too late is given back.
    entering().at(14_935, applied(TAKE, 5), "unlock r5, Ended(Contended)").rests();
    let record = Record::Lock(Owner { identity: ME, attempt: 9 });
    let leftover = reply(TAKE, Answer::Refused(Some(entry(record, 4))));
    entering().at(10, leftover, "unlock r4, Ended(Contended)").rests();
}

#[test]
fn e4_d2_it_may_leave_before_it_has_claimed() {
    entering().at(10, LEAVE, "Ended(Left)").wakes(2_000).at(20, applied(TAKE, 5), "unlock r5").rests();
    ends(reading().at(15, LEAVE, "forget Read, unlock r5"), 20, End::Left);
    ends(deciding().at(25, LEAVE, "unlock r5"), 30, End::Left);
    claiming().at(25, LEAVE, "").wakes(2_020);
    running().at(40, LEAVE, "").wakes(5_000);
}

#[test]
fn g1_what_was_found_is_shown_to_whoever_decides() {
    deciding();
    reading().at(20, reply(Call::Read, Answer::Found(None)), "Found(nothing, @20)").at(
        20,
        CLAIM,
        "put claim over new",
    );
}

#[test]
fn g2_a_read_is_repeated() {
    let lock = reply(Call::Read, Answer::Found(Some(entry(Record::Lock(STRANGER), 4))));
    for answer in [unknown(Call::Read), lock, applied(Call::Read, 3)] {
        reading().at(20, answer, "").at(2_010, WAKE, "read").wakes(4_010);
    }
}

#[test]
fn g3_without_the_lock_nothing_begins() {
    let lost = "Ended(Lost), unlock r5";
    reading().at(14_935, WAKE, &format!("forget Read, {lost}")).rests();
    deciding().at(14_935, CLAIM, lost).rests();
    claiming().at(14_935, applied(Call::Claim, 6), lost).rests();
    let renewing = claiming().at(5_000, WAKE, "renew r5, put claim over r3");
    renewing.at(5_010, reply(KEEP, Answer::Refused(None)), "forget Claim, Ended(Lost)").rests();
}

#[test]
fn d1_p1_a_claim_is_made_on_what_was_read_and_then_it_begins() {
    running();
    let again = claiming().at(2_020, WAKE, "put claim over r3");
    again.at(2_030, refused_by(Call::Claim, mine("claim"), 6), "Began(claim, 5)");
}

#[test]
fn d3_what_was_found_may_be_ended_without_a_callback() {
    let ended = deciding().at(20, RECORD, "put outcome for 9s over r3").wakes(2_020);
    ends(ended.at(30, applied(Call::Record, 7), "unlock r5"), 40, End::Ran(Noted::Recorded));
    let none = reading().at(20, reply(Call::Read, Answer::Found(None)), "Found(nothing, @20)");
    none.at(20, RECORD, "").at(21, LEAVE, "unlock r5");
}

#[test]
fn p2_a_claim_that_came_too_late_is_given_up() {
    for answer in [refused_by(Call::Claim, others("new"), 9), reply(Call::Claim, Answer::Refused(None))] {
        ends(claiming().at(30, answer, "unlock r5"), 40, End::Refused);
    }
}

#[test]
fn p3_a_claim_of_unknown_outcome_is_repeated() {
    for answer in [unknown(Call::Claim), found(Call::Claim, mine("claim"), 6)] {
        claiming().at(30, answer, "").at(2_020, WAKE, "put claim over r3").wakes(4_020);
    }
}

#[test]
fn x1_a_callback_is_told_that_its_lock_is_lost() {
    interrupted();
    running().at(14_935, WAKE, "Interrupted, unlock r5").rests();
}

#[test]
fn x2_o1_o4_o5_an_outcome_is_stamped_and_recorded() {
    ends(recording().at(120, applied(Call::Record, 7), "unlock r5"), 130, End::Ran(Noted::Recorded));
    let again = recording().at(120, unknown(Call::Record), "").at(2_110, WAKE, "put outcome for 9s over r6");
    let own = refused_by(Call::Record, mine("outcome"), 7);
    ends(again.at(2_120, own, "unlock r5"), 2_130, End::Ran(Noted::Recorded));
    // Without the lock it was no success, but may be told.
    let stamps = interrupted().at(6_000, FINISH, "stamp");
    let settles = stamps.at(6_010, found(Call::Stamp, mine("claim"), 6), "Settle(claim, @6010, false)");
    let records = settles.at(6_010, RECORD, "put outcome for 9s over r6");
    records.at(6_020, applied(Call::Record, 7), "Ended(Ran(Recorded))").rests();
}

#[test]
fn o2_o6_whoever_was_overtaken_writes_nothing() {
    for answer in [found(Call::Stamp, others("new"), 9), reply(Call::Stamp, Answer::Found(None))] {
        ends(stamping().at(110, answer, "unlock r5"), 120, End::Ran(Noted::Superseded));
    }
    let refused = recording().at(120, refused_by(Call::Record, others("new"), 9), "unlock r5");
    ends(refused, 130, End::Ran(Noted::Superseded));
    let late = interrupted().at(6_000, FINISH, "stamp");
    late.at(6_010, found(Call::Stamp, others("new"), 9), "Ended(Ran(Superseded))").rests();
}

#[test]
fn o3_o7_a_stamp_and_an_outcome_are_asked_for_again() {
    stamping().at(110, unknown(Call::Stamp), "").at(2_100, WAKE, "stamp").wakes(4_100);
    recording().at(120, unknown(Call::Record), "").at(2_110, WAKE, "put outcome for 9s over r6").wakes(4_110);
}

#[test]
fn o8_success_is_not_repeated_after_the_loss_of_the_lock() {
    recording().at(14_935, WAKE, "forget Record, Ended(Ran(Unknown)), unlock r5").rests();
    let stamps = stamping().at(14_935, WAKE, "unlock r5, stamp");
    stamps.at(15_000, found(Call::Stamp, mine("claim"), 6), "Settle(claim, @15000, false)");
}

#[test]
fn o9_an_outcome_that_nobody_takes_is_given_up() {
    let silent = interrupted().at(6_000, FINISH, "stamp").at(25_999, WAKE, "stamp").wakes(26_000);
    silent.at(26_000, WAKE, "forget Stamp, Ended(Ran(Unknown))").rests();
}

#[test]
fn l1_a_release_of_unknown_outcome_ends_it_too() {
    let leaving = deciding().at(25, LEAVE, "unlock r5").at(30, unknown(FREE), "").wakes(2_025);
    leaving.at(20_025, WAKE, "Ended(Left)").rests();
}

#[test]
fn every_row_has_its_story() {
    check_told(include_str!("../src/run.rs"), include_str!("run.rs"));
}

impl Speech for Noter {
    fn heard(input: &mut Input<Noter>, map: &mut impl Relocate) {
        match input {
            Input::Reply { answer, at, .. } => {
                map.store_time(at);
                relocate_answer(answer, map);
            }
            Input::Request(Request::Claim(work) | Request::Record { work, .. }) => work.relocate(map),
            Input::Request(Request::Enter | Request::Leave | Request::Finish)
            | Input::Message(_)
            | Input::Wake => {}
        }
    }

    fn said(effect: &mut Effect<Noter>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { op, .. } => relocate_op(op, map),
            Effect::Event(Event::Found { entry, at }) => {
                map.store_time(at);
                entry.iter_mut().for_each(|entry| {
                    map.revision(&mut entry.revision);
                    entry.record.relocate(map);
                });
            }
            Effect::Event(Event::Began { work, token }) => {
                work.relocate(map);
                let mut revision = Revision(token.0);
                map.revision(&mut revision);
                *token = FencingToken::from(revision);
            }
            Effect::Event(Event::Settle { work, at, .. }) => {
                work.relocate(map);
                map.store_time(at);
            }
            Effect::Event(Event::Interrupted | Event::Ended(_)) | Effect::Forget(_) | Effect::Publish(_) => {}
        }
    }
}

fn a_note() -> impl Strategy<Value = Note> {
    let owner =
        (7..9u64, 0..3u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt });
    (owner, prop::sample::select(vec!["old", "claim", "outcome"])).prop_map(|(owner, what)| Note(owner, what))
}

fn an_answer() -> impl Strategy<Value = Answer<Key, Record<Note>>> {
    let record = || {
        let record = a_note().prop_flat_map(
            |note| prop_oneof![1 => Just(Record::Lock(note.0)), 3 => Just(Record::Work(note))],
        );
        (1..9u64, record).prop_map(|(revision, record)| entry(record, revision))
    };
    prop_oneof![
        4 => (1..9u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        2 => prop::option::of(record()).prop_map(Answer::Refused),
        4 => prop::option::of(record()).prop_map(Answer::Found),
        1 => Just(Answer::Unknown),
    ]
}

fn an_input() -> impl Strategy<Value = Input<Noter>> {
    let calls = vec![TAKE, TAKE, FREE, KEEP, Call::Read, Call::Claim, Call::Stamp, Call::Record];
    let reply = (prop::sample::select(calls), an_answer()).prop_map(|(call, answer)| reply(call, answer));
    let request = prop::sample::select(vec![ENTER, ENTER, LEAVE, FINISH, CLAIM, CLAIM, RECORD]);
    prop_oneof![3 => request, 5 => reply, 2 => Just(WAKE)]
}

fn steps() -> impl Strategy<Value = Vec<(Wait, Input<Noter>)>> {
    let good = prop::sample::select(vec![
        ENTER,
        applied(TAKE, 5),
        found(Call::Read, others("old"), 3),
        CLAIM,
        applied(Call::Claim, 6),
        FINISH,
        found(Call::Stamp, mine("claim"), 6),
        RECORD,
        applied(Call::Record, 7),
        applied(FREE, 5),
    ]);
    let wait = prop_oneof![
        8 => (0..100u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        1 => (0..9_000u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        2 => Just(Wait::UntilDeadline),
    ];
    prop::collection::vec((wait, prop_oneof![1 => good, 1 => an_input()]), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(steps in steps()) {
        walk::<Noter>(terms(), Instant::ZERO, steps);
    }

    #[test]
    fn a_callback_begins_under_the_lock_alone(steps in steps()) {
        let mut machine = Noter::new(&terms(), ME);
        for (now, input, effects) in walk::<Noter>(terms(), Instant::ZERO, steps) {
            let mut again = fencepost::machine::Effects::new();
            machine.step(&terms(), now, input, &mut again);
            if effects.iter().any(|effect| matches!(effect, Effect::Event(Event::Began { .. }))) {
                prop_assert!(machine.until().is_some_and(|until| now.mono < until));
            }
        }
    }

    #[test]
    fn a_run_does_the_same_in_another_world(steps in steps()) {
        let walked = walk::<Noter>(terms(), millis(1), steps);
        let steps: Vec<_> = walked.into_iter().map(|(now, input, _)| (now, input)).collect();
        prop_assert_eq!(check_relocation::<Noter>(&terms(), ME, &steps), Ok(()));
    }
}
