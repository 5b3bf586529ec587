//! The contract between an algorithm and whoever moves it.
//!
//! A [`Machine`] is a plain value with one transition function. It does no I/O, reads no clock, draws no
//! randomness and spawns nothing: configuration, time and randomness are arguments, and what it wants is returned
//! as [`Effect`]s. The same compiled code therefore runs under a driver against a real store, in a seeded
//! simulator, and in an exhaustive checker.
//!
//! # The host's duties
//!
//! Whoever moves a machine (a driver, the simulator, the checker) is its *host* and owes it this:
//!
//! 1. **Identity.** Every incarnation gets an [`Identity`] that no other one has or had, a restart included.
//! 2. **Clocks.** `now.mono` never goes back within an incarnation; it is read after the input was received.
//! 3. **Wake.** Once `now.mono` reaches [`Machine::deadline`], the machine gets [`Input::Wake`]. Waking it early,
//!    late or for nothing is harmless: it costs time, never safety.
//! 4. **Calls.** A machine has at most one outstanding request per [`Machine::Call`]. A new request under the same
//!    name supersedes the old one; [`Effect::Forget`] drops it. Replies to superseded or forgotten requests must
//!    not reach the machine, nor may those to an earlier incarnation. Their *effects* on the store still count.
//! 5. **Deadlines.** Every request gets one reply sooner or later; if the answer cannot be had, it is the
//!    protocol's [`unknown`](crate::store::Protocol::unknown).
//! 6. **Order.** Effects are carried out in the order in which they were returned, after the step has ended.
//! 7. **Hints.** A message that a machine publishes may be delivered to any number of the machines that share its
//!    namespace, at any time, any number of times.
//!
//! A step never fails and never panics, whatever the inputs: contention and misuse are events.

use core::fmt::Debug;
use core::hash::Hash;

use alloc::vec::Vec;

use crate::store::{Protocol, Revision, StoreId};
use crate::time::{Instant, Now, StoreTime, Timestamp};

/// Names one incarnation of one instance. Unique for ever: a process that restarts takes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Identity(pub u64);

/// An algorithm as a pure state machine.
///
/// A lock that claims once, tells the outcome and is never renewed; see `examples/own-algorithm` for a whole one:
///
/// ```
/// use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
/// use fencepost::store::{Answer, Contract, Expect, Op};
/// use fencepost::time::{Instant, Now, Span};
///
/// #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// struct Flag(Identity);
///
/// impl Machine for Flag {
///     type Config = Span;
///     type Store = Contract<(), Identity>;
///     type Request = ();
///     type Event = bool;
///     type Message = ();
///     type Call = ();
///
///     fn new(_: &Span, identity: Identity) -> Flag {
///         Flag(identity)
///     }
///     fn step(&mut self, ttl: &Span, _: Now, input: Input<Flag>, effects: &mut Effects<Flag>) {
///         match input {
///             Input::Request(()) => effects
///                 .store((), Op::PutIf { key: (), expect: Expect::Absent, record: self.0, ttl: Some(*ttl) }),
///             Input::Reply { answer, .. } => effects.event(matches!(answer, Answer::Applied(_))),
///             Input::Message(()) | Input::Wake => {}
///         }
///     }
///     fn deadline(&self, _: &Span) -> Option<Instant> {
///         None
///     }
///     fn relocate(&mut self, map: &mut impl Relocate) {
///         map.identity(&mut self.0);
///     }
/// }
///
/// let ttl = Span::from_secs(15);
/// let mut flag = Flag::new(&ttl, Identity(1));
/// let mut effects = Effects::new();
/// flag.step(&ttl, Now::default(), Input::Request(()), &mut effects);
/// assert_eq!(effects.drain().count(), 1);
/// ```
pub trait Machine: Clone + Eq + Hash + Debug + Send + Sync + Sized + 'static {
    /// What never changes while it runs. It is an argument of every step, so it is no part of a checked state.
    type Config: Clone + Debug + Send + Sync + 'static;
    /// The language of its store.
    type Store: Protocol;
    /// What a caller asks.
    type Request: Clone + Eq + Hash + Debug + Send + Sync;
    /// What a caller is told.
    type Event: Clone + Eq + Hash + Debug + Send + Sync;
    /// What it tells its peers: a hint that shortens a wait and that nothing depends on.
    type Message: Clone + Eq + Hash + Debug + Send + Sync;
    /// Names its outstanding requests to the store.
    type Call: Copy + Eq + Hash + Debug + Send + Sync;

    /// A machine at rest.
    fn new(config: &Self::Config, identity: Identity) -> Self;

    /// Takes one input and adds what is to be done to `effects`.
    fn step(&mut self, config: &Self::Config, now: Now, input: Input<Self>, effects: &mut Effects<Self>);

    /// When it wants to be woken next, on its monotonic clock. Timers are state: never set, never cancelled.
    fn deadline(&self, config: &Self::Config) -> Option<Instant>;

    /// Shows every time, revision and identity inside to `map`, which may replace them. A checker uses it to
    /// recognise two states that differ in names and in the hour of the day only.
    fn relocate(&mut self, map: &mut impl Relocate);
}

