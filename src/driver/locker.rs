//! The handle of the preemptive lock.

mod desk;

use core::time::Duration;
use std::string::{String, ToString};
use std::sync::Arc;

use self::desk::{Ask, Attempt, Desk, End, LockerCell};
use super::cell::Cell;
use super::error::{self, SetupError};
use super::held::run_while_held;
use super::shared::Core;
use super::store::Store;
use super::tenure::Stage;
use crate::engine::clock;
use crate::locker::{Bid, LockKey, LockerConfig, LockerTerms, Loss, Notice};
use crate::mutex::Release;
use crate::store::FencingToken;

/// A lock that the newest request wins: whoever waits for it gives way at once, whoever holds it is asked to yield, and
/// revoked if it does not. See [`crate::locker`] for what is promised and how.
///
/// Each call of [`Locker::lock`] is a request of its own, of this process or another, of this handle, a clone or another
/// handle of the same key: so the newest wins inside a process, too.
///
/// ```
/// use fencepost::driver::{Locker, Store};
/// use fencepost::locker::{Bid, LockKey, LockerConfig};
/// use fencepost::mutex::Release;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let key = LockKey::tuple(["acme/website".into(), 4_711.into()]);
/// // A caller is told that it holds when the lock delay has passed, 10 s unless it is switched off.
/// let locker = Locker::new(&store, key, LockerConfig { lock_delay: None, ..LockerConfig::default() })?;
///
/// let guard = locker.lock(Bid::new("branch was pushed")).await?;
/// assert!(guard.is_held());
/// let newer = tokio::spawn({
///     let locker = locker.clone();
///     async move { locker.lock(Bid::new("branch was pushed again")).await.map(|guard| guard.token()) }
/// });
/// let notice = guard.asked().await.ok_or("it is held until it is released")?;
/// assert_eq!(&*notice.message, "branch was pushed again");
/// let token = guard.token();
/// assert_eq!(guard.release().await, Release::Clean);
/// assert!(newer.await?? > token);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Locker {
    core: Arc<Core>,
    key: LockKey,
    space: Arc<str>,
    terms: Arc<LockerTerms>,
    /// Under which name it is counted.
    group: Arc<str>,
}

/// Why a lock was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockerError {
    /// A newer request, or one of higher priority, has come before this one was told that it holds.
    #[error("{lock} was asked for, but a newer request came first: {:?}", .notice.message)]
    Preempted {
        /// The lock.
        lock: String,
        /// Whose request it is, and why it was made.
        notice: Notice,
    },
    /// It could not be had in time.
    #[error("{lock} was not to be had within {waited:?}")]
    TimedOut {
        /// The lock.
        lock: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The store is closed.
    #[error("{lock} was asked for, but its store is closed")]
    Closed {
        /// The lock.
        lock: String,
    },
}

/// A preemptive lock is no longer held, and its holder did not ask for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LockerLost {
    /// It could not be renewed in time: the lease ended on the clock of this process, which may have been paused.
    #[error("the lock is lost: its lease ended before it could be renewed")]
    Expired,
    /// The store says that the entry is not there any more, or was revoked.
    #[error("the lock is lost: the store no longer has its entry, or it was revoked")]
    Gone,
    /// Its holder was asked to yield, and has not done so within the preemption timeout.
    #[error("the lock is lost: its holder was asked to yield, and the preemption timeout is over")]
    Preempted,
    /// The maximum lock duration is over.
    #[error("the lock is lost: the maximum lock duration is over")]
    TooLong,
    /// The store was closed, and has released it.
    #[error("the lock is released, because its store was closed")]
    Closed,
}

impl From<Loss> for LockerLost {
    fn from(loss: Loss) -> LockerLost {
        match loss {
            Loss::Expired => LockerLost::Expired,
            Loss::Gone => LockerLost::Gone,
            Loss::Preempted => LockerLost::Preempted,
            Loss::TooLong => LockerLost::TooLong,
        }
    }
}

impl Locker {
    /// A lock of this key.
    ///
    /// # Errors
    ///
    /// [`SetupError`], if the configuration makes no sense or the store cannot keep it, or is closed.
    pub fn new(store: &Store, key: LockKey, config: LockerConfig) -> Result<Locker, SetupError> {
        let (terms, limits) = (config.terms()?, store.limits());
        error::long_enough(&limits, config.mutex.lease.ttl)?;
        let name = key.to_string();
        let space = error::space(&limits, "locker", &name)?;
        if store.is_closed() {
            return Err(SetupError::Closed { key: name });
        }
        let group = config.mutex.metrics_group.unwrap_or(name).into();
        let (core, space, terms) = (store.core.clone(), space.into(), Arc::new(terms));
        Ok(Locker { core, key, space, terms, group })
    }

    /// What it is called.
    pub fn key(&self) -> &LockKey {
        &self.key
    }

