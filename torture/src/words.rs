//! What the tormentor and its workers say to each other: one JSON object a line, over the worker's pipes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment that all processes of a host agree on: nanoseconds of the clock on which leases are counted.
pub(crate) type Moment = u64;

/// This moment.
pub(crate) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Of two schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    /// Jobs that are begun until they have succeeded once.
    AtLeastOnce,
    /// Jobs that are begun once or never.
    AtMostOnce,
}

impl Delivery {
    pub(crate) const ALL: [Delivery; 2] = [Delivery::AtLeastOnce, Delivery::AtMostOnce];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::AtMostOnce => "at-most-once",
        }
    }
}

/// What is left out on purpose, to show that the torture finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Without {
    /// The guarded resource takes every token.
    Fencing,
    /// Workers do not ask their handle whether they still hold: they go on until they are told otherwise.
    IsHeld,
    /// A claim of a job that has no end is taken for no run at all.
    OccurrenceClaim,
}

/// What a worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// With what its keys begin.
    pub(crate) prefix: String,
    /// From which its choices are drawn.
    pub(crate) seed: u64,
    /// How long a lock lives that nobody renews.
    pub(crate) ttl: Duration,
    /// Whether whoever asked first enters first.
    pub(crate) fifo: bool,
    pub(crate) without: Option<Without>,
}

/// How often a job is begun at most that is delivered at least once.
pub(crate) const ATTEMPTS: u32 = 8;

/// Said to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub(crate) enum Order {
    /// To begin.
    Begin(Task),
    /// The resource has decided about the write that was shown last.
    Decided { accepted: bool },
    /// To schedule a job.
    Schedule { delivery: Delivery, job: u32, after: Duration },
    /// To take the lock once more, and then never again.
    Finish,
    /// To close the store and end.
    Stop,
}

/// Said by a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    /// When it happened, at the earliest.
    pub(crate) at: Moment,
    /// How many outcomes were unknown so far.
    pub(crate) unknown: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum What {
    /// The store is open, the schedulers run.
    Up,
    /// It asks for the lock; not for longer than so, if that is said.
    Asks { within: Option<Duration> },
    /// It shows its token to the resource, and waits for the decision. It has the lock, and does nothing under it yet.
    Registers { token: u64 },
    /// It holds, until then if nothing renews the lease.
    Granted { token: u64, until: Moment },
    /// It writes to the resource, and waits for the decision. Its handle said at `checked` that it holds until then.
    Writes { token: u64, checked: Moment, until: Moment },
    /// It does not get the lock.
    Denied,
    /// It waits no longer.
    Cancels,
    /// It is about to release.
    Unlocks,
    /// It has released.
    Released,
    /// It holds no more.
    Lost,
    /// It is about to schedule a job.
    Schedules { delivery: Delivery, job: u32, after: Duration },
    /// That is done.
    Accepted { delivery: Delivery, job: u32 },
    /// That is not done.
    Declined { delivery: Delivery, job: u32 },
    /// A job begins.
    Begins { delivery: Delivery, job: u32, attempt: u32, token: u64, until: Moment },
    /// A job has come to its end, well or not.
    Ends { delivery: Delivery, job: u32, succeeded: bool },
    /// It has taken the lock once more, and wants it no longer.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let what = What::Writes { token: 7, checked: 1, until: 2 };
        let note = Note { at: 3, unknown: 0, what };
        let line = serde_json::to_string(&note).unwrap();
        let read: Note = serde_json::from_str(&line).unwrap();
        assert_eq!((read.at, read.what), (3, what), "{line}");
        let line = serde_json::to_string(&Order::Decided { accepted: false }).unwrap();
        assert!(matches!(serde_json::from_str(&line).unwrap(), Order::Decided { accepted: false }), "{line}");
    }
}
