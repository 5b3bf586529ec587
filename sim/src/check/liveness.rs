//! Whether everybody who waits can get in, and whether somebody may wait for ever: asked of the finished graph.
//!
//! A checker that follows single paths cannot answer either where paths run in circles, as those of a lease do.

use super::graph::{Edge, Graph, MOST_INSTANCES, Places};

/// All places.
pub(crate) const EVERYBODY: Places = (1 << MOST_INSTANCES) - 1;

/// A node in which an instance waits for an answer that it can no longer get, and at which of those places it stands there.
///
/// `AG EF`: from every node, along some path without a fault, everybody who waits is answered.
pub(crate) fn stuck(graph: &Graph, among: Places) -> Option<(u32, u8)> {
    let edges = graph.edges();
    let mut content: Vec<Places> =
        (0..edges.nodes()).map(|node| EVERYBODY & !graph.sight(node).waiting).collect();
    // Against the direction of most edges, so that few rounds are needed.
    let mut changed = true;
    while changed {
        changed = false;
        for node in (0..edges.nodes()).rev() {
            if content[node] == EVERYBODY {
                continue;
            }
            let ways = edges.of(node).iter().filter(|edge| !edge.is_fault());
            let more = ways.fold(content[node], |set, edge| set | edge.before(content[edge.to()]));
            changed |= more != content[node];
            content[node] = more;
        }
    }
    let node = content.iter().position(|&set| !set & among != 0)?;
    Some((node as u32, (!content[node] & among).trailing_zeros() as u8))
}

/// A fair circle in which an instance waits for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Starvation {
    /// Who waits.
    pub(crate) place: u8,
    /// The nodes of the circle; the last leads to the first.
    pub(crate) circle: Vec<u32>,
}

/// A circle without a fault in which one instance waits throughout, although time passes, nobody holds throughout
/// and nobody stands still throughout. For graphs in which every instance keeps its place.
pub(crate) fn starvation(graph: &Graph) -> Option<Starvation> {
    let edges = graph.edges();
    (0..MOST_INSTANCES as u8).find_map(|place| {
        let waits = |node: usize| graph.sight(node).waiting >> place & 1 == 1;
        let steps = |node: usize| {
            edges.of(node).iter().filter(move |edge| !edge.is_fault() && waits(edge.to())).copied()
        };
        let parts = components(edges.nodes(), &waits, &steps);
        let circle = parts.iter().find_map(|part| fair_circle(graph, part, &steps))?;
        Some(Starvation { place, circle })
    })
}

/// A circle through a strongly connected part on which time passes and everybody is idle or waits at some moment.
fn fair_circle<I: Iterator<Item = Edge>>(
    graph: &Graph,
    part: &[u32],
    steps: &impl Fn(usize) -> I,
) -> Option<Vec<u32>> {
    let within = |node: usize| part.binary_search(&(node as u32)).is_ok();
    let tick = part.iter().find_map(|&from| {
        let mut ticks = steps(from as usize).filter(|edge| edge.passes_time() && within(edge.to()));
        ticks.next().map(|edge| (from, edge.to() as u32))
    })?;
    let mut stations = vec![tick.1];
    for place in 0..MOST_INSTANCES {
        let is_free = |node: &&u32| graph.sight(**node as usize).busy >> place & 1 == 0;
        stations.push(*part.iter().find(is_free)?);
    }
    stations.push(tick.0);
    let mut circle = vec![tick.1];
    for pair in stations.windows(2) {
        circle.extend(way(pair[0], pair[1], &within, steps)?);
    }
    Some(circle)
}

/// A shortest way from one node to another, without the first.
fn way<I: Iterator<Item = Edge>>(
    from: u32,
    to: u32,
    within: &impl Fn(usize) -> bool,
    steps: &impl Fn(usize) -> I,
) -> Option<Vec<u32>> {
    let mut parents = std::collections::BTreeMap::from([(from, from)]);
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut way = Vec::new();
            let mut node = to;
            while node != from {
                way.push(node);
                node = parents[&node];
            }
            way.reverse();
            return Some(way);
        }
        for edge in steps(node as usize).filter(|edge| within(edge.to())) {
            parents.entry(edge.to() as u32).or_insert_with(|| {
                queue.push_back(edge.to() as u32);
                node
            });
        }
    }
    None
}

