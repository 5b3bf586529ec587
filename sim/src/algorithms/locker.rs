//! The registrations of our locker, and of what is left of it without each of its protections.

use std::time::Duration;

use fencepost::locker::{Locker, LockerConfig, LockerProtection, LockerTerms};
use fencepost::mutex::Fairness;
use fencepost_models::fault::Fault;
use fencepost_models::property::Property;

use super::ablation::{Ablation, ablation};
use super::mutex_config;
use crate::algorithm::{Algorithm, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    let mut all: Vec<Box<dyn Algorithm>> = vec![Box::new(locker())];
    all.extend(ABLATIONS.iter().map(|one| Box::new(ablated(one)) as Box<dyn Algorithm>));
    all
}

fn locker() -> Registration<Locker> {
    Registration::new("locker", "the preemptive lock: the newest request wins", |dice| sound(&config(dice)))
        // What a mutex does, and that newer requests are heard of, holding is bounded, and somebody gets in.
        .also(&Property::OF_PREEMPTION)
        .exhaustive(plans::locker(), |ticks| plans::locker_cases(ticks, None))
        .usually(sound(&LockerConfig::default()))
}

/// Lengths that are short enough for each of them to matter within a run.
fn config(dice: &mut Dice) -> LockerConfig {
    let millis = |millis: u64| (millis > 0).then(|| Duration::from_millis(millis));
    LockerConfig {
        mutex: mutex_config(dice, Fairness::Unordered),
        lock_timeout: None,
        max_lock_duration: millis(pick(dice, &[4_000, 10_000, 30_000])),
        preemption_timeout: millis(pick(dice, &[500, 2_000, 5_000])),
        lock_delay: millis(pick(dice, &[0, 500, 2_000, 6_000])),
        storm_bound: millis(pick(dice, &[2_000, 8_000])),
        ablated: None,
    }
}

fn sound(config: &LockerConfig) -> LockerTerms {
    config.terms().expect("every combination of these leaves room for a failed renewal")
}

/// The same without one protection, where that can be missed.
fn ablated_terms(dice: &mut Dice, protection: LockerProtection) -> LockerTerms {
    let mut config = LockerConfig { ablated: Some(protection), ..config(dice) };
    match protection {
        LockerProtection::ListenBeforeClaim => config.lock_delay = Some(config.mutex.lease.ttl * 2),
        LockerProtection::StormBound => config.lock_delay = Some(Duration::from_secs(6)),
        LockerProtection::RecordedRequest => config.max_lock_duration = None,
        LockerProtection::RevokeBeforeEntry | LockerProtection::WaiterLooks | LockerProtection::OwnLimit => {}
    }
    sound(&config)
}

const ABLATIONS: [Ablation<LockerProtection>; 6] = [
    ablation(
        LockerProtection::RevokeBeforeEntry,
        [
            "ablation/locker-revoke",
            "the locker whose contender writes itself over a holder that does not yield",
        ],
        ["no-revoke", "a contender enters beside a holder that does not know it was put out"],
        &[Property::NoTheft, Property::BelievedExclusion, Property::Stability],
    )
    .needs(&[Fault::ForgetUnlock, Fault::RequestLost, Fault::ReplyLost]),
    ablation(
        LockerProtection::RecordedRequest,
        ["ablation/locker-record", "the locker whose holder only hears a hint that is sent once"],
        ["hint-only", "a hint that is lost is never repeated, and the holder goes on"],
        &[Property::PreemptionNoticed, Property::NoStarvation, Property::Stability, Property::Progress],
    )
    .needs(&[Fault::HintLost, Fault::ForgetUnlock]),
    ablation(
        LockerProtection::ListenBeforeClaim,
        ["ablation/locker-listen", "the locker that claims before it can be superseded"],
        ["deaf", "whoever has the lock and waits out its delay does not hear of a newer request"],
        &[
            Property::PreemptionNoticed,
            Property::NoStarvation,
            Property::Stability,
            Property::Reconciliation,
            Property::Progress,
        ],
    ),
    ablation(
        LockerProtection::WaiterLooks,
        ["ablation/locker-waiter", "the locker whose waiter looks only once it has the lock"],
        ["late", "whoever waits learns that it was superseded when it has the lock, and not before"],
        &[
            Property::PreemptionNoticed,
            Property::NoStarvation,
            Property::Stability,
            Property::Reconciliation,
            Property::Progress,
        ],
    ),
    ablation(
        LockerProtection::StormBound,
        ["ablation/locker-storm", "the locker whose requests supersede each other for ever"],
        ["storm", "requests come faster than the lock delay passes, and nobody ever gets in"],
        &[Property::NoStarvation, Property::Progress],
    ),
    ablation(
        LockerProtection::OwnLimit,
        ["ablation/locker-limit", "the locker whose holder does not end its own belief"],
        ["no-limit", "a holder that was asked, or whose time is up, goes on"],
        &[Property::BoundedHold, Property::NoStarvation, Property::Stability],
    )
    .needs(&[Fault::ForgetUnlock]),
];

fn ablated(ablation: &Ablation<LockerProtection>) -> Registration<Locker> {
    let protection = ablation.protection;
    ablation
        .register(move |dice| ablated_terms(dice, protection))
        .also(&Property::OF_PREEMPTION)
        .exhaustive(plans::ablated_locker(protection), move |ticks| {
            plans::locker_cases(ticks, Some(protection))
        })
}
