//! Messages under way: sent, served, delivered, lost.

use std::hash::Hash;

use fencepost::machine::{AnswerOf, Input, Machine, OpOf};
use fencepost::store::{Protocol, StoreId};
use fencepost::time::{Draw, Instant, StoreTime};
use serde::{Deserialize, Serialize};

use super::{Service, Stage, State, World};
use crate::clock::Time;
use crate::fault::{Fault, FaultSet};
use crate::store::{Serving, Simulated, Tag, Touch};
use crate::subject::{InstanceId, Subject};

/// Names a message or request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(pub u32);

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
    /// Nowhere any more: its place is free for another message.
    Landed,
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
    /// Over.
    Landed,
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
    pub(super) sent_mono: Instant,
    /// The trouble its instance was in when it was sent.
    pub(super) trouble: u32,
    pub(super) awaited: bool,
    /// The store refused it for an entry of the same acquisition.
    pub(super) refused_by_itself: bool,
    /// It prolonged the entry of its own acquisition.
    pub(super) prolonged: bool,
    pub(super) faults: FaultSet,
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
            Leg::Landed => LegKind::Landed,
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

impl<M: Subject> World<M> {
    pub(super) fn launch(&mut self, flight: Flight<M>) -> FlightId {
        let id = match self.free.pop() {
            Some(id) => {
                self.flights[id.0 as usize] = flight;
                id
            }
            None => {
                self.flights.push(flight);
                FlightId(self.flights.len() as u32 - 1)
            }
        };
        self.fresh.push(id);
        id
    }

