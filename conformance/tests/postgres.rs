//! PostgreSQL honours the contract on a real server, through crashes and pauses, and says what it can about what it needs.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use fencepost::engine::postgres::{PostgresError, PostgresOptions};
use fencepost::engine::{EngineOp, Reply, Request, Responder};
use fencepost::store::{Answer, Entry, Expect, Op, Revision};
use fencepost::time::Span;
use fencepost_conformance::server::PostgresServer;
use fencepost_conformance::{Breach, Caller, Candidate, Exchange, Heard, Postgres, examine, examine_steps};

const PATIENCE: Duration = Duration::from_secs(30);

fn hasty() -> PostgresOptions {
    let mut options = PostgresOptions::default();
    options.call_max = Duration::from_millis(700);
    options
}

fn get(key: &[u8]) -> EngineOp {
    Op::Get { key: key.into() }
}

fn put(key: &[u8], expect: Expect, record: &str) -> EngineOp {
    Op::PutIf { key: key.into(), expect, record: record.into(), ttl: None }
}

#[test]
fn postgres_honours_the_contract() {
    let candidate = Postgres::new(&[], PostgresOptions::default());
    assert_eq!(examine(&candidate), Ok(()));
}

#[test]
fn entries_die_by_the_servers_clock_even_if_that_is_set() {
    let candidate = Postgres::with_clock(&["fsync=off"], PostgresOptions::default());
    assert_eq!(examine_steps(&candidate), Ok(()));
}

#[test]
fn a_server_in_trouble_leaves_things_unknown_and_is_found_again() {
    let candidate = Postgres::new(&[], hasty());
    let caller = Caller::new(&candidate);
    let Answer::Applied(before) = caller.call("a", put(b"a", Expect::Absent, "x")).unwrap().reply.answer
    else {
        panic!("not applied")
    };

    candidate.server().pause();
    let call = caller.call("a", get(b"a")).unwrap();
    assert_eq!(call.reply.answer, Answer::Unknown, "a server that stands still says nothing");
    let waited = call.received - call.sent;
    assert!(waited >= Duration::from_millis(700) && waited < Duration::from_secs(10), "{waited:?}");
    candidate.server().resume();
    let found = caller.insist("a", &get(b"a")).unwrap().answer;
    assert!(matches!(&found, Answer::Found(Some(entry)) if entry.revision == before), "{found:?}");

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fencepost'";
    candidate.server().sql(end);
    assert!(caller.listener.hears(PATIENCE, &Heard::Gap), "whoever could not listen looks around");
    caller.insist("a", &get(b"a")).unwrap();

    candidate.server().sql("DROP SCHEMA fencepost CASCADE");
    let found = caller.insist("a", &get(b"a")).unwrap().answer;
    assert_eq!(found, Answer::Found(None), "what is missing is made anew");
}

/// Keeps the clerk out, does what a fail-over does that loses what was acknowledged and the counter with it, and lets
/// the clerk in again.
fn forget(server: &PostgresServer) {
    server.sql("ALTER ROLE clerk NOLOGIN");
    server.sql("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE usename = 'clerk'");
    server.sql("SELECT setval('fencepost.revision', 1)");
    server.sql("DELETE FROM fencepost.entry");
    server.sql("ALTER ROLE clerk LOGIN");
}

#[test]
fn revisions_go_on_after_a_server_has_lost_its_counter() {
    let candidate = Postgres::new(&["fsync=off"], PostgresOptions::default());
    let server = candidate.server();
    server.sql("CREATE ROLE clerk LOGIN");
    server.sql("CREATE SCHEMA fencepost AUTHORIZATION clerk");
    let engine = candidate.open_at(&server.url_of("clerk", "postgres"), &PostgresOptions::default()).unwrap();
    let caller = Caller::of(engine, PATIENCE);
    let written = || match caller.insist("a", &put(b"a", Expect::Absent, "x")).unwrap().answer {
        Answer::Applied(revision) => revision,
        answer => panic!("{answer:?}"),
    };
    let before = written();
    forget(server);
    let after = written();
    assert!(after > before, "{after:?} after {before:?}");
    // This is what makes it so:
    server.sql("CREATE OR REPLACE FUNCTION fencepost.advance() RETURNS void LANGUAGE sql AS ''");
    forget(server);
    let without = written();
    assert!(without < before, "{without:?} after {after:?}: this test proves nothing");
}

