//! The recurring job as its callers and hosts know it: one story for each row of its tables, and what holds for every
//! sequence of inputs.

mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use fencepost::calendar::Schedule;
#[cfg(feature = "cron")]
use fencepost::job::Overlap;
use fencepost::job::{
    Call, Dropped, Event, Job, JobConfig, JobTerms, Meta, Misfire, Outcome, Progress, Request,
};
use fencepost::lease::LeaseConfig;
use fencepost::line::Owner;
use fencepost::machine::{Effect, Identity, Input, Relocate};
use fencepost::mutex::{self, Freed, MutexConfig};
use fencepost::run::{self, Key, Record};
use fencepost::store::{Answer, Entry, FencingToken, Op, Revision};
use fencepost::time::{Instant, Ppm, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use story::shift::{Speech, check_relocation};
use story::*;

type Tale = Story<Job>;

const START: Input<Job> = Input::Request(Request::Start);
const CLOSE: Input<Job> = Input::Request(Request::Close);
const DONE: Input<Job> = Input::Request(Request::Finish(Outcome::Succeeded));
const FAIL: Input<Job> = Input::Request(Request::Finish(Outcome::Failed));
const FREED: Input<Job> = Input::Message(Freed);
const WAKE: Input<Job> = Input::Wake;

const READ: Call = Call::Run(run::Call::Read);
const CLAIM: Call = Call::Run(run::Call::Claim);
const STAMP: Call = Call::Run(run::Call::Stamp);
const RECORD: Call = Call::Run(run::Call::Record);
const TAKE: Call = Call::Run(run::Call::Lock(mutex::Call::Claim));
const KEEP: Call = Call::Run(run::Call::Lock(mutex::Call::Renew));
const FREE: Call = Call::Run(run::Call::Lock(mutex::Call::Release));

impl Hero for Job {
    fn tell(effect: &Effect<Job>) -> String {
        match effect {
            Effect::Store { store, call, op } => {
                assert!(is_first(*store));
                tell_call(*call, op)
            }
            Effect::Forget(call) => format!("forget {call:?}"),
            Effect::Publish(Freed) => String::from("publish freed"),
            Effect::Event(Event::Began { occurrence, token, runs, dropped }) => {
                format!("Began(@{}, {}, {runs}{})", ms(*occurrence), token.0, tell_dropped(*dropped))
            }
            Effect::Event(Event::Ended { outcome, noted }) => format!("Ended({outcome:?}, {noted:?})"),
            Effect::Event(event) => format!("{event:?}"),
        }
    }
}

fn tell_call(call: Call, op: &Op<Key, Record<Meta>>) -> String {
    match (call, op) {
        (Call::Look, Op::Get { key: Key::Work }) => String::from("look"),
        (READ, Op::Get { key: Key::Work }) => String::from("read"),
        (STAMP, Op::Get { key: Key::Work }) => String::from("stamp"),
        (
            Call::Anchor | CLAIM | RECORD,
            Op::PutIf { key: Key::Work, expect, record: Record::Work(meta), ttl: None },
        ) => {
            assert_eq!(meta.owner.identity, ME);
            format!("put {} over {}", tell_meta(meta), tell_expect(expect))
        }
        (Call::Run(run::Call::Lock(call)), op) => tell_lock(call, op),
        other => panic!("{other:?}"),
    }
}

fn tell_dropped(Dropped { missed, skipped }: Dropped) -> String {
    let told = [(missed, "missed"), (skipped, "skipped")].into_iter().filter(|(times, _)| *times > 0);
    told.map(|(times, how)| format!(", {times} {how}")).collect()
}

fn tell_meta(meta: &Meta) -> String {
    let progress = match meta.progress {
        Progress::Anchored => String::from("anchored"),
        Progress::Running => String::from("running"),
        Progress::Ended { at, outcome } => format!("{outcome:?} @{}", ms(at)),
    };
    format!("@{} #{} {progress}", ms(meta.occurrence), meta.runs)
}

/// Lease of 15 s renewed every 5 s, time-out 2 s, poll 1 s, none of them jittered; belief 14.935 s.
fn config(schedule: Schedule) -> JobConfig {
    let lease = LeaseConfig { jitter: Ppm::ZERO, ..LeaseConfig::default() };
    JobConfig {
        mutex: MutexConfig { lease, ..MutexConfig::default() },
        look_interval: Duration::from_secs(40),
        ..JobConfig::new(schedule)
    }
}

/// Every minute after the last.
fn terms() -> JobTerms {
    config(Schedule::Interval(Span::from_secs(60))).terms().expect("sound terms")
}

fn reply(call: Call, answer: Answer<Key, Record<Meta>>) -> Input<Job> {
    Input::Reply { call, answer, at: millis(0) }
}

fn applied(call: Call, revision: u64) -> Input<Job> {
    reply(call, Answer::Applied(Revision(revision)))
}

fn refused(call: Call) -> Input<Job> {
    reply(call, Answer::Refused(None))
}

fn unknown(call: Call) -> Input<Job> {
    reply(call, Answer::Unknown)
}

fn nothing(call: Call) -> Input<Job> {
    reply(call, Answer::Found(None))
}

fn found(call: Call, meta: Meta, revision: u64) -> Input<Job> {
    reply(call, Answer::Found(Some(entry(Record::Work(meta), revision))))
}

/// A run of another one's.
fn meta(at: u64, progress: Progress) -> Meta {
    let busy_since = None;
    Meta { occurrence: millis(at), started: millis(at), busy_since, progress, runs: 3, owner: STRANGER }
}

fn ended(at: u64, end: u64) -> Meta {
    meta(at, Progress::Ended { at: millis(end), outcome: Outcome::Succeeded })
}

/// The claim that the hero has made at its `attempt`.
fn mine(at: u64, runs: u64, attempt: u32) -> Meta {
    let owner = Owner { identity: ME, attempt };
    let (busy_since, progress) = (None, Progress::Running);
    Meta { occurrence: millis(at), started: millis(at), busy_since, progress, runs, owner }
}

fn looking() -> Tale {
    Tale::of(terms()).at(0, START, "look").wakes(2_000)
}

fn waiting() -> Tale {
    looking().at(10, found(Call::Look, ended(0, 1), 3), "").wakes(40_010)
}

/// It tries to take the lock for a first run.
fn entering() -> Tale {
    looking().at(10, nothing(Call::Look), "lock")
}

fn reading() -> Tale {
    entering().at(20, applied(TAKE, 5), "read").wakes(2_020)
}

fn claiming() -> Tale {
    reading().at(30, nothing(READ), "put @30 #1 running over new").wakes(2_030)
}

fn running() -> Tale {
    claiming().at(40, applied(CLAIM, 6), "Began(@30, 5, 0)").wakes(5_010)
}

fn stamping() -> Tale {
    running().at(100, DONE, "stamp").wakes(2_100)
}

fn recording() -> Tale {
    stamping().at(110, found(STAMP, mine(30, 1, 1), 6), "put @30 #1 Succeeded @110 over r6")
}

fn unlocking() -> Tale {
    recording().at(120, applied(RECORD, 7), "unlock r5")
}

#[test]
fn s1_a_job_that_is_started_looks_at_the_record() {
    Tale::of(terms()).rests().at(0, START, "look").wakes(2_000);
}

#[test]
fn w1_v3_it_waits_until_it_is_due_and_looks_now_and_then() {
    looking().at(10, found(Call::Look, ended(0, 1), 3), "").wakes(40_010);
    looking().at(30_001, found(Call::Look, ended(0, 1), 3), "").wakes(60_001);
    looking().at(10, found(Call::Look, meta(0, Progress::Running), 3), "").wakes(40_010);
}

#[test]
fn w2_v1_v5_what_is_due_is_tried() {
    looking().at(10, nothing(Call::Look), "lock");
    looking().at(60_001, found(Call::Look, ended(0, 1), 3), "lock");
    looking().at(60_000, found(Call::Look, meta(0, Progress::Running), 3), "lock");
}

#[test]
fn w3_w4_v2_a_job_with_a_calendar_notes_when_it_was_first_seen() {
    let in_an_hour = |_, last: Option<&_>| if last.is_some() { Span::ZERO } else { Span::from_secs(3_600) };
    let terms = config(Schedule::Custom(in_an_hour)).terms().unwrap();
    let anchoring =
        Tale::of(terms).at(0, START, "look").at(10, nothing(Call::Look), "put @10 #0 anchored over new");
    anchoring.clone().at(20, refused(Call::Anchor), "look");
    let anchored = anchoring.wakes(2_010).at(20, applied(Call::Anchor, 1), "look");
    let anchor = Meta { runs: 0, ..meta(10, Progress::Anchored) };
    anchored.clone().at(3_000_000, found(Call::Look, anchor, 1), "").wakes(3_040_000);
    anchored.at(3_600_010, found(Call::Look, anchor, 1), "lock");
}

#[test]
fn w5_a_look_is_repeated() {
    looking().at(10, unknown(Call::Look), "").at(2_000, WAKE, "look").wakes(4_000);
    looking().at(10, applied(Call::Look, 1), "").wakes(2_000);
}

#[test]
fn w6_a_wait_ends_with_a_look() {
    waiting().at(40_009, WAKE, "").at(40_010, WAKE, "look");
}

#[test]
fn w7_y4_whoever_finds_the_lock_taken_looks_again_soon() {
    let stranger = reply(TAKE, Answer::Refused(Some(entry(Record::Lock(STRANGER), 4))));
    let contended = entering().at(20, stranger, "").wakes(1_020);
    contended.clone().at(30, FREED, "look");
    contended.at(1_020, WAKE, "look").at(1_030, found(Call::Look, ended(20, 1_025), 5), "").wakes(41_030);
    waiting().at(30, FREED, "").wakes(40_010);
    claiming().at(40, refused(CLAIM), "unlock r5").at(50, applied(FREE, 5), "publish freed").wakes(1_050);
}

#[test]
fn y1_an_occurrence_is_claimed_on_the_revision_that_was_read() {
    reading().at(30, nothing(READ), "put @30 #1 running over new");
    let second =
        looking().at(60_001, found(Call::Look, ended(0, 1), 3), "lock").at(60_010, applied(TAKE, 5), "read");
    second.at(60_020, found(READ, ended(0, 1), 3), "put @60001 #4 running over r3");
}

#[test]
fn y2_y3_what_was_run_meanwhile_is_left_alone() {
    let left = reading().at(30, found(READ, ended(10, 20), 3), "unlock r5");
    left.at(40, applied(FREE, 5), "publish freed, look");
}

#[test]
fn y5_the_callback_begins_when_the_claim_is_known() {
    claiming().at(40, applied(CLAIM, 6), "Began(@30, 5, 0)");
    let own = reply(CLAIM, Answer::Refused(Some(entry(Record::Work(mine(30, 1, 1)), 6))));
    claiming().at(40, unknown(CLAIM), "").at(2_030, WAKE, "put @30 #1 running over new").at(
        2_040,
        own,
        "Began(@30, 5, 0)",
    );
    // Not under a lock that has ended.
    let late = claiming().at(14_945, applied(CLAIM, 6), "unlock r5");
    late.wakes(15_945);
}

#[test]
fn x1_a_callback_whose_lock_is_lost_is_told_at_once() {
    let renewing = || running().at(5_010, WAKE, "renew r5");
    renewing().at(5_020, refused(KEEP), "Interrupted").rests();
    let expired = renewing().at(14_945, WAKE, "Interrupted, forget Run(Lock(Renew)), unlock r5");
    // It was interrupted, whatever it says.
    expired
        .at(15_000, DONE, "stamp")
        .at(15_010, found(STAMP, mine(30, 1, 1), 6), "put @30 #1 Interrupted @15010 over r6")
        .at(15_020, applied(RECORD, 7), "Ended(Interrupted, Recorded), look");
    renewing().at(14_945, DONE, "forget Run(Lock(Renew)), unlock r5, stamp");
}

#[test]
fn x2_x3_an_outcome_is_written_on_the_claim() {
    stamping().at(110, found(STAMP, mine(30, 1, 1), 6), "put @30 #1 Succeeded @110 over r6");
    let failed = running().at(100, FAIL, "stamp");
    failed.at(110, found(STAMP, mine(30, 1, 1), 6), "put @30 #1 Failed @110 over r6");
}

#[test]
fn x4_a_job_goes_on_after_its_run() {
    let over = unlocking().at(130, applied(FREE, 5), "publish freed, Ended(Succeeded, Recorded), look");
    over.at(140, found(Call::Look, ended(30, 110), 7), "").wakes(40_140);
    // Overtaken: its outcome is nobody's business any more.
    let overtaken = running().at(5_010, WAKE, "renew r5").at(5_020, refused(KEEP), "Interrupted");
    let stamps = overtaken.at(5_030, FAIL, "stamp");
    stamps.at(5_040, found(STAMP, ended(30, 99), 8), "Ended(Interrupted, Superseded), look");
    let lost = recording().at(14_945, WAKE, "forget Run(Record), Ended(Succeeded, Unknown), look, unlock r5");
    lost.wakes(16_945);
}

#[test]
fn z1_z2_who_waits_closes_at_once() {
    Tale::of(terms()).at(0, CLOSE, "Closed").rests().at(1, CLOSE, "Closed");
    looking().at(5, CLOSE, "forget Look, Closed").rests().at(6, START, "look");
    waiting().at(20, CLOSE, "Closed").rests();
}

#[test]
fn z3_z6_z7_who_tries_closes_when_the_run_has_ended() {
    entering().at(20, CLOSE, "Closed").wakes(2_010);
    let left = reading().at(30, CLOSE, "forget Run(Read), unlock r5").at(35, CLOSE, "");
    left.at(40, applied(FREE, 5), "publish freed, Closed").rests();
    let began = claiming().at(35, CLOSE, "").at(40, applied(CLAIM, 6), "Began(@30, 5, 0), Interrupted");
    began.at(50, FAIL, "stamp").at(60, nothing(STAMP), "unlock r5").at(
        70,
        applied(FREE, 5),
        "publish freed, Ended(Failed, Superseded), Closed",
    );
}

#[test]
fn z4_z5_z7_a_callback_that_runs_is_interrupted_and_waited_for() {
    let closing = running().at(50, CLOSE, "Interrupted").at(60, CLOSE, "");
    let told = closing.clone().at(5_010, WAKE, "renew r5").at(5_020, refused(KEEP), "");
    told.at(5_030, DONE, "stamp");
    let ends = closing.at(100, DONE, "stamp");
    ends.at(110, found(STAMP, mine(30, 1, 1), 6), "put @30 #1 Succeeded @110 over r6")
        .at(120, applied(RECORD, 7), "unlock r5")
        .at(130, applied(FREE, 5), "publish freed, Ended(Succeeded, Recorded), Closed")
        .rests();
    recording().at(115, CLOSE, "").at(120, applied(RECORD, 7), "unlock r5").at(
        130,
        applied(FREE, 5),
        "publish freed, Ended(Succeeded, Recorded), Closed",
    );
}

#[test]
fn b1_b2_what_makes_no_sense_is_rejected() {
    for story in
        [looking(), waiting(), entering(), reading(), claiming(), stamping(), recording(), unlocking()]
    {
        story.at(150, START, "Rejected(Started)").at(150, DONE, "Rejected(NotRunning)");
    }
    running().at(150, START, "Rejected(Started)");
    Tale::of(terms()).at(0, DONE, "Rejected(NotRunning)").rests();
}

#[test]
fn v6_an_interval_is_run_however_late() {
    for misfire in [Misfire::Skip, Misfire::RunOnce, Misfire::CatchUp { within: Duration::from_secs(1) }] {
        let config = JobConfig { misfire, ..terms().into() };
        let looking = Tale::of(config.terms().unwrap()).at(0, START, "look");
        looking.at(9_000_000, found(Call::Look, ended(0, 1), 3), "lock");
    }
}

#[test]
fn v1_a_record_from_the_future_does_not_silence_the_job() {
    looking().at(10, found(Call::Look, ended(0, 60_010), 3), "").wakes(40_010);
    looking().at(10, found(Call::Look, ended(0, 60_011), 3), "lock");
    let future = Meta { occurrence: millis(9_000_000), ..ended(0, 1) };
    reading().at(10, found(READ, future, 3), "put @10 #4 running over r3");
}

/// A job on the hour whose record was found at `hh:mm`, and what it runs: nothing, or an occurrence, by which others are dropped.
#[cfg(feature = "cron")]
#[track_caller]
fn hourly(misfire: Misfire, overlap: Overlap, at: (u64, u64), meta: Meta, expected: &str) {
    let terms = JobConfig { misfire, overlap, ..hours() }.terms().expect("sound terms");
    let (ms, taken) = (clock(at), applied(TAKE, 5));
    let story = Tale::of(terms).at(ms, START, "look");
    match expected {
        "" => drop(story.at(ms, found(Call::Look, meta, 3), "")),
        expected => {
            let reads = story.at(ms, found(Call::Look, meta, 3), "lock").at(ms, taken, "read");
            let (occurrence, dropped) = expected.split_at(expected.find(',').unwrap_or(expected.len()));
            let claims = reads.at(ms, found(READ, meta, 3), &format!("put @{occurrence} #4 running over r3"));
            claims.at(ms, applied(CLAIM, 6), &format!("Began(@{occurrence}, 5, 3{dropped})"));
        }
    }
}

/// Milliseconds from midnight.
#[cfg(feature = "cron")]
fn clock((hour, minute): (u64, u64)) -> u64 {
    (hour * 60 + minute) * 60_000
}

#[cfg(feature = "cron")]
fn hour(hour: u64) -> String {
    clock((hour, 0)).to_string()
}

/// The run of 1:00, which ended then.
#[cfg(feature = "cron")]
fn ran_until(end: (u64, u64)) -> Meta {
    ended(clock((1, 0)), clock(end))
}

#[cfg(feature = "cron")]
#[test]
fn v2_v3_v5_a_calendar_runs_on_time() {
    let run = |at, expected: &str| hourly(Misfire::Skip, Overlap::Skip, at, ran_until((1, 5)), expected);
    run((1, 59), "");
    run((2, 0), &hour(2));
    run((2, 1), &hour(2));
    let anchor = Meta { runs: 3, ..meta(clock((1, 30)), Progress::Anchored) };
    hourly(Misfire::Skip, Overlap::Skip, (1, 59), anchor, "");
    hourly(Misfire::Skip, Overlap::Skip, (2, 1), anchor, &hour(2));
}

#[cfg(feature = "cron")]
#[test]
fn v4_what_falls_due_during_a_run_overlaps() {
    // From 1:00 to 4:30, and found a minute later: 2:00, 3:00 and 4:00 fell due.
    let late =
        |overlap, expected: &str| hourly(Misfire::Skip, overlap, (4, 31), ran_until((4, 30)), expected);
    late(Overlap::Skip, "");
    late(Overlap::BufferOne, &(hour(4) + ", 2 skipped"));
    // A run that caught up late does not overlap with what was missed before it began.
    let caught_up = Meta { started: millis(clock((4, 10))), ..ran_until((4, 20)) };
    let within = Misfire::CatchUp { within: Duration::from_secs(86_400) };
    hourly(within, Overlap::Skip, (4, 21), caught_up, &hour(2));
    // One that went on with that does with what fell due since: 5:00 to 7:00, but not 3:00 and 4:00.
    let busy_since = Some(millis(clock((4, 10))));
    let busy = |occurrence, started: (u64, u64)| Meta {
        started: millis(clock(started)),
        busy_since,
        ..ended(clock(occurrence), clock((7, 20)))
    };
    hourly(within, Overlap::Skip, (7, 21), busy((2, 0), (5, 30)), &hour(3));
    hourly(within, Overlap::Skip, (7, 21), busy((4, 0), (6, 30)), "");
    hourly(within, Overlap::Skip, (8, 0), busy((4, 0), (6, 30)), &(hour(8) + ", 3 skipped"));
    hourly(within, Overlap::BufferOne, (7, 21), busy((4, 0), (6, 30)), &(hour(7) + ", 2 skipped"));
}

#[cfg(feature = "cron")]
#[test]
fn v4_a_run_that_makes_up_for_another_keeps_the_job_busy() {
    let terms = JobConfig { misfire: Misfire::CatchUp { within: Duration::from_secs(86_400) }, ..hours() };
    let terms = terms.terms().expect("sound terms");
    let claims = |at: (u64, u64), last: Meta, since: Option<(u64, u64)>| {
        let (claim, _) = runs_at(&terms, clock(at), last).expect("something is due");
        assert_eq!(claim.busy_since, since.map(|since| millis(clock(since))), "{claim:?}");
    };
    // It was idle when 2:00 came.
    claims((2, 0), ran_until((1, 5)), None);
    // 2:00 and 3:00 were missed; 2:00 was run at 3:10, and 3:00 waits for its end.
    let late = Meta { started: millis(clock((3, 10))), ..ended(clock((2, 0)), clock((3, 50))) };
    claims((3, 50), late, Some((3, 10)));
    let later = Meta { busy_since: Some(millis(clock((3, 5)))), ..late };
    claims((3, 50), later, Some((3, 5)));
    // Nobody was there after that.
    claims((3, 51), late, None);
    // What was written by a clock that was wrong says nothing.
    let future =
        Meta { busy_since: Some(millis(clock((900, 0)))), ..ended(clock((900, 0)), clock((900, 0))) };
    let minute = config(Schedule::Interval(Span::from_secs(60))).terms().expect("sound terms");
    let (claim, _) = runs_at(&minute, clock((1, 0)), future).expect("it is due");
    assert_eq!(claim.busy_since, None);
}

#[cfg(feature = "cron")]
#[test]
fn v7_what_was_missed_is_dropped_or_caught_up() {
    let missed =
        |misfire, at, expected: &str| hourly(misfire, Overlap::Skip, at, ran_until((1, 5)), expected);
    missed(Misfire::Skip, (5, 30), "");
    missed(Misfire::Skip, (6, 1), &(hour(6) + ", 4 missed"));
    missed(Misfire::RunOnce, (5, 30), &(hour(5) + ", 3 missed"));
    missed(Misfire::CatchUp { within: Duration::from_secs(86_400) }, (5, 30), &hour(2));
    missed(Misfire::CatchUp { within: Duration::from_secs(9_000) }, (5, 30), &(hour(3) + ", 1 missed"));
    missed(Misfire::CatchUp { within: Duration::from_secs(60) }, (5, 30), "");
    // What overlapped is no better for being late.
    let busy = Meta { started: millis(clock((3, 30))), ..ended(clock((1, 0)), clock((9, 0))) };
    hourly(Misfire::RunOnce, Overlap::Skip, (9, 1), busy, &(hour(3) + ", 1 missed"));
    hourly(Misfire::Skip, Overlap::Skip, (9, 1), busy, "");
    hourly(Misfire::RunOnce, Overlap::BufferOne, (9, 0), busy, &(hour(9) + ", 2 missed, 5 skipped"));
    let within = Misfire::CatchUp { within: Duration::from_secs(7_200) };
    hourly(within, Overlap::Skip, (9, 1), busy, "");
    hourly(within, Overlap::Skip, (10, 0), busy, &(hour(10) + ", 2 missed, 6 skipped"));
    // One that is buffered is late only from the end of the run on.
    let busy = Meta { started: millis(clock((3, 30))), ..ended(clock((1, 0)), clock((9, 20))) };
    let within = Misfire::CatchUp { within: Duration::from_secs(30) };
    hourly(within, Overlap::BufferOne, (9, 21), busy, &(hour(9) + ", 2 missed, 5 skipped"));
    hourly(within, Overlap::BufferOne, (9, 22), busy, "");
    // Whoever died over 1:00 leaves it unfinished, and the next one is run.
    let died = meta(clock((1, 0)), Progress::Running);
    hourly(Misfire::RunOnce, Overlap::Skip, (5, 30), died, &(hour(5) + ", 3 missed"));
}

#[cfg(feature = "cron")]
#[test]
fn what_is_dropped_is_told_by_whoever_runs_the_next_one() {
    let run = |overlap, at, meta, expected: String| hourly(Misfire::RunOnce, overlap, at, meta, &expected);
    let once = |at, meta, expected: String| run(Overlap::Skip, at, meta, expected);
    // 2:00 and 3:00 fell due during the run, 4:00 and 5:00 while nobody was there.
    once((6, 30), ran_until((3, 30)), hour(6) + ", 2 missed, 2 skipped");
    once((5, 0), ran_until((4, 30)), hour(5) + ", 3 skipped");
    run(Overlap::BufferOne, (4, 31), ran_until((4, 30)), hour(4) + ", 2 skipped");
    // One that was buffered, and nobody came.
    run(Overlap::BufferOne, (6, 30), ran_until((3, 30)), hour(6) + ", 3 missed, 1 skipped");
    // What was claimed was run, whatever became of it. What fell due when the job was first seen was not.
    once((2, 30), meta(clock((1, 0)), Progress::Running), hour(2));
    once((2, 30), meta(clock((1, 0)), Progress::Anchored), hour(2) + ", 1 missed");
    once((2, 30), meta(clock((1, 1)), Progress::Anchored), hour(2));
    // No more than so many are counted.
    once((24 * 42, 30), ran_until((1, 5)), format!("{}, {} missed", hour(24 * 42), Dropped::MOST));
}

/// A job on the hour.
#[cfg(feature = "cron")]
fn hours() -> JobConfig {
    config(Schedule::cron("0 * * * *", "UTC").expect("a schedule"))
}

/// What a job runs that looks at this record then, and what is dropped by that: its new record, but for the end.
#[cfg(feature = "cron")]
fn runs_at(terms: &JobTerms, now: u64, meta: Meta) -> Option<(Meta, Dropped)> {
    let mut tale = Tale::of(terms.clone());
    let read = |call| found(call, meta, 3);
    let (mut claim, mut began) = (None, None);
    for input in [START, read(Call::Look), applied(TAKE, 5), read(READ), applied(CLAIM, 6)] {
        for effect in tale.step(millis(now), stamped(input, now)) {
            match effect {
                Effect::Store { call: CLAIM, op: Op::PutIf { record: Record::Work(meta), .. }, .. } => {
                    claim = Some(meta);
                }
                Effect::Event(Event::Began { dropped, .. }) => began = Some(dropped),
                _ => {}
            }
        }
    }
    claim.zip(began)
}

/// A job on the hour, its policies, and what has become of it.
#[cfg(feature = "cron")]
struct Timeline {
    terms: JobTerms,
    now: u64,
    record: Meta,
    /// How many occurrences were run or dropped.
    accounted: u64,
    /// From when to when runs have followed each other so that somebody was there all the while.
    busy: Option<(u64, u64)>,
}

#[cfg(feature = "cron")]
impl Timeline {
    const HOUR: u64 = 3_600_000;

    fn new(config: &JobConfig) -> Timeline {
        let now = Self::HOUR / 2;
        let (terms, record) = (config.terms().expect("sound terms"), meta(now, Progress::Anchored));
        Timeline { terms, now, record, accounted: 0, busy: None }
    }

    fn grace(&self) -> u64 {
        self.terms.config().grace.as_millis() as u64
    }

    /// How late an occurrence may be and still be run.
    fn late_most(&self) -> u64 {
        match self.terms.config().misfire {
            Misfire::RunOnce => u64::MAX,
            Misfire::Skip => self.grace(),
            Misfire::CatchUp { within } => self.grace().max(within.as_millis() as u64),
        }
    }

    fn is_overlapped(&self, due: u64) -> bool {
        self.busy.is_some_and(|(began, ended)| began < due && due <= ended)
    }

    /// The latest that overlapped, if that is to be run nevertheless: how late it is.
    fn buffered(&self) -> Option<(u64, u64)> {
        let (_, end) = self.busy.filter(|_| self.terms.config().overlap == Overlap::BufferOne)?;
        let due = end / Self::HOUR * Self::HOUR;
        self.is_overlapped(due).then(|| (due, self.now - end))
    }

    /// How late it would be run; nothing, if it must not be.
    fn lateness(&self, due: u64) -> Option<u64> {
        match self.buffered() {
            Some((buffered, late)) if buffered == due => Some(late),
            _ => (!self.is_overlapped(due)).then(|| self.now - due),
        }
    }

    /// Those that are due, were not run, and may be, with how late they would be.
    fn pending(&self) -> impl Iterator<Item = (u64, u64)> {
        let first = ms(self.record.occurrence) / Self::HOUR + 1;
        let all = (first..=self.now / Self::HOUR).map(|hour| hour * Self::HOUR);
        all.filter_map(|due| Some((due, self.lateness(due)?)))
    }

    /// Somebody looks after a pause, and runs for so long what is to be run.
    fn look(&mut self, pause: u64, length: u64) -> Result<(), TestCaseError> {
        self.now += pause;
        let Some((claim, dropped)) = runs_at(&self.terms, self.now, self.record) else {
            for (due, late) in self.pending() {
                prop_assert!(
                    late > self.grace() && self.late_most() < late,
                    "{due} is not run at {}",
                    self.now
                );
            }
            return Ok(());
        };
        let due = ms(claim.occurrence);
        self.accounted += u64::from(1 + dropped.missed + dropped.skipped);
        prop_assert_eq!(self.accounted, due / Self::HOUR, "{:?}", dropped);
        let late = self.lateness(due);
        prop_assert!(late.is_some_and(|late| late <= self.late_most()), "{due} at {}: {late:?}", self.now);
        if self.terms.config().misfire == Misfire::RunOnce && late.is_some_and(|late| late > self.grace()) {
            prop_assert_eq!(self.pending().last().map(|(latest, _)| latest), Some(due));
        }
        // Whoever comes after a while, or for what fell due meanwhile, begins anew.
        let goes_on = self.busy.filter(|(_, ended)| pause <= 15_000 && due <= *ended);
        let began = goes_on.map_or(self.now, |(began, _)| began);
        self.now += length;
        self.busy = Some((began, self.now));
        let progress = Progress::Ended { at: millis(self.now), outcome: Outcome::Succeeded };
        self.record = Meta { progress, ..claim };
        Ok(())
    }
}

#[cfg(feature = "cron")]
fn a_config() -> impl Strategy<Value = JobConfig> {
    let secs = |all: &'static [u64]| prop::sample::select(all).prop_map(Duration::from_secs);
    let catch_up = secs(&[30, 5 * 3_600]).prop_map(|within| Misfire::CatchUp { within });
    let misfire = prop_oneof![Just(Misfire::Skip), Just(Misfire::RunOnce), catch_up];
    let overlap = prop::sample::select(vec![Overlap::Skip, Overlap::BufferOne]);
    (misfire, overlap, secs(&[1, 60, 3 * 3_600])).prop_map(|(misfire, overlap, grace)| JobConfig {
        misfire,
        overlap,
        grace,
        ..hours()
    })
}

#[cfg(feature = "cron")]
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the policies, and whenever somebody looks: each occurrence is run once or dropped once, none is run later than the
    /// policies have it, none is left that they would run, and none that overlapped is run, but for the one that is buffered.
    #[test]
    fn what_is_not_run_is_dropped_once_and_what_is_run_is_not_late(
        config in a_config(),
        looks in prop::collection::vec(
            (prop_oneof![0..5_000u64, 0..36_000_000u64], prop_oneof![0..9_000_000u64, 0..24_000_000u64]), 1..40),
    ) {
        let mut timeline = Timeline::new(&config);
        for (pause, length) in looks {
            timeline.look(pause, length)?;
        }
    }
}

