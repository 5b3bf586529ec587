//! Calendars: when the next run of a recurring job is due.
//!
//! A [`Schedule`] is a pure function of the store's clock and of what is known of the last run. It reads no clock
//! and remembers nothing, so every instance that reads the same record computes the same occurrence.
//!
//! | schedule | after a run | never run | `after`, `until` |
//! |---|---|---|---|
//! | [`Schedule::Interval`] | its end + interval | at once: `now` | none: the next occurrence waits for a run to end |
//! | [`Schedule::RoundedInterval`] | (its end + interval) rounded down to whole intervals | at once: `now` | none, likewise |
//! | `Schedule::Cron` (feature `cron`) | the first match after its occurrence | the first match at or after `now` | the matches |
//! | [`Schedule::Custom`] | `now` + what the function answers | `now` + what the function answers | none |
//!
//! A run that never ended counts from its start. Rounding counts whole intervals in UTC from the midnight on which
//! the year 1 began, as Go's `time.Time.Truncate` does: 24 h is midnight, and 7 days is the midnight on which a
//! Monday begins.
//!
//! # The anchor of a job that never ran
//!
//! With a moving `now`, a calendar that never ran would always lie ahead. Whoever keeps the job's record therefore
//! notes once when the job was first seen, and from then on asks [`Schedule::next`] for that moment, as `now`,
//! until there is a last run. So a new cron job waits for its next match instead of making up for a past one,
//! and an interval is due at once.
//!
//! ```
//! use core::time::Duration;
//! use fencepost::calendar::{Last, Schedule};
//! use fencepost::time::{Span, StoreTime};
//!
//! let at = |minutes: u64| StoreTime::ZERO + Span::from_secs(60 * minutes);
//! let last = Last { occurrence: at(1), started: at(1), finished: Some(at(3)) };
//!
//! let every = Schedule::every(Duration::from_secs(300))?;
//! assert_eq!(every.next(at(4), None), Some(at(4)));
//! assert_eq!(every.next(at(4), Some(&last)), Some(at(8)));
//!
//! let rounded = Schedule::wait_for_rounded_interval(Duration::from_secs(300))?;
//! assert_eq!(rounded.next(at(4), Some(&last)), Some(at(5)));
//! # Ok::<(), fencepost::calendar::ScheduleError>(())
//! ```
//!
//! Source: `MakeWaitForInterval` and `MakeWaitForRoundedInterval` of Mattermost's plugin API, package `cluster`. What
//! those return is the wait, `next.since(now)`.

use alloc::string::String;
use core::time::Duration;

use crate::time::{Span, StoreTime};

#[cfg(feature = "cron")]
mod cron;
#[cfg(feature = "serde")]
mod written;

#[cfg(feature = "cron")]
pub use cron::CronSchedule;

/// From the first moment of the year 1 to the Unix epoch, in nanoseconds: rounding counts from there.
const YEAR_ONE_TO_EPOCH: u128 = 62_135_596_800 * 1_000_000_000;

/// The period assumed of a schedule that is somebody's function: one day.
const CUSTOM_PERIOD: Span = Span::from_secs(86_400);

/// What is known of a job's last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Last {
    /// When it was due.
    pub occurrence: StoreTime,
    /// When it started.
    pub started: StoreTime,
    /// When it ended, whatever its outcome; nothing, if nobody recorded an end.
    pub finished: Option<StoreTime>,
}

impl Last {
    /// The moment from which intervals count: its end, or its start if it never ended.
    fn counted_from(&self) -> StoreTime {
        self.finished.unwrap_or(self.started)
    }
}

