//! The open file: its schema, and transactions on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::bell::Bell;
use super::entries::{Place, Transaction};
use super::hints::{self, News};
use super::worker::Task;
use super::{SqliteError, SqliteOptions, Synchronous};
use crate::engine::Reply;
use crate::store::Answer;
use crate::time::StoreTime;

/// Says that a file is ours: `fenc`.
const APPLICATION: i64 = 0x6665_6e63;
/// The newest schema that is known here. A step to each version stands in [`MIGRATIONS`].
const VERSION: i64 = 2;
/// What leads from each version of the schema to the next one.
const MIGRATIONS: [&str; VERSION as usize] = [SCHEMA, "DROP INDEX entry_expires"];

/// The first schema. `expires` is in nanoseconds since the Unix epoch.
pub(super) const SCHEMA: &str = "
CREATE TABLE entry (
    space TEXT NOT NULL, key BLOB NOT NULL, revision INTEGER NOT NULL, record TEXT NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_expires ON entry (expires) WHERE expires < 9223372036854775807;
CREATE TABLE counter (revision INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);
CREATE TABLE hint (seq INTEGER PRIMARY KEY, space TEXT NOT NULL, text TEXT) STRICT;
";

/// An open file, and what has been read of its hints.
pub(super) struct File {
    database: Connection,
    path: PathBuf,
    inode: Option<(u64, u64)>,
    /// The bell beside it.
    pub(super) bell: Bell,
    heard: i64,
    /// Up to where dead entries were cleared away.
    swept: Place,
}

impl File {
    /// Opens `path`, and makes a store there if there is nothing.
    pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<File, SqliteError> {
        let until = Until::after(options.call_max);
        let fault = |fault| classify(fault, path, options);
        let database = connect(path).map_err(fault)?;
        until
            .keep_trying(|| prepare(&database, options))
            .map_err(fault)?
            .map_or(Ok(()), |found| Err(SqliteError::Foreign { path: path.to_owned(), found }))?;
        let version = until.keep_trying(|| migrate(&database)).map_err(fault)?;
        version.admit(path)?;
        let heard = until.keep_trying(|| hints::newest(&database)).map_err(fault)?;
        let place = fs::canonicalize(path).and_then(|path| Ok((Bell::of(&path)?, path)));
        let (bell, path) =
            place.map_err(|source| SqliteError::Open { path: path.to_owned(), source: Box::new(source) })?;
        Ok(File { database, inode: inode(&path), path, bell, heard, swept: Place::default() })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still lies under its path. What is done to a file that nobody can find any more is done for nobody.
    pub(super) fn is_in_place(&self) -> bool {
        inode(&self.path) == self.inode
    }

    /// Carries tasks out together, and says what came of each: nothing, if that is unknown.
    ///
    /// If one of them fails before the commit, nothing was done, and each is tried by itself.
    pub(super) fn carry_out(&mut self, tasks: &[Task], patience: &Patience<'_>) -> Vec<Option<Reply>> {
        match patience.keep_trying(|| self.transaction(tasks)) {
            Ok(replies) => replies.into_iter().map(Some).collect(),
            Err(Failure::Undone(fault)) if tasks.len() > 1 && !fault.is_busy() => {
                tasks.chunks(1).flat_map(|task| self.carry_out(task, patience)).collect()
            }
            Err(Failure::Undone(fault) | Failure::Open(fault)) => {
                tracing::warn!(path = ?self.path, %fault, "a transaction failed");
                tasks.iter().map(|_| None).collect()
            }
        }
    }

    fn transaction(&mut self, tasks: &[Task]) -> Result<Vec<Reply>, Failure> {
        let begin = if tasks.iter().all(Task::is_read) { "BEGIN" } else { "BEGIN IMMEDIATE" };
        self.execute(begin).map_err(Failure::Undone)?;
        // The clock is read while nobody else can write, so that what is written later is later.
        let done = self.within(tasks, now()).map_err(Failure::Undone);
        let done = done.and_then(|done| self.execute("COMMIT").map(|()| done).map_err(Failure::Open));
        if done.is_err() && !self.database.is_autocommit() {
            // What fails to be rolled back is rolled back by whoever opens the file next.
            let _ = self.execute("ROLLBACK");
        }
        let (replies, has_hints) = done?;
        if has_hints {
            self.bell.ring();
        }
        Ok(replies)
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.database.prepare_cached(sql)?.raw_execute().map(drop)
    }

    fn within(&mut self, tasks: &[Task], at: StoreTime) -> rusqlite::Result<(Vec<Reply>, bool)> {
        let mut transaction = Transaction::new(&self.database, at);
        let mut replies = Vec::with_capacity(tasks.len());
        for task in tasks {
            let answer = match task {
                Task::Request(request) => transaction.carry_out(request)?,
                Task::Publish { space, text } => {
                    transaction.publish(space, text)?;
                    Answer::Unknown
                }
            };
            replies.push(Reply { answer, at });
        }
        transaction.sweep(&mut self.swept)?;
        Ok((replies, transaction.hints))
    }

    /// The hints that were not read before.
    pub(super) fn news(&mut self) -> Option<News> {
        let news = hints::read(&self.database, self.heard);
        let news =
            news.inspect_err(|fault| tracing::warn!(path = ?self.path, %fault, "cannot read hints")).ok()?;
        self.heard = news.newest;
        Some(news)
    }
}

/// What is known of a transaction that failed.
enum Failure {
    /// It was not carried out.
    Undone(rusqlite::Error),
    /// It may have been, or may be found to have been once the file is opened again.
    Open(rusqlite::Error),
}

/// A failure that may be due to others who keep the file busy.
trait Busy {
    /// Whether nothing was done for that reason.
    fn is_busy(&self) -> bool;
}

impl Busy for rusqlite::Error {
    fn is_busy(&self) -> bool {
        matches!(self.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }
}

impl Busy for Failure {
    fn is_busy(&self) -> bool {
        match self {
            Failure::Undone(fault) => fault.is_busy(),
            Failure::Open(_) => false,
        }
    }
}

/// The store's clock: the host's.
pub(super) fn now() -> StoreTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    StoreTime::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|_| (0, 0))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    // SQLite's own waiting lets one process starve others for seconds.
    database.busy_timeout(Duration::ZERO)?;
    database.set_prepared_statement_cache_capacity(32);
    // Otherwise a statement with a parameter that a better plan may depend on, as a limit, is prepared anew each time.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(database)
}

/// Sets the file up for sharing; says what it is if it is not ours to set up.
fn prepare(database: &Connection, options: &SqliteOptions) -> rusqlite::Result<Option<String>> {
    // In this order: whoever makes the tables sets the id with them, perhaps between these two.
    let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i64 = database.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION && tables > 0 {
        return Ok(Some(format!(
            "a database with {tables} tables and indexes, and application id {application:#x}"
        )));
    }
    let mode: String = database.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Ok(Some(format!("a database in journal mode {mode}, which cannot be changed to wal")));
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    database.pragma_update(None, "synchronous", synchronous)?;
    Ok(None)
}

/// A version of the schema, as it was found.
#[derive(Clone, Copy)]
struct Version(i64);

impl Version {
    fn admit(self, path: &Path) -> Result<(), SqliteError> {
        match self {
            Version(VERSION) => Ok(()),
            Version(found) => Err(SqliteError::Newer { path: path.to_owned(), found, known: VERSION }),
        }
    }
}

/// Brings the schema up to date, if it is not newer than what is known here.
fn migrate(database: &Connection) -> rusqlite::Result<Version> {
    let version = || database.pragma_query_value(None, "user_version", |row| row.get(0)).map(Version);
    if version()?.0 >= VERSION {
        return version();
    }
    let transaction =
        rusqlite::Transaction::new_unchecked(database, rusqlite::TransactionBehavior::Immediate)?;
    let found = usize::try_from(version()?.0).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(found) {
        transaction.execute_batch(step)?;
    }
    if found < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    let now = version()?;
    transaction.commit()?;
    Ok(now)
}

fn classify(fault: rusqlite::Error, path: &Path, options: &SqliteOptions) -> SqliteError {
    let path = path.to_owned();
    match fault.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            SqliteError::Busy { path, waited: options.call_max }
        }
        Some(ErrorCode::NotADatabase) => {
            SqliteError::Foreign { path, found: "a file, but no database".into() }
        }
        _ => SqliteError::Open { path, source: Box::new(fault) },
    }
}

