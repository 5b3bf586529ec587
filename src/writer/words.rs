//! What a writer is asked, and what it tells.

use crate::store::FencingToken;

/// What tells one piece of work on a key from another: the generation of what is wanted there, or a hash of it. It is
/// compared for equality and never for order, and names the same piece of work on every instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct WorkId(pub u64);

/// A unit of work, as it is tried.
///
/// ```
/// use fencepost::writer::{Unit, WorkId};
///
/// // Run at most four times: once, and again three times.
/// let unit = Unit::new(WorkId(17)).limit_retries(3);
/// assert_eq!(unit.retries(), Some(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unit {
    id: WorkId,
    retries: Option<u32>,
}

impl Unit {
    /// A unit that is retried for as long as it asks for it.
    pub const fn new(id: WorkId) -> Unit {
        Unit { id, retries: None }
    }

    /// The same, retried so often at most. Whoever tries it anew begins to count anew.
    pub const fn limit_retries(self, retries: u32) -> Unit {
        Unit { retries: Some(retries), ..self }
    }

    /// Which piece of work it is.
    pub const fn id(self) -> WorkId {
        self.id
    }

    /// How often it may still be retried; for ever, if `None`.
    pub const fn retries(self) -> Option<u32> {
        self.retries
    }

    /// The same after one more retry; `None`, if there is none left.
    pub(super) fn again(self) -> Option<Unit> {
        match self.retries {
            None => Some(self),
            Some(left) => Some(Unit { retries: Some(left.checked_sub(1)?), ..self }),
        }
    }
}

/// What a unit of work says about who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum WorkResult {
    /// Nothing: there was nothing to do.
    None,
    /// Its own work has succeeded, which renews its lease.
    Extend,
    /// It has failed, or met another one's work: the lease is theirs.
    Release,
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request<K> {
    /// To begin: work is run from now on.
    Start,
    /// To do this work under that key, when it leads or competes. It takes the place of what waits there.
    Try(K, Unit),
    /// That this work was seen done, by another one or by itself: it is settled here, and a newer one under that key
    /// is not.
    Extend(K, WorkId),
    /// To do nothing under that key.
    Remove(K),
    /// That whoever leads does so no longer: a leader steps down, and a follower waits no longer.
    Expire,
    /// The unit that ran under that key has come to its end.
    Done {
        /// The key.
        key: K,
        /// Which piece of work.
        id: WorkId,
        /// What it says.
        result: WorkResult,
        /// Whether it is to be run again.
        retry: bool,
    },
    /// The unit that ran under that key has panicked. It counts as failed, and is run again.
    Panicked {
        /// The key.
        key: K,
        /// Which piece of work.
        id: WorkId,
    },
    /// To run nothing more, and to be told when nothing runs.
    Stop,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event<K> {
    /// To run this unit of work now, and to say when it has come to its end.
    Work {
        /// The key.
        key: K,
        /// Which piece of work.
        id: WorkId,
        /// What to show to whatever it writes to; `None`, if the work itself decides who leads.
        token: Option<FencingToken>,
    },
    /// The unit that runs under that key should end soon: the lease is lost, or it is to stop.
    Interrupted {
        /// The key.
        key: K,
        /// Which piece of work.
        id: WorkId,
    },
    /// Nothing more will be done for this piece of work, unless it is tried anew.
    Settled {
        /// The key.
        key: K,
        /// Which piece of work.
        id: WorkId,
        /// Why.
        end: End,
    },
    /// It leads.
    Leads(Option<FencingToken>),
    /// Another one leads, as far as it knows, or nobody.
    Follows,
    /// Something has come to its end for the first time since the start, so that it is known who leads: a wait ends
    /// here. It ends with [`Event::Stopped`], too.
    Decided {
        /// Whether it leads.
        leads: bool,
    },
    /// It is at rest. Nothing runs, and nothing will.
    Stopped,
    /// The request made no sense in this state.
    Rejected(Misuse),
}

/// Why nothing more will be done for a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum End {
    /// It has run, and does not ask to be run again.
    Done,
    /// It was seen done.
    Observed,
    /// It was removed.
    Removed,
    /// Another piece of work was tried under its key.
    Replaced,
    /// It may not be retried any more.
    GaveUp,
    /// The writer was stopped.
    Stopped,
}

/// A request that made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// It is started already, or is stopping.
    Started,
    /// It is stopping, and takes no work.
    Stopping,
    /// No such unit runs.
    NotRunning,
}

/// How a writer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum State {
    /// It has seen no work, neither its own nor that of others.
    Election,
    /// Its work has succeeded within its term.
    Leader,
    /// It has seen the work of others, or has failed itself, or its term has passed.
    Follower,
}
