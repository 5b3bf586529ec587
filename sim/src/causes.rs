//! Which events of a story its failure comes from.
//!
//! An event is left aside if the others, applied without it at the same moments, go as they went: each tells, finds and
//! sends what it did, and the same is broken in the same way. What went wrong is never left aside: a fair run needs it, even
//! where a message that is simply never delivered would do. Nor is anything that those concerned did, where the failure is
//! that something did not come: of who is left alone, everybody waits in vain.

use std::collections::BTreeMap;

use fencepost::machine::Machine;
use fencepost_models::digest::Digest;
use fencepost_models::property::{Property, PropertySet, Violation};
use fencepost_models::store::Touch;
use fencepost_models::subject::{InstanceId, Subject, Told};
use fencepost_models::trace::{Step, resolve};
use fencepost_models::world::{Action, FlightId, Leg, Setup, World};

use crate::shrink::actor;

/// Longer traces are not asked: they were not shrunk.
const MOST_STEPS: usize = 3_000;

/// Whether what breaks the property is that something does not come.
fn is_absence(property: Property) -> bool {
    match property {
        Property::LossNoticed
        | Property::NoOrphan
        | Property::Progress
        | Property::Reconciliation
        | Property::NoJobLost
        | Property::PreemptionNoticed
        | Property::BoundedHold
        | Property::NoStarvation
        | Property::NothingAfterClose
        | Property::Promptness => true,
        Property::BelievedExclusion
        | Property::FencedExclusion
        | Property::NoTheft
        | Property::OwnerOnlyRelease
        | Property::OwnerOnlyRenewal
        | Property::Stability
        | Property::Punctuality
        | Property::NoPanic
        | Property::Order
        | Property::Determinism
        | Property::OncePerOccurrence
        | Property::NotEarly
        | Property::TermsInOrder => false,
    }
}

/// A message by the event that sent it, and its place among what that one sent.
type Origin = (usize, usize);

/// What came of an event.
struct Event<M: Subject> {
    action: Action,
    /// The message that it is about.
    about: Option<Origin>,
    told: Vec<(InstanceId, Told)>,
    found: Found,
    sent: Vec<Sent<M>>,
    needed: bool,
}

/// Who sent it, or is to get it, and which call it is.
type Sent<M> = (InstanceId, Option<<M as Machine>::Call>);

/// What a store did and said: to whose entry, and the digest of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    touch: Option<(Deed, Option<InstanceId>)>,
    answer: Option<u64>,
}

/// What was done to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    Wrote,
    Refused,
    Renewed,
    Deleted,
    Revoked,
}

fn found<M: Subject>(world: &World<M>, action: &Action) -> Found {
    let of = |touch: Touch| match touch {
        Touch::None => (Deed::Nothing, None),
        Touch::Wrote(over) => (Deed::Wrote, over.map(|mark| mark.by.instance)),
        Touch::Refused(mark) => (Deed::Refused, Some(mark.by.instance)),
        Touch::Renewed(mark) => (Deed::Renewed, Some(mark.by.instance)),
        Touch::Deleted(mark) => (Deed::Deleted, Some(mark.by.instance)),
        Touch::Revoked(mark) => (Deed::Revoked, Some(mark.by.instance)),
    };
    let answer =
        subject(action).and_then(|flight| world.flight(flight)).and_then(|flight| match &flight.leg {
            Leg::Reply(answer, _) => Some(Digest::of(answer)),
            Leg::Request(_) | Leg::Lost | Leg::Hint(_) | Leg::Write { .. } | Leg::Landed => None,
        });
    Found { touch: world.touched().map(|(_, touch, _)| of(touch)), answer }
}

fn sent<M: Subject>(world: &World<M>) -> Vec<Sent<M>> {
    let fresh = world.fresh().iter().filter_map(|id| world.flight(*id));
    fresh.map(|flight| (flight.instance, flight.call)).collect()
}

/// Which of the steps a failure comes from; `None`, if they do not show it, or are too many.
pub(crate) fn causes<M: Subject>(
    setup: &Setup<M::Config>,
    steps: &[Step],
    judged: PropertySet,
    target: impl Fn(&Violation) -> bool,
) -> Option<Vec<bool>> {
    if steps.len() > MOST_STEPS {
        return None;
    }
    let mut world = World::<M>::new(setup, judged);
    let (mut events, violation) = observe(&mut world, steps, &target)?;
    if is_absence(violation.property) {
        let concerned = [Some(violation.culprit), violation.other];
        for (event, step) in events.iter_mut().zip(steps) {
            event.needed |= actor(&step.deed).is_some_and(|id| concerned.contains(&Some(id)));
        }
    }
    let mut slicer = Slicer { world, setup, steps, kept: vec![true; events.len()], events, violation };
    slicer.slice();
    let mut kept = slicer.kept;
    kept.resize(steps.len(), false);
    Some(kept)
}

