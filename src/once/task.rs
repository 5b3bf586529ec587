//! What is kept of a job that runs once, and what follows from it for whoever holds its lock.
//!
//! | | the record | guard | verdict |
//! |---|---|---|---|
//! | V1 | scheduled | due | claim it |
//! | V2 | scheduled | due later | leave it, and look again then |
//! | V3 | claimed by one who no longer holds the lock | it may be begun once more | claim it again |
//! | V4 | claimed by one who no longer holds the lock | it may not | write that it is dead |
//! | V5 | done, failed, dead or cancelled; or none | | leave it |
//!
//! ```text
//! schedule ──▶ Scheduled ──▶ Claimed ──▶ Done
//!                  ▲            │├─────▶ Failed      at most once
//!                  └── failure ─┘├─────▶ Scheduled   at least once, with a back-off
//!                                └─────▶ Dead        no attempt is left, or none is allowed
//! ```
//!
//! Any of them may become `Cancelled`, or `Scheduled` anew by a new generation, at any time.

use crate::job::Outcome;
use crate::line::Owner;
use crate::machine::Relocate;
use crate::run::{JobProtection, Work};
use crate::time::{Span, StoreTime};

use super::Props;
use super::config::{Delivery, OnceTerms};

/// What is kept of a job that runs once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Task<P> {
    /// When it is to begin, on the store's clock: at first as it was asked for, after a failure later.
    pub due: StoreTime,
    /// Which request made it. Whoever schedules or reschedules a key makes a new generation.
    pub generation: Owner,
    /// How often this generation was begun.
    pub attempt: u32,
    /// How far it has come.
    pub state: State,
    /// What the callback gets.
    pub props: P,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum State {
    /// It waits until it is due.
    Scheduled,
    /// Somebody begins it or runs it, or died over it.
    Claimed {
        /// The acquisition of the lock under which it was claimed.
        by: Owner,
        /// When that was decided.
        at: StoreTime,
    },
    /// Its callback has succeeded.
    Done {
        /// When, or later.
        at: StoreTime,
    },
    /// Its callback has failed or was interrupted, and it may be begun only once.
    Failed {
        /// When, or later.
        at: StoreTime,
    },
    /// No attempt is left, or whoever claimed it has died and it may be begun only once.
    Dead {
        /// When that was noticed.
        at: StoreTime,
    },
    /// It was cancelled.
    Cancelled {
        /// By which request.
        by: Owner,
        /// When.
        at: StoreTime,
    },
}

impl State {
    /// Whether it is pending, running, or kept because somebody has to see to it: its key is taken.
    pub fn is_open(&self) -> bool {
        match self {
            State::Scheduled | State::Claimed { .. } | State::Dead { .. } => true,
            State::Done { .. } | State::Failed { .. } | State::Cancelled { .. } => false,
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            State::Scheduled => {}
            State::Claimed { by, at } | State::Cancelled { by, at } => {
                by.relocate(map);
                map.store_time(at);
            }
            State::Done { at } | State::Failed { at } | State::Dead { at } => map.store_time(at),
        }
    }
}

impl<P: Props> Work for Task<P> {
    fn relocate(&mut self, map: &mut impl Relocate) {
        map.store_time(&mut self.due);
        self.generation.relocate(map);
        self.state.relocate(map);
    }
}

/// What is to be done about a record, under its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Claim it and begin.
    Claim,
    /// It is not due before then.
    Later(StoreTime),
    /// It is dead.
    Bury,
    /// Nothing.
    Leave,
}

impl<P> Task<P> {
    /// A new generation.
    pub(super) fn scheduled(generation: Owner, due: StoreTime, props: P) -> Task<P> {
        Task { due, generation, attempt: 0, state: State::Scheduled, props }
    }

    /// What is to be done about it, when the store's clock shows `at`.
    pub(super) fn verdict(&self, terms: &OnceTerms, at: StoreTime) -> Verdict {
        match self.state {
            // V1
            State::Scheduled if self.due <= at || !terms.run.has(JobProtection::Generation) => Verdict::Claim,
            // V2
            State::Scheduled => Verdict::Later(self.due),
            // What a claim says counts, unless a laboratory has switched that off.
            State::Claimed { .. } if !terms.run.has(JobProtection::OccurrenceClaim) => Verdict::Claim,
            State::Claimed { .. } => match terms.config.delivery {
                // V3
                Delivery::AtLeastOnce { attempts, .. } if self.attempt < attempts => Verdict::Claim,
                // V4
                Delivery::AtLeastOnce { .. } | Delivery::AtMostOnce => Verdict::Bury,
            },
            // V5
            State::Done { .. } | State::Failed { .. } | State::Dead { .. } | State::Cancelled { .. } => {
                Verdict::Leave
            }
        }
    }

    /// The claim of it.
    pub(super) fn claimed(self, by: Owner, at: StoreTime) -> Task<P> {
        Task { state: State::Claimed { by, at }, attempt: self.attempt.saturating_add(1), ..self }
    }

    /// What becomes of a claim whose callback has ended so.
    pub(super) fn ended(self, terms: &OnceTerms, at: StoreTime, outcome: Outcome) -> Task<P> {
        let (due, state) = match (outcome, terms.config.delivery) {
            (Outcome::Succeeded, _) => (self.due, State::Done { at }),
            (Outcome::Failed | Outcome::Interrupted, Delivery::AtMostOnce) => {
                (self.due, State::Failed { at })
            }
            (Outcome::Failed | Outcome::Interrupted, Delivery::AtLeastOnce { attempts, backoff }) => {
                if self.attempt < attempts {
                    (at + backoff.after(self.attempt), State::Scheduled)
                } else {
                    (self.due, State::Dead { at })
                }
            }
        };
        Task { due, state, ..self }
    }

    /// How long such a record is kept.
    pub(super) fn ttl(&self, terms: &OnceTerms) -> Option<Span> {
        (!self.state.is_open()).then_some(terms.retention)
    }
}
