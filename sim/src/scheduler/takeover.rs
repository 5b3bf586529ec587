//! How long it takes until another one holds, measured in virtual time.

use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::property::PropertySet;
use fencepost_models::subject::{Ask, InstanceId, JobId, Play, Subject, Writing};
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

/// Every object is to be something else so often, where leadership comes of work; a unit takes so long at most.
const WISHES: Span = Span::from_secs(1);
const UNIT: Span = Span::from_millis(50);
/// Within so much time everybody sees what is wanted, and what was written.
const SIGHT: Span = Span::from_millis(60);

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
    if M::PLAY == Play::Write {
        (scenario.setup.jobs, scenario.workload.hold_max) = (1, UNIT);
        scenario.end = Time::ZERO + (M::ttl(config) + M::lateness(config)) * 4;
    }
    let promised = match end {
        End::Crash | End::Partition => M::takeover(config),
        End::Release => M::handover(config),
    };
    let work = if M::PLAY == Play::Write { WISHES + SIGHT + UNIT } else { Span::ZERO };
    let traffic = scenario.setup.bounds.delay * 2 * ROUND_TRIPS + work;
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
        match M::PLAY {
            // The newest wins: the one who is to take over asks when the holder has come to its end.
            Play::Lock if M::PREEMPTS => self.others(InstanceId(0)).for_each(|id| _ = self.cancel_ask(id)),
            Play::Write => self.plan_steady_wishes(),
            Play::Lock | Play::Lead | Play::Job | Play::Once => {}
        }
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
        if M::PREEMPTS
            && let Some(next) = self.others(last).next()
        {
            self.act(at, Action::Ask(next, Ask::Lock));
        }
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

    fn others(&self, but: InstanceId) -> impl Iterator<Item = InstanceId> + use<M> {
        (0..self.scenario.setup.instances).map(InstanceId).filter(move |id| *id != but)
    }

    /// Now and then another value is wanted, which everybody sees in his own time.
    fn plan_steady_wishes(&mut self) {
        let (mut at, mut value) = (Time::ZERO, 0);
        while at < self.scenario.end {
            (at, value) = (at + WISHES, value + 1);
            for id in (0..self.scenario.setup.instances).map(InstanceId) {
                let lag = up_to(&mut self.streams.workload, SIGHT);
                self.plan(at + lag, Action::Ask(id, Ask::Object(JobId(0), Writing::Wish(value))));
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
