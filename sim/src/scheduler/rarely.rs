//! What is not the daily business of a run.

use fencepost::time::Draw;
use fencepost_models::clock::Time;
use fencepost_models::fault::Fault;
use fencepost_models::subject::{Play, Subject};
use fencepost_models::world::Action;

use super::Simulator;
use crate::queue::Due;

impl<M: Subject> Simulator<M> {
    /// Applies any action but a step of a machine, and schedules what follows from it.
    #[inline(never)]
    pub(super) fn act_rarely(&mut self, at: Time, action: Action) {
        self.apply(at, action, Draw(0));
        match action {
            Action::Resume(id)
            | Action::Restart(id)
            | Action::Rejoin(id)
            | Action::SetRate(id, _)
            | Action::Crash(id) => self.follow_up(id),
            _ => self.dispatch_fresh(),
        }
        match action {
            Action::Serve(id, _) => self.onward(id),
            Action::Lose(id) => self.notice_loss(id),
            Action::Resume(id) => {
                self.deliver_held_up();
                if M::PLAY == Play::Write {
                    self.catch_up(id);
                }
            }
            Action::StoreResume(_) => self.deliver_held_up(),
            Action::StoreRestart(_) => self.reset_connections(),
            Action::Restart(id) | Action::Rejoin(id) => self.think(id),
            Action::Crash(id) => {
                self.cancel_ask(id);
                self.deliver_held_up();
            }
            _ => {}
        }
    }

    /// Queues an action that is applied then, if it still can be.
    pub(super) fn plan(&mut self, at: Time, action: Action) {
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

    /// An entry of the queue is due that is no arrival.
    #[inline(never)]
    pub(super) fn happen_rarely(&mut self, at: Time, due: Due) {
        match due {
            Due::Arrival(_) => {}
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
}
