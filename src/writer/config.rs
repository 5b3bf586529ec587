//! How a writer behaves, checked.

use core::time::Duration;

use crate::builder::builder;
use crate::lease::{ConfigError, positive};
use crate::mutex::{Fairness, MutexConfig, MutexTerms};
use crate::time::{Draw, Instant, Ppm, Span};

/// One protection of a writer, which a laboratory can switch off to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum WriterProtection {
    /// A leader reads the end of its own term.
    OwnTerm,
    /// Work that was seen done settles that piece of work, and no other.
    WorkIdentity,
    /// However much work of others is seen during a wait, the next one is longer by one step.
    OneStepPerWait,
    /// A wait ends with the first unit that comes to its end, whatever its result.
    FirstEnd,
    /// A stop waits for what runs.
    Join,
    /// Work runs under the lock only, where there is one.
    UnderLock,
}

/// Who decides who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Arbiter {
    /// The work itself: whoever succeeds leads. No store is asked. It saves work; it excludes nobody.
    Work,
    /// A lock in a store: work runs under it only, and gets its token.
    Lock(MutexConfig),
}

/// How long whoever does not lead waits before it competes: `first`, then longer by `factor` and a part of that for
/// each step, and a whole term after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Backoff {
    /// The first wait. Default 20 ms.
    pub first: Duration,
    /// How many times longer each step is. Default 4.
    pub factor: u32,
    /// How many steps there are, 32 at most. Default 5.
    pub steps: u32,
    /// By which part of itself a step is made longer at random. Below 100 %. Default 50 %.
    pub jitter: Ppm,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(20), factor: 4, steps: 5, jitter: Ppm::percent(50) }
    }
}

/// How a writer behaves. Check it with [`WriterConfig::terms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct WriterConfig {
    /// For how long a success makes it lead, and the longest wait of whoever follows. Default 1 min.
    pub term: Duration,
    /// How long after its end a unit is run again that asks for it. Default 3 s.
    pub retry_interval: Duration,
    /// How long whoever follows waits.
    pub backoff: Backoff,
    /// How many units run at a time, each under a key of its own; 1 at least. Default 16. So many that never return
    /// leave no room for others.
    pub slots: u16,
    /// Who decides. Default: the work.
    pub arbiter: Arbiter,
    /// A protection that is off. Laboratory only.
    #[cfg(feature = "ablation")]
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ablated: Option<WriterProtection>,
}

impl Default for WriterConfig {
    fn default() -> WriterConfig {
        WriterConfig {
            term: Duration::from_secs(60),
            retry_interval: Duration::from_secs(3),
            backoff: Backoff::default(),
            slots: 16,
            arbiter: Arbiter::Work,
            #[cfg(feature = "ablation")]
            ablated: None,
        }
    }
}

/// Why a writer's configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriterConfigError {
    /// Its lock, or one of its quantities.
    #[error(transparent)]
    Quantity(#[from] ConfigError),
    /// Waits that would become shorter.
    #[error("backoff.factor is 0; it must be 1 at least")]
    Factor,
    /// More steps than any length of time has room for.
    #[error("backoff.steps is {steps}; 32 at most")]
    Steps {
        /// The steps.
        steps: u32,
    },
    /// A first wait that is longer than the longest.
    #[error("backoff.first is {first:?}; no wait is longer than the term, which is {term:?}")]
    First {
        /// The first wait.
        first: Duration,
        /// The term.
        term: Duration,
    },
}

const STEPS_MAX: u32 = 32;

impl Backoff {
    fn validate(&self, term: Duration) -> Result<(), WriterConfigError> {
        positive("backoff.first", self.first)?;
        if self.factor == 0 {
            return Err(WriterConfigError::Factor);
        }
        if self.steps > STEPS_MAX {
            return Err(WriterConfigError::Steps { steps: self.steps });
        }
        if self.jitter >= Ppm::ONE {
            return Err(ConfigError::Ratio { field: "backoff.jitter", value: self.jitter }.into());
        }
        if self.first > term {
            return Err(WriterConfigError::First { first: self.first, term });
        }
        Ok(())
    }

