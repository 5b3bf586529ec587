//! What callers do: they think, ask, hold, and write.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::fault::Fault;
use fencepost_models::subject::{Ask, InstanceId, Subject, Told};
use fencepost_models::world::{Action, State};
use rand::RngExt;

use super::Simulator;
use crate::scenario::{skewed, up_to};

impl<M: Subject> Simulator<M> {
    /// A caller does something else, and then asks for the lock.
    pub(super) fn think(&mut self, id: InstanceId) {
        let now = self.world.now();
        if now >= self.scenario.drain {
            return;
        }
        let pause = up_to(&mut self.streams.workload, self.scenario.workload.think_max);
        let next = if self.scenario.workload.varied { self.choose_ask() } else { Ask::Lock };
        self.plan_ask(id, now + pause, next);
    }

    pub(super) fn plan_ask(&mut self, id: InstanceId, at: Time, next: Ask) {
        let seat = &mut self.seats[id.index()];
        (seat.ask, seat.next) = (at, Some(next));
        self.timers.set(id.0, seat.first());
    }

    fn choose_ask(&mut self) -> Ask {
        let ask = match self.streams.workload.random_range(0..10) {
            0 => Ask::TryLock,
            1 => Ask::LockFor(skewed(&mut self.streams.workload, self.scenario.ttl)),
            _ => Ask::Lock,
        };
        if M::request(ask).is_some() { ask } else { Ask::Lock }
    }

    /// A caller does what it was about to do.
    pub(super) fn ring_ask(&mut self, at: Time, id: InstanceId) {
        if let Some(ask) = self.cancel_ask(id) {
            self.ask(at, id, ask);
        }
    }

    /// A caller no longer asks what it was about to ask.
    pub(super) fn cancel_ask(&mut self, id: InstanceId) -> Option<Ask> {
        let seat = &mut self.seats[id.index()];
        seat.ask = Time::MAX;
        let ask = seat.next.take();
        self.timers.set(id.0, seat.first());
        ask
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

    pub(super) fn told(&mut self, id: InstanceId, told: Told) {
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
}
