//! The flag as its callers and hosts know it: one story for each row of its table, and what holds for every sequence of
//! inputs.

#[expect(dead_code, reason = "it also knows the words of jobs")]
mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use fencepost::flag::{
    Call, Event, Flag, FlagConfig, FlagConfigError, FlagTerms, Leader, Message, PETITIONS, Process, Record,
    Request,
};
use fencepost::line::Owner;
use fencepost::machine::{Effect, Identity, Input, Relocate};
use fencepost::mutex;
use fencepost::store::{Answer, Entry, FencingToken, Op, Revision};
use fencepost::time::{Instant, Ppm, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use story::shift::{Speech, check_relocation};
use story::*;

type Tale = Story<Flag>;

const STAND: Input<Flag> = Input::Request(Request::Stand);
const RESIGN: Input<Flag> = Input::Request(Request::Resign);
const FIT: Input<Flag> = Input::Request(Request::Fit(true));
const UNFIT: Input<Flag> = Input::Request(Request::Fit(false));
const ASK: Input<Flag> = Input::Request(Request::Petition);
const CLOSE: Input<Flag> = Input::Request(Request::Close);
const FREED: Input<Flag> = Input::Message(Message::Freed);
const WAKE: Input<Flag> = Input::Wake;

const TAKE: Call = Call::Lock(mutex::Call::Claim);
const KEEP: Call = Call::Lock(mutex::Call::Renew);
const FREE: Call = Call::Lock(mutex::Call::Release);
const INSPECT: Call = Call::Lock(mutex::Call::Inspect);

impl Hero for Flag {
    fn tell(effect: &Effect<Flag>) -> String {
        match effect {
            Effect::Store { store, call: Call::Look, op: Op::Get { key: () } } if is_first(*store) => {
                String::from("look")
            }
            Effect::Store { store, call: Call::Lock(call), op } if is_first(*store) => {
                if let Op::PutIf { record, .. } = op {
                    assert_eq!((record.owner.identity, record.process.as_str()), (ME, "me"));
                }
                tell_lock(*call, op)
            }
            Effect::Store { .. } => format!("{effect:?}"),
            Effect::Forget(call) => format!("forget {call:?}"),
            Effect::Publish(Message::Freed) => String::from("publish freed"),
            Effect::Publish(Message::Petition { term, number, by }) => {
                assert_eq!((number.identity, by.as_str()), (ME, "me"));
                format!("publish petition #{} of term {}", number.attempt, term.0)
            }
            Effect::Event(Event::Raised(term)) => format!("Raised({})", term.0),
            Effect::Event(Event::Lowered(why)) => format!("Lowered({why:?})"),
            Effect::Event(Event::Leader(Some(leader))) => {
                format!("Leader({} {})", leader.process, leader.term.0)
            }
            Effect::Event(Event::Leader(None)) => String::from("Leader(-)"),
            Effect::Event(Event::Petitioned { by }) => format!("Petitioned({by})"),
            Effect::Event(event) => format!("{event:?}"),
        }
    }

    /// Its read-outs agree with each other, whatever the clock shows.
    fn watch(&self, terms: &FlagTerms, now: Instant) -> Result<(), String> {
        for at in [now, self.until().unwrap_or(now), Instant::MAX] {
            let raised = self.raised(at);
            let leads = self.until().is_some_and(|until| at < until);
            let is_named = self.leader(terms, at).map(|leader| leader.term);
            if raised.is_some() != leads || (leads && is_named != raised) || is_named > self.term() {
                return Err(format!("at {at:?} {raised:?} is raised, {is_named:?} leads"));
            }
        }
        Ok(())
    }
}

/// Interval 30 s, so renewals each 10 s; a check each 5 s, time-out 1 s, no jitter; belief 29.92 s.
fn config() -> FlagConfig {
    FlagConfig { jitter: Ppm::ZERO, ..FlagConfig::new("flag", "me") }
}

fn terms() -> FlagTerms {
    config().terms().expect("sound terms")
}

fn reply(call: Call, answer: Answer<(), Record>) -> Input<Flag> {
    Input::Reply { call, answer, at: millis(0) }
}

fn applied(call: Call, revision: u64) -> Input<Flag> {
    reply(call, Answer::Applied(Revision(revision)))
}

fn refused(call: Call) -> Input<Flag> {
    reply(call, Answer::Refused(None))
}

fn unknown(call: Call) -> Input<Flag> {
    reply(call, Answer::Unknown)
}

fn record_of(owner: Owner, process: &str) -> Record {
    Record { owner, process: Process::new(process).expect("a name") }
}

/// Another process of that name leads under this term.
fn other(process: &str, term: u64) -> Entry<Record> {
    entry(record_of(STRANGER, process), term)
}

/// Another process's record refuses the claim.
fn beaten(process: &str, term: u64) -> Input<Flag> {
    reply(TAKE, Answer::Refused(Some(other(process, term))))
}

fn seen(process: &str, term: u64) -> Input<Flag> {
    reply(Call::Look, Answer::Found(Some(other(process, term))))
}

fn nobody() -> Input<Flag> {
    reply(Call::Look, Answer::Found(None))
}

fn petition(term: u64, attempt: u32) -> Input<Flag> {
    let number = Owner { attempt, ..STRANGER };
    let by = Process::new("you").expect("a name");
    Input::Message(Message::Petition { term: FencingToken(term), number, by })
}

fn standing() -> Tale {
    Tale::of(terms()).at(0, STAND, "lock").wakes(1_000)
}

fn raised() -> Tale {
    standing().at(10, applied(TAKE, 5), "Raised(5), Leader(me 5)").wakes(10_000)
}

/// Another process leads, and it has been refused.
fn beaten_by_you() -> Tale {
    standing().at(10, beaten("you", 3), "Leader(you 3)").wakes(5_010)
}

fn unfit() -> Tale {
    Tale::of(terms()).at(0, UNFIT, "").rests()
}

fn watching() -> Tale {
    unfit().at(0, STAND, "look").wakes(1_000)
}

fn resigning() -> Tale {
    raised().at(100, RESIGN, "Lowered(Resigned), Leader(-), unlock r5")
}

#[test]
fn s1_whoever_may_lead_asks_for_the_lock() {
    Tale::of(terms()).rests().at(0, STAND, "lock");
}

#[test]
fn s2_whoever_may_not_only_looks() {
    watching();
    let standby = FlagConfig { standby: true, ..config() }.terms().unwrap();
    let observer = Tale::of(standby).at(0, STAND, "look").at(10, seen("you", 3), "Leader(you 3)");
    observer
        .wakes(5_010)
        .at(100, FIT, "")
        .at(5_010, WAKE, "look")
        .at(5_020, nobody(), "Leader(-)")
        .wakes(10_020);
}

#[test]
fn s3_it_stands_once_at_a_time() {
    for tale in [standing(), raised(), watching(), resigning()] {
        tale.at(200, STAND, "Rejected(Standing)");
    }
    raised().at(50, CLOSE, "Lowered(Closing), Leader(-), unlock r5").at(60, STAND, "Rejected(Standing)");
}

#[test]
fn w1_another_leader_is_news_once() {
    let seen_once = watching().at(10, seen("you", 3), "Leader(you 3)").wakes(5_010).at(5_010, WAKE, "look");
    let again = seen_once.at(5_020, seen("you", 3), "").wakes(10_020).at(10_020, WAKE, "look");
    let next = again.at(10_030, seen("she", 4), "Leader(she 4)");
    assert_eq!(next.machine.leader(&next.config, millis(0)).unwrap().process.as_str(), "she");
    assert_eq!(next.machine.term(), Some(FencingToken(4)));
}

#[test]
fn w2_that_nobody_leads_is_news_once_too() {
    watching().at(10, nobody(), "").wakes(5_010);
    let empty = watching().at(10, seen("you", 3), "Leader(you 3)").at(5_010, WAKE, "look");
    let empty = empty.at(5_020, nobody(), "Leader(-)").at(10_020, WAKE, "look").at(10_030, nobody(), "");
    assert_eq!(empty.machine.term(), Some(FencingToken(3)), "the term is not forgotten");
    // Its own record, which a late request left, is nobody's.
    let own = entry(record_of(Owner { identity: ME, attempt: 1 }, "me"), 9);
    watching().at(10, reply(Call::Look, Answer::Found(Some(own))), "");
}

#[test]
fn w3_an_old_term_is_not_believed() {
    let tale = watching().at(10, seen("you", 3), "Leader(you 3)").at(5_010, WAKE, "look");
    let tale = tale.at(5_020, seen("she", 2), "").wakes(10_020);
    assert_eq!(tale.machine.leader(&tale.config, millis(0)).unwrap().term, FencingToken(3));
    let back = raised().at(100, UNFIT, "Lowered(Unfit), Leader(-), unlock r5");
    back.at(110, applied(FREE, 5), "publish freed, look").at(120, seen("you", 4), "");
}

#[test]
fn w4_a_look_is_repeated() {
    watching().at(10, unknown(Call::Look), "").at(1_000, WAKE, "look").wakes(2_000);
    watching().at(10, applied(Call::Look, 1), "").wakes(1_000);
    watching().at(10, nobody(), "").at(5_009, WAKE, "").at(5_010, WAKE, "look").wakes(6_010);
}

#[test]
fn w5_word_that_the_lock_is_free_ends_a_wait() {
    watching().at(10, seen("you", 3), "Leader(you 3)").at(100, FREED, "look").at(110, nobody(), "Leader(-)");
    beaten_by_you().at(100, FREED, "lock");
}

#[test]
fn w6_whoever_is_fit_again_stands() {
    watching().at(100, FIT, "forget Look, lock").at(110, applied(TAKE, 5), "Raised(5), Leader(me 5)");
    let idle = watching().at(10, nobody(), "");
    idle.at(100, FIT, "lock");
}

#[test]
fn c1_whoever_holds_the_lock_is_raised() {
    let tale = raised();
    assert_eq!(tale.machine.raised(millis(29_919)), Some(FencingToken(5)));
    assert_eq!(tale.machine.raised(millis(29_920)), None, "its own clock says so");
    assert_eq!(tale.machine.leader(&tale.config, millis(29_920)), None);
    beaten_by_you().at(5_010, WAKE, "lock").at(5_020, applied(TAKE, 5), "Raised(5), Leader(me 5)");
    // The answer was lost, and the same attempt recognises its record.
    let own = entry(record_of(Owner { identity: ME, attempt: 1 }, "me"), 5);
    let repeated = standing().at(10, unknown(TAKE), "").at(1_000, WAKE, "lock");
    repeated.at(1_010, reply(TAKE, Answer::Refused(Some(own))), "Raised(5), Leader(me 5)").wakes(10_000);
}

#[test]
fn c2_whoever_refuses_its_claim_leads() {
    let tale =
        beaten_by_you().at(5_010, WAKE, "lock").at(5_020, beaten("you", 3), "").at(10_020, WAKE, "lock");
    tale.at(10_030, beaten("she", 4), "Leader(she 4)").at(15_030, WAKE, "lock").at(15_040, refused(TAKE), "");
    // Two processes of one name are not one.
    let namesake = standing().at(10, beaten("me", 3), "Leader(me 3)");
    assert_eq!(namesake.machine.raised(millis(10)), None);
}

#[test]
fn c3_whoever_is_not_fit_stands_no_longer() {
    let tale = beaten_by_you().at(100, UNFIT, "look").at(110, seen("you", 3), "").wakes(5_110);
    tale.at(200, FIT, "lock");
    // What its claim may have taken is given back.
    let crossed = standing().at(5, UNFIT, "look").at(10, applied(TAKE, 5), "unlock r5");
    crossed.at(20, nobody(), "").at(30, applied(FREE, 5), "publish freed");
}

#[test]
fn h1_a_lost_leadership_is_told_and_it_stands_again() {
    let gone = raised().at(10_000, WAKE, "renew r5").at(
        10_010,
        refused(KEEP),
        "Lowered(Lost(Gone)), Leader(-), lock",
    );
    gone.at(10_020, beaten("you", 9), "Leader(you 9)");
    let expired = "Lowered(Lost(Expired)), Leader(-), forget Lock(Renew), unlock r5, lock";
    raised().at(10_000, WAKE, "renew r5").at(40_000, WAKE, expired);
    // Whatever comes after the end of belief comes too late.
    raised().at(
        40_000,
        RESIGN,
        &format!("{}, Rejected(NotRaised)", expired.replace("forget Lock(Renew), ", "")),
    );
}

#[test]
fn h1_one_error_does_not_lower_a_flag_whose_lease_is_good() {
    let tale = raised().at(10_000, WAKE, "renew r5").at(10_010, unknown(KEEP), "").wakes(11_000);
    let tale = tale.at(11_000, WAKE, "renew r5").at(11_010, applied(KEEP, 5), "").wakes(21_000);
    assert_eq!(tale.machine.until(), Some(millis(11_000 + 29_920)));
}

#[test]
fn h2_l1_whoever_resigns_lets_others_go_first() {
    let tale = resigning();
    assert_eq!(tale.machine.raised(millis(100)), None, "lowered before it is released");
    let tale = tale.at(200, RESIGN, "Rejected(NotRaised)").at(210, applied(FREE, 5), "publish freed, look");
    let tale =
        tale.at(220, nobody(), "").wakes(5_220).at(5_220, WAKE, "look").at(5_230, nobody(), "").wakes(10_210);
    tale.clone().at(10_210, WAKE, "lock");
    tale.at(5_240, FREED, "look").at(5_250, seen("you", 6), "Leader(you 6)");
}

#[test]
fn h3_l3_whoever_is_not_fit_lowers_and_releases_at_once() {
    let tale = raised().at(100, UNFIT, "Lowered(Unfit), Leader(-), unlock r5");
    let tale = tale.at(110, applied(FREE, 5), "publish freed, look").at(120, seen("you", 6), "Leader(you 6)");
    tale.wakes(5_120).at(300, FIT, "lock");
}

#[test]
fn l2_whoever_is_fit_again_by_then_stands_at_once() {
    let tale = raised().at(100, UNFIT, "Lowered(Unfit), Leader(-), unlock r5").at(105, FIT, "");
    tale.at(110, applied(FREE, 5), "publish freed, lock");
    // Nobody knows what became of the release: the interval ends the wait.
    let tale = resigning().at(1_100, WAKE, "unlock r5").wakes(2_100);
    tale.at(30_100, WAKE, "forget Lock(Release), look");
}

#[test]
fn h4_a_leader_is_told_once_that_it_should_resign() {
    let tale = raised().at(100, petition(5, 1), "Petitioned(you)").at(200, petition(5, 1), "");
    tale.at(300, petition(5, 2), "Petitioned(you)").at(400, petition(4, 3), "").at(
        500,
        RESIGN,
        "Lowered(Resigned), Leader(-), unlock r5",
    );
    for tale in [standing(), watching(), beaten_by_you(), Tale::of(terms())] {
        tale.at(100, petition(5, 1), "");
    }
}

#[test]
fn n1_whoever_does_not_lead_cannot_resign() {
    for tale in [Tale::of(terms()), standing(), watching(), resigning()] {
        tale.at(200, RESIGN, "Rejected(NotRaised)");
    }
}

#[test]
fn n2_fitness_is_remembered() {
    unfit().at(10, FIT, "").at(20, STAND, "lock");
    watching().at(10, UNFIT, "");
    standing().at(10, FIT, "");
    raised().at(20, FIT, "").wakes(10_000);
    resigning()
        .at(110, UNFIT, "")
        .at(120, applied(FREE, 5), "publish freed, look")
        .at(130, nobody(), "")
        .at(20_000, WAKE, "look");
}

#[test]
fn p1_p2_a_petition_ends_with_the_term() {
    let asked = beaten_by_you().at(100, ASK, "publish petition #1 of term 3").wakes(5_010);
    let freed = asked.clone().at(150, FREED, "lock");
    let own = "Raised(5), PetitionEnded(Granted), Leader(me 5)";
    freed.at(160, applied(TAKE, 5), own);
    asked.at(5_010, WAKE, "lock").at(5_020, beaten("she", 4), "PetitionEnded(Granted), Leader(she 4)");
    let watcher =
        watching().at(10, seen("you", 3), "Leader(you 3)").at(20, ASK, "publish petition #1 of term 3");
    watcher.at(5_010, WAKE, "look").at(5_015, nobody(), "PetitionEnded(Granted), Leader(-)");
}

#[test]
fn p3_p4_a_petition_is_repeated_and_comes_to_an_end() {
    let mut tale =
        watching().at(10, seen("you", 3), "Leader(you 3)").at(20, ASK, "publish petition #1 of term 3");
    for number in 1..u64::from(PETITIONS) {
        let due = 20 + 5_000 * number;
        tale = tale.at(due - 10, WAKE, "look").at(due - 10, seen("you", 3), "");
        tale = tale.at(due, WAKE, "publish petition #1 of term 3");
    }
    let end = 20 + 5_000 * u64::from(PETITIONS);
    let tale = tale.at(end - 10, WAKE, "look").at(end - 10, seen("you", 3), "");
    tale.at(end, WAKE, "PetitionEnded(Unanswered)").at(end + 1, ASK, "publish petition #2 of term 3");
}

#[test]
fn p5_a_petition_needs_a_leader_and_comes_alone() {
    for tale in [Tale::of(terms()), standing(), watching(), raised(), resigning()] {
        tale.at(200, ASK, "Rejected(NoLeader)");
    }
    beaten_by_you().at(20, ASK, "publish petition #1 of term 3").at(30, ASK, "Rejected(Petitioning)");
}

#[test]
fn z1_z5_closing_is_idempotent() {
    Tale::of(terms()).at(0, CLOSE, "Closed").at(1, CLOSE, "Closed").rests();
    let closing = raised().at(50, CLOSE, "Lowered(Closing), Leader(-), unlock r5").at(60, CLOSE, "");
    closing.at(70, applied(FREE, 5), "publish freed, Closed").rests().at(80, CLOSE, "Closed");
    resigning().at(110, CLOSE, "").at(120, applied(FREE, 5), "publish freed, Closed").rests();
}

#[test]
fn z2_z3_whoever_waits_closes_when_nothing_is_under_way() {
    watching().at(10, CLOSE, "forget Look, Closed").rests();
    beaten_by_you().at(100, CLOSE, "Closed").rests();
    // What its claim comes to is not known yet.
    let tale = standing().at(5, CLOSE, "").wakes(1_000).at(10, beaten("you", 3), "Closed").rests();
    tale.at(20, STAND, "lock");
    standing().at(5, CLOSE, "").at(10, applied(TAKE, 5), "unlock r5, Closed").rests();
    let deaf = standing().at(5, CLOSE, "").at(1_000, WAKE, "inspect").at(2_000, WAKE, "inspect");
    deaf.at(30_005, WAKE, "forget Lock(Claim), forget Lock(Inspect), Closed").rests();
    let asked = beaten_by_you().at(20, ASK, "publish petition #1 of term 3");
    asked.at(30, CLOSE, "PetitionEnded(Dropped), Closed").rests();
}

#[test]
fn z4_z6_a_leader_lowers_releases_and_has_closed() {
    let tale = raised().at(50, CLOSE, "Lowered(Closing), Leader(-), unlock r5");
    assert_eq!(tale.machine.raised(millis(50)), None);
    let tale = tale.at(60, applied(FREE, 5), "publish freed, Closed").rests();
    let again = tale.at(100, STAND, "lock").at(110, applied(TAKE, 6), "Raised(6), Leader(me 6)");
    assert_eq!(again.machine.term(), Some(FencingToken(6)));
    let deaf = raised().at(50, CLOSE, "Lowered(Closing), Leader(-), unlock r5").at(
        30_050,
        WAKE,
        "forget Lock(Release), Closed",
    );
    deaf.rests();
}

#[test]
fn every_row_of_the_table_is_told() {
    check_told(include_str!("../src/flag.rs"), include_str!("flag.rs"));
}

#[test]
fn a_refusal_names_the_inequality_its_numbers_and_the_smallest_change() {
    let secs = Duration::from_secs;
    let check = |config: FlagConfig, expected: &str| {
        assert_eq!(config.validate().unwrap_err().to_string(), expected);
    };
    check(
        FlagConfig { interval: secs(1), ..FlagConfig::new("flag", "me") },
        "interval 1s is too short: it must exceed interval / 3 = 333.333333ms · (1 + jitter 20%) + timeout 1s + \
         delay_bound 50ms + drift 0.1% · interval = 1.451s; smallest change: interval 1.753s, or timeout 548ms",
    );
    check(
        FlagConfig {
            interval: Duration::from_nanos(2),
            drift: Ppm::percent(70),
            ..FlagConfig::new("flag", "me")
        },
        "interval 2ns is too short: it must exceed interval / 3 = 0ns · (1 + jitter 20%) + timeout 1s + \
         delay_bound 50ms + drift 70% · interval = 1.050000002s; no interval would do with this jitter and drift; \
         lower them",
    );
    check(FlagConfig { jitter: Ppm::ONE, ..config() }, "jitter is 100%; it must be below 100%");
    check(FlagConfig { timeout: Duration::ZERO, ..config() }, "timeout is 0; it must be positive");
    check(FlagConfig::new("", "me"), "name is empty; it needs at least one character");
    check(FlagConfig::new("flag", ""), "process is empty; it needs at least one character");
    assert_eq!(FlagConfig::new("flag", "").terms(), Err(FlagConfigError::Empty { field: "process" }));
    // What the smallest change says is accepted, and a millisecond more is not.
    let with = |interval: u64, timeout: u64| {
        let (interval, timeout) = (Duration::from_millis(interval), Duration::from_millis(timeout));
        FlagConfig { interval, timeout, ..FlagConfig::new("flag", "me") }.validate().is_ok()
    };
    assert_eq!(
        [with(1_753, 1_000), with(1_752, 1_000), with(1_000, 548), with(1_000, 549)],
        [true, false, true, false]
    );
}

#[test]
fn the_defaults_are_those_of_the_original() {
    let config = FlagConfig::new("flag", "me");
    assert_eq!(
        (config.interval, config.timeout, config.jitter),
        (Duration::from_secs(30), Duration::from_secs(1), Ppm::percent(20))
    );
    let terms = config.terms().unwrap();
    assert_eq!(terms.turn(), Span::from_secs(12));
    assert_eq!(terms.takeover(), Span::from_millis(36_036));
}

impl Speech for Flag {
    fn heard(input: &mut Input<Flag>, map: &mut impl Relocate) {
        match input {
            Input::Reply { answer, at, .. } => {
                map.store_time(at);
                relocate_answer(answer, map);
            }
            Input::Message(message) => relocate_message(message, map),
            Input::Request(_) | Input::Wake => {}
        }
    }

    fn said(effect: &mut Effect<Flag>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { op, .. } => match op {
                Op::Get { .. } | Op::List { .. } => {}
                Op::PutIf { expect, record, .. } => {
                    expect.relocate(map);
                    record.owner.relocate(map);
                }
                Op::Renew { revision, .. } | Op::DeleteIf { revision, .. } => map.revision(revision),
            },
            Effect::Publish(message) => relocate_message(message, map),
            Effect::Event(Event::Raised(term) | Event::Leader(Some(Leader { term, .. }))) => {
                relocate_term(term, map);
            }
            Effect::Event(_) | Effect::Forget(_) => {}
        }
    }
}

