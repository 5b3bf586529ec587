//! What the laboratory promises of jobs: ours survive, each protection is needed, and the originals are caught.

mod common;

use fencepost_sim::{Algorithm, Budget, CheckPlan, Fault, FaultSet, Property, Report, Ruling, Spend, hunt};

use common::{algorithm, assert_found, assert_known, assert_refuted, assert_replays, assert_shown};

#[test]
fn jobs_survive_the_storm_and_every_fault_is_noticed() {
    let (job, once) = (algorithm("job"), algorithm("once"));
    let reports = [hunt(&*job).seeds(500).run(), hunt(&*once).seeds(150).run()];
    let mut ledger = reports[0].ledger.clone();
    reports.iter().for_each(Report::expect_clean);
    ledger.merge(&reports[1].ledger);
    // An entry of a job that expires too early or too late is seldom looked at then.
    let seldom = FaultSet::of(&[Fault::ExpiryEarly, Fault::ExpiryLate]);
    assert_eq!(ledger.unproven().without(seldom), FaultSet::NONE);
}

#[test]
fn each_protection_of_a_job_is_needed() {
    assert_found("ablation/job-occurrence-claim", 60, &["unclaimed"]);
    assert_found("ablation/job-interrupt", 300, &["uninterrupted"]);
    assert_found("ablation/job-claim-first", 120, &["too-soon"]);
    assert_found("ablation/once-claim", 20, &["unclaimed"]);
    assert_found("ablation/once-generation", 20, &["stale-timer"]);
    assert_found("ablation/once-claim-first", 20, &["too-soon"]);
}

#[test]
fn the_job_of_the_plugin_api_shows_its_defects_and_no_others() {
    assert_found("upstream/plugin-api-job", 3_000, &["J1", "J2", "J3", "J4", "J5"]);
}

#[test]
fn the_scheduler_of_the_plugin_api_is_caught() {
    assert_found("upstream/plugin-api-once", 30, &["O1", "O3", "O4", "O9"]);
}

/// Four reads in a row have to fail just when a job is due: most seeds do not come to it.
#[test]
fn a_replica_that_is_away_costs_a_job_of_the_plugin_api() {
    let algorithm = algorithm("upstream/plugin-api-once");
    let report = hunt(&*algorithm).from_seed(103).seeds(1).run();
    assert_known("upstream/plugin-api-once", &report);
    assert_shown(&*algorithm, &report.find("O5").expect("it is found").trace);
}

/// Every interleaving: what is proved, and in how many states, so that a lost transition fails here.
#[test]
fn a_job_and_a_job_that_runs_once_are_proved() {
    let job = Budget::NONE.with(Spend::Crash, 1);
    let once = Budget::NONE.with(Spend::Schedule, 1).with(Spend::Failure, 1);
    for (name, budget, states) in [("job", job, JOB), ("once", once, ONCE)] {
        let algorithm = algorithm(name);
        let usual = algorithm.check_plan().expect("it has one").clone();
        let plan = CheckPlan { budget, apart: false, ..usual };
        let results = algorithm.check(&plan, &|_| true).expect("the plan makes sense");
        for checked in &results {
            assert!(checked.is_proved() && !checked.is_violated(), "{name}: {checked:#?}");
            for property in [Property::OncePerOccurrence, Property::NoJobLost] {
                let row = checked.rows.iter().find(|row| row.property == property);
                assert_eq!(row.map(|row| &row.ruling), Some(&Ruling::Proved), "{name}: {property}");
            }
        }
        let found: Vec<u64> = results.iter().map(|checked| checked.states).collect();
        assert_eq!(found, states, "{name}");
    }
}

/// Everything that was asked is proved, in so many states of each configuration.
fn assert_proved(algorithm: &dyn Algorithm, plan: &CheckPlan, states: &[u64]) {
    let results = algorithm.check(plan, &|_| true).expect("the plan makes sense");
    results.iter().for_each(|checked| assert!(checked.is_proved(), "{checked:#?}"));
    let found: Vec<u64> = results.iter().map(|checked| checked.states).collect();
    assert_eq!(found, states, "{plan:?}");
}

