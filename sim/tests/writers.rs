//! What the laboratory promises of writers: ours survive, each protection is needed, and the original is caught.

mod common;

use fencepost_sim::{FaultSet, Property, Report, Ruling, hunt};

use common::{algorithm, assert_found, assert_refuted, check_usually};

#[test]
fn writers_survive_the_storm_and_every_fault_is_noticed() {
    let (by_work, by_lock) = (algorithm("writer-lease"), algorithm("writer-lease-locked"));
    let reports = [hunt(&*by_work).seeds(400).run(), hunt(&*by_lock).seeds(700).run()];
    reports.iter().for_each(Report::expect_clean);
    assert_eq!(reports[0].ledger.unproven(), FaultSet::NONE);
}

/// Each of these is found, and told in a short story.
#[track_caller]
fn assert_told(name: &str, seeds: u64, labels: &[&str]) {
    let report = assert_found(name, seeds, labels);
    for label in labels {
        let events = report.find(label).map(|find| find.trace.steps.len());
        assert!(events.is_some_and(|events| events <= 20), "{name}: {label} takes {events:?} events");
    }
}

#[test]
fn each_protection_of_a_writer_is_needed() {
    for (name, label) in [
        ("ablation/writer-own-term", "endless"),
        ("ablation/writer-work-id", "erased"),
        ("ablation/writer-one-step", "crowd"),
        ("ablation/writer-first-end", "undecided"),
        ("ablation/writer-join", "unjoined"),
        ("ablation/writer-under-lock", "unlocked"),
    ] {
        assert_told(name, 300, &[label]);
    }
}

#[test]
fn the_writer_lease_of_openshift_shows_its_defects_and_no_others() {
    assert_told("upstream/openshift-writerlease", 1_000, &["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8"]);
}

/// Every interleaving: what is proved, and in how many states, so that a lost transition fails here.
#[test]
fn writers_are_proved() {
    for (name, states) in [("writer-lease", BY_WORK), ("writer-lease-locked", BY_LOCK)] {
        let results = check_usually(name);
        for checked in &results {
            assert!(checked.is_proved() && !checked.is_violated(), "{name}: {checked:#?}");
            for property in [Property::NoJobLost, Property::NothingAfterClose, Property::LossNoticed] {
                let rows = checked.rows.iter().filter(|row| row.property == property);
                assert!(rows.clone().count() > 0, "{name}: {property}");
                assert!(rows.clone().all(|row| row.ruling == Ruling::Proved), "{name}: {property}");
            }
        }
        assert_eq!(results.iter().map(|checked| checked.states).sum::<u64>(), states, "{name}");
    }
}

/// What a check refutes, on a path that can be applied again.
#[test]
fn a_check_misses_each_protection_of_a_writer_too() {
    for (name, property) in [
        ("ablation/writer-own-term", Property::LossNoticed),
        ("ablation/writer-work-id", Property::NoJobLost),
        ("ablation/writer-first-end", Property::Progress),
        ("ablation/writer-join", Property::NothingAfterClose),
        ("ablation/writer-under-lock", Property::BelievedExclusion),
        ("upstream/openshift-writerlease", Property::BelievedExclusion),
    ] {
        assert_refuted(name, property);
    }
}

const BY_WORK: u64 = 172_108;
const BY_LOCK: u64 = 67_709;
