//! Breadth first through everything that can happen: each node is met on a shortest path, and so is each violation.
//!
//! A search on several threads gives the same graph: nodes are left in chunks, whose successors the threads work out,
//! and are numbered by one thread in the order of the search.

use std::collections::BTreeMap;

use fencepost_models::checker::{Budget, Choice, Frozen, Model, NOON_TIME, Parts, rows};
use fencepost_models::normal::Normaliser;
use fencepost_models::property::{Property, Violation};
use fencepost_models::subject::{InstanceId, JobId, Play, Subject};
use fencepost_models::world::{Stage, State, World};

use super::graph::{ANSWERS, Edge, Graph, MOST_NODES, Places, Sight};

/// How many nodes a thread works on before the others see what it found.
const CHUNK: usize = 1_024;

/// Where a search may stop before it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many nodes.
    pub(crate) states: usize,
    /// So many bytes.
    pub(crate) bytes: usize,
    /// So many nodes, once something is broken.
    pub(crate) broken: usize,
}

/// Why a search stopped before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It met more states than it was allowed to.
    States,
    /// It took more memory than it was allowed to.
    Memory,
    /// Something is broken, and so many states have been met that others may wait.
    Broken,
    /// Somebody interrupted it.
    Interrupted,
}

impl Stopped {
    /// In words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Stopped::States => "it met as many states as it was allowed to",
            Stopped::Memory => "it took as much memory as it was allowed to",
            Stopped::Broken => "something is broken",
            Stopped::Interrupted => "it was interrupted",
        }
    }
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// States met.
    pub states: u64,
    /// Steps tried.
    pub generated: u64,
    /// How many steps the farthest of them are from the first.
    pub depth: u32,
    /// How many of them have not been left.
    pub frontier: u64,
    /// Memory, in bytes.
    pub bytes: u64,
}

/// A violation, and how it was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    /// From this node.
    pub(crate) from: u32,
    /// By a step to the node with this fingerprint.
    pub(crate) print: u64,
}

/// Which violations are the same failure: those of one property and one known defect.
pub(crate) type Group = (Property, Option<&'static str>);

/// A search and what it found.
pub(crate) struct Search<'a, M: Subject> {
    model: &'a Model<M>,
    label: &'a (dyn Fn(&Violation) -> Option<&'static str> + Sync),
    pub(crate) graph: Graph,
    pub(crate) generated: u64,
    pub(crate) depth: u32,
    /// The first of each kind.
    pub(crate) met: BTreeMap<Group, Met>,
    parts: Parts<M>,
    /// What was met and not left, in rows of the numbers of its parts.
    frontier: Vec<u32>,
    /// How many numbers those had room for that were met before them, and are being left.
    layer: usize,
    /// How many nodes wait to be left.
    waiting: usize,
    /// How many nodes were left.
    left: u32,
}

impl<'a, M: Subject> Search<'a, M> {
    pub(crate) fn new(
        model: &'a Model<M>,
        label: &'a (dyn Fn(&Violation) -> Option<&'static str> + Sync),
    ) -> Search<'a, M> {
        let mut normaliser = model.normaliser();
        let root = model.root(&mut normaliser);
        let mut graph = Graph::default();
        graph.add(root.print(), sight(&root.world));
        let (mut parts, mut frontier, mut frozen) = (Parts::default(), Vec::new(), Frozen::default());
        frozen.push(&root.world, &root.budget, &normaliser, &parts);
        frozen.rows().for_each(|row| parts.adopt(row, &frozen, &mut frontier));
        let met = BTreeMap::new();
        Search {
            model,
            label,
            graph,
            generated: 1,
            depth: 0,
            met,
            parts,
            frontier,
            layer: 0,
            waiting: 1,
            left: 0,
        }
    }

    /// Goes on until everything was met, or `watch` says no, or a limit stops it.
    pub(crate) fn run(
        &mut self,
        threads: usize,
        limits: Limits,
        watch: &dyn Fn(Progress) -> bool,
    ) -> Option<Stopped> {
        let mut workers: Vec<_> = (0..threads.clamp(1, 16)).map(|_| Worker::new(self.model)).collect();
        while !self.frontier.is_empty() {
            let layer = std::mem::take(&mut self.frontier);
            self.layer = layer.capacity();
            let mut layer = rows(&layer);
            loop {
                let chunk: Vec<_> = layer.by_ref().take(CHUNK * workers.len()).collect();
                if chunk.is_empty() {
                    break;
                }
                self.leave(&chunk, &mut workers);
                let progress = self.progress();
                if !watch(progress) {
                    return Some(Stopped::Interrupted);
                }
                // A chunk can add no more than the margin.
                if self.graph.len() >= limits.states.min(MOST_NODES - (1 << 20)) {
                    return Some(Stopped::States);
                }
                if progress.bytes as usize >= limits.bytes {
                    return Some(Stopped::Memory);
                }
                if !self.met.is_empty() && self.graph.len() >= limits.broken {
                    return Some(Stopped::Broken);
                }
            }
            self.depth += 1;
        }
        None
    }

    fn progress(&self) -> Progress {
        let frontier = (self.layer + self.frontier.capacity()) * size_of::<u32>();
        Progress {
            states: self.graph.len() as u64,
            generated: self.generated,
            depth: self.depth,
            frontier: self.waiting as u64,
            bytes: (self.graph.bytes() + self.parts.bytes() + frontier) as u64,
        }
    }

    /// Leaves some nodes: where their steps lead is worked out side by side, and noted by one.
    fn leave(&mut self, chunk: &[&[u32]], workers: &mut [Worker<'a, M>]) {
        let (graph, parts, share) = (&self.graph, &self.parts, chunk.len().div_ceil(workers.len()));
        let mut shares = chunk.chunks(share);
        let own = shares.next().unwrap_or_default();
        if let Some((first, others)) = workers.split_first_mut() {
            std::thread::scope(|scope| {
                for (worker, share) in others.iter_mut().zip(shares) {
                    scope.spawn(move || worker.work(share, graph, parts));
                }
                first.work(own, graph, parts);
            });
        }
        for worker in workers {
            let mut rows = worker.fresh.rows();
            for step in worker.steps.drain(..) {
                let row = if step.known.is_none() { rows.next() } else { None };
                self.note(step, row.map(|row| (row, &worker.fresh)));
            }
        }
    }

    /// Notes a step, and the node to which it leads, unless that was known when the step was worked out.
    fn note(&mut self, step: Step, node: Option<(&[u32], &Frozen<M>)>) {
        self.generated += 1;
        for violation in step.violations {
            let group = (violation.property, (self.label)(&violation));
            self.met.entry(group).or_insert(Met { from: self.left, print: step.print });
        }
        let (to, is_new) =
            step.known.map_or_else(|| self.graph.add(step.print, step.sight), |number| (number, false));
        self.graph.connect(step.edge.leading_to(to));
        if let (true, Some((row, frozen))) = (is_new, node) {
            self.parts.adopt(row, frozen, &mut self.frontier);
            self.waiting += 1;
        }
        if step.is_last {
            self.graph.leave();
            self.left += 1;
            self.waiting -= 1;
        }
    }
}

