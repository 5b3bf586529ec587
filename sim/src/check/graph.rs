//! The graph of everything that can happen, as small as it gets: a fingerprint and a byte for each node, four bytes
//! for each edge.

use hashbrown::HashTable;

/// How many instances a graph can tell apart.
pub(crate) const MOST_INSTANCES: u32 = 3;

const NODE_BITS: u32 = 26;

/// How many nodes a graph can have.
pub(crate) const MOST_NODES: usize = 1 << NODE_BITS;

/// Every order of three instances. The first so many are those of two, and of one.
const ORDERS: [[u8; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A set of instances, by the places at which they stand in a node.
pub(crate) type Places = u8;

/// A step from one node to another, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge(u32);

impl Edge {
    const FAULT: u32 = 1 << 31;
    const LAST: u32 = 1 << 30;
    const TIME: u32 = 1 << 29;

    /// An edge to a node in which the instance that stands at `order[i]` before stands at place `i`.
    pub(crate) fn new(to: u32, order: &[u32], is_fault: bool, passes_time: bool) -> Edge {
        let is_same = |known: &[u8; 3]| order.iter().zip(known).all(|(&one, &other)| one == u32::from(other));
        let order = ORDERS.iter().position(is_same).unwrap_or_default() as u32;
        let fault = if is_fault { Edge::FAULT } else { 0 };
        let time = if passes_time { Edge::TIME } else { 0 };
        Edge(to | order << NODE_BITS | fault | time)
    }

    /// The same, to another node.
    pub(crate) const fn leading_to(self, to: u32) -> Edge {
        Edge(self.0 & !((1 << NODE_BITS) - 1) | to)
    }

    /// The node it leads to.
    pub(crate) const fn to(self) -> usize {
        (self.0 & ((1 << NODE_BITS) - 1)) as usize
    }

    /// Where those stood before who stand at `places` after it.
    pub(crate) fn before(self, places: Places) -> Places {
        let order = ORDERS[(self.0 >> NODE_BITS & 7) as usize];
        (0..3).filter(|place| places >> place & 1 == 1).fold(0, |set, place| set | 1 << order[place])
    }

    /// Whether something went wrong on it, or somebody did what he need not.
    pub(crate) const fn is_fault(self) -> bool {
        self.0 & Edge::FAULT != 0
    }

    /// Whether time passes on it.
    pub(crate) const fn passes_time(self) -> bool {
        self.0 & Edge::TIME != 0
    }

    const fn is_last(self) -> bool {
        self.0 & Edge::LAST != 0
    }
}

/// What is remembered of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Who waits there for an answer.
    pub(crate) waiting: Places,
    /// Who holds there, or stands still: others may have to wait for as long as they like.
    pub(crate) busy: Places,
}

/// A row that grows without ever moving, or having room for twice as much as it holds.
#[derive(Debug)]
struct Blocks<T>(Vec<Vec<T>>);

impl<T: Copy> Blocks<T> {
    const BITS: u32 = 14;

    fn push(&mut self, value: T) {
        match self.0.last_mut().filter(|block| block.len() < 1 << Blocks::<T>::BITS) {
            Some(block) => block.push(value),
            None => self.0.push(vec![value]),
        }
    }

    fn at(&self, index: u32) -> T {
        self.0[(index >> Blocks::<T>::BITS) as usize][(index & ((1 << Blocks::<T>::BITS) - 1)) as usize]
    }

    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| ((self.0.len() - 1) << Blocks::<T>::BITS) + last.len())
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|block| block.capacity() * size_of::<T>()).sum()
    }
}

impl<T> Default for Blocks<T> {
    fn default() -> Blocks<T> {
        Blocks(Vec::new())
    }
}

/// So many edges to a block, and no node's edges in two.
const EDGES: usize = 1 << 16;

/// All nodes that were met, numbered in the order of their meeting, and the edges of those that were left.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    numbers: HashTable<u32>,
    prints: Blocks<u64>,
    sights: Blocks<u8>,
    edges: Vec<Vec<Edge>>,
}

impl Graph {
    /// How many nodes it has.
    pub(crate) fn len(&self) -> usize {
        self.prints.len()
    }

