//! Lengths of time and moments, as people write and read them.

use std::time::Duration;

use fencepost::time::StoreTime;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// No store keeps anything for longer.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A length of time that is positive.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|length| Duration::try_from(length).ok());
    parsed.filter(|length| !length.is_zero() && *length <= LONGEST).ok_or_else(|| {
        "accepted: a positive length of time, such as 500ms, 15s, 5m or 1h30m; a century at most".into()
    })
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    For(Duration),
    Forever,
}

impl Wait {
    pub(crate) fn parse(text: &str) -> Result<Wait, String> {
        match text {
            "no" => Ok(Wait::No),
            "forever" => Ok(Wait::Forever),
            _ => length(text).map(Wait::For).map_err(|accepted| format!("{accepted}; or forever, or no")),
        }
    }
}

/// What a moment looks like.
const MOMENTS: &str = "accepted: a moment with an offset or a zone, such as 2026-12-24T18:00:00Z, \
    2026-12-24T18:00+01:00 or 2026-12-24T18:00[Europe/Berlin]; or one without, and --tz";

/// A moment on the store's clock. One that names no offset is read in `zone`.
pub(crate) fn moment(text: &str, zone: Option<&str>) -> Result<StoreTime, String> {
    let zoned = || text.parse::<Zoned>().ok().map(|moment| moment.timestamp());
    let read = match (text.parse::<Timestamp>().ok().or_else(zoned), zone) {
        (Some(moment), _) => Some(moment),
        (None, Some(zone)) => {
            let zone = TimeZone::get(zone).map_err(|_| {
                format!("time zone {zone:?} is not known; accepted: IANA names such as Europe/Berlin or UTC")
            })?;
            let civil = text.parse::<DateTime>().ok();
            civil.and_then(|civil| civil.to_zoned(zone).ok()).map(|moment| moment.timestamp())
        }
        (None, None) => None,
    };
    let nanos = read.and_then(|moment| u64::try_from(moment.as_nanosecond()).ok());
    nanos
        .map(StoreTime::from_nanos)
        .ok_or_else(|| format!("{text:?} is no moment between 1970 and 2554; {MOMENTS}"))
}

/// A moment of the store's clock, as RFC 3339 writes it.
pub(crate) fn written(at: StoreTime) -> String {
    match Timestamp::from_nanosecond(i128::from(at.as_nanos())) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => "never".into(),
    }
}

/// A length of time for people: no finer than they can use.
pub(crate) fn told(length: Duration) -> String {
    let length = if length.as_secs() >= 10 {
        Duration::from_secs(length.as_secs())
    } else {
        Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    };
    SignedDuration::try_from(length).map_or_else(|_| "584 years".into(), |length| format!("{length:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_what_people_write() {
        for (text, millis) in [("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("1h30m", 5_400_000)] {
            assert_eq!(length(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0s", "-5s", "876001h", "5", "soon", "5 parsecs"] {
            assert!(length(text).is_err_and(|said| said.contains("such as 500ms")), "{text}");
        }
        assert_eq!(Wait::parse("forever"), Ok(Wait::Forever));
        assert!(Wait::parse("yes").is_err_and(|said| said.ends_with("or forever, or no")));
    }

    #[test]
    fn a_moment_needs_an_offset_or_a_zone() {
        let six = StoreTime::from_nanos(1_798_131_600_000_000_000);
        for (text, zone) in [
            ("2026-12-24T17:00:00Z", None),
            ("2026-12-24T18:00+01:00", None),
            ("2026-12-24T18:00[Europe/Berlin]", None),
            ("2026-12-24T18:00", Some("Europe/Berlin")),
            ("2026-12-24T17:00Z", Some("Europe/Berlin")),
        ] {
            assert_eq!(moment(text, zone), Ok(six), "{text} {zone:?}");
        }
        assert_eq!(written(six), "2026-12-24T17:00:00.000Z");
        for (text, zone) in [("2026-12-24T18:00", None), ("tomorrow", None), ("1969-01-01T00:00Z", None)] {
            assert!(
                moment(text, zone).is_err_and(|said| said.contains("or one without, and --tz")),
                "{text}"
            );
        }
        assert!(moment("2026-12-24T18:00", Some("Mars/Olympus")).is_err_and(|said| said.contains("IANA")));
    }
}
