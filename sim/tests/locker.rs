//! What the laboratory promises of the locker: ours survives, each protection is needed, and the originals are caught.

mod common;

use fencepost_sim::{Budget, CheckPlan, FaultSet, Faults, Property, Spend, hunt};

use common::{algorithm, assert_known, assert_refuted, assert_replays};

#[test]
fn the_locker_survives_the_storm_and_every_fault_is_noticed() {
    let report = hunt(&*algorithm("locker")).seeds(300).run();
    report.expect_clean();
    assert_eq!(report.ledger.unproven(), FaultSet::NONE);
}

#[test]
fn without_faults_nobody_loses_anything() {
    for faults in [Faults::None, Faults::Calm] {
        hunt(&*algorithm("locker")).faults(faults).seeds(80).run().expect_clean();
    }
}

/// Takes one protection away and names the properties that fail; nothing fails that was not declared.
#[track_caller]
fn check_ablation(name: &str, seeds: u64, properties: &[Property]) {
    let report = hunt(&*algorithm(name)).seeds(seeds).run();
    let broken: Vec<_> = report.groups.iter().map(|group| group.property).collect();
    assert!(properties.iter().all(|property| broken.contains(property)), "{name} breaks {broken:?}");
    assert_known(name, &report);
}

#[test]
fn without_a_revocation_two_hold_the_lock() {
    check_ablation("ablation/locker-revoke", 60, &[Property::NoTheft]);
}

#[test]
fn without_a_record_a_lost_hint_is_never_repeated() {
    check_ablation("ablation/locker-record", 60, &[Property::PreemptionNoticed]);
}

#[test]
fn without_being_the_contender_first_nobody_is_superseded_in_time() {
    check_ablation("ablation/locker-listen", 40, &[Property::PreemptionNoticed]);
}

#[test]
fn without_looking_a_waiter_learns_too_late() {
    check_ablation("ablation/locker-waiter", 40, &[Property::PreemptionNoticed]);
}

#[test]
fn without_a_bound_a_storm_of_requests_starves_all() {
    check_ablation("ablation/locker-storm", 60, &[Property::NoStarvation]);
}

#[test]
fn without_its_own_limit_a_holder_goes_on() {
    check_ablation("ablation/locker-limit", 30, &[Property::BoundedHold]);
}

/// Every interleaving: what is proved, and in how many states, so that a lost transition fails here.
#[test]
fn a_locker_is_proved() {
    let algorithm = algorithm("locker");
    let usual = algorithm.check_plan().expect("it can be checked").clone();
    let states = |budget: Budget| {
        let plan = CheckPlan { budget, apart: false, ..usual.clone() };
        let checked = algorithm.check(&plan, &|_| true).expect("the plan is sound").remove(0);
        assert!(checked.is_proved(), "{budget:?}: {:?}", checked.rows);
        (checked.states, checked.generated)
    };
    assert_eq!(states(Budget::NONE), (22_880, 74_302));
    assert_eq!(states(Budget::NONE.with(Spend::ExtraUnlock, 1)), (54_028, 231_526));
}

#[test]
fn a_check_finds_who_enters_beside_a_holder_that_was_not_revoked() {
    assert_refuted("ablation/locker-revoke", Property::NoTheft);
}

/// What a check of an original finds within these bounds: labels, properties and lengths, over all configurations. Every
/// path can be applied again, and shows what it says.
fn shortest(name: &str, plan: &CheckPlan) -> Vec<(&'static str, Property, usize)> {
    let algorithm = algorithm(name);
    let results = algorithm.check(plan, &|_| true).expect("the plan is sound");
    results.iter().for_each(|checked| assert_replays(&*algorithm, checked));
    let examples = results.iter().flat_map(|checked| &checked.counterexamples);
    let mut found: Vec<_> = examples
        .map(|one| (one.defect.unwrap_or("undeclared"), one.property, one.trace.steps.len()))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|(label, property, _)| (*label, *property));
    found
}

fn usual(name: &str) -> CheckPlan {
    algorithm(name).check_plan().expect("it can be checked").clone()
}

#[test]
fn a_check_finds_what_a_partition_does_to_the_locker_of_acyl() {
    let name = "upstream/acyl-locker";
    assert_eq!(shortest(name, &usual(name)), [("L6", Property::BelievedExclusion, 18)]);
}

/// Nothing goes wrong but that a caller does not receive from its channel while it holds.
#[test]
fn a_check_finds_whom_the_locker_of_acyl_unlocks_without_a_word() {
    let name = "upstream/acyl-locker";
    let plan = CheckPlan { budget: Budget::NONE, max_states: 300_000, ..usual(name) };
    assert_eq!(shortest(name, &plan), [("L2", Property::BelievedExclusion, 46)]);
}

/// One process and two unknown answers: its own connections are in its way.
#[test]
fn a_check_finds_the_connections_that_the_locker_of_acyl_keeps() {
    let name = "upstream/acyl-locker";
    let plan = CheckPlan { instances: 1, budget: Budget::NONE.with(Spend::Unknown, 2), ..usual(name) };
    let expected = [("L7", Property::NoOrphan, 33), ("L9", Property::Progress, 142)];
    assert_eq!(shortest(name, &plan), expected);
}

#[test]
fn a_check_finds_every_defect_of_the_fake_of_acyl() {
    let name = "upstream/acyl-fake-locker";
    let plan = CheckPlan { max_states: 400_000, keep_going: true, budget: Budget::NONE, ..usual(name) };
    let expected = [
        ("F1", Property::Progress, 37),
        ("F2", Property::BelievedExclusion, 36),
        ("F2", Property::OwnerOnlyRelease, 22),
        ("F3", Property::OwnerOnlyRelease, 37),
        ("F4", Property::BelievedExclusion, 36),
    ];
    assert_eq!(shortest(name, &plan), expected);
}

/// With one unlock too many, they are nearer.
#[test]
fn a_check_finds_what_an_unlock_too_many_does_to_the_fake_of_acyl() {
    let name = "upstream/acyl-fake-locker";
    let expected = [
        ("F2", Property::BelievedExclusion, 23),
        ("F2", Property::OwnerOnlyRelease, 8),
        ("F4", Property::BelievedExclusion, 23),
    ];
    assert_eq!(shortest(name, &usual(name)), expected);
}
