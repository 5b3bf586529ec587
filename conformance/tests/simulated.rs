//! The store under every proof and every hunt does what it asks of real ones.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fencepost::engine::{Ear, Engine, Reply, Request, Responder};
use fencepost::store::Limits;
use fencepost::time::StoreTime;
use fencepost_conformance::{Candidate, Rule, Settable, Simulated, examine, examine_steps};

#[test]
fn the_simulated_store_honours_the_contract() {
    assert_eq!(examine(&Simulated::default()), Ok(()));
}

#[test]
fn entries_die_by_the_stores_clock_even_if_that_is_set() {
    assert_eq!(examine_steps(&Simulated::default()), Ok(()));
}

/// A store that tells one clock and lets entries die by another.
#[derive(Debug, Default)]
struct Torn(Simulated, Arc<AtomicI64>);

#[derive(Debug)]
struct Handle(Arc<dyn Engine>, Arc<AtomicI64>);

impl Candidate for Torn {
    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(Handle(self.0.open(), self.1.clone()))
    }
}

impl Settable for Torn {
    fn set_clock(&self, nanos: i64) {
        self.1.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Engine for Handle {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn listen(&self, _: Arc<dyn Ear>) {}

    fn submit(&self, request: Request, responder: Responder) {
        let ahead = self.1.clone();
        let told = Responder::new(move |Reply { answer, at }| {
            let nanos = at.as_nanos().saturating_add_signed(ahead.load(Ordering::Relaxed));
            responder.answer(Reply { answer, at: StoreTime::from_nanos(nanos) });
        });
        self.0.submit(request, told);
    }

    fn publish(&self, _: &str, _: &str) {}

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.close()
    }
}

#[test]
fn a_store_whose_entries_die_by_another_clock_is_found_out() {
    let found = examine_steps(&Torn::default());
    assert_eq!(found.as_ref().map_err(|breach| breach.rule), Err(Rule::NotEarly), "{found:?}");
}
