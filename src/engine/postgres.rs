//! A database that many hosts share: PostgreSQL.
//!
//! Each operation is one statement and one transaction on the primary, sent down one of a few connections without waiting
//! for the one before; only renewals that come while others are under way share one. Another connection listens. Both are
//! made anew when they break.
//!
//! # What it promises
//!
//! | | |
//! |---|---|
//! | clock | `clock_timestamp()` of the server, read after the key was locked; entries expire by it to the microsecond |
//! | atomic, linearizable | whoever writes a key holds a lock on it until the end of the transaction (`pg_advisory_xact_lock`), at `READ COMMITTED` |
//! | revision | a sequence, read while the key is locked. Every new connection first sets it to the clock in microseconds if that is more: a server that lost acknowledged writes, in a fail-over or because it was restored from a copy, does not repeat revisions |
//! | durable | as `fsync` and `synchronous_commit` say. [`Limits::durable`] is what they said when the store was opened |
//! | hints | `NOTIFY`, in the transaction of the deletion. One that is too long for it becomes a [`Hint::Gap`] |
//!
//! # What is known of a request
//!
//! | what happens | SQLSTATE | answer | the connection |
//! |---|---|---|---|
//! | the statement returns a row | `00000` | what it says: applied, refused, found or listed | stays |
//! | no answer within [`PostgresOptions::call_max`], queueing and connecting included | | [`Answer::Unknown`] | is dropped, if the request was sent: what follows would wait behind it |
//! | the connection breaks | `08…`, or none | [`Answer::Unknown`], for all that were sent | is dropped |
//! | the server shuts down, or ends the session | `57P…` | [`Answer::Unknown`] | is dropped |
//! | it became a standby | `25…` | [`Answer::Unknown`]; nothing was done | is dropped |
//! | tables or statements are gone or were changed | `0A…`, `26…`, `3F…`, `42…` | [`Answer::Unknown`]; nothing was done | is dropped; the next one makes what is missing |
//! | something is broken | `58…`, `XX…` | [`Answer::Unknown`] | is dropped |
//! | the statement was cancelled, the disk is full, a lock could not be had, a deadlock was resolved | `57014`, `53…`, `55…`, `40…`, and all others | [`Answer::Unknown`]; nothing was done | stays |
//!
//! Nothing is repeated here: a refusal would say too much of what was not done, and machines repeat what is unknown.
//! A server that is asked and does not answer gives up by itself after the same time (`statement_timeout`), so what is
//! unknown is decided soon after.
//!
//! What can be known at once is an error of [`Postgres::open`]: an address or option that makes no sense, a server that
//! cannot be reached, a name or password that is refused (`28…`), a right that is missing (`42501`), an encoding
//! other than UTF-8, a server before PostgreSQL 12, and a schema that a newer version of fencepost has made.
//!
//! # What it needs
//!
//! A role that may connect and either owns the schema ([`PostgresOptions::schema`]) or may create it. It is never a
//! superuser's business. Nothing is held beyond a transaction, but `LISTEN` belongs to a session, so a pooler has to leave
//! sessions alone: PgBouncer works in session mode, not in transaction mode.
//!
//! [`Hint::Gap`]: super::Hint::Gap
//! [`Answer::Unknown`]: crate::store::Answer::Unknown

#![expect(clippy::disallowed_types, reason = "an engine has connections, and waits")]

mod dial;
mod lane;
mod listener;
mod payload;
mod schema;
mod survey;
mod tls;

use std::boxed::Box;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use core::future::Future;
use core::pin::Pin;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::survey::{SurveyError, Surveying};
use super::{Ear, Engine, Request, Responder};
use crate::store::Limits;
use crate::time::Span;
use dial::Dial;
use lane::{Job, Lane, Task};

pub use tls::SSL_MODES;

/// How a database is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The schema in which everything lies: lower-case letters, digits and `_`, 40 bytes at most. `fencepost` by
    /// default. Whoever shares a store names the same one.
    pub schema: String,
    /// After so long a request is answered as unknown, and opening fails. 5 s by default.
    pub call_max: Duration,
    /// How many connections requests are spread over; one more listens. What is asked about one space takes one of them.
    /// 4 by default: commits that come by different connections at once are made together.
    pub connections: usize,
}

