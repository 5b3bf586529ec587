//! The world: instances with clocks of their own, stores, messages under way, and what must hold.
//!
//! The world applies one [`Action`] at a time, at a true time that it is given, and never decides *when*: that is
//! a scheduler's job. A scheduler may be a seeded simulator, an exhaustive checker, or a trace. What an action may
//! be at a moment is [`World::check`]; what must have happened before a moment is [`World::overdue`]; a scheduler
//! that respects both cannot produce an unfair run.

use std::fmt;

use fencepost::machine::{AnswerOf, Effect, Effects, Identity, Input, Machine, OpOf};
use fencepost::store::{FencingToken, Protocol, StoreId};
use fencepost::time::{Draw, Instant, Span, StoreTime};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Rate, Time};
use crate::digest::Digest;
use crate::fault::{Fault, FaultSet, Ledger};
use crate::property::{Fate, Fence, PropertySet, Verdict};
use crate::store::{Grain, Mark, Serving, SimStore, Simulated, Tag, Touch};
use crate::subject::{Ask, InstanceId, Subject, Told};

/// How long things may take where nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// A message, one way.
    pub delay: Span,
    /// A timer, after it was due.
    pub slack: Span,
    /// A call of which nothing is heard, before its host gives up.
    pub call: Span,
    /// An entry that nobody wants, beyond its time to live.
    pub orphan: Span,
    /// A waiter, after the last fault.
    pub progress: Span,
}

/// What a world is made of: all that a trace needs besides its actions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "C: Serialize + for<'d> Deserialize<'d>", deny_unknown_fields)]
pub struct Setup<C> {
    /// The algorithm's configuration.
    pub config: C,
    /// How many instances.
    pub instances: u32,
    /// How many locks; instance `i` uses lock `i mod resources`.
    pub resources: u32,
    /// How many stores.
    pub stores: u8,
    /// Whether published hints are delivered.
    pub hints: bool,
    /// How long things may take.
    pub bounds: Bounds,
}

/// Names a message or request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(pub u32);

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

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leg<M: Machine> {
    /// On its way to the store.
    Request(OpOf<M>),
    /// On its way back.
    Reply(AnswerOf<M>, StoreTime),
    /// Nowhere; its instance does not know yet.
    Lost,
    /// A hint on its way to an instance.
    Hint(M::Message),
    /// A write on its way to the guarded resource.
    Write(u64),
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegKind {
    /// To the store.
    Request,
    /// From the store.
    Reply,
    /// Lost.
    Lost,
    /// From a peer.
    Hint,
    /// To the guarded resource.
    Write,
}

/// A message under way.
#[derive(Clone, Debug)]
pub struct Flight<M: Machine> {
    /// Whose: the sender of a request, the addressee of a reply or hint.
    pub instance: InstanceId,
    /// On behalf of which acquisition.
    pub tag: Tag,
    /// The store concerned.
    pub store: StoreId,
    /// The call, for requests and replies.
    pub call: Option<M::Call>,
    /// Where it is.
    pub leg: Leg<M>,
    /// When the request was sent.
    pub sent: Time,
    /// When this leg began.
    pub since: Time,
    /// Its number in the order of sending.
    pub serial: u64,
    /// Whether it is exempt from the delay bound.
    pub stalled: bool,
    /// Whether it is the second copy of a request.
    pub is_copy: bool,
    sent_mono: Instant,
    /// The trouble its instance was in when it was sent.
    trouble: u32,
    awaited: bool,
    /// The store refused it for an entry of the same acquisition.
    refused_by_itself: bool,
    /// It prolonged the entry of its own acquisition.
    prolonged: bool,
    faults: FaultSet,
}

impl<M: Machine> Flight<M> {
    /// What kind of message it is.
    pub fn kind(&self) -> LegKind {
        match self.leg {
            Leg::Request(_) => LegKind::Request,
            Leg::Reply(..) => LegKind::Reply,
            Leg::Lost => LegKind::Lost,
            Leg::Hint(_) => LegKind::Hint,
            Leg::Write(_) => LegKind::Write,
        }
    }

    /// What has happened to it.
    pub fn faults(&self) -> FaultSet {
        self.faults
    }

    /// Whether its instance still waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }
}

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It runs.
    Up,
    /// It stands still.
    Paused,
    /// It is dead.
    Down,
}

/// What a caller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Nothing.
    Idle,
    /// It waits for the lock.
    Waiting,
    /// It was told that it has the lock, and nothing else since.
    Holding,
    /// It has unlocked and waits for the outcome.
    Leaving,
}

/// A caller: the one who uses an instance's lock.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it is doing.
    pub stage: Stage,
    /// Which acquisition this is.
    pub acquisition: u32,
    /// When it asked.
    pub asked: Time,
    /// Until when it wants to wait, on its own clock.
    pub deadline: Instant,
    /// Its token.
    pub token: Option<FencingToken>,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Instance<M: Machine> {
    /// Its machine.
    pub machine: M,
    /// Its clocks.
    pub clock: Clock,
    /// How it is.
    pub state: State,
    /// Its caller.
    pub caller: Caller,
    /// Which lock it uses.
    pub resource: u32,
    incarnation: u32,
    /// When it last began to run.
    resumed: Time,
    awaited: Vec<(M::Call, FlightId)>,
    to_store_cut: bool,
    from_store_cut: bool,
    /// Whether the monitors count it among the believers.
    pub(crate) believes: bool,
    /// When its lease ends at the latest, on its own clock.
    pub(crate) lease_end: Instant,
    /// When its entry was written or renewed last.
    pub(crate) touched: Time,
    pub(crate) fate: Fate,
    /// What hit it since it was granted the lock or last renewed cleanly.
    pub(crate) setbacks: FaultSet,
    /// How many requests that may have cost since it asked or last renewed cleanly; two stands for any number.
    pub(crate) trouble: u32,
    /// How much of that there was when it was last refused by its own entry.
    pub(crate) trouble_at_notice: u32,
    /// What it has not met yet.
    pending: FaultSet,
}

