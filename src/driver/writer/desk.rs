//! Where callers of one writer meet its machine: which work is meant by which name, and what runs.

use std::collections::BTreeMap;
use std::string::String;
use std::sync::{Arc, Weak};
use std::vec::Vec;

use tokio::sync::oneshot::Sender;

use super::super::board::Board;
use super::super::cell::{Caller, Cell};
use super::super::index::Resident;
use super::super::observe;
use super::super::signals::Signals;
use super::super::tasks::{self, Ended, Run};
use super::{WorkRun, Worked};
use crate::machine::AnswerOf;
use crate::mutex::Call;
use crate::once::Name;
use crate::store::Answer;
use crate::time::{Instant, StoreTime};
use crate::writer::{End, Event, Request, State, Unit, WorkId, WriterLease};

pub(crate) type WriterCell<K> = Cell<WriterLease<K>, Desk<K>>;
pub(crate) type Work<K> = Arc<dyn Fn(WorkRun<K>) -> Run<Worked> + Send + Sync>;

/// What a handle asks.
pub(crate) enum Ask<K> {
    Of(Request<K>),
    Try { key: K, unit: Unit, work: Work<K>, reply: Sender<End> },
}

/// What is seen of the writer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: State,
    /// Until when it leads, if it does.
    pub(crate) until: Option<Instant>,
    pub(crate) decided: bool,
    pub(crate) len: usize,
    pub(crate) stopped: bool,
}

impl Default for View {
    fn default() -> View {
        View { state: State::Election, until: None, decided: false, len: 0, stopped: false }
    }
}

impl View {
    pub(crate) fn leads(&self, now: Instant) -> bool {
        self.state == State::Leader && self.until.is_some_and(|until| now < until)
    }
}

/// The callers' side of a writer.
pub(crate) struct Desk<K: Name> {
    me: Weak<WriterCell<K>>,
    name: String,
    has_lock: bool,
    view: Arc<Board<View>>,
    /// What was tried and is not settled.
    sheets: BTreeMap<(K, WorkId), Sheet<K>>,
    running: BTreeMap<K, Arc<Signals>>,
    stopping: bool,
}

/// A piece of work: what it is, and who waits for its end.
struct Sheet<K> {
    work: Work<K>,
    replies: Vec<Sender<End>>,
}

impl<K: Name> Desk<K> {
    pub(crate) fn new(
        me: Weak<WriterCell<K>>,
        name: &str,
        has_lock: bool,
        view: Arc<Board<View>>,
    ) -> Desk<K> {
        let (sheets, running) = (BTreeMap::new(), BTreeMap::new());
        Desk { me, name: name.into(), has_lock, view, sheets, running, stopping: false }
    }

    /// What is tried anew is the same piece of work: it is done in the newer way, and all hear of its end.
    fn note(&mut self, key: K, id: WorkId, work: Work<K>, reply: Sender<End>) {
        let sheet = self.sheets.entry((key, id));
        let sheet = sheet.or_insert_with(|| Sheet { work: work.clone(), replies: Vec::new() });
        sheet.work = work;
        sheet.replies.push(reply);
    }

    fn settle(&mut self, key: K, id: WorkId, end: End) {
        let replies = self.sheets.remove(&(key, id)).map(|sheet| sheet.replies);
        for reply in replies.into_iter().flatten() {
            // Who tried it may not care.
            let _ = reply.send(end);
        }
    }

    fn begin(&mut self, run: WorkRun<K>) {
        let Some(cell) = self.me.upgrade() else { return };
        let (key, id) = (run.key.clone(), run.id);
        self.running.insert(key.clone(), run.signals.clone());
        let runtime = cell.core().runtime().clone();
        let Some(work) = self.sheets.get(&(key.clone(), id)).map(|sheet| sheet.work.clone()) else {
            // The machine runs nothing but what was tried and is not settled.
            return cell.ask(Ask::Of(Request::Panicked { key, id }));
        };
        let span = tasks::span(cell.space(), run.token);
        let report = move |ended| {
            cell.ask(Ask::Of(match ended {
                Ended::With(Worked { result, retry }) => Request::Done { key, id, result, retry },
                // What its runtime drops has failed, as what panics has.
                Ended::Panicked | Ended::Dropped => Request::Panicked { key, id },
            }));
        };
        tasks::run(&runtime, span, move || work(run), report);
    }

