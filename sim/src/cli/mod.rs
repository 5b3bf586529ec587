//! The command line that every laboratory shares: [`Lab`] is a list of registrations and a `main`.

mod check;
mod hunt;
mod takeover;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fencepost::time::Span;
use fencepost_models::property::Property;
use fencepost_models::trace::{Shows, Trace, hash_name};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::algorithm::{Algorithm, Replayed};
use crate::algorithms::recordings;
use crate::report;
use crate::scenario::{Faults, Shape};
use check::{CheckArgs, ExploreArgs};
use hunt::HuntArgs;
use takeover::TakeoverArgs;

/// The laboratory: algorithms, and the commands that work on all of them. Histories of real processes it can replay,
/// too.
pub struct Lab {
    algorithms: Vec<Box<dyn Algorithm>>,
    recordings: Vec<Box<dyn Algorithm>>,
    command: Option<String>,
}

impl Default for Lab {
    fn default() -> Lab {
        Lab { algorithms: Vec::new(), recordings: recordings(), command: None }
    }
}

const AFTER: &str = "Examples:\n  hunt upstream/plugin-api-mutex     finds, shrinks and shows real failures of the original\n  hunt mutex --seeds 200000          looks for a failure of ours\n  hunt all --for 5m                  of each of ours\n  replay target/lab/plugin-api-mutex-M2.jsonl\n  check mutex --crashes 1            tries every order of events with one crash\n\nExit status: 0 nothing violated (of a check: all proved), 1 a violation found, 2 usage or input error,\n3 a check that hit a limit and proved nothing.";

/// Hunts failures of coordination algorithms, each from a seed; replays and shrinks them; checks every order of events.
#[derive(Parser)]
#[command(version, after_help = AFTER, arg_required_else_help = true)]
struct Cli {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the algorithms: the verdict that is expected of each, and which commands take it.
    List {
        /// Show also what each promises.
        #[arg(long)]
        promises: bool,
    },
    /// Run many seeds, and tell what they find: a story, the line that replays it, a shrunk trace.
    Hunt(HuntArgs),
    /// Apply a trace or a seed again: timeline, verdict, ledger of faults, hash.
    Replay(ReplayArgs),
    /// Make a trace as small as it gets while it still breaks the same property.
    Shrink(ShrinkArgs),
    /// Try every order of events and faults within bounds, for unbounded time: proof, or a shortest counterexample.
    Check(CheckArgs),
    /// Walk through what `check` explores, in a browser.
    Explore(ExploreArgs),
    /// Measure in virtual time how long it takes until another one holds, after a crash, a partition and a release.
    Takeover(TakeoverArgs),
}

#[derive(Args)]
struct ShapeArgs {
    /// How many instances share the lock.
    /// [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    instances: Option<u32>,
    /// How many simulated hours the storm of each run lasts, before it heals and must make progress.
    /// [default: 0.05]
    #[arg(long, value_name = "H")]
    hours: Option<f64>,
    /// Which faults: storm (each seed switches each family on or off), calm (only harmless ones), none, or a list
    /// of families such as pause,error-before. [default: storm]
    #[arg(long, value_name = "FAULTS", value_parser = Faults::parse)]
    faults: Option<Faults>,
}

#[derive(Args)]
struct ReplayArgs {
    /// A trace file, or an algorithm together with --seed.
    #[arg(value_name = "TRACE|ALGORITHM")]
    what: String,
    /// The seed to run, for an algorithm.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    shape: ShapeArgs,
    /// Show every event, not only those around the deciding one.
    #[arg(long)]
    all: bool,
    /// Write the whole trace of the seed to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct ShrinkArgs {
    /// The trace file.
    trace: PathBuf,
    /// Which property to keep broken; the one the trace was made to show, or its first violation, if not said.
    #[arg(long, value_name = "PROPERTY", value_parser = property)]
    property: Option<Property>,
    /// Where the smaller trace goes; beside the old one, if not said.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn property(name: &str) -> Result<Property, String> {
    let names: Vec<_> = Property::ALL.into_iter().map(Property::name).collect();
    Property::ALL
        .into_iter()
        .find(|property| property.name() == name)
        .ok_or_else(|| format!("there is no such property; accepted are: {}", names.join(", ")))
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; accepted are a number and a unit, such as 30s, 5m or 1h");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit) {
        Some(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
        Some(_) | None => Err(format!("{text:?} is out of range; accepted are 1s to 168h")),
    }
}

impl ShapeArgs {
    fn is_given(&self) -> bool {
        self.instances.is_some() || self.hours.is_some() || self.faults.is_some()
    }

