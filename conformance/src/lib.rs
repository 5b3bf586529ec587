//! What every [`Engine`](fencepost::engine::Engine) has to do, as one body of tests for all of them.
//!
//! The simulated store of `fencepost-models` is what every proof and every hunt rests on. So it is the measure here: a
//! [`Twin`] of it sees every request that an engine sees, at the time that the engine's answer bears, and has to give
//! the same answer. What an engine does beyond its answers (hints, restarts, concurrent callers, closing) has a case
//! of its own. [`examine`] goes through all of them and returns what was broken.
//!
//! Time is read from the answers, and the answers' time is held against the examiner's own clock. So an entry that
//! dies a moment too early is found without waiting for minutes, and nothing sleeps: whoever has to wait asks until the
//! store's clock shows the hour.
//!
//! ```
//! use fencepost_conformance::{Simulated, examine};
//!
//! assert_eq!(examine(&Simulated::default()), Ok(()));
//! ```
//!
//! An engine of your own is a [`Candidate`].

mod caller;
mod candidate;
mod cases;
mod crowd;
mod liar;
pub mod server;
mod simulated;
mod twin;
mod walk;

pub use caller::{Caller, Heard, Listener};
pub use candidate::{Candidate, Memory, Postgres, Settable, Sqlite};
pub use cases::{examine, examine_steps};
pub use liar::{Liar, Lie};
pub use simulated::Simulated;
pub use twin::{Breach, Exchange, Rule, Twin};