/// In whatever order steps are tried that come to the same.
#[test]
fn a_job_that_runs_once_is_proved_whoever_goes_first() {
    let once = algorithm("once");
    let usual = once.check_plan().expect("it has one").clone();
    for (reduction, states) in [(false, WHOLE), (true, REDUCED)] {
        let budget = Budget::NONE.with(Spend::Schedule, 1);
        let plan = CheckPlan { reduction, budget, apart: false, ..usual.clone() };
        assert_proved(&*once, &plan, states);
    }
}

/// Of two jobs, too, if whoever schedules one does so before time passes: the graph of what comes of it is smaller.
#[test]
fn jobs_that_are_scheduled_at_once_are_proved_in_fewer_states() {
    let once = algorithm("once");
    let usual = once.check_plan().expect("it has one").clone();
    let budget = Budget::NONE.with(Spend::Schedule, 1);
    for (jobs, states) in [(1, AT_ONCE), (2, ONE_OF_TWO_AT_ONCE)] {
        let plan = CheckPlan { jobs, at_once: true, budget, apart: false, ..usual.clone() };
        assert_proved(&*once, &plan, states);
    }
}

#[test]
fn a_check_misses_each_protection_too() {
    for (name, property) in [
        ("ablation/job-occurrence-claim", Property::OncePerOccurrence),
        ("ablation/job-interrupt", Property::LossNoticed),
        ("ablation/once-claim-first", Property::OncePerOccurrence),
    ] {
        assert_refuted(name, property);
    }
}

/// Of the defects of the originals, what two instances and one fault can show.
#[test]
fn a_check_finds_the_defects_of_the_originals() {
    let (job, once) = ("upstream/plugin-api-job", "upstream/plugin-api-once");
    let at_a_jump = [(Spend::Schedule, 1), (Spend::Jump, 1)];
    // Where jobs are taken back there are too many states; the one without a key comes to an end at once.
    let taken_back = [(Spend::Schedule, 1), (Spend::Withdraw, 1)];
    for (name, budget, max_states, labels, states) in [
        (job, None, 1_000_000, &["J1", "J2", "J3", "J4", "J5"][..], Some(UPSTREAM_JOB)),
        (once, Some(at_a_jump), 1_000_000, &["O1", "O2"], None),
        (once, Some(taken_back), 10_000, &["O9"], None),
    ] {
        let algorithm = algorithm(name);
        let usual = algorithm.check_plan().expect("it has one").clone();
        let of = |budget: [(Spend, u8); 2]| {
            budget.into_iter().fold(Budget::NONE, |all, (what, times)| all.with(what, times))
        };
        let apart = budget.is_none();
        let plan = CheckPlan { budget: budget.map_or(usual.budget, of), apart, max_states, ..usual };
        let results = algorithm.check(&plan, &|_| true).expect("the plan makes sense");
        let examples: Vec<_> = results.iter().flat_map(|checked| &checked.counterexamples).collect();
        for label in labels {
            assert!(examples.iter().any(|one| one.defect == Some(*label)), "{name}: {label}");
        }
        results.iter().for_each(|checked| assert_replays(&*algorithm, checked));
        if let Some(states) = states {
            let found: Vec<u64> = results.iter().map(|checked| checked.states).collect();
            assert_eq!(found, states, "{name}");
        }
    }
}

const UPSTREAM_JOB: &[u64] = &[153_272, 153_936];
const JOB: &[u64] = &[14_590];
const WHOLE: &[u64] = &[9_521, 10_487];
const REDUCED: &[u64] = &[8_256, 9_222];
const AT_ONCE: &[u64] = &[6_919, 7_507];
const ONE_OF_TWO_AT_ONCE: &[u64] = &[13_808, 14_984];
const ONCE: &[u64] = &[15_092, 49_260];
