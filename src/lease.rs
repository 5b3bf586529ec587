//! Lease arithmetic: how long a holder may believe, when it renews, and which configurations are safe.
//!
//! A lease is a promise with two clocks. The store's clock decides when the entry dies; the holder's own
//! monotonic clock decides when the holder stops believing, and the second must never come after the first.
//! Counting from the moment the request was *sent*, and giving away the assumed drift and a margin, makes it so:
//!
//! ```text
//! holder   sent ├──────────── believes ────────────┤ drift · ttl │ delay bound │
//! store          applied ├──────────────────────────── ttl ────────────────────┤ expired
//! ```
//!
//! | rule | why |
//! |---|---|
//! | `until = sent + ttl − drift · ttl − delay_bound` | the store counts from a later moment, on a clock that may run faster by `drift`; what the holder sends to a third party may take `delay_bound` |
//! | `ttl > refresh · (1 + jitter) + renew_timeout + delay_bound + drift · ttl` | one renewal may fail by a full time-out, and the next still starts inside the lease |
//! | `ttl ≥ 3 · refresh` | more than one renewal may fail |
//!
//! An unknown answer is treated as no answer yet: the next attempt starts when this one's time-out ends.

use core::time::Duration;

use alloc::string::String;

use crate::machine::Relocate;
use crate::store::Revision;
use crate::time::{Instant, Now, Ppm, Span};

/// One protection of a lease, which a laboratory can switch off to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Protection {
    /// A record names the very acquisition that wrote it, so nobody takes another's record for his own.
    Identity,
    /// A release deletes the holder's own revision only.
    CompareOnRelease,
    /// A lease counts from the moment its request was sent, not from the reply.
    DeadlineFromSend,
    /// A failed renewal is tried again while the lease lasts.
    RetryInsideTtl,
    /// A claim of unknown outcome is repeated until its outcome is known.
    Reconciliation,
    /// The holder gives away the assumed drift.
    DriftMargin,
}

/// How a lease is kept. Check it with [`LeaseConfig::terms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LeaseConfig {
    /// How long an entry lives without being renewed, on the store's clock. Default 15 s.
    pub ttl: Duration,
    /// How long after one renewal the next one starts. Default 5 s.
    pub refresh_interval: Duration,
    /// How much the refresh and poll intervals vary, to either side. Below 100 %. Default 10 %.
    pub jitter: Ppm,
    /// After how long an unanswered request is sent again. Default 2 s.
    pub renew_timeout: Duration,
    /// By how much the holder's clock and the store's may differ in speed. Below 100 %. Default 0.1 %.
    pub drift: Ppm,
    /// How much earlier than the store the holder stops believing, so that what it has already sent to others
    /// arrives while the lease still lasts. Default 50 ms.
    pub delay_bound: Duration,
    /// Protections that are off. Laboratory only.
    #[cfg(feature = "ablation")]
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ablated: Option<Protection>,
}

impl Default for LeaseConfig {
    fn default() -> LeaseConfig {
        LeaseConfig {
            ttl: Duration::from_secs(15),
            refresh_interval: Duration::from_secs(5),
            jitter: Ppm::percent(10),
            renew_timeout: Duration::from_secs(2),
            drift: Ppm(1_000),
            delay_bound: Duration::from_millis(50),
            #[cfg(feature = "ablation")]
            ablated: None,
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
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
    /// The lease could end before a failed renewal has been tried again.
    #[error(
        "ttl {ttl:?} is too short: it must exceed refresh_interval {refresh:?} · (1 + jitter {jitter}) + \
         renew_timeout {timeout:?} + delay_bound {delay:?} + drift {drift} · ttl = {needed:?}; {remedy}"
    )]
    TooShort {
        /// The time to live.
        ttl: Duration,
        /// The refresh interval.
        refresh: Duration,
        /// The jitter.
        jitter: Ppm,
        /// The time-out of a renewal.
        timeout: Duration,
        /// The delay bound.
        delay: Duration,
        /// The assumed drift.
        drift: Ppm,
        /// What the time to live must exceed.
        needed: Duration,
        /// The smallest change that would be accepted.
        remedy: String,
    },
    /// Fewer than three renewals fit into a time to live.
    #[error("ttl {ttl:?} holds fewer than 3 renewals of refresh_interval {refresh:?}; {remedy}")]
    TooFewRenewals {
        /// The time to live.
        ttl: Duration,
        /// The refresh interval.
        refresh: Duration,
        /// The smallest change that would be accepted.
        remedy: String,
    },
}

