//! Exhaustive checking: every order of events within bounds, for unbounded time.

mod graph;
mod liveness;
mod search;
mod witness;

use std::cell::Cell;
use std::time::Duration;

use fencepost::time::Span;
use fencepost_models::checker::{ANSWERS, Model, Scope, Walk};
pub use fencepost_models::checker::{Budget, Spend};
use fencepost_models::property::{Property, PropertySet, Violation};
use fencepost_models::subject::{Play, Subject};
use fencepost_models::trace::Trace;
use fencepost_models::world::{Bounds, Setup};

use crate::algorithm::Card;
use crate::story::Story;
use graph::{MOST_INSTANCES, MOST_STATES, Places};
use liveness::EVERYBODY;
use search::{Limits, Search};
pub use search::{Progress, Stopped};

/// What an exhaustive check explores. Lengths are in ticks.
#[derive(Clone, Debug)]
pub struct CheckPlan {
    /// How many instances: 1 to 3.
    pub instances: u32,
    /// How long an entry lives.
    pub ttl: u32,
    /// How long a message takes at most, one way.
    pub delay: u32,
    /// Whether published hints are delivered.
    pub hints: bool,
    /// How many jobs callers schedule, where they do: 1 or 2.
    pub jobs: u32,
    /// Whether they do so before time passes, or never.
    pub at_once: bool,
    /// What may go wrong, and how often.
    pub budget: Budget,
    /// Whether each fault is tried by itself: one graph for each instead of one for all. What two faults do together is
    /// not seen then.
    pub apart: bool,
    /// Whether instances that can be exchanged are, where the algorithm treats all alike.
    pub symmetry: bool,
    /// Whether of two orders of steps that come to the same, one is tried, where the algorithm has jobs and messages take no
    /// time.
    pub reduction: bool,
    /// Whether properties are judged even where what they assume is broken on purpose.
    pub strict: bool,
    /// Whether to go on to the end although something is broken. Otherwise it ends after some 200,000 states.
    pub keep_going: bool,
    /// How many threads.
    pub threads: usize,
    /// How many states at most.
    pub max_states: usize,
    /// How many bytes of memory at most.
    pub max_memory: usize,
}

impl Default for CheckPlan {
    fn default() -> CheckPlan {
        CheckPlan {
            instances: 2,
            ttl: 3,
            delay: 1,
            hints: false,
            jobs: 1,
            at_once: false,
            budget: Budget::NONE,
            apart: false,
            symmetry: true,
            reduction: true,
            strict: false,
            keep_going: false,
            threads: 1,
            max_states: 50_000_000,
            max_memory: 8 << 30,
        }
    }
}

/// What only happens if callers wish it, and without which nothing may happen at all.
pub(crate) const WISHES: [Spend; 3] = [Spend::Schedule, Spend::Reschedule, Spend::Withdraw];

impl CheckPlan {
    /// The lengths from which an algorithm makes its configurations.
    pub fn ticks(&self) -> Ticks {
        let tick_if = |what| u32::from(self.budget.left(what) > 0);
        Ticks {
            ttl: self.ttl,
            delay: self.delay,
            drift: u32::from(self.budget.left(Spend::Drift)),
            grain: tick_if(Spend::Grain),
        }
    }

    /// What callers may ask for. That is no fault: it happens beside each of them.
    pub(crate) fn wishes(&self) -> Budget {
        WISHES.into_iter().fold(Budget::NONE, |all, what| all.with(what, self.budget.left(what)))
    }

    /// The plans that it comes to: one, or one for each fault.
    pub(crate) fn parts(&self) -> Vec<CheckPlan> {
        let wishes = self.wishes();
        let faults = Spend::ALL.into_iter().filter(|what| self.budget.left(*what) > wishes.left(*what));
        let alone: Vec<_> = faults.map(|what| wishes.with(what, self.budget.left(what))).collect();
        let budgets = if self.apart && !alone.is_empty() { alone } else { vec![self.budget] };
        budgets.into_iter().map(|budget| CheckPlan { budget, ..self.clone() }).collect()
    }

