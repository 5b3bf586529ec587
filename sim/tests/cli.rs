//! The command line, driven from outside: exit statuses, one clear line for each mistake, JSON, traces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fencepost_models::property::PropertySet;
use serde_json::{Value, json};

const UPSTREAM: &str = "upstream/plugin-api-mutex";
const CLEAN: Option<i32> = Some(0);
const BROKEN: Option<i32> = Some(1);
const WRONG: Option<i32> = Some(2);

/// What a command came to.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}):\n{}", self.out))
    }
}

/// Runs fencelab in a folder.
fn fencelab(dir: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_fencelab"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("fencelab runs");
    let said = Said {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    };
    assert!(!said.err.contains("panicked"), "{arguments:?} panics:\n{}", said.err);
    said
}

/// An empty folder for one test.
fn folder(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(test);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder below the target folder");
    dir
}

/// The mistake in `arguments` is answered by a first line that says `says`, and by status 2.
#[track_caller]
fn is_refused(dir: &Path, arguments: &[&str], says: &str) -> Said {
    let said = fencelab(dir, arguments);
    assert_eq!(said.status, WRONG, "{arguments:?}\n{}\n{}", said.out, said.err);
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: "), "{arguments:?} does not begin with an error:\n{}", said.err);
    assert!(first.contains(says), "{arguments:?} does not say {says:?}:\n{}", said.err);
    said
}

/// A small trace that shows a failure: the shrunk one of the first defect.
fn shrunk_trace(dir: &Path) -> String {
    let said = fencelab(dir, &["hunt", UPSTREAM, "--seeds", "50", "--out", "found"]);
    assert_eq!(said.status, BROKEN, "{}", said.err);
    fs::read_to_string(dir.join("found/plugin-api-mutex-M1.jsonl")).expect("a trace of M1")
}

/// A seed that breaks `property` for a known reason, and the label of that.
fn broken_seed(dir: &Path, property: &str) -> (String, String) {
    let report = fencelab(dir, &["hunt", UPSTREAM, "--seeds", "100", "--json"]).json();
    let groups = report["violations"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["property"] == property && group["defect"] != Value::Null);
    let group = group.unwrap_or_else(|| panic!("no seed of 100 breaks {property}: {groups:?}"));
    (group["seed"].to_string(), group["defect"].as_str().expect("a label").to_owned())
}

/// Writes `trace` down, and replays it.
fn replayed(dir: &Path, trace: impl AsRef<[u8]>) -> Said {
    fs::write(dir.join("trace.jsonl"), trace).expect("a file");
    fencelab(dir, &["replay", "trace.jsonl"])
}

/// A trace that cannot be used is refused by one line, both by `replay` and by `shrink`.
#[track_caller]
fn trace_is_refused(dir: &Path, trace: impl AsRef<[u8]>, says: &str) {
    fs::write(dir.join("trace.jsonl"), trace).expect("a file");
    for verb in ["replay", "shrink"] {
        let said = is_refused(dir, &[verb, "trace.jsonl"], says);
        assert_eq!(said.err.lines().count(), 1, "{verb}: more than one line\n{}", said.err);
        assert_eq!(said.out, "", "{verb}: a trace that cannot be used has no timeline");
    }
}

/// A trace that can be applied and is another run is told as such, both by `replay` and by `shrink`.
#[track_caller]
fn trace_diverges(dir: &Path, trace: impl AsRef<[u8]>, says: &str) {
    fs::write(dir.join("trace.jsonl"), trace).expect("a file");
    for verb in ["replay", "shrink"] {
        let said = is_refused(dir, &[verb, "trace.jsonl"], "diverged");
        assert_eq!(said.err.lines().count(), 1, "{verb}: more than one line\n{}", said.err);
        assert!(said.err.contains(says), "{verb} does not say {says:?}:\n{}", said.err);
    }
}

/// The trace with one of its lines edited as JSON; the last line has the number -1.
fn edited(trace: &str, line: isize, edit: impl FnOnce(&mut Value)) -> String {
    let mut lines: Vec<_> = trace.lines().map(str::to_owned).collect();
    let index = if line < 0 { lines.len() - line.unsigned_abs() } else { line as usize };
    let mut value = serde_json::from_str(&lines[index]).expect("a trace is lines of JSON");
    edit(&mut value);
    lines[index] = value.to_string();
    lines.join("\n") + "\n"
}

