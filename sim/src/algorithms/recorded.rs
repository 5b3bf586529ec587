//! Histories of real processes: they are replayed and judged, and neither hunted nor checked.

use fencepost_models::recorded::{History, Jobs, Kind, Locks, Recorded};

use crate::algorithm::{Algorithm, Registration};

/// What `fencepost torture` records. A header may name fewer properties.
pub fn recordings() -> Vec<Box<dyn Algorithm>> {
    vec![
        Box::new(recorded::<Locks>("recorded/locks", "real processes that lock")),
        Box::new(recorded::<Jobs>("recorded/jobs", "real processes that run jobs once")),
    ]
}

fn recorded<K: Kind>(name: &str, about: &str) -> Registration<Recorded<K>> {
    Registration::new(name, about, |_| History::default()).promises(K::PROMISES)
}
