//! What all machines of a store share: the engine, who lives in which space, the timers.

use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use super::index::Index;
use super::primitive::lock;
use super::timers::Timers;
use crate::engine::Engine;
use crate::mutex::MutexTerms;

/// What all machines of a store share.
#[derive(Debug)]
pub(crate) struct Core {
    engine: Arc<dyn Engine>,
    index: Arc<Index>,
    timers: Arc<Timers>,
    runtime: Handle,
    /// Those of the mutex that was made last.
    terms: Mutex<Option<Arc<MutexTerms>>>,
}

impl Core {
    pub(crate) fn new(engine: Arc<dyn Engine>, runtime: Handle) -> Arc<Core> {
        let (index, timers) = (Arc::new(Index::new()), Timers::new());
        engine.listen(index.clone());
        runtime.spawn(timers.clone().run());
        Arc::new(Core { engine, index, timers, runtime, terms: Mutex::new(None) })
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

    /// Terms that a row of locks shares, if they are those of the lock before: there may be very many.
    pub(crate) fn shared_terms(&self, terms: MutexTerms) -> Arc<MutexTerms> {
        let mut last = lock(&self.terms);
        match &*last {
            Some(same) if **same == terms => same.clone(),
            Some(_) | None => last.insert(Arc::new(terms)).clone(),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.timers.end();
    }
}