/// Refuses a zero duration.
pub(crate) fn positive(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value.is_zero() { Err(ConfigError::Zero { field }) } else { Ok(()) }
}

impl LeaseConfig {
    /// Checks the configuration and works out its terms.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the fields, their values and the smallest change that would be accepted.
    pub fn terms(&self) -> Result<LeaseTerms, ConfigError> {
        positive("ttl", self.ttl)?;
        positive("refresh_interval", self.refresh_interval)?;
        positive("renew_timeout", self.renew_timeout)?;
        for (field, value) in [("jitter", self.jitter), ("drift", self.drift)] {
            if value >= Ppm::ONE {
                return Err(ConfigError::Ratio { field, value });
            }
        }
        if !self.outlasts_a_failed_renewal() {
            return Err(ConfigError::TooShort {
                ttl: self.ttl,
                refresh: self.refresh_interval,
                jitter: self.jitter,
                timeout: self.renew_timeout,
                delay: self.delay_bound,
                drift: self.drift,
                needed: self.needed().into(),
                remedy: self.remedy(),
            });
        }
        if !self.holds_three_renewals() {
            let (ttl, refresh, remedy) = (self.ttl, self.refresh_interval, self.remedy());
            return Err(ConfigError::TooFewRenewals { ttl, refresh, remedy });
        }
        Ok(self.unchecked_terms())
    }

    /// The terms of a configuration that nobody has checked: how a laboratory reproduces what others use.
    #[doc(hidden)]
    pub fn unchecked_terms(&self) -> LeaseTerms {
        let (ttl, refresh) = (Span::from(self.ttl), Span::from(self.refresh_interval));
        let drift = if self.has(Protection::DriftMargin) { ttl.portion(self.drift) } else { Span::ZERO };
        LeaseTerms {
            ttl,
            belief: ttl.minus(drift).minus(self.delay_bound.into()),
            refresh: Jittered::around(refresh, self.jitter),
            timeout: self.renew_timeout.into(),
            config: self.clone(),
        }
    }

    #[cfg(feature = "ablation")]
    fn has(&self, protection: Protection) -> bool {
        self.ablated != Some(protection)
    }

    #[cfg(not(feature = "ablation"))]
    const fn has(&self, _: Protection) -> bool {
        true
    }

    /// What the time to live must exceed.
    pub(crate) fn needed(&self) -> Span {
        let refresh = Span::from(self.refresh_interval);
        let drift = Span::from(self.ttl).portion(self.drift);
        refresh + refresh.portion(self.jitter) + self.renew_timeout.into() + self.delay_bound.into() + drift
    }

    fn outlasts_a_failed_renewal(&self) -> bool {
        Span::from(self.ttl) > self.needed()
    }

    fn holds_three_renewals(&self) -> bool {
        Span::from(self.ttl) >= Span::from(self.refresh_interval) * 3
    }

    /// Whether a failed renewal is tried again in time.
    pub(crate) fn is_sound(&self) -> bool {
        self.outlasts_a_failed_renewal() && self.holds_three_renewals()
    }

    /// The shortest time to live and the longest refresh interval that would do, each with all else unchanged.
    fn remedy(&self) -> String {
        let grain = if self.ttl >= Duration::from_millis(1) { 1_000_000 } else { 1 };
        let with_ttl = |steps: u64| LeaseConfig { ttl: Duration::from_nanos(steps * grain), ..self.clone() };
        let with_refresh = |steps: u64| LeaseConfig {
            refresh_interval: Duration::from_nanos(steps * grain),
            ..self.clone()
        };
        // Whatever the drift, no time to live beyond this can be the smallest that does.
        let most = u64::MAX / grain / 2_000_000;
        let longer = first_where(most, |steps| with_ttl(steps).is_sound());
        let first_too_long = first_where(most, |steps| !with_refresh(steps).is_sound());
        let ttl = longer.map(|steps| with_ttl(steps).ttl);
        match (ttl, first_too_long.filter(|&steps| steps > 1).map(|steps| steps - 1)) {
            (Some(ttl), Some(steps)) => alloc::format!(
                "smallest change: ttl {ttl:?}, or refresh_interval {:?}",
                with_refresh(steps).refresh_interval
            ),
            (Some(ttl), None) => alloc::format!("smallest change: ttl {ttl:?}"),
            (None, _) => String::from("no ttl would do with this drift; lower it"),
        }
    }
}

