//! Breadth first through everything that can happen: each node is met on a shortest path, and so is each violation.
//!
//! A search on several threads gives the same graph: nodes are left in chunks, whose successors the threads work out,
//! and are numbered by one thread in the order of the search.

use std::collections::BTreeMap;
use std::ops::Range;

use fencepost_models::checker::{Arrival, Bridge, Explorer, Model};
use fencepost_models::property::{Property, Violation};
use fencepost_models::subject::Subject;

use super::graph::{Edge, Graph, Sight};

/// How many nodes a thread works on before the others see what it found.
const CHUNK: usize = 1_024;

/// How many bytes for each node may be kept of what nodes are made of, and of their steps.
const BYTES_OF_PARTS: usize = 13;

/// As if there were so many nodes.
const LEAST_STATES: usize = 1 << 19;

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
    /// One for each thread.
    workers: Vec<Worker<'a, M>>,
    /// What was met and not left, in rows of numbers. Whose they are, the fingerprint says.
    frontier: Vec<u32>,
    /// How many numbers those had room for that were met before them, and are being left.
    layer: usize,
    /// How many nodes wait to be left.
    waiting: usize,
    /// How many nodes were left.
    left: u32,
    length: usize,
    /// How many nodes there were when the workers began anew.
    renewed: usize,
}