fn relocate_term(term: &mut FencingToken, map: &mut impl Relocate) {
    let mut revision = Revision(term.0);
    map.revision(&mut revision);
    *term = revision.into();
}

fn relocate_message(message: &mut Message, map: &mut impl Relocate) {
    if let Message::Petition { term, number, by: _ } = message {
        relocate_term(term, map);
        number.relocate(map);
    }
}

fn relocate_answer(answer: &mut Answer<(), Record>, map: &mut impl Relocate) {
    let mut relocate = |entry: &mut Entry<Record>| {
        map.revision(&mut entry.revision);
        entry.record.owner.relocate(map);
    };
    match answer {
        Answer::Refused(entry) | Answer::Found(entry) => entry.iter_mut().for_each(relocate),
        Answer::Listed(page) => page.iter_mut().for_each(|(_, entry)| relocate(entry)),
        Answer::Applied(revision) => map.revision(revision),
        Answer::Unknown => {}
    }
}

/// Names from so small a world that they often meet.
fn an_owner() -> impl Strategy<Value = Owner> {
    (7..9u64, 0..5u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt })
}

fn an_entry() -> impl Strategy<Value = Entry<Record>> {
    let process = prop::sample::select(vec!["me", "you"]);
    (1..9u64, an_owner(), process).prop_map(|(term, owner, process)| entry(record_of(owner, process), term))
}

