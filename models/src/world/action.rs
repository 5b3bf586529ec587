//! What a scheduler may do to the world, when it may, and what it must not leave undone.

use fencepost::store::{FencingToken, StoreId};
use serde::{Deserialize, Serialize};

use super::{Flight, FlightId, Leg, Stage, State, World};
use crate::clock::{Rate, Time};
use crate::store::{Grain, Simulated};
use crate::subject::{Ask, Ending, InstanceId, Play, Subject, Tidings, Told, Writing};

/// How a store serves a request that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// As it should.
    Done,
    /// With an error, and without doing anything.
    ErrorBefore,
    /// With an error, after doing its work.
    ErrorAfter,
    /// From a lagging replica.
    Stale,
    /// With an error, because the replica that answers reads is away.
    ReadError,
}

/// What a scheduler may do to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A caller asks.
    Ask(InstanceId, Ask),
    /// A caller writes to the guarded resource; the write is under way until it is delivered.
    Write(InstanceId),
    /// A caller will not unlock.
    Forget(InstanceId),
    /// A machine's deadline has come.
    Wake(InstanceId),
    /// A request arrives at its store.
    Serve(FlightId, Service),
    /// A reply, a hint or a write arrives.
    Deliver(FlightId),
    /// A message is lost.
    Lose(FlightId),
    /// A message is doubled.
    Duplicate(FlightId),
    /// A message takes as long as it likes.
    Stall(FlightId),
    /// A host gives up on a call: the answer is unknown.
    GiveUp(FlightId),
    /// An instance stands still.
    Pause(InstanceId),
    /// An instance stands still, its clocks too.
    Suspend(InstanceId),
    /// An instance goes on.
    Resume(InstanceId),
    /// An instance dies.
    Crash(InstanceId),
    /// A new incarnation of it begins, which remembers nothing.
    Restart(InstanceId),
    /// A new incarnation of it begins under the name of the last one.
    Rejoin(InstanceId),
    /// An instance's clocks change their speed.
    SetRate(InstanceId, Rate),
    /// An instance's wall clock jumps by so many nanoseconds.
    Jump(InstanceId, i64),
    /// Whether an instance's requests fail to reach the stores.
    CutToStore(InstanceId, bool),
    /// Whether the stores' replies fail to reach an instance.
    CutFromStore(InstanceId, bool),
    /// A store stands still.
    StorePause(StoreId),
    /// It goes on.
    StoreResume(StoreId),
    /// It restarts: what is under way is gone.
    StoreRestart(StoreId),
    /// Its clock changes its speed.
    StoreRate(StoreId, Rate),
    /// Its replica stops following.
    Lag(StoreId),
    /// Its replica has caught up.
    CatchUp(StoreId),
    /// Its replica takes over.
    FailOver(StoreId),
    /// Expiry is off by so much from now on.
    SetGrain(StoreId, Grain),
    /// Its counter starts again.
    WipeCounter(StoreId),
    /// Its clock is set ahead, or back, by so many nanoseconds.
    StoreJump(StoreId, i64),
    /// From now on nothing goes wrong.
    Heal,
    /// The run is over.
    End,
}

/// Why an action cannot be applied now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Time does not go back.
    #[error("its time is before that of the action before it")]
    Past,
    /// There is no such instance or store.
    #[error("there is no such instance or store")]
    Nobody,
    /// The instance or store is not in a state for it.
    #[error("the instance or store is not in a state for it")]
    State,
    /// There is no such message.
    #[error("no such message is under way")]
    Message,
    /// The deadline has not come.
    #[error("no deadline has come")]
    Early,
    /// Nothing goes wrong any more.
    #[error("everything was healed before: nothing may go wrong any more")]
    Healed,
    /// The algorithm knows no such request.
    #[error("the algorithm has no such request")]
    Request,
}