/// The trace with another line at this place; the number of steps in the last line is made to fit.
fn inserted(trace: &str, at: usize, line: &str) -> String {
    let mut lines: Vec<_> = trace.lines().collect();
    lines.insert(at, line);
    let steps = lines.len() - 2;
    edited(&(lines.join("\n") + "\n"), -1, |end| end["end"]["steps"] = json!(steps))
}

#[test]
fn the_status_tells_clean_from_broken_from_wrong() {
    let dir = folder("status");
    let (broken, _) = broken_seed(&dir, "no-theft");
    let cases: [(&[&str], _); 11] = [
        (&["list"], CLEAN),
        (&["--help"], CLEAN),
        (&["hunt", "--help"], CLEAN),
        (&["--version"], CLEAN),
        (&["list", "--promises"], CLEAN),
        (&["hunt", "mutex", "--seeds", "20"], CLEAN),
        (&["replay", "mutex", "--seed", "7"], CLEAN),
        (&["hunt", UPSTREAM, "--seeds", "50"], BROKEN),
        (&["replay", UPSTREAM, "--seed", &broken], BROKEN),
        (&[], WRONG),
        (&["hunt"], WRONG),
    ];
    for (arguments, status) in cases {
        let said = fencelab(&dir, arguments);
        assert_eq!(said.status, status, "{arguments:?}\n{}\n{}", said.out, said.err);
    }
}

#[test]
fn a_check_tells_proved_from_violated_from_incomplete_from_wrong() {
    const INCOMPLETE: Option<i32> = Some(3);
    let dir = folder("check");
    let said = fencelab(&dir, &["check", "mutex", "--no-faults"]);
    assert_eq!(said.status, CLEAN, "{}", said.err);
    assert!(said.out.contains("proved within these bounds"), "{}", said.out);

    // Without what its callers wish there would be nothing to prove.
    let said = fencelab(&dir, &["check", "writer-lease", "--no-faults"]);
    assert!(said.err.contains("schedules 2") && !said.err.contains("crashes"), "{}", said.err);

    let said = fencelab(&dir, &["check", "ablation/identity"]);
    assert_eq!(said.status, BROKEN, "{}", said.err);
    let trace = said.out.split_whitespace().find(|word| word.ends_with(".jsonl")).expect("a trace is named");
    assert_eq!(fencelab(&dir, &["replay", trace]).status, BROKEN);

    let said = fencelab(&dir, &["check", "mutex", "--max-states", "1000"]);
    assert_eq!(said.status, INCOMPLETE, "{}", said.err);
    assert!(!said.out.contains("proved within"), "what was not finished is not proved:\n{}", said.out);

    is_refused(&dir, &["check", "mutex", "--instances", "9"], "takes 1 to 3");
    is_refused(&dir, &["check", "mutex", "--pauses", "99"], "accepted are 0 to 20");
    is_refused(&dir, &["check", "mutex", "--max-states", "1000000000"], "takes 1 to 267386880");
    is_refused(&dir, &["check", "once", "--jobs", "9"], "takes 1 to 2");
    is_refused(&dir, &["check", "mutex", "--rejoins", "1"], "means nothing without --crashes");
    is_refused(&dir, &["check", "lab/wiped-counter"], "it can be hunted, not checked");
}

