//! The recurring job, written down.

use std::vec::Vec;

use super::{Wire, WireKey};
use crate::job::{Job, Meta};
use crate::line;
use crate::mutex::Freed;
use crate::run::{Key, Record};

const LOCK: u8 = 0;
const WORK: u8 = 1;

impl Wire for Job {
    type Key = Key;
    type Record = Record<Meta>;

    fn freed() -> Option<Freed> {
        Some(Freed)
    }
}

impl WireKey for Key {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Key::Lock(key) => {
                bytes.push(LOCK);
                key.write(bytes);
            }
            Key::Work => bytes.push(WORK),
        }
    }

    fn read(bytes: &[u8]) -> Option<Key> {
        match bytes.split_first()? {
            (&LOCK, rest) => line::Key::read(rest).map(Key::Lock),
            (&WORK, []) => Some(Key::Work),
            _ => None,
        }
    }
}
