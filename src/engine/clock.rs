//! The clocks of this machine.
//!
//! Leases are counted on a monotonic clock that goes on while the machine is suspended (`CLOCK_BOOTTIME`, on Linux): a
//! laptop that was closed, or a virtual machine that was halted by its own kernel, must not wake up and believe that no time
//! has passed. Elsewhere it is the monotonic clock of the standard library, which may stand still meanwhile.

#[cfg(not(target_os = "linux"))]
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::time::{Instant, Span, StoreTime, Timestamp};

/// The monotonic clock.
#[cfg(target_os = "linux")]
#[inline]
pub fn mono() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither part is negative: the clock begins when the machine is started.
    let (secs, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Instant::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The monotonic clock.
#[cfg(not(target_os = "linux"))]
pub fn mono() -> Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    // The first reading is not zero, so that what is older than it can be told from what never was.
    let elapsed = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
    Instant::ZERO + Span::from_secs(1) + Span::from(elapsed)
}

/// The wall clock; the Unix epoch, if it is set to a moment before that.
#[inline]
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::ZERO + Span::from(since_epoch)
}

/// A clock that counts from the Unix epoch and never goes back: the wall clock is looked at once, and the monotonic clock from
/// then on.
#[derive(Clone, Copy, Debug)]
pub struct Anchored {
    offset: Span,
}

impl Anchored {
    /// A clock that shows what the wall clock shows now.
    pub fn now() -> Anchored {
        let offset = Span::from_nanos(wall().as_nanos().saturating_sub(mono().as_nanos()));
        Anchored { offset }
    }

    /// What it shows.
    #[inline]
    pub fn read(self) -> StoreTime {
        StoreTime::from_nanos(mono().as_nanos()) + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchored_clock_shows_the_hour_and_does_not_go_back() {
        let clock = Anchored::now();
        let (before, wall, after) = (clock.read(), wall(), clock.read());
        assert!(before <= after);
        let apart = before.as_nanos().abs_diff(wall.as_nanos());
        assert!(apart < 60_000_000_000, "{apart} ns beside the wall clock");
    }
}