    fn shape(&self) -> Result<Shape, String> {
        let usual = Shape::default();
        let storm = match self.hours {
            None => usual.storm,
            // A storm shorter than a message is none.
            Some(hours) if (1e-6..=1e4).contains(&hours) => Span::from_nanos((hours * 3.6e12).round() as u64),
            Some(hours) => return Err(format!("--hours is {hours}; accepted is from 0.000001 to 10000")),
        };
        let instances = self.instances.unwrap_or(usual.instances);
        let faults = self.faults.unwrap_or(usual.faults);
        Ok(Shape { instances, resources: 1, storm, faults })
    }
}

/// What a command says in the end.
type Done = Result<ExitCode, String>;

impl Lab {
    /// A laboratory without algorithms.
    pub fn new() -> Lab {
        Lab::default()
    }

    /// Adds an algorithm.
    pub fn with(self, algorithm: impl Algorithm + 'static) -> Lab {
        self.with_boxed(Box::new(algorithm))
    }

    /// Adds an algorithm whose type is not known.
    pub fn with_boxed(mut self, algorithm: Box<dyn Algorithm>) -> Lab {
        self.algorithms.push(algorithm);
        self
    }

    /// How its command line begins, for the lines that replay a seed. `cargo lab`, if not said.
    pub fn called(mut self, command: &str) -> Lab {
        self.command = Some(command.to_owned());
        self
    }

    /// The algorithms.
    pub fn algorithms(&self) -> impl Iterator<Item = &dyn Algorithm> {
        self.algorithms.iter().map(Box::as_ref)
    }

    /// The algorithm of that name.
    ///
    /// # Errors
    ///
    /// One line that names those there are.
    pub fn algorithm(&self, name: &str) -> Result<&dyn Algorithm, String> {
        let names: Vec<_> = self.algorithms().map(|one| one.card().name.as_str()).collect();
        self.algorithms()
            .find(|one| one.card().name == name)
            .ok_or_else(|| format!("there is no algorithm {name:?}; there are: {}", names.join(", ")))
    }

    /// Does what the command line says.
    pub fn main(&self) -> ExitCode {
        self.run(std::env::args_os())
    }

    /// Does what `arguments` say; the first is the program's name.
    pub fn run(&self, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
        let cli = match Cli::try_parse_from(arguments) {
            Ok(cli) => cli,
            Err(error) => {
                let _ = error.print();
                return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
            }
        };
        let done = match &cli.verb {
            Verb::List { promises } => self.list(*promises, cli.json),
            Verb::Hunt(args) => self.hunt(args, cli.json),
            Verb::Replay(args) => self.replay(args, cli.json),
            Verb::Shrink(args) => self.shrink(args, cli.json),
            Verb::Check(args) => self.check(args, cli.json),
            Verb::Explore(args) => self.explore(args),
            Verb::Takeover(args) => self.takeover(args, cli.json),
        };
        done.unwrap_or_else(|error| {
            eprintln!("error: {error}");
            ExitCode::from(2)
        })
    }

    fn command(&self) -> &str {
        self.command.as_deref().unwrap_or("cargo lab")
    }

    fn list(&self, promises: bool, as_json: bool) -> Done {
        if as_json {
            let rows: Vec<_> = self.algorithms().map(card_json).collect();
            say(&format!("{}\n", json!({ "algorithms": rows })));
        } else {
            say(&report::list(self.algorithms(), promises));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn replay(&self, args: &ReplayArgs, as_json: bool) -> Done {
        let (algorithm, trace) = match args.seed {
            Some(seed) => {
                let algorithm = self.algorithm(&args.what)?;
                (algorithm, algorithm.record(&args.shape.shape()?, seed))
            }
            None if self.algorithm(&args.what).is_ok() => {
                return Err(format!("which seed of {}? Say --seed S, or name a trace file", args.what));
            }
            None if args.shape.is_given() => {
                return Err(
                    "--instances, --hours and --faults go with --seed: a trace brings its own".to_owned()
                );
            }
            None => self.read(Path::new(&args.what))?,
        };
        if let Some(out) = &args.out {
            write(out, &trace.write())?;
        }
        let replayed = algorithm.replay(&trace).map_err(|error| error.to_string())?;
        if as_json {
            say(&format!("{}\n", replay_json(&replayed)));
        } else {
            say(&report::replayed(&replayed, algorithm.card(), args.all));
        }
        if let Some(divergence) = &replayed.divergence {
            return Err(diverged(algorithm, &trace, &divergence.to_string()));
        }
        Ok(verdict(replayed.outcome.violations.is_empty()))
    }

    fn shrink(&self, args: &ShrinkArgs, as_json: bool) -> Done {
        let (algorithm, trace) = self.read(&args.trace)?;
        if self.recording(&trace).is_some() {
            let name = &trace.header.algorithm;
            return Err(format!(
                "{name} is a history: what happened cannot be made smaller; accepted: replay"
            ));
        }
        let replayed = algorithm.replay(&trace).map_err(|error| error.to_string())?;
        if let Some(divergence) = &replayed.divergence {
            return Err(diverged(algorithm, &trace, &divergence.to_string()));
        }
        let shows = target(algorithm, &trace, &replayed, args.property)?;
        let bar = progress(as_json, "{spinner} shrinking · {msg} events");
        let shrunk = algorithm.shrink(&trace, &shows, &|steps| bar.set_message(steps.to_string()));
        bar.finish_and_clear();
        let shrunk = shrunk
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("the trace does not break {}", shows.property))?;
        let out = args.out.clone().unwrap_or_else(|| args.trace.with_extension("min.jsonl"));
        write(&out, &shrunk.trace.write())?;
        let (from, to) = (shrunk.from, shrunk.trace.steps.len());
        if as_json {
            let told = json!({
                "property": shows.property, "defect": shows.defect, "from": from, "to": to,
                "tries": shrunk.tries, "trace": out,
            });
            say(&format!("{told}\n"));
        } else {
            let story = algorithm.replay(&shrunk.trace).map_err(|error| error.to_string())?.story;
            say(&format!(
                "{}: shrunk from {from} events to {to}, in {} tries\n{}  trace    {}\n",
                shows.property,
                shrunk.tries,
                report::gist(&story),
                out.display()
            ));
        }
        Ok(verdict(false))
    }

    fn read(&self, file: &Path) -> Result<(&dyn Algorithm, Trace), String> {
        let name = file.display();
        let bytes = std::fs::read(file).map_err(|error| {
            format!(
                "{name} is neither a trace file that can be read ({error}) nor an algorithm that `list` shows"
            )
        })?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("{name} is no fencepost trace: it is not text"))?;
        let trace = Trace::parse(&text).map_err(|error| format!("{name}: {error}"))?;
        let algorithm = match self.recording(&trace) {
            Some(recording) => recording,
            None => self.algorithm(&trace.header.algorithm).map_err(|error| format!("{name}: {error}"))?,
        };
        Ok((algorithm, trace))
    }

