//! A trace: what was applied to a world, and when. One JSON object a line; `docs/trace-format.md` specifies it.
//!
//! A trace can be applied again in two ways. *Strictly*, every step must be possible and nothing may be overdue:
//! the run is the same, or it has diverged. *Leniently*, what is no longer possible is skipped and what is overdue
//! is put in: that is how a shrunk trace stays a fair run.

use std::fmt::{self, Write as _};

use fencepost::store::StoreId;
use fencepost::time::{Draw, Span};
use serde::{Deserialize, Serialize};

use crate::clock::{Rate, Time};
use crate::property::{Property, Violation};
use crate::store::Grain;
use crate::subject::{Ask, InstanceId, Subject};
use crate::world::{Action, FlightId, LegKind, Refusal, Service, Setup, World};

/// The version of the format that this code writes and reads.
pub const FORMAT: u32 = 1;

/// Instances by name: `A`, `B` … `Z`, `#26` …
pub(crate) mod instance {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::subject::InstanceId;

    pub(crate) fn serialize<S: Serializer>(id: &InstanceId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<InstanceId, D::Error> {
        let name = String::deserialize(deserializer)?;
        InstanceId::named(&name).ok_or_else(|| Error::custom(format!("no instance is called {name:?}")))
    }
}

/// The same, where there may be none.
pub(crate) mod maybe_instance {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::subject::InstanceId;

    pub(crate) fn serialize<S: Serializer>(
        id: &Option<InstanceId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<InstanceId>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let id = InstanceId::named(&name);
        id.map(Some).ok_or_else(|| Error::custom(format!("no instance is called {name:?}")))
    }
}

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

/// Names a message by what can be seen of it, so that the name survives when other steps are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its sender, for a request or a write; its addressee, for a reply or a hint.
    #[serde(with = "instance")]
    pub who: InstanceId,
    /// Where it is going.
    pub leg: LegKind,
    /// The call, for requests and replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// How many like it were sent before it and are still under way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nth: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn no_draw(draw: &Draw) -> bool {
    draw.0 == 0
}