/// The smallest number from 1 to `most` of which `holds` is true, if it is false before and true from there on.
pub(crate) fn first_where(most: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (1, most);
    if !holds(high) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

/// A length that varies by a draw, uniformly, to either side of its mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jittered {
    shortest: Span,
    width: Span,
}

impl Jittered {
    /// `mean`, give or take the part of it that `jitter` names.
    pub fn around(mean: Span, jitter: Ppm) -> Jittered {
        let spread = mean.portion(jitter);
        Jittered { shortest: mean.minus(spread), width: spread * 2 }
    }

    /// The longest such length.
    pub fn longest(self) -> Span {
        self.shortest + self.width
    }

    /// The moment that lies one such length after `now`.
    pub fn after(self, now: Now) -> Instant {
        now.mono + self.shortest + self.width.drawn(now.draw)
    }
}

/// A lease configuration that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(into = "LeaseConfig"))]
pub struct LeaseTerms {
    config: LeaseConfig,
    ttl: Span,
    belief: Span,
    refresh: Jittered,
    timeout: Span,
}

impl From<LeaseTerms> for LeaseConfig {
    fn from(terms: LeaseTerms) -> LeaseConfig {
        terms.config
    }
}

impl LeaseTerms {
    /// The configuration they came from.
    pub fn config(&self) -> &LeaseConfig {
        &self.config
    }

    /// How long an entry lives in the store without renewal.
    pub fn ttl(&self) -> Span {
        self.ttl
    }

    /// How long a holder believes, from the moment its request was sent.
    pub fn belief(&self) -> Span {
        self.belief
    }

    /// How long after one renewal the next one starts.
    pub fn refresh(&self) -> Jittered {
        self.refresh
    }

    /// After how long an unanswered request is sent again.
    pub fn timeout(&self) -> Span {
        self.timeout
    }

    /// Whether a protection is on. Always, but in a laboratory.
    pub fn has(&self, protection: Protection) -> bool {
        self.config.has(protection)
    }

    /// Until when a lease may be believed whose request was sent at `sent` and answered at `now`.
    fn until(&self, sent: Instant, now: Instant) -> Instant {
        let base = if self.has(Protection::DeadlineFromSend) { sent } else { now };
        base + self.belief
    }
}

/// A lease that is held: what it is called, how long it may be believed, and when it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    revision: Revision,
    until: Instant,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Renewal {
    Due(Instant),
    Sent(Instant),
    /// Given up; only where [`Protection::RetryInsideTtl`] is off.
    Stopped,
}

impl Lease {
    /// The lease that a request sent at `sent` has won; `None` if it may already have ended.
    pub fn granted(terms: &LeaseTerms, revision: Revision, sent: Instant, now: Now) -> Option<Lease> {
        let until = terms.until(sent, now.mono);
        let renewal = Renewal::Due(terms.refresh.after(Now { mono: sent, ..now }));
        (now.mono < until).then_some(Lease { revision, until, renewal })
    }

    /// The revision of the write that took it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The end of belief on the holder's clock.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether it may still be believed.
    pub fn is_held(&self, now: Instant) -> bool {
        now < self.until
    }

    /// When something is to be done next.
    pub fn deadline(&self, terms: &LeaseTerms) -> Instant {
        match self.renewal {
            Renewal::Due(at) => at.min(self.until),
            Renewal::Sent(at) => (at + terms.timeout).min(self.until),
            Renewal::Stopped => self.until,
        }
    }

    /// Whether a renewal is to be sent now; if so, it counts as sent.
    pub fn renews(&mut self, terms: &LeaseTerms, now: Instant) -> bool {
        let due = match self.renewal {
            Renewal::Due(at) => now >= at,
            Renewal::Sent(at) => now >= at + terms.timeout,
            Renewal::Stopped => false,
        };
        let gives_up = matches!(self.renewal, Renewal::Sent(_)) && !terms.has(Protection::RetryInsideTtl);
        match (due, gives_up) {
            (true, false) => self.renewal = Renewal::Sent(now),
            (true, true) => self.renewal = Renewal::Stopped,
            (false, _) => {}
        }
        due && !gives_up
    }

    /// Makes a renewal due now, unless one is under way.
    pub fn renew_now(&mut self, now: Instant) {
        if let Renewal::Due(at) = &mut self.renewal {
            *at = (*at).min(now);
        }
    }

