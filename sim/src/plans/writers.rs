//! How writers are checked exhaustively, and their original.

use fencepost::mutex::Fairness;
use fencepost::time::{Ppm, Span};
use fencepost::writer::{Arbiter, Backoff, WriterConfig, WriterProtection, WriterTerms};
use fencepost_models::upstream::openshift_writerlease::WriterleaseConfig;

use super::{TICK, mutex_in_ticks, once_each};
use crate::check::{Budget, Case, CheckPlan, Spend, Ticks};

/// A writer, unless something else is asked for: one object that is to have two values one after the other, and each
/// fault by itself. Under a lock, it is to have one.
pub(crate) fn writer(locked: bool) -> CheckPlan {
    let budget = if locked {
        once_each(&[Spend::Schedule, Spend::Crash, Spend::Unknown, Spend::Loss])
    } else {
        once_each(&[Spend::Pause, Spend::Crash, Spend::Unknown, Spend::Failure, Spend::Cancel])
            .with(Spend::Schedule, 2)
    };
    CheckPlan { delay: 0, apart: true, budget, ..CheckPlan::default() }
}

/// A writer without a protection, unless something else is asked for; `None`, if a check cannot miss it.
pub(crate) fn ablated_writer(protection: WriterProtection) -> Option<CheckPlan> {
    let budget = match protection {
        WriterProtection::OwnTerm | WriterProtection::FirstEnd => once_each(&[Spend::Schedule]),
        WriterProtection::WorkIdentity => Budget::NONE.with(Spend::Schedule, 2),
        WriterProtection::OneStepPerWait => return None,
        WriterProtection::Join => once_each(&[Spend::Schedule, Spend::Cancel]),
        WriterProtection::UnderLock => once_each(&[Spend::Schedule, Spend::Pause]),
    };
    Some(CheckPlan { delay: 0, budget, ..CheckPlan::default() })
}

/// A writer that leads for as long as an entry would live, and waits for a tick, then for two, then for a term.
pub(crate) fn writer_cases(
    ticks: &Ticks,
    locked: bool,
    ablated: Option<WriterProtection>,
) -> Result<Vec<Case<WriterTerms>>, String> {
    let arbiter =
        if locked { Arbiter::Lock(mutex_in_ticks(ticks, Fairness::Unordered, None)) } else { Arbiter::Work };
    let config = WriterConfig {
        term: TICK * ticks.ttl,
        retry_interval: TICK,
        backoff: waits(),
        slots: 2,
        arbiter,
        ablated,
    };
    let terms = config.terms().map_err(|error| format!("with these lengths, {error}"))?;
    let name = format!("a term of {:?}, waits of 1 s and 2 s", config.term);
    Ok(vec![Case { name, tick: TICK.into(), config: terms }])
}

fn waits() -> Backoff {
    Backoff { first: TICK, factor: 2, steps: 1, jitter: Ppm::ZERO }
}

/// The original, unless something else is asked for.
pub(crate) fn writerlease() -> CheckPlan {
    let budget = once_each(&[Spend::Failure, Spend::Cancel]).with(Spend::Schedule, 2);
    CheckPlan { delay: 0, apart: true, budget, ..CheckPlan::default() }
}

/// The original with lengths like ours.
pub(crate) fn writerlease_cases(ticks: &Ticks) -> Result<Vec<Case<WriterleaseConfig>>, String> {
    let lease = Span::from(TICK * ticks.ttl);
    let config = WriterleaseConfig { lease, retry_interval: TICK.into(), backoff: waits() };
    let name = format!("a lease of {lease}, waits of 1 s and 2 s");
    Ok(vec![Case { name, tick: TICK.into(), config }])
}
