//! A lane: one connection after another, and the tasks that go down it in order.
//!
//! A process that holds very many locks renews all of them over and over, and each commit waits for a disk. So renewals
//! share commits: those that come while some are under way gather, and then go down in one statement. Nothing overtakes
//! another task of its own space.

use std::future::poll_fn;
use std::pin::Pin;
use std::string::String;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::vec::Vec;

use alloc::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::PostgresOptions;
use super::dial::{Backoff, Connection, Dial, Renewal, Session, breaks, told};
use crate::engine::{EngineOp, Request, Responder};

/// How many renewals share a commit at most: whoever wants one of their keys meanwhile waits for all of them.
const RENEWALS_MAX: usize = 256;
/// How often a lane clears dead entries away, about.
const SWEEP: Duration = Duration::from_secs(60);

/// What is to be done.
pub(super) enum Task {
    /// A request, which is answered.
    Request(Request),
    /// A message, which is passed on.
    Publish {
        /// The space in which it is published.
        space: String,
        /// The message.
        text: String,
    },
    /// Clearing away.
    Sweep,
}

impl Task {
    /// The space that it is about: what is asked about one space goes down one lane.
    pub(super) fn space(&self) -> &str {
        match self {
            Task::Request(request) => &request.space,
            Task::Publish { space, .. } => space,
            Task::Sweep => "",
        }
    }

    /// The renewal that it is, if it is one.
    fn renewal(&self) -> Option<Renewal<'_>> {
        match self {
            Task::Request(Request { space, op: EngineOp::Renew { key, revision, ttl } }) => {
                Some(Renewal { space, key, revision: *revision, ttl: *ttl })
            }
            Task::Request(_) | Task::Publish { .. } | Task::Sweep => None,
        }
    }
}

/// A task, and who waits for it until when. Dropping it answers it.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) responder: Option<Responder>,
    pub(super) overdue: Instant,
}

/// The connection is of no use any more.
struct Broken;

/// What has ended well.
#[derive(PartialEq, Eq)]
enum Done {
    One,
    Renewals,
}

/// What goes down a connection in one statement.
enum Load {
    One(Job),
    Renewals(Vec<Job>),
}

/// Why a lane stops using a connection.
enum End {
    Broken,
    Closed,
}

/// One of the engine's lanes.
pub(super) struct Lane {
    dial: Arc<Dial>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// What came while there was no connection.
    waiting: VecDeque<Job>,
    /// Renewals that wait for those under way.
    renewals: Vec<Job>,
}

impl Lane {
    /// Starts all lanes, the first one on this connection.
    pub(super) fn start(
        dial: &Arc<Dial>,
        session: (Session, Connection),
        options: &PostgresOptions,
        running: &watch::Sender<()>,
    ) -> Vec<mpsc::UnboundedSender<Job>> {
        let mut first = Some(session);
        let lanes = (0..options.connections.max(1)).map(|_| {
            let (sender, jobs) = mpsc::unbounded_channel();
            let lane = Lane { dial: dial.clone(), jobs, waiting: VecDeque::new(), renewals: Vec::new() };
            let (session, running) = (first.take(), running.clone());
            tokio::spawn(async move {
                lane.run(session).await;
                drop(running);
            });
            sender
        });
        lanes.collect()
    }

    async fn run(mut self, mut first: Option<(Session, Connection)>) {
        loop {
            let (session, connection) = match first.take() {
                Some(first) => first,
                None => match self.connect().await {
                    Some(next) => next,
                    None => return,
                },
            };
            match self.serve(&session, connection).await {
                End::Broken => tracing::warn!(server = self.dial.server(), "connection lost"),
                End::Closed => return,
            }
        }
    }

    /// Connects, however often it takes; what is overdue meanwhile is answered. Nothing, if the engine was closed.
    async fn connect(&mut self) -> Option<(Session, Connection)> {
        let dial = self.dial.clone();
        let connecting = async move {
            let mut backoff = Backoff::FIRST;
            loop {
                let until = Instant::now() + dial.call_max();
                match dial.in_time(until, "connect", dial.session()).await {
                    Ok(session) => return session,
                    Err(fault) => tracing::warn!(%fault, "will try again"),
                }
                backoff.wait().await;
            }
        };
        tokio::pin!(connecting);
        loop {
            let overdue = self.waiting.front().map(|job| job.overdue);
            tokio::select! {
                session = &mut connecting => return Some(session),
                job = self.jobs.recv() => self.waiting.push_back(job?),
                () = until(overdue) => drop(self.waiting.pop_front()),
            }
        }
    }

