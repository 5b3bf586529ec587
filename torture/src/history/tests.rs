//! Histories that were forged: each property is broken by one, and none by what is allowed.

use super::*;
use crate::plan::Shape;

const MS: u64 = 1_000_000;
const TTL: u64 = 2_000 * MS;
const END: u64 = 60_000 * MS;

fn said(millis: u64, who: usize, what: What) -> Entry {
    Entry { at: millis * MS, what: Happened::Said { who, life: 0, what } }
}

fn done(millis: u64, what: Happened) -> Entry {
    Entry { at: millis * MS, what }
}

fn hit(millis: u64, who: usize, fault: Fault) -> Entry {
    let hit = Hit { fault, who, is_aimed: false, lasts: Duration::ZERO };
    done(millis, Happened::Hit(hit))
}

fn granted(millis: u64, who: usize, token: u64) -> [Entry; 2] {
    let until = millis * MS + TTL;
    [said(millis - 1, who, What::Asks { within: None }), said(millis, who, What::Granted { token, until })]
}

fn writes(checked: u64, arrived: u64, who: usize, token: u64) -> [Entry; 2] {
    let what = What::Writes { token, checked: checked * MS, until: checked * MS + TTL };
    [said(checked, who, what), done(arrived, Happened::Arrived { who })]
}

fn left(millis: u64, who: usize) -> [Entry; 2] {
    [said(millis, who, What::Unlocks), said(millis + 1, who, What::Released)]
}

/// What a forged history breaks.
fn broken(part: Part, fenced: bool, parts: &[&[Entry]]) -> Vec<Property> {
    let shape = Shape { workers: 2, storm: Duration::from_secs(1), faults: Vec::new() };
    let plan = Plan { ttl: Duration::from_nanos(TTL), jobs: 2, ..Plan::of_seed(1, &shape) };
    let entries: Vec<_> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    let round = Round { seed: 1, plan: &plan, workers: 2, fenced, began: 0, ended: END, entries: &entries };
    let (trace, diverged) = round.judge(part);
    assert_eq!(diverged, None, "{}", trace.write());
    let read = Trace::parse(&trace.write()).unwrap();
    assert_eq!(read.ending, trace.ending);
    read.ending.violations.iter().map(|violation| violation.property).collect()
}

fn of_locks(parts: &[&[Entry]]) -> Vec<Property> {
    broken(Part::Locks, true, parts)
}

#[test]
fn a_hold_a_pause_beyond_it_and_a_late_write_break_nothing_where_tokens_are_checked() {
    let pause = [hit(200, 0, Fault::Stop), done(5_000, Happened::Resumed { who: 0 })];
    let late = writes(150, 5_010, 0, 1);
    let history: [&[Entry]; 8] = [
        &granted(100, 0, 1),
        &late,
        &pause,
        &granted(3_000, 1, 2),
        &writes(3_100, 3_101, 1, 2),
        &[said(5_020, 0, What::Lost)],
        &left(5_030, 1),
        &[done(6_000, Happened::Healed)],
    ];
    assert_eq!(of_locks(&history), []);
    assert_eq!(broken(Part::Locks, false, &history), [Property::FencedExclusion]);
}

#[test]
fn two_who_believe_are_found_also_if_one_of_them_stands_still() {
    let rival = granted(1_000, 1, 2);
    assert_eq!(
        of_locks(&[&granted(100, 0, 1), &rival, &left(1_100, 1), &left(1_200, 0)]),
        [Property::BelievedExclusion]
    );
    let pause = [hit(200, 0, Fault::Stop)];
    let stopped = of_locks(&[&granted(100, 0, 1), &pause, &rival, &left(1_100, 1)]);
    assert_eq!(stopped, [Property::BelievedExclusion]);
    let dead = of_locks(&[&granted(100, 0, 1), &[hit(200, 0, Fault::Kill)], &rival, &left(1_100, 1)]);
    assert_eq!(dead, [], "the dead believe nothing");
}

