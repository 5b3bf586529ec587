//! Rounds, one after the other, and what is said about them.

use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fencepost_models::subject::InstanceId;
use fencepost_models::trace::{Divergence, Trace};
use serde_json::json;
use tokio::sync::watch;

use crate::args::TortureArgs;
use crate::figures::Figures;
use crate::ground::{Ground, GroundError};
use crate::history::{self, Part};
use crate::plan::{Fault, Shape};
use crate::round::{Outcome, Round};
use crate::words::{Without, now};

/// The command line makes no sense.
pub(crate) const USAGE: u8 = 64;
/// There is no store.
const UNAVAILABLE: u8 = 69;
/// What was recorded cannot have happened.
const SOFTWARE: u8 = 70;
/// The operating system refuses.
const SYSTEM: u8 = 71;
/// Something was violated.
const VIOLATED: u8 = 1;
/// Ctrl-C.
const INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ground(#[from] GroundError),
    #[error("the store has no connection or server that could suffer {fault}; accepted: {}", list(.accepted))]
    Fault { fault: Fault, accepted: Vec<Fault> },
    #[error("what was recorded of the {part} cannot have happened: {why}; please report this, with {}", .file.display())]
    Recording { part: &'static str, why: Divergence, file: PathBuf },
    #[error("cannot write {}: {source}", .file.display())]
    Unwritable { file: PathBuf, source: io::Error },
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Failure::Ground(GroundError::Address { .. }) | Failure::Fault { .. } => USAGE,
            Failure::Ground(GroundError::System(_)) | Failure::System(_) | Failure::Unwritable { .. } => {
                SYSTEM
            }
            Failure::Ground(_) => UNAVAILABLE,
            Failure::Recording { .. } => SOFTWARE,
        }
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
}

/// Does what the command line says.
pub(crate) fn run(args: &TortureArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System);
    let status = runtime.and_then(|runtime| runtime.block_on(torture(args))).unwrap_or_else(|failure| {
        eprintln!("fencepost torture: {failure}");
        failure.status()
    });
    ExitCode::from(status)
}

/// What all rounds share.
struct Torture<'a> {
    args: &'a TortureArgs,
    ground: Ground,
    shape: Shape,
    /// What workers have said on standard error.
    logs: tempfile::TempDir,
    figures: Figures,
    traces: Vec<PathBuf>,
    began: Instant,
}

async fn torture(args: &TortureArgs) -> Result<u8, Failure> {
    let interrupted = listen()?;
    let ground = match &args.store {
        Some(url) => Ground::of(url)?,
        None if args.private_postgres => Ground::private().await?,
        None => Ground::file()?,
    };
    let faults = faults(args, &ground)?;
    let shape = Shape { workers: args.workers.into(), storm: args.storm, faults };
    let first = args.seed.unwrap_or_else(|| now() % 1_000_000_007);
    let mut torture = Torture {
        args,
        ground,
        shape,
        logs: tempfile::tempdir()?,
        figures: Figures::default(),
        traces: Vec::new(),
        began: Instant::now(),
    };
    torture.say(&format!(
        "torture of {} · {} workers · seed {first} · {}",
        torture.ground.engine(),
        args.workers,
        list(&torture.shape.faults)
    ));
    let mut seed = first;
    while torture.goes_on() && !*interrupted.borrow() {
        torture.round(seed, interrupted.clone()).await?;
        seed = seed.wrapping_add(1);
    }
    torture.conclude(first);
    Ok(match (torture.figures.broken.is_empty(), *interrupted.borrow()) {
        (false, _) => VIOLATED,
        (true, true) => INTERRUPTED,
        (true, false) => 0,
    })
}

/// Hears Ctrl-C and SIGTERM: everything is stopped, and what there is is judged.
fn listen() -> io::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell.send_replace(true);
        }
    });
    Ok(told)
}

fn faults(args: &TortureArgs, ground: &Ground) -> Result<Vec<Fault>, Failure> {
    let accepted = ground.faults();
    let Some(asked) = &args.faults else { return Ok(accepted) };
    match asked.iter().find(|fault| !accepted.contains(fault)) {
        Some(&fault) => Err(Failure::Fault { fault, accepted }),
        None => Ok(asked.clone()),
    }
}

