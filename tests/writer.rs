//! The writer as its callers and hosts know it: one story for each row of its table, what holds for every sequence of
//! inputs, and its waits beside a twin that is not clever.

#[allow(dead_code, reason = "stories of jobs need more words")]
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::line::{Key, Owner};
use fencepost::machine::{Effect, Input, Machine, Relocate};
use fencepost::mutex::{Call, Freed, Mutex, MutexConfig};
use fencepost::store::{Answer, FencingToken, Op, Revision};
use fencepost::time::{Draw, Instant, Ppm, Span};
use fencepost::writer::{
    Arbiter, Backoff, End, Event, Request, State, Unit, WorkId, WorkResult, WriterConfig, WriterLease,
    WriterTerms,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use story::shift::{Forget, Speech, check_relocation};
use story::*;

/// Keys are letters, pieces of work are numbers.
type Writer = WriterLease<char>;
type Tale = Story<Writer>;

const START: Input<Writer> = Input::Request(Request::Start);
const STOP: Input<Writer> = Input::Request(Request::Stop);
const EXPIRE: Input<Writer> = Input::Request(Request::Expire);
const WAKE: Input<Writer> = Input::Wake;
const FREED: Input<Writer> = Input::Message(Freed);

impl Hero for Writer {
    fn tell(effect: &Effect<Writer>) -> String {
        let of =
            |token: &Option<FencingToken>| token.map_or_else(String::new, |token| format!(" t{}", token.0));
        match effect {
            Effect::Store { store, call, op } => {
                assert!(is_first(*store));
                tell_lock(*call, op)
            }
            Effect::Forget(call) => format!("forget {call:?}"),
            Effect::Publish(Freed) => String::from("publish freed"),
            Effect::Event(Event::Work { key, id, token }) => format!("work {key}{}{}", id.0, of(token)),
            Effect::Event(Event::Interrupted { key, id }) => format!("interrupt {key}{}", id.0),
            Effect::Event(Event::Settled { key, id, end }) => format!("{end:?} {key}{}", id.0),
            Effect::Event(Event::Leads(token)) => format!("leads{}", of(token)),
            Effect::Event(Event::Follows) => String::from("follows"),
            Effect::Event(event) => format!("{event:?}"),
        }
    }

    fn watch(&self, terms: &WriterTerms, now: Instant) -> Result<(), String> {
        let leads = self.state() == State::Leader;
        let over = self.until().is_some_and(|until| until != Instant::MAX && now >= until);
        match () {
            () if self.running() > usize::from(terms.config().slots) => Err(String::from("too many run")),
            () if self.running() > self.len() => Err(String::from("what is not there runs")),
            () if leads && terms.mutex().is_none() && over => Err(String::from("it leads after its term")),
            () if leads && terms.mutex().is_some() && self.until().is_none() => {
                Err(String::from("it leads without the lock"))
            }
            () => Ok(()),
        }
    }
}

/// A term of 60 s, retries after 3 s, waits of 20 ms, 80 ms, 320 ms, 1.28 s … and two slots.
fn config(arbiter: Arbiter) -> WriterConfig {
    WriterConfig { slots: 2, arbiter, ..WriterConfig::default() }
}

fn by_work() -> WriterTerms {
    config(Arbiter::Work).terms().expect("sound terms")
}

/// A lease of 15 s renewed every 5 s, time-out 2 s, none of them jittered; belief 14.935 s.
fn by_lock() -> WriterTerms {
    let lease = LeaseConfig { jitter: Ppm::ZERO, ..LeaseConfig::default() };
    let mutex = MutexConfig { lease, ..MutexConfig::default() };
    config(Arbiter::Lock(mutex)).terms().expect("sound terms")
}

fn attempt(key: char, id: u64) -> Input<Writer> {
    Input::Request(Request::Try(key, Unit::new(WorkId(id))))
}

fn seen(key: char, id: u64) -> Input<Writer> {
    Input::Request(Request::Extend(key, WorkId(id)))
}

fn remove(key: char) -> Input<Writer> {
    Input::Request(Request::Remove(key))
}

fn end(key: char, id: u64, result: WorkResult, retry: bool) -> Input<Writer> {
    Input::Request(Request::Done { key, id: WorkId(id), result, retry })
}

fn done(key: char, id: u64) -> Input<Writer> {
    end(key, id, WorkResult::Extend, false)
}

fn failed(key: char, id: u64) -> Input<Writer> {
    end(key, id, WorkResult::Release, true)
}

fn idle(key: char, id: u64) -> Input<Writer> {
    end(key, id, WorkResult::None, false)
}

fn panicked(key: char, id: u64) -> Input<Writer> {
    Input::Request(Request::Panicked { key, id: WorkId(id) })
}

fn reply(call: Call, answer: Answer<Key, Owner>) -> Input<Writer> {
    Input::Reply { call, answer, at: millis(0) }
}

fn granted(revision: u64) -> Input<Writer> {
    reply(Call::Claim, Answer::Applied(Revision(revision)))
}

fn taken() -> Input<Writer> {
    reply(Call::Claim, Answer::Refused(Some(entry(STRANGER, 4))))
}

fn tale() -> Tale {
    Tale::of(by_work()).at(0, START, "")
}

/// It leads since 10 ms, and has nothing to do.
fn leader() -> Tale {
    let tale = tale().at(0, attempt('a', 1), "work a1");
    tale.at(10, done('a', 1), "leads, Done a1, Decided { leads: true }").wakes(60_010)
}

/// It follows since 10 ms, and waits until 30 ms.
fn follower() -> Tale {
    tale().at(10, seen('z', 1), "follows, Decided { leads: false }").rests()
}

/// It holds the lock with token 5 since 10 ms, and runs work of key a.
fn holder() -> Tale {
    let tale = Tale::of(by_lock()).at(0, START, "").at(0, attempt('a', 1), "lock");
    tale.at(10, granted(5), "leads t5, work a1 t5")
}

#[track_caller]
fn check_state(tale: &Tale, state: State) {
    assert_eq!(tale.machine.state(), state);
}

#[test]
fn s1_t1_what_was_tried_at_rest_runs_when_it_starts() {
    let tale = Tale::of(by_work()).at(0, attempt('a', 1), "").rests();
    tale.at(5, START, "work a1").rests();
}

#[test]
fn s2_s3_a_stop_drops_what_waits_and_joins_what_runs() {
    let tale = tale().at(0, attempt('a', 1), "work a1").at(0, attempt('b', 1), "work b1");
    let tale = tale.at(1, attempt('c', 1), "").at(1, attempt('a', 2), "");
    let tale = tale.at(2, STOP, "Stopped a2, Stopped c1, interrupt a1, interrupt b1").rests();
    let tale = tale.at(3, done('a', 1), "Done a1").at(4, failed('b', 1), "Stopped b1, Stopped").rests();
    assert!(tale.machine.is_empty());
    Tale::of(by_work()).at(0, attempt('a', 1), "").at(1, STOP, "Stopped a1, Stopped");
}

#[test]
fn s4_s5_it_is_started_once_and_stopped_once() {
    let tale = tale().at(0, START, "Rejected(Started)").at(0, attempt('a', 1), "work a1");
    let tale = tale.at(1, STOP, "interrupt a1").at(1, STOP, "").at(1, START, "Rejected(Started)");
    tale.at(2, idle('a', 1), "Done a1, Stopped").at(3, START, "").at(3, attempt('a', 1), "work a1");
}

#[test]
fn t1_whoever_follows_leaves_it_to_others_for_a_little() {
    let tale = follower().at(100, attempt('a', 1), "").wakes(140);
    let tale = tale.at(110, attempt('a', 2), "Replaced a1").wakes(140);
    tale.at(140, WAKE, "work a2").rests();
}

#[test]
fn t1_a_retry_that_is_tried_anew_need_not_wait() {
    let tale = leader().at(20, attempt('a', 1), "work a1").at(21, end('a', 1, WorkResult::None, true), "");
    let tale = tale.wakes(3_021).at(100, attempt('a', 1), "work a1");
    tale.at(101, done('a', 1), "Done a1");
}

#[test]
fn t2_a_writer_that_stops_takes_no_work() {
    let tale = tale().at(0, attempt('a', 1), "work a1").at(1, STOP, "interrupt a1");
    tale.at(1, attempt('b', 1), "Rejected(Stopping)").at(2, done('a', 1), "Done a1, Stopped");
}

#[test]
fn t3_what_is_removed_is_not_run_again() {
    let tale = follower().at(100, attempt('a', 1), "").at(110, remove('a'), "Removed a1").rests();
    let tale = tale.at(120, attempt('a', 2), "").at(160, WAKE, "work a2");
    tale.at(161, remove('a'), "").at(170, failed('a', 2), "Removed a2").rests();
}

#[test]
fn x1_work_that_was_seen_done_settles_that_work_and_no_newer_one() {
    let tale = leader().at(20, attempt('a', 1), "work a1").at(21, attempt('a', 2), "");
    // The unit that runs finds nothing to do, and says that its work is done: W3 of the original.
    let tale = tale.at(22, seen('a', 1), "").at(23, idle('a', 1), "Done a1, work a2");
    let tale = tale.at(24, seen('a', 2), "").at(25, failed('a', 2), "follows, Observed a2").rests();
    let tale =
        tale.at(100, attempt('b', 1), "").at(110, seen('b', 7), "").at(110, seen('b', 1), "Observed b1");
    assert!(tale.machine.is_empty());
    let tale = leader().at(20, attempt('a', 1), "work a1").at(21, attempt('a', 2), "");
    tale.at(22, seen('a', 2), "Observed a2").at(23, done('a', 1), "Done a1").wakes(60_023);
}

#[test]
fn x2_w1_e1_whoever_sees_work_follows_and_that_ends_a_wait() {
    let tale = tale().at(0, seen('z', 1), "follows, Decided { leads: false }");
    check_state(&tale, State::Follower);
    tale.at(1, attempt('a', 1), "").wakes(41).at(41, WAKE, "work a1").at(50, done('a', 1), "leads, Done a1");
}

#[test]
fn x3_x4_however_much_is_seen_in_one_wait_the_next_is_one_step_longer() {
    let mut tale = follower();
    for (key, ms) in ('a'..'k').zip(11..) {
        tale = tale.at(ms, seen(key, 1), "");
    }
    let tale = tale.at(20, attempt('a', 2), "").wakes(60);
    // 40 ms is the end of the last wait of step 0, and the first sight after it begins step 1.
    let tale = tale.at(41, seen('b', 2), "").at(42, seen('c', 2), "").wakes(122);
    let tale = tale.at(122, WAKE, "work a2");
    // Failing is seeing work of others, too.
    tale.at(130, failed('a', 2), "").wakes(3_130);
}

#[test]
fn x5_a_leader_cannot_tell_its_own_work_from_that_of_others() {
    let tale = leader().at(20, seen('a', 1), "").wakes(60_010);
    check_state(&tale, State::Leader);
}

#[test]
fn l1_an_idle_leader_whose_term_has_passed_competes_again() {
    let tale = leader();
    assert!(tale.machine.leads(millis(60_009)) && !tale.machine.leads(millis(60_010)));
    let tale = tale.at(60_010, WAKE, "follows").rests();
    tale.at(70_000, attempt('a', 2), "").wakes(70_040).at(70_040, WAKE, "work a2");
    // Whatever comes first: the clock is read before it.
    leader().at(70_000, attempt('a', 2), "follows").wakes(70_040);
}

#[test]
fn l1_with_a_lock_a_leader_is_not_idle_while_something_runs() {
    let tale =
        holder().at(5_000, WAKE, "renew r5").at(5_010, reply(Call::Renew, Answer::Applied(Revision(5))), "");
    let tale = (2..13).fold(tale, |tale, at| {
        let renewed = reply(Call::Renew, Answer::Applied(Revision(5)));
        tale.at(at * 5_000, WAKE, "renew r5").at(at * 5_000 + 10, renewed, "")
    });
    check_state(&tale, State::Leader);
    let tale = tale.at(60_100, idle('a', 1), "Done a1, Decided { leads: true }").wakes(60_010);
    let tale = tale.at(60_100, WAKE, "follows, unlock r5");
    tale.at(60_110, reply(Call::Release, Answer::Applied(Revision(5))), "publish freed").rests();
}

#[test]
fn l2_l3_k4_whoever_leads_can_be_told_not_to_and_a_wait_to_end() {
    let tale = leader().at(100, EXPIRE, "follows").at(101, attempt('a', 2), "").wakes(141);
    let tale = tale.at(102, seen('b', 1), "").at(125, seen('b', 2), "").wakes(205).at(150, EXPIRE, "work a2");
    tale.at(151, done('a', 2), "leads, Done a2");
    let tale = holder().at(20, done('a', 1), "Done a1, Decided { leads: true }");
    tale.at(30, EXPIRE, "follows, unlock r5");
    Tale::of(by_work()).at(0, EXPIRE, "").at(0, START, "").at(0, EXPIRE, "").at(
        0,
        attempt('a', 1),
        "work a1",
    );
}

#[test]
fn w1_a_key_that_never_returns_blocks_its_own_work_only() {
    let tale = leader().at(20, attempt('a', 2), "work a2").at(21, attempt('b', 1), "work b1");
    let tale =
        tale.at(22, attempt('c', 1), "").at(23, attempt('a', 3), "").at(24, done('b', 1), "Done b1, work c1");
    let tale = tale.at(30, done('c', 1), "Done c1");
    assert_eq!((tale.machine.len(), tale.machine.running()), (1, 1));
}

#[test]
fn w1_who_has_waited_for_a_slot_for_longer_goes_first() {
    // Also if nobody remembers for how long.
    for moment in [0, 45] {
        let busy = leader().at(20, attempt('m', 2), "work m2").at(20, attempt('n', 3), "work n3");
        let mut both = busy.at(30, attempt('z', 4), "").at(40, attempt('a', 5), "");
        both.machine.relocate(&mut Forget(millis(moment)));
        both.at(50, idle('m', 2), "Done m2, work z4").at(60, idle('n', 3), "Done n3, work a5");
    }
}

#[test]
fn w2_w3_k1_work_runs_under_the_lock_and_with_its_token() {
    let tale = holder();
    assert_eq!(tale.machine.until(), Some(millis(14_935)));
    let tale = tale.at(11, attempt('b', 1), "work b1 t5").at(12, attempt('c', 1), "");
    tale.at(13, done('a', 1), "Done a1, Decided { leads: true }, work c1 t5");
}

#[test]
fn d1_what_does_not_run_cannot_end() {
    let tale = leader().at(20, done('a', 1), "Rejected(NotRunning)").at(21, attempt('a', 2), "work a2");
    tale.at(22, done('a', 1), "Rejected(NotRunning)").at(23, panicked('b', 2), "Rejected(NotRunning)");
}

#[test]
fn d2_success_leads_and_prolongs_the_term() {
    let tale =
        leader().at(1_000, attempt('b', 1), "work b1").at(1_001, done('b', 1), "Done b1").wakes(61_001);
    let tale = tale.at(61_001, WAKE, "follows").at(62_000, attempt('b', 2), "").at(62_040, WAKE, "work b2");
    let tale = tale.at(62_050, done('b', 2), "leads, Done b2");
    check_state(&tale, State::Leader);
}

#[test]
fn d3_with_a_lock_success_prolongs_the_term_of_whoever_holds_it_only() {
    let tale = holder().at(20, done('a', 1), "Done a1, Decided { leads: true }").wakes(5_000);
    let tale =
        tale.at(30, attempt('b', 1), "work b1 t5").at(20_000, WAKE, "follows, interrupt b1, unlock r5");
    let tale = tale.at(20_001, done('b', 1), "Done b1");
    check_state(&tale, State::Follower);
}

#[test]
fn d4_d6_whoever_fails_or_panics_follows_and_tries_again() {
    for failure in [failed('a', 2), panicked('a', 2)] {
        let tale = leader().at(20, attempt('a', 2), "work a2").at(25, failure, "follows").wakes(3_025);
        tale.at(3_025, WAKE, "work a2").at(3_030, done('a', 2), "leads, Done a2");
    }
}

#[test]
fn d5_e1_nothing_to_do_says_nothing_about_who_leads_but_ends_a_wait() {
    let tale =
        tale().at(0, attempt('a', 1), "work a1").at(1, idle('a', 1), "Done a1, Decided { leads: false }");
    check_state(&tale, State::Election);
    assert!(tale.machine.is_decided());
    for (input, told) in [(remove('a'), "Removed a1"), (seen('a', 1), "Observed a1")] {
        let mut tale = Tale::of(by_work()).at(0, attempt('a', 1), "").at(0, input, told);
        assert!(!tale.machine.is_decided(), "it has not started");
        tale = tale.at(1, START, "").at(1, attempt('a', 1), "work a1").at(1, attempt('a', 2), "");
        tale.at(2, remove('a'), "Removed a2, Decided { leads: false }");
    }
}

#[test]
fn d6_d7_retries_can_be_limited_and_a_new_try_counts_anew() {
    let once = || Input::Request(Request::Try('a', Unit::new(WorkId(2)).limit_retries(1)));
    let tale =
        leader().at(20, once(), "work a2").at(21, end('a', 2, WorkResult::None, true), "").wakes(3_021);
    let tale = tale.at(3_021, WAKE, "work a2").at(3_022, end('a', 2, WorkResult::None, true), "GaveUp a2");
    let tale = tale.at(3_030, once(), "work a2").at(3_031, end('a', 2, WorkResult::None, true), "");
    tale.wakes(6_031);
}

#[test]
fn d8_what_was_tried_while_the_unit_ran_runs_after_it() {
    let tale = leader().at(20, attempt('a', 2), "work a2").at(21, attempt('a', 3), "");
    let tale = tale.at(22, attempt('a', 4), "Replaced a3").at(23, failed('a', 2), "follows, Replaced a2");
    let tale = tale.wakes(43).at(43, WAKE, "work a4");
    // The same again: whatever the unit has read may be older than the wish to run it.
    tale.at(44, attempt('a', 4), "").at(45, idle('a', 4), "work a4").at(46, done('a', 4), "leads, Done a4");
}

#[test]
fn k2_whoever_does_not_get_the_lock_follows() {
    let tale = Tale::of(by_lock()).at(0, START, "").at(0, attempt('a', 1), "lock");
    let tale = tale.at(10, taken(), "follows, Decided { leads: false }").wakes(30).at(30, WAKE, "lock");
    let tale =
        tale.at(40, taken(), "").wakes(120).at(120, WAKE, "lock").at(130, granted(9), "leads t9, work a1 t9");
    check_state(&tale, State::Leader);
    // An unknown answer is no answer: the claim is repeated, and given up when it is of no use.
    let tale = Tale::of(by_lock()).at(0, START, "").at(0, attempt('a', 1), "lock");
    let tale = tale.at(10, reply(Call::Claim, Answer::Unknown), "").wakes(2_000).at(2_000, WAKE, "lock");
    tale.at(15_000, WAKE, "follows, Decided { leads: false }, inspect").wakes(15_020);
}

#[test]
fn k3_what_runs_is_told_that_the_lock_is_lost() {
    let tale = holder().at(20, attempt('b', 1), "work b1 t5");
    let tale = tale.at(14_935, WAKE, "follows, interrupt a1, interrupt b1, unlock r5");
    let tale = tale.at(14_940, done('a', 1), "Done a1, Decided { leads: false }");
    check_state(&tale, State::Follower);
    let tale = holder().at(5_000, WAKE, "renew r5");
    tale.at(5_010, reply(Call::Renew, Answer::Refused(None)), "follows, interrupt a1").rests();
}

#[test]
fn k4_k5_it_leaves_the_lock_when_nothing_runs_under_it_or_a_term_later() {
    let stepping_down = || {
        let tale = holder().at(20, attempt('b', 1), "work b1 t5");
        tale.at(30, failed('a', 1), "follows, interrupt b1, Decided { leads: false }")
    };
    let tale = stepping_down().at(40, attempt('c', 1), "").at(45, idle('b', 1), "Done b1, unlock r5");
    let tale = tale.at(50, reply(Call::Release, Answer::Applied(Revision(5))), "publish freed").wakes(80);
    tale.at(80, WAKE, "lock");
    let tale = (1..13).fold(stepping_down(), |tale, at| {
        let renewed = reply(Call::Renew, Answer::Applied(Revision(5)));
        tale.at(at * 5_000, WAKE, "renew r5").at(at * 5_000 + 10, renewed, "")
    });
    tale.at(60_030, WAKE, "unlock r5");
}

#[test]
fn k6_whoever_follows_competes_as_soon_as_the_lock_is_free() {
    let tale = Tale::of(by_lock()).at(0, START, "").at(0, attempt('a', 1), "lock");
    let tale = tale.at(10, taken(), "follows, Decided { leads: false }").at(15, FREED, "lock");
    tale.at(20, granted(9), "leads t9, work a1 t9");
    follower().at(20, attempt('a', 1), "").at(25, FREED, "").wakes(60);
}

#[test]
fn k7_a_stop_cancels_the_claim_and_leaves_the_lock() {
    let tale = Tale::of(by_lock()).at(0, START, "").at(0, attempt('a', 1), "lock");
    tale.at(10, STOP, "Stopped a1, Stopped").at(20, granted(5), "unlock r5");
    let tale = holder().at(20, STOP, "follows, interrupt a1").at(30, done('a', 1), "Done a1, unlock r5");
    tale.at(40, reply(Call::Release, Answer::Applied(Revision(5))), "publish freed, Stopped").rests();
}

#[test]
fn every_row_of_the_table_is_told() {
    check_told(include_str!("../src/writer.rs"), include_str!("writer.rs"));
}

#[test]
fn a_configuration_is_refused_with_what_would_be_accepted() {
    let usual = WriterConfig::default;
    let waits = |backoff| WriterConfig { backoff, ..usual() };
    let backoff = Backoff::default();
    for (config, message) in [
        (WriterConfig { term: Duration::ZERO, ..usual() }, "term is 0; it must be positive"),
        (
            WriterConfig { retry_interval: Duration::ZERO, ..usual() },
            "retry_interval is 0; it must be positive",
        ),
        (WriterConfig { slots: 0, ..usual() }, "slots is 0; it must be positive"),
        (waits(Backoff { first: Duration::ZERO, ..backoff }), "backoff.first is 0; it must be positive"),
        (waits(Backoff { factor: 0, ..backoff }), "backoff.factor is 0; it must be 1 at least"),
        (waits(Backoff { steps: 33, ..backoff }), "backoff.steps is 33; 32 at most"),
        (waits(Backoff { jitter: Ppm::ONE, ..backoff }), "backoff.jitter is 100%; it must be below 100%"),
        (
            WriterConfig { term: Duration::from_millis(10), ..usual() },
            "backoff.first is 20ms; no wait is longer than the term, which is 10ms",
        ),
    ] {
        assert_eq!(config.terms().map_err(|error| error.to_string()), Err(message.to_owned()));
    }
    let lock = MutexConfig { poll_interval: Duration::ZERO, ..MutexConfig::default() };
    let error = config(Arbiter::Lock(lock)).terms().unwrap_err();
    assert_eq!(error.to_string(), "poll_interval is 0; it must be positive");
}

/// The waits as the original documents them: in milliseconds, from the least to the most.
#[test]
fn the_waits_are_those_of_the_table() {
    let terms = by_work();
    let wait = |step, draw| terms.wait(step, Draw(draw)).as_nanos() as f64 / 1e6;
    let table = [
        (20.0, 20.0),
        (80.0, 120.0),
        (320.0, 720.0),
        (1_280.0, 4_320.0),
        (5_120.0, 25_920.0),
        (20_480.0, 60_000.0),
        (60_000.0, 60_000.0),
        (60_000.0, 60_000.0),
    ];
    for (step, (least, most)) in (0..).zip(table) {
        assert_eq!(wait(step, 0), least, "step {step}");
        assert!((most - wait(step, u32::MAX)).abs() < 0.001, "step {step}: {}", wait(step, u32::MAX));
    }
}

/// The waits once more, as somebody would write them who does not care for whole numbers.
fn dumb_wait(backoff: &Backoff, term: f64, step: u32, share: f64) -> f64 {
    if step > backoff.steps {
        return term;
    }
    let jitter = f64::from(backoff.jitter.0) / 1e6;
    let longer = f64::from(backoff.factor) * (1.0 + jitter * share);
    (backoff.first.as_secs_f64() * longer.powi(step as i32)).min(term)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waits_are_what_a_dumb_twin_says_and_grow_up_to_the_term(
        first in 1..5_000u64, factor in 1..10u32, steps in 0..=32u32, jitter in 0..1_000_000u32,
        term in 1..120_000u64, draw: u32, step in 0..40u32,
    ) {
        let first = Duration::from_millis(first.min(term));
        let backoff = Backoff { first, factor, steps, jitter: Ppm(jitter) };
        let config = WriterConfig { backoff, term: Duration::from_millis(term), ..WriterConfig::default() };
        let terms = config.terms().unwrap();
        let (wait, next) = (terms.wait(step, Draw(draw)), terms.wait(step + 1, Draw(draw)));
        let dumb = dumb_wait(&backoff, config.term.as_secs_f64(), step, f64::from(draw) / 4_294_967_296.0);
        prop_assert!((wait.as_secs_f64() - dumb).abs() <= dumb * 1e-4 + 1e-6, "{wait}, {dumb}");
        prop_assert!(wait <= next && next <= terms.term());
    }
}

impl Speech for Writer {
    fn heard(input: &mut Input<Writer>, map: &mut impl Relocate) {
        if let Input::Reply { call, answer, at } = input {
            let mut heard = Input::<Mutex>::Reply { call: *call, answer: answer.clone(), at: *at };
            Mutex::heard(&mut heard, map);
            if let Input::Reply { answer: renamed, at: moved, .. } = heard {
                (*answer, *at) = (renamed, moved);
            }
        }
    }

    fn said(effect: &mut Effect<Writer>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { store, call, op } => {
                let mut said = Effect::<Mutex>::Store { store: *store, call: *call, op: op.clone() };
                Mutex::said(&mut said, map);
                if let Effect::Store { op: renamed, .. } = said {
                    *op = renamed;
                }
            }
            Effect::Event(Event::Work { token: Some(token), .. } | Event::Leads(Some(token))) => {
                let mut revision = Revision(token.0);
                map.revision(&mut revision);
                *token = revision.into();
            }
            Effect::Event(_) | Effect::Forget(_) | Effect::Publish(_) => {}
        }
    }
}

