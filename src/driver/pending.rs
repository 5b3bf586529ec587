//! How many have not ended yet.

use std::sync::Arc;

use super::board::Board;

/// Held by whoever has to end, until it has.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Board<usize>>);

impl Pending {
    /// One more to wait for.
    pub(crate) fn of(count: &Arc<Board<usize>>) -> Pending {
        count.update(|count| *count += 1);
        Pending(count.clone())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.update(|count| *count -= 1);
    }
}
