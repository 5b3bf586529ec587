//! The outstanding requests of one machine: which reply belongs to which of them.
//!
//! A machine names its requests, and has at most one of each name. A reply is its machine's only as long as the request
//! that it answers was neither superseded nor forgotten, so each request bears a number that no other one has.

use std::vec::Vec;

/// The outstanding requests of one machine.
#[derive(Debug)]
pub(crate) struct Calls<C> {
    last: u64,
    /// Most machines have no more than one.
    first: Option<(C, u64)>,
    others: Vec<(C, u64)>,
}

impl<C: Copy + Eq> Calls<C> {
    pub(crate) const fn new() -> Calls<C> {
        Calls { last: 0, first: None, others: Vec::new() }
    }

    /// A request is sent under this name: its number. An earlier one of the same name is superseded.
    pub(crate) fn open(&mut self, call: C) -> u64 {
        self.forget(call);
        self.last += 1;
        let open = (call, self.last);
        match self.first {
            None => self.first = Some(open),
            Some(_) => self.others.push(open),
        }
        self.last
    }

    /// Whether no reply is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    /// The reply to this call is no longer wanted.
    pub(crate) fn forget(&mut self, call: C) {
        self.first = self.first.filter(|(open, _)| *open != call);
        self.others.retain(|(open, _)| *open != call);
    }

    /// A reply has come: whether it is wanted. A second one to the same request is not.
    pub(crate) fn close(&mut self, call: C, number: u64) -> bool {
        let reply = (call, number);
        if self.first == Some(reply) {
            self.first = None;
            return true;
        }
        let before = self.others.len();
        self.others.retain(|open| *open != reply);
        self.others.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_belongs_to_the_latest_request_of_its_name_once_and_not_after_that_was_forgotten() {
        let mut calls = Calls::new();
        assert!(calls.is_empty());
        let (claim, renew) = (calls.open('c'), calls.open('r'));
        let again = calls.open('c');
        assert!(!calls.close('c', claim), "it was superseded");
        assert!(!calls.close('r', again), "it is another one's");
        assert!(calls.close('c', again) && !calls.close('c', again));
        assert!(!calls.is_empty(), "the other one is open");
        calls.forget('r');
        assert!(calls.is_empty());
        assert!(!calls.close('r', renew));
    }
}