    fn set_gauge(&self, leads: bool) {
        tracing::info!(target: "fencepost", writer = self.name, leads, "writer leads or follows");
        let state = if leads { 1.0 } else { 0.0 };
        metrics::gauge!("fencepost_writer_leads", "name" => self.name.clone()).set(state);
    }

    fn has_stopped(&self) -> bool {
        self.view.read(|view| view.stopped)
    }
}

impl<K: Name> Caller<WriterLease<K>> for Desk<K> {
    type Ask = Ask<K>;

    fn ask(&mut self, _: &WriterLease<K>, ask: Ask<K>) -> Option<Request<K>> {
        match ask {
            Ask::Of(Request::Stop) if self.stopping => None,
            Ask::Of(request) => {
                match &request {
                    Request::Done { key, .. } | Request::Panicked { key, .. } => {
                        self.running.remove(key);
                    }
                    Request::Stop => self.stopping = true,
                    Request::Start
                    | Request::Try(..)
                    | Request::Extend(..)
                    | Request::Remove(_)
                    | Request::Expire => {}
                }
                Some(request)
            }
            Ask::Try { reply, .. } if self.stopping => {
                let _ = reply.send(End::Stopped);
                None
            }
            Ask::Try { key, unit, work, reply } => {
                self.note(key.clone(), unit.id(), work, reply);
                Some(Request::Try(key, unit))
            }
        }
    }

    fn stepped(&mut self, machine: &WriterLease<K>) {
        let held = machine.until().filter(|_| self.has_lock);
        self.running.values().for_each(|signals| signals.believe(held));
        let stopped = self.has_stopped();
        let (state, decided, len) = (machine.state(), machine.is_decided(), machine.len());
        let view = View { state, until: machine.until(), decided, len, stopped };
        if self.view.read(|before| *before != view) {
            self.view.update(|before| *before = view);
        }
    }

    fn event(&mut self, machine: &WriterLease<K>, _: Instant, event: Event<K>) -> Option<Request<K>> {
        match event {
            Event::Work { key, id, token } => {
                let signals = Arc::new(Signals::new(machine.until().filter(|_| self.has_lock)));
                self.begin(WorkRun { key, id, token, signals });
            }
            Event::Interrupted { key, id: _ } => {
                if let Some(signals) = self.running.get(&key) {
                    signals.interrupt();
                }
            }
            Event::Settled { key, id, end } => self.settle(key, id, end),
            Event::Leads(_) => self.set_gauge(true),
            Event::Follows => self.set_gauge(false),
            // What is seen shows it already.
            Event::Decided { .. } => {}
            Event::Stopped => self.view.update(|view| view.stopped = true),
            // It is started once, asked for nothing once it stops, and work ends once.
            Event::Rejected(_) => {}
        }
        None
    }

    fn sent(&mut self, _: Call) {}

    fn answered(&mut self, _: Call, answer: &AnswerOf<WriterLease<K>>, _: StoreTime) {
        match answer {
            Answer::Unknown => observe::unknown(&self.name),
            Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_) => {}
        }
    }

    fn hinted(&mut self, _: Instant) {}

    fn shut(&mut self, _: &WriterLease<K>) -> Option<Request<K>> {
        self.stopping = true;
        Some(Request::Stop)
    }

    fn abandon(&mut self) {
        self.running.values().for_each(|signals| signals.interrupt());
        self.sheets.clear();
        let led = self.view.read(|view| view.state == State::Leader);
        self.view.update(|view| (view.until, view.stopped) = (None, true));
        if led {
            self.set_gauge(false);
        }
    }

    fn doing(&self) -> Option<&'static str> {
        if self.running.is_empty() {
            (!self.has_stopped()).then_some("stopping")
        } else {
            Some("running work")
        }
    }
}
