//! The world: instances with clocks of their own, stores, messages under way, and what must hold.
//!
//! The world applies one [`Action`] at a time, at a true time that it is given, and never decides *when*: that is
//! a scheduler's job. A scheduler may be a seeded simulator, an exhaustive checker, or a trace. What an action may
//! be at a moment is [`World::check`]; what must have happened before a moment is [`World::overdue`]; a scheduler
//! that respects both cannot produce an unfair run.

mod action;
mod flight;
mod instance;
mod traffic;

use fencepost::machine::{Effect, Effects, Identity, Input};
use fencepost::store::StoreId;
use fencepost::time::{Draw, Instant, Span, StoreTime};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Time};
use crate::digest::Digest;
use crate::fault::{Fault, FaultSet, Ledger};
use crate::preempt::Preemptions;
use crate::property::{Fence, PropertySet, Verdict};
use crate::runs::Runs;
use crate::store::{Mark, SimStore, Simulated, Tag, Touch};
use crate::subject::{InstanceId, JobId, Play, Subject, Told};

use action::code;
pub use action::{Action, Refusal, Service};
pub(crate) use flight::Flights;
pub use flight::{Flight, FlightId, Leg, LegKind};
pub use instance::{Caller, Instance, Stage, State};

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
    /// How many jobs callers schedule on each resource; none, if they only lock.
    #[serde(default, skip_serializing_if = "crate::trace::is_zero")]
    pub jobs: u32,
    /// How many stores.
    pub stores: u8,
    /// Whether published hints are delivered.
    pub hints: bool,
    /// Whether a hint that is published while its like is under way is merged with it, as a watch may do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merges_hints: bool,
    /// How long things may take.
    pub bounds: Bounds,
    /// Whether believed exclusion is judged even while what it assumes is broken: to see what happens then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// The world. See the module documentation.
#[derive(Clone, Debug)]
pub struct World<M: Subject> {
    pub(crate) config: M::Config,
    pub(crate) bounds: Bounds,
    hints: bool,
    merges_hints: bool,
    pub(crate) strict: bool,
    pub(crate) promises: PropertySet,
    pub(crate) now: Time,
    pub(crate) applied: u64,
    pub(crate) instances: Vec<Instance<M>>,
    pub(crate) stores: Vec<SimStore<M::Store>>,
    pub(crate) flights: Flights<M>,
    effects: Effects<M>,
    told: Vec<(InstanceId, Told)>,
    touched: Option<(Tag, Touch, bool)>,
    pub(crate) believers: Vec<Vec<InstanceId>>,
    pub(crate) fences: Vec<Fence>,
    /// How many jobs there are for each resource.
    pub(crate) jobs: usize,
    pub(crate) runs: Runs,
    /// Since when nobody leads; one for each resource.
    pub(crate) leaderless: Vec<Time>,
    pub(crate) preemptions: Preemptions,
    pub(crate) healed: Time,
    pub(crate) void_until: Time,
    pub(crate) verdict: Verdict,
    ledger: Ledger,
    digest: Digest,
}

/// By how much the monotonic clocks of instances differ when a run begins: nobody may compare them.
pub(crate) const CLOCK_STEP: u64 = 1_000_000_007;

impl<M: Subject> World<M> {
    /// A world in which nothing has happened yet.
    pub fn new(setup: &Setup<M::Config>, promises: PropertySet) -> World<M> {
        let mut world = World {
            config: setup.config.clone(),
            bounds: setup.bounds,
            hints: setup.hints,
            merges_hints: setup.merges_hints,
            strict: setup.strict,
            promises,
            now: Time::ZERO,
            applied: 0,
            instances: Vec::new(),
            stores: Vec::new(),
            flights: Flights::new(),
            effects: Effects::new(),
            told: Vec::new(),
            touched: None,
            believers: Vec::new(),
            fences: Vec::new(),
            jobs: 0,
            runs: Runs::default(),
            leaderless: Vec::new(),
            preemptions: Preemptions::default(),
            healed: Time::MAX,
            void_until: Time::ZERO,
            verdict: Verdict::default(),
            ledger: Ledger::default(),
            digest: Digest::new(),
        };
        world.reset(setup);
        world
    }

