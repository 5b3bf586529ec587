//! When each instance has to be seen to next, in a tournament: setting a time replaces what it was, so nothing
//! stale is ever queued.

use fencepost_models::clock::Time;

/// One time for each instance, under a tree in which every node is the earliest of its four children. Node 1 is
/// the root; the children of `n` are `4n` to `4n + 3`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    /// The root.
    first: Time,
    /// All other nodes, with their siblings: node `n` is `tree[n / 4][n % 4]`.
    tree: Vec<[Time; 4]>,
    /// The leaf of the first instance.
    leaves: usize,
}

impl Timers {
    /// No timer is set, for so many instances.
    pub(crate) fn reset(&mut self, instances: u32) {
        self.first = Time::MAX;
        self.leaves = 1;
        while self.leaves < instances as usize {
            self.leaves *= 4;
        }
        self.tree.clear();
        self.tree.resize(self.leaves / 2, [Time::MAX; 4]);
    }

    /// Sets the timer of an instance; [`Time::MAX`] clears it.
    #[inline]
    pub(crate) fn set(&mut self, index: u32, at: Time) {
        let mut node = self.leaves + index as usize;
        let mut earliest = at;
        while node > 1 {
            let siblings = &mut self.tree[node / 4];
            if siblings[node % 4] == earliest {
                return;
            }
            siblings[node % 4] = earliest;
            let [a, b, c, d] = *siblings;
            earliest = a.min(b).min(c.min(d));
            node /= 4;
        }
        self.first = earliest;
    }

    /// When the first timer is due.
    #[inline]
    pub(crate) fn first(&self) -> Time {
        self.first
    }

    /// Whose timer is due first; of several, the first instance's.
    #[inline]
    pub(crate) fn due(&self) -> u32 {
        let mut node = 1;
        while node < self.leaves {
            let [a, b, c, _] = self.tree[node].map(|child| usize::from(child != self.first));
            // How many children come before the first that is as early as the root, without a branch.
            node = node * 4 + a + (a & b) + (a & b & c);
        }
        (node - self.leaves) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_timer_is_the_earliest_whatever_was_set_before() {
        for instances in [1, 4, 5, 17] {
            let mut timers = Timers::default();
            timers.reset(instances);
            let mut plain = vec![Time::MAX; instances as usize];
            let mut state = 7_u64;
            for _ in 0..2_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (index, at) = ((state >> 33) as usize % plain.len(), Time::from_nanos(state >> 58));
                plain[index] = at;
                timers.set(index as u32, at);
                let first = (0..plain.len()).min_by_key(|&index| plain[index]).unwrap();
                assert_eq!((timers.first(), timers.due() as usize), (plain[first], first));
            }
        }
    }
}
