//! What a pending job takes, and that all of them share one timer.
//!
//! ```text
//! cargo test --package fencepost-benches --test pending -- --nocapture
//! ```

use std::hint::black_box;

use allocation_counter::measure;
use fencepost::once::JobKey;
use fencepost::time::{Instant, StoreTime};
use fencepost_benches::pending::{Pending, due, key};

const JOBS: u32 = 100_000;

/// A scheduler that has listed its jobs twice: whatever is due next is a job.
fn listed(jobs: u32) -> Pending {
    let mut pending = Pending::new(jobs);
    pending.start();
    assert_eq!(pending.wake(), None, "it is time for the second listing");
    assert_eq!(pending.known(), jobs as usize);
    pending
}

/// On clocks that agree.
fn on_the_clock(at: StoreTime) -> Option<Instant> {
    Some(Instant::from_nanos(at.as_nanos()))
}

#[test]
fn a_pending_job_takes_few_bytes_beside_its_key() {
    let mut pending = Pending::new(JOBS);
    let keys = measure(|| (0..JOBS).for_each(|number| std::mem::forget(black_box(key(number)))));
    let first = measure(|| pending.start());
    assert_eq!(pending.known(), JOBS as usize);
    let again = measure(|| assert_eq!(pending.wake(), None));
    let each = |bytes: i64| bytes as f64 / f64::from(JOBS);
    let (key, whole) = (each(keys.bytes_current), each(first.bytes_current));
    println!("a pending job: {whole:.1} bytes, {key:.1} of them its key");
    assert!(whole > key, "each key is kept");
    assert!(whole - key < 100.0, "{whole} bytes, {key} of them a key");
    // While it lists, there is a page or two beside that.
    assert!(first.bytes_max - first.bytes_current as u64 <= 1 << 20, "{first:?}");
    assert!(each(again.bytes_current).abs() < 1.0, "a second listing finds nothing new: {again:?}");
}

#[test]
fn all_pending_jobs_share_one_timer() {
    let mut pending = listed(JOBS);
    for number in 0..1_000 {
        assert_eq!(pending.deadline(), on_the_clock(due(number)));
        assert_eq!(
            pending.wake(),
            Some(key(number)),
            "one job for each time it is woken, in the order of time"
        );
    }
    assert_eq!(pending.known(), JOBS as usize - 1_000);
}

/// The bytes that one firing allocates, and how often it does.
fn firing(jobs: u32) -> (u64, u64) {
    let mut pending = listed(jobs);
    let ran: Option<JobKey> = pending.wake();
    assert!(ran.is_some());
    let cost = measure(|| assert!(pending.wake().is_some()));
    (cost.bytes_total, cost.count_total)
}

#[test]
fn a_firing_allocates_the_same_however_many_are_pending() {
    let (few, many) = (firing(100), firing(JOBS));
    println!("a firing: {} bytes in {} allocations", many.0, many.1);
    assert!(many.0 <= few.0 + 1_024 && many.1 <= few.1 + 4, "{few:?}, then {many:?}");
}
