//! What a scheduler is asked, what it tells, and how it names its keys and its requests to the store.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::job::Outcome;
use crate::line::{self, Owner};
use crate::run::{self, Noted};
use crate::store::FencingToken;
use crate::time::{Span, StoreTime};

use super::task::Task;

/// The longest key of a job, in characters.
pub const KEY_CHARS_MAX: usize = 150;

/// The longest encoding of a job's props, in bytes.
pub const PROPS_BYTES_MAX: usize = 10_000;

/// The name of a job: 1 to [`KEY_CHARS_MAX`] characters. Cheap to clone.
///
/// ```
/// use fencepost::once::{JobKey, KeyError};
///
/// let key = JobKey::new("reminder 17")?;
/// assert_eq!(key.as_str(), "reminder 17");
/// assert_eq!(JobKey::new(""), Err(KeyError::Empty));
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct JobKey(Arc<str>);

/// Why a job's key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is empty.
    #[error("the key of a job is empty; it needs 1 to {KEY_CHARS_MAX} characters")]
    Empty,
    /// It is too long.
    #[error("the key of a job has {chars} characters; it may have {KEY_CHARS_MAX}")]
    TooLong {
        /// How many characters it has.
        chars: usize,
    },
}

impl JobKey {
    /// The key of that name.
    ///
    /// # Errors
    ///
    /// [`KeyError`], if it is empty or longer than [`KEY_CHARS_MAX`] characters.
    pub fn new(name: &str) -> Result<JobKey, KeyError> {
        match name.chars().count() {
            0 => Err(KeyError::Empty),
            1..=KEY_CHARS_MAX => Ok(JobKey(name.into())),
            chars => Err(KeyError::TooLong { chars }),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobKey {
    type Error = KeyError;
    fn try_from(name: String) -> Result<JobKey, KeyError> {
        JobKey::new(&name)
    }
}

impl From<JobKey> for String {
    fn from(key: JobKey) -> String {
        key.as_str().into()
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The keys of a scheduler's namespace, in the order in which a store lists them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Key<K> {
    /// The lock under which a job runs.
    Lock(K, line::Key),
    /// Where the jobs begin: nothing is kept here.
    Jobs,
    /// A job.
    Job(K),
}

/// When a job is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunAt {
    /// So long after the store has heard of it.
    In(Span),
    /// At this moment on the store's clock; at once, if it is past.
    At(StoreTime),
}

/// What a caller asks.
///
/// One request per key may be open on an instance. Each of those that name a key is answered by exactly one event
/// that names it; whether jobs are run here does not matter for that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request<K, P> {
    /// To run jobs, until stopped.
    Start,
    /// To run no more. Callbacks that run are interrupted, and it has stopped when they have ended.
    Stop,
    /// To run this job. Declined, if the key is taken: scheduled, running or dead.
    Schedule {
        /// The key.
        key: K,
        /// When.
        run_at: RunAt,
        /// What its callback gets.
        props: P,
    },
    /// To run the job of this key anew, with all its attempts, whatever has become of it. A callback of it that runs
    /// goes on, but what comes of it is not recorded. Declined, if nothing is kept of the key.
    Reschedule {
        /// The key.
        key: K,
        /// When.
        run_at: RunAt,
        /// What its callback gets; as before, if `None`.
        props: Option<P>,
    },
    /// Not to run the job of this key, or to remove it if it is dead. A callback of it that runs goes on, but what
    /// comes of it is not recorded. Declined, if it is neither scheduled nor running nor dead.
    Cancel {
        /// The key.
        key: K,
    },
    /// What is kept of this key.
    Find {
        /// The key.
        key: K,
    },
    /// What is kept of the first so many keys after this one: pending, running and dead ones, and others until their
    /// retention is over. Each key that is there throughout a listing by pages is listed once.
    List {
        /// Where the last page ended; `None` for the first.
        after: Option<K>,
        /// How many at most.
        limit: u32,
    },
    /// Hints may have been missed: what is pending is listed now, from the first page on, and not only when the interval
    /// is over. Whoever cannot listen for a while says so when he can again.
    Refresh,
    /// The callback in this slot has ended, and how.
    Finish {
        /// The slot in which it began.
        slot: u16,
        /// How.
        outcome: Outcome,
    },
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<K, P> {
    /// The callback of this key is to run now.
    Began {
        /// In which slot: the callback has it to itself until it is reported as finished.
        slot: u16,
        /// The key.
        key: K,
        /// What to show to the resources that it writes to.
        token: FencingToken,
        /// The claim: its props, its attempt, its generation.
        task: Task<P>,
    },
    /// The callback of this key should end soon: its lock is lost, or the scheduler is to stop. It still has to be
    /// reported as finished.
    Interrupted {
        /// Its slot.
        slot: u16,
        /// The key.
        key: K,
    },
    /// The run of this key has come to an end.
    Ended {
        /// Its slot.
        slot: u16,
        /// The key.
        key: K,
        /// How. It is [`Outcome::Interrupted`], whatever the callback said, if the lock was lost before it ended.
        outcome: Outcome,
        /// Whether that was recorded.
        noted: Noted,
    },
    /// The job is scheduled, rescheduled or cancelled.
    Accepted {
        /// The key.
        key: K,
        /// What it made, if it scheduled or rescheduled the job: [`Task::generation`].
        generation: Option<Owner>,
    },
    /// The request changes nothing, or nothing any more.
    Declined {
        /// The key.
        key: K,
        /// Why.
        why: Declined,
    },
    /// What is kept of this key.
    Found {
        /// The key.
        key: K,
        /// What is kept of it.
        task: Option<Task<P>>,
    },
    /// A page of the list.
    Listed {
        /// The keys in order, and what is kept of each. The last page is shorter than its limit.
        page: Vec<(K, Task<P>)>,
    },
    /// It runs nothing any more.
    Stopped,
    /// The request made no sense in this state.
    Rejected {
        /// The key that it named, if it named one.
        key: Option<K>,
        /// Why.
        misuse: Misuse,
    },
}

/// Why a request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Declined {
    /// The key is taken: by a job that is scheduled, running or dead.
    Taken,
    /// There is no such job.
    Missing,
    /// The store's answer was lost, and another request has changed the job since. Whether this one was carried out
    /// before it, nobody knows.
    Overtaken,
}

/// A request that made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// It is started already, or is stopping.
    Started,
    /// A request for this key, or for the list, is open.
    Busy,
    /// No callback runs in this slot.
    NotRunning,
}

/// A hint to those who run jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Message<K> {
    /// A job was scheduled.
    Scheduled {
        /// Its key.
        key: K,
        /// When it is due.
        due: StoreTime,
        /// How long that was ahead when it was scheduled.
        wait: Span,
    },
}

/// The outstanding requests of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Of the run in this slot.
    Slot(u16, run::Call),
    /// Of the open request at this place.
    Ask(u32),
    /// A page for a caller.
    List,
    /// A page for the scheduler itself.
    Refresh,
}
