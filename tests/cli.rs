//! The command `fencepost`, as a shell sees it: real processes on a store in a file.
#![cfg(feature = "cli")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "these tests run processes and wait for them"
)]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod shell;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use fencepost::driver::blocking;
use fencepost::locker::{Bid, LockKey, LockerConfig};
use serde_json::Value;
use shell::*;

#[test]
fn the_status_of_the_command_is_passed_on() {
    let host = Host::new();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(host.status(&["lock", "a", "--", "sh", "-c", script]), Some(status), "{script}");
    }
    assert_eq!(host.status(&["lock", "a", "--", "no-such-program"]), Some(127));
    assert_eq!(host.status(&["lock", "a", "--", "/dev/null"]), Some(126));
    assert_eq!(host.count("held"), 0, "each has released it");
}

#[test]
fn the_command_finds_key_identity_and_a_token_that_grows() {
    let host = Host::new();
    let script = "echo $FENCEPOST_KEY $FENCEPOST_IDENTITY $FENCEPOST_TOKEN";
    let mut last = 0;
    for _ in 0..3 {
        let said = out(&host.run(&["lock", "reports", "--as", "alice", "--", "sh", "-c", script]));
        let token = said.strip_prefix("reports alice ").unwrap().parse::<u64>().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

#[test]
fn who_comes_second_waits_or_does_not() {
    let host = Host::new();
    let holder = host.holder(&["a"]);
    let waiter = host.start(&["lock", "a", "--", "echo", "in"]);
    until("the second one waits", || host.count("waiting") == 1);
    for wait in ["no", "50ms"] {
        let output = host.run(&["lock", "a", "--wait", wait, "--", "echo", "in"]);
        assert_eq!((output.status.code(), out(&output)), (Some(75), String::new()), "{wait}");
        assert!(err(&output).contains("mutex/a"), "{}", err(&output));
    }
    assert_eq!(holder.end().0, Some(0));
    assert_eq!(waiter.ended(), (Some(0), "in\n".into()));
}

#[test]
fn who_is_interrupted_while_he_waits_leaves_nothing_behind() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let host = Host::new();
        let holder = host.holder(&["a"]);
        let waiter = host.start(&["lock", "a", "--", "echo", "in"]);
        until("it waits", || host.count("waiting") == 1);
        waiter.signal(signal);
        assert_eq!(waiter.ended(), (Some(status), String::new()));
        assert_eq!((host.count("waiting"), host.count("held")), (0, 1));
        assert_eq!(holder.end().0, Some(0));
        assert_eq!(host.status(&["lock", "a", "--wait", "no", "--", "true"]), Some(0));
    }
}

