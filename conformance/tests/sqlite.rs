//! SQLite honours the contract, among processes that are killed too, and says what it can about its file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fencepost::engine::sqlite::{Sqlite as Engine, SqliteError, SqliteOptions, Synchronous};
use fencepost::engine::{Ear, Engine as Handle, Hint, Reply, Request, Responder};
use fencepost::store::{Answer, Expect, Op};
use fencepost_conformance::{Caller, Candidate, Heard, Sqlite, examine};
use rusqlite::Connection;

fn hasty() -> SqliteOptions {
    let mut options = SqliteOptions::default();
    options.synchronous = Synchronous::Normal;
    options.call_max = Duration::from_millis(300);
    options
}

fn put(key: &[u8]) -> fencepost::engine::EngineOp {
    Op::PutIf { key: key.into(), expect: Expect::Absent, record: "x".into(), ttl: None }
}

#[test]
fn sqlite_honours_the_contract() {
    assert_eq!(examine(&Sqlite::new(SqliteOptions::default())), Ok(()));
}

#[test]
fn sqlite_that_syncs_less_honours_the_contract() {
    let mut options = SqliteOptions::default();
    options.synchronous = Synchronous::Normal;
    assert_eq!(examine(&Sqlite::new(options)), Ok(()));
}

/// A scribe writes a line for each addition that was acknowledged.
fn scribe(path: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scribe"));
    command.arg(path).stdout(Stdio::piped()).spawn().expect("a scribe")
}

/// The additions in some of a scribe's lines: the sum, and its revision. The last line may have been cut off.
fn additions(lines: &str) -> Vec<(u64, u64)> {
    let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(a, b)| (a.parse().expect("a number"), b.parse().expect("a number")))
        .collect()
}

#[test]
fn what_was_acknowledged_survives_processes_that_are_killed() {
    let store = Sqlite::new(SqliteOptions::default());
    let mut told = BTreeMap::new();
    for round in 1..=3 {
        let mut scribes: Vec<Child> = (0..3).map(|_| scribe(&store.path())).collect();
        let mut lines = String::new();
        let mut first = BufReader::new(scribes[0].stdout.take().unwrap());
        for _ in 0..30 {
            assert_ne!(first.read_line(&mut lines).unwrap(), 0, "a scribe ended by itself");
        }
        scribes.iter_mut().for_each(|scribe| scribe.kill().unwrap());
        first.read_to_string(&mut lines).unwrap();
        for mut scribe in scribes {
            let mut rest = String::new();
            scribe.stdout.take().map(|mut pipe| pipe.read_to_string(&mut rest).unwrap());
            scribe.wait().unwrap();
            for (sum, revision) in additions(&rest) {
                assert_eq!(told.insert(sum, revision), None, "{sum} was reached twice");
            }
        }
        for (sum, revision) in additions(&lines) {
            assert_eq!(told.insert(sum, revision), None, "{sum} was reached twice");
        }
        let caller = Caller::new(&store);
        let found = caller.insist("scribes", &Op::Get { key: Box::from(*b"sum") }).unwrap().answer;
        let Answer::Found(Some(entry)) = found else { panic!("{found:?}") };
        let (sum, revision) = told.last_key_value().unwrap();
        let now: u64 = entry.record.parse().unwrap();
        assert!(
            now >= *sum && entry.revision.0 >= *revision,
            "round {round}: {entry:?} after {sum}, {revision}"
        );
        // What was written last by each may not have been told any more.
        assert!(
            now <= told.len() as u64 + 3 * round,
            "round {round}: {entry:?}, but only {} were told",
            told.len()
        );
        assert!(told.values().is_sorted(), "revisions and sums grow together: {told:?}");
    }
}

#[test]
fn many_may_make_the_file_at_once() {
    let store = Sqlite::new(SqliteOptions::default());
    thread::scope(|scope| {
        let made: Vec<_> = (0..12).map(|_| scope.spawn(|| store.open())).collect();
        made.into_iter().for_each(|made| drop(made.join().unwrap()));
    });
    assert_eq!(examine(&store), Ok(()));
}

#[test]
fn a_file_that_somebody_holds_is_waited_for_and_then_unknown() {
    let store = Sqlite::new(hasty());
    let caller = Caller::new(&store);
    let holder = Connection::open(store.path()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = caller.call("a", put(b"a")).unwrap();
    assert_eq!(held.reply.answer, Answer::Unknown);
    let waited = held.received - held.sent;
    assert!(waited >= Duration::from_millis(300) && waited < Duration::from_secs(10), "{waited:?}");
    let read = caller.call("a", Op::Get { key: Box::from(*b"a") }).unwrap();
    assert_eq!(read.reply.answer, Answer::Found(None), "readers wait for nobody");
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(caller.insist("a", &put(b"b")).unwrap().answer, Answer::Applied(_)));
}

