//! A round: a storm, in which the plan of a seed is carried out; then all is healed, everybody has to get in once more and
//! every job to be done; then all leave, and nothing may be left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fencepost::engine::{self, Engine};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::Worker;
use crate::ground::{Ground, GroundError};
use crate::history::{ORPHAN_MAX, progress_max};
use crate::journal::{Counts, Entry, Happened, Journal};
use crate::plan::{Deed, Fault, Hit, Plan, Shape};
use crate::proxy::{Proxy, Way};
use crate::words::{Moment, Order, Task, What, Without, now};

/// How long a worker has to close its store and end.
const LEAVING_MAX: Duration = Duration::from_secs(15);
/// How often somebody looks whether a worker has ended by itself, and what is left in the store.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A call is given up after a quarter of a time to live, but not sooner than a busy server can answer.
const CALL_MIN: Duration = Duration::from_millis(500);

/// What a round came to.
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) entries: Vec<Entry>,
    pub(crate) counts: Counts,
    /// How often each fault has hit somebody.
    pub(crate) hits: BTreeMap<Fault, u64>,
    /// How long it took after the healing until everybody had got in and every job was done.
    pub(crate) settled: Option<Duration>,
}

/// Something to be done later.
enum Act {
    Deed(Deed),
    Resume { who: usize, life: u32 },
    Restart { who: usize },
    Mend { who: usize, turn: u64 },
    ServerResume,
    ServerRestart,
}

/// One of those who are tortured.
struct Seat {
    life: u32,
    worker: Option<Worker>,
    url: String,
    proxy: Option<Proxy>,
    /// How often its way was changed.
    turn: u64,
}

pub(crate) struct Round<'a> {
    ground: &'a mut Ground,
    shape: &'a Shape,
    logs: &'a Path,
    plan: Plan,
    prefix: String,
    without: Option<Without>,
    journal: Journal,
    began: Instant,
    seats: Vec<Seat>,
    due: BTreeMap<(Instant, u64), Act>,
    /// How many there were, so that those of one moment keep their order.
    acts: u64,
    hits: BTreeMap<Fault, u64>,
    server: Server,
}

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Up,
    Stopped,
    Killed,
}

