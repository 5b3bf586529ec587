//! A worker: a process that locks, writes and runs jobs as a service would, and says what it does.
//!
//! What it says is said before it is done where that matters: that it unlocks, before it unlocks; so that a process that
//! is killed has never done more than it said.

use std::cell::Cell;
use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fencepost::driver::{Guard, Mutex, Once, OnceRun, Store};
use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Fairness, MutexConfig};
use fencepost::once::{self, Backoff, OnceConfig, RunAt};
use fencepost::run::JobProtection;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::words::{ATTEMPTS, Delivery, Moment, Note, Order, Task, What, Without, now};

/// How long a store may take to close.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// A belief without an end: that of whoever does not ask.
const FOREVER: Moment = 1 << 61;

/// Runs a worker until it is told to stop, or nobody is there who could tell it.
pub(crate) fn run(store: &str) -> ExitCode {
    // Without a recorder nothing is counted, and that is all that is lost.
    let _ = metrics::set_global_recorder(Unknowns);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let worked = runtime.block_on(LocalSet::new().run_until(work(store)));
        // One of its threads still reads orders.
        runtime.shutdown_background();
        worked.map_err(|error| error.to_string())
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says something, and returns when it is in the pipe: whoever is killed after that has said it.
fn say_at(at: Moment, what: What) {
    let note = Note { at, unknown: UNKNOWN.load(Ordering::Relaxed), what };
    let line = serde_json::to_string(&note).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

fn say(what: What) {
    say_at(now(), what);
}

/// What is told to a worker, sorted by who waits for it.
struct Orders {
    task: Task,
    decisions: mpsc::UnboundedReceiver<bool>,
    jobs: mpsc::UnboundedReceiver<(Delivery, u32, Duration)>,
    finishing: Rc<Cell<bool>>,
    stop: watch::Receiver<bool>,
}

impl Orders {
    /// Listens from now on. The end of the pipe is the end of the tormentor, and of this process.
    async fn listen() -> Result<Orders, String> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let first = lines.next_line().await.map_err(|error| error.to_string())?.unwrap_or_default();
        let Ok(Order::Begin(task)) = serde_json::from_str(&first) else {
            return Err(format!(
                "workers are started by fencepost torture; found {first:?} on standard input"
            ));
        };
        let (decide, decisions) = mpsc::unbounded_channel();
        let (schedule, jobs) = mpsc::unbounded_channel();
        let (end, stop) = watch::channel(false);
        let finishing = Rc::new(Cell::new(false));
        let finish = finishing.clone();
        tokio::task::spawn_local(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Who is gone needs no order.
                let _ = match serde_json::from_str(&line) {
                    Ok(Order::Decided { accepted }) => decide.send(accepted).is_ok(),
                    Ok(Order::Schedule { delivery, job, after }) => {
                        schedule.send((delivery, job, after)).is_ok()
                    }
                    Ok(Order::Finish) => {
                        finish.set(true);
                        true
                    }
                    Ok(Order::Stop) => end.send(true).is_ok(),
                    Ok(Order::Begin(_)) | Err(_) => false,
                };
            }
            std::process::exit(0);
        });
        Ok(Orders { task, decisions, jobs, finishing, stop })
    }
}

async fn work(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut orders = Orders::listen().await?;
    let store = open(address).await;
    let task = orders.task.clone();
    let mutex = Mutex::new(&store, &format!("{}/lock", task.prefix), lock(&task))?;
    let schedulers =
        [scheduler(&store, &task, Delivery::AtLeastOnce)?, scheduler(&store, &task, Delivery::AtMostOnce)?];
    say(What::Up);
    let mut jobs = std::mem::replace(&mut orders.jobs, mpsc::unbounded_channel().1);
    tokio::task::spawn_local(async move {
        while let Some((delivery, job, after)) = jobs.recv().await {
            let once = schedulers[delivery as usize].clone();
            tokio::task::spawn_local(schedule(once, delivery, job, after));
        }
    });
    let mut stop = orders.stop.clone();
    let mut locker = Locker {
        mutex,
        dice: ChaCha8Rng::seed_from_u64(task.seed),
        decisions: orders.decisions,
        finishing: orders.finishing,
        task,
    };
    tokio::select! {
        () = locker.run() => say(What::Done),
        _ = stop.wait_for(|stop| *stop) => {}
    }
    // An error is the tormentor's end, and that ends this process elsewhere.
    let _ = stop.wait_for(|stop| *stop).await;
    store.close(CLOSING_MAX).await?;
    Ok(())
}