impl<M: Machine> Instance<M> {
    fn new(machine: M, resource: u32, clock: Clock) -> Instance<M> {
        let (stage, acquisition, asked, deadline) = (Stage::Idle, 0, Time::ZERO, Instant::MAX);
        Instance {
            machine,
            clock,
            state: State::Up,
            caller: Caller { stage, acquisition, asked, deadline, token: None },
            resource,
            incarnation: 0,
            resumed: Time::ZERO,
            awaited: Vec::new(),
            to_store_cut: false,
            from_store_cut: false,
            believes: false,
            lease_end: Instant::MAX,
            touched: Time::ZERO,
            fate: Fate::default(),
            setbacks: FaultSet::NONE,
            trouble: 0,
            trouble_at_notice: 0,
            pending: FaultSet::NONE,
        }
    }

    /// Which of its incarnations this is, from zero.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Whether its requests and the replies to it are cut.
    pub fn cuts(&self) -> (bool, bool) {
        (self.to_store_cut, self.from_store_cut)
    }

    /// What has hit it since its last clean renewal, and what is wrong with its clocks.
    pub(crate) fn hits(&self, now: Time) -> FaultSet {
        let mut hits = self.setbacks;
        if self.clock.wall_error(now) >= Span::from_millis(1) {
            hits.add(Fault::WallJump);
        }
        hits
    }

    /// What is wrong right now with the way to the store.
    fn ongoing(&self, store_paused: bool) -> FaultSet {
        let conditions = [
            (store_paused, Fault::StorePause),
            (self.to_store_cut, Fault::CutToStore),
            (self.from_store_cut, Fault::CutFromStore),
        ];
        conditions.into_iter().filter(|(holds, _)| *holds).map(|(_, fault)| fault).collect()
    }

    fn hit(&mut self, fault: Fault) {
        self.setbacks.add(fault);
        self.trouble += if fault.is_heavy() { 2 } else { 1 };
    }
}

/// The world. See the module documentation.
#[derive(Clone, Debug)]
pub struct World<M: Subject> {
    pub(crate) config: M::Config,
    pub(crate) bounds: Bounds,
    hints: bool,
    pub(crate) promises: PropertySet,
    pub(crate) now: Time,
    pub(crate) applied: u64,
    pub(crate) instances: Vec<Instance<M>>,
    pub(crate) stores: Vec<SimStore<M::Store>>,
    flights: Vec<Option<Flight<M>>>,
    free: Vec<FlightId>,
    sent: u64,
    effects: Effects<M>,
    fresh: Vec<FlightId>,
    told: Vec<(InstanceId, Told)>,
    touched: Option<(Tag, Touch, bool)>,
    pub(crate) believers: Vec<Vec<InstanceId>>,
    pub(crate) fences: Vec<Fence>,
    pub(crate) healed: Time,
    pub(crate) void_until: Time,
    pub(crate) verdict: Verdict,
    ledger: Ledger,
    digest: Digest,
}

/// By how much the monotonic clocks of instances differ when a run begins: nobody may compare them.
const CLOCK_STEP: u64 = 1_000_000_007;

impl<M: Subject> World<M> {
    /// A world in which nothing has happened yet.
    pub fn new(setup: &Setup<M::Config>, promises: PropertySet) -> World<M> {
        let mut world = World {
            config: setup.config.clone(),
            bounds: setup.bounds,
            hints: setup.hints,
            promises,
            now: Time::ZERO,
            applied: 0,
            instances: Vec::new(),
            stores: Vec::new(),
            flights: Vec::new(),
            free: Vec::new(),
            sent: 0,
            effects: Effects::new(),
            fresh: Vec::new(),
            told: Vec::new(),
            touched: None,
            believers: Vec::new(),
            fences: Vec::new(),
            healed: Time::MAX,
            void_until: Time::ZERO,
            verdict: Verdict::default(),
            ledger: Ledger::default(),
            digest: Digest::new(),
        };
        world.reset(setup);
        world
    }

    /// Begins again with another setup; the memory is kept.
    pub fn reset(&mut self, setup: &Setup<M::Config>) {
        let resources = setup.resources.max(1);
        self.config = setup.config.clone();
        self.bounds = setup.bounds;
        self.hints = setup.hints;
        (self.now, self.applied, self.sent) = (Time::ZERO, 0, 0);
        self.instances.clear();
        self.instances.extend((0..setup.instances).map(|index| {
            let machine = M::new(&setup.config, identity(index, 0));
            Instance::new(machine, index % resources, Clock::starting_at(u64::from(index + 1) * CLOCK_STEP))
        }));
        self.stores.clear();
        self.stores.extend((0..setup.stores.max(1)).map(|_| SimStore::new(resources as usize)));
        self.flights.clear();
        self.free.clear();
        self.fresh.clear();
        self.told.clear();
        self.believers.resize_with(resources as usize, Vec::new);
        self.believers.iter_mut().for_each(Vec::clear);
        self.fences.clear();
        self.fences.resize(resources as usize, Fence::default());
        (self.healed, self.void_until) = (Time::MAX, Time::ZERO);
        self.verdict.clear();
        self.ledger = Ledger::default();
        self.digest = Digest::new();
    }

