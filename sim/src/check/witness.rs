//! A path through normal forms, walked again in a world that was never normalised: with real names, times and tokens.

use fencepost::time::Span;
use fencepost_models::checker::{Choice, Model, Walk};
use fencepost_models::normal::Normaliser;
use fencepost_models::property::Property;
use fencepost_models::subject::{Ask, Ending, InstanceId, JobId, Play, Subject, Writing};
use fencepost_models::world::{Action, Service, Stage, State, World};

use super::graph::Graph;
use super::search::Met;

/// Walks along the nodes of a path, and knows which instance stands at which place of each.
struct Guide<'a, M: Subject> {
    model: &'a Model<M>,
    normaliser: Normaliser,
    walk: Walk<M>,
    order: Vec<u32>,
}

impl<'a, M: Subject> Guide<'a, M> {
    fn new(model: &'a Model<M>) -> Guide<'a, M> {
        let walk = model.start();
        let order = (0..walk.world.instances().len() as u32).collect();
        Guide { model, normaliser: model.normaliser(), walk, order }
    }

    /// Makes the first choice that leads to the node of that fingerprint and does what is asked for. That there is
    /// one is what the normal form promises; but a request that nobody waits for any more, and that the normal form
    /// has forgotten, may have to arrive first.
    fn step(&mut self, print: u64, does: impl Fn(&Walk<M>) -> bool) -> Result<(), String> {
        loop {
            if let Some(next) = self.first(|_| true, |walk, found| found == print && does(walk)) {
                self.order = self.normaliser.order().to_vec();
                self.walk = next;
                return Ok(());
            }
            let here = self.walk.node(self.model, &mut self.normaliser).print();
            let serves = |choice: &Choice| matches!(choice, Choice::Do(Action::Serve(_, Service::Done)));
            self.walk = self.first(serves, |_, found| found == here).ok_or(
                "a step between normal forms has no counterpart in the world itself: the normal form forgets too \
                 much; please report this",
            )?;
        }
    }

    /// Where the first choice leads that may be made and that does what is asked for, by its node's fingerprint too.
    fn first(
        &mut self,
        may: impl Fn(&Choice) -> bool,
        does: impl Fn(&Walk<M>, u64) -> bool,
    ) -> Option<Walk<M>> {
        let mut choices = Vec::new();
        self.model.choices(&self.walk.world, self.walk.now, &self.walk.budget, &mut choices);
        choices.into_iter().filter(may).find_map(|choice| {
            let mut next = self.walk.clone();
            next.make(self.model, choice);
            let print = next.node(self.model, &mut self.normaliser).print();
            does(&next, print).then_some(next)
        })
    }

    fn follow(&mut self, graph: &Graph, path: &[u32]) -> Result<(), String> {
        path.iter().try_for_each(|&number| self.step(graph.print(number), |_| true))
    }
}

/// The walk that ends in a violation that was met. None, if the same property was broken otherwise on the way there:
/// a world tells the first violation of each property only.
pub(crate) fn violation<M: Subject>(
    model: &Model<M>,
    graph: &Graph,
    met: &Met,
    property: Property,
    is_same: impl Fn(&Walk<M>) -> bool,
) -> Result<Option<Walk<M>>, String> {
    let mut guide = Guide::new(model);
    guide.follow(graph, &graph.path_to(met.from)[1..])?;
    if guide.walk.world.verdict().broken().has(property) {
        return Ok(None);
    }
    let steps = guide.walk.steps.len();
    guide.step(met.print, is_same)?;
    let mut walk = guide.walk;
    if walk.steps.len() == steps {
        // Time alone broke it: nobody would look, were it not the end.
        walk.apply(Action::End);
    }
    Ok(Some(walk))
}

/// The walk that ends long after a node in which somebody is stuck, though everybody does his best.
pub(crate) fn stuck<M: Subject>(
    model: &Model<M>,
    graph: &Graph,
    (node, place): (u32, u8),
) -> Result<Walk<M>, String> {
    let mut guide = Guide::new(model);
    guide.follow(graph, &graph.path_to(node)[1..])?;
    let stuck = guide.order.get(usize::from(place)).filter(|_| M::PLAY == Play::Lock);
    let stuck = stuck.map(|&place| InstanceId(place));
    let mut walk = guide.walk;
    walk.apply(Action::Heal);
    let end = walk.now + model.scope().setup.bounds.progress + model.scope().tick;
    while walk.now <= end {
        let next = good_will(model, &walk, stuck);
        walk.make(model, next);
    }
    walk.apply(Action::End);
    Ok(walk)
}

/// What a world does in which nobody is lazy: what is due, then what others owe to whoever waits, then time passes.
fn good_will<M: Subject>(model: &Model<M>, walk: &Walk<M>, waiter: Option<InstanceId>) -> Choice {
    if let Some((_, action)) = walk.world.overdue(walk.now + model.scope().tick) {
        return Choice::Do(action);
    }
    let instances = walk.world.instances().iter().enumerate();
    let owed = instances.filter_map(|(index, one)| {
        let id = InstanceId(index as u32);
        match (one.state, one.caller.stage) {
            (State::Paused, _) => Some(Action::Resume(id)),
            (State::Up, Stage::Holding) if Some(id) == waiter => None,
            (State::Up, Stage::Holding) => match M::PLAY {
                Play::Lock => Some(Action::Ask(id, Ask::Unlock)),
                Play::Job | Play::Once => Some(Action::Ask(id, Ask::Finish(true))),
                // Whoever leads may stay.
                Play::Lead | Play::Write => None,
            },
            (State::Down, _) if M::PLAY != Play::Lock => Some(Action::Restart(id)),
            (State::Up, Stage::Idle) if M::PLAY != Play::Lock => Some(Action::Ask(id, Ask::Start)),
            (State::Up | State::Down, _) => None,
        }
    });
    let owed = owed.chain(owed_to_objects(&walk.world));
    let possible = |action: &Action| walk.world.check(walk.now, action).is_ok();
    owed.filter(possible).map(Choice::Do).next().unwrap_or(Choice::Tick)
}

/// What writers owe to the objects that they write to: units that run end, news are seen, what is wanted is tried.
fn owed_to_objects<M: Subject>(world: &World<M>) -> impl Iterator<Item = Action> {
    let jobs = if M::PLAY == Play::Write { world.jobs() } else { 0 };
    let all = (0..world.instances().len() as u32).flat_map(move |id| (0..jobs).map(move |job| (id, job)));
    all.flat_map(|(id, job)| {
        let (id, job) = (InstanceId(id), JobId(job));
        let say = |what| Action::Ask(id, Ask::Object(job, what));
        let wanted = world.wanted(world.instance(id).resource, job);
        let wish = (world.wish(id, job) < wanted).then(|| say(Writing::Wish(wanted)));
        let end = world.is_writing(id, job).then(|| say(Writing::Conclude(Ending::Well)));
        [end, Some(say(Writing::Look)), wish].into_iter().flatten()
    })
}

/// The walk that goes round a circle until whoever waits has waited for too long.
pub(crate) fn starvation<M: Subject>(
    model: &Model<M>,
    graph: &Graph,
    circle: &[u32],
) -> Result<Walk<M>, String> {
    let mut guide = Guide::new(model);
    let Some(&first) = circle.first() else { return Err("a circle without nodes".to_owned()) };
    guide.follow(graph, &graph.path_to(first)[1..])?;
    guide.walk.apply(Action::Heal);
    let end = guide.walk.now + model.scope().setup.bounds.progress + Span::from_nanos(1);
    while guide.walk.now <= end {
        guide.follow(graph, &circle[1..])?;
        if circle.len() == 1 || circle.last() != Some(&first) {
            guide.follow(graph, &[first])?;
        }
    }
    guide.walk.apply(Action::End);
    Ok(guide.walk)
}
