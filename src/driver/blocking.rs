//! The handles for callers without async: the same ones, on a runtime thread of their own.
//!
//! ```
//! use std::time::Duration;
//! use fencepost::driver::blocking::{Mutex, Store};
//! use fencepost::mutex::{MutexConfig, Release};
//!
//! let store = Store::memory()?;
//! let mutex = Mutex::new(&store, "reports", MutexConfig::default())?;
//! let guard = mutex.lock()?;
//! assert!(guard.is_held());
//! assert_eq!(guard.release(), Release::Clean);
//! store.close(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whatever waits here blocks its thread, so none of it may be called from inside an async task: tokio panics there.
//! Callbacks are plain functions; each runs on a thread of the runtime's pool, and should look at
//! [`JobRun::is_interrupted`] now and then.

mod flag;
mod locker;
mod writer;

pub use flag::Flag;
pub use locker::{Locker, LockerGuard};
pub use writer::{Attempt, WriterLease};

use core::future::pending;
use core::time::Duration;
use std::boxed::Box;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::Span;

use super::tasks::Run;
use super::{
    JobRun, LockError, Lost, OnceError, OnceRun, OpenStoreError, Report, SetupError, StartError, Unfinished,
};
use crate::engine::Engine;
use crate::engine::memory::Memory;
use crate::job::{JobConfig, Outcome};
use crate::mutex::{MutexConfig, Release};
use crate::once::{JobKey, OnceConfig, RunAt, Task};
use crate::store::{FencingToken, Limits};

/// Why a store cannot be started with a runtime of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its thread cannot be had.
    #[error("the runtime thread of a store cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// The thread is there, the store is not.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store at an address cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
}

/// A thread that moves a runtime until nobody needs it any more.
#[derive(Debug)]
struct Runner {
    handle: Handle,
    /// What the thread is told when the last handle of the store is dropped: what to wait for.
    stop: Option<oneshot::Sender<JoinHandle<()>>>,
    /// Ends when nothing rests on the store any more.
    life: OnceLock<JoinHandle<()>>,
}

/// For how long a thread moves what was given back with the last handle of its store.
const LINGER: Duration = Duration::from_secs(5);

impl Runner {
    fn start() -> Result<Arc<Runner>, io::Error> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("fencepost".into()).spawn(move || {
            runtime.block_on(async {
                // An error, if there never was a store.
                if let Ok(life) = stopped.await {
                    // Whoever has not ended by then is not waited for.
                    let _ = timeout(LINGER, life).await;
                }
            });
            // A callback that does not end must not keep the thread.
            runtime.shutdown_background();
        })?;
        Ok(Arc::new(Runner { handle, stop: Some(stop), life: OnceLock::new() }))
    }

    /// From now on, it moves this store.
    fn moves(self: Arc<Self>, store: super::Store) -> Store {
        if let Some(life) = store.core.take_life() {
            let _ = self.life.set(life);
        }
        Store { store, runner: self }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let (Some(stop), Some(life)) = (self.stop.take(), self.life.take()) {
            // The thread waits for it.
            let _ = stop.send(life);
        }
    }
}

/// A store; see [`super::Store`]. Its thread ends when its last handle is dropped, and what was given back with it has reached
/// the store, or five seconds later. A process that ends before should [close](Store::close) it.
#[derive(Clone, Debug)]
pub struct Store {
    store: super::Store,
    runner: Arc<Runner>,
}

impl Store {
    /// A store in the memory of this process.
    ///
    /// # Errors
    ///
    /// [`OpenError`], if the operating system gives no thread or no randomness.
    pub fn memory() -> Result<Store, OpenError> {
        Store::start(Memory::new())
    }

    /// The store at this address; see [`super::Store::open`].
    ///
    /// # Errors
    ///
    /// [`OpenError`], if the address is none, its store does not answer, or the operating system gives no thread.
    pub fn open(address: &str) -> Result<Store, OpenError> {
        let runner = Runner::start()?;
        let store = runner.handle.block_on(super::Store::open(address))?;
        Ok(runner.moves(store))
    }

    /// A store that rests on this engine.
    ///
    /// # Errors
    ///
    /// [`OpenError`], if the operating system gives no thread or no randomness.
    pub fn start(engine: impl Engine) -> Result<Store, OpenError> {
        let runner = Runner::start()?;
        let store = {
            let _entered = runner.handle.enter();
            super::Store::start(engine)?
        };
        Ok(runner.moves(store))
    }

    /// The same store, for async callers.
    pub fn as_async(&self) -> &super::Store {
        &self.store
    }

    /// What its engine can do.
    pub fn limits(&self) -> Limits {
        self.store.limits()
    }

    /// See [`super::Store::close`].
    ///
    /// # Errors
    ///
    /// [`Unfinished`] lists what had not ended in time.
    pub fn close(&self, within: Duration) -> Result<(), Unfinished> {
        self.wait(self.store.close(within))
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runner.handle.block_on(future)
    }
}

/// A lock; see [`super::Mutex`].
#[derive(Clone, Debug)]
pub struct Mutex {
    mutex: super::Mutex,
    store: Store,
}

impl Mutex {
    /// See [`super::Mutex::new`].
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(store: &Store, key: &str, config: MutexConfig) -> Result<Mutex, SetupError> {
        Ok(Mutex { mutex: super::Mutex::new(&store.store, key, config)?, store: store.clone() })
    }

    /// Waits until the lock is held.
    ///
    /// # Errors
    ///
    /// [`LockError::Closed`].
    pub fn lock(&self) -> Result<Guard, LockError> {
        self.guard(self.store.wait(self.mutex.lock()))
    }