#[test]
fn every_row_has_its_story() {
    for docs in [include_str!("../src/job.rs"), include_str!("../src/job/meta.rs")] {
        check_told(docs, include_str!("job.rs"));
    }
}

impl Speech for Job {
    fn heard(input: &mut Input<Job>, map: &mut impl Relocate) {
        if let Input::Reply { answer, at, .. } = input {
            map.store_time(at);
            relocate_answer(answer, map);
        }
    }

    fn said(effect: &mut Effect<Job>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { op, .. } => relocate_op(op, map),
            Effect::Event(Event::Began { occurrence, token, runs: _, dropped: _ }) => {
                map.store_time(occurrence);
                let mut revision = Revision(token.0);
                map.revision(&mut revision);
                *token = FencingToken::from(revision);
            }
            Effect::Event(_) | Effect::Forget(_) | Effect::Publish(_) => {}
        }
    }
}

fn an_owner() -> impl Strategy<Value = Owner> {
    (7..9u64, 0..4u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt })
}

fn a_meta() -> impl Strategy<Value = Meta> {
    let outcome = prop::sample::select(vec![Outcome::Succeeded, Outcome::Failed, Outcome::Interrupted]);
    let end = (0..200_000u64, outcome).prop_map(|(at, outcome)| Progress::Ended { at: millis(at), outcome });
    let progress = prop_oneof![Just(Progress::Anchored), Just(Progress::Running), end];
    let busy = prop::option::of((0..200_000u64).prop_map(millis));
    (0..200_000u64, 0..200_000u64, busy, progress, 0..3u64, an_owner()).prop_map(
        |(occurrence, started, busy_since, progress, runs, owner)| Meta {
            occurrence: millis(occurrence),
            started: millis(started),
            busy_since,
            progress,
            runs,
            owner,
        },
    )
}

