//! When a job is due, for every schedule but cron: compared with a dumb twin that was written from the description of
//! the original strategies, in wide integers.

use std::time::Duration;

use fencepost::calendar::{Last, Schedule, ScheduleError};
use fencepost::time::{Span, StoreTime};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

fn at(nanos: u64) -> StoreTime {
    StoreTime::from_nanos(nanos)
}

fn run(started: u64, finished: Option<u64>) -> Last {
    Last { occurrence: at(started), started: at(started), finished: finished.map(at) }
}

/// The originals know when a job last finished, if ever, and answer how long to wait.
mod twin {
    /// From Go's zero time to the Unix epoch.
    const ZERO_TIME: i128 = 62_135_596_800 * 1_000_000_000;

    pub(super) fn interval(now: u64, last_finished: Option<u64>, interval: u64) -> i128 {
        let Some(last_finished) = last_finished else { return 0 };
        let since = i128::from(now) - i128::from(last_finished);
        if since < i128::from(interval) { i128::from(interval) - since } else { 0 }
    }

    pub(super) fn rounded_interval(now: u64, last_finished: Option<u64>, interval: u64) -> i128 {
        let Some(last_finished) = last_finished else { return 0 };
        let after_zero_time = i128::from(last_finished) + i128::from(interval) + ZERO_TIME;
        let mut target = after_zero_time / i128::from(interval) * i128::from(interval);
        target -= ZERO_TIME;
        (target - i128::from(now)).max(0)
    }
}

/// Points that meet often: multiples of odd units, a little apart, around two moments.
fn moment() -> impl Strategy<Value = u64> {
    (prop_oneof![Just(0), Just(1_774_742_400 * SECOND)], 0..2_000_u64, unit(), 0..3_u64)
        .prop_map(|(base, times, unit, rest)| base + times * unit + rest)
}

fn unit() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(7), Just(SECOND), Just(300 * SECOND), Just(3_600 * SECOND), Just(DAY)]
}

fn interval() -> impl Strategy<Value = u64> {
    prop_oneof![(1..40_u64, unit()).prop_map(|(times, unit)| times * unit), 1..400 * 366 * DAY]
}

/// What the schedule answers as a wait; nothing where the occurrence lies beyond what a store time can express.
fn wait(schedule: &Schedule, now: u64, last: Option<&Last>) -> Option<i128> {
    schedule.next(at(now), last).map(|next| next.since(at(now)).as_nanos().into())
}

/// The twin knows no end of time: there both answers are "never" or they agree.
fn check_twin(answer: Option<i128>, twin: i128, now: u64) {
    let never = i128::from(now) + twin >= i128::from(u64::MAX);
    assert_eq!(answer, Some(twin).filter(|_| !never));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn waits_are_those_of_the_originals(
        now in moment(), last in proptest::option::of(moment()), interval in interval()
    ) {
        let known = last.map(|finished| run(finished, Some(finished)));
        let length = Duration::from_nanos(interval);
        let every = Schedule::wait_for_interval(length).unwrap();
        check_twin(wait(&every, now, known.as_ref()), twin::interval(now, last, interval), now);
        let rounded = Schedule::wait_for_rounded_interval(length).unwrap();
        check_twin(wait(&rounded, now, known.as_ref()), twin::rounded_interval(now, last, interval), now);
    }

    #[test]
    fn at_most_one_occurrence_is_due_and_it_is_the_next(
        now in moment(), last in proptest::option::of(moment()), interval in interval()
    ) {
        let known = last.map(|finished| run(finished, Some(finished)));
        let length = Duration::from_nanos(interval);
        for schedule in [Schedule::every(length).unwrap(), Schedule::wait_for_rounded_interval(length).unwrap()] {
            let next = schedule.next(at(now), known.as_ref());
            prop_assert_eq!(schedule.latest_due(at(now), known.as_ref()), next.filter(|next| *next <= at(now)));
            prop_assert_eq!(schedule.after(at(now)), None);
            prop_assert_eq!(schedule.until(at(now)), None);
            prop_assert_eq!(schedule.period_hint(at(now)), Span::from(length));
        }
    }

    /// Rounding never goes back behind the run, and never further ahead than an interval.
    #[test]
    fn a_rounded_interval_ends_within_an_interval(finished in moment(), interval in 1..40 * DAY) {
        let schedule = Schedule::wait_for_rounded_interval(Duration::from_nanos(interval)).unwrap();
        let next = schedule.next(at(0), Some(&run(finished, Some(finished)))).unwrap();
        prop_assert!(next > at(finished) && next.since(at(finished)) <= Span::from_nanos(interval));
    }
}

