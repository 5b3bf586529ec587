//! What is scraped is what `docs/operations.md` says: every name, its kind and its labels.
#![allow(clippy::disallowed_types, reason = "whoever scrapes opens a connection, and has a deadline")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fencepost::calendar::Schedule;
use fencepost::driver::{Flag, Job, JobRun, Locker, Mutex, Store, Worked, WriterLease};
use fencepost::engine::memory::Memory;
use fencepost::engine::{Ear, Engine, Reply, Request, Responder};
use fencepost::flag::FlagConfig;
use fencepost::job::JobConfig;
use fencepost::lease::LeaseConfig;
use fencepost::locker::{Bid, LockKey, LockerConfig};
use fencepost::mutex::MutexConfig;
use fencepost::store::Limits;
use fencepost::writer::{Unit, WorkId, WorkResult, WriterConfig};
use prometheus::serve_metrics;

const SOON: Duration = Duration::from_secs(20);
const DOCS: &str = include_str!("../../../docs/operations.md");

/// A store in memory that loses an answer now and then.
#[derive(Debug, Default)]
struct Forgetful(Memory, Arc<AtomicBool>);

impl Engine for Forgetful {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        self.0.listen(ear);
    }

    fn answer(&self, request: &Request) -> Option<Reply> {
        let reply = self.0.answer(request);
        if self.1.swap(false, Ordering::Relaxed) { Some(Reply::UNKNOWN) } else { reply }
    }

    fn submit(&self, request: Request, responder: Responder) {
        self.0.submit(request, responder);
    }

    fn publish(&self, space: &str, text: &str) {
        self.0.publish(space, text);
    }

    fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.close()
    }
}

fn hasty() -> MutexConfig {
    let (ms, lease) = (Duration::from_millis, LeaseConfig::default());
    let lease = LeaseConfig { ttl: ms(9_000), refresh_interval: ms(500), renew_timeout: ms(50), ..lease };
    MutexConfig { lease, metrics_group: Some("reports".into()), ..MutexConfig::default() }
}

/// A lock is handed over, renewed, and taken although an answer was lost.
async fn lock(store: &Store, forget: &AtomicBool) {
    let [one, other] = [(); 2].map(|()| Mutex::new(store, "m", hasty()).unwrap());
    let guard = one.lock().await.unwrap();
    guard.extend().await.unwrap();
    let mut waiting = Box::pin(other.lock());
    assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
    guard.release().await;
    waiting.await.unwrap().release().await;
    forget.store(true, Ordering::Relaxed);
    one.lock().await.unwrap().release().await;
}

/// A holder is asked to yield, and does not.
async fn hold_on(store: &Store) {
    let (mutex, max_lock_duration) = (hasty(), Some(Duration::from_millis(20)));
    let config = LockerConfig { mutex, lock_delay: None, max_lock_duration, ..LockerConfig::default() };
    let locker = Locker::new(store, LockKey::Number(17), config).unwrap();
    let guard = locker.lock(Bid::new("first")).await.unwrap();
    let newer = locker.clone();
    let newer = tokio::spawn(async move { newer.lock(Bid::new("newer")).await.map(drop) });
    guard.asked().await.unwrap();
    guard.lost().await;
    newer.await.unwrap().unwrap();
}

/// A callback runs until it is told to end.
async fn run(store: &Store) {
    let every_hour = JobConfig::new(Schedule::every(Duration::from_secs(3_600)).unwrap());
    let every_hour = JobConfig { mutex: hasty(), ..every_hour };
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let job = Job::schedule(store, "j", every_hour, move |run: JobRun| {
        sender.send(()).unwrap();
        async move { run.interrupted().await }
    });
    begun.recv().await.unwrap();
    job.unwrap().close().await;
}

/// A flag is raised and a writer leads, for as long as these live.
async fn lead(store: &Store) -> (Flag, WriterLease<&'static str>) {
    let flag = Flag::stand(store, FlagConfig::new("boss", "boss-0")).unwrap();
    flag.until_raised().await.unwrap();
    let writer = WriterLease::start(store, "routes", WriterConfig::default()).unwrap();
    let work = |_| async { Worked::done(WorkResult::Extend) };
    writer.attempt("route", Unit::new(WorkId(1)), work).settled().await;
    (flag, writer)
}

/// An address of this host that nobody uses.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).unwrap()
}

fn scrape(address: SocketAddr) -> Option<String> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut said = String::new();
    connection.read_to_string(&mut said).ok()?;
    said.starts_with("HTTP/1.0 200 OK").then_some(said)
}

/// The kind of each metric, and its labels, as the table has them.
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let rows = DOCS.lines().filter(|line| line.starts_with("| `fencepost_"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let name = cells.next().unwrap().trim_matches('`');
        let (kind, labels) = cells.next().unwrap().split_once(", ").unwrap();
        let labels = labels.split(", ").map(|label| label.trim_matches('`').into());
        (name.into(), (kind.into(), labels.collect()))
    })
    .collect()
}

/// The same of what was scraped.
fn scraped(text: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    kinds
        .map(|(name, kind)| {
            let sample = if kind == "histogram" { format!("{name}_count{{") } else { format!("{name}{{") };
            let series = text.lines().find_map(|line| line.strip_prefix(&sample)).unwrap();
            let labels = series.split_once('}').unwrap().0.split(',');
            let labels = labels.map(|label| label.split_once('=').unwrap().0.into());
            (name.into(), (kind.into(), labels.collect()))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_name_is_scraped_and_no_other() {
    let address = free_address();
    serve_metrics(address).unwrap();
    let engine = Forgetful::default();
    let forget = engine.1.clone();
    let store = Store::start(engine).unwrap();
    let work = async {
        lock(&store, &forget).await;
        hold_on(&store).await;
        run(&store).await;
        lead(&store).await
    };
    let _leading = tokio::time::timeout(SOON, work).await.unwrap();

    let began = Instant::now();
    let text = loop {
        if let Some(text) = scrape(address) {
            break text;
        }
        assert!(began.elapsed() < SOON, "nobody answers at {address}");
        tokio::task::yield_now().await;
    };
    assert_eq!(scraped(&text), documented(), "{text}");
    for line in [
        "fencepost_lock_grab_seconds_count{group=\"reports\"} 5",
        "fencepost_lock_losses_total{group=\"reports\",reason=\"too-long\"} 1",
        "fencepost_unknown_outcomes_total{group=\"reports\"} 1",
        "fencepost_job_runs_total{group=\"reports\",outcome=\"succeeded\",noted=\"recorded\"} 1",
        "fencepost_leadership_flag_state{name=\"boss\",process=\"boss-0\"} 1",
        "fencepost_writer_leads{name=\"routes\"} 1",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in:\n{text}");
    }
    store.close(SOON).await.unwrap();
}

/// The program beside, killed with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_counts_its_transfers() {
    let address = free_address();
    let mut program = Command::new(env!("CARGO_BIN_EXE_prometheus"));
    let mut program = Program(program.arg(address.to_string()).spawn().unwrap());
    let series = "fencepost_lock_grab_seconds_count{group=\"accounts\"} ";
    let grabbed = || scrape(address)?.lines().find_map(|line| line.strip_prefix(series)?.parse::<u64>().ok());
    let began = Instant::now();
    while grabbed().is_none_or(|times| times < 2) {
        assert!(began.elapsed() < SOON, "no transfer was counted at {address}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(program.0.wait().unwrap().success(), "it has closed all");
}
