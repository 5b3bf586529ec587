//! Normal form: two worlds that differ in names and in the hour of the day only are one.
//!
//! A lease mutex runs for ever, so its clocks, revisions and attempts grow for ever, and no two of its states are
//! equal. Yet nothing that it does depends on them as such. The normal form of a world keeps what does count:
//!
//! | what | becomes |
//! |---|---|
//! | now, on every clock | the same moment, [`NOON`] |
//! | an instant of a machine | its distance from now; older than the [horizon](Subject::horizon), it is just old |
//! | a true time that a monitor keeps | its distance from now; beyond every bound, its rank among such |
//! | a store time that a machine keeps | its rank: only the order of such counts |
//! | the same, where lengths are added to it, or an answer is under way that is as old | its distance from the next one, up to the longest such length |
//! | the expiry of an entry | its distance from the store's now |
//! | revisions and tokens, incarnations, attempts, acquisitions | their ranks; of revisions, only the order among those of one key counts where there are jobs |
//! | instances, where the algorithm treats all alike | sorted |
//! | an expired entry, a dead machine, what no monitor will ask for again | forgotten |
//!
//! The normal form of a world is a world: a checker goes on from it, and so nothing may be lost by which the two would
//! ever differ. `models/tests/normal.rs` walks through both side by side. What may be forgotten, clamped and ranked is
//! written here once, in the walk of each part.

mod bits;
mod forget;
mod names;
mod print;

pub(crate) use bits::Bits;
pub use names::Names;
pub(crate) use print::{join, print_of_flight, print_of_rest};

use fencepost::machine::Relocate;
use fencepost::time::{Draw, Instant, Point, Span, Timestamp};

use crate::checker::{Budget, Scope, Spend};
use crate::clock::{Time, WALL_ORIGIN};
use crate::digest::Fingerprint;
use crate::property::{Fence, Property, PropertySet, joining};
use crate::store::{Mark, SimStore, Simulated};
use crate::subject::{InstanceId, Subject};
use crate::world::{Bounds, Flight, Instance, Leg, World};

use names::Pass;
use print::{hash_instance, print_of_instance};

/// What every clock shows in a world in normal form, in nanoseconds since its origin: long after anything a world
/// remembers, and a whole number of milliseconds.
pub const NOON: u64 = 1_000_000_000_000_000;

const MILLI: u64 = 1_000_000;

fn noon<C>() -> Point<C> {
    Point::from_nanos(NOON)
}

/// The same distance from noon as from `now`.
fn moved<C>(point: Point<C>, now: Point<C>) -> Point<C> {
    if point >= now { noon() + point.since(now) } else { noon::<C>() - now.since(point) }
}

impl Mark {
    /// Shows its names to `names`.
    pub fn relocate(&mut self, names: &mut Names) {
        names.tag(&mut self.by);
        names.time(&mut self.touched);
        names.time(&mut self.abandoned);
        names.time(&mut self.noticed);
        names.expiry(&mut self.expires);
    }
}

impl Fence {
    fn relocate(&mut self, names: &mut Names) {
        names.number(&mut self.token);
        if let Some((id, acquisition)) = &mut self.writer {
            names.acquisition(*id, acquisition);
            names.instance(id);
        }
    }
}

impl<M: Subject> Instance<M> {
    fn relocate(&mut self, id: InstanceId, names: &mut Names) {
        names.here = names.monos[id.index()];
        self.machine.relocate(names);
        names.identity(&mut self.identity);
        names.incarnation(id, &mut self.incarnation);
        names.acquisition(id, &mut self.caller.acquisition);
        names.time(&mut self.caller.asked);
        names.grace(&mut self.caller.deadline);
        names.grace(&mut self.lease_end);
        if self.hit_in_possession != Time::ZERO {
            names.departure(&mut self.hit_in_possession);
        }
        names.revision(&mut self.part.seen);
        if let Some(token) = &mut self.caller.token {
            names.token(token);
        }
    }
}

