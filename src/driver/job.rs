//! The handle of the recurring job.

use core::time::Duration;
use std::boxed::Box;
use std::sync::{Arc, Weak};

use super::board::Board;
use super::cell::{Caller, Cell};
use super::error::{self, SetupError};
use super::index::Resident;
use super::observe::{DropMeters, JobMeters};
use super::signals::Signals;
use super::store::Store;
use super::tasks::{self, Ended, Report, Run};
use crate::engine::clock;
use crate::job as machine;
use crate::job::{Call, Dropped, Event, JobConfig, Outcome, Request};
use crate::machine::AnswerOf;
use crate::store::{Answer, FencingToken};
use crate::time::{Instant, StoreTime};

type JobCell = Cell<machine::Job, Desk>;
type Callback = Arc<dyn Fn(JobRun) -> Run + Send + Sync>;

/// A recurring job: whatever the number of processes that schedule it under one key, each occurrence is run by one of
/// them, once. See [`crate::job`] for what is promised and how.
///
/// It runs until it is [closed](Job::close); dropping the handle closes it too, and does not wait for that.
///
/// ```
/// use std::time::Duration;
/// use fencepost::calendar::Schedule;
/// use fencepost::driver::{Job, JobRun, Store};
/// use fencepost::job::JobConfig;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let config = JobConfig::new(Schedule::every(Duration::from_secs(3_600))?);
/// let (sender, receiver) = tokio::sync::oneshot::channel();
/// let sender = std::sync::Mutex::new(Some(sender));
/// let job = Job::schedule(&store, "reports", config, move |run: JobRun| {
///     let first = sender.lock().map(|mut sender| sender.take()).ok().flatten();
///     async move {
///         // Show run.token() to whatever is written to, and end soon once run.interrupted() has.
///         match first.map(|first| first.send(run.token())) {
///             Some(Ok(())) => Ok(()),
///             Some(Err(_)) | None => Err("nobody listens"),
///         }
///     }
/// })?;
/// let token = receiver.await?;
/// assert!(token.0 > 0);
/// job.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a job is closed when its handle is dropped"]
pub struct Job {
    cell: Arc<JobCell>,
    closed: Arc<Board<bool>>,
}

/// One run of a recurring job, as its callback knows it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobRun {
    occurrence: StoreTime,
    token: FencingToken,
    runs: u64,
    dropped: Dropped,
    signals: Arc<Signals>,
}

impl JobRun {
    /// When it was due, on the store's clock. No other run has the same one.
    pub fn occurrence(&self) -> StoreTime {
        self.occurrence
    }

    /// What to show to whatever it writes to. It is greater than that of every earlier run.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// How many runs there were before it, on all instances.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many occurrences nobody will run any more, because this one is run.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Whether the job's lock is held now; see [`Guard::is_held`](super::Guard::is_held).
    pub fn is_held(&self) -> bool {
        self.signals.holds(clock::mono())
    }

    /// For how long the lock is held from now on if nothing renews it; zero, if it is not held.
    pub fn remaining(&self) -> Duration {
        self.signals.remaining(clock::mono())
    }

    /// Whether it should end soon.
    pub fn is_interrupted(&self) -> bool {
        self.signals.is_interrupted()
    }

    /// Waits until it should end soon: its lock is lost, or its job is closed. Nobody ends it by force.
    ///
    /// Cancel safe.
    pub async fn interrupted(&self) {
        self.signals.interrupted().await;
    }
}

impl Job {
    /// Runs the callback whenever it is due here, until closed. A callback that panics has failed.
    ///
    /// # Errors
    ///
    /// [`SetupError`], if the configuration makes no sense or the store cannot keep it, or is closed.
    pub fn schedule<C, F>(store: &Store, key: &str, config: JobConfig, callback: C) -> Result<Job, SetupError>
    where
        C: Fn(JobRun) -> F + Send + Sync + 'static,
        F: Future<Output: Report> + Send + 'static,
    {
        let (terms, limits) = (config.terms()?, store.limits());
        error::long_enough(&limits, config.mutex.lease.ttl)?;
        let space = error::space(&limits, "job", key)?;
        let closed = Arc::new(Board::new(false));
        let callback: Callback = Arc::new(move |run| {
            let future = callback(run);
            Box::pin(async { future.await.outcome() })
        });
        let group = config.mutex.metrics_group.as_deref().unwrap_or(key);
        let (meters, drops, is_closed) = (JobMeters::of(group), DropMeters::of(group), closed.clone());
        let cell = Cell::new(&store.core, space.into(), Arc::new(terms), |me| Desk {
            me: me.clone(),
            callback,
            running: None,
            answered: StoreTime::ZERO,
            closed: is_closed,
            abandoned: false,
            meters,
            drops,
        });
        let cell = cell.ok_or_else(|| SetupError::Closed { key: key.into() })?;
        cell.ask(Ask::Start);
        Ok(Job { cell, closed })
    }

