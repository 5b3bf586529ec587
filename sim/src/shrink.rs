//! Makes a failing trace small enough to be read as a story.
//!
//! Every candidate is applied leniently: steps that are no longer possible fall away, and what is overdue is put
//! in, so a shrunk trace is a fair run whose faults are all in sight. A candidate is kept if it shows the same
//! failure and is simpler: fewer instances, fewer steps, rounder times.
//!
//! What is still too long to be read then is shrunk with larger moves: see [`rerun`].

mod rerun;

use fencepost::time::Draw;
use fencepost_models::clock::Time;
use fencepost_models::property::{PropertySet, Violation};
use fencepost_models::subject::{Ask, InstanceId, Play, Subject};
use fencepost_models::trace::{Deed, Message, Step, Trace, reapply};
use fencepost_models::world::{Setup, State, World};

/// A trace made small.
#[derive(Debug)]
pub struct Shrunk {
    /// How many steps there were.
    pub from: usize,
    /// What is left.
    pub trace: Trace,
    /// How many candidates were tried.
    pub tries: usize,
}

/// After so many candidates, what is left is good enough.
const MOST_TRIES: usize = 6_000;

/// And after so many steps of theirs: a deadlock has to last until its run ends, which takes thousands.
const MOST_WORK: u64 = 1_000 * MOST_TRIES as u64;

/// A story of so many events is short enough to be read: no configuration is changed for a shorter one.
const READABLE: usize = 20;

/// What is to stay, and what may become of the configuration.
pub(crate) struct Aim<'a, C, T> {
    /// What is judged.
    pub(crate) judged: PropertySet,
    /// The failure that is to be shown.
    pub(crate) target: T,
    /// Other configurations that may show it in fewer events.
    pub(crate) plainer: &'a dyn Fn(&C) -> Vec<C>,
}

struct Shrinker<'a, M: Subject, T> {
    world: World<M>,
    setup: Setup<M::Config>,
    steps: Vec<Step>,
    aim: Aim<'a, M::Config, T>,
    tries: usize,
    /// How many steps all candidates had that were applied.
    work: u64,
    /// After so many candidates, and so much work, it stops.
    most: (usize, u64),
}

/// Shrinks a trace that shows what it is to; `None`, if it does not.
pub(crate) fn shrink<M: Subject>(
    setup: Setup<M::Config>,
    steps: Vec<Step>,
    aim: Aim<'_, M::Config, impl Fn(&Violation) -> bool>,
    tick: &dyn Fn(usize),
) -> Option<(Setup<M::Config>, Vec<Step>, usize)> {
    let mut world = World::<M>::new(&setup, aim.judged);
    let most = steps.len() + 100;
    let steps = reapply(&mut world, steps, &aim.target, most)?;
    let mut shrinker =
        Shrinker { world, setup, steps, aim, tries: 0, work: 0, most: (MOST_TRIES, MOST_WORK) };
    let whole = (shrinker.setup.clone(), shrinker.steps.clone());
    shrinker.settle(tick);
    if shrinker.steps.len() > READABLE {
        shrinker.rerun(whole, tick);
    }
    Some((shrinker.setup, shrinker.steps, shrinker.tries))
}

/// What makes a trace hard to read, the worst first.
type Cost = (u32, usize, u64);

fn cost<C>(setup: &Setup<C>, steps: &[Step]) -> Cost {
    let details = steps.iter().map(|step| digits(step.t) + fuss(step)).sum();
    (setup.instances, steps.len(), details)
}

/// How many digits a time needs.
fn digits(time: Time) -> u64 {
    let mut nanos = time.as_nanos();
    if nanos == 0 {
        return 0;
    }
    let mut zeros = 0;
    while nanos.is_multiple_of(10) {
        nanos /= 10;
        zeros += 1;
    }
    20 - zeros
}

