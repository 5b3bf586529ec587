//! What an exhaustive check proves, what it refutes, and that both stay as they are.
//!
//! The numbers of states are pinned: a transition that is lost, and so a proof that says less than it seems to, fails
//! here. Whoever adds a transition on purpose writes the new numbers down.

use fencepost::machine::{Effects, Identity, Input, Input::Reply, Machine, Relocate};
use fencepost::store::{Answer, Contract, Expect::Absent, Op};
use fencepost::time::{Instant, Now, Span};
mod common;

use fencepost_sim::{
    Algorithm, Ask, Budget, Case, CheckPlan, Checked, Property, Registration, Ruling, Spend, Stopped,
    Subject, Told,
};

use common::{algorithm, assert_replays, check_usually};

/// Checks the first configuration of an algorithm.
fn check(algorithm: &dyn Algorithm, plan: &CheckPlan) -> Checked {
    let mut results = algorithm.check(plan, &|_| true).expect("the plan makes sense");
    results.remove(0)
}

/// Two instances, three ticks, one tick of delay, and whatever goes wrong.
fn plan(faults: &[(Spend, u8)]) -> CheckPlan {
    let budget = faults.iter().fold(Budget::NONE, |budget, &(what, times)| budget.with(what, times));
    CheckPlan { budget, ..CheckPlan::default() }
}

#[track_caller]
fn assert_proved(checked: &Checked) {
    assert!(checked.is_proved() && !checked.is_violated(), "{checked:#?}");
}

/// What is broken, known as what, and after how many events.
fn lengths(checked: &Checked) -> Vec<(Property, Option<&'static str>, usize)> {
    checked.counterexamples.iter().map(|one| (one.property, one.defect, one.trace.steps.len())).collect()
}

#[test]
fn the_mutex_is_proved_under_every_single_fault_and_no_state_is_lost() {
    let mutex = algorithm("mutex");
    let long = |ttl, faults: &[(Spend, u8)]| CheckPlan { ttl, ..plan(faults) };
    for (plan, states, generated) in [
        (CheckPlan { instances: 1, ..plan(&[]) }, 224, 527),
        (plan(&[]), 11_939, 43_245),
        (CheckPlan { delay: 0, ..plan(&[(Spend::Pause, 2), (Spend::Crash, 1)]) }, 85_793, 290_891),
        (plan(&[(Spend::Crash, 1)]), 59_991, 242_043),
        (plan(&[(Spend::ExtraUnlock, 1)]), 23_878, 110_367),
        (plan(&[(Spend::Write, 1)]), 37_912, 152_104),
        (long(4, &[(Spend::Pause, 1)]), 48_867, 190_939),
        (long(4, &[(Spend::Loss, 1)]), 28_325, 100_317),
        (long(4, &[(Spend::Unknown, 1)]), 25_206, 88_641),
        (long(4, &[(Spend::Duplicate, 1)]), 39_057, 145_193),
        (long(4, &[(Spend::Stall, 1)]), 76_965, 303_815),
        (long(4, &[(Spend::Cancel, 1)]), 38_774, 151_901),
        (long(4, &[(Spend::Grain, 1)]), 40_850, 170_666),
        (long(5, &[(Spend::Drift, 1)]), 20_243, 72_880),
        (CheckPlan { hints: true, ..long(4, &[]) }, 13_609, 55_531),
        (CheckPlan { hints: true, ..long(7, &[(Spend::HintLoss, 1)]) }, 4_448, 17_481),
        (CheckPlan { instances: 3, ..long(7, &[]) }, 5_763, 20_464),
    ] {
        let checked = check(&*mutex, &plan);
        assert_proved(&checked);
        assert_eq!((checked.states, checked.generated), (states, generated), "{:?}", plan.budget);
    }
}

#[test]
fn stability_is_proved_where_messages_are_fast_enough_and_not_asked_elsewhere() {
    let mutex = algorithm("mutex");
    let ruling = |plan: &CheckPlan| {
        let checked = check(&*mutex, plan);
        checked.rows.into_iter().find(|row| row.property == Property::Stability).map(|row| row.ruling)
    };
    for (ttl, delay) in [(3, 0), (8, 1)] {
        let plan = CheckPlan { ttl, delay, ..plan(&[(Spend::Loss, 1)]) };
        assert_eq!(ruling(&plan), Some(Ruling::Proved), "ttl {ttl}, delay {delay}");
    }
    assert!(matches!(ruling(&plan(&[])), Some(Ruling::Unasked(why)) if why.contains("round trip")));
}

