//! What happens to messages: they are sent, served, delivered, lost.

use std::hash::Hash;

use fencepost::machine::{Input, OpOf};
use fencepost::store::{Protocol, StoreId};
use fencepost::time::{Draw, Instant, StoreTime};

use super::{Flight, FlightId, Leg, LegKind, Service, Stage, State, World};
use crate::clock::Time;
use crate::fault::{Fault, FaultSet};
use crate::store::{Serving, Simulated, Tag, Touch};
use crate::subject::{InstanceId, Subject};

impl<M: Subject> World<M> {
    #[inline]
    pub(super) fn send(&mut self, id: InstanceId, store: StoreId, call: M::Call, op: OpOf<M>, mono: Instant) {
        let instance = &mut self.instances[id.index()];
        if let Some(superseded) = instance.stop_awaiting(call) {
            self.ledger.observe(self.flights.disown(superseded));
        }
        if instance.caller.stage == Stage::Waiting {
            // What matters of a wait is what hit the attempt that succeeds.
            instance.setbacks = instance.ongoing(self.stores[store.0 as usize].paused);
        }
        let request = Flight::new(self.now, id, instance, Leg::Request(op));
        let request = Flight { store, call: Some(call), sent_mono: mono, awaited: true, ..request };
        let flight = self.flights.launch(request);
        instance.awaited.push((call, flight));
    }

    /// Nobody waits for the reply to this call any more.
    pub(super) fn forget(&mut self, id: InstanceId, call: M::Call) {
        if let Some(flight) = self.instances[id.index()].stop_awaiting(call) {
            self.ledger.observe(self.flights.disown(flight));
        }
    }

    pub(super) fn publish(&mut self, id: InstanceId, message: M::Message) {
        if !self.hints {
            return;
        }
        let resource = self.instances[id.index()].resource;
        let step = self.stores[0].shelves.len();
        for index in (resource as usize..self.instances.len()).step_by(step) {
            let peer = InstanceId(index as u32);
            if peer != id && self.instances[index].state != State::Down && !self.is_merged(peer, &message) {
                let leg = Leg::Hint(message.clone());
                self.flights.launch(Flight::new(self.now, peer, &self.instances[index], leg));
            }
        }
    }

    /// Whether a hint's like is on its way to `peer` and takes no longer than it should.
    fn is_merged(&self, peer: InstanceId, message: &M::Message) -> bool {
        let is_like = |flight: &Flight<M>| {
            flight.instance == peer
                && !flight.stalled
                && matches!(&flight.leg, Leg::Hint(other) if other == message)
        };
        self.merges_hints && self.flights.iter().any(|(_, flight)| is_like(flight))
    }

    pub(super) fn write(&mut self, id: InstanceId) {
        let instance = &self.instances[id.index()];
        let Some(token) = instance.caller.token.filter(|_| self.believes(id)) else { return };
        let leg = Leg::Write { resource: self.guarded_by(id) as u32, token: token.0 };
        self.flights.launch(Flight::new(self.now, id, instance, leg));
    }

    /// A request has arrived at its store.
    pub(super) fn serve(&mut self, id: FlightId, how: Service) {
        let flight = &mut self.flights[id];
        let sender = &self.instances[flight.instance.index()];
        if sender.to_store_cut {
            return self.lose_to(id, Fault::CutToStore);
        }
        let store = &mut self.stores[flight.store.0 as usize];
        self.ledger.observe(std::mem::take(&mut store.pending));
        flight.since = self.now;
        if matches!(how, Service::ErrorBefore | Service::ReadError) {
            // The error is the answer.
            return self.note_service(id, how, false);
        }
        let at = store.now(self.now);
        let Leg::Request(op) = &flight.leg else { return };
        let replica = if how == Service::Stale { store.replica.as_mut() } else { None };
        let shelves = replica.unwrap_or(&mut store.shelves);
        let mut serving = Serving {
            now: at,
            truth: self.now,
            age: self.now.since(flight.sent),
            by: flight.tag,
            wanted: sender.wants(flight.tag.acquisition),
            grain: store.grain,
            counter: &mut store.counter,
            keys: store.keys.as_mut(),
            touch: Touch::None,
            to_lock: false,
            request: None,
            grain_seen: false,
        };
        let answer = M::Store::serve(op, &mut shelves[sender.resource as usize], &mut serving);
        answer.hash(&mut self.digest);
        let is_notable = serving.is_notable();
        let request = serving.request.map(|asked| (flight.tag, serving.touch, asked));
        self.touched = Some((flight.tag, serving.touch, serving.to_lock));
        if serving.grain_seen {
            self.ledger.observe(FaultSet::of(&[store.grain.fault()]));
        }
        flight.leg = Leg::Reply(answer, at);
        // Nobody asks it to yield before it has its entry: only what hits it from here on excuses it.
        if M::PREEMPTS && matches!(self.touched, Some((_, Touch::Wrote(_), true))) {
            self.instances[flight.instance.index()].hit_in_possession = Time::ZERO;
        }
        if how != Service::Done || is_notable || flight.is_copy || !flight.awaited {
            self.note_service(id, how, is_notable);
        }
        if let Some((by, touch, asked)) = request.filter(|_| self.watches_preemption()) {
            self.note_request(by, touch, asked);
        }
    }

