//! Hints as the payloads of notifications.
//!
//! | payload | hint |
//! |---|---|
//! | `f` space | a deletion in that space |
//! | `m` bytes of the space `:` space text | a message in that space |
//! | `g` | something that was too long to be told |

use std::format;
use std::string::String;

use crate::engine::Hint;

/// The longest payload that PostgreSQL takes, in bytes.
const BYTES_MAX: usize = 7_999;

fn fitting(payload: String) -> String {
    if payload.len() <= BYTES_MAX { payload } else { "g".into() }
}

/// A deletion in `space`.
pub(super) fn freed(space: &str) -> String {
    fitting(format!("f{space}"))
}

/// A message in `space`.
pub(super) fn message(space: &str, text: &str) -> String {
    fitting(format!("m{}:{space}{text}", space.len()))
}

/// What a payload says. Of what cannot be read this much is known: there was something.
pub(super) fn read(payload: &str) -> Hint<'_> {
    if let Some(space) = payload.strip_prefix('f') {
        return Hint::Freed { space };
    }
    payload.strip_prefix('m').and_then(read_message).unwrap_or(Hint::Gap)
}

fn read_message(rest: &str) -> Option<Hint<'_>> {
    let (bytes, rest) = rest.split_once(':')?;
    let (space, text) = rest.split_at_checked(bytes.parse().ok()?)?;
    Some(Hint::Message { space, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_read_as_it_was_written_and_what_does_not_is_a_gap() {
        for space in ["", "a", "ß:7", "m3:x"] {
            assert_eq!(read(&freed(space)), Hint::Freed { space });
            for text in ["", ":", "1:ß", "f"] {
                assert_eq!(read(&message(space, text)), Hint::Message { space, text });
            }
        }
        let long = "x".repeat(BYTES_MAX);
        assert_eq!(read(&freed(&long)), Hint::Gap);
        assert_eq!(read(&freed(&long[1..])), Hint::Freed { space: &long[1..] });
        assert_eq!(read(&message("", &long[2..])), Hint::Gap);
        assert_eq!(read(&message("", &long[3..])), Hint::Message { space: "", text: &long[3..] });
    }

    #[test]
    fn what_nobody_writes_is_a_gap() {
        for payload in ["", "g", "x", "m", "m1", "m2:ß ", "m9:short", "m1:ß", "m-1:x", "mx:x"] {
            let is_message = payload == "m2:ß ";
            assert_eq!(read(payload) == Hint::Gap, !is_message, "{payload}");
        }
    }
}
