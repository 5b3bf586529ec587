//! Those who contend.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use fencepost::driver::{Mutex, Store};
use fencepost::mutex::{Fairness, MutexConfig};
use fencepost_benches::table::{jain, quantile};
use fencepost_benches::watched::{Hints, Seen, Watched};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::arena::Engines;

/// How often a waiter looks whom no hint reaches.
const POLL: Duration = Duration::from_millis(100);
/// For how long it is waited until all stores are closed.
const CLOSE: Duration = Duration::from_secs(10);
/// Of fewer hand-offs, quantiles say nothing.
const HAND_OFFS_MIN: usize = 10;
/// Of fewer acquisitions for each contender, nor does their distribution.
const SHARE_MIN: u64 = 4;

/// So many who want one lock.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) contenders: usize,
    pub(crate) fairness: Fairness,
    pub(crate) hints: Hints,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    /// How often another one than the last one has got it.
    pub(crate) hand_offs: usize,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// To the store, for each acquisition.
    pub(crate) requests: f64,
    /// How evenly acquisitions were shared out; nothing, if there were too few to be.
    pub(crate) jain: Option<f64>,
}

/// What all contenders write down.
#[derive(Debug, Default)]
struct Book {
    acquired: Vec<u64>,
    hand_offs: Vec<Duration>,
    /// Who released last, and when he began to.
    last: Option<(usize, Instant)>,
}

impl Crowd {
    fn config(&self) -> MutexConfig {
        let config = MutexConfig { fairness: self.fairness, ..MutexConfig::default() };
        match self.hints {
            Hints::Heard => config,
            Hints::Cut => MutexConfig { poll_interval: POLL, ..config },
        }
    }

    /// Lets them contend for so long, or up to ten times as long until their shares can be compared.
    pub(crate) async fn contend(&self, engines: Engines, span: Duration) -> Outcome {
        let book = StdMutex::new(Book { acquired: vec![0; self.contenders], ..Book::default() });
        let book = Arc::new(book);
        let mut seen: Vec<Arc<Seen>> = Vec::with_capacity(self.contenders);
        let mut stores = Vec::with_capacity(self.contenders);
        let mut tasks = JoinSet::new();
        for (who, engine) in engines.handles.iter().enumerate() {
            let engine = Watched::new(engine.clone(), self.hints);
            seen.push(engine.seen());
            let store = Store::start(engine).expect("it is in a runtime");
            let mutex = Mutex::new(&store, "contended", self.config()).expect("it is a key");
            stores.push(store);
            tasks.spawn(take_part(who, mutex, book.clone()));
        }
        let began = Instant::now();
        tokio::time::sleep(span).await;
        while !lock(&book).is_shared_out() && began.elapsed() < span * 10 {
            tokio::time::sleep(span / 30).await;
        }
        let took = began.elapsed();
        let asked = seen.iter().map(|seen| seen.asked()).sum();
        let outcome = lock(&book).outcome(took, asked);
        tasks.shutdown().await;
        for store in &stores {
            // Whoever has not ended by then ends with the runtime.
            let _ = store.close(CLOSE).await;
        }
        outcome
    }
}

/// Takes the lock and releases it, for ever.
async fn take_part(who: usize, mutex: Mutex, book: Arc<StdMutex<Book>>) {
    loop {
        let guard = mutex.lock().await.expect("the store is open");
        lock(&book).took(who, Instant::now());
        tokio::task::yield_now().await;
        lock(&book).last = Some((who, Instant::now()));
        guard.release().await;
    }
}

fn lock(book: &StdMutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    fn took(&mut self, who: usize, at: Instant) {
        self.acquired[who] += 1;
        if let Some((other, released)) = self.last
            && other != who
        {
            self.hand_offs.push(at - released);
        }
    }

    fn acquired(&self) -> u64 {
        self.acquired.iter().sum()
    }

    /// Whether there were enough acquisitions to say how they were shared out.
    fn is_shared_out(&self) -> bool {
        self.acquired() >= SHARE_MIN * self.acquired.len() as u64
    }

    fn outcome(&mut self, took: Duration, asked: u64) -> Outcome {
        let (acquired, is_shared_out) = (self.acquired(), self.is_shared_out());
        let hand_offs = self.hand_offs.len();
        let mut at = |part| {
            let found = quantile(&mut self.hand_offs, part).filter(|_| hand_offs >= HAND_OFFS_MIN);
            found.map(|span| span.as_secs_f64() * 1e3)
        };
        Outcome {
            per_second: acquired as f64 / took.as_secs_f64(),
            hand_offs,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            requests: asked as f64 / acquired.max(1) as f64,
            jain: is_shared_out.then(|| jain(&self.acquired)),
        }
    }
}
