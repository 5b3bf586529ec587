//! The store contract: seven small operations that an in-memory map, SQLite, PostgreSQL, Redis, etcd and NATS
//! JetStream can all honour.
//!
//! | operation | contract |
//! |---|---|
//! | [`Op::Get`] | linearizable; never an expired entry |
//! | [`Op::PutIf`] | atomic; the new revision is greater than every earlier one of that key, over deletes, expiry and restart |
//! | [`Op::Renew`] | extends the life of exactly that acquisition; its revision does not change |
//! | [`Op::DeleteIf`] | atomic |
//! | [`Op::List`] | paged by key, never by offset; each key that is there throughout is listed once |
//! | watch | every change of a namespace may reach its watchers as a message: a hint that may be lost, merged, late or spurious |
//! | publish | the same, sent by a machine ([`crate::machine::Effect::Publish`]) |
//!
//! An entry may expire late, never before its time to live has passed since the write was applied, and the
//! store's clock alone decides. Every answer carries the store's time. Any call may end as
//! [`Answer::Unknown`]: it timed out, or the connection broke, and it may or may not have taken effect; an
//! unknown call may even take effect later.
//!
//! Keys are relative: a machine names the parts of its own namespace (a lock, a place in its queue) by a type of
//! its own, and whoever moves it knows which lock this is. Records and keys are encoded by real engines only.

use core::fmt::Debug;
use core::hash::Hash;
use core::marker::PhantomData;

use alloc::vec::Vec;

use crate::machine::Relocate;
use crate::time::Span;

/// The number that a store gives to a write. A later write of the same key has a greater one, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Revision(pub u64);

impl Revision {
    /// No write has this revision, so a comparison with it fails on every real store. The *simulated* store
    /// takes it for "whatever is there", which lets a laboratory show what an unconditional delete does.
    #[doc(hidden)]
    pub const ANY: Revision = Revision(0);
}

/// The number that a holder shows to the resource it guards: the revision of the write that took the lock.
/// A resource that refuses every token lower than the highest it has seen cannot be harmed by a late holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct FencingToken(pub u64);

impl From<Revision> for FencingToken {
    fn from(revision: Revision) -> FencingToken {
        FencingToken(revision.0)
    }
}

/// Which of several stores a call goes to. Most algorithms use one; quorum algorithms use more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreId(pub u8);

/// The language that a machine speaks with its store: what it may ask and what it may hear.
///
/// Everything that ships speaks [`Contract`]. A laboratory may model other stores (compare by value, a caller's
/// wall clock, session locks) as protocols of their own, so that no real engine can be asked for them.
pub trait Protocol: 'static {
    /// A request to the store.
    type Op: Clone + Eq + Hash + Debug + Send + Sync;
    /// The store's answer.
    type Answer: Clone + Eq + Hash + Debug + Send + Sync;

    /// The answer of a call that nobody can say anything about.
    fn unknown() -> Self::Answer;
}

/// The contract of this module, with keys `K` and records `R`.
#[derive(Clone, Debug)]
pub struct Contract<K, R>(PhantomData<(K, R)>);

impl<K, R> Protocol for Contract<K, R>
where
    K: Clone + Ord + Hash + Debug + Send + Sync + 'static,
    R: Clone + Eq + Hash + Debug + Send + Sync + 'static,
{
    type Op = Op<K, R>;
    type Answer = Answer<K, R>;

    fn unknown() -> Answer<K, R> {
        Answer::Unknown
    }
}

/// What must be there for a [`Op::PutIf`] to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// No live entry.
    Absent,
    /// A live entry of exactly this revision.
    Revision(Revision),
}

impl Expect {
    /// See [`crate::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Expect::Absent => {}
            Expect::Revision(revision) => map.revision(revision),
        }
    }
}

