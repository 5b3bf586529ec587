//! The workloads by which simulators are compared.

use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::job::{Job, JobConfig};
use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Mutex, MutexConfig};
use fencepost::time::{Ppm, Span};
use fencepost_models::property::PropertySet;
use fencepost_models::subject::Subject;

use super::{Outcome, Simulator};
use crate::algorithms::JOB_PROMISES;
use crate::scenario::Scenario;

/// The workload by which simulators are compared, run on the mutex: each instance locks, holds for up to 20 s,
/// unlocks, does something else for up to 5 s; a message takes 1 to 50 ms; nothing goes wrong. TTL 15 s, renewal
/// each 7.5 s, attempts each second ± 20 %. Every property is judged and the hash is kept; no trace is.
///
/// [`Reference::recurring`] runs the like of it on recurring jobs.
pub struct Reference<M: Subject = Mutex> {
    simulator: Simulator<M>,
    scenario: Scenario<M::Config>,
}

impl Reference {
    /// So many instances on so many locks, for so long.
    pub fn new(instances: u32, resources: u32, length: Span) -> Reference {
        let lease = LeaseConfig {
            refresh_interval: Duration::from_millis(7_500),
            jitter: Ppm::percent(20),
            ..LeaseConfig::default()
        };
        // Fewer than three renewals fit into a time to live: a configuration that the mutex itself would refuse.
        let terms = MutexConfig { lease, ..MutexConfig::default() }.unchecked_terms();
        Reference::of(terms, instances, resources, length, PropertySet::usual())
    }
}

impl Reference<Job> {
    /// So many jobs on this schedule, each of them started on each of so many hosts within 5 s, for so long. A callback
    /// takes up to 20 s, a message 1 to 50 ms; nothing goes wrong. Everything else is a job's default; all that a job
    /// promises is judged.
    ///
    /// A machine serves one job on one host, so there are `hosts * jobs` of them.
    pub fn recurring(schedule: Schedule, hosts: u32, jobs: u32, length: Span) -> Reference<Job> {
        let terms = JobConfig::new(schedule).unchecked_terms();
        Reference::of(terms, hosts * jobs, jobs, length, PropertySet::of(&JOB_PROMISES))
    }
}

impl<M: Subject> Reference<M> {
    fn of(
        terms: M::Config,
        instances: u32,
        resources: u32,
        length: Span,
        promises: PropertySet,
    ) -> Reference<M> {
        let ttl = M::ttl(&terms);
        let scenario = Scenario::reference(terms, ttl, instances, resources, length);
        Reference { simulator: Simulator::new(0, scenario.clone(), promises), scenario }
    }

    /// Runs one seed.
    pub fn run(&mut self, seed: u64) -> Outcome {
        self.simulator.run(seed, self.scenario.clone(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_occurrence_of_each_job_is_run_once_on_one_of_its_hosts() {
        let schedule = Schedule::cron("*/5 * * * *", "UTC").unwrap();
        let mut reference = Reference::recurring(schedule, 4, 3, Span::from_secs(3_600 + 60));
        for seed in 1..=20 {
            let outcome = reference.run(seed);
            assert_eq!(outcome.violations, []);
            assert_eq!(outcome.acquisitions, 12 * 3, "seed {seed}");
        }
    }
}
