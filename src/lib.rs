//! Coordination primitives for clusters that you can replay from a seed.
//!
//! Every primitive is a [`machine::Machine`]: a pure state machine against an abstract clock, store and network.
//! The same code runs in a seeded simulator, in an exhaustive checker and in production.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the contract between an algorithm and whoever moves it |
//! | [`time`] | lengths and the three clocks that must not mix |
//! | [`store`] | the contract that every store honours |
//! | [`lease`] | lease arithmetic and its configuration, shared by every primitive that holds a lease |
//! | [`mod@line`] | the queue of a fair lock |
//! | [`mutex`] | the lease mutex |
//! | [`flag`] | leadership: at most one process of a group has its flag raised |
//! | [`locker`] | the preemptive lock: the newest request wins |
//! | [`calendar`] | when the next run of a recurring job is due |
//! | [`job`] | the recurring job |
//! | [`once`] | jobs that run once |
//! | [`writer`] | leadership by competing to do work |
//! | [`run`] | one run of something under a lock, claimed before it begins: what jobs are made of |
//! | [`engine`] | what a real store has to do, and the stores that do it |
//! | `driver` | all of it in a service: the handles, on tokio (feature `tokio`, which is on) |
//!
//! A service begins with `driver::Store` and needs little of the rest. Without features the crate is `no_std` with `alloc`, and
//! does no I/O.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod builder;
pub mod calendar;
mod docket;
#[cfg(feature = "tokio")]
pub mod driver;
pub mod engine;
pub mod flag;
pub mod job;
pub mod lease;
pub mod line;
pub mod locker;
pub mod machine;
pub mod mutex;
pub mod once;
pub mod run;
pub mod store;
pub mod time;
pub mod writer;

/// The README's example compiles and holds.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
