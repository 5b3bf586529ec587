//! An engine that is watched: what it was asked is counted, and its hints may be kept from whoever listens.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fencepost::engine::survey::Surveying;
use fencepost::engine::{Ear, Engine, Reply, Request, Responder};
use fencepost::store::{Answer, Limits};
use tokio::sync::watch;

/// Whether hints reach whoever listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// As the engine gives them.
    Heard,
    /// None does, as if notifications were cut off: who waits has to poll.
    Cut,
}

/// What was seen of an engine.
#[derive(Debug, Default)]
pub struct Seen {
    asked: AtomicU64,
    refused: watch::Sender<u64>,
}

impl Seen {
    /// How many requests it was sent.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many it has refused; whoever waits for one more is woken after the machine was told.
    pub fn refused(&self) -> watch::Receiver<u64> {
        self.refused.subscribe()
    }

    fn note(&self, reply: &Reply) -> bool {
        matches!(reply.answer, Answer::Refused(_))
    }
}

/// An engine that is watched.
#[derive(Debug)]
pub struct Watched {
    engine: Arc<dyn Engine>,
    hints: Hints,
    seen: Arc<Seen>,
}

impl Watched {
    /// Watches this engine.
    pub fn new(engine: Arc<dyn Engine>, hints: Hints) -> Watched {
        Watched { engine, hints, seen: Arc::default() }
    }

    /// What is seen of it.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.clone()
    }
}

impl Engine for Watched {
    fn limits(&self) -> Limits {
        self.engine.limits()
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        match self.hints {
            Hints::Heard => self.engine.listen(ear),
            Hints::Cut => {}
        }
    }

    fn answer(&self, request: &Request) -> Option<Reply> {
        let reply = self.engine.answer(request)?;
        self.seen.asked.fetch_add(1, Ordering::Relaxed);
        if self.seen.note(&reply) {
            self.seen.refused.send_modify(|count| *count += 1);
        }
        Some(reply)
    }

    fn submit(&self, request: Request, responder: Responder) {
        self.seen.asked.fetch_add(1, Ordering::Relaxed);
        let seen = self.seen.clone();
        let told = Responder::new(move |reply| {
            let refused = seen.note(&reply);
            responder.answer(reply);
            if refused {
                seen.refused.send_modify(|count| *count += 1);
            }
        });
        self.engine.submit(request, told);
    }

    fn publish(&self, space: &str, text: &str) {
        self.engine.publish(space, text);
    }

    fn survey(&self, prefix: &str) -> Surveying<'_> {
        self.engine.survey(prefix)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.engine.close()
    }
}
