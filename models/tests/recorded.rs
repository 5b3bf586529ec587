//! The rows of the table of recorded machines: they say again what was said, and nothing else.

use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
use fencepost::time::{Instant, Now, Span};
use fencepost_models::clock::Time;
use fencepost_models::recorded::{Call, History, Line, Locks, Recorded, Said};
use fencepost_models::subject::{Ask, Subject};

type Machines = Recorded<Locks>;

fn history(lines: &[(u64, Said)]) -> History {
    let lines = lines.iter().map(|&(millis, said)| Line { at: at(millis), said });
    History { lives: vec![vec![lines.collect()]], ..History::default() }
}

fn at(millis: u64) -> Time {
    Time::ZERO + Span::from_millis(millis)
}

/// The first life of the first instance.
fn first(history: &History) -> Machines {
    Machine::new(history, Identity(1 << 32))
}

fn step(machine: &mut Machines, history: &History, input: Input<Machines>) -> Vec<Effect<Machines>> {
    let mut effects = Effects::new();
    machine.step(history, Now::default(), input, &mut effects);
    effects.drain().collect()
}

#[test]
fn r1_each_line_is_told_at_its_time_and_belief_is_what_it_says() {
    let history = history(&[
        (10, Said::Granted { token: 7, until: at(500) }),
        (20, Said::Believes { until: at(900) }),
        (30, Said::Lost),
    ]);
    let mut machine = first(&history);
    let mut seen = Vec::new();
    while let Some(deadline) = machine.deadline(&history) {
        let told = step(&mut machine, &history, Input::Wake);
        let [Effect::Event(said)] = told[..] else { panic!("{told:?}") };
        seen.push((deadline, said, machine.belief()));
    }
    let length = |from: Instant, to: Instant| to.since(from).as_nanos() / 1_000_000;
    let origin = seen[0].0;
    assert_eq!(seen.iter().map(|(deadline, ..)| length(origin, *deadline)).collect::<Vec<_>>(), [0, 10, 20]);
    let beliefs: Vec<_> = seen.iter().map(|(.., until)| until.map(|until| length(origin, until))).collect();
    assert_eq!(beliefs, [Some(490), Some(890), None]);
}

#[test]
fn r2_a_claim_is_put_into_the_store_and_nobody_is_told() {
    let history = history(&[(10, Said::Claimed)]);
    let effects = step(&mut first(&history), &history, Input::Wake);
    assert!(matches!(effects[..], [Effect::Store { call: Call::Claim, .. }]), "{effects:?}");
}

#[test]
fn r3_who_has_said_everything_says_nothing_and_lives_are_told_apart() {
    let history = history(&[(10, Said::Denied)]);
    let mut machine = first(&history);
    step(&mut machine, &history, Input::Wake);
    assert_eq!((machine.deadline(&history), step(&mut machine, &history, Input::Wake)), (None, vec![]));
    let second: Machines = Machine::new(&history, Identity(1 << 32 | 1));
    assert_eq!(second.deadline(&history), None, "another life has other lines");
}

#[test]
fn r4_what_callers_ask_changes_nothing_but_that_who_unlocks_believes_no_more() {
    let history = history(&[(10, Said::Granted { token: 7, until: at(500) })]);
    let mut machine = first(&history);
    step(&mut machine, &history, Input::Wake);
    assert_eq!(step(&mut machine, &history, Input::Request(Ask::Cancel)), []);
    assert_eq!(step(&mut machine, &history, Input::Message(())), []);
    assert!(machine.belief().is_some());
    assert_eq!(step(&mut machine, &history, Input::Request(Ask::Unlock)), []);
    assert_eq!(machine.belief(), None);
}
