//! The stores that are examined.

use std::sync::Arc;
use std::time::Duration;

use fencepost::engine::Engine;
use fencepost::engine::postgres::{self, PostgresError, PostgresOptions};
use fencepost::engine::sqlite::{self, SqliteOptions};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::server::PostgresServer;

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

/// A store whose clock a test can set.
pub trait Settable: Candidate {
    /// Sets its clock ahead by so many nanoseconds, or back, if they are negative.
    fn set_clock(&self, nanos: i64);
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

/// A schema on a server of its own.
#[derive(Debug)]
pub struct Postgres {
    server: PostgresServer,
    runtime: Runtime,
    options: PostgresOptions,
}

impl Postgres {
    /// Starts a server, with settings such as `fsync=off`, and a runtime for the engines that use it.
    pub fn new(settings: &[&str], options: PostgresOptions) -> Postgres {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        Postgres { server: PostgresServer::start(settings), runtime, options }
    }

    /// The same with a clock that can be set: what the server calls its clock from now on is a function of ours.
    pub fn with_clock(settings: &[&str], options: PostgresOptions) -> Postgres {
        let postgres = Postgres::new(&[settings, &["allow_system_table_mods=on"]].concat(), options);
        for statement in [
            "CREATE TABLE public.clock (ahead bigint NOT NULL)",
            "INSERT INTO public.clock VALUES (0)",
            "ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO true_clock",
            "CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
             'SELECT true_clock() + ahead * interval ''1 microsecond'' FROM public.clock'",
        ] {
            postgres.server.sql(statement);
        }
        postgres
    }

    /// The server.
    pub fn server(&self) -> &PostgresServer {
        &self.server
    }

    /// Opens `url` with these options.
    pub fn open_at(&self, url: &str, options: &PostgresOptions) -> Result<Arc<dyn Engine>, PostgresError> {
        let opened = self.runtime.block_on(postgres::Postgres::open(url, options))?;
        Ok(Arc::new(opened))
    }
}

impl Candidate for Postgres {
    fn open(&self) -> Arc<dyn Engine> {
        self.open_at(&self.server.url(), &self.options).expect("a store")
    }

    fn restart(&self) {
        self.server.restart();
    }
}

impl Settable for Postgres {
    fn set_clock(&self, nanos: i64) {
        self.server.sql(&format!("UPDATE public.clock SET ahead = ahead + {}", nanos / 1_000));
    }
}

/// A map in this process.
#[derive(Debug, Default)]
pub struct Memory(fencepost::engine::memory::Memory);

impl Candidate for Memory {
    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(self.0.share())
    }

    fn is_durable(&self) -> bool {
        false
    }
}