#[test]
fn a_queue_lets_nobody_starve_and_without_it_somebody_may() {
    let fifo = algorithm("mutex-fifo");
    let plan = CheckPlan { budget: Budget::NONE, ..fifo.check_plan().expect("it has one").clone() };
    let checked = check(&*fifo, &plan);
    assert_proved(&checked);
    assert_eq!((checked.states, checked.generated), (19_184, 72_748));

    let unordered = algorithm("ablation/queue");
    let checked = check(&*unordered, unordered.check_plan().expect("it has one"));
    let starved = checked.rows.iter().find(|row| row.question.starts_with("nobody waits for ever"));
    assert_eq!(starved.map(|row| &row.ruling), Some(&Ruling::Violated));
    assert_replays(&*unordered, &checked);
}

#[test]
fn each_protection_is_needed() {
    for (name, property, events) in [
        ("identity", Property::BelievedExclusion, 6),
        ("compare-on-release", Property::OwnerOnlyRelease, 8),
        ("deadline-from-send", Property::BelievedExclusion, 8),
        ("retry-inside-ttl", Property::Stability, 8),
        ("reconciliation", Property::Reconciliation, 11),
        ("drift-margin", Property::BelievedExclusion, 9),
    ] {
        let ablation = algorithm(&format!("ablation/{name}"));
        let plan = ablation.check_plan().expect("it has one");
        let checked = check(&*ablation, plan);
        let found = lengths(&checked).into_iter().find(|(broken, ..)| *broken == property);
        assert_eq!(found.map(|(.., length)| length), Some(events), "{name}: {:?}", lengths(&checked));
        assert_replays(&*ablation, &checked);
        // The same bounds, with the protection on.
        assert_proved(&check(&*algorithm("mutex"), plan));
    }
}

#[test]
fn a_suspended_clock_breaks_belief_and_fencing_catches_it() {
    let mutex = algorithm("mutex");
    let suspended = CheckPlan { ttl: 4, ..plan(&[(Spend::Suspend, 1)]) };
    assert_proved(&check(&*mutex, &suspended));
    let checked = check(&*mutex, &CheckPlan { strict: true, ..suspended });
    let broken: Vec<_> = lengths(&checked).into_iter().map(|(property, ..)| property).collect();
    assert_eq!(broken, [Property::BelievedExclusion]);
    let fenced = checked.rows.iter().find(|row| row.property == Property::FencedExclusion);
    assert_eq!(fenced.map(|row| &row.ruling), Some(&Ruling::Proved));
    assert_replays(&*mutex, &checked);
}

#[test]
fn the_plugin_apis_mutex_is_refuted_by_shortest_paths() {
    let original = algorithm("upstream/plugin-api-mutex");
    let checked = check(&*original, original.check_plan().expect("it has one"));
    let expected = [
        (Property::BelievedExclusion, "M1", 10),
        (Property::BelievedExclusion, "M2", 13),
        (Property::BelievedExclusion, "M3", 8),
        (Property::BelievedExclusion, "M4", 7),
        (Property::NoTheft, "M4", 5),
        (Property::OwnerOnlyRelease, "M2", 8),
        (Property::OwnerOnlyRenewal, "M3", 10),
        (Property::OwnerOnlyRenewal, "M4", 8),
        (Property::NoOrphan, "M4", 6),
        (Property::Reconciliation, "M10", 8),
    ];
    assert_eq!(lengths(&checked), expected.map(|(property, label, events)| (property, Some(label), events)));
    assert_replays(&*original, &checked);
}

#[test]
fn the_calls_mutex_is_refuted_by_shortest_paths() {
    let results = check_usually("upstream/calls-mutex");
    let expected: [&[(&str, usize)]; 4] = [
        &[("M1", 8), ("M10", 11), ("M2", 7), ("M3", 7), ("M4", 5), ("M7", 7), ("M9", 2)],
        &[("M1", 9), ("M10", 11), ("M2", 8), ("M3", 7), ("M4", 5), ("M7", 9), ("M9", 2)],
        &[("M10", 11), ("M6", 5), ("M9", 2)],
        &[("M10", 18), ("M2", 7), ("M3", 7), ("M4", 5), ("M7", 6), ("M9", 2)],
    ];
    for (checked, expected) in results.iter().zip(expected) {
        let mut shortest: Vec<_> =
            lengths(checked).into_iter().filter_map(|(_, label, length)| Some((label?, length))).collect();
        shortest.sort_unstable();
        shortest.dedup_by_key(|(label, _)| *label);
        assert_eq!(shortest, expected, "{}", checked.case);
    }
}

