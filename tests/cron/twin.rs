//! Two other readings of the same expressions: a dumb twin that walks through time minute by minute and looks at the
//! clock on the wall, and another crate.

use std::collections::BTreeSet;

use fencepost::calendar::CronSchedule;
use fencepost::time::StoreTime;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{occurrences, occurrences_backwards, store_time, zone};

/// Which days a field of days names.
#[derive(Clone, Copy, Debug)]
enum Day {
    OfMonth(i8),
    LastOfMonth,
    LastWorking,
    WorkingNear(i8),
    OfWeek(i8),
    NthOfWeek(i8, i8),
    LastOfWeek(i8),
}

impl Day {
    fn text(self) -> String {
        match self {
            Day::OfMonth(day) | Day::OfWeek(day) => day.to_string(),
            Day::LastOfMonth => "L".into(),
            Day::LastWorking => "LW".into(),
            Day::WorkingNear(day) => format!("{day}W"),
            Day::NthOfWeek(day, nth) => format!("{day}#{nth}"),
            Day::LastOfWeek(day) => format!("{day}L"),
        }
    }

    /// Looks through the whole month for the days that are meant.
    fn matches(self, date: Date) -> bool {
        let month: Vec<Date> = date.first_of_month().series(jiff::Span::new().days(1)).take(31).collect();
        let month: Vec<Date> = month.into_iter().filter(|day| day.month() == date.month()).collect();
        let of_week = |day: &Date, weekday: i8| day.weekday().to_sunday_zero_offset() == weekday % 7;
        let working = |day: &&Date| !of_week(day, 0) && !of_week(day, 6);
        let meant = match self {
            Day::OfMonth(number) => month.iter().find(|day| day.day() == number),
            Day::LastOfMonth => month.last(),
            Day::LastWorking => month.iter().rfind(working),
            Day::WorkingNear(number) if usize::from(number.unsigned_abs()) > month.len() => None,
            Day::WorkingNear(number) => {
                month.iter().filter(working).min_by_key(|day| (day.day() - number).abs())
            }
            Day::OfWeek(weekday) => return of_week(&date, weekday),
            Day::NthOfWeek(weekday, nth) => {
                month.iter().filter(|day| of_week(day, weekday)).nth(usize::from(nth.unsigned_abs()) - 1)
            }
            Day::LastOfWeek(weekday) => month.iter().rfind(|day| of_week(day, weekday)),
        };
        meant == Some(&date)
    }
}

/// A field as it is written and what it means.
#[derive(Clone, Debug)]
struct Values {
    text: String,
    values: BTreeSet<i8>,
}

#[derive(Clone, Debug)]
struct Twin {
    second: Option<Values>,
    minute: Values,
    hour: Values,
    days_of_month: Vec<Day>,
    month: Values,
    days_of_week: Vec<Day>,
    both: bool,
}

impl Twin {
    fn expression(&self) -> String {
        let days = |days: &[Day]| {
            let texts: Vec<String> = days.iter().map(|day| day.text()).collect();
            if texts.is_empty() { "*".into() } else { texts.join(",") }
        };
        let second = self.second.as_ref().map_or(String::new(), |second| format!("{} ", second.text));
        let both = if self.both { "+" } else { "" };
        format!(
            "{second}{} {} {} {} {both}{}",
            self.minute.text,
            self.hour.text,
            days(&self.days_of_month),
            self.month.text,
            days(&self.days_of_week)
        )
    }

    fn matches(&self, shown: DateTime) -> bool {
        let second = match &self.second {
            Some(second) => second.values.contains(&shown.second()),
            None => shown.second() == 0,
        };
        second
            && self.minute.values.contains(&shown.minute())
            && self.hour.values.contains(&shown.hour())
            && self.month.values.contains(&shown.month())
            && self.matches_day(shown.date())
    }

    fn matches_day(&self, date: Date) -> bool {
        let of_month = self.days_of_month.iter().any(|day| day.matches(date));
        let of_week = self.days_of_week.iter().any(|day| day.matches(date));
        match (self.days_of_month.is_empty(), self.days_of_week.is_empty()) {
            (true, true) => true,
            (true, false) => of_week,
            (false, true) => of_month,
            (false, false) if self.both => of_month && of_week,
            (false, false) => of_month || of_week,
        }
    }

