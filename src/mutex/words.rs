//! What a mutex is asked, what it tells, and how it names its requests to the store.

use crate::line::LineCall;
use crate::store::FencingToken;
use crate::time::{Instant, Span};

/// How long a caller is willing to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patience {
    /// Not at all: one attempt. An attempt whose outcome is unknown is still followed up, for a time to live.
    Once,
    /// So long.
    For(Span),
    /// For ever.
    Forever,
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The lock.
    Lock(Patience),
    /// To wait no longer. A lock that was granted meanwhile is released.
    Cancel,
    /// To release.
    Unlock,
    /// To renew now, and to be told until when.
    Extend,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It holds the lock.
    Acquired(FencingToken),
    /// One attempt was made, and another one holds the lock.
    Contended,
    /// The patience was over.
    TimedOut,
    /// The wait was cancelled.
    Cancelled,
    /// The lease was renewed on request and may be believed until then.
    Extended(Instant),
    /// The release came to an end.
    Released(Release),
    /// The lock is no longer held, and nobody asked for that.
    Lost(Loss),
    /// The request made no sense in this state.
    Rejected(Misuse),
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// The lock was held to the end.
    Clean,
    /// The lease had ended before; another one may have entered. A network that doubles the request can make a clean
    /// release look like this.
    Gone,
    /// The store's answer was lost or late: the lock is free, at the latest when the time to live has passed, but
    /// nobody knows whether it was held to the end.
    Unknown,
}

/// How a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It could not be renewed in time: the lease ended on the holder's clock.
    Expired,
    /// The store says that the entry is not there any more.
    Gone,
}

/// A request that made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// The lock is held, wanted, or being released already. It is not reentrant.
    Busy,
    /// Nothing is held or wanted.
    NotHeld,
}

/// A hint to those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Freed;

/// The outstanding requests of a mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Take the lock.
    Claim,
    /// Keep it.
    Renew,
    /// Delete a record of its own.
    Release,
    /// Look whose the record is.
    Inspect,
    /// See who is first in line.
    Look,
    /// Keep a place in line.
    Line(LineCall),
}
