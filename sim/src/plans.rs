//! How our algorithms are checked exhaustively: which lengths, and what may go wrong, unless something else is asked.

mod lockers;
mod writers;

use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::flag::{FlagConfig, FlagProtection, FlagTerms};
use fencepost::job::{JobConfig, JobTerms};
use fencepost::lease::{LeaseConfig, Protection};
use fencepost::mutex::{Fairness, MutexConfig, MutexTerms};
use fencepost::once::{Backoff, Delivery, OnceConfig, OnceTerms};
use fencepost::run::JobProtection;
use fencepost::time::{Ppm, Span};
use fencepost_models::subject::JobId;
use fencepost_models::upstream::calls_mutex::CallsConfig;
use fencepost_models::upstream::ocm_flag::OcmConfig;
use fencepost_models::upstream::plugin_api_job::{PluginApiJobConfig, Strategy};
use fencepost_models::upstream::plugin_api_mutex::PluginApiConfig;
use fencepost_models::upstream::plugin_api_once::PluginApiOnceConfig;

use crate::check::{Budget, Case, CheckPlan, Spend, Ticks};
pub(crate) use lockers::{
    ablated_locker, acyl_fake_locker, acyl_fake_locker_cases, acyl_locker, acyl_locker_cases, locker,
    locker_cases,
};
pub(crate) use writers::{ablated_writer, writer, writer_cases, writerlease, writerlease_cases};

/// Each of these, once.
fn once_each(spends: &[Spend]) -> Budget {
    spends.iter().fold(Budget::NONE, |budget, &what| budget.with(what, 1))
}

/// In the cases of the mutex, a tick is a second.
const TICK: Duration = Duration::from_secs(1);

/// The mutex, unless something else is asked for.
pub(crate) fn mutex(fairness: Fairness) -> CheckPlan {
    match fairness {
        Fairness::Unordered => {
            CheckPlan { budget: once_each(&[Spend::Pause, Spend::Crash]), ..CheckPlan::default() }
        }
        // A queue has many more states.
        Fairness::Fifo => {
            CheckPlan { delay: 0, budget: Budget::NONE.with(Spend::Crash, 1), ..CheckPlan::default() }
        }
    }
}

/// The mutex with the longest time-out that its other lengths allow, up to one that a prompt reply always meets.
pub(crate) fn mutex_cases(
    ticks: &Ticks,
    fairness: Fairness,
    ablated: Option<Protection>,
) -> Result<Vec<Case<MutexTerms>>, String> {
    let config = mutex_in_ticks(ticks, fairness, ablated);
    let terms = config.terms().map_err(|error| format!("with these lengths, {error}"))?;
    let (ttl, timeout) = (config.lease.ttl, config.lease.renew_timeout);
    let name = format!("ttl {ttl:?}, refresh 1s, time-out {timeout:?}");
    Ok(vec![Case { name, tick: TICK.into(), config: terms }])
}

fn mutex_in_ticks(ticks: &Ticks, fairness: Fairness, ablated: Option<Protection>) -> MutexConfig {
    let ppm = (u64::from(ticks.drift) * 1_000_000).div_ceil(u64::from(ticks.ttl));
    let (ttl, delay_bound) = (TICK * ticks.ttl, TICK * ticks.grain);
    let room = ttl.saturating_sub(TICK * (1 + ticks.drift) + delay_bound + Duration::from_nanos(1));
    MutexConfig {
        lease: LeaseConfig {
            ttl,
            refresh_interval: TICK,
            jitter: Ppm::ZERO,
            renew_timeout: room.min(TICK * (2 * ticks.delay + 1)),
            drift: Ppm(u32::try_from(ppm).unwrap_or(u32::MAX)),
            delay_bound,
            ablated,
        },
        poll_interval: TICK,
        fairness,
        lock_delay: Duration::ZERO,
        metrics_group: None,
    }
}

/// The recurring job, unless something else is asked for.
pub(crate) fn job() -> CheckPlan {
    let budget = Budget::NONE.with(Spend::Crash, 1).with(Spend::Unknown, 1);
    CheckPlan { delay: 0, budget, ..CheckPlan::default() }
}

