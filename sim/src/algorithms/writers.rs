//! The registrations of our writer, in both modes, and without each of its protections; and of its original.

use std::time::Duration;

use fencepost::mutex::{Fairness, MutexConfig};
use fencepost::time::{Ppm, Span};
use fencepost::writer::{Arbiter, Backoff, WriterConfig, WriterLease, WriterProtection, WriterTerms};
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::{Cause, Property};
use fencepost_models::subject::JobId;
use fencepost_models::upstream::openshift_writerlease::{Writerlease, WriterleaseConfig};

use super::ablation::{Ablation, ablation};
use super::mutex_config;
use crate::algorithm::{Algorithm, Defect, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

type Writer = WriterLease<JobId>;

/// What a writer promises that has no lock: nothing that would exclude anybody.
const BY_WORK: [Property; 7] = [
    Property::LossNoticed,
    Property::Progress,
    Property::NoPanic,
    Property::Determinism,
    Property::NoJobLost,
    Property::NothingAfterClose,
    Property::Promptness,
];

/// What a writer promises whose work runs under a lock.
const BY_LOCK: [Property; 12] = [
    Property::BelievedExclusion,
    Property::FencedExclusion,
    Property::NoTheft,
    Property::OwnerOnlyRelease,
    Property::OwnerOnlyRenewal,
    Property::LossNoticed,
    Property::NoOrphan,
    Property::Progress,
    Property::NoPanic,
    Property::Determinism,
    Property::NoJobLost,
    Property::NothingAfterClose,
];

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    let mut all: Vec<Box<dyn Algorithm>> = vec![Box::new(by_work()), Box::new(by_lock())];
    all.extend(ABLATIONS.iter().map(|one| Box::new(ablated(one)) as Box<dyn Algorithm>));
    all.push(Box::new(original()));
    all
}

fn by_work() -> Registration<Writer> {
    Registration::new("writer-lease", "leadership by competing to do work", |dice| terms(dice, false, None))
        .promises(&BY_WORK)
        .exhaustive(plans::writer(false), |ticks| plans::writer_cases(ticks, false, None))
        .usually(usual(Arbiter::Work))
        .meets(faults_without_store())
        .suffers(FaultSet::of(&[Fault::CallbackFails]))
}

fn usual(arbiter: Arbiter) -> WriterTerms {
    WriterConfig { arbiter, ..WriterConfig::default() }.terms().expect("the defaults are sound")
}

fn by_lock() -> Registration<Writer> {
    Registration::new("writer-lease-locked", "leadership by competing to do work, under a lock", |dice| {
        terms(dice, true, None)
    })
    .promises(&BY_LOCK)
    .exhaustive(plans::writer(true), |ticks| plans::writer_cases(ticks, true, None))
    .usually(usual(Arbiter::Lock(MutexConfig::default())))
    .suffers(FaultSet::of(&[Fault::CallbackFails]))
}

/// What can happen to those who ask no store.
pub(super) fn faults_without_store() -> FaultSet {
    FaultSet::of(&[
        Fault::Crash,
        Fault::Pause,
        Fault::Suspend,
        Fault::Drift,
        Fault::WallJump,
        Fault::Cancel,
        Fault::ForgetUnlock,
    ])
}

fn terms(dice: &mut Dice, locked: bool, ablated: Option<WriterProtection>) -> WriterTerms {
    let first = Duration::from_millis(pick(dice, &[5, 20, 100]));
    let backoff = Backoff {
        first,
        factor: pick(dice, &[2, 4]),
        steps: pick(dice, &[3, 5]),
        jitter: Ppm::percent(pick(dice, &[0, 50])),
    };
    let arbiter = if locked { Arbiter::Lock(mutex_config(dice, Fairness::Unordered)) } else { Arbiter::Work };
    let config = WriterConfig {
        term: Duration::from_secs(pick(dice, &[2, 10, 60])),
        retry_interval: Duration::from_secs(pick(dice, &[1, 3])),
        backoff,
        slots: pick(dice, &[3, 16]),
        arbiter,
        ablated,
    };
    config.terms().expect("every combination of these makes sense")
}