    pub(super) fn new_flight(
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

    pub(super) fn send(&mut self, id: InstanceId, store: StoreId, call: M::Call, op: OpOf<M>, mono: Instant) {
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
    pub(super) fn forget(&mut self, id: InstanceId, call: M::Call) {
        let awaited = &mut self.instances[id.index()].awaited;
        if let Some(at) = awaited.iter().position(|(other, _)| *other == call) {
            let (_, flight) = awaited.swap_remove(at);
            self.disown(flight);
        }
    }

    pub(super) fn disown(&mut self, id: FlightId) {
        let flight = &mut self.flights[id.0 as usize];
        flight.awaited = false;
        self.ledger.observe(flight.faults);
        if !matches!(flight.leg, Leg::Request(_)) {
            self.land(id);
        }
    }

    /// A message has come to its end.
    #[inline]
    pub(super) fn land(&mut self, id: FlightId) -> Leg<M> {
        self.free.push(id);
        std::mem::replace(&mut self.flights[id.0 as usize].leg, Leg::Landed)
    }

    pub(super) fn publish(&mut self, id: InstanceId, message: M::Message) {
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

    pub(super) fn write(&mut self, id: InstanceId) {
        let instance = &self.instances[id.index()];
        let Some(token) = instance.caller.token.filter(|_| self.believes(id)) else { return };
        let flight = self.new_flight(id, StoreId::default(), None, Leg::Write(token.0), Instant::ZERO);
        self.launch(flight);
    }

    pub(super) fn serve(&mut self, id: FlightId, how: Service) {
        let flight = &mut self.flights[id.0 as usize];
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
                answer.hash(&mut self.digest);
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
        if !flight.awaited {
            self.land(id);
        }
        if let Some((touch, to_lock)) = touched {
            self.touched = Some((tag, touch, to_lock));
            self.note_touch(id, touch, to_lock, how);
        }
    }

    /// Keeps what the monitors need to know about an entry's owner, and lets them judge.
    #[inline]
    pub(super) fn note_touch(&mut self, id: FlightId, touch: Touch, to_lock: bool, how: Service) {
        let flight = &mut self.flights[id.0 as usize];
        let owner = flight.instance.index();
        match touch {
            Touch::None => return,
            Touch::Refused(mark) if mark.by != flight.tag && mark.abandoned == Time::MAX => return,
            Touch::Refused(mark) => {
                flight.refused_by_itself = to_lock && mark.by == flight.tag && how == Service::Done;
            }
            Touch::Wrote(_) if to_lock => self.instances[owner].touched = self.now,
            Touch::Renewed(mark) if to_lock && mark.by == flight.tag => {
                flight.prolonged = true;
                self.instances[owner].touched = self.now;
            }
            Touch::Wrote(_) | Touch::Renewed(_) | Touch::Deleted(_) => {}
        }
        self.judge_touch(id, touch, to_lock);
    }

    #[inline]
    pub(super) fn deliver(&mut self, id: FlightId, draw: Draw) {
        let flight = &self.flights[id.0 as usize];
        let (instance, acquisition, faults) = (flight.instance, flight.tag.acquisition, flight.faults);
        if matches!(flight.leg, Leg::Reply(..)) && self.instances[instance.index()].from_store_cut {
            return self.lose_to(id, Fault::CutFromStore);
        }
        let leg = self.land(id);
        self.ledger.observe(faults);
        match leg {
            Leg::Reply(answer, at) => self.reply(id, answer, at, draw),
            Leg::Hint(message) => {
                if self.instances[instance.index()].state == State::Up {
                    self.step(instance, Input::Message(message), draw);
                }
            }
            Leg::Write(token) => self.judge_write(instance, token, acquisition),
            Leg::Request(_) | Leg::Lost | Leg::Landed => {}
        }
    }

    /// A reply that is still awaited has arrived; its flight has just landed.
    pub(super) fn reply(&mut self, id: FlightId, answer: AnswerOf<M>, at: StoreTime, draw: Draw) {
        let flight = &self.flights[id.0 as usize];
        let (Some(call), instance_id) = (flight.call, flight.instance) else { return };
        let (faults, trouble, tag, store) = (flight.faults, flight.trouble, flight.tag, flight.store);
        let (refused_by_itself, prolonged) = (flight.refused_by_itself, flight.prolonged);
        let (sent, sent_mono) = (flight.sent, flight.sent_mono);
        let instance = &mut self.instances[instance_id.index()];
        if let Some(at) = instance.awaited.iter().position(|(_, other)| *other == id) {
            instance.awaited.swap_remove(at);
        }
        if refused_by_itself {
            let shelf = &mut self.stores[store.0 as usize].shelves[instance.resource as usize];
            if let Some(mark) = M::Store::lock(shelf)
                && mark.by == tag
                && mark.noticed == Time::MAX
            {
                (mark.noticed, instance.trouble_at_notice) = (self.now, instance.trouble);
            }
        }
        let prolonged = prolonged && instance.caller.stage == Stage::Holding;
        if prolonged {
            instance.lease_end = instance.lease_end.max(sent_mono + M::ttl(&self.config));
        }
        self.step(instance_id, Input::Reply { call, answer, at }, draw);
        let timely = self.now <= sent + self.bounds.delay * 2;
        if prolonged && timely && faults.is_empty() {
            let instance = &mut self.instances[instance_id.index()];
            instance.trouble = instance.trouble.saturating_sub(trouble);
            if instance.trouble == 0 {
                instance.setbacks = FaultSet::NONE;
            }
        }
    }

    pub(super) fn give_up(&mut self, id: FlightId, draw: Draw) {
        let flight = &mut self.flights[id.0 as usize];
        let (instance, call) = (flight.instance, flight.call);
        self.instances[instance.index()].awaited.retain(|(_, other)| *other != id);
        self.disown(id);
        if let Some(call) = call {
            let input = Input::Reply { call, answer: M::Store::unknown(), at: StoreTime::ZERO };
            self.step(instance, input, draw);
        }
    }

    pub(super) fn lose(&mut self, id: FlightId) {
        let fault = match self.flight(id).map(Flight::kind) {
            Some(LegKind::Request) => Fault::RequestLost,
            Some(LegKind::Hint) => Fault::HintLost,
            Some(LegKind::Reply | LegKind::Lost | LegKind::Write | LegKind::Landed) | None => {
                Fault::ReplyLost
            }
        };
        self.ledger.fire(fault);
        self.lose_to(id, fault);
    }

    pub(super) fn lose_to(&mut self, id: FlightId, fault: Fault) {
        let flight = &mut self.flights[id.0 as usize];
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

    pub(super) fn duplicate(&mut self, id: FlightId) {
        let flight = &self.flights[id.0 as usize];
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

    pub(super) fn stall(&mut self, id: FlightId) {
        let flight = &mut self.flights[id.0 as usize];
        flight.stalled = true;
        let fault = if matches!(flight.leg, Leg::Hint(_)) { Fault::HintLate } else { Fault::Delay };
        flight.faults.add(fault);
        self.ledger.fire(fault);
        if flight.awaited {
            self.instances[flight.instance.index()].hit(fault);
        }
    }

    pub(super) fn lose_all(&mut self, store: StoreId) {
        for index in 0..self.flights.len() {
            let id = FlightId(index as u32);
            let concerned =
                self.flight(id).is_some_and(|flight| flight.store == store && flight.call.is_some());
            if concerned {
                self.lose_to(id, Fault::StoreRestart);
            }
        }
    }

    /// Who sent a message, and what has happened to it; also if it has just landed.
    pub(crate) fn sender(&self, id: FlightId) -> (Tag, FaultSet) {
        let flight = &self.flights[id.0 as usize];
        (flight.tag, flight.faults)
    }

    /// On whose behalf a request was sent, when, and whether it is a copy; also if it has just landed.
    pub(crate) fn claim(&self, id: FlightId) -> (Tag, Time, bool) {
        let flight = &self.flights[id.0 as usize];
        (flight.tag, flight.sent, flight.is_copy)
    }
}
