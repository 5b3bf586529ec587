//! A laboratory for coordination algorithms: register a machine; hunt, replay and shrink its
//! failures; check it exhaustively.
//!
//! | item | is for |
//! |---|---|
//! | [`Registration`] | an algorithm: its machine, its configurations, what it promises, what is known to be wrong |
//! | [`hunt()`] | running many seeds, also from a test: `hunt(&algorithm).seeds(1_000).run().expect_clean()` |
//! | [`Algorithm::check`] | every order of events and faults within bounds, for unbounded time |
//! | [`Lab`] | the whole command line over your algorithms |
//! | [`algorithms()`] | ours, and the originals |
//! | [`recordings()`] | histories of real processes |

mod algorithm;
mod algorithms;
mod causes;
mod check;
mod cli;
mod hunt;
mod plans;
mod queue;
pub mod report;
mod scenario;
mod scheduler;
mod shrink;
mod story;
mod timers;

pub use algorithm::{Algorithm, Card, Defect, Dice, Registration, Replayed, Runner};
pub use algorithms::{ablated, algorithms, lab, recordings};
pub use check::{
    Budget, Case, CheckPlan, Checked, Counterexample, Progress, Row, Ruling, Spend, Stopped, Ticks,
};
pub use cli::Lab;
pub use fencepost_models::fault::{Fault, FaultSet};
pub use fencepost_models::property::{Property, PropertySet, Violation};
pub use fencepost_models::store::LockKey;
pub use fencepost_models::subject::{Ask, InstanceId, JobId, Occurrence, Play, Run, Subject, Told};
pub use fencepost_models::trace::{Shows, Trace, TraceError};
pub use hunt::{Find, Group, Hunt, Report, Watch, hunt};
pub use scenario::{Faults, Shape, Workload};
pub use scheduler::{End, Outcome, Reference, Takeovers};
pub use shrink::Shrunk;
pub use story::{Line, Look, Story, clock};