const ABLATIONS: [Ablation<WriterProtection>; 6] = [
    ablation(
        WriterProtection::OwnTerm,
        ["ablation/writer-own-term", "the writer whose leader does not read the end of its own term"],
        ["endless", "an idle leader goes on leading, whoever has done the work since"],
        &[Property::LossNoticed],
    ),
    ablation(
        WriterProtection::WorkIdentity,
        ["ablation/writer-work-id", "the writer that takes news of any work under a key for news of all"],
        ["erased", "news of an older value erases the newer one that is wanted, and nobody writes it"],
        &[Property::NoJobLost],
    ),
    ablation(
        WriterProtection::OneStepPerWait,
        ["ablation/writer-one-step", "the writer whose wait is longer by one step for each key it sees"],
        ["crowd", "many keys that are seen at once make the longest wait"],
        &[Property::Promptness],
    ),
    ablation(
        WriterProtection::FirstEnd,
        [
            "ablation/writer-first-end",
            "the writer whose waits end with a unit that has done or lost something",
        ],
        ["undecided", "nothing was to be done, and who waits to learn who leads waits for ever"],
        &[Property::Progress],
    ),
    ablation(
        WriterProtection::Join,
        ["ablation/writer-join", "the writer whose stop does not wait for what runs"],
        ["unjoined", "a unit runs on after the writer has stopped"],
        &[Property::NothingAfterClose],
    ),
    ablation(
        WriterProtection::UnderLock,
        ["ablation/writer-under-lock", "the writer that goes on leading when its lock is lost"],
        ["unlocked", "who has lost the lock goes on leading beside the next one"],
        &[Property::BelievedExclusion, Property::LossNoticed, Property::NoOrphan],
    ),
];

fn ablated(ablation: &Ablation<WriterProtection>) -> Registration<Writer> {
    let protection = ablation.protection;
    let locked = protection == WriterProtection::UnderLock;
    let registration = ablation.register(move |dice| terms(dice, locked, Some(protection)));
    let registration = match plans::ablated_writer(protection) {
        Some(plan) => {
            registration.exhaustive(plan, move |ticks| plans::writer_cases(ticks, locked, Some(protection)))
        }
        None => registration,
    };
    let needed = FaultSet::of(&[Fault::CallbackFails, Fault::Cancel]);
    if locked {
        registration.promises(&BY_LOCK).suffers(needed)
    } else {
        registration.promises(&BY_WORK).meets(faults_without_store()).suffers(needed)
    }
}

fn original() -> Registration<Writerlease> {
    Registration::new("upstream/openshift-writerlease", "the writer lease of OpenShift's router", |dice| {
        WriterleaseConfig {
            lease: Span::from_secs(pick(dice, &[5, 20, 60])),
            retry_interval: Span::from_secs(3),
            ..WriterleaseConfig::default()
        }
    })
    .promises(&[
        Property::BelievedExclusion,
        Property::LossNoticed,
        Property::Progress,
        Property::NoPanic,
        Property::NoJobLost,
        Property::NothingAfterClose,
        Property::Promptness,
    ])
    .exhaustive(plans::writerlease(), plans::writerlease_cases)
    .usually(WriterleaseConfig::default())
    .meets(faults_without_store())
    .suffers(FaultSet::of(&[Fault::CallbackFails, Fault::Cancel]))
    .known_defects(&[W1, W2, W3, W4, W5, W6, W7, W8])
}

const W1: Defect = Defect {
    label: "W1",
    sentence: "two who succeed in writing different keys both lead, until one fails",
    breaks: &[Property::BelievedExclusion],
    recognise: |violation| violation.facts.cause != Some(Cause::Lapsed),
};

const W2: Defect = Defect {
    label: "W2",
    sentence: "nobody reads the end of a leader's term: an idle one leads for ever, and acts at once",
    breaks: &[Property::LossNoticed, Property::BelievedExclusion],
    recognise: |violation| violation.facts.cause == Some(Cause::Lapsed),
};

const W3: Defect = Defect {
    label: "W3",
    sentence: "what was seen done erases what is wanted since, and that is never written",
    breaks: &[Property::NoJobLost],
    recognise: |violation| violation.facts.cause == Some(Cause::Overlaid),
};

const W4: Defect = Defect {
    label: "W4",
    sentence: "a wait ends with a success or a failure only: where nothing is to be done it lasts for ever",
    breaks: &[Property::Progress],
    recognise: |violation| violation.facts.cause == Some(Cause::Undecided),
};

const W5: Defect = Defect {
    label: "W5",
    sentence: "the only worker works or sleeps over one key, and all others wait; nothing wakes it",
    breaks: &[Property::Promptness],
    recognise: |violation| violation.facts.cause == Some(Cause::HeldUp),
};

const W6: Defect = Defect {
    label: "W6",
    sentence: "a stop does not wait for the worker, which goes on with what is in the queue",
    breaks: &[Property::NothingAfterClose],
    recognise: |_| true,
};

const W7: Defect = Defect {
    label: "W7",
    sentence: "work that panics ends the only worker, and nothing is done any more",
    breaks: &[Property::NoJobLost, Property::Progress],
    recognise: |violation| violation.facts.cause == Some(Cause::Panicked),
};

const W8: Defect = Defect {
    label: "W8",
    sentence: "each key that is seen makes the wait longer by a step: a few of them, and it is the longest",
    breaks: &[Property::Promptness],
    recognise: |violation| violation.facts.cause.is_none(),
};