#[test]
fn signals_are_passed_to_the_command_and_its_children() {
    let host = Host::new();
    // A shell loses what it is told between fork and exec, so the one in the background speaks for itself.
    let script = "trap 'exit 9' TERM; sh -c 'echo held; exec sleep 600' & wait";
    let mut holder = host.start(&["lock", "a", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "held");
    holder.signal("TERM");
    assert_eq!(holder.ended().0, Some(9));
    assert_eq!(host.count("held"), 0);
}

#[test]
fn what_only_the_command_may_understand_is_passed_to_it() {
    let host = Host::new();
    let script = "trap 'echo one' USR1; trap 'exit 8' USR2; echo held; while :; do sleep 0.01; done";
    let mut holder = host.start(&["lock", "a", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "held");
    holder.signal("USR1");
    assert_eq!(holder.line(), "one");
    holder.signal("USR2");
    assert_eq!(holder.ended().0, Some(8));
    let holder = host.holder(&["a"]);
    holder.signal("QUIT");
    assert_eq!(holder.ended().0, Some(131));
    assert_eq!(host.count("held"), 0);
}

#[test]
fn whoever_is_out_of_patience_waits_for_the_command_no_longer() {
    let host = Host::new();
    for verb in [&["lock"][..], &["elect", "--interval", "3s"]] {
        let script = "trap '' TERM; echo held; while :; do sleep 600 & wait; done";
        let mut holder = host.start(&[verb, &["a", "--", "sh", "-c", script]].concat());
        assert_eq!(holder.line(), "held");
        holder.signal("TERM");
        assert_eq!(host.count("held") + host.count("led"), 1, "{verb:?} waits for it");
        until("it waits no longer", || {
            holder.signal("TERM");
            holder.process.try_wait().unwrap().is_some()
        });
        assert!(matches!(holder.ended().0, Some(137 | 143)), "{verb:?}");
        assert_eq!(host.count("held") + host.count("led"), 0, "{verb:?}");
    }
}

#[test]
fn what_the_command_has_started_does_not_outlive_the_lock() {
    let host = Host::new();
    let script = "sh -c 'trap \"\" TERM; echo held; while :; do sleep 600 & wait; done' & wait";
    let mut holder = host.start(&["lock", "a", "--ttl", "9s", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "held");
    assert_eq!(host.status(&["release", "a", "--force", "--yes"]), Some(0));
    assert_eq!(holder.ended(), (Some(76), String::new()), "nobody else has its standard output open");
}

#[test]
fn what_the_command_has_started_has_the_grace_as_well() {
    let host = Host::new();
    let script =
        "sh -c 'trap \"sleep 0.2; echo ended; exit\" TERM; echo held; while :; do sleep 0.01; done' & wait";
    let mut job = host.start(&["every", "--interval", "1h", "j", "--ttl", "60s", "--", "sh", "-c", script]);
    assert_eq!(job.line(), "held");
    job.signal("TERM");
    assert_eq!(job.ended(), (Some(143), "ended\n".into()));
}

#[test]
fn a_signal_that_is_news_is_passed_on_however_often_it_comes() {
    let host = Host::new();
    let script = "trap 'echo again' HUP; trap 'exit 7' TERM; echo held; while :; do sleep 0.01; done";
    let mut holder = host.start(&["lock", "a", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "held");
    for _ in 0..2 {
        holder.signal("HUP");
        assert_eq!(holder.line(), "again");
        std::thread::park_timeout(Duration::from_millis(600));
    }
    holder.signal("TERM");
    assert_eq!(holder.ended().0, Some(7), "the first of its kind kills nobody");
}

#[test]
fn who_loses_the_lock_ends() {
    for (on_loss, status) in [("signal", 76), ("kill", 76)] {
        let host = Host::new();
        let holder = host.holder(&["a", "--ttl", "1s", "--on-loss", on_loss]);
        assert_eq!(host.status(&["release", "a", "--force", "--yes"]), Some(0));
        assert_eq!(holder.ended().0, Some(status), "{on_loss}");
    }
}

#[test]
fn who_ignores_term_is_killed_after_the_grace() {
    let host = Host::new();
    let script = "trap '' TERM; echo held; while :; do sleep 600 & wait; done";
    let mut holder = host.start(&["lock", "a", "--ttl", "1s", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "held");
    assert_eq!(host.status(&["release", "a", "--force", "--yes"]), Some(0));
    assert_eq!(holder.ended().0, Some(76));
}

#[test]
fn who_ignores_the_loss_goes_on() {
    let host = Host::new();
    let mut command =
        host.command(&["lock", "a", "--ttl", "1s", "--on-loss", "ignore", "--json", "--", "cat"]);
    let mut holder = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(holder.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(events.next().unwrap().contains("acquired"));
    assert_eq!(host.status(&["release", "a", "--force", "--yes"]), Some(0));
    assert!(events.next().unwrap().contains("lost"));
    drop(holder.stdin.take());
    assert_eq!(holder.wait().unwrap().code(), Some(0));
}

#[test]
fn a_holder_that_slept_beyond_its_lease_ends_its_command() {
    let host = Host::new();
    let holder = host.holder(&["a", "--ttl", "2s", "--as", "bob"]);
    // Who is stopped in the middle of a transaction keeps the file from everybody; from here on, it only renews.
    until("its note can be read", || host.json(&["show", "a"])["entries"][0]["by"] == "bob");
    holder.signal("STOP");
    let successor = host.run(&["lock", "a", "--wait", "60s", "--", "echo", "in"]);
    assert_eq!((successor.status.code(), out(&successor)), (Some(0), "in".into()));
    holder.signal("CONT");
    assert_eq!(holder.ended().0, Some(76), "its command has ended, too, or this would not end");
}

#[test]
fn a_release_says_who_held_it_and_takes_nothing_from_anybody_else() {
    let host = Host::new();
    assert_eq!(host.status(&["lock", "a", "--", "true"]), Some(0));
    assert_eq!(host.status(&["release", "a", "--force", "--yes"]), Some(66), "nobody holds it");
    let holder = host.holder(&["a", "--as", "bob"]);
    until("its note can be read", || host.json(&["show", "a"])["entries"][0]["by"] == "bob");
    let unasked = host.run(&["release", "a", "--force"]);
    assert_eq!(unasked.status.code(), Some(64));
    assert!(err(&unasked).contains("accepted: --yes"), "{}", err(&unasked));
    assert_eq!(host.status(&["release", "a", "--yes"]), Some(64), "--force is to be said");
    assert_eq!(host.count("held"), 1);
    let released = host.run(&["release", "mutex/a", "--force", "--yes", "--as", "alice"]);
    assert_eq!(released.status.code(), Some(0));
    assert!(err(&released).contains("was released by alice; bob held it"), "{}", err(&released));
    let _ = holder.end();
}

#[test]
fn each_occurrence_is_run_by_one_of_three_processes_once() {
    let host = Host::new();
    let script = "echo $FENCEPOST_TOKEN $FENCEPOST_OCCURRENCE >> $LOG";
    let args = ["every", "--interval", "50ms", "--ttl", "3s", "tick", "--", "sh", "-c", script];
    let processes = [host.start(&args), host.start(&args), host.start(&args)];
    until("six occurrences were run", || host.log().len() >= 6);
    for process in processes {
        process.signal("INT");
        assert_eq!(process.ended().0, Some(130));
    }
    let log = host.log();
    let token = |line: &String| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(log.windows(2).all(|pair| token(&pair[0]) < token(&pair[1])), "{log:?}");
    let occurrence = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
    assert!(log.windows(2).all(|pair| occurrence(&pair[0]) < occurrence(&pair[1])), "{log:?}");
    let runs = host.json(&["show", "job/tick"])["entries"][0]["record"]["Work"]["runs"].as_u64().unwrap();
    // Who was interrupted may have claimed an occurrence whose command wrote nothing any more.
    assert!((0..=3).contains(&(runs - log.len() as u64)), "{runs} runs, {log:?}");
}

#[test]
fn occurrences_that_are_not_run_are_told() {
    let host = Host::new();
    let script = "if [ -e $LOG ]; then kill -INT $PPID; else touch $LOG; sleep 2.5; fi";
    let ended = host.run(&["every", "* * * * * *", "tick", "--json", "--", "sh", "-c", script]);
    let told: Vec<Value> = err(&ended).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let dropped = told.iter().find(|told| told["event"] == "dropped").expect("two seconds passed by");
    assert!(dropped["skipped"].as_u64().unwrap() >= 2, "{dropped}");
}

#[test]
fn each_job_is_run_by_one_of_three_runners_once() {
    let host = Host::new();
    let script = "echo $FENCEPOST_SCHEDULER $FENCEPOST_KEY $FENCEPOST_ATTEMPT $(cat) >> $LOG";
    let args = ["once", "run", "mails", "--", "sh", "-c", script];
    let runners = [host.start(&args), host.start(&args), host.start(&args)];
    for key in ["1", "2", "3", "4", "5"] {
        let props = format!("{{\"to\":{key}}}");
        assert_eq!(
            host.status(&["once", "schedule", "mails", key, "--in", "1ms", "--props", &props]),
            Some(0)
        );
    }
    until("all are done", || host.count("done") == 5);
    for runner in runners {
        runner.signal("TERM");
        assert_eq!(runner.ended().0, Some(143));
    }
    let mut log = host.log();
    log.sort();
    let expected: Vec<_> = (1..=5).map(|key| format!("mails {key} 1 {{\"to\":{key}}}")).collect();
    assert_eq!(log, expected);
}

#[test]
fn a_job_that_fails_is_tried_again_if_that_was_asked_for() {
    let host = Host::new();
    let script = "echo $FENCEPOST_ATTEMPT >> $LOG; test $FENCEPOST_ATTEMPT = 3";
    let args =
        ["once", "run", "a", "--delivery", "at-least-once", "--backoff", "1ms", "--", "sh", "-c", script];
    let runner = host.start(&args);
    assert_eq!(host.status(&["once", "schedule", "a", "k", "--at", "2026-01-01T00:00Z"]), Some(0));
    until("it is done", || host.count("done") == 1);
    assert_eq!(host.log(), ["1", "2", "3"]);
    drop(runner);
}

#[test]
fn jobs_are_scheduled_listed_and_cancelled() {
    let host = Host::new();
    let schedule = |verb, at: &[&str]| host.status(&[&["once", verb, "mails", "k"], at].concat());
    assert_eq!(schedule("reschedule", &["--in", "1h"]), Some(66), "there is nothing yet");
    assert_eq!(
        schedule("schedule", &["--at", "2126-12-24T18:00", "--tz", "Europe/Berlin", "--props", "17"]),
        Some(0)
    );
    assert_eq!(schedule("schedule", &["--in", "1h"]), Some(73), "it is taken");
    let listed = host.json(&["once", "list", "mails"]);
    let row = &listed["entries"][0];
    assert_eq!((&row["job"], &row["state"]), (&"k".into(), &"scheduled".into()));
    assert_eq!((&row["due"], &row["record"]["props"]), (&"2126-12-24T17:00:00.000Z".into(), &17.into()));
    assert_eq!(schedule("reschedule", &["--at", "2127-12-24T17:00Z"]), Some(0));
    assert_eq!(host.json(&["once", "list", "mails"])["entries"][0]["record"]["props"], 17);
    assert_eq!(host.status(&["once", "cancel", "mails", "k"]), Some(0));
    assert_eq!(host.json(&["once", "list", "mails"])["entries"][0]["state"], "cancelled");
    assert_eq!(host.status(&["once", "cancel", "mails", "k"]), Some(66));
}

#[test]
fn one_leads_and_the_next_one_leads_when_it_has_gone() {
    let host = Host::new();
    let stand = |name| {
        host.start(&[
            "elect",
            "--interval",
            "3s",
            "--process",
            name,
            "boss",
            "--",
            "sh",
            "-c",
            "echo $FENCEPOST_IDENTITY $FENCEPOST_TOKEN; exec cat",
        ])
    };
    let mut first = stand("a");
    let (name, token) = first
        .line()
        .split_once(' ')
        .map(|(name, token)| (name.to_owned(), token.parse::<u64>().unwrap()))
        .unwrap();
    assert_eq!(name, "a");
    let mut second = stand("b");
    let shown = host.json(&["show", "flag/boss"]);
    assert_eq!((&shown["entries"][0]["by"], &shown["entries"][0]["state"]), (&"a".into(), &"led".into()));
    first.signal("TERM");
    assert_eq!(first.ended().0, Some(143));
    let line = second.line();
    assert!(line.strip_prefix("b ").is_some_and(|later| later.parse::<u64>().unwrap() > token), "{line}");
    second.signal("INT");
    assert_eq!(second.ended().0, Some(130));
    assert_eq!(host.status(&["elect", "--once", "boss", "--", "sh", "-c", "exit 3"]), Some(3));
}

#[test]
fn everything_can_be_shown_under_the_name_that_it_is_listed_under() {
    let host = Host::new();
    for key in ["c", "d"] {
        assert_eq!(host.status(&["once", "schedule", "mails", key, "--in", "1h"]), Some(0));
    }
    let shown = |name: &str| host.json(&["show", name])["entries"].as_array().unwrap().clone();
    assert_eq!(shown("mails").len(), 2);
    assert_eq!((shown("once/mails c").len(), &shown("once/mails c")[0]["job"]), (1, &"c".into()));
    // One's full name is the other's key: whoever says it means the former.
    let (_one, _other) = (host.holder(&["x"]), host.holder(&["mutex/x"]));
    assert_eq!(shown("mutex/x").len(), 1);
    assert_eq!(host.status(&["release", "mutex/x", "--force", "--yes"]), Some(0));
    assert_eq!(shown("mutex/mutex/x")[0]["state"], "held");

    let store = blocking::Store::open(host.store()).unwrap();
    let key = LockKey::tuple(["acme".into(), 1.into()]);
    let locker = blocking::Locker::new(&store, key, LockerConfig::default()).unwrap();
    let _guard = locker.lock(Bid::new("to deploy")).unwrap();
    let row = &shown("locker/(\"acme\",1)")[0];
    assert_eq!((&row["state"], row["token"].is_u64()), (&"held".into(), true));
    assert_eq!(host.status(&["release", "locker/(\"acme\",1)", "--force", "--yes"]), Some(0));
}

#[test]
fn a_leader_whose_command_ends_stands_again() {
    let host = Host::new();
    let script = "echo $FENCEPOST_TOKEN >> $LOG";
    let leader = host.start(&["elect", "--quiet", "--pause", "1ms", "boss", "--", "sh", "-c", script]);
    until("it has led twice", || host.log().len() >= 2);
    leader.signal("INT");
    assert_eq!(leader.ended().0, Some(130));
    let log = host.log();
    assert!(log[0].parse::<u64>().unwrap() < log[1].parse::<u64>().unwrap(), "each time under a new token");
}

#[test]
fn what_is_shown_as_json_has_these_shapes() {
    let host = Host::new();
    assert_eq!(host.status(&["lock", "--", "true"]), Some(64), "the key is missing");
    let holder = host.holder(&["a", "--as", "bob"]);
    until("its note can be read", || host.json(&["ls"])["entries"][0]["by"] == "bob");
    let object = host.json(&["ls", "mutex/"]);
    let row = object["entries"][0].as_object().unwrap();
    let names: Vec<_> = row.keys().map(String::as_str).collect();
    assert_eq!(names, ["by", "name", "record", "runs", "state", "token", "until"]);
    assert_eq!(
        (&row["name"], &row["runs"], &row["state"]),
        (&"mutex/a".into(), &"sh".into(), &"held".into())
    );
    assert!(object["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert_eq!(host.json(&["ls", "job/"])["entries"], Value::Array(Vec::new()));
    let shown = host.json(&["show", "mutex/a"]);
    assert_eq!(shown["entries"][0]["revision"], row["token"], "the token is the revision of the lock");
    let table = out(&host.run(&["ls"]));
    let (head, line) = table.split_once('\n').unwrap();
    assert!(head.starts_with("NAME") && line.starts_with("mutex/a  held") && line.contains("bob"), "{table}");
    let refused = host.run(&["lock", "a", "--wait", "no", "--json", "--", "true"]);
    let said: Value = serde_json::from_str(&err(&refused)).unwrap();
    assert_eq!((&said["event"], &said["status"]), (&"failed".into(), &75.into()));
    let _ = holder.end();
}

#[test]
fn what_makes_no_sense_is_told_in_one_line_what_would() {
    let host = Host::new();
    let nowhere = format!("sqlite:{}", host.path("nowhere.db").display());
    let no_folder = format!("sqlite:{}", host.path("no/such/folder.db").display());
    assert_eq!(host.status(&["lock", "a", "--", "true"]), Some(0));
    let table: &[(&[&str], i32, &str)] = &[
        (&["lock", "a"], 64, "COMMAND"),
        (&["lock", "", "--", "true"], 64, "a value is required"),
        (&["lock", "a", "--ttl", "15", "--", "true"], 64, "such as 500ms, 15s, 5m or 1h30m"),
        (&["lock", "a", "--wait", "maybe", "--", "true"], 64, "or forever, or no"),
        (&["lock", "a", "--on-loss", "panic", "--", "true"], 64, "possible values: signal, kill, ignore"),
        (&["lock", "a", "--grace", "10s", "--", "true"], 64, "accepted: less than half of that"),
        (
            &["lock", "a", "--store", "redis://user:secret@h", "--", "true"],
            64,
            "redis: is no address of a store",
        ),
        (
            &["lock", "a", "--store", "sqlite:x?mode=ro", "--", "true"],
            64,
            "accepted: synchronous, call_max, poll",
        ),
        (&["lock", "a", "--store", &no_folder, "--", "true"], 69, "cannot open"),
        (&["lock", "a", "--store", "postgres://127.0.0.1:1/x", "--", "true"], 69, "cannot connect"),
        (
            &["lock", "a", "--store", "memory:", "--", "true"],
            64,
            "keeps nobody else out; accepted: sqlite:PATH",
        ),
        (&["ls", "--store", "sqlite:"], 64, "sqlite: without a path is no address"),
        (&["ls", "--store", ""], 64, "the address of the store is empty"),
        (&["ls", "--store", "postgres://"], 64, "no host"),
        (&["ls", "--store", "postgres://h/d?colour=red"], 64, "colour"),
        (&["lock", "a", "--ttl", "2000000h", "--", "true"], 64, "a century at most"),
        (&["show", "\u{1b}[31m"], 66, "nothing is kept of"),
        (&["ls", "--store", &nowhere], 66, "there is no store at"),
        (&["show", "nothing"], 66, "nothing is kept of \"nothing\""),
        (&["every", "a", "--", "true"], 64, "one argument is given; accepted: a cron expression"),
        (&["every", "--interval", "5m", "* * * * *", "a", "--", "true"], 64, "accepted: one of them"),
        (&["every", "61 * * * *", "a", "--", "true"], 64, "61"),
        (&["every", "--tz", "Mars/Olympus", "* * * * *", "a", "--", "true"], 64, "IANA"),
        (&["every", "--misfire", "never", "* * * * *", "a", "--", "true"], 64, "or skip, or run-once"),
        (&["once", "schedule", "s", "k"], 64, "--at"),
        (
            &["once", "schedule", "s", "k", "--in", "1s", "--at", "2026-01-01T00:00Z"],
            64,
            "cannot be used with",
        ),
        (&["once", "schedule", "s", "k", "--at", "2026-01-01T00:00"], 64, "or one without, and --tz"),
        (&["once", "schedule", "s", "k", "--in", "1s", "--props", "{"], 64, "--props is no JSON"),
        (&["once", "schedule", "s", "", "--in", "1s"], 64, "the key of a job is empty"),
        (&["once", "cancel", "s", "k"], 66, "nothing that could be changed is kept under k"),
        (&["release", "a", "--yes"], 64, "--force"),
        (&["frobnicate"], 64, "frobnicate"),
    ];
    for (args, status, told) in table {
        let output = host.run(args);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(*status), "{args:?}: {said}");
        assert!(said.contains(told) && !said.contains("secret"), "{args:?}: {said}");
        assert!(said.starts_with("fencepost: ") && said.lines().count() == 1, "{args:?}: {said}");
    }
    assert!(!host.path("nowhere.db").exists(), "who only looks makes nothing");
}

#[test]
fn the_help_has_every_verb_examples_and_statuses() {
    let host = Host::new();
    let help = out(&host.run(&["--help"]));
    for told in
        ["lock", "elect", "every", "once", "ls", "show", "release", "Examples:", "Exit status:", "128+N"]
    {
        assert!(help.contains(told), "{told} is missing");
    }
    for verb in ["lock", "elect", "every", "show", "release"] {
        let output = host.run(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("Exit status"), "{verb}");
    }
}

#[test]
fn every_verb_has_a_manual_page_and_shells_can_complete() {
    let host = Host::new();
    let page = out(&host.run(&["man"]));
    for told in [".TH fencepost 1", ".SH EXAMPLES", ".SH ENVIRONMENT", ".SH \"EXIT STATUS\"", "128+N"] {
        assert!(page.contains(told), "{told} is missing in:\n{page}");
    }
    let folder = host.path("man1");
    let into = folder.display().to_string();
    let refused = host.run(&["man", "--into", &into]);
    assert_eq!(refused.status.code(), Some(71));
    assert!(err(&refused).contains(&into), "{}", err(&refused));
    fs::create_dir(&folder).unwrap();
    assert_eq!(host.status(&["man", "--into", &into]), Some(0));
    for page in ["fencepost.1", "fencepost-lock.1", "fencepost-once-schedule.1"] {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains("EXIT STATUS") && !text.contains("EXTRA"), "{page}:\n{text}");
    }
    assert!(out(&host.run(&["completions", "bash"])).contains("_fencepost()"));
    assert_eq!(host.status(&["completions", "cmd"]), Some(64));
}

#[test]
fn torture_is_handed_over_to_the_program_beside() {
    let host = Host::new();
    let own = host.path("fencepost");
    fs::copy(env!("CARGO_BIN_EXE_fencepost"), &own).unwrap();
    let torture =
        || Command::new(&own).args(["torture", "--help", "--seed", "7"]).env("PATH", "").output().unwrap();
    let missing = torture();
    assert_eq!(missing.status.code(), Some(127));
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains("cannot run fencepost-torture") && said.contains("cargo install"), "{said}");

    let beside = host.path("fencepost-torture");
    fs::write(&beside, "#!/bin/sh\necho \"$@\"\nexit 3\n").unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    let found = torture();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "--help --seed 7\n", "it says itself what it can do");
    assert_eq!(found.status.code(), Some(3));
}