    /// See [`super::Mutex::try_lock`].
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn try_lock(&self) -> Result<Guard, LockError> {
        self.guard(self.store.wait(self.mutex.try_lock()))
    }

    /// Waits until the lock is held, but not longer than so.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; [`LockError::Closed`].
    pub fn lock_timeout(&self, within: Duration) -> Result<Guard, LockError> {
        self.guard(self.store.wait(self.mutex.lock_timeout(within)))
    }

    fn guard(&self, guard: Result<super::Guard, LockError>) -> Result<Guard, LockError> {
        guard.map(|guard| Guard { guard, store: self.store.clone() })
    }
}

/// The lock is held; see [`super::Guard`].
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct Guard {
    guard: super::Guard,
    store: Store,
}

impl Guard {
    /// See [`super::Guard::token`].
    pub fn token(&self) -> FencingToken {
        self.guard.token()
    }

    /// See [`super::Guard::is_held`].
    #[inline]
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// See [`super::Guard::remaining`].
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Waits until the lock is lost. It never ends for a lock that is kept.
    ///
    /// A thread that only watches keeps a share of the guard, and whoever releases needs all of it: let it wait with
    /// [`Guard::lost_timeout`], and look between whether it is to end.
    pub fn lost(&self) -> Lost {
        self.store.wait(self.guard.lost())
    }

    /// Waits until the lock is lost, but not longer than so; `None`, if it is not lost by then.
    pub fn lost_timeout(&self, within: Duration) -> Option<Lost> {
        self.store.wait(async { timeout(within, self.guard.lost()).await.ok() })
    }

    /// See [`super::Guard::extend`].
    ///
    /// # Errors
    ///
    /// [`Lost`].
    pub fn extend(&self) -> Result<Duration, Lost> {
        self.store.wait(self.guard.extend())
    }

    /// See [`super::Guard::release`].
    pub fn release(self) -> Release {
        self.store.wait(self.guard.release())
    }
}

/// A recurring job; see [`super::Job`].
#[derive(Debug)]
#[must_use = "a job is closed when its handle is dropped"]
pub struct Job {
    job: super::Job,
    store: Store,
}

impl Job {
    /// See [`super::Job::schedule`].
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn schedule<R: Report + 'static>(
        store: &Store,
        key: &str,
        config: JobConfig,
        callback: impl Fn(JobRun) -> R + Send + Sync + 'static,
    ) -> Result<Job, SetupError> {
        let job = super::Job::schedule(&store.store, key, config, reported(callback))?;
        Ok(Job { job, store: store.clone() })
    }

    /// Runs nothing any more. A callback that runs is interrupted, and waited for.
    pub fn close(&self) {
        self.store.wait(self.job.close());
    }
}

/// Jobs that run once; see [`super::Once`].
#[derive(Clone, Debug)]
pub struct Once<P> {
    once: super::Once<P>,
    store: Store,
}

impl<P: Serialize + DeserializeOwned + Send + 'static> Once<P> {
    /// See [`super::Once::new`].
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(store: &Store, name: &str, config: OnceConfig) -> Result<Once<P>, SetupError> {
        Ok(Once { once: super::Once::new(&store.store, name, config)?, store: store.clone() })
    }

    /// See [`super::Once::start`].
    ///
    /// # Errors
    ///
    /// [`OnceError::Started`]; [`OnceError::Closed`].
    pub fn start<R: Report + 'static>(
        &self,
        callback: impl Fn(OnceRun<P>) -> R + Send + Sync + 'static,
    ) -> Result<(), OnceError> {
        self.once.start(reported(callback))
    }

    /// See [`super::Once::stop`].
    pub fn stop(&self) {
        self.store.wait(self.once.stop());
    }

    /// See [`super::Once::schedule`].
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn schedule(&self, key: &str, run_at: RunAt, props: &P) -> Result<(), OnceError> {
        self.store.wait(self.once.schedule(key, run_at, props))
    }

    /// See [`super::Once::reschedule`].
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn reschedule(&self, key: &str, run_at: RunAt, props: Option<&P>) -> Result<(), OnceError> {
        self.store.wait(self.once.reschedule(key, run_at, props))
    }

    /// See [`super::Once::cancel`].
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn cancel(&self, key: &str) -> Result<(), OnceError> {
        self.store.wait(self.once.cancel(key))
    }

    /// See [`super::Once::find`].
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn find(&self, key: &str) -> Result<Option<Task<P>>, OnceError> {
        self.store.wait(self.once.find(key))
    }

    /// See [`super::Once::list`].
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn list(&self, after: Option<&str>, limit: u32) -> Result<Vec<(JobKey, Task<P>)>, OnceError> {
        self.store.wait(self.once.list(after, limit))
    }
}

/// Runs a plain function on a thread of the runtime's pool. If that panics, so does the future, and whoever runs callbacks
/// knows what it means.
fn in_pool<A: Send + 'static, B: Send + 'static>(
    callback: impl Fn(A) -> B + Send + Sync + 'static,
) -> impl Fn(A) -> Run<B> + Send + Sync {
    let callback = Arc::new(callback);
    move |run| {
        let callback = callback.clone();
        Box::pin(async move {
            let span = Span::current();
            match spawn_blocking(move || span.in_scope(|| callback(run))).await {
                Ok(ended) => ended,
                Err(failed) if failed.is_panic() => resume_unwind(failed.into_panic()),
                // The runtime ends, and this future with it.
                Err(_) => pending().await,
            }
        })
    }
}

/// The same of a callback that reports.
fn reported<A: Send + 'static, R: Report + 'static>(
    callback: impl Fn(A) -> R + Send + Sync + 'static,
) -> impl Fn(A) -> Run<Outcome> + Send + Sync {
    in_pool(move |run| callback(run).outcome())
}
