//! Steps that need not wait for others: of two orders that come to the same, one is tried.
//!
//! Where messages take no time, an answer that has reached its instance arrives before time passes. If that tells
//! nobody anything, what others do meanwhile comes to the same before it and after it, and breaks the same promises.
//! So the instance takes its steps first, and the others are tried after each of them (a partial-order reduction; what
//! goes first is a persistent set). `models/tests/common/orders.rs` compares the orders of such pairs.
//!
//! An instance goes first if
//!
//! 1. an answer that it awaits can arrive, and no request that it awaits is under way, so that the stores owe it nothing;
//! 2. its caller may ask nothing now, and writes nothing;
//! 3. whatever it may do next, unless that is a fault, tells nobody anything, breaks nothing, and leaves its belief as
//!    it is.
//!
//! A step of it takes an answer away and adds none, so that everybody else's turn comes. Its faults are tried before
//! each of its steps: the others cannot prevent them but by a fault of their own. Of a fault that others meet before it,
//! the monitors excuse no less afterwards, so the order that is tried is the stricter one.

use fencepost::time::Span;

use super::{Budget, Choice, Model, NOON_TIME};
use crate::subject::{InstanceId, Play, Subject};
use crate::world::{Action, Leg, Stage, State, World};

impl<M: Subject> Model<M> {
    /// Whether steps that need not wait for others go first.
    pub fn reduces(&self) -> bool {
        let (scope, setup) = (self.scope(), &self.scope().setup);
        let is_prompt = setup.bounds.delay == Span::ZERO && !setup.hints && setup.resources == 1;
        scope.reduction && is_prompt && !scope.keeps_facts && matches!(M::PLAY, Play::Job | Play::Once)
    }

    /// Who goes first in a node, if anybody does. These are its choices; they are tried in `trial`.
    pub fn first(&self, node: &World<M>, choices: &[Choice], trial: &mut World<M>) -> Option<InstanceId> {
        let all = (0..node.instances().len() as u32).map(InstanceId);
        all.filter(|&id| is_owed_nothing(node, id)).find(|&id| {
            let mut own = choices.iter().filter(|choice| choice.whose(node) == Some(id));
            own.all(|&choice| self.is_private(node, choice, id, trial))
        })
    }

    /// Whether nobody else can tell when that is done, or it is a fault.
    fn is_private(&self, node: &World<M>, choice: Choice, id: InstanceId, trial: &mut World<M>) -> bool {
        if matches!(choice, Choice::Do(Action::Ask(..) | Action::Write(_))) {
            return false;
        }
        if choice.spends(node).is_some() {
            return true;
        }
        trial.become_like(node);
        let belief = node.instance(id).machine.belief();
        self.make(choice, trial, &mut NOON_TIME.clone(), &mut Budget::NONE.clone(), |_, _, _| {});
        let after = trial.instance(id);
        trial.told().is_empty()
            && trial.verdict().violations().is_empty()
            && after.machine.belief() == belief
            && after.state == State::Up
    }
}

impl Choice {
    /// The instance that it concerns and nobody else; a message concerns whoever awaits it.
    pub fn whose<M: Subject>(&self, world: &World<M>) -> Option<InstanceId> {
        let Choice::Do(action) = self else { return None };
        match *action {
            Action::Serve(flight, _)
            | Action::Deliver(flight)
            | Action::Lose(flight)
            | Action::Duplicate(flight)
            | Action::Stall(flight)
            | Action::GiveUp(flight) => {
                let flight = world.flight(flight)?;
                let is_nobodys = matches!(flight.leg, Leg::Request(_)) && !flight.is_awaited();
                (!is_nobodys).then_some(flight.instance)
            }
            Action::Ask(id, _)
            | Action::Write(id)
            | Action::Forget(id)
            | Action::Wake(id)
            | Action::Pause(id)
            | Action::Suspend(id)
            | Action::Resume(id)
            | Action::Crash(id)
            | Action::Restart(id)
            | Action::Rejoin(id)
            | Action::SetRate(id, _)
            | Action::Jump(id, _)
            | Action::CutToStore(id, _)
            | Action::CutFromStore(id, _) => Some(id),
            Action::StorePause(_)
            | Action::StoreResume(_)
            | Action::StoreRestart(_)
            | Action::StoreRate(..)
            | Action::Lag(_)
            | Action::CatchUp(_)
            | Action::FailOver(_)
            | Action::SetGrain(..)
            | Action::WipeCounter(_)
            | Action::StoreJump(..)
            | Action::Heal
            | Action::End => None,
        }
    }
}

/// Whether an answer can arrive at an instance, and the stores owe it none.
fn is_owed_nothing<M: Subject>(world: &World<M>, id: InstanceId) -> bool {
    let instance = world.instance(id);
    let waits = matches!(instance.caller.stage, Stage::Waiting | Stage::Leaving);
    let own =
        || world.flights().map(|(_, flight)| flight).filter(|one| one.instance == id && one.is_awaited());
    instance.state == State::Up
        && waits
        && own().any(|flight| matches!(flight.leg, Leg::Reply(..)) && !flight.stalled)
        && !own().any(|flight| matches!(flight.leg, Leg::Request(_)))
}
