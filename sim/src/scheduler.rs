//! The simulator: one queue of events, moved by seeded streams of randomness.
//!
//! A run has a stormy phase; then everything heals and a calm phase shows that healthy holders keep their locks;
//! then callers stop asking, and whoever still waits must get in before the end.

use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Mutex, MutexConfig, MutexTerms};
use fencepost::store::StoreId;
use fencepost::time::{Draw, Ppm, Span};
use fencepost_models::clock::{Rate, Time};
use fencepost_models::fault::{Fault, FaultSet, Ledger};
use fencepost_models::property::{PropertySet, Violation};
use fencepost_models::store::Grain;
use fencepost_models::subject::{Ask, InstanceId, Subject, Told};
use fencepost_models::trace::{Step, describe};
use fencepost_models::world::{Action, FlightId, Leg, LegKind, Service, Stage, State, World};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::queue::{Due, Queue, Ticket};
use crate::scenario::{Scenario, Stream, skewed, up_to};
use crate::timers::{Timer, Timers};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many actions were applied.
    pub events: u64,
    /// How long it was, in true time.
    pub length: Span,
    /// The hash of the run.
    pub hash: u64,
    /// How often somebody got the lock.
    pub acquisitions: u64,
    /// What was broken: the first violation of each property.
    pub violations: Vec<Violation>,
    /// What went wrong.
    pub ledger: Ledger,
}

/// The deadline of a timer that has rung and must be set anew, whatever the next deadline is.
const RUNG: Time = Time::ZERO;

/// No entry is queued.
const NONE: Ticket = 0;

/// What was decided about a message when it was sent.
#[derive(Clone, Copy, Debug)]
struct Fate {
    ticket: Ticket,
    lost: bool,
    service: Service,
}

/// What the scheduler keeps about an instance.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// The deadline for which its timer is set.
    due: Time,
    /// What its caller asks next, if its timer for that is set.
    next: Option<Ask>,
}

/// The streams of one run.
#[derive(Debug)]
struct Streams {
    workload: ChaCha8Rng,
    delays: ChaCha8Rng,
    draws: ChaCha8Rng,
    timers: ChaCha8Rng,
    faults: Vec<ChaCha8Rng>,
}

impl Streams {
    fn of(seed: u64) -> Streams {
        Streams {
            workload: Stream::Workload.of(seed),
            delays: Stream::Delays.of(seed),
            draws: Stream::Draws.of(seed),
            timers: Stream::Timers.of(seed),
            faults: Fault::ALL.into_iter().map(|fault| Stream::Fault(fault).of(seed)).collect(),
        }
    }
}

/// A seeded scheduler over one world. Reuse it for many seeds: it keeps its memory.
pub(crate) struct Simulator<M: Subject> {
    scenario: Scenario<M::Config>,
    world: World<M>,
    queue: Queue,
    timers: Timers,
    streams: Streams,
    fates: Vec<Fate>,
    seats: Vec<Seat>,
    planned: Vec<Option<Action>>,
    free_plans: Vec<u32>,
    /// What reached a paused store or instance, and is delivered when it goes on.
    held_up: Vec<FlightId>,
    /// What was decided while an action was being followed up, and is applied right after it.
    at_once: Vec<Action>,
    steps: Option<Vec<Step>>,
    acquisitions: u64,
    healed: bool,
}

impl<M: Subject> Simulator<M> {
    pub(crate) fn new(seed: u64, scenario: Scenario<M::Config>, promises: PropertySet) -> Simulator<M> {
        Simulator {
            world: World::new(&scenario.setup, promises),
            scenario,
            queue: Queue::default(),
            timers: Timers::default(),
            streams: Streams::of(seed),
            fates: Vec::new(),
            seats: Vec::new(),
            planned: Vec::new(),
            free_plans: Vec::new(),
            held_up: Vec::new(),
            at_once: Vec::new(),
            steps: None,
            acquisitions: 0,
            healed: false,
        }
    }

