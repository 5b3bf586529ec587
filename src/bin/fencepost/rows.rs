//! What lies in a store, in words: one row for each thing that people know.

use std::io::Write as _;
use std::time::Duration;

use fencepost::driver::wire::{Payload, WireKey};
use fencepost::engine::survey::{Stored, Survey};
use fencepost::job::{Meta, Progress};
use fencepost::line::{self, Owner};
use fencepost::once::{self, JobKey, State, Task};
use fencepost::run::{self, Record};
use fencepost::time::StoreTime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::holder;
use crate::times::{told, written};

/// One thing, as people know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Its kind and its key.
    pub(crate) name: String,
    /// Which job of a scheduler it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<String>,
    /// How it stands.
    pub(crate) state: &'static str,
    /// Who holds it: as it said, or the number of its incarnation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// What its holder runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<String>,
    /// The fencing token of its holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<u64>,
    /// When it is due, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
    /// Until when it stands, unless it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    /// The record, as it is kept.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) record: Value,
    #[serde(skip)]
    expires: Option<StoreTime>,
}

impl Row {
    fn new(name: &str, state: &'static str) -> Row {
        let name = name.into();
        Row {
            name,
            job: None,
            state,
            by: None,
            runs: None,
            token: None,
            due: None,
            until: None,
            record: Value::Null,
            expires: None,
        }
    }

    /// A job that runs once.
    pub(crate) fn of_task<P: Serialize>(scheduler: &str, key: &str, task: &Task<P>) -> Row {
        let state = match task.state {
            State::Scheduled => "scheduled",
            State::Claimed { .. } => "running",
            State::Done { .. } => "done",
            State::Failed { .. } => "failed",
            State::Dead { .. } => "dead",
            State::Cancelled { .. } => "cancelled",
        };
        let record = serde_json::to_value(task).unwrap_or_default();
        let (job, due) = (Some(key.into()), Some(written(task.due)));
        Row { job, due, record, ..Row::new(&format!("once/{scheduler}"), state) }
    }

    /// Its name, and which job of it this is.
    pub(crate) fn full_name(&self) -> String {
        self.job.as_ref().map_or_else(|| self.name.clone(), |job| format!("{} {job}", self.name))
    }

    /// Whether it is a lock that somebody holds.
    pub(crate) fn is_held(&self) -> bool {
        self.token.is_some()
    }
}

/// Everything in a survey that people know something of. Of what they do not, it is said that it is kept.
pub(crate) fn read(survey: &Survey) -> Vec<Row> {
    let notes: Vec<_> =
        survey.entries.iter().filter(|stored| stored.space == holder::SPACE).cloned().collect();
    let others = survey.entries.iter().filter(|stored| stored.space != holder::SPACE);
    others.map(|stored| row(stored, &notes)).collect()
}

/// The same, each with what lies in the store.
pub(crate) fn with_entries(survey: &Survey) -> Vec<(Row, Stored)> {
    let others = survey.entries.iter().filter(|stored| stored.space != holder::SPACE);
    read(survey).into_iter().zip(others.cloned()).collect()
}

fn row(stored: &Stored, notes: &[Stored]) -> Row {
    let known = match stored.space.split_once('/') {
        Some(("mutex" | "writer", _)) => mutex(stored, notes),
        Some(("locker", _)) => locker(stored),
        Some(("job", _)) => job(stored, notes),
        Some(("flag", _)) => flag(stored),
        Some(("once", name)) => task(stored, notes, name),
        Some(_) | None => None,
    };
    let mut row = known.unwrap_or_else(|| Row::new(&stored.space, "kept"));
    row.record = serde_json::from_str(&stored.entry.record).unwrap_or_else(|_| (*stored.entry.record).into());
    row.expires = stored.until;
    row.until = stored.until.map(written);
    row
}

fn record<R: DeserializeOwned>(stored: &Stored) -> Option<R> {
    serde_json::from_str(&stored.entry.record).ok()
}

fn incarnation(owner: Owner) -> Option<String> {
    Some(format!("{:016x}", owner.identity.0))
}

/// A lock, or a place in its queue.
fn lock(stored: &Stored, notes: &[Stored], key: line::Key, owner: Owner) -> Row {
    let name = &stored.space;
    match key {
        line::Key::Lock => {
            let token = stored.entry.revision.0;
            let holder = holder::read(notes, name, token);
            let by = holder.as_ref().map(|holder| holder.who.clone()).or_else(|| incarnation(owner));
            let runs = holder.map(|holder| holder.runs).filter(|runs| !runs.is_empty());
            Row { by, runs, token: Some(token), ..Row::new(name, "held") }
        }
        line::Key::Place(place) => Row { by: incarnation(place.owner), ..Row::new(name, "waiting") },
    }
}

