//! The handle of the lease mutex.

mod desk;

use core::time::Duration;
use std::string::String;
use std::sync::Arc;

use tokio::sync::Semaphore;

use self::desk::{Ask, Desk, End, Tenure};
use super::cell::Cell;
use super::error::{self, SetupError};
use super::held::run_while_held;
use super::index::Resident;
use super::store::Store;
use super::tenure::Stage;
use crate::engine::clock;
use crate::mutex as machine;
use crate::mutex::{Loss, MutexConfig, Patience, Release};
use crate::store::FencingToken;
use crate::time::{Instant, Span};

/// A lock that at most one holder has at a time, across all processes that share the store.
///
/// Clones are the same lock, and wait for each other in this process, first come, first served, before one of them asks
/// the store. Two handles made by [`Mutex::new`] are two contenders, even of the same key. See
/// [`crate::mutex`] for what the lock promises and how.
///
/// ```
/// use fencepost::driver::{Mutex, Store};
/// use fencepost::mutex::{MutexConfig, Release};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let mutex = Mutex::new(&store, "reports", MutexConfig::default())?;
///
/// let guard = mutex.lock().await?;
/// assert!(guard.is_held());
/// // Show the token to whatever the lock guards, and let it refuse every token lower than the highest it has seen.
/// let token = guard.token();
/// assert_eq!(guard.release().await, Release::Clean);
///
/// let again = mutex.try_lock().await?;
/// assert!(again.token() > token);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mutex {
    cell: Arc<Cell<machine::Mutex, Desk>>,
    /// Whose turn it is in this process.
    turn: Arc<Semaphore>,
}

/// Why a lock was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// One attempt was made, and another one holds it.
    #[error("{lock} was tried once, and another one holds it; wait for it with lock or lock_timeout")]
    Contended {
        /// The lock.
        lock: String,
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

/// A lock is no longer held, and its holder did not ask for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// It could not be renewed in time: the lease ended on the clock of this process, which may have been paused.
    #[error("the lock is lost: its lease ended before it could be renewed")]
    Expired,
    /// The store says that the entry is not there any more.
    #[error("the lock is lost: the store no longer has its entry")]
    Gone,
    /// The store was closed, and has released it.
    #[error("the lock is released, because its store was closed")]
    Closed,
}

impl From<Loss> for Lost {
    fn from(loss: Loss) -> Lost {
        match loss {
            Loss::Expired => Lost::Expired,
            Loss::Gone => Lost::Gone,
        }
    }
}

impl Mutex {
    /// A lock of this key.
    ///
    /// # Errors
    ///
    /// [`SetupError`], if the configuration makes no sense or the store cannot keep it, or is closed.
    pub fn new(store: &Store, key: &str, config: MutexConfig) -> Result<Mutex, SetupError> {
        let (terms, limits) = (config.terms()?, store.limits());
        error::long_enough(&limits, config.lease.ttl)?;
        let space = error::space(&limits, "mutex", key)?;
        let group = config.metrics_group.unwrap_or_else(|| key.into());
        let turn = Arc::new(Semaphore::new(1));
        let desk = Desk::new(turn.clone(), &group);
        let cell = Cell::new(&store.core, space.into(), store.core.shared_terms(terms), |_| desk);
        let cell = cell.ok_or_else(|| SetupError::Closed { key: key.into() })?;
        Ok(Mutex { cell, turn })
    }

    /// Waits until the lock is held.
    ///
    /// Cancel safe: whoever drops the future waits no longer, and what it may have taken is given back.
    ///
    /// # Errors
    ///
    /// [`LockError::Closed`].
    pub async fn lock(&self) -> Result<Guard, LockError> {
        let began = clock::mono();
        let turn = match self.turn.try_acquire() {
            Ok(turn) => turn,
            Err(_) => self.turn.acquire().await.map_err(|_| self.closed())?,
        };
        turn.forget();
        self.contend(Patience::Forever, began).await
    }

    /// Makes one attempt: takes the lock if it is free. An attempt of unknown outcome is followed up, for a time to live.
    ///
    /// Cancel safe, as [`Mutex::lock`] is.
    ///
    /// # Errors
    ///
    /// [`LockError::Contended`], if another one holds it, or another caller of this handle is at it, be it that its attempt is over and
    /// the store has yet to say what came of it; [`LockError::TimedOut`], if the store gave no answer;
    /// [`LockError::Closed`].
    pub async fn try_lock(&self) -> Result<Guard, LockError> {
        let began = clock::mono();
        match self.turn.try_acquire() {
            Ok(turn) => turn.forget(),
            Err(_) if self.turn.is_closed() => return Err(self.closed()),
            Err(_) => return Err(LockError::Contended { lock: self.name() }),
        }
        self.contend(Patience::Once, began).await
    }

    /// Waits until the lock is held, but not longer than so.
    ///
    /// Cancel safe, as [`Mutex::lock`] is.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; [`LockError::Closed`].
    pub async fn lock_timeout(&self, within: Duration) -> Result<Guard, LockError> {
        let began = clock::mono();
        let turn = match self.turn.try_acquire() {
            Ok(turn) => turn,
            Err(_) => match tokio::time::timeout(within, self.turn.acquire()).await {
                Ok(turn) => turn.map_err(|_| self.closed())?,
                Err(_) => return Err(self.timed_out(began)),
            },
        };
        turn.forget();
        let left = Span::from(within).minus(clock::mono().since(began));
        self.contend(Patience::For(left), began).await
    }

