//! `check` and `explore`: every order of events within bounds.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{Done, Lab, progress, say, write};
use crate::algorithm::Algorithm;
use crate::check::{self, Budget, CheckPlan, Checked, Counterexample, Progress, Ruling, Spend, WISHES};
use crate::report;

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct CheckArgs {
    /// The algorithm, as `list` shows it.
    algorithm: String,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// On how many threads. What is found does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    threads: u16,
    /// Give up after so many states: the check is then incomplete, and proves nothing.
    #[arg(long, value_name = "N", default_value_t = CheckPlan::default().max_states)]
    max_states: usize,
    /// Give up when it takes so much memory: 500M, 8G.
    #[arg(long, value_name = "M", default_value = "8G", value_parser = memory)]
    max_memory: usize,
    /// Go on to the end although something is broken.
    #[arg(long)]
    keep_going: bool,
    /// Where the traces of counterexamples go.
    #[arg(long, default_value = "target/lab", value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct ExploreArgs {
    /// The algorithm, as `list` shows it.
    algorithm: String,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// The port on 127.0.0.1.
    #[arg(long, default_value_t = 3_000, value_name = "PORT")]
    port: u16,
}

/// What is said below the options.
const AFTER: &str = "What is not said is as the algorithm is usually checked: the first line that is printed shows it. As soon as one fault is named, the other faults are zero; --no-faults makes all of them zero. What callers wish stays as it is.";

/// See [`AFTER`].
#[derive(Args)]
struct BoundsArgs {
    /// How many instances: 1 to 3.
    #[arg(long, value_name = "N", help_heading = "Bounds")]
    instances: Option<u32>,
    /// How many ticks an entry lives.
    #[arg(long, value_name = "T", help_heading = "Bounds")]
    ttl: Option<u32>,
    /// How many ticks a message takes at most, one way.
    #[arg(long, value_name = "D", help_heading = "Bounds")]
    delay: Option<u32>,
    /// How many jobs callers schedule, where they do: 1 or 2.
    #[arg(long, value_name = "N", help_heading = "Bounds")]
    jobs: Option<u32>,
    /// Let callers schedule before time passes, or never: what is due then is due together.
    #[arg(long, help_heading = "Bounds")]
    at_once: bool,
    /// Deliver the hints that instances publish.
    #[arg(long, help_heading = "Bounds")]
    hints: bool,
    /// Try each fault by itself: one smaller graph for each. What two faults do together is not seen then.
    #[arg(long, help_heading = "Bounds")]
    apart: bool,
    /// Tell instances apart that could be exchanged: more states, the same verdicts.
    #[arg(long, help_heading = "Bounds")]
    no_symmetry: bool,
    /// Try both orders of steps that come to the same either way: more states, the same verdicts.
    #[arg(long, help_heading = "Bounds")]
    no_reduction: bool,
    /// Judge believed exclusion even while what it assumes is broken, as by a suspended machine's clock.
    #[arg(long, help_heading = "Bounds")]
    strict: bool,
    /// Nothing goes wrong.
    #[arg(long, help_heading = "Faults")]
    no_faults: bool,
    /// How often an instance may stand still for as long as it likes, its clocks going on.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pauses: Option<u8>,
    /// How often an instance may stand still with its clocks.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    suspends: Option<u8>,
    /// How often an instance may die. It may begin again at any time.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    crashes: Option<u8>,
    /// How often a dead instance may begin again under its old identity.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    rejoins: Option<u8>,
    /// How many requests or replies may be lost.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    losses: Option<u8>,
    /// How many requests may be answered by an error, before or after they take effect.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    unknowns: Option<u8>,
    /// How many requests may be doubled.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    duplicates: Option<u8>,
    /// How many messages may take as long as they like.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    stalls: Option<u8>,
    /// How many hints may be lost; see --hints.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    hint_losses: Option<u8>,
    /// How often the store may begin to expire entries a tick early, a tick late, or when it should.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    grains: Option<u8>,
    /// How many ticks clocks may skip, or show double.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    drift: Option<u8>,
    /// How often a wall clock may jump by more than a time to live.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    jumps: Option<u8>,
    /// How often a caller may cancel.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    cancels: Option<u8>,
    /// How often a caller may unlock once too often.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    extra_unlocks: Option<u8>,
    /// How many writes holders may send to the guarded resource.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    writes: Option<u8>,
    /// How often a callback may fail.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    failures: Option<u8>,
    /// How often callers may schedule a job.
    #[arg(long, value_name = "N", help_heading = "Callers")]
    schedules: Option<u8>,
    /// How often callers may schedule a job for another time.
    #[arg(long, value_name = "N", help_heading = "Callers")]
    reschedules: Option<u8>,
    /// How often callers may take a job back.
    #[arg(long, value_name = "N", help_heading = "Callers")]
    withdrawals: Option<u8>,
    /// How often a process may be unfit to lead.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    unfits: Option<u8>,
}

