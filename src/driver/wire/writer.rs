//! The writer, written down: what it keeps is its lock, if it has one.

use super::Wire;
use crate::line::{Key, Owner};
use crate::mutex::Freed;
use crate::once::Name;
use crate::writer::WriterLease;

impl<K: Name> Wire for WriterLease<K> {
    type Key = Key;
    type Record = Owner;

    fn freed() -> Option<Freed> {
        Some(Freed)
    }
}
