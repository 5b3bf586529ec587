//! What can go wrong, and the ledger that says what did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A family of faults. Each can be switched on and off, and draws from a stream of randomness of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// An instance dies; what it has sent is still under way.
    Crash,
    /// An instance stands still while its clocks go on: a garbage collection, a stopped process.
    Pause,
    /// An instance stands still together with its clocks: a suspended virtual machine.
    Suspend,
    /// An instance's clock runs faster or slower, within the drift that is assumed.
    Drift,
    /// An instance's wall clock is set to another time.
    WallJump,
    /// A request never reaches the store.
    RequestLost,
    /// A reply never reaches the instance, though the store has done its work.
    ReplyLost,
    /// A request reaches the store twice.
    Duplicate,
    /// A request or reply takes much longer than the delay bound, and others overtake it.
    Delay,
    /// An instance's requests do not reach the store for a while.
    CutToStore,
    /// The store's replies do not reach an instance for a while.
    CutFromStore,
    /// The store answers with an error and has done nothing.
    ErrorBefore,
    /// The store answers with an error after it has done its work.
    ErrorAfter,
    /// The store stands still while its clock goes on.
    StorePause,
    /// The store restarts: its data and revisions stay, whatever is under way is gone.
    StoreRestart,
    /// The store's clock runs faster or slower, within the drift that is assumed.
    StoreDrift,
    /// The last acknowledged writes are lost when a lagging replica takes over; its revisions jump ahead.
    Failover,
    /// A read is answered by a lagging replica.
    StaleRead,
    /// Entries expire earlier than they should, within the store's grain.
    ExpiryEarly,
    /// Entries expire later than they should, within the store's grain.
    ExpiryLate,
    /// A notification never arrives.
    HintLost,
    /// A notification arrives much later.
    HintLate,
    /// A notification arrives twice.
    HintDuplicate,
    /// A caller stops waiting, or closes what it takes part in.
    Cancel,
    /// A caller never unlocks, or its callback takes very long: the process lives on, the lock is kept.
    ForgetUnlock,
    /// A caller unlocks, or closes, once too often.
    UnlockTwice,
    /// The store's counter starts again from one. It breaks fencing, and is no part of a storm.
    CounterWiped,
    /// A crashed instance begins again under the name that it had. It breaks a host's first duty, and is no part of a
    /// storm.
    IdentityReused,
    /// A job's callback fails, or panics. Locks have none; it is no part of a storm over them.
    CallbackFails,
    /// The store's clock is set to another time. Whoever lets it decide what is due, or lives, depends on it; it is no part
    /// of a storm.
    StoreJump,
    /// For a while reads are answered by an error, and writes are done: the replica that reads go to is away. Where there
    /// is one store for both, it cannot happen; it is no part of a storm.
    ReadsFail,
}

impl Fault {
    /// All of them, in the order of the ledger.
    pub const ALL: [Fault; 31] = [
        Fault::Crash,
        Fault::Pause,
        Fault::Suspend,
        Fault::Drift,
        Fault::WallJump,
        Fault::RequestLost,
        Fault::ReplyLost,
        Fault::Duplicate,
        Fault::Delay,
        Fault::CutToStore,
        Fault::CutFromStore,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::StorePause,
        Fault::StoreRestart,
        Fault::StoreDrift,
        Fault::Failover,
        Fault::StaleRead,
        Fault::ExpiryEarly,
        Fault::ExpiryLate,
        Fault::HintLost,
        Fault::HintLate,
        Fault::HintDuplicate,
        Fault::Cancel,
        Fault::ForgetUnlock,
        Fault::UnlockTwice,
        Fault::CounterWiped,
        Fault::IdentityReused,
        Fault::CallbackFails,
        Fault::StoreJump,
        Fault::ReadsFail,
    ];