impl<M: Subject> Flight<M> {
    fn relocate(&mut self, names: &mut Names) {
        names.here = names.monos[self.instance.index()];
        names.tag(&mut self.tag);
        names.time(&mut self.sent);
        names.departure(&mut self.since);
        names.sent(&mut self.sent_mono);
        match &mut self.leg {
            Leg::Request(op) => M::Store::relocate_op(op, names),
            Leg::Reply(answer, at) => {
                M::Store::relocate_answer(answer, names);
                names.answer(at);
            }
            Leg::Write { token, .. } => names.number(token),
            Leg::Hint(message) => M::relocate_message(message, names),
            Leg::Lost | Leg::Landed => {}
        }
        names.instance(&mut self.instance);
    }
}

impl<P: Simulated> SimStore<P> {
    fn relocate(&mut self, names: &mut Names) {
        names.time(&mut self.resumed);
        for shelf in self.shelves.iter_mut().chain(self.replica.iter_mut().flatten()) {
            P::relocate_shelf(shelf, names);
        }
    }
}

impl<M: Subject> World<M> {
    fn relocate(&mut self, names: &mut Names) {
        for (index, instance) in self.instances.iter_mut().enumerate() {
            instance.relocate(InstanceId(index as u32), names);
        }
        self.flights.iter_mut().for_each(|(_, flight)| flight.relocate(names));
        self.stores.iter_mut().for_each(|store| store.relocate(names));
        self.runs.relocate(names);
        self.fences.iter_mut().for_each(|fence| fence.relocate(names));
    }
}

/// Brings worlds to their normal form. It keeps its memory from one to the next.
#[derive(Clone, Debug)]
pub struct Normaliser {
    names: Names,
    bounds: Bounds,
    judged: PropertySet,
    keeps_facts: bool,
    is_symmetric: bool,
    /// Longer than any length that a monitor adds to a time before it compares it with another.
    far: Span,
    /// For how long it counts that a holder was hit; zero, if nobody asks.
    hearing: Span,
    /// Longer than any length that is added to a store time or a wall time that is remembered.
    calendar: Span,
    /// The same of a store time that an answer bears.
    answer: Span,
    tick: Span,
    order: Vec<u32>,
    colours: Vec<u64>,
}

impl Normaliser {
    /// One for the worlds of this scope; if it `sorts`, instances that can be exchanged are.
    ///
    /// # Panics
    ///
    /// If what is due may wait for a whole tick, or if there is more than one store: what is forgotten here would count.
    pub fn new<M: Subject>(scope: &Scope<M::Config>, sorts: bool) -> Normaliser {
        let Scope { setup, tick, budget, judged, .. } = scope;
        assert!(setup.bounds.slack < *tick, "the slack is {}; it must be below a tick", setup.bounds.slack);
        assert!(setup.stores <= 1, "there are {} stores; a checker knows one", setup.stores);
        let (bounds, ttl) = (setup.bounds, M::ttl(&setup.config));
        let left = |what: Spend| u64::from(budget.left(what));
        let names = Names {
            horizon: M::horizon(&setup.config),
            phase: M::phase(&setup.config),
            ttl,
            slack: bounds.slack,
            late: if left(Spend::Grain) > 0 { *tick } else { Span::ZERO },
            named: Span::MAX,
            // An incarnation that bears an old name counts its attempts anew, and so meets its old numbers one by one.
            keeps_serials: left(Spend::Rejoin) > 0,
            keeps_distances: M::PLAY.has_jobs() || M::calendar_horizon(&setup.config) > Span::ZERO,
            ..Names::default()
        };
        let in_order =
            if judged.has(Property::Order) { joining::<M>(&setup.config, &bounds) } else { Span::ZERO };
        let far = (ttl + bounds.orphan).max(bounds.delay * 2 + bounds.slack).max(in_order);
        let far = far.max(M::spacing(&setup.config)) + Span::from_nanos(1);
        Normaliser {
            names,
            bounds,
            judged: *judged,
            keeps_facts: scope.keeps_facts,
            is_symmetric: sorts,
            far,
            hearing: if M::PREEMPTS && judged.has(Property::Stability) {
                World::<M>::hearing(&setup.config, &bounds)
            } else {
                Span::ZERO
            },
            calendar: M::calendar_horizon(&setup.config),
            answer: M::answer_horizon(&setup.config),
            tick: *tick,
            order: Vec::new(),
            colours: Vec::new(),
        }
    }

