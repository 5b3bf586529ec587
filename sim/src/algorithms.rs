//! The list of registrations behind `fencelab`: our algorithms, each of them without one of its protections, and
//! the originals.

mod ablation;
mod jobs;
mod leaders;
mod locker;
mod recorded;
mod upstream_jobs;
mod upstream_locker;
mod writers;

use std::time::Duration;

use fencepost::lease::{LeaseConfig, Protection};
use fencepost::mutex::{Fairness, Mutex, MutexConfig, MutexTerms};
use fencepost::time::{Ppm, Span};
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::{Fate, Property, Violation};
use fencepost_models::upstream::calls_mutex::{CallsConfig, CallsMutex};
use fencepost_models::upstream::plugin_api_mutex::{PluginApiConfig, PluginApiMutex};

use crate::algorithm::{Algorithm, Defect, Dice, Registration};
use crate::cli::Lab;
use crate::plans;
use crate::scenario::pick;

use ablation::{Ablation, ablation};

pub(crate) use jobs::PROMISES as JOB_PROMISES;
pub use recorded::recordings;

/// The laboratory of `fencelab`.
pub fn lab() -> Lab {
    algorithms().into_iter().fold(Lab::new(), Lab::with_boxed)
}

/// Every algorithm of `fencelab`.
pub fn algorithms() -> Vec<Box<dyn Algorithm>> {
    let mut all: Vec<Box<dyn Algorithm>> =
        vec![Box::new(mutex("mutex", Fairness::Unordered)), Box::new(mutex("mutex-fifo", Fairness::Fifo))];
    all.extend(ABLATIONS.iter().map(|ablation| Box::new(ablated(ablation.protection)) as Box<dyn Algorithm>));
    all.extend([
        Box::new(without_queue()) as Box<dyn Algorithm>,
        Box::new(wiped_counter()),
        Box::new(reused_identity()),
        Box::new(plugin_api_mutex()),
        Box::new(calls_mutex()),
    ]);
    all.extend(jobs::all());
    all.extend(locker::all());
    all.extend(upstream_jobs::all());
    all.extend(leaders::all());
    all.extend(upstream_locker::all());
    all.extend(writers::all());
    all
}

/// The mutex over a store that forgets its counter, which is no part of any storm: it shows what no lock survives.
fn wiped_counter() -> Registration<Mutex> {
    Registration::new("lab/wiped-counter", "the lease mutex over a store that forgets its counter", |dice| {
        mutex_terms(dice, Fairness::Unordered)
    })
    .promises(&[Property::FencedExclusion])
    .meets(FaultSet::of(&[Fault::Pause, Fault::Crash]))
    .suffers(FaultSet::of(&[Fault::CounterWiped]))
    .known_defects(&[Defect {
        label: "wiped",
        sentence: "a store that forgets its counter issues a token twice, and fencing fails",
        breaks: &[Property::FencedExclusion],
        recognise: |_| true,
    }])
}

/// The mutex on hosts that may name a new incarnation as they named the last one, which is no part of any storm: it
/// shows what a host's first duty is for.
fn reused_identity() -> Registration<Mutex> {
    Registration::new(
        "lab/reused-identity",
        "the lease mutex on a host that restarts under its old name",
        |dice| mutex_terms(dice, Fairness::Unordered),
    )
    .promises(&[Property::BelievedExclusion, Property::FencedExclusion, Property::Stability])
    .meets(FaultSet::of(&[Fault::Pause, Fault::Crash]))
    // Without a crash nobody begins again.
    .suffers(FaultSet::of(&[Fault::Crash, Fault::IdentityReused]))
    .known_defects(&[Defect {
        label: "reused",
        sentence: "a restarted instance takes what its dead namesake left for a lease of its own",
        breaks: &[Property::BelievedExclusion, Property::FencedExclusion, Property::Stability],
        recognise: |_| true,
    }])
}

