//! What fencepost adds to each engine: the same thing done through it, by the bare engine and by a client written by hand, in
//! turn, so that a machine that is busy with other things is so with all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::driver::{Guard, Mutex, Store};
use fencepost::engine::Engine;
use fencepost::engine::memory::Memory;
use fencepost::engine::postgres::{Postgres, PostgresOptions};
use fencepost::engine::sqlite::{Sqlite, SqliteOptions};
use fencepost::mutex::MutexConfig;
use fencepost_benches::table::{median, micros, quantile};
use fencepost_benches::watched::{Hints, Seen, Watched};
use fencepost_conformance::server::PostgresServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::by_hand::{Bare, InMemory, InPostgres, InSqlite};

/// How often each is done where a disk is waited for, and where none is.
const ROUNDS: usize = 300;
const ROUNDS_IN_MEMORY: usize = 5_000;
/// Longer than a thread of the runtime looks for work before it goes to sleep.
const REST: Duration = Duration::from_micros(200);
/// How often a waiter looks whom no hint reaches, and how many of its waits are measured.
const POLL: Duration = Duration::from_millis(100);
const ROUNDS_BY_POLL: usize = 40;

const MAY_LOCK: f64 = 1.15;
const MAY_HAND_OFF: f64 = 1.3;

type Taking<'a> = Pin<Box<dyn Future<Output = Duration> + 'a>>;

/// Something that can be done again and again, and says how long it took.
trait Doing {
    fn once(&mut self) -> Taking<'_>;
}

/// Does all of them in turn, and returns how long each took.
async fn in_turn(rounds: usize, doings: &mut [&mut dyn Doing]) -> Vec<Vec<Duration>> {
    let mut took: Vec<_> = doings.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds + rounds / 10 {
        for at in 0..doings.len() {
            // None of them always follows the same one.
            let at = (at + round) % doings.len();
            let span = doings[at].once().await;
            if round >= rounds / 10 {
                took[at].push(span);
            }
        }
    }
    took
}

/// Lets so much time pass, in which nobody else has anything to do.
fn rest(span: Duration) {
    let began = Instant::now();
    while began.elapsed() < span {
        std::hint::spin_loop();
    }
}

/// A row of the table: ours, the bare engine if it can do that, and by hand.
fn row(engine: &str, what: &str, took: &mut [Vec<Duration>], may: f64) {
    let medians: Vec<_> = took.iter_mut().map(|spans| median(spans)).collect();
    let (ours, by_hand) = (medians[0], medians[medians.len() - 1]);
    let bare = (medians.len() > 2).then(|| medians[1]);
    let than = |other: Duration| format!("{:.2}", ours.as_secs_f64() / other.as_secs_f64());
    println!(
        "| {engine} | {what} | {} | {} | {} | {} | {} | {may:.2} |",
        micros(ours),
        bare.map_or("–".into(), micros),
        micros(by_hand),
        bare.map_or("–".into(), than),
        than(by_hand),
    );
}

// ── lock and release ──

/// Through fencepost.
struct Locking(Mutex);

impl Doing for Locking {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let began = Instant::now();
            self.0.lock().await.expect("the store is open").release().await;
            began.elapsed()
        })
    }
}

/// By the bare engine.
struct Asking(Bare);

impl Doing for Asking {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let began = Instant::now();
            let revision = self.0.claim().await.expect("it is free");
            self.0.release(revision).await;
            began.elapsed()
        })
    }
}

struct PostgresByHand(InPostgres);

impl Doing for PostgresByHand {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let began = Instant::now();
            let token = self.0.claim("free").await.expect("it is free");
            self.0.release("free", token).await;
            began.elapsed()
        })
    }
}

/// On a thread that may block.
struct SqliteByHand(InSqlite);

