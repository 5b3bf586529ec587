//! The mutex, written down.

use std::vec::Vec;

use super::{Wire, WireKey};
use crate::line::{Key, Owner, Place};
use crate::machine::Identity;
use crate::mutex::{Freed, Mutex};
use crate::time::StoreTime;

const LOCK: u8 = 0;
const PLACE: u8 = 1;

impl Wire for Mutex {
    type Key = Key;
    type Record = Owner;

    fn freed() -> Option<Freed> {
        Some(Freed)
    }
}

impl WireKey for Key {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Key::Lock => bytes.push(LOCK),
            Key::Place(Place { since, owner: Owner { identity, attempt } }) => {
                bytes.push(PLACE);
                bytes.extend_from_slice(&since.as_nanos().to_be_bytes());
                bytes.extend_from_slice(&identity.0.to_be_bytes());
                bytes.extend_from_slice(&attempt.to_be_bytes());
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<Key> {
        match bytes.split_first()? {
            (&LOCK, []) => Some(Key::Lock),
            (&PLACE, rest) => {
                let (since, rest) = rest.split_first_chunk()?;
                let (identity, rest) = rest.split_first_chunk()?;
                let attempt = u32::from_be_bytes(rest.try_into().ok()?);
                let owner = Owner { identity: Identity(u64::from_be_bytes(*identity)), attempt };
                Some(Key::Place(Place { since: StoreTime::from_nanos(u64::from_be_bytes(*since)), owner }))
            }
            _ => None,
        }
    }
}
