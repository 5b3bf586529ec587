//! The writer lease, for callers without async.

use core::time::Duration;

use super::{SetupError, Store, in_pool};
use crate::driver::{WorkRun, Worked};
use crate::once::Name;
use crate::writer::{End, State, Unit, WorkId, WriterConfig};

/// A writer that leads once its work has succeeded; see [`driver::WriterLease`](crate::driver::WriterLease).
#[derive(Debug)]
pub struct WriterLease<K: Name> {
    writer: crate::driver::WriterLease<K>,
    store: Store,
}

impl<K: Name> Clone for WriterLease<K> {
    fn clone(&self) -> WriterLease<K> {
        WriterLease { writer: self.writer.clone(), store: self.store.clone() }
    }
}

/// Work that was tried; see [`driver::Attempt`](crate::driver::Attempt).
#[derive(Debug)]
pub struct Attempt {
    attempt: crate::driver::Attempt,
    store: Store,
}

impl Attempt {
    /// Waits until nothing more will be done for this piece of work: why.
    pub fn settled(self) -> End {
        self.store.wait(self.attempt.settled())
    }
}

impl<K: Name> WriterLease<K> {
    /// See [`driver::WriterLease::start`](crate::driver::WriterLease::start).
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn start(store: &Store, name: &str, config: WriterConfig) -> Result<WriterLease<K>, SetupError> {
        let writer = crate::driver::WriterLease::start(&store.store, name, config)?;
        Ok(WriterLease { writer, store: store.clone() })
    }

    /// Tries this work under that key, on a thread of its own whenever it is run; see
    /// [`driver::WriterLease::attempt`](crate::driver::WriterLease::attempt). Work that panics has failed, and is run again.
    pub fn attempt(
        &self,
        key: K,
        unit: Unit,
        work: impl Fn(WorkRun<K>) -> Worked + Send + Sync + 'static,
    ) -> Attempt {
        let attempt = self.writer.attempt(key, unit, in_pool(work));
        Attempt { attempt, store: self.store.clone() }
    }

    /// See [`driver::WriterLease::extend`](crate::driver::WriterLease::extend).
    pub fn extend(&self, key: K, id: WorkId) {
        self.writer.extend(key, id);
    }

    /// See [`driver::WriterLease::remove`](crate::driver::WriterLease::remove).
    pub fn remove(&self, key: K) {
        self.writer.remove(key);
    }

    /// See [`driver::WriterLease::expire`](crate::driver::WriterLease::expire).
    pub fn expire(&self) {
        self.writer.expire();
    }

    /// How many keys have work, running or waiting.
    pub fn len(&self) -> usize {
        self.writer.len()
    }

    /// Whether there is no work.
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// See [`driver::WriterLease::state`](crate::driver::WriterLease::state).
    pub fn state(&self) -> State {
        self.writer.state()
    }

    /// See [`driver::WriterLease::is_leader`](crate::driver::WriterLease::is_leader).
    pub fn is_leader(&self) -> bool {
        self.writer.is_leader()
    }

    /// Waits until it is known who leads, or the writer has stopped: whether this one leads.
    pub fn wait(&self) -> bool {
        self.store.wait(self.writer.wait())
    }

    /// As [`WriterLease::wait`], but not longer than so: `None`, if it is not known by then.
    pub fn wait_timeout(&self, within: Duration) -> Option<bool> {
        self.store.wait(self.writer.wait_timeout(within))
    }

    /// Runs nothing any more. What waits is settled, what runs is interrupted, and waited for.
    pub fn stop(&self) {
        self.store.wait(self.writer.stop());
    }
}