impl Doing for SqliteByHand {
    fn once(&mut self) -> Taking<'_> {
        let began = Instant::now();
        let token = self.0.claim("free").expect("it is free");
        self.0.release("free", token);
        Box::pin(std::future::ready(began.elapsed()))
    }
}

/// On behalf of a task, which must not block.
struct SqliteAside(Option<InSqlite>);

impl Doing for SqliteAside {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let began = Instant::now();
            let mut file = self.0.take().expect("it was put back");
            let claiming = spawn_blocking(move || (file.claim("free").expect("it is free"), file));
            let (token, file) = claiming.await.expect("no panic");
            let releasing = spawn_blocking(move || {
                file.release("free", token);
                file
            });
            self.0 = Some(releasing.await.expect("no panic"));
            began.elapsed()
        })
    }
}

fn mutex(engine: Arc<dyn Engine>, config: MutexConfig) -> Mutex {
    let store = Store::start(engine).expect("it is in a runtime");
    Mutex::new(&store, "a", config).expect("it is a key")
}

// ── hand-off ──

/// Two stores that pass one lock on: from the moment at which its holder begins to release it, while the other one is known to
/// wait, to the one at which the other one's task has it.
struct Passing {
    mutexes: [Mutex; 2],
    seen: [Arc<Seen>; 2],
    held: Option<Guard>,
    waiter: usize,
    /// For how long the other one waits at least.
    rest: Duration,
}

impl Passing {
    fn new(engines: [Arc<dyn Engine>; 2], hints: Hints) -> Passing {
        let engines = engines.map(|engine| Watched::new(engine, hints));
        let seen = engines.each_ref().map(Watched::seen);
        let poll_interval = match hints {
            Hints::Heard => MutexConfig::default().poll_interval,
            Hints::Cut => POLL,
        };
        let mutexes = engines
            .map(|engine| mutex(Arc::new(engine), MutexConfig { poll_interval, ..MutexConfig::default() }));
        Passing { mutexes, seen, held: None, waiter: 1, rest: Duration::ZERO }
    }
}

impl Doing for Passing {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let (waiter, other) = (self.waiter, 1 - self.waiter);
            let held = match self.held.take() {
                Some(held) => held,
                None => self.mutexes[other].lock().await.expect("the store is open"),
            };
            let (mutex, mut refused) = (self.mutexes[waiter].clone(), self.seen[waiter].refused());
            let waiting = tokio::spawn(async move {
                let guard = mutex.lock().await.expect("the store is open");
                (Instant::now(), guard)
            });
            refused.changed().await.expect("the engine is there");
            rest(self.rest);
            let sent = Instant::now();
            held.release().await;
            let (at, guard) = waiting.await.expect("no panic");
            (self.held, self.waiter) = (Some(guard), other);
            at - sent
        })
    }
}

/// Two who do the same by hand in memory.
struct MemoryPassing {
    ends: [InMemory; 2],
    held: Option<fencepost::store::Revision>,
    rest: Duration,
}

impl Doing for MemoryPassing {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let held = match self.held.take() {
                Some(held) => held,
                None => self.ends[0].lock(|| {}).await,
            };
            let (end, (refuse, refused)) = (self.ends[1].clone(), oneshot::channel());
            let waiting = tokio::spawn(async move {
                let held = end.lock(|| refuse.send(()).unwrap_or_default()).await;
                (Instant::now(), held)
            });
            refused.await.expect("it is held");
            rest(self.rest);
            let sent = Instant::now();
            self.ends[0].release(held);
            let (at, held) = waiting.await.expect("no panic");
            self.ends.swap(0, 1);
            self.held = Some(held);
            at - sent
        })
    }
}

/// Two who do the same by hand on PostgreSQL, each by one session.
struct PostgresPassing {
    ends: [Arc<InPostgres>; 2],
    held: Option<i64>,
}

