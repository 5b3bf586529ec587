//! The timers of all machines of a store, and the one task that waits for them.
//!
//! Each machine has at most one timer here, and it may be early: a machine whose deadline moves away keeps the timer it
//! has, and is asked again when that fires. So a lock that is taken and released over and over touches nothing here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use std::vec::Vec;

use tokio::sync::Notify;

use crate::driver::primitive::{AtomicU64, Ordering, lock};
use crate::engine::clock;
use crate::time::{Instant, Timestamp};

/// Sleeps are cut into pieces of this length: the runtime's clock may stand still while the machine is suspended, ours does
/// not, and whoever slept too long should be told soon.
const NAP: Duration = Duration::from_secs(1);

/// Someone with a deadline.
pub(crate) trait Timed: Send + Sync {
    /// The timer has fired.
    fn fire(self: Arc<Self>);
}

/// The timers of all machines of a store.
#[derive(Debug)]
pub(crate) struct Timers {
    wheel: Mutex<Wheel>,
    changed: Notify,
    /// How far the wall clock is ahead of the monotonic one, as the task has seen it last.
    ahead: AtomicU64,
}

struct Wheel {
    timers: BTreeMap<(Instant, u64), Weak<dyn Timed>>,
    /// Until when the task sleeps.
    awake_at: Instant,
    ended: bool,
}

impl core::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Wheel").field("timers", &self.timers.len()).finish_non_exhaustive()
    }
}

impl Timers {
    pub(crate) fn new() -> Arc<Timers> {
        let wheel = Wheel { timers: BTreeMap::new(), awake_at: Instant::ZERO, ended: false };
        Arc::new(Timers { wheel: Mutex::new(wheel), changed: Notify::new(), ahead: AtomicU64::new(ahead()) })
    }

    /// The wall clock, as far as it was set when the task woke last: a moment ago, while anything has a deadline.
    pub(crate) fn wall(&self, now: Instant) -> Timestamp {
        Timestamp::from_nanos(now.as_nanos().saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// Sets a timer that was not set, or moves it to an earlier moment. False, if none will fire any more.
    pub(crate) fn set(&self, id: u64, before: Option<Instant>, at: Instant, who: Weak<dyn Timed>) -> bool {
        let mut wheel = lock(&self.wheel);
        if wheel.ended {
            return false;
        }
        if let Some(before) = before {
            wheel.timers.remove(&(before, id));
        }
        wheel.timers.insert((at, id), who);
        let is_first = at < wheel.awake_at;
        if is_first {
            wheel.awake_at = at;
        }
        drop(wheel);
        if is_first {
            self.changed.notify_one();
        }
        true
    }

    pub(crate) fn remove(&self, id: u64, at: Instant) {
        lock(&self.wheel).timers.remove(&(at, id));
    }

    /// No timer fires any more, and the task ends.
    pub(crate) fn end(&self) {
        lock(&self.wheel).ended = true;
        self.changed.notify_one();
    }

    /// Takes out what is due.
    fn due(&self, now: Instant) -> Vec<Weak<dyn Timed>> {
        let mut wheel = lock(&self.wheel);
        let later = wheel.timers.split_off(&(now, u64::MAX));
        core::mem::replace(&mut wheel.timers, later).into_values().collect()
    }

    /// How long to sleep; `None`, if it has ended.
    fn sleep(&self, now: Instant) -> Option<Duration> {
        let mut wheel = lock(&self.wheel);
        if wheel.ended {
            return None;
        }
        let first = wheel.timers.first_key_value().map_or(Instant::MAX, |((at, _), _)| *at);
        wheel.awake_at = first;
        Some(if first == Instant::MAX { Duration::MAX } else { Duration::from(first.since(now)).min(NAP) })
    }

    /// Fires what is due until the end.
    pub(crate) async fn run(&self) {
        loop {
            self.ahead.store(ahead(), Ordering::Relaxed);
            self.due(clock::mono()).into_iter().filter_map(|who| who.upgrade()).for_each(Timed::fire);
            match self.sleep(clock::mono()) {
                None => return,
                Some(Duration::MAX) => self.changed.notified().await,
                Some(sleep) => {
                    // Whether it was woken or has slept enough, it looks anew.
                    let _ = tokio::time::timeout(sleep, self.changed.notified()).await;
                }
            }
        }
    }
}

/// How far the wall clock is ahead of the monotonic one.
fn ahead() -> u64 {
    clock::wall().as_nanos().saturating_sub(clock::mono().as_nanos())
}