/// How long to go on trying while others keep the file busy.
struct Until(Instant);

impl Until {
    fn after(span: Duration) -> Until {
        Until(Instant::now() + span)
    }

    fn keep_trying<T>(&self, what: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        Patience { until: self.0, is_over: &|| false }.keep_trying(what)
    }
}

/// How long somebody is ready to wait for a file that others keep busy.
pub(super) struct Patience<'a> {
    /// Until when.
    pub(super) until: Instant,
    /// Whether it has ended before.
    pub(super) is_over: &'a dyn Fn() -> bool,
}

/// The shortest and the longest time between two attempts.
const PAUSES: [u64; 2] = [100, 8_000];

impl Patience<'_> {
    /// Repeats `what` while it meets a busy file. Pauses are random, and double: nobody is served first for being
    /// late, and nobody waits for long because he was unlucky.
    fn keep_trying<T, E: Busy>(&self, mut what: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut pause = PAUSES[0];
        loop {
            let fault = match what() {
                Err(fault) if fault.is_busy() => fault,
                done => return done,
            };
            if Instant::now() >= self.until || (self.is_over)() {
                return Err(fault);
            }
            let random = u64::from(getrandom::u32().unwrap_or(u32::MAX / 2));
            thread::park_timeout(Duration::from_micros(pause / 2 + ((pause * random) >> 32)));
            pause = (pause * 2).min(PAUSES[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries;
    use super::*;
    use crate::engine::{EngineAnswer, EngineOp, Key, Request};
    use crate::store::{Expect, Op};
    use crate::time::Span;
    use rusqlite::StatementStatus;

    fn ask(op: EngineOp) -> Task {
        Task::Request(Request { space: "space".into(), op })
    }

    fn put(key: &str, bytes: usize) -> Task {
        let key = Key::from(key.as_bytes());
        ask(Op::PutIf { key, expect: Expect::Absent, record: "x".repeat(bytes).into(), ttl: None })
    }

    /// One that is dead as soon as the clock moves on.
    fn put_briefly(key: &str) -> Task {
        let (key, ttl) = (Key::from(key.as_bytes()), Some(Span::from_nanos(1)));
        ask(Op::PutIf { key, expect: Expect::Absent, record: "x".into(), ttl })
    }

    fn get(key: &str) -> Task {
        ask(Op::Get { key: Key::from(key.as_bytes()) })
    }

    fn carry_out(file: &mut File, tasks: &[Task]) -> Vec<Option<EngineAnswer>> {
        let patience = Patience { until: Instant::now() + Duration::from_secs(5), is_over: &|| false };
        file.carry_out(tasks, &patience).into_iter().map(|reply| reply.map(|reply| reply.answer)).collect()
    }

    #[test]
    fn on_a_full_disk_what_fits_is_done_and_the_rest_is_unknown_and_undone() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::open(&folder.path().join("store.db"), &SqliteOptions::default()).unwrap();
        let size =
            |file: &File, pages: i64| file.database.pragma_update(None, "max_page_count", pages).unwrap();
        size(&file, 12);
        let answers =
            carry_out(&mut file, &[put("small", 10), put("large", 1 << 20), get("small"), get("large")]);
        assert!(matches!(&answers[0], Some(Answer::Applied(_))), "{answers:?}");
        assert!(answers[1].is_none(), "a refusal would say that another entry is there");
        assert!(matches!(&answers[2], Some(Answer::Found(Some(_)))), "{answers:?}");
        assert_eq!(answers[3], Some(Answer::Found(None)));
        size(&file, 1 << 20);
        let answers = carry_out(&mut file, &[put("large", 1 << 20)]);
        assert!(matches!(&answers[..], [Some(Answer::Applied(_))]), "there is room again");
    }

    #[test]
    fn what_nobody_takes_over_is_cleared_away_as_others_are_written_and_what_lives_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::open(&folder.path().join("store.db"), &SqliteOptions::default()).unwrap();
        // They alternate, in the order of their keys.
        let names: Vec<_> = (100..300).map(|number| format!("{number}")).collect();
        let tasks: Vec<_> = names.chunks(2).flat_map(|two| [put(&two[0], 1), put_briefly(&two[1])]).collect();
        carry_out(&mut file, &tasks);
        let count = |file: &File| -> i64 {
            file.database.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap()
        };
        let mut puts = 0;
        while count(&file) > 100 + puts {
            assert!(puts < 200 / 8, "{} entries are left", count(&file));
            carry_out(&mut file, &[put(&format!("new {puts}"), 1)]);
            puts += 1;
        }
        assert!(puts > 0, "there was something to be cleared away");
        assert_eq!(count(&file), 100 + puts);
        let lives = |name: &String| -> bool {
            matches!(&carry_out(&mut file, &[get(name)])[..], [Some(Answer::Found(Some(_)))])
        };
        assert_eq!(names.iter().map(lives).filter(|lives| *lives).count(), 100);
    }

    #[test]
    fn statements_with_a_limit_are_prepared_once_and_find_where_to_begin() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::open(&folder.path().join("store.db"), &SqliteOptions::default()).unwrap();
        for round in 0..5 {
            let list = Op::List { after: Key::from(*b"b"), limit: 10 + round };
            carry_out(&mut file, &[put(&format!("{round}"), 1), ask(list)]);
        }
        for sql in [entries::WALK, entries::LIST] {
            let statement = file.database.prepare_cached(sql).unwrap();
            let count = |status| statement.get_status(status);
            assert!(count(StatementStatus::Run) >= 5, "{sql} is what was carried out");
            assert_eq!(count(StatementStatus::RePrepare), 0, "{sql} is prepared anew");
            assert_eq!(count(StatementStatus::FullscanStep), 0, "{sql} looks at everything");
        }
    }

    #[test]
    fn a_file_of_the_first_schema_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(SCHEMA).unwrap();
        old.pragma_update(None, "application_id", APPLICATION).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let write = "INSERT INTO entry VALUES ('space', CAST('old' AS BLOB), 1, 'x', 9223372036854775807)";
        old.execute(write, []).unwrap();
        let mut file = File::open(&path, &SqliteOptions::default()).unwrap();
        assert!(matches!(&carry_out(&mut file, &[get("old")])[..], [Some(Answer::Found(Some(_)))]));
        let schema = |database: &Connection| -> Vec<String> {
            let mut names = database.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
            names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let new = File::open(&folder.path().join("new.db"), &SqliteOptions::default()).unwrap();
        assert_eq!(schema(&file.database), schema(&new.database));
    }

    #[test]
    fn hints_are_in_order_and_only_those_that_were_committed() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::open(&folder.path().join("store.db"), &SqliteOptions::default()).unwrap();
        file.execute("BEGIN").unwrap();
        hints::write(&file.database, "space", Some("undone")).unwrap();
        file.execute("ROLLBACK").unwrap();
        assert_eq!(file.news().map(|news| news.newest), Some(0));
        hints::write(&file.database, "space", Some("done")).unwrap();
        assert_eq!(file.news().map(|news| news.newest), Some(1));
        assert_eq!(file.news().map(|news| news.newest), Some(1), "nothing is heard twice");
    }
}
