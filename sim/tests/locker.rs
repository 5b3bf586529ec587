//! What the laboratory promises of the locker: ours survives, each protection is needed, and the originals are caught.

mod common;

use fencepost_sim::{Budget, CheckPlan, FaultSet, Faults, Property, Spend, hunt};

use common::{algorithm, assert_known, assert_refuted};

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