fn mutex(name: &str, fairness: Fairness) -> Registration<Mutex> {
    let about = match fairness {
        Fairness::Unordered => "the lease mutex",
        Fairness::Fifo => "the lease mutex, first come first served",
    };
    let registration = Registration::new(name, about, move |dice| mutex_terms(dice, fairness))
        .exhaustive(plans::mutex(fairness), move |ticks| plans::mutex_cases(ticks, fairness, None));
    let usual = MutexConfig { fairness, ..MutexConfig::default() };
    let registration = registration.usually(sound(&usual));
    match fairness {
        Fairness::Unordered => registration,
        Fairness::Fifo => registration.also(&[Property::Order]),
    }
}

/// The unordered mutex, held to the order that only a queue gives.
fn without_queue() -> Registration<Mutex> {
    Registration::new("ablation/queue", "the lease mutex without its queue", |dice| {
        mutex_terms(dice, Fairness::Unordered)
    })
    .also(&[Property::Order])
    .exhaustive(plans::without_queue(), |ticks| plans::mutex_cases(ticks, Fairness::Unordered, None))
    .known_defects(&[Defect {
        label: "no-queue",
        sentence: "whoever polls at the right moment enters before those who have waited for long",
        breaks: &[Property::Order, Property::Progress],
        recognise: |_| true,
    }])
}

/// A configuration with room for one slow renewal, so that stability may be asked for.
fn mutex_config(dice: &mut Dice, fairness: Fairness) -> MutexConfig {
    let ttl = Duration::from_millis(pick(dice, &[2_500, 4_990, 15_000]));
    MutexConfig {
        lease: LeaseConfig {
            ttl,
            refresh_interval: ttl / pick(dice, &[4, 5, 8]),
            jitter: Ppm::percent(pick(dice, &[0, 10, 25])),
            renew_timeout: ttl / pick(dice, &[5, 8]),
            drift: Ppm(pick(dice, &[200, 10_000, 50_000])),
            delay_bound: Duration::from_millis(pick(dice, &[1, 20, 50])),
            ablated: None,
        },
        poll_interval: Duration::from_millis(pick(dice, &[50, 250, 1_000])),
        fairness,
        lock_delay: Duration::from_millis(pick(dice, &[0, 0, 1_000])),
        metrics_group: None,
    }
}

fn mutex_terms(dice: &mut Dice, fairness: Fairness) -> MutexTerms {
    sound(&mutex_config(dice, fairness))
}

fn sound(config: &MutexConfig) -> MutexTerms {
    config.terms().expect("every combination of these leaves room for a failed renewal")
}

/// The same without one protection; clocks that are known to be good would not need a margin.
fn ablated_terms(dice: &mut Dice, protection: Protection) -> MutexTerms {
    let mut config = mutex_config(dice, Fairness::Unordered);
    config.lease.ablated = Some(protection);
    if protection == Protection::DriftMargin {
        config.lease.drift = Ppm::percent(5);
        config.lease.delay_bound = Duration::from_millis(1);
        config.lock_delay = Duration::ZERO;
    }
    sound(&config)
}

const ABLATIONS: [Ablation<Protection>; 6] = [
    ablation(
        Protection::Identity,
        ["ablation/identity", "the lease mutex with one record for everybody"],
        ["identity", "whoever finds a record takes it for its own, and holds beside its owner"],
        &[
            Property::BelievedExclusion,
            Property::FencedExclusion,
            Property::OwnerOnlyRelease,
            Property::OwnerOnlyRenewal,
            Property::LossNoticed,
            Property::Stability,
        ],
    ),
    ablation(
        Protection::CompareOnRelease,
        ["ablation/compare-on-release", "the lease mutex with an unconditional delete"],
        ["release", "a late release deletes the entry of the next holder"],
        &[Property::OwnerOnlyRelease, Property::BelievedExclusion, Property::Stability],
    ),
    ablation(
        Protection::DeadlineFromSend,
        ["ablation/deadline-from-send", "the lease mutex with a lease that counts from the reply"],
        ["send-time", "a slow reply lets the holder believe longer than the store does"],
        &[Property::BelievedExclusion, Property::LossNoticed],
    )
    .needs(&[Fault::Delay, Fault::CutToStore]),
    ablation(
        Protection::RetryInsideTtl,
        ["ablation/retry-inside-ttl", "the lease mutex that renews until the first failure"],
        ["no-retry", "one failed renewal costs the lock"],
        &[Property::Stability],
    ),
    ablation(
        Protection::Reconciliation,
        ["ablation/reconciliation", "the lease mutex that forgets a claim of unknown outcome"],
        ["unreconciled", "a claim whose answer was lost makes its owner wait for itself"],
        &[Property::Reconciliation],
    ),
    ablation(
        Protection::DriftMargin,
        ["ablation/drift-margin", "the lease mutex that trusts all clocks to run alike"],
        ["drift", "a slow clock lets the holder believe longer than the store does"],
        &[Property::BelievedExclusion],
    )
    .needs(&[Fault::Drift, Fault::StoreDrift, Fault::CutToStore]),
];

