//! How a locker behaves, checked.

use core::time::Duration;

use crate::builder::builder;
use crate::lease::{ConfigError, Jittered, LeaseTerms, positive};
use crate::mutex::{Fairness, MutexConfig, MutexTerms};
use crate::time::{Instant, Span};

/// One protection of a locker, which a laboratory can switch off to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum LockerProtection {
    /// A holder is revoked before another one enters: nobody writes itself over a live holder.
    RevokeBeforeEntry,
    /// A holder looks for a newer request whenever it renews. Without, it only hears a hint that is sent once.
    RecordedRequest,
    /// Whoever wants to enter is the contender first, and so can be superseded before it is told that it holds.
    ListenBeforeClaim,
    /// Whoever waits looks for a newer request whenever it polls. Without, it looks once it has the lock.
    WaiterLooks,
    /// Requests supersede each other for a bounded time only.
    StormBound,
    /// A holder ends its own belief when its time is up.
    OwnLimit,
}

/// How a locker behaves. Check it with [`LockerConfig::terms`]. What is `None` is switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LockerConfig {
    /// How the lock is kept, and how often a waiter looks. The newest request wins, so fairness plays no part.
    pub mutex: MutexConfig,
    /// How long a request waits at most until it has taken the lock; the lock delay comes after that. Default 20 s.
    pub lock_timeout: Option<Duration>,
    /// How long a caller holds at most, from the moment at which it was told. Default 30 min 30 s.
    pub max_lock_duration: Option<Duration>,
    /// How long a holder that was asked to yield may go on. Default 10 s.
    pub preemption_timeout: Option<Duration>,
    /// How long after it has taken the lock a caller is told so. A newer request makes it give way until then.
    /// Default 10 s.
    pub lock_delay: Option<Duration>,
    /// For how long requests may supersede each other, on the store's clock, before nobody supersedes the one that
    /// waits until it was told that it holds. Default 1 min.
    pub storm_bound: Option<Duration>,
    /// A protection that is off. Laboratory only.
    #[cfg(feature = "ablation")]
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ablated: Option<LockerProtection>,
}

impl Default for LockerConfig {
    fn default() -> LockerConfig {
        LockerConfig {
            mutex: MutexConfig::default(),
            lock_timeout: Some(Duration::from_secs(20)),
            max_lock_duration: Some(Duration::from_secs(30 * 60 + 30)),
            preemption_timeout: Some(Duration::from_secs(10)),
            lock_delay: Some(Duration::from_secs(10)),
            storm_bound: Some(Duration::from_secs(60)),
            #[cfg(feature = "ablation")]
            ablated: None,
        }
    }
}

builder! {
    /// Builds a [`LockerConfig`]: what is not set stays at its default, and what is set to `None` is switched off.
    LockerConfigBuilder of LockerConfig, or ConfigError;
    /// See [`LockerConfig::mutex`].
    mutex(MutexConfig) sets mutex;
    /// See [`LockerConfig::lock_timeout`].
    lock_timeout(impl Into<Option<Duration>>) sets lock_timeout;
    /// See [`LockerConfig::max_lock_duration`].
    max_lock_duration(impl Into<Option<Duration>>) sets max_lock_duration;
    /// See [`LockerConfig::preemption_timeout`].
    preemption_timeout(impl Into<Option<Duration>>) sets preemption_timeout;
    /// See [`LockerConfig::lock_delay`].
    lock_delay(impl Into<Option<Duration>>) sets lock_delay;
    /// See [`LockerConfig::storm_bound`].
    storm_bound(impl Into<Option<Duration>>) sets storm_bound;
}