impl<'a> Round<'a> {
    pub(crate) fn new(
        ground: &'a mut Ground,
        shape: &'a Shape,
        seed: u64,
        without: Option<Without>,
        logs: &'a Path,
    ) -> Round<'a> {
        let plan = Plan::of_seed(seed, shape);
        Round {
            ground,
            shape,
            logs,
            // Whoever runs the same seed again in the same store finds nothing of the last time.
            prefix: format!("torture/{seed}-{:x}", now()),
            without,
            journal: Journal::new(shape.workers, without != Some(Without::Fencing)),
            began: Instant::now(),
            seats: Vec::new(),
            due: BTreeMap::new(),
            acts: 0,
            hits: BTreeMap::new(),
            server: Server::Up,
            plan,
        }
    }

    /// Carries it out, unless it is interrupted: then it ends at once.
    pub(crate) async fn run(
        mut self,
        mut interrupted: watch::Receiver<bool>,
    ) -> Result<Outcome, GroundError> {
        let began = now();
        self.began = Instant::now();
        let mut settled = None;
        for who in 0..self.shape.workers {
            self.seat(who).await?;
        }
        for (at, deed) in std::mem::take(&mut self.plan.deeds) {
            self.later(at, Act::Deed(deed));
        }
        if self.storm(&mut interrupted).await? {
            self.heal().await?;
            settled = self.settle(&mut interrupted).await;
            if settled.is_some() {
                self.leave().await;
                self.look_for_orphans().await?;
            }
        }
        let ended = now();
        for seat in &mut self.seats {
            if let Some(worker) = seat.worker.take() {
                worker.kill().await;
            }
        }
        let entries = self.journal.entries().into_iter().filter(|entry| entry.at <= ended).collect();
        let counts = self.journal.counts();
        Ok(Outcome { plan: self.plan, began, ended, entries, counts, hits: self.hits, settled })
    }

    async fn seat(&mut self, who: usize) -> Result<(), GroundError> {
        let (proxy, url) = self.ground.way(CALL_MIN.max(self.plan.ttl / 4)).await?;
        self.seats.push(Seat { life: 0, worker: None, url, proxy, turn: 0 });
        self.start(who).await
    }

    fn log(&self, who: usize) -> PathBuf {
        self.logs.join(format!("worker-{who}.log"))
    }

    async fn start(&mut self, who: usize) -> Result<(), GroundError> {
        let seat = &self.seats[who];
        let task = Task {
            prefix: self.prefix.clone(),
            seed: self.plan.seed ^ (who as u64) << 32 ^ u64::from(seat.life),
            ttl: self.plan.ttl,
            fifo: self.plan.fifo,
            without: self.without,
        };
        let worker = Worker::start((who, seat.life), &seat.url, task, &self.log(who), &self.journal).await?;
        self.seats[who].worker = Some(worker);
        Ok(())
    }

    fn later(&mut self, at: Duration, act: Act) {
        self.acts += 1;
        self.due.insert((self.began + at, self.acts), act);
    }

    fn after(&mut self, length: Duration, act: Act) {
        self.later(self.began.elapsed() + length, act);
    }

    /// Carries the plan out. Whether it came to its end.
    async fn storm(&mut self, interrupted: &mut watch::Receiver<bool>) -> Result<bool, GroundError> {
        let end = self.began + self.shape.storm;
        loop {
            let next = self.due.first_key_value().map_or(end, |((at, _), _)| (*at).min(end));
            let is_interrupted = tokio::select! {
                biased;
                _ = interrupted.wait_for(|is_so| *is_so) => true,
                () = sleep_until(next.min(Instant::now() + LOOK_INTERVAL)) => false,
            };
            if is_interrupted || self.has_panicked().await {
                return Ok(false);
            }
            if Instant::now() >= end {
                return Ok(true);
            }
            while let Some(entry) = self.due.first_entry() {
                if entry.key().0 > Instant::now() {
                    break;
                }
                let act = entry.remove();
                self.act(act).await?;
            }
        }
    }

    /// Whether a worker has ended by itself.
    async fn has_panicked(&mut self) -> bool {
        let mut has = false;
        for (who, seat) in self.seats.iter_mut().enumerate() {
            let Some(mut worker) = seat.worker.take() else { continue };
            if worker.has_ended() {
                worker.kill().await;
                self.journal.note(Happened::Panicked { who });
                has = true;
            } else {
                seat.worker = Some(worker);
            }
        }
        has
    }

    async fn act(&mut self, act: Act) -> Result<(), GroundError> {
        match act {
            Act::Deed(Deed::Hit(hit)) => self.hit(hit).await,
            Act::Deed(Deed::Schedule { who, delivery, job, after }) => {
                if let Some(worker) = self.seats[who].worker.as_ref().filter(|worker| !worker.is_stopped) {
                    worker.order(&Order::Schedule { delivery, job, after }).await;
                }
            }
            Act::Resume { who, life } => self.resume(who, Some(life)),
            Act::Restart { who } => self.restart(who).await?,
            Act::Mend { who, turn } if self.seats[who].turn == turn => self.mend(who),
            Act::Mend { .. } => {}
            Act::ServerResume => self.resume_server().await,
            Act::ServerRestart => self.restart_server(),
        }
        Ok(())
    }

    /// Carries out a blow, unless whom it is meant for is down already.
    async fn hit(&mut self, hit: Hit) {
        let aimed = self.journal.holder().filter(|_| hit.is_aimed);
        let hit = Hit { who: aimed.unwrap_or(hit.who), ..hit };
        let has_landed = match hit.fault {
            Fault::Stop => self.stop(hit).await,
            Fault::Kill => self.kill(hit).await,
            Fault::Cut | Fault::Drop | Fault::Stall | Fault::Delay => self.hit_way(hit),
            Fault::ServerStop | Fault::ServerKill => self.hit_server(hit).await,
        };
        if has_landed {
            *self.hits.entry(hit.fault).or_default() += 1;
        }
    }

    async fn stop(&mut self, hit: Hit) -> bool {
        let seat = &mut self.seats[hit.who];
        let life = seat.life;
        let Some(worker) = seat.worker.as_mut().filter(|worker| !worker.is_stopped) else { return false };
        worker.stop().await;
        self.journal.note(Happened::Hit(hit));
        self.after(hit.lasts, Act::Resume { who: hit.who, life });
        true
    }

    async fn kill(&mut self, hit: Hit) -> bool {
        let Some(worker) = self.seats[hit.who].worker.take() else { return false };
        worker.kill().await;
        self.journal.note(Happened::Hit(hit));
        self.after(hit.lasts, Act::Restart { who: hit.who });
        true
    }

    fn hit_way(&mut self, hit: Hit) -> bool {
        let seat = &mut self.seats[hit.who];
        let Some(proxy) = &seat.proxy else { return false };
        seat.turn += 1;
        match hit.fault {
            Fault::Cut => proxy.cut(),
            Fault::Drop => proxy.set(Way::Closed),
            Fault::Stall => proxy.set(Way::Stalled),
            _ => proxy.set(Way::Slow(self.plan.ttl / 20)),
        }
        let turn = seat.turn;
        self.journal.note(Happened::Hit(hit));
        self.after(hit.lasts, Act::Mend { who: hit.who, turn });
        true
    }

    async fn hit_server(&mut self, hit: Hit) -> bool {
        if self.server != Server::Up || !self.ground.is_up() {
            return false;
        }
        if hit.fault == Fault::ServerStop {
            self.ground.pause().await;
            self.server = Server::Stopped;
            self.after(hit.lasts, Act::ServerResume);
        } else {
            self.ground.kill().await;
            self.server = Server::Killed;
            self.after(hit.lasts, Act::ServerRestart);
        }
        self.journal.note(Happened::Hit(hit));
        true
    }

    fn resume(&mut self, who: usize, life: Option<u32>) {
        let seat = &mut self.seats[who];
        let is_same = life.is_none_or(|life| life == seat.life);
        if let Some(worker) = seat.worker.as_mut().filter(|worker| is_same && worker.is_stopped) {
            self.journal.note(Happened::Resumed { who });
            worker.resume();
        }
    }

    async fn restart(&mut self, who: usize) -> Result<(), GroundError> {
        if self.seats[who].worker.is_some() {
            return Ok(());
        }
        self.seats[who].life += 1;
        self.journal.note(Happened::Restarted { who });
        self.start(who).await
    }

    fn mend(&mut self, who: usize) {
        if let Some(proxy) = &self.seats[who].proxy {
            proxy.set(Way::Open);
            self.journal.note(Happened::Mended { who });
        }
    }

    async fn resume_server(&mut self) {
        if self.server == Server::Stopped {
            self.journal.note(Happened::ServerResumed);
            self.ground.resume().await;
            self.server = Server::Up;
        }
    }

    fn restart_server(&mut self) {
        if self.server == Server::Killed {
            self.ground.restart();
            self.server = Server::Up;
        }
    }

    /// Everything goes on, and nothing is done to anybody from now on.
    async fn heal(&mut self) -> Result<(), GroundError> {
        self.due.clear();
        self.resume_server().await;
        self.restart_server();
        self.ground.be_up().await;
        for who in 0..self.seats.len() {
            self.mend(who);
            self.resume(who, None);
            self.restart(who).await?;
        }
        self.journal.note(Happened::Healed);
        for seat in &self.seats {
            if let Some(worker) = &seat.worker {
                worker.order(&Order::Finish).await;
            }
        }
        Ok(())
    }

    /// Waits until everybody has got in once more and every job is done; `None`, if that takes too long.
    async fn settle(&mut self, interrupted: &mut watch::Receiver<bool>) -> Option<Duration> {
        let (healed, journal) = (Instant::now(), self.journal.clone());
        // A little more than the bound, so that what has not come by then is late.
        let end = healed + progress_max(self.plan.ttl) + Duration::from_secs(1);
        let mut quiet = std::pin::pin!(journal.quiet());
        while Instant::now() < end {
            tokio::select! {
                () = &mut quiet => return Some(healed.elapsed()),
                _ = interrupted.wait_for(|is_so| *is_so) => return None,
                () = sleep(LOOK_INTERVAL) => {}
            }
            if self.has_panicked().await {
                return None;
            }
        }
        None
    }

    /// Everybody closes its store and ends.
    async fn leave(&mut self) {
        for (who, seat) in self.seats.iter_mut().enumerate() {
            if let Some(worker) = seat.worker.take()
                && !worker.dismiss(LEAVING_MAX).await
            {
                self.journal.note(Happened::Panicked { who });
            }
        }
    }

    /// Looks for what nobody wants and is still there when its time to live, and a little more, has passed.
    async fn look_for_orphans(&mut self) -> Result<(), GroundError> {
        let end = Instant::now() + self.plan.ttl + ORPHAN_MAX + Duration::from_millis(100);
        let engine = open(self.ground.url(), end).await?;
        let space = format!("mutex/{}/lock", self.prefix);
        let left = loop {
            let found = engine.survey(&space).await;
            match found {
                Ok(found) if found.entries.is_empty() || Instant::now() >= end => break Ok(found.entries),
                Err(error) if Instant::now() >= end => break Err(GroundError::Unseen(error)),
                Ok(_) | Err(_) => sleep(LOOK_INTERVAL).await,
            }
        };
        engine.close().await;
        let granted: Vec<u64> =
            self.journal.entries().iter().filter_map(|entry| granted(entry.what)).collect();
        for stored in left? {
            let token = Some(stored.entry.revision.0).filter(|token| granted.contains(token));
            self.journal.note(Happened::Orphan { token });
        }
        Ok(())
    }
}

fn granted(what: Happened) -> Option<u64> {
    match what {
        Happened::Said { what: What::Granted { token, .. }, .. } => Some(token),
        _ => None,
    }
}

/// Opens the store, if it can be opened by then.
async fn open(url: &str, end: Instant) -> Result<Arc<dyn Engine>, GroundError> {
    loop {
        match engine::open(url).await {
            Ok(engine) => return Ok(engine),
            Err(error) if Instant::now() >= end => return Err(GroundError::Unopened(error)),
            Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
}
