//! What can be wrong with a handle before it is asked for anything.

use core::time::Duration;
use std::string::String;

use crate::flag::FlagConfigError;
use crate::job::JobConfigError;
use crate::lease::ConfigError;
use crate::store::Limits;
use crate::writer::WriterConfigError;

/// Why a handle cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Its configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A job's configuration makes no sense.
    #[error(transparent)]
    Job(#[from] JobConfigError),
    /// A flag's configuration makes no sense.
    #[error(transparent)]
    Flag(#[from] FlagConfigError),
    /// A writer's configuration makes no sense.
    #[error(transparent)]
    Writer(#[from] WriterConfigError),
    /// It has no name.
    #[error("the key is empty; it needs at least one character")]
    KeyEmpty,
    /// Its name has a NUL in it, which not every store can keep.
    #[error("the key {key:?} has a NUL in it; it may have any other character")]
    KeyNul {
        /// The key.
        key: String,
    },
    /// Its name is too long for this store.
    #[error("the key {key:?} takes {bytes} bytes in this store; it may take {bytes_max}")]
    KeyTooLong {
        /// The key.
        key: String,
        /// How long it is there.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The store accepts no entry that lives so short.
    #[error(
        "ttl {ttl:?} is too short for this store, which counts in steps of {grain:?}; it takes {ttl_min:?} or more"
    )]
    TtlTooShort {
        /// The time to live.
        ttl: Duration,
        /// The shortest one that it accepts.
        ttl_min: Duration,
        /// The step in which it counts.
        grain: Duration,
    },
    /// The store is closed.
    #[error("the store is closed; {key:?} asks for a new handle")]
    Closed {
        /// The key.
        key: String,
    },
}

/// The space of a primitive: its kind and its key.
pub(crate) fn space(limits: &Limits, kind: &str, key: &str) -> Result<String, SetupError> {
    if key.is_empty() {
        return Err(SetupError::KeyEmpty);
    }
    if key.contains('\0') {
        return Err(SetupError::KeyNul { key: key.into() });
    }
    let space = std::format!("{kind}/{key}");
    let (bytes, bytes_max) = (space.len(), limits.key_bytes_max);
    if bytes > bytes_max {
        return Err(SetupError::KeyTooLong { key: key.into(), bytes, bytes_max });
    }
    Ok(space)
}

/// Refuses a time to live that the store cannot keep.
pub(crate) fn long_enough(limits: &Limits, ttl: Duration) -> Result<(), SetupError> {
    let (ttl_min, grain) = (limits.ttl_min.into(), limits.ttl_grain.into());
    if ttl < ttl_min { Err(SetupError::TtlTooShort { ttl, ttl_min, grain }) } else { Ok(()) }
}
