//! What is accepted, and the line that refuses all else.

use fencepost::calendar::CronSchedule;

use super::{at, cron, occurrences};

#[test]
fn names_and_nicknames_are_accepted() {
    let same = |one: &str, other: &str| {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2027-01-02T00:00:00Z"));
        let (one, other) = (cron(one, "UTC"), cron(other, "UTC"));
        assert_eq!(occurrences(&one, from, to), occurrences(&other, from, to), "{one:?} {other:?}");
    };
    same("@hourly", "0 * * * *");
    same("@daily", "0 0 * * *");
    same("@Weekly", "0 0 * * 0");
    same("@monthly", "0 0 1 * *");
    same("@yearly", "0 0 1 1 *");
    same("@annually", "0 0 1 1 *");
    same("0 9 * jan-mar,Dec mon-FRI", "0 9 * 1,2,3,12 1,2,3,4,5");
    same("0 9 * * SAT-SUN", "0 9 * * 6,0");
    same("0 9 ? * 7", "0 9 * * SUN");
    same("0 0 9 1 1 ?", "0 9 1 1 *");
    same("0 9 * * 5#L", "0 9 * * friL");
    same("0 9 1-7 * +MON", "0 9 * * MON#1");
    same("\t0  9\n* * * ", "00 09 * * *");
}

#[test]
fn what_is_not_understood_is_named() {
    let time = "0-59, *, ranges a-b, steps */n and a-b/n, and lists of these";
    let refused = |expression: &str, line: &str| {
        assert_eq!(CronSchedule::new(expression, "UTC").unwrap_err().to_string(), line);
    };
    let field = |expression: &str, field: &str, found: &str, accepted: &str| {
        let line = format!(
            "cron expression {expression:?}: {field} {found:?} is not understood; accepted: {accepted}"
        );
        refused(expression, &line);
    };
    field("60 * * * *", "minute", "60", time);
    field("0 60 * * * *", "minute", "60", time);
    field("60 0 * * * *", "second", "60", time);
    field("MON * * * *", "minute", "MON", time);
    field("5/15 * * * *", "minute", "5/15", time);
    field("1,,2 * * * *", "minute", "1,,2", time);
    field("*/0 * * * *", "minute", "*/0", time);
    field("30-10 * * * *", "minute", "30-10", time);
    field("0 24 * * *", "hour", "24", &time.replace("59", "23"));
    let day_of_month = "1-31, *, ?, ranges a-b, steps */n and a-b/n, L (the last day), 15W (the working day nearest \
                        to the 15th), LW (the last working day), and lists of these";
    for found in ["0", "32", "L-3", "5L", "MON", "40W", "+1"] {
        field(&format!("0 0 {found} * *"), "day of month", found, day_of_month);
    }
    let month = "1-12, JAN-DEC, *, ranges a-b, steps */n and a-b/n, and lists of these";
    for found in ["0", "13", "MON", "JANUARY", "?"] {
        field(&format!("0 0 * {found} *"), "month", found, month);
    }
    let day_of_week = "0-7 and SUN-SAT (0 and 7 are Sunday), *, ?, ranges a-b, steps */n and a-b/n, 5#2 (the second \
                       Friday), 5L (the last Friday), lists of these, and + in front if the day of month must match \
                       too";
    for found in ["8", "JAN", "L", "MON,L", "1#6", "1#0", "#2", "+", "MONDAY", "FRI-MON"] {
        field(&format!("0 0 1 * {found}"), "day of week", found, day_of_week);
    }
}

#[test]
fn what_has_no_meaning_is_refused_with_what_has() {
    for (expression, found) in
        [("", 0), ("* * * *", 4), ("* * * * * * 2026", 7), ("@reboot", 1), ("@daily *", 2)]
    {
        assert_eq!(
            CronSchedule::new(expression, "UTC").unwrap_err().to_string(),
            format!(
                "cron expression {expression:?} has {found} fields; accepted: 5 (minute, hour, day of month, month, \
                 day of week), 6 with seconds in front, or @hourly, @daily, @weekly, @monthly, @yearly"
            )
        );
    }
    for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 8 * +MON#1", "0 0 31W 2 *"] {
        assert_eq!(
            CronSchedule::new(expression, "UTC").unwrap_err().to_string(),
            format!(
                "cron expression {expression:?} never occurs; accepted: days that exist in at least one of its \
                 months, such as 29 in month 2"
            )
        );
    }
    for zone in ["", "Mars/Olympus", "CET-1CEST", "+02:00", "Etc/Unknown", "Europe/Berlin "] {
        assert_eq!(
            CronSchedule::new("@daily", zone).unwrap_err().to_string(),
            format!(
                "time zone {zone:?} is not known; accepted: names of the IANA time zone database, such as \
                 Europe/Berlin or UTC"
            )
        );
    }
}
