//! How a flag behaves, checked.

use core::time::Duration;

use alloc::string::String;

use crate::builder::builder;
use crate::lease::{ConfigError, Jittered, LeaseConfig, Protection, first_where};
use crate::mutex::{Fairness, MutexConfig, MutexTerms};
use crate::time::{Ppm, Span};

use super::Process;

/// One protection of a flag, which a laboratory can switch off to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FlagProtection {
    /// A raised flag ends by itself on its own clock, and not only when it is told.
    SelfExpiry,
    /// A record names the very incarnation that wrote it, and not only a process.
    Identity,
    /// A failed renewal is tried again while the lease lasts.
    RetryInsideInterval,
    /// A flag is lowered before the store is asked to release it.
    LowerFirst,
    /// A term lower than one that was seen before is not believed.
    TermOrder,
}

/// How a flag behaves. Check it with [`FlagConfig::terms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FlagConfig {
    /// What is led: different flags have different leaders. The host makes the key of it.
    pub name: String,
    /// The name of this process, which the others see when it leads.
    pub process: String,
    /// How long the leadership of a process lasts that is not heard of. The leader renews it each third of this; a dead
    /// one is replaced after this and a check. Default 30 s.
    pub interval: Duration,
    /// How long everybody else waits between two looks at who leads. Default 5 s.
    pub check_interval: Duration,
    /// After how long an unanswered request is sent again. Default 1 s.
    pub timeout: Duration,
    /// How much renewals and checks vary, to either side. Below 100 %. Default 20 %.
    pub jitter: Ppm,
    /// By how much this process's clock and the store's may differ in speed. Below 100 %. Default 0.1 %.
    pub drift: Ppm,
    /// How much earlier than the store the leader stops believing, so that what it has already sent to others arrives
    /// while it still leads. Default 50 ms.
    pub delay_bound: Duration,
    /// It never leads, and only sees who does. Default false.
    pub standby: bool,
    /// A protection that is off. Laboratory only.
    #[cfg(feature = "ablation")]
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ablated: Option<FlagProtection>,
}

/// Why a flag's configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagConfigError {
    /// A name is missing.
    #[error("{field} is empty; it needs at least one character")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A duration that must be positive is zero.
    #[error("{field} is 0; it must be positive")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// A ratio reaches the whole.
    #[error("{field} is {value}; it must be below 100%")]
    Ratio {
        /// The field.
        field: &'static str,
        /// Its value.
        value: Ppm,
    },
    /// The leadership could end before a failed renewal has been tried again.
    #[error(
        "interval {interval:?} is too short: it must exceed interval / 3 = {renewal:?} · (1 + jitter {jitter}) + \
         timeout {timeout:?} + delay_bound {delay:?} + drift {drift} · interval = {needed:?}; {remedy}"
    )]
    TooShort {
        /// The interval.
        interval: Duration,
        /// How long after one renewal the next one starts.
        renewal: Duration,
        /// The jitter.
        jitter: Ppm,
        /// The time-out.
        timeout: Duration,
        /// The delay bound.
        delay: Duration,
        /// The assumed drift.
        drift: Ppm,
        /// What the interval must exceed.
        needed: Duration,
        /// The smallest change that would be accepted.
        remedy: String,
    },
}

builder! {
    /// Builds a [`FlagConfig`]: what is not set stays at its default.
    FlagConfigBuilder of FlagConfig, or FlagConfigError;
    /// See [`FlagConfig::interval`].
    interval(Duration) sets interval;
    /// See [`FlagConfig::check_interval`].
    check_interval(Duration) sets check_interval;
    /// See [`FlagConfig::timeout`].
    timeout(Duration) sets timeout;
    /// See [`FlagConfig::jitter`].
    jitter(Ppm) sets jitter;
    /// See [`FlagConfig::drift`].
    drift(Ppm) sets drift;
    /// See [`FlagConfig::delay_bound`].
    delay_bound(Duration) sets delay_bound;
    /// See [`FlagConfig::standby`].
    standby(bool) sets standby;
}

impl FlagConfig {
    /// Begins with a flag of that name for that process, and everything else by default.
    pub fn builder(name: &str, process: &str) -> FlagConfigBuilder {
        FlagConfigBuilder(FlagConfig::new(name, process))
    }

    /// A flag of that name for that process, and everything else by default.
    pub fn new(name: &str, process: &str) -> FlagConfig {
        FlagConfig {
            name: name.into(),
            process: process.into(),
            interval: Duration::from_secs(30),
            check_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            jitter: Ppm::percent(20),
            drift: Ppm(1_000),
            delay_bound: Duration::from_millis(50),
            standby: false,
            #[cfg(feature = "ablation")]
            ablated: None,
        }
    }

