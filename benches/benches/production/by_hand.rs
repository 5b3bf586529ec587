//! The least that a client of each engine has to do to take a lock, to release it, and to hear of a release: no renewal, no
//! time-out, no cancellation, no reconnection, and no follow-up of what is unknown.

use std::fs::OpenOptions;
use std::future::poll_fn;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fencepost::engine::memory::Memory;
use fencepost::engine::{Engine, EngineAnswer, EngineOp, Reply, Request, Responder, clock};
use fencepost::store::{Answer, Expect, Op, Revision};
use fencepost::time::Span;
use rusqlite::{Connection, TransactionBehavior, params};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::sync::{Notify, oneshot};
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

/// What a claim writes.
const OWNER: &str = r#"{"identity":18446744073709551615,"attempt":1}"#;
/// How long a lock is held that nobody renews: longer than any of these measurements.
const TTL: Duration = Duration::from_secs(3_600);
/// More than the log of a file takes before it begins again.
const LOG_BYTES: usize = 6 << 20;

/// Asks an engine itself what a lock and its release ask.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    engine: Arc<dyn Engine>,
    space: Arc<str>,
}

impl Bare {
    /// Asks about this space.
    pub(crate) fn new(engine: Arc<dyn Engine>, space: &str) -> Bare {
        Bare { engine, space: space.into() }
    }

    fn claiming() -> EngineOp {
        let ttl = Some(Span::from_nanos(TTL.as_nanos() as u64));
        Op::PutIf { key: Box::from([0]), expect: Expect::Absent, record: OWNER.into(), ttl }
    }

    /// Writes so much to a file's log that it has its full length, as that of a file in use has: a log that grows costs more.
    pub(crate) async fn fill_the_log(&self) {
        let record = "x".repeat(LOG_BYTES).into();
        let op = Op::PutIf { key: Box::from([0]), expect: Expect::Absent, record, ttl: None };
        let written = taken(self.ask(op).await).expect("it is free");
        self.release(written).await;
    }

    fn releasing(revision: Revision) -> EngineOp {
        Op::DeleteIf { key: Box::from([0]), revision }
    }

    fn at_once(&self, op: EngineOp) -> EngineAnswer {
        let reply = self.engine.answer(&Request { space: self.space.clone(), op });
        reply.expect("the engine in memory answers at once").answer
    }

    async fn ask(&self, op: EngineOp) -> EngineAnswer {
        let (answer, answered) = oneshot::channel();
        let responder = Responder::new(move |reply: Reply| drop(answer.send(reply)));
        self.engine.submit(Request { space: self.space.clone(), op }, responder);
        answered.await.expect("every request is answered").answer
    }

    /// Takes the lock, if it is free, from an engine that answers at once.
    pub(crate) fn claim_at_once(&self) -> Option<Revision> {
        taken(self.at_once(Bare::claiming()))
    }

    /// Releases it.
    pub(crate) fn release_at_once(&self, revision: Revision) {
        assert_eq!(self.at_once(Bare::releasing(revision)), Answer::Applied(revision));
    }

    /// Takes the lock, if it is free.
    pub(crate) async fn claim(&self) -> Option<Revision> {
        taken(self.ask(Bare::claiming()).await)
    }

    /// Releases it.
    pub(crate) async fn release(&self, revision: Revision) {
        assert_eq!(self.ask(Bare::releasing(revision)).await, Answer::Applied(revision));
    }
}

fn taken(answer: EngineAnswer) -> Option<Revision> {
    match answer {
        Answer::Applied(revision) => Some(revision),
        Answer::Refused(_) => None,
        Answer::Found(_) | Answer::Listed(_) | Answer::Unknown => panic!("the engine said {answer:?}"),
    }
}

/// Two who share a map and a bell.
#[derive(Clone, Debug)]
pub(crate) struct InMemory {
    bare: Bare,
    freed: Arc<Notify>,
}

impl InMemory {
    /// Both of them.
    pub(crate) fn pair(memory: &Memory, space: &str) -> [InMemory; 2] {
        let freed = Arc::new(Notify::new());
        [(); 2].map(|()| InMemory { bare: Bare::new(Arc::new(memory.share()), space), freed: freed.clone() })
    }

    /// Waits for the lock; `refused` is told if it was not free.
    pub(crate) async fn lock(&self, refused: impl FnOnce()) -> Revision {
        let mut refused = Some(refused);
        loop {
            let freed = self.freed.notified();
            match self.bare.claim_at_once() {
                Some(revision) => return revision,
                None => refused.take().map_or((), |refused| refused()),
            }
            freed.await;
        }
    }

    /// Releases it, and wakes who waits.
    pub(crate) fn release(&self, revision: Revision) {
        self.bare.release_at_once(revision);
        self.freed.notify_waiters();
    }
}

/// A session of PostgreSQL that asks and listens.
#[derive(Debug)]
pub(crate) struct InPostgres {
    client: Client,
    freed: Arc<Notify>,
    claim: Statement,
    release: Statement,
}

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS by_hand (key text PRIMARY KEY, token bigint NOT NULL, owner text NOT NULL, expires timestamptz NOT NULL);
CREATE SEQUENCE IF NOT EXISTS by_hand_token;
LISTEN by_hand";
const CLAIM: &str = "
INSERT INTO by_hand AS held VALUES ($1, nextval('by_hand_token'), $2, clock_timestamp() + interval '1 hour')
ON CONFLICT (key) DO UPDATE SET token = excluded.token, owner = excluded.owner, expires = excluded.expires
    WHERE held.expires <= clock_timestamp()