    /// Whether it can be explored at all.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let bounds = [
            ("--instances", self.instances as usize, 1, MOST_INSTANCES as usize),
            ("--ttl", self.ttl as usize, 1, 100),
            ("--delay", self.delay as usize, 0, 20),
            ("--jobs", self.jobs as usize, 1, MOST_INSTANCES as usize - 1),
            ("--max-states", self.max_states, 1, MOST_STATES),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} is {value}; an exhaustive check takes {least} to {most}"));
            }
        }
        for (what, needs, met) in [
            (Spend::HintLoss, "--hints", self.hints),
            (Spend::Rejoin, "--crashes", self.budget.left(Spend::Crash) > 0),
        ] {
            if self.budget.left(what) > 0 && !met {
                return Err(format!("--{} means nothing without {needs}", what.name()));
            }
        }
        Ok(())
    }
}

/// The lengths from which an algorithm makes its configurations for an exhaustive check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// How long an entry lives.
    pub ttl: u32,
    /// How long a message takes at most, one way.
    pub delay: u32,
    /// By how many ticks clocks may differ, in all.
    pub drift: u32,
    /// By how many ticks entries may expire too early or too late.
    pub grain: u32,
}

/// One configuration that is checked.
#[derive(Clone, Debug)]
pub struct Case<C> {
    /// What it is called.
    pub name: String,
    /// How long a tick is in it.
    pub tick: Span,
    /// The configuration.
    pub config: C,
}

/// What became of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It holds in every state and on every path within the bounds.
    Proved,
    /// It is broken.
    Violated,
    /// A limit was hit before it was.
    Open,
    /// It was not judged.
    Unasked(String),
}

/// A promise and what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The promise.
    pub property: Property,
    /// What was asked, where it differs from the promise's name.
    pub question: &'static str,
    /// What became of it.
    pub ruling: Ruling,
}

/// A failure, on a shortest path.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What is broken.
    pub property: Property,
    /// Which known defect it comes from.
    pub defect: Option<&'static str>,
    /// The path.
    pub trace: Trace,
    /// The path, told.
    pub story: Story,
}

/// What a check of one configuration came to.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which configuration.
    pub case: String,
    /// The promises.
    pub rows: Vec<Row>,
    /// The failures, each on a shortest path.
    pub counterexamples: Vec<Counterexample>,
    /// States that differ.
    pub states: u64,
    /// Steps tried, and the beginning.
    pub generated: u64,
    /// How many steps the farthest state is from the first.
    pub depth: u32,
    /// How long it took.
    pub elapsed: Duration,
    /// The memory that the graph took, and the states that were waiting when it was largest.
    pub bytes: u64,
    /// Why it ended too soon, if it did.
    pub stopped: Option<Stopped>,
}

impl Checked {
    /// Whether everything that was asked is proved.
    pub fn is_proved(&self) -> bool {
        self.rows.iter().all(|row| matches!(row.ruling, Ruling::Proved | Ruling::Unasked(_)))
    }

    /// This and another one, of the same configuration and the same promises.
    pub(crate) fn and(mut self, other: Checked) -> Checked {
        for (row, other) in self.rows.iter_mut().zip(other.rows) {
            row.ruling = match (std::mem::replace(&mut row.ruling, Ruling::Proved), other.ruling) {
                (Ruling::Violated, _) | (_, Ruling::Violated) => Ruling::Violated,
                (Ruling::Open, _) | (_, Ruling::Open) => Ruling::Open,
                (Ruling::Unasked(why), _) => Ruling::Unasked(why),
                (Ruling::Proved, ruling) => ruling,
            };
        }
        for example in other.counterexamples {
            let is_same =
                |one: &Counterexample| (one.property, one.defect) == (example.property, example.defect);
            match self.counterexamples.iter_mut().find(|one| is_same(one)) {
                Some(one) if one.trace.steps.len() > example.trace.steps.len() => *one = example,
                Some(_) => {}
                None => self.counterexamples.push(example),
            }
        }
        self.counterexamples.sort_by_key(|one| (one.property, one.defect));
        self.states += other.states;
        self.generated += other.generated;
        self.depth = self.depth.max(other.depth);
        self.elapsed += other.elapsed;
        self.bytes = self.bytes.max(other.bytes);
        self.stopped = self.stopped.or(other.stopped);
        self
    }

    /// Whether something is broken.
    pub fn is_violated(&self) -> bool {
        !self.counterexamples.is_empty()
    }
}

/// A check in which something is broken goes on until it has met so many states: what else is broken is mostly near.
const ENOUGH: usize = 200_000;

/// What no exhaustive check is asked.
const SIMULATED_ONLY: [(Property, &str); 6] = [
    (Property::Promptness, "simulated only; how long a wait is, a check in ticks does not tell"),
    (Property::Order, "simulated only; a check asks whether somebody may starve"),
    (Property::Determinism, "a promise of the simulator"),
    (Property::PreemptionNoticed, "simulated only"),
    (Property::BoundedHold, "simulated only"),
    (Property::NoStarvation, "simulated only"),
];

