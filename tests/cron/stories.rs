//! Stories: what is due when real clocks change, and what a schedule answers about it.

use fencepost::calendar::{Last, Schedule};
use fencepost::time::{Span, StoreTime};
use jiff::Timestamp;
use jiff::civil::DateTime;

use super::{SECOND, at, cron, occurrences, occurrences_backwards, seconds, store_time, zone};

/// What clocks show at each occurrence of a stretch of days, with their offset from UTC; in both directions.
#[track_caller]
fn check(expression: &str, zone_name: &str, from: &str, to: &str, shown: &[&str]) {
    let (cron, zone) = (cron(expression, zone_name), zone(zone_name));
    let instant = |date: &str| date.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let (from, to) = (store_time(instant(from).as_second()), store_time(instant(to).as_second()));
    let show = |occurrence: StoreTime| {
        let zoned = Timestamp::from_second(seconds(occurrence)).unwrap().to_zoned(zone.clone());
        zoned.strftime("%m-%d %H:%M:%S %:z").to_string()
    };
    let found: Vec<String> = occurrences(&cron, from, to).into_iter().map(show).collect();
    assert_eq!(found, shown, "{cron:?}");
    let found: Vec<String> = occurrences_backwards(&cron, from, to).into_iter().map(show).collect();
    assert_eq!(found, shown, "{cron:?}, backwards");
}

#[test]
fn berlin_leaves_an_hour_out() {
    let spring = |expression: &str, shown: &[&str]| {
        check(expression, "Europe/Berlin", "2026-03-29T00:00", "2026-03-29T04:00", shown);
    };
    spring("30 2 * * *", &["03-29 03:00:00 +02:00"]);
    spring("0 2 29 3 *", &["03-29 03:00:00 +02:00"]);
    spring("0,15,30 2 * * *", &["03-29 03:00:00 +02:00"]);
    spring("0 2,3 * * *", &["03-29 03:00:00 +02:00"]);
    spring("15 1-3 * * *", &["03-29 01:15:00 +01:00", "03-29 03:00:00 +02:00", "03-29 03:15:00 +02:00"]);
    spring("*/20 30 2 * * *", &["03-29 03:00:00 +02:00"]);
    spring("*/30 2 * * *", &[]);
    spring("30 */2 * * *", &["03-29 00:30:00 +01:00"]);
    spring("30 * * * *", &["03-29 00:30:00 +01:00", "03-29 01:30:00 +01:00", "03-29 03:30:00 +02:00"]);
    spring("59 1 * * *", &["03-29 01:59:00 +01:00"]);
    spring("0 3 * * *", &["03-29 03:00:00 +02:00"]);
}

#[test]
fn berlin_repeats_an_hour() {
    let autumn = |expression: &str, shown: &[&str]| {
        check(expression, "Europe/Berlin", "2026-10-25T01:00", "2026-10-25T04:00", shown);
    };
    autumn("30 2 * * *", &["10-25 02:30:00 +02:00"]);
    autumn("0 2 * * *", &["10-25 02:00:00 +02:00"]);
    autumn("0 3 * * *", &["10-25 03:00:00 +01:00"]);
    autumn("59 2,3 * * *", &["10-25 02:59:00 +02:00", "10-25 03:59:00 +01:00"]);
    autumn("*/30 0 2 * * *", &["10-25 02:00:00 +02:00", "10-25 02:00:30 +02:00"]);
    autumn(
        "*/30 2 * * *",
        &["10-25 02:00:00 +02:00", "10-25 02:30:00 +02:00", "10-25 02:00:00 +01:00", "10-25 02:30:00 +01:00"],
    );
    autumn(
        "0 * * * *",
        &["10-25 01:00:00 +02:00", "10-25 02:00:00 +02:00", "10-25 02:00:00 +01:00", "10-25 03:00:00 +01:00"],
    );
    autumn("30 */2 * * *", &["10-25 02:30:00 +02:00", "10-25 02:30:00 +01:00"]);
}

/// An instance that starts in the repeated hour sees no second occurrence, and knows of the first.
#[test]
fn the_repeated_hour_is_over_for_a_fixed_time() {
    let (once, each) = (cron("30 2 * * *", "Europe/Berlin"), cron("30 * * * *", "Europe/Berlin"));
    let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
    let in_second_hour = at("2026-10-25T01:10:00Z");
    assert_eq!(once.after(in_second_hour), Some(at("2026-10-26T01:30:00Z")));
    assert_eq!(once.until(in_second_hour), Some(first));
    assert_eq!(once.until(second), Some(first));
    assert_eq!(each.after(in_second_hour), Some(second));
    assert_eq!(each.until(in_second_hour), Some(first));
}

#[test]
fn new_york_changes_on_its_own_days() {
    let zone = "America/New_York";
    check("30 2 * * *", zone, "2026-03-08T00:00", "2026-03-09T00:00", &["03-08 03:00:00 -04:00"]);
    check("30 2 * * *", zone, "2026-03-29T00:00", "2026-03-30T00:00", &["03-29 02:30:00 -04:00"]);
    check("30 1 * * *", zone, "2026-11-01T00:00", "2026-11-02T00:00", &["11-01 01:30:00 -04:00"]);
    check(
        "30 * * * *",
        zone,
        "2026-11-01T01:00",
        "2026-11-01T03:00",
        &["11-01 01:30:00 -04:00", "11-01 01:30:00 -05:00", "11-01 02:30:00 -05:00"],
    );
}

