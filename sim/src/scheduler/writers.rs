//! What callers do with a writer: they see what is wanted, are its units of work, and see what others have written.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::fault::Fault;
use fencepost_models::subject::{Ask, Ending, InstanceId, JobId, Subject, Tidings, Writing};
use fencepost_models::world::{Action, State};
use rand::RngExt;

use super::Simulator;
use crate::scenario::{skewed, up_to};

impl<M: Subject> Simulator<M> {
    /// What is wanted in the course of a run: now and then another value, or the same once more, which everybody who
    /// takes part sees in his own time.
    pub(super) fn plan_wishes(&mut self) {
        for resource in 0..self.scenario.setup.resources {
            for job in (0..self.world.jobs()).map(JobId) {
                self.plan_wishes_of(resource, job);
            }
        }
    }

    fn plan_wishes_of(&mut self, resource: u32, job: JobId) {
        let (drain, ttl) = (self.scenario.drain, self.scenario.ttl);
        let (mut at, mut value) = (Time::ZERO, 0);
        loop {
            let rng = &mut self.streams.workload;
            at = at + Span::from_millis(500) + skewed(rng, ttl * 4);
            if at >= drain {
                return;
            }
            // A list that is read again shows what was wanted before.
            value += u32::from(value == 0 || rng.random_range(0..3) != 0);
            let wish = match rng.random_range(0..24) {
                0 => Writing::Drop,
                _ => Writing::Wish(value),
            };
            let expires = rng.random_range(0..12) == 0;
            for id in self.peers(resource) {
                let lag = up_to(&mut self.streams.workload, Span::from_millis(60));
                self.plan(at + lag, Action::Ask(id, Ask::Object(job, wish)));
                if expires {
                    let after = skewed(&mut self.streams.workload, ttl);
                    self.plan(at + after, Action::Ask(id, Ask::Expire));
                }
            }
        }
    }

    fn peers(&self, resource: u32) -> Vec<InstanceId> {
        let ids = (0..self.scenario.setup.instances).map(InstanceId);
        ids.filter(|id| self.world.instance(*id).resource == resource).collect()
    }

    /// An instance starts, or goes on after it stood still: it reads what is wanted and what is there, and a unit whose
    /// end was missed comes to it.
    pub(super) fn catch_up(&mut self, id: InstanceId) {
        let (now, resource) = (self.world.now(), self.world.instance(id).resource);
        for job in (0..self.world.jobs()).map(JobId) {
            let soon = now + up_to(&mut self.streams.workload, Span::from_millis(60));
            let wanted = self.world.wanted(resource, job);
            self.plan(soon, Action::Ask(id, Ask::Object(job, Writing::Look)));
            if wanted > 0 && now < self.scenario.drain {
                self.plan(soon, Action::Ask(id, Ask::Object(job, Writing::Wish(wanted))));
            }
            if self.world.is_writing(id, job) {
                self.plan_end(id, job, Span::from_secs(1));
            }
        }
    }

    pub(super) fn told_by_writer(&mut self, id: InstanceId, tidings: Tidings) {
        match tidings {
            Tidings::Work(job, ..) => {
                self.acquisitions += 1;
                self.plan_end(id, job, self.scenario.workload.hold_max);
            }
            Tidings::Interrupted(job) => self.plan_end(id, job, Span::from_secs(1)),
            Tidings::Settled(..) | Tidings::Leads(_) | Tidings::Follows | Tidings::Decided => {}
        }
    }

    /// A unit runs: for how long, and how will it end?
    fn plan_end(&mut self, id: InstanceId, job: JobId, most: Span) {
        let now = self.world.now();
        let mut hold = skewed(&mut self.streams.workload, most);
        if !self.healed && self.strikes(Some(Fault::ForgetUnlock)) {
            hold = self.scenario.heal.since(now).max(hold).min(self.scenario.ttl * 4);
            self.plan(now, Action::Forget(id));
        }
        let is_stormy = !self.healed && now + hold < self.scenario.heal;
        let ending = if is_stormy && self.strikes(Some(Fault::CallbackFails)) {
            let rng = &mut self.streams.faults[Fault::CallbackFails as usize];
            [Ending::ErrorBefore, Ending::ErrorAfter, Ending::Panic][rng.random_range(0..3)]
        } else if self.is_apart(id) {
            Ending::ErrorBefore
        } else {
            Ending::Well
        };
        self.plan(now + hold, Action::Ask(id, Ask::Object(job, Writing::Conclude(ending))));
    }

    /// Whether nothing that an instance does arrives anywhere: where takeovers are measured, who is cut off from the store
    /// is cut off from the objects.
    fn is_apart(&self, id: InstanceId) -> bool {
        !self.scenario.workload.varied && self.world.instance(id).cuts().0
    }

    /// What others see of it, when a caller has said something about an object.
    pub(super) fn follow_writing(&mut self, id: InstanceId, ask: Ask) {
        let Ask::Object(job, Writing::Conclude(_)) = ask else { return };
        let now = self.world.now();
        for peer in self.peers(self.world.instance(id).resource) {
            if !self.world.is_behind(peer, job) || self.world.instance(peer).state != State::Up {
                continue;
            }
            let rng = &mut self.streams.workload;
            let most = if rng.random_range(0..16) == 0 { self.scenario.ttl } else { Span::from_millis(60) };
            let lag = skewed(rng, most);
            self.plan(now + lag, Action::Ask(peer, Ask::Object(job, Writing::Look)));
        }
    }
}