    /// Which instance of the world as it was stands at each place now.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Brings a world, as it is at `now`, to its normal form, in which it is noon. Gives its fingerprint. No more may
    /// go wrong from now on than is in the `budget`.
    pub fn normalise<M: Subject>(&mut self, world: &mut World<M>, now: Time, budget: &Budget) -> u64 {
        self.forget(world, now, None);
        self.rename(world, now, budget);
        self.settle(world, now);
        self.sort(world)
    }

    /// Replaces every name by its distance or its rank.
    pub(crate) fn rename<M: Subject>(&mut self, world: &mut World<M>, now: Time, budget: &Budget) {
        self.look(world, now);
        let names = &mut self.names;
        names.since.note(names.store_now.as_nanos());
        // Last, because a token that nothing else bears can meet no equal any more; and what has begun, because what
        // nothing else names cannot begin again.
        let (fences, begun) = (std::mem::take(&mut world.fences), world.runs.take_begun());
        world.relocate(names);
        world.fences = fences;
        world.runs.put_begun(begun, |occurrence| names.has(occurrence));
        world.runs.relocate_begun(names);
        self.forget_fences(world);
        self.shrink(world, now, budget);
        let names = &mut self.names;
        world.fences.iter_mut().for_each(|fence| fence.relocate(names));
        names.sort_revisions();
        names.pass = Pass::Rename;
        world.relocate(names);
        for store in &mut world.stores {
            store.counter = names.revisions.len();
            if let Some(keys) = &mut store.keys {
                keys.clear();
                keys.extend(names.by_key.iter().map(|(key, _)| key));
            }
        }
    }

    /// Reads every clock, before names are noted.
    fn look<M: Subject>(&mut self, world: &World<M>, now: Time) {
        let names = &mut self.names;
        names.survey(world.instances.len());
        names.now = now;
        names.store_now = world.stores[0].now(now);
        names.keys.clear();
        names.keys.extend(world.stores[0].keys.iter().flatten());
        names.monos.clear();
        names.monos.extend(world.instances.iter().map(|one| Instant::from_nanos(one.clock.read(now))));
    }

    /// Brings a world in which all but one instance are out of the question to noon, but for what depends on the others:
    /// ranks stay what they are. If time passed, it was a tick.
    pub(crate) fn settle_alone<M: Subject>(&mut self, world: &mut World<M>, now: Time, who: InstanceId) {
        self.forget(world, now, Some(who));
        self.look(world, now);
        self.names.pass = Pass::Shift;
        self.names.named = if now.as_nanos() == NOON { Span::MAX } else { self.tick };
        let names = &mut self.names;
        world.instances[who.index()].relocate(who, names);
        world.flights.iter_mut().for_each(|(_, flight)| flight.relocate(names));
        world.stores.iter_mut().for_each(|store| store.relocate(names));
        self.settle(world, now);
    }

    /// Makes what is long ago no longer than it need be.
    fn shrink<M: Subject>(&mut self, world: &World<M>, now: Time, budget: &Budget) {
        let names = &mut self.names;
        let far = self.far.as_nanos();
        names.times.shrink(now.as_nanos(), NOON, |_| far);
        // No wall clock shows less, now or ever.
        let left = |what: Spend| u64::from(budget.left(what));
        let behind = (names.ttl + self.tick) * left(Spend::Jump) + self.tick * left(Spend::Drift);
        let walls = world.instances.iter().map(|one| one.clock.now(now, Draw::default()).wall);
        let (true_wall, true_noon) = (WALL_ORIGIN + now.as_nanos(), WALL_ORIGIN + NOON);
        let oldest = walls.map(Timestamp::as_nanos).fold(true_wall, u64::min) - behind.as_nanos();
        let whole_millis = (names.ttl.max(self.calendar).as_nanos() / MILLI + 2) * MILLI;
        names.stamps.shrink(oldest, true_noon - (true_wall - oldest), |_| whole_millis);
        let grain = Span::from_nanos(1);
        let [remembered, answered] = [self.calendar, self.answer].map(|span| (span + grain).as_nanos());
        let oldest = names.answered.as_nanos();
        let far = |end: u64| if end <= oldest { remembered } else { answered };
        names.store_times.shrink(names.store_now.as_nanos(), NOON, far);
    }