#[test]
fn a_file_that_was_removed_is_made_anew_and_its_revisions_go_on() {
    let store = Sqlite::new(hasty());
    let [one, other] = [Caller::new(&store), Caller::new(&store)];
    let Answer::Applied(before) = one.call("a", put(b"a")).unwrap().reply.answer else {
        panic!("not applied")
    };
    for file in ["store.db", "store.db-wal", "store.db-shm", "store.db-bell"] {
        std::fs::remove_file(store.path().with_file_name(file)).unwrap();
    }
    // Either it meets the old file, which nobody else would see, or it has noticed before, and writes to the new one.
    match one.call("a", put(b"b")).unwrap().reply.answer {
        Answer::Unknown => {}
        Answer::Applied(revision) => {
            let seen = other.insist("a", &put(b"b")).unwrap().answer;
            assert!(matches!(&seen, Answer::Refused(Some(entry)) if entry.revision == revision), "{seen:?}");
        }
        answer => panic!("{answer:?}"),
    }
    let Answer::Applied(after) = one.insist("a", &put(b"a")).unwrap().answer else { panic!("not applied") };
    assert!(after > before, "{after:?} after {before:?}");
    assert!(one.listener.hears(Duration::from_secs(30), &Heard::Gap));
    assert!(other.listener.hears(Duration::from_secs(30), &Heard::Gap), "an idle one notices, too");
    let seen = other.insist("a", &put(b"a")).unwrap().answer;
    assert!(matches!(&seen, Answer::Refused(Some(entry)) if entry.revision == after), "{seen:?}");
    one.engine.publish("a", "the new bell rings");
    assert!(
        other
            .listener
            .hears(Duration::from_secs(30), &Heard::Message("a".into(), "the new bell rings".into()))
    );
}

/// Asks, and asks again from within the answer as long as nobody knows.
fn insist(engine: &Arc<dyn Handle>, answered: SyncSender<Reply>) {
    let again = engine.clone();
    let responder = Responder::new(move |reply| match reply.answer {
        Answer::Unknown => insist(&again, answered),
        _ => answered.send(reply).unwrap_or_default(),
    });
    engine.submit(Request { space: "a".into(), op: put(b"a") }, responder);
}

#[test]
fn whoever_gets_no_answer_may_ask_again_at_once() {
    let store = Sqlite::new(hasty());
    let engine = store.open();
    std::fs::remove_file(store.path()).unwrap();
    let (answered, answer) = sync_channel(1);
    insist(&engine, answered);
    let reply = answer.recv_timeout(store.patience()).expect("the engine waits for nobody");
    assert!(matches!(reply.answer, Answer::Applied(_)), "{reply:?}");
}

/// Who holds up whoever tells it anything: as a file system does that does not answer.
struct Deaf(Mutex<Receiver<()>>);

impl Ear for Deaf {
    fn hear(&self, _: Hint<'_>) {
        let _ = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
    }
}

#[test]
fn what_takes_too_long_is_given_up_while_the_file_is_stuck() {
    let store = Sqlite::new(hasty());
    let (end, ended) = sync_channel::<()>(0);
    let caller = Caller::of(store.open(), store.patience());
    caller.engine.listen(Arc::new(Deaf(Mutex::new(ended))));
    caller.engine.publish("a", "this is what it is stuck at");
    // The first one may be answered before.
    let unknown = (0..).map(|key: u8| caller.call("a", put(&[key])).unwrap().reply.answer);
    assert_eq!(unknown.take(100).find(|answer| *answer == Answer::Unknown), Some(Answer::Unknown));
    let late = caller.call("a", put(b"late")).unwrap().reply.answer;
    assert_eq!(late, Answer::Unknown, "it is stuck still");
    drop(end);
    assert!(matches!(caller.insist("a", &put(b"b")).unwrap().answer, Answer::Applied(_)), "it goes on");
    let found = caller.insist("a", &Op::Get { key: Box::from(*b"late") }).unwrap().answer;
    assert_eq!(found, Answer::Found(None), "what was given up before it was begun is not done later");
}

/// What is said about a file that cannot be used.
fn refusal(path: &Path) -> SqliteError {
    Engine::open(path, &hasty()).expect_err("such a file is refused")
}

#[test]
fn what_cannot_be_a_store_is_refused_at_once_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);

    std::fs::write(at("letter"), "Dear reader, ".repeat(500)).unwrap();
    assert!(matches!(refusal(&at("letter")), SqliteError::Foreign { .. }));

    Connection::open(at("books")).unwrap().execute_batch("CREATE TABLE book (title TEXT)").unwrap();
    let told = refusal(&at("books")).to_string();
    assert!(told.contains("not a store of fencepost") && told.contains("1 tables"), "{told}");
    let mode: String = Connection::open(at("books"))
        .unwrap()
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete", "somebody else's database keeps its mode");

    drop(Engine::open(at("later"), &hasty()).unwrap());
    Connection::open(at("later")).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let told = refusal(&at("later")).to_string();
    assert!(told.contains("has schema 7") && told.contains("up to 2"), "{told}");

    assert!(matches!(refusal(folder.path()), SqliteError::Open { .. }));
    assert!(matches!(refusal(&at("nowhere/store")), SqliteError::Open { .. }));
    assert!(matches!(
        refusal(Path::new("/proc/version")),
        SqliteError::Open { .. } | SqliteError::Foreign { .. }
    ));
    assert!(
        matches!(refusal(Path::new(":memory:")), SqliteError::Foreign { .. }),
        "it would be shared with nobody"
    );

    drop(Engine::open(at("held"), &hasty()).unwrap());
    let holder = Connection::open(at("new")).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(matches!(refusal(&at("new")), SqliteError::Busy { .. }));
}
