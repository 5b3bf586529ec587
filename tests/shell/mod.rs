//! The command `fencepost` as a shell sees it: processes on a store, and what they say.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "these tests run processes and wait for them"
)]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long any condition may take on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to pass that {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A host, and the address of the store that its processes share.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    store: String,
}

/// A process that runs, and is killed with the test.
pub(crate) struct Running {
    pub(crate) process: Child,
    out: Option<BufReader<ChildStdout>>,
}

impl Host {
    /// One with a store in a file.
    pub(crate) fn new() -> Host {
        let mut host = Host::with(String::new());
        host.store = format!("sqlite:{}?synchronous=normal", host.path("locks.db").display());
        host
    }

    /// One that uses the store at this address.
    pub(crate) fn with(store: String) -> Host {
        Host { folder: tempfile::tempdir().unwrap(), store }
    }

    /// The address of its store.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
        command.args(args).env("FENCEPOST_STORE", &self.store).env("LOG", self.path("log"));
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn status(&self, args: &[&str]) -> Option<i32> {
        self.run(args).status.code()
    }

    /// Starts it; its standard input stays open until it is [ended](Running::end).
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = process.stdout.take().map(BufReader::new);
        Running { process, out }
    }

    /// Somebody who holds this lock until its standard input ends.
    pub(crate) fn holder(&self, args: &[&str]) -> Running {
        let mut holder = self.start(&[&["lock"], args, &["--", "sh", "-c", "echo held; exec cat"]].concat());
        assert_eq!(holder.line(), "held");
        holder
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// How many rows of this state `fencepost ls` shows.
    pub(crate) fn count(&self, state: &str) -> usize {
        let object = self.json(&["ls"]);
        object["entries"].as_array().unwrap().iter().filter(|row| row["state"] == state).count()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        fs::read_to_string(self.path("log")).unwrap_or_default().lines().map(String::from).collect()
    }
}

impl Running {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    pub(crate) fn signal(&self, name: &str) {
        let (flag, pid) = (format!("-{name}"), self.process.id().to_string());
        assert!(Command::new("kill").args([flag, pid]).status().unwrap().success());
    }

    /// Closes its standard input.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        drop(self.process.stdin.take());
        self.ended()
    }

    /// Waits for its end, and that of all who write to its standard output.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        until("the process ends", || self.process.try_wait().unwrap().is_some());
        let (rest, is_read) = mpsc::channel();
        let mut out = self.out.take().unwrap();
        thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            rest.send(text).unwrap();
        });
        let text = is_read.recv_timeout(SOON).expect("all who write to its standard output end");
        (self.process.wait().unwrap().code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().into()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().into()
}
