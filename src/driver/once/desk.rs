//! Where callers of one scheduler meet its machine: who asked what about which key, and which callbacks run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::vec::Vec;

use tokio::sync::oneshot::Sender;

use super::super::cell::Caller;
use super::super::index::Resident;
use super::super::observe::JobMeters;
use super::super::signals::Signals;
use super::super::tasks::{self, Ended, Run};
use super::{Machine, OnceCell, OnceError, OnceRun};
use crate::driver::wire::Payload;
use crate::job::Outcome;
use crate::machine::AnswerOf;
use crate::once::{Call, Declined, Event, JobKey, Task};
use crate::store::Answer;
use crate::time::{Instant, StoreTime};

type Request = crate::once::Request<JobKey, Payload>;
type Page = Vec<(JobKey, Task<Payload>)>;
pub(crate) type Callback = Arc<dyn Fn(OnceRun<Payload>) -> Run + Send + Sync>;

/// What a handle asks.
pub(crate) enum Ask {
    Start(Callback, Sender<Result<(), OnceError>>),
    Stop(Option<Sender<()>>),
    /// The machine takes one request per key at a time; others wait here.
    About {
        key: JobKey,
        request: Request,
        reply: Sender<Told>,
    },
    /// And one page.
    List {
        after: Option<JobKey>,
        limit: u32,
        reply: Sender<Page>,
    },
    Finish {
        slot: u16,
        outcome: Outcome,
    },
}

/// What came of a request about a key.
#[derive(Debug)]
pub(crate) enum Told {
    Accepted,
    Declined(Declined),
    Found(Option<Task<Payload>>),
}

/// The callers' side of a scheduler.
pub(crate) struct Desk {
    me: Weak<OnceCell>,
    callback: Option<Callback>,
    running: BTreeMap<u16, Running>,
    stoppers: Vec<Sender<()>>,
    /// The first of each key is the one that the machine is at.
    about: BTreeMap<JobKey, VecDeque<(Request, Sender<Told>)>>,
    /// Likewise.
    pages: VecDeque<(Request, Sender<Page>)>,
    /// The store's time in the latest answer.
    answered: StoreTime,
    meters: JobMeters,
    closed: bool,
    /// Nobody will wake the machine any more.
    abandoned: bool,
}

struct Running {
    key: JobKey,
    signals: Arc<Signals>,
    since: Instant,
}

impl Desk {
    pub(crate) fn new(me: Weak<OnceCell>, group: &str) -> Desk {
        Desk {
            me,
            callback: None,
            running: BTreeMap::new(),
            stoppers: Vec::new(),
            about: BTreeMap::new(),
            pages: VecDeque::new(),
            answered: StoreTime::ZERO,
            meters: JobMeters::of(group),
            closed: false,
            abandoned: false,
        }
    }

    fn start(&mut self, callback: Callback, reply: Sender<Result<(), OnceError>>) -> Option<Request> {
        let is_free = self.callback.is_none();
        // Who asked may have gone; the jobs run all the same.
        let _ = reply.send(if is_free { Ok(()) } else { Err(OnceError::Started) });
        is_free.then(|| {
            self.callback = Some(callback);
            Request::Start
        })
    }

    fn about(&mut self, key: JobKey, request: Request, reply: Sender<Told>) -> Option<Request> {
        let line = self.about.entry(key).or_default();
        line.push_back((request.clone(), reply));
        (line.len() == 1).then_some(request)
    }

    /// A request about this key is answered: the next one, if there is one.
    fn answer(&mut self, key: &JobKey, told: Told) -> Option<Request> {
        let line = self.about.get_mut(key)?;
        if let Some((_, reply)) = line.pop_front() {
            let _ = reply.send(told);
        }
        // Nobody waits for these any more, and nothing was sent of them.
        while line.front().is_some_and(|(_, reply)| reply.is_closed()) {
            line.pop_front();
        }
        let next = line.front().map(|(request, _)| request.clone());
        if next.is_none() {
            self.about.remove(key);
        }
        next
    }

    fn list(&mut self, after: Option<JobKey>, limit: u32, reply: Sender<Page>) -> Option<Request> {
        let request = Request::List { after, limit };
        self.pages.push_back((request.clone(), reply));
        (self.pages.len() == 1).then_some(request)
    }

    fn listed(&mut self, page: Page) -> Option<Request> {
        if let Some((_, reply)) = self.pages.pop_front() {
            let _ = reply.send(page);
        }
        while self.pages.front().is_some_and(|(_, reply)| reply.is_closed()) {
            self.pages.pop_front();
        }
        self.pages.front().map(|(request, _)| request.clone())
    }

