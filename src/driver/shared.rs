//! What all machines of a store share: the engine, who lives in which space, the timers.

use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::index::{Index, Resident};
use super::timers::Timers;
use crate::driver::primitive::lock;
use crate::engine::Engine;
use crate::mutex::MutexTerms;

/// What all machines of a store share.
#[derive(Debug)]
pub(crate) struct Core {
    engine: Arc<dyn Engine>,
    index: Arc<Index>,
    timers: Arc<Timers>,
    runtime: Handle,
    /// The task that moves the timers. It ends when nothing rests on the store any more, or it is closed.
    life: Mutex<Option<JoinHandle<()>>>,
    /// Those of the mutex that was made last.
    terms: Mutex<Option<Arc<MutexTerms>>>,
}

impl Core {
    pub(crate) fn new(engine: Arc<dyn Engine>, runtime: Handle) -> Arc<Core> {
        let (index, timers) = (Arc::new(Index::new()), Timers::new());
        engine.listen(index.clone());
        let life = Life { index: index.clone(), timers: timers.clone() };
        let life = Mutex::new(Some(runtime.spawn(async move { life.timers.run().await })));
        Arc::new(Core { engine, index, timers, runtime, life, terms: Mutex::new(None) })
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

    /// What ends when nothing rests on the store any more, for the first who asks.
    pub(crate) fn take_life(&self) -> Option<JoinHandle<()>> {
        lock(&self.life).take()
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

/// Ends when the store is closed, and with the runtime that moves it: then nobody is left waiting.
struct Life {
    index: Arc<Index>,
    timers: Arc<Timers>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.timers.end();
        self.index.close().into_iter().for_each(Resident::abandon);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.timers.end();
    }
}
