//! The preemptive lock, written down.

use std::string::String;
use std::vec::Vec;

use super::{Wire, WireKey};
use crate::locker::{Hint, Key, Locker, Record};

const LOCK: u8 = 0;
const CONTENDER: u8 = 1;

impl Wire for Locker {
    type Key = Key;
    type Record = Record;

    fn write_message(message: &Hint) -> Option<String> {
        match message {
            Hint::Freed => None,
            Hint::Asked => serde_json::to_string(message).ok(),
        }
    }

    fn read_message(text: &str) -> Option<Hint> {
        serde_json::from_str(text).ok()
    }

    fn freed() -> Option<Hint> {
        Some(Hint::Freed)
    }
}

impl WireKey for Key {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(match self {
            Key::Lock => LOCK,
            Key::Contender => CONTENDER,
        });
    }

    fn read(bytes: &[u8]) -> Option<Key> {
        match bytes {
            [LOCK] => Some(Key::Lock),
            [CONTENDER] => Some(Key::Contender),
            _ => None,
        }
    }
}