#[test]
fn a_run_that_never_ended_counts_from_its_start() {
    let every = Schedule::every(Duration::from_secs(10)).unwrap();
    assert_eq!(every.next(at(0), Some(&run(3 * SECOND, None))), Some(at(13 * SECOND)));
    assert_eq!(every.next(at(0), Some(&run(3 * SECOND, Some(5 * SECOND)))), Some(at(15 * SECOND)));
    let rounded = Schedule::wait_for_rounded_interval(Duration::from_secs(10)).unwrap();
    assert_eq!(rounded.next(at(0), Some(&run(9 * SECOND, None))), Some(at(10 * SECOND)));
    assert_eq!(rounded.next(at(0), Some(&run(9 * SECOND, Some(11 * SECOND)))), Some(at(20 * SECOND)));
}

/// The example of the originals' documentation: started at 12:01, 5 minutes; started at 12:04, rounded to 5 minutes.
#[test]
fn the_examples_of_the_originals_hold() {
    let minute = |minute: u64| (12 * 60 + minute) * 60 * SECOND;
    let five = Duration::from_secs(300);
    for (schedule, starts) in [
        (Schedule::wait_for_interval(five).unwrap(), [1, 6, 11, 16]),
        (Schedule::wait_for_rounded_interval(five).unwrap(), [4, 5, 10, 15]),
    ] {
        let mut last = None;
        for start in starts {
            let now = last.map_or(minute(start), |last: Last| last.started.as_nanos());
            assert_eq!(schedule.next(at(now), last.as_ref()), Some(at(minute(start))), "{schedule:?}");
            last = Some(run(minute(start), Some(minute(start))));
        }
    }
}

/// Seven days from the year 1 are Mondays: the epoch was a Thursday.
#[test]
fn a_week_is_rounded_to_mondays_in_utc() {
    let weekly = Schedule::wait_for_rounded_interval(Duration::from_nanos(7 * DAY)).unwrap();
    assert_eq!(weekly.next(at(0), Some(&run(0, Some(0)))), Some(at(4 * DAY)));
}

#[test]
fn a_job_that_never_ran_is_due_at_once_and_stays_due_at_its_anchor() {
    let (anchor, now) = (at(5 * SECOND), at(9 * SECOND));
    for schedule in [
        Schedule::every(Duration::from_secs(60)).unwrap(),
        Schedule::wait_for_rounded_interval(Duration::from_secs(60)).unwrap(),
    ] {
        assert_eq!(schedule.next(now, None), Some(now));
        assert_eq!(schedule.latest_due(now, None), Some(now));
        assert_eq!(schedule.next(anchor, None), Some(anchor));
    }
}

#[test]
fn what_lies_beyond_the_end_of_time_never_comes() {
    let forever = Schedule::every(Duration::MAX).unwrap();
    assert_eq!(forever.next(at(1), Some(&run(1, Some(1)))), None);
    assert_eq!(forever.latest_due(at(1), Some(&run(1, Some(1)))), None);
    let rounded = Schedule::wait_for_rounded_interval(Duration::MAX).unwrap();
    assert_eq!(rounded.next(at(1), Some(&run(u64::MAX - 1, None))), None);
}

/// A user's own strategy: every second day, and never before the run has ended.
fn every_second_day(now: StoreTime, last: Option<&Last>) -> Span {
    match last {
        None => Span::ZERO,
        Some(Last { finished: None, .. }) => Span::MAX,
        Some(Last { started, .. }) => (*started + Span::from_nanos(2 * DAY)).since(now),
    }
}

