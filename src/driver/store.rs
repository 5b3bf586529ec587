//! The store handle: where all others come from, and how they end.

use core::time::Duration;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use tokio::runtime::Handle;
use tokio::time;

use super::board::Board;
use super::identity::{self, NoRandomness};
use super::index::Resident;
use super::pending::Pending;
use super::shared::Core;
use crate::engine::memory::Memory;
use crate::engine::{self, Engine};
use crate::store::Limits;

/// A store, and the task that wakes what rests on it. Cheap to clone; clones are the same store.
///
/// ```
/// use std::time::Duration;
/// use fencepost::driver::{Mutex, Store};
/// use fencepost::mutex::MutexConfig;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let mutex = Mutex::new(&store, "reports", MutexConfig::default())?;
/// let guard = mutex.lock().await?;
/// guard.release().await;
/// store.close(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) core: Arc<Core>,
}

/// Why a store cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no runtime that its task could run on.
    #[error("a store is started inside a tokio runtime that has timers; there is none here")]
    NoRuntime,
    /// Nobody could be told apart.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// Its engine cannot be opened.
    #[error(transparent)]
    Engine(#[from] engine::OpenError),
    /// The engine is there, the store is not.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What had not ended when the time to close a store was over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store was closed, but not all had ended within {within:?}: {}", list(.left))]
pub struct Unfinished {
    /// How long it was waited for.
    pub within: Duration,
    /// What had not ended, and what it was doing. What it holds is free when its time to live has passed.
    pub left: Vec<Left>,
}

/// Something that had not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its kind and its key, as in `mutex/reports`; `engine`, if it is the engine itself.
    pub space: String,
    /// What it was doing.
    pub doing: &'static str,
}

/// As good as for ever, and no moment beyond what a clock can show.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

fn list(left: &[Left]) -> String {
    let lines: Vec<_> = left.iter().map(|left| std::format!("{} ({})", left.space, left.doing)).collect();
    lines.join(", ")
}

impl Store {
    /// A store in the memory of this process: for tests, and for what need not outlive or leave a process.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime; [`Store::start`] says so instead.
    #[expect(clippy::expect_used, reason = "said above, and as `tokio::spawn` does it")]
    pub fn memory() -> Store {
        Store::start(Memory::new()).expect("a store in memory starts inside a tokio runtime")
    }

    /// The store at this address: `memory:`, or one of those of [`engine::open`](crate::engine::open()).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = fencepost::driver::Store::open("memory:").await?;
    /// assert!(store.limits().pushes);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe: nothing is left open. A file or a schema that was made is there.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError`], if the address is none, its store does not answer, or there is no runtime here.
    pub async fn open(address: &str) -> Result<Store, OpenStoreError> {
        let engine = engine::open(address).await?;
        Ok(Store::start_shared(engine)?)
    }

    /// A store that rests on this engine.
    ///
    /// # Errors
    ///
    /// [`StartError`], outside a tokio runtime, or if the operating system gives no randomness.
    pub fn start(engine: impl Engine) -> Result<Store, StartError> {
        Store::start_shared(Arc::new(engine))
    }

    fn start_shared(engine: Arc<dyn Engine>) -> Result<Store, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        identity::prepare()?;
        Ok(Store { core: Core::new(engine, runtime) })
    }

    /// What its engine can do.
    pub fn limits(&self) -> Limits {
        self.core.engine().limits()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.core.index().is_closed()
    }

    /// Ends everything that rests on this store: whoever waits is told that it is closed, what is held is released,
    /// callbacks are interrupted and waited for; then the engine. It takes no longer than `within`, and may be called more than once.
    ///
    /// It is not undone if the future is dropped: what was asked to end will end, but nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`Unfinished`] lists what had not ended in time.
    pub async fn close(&self, within: Duration) -> Result<(), Unfinished> {
        let now = time::Instant::now();
        let deadline = now.checked_add(within).unwrap_or(now + FOR_EVER);
        let residents = self.core.index().close();
        let pending = Arc::new(Board::new(0));
        // Held until all were told, so that the count does not reach zero on the way.
        let all_told = Pending::of(&pending);
        for resident in &residents {
            resident.clone().shut(Pending::of(&pending));
        }
        drop(all_told);
        let all_ended = pending.wait(|count| (*count == 0).then_some(()));
        let mut left = match time::timeout_at(deadline, all_ended).await {
            Ok(()) => Vec::new(),
            Err(_) => residents.iter().filter_map(still_at_work).collect(),
        };
        if time::timeout_at(deadline, self.core.engine().close()).await.is_err() {
            left.push(Left { space: "engine".into(), doing: "closing" });
        }
        self.core.timers().end();
        tracing::info!(target: "fencepost", left = left.len(), "store closed");
        if left.is_empty() { Ok(()) } else { Err(Unfinished { within, left }) }
    }
}

fn still_at_work(resident: &Arc<dyn Resident>) -> Option<Left> {
    resident.doing().map(|doing| Left { space: resident.space().as_ref().into(), doing })
}
