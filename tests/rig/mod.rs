//! What tests of the driver need: an engine that can be silent, configurations of short leases, conditions with a deadline.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::disallowed_types, reason = "tests of the driver live where clocks and locks are")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fencepost::engine::memory::Memory;
use fencepost::engine::{Ear, Engine, EngineAnswer, Hint, Reply, Request, Responder};
use fencepost::lease::LeaseConfig;
use fencepost::mutex::MutexConfig;
use fencepost::store::{Answer, Expect, Limits, Op, Revision};

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A lease short enough to wait for its end, long enough for a busy machine, and a poll interval so long that only hints can be the reason for a quick hand-over.
pub(crate) fn short() -> MutexConfig {
    let ms = Duration::from_millis;
    MutexConfig {
        lease: LeaseConfig {
            ttl: ms(2_000),
            refresh_interval: ms(100),
            renew_timeout: ms(80),
            delay_bound: ms(10),
            ..LeaseConfig::default()
        },
        poll_interval: Duration::from_secs(3_600),
        ..MutexConfig::default()
    }
}

/// What a future says when it is polled once.
pub(crate) fn once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Polls a future once that must not be ready.
pub(crate) fn pending<F: Future>(future: Pin<&mut F>) {
    assert!(once(future).is_none(), "it must wait");
}

/// What a future says, which must come soon.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("it comes soon")
}

/// Waits until something is so, which must be soon.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "it is not so");
        tokio::task::yield_now().await;
    }
}

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They are answered at once.
    AtOnce,
    /// They are answered through the responder.
    Later,
    /// They wait until the test says what becomes of them.
    Held,
}

/// An engine in memory that does as the test says.
#[derive(Debug)]
pub(crate) struct Moody(Arc<Inner>);

pub(crate) struct Inner {
    memory: Memory,
    mood: Mutex<Mood>,
    waiting: Mutex<Vec<(Request, Responder)>>,
    pub(crate) renewals: AtomicUsize,
    pub(crate) published: Mutex<Vec<String>>,
    ear: OnceLock<Arc<dyn Ear>>,
    deaf: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("mood", &self.mood).finish_non_exhaustive()
    }
}

impl Moody {
    pub(crate) fn new(memory: &Memory, mood: Mood) -> Moody {
        Moody(Arc::new(Inner {
            memory: memory.share(),
            mood: Mutex::new(mood),
            waiting: Mutex::default(),
            renewals: AtomicUsize::new(0),
            published: Mutex::default(),
            ear: OnceLock::new(),
            deaf: AtomicBool::new(false),
        }))
    }

    /// How the test tells it what to do.
    pub(crate) fn remote(&self) -> Arc<Inner> {
        self.0.clone()
    }
}

impl Inner {
    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// From now on, it hears nothing.
    pub(crate) fn deafen(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }

    /// It hears again, and says so.
    pub(crate) fn listen_again(&self) {
        self.deaf.store(false, Ordering::SeqCst);
        self.hear(Hint::Gap);
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }

    fn take(&self) -> Vec<(Request, Responder)> {
        std::mem::take(&mut *self.waiting.lock().unwrap())
    }

    /// Carries out what waits, and answers.
    pub(crate) fn answer_all(&self) {
        for (request, responder) in self.take() {
            responder.answer(self.memory.answer(&request).unwrap());
        }
    }

    /// Carries out what waits, and leaves it to the test when to answer.
    pub(crate) fn carry_out_all(&self) -> Vec<(Responder, Reply)> {
        let done = |(request, responder): (Request, _)| (responder, self.memory.answer(&request).unwrap());
        self.take().into_iter().map(done).collect()
    }

    /// Carries out what waits, and loses the answers.
    pub(crate) fn carry_out_and_lose_all(&self) {
        for (request, _) in self.take() {
            self.memory.answer(&request);
        }
    }

    /// Loses what waits.
    pub(crate) fn lose_all(&self) {
        drop(self.take());
    }
}

impl Ear for Inner {
    fn hear(&self, hint: Hint<'_>) {
        if let Some(ear) = self.ear.get().filter(|_| !self.deaf.load(Ordering::SeqCst)) {
            ear.hear(hint);
        }
    }
}

impl Engine for Moody {
    fn limits(&self) -> Limits {
        self.0.memory.limits()
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        assert!(self.0.ear.set(ear).is_ok(), "one ear listens");
        self.0.memory.listen(self.0.clone());
    }

    fn answer(&self, request: &Request) -> Option<Reply> {
        if let Op::Renew { .. } = request.op {
            self.0.renewals.fetch_add(1, Ordering::Relaxed);
        }
        // No lock is held while the engine is asked: it may call back.
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::AtOnce => self.0.memory.answer(request),
            Mood::Later | Mood::Held => None,
        }
    }

    fn submit(&self, request: Request, responder: Responder) {
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::AtOnce | Mood::Later => self.0.memory.submit(request, responder),
            Mood::Held => self.0.waiting.lock().unwrap().push((request, responder)),
        }
    }

    fn publish(&self, space: &str, text: &str) {
        self.0.published.lock().unwrap().push(format!("{space} {text}"));
        self.0.memory.publish(space, text);
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.memory.close()
    }
}

/// What an engine keeps of a lock.
pub(crate) fn entry(memory: &Memory, space: &str) -> Option<(Revision, String)> {
    let op = Op::Get { key: Box::from([0]) };
    match ask(memory, space, op) {
        Answer::Found(found) => found.map(|entry| (entry.revision, entry.record.to_string())),
        other => panic!("a read answers {other:?}"),
    }
}

/// Asks an engine something.
pub(crate) fn ask(memory: &Memory, space: &str, op: fencepost::engine::EngineOp) -> EngineAnswer {
    memory.answer(&Request { space: space.into(), op }).expect("memory answers at once").answer
}

/// Takes a lock away from whoever holds it.
pub(crate) fn steal(memory: &Memory, space: &str) {
    let (revision, _) = entry(memory, space).expect("somebody holds it");
    let op = Op::DeleteIf { key: Box::from([0]), revision };
    assert_eq!(ask(memory, space, op), Answer::Applied(revision));
}

/// Somebody who never gives up takes a lock.
pub(crate) fn occupy(memory: &Memory, space: &str) {
    let record = r#"{"identity":1,"attempt":1}"#.into();
    let op = Op::PutIf { key: Box::from([0]), expect: Expect::Absent, record, ttl: None };
    assert!(matches!(ask(memory, space, op), Answer::Applied(_)));
}
