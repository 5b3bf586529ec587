use super::*;
use crate::subject::InstanceId;
use crate::upstream::bench::{A, B, Bench};

const K: JobId = JobId(0);
const L: JobId = JobId(1);
const DONE: WorkResult = WorkResult::Extend;
const FAILED: WorkResult = WorkResult::Release;
const NOTHING: WorkResult = WorkResult::None;

/// Both run, with waits of 20 ms, 100 ms, 500 ms, 2.5 s … and a lease of 60 s.
fn bench() -> Bench<Writerlease> {
    let mut bench = Bench::new(WriterleaseConfig::default());
    for who in [A, B] {
        assert_eq!(ask(&mut bench, who, 0, Request::Start), []);
    }
    bench
}

fn ask(bench: &mut Bench<Writerlease>, who: InstanceId, millis: u64, request: Request) -> Vec<Event> {
    bench.at(millis).ask(who, request);
    bench.told(who)
}

fn wake(bench: &mut Bench<Writerlease>, who: InstanceId, millis: u64) -> Vec<Event> {
    bench.at(millis).wake(who);
    bench.told(who)
}

/// A has written K, and leads.
fn led() -> Bench<Writerlease> {
    let mut bench = bench();
    assert_eq!(ask(&mut bench, A, 0, Request::Try(K, 1)), [Event::Work(K, 1)]);
    let told = [Event::Leads, Event::Decided, Event::Dropped(K, 1)];
    assert_eq!(ask(&mut bench, A, 10, Request::Done(K, DONE, false)), told);
    bench
}

/// A follows since 10 ms, and waits for 20 ms.
fn following() -> Bench<Writerlease> {
    let mut bench = bench();
    ask(&mut bench, A, 0, Request::Try(K, 1));
    assert_eq!(ask(&mut bench, A, 10, Request::Done(K, FAILED, true)), [Event::Follows, Event::Decided]);
    bench
}

#[test]
fn w1_two_who_write_different_keys_both_lead() {
    let mut bench = led();
    ask(&mut bench, B, 0, Request::Try(L, 1));
    assert_eq!(ask(&mut bench, B, 10, Request::Done(L, DONE, false))[0], Event::Leads);
}

#[test]
fn w2_a_leader_runs_at_once_however_long_ago_it_led() {
    let mut bench = led();
    assert_eq!(ask(&mut bench, A, 600_000, Request::Try(K, 2)), [Event::Work(K, 2)]);
}

#[test]
fn w3_what_was_seen_done_erases_what_is_wanted_since() {
    let mut bench = led();
    ask(&mut bench, A, 20, Request::Try(K, 1));
    assert_eq!(ask(&mut bench, A, 21, Request::Try(K, 2)), []);
    assert_eq!(ask(&mut bench, A, 22, Request::Extend(K)), [Event::Dropped(K, 2)]);
    assert_eq!(ask(&mut bench, A, 23, Request::Done(K, NOTHING, false)), [], "and 2 is never written");
}

#[test]
fn w4_without_a_result_no_wait_ends() {
    let mut bench = bench();
    ask(&mut bench, A, 0, Request::Try(K, 1));
    assert_eq!(ask(&mut bench, A, 1, Request::Extend(K)), [Event::Dropped(K, 1)]);
    assert_eq!(ask(&mut bench, A, 2, Request::Done(K, NOTHING, false)), []);
    assert_eq!(ask(&mut bench, A, 3, Request::Extend(K)), [], "nothing is pending");
}

#[test]
fn w5_nothing_wakes_a_worker_that_sleeps() {
    let mut bench = following();
    ask(&mut bench, A, 20, Request::Try(K, 2));
    // It is seen done three times, and so its wait is three steps long.
    for millis in [21, 22, 23] {
        ask(&mut bench, A, millis, Request::Extend(K));
        ask(&mut bench, A, millis, Request::Try(K, 2));
    }
    assert_eq!(wake(&mut bench, A, 60), [], "it falls asleep over it");
    assert_eq!(ask(&mut bench, A, 61, Request::Expire), []);
    assert_eq!(ask(&mut bench, A, 62, Request::Try(L, 1)), []);
    assert_eq!(wake(&mut bench, A, 200), [], "the other key waits for it");
    assert_eq!(wake(&mut bench, A, 2_600), [Event::Work(L, 1)]);
    assert_eq!(
        ask(&mut bench, A, 2_700, Request::Done(L, NOTHING, false)),
        [Event::Dropped(L, 1), Event::Work(K, 2)]
    );
}

