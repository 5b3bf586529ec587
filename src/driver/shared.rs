//! What all machines of a store share: the engine, who lives in which space, the timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::index::Index;
use super::timers::Timers;
use crate::engine::Engine;

/// What all machines of a store share.
#[derive(Debug)]
pub(crate) struct Core {
    engine: Arc<dyn Engine>,
    index: Arc<Index>,
    timers: Arc<Timers>,
    runtime: Handle,
    numbers: AtomicU64,
}

impl Core {
    pub(crate) fn new(engine: Arc<dyn Engine>, runtime: Handle) -> Arc<Core> {
        let (index, timers) = (Arc::new(Index::new()), Timers::new());
        engine.listen(index.clone());
        runtime.spawn(timers.clone().run());
        Arc::new(Core { engine, index, timers, runtime, numbers: AtomicU64::new(0) })
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Where callbacks run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A number that no other machine of this store has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.timers.end();
    }
}
