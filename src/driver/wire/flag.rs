//! The flag, written down.

use std::string::String;
use std::vec::Vec;

use super::{Wire, WireKey};
use crate::flag::{Flag, Message, Record};

impl Wire for Flag {
    type Key = ();
    type Record = Record;

    fn write_message(message: &Message) -> Option<String> {
        match message {
            Message::Freed => None,
            Message::Petition { .. } => serde_json::to_string(message).ok(),
        }
    }

    fn read_message(text: &str) -> Option<Message> {
        serde_json::from_str(text).ok()
    }

    fn freed() -> Option<Message> {
        Some(Message::Freed)
    }
}

/// A namespace with one key in it, which is a lock.
impl WireKey for () {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(0);
    }

    fn read(bytes: &[u8]) -> Option<()> {
        (bytes == [0]).then_some(())
    }
}
