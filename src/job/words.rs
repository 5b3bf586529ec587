//! What a recurring job is asked, what it tells, and how it names its requests to the store.

use crate::run::{self, Noted};
use crate::store::FencingToken;
use crate::time::StoreTime;

use super::{Dropped, Outcome};

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To run the callback whenever it is due, until closed.
    Start,
    /// The callback has ended, and how.
    Finish(Outcome),
    /// To run no more. A callback that runs is interrupted, and the job is closed when that has ended. It may be asked
    /// at any time, any number of times, also from inside the callback.
    Close,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The callback is to run now, for this occurrence and under this token.
    Began {
        /// When it was due. No other run has the same one.
        occurrence: StoreTime,
        /// What to show to the resources that it writes to.
        token: FencingToken,
        /// How many runs there were before it, on all instances.
        runs: u64,
        /// How many occurrences are dropped by that.
        dropped: Dropped,
    },
    /// The callback should end soon: its lock is lost, or the job is to be closed. It still has to be reported as
    /// finished.
    Interrupted,
    /// The run has come to an end.
    Ended {
        /// How. It is [`Outcome::Interrupted`], whatever the callback said, if the lock was lost before it ended.
        outcome: Outcome,
        /// Whether that was recorded.
        noted: Noted,
    },
    /// It is at rest.
    Closed,
    /// The request made no sense in this state.
    Rejected(Misuse),
}

/// A request that made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// It is started already, or is closing.
    Started,
    /// No callback runs.
    NotRunning,
}

/// The outstanding requests of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Of a run.
    Run(run::Call),
    /// Read the record, to see when the job is due.
    Look,
    /// Note when the job was first seen.
    Anchor,
}