/// What else could be simpler about a step.
fn fuss(step: &Step) -> u64 {
    let draw = u64::from(step.draw.0 != 0 && step.draw != MIDDLE);
    let ask = match step.deed {
        Deed::Ask { what: Ask::Lock | Ask::Unlock | Ask::UnlockAgain, .. } => 0,
        Deed::Ask { .. } => 1,
        _ => 0,
    };
    draw + ask
}

/// The draw at which jitter is no jitter.
const MIDDLE: Draw = Draw(1 << 31);

impl<M: Subject, T: Fn(&Violation) -> bool> Shrinker<'_, M, T> {
    fn cost(&self) -> Cost {
        cost(&self.setup, &self.steps)
    }

    fn is_tired(&self) -> bool {
        self.tries > self.most.0 || self.work > self.most.1
    }

    /// Leaves out and simplifies what it can, until nothing more can be.
    fn settle(&mut self, tick: &dyn Fn(usize)) {
        loop {
            let before = self.cost();
            if M::PLAY == Play::Lead {
                self.drop_spans(tick);
            }
            self.drop_episodes();
            self.drop_steps(tick);
            self.drop_instances();
            self.postpone();
            self.close_gaps();
            self.simplify();
            self.round_times();
            tick(self.steps.len());
            if self.cost() >= before || self.is_tired() {
                return;
            }
        }
    }

    /// Keeps a candidate if it shows the same and is simpler.
    fn keep(&mut self, setup: &Setup<M::Config>, candidate: impl IntoIterator<Item = Step>) -> bool {
        self.tries += 1;
        self.world.reset(setup);
        let most = self.steps.len() + 8;
        let steps = reapply(&mut self.world, candidate, &self.aim.target, most);
        self.work += self.world.applied();
        let Some(steps) = steps else { return false };
        if cost(setup, &steps) >= self.cost() || !self.is_fair(&steps) {
            return false;
        }
        (self.setup, self.steps) = (setup.clone(), steps);
        true
    }

    /// Whether nobody is kept from what it waits for by what should have been healed: who stands still, or an answer that
    /// may take as long as it likes.
    fn is_fair(&self, steps: &[Step]) -> bool {
        let is_healed = steps.iter().any(|step| step.deed == Deed::Heal);
        let stands_still = self.world.instances().iter().any(|one| one.state == State::Paused);
        let is_stuck = self.world.flights().any(|(_, flight)| flight.stalled && flight.is_awaited());
        !is_healed || !(stands_still || is_stuck)
    }

    /// Leaves out whole episodes: all that an instance does from one request for the lock to the next.
    fn drop_episodes(&mut self) {
        for id in (0..self.setup.instances).map(InstanceId) {
            let mut from = 0;
            while let Some(start) = self.next_ask(id, from) {
                if self.is_tired() {
                    return;
                }
                let end = self.next_ask(id, start + 1).unwrap_or(self.steps.len());
                let inside = |index: usize, step: &Step| {
                    index >= start && index < end && actor(&step.deed) == Some(id)
                };
                let outside = self.steps.iter().enumerate().filter(|(index, step)| !inside(*index, step));
                let candidate: Vec<_> = outside.map(|(_, step)| step.clone()).collect();
                if !self.keep(&self.setup.clone(), candidate) {
                    from = start + 1;
                }
            }
        }
    }

    /// Leaves out runs of steps together with the time that they take, long ones first: whoever takes part in leadership
    /// asks once and never rests, so steps alone would be put in again.
    fn drop_spans(&mut self, tick: &dyn Fn(usize)) {
        let mut size = self.steps.len().next_power_of_two() / 2;
        while size > 4 && !self.is_tired() {
            let mut at = 1;
            while at + size < self.steps.len() && !self.is_tired() {
                let taken = self.steps[at + size].t.since(self.steps[at].t);
                let after = self.steps[at + size..].iter().cloned();
                let after = after.map(|step| Step { t: step.t - taken, ..step });
                let candidate: Vec<_> = self.steps[..at].iter().cloned().chain(after).collect();
                if !self.keep(&self.setup.clone(), candidate) {
                    at += size;
                }
            }
            tick(self.steps.len());
            size /= 2;
        }
    }

    /// Where `id` next asks for the lock.
    fn next_ask(&self, id: InstanceId, from: usize) -> Option<usize> {
        let asks = |step: &Step| matches!(step.deed, Deed::Ask { who, what } if who == id && what.wants());
        (from..self.steps.len()).find(|&index| asks(&self.steps[index]))
    }

    /// Leaves out runs of steps, long ones first.
    fn drop_steps(&mut self, tick: &dyn Fn(usize)) {
        let mut size = self.steps.len().next_power_of_two() / 2;
        while size > 0 && !self.is_tired() {
            let mut at = 0;
            while at < self.steps.len() {
                let end = (at + size).min(self.steps.len());
                let candidate = [&self.steps[..at], &self.steps[end..]].concat();
                if !self.keep(&self.setup.clone(), candidate) {
                    at = end;
                }
                if self.is_tired() {
                    return;
                }
            }
            tick(self.steps.len());
            size /= 2;
        }
    }

    /// Leaves out instances, and calls the others A, B, C in the order of their entrance.
    fn drop_instances(&mut self) {
        for index in 0..self.setup.instances {
            let without: Vec<_> = self
                .steps
                .iter()
                .filter(|step| actor(&step.deed) != Some(InstanceId(index)))
                .cloned()
                .collect();
            if without.len() < self.steps.len() {
                self.keep(&self.setup.clone(), without);
            }
        }
        let mut order: Vec<InstanceId> = Vec::new();
        for id in self.steps.iter().filter_map(|step| actor(&step.deed)) {
            if !order.contains(&id) {
                order.push(id);
            }
        }
        let is_sorted = order.iter().enumerate().all(|(index, id)| id.0 == index as u32);
        let all_used = order.len() as u32 == self.setup.instances;
        if order.is_empty() || self.setup.resources != 1 || (is_sorted && all_used) {
            return;
        }
        let rename = |id: &mut InstanceId| {
            if let Some(at) = order.iter().position(|other| other == id) {
                *id = InstanceId(at as u32);
            }
        };
        let mut renamed = self.steps.clone();
        renamed.iter_mut().for_each(|step| each_name(&mut step.deed, rename));
        let setup = Setup { instances: order.len() as u32, ..self.setup.clone() };
        // Names cost nothing, so equal cost is good enough here.
        self.world.reset(&setup);
        let most = self.steps.len() + 8;
        if let Some(steps) = reapply(&mut self.world, renamed, &self.aim.target, most)
            && cost(&setup, &steps) <= self.cost()
            && self.is_fair(&steps)
        {
            (self.setup, self.steps) = (setup, steps);
        }
    }

    /// Lets callers ask later: what they did while they waited falls away.
    fn postpone(&mut self) {
        let mut index = 0;
        while index < self.steps.len() && !self.is_tired() {
            let is_ask = matches!(self.steps[index].deed, Deed::Ask { .. });
            let moved = is_ask && {
                let (len, mut gap) = (self.steps.len(), 1);
                let mut moved = false;
                // The later the better: first just before the end, then ever further from it.
                while !moved && gap < len - index {
                    moved = self.move_step(index, len - gap);
                    gap = gap + 1 + gap / 2;
                }
                moved
            };
            if !moved {
                index += 1;
            }
        }
    }

    /// Lets a step happen just before the one that is now at `to`.
    fn move_step(&mut self, from: usize, to: usize) -> bool {
        let mut candidate = self.steps.clone();
        let mut step = candidate.remove(from);
        step.t = candidate[to - 1].t;
        candidate.insert(to - 1, step);
        self.keep(&self.setup.clone(), candidate)
    }

    /// Lets a step and all that follow happen right after the one before.
    fn close_gaps(&mut self) {
        for index in 0..self.steps.len() {
            if self.is_tired() || index >= self.steps.len() {
                return;
            }
            let from = self.steps[index].t;
            let before = index.checked_sub(1).map_or(Time::ZERO, |before| self.steps[before].t);
            self.shift(index, from, before, true);
        }
    }

    /// Plainer requests and no jitter.
    fn simplify(&mut self) {
        for index in 0..self.steps.len() {
            for draw in [Draw(0), MIDDLE] {
                self.change(index, |step| step.draw = draw);
            }
            self.change(index, |step| {
                if let Deed::Ask { what, .. } = &mut step.deed
                    && what.wants()
                {
                    *what = Ask::Lock;
                }
            });
        }
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut Step)) {
        if self.is_tired() || index >= self.steps.len() {
            return;
        }
        let mut candidate = self.steps.clone();
        change(&mut candidate[index]);
        if candidate[index] != self.steps[index] {
            self.keep(&self.setup.clone(), candidate);
        }
    }

    /// Rounder times: a step, and all that follow by as much.
    fn round_times(&mut self) {
        const GRAINS: [u64; 6] =
            [10_000_000_000, 1_000_000_000, 500_000_000, 100_000_000, 10_000_000, 1_000_000];
        for index in 0..self.steps.len() {
            for grain in GRAINS {
                if self.is_tired() || index >= self.steps.len() {
                    return;
                }
                let from = self.steps[index].t;
                let floor = index.checked_sub(1).map_or(Time::ZERO, |before| self.steps[before].t);
                let down = from.as_nanos() / grain * grain;
                let up = down + grain;
                let kept = [down, up].into_iter().filter(|to| *to >= floor.as_nanos()).any(|to| {
                    let to = Time::from_nanos(to);
                    self.shift(index, from, to, true) || self.shift(index, from, to, false)
                });
                if kept {
                    break;
                }
            }
        }
    }

    /// Moves one step, and with `all` those after it too.
    fn shift(&mut self, index: usize, from: Time, to: Time, all: bool) -> bool {
        if from == to {
            return false;
        }
        let mut candidate = self.steps.clone();
        let end = if all { candidate.len() } else { index + 1 };
        for step in &mut candidate[index..end] {
            let offset = step.t.since(from);
            step.t = to + offset;
        }
        candidate.sort_by_key(|step| step.t);
        self.keep(&self.setup.clone(), candidate)
    }
}