impl Doing for PostgresPassing {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let held = match self.held.take() {
                Some(held) => held,
                None => self.ends[0].lock("passed", || {}).await,
            };
            let (end, (refuse, refused)) = (self.ends[1].clone(), oneshot::channel());
            let waiting = tokio::spawn(async move {
                let held = end.lock("passed", || refuse.send(()).unwrap_or_default()).await;
                (Instant::now(), held)
            });
            refused.await.expect("it is held");
            let sent = Instant::now();
            self.ends[0].release("passed", held).await;
            let (at, held) = waiting.await.expect("no panic");
            self.ends.swap(0, 1);
            self.held = Some(held);
            at - sent
        })
    }
}

/// Two who do the same by hand on a file. The waiter is a thread that may block, or one that a task waits for.
struct SqlitePassing {
    ends: Option<[InSqlite; 2]>,
    held: Option<i64>,
    aside: bool,
}

impl SqlitePassing {
    fn new(ends: [InSqlite; 2], aside: bool) -> SqlitePassing {
        SqlitePassing { ends: Some(ends), held: None, aside }
    }
}

impl Doing for SqlitePassing {
    fn once(&mut self) -> Taking<'_> {
        Box::pin(async {
            let [mut holder, mut waiter] = self.ends.take().expect("both are here");
            let held = self.held.take().unwrap_or_else(|| holder.lock("passed", || {}));
            let (refuse, refused) = oneshot::channel();
            let locking = move || {
                let held = waiter.lock("passed", || refuse.send(()).unwrap_or_default());
                (Instant::now(), held, waiter)
            };
            let aside = self.aside;
            let waiting = tokio::spawn(async move {
                let (at, held, waiter) = spawn_blocking(locking).await.expect("no panic");
                (if aside { Instant::now() } else { at }, held, waiter)
            });
            refused.await.expect("it is held");
            let sent = Instant::now();
            let holder = if aside {
                let releasing = spawn_blocking(move || {
                    holder.release("passed", held);
                    holder
                });
                releasing.await.expect("no panic")
            } else {
                holder.release("passed", held);
                holder
            };
            let (at, held, waiter) = waiting.await.expect("no panic");
            (self.ends, self.held) = (Some([waiter, holder]), Some(held));
            at - sent
        })
    }
}

// ── engines ──

pub(crate) fn open_sqlite(folder: &TempDir, name: &str) -> Arc<dyn Engine> {
    let opened = Sqlite::open(folder.path().join(name), &SqliteOptions::default());
    Arc::new(opened.expect("a store"))
}

pub(crate) async fn open_postgres(server: &PostgresServer, schema: &str) -> Arc<dyn Engine> {
    let mut options = PostgresOptions::default();
    options.schema = schema.into();
    Arc::new(Postgres::open(&server.url(), &options).await.expect("a store"))
}

async fn memory() {
    for (what, rest) in [("hand-off", REST), ("hand-off, one upon the other", Duration::ZERO)] {
        let memory = Memory::new();
        let engines: [Arc<dyn Engine>; 2] = [Arc::new(memory.share()), Arc::new(memory.share())];
        let mut passing = Passing { rest, ..Passing::new(engines, Hints::Heard) };
        let ends = InMemory::pair(&Memory::new(), "mutex/a");
        let mut by_hand = MemoryPassing { ends, held: None, rest };
        let mut took = in_turn(ROUNDS_IN_MEMORY, &mut [&mut passing, &mut by_hand]).await;
        row("memory", what, &mut took, MAY_HAND_OFF);
    }
}

