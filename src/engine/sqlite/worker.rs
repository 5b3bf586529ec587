//! The two threads of a file, and the queue before them.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use tokio::sync::watch;

use super::SqliteOptions;
use super::bell::{Listener, Nudge};
use super::file::{File, Patience};
use crate::engine::{Ear, Hint, Reply, Request, Responder};
use crate::store::Op;

/// How many tasks go into one transaction at most.
const GROUP: usize = 64;
/// How often to look for what takes too long, and for hints although nothing rang.
const LOOK: Duration = Duration::from_millis(500);

/// What is to be done to the file.
#[derive(Debug)]
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
}

impl Task {
    pub(super) fn is_read(&self) -> bool {
        match self {
            Task::Request(request) => match request.op {
                Op::Get { .. } | Op::List { .. } => true,
                Op::PutIf { .. } | Op::Renew { .. } | Op::DeleteIf { .. } => false,
            },
            Task::Publish { .. } => false,
        }
    }

    fn is_message(&self) -> bool {
        match self {
            Task::Request(_) => false,
            Task::Publish { .. } => true,
        }
    }
}

/// Who waits for a task, and since when.
struct Ticket {
    responder: Option<Responder>,
    overdue: Instant,
}

/// What the worker does at one go.
struct Turn {
    tasks: Vec<Task>,
    /// Whether to look for hints, too.
    look: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Task, Ticket)>,
    /// Those whose tasks are being carried out, in the same order.
    working: Vec<Ticket>,
    /// Whether it is time to look for hints.
    look: bool,
    /// Whether the worker has nothing to do, and has to be nudged to see that this has changed.
    idle: bool,
    closed: bool,
}

impl State {
    fn has_work(&self) -> bool {
        self.look || !self.waiting.is_empty()
    }

    fn take_turn(&mut self) -> Turn {
        // Whoever asked for these was told that nobody knows; later is no better.
        self.waiting.retain(|(task, ticket)| task.is_message() || ticket.responder.is_some());
        let count = self.waiting.len().min(GROUP);
        let (tasks, tickets) = self.waiting.drain(..count).unzip();
        self.working = tickets;
        Turn { tasks, look: mem::take(&mut self.look) }
    }

    /// Asks for a look at the hints; what is overdue is to be answered as unknown.
    fn look_around(&mut self) -> Vec<Responder> {
        let now = Instant::now();
        self.look = true;
        let tickets = self.working.iter_mut().chain(self.waiting.iter_mut().map(|(_, ticket)| ticket));
        let overdue = tickets.take_while(|ticket| ticket.overdue <= now);
        overdue.filter_map(|ticket| ticket.responder.take()).collect()
    }
}

/// What the threads share with the engine.
pub(super) struct Shared {
    state: Mutex<State>,
    nudge: Nudge,
    closing: Condvar,
    ear: OnceLock<Arc<dyn Ear>>,
    options: SqliteOptions,
}

/// Starts the threads. The receiver hears of their end: nobody is left to send.
pub(super) fn start(file: File, options: &SqliteOptions) -> io::Result<(Arc<Shared>, watch::Receiver<()>)> {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        nudge: Nudge::new()?,
        closing: Condvar::new(),
        ear: OnceLock::new(),
        options: options.clone(),
    });
    let (running, ended) = watch::channel(());
    let listener = file.bell.listen(options.poll);
    let watchman = (shared.clone(), running.clone());
    thread::Builder::new().name("fencepost-watch".into()).spawn(move || watchman.0.watch(&watchman.1))?;
    let worker = (shared.clone(), running);
    let spawned = thread::Builder::new()
        .name("fencepost-sqlite".into())
        .spawn(move || worker.0.work(file, listener, &worker.1));
    // The other thread must not outlive an engine that never was.
    spawned.inspect_err(|_| shared.close())?;
    Ok((shared, ended))
}