    /// Waits until the lock is held, and asks whoever holds it, or waits for it, to give way: with [`Bid::message`] as the
    /// reason. It waits no longer than [`LockerConfig::lock_timeout`] and [`Bid::patience`] say.
    ///
    /// Cancel safe: whoever drops the future waits no longer, and what it may have taken is given back.
    ///
    /// # Errors
    ///
    /// [`LockerError::Preempted`], if a newer request came first; [`LockerError::TimedOut`]; [`LockerError::Closed`].
    pub async fn lock(&self, bid: Bid) -> Result<LockerGuard, LockerError> {
        let began = clock::mono();
        let attempt = Arc::new(Attempt::new());
        let desk = Desk::new(attempt.clone(), &self.group, began);
        let cell = Cell::new(&self.core, self.space.clone(), self.terms.clone(), |_| desk);
        let claim = Claim { cell: cell.ok_or_else(|| self.closed())?, attempt };
        claim.cell.ask(Ask::Lock(bid));
        let outcome = claim.attempt.tenure.wait(|stage| match stage {
            Stage::Wanted => None,
            // What was granted was granted, even if it was lost before this was polled: the guard will say so.
            Stage::Held { granted: token, .. } | Stage::Over { granted: Some(token), end: End::Lost(_) } => {
                Some(Ok(*token))
            }
            // Nobody has a guard that could be released, so a store that is closed was faster.
            Stage::Over { end, .. } => Some(Err(end.clone())),
        });
        match outcome.await {
            Ok(token) => Ok(LockerGuard { claim, token }),
            Err(End::Preempted(notice)) => Err(LockerError::Preempted { lock: self.name(), notice }),
            Err(End::TimedOut) => {
                let waited = clock::mono().since(began).into();
                Err(LockerError::TimedOut { lock: self.name(), waited })
            }
            Err(End::Left | End::Lost(_) | End::Released(_)) => Err(self.closed()),
        }
    }

    fn name(&self) -> String {
        self.space.as_ref().into()
    }

    fn closed(&self) -> LockerError {
        LockerError::Closed { lock: self.name() }
    }
}

/// One request of a caller. What he drops, he gives back.
#[derive(Debug)]
struct Claim {
    cell: Arc<LockerCell>,
    attempt: Arc<Attempt>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.attempt.tenure.is_over() {
            self.cell.ask(Ask::Leave);
        }
    }
}

/// The lock is held, as long as [`LockerGuard::is_held`] says so. Whoever holds it should wait for
/// [`LockerGuard::asked`], and release it soon once that has answered.
///
/// Dropping it hands the release over, and does not wait for it: if the store does not answer, it is tried again for
/// a time to live, as long as the process and its runtime live. [`LockerGuard::release`] tells what came of it.
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockerGuard {
    claim: Claim,
    token: FencingToken,
}

impl LockerGuard {
    /// What to show to whatever the lock guards. It is greater than that of every earlier holder.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Whether the lock is held now: one look at this machine's clock, and one at the end of the lease, of the grace of a
    /// holder that was asked, or of the maximum duration, whichever comes first.
    ///
    /// A process that was paused beyond that gets `false` at once, before anybody could tell it. Once
    /// [`LockerGuard::lost`] has answered, it is `false` for ever.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.claim.attempt.tenure.belief().holds(clock::mono().as_nanos())
    }

    /// For how long the lock is held from now on if nothing renews it; zero, if it is not held.
    pub fn remaining(&self) -> Duration {
        Duration::from_nanos(self.claim.attempt.tenure.belief().remaining(clock::mono().as_nanos()))
    }

    /// Waits until a newer request asks the holder to yield: whose it is, and why. It has
    /// [`LockerConfig::preemption_timeout`] from the first one on. `None`, if the lock is held no longer.
    ///
    /// Each request is heard once, by one who waits; of several that came before anybody waited, the newest.
    ///
    /// Cancel safe.
    pub async fn asked(&self) -> Option<Notice> {
        self.claim.attempt.asked.next().await
    }

    /// Whether somebody asks the holder to yield whom nobody has heard by [`LockerGuard::asked`].
    pub fn is_asked(&self) -> bool {
        self.claim.attempt.asked.is_open()
    }

    /// Waits until the lock is lost. It never ends for a lock that is kept.
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> LockerLost {
        match self.claim.attempt.tenure.ended().await {
            End::Lost(loss) => loss.into(),
            // A holder who releases has no guard left to ask, so the store has released it.
            End::Released(_) | End::Left | End::Preempted(_) | End::TimedOut => LockerLost::Closed,
        }
    }

    /// Renews the lease now, and says for how long the lock is held from then on: no longer than the grace of a holder that
    /// was asked, or the maximum duration, lasts.
    ///
    /// Cancel safe: the lease is renewed all the same.
    ///
    /// # Errors
    ///
    /// [`LockerLost`], if it is lost before it is renewed.
    pub async fn extend(&self) -> Result<Duration, LockerLost> {
        let renewed = self.claim.attempt.tenure.prolong(|| self.claim.cell.ask(Ask::Extend));
        if renewed.await { Ok(self.remaining()) } else { Err(self.lost().await) }
    }

    /// Releases the lock, and says what came of it.
    ///
    /// Cancel safe: once it was polled, the lock is released, whether anybody waits for that or not.
    pub async fn release(self) -> Release {
        self.claim.cell.ask(Ask::Leave);
        match self.claim.attempt.tenure.ended().await {
            End::Released(release) => release,
            // It was over before.
            End::Lost(_) => Release::Gone,
            End::Left | End::Preempted(_) | End::TimedOut => Release::Unknown,
        }
    }

    /// Runs this as long as the lock is held, and drops it when the lock is lost. It goes on when the holder is asked to
    /// yield: [`LockerGuard::asked`] says so.
    ///
    /// Each time the future is about to be polled, the clock is looked at first: what was paused beyond its lease does not
    /// go on. What it has sent before may still arrive, so show the [token](LockerGuard::token).
    ///
    /// Cancel safe, as far as the future is: dropping this drops it, and the lock is kept.
    ///
    /// # Errors
    ///
    /// [`LockerLost`], if the lock was lost before the future had ended: [`LockerLost::Expired`], if so far nothing but the
    /// clock says so.
    pub async fn run_while_held<F: Future>(&self, future: F) -> Result<F::Output, LockerLost> {
        run_while_held(future, self.lost(), || self.is_held(), LockerLost::Expired).await
    }
}
