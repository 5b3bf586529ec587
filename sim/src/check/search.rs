//! Breadth first through everything that can happen: each node is met on a shortest path, and so is each violation.
//!
//! A search on several threads gives the same graph: nodes are left in chunks, whose successors the threads work out,
//! and are numbered by one thread in the order of the search.

use std::collections::BTreeMap;

use fencepost_models::checker::{Choice, Model, NOON_TIME, Node};
use fencepost_models::normal::Normaliser;
use fencepost_models::property::{Property, Violation};
use fencepost_models::subject::Subject;
use fencepost_models::world::{Stage, State, World};

use super::graph::{Edge, Graph, MOST_NODES, Sight};

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
    /// What was met and not left.
    frontier: Vec<Node<M>>,
    /// How many nodes were left.
    left: u32,
}

impl<'a, M: Subject> Search<'a, M> {
    pub(crate) fn new(
        model: &'a Model<M>,
        label: &'a (dyn Fn(&Violation) -> Option<&'static str> + Sync),
    ) -> Search<'a, M> {
        let root = model.root(&mut model.normaliser());
        let mut graph = Graph::default();
        graph.add(root.print(), sight(&root.world));
        let (met, frontier) = (BTreeMap::new(), vec![root]);
        Search { model, label, graph, generated: 1, depth: 0, met, frontier, left: 0 }
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
            let mut layer = std::mem::take(&mut self.frontier).into_iter();
            loop {
                let chunk: Vec<_> = layer.by_ref().take(CHUNK * workers.len()).collect();
                if chunk.is_empty() {
                    break;
                }
                self.leave(&chunk, &mut workers);
                let progress = self.progress(layer.len());
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

    fn progress(&self, waiting: usize) -> Progress {
        let frontier = waiting + self.frontier.len();
        let node = self.frontier.last().map_or(0, Node::bytes);
        Progress {
            states: self.graph.len() as u64,
            generated: self.generated,
            depth: self.depth,
            frontier: frontier as u64,
            bytes: (self.graph.bytes() + frontier * node) as u64,
        }
    }

    /// Leaves some nodes: where their steps lead is worked out side by side, and noted by one.
    fn leave(&mut self, chunk: &[Node<M>], workers: &mut [Worker<'a, M>]) {
        let (graph, share) = (&self.graph, chunk.len().div_ceil(workers.len()));
        let mut parts = chunk.chunks(share);
        let own = parts.next().unwrap_or_default();
        if let Some((first, others)) = workers.split_first_mut() {
            std::thread::scope(|scope| {
                for (worker, part) in others.iter_mut().zip(parts) {
                    scope.spawn(move || worker.work(part, graph));
                }
                first.work(own, graph);
            });
        }
        for worker in workers {
            for step in worker.steps.drain(..) {
                self.note(step);
            }
        }
    }

    fn note(&mut self, step: Step<M>) {
        self.generated += 1;
        for violation in step.violations {
            let group = (violation.property, (self.label)(&violation));
            self.met.entry(group).or_insert(Met { from: self.left, print: step.print });
        }
        let (to, is_new) = self.graph.add(step.print, step.sight);
        self.graph.connect(Edge::new(to, &step.order, step.is_fault, step.passes_time));
        if let (true, Some(node)) = (is_new, step.node) {
            self.frontier.push(node);
        }
        if step.is_last {
            self.graph.leave();
            self.left += 1;
        }
    }
}

/// A step that was worked out.
struct Step<M: Subject> {
    print: u64,
    order: Vec<u32>,
    is_fault: bool,
    passes_time: bool,
    is_last: bool,
    sight: Sight,
    violations: Vec<Violation>,
    /// Where it leads, unless that was known before.
    node: Option<Node<M>>,
}

/// One thread's tools.
struct Worker<'a, M: Subject> {
    model: &'a Model<M>,
    normaliser: Normaliser,
    choices: Vec<Choice>,
    steps: Vec<Step<M>>,
}

impl<'a, M: Subject> Worker<'a, M> {
    fn new(model: &'a Model<M>) -> Worker<'a, M> {
        Worker { model, normaliser: model.normaliser(), choices: Vec::new(), steps: Vec::new() }
    }

    /// Works out every step from these nodes.
    fn work(&mut self, nodes: &[Node<M>], graph: &Graph) {
        for node in nodes {
            self.model.choices(&node.world, NOON_TIME, &node.budget, &mut self.choices);
            let last = self.choices.len() - 1;
            for at in 0..=last {
                let step = self.step(node, self.choices[at], at == last, graph);
                self.steps.push(step);
            }
        }
    }

    fn step(&mut self, node: &Node<M>, choice: Choice, is_last: bool, graph: &Graph) -> Step<M> {
        let (mut world, mut now, mut budget) = (node.world.clone(), NOON_TIME, node.budget);
        let is_fault = choice.spends(&world).is_some();
        self.model.make(choice, &mut world, &mut now, &mut budget, |_, _, _| {});
        let violations = world.verdict().violations().to_vec();
        let node = self.model.node(world, now, budget, &mut self.normaliser);
        Step {
            print: node.print(),
            order: self.normaliser.order().to_vec(),
            is_fault,
            passes_time: !matches!(choice, Choice::Do(_)),
            is_last,
            sight: sight(&node.world),
            violations,
            node: graph.find(node.print()).is_none().then_some(node),
        }
    }
}

/// Who waits for an answer, and who holds or stands still.
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
    sight
}
