//! What is to be looked at when, in order.

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hash;

use crate::machine::Relocate;
use crate::time::Instant;

/// Keys in the order of the moments at which they are to be looked at; of one moment, in the order in which they came.
///
/// The order is kept here and not computed: of two keys that both had to wait for more than their moment, the one that has
/// waited for longer goes first, although nobody remembers for how long ([`Relocate::deadline`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Docket<K> {
    order: VecDeque<(Instant, K)>,
    moments: BTreeMap<K, Instant>,
}

impl<K: Clone + Ord + Hash> Docket<K> {
    pub(crate) fn new() -> Docket<K> {
        Docket { order: VecDeque::new(), moments: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn has(&self, key: &K) -> bool {
        self.moments.contains_key(key)
    }

    /// The first moment; never, if there is none.
    pub(crate) fn first(&self) -> Instant {
        self.order.front().map_or(Instant::MAX, |(moment, _)| *moment)
    }

    /// The key is to be looked at then, and not before. That is not past: of what is, only the order of arrival is known.
    pub(crate) fn put(&mut self, key: K, moment: Instant) {
        self.remove(&key);
        let place = self.order.partition_point(|(other, _)| *other <= moment);
        self.order.insert(place, (moment, key.clone()));
        self.moments.insert(key, moment);
    }

    /// The key is to be looked at then, or before if it is there already. The same holds.
    pub(crate) fn put_by(&mut self, key: K, moment: Instant) {
        if self.moments.get(&key).is_none_or(|before| moment < *before) {
            self.put(key, moment);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        let Some(moment) = self.moments.remove(key) else { return };
        let first = self.order.partition_point(|(other, _)| *other < moment);
        if let Some(place) = self.order.iter().skip(first).position(|(_, other)| other == key) {
            self.order.remove(first + place);
        }
    }

    /// Takes the first key whose moment has come.
    pub(crate) fn take(&mut self, now: Instant) -> Option<K> {
        let first = self.first();
        if first > now || first == Instant::MAX {
            return None;
        }
        let (_, key) = self.order.pop_front()?;
        self.moments.remove(&key);
        Some(key)
    }

    /// See [`crate::machine::Machine::relocate`].
    pub(crate) fn relocate(&mut self, map: &mut impl Relocate) {
        self.order.iter_mut().for_each(|(moment, _)| map.deadline(moment));
        self.moments.values_mut().for_each(|moment| map.deadline(moment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn docket(moments: &[(char, u64)]) -> Docket<char> {
        let mut docket = Docket::new();
        moments.iter().for_each(|(key, moment)| docket.put(*key, at(*moment)));
        docket
    }

    fn taken(docket: &mut Docket<char>, now: u64) -> alloc::string::String {
        core::iter::from_fn(|| docket.take(at(now))).collect()
    }

    #[test]
    fn keys_come_in_the_order_of_their_moments_and_then_of_their_arrival() {
        let mut docket = docket(&[('c', 20), ('b', 10), ('a', 10), ('d', 5), ('e', 30)]);
        assert_eq!((docket.first(), docket.len()), (at(5), 5));
        assert_eq!(taken(&mut docket, 4), "");
        assert_eq!(taken(&mut docket, 20), "dbac");
        assert!(docket.has(&'e') && !docket.has(&'a'));
    }

    #[test]
    fn a_key_has_one_moment() {
        let three = [('a', 10), ('b', 10), ('c', 10)];
        let mut docket = docket(&three);
        docket.put('a', at(15));
        docket.put_by('b', at(20));
        docket.put_by('c', at(5));
        docket.remove(&'x');
        assert_eq!(taken(&mut docket, 99), "cba");
        three.into_iter().for_each(|(key, moment)| docket.put(key, at(moment)));
        docket.remove(&'b');
        assert_eq!(taken(&mut docket, 99), "ac");
        assert_eq!((docket.first(), docket.len()), (Instant::MAX, 0));
    }

    #[test]
    fn never_does_not_come() {
        let mut docket = Docket::new();
        docket.put('a', Instant::MAX);
        assert_eq!(docket.take(Instant::MAX), None);
    }
}
