//! `fencepost every`: a recurring job whose occurrences are runs of a command.

use std::ffi::OsString;
use std::sync::Arc;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, JobRun};
use fencepost::engine::Engine;
use fencepost::job::{Dropped, JobConfig, Outcome, Overlap};
use serde_json::json;

use crate::args::{self, EveryArgs};
use crate::child::{Child, Ended, Policy, Stdin};
use crate::failure::Failure;
use crate::holder::{self, Note};
use crate::lock::LEAVING;
use crate::session::{self, First, Session};
use crate::signals::{self, Signals};
use crate::times::written;
use crate::voice::Voice;

pub(crate) async fn run(args: &EveryArgs, voice: Voice) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    let (schedule, name) = what(args)?;
    let policy = Policy::of(&args.hold.loss, args.hold.ttl)?;
    let session = match session::wait(Session::open(&args.common.store), &mut signals, || ()).await {
        First::Done(session) => session?,
        First::Interrupted(signal) => return Ok(signals::status(signal)),
    };
    let runner = Arc::new(Runner {
        engine: session.engine.clone(),
        name: name.into(),
        command: args.command.clone(),
        policy,
        who: args.hold.who.clone().unwrap_or_else(holder::identity),
        voice,
    });
    let job =
        Job::schedule(&session.store, name, config(args, schedule), move |run| runner.clone().run(run))?;
    voice.event("scheduled", json!({ "key": name }));
    let signal = signals.next().await;
    let tell = || voice.note("closing", "waiting for the command to end", json!({}));
    session::finish(job.close(), &mut signals, tell).await;
    session.close(LEAVING, &mut signals, voice).await;
    Ok(signals::status(signal))
}

/// When, and under which name.
fn what(args: &EveryArgs) -> Result<(Schedule, &str), Failure> {
    match (args.interval, &args.first, &args.second) {
        (Some(interval), name, None) => Ok((Schedule::every(interval)?, name)),
        (None, cron, Some(name)) => Ok((Schedule::cron(cron, args.tz.as_deref().unwrap_or("UTC"))?, name)),
        (Some(_), _, Some(_)) => Err(Failure::Usage(
            "--interval and a cron expression are given; accepted: one of them, and the name of the job"
                .into(),
        )),
        (None, _, None) => Err(Failure::Usage(
            "one argument is given; accepted: a cron expression and the name of the job, or --interval and the name of the job"
                .into(),
        )),
    }
}

fn config(args: &EveryArgs, schedule: Schedule) -> JobConfig {
    JobConfig {
        misfire: args.misfire,
        grace: args.missed_after,
        overlap: match args.overlap {
            args::Overlap::Skip => Overlap::Skip,
            args::Overlap::BufferOne => Overlap::BufferOne,
        },
        mutex: args.hold.mutex(),
        ..JobConfig::new(schedule)
    }
}

/// What is needed to run an occurrence.
struct Runner {
    engine: Arc<dyn Engine>,
    name: String,
    command: Vec<OsString>,
    policy: Policy,
    who: String,
    voice: Voice,
}

impl Runner {
    async fn run(self: Arc<Self>, run: JobRun) -> Outcome {
        let occurrence = written(run.occurrence());
        let about = json!({ "key": self.name, "occurrence": occurrence, "token": run.token().0 });
        self.voice.event("began", about.clone());
        self.tell_dropped(&run);
        let note =
            Note::leave(&self.engine, &format!("job/{}", self.name), run.token(), &self.who, &self.command);
        let variables = vec![
            ("FENCEPOST_KEY", self.name.clone()),
            ("FENCEPOST_TOKEN", run.token().0.to_string()),
            ("FENCEPOST_IDENTITY", self.who.clone()),
            ("FENCEPOST_OCCURRENCE", occurrence.clone()),
        ];
        let ended = match Child::spawn(&self.command, variables, Stdin::Empty).await {
            Ok(child) => child.tend(&run, self.policy, None, self.voice).await,
            Err(failure) => Err(failure),
        };
        note.remove().await;
        outcome(ended, &format!("{} of {occurrence}", self.name), about, self.voice)
    }

    fn tell_dropped(&self, run: &JobRun) {
        let Dropped { missed, skipped } = run.dropped();
        if missed > 0 || skipped > 0 {
            let occurrence = written(run.occurrence());
            let about =
                json!({ "key": self.name, "before": occurrence, "missed": missed, "skipped": skipped });
            let text =
                format!("{}: not run before {occurrence}: {missed} missed, {skipped} skipped", self.name);
            self.voice.warn("dropped", &text, about);
        }
    }
}

/// What has become of a run, which is said if it is no success.
pub(crate) fn outcome(
    ended: Result<Ended, Failure>,
    name: &str,
    mut about: serde_json::Value,
    voice: Voice,
) -> Outcome {
    match ended {
        Ok(Ended { reason: Some(_), status, .. }) => {
            about["status"] = status.into();
            voice.warn("interrupted", &format!("{name} was interrupted"), about);
            Outcome::Interrupted
        }
        Ok(Ended { status: 0, .. }) => {
            about["status"] = 0.into();
            voice.event("succeeded", about);
            Outcome::Succeeded
        }
        Ok(Ended { status, .. }) => {
            about["status"] = status.into();
            voice.warn("failed", &format!("{name} has failed with status {status}"), about);
            Outcome::Failed
        }
        Err(failure) => {
            about["status"] = failure.status().into();
            voice.warn("failed", &format!("{name} has failed: {failure}"), about);
            Outcome::Failed
        }
    }
}
