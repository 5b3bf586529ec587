//! The leadership flag, for callers without async.

use core::time::Duration;

use super::{SetupError, Store};
use crate::driver::PetitionError;
use crate::flag::{FlagConfig, Leader, PetitionEnd, Process};
use crate::store::FencingToken;

/// A flag that one process of a group has raised; see [`driver::Flag`](crate::driver::Flag).
#[derive(Clone, Debug)]
pub struct Flag {
    flag: crate::driver::Flag,
    store: Store,
}

impl Flag {
    /// See [`driver::Flag::stand`](crate::driver::Flag::stand).
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn stand(store: &Store, config: FlagConfig) -> Result<Flag, SetupError> {
        Ok(Flag { flag: crate::driver::Flag::stand(&store.store, config)?, store: store.clone() })
    }

    /// See [`driver::Flag::raised`](crate::driver::Flag::raised).
    pub fn raised(&self) -> Option<FencingToken> {
        self.flag.raised()
    }

    /// See [`driver::Flag::remaining`](crate::driver::Flag::remaining).
    pub fn remaining(&self) -> Duration {
        self.flag.remaining()
    }

    /// Who was seen to lead last, this process included.
    pub fn leader(&self) -> Option<Leader> {
        self.flag.leader()
    }

    /// Waits until this process leads: its term; `None`, if the flag was closed.
    pub fn until_raised(&self) -> Option<FencingToken> {
        self.store.wait(self.flag.until_raised())
    }

    /// Waits until this process does not lead, or not under this term any more.
    pub fn until_lowered(&self, term: FencingToken) {
        self.store.wait(self.flag.until_lowered(term));
    }

    /// See [`driver::Flag::until_leader_is_not`](crate::driver::Flag::until_leader_is_not).
    pub fn until_leader_is_not(&self, leader: Option<&Leader>) -> Option<Leader> {
        self.store.wait(self.flag.until_leader_is_not(leader))
    }

    /// Waits until another process asks this one to resign: who; `None`, if the flag was closed.
    pub fn petitioned(&self) -> Option<Process> {
        self.store.wait(self.flag.petitioned())
    }

    /// See [`driver::Flag::resign`](crate::driver::Flag::resign).
    pub fn resign(&self) {
        self.flag.resign();
    }

    /// See [`driver::Flag::set_fit`](crate::driver::Flag::set_fit).
    pub fn set_fit(&self, fit: bool) {
        self.flag.set_fit(fit);
    }

    /// Asks the leader to resign, and says what came of that.
    ///
    /// # Errors
    ///
    /// [`PetitionError`].
    pub fn petition(&self) -> Result<PetitionEnd, PetitionError> {
        self.store.wait(self.flag.petition())
    }

    /// Takes part no longer.
    pub fn close(&self) {
        self.store.wait(self.flag.close());
    }
}
