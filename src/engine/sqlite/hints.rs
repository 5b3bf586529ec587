//! The table of hints, by which processes tell each other what may be worth a look.
//!
//! A row is a deletion, or a message with a text. Rows are numbered without gaps, the newest [`KEPT`] are kept, and older ones
//! are cleared away [`SURPLUS`] at a time, as that is a page more to write: whoever finds that the row after the last one it has
//! read is gone has missed some.

use alloc::string::String;
use alloc::vec::Vec;

use rusqlite::{Connection, Result, params};

use crate::engine::{Ear, Hint};

/// How many hints are kept for those who are slow to read them.
pub(super) const KEPT: i64 = 1_024;
/// How many more there may be.
const SURPLUS: i64 = 64;

/// Adds a deletion, or a message with a text, to what is there to be read.
pub(super) fn write(database: &Connection, space: &str, text: Option<&str>) -> Result<()> {
    let add = "INSERT INTO hint (space, text) VALUES (?, ?)";
    database.prepare_cached(add)?.execute(params![space, text])?;
    let last = database.last_insert_rowid();
    if last % SURPLUS == 0 {
        database.prepare_cached("DELETE FROM hint WHERE seq <= ?")?.execute([last - KEPT])?;
    }
    Ok(())
}

/// The number of the newest hint.
pub(super) fn newest(database: &Connection) -> Result<i64> {
    database.query_row("SELECT coalesce(max(seq), 0) FROM hint", [], |row| row.get(0))
}

/// What was added after the hint `last`: the space, and the text of a message.
pub(super) struct News {
    /// The number of the newest hint.
    pub(super) newest: i64,
    missed: bool,
    hints: Vec<(String, Option<String>)>,
}

/// Reads what was added after the hint `last`.
pub(super) fn read(database: &Connection, last: i64) -> Result<News> {
    let mut statement =
        database.prepare_cached("SELECT seq, space, text FROM hint WHERE seq > ? ORDER BY seq")?;
    let mut rows = statement.query([last])?;
    let mut news = News { newest: last, missed: false, hints: Vec::new() };
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        news.missed |= seq != news.newest + 1;
        news.newest = seq;
        news.hints.push((row.get(1)?, row.get(2)?));
    }
    Ok(news)
}

impl News {
    /// Tells it to `ear`.
    pub(super) fn tell(&self, ear: &dyn Ear) {
        if self.missed {
            ear.hear(Hint::Gap);
        }
        for (space, text) in &self.hints {
            ear.hear(match text {
                None => Hint::Freed { space },
                Some(text) => Hint::Message { space, text },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<(u32, u32)>);

    impl Ear for Heard {
        fn hear(&self, hint: Hint<'_>) {
            let mut heard = self.0.lock().unwrap();
            match hint {
                Hint::Gap => heard.0 += 1,
                Hint::Freed { .. } | Hint::Message { .. } => heard.1 += 1,
            }
        }
    }

    /// How many gaps and hints somebody hears who has heard none of `written` hints, and the next one in time.
    fn heard_after(written: i64) -> Result<(u32, u32), Box<dyn std::error::Error>> {
        let database = Connection::open_in_memory()?;
        database.execute_batch(super::super::file::SCHEMA)?;
        for _ in 0..written {
            write(&database, "space", None)?;
        }
        let ear = Heard::default();
        let news = read(&database, 0)?;
        news.tell(&ear);
        write(&database, "space", Some("text"))?;
        read(&database, news.newest)?.tell(&ear);
        Ok(ear.0.into_inner()?)
    }

    #[test]
    fn who_is_too_slow_hears_of_a_gap_and_nobody_else_does() {
        assert_eq!(heard_after(1).unwrap(), (0, 2));
        assert_eq!(heard_after(KEPT + SURPLUS - 1).unwrap(), (0, (KEPT + SURPLUS) as u32));
        assert_eq!(heard_after(KEPT + SURPLUS).unwrap(), (1, KEPT as u32 + 1));
    }
}
