//! One seed, one run: whatever the build profile, the number of threads, and what the process has run before.

use std::path::{Path, PathBuf};
use std::process::Command;

use fencepost_sim::{hunt, lab};
use serde_json::Value;

/// One of ours and one of the originals; hunts of the latter also shrink and tell.
const ALGORITHMS: [&str; 2] = ["mutex", "upstream/plugin-api-mutex"];
const SEEDS: u64 = 300;

/// What a hunt came to, without what may differ: how long it took, and where it was told to put its traces.
fn hunted(fencelab: &Path, algorithm: &str, jobs: &str) -> Value {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("determinism");
    let output = Command::new(fencelab)
        .args(["hunt", algorithm, "--seeds", &SEEDS.to_string(), "--jobs", jobs, "--json", "--out"])
        .arg(&out)
        .output()
        .expect("fencelab runs");
    let (said, cried) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut report: Value = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{} printed no JSON ({error}); status {}\n{cried}", fencelab.display(), output.status)
    });
    let report_fields = report.as_object_mut().expect("a report is an object");
    report_fields.remove("elapsed_seconds");
    report
}

/// Builds fencelab in the profile that this test was not built in, into the same target folder.
fn other_profile() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--package", "fencepost-sim", "--bin", "fencelab", "--message-format", "json"]);
    if cfg!(debug_assertions) {
        build.args(["--profile", "lab"]);
    }
    let output = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    let cried = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "fencelab does not build in the other profile:\n{cried}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "fencelab")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable that it built")
}

#[test]
fn both_profiles_and_any_number_of_threads_find_the_same() {
    let this = PathBuf::from(env!("CARGO_BIN_EXE_fencelab"));
    let other = other_profile();
    assert_ne!(this, other, "the two builds are two files");
    for algorithm in ALGORITHMS {
        let first = hunted(&this, algorithm, "1");
        assert_eq!(first["seeds"], SEEDS);
        for (fencelab, jobs) in [(&this, "2"), (&other, "1"), (&other, "2")] {
            let again = hunted(fencelab, algorithm, jobs);
            let what = format!("{algorithm}: {} with {jobs} threads", fencelab.display());
            assert_eq!(again["hash"], first["hash"], "{what}");
            assert_eq!(again, first, "{what}: the same hash, and yet another report");
        }
    }
}

#[test]
fn a_hunt_twice_in_one_process_is_the_same_as_in_a_process_of_its_own() {
    let lab = lab();
    for name in ALGORITHMS {
        let algorithm = lab.algorithm(name).expect("it is registered");
        let hash = |jobs| format!("{:016x}", hunt(algorithm).seeds(SEEDS).jobs(jobs).run().hash);
        let first = hash(1);
        assert_eq!(first, hash(1), "{name}, the second time");
        assert_eq!(first, hash(2), "{name}, with two threads");
        let alone = hunted(Path::new(env!("CARGO_BIN_EXE_fencelab")), name, "1");
        assert_eq!(alone["hash"], first.as_str(), "{name}, in a process of its own");
    }
}

/// A hash that never changes would pass everything above.
#[test]
fn other_seeds_and_other_algorithms_have_other_hashes() {
    let lab = lab();
    let hash = |name: &str, from| {
        let algorithm = lab.algorithm(name).expect("it is registered");
        hunt(algorithm).seeds(20).from_seed(from).run().hash
    };
    assert_ne!(hash("mutex", 1), hash("mutex", 2));
    assert_ne!(hash("mutex", 1), hash("mutex-fifo", 1));
}