impl Torture<'_> {
    fn say(&self, text: &str) {
        if !self.args.json {
            eprintln!("{text}");
        }
    }

    fn goes_on(&self) -> bool {
        match self.args.rounds {
            Some(rounds) => self.figures.rounds < rounds,
            None => self.began.elapsed() < self.args.length,
        }
    }

    async fn round(&mut self, seed: u64, interrupted: watch::Receiver<bool>) -> Result<(), Failure> {
        self.show_progress(&format!("round {} · seed {seed}", self.figures.rounds + 1));
        let round = Round::new(&mut self.ground, &self.shape, seed, self.args.without, self.logs.path());
        let outcome = round.run(interrupted).await?;
        self.figures.add(&outcome);
        let mut broken = Vec::new();
        for part in Part::ALL {
            broken.extend(self.judge(seed, part, &outcome)?);
        }
        self.show_progress("");
        self.say(&row(self.figures.rounds, seed, &outcome, self.began.elapsed()));
        for (trace, file) in &broken {
            self.tell(trace, file);
        }
        self.traces.extend(broken.into_iter().map(|(_, file)| file));
        Ok(())
    }

    /// One line that the next one overwrites, where somebody looks on.
    fn show_progress(&self, text: &str) {
        if !self.args.json && io::stderr().is_terminal() {
            let of = match self.args.rounds {
                Some(rounds) => format!("of {rounds}"),
                None => format!("{} s of {} s", self.began.elapsed().as_secs(), self.args.length.as_secs()),
            };
            let shown = if text.is_empty() { String::new() } else { format!("{text} · {of} …") };
            eprint!("\r\x1b[K{shown}");
            let _ = io::stderr().flush();
        }
    }

    /// Judges one part of a round. If it breaks something, it is written.
    fn judge(
        &mut self,
        seed: u64,
        part: Part,
        outcome: &Outcome,
    ) -> Result<Option<(Trace, PathBuf)>, Failure> {
        let round = history::Round {
            seed,
            plan: &outcome.plan,
            workers: self.shape.workers,
            fenced: self.args.without != Some(Without::Fencing),
            began: outcome.began,
            ended: outcome.ended,
            entries: &outcome.entries,
        };
        let file = self.args.out.join(format!("{}-{seed}-{}.jsonl", self.ground.engine(), part.name()));
        let (trace, diverged) = round.judge(part);
        if let Some(why) = diverged {
            write(&file, &trace.write())?;
            return Err(Failure::Recording { part: part.name(), why, file });
        }
        if trace.ending.violations.is_empty() {
            return Ok(None);
        }
        for violation in &trace.ending.violations {
            self.figures.break_one(violation.property);
        }
        write(&file, &trace.write())?;
        Ok(Some((trace, file)))
    }

    /// Tells what was broken, and how it is drawn.
    fn tell(&self, trace: &Trace, file: &Path) {
        for violation in &trace.ending.violations {
            let at = Duration::from_nanos(violation.at.as_nanos()).as_secs_f64();
            self.say(&format!("  VIOLATED {} after {at:.3} s: {}", violation.property, violation.sentence()));
        }
        self.say(&format!("  replay   fencelab replay {}", file.display()));
        for line in self.last_words() {
            self.say(&line);
        }
    }

    /// What workers have said last on standard error, if anything.
    fn last_words(&self) -> Vec<String> {
        let words = (0..self.shape.workers as u32).filter_map(|who| {
            let text = std::fs::read_to_string(self.logs.path().join(format!("worker-{who}.log"))).ok()?;
            text.lines().next_back().map(|last| format!("  {} said   {last}", InstanceId(who)))
        });
        words.collect()
    }

    fn conclude(&self, first: u64) {
        let missing = self.figures.missing(&self.shape.faults);
        if self.args.json {
            let mut object = self.figures.json();
            object["engine"] = self.ground.engine().into();
            object["seed"] = first.into();
            object["workers"] = self.args.workers.into();
            object["seconds"] = self.began.elapsed().as_secs().into();
            object["traces"] = json!(self.traces);
            object["never_hit"] = missing.iter().map(|fault| fault.name()).collect();
            print(&format!("{object}\n"));
            return;
        }
        let seconds = self.began.elapsed().as_secs();
        print(&format!("\n{} rounds in {seconds} s · seeds {first} and following\n", self.figures.rounds));
        print(&self.figures.text(&self.shape.faults));
        if !missing.is_empty() {
            print(&format!("never hit   {}: of these, nothing was shown\n", list(&missing)));
        }
    }
}

/// What one round came to, in a line.
fn row(number: u64, seed: u64, outcome: &Outcome, elapsed: Duration) -> String {
    let hits: Vec<_> = outcome.hits.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
    let counts = &outcome.counts;
    let settled = match outcome.settled {
        Some(settled) => format!("well after {:.1} s", settled.as_secs_f64()),
        None => "not settled".into(),
    };
    format!(
        "round {number} · seed {seed} · {} s · {} · {} grants, {} writes and {} refused, {} runs · {settled}",
        elapsed.as_secs(),
        hits.join(", "),
        counts.grants,
        counts.accepted,
        counts.refused,
        counts.runs,
    )
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder
        .and_then(|()| std::fs::write(file, text))
        .map_err(|source| Failure::Unwritable { file: file.into(), source })
}

/// Prints, and does not mind a reader that has gone away.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
