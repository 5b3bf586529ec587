//! Runs the reference workload and prints what an event costs.
//!
//! ```text
//! cargo run --release --example reference -- [INSTANCES] [HOURS] [LOCKS]
//! ```

use std::time::Instant;

use fencepost::time::Span;
use fencepost_sim::Reference;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = |usual: u64| match arguments.next() {
        Some(Ok(number @ 1..=1_000_000)) => number,
        Some(_) => {
            eprintln!("usage: reference [INSTANCES] [HOURS] [LOCKS], each a number from 1 to 1000000");
            std::process::exit(2);
        }
        None => usual,
    };
    let (instances, hours, locks) = (next(10), next(1), next(1));
    let mut reference = Reference::new(instances as u32, locks as u32, Span::from_secs(3_600 * hours));
    let start = Instant::now();
    let outcome = reference.run(1);
    let elapsed = start.elapsed();
    let per_event = elapsed.as_nanos() as f64 / outcome.events as f64;
    println!(
        "{instances} instances · {locks} locks · {hours} simulated h · {} events · {} acquisitions · {per_event:.1} ns/event · hash {:016x}",
        outcome.events, outcome.acquisitions, outcome.hash
    );
    assert!(outcome.violations.is_empty(), "the reference workload breaks nothing: {:?}", outcome.violations);
}
