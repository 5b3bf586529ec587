//! Which jobs to look at next, and when: all pending ones, on one timer.
//!
//! The record of a job decides; the agenda only says when to look at it. An entry too many, too early or for a job
//! that is gone costs a look, and one too few costs the time until the next listing.

use alloc::collections::BTreeSet;
use core::hash::Hash;

use crate::docket::Docket;
use crate::machine::Relocate;
use crate::time::{Instant, Span, StoreTime};

/// Which jobs to look at next, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Agenda<K> {
    /// Pending jobs in the order in which they are due on the store's clock.
    due: BTreeSet<(StoreTime, K)>,
    /// When the first of them is due, as far as is known; never, if an answer has to come first that says how late it
    /// is in the store.
    next: Instant,
    /// Jobs that somebody else is at: when to look whether he has died over them.
    watched: Docket<K>,
}

impl<K: Clone + Ord + Hash> Agenda<K> {
    pub(super) fn new() -> Agenda<K> {
        Agenda { due: BTreeSet::new(), next: Instant::MAX, watched: Docket::new() }
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.due.len() + self.watched.len()
    }

    /// A job is pending. Whoever adds one sees to it that the timer is set: [`Agenda::aim`], [`Agenda::expect`].
    pub(super) fn add(&mut self, due: StoreTime, key: K) {
        if !self.watched.has(&key) {
            self.due.insert((due, key));
        }
    }

    /// A job is no longer pending.
    pub(super) fn remove(&mut self, due: StoreTime, key: K) {
        self.due.remove(&(due, key));
    }

    /// Somebody else is at this job: it is to be looked at then, and not before.
    pub(super) fn watch(&mut self, key: K, until: Instant) {
        self.watched.put(key, until);
    }

    pub(super) fn is_watched(&self, key: &K) -> bool {
        self.watched.has(key)
    }

    /// The store's clock has shown `at` just now: when is the first job due?
    pub(super) fn aim(&mut self, now: Instant, at: StoreTime) {
        self.next = self.due.first().map_or(Instant::MAX, |(due, _)| now + due.since(at));
    }

    /// A job was added that is due after so long, as somebody says.
    pub(super) fn expect(&mut self, now: Instant, wait: Span) {
        if !self.due.is_empty() {
            self.next = self.next.min(now + wait);
        }
    }

    /// No answer came that would have said what time it is: the first job is looked at to learn it.
    pub(super) fn nudge(&mut self, now: Instant) {
        if self.next == Instant::MAX && !self.due.is_empty() {
            self.next = now;
        }
    }

    /// The job to look at now, if there is one; it is on the agenda no longer.
    pub(super) fn pick(&mut self, now: Instant, at: Option<StoreTime>) -> Option<K> {
        if let Some(key) = self.watched.take(now) {
            return Some(key);
        }
        if self.next > now || self.next == Instant::MAX {
            return None;
        }
        let first = self.due.pop_first();
        self.next = Instant::MAX;
        if let Some(at) = at {
            self.aim(now, at);
        }
        first.map(|(_, key)| key)
    }

    /// When there is something to look at.
    pub(super) fn deadline(&self) -> Instant {
        let next = if self.due.is_empty() { Instant::MAX } else { self.next };
        next.min(self.watched.first())
    }

    /// See [`crate::machine::Machine::relocate`].
    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        self.due = core::mem::take(&mut self.due)
            .into_iter()
            .map(|(mut due, key)| {
                map.store_time(&mut due);
                (due, key)
            })
            .collect();
        map.deadline(&mut self.next);
        self.watched.relocate(map);
    }
}
