//! How a mutex behaves, checked.

use core::time::Duration;

use alloc::string::String;

use crate::builder::builder;
use crate::lease::{ConfigError, Jittered, LeaseConfig, LeaseTerms, positive};
use crate::time::{Ppm, Span};

/// Who enters next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Fairness {
    /// Whoever asks first after the lock became free: one request for an uncontended lock, no order.
    #[default]
    Unordered,
    /// First come, first served, through a queue in the store: one more request for each attempt.
    Fifo,
}

/// How a mutex behaves. Check it with [`MutexConfig::terms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MutexConfig {
    /// How the lease is kept.
    pub lease: LeaseConfig,
    /// How long a waiter pauses between two attempts, give or take the lease's jitter. Default 1 s.
    pub poll_interval: Duration,
    /// Who enters next. Default unordered.
    pub fairness: Fairness,
    /// How much longer the key stays locked after the lease of a holder that *died*, for resources that cannot check
    /// a token. Whoever lives to learn of its loss, or releases, frees it at once. Default 0.
    pub lock_delay: Duration,
    /// Under which name its metrics are counted; its key, if `None`.
    pub metrics_group: Option<String>,
}

impl Default for MutexConfig {
    fn default() -> MutexConfig {
        MutexConfig {
            lease: LeaseConfig::default(),
            poll_interval: Duration::from_secs(1),
            fairness: Fairness::default(),
            lock_delay: Duration::ZERO,
            metrics_group: None,
        }
    }
}

builder! {
    /// Builds a [`MutexConfig`]: what is not set stays at its default.
    MutexConfigBuilder of MutexConfig, or ConfigError;
    /// See [`MutexConfig::lease`]: all that is set one by one below.
    lease(LeaseConfig) sets lease;
    /// See [`LeaseConfig::ttl`].
    ttl(Duration) sets lease.ttl;
    /// See [`LeaseConfig::refresh_interval`].
    refresh_interval(Duration) sets lease.refresh_interval;
    /// See [`LeaseConfig::jitter`].
    jitter(Ppm) sets lease.jitter;
    /// See [`LeaseConfig::renew_timeout`].
    renew_timeout(Duration) sets lease.renew_timeout;
    /// See [`LeaseConfig::drift`].
    drift(Ppm) sets lease.drift;
    /// See [`LeaseConfig::delay_bound`].
    delay_bound(Duration) sets lease.delay_bound;
    /// See [`MutexConfig::poll_interval`].
    poll_interval(Duration) sets poll_interval;
    /// See [`MutexConfig::fairness`].
    fairness(Fairness) sets fairness;
    /// See [`MutexConfig::lock_delay`].
    lock_delay(Duration) sets lock_delay;
}

impl MutexConfigBuilder {
    /// See [`MutexConfig::metrics_group`].
    pub fn metrics_group(mut self, group: impl Into<String>) -> Self {
        self.0.metrics_group = Some(group.into());
        self
    }
}

impl MutexConfig {
    /// Begins with everything at its default.
    ///
    /// ```
    /// use core::time::Duration;
    /// use fencepost::mutex::{Fairness, MutexConfig};
    ///
    /// let config = MutexConfig::builder().ttl(Duration::from_secs(30)).fairness(Fairness::Fifo).build()?;
    /// assert_eq!(config.lease.ttl, Duration::from_secs(30));
    ///
    /// let refused = MutexConfig::builder().ttl(Duration::from_secs(4)).build().unwrap_err();
    /// assert!(refused.to_string().ends_with("smallest change: ttl 15s, or refresh_interval 1.333s"), "{refused}");
    /// # Ok::<(), fencepost::lease::ConfigError>(())
    /// ```
    pub fn builder() -> MutexConfigBuilder {
        MutexConfigBuilder(MutexConfig::default())
    }

    /// Checks the configuration: `terms` for those who only want to know.
    ///
    /// # Errors
    ///
    /// See [`MutexConfig::terms`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.terms().map(|_| ())
    }

    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the fields, their values and the smallest change that would be accepted.
    pub fn terms(&self) -> Result<MutexTerms, ConfigError> {
        positive("poll_interval", self.poll_interval)?;
        self.lease.terms()?;
        Ok(self.unchecked_terms())
    }

    /// The terms of a configuration that nobody has checked: how a laboratory reproduces what others use.
    #[doc(hidden)]
    pub fn unchecked_terms(&self) -> MutexTerms {
        let lease = self.lease.unchecked_terms();
        MutexTerms {
            poll: Jittered::around(self.poll_interval.into(), self.lease.jitter),
            entry_ttl: lease.ttl() + self.lock_delay.into(),
            lease,
            config: self.clone(),
        }
    }
}

/// A mutex configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "MutexConfig", into = "MutexConfig"))]
pub struct MutexTerms {
    pub(super) config: MutexConfig,
    pub(super) lease: LeaseTerms,
    pub(super) poll: Jittered,
    pub(super) entry_ttl: Span,
}

impl TryFrom<MutexConfig> for MutexTerms {
    type Error = ConfigError;
    fn try_from(config: MutexConfig) -> Result<MutexTerms, ConfigError> {
        config.terms()
    }
}

impl From<MutexTerms> for MutexConfig {
    fn from(terms: MutexTerms) -> MutexConfig {
        terms.config
    }
}

impl MutexTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &MutexConfig {
        &self.config
    }

    /// The terms of the lease.
    pub fn lease(&self) -> &LeaseTerms {
        &self.lease
    }

    /// How long a waiter pauses between two attempts.
    pub fn poll(&self) -> Jittered {
        self.poll
    }

    /// How long the key stays locked after the last renewal: the time to live and the lock delay.
    pub fn entry_ttl(&self) -> Span {
        self.entry_ttl
    }
}
