//! What a run costs in memory: once per run, and never per event.

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use fencepost::time::Span;
use fencepost_sim::{Faults, Reference, Shape, algorithms};

const MINUTE: Span = Span::from_secs(60);

fn run_once(reference: &mut Reference, seed: u64) {
    let outcome = reference.run(seed);
    assert!(outcome.violations.is_empty(), "{:?}", outcome.violations);
}

/// What a run of so many minutes needs when the same run has gone before it: nothing is left to grow.
fn warm(instances: u32, resources: u32, minutes: u64) -> AllocationInfo {
    let mut reference = Reference::new(instances, resources, MINUTE * minutes);
    run_once(&mut reference, 1);
    measure(|| run_once(&mut reference, 1))
}

/// What a simulator needs from its making to the end of its first run.
fn cold(instances: u32, minutes: u64) -> AllocationInfo {
    measure(|| run_once(&mut Reference::new(instances, 1, MINUTE * minutes), 1))
}

#[test]
fn events_allocate_nothing() {
    for (instances, resources) in [(3, 1), (10, 1), (10, 5), (100, 1)] {
        let (short, long) = (warm(instances, resources, 10), warm(instances, resources, 100));
        let case = format!("{instances} instances on {resources} locks: {short:?}, then {long:?}");
        assert_eq!(short.count_total, long.count_total, "{case}");
        // A run may set up each instance and each lock anew.
        assert!(long.count_total <= 8 + u64::from(2 * (instances + resources)), "{case}");
    }
}

/// A warm run hides what a first run piled up, so the peak of a first run is looked at too.
#[test]
fn the_peak_does_not_grow_with_the_length() {
    for instances in [3, 10, 100] {
        let (short, long) = (cold(instances, 10), cold(instances, 100));
        let case = format!("{instances} instances: {short:?}, then {long:?}");
        assert!(long.bytes_max <= short.bytes_max * 3 / 2, "{case}");
        assert!(long.bytes_max < 10 << 20, "{case}");
        assert_eq!(long.bytes_current, 0, "{case}");
    }
}

#[test]
fn a_sweep_keeps_nothing() {
    let mut reference = Reference::new(10, 1, MINUTE * 10);
    (1..=20).for_each(|seed| run_once(&mut reference, seed));
    let sweep = measure(|| (21..=220).for_each(|seed| run_once(&mut reference, seed)));
    // A seed may need a little more room than any before it; two hundred of them do not add up.
    assert!(sweep.bytes_current < 4 << 10, "{sweep:?}");
}

/// The counter would notice: a run that is recorded keeps each of its steps.
#[test]
fn a_recorded_run_grows() {
    let algorithm = &algorithms()[0];
    let [short, long] = [10, 100].map(|minutes| {
        let shape = Shape { storm: MINUTE * minutes, faults: Faults::None, ..Shape::default() };
        measure(|| drop(black_box(algorithm.record(&shape, 1))))
    });
    assert!(
        long.count_total > short.count_total && long.bytes_max > short.bytes_max * 4,
        "{short:?}, {long:?}"
    );
}