#[test]
fn threads_and_symmetry_change_nothing_that_is_found() {
    let mutex = algorithm("mutex");
    let figures = |plan: &CheckPlan| {
        let checked = check(&*mutex, plan);
        assert_proved(&checked);
        (checked.states, checked.generated, checked.depth)
    };
    let one = figures(&plan(&[]));
    assert_eq!(figures(&CheckPlan { threads: 3, ..plan(&[]) }), one);
    let apart = figures(&CheckPlan { symmetry: false, ..plan(&[]) });
    assert!(apart.0 > one.0 * 3 / 2 && apart.0 < one.0 * 2 && apart.2 == one.2, "{one:?} {apart:?}");
}

#[test]
fn a_check_that_hits_a_limit_proves_nothing() {
    let mutex = algorithm("mutex");
    for (limited, why) in [
        (CheckPlan { max_states: 1_000, ..plan(&[]) }, Stopped::States),
        (CheckPlan { max_memory: 1 << 16, ..plan(&[]) }, Stopped::Memory),
    ] {
        let checked = check(&*mutex, &limited);
        assert_eq!(checked.stopped, Some(why));
        assert!(!checked.is_proved() && !checked.is_violated());
        assert!(checked.rows.iter().all(|row| row.ruling != Ruling::Proved), "{:#?}", checked.rows);
    }
    let interrupted = mutex.check(&plan(&[]), &|_| false).expect("it makes sense");
    assert_eq!(interrupted[0].stopped, Some(Stopped::Interrupted));
}

/// A lock whose waiters ask once and then wait for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct NeverAgain(Identity, Option<Instant>);

impl Machine for NeverAgain {
    type Config = Span;
    type Store = Contract<(), Identity>;
    type Request = Ask;
    type Event = Told;
    type Message = ();
    type Call = Ask;
    fn new(_: &Span, identity: Identity) -> NeverAgain {
        NeverAgain(identity, None)
    }
    fn step(&mut self, &ttl: &Span, now: Now, input: Input<Self>, out: &mut Effects<Self>) {
        match input {
            Input::Request(Ask::Lock) => {
                self.1 = Some(now.mono + ttl);
                out.store(Ask::Lock, Op::PutIf { key: (), expect: Absent, record: self.0, ttl: Some(ttl) });
            }
            Reply { call: Ask::Lock, answer: Answer::Applied(revision), .. } => {
                out.event(Told::Acquired(Some(revision.into())));
            }
            Input::Request(_) | Input::Message(()) | Input::Wake | Reply { .. } => {}
        }
    }
    fn deadline(&self, _: &Span) -> Option<Instant> {
        None
    }
    fn relocate(&mut self, map: &mut impl Relocate) {
        map.identity(&mut self.0);
        self.1.iter_mut().for_each(|until| map.deadline(until));
    }
}

impl Subject for NeverAgain {
    fn request(ask: Ask) -> Option<Ask> {
        (ask == Ask::Lock).then_some(ask)
    }
    fn told(event: &Told) -> Told {
        *event
    }
    fn belief(&self) -> Option<Instant> {
        None
    }
    fn ttl(config: &Span) -> Span {
        *config
    }
}

#[test]
fn whoever_can_never_get_in_is_found_by_asking_the_whole_graph() {
    let tick = Span::from_secs(1);
    let lock = Registration::<NeverAgain>::new("never-again", "asks once", move |_| tick * 3)
        .promises(&[Property::Progress])
        .exhaustive(CheckPlan::default(), move |ticks| {
            Ok(vec![Case { name: "only".to_owned(), tick, config: tick * u64::from(ticks.ttl) }])
        });
    let checked = check(&lock, &CheckPlan::default());
    let broken: Vec<_> = lengths(&checked).into_iter().map(|(property, ..)| property).collect();
    assert_eq!(broken, [Property::Progress]);
    assert!(
        checked
            .rows
            .iter()
            .any(|row| row.question.starts_with("nobody patient") && row.ruling == Ruling::Proved)
    );
    assert_replays(&lock, &checked);
}
