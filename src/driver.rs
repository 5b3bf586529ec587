//! The driver: what moves machines in a service, and the handles that callers hold.
//!
//! A [`Store`] is an engine and one task on a tokio runtime. Whatever rests on it is a machine and its caller in a
//! *cell*; see [`crate::machine`] for what a host owes a machine. There is no algorithm here: everything that decides is
//! in the machines, which is why what the checker proves of them holds for what runs here.
//!
//! | what | where |
//! |---|---|
//! | a machine is stepped | on whichever thread brings an input: a caller, the engine, the task |
//! | an answer that comes at once | is fed back by that thread, so that an uncontended lock costs no switch of tasks |
//! | time | one task for all machines of a store, one timer each, set early rather than moved |
//! | a callback | on the runtime |
//!
//! # How long things live
//!
//! A machine lives as long as somebody has a handle of it or it has something to do. What is dropped is given back: a
//! future that waits, a guard that holds. A store that is [closed](Store::close) ends all that rests on it; one whose last handle is
//! dropped ends when its machines have nothing to do. When its runtime ends, what waits is told that the store is closed,
//! and what is held is given back, if the engine still answers.

#![allow(
    clippy::disallowed_types,
    reason = "this is where clocks are read and locks are taken, so that machines need not"
)]

pub mod blocking;

mod asked;
mod board;
mod calls;
mod cell;

mod error;
mod flag;
mod held;
mod identity;
mod index;
mod job;
mod locker;
mod mutex;
mod observe;
mod once;
mod pending;
pub(crate) mod primitive;
mod shared;
mod signals;
mod store;
mod tasks;
mod telling;
mod tenure;
mod timers;
mod turns;
pub mod wire;
mod writer;

pub use error::SetupError;
pub use flag::{Flag, PetitionError};
pub use identity::NoRandomness;
pub use job::{Job, JobRun};
pub use locker::{Locker, LockerError, LockerGuard, LockerLost};
pub use mutex::{Guard, LockError, Lost, Mutex};
pub use once::{Once, OnceError, OnceRun};
pub use store::{Left, OpenStoreError, StartError, Store, Unfinished};
pub use tasks::Report;
pub use writer::{Attempt, WorkRun, Worked, WriterLease};