    /// Becomes what `other` is, as far as that decides what can happen from now on; the memory is kept. What was
    /// broken, went wrong and was counted so far is not taken over.
    pub fn become_like(&mut self, other: &World<M>) {
        (self.now, self.applied) = (other.now, other.applied);
        self.instances.clone_from(&other.instances);
        self.stores.clone_from(&other.stores);
        self.flights.clone_from(&other.flights);
        self.believers.clone_from(&other.believers);
        self.fences.clone_from(&other.fences);
        if M::PLAY.has_jobs() {
            self.runs.clone_from(&other.runs);
        }
        if M::PREEMPTS {
            self.preemptions.clone_from(&other.preemptions);
        }
        (self.healed, self.void_until) = (other.healed, other.void_until);
        self.verdict.clear();
    }

    /// Begins again with another setup; the memory is kept.
    pub fn reset(&mut self, setup: &Setup<M::Config>) {
        let resources = setup.resources.max(1);
        self.config = setup.config.clone();
        self.bounds = setup.bounds;
        (self.hints, self.merges_hints, self.strict) = (setup.hints, setup.merges_hints, setup.strict);
        (self.now, self.applied) = (Time::ZERO, 0);
        self.instances.clear();
        self.instances.extend((0..setup.instances).map(|index| {
            let (identity, clock) =
                (identity(index, 0), Clock::starting_at(u64::from(index + 1) * CLOCK_STEP));
            Instance::new(M::new(&setup.config, identity), identity, index % resources, clock)
        }));
        self.stores.clear();
        self.stores.extend((0..setup.stores.max(1)).map(|_| SimStore::new(resources as usize)));
        self.flights.clear();
        self.told.clear();
        self.jobs = if M::PLAY.has_jobs() { setup.jobs.max(1) as usize } else { 0 };
        let guarded = resources as usize * self.jobs.max(1);
        self.believers.resize_with(guarded, Vec::new);
        self.believers.iter_mut().for_each(Vec::clear);
        self.fences.clear();
        self.fences.resize(guarded, Fence::default());
        let players = if self.jobs > 0 { self.instances.len() } else { 0 };
        match M::PLAY {
            Play::Write => self.runs.reset_writers(guarded, players, self.jobs),
            Play::Lock | Play::Lead | Play::Job | Play::Once => {
                self.runs.reset(resources as usize * self.jobs, players);
            }
        }
        self.leaderless.clear();
        self.leaderless.resize(resources as usize, Time::ZERO);
        let preempting = if M::PREEMPTS { (resources as usize, self.instances.len()) } else { (0, 0) };
        self.preemptions.reset(preempting.0, preempting.1);
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
        self.flights.get(id)
    }

    /// All messages under way.
    pub fn flights(&self) -> impl Iterator<Item = (FlightId, &Flight<M>)> {
        self.flights.iter()
    }

    /// The messages that the last action sent, in order.
    pub fn fresh(&self) -> &[FlightId] {
        self.flights.fresh()
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
        self.mark_that_outlives(resource, StoreTime::ZERO)
    }

    /// The same, unless it has expired for everybody: a checker has swept it away by then, a walk has not.
    pub(crate) fn living_mark(&self, resource: u32) -> Option<Mark> {
        self.mark_that_outlives(resource, self.stores.first()?.dead(self.now))
    }

    fn mark_that_outlives(&self, resource: u32, dead: StoreTime) -> Option<Mark> {
        let mut shelf = self.stores.first()?.shelves.get(resource as usize)?.clone();
        M::Store::sweep(&mut shelf, dead);
        M::Store::lock(&mut shelf).copied()
    }

    /// When `id` wants to be woken, in true time; [`Time::MAX`], if it does not, or does not run.
    #[inline(always)]
    pub fn wake_at(&self, id: InstanceId) -> Time {
        let instance = &self.instances[id.index()];
        match instance.machine.deadline(&self.config) {
            Some(deadline) if instance.state == State::Up => instance.clock.when(deadline.as_nanos()),
            Some(_) | None => Time::MAX,
        }
    }

    /// Whether `id` believes that it holds, by its own clock.
    pub fn believes(&self, id: InstanceId) -> bool {
        self.believes_at(id, self.now)
    }

    /// Whether `id`, as it is, would believe at that moment that it holds.
    pub fn believes_at(&self, id: InstanceId, at: Time) -> bool {
        let instance = &self.instances[id.index()];
        let mono = Instant::from_nanos(instance.clock.read(at));
        instance.state != State::Down && instance.machine.belief().is_some_and(|until| mono < until)
    }

    /// Has the monitors count who believes now.
    pub(crate) fn name_believers(&mut self) {
        self.believers.iter_mut().for_each(Vec::clear);
        for index in 0..self.instances.len() {
            let id = InstanceId(index as u32);
            let believes = self.believes(id);
            self.instances[index].believes = believes;
            if believes {
                let guarded = self.guarded_by(id);
                self.believers[guarded].push(id);
            }
        }
    }

