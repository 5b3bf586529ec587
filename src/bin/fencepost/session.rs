//! A store that is open for one command, and how it is left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fencepost::driver::Store;
use fencepost::engine::{self, Engine, OpenError};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;
use crate::signals::Signals;
use crate::voice::Voice;

/// What a command can use.
const ADDRESSES: &str = "sqlite:PATH, postgres://USER@HOST/DATABASE";
/// How long to wait before saying what is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// An open store.
pub(crate) struct Session {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store: Store,
}

impl Session {
    /// Opens it, unless a signal comes first.
    pub(crate) async fn open(address: &str) -> Result<Session, Failure> {
        let engine = open(address).await?;
        let store = Store::start(engine.clone())?;
        Ok(Session { engine, store })
    }

    /// Gives back whatever is still held or waited for. A signal ends that early.
    pub(crate) async fn close(self, within: Duration, signals: &mut Signals, voice: Voice) {
        let left = tokio::select! {
            closed = self.store.close(within) => closed.err().map(|left| left.to_string()),
            _ = signals.again() => Some("interrupted before the store was told".into()),
        };
        if let Some(left) = left {
            voice.warn("unfinished", &format!("{left}; it is free after its ttl"), json!({}));
        }
    }
}

/// For commands that only look: a file that is not there is not made.
pub(crate) async fn look(address: &str) -> Result<Arc<dyn Engine>, Failure> {
    if let Some(path) = address.strip_prefix("sqlite:").map(|rest| rest.split('?').next().unwrap_or(rest))
        && !path.is_empty()
        && matches!(Path::new(path).try_exists(), Ok(false))
    {
        return Err(Failure::NoStore { path: path.into() });
    }
    open(address).await
}

/// The store at an address that other processes can reach.
async fn open(address: &str) -> Result<Arc<dyn Engine>, Failure> {
    let refused = |found: &str, why| Failure::Usage(format!("{found} {why}; accepted: {ADDRESSES}"));
    match address {
        "" => Err(refused("the address of the store", "is empty")),
        "memory:" => Err(refused("memory:", "is a store of one process, and keeps nobody else out")),
        _ => engine::open(address).await.map_err(|error| match error {
            OpenError::Scheme { found, .. } => refused(&found, "is no address of a store"),
            error => error.into(),
        }),
    }
}

/// What comes first.
pub(crate) enum First<T> {
    /// What was waited for.
    Done(T),
    /// A signal.
    Interrupted(Signal),
}

/// Waits for something, and says for what if that takes long.
pub(crate) async fn wait<T>(
    what: impl Future<Output = T>,
    signals: &mut Signals,
    told: impl FnOnce(),
) -> First<T> {
    let mut what = std::pin::pin!(what);
    tokio::select! {
        biased;
        signal = signals.next() => return First::Interrupted(signal),
        done = &mut what => return First::Done(done),
        () = sleep_until(Instant::now() + PATIENCE) => told(),
    }
    tokio::select! {
        biased;
        signal = signals.next() => First::Interrupted(signal),
        done = &mut what => First::Done(done),
    }
}

/// Waits for the end of what was asked to end, unless somebody is out of patience.
pub(crate) async fn finish(what: impl Future<Output = ()>, signals: &mut Signals, told: impl FnOnce()) {
    let mut what = std::pin::pin!(what);
    tokio::select! {
        _ = signals.again() => return,
        () = &mut what => return,
        () = sleep_until(Instant::now() + PATIENCE) => told(),
    }
    tokio::select! {
        _ = signals.again() => {}
        () = &mut what => {}
    }
}
