//! What one acquisition knows of itself: until when it may be believed, how far it has come, and how it ended.
//!
//! Belief is one atomic number, so that a holder can check it for the price of a clock reading. It is written by whoever
//! steps the machine, in the order of its steps; it is taken away before anybody is told of the end, and never given back.

use super::board::{Board, Wait};
use crate::driver::primitive::{AtomicU64, Ordering};

/// Belief that was taken away, or spent.
const OVER: u64 = 0;
/// Nothing was granted yet. Every clock shows more.
const NOT_YET: u64 = 1;

/// The end of belief in nanoseconds, as an atomic number.
#[derive(Debug)]
pub(crate) struct Belief(AtomicU64);

impl Belief {
    pub(crate) fn new() -> Belief {
        Belief(AtomicU64::new(NOT_YET))
    }

    /// It may be believed until then, unless it is over.
    pub(crate) fn set(&self, until: u64) {
        // Only the one who steps the machine writes, so nothing can come between these two.
        if self.0.load(Ordering::Relaxed) != OVER {
            self.0.store(until.max(NOT_YET), Ordering::Release);
        }
    }

    /// It is over, for good.
    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::Release);
    }

    /// Whether it may be believed at `now`.
    #[inline]
    pub(crate) fn holds(&self, now: u64) -> bool {
        now < self.0.load(Ordering::Acquire)
    }

    /// How long it may be believed from `now` on; zero, if it may not.
    pub(crate) fn remaining(&self, now: u64) -> u64 {
        self.0.load(Ordering::Acquire).saturating_sub(now)
    }
}

/// One acquisition: `G` is what is granted, `E` is how it ends.
#[derive(Debug)]
pub(crate) struct Tenure<G, E> {
    belief: Belief,
    board: Board<Stage<G, E>>,
}

/// How far an acquisition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage<G, E> {
    /// It is waited for.
    Wanted,
    /// It is held.
    Held {
        /// What was granted.
        granted: G,
        /// How often it was prolonged on request.
        extended: u64,
    },
    /// It is over.
    Over {
        /// What was granted before, if it was.
        granted: Option<G>,
        /// How it ended.
        end: E,
    },
}

impl<G: Clone, E: Clone> Tenure<G, E> {
    pub(crate) fn new() -> Tenure<G, E> {
        Tenure { belief: Belief::new(), board: Board::new(Stage::Wanted) }
    }

    pub(crate) fn belief(&self) -> &Belief {
        &self.belief
    }

    /// It was granted, and may be believed as the belief says.
    pub(crate) fn grant(&self, granted: G) {
        self.board.update(|stage| {
            if let Stage::Wanted = stage {
                *stage = Stage::Held { granted, extended: 0 };
            }
        });
    }

    /// It was prolonged on request.
    pub(crate) fn extended(&self) {
        self.board.update(|stage| {
            if let Stage::Held { extended, .. } = stage {
                *extended += 1;
            }
        });
    }

    /// Asks for it to be prolonged, and waits until it was; false, if it is over before.
    pub(crate) async fn prolong(&self, ask: impl FnOnce()) -> bool {
        let before = match self.stage() {
            Stage::Held { extended, .. } => extended,
            Stage::Wanted | Stage::Over { .. } => return false,
        };
        ask();
        self.wait(|stage| match stage {
            Stage::Held { extended, .. } if *extended > before => Some(true),
            Stage::Held { .. } | Stage::Wanted => None,
            Stage::Over { .. } => Some(false),
        })
        .await
    }

    /// It has ended. The first end counts; belief goes before anybody hears of it.
    pub(crate) fn end(&self, end: E) {
        self.belief.end();
        self.board.update(|stage| {
            let granted = match stage {
                Stage::Over { .. } => return,
                Stage::Wanted => None,
                Stage::Held { granted, .. } => Some(granted.clone()),
            };
            *stage = Stage::Over { granted, end };
        });
    }

    pub(crate) fn stage(&self) -> Stage<G, E> {
        self.board.read(Stage::clone)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.board.read(|stage| matches!(stage, Stage::Over { .. }))
    }

    /// Waits for a stage.
    pub(crate) fn wait<R, F>(&self, look: F) -> Wait<'_, Stage<G, E>, F>
    where
        F: FnMut(&Stage<G, E>) -> Option<R>,
    {
        self.board.wait(look)
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> E {
        self.wait(|stage| match stage {
            Stage::Wanted | Stage::Held { .. } => None,
            Stage::Over { end, .. } => Some(end.clone()),
        })
        .await
    }
}