    /// Looks at a clock in each minute, or second. A job at a fixed time runs when the clock shows for the first
    /// time what the job waits for, or has jumped over it; any other runs whenever the clock shows a match.
    fn occurrences(&self, zone: &TimeZone, from: i64, to: i64) -> Vec<StoreTime> {
        let tick = if self.second.is_some() { 1 } else { 60 };
        let fixed = !format!("{} {}", self.minute.text, self.hour.text).contains(['*', '/']);
        let clock = |at: i64| zone.to_datetime(Timestamp::from_second(at).unwrap());
        let mut latest = (from - 3 * 86_400..from).step_by(60).map(clock).max().unwrap();
        latest = latest.max(clock(from - tick));
        let mut found = Vec::new();
        for at in (from..to).step_by(tick as usize) {
            let shown = clock(at);
            let runs = if fixed {
                let seen_first = latest.series(jiff::Span::new().seconds(tick)).skip(1);
                seen_first.take_while(|new| *new <= shown).any(|new| self.matches(new))
            } else {
                self.matches(shown)
            };
            latest = latest.max(shown);
            if runs {
                found.push(store_time(at));
            }
        }
        found
    }
}

/// A star, a step, a value, a range, a range with a step, or a list.
fn values(least: i8, most: i8) -> impl Strategy<Value = Values> {
    let all = move |step: i8| (least..=most).step_by(step as usize);
    let star = Just(Values { text: "*".into(), values: all(1).collect() });
    let step =
        (2..=most).prop_map(move |step| Values { text: format!("*/{step}"), values: all(step).collect() });
    let item = prop_oneof![
        3 => (least..=most).prop_map(|value| Values { text: value.to_string(), values: [value].into() }),
        1 => (least..=most, least..=most).prop_map(|(one, other)| {
            let (first, last) = (one.min(other), one.max(other));
            Values { text: format!("{first}-{last}"), values: (first..=last).collect() }
        }),
        1 => (least..=most, least..=most, 1..=most).prop_map(|(one, other, step)| {
            let (first, last) = (one.min(other), one.max(other));
            let values = (first..=last).step_by(step as usize).collect();
            Values { text: format!("{first}-{last}/{step}"), values }
        }),
    ];
    let list = proptest::collection::vec(item, 1..=3).prop_map(|items| {
        let texts: Vec<String> = items.iter().map(|item| item.text.clone()).collect();
        let values = items.into_iter().flat_map(|item| item.values).collect();
        Values { text: texts.join(","), values }
    });
    prop_oneof![2 => star, 1 => step, 4 => list]
}

fn days_of_month() -> impl Strategy<Value = Day> {
    prop_oneof![
        4 => (1..=31_i8).prop_map(Day::OfMonth),
        1 => Just(Day::LastOfMonth),
        1 => (1..=31_i8).prop_map(Day::WorkingNear),
    ]
}

fn days_of_week() -> impl Strategy<Value = Day> {
    prop_oneof![
        4 => (0..=7_i8).prop_map(Day::OfWeek),
        1 => (0..=7_i8, 1..=5_i8).prop_map(|(day, nth)| Day::NthOfWeek(day, nth)),
        1 => (0..=7_i8).prop_map(Day::LastOfWeek),
    ]
}

/// `dense` leaves the days open more often, so that something is due in a short stretch of time.
fn twin(second: impl Strategy<Value = Option<Values>>, dense: bool) -> impl Strategy<Value = Twin> {
    let (open, most) = if dense { (6, 6) } else { (1, 2) };
    let months = prop_oneof![
        open => Just(Values { text: "*".into(), values: (1..=12).collect() }),
        1 => values(1, 12),
    ];
    let of_month = prop_oneof![
        most => Just(Vec::new()),
        4 => proptest::collection::vec(days_of_month(), 1..=3),
        1 => Just(vec![Day::LastWorking]),
    ];
    let of_week =
        prop_oneof![most => Just(Vec::new()), 4 => proptest::collection::vec(days_of_week(), 1..=3)];
    (second, values(0, 59), values(0, 23), of_month, months, of_week, any::<bool>()).prop_map(
        |(second, minute, hour, days_of_month, month, days_of_week, both)| {
            let both = both && !days_of_month.is_empty() && !days_of_week.is_empty();
            Twin { second, minute, hour, days_of_month, month, days_of_week, both }
        },
    )
}

const ZONES: [&str; 16] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "UTC",
];

/// A change of clocks in a zone, or any moment where clocks never change.
fn moment() -> impl Strategy<Value = (&'static str, i64)> {
    (select(&ZONES[..]), any::<Index>()).prop_map(|(name, index)| {
        let from = 5 * 86_400 + i64::try_from(index.index(100 * 365 * 86_400)).unwrap();
        let zone = zone(name);
        let next = zone.following(Timestamp::from_second(from).unwrap()).next();
        (name, next.map_or(from, |change| change.timestamp().as_second()) / 60 * 60)
    })
}

