//! What callers do: they think, ask, hold, and write.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::fault::Fault;
use fencepost_models::subject::{Ask, InstanceId, JobId, Play, Subject, Told};
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
        let next = match M::PLAY {
            Play::Lock if self.scenario.workload.varied => self.choose_ask(),
            Play::Lock => Ask::Lock,
            Play::Job | Play::Once | Play::Lead | Play::Write => Ask::Start,
        };
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
            if ask == Ask::Start && M::PLAY == Play::Write {
                self.catch_up(id);
            }
            if ask.wants() && !self.healed && self.strikes(Some(Fault::Cancel)) {
                let (cancel, most) = match M::PLAY {
                    Play::Lock => (Ask::Cancel, self.scenario.ttl),
                    Play::Job | Play::Once | Play::Lead | Play::Write => (Ask::Close, self.scenario.ttl * 4),
                };
                let after = skewed(&mut self.streams.faults[Fault::Cancel as usize], most);
                if M::request(cancel).is_some() {
                    self.plan(at + after, Action::Ask(id, cancel));
                }
            }
            if ask == Ask::Unlock
                && M::PLAY == Play::Lock
                && !self.healed
                && self.strikes(Some(Fault::UnlockTwice))
            {
                let after = skewed(&mut self.streams.faults[Fault::UnlockTwice as usize], self.scenario.ttl);
                self.plan(at + after, Action::Ask(id, Ask::UnlockAgain));
            }
        }
    }

    pub(super) fn told(&mut self, id: InstanceId, told: Told) {
        match told {
            Told::Acquired(_) | Told::Began(_) => {
                self.acquisitions += 1;
                self.hold(id);
            }
            // It stands again by itself; what it was about to ask was about the term that is over.
            Told::Released | Told::Lost if M::PLAY == Play::Lead => {
                self.cancel_ask(id);
            }
            Told::Denied | Told::Preempted | Told::Ousted | Told::Released | Told::Lost | Told::Closed => {
                self.think(id)
            }
            Told::Asked => self.make_way(id),
            Told::Panicked => self.plan(self.world.now() + Span::from_secs(1), Action::Restart(id)),
            Told::Interrupted => self.wind_up(id),
            Told::Petitioned => self.consider(id),
            Told::Writer(tidings) => self.told_by_writer(id, tidings),
            Told::Extended
            | Told::Rejected
            | Told::Ended
            | Told::Accepted(..)
            | Told::Declined(_)
            | Told::GaveUp(_)
            | Told::Leads(_)
            | Told::Answered => {}
        }
    }

    /// A holder that is asked to yield does so soon, unless it is slow.
    fn make_way(&mut self, id: InstanceId) {
        let now = self.world.now();
        if !self.healed && self.strikes(Some(Fault::ForgetUnlock)) {
            let late = now + self.scenario.heal.since(now).min(self.scenario.ttl * 4);
            self.plan_ask(id, late, Ask::Unlock);
            return self.plan(now, Action::Forget(id));
        }
        let soon = now + up_to(&mut self.streams.workload, Span::from_secs(1));
        let seat = &self.seats[id.index()];
        if seat.next != Some(Ask::Unlock) || seat.ask > soon {
            self.plan_ask(id, soon, Ask::Unlock);
        }
    }

    /// A callback that is told to stop does so soon.
    fn wind_up(&mut self, id: InstanceId) {
        let soon = up_to(&mut self.streams.workload, Span::from_secs(1));
        self.plan_ask(id, self.world.now() + soon, Ask::Finish(false));
    }

    /// A leader is asked to resign. Half of them do, soon.
    fn consider(&mut self, id: InstanceId) {
        if self.world.now() < self.scenario.drain && self.streams.workload.random_bool(0.5) {
            let soon = up_to(&mut self.streams.workload, Span::from_secs(1));
            self.plan_ask(id, self.world.now() + soon, Ask::Unlock);
        }
    }

    /// What a caller asks about leadership in the course of a run: now and then it is unfit for a while, or wants the
    /// leader to resign.
    pub(super) fn plan_leadership(&mut self, id: InstanceId) {
        let (drain, ttl) = (self.scenario.drain, self.scenario.ttl);
        let mut at = Time::ZERO;
        loop {
            let rng = &mut self.streams.workload;
            at = at + Span::from_secs(1) + up_to(rng, ttl * 4);
            let end = at + skewed(rng, ttl * 2);
            if end >= drain {
                return;
            }
            match rng.random_range(0..6) {
                0 | 1 => {
                    self.plan(at, Action::Ask(id, Ask::Fit(false)));
                    self.plan(end, Action::Ask(id, Ask::Fit(true)));
                }
                2 if self.scenario.faults.has(Fault::Cancel) => self.plan_closing(id, at, end),
                _ => self.plan(at, Action::Ask(id, Ask::Petition)),
            }
        }
    }

    /// A process closes, and does so once more now and then.
    fn plan_closing(&mut self, id: InstanceId, at: Time, again: Time) {
        if again >= self.scenario.heal {
            return;
        }
        self.plan(at, Action::Ask(id, Ask::Close));
        if self.scenario.faults.has(Fault::UnlockTwice) {
            self.plan(again, Action::Ask(id, Ask::UnlockAgain));
        }
    }

    /// What a caller asks about jobs in the course of a run, whether it is waiting then or in a callback.
    pub(super) fn plan_jobs(&mut self, id: InstanceId) {
        let (drain, jobs, ttl) = (self.scenario.drain, self.world.jobs(), self.scenario.ttl);
        let mut at = Time::ZERO;
        loop {
            let rng = &mut self.streams.workload;
            at = at + Span::from_millis(500) + up_to(rng, ttl);
            if at >= drain {
                return;
            }
            let job = JobId(rng.random_range(0..jobs));
            let span = skewed(rng, ttl * 4);
            let ask = match rng.random_range(0..10) {
                0 | 1 => Ask::Withdraw(job),
                2 | 3 => Ask::Reschedule(job, span),
                _ => Ask::Schedule(job, span),
            };
            self.plan(at, Action::Ask(id, ask));
            // Whatever an engine's listener may have missed: it says so when it is back.
            if self.scenario.faults.has(Fault::HintLost) && M::request(Ask::Missed).is_some() {
                let back = at + up_to(&mut self.streams.workload, ttl);
                self.plan(back, Action::Ask(id, Ask::Missed));
            }
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
        let end = match M::PLAY {
            Play::Lock | Play::Lead => Ask::Unlock,
            Play::Job | Play::Once | Play::Write => {
                Ask::Finish(self.healed || !self.strikes(Some(Fault::CallbackFails)))
            }
        };
        // Half of the leaders never resign by themselves; and in the end there is one that stays.
        let stays =
            M::PLAY == Play::Lead && (now >= self.scenario.drain || self.streams.workload.random_bool(0.5));
        if !stays {
            self.plan_ask(id, now + hold, end);
        }
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