    /// True time: that of the last action.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many actions were applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The instances.
    pub fn instances(&self) -> &[Instance<M>] {
        &self.instances
    }

    /// One instance.
    pub fn instance(&self, id: InstanceId) -> &Instance<M> {
        &self.instances[id.index()]
    }

    /// The stores.
    pub fn stores(&self) -> &[SimStore<M::Store>] {
        &self.stores
    }

    /// The algorithm's configuration.
    pub fn config(&self) -> &M::Config {
        &self.config
    }

    /// How long things may take.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// A message under way.
    #[inline]
    pub fn flight(&self, id: FlightId) -> Option<&Flight<M>> {
        self.flights.get(id.0 as usize)?.as_ref()
    }

    /// All messages under way.
    pub fn flights(&self) -> impl Iterator<Item = (FlightId, &Flight<M>)> {
        self.flights
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| slot.as_ref().map(|flight| (FlightId(index as u32), flight)))
    }

    /// The messages that the last action sent, in order.
    pub fn fresh(&self) -> &[FlightId] {
        &self.fresh
    }

    /// What callers were told by the last action, in order.
    pub fn told(&self) -> &[(InstanceId, Told)] {
        &self.told
    }

    /// What the last action did to an entry, on whose behalf, and whether it was the lock's.
    pub fn touched(&self) -> Option<(Tag, Touch, bool)> {
        self.touched
    }

    /// The entry of a lock in the first store, dead or alive, if it has one.
    pub fn lock_mark(&self, resource: u32) -> Option<Mark> {
        let mut shelf = self.stores.first()?.shelves.get(resource as usize)?.clone();
        M::Store::lock(&mut shelf).copied()
    }

    /// When `id` wants to be woken, in true time.
    #[inline]
    pub fn wake_at(&self, id: InstanceId) -> Option<Time> {
        let instance = &self.instances[id.index()];
        let deadline = instance.machine.deadline(&self.config)?;
        Some(instance.clock.when(deadline.as_nanos()))
    }

    /// Whether `id` believes that it holds, by its own clock.
    pub fn believes(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id.index()];
        let mono = Instant::from_nanos(instance.clock.read(self.now));
        instance.state != State::Down && instance.machine.belief().is_some_and(|until| mono < until)
    }

    /// What was broken so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What went wrong so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Notes which faults a scheduler has switched on.
    pub fn configure(&mut self, faults: FaultSet) {
        self.ledger.configure(faults);
    }

    /// The hash of all that was applied, and of what came of it.
    pub fn hash(&self) -> u64 {
        self.digest.value()
    }

    /// Applies an action at a true time. The caller has made sure that [`World::check`] allows it.
    pub fn apply(&mut self, at: Time, action: Action, draw: Draw) {
        debug_assert_eq!(self.check(at, &action), Ok(()), "{action:?} at {at:?}");
        self.now = at;
        self.fresh.clear();
        self.told.clear();
        self.touched = None;
        let (kind, who) = code(&action);
        self.digest.word(at.as_nanos());
        self.digest.word(kind.rotate_left(32) ^ u64::from(who));
        match action {
            Action::Ask(id, ask) => self.ask(id, ask, draw),
            Action::Write(id) => self.write(id),
            Action::Forget(id) => self.note(id, Fault::ForgetUnlock),
            Action::Wake(id) => self.step(id, Input::Wake, draw),
            Action::Serve(id, how) => self.serve(id, how),
            Action::Deliver(id) => self.deliver(id, draw),
            Action::Lose(id) => self.lose(id),
            Action::Duplicate(id) => self.duplicate(id),
            Action::Stall(id) => self.stall(id),
            Action::GiveUp(id) => self.give_up(id, draw),
            Action::Pause(id) => self.pause(id, Fault::Pause),
            Action::Suspend(id) => self.pause(id, Fault::Suspend),
            Action::Resume(id) => self.resume(id),
            Action::Crash(id) => self.crash(id),
            Action::Restart(id) => self.restart(id),
            Action::SetRate(id, rate) => {
                self.instances[id.index()].clock.set_rate(at, rate);
                self.note(id, Fault::Drift);
            }
            Action::Jump(id, nanos) => {
                self.instances[id.index()].clock.jump(nanos);
                self.note(id, Fault::WallJump);
            }
            Action::CutToStore(id, cut) => {
                if cut {
                    self.ledger.fire(Fault::CutToStore);
                }
                self.instances[id.index()].to_store_cut = cut;
            }
            Action::CutFromStore(id, cut) => {
                if cut {
                    self.ledger.fire(Fault::CutFromStore);
                }
                self.instances[id.index()].from_store_cut = cut;
            }
            Action::Heal => self.healed = at,
            Action::End => self.judge_end(),
            Action::StorePause(_)
            | Action::StoreResume(_)
            | Action::StoreRestart(_)
            | Action::StoreRate(..)
            | Action::Lag(_)
            | Action::CatchUp(_)
            | Action::FailOver(_)
            | Action::SetGrain(..)
            | Action::WipeCounter(_) => self.act_on_store(action),
        }
        self.applied += 1;
    }

    /// An instance takes a step, and the world carries out what it wants.
    #[inline]
    fn step(&mut self, id: InstanceId, input: Input<M>, draw: Draw) {
        let instance = &mut self.instances[id.index()];
        let now = instance.clock.now(self.now, draw);
        instance.machine.step(&self.config, now, input, &mut self.effects);
        if !instance.pending.is_empty() {
            let seen = std::mem::take(&mut instance.pending);
            self.ledger.observe(seen);
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { store, call, op } => self.send(id, store, call, op, now.mono),
                Effect::Forget(call) => self.forget(id, call),
                Effect::Publish(message) => self.publish(id, message),
                Effect::Event(event) => self.tell(id, M::told(&event), now.mono),
            }
        }
        self.effects = effects;
        self.judge_step(id);
    }

    fn ask(&mut self, id: InstanceId, ask: Ask, draw: Draw) {
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        let caller = &mut instance.caller;
        self.digest.word(ask_code(ask));
        match ask {
            Ask::Lock | Ask::TryLock | Ask::LockFor(_) if caller.stage == Stage::Idle => {
                caller.stage = Stage::Waiting;
                caller.acquisition += 1;
                caller.asked = now;
                caller.deadline = match ask {
                    Ask::LockFor(span) => Instant::from_nanos(instance.clock.read(now)) + span,
                    Ask::Lock | Ask::TryLock | Ask::Cancel | Ask::Unlock | Ask::UnlockAgain | Ask::Extend => {
                        Instant::MAX
                    }
                };
                let ongoing = instance.ongoing(self.stores[0].paused);
                (instance.setbacks, instance.trouble) = (ongoing, if ongoing.is_empty() { 0 } else { 2 });
            }
            Ask::Unlock | Ask::UnlockAgain if caller.stage == Stage::Holding => {
                let last_write = caller.token.map(|token| (token.0, caller.acquisition));
                (caller.stage, caller.asked) = (Stage::Leaving, now);
                if let Some((token, acquisition)) = last_write.filter(|_| self.believes(id)) {
                    self.judge_write(id, token, acquisition);
                }
                self.abandon(id);
            }
            Ask::Cancel => self.note(id, Fault::Cancel),
            Ask::Lock | Ask::TryLock | Ask::LockFor(_) | Ask::Unlock | Ask::UnlockAgain | Ask::Extend => {}
        }
        if ask == Ask::UnlockAgain {
            self.note(id, Fault::UnlockTwice);
        }
        if let Some(request) = M::request(ask) {
            self.step(id, Input::Request(request), draw);
        }
    }

    fn tell(&mut self, id: InstanceId, told: Told, mono: Instant) {
        self.judge_told(id, told);
        self.digest.word(told_code(told));
        let ttl = M::ttl(&self.config);
        let instance = &mut self.instances[id.index()];
        match told {
            Told::Acquired(token) => {
                instance.caller.stage = Stage::Holding;
                instance.caller.token = token;
                instance.lease_end = mono + ttl;
                if let Some(token) = token {
                    let acquisition = instance.caller.acquisition;
                    self.judge_write(id, token.0, acquisition);
                }
            }
            Told::Denied | Told::Released | Told::Lost => {
                self.abandon(id);
                self.instances[id.index()].caller.stage = Stage::Idle;
            }
            Told::Panicked => self.crash(id),
            Told::Extended | Told::Rejected => {}
        }
        self.told.push((id, told));
    }

    /// From now on nobody wants the entry of the present acquisition of `id`.
    fn abandon(&mut self, id: InstanceId) {
        let instance = &self.instances[id.index()];
        let tag = Tag { instance: id, acquisition: instance.caller.acquisition };
        for store in &mut self.stores {
            if let Some(mark) = M::Store::lock(&mut store.shelves[instance.resource as usize])
                && mark.by == tag
            {
                mark.abandoned = mark.abandoned.min(self.now);
            }
        }
    }

    /// A fault that its instance meets at its next step.
    fn note(&mut self, id: InstanceId, fault: Fault) {
        self.ledger.fire(fault);
        self.instances[id.index()].pending.add(fault);
    }

    fn tag(&self, id: InstanceId) -> Tag {
        Tag { instance: id, acquisition: self.instances[id.index()].caller.acquisition }
    }

    fn launch(&mut self, flight: Flight<M>) -> FlightId {
        let id = match self.free.pop() {
            Some(id) => {
                self.flights[id.0 as usize] = Some(flight);
                id
            }
            None => {
                self.flights.push(Some(flight));
                FlightId(self.flights.len() as u32 - 1)
            }
        };
        self.fresh.push(id);
        id
    }

    fn new_flight(
        &mut self,
        id: InstanceId,
        store: StoreId,
        call: Option<M::Call>,
        leg: Leg<M>,
        sent_mono: Instant,
    ) -> Flight<M> {
        self.sent += 1;
        Flight {
            instance: id,
            tag: self.tag(id),
            store,
            call,
            leg,
            sent: self.now,
            since: self.now,
            serial: self.sent,
            stalled: false,
            is_copy: false,
            sent_mono,
            trouble: self.instances[id.index()].trouble,
            awaited: call.is_some(),
            refused_by_itself: false,
            prolonged: false,
            faults: FaultSet::NONE,
        }
    }

    fn send(&mut self, id: InstanceId, store: StoreId, call: M::Call, op: OpOf<M>, mono: Instant) {
        self.forget(id, call);
        let instance = &mut self.instances[id.index()];
        if instance.caller.stage == Stage::Waiting {
            // What matters of a wait is what hit the attempt that succeeds.
            instance.setbacks = instance.ongoing(self.stores[store.0 as usize].paused);
        }
        let flight = self.new_flight(id, store, Some(call), Leg::Request(op), mono);
        let flight = self.launch(flight);
        self.instances[id.index()].awaited.push((call, flight));
    }

    /// Nobody waits for the reply to this call any more.
    fn forget(&mut self, id: InstanceId, call: M::Call) {
        let awaited = &mut self.instances[id.index()].awaited;
        if let Some(at) = awaited.iter().position(|(other, _)| *other == call) {
            let (_, flight) = awaited.swap_remove(at);
            self.disown(flight);
        }
    }

    fn disown(&mut self, id: FlightId) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        flight.awaited = false;
        self.ledger.observe(std::mem::take(&mut flight.faults));
        if !matches!(flight.leg, Leg::Request(_)) {
            self.land(id);
        }
    }

    /// A message has come to its end.
    fn land(&mut self, id: FlightId) -> Option<Flight<M>> {
        let flight = self.flights[id.0 as usize].take()?;
        self.free.push(id);
        Some(flight)
    }

    fn publish(&mut self, id: InstanceId, message: M::Message) {
        if !self.hints {
            return;
        }
        let resource = self.instances[id.index()].resource;
        let step = self.fences.len();
        for index in (resource as usize..self.instances.len()).step_by(step) {
            let peer = InstanceId(index as u32);
            if peer != id && self.instances[index].state != State::Down {
                let leg = Leg::Hint(message.clone());
                let flight = self.new_flight(peer, StoreId::default(), None, leg, Instant::ZERO);
                self.launch(flight);
            }
        }
    }

    fn write(&mut self, id: InstanceId) {
        let instance = &self.instances[id.index()];
        let Some(token) = instance.caller.token.filter(|_| self.believes(id)) else { return };
        let flight = self.new_flight(id, StoreId::default(), None, Leg::Write(token.0), Instant::ZERO);
        self.launch(flight);
    }

    fn serve(&mut self, id: FlightId, how: Service) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        let (instance, tag, store) = (flight.instance, flight.tag, flight.store);
        if self.instances[instance.index()].to_store_cut {
            return self.lose_to(id, Fault::CutToStore);
        }
        let store = &mut self.stores[store.0 as usize];
        if !store.pending.is_empty() {
            self.ledger.observe(std::mem::take(&mut store.pending));
        }
        let at = store.now(self.now);
        let touched = match how {
            Service::ErrorBefore => {
                flight.leg = Leg::Reply(M::Store::unknown(), StoreTime::ZERO);
                None
            }
            Service::Done | Service::ErrorAfter | Service::Stale => {
                let Leg::Request(op) = &flight.leg else { return };
                let owner = &self.instances[tag.instance.index()];
                let shelf = match (&mut store.replica, how) {
                    (Some(replica), Service::Stale) => &mut replica[owner.resource as usize],
                    _ => &mut store.shelves[owner.resource as usize],
                };
                let wanted = owner.caller.acquisition == tag.acquisition
                    && matches!(owner.caller.stage, Stage::Waiting | Stage::Holding)
                    && owner.state != State::Down;
                let mut serving = Serving {
                    now: at,
                    truth: self.now,
                    age: self.now.since(flight.sent),
                    by: tag,
                    wanted,
                    grain: store.grain,
                    counter: &mut store.counter,
                    touch: Touch::None,
                    to_lock: false,
                    grain_seen: false,
                };
                let answer = M::Store::serve(op, shelf, &mut serving);
                let (touch, to_lock, grain_seen) = (serving.touch, serving.to_lock, serving.grain_seen);
                self.digest.word(Digest::of(&answer));
                flight.leg = match how {
                    Service::ErrorAfter => Leg::Reply(M::Store::unknown(), StoreTime::ZERO),
                    Service::Done | Service::ErrorBefore | Service::Stale => Leg::Reply(answer, at),
                };
                if grain_seen {
                    let early = store.grain.early > store.grain.late;
                    let fault = if early { Fault::ExpiryEarly } else { Fault::ExpiryLate };
                    self.ledger.observe(FaultSet::of(&[fault]));
                }
                Some((touch, to_lock))
            }
        };
        flight.since = self.now;
        if flight.is_copy {
            self.ledger.observe(FaultSet::of(&[Fault::Duplicate]));
        }
        let fault = match how {
            Service::Done => None,
            Service::ErrorBefore => Some(Fault::ErrorBefore),
            Service::ErrorAfter => Some(Fault::ErrorAfter),
            Service::Stale => Some(Fault::StaleRead),
        };
        if let Some(fault) = fault {
            flight.faults.add(fault);
            self.ledger.fire(fault);
            self.instances[instance.index()].hit(fault);
        }
        if let Some((touch, to_lock)) = touched {
            self.touched = Some((tag, touch, to_lock));
            if to_lock {
                self.note_touch(id, touch, how);
            }
            self.judge_touch(id, touch, to_lock);
        }
        if self.flight(id).is_some_and(|flight| !flight.awaited) {
            self.land(id);
        }
    }

    /// Keeps what the monitors need to know about an entry's owner.
    fn note_touch(&mut self, id: FlightId, touch: Touch, how: Service) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        match touch {
            Touch::Wrote(_) => self.instances[flight.instance.index()].touched = self.now,
            Touch::Renewed(mark) if mark.by == flight.tag => {
                flight.prolonged = true;
                self.instances[flight.instance.index()].touched = self.now;
            }
            Touch::Refused(mark) => {
                flight.refused_by_itself = mark.by == flight.tag && how == Service::Done;
            }
            Touch::Renewed(_) | Touch::Deleted(_) | Touch::None => {}
        }
    }

    fn deliver(&mut self, id: FlightId, draw: Draw) {
        let Some(flight) = self.flight(id) else { return };
        let instance = flight.instance;
        match &flight.leg {
            Leg::Reply(..) => {
                if self.instances[instance.index()].from_store_cut {
                    return self.lose_to(id, Fault::CutFromStore);
                }
                let Some(flight) = self.land(id) else { return };
                self.reply(flight, id, draw);
            }
            Leg::Hint(_) => {
                let Some(Flight { leg: Leg::Hint(message), faults, .. }) = self.land(id) else { return };
                self.ledger.observe(faults);
                if self.instances[instance.index()].state == State::Up {
                    self.step(instance, Input::Message(message), draw);
                }
            }
            Leg::Write(token) => {
                let (token, acquisition) = (*token, flight.tag.acquisition);
                let faults = flight.faults;
                self.land(id);
                self.ledger.observe(faults);
                self.judge_write(instance, token, acquisition);
            }
            Leg::Request(_) | Leg::Lost => {}
        }
    }

    /// A reply that is still awaited has arrived.
    fn reply(&mut self, flight: Flight<M>, id: FlightId, draw: Draw) {
        let (Some(call), Leg::Reply(answer, at)) = (flight.call, flight.leg) else { return };
        let now = self.now;
        let instance = &mut self.instances[flight.instance.index()];
        instance.awaited.retain(|(_, other)| *other != id);
        self.ledger.observe(flight.faults);
        if flight.refused_by_itself {
            instance.trouble_at_notice = instance.trouble;
            let store = &mut self.stores[flight.store.0 as usize];
            if let Some(mark) = M::Store::lock(&mut store.shelves[instance.resource as usize])
                && mark.by == flight.tag
            {
                mark.noticed = mark.noticed.min(now);
            }
        }
        let prolonged = instance.caller.stage == Stage::Holding && flight.prolonged;
        if prolonged {
            instance.lease_end = instance.lease_end.max(flight.sent_mono + M::ttl(&self.config));
        }
        self.step(flight.instance, Input::Reply { call, answer, at }, draw);
        if prolonged && flight.faults.is_empty() {
            let instance = &mut self.instances[flight.instance.index()];
            instance.trouble = instance.trouble.saturating_sub(flight.trouble);
            if instance.trouble == 0 {
                instance.setbacks = FaultSet::NONE;
            }
        }
    }

    fn give_up(&mut self, id: FlightId, draw: Draw) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        let (instance, call) = (flight.instance, flight.call);
        self.instances[instance.index()].awaited.retain(|(_, other)| *other != id);
        self.disown(id);
        if let Some(call) = call {
            let input = Input::Reply { call, answer: M::Store::unknown(), at: StoreTime::ZERO };
            self.step(instance, input, draw);
        }
    }

    fn lose(&mut self, id: FlightId) {
        let fault = match self.flight(id).map(Flight::kind) {
            Some(LegKind::Request) => Fault::RequestLost,
            Some(LegKind::Hint) => Fault::HintLost,
            Some(LegKind::Reply | LegKind::Lost | LegKind::Write) | None => Fault::ReplyLost,
        };
        self.ledger.fire(fault);
        self.lose_to(id, fault);
    }

    fn lose_to(&mut self, id: FlightId, fault: Fault) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        let instance = &mut self.instances[flight.instance.index()];
        flight.faults.add(fault);
        if !flight.awaited {
            // Nobody hears of it; a hint's addressee meets the loss when it wakes by itself.
            instance.pending.add(fault);
            self.land(id);
            return;
        }
        instance.hit(fault);
        flight.leg = Leg::Lost;
        flight.since = self.now;
    }

    fn duplicate(&mut self, id: FlightId) {
        let Some(flight) = self.flight(id) else { return };
        let is_hint = matches!(flight.leg, Leg::Hint(_));
        let mut copy = flight.clone();
        self.sent += 1;
        copy.serial = self.sent;
        (copy.awaited, copy.is_copy, copy.stalled) = (false, true, false);
        copy.since = self.now;
        let fault = if is_hint { Fault::HintDuplicate } else { Fault::Duplicate };
        copy.faults.add(fault);
        self.ledger.fire(fault);
        self.launch(copy);
    }

    fn stall(&mut self, id: FlightId) {
        let Some(flight) = self.flights[id.0 as usize].as_mut() else { return };
        flight.stalled = true;
        let fault = if matches!(flight.leg, Leg::Hint(_)) { Fault::HintLate } else { Fault::Delay };
        flight.faults.add(fault);
        self.ledger.fire(fault);
        if flight.awaited {
            self.instances[flight.instance.index()].hit(fault);
        }
    }

    fn pause(&mut self, id: InstanceId, fault: Fault) {
        self.note(id, fault);
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        instance.state = State::Paused;
        instance.hit(fault);
        if fault == Fault::Suspend {
            instance.clock.set_rate(now, Rate::STOPPED);
            self.void_until = Time::MAX;
        }
    }

    fn resume(&mut self, id: InstanceId) {
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        instance.state = State::Up;
        instance.resumed = now;
        self.start_clock(id);
    }

    /// A suspended instance's clock goes on; once its old beliefs are over, exclusion is promised again.
    fn start_clock(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id.index()];
        if instance.clock.rate() != Rate::STOPPED {
            return;
        }
        instance.clock.set_rate(self.now, Rate::TRUE);
        if self.instances.iter().all(|other| other.clock.rate() != Rate::STOPPED) {
            self.void_until = self.now;
            self.void_for(M::ttl(&self.config) * 2 + self.bounds.orphan);
        }
    }

    fn crash(&mut self, id: InstanceId) {
        self.abandon(id);
        self.start_clock(id);
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        instance.state = State::Down;
        instance.resumed = now;
        instance.caller.stage = Stage::Idle;
        instance.caller.token = None;
        instance.hit(Fault::Crash);
        if std::mem::take(&mut instance.believes) {
            let resource = instance.resource as usize;
            self.believers[resource].retain(|&other| other != id);
        }
        let awaited = std::mem::take(&mut self.instances[id.index()].awaited);
        awaited.iter().for_each(|(_, flight)| self.disown(*flight));
        if self.applied_is_fault(id) {
            self.ledger.fire(Fault::Crash);
        }
    }

    /// A machine that panicked has not been hit by a fault.
    fn applied_is_fault(&self, id: InstanceId) -> bool {
        !self.told.iter().any(|(other, told)| *other == id && *told == Told::Panicked)
    }

    fn restart(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id.index()];
        instance.incarnation += 1;
        instance.machine = M::new(&self.config, identity(id.0, instance.incarnation));
        instance.state = State::Up;
        instance.resumed = self.now;
        instance.clock.set_rate(self.now, Rate::TRUE);
        instance.pending.add(Fault::Crash);
        (instance.to_store_cut, instance.from_store_cut) = (false, false);
    }

    fn act_on_store(&mut self, action: Action) {
        let Some(id) = store_of(&action) else { return };
        let now = self.now;
        let store = &mut self.stores[id.0 as usize];
        match action {
            Action::StorePause(_) => {
                store.paused = true;
                self.trouble_for_all(Fault::StorePause, id);
            }
            Action::StoreResume(_) => (store.paused, store.resumed) = (false, now),
            Action::StoreRestart(_) => {
                self.trouble_for_all(Fault::StoreRestart, id);
                self.lose_all(id);
            }
            Action::StoreRate(_, rate) => {
                store.clock.set_rate(now, rate);
                store.pending.add(Fault::StoreDrift);
                self.ledger.fire(Fault::StoreDrift);
            }
            Action::Lag(_) => store.replica = Some(store.shelves.clone()),
            Action::CatchUp(_) => store.replica = None,
            Action::FailOver(_) => {
                store.fail_over();
                self.trouble_for_all(Fault::Failover, id);
                self.void_for(M::ttl(&self.config) * 2 + self.bounds.orphan);
            }
            Action::SetGrain(_, grain) => {
                store.grain = grain;
                if grain.early > Span::ZERO {
                    self.ledger.fire(Fault::ExpiryEarly);
                }
                if grain.late > Span::ZERO {
                    self.ledger.fire(Fault::ExpiryLate);
                }
            }
            Action::WipeCounter(_) => {
                store.counter = 0;
                self.trouble_for_all(Fault::CounterWiped, id);
            }
            _ => {}
        }
    }

    fn trouble_for_all(&mut self, fault: Fault, store: StoreId) {
        self.ledger.fire(fault);
        self.stores[store.0 as usize].pending.add(fault);
        self.instances.iter_mut().for_each(|instance| instance.hit(fault));
    }

    fn lose_all(&mut self, store: StoreId) {
        for index in 0..self.flights.len() {
            let id = FlightId(index as u32);
            let concerned =
                self.flight(id).is_some_and(|flight| flight.store == store && flight.call.is_some());
            if concerned {
                self.lose_to(id, Fault::StoreRestart);
            }
        }
    }

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
                M::request(ask).ok_or(Refusal::Request)?;
                let instance = instance(id)?;
                instance.state == State::Up && may_ask(instance.caller.stage, ask)
            }
            Action::Write(id) | Action::Forget(id) => instance(id)?.state == State::Up,
            Action::Wake(id) => {
                let due = instance(id)?.state == State::Up && self.wake_at(id).is_some_and(|due| due <= at);
                if !due {
                    return Err(Refusal::Early);
                }
                true
            }
            Action::Serve(id, how) => {
                let flight = flight(id)?;
                let Leg::Request(op) = &flight.leg else { return Err(Refusal::Message) };
                let store = store(flight.store)?;
                let stale = store.replica.is_some() && M::Store::is_read(op);
                !store.paused && (how != Service::Stale || stale)
            }
            Action::Deliver(id) => {
                let flight = flight(id)?;
                match flight.leg {
                    Leg::Request(_) | Leg::Lost => return Err(Refusal::Message),
                    Leg::Write(_) => true,
                    Leg::Reply(..) | Leg::Hint(_) => instance(flight.instance)?.state != State::Paused,
                }
            }
            Action::Lose(id) => !matches!(flight(id)?.leg, Leg::Lost | Leg::Write(_)),
            Action::Duplicate(id) => matches!(flight(id)?.leg, Leg::Request(_) | Leg::Hint(_)),
            Action::Stall(id) => !matches!(flight(id)?.leg, Leg::Lost),
            Action::GiveUp(id) => {
                let flight = flight(id)?;
                flight.awaited && instance(flight.instance)?.state == State::Up
            }
            Action::Pause(id) | Action::Suspend(id) => instance(id)?.state == State::Up,
            Action::Resume(id) => instance(id)?.state == State::Paused,
            Action::Crash(id) => instance(id)?.state != State::Down,
            Action::Restart(id) => instance(id)?.state == State::Down,
            Action::SetRate(id, rate) => instance(id)?.state != State::Paused && rate.is_running(),
            Action::Jump(id, _) => instance(id).is_ok(),
            Action::CutToStore(id, cut) => instance(id)?.to_store_cut != cut,
            Action::CutFromStore(id, cut) => instance(id)?.from_store_cut != cut,
            Action::StorePause(id) => !store(id)?.paused,
            Action::StoreResume(id) => store(id)?.paused,
            Action::StoreRate(id, rate) => store(id).is_ok() && rate.is_running(),
            Action::FailOver(id) => store(id)?.replica.is_some(),
            Action::StoreRestart(id)
            | Action::Lag(id)
            | Action::CatchUp(id)
            | Action::SetGrain(id, _)
            | Action::WipeCounter(id) => store(id).is_ok(),
            Action::Heal | Action::End => true,
        };
        if at < self.now {
            return Err(Refusal::Past);
        }
        if self.healed != Time::MAX && is_fault(action) {
            return Err(Refusal::Healed);
        }
        if allowed { Ok(()) } else { Err(Refusal::State) }
    }

    /// The first thing that had to happen before `at` and has not: a deadline, a delivery, or giving up.
    pub fn overdue(&self, at: Time) -> Option<(Time, Action)> {
        let wakes = (0..self.instances.len() as u32).map(InstanceId).filter_map(|id| {
            let instance = &self.instances[id.index()];
            let due = self.wake_at(id).filter(|_| instance.state == State::Up)?;
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

    /// When a message must have arrived, and how it does.
    fn arrival(&self, id: FlightId, flight: &Flight<M>) -> Option<(Time, Action)> {
        let instance = &self.instances[flight.instance.index()];
        match flight.leg {
            Leg::Lost if instance.state == State::Up => {
                Some((flight.since.max(instance.resumed) + self.bounds.call, Action::GiveUp(id)))
            }
            Leg::Lost => None,
            _ if flight.stalled => None,
            Leg::Request(_) => {
                let store = &self.stores[flight.store.0 as usize];
                let due = flight.since.max(store.resumed) + self.bounds.delay;
                (!store.paused).then_some((due, Action::Serve(id, Service::Done)))
            }
            Leg::Write(_) => Some((flight.since + self.bounds.delay, Action::Deliver(id))),
            Leg::Reply(..) | Leg::Hint(_) => {
                let due = flight.since.max(instance.resumed) + self.bounds.delay;
                (instance.state != State::Paused).then_some((due, Action::Deliver(id)))
            }
        }
    }
}

/// The identity of an incarnation: never used twice.
fn identity(index: u32, incarnation: u32) -> Identity {
    Identity((u64::from(index) + 1) << 32 | u64::from(incarnation))
}

fn order(action: &Action) -> (u8, u32) {
    match *action {
        Action::Wake(InstanceId(id)) => (0, id),
        Action::Serve(FlightId(id), _) => (1, id),
        Action::Deliver(FlightId(id)) => (2, id),
        _ => (3, 0),
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
    }
}

/// Whether an action makes something go wrong.
fn is_fault(action: &Action) -> bool {
    match *action {
        Action::Forget(_)
        | Action::Lose(_)
        | Action::Duplicate(_)
        | Action::Stall(_)
        | Action::Pause(_)
        | Action::Suspend(_)
        | Action::Crash(_)
        | Action::SetRate(..)
        | Action::Jump(..)
        | Action::StorePause(_)
        | Action::StoreRestart(_)
        | Action::StoreRate(..)
        | Action::Lag(_)
        | Action::FailOver(_)
        | Action::WipeCounter(_) => true,
        Action::CutToStore(_, cut) | Action::CutFromStore(_, cut) => cut,
        Action::Serve(_, how) => how != Service::Done,
        Action::SetGrain(_, grain) => grain != Grain::default(),
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

fn store_of(action: &Action) -> Option<StoreId> {
    match *action {
        Action::StorePause(id)
        | Action::StoreResume(id)
        | Action::StoreRestart(id)
        | Action::StoreRate(id, _)
        | Action::Lag(id)
        | Action::CatchUp(id)
        | Action::FailOver(id)
        | Action::SetGrain(id, _)
        | Action::WipeCounter(id) => Some(id),
        _ => None,
    }
}

/// What the digest takes of an action: its kind, and whom it concerns.
#[inline]
fn code(action: &Action) -> (u64, u32) {
    match *action {
        Action::Ask(id, _) => (1, id.0),
        Action::Write(id) => (2, id.0),
        Action::Forget(id) => (3, id.0),
        Action::Wake(id) => (4, id.0),
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
        Action::Heal => (31, 0),
        Action::End => (32, 0),
    }
}

fn ask_code(ask: Ask) -> u64 {
    match ask {
        Ask::Lock => 1,
        Ask::TryLock => 2,
        Ask::LockFor(span) => 3 ^ span.as_nanos() << 8,
        Ask::Cancel => 4,
        Ask::Unlock => 5,
        Ask::Extend => 6,
        Ask::UnlockAgain => 7,
    }
}

fn told_code(told: Told) -> u64 {
    match told {
        Told::Acquired(token) => 1 ^ token.map_or(0, |token| token.0) << 8,
        Told::Denied => 2,
        Told::Released => 3,
        Told::Lost => 4,
        Told::Extended => 5,
        Told::Rejected => 6,
        Told::Panicked => 7,
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Idle => "idle",
            Stage::Waiting => "waiting",
            Stage::Holding => "holding",
            Stage::Leaving => "leaving",
        })
    }
}