    /// Runs nothing any more. A callback that runs is interrupted, and waited for.
    ///
    /// Cancel safe: once it was polled, the job is closed, whether anybody waits for that or not. A callback must not wait for
    /// its own job to close.
    pub async fn close(&self) {
        self.cell.ask(Ask::Close);
        self.closed.wait(|closed| closed.then_some(())).await;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cell.ask(Ask::Close);
    }
}

/// What is asked of a job.
#[derive(Debug)]
pub(crate) enum Ask {
    Start,
    Finish(Outcome),
    Close,
}

/// The callback's side of a job.
pub(crate) struct Desk {
    me: Weak<JobCell>,
    callback: Callback,
    running: Option<Running>,
    /// The store's time in the latest answer.
    answered: StoreTime,
    closed: Arc<Board<bool>>,
    /// Nobody will wake the machine any more.
    abandoned: bool,
    meters: JobMeters,
    drops: DropMeters,
}

struct Running {
    signals: Arc<Signals>,
    since: Instant,
}

impl Desk {
    fn end(&self) {
        self.closed.update(|closed| *closed = true);
    }

    fn begin(&mut self, since: Instant, run: JobRun) {
        let Some(cell) = self.me.upgrade() else { return };
        self.meters.began(self.answered.since(run.occurrence));
        self.drops.count(run.dropped);
        self.running = Some(Running { signals: run.signals.clone(), since });
        let (callback, runtime) = (self.callback.clone(), cell.core().runtime().clone());
        let span = tasks::span(cell.space(), Some(run.token));
        let report = move |ended: Ended<_>| cell.ask(Ask::Finish(ended.outcome()));
        tasks::run(&runtime, span, move || callback(run), report);
    }
}

impl Caller<machine::Job> for Desk {
    type Ask = Ask;

    fn ask(&mut self, _: &machine::Job, ask: Ask) -> Option<Request> {
        Some(match ask {
            Ask::Start => Request::Start,
            Ask::Finish(outcome) => {
                if self.abandoned {
                    self.running = None;
                    self.end();
                }
                Request::Finish(outcome)
            }
            Ask::Close => Request::Close,
        })
    }

    fn stepped(&mut self, machine: &machine::Job) {
        if let Some(running) = &self.running {
            running.signals.believe(machine.until());
        }
    }

    fn event(&mut self, machine: &machine::Job, now: Instant, event: Event) -> Option<Request> {
        match event {
            Event::Began { occurrence, token, runs, dropped } => {
                let signals = Arc::new(Signals::new(machine.until()));
                self.begin(now, JobRun { occurrence, token, runs, dropped, signals });
            }
            Event::Interrupted => {
                if let Some(running) = &self.running {
                    self.meters.interrupted();
                    running.signals.interrupt();
                }
            }
            Event::Ended { outcome, noted } => {
                if let Some(running) = self.running.take() {
                    running.signals.believe(None);
                    self.meters.ended(running.since, now, outcome, noted);
                }
            }
            Event::Closed => self.end(),
            // A job is started once, and a callback ends once.
            Event::Rejected(_) => {}
        }
        None
    }

    fn sent(&mut self, _: Call) {}

    fn answered(&mut self, _: Call, answer: &AnswerOf<machine::Job>, at: StoreTime) {
        match answer {
            Answer::Unknown => self.meters.unknown(),
            Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_) => {
                self.answered = at;
            }
        }
    }

    fn hinted(&mut self, _: Instant) {}

    fn shut(&mut self, _: &machine::Job) -> Option<Request> {
        Some(Request::Close)
    }

    fn abandon(&mut self) {
        self.abandoned = true;
        match &self.running {
            Some(running) => running.signals.interrupt(),
            None => self.end(),
        }
    }

    fn doing(&self) -> Option<&'static str> {
        let is_closed = self.closed.read(|closed| *closed);
        match &self.running {
            Some(_) => Some("running a callback"),
            None => (!is_closed).then_some("closing"),
        }
    }
}
