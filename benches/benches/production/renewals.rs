//! What it takes to keep very many locks: all of them are renewed at once, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::driver::{Guard, Mutex, Store};
use fencepost::engine::Engine;
use fencepost::engine::memory::Memory;
use fencepost::mutex::MutexConfig;
use fencepost_benches::table::{grouped, median};
use fencepost_conformance::server::PostgresServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::HELD;
use crate::pairs::{open_postgres, open_sqlite};

const ROUNDS: usize = 5;

/// Waits for all of them.
async fn all<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut tasks: JoinSet<T> = tasks.collect();
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        done.push(ended.expect("no panic"));
    }
    done
}

async fn row(name: &str, engine: Arc<dyn Engine>) {
    let store = Store::start(engine).expect("it is in a runtime");
    let began = Instant::now();
    let mut guards: Vec<Guard> = all((0..HELD).map(|number| {
        let mutex = Mutex::new(&store, &format!("lock {number}"), MutexConfig::default());
        let mutex = mutex.expect("it is a key");
        async move { mutex.lock().await.expect("nobody else wants it") }
    }))
    .await;
    let taken = began.elapsed();
    let mut rounds: Vec<Duration> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let renewed = guards.into_iter().map(|guard| async move {
            guard.extend().await.expect("it is held");
            guard
        });
        guards = all(renewed).await;
        rounds.push(began.elapsed());
    }
    assert!(guards.iter().all(Guard::is_held));
    let per_second = |span: Duration| grouped(HELD as f64 / span.as_secs_f64());
    println!("| {name} | {} | {} |", per_second(taken), per_second(median(&mut rounds)));
    // Nobody needs them any more, so nobody waits until they are released.
    guards.into_iter().for_each(core::mem::forget);
}

/// Measures and prints it all.
pub(crate) fn measure(runtime: &Runtime, server: Option<&PostgresServer>) {
    println!("\n| engine, {HELD} locks of one store | taken per s | renewals per s |");
    println!("|---|---:|---:|");
    runtime.block_on(async {
        row("memory", Arc::new(Memory::new())).await;
        let folder = TempDir::new().expect("a temporary folder");
        row("SQLite", open_sqlite(&folder, "held")).await;
        if let Some(server) = server {
            row("PostgreSQL", open_postgres(server, "held").await).await;
        }
    });
}
