//! A trace: what was applied to a world, and when. One JSON object a line; `docs/trace-format.md` specifies it.
//!
//! A trace can be applied again in two ways. *Strictly*, every step must be possible and nothing may be overdue:
//! the run is the same, or it has diverged. *Leniently*, what is no longer possible is skipped and what is overdue
//! is put in: that is how a shrunk trace stays a fair run.

mod deed;

use std::fmt::{self, Write as _};

use fencepost::time::Draw;
use serde::{Deserialize, Serialize};

pub use deed::{Deed, Message, describe, resolve};
pub(crate) use deed::{instance, is_zero, maybe_instance};

use crate::clock::Time;
use crate::property::{Property, Violation};
use crate::subject::Subject;
use crate::world::{Action, Refusal, Setup, World};

/// The version of the format that this code writes and reads.
pub const FORMAT: u32 = 1;

/// The first line of a trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    #[serde(rename = "fencepost-trace")]
    pub format: u32,
    /// The name of the algorithm.
    pub algorithm: String,
    /// The version of the algorithm.
    pub revision: u32,
    /// The seed of the run that it came from, if it came from one.
    pub seed: Option<u64>,
    /// Which failure it shows, if it shows one: a property, and the label of a known defect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<Shows>,
    /// Which properties are judged, if not those that the algorithm promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Vec<Property>>,
    /// The [`Setup`] of the world.
    pub setup: serde_json::Value,
}

/// What a trace was made to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shows {
    /// The property that is broken.
    pub property: Property,
    /// The label of the known defect, if it is one.
    pub defect: Option<String>,
}

fn no_draw(draw: &Draw) -> bool {
    draw.0 == 0
}

/// One step: a moment, a draw, a deed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// True time, in nanoseconds since the run began.
    pub t: Time,
    /// The random draw of the step.
    #[serde(default, skip_serializing_if = "no_draw")]
    pub draw: Draw,
    /// What is done.
    #[serde(flatten)]
    pub deed: Deed,
}

/// The last line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// How many steps there were.
    pub steps: u64,
    /// The hash of the run, in hexadecimal.
    pub hash: String,
    /// What was broken.
    pub violations: Vec<Violation>,
}

/// A whole trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What it is of.
    pub header: Header,
    /// What was done.
    pub steps: Vec<Step>,
    /// What came of it.
    pub ending: Ending,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It is not a trace.
    #[error(
        "this is no fencepost trace: its first line must be an object with \"fencepost-trace\": {FORMAT} ({0})"
    )]
    NotATrace(String),
    /// It is of another format version.
    #[error("the trace has format version {found}; this program reads version {FORMAT}")]
    Version {
        /// The version found.
        found: u64,
    },
    /// A line makes no sense.
    #[error("line {line} of the trace is no step: {why}")]
    Line {
        /// Which line, counted from one.
        line: usize,
        /// Why.
        why: String,
    },
    /// It ends too soon.
    #[error("the trace is truncated: it ends after {steps} steps without its last line")]
    Truncated {
        /// How many steps there are.
        steps: usize,
    },
    /// It has lost or gained steps.
    #[error("the trace has {found} steps, and its last line says {said}")]
    Count {
        /// How many there are.
        found: u64,
        /// How many there should be.
        said: u64,
    },
    /// Its setup makes no sense.
    #[error("the trace's setup is not one of this algorithm: {0}")]
    Setup(String),
}

/// The most that a setup may ask for, so that a typing error does not fill the memory.
const MOST_INSTANCES: u32 = 10_000;
/// No caller has more jobs.
const MOST_JOBS: u32 = 100;
/// No algorithm asks more stores.
const MOST_STORES: u32 = 16;
/// The last moment of any trace: about 146 years.
const LAST_MOMENT: Time = Time::from_nanos(1 << 62);

enum Line {
    End { end: Ending },
    Step(Step),
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    ///
    /// [`TraceError`] says what is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Trace, TraceError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, first) = lines.next().ok_or_else(|| TraceError::NotATrace("it is empty".to_owned()))?;
        let header = parse_header(first)?;
        let (mut steps, mut ending) = (Vec::new(), None);
        for (index, line) in lines {
            let wrong = |why: String| TraceError::Line { line: index + 1, why };
            if ending.is_some() {
                return Err(wrong("it stands after the last line".to_owned()));
            }
            match parse_line(line).map_err(wrong)? {
                Line::End { end } => ending = Some(end),
                Line::Step(step) if step.t > LAST_MOMENT => {
                    return Err(wrong("its time is too large".to_owned()));
                }
                Line::Step(step) => steps.push(step),
            }
        }
        let ending: Ending = ending.ok_or(TraceError::Truncated { steps: steps.len() })?;
        let (found, said) = (steps.len() as u64, ending.steps);
        if found != said {
            return Err(TraceError::Count { found, said });
        }
        Ok(Trace { header, steps, ending })
    }

    /// Writes it down.
    pub fn write(&self) -> String {
        let mut text = json(&self.header);
        for step in &self.steps {
            text.push('\n');
            text.push_str(&json(step));
        }
        let _ = writeln!(text, "\n{{\"end\":{}}}", json(&self.ending));
        text
    }

    /// Its setup, for the algorithm whose configuration is `C`.
    ///
    /// # Errors
    ///
    /// [`TraceError::Setup`], if it is not one of this algorithm or asks for too much.
    pub fn setup<C: for<'de> Deserialize<'de> + Serialize>(&self) -> Result<Setup<C>, TraceError> {
        let wrong = |why: String| TraceError::Setup(why);
        let setup: Setup<C> =
            serde_json::from_value(self.header.setup.clone()).map_err(|error| wrong(error.to_string()))?;
        let counts = [
            ("instances", setup.instances, MOST_INSTANCES),
            ("resources", setup.resources, setup.instances),
            ("stores", setup.stores.into(), MOST_STORES),
        ];
        for (field, count, most) in counts {
            if !(1..=most).contains(&count) {
                return Err(wrong(format!("{field} is {count}; it must be from 1 to {most}")));
            }
        }
        if setup.jobs > MOST_JOBS {
            return Err(wrong(format!("jobs is {}; it must be from 0 to {MOST_JOBS}", setup.jobs)));
        }
        Ok(setup)
    }
}

