//! How a scheduler of jobs that run once behaves, checked.

use core::time::Duration;

use crate::builder::builder;
use crate::lease::{ConfigError, positive};
use crate::mutex::{Fairness, MutexConfig};
#[cfg(feature = "ablation")]
use crate::run::JobProtection;
use crate::run::Terms;
use crate::time::Span;

/// How often a job may be begun, and how often it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Delivery {
    /// Its callback begins once or never: what was claimed is not run again, even if nobody knows whether it began.
    AtMostOnce,
    /// Its callback begins until it has succeeded once: after a failure, or when whoever claimed it has died. What has
    /// been tried this often without success is dead: it stays in the store, and is listed.
    AtLeastOnce {
        /// How often it is begun at most. At least 1.
        attempts: u32,
        /// How long it waits after a failure.
        backoff: Backoff,
    },
}

/// How long a job waits after a failure: `first` after the first, twice as long after each other, `longest` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Backoff {
    /// 1 s, and an hour at most.
    fn default() -> Backoff {
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3_600) }
    }
}

impl Backoff {
    /// How long to wait after the failure of this attempt; the first is 1.
    pub fn after(&self, attempt: u32) -> Span {
        let doublings = attempt.saturating_sub(1).min(63);
        (Span::from(self.first) * (1 << doublings)).min(self.longest.into())
    }
}

/// How a scheduler behaves. Check it with [`OnceConfig::terms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct OnceConfig {
    /// How often a job may be begun.
    pub delivery: Delivery,
    /// How many jobs an instance runs at a time, 1 at least. Default 16.
    pub slots: u16,
    /// How many jobs are listed at a time, 1 at least. Default 1,000.
    pub page: u32,
    /// How long after one listing of all jobs the next one begins, give or take the lease's jitter. It finds what hints
    /// did not tell. Default 5 min.
    pub refresh_interval: Duration,
    /// How long it stays in the store that a job was done, has failed or was cancelled. Until then its key cannot be
    /// scheduled by a request that was long on its way. Default 24 h.
    pub retention: Duration,
    /// How the lock is kept under which a job runs, and how long whoever could not claim it pauses before it tries
    /// again. It is tried once at a time, so fairness plays no part.
    pub mutex: MutexConfig,
    /// A protection that is off. Laboratory only.
    #[cfg(feature = "ablation")]
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ablated: Option<JobProtection>,
}

builder! {
    /// Builds a [`OnceConfig`]: what is not set stays at its default.
    OnceConfigBuilder of OnceConfig, or ConfigError;
    /// See [`OnceConfig::slots`].
    slots(u16) sets slots;
    /// See [`OnceConfig::page`].
    page(u32) sets page;
    /// See [`OnceConfig::refresh_interval`].
    refresh_interval(Duration) sets refresh_interval;
    /// See [`OnceConfig::retention`].
    retention(Duration) sets retention;
    /// See [`OnceConfig::mutex`].
    mutex(MutexConfig) sets mutex;
}

impl OnceConfig {
    /// Begins with a scheduler with this delivery, and everything else by default.
    pub fn builder(delivery: Delivery) -> OnceConfigBuilder {
        OnceConfigBuilder(OnceConfig::new(delivery))
    }

    /// A scheduler with this delivery, and everything else by default.
    pub fn new(delivery: Delivery) -> OnceConfig {
        OnceConfig {
            delivery,
            slots: 16,
            page: 1_000,
            refresh_interval: Duration::from_secs(300),
            retention: Duration::from_secs(86_400),
            mutex: MutexConfig::default(),
            #[cfg(feature = "ablation")]
            ablated: None,
        }
    }

    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the fields, their values and what would be accepted.
    pub fn terms(&self) -> Result<OnceTerms, ConfigError> {
        if self.slots == 0 {
            return Err(ConfigError::Zero { field: "slots" });
        }
        if self.page == 0 {
            return Err(ConfigError::Zero { field: "page" });
        }
        positive("refresh_interval", self.refresh_interval)?;
        positive("retention", self.retention)?;
        if let Delivery::AtLeastOnce { attempts, backoff } = self.delivery {
            if attempts == 0 {
                return Err(ConfigError::Zero { field: "delivery.at-least-once.attempts" });
            }
            positive("delivery.at-least-once.backoff.first", backoff.first)?;
            positive("delivery.at-least-once.backoff.longest", backoff.longest)?;
        }
        self.mutex.validate()?;
        Ok(self.unchecked_terms())
    }

    /// The terms of a configuration that nobody has checked.
    #[doc(hidden)]
    pub fn unchecked_terms(&self) -> OnceTerms {
        let mutex = MutexConfig { fairness: Fairness::Unordered, ..self.mutex.clone() };
        OnceTerms {
            run: Terms {
                mutex: mutex.unchecked_terms(),
                #[cfg(feature = "ablation")]
                ablated: self.ablated,
            },
            retention: self.retention.into(),
            config: self.clone(),
        }
    }
}

/// A scheduler's configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "OnceConfig", into = "OnceConfig"))]
pub struct OnceTerms {
    pub(super) config: OnceConfig,
    pub(super) run: Terms,
    pub(super) retention: Span,
}

impl TryFrom<OnceConfig> for OnceTerms {
    type Error = ConfigError;
    fn try_from(config: OnceConfig) -> Result<OnceTerms, ConfigError> {
        config.terms()
    }
}

impl From<OnceTerms> for OnceConfig {
    fn from(terms: OnceTerms) -> OnceConfig {
        terms.config
    }
}

impl OnceTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &OnceConfig {
        &self.config
    }

    /// The terms of a run.
    pub fn run(&self) -> &Terms {
        &self.run
    }

    /// After how long an unanswered request is sent again.
    pub(super) fn timeout(&self) -> Span {
        self.run.mutex.lease().timeout()
    }
}