/// Compares a stretch of time, in both directions; an expression without any occurrence compares as empty.
fn check_stretch(twin: &Twin, zone_name: &str, from: i64, to: i64) {
    let expected = twin.occurrences(&zone(zone_name), from, to);
    let Ok(cron) = CronSchedule::new(&twin.expression(), zone_name) else {
        assert_eq!(expected, [], "{}", twin.expression());
        return;
    };
    let (from, to) = (store_time(from), store_time(to));
    assert_eq!(occurrences(&cron, from, to), expected, "{cron:?}");
    assert_eq!(occurrences_backwards(&cron, from, to), expected, "{cron:?}, backwards");
    for between in (from.as_nanos()..to.as_nanos()).step_by(997_000_000_000).map(StoreTime::from_nanos) {
        let (past, future) = expected.split_at(expected.partition_point(|occurrence| *occurrence <= between));
        assert_eq!(
            cron.after(between).filter(|next| *next < to),
            future.first().copied(),
            "{cron:?} {between:?}"
        );
        assert_eq!(
            cron.until(between).filter(|last| *last >= from),
            past.last().copied(),
            "{cron:?} {between:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn occurrences_are_those_that_a_watcher_of_clocks_sees(
        twin in twin(Just(None), true), (zone, change) in moment()
    ) {
        check_stretch(&twin, zone, change - 40 * 3_600, change + 40 * 3_600);
    }

    #[test]
    fn seconds_are_those_that_a_watcher_of_clocks_sees(
        twin in twin(values(0, 59).prop_map(Some), true), (zone, change) in moment()
    ) {
        check_stretch(&twin, zone, change - 4_000, change + 4_000);
    }

    /// Days are compared one by one over some years, so that rare ones are met.
    #[test]
    fn days_are_those_of_the_calendar(twin in twin(Just(None), false), start in 0..20_000_i64) {
        let at_noon = Values { text: "12".into(), values: [12].into() };
        let at_full = Values { text: "0".into(), values: [0].into() };
        let twin = Twin { hour: at_noon, minute: at_full, ..twin };
        let noon = |day: i64| (start + day) * 86_400 + 43_200;
        let day_of = |second: i64| TimeZone::UTC.to_datetime(Timestamp::from_second(second).unwrap());
        let expected = (0..1_500).map(noon).filter(|noon| twin.matches(day_of(*noon)));
        let expected: Vec<StoreTime> = expected.map(store_time).collect();
        match CronSchedule::new(&twin.expression(), "UTC") {
            Err(_) => prop_assert_eq!(expected, vec![]),
            Ok(cron) => {
                let (from, to) = (store_time(noon(0)), store_time(noon(1_500)));
                prop_assert_eq!(occurrences(&cron, from, to), &expected[..]);
                prop_assert_eq!(occurrences_backwards(&cron, from, to), expected);
            }
        }
    }

    /// The crate `cronexpr` has a parser and a search of its own. It knows neither LW nor +, and what its version 1.7
    /// takes for the last days of December is wrong, so L stays out.
    #[test]
    fn another_crate_reads_the_same(twin in twin(Just(None), false), start in 0..2_000_000_000_i64) {
        let shared = |day: &Day| !matches!(day, Day::LastWorking | Day::LastOfMonth | Day::LastOfWeek(_));
        let mut twin = Twin { both: false, ..twin };
        twin.days_of_month.retain(shared);
        twin.days_of_week.retain(shared);
        let expression = twin.expression();
        let start = Timestamp::from_second(start).unwrap();
        // It gives up after four years.
        let end = start.as_second() + 1_400 * 86_400;
        let other = cronexpr::parse_crontab(&format!("{expression} UTC")).unwrap();
        let expected = other.iter_after(start).unwrap().map_while(|next| next.ok()).take(20);
        let expected = expected.map(|next| next.timestamp().as_second()).take_while(|next| *next < end);
        let expected: Vec<StoreTime> = expected.map(store_time).collect();
        let found = CronSchedule::new(&expression, "UTC").map_or(vec![], |cron| {
            let first = cron.after(store_time(start.as_second()));
            let found = std::iter::successors(first, |last| cron.after(*last)).take(20);
            found.take_while(|next| *next < store_time(end)).collect()
        });
        prop_assert_eq!(found, expected, "{}", expression);
    }

    #[test]
    fn no_text_panics_and_what_is_accepted_occurs(
        text in "[-*/,0-9LW#?+@a-zA-Z ]{0,24}|([-*/,0-9LW#?+MONJASEPTUFRI]{1,5} ){4,5}[-*/,0-9L#?+]{1,4}|\\PC{0,20}"
    ) {
        if let Ok(cron) = CronSchedule::new(&text, "America/New_York") {
            prop_assert!(cron.from(StoreTime::ZERO).is_some());
        }
    }
}
