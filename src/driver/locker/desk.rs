//! Where the caller of one request meets its machine: how far the request has come, and what is counted.

use std::sync::Arc;

use super::super::asked::Asked;
use super::super::cell::{Caller, Cell};
use super::super::observe::LockMeters;
use super::super::tenure::{Stage, Tenure};
use crate::engine::clock;
use crate::locker::{Bid, Call, Event, Locker, Loss, Misuse, Notice, Request};
use crate::machine::AnswerOf;
use crate::mutex::{self, Release};
use crate::store::{Answer, FencingToken};
use crate::time::{Instant, StoreTime};

pub(crate) type LockerCell = Cell<Locker, Desk>;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Preempted(Notice),
    TimedOut,
    /// The caller has dropped it, or the store was closed.
    Left,
    Lost(Loss),
    Released(Release),
}

/// What a handle asks.
#[derive(Debug)]
pub(crate) enum Ask {
    Lock(Bid),
    /// To wait no longer, or to hold no longer.
    Leave,
    Extend,
}

/// One request, as its caller sees it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) tenure: Tenure<FencingToken, End>,
    pub(crate) asked: Asked<Notice>,
}

impl Attempt {
    pub(crate) fn new() -> Attempt {
        Attempt { tenure: Tenure::new(), asked: Asked::new() }
    }

    fn end(&self, end: End) {
        self.tenure.end(end);
        self.asked.end();
    }
}

/// The caller's side of a request.
#[derive(Debug)]
pub(crate) struct Desk {
    attempt: Arc<Attempt>,
    /// When the caller began to wait.
    began: Instant,
    /// When the lock was granted.
    since: Option<Instant>,
    claims: u32,
    meters: LockMeters,
    closed: bool,
}

impl Desk {
    pub(crate) fn new(attempt: Arc<Attempt>, group: &str, began: Instant) -> Desk {
        Desk { attempt, began, since: None, claims: 0, meters: LockMeters::of(group), closed: false }
    }

    fn end(&mut self, now: Instant, end: End) {
        self.attempt.end(end);
        if let Some(since) = self.since.take() {
            self.meters.held(now.since(since));
        }
    }

    fn granted(&mut self, now: Instant, token: FencingToken) {
        self.since = Some(now);
        // Who waits is woken before anything is counted.
        self.attempt.tenure.grant(token);
        self.meters.grabbed(now.since(self.began));
    }

    /// What to ask so that nothing is held or wanted.
    fn leave(&self) -> Option<Request> {
        match self.attempt.tenure.stage() {
            Stage::Wanted => Some(Request::Cancel),
            Stage::Held { .. } => Some(Request::Unlock),
            Stage::Over { .. } => None,
        }
    }
}

impl Caller<Locker> for Desk {
    type Ask = Ask;

    fn ask(&mut self, _: &Locker, ask: Ask) -> Option<Request> {
        match ask {
            Ask::Lock(_) if self.closed => {
                self.attempt.end(End::Left);
                None
            }
            Ask::Lock(bid) => Some(Request::Lock(bid)),
            Ask::Leave => self.leave(),
            Ask::Extend => Some(Request::Extend),
        }
    }

    fn stepped(&mut self, machine: &Locker) {
        match (machine.until(), self.since) {
            (Some(until), _) => self.attempt.tenure.belief().set(until.as_nanos()),
            (None, Some(_)) => self.attempt.tenure.belief().end(),
            (None, None) => {}
        }
    }

    fn event(&mut self, _: &Locker, now: Instant, event: Event) -> Option<Request> {
        match event {
            Event::Acquired(token) => self.granted(now, token),
            Event::Asked(notice) => {
                self.attempt.asked.ask(notice.clone());
                self.meters.asked(&notice.message);
            }
            Event::Preempted(notice) => self.end(now, End::Preempted(notice)),
            Event::TimedOut => self.end(now, End::TimedOut),
            Event::Cancelled => self.end(now, End::Left),
            Event::Extended(_) => self.attempt.tenure.extended(),
            Event::Released(release) => self.end(now, End::Released(release)),
            Event::Lost(loss) => {
                self.meters.lost(reason(loss));
                self.end(now, End::Lost(loss));
            }
            // It asks for the lock once; what was asked besides has crossed the end of the request.
            Event::Rejected(Misuse::Busy | Misuse::NotHeld) => {}
        }
        None
    }

    fn sent(&mut self, call: Call) {
        if let Call::Lock(mutex::Call::Claim) = call {
            self.claims += 1;
            if self.claims > 1 {
                self.meters.retried();
            }
        }
    }

    fn answered(&mut self, call: Call, answer: &AnswerOf<Locker>, _: StoreTime) {
        match (call, answer) {
            (_, Answer::Unknown) => self.meters.unknown(),
            (Call::Lock(mutex::Call::Renew), Answer::Applied(_)) => self.meters.renewed(),
            (
                Call::Lock(_)
                | Call::Look
                | Call::Join
                | Call::Keep
                | Call::Leave
                | Call::Revoke
                | Call::Inspect
                | Call::Acknowledge,
                Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_),
            ) => {}
        }
    }

    // A hint says that something was deleted beside the lock as well, so no hand-over can be told from it.
    fn hinted(&mut self, _: Instant) {}

    fn shut(&mut self, _: &Locker) -> Option<Request> {
        self.closed = true;
        self.leave()
    }

    fn abandon(&mut self) {
        self.end(clock::mono(), End::Left);
    }

    fn doing(&self) -> Option<&'static str> {
        match self.attempt.tenure.stage() {
            Stage::Wanted => Some("giving up a wait"),
            Stage::Held { .. } => Some("releasing a lock"),
            Stage::Over { .. } => None,
        }
    }
}

/// Under which label a loss is counted.
fn reason(loss: Loss) -> &'static str {
    match loss {
        Loss::Expired => "expired",
        Loss::Gone => "gone",
        Loss::Preempted => "preempted",
        Loss::TooLong => "too-long",
    }
}