    /// Whoever believed what it holds believes so no more.
    pub(crate) fn disbelieve(&mut self, id: InstanceId) {
        if std::mem::take(&mut self.instances[id.index()].believes) {
            let guarded = self.guarded_by(id);
            self.believers[guarded].retain(|&other| other != id);
        }
    }

    /// Whether an instance was asked to close and has not.
    pub fn is_closing(&self, id: InstanceId) -> bool {
        self.runs.is_closing(id) || self.instances[id.index()].part.is_closing()
    }

    /// Whether an instance's caller has said that it is not fit to lead.
    pub fn is_unfit(&self, id: InstanceId) -> bool {
        self.instances[id.index()].part.is_unfit()
    }

    /// Whether an instance waits to be told something about a job.
    pub fn has_asked(&self, id: InstanceId, job: JobId) -> bool {
        self.runs.has_asked(id, job)
    }

    /// How many jobs callers schedule on each resource.
    pub fn jobs(&self) -> u32 {
        self.jobs as u32
    }

    /// Has each instance wait for what is to be answered, after messages changed their names.
    pub(crate) fn await_flights(&mut self) {
        self.instances.iter_mut().for_each(|instance| instance.awaited.clear());
        for (id, flight) in self.flights.iter() {
            if let Some(call) = flight.call.filter(|_| flight.awaited) {
                self.instances[flight.instance.index()].awaited.push((call, id));
            }
        }
    }

    /// What was broken so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Forgets what was broken so far, so that it is noticed anew.
    pub fn forgive(&mut self) {
        self.verdict.clear();
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
    // Where the kind of action is known, nothing is left of this but the call that it ends in.
    #[inline(always)]
    pub fn apply(&mut self, at: Time, action: Action, draw: Draw) {
        debug_assert_eq!(self.check(at, &action), Ok(()), "{action:?} at {at:?}");
        self.now = at;
        self.flights.settle();
        self.told.clear();
        self.touched = None;
        let (kind, who) = code(&action);
        self.digest.word(at.as_nanos());
        self.digest.word(kind.rotate_left(32) ^ u64::from(who));
        self.applied += 1;
        match action {
            Action::Ask(id, ask) => self.ask(id, ask, draw),
            Action::Wake(id) => self.step(id, Input::Wake, draw),
            Action::Serve(id, how) => self.serve(id, how),
            Action::Deliver(id) => self.deliver(id, draw),
            Action::GiveUp(id) => self.give_up(id, draw),
            _ => self.apply_rarely(action),
        }
    }

    /// The memory that its parts take beside itself, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let instances = self.instances.capacity() * size_of::<Instance<M>>();
        let stores = self.stores.capacity() * size_of::<SimStore<M::Store>>();
        instances + stores + self.flights.bytes()
    }

    /// Lets true time pass without an action, and judges what time alone can break.
    pub fn pass_to(&mut self, at: Time) {
        self.now = at;
        self.judge_losses();
    }

