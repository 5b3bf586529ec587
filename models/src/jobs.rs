//! What the world has to know of our jobs.

use fencepost::job::{Event, Job, JobTerms, Misfire, Outcome, Request};
use fencepost::machine::Relocate;
use fencepost::mutex::Mutex;
use fencepost::run::{Key, Record, Work};
use fencepost::time::{Instant, Ppm, Span};

use crate::store::{LockKey, Named};
use crate::subject::{Ask, JobId, Occurrence, Play, Run, Subject, Told};

impl LockKey for Key {
    fn is_lock(&self) -> bool {
        match self {
            Key::Lock(key) => key.is_lock(),
            Key::Work => false,
        }
    }
}

impl Named for Key {
    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Key::Lock(key) => Named::relocate(key, map),
            Key::Work => {}
        }
    }
}

impl<W: Work> Named for Record<W> {
    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Record::Lock(owner) => owner.relocate(map),
            Record::Work(work) => work.relocate(map),
        }
    }
}

impl Subject for Job {
    const PLAY: Play = Play::Job;
    const READS_WALL: bool = false;

    fn request(ask: Ask) -> Option<Request> {
        Some(match ask {
            Ask::Start => Request::Start,
            Ask::Finish(true) => Request::Finish(Outcome::Succeeded),
            Ask::Finish(false) => Request::Finish(Outcome::Failed),
            Ask::Close => Request::Close,
            Ask::Lock
            | Ask::TryLock
            | Ask::LockFor(_)
            | Ask::Cancel
            | Ask::Unlock
            | Ask::UnlockAgain
            | Ask::Extend
            | Ask::Schedule(..)
            | Ask::Reschedule(..)
            | Ask::Withdraw(_) => return None,
        })
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Began { occurrence, token, runs: _ } => Told::Began(Run {
                job: JobId(0),
                occurrence: Some(Occurrence::At(*occurrence)),
                attempt: 1,
                token: Some(*token),
            }),
            Event::Interrupted => Told::Interrupted,
            Event::Ended { .. } => Told::Ended,
            Event::Closed => Told::Closed,
            Event::Rejected(_) => Told::Rejected,
        }
    }

    fn belief(&self) -> Option<Instant> {
        self.until()
    }

    fn ttl(config: &JobTerms) -> Span {
        Mutex::ttl(&config.run().mutex)
    }

    fn drift(config: &JobTerms) -> Ppm {
        Mutex::drift(&config.run().mutex)
    }

    fn margin(config: &JobTerms) -> Span {
        Mutex::margin(&config.run().mutex)
    }

    fn stable_round_trip(config: &JobTerms) -> Span {
        Mutex::stable_round_trip(&config.run().mutex)
    }

    fn period(config: &JobTerms) -> Span {
        config.config().schedule.period_hint(Default::default())
    }

    fn lateness(config: &JobTerms) -> Span {
        config.look_interval()
    }

    fn calendar_horizon(config: &JobTerms) -> Span {
        let within = match config.config().misfire {
            Misfire::Skip | Misfire::RunOnce => Span::ZERO,
            Misfire::CatchUp { within } => within.into(),
        };
        // An occurrence lies a period after the last run, and is compared with the clock a grace later.
        Self::period(config) + config.config().grace.into() + within
    }
}
