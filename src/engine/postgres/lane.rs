//! A lane: one connection after another, and the tasks that go down it in order.

use std::string::String;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use alloc::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::PostgresOptions;
use super::dial::{Backoff, Dial, Session, breaks, told};
use crate::engine::{Request, Responder};

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
}

/// A task, and who waits for it until when. Dropping it answers it.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) responder: Option<Responder>,
    pub(super) overdue: Instant,
}

/// The connection is of no use any more.
struct Broken;

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
}

impl Lane {
    /// Starts all lanes, the first one on `session`.
    pub(super) fn start(
        dial: &Arc<Dial>,
        session: Session,
        options: &PostgresOptions,
        running: &watch::Sender<()>,
    ) -> Vec<mpsc::UnboundedSender<Job>> {
        let mut first = Some(session);
        let lanes = (0..options.connections.max(1)).map(|_| {
            let (sender, jobs) = mpsc::unbounded_channel();
            let lane = Lane { dial: dial.clone(), jobs, waiting: VecDeque::new() };
            let (session, running) = (first.take(), running.clone());
            tokio::spawn(async move {
                lane.run(session).await;
                drop(running);
            });
            sender
        });
        lanes.collect()
    }

    async fn run(mut self, mut session: Option<Session>) {
        loop {
            let current = match session.take() {
                Some(session) => session,
                None => match self.connect().await {
                    Some(session) => session,
                    None => return,
                },
            };
            match self.serve(&current).await {
                End::Broken => tracing::warn!(server = self.dial.server(), "connection lost"),
                End::Closed => return,
            }
        }
    }

    /// Connects, however often it takes; what is overdue meanwhile is answered. Nothing, if the engine was closed.
    async fn connect(&mut self) -> Option<Session> {
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
    async fn serve(&mut self, session: &Session) -> End {
        let mut under_way = FuturesUnordered::new();
        let mut closed = false;
        let mut sweep = Instant::now() + SWEEP.mul_f64(random());
        while !closed || !under_way.is_empty() {
            tokio::select! {
                biased;
                Some(done) = under_way.next() => {
                    if let Err(Broken) = done {
                        return End::Broken;
                    }
                }
                job = self.next(), if !closed => match job {
                    Some(job) => under_way.push(carry_out(session, job)),
                    None => closed = true,
                },
                () = sleep_until(sweep), if !closed => {
                    sweep = Instant::now() + SWEEP.mul_f64(0.5 + random());
                    let overdue = Instant::now() + self.dial.call_max();
                    under_way.push(carry_out(session, Job { task: Task::Sweep, responder: None, overdue }));
                }
                () = session.over() => return End::Broken,
            }
        }
        End::Closed
    }
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

/// Carries a task out, and answers it if anything is known. The first poll sends it.
async fn carry_out(session: &Session, Job { task, responder, overdue }: Job) -> Result<(), Broken> {
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
    match timeout_at(overdue, work).await {
        Ok(Ok(reply)) => {
            if let (Some(responder), Some(reply)) = (responder, reply) {
                responder.answer(reply);
            }
            Ok(())
        }
        Ok(Err(fault)) => {
            tracing::warn!(fault = told(&fault), "a statement failed");
            if breaks(&fault) { Err(Broken) } else { Ok(()) }
        }
        Err(_) => Err(Broken),
    }
}