/// The recurring job without a protection, unless something else is asked for.
pub(crate) fn ablated_job(protection: JobProtection) -> CheckPlan {
    let what = match protection {
        JobProtection::OccurrenceClaim | JobProtection::Generation => Spend::Crash,
        JobProtection::FencedMetadata => Spend::Stall,
        JobProtection::InterruptOnLoss => Spend::Pause,
        JobProtection::ClaimBeforeRun => Spend::Loss,
    };
    CheckPlan { budget: Budget::NONE.with(what, 1), ..job() }
}

/// The recurring job on an interval of two ticks. Its lock is kept as the mutex's is.
pub(crate) fn job_cases(
    ticks: &Ticks,
    ablated: Option<JobProtection>,
) -> Result<Vec<Case<JobTerms>>, String> {
    // What is missed is run as of now. A laboratory sees it repeated only within the grace.
    let grace = if ablated.is_some() { TICK * 5 } else { TICK };
    let config = JobConfig {
        grace,
        look_interval: TICK * 2,
        mutex: mutex_in_ticks(ticks, Fairness::Unordered, None),
        ablated,
        ..JobConfig::new(Schedule::Interval(Span::from(TICK * 2)))
    };
    let terms = config.terms().map_err(|error| format!("with these lengths, {error}"))?;
    Ok(vec![Case {
        name: format!("every 2 s, ttl {:?}", config.mutex.lease.ttl),
        tick: TICK.into(),
        config: terms,
    }])
}

/// The flag, unless something else is asked for.
pub(crate) fn flag() -> CheckPlan {
    let budget = once_each(&[Spend::Pause, Spend::Crash, Spend::Unknown]);
    CheckPlan { delay: 0, budget, ..CheckPlan::default() }
}

/// The flag without a protection, unless something else is asked for.
pub(crate) fn ablated_flag(protection: FlagProtection) -> CheckPlan {
    let plan = CheckPlan { delay: 1, ..CheckPlan::default() };
    match protection {
        FlagProtection::SelfExpiry => CheckPlan { budget: Budget::NONE.with(Spend::Pause, 1), ..plan },
        FlagProtection::Identity | FlagProtection::LowerFirst => plan,
        FlagProtection::RetryInsideInterval => {
            CheckPlan { ttl: 8, budget: Budget::NONE.with(Spend::Loss, 1), ..plan }
        }
        // Only a replica that lags shows an old term.
        FlagProtection::TermOrder => plan,
    }
}

/// The flag with an interval of so many ticks and a check each tick; its lease is kept as the mutex's is.
pub(crate) fn flag_cases(
    ticks: &Ticks,
    ablated: Option<FlagProtection>,
) -> Result<Vec<Case<FlagTerms>>, String> {
    let lease = mutex_in_ticks(ticks, Fairness::Unordered, None).lease;
    let config = FlagConfig {
        interval: lease.ttl,
        check_interval: TICK,
        timeout: lease.renew_timeout,
        jitter: Ppm::ZERO,
        drift: lease.drift,
        delay_bound: lease.delay_bound,
        ablated,
        ..FlagConfig::new("flag", "process")
    };
    let terms = config.terms().map_err(|error| format!("with these lengths, {error}"))?;
    let name = format!("interval {:?}, check 1s, time-out {:?}", config.interval, config.timeout);
    Ok(vec![Case { name, tick: TICK.into(), config: terms }])
}

/// The original of the flag, unless something else is asked for: prompt messages, and each fault by itself.
pub(crate) fn ocm_flag() -> CheckPlan {
    let budget = once_each(&[Spend::Pause, Spend::Unknown, Spend::Stall, Spend::Cancel, Spend::ExtraUnlock]);
    CheckPlan { ttl: 4, delay: 0, budget, apart: true, ..CheckPlan::default() }
}

/// The original with an interval of so many ticks, processes of different names and of one, and with a context that ends.
pub(crate) fn ocm_flag_cases(ticks: &Ticks) -> Result<Vec<Case<OcmConfig>>, String> {
    let tick = Span::from(TICK);
    let config = OcmConfig {
        interval: tick * u64::from(ticks.ttl),
        timeout: tick * u64::from(ticks.delay * 2).max(1),
        jitter: Ppm::ZERO,
        ..OcmConfig::default()
    };
    let case = |name: &str, config: OcmConfig| {
        let name = format!("interval {}, time-out {}, {name}", config.interval, config.timeout);
        Case { name, tick, config }
    };
    Ok(vec![
        case("different names", config.clone()),
        case("one name", OcmConfig { namesakes: true, ..config.clone() }),
        case("built for 2 s", OcmConfig { build_deadline: Some(tick * 2), ..config }),
    ])
}

