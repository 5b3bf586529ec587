//! What the laboratory promises of itself.

use fencepost_sim::{Shape, algorithms};

/// A recorded run is a fair one: applied again strictly it is the same run, with nothing overdue.
#[test]
fn every_recorded_run_replays_strictly() {
    for algorithm in algorithms() {
        for seed in 1..=40 {
            let shape = Shape::default();
            let trace = algorithm.record(&shape, seed);
            let replayed = algorithm.replay(&trace).expect("its own trace");
            let name = &algorithm.card().name;
            assert_eq!(replayed.divergence, None, "{name}, seed {seed}");
            assert_eq!(algorithm.runner(&shape).run(seed).hash, replayed.outcome.hash, "{name}, seed {seed}");
        }
    }
}