#[test]
fn a_token_that_was_given_twice_is_found() {
    let again = granted(1_000, 1, 1);
    assert_eq!(
        of_locks(&[&granted(100, 0, 1), &left(200, 0), &again, &left(1_100, 1)]),
        [Property::FencedExclusion]
    );
}

#[test]
fn who_holds_on_beyond_its_lease_is_found() {
    let late = writes(4_000, 4_001, 0, 1);
    assert_eq!(of_locks(&[&granted(100, 0, 1), &late, &left(4_100, 0)]), [], "it was renewed");
    assert_eq!(of_locks(&[&granted(100, 0, 1), &left(4_100, 0)]), [], "it may release whenever it likes");
    assert_eq!(of_locks(&[&granted(100, 0, 1)]), [Property::LossNoticed]);
}

#[test]
fn an_entry_that_stays_is_found_whoever_left_it() {
    let orphan = |token| [done(59_000, Happened::Orphan { token })];
    assert_eq!(of_locks(&[&granted(100, 0, 1), &left(200, 0), &orphan(Some(1))]), [Property::NoOrphan]);
    let killed = [hit(200, 0, Fault::Kill)];
    assert_eq!(of_locks(&[&granted(100, 0, 1), &killed, &orphan(Some(1))]), [Property::NoOrphan]);
    let cancelled =
        [said(100, 1, What::Asks { within: None }), said(200, 1, What::Cancels), said(201, 1, What::Denied)];
    assert_eq!(of_locks(&[&cancelled, &orphan(None)]), [Property::NoOrphan]);
}

#[test]
fn who_waits_for_too_long_after_the_healing_and_who_ends_by_itself_are_found() {
    let asks = [said(100, 0, What::Asks { within: None })];
    assert_eq!(of_locks(&[&asks]), [], "without a healing nobody is promised anything");
    assert_eq!(of_locks(&[&asks, &[done(200, Happened::Healed)]]), [Property::Progress]);
    assert_eq!(of_locks(&[&[done(200, Happened::Panicked { who: 1 })]]), [Property::NoPanic]);
}

#[test]
fn jobs_that_are_lost_repeated_and_early_are_found() {
    let up = [said(1, 0, What::Up), said(1, 1, What::Up)];
    let of_jobs = |delivery, entries: &[Entry]| broken(Part::Jobs(delivery), true, &[&up, entries]);
    let scheduled = |delivery, after| {
        [
            said(10, 0, What::Schedules { delivery, job: 0, after: Duration::from_millis(after) }),
            said(20, 0, What::Accepted { delivery, job: 0 }),
        ]
    };
    let run = |delivery, millis: u64, who, attempt| {
        let until = millis * MS + TTL;
        [
            said(millis, who, What::Begins { delivery, job: 0, attempt, token: millis, until }),
            said(millis + 5, who, What::Ends { delivery, job: 0, succeeded: true }),
        ]
    };
    let healed = [done(3_000, Happened::Healed)];
    for delivery in Delivery::ALL {
        let once = [&scheduled(delivery, 100)[..], &run(delivery, 200, 0, 1), &healed].concat();
        assert_eq!(of_jobs(delivery, &once), []);
        let early = [&scheduled(delivery, 2_500)[..], &run(delivery, 200, 0, 1), &healed].concat();
        assert_eq!(of_jobs(delivery, &early), [Property::NotEarly]);
        let second = run(delivery, 400, 1, 2);
        let twice = [&scheduled(delivery, 100)[..], &run(delivery, 200, 0, 1), &second, &healed].concat();
        let lost = [&scheduled(delivery, 100)[..], &healed].concat();
        match delivery {
            Delivery::AtLeastOnce => {
                assert_eq!(of_jobs(delivery, &twice), [], "its success may have been lost");
                assert_eq!(of_jobs(delivery, &lost), [Property::NoJobLost]);
            }
            Delivery::AtMostOnce => {
                assert_eq!(of_jobs(delivery, &twice), [Property::OncePerOccurrence]);
                assert_eq!(of_jobs(delivery, &lost), [], "who had claimed it may have died");
            }
        }
    }
}