impl<M: Subject> World<M> {
    /// Whether an action can be applied at a moment.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] says why not.
    pub fn check(&self, at: Time, action: &Action) -> Result<(), Refusal> {
        let instance = |id: InstanceId| self.instances.get(id.index()).ok_or(Refusal::Nobody);
        let flight = |id: FlightId| self.flight(id).ok_or(Refusal::Message);
        let store = |id: StoreId| self.stores.get(id.0 as usize).ok_or(Refusal::Nobody);
        let allowed = match *action {
            Action::Ask(id, ask) => {
                let instance = instance(id)?;
                if M::request(ask).is_none() && !matches!((ask, M::PLAY), (Ask::Object(..), Play::Write)) {
                    return Err(Refusal::Request);
                }
                let is_free = ask.job().is_none_or(|job| {
                    job.0 < self.jobs() && !self.has_asked(id, job) && !self.is_closing(id)
                });
                let may = match ask {
                    Ask::Object(job, what) => self.may_write(id, job, what),
                    _ => may_ask(instance.caller.stage, ask) && is_free,
                };
                instance.state == State::Up && may
            }
            Action::Write(id) | Action::Forget(id) => instance(id)?.state == State::Up,
            Action::Wake(id) => {
                instance(id)?;
                let due = self.wake_at(id);
                if due == Time::MAX || due > at {
                    return Err(Refusal::Early);
                }
                true
            }
            Action::Serve(id, how) => {
                let flight = flight(id)?;
                let Leg::Request(op) = &flight.leg else { return Err(Refusal::Message) };
                let store = store(flight.store)?;
                let stale = store.replica.is_some() && M::Store::is_read(op);
                let may = match how {
                    Service::Done | Service::ErrorBefore | Service::ErrorAfter => true,
                    Service::Stale => stale,
                    Service::ReadError => M::Store::is_read(op),
                };
                !store.paused && may
            }
            Action::Deliver(id) => {
                let flight = flight(id)?;
                match flight.leg {
                    Leg::Request(_) | Leg::Lost | Leg::Landed => return Err(Refusal::Message),
                    Leg::Write { .. } => true,
                    Leg::Reply(..) | Leg::Hint(_) => instance(flight.instance)?.state != State::Paused,
                }
            }
            Action::Lose(id) => !matches!(flight(id)?.leg, Leg::Lost | Leg::Write { .. }),
            Action::Duplicate(id) => matches!(flight(id)?.leg, Leg::Request(_) | Leg::Hint(_)),
            Action::Stall(id) => !matches!(flight(id)?.leg, Leg::Lost),
            Action::GiveUp(id) => {
                let flight = flight(id)?;
                flight.awaited && instance(flight.instance)?.state == State::Up
            }
            Action::Pause(id) | Action::Suspend(id) => instance(id)?.state == State::Up,
            Action::Resume(id) => instance(id)?.state == State::Paused,
            Action::Crash(id) => instance(id)?.state != State::Down,
            Action::Restart(id) | Action::Rejoin(id) => instance(id)?.state == State::Down,
            Action::SetRate(id, rate) => instance(id)?.state != State::Paused && rate.is_possible(),
            Action::Jump(id, _) => instance(id).map(|_| true)?,
            Action::CutToStore(id, cut) => instance(id)?.to_store_cut != cut,
            Action::CutFromStore(id, cut) => instance(id)?.from_store_cut != cut,
            Action::StorePause(id) => !store(id)?.paused,
            Action::StoreResume(id) => store(id)?.paused,
            Action::StoreRate(id, rate) => store(id).map(|_| rate.is_possible())?,
            Action::FailOver(id) => store(id)?.replica.is_some(),
            Action::StoreRestart(id)
            | Action::Lag(id)
            | Action::CatchUp(id)
            | Action::SetGrain(id, _)
            | Action::WipeCounter(id)
            | Action::StoreJump(id, _) => store(id).map(|_| true)?,
            Action::Heal => self.is_reachable(),
            Action::End => true,
        };
        if at < self.now {
            return Err(Refusal::Past);
        }
        if self.healed != Time::MAX && action.is_fault() {
            return Err(Refusal::Healed);
        }
        if allowed { Ok(()) } else { Err(Refusal::State) }
    }

    /// Whether every way to a store is open, and every store goes on: before that, nothing is healed.
    fn is_reachable(&self) -> bool {
        self.instances.iter().all(|one| one.cuts() == (false, false))
            && self.stores.iter().all(|store| !store.paused)
    }

    /// The first thing that had to happen before `at` and has not: a deadline, a delivery, or giving up.
    pub fn overdue(&self, at: Time) -> Option<(Time, Action)> {
        let wakes = (0..self.instances.len() as u32).map(InstanceId).filter_map(|id| {
            let instance = &self.instances[id.index()];
            let due = self.wake_at(id);
            (due != Time::MAX).then(|| (due.max(instance.resumed) + self.bounds.slack, Action::Wake(id)))
        });
        let arrivals = self.flights().filter_map(|(id, flight)| self.arrival(id, flight));
        wakes
            .chain(arrivals)
            // What was due before the last action, and became known by it, could only happen after it.
            .map(|(due, action)| (due.max(self.now), action))
            .filter(|(due, _)| *due < at)
            .min_by_key(|(due, action)| (*due, order(action)))
    }

    /// When a message must have arrived, or be given up; `None`, if it may take as long as it likes.
    pub fn due(&self, id: FlightId) -> Option<Time> {
        self.arrival(id, self.flight(id)?).map(|(due, _)| due)
    }