    /// Its name on the command line and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::Pause => "pause",
            Fault::Suspend => "suspend",
            Fault::Drift => "drift",
            Fault::WallJump => "wall-jump",
            Fault::RequestLost => "request-lost",
            Fault::ReplyLost => "reply-lost",
            Fault::Duplicate => "duplicate",
            Fault::Delay => "delay",
            Fault::CutToStore => "cut-to-store",
            Fault::CutFromStore => "cut-from-store",
            Fault::ErrorBefore => "error-before",
            Fault::ErrorAfter => "error-after",
            Fault::StorePause => "store-pause",
            Fault::StoreRestart => "store-restart",
            Fault::StoreDrift => "store-drift",
            Fault::Failover => "failover",
            Fault::StaleRead => "stale-read",
            Fault::ExpiryEarly => "expiry-early",
            Fault::ExpiryLate => "expiry-late",
            Fault::HintLost => "hint-lost",
            Fault::HintLate => "hint-late",
            Fault::HintDuplicate => "hint-duplicate",
            Fault::Cancel => "cancel",
            Fault::ForgetUnlock => "forget-unlock",
            Fault::UnlockTwice => "unlock-twice",
            Fault::CounterWiped => "counter-wiped",
            Fault::IdentityReused => "identity-reused",
            Fault::CallbackFails => "callback-fails",
            Fault::StoreJump => "store-jump",
            Fault::ReadsFail => "reads-fail",
        }
    }

    /// The family of that name.
    pub fn named(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether one occurrence can cost more than one request: a holder hit by it may well lose its lease.
    pub const fn is_heavy(self) -> bool {
        matches!(
            self,
            Fault::Crash
                | Fault::Pause
                | Fault::Suspend
                | Fault::CutToStore
                | Fault::CutFromStore
                | Fault::StorePause
                | Fault::StoreRestart
                | Fault::Failover
                | Fault::CounterWiped
                | Fault::IdentityReused
                | Fault::StoreJump
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FaultSet(u32);

impl FaultSet {
    /// None.
    pub const NONE: FaultSet = FaultSet(0);

    /// One bit for each fault.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// These.
    pub fn of(faults: &[Fault]) -> FaultSet {
        faults.iter().copied().collect()
    }

    /// Everything that a storm may contain: all but what nothing survives, a store that forgets its counter, one whose
    /// clock is set, and a host that gives a name twice; and but for what only jobs have, and only some stores.
    pub fn storm() -> FaultSet {
        let others = FaultSet::of(&[
            Fault::CounterWiped,
            Fault::IdentityReused,
            Fault::CallbackFails,
            Fault::StoreJump,
            Fault::ReadsFail,
        ]);
        Fault::ALL.into_iter().collect::<FaultSet>().without(others)
    }

    /// Whether it contains `fault`.
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }

    /// Whether it contains one of `faults`.
    pub fn has_any(self, faults: &[Fault]) -> bool {
        faults.iter().any(|&fault| self.has(fault))
    }

    /// Adds `fault`.
    pub const fn add(&mut self, fault: Fault) {
        self.0 |= 1 << fault as u32;
    }

    /// What is in both.
    pub const fn and(self, other: FaultSet) -> FaultSet {
        FaultSet(self.0 & other.0)
    }

    /// What is in either.
    pub const fn or(self, other: FaultSet) -> FaultSet {
        FaultSet(self.0 | other.0)
    }

    /// What is in this one only.
    pub const fn without(self, other: FaultSet) -> FaultSet {
        FaultSet(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of the ledger.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

impl FromIterator<Fault> for FaultSet {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> FaultSet {
        let mut set = FaultSet::NONE;
        faults.into_iter().for_each(|fault| set.add(fault));
        set
    }
}

impl fmt::Debug for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for FaultSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for FaultSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<FaultSet, D::Error> {
        Ok(Vec::<Fault>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// What one family of faults came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// In how many runs it was switched on.
    pub configured: u64,
    /// How often it happened.
    pub fired: u64,
    /// How often it then changed what an instance, a store or a caller was told, or when.
    pub observed: u64,
}

/// The ledger of a run, or of many.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ledger([Tally; Fault::ALL.len()]);

impl Ledger {
    /// Notes that a run has these faults switched on.
    pub fn configure(&mut self, faults: FaultSet) {
        faults.iter().for_each(|fault| self.0[fault as usize].configured += 1);
    }

    /// Notes that `fault` happened.
    pub fn fire(&mut self, fault: Fault) {
        self.0[fault as usize].fired += 1;
    }

    /// Notes that these faults were noticed.
    #[inline]
    pub fn observe(&mut self, faults: FaultSet) {
        if !faults.is_empty() {
            faults.iter().for_each(|fault| self.0[fault as usize].observed += 1);
        }
    }

    /// What `fault` came to.
    pub fn tally(&self, fault: Fault) -> Tally {
        self.0[fault as usize]
    }

    /// Adds another ledger to this one.
    pub fn merge(&mut self, other: &Ledger) {
        for (sum, part) in self.0.iter_mut().zip(&other.0) {
            sum.configured += part.configured;
            sum.fired += part.fired;
            sum.observed += part.observed;
        }
    }

    /// The faults that were switched on somewhere and never noticed: the run says nothing about them.
    pub fn unproven(&self) -> FaultSet {
        Fault::ALL
            .into_iter()
            .filter(|&fault| self.tally(fault).configured > 0 && self.tally(fault).observed == 0)
            .collect()
    }

    /// Every family that was switched on or happened, in order.
    pub fn rows(&self) -> impl Iterator<Item = (Fault, Tally)> {
        Fault::ALL
            .into_iter()
            .map(|fault| (fault, self.tally(fault)))
            .filter(|(_, tally)| tally.configured + tally.fired > 0)
    }
}