    /// What replays a trace that is a history of real processes.
    fn recording(&self, trace: &Trace) -> Option<&dyn Algorithm> {
        let mut all = self.recordings.iter().map(Box::as_ref);
        all.find(|one| one.card().name == trace.header.algorithm)
    }
}

/// What to keep broken: what was asked for, what the trace says, or what breaks first.
fn target(
    algorithm: &dyn Algorithm,
    trace: &Trace,
    replayed: &Replayed,
    asked: Option<Property>,
) -> Result<Shows, String> {
    let violations = &replayed.outcome.violations;
    if let (None, Some(shows)) = (asked, &trace.header.shows) {
        return Ok(shows.clone());
    }
    let found =
        violations.iter().find(|violation| asked.is_none_or(|property| property == violation.property));
    let Some(violation) = found else {
        return Err(match asked {
            Some(property) => format!("the trace does not break {property}"),
            None => "the trace breaks nothing: there is nothing to shrink".to_owned(),
        });
    };
    let defect = algorithm.card().label(violation).map(str::to_owned);
    Ok(Shows { property: violation.property, defect })
}

fn diverged(algorithm: &dyn Algorithm, trace: &Trace, why: &str) -> String {
    let (made, here) = (trace.header.revision, algorithm.card().revision);
    if made == here {
        return format!("the replay diverged from the trace: {why}");
    }
    format!(
        "the replay diverged: the trace was made by revision {made} of the algorithm, this is revision {here}; {why}"
    )
}

fn verdict(clean: bool) -> ExitCode {
    if clean { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Prints, and does not mind a reader that has gone away.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn progress(quiet: bool, template: &str) -> ProgressBar {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar
}

fn card_json(algorithm: &dyn Algorithm) -> serde_json::Value {
    let card = algorithm.card();
    let defects: Vec<_> = card
        .defects
        .iter()
        .map(|defect| json!({ "label": defect.label, "sentence": defect.sentence, "breaks": defect.breaks }))
        .collect();
    json!({
        "name": card.name, "about": card.about, "revision": card.revision,
        "promises": card.promises.iter().collect::<Vec<_>>(), "known_defects": defects,
        "checked": algorithm.check_plan().is_some(),
        "expected": if card.defects.is_empty() { "clean" } else { "broken" },
    })
}

fn ledger_json(ledger: &fencepost_models::fault::Ledger) -> serde_json::Value {
    ledger.rows().map(|(fault, tally)| (fault.name().to_owned(), json!(tally))).collect()
}

fn replay_json(replayed: &Replayed) -> serde_json::Value {
    json!({
        "events": replayed.outcome.events, "hash": hash_name(replayed.outcome.hash),
        "violations": replayed.outcome.violations, "ledger": ledger_json(&replayed.outcome.ledger),
        "diverged": replayed.divergence.as_ref().map(ToString::to_string), "story": replayed.story.lines,
    })
}
