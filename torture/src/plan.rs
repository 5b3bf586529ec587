//! What is done to whom, and when: all of it follows from a seed.
//!
//! What it comes to does not: real processes run as fast as they do, and meet the same blow in another place. A blow to
//! somebody who is already down falls flat.

use std::fmt;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::words::Delivery;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Fault {
    /// A worker is stopped (SIGSTOP), for up to twice the lock's time to live, and goes on.
    Stop,
    /// A worker is killed (SIGKILL), and started again.
    Kill,
    /// A worker's connections are cut.
    Cut,
    /// A worker's connections are cut, and new ones refused for a while.
    Drop,
    /// Whatever a worker sends and is sent is held back for a while.
    Stall,
    /// Whatever a worker sends and is sent takes longer for a while.
    Delay,
    /// The server is stopped for a while.
    ServerStop,
    /// The server is killed, and started again.
    ServerKill,
}

impl Fault {
    pub(crate) const ALL: [Fault; 8] = [
        Fault::Stop,
        Fault::Kill,
        Fault::Cut,
        Fault::Drop,
        Fault::Stall,
        Fault::Delay,
        Fault::ServerStop,
        Fault::ServerKill,
    ];

    /// Whether it needs a connection.
    pub(crate) const fn needs_connection(self) -> bool {
        matches!(self, Fault::Cut | Fault::Drop | Fault::Stall | Fault::Delay)
    }

    /// Whether it needs a server that may be harmed.
    pub(crate) const fn needs_server(self) -> bool {
        matches!(self, Fault::ServerStop | Fault::ServerKill)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fault::Stop => "stop",
            Fault::Kill => "kill",
            Fault::Cut => "cut",
            Fault::Drop => "drop",
            Fault::Stall => "stall",
            Fault::Delay => "delay",
            Fault::ServerStop => "server-stop",
            Fault::ServerKill => "server-kill",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A blow: a fault, whom it hits, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) fault: Fault,
    /// Which worker; of no meaning for what hits the server.
    pub(crate) who: usize,
    /// Whoever holds the lock at that moment is hit instead, if anybody does.
    pub(crate) is_aimed: bool,
    pub(crate) lasts: Duration,
}

/// Something that the tormentor does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    Hit(Hit),
    /// Has a worker schedule a job.
    Schedule {
        who: usize,
        delivery: Delivery,
        job: u32,
        after: Duration,
    },
}

/// What a round is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) workers: usize,
    pub(crate) storm: Duration,
    pub(crate) faults: Vec<Fault>,
}

/// All that a seed determines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// How long a lock lives that nobody renews.
    pub(crate) ttl: Duration,
    pub(crate) fifo: bool,
    /// What is done, in the order of time since the beginning of the round.
    pub(crate) deeds: Vec<(Duration, Deed)>,
    /// How many jobs each scheduler gets.
    pub(crate) jobs: u32,
    /// From which workers draw.
    pub(crate) seed: u64,
}

/// A round has no more, as a history has room for a hundred.
const JOBS_MAX: u32 = 90;

impl Plan {
    pub(crate) fn of_seed(seed: u64, shape: &Shape) -> Plan {
        // Each draws from a stream of its own: another fault does not change the jobs.
        let stream = |stream| {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            dice.set_stream(stream);
            dice
        };
        let mut dice = stream(0);
        let ttl = Duration::from_millis([1_200, 2_000, 3_000][dice.random_range(0..3)]);
        let mut plan =
            Plan { ttl, fifo: dice.random_range(0..2) == 0, deeds: Vec::new(), jobs: 0, seed: dice.random() };
        plan.add_hits(&mut stream(1), shape);
        plan.add_jobs(&mut stream(2), shape);
        plan.deeds.sort_by_key(|(at, _)| *at);
        plan
    }

    fn add_hits(&mut self, dice: &mut ChaCha8Rng, shape: &Shape) {
        if shape.faults.is_empty() {
            return;
        }
        let mut at = Duration::from_millis(dice.random_range(300..900));
        while at < shape.storm {
            let fault = shape.faults[dice.random_range(0..shape.faults.len())];
            let who = dice.random_range(0..shape.workers);
            let lasts = self.draw_length(dice, fault);
            let is_aimed = dice.random_range(0..2) == 0;
            self.deeds.push((at, Deed::Hit(Hit { fault, who, is_aimed, lasts })));
            at += Duration::from_millis(dice.random_range(50..700));
        }
    }

    /// How long it lasts. Half of what holds a worker up does so beyond its lease.
    fn draw_length(&self, dice: &mut ChaCha8Rng, fault: Fault) -> Duration {
        let ttl = self.ttl.as_millis() as u64;
        let millis = match fault {
            Fault::Stop | Fault::Stall | Fault::Drop => dice.random_range(ttl / 10..ttl * 2),
            Fault::Kill => dice.random_range(0..ttl * 3 / 2),
            Fault::Cut => 0,
            Fault::Delay => dice.random_range(ttl / 4..ttl * 2),
            Fault::ServerStop => dice.random_range(100..ttl * 3 / 2),
            Fault::ServerKill => dice.random_range(0..500),
        };
        Duration::from_millis(millis)
    }

    fn add_jobs(&mut self, dice: &mut ChaCha8Rng, shape: &Shape) {
        let mut at = Duration::from_millis(200);
        while at < shape.storm && self.jobs < JOBS_MAX {
            let job = self.jobs;
            for delivery in Delivery::ALL {
                let who = dice.random_range(0..shape.workers);
                let after = Duration::from_millis(dice.random_range(0..1_500));
                self.deeds.push((at, Deed::Schedule { who, delivery, job, after }));
            }
            self.jobs += 1;
            at += Duration::from_millis(dice.random_range(200..700));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape { workers: 4, storm: Duration::from_secs(60), faults: Fault::ALL.to_vec() }
    }

    #[test]
    fn a_seed_determines_a_plan_and_another_one_another() {
        assert_eq!(Plan::of_seed(7, &shape()), Plan::of_seed(7, &shape()));
        assert_ne!(Plan::of_seed(7, &shape()).deeds, Plan::of_seed(8, &shape()).deeds);
    }

    #[test]
    fn every_fault_that_is_switched_on_comes_and_no_other() {
        let comes = |faults: &[Fault], fault| {
            let shape = Shape { faults: faults.to_vec(), ..shape() };
            let plan = Plan::of_seed(1, &shape);
            plan.deeds.iter().any(|(_, deed)| matches!(deed, Deed::Hit(hit) if hit.fault == fault))
        };
        for fault in Fault::ALL {
            assert!(comes(&Fault::ALL, fault), "{fault}");
            assert_eq!(comes(&[Fault::Kill], fault), fault == Fault::Kill, "{fault}");
        }
        assert!(
            !Plan::of_seed(1, &Shape { faults: Vec::new(), ..shape() }).deeds.is_empty(),
            "there are jobs"
        );
    }

    #[test]
    fn other_faults_do_not_change_the_jobs_and_a_history_has_room_for_them() {
        let jobs = |faults: &[Fault]| {
            let shape = Shape { faults: faults.to_vec(), storm: Duration::from_secs(600), ..shape() };
            let plan = Plan::of_seed(3, &shape);
            assert!(plan.jobs <= 100, "{}", plan.jobs);
            plan.deeds
                .into_iter()
                .filter(|(_, deed)| matches!(deed, Deed::Schedule { .. }))
                .collect::<Vec<_>>()
        };
        assert_eq!(jobs(&[Fault::Stop]), jobs(&Fault::ALL));
    }
}