/// The mutex without one of its protections.
pub fn ablated(protection: Protection) -> Registration<Mutex> {
    let ablation = ABLATIONS.iter().find(|ablation| ablation.protection == protection);
    let ablation = ablation.unwrap_or(&ABLATIONS[0]);
    ablation
        .register(move |dice| ablated_terms(dice, protection))
        .exhaustive(plans::ablation(protection), move |ticks| {
            plans::mutex_cases(ticks, Fairness::Unordered, Some(protection))
        })
}

/// What can happen between a Mattermost server and its database: calls over a connection, so no duplicates.
fn mattermost_faults() -> FaultSet {
    FaultSet::of(&[
        Fault::Crash,
        Fault::Pause,
        Fault::Suspend,
        Fault::Drift,
        Fault::WallJump,
        Fault::RequestLost,
        Fault::ReplyLost,
        Fault::Delay,
        Fault::CutToStore,
        Fault::CutFromStore,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::StorePause,
        Fault::StoreRestart,
        Fault::Cancel,
        Fault::ForgetUnlock,
    ])
}

const CLUSTER_PROMISES: [Property; 7] = [
    Property::BelievedExclusion,
    Property::NoTheft,
    Property::OwnerOnlyRelease,
    Property::OwnerOnlyRenewal,
    Property::NoOrphan,
    Property::Progress,
    Property::Reconciliation,
];

fn plugin_api_mutex() -> Registration<PluginApiMutex> {
    Registration::new("upstream/plugin-api-mutex", "Mattermost's plugin-api cluster mutex", |_| {
        PluginApiConfig::default()
    })
    .promises(&CLUSTER_PROMISES)
    .exhaustive(plans::plugin_api(), plans::plugin_api_cases)
    .meets(mattermost_faults())
    .known_defects(&[M1, M2, M3, M4, M10])
}

fn calls_mutex() -> Registration<CallsMutex> {
    let mut faults = mattermost_faults();
    faults.add(Fault::UnlockTwice);
    let promises = [&CLUSTER_PROMISES[..], &[Property::Punctuality, Property::NoPanic]].concat();
    Registration::new("upstream/calls-mutex", "Mattermost's Calls cluster mutex", |dice| {
        pick(dice, &CALLS_CONFIGS)
    })
    .promises(&promises)
    .exhaustive(plans::calls(), |ticks| plans::calls_cases(ticks, &CALLS_CONFIGS))
    .meets(faults)
    .known_defects(&[M1, M2, M3, M4, M6, M7, M8, M9, M10])
}

/// The defaults, what is used in production, and two configurations that its validation accepts.
const CALLS_CONFIGS: [CallsConfig; 4] = [
    calls_config(10_000, 5_000, 500),
    CallsConfig::PRODUCTION,
    calls_config(500, 250, 100),
    calls_config(1_990, 990, 100),
];

const fn calls_config(ttl: u64, refresh: u64, poll: u64) -> CallsConfig {
    CallsConfig {
        ttl: Span::from_millis(ttl),
        refresh_interval: Span::from_millis(refresh),
        poll_interval: Span::from_millis(poll),
    }
}

