//! What a lock is called, and how a notification is written down for others.
//!
//! A machine works on a namespace of its own and knows no names: its host calls the lock by a [`LockKey`]. A tuple of
//! texts and numbers is its own key, written down so that no two tuples are written alike. Nothing is hashed, so nothing
//! can collide, and nothing has to be allocated or remembered. Whoever has numbers already takes [`LockKey::Number`].

use core::fmt;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::line::Owner;

use super::Notice;

/// What a lock is called.
///
/// ```
/// use fencepost::locker::{LockKey, Part};
///
/// let key = LockKey::tuple([Part::from("acme/website"), Part::from(4_711)]);
/// assert_eq!(key.to_string(), r#"("acme/website",4711)"#);
/// assert_ne!(key, LockKey::tuple([Part::from("acme"), Part::from("website"), Part::from(4_711)]));
/// assert_eq!(LockKey::Number(-3).to_string(), "-3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(untagged))]
pub enum LockKey {
    /// A number that somebody else has given.
    Number(i64),
    /// What it locks, in parts.
    Tuple(Vec<Part>),
}

/// A part of a [`LockKey`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(untagged))]
pub enum Part {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl LockKey {
    /// The key of what these parts name.
    pub fn tuple(parts: impl IntoIterator<Item = Part>) -> LockKey {
        LockKey::Tuple(parts.into_iter().collect())
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::Text(text.into())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Part {
        Part::Text(text)
    }
}

impl From<i64> for Part {
    fn from(number: i64) -> Part {
        Part::Number(number)
    }
}

/// The key as a store or a channel may be called after it. No two keys are written alike: texts stand in quotation marks,
/// with a backslash before each quotation mark and backslash inside.
impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = match self {
            LockKey::Number(number) => return write!(f, "{number}"),
            LockKey::Tuple(parts) => parts,
        };
        f.write_str("(")?;
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{part}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Part::Number(number) => return write!(f, "{number}"),
            Part::Text(text) => text,
        };
        f.write_str("\"")?;
        for letter in text.chars() {
            if matches!(letter, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{letter}")?;
        }
        f.write_str("\"")
    }
}

/// A newer request in a form that leaves the process: a log line, a message to whoever does the work.
///
/// With the feature `serde` it is written with the field names that acyl's holders know: `id`, `event`, `lockKey`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NotificationPayload {
    /// Whose request it is: never the reader's own.
    pub id: Owner,
    /// Why its caller wants the lock.
    #[cfg_attr(feature = "serde", serde(rename = "event", with = "super::words::text"))]
    pub message: Arc<str>,
    /// Which lock.
    #[cfg_attr(feature = "serde", serde(rename = "lockKey"))]
    pub lock_key: LockKey,
}

impl Notice {
    /// The notice about the lock that is called so.
    pub fn payload(&self, lock_key: LockKey) -> NotificationPayload {
        NotificationPayload { id: self.by, message: self.message.clone(), lock_key }
    }
}