#[test]
fn a_custom_schedule_waits_as_long_as_its_function_answers() {
    let custom = Schedule::Custom(every_second_day);
    assert_eq!(custom.next(at(7), None), Some(at(7)));
    assert_eq!(custom.next(at(DAY), Some(&run(5, Some(9)))), Some(at(2 * DAY + 5)));
    assert_eq!(custom.latest_due(at(DAY), Some(&run(5, Some(9)))), None);
    assert_eq!(custom.latest_due(at(3 * DAY), Some(&run(5, Some(9)))), Some(at(3 * DAY)));
    assert_eq!(custom.next(at(DAY), Some(&run(5, None))), None);
    assert_eq!(custom.after(at(0)), None);
    assert_eq!(custom.period_hint(at(0)), Span::from_nanos(DAY));
    custom.validate().unwrap();
}

#[test]
fn schedules_of_different_kinds_differ() {
    let kinds = [
        Schedule::Interval(Span::from_secs(1)),
        Schedule::RoundedInterval(Span::from_secs(1)),
        Schedule::Interval(Span::from_secs(2)),
        Schedule::Custom(every_second_day),
    ];
    for (place, one) in kinds.iter().enumerate() {
        for (other_place, other) in kinds.iter().enumerate() {
            assert_eq!(one == other, place == other_place);
        }
    }
}

#[test]
fn a_zero_interval_is_refused_and_harmless_when_forced() {
    let refused = |schedule: Result<Schedule, ScheduleError>| schedule.unwrap_err().to_string();
    assert_eq!(refused(Schedule::every(Duration::ZERO)), "interval is 0; it must be positive");
    assert_eq!(refused(Schedule::wait_for_interval(Duration::ZERO)), "interval is 0; it must be positive");
    assert_eq!(
        refused(Schedule::wait_for_rounded_interval(Duration::ZERO)),
        "rounded interval is 0; it must be positive"
    );
    for forced in [Schedule::Interval(Span::ZERO), Schedule::RoundedInterval(Span::ZERO)] {
        forced.validate().unwrap_err();
        assert_eq!(forced.next(at(9), Some(&run(3, Some(5)))), Some(at(5)));
    }
}

#[cfg(feature = "serde")]
mod written {
    use super::*;

    fn read(json: &str) -> Result<Schedule, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn intervals_are_written_as_people_write_them_and_checked_when_read() {
        for (schedule, json) in [
            (Schedule::Interval(Span::from_secs(300)), r#"{"interval":{"secs":300,"nanos":0}}"#),
            (
                Schedule::RoundedInterval(Span::from_millis(1)),
                r#"{"rounded-interval":{"secs":0,"nanos":1000000}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&schedule).unwrap(), json);
            assert_eq!(read(json).unwrap(), schedule);
        }
        let refused = read(r#"{"interval":{"secs":0,"nanos":0}}"#).unwrap_err();
        assert!(refused.starts_with("interval is 0; it must be positive"), "{refused}");
    }

    #[test]
    fn a_custom_schedule_is_not_written() {
        assert_eq!(
            serde_json::to_string(&Schedule::Custom(every_second_day)).unwrap_err().to_string(),
            "a custom schedule is a function and cannot be written; accepted: interval, rounded-interval, cron"
        );
    }

    #[test]
    fn what_is_known_of_a_run_is_written() {
        let last = run(1, Some(2));
        let json = serde_json::to_string(&last).unwrap();
        assert_eq!(json, r#"{"occurrence":1,"started":1,"finished":2}"#);
        assert_eq!(serde_json::from_str::<Last>(&json).unwrap(), last);
    }

    #[cfg(not(feature = "cron"))]
    #[test]
    fn cron_is_refused_where_it_was_left_out() {
        let refused = read(r#"{"cron":{"expression":"@daily","zone":"UTC"}}"#).unwrap_err();
        let line = r#"cron expression "@daily" needs the feature `cron`; accepted without it: intervals"#;
        assert!(refused.starts_with(line), "{refused}");
    }
}
