//! How one lock is shared out among many who all want it, all the time.
//!
//! ```text
//! cargo bench --bench contention -- --engine sqlite --contenders 2,8 --seconds 3
//! cargo bench --bench contention -- --json
//! ```
//!
//! A contender is a mutex on a store of its own: connections of its own to a server, threads and file handles of its own to
//! a file, an ear of its own in memory. All of them are in one process, on a runtime of two threads. Each takes the lock, lets
//! others run once, releases it, and wants it again at once. A hand-off is from the moment at which a holder begins to release
//! the lock to the one at which the task of *another* contender has it.

mod arena;
mod crowd;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use fencepost::mutex::Fairness;
use fencepost_benches::table::grouped;
use fencepost_benches::watched::Hints;
use fencepost_conformance::server::PostgresServer;
use serde::Serialize;
use tokio::runtime::Builder;

use crate::arena::Arena;
use crate::crowd::{Crowd, Outcome};

/// Which store they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Engine {
    Memory,
    Sqlite,
    Postgres,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Memory => "memory",
            Engine::Sqlite => "SQLite",
            Engine::Postgres => "PostgreSQL",
        }
    }
}

/// Measures contention, and prints a table of it.
#[derive(Debug, Parser)]
struct Options {
    /// Which stores.
    #[arg(long = "engine", value_enum, value_delimiter = ',', default_values = ["memory", "sqlite", "postgres"])]
    engines: Vec<Engine>,
    /// How many contend.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 8, 32, 128])]
    contenders: Vec<usize>,
    /// For how long each row is measured; ten times as long at most, if some have hardly had the lock by then.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// As cargo calls every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row of the table.
#[derive(Debug, Serialize)]
struct Row {
    engine: Engine,
    contenders: usize,
    fairness: Fairness,
    /// Whether releases are heard of; if not, waiters look every 100 ms.
    hints: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

const HEADING: &str = "\
| engine | contenders | order | learns by | acquisitions per s | hand-offs | p50, ms | p99, ms | requests per acquisition | Jain index |
|---|---:|---|---|---:|---:|---:|---:|---:|---:|";

impl Row {
    fn print(&self) {
        let Outcome { per_second, hand_offs, p50_ms, p99_ms, requests, jain } = &self.outcome;
        let order = match self.fairness {
            Fairness::Unordered => "unordered",
            Fairness::Fifo => "fifo",
        };
        let learns = if self.hints { "hints" } else { "polling" };
        let known = |number: &Option<f64>| number.map_or("–".into(), |number| format!("{number:.3}"));
        println!(
            "| {} | {} | {order} | {learns} | {} | {hand_offs} | {} | {} | {requests:.1} | {} |",
            self.engine.name(),
            self.contenders,
            grouped(*per_second),
            known(p50_ms),
            known(p99_ms),
            known(jain),
        );
    }
}

fn rows(options: &Options, engine: Engine, arena: &Arena<'_>, mut done: impl FnMut(Row)) {
    for &contenders in &options.contenders {
        for fairness in [Fairness::Unordered, Fairness::Fifo] {
            for hints in [Hints::Heard, Hints::Cut] {
                let crowd = Crowd { contenders, fairness, hints };
                // Nothing of one row is left in the next one.
                let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
                let runtime = runtime.expect("a runtime");
                let outcome = runtime.block_on(async {
                    let engines = arena.engines(contenders).await;
                    crowd.contend(engines, Duration::from_secs_f64(options.seconds)).await
                });
                runtime.shutdown_background();
                done(Row { engine, contenders, fairness, hints: hints == Hints::Heard, outcome });
            }
        }
    }
}

fn main() {
    let options = Options::parse();
    if !options.bench {
        return println!("it is measured by cargo bench");
    }
    if !options.json {
        println!("{HEADING}");
    }
    let mut all = Vec::new();
    for &engine in &options.engines {
        let server = match engine {
            Engine::Postgres if !PostgresServer::is_installed() => {
                eprintln!("PostgreSQL is left out: its programs are not installed");
                continue;
            }
            Engine::Postgres => Some(PostgresServer::start(&["max_connections=400"])),
            Engine::Memory | Engine::Sqlite => None,
        };
        let arena = match (engine, &server) {
            (Engine::Postgres, Some(server)) => Arena::Postgres(server),
            (Engine::Sqlite, _) => Arena::Sqlite,
            (Engine::Memory | Engine::Postgres, _) => Arena::Memory,
        };
        rows(&options, engine, &arena, |row| if options.json { all.push(row) } else { row.print() });
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&all).expect("numbers and names"));
    }
}