    /// Sets every clock to noon, and what is not a name to what follows from it.
    fn settle<M: Subject>(&self, world: &mut World<M>, now: Time) {
        (world.now, world.applied) = (noon(), 0);
        if world.strict || world.void_until <= now {
            world.void_until = Time::ZERO;
        } else if world.void_until != Time::MAX {
            world.void_until = moved(world.void_until, now);
        }
        for instance in &mut world.instances {
            instance.clock.set_to_noon(now, M::READS_WALL);
        }
        for store in &mut world.stores {
            store.clock.set_to_noon(now, false);
        }
    }

    /// Puts the instances into an order that does not depend on their names, and takes the fingerprint.
    fn sort<M: Subject>(&mut self, world: &mut World<M>) -> u64 {
        let count = world.instances.len() as u32;
        self.order.clear();
        self.order.extend(0..count);
        if !self.is_symmetric {
            world.name_believers();
            return self.fingerprint(world);
        }
        self.colour(world);
        let colours = &mut self.colours;
        self.order.sort_by_key(|&index| colours[index as usize]);
        colours.sort_unstable();
        let sorted = std::mem::take(&mut self.order);
        self.place(world, &sorted);
        self.order = sorted;
        world.name_believers();
        let least = self.fingerprint(world);
        // Those who look alike by themselves may yet differ in what others know of them: the least of all orders counts.
        if self.colours.windows(2).all(|pair| pair[0] != pair[1]) {
            return least;
        }
        let candidates = orders_within(&self.colours);
        self.break_ties(world, &candidates, least)
    }

    /// What each instance looks like by itself.
    fn colour<M: Subject>(&mut self, world: &World<M>) {
        self.colours.clear();
        self.names.knows_another = false;
        for (index, instance) in world.instances.iter().enumerate() {
            let colour = self.colour_of(InstanceId(index as u32), instance);
            self.colours.push(colour);
        }
    }

    /// What an instance looks like by itself. Notes whether it knows another one.
    fn colour_of<M: Subject>(&mut self, id: InstanceId, instance: &Instance<M>) -> u64 {
        let mut machine = instance.machine.clone();
        self.names.pass = Pass::Mask(id);
        machine.relocate(&mut self.names);
        let mut print = Fingerprint::new();
        machine.hash(&mut print);
        hash_instance(instance, &mut print);
        print.value()
    }

    /// Moves the instance at `order[i]` to place `i`.
    pub(crate) fn place<M: Subject>(&mut self, world: &mut World<M>, order: &[u32]) {
        if order.iter().enumerate().all(|(place, &index)| place as u32 == index) {
            return;
        }
        let names = &mut self.names;
        names.places.resize(order.len(), 0);
        for (place, &index) in order.iter().enumerate() {
            names.places[index as usize] = place as u32;
        }
        names.pass = Pass::Permute;
        world.relocate(names);
        world.runs.sort_begun();
        let places = &mut names.places;
        for index in 0..places.len() {
            while places[index] as usize != index {
                let place = places[index] as usize;
                world.instances.swap(index, place);
                world.runs.swap(index, place);
                places.swap(index, place);
            }
        }
    }

    /// Tries every order of those who look alike, and leaves the world in that of the least fingerprint.
    fn break_ties<M: Subject>(
        &mut self,
        world: &mut World<M>,
        candidates: &[Vec<u32>],
        mut least: u64,
    ) -> u64 {
        let (mut present, mut best) = (candidates[0].clone(), candidates[0].clone());
        for candidate in &candidates[1..] {
            self.place(world, &steps_between(&present, candidate));
            present.clone_from(candidate);
            world.name_believers();
            let print = self.fingerprint(world);
            if print < least {
                least = print;
                best.clone_from(candidate);
            }
        }
        self.order = best.iter().map(|&place| self.order[place as usize]).collect();
        if present != best {
            self.place(world, &steps_between(&present, &best));
            world.name_believers();
            self.fingerprint(world);
        }
        least
    }

