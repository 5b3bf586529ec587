//! The world in which fencepost's algorithms are tested.
//!
//! A [`world::World`] holds instances (machine, clock, caller), stores that can lie, messages under way, and the
//! monitors of every [`property::Property`]. It applies one action at a time and never decides when; schedulers
//! do that: the simulator of `fencepost-sim`, and any [`trace`].
//!
//! | module | holds |
//! |---|---|
//! | [`subject`] | what the world has to know of an algorithm |
//! | [`world`] | instances, messages, actions; `runs`, what the monitors know of jobs |
//! | [`store`] | the simulated store |
//! | [`checker`] | the world as a finite model |
//! | [`clock`] | true time and the clocks that lie |
//! | [`fault`] | what can go wrong, and the ledger of what did |
//! | [`property`] | what must hold |
//! | [`normal`] | when two worlds are the same, for a checker |
//! | [`recorded`] | histories of real processes, judged by the same monitors |
//! | [`trace`] | what was applied, written down and applied again |
//! | [`digest`] | the hash of a run |
//! | [`upstream`] | the originals, flaws included |

pub mod checker;
pub mod clock;
pub mod digest;
pub mod fault;
mod jobs;
mod leads;
mod locker;
pub mod normal;
mod preempt;
pub mod property;
pub mod recorded;
mod runs;
pub mod store;
pub mod subject;
pub mod trace;
pub mod upstream;
pub mod world;
mod writers;
mod writes;
