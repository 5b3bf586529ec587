//! Two writers, of which one is paused for longer than its lease lasts.
#![allow(clippy::disallowed_types, reason = "a test of processes starts some")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use fenced_resource::{Page, WriteError};
use fencepost::store::FencingToken;

struct Writer {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Writer {
    fn start(folder: &Path) -> Writer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fenced-resource"));
        command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Writer { process, out }
    }

    /// Waits until it holds the lock.
    fn token(&mut self) -> u64 {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().strip_prefix("holding, token ").unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let (flag, pid) = (format!("-{name}"), self.process.id().to_string());
        assert!(Command::new("kill").args([flag, pid]).status().unwrap().success());
    }

    /// Lets it write, and returns what it says: of its belief, and of what went wrong.
    fn write(mut self, text: &str) -> (String, String) {
        writeln!(self.process.stdin.take().unwrap(), "{text}").unwrap();
        let (mut said, mut wrong) = (String::new(), String::new());
        self.out.read_to_string(&mut said).unwrap();
        self.process.stderr.take().unwrap().read_to_string(&mut wrong).unwrap();
        (said.trim_end().into(), wrong)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_holder_that_was_paused_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut alice = Writer::start(folder.path());
    let old = alice.token();
    alice.signal("STOP");
    let mut bob = Writer::start(folder.path());
    let new = bob.token();
    assert!(new > old, "he has entered when her lease had ended");
    assert_eq!(bob.write("bob was here"), ("held: true".into(), String::new()));
    alice.signal("CONT");
    let (said, wrong) = alice.write("alice was here");
    assert_eq!(said, "held: false", "she knows by her own clock, if she looks");
    assert!(
        wrong.contains(&format!("Stale {{ shown: FencingToken({old}), highest: FencingToken({new}) }}")),
        "{wrong}"
    );
    let page = Page::open(&folder.path().join("page.db")).unwrap();
    assert_eq!(page.read().unwrap().as_deref(), Some("bob was here"));
}

#[test]
fn the_page_takes_equal_and_higher_tokens_only() {
    let folder = tempfile::tempdir().unwrap();
    let page = Page::open(&folder.path().join("page.db")).unwrap();
    assert_eq!(page.read().unwrap(), None);
    for token in [7, 7, 9] {
        page.write(FencingToken(token), &token.to_string()).unwrap();
    }
    let refused = page.write(FencingToken(8), "8").unwrap_err();
    assert!(matches!(refused, WriteError::Stale { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), "refused: token 8 comes too late, as 9 was here");
    assert_eq!(page.read().unwrap().as_deref(), Some("9"));
}
