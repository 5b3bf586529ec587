//! What the laboratory promises of leadership: our flag survives, each protection is needed, and the original is caught.

mod common;

use fencepost_sim::{Budget, CheckPlan, End, FaultSet, Look, Shape, Spend, hunt};

use common::{algorithm, assert_found, check_usually};

#[test]
fn a_flag_survives_the_storm_and_every_fault_is_noticed() {
    let report = hunt(&*algorithm("flag")).seeds(400).run();
    report.expect_clean();
    assert_eq!(report.ledger.unproven(), FaultSet::NONE);
}

/// Ten processes: the monitors see that never two are raised, and in the end exactly one is.
#[test]
fn of_ten_processes_never_more_than_one_is_raised_and_after_healing_exactly_one() {
    let algorithm = algorithm("flag");
    let shape = Shape { instances: 10, ..Shape::default() };
    for seed in 1..=8 {
        let replayed = algorithm.replay(&algorithm.record(&shape, seed)).expect("its own trace");
        assert_eq!((&replayed.divergence, &*replayed.outcome.violations), (&None, &[][..]), "seed {seed}");
        let last = replayed.story.lines.last().expect("a run has an end");
        let raised = last.looks.iter().filter(|look| **look == Look::Believes).count();
        assert_eq!(raised, 1, "seed {seed}: {:?}", last.looks);
    }
}

#[test]
fn each_protection_of_a_flag_is_needed() {
    assert_found("ablation/flag-self-expiry", 60, &["told-only"]);
    assert_found("ablation/flag-identity", 20, &["namesakes"]);
    assert_found("ablation/flag-retry", 40, &["flaps"]);
    assert_found("ablation/flag-lower-first", 40, &["released-first"]);
    assert_found("ablation/flag-term-order", 200, &["old-news"]);
}

#[test]
fn the_original_shows_its_defects_and_no_others() {
    assert_found("upstream/ocm-flag", 600, &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G9"]);
}

/// Every interleaving: what is proved, and in how many states, so that a lost transition fails here.
#[test]
fn a_flag_is_proved() {
    let algorithm = algorithm("flag");
    let usual = algorithm.check_plan().expect("it can be checked").clone();
    let states = |what: &[(Spend, u8)]| {
        let budget = what.iter().fold(Budget::NONE, |all, (what, times)| all.with(*what, *times));
        let plan = CheckPlan { budget, ..usual.clone() };
        let checked = algorithm.check(&plan, &|_| true).expect("the plan is sound").remove(0);
        assert!(checked.is_proved(), "{what:?}: {:?}", checked.rows);
        (checked.states, checked.generated)
    };
    assert_eq!(states(&[(Spend::Loss, 1)]), (3_148, 6_843));
    assert_eq!(states(&[(Spend::Pause, 1)]), (6_802, 16_111));
    assert_eq!(states(&[(Spend::Unfit, 1), (Spend::Cancel, 1)]), (49_334, 161_119));
}

#[test]
fn a_check_rejects_what_a_hunt_rejects() {
    let broken = |name: &str| {
        let examples = check_usually(name).into_iter().flat_map(|checked| checked.counterexamples);
        let mut labels: Vec<_> = examples.map(|one| one.defect.unwrap_or("unknown")).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    };
    assert_eq!(broken("ablation/flag-self-expiry"), ["told-only"]);
    assert_eq!(broken("ablation/flag-identity"), ["namesakes"]);
    assert_eq!(broken("ablation/flag-retry"), ["flaps"]);
    assert_eq!(broken("ablation/flag-lower-first"), ["released-first"]);
    assert_eq!(broken("upstream/ocm-flag"), ["G1", "G2", "G3", "G4", "G7", "G9"]);
}

#[test]
fn a_takeover_takes_no_longer_than_is_promised() {
    let ours = ["flag", "mutex", "locker", "writer-lease", "writer-lease-locked"];
    for name in ours.into_iter().chain(["upstream/ocm-flag"]) {
        let rows = algorithm(name).takeovers(3, 150).expect("it says how it is usually configured");
        assert_eq!(rows.len(), 4);
        for row in rows {
            let (longest, bound) =
                (row.longest().expect("some were taken over"), row.bound.expect("a bound"));
            assert!(row.never == 0 && longest <= bound, "{name}, {:?}: {longest} of {bound}", row.end);
            let is_prompt = row.end == End::Release && row.hints && ["flag", "mutex"].contains(&name);
            assert!(!is_prompt || longest.as_secs_f64() < 1.0, "{name}: a hint shortens it to {longest}");
        }
    }
    for name in ["upstream/acyl-locker", "upstream/openshift-writerlease"] {
        let rows = algorithm(name).takeovers(3, 50).expect("it says how it is usually configured");
        assert!(
            rows.iter().all(|row| row.bound.is_none() && row.times.len() == 50),
            "{name} promises nothing"
        );
    }
    assert!(algorithm("job").takeovers(3, 1).is_none());
}
