//! What goes wrong, and how it is mended.

use fencepost::store::StoreId;
use fencepost::time::Span;
use fencepost_models::clock::{Rate, Time};
use fencepost_models::fault::Fault;
use fencepost_models::store::Grain;
use fencepost_models::subject::{Ask, InstanceId, Subject};
use fencepost_models::world::{Action, FlightId, Leg, LegKind, Service, Stage, State};
use rand::{Rng, RngExt};

use super::{Fate, Simulator};
use crate::queue::Due;
use crate::scenario::{skewed, up_to};

/// What happens to messages.
impl<M: Subject> Simulator<M> {
    /// Decides what goes wrong with a message, and gives how long it takes.
    #[inline(never)]
    pub(super) fn dispatch_in_storm(&mut self, id: FlightId, usual: Span) -> Span {
        let Some(flight) = self.world.flight(id) else { return usual };
        let (kind, is_copy) = (flight.kind(), flight.is_copy);
        let mut delay = usual;
        let lost = self.strikes(lost(kind));
        let service = self.service(id, kind);
        *self.fate(id) = Fate { lost, service, ..Fate::NONE };
        if !is_copy && self.strikes(late(kind)) {
            delay = self.stall(id, kind, self.world.now()).unwrap_or(usual);
        }
        if !is_copy && matches!(kind, LegKind::Request | LegKind::Hint) && self.strikes(doubled(kind)) {
            // The copy is dispatched as a fresh message of that action.
            self.at_once.push(Action::Duplicate(id));
        }
        delay
    }

    /// Whether a fault of a message strikes now.
    pub(super) fn strikes(&mut self, fault: Option<Fault>) -> bool {
        let Some(fault) = fault.filter(|fault| self.scenario.faults.has(*fault)) else { return false };
        self.streams.faults[fault as usize].next_u32() < self.scenario.odds[fault as usize]
    }

    fn service(&mut self, id: FlightId, kind: LegKind) -> Service {
        if kind != LegKind::Request {
            return Service::Done;
        }
        let errors = [
            (Fault::ErrorBefore, Service::ErrorBefore),
            (Fault::ErrorAfter, Service::ErrorAfter),
            (Fault::StaleRead, Service::Stale),
        ];
        let struck = errors.into_iter().find(|(fault, _)| self.strikes(Some(*fault)));
        struck.map_or(Service::Done, |(_, service)| self.possible(id, service))
    }

    /// What is asked of a replica that is away fails, whatever else was to become of it.
    fn service_at(&self, at: Time, id: FlightId, service: Service) -> Service {
        let fails = Action::Serve(id, Service::ReadError);
        if at < self.reads_fail_until && self.world.check(at, &fails).is_ok() {
            return Service::ReadError;
        }
        self.possible(id, service)
    }

    /// A stale read needs a reader and a replica that lags.
    pub(super) fn possible(&self, id: FlightId, service: Service) -> Service {
        let stale = Action::Serve(id, Service::Stale);
        if service == Service::Stale && self.world.check(self.world.now(), &stale).is_err() {
            return Service::Done;
        }
        service
    }

    /// Lets a message take very long; it still arrives before everything heals.
    fn stall(&mut self, id: FlightId, kind: LegKind, now: Time) -> Option<Span> {
        let fault = late(kind)?;
        let most = self.scenario.heal.since(now).min(self.scenario.ttl * 3);
        if most <= self.scenario.setup.bounds.delay {
            return None;
        }
        let delay = skewed(&mut self.streams.faults[fault as usize], most);
        self.at_once.push(Action::Stall(id));
        Some(delay)
    }

    #[inline(never)]
    pub(super) fn arrive_in_storm(&mut self, at: Time, id: FlightId) {
        if self.is_held_up(id) {
            // No entry of the queue is its own any more: a message that gets this place later will have one.
            self.fates[id.0 as usize].ticket = Fate::NONE.ticket;
            return self.held_up.push(id);
        }
        let fate = self.fates[id.0 as usize];
        let action = match self.world.flight(id).map(|flight| flight.kind()) {
            Some(LegKind::Lost) => Action::GiveUp(id),
            _ if fate.lost => Action::Lose(id),
            Some(LegKind::Request) => Action::Serve(id, self.service_at(at, id, fate.service)),
            _ => Action::Deliver(id),
        };
        self.act(at, action);
    }

    /// Whether a message has come to somebody who stands still.
    fn is_held_up(&self, id: FlightId) -> bool {
        let Some(flight) = self.world.flight(id) else { return false };
        match flight.leg {
            Leg::Request(_) => self.world.stores()[flight.store.0 as usize].paused,
            Leg::Write { .. } | Leg::Landed => false,
            Leg::Reply(..) | Leg::Hint(_) | Leg::Lost => {
                self.world.instance(flight.instance).state == State::Paused
            }
        }
    }

