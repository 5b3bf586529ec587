//! Nodes that wait, in little room: what one of them is made of, others are made of too.
//!
//! There are many more nodes than instances, messages and stores that differ. So each of these is kept once; an instance
//! with its messages is a [`Group`] of their numbers, and a node is a row: the number of its rest, that of its budget, and
//! those of its groups, by their places.

use hashbrown::HashTable;

use super::{Budget, NOON_TIME, Spend};
use crate::clock::{Rate, Time};
use crate::digest::Fingerprint;
use crate::normal::{Bits, Normaliser, print_of_flight, print_of_rest};
use crate::property::Fence;
use crate::runs::Runs;
use crate::store::SimStore;
use crate::subject::{InstanceId, Subject};
use crate::world::{Flight, Instance, Stage, State, World, identity, parts};

/// The number of a part that is not known.
pub(super) const NONE: u32 = u32::MAX;

/// What groups are made of.
#[derive(Clone, Debug)]
enum Part<M: Subject> {
    Instance(Instance<M>),
    Flight(Flight<M>),
}

/// An instance at its place, and its messages.
#[derive(Clone, Debug)]
pub(super) struct Group {
    print: u64,
    /// What it looks like by itself.
    pub(super) colour: u64,
    /// The fingerprint of the instance, if no machine knows another one, and if one does.
    pub(super) faces: [u64; 2],
    /// The sum of those of the messages.
    pub(super) flights: u64,
    /// The names it bears, if there is room for them.
    bits: [u64; 2],
    /// Where its members begin, and how many messages there are among them.
    start: u32,
    messages: u16,
    pub(super) knows_another: bool,
    /// Whether it believes that it holds.
    pub(super) believes: bool,
    /// Whether its clock runs as it should.
    pub(super) is_true: bool,
    /// Whether it waits for an answer.
    pub(super) waits: bool,
    /// Whether it waits for the outcome of what it has ended.
    pub(super) is_leaving: bool,
    /// Whether it holds, or stands still.
    pub(super) is_busy: bool,
    /// Whether it holds, as far as it was told.
    pub(super) holds: bool,
    /// Whether it could lead.
    pub(super) is_able: bool,
}

impl Group {
    /// The names it bears, if there is room for them.
    #[inline]
    pub(super) fn bits(&self) -> Option<Bits> {
        let [low, high] = self.bits;
        (high != u64::MAX).then_some(Bits(u128::from(low) | u128::from(high) << 64))
    }
}

/// Adds to a row that never has room for many more than it holds.
fn add<T>(row: &mut Vec<T>, value: T) {
    if row.len() == row.capacity() {
        row.reserve_exact(row.len() / 8 + 64);
    }
    row.push(value);
}

/// What there is in a node besides instances and messages.
#[derive(Clone, Debug)]
pub(super) struct Rest<M: Subject> {
    key: u64,
    stores: Vec<SimStore<M::Store>>,
    fences: Vec<Fence>,
    pub(super) runs: Runs,
    void_until: Time,
    /// Its share of a node's fingerprint.
    pub(super) print: u64,
    pub(super) counter: u64,
    /// The token of the fence, and whether it knows who wrote.
    pub(super) token: u64,
    pub(super) has_writer: bool,
    /// The names it bears but for those of the fence, and those.
    pub(super) bits: Option<[Bits; 2]>,
}

/// Every part of every node that was frozen.
#[derive(Debug)]
pub struct Parts<M: Subject> {
    numbers: HashTable<u32>,
    parts: Vec<(u64, Part<M>)>,
    of_groups: HashTable<u32>,
    groups: Vec<Group>,
    members: Vec<u32>,
    of_rests: HashTable<u32>,
    rests: Vec<Rest<M>>,
    budgets: Vec<Budget>,
    keeps_order: bool,
    /// What is left of each of them after something was spent.
    spent: Vec<[u32; Spend::ALL.len()]>,
}

