//! Where they contend: an empty store for each row, which they all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fencepost::engine::Engine;
use fencepost::engine::memory::Memory;
use fencepost::engine::postgres::{Postgres, PostgresOptions};
use fencepost::engine::sqlite::{Sqlite, SqliteOptions};
use fencepost_conformance::server::PostgresServer;
use tempfile::TempDir;

/// A kind of store.
#[derive(Debug)]
pub(crate) enum Arena<'a> {
    Memory,
    Sqlite,
    Postgres(&'a PostgresServer),
}

/// Handles of one store, and what goes with them.
#[derive(Debug)]
pub(crate) struct Engines {
    pub(crate) handles: Vec<Arc<dyn Engine>>,
    _folder: Option<TempDir>,
}

impl Arena<'_> {
    /// So many handles of one empty store, each as a process of its own would have one.
    pub(crate) async fn engines(&self, count: usize) -> Engines {
        match self {
            Arena::Memory => {
                let memory = Memory::new();
                let shares = (0..count).map(|_| Arc::new(memory.share()) as Arc<dyn Engine>);
                Engines { handles: shares.collect(), _folder: None }
            }
            Arena::Sqlite => {
                let folder = TempDir::new().expect("a temporary folder");
                let path = folder.path().join("store.db");
                let open = |_| -> Arc<dyn Engine> {
                    Arc::new(Sqlite::open(&path, &SqliteOptions::default()).expect("a store"))
                };
                Engines { handles: (0..count).map(open).collect(), _folder: Some(folder) }
            }
            Arena::Postgres(server) => Engines { handles: sessions(server, count).await, _folder: None },
        }
    }
}

/// One connection for requests and one that listens, each.
async fn sessions(server: &PostgresServer, count: usize) -> Vec<Arc<dyn Engine>> {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    let mut options = PostgresOptions::default();
    options.schema = format!("row{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
    options.connections = 1;
    let mut handles: Vec<Arc<dyn Engine>> = Vec::with_capacity(count);
    for _ in 0..count {
        handles.push(Arc::new(Postgres::open(&server.url(), &options).await.expect("a store")));
    }
    handles
}
