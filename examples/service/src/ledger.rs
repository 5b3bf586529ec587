//! The resource that the lock guards. It refuses every token lower than the highest that it has seen, because no lock with a
//! lease is safe for a slow writer without that.

use std::sync::{Mutex as Lock, PoisonError};

use fencepost::store::FencingToken;

use crate::Error;

/// What all instances write to; in a real service, a database.
#[derive(Debug, Default)]
pub struct Ledger(Lock<Pages>);

#[derive(Debug, Default)]
struct Pages {
    highest: FencingToken,
    entries: Vec<u64>,
    term: FencingToken,
    balance: u64,
    sums: Vec<u64>,
    reminders: Vec<String>,
}

fn fence(highest: &mut FencingToken, token: FencingToken) -> Result<(), Error> {
    if token < *highest {
        return Err(format!("token {} comes after {}", token.0, highest.0).into());
    }
    *highest = token;
    Ok(())
}

impl Ledger {
    fn pages<R>(&self, turn: impl FnOnce(&mut Pages) -> R) -> R {
        turn(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes an entry, unless somebody with a higher token was here.
    ///
    /// # Errors
    ///
    /// If the token is lower than the highest that was seen.
    pub fn write(&self, token: FencingToken, amount: u64) -> Result<(), Error> {
        self.pages(|pages| fence(&mut pages.highest, token).map(|()| pages.entries.push(amount)))
    }

    /// Writes the balance, unless a later leader was here. Terms have nothing to do with the lock's tokens.
    ///
    /// # Errors
    ///
    /// If the term is lower than the highest that was seen.
    pub fn balance(&self, term: FencingToken) -> Result<(), Error> {
        self.pages(|pages| fence(&mut pages.term, term).map(|()| pages.balance = pages.entries.iter().sum()))
    }

    pub(crate) fn sum(&self) {
        self.pages(|pages| pages.sums.push(pages.entries.iter().sum()));
    }

    pub(crate) fn remind(&self, text: &str) {
        self.pages(|pages| pages.reminders.push(text.into()));
    }

    /// The sum of all entries.
    pub fn total(&self) -> u64 {
        self.pages(|pages| pages.entries.iter().sum())
    }

    /// The balance that was written last.
    pub fn written(&self) -> u64 {
        self.pages(|pages| pages.balance)
    }

    /// The sums that were made.
    pub fn sums(&self) -> Vec<u64> {
        self.pages(|pages| pages.sums.clone())
    }

    /// The reminders that were sent.
    pub fn reminders(&self) -> Vec<String> {
        self.pages(|pages| pages.reminders.clone())
    }
}
