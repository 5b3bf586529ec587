//! Cron expressions in time zones.

#![cfg(feature = "cron")]
#![allow(
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking, and helpers are part of it"
)]

use fencepost::calendar::CronSchedule;
use fencepost::time::{Span, StoreTime};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

mod accepted;
mod stories;
mod twin;

const SECOND: u64 = 1_000_000_000;

fn cron(expression: &str, zone: &str) -> CronSchedule {
    CronSchedule::new(expression, zone).unwrap()
}

fn at(text: &str) -> StoreTime {
    store_time(text.parse::<Timestamp>().unwrap().as_second())
}

fn store_time(second: i64) -> StoreTime {
    StoreTime::from_nanos(u64::try_from(second).unwrap() * SECOND)
}

fn seconds(at: StoreTime) -> i64 {
    assert_eq!(at.as_nanos() % SECOND, 0);
    (at.as_nanos() / SECOND) as i64
}

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// All occurrences in a half-open stretch of time, forwards.
fn occurrences(cron: &CronSchedule, from: StoreTime, to: StoreTime) -> Vec<StoreTime> {
    let mut found = Vec::new();
    let mut next = cron.from(from);
    while let Some(occurrence) = next.filter(|next| *next < to) {
        found.push(occurrence);
        next = cron.after(occurrence);
    }
    found
}

/// The same, backwards.
fn occurrences_backwards(cron: &CronSchedule, from: StoreTime, to: StoreTime) -> Vec<StoreTime> {
    let mut found = Vec::new();
    let mut last = cron.until(to - Span::from_nanos(1));
    while let Some(occurrence) = last.filter(|last| *last >= from) {
        found.push(occurrence);
        last = cron.until(occurrence - Span::from_nanos(1)).filter(|last| *last < occurrence);
    }
    found.reverse();
    found
}
