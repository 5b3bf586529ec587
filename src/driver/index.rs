//! Which machines live in which space: who is to hear a hint, and who has to end when the store is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::vec::Vec;

use super::pending::Pending;
use super::telling::{self, Word};
use super::timers::Timed;
use crate::driver::primitive::{Mutex, lock};
use crate::engine::{Ear, Hint};

/// A machine of the store, whatever its kind.
pub(crate) trait Resident: Timed {
    /// The space in which it lives.
    fn space(&self) -> &Arc<str>;
    /// Something may be worth a look.
    fn hear(self: Arc<Self>, word: &Word<'_>);
    /// It is to end: to wait no longer, to release, to let callbacks end.
    fn shut(self: Arc<Self>, pending: Pending);
    /// Nobody will wake it any more.
    fn abandon(self: Arc<Self>);
    /// What it is still doing, if it is not at rest.
    fn doing(&self) -> Option<&'static str>;
}

/// Which machines live in which space.
#[derive(Debug)]
pub(crate) struct Index(Mutex<Spaces>);

struct Spaces {
    closed: bool,
    residents: BTreeMap<Arc<str>, Vec<Numbered>>,
}

impl core::fmt::Debug for Spaces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Spaces").field("spaces", &self.residents.len()).finish_non_exhaustive()
    }
}

/// A machine and its number.
type Numbered = (u64, Weak<dyn Resident>);

impl Index {
    pub(crate) fn new() -> Index {
        Index(Mutex::new(Spaces { closed: false, residents: BTreeMap::new() }))
    }

    /// Takes a machine in, unless the store is closed.
    pub(crate) fn insert(&self, id: u64, resident: &Arc<impl Resident + 'static>) -> bool {
        let mut spaces = lock(&self.0);
        if spaces.closed {
            return false;
        }
        let weak: Weak<dyn Resident> = Arc::downgrade(&(resident.clone() as Arc<dyn Resident>));
        // Most spaces have one machine.
        let residents = spaces.residents.entry(resident.space().clone());
        residents.or_insert_with(|| Vec::with_capacity(1)).push((id, weak));
        true
    }

    pub(crate) fn remove(&self, space: &str, id: u64) {
        let mut spaces = lock(&self.0);
        if let Some(residents) = spaces.residents.get_mut(space) {
            residents.retain(|(other, _)| *other != id);
            if residents.is_empty() {
                spaces.residents.remove(space);
            }
        }
    }

    /// From now on, nobody moves in: who is there.
    pub(crate) fn close(&self) -> Vec<Arc<dyn Resident>> {
        let mut spaces = lock(&self.0);
        spaces.closed = true;
        alive(spaces.residents.values().flatten(), u64::MAX)
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }
}

/// Those who are alive, but for one.
fn alive<'a>(residents: impl Iterator<Item = &'a Numbered>, but: u64) -> Vec<Arc<dyn Resident>> {
    residents.filter(|(id, _)| *id != but).filter_map(|(_, resident)| resident.upgrade()).collect()
}

impl Ear for Index {
    fn hear(&self, hint: Hint<'_>) {
        // Whoever has brought it about need not be told: a hint may be lost.
        let teller = telling::at();
        let who = {
            let spaces = lock(&self.0);
            // What one handle of a closing store gives back is not for the next one to take, which is about to end as well.
            if spaces.closed {
                return;
            }
            match hint {
                Hint::Freed { space } | Hint::Message { space, .. } => {
                    alive(spaces.residents.get(space).into_iter().flatten(), teller)
                }
                Hint::Gap => alive(spaces.residents.values().flatten(), teller),
            }
        };
        let word = match hint {
            Hint::Freed { .. } => Word::Freed,
            Hint::Message { text, .. } => Word::Message(text.into()),
            Hint::Gap => Word::Missed,
        };
        telling::tell(who, &word);
    }
}
