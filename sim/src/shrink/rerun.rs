//! Larger moves, for what stays too long to be read: only what does not happen by itself is kept, and the rest happens anew,
//! every message and every timer as late as it may. So less can be asked, sooner, for a shorter time, and in another
//! configuration.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::property::Violation;
use fencepost_models::subject::{Ask, InstanceId, Subject};
use fencepost_models::trace::{Deed, Message, Step};
use fencepost_models::world::{LegKind, Service, Setup};

use super::{READABLE, Shrinker};

/// So many times so slow, in hundredths.
const PACES: [u64; 6] = [100, 200, 50, 20, 10, 5];

/// So many candidates may be tried in one round of larger moves.
const MOST_TRIES: usize = 3_000;

/// So many steps may be applied for all of them, which takes less than a second.
const MOST_WORK: u64 = 1_000_000;

impl<M: Subject, T: Fn(&Violation) -> bool> Shrinker<'_, M, T> {
    /// Shrinks with larger moves: what is left, and once more from the beginning.
    pub(super) fn rerun(&mut self, whole: (Setup<M::Config>, Vec<Step>), tick: &dyn Fn(usize)) {
        self.most.1 = self.work + MOST_WORK;
        self.rounds(tick);
        let settled = (self.cost(), self.setup.clone(), self.steps.clone());
        (self.setup, self.steps) = whole;
        self.most = (self.tries + MOST_TRIES, self.work + MOST_WORK);
        if self.happen_anew() {
            self.rounds(tick);
        }
        let (cost, setup, steps) = settled;
        if self.cost() > cost {
            (self.setup, self.steps) = (setup, steps);
        }
    }

    fn rounds(&mut self, tick: &dyn Fn(usize)) {
        loop {
            let before = self.cost();
            self.most.0 = self.tries + MOST_TRIES;
            self.drop_deeds();
            self.ask_at_wakes();
            self.change_terms();
            self.happen_anew();
            self.hasten();
            self.shorten();
            self.settle(tick);
            if self.cost() >= before || self.steps.len() <= READABLE || self.work > self.most.1 {
                return;
            }
        }
    }

    /// What does not happen by itself, and then time for the rest.
    fn deeds(&self) -> Vec<Step> {
        let mut deeds: Vec<_> =
            self.steps.iter().filter(|step| !happens_by_itself(&step.deed)).cloned().collect();
        let last = self.steps.last().map_or(Time::ZERO, |step| step.t);
        let quarter = Span::from_nanos(last.as_nanos() / 4);
        deeds.push(passing(last + Span::from_secs(30) + quarter));
        deeds
    }

    fn happen_anew(&mut self) -> bool {
        let deeds = self.deeds();
        self.keep(&self.setup.clone(), deeds)
    }

    /// Leaves out what is done, long runs first.
    fn drop_deeds(&mut self) {
        let mut deeds = self.deeds();
        let mut size = deeds.len().next_power_of_two() / 2;
        while size > 0 {
            let mut at = 0;
            while at + 1 < deeds.len() {
                if self.is_tired() {
                    return;
                }
                let end = (at + size).min(deeds.len() - 1);
                let candidate = [&deeds[..at], &deeds[end..]].concat();
                if self.keep(&self.setup.clone(), candidate) {
                    deeds = self.deeds();
                } else {
                    at = end;
                }
            }
            size /= 2;
        }
    }

    /// Lets callers ask only when they are woken for another attempt: all attempts before fall away.
    fn ask_at_wakes(&mut self) {
        let mut index = 0;
        while index < self.steps.len() {
            let Deed::Ask { who, what } = self.steps[index].deed else {
                index += 1;
                continue;
            };
            let is_kept = what.wants()
                && (index + 1..self.steps.len()).rev().any(|wake| {
                    let is_wake = self.steps[wake].deed == Deed::Wake { who };
                    is_wake && !self.is_tired() && {
                        let mut candidate = self.steps.clone();
                        candidate[wake].deed = Deed::Ask { who, what };
                        candidate.remove(index);
                        self.keep(&self.setup.clone(), candidate)
                    }
                });
            index += usize::from(!is_kept);
        }
    }

    /// Another configuration, with the same deeds, sooner or later.
    fn change_terms(&mut self) {
        for config in (self.aim.plainer)(&self.setup.config) {
            let setup = self.setup_with(config);
            for pace in PACES {
                if self.is_tired() {
                    return;
                }
                let (steps, deeds) = (self.steps.clone(), self.deeds());
                if self.keep(&setup, at_pace(steps, pace)) || self.keep(&setup, at_pace(deeds, pace)) {
                    break;
                }
            }
        }
    }

    /// The setup with another configuration: a waiter may wait for as long as that one says.
    fn setup_with(&self, config: M::Config) -> Setup<M::Config> {
        let own = |config: &M::Config| M::ttl(config) * 3 + M::lateness(config);
        let mut setup = self.setup.clone();
        setup.bounds.progress = setup.bounds.progress.minus(own(&setup.config)) + own(&config);
        Setup { config, ..setup }
    }

    /// Lets what is done, and all after it, be done sooner.
    fn hasten(&mut self) {
        let mut index = 0;
        while index < self.deeds().len() {
            for part in [0, 1, 2, 4, 6] {
                let mut deeds = self.deeds();
                if index >= deeds.len() || self.is_tired() {
                    return;
                }
                let before = index.checked_sub(1).map_or(Time::ZERO, |before| deeds[before].t);
                let gap = deeds[index].t.since(before).as_nanos();
                let sooner = Span::from_nanos(gap - gap / 8 * part);
                deeds[index..].iter_mut().for_each(|step| step.t = step.t - sooner);
                if sooner > Span::ZERO && self.keep(&self.setup.clone(), deeds) {
                    break;
                }
            }
            index += 1;
        }
    }

    /// Lets callers wait, and jobs be due, for a shorter time.
    fn shorten(&mut self) {
        for index in 0..self.deeds().len() {
            for millis in [1, 10, 100, 1_000, 10_000] {
                let mut deeds = self.deeds();
                if index >= deeds.len() || self.is_tired() {
                    return;
                }
                let Deed::Ask { what, .. } = &mut deeds[index].deed else { break };
                let (Ask::LockFor(span) | Ask::Schedule(_, span) | Ask::Reschedule(_, span)) = what else {
                    break;
                };
                let shorter = Span::from_millis(millis);
                if shorter >= *span {
                    break;
                }
                *span = shorter;
                if self.keep(&self.setup.clone(), deeds) {
                    break;
                }
            }
        }
    }
}

fn at_pace(mut steps: Vec<Step>, hundredths: u64) -> Vec<Step> {
    for step in &mut steps {
        let scaled = u128::from(step.t.as_nanos()) * u128::from(hundredths) / 100;
        step.t = Time::from_nanos(scaled as u64);
    }
    steps
}

/// Nothing, so late: whatever is overdue by then happens.
fn passing(t: Time) -> Step {
    let nobody = Message { who: InstanceId(0), leg: LegKind::Landed, call: None, nth: u32::MAX };
    Step { t, draw: Default::default(), deed: Deed::GiveUp { message: nobody } }
}

/// Whether it would happen anyway, sooner or later.
fn happens_by_itself(deed: &Deed) -> bool {
    matches!(
        deed,
        Deed::Wake { .. }
            | Deed::Serve { how: Service::Done, .. }
            | Deed::Deliver { .. }
            | Deed::GiveUp { .. }
    )
}
