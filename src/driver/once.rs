//! The handle of jobs that run once.

mod desk;

use core::marker::PhantomData;
use core::time::Duration;
use std::boxed::Box;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use self::desk::{Ask, Callback, Desk, Told};
use super::cell::Cell;
use super::error::{self, SetupError};
use super::signals::Signals;
use super::store::Store;
use super::tasks::Report;
use super::wire::{Payload, WireKey};
use crate::engine::clock;
use crate::job::Outcome;
use crate::line;
use crate::once as machine;
use crate::once::{Declined, JobKey, Key, KeyError, OnceConfig, PROPS_BYTES_MAX, Request, RunAt, Task};
use crate::store::FencingToken;
use crate::time::StoreTime;

type Machine = machine::Once<JobKey, Payload>;
type OnceCell = Cell<Machine, Desk>;

/// Jobs that run once: scheduled for a moment under a key, by any process, and run then by one of those that have
/// [started](Once::start). What a callback gets is a `P`, which is kept as JSON. See [`crate::once`] for what is promised
/// and how.
///
/// Clones are the same scheduler. When the last one is dropped, it stops to run jobs; those that wait stay in the store. A
/// callback that keeps a clone of its own scheduler keeps it running until it is stopped or the store is closed.
///
/// ```
/// use fencepost::driver::{Once, OnceRun, Store};
/// use fencepost::once::{Delivery, OnceConfig, RunAt};
/// use fencepost::time::Span;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let reminders = Once::<String>::new(&store, "reminders", OnceConfig::new(Delivery::AtMostOnce))?;
/// let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
/// reminders.start(move |run: OnceRun<String>| {
///     let sender = sender.clone();
///     async move { sender.send(run.props().clone()) }
/// })?;
/// reminders.schedule("17", RunAt::In(Span::ZERO), &String::from("water the plants")).await?;
/// assert_eq!(receiver.recv().await.as_deref(), Some("water the plants"));
/// reminders.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Once<P> {
    line: Arc<Lifeline>,
    props: PhantomData<fn(P) -> P>,
}

impl<P> Clone for Once<P> {
    fn clone(&self) -> Once<P> {
        Once { line: self.line.clone(), props: PhantomData }
    }
}

/// Stops the scheduler when nobody has a handle of it any more.
#[derive(Debug)]
struct Lifeline(Arc<OnceCell>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.ask(Ask::Stop(None));
    }
}

/// Why a request about a job did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// The key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is too long for this store.
    #[error("the key {key} takes {bytes} bytes in this store; it may take {bytes_max}")]
    KeyTooLong {
        /// The key.
        key: JobKey,
        /// How long it is there.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The props cannot be written as JSON.
    #[error("the props of {key} cannot be written as JSON: {reason}")]
    PropsUnwritable {
        /// The key.
        key: JobKey,
        /// What is wrong with them.
        reason: String,
    },
    /// The props are too long.
    #[error("the props of {key} take {bytes} bytes as JSON; they may take {PROPS_BYTES_MAX}")]
    PropsTooLong {
        /// The key.
        key: JobKey,
        /// How long they are.
        bytes: usize,
    },
    /// What is kept of a job are no props of this type: another version has written them.
    #[error("the props of {key} are not of the type asked for: {reason}")]
    PropsUnreadable {
        /// The key.
        key: JobKey,
        /// What is wrong with them.
        reason: String,
    },
    /// The key is taken.
    #[error("{key} is scheduled, running or dead already; reschedule or cancel it, or take another key")]
    Taken {
        /// The key.
        key: JobKey,
    },
    /// There is no such job.
    #[error("nothing that could be changed is kept under {key}")]
    Missing {
        /// The key.
        key: JobKey,
    },
    /// The answer was lost, and somebody else has changed the job since.
    #[error(
        "{key} was changed by somebody else, and nobody knows whether this request came before; look with find"
    )]
    Overtaken {
        /// The key.
        key: JobKey,
    },
    /// It runs jobs already, or is about to stop.
    #[error("the scheduler has started already; stop it before it is started again")]
    Started,
    /// The store is closed. The request may or may not have been carried out.
    #[error("the store is closed")]
    Closed,
}

/// One run of a job, as its callback knows it.
#[derive(Debug)]
pub struct OnceRun<P> {
    key: JobKey,
    token: FencingToken,
    task: Task<P>,
    signals: Arc<Signals>,
}

