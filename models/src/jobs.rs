//! What the world has to know of our jobs.

use fencepost::calendar::Schedule;
use fencepost::job::{Event, Job, JobTerms, Misfire, Outcome, Request};
use fencepost::machine::Relocate;
use fencepost::mutex::Mutex;
use fencepost::once::{self, Delivery, Once, OnceTerms, RunAt};
use fencepost::run::{Key, Record, Work};
use fencepost::time::{Instant, Ppm, Span};

use crate::normal::Names;
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
            _ => return None,
        })
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Began { occurrence, token, runs: _, dropped: _ } => Told::Began(Run {
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

    /// From one beginning to the next, an interval passes, but for what may pass between a claim and its beginning: that
    /// is less than the lock lives.
    fn spacing(config: &JobTerms) -> Span {
        match config.config().schedule {
            Schedule::Interval(interval) => {
                interval.minus(interval.portion(Self::drift(config))).minus(Self::ttl(config) * 2)
            }
            _ => Span::ZERO,
        }
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

    fn is_symmetric(_: &JobTerms) -> bool {
        true
    }
}

/// Each job runs under a lock of its own. None of them is the one that the monitors of a lock follow.
impl LockKey for once::Key<JobId> {
    fn is_lock(&self) -> bool {
        false
    }
}

impl Named for once::Key<JobId> {
    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            once::Key::Lock(_, key) => Named::relocate(key, map),
            once::Key::Jobs | once::Key::Job(_) => {}
        }
    }
}

/// The world plays one callback at a time on each instance.
const SLOT: u16 = 0;

impl Subject for Once<JobId, ()> {
    const PLAY: Play = Play::Once;
    const READS_WALL: bool = false;

    fn request(ask: Ask) -> Option<once::Request<JobId, ()>> {
        let finish = |outcome| once::Request::Finish { slot: SLOT, outcome };
        Some(match ask {
            Ask::Start => once::Request::Start,
            Ask::Close => once::Request::Stop,
            Ask::Finish(true) => finish(Outcome::Succeeded),
            Ask::Finish(false) => finish(Outcome::Failed),
            Ask::Schedule(key, span) => once::Request::Schedule { key, run_at: RunAt::In(span), props: () },
            Ask::Reschedule(key, span) => {
                once::Request::Reschedule { key, run_at: RunAt::In(span), props: None }
            }
            Ask::Withdraw(key) => once::Request::Cancel { key },
            Ask::Missed => once::Request::Refresh,
            _ => return None,
        })
    }

    fn told(event: &once::Event<JobId, ()>) -> Told {
        match event {
            once::Event::Began { slot: _, key, token, task } => Told::Began(Run {
                job: *key,
                occurrence: Some(Occurrence::Of(task.generation)),
                attempt: task.attempt,
                token: Some(*token),
            }),
            once::Event::Interrupted { .. } => Told::Interrupted,
            once::Event::Ended { .. } => Told::Ended,
            once::Event::Accepted { key, generation } => Told::Accepted(*key, generation.map(Occurrence::Of)),
            once::Event::Declined { key, .. } => Told::Declined(*key),
            once::Event::Stopped => Told::Closed,
            once::Event::Found { .. } | once::Event::Listed { .. } | once::Event::Rejected { .. } => {
                Told::Rejected
            }
        }
    }

    fn belief(&self) -> Option<Instant> {
        self.running().map(|(_, until)| until).next()
    }

    fn ttl(config: &OnceTerms) -> Span {
        Mutex::ttl(&config.run().mutex)
    }

    fn drift(config: &OnceTerms) -> Ppm {
        Mutex::drift(&config.run().mutex)
    }

    fn margin(config: &OnceTerms) -> Span {
        Mutex::margin(&config.run().mutex)
    }

    fn stable_round_trip(config: &OnceTerms) -> Span {
        Mutex::stable_round_trip(&config.run().mutex)
    }

    fn attempts(config: &OnceTerms) -> u32 {
        match config.config().delivery {
            Delivery::AtMostOnce => 1,
            Delivery::AtLeastOnce { attempts, .. } => attempts,
        }
    }

    /// A job may first have to be found, and each attempt may die and be waited out.
    fn lateness(config: &OnceTerms) -> Span {
        let (longest, attempts) = match config.config().delivery {
            Delivery::AtMostOnce => (Span::ZERO, 1),
            Delivery::AtLeastOnce { attempts, backoff } => (backoff.longest.into(), attempts),
        };
        let each = Self::ttl(config) * 3 + longest + Span::from_secs(60);
        Span::from(config.config().refresh_interval) * 2 + each * u64::from(attempts)
    }

    fn relocate_message(message: &mut once::Message<JobId>, names: &mut Names) {
        let once::Message::Scheduled { due, .. } = message;
        names.store_time(due);
    }

    /// A wait is counted from when an answer was given: as long ago as a time-out at most, unless it waited for an instance
    /// that stood still. That is taken for a time to live then. Of what is remembered, only the order counts.
    fn answer_horizon(config: &OnceTerms) -> Span {
        Self::ttl(config)
    }

    fn is_symmetric(_: &OnceTerms) -> bool {
        true
    }
}
