//! The reference workload as a tokio program whose time is paused: the baseline of the simulator's benchmark.
//!
//! It is what one writes to test a lease mutex with `start_paused`: one thread, the timer driver and nothing else,
//! a task for the store and one for each client, an mpsc channel to the store and a oneshot back, a sleep for each
//! message. The clients are hand-written loops and not our own `Mutex` machine, because every layer between the
//! workload and the runtime would be charged to tokio. For the same reason there is no `select!`, no hashing, no
//! key comparison and no record of what happened; the simulator it is compared with judges every property and
//! hashes each event.
//!
//! What differs in the workload: tokio's timers have a resolution of a millisecond, and a renewal starts exactly
//! 7.5 s after the one before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

/// How long a client believes in its lease, counted from when it sent the request.
pub const TTL: Duration = Duration::from_secs(15);
const RENEW_INTERVAL: Duration = Duration::from_millis(7_500);
const RETRY_MIN: Duration = Duration::from_millis(800);
const RETRY_MAX: Duration = Duration::from_millis(1_200);
const HOLD_MAX: Duration = Duration::from_secs(20);
const THINK_MAX: Duration = Duration::from_secs(5);
const DELAY_MIN: Duration = Duration::from_millis(1);
const DELAY_MAX: Duration = Duration::from_millis(50);

/// So many instances on so many locks, for so long.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// How many clients; client `i` uses lock `i mod locks`.
    pub instances: u32,
    /// How many locks they share.
    pub locks: u32,
    /// How long the run is, in simulated time.
    pub length: Duration,
    /// How long the store keeps an entry. Anything below [`TTL`] is a broken store, which the checker must notice.
    pub store_ttl: Duration,
}

impl Workload {
    /// The workload over a sound store.
    pub fn new(instances: u32, locks: u32, length: Duration) -> Workload {
        Workload { instances, locks, length, store_ttl: TTL }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that the store processed, replies that a client processed, and timers of clients that fired.
    pub events: u64,
    /// How often somebody got a lock.
    pub acquisitions: u64,
    /// How often somebody came to believe in a lease while another one still believed in its own.
    pub intrusions: u64,
}

/// Runs one seed. The order in which tokio polls tasks that are ready together is tokio's own.
pub fn run(workload: &Workload, seed: u64) -> Outcome {
    let lab = Arc::new(Lab::new(workload.locks));
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs no I/O");
    runtime.block_on(async {
        let (calls, inbox) = mpsc::unbounded_channel();
        tokio::spawn(serve(inbox, *workload, Arc::clone(&lab)));
        for id in 0..workload.instances {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(u64::from(id));
            let lock = (id % workload.locks) as usize;
            let client = Client { id, lock, calls: calls.clone(), lab: Arc::clone(&lab), rng };
            tokio::spawn(client.live());
        }
        sleep(workload.length).await;
    });
    lab.outcome()
}

/// What all tasks share: the counters, and the checker.
struct Lab {
    events: AtomicU64,
    acquisitions: AtomicU64,
    checker: Mutex<Checker>,
}

impl Lab {
    fn new(locks: u32) -> Lab {
        let checker = Checker { believers: vec![None; locks as usize], intrusions: 0 };
        Lab { events: AtomicU64::new(0), acquisitions: AtomicU64::new(0), checker: Mutex::new(checker) }
    }

    fn count(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn check<T>(&self, judge: impl FnOnce(&mut Checker) -> T) -> T {
        judge(&mut self.checker.lock().expect("no task panics"))
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            events: self.events.load(Ordering::Relaxed),
            acquisitions: self.acquisitions.load(Ordering::Relaxed),
            intrusions: self.check(|checker| checker.intrusions),
        }
    }
}

/// Who believes that it holds, and until when.
struct Checker {
    believers: Vec<Option<(u32, Instant)>>,
    intrusions: u64,
}

impl Checker {
    fn believes(&mut self, lock: usize, id: u32, until: Instant) {
        let believer = &mut self.believers[lock];
        if believer.is_some_and(|(other, its)| other != id && its > Instant::now()) {
            self.intrusions += 1;
        }
        *believer = Some((id, until));
    }

