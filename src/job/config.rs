//! How a recurring job behaves, checked.

use core::time::Duration;

use crate::builder::builder;
use crate::calendar::{Schedule, ScheduleError};
use crate::lease::{ConfigError, positive};
use crate::mutex::{Fairness, MutexConfig};
#[cfg(feature = "ablation")]
use crate::run::JobProtection;
use crate::run::Terms;
use crate::time::Span;

/// What becomes of an occurrence that nobody ran in time: all were down, the store was, or the lock was held.
///
/// Only a calendar has occurrences of its own. A schedule whose next occurrence follows from the last run (an
/// interval, say) has one at a time, and that one is run, however late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Misfire {
    /// It is dropped; the next one that is not too late is run.
    Skip,
    /// If one was missed, the latest that is due is run at once, and all earlier ones are dropped.
    #[default]
    RunOnce,
    /// Each one that is not older than `within` is run, one after the other, the oldest first; older ones are dropped.
    CatchUp {
        /// How far back; at least as far as [`JobConfig::grace`].
        within: Duration,
    },
}

/// What becomes of occurrences that fall due while the job is busy: while an earlier one runs, or while one that was missed is
/// made up for after it, as long as no more than the time to live of the lock passes between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Overlap {
    /// They are dropped.
    #[default]
    Skip,
    /// The latest of them is run as soon as the job has time for it; earlier ones are dropped.
    BufferOne,
}

/// How a recurring job behaves. Check it with [`JobConfig::terms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct JobConfig {
    /// When it is due. To a job whose schedule is changed, the record of its last run stands: what the new schedule had since then
    /// was missed.
    pub schedule: Schedule,
    /// What becomes of an occurrence that was missed. Default: the latest is run, once.
    pub misfire: Misfire,
    /// How late an occurrence may begin before it counts as missed. It should be longer than requests take, and than the lock's
    /// time to live, if it is to outlast whoever dies; not zero, where missed ones are skipped. Default 1 min.
    pub grace: Duration,
    /// What becomes of occurrences that fall due while the job is busy. Default: they are dropped.
    pub overlap: Overlap,
    /// How long it waits at most before it looks at the record again, however far the next occurrence may be: this
    /// bounds what clocks of different speeds can add up to. Default 5 min.
    pub look_interval: Duration,
    /// How the lock is kept under which it runs, and how long whoever finds it taken pauses before it looks again.
    /// It is tried once at a time, so fairness plays no part.
    pub mutex: MutexConfig,
    /// A protection that is off. Laboratory only.
    #[cfg(feature = "ablation")]
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ablated: Option<JobProtection>,
}

/// Why a job's configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobConfigError {
    /// Its lock, or one of its lengths of time.
    #[error(transparent)]
    Lock(#[from] ConfigError),
    /// Its schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

builder! {
    /// Builds a [`JobConfig`]: what is not set stays at its default.
    JobConfigBuilder of JobConfig, or JobConfigError;
    /// See [`JobConfig::misfire`].
    misfire(Misfire) sets misfire;
    /// See [`JobConfig::grace`].
    grace(Duration) sets grace;
    /// See [`JobConfig::overlap`].
    overlap(Overlap) sets overlap;
    /// See [`JobConfig::look_interval`].
    look_interval(Duration) sets look_interval;
    /// See [`JobConfig::mutex`].
    mutex(MutexConfig) sets mutex;
}

impl JobConfig {
    /// Begins with a job on this schedule, and everything else by default.
    pub fn builder(schedule: Schedule) -> JobConfigBuilder {
        JobConfigBuilder(JobConfig::new(schedule))
    }

    /// A job on this schedule, and everything else by default.
    pub fn new(schedule: Schedule) -> JobConfig {
        JobConfig {
            schedule,
            misfire: Misfire::default(),
            grace: Duration::from_secs(60),
            overlap: Overlap::default(),
            look_interval: Duration::from_secs(300),
            mutex: MutexConfig::default(),
            #[cfg(feature = "ablation")]
            ablated: None,
        }
    }

    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`JobConfigError`] names the field, its value and what would be accepted.
    pub fn terms(&self) -> Result<JobTerms, JobConfigError> {
        self.schedule.validate()?;
        positive("look_interval", self.look_interval)?;
        if self.misfire == Misfire::Skip {
            positive("grace", self.grace)?;
        }
        if let Misfire::CatchUp { within } = self.misfire {
            positive("misfire.catch-up.within", within)?;
        }
        self.mutex.validate()?;
        Ok(self.unchecked_terms())
    }

    /// The terms of a configuration that nobody has checked.
    #[doc(hidden)]
    pub fn unchecked_terms(&self) -> JobTerms {
        let mutex = MutexConfig { fairness: Fairness::Unordered, ..self.mutex.clone() };
        JobTerms {
            run: Terms {
                mutex: mutex.unchecked_terms(),
                #[cfg(feature = "ablation")]
                ablated: self.ablated,
            },
            look: self.look_interval.into(),
            grace: self.grace.into(),
            config: self.clone(),
        }
    }
}

/// A job's configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "JobConfig", into = "JobConfig"))]
pub struct JobTerms {
    pub(super) config: JobConfig,
    pub(super) run: Terms,
    pub(super) look: Span,
    pub(super) grace: Span,
}

impl TryFrom<JobConfig> for JobTerms {
    type Error = JobConfigError;
    fn try_from(config: JobConfig) -> Result<JobTerms, JobConfigError> {
        config.terms()
    }
}

impl From<JobTerms> for JobConfig {
    fn from(terms: JobTerms) -> JobConfig {
        terms.config
    }
}

impl JobTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &JobConfig {
        &self.config
    }

    /// The terms of a run.
    pub fn run(&self) -> &Terms {
        &self.run
    }

    /// How long it waits at most between two looks at the record.
    pub fn look_interval(&self) -> Span {
        self.look
    }
}