/// Any answer, whether or not any call could have it.
fn an_answer() -> impl Strategy<Value = Answer<(), Record>> {
    prop_oneof![
        4 => (1..9u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        3 => prop::option::of(an_entry()).prop_map(Answer::Refused),
        3 => prop::option::of(an_entry()).prop_map(Answer::Found),
        1 => prop::collection::vec(an_entry().prop_map(|entry| ((), entry)), 0..3).prop_map(Answer::Listed),
        1 => Just(Answer::Unknown),
    ]
}

fn an_input() -> impl Strategy<Value = Input<Flag>> {
    let call = prop::sample::select(vec![TAKE, TAKE, KEEP, FREE, Call::Look, Call::Look, INSPECT]);
    let reply = (call, an_answer()).prop_map(|(call, answer)| reply(call, answer));
    let message = prop_oneof![
        Just(FREED),
        (1..9u64, an_owner()).prop_map(|(term, owner)| {
            let by = Process::new("you").expect("a name");
            Input::Message(Message::Petition { term: FencingToken(term), number: owner, by })
        })
    ];
    prop_oneof![
        3 => prop::sample::select(vec![STAND, STAND, RESIGN, FIT, FIT, UNFIT, ASK, ASK, CLOSE]),
        6 => reply,
        1 => message,
        3 => Just(WAKE),
    ]
}

fn a_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        6 => (0..200u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        1 => (0..20_000u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        6 => Just(Wait::UntilDeadline),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Wait, Input<Flag>)>> {
    prop::collection::vec((a_wait(), an_input()), 1..80).prop_map(|mut steps| {
        steps[0].1 = STAND;
        steps
    })
}

/// All that a flag has told on its way, and when.
fn events(start: Instant, steps: Vec<(Wait, Input<Flag>)>) -> Vec<Event> {
    let effects = walk::<Flag>(terms(), start, steps).into_iter().flat_map(|(_, _, effects)| effects);
    let event = |effect| match effect {
        Effect::Event(event) => Some(event),
        Effect::Store { .. } | Effect::Forget(_) | Effect::Publish(_) => None,
    };
    effects.filter_map(event).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(steps in steps()) {
        walk::<Flag>(terms(), Instant::ZERO, steps);
    }

    #[test]
    fn nor_does_one_at_the_end_of_time(steps in steps(), early in 0..60_000u64) {
        walk::<Flag>(terms(), Instant::MAX - Span::from_millis(early), steps);
    }

    #[test]
    fn a_flag_does_the_same_in_another_world(steps in steps()) {
        let steps: Vec<_> =
            walk::<Flag>(terms(), millis(1), steps).into_iter().map(|(now, input, _)| (now, input)).collect();
        prop_assert_eq!(check_relocation::<Flag>(&terms(), ME, &steps), Ok(()));
    }

    #[test]
    fn it_is_raised_and_lowered_in_turn_and_the_terms_of_others_never_go_back(steps in steps()) {
        let (mut is_raised, mut seen, mut petitions) = (false, FencingToken(0), false);
        for event in events(Instant::ZERO, steps) {
            match event {
                Event::Raised(_) => prop_assert!(!core::mem::replace(&mut is_raised, true)),
                Event::Lowered(_) => prop_assert!(core::mem::take(&mut is_raised)),
                Event::Closed => prop_assert!(!is_raised),
                Event::Petitioned { .. } => prop_assert!(is_raised),
                // Only a store that breaks its contract gives its own term a lower number.
                Event::Leader(Some(leader)) => {
                    prop_assert!(is_raised || leader.term >= seen);
                    seen = leader.term;
                }
                Event::PetitionEnded(_) => petitions = true,
                Event::Leader(None) | Event::Rejected(_) => {}
            }
        }
        prop_assert!(!petitions || seen > FencingToken(0), "a petition is about a leader that was seen");
    }
}

#[test]
fn the_random_walks_meet_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..8_000 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        met.extend(events(Instant::ZERO, steps).into_iter().map(|event| match event {
            Event::Raised(_) => String::from("Raised"),
            Event::Leader(leader) => format!("Leader({})", leader.is_some()),
            Event::Petitioned { .. } => String::from("Petitioned"),
            event => format!("{event:?}"),
        }));
    }
    let all = [
        "Closed",
        "Leader(false)",
        "Leader(true)",
        "Lowered(Closing)",
        "Lowered(Lost(Expired))",
        "Lowered(Lost(Gone))",
        "Lowered(Resigned)",
        "Lowered(Unfit)",
        "PetitionEnded(Dropped)",
        "PetitionEnded(Granted)",
        "PetitionEnded(Unanswered)",
        "Petitioned",
        "Raised",
        "Rejected(NoLeader)",
        "Rejected(NotRaised)",
        "Rejected(Petitioning)",
        "Rejected(Standing)",
    ];
    assert_eq!(met.into_iter().collect::<Vec<_>>(), all);
}