/// What a step does: an [`Action`] in names that can be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is documented at the action of the same name")]
pub enum Deed {
    Ask {
        #[serde(with = "instance")]
        who: InstanceId,
        what: Ask,
    },
    Write {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Forget {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Wake {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Serve {
        message: Message,
        how: Service,
    },
    Deliver {
        message: Message,
    },
    Lose {
        message: Message,
    },
    Duplicate {
        message: Message,
    },
    Stall {
        message: Message,
    },
    GiveUp {
        message: Message,
    },
    Pause {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Suspend {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Resume {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Crash {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Restart {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Rate {
        #[serde(with = "instance")]
        who: InstanceId,
        ppm: Rate,
    },
    Jump {
        #[serde(with = "instance")]
        who: InstanceId,
        nanos: i64,
    },
    CutToStore {
        #[serde(with = "instance")]
        who: InstanceId,
        cut: bool,
    },
    CutFromStore {
        #[serde(with = "instance")]
        who: InstanceId,
        cut: bool,
    },
    StorePause {
        store: u8,
    },
    StoreResume {
        store: u8,
    },
    StoreRestart {
        store: u8,
    },
    StoreRate {
        store: u8,
        ppm: Rate,
    },
    Lag {
        store: u8,
    },
    CatchUp {
        store: u8,
    },
    FailOver {
        store: u8,
    },
    Grain {
        store: u8,
        early: Span,
        late: Span,
    },
    WipeCounter {
        store: u8,
    },
    Heal,
    End,
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
const MOST_INSTANCES: u32 = 100_000;
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
        let counts =
            [("instances", setup.instances), ("resources", setup.resources), ("stores", setup.stores.into())];
        for (field, count) in counts {
            if !(1..=MOST_INSTANCES).contains(&count) {
                return Err(wrong(format!("{field} is {count}; it must be from 1 to {MOST_INSTANCES}")));
            }
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

/// An action in names that can be written down. Call it before the action is applied.
pub fn describe<M: Subject>(world: &World<M>, action: &Action) -> Deed {
    let message = |id: FlightId| name_message(world, id);
    match *action {
        Action::Ask(who, what) => Deed::Ask { who, what },
        Action::Write(who) => Deed::Write { who },
        Action::Forget(who) => Deed::Forget { who },
        Action::Wake(who) => Deed::Wake { who },
        Action::Serve(id, how) => Deed::Serve { message: message(id), how },
        Action::Deliver(id) => Deed::Deliver { message: message(id) },
        Action::Lose(id) => Deed::Lose { message: message(id) },
        Action::Duplicate(id) => Deed::Duplicate { message: message(id) },
        Action::Stall(id) => Deed::Stall { message: message(id) },
        Action::GiveUp(id) => Deed::GiveUp { message: message(id) },
        Action::Pause(who) => Deed::Pause { who },
        Action::Suspend(who) => Deed::Suspend { who },
        Action::Resume(who) => Deed::Resume { who },
        Action::Crash(who) => Deed::Crash { who },
        Action::Restart(who) => Deed::Restart { who },
        Action::SetRate(who, ppm) => Deed::Rate { who, ppm },
        Action::Jump(who, nanos) => Deed::Jump { who, nanos },
        Action::CutToStore(who, cut) => Deed::CutToStore { who, cut },
        Action::CutFromStore(who, cut) => Deed::CutFromStore { who, cut },
        Action::StorePause(StoreId(store)) => Deed::StorePause { store },
        Action::StoreResume(StoreId(store)) => Deed::StoreResume { store },
        Action::StoreRestart(StoreId(store)) => Deed::StoreRestart { store },
        Action::StoreRate(StoreId(store), ppm) => Deed::StoreRate { store, ppm },
        Action::Lag(StoreId(store)) => Deed::Lag { store },
        Action::CatchUp(StoreId(store)) => Deed::CatchUp { store },
        Action::FailOver(StoreId(store)) => Deed::FailOver { store },
        Action::SetGrain(StoreId(store), Grain { early, late }) => Deed::Grain { store, early, late },
        Action::WipeCounter(StoreId(store)) => Deed::WipeCounter { store },
        Action::Heal => Deed::Heal,
        Action::End => Deed::End,
    }
}

/// The action that a deed means in this world, if there is one.
pub fn resolve<M: Subject>(world: &World<M>, deed: &Deed) -> Option<Action> {
    let flight = |message: &Message| find_message(world, message);
    Some(match *deed {
        Deed::Ask { who, what } => Action::Ask(who, what),
        Deed::Write { who } => Action::Write(who),
        Deed::Forget { who } => Action::Forget(who),
        Deed::Wake { who } => Action::Wake(who),
        Deed::Serve { ref message, how } => Action::Serve(flight(message)?, how),
        Deed::Deliver { ref message } => Action::Deliver(flight(message)?),
        Deed::Lose { ref message } => Action::Lose(flight(message)?),
        Deed::Duplicate { ref message } => Action::Duplicate(flight(message)?),
        Deed::Stall { ref message } => Action::Stall(flight(message)?),
        Deed::GiveUp { ref message } => Action::GiveUp(flight(message)?),
        Deed::Pause { who } => Action::Pause(who),
        Deed::Suspend { who } => Action::Suspend(who),
        Deed::Resume { who } => Action::Resume(who),
        Deed::Crash { who } => Action::Crash(who),
        Deed::Restart { who } => Action::Restart(who),
        Deed::Rate { who, ppm } => Action::SetRate(who, ppm),
        Deed::Jump { who, nanos } => Action::Jump(who, nanos),
        Deed::CutToStore { who, cut } => Action::CutToStore(who, cut),
        Deed::CutFromStore { who, cut } => Action::CutFromStore(who, cut),
        Deed::StorePause { store } => Action::StorePause(StoreId(store)),
        Deed::StoreResume { store } => Action::StoreResume(StoreId(store)),
        Deed::StoreRestart { store } => Action::StoreRestart(StoreId(store)),
        Deed::StoreRate { store, ppm } => Action::StoreRate(StoreId(store), ppm),
        Deed::Lag { store } => Action::Lag(StoreId(store)),
        Deed::CatchUp { store } => Action::CatchUp(StoreId(store)),
        Deed::FailOver { store } => Action::FailOver(StoreId(store)),
        Deed::Grain { store, early, late } => Action::SetGrain(StoreId(store), Grain { early, late }),
        Deed::WipeCounter { store } => Action::WipeCounter(StoreId(store)),
        Deed::Heal => Action::Heal,
        Deed::End => Action::End,
    })
}

fn name_message<M: Subject>(world: &World<M>, id: FlightId) -> Message {
    let Some(flight) = world.flight(id) else {
        return Message { who: InstanceId(0), leg: LegKind::Lost, call: None, nth: u32::MAX };
    };
    let (who, leg, call) = (flight.instance, flight.kind(), flight.call);
    let alike = world.flights().filter(|(_, other)| {
        other.instance == who && other.kind() == leg && other.call == call && other.serial < flight.serial
    });
    Message { who, leg, call: call.map(|call| format!("{call:?}")), nth: alike.count() as u32 }
}

fn find_message<M: Subject>(world: &World<M>, message: &Message) -> Option<FlightId> {
    let mut alike: Vec<_> = world
        .flights()
        .filter(|(_, flight)| flight.instance == message.who && flight.kind() == message.leg)
        .filter(|(_, flight)| match (&flight.call, &message.call) {
            (None, None) => true,
            (Some(call), Some(name)) => is_named(call, name),
            (None, Some(_)) | (Some(_), None) => false,
        })
        .map(|(id, flight)| (flight.serial, id))
        .collect();
    alike.sort_unstable();
    alike.get(message.nth as usize).map(|(_, id)| *id)
}

/// Whether the debug form of `value` is `name`, without making a string of it.
fn is_named(value: &impl fmt::Debug, name: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(name);
    write!(rest, "{value:?}").is_ok() && rest.0.is_empty()
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

/// The ending of a run in this world.
pub fn ending<M: Subject>(world: &World<M>) -> Ending {
    let (steps, hash) = (world.applied(), hash_name(world.hash()));
    Ending { steps, hash, violations: world.verdict().violations().to_vec() }
}