/// A request to a store that honours the contract.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op<K, R> {
    /// Read one key. Answered by [`Answer::Found`].
    Get {
        /// The key.
        key: K,
    },
    /// Write one key if it is as expected. Answered by [`Answer::Applied`] or [`Answer::Refused`].
    PutIf {
        /// The key.
        key: K,
        /// What must be there.
        expect: Expect,
        /// What to write.
        record: R,
        /// How long it lives, on the store's clock; for ever, if `None`.
        ttl: Option<Span>,
    },
    /// Let a live entry of exactly this revision live for `ttl` from now on. [`Answer::Applied`] or
    /// [`Answer::Refused`].
    Renew {
        /// The key.
        key: K,
        /// The revision it must have, and keeps.
        revision: Revision,
        /// Its new life, from now on the store's clock.
        ttl: Span,
    },
    /// Delete a live entry of exactly this revision. [`Answer::Applied`] or [`Answer::Refused`].
    DeleteIf {
        /// The key.
        key: K,
        /// The revision it must have.
        revision: Revision,
    },
    /// The first `limit` live entries whose keys are greater than `after`, in the order of keys. Answered by
    /// [`Answer::Listed`].
    List {
        /// Where the last page ended.
        after: K,
        /// How many entries at most.
        limit: u32,
    },
}

impl<K, R> Op<K, R> {
    /// The same request in the words of a machine that embeds this one.
    pub fn map<L, S>(self, key: impl FnOnce(K) -> L, record: impl FnOnce(R) -> S) -> Op<L, S> {
        match self {
            Op::Get { key: of } => Op::Get { key: key(of) },
            Op::PutIf { key: of, expect, record: what, ttl } => {
                Op::PutIf { key: key(of), expect, record: record(what), ttl }
            }
            Op::Renew { key: of, revision, ttl } => Op::Renew { key: key(of), revision, ttl },
            Op::DeleteIf { key: of, revision } => Op::DeleteIf { key: key(of), revision },
            Op::List { after, limit } => Op::List { after: key(after), limit },
        }
    }
}

/// A live entry, as a store shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry<R> {
    /// The revision of the write that made it.
    pub revision: Revision,
    /// What was written.
    pub record: R,
}

/// What a store says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer<K, R> {
    /// It took effect, and this is the entry's revision.
    Applied(Revision),
    /// It took no effect. A [`Op::PutIf`] shows the live entry that stood in its way, if there was one; the others show
    /// none.
    Refused(Option<Entry<R>>),
    /// What a read found.
    Found(Option<Entry<R>>),
    /// What a listing found.
    Listed(Vec<(K, Entry<R>)>),
    /// It may or may not have taken effect, or may yet.
    Unknown,
}

impl<K, R> Answer<K, R> {
    /// The same answer in the words of an embedded machine. Of a listing, what these do not know is left out; a
    /// single entry that they do not know makes the answer unknown.
    pub fn narrow<L, S>(self, key: impl Fn(K) -> Option<L>, record: impl Fn(R) -> Option<S>) -> Answer<L, S> {
        let entry = |Entry { revision, record: what }| Some(Entry { revision, record: record(what)? });
        let shown = |found: Option<Entry<R>>, answer: fn(Option<Entry<S>>) -> Answer<L, S>| match found {
            None => answer(None),
            Some(found) => entry(found).map_or(Answer::Unknown, |entry| answer(Some(entry))),
        };
        match self {
            Answer::Applied(revision) => Answer::Applied(revision),
            Answer::Refused(found) => shown(found, Answer::Refused),
            Answer::Found(found) => shown(found, Answer::Found),
            Answer::Listed(page) => {
                let page = page.into_iter().filter_map(|(of, found)| Some((key(of)?, entry(found)?)));
                Answer::Listed(page.collect())
            }
            Answer::Unknown => Answer::Unknown,
        }
    }
}

/// What an engine can do; engines state it, configurations are held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The shortest time to live that it accepts.
    pub ttl_min: Span,
    /// The step in which it counts a time to live; shorter ones are rounded up.
    pub ttl_grain: Span,
    /// Whether it pushes notifications, or has to be polled.
    pub pushes: bool,
    /// Whether an acknowledged write survives a crash of the store.
    pub durable: bool,
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
}
