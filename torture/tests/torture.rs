//! Torture, as `fencepost torture` does it, for a few rounds: ours stands it, and what is left out on purpose is missed.
//!
//! What a round comes to depends on the machine, so nothing here asks how long anything takes, or how often anything
//! happens. What is planted is looked for in several rounds: one is enough.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fencepost_models::property::{PropertySet, Violation};
use fencepost_models::recorded::{Jobs, Kind, Locks, Recorded};
use fencepost_models::trace::{self, Trace};
use fencepost_models::world::World;
use serde_json::Value;

/// How long any condition may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(120);

fn torture(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost-torture"));
    command.args(args).args(["--json", "--out", "out"]).current_dir(folder);
    command
}

/// Runs it, and reads its one object.
fn run(args: &[&str]) -> (tempfile::TempDir, Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let output = torture(folder.path(), args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let object = serde_json::from_str(&told)
        .unwrap_or_else(|error| panic!("{error}: {told}{}", String::from_utf8_lossy(&output.stderr)));
    (folder, output, object)
}

fn stands(args: &[&str], faults: &[&str]) {
    let (_folder, output, told) = run(args);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(told["violations"], serde_json::json!({}), "{told}");
    for counted in ["grants", "writes", "jobs", "runs"] {
        assert!(told["counts"][counted].as_u64().is_some_and(|count| count > 0), "no {counted}: {told}");
    }
    for fault in faults {
        assert!(told["faults"][fault].as_u64().is_some_and(|count| count > 0), "no {fault}: {told}");
    }
}

#[test]
fn processes_on_sqlite_are_stopped_and_killed_and_break_nothing() {
    stands(&["--seed", "1", "--rounds", "2", "--storm", "8s"], &["stop", "kill"]);
}

#[test]
fn processes_on_postgres_are_stopped_killed_and_cut_off_with_their_server_and_break_nothing() {
    let faults = ["stop", "kill", "cut", "drop", "stall", "delay", "server-stop", "server-kill"];
    stands(&["--private-postgres", "--seed", "1", "--rounds", "2", "--storm", "12s"], &faults);
}

/// Whatever is left out is missed within some rounds, each of another seed, and what a round broke is written as a trace
/// that replays to the same.
fn is_missed(without: &str, faults: &str, property: &str) {
    for seed in ["10", "20", "30", "40", "50", "60"] {
        let args =
            ["--without", without, "--faults", faults, "--seed", seed, "--rounds", "1", "--storm", "8s"];
        let (folder, output, told) = run(&args);
        if told["violations"][property].is_null() {
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{told}");
        return replays(folder.path(), &told, property);
    }
    panic!("nobody misses {without}");
}

fn replays(folder: &Path, told: &Value, property: &str) {
    let files = told["traces"].as_array().unwrap();
    let traces = files.iter().map(|file| {
        let text = fs::read_to_string(folder.join(file.as_str().unwrap())).unwrap();
        Trace::parse(&text).unwrap()
    });
    let breaks = |trace: &Trace| trace.ending.violations.iter().any(|one| one.property.name() == property);
    let trace = traces.into_iter().find(breaks).expect("a trace of what was broken");
    match trace.header.algorithm.as_str() {
        "recorded/locks" => assert_eq!(applied_again::<Locks>(&trace), trace.ending.violations),
        "recorded/jobs" => assert_eq!(applied_again::<Jobs>(&trace), trace.ending.violations),
        other => panic!("nobody replays {other}"),
    }
}

/// What a trace breaks when it is applied once more, strictly.
fn applied_again<K: Kind>(trace: &Trace) -> Vec<Violation> {
    let judged = trace.header.judged.as_deref().unwrap_or(K::PROMISES);
    let mut world = World::<Recorded<K>>::new(&trace.setup().unwrap(), PropertySet::of(judged));
    assert_eq!(trace::replay(&mut world, &trace.steps, |_, _, _| {}), Ok(()));
    assert_eq!(trace::compare(&world, &trace.ending), None);
    world.verdict().violations().to_vec()
}

#[test]
fn a_resource_that_takes_every_token_is_found() {
    is_missed("fencing", "stop", "fenced-exclusion");
}

#[test]
fn a_holder_that_does_not_look_whether_it_holds_is_found() {
    is_missed("is-held", "stop", "believed-exclusion");
}

#[test]
fn a_job_that_is_begun_again_though_it_was_claimed_is_found() {
    is_missed("occurrence-claim", "kill", "once-per-occurrence");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for (args, said) in [
        (&["--faults", "cut"][..], "no connection or server that could suffer cut; accepted: stop, kill"),
        (&["--store", "memory:"], "accepted: sqlite:PATH"),
        (&["--store", "postgres://a,b/c"], "with one host"),
        (&["--for", "soon"], "such as 15s, 10m or 1h"),
    ] {
        let output = torture(folder.path(), args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {told}");
        assert!(told.contains(said), "{args:?}: {told}");
    }
    assert!(!folder.path().join("out").exists(), "and nothing is written");
}

/// The processes whose environment says that they work on this store.
fn workers_on(store: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of = |process: fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(process.path().join("environ")).ok()?;
        String::from_utf8_lossy(&environment).contains(store).then_some(pid)
    };
    processes.filter_map(of).collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to pass that {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// However the tormentor ends, its workers end: also those that stand still.
#[test]
fn no_worker_outlives_its_tormentor() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, status) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("locks.db").display());
        let args = ["--store", &store, "--faults", "stop", "--storm", "600s"];
        let mut running = torture(folder.path(), &args).stdout(Stdio::null()).spawn().unwrap();
        until("there are workers", || workers_on(&format!("FENCEPOST_STORE={store}")).len() == 4);
        let stands_still = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        let workers = || workers_on(&format!("FENCEPOST_STORE={store}"));
        until("one of them stands still", || workers().into_iter().any(stands_still));
        kill_process(Pid::from_child(&running), signal).unwrap();
        let ended = running.wait().unwrap();
        assert_eq!(ended.code(), status, "{signal:?}");
        until("no worker is left", || workers().is_empty());
    }
}