    /// How long the wait of that step is, of which the first is 0, where no wait is longer than `term`.
    pub fn wait(&self, step: u32, term: Span, draw: Draw) -> Span {
        if step > self.steps {
            return term;
        }
        let mut wait = Span::from(self.first);
        for _ in 0..step.min(STEPS_MAX) {
            wait = wait * u64::from(self.factor);
            wait = wait + wait.portion(self.jitter).drawn(draw);
        }
        wait.min(term)
    }
}

builder! {
    /// Builds a [`WriterConfig`]: what is not set stays at its default.
    WriterConfigBuilder of WriterConfig, or WriterConfigError;
    /// See [`WriterConfig::term`].
    term(Duration) sets term;
    /// See [`WriterConfig::retry_interval`].
    retry_interval(Duration) sets retry_interval;
    /// See [`WriterConfig::backoff`].
    backoff(Backoff) sets backoff;
    /// See [`WriterConfig::slots`].
    slots(u16) sets slots;
    /// See [`WriterConfig::arbiter`].
    arbiter(Arbiter) sets arbiter;
}

impl WriterConfig {
    /// Begins with everything at its default.
    pub fn builder() -> WriterConfigBuilder {
        WriterConfigBuilder(WriterConfig::default())
    }

    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`WriterConfigError`] names the field, its value and what would be accepted.
    pub fn terms(&self) -> Result<WriterTerms, WriterConfigError> {
        positive("term", self.term)?;
        positive("retry_interval", self.retry_interval)?;
        if self.slots == 0 {
            return Err(ConfigError::Zero { field: "slots" }.into());
        }
        self.backoff.validate(self.term)?;
        if let Arbiter::Lock(mutex) = &self.arbiter {
            mutex.validate()?;
        }
        Ok(self.unchecked_terms())
    }

    /// The terms of a configuration that nobody has checked.
    #[doc(hidden)]
    pub fn unchecked_terms(&self) -> WriterTerms {
        let mutex = match &self.arbiter {
            Arbiter::Work => None,
            Arbiter::Lock(mutex) => Some(MutexConfig { fairness: Fairness::Unordered, ..mutex.clone() }),
        };
        WriterTerms {
            mutex: mutex.map(|mutex| mutex.unchecked_terms()),
            term: self.term.into(),
            retry: self.retry_interval.into(),
            config: self.clone(),
        }
    }
}

/// A writer's configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "WriterConfig", into = "WriterConfig"))]
pub struct WriterTerms {
    config: WriterConfig,
    pub(super) mutex: Option<MutexTerms>,
    pub(super) term: Span,
    pub(super) retry: Span,
}

impl TryFrom<WriterConfig> for WriterTerms {
    type Error = WriterConfigError;
    fn try_from(config: WriterConfig) -> Result<WriterTerms, WriterConfigError> {
        config.terms()
    }
}

impl From<WriterTerms> for WriterConfig {
    fn from(terms: WriterTerms) -> WriterConfig {
        terms.config
    }
}

impl WriterTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &WriterConfig {
        &self.config
    }

    /// The terms of its lock, if it has one.
    pub fn mutex(&self) -> Option<&MutexTerms> {
        self.mutex.as_ref()
    }

    /// For how long a success makes it lead.
    pub fn term(&self) -> Span {
        self.term
    }

    /// How long the wait of that step is, of which the first is 0.
    pub fn wait(&self, step: u32, draw: Draw) -> Span {
        self.config.backoff.wait(step, self.term, draw)
    }

    /// The end of a term that begins now.
    pub(super) fn end_of_term(&self, now: Instant) -> Instant {
        if self.has(WriterProtection::OwnTerm) { now + self.term } else { Instant::MAX }
    }

    /// How long whoever competes leaves the others to do the work before it does it.
    pub fn courtesy(&self) -> Span {
        (Span::from(self.config.backoff.first) * 2).min(self.term)
    }

    /// From which step on a wait is a whole term.
    pub(super) fn last_step(&self) -> u32 {
        self.config.backoff.steps + 1
    }

    pub(super) fn slots(&self) -> usize {
        usize::from(self.config.slots)
    }

    /// Whether a protection is on. Always, but in a laboratory.
    #[cfg(feature = "ablation")]
    pub fn has(&self, protection: WriterProtection) -> bool {
        self.config.ablated != Some(protection)
    }

    /// Whether a protection is on. Always, but in a laboratory.
    #[cfg(not(feature = "ablation"))]
    pub const fn has(&self, _: WriterProtection) -> bool {
        true
    }
}
