//! What the world has to know of our writer.

use fencepost::mutex::Mutex;
use fencepost::time::{Draw, Instant, Ppm, Span};
use fencepost::writer::{Event, Request, Unit, WorkId, WriterLease, WriterTerms};

use crate::subject::{Ask, JobId, Play, Subject, Tidings, Told, Word};

const fn work(value: u32) -> WorkId {
    WorkId(value as u64)
}

/// Values are numbers of the world's own, and fit.
fn value(id: WorkId) -> u32 {
    u32::try_from(id.0).unwrap_or(u32::MAX)
}

/// How long a writer lets work wait at most, as [`Subject::patience`] says, whose wait of each step is between these.
pub(crate) fn patience(
    shortest: impl Fn(u32) -> Span,
    longest: impl Fn(u32) -> Span,
    courtesy: Span,
    followed: Span,
    [since_met, in_all]: [u32; 2],
) -> Span {
    if since_met > 0 {
        return courtesy;
    }
    // Each step but the first follows a wait of the one before, unless that was cut short.
    let (mut step, mut waited, mut cuts) = (0, Span::ZERO, in_all);
    while step < 40 {
        waited = waited + shortest(step);
        if waited > followed {
            if cuts == 0 {
                break;
            }
            (cuts, waited) = (cuts - 1, waited.minus(shortest(step)));
        }
        step += 1;
    }
    longest(step).max(courtesy)
}

impl Subject for WriterLease<JobId> {
    const PLAY: Play = Play::Write;
    const READS_WALL: bool = false;

    fn request(ask: Ask) -> Option<Request<JobId>> {
        Some(match ask {
            Ask::Start => Request::Start,
            Ask::Close => Request::Stop,
            Ask::Expire => Request::Expire,
            _ => return None,
        })
    }

    fn work(key: JobId, word: Word) -> Option<Request<JobId>> {
        Some(match word {
            Word::Try(value) => Request::Try(key, Unit::new(work(value))),
            Word::Extend(value) => Request::Extend(key, work(value)),
            Word::Remove => Request::Remove(key),
            Word::Done { id, result, retry } => Request::Done { key, id: work(id), result, retry },
            Word::Panicked(id) => Request::Panicked { key, id: work(id) },
        })
    }

    fn told(event: &Event<JobId>) -> Told {
        Told::Writer(match event {
            Event::Work { key, id, token } => Tidings::Work(*key, value(*id), *token),
            Event::Interrupted { key, id: _ } => Tidings::Interrupted(*key),
            Event::Settled { key, id, end: _ } => Tidings::Settled(*key, value(*id)),
            Event::Leads(token) => Tidings::Leads(*token),
            Event::Follows => Tidings::Follows,
            Event::Decided { leads: _ } => Tidings::Decided,
            Event::Stopped => return Told::Closed,
            Event::Rejected(_) => return Told::Rejected,
        })
    }

    fn belief(&self) -> Option<Instant> {
        self.until()
    }

    /// Without a lock, there is nothing but the term.
    fn ttl(config: &WriterTerms) -> Span {
        config.mutex().map_or(config.term(), Mutex::ttl)
    }

    fn drift(config: &WriterTerms) -> Ppm {
        config.mutex().map_or(Ppm(200), Mutex::drift)
    }

    fn margin(config: &WriterTerms) -> Span {
        config.mutex().map_or(Span::ZERO, Mutex::margin)
    }

    fn stable_round_trip(config: &WriterTerms) -> Span {
        config.mutex().map_or(Span::MAX, Mutex::stable_round_trip)
    }

    /// A wait of each who may fail before it is done, and the time until it is tried again.
    fn lateness(config: &WriterTerms) -> Span {
        (config.term() + config.config().retry_interval.into()) * 4
    }

    /// The longest wait, and then what it takes to be granted the lock, if there is one.
    fn takeover(config: &WriterTerms) -> Span {
        let waits = config.wait(u32::MAX, Draw(u32::MAX)).max(config.courtesy());
        waits + waits.portion(Self::drift(config)) + config.mutex().map_or(Span::ZERO, Mutex::takeover)
    }

    fn handover(config: &WriterTerms) -> Span {
        Self::takeover(config)
    }

    fn patience(config: &WriterTerms, followed: Span, cuts: [u32; 2]) -> Span {
        if config.mutex().is_some() {
            return Span::MAX;
        }
        let shortest = |step| config.wait(step, Draw(0));
        let longest = |step| config.wait(step, Draw(u32::MAX));
        patience(shortest, longest, config.courtesy(), followed, cuts)
    }

    fn reads_store_time(_: &WriterTerms) -> bool {
        false
    }
}