    /// Runs one seed. With `record`, the steps are kept.
    pub(crate) fn run(&mut self, seed: u64, scenario: Scenario<M::Config>, record: bool) -> Outcome {
        self.begin(seed, scenario, record);
        loop {
            let (timer, entry) = (self.timers.first(), self.queue.first());
            if timer.min(entry) > self.scenario.end {
                break;
            }
            if timer <= entry {
                self.ring(timer);
            } else if let Some((at, due, ticket)) = self.queue.pop() {
                self.happen(at, due, ticket);
            }
        }
        self.act(self.scenario.end.max(self.world.now()), Action::End);
        self.outcome()
    }

    /// The steps of the last run, if they were kept.
    pub(crate) fn take_steps(&mut self) -> Vec<Step> {
        self.steps.take().unwrap_or_default()
    }

    pub(crate) fn world(&self) -> &World<M> {
        &self.world
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            events: self.world.applied(),
            length: self.world.now().since(Time::ZERO),
            hash: self.world.hash(),
            acquisitions: self.acquisitions,
            violations: self.world.verdict().violations().to_vec(),
            ledger: self.world.ledger().clone(),
        }
    }

    fn begin(&mut self, seed: u64, scenario: Scenario<M::Config>, record: bool) {
        self.scenario = scenario;
        self.world.reset(&self.scenario.setup);
        self.world.configure(self.scenario.faults);
        self.queue.clear();
        self.streams = Streams::of(seed);
        self.fates.clear();
        self.planned.clear();
        self.free_plans.clear();
        self.held_up.clear();
        self.seats.clear();
        let idle = Seat { due: Time::MAX, next: None };
        self.seats.resize(self.scenario.setup.instances as usize, idle);
        self.timers.reset(self.scenario.setup.instances);
        self.steps = record.then(Vec::new);
        self.acquisitions = 0;
        self.healed = false;
        for index in 0..self.scenario.setup.instances {
            self.think(InstanceId(index));
        }
        self.queue.push(self.scenario.heal, Due::Heal);
        for fault in self.scenario.faults.iter().filter(|fault| is_timed(*fault)) {
            self.schedule_fault(Time::ZERO, fault);
        }
    }

    /// The first timer is due.
    #[inline]
    fn ring(&mut self, at: Time) {
        let timer = self.timers.due();
        match timer {
            Timer::Wake(index) => {
                let id = InstanceId(index);
                if self.world.instance(id).state == State::Up {
                    // The step sets it anew.
                    self.seats[id.index()].due = RUNG;
                    self.act(at, Action::Wake(id));
                } else {
                    self.seats[id.index()].due = Time::MAX;
                    self.timers.set(timer, Time::MAX);
                }
            }
            Timer::Ask(index) => {
                self.timers.set(timer, Time::MAX);
                if let Some(ask) = self.seats[index as usize].next.take() {
                    self.ask(at, InstanceId(index), ask);
                }
            }
        }
    }

    #[inline]
    fn happen(&mut self, at: Time, due: Due, ticket: Ticket) {
        match due {
            Due::Arrival(slot) => {
                if self.fates.get(slot as usize).is_some_and(|fate| fate.ticket == ticket) {
                    self.arrive(at, FlightId(slot));
                }
            }
            Due::Planned(slot) => {
                self.free_plans.push(slot);
                if let Some(action) = self.planned[slot as usize].take()
                    && self.world.check(at, &action).is_ok()
                {
                    self.act(at, action);
                }
            }
            Due::Fault(index) => self.fault(at, Fault::ALL[index as usize]),
            Due::Heal => self.heal(at),
        }
    }

    /// Applies an action and schedules what follows from it.
    #[inline]
    fn act(&mut self, at: Time, action: Action) {
        match action {
            Action::Ask(id, _) | Action::Wake(id) => self.move_machine(at, action, id),
            Action::Serve(id, _) => {
                self.apply(at, action, Draw(0));
                self.onward(id);
            }
            Action::Deliver(id) => {
                let Some(addressee) = self.world.flight(id).map(|flight| flight.instance) else { return };
                self.move_machine(at, action, addressee);
                self.notice_loss(id);
            }
            _ => self.act_rarely(at, action),
        }
        while let Some(action) = self.at_once.pop() {
            self.act(at, action);
        }
    }

    #[inline]
    fn apply(&mut self, at: Time, action: Action, draw: Draw) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step { t: at, draw, deed: describe(&self.world, &action) });
        }
        self.world.apply(at, action, draw);
    }

    /// An action that lets a machine take a step: what it sends is dispatched, what it tells is heard.
    #[inline]
    fn move_machine(&mut self, at: Time, action: Action, id: InstanceId) {
        let draw = Draw(self.streams.draws.next_u32());
        self.apply(at, action, draw);
        for index in 0..self.world.fresh().len() {
            self.dispatch(self.world.fresh()[index]);
        }
        for index in 0..self.world.told().len() {
            let (id, told) = self.world.told()[index];
            self.told(id, told);
        }
        self.arm(id);
    }

    /// A request was served: its reply is under way, or it was lost.
    #[inline]
    fn onward(&mut self, id: FlightId) {
        match self.world.flight(id).map(|flight| flight.kind()) {
            Some(LegKind::Reply) => self.dispatch(id),
            Some(LegKind::Lost) => self.await_nothing(id),
            Some(LegKind::Request | LegKind::Hint | LegKind::Write | LegKind::Landed) | None => {}
        }
    }

    fn notice_loss(&mut self, id: FlightId) {
        if self.world.flight(id).is_some_and(|flight| flight.kind() == LegKind::Lost) {
            self.await_nothing(id);
        }
    }

    /// Everything that is not the daily business of a run.
    #[cold]
    fn act_rarely(&mut self, at: Time, action: Action) {
        if let Action::GiveUp(id) = action {
            if let Some(instance) = self.world.flight(id).map(|flight| flight.instance) {
                self.move_machine(at, action, instance);
            }
            return;
        }
        self.apply(at, action, Draw(0));
        for index in 0..self.world.fresh().len() {
            self.dispatch(self.world.fresh()[index]);
        }
        match action {
            Action::Lose(id) => self.notice_loss(id),
            Action::Resume(id) => {
                self.arm(id);
                self.deliver_held_up();
            }
            Action::StoreResume(_) => self.deliver_held_up(),
            Action::StoreRestart(_) => self.reset_connections(),
            Action::Restart(id) => {
                self.arm(id);
                self.think(id);
            }
            Action::SetRate(id, _) => self.arm(id),
            Action::Crash(id) => {
                self.arm(id);
                self.seats[id.index()].next = None;
                self.timers.set(Timer::Ask(id.0), Time::MAX);
                self.deliver_held_up();
            }
            _ => {}
        }
    }

    /// Sets the timer of an instance to its machine's deadline.
    #[inline]
    fn arm(&mut self, id: InstanceId) {
        let is_up = self.world.instance(id).state == State::Up;
        let due = self.world.wake_at(id).filter(|_| is_up).unwrap_or(Time::MAX);
        let seat = &mut self.seats[id.index()];
        if std::mem::replace(&mut seat.due, due) == due && due != RUNG {
            return;
        }
        let late = self.scenario.setup.bounds.slack;
        let late = if late == Span::ZERO { late } else { up_to(&mut self.streams.timers, late) };
        let at = if due == Time::MAX { due } else { (due + late).max(self.world.now()) };
        self.timers.set(Timer::Wake(id.0), at);
    }

    /// Decides on the fate of a message and queues its arrival.
    #[inline]
    fn dispatch(&mut self, id: FlightId) {
        let now = self.world.now();
        let Some(flight) = self.world.flight(id) else { return };
        let (kind, is_copy) = (flight.kind(), flight.is_copy);
        let bounds = &self.scenario.setup.bounds;
        let spread = bounds.delay.minus(self.scenario.delay_min);
        let mut delay = self.scenario.delay_min + up_to(&mut self.streams.delays, spread);
        let mut fate = Fate { ticket: NONE, lost: false, service: Service::Done };
        if self.is_stormy() {
            fate.lost = self.strikes(lost(kind));
            fate.service = self.service(id, kind);
            if !is_copy && self.strikes(late(kind)) {
                delay = self.stall(id, kind, now).unwrap_or(delay);
            }
            if !is_copy && matches!(kind, LegKind::Request | LegKind::Hint) && self.strikes(doubled(kind)) {
                // The copy is dispatched as a fresh message of that action.
                self.at_once.push(Action::Duplicate(id));
            }
        }
        self.set_fate(id, fate);
        self.queue_arrival(id, now + delay);
    }

    fn set_fate(&mut self, id: FlightId, fate: Fate) {
        let slot = id.0 as usize;
        if self.fates.len() <= slot {
            self.fates.resize(slot + 1, fate);
        }
        self.fates[slot] = fate;
    }

    fn queue_arrival(&mut self, id: FlightId, at: Time) {
        self.fates[id.0 as usize].ticket = self.queue.push(at, Due::Arrival(id.0));
    }

    /// Whether a fault of a message strikes now.
    fn strikes(&mut self, fault: Option<Fault>) -> bool {
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

    /// A stale read needs a reader and a replica that lags.
    fn possible(&self, id: FlightId, service: Service) -> Service {
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

    /// Queues an action that is applied then, if it still can be.
    fn plan(&mut self, at: Time, action: Action) {
        let slot = match self.free_plans.pop() {
            Some(slot) => {
                self.planned[slot as usize] = Some(action);
                slot
            }
            None => {
                self.planned.push(Some(action));
                self.planned.len() as u32 - 1
            }
        };
        self.queue.push(at, Due::Planned(slot));
    }

    fn arrive(&mut self, at: Time, id: FlightId) {
        let fate = self.fates[id.0 as usize];
        let Some(flight) = self.world.flight(id) else { return };
        let action = match flight.leg {
            Leg::Request(_) => Action::Serve(id, Service::Done),
            Leg::Lost => Action::GiveUp(id),
            Leg::Reply(..) | Leg::Hint(_) | Leg::Write(_) | Leg::Landed => Action::Deliver(id),
        };
        if self.is_stormy() {
            self.arrive_in_storm(at, id, fate, action);
        } else {
            self.act(at, action);
        }
    }

    /// Whether anything may go wrong now.
    fn is_stormy(&self) -> bool {
        !self.healed && !self.scenario.faults.is_empty()
    }

    fn arrive_in_storm(&mut self, at: Time, id: FlightId, fate: Fate, usual: Action) {
        if self.is_held_up(id) {
            return self.held_up.push(id);
        }
        let action = match usual {
            Action::Serve(..) if !fate.lost => Action::Serve(id, self.possible(id, fate.service)),
            Action::Serve(..) => Action::Lose(id),
            Action::Deliver(_) if fate.lost => Action::Lose(id),
            usual => usual,
        };
        self.act(at, action);
    }

    /// Whether a message has come to somebody who stands still.
    fn is_held_up(&self, id: FlightId) -> bool {
        let Some(flight) = self.world.flight(id) else { return false };
        match flight.leg {
            Leg::Request(_) => self.world.stores()[flight.store.0 as usize].paused,
            Leg::Write(_) | Leg::Landed => false,
            Leg::Reply(..) | Leg::Hint(_) | Leg::Lost => {
                self.world.instance(flight.instance).state == State::Paused
            }
        }
    }

    fn deliver_held_up(&mut self) {
        let now = self.world.now();
        for id in std::mem::take(&mut self.held_up) {
            if self.is_held_up(id) {
                self.held_up.push(id);
            } else {
                let delay = up_to(&mut self.streams.delays, self.scenario.setup.bounds.delay);
                self.queue_arrival(id, now + delay);
            }
        }
    }

    /// A call of which nothing will be heard: its host gives up in the end.
    fn await_nothing(&mut self, id: FlightId) {
        let at = self.world.now() + self.scenario.setup.bounds.call;
        self.queue_arrival(id, at);
    }

    /// After a restart of the store, its clients see their connections break.
    fn reset_connections(&mut self) {
        let now = self.world.now();
        let broken: Vec<_> =
            self.world.flights().filter(|(_, flight)| flight.kind() == LegKind::Lost).collect();
        let broken: Vec<_> = broken.into_iter().map(|(id, _)| id).collect();
        for id in broken {
            let delay = up_to(&mut self.streams.delays, self.scenario.setup.bounds.delay);
            self.queue_arrival(id, now + delay);
        }
    }

    // ── callers ──

    /// A caller does something else, and then asks for the lock.
    fn think(&mut self, id: InstanceId) {
        let now = self.world.now();
        if now >= self.scenario.drain {
            return;
        }
        let pause = up_to(&mut self.streams.workload, self.scenario.workload.think_max);
        let next = if self.scenario.workload.varied { self.choose_ask() } else { Ask::Lock };
        self.plan_ask(id, now + pause, next);
    }

    fn plan_ask(&mut self, id: InstanceId, at: Time, next: Ask) {
        self.seats[id.index()].next = Some(next);
        self.timers.set(Timer::Ask(id.0), at);
    }

    fn choose_ask(&mut self) -> Ask {
        let ask = match self.streams.workload.random_range(0..10) {
            0 => Ask::TryLock,
            1 => Ask::LockFor(skewed(&mut self.streams.workload, self.scenario.ttl)),
            _ => Ask::Lock,
        };
        if M::request(ask).is_some() { ask } else { Ask::Lock }
    }

    fn ask(&mut self, at: Time, id: InstanceId, ask: Ask) {
        if self.world.instance(id).state == State::Paused {
            // A caller that stands still asks as soon as it goes on.
            return self.plan_ask(id, at + self.scenario.setup.bounds.delay, ask);
        }
        if ask.wants() && at >= self.scenario.drain {
            return;
        }
        let action = Action::Ask(id, ask);
        if self.world.check(at, &action).is_ok() {
            self.act(at, action);
            if ask.wants()
                && !self.healed
                && self.strikes(Some(Fault::Cancel))
                && M::request(Ask::Cancel).is_some()
            {
                let after = skewed(&mut self.streams.faults[Fault::Cancel as usize], self.scenario.ttl);
                self.plan(at + after, Action::Ask(id, Ask::Cancel));
            }
            if ask == Ask::Unlock && !self.healed && self.strikes(Some(Fault::UnlockTwice)) {
                let after = skewed(&mut self.streams.faults[Fault::UnlockTwice as usize], self.scenario.ttl);
                self.plan(at + after, Action::Ask(id, Ask::UnlockAgain));
            }
        }
    }

    fn told(&mut self, id: InstanceId, told: Told) {
        match told {
            Told::Acquired(_) => {
                self.acquisitions += 1;
                self.hold(id);
            }
            Told::Denied | Told::Released | Told::Lost => self.think(id),
            Told::Panicked => self.plan(self.world.now() + Span::from_secs(1), Action::Restart(id)),
            Told::Extended | Told::Rejected => {}
        }
    }

    /// A caller has the lock: how long will it hold it, and what does it do meanwhile?
    fn hold(&mut self, id: InstanceId) {
        let now = self.world.now();
        let mut hold = up_to(&mut self.streams.workload, self.scenario.workload.hold_max);
        if !self.healed && self.strikes(Some(Fault::ForgetUnlock)) {
            hold = self.scenario.heal.since(now).max(hold).min(self.scenario.ttl * 4);
            self.plan(now, Action::Forget(id));
        }
        self.plan_ask(id, now + hold, Ask::Unlock);
        if self.scenario.workload.varied {
            let write = now + up_to(&mut self.streams.workload, hold);
            self.plan(write, Action::Write(id));
            if self.streams.workload.random_range(0..8) == 0 && M::request(Ask::Extend).is_some() {
                let extend = now + up_to(&mut self.streams.workload, hold);
                self.plan(extend, Action::Ask(id, Ask::Extend));
            }
        }
    }

    // ── faults ──

    fn schedule_fault(&mut self, now: Time, fault: Fault) {
        let gap = self.scenario.gaps[fault as usize] * 2;
        let at = now + up_to(&mut self.streams.faults[fault as usize], gap);
        if at < self.scenario.heal {
            self.queue.push(at, Due::Fault(fault as u32));
        }
    }

    /// A fault of a family that strikes at moments, not at messages.
    fn fault(&mut self, at: Time, fault: Fault) {
        self.schedule_fault(at, fault);
        let rng = &mut self.streams.faults[fault as usize];
        let victim = InstanceId(rng.random_range(0..self.scenario.setup.instances));
        let length = skewed(rng, self.scenario.ttl * 2);
        let end = (at + length).min(self.scenario.heal);
        let store = StoreId(0);
        let (begin, finish) = match fault {
            Fault::Crash => (Action::Crash(victim), Some(Action::Restart(victim))),
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
            _ => return,
        };
        if self.world.check(at, &begin).is_ok() {
            self.act(at, begin);
            if let Some(finish) = finish {
                self.plan(end, finish);
            }
        }
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

    fn grain(&self, fault: Fault) -> Grain {
        if fault == Fault::ExpiryEarly {
            return Grain { early: self.scenario.margin, late: Span::ZERO };
        }
        Grain { early: Span::ZERO, late: Span::from_millis(500) }
    }

    /// The storm is over: whatever is broken is mended.
    fn heal(&mut self, at: Time) {
        self.healed = true;
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
            let unlocks = self.seats[id.index()].next == Some(Ask::Unlock);
            if self.world.instance(id).caller.stage == Stage::Holding && unlocks {
                let hold = up_to(&mut self.streams.workload, self.scenario.workload.hold_max);
                self.plan_ask(id, at + hold, Ask::Unlock);
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
        if self.scenario.faults != FaultSet::NONE {
            self.act(at, Action::Heal);
        }
    }
}

/// Whether a family strikes at moments, not at messages or callers.
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
        | Fault::CounterWiped => true,
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
        | Fault::UnlockTwice => false,
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

/// The workload by which simulators are compared, run on the mutex: each instance locks, holds for up to 20 s,
/// unlocks, does something else for up to 5 s; a message takes 1 to 50 ms; nothing goes wrong. TTL 15 s, renewal
/// each 7.5 s, attempts each second ± 20 %. Every property is judged and the hash is kept; no trace is.
pub struct Reference {
    simulator: Simulator<Mutex>,
    scenario: Scenario<MutexTerms>,
}

impl Reference {
    /// So many instances on so many locks, for so long.
    pub fn new(instances: u32, resources: u32, length: Span) -> Reference {
        let lease = LeaseConfig {
            refresh_interval: Duration::from_millis(7_500),
            jitter: Ppm::percent(20),
            ..LeaseConfig::default()
        };
        // Fewer than three renewals fit into a time to live: a configuration that the mutex itself would refuse.
        let terms = MutexConfig { lease, ..MutexConfig::default() }.unchecked_terms();
        let ttl = terms.entry_ttl();
        let scenario = Scenario::reference(terms, ttl, instances, resources, length);
        Reference { simulator: Simulator::new(0, scenario.clone(), PropertySet::usual()), scenario }
    }

    /// Runs one seed.
    pub fn run(&mut self, seed: u64) -> Outcome {
        self.simulator.run(seed, self.scenario.clone(), false)
    }
}
