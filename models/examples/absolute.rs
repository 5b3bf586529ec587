//! How many states a mutex has without a normal form, within a number of steps, and with one.
//!
//! ```text
//! cargo run --release --package fencepost-models --example absolute -- INSTANCES TTL STEPS
//! ```
//!
//! Nothing goes wrong; a message takes a tick at most. Without a normal form a state is what instances, callers, stores
//! and messages are, with times, revisions and attempts as they are; what monitors keep is left out, and so are the
//! numbers of messages, on which nothing depends.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Duration;

use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Fairness, Mutex, MutexConfig};
use fencepost::time::{Ppm, Span};
use fencepost_models::checker::{Budget, Explorer, Model, Scope, Walk};
use fencepost_models::digest::Fingerprint;
use fencepost_models::property::{Property, PropertySet};
use fencepost_models::world::{Bounds, Setup};

/// After how many states the first count ends.
const ENOUGH: usize = 1_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u32>().ok());
    let (Some(Some(instances)), Some(Some(ttl)), Some(Some(steps))) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!(
            "absolute takes three numbers: INSTANCES TTL STEPS; see the head of models/examples/absolute.rs"
        );
        std::process::exit(2);
    };
    let [named, alike] = [false, true].map(|symmetry| mutex(instances, ttl, symmetry));
    let shown = |counts: &[usize], at: usize| counts.get(at).or(counts.last()).copied().unwrap_or_default();
    let (absolute, named, alike) = (absolute(&named, steps), normal(&named), normal(&alike));
    println!("steps | as it is | normal form | and symmetry");
    for (at, count) in absolute.iter().enumerate() {
        println!("{at} | {count} | {} | {}", shown(&named, at), shown(&alike, at));
    }
    println!("any number | no end | {} | {}", shown(&named, usize::MAX), shown(&alike, usize::MAX));
}

/// The mutex as `fencelab check` has it, with nothing wrong.
fn mutex(instances: u32, ttl: u32, symmetry: bool) -> Model<Mutex> {
    let tick = Duration::from_secs(1);
    let nano = Duration::from_nanos(1);
    let config = MutexConfig {
        lease: LeaseConfig {
            ttl: tick * ttl,
            refresh_interval: tick,
            jitter: Ppm::ZERO,
            // As long as it can be.
            renew_timeout: tick * (ttl - 1) - nano,
            drift: Ppm::ZERO,
            delay_bound: Duration::ZERO,
            ablated: None,
        },
        poll_interval: tick,
        fairness: Fairness::Unordered,
        lock_delay: Duration::ZERO,
        metrics_group: None,
    };
    let config = config.terms().expect("a sound configuration");
    let tick = Span::from(tick);
    let bounds = Bounds {
        delay: tick,
        slack: tick.minus(Span::from_nanos(1)),
        call: tick * 2,
        orphan: Span::ZERO,
        progress: tick * 20,
    };
    let setup = Setup {
        config,
        instances,
        resources: 1,
        jobs: 0,
        stores: 1,
        hints: false,
        merges_hints: true,
        bounds,
        strict: false,
    };
    let unasked = PropertySet::of(&[Property::Order, Property::Determinism, Property::Stability]);
    let judged = PropertySet::usual().without(unasked);
    Model::new(Scope {
        setup,
        tick,
        budget: Budget::NONE,
        judged,
        keeps_facts: false,
        symmetry,
        reduction: false,
        at_once: false,
    })
}

/// How many states can be met within so many steps, for each number up to it, or until they are too many.
fn absolute(model: &Model<Mutex>, steps: u32) -> Vec<usize> {
    let start = model.start();
    let mut seen = BTreeSet::from([print(&start)]);
    let (mut layer, mut choices, mut counts) = (vec![start], Vec::new(), vec![1]);
    while counts.len() <= steps as usize && seen.len() < ENOUGH {
        let mut met = Vec::new();
        for walk in layer.drain(..) {
            model.choices(&walk.world, walk.now, &walk.budget, &mut choices);
            for &choice in &choices {
                let mut next = walk.clone();
                next.make(model, choice);
                next.steps.clear();
                if seen.insert(print(&next)) {
                    met.push(next);
                }
            }
        }
        layer = met;
        counts.push(seen.len());
    }
    counts
}

/// What tells a walk from others.
fn print(walk: &Walk<Mutex>) -> u64 {
    let mut print = Fingerprint::new();
    let world = &walk.world;
    walk.now.hash(&mut print);
    for one in world.instances() {
        (&one.machine, &one.clock, one.state, one.incarnation()).hash(&mut print);
        let caller = &one.caller;
        (caller.stage, caller.acquisition, caller.token, caller.deadline).hash(&mut print);
    }
    for store in world.stores() {
        (&store.clock, store.counter, &store.shelves).hash(&mut print);
    }
    // Messages under way are a bag.
    let flights = world.flights().map(|(_, flight)| {
        let mut print = Fingerprint::new();
        (flight.instance, flight.tag, flight.call, &flight.leg, flight.since).hash(&mut print);
        flight.is_awaited().hash(&mut print);
        print.value()
    });
    print.word(flights.fold(0, u64::wrapping_add));
    print.value()
}

/// The same in normal form, up to the last state that can ever be met.
fn normal(model: &Model<Mutex>) -> Vec<usize> {
    let mut explorer = Explorer::new(model);
    let (mut layer, mut counts) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::from([explorer.root(&mut layer)]);
    while !layer.is_empty() {
        counts.push(seen.len());
        let mut met = Vec::new();
        for row in layer.chunks_exact(explorer.row_len()) {
            explorer.leave(
                row,
                |_| false,
                |_, arrival| {
                    if seen.insert(arrival.print) {
                        met.extend(arrival.row);
                    }
                },
            );
        }
        layer = met;
    }
    counts
}
