//! Three processes on one file, of which one is killed.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of processes starts some, and has a deadline"
)]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How long any line may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

struct Member(Child);

impl Member {
    fn start(store: &str) -> Member {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cron-fleet"));
        command.args([store, "* * * * * *", "Asia/Kathmandu"]).stdout(Stdio::piped());
        Member(command.spawn().unwrap())
    }

    fn interrupt(&mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success(), "it has closed all");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What all of them write, line by line.
fn lines(fleet: &mut [Member]) -> Receiver<String> {
    let (sender, lines) = channel();
    for member in fleet {
        let (out, sender) = (member.0.stdout.take().unwrap(), sender.clone());
        thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    lines
}

#[test]
fn each_occurrence_is_run_once_by_whoever_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}?synchronous=normal", folder.path().join("fleet.db").display());
    let mut fleet = [(); 3].map(|()| Member::start(&store));
    let lines = lines(&mut fleet);
    let mut log: Vec<_> = (0..2).map(|_| lines.recv_timeout(SOON).unwrap()).collect();
    fleet[0].0.kill().unwrap();
    log.extend((0..2).map(|_| lines.recv_timeout(SOON).unwrap()));
    fleet[1..].iter_mut().for_each(Member::interrupt);
    log.extend(lines.try_iter());
    // The lines of two processes may come in another order than they were written.
    let mut runs: Vec<(u64, &str)> = log
        .iter()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(token, due)| (token.parse().unwrap(), due))
        .collect();
    runs.sort_unstable();
    assert!(
        runs.is_sorted_by(|(_, one), (_, next)| one < next),
        "once each, under tokens that grow: {runs:?}"
    );
    assert!(runs.iter().all(|(_, due)| due.ends_with("+05:45")), "in the time of the zone: {runs:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cron-fleet")).args(args).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[]).contains("usage: cron-fleet"));
    assert!(refused(&["memory:", "61 * * * *", "UTC"]).contains("61"));
    assert!(refused(&["memory:", "* * * * *", "Mars/Olympus"]).contains("Mars/Olympus"));
}