    pub(super) fn deliver_held_up(&mut self) {
        let now = self.world.now();
        for id in std::mem::take(&mut self.held_up) {
            if self.fates[id.0 as usize].ticket != Fate::NONE.ticket {
                continue;
            }
            if self.is_held_up(id) {
                self.held_up.push(id);
            } else {
                let delay = up_to(&mut self.streams.delays, self.scenario.setup.bounds.delay);
                self.queue_arrival(id, now + delay);
            }
        }
    }

    /// After a restart of the store, its clients see their connections break.
    pub(super) fn reset_connections(&mut self) {
        let now = self.world.now();
        let broken: Vec<_> =
            self.world.flights().filter(|(_, flight)| flight.kind() == LegKind::Lost).collect();
        let broken: Vec<_> = broken.into_iter().map(|(id, _)| id).collect();
        for id in broken {
            let delay = up_to(&mut self.streams.delays, self.scenario.setup.bounds.delay);
            self.queue_arrival(id, now + delay);
        }
    }

    /// A call of which nothing will be heard: its host gives up in the end.
    pub(super) fn await_nothing(&mut self, id: FlightId) {
        let at = self.world.now() + self.scenario.setup.bounds.call;
        self.queue_arrival(id, at);
    }
}

/// What happens at moments.
impl<M: Subject> Simulator<M> {
    /// Before the run begins, the first fault of each family is queued.
    pub(super) fn brew(&mut self) {
        for fault in self.scenario.faults.iter().filter(|fault| is_timed(*fault)) {
            self.schedule_fault(Time::ZERO, fault);
        }
    }

    fn schedule_fault(&mut self, now: Time, fault: Fault) {
        let gap = self.scenario.gaps[fault as usize] * 2;
        let at = now + up_to(&mut self.streams.faults[fault as usize], gap);
        if at < self.scenario.heal {
            self.queue.push(at, Due::Fault(fault as u32));
        }
    }

    /// A fault of a family that strikes at moments, not at messages.
    pub(super) fn fault(&mut self, at: Time, fault: Fault) {
        self.schedule_fault(at, fault);
        let rng = &mut self.streams.faults[fault as usize];
        let victim = InstanceId(rng.random_range(0..self.scenario.setup.instances));
        let length = skewed(rng, self.scenario.ttl * 2);
        let end = (at + length).min(self.scenario.heal);
        let store = StoreId(0);
        let (begin, finish) = match fault {
            Fault::Crash => (Action::Crash(victim), Some(self.begin_again(victim))),
            Fault::Pause => (Action::Pause(victim), Some(Action::Resume(victim))),
            Fault::Suspend => (Action::Suspend(victim), Some(Action::Resume(victim))),
            Fault::Drift => (Action::SetRate(victim, self.rate(fault)), None),
            Fault::WallJump => (Action::Jump(victim, self.jump()), None),
            Fault::CutToStore => (Action::CutToStore(victim, true), Some(Action::CutToStore(victim, false))),
            Fault::CutFromStore => {
                (Action::CutFromStore(victim, true), Some(Action::CutFromStore(victim, false)))
            }
            Fault::StorePause => (Action::StorePause(store), Some(Action::StoreResume(store))),
            Fault::StoreRestart => (Action::StoreRestart(store), None),
            Fault::StoreDrift => (Action::StoreRate(store, self.rate(fault)), None),
            Fault::StaleRead => (Action::Lag(store), Some(Action::CatchUp(store))),
            Fault::Failover => (Action::Lag(store), Some(Action::FailOver(store))),
            Fault::ExpiryEarly | Fault::ExpiryLate => {
                let grain = self.grain(fault);
                (Action::SetGrain(store, grain), Some(Action::SetGrain(store, Grain::default())))
            }
            Fault::CounterWiped => (Action::WipeCounter(store), None),
            Fault::StoreJump => (Action::StoreJump(store, self.store_jump()), None),
            Fault::ReadsFail => return self.reads_fail_until = end,
            _ => return,
        };
        if self.world.check(at, &begin).is_ok() {
            self.act(at, begin);
            if let Some(finish) = finish {
                self.plan(end, finish);
            }
        }
    }

    /// How a crashed instance comes back. Half of those whose host may reuse names keep the one that they had.
    fn begin_again(&mut self, victim: InstanceId) -> Action {
        let family = Fault::IdentityReused;
        let is_reused =
            self.scenario.faults.has(family) && self.streams.faults[family as usize].random_bool(0.5);
        if is_reused { Action::Rejoin(victim) } else { Action::Restart(victim) }
    }