    /// What is out of the ordinary about the service of a request: what was wrong with it, that nobody waits for
    /// it, or that the monitors have to look at it.
    #[inline(never)]
    fn note_service(&mut self, id: FlightId, how: Service, is_notable: bool) {
        let flight = &mut self.flights[id];
        if flight.is_copy {
            self.ledger.observe(FaultSet::of(&[Fault::Duplicate]));
        }
        let fault = match how {
            Service::Done => None,
            Service::ErrorBefore => Some(Fault::ErrorBefore),
            Service::ErrorAfter => Some(Fault::ErrorAfter),
            Service::Stale => Some(Fault::StaleRead),
            Service::ReadError => Some(Fault::ReadsFail),
        };
        if matches!(how, Service::ErrorBefore | Service::ErrorAfter | Service::ReadError) {
            flight.leg = Leg::Reply(M::Store::unknown(), StoreTime::ZERO);
        }
        if let Some(fault) = fault {
            flight.faults.add(fault);
            self.ledger.fire(fault);
            self.instances[flight.instance.index()].hit(fault, self.now);
        }
        if !flight.awaited {
            self.flights.land(id);
        }
        if is_notable {
            self.note_touch(id, how);
        }
    }

    /// Keeps what the monitors need to know about an entry's owner, and lets them judge.
    #[inline(never)]
    fn note_touch(&mut self, id: FlightId, how: Service) {
        let Some((by, touch, to_lock)) = self.touched else { return };
        let flight = &mut self.flights[id];
        match touch {
            Touch::Refused(mark) => {
                flight.refused_by_itself = to_lock && mark.by == by && how == Service::Done;
            }
            Touch::Renewed(mark) => flight.prolonged = to_lock && mark.by == by,
            // What was said of the entry before is not said of this one.
            Touch::Wrote(_) if to_lock => {
                let others = self.flights.iter_mut().filter(|(_, other)| other.tag == by);
                others.for_each(|(_, other)| other.refused_by_itself = false);
            }
            Touch::None | Touch::Wrote(_) | Touch::Deleted(_) | Touch::Revoked(_) => {}
        }
        self.judge_touch(id, touch, to_lock);
    }

    /// A reply, a hint or a write has arrived.
    // Inlined with what it calls, into a scheduler that has just looked at the message.
    #[inline(always)]
    pub(super) fn deliver(&mut self, id: FlightId, draw: Draw) {
        let flight = &self.flights[id];
        if matches!(flight.leg, Leg::Reply(..)) {
            return self.reply(id, draw);
        }
        let (receiver, tag) = (flight.instance, flight.tag);
        self.ledger.observe(flight.faults);
        match self.flights.land(id) {
            Leg::Hint(message) => {
                if self.instances[receiver.index()].state == State::Up {
                    self.step(receiver, Input::Message(message), draw);
                }
            }
            Leg::Write { resource, token } => {
                self.judge_write(receiver, resource as usize, token, tag.acquisition);
            }
            Leg::Reply(..) | Leg::Request(_) | Leg::Lost | Leg::Landed => {}
        }
    }

