//! Who steps a machine: the first thread that brings an input, and it works off what others bring meanwhile.
//!
//! So nobody ever waits for a step, an input that a step itself provokes (an answer that comes at once, a hint that comes
//! back) finds its place behind, and a machine that nobody else is at is stepped where the caller stands.

use std::collections::VecDeque;

use crate::driver::primitive::{Mutex, lock};

/// What is to be fed to one machine, in order.
#[derive(Debug)]
pub(crate) struct Turns<T>(Mutex<Queue<T>>);

#[derive(Debug)]
struct Queue<T> {
    /// Somebody works it off.
    busy: bool,
    waiting: VecDeque<T>,
}

impl<T> Turns<T> {
    pub(crate) fn new() -> Turns<T> {
        Turns(Mutex::new(Queue { busy: false, waiting: VecDeque::new() }))
    }

    /// Brings an input. `Some`, if it is the caller's turn: he works it off, and then what [`Turns::next`] says.
    pub(crate) fn enter(&self, input: T) -> Option<T> {
        let mut queue = lock(&self.0);
        if queue.busy {
            queue.waiting.push_back(input);
            return None;
        }
        queue.busy = true;
        Some(input)
    }

    /// The next input; if there is none, the turn is over.
    pub(crate) fn next(&self) -> Option<T> {
        let mut queue = lock(&self.0);
        let next = queue.waiting.pop_front();
        queue.busy = next.is_some();
        next
    }
}