/// Jobs that run once, unless something else is asked for: one of them, and each fault by itself. Two jobs at a time
/// have hundreds of times as many states.
pub(crate) fn once() -> CheckPlan {
    let budget = once_each(&[Spend::Schedule, Spend::Crash, Spend::Unknown, Spend::Loss, Spend::Failure]);
    CheckPlan { delay: 0, apart: true, budget, ..CheckPlan::default() }
}

/// Jobs that run once without a protection, unless something else is asked for.
pub(crate) fn ablated_once(protection: JobProtection) -> CheckPlan {
    let budget = Budget::NONE.with(Spend::Schedule, 1);
    let budget = match protection {
        JobProtection::OccurrenceClaim => budget.with(Spend::Crash, 1),
        JobProtection::FencedMetadata => budget.with(Spend::Reschedule, 1).with(Spend::Stall, 1),
        JobProtection::Generation => budget.with(Spend::Reschedule, 1),
        JobProtection::InterruptOnLoss => budget.with(Spend::Pause, 1),
        JobProtection::ClaimBeforeRun => budget.with(Spend::Loss, 1),
    };
    CheckPlan { apart: false, budget, ..once() }
}

/// Jobs that run once, found every two ticks, with either delivery or both. Their locks are kept as the mutex's is.
pub(crate) fn once_cases(
    ticks: &Ticks,
    repeats: &[bool],
    ablated: Option<JobProtection>,
) -> Result<Vec<Case<OnceTerms>>, String> {
    let case = |&repeats: &bool| {
        let backoff = Backoff { first: TICK, longest: TICK };
        let (delivery, name) = if repeats {
            (Delivery::AtLeastOnce { attempts: 2, backoff }, "at least once, 2 attempts")
        } else {
            (Delivery::AtMostOnce, "at most once")
        };
        let config = OnceConfig {
            slots: 1,
            page: 2,
            refresh_interval: TICK * 2,
            retention: TICK,
            mutex: mutex_in_ticks(ticks, Fairness::Unordered, None),
            ablated,
            ..OnceConfig::new(delivery)
        };
        let terms = config.terms().map_err(|error| format!("with these lengths, {error}"))?;
        Ok(Case { name: name.to_owned(), tick: TICK.into(), config: terms })
    };
    repeats.iter().map(case).collect()
}

/// The mutex without its queue: nothing has to go wrong for somebody to starve. Who starves must keep its place.
pub(crate) fn without_queue() -> CheckPlan {
    CheckPlan { delay: 0, symmetry: false, ..CheckPlan::default() }
}

/// What has to go wrong before a protection is missed.
pub(crate) fn ablation(protection: Protection) -> CheckPlan {
    let plan = CheckPlan::default();
    match protection {
        Protection::Identity => plan,
        Protection::CompareOnRelease => CheckPlan { budget: Budget::NONE.with(Spend::Pause, 1), ..plan },
        Protection::DeadlineFromSend => plan,
        Protection::RetryInsideTtl => CheckPlan { ttl: 8, budget: Budget::NONE.with(Spend::Loss, 1), ..plan },
        Protection::Reconciliation => CheckPlan { ttl: 7, budget: Budget::NONE.with(Spend::Loss, 1), ..plan },
        Protection::DriftMargin => {
            CheckPlan { ttl: 4, budget: Budget::NONE.with(Spend::Drift, 1).with(Spend::Pause, 1), ..plan }
        }
    }
}

/// The plugin API's mutex, unless something else is asked for. Its messages take no time: what a slow one does, a
/// pause does too.
pub(crate) fn plugin_api() -> CheckPlan {
    let budget = once_each(&[Spend::Pause, Spend::Crash, Spend::Unknown, Spend::Jump]);
    CheckPlan { ttl: 2, delay: 0, budget, ..CheckPlan::default() }
}

/// The Calls mutex, unless something else is asked for.
pub(crate) fn calls() -> CheckPlan {
    let budget = once_each(&[Spend::Pause, Spend::Crash, Spend::Unknown, Spend::Jump, Spend::ExtraUnlock]);
    CheckPlan { ttl: 4, budget, apart: true, ..CheckPlan::default() }
}

