//! Instances and the callers who use them.

use std::fmt;

use fencepost::machine::{Identity, Input, Machine};
use fencepost::store::FencingToken;
use fencepost::time::{Draw, Instant, Span};

use super::action::{ask_code, told_code};
use super::{FlightId, World, identity};
use crate::clock::{Clock, Rate, Time};
use crate::fault::{Fault, FaultSet};
use crate::leads::Part;
use crate::property::Fate;
use crate::store::{Simulated, Tag};
use crate::subject::{Ask, InstanceId, Play, Subject, Told};

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
    /// Whether it would wait for ever: it set no deadline, and has not stopped waiting.
    pub patient: bool,
    /// Its token.
    pub token: Option<FencingToken>,
}

/// One instance.
#[derive(Debug)]
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
    pub(crate) incarnation: u32,
    /// The name of this incarnation.
    pub(crate) identity: Identity,
    /// When it last began to run.
    pub(crate) resumed: Time,
    pub(crate) awaited: Vec<(M::Call, FlightId)>,
    pub(crate) to_store_cut: bool,
    pub(crate) from_store_cut: bool,
    /// Whether the monitors count it among the believers.
    pub(crate) believes: bool,
    /// When its lease ends at the latest, on its own clock.
    pub(crate) lease_end: Instant,
    pub(crate) fate: Fate,
    /// Its entry was stored for a shorter time than was promised.
    pub(crate) cut_short: bool,
    /// What hit it since it was granted the lock or last renewed cleanly.
    pub(crate) setbacks: FaultSet,
    /// How many requests that may have cost since it asked or last renewed cleanly; a heavy fault counts twice.
    pub(crate) trouble: u32,
    /// When something last hit it, or it went on after that.
    pub(crate) hit_at: Time,
    /// The same, since its lock's entry was written: what may keep it from hearing that it should yield.
    pub(crate) hit_in_possession: Time,
    /// How much of that there was when it was last refused by its own entry.
    pub(crate) trouble_at_notice: u32,
    /// What it has not met yet.
    pub(crate) pending: FaultSet,
    /// Its part in leadership.
    pub(crate) part: Part,
}

impl<M: Machine> Clone for Instance<M> {
    fn clone(&self) -> Instance<M> {
        self.awaiting(self.awaited.clone())
    }

    /// A checker copies one over another for every step it tries: that allocates nothing.
    fn clone_from(&mut self, other: &Instance<M>) {
        let mut awaited = std::mem::take(&mut self.awaited);
        awaited.clone_from(&other.awaited);
        *self = other.awaiting(awaited);
    }
}

impl<M: Machine> Instance<M> {
    /// The same, but for what it waits for.
    pub(crate) fn awaiting(&self, awaited: Vec<(M::Call, FlightId)>) -> Instance<M> {
        let machine = self.machine.clone();
        Instance { machine, clock: self.clock.clone(), caller: self.caller.clone(), awaited, ..*self }
    }

