//! The registrations of our flag, of it without each of its protections, and of its original with what is known to be
//! wrong with it.

use std::time::Duration;

use fencepost::flag::{Flag, FlagConfig, FlagProtection, FlagTerms};
use fencepost::time::{Ppm, Span};
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::{Fate, Property, Violation};
use fencepost_models::subject::Knot;
use fencepost_models::upstream::ocm_flag::{OcmConfig, OcmFlag};

use super::ablation::{Ablation, ablation};
use super::mattermost_faults;
use crate::algorithm::{Algorithm, Defect, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    let mut all: Vec<Box<dyn Algorithm>> = vec![Box::new(flag())];
    all.extend(ABLATIONS.iter().map(|one| Box::new(ablated(one)) as Box<dyn Algorithm>));
    all.push(Box::new(ocm_flag()));
    all
}

fn flag() -> Registration<Flag> {
    Registration::new("flag", "the leadership flag", |dice| flag_terms(dice, None))
        // All that the lock promises under which it is raised.
        .also(&[Property::TermsInOrder])
        .usually(FlagConfig::new("flag", "process").terms().expect("the defaults are sound"))
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

const ABLATIONS: [Ablation<FlagProtection>; 5] = [
    ablation(
        FlagProtection::SelfExpiry,
        ["ablation/flag-self-expiry", "the flag that is raised until it is told otherwise"],
        [
            "told-only",
            "a process that stood still says that it leads, beside its successor, until it is moved",
        ],
        &[Property::BelievedExclusion],
    )
    .needs(&[Fault::Pause]),
    ablation(
        FlagProtection::Identity,
        ["ablation/flag-identity", "the flag whose record names a process, and not which one of that name"],
        ["namesakes", "whoever finds a record of its name takes it for its own, and leads beside its owner"],
        &[
            Property::BelievedExclusion,
            Property::FencedExclusion,
            Property::OwnerOnlyRelease,
            Property::OwnerOnlyRenewal,
            Property::LossNoticed,
            Property::Stability,
            Property::TermsInOrder,
        ],
    ),
    ablation(
        FlagProtection::RetryInsideInterval,
        ["ablation/flag-retry", "the flag that renews until the first failure"],
        ["flaps", "one failed renewal lowers the flag"],
        &[Property::Stability],
    ),
    ablation(
        FlagProtection::LowerFirst,
        ["ablation/flag-lower-first", "the flag that is lowered when its release has come to an end"],
        [
            "released-first",
            "whoever resigns says that it leads although the store has already let another one in",
        ],
        &[Property::BelievedExclusion],
    )
    .needs(&[Fault::Delay]),
    ablation(
        FlagProtection::TermOrder,
        ["ablation/flag-term-order", "the flag that believes whatever leader it reads of"],
        ["old-news", "a replica that lags shows a leader whose successor was seen before"],
        &[Property::TermsInOrder],
    )
    .needs(&[Fault::StaleRead]),
];

fn ablated(ablation: &Ablation<FlagProtection>) -> Registration<Flag> {
    let protection = ablation.protection;
    ablation
        .register(move |dice| flag_terms(dice, Some(protection)))
        .also(&[Property::TermsInOrder])
        .exhaustive(plans::ablated_flag(protection), move |ticks| plans::flag_cases(ticks, Some(protection)))
}

/// What the leadership package says of itself: only one of the processes sees the flag raised at any point in time.
const OCM_PROMISES: [Property; 5] = [
    Property::BelievedExclusion,
    Property::OwnerOnlyRenewal,
    Property::Stability,
    Property::Progress,
    Property::NoPanic,
];

/// The original. It states no assumption, and is held to none.
fn ocm_flag() -> Registration<OcmFlag> {
    let mut faults = mattermost_faults();
    [Fault::Failover, Fault::UnlockTwice].into_iter().for_each(|fault| faults.add(fault));
    Registration::new("upstream/ocm-flag", "the leadership flag of OCM's SDK for Go", ocm_config)
        .promises(&OCM_PROMISES)
        .meets(faults)
        .suffers_at_times(FaultSet::of(&[Fault::StoreJump]))
        .strictly()
        .usually(OcmConfig::default())
        .exhaustive(plans::ocm_flag(), plans::ocm_flag_cases)
        .known_defects(&[G2, G4, G7, G5, G6, G9, G1, G3])
}

/// The default and shorter intervals, all of which its validation accepts.
fn ocm_config(dice: &mut Dice) -> OcmConfig {
    OcmConfig {
        interval: Span::from_secs(pick(dice, &[1, 5, 30])),
        timeout: Span::from_secs(1),
        jitter: pick(dice, &[Ppm::percent(20), Ppm::percent(20), Ppm::ONE]),
        namesakes: pick(dice, &[false, false, false, false, true]),
        build_deadline: pick(dice, &[None, None, None, None, Some(Span::from_secs(10))]),
    }
}

const STANDSTILLS: [Fault; 2] = [Fault::Pause, Fault::Suspend];

/// What makes a single statement fail.
const FAILURES: [Fault; 9] = [
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::RequestLost,
    Fault::ReplyLost,
    Fault::Delay,
    Fault::CutToStore,
    Fault::CutFromStore,
    Fault::StorePause,
    Fault::StoreRestart,
];

fn clock_was_set(violation: &Violation) -> bool {
    violation.facts.culprit.or(violation.facts.other).has(Fault::StoreJump)
}

const G1: Defect = Defect {
    label: "G1",
    sentence: "a process that stood still says that it leads, beside its successor, until its next check ends",
    breaks: &[Property::BelievedExclusion],
    recognise: |violation| violation.facts.culprit.has_any(&STANDSTILLS),
};

const G2: Defect = Defect {
    label: "G2",
    sentence: "closing stops the checks and leaves the flag raised for ever; closing again crashes the process",
    breaks: &[Property::BelievedExclusion, Property::NoPanic],
    recognise: |violation| violation.property == Property::NoPanic || violation.facts.ended,
};

const G3: Defect = Defect {
    label: "G3",
    sentence: "checks with slow statements or long pauses, all of them valid, are rarer than a row may get old",
    breaks: &[Property::BelievedExclusion, Property::Stability],
    recognise: |violation| violation.facts.fate == Fate::Natural,
};

const G4: Defect = Defect {
    label: "G4",
    sentence: "two processes of one name renew the row in turn, and both lead",
    breaks: &[Property::OwnerOnlyRenewal, Property::BelievedExclusion, Property::Stability],
    recognise: |violation| {
        violation.property == Property::OwnerOnlyRenewal || violation.facts.fate == Fate::Renewed
    },
};

const G5: Defect = Defect {
    label: "G5",
    sentence: "the database's clock is set ahead and the row is stolen, or set back and nobody takes it over",
    breaks: &[Property::BelievedExclusion, Property::Stability, Property::Progress],
    recognise: clock_was_set,
};

const G6: Defect = Defect {
    label: "G6",
    sentence: "a failover loses the last update, another one takes the row over, and the leader is not told",
    breaks: &[Property::BelievedExclusion, Property::Stability],
    recognise: |violation| violation.facts.culprit.or(violation.facts.other).has(Fault::Failover),
};

const G7: Defect = Defect {
    label: "G7",
    sentence: "a flag that was built with a context which ends fails every check from then on",
    breaks: &[Property::Progress, Property::Stability],
    recognise: |violation| violation.facts.knot == Some(Knot::Context),
};

const G9: Defect = Defect {
    label: "G9",
    sentence: "one statement that fails lowers the flag, though the row is its own and fresh",
    breaks: &[Property::Stability],
    recognise: |violation| violation.facts.culprit.has_any(&FAILURES),
};
