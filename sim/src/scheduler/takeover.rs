//! How long it takes until another one holds, measured in virtual time.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::property::PropertySet;
use fencepost_models::subject::{Ask, InstanceId, Subject};
use fencepost_models::world::{Action, Stage, State};

use super::Simulator;
use crate::scenario::{Scenario, up_to};

/// How a holder comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It dies.
    Crash,
    /// Nothing it sends reaches the store, and nothing reaches it.
    Partition,
    /// It unlocks, or resigns; where it can do neither, it closes.
    Release,
}

impl End {
    /// All of them.
    pub const ALL: [End; 3] = [End::Crash, End::Partition, End::Release];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            End::Crash => "crash",
            End::Partition => "partition",
            End::Release => "release",
        }
    }
}

/// How long it took until another one held, in each of many runs.
#[derive(Clone, Debug)]
pub struct Takeovers {
    /// How the holder before came to its end.
    pub end: End,
    /// Whether hints were delivered.
    pub hints: bool,
    /// What is promised, messages included; `None`, if nothing is.
    pub bound: Option<Span>,
    /// How long it took, the shortest first.
    pub times: Vec<Span>,
    /// In how many runs nobody else ever held.
    pub never: u64,
}

impl Takeovers {
    /// The time that so many percent of the runs did not exceed.
    pub fn percentile(&self, percent: usize) -> Option<Span> {
        let at = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times.get(at).copied()
    }

    /// The longest of them.
    pub fn longest(&self) -> Option<Span> {
        self.times.last().copied()
    }
}

/// A message takes so long at most, and may meet the pause between two attempts at its worst moment three times over.
const ROUND_TRIPS: u64 = 3;

/// Lets a holder come to this end in each of so many seeds.
pub(crate) fn take_over<M: Subject>(
    config: &M::Config,
    instances: u32,
    seeds: u64,
    end: End,
    hints: bool,
) -> Takeovers {
    let (ttl, longest) = (M::ttl(config), (M::ttl(config) + Span::from_secs(60)) * 10);
    let mut scenario = Scenario::reference(config.clone(), ttl, instances, 1, longest);
    // Whoever holds does so for ever.
    (scenario.setup.hints, scenario.workload.hold_max, scenario.workload.varied) = (hints, Span::MAX, false);
    let promised = match end {
        End::Crash | End::Partition => M::takeover(config),
        End::Release => M::handover(config),
    };
    let traffic = scenario.setup.bounds.delay * 2 * ROUND_TRIPS;
    let bound = (promised != Span::MAX).then(|| promised + traffic);
    let mut simulator = Simulator::<M>::new(0, scenario.clone(), PropertySet::default());
    let taken = (1..=seeds).map(|seed| simulator.take_over(seed, scenario.clone(), end));
    let (mut times, mut never) = (Vec::new(), 0);
    taken.for_each(|time| match time {
        Some(time) => times.push(time),
        None => never += 1,
    });
    times.sort_unstable();
    Takeovers { end, hints, bound, times, never }
}

impl<M: Subject> Simulator<M> {
    /// How long it takes from the end of a holder until another one holds; `None`, if that never happens.
    fn take_over(&mut self, seed: u64, scenario: Scenario<M::Config>, end: End) -> Option<Span> {
        self.begin(seed, scenario, false);
        while self.holder(None).is_none() {
            self.advance().then_some(())?;
        }
        // Until then everybody has asked, and the holder has renewed at any moment.
        let settled = self.world.now() + self.scenario.workload.think_max;
        let at = settled + up_to(&mut self.streams.workload, self.scenario.ttl * 2);
        while self.next_at() < at {
            self.advance();
        }
        let last = self.holder(None)?;
        self.scenario.drain = at;
        self.cancel_ask(last);
        self.end_holder(at, last, end);
        while self.holder(Some(last)).is_none() {
            self.advance().then_some(())?;
        }
        Some(self.world.now().since(at))
    }

    fn end_holder(&mut self, at: Time, id: InstanceId, end: End) {
        match end {
            End::Crash => self.act(at, Action::Crash(id)),
            End::Partition => {
                self.act(at, Action::CutToStore(id, true));
                self.act(at, Action::CutFromStore(id, true));
            }
            End::Release => {
                let ask = if M::request(Ask::Unlock).is_some() { Ask::Unlock } else { Ask::Close };
                self.act(at, Action::Ask(id, ask));
            }
        }
    }

    /// Who holds, as far as it was told, apart from `but`.
    fn holder(&self, but: Option<InstanceId>) -> Option<InstanceId> {
        let ids = (0..self.scenario.setup.instances).map(InstanceId).filter(|id| Some(*id) != but);
        ids.filter(|id| self.world.instance(*id).state == State::Up)
            .find(|id| self.world.instance(*id).caller.stage == Stage::Holding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times: Vec<_> = (1..=10).map(Span::from_secs).collect();
        let takeovers = Takeovers { end: End::Crash, hints: true, bound: None, times, never: 0 };
        assert_eq!(takeovers.percentile(50), Some(Span::from_secs(5)));
        assert_eq!(takeovers.percentile(99), Some(Span::from_secs(10)));
        let none = Takeovers { times: Vec::new(), ..takeovers };
        assert_eq!((none.percentile(50), none.longest()), (None, None));
    }
}