/// When a recurring job is due. All points are on the store's clock.
///
/// Two schedules are equal if they are due at the same times for the same reason: the same interval, the same
/// expression and zone. Custom schedules are equal if they hold the same function pointer, which the compiler may
/// have made two of, or one for two functions; compare them only where that does no harm.
///
/// With the feature `serde` it is written as people write it, `{"interval":{"secs":300,"nanos":0}}` or
/// `{"cron":{"expression":"0 9 * * MON","zone":"Europe/Berlin"}}`, and checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    unpredictable_function_pointer_comparisons,
    reason = "said above; nothing in this crate depends on it"
)]
pub enum Schedule {
    /// So long after the end of the last run. Zero, which [`Schedule::validate`] refuses, means at once.
    Interval(Span),
    /// At the whole interval that follows the end of the last run, whatever the gap between them. Zero, which
    /// [`Schedule::validate`] refuses, means at once.
    RoundedInterval(Span),
    /// When a clock on the wall matches a cron expression.
    #[cfg(feature = "cron")]
    Cron(CronSchedule),
    /// As long after `now` as the function answers, which is asked anew at each look: after a run the job is due when it
    /// answers [`Span::ZERO`], so an answer that never shrinks never comes; [`Span::MAX`] means never. A job that
    /// never ran is due that long after its anchor.
    ///
    /// The function must depend on its arguments alone, or instances disagree and runs cannot be replayed. It is code:
    /// it cannot be serialised.
    Custom(fn(now: StoreTime, last: Option<&Last>) -> Span),
}

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// An interval that must be positive is zero.
    #[error("{field} is 0; it must be positive")]
    Zero {
        /// Which interval.
        field: &'static str,
    },
    /// A cron expression has too few or too many fields.
    #[error(
        "cron expression {expression:?} has {found} fields; accepted: 5 (minute, hour, day of month, month, day of \
         week), 6 with seconds in front, or @hourly, @daily, @weekly, @monthly, @yearly"
    )]
    Fields {
        /// The expression.
        expression: String,
        /// How many fields it has.
        found: usize,
    },
    /// A field of a cron expression is not understood.
    #[error("cron expression {expression:?}: {field} {found:?} is not understood; accepted: {accepted}")]
    Field {
        /// The expression.
        expression: String,
        /// The field's name.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        accepted: &'static str,
    },
    /// No day ever matches a cron expression.
    #[error(
        "cron expression {expression:?} never occurs; accepted: days that exist in at least one of its months, such \
         as 29 in month 2"
    )]
    Never {
        /// The expression.
        expression: String,
    },
    /// A cron expression was read by a program that was built without the feature `cron`.
    #[error("cron expression {expression:?} needs the feature `cron`; accepted without it: intervals")]
    WithoutCron {
        /// The expression.
        expression: String,
    },
    /// A time zone is not known.
    #[error(
        "time zone {zone:?} is not known; accepted: names of the IANA time zone database, such as Europe/Berlin or UTC"
    )]
    Zone {
        /// The zone's name.
        zone: String,
    },
}

impl Schedule {
    /// Runs so long after the end of the last run; another name of [`Schedule::wait_for_interval`].
    ///
    /// # Errors
    ///
    /// See [`Schedule::wait_for_interval`].
    pub fn every(interval: Duration) -> Result<Schedule, ScheduleError> {
        Schedule::wait_for_interval(interval)
    }

    /// Runs so long after the end of the last run, and at once if there was none. More than 584 years are for ever.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Zero`]: a job without a pause would never let go.
    pub fn wait_for_interval(interval: Duration) -> Result<Schedule, ScheduleError> {
        Schedule::Interval(interval.into()).validated()
    }

    /// Runs at whole intervals, counted in UTC from the year 1, and at once if there was no run.
    ///
    /// It promises no minimum gap: a run that ends at 12:04 is followed by one at 12:05, if the interval is 5 min.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Zero`]: there is nothing to round to.
    pub fn wait_for_rounded_interval(interval: Duration) -> Result<Schedule, ScheduleError> {
        Schedule::RoundedInterval(interval.into()).validated()
    }