const ERRORS: [Fault; 3] = [Fault::ErrorBefore, Fault::ErrorAfter, Fault::StoreRestart];
const STALLS: [Fault; 8] = [
    Fault::Pause,
    Fault::Suspend,
    Fault::Delay,
    Fault::RequestLost,
    Fault::ReplyLost,
    Fault::CutToStore,
    Fault::CutFromStore,
    Fault::StorePause,
];

fn clocks_differ(violation: &Violation) -> bool {
    violation.facts.culprit.or(violation.facts.other).has(Fault::WallJump)
}

/// The three ways in which a holder's key comes to its end without anybody touching it exclude each other: something
/// held the refresh up; or it failed; or the key was stored for too short a time to begin with.
fn expired(violation: &Violation) -> bool {
    violation.facts.fate == Fate::Natural
}

const M1: Defect = Defect {
    label: "M1",
    sentence: "one failed refresh ends refreshing for good; the key expires and another one enters",
    breaks: &[Property::BelievedExclusion],
    recognise: |violation| {
        let facts = &violation.facts;
        expired(violation)
            && !facts.cut_short
            && facts.culprit.has_any(&ERRORS)
            && !facts.culprit.has_any(&STALLS)
    },
};

const M2: Defect = Defect {
    label: "M2",
    sentence: "unlock deletes the key whoever's it is",
    breaks: &[Property::OwnerOnlyRelease, Property::BelievedExclusion, Property::OwnerOnlyRenewal],
    recognise: |violation| {
        violation.property == Property::OwnerOnlyRelease || violation.facts.fate == Fate::Deleted
    },
};

const M3: Defect = Defect {
    label: "M3",
    sentence: "a holder that was paused or slow refreshes its successor's key, and neither learns",
    breaks: &[Property::OwnerOnlyRenewal, Property::BelievedExclusion, Property::NoOrphan],
    recognise: |violation| match violation.facts.fate {
        Fate::Renewed => true,
        // Nothing but a renewal by another one keeps a dead owner's key alive here.
        Fate::Natural => violation.property != Property::NoOrphan && violation.facts.culprit.has_any(&STALLS),
        Fate::Deleted | Fate::Overwritten => false,
    },
};

const M4: Defect = Defect {
    label: "M4",
    sentence: "the inserter's own wall clock decides what has expired: a fast one steals, a slow one waits",
    breaks: &[
        Property::NoTheft,
        Property::BelievedExclusion,
        Property::NoOrphan,
        Property::OwnerOnlyRenewal,
        Property::Progress,
    ],
    // Nothing but an inserter's clock lets the original write over a live row.
    recognise: |violation| {
        violation.property == Property::NoTheft
            || violation.facts.fate == Fate::Overwritten
            || clocks_differ(violation)
    },
};

const M6: Defect = Defect {
    label: "M6",
    sentence: "a TTL below one second is stored as none: the key of a dead owner never expires",
    breaks: &[Property::NoOrphan, Property::Progress],
    recognise: |violation| violation.facts.immortal,
};

const M7: Defect = Defect {
    label: "M7",
    sentence: "a TTL of 1.99 s is stored as 1 s: one slow refresh, and another one enters",
    breaks: &[Property::BelievedExclusion, Property::OwnerOnlyRenewal],
    recognise: |violation| {
        expired(violation) && violation.facts.cut_short && !violation.facts.culprit.has_any(&STALLS)
    },
};

const M8: Defect = Defect {
    label: "M8",
    sentence: "a lock is granted although its context has ended",
    breaks: &[Property::Punctuality],
    recognise: |_| true,
};

const M9: Defect = Defect {
    label: "M9",
    sentence: "an extra unlock, which is tolerated, meets a lock that is still polling: the process panics",
    breaks: &[Property::NoPanic],
    recognise: |_| true,
};

const M10: Defect = Defect {
    label: "M10",
    sentence: "a claim whose answer was lost waits for its own key until it expires",
    breaks: &[Property::Reconciliation, Property::Progress],
    recognise: |_| true,
};
