//! The same hunts as on the command line, as tests.

use std::panic::catch_unwind;

use fencepost_sim::{Algorithm, Trace, hunt};

#[path = "../src/main.rs"]
#[expect(dead_code, reason = "a test calls the registration, and not `main`")]
mod own;

#[test]
fn the_fixed_lock_is_clean() {
    let lock = own::my_lock::<true>("my-lock-fixed");
    hunt(&lock).seeds(1_000).run().expect_clean();
}

#[test]
fn the_mistake_is_found_told_and_can_be_replayed() {
    let message = catch_unwind(|| {
        let lock = own::my_lock::<false>("my-lock");
        hunt(&lock).seeds(1_000).command("cargo run --release -p own-algorithm --").run().expect_clean();
    })
    .expect_err("a lease that counts from the reply outlives its entry");
    let message = message.downcast_ref::<String>().expect("the message of a failed assertion");
    for part in [
        "my-lock is broken",
        "believed-exclusion: no two instances believe at one moment that they hold the lock",
        "the entry of A expires",
        " both believe they hold the lock",
        "replay   cargo run --release -p own-algorithm -- replay my-lock --seed ",
    ] {
        assert!(message.contains(part), "no {part:?} in the message of the failed test:\n{message}");
    }
}

/// The trace in `docs/trace-format.md` is one of this lock. It must be written as it is read.
#[test]
fn the_documented_trace_is_a_trace() {
    let page = include_str!("../../../docs/trace-format.md");
    let (_, rest) = page.split_once("```json\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let trace = Trace::parse(example).expect("a trace of version 1");
    assert_eq!(trace.write(), example);
    let replayed = own::my_lock::<false>("my-lock").replay(&trace).expect("a trace of this lock");
    assert_eq!(replayed.outcome.events, trace.ending.steps, "every step is possible");
}