    /// A reply that is still awaited has arrived.
    #[inline(always)]
    fn reply(&mut self, id: FlightId, draw: Draw) {
        let flight = &mut self.flights[id];
        let (receiver, call, faults) = (flight.instance, flight.call, flight.faults);
        let (refused_by_itself, prolonged) = (flight.refused_by_itself, flight.prolonged);
        let instance = &mut self.instances[receiver.index()];
        if instance.from_store_cut {
            return self.lose_to(id, Fault::CutFromStore);
        }
        let Some(call) = call else { return };
        // The answer moves once, from the message to the machine's input.
        let Leg::Reply(answer, at) = std::mem::replace(&mut flight.leg, Leg::Landed) else { return };
        let input = Input::Reply { call, answer, at };
        self.flights.release(id);
        self.ledger.observe(faults);
        if let Some(at) = instance.awaited.iter().position(|(_, other)| *other == id) {
            instance.awaited.swap_remove(at);
        }
        if refused_by_itself {
            self.note_notice(id);
        }
        let made_good = if prolonged { self.prolong(id) } else { None };
        self.step(receiver, input, draw);
        if let Some(trouble) = made_good {
            self.instances[receiver.index()].recover(trouble);
        }
    }

    /// An owner learns that it stands in its own way.
    fn note_notice(&mut self, id: FlightId) {
        let flight = &self.flights[id];
        let instance = &mut self.instances[flight.instance.index()];
        let shelf = &mut self.stores[flight.store.0 as usize].shelves[instance.resource as usize];
        if let Some(mark) = M::Store::lock(shelf)
            && mark.by == flight.tag
            && mark.noticed == Time::MAX
        {
            (mark.noticed, instance.trouble_at_notice) = (self.now, instance.trouble);
        }
    }

    /// A holder learns that its entry lives on: so may its lease. Gives the trouble that a clean and timely
    /// renewal makes good.
    fn prolong(&mut self, id: FlightId) -> Option<u32> {
        let flight = &self.flights[id];
        let instance = &mut self.instances[flight.instance.index()];
        if instance.caller.stage != Stage::Holding {
            return None;
        }
        instance.lease_end = instance.lease_end.max(flight.sent_mono + M::ttl(&self.config));
        let is_timely = self.now <= flight.sent + self.bounds.delay * 2;
        (is_timely && flight.faults.is_empty()).then_some(flight.trouble)
    }

    pub(super) fn give_up(&mut self, id: FlightId, draw: Draw) {
        let flight = &mut self.flights[id];
        let (instance, call) = (flight.instance, flight.call);
        self.instances[instance.index()].awaited.retain(|(_, other)| *other != id);
        self.ledger.observe(self.flights.disown(id));
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
        let flight = &mut self.flights[id];
        let instance = &mut self.instances[flight.instance.index()];
        flight.faults.add(fault);
        if !flight.awaited {
            // Nobody hears of it; a hint's addressee meets the loss when it wakes by itself.
            instance.pending.add(fault);
            self.flights.land(id);
            return;
        }
        instance.hit(fault, self.now);
        flight.leg = Leg::Lost;
        flight.since = self.now;
        self.excuse();
    }

    pub(super) fn duplicate(&mut self, id: FlightId) {
        let flight = &self.flights[id];
        let is_hint = matches!(flight.leg, Leg::Hint(_));
        let mut copy = flight.clone();
        (copy.awaited, copy.is_copy, copy.stalled) = (false, true, false);
        copy.since = self.now;
        let fault = if is_hint { Fault::HintDuplicate } else { Fault::Duplicate };
        copy.faults.add(fault);
        self.ledger.fire(fault);
        self.flights.launch(copy);
    }

    pub(super) fn stall(&mut self, id: FlightId) {
        let flight = &mut self.flights[id];
        flight.stalled = true;
        let fault = if matches!(flight.leg, Leg::Hint(_)) { Fault::HintLate } else { Fault::Delay };
        flight.faults.add(fault);
        self.ledger.fire(fault);
        if flight.awaited {
            self.instances[flight.instance.index()].hit(fault, self.now);
            self.excuse();
        }
    }

    pub(super) fn lose_all(&mut self, store: StoreId) {
        let concerned = self.flights().filter(|(_, flight)| flight.store == store && flight.call.is_some());
        let concerned: Vec<_> = concerned.map(|(id, _)| id).collect();
        concerned.into_iter().for_each(|id| self.lose_to(id, Fault::StoreRestart));
    }

    /// Who sent a message, and what has happened to it; also if it has just landed.
    pub(crate) fn sender(&self, id: FlightId) -> (Tag, FaultSet) {
        let flight = &self.flights[id];
        (flight.tag, flight.faults)
    }

    /// On whose behalf a request was sent, when, and whether it is a copy; also if it has just landed.
    pub(crate) fn claim(&self, id: FlightId) -> (Tag, Time, bool) {
        let flight = &self.flights[id];
        (flight.tag, flight.sent, flight.is_copy)
    }
}