/// Adds to a number until `done`, and holds every answer against what was known before. Returns how many answers were
/// unknown.
fn add(caller: &Caller, done: &AtomicBool, added: &AtomicU64) -> Result<u32, Breach> {
    let (mut known, mut unknown): (Option<Entry<_>>, u32) = (None, 0);
    let mut sum: u64 = 0;
    while !done.load(Ordering::Relaxed) {
        let expect =
            known.as_ref().map_or(Expect::Absent, |entry: &Entry<_>| Expect::Revision(entry.revision));
        let next = (sum + 1).to_string();
        match caller.call("sum", put(b"sum", expect, &next))?.reply.answer {
            Answer::Applied(revision) => {
                known = Some(Entry { revision, record: next.as_str().into() });
                added.fetch_add(1, Ordering::Relaxed);
            }
            // What was unknown has happened after one looked.
            Answer::Refused(Some(found)) if unknown > 0 && *found.record == *next => known = Some(found),
            Answer::Unknown => {
                unknown += 1;
                let Answer::Found(found) = caller.insist("sum", &get(b"sum"))?.answer else { continue };
                let is_written = found.as_ref().is_some_and(|entry| *entry.record == *next);
                assert!(found == known || is_written, "{found:?} after {known:?} and perhaps {next}");
                let newest =
                    |entry: &Option<Entry<_>>| entry.as_ref().map_or(Revision(0), |entry| entry.revision);
                assert!(newest(&found) >= newest(&known), "{found:?} after {known:?}");
                known = found;
            }
            answer => panic!("nobody else writes, but {next} is answered by {answer:?}"),
        }
        sum = known.as_ref().map_or(0, |entry| entry.record.parse().expect("a number"));
    }
    Ok(unknown)
}

#[test]
fn what_was_acknowledged_survives_a_server_that_is_killed() {
    let candidate = Postgres::new(&[], hasty());
    let caller = Caller::new(&candidate);
    let (done, added) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let adding = scope.spawn(|| add(&caller, &done, &added));
        for round in 1..=3 {
            while added.load(Ordering::Relaxed) < 3 * round && !adding.is_finished() {
                let other = caller.insist("other", &get(b"sum")).unwrap().answer;
                assert_eq!(other, Answer::Found(None));
            }
            candidate.server().restart();
        }
        done.store(true, Ordering::Relaxed);
        assert!(adding.join().unwrap().unwrap() > 0, "no answer was unknown while the server was killed");
    });
}

/// What is said about a server that cannot be used.
#[test]
fn renewals_share_commits_and_nothing_overtakes_them_in_their_space() {
    const HELD: usize = 300;
    let mut options = PostgresOptions::default();
    options.connections = 1;
    options.call_max = PATIENCE;
    let candidate = Postgres::new(&["fsync=off"], options);
    let caller = Caller::new(&candidate);
    let take = |number| match caller.call(&format!("held/{number}"), put(b"a", Expect::Absent, "x")) {
        Ok(Exchange { reply: Reply { answer: Answer::Applied(revision), .. }, .. }) => revision,
        other => panic!("{other:?}"),
    };
    let revisions: Vec<Revision> = (0..HELD).map(take).collect();
    let (answer, answered) = channel();
    let submit = |number: usize, op| {
        let answer = answer.clone();
        let to = Responder::new(move |reply| drop(answer.send((number, reply.answer))));
        caller.engine.submit(Request { space: format!("held/{number}").into(), op }, to);
    };
    let renew = |revision| Op::Renew { key: Box::from(*b"a"), revision, ttl: Span::from_secs(60) };

    // Whatever is asked of a server that stands still gathers.
    candidate.server().pause();
    for (number, &revision) in revisions.iter().enumerate() {
        // Every seventh is somebody's who has lost it.
        submit(number, renew(if number % 7 == 3 { Revision(revision.0 - 1) } else { revision }));
    }
    let last = HELD - 1;
    submit(last, Op::DeleteIf { key: Box::from(*b"a"), revision: revisions[last] });
    submit(last, renew(revisions[last]));
    candidate.server().resume();

    let mut answers: Vec<Vec<_>> = vec![Vec::new(); HELD];
    for _ in 0..HELD + 2 {
        let (number, answer) = answered.recv_timeout(PATIENCE).unwrap();
        answers[number].push(answer);
    }
    for (number, answers) in answers.iter().enumerate() {
        let (applied, refused) = (Answer::Applied(revisions[number]), Answer::Refused(None));
        let expected = match number {
            _ if number == last => vec![applied.clone(), applied, refused],
            _ if number % 7 == 3 => vec![refused],
            _ => vec![applied],
        };
        assert_eq!(*answers, expected, "those of {number}");
    }
    let commits = "SELECT count(DISTINCT xmin::text) FROM fencepost.entry WHERE expires < 'infinity'";
    let commits: u32 = candidate.server().sql(commits).trim().parse().unwrap();
    assert!((1..=20).contains(&commits), "{HELD} renewals took {commits} commits");
}

fn refusal(candidate: &Postgres, url: &str, options: &PostgresOptions) -> String {
    candidate.open_at(url, options).expect_err("such a server is refused").to_string()
}

