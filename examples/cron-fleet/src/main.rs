//! One process of a fleet: all of them run the same recurring job on one store, and each occurrence is run by one of them.
//!
//! ```text
//! cargo run --package cron-fleet -- sqlite:/tmp/fleet.db '*/5 * * * * *' Europe/Berlin
//! ```
//!
//! Start it in several terminals, and end one of them with Ctrl-C or with `kill -9`: no occurrence appears twice, and the
//! others go on. With `postgres://…` the processes may be on different hosts.

use std::io::{self, Write};
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, JobRun, Store};
use fencepost::job::{JobConfig, Misfire};
use jiff::Timestamp;
use jiff::tz::TimeZone;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, expression, zone] = &args[..] else {
        return Err("usage: cron-fleet STORE CRON-EXPRESSION TIME-ZONE".into());
    };
    let store = Store::open(address).await?;
    // If all of them were down at noon, nobody makes up for noon; by default, the latest occurrence is run late.
    let config = JobConfig::builder(Schedule::cron(expression, zone)?).misfire(Misfire::Skip).build()?;
    let zone = TimeZone::get(zone)?;
    let job = Job::schedule(&store, "report", config, move |run| report(run, zone.clone()))?;
    tokio::signal::ctrl_c().await?;
    // What runs is waited for; what it holds is given back, so that the others need not wait for its lease to end.
    job.close().await;
    Ok(store.close(Duration::from_secs(10)).await?)
}

/// The job. Whatever it writes to should be shown the token, and refuse every lower one.
async fn report(run: JobRun, zone: TimeZone) -> Result<(), Error> {
    let due = Timestamp::from_nanosecond(run.occurrence().as_nanos().into())?.to_zoned(zone);
    // Whoever has much to do looks now and then whether it is to go on.
    if run.is_interrupted() {
        return Err("the lock was lost before the report was made".into());
    }
    writeln!(io::stdout(), "{} {}", run.token().0, due.strftime("%Y-%m-%dT%H:%M:%S%:z"))?;
    Ok(())
}
