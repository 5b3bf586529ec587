//! What is known of a job's last run, and what follows from it: when it is due, and which occurrence.
//!
//! | | the record | occurrence | verdict |
//! |---|---|---|---|
//! | V1 | none, or one that is not believed | due at once | run it |
//! | V2 | none, or one that is not believed | later | note when the job was first seen, then V3 |
//! | V3 | any other | none, or the next one later | wait |
//! | V4 | any other | due, and fell due while the last run ran | [`Overlap`]: look at the first after its end, or at the last before it |
//! | V5 | any other | due, not later than the grace | run it |
//! | V6 | any other | missed, but follows from the last run | run it, as of now: how long ago it was due counts no more |
//! | V7 | any other | missed | [`Misfire`] |
//!
//! A record is not believed if a moment in it lies further ahead of the store's clock than the schedule's period: it
//! was written when a clock was wrong, and would silence the job until then.

use crate::calendar::Last;
use crate::line::Owner;
use crate::machine::Relocate;
use crate::run::{JobProtection, Work};
use crate::time::{Span, StoreTime};

use super::config::{JobTerms, Misfire, Overlap};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Outcome {
    /// The callback did what it should.
    Succeeded,
    /// The callback could not do what it should.
    Failed,
    /// The callback was told to end early, or its lock was lost before it ended.
    Interrupted,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Progress {
    /// There was none: this record only says since when the job is known.
    Anchored,
    /// It was claimed. If nobody holds the lock, whoever claimed it has died, and this occurrence stays unfinished.
    Running,
    /// It has ended.
    Ended {
        /// When, or later: the store's time when the outcome was about to be written.
        at: StoreTime,
        /// How.
        outcome: Outcome,
    },
}

/// What is known of a job's last run: one record for all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Meta {
    /// When it was due. Claimed before the run begins, so that no two runs have the same one.
    pub occurrence: StoreTime,
    /// When it was claimed, or earlier: the store's time when that was decided.
    pub started: StoreTime,
    /// How far it has come.
    pub progress: Progress,
    /// How many runs have begun.
    pub runs: u64,
    /// Who wrote it.
    pub owner: Owner,
}

impl Work for Meta {
    fn relocate(&mut self, map: &mut impl Relocate) {
        map.store_time(&mut self.occurrence);
        map.store_time(&mut self.started);
        match &mut self.progress {
            Progress::Anchored | Progress::Running => {}
            Progress::Ended { at, outcome: _ } => map.store_time(at),
        }
        map.count(&mut self.runs);
        self.owner.relocate(map);
    }
}

/// Occurrences that nobody will run any more, because a later one is run.
///
/// They are counted once: by whoever claims that later one. An occurrence whose claimant died is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Dropped {
    /// Those that nobody ran in time: see [`Misfire`].
    pub missed: u32,
    /// Those that fell due while an earlier one ran: see [`Overlap`].
    pub skipped: u32,
}

impl Dropped {
    /// No more than so many are counted at a time: after a year, a job of each second has missed 31 million.
    pub const MOST: u32 = 1_000;

    /// What is dropped if `occurrence` is run next, after what was found when the store's clock showed `at`.
    pub(super) fn by(
        terms: &JobTerms,
        at: StoreTime,
        found: Option<&Meta>,
        occurrence: StoreTime,
    ) -> Dropped {
        let (schedule, mut dropped) = (&terms.config.schedule, Dropped::default());
        let Some(last) = found.filter(|last| last.is_believed(terms, at)) else { return dropped };
        // Only a run has had its own occurrence: what fell due at the very moment of an anchor was not run.
        let before = match last.progress {
            Progress::Anchored => last.occurrence - Span::from_nanos(1),
            Progress::Running | Progress::Ended { .. } => last.occurrence,
        };
        let mut next = schedule.after(before);
        for _ in 0..Dropped::MOST {
            let Some(due) = next.filter(|due| *due < occurrence) else { break };
            let count = if last.is_overlapped(due) { &mut dropped.skipped } else { &mut dropped.missed };
            *count += 1;
            next = schedule.after(due);
        }
        dropped
    }
}

/// What a look at the record comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This occurrence is due.
    Run(StoreTime),
    /// Nothing is due before then; never, if `None`.
    Wait(Option<StoreTime>),
    /// Nothing is known of the job: note that it was seen.
    Anchor,
}

impl Meta {
    /// What says since when the job is known.
    pub(super) fn anchor(at: StoreTime, owner: Owner) -> Meta {
        Meta { occurrence: at, started: at, progress: Progress::Anchored, runs: 0, owner }
    }