/// Applies all of it, up to the failure.
fn observe<M: Subject>(
    world: &mut World<M>,
    steps: &[Step],
    target: &impl Fn(&Violation) -> bool,
) -> Option<(Vec<Event<M>>, Violation)> {
    let (mut events, mut origins) = (Vec::new(), BTreeMap::<FlightId, Origin>::new());
    for (index, step) in steps.iter().enumerate() {
        let action = resolve(world, &step.deed)?;
        world.check(step.t, &action).ok()?;
        let about = subject(&action).and_then(|flight| origins.get(&flight).copied());
        world.apply(step.t, action, step.draw);
        origins.extend(world.fresh().iter().enumerate().map(|(place, flight)| (*flight, (index, place))));
        let needed = action.is_fault() || matches!(action, Action::Heal | Action::End);
        let (told, found, sent) = (world.told().to_vec(), found(world, &action), sent(world));
        events.push(Event { action, about, told, found, sent, needed });
        if let Some(violation) = world.verdict().violations().iter().find(|one| target(one)) {
            if let Some(last) = events.last_mut() {
                last.needed = true;
            }
            return Some((events, *violation));
        }
    }
    None
}

struct Slicer<'a, M: Subject> {
    world: World<M>,
    setup: &'a Setup<M::Config>,
    steps: &'a [Step],
    events: Vec<Event<M>>,
    violation: Violation,
    kept: Vec<bool>,
}

impl<M: Subject> Slicer<'_, M> {
    /// Leaves aside what it can, long runs first, the last ones first: nothing depends on those.
    fn slice(&mut self) {
        let mut size = self.events.len().next_power_of_two() / 2;
        while size > 0 {
            let before = self.spare().len();
            let mut end = before;
            while end > 0 {
                let spare = self.spare();
                end = end.min(spare.len());
                let begin = end.saturating_sub(size);
                spare[begin..end].iter().for_each(|index| self.kept[*index] = false);
                if !self.goes_as_before() {
                    spare[begin..end].iter().for_each(|index| self.kept[*index] = true);
                }
                end = begin;
            }
            // One may be in the way of another that comes before it.
            if size > 1 || self.spare().len() == before {
                size /= 2;
            }
        }
    }

    /// What is kept, and need not be.
    fn spare(&self) -> Vec<usize> {
        (0..self.events.len()).filter(|index| self.kept[*index] && !self.events[*index].needed).collect()
    }

    /// Whether what is kept goes as it went, and breaks the same.
    fn goes_as_before(&mut self) -> bool {
        let Slicer { world, setup, steps, events, violation, kept } = self;
        world.reset(setup);
        let mut flights = BTreeMap::<Origin, FlightId>::new();
        for (index, event) in events.iter().enumerate().filter(|(index, _)| kept[*index]) {
            let step = &steps[index];
            let flight = event.about.map(|origin| flights.get(&origin).copied());
            let action = match (subject(&event.action), flight) {
                (None, _) => event.action,
                (Some(_), Some(Some(flight))) => about(event.action, flight),
                (Some(_), None | Some(None)) => return false,
            };
            if world.check(step.t, &action).is_err() {
                return false;
            }
            world.apply(step.t, action, step.draw);
            if world.told() != event.told || found(world, &action) != event.found {
                return false;
            }
            // It may send more, of which nothing comes.
            let fresh: Vec<_> = world.fresh().iter().copied().zip(sent(world)).collect();
            let mut fresh = fresh.into_iter();
            for (place, wanted) in event.sent.iter().enumerate() {
                let Some((flight, _)) = fresh.find(|(_, one)| one == wanted) else { return false };
                flights.insert((index, place), flight);
            }
        }
        let alike = |one: &Violation| Violation { action: violation.action, ..*one } == *violation;
        world.verdict().violations().iter().any(alike)
    }
}

/// The message that an action is about.
fn subject(action: &Action) -> Option<FlightId> {
    match *action {
        Action::Serve(id, _)
        | Action::Deliver(id)
        | Action::Lose(id)
        | Action::Duplicate(id)
        | Action::Stall(id)
        | Action::GiveUp(id) => Some(id),
        _ => None,
    }
}

/// The same action about another message.
fn about(action: Action, flight: FlightId) -> Action {
    match action {
        Action::Serve(_, how) => Action::Serve(flight, how),
        Action::Deliver(_) => Action::Deliver(flight),
        Action::Lose(_) => Action::Lose(flight),
        Action::Duplicate(_) => Action::Duplicate(flight),
        Action::Stall(_) => Action::Stall(flight),
        Action::GiveUp(_) => Action::GiveUp(flight),
        other => other,
    }
}
