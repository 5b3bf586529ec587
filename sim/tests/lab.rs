//! What the laboratory promises: the originals are caught, ours is not, and each protection is needed.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::store::{Answer, Contract, Expect, Op, Revision};
use fencepost::time::{Instant, Now, Span};
use fencepost_models::trace::Deed;
use fencepost_sim::{
    Algorithm, Ask, Card, FaultSet, Faults, Outcome, Property, Registration, Replayed, Report, Runner, Shape,
    Shows, Shrunk, Subject, Told, Trace, TraceError, algorithms, hunt,
};

use common::{algorithm, assert_known, assert_shown};

/// A recorded run is a fair one: applied again strictly it is the same run, with nothing overdue.
#[test]
fn every_recorded_run_replays_strictly() {
    for algorithm in algorithms() {
        for seed in 1..=15 {
            let shape = Shape::default();
            let trace = algorithm.record(&shape, seed);
            let replayed = algorithm.replay(&trace).expect("its own trace");
            let name = &algorithm.card().name;
            assert_eq!(replayed.divergence, None, "{name}, seed {seed}");
            assert_eq!(algorithm.runner(&shape).run(seed).hash, replayed.outcome.hash, "{name}, seed {seed}");
        }
    }
}

/// Every declared defect is found, its story is short, and nothing is found that was not declared.
fn check_original(name: &str, seeds: u64) {
    let algorithm = algorithm(name);
    let report = hunt(&*algorithm).seeds(seeds).run();
    assert_eq!(report.missing, Vec::<&str>::new(), "{name}: declared and not found");
    assert_known(name, &report);
    for find in &report.finds {
        let (label, steps) = (find.group.defect, find.trace.steps.len());
        assert!(steps <= 15, "{name}: {label:?} takes {steps} events to tell");
        let shows = find.trace.header.shows.as_ref().expect("it says what it shows");
        assert_eq!(shows.defect.as_deref(), label);
        assert_shown(&*algorithm, &find.trace);
    }
}

#[test]
fn the_plugin_api_mutex_shows_its_defects_and_no_others() {
    check_original("upstream/plugin-api-mutex", 3_000);
}

#[test]
fn the_calls_mutex_shows_its_defects_and_no_others() {
    check_original("upstream/calls-mutex", 3_000);
}

#[test]
fn the_mutex_survives_the_storm_and_every_fault_is_noticed() {
    let (unordered, fifo) = (algorithm("mutex"), algorithm("mutex-fifo"));
    let reports = [hunt(&*unordered).seeds(600).run(), hunt(&*fifo).seeds(400).run()];
    let mut ledger = reports[0].ledger.clone();
    reports.iter().for_each(Report::expect_clean);
    ledger.merge(&reports[1].ledger);
    assert_eq!(ledger.unproven(), FaultSet::NONE);
    let configured: FaultSet =
        ledger.rows().filter(|(_, tally)| tally.configured > 0).map(|(fault, _)| fault).collect();
    assert_eq!(configured, FaultSet::storm());
}

#[test]
fn without_faults_nobody_loses_anything() {
    for name in ["mutex", "mutex-fifo"] {
        hunt(&*algorithm(name)).faults(Faults::None).seeds(150).run().expect_clean();
        hunt(&*algorithm(name)).faults(Faults::Calm).seeds(150).run().expect_clean();
    }
}

/// Takes one protection away and names the property that fails.
fn check_ablation(name: &str, property: Property) {
    let algorithm = algorithm(name);
    let report = hunt(&*algorithm).seeds(4_000).run();
    let broken: Vec<_> = report.groups.iter().map(|group| group.property).collect();
    assert!(broken.contains(&property), "{name} breaks {broken:?}");
    let story = report.finds.first().expect("a story").trace.steps.len();
    assert!(story <= 30, "{name} takes {story} events to tell");
}

#[test]
fn without_identity_two_hold_the_lock() {
    check_ablation("ablation/identity", Property::BelievedExclusion);
    check_ablation("ablation/identity", Property::FencedExclusion);
}

#[test]
fn without_compare_on_release_another_ones_entry_is_deleted() {
    check_ablation("ablation/compare-on-release", Property::OwnerOnlyRelease);
}

#[test]
fn without_the_deadline_from_send_belief_outlives_the_lease() {
    check_ablation("ablation/deadline-from-send", Property::BelievedExclusion);
}

#[test]
fn without_retry_one_failure_costs_the_lock() {
    check_ablation("ablation/retry-inside-ttl", Property::Stability);
}

#[test]
fn without_reconciliation_a_claimant_waits_for_itself() {
    check_ablation("ablation/reconciliation", Property::Reconciliation);
}

#[test]
fn without_the_drift_margin_a_slow_clock_believes_too_long() {
    check_ablation("ablation/drift-margin", Property::BelievedExclusion);
}

#[test]
fn without_the_queue_the_first_is_not_the_first() {
    check_ablation("ablation/queue", Property::Order);
}

/// A lock that claims once: whoever finds it taken is turned away, though it would have waited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GivesUp(Option<Revision>);

