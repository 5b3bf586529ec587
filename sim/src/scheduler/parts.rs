//! What a simulator is made of.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::fault::{Fault, Ledger};
use fencepost_models::property::Violation;
use fencepost_models::subject::Ask;
use fencepost_models::world::Service;
use rand_chacha::ChaCha8Rng;

use crate::queue::Ticket;
use crate::scenario::Stream;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many actions were applied.
    pub events: u64,
    /// How long it was, in true time.
    pub length: Span,
    /// The hash of the run.
    pub hash: u64,
    /// How often somebody got the lock.
    pub acquisitions: u64,
    /// What was broken: the first violation of each property.
    pub violations: Vec<Violation>,
    /// What went wrong.
    pub ledger: Ledger,
}

/// The deadline of a timer that has rung and must be set anew, whatever the next deadline is.
pub(super) const RUNG: Time = Time::ZERO;

/// What was decided about a message when it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) ticket: Ticket,
    pub(super) lost: bool,
    pub(super) service: Service,
}

impl Fate {
    /// Nothing goes wrong, and no arrival is queued.
    pub(super) const NONE: Fate = Fate { ticket: 0, lost: false, service: Service::Done };
}

/// What the scheduler keeps about an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// The deadline for which its machine's timer is set.
    pub(super) due: Time,
    /// When its machine is woken.
    pub(super) wake: Time,
    /// When its caller asks next.
    pub(super) ask: Time,
    /// What its caller asks then.
    pub(super) next: Option<Ask>,
}

impl Seat {
    pub(super) const IDLE: Seat = Seat { due: Time::MAX, wake: Time::MAX, ask: Time::MAX, next: None };

    /// When it is to be seen to next.
    pub(super) fn first(&self) -> Time {
        self.wake.min(self.ask)
    }
}

/// The streams of one run.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) workload: ChaCha8Rng,
    pub(super) delays: ChaCha8Rng,
    pub(super) draws: ChaCha8Rng,
    pub(super) timers: ChaCha8Rng,
    pub(super) faults: Vec<ChaCha8Rng>,
}

impl Streams {
    pub(super) fn of(seed: u64) -> Streams {
        Streams {
            workload: Stream::Workload.of(seed),
            delays: Stream::Delays.of(seed),
            draws: Stream::Draws.of(seed),
            timers: Stream::Timers.of(seed),
            faults: Fault::ALL.into_iter().map(|fault| Stream::Fault(fault).of(seed)).collect(),
        }
    }
}
