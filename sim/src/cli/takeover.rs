//! `takeover`: how long it takes until another one holds.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use fencepost::time::Span;
use serde_json::{Value, json};

use super::{Done, Lab, say};
use crate::report::thousands;
use crate::scheduler::{End, Takeovers};

#[derive(Args)]
pub(super) struct TakeoverArgs {
    /// The algorithm, as `list` shows it: one that says what its usual configuration is.
    algorithm: String,
    /// How many seeds, for each kind of end.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// How many instances take part.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    instances: u32,
}

impl Lab {
    pub(super) fn takeover(&self, args: &TakeoverArgs, as_json: bool) -> Done {
        let algorithm = self.algorithm(&args.algorithm)?;
        let name = &algorithm.card().name;
        let rows = algorithm.takeovers(args.instances, args.seeds).ok_or_else(|| {
            format!("{name} says nothing of its usual configuration: there is nothing to measure")
        })?;
        if as_json {
            let rows: Vec<_> = rows.iter().map(row_json).collect();
            say(&format!("{}\n", json!({ "algorithm": name, "seeds": args.seeds, "takeovers": rows })));
            return Ok(ExitCode::SUCCESS);
        }
        let (instances, seeds) = (args.instances, thousands(args.seeds));
        let mut text = format!(
            "takeover {name} · {instances} instances · usual configuration · messages take 1 to 50 ms · {seeds} seeds each\n\n  \
             after                        bound       p50       p99   longest   never\n"
        );
        rows.iter().for_each(|row| write_row(&mut text, row));
        say(&text);
        Ok(ExitCode::SUCCESS)
    }
}

fn write_row(text: &mut String, row: &Takeovers) {
    let how = match (row.end, row.hints) {
        (End::Release, false) => "release, hints lost",
        (End::Crash | End::Partition | End::Release, _) => row.end.name(),
    };
    let [bound, half, most, longest] =
        [row.bound, row.percentile(50), row.percentile(99), row.longest()].map(seconds);
    let never = thousands(row.never);
    let _ = writeln!(text, "  {how:<24} {bound:>9} {half:>9} {most:>9} {longest:>9} {never:>7}");
}

fn seconds(span: Option<Span>) -> String {
    span.map_or_else(|| "-".to_owned(), |span| format!("{:.3} s", span.as_secs_f64()))
}

fn row_json(row: &Takeovers) -> Value {
    json!({
        "end": row.end.name(), "hints": row.hints, "bound": row.bound, "p50": row.percentile(50),
        "p99": row.percentile(99), "longest": row.longest(), "never": row.never,
    })
}
