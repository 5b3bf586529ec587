//! The graph of everything that can happen, as small as it gets: a fingerprint and a byte for each node, one to five
//! bytes for each edge that somebody may ask for.

/// How many instances a graph can tell apart.
pub(crate) const MOST_INSTANCES: u32 = 3;

const NODE_BITS: u32 = 28;

/// How many nodes a graph can have: what is left of four bytes of its index tells nodes apart by their fingerprints.
pub(crate) const MOST_NODES: usize = 1 << NODE_BITS;

/// How many states a check may be allowed to meet: the chunk with which it exceeds that adds fewer than the rest.
pub(crate) const MOST_STATES: usize = MOST_NODES - (1 << 20);

/// Every order of three instances. The first so many are those of two, and of one.
const ORDERS: [[u8; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A set of instances, by the places at which they stand in a node.
pub(crate) type Places = u8;

/// A step from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    to: u32,
    /// Six bits: the order of the instances in three of them, and what kind of step it is.
    what: u8,
}

impl Edge {
    const ORDER: u8 = 0b111;
    const TIME: u8 = 1 << 3;
    const LAST: u8 = 1 << 4;
    const FAULT: u8 = 1 << 5;

    /// An edge to a node in which the instance that stands at `order[i]` before stands at place `i`.
    pub(crate) fn new(to: u32, order: &[u32], is_fault: bool, passes_time: bool) -> Edge {
        let is_same = |known: &[u8; 3]| order.iter().zip(known).all(|(&one, &other)| one == u32::from(other));
        let order = ORDERS.iter().position(is_same).unwrap_or_default() as u8;
        let fault = if is_fault { Edge::FAULT } else { 0 };
        let time = if passes_time { Edge::TIME } else { 0 };
        Edge { to, what: order | fault | time }
    }

    /// The same, to another node.
    pub(crate) const fn leading_to(self, to: u32) -> Edge {
        Edge { to, ..self }
    }

    /// The node it leads to.
    pub(crate) const fn to(self) -> usize {
        self.to as usize
    }

    /// Where those stood before who stand at `places` after it.
    pub(crate) fn before(self, places: Places) -> Places {
        let order = ORDERS[usize::from(self.what & Edge::ORDER)];
        (0..3).filter(|place| places >> place & 1 == 1).fold(0, |set, place| set | 1 << order[place])
    }

    /// Whether something went wrong on it, or somebody did what he need not.
    pub(crate) const fn is_fault(self) -> bool {
        self.what & Edge::FAULT != 0
    }

    /// Whether time passes on it.
    pub(crate) const fn passes_time(self) -> bool {
        self.what & Edge::TIME != 0
    }

    const fn is_last(self) -> bool {
        self.what & Edge::LAST != 0
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

/// The number of each node, found by its fingerprint. It has room for no more than a third more than it holds.
#[derive(Debug, Default)]
struct Index {
    /// At the first free place from where its fingerprint points: its number, and some bits of that. Zero is free.
    slots: Vec<u32>,
    count: usize,
}

impl Index {
    /// Where a fingerprint points, and the bits that are kept of it.
    fn place(&self, print: u64) -> (usize, u32) {
        let at = (u128::from(print) * self.slots.len() as u128) >> 64;
        (at as usize, (print as u32) << NODE_BITS)
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    fn find(&self, print: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let (mut at, bits) = self.place(print);
        while self.slots[at] != 0 {
            let (slot, number) = (self.slots[at], (self.slots[at] & (MOST_NODES as u32 - 1)).wrapping_sub(1));
            if slot >> NODE_BITS == bits >> NODE_BITS && is(number) {
                return Some(number);
            }
            at = self.next(at);
        }
        None
    }

    /// Adds the node with the next number.
    fn add(&mut self, prints: &Blocks<u64>, print: u64) {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            let room = (self.slots.len() + self.slots.len() / 4).max(1 << 10);
            // The old ones are gone before the new ones come.
            self.slots = Vec::new();
            self.slots = vec![0; room];
            (0..self.count as u32).for_each(|number| self.put(prints.at(number), number));
        }
        self.put(print, self.count as u32);
        self.count += 1;
    }

    fn put(&mut self, print: u64, number: u32) {
        let (mut at, bits) = self.place(print);
        while self.slots[at] != 0 {
            at = self.next(at);
        }
        self.slots[at] = bits | (number + 1);
    }
}

/// Edges in few bytes, as they follow each other. One to the node that is met next takes one; another one, as many more
/// as it takes to say how long before that one its node was met.
#[derive(Debug)]
struct Trail {
    blocks: Vec<Vec<u8>>,
    /// The node that will be met next.
    next: u32,
    /// Where the last edge begins in its block.
    last: usize,
}

impl Default for Trail {
    fn default() -> Trail {
        Trail { blocks: Vec::new(), next: FIRST, last: 0 }
    }
}

impl Trail {
    const BLOCK: usize = 1 << 16;

    fn push(&mut self, edge: Edge) {
        if self.blocks.last().is_none_or(|block| block.len() + 5 > Trail::BLOCK) {
            self.blocks.push(Vec::with_capacity(Trail::BLOCK));
        }
        let Some(block) = self.blocks.last_mut() else { return };
        self.last = block.len();
        let back = self.next.wrapping_sub(edge.to);
        let bytes = match back {
            0 => 0,
            1..0x1_0000 => 2,
            0x1_0000..0x100_0000 => 3,
            _ => 4,
        };
        // Six bits of what it is, and two for how many bytes follow.
        block.push(edge.what | ([0, 0, 1, 2, 3][bytes] << 6));
        block.extend(&back.to_le_bytes()[..bytes]);
        self.next += u32::from(back == 0);
    }

    /// The edge that was added last is the last one of its node.
    fn end_row(&mut self) {
        if let Some(block) = self.blocks.last_mut() {
            block[self.last] |= Edge::LAST;
        }
    }

    /// All of them, in order.
    fn iter(&self) -> impl Iterator<Item = Edge> {
        let mut next = FIRST;
        self.blocks
            .iter()
            .flat_map(|block| {
                let mut at = 0;
                std::iter::from_fn(move || {
                    let head = *block.get(at)?;
                    let bytes = [0, 2, 3, 4][usize::from(head >> 6)];
                    let mut back = [0; 4];
                    back[..bytes].copy_from_slice(&block[at + 1..=at + bytes]);
                    at += bytes + 1;
                    Some((head, u32::from_le_bytes(back)))
                })
            })
            .map(move |(head, back)| {
                let to = next.wrapping_sub(back);
                next += u32::from(back == 0);
                Edge { to, what: head & 0x3f }
            })
    }

    fn bytes(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }
}

/// The edges of each node that was left, to be looked up.
#[derive(Debug)]
pub(crate) struct Edges {
    all: Vec<Edge>,
    /// Where those of each node begin, and where the last ones end.
    starts: Vec<u32>,
}

impl Edges {
    /// How many nodes were left.
    pub(crate) fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Those of a node.
    pub(crate) fn of(&self, node: usize) -> &[Edge] {
        &self.all[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// The first node is there from the beginning; this is the one that is met first.
const FIRST: u32 = 1;

/// All nodes that were met, numbered in the order of their meeting, and the edges of those that were left.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    numbers: Index,
    prints: Blocks<u64>,
    sights: Blocks<u8>,
    edges: Trail,
    /// The edges of the node that is being left.
    row: Vec<Edge>,
}

impl Graph {
    /// How many nodes it has.
    pub(crate) fn len(&self) -> usize {
        self.prints.len()
    }

    /// The number of the node with that fingerprint, if it was met.
    pub(crate) fn find(&self, print: u64) -> Option<u32> {
        self.numbers.find(print, |number| self.prints.at(number) == print)
    }

    /// The number of a node, and whether it is new.
    pub(crate) fn add(&mut self, print: u64, sight: Sight) -> (u32, bool) {
        if let Some(number) = self.find(print) {
            return (number, false);
        }
        let number = self.prints.len() as u32;
        self.numbers.add(&self.prints, print);
        self.prints.push(print);
        self.sights.push(sight.waiting | sight.busy << MOST_INSTANCES);
        (number, true)
    }

    /// Adds an edge to the node which is being left. Nodes are left in the order of their numbers. Nobody asks for one
    /// just like another, nor for a fault that leads to nothing new.
    pub(crate) fn connect(&mut self, edge: Edge) {
        let is_new = edge.to() == self.edges.next as usize;
        if is_new || !(edge.is_fault() || self.row.contains(&edge)) {
            self.row.push(edge);
            self.edges.push(edge);
        }
    }

    /// The node which was being left has been left. Each has an edge: if nothing else, something is due, or time passes.
    pub(crate) fn leave(&mut self) {
        self.edges.end_row();
        self.row.clear();
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
    pub(crate) fn edges(&self) -> Edges {
        let (mut all, mut starts) = (Vec::new(), vec![0]);
        for edge in self.edges.iter() {
            all.push(edge);
            if edge.is_last() {
                starts.push(all.len() as u32);
            }
        }
        Edges { all, starts }
    }

    /// The shortest path from the first node to one.
    pub(crate) fn path_to(&self, number: u32) -> Vec<u32> {
        let mut parents = vec![u32::MAX; self.len()];
        let mut from = 0;
        for edge in self.edges.iter() {
            let parent = &mut parents[edge.to()];
            *parent = (*parent).min(from);
            from += u32::from(edge.is_last());
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
        self.numbers.slots.capacity() * size_of::<u32>()
            + self.prints.bytes()
            + self.sights.bytes()
            + self.edges.bytes()
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
        let edges = graph.edges();
        assert_eq!((0..edges.nodes()).map(|node| edges.of(node).len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(
            (graph.find(13), graph.find(99), graph.add(12, Sight::default())),
            (Some(3), None, (2, false))
        );
    }
}
