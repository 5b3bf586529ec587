//! The command `fencepost` on a server, as the hosts of a cluster use it: what it does on a file, it does there.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

// The suite of the engines starts it, too; but that depends on this crate, with features that not each of its tests may have.
#[path = "../conformance/src/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it runs a server and waits for it")]
#[allow(clippy::expect_used, reason = "a test without its server proves nothing")]
mod server;
mod shell;

use server::PostgresServer;
use shell::*;

/// Two hosts that share a server.
fn hosts() -> (PostgresServer, [Host; 2]) {
    let server = PostgresServer::start(&["fsync=off"]);
    let hosts = [(); 2].map(|()| Host::with(server.url()));
    (server, hosts)
}

#[test]
fn a_lock_is_taken_shown_released_by_force_and_taken_again() {
    let (server, [one, other]) = hosts();
    let holder = one.holder(&["a", "--as", "bob", "--ttl", "3s"]);
    until("its note can be read", || other.json(&["show", "a"])["entries"][0]["by"] == "bob");
    assert_eq!(other.status(&["lock", "a", "--wait", "no", "--", "true"]), Some(75));
    let listed = other.json(&["ls", "mutex/"]);
    let row = &listed["entries"][0];
    assert_eq!(
        (&row["name"], &row["state"], &row["runs"]),
        (&"mutex/a".into(), &"held".into(), &"sh".into())
    );
    let token = row["token"].as_u64().unwrap();
    let revision = "SELECT revision FROM fencepost.entry WHERE space = 'mutex/a'";
    assert_eq!(server.sql(revision).trim().parse(), Ok(token), "it lies where the docs say");
    let table = out(&other.run(&["ls"]));
    assert!(table.contains("mutex/a") && table.contains("bob"), "{table}");

    let released = other.run(&["release", "a", "--force", "--yes", "--as", "alice"]);
    assert!(err(&released).contains("was released by alice; bob held it"), "{}", err(&released));
    assert_eq!(holder.ended().0, Some(76), "its command has ended, too");
    let script = "echo $FENCEPOST_TOKEN";
    let said = out(&other.run(&["lock", "a", "--", "sh", "-c", script]));
    assert!(said.parse::<u64>().unwrap() > token, "{said}");
    assert_eq!(one.json(&["ls"])["entries"].as_array().map(Vec::len), Some(0), "nothing is left");
    assert_eq!(server.sql("SELECT count(*) FROM fencepost.entry").trim(), "0");
}

#[test]
fn who_waits_on_one_host_enters_when_another_one_leaves() {
    let (_server, [one, other]) = hosts();
    let holder = one.holder(&["a"]);
    let waiter = other.start(&["lock", "a", "--", "echo", "in"]);
    until("it waits", || one.count("waiting") == 1);
    assert_eq!(holder.end().0, Some(0));
    assert_eq!(waiter.ended(), (Some(0), "in\n".into()));
}

#[test]
fn jobs_are_run_once_whichever_host_they_were_asked_on() {
    let (_server, [one, other]) = hosts();
    let tick = |host: &Host| {
        let script = "echo $FENCEPOST_TOKEN $FENCEPOST_OCCURRENCE";
        host.start(&["every", "--interval", "50ms", "--ttl", "3s", "tick", "--", "sh", "-c", script])
    };
    let mut ticking = [tick(&one), tick(&other)];
    let runs =
        |host: &Host| host.json(&["show", "job/tick"])["entries"][0]["record"]["Work"]["runs"].as_u64();
    until("the job was run", || one.run(&["show", "job/tick"]).status.success());
    until("some occurrences were run", || runs(&one) > Some(4));
    let mut lines: Vec<_> = Vec::new();
    for process in &mut ticking {
        process.signal("INT");
    }
    for process in ticking {
        let (status, text) = process.ended();
        assert_eq!(status, Some(130));
        lines.extend(text.lines().map(|line| {
            let (token, occurrence) = line.split_once(' ').unwrap();
            (token.parse::<u64>().unwrap(), occurrence.to_owned())
        }));
    }
    lines.sort();
    assert!(lines.len() > 3 && lines.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1), "{lines:?}");

    let script = "echo $FENCEPOST_KEY $(cat) >> $LOG";
    let runner = one.start(&["once", "run", "mails", "--", "sh", "-c", script]);
    for key in ["1", "2", "3"] {
        let props = format!("{{\"to\":{key}}}");
        assert_eq!(
            other.status(&["once", "schedule", "mails", key, "--in", "1ms", "--props", &props]),
            Some(0)
        );
    }
    until("all are done", || other.count("done") == 3);
    assert_eq!(
        other.status(&["once", "schedule", "mails", "1", "--in", "1h"]),
        Some(0),
        "what is done may be anew"
    );
    assert_eq!(other.status(&["once", "cancel", "mails", "1"]), Some(0));
    runner.signal("TERM");
    assert_eq!(runner.ended().0, Some(143));
    let mut log = one.log();
    log.sort();
    assert_eq!(log, ["1 {\"to\":1}", "2 {\"to\":2}", "3 {\"to\":3}"]);
}

#[test]
fn one_host_leads_and_the_other_one_after_it() {
    let (_server, hosts) = hosts();
    let script = "echo $FENCEPOST_IDENTITY; exec cat";
    let stand = |at: usize| {
        let name = ["a", "b"][at];
        hosts[at].start(&["elect", "--interval", "3s", "--process", name, "boss", "--", "sh", "-c", script])
    };
    let mut first = stand(0);
    assert_eq!(first.line(), "a");
    let mut second = stand(1);
    assert_eq!(hosts[1].json(&["show", "flag/boss"])["entries"][0]["by"], "a");
    first.signal("TERM");
    assert_eq!(first.ended().0, Some(143));
    assert_eq!(second.line(), "b");
    second.signal("INT");
    assert_eq!(second.ended().0, Some(130));
}