    /// The store has applied the renewal that was sent last.
    pub fn renewed(&mut self, terms: &LeaseTerms, now: Now) {
        if let Renewal::Sent(sent) = self.renewal {
            self.until = self.until.max(terms.until(sent, now.mono));
            self.renewal = Renewal::Due(terms.refresh.after(Now { mono: sent, ..now }));
        }
    }

    /// See [`crate::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        map.revision(&mut self.revision);
        map.deadline(&mut self.until);
        match &mut self.renewal {
            Renewal::Due(at) => map.deadline(at),
            Renewal::Sent(at) => map.instant(at),
            Renewal::Stopped => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn config(ttl: u64, refresh: u64, timeout: u64) -> LeaseConfig {
        LeaseConfig {
            ttl: Duration::from_millis(ttl),
            refresh_interval: Duration::from_millis(refresh),
            renew_timeout: Duration::from_millis(timeout),
            ..LeaseConfig::default()
        }
    }

    #[test]
    fn a_refusal_names_the_fields_their_values_and_the_smallest_change() {
        let error = config(4_000, 5_000, 1_000).terms().unwrap_err();
        assert_eq!(
            error.to_string(),
            "ttl 4s is too short: it must exceed refresh_interval 5s · (1 + jitter 10%) + renew_timeout 1s + \
             delay_bound 50ms + drift 0.1% · ttl = 6.554s; smallest change: ttl 15s, or refresh_interval 1.333s"
        );
        let error = config(15_000, 7_500, 1_000).terms().unwrap_err();
        assert_eq!(
            error.to_string(),
            "ttl 15s holds fewer than 3 renewals of refresh_interval 7.5s; smallest change: ttl 22.5s, or \
             refresh_interval 5s"
        );
        let error = LeaseConfig { jitter: Ppm::ONE, ..LeaseConfig::default() }.terms().unwrap_err();
        assert_eq!(error.to_string(), "jitter is 100%; it must be below 100%");
        let error = config(0, 1, 1).terms().unwrap_err();
        assert_eq!(error.to_string(), "ttl is 0; it must be positive");
    }

    #[test]
    fn fractional_seconds_mean_what_they_say() {
        let terms = config(1_990, 400, 100).terms().unwrap();
        assert_eq!(terms.ttl(), Span::from_millis(1_990));
        assert_eq!(terms.belief(), Span::from_nanos(1_990_000_000 - 1_990_000 - 50_000_000));
    }

    proptest! {
        #[test]
        fn the_change_that_is_offered_is_accepted_and_the_smallest(
            ttl in 1u64..60_000, refresh in 1u64..30_000, timeout in 1u64..5_000, jitter in 0u32..999_999,
            drift in 0u32..500_000,
        ) {
            let config = LeaseConfig { jitter: Ppm(jitter), drift: Ppm(drift), ..config(ttl, refresh, timeout) };
            prop_assume!(config.terms().is_err());
            let most = 1 << 40;
            let with = |ttl: u64| LeaseConfig { ttl: Duration::from_millis(ttl), ..config.clone() };
            let smallest = first_where(most, |ttl| with(ttl).is_sound()).unwrap();
            prop_assert!(with(smallest).terms().is_ok());
            prop_assert!(with(smallest - 1).terms().is_err());
            let offered = alloc::format!("ttl {:?}", with(smallest).ttl);
            prop_assert!(config.terms().unwrap_err().to_string().contains(&offered));
        }

        #[test]
        fn belief_ends_before_the_entry_does_on_any_clocks_within_the_drift(
            ttl in 4_000u64..60_000, drift in 0u32..100_000, delay in 0u64..10_000, share in 0u32..=1_000_000,
        ) {
            let config = LeaseConfig { drift: Ppm(drift), ..config(ttl, 1_000, 500) };
            let terms = config.terms().unwrap();
            let sent = Instant::from_nanos(7);
            // The store applies it `delay` later and runs ahead of the holder by a part of the drift.
            let true_belief = terms.belief();
            let store_elapsed = true_belief + true_belief.portion(Ppm((u64::from(drift) * u64::from(share) / 1_000_000) as u32));
            prop_assert!(store_elapsed < terms.ttl() + Span::from_millis(delay));
            let lease = Lease::granted(&terms, Revision(1), sent, Now { mono: sent, ..Now::default() }).unwrap();
            prop_assert_eq!(lease.until(), sent + terms.belief());
        }
    }
}
