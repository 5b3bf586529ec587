//! Fingerprints: of a world in normal form, from those of its parts.

use std::hash::Hash;

use crate::digest::Fingerprint;
use crate::subject::{Play, Subject};
use crate::world::{Flight, Instance, World, parts};

/// The fingerprint of an instance at its place.
pub(super) fn print_of_instance<M: Subject>(
    place: usize,
    one: &Instance<M>,
    colour: Option<u64>,
    whole: bool,
) -> u64 {
    let mut print = Fingerprint::new();
    print.word(place as u64);
    colour.into_iter().for_each(|colour| print.word(colour));
    if whole {
        one.machine.hash(&mut print);
        hash_instance(one, &mut print);
    }
    print.value()
}

/// The fingerprint of all that is neither instance nor message, but for the counters of the stores.
pub(crate) fn print_of_rest<M: Subject>(world: &World<M>) -> u64 {
    let mut print = Fingerprint::new();
    for store in &world.stores {
        store.shelves.hash(&mut print);
        store.replica.hash(&mut print);
        (store.paused, store.grain, store.resumed, store.clock.errors()).hash(&mut print);
    }
    world.fences.hash(&mut print);
    if M::PLAY.has_jobs() {
        world.runs.hash(&mut print);
    }
    world.void_until.hash(&mut print);
    print.value()
}

/// The fingerprint of a world from those of its parts. Messages under way are a bag: theirs are summed up.
pub(crate) fn join(instances: impl Iterator<Item = u64>, rest: u64, flights: u64) -> u64 {
    let mut print = Fingerprint::new();
    instances.for_each(|instance| print.word(instance));
    print.word(rest);
    print.word(flights);
    print.value()
}

/// All that counts of an instance but its machine.
pub(super) fn hash_instance<M: Subject>(instance: &Instance<M>, print: &mut Fingerprint) {
    let pair = |one: u32, other: u32| u64::from(one) << 32 | u64::from(other);
    let (caller, (rate, wall_offset)) = (&instance.caller, instance.clock.errors());
    let flags = [caller.patient, instance.to_store_cut, instance.from_store_cut, instance.cut_short];
    let small = [instance.state as u32, caller.stage as u32, instance.fate as u32];
    let small = flags.into_iter().fold(0, |sum, flag| sum << 1 | u32::from(flag)) << 6
        | small.into_iter().fold(0, |sum, number| sum << 2 | number);
    print.word(pair(small, caller.acquisition));
    print.word(caller.token.map_or(0, |token| token.0 + 1));
    print.word(caller.deadline.as_nanos());
    print.word(caller.asked.as_nanos());
    print.word(instance.lease_end.as_nanos());
    print.word(pair(instance.trouble, instance.trouble_at_notice));
    print.word(pair(instance.resource, instance.incarnation));
    print.word(parts(instance.identity).map_or(u64::MAX, |(_, incarnation)| u64::from(incarnation)));
    print.word(pair(instance.setbacks.bits(), rate.0.cast_unsigned()));
    print.word(wall_offset.cast_unsigned());
    if M::PLAY == Play::Lead {
        instance.part.hash(print);
    }
    if M::PREEMPTS {
        print.word(instance.hit_in_possession.as_nanos());
    }
}

pub(crate) fn print_of_flight<M: Subject>(flight: &Flight<M>) -> u64 {
    let pair = |one: u32, other: u32| u64::from(one) << 32 | u64::from(other);
    let mut print = Fingerprint::new();
    let flags = [flight.stalled, flight.is_copy, flight.awaited, flight.refused_by_itself, flight.prolonged];
    let small = flags.into_iter().fold(u32::from(flight.store.0), |sum, flag| sum << 1 | u32::from(flag));
    print.word(pair(flight.instance.0, small));
    print.word(pair(flight.tag.instance.0, flight.tag.acquisition));
    print.word(pair(flight.trouble, flight.faults.bits()));
    print.word(flight.sent.as_nanos());
    print.word(flight.since.as_nanos());
    print.word(flight.sent_mono.as_nanos());
    if flight.awaited {
        flight.call.hash(&mut print);
    }
    flight.leg.hash(&mut print);
    print.value()
}