#[test]
fn w6_what_is_queued_runs_after_it_has_stopped() {
    let mut bench = bench();
    for (key, value) in [(K, 1), (L, 1)] {
        ask(&mut bench, A, 0, Request::Try(key, value));
    }
    assert_eq!(ask(&mut bench, A, 1, Request::Stop), [Event::Stopped]);
    assert_eq!(
        ask(&mut bench, A, 2, Request::Done(K, NOTHING, false)),
        [Event::Dropped(K, 1), Event::Work(L, 1)]
    );
    // What is tried now is noted, and never taken.
    ask(&mut bench, A, 3, Request::Done(L, NOTHING, false));
    assert_eq!(ask(&mut bench, A, 4, Request::Try(K, 2)), []);
    assert_eq!(ask(&mut bench, A, 5, Request::Start), []);
    assert_eq!(ask(&mut bench, A, 6, Request::Start), [Event::Rejected]);
    assert_eq!(ask(&mut bench, A, 7, Request::Try(K, 2)), [Event::Work(K, 2)]);
}

#[test]
fn w7_nobody_does_the_work_of_a_worker_that_has_panicked() {
    let mut bench = led();
    ask(&mut bench, A, 20, Request::Try(K, 2));
    assert_eq!(ask(&mut bench, A, 21, Request::Panicked(K)), []);
    assert_eq!(ask(&mut bench, A, 22, Request::Try(L, 1)), []);
    assert_eq!(wake(&mut bench, A, 600_000), []);
}

#[test]
fn w8_each_key_that_is_seen_makes_the_wait_longer() {
    let mut bench = following();
    for key in 0..4 {
        ask(&mut bench, A, 20, Request::Try(JobId(key), 2));
        ask(&mut bench, A, 20, Request::Extend(JobId(key)));
    }
    ask(&mut bench, A, 20, Request::Try(K, 3));
    assert_eq!(wake(&mut bench, A, 12_000), [], "it waits for 12.5 s");
    assert_eq!(wake(&mut bench, A, 12_520), [Event::Work(K, 3)]);
}

#[test]
fn what_is_to_be_run_again_waits_for_its_interval_and_moves_only_earlier() {
    let mut bench = led();
    ask(&mut bench, A, 20, Request::Try(K, 2));
    assert_eq!(ask(&mut bench, A, 30, Request::Done(K, NOTHING, true)), []);
    assert_eq!(wake(&mut bench, A, 3_029), []);
    assert_eq!(wake(&mut bench, A, 3_030), [Event::Work(K, 2)]);
    ask(&mut bench, A, 3_031, Request::Done(K, NOTHING, true));
    assert_eq!(ask(&mut bench, A, 3_040, Request::Try(K, 3)), [Event::Work(K, 3)]);
    // The retry that was queued before finds nothing.
    ask(&mut bench, A, 3_050, Request::Done(K, DONE, false));
    assert_eq!(wake(&mut bench, A, 6_031), []);
    assert_eq!(ask(&mut bench, A, 6_040, Request::Remove(K)), []);
}

#[test]
fn what_is_tried_while_it_runs_runs_again() {
    let mut bench = led();
    ask(&mut bench, A, 20, Request::Try(K, 2));
    ask(&mut bench, A, 21, Request::Try(K, 3));
    assert_eq!(ask(&mut bench, A, 22, Request::Done(K, DONE, false)), [Event::Work(K, 3)]);
    assert_eq!(ask(&mut bench, A, 23, Request::Remove(K)), [Event::Dropped(K, 3)]);
    assert_eq!(ask(&mut bench, A, 24, Request::Done(K, FAILED, true)), [Event::Follows]);
    assert_eq!(wake(&mut bench, A, 3_024), [], "it was removed");
}
