//! True time, and the clocks that instances and stores have instead.

use std::hash::Hash;

use fencepost::time::{Draw, Instant, Now, Point, Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::normal::NOON;

/// The marker of true time.
#[derive(Debug)]
pub enum Truth {}

/// A point in true time, which only the world knows, in nanoseconds since the run began.
pub type Time = Point<Truth>;

/// How much faster or slower than true time a clock runs, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub i32);

impl Rate {
    /// As fast as true time.
    pub const TRUE: Rate = Rate(0);
    /// Standing still: what a suspended virtual machine's clock does.
    pub const STOPPED: Rate = Rate(-1_000_000);

    /// Twice as fast: no clock runs faster.
    pub const DOUBLE: Rate = Rate(1_000_000);

    /// Whether a clock can run so, or stand still.
    pub const fn is_possible(self) -> bool {
        Rate::STOPPED.0 <= self.0 && self.0 <= Rate::DOUBLE.0
    }

    const fn speed(self) -> u64 {
        (1_000_000 + self.0 as i64) as u64
    }
}

/// A clock that runs at a rate of its own; its wall clock is off by an offset and may jump.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    /// When the rate changed last.
    since: Time,
    /// What the clock showed then.
    reading: u64,
    /// What it showed when the run began: monotonic clocks differ there, wall clocks do not.
    origin: u64,
    rate: Rate,
    wall_offset: i64,
}

/// Every wall clock begins here, so that offsets of years do not reach below the epoch.
pub(crate) const WALL_ORIGIN: u64 = 1_600_000_000_000_000_000;

impl Clock {
    /// A true clock that shows `reading` nanoseconds when the run begins.
    pub const fn starting_at(reading: u64) -> Clock {
        Clock { since: Time::ZERO, reading, origin: reading, rate: Rate::TRUE, wall_offset: 0 }
    }

    /// What it shows at `now`, in nanoseconds since its own origin.
    // Most clocks are true: what others cost stands apart.
    #[inline]
    pub fn read(&self, now: Time) -> u64 {
        let elapsed = now.since(self.since).as_nanos();
        self.reading + if self.rate == Rate::TRUE { elapsed } else { self.advance(elapsed) }
    }

    /// By how many nanoseconds it advances while so many of true time elapse.
    #[cold]
    fn advance(&self, elapsed: u64) -> u64 {
        (u128::from(elapsed) * u128::from(self.rate.speed()) / 1_000_000) as u64
    }

    /// What an instance with this clock knows at `now`.
    #[inline]
    pub fn now(&self, now: Time, draw: Draw) -> Now {
        let reading = self.read(now);
        let wall = (WALL_ORIGIN + (reading - self.origin)).saturating_add_signed(self.wall_offset);
        Now { mono: Instant::from_nanos(reading), wall: Timestamp::from_nanos(wall), draw }
    }

    /// The first moment in true time at which it shows `reading` or more.
    #[inline]
    pub fn when(&self, reading: u64) -> Time {
        let ahead = Span::from_nanos(reading.saturating_sub(self.reading));
        self.since + if self.rate == Rate::TRUE { ahead } else { self.elapsing(ahead) }
    }

    /// How much true time elapses while it advances by so much.
    #[cold]
    fn elapsing(&self, ahead: Span) -> Span {
        if self.rate == Rate::STOPPED {
            return if ahead == Span::ZERO { Span::ZERO } else { Span::MAX };
        }
        let elapsed = (u128::from(ahead.as_nanos()) * 1_000_000).div_ceil(u128::from(self.rate.speed()));
        Span::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Lets it run at `rate` from `now` on.
    pub fn set_rate(&mut self, now: Time, rate: Rate) {
        self.reading = self.read(now);
        self.since = now;
        self.rate = Rate(rate.0.max(Rate::STOPPED.0));
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// What is wrong with it: all that there is to know of a clock that was set to noon.
    pub(crate) fn errors(&self) -> (Rate, i64) {
        (self.rate, self.wall_offset)
    }

    /// Moves its wall clock by so many nanoseconds; its monotonic clock does not jump.
    pub fn jump(&mut self, nanos: i64) {
        self.wall_offset = self.wall_offset.saturating_add(nanos);
    }

    /// Sets it ahead, or back, by so many nanoseconds: what a store's clock may do, and no monotonic one.
    pub fn set(&mut self, now: Time, nanos: i64) {
        (self.reading, self.since) = (self.read(now).saturating_add_signed(nanos), now);
    }

    /// By how much its wall clock is off, to either side.
    pub fn wall_error(&self, now: Time) -> Span {
        Span::from_nanos(u64::try_from(self.wall_ahead(now).unsigned_abs()).unwrap_or(u64::MAX))
    }

    fn wall_ahead(&self, now: Time) -> i128 {
        let shown = i128::from(self.read(now) - self.origin) + i128::from(self.wall_offset);
        shown - i128::from(now.as_nanos())
    }

    /// Makes it a clock that shows noon at noon, and runs as it did at `now`; its wall clock keeps its error, if
    /// anybody reads it.
    pub(crate) fn set_to_noon(&mut self, now: Time, keeps_wall: bool) {
        let ahead = if keeps_wall { self.wall_ahead(now) } else { 0 };
        self.wall_offset = i64::try_from(ahead).unwrap_or(i64::MAX);
        (self.since, self.reading, self.origin) = (Time::from_nanos(NOON), NOON, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_clock_shows_a_reading_no_earlier_than_when_it_says(
            rate in -900_000i32..900_000, since in 0u64..1 << 50, ahead in 0u64..1 << 50,
        ) {
            let mut clock = Clock::starting_at(77);
            clock.set_rate(Time::from_nanos(since), Rate(rate));
            let reading = 77 + since + ahead;
            let when = clock.when(reading);
            prop_assert!(clock.read(when) >= reading);
            if ahead > 0 {
                prop_assert!(clock.read(when - Span::from_nanos(1)) < reading);
            }
        }
    }

    #[test]
    fn a_stopped_clock_never_gets_anywhere_and_goes_on_where_it_stood() {
        let mut clock = Clock::starting_at(0);
        clock.set_rate(Time::from_nanos(10), Rate::STOPPED);
        assert_eq!(clock.read(Time::from_nanos(99)), 10);
        assert_eq!(clock.when(11), Time::MAX);
        clock.set_rate(Time::from_nanos(100), Rate::TRUE);
        assert_eq!(clock.read(Time::from_nanos(101)), 11);
    }
}
