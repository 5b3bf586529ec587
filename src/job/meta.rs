//! What is known of a job's last run, and what follows from it: when it is due, and which occurrence.
//!
//! | | the record | occurrence | verdict |
//! |---|---|---|---|
//! | V1 | none, or one that is not believed | due at once | run it |
//! | V2 | none, or one that is not believed | later | note when the job was first seen, then V3 |
//! | V3 | any other | none, or the next one later | wait |
//! | V4 | any other | due, and fell due while the job was busy | [`Overlap`]: look at the first after its end, or at the last before it |
//! | V5 | any other | due, not later than the grace | run it |
//! | V6 | any other | missed, but follows from the last run | run it, as of now: how long ago it was due counts no more |
//! | V7 | any other | missed | [`Misfire`]: the latest, or the first that is not too late; V4 holds for these, too |
//!
//! A record is not believed if a moment in it lies further ahead of the store's clock than the schedule's period: it
//! was written when a clock was wrong, and would silence the job until then.
//!
//! The job is busy from the beginning of a run to its end, and on through the next run, if that is of an occurrence that was due by
//! then and begins within a time to live of the lock: somebody was there. So runs that make up for what was missed do not make
//! what falls due meanwhile missed, too. One that is buffered counts as late only from the end of the run on. Of a run that never
//! ended nobody knows how long it lasted: it counts as its beginning.

use crate::calendar::{Last, Schedule};
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
    /// Since when the job is busy, if it was when this run began: what fell due since then has overlapped.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub busy_since: Option<StoreTime>,
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
        self.busy_since.iter_mut().for_each(|since| map.store_time(since));
        match &mut self.progress {
            Progress::Anchored | Progress::Running => {}
            Progress::Ended { at, outcome: _ } => map.store_time(at),
        }
        map.count(&mut self.runs);
        self.owner.relocate(map);
    }
}

/// How many occurrences nobody will run any more, because a later one is run.
///
/// They are counted once: by whoever claims that later one. An occurrence whose claimant died or lost its lock is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Dropped {
    /// Those that nobody ran in time: see [`Misfire`].
    pub missed: u32,
    /// Those that fell due while the job was busy: see [`Overlap`].
    pub skipped: u32,
}

impl Dropped {
    /// No more than so many of each are counted at a time: after a year, a job of each second has missed 31 million.
    pub const MOST: u32 = 1_000;

    /// What is dropped if `occurrence` is run next, after what was found when the store's clock showed `at`.
    pub(super) fn by(
        terms: &JobTerms,
        at: StoreTime,
        found: Option<&Meta>,
        occurrence: StoreTime,
    ) -> Dropped {
        let schedule = &terms.config.schedule;
        let Some(last) = believed(terms, at, found) else { return Dropped::default() };
        // Only a run has had its own occurrence: what fell due at the very moment of an anchor was not run.
        let after = match last.progress {
            Progress::Anchored => last.occurrence - Span::from_nanos(1),
            Progress::Running | Progress::Ended { .. } => last.occurrence,
        };
        let (busy, end, until) = (last.busy_since(), last.end(), occurrence - Span::from_nanos(1));
        let count = |after, until| count(schedule, after, until);
        let missed = count(after, busy.min(until)) + count(after.max(end), until);
        let skipped = count(after.max(busy), end.min(until));
        // One that was buffered was to be run after all.
        let buffered = match terms.config.overlap {
            Overlap::Skip => 0,
            Overlap::BufferOne => u32::from(end <= until).min(skipped),
        };
        Dropped { missed: Dropped::MOST.min(missed + buffered), skipped: skipped - buffered }
    }
}

/// How many occurrences there are after the one moment, and not after the other.
fn count(schedule: &Schedule, after: StoreTime, until: StoreTime) -> u32 {
    let next = |at: &StoreTime| schedule.after(*at).filter(|due| *due <= until);
    let due = core::iter::successors(next(&after), next);
    due.zip(1..=Dropped::MOST).map(|(_, count)| count).last().unwrap_or(0)
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
        Meta { occurrence: at, started: at, busy_since: None, progress: Progress::Anchored, runs: 0, owner }
    }

    /// The claim of `occurrence`, over what was found.
    pub(super) fn claim(
        terms: &JobTerms,
        found: Option<&Meta>,
        occurrence: StoreTime,
        at: StoreTime,
        owner: Owner,
    ) -> Meta {
        let runs = found.map_or(0, |meta| meta.runs).saturating_add(1);
        let last = believed(terms, at, found).filter(|last| last.is_busy_for(terms, occurrence, at));
        let busy_since = last.map(Meta::busy_since);
        Meta { occurrence, started: at, busy_since, progress: Progress::Running, runs, owner }
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

    /// Since when the job is busy, as far as is known.
    fn busy_since(&self) -> StoreTime {
        self.busy_since.unwrap_or(self.started)
    }

    /// Whether what is due then fell due while the job was busy.
    fn is_overlapped(&self, due: StoreTime) -> bool {
        self.busy_since() < due && due <= self.end()
    }

    /// Whether the job is still busy when this occurrence is run: that had to wait for the end of this run, and no longer.
    fn is_busy_for(&self, terms: &JobTerms, occurrence: StoreTime, at: StoreTime) -> bool {
        let pause = terms.run.mutex.lease().ttl();
        self.progress != Progress::Anchored && occurrence <= self.end() && at.since(self.end()) <= pause
    }

    fn last(&self) -> Last {
        let finished = match self.progress {
            Progress::Anchored | Progress::Running => None,
            Progress::Ended { at, outcome: _ } => Some(at),
        };
        Last { occurrence: self.occurrence, started: self.started, finished }
    }

    /// How late what was due then would be run: one that had to wait for the end of the last run was due only then.
    fn lateness(&self, due: StoreTime, at: StoreTime) -> Span {
        at.since(if self.is_overlapped(due) { self.end() } else { due })
    }
}

