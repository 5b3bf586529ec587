//! The registrations of our flag, and of it without each of its protections.

use std::time::Duration;

use fencepost::flag::{Flag, FlagConfig, FlagProtection, FlagTerms};
use fencepost::time::Ppm;
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::Property;

use crate::algorithm::{Algorithm, Defect, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

/// What a flag promises: all that the lock does under which it is raised, and the order of terms.
const PROMISES: [Property; 14] = [
    Property::BelievedExclusion,
    Property::FencedExclusion,
    Property::NoTheft,
    Property::OwnerOnlyRelease,
    Property::OwnerOnlyRenewal,
    Property::LossNoticed,
    Property::NoOrphan,
    Property::Stability,
    Property::Progress,
    Property::Reconciliation,
    Property::Punctuality,
    Property::NoPanic,
    Property::Determinism,
    Property::TermsInOrder,
];

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    let mut all: Vec<Box<dyn Algorithm>> = vec![Box::new(flag())];
    all.extend(ABLATIONS.iter().map(|one| Box::new(ablated(one)) as Box<dyn Algorithm>));
    all
}

fn flag() -> Registration<Flag> {
    Registration::new("flag", "the leadership flag", |dice| flag_terms(dice, None))
        .promises(&PROMISES)
        .exhaustive(plans::flag(), |ticks| plans::flag_cases(ticks, None))
}

/// A configuration with room for one slow renewal, so that stability may be asked for.
fn flag_terms(dice: &mut Dice, ablated: Option<FlagProtection>) -> FlagTerms {
    let interval = Duration::from_millis(pick(dice, &[2_500, 4_990, 15_000, 30_000]));
    let config = FlagConfig {
        interval,
        check_interval: Duration::from_millis(pick(dice, &[50, 250, 1_000])),
        timeout: interval / pick(dice, &[5, 8, 30]),
        jitter: Ppm::percent(pick(dice, &[0, 10, 20])),
        drift: Ppm(pick(dice, &[200, 10_000, 50_000])),
        delay_bound: Duration::from_millis(pick(dice, &[1, 20, 50])),
        ablated,
        ..FlagConfig::new("flag", "process")
    };
    config.terms().expect("every combination of these leaves room for a failed renewal")
}

/// A protection of a flag, and what breaks without it.
struct Ablation {
    protection: FlagProtection,
    name: &'static str,
    about: &'static str,
    defect: Defect,
    /// What has to go wrong before it is missed.
    needs: &'static [Fault],
}

const ABLATIONS: [Ablation; 5] = [
    Ablation {
        protection: FlagProtection::SelfExpiry,
        name: "ablation/flag-self-expiry",
        about: "the flag that is raised until it is told otherwise",
        defect: Defect {
            label: "told-only",
            sentence: "a process that stood still says that it leads, beside its successor, until it is moved",
            breaks: &[Property::BelievedExclusion],
            recognise: |_| true,
        },
        needs: &[Fault::Pause],
    },
    Ablation {
        protection: FlagProtection::Identity,
        name: "ablation/flag-identity",
        about: "the flag whose record names a process, and not which one of that name",
        defect: Defect {
            label: "namesakes",
            sentence: "whoever finds a record of its name takes it for its own, and leads beside its owner",
            breaks: &[
                Property::BelievedExclusion,
                Property::FencedExclusion,
                Property::OwnerOnlyRelease,
                Property::OwnerOnlyRenewal,
                Property::LossNoticed,
                Property::Stability,
            ],
            recognise: |_| true,
        },
        needs: &[],
    },
    Ablation {
        protection: FlagProtection::RetryInsideInterval,
        name: "ablation/flag-retry",
        about: "the flag that renews until the first failure",
        defect: Defect {
            label: "flaps",
            sentence: "one failed renewal lowers the flag",
            breaks: &[Property::Stability],
            recognise: |_| true,
        },
        needs: &[],
    },
    Ablation {
        protection: FlagProtection::LowerFirst,
        name: "ablation/flag-lower-first",
        about: "the flag that is lowered when its release has come to an end",
        defect: Defect {
            label: "released-first",
            sentence: "whoever resigns says that it leads although the store has already let another one in",
            breaks: &[Property::BelievedExclusion],
            recognise: |_| true,
        },
        needs: &[Fault::Delay],
    },
    Ablation {
        protection: FlagProtection::TermOrder,
        name: "ablation/flag-term-order",
        about: "the flag that believes whatever leader it reads of",
        defect: Defect {
            label: "old-news",
            sentence: "a replica that lags shows a leader whose successor was seen before",
            breaks: &[Property::TermsInOrder],
            recognise: |_| true,
        },
        needs: &[Fault::StaleRead],
    },
];

fn ablated(ablation: &Ablation) -> Registration<Flag> {
    let protection = ablation.protection;
    Registration::new(ablation.name, ablation.about, move |dice| flag_terms(dice, Some(protection)))
        .promises(&PROMISES)
        .exhaustive(plans::ablated_flag(protection), move |ticks| plans::flag_cases(ticks, Some(protection)))
        .suffers(FaultSet::of(ablation.needs))
        .known_defects(&[ablation.defect])
}
