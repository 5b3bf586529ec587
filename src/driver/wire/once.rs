//! Jobs that run once, written down. What a callback gets is kept as the text that the caller gave.

use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Wire, WireKey, read_text, write_text};
use crate::line;
use crate::once::{JobKey, Key, Message, Once, Task};
use crate::run::Record;

const LOCK: u8 = 0;
const JOBS: u8 = 1;
const JOB: u8 = 2;

/// What a callback gets, as JSON. It stays as it was written, so that a record is recognised by its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// A payload of this text.
    pub fn new(text: &str) -> Payload {
        Payload(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        String::deserialize(deserializer).map(|text| Payload(text.into()))
    }
}

impl Wire for Once<JobKey, Payload> {
    type Key = Key<JobKey>;
    type Record = Record<Task<Payload>>;

    fn write_message(message: &Message<JobKey>) -> Option<String> {
        serde_json::to_string(message).ok()
    }

    fn read_message(text: &str) -> Option<Message<JobKey>> {
        serde_json::from_str(text).ok()
    }

    fn freed() -> Option<Message<JobKey>> {
        None
    }
}

impl WireKey for Key<JobKey> {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Key::Lock(job, key) => {
                bytes.push(LOCK);
                write_text(job.as_str(), bytes);
                key.write(bytes);
            }
            Key::Jobs => bytes.push(JOBS),
            Key::Job(job) => {
                bytes.push(JOB);
                bytes.extend_from_slice(job.as_str().as_bytes());
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<Key<JobKey>> {
        match bytes.split_first()? {
            (&LOCK, rest) => {
                let (job, rest) = read_text(rest)?;
                Some(Key::Lock(JobKey::new(&job).ok()?, line::Key::read(rest)?))
            }
            (&JOBS, []) => Some(Key::Jobs),
            (&JOB, job) => Some(Key::Job(JobKey::new(core::str::from_utf8(job).ok()?).ok()?)),
            _ => None,
        }
    }
}
