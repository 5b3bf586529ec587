//! The workload by which simulators are compared.

use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Mutex, MutexConfig, MutexTerms};
use fencepost::time::{Ppm, Span};
use fencepost_models::property::PropertySet;

use super::{Outcome, Simulator};
use crate::scenario::Scenario;

/// The workload by which simulators are compared, run on the mutex: each instance locks, holds for up to 20 s,
/// unlocks, does something else for up to 5 s; a message takes 1 to 50 ms; nothing goes wrong. TTL 15 s, renewal
/// each 7.5 s, attempts each second ± 20 %. Every property is judged and the hash is kept; no trace is.
pub struct Reference {
    simulator: Simulator<Mutex>,
    scenario: Scenario<MutexTerms>,
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
        let ttl = terms.entry_ttl();
        let scenario = Scenario::reference(terms, ttl, instances, resources, length);
        Reference { simulator: Simulator::new(0, scenario.clone(), PropertySet::usual()), scenario }
    }

    /// Runs one seed.
    pub fn run(&mut self, seed: u64) -> Outcome {
        self.simulator.run(seed, self.scenario.clone(), false)
    }
}