#[test]
fn many_may_make_the_schema_at_once_and_what_cannot_be_a_store_is_refused() {
    let candidate = Postgres::new(&["fsync=off"], PostgresOptions::default());
    let server = candidate.server();
    thread::scope(|scope| {
        let made: Vec<_> = (0..12).map(|_| scope.spawn(|| candidate.open())).collect();
        made.into_iter().for_each(|made| drop(made.join().unwrap()));
    });
    assert_eq!(server.sql("SELECT count(*) FROM fencepost.version"), "1\n");

    let named = |schema: &str| {
        let mut options = hasty();
        options.schema = schema.into();
        options
    };
    let url = server.url();
    let told = refusal(&candidate, &url, &named("Robert'); DROP"));
    assert!(told.contains("schema: Robert") && told.contains("accepted:"), "{told}");
    let told = refusal(&candidate, &format!("{url}?sslmode=verify-ca"), &hasty());
    assert!(told.contains("verify-ca") && told.contains("verify-full"), "{told}");
    let told = refusal(&candidate, &format!("{url}?sslmode=require"), &hasty());
    assert!(told.contains("cannot connect"), "this server has no TLS: {told}");
    let told = refusal(&candidate, "postgres://127.0.0.1:1/nowhere", &hasty());
    assert!(told.contains("127.0.0.1:1/nowhere"), "{told}");

    server.sql("CREATE ROLE clerk LOGIN");
    let clerk = server.url_of("clerk", "postgres");
    let told = refusal(&candidate, &clerk, &named("office"));
    assert!(told.contains("permission denied") && told.contains("42501"), "{told}");
    server.sql("CREATE SCHEMA office AUTHORIZATION clerk");
    drop(candidate.open_at(&clerk, &named("office")).expect("its own schema is enough"));

    server.sql("UPDATE office.version SET version = 7");
    let later = candidate.open_at(&clerk, &named("office"));
    assert!(matches!(later, Err(PostgresError::Newer { found: 7, known: 1, .. })), "{later:?}");

    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let told = refusal(&candidate, &server.url_of("postgres", "latin"), &hasty());
    assert!(told.contains("LATIN1") && told.contains("UTF8"), "{told}");

    server.pause();
    let told = candidate.open_at(&url, &hasty());
    server.resume();
    assert!(matches!(told, Err(PostgresError::TimedOut { .. } | PostgresError::Server { .. })), "{told:?}");
}

#[test]
fn a_host_that_says_nothing_does_not_keep_one_from_the_next() {
    let candidate = Postgres::new(&["fsync=off"], PostgresOptions::default());
    // Who calls is let in by the system, and never served: so is one whose host stands still.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| address.port()).map(|port| (silent, port)).unwrap();
    let port = candidate.server().port();
    let both = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{port}/postgres", silent.1);
    let mut options = PostgresOptions::default();
    options.call_max = Duration::from_secs(4);
    let caller = Caller::of(candidate.open_at(&both, &options).unwrap(), PATIENCE);
    assert!(matches!(
        caller.insist("a", &put(b"a", Expect::Absent, "x")).unwrap().answer,
        Answer::Applied(_)
    ));
    let neither = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:1/postgres", silent.1);
    let told = refusal(&candidate, &neither, &hasty());
    assert!(
        told.contains(&format!("127.0.0.1:{}/postgres: no answer within its share of 700ms;", silent.1)),
        "{told}"
    );
    assert!(told.contains("127.0.0.1:1/postgres: "), "{told}");
}

#[test]
fn only_a_synchronous_server_is_said_to_be_durable() {
    let candidate = Postgres::new(&["synchronous_commit=off"], PostgresOptions::default());
    assert!(!candidate.open().limits().durable);
    candidate.server().sql("ALTER DATABASE postgres SET synchronous_commit = on");
    assert!(candidate.open().limits().durable);
}

fn openssl(folder: &std::path::Path, with: &str) {
    let output = Command::new("openssl").args(with.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is there, as ssl-cert needs it, which postgresql brings along");
    assert!(output.status.success(), "openssl {with}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_connection_is_as_secure_as_the_address_says() {
    let keys = tempfile::tempdir().unwrap();
    openssl(
        keys.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=test",
    );
    openssl(keys.path(), "req -newkey rsa:2048 -nodes -keyout key -out request -subj /CN=test");
    std::fs::write(keys.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        keys.path(),
        "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert -days 9 -extfile names",
    );
    let candidate = Postgres::new(&["fsync=off"], hasty());
    let server = candidate.server();
    server.serve_tls(&keys.path().join("cert"), &keys.path().join("key"));

    let secured = "SELECT count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE ssl AND application_name = 'fencepost'";
    let root = keys.path().join("ca.pem");
    let verified = format!("sslmode=verify-full&sslrootcert={}", root.display());
    for (mode, expected) in [
        ("sslmode=disable", "f\n"),
        ("sslmode=prefer", "t\n"),
        ("sslmode=require", "t\n"),
        (&verified, "t\n"),
    ] {
        let engine = candidate.open_at(&format!("{}?{mode}", server.url()), &hasty()).unwrap();
        assert_eq!(server.sql(secured), expected, "{mode}");
        Caller::of(engine, PATIENCE).close().unwrap();
        while server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fencepost'")
            != "0\n"
        {}
    }
    let stranger = format!("{}?sslmode=verify-full", server.url());
    let told = refusal(&candidate, &stranger, &hasty());
    assert!(
        told.contains("certificate") || told.contains("names nobody"),
        "nobody knows this authority: {told}"
    );
    let elsewhere = format!("{}?{verified}", server.url()).replace("127.0.0.1", "localhost");
    let told = refusal(&candidate, &elsewhere, &hasty());
    assert!(told.contains("certificate"), "the certificate is another host's: {told}");
}
