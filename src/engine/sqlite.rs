//! One file, shared by the processes of one host: SQLite in its write-ahead mode.
//!
//! A thread of the engine's own carries requests out, so that nobody who submits one waits for a disk. Requests that
//! queue up meanwhile go into one transaction, and each is answered after it was committed. The same thread listens to the bell
//! below, so that whoever hears of a hint is a step away from its next request. A second thread gives up requests that take too
//! long, as the first one cannot while it waits for the file.
//!
//! # What it promises
//!
//! | | |
//! |---|---|
//! | clock | the wall clock of the host, read inside the transaction; entries expire by it to the nanosecond |
//! | atomic, linearizable | every transaction that writes begins as `IMMEDIATE`, so writers exclude each other |
//! | revision | a counter in a row of its own, written in the same transaction: one more than the last one, or the clock in microseconds if that is more, so a file that was lost, or restored from a copy, does not repeat revisions |
//! | durable | with [`Synchronous::Full`], the default, over power loss; with [`Synchronous::Normal`] over crashes of processes only |
//! | hints | a deletion or message is written to a table in the same transaction; then the bell is rung |
//!
//! Set the wall clock forward by a minute, and leases end a minute early; set it back, and they end late. Both are beyond
//! what a lease is configured for; a resource that checks fencing tokens is safe all the same.
//!
//! # What is known of a request
//!
//! | what happens | answer |
//! |---|---|
//! | the transaction was committed | what the store said |
//! | another process holds the file: nothing was done, and it is tried again after a short random time | [`Answer::Unknown`] once [`SqliteOptions::call_max`] has passed |
//! | one of several requests in a transaction fails, and all is rolled back | each is carried out by itself |
//! | an error before the commit, such as a full disk: nothing was done | [`Answer::Unknown`], as a refusal would say more |
//! | an error in the commit | [`Answer::Unknown`] |
//! | the file under the path is not the one that was opened | [`Answer::Unknown`]; the new one is opened, and a [`Hint::Gap`] heard |
//! | it is closed | [`Answer::Unknown`] |
//!
//! What can be known at once is an error of [`Sqlite::open`]: a path that cannot be written, a file that is no database,
//! or another program's, or written by a newer version.
//!
//! # Files
//!
//! Beside `PATH` there are `PATH-wal` and `PATH-shm`, which are SQLite's, and `PATH-bell`. Who has written a hint then
//! writes a byte to the bell, and inotify wakes the others: a commit announces itself too early for that, before it can be
//! seen. A bell that nobody heard, because its ringer was killed or because this is not Linux, is made up for
//! by looking twice a second, or every [`SqliteOptions::poll`].
//!
//! Never put them on a network file system, and never replace or remove them while anybody uses them.
//!
//! [`Hint::Gap`]: super::Hint::Gap
//! [`Answer::Unknown`]: crate::store::Answer::Unknown

#![expect(clippy::disallowed_types, reason = "an engine has threads, waits, and reads clocks")]

mod bell;
mod entries;
mod file;
mod hints;
mod survey;
mod worker;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use core::future::Future;
use core::pin::Pin;

use tokio::sync::{oneshot, watch};

use super::survey::{SurveyError, Surveying};
use super::{Ear, Engine, Request, Responder};
use crate::store::Limits;
use crate::time::Span;
use file::File;
use worker::Shared;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// A crash of the host and loss of power: every commit reaches the disk before it is acknowledged.
    #[default]
    Full,
    /// Crashes of processes only; the newest writes may be lost with the host. Several times as fast.
    Normal,
}

/// How a file is used. All processes that share it should use the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// What an acknowledged write survives.
    pub synchronous: Synchronous,
    /// After so long a request is answered as unknown, give or take half a second, and opening fails. 5 s by default.
    pub call_max: Duration,
    /// How often to look for hints where nothing rings: without inotify. 20 ms by default.
    pub poll: Duration,
}

impl Default for SqliteOptions {
    fn default() -> SqliteOptions {
        SqliteOptions {
            synchronous: Synchronous::default(),
            call_max: Duration::from_secs(5),
            poll: Duration::from_millis(20),
        }
    }
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// SQLite or the file system refused.
    #[error(
        "cannot open {path} as a store: {source}; it takes a file in a local folder that this user may write to"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What was said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is something else.
    #[error(
        "{path} is not a store of fencepost: {found}; name a file of its own, which is made if it is not there"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// It was written by a later version.
    #[error(
        "{path} has schema {found}, and this version of fencepost knows schemas up to {known}; update this program"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one that is known here.
        known: i64,
    },
    /// Others kept it busy for too long.
    #[error("{path} was kept busy by others for {waited:?}; see who holds a transaction open on it")]
    Busy {
        /// The file.
        path: PathBuf,
        /// For how long it was tried.
        waited: Duration,
    },
}

/// A store in a file. See the module documentation.
///
/// ```
/// use fencepost::engine::sqlite::{Sqlite, SqliteOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let engine = Sqlite::open(folder.path().join("locks.db"), &SqliteOptions::default())?;
/// # drop(engine);
/// # Ok(())
/// # }
/// ```
pub struct Sqlite {
    shared: Arc<Shared>,
    path: PathBuf,
    durable: bool,
    call_max: Duration,
    ended: watch::Receiver<()>,
}

impl Sqlite {
    /// Opens the file, and makes it if it is not there. It blocks until that is done, for as long as
    /// [`SqliteOptions::call_max`] at most.
    pub fn open(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Sqlite, SqliteError> {
        let file = File::open(path.as_ref(), options)?;
        let path = file.path().to_owned();
        let (shared, ended) = worker::start(file, options)
            .map_err(|fault| SqliteError::Open { path: path.clone(), source: Box::new(fault) })?;
        let durable = options.synchronous == Synchronous::Full;
        Ok(Sqlite { shared, path, durable, call_max: options.call_max, ended })
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sqlite").field(&self.path).finish()
    }
}

impl Engine for Sqlite {
    fn limits(&self) -> Limits {
        Limits {
            ttl_min: Span::from_millis(1),
            ttl_grain: Span::from_nanos(1),
            pushes: true,
            durable: self.durable,
            key_bytes_max: 1_024,
        }
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        self.shared.listen(ear);
    }

    fn submit(&self, request: Request, responder: Responder) {
        self.shared.submit(request, responder);
    }

    fn publish(&self, space: &str, text: &str) {
        self.shared.publish(space, text);
    }

    fn survey(&self, prefix: &str) -> Surveying<'_> {
        let (path, prefix, call_max) = (self.path.clone(), String::from(prefix), self.call_max);
        let (done, is_done) = oneshot::channel();
        let looking = move || drop(done.send(survey::survey(&path, &prefix, call_max)));
        let started = std::thread::Builder::new().name("fencepost-survey".into()).spawn(looking);
        Box::pin(async move {
            let no_thread = |fault: &dyn std::fmt::Display| SurveyError::Store {
                found: alloc::format!("no thread does it: {fault}"),
            };
            started.map_err(|fault| no_thread(&fault))?;
            is_done.await.map_err(|fault| no_thread(&fault))?
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.shared.close();
        let mut ended = self.ended.clone();
        Box::pin(async move { while ended.changed().await.is_ok() {} })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shared.close();
    }
}