impl Default for PostgresOptions {
    fn default() -> PostgresOptions {
        PostgresOptions { schema: "fencepost".into(), call_max: Duration::from_secs(5), connections: 4 }
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The address or an option makes no sense.
    #[error("{what}: {found}; accepted: {accepted}")]
    Address {
        /// What was read.
        what: &'static str,
        /// What was found.
        found: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The server could not be reached, or refused.
    #[error("cannot {asked} at {server}: {found}")]
    Server {
        /// What was asked.
        asked: &'static str,
        /// Whom.
        server: String,
        /// What was said.
        found: String,
    },
    /// The server is not one that a store can rest on.
    #[error("the server at {server} has {found}; accepted: {accepted}")]
    Unfit {
        /// Which one.
        server: String,
        /// What was found.
        found: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The schema was made by a later version.
    #[error(
        "schema {schema} has version {found}, and this version of fencepost knows versions up to {known}; update this program"
    )]
    Newer {
        /// Its name.
        schema: String,
        /// Its version.
        found: i32,
        /// The newest one that is known here.
        known: i32,
    },
    /// It took too long.
    #[error("{server} did not let us {asked} within {waited:?}")]
    TimedOut {
        /// What was asked.
        asked: &'static str,
        /// Whom.
        server: String,
        /// For how long.
        waited: Duration,
    },
}

/// What ends with the engine.
struct Running {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    /// Who listens stops when this is dropped.
    _stop: watch::Sender<()>,
}

/// A store in a database. See the module documentation.
pub struct Postgres {
    running: Mutex<Option<Running>>,
    dial: Arc<Dial>,
    ear: Arc<OnceLock<Arc<dyn Ear>>>,
    ended: watch::Receiver<()>,
    options: PostgresOptions,
    server: String,
    durable: bool,
}

impl Postgres {
    /// Connects to `url`, `postgres://user:password@host:port/database`, and makes the schema if it is not there. What
    /// it has to do in the background is done by the current runtime of tokio, and ends with it.
    ///
    /// Several hosts may be named, separated by commas: the one that takes writes is used. For `sslmode` and
    /// `sslrootcert` see [`SSL_MODES`]; all else is as tokio-postgres reads it.
    ///
    /// It takes [`PostgresOptions::call_max`] at most. If the future is dropped, so is the connection.
    pub async fn open(url: &str, options: &PostgresOptions) -> Result<Postgres, PostgresError> {
        let dial = Arc::new(Dial::new(url, options)?);
        let until = Instant::now() + options.call_max;
        let (session, connection) = dial.in_time(until, "connect", dial.session()).await?;
        let durable = session.is_durable();
        let (running, ended) = watch::channel(());
        let (stop, stopped) = watch::channel(());
        let ear = Arc::new(OnceLock::new());
        let lanes = Lane::start(&dial, (session, connection), options, &running);
        let (ready, is_ready) = oneshot::channel();
        let listening = listener::listen(dial.clone(), ear.clone(), ready, stopped);
        tokio::spawn(async move {
            listening.await;
            drop(running);
        });
        let heard = async { is_ready.await.map_err(|_| dial.fault("listen", "the runtime ended".into())) };
        dial.in_time(until, "listen", heard).await?;
        let running = Mutex::new(Some(Running { lanes, _stop: stop }));
        let server = dial.server().into();
        Ok(Postgres { running, dial, ear, ended, options: options.clone(), server, durable })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a task down the lane of its space. Where there is none any more, it is dropped, which answers it.
    fn send(&self, task: Task, responder: Option<Responder>) {
        let mut hasher = DefaultHasher::new();
        task.space().hash(&mut hasher);
        let job = Job { task, responder, overdue: Instant::now() + self.options.call_max };
        let lane = self.running().as_ref().map(|running| {
            let at = hasher.finish() % running.lanes.len() as u64;
            running.lanes[at as usize].clone()
        });
        if let Some(lane) = lane {
            let _ = lane.send(job);
        }
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("server", &self.server)
            .field("schema", &self.options.schema)
            .finish()
    }
}

impl Engine for Postgres {
    fn limits(&self) -> Limits {
        Limits {
            ttl_min: Span::from_millis(1),
            ttl_grain: Span::from_nanos(1_000),
            pushes: true,
            durable: self.durable,
            key_bytes_max: 1_024,
        }
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        let _ = self.ear.set(ear);
    }

    fn submit(&self, request: Request, responder: Responder) {
        self.send(Task::Request(request), Some(responder));
    }

    fn publish(&self, space: &str, text: &str) {
        self.send(Task::Publish { space: space.into(), text: text.into() }, None);
    }

    fn survey(&self, prefix: &str) -> Surveying<'_> {
        let prefix = String::from(prefix);
        Box::pin(async move {
            let done = survey::survey(&self.dial, &prefix).await;
            done.map_err(|fault| SurveyError::Store { found: std::format!("{fault}") })
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        drop(self.running().take());
        let mut ended = self.ended.clone();
        Box::pin(async move { while ended.changed().await.is_ok() {} })
    }
}