impl<M: Subject> Parts<M> {
    /// None. If messages of several instances are told in their order, whatever it is, a row has one number more.
    pub fn new(keeps_order: bool) -> Parts<M> {
        Parts {
            keeps_order,
            numbers: HashTable::new(),
            parts: Vec::new(),
            of_groups: HashTable::new(),
            groups: Vec::new(),
            members: Vec::new(),
            of_rests: HashTable::new(),
            rests: Vec::new(),
            budgets: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Freezes a world at noon: its row goes to the end of `row`.
    pub fn freeze(
        &mut self,
        world: &mut World<M>,
        budget: &Budget,
        normaliser: &mut Normaliser,
        row: &mut Vec<u32>,
    ) {
        row.push(self.freeze_rest(world, normaliser));
        row.push(self.number_of_budget(budget));
        for index in 0..world.instances.len() {
            row.push(self.freeze_group(world, InstanceId(index as u32), normaliser));
        }
        if self.keeps_order {
            row.push(order_of_flights(world));
        }
    }

    pub(super) fn freeze_rest(&mut self, world: &mut World<M>, normaliser: &mut Normaliser) -> u32 {
        let (print, counter) = (print_of_rest(world), world.stores[0].counter);
        let mut key = Fingerprint::new();
        key.word(print);
        key.word(counter);
        // Some revisions are borne by instances only, and the stores do not show whose they are.
        world.stores[0].keys.iter().flatten().for_each(|&of| key.word(of));
        let key = key.value();
        if let Some(&number) = self.of_rests.find(key, |&number| self.rests[number as usize].key == key) {
            return number;
        }
        let bits = normaliser.bits_of_stores(world).zip(normaliser.bits_of_fence(world));
        let (stores, fences, void_until) = (world.stores.clone(), world.fences.clone(), world.void_until);
        let runs = world.runs.clone();
        let Fence { token, writer } = fences[0];
        let has_writer = writer.is_some();
        let bits = bits.filter(|_| token != 0 || !has_writer).map(|(stores, fence)| [stores, fence]);
        self.add_rest(Rest { key, stores, fences, runs, void_until, print, counter, token, has_writer, bits })
    }

    fn add_rest(&mut self, rest: Rest<M>) -> u32 {
        let number = self.rests.len() as u32;
        let rests = &self.rests;
        self.of_rests.insert_unique(rest.key, number, |&number| rests[number as usize].key);
        add(&mut self.rests, rest);
        number
    }

    pub(super) fn freeze_group(
        &mut self,
        world: &mut World<M>,
        id: InstanceId,
        normaliser: &mut Normaliser,
    ) -> u32 {
        let print = Normaliser::print_of_group(world, id);
        if let Some(number) = self.group_of(print) {
            return number;
        }
        let face = normaliser.face(world, id);
        let own = |flight: &&Flight<M>| flight.instance == id;
        let flights = || world.flights().map(|(_, flight)| flight).filter(own);
        let sum = flights().map(print_of_flight).fold(0, u64::wrapping_add);
        let start = self.members.len() as u32;
        // What it waits for follows from the messages.
        let instance = world.instance(id);
        let (state, stage, part) = (instance.state, instance.caller.stage, instance.part);
        let member = self.part(face.full, || Part::Instance(instance.awaiting(Vec::new())));
        add(&mut self.members, member);
        for flight in flights() {
            let member = self.part(print_of_flight(flight), || Part::Flight(flight.clone()));
            add(&mut self.members, member);
        }
        let messages = self.members.len() as u32 - start - 1;
        let (believes, is_true) = (world.believes_at(id, NOON_TIME), instance.clock.rate() == Rate::TRUE);
        let bits = normaliser.bits_of_instance(world, id);
        self.add_group(Group {
            print,
            start,
            messages: messages as u16,
            colour: face.colour,
            faces: [face.short, face.full],
            flights: sum,
            bits: bits.map_or([u64::MAX; 2], |Bits(bits)| [bits as u64, (bits >> 64) as u64]),
            knows_another: face.knows_another,
            believes,
            is_true,
            waits: state != State::Down && matches!(stage, Stage::Waiting | Stage::Leaving),
            is_leaving: state != State::Down && (stage == Stage::Leaving || part.is_closing()),
            is_busy: state == State::Paused || (state == State::Up && stage == Stage::Holding),
            holds: state != State::Down && stage == Stage::Holding,
            is_able: state != State::Down && stage == Stage::Waiting && part.may_lead(),
        })
    }

    fn group_of(&self, print: u64) -> Option<u32> {
        self.of_groups.find(print, |&number| self.groups[number as usize].print == print).copied()
    }

    fn add_group(&mut self, group: Group) -> u32 {
        let number = self.groups.len() as u32;
        let groups = &self.groups;
        self.of_groups.insert_unique(group.print, number, |&number| groups[number as usize].print);
        add(&mut self.groups, group);
        number
    }

    fn part(&mut self, print: u64, part: impl FnOnce() -> Part<M>) -> u32 {
        let Parts { numbers, parts, .. } = self;
        if let Some(&number) = numbers.find(print, |&number| parts[number as usize].0 == print) {
            return number;
        }
        let number = parts.len() as u32;
        numbers.insert_unique(print, number, |&number| parts[number as usize].0);
        add(parts, (print, part()));
        number
    }

    pub(super) fn number_of_budget(&mut self, budget: &Budget) -> u32 {
        let known = self.budgets.iter().position(|other| other == budget);
        let number = known.unwrap_or_else(|| {
            self.budgets.push(*budget);
            self.spent.push([NONE; Spend::ALL.len()]);
            self.budgets.len() - 1
        });
        number as u32
    }

    pub(super) fn budget(&self, number: u32) -> &Budget {
        &self.budgets[number as usize]
    }

    /// What is left of a budget once something was spent; none, if there is nothing of it.
    pub(super) fn spend(&mut self, number: u32, what: Option<Spend>) -> Option<u32> {
        let Some(what) = what else { return Some(number) };
        if self.budgets[number as usize].left(what) == 0 {
            return None;
        }
        let known = self.spent[number as usize][what as usize];
        if known != NONE {
            return Some(known);
        }
        let mut budget = self.budgets[number as usize];
        budget.spend(what);
        let left = self.number_of_budget(&budget);
        self.spent[number as usize][what as usize] = left;
        Some(left)
    }

    #[inline]
    pub(super) fn group(&self, number: u32) -> &Group {
        &self.groups[number as usize]
    }

    #[inline]
    pub(super) fn rest(&self, number: u32) -> &Rest<M> {
        &self.rests[number as usize]
    }

    /// Makes `world` that of the node again, in the memory that it has.
    pub fn thaw(&self, row: &[u32], world: &mut World<M>, budget: &mut Budget) {
        *budget = self.budgets[row[1] as usize];
        self.thaw_rest(row[0], world);
        let count = world.instances.len();
        for (place, &group) in row[2..count + 2].iter().enumerate() {
            self.thaw_group(group, place, world);
        }
        if let Some(&order) = row.get(count + 2) {
            world.flights.interleave(order_from(order));
            world.await_flights();
        }
        world.name_believers();
    }

    /// The rest, and no messages.
    pub(super) fn thaw_rest(&self, number: u32, world: &mut World<M>) {
        let rest = &self.rests[number as usize];
        world.now = NOON_TIME;
        world.flights.clear();
        world.stores.clone_from(&rest.stores);
        world.fences.clone_from(&rest.fences);
        world.runs.clone_from(&rest.runs);
        world.void_until = rest.void_until;
    }

    pub(super) fn thaw_group(&self, number: u32, place: usize, world: &mut World<M>) {
        let Group { start, messages, .. } = self.groups[number as usize];
        let members = &self.members[start as usize..=start as usize + usize::from(messages)];
        for &member in members {
            match &self.parts[member as usize].1 {
                Part::Instance(instance) => {
                    let thawed = &mut world.instances[place];
                    thawed.clone_from(instance);
                    // One that stood elsewhere may look just like it, but for whose incarnation it is.
                    if let Some((_, incarnation)) = parts(thawed.identity) {
                        thawed.identity = identity(place as u32, incarnation);
                    }
                }
                Part::Flight(flight) => {
                    let id = world.flights.push(flight.clone());
                    if let Some(call) = flight.call.filter(|_| flight.awaited) {
                        world.instances[place].awaited.push((call, id));
                    }
                }
            }
        }
    }

    /// The memory they take, in bytes, but for what is in the stores.
    pub fn bytes(&self) -> usize {
        let tables = [&self.numbers, &self.of_groups, &self.of_rests];
        tables.into_iter().map(HashTable::allocation_size).sum::<usize>()
            + self.parts.capacity() * size_of::<(u64, Part<M>)>()
            + self.groups.capacity() * size_of::<Group>()
            + self.members.capacity() * size_of::<u32>()
            + self.rests.capacity() * (size_of::<Rest<M>>() + size_of::<SimStore<M::Store>>())
    }
}

/// Whose each message is, in their order, two bits for each; zero, if they are too many.
fn order_of_flights<M: Subject>(world: &World<M>) -> u32 {
    let mut order = 1_u32;
    for (_, flight) in world.flights() {
        if order.leading_zeros() < 2 || flight.instance.0 > 3 {
            return 0;
        }
        order = order << 2 | flight.instance.0;
    }
    order
}

/// The same, one after the other.
fn order_from(order: u32) -> impl Iterator<Item = InstanceId> {
    let count = (32 - order.leading_zeros()).saturating_sub(1) / 2;
    (0..count).rev().map(move |at| InstanceId(order >> (2 * at) & 3))
}

/// Which number among one's parts each part of another one's has.
#[derive(Clone, Debug, Default)]
pub struct Bridge {
    parts: Vec<u32>,
    groups: Vec<u32>,
    rests: Vec<u32>,
}

fn known(numbers: &mut Vec<u32>, number: u32) -> &mut u32 {
    if numbers.len() <= number as usize {
        numbers.resize(number as usize + 1, NONE);
    }
    &mut numbers[number as usize]
}

impl<M: Subject> Parts<M> {
    /// Takes a node over that was frozen among other parts; its row goes to the end of `row`.
    pub fn adopt(&mut self, theirs: &[u32], from: &Parts<M>, bridge: &mut Bridge, row: &mut Vec<u32>) {
        let rest = known(&mut bridge.rests, theirs[0]);
        if *rest == NONE {
            let other = &from.rests[theirs[0] as usize];
            let found = self.of_rests.find(other.key, |&number| self.rests[number as usize].key == other.key);
            *rest = found.copied().unwrap_or_else(|| self.add_rest(other.clone()));
        }
        row.push(*rest);
        row.push(self.number_of_budget(from.budget(theirs[1])));
        let groups = theirs.len() - usize::from(self.keeps_order);
        for &theirs in &theirs[2..groups] {
            if *known(&mut bridge.groups, theirs) == NONE {
                let number = self.adopt_group(&from.groups[theirs as usize], from, bridge);
                *known(&mut bridge.groups, theirs) = number;
            }
            row.push(bridge.groups[theirs as usize]);
        }
        row.extend(&theirs[groups..]);
    }

    fn adopt_group(&mut self, group: &Group, from: &Parts<M>, bridge: &mut Bridge) -> u32 {
        if let Some(number) = self.group_of(group.print) {
            return number;
        }
        let start = self.members.len() as u32;
        for &member in
            &from.members[group.start as usize..=group.start as usize + usize::from(group.messages)]
        {
            let number = known(&mut bridge.parts, member);
            if *number == NONE {
                let (print, part) = &from.parts[member as usize];
                *number = self.part(*print, || part.clone());
            }
            add(&mut self.members, *number);
        }
        self.add_group(Group { start, ..group.clone() })
    }
}