    /// Asks the machine, whose turn this is. The turn ends with what becomes of the attempt.
    async fn contend(&self, patience: Patience, began: Instant) -> Result<Guard, LockError> {
        let attempt = Attempt { cell: self.cell.clone(), tenure: Arc::new(Tenure::new()) };
        self.cell.ask(Ask::Lock { tenure: attempt.tenure.clone(), patience, began });
        let outcome = attempt.tenure.wait(|stage| match stage {
            Stage::Wanted => None,
            // What was granted was granted, even if it was lost before this was polled: the guard will say so.
            Stage::Held { granted: token, .. } | Stage::Over { granted: Some(token), end: End::Lost(_) } => {
                Some(Ok(*token))
            }
            // Nobody has a guard that could be released, so a store that is closed was faster.
            Stage::Over { end, .. } => Some(Err(*end)),
        });
        match outcome.await {
            Ok(token) => Ok(Guard { attempt, token }),
            Err(End::Contended) => Err(LockError::Contended { lock: self.name() }),
            Err(End::TimedOut) => Err(self.timed_out(began)),
            Err(End::Left | End::Lost(_) | End::Released(_)) => Err(self.closed()),
        }
    }

    fn name(&self) -> String {
        self.cell.space().as_ref().into()
    }

    fn closed(&self) -> LockError {
        LockError::Closed { lock: self.name() }
    }

    fn timed_out(&self, began: Instant) -> LockError {
        LockError::TimedOut { lock: self.name(), waited: clock::mono().since(began).into() }
    }
}

/// One attempt of a caller. What he drops, he gives back.
#[derive(Debug)]
struct Attempt {
    cell: Arc<Cell<machine::Mutex, Desk>>,
    tenure: Arc<Tenure>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.tenure.is_over() {
            self.cell.ask(Ask::Leave(self.tenure.clone()));
        }
    }
}

/// The lock is held, as long as [`Guard::is_held`] says so.
///
/// Dropping it hands the release over, and does not wait for it: if the store does not answer, it is tried again for
/// a time to live, as long as the process and its runtime live. [`Guard::release`] tells what came of it. A guard that is forgotten
/// ([`core::mem::forget`]) keeps the lock until the store is closed.
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct Guard {
    attempt: Attempt,
    token: FencingToken,
}

impl Guard {
    /// What to show to whatever the lock guards. It is greater than that of every earlier holder.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Whether the lock is held now: one look at this machine's clock, and one at the end of the lease.
    ///
    /// A process that was paused beyond its lease gets `false` at once, before anybody could tell it. Once
    /// [`Guard::lost`] has answered, it is `false` for ever.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.attempt.tenure.belief().holds(clock::mono().as_nanos())
    }

    /// For how long the lock is held from now on if nothing renews it; zero, if it is not held.
    pub fn remaining(&self) -> Duration {
        Duration::from_nanos(self.attempt.tenure.belief().remaining(clock::mono().as_nanos()))
    }

    /// Waits until the lock is lost. It never ends for a lock that is kept.
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> Lost {
        match self.attempt.tenure.ended().await {
            End::Lost(loss) => loss.into(),
            // A holder who releases has no guard left to ask, so the store has released it.
            End::Released(_) | End::Left | End::Contended | End::TimedOut => Lost::Closed,
        }
    }

    /// Renews the lease now, and says for how long it is held from then on.
    ///
    /// Cancel safe: the lease is renewed all the same.
    ///
    /// # Errors
    ///
    /// [`Lost`], if it is lost before it is renewed.
    pub async fn extend(&self) -> Result<Duration, Lost> {
        let ask = || self.attempt.cell.ask(Ask::Extend(self.attempt.tenure.clone()));
        if self.attempt.tenure.prolong(ask).await { Ok(self.remaining()) } else { Err(self.lost().await) }
    }

    /// Releases the lock, and says what came of it.
    ///
    /// Cancel safe: once it was polled, the lock is released, whether anybody waits for that or not.
    pub async fn release(self) -> Release {
        self.attempt.cell.ask(Ask::Leave(self.attempt.tenure.clone()));
        match self.attempt.tenure.ended().await {
            End::Released(release) => release,
            // The lease had ended before.
            End::Lost(_) => Release::Gone,
            End::Left | End::Contended | End::TimedOut => Release::Unknown,
        }
    }

    /// Runs this as long as the lock is held, and drops it when the lock is lost.
    ///
    /// Each time the future is about to be polled, the clock is looked at first: what was paused beyond its lease does not
    /// go on. What it has sent before may still arrive, so show the [token](Guard::token).
    ///
    /// Cancel safe, as far as the future is: dropping this drops it, and the lock is kept.
    ///
    /// # Errors
    ///
    /// [`Lost`], if the lock was lost before the future had ended.
    pub async fn run_while_held<F: Future>(&self, future: F) -> Result<F::Output, Lost> {
        run_while_held(future, self.lost(), || self.is_held(), Lost::Expired).await
    }
}