    /// When a message must have arrived, and how it does.
    fn arrival(&self, id: FlightId, flight: &Flight<M>) -> Option<(Time, Action)> {
        let instance = &self.instances[flight.instance.index()];
        match flight.leg {
            Leg::Lost if instance.state == State::Up => {
                Some((flight.since.max(instance.resumed) + self.bounds.call, Action::GiveUp(id)))
            }
            Leg::Lost | Leg::Landed => None,
            _ if flight.stalled => None,
            Leg::Request(_) => {
                let store = &self.stores[flight.store.0 as usize];
                let due = flight.since.max(store.resumed) + self.bounds.delay;
                (!store.paused).then_some((due, Action::Serve(id, Service::Done)))
            }
            Leg::Write { .. } => Some((flight.since + self.bounds.delay, Action::Deliver(id))),
            Leg::Reply(..) | Leg::Hint(_) => {
                let due = flight.since.max(instance.resumed) + self.bounds.delay;
                (instance.state != State::Paused).then_some((due, Action::Deliver(id)))
            }
        }
    }
}

/// Whether a caller in this stage would ask that.
fn may_ask(stage: Stage, ask: Ask) -> bool {
    match ask {
        Ask::Lock | Ask::TryLock | Ask::LockFor(_) => stage == Stage::Idle,
        // A cancellation may cross the grant.
        Ask::Cancel => matches!(stage, Stage::Waiting | Stage::Holding),
        Ask::Unlock | Ask::Extend => stage == Stage::Holding,
        Ask::UnlockAgain => true,
        Ask::Start => stage == Stage::Idle,
        Ask::Finish(_) => stage == Stage::Holding,
        // A callback may ask these, too.
        Ask::Close => stage != Stage::Idle,
        Ask::Schedule(..) | Ask::Reschedule(..) | Ask::Withdraw(_) => stage != Stage::Idle,
        Ask::Fit(_) => true,
        Ask::Petition => stage == Stage::Waiting,
        Ask::Object(..) | Ask::Expire | Ask::Missed => stage != Stage::Idle,
    }
}

impl Action {
    /// Whether it makes something go wrong.
    pub fn is_fault(&self) -> bool {
        match *self {
            Action::Forget(_)
            | Action::Lose(_)
            | Action::Duplicate(_)
            | Action::Stall(_)
            | Action::Pause(_)
            | Action::Suspend(_)
            | Action::Crash(_)
            | Action::Rejoin(_)
            | Action::SetRate(..)
            | Action::Jump(..)
            | Action::StorePause(_)
            | Action::StoreRestart(_)
            | Action::StoreRate(..)
            | Action::Lag(_)
            | Action::FailOver(_)
            | Action::WipeCounter(_)
            | Action::StoreJump(..) => true,
            Action::CutToStore(_, cut) | Action::CutFromStore(_, cut) => cut,
            Action::Serve(_, how) => how != Service::Done,
            Action::SetGrain(_, grain) => grain != Grain::default(),
            Action::Ask(_, Ask::Object(_, Writing::Conclude(ending))) => ending != Ending::Well,
            Action::Ask(_, ask) => ask == Ask::UnlockAgain,
            Action::Write(_)
            | Action::Wake(_)
            | Action::Deliver(_)
            | Action::GiveUp(_)
            | Action::Resume(_)
            | Action::Restart(_)
            | Action::StoreResume(_)
            | Action::CatchUp(_)
            | Action::Heal
            | Action::End => false,
        }
    }
}

fn order(action: &Action) -> (u8, u32) {
    match *action {
        Action::Wake(InstanceId(id)) => (0, id),
        Action::Serve(FlightId(id), _) => (1, id),
        Action::Deliver(FlightId(id)) => (2, id),
        _ => (3, 0),
    }
}

