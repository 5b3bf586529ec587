//! Looking into the file, on a connection of its own that only reads.

use std::path::Path;
use std::string::ToString;
use std::time::Duration;

use alloc::boxed::Box;
use alloc::vec::Vec;

use rusqlite::{Connection, OpenFlags, Result, params};

use super::entries::{entry, integer};
use super::file::now;
use crate::engine::survey::{Stored, Survey, SurveyError};
use crate::time::StoreTime;

/// Beginning with a prefix is bytewise here, whatever the collation and the case.
const SURVEY: &str = "SELECT revision, record, space, key, expires FROM entry
    WHERE substr(CAST(space AS BLOB), 1, length(?1)) = ?1 AND expires > ?2 ORDER BY space, key";

/// What lives in the spaces that begin with `prefix`. It blocks.
pub(super) fn survey(path: &Path, prefix: &str, patience: Duration) -> Result<Survey, SurveyError> {
    read(path, prefix, patience).map_err(|fault| SurveyError::Store { found: fault.to_string() })
}

fn read(path: &Path, prefix: &str, patience: Duration) -> Result<Survey> {
    // A reader has to write, too: to the index of the log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(patience)?;
    let at = now();
    let mut statement = database.prepare(SURVEY)?;
    let entries = statement.query_map(params![prefix.as_bytes(), integer(at.as_nanos())], |row| {
        let expires: i64 = row.get(4)?;
        let until = u64::try_from(expires).ok().filter(|_| expires < i64::MAX).map(StoreTime::from_nanos);
        let key = row.get::<_, Vec<u8>>(3).map(Box::from)?;
        Ok(Stored { space: row.get(2)?, key, entry: entry(row)?, until })
    })?;
    Ok(Survey { at, entries: entries.collect::<Result<_>>()? })
}