    /// Checks the configuration: `terms` for those who only want to know.
    ///
    /// # Errors
    ///
    /// See [`FlagConfig::terms`].
    pub fn validate(&self) -> Result<(), FlagConfigError> {
        self.terms().map(|_| ())
    }

    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`FlagConfigError`] names the fields, their values and the smallest change that would be accepted.
    pub fn terms(&self) -> Result<FlagTerms, FlagConfigError> {
        if self.name.is_empty() {
            return Err(FlagConfigError::Empty { field: "name" });
        }
        let Ok(process) = Process::new(&self.process) else {
            return Err(FlagConfigError::Empty { field: "process" });
        };
        let durations =
            [("interval", self.interval), ("check_interval", self.check_interval), ("timeout", self.timeout)];
        for (field, value) in durations {
            if value.is_zero() {
                return Err(FlagConfigError::Zero { field });
            }
        }
        self.lease().terms().map_err(|error| self.refusal(&error))?;
        let check = Jittered::around(self.check_interval.into(), self.jitter);
        let mutex = self.mutex().unchecked_terms();
        Ok(FlagTerms { turn: check.longest() * 2, check, mutex, process, config: self.clone() })
    }

    /// How its lease is kept.
    fn lease(&self) -> LeaseConfig {
        LeaseConfig {
            ttl: self.interval,
            refresh_interval: self.interval / 3,
            jitter: self.jitter,
            renew_timeout: self.timeout,
            drift: self.drift,
            delay_bound: self.delay_bound,
            #[cfg(feature = "ablation")]
            ablated: self.ablated.and_then(FlagProtection::of_lease),
        }
    }

    fn mutex(&self) -> MutexConfig {
        MutexConfig {
            lease: self.lease(),
            poll_interval: self.check_interval,
            fairness: Fairness::Unordered,
            lock_delay: Duration::ZERO,
            metrics_group: None,
        }
    }

    /// What its lease is refused for, in the words of this configuration.
    fn refusal(&self, error: &ConfigError) -> FlagConfigError {
        match *error {
            ConfigError::Ratio { field, value } => FlagConfigError::Ratio { field, value },
            // A third of the interval is zero only where it is far too short anyway.
            ConfigError::Zero { .. } | ConfigError::TooShort { .. } | ConfigError::TooFewRenewals { .. } => {
                FlagConfigError::TooShort {
                    interval: self.interval,
                    renewal: self.interval / 3,
                    jitter: self.jitter,
                    timeout: self.timeout,
                    delay: self.delay_bound,
                    drift: self.drift,
                    needed: self.lease().needed().into(),
                    remedy: self.remedy(),
                }
            }
        }
    }

    /// The shortest interval and the longest time-out that would do, each with all else unchanged, in milliseconds.
    fn remedy(&self) -> String {
        let millis = Duration::from_millis;
        let with_interval = |ms: u64| FlagConfig { interval: millis(ms), ..self.clone() };
        let with_timeout = |ms: u64| FlagConfig { timeout: millis(ms), ..self.clone() };
        let most = u64::MAX / 1_000_000 / 2_000_000;
        let interval = first_where(most, |ms| with_interval(ms).lease().is_sound()).map(millis);
        let first_too_long = first_where(most, |ms| !with_timeout(ms).lease().is_sound());
        let timeout = first_too_long.filter(|&ms| ms > 1).map(|ms| millis(ms - 1));
        match (interval, timeout) {
            (Some(interval), Some(timeout)) => {
                alloc::format!("smallest change: interval {interval:?}, or timeout {timeout:?}")
            }
            (Some(interval), None) => alloc::format!("smallest change: interval {interval:?}"),
            (None, _) => String::from("no interval would do with this jitter and drift; lower them"),
        }
    }
}

impl FlagProtection {
    /// The protection of its lease that it is, if it is one.
    #[cfg_attr(not(feature = "ablation"), expect(dead_code, reason = "only a laboratory asks"))]
    fn of_lease(self) -> Option<Protection> {
        match self {
            FlagProtection::Identity => Some(Protection::Identity),
            FlagProtection::RetryInsideInterval => Some(Protection::RetryInsideTtl),
            FlagProtection::SelfExpiry | FlagProtection::LowerFirst | FlagProtection::TermOrder => None,
        }
    }
}

/// A flag's configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "FlagConfig", into = "FlagConfig"))]
pub struct FlagTerms {
    pub(super) config: FlagConfig,
    pub(super) process: Process,
    pub(super) mutex: MutexTerms,
    pub(super) check: Jittered,
    pub(super) turn: Span,
}

impl TryFrom<FlagConfig> for FlagTerms {
    type Error = FlagConfigError;
    fn try_from(config: FlagConfig) -> Result<FlagTerms, FlagConfigError> {
        config.terms()
    }
}

impl From<FlagTerms> for FlagConfig {
    fn from(terms: FlagTerms) -> FlagConfig {
        terms.config
    }
}

impl FlagTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &FlagConfig {
        &self.config
    }

    /// The terms of the lock that a leader holds.
    pub fn mutex(&self) -> &MutexTerms {
        &self.mutex
    }

    /// The name of this process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// How long everybody but the leader waits between two looks.
    pub fn check(&self) -> Jittered {
        self.check
    }

    /// How long whoever has resigned lets others go first: two of the longest checks.
    pub fn turn(&self) -> Span {
        self.turn
    }

    /// How long nobody leads at most after a leader died, where messages take no time: its interval passes on the store's
    /// clock, then somebody checks. A request that is lost meanwhile costs a time-out.
    pub fn takeover(&self) -> Span {
        let interval = Span::from(self.config.interval);
        let waits = interval + self.check.longest();
        waits + waits.portion(self.config.drift)
    }
}
