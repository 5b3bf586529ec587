//! The preemptive lock, for callers without async.

use core::time::Duration;

use tokio::time::timeout;

use super::{SetupError, Store};
use crate::driver::{LockerError, LockerLost};
use crate::locker::{Bid, LockKey, LockerConfig, Notice};
use crate::mutex::Release;
use crate::store::FencingToken;

/// A lock that the newest request wins; see [`driver::Locker`](crate::driver::Locker).
#[derive(Clone, Debug)]
pub struct Locker {
    locker: crate::driver::Locker,
    store: Store,
}

impl Locker {
    /// See [`driver::Locker::new`](crate::driver::Locker::new).
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(store: &Store, key: LockKey, config: LockerConfig) -> Result<Locker, SetupError> {
        Ok(Locker { locker: crate::driver::Locker::new(&store.store, key, config)?, store: store.clone() })
    }

    /// What it is called.
    pub fn key(&self) -> &LockKey {
        self.locker.key()
    }

    /// Waits until the lock is held, and asks whoever holds it, or waits for it, to give way.
    ///
    /// # Errors
    ///
    /// [`LockerError`].
    pub fn lock(&self, bid: Bid) -> Result<LockerGuard, LockerError> {
        let guard = self.store.wait(self.locker.lock(bid))?;
        Ok(LockerGuard { guard, store: self.store.clone() })
    }
}

/// The lock is held; see [`driver::LockerGuard`](crate::driver::LockerGuard).
///
/// A thread that works may look at [`LockerGuard::is_asked`] now and then, or leave it to another one to watch. That one keeps a
/// share of the guard, and whoever releases needs all of it: let it wait with [`LockerGuard::asked_timeout`], and look
/// between whether it is to end.
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockerGuard {
    guard: crate::driver::LockerGuard,
    store: Store,
}

impl LockerGuard {
    /// See [`driver::LockerGuard::token`](crate::driver::LockerGuard::token).
    pub fn token(&self) -> FencingToken {
        self.guard.token()
    }

    /// See [`driver::LockerGuard::is_held`](crate::driver::LockerGuard::is_held).
    #[inline]
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// See [`driver::LockerGuard::remaining`](crate::driver::LockerGuard::remaining).
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Whether somebody asks the holder to yield whom nobody has heard by [`LockerGuard::asked`].
    pub fn is_asked(&self) -> bool {
        self.guard.is_asked()
    }

    /// Waits until a newer request asks the holder to yield; `None`, if the lock is held no longer.
    pub fn asked(&self) -> Option<Notice> {
        self.store.wait(self.guard.asked())
    }

    /// Waits until a newer request asks the holder to yield, but not longer than so; `None`, if nobody has asked by then, or the
    /// lock is held no longer.
    pub fn asked_timeout(&self, within: Duration) -> Option<Notice> {
        self.store.wait(async { timeout(within, self.guard.asked()).await.ok().flatten() })
    }

    /// Waits until the lock is lost. It never ends for a lock that is kept.
    pub fn lost(&self) -> LockerLost {
        self.store.wait(self.guard.lost())
    }

    /// Waits until the lock is lost, but not longer than so; `None`, if it is not lost by then.
    pub fn lost_timeout(&self, within: Duration) -> Option<LockerLost> {
        self.store.wait(async { timeout(within, self.guard.lost()).await.ok() })
    }

    /// See [`driver::LockerGuard::extend`](crate::driver::LockerGuard::extend).
    ///
    /// # Errors
    ///
    /// [`LockerLost`].
    pub fn extend(&self) -> Result<Duration, LockerLost> {
        self.store.wait(self.guard.extend())
    }

    /// See [`driver::LockerGuard::release`](crate::driver::LockerGuard::release).
    pub fn release(self) -> Release {
        self.store.wait(self.guard.release())
    }
}