    /// Runs when the clocks of a time zone match a cron expression: see [`CronSchedule`].
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] says what was not understood, and what would be.
    #[cfg(feature = "cron")]
    pub fn cron(expression: &str, zone: &str) -> Result<Schedule, ScheduleError> {
        CronSchedule::new(expression, zone).map(Schedule::Cron)
    }

    /// Checks a schedule that was not made by a constructor.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Zero`] if its interval is zero.
    pub fn validate(&self) -> Result<(), ScheduleError> {
        match self {
            Schedule::Interval(Span::ZERO) => Err(ScheduleError::Zero { field: "interval" }),
            Schedule::RoundedInterval(Span::ZERO) => Err(ScheduleError::Zero { field: "rounded interval" }),
            Schedule::Interval(_) | Schedule::RoundedInterval(_) | Schedule::Custom(_) => Ok(()),
            #[cfg(feature = "cron")]
            Schedule::Cron(_) => Ok(()),
        }
    }

    fn validated(self) -> Result<Schedule, ScheduleError> {
        self.validate().map(|()| self)
    }

    /// The occurrence that follows the last run; it is due if it is not later than `now`. For a job that never ran
    /// pass its anchor as `now`, as the module's documentation says.
    ///
    /// `None` says that there is none before the year 2554, where [`StoreTime`] ends.
    pub fn next(&self, now: StoreTime, last: Option<&Last>) -> Option<StoreTime> {
        let next = match (self, last) {
            (Schedule::Interval(_) | Schedule::RoundedInterval(_), None) => now,
            (Schedule::Interval(interval), Some(last)) => last.counted_from() + *interval,
            (Schedule::RoundedInterval(interval), Some(last)) => rounded(last.counted_from(), *interval),
            #[cfg(feature = "cron")]
            (Schedule::Cron(cron), None) => return cron.from(now),
            #[cfg(feature = "cron")]
            (Schedule::Cron(cron), Some(last)) => return cron.after(last.occurrence),
            (Schedule::Custom(wait), last) => now + wait(now, last),
        };
        Some(next).filter(|next| *next < StoreTime::MAX)
    }

    /// The latest occurrence that is due and was not run: the one that counts if several were missed.
    ///
    /// All but cron have at most one such occurrence, that of [`Schedule::next`]. For a cron job that never ran,
    /// the latest one since its anchor is `schedule.until(now).filter(|due| *due >= anchor)`.
    pub fn latest_due(&self, now: StoreTime, last: Option<&Last>) -> Option<StoreTime> {
        let earliest = self.next(now, last).filter(|due| *due <= now)?;
        Some(self.until(now).map_or(earliest, |latest| latest.max(earliest)))
    }

    /// The first occurrence after `at` that the calendar alone decides: how missed ones are caught up one by one.
    ///
    /// `None` if there is none before the year 2554, and always for schedules whose next occurrence depends on a run
    /// that has yet to end.
    #[cfg_attr(not(feature = "cron"), expect(unused_variables, reason = "only cron depends on the date"))]
    pub fn after(&self, at: StoreTime) -> Option<StoreTime> {
        match self {
            #[cfg(feature = "cron")]
            Schedule::Cron(cron) => cron.after(at),
            Schedule::Interval(_) | Schedule::RoundedInterval(_) | Schedule::Custom(_) => None,
        }
    }

    /// The last occurrence at or before `at` that the calendar alone decides.
    ///
    /// `None` if there is none since 1970, and always for schedules whose occurrences depend on runs.
    #[cfg_attr(not(feature = "cron"), expect(unused_variables, reason = "only cron depends on the date"))]
    pub fn until(&self, at: StoreTime) -> Option<StoreTime> {
        match self {
            #[cfg(feature = "cron")]
            Schedule::Cron(cron) => cron.until(at),
            Schedule::Interval(_) | Schedule::RoundedInterval(_) | Schedule::Custom(_) => None,
        }
    }

    /// How far apart two neighbouring occurrences near `at` are at most: the interval; for cron the longer of the gap
    /// around `at` and the one that follows; one day for a custom schedule, of which nothing is known.
    ///
    /// A record that claims a run further ahead of the store's clock than this was written by a clock that was
    /// wrong. [`Span::MAX`] if there is no later occurrence.
    #[cfg_attr(not(feature = "cron"), expect(unused_variables, reason = "only cron depends on the date"))]
    pub fn period_hint(&self, at: StoreTime) -> Span {
        match self {
            Schedule::Interval(interval) | Schedule::RoundedInterval(interval) => *interval,
            #[cfg(feature = "cron")]
            Schedule::Cron(cron) => cron.period_hint(at),
            Schedule::Custom(_) => CUSTOM_PERIOD,
        }
    }
}

/// The whole interval that follows `end`, or `end` itself if the interval is zero.
fn rounded(end: StoreTime, interval: Span) -> StoreTime {
    let interval = u128::from(interval.as_nanos());
    let target = u128::from(end.as_nanos()) + YEAR_ONE_TO_EPOCH + interval;
    let whole = target - target.checked_rem(interval).unwrap_or(0);
    u64::try_from(whole - YEAR_ONE_TO_EPOCH).map_or(StoreTime::MAX, StoreTime::from_nanos)
}
