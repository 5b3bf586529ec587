//! What the two Mattermost mutexes have in common: the words of their callers, Go's `select` between a timer and
//! a context, and the goroutine that refreshes the key.
//!
//! Both write the same value for every owner, so a refresh or a delete cannot tell whose row it meets (M2, M3).
//!
//! # The refresher
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | R1 | idle | wake | a tick has come | calling | refresh |
//! | R2 | calling | refreshed | no tick came meanwhile | idle | |
//! | R3 | calling | refreshed | ticks came meanwhile | calling | refresh: one tick is kept, the others are lost |
//! | R4 | calling | refused, or any error | | ended | none: nobody is told (M1) |

use fencepost::machine::Relocate;
use fencepost::time::{Instant, Now, Span, Timestamp};

use super::kv::{KvAnswer, KvOp};
use crate::store::Named;
use crate::subject::{Ask, Told};

/// What every owner writes.
pub const VALUE: u8 = 1;

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The lock, with a context that ends after so long; [`Span::MAX`] is the background context.
    Lock(Span),
    /// To end that context.
    Cancel,
    /// To unlock.
    Unlock,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `Lock` returned without error.
    Acquired,
    /// `Lock` returned the context's error.
    ContextDone,
    /// `Unlock` returned.
    Released,
    /// The request was ignored with a warning, or is one that the model does not cover.
    Rejected,
    /// The process died.
    Panicked,
}

/// The outstanding requests of a mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Take the lock.
    Insert,
    /// Keep it.
    Refresh,
    /// Give it back.
    Delete,
}

/// What the rows of a job hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// The mutex: what every owner writes.
    Lock(u8),
    /// The job: when it finished last, or when it is to run.
    Time(Timestamp),
}

impl Named for Value {
    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Value::Lock(_) => {}
            Value::Time(time) => map.timestamp(time),
        }
    }
}

/// There is no `TryLock`, and nobody can renew on request.
pub(super) fn request(ask: Ask) -> Option<Request> {
    match ask {
        Ask::Lock => Some(Request::Lock(Span::MAX)),
        Ask::LockFor(span) => Some(Request::Lock(span)),
        Ask::Cancel => Some(Request::Cancel),
        Ask::Unlock | Ask::UnlockAgain => Some(Request::Unlock),
        _ => None,
    }
}

pub(super) fn told(event: &Event) -> Told {
    match event {
        Event::Acquired => Told::Acquired(None),
        Event::ContextDone => Told::Denied,
        Event::Released => Told::Released,
        Event::Rejected => Told::Rejected,
        Event::Panicked => Told::Panicked,
    }
}

pub(super) fn insert(expire_in_secs: u64, wall: Timestamp) -> KvOp<u8> {
    KvOp::Insert { value: VALUE, expire_in_secs, wall }
}

pub(super) fn refresh(expire_in_secs: u64, wall: Timestamp) -> KvOp<u8> {
    KvOp::Update { old: VALUE, new: VALUE, expire_in_secs, wall }
}

/// What an attempt to take the lock came to.
pub(super) enum Attempt {
    Won,
    Contended,
    Failed,
}

impl Attempt {
    pub(super) fn of(answer: &KvAnswer<u8>) -> Attempt {
        match answer {
            KvAnswer::Done(true) => Attempt::Won,
            KvAnswer::Done(false) => Attempt::Contended,
            KvAnswer::Found(_) | KvAnswer::Error => Attempt::Failed,
        }
    }
}

/// What a mutex hears, of an answer about a row of a job. It never reads.
pub(super) fn heard(answer: KvAnswer<Value>) -> KvAnswer<u8> {
    match answer {
        KvAnswer::Done(done) => KvAnswer::Done(done),
        KvAnswer::Found(_) | KvAnswer::Error => KvAnswer::Error,
    }
}

/// What is in the row of a job; an error, if nobody can say, or if it makes no sense.
pub(super) fn time_in(answer: &KvAnswer<Value>) -> Result<Option<Timestamp>, ()> {
    match answer {
        KvAnswer::Found(None) => Ok(None),
        KvAnswer::Found(Some(Value::Time(time))) => Ok(Some(*time)),
        KvAnswer::Found(Some(Value::Lock(_))) | KvAnswer::Done(_) | KvAnswer::Error => Err(()),
    }
}

/// What a `select` between a timer and a context finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Neither,
    Timer,
    Context,
}

