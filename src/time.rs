//! Time without a clock: a length, and three kinds of points that cannot be mixed.
//!
//! A machine never reads a clock. Whoever moves it passes [`Now`]: the instance's own monotonic clock, its wall
//! clock, and one random draw for jitter. The store's clock arrives with the store's answers. The three clocks
//! have three types, so comparing two machines' clocks, or a wall clock with a lease, does not compile:
//!
//! ```compile_fail
//! use fencepost::time::{Instant, Timestamp};
//! let overdue = Instant::from_nanos(5) > Timestamp::from_nanos(3);
//! ```

use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::ops::{Add, Mul, Sub};
use core::time::Duration;

/// A length of time, in nanoseconds. Arithmetic saturates: [`Span::MAX`] stands for "for ever".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Span(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// For ever.
    pub const MAX: Span = Span(u64::MAX);

    /// A length of so many nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Span {
        Span(nanos)
    }

    /// A length of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis.saturating_mul(1_000_000))
    }

    /// A length of so many seconds.
    pub const fn from_secs(secs: u64) -> Span {
        Span(secs.saturating_mul(1_000_000_000))
    }

    /// The length in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The length in seconds, for people.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The part of this length that `ratio` names, rounded up to a whole nanosecond.
    pub fn portion(self, ratio: Ppm) -> Span {
        let part = (u128::from(self.0) * u128::from(ratio.0)).div_ceil(1_000_000);
        Span(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// What is left after taking `other` away; nothing, if `other` is longer.
    pub const fn minus(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }

    /// A length drawn uniformly from zero up to, but not including, this one.
    pub fn drawn(self, draw: Draw) -> Span {
        Span(((u128::from(self.0) * u128::from(draw.0)) >> 32) as u64)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Mul<u64> for Span {
    type Output = Span;
    fn mul(self, times: u64) -> Span {
        Span(self.0.saturating_mul(times))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        Duration::from_nanos(span.0)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from(*self), f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from(*self), f)
    }
}

/// A ratio in parts per million: jitter and clock drift. One million is the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Ppm(pub u32);

impl Ppm {
    /// Nothing.
    pub const ZERO: Ppm = Ppm(0);
    /// The whole.
    pub const ONE: Ppm = Ppm(1_000_000);

    /// So many hundredths.
    pub const fn percent(percent: u32) -> Ppm {
        Ppm(percent.saturating_mul(10_000))
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1_000) {
            write!(f, "{}%", f64::from(self.0) / 10_000.0)
        } else {
            write!(f, "{} ppm", self.0)
        }
    }
}

/// One uniform draw from the half-open unit interval, in units of 2⁻³². Machines use it for jitter and for
/// nothing else, so an exhaustive checker may replace it by its two extremes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Draw(pub u32);

/// A point on the clock that `C` names, in nanoseconds since that clock's own origin.
pub struct Point<C>(u64, PhantomData<C>);

/// The marker of an instance's monotonic clock.
#[derive(Debug)]
pub enum Monotonic {}
/// The marker of an instance's wall clock.
#[derive(Debug)]
pub enum Wall {}
/// The marker of the store's clock.
#[derive(Debug)]
pub enum Stored {}

/// A point on the instance's own monotonic clock. Leases are held on this clock.
pub type Instant = Point<Monotonic>;
/// A point on the instance's wall clock, since the Unix epoch. It only decides when something is due.
pub type Timestamp = Point<Wall>;
/// A point on the store's clock, since the Unix epoch. Only this clock expires a key.
pub type StoreTime = Point<Stored>;

impl<C> Point<C> {
    /// The clock's origin.
    pub const ZERO: Point<C> = Point(0, PhantomData);
    /// Never.
    pub const MAX: Point<C> = Point(u64::MAX, PhantomData);

    /// The point so many nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Point<C> {
        Point(nanos, PhantomData)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this point; none, if `earlier` is in fact later.
    pub const fn since(self, earlier: Point<C>) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl<C> Add<Span> for Point<C> {
    type Output = Point<C>;
    fn add(self, span: Span) -> Point<C> {
        Point(self.0.saturating_add(span.0), PhantomData)
    }
}

impl<C> Sub<Span> for Point<C> {
    type Output = Point<C>;
    fn sub(self, span: Span) -> Point<C> {
        Point(self.0.saturating_sub(span.0), PhantomData)
    }
}

// Derives would ask the same of the marker, which has no values.
impl<C> Clone for Point<C> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C> Copy for Point<C> {}
impl<C> PartialEq for Point<C> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<C> Eq for Point<C> {}
impl<C> PartialOrd for Point<C> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<C> Ord for Point<C> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<C> Hash for Point<C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}
impl<C> Default for Point<C> {
    fn default() -> Self {
        Point::ZERO
    }
}
impl<C> fmt::Debug for Point<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Point::MAX {
            return f.write_str("never");
        }
        fmt::Debug::fmt(&Duration::from_nanos(self.0), f)
    }
}

#[cfg(feature = "serde")]
impl<C> serde::Serialize for Point<C> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de, C> serde::Deserialize<'de> for Point<C> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Point::from_nanos)
    }
}

/// What an instance knows at one moment: its two clocks and one random draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Now {
    /// The instance's monotonic clock.
    pub mono: Instant,
    /// The instance's wall clock.
    pub wall: Timestamp,
    /// Fresh randomness, for jitter.
    pub draw: Draw,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_rounds_up_and_a_draw_stays_below_the_whole() {
        assert_eq!(Span::from_nanos(10).portion(Ppm(1)), Span::from_nanos(1));
        assert_eq!(Span::from_nanos(10).portion(Ppm::ONE), Span::from_nanos(10));
        assert_eq!(Span::from_nanos(10).drawn(Draw(u32::MAX)), Span::from_nanos(9));
        assert_eq!(Span::from_nanos(10).drawn(Draw(0)), Span::ZERO);
        assert_eq!(Span::MAX.portion(Ppm(2_000_000)), Span::MAX);
    }

    #[test]
    fn arithmetic_saturates_at_never_and_at_the_origin() {
        assert_eq!(Instant::MAX + Span::from_secs(1), Instant::MAX);
        assert_eq!(Instant::from_nanos(3) - Span::from_nanos(5), Instant::ZERO);
        assert_eq!(Instant::from_nanos(3).since(Instant::from_nanos(5)), Span::ZERO);
    }
}