    /// The number of the node with that fingerprint, if it was met.
    pub(crate) fn find(&self, print: u64) -> Option<u32> {
        self.numbers.find(print, |&number| self.prints.at(number) == print).copied()
    }

    /// The number of a node, and whether it is new.
    pub(crate) fn add(&mut self, print: u64, sight: Sight) -> (u32, bool) {
        if let Some(number) = self.find(print) {
            return (number, false);
        }
        let number = self.prints.len() as u32;
        let prints = &self.prints;
        self.numbers.insert_unique(print, number, |&number| prints.at(number));
        self.prints.push(print);
        self.sights.push(sight.waiting | sight.busy << MOST_INSTANCES);
        (number, true)
    }

    /// Adds an edge to the node which is being left. Nodes are left in the order of their numbers.
    pub(crate) fn connect(&mut self, edge: Edge) {
        match self.edges.last_mut() {
            Some(block) => block.push(edge),
            None => self.edges.push(vec![edge]),
        }
    }

    /// The node which was being left has been left. Each has an edge: if nothing else, time passes.
    pub(crate) fn leave(&mut self) {
        let Some(block) = self.edges.last_mut() else { return };
        if let Some(edge) = block.last_mut() {
            edge.0 |= Edge::LAST;
        }
        // Room for the next node, if it has no more edges than most.
        if block.len() + 64 > EDGES {
            self.edges.push(Vec::with_capacity(EDGES));
        }
    }

    /// The fingerprint of a node.
    pub(crate) fn print(&self, number: u32) -> u64 {
        self.prints.at(number)
    }

    /// What is remembered of a node.
    pub(crate) fn sight(&self, number: usize) -> Sight {
        let both = self.sights.at(number as u32);
        Sight { waiting: both & ((1 << MOST_INSTANCES) - 1), busy: both >> MOST_INSTANCES }
    }

    /// The edges of each node that was left, in the order of nodes.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &[Edge]> {
        self.edges.iter().flat_map(|block| block.chunk_by(|edge, _| !edge.is_last()))
    }

    /// The shortest path from the first node to one.
    pub(crate) fn path_to(&self, number: u32) -> Vec<u32> {
        let mut parents = vec![u32::MAX; self.len()];
        for (from, row) in self.rows().enumerate() {
            for edge in row {
                let parent = &mut parents[edge.to()];
                *parent = (*parent).min(from as u32);
            }
        }
        let mut path = vec![number];
        while let Some(&last) = path.last().filter(|&&last| last != 0) {
            path.push(parents[last as usize]);
        }
        path.reverse();
        path
    }

    /// The memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let edges: usize = self.edges.iter().map(|block| block.capacity() * size_of::<Edge>()).sum();
        self.numbers.allocation_size() + self.prints.bytes() + self.sights.bytes() + edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_keeps_what_it_is_told_and_undoes_every_order() {
        for order in [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let edge = Edge::new(MOST_NODES as u32 - 1, &order, true, false);
            assert_eq!((edge.to(), edge.is_fault(), edge.passes_time()), (MOST_NODES - 1, true, false));
            for (place, before) in order.iter().enumerate() {
                assert_eq!(edge.before(1 << place), 1 << before);
            }
            assert_eq!(edge.before(0b111), 0b111);
        }
        let pair = Edge::new(7, &[1, 0], false, true);
        assert_eq!(
            (pair.before(0b01), pair.to(), pair.is_fault(), pair.passes_time()),
            (0b10, 7, false, true)
        );
    }

    #[test]
    fn a_path_is_shortest_because_nodes_are_numbered_as_they_are_met() {
        let mut graph = Graph::default();
        for print in 10..14 {
            graph.add(print, Sight::default());
        }
        for row in [&[1, 2][..], &[0, 3], &[3, 2]] {
            row.iter().for_each(|&to| graph.connect(Edge::new(to, &[0], false, false)));
            graph.leave();
        }
        assert_eq!(graph.path_to(3), [0, 1, 3]);
        assert_eq!(graph.path_to(0), [0]);
        assert_eq!(graph.rows().map(<[Edge]>::len).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(
            (graph.find(13), graph.find(99), graph.add(12, Sight::default())),
            (Some(3), None, (2, false))
        );
    }
}