fn mutex(stored: &Stored, notes: &[Stored]) -> Option<Row> {
    Some(lock(stored, notes, line::Key::read(&stored.key)?, record(stored)?))
}

fn job(stored: &Stored, notes: &[Stored]) -> Option<Row> {
    match (run::Key::read(&stored.key)?, record::<Record<Meta>>(stored)?) {
        (run::Key::Lock(key), Record::Lock(owner)) => Some(lock(stored, notes, key, owner)),
        (run::Key::Work, Record::Work(meta)) => Some(Row {
            due: Some(written(meta.occurrence)),
            ..Row::new(&stored.space, progress(meta.progress))
        }),
        (run::Key::Lock(_), Record::Work(_)) | (run::Key::Work, Record::Lock(_)) => None,
    }
}

fn flag(stored: &Stored) -> Option<Row> {
    let leader: fencepost::flag::Record = record(stored)?;
    let (by, token) = (Some(leader.process.to_string()), Some(stored.entry.revision.0));
    Some(Row { by, token, ..Row::new(&stored.space, "led") })
}

fn locker(stored: &Stored) -> Option<Row> {
    use fencepost::locker::Record;
    let (name, token) = (&stored.space, Some(stored.entry.revision.0));
    Some(match record(stored)? {
        Record::Held { owner, .. } => Row { by: incarnation(owner), token, ..Row::new(name, "held") },
        Record::Revoked(owner) => Row { by: incarnation(owner), ..Row::new(name, "revoked") },
        Record::Contender(contender) => Row { by: incarnation(contender.owner), ..Row::new(name, "waiting") },
    })
}

fn progress(progress: Progress) -> &'static str {
    use fencepost::job::Outcome;
    match progress {
        Progress::Anchored => "new",
        Progress::Running => "running",
        Progress::Ended { outcome: Outcome::Succeeded, .. } => "succeeded",
        Progress::Ended { outcome: Outcome::Failed, .. } => "failed",
        Progress::Ended { outcome: Outcome::Interrupted, .. } => "interrupted",
    }
}

fn task(stored: &Stored, notes: &[Stored], name: &str) -> Option<Row> {
    match (once::Key::<JobKey>::read(&stored.key)?, record::<Record<Task<Payload>>>(stored)?) {
        (once::Key::Lock(job, key), Record::Lock(owner)) => {
            Some(Row { job: Some(job.as_str().into()), ..lock(stored, notes, key, owner) })
        }
        (once::Key::Job(job), Record::Work(task)) => Some(Row::of_task(name, job.as_str(), &task)),
        (once::Key::Lock(..) | once::Key::Jobs | once::Key::Job(_), _) => None,
    }
}

/// Prints rows: a table, or one object.
pub(crate) fn print(rows: &[Row], json: bool, at: Option<StoreTime>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        let mut object = json!({ "entries": rows });
        if let Some(at) = at {
            object["at"] = written(at).into();
        }
        return Ok(writeln!(out, "{object}")?);
    }
    let lines: Vec<_> = rows.iter().map(|row| cells(row, at)).collect();
    let heads = ["NAME", "STATE", "DUE", "BY", "TOKEN", "FOR"].map(String::from);
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let lengths = lines.iter().map(|line| line[column].chars().count());
        lengths.max().map_or(0, |longest| if longest == 0 { 0 } else { longest.max(heads[column].len()) })
    });
    if rows.is_empty() {
        return Ok(());
    }
    for line in std::iter::once(&heads).chain(&lines) {
        let shown = line.iter().zip(widths).filter(|(_, width)| *width > 0);
        let padded: Vec<_> = shown.map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

fn cells(row: &Row, at: Option<StoreTime>) -> [String; 6] {
    let name = row.full_name();
    let left = row.expires.zip(at).map(|(expires, at)| told(Duration::from(expires.since(at))));
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    // Keys and names are others' words: a terminal is not to obey them.
    [
        name,
        row.state.into(),
        shown(&row.due),
        shown(&row.by),
        row.token.map(|token| token.to_string()).unwrap_or_default(),
        left.unwrap_or_default(),
    ]
    .map(|text| printable(&text))
}

/// A text without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}
