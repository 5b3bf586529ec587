//! What is counted, and under which names. `docs/operations.md` has the table.
//!
//! What is counted often is looked up when its handle is made: install the recorder of metrics before.

use std::boxed::Box;
use std::string::String;

use metrics::{Counter, Histogram, counter, histogram};

use crate::job::{Dropped, Outcome};
use crate::run::Noted;
use crate::time::{Instant, Span};

/// A request whose outcome is unknown: its answer was lost, late, or not understood.
pub(crate) fn unknown(group: &str) {
    tracing::debug!(target: "fencepost", group, "outcome unknown");
    counter!("fencepost_unknown_outcomes_total", "group" => String::from(group)).increment(1);
}

/// What is counted of jobs, recurring ones and others.
#[derive(Debug)]
pub(crate) struct JobMeters {
    group: String,
    runs: Histogram,
    lateness: Histogram,
    unknown: Counter,
}

impl JobMeters {
    /// The meters of the jobs that are counted under this name.
    pub(crate) fn of(group: &str) -> JobMeters {
        let label = || String::from(group);
        JobMeters {
            runs: histogram!("fencepost_job_run_seconds", "group" => label()),
            lateness: histogram!("fencepost_job_lateness_seconds", "group" => label()),
            unknown: counter!("fencepost_unknown_outcomes_total", "group" => label()),
            group: label(),
        }
    }

    /// A callback begins, so long after it was due.
    pub(crate) fn began(&self, late: Span) {
        tracing::debug!(target: "fencepost", group = self.group, late = late.as_secs_f64(), "run began");
        self.lateness.record(late.as_secs_f64());
    }

    pub(crate) fn interrupted(&self) {
        tracing::info!(target: "fencepost", group = self.group, "run interrupted");
        counter!("fencepost_job_interruptions_total", "group" => self.group.clone()).increment(1);
    }

    /// A run has ended that began at `since`.
    pub(crate) fn ended(&self, since: Instant, now: Instant, outcome: Outcome, noted: Noted) {
        let outcome = match outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
        };
        let noted = match noted {
            Noted::Recorded => "recorded",
            Noted::Superseded => "superseded",
            Noted::Unknown => "unknown",
        };
        let took = now.since(since).as_secs_f64();
        tracing::info!(target: "fencepost", group = self.group, outcome, noted, took, "run ended");
        self.runs.record(took);
        let labels = [("group", self.group.clone()), ("outcome", outcome.into()), ("noted", noted.into())];
        counter!("fencepost_job_runs_total", &labels).increment(1);
    }

    /// See [`unknown`].
    pub(crate) fn unknown(&self) {
        tracing::debug!(target: "fencepost", group = self.group, "outcome unknown");
        self.unknown.increment(1);
    }
}

/// What is counted of the occurrences of a recurring job that nobody runs.
#[derive(Debug)]
pub(crate) struct DropMeters {
    group: String,
    missed: Counter,
    skipped: Counter,
}

impl DropMeters {
    /// The meters of the jobs that are counted under this name.
    pub(crate) fn of(group: &str) -> DropMeters {
        let counter = |reason: &'static str| counter!("fencepost_job_dropped_total", "group" => String::from(group), "reason" => reason);
        DropMeters { missed: counter("missed"), skipped: counter("skipped"), group: String::from(group) }
    }

    /// A run begins, and these are left out.
    pub(crate) fn count(&self, Dropped { missed, skipped }: Dropped) {
        self.missed.increment(missed.into());
        self.skipped.increment(skipped.into());
        if missed > 0 {
            tracing::warn!(target: "fencepost", group = self.group, missed, skipped, "occurrences missed");
        } else if skipped > 0 {
            tracing::debug!(target: "fencepost", group = self.group, skipped, "occurrences skipped");
        }
    }
}

/// What is counted of a lock. Only what every acquisition counts is looked up beforehand: there may be very many locks.
#[derive(Debug)]
pub(crate) struct LockMeters {
    group: Box<str>,
    grab: Histogram,
    held: Histogram,
}

impl LockMeters {
    /// The meters of the locks that are counted under this name.
    pub(crate) fn of(group: &str) -> LockMeters {
        LockMeters {
            grab: histogram!("fencepost_lock_grab_seconds", "group" => String::from(group)),
            held: histogram!("fencepost_lock_held_seconds", "group" => String::from(group)),
            group: group.into(),
        }
    }

    fn label(&self) -> String {
        String::from(&*self.group)
    }

    pub(crate) fn grabbed(&self, after: Span) {
        tracing::debug!(target: "fencepost", group = self.group, after = after.as_secs_f64(), "lock acquired");
        self.grab.record(after.as_secs_f64());
    }

    pub(crate) fn held(&self, time: Span) {
        tracing::debug!(target: "fencepost", group = self.group, held = time.as_secs_f64(), "lock given back");
        self.held.record(time.as_secs_f64());
    }

    /// The time from the word that the lock is free to its next holder.
    pub(crate) fn handed_over(&self, after: Span) {
        histogram!("fencepost_lock_handoff_seconds", "group" => self.label()).record(after.as_secs_f64());
    }

    pub(crate) fn retried(&self) {
        counter!("fencepost_lock_retries_total", "group" => self.label()).increment(1);
    }

    pub(crate) fn renewed(&self) {
        tracing::trace!(target: "fencepost", group = self.group, "lease renewed");
        counter!("fencepost_lock_renewals_total", "group" => self.label()).increment(1);
    }

    /// See [`unknown`].
    pub(crate) fn unknown(&self) {
        unknown(&self.group);
    }

    /// Somebody newer asks the holder to yield.
    pub(crate) fn asked(&self, message: &str) {
        tracing::info!(target: "fencepost", group = self.group, message, "lock asked for");
        counter!("fencepost_lock_yields_asked_total", "group" => self.label()).increment(1);
    }

    pub(crate) fn lost(&self, reason: &'static str) {
        tracing::warn!(target: "fencepost", group = self.group, reason, "lock lost");
        counter!("fencepost_lock_losses_total", "group" => self.label(), "reason" => reason).increment(1);
    }
}