fn a_request() -> impl Strategy<Value = Input<Writer>> {
    let (key, id) = (prop::sample::select(vec!['a', 'b', 'c']), 1..4u64);
    let result = prop::sample::select(vec![WorkResult::None, WorkResult::Extend, WorkResult::Release]);
    let retries = prop::option::of(0..2u32);
    (key, id, result, retries, any::<bool>(), 0..16).prop_map(|(key, id, result, retries, retry, which)| {
        let unit = Unit::new(WorkId(id));
        let unit = retries.map_or(unit, |retries| unit.limit_retries(retries));
        match which {
            0..4 => Input::Request(Request::Try(key, unit)),
            4 | 5 => seen(key, id),
            6 => remove(key),
            7 => panicked(key, id),
            8 => EXPIRE,
            9 => STOP,
            10 => START,
            _ => end(key, id, result, retry),
        }
    })
}

fn a_reply() -> impl Strategy<Value = Input<Writer>> {
    let call =
        prop::sample::select(vec![Call::Claim, Call::Claim, Call::Renew, Call::Release, Call::Inspect]);
    let owner = prop_oneof![Just(STRANGER), (0..4u32).prop_map(|attempt| Owner { identity: ME, attempt })];
    (call, owner, 1..9u64, 0..6).prop_map(|(call, owner, revision, which)| {
        reply(
            call,
            match which {
                0..3 => Answer::Applied(Revision(revision)),
                3 => Answer::Refused(Some(entry(owner, revision))),
                4 => Answer::Found(Some(entry(owner, revision))),
                _ => Answer::Unknown,
            },
        )
    })
}