    /// The claim of `occurrence`, over what was found.
    pub(super) fn claim(found: Option<&Meta>, occurrence: StoreTime, at: StoreTime, owner: Owner) -> Meta {
        let runs = found.map_or(0, |meta| meta.runs).saturating_add(1);
        Meta { occurrence, started: at, progress: Progress::Running, runs, owner }
    }

    /// This claim, with its outcome.
    pub(super) fn ended(self, at: StoreTime, outcome: Outcome) -> Meta {
        Meta { progress: Progress::Ended { at, outcome }, ..self }
    }

    /// Until when the run may have occupied the job, as far as is known.
    fn end(&self) -> StoreTime {
        match self.progress {
            Progress::Anchored | Progress::Running => self.started,
            Progress::Ended { at, outcome: _ } => at.max(self.started),
        }
    }

    /// Whether what is due then fell due while this ran.
    fn is_overlapped(&self, due: StoreTime) -> bool {
        self.started < due && due <= self.end()
    }

    fn last(&self) -> Last {
        let finished = match self.progress {
            Progress::Anchored | Progress::Running => None,
            Progress::Ended { at, outcome: _ } => Some(at),
        };
        Last { occurrence: self.occurrence, started: self.started, finished }
    }

    fn is_believed(&self, terms: &JobTerms, at: StoreTime) -> bool {
        let latest = self.occurrence.max(self.end());
        latest <= at || latest.since(at) <= terms.config.schedule.period_hint(at)
    }
}

/// What `found` comes to when the store's clock shows `at`.
pub(super) fn verdict(terms: &JobTerms, at: StoreTime, found: Option<&Meta>) -> Verdict {
    let schedule = &terms.config.schedule;
    let Some(meta) = found.filter(|meta| meta.is_believed(terms, at)) else {
        return match schedule.next(at, None) {
            // V1
            Some(due) if due <= at => Verdict::Run(due),
            // V2
            Some(_) => Verdict::Anchor,
            None => Verdict::Wait(None),
        };
    };
    let next = match meta.progress {
        Progress::Anchored => schedule.next(meta.occurrence, None),
        // A claim that never ended counts as a run.
        Progress::Running if terms.run.has(JobProtection::OccurrenceClaim) => {
            schedule.next(at, Some(&meta.last()))
        }
        Progress::Running => Some(meta.occurrence),
        Progress::Ended { .. } => schedule.next(at, Some(&meta.last())),
    };
    let next = next.and_then(|next| overlapped(terms, meta, next));
    match next {
        Some(due) if due <= at => due_at(terms, at, due, meta.end()),
        // V3
        later => Verdict::Wait(later),
    }
}

/// V4: what counts of the occurrences that fell due while the last run ran.
fn overlapped(terms: &JobTerms, meta: &Meta, due: StoreTime) -> Option<StoreTime> {
    let (schedule, end) = (&terms.config.schedule, meta.end());
    if !meta.is_overlapped(due) || schedule.until(end).is_none() {
        return Some(due);
    }
    match terms.config.overlap {
        Overlap::Skip => schedule.after(end),
        Overlap::BufferOne => Some(schedule.until(end).map_or(due, |latest| latest.max(due))),
    }
}

/// V5, V6, V7: an occurrence is due; was it missed? One that had to wait for the last run's end was due only then.
fn due_at(terms: &JobTerms, at: StoreTime, due: StoreTime, end: StoreTime) -> Verdict {
    let schedule = &terms.config.schedule;
    let is_in_time = |due: StoreTime| at.since(due.max(end)) <= terms.grace;
    // V5
    if is_in_time(due) {
        return Verdict::Run(due);
    }
    // V6
    let Some(latest) = schedule.until(at).filter(|latest| *latest >= due) else { return Verdict::Run(at) };
    // V7
    match terms.config.misfire {
        Misfire::Skip if at.since(latest) <= terms.grace => Verdict::Run(latest),
        Misfire::Skip => Verdict::Wait(schedule.after(at)),
        Misfire::RunOnce => Verdict::Run(latest),
        Misfire::CatchUp { within } => {
            let oldest = at - Span::from(within);
            if due >= oldest {
                return Verdict::Run(due);
            }
            match schedule.after(oldest - Span::from_nanos(1)) {
                Some(due) if due <= at => Verdict::Run(due),
                later => Verdict::Wait(later),
            }
        }
    }
}
