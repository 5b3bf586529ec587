//! Somebody who asks an engine and waits for its answer, and somebody who listens.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fencepost::engine::survey::{Survey, SurveyError};
use fencepost::engine::{Ear, Engine, EngineOp, Hint, Reply, Request, Responder};
use fencepost::store::Answer;

use crate::candidate::Candidate;
use crate::twin::{Breach, Exchange, Rule};

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something was deleted in this space.
    Freed(String),
    /// This was published in that space.
    Message(String, String),
    /// Something may have been missed.
    Gap,
}

/// Somebody who listens, and remembers.
#[derive(Debug, Default)]
pub struct Listener {
    heard: Mutex<Vec<Heard>>,
    more: Condvar,
}

impl Listener {
    /// What was heard until now.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `what` is so, of all that was heard; false, if that takes too long.
    pub fn waits_until(&self, patience: Duration, what: impl Fn(&[Heard]) -> bool) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(heard, patience, |heard| !what(heard));
        waited.is_ok_and(|(_, timed_out)| !timed_out.timed_out())
    }

    /// Waits until this was heard, or a gap.
    pub fn hears(&self, patience: Duration, what: &Heard) -> bool {
        self.waits_until(patience, |heard| heard.contains(what) || heard.contains(&Heard::Gap))
    }
}

impl Ear for Listener {
    fn hear(&self, hint: Hint<'_>) {
        let heard = match hint {
            Hint::Freed { space } => Heard::Freed(space.into()),
            Hint::Message { space, text } => Heard::Message(space.into(), text.into()),
            Hint::Gap => Heard::Gap,
        };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
        self.more.notify_all();
    }
}

/// Somebody who asks, and waits for the answer.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whom he asks.
    pub engine: Arc<dyn Engine>,
    /// What he hears.
    pub listener: Arc<Listener>,
    /// For how long he waits.
    pub patience: Duration,
}

impl Caller {
    /// Somebody with a handle of his own, who listens.
    pub fn new(candidate: &dyn Candidate) -> Caller {
        let caller = Caller::of(candidate.open(), candidate.patience());
        caller.engine.listen(caller.listener.clone());
        caller
    }

    /// Somebody who shares a handle, and hears nothing.
    pub fn of(engine: Arc<dyn Engine>, patience: Duration) -> Caller {
        Caller { engine, listener: Arc::default(), patience }
    }

    /// Asks, and waits for the answer.
    pub fn call(&self, space: &str, op: EngineOp) -> Result<Exchange, Breach> {
        let request = Request { space: space.into(), op };
        let sent = Instant::now();
        if let Some(reply) = self.engine.answer(&request) {
            return Ok(Exchange { request, reply, sent, received: Instant::now() });
        }
        let (answer, answered) = sync_channel(2);
        let responder = Responder::new(move |reply| drop(answer.try_send(reply)));
        self.engine.submit(request.clone(), responder);
        match answered.recv_timeout(self.patience) {
            Ok(reply) => Ok(Exchange { request, reply, sent, received: Instant::now() }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Breach::of(
                Rule::Answered,
                format!("{request:?} was not answered within {:?}", self.patience),
            )),
        }
    }

    /// Asks until the answer is known, as in foul weather; each of the others may have taken effect.
    pub fn insist(&self, space: &str, op: &EngineOp) -> Result<Reply, Breach> {
        let until = Instant::now() + self.patience;
        loop {
            let reply = self.call(space, op.clone())?.reply;
            if reply.answer != Answer::Unknown {
                return Ok(reply);
            }
            if Instant::now() > until {
                return Err(Breach::of(Rule::Known, format!("{op:?} is unknown for {:?}", self.patience)));
            }
        }
    }

    /// Looks into the store: what lives in the spaces that begin with `prefix`; nothing, if the engine cannot be looked into.
    pub fn survey(&self, prefix: &str) -> Result<Option<Survey>, Breach> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let looking = async { tokio::time::timeout(self.patience, self.engine.survey(prefix)).await };
        match runtime.block_on(looking) {
            Ok(Ok(survey)) => Ok(Some(survey)),
            Ok(Err(SurveyError::Unsupported)) => Ok(None),
            other => Err(Breach::of(Rule::Survey, format!("{prefix:?} is not shown: {other:?}"))),
        }
    }

    /// Closes the engine, and waits for its end.
    pub fn close(&self) -> Result<(), Breach> {
        let (done, is_done) = sync_channel(1);
        let engine = self.engine.clone();
        // Whoever waits for a future without a runtime needs a thread for it, lest a close without an end hang the test.
        std::thread::spawn(move || {
            let closed = tokio::runtime::Builder::new_current_thread().build().map(|runtime| {
                runtime.block_on(engine.close());
            });
            done.send(closed)
        });
        match is_done.recv_timeout(self.patience) {
            Ok(Ok(())) => Ok(()),
            other => Err(Breach::of(Rule::Closed, format!("it does not end: {other:?}"))),
        }
    }
}
