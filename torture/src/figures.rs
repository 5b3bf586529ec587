//! What a torture came to, in figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use fencepost_models::property::Property;
use serde_json::{Value, json};

use crate::journal::Counts;
use crate::plan::Fault;
use crate::round::Outcome;

/// What was counted over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rounds: u64,
    pub(crate) hits: BTreeMap<Fault, u64>,
    pub(crate) counts: Counts,
    /// How often each property was broken, in how many rounds.
    pub(crate) broken: BTreeMap<Property, u64>,
    /// The longest time after the healing of a round until everybody had got in and every job was done.
    pub(crate) slowest: Duration,
}

impl Figures {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.rounds += 1;
        for (fault, times) in &outcome.hits {
            *self.hits.entry(*fault).or_default() += times;
        }
        let (sum, one) = (&mut self.counts, &outcome.counts);
        for (sum, one) in sum.each_mut().into_iter().zip(one.each()) {
            *sum += one;
        }
        self.slowest = self.slowest.max(outcome.settled.unwrap_or_default());
    }

    pub(crate) fn break_one(&mut self, property: Property) {
        *self.broken.entry(property).or_default() += 1;
    }

    /// The faults that were switched on, and have hit nobody.
    pub(crate) fn missing(&self, faults: &[Fault]) -> Vec<Fault> {
        faults.iter().copied().filter(|fault| !self.hits.contains_key(fault)).collect()
    }

    pub(crate) fn text(&self, faults: &[Fault]) -> String {
        let mut text = String::new();
        let hits: Vec<_> =
            faults.iter().map(|fault| format!("{fault} {}", self.hits.get(fault).unwrap_or(&0))).collect();
        let _ = writeln!(text, "faults      {}", hits.join(", "));
        let counts = Counts::NAMES.into_iter().zip(self.counts.each());
        for (name, count) in counts {
            let _ = writeln!(text, "{name:11} {count}");
        }
        let _ = writeln!(
            text,
            "{:11} {:.1} s after the healing, in the slowest round",
            "all well",
            self.slowest.as_secs_f64()
        );
        for (property, rounds) in &self.broken {
            let _ = writeln!(text, "VIOLATED    {property} in {rounds} rounds: {}", property.sentence());
        }
        if self.broken.is_empty() {
            let _ = writeln!(text, "violations  none");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let hits: BTreeMap<_, _> = self.hits.iter().map(|(fault, times)| (fault.name(), times)).collect();
        let broken: BTreeMap<_, _> =
            self.broken.iter().map(|(property, rounds)| (property.name(), rounds)).collect();
        let counts: BTreeMap<_, _> = Counts::NAMES.into_iter().zip(self.counts.each()).collect();
        let slowest_ms = self.slowest.as_millis() as u64;
        json!({ "rounds": self.rounds, "faults": hits, "counts": counts, "violations": broken, "settled_max_ms": slowest_ms })
    }
}
