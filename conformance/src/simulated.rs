//! The simulated store as an engine.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fencepost::engine::{Ear, Engine, Reply, Request, Responder};
use fencepost::store::Limits;
use fencepost::time::{Span, StoreTime};

use crate::candidate::{Candidate, Settable};
use crate::twin::Shelves;

/// The store that the simulator and the checker use, in the place of a real one.
#[derive(Clone, Debug)]
pub struct Simulated(Arc<Mutex<Store>>, Instant);

#[derive(Debug)]
struct Store {
    shelves: Shelves,
    counter: u64,
    /// What its clock showed when it began, as it was set since.
    origin: StoreTime,
}

impl Default for Simulated {
    fn default() -> Simulated {
        let store = Store { shelves: Shelves::default(), counter: 0, origin: ORIGIN };
        Simulated(Arc::new(Mutex::new(store)), Instant::now())
    }
}

/// Long enough after the beginning of time for a clock to be set back.
const ORIGIN: StoreTime = StoreTime::from_nanos(3_600_000_000_000);

impl Settable for Simulated {
    fn set_clock(&self, nanos: i64) {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        store.origin = StoreTime::from_nanos(store.origin.as_nanos().saturating_add_signed(nanos));
    }
}

impl Candidate for Simulated {
    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(Handle { store: self.clone(), closed: AtomicBool::new(false) })
    }

    fn has_hints(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Handle {
    store: Simulated,
    closed: AtomicBool,
}

impl Engine for Handle {
    fn limits(&self) -> Limits {
        Limits {
            ttl_min: Span::from_nanos(1),
            ttl_grain: Span::from_nanos(1),
            pushes: false,
            durable: true,
            key_bytes_max: 1_024,
        }
    }

    fn listen(&self, _: Arc<dyn Ear>) {}

    fn submit(&self, request: Request, responder: Responder) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let Simulated(store, began) = &self.store;
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let at = store.origin + Span::from(began.elapsed());
        let Store { shelves, counter, .. } = &mut *store;
        let answer = shelves.serve(&request, at, counter);
        drop(store);
        responder.answer(Reply { answer, at });
    }

    fn publish(&self, _: &str, _: &str) {}

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.closed.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}
