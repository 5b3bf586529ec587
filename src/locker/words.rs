//! What a locker is asked, what it tells, what it keeps in the store, and how it names its requests.

use alloc::sync::Arc;

use crate::line::Owner;
use crate::machine::Relocate;
use crate::mutex::{self, Release};
use crate::store::FencingToken;
use crate::time::{Instant, Span, StoreTime};

/// A request for the lock, and why its caller wants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bid {
    /// What whoever has to give way is told.
    pub message: Arc<str>,
    /// A request of lower priority never preempts one of higher priority. Default 0.
    pub priority: u8,
    /// How long its caller wants to wait until it is told that it holds, the lock delay included; as long as the
    /// configuration lets it, if `None`.
    pub patience: Option<Span>,
}

impl Bid {
    /// A request with this message, of the lowest priority, that waits as long as it may.
    pub fn new(message: impl Into<Arc<str>>) -> Bid {
        Bid { message: message.into(), priority: 0, patience: None }
    }
}

/// What a caller asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The lock. Whoever holds it, or waits for it, is asked to give way.
    Lock(Bid),
    /// To wait no longer. A lock that was granted meanwhile is released.
    Cancel,
    /// To release.
    Unlock,
    /// To renew the lease now.
    Extend,
}

/// A newer request, as whoever has to give way hears of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Whose it is, and which of its requests.
    pub by: Owner,
    /// Its priority.
    pub priority: u8,
    /// Why its caller wants the lock.
    pub message: Arc<str>,
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It holds the lock.
    Acquired(FencingToken),
    /// It holds the lock, and should yield soon: unlock within the preemption timeout, or it will be revoked. It is told
    /// once of each request that it meets.
    Asked(Notice),
    /// It was superseded before it was told that it holds, and waits no longer.
    Preempted(Notice),
    /// The lock timeout, or the patience, was over.
    TimedOut,
    /// The wait was cancelled.
    Cancelled,
    /// The lease was renewed on request: until when it may be believed in, as far as is known.
    Extended(Instant),
    /// The release came to an end.
    Released(Release),
    /// The lock is no longer held, and nobody asked this caller to unlock it, or it did not do so in time.
    Lost(Loss),
    /// The request made no sense in this state.
    Rejected(Misuse),
}

/// How a lock was lost. In every case its token is dead: whoever enters next has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It could not be renewed in time: the lease ended on the holder's clock.
    Expired,
    /// The store says that the entry is not there any more, or was revoked.
    Gone,
    /// The holder was asked to yield, and the preemption timeout is over.
    Preempted,
    /// The maximum lock duration is over.
    TooLong,
}

/// A request that made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// The lock is held, wanted, or being released already. It is not reentrant.
    Busy,
    /// Nothing is held or wanted.
    NotHeld,
}

/// A hint to those who share the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Hint {
    /// There is a newer request: look.
    Asked,
    /// The lock is free.
    Freed,
}

/// The keys of a lock's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Key {
    /// The lock itself.
    Lock,
    /// Who is to enter next: the newest request.
    Contender,
}

/// What is kept under these keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Record {
    /// Whose the lock is.
    Held {
        /// The acquisition.
        owner: Owner,
        /// The priority of its request.
        priority: u8,
    },
    /// Whose it was: that one can renew it no more, and nobody else may enter while it lasts.
    Revoked(Owner),
    /// Who wants it.
    Contender(Contender),
}

/// The newest request, as it is kept in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Contender {
    /// Whose it is, and which of its requests.
    pub owner: Owner,
    /// Its priority.
    pub priority: u8,
    /// The store's time when it first asked.
    pub asked: StoreTime,
    /// The store's time when the first request of the row was made that this one is the last of: each of them was
    /// superseded by the next, and none of them was told that it holds.
    pub since: StoreTime,
    /// Why its caller wants the lock.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub message: Arc<str>,
}

impl Contender {
    /// What whoever has to give way to it is told.
    pub fn notice(&self) -> Notice {
        Notice { by: self.owner, priority: self.priority, message: self.message.clone() }
    }
}

impl Record {
    /// See [`crate::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Record::Held { owner, priority: _ } | Record::Revoked(owner) => owner.relocate(map),
            Record::Contender(contender) => {
                contender.owner.relocate(map);
                map.store_time(&mut contender.asked);
                map.store_time(&mut contender.since);
            }
        }
    }
}

/// The outstanding requests of a locker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Of its lock.
    Lock(mutex::Call),
    /// See who is the contender.
    Look,
    /// Become the contender.
    Join,
    /// Stay it.
    Keep,
    /// Be it no longer.
    Leave,
    /// Take a holder's right to renew.
    Revoke,
    /// See whether the entry that is gone was revoked.
    Inspect,
    /// Delete the entry that was revoked: nobody has to wait for its end.
    Acknowledge,
}

/// Shared text as a string.
#[cfg(feature = "serde")]
pub(super) mod text {
    use alloc::string::String;
    use alloc::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}