#[test]
fn a_wrong_argument_is_answered_by_one_that_would_do() {
    let dir = folder("usage");
    let cases: [(&str, &str); 30] = [
        ("nonsense", "unrecognized subcommand"),
        ("hunt nobody", "there is no algorithm \"nobody\"; there are: mutex,"),
        ("replay nobody --seed 1", "there is no algorithm \"nobody\""),
        ("replay mutex", "Say --seed S"),
        ("hunt mutex --faults pause,flood", "there is no fault \"flood\"; accepted are storm, calm, none,"),
        ("hunt mutex --faults=", "there is no fault \"\""),
        ("hunt mutex --for 10", "accepted are a number and a unit, such as 30s, 5m or 1h"),
        ("hunt mutex --for 5d", "accepted are a number and a unit"),
        ("hunt mutex --for=-5s", "accepted are a number and a unit"),
        ("hunt mutex --for 1.5h", "accepted are a number and a unit"),
        ("hunt mutex --for 99999999999999999999h", "99999999999999999999h"),
        ("hunt mutex --for 18446744073709551615h", "accepted are 1s to 168h"),
        ("hunt mutex --for 0s", "accepted are 1s to 168h"),
        ("hunt mutex --for 5s --seeds 3", "cannot be used with"),
        ("hunt mutex --hours 0", "--hours is 0; accepted is from 0.000001"),
        ("hunt mutex --hours NaN", "--hours is NaN; accepted is from 0.000001"),
        ("hunt mutex --hours=-1", "--hours is -1; accepted is from 0.000001"),
        ("hunt mutex --hours -1", "-1"),
        ("hunt mutex --hours inf", "--hours is inf"),
        ("hunt mutex --hours many", "invalid value 'many'"),
        ("replay mutex --seed 1 --hours 0", "--hours is 0"),
        ("hunt mutex --instances 0", "0 is not in 1..=10000"),
        ("hunt mutex --instances=-1", "invalid value '-1'"),
        ("hunt mutex --instances 10001", "10001 is not in 1..=10000"),
        ("replay mutex --seed 1 --instances 0", "0 is not in 1..=10000"),
        ("hunt mutex --seeds 0", "0 is not in 1.."),
        ("hunt mutex --jobs 0", "0 is not in 1..=1024"),
        ("replay mutex --seed 99999999999999999999", "number too large"),
        ("shrink trace.jsonl --property nonsense", "accepted are: believed-exclusion, fenced-exclusion"),
        ("shrink missing.jsonl", "missing.jsonl is neither a trace file that can be read"),
    ];
    for (arguments, says) in cases {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let said = is_refused(&dir, &arguments, says);
        assert_eq!(said.out, "", "{arguments:?}: nothing is printed where nothing was done");
    }
}

/// A storm shorter than a nanosecond would be one of none: its replay line could not be given again.
#[test]
fn a_storm_of_no_length_is_refused() {
    let dir = folder("no-storm");
    is_refused(&dir, &["hunt", "mutex", "--seeds", "1", "--hours", "1e-300"], "--hours is");
}

#[test]
fn a_file_that_is_no_trace_is_refused_in_one_line() {
    let dir = folder("no-trace");
    for (bytes, says) in [
        (&b""[..], "it is empty"),
        (b"\n\n \n", "it is empty"),
        (b"\x7fELF\x02\x01\xff\xfe\0\0", "it is not text"),
        (b"\0\0\0\0", "this is no fencepost trace"),
        (b"{\"a\": 1}\n", "this is no fencepost trace"),
        (b"[1, 2, 3]\n", "this is no fencepost trace"),
        (b"fn main() {}\n", "this is no fencepost trace"),
        (b"{\"fencepost-trace\": \"1\"}\n", "this is no fencepost trace"),
        (b"{\"fencepost-trace\": 1}\n", "this is no fencepost trace"),
    ] {
        trace_is_refused(&dir, bytes, says);
    }
    for verb in ["replay", "shrink"] {
        is_refused(&dir, &[verb, "."], ". is neither a trace file that can be read");
    }
}

#[test]
fn a_trace_that_is_cut_short_is_refused() {
    let dir = folder("truncated");
    let trace = shrunk_trace(&dir);
    let lines: Vec<_> = trace.lines().collect();
    for kept in 1..lines.len() {
        trace_is_refused(&dir, lines[..kept].join("\n"), "the trace is truncated");
    }
    let middle_of_a_line = trace.find("\"deliver\"").expect("a delivery");
    trace_is_refused(&dir, &trace[..middle_of_a_line], "is no step");
    trace_is_refused(&dir, &trace[..40], "this is no fencepost trace");
}

