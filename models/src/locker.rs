//! What the world has to know of our locker.

use std::sync::Arc;

use fencepost::locker::{Bid, Event, Key, Locker, LockerTerms, Loss, Record, Request};
use fencepost::machine::Relocate;
use fencepost::mutex::Mutex;
use fencepost::time::{Instant, Ppm, Span, StoreTime};

use crate::store::{LockKey, Named};
use crate::subject::{Ask, Preemption, Subject, Told};

impl LockKey for Key {
    fn is_lock(&self) -> bool {
        *self == Key::Lock
    }

    fn is_request(&self) -> bool {
        *self == Key::Contender
    }
}

impl Named for Key {
    fn relocate(&mut self, _: &mut impl Relocate) {}
}

impl Named for Record {
    fn relocate(&mut self, map: &mut impl Relocate) {
        Record::relocate(self, map);
    }

    fn revokes(&self) -> bool {
        matches!(self, Record::Revoked(_))
    }

    fn asked(&self) -> Option<StoreTime> {
        match self {
            Record::Contender(contender) => Some(contender.asked),
            Record::Held { .. } | Record::Revoked(_) => None,
        }
    }
}

fn bid(patience: Option<Span>) -> Request {
    Request::Lock(Bid { message: Arc::default(), priority: 0, patience })
}

/// The lock delay on the slowest clock.
fn delay(config: &LockerTerms) -> Span {
    config.delay() + config.delay().portion(Mutex::drift(config.mutex()))
}

impl Subject for Locker {
    const READS_WALL: bool = false;
    const PREEMPTS: bool = true;

    fn request(ask: Ask) -> Option<Request> {
        Some(match ask {
            Ask::Lock => bid(None),
            Ask::LockFor(span) => bid(Some(span)),
            Ask::Cancel => Request::Cancel,
            Ask::Unlock | Ask::UnlockAgain => Request::Unlock,
            Ask::Extend => Request::Extend,
            _ => return None,
        })
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Acquired(token) => Told::Acquired(Some(*token)),
            Event::Asked(_) => Told::Asked,
            Event::Preempted(_) => Told::Preempted,
            Event::TimedOut | Event::Cancelled => Told::Denied,
            Event::Extended(_) => Told::Extended,
            Event::Released(_) => Told::Released,
            Event::Lost(Loss::Expired | Loss::Gone) => Told::Lost,
            Event::Lost(Loss::Preempted | Loss::TooLong) => Told::Ousted,
            Event::Rejected(_) => Told::Rejected,
        }
    }

    fn belief(&self) -> Option<Instant> {
        self.until()
    }

    fn ttl(config: &LockerTerms) -> Span {
        Mutex::ttl(config.mutex())
    }

    fn drift(config: &LockerTerms) -> Ppm {
        Mutex::drift(config.mutex())
    }

    fn margin(config: &LockerTerms) -> Span {
        Mutex::margin(config.mutex())
    }

    fn stable_round_trip(config: &LockerTerms) -> Span {
        Mutex::stable_round_trip(config.mutex())
    }

    /// Of two requests of one moment, the store says which stays.
    fn is_symmetric(_: &LockerTerms) -> bool {
        true
    }

    /// A waiter may have to wait for a row of requests to end.
    fn lateness(config: &LockerTerms) -> Span {
        match config.contention() {
            Span::MAX => Span::ZERO,
            contention => contention,
        }
    }

    /// What a mutex takes, and then the lock delay.
    fn takeover(config: &LockerTerms) -> Span {
        Mutex::takeover(config.mutex()) + delay(config)
    }

    fn handover(config: &LockerTerms) -> Span {
        Mutex::handover(config.mutex()) + delay(config)
    }

    fn preemption(config: &LockerTerms) -> Preemption {
        Preemption {
            notice: config.notice(),
            waiter_notice: config.notice(),
            grace: config.grace(),
            limit: config.limit(),
            contention: config.contention(),
        }
    }

    /// Since when a row of requests lasts is compared with the clock.
    fn calendar_horizon(config: &LockerTerms) -> Span {
        config.config().storm_bound.map_or(Span::ZERO, Span::from)
    }
}
