//! Two timers for each instance, its machine's deadline and its caller's next request, in a tournament tree:
//! setting one replaces what it was, so nothing stale is ever queued.

use fencepost_models::clock::Time;

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The deadline of an instance's machine.
    Wake(u32),
    /// What an instance's caller does next.
    Ask(u32),
}

impl Timer {
    fn leaf(self) -> usize {
        match self {
            Timer::Wake(index) => index as usize * 2,
            Timer::Ask(index) => index as usize * 2 + 1,
        }
    }
}

/// A complete binary tree in which every node is the earlier of its children; node 1 is the root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    tree: Vec<Time>,
    leaves: usize,
}

impl Timers {
    /// No timer is set, for so many instances.
    pub(crate) fn reset(&mut self, instances: u32) {
        self.leaves = (instances as usize * 2).next_power_of_two();
        self.tree.clear();
        self.tree.resize(self.leaves * 2, Time::MAX);
    }

    /// Sets a timer; [`Time::MAX`] clears it.
    #[inline]
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        let tree = &mut self.tree[..];
        let mut node = self.leaves + timer.leaf();
        tree[node] = at;
        while node > 1 {
            let earlier = tree[node].min(tree[node ^ 1]);
            node /= 2;
            if tree[node] == earlier {
                break;
            }
            tree[node] = earlier;
        }
    }

    /// When the first timer is due.
    #[inline]
    pub(crate) fn first(&self) -> Time {
        self.tree[1]
    }

    /// Which timer is due first; of several, that of the first instance.
    #[inline]
    pub(crate) fn due(&self) -> Timer {
        let tree = &self.tree[..];
        let mut node = 1;
        while node < self.leaves {
            node *= 2;
            node += usize::from(tree[node] != tree[node / 2]);
        }
        let leaf = node - self.leaves;
        let index = (leaf / 2) as u32;
        if leaf.is_multiple_of(2) { Timer::Wake(index) } else { Timer::Ask(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_timer_is_the_earliest_whatever_was_set_before() {
        let mut timers = Timers::default();
        timers.reset(5);
        let mut plain = [Time::MAX; 10];
        let mut state = 7_u64;
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (leaf, at) = ((state >> 33) as usize % 10, Time::from_nanos(state >> 58));
            let index = (leaf / 2) as u32;
            plain[leaf] = at;
            timers.set(if leaf.is_multiple_of(2) { Timer::Wake(index) } else { Timer::Ask(index) }, at);
            let first = (0..10).min_by_key(|&leaf| plain[leaf]).unwrap();
            assert_eq!((timers.first(), timers.due().leaf()), (plain[first], first));
        }
    }
}
