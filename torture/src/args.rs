//! The command line. What stands here is what `--help` says.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::plan::Fault;
use crate::words::Without;

const AFTER: &str = "\
Examples:
  fencepost torture                                       one minute on a SQLite file of its own
  fencepost torture --private-postgres --for 10m          a server of its own, which is killed, too
  fencepost torture --store postgres://app@db/torture     a server of yours: only the workers' connections suffer
  fencepost torture --seed 7 --rounds 1 --faults stop     the plan of one round again

A round lasts as long as its storm, and until all is well again. In it, each worker takes one lock again and again, writes
under it to a resource that refuses old tokens, and runs jobs of two schedulers: at least once, and at most once. Whom the
storm hits, when, with what and for how long follows from the seed of the round, which is printed; half of the blows are aimed
at whoever holds the lock then. What it comes to does not follow: real processes run as fast as they do, so another run of a
seed meets them elsewhere.

What happened is judged by the properties of fencepost's laboratory: believed-exclusion, fenced-exclusion, loss-noticed,
no-orphan, progress, no-panic; of jobs once-per-occurrence, no-job-lost, not-early. A round that breaks one is written to a
file, which `fencelab replay FILE` draws.

Faults:
  stop         a worker stands still (SIGSTOP), for up to twice the lock's time to live
  kill         a worker is killed (SIGKILL), and started again
  cut          a worker's connections are cut                        (PostgreSQL)
  drop         the same, and new ones are refused for a while        (PostgreSQL)
  stall        what a worker sends and is sent waits for a while     (PostgreSQL)
  delay        what a worker sends and is sent takes longer          (PostgreSQL)
  server-stop  the server stands still for a while                   (--private-postgres)
  server-kill  the server is killed, and started again               (--private-postgres)

Exit status: 0 nothing violated, 1 something was, 64 usage, 69 no store, 70 the recording itself is wrong, 71 the operating
system refuses, 130 interrupted, and nothing was violated until then.";

/// Tortures fencepost with real processes that are stopped, killed and cut off from their store, and judges what they did.
#[derive(Parser)]
#[command(name = "fencepost torture", version, after_help = AFTER, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) torture: TortureArgs,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// One of those that are tortured: started by the torture itself.
    #[command(hide = true)]
    Worker {
        #[arg(long, env = "FENCEPOST_STORE", hide_env_values = true)]
        store: String,
    },
}

#[derive(Args)]
pub(crate) struct TortureArgs {
    /// The store: sqlite:PATH or postgres://USER@HOST/DATABASE, made for this, as it is full of junk afterwards. A
    /// SQLite file in a temporary folder, if not said.
    #[arg(long, value_name = "URL", conflicts_with = "private_postgres")]
    pub(crate) store: Option<String>,
    /// Start a PostgreSQL server on a free port and in a temporary folder, and torture that, too.
    #[arg(long)]
    pub(crate) private_postgres: bool,
    /// For how long: the round that is running then is the last one.
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = length)]
    pub(crate) length: Duration,
    /// How many rounds, instead.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "length")]
    pub(crate) rounds: Option<u64>,
    /// How long the storm of a round lasts.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = length)]
    pub(crate) storm: Duration,
    /// How many processes.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=26))]
    pub(crate) workers: u8,
    /// The seed of the first round; each other round has the next number. Drawn, if not said.
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Which faults; all that the store allows, if not said.
    #[arg(long, value_enum, value_name = "FAULTS", value_delimiter = ',')]
    pub(crate) faults: Option<Vec<Fault>>,
    /// Where the traces of rounds that break something are written.
    #[arg(long, value_name = "FOLDER", default_value = "torture")]
    pub(crate) out: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave a protection out, to see that it is missed.
    #[arg(long, value_enum, hide = true)]
    pub(crate) without: Option<Without>,
}

fn length(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|length| Duration::try_from(length).ok());
    let accepted = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
    parsed
        .filter(|length| accepted.contains(length))
        .ok_or_else(|| "accepted: a length of time such as 15s, 10m or 1h, from 1s to a week".into())
}