/// The most that a budget may hold: beyond it, nothing ends.
const MOST: u8 = 20;

impl BoundsArgs {
    fn plan(&self, algorithm: &dyn Algorithm) -> Result<CheckPlan, String> {
        let usual = algorithm.check_plan().ok_or_else(|| check::no_ticks(algorithm.card()))?;
        Ok(CheckPlan {
            instances: self.instances.unwrap_or(usual.instances),
            ttl: self.ttl.unwrap_or(usual.ttl),
            delay: self.delay.unwrap_or(usual.delay),
            hints: self.hints || usual.hints,
            jobs: self.jobs.unwrap_or(usual.jobs),
            at_once: self.at_once || usual.at_once,
            budget: self.budget(usual)?,
            apart: self.apart || (usual.apart && !self.names_faults()),
            symmetry: usual.symmetry && !self.no_symmetry,
            reduction: usual.reduction && !self.no_reduction,
            strict: self.strict,
            ..usual.clone()
        })
    }

    /// What is named, and how often it may happen.
    fn named(&self) -> impl Iterator<Item = (Spend, u8)> {
        let given = [
            (Spend::Pause, self.pauses),
            (Spend::Suspend, self.suspends),
            (Spend::Crash, self.crashes),
            (Spend::Rejoin, self.rejoins),
            (Spend::Loss, self.losses),
            (Spend::Unknown, self.unknowns),
            (Spend::Duplicate, self.duplicates),
            (Spend::Stall, self.stalls),
            (Spend::HintLoss, self.hint_losses),
            (Spend::Grain, self.grains),
            (Spend::Drift, self.drift),
            (Spend::Jump, self.jumps),
            (Spend::Cancel, self.cancels),
            (Spend::ExtraUnlock, self.extra_unlocks),
            (Spend::Write, self.writes),
            (Spend::Failure, self.failures),
            (Spend::Schedule, self.schedules),
            (Spend::Reschedule, self.reschedules),
            (Spend::Withdraw, self.withdrawals),
            (Spend::Unfit, self.unfits),
        ];
        given.into_iter().filter_map(|(what, times)| Some((what, times?)))
    }

    fn names_faults(&self) -> bool {
        self.no_faults || self.named().any(|(what, _)| !WISHES.contains(&what))
    }

    fn budget(&self, usual: &CheckPlan) -> Result<Budget, String> {
        let unnamed = if self.names_faults() { usual.wishes() } else { usual.budget };
        self.named().try_fold(unnamed, |budget, (what, times)| {
            if times > MOST {
                return Err(format!("--{} is {times}; accepted are 0 to {MOST}", what.name()));
            }
            Ok(budget.with(what, times))
        })
    }
}

