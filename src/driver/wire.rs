//! How a machine's keys, records and messages are written where others read them.
//!
//! A machine names the parts of its own namespace by types; an engine keeps texts under bytes. This is the only place where
//! the one becomes the other, and what it writes is what instances of other versions read: it is pinned by tests.
//!
//! # Keys
//!
//! Engines compare keys bytewise, and machines rely on the order of their own: so encodings sort as what they encode. A
//! variant is one byte, in the order of the variants; numbers are big-endian; a text that something follows has its NUL
//! bytes written as `00 ff`, and ends with `00`.
//!
//! | key | bytes |
//! |---|---|
//! | a lock, that of a writer included | `00` |
//! | a place in its queue | `01`, since (8), identity (8), attempt (4) |
//! | the lock of a job, what is under it | `00` and the key of the lock |
//! | the record of a recurring job | `01` |
//! | the lock of a job that runs once | `00`, its key, `00`, the key of the lock |
//! | where such jobs begin | `01` |
//! | such a job | `02`, its key |
//! | a preemptive lock | `00` |
//! | who is to enter it next | `01` |
//!
//! # Records and messages
//!
//! Records and messages are JSON, as serde derives it. What is added to a record must have a default: an instance of an
//! older version ignores it, and one of a newer version must do without it. A record that is not understood is
//! no answer ([`Answer::Unknown`](crate::store::Answer::Unknown)): the machine asks again, and does no harm.

mod flag;
mod job;
mod locker;
mod mutex;
mod once;
mod writer;

pub use once::Payload;

use std::string::String;
use std::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::Machine;
use crate::store::Contract;

/// A machine whose words can be written down.
pub trait Wire: Machine<Store = Contract<<Self as Wire>::Key, <Self as Wire>::Record>> {
    /// The keys of its namespace.
    type Key: WireKey;
    /// What it keeps under them.
    type Record: Clone + Eq + core::hash::Hash + core::fmt::Debug + Send + Sync + Serialize + DeserializeOwned;

    /// A message as it is published; `None`, if there is no need to: engines say themselves what was freed. Many machines have
    /// nothing else to say.
    fn write_message(message: &Self::Message) -> Option<String> {
        let _ = message;
        None
    }

    /// A message that was published; `None`, if it is not understood.
    fn read_message(text: &str) -> Option<Self::Message> {
        let _ = text;
        None
    }

    /// What it means to this machine that something was deleted in its namespace.
    fn freed() -> Option<Self::Message>;
}

/// A key that can be written down so that its bytes sort as keys do.
pub trait WireKey: Clone + Ord + core::hash::Hash + core::fmt::Debug + Send + Sync + 'static {
    /// Appends the bytes of this key.
    fn write(&self, bytes: &mut Vec<u8>);

    /// The key of these bytes; `None`, if they are not one.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// Appends a text that something follows.
fn write_text(text: &str, bytes: &mut Vec<u8>) {
    for byte in text.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.push(0);
}

/// A text that something follows, and what follows it.
fn read_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.split_first() {
            Some((0xff, after)) => {
                text.push(0);
                rest = after;
            }
            Some(_) | None => return Some((String::from_utf8(text).ok()?, rest)),
        }
    }
}

#[cfg(test)]
mod tests;
