//! Calendars: when the next run of a recurring job is due. Intervals only, for now.

use core::time::Duration;

use crate::time::{Span, StoreTime};

/// From the first moment of the year 1 to the Unix epoch, in nanoseconds: rounding counts from there.
const YEAR_ONE_TO_EPOCH: u128 = 62_135_596_800 * 1_000_000_000;

/// What is known of a job's last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Last {
    /// When it was due.
    pub occurrence: StoreTime,
    /// When it started.
    pub started: StoreTime,
    /// When it ended, whatever its outcome; nothing, if nobody recorded an end.
    pub finished: Option<StoreTime>,
}

/// When a recurring job is due. All points are on the store's clock.
#[allow(unpredictable_function_pointer_comparisons)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Schedule {
    /// So long after the end of the last run.
    Interval(Span),
    /// At the whole interval that follows the end of the last run.
    RoundedInterval(Span),
    /// After as long as the function answers.
    #[cfg_attr(feature = "serde", serde(skip))]
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
}

impl Schedule {
    /// Runs so long after the end of the last run, and at once if there was none.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Zero`].
    pub fn every(interval: Duration) -> Result<Schedule, ScheduleError> {
        let schedule = Schedule::Interval(interval.into());
        schedule.validate().map(|()| schedule)
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
        }
    }

    /// The occurrence that follows the last run; it is due if it is not later than `now`.
    pub fn next(&self, now: StoreTime, last: Option<&Last>) -> Option<StoreTime> {
        let next = match (self, last) {
            (Schedule::Interval(_) | Schedule::RoundedInterval(_), None) => now,
            (Schedule::Interval(interval), Some(last)) => last.finished.unwrap_or(last.started) + *interval,
            (Schedule::RoundedInterval(interval), Some(last)) => {
                rounded(last.finished.unwrap_or(last.started), *interval)
            }
            (Schedule::Custom(wait), last) => now + wait(now, last),
        };
        Some(next).filter(|next| *next < StoreTime::MAX)
    }

    /// The first occurrence after `at` that the calendar alone decides.
    pub fn after(&self, _: StoreTime) -> Option<StoreTime> {
        None
    }

    /// The last occurrence at or before `at` that the calendar alone decides.
    pub fn until(&self, _: StoreTime) -> Option<StoreTime> {
        None
    }

    /// How far apart two neighbouring occurrences near `at` are at most.
    pub fn period_hint(&self, _: StoreTime) -> Span {
        match self {
            Schedule::Interval(interval) | Schedule::RoundedInterval(interval) => *interval,
            Schedule::Custom(_) => Span::from_secs(86_400),
        }
    }
}

fn rounded(end: StoreTime, interval: Span) -> StoreTime {
    let interval = u128::from(interval.as_nanos());
    let target = u128::from(end.as_nanos()) + YEAR_ONE_TO_EPOCH + interval;
    let whole = target - target.checked_rem(interval).unwrap_or(0);
    u64::try_from(whole - YEAR_ONE_TO_EPOCH).map_or(StoreTime::MAX, StoreTime::from_nanos)
}
