//! `hunt`: many seeds of one algorithm, or of all that are expected to be clean.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use fencepost_models::property::Property;
use fencepost_models::trace::hash_name;
use serde_json::json;

use super::{Done, Lab, ShapeArgs, duration, ledger_json, progress, say, verdict, write};
use crate::algorithm::Algorithm;
use crate::hunt::{Find, Hunt, Report, Watch, hunt};
use crate::report;
use crate::scenario::Shape;

/// The name that stands for every algorithm that is expected to be clean.
const ALL: &str = "all";

#[derive(Args)]
pub(super) struct HuntArgs {
    /// The algorithm, as `list` shows it; or all: one after the other, every one that is expected to be clean.
    #[arg(value_name = "ALGORITHM|all")]
    algorithm: String,
    /// How many seeds to run, of each algorithm.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Run as many seeds as fit into this time instead, all algorithms together: 30s, 5m, 1h.
    #[arg(long = "for", value_name = "TIME", conflicts_with = "seeds", value_parser = duration)]
    lasting: Option<Duration>,
    /// The first seed.
    #[arg(long, default_value_t = 1, value_name = "S")]
    from_seed: u64,
    #[command(flatten)]
    shape: ShapeArgs,
    /// On how many threads; all cores, if not said. What is found does not depend on it.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Where shrunk traces go.
    #[arg(long, default_value = "target/lab", value_name = "DIR")]
    out: PathBuf,
    /// Show the ledger of faults: configured, fired, observed.
    #[arg(long)]
    ledger: bool,
}

impl Lab {
    pub(super) fn hunt(&self, args: &HuntArgs, as_json: bool) -> Done {
        let shape = args.shape.shape()?;
        let stop = stop_at_interrupt();
        if args.algorithm == ALL {
            return self.hunt_all(args, &shape, &stop, as_json);
        }
        let algorithm = self.algorithm(&args.algorithm)?;
        let (report, files) = self.hunt_one(algorithm, args, &shape, args.lasting, &stop, as_json)?;
        if as_json {
            say(&format!("{}\n", report_json(&report, &files)));
            return Ok(verdict(report.is_clean()));
        }
        say(&stories(algorithm, &report, &files));
        if args.ledger {
            say(&format!("\n{}", report::ledger(&report.ledger, report.seeds)));
        }
        let unproven = report.ledger.unproven();
        if !unproven.is_empty() {
            say(&format!("\nconfigured but never observed: {}\n", report::fault_names(unproven)));
        }
        say(&report::summary(&report, algorithm.card()));
        Ok(verdict(report.is_clean()))
    }