impl<P> OnceRun<P> {
    /// The key of the job.
    pub fn key(&self) -> &JobKey {
        &self.key
    }

    /// What to show to whatever it writes to. It is greater than that of every earlier attempt.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Which attempt this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.task.attempt
    }

    /// When it was to begin, on the store's clock.
    pub fn due(&self) -> StoreTime {
        self.task.due
    }

    /// What was given when the job was scheduled.
    pub fn props(&self) -> &P {
        &self.task.props
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

    /// Waits until it should end soon: its lock is lost, or the scheduler stops. Nobody ends it by force.
    ///
    /// Cancel safe.
    pub async fn interrupted(&self) {
        self.signals.interrupted().await;
    }
}

impl<P: Serialize + DeserializeOwned + Send + 'static> Once<P> {
    /// The scheduler of this name. It runs nothing here until it is [started](Once::start); others may run what it schedules.
    ///
    /// # Errors
    ///
    /// [`SetupError`], if the configuration makes no sense or the store cannot keep it, or is closed.
    pub fn new(store: &Store, name: &str, config: OnceConfig) -> Result<Once<P>, SetupError> {
        let (terms, limits) = (config.terms()?, store.limits());
        error::long_enough(&limits, config.mutex.lease.ttl)?;
        let space = error::space(&limits, "once", name)?;
        let group = config.mutex.metrics_group.unwrap_or_else(|| name.into());
        let cell = Cell::new(&store.core, space.into(), Arc::new(terms), |me| Desk::new(me.clone(), &group));
        let cell = cell.ok_or_else(|| SetupError::Closed { key: name.into() })?;
        Ok(Once { line: Arc::new(Lifeline(cell)), props: PhantomData })
    }

    /// Runs jobs that are due here, until stopped. A callback that panics, or whose props are not of this type, has failed.
    ///
    /// # Errors
    ///
    /// [`OnceError::Started`]; [`OnceError::Closed`].
    pub fn start<C, F>(&self, callback: C) -> Result<(), OnceError>
    where
        C: Fn(OnceRun<P>) -> F + Send + Sync + 'static,
        F: Future<Output: Report> + Send + 'static,
    {
        let callback: Callback = Arc::new(move |run| match with_props(&run.key, run.task) {
            Ok(task) => {
                let future = callback(OnceRun { key: run.key, token: run.token, task, signals: run.signals });
                Box::pin(async { future.await.outcome() })
            }
            Err(error) => {
                tracing::error!(target: "fencepost", %error, "a job cannot be run");
                Box::pin(async { Outcome::Failed })
            }
        });
        let (reply, mut answer) = oneshot::channel();
        self.cell().ask(Ask::Start(callback, reply));
        // It is known when the machine was asked, unless another thread is at the machine: then it will be.
        match answer.try_recv() {
            Ok(started) => started,
            Err(oneshot::error::TryRecvError::Empty) => Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => Err(OnceError::Closed),
        }
    }

    /// Runs no jobs any more. Callbacks that run are interrupted, and waited for.
    ///
    /// Cancel safe: once it was polled, it stops, whether anybody waits for that or not. A callback must not wait for its own
    /// scheduler to stop.
    pub async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        self.cell().ask(Ask::Stop(Some(reply)));
        // If the reply is dropped, the store was closed, and nothing runs.
        let _ = stopped.await;
    }

    /// Schedules a job.
    ///
    /// Cancel safe: once it was polled, the request goes on.
    ///
    /// # Errors
    ///
    /// [`OnceError::Taken`], if the key is scheduled, running or dead; others for keys and props that cannot be kept.
    pub async fn schedule(&self, key: &str, run_at: RunAt, props: &P) -> Result<(), OnceError> {
        let key = self.key(key)?;
        let props = write_props(&key, props)?;
        self.change(key.clone(), Request::Schedule { key, run_at, props }).await
    }

    /// Runs the job of this key anew, with all its attempts, whatever has become of it; with the same props, if `None`.
    ///
    /// Cancel safe, as [`Once::schedule`] is.
    ///
    /// # Errors
    ///
    /// [`OnceError::Missing`], if nothing is kept of the key; others for props that cannot be kept.
    pub async fn reschedule(&self, key: &str, run_at: RunAt, props: Option<&P>) -> Result<(), OnceError> {
        let key = self.key(key)?;
        let props = props.map(|props| write_props(&key, props)).transpose()?;
        self.change(key.clone(), Request::Reschedule { key, run_at, props }).await
    }

    /// Does not run the job of this key, or removes it if it is dead. A callback of it that runs goes on.
    ///
    /// Cancel safe, as [`Once::schedule`] is.
    ///
    /// # Errors
    ///
    /// [`OnceError::Missing`], if it is neither scheduled nor running nor dead.
    pub async fn cancel(&self, key: &str) -> Result<(), OnceError> {
        let key = self.key(key)?;
        self.change(key.clone(), Request::Cancel { key }).await
    }

    /// What is kept of this key.
    ///
    /// Cancel safe, as [`Once::schedule`] is.
    ///
    /// # Errors
    ///
    /// [`OnceError::PropsUnreadable`], if its props are not of this type.
    pub async fn find(&self, key: &str) -> Result<Option<Task<P>>, OnceError> {
        let key = self.key(key)?;
        match self.ask(key.clone(), Request::Find { key: key.clone() }).await? {
            Told::Found(found) => found.map(|task| with_props(&key, task)).transpose(),
            Told::Accepted | Told::Declined(_) => Ok(None),
        }
    }

    /// What is kept of the first so many keys after this one, in order; `None` for the first page. The last page is shorter than
    /// its limit.
    ///
    /// Cancel safe, as [`Once::schedule`] is.
    ///
    /// # Errors
    ///
    /// [`OnceError::PropsUnreadable`], if the props of one of them are not of this type.
    pub async fn list(&self, after: Option<&str>, limit: u32) -> Result<Vec<(JobKey, Task<P>)>, OnceError> {
        let after = after.map(|key| self.key(key)).transpose()?;
        let (reply, answer) = oneshot::channel();
        self.cell().ask(Ask::List { after, limit, reply });
        let page = answer.await.map_err(|_| OnceError::Closed)?;
        let read = |(key, task)| with_props(&key, task).map(|task| (key, task));
        page.into_iter().map(read).collect()
    }

    fn cell(&self) -> &Arc<OnceCell> {
        &self.line.0
    }

    fn key(&self, name: &str) -> Result<JobKey, OnceError> {
        let key = JobKey::new(name)?;
        let mut bytes = Vec::new();
        // Of all that is kept of a job, its lock has the longest key: it is tried once at a time, so it has no queue.
        Key::Lock(key.clone(), line::Key::Lock).write(&mut bytes);
        let (bytes, bytes_max) = (bytes.len(), self.cell().core().engine().limits().key_bytes_max);
        if bytes > bytes_max { Err(OnceError::KeyTooLong { key, bytes, bytes_max }) } else { Ok(key) }
    }

    async fn change(&self, key: JobKey, request: Request<JobKey, Payload>) -> Result<(), OnceError> {
        match self.ask(key.clone(), request).await? {
            Told::Accepted | Told::Found(_) => Ok(()),
            Told::Declined(Declined::Taken) => Err(OnceError::Taken { key }),
            Told::Declined(Declined::Missing) => Err(OnceError::Missing { key }),
            Told::Declined(Declined::Overtaken) => Err(OnceError::Overtaken { key }),
        }
    }

    async fn ask(&self, key: JobKey, request: Request<JobKey, Payload>) -> Result<Told, OnceError> {
        let (reply, answer) = oneshot::channel();
        self.cell().ask(Ask::About { key, request, reply });
        answer.await.map_err(|_| OnceError::Closed)
    }
}

fn write_props<P: Serialize>(key: &JobKey, props: &P) -> Result<Payload, OnceError> {
    let text = serde_json::to_string(props)
        .map_err(|error| OnceError::PropsUnwritable { key: key.clone(), reason: error.to_string() })?;
    if text.len() > PROPS_BYTES_MAX {
        return Err(OnceError::PropsTooLong { key: key.clone(), bytes: text.len() });
    }
    Ok(Payload::new(&text))
}

fn with_props<P: DeserializeOwned>(key: &JobKey, task: Task<Payload>) -> Result<Task<P>, OnceError> {
    let Task { due, generation, attempt, state, props } = task;
    match serde_json::from_str(props.as_str()) {
        Ok(props) => Ok(Task { due, generation, attempt, state, props }),
        Err(error) => Err(OnceError::PropsUnreadable { key: key.clone(), reason: error.to_string() }),
    }
}
