//! Callbacks: they run on the runtime, and what becomes of them is reported, whatever becomes of them.

use core::fmt::Display;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::boxed::Box;
use std::panic::catch_unwind;

use super::board::Board;
use super::tenure::Belief;
use crate::engine::clock;
use crate::job::Outcome;
use crate::time::Instant;

/// What a callback is told while it runs.
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

    /// Until when the lock may be believed held.
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

    pub(crate) fn is_held(&self) -> bool {
        self.belief.holds(clock::mono().as_nanos())
    }

    pub(crate) fn remaining(&self) -> Duration {
        Duration::from_nanos(self.belief.remaining(clock::mono().as_nanos()))
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.read(|interrupted| *interrupted)
    }

    pub(crate) async fn interrupted(&self) {
        self.interrupted.wait(|interrupted| interrupted.then_some(())).await;
    }
}

/// What a callback may return: nothing, or a result whose error is logged and counts as a failure.
pub trait Report {
    /// How the run has ended.
    fn outcome(self) -> Outcome;
}

impl Report for () {
    fn outcome(self) -> Outcome {
        Outcome::Succeeded
    }
}

impl<E: Display> Report for Result<(), E> {
    fn outcome(self) -> Outcome {
        match self {
            Ok(()) => Outcome::Succeeded,
            Err(error) => {
                tracing::warn!(target: "fencepost", %error, "a callback has failed");
                Outcome::Failed
            }
        }
    }
}

impl Report for Outcome {
    fn outcome(self) -> Outcome {
        self
    }
}

/// A callback under way, whatever it returns.
pub(crate) type Run<T = Outcome> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs a callback and says how it has ended, `None` if it has panicked: that is no concern of whoever runs it.
pub(crate) struct Contained<T>(Option<Run<T>>);

impl<T> Contained<T> {
    /// What making the callback's future may do, it may do here.
    pub(crate) fn new(make: impl FnOnce() -> Run<T>) -> Contained<T> {
        Contained(catch_unwind(AssertUnwindSafe(make)).ok())
    }
}

impl<T> Future for Contained<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(run) = &mut self.0 else { return Poll::Ready(panicked()) };
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            Err(_) => {
                // Nothing of it is polled again.
                self.0 = None;
                Poll::Ready(panicked())
            }
        }
    }
}

fn panicked<T>() -> Option<T> {
    tracing::error!(target: "fencepost", "a callback has panicked");
    None
}

/// Reports what became of a callback, even if its runtime drops it before its end.
pub(crate) struct Reported<T, F: FnMut(T)> {
    /// What to report if it is dropped, until it has reported.
    dropped: Option<T>,
    report: F,
}

impl<T, F: FnMut(T)> Reported<T, F> {
    /// Whatever happens, `report` is called once.
    pub(crate) fn new(dropped: T, report: F) -> Reported<T, F> {
        Reported { dropped: Some(dropped), report }
    }

    pub(crate) fn report(mut self, end: T) {
        self.dropped = None;
        (self.report)(end);
    }
}

impl<T, F: FnMut(T)> Drop for Reported<T, F> {
    fn drop(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            (self.report)(dropped);
        }
    }
}
