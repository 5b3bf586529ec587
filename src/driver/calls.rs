//! The outstanding requests of one machine: which reply belongs to which of them.
//!
//! A machine names its requests, and has at most one of each name. A reply is its machine's only as long as the request
//! that it answers was neither superseded nor forgotten, so each request bears a number that no other one has.

use std::vec::Vec;

/// The outstanding requests of one machine.
#[derive(Debug)]
pub(crate) struct Calls<C> {
    last: u64,
    open: Vec<(C, u64)>,
}

impl<C: Copy + Eq> Calls<C> {
    pub(crate) const fn new() -> Calls<C> {
        Calls { last: 0, open: Vec::new() }
    }

    /// A request is sent under this name: its number. An earlier one of the same name is superseded.
    pub(crate) fn open(&mut self, call: C) -> u64 {
        self.forget(call);
        self.last += 1;
        self.open.push((call, self.last));
        self.last
    }

    /// The reply to this call is no longer wanted.
    pub(crate) fn forget(&mut self, call: C) {
        self.open.retain(|(open, _)| *open != call);
    }

    /// A reply has come: whether it is wanted. A second one to the same request is not.
    pub(crate) fn close(&mut self, call: C, number: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|open| *open != (call, number));
        self.open.len() < before
    }
}