impl<'a, M: Subject> Search<'a, M> {
    pub(crate) fn new(
        model: &'a Model<M>,
        label: &'a (dyn Fn(&Violation) -> Option<&'static str> + Sync),
        threads: usize,
    ) -> Search<'a, M> {
        let threads = threads.clamp(1, 16);
        let mut workers: Vec<_> = (0..threads).map(|_| Worker::new(model, threads)).collect();
        let (mut graph, mut frontier) = (Graph::default(), Vec::new());
        let explorers = workers.iter_mut().map(|worker| &mut worker.explorer);
        for (index, explorer) in explorers.enumerate() {
            let mut row = Vec::new();
            let print = explorer.root(&mut row);
            if index == owner(print, threads) {
                graph.add(print, sight(explorer.sight(&row)));
                frontier = row;
            }
        }
        let length = frontier.len();
        let met = BTreeMap::new();
        Search {
            model,
            label,
            graph,
            generated: 1,
            depth: 0,
            met,
            workers,
            frontier,
            layer: 0,
            waiting: 1,
            left: 0,
            length,
            renewed: 0,
        }
    }

    /// Goes on until everything was met, or `watch` says no, or a limit stops it.
    pub(crate) fn run(&mut self, limits: Limits, watch: &dyn Fn(Progress) -> bool) -> Option<Stopped> {
        while !self.frontier.is_empty() {
            let layer = std::mem::take(&mut self.frontier);
            self.layer = layer.capacity();
            for chunk in layer.chunks(CHUNK * self.workers.len() * self.length) {
                self.leave(chunk);
                let progress = self.progress();
                if !watch(progress) {
                    return Some(Stopped::Interrupted);
                }
                if self.graph.len() >= limits.states {
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
            self.renew();
        }
        None
    }

    fn progress(&self) -> Progress {
        let frontier = (self.layer + self.frontier.capacity()) * size_of::<u32>();
        let explorers: usize = self.workers.iter().map(|worker| worker.explorer.bytes()).sum();
        Progress {
            states: self.graph.len() as u64,
            generated: self.generated,
            depth: self.depth,
            frontier: self.waiting as u64,
            bytes: (self.graph.bytes() + explorers + frontier) as u64,
        }
    }

    /// Forgets what was worked out for nodes that were left, where that takes too much room for so many nodes.
    fn renew(&mut self) {
        let (states, workers) = (self.graph.len(), self.workers.len());
        let enough = states.max(LEAST_STATES) * BYTES_OF_PARTS / workers;
        if self.renewed + self.renewed / 2 > states
            || self.workers.iter().all(|worker| worker.explorer.bytes() < enough)
        {
            return;
        }
        self.renewed = states;
        let first = self.left;
        let layer = std::mem::take(&mut self.frontier);
        let fresh: Vec<_> = (0..workers).map(|_| Worker::new(self.model, workers)).collect();
        let old = std::mem::replace(&mut self.workers, fresh);
        let mut bridges = vec![Bridge::default(); workers];
        for (number, row) in (first..).zip(layer.chunks_exact(self.length)) {
            let by = owner(self.graph.print(number), workers);
            let theirs = self.workers[by].explorer.parts_mut();
            theirs.adopt(row, old[by].explorer.parts(), &mut bridges[by], &mut self.frontier);
        }
    }

    /// Leaves some nodes: where their steps lead is worked out side by side, and noted by one.
    fn leave(&mut self, chunk: &[u32]) {
        let (graph, first, length) = (&self.graph, self.left, self.length);
        let (own, others) = self.workers.split_at_mut(1);
        std::thread::scope(|scope| {
            for (index, worker) in others.iter_mut().enumerate() {
                scope.spawn(move || worker.work(index + 1, first, chunk, length, graph));
            }
            own.iter_mut().for_each(|worker| worker.work(0, first, chunk, length, graph));
        });
        let mut steps: Vec<_> =
            self.workers.iter_mut().map(|worker| std::mem::take(&mut worker.steps)).collect();
        let mut queues: Vec<_> = steps.iter_mut().map(|steps| steps.drain(..)).collect();
        for _ in 0..chunk.len() / length {
            let by = owner(self.graph.print(self.left), self.workers.len());
            for step in queues[by].by_ref() {
                let is_last = step.is_last;
                self.note(step, by);
                if is_last {
                    break;
                }
            }
        }
        drop(queues);
        for (worker, steps) in self.workers.iter_mut().zip(steps) {
            (worker.steps, worker.taken) = (steps, 0);
            worker.rows.clear();
        }
    }

    /// Notes a step of a worker, and the node to which it leads, unless that was known when the step was worked out.
    fn note(&mut self, step: Step, by: usize) {
        self.generated += 1;
        for violation in step.violations {
            let group = (violation.property, (self.label)(&violation));
            self.met.entry(group).or_insert(Met { from: self.left, print: step.print });
        }
        let (to, is_new) =
            step.known.map_or_else(|| self.graph.add(step.print, step.sight), |number| (number, false));
        self.graph.connect(step.edge.leading_to(to));
        if step.known.is_none() {
            let worker = &mut self.workers[by];
            let row = worker.taken..worker.taken + self.length;
            worker.taken = row.end;
            if is_new {
                self.hand_over(row, by, owner(step.print, self.workers.len()));
                self.waiting += 1;
            }
        }
        if step.is_last {
            self.graph.leave();
            self.left += 1;
            self.waiting -= 1;
        }
    }

    /// A node that one worker found waits for another one.
    fn hand_over(&mut self, row: Range<usize>, by: usize, to: usize) {
        if by == to {
            self.frontier.extend(&self.workers[by].rows[row]);
        } else if let Ok([by, other]) = self.workers.get_disjoint_mut([by, to]) {
            let theirs = other.explorer.parts_mut();
            let bridge = &mut by.bridges[to];
            theirs.adopt(&by.rows[row], by.explorer.parts(), bridge, &mut self.frontier);
        }
    }
}

/// Who leaves the node with that fingerprint.
fn owner(print: u64, workers: usize) -> usize {
    ((print >> 32) % workers as u64) as usize
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
    explorer: Explorer<'a, M>,
    /// To the parts of each worker.
    bridges: Vec<Bridge>,
    steps: Vec<Step>,
    /// Where those steps lead that lead to nodes which nobody knew.
    rows: Vec<u32>,
    /// How many of these numbers were taken over.
    taken: usize,
}

impl<'a, M: Subject> Worker<'a, M> {
    fn new(model: &'a Model<M>, workers: usize) -> Worker<'a, M> {
        let bridges = vec![Bridge::default(); workers];
        Worker { explorer: Explorer::new(model), bridges, steps: Vec::new(), rows: Vec::new(), taken: 0 }
    }

    /// Works out every step from those of these nodes that are its own. The first of them has that number.
    fn work(&mut self, index: usize, first: u32, nodes: &[u32], length: usize, graph: &Graph) {
        let workers = self.bridges.len();
        let Worker { explorer, steps, rows, .. } = self;
        for (number, node) in (first..).zip(nodes.chunks_exact(length)) {
            if workers == 1 || owner(graph.print(number), workers) == index {
                let is_known = |print| graph.find(print).is_some();
                explorer.leave(node, is_known, |explorer, arrival| {
                    steps.push(step(explorer, arrival, graph, rows));
                });
            }
        }
    }
}

fn step<M: Subject>(
    explorer: &Explorer<'_, M>,
    arrival: Arrival<'_>,
    graph: &Graph,
    rows: &mut Vec<u32>,
) -> Step {
    let Arrival { print, row, order, is_fault, passes_time, is_last, violations } = arrival;
    let known = graph.find(print);
    let edge = Edge::new(0, order, is_fault, passes_time);
    let mut seen = Sight::default();
    if known.is_none() {
        rows.extend(row);
        seen = sight(explorer.sight(row));
    }
    Step { print, known, edge, is_last, sight: seen, violations }
}

fn sight([waiting, busy]: [u8; 2]) -> Sight {
    Sight { waiting, busy }
}