#[test]
fn lord_howe_changes_by_half_an_hour() {
    let zone = "Australia/Lord_Howe";
    check("15 2 * * *", zone, "2026-10-04T00:00", "2026-10-05T00:00", &["10-04 02:30:00 +11:00"]);
    check("45 2 * * *", zone, "2026-10-04T00:00", "2026-10-05T00:00", &["10-04 02:45:00 +11:00"]);
    check(
        "*/15 * * * *",
        zone,
        "2026-10-04T01:30",
        "2026-10-04T02:46",
        &["10-04 01:30:00 +10:30", "10-04 01:45:00 +10:30", "10-04 02:30:00 +11:00", "10-04 02:45:00 +11:00"],
    );
    check("45 1 * * *", zone, "2026-04-05T00:00", "2026-04-06T00:00", &["04-05 01:45:00 +11:00"]);
    check(
        "45 */1 * * *",
        zone,
        "2026-04-05T01:00",
        "2026-04-05T03:00",
        &["04-05 01:45:00 +11:00", "04-05 01:45:00 +10:30", "04-05 02:45:00 +10:30"],
    );
}

/// There, summers began at midnight: the day had no 00:00.
#[test]
fn sao_paulo_had_days_without_a_midnight() {
    let zone = "America/Sao_Paulo";
    check("@daily", zone, "2018-11-03T12:00", "2018-11-04T12:00", &["11-04 01:00:00 -02:00"]);
    check("30 0 4 * *", zone, "2018-11-03T12:00", "2018-11-04T12:00", &["11-04 01:00:00 -02:00"]);
    check("30 23 * * *", zone, "2019-02-16T12:00", "2019-02-17T12:00", &["02-16 23:30:00 -02:00"]);
    check("@daily", zone, "2019-02-16T12:00", "2019-02-17T12:00", &["02-17 00:00:00 -03:00"]);
    check("@daily", zone, "2026-11-01T00:00", "2026-11-02T00:00", &["11-01 00:00:00 -03:00"]);
}

#[test]
fn kathmandu_is_a_quarter_of_an_hour_apart() {
    let next = |text| cron("0 9 * * *", "Asia/Kathmandu").from(at(text));
    assert_eq!(next("2026-05-01T00:00:00Z"), Some(at("2026-05-01T03:15:00Z")));
    check("0 9 * * *", "Asia/Kathmandu", "2026-05-01T00:00", "2026-05-02T00:00", &["05-01 09:00:00 +05:45"]);
    // Until 1986 it was half an hour apart, and the year began with a gap of 15 minutes.
    check("5 0 * * *", "Asia/Kathmandu", "1985-12-31T12:00", "1986-01-01T12:00", &["01-01 00:15:00 +05:45"]);
}

/// Samoa crossed the date line: no 2011-12-30.
#[test]
fn apia_left_a_day_out() {
    let zone = "Pacific/Apia";
    let week = |expression: &str, shown: &[&str]| {
        check(expression, zone, "2011-12-29T00:00", "2012-01-01T00:00", shown);
    };
    week("0 9 30 12 *", &["12-31 00:00:00 +14:00"]);
    week("0 9 * * *", &["12-29 09:00:00 -10:00", "12-31 00:00:00 +14:00", "12-31 09:00:00 +14:00"]);
    week("0 9 * * FRI", &["12-31 00:00:00 +14:00"]);
    week("0 */12 30 12 *", &[]);
    week(
        "0 */12 * * *",
        &["12-29 00:00:00 -10:00", "12-29 12:00:00 -10:00", "12-31 00:00:00 +14:00", "12-31 12:00:00 +14:00"],
    );
}

/// Until January 1972 Monrovia's clocks were 44 minutes and 30 seconds behind.
#[test]
fn monrovia_had_an_offset_with_seconds() {
    let hours = |expression: &str| {
        let (from, to) = (at("1972-01-06T22:00:00Z"), at("1972-01-07T02:00:00Z"));
        let found = occurrences(&cron(expression, "Africa/Monrovia"), from, to);
        assert_eq!(found, occurrences_backwards(&cron(expression, "Africa/Monrovia"), from, to));
        found
    };
    let each_hour = ["1972-01-06T22:44:30Z", "1972-01-06T23:44:30Z", "1972-01-07T01:00:00Z"];
    assert_eq!(hours("0 * * * *"), each_hour.map(at));
    assert_eq!(hours("10 0 7 1 *"), [at("1972-01-07T00:44:30Z")]);
}

