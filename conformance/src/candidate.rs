//! The stores that are examined.

use std::sync::Arc;
use std::time::Duration;

use fencepost::engine::Engine;
use fencepost::engine::sqlite::{self, SqliteOptions};
use tempfile::TempDir;

/// A store to be examined: empty, and nobody else's.
pub trait Candidate {
    /// A handle on it, as another process would have one.
    fn open(&self) -> Arc<dyn Engine>;

    /// Whether what was acknowledged outlives all handles.
    fn is_durable(&self) -> bool {
        true
    }

    /// Whether it passes hints on. Those of the simulated store are the world's business.
    fn has_hints(&self) -> bool {
        true
    }

    /// What takes longer than this will never come: no engine under test is configured to wait for so long.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Kills the store itself, if there is one beside the handles, and starts it again. Handles find their way back.
    fn restart(&self) {}
}

/// A file in a folder of its own.
#[derive(Debug)]
pub struct Sqlite {
    folder: TempDir,
    options: SqliteOptions,
}

impl Sqlite {
    /// A file that is used so.
    pub fn new(options: SqliteOptions) -> Sqlite {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Sqlite { folder, options }
    }

    /// Where it lies.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store.db")
    }
}

impl Candidate for Sqlite {
    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(sqlite::Sqlite::open(self.path(), &self.options).expect("a store"))
    }
}