/// Why an algorithm cannot be checked.
pub(crate) fn no_ticks(card: &Card) -> String {
    let name = &card.name;
    format!("{name} says nothing of lengths in ticks: it can be hunted, not checked (hunt {name})")
}

/// The scope of one configuration.
pub(crate) fn scope<M: Subject>(
    plan: &CheckPlan,
    case: &Case<M::Config>,
    promises: PropertySet,
    keeps_facts: bool,
) -> Result<Scope<M::Config>, String> {
    let (tick, ttl) = (case.tick, M::ttl(&case.config));
    let late = plan.ticks().drift + plan.ticks().grain;
    let bounds = Bounds {
        delay: tick * u64::from(plan.delay),
        // Whatever is due between two ticks happens at the second.
        slack: tick.minus(Span::from_nanos(1)),
        call: tick * u64::from(plan.delay * 2).max(1),
        orphan: tick * u64::from(late),
        progress: (ttl + tick * u64::from(plan.delay + late)) * 5,
    };
    let setup = Setup {
        config: case.config.clone(),
        instances: plan.instances,
        resources: 1,
        jobs: if M::PLAY.has_jobs() { plan.jobs } else { 0 },
        stores: 1,
        hints: plan.hints,
        // Or there would be no end of them within a tick.
        merges_hints: true,
        bounds,
        strict: plan.strict,
    };
    let unasked = PropertySet::of(&SIMULATED_ONLY.map(|(property, _)| property));
    let mut judged = promises.without(unasked);
    if !is_stable::<M>(plan, case) {
        judged = judged.without(PropertySet::of(&[Property::Stability]));
    }
    let CheckPlan { budget, symmetry, reduction, at_once, .. } = *plan;
    Ok(Scope { setup, tick, budget, judged, keeps_facts, symmetry, reduction, at_once })
}

/// Whether messages are fast enough for stability to be promised.
fn is_stable<M: Subject>(plan: &CheckPlan, case: &Case<M::Config>) -> bool {
    case.tick * u64::from(plan.delay * 2) < M::stable_round_trip(&case.config)
}

/// A walk that shows a failure.
pub(crate) struct Witness<M: Subject> {
    pub(crate) property: Property,
    pub(crate) defect: Option<&'static str>,
    pub(crate) walk: Walk<M>,
}

/// One check: what is explored, what was promised, and how violations are told apart.
pub(crate) struct Check<'a, M: Subject> {
    pub(crate) plan: &'a CheckPlan,
    pub(crate) model: &'a Model<M>,
    pub(crate) promises: PropertySet,
    pub(crate) label: &'a (dyn Fn(&Violation) -> Option<&'static str> + Sync),
}