/// What is done to each name inside a machine; see [`Machine::relocate`].
///
/// A machine may do no more with a name than is said here, or a checker takes states for the same that are not.
pub trait Relocate {
    /// A point on the instance's monotonic clock from which lengths are counted: the machine adds a length that its
    /// configuration bounds before it compares the sum with `now`. [`Instant::MAX`] means never, and stays.
    fn instant(&mut self, instant: &mut Instant);
    /// A point on the instance's monotonic clock that is compared with `now` as it is: once it is past, it does not
    /// matter for how long. [`Instant::MAX`] means never, and stays.
    fn deadline(&mut self, deadline: &mut Instant) {
        self.instant(deadline);
    }
    /// A point on the store's clock. It is compared with others; a length that the configuration bounds may be added
    /// before. Zero means never.
    fn store_time(&mut self, time: &mut StoreTime);
    /// A point on wall clocks, which is compared with what the instance's own shows.
    fn timestamp(&mut self, time: &mut Timestamp) {
        let _ = time;
    }
    /// A number that only grows, and on which nothing depends.
    fn count(&mut self, count: &mut u64) {
        let _ = count;
    }
    /// A revision or a fencing token.
    fn revision(&mut self, revision: &mut Revision);
    /// An identity, its own or another's.
    fn identity(&mut self, identity: &mut Identity);
    /// A serial number within `identity`, of which only the order and equality matter.
    fn serial(&mut self, identity: Identity, serial: &mut u32);
}

/// A request to the store of `M`.
pub type OpOf<M> = <<M as Machine>::Store as Protocol>::Op;
/// An answer of the store of `M`.
pub type AnswerOf<M> = <<M as Machine>::Store as Protocol>::Answer;

/// What a machine is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<M: Machine> {
    /// A caller asks for something.
    Request(M::Request),
    /// The store has answered a call; `at` is the store's time when it did.
    Reply {
        /// Which of the outstanding calls.
        call: M::Call,
        /// The answer.
        answer: AnswerOf<M>,
        /// The store's clock when it answered; zero where nobody knows.
        at: StoreTime,
    },
    /// A peer's hint.
    Message(M::Message),
    /// The deadline has come.
    Wake,
}

/// What a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<M: Machine> {
    /// Send a request to a store.
    Store {
        /// Which store.
        store: StoreId,
        /// The name under which the reply comes back.
        call: M::Call,
        /// The request.
        op: OpOf<M>,
    },
    /// The reply to this call is no longer wanted.
    Forget(M::Call),
    /// Send a hint to those who share the namespace.
    Publish(M::Message),
    /// Tell the caller.
    Event(M::Event),
}

/// The effects of a step, in order. Reuse one buffer for many steps: it keeps its memory.
#[derive(Clone, Debug)]
pub struct Effects<M: Machine>(Vec<Effect<M>>);

impl<M: Machine> Effects<M> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Effects(Vec::new())
    }

    /// Sends a request to the first store.
    pub fn store(&mut self, call: M::Call, op: OpOf<M>) {
        self.store_at(StoreId::default(), call, op);
    }

    /// Sends a request to the store named.
    pub fn store_at(&mut self, store: StoreId, call: M::Call, op: OpOf<M>) {
        self.0.push(Effect::Store { store, call, op });
    }

    /// Drops the reply to an outstanding call.
    pub fn forget(&mut self, call: M::Call) {
        self.0.push(Effect::Forget(call));
    }

    /// Publishes a hint.
    pub fn publish(&mut self, message: M::Message) {
        self.0.push(Effect::Publish(message));
    }

    /// Tells the caller.
    pub fn event(&mut self, event: M::Event) {
        self.0.push(Effect::Event(event));
    }

    /// Takes the first effect out, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<Effect<M>> {
        // There is seldom a second one, and never a long row that would have to move up.
        if self.0.len() > 1 { Some(self.0.remove(0)) } else { self.0.pop() }
    }

    /// Takes the effects out, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect<M>> {
        self.0.drain(..)
    }
}

impl<M: Machine> Default for Effects<M> {
    fn default() -> Self {
        Effects::new()
    }
}