#[test]
fn a_line_that_makes_no_sense_is_named() {
    let dir = folder("nonsense");
    let trace = shrunk_trace(&dir);
    for (line, says) in [
        ("gibberish", "line 3 of the trace is no step"),
        ("{}", "line 3 of the trace is no step"),
        ("null", "line 3 of the trace is no step"),
        (r#"{"t":0,"do":"dance","who":"A"}"#, "unknown variant `dance`"),
        (r#"{"t":0,"do":"wake","who":"AA"}"#, "no instance is called \"AA\""),
        (r##"{"t":0,"do":"wake","who":"#7"}"##, "no instance is called \"#7\""),
        (r#"{"t":0,"do":"wake"}"#, "line 3 of the trace is no step: missing field `who`"),
        (r#"{"t":-1,"do":"wake","who":"A"}"#, "line 3 of the trace is no step"),
        (r#"{"t":0.5,"do":"wake","who":"A"}"#, "line 3 of the trace is no step"),
        (r#"{"t":18446744073709551615,"do":"wake","who":"A"}"#, "its time is too large"),
    ] {
        trace_is_refused(&dir, inserted(&trace, 2, line), says);
    }
    let twice_the_end = format!("{trace}{}\n", trace.lines().last().expect("an end"));
    trace_is_refused(&dir, twice_the_end, "it stands after the last line");
    let miscounted = edited(&trace, -1, |end| end["end"]["steps"] = json!(1));
    trace_is_refused(&dir, miscounted, "its last line says 1");
}

#[test]
fn a_setup_that_asks_for_nonsense_is_refused() {
    let dir = folder("setup");
    let trace = shrunk_trace(&dir);
    for (field, value, says) in [
        ("instances", json!(0), "instances is 0; it must be from 1 to"),
        ("instances", json!(4_294_967_295_u32), "instances is 4294967295; it must be from 1 to"),
        ("instances", json!(100_000_000_000_u64), "100000000000"),
        ("instances", json!(-1), "setup is not one of this algorithm"),
        ("resources", json!(0), "resources is 0"),
        ("stores", json!(0), "stores is 0"),
        ("jobs", json!(101), "jobs is 101; it must be from 0 to 100"),
        ("config", json!({}), "setup is not one of this algorithm"),
        ("bounds", json!(null), "setup is not one of this algorithm"),
        ("surprise", json!(1), "setup is not one of this algorithm"),
    ] {
        trace_is_refused(&dir, edited(&trace, 0, |header| header["setup"][field] = value), says);
    }
}

/// Each count is within its limit, and all of them together are gigabytes.
#[test]
fn a_setup_whose_parts_multiply_is_refused() {
    let dir = folder("product");
    let trace = edited(&shrunk_trace(&dir), 0, |header| {
        header["setup"]["resources"] = json!(100_000);
        header["setup"]["stores"] = json!(255);
    });
    trace_is_refused(&dir, trace, "setup");
}

#[test]
fn another_version_or_algorithm_is_named() {
    let dir = folder("version");
    let trace = shrunk_trace(&dir);
    let version = edited(&trace, 0, |header| header["fencepost-trace"] = json!(2));
    trace_is_refused(&dir, version, "the trace has format version 2; this program reads version 1");
    let stranger = edited(&trace, 0, |header| header["algorithm"] = json!("upstream/stranger"));
    trace_is_refused(&dir, stranger, "there is no algorithm \"upstream/stranger\"");
    let other = edited(&trace, 0, |header| header["algorithm"] = json!("mutex"));
    trace_is_refused(&dir, other, "setup is not one of this algorithm");
}

/// A trace of another revision is applied: where it is the same run it shows the same, and where it is another one
/// both revisions are named.
#[test]
fn another_revision_of_the_algorithm_is_named_where_it_matters() {
    let dir = folder("revision");
    let later = edited(&shrunk_trace(&dir), 0, |header| header["revision"] = json!(7));
    assert_eq!(replayed(&dir, &later).status, BROKEN);
    let different = edited(&later, 3, |step| step["t"] = json!(1));
    trace_diverges(&dir, different, "made by revision 7 of the algorithm, this is revision 1");
}

#[test]
fn an_edited_trace_diverges_and_says_where() {
    let dir = folder("edited");
    let trace = shrunk_trace(&dir);
    let zeros = edited(&trace, -1, |end| end["end"]["hash"] = json!("0000000000000000"));
    trace_diverges(&dir, zeros, "and the trace says 0000000000000000");
    let later = edited(&trace, 1, |step| step["t"] = json!(1_u64 << 61));
    trace_diverges(&dir, later, "step 2");
    let stranger = inserted(&trace, 2, r#"{"t":0,"do":"pause","who":"Z"}"#);
    trace_diverges(&dir, stranger, "there is no such instance or store");
    let far_stranger = inserted(&trace, 2, r##"{"t":0,"do":"pause","who":"#4294967295"}"##);
    trace_diverges(&dir, far_stranger, "there is no such instance or store");
    let no_message = r#"{"t":0,"do":"lose","message":{"who":"B","leg":"reply","call":"Lock"}}"#;
    trace_diverges(&dir, inserted(&trace, 2, no_message), "no such message is under way");
    let early = inserted(&trace, 2, r#"{"t":0,"do":"wake","who":"A"}"#);
    trace_diverges(&dir, early, "no deadline has come");
    let much_later = inserted(&trace, 2, r#"{"t":4000000000000000000,"do":"pause","who":"B"}"#);
    trace_diverges(&dir, much_later, "overdue");
}

#[test]
fn a_store_or_an_instance_that_is_not_there_is_said_not_to_be() {
    let dir = folder("nobody");
    let trace = shrunk_trace(&dir);
    for deed in [
        r#"{"t":0,"do":"store-pause","store":9}"#,
        r#"{"t":0,"do":"store-restart","store":9}"#,
        r#"{"t":0,"do":"lag","store":9}"#,
        r#"{"t":0,"do":"jump","who":"Z","nanos":1}"#,
    ] {
        trace_diverges(&dir, inserted(&trace, 2, deed), "there is no such instance or store");
    }
}

/// Each step may be left out or doubled: whatever comes of it, nobody may take it for a run without failures.
#[test]
fn no_edit_of_the_steps_makes_a_broken_trace_clean() {
    let dir = folder("steps");
    let trace = shrunk_trace(&dir);
    let lines: Vec<_> = trace.lines().collect();
    for at in 1..lines.len() - 1 {
        let without = [&lines[..at], &lines[at + 1..]].concat().join("\n");
        let without = edited(&without, -1, |end| end["end"]["steps"] = json!(lines.len() - 3));
        assert_eq!(replayed(&dir, without).status, WRONG, "without line {}", at + 1);
        let doubled = inserted(&trace, at, lines[at]);
        assert_eq!(replayed(&dir, doubled).status, WRONG, "with line {} twice", at + 1);
    }
}

/// The hash is one of what was applied and answered. What was judged is in the last line, and has to come out too.
#[test]
fn a_trace_that_no_longer_shows_its_violations_diverges() {
    let dir = folder("judged");
    let trace = shrunk_trace(&dir);
    let more_locks = edited(&trace, 0, |header| header["setup"]["resources"] = json!(2));
    trace_diverges(&dir, more_locks, "believed-exclusion");
    let innocent = edited(&trace, -1, |end| end["end"]["violations"] = json!([]));
    trace_diverges(&dir, innocent, "believed-exclusion");
}

#[test]
fn what_a_hunt_writes_is_what_a_replay_shows() {
    let dir = folder("hunt-replay");
    let hunted = fencelab(&dir, &["hunt", UPSTREAM, "--seeds", "200", "--out", "found", "--json"]);
    assert_eq!(hunted.status, BROKEN);
    let report = hunted.json();
    let finds = report["finds"].as_array().expect("finds");
    assert!(finds.len() >= 4, "{finds:?}");
    for find in finds {
        let trace = find["trace"].as_str().expect("a file");
        let replay = fencelab(&dir, &["replay", trace, "--json"]);
        assert_eq!(replay.status, BROKEN, "{trace}: {}", replay.err);
        let shown = replay.json();
        assert_eq!(shown["diverged"], Value::Null, "{trace}");
        assert_eq!(shown["events"], find["shrunk_events"], "{trace}");
        let violations = shown["violations"].as_array().expect("violations");
        assert!(violations.iter().any(|one| one["property"] == find["property"]), "{trace}: {violations:?}");

        let line = find["replay"].as_str().expect("a line").strip_prefix("cargo lab ").expect("the command");
        let seed = fencelab(&dir, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(seed.status, BROKEN, "{line}");
    }
}

/// The line that replays a seed says everything that is not as usual.
#[test]
fn the_replay_line_of_an_unusual_hunt_shows_the_same() {
    let dir = folder("unusual");
    let hunt =
        "hunt upstream/plugin-api-mutex --seeds 60 --instances 2 --hours 0.07 --faults wall-jump,pause";
    let hunted = fencelab(&dir, &[&hunt.split(' ').collect::<Vec<_>>()[..], &["--json"]].concat());
    assert_eq!(hunted.status, BROKEN, "{}", hunted.err);
    for find in hunted.json()["finds"].as_array().expect("finds") {
        let line = find["replay"].as_str().expect("a line").strip_prefix("cargo lab ").expect("the command");
        let replay = fencelab(&dir, &[&line.split(' ').collect::<Vec<_>>()[..], &["--json"]].concat());
        assert_eq!(replay.status, BROKEN, "{line}");
        assert_eq!(replay.json()["events"], find["events"], "{line}");
    }
}

#[test]
fn a_whole_trace_shrinks_to_one_that_shows_the_same() {
    let dir = folder("shrink");
    let (seed, label) = broken_seed(&dir, "no-theft");
    let recorded = fencelab(&dir, &["replay", UPSTREAM, "--seed", &seed, "--out", "whole.jsonl"]);
    assert_eq!(recorded.status, BROKEN);
    assert_eq!(fencelab(&dir, &["replay", "whole.jsonl"]).out, recorded.out);
    let shrunk = fencelab(&dir, &["shrink", "whole.jsonl", "--property", "no-theft", "--json"]);
    assert_eq!(shrunk.status, BROKEN, "{}", shrunk.err);
    let told = shrunk.json();
    assert_eq!((&told["property"], &told["defect"]), (&json!("no-theft"), &json!(label)));
    assert!(told["to"].as_u64() < told["from"].as_u64(), "{told}");
    let smaller = fencelab(&dir, &["replay", told["trace"].as_str().expect("a file")]);
    assert_eq!(smaller.status, BROKEN, "{}", smaller.err);
    is_refused(
        &dir,
        &["shrink", "whole.jsonl", "--property", "no-panic"],
        "the trace does not break no-panic",
    );
}

#[test]
fn a_clean_trace_replays_cleanly_and_has_nothing_to_shrink() {
    let dir = folder("clean");
    let recorded = fencelab(&dir, &["replay", "mutex", "--seed", "3", "--out", "clean.jsonl"]);
    assert_eq!(recorded.status, CLEAN, "{}", recorded.err);
    assert_eq!(fencelab(&dir, &["replay", "clean.jsonl"]).status, CLEAN);
    is_refused(&dir, &["shrink", "clean.jsonl"], "there is nothing to shrink");
}

#[test]
fn a_hunt_of_all_runs_everything_that_is_expected_to_be_clean() {
    let dir = folder("all");
    let said = fencelab(&dir, &["hunt", "all", "--seeds", "20"]);
    assert_eq!(said.status, CLEAN, "{}", said.err);
    let listed = fencelab(&dir, &["list"]).out;
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let expected: Vec<_> = listed.lines().filter(|line| line.contains("expected clean")).map(name).collect();
    let hunted: Vec<_> = said.out.lines().map(name).collect();
    assert!(expected.contains(&"mutex".to_owned()) && expected.contains(&"job".to_owned()));
    assert_eq!(hunted, expected);
    assert!(said.out.lines().all(|line| line.contains("20 seeds")), "{}", said.out);
}

#[test]
fn json_is_one_object_on_one_line() {
    let dir = folder("json");
    let (broken, _) = broken_seed(&dir, "no-theft");
    fs::write(dir.join("trace.jsonl"), shrunk_trace(&dir)).expect("a file");
    let damaged = edited(&shrunk_trace(&dir), -1, |end| end["end"]["hash"] = json!("0"));
    fs::write(dir.join("damaged.jsonl"), damaged).expect("a file");
    let cases: [(&[&str], _, &[&str]); 7] = [
        (&["list", "--json"], CLEAN, &["algorithms"]),
        (
            &["hunt", "mutex", "--seeds", "20", "--json"],
            CLEAN,
            &["hash", "seeds", "finds", "ledger", "clean"],
        ),
        (&["hunt", "all", "--seeds", "20", "--json"], CLEAN, &["hunts", "clean", "interrupted"]),
        (&["--json", "hunt", UPSTREAM, "--seeds", "50"], BROKEN, &["hash", "violations", "not_found"]),
        (
            &["replay", UPSTREAM, "--seed", &broken, "--json"],
            BROKEN,
            &["hash", "violations", "story", "ledger"],
        ),
        (&["shrink", "trace.jsonl", "--json"], BROKEN, &["property", "defect", "from", "to", "trace"]),
        (&["replay", "damaged.jsonl", "--json"], WRONG, &["diverged", "violations"]),
    ];
    for (arguments, status, fields) in cases {
        let said = fencelab(&dir, arguments);
        assert_eq!(said.status, status, "{arguments:?}\n{}", said.err);
        assert_eq!(said.out.lines().count(), 1, "{arguments:?}");
        let object = said.json();
        for field in fields {
            assert!(object.get(field).is_some(), "{arguments:?}: no {field:?} in {object}");
        }
    }
}

#[test]
fn a_place_that_cannot_be_written_to_is_named() {
    let dir = folder("unwritable");
    fs::write(dir.join("file"), "").expect("a file");
    fs::write(dir.join("trace.jsonl"), shrunk_trace(&dir)).expect("a file");
    is_refused(&dir, &["hunt", "mutex", "--seeds", "1", "--out", "file"], "cannot make file");
    is_refused(&dir, &["hunt", "mutex", "--seeds", "1", "--out", "file/below"], "cannot make file/below");
    is_refused(&dir, &["replay", "mutex", "--seed", "1", "--out", "."], "cannot write .");
    is_refused(&dir, &["shrink", "trace.jsonl", "--out", "missing/x"], "cannot write missing/x");
}

#[test]
fn nothing_is_coloured_where_nobody_sees_it() {
    let dir = folder("plain");
    for arguments in [&["list"][..], &["hunt", UPSTREAM, "--seeds", "50", "--ledger"]] {
        let said = fencelab(&dir, arguments);
        assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "{arguments:?}");
    }
}

/// A trace brings its own instances and faults: options that would be ignored are refused.
#[test]
fn a_trace_takes_no_shape_from_the_command_line() {
    let dir = folder("shape");
    std::fs::write(dir.join("one.jsonl"), shrunk_trace(&dir)).expect("a file");
    is_refused(&dir, &["replay", "one.jsonl", "--hours", "1"], "go with --seed");
}

/// A history of real processes, as a torture writes it: the second was granted the lock while the first believed that it
/// holds, and stood still.
fn history() -> String {
    use fencepost_models::recorded::{Locks, Recorded};
    use fencepost_models::trace::{self, Trace};
    use fencepost_models::world::World;

    let granted = |at: u64, token: u32| json!({ "at": at, "said": "granted", "token": token, "until": at + 5_000_000_000 });
    let first = json!([[granted(1_000_000_000, 1)]]);
    let second = json!([[granted(3_000_000_000, 2)]]);
    let config = json!({ "ttl": 5_000_000_000_u64, "attempts": 1, "fenced": true, "lives": [first, second] });
    let bounds = json!({ "delay": 0, "slack": 0, "call": 0, "orphan": 0, "progress": 0 });
    let setup = json!({ "config": config, "instances": 2, "resources": 1, "stores": 1, "hints": false, "bounds": bounds });
    let header = json!({ "fencepost-trace": 1, "algorithm": "recorded/locks", "revision": 1, "seed": 7, "setup": setup });
    let steps = [
        json!({ "t": 0, "do": "ask", "who": "A", "what": "lock" }),
        json!({ "t": 1_000_000_000, "do": "wake", "who": "A" }),
        json!({ "t": 2_000_000_000, "do": "pause", "who": "A" }),
        json!({ "t": 2_000_000_000, "do": "ask", "who": "B", "what": "lock" }),
        json!({ "t": 3_000_000_000_u64, "do": "wake", "who": "B" }),
    ];
    let unended = steps.iter().fold(header.to_string(), |text, step| format!("{text}\n{step}"));
    let end = json!({ "end": { "steps": steps.len(), "hash": "", "violations": [] } });
    let mut trace = Trace::parse(&format!("{unended}\n{end}\n")).expect("a trace");
    let mut world = World::<Recorded<Locks>>::new(&trace.setup().expect("a setup"), PropertySet::all());
    trace::replay(&mut world, &trace.steps, |_, _, _| {}).expect("it can have happened");
    trace.ending = trace::ending(&world);
    trace.write()
}

#[test]
fn a_history_of_real_processes_is_judged_and_drawn_and_neither_shrunk_nor_hunted() {
    let dir = folder("history");
    fs::write(dir.join("history.jsonl"), history()).expect("a file");
    let said = fencelab(&dir, &["replay", "history.jsonl"]);
    assert_eq!(said.status, BROKEN, "{}{}", said.out, said.err);
    for line in ["A is paused", "B holds the lock, token 2", "B and A both believe they hold the lock"] {
        assert!(said.out.contains(line), "{line:?} is not in\n{}", said.out);
    }
    is_refused(&dir, &["shrink", "history.jsonl"], "what happened cannot be made smaller; accepted: replay");
    is_refused(&dir, &["hunt", "recorded/locks"], "there is no algorithm");
}