impl LockerConfig {
    /// Begins with everything at its default.
    pub fn builder() -> LockerConfigBuilder {
        LockerConfigBuilder(LockerConfig::default())
    }

    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the fields, their values and what would be accepted. A length that is to be switched off is
    /// `None`, not zero.
    pub fn terms(&self) -> Result<LockerTerms, ConfigError> {
        for (field, length) in [
            ("lock_timeout", self.lock_timeout),
            ("max_lock_duration", self.max_lock_duration),
            ("preemption_timeout", self.preemption_timeout),
            ("lock_delay", self.lock_delay),
            ("storm_bound", self.storm_bound),
        ] {
            length.map_or(Ok(()), |length| positive(field, length))?;
        }
        self.mutex.validate()?;
        let mutex = MutexConfig { fairness: Fairness::Unordered, ..self.mutex.clone() }.unchecked_terms();
        let or_never = |length: Option<Duration>| length.map_or(Span::MAX, Span::from);
        let storm = if self.has(LockerProtection::StormBound) { self.storm_bound } else { None };
        Ok(LockerTerms {
            timeout: or_never(self.lock_timeout),
            limit: or_never(self.max_lock_duration),
            grace: or_never(self.preemption_timeout),
            delay: self.lock_delay.map_or(Span::ZERO, Span::from),
            storm: or_never(storm),
            mutex,
            config: self.clone(),
        })
    }

    #[cfg(feature = "ablation")]
    fn has(&self, protection: LockerProtection) -> bool {
        self.ablated != Some(protection)
    }

    #[cfg(not(feature = "ablation"))]
    const fn has(&self, _: LockerProtection) -> bool {
        true
    }
}

/// A locker's configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "LockerConfig", into = "LockerConfig"))]
pub struct LockerTerms {
    config: LockerConfig,
    pub(super) mutex: MutexTerms,
    pub(super) timeout: Span,
    pub(super) limit: Span,
    pub(super) grace: Span,
    pub(super) delay: Span,
    pub(super) storm: Span,
}

impl TryFrom<LockerConfig> for LockerTerms {
    type Error = ConfigError;
    fn try_from(config: LockerConfig) -> Result<LockerTerms, ConfigError> {
        config.terms()
    }
}

impl From<LockerTerms> for LockerConfig {
    fn from(terms: LockerTerms) -> LockerConfig {
        terms.config
    }
}

impl LockerTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &LockerConfig {
        &self.config
    }

    /// The terms of its lock.
    pub fn mutex(&self) -> &MutexTerms {
        &self.mutex
    }

    /// How long a caller holds at most; [`Span::MAX`], if that is switched off.
    pub fn limit(&self) -> Span {
        self.limit
    }

    /// How long a holder that was asked may go on; [`Span::MAX`], if that is switched off.
    pub fn grace(&self) -> Span {
        self.grace
    }

    /// How long after it has taken the lock a caller is told.
    pub fn delay(&self) -> Span {
        self.delay
    }

    /// Within what time a holder has looked for a newer request, and heard what it found, although one such look may
    /// have failed.
    pub fn notice(&self) -> Span {
        self.lease().refresh().longest() + self.lease().timeout() * 2
    }

    /// After how long a contender revokes a holder that has neither yielded nor ended its own belief: by then, a holder
    /// that lives has heard of it, and its grace is over.
    pub fn patience(&self) -> Span {
        let patience = self.notice() + self.grace;
        patience + patience.portion(self.config.mutex.lease.drift)
    }

    /// Within what time somebody is told that it holds, however many requests come, if nothing goes wrong: requests
    /// supersede each other, then the holder has to be asked, and revoked, and its entry to expire, and the lock delay to
    /// pass. [`Span::MAX`], if one of these is switched off.
    pub fn contention(&self) -> Span {
        let each = self.mutex.poll().longest() * 2 + self.lease().timeout() * 4;
        let storm = self.config.storm_bound.map_or(Span::MAX, Span::from);
        storm + self.patience() + self.mutex.entry_ttl() + self.delay + each
    }

    /// Whether a protection is on. Always, but in a laboratory.
    pub fn has(&self, protection: LockerProtection) -> bool {
        self.config.has(protection)
    }

    /// When a holder's own clock ends what it is allowed.
    pub(super) fn end_after(&self, now: Instant, length: Span) -> Instant {
        if self.has(LockerProtection::OwnLimit) { now + length } else { Instant::MAX }
    }

    pub(super) fn lease(&self) -> &LeaseTerms {
        self.mutex.lease()
    }

    pub(super) fn poll(&self) -> Jittered {
        self.mutex.poll()
    }
}
