//! Where callers of one mutex meet its machine: whose attempt it is, and what is counted.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::super::cell::Caller;
use super::super::observe::LockMeters;
use super::super::tenure::{self, Stage};
use crate::engine::clock;
use crate::machine::AnswerOf;
use crate::mutex::{Call, Event, Loss, Misuse, Mutex, Patience, Release, Request};
use crate::store::{Answer, FencingToken};
use crate::time::{Instant, StoreTime};

pub(crate) type Tenure = tenure::Tenure<FencingToken, End>;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Contended,
    TimedOut,
    /// The caller has dropped it, or the store was closed.
    Left,
    Lost(Loss),
    Released(Release),
}

/// What a handle asks, for an attempt of its own.
#[derive(Debug)]
pub(crate) enum Ask {
    Lock {
        tenure: Arc<Tenure>,
        patience: Patience,
        /// When the caller began to wait.
        began: Instant,
    },
    /// To wait no longer, or to hold no longer.
    Leave(Arc<Tenure>),
    Extend(Arc<Tenure>),
}

/// The callers' side of a mutex.
#[derive(Debug)]
pub(crate) struct Desk {
    current: Option<Current>,
    /// Whose turn it is. It is given back when an attempt ends.
    turn: Arc<Semaphore>,
    meters: LockMeters,
    closed: bool,
}

/// The attempt that the machine is at.
#[derive(Debug)]
struct Current {
    tenure: Arc<Tenure>,
    began: Instant,
    /// When the lock was granted.
    since: Option<Instant>,
    claims: u32,
    word: Word,
}

/// When word came that the lock may be free, and what was asked because of it.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// None came, or it came to nothing.
    Unheard,
    /// Nothing yet.
    Heard(Instant),
    /// Who is first in line.
    Looked(Instant),
    /// For the lock.
    Claimed(Instant),
}

impl Desk {
    pub(crate) fn new(turn: Arc<Semaphore>, group: &str) -> Desk {
        Desk { current: None, turn, meters: LockMeters::of(group), closed: false }
    }

    fn is_at(&self, tenure: &Arc<Tenure>) -> bool {
        self.current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.tenure, tenure))
    }

    fn end(&mut self, now: Instant, end: End) {
        let Some(current) = self.current.take() else { return };
        current.tenure.end(end);
        // Only now, so that the next one finds the machine free.
        self.turn.add_permits(1);
        if let Some(since) = current.since {
            self.meters.held(now.since(since));
        }
    }

    fn granted(&mut self, now: Instant, token: FencingToken) {
        let Some(current) = &mut self.current else { return };
        current.since = Some(now);
        // Who waits is woken before anything is counted.
        current.tenure.grant(token);
        self.meters.grabbed(now.since(current.began));
        if let Word::Claimed(freed) = current.word {
            self.meters.handed_over(now.since(freed));
        }
    }
}

impl Caller<Mutex> for Desk {
    type Ask = Ask;

    fn ask(&mut self, _: &Mutex, ask: Ask) -> Option<Request> {
        match ask {
            Ask::Lock { tenure, .. } if self.closed => {
                tenure.end(End::Left);
                None
            }
            Ask::Lock { tenure, patience, began } => {
                self.current = Some(Current { tenure, began, since: None, claims: 0, word: Word::Unheard });
                Some(Request::Lock(patience))
            }
            Ask::Leave(tenure) if self.is_at(&tenure) => Some(match tenure.stage() {
                Stage::Wanted => Request::Cancel,
                Stage::Held { .. } | Stage::Over { .. } => Request::Unlock,
            }),
            Ask::Extend(tenure) if self.is_at(&tenure) => Some(Request::Extend),
            // That attempt is over, and its caller knows.
            Ask::Leave(_) | Ask::Extend(_) => None,
        }
    }

    #[inline]
    fn stepped(&mut self, machine: &Mutex) {
        let Some(current) = &self.current else { return };
        match (machine.until(), current.since) {
            (Some(until), _) => current.tenure.belief().set(until.as_nanos()),
            (None, Some(_)) => current.tenure.belief().end(),
            (None, None) => {}
        }
    }

    fn event(&mut self, _: &Mutex, now: Instant, event: Event) -> Option<Request> {
        match event {
            Event::Acquired(token) => self.granted(now, token),
            Event::Contended => self.end(now, End::Contended),
            Event::TimedOut => self.end(now, End::TimedOut),
            Event::Cancelled => self.end(now, End::Left),
            Event::Extended(_) => {
                if let Some(current) = &self.current {
                    current.tenure.extended();
                }
            }
            Event::Released(release) => self.end(now, End::Released(release)),
            Event::Lost(loss) => {
                self.meters.lost(reason(loss));
                self.end(now, End::Lost(loss));
            }
            // It holds or wants the lock already; whoever has the turn never sees this.
            Event::Rejected(Misuse::Busy) => self.end(now, End::Contended),
            // What was asked has crossed the end of the attempt.
            Event::Rejected(Misuse::NotHeld) => {}
        }
        None
    }

    fn sent(&mut self, call: Call) {
        let Some(current) = &mut self.current else { return };
        match (call, current.word) {
            (Call::Look, Word::Heard(at)) => current.word = Word::Looked(at),
            (Call::Claim, Word::Heard(at) | Word::Looked(at)) => current.word = Word::Claimed(at),
            (Call::Look, _) | (Call::Claim, Word::Unheard | Word::Claimed(_)) => current.word = Word::Unheard,
            (Call::Renew | Call::Release | Call::Inspect | Call::Line(_), _) => {}
        }
        if call == Call::Claim {
            current.claims += 1;
            if current.claims > 1 {
                self.meters.retried();
            }
        }
    }

    fn answered(&mut self, call: Call, answer: &AnswerOf<Mutex>, _: StoreTime) {
        match (call, answer) {
            (_, Answer::Unknown) => self.meters.unknown(),
            (Call::Renew, Answer::Applied(_)) => self.meters.renewed(),
            (
                Call::Claim | Call::Renew | Call::Release | Call::Inspect | Call::Look | Call::Line(_),
                Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_),
            ) => {}
        }
    }

    fn hinted(&mut self, now: Instant) {
        if let Some(current) = self.current.as_mut().filter(|current| current.since.is_none()) {
            current.word = Word::Heard(now);
        }
    }

    fn shut(&mut self, _: &Mutex) -> Option<Request> {
        self.closed = true;
        self.turn.close();
        let current = self.current.as_ref()?;
        Some(if current.since.is_some() { Request::Unlock } else { Request::Cancel })
    }

    fn abandon(&mut self) {
        self.end(clock::mono(), End::Left);
    }

    fn doing(&self) -> Option<&'static str> {
        let current = self.current.as_ref()?;
        Some(if current.since.is_some() { "releasing a lock" } else { "giving up a wait" })
    }
}

/// Under which label a loss is counted.
fn reason(loss: Loss) -> &'static str {
    match loss {
        Loss::Expired => "expired",
        Loss::Gone => "gone",
    }
}