/// Opens the store, however long nobody can: it may be down, or held up by somebody who stands still.
async fn open(address: &str) -> Store {
    loop {
        match Store::open(address).await {
            Ok(store) => return store,
            Err(error) => eprintln!("{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A lock that is renewed three times as often as it has to be.
fn lock(task: &Task) -> MutexConfig {
    let ttl = task.ttl;
    MutexConfig {
        lease: LeaseConfig {
            ttl,
            refresh_interval: ttl / 3,
            renew_timeout: ttl / 4,
            delay_bound: ttl / 20,
            ..LeaseConfig::default()
        },
        poll_interval: ttl / 4,
        fairness: if task.fifo { Fairness::Fifo } else { Fairness::Unordered },
        ..MutexConfig::default()
    }
}

fn scheduler(
    store: &Store,
    task: &Task,
    delivery: Delivery,
) -> Result<Once<u32>, Box<dyn std::error::Error>> {
    let backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(1) };
    let promised = match delivery {
        Delivery::AtLeastOnce => once::Delivery::AtLeastOnce { attempts: ATTEMPTS, backoff },
        Delivery::AtMostOnce => once::Delivery::AtMostOnce,
    };
    let is_unclaimed = task.without == Some(Without::OccurrenceClaim);
    let config = OnceConfig {
        // A history tells of one callback of a process at a time.
        slots: 1,
        refresh_interval: Duration::from_secs(1),
        retention: Duration::from_secs(300),
        mutex: lock(task),
        ablated: is_unclaimed.then_some(JobProtection::OccurrenceClaim),
        ..OnceConfig::new(promised)
    };
    let once = Once::new(store, &format!("{}/{}", task.prefix, delivery.name()), config)?;
    let seed = task.seed;
    once.start(move |run| carry_out(run, delivery, seed))?;
    Ok(once)
}

async fn schedule(once: Once<u32>, delivery: Delivery, job: u32, after: Duration) {
    say(What::Schedules { delivery, job, after });
    let scheduled = once.schedule(&format!("job-{job}"), RunAt::In(after.into()), &job).await;
    say(match scheduled {
        Ok(()) => What::Accepted { delivery, job },
        Err(_) => What::Declined { delivery, job },
    });
}

/// A callback: it takes a moment, and sometimes it fails.
async fn carry_out(run: OnceRun<u32>, delivery: Delivery, seed: u64) -> Result<(), &'static str> {
    let (job, attempt) = (*run.props(), run.attempt());
    let mut dice = ChaCha8Rng::seed_from_u64(seed ^ u64::from(job) << 32 ^ u64::from(attempt));
    let (took, fails) = (dice.random_range(20..700), dice.random_range(0..8) == 0);
    let at = now();
    let until = at + nanos(run.remaining());
    say_at(at, What::Begins { delivery, job, attempt, token: run.token().0, until });
    let interrupted = tokio::select! {
        () = sleep(Duration::from_millis(took)) => false,
        () = run.interrupted() => true,
    };
    let succeeded = !interrupted && !fails && run.is_held();
    say(What::Ends { delivery, job, succeeded });
    if succeeded { Ok(()) } else { Err("it was interrupted, or its dice said so") }
}

/// Whoever takes the lock again and again, and writes to what it guards.
struct Locker {
    mutex: Mutex,
    task: Task,
    dice: ChaCha8Rng,
    decisions: mpsc::UnboundedReceiver<bool>,
    finishing: Rc<Cell<bool>>,
}

impl Locker {
    async fn run(&mut self) {
        loop {
            let is_last = self.finishing.get();
            if let Some(guard) = self.enter(is_last).await {
                self.hold(guard).await;
                if is_last {
                    return;
                }
            }
            self.pause(0..40).await;
        }
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let millis = self.dice.random_range(millis);
        sleep(Duration::from_millis(millis)).await;
    }

    /// Waits for the lock: for as long as it takes, for a while, or until it changes its mind.
    async fn enter(&mut self, is_last: bool) -> Option<Guard> {
        let ttl = self.task.ttl.as_millis() as u64;
        let while_ = Duration::from_millis(self.dice.random_range(ttl / 10..ttl * 2));
        let manner = if is_last { 0 } else { self.dice.random_range(0..8) };
        let entered = match manner {
            0..=4 => {
                say(What::Asks { within: None });
                self.mutex.lock().await.ok()
            }
            5 | 6 => {
                say(What::Asks { within: Some(while_) });
                self.mutex.lock_timeout(while_).await.ok()
            }
            _ => {
                say(What::Asks { within: None });
                let entered = tokio::time::timeout(while_ / 2, self.mutex.lock()).await;
                if entered.is_err() {
                    say(What::Cancels);
                }
                entered.ok().and_then(Result::ok)
            }
        };
        if entered.is_none() {
            say(What::Denied);
        }
        entered
    }

    /// Writes, for as long as the lock is held, and leaves.
    async fn hold(&mut self, guard: Guard) {
        let token = guard.token().0;
        self.show(What::Registers { token }).await;
        let (at, until, _) = self.look(&guard);
        say_at(at, What::Granted { token, until });
        for _ in 0..self.dice.random_range(1..6) {
            self.pause(0..40).await;
            let (checked, until, is_held) = self.look(&guard);
            if !is_held {
                return say(What::Lost);
            }
            // What was looked up is old when it is acted upon: that is what the token is for.
            self.pause(0..60).await;
            self.show(What::Writes { token, checked, until }).await;
        }
        if !self.look(&guard).2 {
            return say(What::Lost);
        }
        say(What::Unlocks);
        if self.dice.random_range(0..4) == 0 {
            drop(guard);
        } else {
            guard.release().await;
        }
        say(What::Released);
    }

    /// Whether it holds, until when, and when that was asked.
    fn look(&self, guard: &Guard) -> (Moment, Moment, bool) {
        let at = now();
        if self.task.without == Some(Without::IsHeld) {
            return (at, FOREVER, true);
        }
        let until = at + nanos(guard.remaining());
        (at, until, guard.is_held())
    }

    async fn show(&mut self, what: What) {
        say(what);
        // Without a tormentor this process ends elsewhere.
        let _ = self.decisions.recv().await;
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// How many outcomes were unknown.
static UNKNOWN: AtomicU64 = AtomicU64::new(0);

/// Counts unknown outcomes, and nothing else.
struct Unknowns;

struct Unknown;

impl CounterFn for Unknown {
    fn increment(&self, value: u64) {
        UNKNOWN.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        UNKNOWN.fetch_max(value, Ordering::Relaxed);
    }
}

impl Recorder for Unknowns {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "fencepost_unknown_outcomes_total" => Counter::from_arc(Arc::new(Unknown)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
