//! Nodes that wait, in little room: what one of them is made of, others are made of too.
//!
//! There are many more nodes than instances, messages and stores that differ. So each of these [`Parts`] is kept
//! once, and a node is a row of their numbers.

use hashbrown::HashTable;

use super::Budget;
use crate::clock::Time;
use crate::digest::Fingerprint;
use crate::normal::Normaliser;
use crate::property::Fence;
use crate::runs::Runs;
use crate::store::SimStore;
use crate::subject::Subject;
use crate::world::{Flight, Instance, World, identity, parts};

/// Marks the last number of a row.
const LAST: u32 = 1 << 31;

/// Marks the number of a part that is among those just found.
const FOUND: u32 = 1 << 30;

/// What nodes are made of.
#[derive(Clone, Debug)]
enum Part<M: Subject> {
    Instance(Instance<M>),
    Flight(Flight<M>),
    Rest(Rest<M>),
}

/// What there is in a node besides instances and messages.
#[derive(Clone, Debug)]
struct Rest<M: Subject> {
    stores: Vec<SimStore<M::Store>>,
    fences: Vec<Fence>,
    runs: Runs,
    void_until: Time,
    budget: Budget,
}

/// Every part of every node that was frozen.
#[derive(Debug)]
pub struct Parts<M: Subject> {
    numbers: HashTable<u32>,
    parts: Vec<(u64, Part<M>)>,
}

/// Nodes that were frozen, and what they are made of that was in none before.
#[derive(Debug)]
pub struct Frozen<M: Subject> {
    rows: Vec<u32>,
    found: Vec<(u64, Part<M>)>,
}

impl<M: Subject> Default for Frozen<M> {
    fn default() -> Frozen<M> {
        Frozen { rows: Vec::new(), found: Vec::new() }
    }
}

impl<M: Subject> Frozen<M> {
    /// Freezes the node that `normaliser` brought to normal form last. What it is made of may be among `parts`
    /// already.
    pub fn push(&mut self, world: &World<M>, budget: &Budget, normaliser: &Normaliser, parts: &Parts<M>) {
        self.part(print_of_rest(world, budget, normaliser), parts, || {
            let (stores, fences, runs) = (world.stores.clone(), world.fences.clone(), world.runs.clone());
            Part::Rest(Rest { stores, fences, runs, void_until: world.void_until, budget: *budget })
        });
        let (instances, flights) = normaliser.prints().split_at(world.instances.len());
        for (instance, &print) in world.instances.iter().zip(instances) {
            // What it waits for follows from the messages.
            self.part(print, parts, || Part::Instance(instance.awaiting(Vec::new())));
        }
        for ((_, flight), &print) in world.flights().zip(flights) {
            self.part(print, parts, || Part::Flight(flight.clone()));
        }
        if let Some(last) = self.rows.last_mut() {
            *last |= LAST;
        }
    }

    fn part(&mut self, print: u64, parts: &Parts<M>, part: impl FnOnce() -> Part<M>) {
        let number = parts.find(print).unwrap_or_else(|| {
            self.found.push((print, part()));
            (self.found.len() - 1) as u32 | FOUND
        });
        self.rows.push(number);
    }

    /// The nodes, in order.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        rows(&self.rows)
    }

    /// Forgets them all; the memory is kept.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.found.clear();
    }
}

/// The nodes of which these are the numbers, one after the other.
pub fn rows(numbers: &[u32]) -> impl Iterator<Item = &[u32]> {
    numbers.chunk_by(|number, _| number & LAST == 0)
}

impl<M: Subject> Default for Parts<M> {
    fn default() -> Parts<M> {
        Parts { numbers: HashTable::new(), parts: Vec::new() }
    }
}

impl<M: Subject> Parts<M> {
    fn find(&self, print: u64) -> Option<u32> {
        self.numbers.find(print, |&number| self.parts[number as usize].0 == print).copied()
    }

    /// Takes a node over from where it was frozen, and its row to the end of `numbers`.
    pub fn adopt(&mut self, row: &[u32], from: &Frozen<M>, numbers: &mut Vec<u32>) {
        for &number in row {
            let is_found = number & FOUND != 0;
            let known =
                if is_found { self.add(&from.found[(number & !(FOUND | LAST)) as usize]) } else { number };
            numbers.push(known | number & LAST);
        }
    }

    fn add(&mut self, (print, part): &(u64, Part<M>)) -> u32 {
        self.find(*print).unwrap_or_else(|| {
            let number = self.parts.len() as u32;
            let parts = &self.parts;
            self.numbers.insert_unique(*print, number, |&number| parts[number as usize].0);
            self.parts.push((*print, part.clone()));
            number
        })
    }

    /// Makes `world` that of the node again, in the memory that it has.
    pub fn thaw(&self, row: &[u32], world: &mut World<M>, budget: &mut Budget) {
        world.flights.clear();
        let mut place = 0;
        for number in row {
            match &self.parts[(number & !LAST) as usize].1 {
                Part::Rest(rest) => {
                    world.stores.clone_from(&rest.stores);
                    world.fences.clone_from(&rest.fences);
                    world.runs.clone_from(&rest.runs);
                    (world.void_until, *budget) = (rest.void_until, rest.budget);
                }
                Part::Instance(instance) => {
                    let thawed = &mut world.instances[place];
                    thawed.clone_from(instance);
                    // One that stood elsewhere may look just like it, but for whose incarnation it is.
                    if let Some((_, incarnation)) = parts(thawed.identity) {
                        thawed.identity = identity(place as u32, incarnation);
                    }
                    place += 1;
                }
                Part::Flight(flight) => {
                    let id = world.flights.push(flight.clone());
                    if let Some(call) = flight.call.filter(|_| flight.awaited) {
                        world.instances[flight.instance.index()].awaited.push((call, id));
                    }
                }
            }
        }
        world.name_believers();
    }

    /// The memory they take, in bytes, but for what is in the stores.
    pub fn bytes(&self) -> usize {
        self.numbers.allocation_size() + self.parts.capacity() * size_of::<(u64, Part<M>)>()
    }
}

fn print_of_rest<M: Subject>(world: &World<M>, budget: &Budget, normaliser: &Normaliser) -> u64 {
    let mut print = Fingerprint::new();
    print.word(normaliser.print_of_stores());
    world.stores.iter().for_each(|store| print.word(store.counter));
    budget.words().into_iter().for_each(|word| print.word(word));
    print.value()
}
