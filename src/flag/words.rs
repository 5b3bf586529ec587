//! What a flag is asked, what it tells, what it keeps in the store, and how it names its requests.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::line::Owner;
use crate::mutex::{self, Loss};
use crate::store::FencingToken;

/// The name of a process, for people: it tells nobody apart. Not empty; cheap to clone.
///
/// ```
/// use fencepost::flag::{NameError, Process};
///
/// assert_eq!(Process::new("billing-0")?.as_str(), "billing-0");
/// assert_eq!(Process::new(""), Err(NameError));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct Process(Arc<str>);

/// The name of a process is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a process is empty; it needs at least one character")]
pub struct NameError;

impl Process {
    /// The process of that name.
    ///
    /// # Errors
    ///
    /// [`NameError`], if it is empty.
    pub fn new(name: &str) -> Result<Process, NameError> {
        if name.is_empty() { Err(NameError) } else { Ok(Process(name.into())) }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Process {
    type Error = NameError;
    fn try_from(name: String) -> Result<Process, NameError> {
        Process::new(&name)
    }
}

impl From<Process> for String {
    fn from(process: Process) -> String {
        process.as_str().into()
    }
}

/// What the store keeps while somebody leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Record {
    /// Which incarnation, and which of its attempts: two processes of one name are two owners.
    pub owner: Owner,
    /// Its name, so that everybody sees who leads.
    pub process: Process,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// The process.
    pub process: Process,
    /// Its term: the fencing token of its leadership. A later leader has a higher one.
    pub term: FencingToken,
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To take part: to lead whenever nobody else does, until closed.
    Stand,
    /// To lower the flag and let others have a turn; it stands again afterwards.
    Resign,
    /// Whether this process is fit to lead. One that is not lowers its flag, and does not stand until it is fit again. It
    /// may be said at any time, at rest too; a process is fit until it is said otherwise.
    Fit(bool),
    /// To ask the leader to resign. Its caller is told and decides; how it ended is told here.
    Petition,
    /// To take part no longer. It may be asked at any time, any number of times.
    Close,
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// This process leads, under this term.
    Raised(FencingToken),
    /// It leads no more.
    Lowered(Lowered),
    /// Another leader is seen, or none. Terms never go back.
    Leader(Option<Leader>),
    /// This process leads, and another one asks it to resign. One petition is told once, though it is sent repeatedly.
    Petitioned {
        /// Who asks.
        by: Process,
    },
    /// The petition that was asked for here has come to an end.
    PetitionEnded(PetitionEnd),
    /// It is at rest, and nothing of its own is under way.
    Closed,
    /// The request made no sense in this state.
    Rejected(Misuse),
}

/// Why a flag was lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lowered {
    /// The leadership was lost. It stands again by itself.
    Lost(Loss),
    /// It was asked to resign.
    Resigned,
    /// It is not fit to lead.
    Unfit,
    /// It is to close.
    Closing,
}

/// How a petition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PetitionEnd {
    /// The term that it was about is over, for whatever reason.
    Granted,
    /// It was sent as often as it may be, and the leader still leads.
    Unanswered,
    /// The flag was closed first.
    Dropped,
}

/// A request that made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// It takes part already, or is closing.
    Standing,
    /// It does not lead.
    NotRaised,
    /// No other process is seen to lead.
    NoLeader,
    /// A petition is under way.
    Petitioning,
}

/// A hint to the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Message {
    /// Nobody leads any more.
    Freed,
    /// The leader of this term should resign.
    Petition {
        /// The term that is meant: a later leader is not.
        term: FencingToken,
        /// Which petition this is, of which incarnation.
        number: Owner,
        /// Who asks.
        by: Process,
    },
}

/// The outstanding requests of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Of its lock.
    Lock(mutex::Call),
    /// See who leads.
    Look,
}
