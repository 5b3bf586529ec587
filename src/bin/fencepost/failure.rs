//! What can go wrong, and with which status the command then ends: as sysexits.h has them, where it has them.

use std::ffi::OsString;
use std::io;

use fencepost::calendar::ScheduleError;
use fencepost::driver::{LockError, OnceError, SetupError, StartError};
use fencepost::engine::OpenError;
use fencepost::engine::postgres::PostgresError;
use fencepost::engine::survey::SurveyError;

/// The command line makes no sense.
pub(crate) const USAGE: u8 = 64;
/// There is no such thing.
const MISSING: u8 = 66;
/// The store cannot be reached.
const UNAVAILABLE: u8 = 69;
/// The operating system refuses.
const SYSTEM: u8 = 71;
/// The key is taken.
const TAKEN: u8 = 73;
/// The lock was not to be had in time.
const NOT_ACQUIRED: u8 = 75;
/// The lock was lost while the command ran.
pub(crate) const LOST: u8 = 76;
/// The command was found, but cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
const NOT_FOUND: u8 = 127;

/// Why the command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("there is no store at {path}; accepted: a file that `fencepost lock` or a service has made")]
    NoStore { path: String },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("{lock} is held by another one; to wait for it, say --wait 30s or --wait forever")]
    Contended { lock: String },
    #[error("{lock} was not to be had within {}", crate::times::told(*.waited))]
    TimedOut { lock: String, waited: std::time::Duration },
    #[error("{lock} was lost before the command began: this process, or its host, stood still")]
    Lost { lock: String },
    #[error("{lock} was tried once, and the store gave no answer")]
    Unanswered { lock: String },
    #[error(transparent)]
    Once(#[from] OnceError),
    #[error(transparent)]
    Survey(#[from] SurveyError),
    #[error("cannot run {}: {source}", .program.to_string_lossy())]
    Spawn { program: OsString, source: io::Error },
    #[error(
        "cannot run fencepost-torture: {source}; it is installed beside fencepost with `cargo install --path torture`"
    )]
    Torture { source: io::Error },
    #[error("manual pages cannot be written to {folder}: {source}; accepted: a folder that is there")]
    Pages { folder: String, source: io::Error },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Changed(String),
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}

impl Failure {
    /// With which status the command ends.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::Open(
                OpenError::Scheme { .. }
                | OpenError::Option { .. }
                | OpenError::Postgres(PostgresError::Address { .. }),
            ) => USAGE,
            Failure::Open(_) | Failure::Survey(_) | Failure::Unanswered { .. } => UNAVAILABLE,
            Failure::Setup(SetupError::Closed { .. }) | Failure::Lock(LockError::Closed { .. }) => {
                UNAVAILABLE
            }
            Failure::Setup(_) | Failure::Schedule(_) | Failure::Usage(_) => USAGE,
            Failure::Lock(_)
            | Failure::Contended { .. }
            | Failure::TimedOut { .. }
            | Failure::Changed(_)
            | Failure::Once(OnceError::Overtaken { .. }) => NOT_ACQUIRED,
            Failure::Lost { .. } => LOST,
            Failure::Once(OnceError::Taken { .. }) => TAKEN,
            Failure::Once(OnceError::Missing { .. }) | Failure::NoStore { .. } | Failure::Missing(_) => {
                MISSING
            }
            Failure::Once(OnceError::Closed) => UNAVAILABLE,
            Failure::Once(_) => USAGE,
            Failure::Spawn { source, .. } | Failure::Torture { source }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                NOT_FOUND
            }
            Failure::Spawn { .. } | Failure::Torture { .. } => NOT_EXECUTABLE,
            Failure::Start(_) | Failure::System(_) | Failure::Pages { .. } => SYSTEM,
        }
    }
}
