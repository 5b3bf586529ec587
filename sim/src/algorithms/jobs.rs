//! The registrations of our jobs, and of each without one of its protections.

use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::job::{Job, JobConfig, JobTerms, Misfire, Overlap};
use fencepost::mutex::Fairness;
use fencepost::once::{Backoff, Delivery, Once, OnceConfig, OnceTerms};
use fencepost::run::JobProtection;
use fencepost::time::Span;
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::Property;
use fencepost_models::subject::JobId;

use super::ablation::{Ablation, ablation};
use super::mutex_config;
use crate::algorithm::{Algorithm, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

/// What a job promises as the lock that it runs under, and beyond.
pub(crate) const PROMISES: [Property; 14] = [
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
    Property::NoPanic,
    Property::Determinism,
    Property::OncePerOccurrence,
    Property::NoJobLost,
];

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    let mut all: Vec<Box<dyn Algorithm>> = vec![Box::new(job())];
    all.extend(JOB_ABLATIONS.iter().map(|one| Box::new(ablated_job(one)) as Box<dyn Algorithm>));
    all.push(Box::new(once()));
    all.extend(ONCE_ABLATIONS.iter().map(|one| Box::new(ablated_once(one)) as Box<dyn Algorithm>));
    all
}

fn job() -> Registration<Job> {
    Registration::new("job", "the recurring job", |dice| job_terms(dice, None))
        .promises(&PROMISES)
        .exhaustive(plans::job(), |ticks| plans::job_cases(ticks, None))
        .suffers(FaultSet::of(&[Fault::CallbackFails]))
}

fn job_terms(dice: &mut Dice, ablated: Option<JobProtection>) -> JobTerms {
    let interval = Span::from_secs(pick(dice, &[7, 20, 45]));
    let schedule = match pick(dice, &[0, 1, 2]) {
        0 => Schedule::Interval(interval),
        1 => Schedule::RoundedInterval(interval),
        _ => twice_a_minute(),
    };
    let within = Duration::from_secs(90);
    let config = JobConfig {
        misfire: pick(dice, &[Misfire::Skip, Misfire::RunOnce, Misfire::CatchUp { within }]),
        grace: Duration::from_secs(pick(dice, &[5, 60])),
        overlap: pick(dice, &[Overlap::Skip, Overlap::BufferOne]),
        look_interval: Duration::from_secs(pick(dice, &[5, 30])),
        mutex: mutex_config(dice, Fairness::Unordered),
        ablated,
        ..JobConfig::new(schedule)
    };
    config.terms().expect("every combination of these leaves room for a failed renewal")
}

/// A calendar whose occurrences are near enough to each other for some of them to be missed in a storm.
fn twice_a_minute() -> Schedule {
    Schedule::cron("*/30 * * * * *", "UTC").expect("it is a cron expression")
}

const JOB_ABLATIONS: [Ablation<JobProtection>; 3] = [
    ablation(
        JobProtection::OccurrenceClaim,
        [
            "ablation/job-occurrence-claim",
            "the recurring job that takes a claim without an end for no run at all",
        ],
        ["unclaimed", "an occurrence whose run died, or lost its lock, is run again"],
        &[Property::OncePerOccurrence],
    ),
    ablation(
        JobProtection::InterruptOnLoss,
        ["ablation/job-interrupt", "the recurring job whose callback is not told that its lock is lost"],
        ["uninterrupted", "a callback goes on beside the next one, and nobody tells it"],
        &[Property::LossNoticed],
    ),
    ablation(
        JobProtection::ClaimBeforeRun,
        ["ablation/job-claim-first", "the recurring job whose callback does not wait for its claim"],
        ["too-soon", "a callback begins whose claim never arrives, and the occurrence is run again"],
        &[Property::OncePerOccurrence],
    ),
];

fn ablated_job(ablation: &Ablation<JobProtection>) -> Registration<Job> {
    let protection = ablation.protection;
    ablation
        .register(move |dice| job_terms(dice, Some(protection)))
        .promises(&PROMISES)
        .exhaustive(plans::ablated_job(protection), move |ticks| plans::job_cases(ticks, Some(protection)))
        .suffers(FaultSet::of(&[Fault::CallbackFails, Fault::Delay]))
}

/// What a scheduler of jobs that run once promises.
const ONCE_PROMISES: [Property; 9] = [
    Property::BelievedExclusion,
    Property::FencedExclusion,
    Property::Stability,
    Property::Progress,
    Property::NoPanic,
    Property::Determinism,
    Property::OncePerOccurrence,
    Property::NoJobLost,
    Property::NotEarly,
];

/// Of both deliveries: half of the seeds draw the one, and a check has a case for each.
fn once() -> Registration<Once<JobId, ()>> {
    Registration::new("once", "jobs that run once: at most, or at least", |dice| {
        let repeats = pick(dice, &[false, true]);
        once_terms(dice, repeats, None)
    })
    .promises(&ONCE_PROMISES)
    .exhaustive(plans::once(), |ticks| plans::once_cases(ticks, &[false, true], None))
    .suffers(FaultSet::of(&[Fault::CallbackFails]))
}

fn once_terms(dice: &mut Dice, repeats: bool, ablated: Option<JobProtection>) -> OnceTerms {
    let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
    let attempts = pick(dice, &[2, 5]);
    let delivery = if repeats { Delivery::AtLeastOnce { attempts, backoff } } else { Delivery::AtMostOnce };
    let config = OnceConfig {
        slots: 1,
        page: pick(dice, &[1, 2, 100]),
        refresh_interval: Duration::from_secs(pick(dice, &[5, 30])),
        retention: Duration::from_secs(3_600),
        mutex: mutex_config(dice, Fairness::Unordered),
        ablated,
        ..OnceConfig::new(delivery)
    };
    config.terms().expect("every combination of these leaves room for a failed renewal")
}

const ONCE_ABLATIONS: [Ablation<JobProtection>; 4] = [
    ablation(
        JobProtection::OccurrenceClaim,
        ["ablation/once-claim", "jobs that run at most once, whose claims do not count"],
        ["unclaimed", "a job whose run died, or lost its lock, is run again"],
        &[Property::OncePerOccurrence],
    ),
    ablation(
        JobProtection::FencedMetadata,
        ["ablation/once-fenced-metadata", "jobs whose outcome is written over whatever is there"],
        ["unfenced", "the outcome of an old run overwrites what was scheduled meanwhile, and that is lost"],
        &[Property::NoJobLost, Property::OncePerOccurrence],
    ),
    ablation(
        JobProtection::Generation,
        ["ablation/once-generation", "jobs that run when a timer says so, whatever their record says"],
        ["stale-timer", "the timer of an old schedule runs the new one before its time"],
        &[Property::NotEarly],
    ),
    ablation(
        JobProtection::ClaimBeforeRun,
        ["ablation/once-claim-first", "jobs whose callback does not wait for its claim"],
        ["too-soon", "a callback begins whose claim never arrives, and the job is run again"],
        &[Property::OncePerOccurrence],
    ),
];

fn ablated_once(ablation: &Ablation<JobProtection>) -> Registration<Once<JobId, ()>> {
    let protection = ablation.protection;
    // An outcome is written over another one only where a job may be run again.
    let repeats = protection == JobProtection::FencedMetadata;
    ablation
        .register(move |dice| once_terms(dice, repeats, Some(protection)))
        .promises(&ONCE_PROMISES)
        .exhaustive(plans::ablated_once(protection), move |ticks| {
            plans::once_cases(ticks, &[repeats], Some(protection))
        })
        .suffers(FaultSet::of(&[Fault::CallbackFails, Fault::Delay]))
}