    /// A speed within half the assumed drift: two clocks then differ by no more than all of it.
    fn rate(&mut self, fault: Fault) -> Rate {
        let most = (self.scenario.drift.0 / 2) as i32;
        Rate(self.streams.faults[fault as usize].random_range(-most..=most))
    }

    fn jump(&mut self) -> i64 {
        let rng = &mut self.streams.faults[Fault::WallJump as usize];
        let length = skewed(rng, Span::from_secs(3_600)).as_nanos() as i64;
        if rng.random_bool(0.5) { length } else { -length }
    }

    /// Ahead by some times to live, or back by up to an hour.
    fn store_jump(&mut self) -> i64 {
        let rng = &mut self.streams.faults[Fault::StoreJump as usize];
        if rng.random_bool(0.5) {
            skewed(rng, self.scenario.ttl * 4).as_nanos() as i64
        } else {
            -(skewed(rng, Span::from_secs(3_600)).as_nanos() as i64)
        }
    }

    fn grain(&self, fault: Fault) -> Grain {
        if fault == Fault::ExpiryEarly {
            return Grain { early: self.scenario.margin, late: Span::ZERO };
        }
        Grain { early: Span::ZERO, late: Span::from_millis(500) }
    }

    /// The storm is over: whatever is broken is mended.
    pub(super) fn heal(&mut self, at: Time) {
        (self.healed, self.is_stormy) = (true, false);
        for index in 0..self.scenario.setup.instances {
            let id = InstanceId(index);
            match self.world.instance(id).state {
                State::Up => {}
                State::Paused => self.act(at, Action::Resume(id)),
                State::Down => self.act(at, Action::Restart(id)),
            }
            let (to_store, from_store) = self.world.instance(id).cuts();
            if to_store {
                self.act(at, Action::CutToStore(id, false));
            }
            if from_store {
                self.act(at, Action::CutFromStore(id, false));
            }
            if self.world.is_unfit(id) {
                self.act(at, Action::Ask(id, Ask::Fit(true)));
            }
            let end = self.seats[id.index()].next.filter(|next| next.ends());
            if let (Stage::Holding, Some(end)) = (self.world.instance(id).caller.stage, end) {
                let hold = up_to(&mut self.streams.workload, self.scenario.workload.hold_max);
                self.plan_ask(id, at + hold, end);
            }
        }
        let store = StoreId(0);
        if self.world.stores()[0].paused {
            self.act(at, Action::StoreResume(store));
        }
        if self.world.stores()[0].grain != Grain::default() {
            self.act(at, Action::SetGrain(store, Grain::default()));
        }
        if self.world.stores()[0].replica.is_some() {
            self.act(at, Action::CatchUp(store));
        }
        self.act(at, Action::Heal);
    }
}

/// Whether a family strikes at moments of its own, not at messages, callers or restarts.
fn is_timed(fault: Fault) -> bool {
    match fault {
        Fault::Crash
        | Fault::Pause
        | Fault::Suspend
        | Fault::Drift
        | Fault::WallJump
        | Fault::CutToStore
        | Fault::CutFromStore
        | Fault::StorePause
        | Fault::StoreRestart
        | Fault::StoreDrift
        | Fault::StaleRead
        | Fault::Failover
        | Fault::ExpiryEarly
        | Fault::ExpiryLate
        | Fault::CounterWiped
        | Fault::StoreJump
        | Fault::ReadsFail => true,
        Fault::RequestLost
        | Fault::ReplyLost
        | Fault::Duplicate
        | Fault::Delay
        | Fault::ErrorBefore
        | Fault::ErrorAfter
        | Fault::HintLost
        | Fault::HintLate
        | Fault::HintDuplicate
        | Fault::Cancel
        | Fault::ForgetUnlock
        | Fault::UnlockTwice
        | Fault::IdentityReused
        | Fault::CallbackFails => false,
    }
}

fn lost(kind: LegKind) -> Option<Fault> {
    match kind {
        LegKind::Request => Some(Fault::RequestLost),
        LegKind::Reply => Some(Fault::ReplyLost),
        LegKind::Hint => Some(Fault::HintLost),
        LegKind::Lost | LegKind::Write | LegKind::Landed => None,
    }
}

fn late(kind: LegKind) -> Option<Fault> {
    match kind {
        LegKind::Request | LegKind::Reply | LegKind::Write => Some(Fault::Delay),
        LegKind::Hint => Some(Fault::HintLate),
        LegKind::Lost | LegKind::Landed => None,
    }
}

fn doubled(kind: LegKind) -> Option<Fault> {
    match kind {
        LegKind::Request => Some(Fault::Duplicate),
        LegKind::Hint => Some(Fault::HintDuplicate),
        LegKind::Reply | LegKind::Lost | LegKind::Write | LegKind::Landed => None,
    }
}
