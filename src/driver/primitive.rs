//! What the concurrent parts of the driver and of the engine in memory are made of. `tests/loom.rs` compiles the same parts over loom's versions of these.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Takes a lock. What runs under these locks leaves nothing half done if it panics, so poison is not heeded.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