fn a_record() -> impl Strategy<Value = Entry<Record<Meta>>> {
    let record = prop_oneof![an_owner().prop_map(Record::Lock), a_meta().prop_map(Record::Work)];
    (1..9u64, record).prop_map(|(revision, record)| entry(record, revision))
}

/// Any answer, whether or not any call could have it.
fn an_answer() -> impl Strategy<Value = Answer<Key, Record<Meta>>> {
    prop_oneof![
        4 => (1..9u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        1 => prop::option::of(a_record()).prop_map(Answer::Refused),
        3 => prop::option::of(a_record()).prop_map(Answer::Found),
        1 => prop::collection::vec(a_record().prop_map(|entry| (Key::Work, entry)), 0..3).prop_map(Answer::Listed),
        1 => Just(Answer::Unknown),
    ]
}

fn a_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => prop::sample::select(vec![Call::Look, TAKE, READ, CLAIM, STAMP, RECORD, FREE]),
        1 => prop::sample::select(vec![Call::Anchor, KEEP, Call::Run(run::Call::Lock(mutex::Call::Inspect))]),
    ]
}

fn an_input() -> impl Strategy<Value = Input<Job>> {
    let reply = (a_call(), an_answer(), 0..200_000u64).prop_map(|(call, answer, at)| Input::Reply {
        call,
        answer,
        at: millis(at),
    });
    prop_oneof![
        1 => prop::sample::select(vec![START, START, CLOSE, DONE, FAIL]),
        6 => reply,
        1 => Just(FREED),
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

/// What the hero would find, if the store were in a good mood: it keeps the story going.
fn steps() -> impl Strategy<Value = Vec<(Wait, Input<Job>)>> {
    let good = prop::sample::select(vec![
        nothing(Call::Look),
        applied(TAKE, 5),
        nothing(READ),
        applied(CLAIM, 6),
        DONE,
        found(STAMP, mine(0, 1, 1), 6),
        applied(RECORD, 7),
        applied(FREE, 5),
    ]);
    let any = prop_oneof![1 => good, 2 => an_input()];
    prop::collection::vec((a_wait(), any), 1..80).prop_map(|mut steps| {
        steps[0].1 = START;
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(steps in steps()) {
        walk::<Job>(terms(), Instant::ZERO, steps);
    }

    #[test]
    fn nor_does_one_at_the_end_of_time(steps in steps(), early in 0..40_000u64) {
        walk::<Job>(terms(), Instant::MAX - Span::from_millis(early), steps);
    }

    #[test]
    fn a_job_does_the_same_in_another_world(steps in steps()) {
        let steps: Vec<_> =
            walk::<Job>(terms(), millis(1), steps).into_iter().map(|(now, input, _)| (now, input)).collect();
        prop_assert_eq!(check_relocation::<Job>(&terms(), ME, &steps), Ok(()));
    }

    #[test]
    fn a_callback_begins_and_ends_in_turn(steps in steps()) {
        let mut runs = false;
        for effect in walk::<Job>(terms(), Instant::ZERO, steps).into_iter().flat_map(|(_, _, effects)| effects) {
            match effect {
                Effect::Event(Event::Began { .. }) => prop_assert!(!core::mem::replace(&mut runs, true)),
                Effect::Event(Event::Ended { .. }) => prop_assert!(core::mem::take(&mut runs)),
                Effect::Event(Event::Interrupted) => prop_assert!(runs),
                Effect::Event(Event::Closed) => prop_assert!(!runs),
                Effect::Event(Event::Rejected(_))
                | Effect::Store { .. } | Effect::Forget(_) | Effect::Publish(_) => {}
            }
        }
    }
}

#[test]
fn the_random_walks_meet_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..4_000 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        for effect in
            walk::<Job>(terms(), Instant::ZERO, steps).into_iter().flat_map(|(_, _, effects)| effects)
        {
            if let Effect::Event(event) = effect {
                met.insert(match event {
                    Event::Began { .. } => String::from("Began"),
                    Event::Ended { noted, .. } => format!("Ended({noted:?})"),
                    event => format!("{event:?}"),
                });
            }
        }
    }
    let all = "Began Closed Ended(Recorded) Ended(Superseded) Ended(Unknown) Interrupted Rejected(NotRunning) \
               Rejected(Started)";
    assert_eq!(met.into_iter().collect::<Vec<_>>().join(" "), all);
}