impl Machine for GivesUp {
    type Config = Span;
    type Store = Contract<(), ()>;
    type Request = Ask;
    type Event = Told;
    type Message = ();
    type Call = Ask;
    fn new(_: &Span, _: Identity) -> GivesUp {
        GivesUp(None)
    }
    fn step(&mut self, ttl: &Span, _: Now, input: Input<GivesUp>, out: &mut Effects<GivesUp>) {
        match input {
            Input::Request(Ask::Lock) => {
                let (expect, ttl) = (Expect::Absent, Some(*ttl));
                out.store(Ask::Lock, Op::PutIf { key: (), expect, record: (), ttl });
            }
            Input::Reply { call: Ask::Lock, answer: Answer::Applied(revision), .. } => {
                self.0 = Some(revision);
                out.event(Told::Acquired(Some(revision.into())));
            }
            Input::Reply { call: Ask::Lock, .. } => out.event(Told::Denied),
            Input::Request(_) => {
                if let Some(revision) = self.0.take() {
                    out.store(Ask::Unlock, Op::DeleteIf { key: (), revision });
                }
                out.event(Told::Released);
            }
            Input::Reply { .. } | Input::Message(()) | Input::Wake => {}
        }
    }
    fn deadline(&self, _: &Span) -> Option<Instant> {
        None
    }
    fn relocate(&mut self, map: &mut impl Relocate) {
        self.0.iter_mut().for_each(|revision| map.revision(revision));
    }
}

impl Subject for GivesUp {
    fn request(ask: Ask) -> Option<Ask> {
        matches!(ask, Ask::Lock | Ask::Unlock).then_some(ask)
    }
    fn told(event: &Told) -> Told {
        *event
    }
    fn belief(&self) -> Option<Instant> {
        self.0.map(|_| Instant::MAX)
    }
    fn ttl(config: &Span) -> Span {
        *config
    }
}

/// It is noticed when it happens: at the end nobody waits any more.
#[test]
fn a_lock_that_turns_a_patient_caller_away_is_noticed() {
    let lock = Registration::<GivesUp>::new("gives-up", "claims once", |_| Span::from_secs(60));
    let report = hunt(&lock).faults(Faults::None).seeds(20).run();
    let broken: Vec<_> = report.groups.iter().map(|group| group.property).collect();
    assert_eq!(broken, [Property::Progress]);
    let tale = &report.finds.first().expect("a story").trace;
    assert!(matches!(tale.steps.last().expect("a step").deed, Deed::Deliver { .. }), "{tale:?}");
}

/// An algorithm that looks at something besides its seed: how many runs there were before.
struct Forgetful(Box<dyn Algorithm>);

static RUNS: AtomicU64 = AtomicU64::new(0);

struct Counting<'a>(Box<dyn Runner + 'a>);

impl Runner for Counting<'_> {
    fn run(&mut self, seed: u64) -> Outcome {
        let outcome = self.0.run(seed);
        Outcome { hash: outcome.hash ^ RUNS.fetch_add(1, Ordering::Relaxed), ..outcome }
    }
}

impl Algorithm for Forgetful {
    fn card(&self) -> &Card {
        self.0.card()
    }
    fn runner(&self, shape: &Shape) -> Box<dyn Runner + '_> {
        Box::new(Counting(self.0.runner(shape)))
    }
    fn record(&self, shape: &Shape, seed: u64) -> Trace {
        self.0.record(shape, seed)
    }
    fn replay(&self, trace: &Trace) -> Result<Replayed, TraceError> {
        self.0.replay(trace)
    }
    fn shrink(
        &self,
        trace: &Trace,
        shows: &Shows,
        tick: &dyn Fn(usize),
    ) -> Result<Option<Shrunk>, TraceError> {
        self.0.shrink(trace, shows, tick)
    }
}

#[test]
fn a_run_that_depends_on_more_than_its_seed_is_noticed() {
    let report = hunt(&Forgetful(algorithm("mutex"))).from_seed(500).seeds(20).run();
    let broken: Vec<_> = report.groups.iter().map(|group| group.property).collect();
    assert_eq!(broken, [Property::Determinism]);
}

/// A store that wipes its counter issues a token twice: nothing survives that, and nothing is promised.
#[test]
fn a_wiped_counter_breaks_fencing() {
    let report = hunt(&*algorithm("lab/wiped-counter")).seeds(2_000).run();
    assert!(report.groups.iter().any(|group| group.property == Property::FencedExclusion));
}

/// A host that names a restarted instance as before makes it take what its dead namesake left for its own.
#[test]
fn a_reused_identity_breaks_exclusion() {
    let report = hunt(&*algorithm("lab/reused-identity")).seeds(4_000).run();
    for property in [Property::BelievedExclusion, Property::FencedExclusion, Property::Stability] {
        assert!(report.groups.iter().any(|group| group.property == property), "{property} holds");
    }
    assert_eq!(report.unknown().count(), 0);
    assert_eq!(report.ledger.unproven(), FaultSet::NONE);
    let tale = &report.find("reused").expect("it is declared").trace.steps;
    assert!(tale.iter().any(|step| matches!(step.deed, Deed::Rejoin { .. })), "{tale:?}");
}
