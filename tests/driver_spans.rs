//! What a callback logs says to which run it belongs, however it is run and whatever it waits for.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod rig;

use std::io;
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, Once, OnceRun, Store, WorkRun, Worked, WriterLease, blocking};
use fencepost::job::JobConfig;
use fencepost::once::{Delivery, OnceConfig, RunAt};
use fencepost::time::Span;
use fencepost::writer::{Unit, WorkId, WorkResult, WriterConfig};
use rig::*;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Lock<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines of this test. Tokens differ from run to run.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let mut lines = Vec::new();
        for line in text.lines().filter(|line| line.contains("test: ")) {
            lines.push(match line.split_once("token=") {
                Some((before, after)) => {
                    format!(
                        "{before}token=T{}",
                        after.trim_start_matches(|digit: char| digit.is_ascii_digit())
                    )
                }
                None => line.into(),
            });
        }
        lines
    }
}

fn say(what: &str) {
    tracing::info!(target: "test", "{what}");
}

fn every_hour() -> JobConfig {
    JobConfig::new(Schedule::every(Duration::from_secs(3_600)).unwrap())
}

#[test]
fn whatever_a_callback_logs_stands_in_the_span_of_its_run() {
    let log = Log::default();
    let to = log.clone();
    let format = tracing_subscriber::fmt().with_ansi(false).with_level(false).without_time();
    // For all threads: those of the runtime's pool, too.
    format.with_writer(move || to.clone()).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let store = Store::memory();
        let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let to_job = sender.clone();
        let job = Job::schedule(&store, "j", every_hour(), move |_| {
            say("made");
            let sender = to_job.clone();
            async move {
                tokio::task::yield_now().await;
                say("after it has waited");
                sender.send(())
            }
        });
        soon(ended.recv()).await.unwrap();
        soon(job.unwrap().close()).await;
        let once = Once::<u32>::new(&store, "o", OnceConfig::new(Delivery::AtMostOnce)).unwrap();
        once.start(move |_: OnceRun<u32>| {
            let sender = sender.clone();
            async move {
                say("once");
                sender.send(())
            }
        })
        .unwrap();
        once.schedule("k", RunAt::In(Span::ZERO), &7).await.unwrap();
        soon(ended.recv()).await.unwrap();
        let writer = WriterLease::start(&store, "w", WriterConfig::default()).unwrap();
        let work = |_: WorkRun<u8>| async {
            say("work");
            Worked::done(WorkResult::Extend)
        };
        soon(writer.attempt(1, Unit::new(WorkId(1)), work).settled()).await;
        soon(store.close(SOON)).await.unwrap();
    });
    let store = blocking::Store::memory().unwrap();
    let (sender, ended) = std::sync::mpsc::channel();
    let job = blocking::Job::schedule(&store, "b", every_hour(), move |_| {
        say("on a thread of the pool");
        sender.send(()).unwrap();
    });
    ended.recv_timeout(SOON).unwrap();
    job.unwrap().close();
    say("elsewhere");
    let expected = [
        r#"run{space="job/j" token=T}: test: made"#,
        r#"run{space="job/j" token=T}: test: after it has waited"#,
        r#"run{space="once/o" token=T key="k" attempt=1}: test: once"#,
        r#"run{space="writer/w"}: test: work"#,
        r#"run{space="job/b" token=T}: test: on a thread of the pool"#,
        "test: elsewhere",
    ];
    assert_eq!(log.lines(), expected);
}

/// Level, text and fields of each event that stands in these lines.
fn events(source: &str) -> Vec<(String, String, Vec<String>)> {
    let mut events = Vec::new();
    for call in source.split("tracing::").skip(1) {
        let Some((level, rest)) = call.split_once("!(") else { continue };
        if !["trace", "debug", "info", "warn", "error"].contains(&level) {
            continue;
        }
        // The text is all that is quoted, but for the target; before it come the fields.
        let rest = rest.replacen("target: \"fencepost\",", "", 1);
        let mut quoted = rest.split('"');
        let (args, text) = (quoted.next().unwrap(), quoted.next().unwrap());
        let args = args.split(',').map(str::trim);
        let args = args.filter(|arg| !arg.is_empty() && !arg.starts_with("parent:"));
        let name =
            |arg: &str| arg.split('=').next().unwrap().trim().trim_start_matches(['%', '?']).to_owned();
        events.push((text.into(), level.into(), args.map(name).collect()));
    }
    events
}

#[test]
fn every_event_stands_in_the_table_with_its_fields_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut said = std::collections::BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                said.extend(events(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let docs = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let rows = docs.lines().skip_while(|line| !line.starts_with("| event | level"));
    let rows = rows.take_while(|line| !line.starts_with("## "));
    let documented: std::collections::BTreeSet<_> = rows
        .filter_map(|row| {
            let cells: Vec<_> = row.strip_prefix("| `")?.split(" | ").collect();
            let fields = cells[2].split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
            Some((cells[0].trim_end_matches('`').to_owned(), cells[1].to_owned(), fields))
        })
        .collect();
    assert_eq!(said, documented);
}