    pub(super) fn new(machine: M, identity: Identity, resource: u32, clock: Clock) -> Instance<M> {
        let (stage, acquisition, asked, deadline) = (Stage::Idle, 0, Time::ZERO, Instant::MAX);
        Instance {
            machine,
            clock,
            state: State::Up,
            caller: Caller { stage, acquisition, asked, deadline, patient: false, token: None },
            resource,
            incarnation: 0,
            identity,
            resumed: Time::ZERO,
            awaited: Vec::new(),
            to_store_cut: false,
            from_store_cut: false,
            believes: false,
            lease_end: Instant::MAX,
            fate: Fate::default(),
            cut_short: false,
            setbacks: FaultSet::NONE,
            trouble: 0,
            hit_at: Time::ZERO,
            hit_in_possession: Time::ZERO,
            trouble_at_notice: 0,
            pending: FaultSet::NONE,
            part: Part::default(),
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
    #[inline]
    pub(super) fn ongoing(&self, store_paused: bool) -> FaultSet {
        let conditions = [
            (store_paused, Fault::StorePause),
            (self.to_store_cut, Fault::CutToStore),
            (self.from_store_cut, Fault::CutFromStore),
        ];
        conditions.into_iter().filter(|(holds, _)| *holds).map(|(_, fault)| fault).collect()
    }

    /// Nobody waits for the reply to this call any more. Gives the request that it was waited for.
    #[inline]
    pub(super) fn stop_awaiting(&mut self, call: M::Call) -> Option<FlightId> {
        let at = self.awaited.iter().position(|(other, _)| *other == call)?;
        Some(self.awaited.swap_remove(at).1)
    }

    /// What its present acquisition is called, where this is the instance `id`.
    #[inline]
    pub(crate) fn tag(&self, id: InstanceId) -> Tag {
        Tag { instance: id, acquisition: self.caller.acquisition }
    }

    /// Whether that acquisition still wants its entry.
    #[inline]
    pub(crate) fn wants(&self, acquisition: u32) -> bool {
        self.caller.acquisition == acquisition
            && matches!(self.caller.stage, Stage::Waiting | Stage::Holding)
            && self.state != State::Down
    }

    /// A clean renewal has made good for so much trouble.
    pub(super) fn recover(&mut self, trouble: u32) {
        self.trouble = self.trouble.saturating_sub(trouble);
        if self.trouble == 0 {
            self.setbacks = FaultSet::NONE;
        }
    }

    /// It goes on from now on, after whatever hit it.
    fn resumes(&mut self, now: Time) {
        self.resumed = now;
        (self.hit_at, self.hit_in_possession) = (now, now);
    }

    pub(super) fn hit(&mut self, fault: Fault, now: Time) {
        (self.hit_at, self.hit_in_possession) = (now, now);
        self.setbacks.add(fault);
        self.trouble += if fault.is_heavy() { 2 } else { 1 };
    }
}

impl<M: Subject> World<M> {
    pub(super) fn ask(&mut self, id: InstanceId, ask: Ask, draw: Draw) {
        let now = self.now;
        self.digest.word(ask_code(ask));
        let instance = &mut self.instances[id.index()];
        let caller = &mut instance.caller;
        match ask {
            Ask::Lock | Ask::TryLock | Ask::LockFor(_) | Ask::Start if caller.stage == Stage::Idle => {
                caller.stage = Stage::Waiting;
                caller.acquisition += 1;
                caller.asked = now;
                caller.patient = ask == Ask::Lock;
                caller.deadline = match ask {
                    Ask::LockFor(span) => Instant::from_nanos(instance.clock.read(now)) + span,
                    _ => Instant::MAX,
                };
                let ongoing = instance.ongoing(self.stores[0].paused);
                (instance.setbacks, instance.trouble) = (ongoing, if ongoing.is_empty() { 0 } else { 2 });
            }
            Ask::Unlock | Ask::UnlockAgain | Ask::Finish(_) if caller.stage == Stage::Holding => {
                self.leave(id);
            }
            // An unlock of nothing is no part of what was disturbed before.
            Ask::UnlockAgain if M::PREEMPTS && caller.stage == Stage::Idle => instance.trouble = 0,
            // Whoever leads is to lead no more.
            Ask::Fit(false) if caller.stage == Stage::Holding => self.leave(id),
            Ask::Cancel | Ask::Close => {
                caller.patient = false;
                self.note(id, Fault::Cancel);
            }
            Ask::Lock
            | Ask::TryLock
            | Ask::LockFor(_)
            | Ask::Unlock
            | Ask::UnlockAgain
            | Ask::Extend
            | Ask::Start
            | Ask::Finish(_)
            | Ask::Schedule(..)
            | Ask::Reschedule(..)
            | Ask::Withdraw(_)
            | Ask::Fit(_)
            | Ask::Petition
            | Ask::Object(..)
            | Ask::Expire
            | Ask::Missed => {}
        }
        self.note_ask(id, ask);
        if self.watches_preemption() {
            self.note_want(id, ask);
        }
        if ask == Ask::UnlockAgain {
            self.note(id, Fault::UnlockTwice);
        }
        if let Ask::Object(job, what) = ask {
            return self.note_writing(id, job, what, draw);
        }
        if let Some(request) = M::request(ask) {
            self.step(id, Input::Request(request), draw);
        }
    }

    /// A caller ends what it was granted, with a last write.
    pub(crate) fn leave(&mut self, id: InstanceId) {
        let now = self.now;
        let caller = &mut self.instances[id.index()].caller;
        let last_write = caller.token.map(|token| (token.0, caller.acquisition));
        (caller.stage, caller.asked) = (Stage::Leaving, now);
        if let Some((token, acquisition)) = last_write.filter(|_| self.believes(id)) {
            self.judge_write(id, self.guarded_by(id), token, acquisition);
        }
        self.abandon(id);
    }

    pub(super) fn tell(&mut self, id: InstanceId, told: Told, mono: Instant) {
        self.judge_told(id, told);
        self.digest.word(told_code(told));
        self.told.push((id, told));
        let ttl = M::ttl(&self.config);
        match told {
            Told::Acquired(token) => {
                self.hold(id, token, mono + ttl);
                if M::IS_RECORDED {
                    self.take_lease_for_belief(id);
                }
            }
            // Of jobs that are each run under a lock of its own, no monitor follows the locks.
            Told::Began(run) if M::PLAY == Play::Once => self.hold(id, run.token, Instant::MAX),
            Told::Began(run) => self.hold(id, run.token, mono + ttl),
            Told::Ended => self.go_on(id),
            Told::Released | Told::Lost if M::PLAY == Play::Lead => self.end_term(id),
            Told::Denied | Told::Preempted | Told::Ousted | Told::Released | Told::Lost | Told::Closed => {
                self.abandon(id);
                self.instances[id.index()].caller.stage = Stage::Idle;
            }
            Told::Panicked => self.crash(id),
            // Its callback has still to end, and knows it.
            Told::Interrupted => {
                self.instances[id.index()].lease_end = Instant::MAX;
                self.excuse();
            }
            Told::Writer(tidings) => self.hear_writer(id, tidings, mono),
            Told::Extended if M::IS_RECORDED => self.take_lease_for_belief(id),
            Told::Extended
            | Told::Asked
            | Told::Rejected
            | Told::Accepted(..)
            | Told::Declined(_)
            | Told::Leads(_)
            | Told::Petitioned
            | Told::Answered
            | Told::GaveUp(_) => {}
        }
    }

    /// A caller holds, or its callback begins: it writes to what its token guards.
    fn hold(&mut self, id: InstanceId, token: Option<FencingToken>, lease_end: Instant) {
        let instance = &mut self.instances[id.index()];
        (instance.caller.stage, instance.caller.token) = (Stage::Holding, token);
        instance.lease_end = lease_end;
        if M::PREEMPTS {
            // What hit it before keeps it from nothing any more.
            instance.hit_at = Time::ZERO;
        }
        if let Some(token) = token {
            let acquisition = instance.caller.acquisition;
            self.judge_write(id, self.guarded_by(id), token.0, acquisition);
        }
    }

    /// Nobody saw the renewals of a recorded holder: what its handle last said is all that is known of its lease.
    fn take_lease_for_belief(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id.index()];
        instance.lease_end = instance.machine.belief().unwrap_or(instance.lease_end);
    }

    /// A run is settled, and whoever takes part waits for the next one: that is another acquisition.
    fn go_on(&mut self, id: InstanceId) {
        self.abandon(id);
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        let caller = &mut instance.caller;
        (caller.stage, caller.asked, caller.token) = (Stage::Waiting, now, None);
        caller.acquisition += 1;
    }

    /// A leader leads no more. It takes part in the next election, unless it closes.
    fn end_term(&mut self, id: InstanceId) {
        if self.is_closing(id) {
            self.abandon(id);
            self.instances[id.index()].caller.stage = Stage::Leaving;
        } else {
            self.go_on(id);
        }
    }

    /// From now on nobody wants the entry of the present acquisition of `id`.
    pub(crate) fn abandon(&mut self, id: InstanceId) {
        let instance = &self.instances[id.index()];
        let tag = instance.tag(id);
        for store in &mut self.stores {
            // A replica that takes over later brings the entry back, but nobody who wants it.
            for shelves in [Some(&mut store.shelves), store.replica.as_mut()].into_iter().flatten() {
                if let Some(mark) = M::Store::lock(&mut shelves[instance.resource as usize])
                    && mark.by == tag
                {
                    mark.abandoned = mark.abandoned.min(self.now);
                }
            }
        }
    }

    /// A fault that its instance meets at its next step.
    pub(crate) fn note(&mut self, id: InstanceId, fault: Fault) {
        self.ledger.fire(fault);
        self.instances[id.index()].pending.add(fault);
    }

    pub(super) fn pause(&mut self, id: InstanceId, fault: Fault) {
        self.note(id, fault);
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        instance.state = State::Paused;
        instance.hit(fault, now);
        if fault == Fault::Suspend {
            instance.clock.set_rate(now, Rate::STOPPED);
            self.void_until = Time::MAX;
        }
        self.excuse();
    }

    pub(super) fn resume(&mut self, id: InstanceId) {
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        instance.state = State::Up;
        instance.resumes(now);
        self.start_clock(id);
    }

    /// A suspended instance's clock goes on; once its old beliefs are over, exclusion is promised again.
    pub(super) fn start_clock(&mut self, id: InstanceId) {
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

    pub(super) fn crash(&mut self, id: InstanceId) {
        self.abandon(id);
        self.start_clock(id);
        let now = self.now;
        self.note_death_of_part(id);
        let instance = &mut self.instances[id.index()];
        instance.state = State::Down;
        instance.resumed = now;
        instance.caller.stage = Stage::Idle;
        instance.caller.token = None;
        instance.hit(Fault::Crash, now);
        self.disbelieve(id);
        self.runs.died(id);
        self.preemptions.died(id);
        self.excuse();
        let awaited = std::mem::take(&mut self.instances[id.index()].awaited);
        for (_, flight) in awaited {
            self.ledger.observe(self.flights.disown(flight));
        }
        if self.applied_is_fault(id) {
            self.ledger.fire(Fault::Crash);
        }
    }

    /// A machine that panicked has not been hit by a fault.
    pub(super) fn applied_is_fault(&self, id: InstanceId) -> bool {
        !self.told.iter().any(|(other, told)| *other == id && *told == Told::Panicked)
    }

    pub(super) fn restart(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id.index()];
        instance.identity = identity(id.0, instance.incarnation + 1);
        self.begin_again(id);
    }

    /// A host that names an incarnation as it named the last one neglects its first duty.
    pub(super) fn rejoin(&mut self, id: InstanceId) {
        self.note(id, Fault::IdentityReused);
        let now = self.now;
        self.instances[id.index()].hit(Fault::IdentityReused, now);
        self.begin_again(id);
    }

    fn begin_again(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id.index()];
        instance.incarnation += 1;
        instance.machine = M::new(&self.config, instance.identity);
        instance.state = State::Up;
        instance.resumes(self.now);
        instance.clock.set_rate(self.now, Rate::TRUE);
        instance.pending.add(Fault::Crash);
        (instance.to_store_cut, instance.from_store_cut) = (false, false);
    }
}