    /// One after the other, each with an equal part of what is left of the time.
    fn hunt_all(&self, args: &HuntArgs, shape: &Shape, stop: &Arc<AtomicBool>, as_json: bool) -> Done {
        let ours: Vec<_> = self.algorithms().filter(|one| one.card().defects.is_empty()).collect();
        if ours.is_empty() {
            return Err("no algorithm here is expected to be clean; name one that `list` shows".to_owned());
        }
        let begun = std::time::Instant::now();
        let mut told = Vec::new();
        let mut clean = true;
        for (index, &algorithm) in ours.iter().enumerate() {
            let left = args.lasting.map(|time| time.saturating_sub(begun.elapsed()));
            let share = left.map(|left| left / (ours.len() - index) as u32);
            let (report, files) = self.hunt_one(algorithm, args, shape, share, stop, as_json)?;
            clean &= report.is_clean();
            if as_json {
                told.push(report_json(&report, &files));
            } else {
                say(&stories(algorithm, &report, &files));
                say(&report::brief(&report));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        if as_json {
            let interrupted = stop.load(Ordering::Relaxed);
            say(&format!("{}\n", json!({ "hunts": told, "clean": clean, "interrupted": interrupted })));
        }
        Ok(verdict(clean))
    }

    fn hunt_one(
        &self,
        algorithm: &dyn Algorithm,
        args: &HuntArgs,
        shape: &Shape,
        lasting: Option<Duration>,
        stop: &Arc<AtomicBool>,
        quiet: bool,
    ) -> Result<(Report, Vec<String>), String> {
        std::fs::create_dir_all(&args.out)
            .map_err(|error| format!("cannot make {}: {error}", args.out.display()))?;
        let mut plan = hunt(algorithm)
            .instances(shape.instances)
            .storm(shape.storm)
            .faults(shape.faults)
            .from_seed(args.from_seed)
            .seeds(args.seeds)
            .command(self.command());
        if let Some(time) = lasting {
            plan = plan.lasting(time);
        }
        if let Some(jobs) = args.jobs {
            plan = plan.jobs(jobs.into());
        }
        let goal = lasting.map_or(args.seeds, |time| time.as_millis() as u64);
        let name = &algorithm.card().name;
        let head = format!("hunting {name} · {} instances · {}", shape.instances, shape.faults);
        let report = watched(&plan, &head, goal, lasting.is_some(), stop, quiet);
        let files = write_traces(&report, &args.out)?;
        Ok((report, files))
    }
}

/// What is told of each find.
fn stories(algorithm: &dyn Algorithm, report: &Report, files: &[String]) -> String {
    let finds = report.finds.iter().zip(files);
    finds.map(|(find, file)| report::find(find, algorithm.card(), Some(file))).collect()
}

/// What the first Ctrl-C sets; the second one ends the process.
fn stop_at_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let handle = Arc::clone(&stop);
    // A second handler cannot be set where a laboratory runs twice in one process; the first one does no harm.
    let _ = ctrlc::set_handler(move || {
        if handle.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("ending after the seeds that are under way; once more ends at once");
    });
    stop
}

/// Runs a hunt with a live line, and ends it cleanly at Ctrl-C. The goal is a number of seeds, or of milliseconds.
fn watched(
    plan: &Hunt<'_>,
    head: &str,
    goal: u64,
    is_timed: bool,
    stop: &Arc<AtomicBool>,
    quiet: bool,
) -> Report {
    let watch = Watch { stop: Arc::clone(stop), ..Watch::default() };
    if !quiet && !std::io::stderr().is_terminal() {
        eprintln!("{head}");
    }
    let bar = progress(quiet, "{prefix}   {bar:10}  {msg}");
    bar.set_prefix(head.to_owned());
    bar.set_length(goal);
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| plan.run_watched(&watch));
        while !worker.is_finished() {
            let elapsed = start.elapsed();
            let seeds = watch.seeds.load(Ordering::Relaxed);
            bar.set_position(if is_timed { elapsed.as_millis() as u64 } else { seeds });
            bar.set_message(going(&watch, elapsed));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        bar.finish_and_clear();
        match worker.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn going(watch: &Watch, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let seeds = watch.seeds.load(Ordering::Relaxed);
    let hours = watch.simulated.load(Ordering::Relaxed) as f64 / 3.6e12;
    let broken: Vec<_> = Property::ALL
        .into_iter()
        .map(|property| (property, watch.violations[property as usize].load(Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
        .map(|(property, count)| format!(" · {property} {count}"))
        .collect();
    format!(
        "{} seeds · {} seeds/s · {} events/s · {} simulated h/s{}",
        report::thousands(seeds),
        report::rate(seeds as f64 / seconds),
        report::rate(watch.events.load(Ordering::Relaxed) as f64 / seconds),
        report::rate(hours / seconds),
        broken.concat()
    )
}

fn write_traces(report: &Report, out: &Path) -> Result<Vec<String>, String> {
    let short = report.algorithm.rsplit('/').next().unwrap_or(&report.algorithm);
    let name = |find: &Find| {
        let what = find.group.defect.unwrap_or(find.group.property.name());
        out.join(format!("{short}-{what}.jsonl"))
    };
    let mut files = Vec::new();
    for find in &report.finds {
        let file = name(find);
        write(&file, &find.trace.write())?;
        files.push(file.display().to_string());
    }
    Ok(files)
}

fn report_json(report: &Report, files: &[String]) -> serde_json::Value {
    let finds: Vec<_> = report
        .finds
        .iter()
        .zip(files)
        .map(|(find, file)| {
            json!({
                "property": find.group.property, "defect": find.group.defect, "seed": find.seed, "first_seed": find.group.first(),
                "after_seeds": find.after, "in_seeds": find.group.count, "events": find.steps,
                "shrunk_events": find.trace.steps.len(), "causal_events": find.story.causal,
                "told_moments": report::told(&find.story).len(), "replay": find.replay, "trace": file,
                "story": find.story.lines,
            })
        })
        .collect();
    let groups: Vec<_> = report
        .groups
        .iter()
        .map(|group| {
            json!({ "property": group.property, "defect": group.defect, "in_seeds": group.count, "seed": group.first() })
        })
        .collect();
    json!({
        "algorithm": report.algorithm, "from_seed": report.from, "seeds": report.seeds, "events": report.events,
        "acquisitions": report.acquisitions, "simulated_seconds": report.simulated.as_secs_f64(),
        "elapsed_seconds": report.elapsed.as_secs_f64(), "hash": hash_name(report.hash),
        "interrupted": report.interrupted, "violations": groups, "finds": finds,
        "not_found": report.missing, "ledger": ledger_json(&report.ledger),
        "clean": report.is_clean(),
    })
}