impl<M: Subject> Check<'_, M> {
    /// Explores everything. `watch` hears how far it is, and says whether to go on.
    pub(crate) fn run(&self, watch: &dyn Fn(Progress) -> bool) -> Result<(Checked, Vec<Witness<M>>), String> {
        let start = std::time::Instant::now();
        let peak = Cell::new(0);
        let mut search = Search::new(self.model, self.label, self.plan.threads);
        let CheckPlan { max_states: states, max_memory: bytes, keep_going, .. } = *self.plan;
        let limits = Limits { states, bytes, broken: if keep_going { usize::MAX } else { ENOUGH } };
        let stopped = search.run(limits, &|progress| {
            peak.set(progress.bytes.max(peak.get()));
            watch(progress)
        });
        let mut witnesses = self.violations(&search)?;
        let mut rows = self.rule_on_steps(&witnesses, stopped);
        self.rule_on_paths(&search, stopped, &mut rows, &mut witnesses)?;
        let checked = Checked {
            case: String::new(),
            rows,
            counterexamples: Vec::new(),
            states: search.graph.len() as u64,
            generated: search.generated,
            depth: search.depth,
            elapsed: start.elapsed(),
            bytes: peak.get(),
            stopped,
        };
        Ok((checked, witnesses))
    }

    /// What single steps broke.
    fn violations(&self, search: &Search<'_, M>) -> Result<Vec<Witness<M>>, String> {
        let witnesses = search.met.iter().map(|(&(property, defect), met)| {
            let shows = |walk: &Walk<M>| {
                let mut violations = walk.world.verdict().violations().iter();
                violations.any(|one| one.property == property && (self.label)(one) == defect)
            };
            let walk = witness::violation(self.model, &search.graph, met, property, shows)?;
            Ok(walk.map(|walk| Witness { property, defect, walk }))
        });
        witnesses.filter_map(Result::transpose).collect()
    }

    fn rule_on_steps(&self, witnesses: &[Witness<M>], stopped: Option<Stopped>) -> Vec<Row> {
        let row = |property: Property| {
            let is_broken = witnesses.iter().any(|one| one.property == property);
            let ruling = match self.why_unasked(property) {
                Some(why) => Ruling::Unasked(why),
                None if is_broken => Ruling::Violated,
                None if stopped.is_some() => Ruling::Open,
                None => Ruling::Proved,
            };
            let question = match property {
                Property::Progress => "nobody patient is turned away",
                other => other.sentence(),
            };
            Row { property, question, ruling }
        };
        let is_of_steps = |property: &Property| match property {
            Property::Progress => M::PLAY == Play::Lock,
            // Only paths can tell.
            Property::NoJobLost => M::PLAY == Play::Write,
            _ => true,
        };
        self.promises.iter().filter(is_of_steps).map(row).collect()
    }

    fn why_unasked(&self, property: Property) -> Option<String> {
        let scope = self.model.scope();
        let simulated = SIMULATED_ONLY.iter().find(|(other, _)| *other == property);
        let slow = || {
            let (limit, trip) = (M::stable_round_trip(&scope.setup.config), scope.setup.bounds.delay * 2);
            format!("is promised where a round trip takes less than {limit}, and it may take {trip} here")
        };
        simulated.map(|(_, why)| (*why).to_owned()).or_else(|| (!scope.judged.has(property)).then(slow))
    }

    /// Asks the finished graph what no single step can answer.
    fn rule_on_paths(
        &self,
        search: &Search<'_, M>,
        stopped: Option<Stopped>,
        rows: &mut Vec<Row>,
        witnesses: &mut Vec<Witness<M>>,
    ) -> Result<(), String> {
        let (model, graph) = (self.model, &search.graph);
        let mut rule = |property: Property, question, walk: Option<Walk<M>>| {
            let ruling = match (stopped, &walk) {
                (Some(_), _) => Ruling::Open,
                (None, None) => Ruling::Proved,
                (None, Some(_)) => Ruling::Violated,
            };
            rows.push(Row { property, question, ruling });
            witnesses.extend(walk.map(|walk| {
                let mut violations = walk.world.verdict().violations().iter();
                let defect = violations.find(|one| one.property == property).and_then(self.label);
                Witness { property, defect, walk }
            }));
        };
        for &(property, among, question) in questions::<M>() {
            if !self.promises.has(property) {
                continue;
            }
            let stuck = stopped.is_none().then(|| liveness::stuck(graph, among)).flatten();
            let walk = stuck.map(|stuck| witness::stuck(model, graph, stuck)).transpose()?;
            rule(property, question, walk);
        }
        if self.promises.has(Property::Progress) && self.promises.has(Property::Order) && !model.sorts() {
            let starved = stopped.is_none().then(|| liveness::starvation(graph)).flatten();
            let walk = starved.map(|found| witness::starvation(model, graph, &found.circle)).transpose()?;
            rule(Property::Progress, "nobody waits for ever while others come and go", walk);
        }
        Ok(())
    }
}

/// What is asked of every state: who must be able to get what he waits for, along some path without a fault.
fn questions<M: Subject>() -> &'static [(Property, Places, &'static str)] {
    match M::PLAY {
        Play::Lock => &[(Property::Progress, EVERYBODY, "from everywhere, everybody who waits can get in")],
        Play::Lead => &[(
            Property::Progress,
            EVERYBODY,
            "from everywhere, somebody can be raised if nobody is, and whoever closes can close",
        )],
        Play::Write => &[
            (
                Property::NoJobLost,
                ANSWERS - 1,
                "from everywhere, every object that is still to be written can be",
            ),
            (
                Property::Progress,
                ANSWERS,
                "from everywhere, everybody who waits can learn who leads, or close",
            ),
        ],
        Play::Job | Play::Once => &[
            (
                Property::NoJobLost,
                ANSWERS - 1,
                "from everywhere, every job that has still to begin can begin",
            ),
            (Property::Progress, ANSWERS, "from everywhere, everybody who asked can be answered"),
        ],
    }
}