    /// Everything that is not the daily business of a run.
    #[cold]
    fn apply_rarely(&mut self, action: Action) {
        match action {
            Action::Ask(..)
            | Action::Wake(_)
            | Action::Serve(..)
            | Action::Deliver(_)
            | Action::GiveUp(_) => {}
            Action::Write(id) => self.write(id),
            Action::Forget(id) => self.note(id, Fault::ForgetUnlock),
            Action::Lose(id) => self.lose(id),
            Action::Duplicate(id) => self.duplicate(id),
            Action::Stall(id) => self.stall(id),
            Action::Pause(id) => self.pause(id, Fault::Pause),
            Action::Suspend(id) => self.pause(id, Fault::Suspend),
            Action::Resume(id) => self.resume(id),
            Action::Crash(id) => self.crash(id),
            Action::Restart(id) => self.restart(id),
            Action::Rejoin(id) => self.rejoin(id),
            Action::SetRate(id, rate) => {
                self.instances[id.index()].clock.set_rate(self.now, rate);
                self.note(id, Fault::Drift);
            }
            Action::Jump(id, nanos) => {
                self.instances[id.index()].clock.jump(nanos);
                self.note(id, Fault::WallJump);
            }
            Action::CutToStore(id, cut) => {
                self.instances[id.index()].to_store_cut = cut;
                self.fire_if(cut, Fault::CutToStore);
            }
            Action::CutFromStore(id, cut) => {
                self.instances[id.index()].from_store_cut = cut;
                self.fire_if(cut, Fault::CutFromStore);
            }
            Action::StorePause(id) => self.pause_store(id),
            Action::StoreResume(id) => {
                let store = &mut self.stores[id.0 as usize];
                (store.paused, store.resumed) = (false, self.now);
            }
            Action::StoreRestart(id) => self.restart_store(id),
            Action::StoreRate(id, rate) => {
                self.stores[id.0 as usize].clock.set_rate(self.now, rate);
                self.stores[id.0 as usize].pending.add(Fault::StoreDrift);
                self.ledger.fire(Fault::StoreDrift);
            }
            Action::Lag(id) => self.stores[id.0 as usize].lag(),
            Action::CatchUp(id) => self.stores[id.0 as usize].replica = None,
            Action::FailOver(id) => self.fail_over(id),
            Action::SetGrain(id, grain) => {
                self.stores[id.0 as usize].set_grain(self.now, grain);
                self.fire_if(grain.early > Span::ZERO, Fault::ExpiryEarly);
                self.fire_if(grain.late > Span::ZERO, Fault::ExpiryLate);
            }
            Action::WipeCounter(id) => {
                self.stores[id.0 as usize].counter = 0;
                self.trouble_for_all(Fault::CounterWiped, id);
            }
            Action::StoreJump(id, nanos) => {
                self.stores[id.0 as usize].set_clock(self.now, nanos);
                self.trouble_for_all(Fault::StoreJump, id);
            }
            Action::Heal => self.healed = self.now,
            Action::End => self.judge_end(),
        }
    }

    fn fire_if(&mut self, fires: bool, fault: Fault) {
        if fires {
            self.ledger.fire(fault);
        }
    }

    /// An instance takes a step, and the world carries out what it wants.
    pub(crate) fn step(&mut self, id: InstanceId, input: Input<M>, draw: Draw) {
        let instance = &mut self.instances[id.index()];
        let now = instance.clock.now(self.now, draw);
        instance.machine.step(&self.config, now, input, &mut self.effects);
        self.ledger.observe(std::mem::take(&mut instance.pending));
        while let Some(effect) = self.effects.pop() {
            match effect {
                Effect::Store { store, call, op } => self.send(id, store, call, op, now.mono),
                other => self.carry_out(id, other, now.mono),
            }
        }
        self.judge_step(id);
    }

    /// Whatever a machine wants but a request.
    #[inline(never)]
    fn carry_out(&mut self, id: InstanceId, effect: Effect<M>, mono: Instant) {
        match effect {
            Effect::Store { .. } => {}
            Effect::Forget(call) => self.forget(id, call),
            Effect::Publish(message) => self.publish(id, message),
            Effect::Event(event) => self.tell(id, M::told(&event), mono),
        }
    }

    fn pause_store(&mut self, id: StoreId) {
        self.stores[id.0 as usize].paused = true;
        self.trouble_for_all(Fault::StorePause, id);
    }

    fn restart_store(&mut self, id: StoreId) {
        self.trouble_for_all(Fault::StoreRestart, id);
        self.lose_all(id);
    }

    fn fail_over(&mut self, id: StoreId) {
        self.stores[id.0 as usize].fail_over();
        self.trouble_for_all(Fault::Failover, id);
        let span = M::ttl(&self.config) * 2 + self.bounds.orphan;
        self.void_for(span);
        self.runs.forget_all(self.now + span);
        self.preemptions.forget_requests();
    }

    /// Something was hit: what may be attempted once only, and was due, may have been.
    pub(crate) fn excuse(&mut self) {
        if M::PLAY == Play::Once && M::attempts(&self.config) == 1 {
            self.runs.excuse(self.now);
        }
    }

    fn trouble_for_all(&mut self, fault: Fault, store: StoreId) {
        self.ledger.fire(fault);
        self.stores[store.0 as usize].pending.add(fault);
        let now = self.now;
        self.instances.iter_mut().for_each(|instance| instance.hit(fault, now));
        self.excuse();
    }
}

/// The identity that is due to an incarnation: no other one has it.
pub(crate) fn identity(index: u32, incarnation: u32) -> Identity {
    Identity((u64::from(index) + 1) << 32 | u64::from(incarnation))
}

/// Whose identity that is, and of which of its incarnations; `None`, if nobody's.
pub(crate) fn parts(identity: Identity) -> Option<(InstanceId, u32)> {
    let index = u32::try_from(identity.0 >> 32).ok()?.checked_sub(1)?;
    Some((InstanceId(index), identity.0 as u32))
}