impl Shared {
    // Nothing panics while the lock is held; and if it did, a state would be left that is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, ear: Arc<dyn Ear>) {
        let _ = self.ear.set(ear);
    }

    pub(super) fn submit(&self, request: Request, responder: Responder) {
        self.enqueue(Task::Request(request), Some(responder));
    }

    pub(super) fn publish(&self, space: &str, text: &str) {
        self.enqueue(Task::Publish { space: space.into(), text: text.into() }, None);
    }

    fn enqueue(&self, task: Task, responder: Option<Responder>) {
        let ticket = Ticket { responder, overdue: Instant::now() + self.options.call_max };
        let mut state = self.state();
        if state.closed {
            // Whoever waits hears of it only after the lock is free.
            drop(state);
            return drop(ticket);
        }
        state.waiting.push_back((task, ticket));
        self.wake(state);
    }

    /// Lets the worker see what has changed, if it sleeps.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleeps = mem::take(&mut state.idle);
        drop(state);
        if sleeps {
            self.nudge.give();
        }
    }

    /// Whoever waits for an answer gets none; what was published before is passed on.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let (messages, left) =
            mem::take(&mut state.waiting).into_iter().partition(|(task, _)| task.is_message());
        state.waiting = messages;
        self.wake(state);
        self.closing.notify_all();
        drop(left);
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// The thread that gives up what takes too long: the worker cannot while it waits for the file.
    fn watch(&self, _running: &watch::Sender<()>) {
        let mut state = self.state();
        while !state.closed {
            let waited = self.closing.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let given_up = state.look_around();
            self.wake(state);
            drop(given_up);
            state = self.state();
        }
    }

    /// The thread that works on the file.
    fn work(&self, mut file: File, mut listener: Listener, _running: &watch::Sender<()>) {
        while let Some(turn) = self.next(&mut listener) {
            if !file.is_in_place() {
                self.replace(&mut file);
                self.give_up();
                continue;
            }
            if let Some(until) = self.patience() {
                let is_over = || self.is_closed() && !turn.tasks.iter().any(Task::is_message);
                self.answer(file.carry_out(&turn.tasks, &Patience { until, is_over: &is_over }));
            }
            if turn.look
                && let (Some(ear), Some(news)) = (self.ear.get(), file.news())
            {
                news.tell(&**ear);
            }
        }
        self.give_up();
    }

    /// Nobody knows what came of what was to be carried out.
    fn give_up(&self) {
        // Whoever waits may come back with the next request, so he hears of it only after the lock is free.
        let tickets = mem::take(&mut self.state().working);
        drop(tickets);
    }

    /// Waits for tasks, or for a reason to look for hints; nothing, if it is closed and nothing is left to be passed on.
    fn next(&self, listener: &mut Listener) -> Option<Turn> {
        loop {
            let rang = listener.listen(&self.nudge, self.is_idle());
            let mut state = self.state();
            state.idle = false;
            if state.closed && state.waiting.is_empty() {
                return None;
            }
            state.look |= rang;
            if state.has_work() {
                return Some(state.take_turn());
            }
        }
    }

    /// Whether there is nothing to do. Whoever changes that from now on has to nudge.
    fn is_idle(&self) -> bool {
        let mut state = self.state();
        state.idle = !state.closed && !state.has_work();
        state.idle
    }

    /// Until when somebody waits for what is to be carried out now.
    fn patience(&self) -> Option<Instant> {
        self.state().working.last().map(|ticket| ticket.overdue)
    }

    fn answer(&self, replies: Vec<Option<Reply>>) {
        let tickets = mem::take(&mut self.state().working);
        for (ticket, reply) in tickets.into_iter().zip(replies) {
            if let (Some(responder), Some(reply)) = (ticket.responder, reply) {
                responder.answer(reply);
            }
        }
    }

    /// Somebody put another file in the place of ours, or removed it: what ours says, nobody else hears.
    fn replace(&self, file: &mut File) {
        tracing::warn!(path = ?file.path(), "the file was replaced or removed; opening it again");
        match File::open(file.path(), &self.options) {
            Ok(other) => {
                *file = other;
                if let Some(ear) = self.ear.get() {
                    ear.hear(Hint::Gap);
                }
            }
            Err(fault) => {
                tracing::warn!(%fault, "will try again");
                thread::park_timeout(Duration::from_millis(10));
            }
        }
    }
}