RETURNING token";
const RELEASE: &str = "
WITH gone AS (DELETE FROM by_hand WHERE key = $1 AND token = $2 RETURNING key)
SELECT pg_notify('by_hand', key) FROM gone";

impl InPostgres {
    /// One more session.
    pub(crate) async fn connect(url: &str) -> InPostgres {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
        let freed = Arc::new(Notify::new());
        let bell = freed.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(_) = message {
                    bell.notify_waiters();
                }
            }
        });
        client.batch_execute(TABLE).await.expect("a table");
        let claim = client.prepare(CLAIM).await.expect("a statement");
        let release = client.prepare(RELEASE).await.expect("a statement");
        InPostgres { client, freed, claim, release }
    }

    /// Takes the lock, if it is free.
    pub(crate) async fn claim(&self, key: &str) -> Option<i64> {
        let row = self.client.query_opt(&self.claim, &[&key, &OWNER]).await.expect("an answer");
        row.map(|row| row.get(0))
    }

    /// Waits for the lock; `refused` is told if it was not free.
    pub(crate) async fn lock(&self, key: &str, refused: impl FnOnce()) -> i64 {
        let mut refused = Some(refused);
        loop {
            // From now on, no bell is missed.
            let freed = self.freed.notified();
            match self.claim(key).await {
                Some(token) => return token,
                None => refused.take().map_or((), |refused| refused()),
            }
            freed.await;
        }
    }

    /// Releases it, and tells who listens.
    pub(crate) async fn release(&self, key: &str, token: i64) {
        self.client.query_one(&self.release, &[&key, &token]).await.expect("it was held");
    }
}

/// A connection to a file, and a bell beside it that inotify hears.
#[derive(Debug)]
pub(crate) struct InSqlite {
    database: Connection,
    bell: PathBuf,
    heard: std::os::fd::OwnedFd,
}

impl InSqlite {
    /// One more connection.
    pub(crate) fn open(path: &Path) -> InSqlite {
        let database = Connection::open(path).expect("a file");
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS held (key TEXT PRIMARY KEY, token INTEGER NOT NULL, owner TEXT NOT NULL,
                expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), token INTEGER NOT NULL) STRICT;
            INSERT OR IGNORE INTO counter VALUES (1, 0);";
        database.execute_batch(setup).expect("a schema");
        let filler = "INSERT INTO held VALUES ('filler', 0, printf('%.*c', ?, 'x'), 0)";
        database.execute(filler, [LOG_BYTES as i64]).expect("a filler");
        database.execute("DELETE FROM held WHERE key = 'filler'", []).expect("it is there");
        let bell = path.with_extension("bell");
        ring(&bell);
        let heard = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        inotify::add_watch(&heard, &bell, WatchFlags::MODIFY).expect("a watch");
        InSqlite { database, bell, heard }
    }

    /// Takes the lock, if it is free.
    pub(crate) fn claim(&mut self, key: &str) -> Option<i64> {
        let now = clock::wall().as_nanos() as i64;
        let transaction =
            self.database.transaction_with_behavior(TransactionBehavior::Immediate).expect("a transaction");
        let count = "UPDATE counter SET token = token + 1 RETURNING token";
        let token: i64 = transaction
            .prepare_cached(count)
            .and_then(|mut count| count.query_row([], |row| row.get(0)))
            .expect("a token");
        let write = "INSERT INTO held VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET
            token = excluded.token, owner = excluded.owner, expires = excluded.expires WHERE held.expires <= ?5";
        let written = transaction
            .prepare_cached(write)
            .and_then(|mut write| write.execute(params![key, token, OWNER, now + TTL.as_nanos() as i64, now]))
            .expect("a write");
        if written == 0 {
            transaction.rollback().expect("a way back");
            return None;
        }
        transaction.commit().expect("a commit");
        Some(token)
    }

    /// Waits for the lock; `refused` is told if it was not free.
    pub(crate) fn lock(&mut self, key: &str, refused: impl FnOnce()) -> i64 {
        let mut refused = Some(refused);
        loop {
            self.drain();
            match self.claim(key) {
                Some(token) => return token,
                None => refused.take().map_or((), |refused| refused()),
            }
            poll(&mut [PollFd::new(&self.heard, PollFlags::IN)], None).expect("a bell");
        }
    }

    /// What was rung until now, by its owner's own releases too, says nothing of what comes.
    fn drain(&self) {
        let mut buffer = [MaybeUninit::uninit(); 1_024];
        let mut events = Reader::new(&self.heard, &mut buffer);
        while events.next().is_ok_and(|event| !event.events().contains(ReadFlags::IGNORED)) {}
    }

    /// Releases it, and rings.
    pub(crate) fn release(&self, key: &str, token: i64) {
        let delete = "DELETE FROM held WHERE key = ? AND token = ?";
        let deleted =
            self.database.prepare_cached(delete).and_then(|mut delete| delete.execute(params![key, token]));
        assert_eq!(deleted.expect("a write"), 1);
        ring(&self.bell);
    }
}

fn ring(bell: &Path) {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(bell);
    opened.and_then(|mut bell| bell.write_all(b"\n")).expect("a bell");
}
