//! What a callback is told while it runs.

use std::time::Duration;

use super::board::Board;
use super::tenure::Belief;
use crate::time::Instant;

/// What a callback is told while it runs. Belief is published before it hears that it should end.
#[derive(Debug)]
pub(crate) struct Signals {
    belief: Belief,
    interrupted: Board<bool>,
}

impl Signals {
    pub(crate) fn new(until: Option<Instant>) -> Signals {
        let signals = Signals { belief: Belief::new(), interrupted: Board::new(false) };
        signals.believe(until);
        signals
    }

    /// Until when the lock may be believed held. What has ended does not begin again.
    pub(crate) fn believe(&self, until: Option<Instant>) {
        match until {
            Some(until) => self.belief.set(until.as_nanos()),
            None => self.belief.end(),
        }
    }

    /// It should end soon.
    pub(crate) fn interrupt(&self) {
        self.interrupted.update(|interrupted| *interrupted = true);
    }

    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.belief.holds(now.as_nanos())
    }

    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.belief.remaining(now.as_nanos()))
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.read(|interrupted| *interrupted)
    }

    pub(crate) async fn interrupted(&self) {
        self.interrupted.wait(|interrupted| interrupted.then_some(())).await;
    }
}