fn a_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        8 => (0..100u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        1 => (0..90_000u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        3 => Just(Wait::UntilDeadline),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Wait, Input<Writer>)>> {
    let input = prop_oneof![6 => a_request(), 3 => a_reply(), 1 => Just(FREED), 3 => Just(WAKE)];
    prop::collection::vec((a_wait(), input), 1..100).prop_map(|mut steps| {
        steps[0].1 = START;
        steps
    })
}

fn any_terms() -> impl Strategy<Value = WriterTerms> {
    prop::sample::select(vec![by_work(), by_lock()])
}

/// What a host knows of the units that run, and of whether anything may.
#[derive(Debug, Default)]
struct Books {
    running: BTreeMap<char, WorkId>,
    started: bool,
}

impl Books {
    fn check(
        &mut self,
        input: &Input<Writer>,
        effects: &[Effect<Writer>],
        locked: bool,
    ) -> Result<(), String> {
        // The clock is read before the input: a unit may be interrupted in the very step in which its end is reported.
        let mut ended = None;
        match input {
            Input::Request(Request::Start) => self.started = true,
            Input::Request(Request::Done { key, id, .. } | Request::Panicked { key, id })
                if self.running.get(key) == Some(id) =>
            {
                ended = self.running.remove_entry(key);
            }
            _ => {}
        }
        for effect in effects {
            let Effect::Event(event) = effect else { continue };
            let is_wrong = match event {
                Event::Work { key, id, token } => {
                    let is_second = self.running.insert(*key, *id).is_some();
                    is_second || !self.started || token.is_some() != locked
                }
                Event::Interrupted { key, id } => {
                    self.running.get(key) != Some(id) && ended != Some((*key, *id))
                }
                Event::Settled { key, id, end: End::Done | End::GaveUp } => self.running.get(key) == Some(id),
                Event::Stopped => {
                    self.started = false;
                    !self.running.is_empty()
                }
                Event::Settled { .. } | Event::Leads(_) | Event::Follows | Event::Decided { .. } => false,
                Event::Rejected(_) => false,
            };
            if is_wrong {
                return Err(format!("{event:?} with {self:?}"));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(terms in any_terms(), steps in steps()) {
        let (locked, mut books) = (terms.mutex().is_some(), Books::default());
        for (_, input, effects) in walk::<Writer>(terms, Instant::ZERO, steps) {
            prop_assert_eq!(books.check(&input, &effects, locked), Ok(()));
        }
    }

    #[test]
    fn nor_does_one_at_the_end_of_time(terms in any_terms(), steps in steps(), early in 0..90_000u64) {
        walk::<Writer>(terms, Instant::MAX - Span::from_millis(early), steps);
    }

    #[test]
    fn a_writer_does_the_same_in_another_world(terms in any_terms(), steps in steps()) {
        let way = walk::<Writer>(terms.clone(), millis(1), steps);
        let steps: Vec<_> = way.into_iter().map(|(now, input, _)| (now, input)).collect();
        prop_assert_eq!(check_relocation::<Writer>(&terms, ME, &steps), Ok(()));
    }

    /// Whoever only asks and lets time pass gets everything done: what was tried last under each key runs.
    #[test]
    fn what_is_tried_runs(steps in steps(), terms in any_terms()) {
        let mut story = Tale::of(terms);
        let mut mono = Instant::ZERO;
        for (wait, input) in steps {
            mono = match wait {
                Wait::For(span) => mono + span,
                Wait::UntilDeadline => story.deadline().unwrap_or(mono).max(mono),
            };
            story.step(mono, input);
        }
        prop_assert!(run_to_the_end(&mut story, mono), "{:?}", story.machine);
    }
}

/// A host that runs whatever it is told to, successfully, and a store that grants whatever it is asked for.
fn run_to_the_end(story: &mut Tale, mut mono: Instant) -> bool {
    let mut inputs = vec![START, attempt('d', 9)];
    // Whatever ran before has ended by now.
    inputs.extend("abc".chars().flat_map(|key| (1..4).map(move |id| done(key, id))));
    let mut has_run = false;
    for _ in 0..500 {
        let Some(input) = inputs.pop() else {
            match story.deadline() {
                Some(at) if !has_run || !story.machine.is_empty() => {
                    mono = at.max(mono);
                    inputs.push(WAKE);
                    continue;
                }
                _ => break,
            }
        };
        for effect in story.step(mono, input) {
            match effect {
                Effect::Event(Event::Work { key, id, .. }) => {
                    has_run |= key == 'd';
                    inputs.push(done(key, id.0));
                }
                Effect::Event(Event::Stopped) => inputs.extend([attempt('d', 9), START]),
                Effect::Store { call, op, .. } => inputs.push(reply(call, granted_op(&op))),
                Effect::Event(_) | Effect::Forget(_) | Effect::Publish(_) => {}
            }
        }
    }
    has_run && story.machine.is_empty()
}

fn granted_op(op: &Op<Key, Owner>) -> Answer<Key, Owner> {
    match op {
        Op::Get { .. } => Answer::Found(None),
        Op::PutIf { .. } => Answer::Applied(Revision(50)),
        Op::Renew { revision, .. } | Op::DeleteIf { revision, .. } => Answer::Applied(*revision),
        Op::List { .. } => Answer::Listed(Vec::new()),
    }
}

#[test]
fn the_random_walks_meet_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for terms in [by_work(), by_lock()] {
        for _ in 0..1_000 {
            let steps = steps().new_tree(&mut runner).unwrap().current();
            let way = walk::<Writer>(terms.clone(), Instant::ZERO, steps);
            for effect in way.into_iter().flat_map(|(_, _, effects)| effects) {
                if let Effect::Event(event) = effect {
                    met.insert(match event {
                        Event::Work { token, .. } => format!("Work {}", token.is_some()),
                        Event::Interrupted { .. } => String::from("Interrupted"),
                        Event::Settled { end, .. } => format!("{end:?}"),
                        Event::Leads(token) => format!("Leads {}", token.is_some()),
                        event => format!("{event:?}"),
                    });
                }
            }
        }
    }
    let all = "Decided { leads: false }, Decided { leads: true }, Done, Follows, GaveUp, Interrupted, Leads false, \
               Leads true, Observed, Rejected(NotRunning), Rejected(Started), Rejected(Stopping), Removed, Replaced, \
               Stopped, Work false, Work true";
    assert_eq!(met.into_iter().collect::<Vec<_>>().join(", "), all);
}
