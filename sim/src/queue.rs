//! The event queue: a four-ary heap of 128-bit keys that carry their payload, so a comparison is one integer
//! compare and a push allocates nothing once the heap has grown.

use fencepost_models::clock::Time;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A message on its present leg.
    Arrival(u32),
    /// An action that was decided on before.
    Planned(u32),
    /// The next fault of a family.
    Fault(u32),
    /// The end of the storm.
    Heal,
}

/// Names a queued entry for as long as the run lasts: its number in the order of pushing.
pub(crate) type Ticket = u32;

const SLOT_BITS: u32 = 24;
const KIND_BITS: u32 = 4;

/// No entry: later than any.
const NOTHING: u128 = u128::MAX;

/// Entries in the order of time, and of pushing where the time is the same.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// The first entry. It is kept apart because a small run seldom has another.
    first: u128,
    /// All others.
    heap: Vec<u128>,
    pushed: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { first: NOTHING, heap: Vec::new(), pushed: 0 }
    }
}

impl Queue {
    pub(crate) fn clear(&mut self) {
        self.first = NOTHING;
        self.heap.clear();
        self.pushed = 0;
    }

    #[inline]
    pub(crate) fn push(&mut self, at: Time, due: Due) -> Ticket {
        self.pushed += 1;
        let (kind, slot) = match due {
            Due::Arrival(slot) => (0, slot),
            Due::Planned(slot) => (1, slot),
            Due::Fault(slot) => (2, slot),
            Due::Heal => (3, 0),
        };
        debug_assert!(slot < 1 << SLOT_BITS);
        let low = (self.pushed << (SLOT_BITS + KIND_BITS)) | (kind << SLOT_BITS) | u64::from(slot);
        let key = u128::from(at.as_nanos()) << 64 | u128::from(low);
        let later = if key < self.first { std::mem::replace(&mut self.first, key) } else { key };
        if time(later) != Time::MAX {
            self.heap.push(later);
            // A small run seldom has a third entry: nothing to sift.
            if self.heap.len() > 1 {
                self.sift_up(later);
            }
        }
        self.pushed as Ticket
    }

    /// When the first entry is due.
    #[inline]
    pub(crate) fn first(&self) -> Time {
        time(self.first)
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Due, Ticket)> {
        if self.first() == Time::MAX {
            return None;
        }
        let first = self.first;
        self.first = match self.heap.pop() {
            None => NOTHING,
            Some(last) if self.heap.is_empty() => last,
            Some(last) => self.sift_down(last),
        };
        let low = first as u64;
        let slot = (low & ((1 << SLOT_BITS) - 1)) as u32;
        let due = match (low >> SLOT_BITS) & ((1 << KIND_BITS) - 1) {
            0 => Due::Arrival(slot),
            1 => Due::Planned(slot),
            2 => Due::Fault(slot),
            _ => Due::Heal,
        };
        Some((due, (low >> (SLOT_BITS + KIND_BITS)) as Ticket))
    }

    /// Moves `key`, the last entry, up to its place.
    #[inline(never)]
    fn sift_up(&mut self, key: u128) {
        let mut hole = self.heap.len() - 1;
        while hole > 0 {
            let parent = (hole - 1) / 4;
            if self.heap[parent] <= key {
                break;
            }
            self.heap[hole] = self.heap[parent];
            hole = parent;
        }
        self.heap[hole] = key;
    }

    /// Takes the root out, and moves `key` from there down to its place.
    #[inline(never)]
    fn sift_down(&mut self, key: u128) -> u128 {
        let heap = &mut self.heap[..];
        let Some(&root) = heap.first() else { return key };
        let mut hole = 0;
        loop {
            let first = hole * 4 + 1;
            if first >= heap.len() {
                break;
            }
            let child = first + smallest(&heap[first..]);
            if heap[child] >= key {
                break;
            }
            heap[hole] = heap[child];
            hole = child;
        }
        heap[hole] = key;
        root
    }
}

/// When an entry is due.
#[inline]
fn time(key: u128) -> Time {
    Time::from_nanos((key >> 64) as u64)
}

/// The index of the smallest of the first four.
#[inline]
fn smallest(children: &[u128]) -> usize {
    if let Some(&[a, b, c, d]) = children.first_chunk() {
        let (left, right) = (usize::from(b < a), 2 + usize::from(d < c));
        return if children[right] < children[left] { right } else { left };
    }
    let mut smallest = 0;
    for (index, child) in children.iter().enumerate().skip(1) {
        if *child < children[smallest] {
            smallest = index;
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_by_time_and_then_in_the_order_of_pushing() {
        let mut queue = Queue::default();
        let mut state = 1u64;
        let mut expected = Vec::new();
        for slot in 0..1_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = Time::from_nanos(state >> 57);
            let due = match slot % 3 {
                0 => Due::Arrival(slot),
                1 => Due::Planned(slot),
                _ => Due::Fault(slot),
            };
            let ticket = queue.push(at, due);
            expected.push((at, ticket, due));
        }
        expected.sort_by_key(|&(at, ticket, _)| (at, ticket));
        for (at, ticket, due) in expected {
            assert_eq!((queue.first(), queue.pop()), (at, Some((due, ticket))));
        }
        assert_eq!(queue.pop(), None);
    }
}