/// What was found, unless it was written by a clock that was wrong.
fn believed<'a>(terms: &JobTerms, at: StoreTime, found: Option<&'a Meta>) -> Option<&'a Meta> {
    found.filter(|meta| {
        let latest = meta.occurrence.max(meta.end());
        latest <= at || latest.since(at) <= terms.config.schedule.period_hint(at)
    })
}

/// What `found` comes to when the store's clock shows `at`.
pub(super) fn verdict(terms: &JobTerms, at: StoreTime, found: Option<&Meta>) -> Verdict {
    let schedule = &terms.config.schedule;
    let Some(meta) = believed(terms, at, found) else {
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
        Some(due) if due <= at => due_at(terms, at, meta, due),
        // V3
        later => Verdict::Wait(later),
    }
}

/// V4: what counts of the occurrences that fell due while the job was busy.
fn overlapped(terms: &JobTerms, meta: &Meta, due: StoreTime) -> Option<StoreTime> {
    let (schedule, end) = (&terms.config.schedule, meta.end());
    if !meta.is_overlapped(due) || schedule.until(end).is_none() {
        return Some(due);
    }
    match terms.config.overlap {
        Overlap::Skip => schedule.after(end),
        Overlap::BufferOne => buffered(terms, meta),
    }
}

/// V4: the latest that fell due while the job was busy, if that is to be run when there is time for it.
fn buffered(terms: &JobTerms, meta: &Meta) -> Option<StoreTime> {
    match terms.config.overlap {
        Overlap::Skip => None,
        Overlap::BufferOne => {
            terms.config.schedule.until(meta.end()).filter(|latest| meta.is_overlapped(*latest))
        }
    }
}

/// V5, V6, V7: an occurrence is due; was it missed?
fn due_at(terms: &JobTerms, at: StoreTime, meta: &Meta, due: StoreTime) -> Verdict {
    // V5
    if meta.lateness(due, at) <= terms.grace {
        return Verdict::Run(due);
    }
    // V6
    let Some(latest) = latest(terms, at, meta).filter(|latest| *latest >= due) else {
        return Verdict::Run(at);
    };
    // V7
    let late = match terms.config.misfire {
        Misfire::RunOnce => return Verdict::Run(latest),
        Misfire::Skip => terms.grace,
        Misfire::CatchUp { within } => terms.grace.max(within.into()),
    };
    match first_in_time(terms, at, meta, due, late) {
        Some(due) if due <= at => Verdict::Run(due),
        later => Verdict::Wait(later),
    }
}

/// The latest occurrence that may be run.
fn latest(terms: &JobTerms, at: StoreTime, meta: &Meta) -> Option<StoreTime> {
    let schedule = &terms.config.schedule;
    let latest = schedule.until(at)?;
    match terms.config.overlap {
        Overlap::Skip if meta.is_overlapped(latest) => schedule.until(meta.busy_since()),
        Overlap::Skip | Overlap::BufferOne => Some(latest),
    }
}

/// The first occurrence from `due` on that may be run and is not later than that.
fn first_in_time(
    terms: &JobTerms,
    at: StoreTime,
    meta: &Meta,
    due: StoreTime,
    late: Span,
) -> Option<StoreTime> {
    let schedule = &terms.config.schedule;
    let oldest = due.max(at - late);
    let first = schedule.after(oldest - Span::from_nanos(1)).and_then(|first| overlapped(terms, meta, first));
    // One that is buffered may have been due before, and is not late for all that.
    let buffered = buffered(terms, meta).filter(|last| *last >= due && meta.lateness(*last, at) <= late);
    first.into_iter().chain(buffered).min()
}
