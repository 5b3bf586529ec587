//! `fencepost once`: jobs that run once.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use fencepost::driver::{Once, OnceRun};
use fencepost::engine::Engine;
use fencepost::job::Outcome;
use fencepost::once::{Backoff, Delivery, OnceConfig, RunAt};
use fencepost::time::Span;
use serde_json::{Value, json};

use crate::args::{self, CancelArgs, Common, ListArgs, OnceVerb, RunArgs, ScheduleArgs};
use crate::child::{Child, Policy, Stdin};
use crate::every::outcome;
use crate::failure::Failure;
use crate::holder::{self, Note};
use crate::lock::LEAVING;
use crate::rows::{self, Row};
use crate::session::{self, First, Session};
use crate::signals::{self, Signals};
use crate::times::{self, written};
use crate::voice::Voice;

/// How many jobs are listed at a time.
const PAGE: u32 = 500;
/// How late a job may begin whose hint was lost: whoever scheduled it may have been killed before it was sent.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

type Scheduler = Once<Value>;

pub(crate) async fn run(verb: &OnceVerb, voice: Voice) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    match verb {
        OnceVerb::Run(args) => serve(args, signals, voice).await,
        OnceVerb::Schedule(args) => {
            let (at, props) = (when(args)?, props(args)?.unwrap_or(Value::Null));
            let asked = async |once: Scheduler| Ok(once.schedule(&args.key, at, &props).await?);
            change(&args.common, &args.scheduler, &mut signals, voice, asked).await
        }
        OnceVerb::Reschedule(args) => {
            let (at, props) = (when(args)?, props(args)?);
            let asked = async |once: Scheduler| Ok(once.reschedule(&args.key, at, props.as_ref()).await?);
            change(&args.common, &args.scheduler, &mut signals, voice, asked).await
        }
        OnceVerb::Cancel(CancelArgs { common, scheduler, key }) => {
            let asked = async |once: Scheduler| Ok(once.cancel(key).await?);
            change(common, scheduler, &mut signals, voice, asked).await
        }
        OnceVerb::List(ListArgs { common, scheduler }) => {
            let asked = async |once: Scheduler| list(common, scheduler, &once).await;
            change(common, scheduler, &mut signals, voice, asked).await
        }
    }
}

fn when(args: &ScheduleArgs) -> Result<RunAt, Failure> {
    match (args.after, &args.at) {
        (Some(after), _) => Ok(RunAt::In(Span::from(after))),
        (None, Some(at)) => times::moment(at, args.tz.as_deref()).map(RunAt::At).map_err(Failure::Usage),
        (None, None) => Err(Failure::Usage("accepted: --at MOMENT or --in TIME".into())),
    }
}

fn props(args: &ScheduleArgs) -> Result<Option<Value>, Failure> {
    let read = |text: &String| {
        serde_json::from_str(text).map_err(|fault| {
            Failure::Usage(format!("--props is no JSON: {fault}; accepted: such as '{{\"to\": 17}}'"))
        })
    };
    args.props.as_ref().map(read).transpose()
}

/// Asks a scheduler for something, until it is answered or a signal comes.
async fn change(
    common: &Common,
    scheduler: &str,
    signals: &mut Signals,
    voice: Voice,
    asked: impl AsyncFnOnce(Scheduler) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let session = match session::wait(Session::open(&common.store), signals, || ()).await {
        First::Done(session) => session?,
        First::Interrupted(signal) => return Ok(signals::status(signal)),
    };
    // What asks runs nothing, so how jobs are delivered plays no part.
    let once = Scheduler::new(&session.store, scheduler, OnceConfig::new(Delivery::AtMostOnce))?;
    let tell = || voice.note("waiting", "waiting for the store", json!({}));
    let status = match session::wait(asked(once), signals, tell).await {
        First::Done(done) => done.map(|()| 0),
        First::Interrupted(signal) => Ok(signals::status(signal)),
    };
    session.close(LEAVING, signals, voice).await;
    status
}

async fn list(common: &Common, scheduler: &str, once: &Scheduler) -> Result<(), Failure> {
    let mut listed: Vec<Row> = Vec::new();
    loop {
        let after = listed.last().and_then(|row| row.job.clone());
        let page = once.list(after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        listed.extend(page.iter().map(|(key, task)| Row::of_task(scheduler, key.as_str(), task)));
        if is_last {
            return rows::print(&listed, common.json, None);
        }
    }
}

/// Runs jobs until a signal comes.
async fn serve(args: &RunArgs, mut signals: Signals, voice: Voice) -> Result<u8, Failure> {
    let policy = Policy::of(&args.hold.loss, args.hold.ttl)?;
    let session = match session::wait(Session::open(&args.common.store), &mut signals, || ()).await {
        First::Done(session) => session?,
        First::Interrupted(signal) => return Ok(signals::status(signal)),
    };
    let once = Scheduler::new(&session.store, &args.scheduler, config(args))?;
    let handler = Arc::new(Handler {
        engine: session.engine.clone(),
        scheduler: args.scheduler.clone(),
        command: args.command.clone(),
        policy,
        who: args.hold.who.clone().unwrap_or_else(holder::identity),
        voice,
    });
    once.start(move |run| handler.clone().run(run))?;
    voice.event("started", json!({ "scheduler": args.scheduler }));
    let signal = signals.next().await;
    let tell = || voice.note("closing", "waiting for handlers to end", json!({}));
    session::finish(once.stop(), &mut signals, tell).await;
    session.close(LEAVING, &mut signals, voice).await;
    Ok(signals::status(signal))
}

fn config(args: &RunArgs) -> OnceConfig {
    let delivery = match args.delivery {
        args::Delivery::AtMostOnce => Delivery::AtMostOnce,
        args::Delivery::AtLeastOnce => Delivery::AtLeastOnce {
            attempts: args.attempts,
            backoff: Backoff { first: args.backoff, longest: Backoff::default().longest.max(args.backoff) },
        },
    };
    let refresh_interval = REFRESH_INTERVAL;
    OnceConfig { slots: args.slots, refresh_interval, mutex: args.hold.mutex(), ..OnceConfig::new(delivery) }
}

/// What is needed to run a job.
struct Handler {
    engine: Arc<dyn Engine>,
    scheduler: String,
    command: Vec<OsString>,
    policy: Policy,
    who: String,
    voice: Voice,
}

impl Handler {
    async fn run(self: Arc<Self>, run: OnceRun<Value>) -> Outcome {
        let key = run.key().as_str();
        let about = json!({
            "scheduler": self.scheduler, "key": key, "attempt": run.attempt(), "token": run.token().0,
        });
        self.voice.event("began", about.clone());
        let space = format!("once/{}", self.scheduler);
        let note = Note::leave(&self.engine, &space, run.token(), &self.who, &self.command);
        let variables = vec![
            ("FENCEPOST_SCHEDULER", self.scheduler.clone()),
            ("FENCEPOST_KEY", key.into()),
            ("FENCEPOST_TOKEN", run.token().0.to_string()),
            ("FENCEPOST_IDENTITY", self.who.clone()),
            ("FENCEPOST_ATTEMPT", run.attempt().to_string()),
            ("FENCEPOST_DUE", written(run.due())),
        ];
        let ended = match Child::spawn(&self.command, variables, Stdin::Text(run.props().to_string())).await {
            Ok(child) => child.tend(&run, self.policy, None, self.voice).await,
            Err(failure) => Err(failure),
        };
        note.remove().await;
        outcome(ended, &format!("{}/{key}", self.scheduler), about, self.voice)
    }
}