/// The strongly connected parts of the graph of those nodes that `has` names, each sorted; Tarjan's algorithm,
/// without recursion.
fn components<I: Iterator<Item = Edge>>(
    nodes: usize,
    has: &impl Fn(usize) -> bool,
    steps: &impl Fn(usize) -> I,
) -> Vec<Vec<u32>> {
    const UNSEEN: u32 = u32::MAX;
    let (mut index, mut low, mut on_stack) = (vec![UNSEEN; nodes], vec![0_u32; nodes], vec![false; nodes]);
    let (mut stack, mut parts, mut seen) = (Vec::new(), Vec::new(), 0);
    for root in (0..nodes).filter(|&node| has(node)) {
        if index[root] != UNSEEN {
            continue;
        }
        let mut calls: Vec<(usize, I)> = Vec::new();
        let mut enter = Some(root);
        loop {
            if let Some(node) = enter.take() {
                (index[node], low[node], on_stack[node]) = (seen, seen, true);
                seen += 1;
                stack.push(node as u32);
                calls.push((node, steps(node)));
            }
            let Some((node, edges)) = calls.last_mut() else { break };
            let node = *node;
            match edges.next() {
                Some(edge) if index[edge.to()] == UNSEEN => enter = Some(edge.to()),
                Some(edge) if on_stack[edge.to()] => low[node] = low[node].min(index[edge.to()]),
                Some(_) => {}
                None => {
                    calls.pop();
                    if let Some((caller, _)) = calls.last() {
                        low[*caller] = low[*caller].min(low[node]);
                    }
                    if low[node] == index[node] {
                        let at = stack.iter().rposition(|&other| other as usize == node).unwrap_or_default();
                        let mut part = stack.split_off(at);
                        part.iter().for_each(|&member| on_stack[member as usize] = false);
                        part.sort_unstable();
                        parts.push(part);
                    }
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::graph::Sight;
    use super::*;

    /// Where to, whether by a fault, whether time passes.
    type Step = (u32, bool, bool);

    /// A graph of nodes: who waits there, who is busy, and where it leads.
    fn graph(nodes: &[(Places, Places, &[Step])]) -> Graph {
        let mut graph = Graph::default();
        for (print, &(waiting, busy, _)) in nodes.iter().enumerate() {
            graph.add(print as u64, Sight { waiting, busy });
        }
        for (_, _, edges) in nodes {
            edges.iter().for_each(|&(to, fault, time)| {
                graph.connect(Edge::new(to, &[0, 1, 2], fault, time));
            });
            graph.leave();
        }
        graph
    }

    #[test]
    fn whoever_has_a_way_out_is_not_stuck_and_a_fault_is_no_way_out() {
        let way_out = graph(&[
            (1, 0, &[(1, false, true)]),
            (1, 0, &[(0, false, true), (2, false, false)]),
            (0, 1, &[(0, false, true)]),
        ]);
        assert_eq!(stuck(&way_out, EVERYBODY), None);
        let only_a_fault =
            graph(&[(0, 0, &[(1, false, true)]), (2, 0, &[(1, false, true), (0, true, false)])]);
        assert_eq!(stuck(&only_a_fault, EVERYBODY), Some((1, 1)));
        assert_eq!(stuck(&only_a_fault, 0b101), None);
    }

    #[test]
    fn places_are_followed_through_their_changes() {
        let mut graph = Graph::default();
        graph.add(0, Sight { waiting: 0b01, busy: 0 });
        graph.add(1, Sight { waiting: 0b10, busy: 0 });
        // Who stands first goes second, and gets in only from the first place of the second node.
        graph.connect(Edge::new(1, &[1, 0], false, true));
        graph.leave();
        graph.connect(Edge::new(1, &[0, 1], false, true));
        graph.leave();
        assert_eq!(stuck(&graph, EVERYBODY), Some((0, 0)));
    }

    #[test]
    fn a_circle_starves_only_if_it_is_fair() {
        let circle = |busy: [Places; 2], time: bool| {
            graph(&[
                (0, 0, &[(1, false, true)]),
                (1, busy[0], &[(2, false, time), (0, false, true)]),
                (1, busy[1], &[(1, false, false)]),
            ])
        };
        let found = starvation(&circle([0b10, 0], true)).unwrap();
        assert_eq!(found.place, 0);
        assert!(found.circle.contains(&1) && found.circle.contains(&2), "{found:?}");
        assert_eq!(starvation(&circle([0b10, 0], false)), None, "no time passes");
        assert_eq!(starvation(&circle([0b10, 0b10], true)), None, "somebody holds for ever");
    }
}