/// A step that was worked out.
struct Step {
    print: u64,
    /// The node to which it leads, if that was known before.
    known: Option<u32>,
    /// The same, but for that.
    edge: Edge,
    is_last: bool,
    /// What is to be remembered of that node, if it was not.
    sight: Sight,
    violations: Vec<Violation>,
}

/// One thread's tools.
struct Worker<'a, M: Subject> {
    model: &'a Model<M>,
    normaliser: Normaliser,
    /// The node that is being left.
    node: World<M>,
    budget: Budget,
    /// Where a step from it is tried.
    trial: World<M>,
    choices: Vec<Choice>,
    steps: Vec<Step>,
    /// Where those steps lead that lead to nodes which nobody knew.
    fresh: Frozen<M>,
}

impl<'a, M: Subject> Worker<'a, M> {
    fn new(model: &'a Model<M>) -> Worker<'a, M> {
        let (node, budget) = (model.root(&mut model.normaliser()).world, Budget::NONE);
        let (choices, steps, fresh) = (Vec::new(), Vec::new(), Frozen::default());
        Worker {
            model,
            normaliser: model.normaliser(),
            trial: node.clone(),
            node,
            budget,
            choices,
            steps,
            fresh,
        }
    }

    /// Works out every step from these nodes.
    fn work(&mut self, nodes: &[&[u32]], graph: &Graph, parts: &Parts<M>) {
        self.fresh.clear();
        for node in nodes {
            parts.thaw(node, &mut self.node, &mut self.budget);
            self.model.choices(&self.node, NOON_TIME, &self.budget, &mut self.choices);
            let last = self.choices.len() - 1;
            for at in 0..=last {
                let step = self.step(self.choices[at], at == last, graph, parts);
                self.steps.push(step);
            }
        }
    }

    fn step(&mut self, choice: Choice, is_last: bool, graph: &Graph, parts: &Parts<M>) -> Step {
        let (world, mut now, mut budget) = (&mut self.trial, NOON_TIME, self.budget);
        world.become_like(&self.node);
        let is_fault = choice.spends(world).is_some();
        self.model.make(choice, world, &mut now, &mut budget, |_, _, _| {});
        let violations = world.verdict().violations().to_vec();
        let print = self.model.settle(world, now, &budget, &mut self.normaliser);
        let known = graph.find(print);
        if known.is_none() {
            self.fresh.push(world, &budget, &self.normaliser, parts);
        }
        let passes_time = !matches!(choice, Choice::Do(_));
        let edge = Edge::new(0, self.normaliser.order(), is_fault, passes_time);
        let sight = if known.is_none() { sight(world) } else { Sight::default() };
        Step { print, known, edge, is_last, sight, violations }
    }
}

/// Who waits for an answer, and who holds or stands still. Where callers take part in jobs, the first places are
/// those of the jobs that have still to begin, and the last one is for all who wait for an answer.
fn sight<M: Subject>(world: &World<M>) -> Sight {
    let mut sight = Sight::default();
    for (place, instance) in world.instances().iter().enumerate() {
        let (bit, stage) = (1 << place, instance.caller.stage);
        if instance.state != State::Down && matches!(stage, Stage::Waiting | Stage::Leaving) {
            sight.waiting |= bit;
        }
        if instance.state == State::Paused || (instance.state == State::Up && stage == Stage::Holding) {
            sight.busy |= bit;
        }
    }
    if M::PLAY != Play::Lock {
        sight.waiting = sight_of_jobs(world);
    }
    sight
}

fn sight_of_jobs<M: Subject>(world: &World<M>) -> Places {
    let ids = || (0..world.instances().len() as u32).map(InstanceId);
    let awaits_answer = |id: InstanceId| {
        let instance = world.instance(id);
        let has_asked = (0..world.jobs()).any(|job| world.has_asked(id, JobId(job)));
        instance.state == State::Up
            && (instance.caller.stage == Stage::Leaving || has_asked || world.is_closing(id))
    };
    let to_begin = match M::PLAY {
        Play::Lock => 0,
        // A recurring job is content while it runs.
        Play::Job => Places::from(!ids().any(|id| world.run(id).is_some())),
        Play::Once => world.open_jobs() & (ANSWERS - 1),
    };
    to_begin | if ids().any(awaits_answer) { ANSWERS } else { 0 }
}