    fn begin(&mut self, slot: u16, since: Instant, run: OnceRun<Payload>) {
        let (Some(cell), Some(callback)) = (self.me.upgrade(), self.callback.clone()) else { return };
        self.meters.began(self.answered.since(run.task.due));
        let (key, signals) = (run.key.clone(), run.signals.clone());
        self.running.insert(slot, Running { key, signals, since });
        let runtime = cell.core().runtime().clone();
        let span = tasks::span(cell.space(), Some(run.token));
        span.record("key", run.key.as_str()).record("attempt", run.task.attempt);
        let report = move |ended: Ended<_>| cell.ask(Ask::Finish { slot, outcome: ended.outcome() });
        tasks::run(&runtime, span, move || callback(run), report);
    }

    /// Whoever waits for the stop is told, once no callback runs.
    fn let_go(&mut self) {
        if self.running.is_empty() {
            self.stoppers.clear();
        }
    }

    /// Whoever waits for a request that was not sent is told that the store is closed.
    fn clear(&mut self) {
        self.about.values_mut().for_each(|line| line.truncate(1));
        self.pages.truncate(1);
    }
}

fn until(machine: &Machine, key: &JobKey) -> Option<Instant> {
    machine.running().find(|(running, _)| *running == key).map(|(_, until)| until)
}

impl Caller<Machine> for Desk {
    type Ask = Ask;

    fn ask(&mut self, _: &Machine, ask: Ask) -> Option<Request> {
        match ask {
            // The reply is dropped: the store is closed.
            Ask::Start(..) | Ask::About { .. } | Ask::List { .. } if self.closed => None,
            Ask::Stop(_) if self.abandoned && self.running.is_empty() => None,
            Ask::Start(callback, reply) => self.start(callback, reply),
            Ask::Stop(reply) => {
                self.stoppers.extend(reply);
                Some(Request::Stop)
            }
            Ask::About { key, request, reply } => self.about(key, request, reply),
            Ask::List { after, limit, reply } => self.list(after, limit, reply),
            Ask::Finish { slot, outcome } => {
                if self.abandoned {
                    self.running.remove(&slot);
                    self.let_go();
                }
                Some(Request::Finish { slot, outcome })
            }
        }
    }

    fn stepped(&mut self, machine: &Machine) {
        for running in self.running.values() {
            running.signals.believe(until(machine, &running.key));
        }
    }

    fn event(&mut self, machine: &Machine, now: Instant, event: Event<JobKey, Payload>) -> Option<Request> {
        match event {
            Event::Began { slot, key, token, task } => {
                let signals = Arc::new(Signals::new(until(machine, &key)));
                self.begin(slot, now, OnceRun { key, token, task, signals });
            }
            Event::Interrupted { slot, key: _ } => {
                if let Some(running) = self.running.get(&slot) {
                    self.meters.interrupted();
                    running.signals.interrupt();
                }
            }
            Event::Ended { slot, key: _, outcome, noted } => {
                if let Some(running) = self.running.remove(&slot) {
                    running.signals.believe(None);
                    self.meters.ended(running.since, now, outcome, noted);
                }
            }
            Event::Accepted { key, generation: _ } => return self.answer(&key, Told::Accepted),
            Event::Declined { key, why } => return self.answer(&key, Told::Declined(why)),
            Event::Found { key, task } => return self.answer(&key, Told::Found(task)),
            Event::Listed { page } => return self.listed(page),
            Event::Stopped => {
                self.callback = None;
                self.stoppers.drain(..).for_each(|reply| {
                    let _ = reply.send(());
                });
            }
            // One request per key and one page at a time are asked for, and a callback ends once.
            Event::Rejected { .. } => {}
        }
        None
    }

    fn sent(&mut self, _: Call) {}

    fn answered(&mut self, _: Call, answer: &AnswerOf<Machine>, at: StoreTime) {
        match answer {
            Answer::Unknown => self.meters.unknown(),
            Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_) => {
                self.answered = at;
            }
        }
    }

    fn hinted(&mut self, _: Instant) {}

    fn missed(&mut self) -> Option<Request> {
        Some(Request::Refresh)
    }

    fn shut(&mut self, _: &Machine) -> Option<Request> {
        self.closed = true;
        self.clear();
        Some(Request::Stop)
    }

    fn abandon(&mut self) {
        (self.abandoned, self.callback) = (true, None);
        self.running.values().for_each(|running| running.signals.interrupt());
        self.about.clear();
        self.pages.clear();
        self.let_go();
    }

    fn doing(&self) -> Option<&'static str> {
        if !self.running.is_empty() {
            Some("running callbacks")
        } else if !self.about.is_empty() || !self.pages.is_empty() {
            Some("waiting for an answer about a job")
        } else {
            self.callback.is_some().then_some("stopping")
        }
    }
}
