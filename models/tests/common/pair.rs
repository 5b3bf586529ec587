//! A world that goes on by itself, and beside it the same world, brought to normal form after every step.
//!
//! The normal form is sound if nobody can tell the two apart: whatever can happen to the one can happen to the other,
//! breaks the same promises, and leads to worlds of which the same is true. The normal form is frozen and thawed in
//! between, as it is by whoever searches. A request that nobody waits for and that
//! can do nothing any more is in the one and not in the other; whatever happens to it must come to nothing.

use std::collections::BTreeSet;

use fencepost_models::checker::{Budget, Choice, Model, NOON_TIME, Node, Parts, Scope, Walk};
use fencepost_models::clock::Time;
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::normal::Normaliser;
use fencepost_models::property::{Facts, Property};
use fencepost_models::subject::Subject;
use fencepost_models::world::{Action, Flight, FlightId, Leg, Service, World};
use proptest::prelude::*;

/// What a walk likes to do: the weight of each kind of step, where one that is neither has [`Taste::USUAL`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taste {
    /// Letting time pass.
    pub(crate) tick: u32,
    /// Waking what was put to sleep, and letting arrive what was held up.
    pub(crate) revive: u32,
    /// Letting something go wrong.
    pub(crate) fault: u32,
}

impl Taste {
    const USUAL: u32 = 8;

    fn weight<M: Subject>(&self, world: &World<M>, choice: Choice) -> u32 {
        let is_stalled = |id: FlightId| world.flight(id).is_some_and(|flight| flight.stalled);
        match choice {
            _ if choice.spends(world).is_some() => self.fault,
            Choice::Tick => self.tick,
            Choice::Do(Action::Resume(_) | Action::Restart(_)) => self.revive,
            Choice::Do(Action::Serve(id, _) | Action::Deliver(id)) if is_stalled(id) => self.revive,
            Choice::Do(_) | Choice::Skip(_) | Choice::Double(_) => Taste::USUAL,
        }
    }
}

/// Some hurry, some wait long, and some let everything go wrong at once.
pub(crate) fn a_taste() -> impl Strategy<Value = Taste> {
    let [tick, revive, fault] =
        [[4, 16, 64], [1, 2, 8], [1, 3, 10]].map(|weights| prop::sample::select(weights.to_vec()));
    (tick, revive, fault).prop_map(|(tick, revive, fault)| Taste { tick, revive, fault })
}

/// What a choice comes to: all that a checker sees of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    print: u64,
    broken: Vec<Property>,
    /// The circumstances of what was broken, if they are kept.
    facts: String,
}

/// The two worlds.
pub(crate) struct Pair<'a, M: Subject> {
    model: &'a Model<M>,
    normaliser: Normaliser,
    walk: Walk<M>,
    node: Node<M>,
    parts: Parts<M>,
}