/// Go chooses at random between two that are ready; the lowest bit of the draw decides.
pub(super) fn select(now: Now, timer: Instant, context: Instant) -> Ready {
    match (now.mono >= timer, now.mono >= context) {
        (false, false) => Ready::Neither,
        (true, false) => Ready::Timer,
        (false, true) => Ready::Context,
        (true, true) if now.draw.0 & 1 == 0 => Ready::Timer,
        (true, true) => Ready::Context,
    }
}

/// The goroutine that keeps the key alive. Its ticker keeps its rhythm from the moment of the acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refresher {
    Idle { tick: Instant },
    Calling { tick: Instant },
    Ended,
}

impl Refresher {
    pub(super) fn start(now: Now, period: Span) -> Refresher {
        Refresher::Idle { tick: now.mono + period }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Refresher::Idle { tick } => Some(*tick),
            Refresher::Calling { .. } | Refresher::Ended => None,
        }
    }

    /// Whether whoever stops it has to wait for an answer.
    pub(super) fn is_calling(&self) -> bool {
        match self {
            Refresher::Calling { .. } => true,
            Refresher::Idle { .. } | Refresher::Ended => false,
        }
    }

    /// Whether the key is to be refreshed now.
    #[must_use]
    pub(super) fn wake(&mut self, now: Now, period: Span) -> bool {
        match self {
            // R1
            Refresher::Idle { tick } if now.mono >= *tick => {
                *self = Refresher::Calling { tick: tick_after(*tick, now.mono, period) };
                true
            }
            Refresher::Idle { .. } | Refresher::Calling { .. } | Refresher::Ended => false,
        }
    }

    /// Whether the key is to be refreshed again at once.
    #[must_use]
    pub(super) fn answered(&mut self, now: Now, period: Span, answer: &KvAnswer<u8>) -> bool {
        match (&self, answer) {
            // R2, R3
            (Refresher::Calling { tick }, KvAnswer::Done(true)) => {
                *self = Refresher::Idle { tick: *tick };
                self.wake(now, period)
            }
            // R4
            (Refresher::Calling { .. }, KvAnswer::Done(false) | KvAnswer::Found(_) | KvAnswer::Error) => {
                *self = Refresher::Ended;
                false
            }
            (
                Refresher::Idle { .. } | Refresher::Ended,
                KvAnswer::Done(_) | KvAnswer::Found(_) | KvAnswer::Error,
            ) => false,
        }
    }

    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Refresher::Idle { tick } | Refresher::Calling { tick } => map.instant(tick),
            Refresher::Ended => {}
        }
    }
}

/// The first tick after `now` of a ticker that has one at `tick`.
fn tick_after(tick: Instant, now: Instant, period: Span) -> Instant {
    let missed = now.since(tick).as_nanos() / period.as_nanos().max(1);
    tick + period * missed.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use fencepost::time::Draw;

    use super::*;

    fn at(millis: u64) -> Now {
        Now { mono: Instant::from_nanos(millis * 1_000_000), ..Now::default() }
    }

    #[test]
    fn a_slow_refresh_keeps_one_tick_and_loses_the_others() {
        let period = Span::from_millis(7_500);
        let mut refresher = Refresher::start(at(0), period);
        assert!(!refresher.wake(at(7_499), period));
        assert!(refresher.wake(at(7_500), period));
        assert!(!refresher.wake(at(16_000), period), "one refresh at a time");
        assert!(refresher.answered(at(27_500), period, &KvAnswer::Done(true)), "the tick of 15 s was kept");
        assert!(!refresher.answered(at(27_600), period, &KvAnswer::Done(true)), "that of 22.5 s was lost");
        assert_eq!(refresher.deadline(), Some(at(30_000).mono));
    }

    #[test]
    fn m1_the_first_error_or_refusal_ends_the_refresher_for_good() {
        let period = Span::from_millis(7_500);
        for answer in [KvAnswer::Error, KvAnswer::Done(false)] {
            let mut refresher = Refresher::start(at(0), period);
            assert!(refresher.wake(at(7_500), period));
            assert!(!refresher.answered(at(7_600), period, &answer));
            assert_eq!(refresher.deadline(), None);
            assert!(!refresher.wake(at(60_000), period));
        }
    }

    #[test]
    fn of_two_that_are_ready_the_draw_chooses_one() {
        let (now, past, future) = (at(5), at(4).mono, at(6).mono);
        assert_eq!(select(now, future, future), Ready::Neither);
        assert_eq!(select(now, past, future), Ready::Timer);
        assert_eq!(select(now, future, past), Ready::Context);
        assert_eq!(select(now, past, past), Ready::Timer);
        assert_eq!(select(Now { draw: Draw(1), ..now }, past, past), Ready::Context);
    }
}