    /// The next task; nothing, if the engine was closed.
    async fn next(&mut self) -> Option<Job> {
        match self.waiting.pop_front() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    /// Sends tasks down the connection as they come, and ends when the engine was closed and all of them have. What is
    /// under way when the connection breaks is dropped, and so answered.
    async fn serve(&mut self, session: &Session, mut connection: Connection) -> End {
        let mut under_way = FuturesUnordered::new();
        let (mut renewing, mut closed) = (0_usize, false);
        let mut sweep = Instant::now() + SWEEP.mul_f64(random());
        let end = loop {
            let mut loads = [None, None];
            tokio::select! {
                // What was taken is sent before the next is: so nothing is overtaken, and what comes after the end still waits.
                biased;
                done = moved(&mut connection, &mut under_way) => match done {
                    Ok(Done::One) => {}
                    Ok(Done::Renewals) => renewing -= 1,
                    Err(Broken) => break End::Broken,
                },
                job = self.next(), if !closed => match job {
                    Some(job) => loads = self.take(job),
                    None => closed = true,
                },
                () = sleep_until(sweep), if !closed => {
                    sweep = Instant::now() + SWEEP.mul_f64(0.5 + random());
                    let overdue = Instant::now() + self.dial.call_max();
                    loads[0] = Some(Load::One(Job { task: Task::Sweep, responder: None, overdue }));
                }
            }
            let gathered = if renewing == 0 { self.gathered() } else { None };
            for load in loads.into_iter().flatten().chain(gathered) {
                renewing += usize::from(matches!(load, Load::Renewals(_)));
                under_way.push(carry_out(session, load));
            }
            if closed && under_way.is_empty() {
                break End::Closed;
            }
        };
        // What was not sent need not be unknown.
        self.renewals.drain(..).rev().for_each(|job| self.waiting.push_front(job));
        end
    }

    /// What is to be sent because of this task: a renewal gathers with others, which go before what concerns one of their
    /// spaces.
    fn take(&mut self, job: Job) -> [Option<Load>; 2] {
        if job.task.renewal().is_some() {
            self.renewals.push(job);
            let is_full = self.renewals.len() >= RENEWALS_MAX;
            return [if is_full { self.gathered() } else { None }, None];
        }
        let is_of_theirs = self.renewals.iter().any(|renewal| renewal.task.space() == job.task.space());
        [if is_of_theirs { self.gathered() } else { None }, Some(Load::One(job))]
    }

    /// The renewals that have gathered, if there are any.
    fn gathered(&mut self) -> Option<Load> {
        let renewals = core::mem::take(&mut self.renewals);
        (!renewals.is_empty()).then_some(Load::Renewals(renewals))
    }
}

/// Moves what is under way, and the connection on which it is: one task asks and reads the answers, so no other one has to be
/// woken. Returns what ends first.
async fn moved(
    connection: &mut Connection,
    under_way: &mut FuturesUnordered<impl Future<Output = Result<Done, Broken>>>,
) -> Result<Done, Broken> {
    poll_fn(|context| {
        // The first time reads answers, the second one sends what has been asked since.
        for _ in 0..2 {
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(context) {
                if let Err(fault) = ended {
                    tracing::warn!(fault = told(&fault), "a connection ended");
                }
                // What was answered before the end is an answer.
                while let Poll::Ready(Some(_)) = under_way.poll_next_unpin(context) {}
                return Poll::Ready(Err(Broken));
            }
            if let Poll::Ready(Some(done)) = under_way.poll_next_unpin(context) {
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}

fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

async fn until(overdue: Option<Instant>) {
    match overdue {
        Some(overdue) => sleep_until(overdue).await,
        None => std::future::pending().await,
    }
}

/// Carries a load out, and answers what is known. The first poll sends it.
async fn carry_out(session: &Session, load: Load) -> Result<Done, Broken> {
    match load {
        Load::One(job) => carry_out_one(session, job).await.map(|()| Done::One),
        Load::Renewals(jobs) => renew(session, jobs).await.map(|()| Done::Renewals),
    }
}

async fn carry_out_one(session: &Session, Job { task, responder, overdue }: Job) -> Result<(), Broken> {
    if overdue <= Instant::now() {
        return Ok(());
    }
    let work = async {
        match &task {
            Task::Request(request) => session.carry_out(request).await.map(Some),
            Task::Publish { space, text } => session.publish(space, text).await.map(|()| None),
            Task::Sweep => session.sweep().await.map(|()| None),
        }
    };
    if let (Some(responder), Some(Some(reply))) = (responder, in_time(overdue, work).await?) {
        responder.answer(reply);
    }
    Ok(())
}

/// Those of them that are not overdue.
async fn renew(session: &Session, mut jobs: Vec<Job>) -> Result<(), Broken> {
    let now = Instant::now();
    jobs.retain(|job| job.overdue > now);
    let Some(overdue) = jobs.iter().map(|job| job.overdue).min() else { return Ok(()) };
    let renewals: Vec<_> = jobs.iter().filter_map(|job| job.task.renewal()).collect();
    let replies = in_time(overdue, session.renew(&renewals)).await?.unwrap_or_default();
    for (job, reply) in jobs.into_iter().zip(replies) {
        if let Some(responder) = job.responder {
            responder.answer(reply);
        }
    }
    Ok(())
}

/// What comes of it; nothing, if it failed and left the connection as it was.
async fn in_time<T>(
    overdue: Instant,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<Option<T>, Broken> {
    match timeout_at(overdue, work).await {
        Ok(Ok(done)) => Ok(Some(done)),
        Ok(Err(fault)) => {
            tracing::warn!(fault = told(&fault), "a statement failed");
            if breaks(&fault) { Err(Broken) } else { Ok(None) }
        }
        Err(_) => Err(Broken),
    }
}