impl<'a, M: Subject> Pair<'a, M> {
    /// Both where every path begins.
    pub(crate) fn new(model: &'a Model<M>) -> Pair<'a, M> {
        let mut normaliser = model.normaliser();
        let (walk, node) = (model.start(), model.root(&mut normaliser));
        Pair { model, normaliser, walk, node, parts: Parts::new(true) }
    }

    /// Compares all that can happen next, and takes the same step with both.
    pub(crate) fn step(&mut self, taste: Taste, draw: u32) -> Result<(), String> {
        if self.walk.node(self.model, &mut self.normaliser).print() != self.node.print() {
            return Err(self.complaint("the worlds differ"));
        }
        self.serve_moot();
        let moot = self.moot();
        let (world, normal) = (self.walk.world.clone(), self.node.world.clone());
        let (budget, normal_budget) = (self.walk.budget, self.node.budget);
        let (idle, choices): (Vec<Choice>, Vec<Choice>) =
            self.choices(&world, self.walk.now, &budget).into_iter().partition(|one| concerns(one, &moot));
        let outcomes = self.outcomes(choices, &world, self.walk.now, &budget);
        let normal_choices = self.choices(&normal, NOON_TIME, &normal_budget);
        let normal_outcomes = self.outcomes(normal_choices, &normal, NOON_TIME, &normal_budget);
        if let Some(difference) = difference(&outcomes, &normal_outcomes) {
            return Err(self.complaint(&difference));
        }
        if let Some(choice) = idle.into_iter().find(|&choice| !self.is_idle(choice)) {
            return Err(self.complaint(&format!("{choice:?} should come to nothing")));
        }
        let weigh = |(_, choice): &(Outcome, Choice)| taste.weight(&normal, *choice);
        let chosen = pick(&normal_outcomes.iter().map(weigh).collect::<Vec<u32>>(), draw);
        self.walk.world.forgive();
        self.walk.make(self.model, outcomes[chosen].1);
        let node = self.model.follow(&self.node, normal_outcomes[chosen].1, &mut self.normaliser);
        self.freeze(node);
        Ok(())
    }

    /// Freezes a node, and thaws it in the memory of the one before.
    fn freeze(&mut self, node: Node<M>) {
        let (mut row, mut world) = (Vec::new(), node.world.clone());
        self.parts.freeze(&mut world, &node.budget, &mut self.normaliser, &mut row);
        let before = std::mem::replace(&mut self.node, node);
        self.node.world = before.world;
        self.parts.thaw(&row, &mut self.node.world, &mut self.node.budget);
    }

    /// A moot request must arrive in time all the same, where it was not forgotten.
    fn serve_moot(&mut self) {
        let end = self.walk.now + self.model.scope().tick;
        for id in self.moot() {
            if self.walk.world.due(id).is_some_and(|due| due < end) {
                self.walk.apply(Action::Serve(id, Service::Done));
            }
        }
    }

    /// The requests that nobody waits for and that come to nothing.
    fn moot(&mut self) -> BTreeSet<FlightId> {
        let is_request = |flight: &Flight<M>| matches!(flight.leg, Leg::Request(_)) && !flight.is_awaited();
        let requests: Vec<FlightId> =
            self.walk.world.flights().filter(|(_, one)| is_request(one)).map(|(id, _)| id).collect();
        requests
            .into_iter()
            .filter(|&id| self.is_idle(Choice::Do(Action::Serve(id, Service::Done))))
            .collect()
    }

    /// Whether a choice in the world that goes on by itself changes nothing but the budget.
    fn is_idle(&mut self, choice: Choice) -> bool {
        // That something goes wrong excuses whoever is concerned, and so at least breaks no more than if it had not.
        if let Choice::Do(Action::Serve(_, Service::ErrorBefore | Service::ErrorAfter)) = choice {
            return true;
        }
        let Walk { mut world, mut now, mut budget, .. } = self.walk.clone();
        world.forgive();
        self.model.make(choice, &mut world, &mut now, &mut budget, |_, _, _| {});
        let after = self.model.node(world, now, budget, &mut self.normaliser);
        let before = self.model.node(self.node.world.clone(), NOON_TIME, budget, &mut self.normaliser);
        after == before
    }

    /// What may happen next.
    fn choices(&self, world: &World<M>, now: Time, budget: &Budget) -> Vec<Choice> {
        let mut choices = Vec::new();
        self.model.choices(world, now, budget, &mut choices);
        choices
    }

    /// What each choice comes to, in the order of outcomes.
    fn outcomes(
        &mut self,
        choices: Vec<Choice>,
        world: &World<M>,
        now: Time,
        budget: &Budget,
    ) -> Vec<(Outcome, Choice)> {
        let outcomes = choices.into_iter().map(|choice| (self.outcome(choice, world, now, budget), choice));
        let mut outcomes: Vec<(Outcome, Choice)> = outcomes.collect();
        outcomes.sort_by(|(one, _), (other, _)| one.cmp(other));
        outcomes
    }

    fn outcome(&mut self, choice: Choice, world: &World<M>, mut now: Time, budget: &Budget) -> Outcome {
        let (mut world, mut budget) = (world.clone(), *budget);
        world.forgive();
        self.model.make(choice, &mut world, &mut now, &mut budget, |_, _, _| {});
        let Scope { keeps_facts, symmetry, setup, .. } = self.model.scope();
        // Of several who broke one promise, the first is named; who that is depends on their order.
        let names_all = !symmetry && setup.instances <= 2;
        let facts = if *keeps_facts && names_all { facts(&world) } else { String::new() };
        let node = self.model.node(world, now, budget, &mut self.normaliser);
        Outcome { print: node.print(), broken: node.broken.iter().collect(), facts }
    }

    /// The two worlds in words, where they differ, and how they came to be.
    fn complaint(&mut self, what: &str) -> String {
        let walked = self.walk.node(self.model, &mut self.normaliser);
        let steps: Vec<String> = self.walk.steps.iter().map(|step| format!("{step:?}\n")).collect();
        let [one, other] = [&walked, &self.node].map(|node| format!("{:#?}", node.world));
        let differ = one.lines().zip(other.lines()).filter(|(one, other)| one != other);
        let differ: Vec<String> =
            differ.map(|(one, other)| format!("{one}, in normal form {other}\n")).collect();
        let (steps, differ) = (steps.concat(), differ.concat());
        format!("{what}\n{:?}\n{steps}{walked:?}in normal form:\n{:?}{differ}", self.model.scope(), self.node)
    }
}

fn concerns(choice: &Choice, flights: &BTreeSet<FlightId>) -> bool {
    match choice {
        Choice::Do(
            Action::Serve(id, _)
            | Action::Deliver(id)
            | Action::Lose(id)
            | Action::Duplicate(id)
            | Action::Stall(id),
        ) => flights.contains(id),
        Choice::Do(_) | Choice::Tick | Choice::Skip(_) | Choice::Double(_) => false,
    }
}

/// The circumstances of what was broken. Errors of wall clocks that nobody reads are none.
fn facts<M: Subject>(world: &World<M>) -> String {
    let unread = if M::READS_WALL { FaultSet::NONE } else { FaultSet::of(&[Fault::WallJump]) };
    let facts = world.verdict().violations().iter().map(|one| {
        let (culprit, other) = (one.facts.culprit.without(unread), one.facts.other.without(unread));
        format!("{} {:?}; ", one.property, Facts { culprit, other, ..one.facts })
    });
    facts.collect()
}

/// What one has and the other has not.
fn difference(outcomes: &[(Outcome, Choice)], normal: &[(Outcome, Choice)]) -> Option<String> {
    let pure = |list: &[(Outcome, Choice)]| list.iter().map(|(one, _)| one.clone()).collect::<Vec<_>>();
    if pure(outcomes) == pure(normal) {
        return None;
    }
    let lone = |these: &[(Outcome, Choice)], those: &[(Outcome, Choice)]| {
        let lone = these.iter().filter(|(one, _)| !those.iter().any(|(other, _)| other == one));
        lone.cloned().collect::<Vec<_>>()
    };
    Some(format!(
        "{} choices by itself, {} in normal form; only by itself {:?}; only in normal form {:?}",
        outcomes.len(),
        normal.len(),
        lone(outcomes, normal),
        lone(normal, outcomes)
    ))
}

/// The place in which a draw falls.
fn pick(weights: &[u32], draw: u32) -> usize {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut left = (u64::from(draw) * total) >> 32;
    let falls = |weight: &u32| {
        let is_here = left < u64::from(*weight);
        left = left.saturating_sub(u64::from(*weight));
        is_here
    };
    weights.iter().position(falls).unwrap_or_default()
}

/// Walks through a scope, a step for each draw. Nobody may tell the two worlds apart.
pub(crate) fn check<M: Subject>(scope: Scope<M::Config>, taste: Taste, draws: &[u32]) -> Result<(), String> {
    let model = Model::<M>::new(scope);
    let mut pair = Pair::new(&model);
    draws.iter().try_for_each(|&draw| pair.step(taste, draw))
}