fn parse_header(line: &str) -> Result<Header, TraceError> {
    let not_a_trace = |why: &dyn fmt::Display| TraceError::NotATrace(why.to_string());
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| not_a_trace(&error))?;
    match value.get("fencepost-trace").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => return Err(TraceError::Version { found }),
        None => return Err(not_a_trace(&"it has none")),
    }
    serde_json::from_value(value).map_err(|error| not_a_trace(&error))
}

fn parse_line(line: &str) -> Result<Line, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let is_end = value.get("end").is_some();
    let parsed = if is_end {
        #[derive(Deserialize)]
        struct End {
            end: Ending,
        }
        serde_json::from_value::<End>(value).map(|End { end }| Line::End { end })
    } else {
        serde_json::from_value(value).map(Line::Step)
    };
    parsed.map_err(|error| error.to_string())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// How a hash is written.
pub fn hash_name(hash: u64) -> String {
    format!("{hash:016x}")
}

/// Where a trace and the algorithm part ways.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Divergence {
    /// A step is not possible.
    #[error("step {step} ({deed}) is not possible: {why}")]
    Impossible {
        /// Which, counted from one.
        step: usize,
        /// What it was to do.
        deed: String,
        /// Why not.
        why: Refusal,
    },
    /// Something had to happen before a step and did not.
    #[error("before step {step}, something was overdue since {due:?}: {deed}")]
    Overdue {
        /// Which, counted from one.
        step: usize,
        /// What should have happened.
        deed: String,
        /// By when.
        due: Time,
    },
    /// Every step was possible, and yet it broke something else.
    #[error("the run breaks {found}, and the trace says {said}")]
    Verdict {
        /// What this run breaks.
        found: String,
        /// What the trace says.
        said: String,
    },
    /// Every step was possible, and yet the run was another one.
    #[error("the run's hash is {found}, and the trace says {said}")]
    Hash {
        /// The hash of this run.
        found: String,
        /// The hash in the trace.
        said: String,
    },
}

/// Applies a trace strictly; `observe` sees the world after each step.
///
/// # Errors
///
/// The first [`Divergence`]. The world is left as it was there.
pub fn replay<M: Subject>(
    world: &mut World<M>,
    steps: &[Step],
    mut observe: impl FnMut(&World<M>, usize, &Action),
) -> Result<(), Divergence> {
    for (index, step) in steps.iter().enumerate() {
        let deed = |deed: &Deed| json(deed);
        if let Some((due, action)) = world.overdue(step.t) {
            let deed = deed(&describe(world, &action));
            return Err(Divergence::Overdue { step: index + 1, deed, due });
        }
        let impossible = |why| Divergence::Impossible { step: index + 1, deed: deed(&step.deed), why };
        let action = resolve(world, &step.deed).ok_or_else(|| impossible(Refusal::Message))?;
        world.check(step.t, &action).map_err(impossible)?;
        world.apply(step.t, action, step.draw);
        observe(world, index, &action);
    }
    Ok(())
}

/// Applies what can be applied of `steps`, puts in what is overdue, and stops at a violation of `target`. Gives
/// the steps that were applied, if there was one.
pub fn reapply<M: Subject>(
    world: &mut World<M>,
    steps: impl IntoIterator<Item = Step>,
    target: impl Fn(&Violation) -> bool,
    most: usize,
) -> Option<Vec<Step>> {
    let mut applied = Vec::new();
    for step in steps {
        while let Some((due, action)) = world.overdue(step.t) {
            let inserted = Step { t: due, draw: Draw(0), deed: describe(world, &action) };
            world.apply(due, action, Draw(0));
            applied.push(inserted);
            if world.verdict().violations().iter().any(&target) {
                return Some(applied);
            }
            if applied.len() > most {
                return None;
            }
        }
        let Some(action) = resolve(world, &step.deed) else { continue };
        if world.check(step.t, &action).is_err() {
            continue;
        }
        world.apply(step.t, action, step.draw);
        applied.push(step);
        if world.verdict().violations().iter().any(&target) {
            return Some(applied);
        }
    }
    None
}

/// Where a run that was possible to the end came to something else than a trace's ending says.
pub fn compare<M: Subject>(world: &World<M>, said: &Ending) -> Option<Divergence> {
    let found = ending(world);
    if found.violations != said.violations {
        let (found, said) = (names(&found.violations), names(&said.violations));
        return Some(Divergence::Verdict { found, said });
    }
    (found.hash != said.hash).then(|| Divergence::Hash { found: found.hash, said: said.hash.clone() })
}

fn names(violations: &[Violation]) -> String {
    let names: Vec<_> = violations.iter().map(|one| format!("{} at {:?}", one.property, one.at)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// The ending of a run in this world.
pub fn ending<M: Subject>(world: &World<M>) -> Ending {
    let (steps, hash) = (world.applied(), hash_name(world.hash()));
    Ending { steps, hash, violations: world.verdict().violations().to_vec() }
}
