//! A resource that a lock guards, and that does not rely on it: a page in a database of its own, which remembers the highest
//! token that it has seen, and refuses every lower one.
//!
//! A holder of a lock with a lease can always be too late: it looks, it is paused for a minute, it writes. The store gave the
//! lock to somebody else meanwhile, and no lock can take the write back. The resource can: one condition in the
//! statement that writes.

use std::path::Path;
use std::time::Duration;

use fencepost::store::FencingToken;
use rusqlite::{Connection, OptionalExtension, params};

/// A page that its writers take turns at.
#[derive(Debug)]
pub struct Page(Connection);

/// Why a page was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody with a higher token was here.
    #[error("refused: token {} comes too late, as {} was here", .shown.0, .highest.0)]
    Stale {
        /// The token that was shown.
        shown: FencingToken,
        /// The highest that was seen.
        highest: FencingToken,
    },
    /// The database is in trouble.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY CHECK (id = 1), token INTEGER NOT NULL, \
                     text TEXT NOT NULL)";
/// The fence is its last line. A writer may write several times under one token.
const WRITE: &str = "INSERT INTO page (id, token, text) VALUES (1, ?1, ?2)
                     ON CONFLICT (id) DO UPDATE SET token = excluded.token, text = excluded.text
                     WHERE excluded.token >= page.token";

impl Page {
    /// Opens the database, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub fn open(path: &Path) -> Result<Page, WriteError> {
        let database = Connection::open(path)?;
        database.busy_timeout(Duration::from_secs(5))?;
        database.execute(TABLE, [])?;
        Ok(Page(database))
    }

    /// Writes over what is there, unless somebody with a higher token was here.
    ///
    /// # Errors
    ///
    /// [`WriteError::Stale`]; those of the database.
    pub fn write(&self, token: FencingToken, text: &str) -> Result<(), WriteError> {
        // Tokens fit: they grow from the microseconds since 1970.
        if self.0.execute(WRITE, params![token.0.cast_signed(), text])? > 0 {
            return Ok(());
        }
        let highest: i64 = self.0.query_row("SELECT token FROM page", [], |row| row.get(0))?;
        Err(WriteError::Stale { shown: token, highest: FencingToken(highest.cast_unsigned()) })
    }

    /// What is there.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub fn read(&self) -> Result<Option<String>, WriteError> {
        Ok(self.0.query_row("SELECT text FROM page", [], |row| row.get(0)).optional()?)
    }
}