/// What the digest takes of an action: its kind, and whom it concerns.
#[inline]
pub(super) fn code(action: &Action) -> (u64, u32) {
    match *action {
        Action::Ask(id, _) => (1, id.0),
        Action::Write(id) => (2, id.0),
        Action::Forget(id) => (3, id.0),
        Action::Wake(id) => (4, id.0),
        Action::Serve(id, Service::ReadError) => (36, id.0),
        Action::Serve(id, how) => (5 + how as u64, id.0),
        Action::Deliver(id) => (9, id.0),
        Action::Lose(id) => (10, id.0),
        Action::Duplicate(id) => (11, id.0),
        Action::Stall(id) => (12, id.0),
        Action::GiveUp(id) => (13, id.0),
        Action::Pause(id) => (14, id.0),
        Action::Suspend(id) => (15, id.0),
        Action::Resume(id) => (16, id.0),
        Action::Crash(id) => (17, id.0),
        Action::Restart(id) => (18, id.0),
        Action::Rejoin(id) => (34, id.0),
        Action::SetRate(id, rate) => (19 ^ (rate.0 as u64) << 8, id.0),
        Action::Jump(id, nanos) => (20 ^ (nanos as u64) << 8, id.0),
        Action::CutToStore(id, cut) => (21 ^ u64::from(cut) << 8, id.0),
        Action::CutFromStore(id, cut) => (33 ^ u64::from(cut) << 8, id.0),
        Action::StorePause(id) => (22, u32::from(id.0)),
        Action::StoreResume(id) => (23, u32::from(id.0)),
        Action::StoreRestart(id) => (24, u32::from(id.0)),
        Action::StoreRate(id, rate) => (25 ^ (rate.0 as u64) << 8, u32::from(id.0)),
        Action::Lag(id) => (26, u32::from(id.0)),
        Action::CatchUp(id) => (27, u32::from(id.0)),
        Action::FailOver(id) => (28, u32::from(id.0)),
        Action::SetGrain(id, grain) => {
            (29 ^ grain.early.as_nanos() << 8 ^ grain.late.as_nanos() << 9, u32::from(id.0))
        }
        Action::WipeCounter(id) => (30, u32::from(id.0)),
        Action::StoreJump(id, nanos) => (35 ^ (nanos as u64) << 8, u32::from(id.0)),
        Action::Heal => (31, 0),
        Action::End => (32, 0),
    }
}

pub(super) fn ask_code(ask: Ask) -> u64 {
    match ask {
        Ask::Lock => 1,
        Ask::TryLock => 2,
        Ask::LockFor(span) => 3 ^ span.as_nanos() << 8,
        Ask::Cancel => 4,
        Ask::Unlock => 5,
        Ask::Extend => 6,
        Ask::UnlockAgain => 7,
        Ask::Start => 8,
        Ask::Finish(succeeded) => 9 ^ u64::from(succeeded) << 8,
        Ask::Close => 10,
        Ask::Schedule(job, span) => 11 ^ (span.as_nanos() << 16 ^ u64::from(job.0) << 8),
        Ask::Reschedule(job, span) => 12 ^ (span.as_nanos() << 16 ^ u64::from(job.0) << 8),
        Ask::Withdraw(job) => 13 ^ u64::from(job.0) << 8,
        Ask::Fit(fit) => 14 ^ u64::from(fit) << 8,
        Ask::Petition => 15,
        Ask::Object(job, what) => 16 ^ u64::from(job.0) << 8 ^ writing_code(what) << 16,
        Ask::Expire => 17,
        Ask::Missed => 18,
    }
}

pub(super) fn told_code(told: Told) -> u64 {
    match told {
        Told::Acquired(token) => 1 ^ token.map_or(0, |token| token.0) << 8,
        Told::Denied => 2,
        Told::Released => 3,
        Told::Lost => 4,
        Told::Extended => 5,
        Told::Rejected => 6,
        Told::Panicked => 7,
        Told::Began(run) => 8 ^ run.token.map_or(0, |token| token.0) << 24 ^ u64::from(run.job.0) << 8,
        Told::Interrupted => 9,
        Told::Ended => 10,
        Told::Closed => 11,
        Told::Accepted(job, _) => 12 ^ u64::from(job.0) << 8,
        Told::Declined(job) => 13 ^ u64::from(job.0) << 8,
        Told::GaveUp(job) => 14 ^ u64::from(job.0) << 8,
        Told::Leads(term) => 15 ^ term.map_or(0, |term| term.0) << 8,
        Told::Petitioned => 16,
        Told::Answered => 17,
        Told::Asked => 18,
        Told::Preempted => 19,
        Told::Ousted => 20,
        Told::Writer(tidings) => 21 ^ tidings_code(tidings) << 8,
    }
}

fn writing_code(what: Writing) -> u64 {
    match what {
        Writing::Wish(value) => 1 ^ u64::from(value) << 8,
        Writing::Drop => 2,
        Writing::Look => 3,
        Writing::Conclude(ending) => 4 ^ (ending as u64) << 8,
    }
}

fn tidings_code(tidings: Tidings) -> u64 {
    let of = |token: Option<FencingToken>| token.map_or(0, |token| token.0) << 24;
    match tidings {
        Tidings::Work(job, value, token) => 1 ^ of(token) ^ u64::from(job.0) << 4 ^ u64::from(value) << 12,
        Tidings::Interrupted(job) => 2 ^ u64::from(job.0) << 4,
        Tidings::Settled(job, value) => 3 ^ u64::from(job.0) << 4 ^ u64::from(value) << 12,
        Tidings::Leads(token) => 4 ^ of(token),
        Tidings::Follows => 5,
        Tidings::Decided => 6,
    }
}
