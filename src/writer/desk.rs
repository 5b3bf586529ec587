//! The units of work of one writer: which wait, until when, and which run.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hash;

use crate::docket::Docket;
use crate::machine::Relocate;
use crate::once::Name;
use crate::time::Instant;

use super::{End, Unit, WorkId};

/// One key's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sheet {
    Waiting {
        unit: Unit,
    },
    /// `told`: it knows that it should end.
    Running {
        unit: Unit,
        told: bool,
        next: Next,
    },
}

/// What follows the unit that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    /// The same again, if it asks for it.
    Same,
    /// What was tried meanwhile.
    Other(Unit),
    /// Nothing, for this reason.
    Nothing(End),
}

/// The units of work of one writer. At most one runs for each key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Desk<K> {
    sheets: BTreeMap<K, Sheet>,
    /// Those that wait, in the order in which they are due: whoever has waited longest comes first.
    queue: Docket<K>,
    running: usize,
}

/// What becomes of a unit that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// No such unit runs.
    Unknown,
    /// It is to be run again.
    Again,
    /// Nothing more is done for it.
    Settled(End),
}

impl<K: Name> Desk<K> {
    pub(super) fn new() -> Desk<K> {
        Desk { sheets: BTreeMap::new(), queue: Docket::new(), running: 0 }
    }

    /// How many keys have work, running or waiting.
    pub(super) fn len(&self) -> usize {
        self.sheets.len()
    }

    /// How many units run.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// When the first of those that wait is due; never, if none waits.
    pub(super) fn due(&self) -> Instant {
        self.queue.first()
    }

    /// Notes work. A key that waits already is due no later than it was. Gives the work whose place it takes.
    pub(super) fn put(&mut self, key: K, unit: Unit, due: Instant) -> Option<WorkId> {
        match self.sheets.get_mut(&key) {
            Some(Sheet::Waiting { unit: before }) => {
                let replaced = core::mem::replace(before, unit).id();
                self.queue.put_by(key, due);
                Some(replaced).filter(|id| *id != unit.id())
            }
            Some(Sheet::Running { next, .. }) => match core::mem::replace(next, Next::Other(unit)) {
                Next::Other(before) => Some(before.id()).filter(|id| *id != unit.id()),
                Next::Same | Next::Nothing(_) => None,
            },
            None => {
                self.queue.put(key.clone(), due);
                self.sheets.insert(key, Sheet::Waiting { unit });
                None
            }
        }
    }

    /// Work was seen done, or is no longer wanted: what waits under that key and is meant is dropped, and gives its
    /// name. What runs goes on, and is not run again.
    pub(super) fn drop(&mut self, key: &K, end: End, is_meant: impl Fn(WorkId) -> bool) -> Option<WorkId> {
        match self.sheets.get_mut(key)? {
            Sheet::Waiting { unit } if is_meant(unit.id()) => {
                let id = unit.id();
                self.queue.remove(key);
                self.sheets.remove(key);
                Some(id)
            }
            Sheet::Running { unit, next, .. } => match *next {
                Next::Other(other) if is_meant(other.id()) => {
                    *next = Next::Nothing(end);
                    Some(other.id())
                }
                Next::Same if is_meant(unit.id()) => {
                    *next = Next::Nothing(end);
                    None
                }
                Next::Other(_) | Next::Same | Next::Nothing(_) => None,
            },
            Sheet::Waiting { .. } => None,
        }
    }

    /// Takes the first unit that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(K, WorkId)> {
        let key = self.queue.take(now)?;
        let sheet = self.sheets.get_mut(&key)?;
        let Sheet::Waiting { unit } = *sheet else { return None };
        *sheet = Sheet::Running { unit, told: false, next: Next::Same };
        self.running += 1;
        Some((key, unit.id()))
    }

    /// The unit that runs under that key has come to its end. What was tried meanwhile is due `now`; the same again is
    /// due `later`.
    pub(super) fn end(&mut self, key: K, id: WorkId, retry: bool, now: Instant, later: Instant) -> Ended {
        let Some(&Sheet::Running { unit, next, .. }) = self.sheets.get(&key) else { return Ended::Unknown };
        if unit.id() != id {
            return Ended::Unknown;
        }
        self.sheets.remove(&key);
        self.running -= 1;
        let again = if retry { unit.again() } else { None };
        let (ended, follower) = match (next, again) {
            (Next::Other(other), _) if other.id() == id => (Ended::Again, Some((other, now))),
            (Next::Other(other), _) if retry => (Ended::Settled(End::Replaced), Some((other, now))),
            (Next::Other(other), _) => (Ended::Settled(End::Done), Some((other, now))),
            (Next::Same, Some(again)) => (Ended::Again, Some((again, later))),
            (Next::Same, None) if retry => (Ended::Settled(End::GaveUp), None),
            (Next::Nothing(end), _) if retry => (Ended::Settled(end), None),
            (Next::Same | Next::Nothing(_), _) => (Ended::Settled(End::Done), None),
        };
        if let Some((unit, due)) = follower {
            self.put(key, unit, due);
        }
        ended
    }

    /// Those that run and have not been told that they should end; from now on they have.
    pub(super) fn interrupt(&mut self) -> Vec<(K, WorkId)> {
        let running = self.sheets.iter_mut().filter_map(|(key, sheet)| match sheet {
            Sheet::Running { unit, told: told @ false, .. } => {
                *told = true;
                Some((key.clone(), unit.id()))
            }
            Sheet::Running { told: true, .. } | Sheet::Waiting { .. } => None,
        });
        running.collect()
    }

    /// Drops whatever does not run, and gives its names. What runs is not run again.
    pub(super) fn clear(&mut self) -> Vec<(K, WorkId)> {
        let keys: Vec<K> = self.sheets.keys().cloned().collect();
        let dropped = keys.into_iter().filter_map(|key| {
            let id = self.drop(&key, End::Stopped, |_| true)?;
            Some((key, id))
        });
        dropped.collect()
    }

    /// See [`crate::machine::Machine::relocate`].
    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        self.queue.relocate(map);
    }
}