#[test]
fn a_cron_schedule_follows_its_last_occurrence() {
    let schedule = Schedule::cron("0 9 * * *", "UTC").unwrap();
    let (first, now) = (at("2026-05-01T09:00:00Z"), at("2026-05-03T12:00:00Z"));
    let ran = Last { occurrence: first, started: first, finished: Some(at("2026-05-02T10:00:00Z")) };
    assert_eq!(schedule.next(now, Some(&ran)), Some(at("2026-05-02T09:00:00Z")));
    assert_eq!(schedule.latest_due(now, Some(&ran)), Some(at("2026-05-03T09:00:00Z")));
    assert_eq!(schedule.latest_due(at("2026-05-02T08:59:59Z"), Some(&ran)), None);
    assert_eq!(schedule.after(at("2026-05-02T09:00:00Z")), Some(at("2026-05-03T09:00:00Z")));
    assert_eq!(schedule.until(now), Some(at("2026-05-03T09:00:00Z")));
}

#[test]
fn a_cron_job_that_never_ran_starts_at_its_anchor() {
    let schedule = Schedule::cron("0 9 * * *", "UTC").unwrap();
    let nine = at("2026-05-01T09:00:00Z");
    let nano = Span::from_nanos(1);
    assert_eq!(schedule.next(nine - nano, None), Some(nine));
    assert_eq!(schedule.next(nine, None), Some(nine));
    assert_eq!(schedule.next(nine + nano, None), Some(at("2026-05-02T09:00:00Z")));
    assert_eq!(schedule.latest_due(nine, None), Some(nine));
    assert_eq!(schedule.latest_due(nine + nano, None), None);
    // A simulated store's clock begins at the epoch, and so may an occurrence.
    assert_eq!(Schedule::cron("@daily", "UTC").unwrap().next(StoreTime::ZERO, None), Some(StoreTime::ZERO));
    assert_eq!(Schedule::cron("@daily", "UTC").unwrap().until(StoreTime::ZERO), Some(StoreTime::ZERO));
}

#[test]
fn a_period_is_the_longer_of_the_gaps_nearby() {
    let hours = |expression: &str, text| {
        let schedule = Schedule::cron(expression, "Europe/Berlin").unwrap();
        schedule.period_hint(at(text)).as_nanos() / (3_600 * SECOND)
    };
    assert_eq!(hours("0 * * * *", "2026-05-01T12:30:00Z"), 1);
    assert_eq!(hours("0 9 * * MON-FRI", "2026-05-06T12:00:00Z"), 24);
    assert_eq!(hours("0 9 * * MON-FRI", "2026-05-07T12:00:00Z"), 72);
    assert_eq!(hours("0 9 * * *", "2026-10-24T12:00:00Z"), 25);
    assert_eq!(hours("0 0 29 2 *", "2026-05-01T12:00:00Z"), 4 * 365 * 24 + 24);
    assert_eq!(Schedule::cron("@daily", "UTC").unwrap().period_hint(StoreTime::MAX), Span::MAX);
}

#[test]
fn time_ends_in_2554() {
    let yearly = cron("@yearly", "Europe/Berlin");
    assert_eq!(yearly.after(at("2553-01-01T00:00:00Z")), Some(at("2553-12-31T23:00:00Z")));
    assert_eq!(yearly.after(at("2553-12-31T23:00:00Z")), None);
    assert_eq!(yearly.after(StoreTime::MAX), None);
    assert_eq!(yearly.until(StoreTime::MAX), Some(at("2553-12-31T23:00:00Z")));
    // In Berlin 1970 began an hour before the epoch.
    assert_eq!(yearly.until(at("1970-12-31T22:59:59Z")), None);
    assert_eq!(yearly.from(StoreTime::ZERO), Some(at("1970-12-31T23:00:00Z")));
}

#[test]
fn equal_schedules_are_those_with_the_same_words() {
    let nine = Schedule::cron(" 0 9 * * * ", "europe/berlin").unwrap();
    assert_eq!(nine, Schedule::cron("0 9 * * *", "Europe/Berlin").unwrap());
    assert_ne!(nine, Schedule::cron("0 9 * * *", "Europe/Paris").unwrap());
    assert_ne!(nine, Schedule::cron("0 8 * * *", "Europe/Berlin").unwrap());
    assert_ne!(nine, Schedule::Interval(Span::ZERO));
    nine.validate().unwrap();
    assert_eq!(format!("{nine:?}"), r#"Cron(CronSchedule("0 9 * * *", "Europe/Berlin"))"#);
}

#[cfg(feature = "serde")]
#[test]
fn a_cron_schedule_is_written_as_people_write_it() {
    let schedule = Schedule::cron("0 9 * * mon", "europe/berlin").unwrap();
    let json = serde_json::to_string(&schedule).unwrap();
    assert_eq!(json, r#"{"cron":{"expression":"0 9 * * mon","zone":"Europe/Berlin"}}"#);
    assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    let refused = serde_json::from_str::<Schedule>(r#"{"cron":{"expression":"0 0 30 2 *","zone":"UTC"}}"#);
    assert!(refused.unwrap_err().to_string().contains("never occurs"));
}

/// Machines and their drivers move between threads.
#[test]
fn a_schedule_may_be_sent_and_shared() {
    fn check<T: Send + Sync>(_: &T) {}
    check(&Schedule::cron("@daily", "UTC").unwrap());
}
