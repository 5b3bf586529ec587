//! The command `fencepost`: locks, leadership and jobs for people at a shell and in cron tabs.
//!
//! There is no algorithm here. The command opens a store, asks the handles of [`fencepost::driver`], and looks after the
//! process that it runs meanwhile.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program lives where clocks and files are"
)]

mod args;
mod child;
mod elect;
mod every;
mod failure;
mod holder;
mod lock;
mod look;
mod once;
mod pages;
mod release;
mod rows;
mod session;
mod signals;
mod tenure;
mod times;
mod torture;
mod voice;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};
use failure::{Failure, USAGE};
use voice::Voice;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let voice = cli.verb.voice();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System);
    let ended = runtime.and_then(|runtime| runtime.block_on(carry_out(&cli.verb, voice)));
    let status = ended.unwrap_or_else(|failure| {
        voice.fail(&failure);
        failure.status()
    });
    ExitCode::from(status)
}

async fn carry_out(verb: &Verb, voice: Voice) -> Result<u8, Failure> {
    match verb {
        Verb::Lock(args) => lock::run(args, voice).await,
        Verb::Elect(args) => elect::run(args, voice).await,
        Verb::Every(args) => every::run(args, voice).await,
        Verb::Once(args) => once::run(&args.verb, voice).await,
        Verb::Ls(args) => look::list(args).await,
        Verb::Show(args) => look::show(args).await,
        Verb::Release(args) => release::run(args, voice).await,
        Verb::Torture(args) => Err(torture::run(args)),
        Verb::Man(args) => pages::man(args),
        Verb::Completions(args) => pages::completions(args),
    }
}

/// Help is printed whole; of what was wrong, one line says enough.
fn refuse(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            // Nobody is left to be told that the help could not be printed.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(USAGE)
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let line: Vec<_> = first.trim_start_matches("error: ").split_whitespace().collect();
            let line = line.join(" ").replace("--store <URL>", "--store <URL> (or FENCEPOST_STORE)");
            eprintln!("fencepost: {line}; see fencepost --help");
            ExitCode::from(USAGE)
        }
    }
}
