//! A schedule as people write it.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{Schedule, ScheduleError};

#[derive(Serialize, Deserialize)]
#[serde(rename = "Schedule", rename_all = "kebab-case", deny_unknown_fields)]
enum Written {
    Interval(Duration),
    RoundedInterval(Duration),
    Cron { expression: String, zone: String },
}

impl Written {
    fn read(self) -> Result<Schedule, ScheduleError> {
        match self {
            Written::Interval(interval) => Schedule::wait_for_interval(interval),
            Written::RoundedInterval(interval) => Schedule::wait_for_rounded_interval(interval),
            #[cfg(feature = "cron")]
            Written::Cron { expression, zone } => Schedule::cron(&expression, &zone),
            #[cfg(not(feature = "cron"))]
            Written::Cron { expression, .. } => Err(ScheduleError::WithoutCron { expression }),
        }
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Schedule::Interval(interval) => Written::Interval((*interval).into()),
            Schedule::RoundedInterval(interval) => Written::RoundedInterval((*interval).into()),
            #[cfg(feature = "cron")]
            Schedule::Cron(cron) => {
                Written::Cron { expression: cron.expression().into(), zone: cron.zone().into() }
            }
            Schedule::Custom(_) => {
                return Err(ser::Error::custom(
                    "a custom schedule is a function and cannot be written; accepted: interval, rounded-interval, cron",
                ));
            }
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
        Written::deserialize(deserializer)?.read().map_err(de::Error::custom)
    }
}
