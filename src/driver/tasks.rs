//! Callbacks: they run on the runtime, and what becomes of them is reported, whatever becomes of them.

use core::any::Any;
use core::fmt::Display;
use core::marker::PhantomData;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::boxed::Box;
use std::panic::catch_unwind;
use std::string::String;

use tokio::runtime::Handle;
use tracing::Span;
use tracing::field::Empty;

use crate::job::Outcome;
use crate::store::FencingToken;

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

/// How a callback has ended.
pub(crate) enum Ended<T> {
    /// With this.
    With(T),
    /// By a panic, which is no concern of whoever runs it.
    Panicked,
    /// Its runtime has dropped it.
    Dropped,
}

impl Ended<Outcome> {
    /// What it comes to.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Ended::With(outcome) => outcome,
            Ended::Panicked => Outcome::Failed,
            Ended::Dropped => Outcome::Interrupted,
        }
    }
}

/// The span of a callback, so that whatever it logs says to which run it belongs.
pub(crate) fn span(space: &str, token: Option<FencingToken>) -> Span {
    let token = token.map(|token| token.0);
    tracing::info_span!(target: "fencepost", "run", space, token, key = Empty, attempt = Empty)
}

/// Runs a callback on the runtime, within a span. Whatever becomes of it, `report` is called once.
pub(crate) fn run<T: 'static>(
    runtime: &Handle,
    span: Span,
    make: impl FnOnce() -> Run<T> + Send + 'static,
    report: impl FnOnce(Ended<T>) + Send + 'static,
) {
    let reported = Reported(Some(report), PhantomData);
    runtime.spawn(async move {
        let ended = Contained::new(span, make).await;
        reported.report(ended.map_or(Ended::Panicked, Ended::With));
    });
}

/// Polls a callback until it has ended, `None` if it has panicked.
struct Contained<T> {
    run: Result<Run<T>, Panic>,
    span: Span,
}

impl<T> Contained<T> {
    /// What making the callback's future may do, it may do here.
    fn new(span: Span, make: impl FnOnce() -> Run<T>) -> Contained<T> {
        let run = catch_unwind(AssertUnwindSafe(|| span.in_scope(make))).map_err(Panic::of);
        Contained { run, span }
    }
}

impl<T> Future for Contained<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Contained { run, span } = &mut *self;
        if let Ok(running) = run {
            match catch_unwind(AssertUnwindSafe(|| span.in_scope(|| running.as_mut().poll(context)))) {
                Ok(polled) => return polled.map(Some),
                // Nothing of it is polled again.
                Err(panic) => *run = Err(Panic::of(panic)),
            }
        }
        if let Err(Panic(error)) = run {
            tracing::error!(target: "fencepost", parent: &*span, error, "a callback has panicked");
        }
        Poll::Ready(None)
    }
}

/// What was said in a panic.
struct Panic(String);

impl Panic {
    fn of(payload: Box<dyn Any + Send>) -> Panic {
        let text = payload.downcast_ref::<&str>().map(|text| String::from(*text));
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Panic(text.unwrap_or_else(|| "a payload that is no text".into()))
    }
}

/// Reports what became of a callback, even if its runtime drops it before its end.
struct Reported<T, F: FnOnce(Ended<T>)>(Option<F>, PhantomData<fn(T)>);

impl<T, F: FnOnce(Ended<T>)> Reported<T, F> {
    fn report(mut self, ended: Ended<T>) {
        if let Some(report) = self.0.take() {
            report(ended);
        }
    }
}

impl<T, F: FnOnce(Ended<T>)> Drop for Reported<T, F> {
    fn drop(&mut self) {
        if let Some(report) = self.0.take() {
            report(Ended::Dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_a_panic_is_reported() {
        let told = |panic: fn() -> ()| catch_unwind(panic).map_err(Panic::of).err().map(|Panic(text)| text);
        assert_eq!(told(|| panic!("a text")).as_deref(), Some("a text"));
        assert_eq!(told(|| panic!("{} apples", 3)).as_deref(), Some("3 apples"));
        let told = told(|| std::panic::panic_any(3));
        assert_eq!(told.as_deref(), Some("a payload that is no text"));
    }
}