/// Whose step it is.
pub(crate) fn actor(deed: &Deed) -> Option<InstanceId> {
    let mut found = None;
    each_name(&mut deed.clone(), |id| found = Some(*id));
    found
}

fn each_name(deed: &mut Deed, mut rename: impl FnMut(&mut InstanceId)) {
    match deed {
        Deed::Ask { who, .. }
        | Deed::Write { who }
        | Deed::Forget { who }
        | Deed::Wake { who }
        | Deed::Pause { who }
        | Deed::Suspend { who }
        | Deed::Resume { who }
        | Deed::Crash { who }
        | Deed::Restart { who }
        | Deed::Rejoin { who }
        | Deed::Rate { who, .. }
        | Deed::Jump { who, .. }
        | Deed::CutToStore { who, .. }
        | Deed::CutFromStore { who, .. } => rename(who),
        Deed::Serve { message: Message { who, .. }, .. }
        | Deed::Deliver { message: Message { who, .. } }
        | Deed::Lose { message: Message { who, .. } }
        | Deed::Duplicate { message: Message { who, .. } }
        | Deed::Stall { message: Message { who, .. } }
        | Deed::GiveUp { message: Message { who, .. } } => rename(who),
        Deed::StorePause { .. }
        | Deed::StoreResume { .. }
        | Deed::StoreRestart { .. }
        | Deed::StoreRate { .. }
        | Deed::Lag { .. }
        | Deed::CatchUp { .. }
        | Deed::FailOver { .. }
        | Deed::Grain { .. }
        | Deed::WipeCounter { .. }
        | Deed::StoreJump { .. }
        | Deed::Heal
        | Deed::End => {}
    }
}
