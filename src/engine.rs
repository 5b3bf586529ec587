//! What a real store has to do, so that machines can rest on it: the contract of [`crate::store`], in bytes.
//!
//! An engine knows nothing of locks. It keeps texts under keys, in *spaces* that have nothing to do with each other (a
//! lock is a space, and so is a scheduler), gives each write a revision, lets entries expire by its own clock,
//! and passes hints on.
//!
//! # An engine's duties
//!
//! 1. **The contract.** Every operation keeps the promises of [`crate::store`]: linearizable, atomic, revisions that
//!    only grow (over deletes, expiry and restart), no entry dead before its time.
//! 2. **One answer.** Every request is answered once. What cannot be answered within the engine's own time limit is
//!    [`Answer::Unknown`]; dropping a [`Responder`] answers just that.
//! 3. **Refused means refused.** [`Answer::Refused`] and [`Answer::Applied`] are said only where the store has said so. A
//!    connection that broke, a time limit, an error that leaves the outcome open: all of these are unknown.
//! 4. **Hints.** A change that frees a key (an applied [`Op::DeleteIf`]) and every published message reach the [`Ear`] of every
//!    process that shares the store, soon, mostly. When some may have been missed, the ear hears of a [`Hint::Gap`].
//!    What was published before the engine is closed is passed on, as far as the store can be reached.
//! 5. **No lock logic.** An engine decides nothing that a machine could decide.
//!
//! # Keys
//!
//! A key is compared bytewise: [`Op::List`] answers in that order. A record is text without a NUL.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod address;
#[cfg(feature = "tokio")]
#[allow(clippy::disallowed_types, reason = "an engine is where clocks are read and locks are taken")]
pub mod clock;
#[cfg(feature = "tokio")]
#[allow(clippy::disallowed_types, reason = "an engine is where clocks are read and locks are taken")]
pub mod memory;
#[cfg(any(feature = "tokio", feature = "postgres", feature = "sqlite"))]
pub mod open;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod survey;

#[cfg(any(feature = "tokio", feature = "postgres", feature = "sqlite"))]
pub use open::{OpenError, open};

use core::fmt;
use core::future::Future;
use core::pin::Pin;

use alloc::boxed::Box;
use alloc::sync::Arc;

use self::survey::{SurveyError, Surveying};
use crate::store::{Answer, Limits, Op};
use crate::time::StoreTime;

/// A key within a space, compared bytewise.
pub type Key = Box<[u8]>;
/// What is kept under a key.
pub type Text = Arc<str>;
/// What is to be done in a space.
pub type EngineOp = Op<Key, Text>;
/// What came of it.
pub type EngineAnswer = Answer<Key, Text>;

/// One request to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The space in which the operation's keys lie.
    pub space: Arc<str>,
    /// What is to be done.
    pub op: EngineOp,
}

/// What a store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What came of the request.
    pub answer: EngineAnswer,
    /// The store's clock when it was carried out; zero where nobody knows.
    pub at: StoreTime,
}

impl Reply {
    /// What is said where nobody knows.
    pub const UNKNOWN: Reply = Reply { answer: Answer::Unknown, at: StoreTime::ZERO };
}

/// Where the answer to one request goes. Dropping it says that nobody knows the answer.
pub struct Responder(Option<Box<dyn FnOnce(Reply) + Send>>);

impl Responder {
    /// Hands the answer to `to`, on whichever thread it comes to be known; `to` must not block. It may come back to the
    /// engine with the next request, so no lock of the engine may be held meanwhile.
    pub fn new(to: impl FnOnce(Reply) + Send + 'static) -> Responder {
        Responder(Some(Box::new(to)))
    }

    /// Gives the answer.
    pub fn answer(mut self, reply: Reply) {
        if let Some(to) = self.0.take() {
            to(reply);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            to(Reply::UNKNOWN);
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Responder(open)" } else { "Responder(answered)" })
    }
}

/// What may be worth a look. It may come late, twice, for nothing, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint<'a> {
    /// Something was deleted in this space.
    Freed {
        /// The space.
        space: &'a str,
    },
    /// Somebody has published this in a space.
    Message {
        /// The space.
        space: &'a str,
        /// What was published.
        text: &'a str,
    },
    /// Anything may have happened anywhere: the engine could not listen for a while, and can again.
    Gap,
}

/// Who listens to hints. It must not block, and may come back to the engine with requests: no lock of the engine may be
/// held while it is told.
pub trait Ear: Send + Sync {
    /// Takes a hint.
    fn hear(&self, hint: Hint<'_>);
}

impl fmt::Debug for dyn Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ear")
    }
}

/// A store that machines can rest on. See the module documentation for its duties.
pub trait Engine: Send + Sync + fmt::Debug + 'static {
    /// What it can do.
    fn limits(&self) -> Limits;

    /// From now on, hints go to `ear`. It is said once, before the first request.
    fn listen(&self, ear: Arc<dyn Ear>);

    /// Answers a request at once, on the caller's thread, if that takes no waiting.
    fn answer(&self, request: &Request) -> Option<Reply> {
        let _ = request;
        None
    }

    /// Carries a request out, and gives the answer to `responder`. It does not block, and keeps the order of the requests
    /// of one space.
    fn submit(&self, request: Request, responder: Responder);

    /// Sends a hint to everybody who shares the store, this process included. It does not block, and may fail silently.
    fn publish(&self, space: &str, text: &str);

    /// What lives in the spaces whose names begin with `prefix`: for people who look, not for machines. An engine need
    /// not be able to.
    fn survey(&self, prefix: &str) -> Surveying<'_> {
        let _ = prefix;
        Box::pin(core::future::ready(Err(SurveyError::Unsupported)))
    }

    /// Ends: what was published is passed on, what is still open is answered, as unknown if need be, threads and
    /// connections are given back. Requests that come later are answered as unknown. It may be called more than once.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// An engine that several parts of a program share is one.
impl<E: Engine + ?Sized> Engine for Arc<E> {
    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        (**self).listen(ear);
    }

    fn answer(&self, request: &Request) -> Option<Reply> {
        (**self).answer(request)
    }

    fn submit(&self, request: Request, responder: Responder) {
        (**self).submit(request, responder);
    }

    fn publish(&self, space: &str, text: &str) {
        (**self).publish(space, text);
    }

    fn survey(&self, prefix: &str) -> Surveying<'_> {
        (**self).survey(prefix)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        (**self).close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_dropped_responder_answers_unknown_and_an_answered_one_answers_once() {
        let unknown = Arc::new(AtomicU32::new(0));
        let known = Arc::new(AtomicU32::new(0));
        let responder = || {
            let (unknown, known) = (unknown.clone(), known.clone());
            Responder::new(move |reply| {
                let count = if reply == Reply::UNKNOWN { unknown } else { known };
                count.fetch_add(1, Ordering::Relaxed);
            })
        };
        drop(responder());
        responder().answer(Reply { answer: Answer::Found(None), at: StoreTime::from_nanos(1) });
        assert_eq!((unknown.load(Ordering::Relaxed), known.load(Ordering::Relaxed)), (1, 1));
    }
}