/// A part of `whole`, in whole milliseconds: their store counts in these.
fn tick_of(whole: Span, ticks: &Ticks) -> Span {
    Span::from_millis((whole.as_nanos() / 1_000_000).div_ceil(u64::from(ticks.ttl)))
}

/// The plugin API's mutex has constants.
pub(crate) fn plugin_api_cases(ticks: &Ticks) -> Result<Vec<Case<PluginApiConfig>>, String> {
    let config = PluginApiConfig { jitter: Span::ZERO, ..PluginApiConfig::default() };
    let tick = tick_of(Span::from_secs(config.ttl_secs), ticks);
    Ok(vec![Case { name: format!("its constants, in ticks of {tick}"), tick, config }])
}

/// The plugin API's job, unless something else is asked for.
pub(crate) fn plugin_api_job() -> CheckPlan {
    let budget = once_each(&[Spend::Pause, Spend::Crash, Spend::Unknown, Spend::Jump, Spend::Cancel]);
    CheckPlan { ttl: 2, delay: 0, apart: true, budget, ..CheckPlan::default() }
}

/// The plugin API's job on an interval of two ticks, after the end of the last run: when a rounded one is due depends on
/// the hour of the day.
pub(crate) fn plugin_api_job_cases(ticks: &Ticks) -> Result<Vec<Case<PluginApiJobConfig>>, String> {
    let mutex = PluginApiConfig { jitter: Span::ZERO, ..PluginApiConfig::default() };
    let tick = tick_of(Span::from_secs(mutex.ttl_secs), ticks);
    let case = |(closes_inside, name): (bool, &str)| Case {
        name: format!("every {}, {name}, its constants, in ticks of {tick}", tick * 2),
        tick,
        config: PluginApiJobConfig {
            interval: tick * 2,
            strategy: Strategy::Interval,
            closes_inside,
            mutex: mutex.clone(),
        },
    };
    Ok([(false, "closed from outside"), (true, "closed by its callback")].into_iter().map(case).collect())
}

/// The plugin API's scheduler, unless something else is asked for. As soon as jobs are taken back, there are too many
/// states to see all of them.
pub(crate) fn plugin_api_once() -> CheckPlan {
    let budget = once_each(&[Spend::Schedule, Spend::Pause, Spend::Crash, Spend::Unknown, Spend::Jump]);
    CheckPlan { ttl: 2, delay: 0, apart: true, budget, ..CheckPlan::default() }
}

/// The plugin API's scheduler, which lists the records every two ticks: how often it does so changes nothing but the time
/// that everything takes.
pub(crate) fn plugin_api_once_cases(ticks: &Ticks) -> Result<Vec<Case<PluginApiOnceConfig>>, String> {
    let mutex = PluginApiConfig { jitter: Span::ZERO, ..PluginApiConfig::default() };
    let tick = tick_of(Span::from_secs(mutex.ttl_secs), ticks);
    let usual = PluginApiOnceConfig {
        poll_interval: tick * 2,
        page: 2,
        jitter: Span::ZERO,
        mutex,
        ..PluginApiOnceConfig::default()
    };
    let case = |(name, config): (&str, PluginApiOnceConfig)| {
        let name = format!("{name}, its constants but for a poll of {}, in ticks of {tick}", tick * 2);
        Case { name, tick, config }
    };
    let configs = [
        ("cancelled by handle", usual.clone()),
        ("cancelled by key", PluginApiOnceConfig { cancels_by_key: true, ..usual.clone() }),
        ("cancelled by its callback", PluginApiOnceConfig { asks_inside: true, ..usual.clone() }),
        ("without a key", PluginApiOnceConfig { without_key: Some(JobId(0)), ..usual }),
    ];
    Ok(configs.into_iter().map(case).collect())
}

/// The Calls mutex, in each of these configurations, with half of the refresh interval to so many ticks: a message may
/// be slow, and its refresh still in time.
pub(crate) fn calls_cases(ticks: &Ticks, configs: &[CallsConfig]) -> Result<Vec<Case<CallsConfig>>, String> {
    let case = |config: &CallsConfig| {
        let of_refresh = Ticks { ttl: (ticks.ttl / 2).max(1), ..*ticks };
        let tick = tick_of(config.refresh_interval, &of_refresh);
        let name = format!("ttl {}, refresh {}, in ticks of {tick}", config.ttl, config.refresh_interval);
        Case { name, tick, config: config.clone() }
    };
    Ok(configs.iter().map(case).collect())
}