    /// The hash of a world in normal form: of all that its future depends on.
    fn fingerprint<M: Subject>(&mut self, world: &World<M>) -> u64 {
        let (is_symmetric, knows_another) = (self.is_symmetric, self.names.knows_another);
        let colours = &self.colours;
        let instances = world.instances.iter().enumerate().map(|(place, instance)| {
            let colour = is_symmetric.then(|| colours[place]);
            print_of_instance(place, instance, colour, !is_symmetric || knows_another)
        });
        let flights = world.flights().map(|(_, flight)| print_of_flight(flight));
        join(instances, print_of_rest(world), flights.fold(0, u64::wrapping_add))
    }

    /// A fingerprint of an instance and its messages, in a world at noon.
    pub(crate) fn print_of_group<M: Subject>(world: &World<M>, id: InstanceId) -> u64 {
        let own = world.flights().map(|(_, flight)| flight).filter(|flight| flight.instance == id);
        let flights = own.map(print_of_flight).fold(0, u64::wrapping_add);
        let instance = print_of_instance(id.index(), world.instance(id), None, true);
        join([instance].into_iter(), 0, flights)
    }

    /// What an instance is in a world at noon.
    pub(crate) fn face<M: Subject>(&mut self, world: &World<M>, id: InstanceId) -> Face {
        let (instance, place) = (world.instance(id), id.index());
        if !self.is_symmetric {
            let print = print_of_instance(place, instance, None, true);
            return Face { colour: 0, short: print, full: print, knows_another: false };
        }
        self.names.knows_another = false;
        let colour = self.colour_of(id, instance);
        let [short, full] =
            [false, true].map(|whole| print_of_instance(place, instance, Some(colour), whole));
        Face { colour, short, full, knows_another: self.names.knows_another }
    }

    /// Which names an instance and its messages bear, in a world at noon; none, if there are too many of them, or times
    /// that are long ago.
    pub(crate) fn bits_of_instance<M: Subject>(
        &mut self,
        world: &mut World<M>,
        id: InstanceId,
    ) -> Option<Bits> {
        self.look(world, Time::from_nanos(NOON));
        world.instances[id.index()].relocate(id, &mut self.names);
        let own = world.flights.iter_mut().filter(|(_, flight)| flight.instance == id);
        own.for_each(|(_, flight)| flight.relocate(&mut self.names));
        self.names.bits(self.far)
    }

    /// Which names the stores bear, in a world at noon; the same.
    pub(crate) fn bits_of_stores<M: Subject>(&mut self, world: &mut World<M>) -> Option<Bits> {
        self.look(world, Time::from_nanos(NOON));
        world.stores.iter_mut().for_each(|store| store.relocate(&mut self.names));
        self.names.bits(self.far)
    }

    /// Which names the fence bears, as long as something else bears its token; the same.
    pub(crate) fn bits_of_fence<M: Subject>(&mut self, world: &mut World<M>) -> Option<Bits> {
        self.look(world, Time::from_nanos(NOON));
        world.fences.iter_mut().for_each(|fence| fence.relocate(&mut self.names));
        self.names.bits(self.far)
    }
}

/// What an instance is, apart from its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Face {
    /// What it looks like by itself.
    pub(crate) colour: u64,
    /// Its fingerprint, if no machine knows another one.
    pub(crate) short: u64,
    /// Its fingerprint, if some machine does.
    pub(crate) full: u64,
    /// Whether its machine knows another one.
    pub(crate) knows_another: bool,
}

/// Every order of places in which only those change places whose colours, which are sorted, are equal. The first
/// changes nothing.
pub(crate) fn orders_within(colours: &[u64]) -> Vec<Vec<u32>> {
    let mut orders = vec![vec![0]];
    let mut group = 0;
    for (at, pair) in colours.windows(2).enumerate() {
        let newcomer = at + 1;
        group = if pair[0] == pair[1] { group } else { newcomer };
        orders = (group..=newcomer)
            .rev()
            .flat_map(|place| {
                orders.iter().map(move |order| {
                    let mut order = order.clone();
                    order.insert(place, newcomer as u32);
                    order
                })
            })
            .collect();
    }
    orders
}

/// Where to take each place of `to` from, in an arrangement that is `from`.
fn steps_between(from: &[u32], to: &[u32]) -> Vec<u32> {
    to.iter().map(|one| from.iter().position(|other| other == one).unwrap_or_default() as u32).collect()
}