async fn sqlite() {
    let folder = TempDir::new().expect("a temporary folder");
    let open = |name: &str| open_sqlite(&folder, name);
    let hand = |name: &str| InSqlite::open(&folder.path().join(name));
    // What fills the log is what is measured: whoever closes a file last removes its log.
    let filled = async |name: &str| {
        let engine = open(name);
        Bare::new(engine.clone(), "filler").fill_the_log().await;
        engine
    };
    let mut took = in_turn(
        ROUNDS,
        &mut [
            &mut Locking(mutex(filled("ours").await, MutexConfig::default())),
            &mut Asking(Bare::new(filled("bare").await, "mutex/a")),
            &mut SqliteAside(Some(hand("aside"))),
            &mut SqliteByHand(hand("hand")),
        ],
    )
    .await;
    let blocking = took.pop().into_iter();
    row("SQLite", "lock and release", &mut took, MAY_LOCK);
    let mut took: Vec<_> = took.into_iter().take(2).chain(blocking).collect();
    row("SQLite, by hand on a thread that blocks", "lock and release", &mut took, MAY_LOCK);
    let mut took = in_turn(
        ROUNDS,
        &mut [
            &mut Passing::new([filled("passed").await, open("passed")], Hints::Heard),
            &mut SqlitePassing::new([hand("passed aside"), hand("passed aside")], true),
            &mut SqlitePassing::new([hand("passed by hand"), hand("passed by hand")], false),
        ],
    )
    .await;
    let blocking = took.pop().into_iter();
    row("SQLite", "hand-off", &mut took, MAY_HAND_OFF);
    let mut took: Vec<_> = took.into_iter().take(1).chain(blocking).collect();
    row("SQLite, by hand on a thread that blocks", "hand-off", &mut took, MAY_HAND_OFF);
}

async fn postgres(server: &PostgresServer) {
    let url = server.url();
    let open = async |schema: &str| open_postgres(server, schema).await;
    let mut took = in_turn(
        ROUNDS,
        &mut [
            &mut Locking(mutex(open("ours").await, MutexConfig::default())),
            &mut Asking(Bare::new(open("bare").await, "mutex/a")),
            &mut PostgresByHand(InPostgres::connect(&url).await),
        ],
    )
    .await;
    row("PostgreSQL", "lock and release", &mut took, MAY_LOCK);
    let mut passing = Passing::new([open("passed").await, open("passed").await], Hints::Heard);
    let ends = [InPostgres::connect(&url).await, InPostgres::connect(&url).await].map(Arc::new);
    let mut took = in_turn(ROUNDS, &mut [&mut passing, &mut PostgresPassing { ends, held: None }]).await;
    row("PostgreSQL", "hand-off", &mut took, MAY_HAND_OFF);
}

/// Measures and prints it all.
pub(crate) fn compare(runtime: &Runtime, server: Option<&PostgresServer>) {
    println!(
        "\n| engine | what | fencepost, µs | bare engine, µs | by hand, µs | : bare | : by hand | at most |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    runtime.block_on(async {
        memory().await;
        sqlite().await;
        if let Some(server) = server {
            postgres(server).await;
        }
    });
    println!("\n| engine | hand-off without hints, ms: median | longest | interval |");
    println!("|---|---:|---:|---:|");
    runtime.block_on(async {
        let memory = Memory::new();
        by_poll("memory", [Arc::new(memory.share()), Arc::new(memory.share())]).await;
        let folder = TempDir::new().expect("a temporary folder");
        by_poll("SQLite", [(); 2].map(|()| open_sqlite(&folder, "polled"))).await;
        if let Some(server) = server {
            by_poll(
                "PostgreSQL",
                [open_postgres(server, "polled").await, open_postgres(server, "polled").await],
            )
            .await;
        }
    });
}

/// Whom no hint reaches finds by looking what was freed.
async fn by_poll(engine: &str, engines: [Arc<dyn Engine>; 2]) {
    let mut took = in_turn(ROUNDS_BY_POLL, &mut [&mut Passing::new(engines, Hints::Cut)]).await.remove(0);
    let [middle, longest] =
        [0.5, 1.0].map(|at| quantile(&mut took, at).unwrap_or_default().as_secs_f64() * 1e3);
    println!("| {engine} | {middle:.0} | {longest:.0} | {} ± 10 % |", POLL.as_millis());
}