fn memory(text: &str) -> Result<usize, String> {
    let wrong =
        || format!("{text:?} is no amount of memory; accepted are a number and a unit, such as 500M or 8G");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let number: usize = text[..digits].parse().map_err(|_| wrong())?;
    let shift = match &text[digits..] {
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// What is explored, in words.
fn head(verb: &str, algorithm: &dyn Algorithm, plan: &CheckPlan) -> String {
    let faults: Vec<_> = Spend::ALL
        .into_iter()
        .filter(|&what| plan.budget.left(what) > 0)
        .map(|what| format!("{} {}", what.name(), plan.budget.left(what)))
        .collect();
    let faults = if faults.is_empty() { "no faults".to_owned() } else { faults.join(", ") };
    let hints = if plan.hints { " · hints" } else { "" };
    let apart = if plan.apart { ", each by itself" } else { "" };
    let jobs = if plan.jobs > 1 { format!(" · {} jobs", plan.jobs) } else { String::new() };
    format!(
        "{verb} {} · {} instances{jobs} · ttl {}, delay {}{hints} · {faults}{apart}",
        algorithm.card().name,
        plan.instances,
        plan.ttl,
        plan.delay
    )
}

impl Lab {
    pub(super) fn check(&self, args: &CheckArgs, as_json: bool) -> Done {
        let algorithm = self.algorithm(&args.algorithm)?;
        let plan = CheckPlan {
            threads: args.threads.into(),
            max_states: args.max_states,
            max_memory: args.max_memory,
            keep_going: args.keep_going,
            ..args.bounds.plan(algorithm)?
        };
        plan.validate()?;
        std::fs::create_dir_all(&args.out)
            .map_err(|error| format!("cannot make {}: {error}", args.out.display()))?;
        let results = watched(algorithm, &plan, as_json)?;
        let mut files = Vec::new();
        for (number, checked) in results.iter().enumerate() {
            for example in &checked.counterexamples {
                let file = args.out.join(file_name(algorithm, number, results.len(), example));
                write(&file, &example.trace.write())?;
                files.push(file.display().to_string());
            }
        }
        if as_json {
            let told: Vec<_> = results.iter().map(checked_json).collect();
            say(&format!(
                "{}\n",
                json!({ "algorithm": algorithm.card().name, "checks": told, "traces": files })
            ));
        } else {
            let mut files = files.iter();
            for checked in &results {
                let files = files
                    .by_ref()
                    .take(checked.counterexamples.len())
                    .map(String::as_str)
                    .collect::<Vec<_>>();
                say(&report::checked(checked, algorithm.card(), &files, self.command()));
            }
        }
        Ok(exit(&results))
    }

    pub(super) fn explore(&self, args: &ExploreArgs) -> Done {
        let algorithm = self.algorithm(&args.algorithm)?;
        // Instances that change places would confuse whoever looks.
        let plan = CheckPlan { symmetry: false, ..args.bounds.plan(algorithm)? };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
        // The explorer would panic.
        std::net::TcpListener::bind(address)
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        say(&format!(
            "{}\nopen http://{address} in a browser; Ctrl-C ends it\n",
            head("exploring", algorithm, &plan)
        ));
        algorithm.explore(&plan, address)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// 1 if something is broken, 3 if something is open, 0 if all that was asked is proved.
fn exit(results: &[Checked]) -> ExitCode {
    let violated = results.iter().any(Checked::is_violated);
    let proved = results.iter().all(Checked::is_proved);
    ExitCode::from(if violated {
        1
    } else if proved {
        0
    } else {
        3
    })
}

fn file_name(algorithm: &dyn Algorithm, number: usize, of: usize, example: &Counterexample) -> String {
    let name = &algorithm.card().name;
    let short = name.rsplit('/').next().unwrap_or(name);
    let case = if of > 1 { format!("-{}", number + 1) } else { String::new() };
    let defect = example.defect.map_or_else(String::new, |label| format!("-{label}"));
    format!("{short}{case}-check-{}{defect}.jsonl", example.property)
}

/// Checks with a live line, and ends with what is known so far at Ctrl-C.
fn watched(algorithm: &dyn Algorithm, plan: &CheckPlan, quiet: bool) -> Result<Vec<Checked>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let handle = Arc::clone(&stop);
    // A second handler cannot be set where a laboratory runs twice in one process; the first one does no harm.
    let _ = ctrlc::set_handler(move || {
        if handle.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    let head = head("checking", algorithm, plan);
    if !quiet && !std::io::stderr().is_terminal() {
        eprintln!("{head}");
    }
    let bar = progress(quiet, "{spinner} {prefix}   {msg}");
    bar.set_prefix(head);
    bar.enable_steady_tick(Duration::from_millis(100));
    let start = Instant::now();
    let results = algorithm.check(plan, &|progress| {
        bar.set_message(going(progress, start.elapsed()));
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    results
}

fn going(progress: Progress, elapsed: Duration) -> String {
    let rate = progress.states as f64 / elapsed.as_secs_f64().max(1e-3);
    format!(
        "{} states · {} waiting · depth {} · {} states/s · {} MiB",
        report::thousands(progress.states),
        report::thousands(progress.frontier),
        progress.depth,
        report::rate(rate),
        progress.bytes >> 20
    )
}

fn checked_json(checked: &Checked) -> serde_json::Value {
    let rows: Vec<_> = checked
        .rows
        .iter()
        .map(|row| {
            let (verdict, why) = match &row.ruling {
                Ruling::Proved => ("proved", None),
                Ruling::Violated => ("violated", None),
                Ruling::Open => ("open", None),
                Ruling::Unasked(why) => ("not-asked", Some(why)),
            };
            json!({ "property": row.property, "question": row.question, "verdict": verdict, "why": why })
        })
        .collect();
    let examples: Vec<_> = checked
        .counterexamples
        .iter()
        .map(|one| {
            json!({
                "property": one.property, "defect": one.defect, "steps": one.trace.steps.len(),
                "story": one.story.lines,
            })
        })
        .collect();
    json!({
        "case": checked.case, "verdicts": rows, "counterexamples": examples,
        "states": checked.states, "generated": checked.generated, "depth": checked.depth,
        "elapsed_seconds": checked.elapsed.as_secs_f64(), "bytes": checked.bytes,
        "complete": checked.stopped.is_none(), "stopped": checked.stopped.map(|why| why.sentence()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_unit() {
        assert_eq!(memory("500M"), Ok(500 << 20));
        assert_eq!(memory("8G"), Ok(8 << 30));
        for wrong in ["", "8", "G", "0M", "8T", "-1G", "99999999999999999999G"] {
            assert!(memory(wrong).is_err(), "{wrong:?}");
        }
    }
}
