//! The command `fencepost-torture`, which `fencepost torture` runs: real processes on a real store, stopped, killed and cut
//! off, and judged by the properties of the models.

mod args;
mod figures;
mod fleet;
mod ground;
mod history;
mod journal;
mod plan;
mod proxy;
mod round;
mod torture;
mod words;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told that the help could not be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { torture::USAGE } else { 0 });
        }
    };
    match cli.verb {
        Some(Verb::Worker { store }) => worker::run(&store),
        None => torture::run(&cli.torture),
    }
}