    fn leaves(&mut self, lock: usize, id: u32) {
        let believer = &mut self.believers[lock];
        *believer = believer.filter(|(other, _)| *other != id);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Claim,
    Renew,
    Release,
}

struct Call {
    lock: usize,
    by: u32,
    op: Op,
    answer: oneshot::Sender<bool>,
}

#[derive(Clone, Copy)]
struct Entry {
    owner: u32,
    expires: Instant,
}

/// The store: each operation is done by the owner of a live entry, or by anyone where there is none.
async fn serve(mut inbox: mpsc::UnboundedReceiver<Call>, workload: Workload, lab: Arc<Lab>) {
    let mut entries: Vec<Option<Entry>> = vec![None; workload.locks as usize];
    while let Some(Call { lock, by, op, answer }) = inbox.recv().await {
        lab.count();
        let now = Instant::now();
        let owner = entries[lock].filter(|entry| entry.expires > now).map(|entry| entry.owner);
        let is_done = match op {
            Op::Claim => owner.is_none(),
            Op::Renew | Op::Release => owner == Some(by),
        };
        if is_done {
            entries[lock] =
                (op != Op::Release).then_some(Entry { owner: by, expires: now + workload.store_ttl });
        }
        // Nobody waits for the answer once the run is over.
        let _ = answer.send(is_done);
    }
}

struct Client {
    id: u32,
    lock: usize,
    calls: mpsc::UnboundedSender<Call>,
    lab: Arc<Lab>,
    rng: ChaCha8Rng,
}

impl Client {
    async fn live(mut self) {
        loop {
            self.timer(Duration::ZERO, THINK_MAX).await;
            let sent = self.claim().await;
            if self.hold(sent).await {
                self.call(Op::Release).await;
            }
        }
    }

    /// Tries until it holds. The lease counts from when the claim was sent.
    async fn claim(&mut self) -> Instant {
        loop {
            let sent = Instant::now();
            if self.call(Op::Claim).await {
                self.lab.acquisitions.fetch_add(1, Ordering::Relaxed);
                return sent;
            }
            self.timer(RETRY_MIN, RETRY_MAX).await;
        }
    }

    /// Holds and renews. Whether there is still something to release.
    async fn hold(&mut self, mut sent: Instant) -> bool {
        let (id, lock) = (self.id, self.lock);
        let end = Instant::now() + self.between(Duration::ZERO, HOLD_MAX);
        loop {
            self.lab.check(|checker| checker.believes(lock, id, sent + TTL));
            let renewal = sent + RENEW_INTERVAL;
            sleep_until(renewal.min(end)).await;
            self.lab.count();
            if end <= renewal {
                self.lab.check(|checker| checker.leaves(lock, id));
                return true;
            }
            sent = Instant::now();
            if !self.call(Op::Renew).await {
                self.lab.check(|checker| checker.leaves(lock, id));
                return false;
            }
        }
    }

    /// Sends a request and waits for the reply. Each of them takes its time.
    async fn call(&mut self, op: Op) -> bool {
        self.message().await;
        let (answer, reply) = oneshot::channel();
        let sent = self.calls.send(Call { lock: self.lock, by: self.id, op, answer });
        let is_done = sent.is_ok() && reply.await.unwrap_or(false);
        self.message().await;
        self.lab.count();
        is_done
    }

    async fn message(&mut self) {
        sleep(self.between(DELAY_MIN, DELAY_MAX)).await;
    }

    async fn timer(&mut self, least: Duration, most: Duration) {
        sleep(self.between(least, most)).await;
        self.lab.count();
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let nanos = self.rng.random_range(least.as_nanos() as u64..=most.as_nanos() as u64);
        Duration::from_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use fencepost::time::Span;
    use fencepost_sim::Reference;

    /// The ratio of the two means something only if both do the same work.
    #[test]
    fn it_does_the_work_that_the_simulator_does() {
        for instances in [3, 10, 100] {
            let seconds = 36_000 / u64::from(instances);
            let simulated = Reference::new(instances, 1, Span::from_secs(seconds)).run(1);
            let ours = run(&Workload::new(instances, 1, Duration::from_secs(seconds)), 1);
            let share = ours.events as f64 / simulated.events as f64;
            assert!(
                (0.97..1.03).contains(&share),
                "{instances} instances: {share} of the simulator's events"
            );
            assert_eq!(ours.intrusions, 0);
        }
    }

    #[test]
    fn a_seed_is_the_same_run_each_time() {
        let workload = Workload::new(10, 2, Duration::from_secs(600));
        assert_eq!(run(&workload, 7), run(&workload, 7));
        assert_ne!(run(&workload, 7), run(&workload, 8));
    }

    #[test]
    fn a_store_that_forgets_too_early_is_noticed() {
        let sound = Workload::new(10, 1, Duration::from_secs(600));
        let broken = Workload { store_ttl: TTL / 3, ..sound };
        assert_eq!(run(&sound, 1).intrusions, 0);
        assert!(run(&broken, 1).intrusions > 0);
    }
}
