//! The simulator: one queue of events, moved by seeded streams of randomness.
//!
//! A run has a stormy phase; then everything heals and a calm phase shows that healthy holders keep their locks;
//! then callers stop asking, and whoever still waits must get in before the end.

mod callers;
mod parts;
mod rarely;
mod reference;
mod storm;
mod takeover;
mod writers;

use fencepost::time::{Draw, Span};
use fencepost_models::clock::Time;
use fencepost_models::property::PropertySet;
use fencepost_models::subject::{InstanceId, Play, Subject};
use fencepost_models::trace::{Step, describe};
use fencepost_models::world::{Action, FlightId, Leg, LegKind, Service, State, World};
use rand::Rng;

pub use parts::Outcome;
use parts::{Fate, RUNG, Seat, Streams};
pub use reference::Reference;
pub(crate) use takeover::take_over;
pub use takeover::{End, Takeovers};

use crate::queue::{Due, Queue};
use crate::scenario::{DELAY_MIN, Scenario, up_to};
use crate::timers::Timers;

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
    /// Until then, reads are answered by an error.
    reads_fail_until: Time,
    /// What was decided while an action was being followed up, and is applied right after it.
    at_once: Vec<Action>,
    steps: Option<Vec<Step>>,
    acquisitions: u64,
    healed: bool,
    /// Whether anything may go wrong now.
    is_stormy: bool,
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
            reads_fail_until: Time::ZERO,
            at_once: Vec::new(),
            steps: None,
            acquisitions: 0,
            healed: false,
            is_stormy: false,
        }
    }

    /// Runs one seed. With `record`, the steps are kept.
    pub(crate) fn run(&mut self, seed: u64, scenario: Scenario<M::Config>, record: bool) -> Outcome {
        self.begin(seed, scenario, record);
        while self.advance() {}
        self.act(self.scenario.end.max(self.world.now()), Action::End);
        self.outcome()
    }

    /// When something happens next.
    #[inline]
    fn next_at(&self) -> Time {
        self.timers.first().min(self.queue.first())
    }

    /// Lets the next thing happen; false, if the run is over before.
    #[inline(always)]
    fn advance(&mut self) -> bool {
        let (timer, entry) = (self.timers.first(), self.queue.first());
        if timer.min(entry) > self.scenario.end {
            return false;
        }
        if timer <= entry {
            self.ring(timer);
        } else {
            self.happen(entry);
        }
        true
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
        self.reads_fail_until = Time::ZERO;
        self.seats.clear();
        self.seats.resize(self.scenario.setup.instances as usize, Seat::IDLE);
        self.timers.reset(self.scenario.setup.instances);
        self.steps = record.then(Vec::new);
        self.acquisitions = 0;
        self.healed = false;
        self.is_stormy = !self.scenario.faults.is_empty();
        for index in 0..self.scenario.setup.instances {
            self.think(InstanceId(index));
            match M::PLAY {
                Play::Lock | Play::Job | Play::Write => {}
                Play::Once => self.plan_jobs(InstanceId(index)),
                Play::Lead if self.scenario.workload.varied => self.plan_leadership(InstanceId(index)),
                Play::Lead => {}
            }
        }
        if M::PLAY == Play::Write && self.scenario.workload.varied {
            self.plan_wishes();
        }
        if self.scenario.heal < self.scenario.end {
            self.queue.push(self.scenario.heal, Due::Heal);
        }
        self.brew();
    }

    /// The first timer is due: a machine's before its caller's.
    #[inline]
    fn ring(&mut self, at: Time) {
        let id = InstanceId(self.timers.due());
        let seat = &mut self.seats[id.index()];
        if seat.wake != at {
            self.ring_ask(at, id);
        } else if self.world.instance(id).state == State::Up {
            // The step sets it anew.
            seat.due = RUNG;
            self.move_machine(at, Action::Wake(id), id);
            self.act_at_once(at);
        } else {
            (seat.due, seat.wake) = (Time::MAX, Time::MAX);
            self.timers.set(id.0, seat.first());
        }
    }

    /// The first entry of the queue is due.
    #[inline]
    fn happen(&mut self, at: Time) {
        match self.queue.pop() {
            Some((Due::Arrival(slot), ticket)) if self.fates[slot as usize].ticket == ticket => {
                self.arrive(at, FlightId(slot));
            }
            // The message was given another arrival, or is gone.
            Some((Due::Arrival(_), _)) | None => {}
            Some((due, _)) => self.happen_rarely(at, due),
        }
    }

    /// Applies an action and schedules what follows from it. The daily business of a run takes shorter ways.
    #[inline(never)]
    fn act(&mut self, at: Time, action: Action) {
        match action {
            Action::Ask(id, ask) => {
                self.move_machine(at, action, id);
                self.follow_writing(id, ask);
            }
            Action::Wake(id) => self.move_machine(at, action, id),
            Action::Deliver(id) | Action::GiveUp(id) => {
                if let Some(instance) = self.world.flight(id).map(|flight| flight.instance) {
                    self.move_machine(at, action, instance);
                    self.notice_loss(id);
                }
            }
            _ => self.act_rarely(at, action),
        }
        self.act_at_once(at);
    }

    /// Applies what was decided while an action was being followed up.
    #[inline]
    fn act_at_once(&mut self, at: Time) {
        while let Some(action) = self.at_once.pop() {
            self.act(at, action);
        }
    }

    #[inline(always)]
    fn apply(&mut self, at: Time, action: Action, draw: Draw) {
        if self.steps.is_some() {
            self.record(at, action, draw);
        }
        self.world.apply(at, action, draw);
    }

    #[cold]
    fn record(&mut self, at: Time, action: Action, draw: Draw) {
        let step = Step { t: at, draw, deed: describe(&self.world, &action) };
        if let Some(steps) = &mut self.steps {
            steps.push(step);
        }
    }

    /// An action that lets a machine take a step: what it sends is dispatched, what it tells is heard.
    #[inline(always)]
    fn move_machine(&mut self, at: Time, action: Action, id: InstanceId) {
        let draw = Draw(self.streams.draws.next_u32());
        self.apply(at, action, draw);
        self.follow_up(id);
    }

    /// What follows from a step: what it sent is under way, what it told was heard, and its timer is set.
    // Inlined with what it calls: most events end here.
    #[inline(always)]
    fn follow_up(&mut self, id: InstanceId) {
        self.dispatch_fresh();
        if !self.world.told().is_empty() {
            self.hear();
        }
        self.arm(id);
    }

    #[inline]
    fn dispatch_fresh(&mut self) {
        let mut index = 0;
        while let Some(&id) = self.world.fresh().get(index) {
            self.dispatch(id);
            index += 1;
        }
    }

    #[inline(never)]
    fn hear(&mut self) {
        let mut index = 0;
        while let Some(&(id, told)) = self.world.told().get(index) {
            self.told(id, told);
            index += 1;
        }
    }

    /// Sets the timer of an instance to its machine's deadline.
    #[inline(always)]
    fn arm(&mut self, id: InstanceId) {
        let due = self.world.wake_at(id);
        let seat = &mut self.seats[id.index()];
        if std::mem::replace(&mut seat.due, due) == due && due != RUNG {
            return;
        }
        let slack = self.scenario.setup.bounds.slack;
        let late = if slack == Span::ZERO { slack } else { up_to(&mut self.streams.timers, slack) };
        seat.wake = if due == Time::MAX { due } else { (due + late).max(self.world.now()) };
        self.timers.set(id.0, seat.first());
    }

    /// A request was served: its reply is under way, or it was lost.
    #[inline(always)]
    fn onward(&mut self, id: FlightId) {
        if self.world.flight(id).is_some_and(|flight| matches!(flight.leg, Leg::Reply(..))) {
            self.dispatch(id);
        } else {
            self.notice_loss(id);
        }
    }

    #[inline]
    fn notice_loss(&mut self, id: FlightId) {
        if self.world.flight(id).is_some_and(|flight| flight.kind() == LegKind::Lost) {
            self.await_nothing(id);
        }
    }

    /// Decides on the fate of a message and queues its arrival.
    #[inline(always)]
    fn dispatch(&mut self, id: FlightId) {
        let bounds = &self.scenario.setup.bounds;
        let spread = bounds.delay.minus(DELAY_MIN);
        let delay = DELAY_MIN + up_to(&mut self.streams.delays, spread);
        let delay = if self.is_stormy { self.dispatch_in_storm(id, delay) } else { delay };
        self.queue_arrival(id, self.world.now() + delay);
    }

    #[inline(always)]
    fn queue_arrival(&mut self, id: FlightId, at: Time) {
        let ticket = self.queue.push(at, Due::Arrival(id.0));
        match self.fates.get_mut(id.0 as usize) {
            Some(fate) => fate.ticket = ticket,
            None => self.fate(id).ticket = ticket,
        }
    }

    /// What was decided about a message; room for it is made when it is the first of its number.
    #[inline(never)]
    fn fate(&mut self, id: FlightId) -> &mut Fate {
        let index = id.0 as usize;
        if self.fates.len() <= index {
            self.fates.resize(index + 1, Fate::NONE);
        }
        &mut self.fates[index]
    }

    #[inline]
    fn arrive(&mut self, at: Time, id: FlightId) {
        let Some(flight) = self.world.flight(id) else { return };
        let instance = flight.instance;
        if self.is_stormy {
            return self.arrive_in_storm(at, id);
        }
        if matches!(flight.leg, Leg::Request(_)) {
            self.apply(at, Action::Serve(id, Service::Done), Draw(0));
            self.onward(id);
        } else if matches!(flight.leg, Leg::Lost) {
            self.act(at, Action::GiveUp(id));
        } else {
            self.move_machine(at, Action::Deliver(id), instance);
        }
    }
}
