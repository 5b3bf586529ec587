//! `fencepost ls` and `fencepost show`: what lies in a store.

use std::io::Write as _;
use std::time::Duration;

use fencepost::engine::Engine;
use fencepost::engine::survey::{Stored, Survey};
use serde_json::json;

use crate::args::{LsArgs, ShowArgs};
use crate::failure::Failure;
use crate::rows::{self, Row, printable};
use crate::session;
use crate::times::{told, written};

/// What a key may be the key of.
const KINDS: [&str; 6] = ["mutex", "flag", "job", "once", "locker", "writer"];

/// Everything that lies in a store: rows need the notes of holders, too.
pub(crate) async fn survey(engine: &dyn Engine) -> Result<Survey, Failure> {
    Ok(engine.survey("").await?)
}

/// Those that `key` names: in full, as `ls` shows them, or without their kind. What begins with a kind is a full name, lest it names
/// somebody else's whenever its own is not there.
pub(crate) fn named(key: &str, mut rows: Vec<(Row, Stored)>) -> Vec<(Row, Stored)> {
    let rest = |name: &str| {
        name.split_once('/').filter(|(kind, _)| KINDS.contains(kind)).map(|(_, rest)| String::from(rest))
    };
    let is_full = rest(key).is_some();
    rows.retain(|(row, _)| {
        row.name == key || row.full_name() == key || (!is_full && rest(&row.name).as_deref() == Some(key))
    });
    rows
}

pub(crate) async fn list(args: &LsArgs) -> Result<u8, Failure> {
    let engine = session::look(&args.common.store).await?;
    let survey = survey(&*engine).await?;
    engine.close().await;
    let mut rows = rows::read(&survey);
    rows.retain(|row| row.name.starts_with(&args.prefix));
    rows::print(&rows, args.common.json, Some(survey.at))?;
    Ok(0)
}

pub(crate) async fn show(args: &ShowArgs) -> Result<u8, Failure> {
    let engine = session::look(&args.common.store).await?;
    let survey = survey(&*engine).await?;
    engine.close().await;
    let (key, limits) = (&args.key, engine.limits());
    let found = named(key, rows::with_entries(&survey));
    if found.is_empty() {
        return Err(Failure::Missing(format!(
            "nothing is kept of {key:?}; accepted: a key, or a full name as `fencepost ls` shows it"
        )));
    }
    let mut out = std::io::stdout().lock();
    if args.common.json {
        let entries: Vec<_> = found.iter().map(|(row, stored)| object(row, stored)).collect();
        let object = json!({ "at": written(survey.at), "durable": limits.durable, "entries": entries });
        writeln!(out, "{object}")?;
    } else {
        for (at, (row, stored)) in found.iter().enumerate() {
            let gap = if at > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{}", text(row, stored, &survey))?;
        }
    }
    Ok(0)
}

fn object(row: &Row, stored: &Stored) -> serde_json::Value {
    let mut object = serde_json::to_value(row).unwrap_or_default();
    object["revision"] = stored.entry.revision.0.into();
    object
}

fn text(row: &Row, stored: &Stored, survey: &Survey) -> String {
    let left = stored
        .until
        .map(|until| format!("{} (in {})", written(until), told(Duration::from(until.since(survey.at)))));
    let lines = [
        ("name", Some(row.name.clone())),
        ("job", row.job.clone()),
        ("state", Some(row.state.into())),
        ("by", row.by.clone()),
        ("runs", row.runs.clone()),
        ("token", row.token.map(|token| token.to_string())),
        ("due", row.due.clone()),
        ("until", Some(left.unwrap_or_else(|| "for ever".into()))),
        ("revision", Some(stored.entry.revision.0.to_string())),
        ("record", Some(stored.entry.record.to_string())),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let lines: Vec<_> = lines.map(|(name, value)| format!("{name:<9} {}", printable(&value))).collect();
    lines.join("\n")
}
