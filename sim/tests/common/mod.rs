//! What the tests of the laboratory ask again and again.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use fencepost_sim::{Algorithm, Checked, Property, Report, Trace, algorithms, hunt};

pub(crate) fn algorithm(name: &str) -> Box<dyn Algorithm> {
    let mut all = algorithms().into_iter();
    all.find(|one| one.card().name == name).unwrap_or_else(|| panic!("{name} is registered"))
}

/// Applied again strictly, a trace reaches what it says it shows.
#[track_caller]
pub(crate) fn assert_shown(algorithm: &dyn Algorithm, trace: &Trace) {
    let shows = trace.header.shows.as_ref().expect("it says what it shows");
    let replayed = algorithm.replay(trace).expect("its own trace");
    assert_eq!(replayed.divergence, None, "{shows:?}");
    let is_shown = |violation| algorithm.card().is_shown(shows, violation);
    assert!(replayed.outcome.violations.iter().any(is_shown), "{shows:?}");
}

/// Nothing was found that was not declared.
#[track_caller]
pub(crate) fn assert_known(name: &str, report: &Report) {
    let unknown: Vec<_> = report.unknown().map(|find| (find.group.property, find.seed)).collect();
    assert_eq!(unknown, [], "{name}: found and not declared");
}

/// A hunt finds what is wrong, as what it is known, and nothing else.
#[track_caller]
pub(crate) fn assert_found(name: &str, seeds: u64, labels: &[&str]) -> Report {
    let algorithm = algorithm(name);
    let report = hunt(&*algorithm).seeds(seeds).run();
    assert_known(name, &report);
    for label in labels {
        let find = report.find(label).unwrap_or_else(|| panic!("{name}: {label} is found"));
        assert_shown(&*algorithm, &find.trace);
    }
    report
}

/// Checks each configuration of an algorithm by its usual plan; every counterexample shows what it says.
#[track_caller]
pub(crate) fn check_usually(name: &str) -> Vec<Checked> {
    let algorithm = algorithm(name);
    let plan = algorithm.check_plan().expect("it can be checked");
    let results = algorithm.check(plan, &|_| true).expect("the plan makes sense");
    results.iter().for_each(|checked| assert_replays(&*algorithm, checked));
    results
}

/// Each counterexample shows what it says.
#[track_caller]
pub(crate) fn assert_replays(algorithm: &dyn Algorithm, checked: &Checked) {
    checked.counterexamples.iter().for_each(|one| assert_shown(algorithm, &one.trace));
}

/// The usual check of an algorithm refutes a property.
#[track_caller]
pub(crate) fn assert_refuted(name: &str, property: Property) {
    let results = check_usually(name);
    let mut examples = results.iter().flat_map(|checked| &checked.counterexamples);
    assert!(examples.any(|one| one.property == property), "{name}: {property}");
}
