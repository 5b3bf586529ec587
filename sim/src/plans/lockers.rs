//! How lockers are checked exhaustively, and their originals.

use fencepost::locker::{LockerConfig, LockerProtection, LockerTerms};
use fencepost::mutex::Fairness;
use fencepost::time::Span;
use fencepost_models::upstream::acyl_fake_locker::FakeConfig;
use fencepost_models::upstream::acyl_locker::AcylConfig;

use super::{TICK, mutex_in_ticks, once_each};
use crate::check::{Budget, Case, CheckPlan, Spend, Ticks};

/// The locker, unless something else is asked for: each fault by itself. A second record, and who waits for whom, make for
/// many states.
pub(crate) fn locker() -> CheckPlan {
    let budget = once_each(&[Spend::Pause, Spend::Crash, Spend::Unknown]);
    CheckPlan { delay: 0, apart: true, budget, ..CheckPlan::default() }
}

/// The locker without a protection, unless something else is asked for.
pub(crate) fn ablated_locker(protection: LockerProtection) -> CheckPlan {
    let budget = match protection {
        LockerProtection::RevokeBeforeEntry => Budget::NONE.with(Spend::Pause, 1),
        LockerProtection::RecordedRequest
        | LockerProtection::ListenBeforeClaim
        | LockerProtection::WaiterLooks
        | LockerProtection::StormBound
        | LockerProtection::OwnLimit => Budget::NONE,
    };
    CheckPlan { apart: false, budget, ..locker() }
}

/// The locker with a grace and a lock delay of a tick. What it is to do only after long is switched off.
pub(crate) fn locker_cases(
    ticks: &Ticks,
    ablated: Option<LockerProtection>,
) -> Result<Vec<Case<LockerTerms>>, String> {
    let mutex = mutex_in_ticks(ticks, Fairness::Unordered, None);
    let ttl = mutex.lease.ttl;
    let config = LockerConfig {
        mutex,
        lock_timeout: None,
        max_lock_duration: None,
        preemption_timeout: Some(TICK),
        lock_delay: Some(TICK),
        storm_bound: None,
        ablated,
    };
    let config = config.terms().map_err(|error| format!("with these lengths, {error}"))?;
    let name = format!("ttl {ttl:?}, grace 1s, lock delay 1s");
    Ok(vec![Case { name, tick: TICK.into(), config }])
}

/// The original over PostgreSQL, unless something else is asked for: two messages hang, as those of a process do that is cut off.
pub(crate) fn acyl_locker() -> CheckPlan {
    let budget = Budget::NONE.with(Spend::Stall, 2);
    CheckPlan { delay: 0, budget, ..CheckPlan::default() }
}

/// The constants of the original are whole numbers of this, but for a ping every three seconds, which is one every tick.
const ACYL_TICK: Span = Span::from_secs(5);

/// The original in ticks of five seconds, with the shortest lock delay and without a maximum: callers that receive while they
/// hold, and callers that do not. The server drops the sessions of a process of which it has not heard for so many ticks.
pub(crate) fn acyl_locker_cases(ticks: &Ticks) -> Result<Vec<Case<AcylConfig>>, String> {
    let tick = ACYL_TICK;
    let config = AcylConfig {
        max_lock_duration: Span::MAX,
        lock_delay: tick,
        ping_interval: tick,
        session_timeout: tick * u64::from(ticks.ttl),
        room: 12,
        poll: tick,
        pause: tick,
        ..AcylConfig::default()
    };
    let case = |attentive: bool, name: &str| Case {
        name: format!("its constants, in ticks of {tick}, {name}"),
        tick,
        config: AcylConfig { attentive, ..config.clone() },
    };
    Ok(vec![case(true, "callers receive"), case(false, "callers do not receive")])
}

/// The fake provider, unless something else is asked for: one unlock too many.
pub(crate) fn acyl_fake_locker() -> CheckPlan {
    let budget = Budget::NONE.with(Spend::ExtraUnlock, 1);
    CheckPlan { delay: 0, budget, ..CheckPlan::default() }
}

/// The fake provider in ticks of five seconds.
pub(crate) fn acyl_fake_locker_cases(_: &Ticks) -> Result<Vec<Case<FakeConfig>>, String> {
    let tick = ACYL_TICK;
    let config =
        FakeConfig { lock_delay: tick, max_lock_duration: tick * 8, poll: tick, ..FakeConfig::default() };
    let name = format!("its constants, in ticks of {tick}");
    Ok(vec![Case { name, tick, config }])
}
