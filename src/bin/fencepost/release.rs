//! `fencepost release --force`: a lock is taken away from whoever holds it.

use std::io::{self, BufRead as _, IsTerminal, Write as _};
use std::time::Duration;

use fencepost::engine::survey::{Stored, Survey};
use fencepost::engine::{Engine, EngineOp};
use fencepost::store::Answer;
use serde_json::json;

use crate::args::ReleaseArgs;
use crate::failure::Failure;
use crate::holder;
use crate::look::{named, survey};
use crate::rows::{self, Row, printable};
use crate::session;
use crate::times::{told, written};
use crate::voice::Voice;

pub(crate) async fn run(args: &ReleaseArgs, voice: Voice) -> Result<u8, Failure> {
    let engine = session::look(&args.common.store).await?;
    let released = release(args, &*engine, voice).await;
    engine.close().await;
    released
}

async fn release(args: &ReleaseArgs, engine: &dyn Engine, voice: Voice) -> Result<u8, Failure> {
    let survey = survey(engine).await?;
    let (row, stored) = held(&args.key, &survey)?;
    let by = printable(row.by.as_deref().unwrap_or("somebody"));
    let name = printable(&row.name);
    if !args.yes && !is_meant(&row, &by, &stored, &survey)? {
        return Err(Failure::Changed(format!("{name} was not released: nobody said yes")));
    }
    let delete = EngineOp::DeleteIf { key: stored.key.clone(), revision: stored.entry.revision };
    match holder::ask(engine, &stored.space, delete).await {
        Answer::Applied(_) => {
            let who = args.who.clone().unwrap_or_else(holder::identity);
            let text =
                format!("{name} was released by {who}; {by} held it under token {}", stored.entry.revision.0);
            let about = json!({
                "key": row.name, "by": who, "held_by": row.by, "token": stored.entry.revision.0,
                "at": written(survey.at),
            });
            voice.warn("released", &text, about);
            Ok(0)
        }
        Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_) => Err(Failure::Changed(format!(
            "{name} was not released: {by} does not hold it any more; look again with `fencepost show {name}`"
        ))),
        Answer::Unknown => Err(Failure::Unanswered { lock: name }),
    }
}

/// The only lock of this name that somebody holds.
fn held(key: &str, survey: &Survey) -> Result<(Row, Stored), Failure> {
    let held = rows::with_entries(survey).into_iter().filter(|(row, _)| row.is_held()).collect();
    let mut held = named(key, held).into_iter();
    match (held.next(), held.next()) {
        (Some(held), None) => Ok(held),
        (None, _) => {
            Err(Failure::Missing(format!("nobody holds {key:?}; `fencepost ls` shows what is held")))
        }
        (Some((row, _)), Some((other, _))) => Err(Failure::Usage(format!(
            "{key:?} names several locks, such as {} and {}; accepted: the full name of one",
            row.full_name(),
            other.full_name()
        ))),
    }
}

/// Asks whether this is meant.
fn is_meant(row: &Row, by: &str, stored: &Stored, survey: &Survey) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "standard input is no terminal, so nobody can be asked; accepted: --yes".into(),
        ));
    }
    let left =
        stored.until.map_or_else(|| "for ever".into(), |until| told(Duration::from(until.since(survey.at))));
    eprintln!(
        "{} is held by {by}, for another {left} unless it renews it.\nReleased, it is free at once, and {by} goes on \
         until its next renewal tells it: two may work at a time.",
        printable(&row.name)
    );
    eprint!("Release it? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
