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
//! | the expiry of an entry | its distance from the store's now |
//! | revisions and tokens, incarnations, attempts, acquisitions | their ranks |
//! | instances, where the algorithm treats all alike | sorted |
//! | an expired entry, a dead machine, what no monitor will ask for again | forgotten |
//!
//! The normal form of a world is a world: a checker goes on from it. What may be forgotten, clamped and ranked is
//! written here once, in the walk of each part.

use std::hash::Hash;

use fencepost::machine::{Identity, Relocate};
use fencepost::store::{FencingToken, Revision};
use fencepost::time::{Instant, Point, Span, StoreTime, Timestamp};

use crate::clock::{Time, WALL_ORIGIN};
use crate::digest::Digest;
use crate::property::{Fate, Fence, Property, PropertySet};
use crate::store::{Mark, SimStore, Simulated, Tag};
use crate::subject::{InstanceId, Subject};
use crate::world::{Bounds, Flight, Instance, Leg, Setup, Stage, State, World, parts};

/// What every clock shows in a world in normal form, in nanoseconds since its origin: long after anything a world
/// remembers, and a whole number of milliseconds.
pub const NOON: u64 = 1_000_000_000_000_000;

/// Distinct values in order, each of which becomes its rank.
#[derive(Clone, Debug, Default)]
struct Ranks<T>(Vec<T>);

impl<T: Ord + Copy> Ranks<T> {
    fn note(&mut self, value: T) {
        if let Err(at) = self.0.binary_search(&value) {
            self.0.insert(at, value);
        }
    }

    fn of(&self, value: &T) -> u64 {
        self.0.partition_point(|other| other < value) as u64
    }

    fn has(&self, value: &T) -> bool {
        self.0.binary_search(value).is_ok()
    }
}

impl Ranks<(u64, u32)> {
    /// The rank among those of the same group.
    fn within(&self, group: u64, value: u32) -> u32 {
        (self.of(&(group, value)) - self.of(&(group, 0))) as u32
    }
}

/// What a walk through a world does with the names it meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pass {
    /// It notes them.
    #[default]
    Survey,
    /// It replaces them by distances and ranks.
    Rename,
    /// It says "mine" or "another's", for the sake of comparing instances.
    Mask(InstanceId),
    /// It gives instances other places.
    Permute,
}

/// The names in one world, and what becomes of each.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pass: Pass,
    now: Time,
    store_now: StoreTime,
    /// What each instance's monotonic clock shows.
    monos: Vec<Instant>,
    /// The clock of the machine that is being walked through.
    here: Instant,
    horizon: Span,
    phase: Span,
    far: Span,
    slack: Span,
    revisions: Ranks<u64>,
    since: Ranks<u64>,
    old: Ranks<u64>,
    incarnations: Ranks<(u64, u32)>,
    serials: Ranks<(u64, u32)>,
    acquisitions: Ranks<(u64, u32)>,
    /// Where each instance goes.
    places: Vec<u32>,
    /// Whether a machine knows another one's identity.
    knows_another: bool,
}

impl Names {
    fn survey(&mut self) {
        self.pass = Pass::Survey;
        self.revisions.0.clear();
        self.since.0.clear();
        self.old.0.clear();
        self.incarnations.0.clear();
        self.serials.0.clear();
        self.acquisitions.0.clear();
    }

    /// A point in true time. Zero and "never" stay.
    pub fn time(&mut self, time: &mut Time) {
        if *time == Time::ZERO || *time == Time::MAX {
            return;
        }
        let age = self.now.since(*time);
        match self.pass {
            Pass::Survey if age > self.far => self.old.note(time.as_nanos()),
            Pass::Rename if age > self.far => {
                let before = self.old.0.len() as u64 - self.old.of(&time.as_nanos());
                *time = noon() - self.far - Span::from_nanos(before);
            }
            Pass::Rename => *time = moved(*time, self.now),
            Pass::Survey | Pass::Mask(_) | Pass::Permute => {}
        }
    }

    /// When an entry expires on the store's clock.
    pub fn expiry(&mut self, time: &mut StoreTime) {
        if self.pass == Pass::Rename && *time != StoreTime::MAX {
            let oldest = self.store_now - self.far;
            *time = moved((*time).max(oldest), self.store_now);
        }
    }

    /// A reading of an instance's wall clock.
    pub fn timestamp(&mut self, time: &mut Timestamp) {
        if self.pass == Pass::Rename {
            let now = Timestamp::from_nanos(WALL_ORIGIN + self.now.as_nanos());
            *time = moved((*time).max(now - self.far * 2), now) + Span::from_nanos(WALL_ORIGIN);
        }
    }

    /// On whose behalf something was done.
    pub fn tag(&mut self, tag: &mut Tag) {
        self.acquisition(tag.instance, &mut tag.acquisition);
        self.instance(&mut tag.instance);
    }

    fn acquisition(&mut self, of: InstanceId, acquisition: &mut u32) {
        let group = u64::from(of.0);
        match self.pass {
            Pass::Survey => self.acquisitions.note((group, *acquisition)),
            Pass::Rename => *acquisition = self.acquisitions.within(group, *acquisition),
            Pass::Mask(_) | Pass::Permute => {}
        }
    }

    fn incarnation(&mut self, of: InstanceId, incarnation: &mut u32) {
        let group = u64::from(of.0);
        match self.pass {
            Pass::Survey => self.incarnations.note((group, *incarnation)),
            Pass::Rename => *incarnation = self.incarnations.within(group, *incarnation),
            Pass::Mask(_) | Pass::Permute => {}
        }
    }

    fn instance(&mut self, id: &mut InstanceId) {
        if self.pass == Pass::Permute {
            id.0 = self.places[id.index()];
        }
    }

    /// A point that is compared with now after a grace that is shorter than the horizon.
    fn grace(&mut self, deadline: &mut Instant) {
        if self.pass == Pass::Rename && *deadline != Instant::MAX {
            *deadline = moved((*deadline).max(self.here - self.slack - Span::from_nanos(1)), self.here);
        }
    }

    fn token(&mut self, token: &mut FencingToken) {
        let mut revision = Revision(token.0);
        self.revision(&mut revision);
        *token = revision.into();
    }

    fn number(&mut self, number: &mut u64) {
        let mut revision = Revision(*number);
        self.revision(&mut revision);
        *number = revision.0;
    }
}

impl Relocate for Names {
    fn instant(&mut self, instant: &mut Instant) {
        if self.pass != Pass::Rename || *instant == Instant::MAX {
            return;
        }
        let (age, phase) = (self.here.since(*instant), self.phase.as_nanos().max(1));
        *instant = if age <= self.horizon {
            moved(*instant, self.here)
        } else {
            noon() - self.horizon - Span::from_nanos(age.minus(self.horizon).as_nanos() % phase)
        };
    }

    fn deadline(&mut self, deadline: &mut Instant) {
        if self.pass == Pass::Rename && *deadline != Instant::MAX {
            *deadline = moved((*deadline).max(self.here), self.here);
        }
    }

    fn store_time(&mut self, time: &mut StoreTime) {
        if *time == StoreTime::ZERO {
            return;
        }
        match self.pass {
            Pass::Survey => self.since.note(time.as_nanos()),
            Pass::Rename => {
                // `since` has the store's now as its last element, and so the present keeps its name.
                let before = self.since.0.len() as u64 - 1 - self.since.of(&time.as_nanos());
                *time = noon() - Span::from_nanos(before);
            }
            Pass::Mask(_) | Pass::Permute => {}
        }
    }

    fn revision(&mut self, revision: &mut Revision) {
        if *revision == Revision::ANY {
            return;
        }
        match self.pass {
            Pass::Survey => self.revisions.note(revision.0),
            Pass::Rename => revision.0 = self.revisions.of(&revision.0) + 1,
            Pass::Mask(_) | Pass::Permute => {}
        }
    }

    fn identity(&mut self, identity: &mut Identity) {
        let Some((id, mut incarnation)) = parts(*identity) else { return };
        match self.pass {
            Pass::Survey | Pass::Rename => {
                self.incarnation(id, &mut incarnation);
                *identity = crate::world::identity(id.0, incarnation);
            }
            Pass::Mask(own) => {
                self.knows_another |= id != own;
                *identity = Identity(if id == own { u64::from(incarnation) } else { u64::MAX });
            }
            Pass::Permute => *identity = crate::world::identity(self.places[id.index()], incarnation),
        }
    }

    fn serial(&mut self, identity: Identity, serial: &mut u32) {
        match self.pass {
            Pass::Survey => self.serials.note((identity.0, *serial)),
            Pass::Rename => *serial = self.serials.within(identity.0, *serial),
            Pass::Mask(_) | Pass::Permute => {}
        }
    }
}

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
        names.time(&mut self.resumed);
        names.grace(&mut self.caller.deadline);
        names.grace(&mut self.lease_end);
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
        names.time(&mut self.since);
        names.instant(&mut self.sent_mono);
        match &mut self.leg {
            Leg::Request(op) => M::Store::relocate_op(op, names),
            Leg::Reply(answer, at) => {
                M::Store::relocate_answer(answer, names);
                names.store_time(at);
            }
            Leg::Write(token) => names.number(token),
            Leg::Lost | Leg::Hint(_) | Leg::Landed => {}
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
        self.fences.iter_mut().for_each(|fence| fence.relocate(names));
    }
}

/// Brings worlds to their normal form. It keeps its memory from one to the next.
#[derive(Clone, Debug)]
pub struct Normaliser {
    names: Names,
    bounds: Bounds,
    /// How long an expired entry may yet be revived by a store that lets them expire late.
    late: Span,
    judged: PropertySet,
    keeps_facts: bool,
    is_symmetric: bool,
    order: Vec<u32>,
    colours: Vec<u64>,
}

impl Normaliser {
    /// One for worlds of this setup, in which these properties are judged. `late` is how much later than it should
    /// an entry may expire. Who `keeps_facts` tells violations of one property with different
    /// [circumstances](crate::property::Facts) apart.
    pub fn new<M: Subject>(
        setup: &Setup<M::Config>,
        judged: PropertySet,
        late: Span,
        keeps_facts: bool,
        is_symmetric: bool,
    ) -> Normaliser {
        let (bounds, ttl) = (setup.bounds, M::ttl(&setup.config));
        // Longer than any length that a monitor adds to a time.
        let far = ttl * 2 + bounds.orphan + bounds.call + bounds.delay * 10 + bounds.slack * 2;
        let names = Names {
            horizon: M::horizon(&setup.config),
            phase: M::phase(&setup.config),
            far,
            slack: bounds.slack,
            ..Names::default()
        };
        let (order, colours) = (Vec::new(), Vec::new());
        Normaliser { names, bounds, late, judged, keeps_facts, is_symmetric, order, colours }
    }

    /// Which instance of the world as it was stands at each place now.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Brings a world, as it is at `now`, to its normal form, in which it is noon. Gives its fingerprint.
    pub fn normalise<M: Subject>(&mut self, world: &mut World<M>, now: Time) -> u64 {
        self.forget(world, now);
        let names = &mut self.names;
        names.survey();
        names.now = now;
        names.store_now = world.stores[0].now(now);
        names.monos.clear();
        names.monos.extend(world.instances.iter().map(|one| Instant::from_nanos(one.clock.read(now))));
        names.since.note(names.store_now.as_nanos());
        // Last, because a token that nothing else bears can meet no equal any more.
        let fences = std::mem::take(&mut world.fences);
        world.relocate(names);
        world.fences = fences;
        self.forget_fences(world);
        let names = &mut self.names;
        world.fences.iter_mut().for_each(|fence| fence.relocate(names));
        names.pass = Pass::Rename;
        world.relocate(names);
        self.settle(world, now);
        self.sort(world)
    }

    /// Drops what nothing will ever ask for again.
    fn forget<M: Subject>(&self, world: &mut World<M>, now: Time) {
        let bounds = &self.bounds;
        let keeps_trouble = self.judged.has(Property::Stability) || self.judged.has(Property::Order);
        let over = |time: Time, span: Span| time + span + bounds.slack < now;
        for store in &mut world.stores {
            if over(store.resumed, bounds.delay) {
                store.resumed = Time::ZERO;
            }
            store.pending = Default::default();
            let dead = store.now(now) - self.late;
            for shelf in &mut store.shelves {
                M::Store::sweep(shelf, dead);
                M::Store::for_each_mark(shelf, &mut |mark| self.forget_of_mark::<M>(mark));
            }
        }
        let (stores, instances) = (&world.stores, &world.instances);
        world.flights.compact(|flight| match &flight.leg {
            Leg::Request(op) if !flight.awaited => {
                let resource = instances[flight.instance.index()].resource as usize;
                !M::Store::is_moot(op, &stores[flight.store.0 as usize].shelves[resource])
            }
            Leg::Request(_) | Leg::Reply(..) | Leg::Lost | Leg::Hint(_) | Leg::Write(_) | Leg::Landed => true,
        });
        let noticed = world.stores[0].shelves.iter_mut().find_map(|shelf| {
            let mark = M::Store::lock(shelf)?;
            let owner = &world.instances[mark.by.instance.index()].caller;
            // Only while it waits does it matter that it stands in its own way.
            if owner.stage != Stage::Waiting || owner.acquisition != mark.by.acquisition {
                mark.noticed = Time::MAX;
            }
            (mark.noticed != Time::MAX).then_some(mark.by.instance)
        });
        for (index, instance) in world.instances.iter_mut().enumerate() {
            let id = InstanceId(index as u32);
            let stage = instance.caller.stage;
            if instance.state == State::Down {
                instance.machine = M::new(&world.config, instance.identity);
            }
            if stage != Stage::Waiting {
                (instance.caller.deadline, instance.caller.patient) = (Instant::MAX, false);
            }
            if stage != Stage::Holding {
                (instance.caller.token, instance.lease_end) = (None, Instant::MAX);
            }
            if stage != Stage::Waiting || !self.judged.has(Property::Order) {
                instance.caller.asked = Time::ZERO;
            }
            let notices = noticed == Some(id);
            if !matches!(stage, Stage::Waiting | Stage::Holding) {
                instance.trouble = 0;
            }
            if !keeps_trouble {
                // What counts is whether there was any since.
                let since = notices && instance.trouble != instance.trouble_at_notice;
                (instance.trouble, instance.trouble_at_notice) = (u32::from(since), 0);
            } else if !notices {
                instance.trouble_at_notice = 0;
            }
            if !self.keeps_facts {
                (instance.fate, instance.cut_short) = (Fate::Natural, false);
                instance.setbacks = Default::default();
            }
            instance.pending = Default::default();
            instance.awaited.clear();
        }
        // Only a request that was sent after that can be late to meet an entry which nobody wants.
        let asked_from =
            world.stores[0].shelves.iter_mut().filter_map(|shelf| M::Store::lock(shelf)).map(|mark| {
                if mark.abandoned == Time::MAX { mark.noticed } else { mark.abandoned.min(mark.noticed) }
            });
        let asked_from = asked_from.min().unwrap_or(Time::MAX);
        for (id, flight) in world.flights.iter_mut() {
            let instance = &mut world.instances[flight.instance.index()];
            self.forget_of_flight(flight, instance, now, asked_from, keeps_trouble);
            if let (Leg::Reply(_, at), false) = (&mut flight.leg, M::reads_store_time(&world.config)) {
                *at = StoreTime::ZERO;
            }
            if let Some(call) = flight.call.filter(|_| flight.awaited) {
                instance.awaited.push((call, id));
            }
        }
        world.instances.iter_mut().for_each(|instance| instance.resumed = Time::ZERO);
    }

    fn forget_of_flight<M: Subject>(
        &self,
        flight: &mut Flight<M>,
        instance: &Instance<M>,
        now: Time,
        asked_from: Time,
        keeps_trouble: bool,
    ) {
        let is_request = matches!(flight.leg, Leg::Request(_));
        let prolongs = instance.caller.stage == Stage::Holding
            && match flight.leg {
                Leg::Request(_) => flight.awaited,
                Leg::Reply(..) => flight.prolonged,
                Leg::Lost | Leg::Hint(_) | Leg::Write(_) | Leg::Landed => false,
            };
        if !prolongs {
            (flight.sent_mono, flight.trouble, flight.prolonged) = (Instant::MAX, 0, false);
        }
        if !keeps_trouble {
            flight.trouble = 0;
        }
        let is_aged = is_request && (M::Store::COUNTS_AGE || flight.sent > asked_from);
        let is_timed = prolongs && keeps_trouble;
        if !is_aged && !is_timed {
            flight.sent = Time::ZERO;
        }
        if matches!(flight.leg, Leg::Hint(_)) {
            flight.tag.acquisition = 0;
        }
        // What cannot arrive begins its way anew when it can.
        let waits = match flight.leg {
            Leg::Reply(..) | Leg::Hint(_) | Leg::Lost => instance.state == State::Paused,
            Leg::Request(_) | Leg::Write(_) | Leg::Landed => false,
        };
        flight.since = match flight.leg {
            _ if flight.stalled || waits => now,
            Leg::Reply(..) | Leg::Hint(_) | Leg::Lost => flight.since.max(instance.resumed),
            Leg::Request(_) | Leg::Write(_) | Leg::Landed => flight.since,
        };
        if !self.keeps_facts {
            flight.faults = Default::default();
        }
        flight.refused_by_itself &= self.judged.has(Property::Reconciliation);
        if matches!(flight.leg, Leg::Reply(..) | Leg::Lost) && !flight.refused_by_itself {
            flight.tag.acquisition = instance.caller.acquisition;
        }
        (flight.serial, flight.is_copy) = (0, flight.is_copy && is_request);
    }

    fn forget_of_mark<M: Subject>(&self, mark: &mut Mark) {
        if mark.abandoned == Time::MAX {
            // Whenever it is abandoned, that will be later.
            mark.touched = Time::ZERO;
        } else {
            mark.touched = mark.touched.max(mark.abandoned);
            if !M::Store::COUNTS_AGE {
                mark.abandoned = mark.touched;
            }
        }
        if !self.judged.has(Property::NoOrphan) {
            (mark.touched, mark.abandoned) = (Time::ZERO, Time::MAX);
        }
        if !self.judged.has(Property::Reconciliation) {
            mark.noticed = Time::MAX;
        }
        mark.renewed_by_another &= self.keeps_facts;
    }

    /// A fence whose token nobody bears any more only refuses what is lower.
    fn forget_fences<M: Subject>(&self, world: &mut World<M>) {
        let revisions = &self.names.revisions;
        for fence in &mut world.fences {
            if !revisions.has(&fence.token) {
                fence.writer = None;
                if revisions.of(&fence.token) == 0 {
                    fence.token = 0;
                }
            }
        }
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
            store.counter = self.names.revisions.0.len() as u64;
        }
    }

    /// Puts the instances into an order that does not depend on their names, and takes the fingerprint.
    fn sort<M: Subject>(&mut self, world: &mut World<M>) -> u64 {
        let count = world.instances.len() as u32;
        self.order.clear();
        self.order.extend(0..count);
        if !self.is_symmetric {
            self.count_believers(world);
            return self.fingerprint(world);
        }
        self.colour(world);
        let colours = &mut self.colours;
        self.order.sort_by_key(|&index| colours[index as usize]);
        colours.sort_unstable();
        let sorted = self.order.clone();
        self.place(world, &sorted);
        self.count_believers(world);
        let least = self.fingerprint(world);
        // Those who look alike by themselves may yet differ in what others know of them: the least of all orders counts.
        let ties: Vec<bool> = self.colours.windows(2).map(|pair| pair[0] == pair[1]).collect();
        if ties.contains(&true) { self.break_ties(world, &ties, least) } else { least }
    }

    /// What each instance looks like by itself.
    fn colour<M: Subject>(&mut self, world: &World<M>) {
        self.colours.clear();
        self.names.knows_another = false;
        for (index, instance) in world.instances.iter().enumerate() {
            let mut machine = instance.machine.clone();
            self.names.pass = Pass::Mask(InstanceId(index as u32));
            machine.relocate(&mut self.names);
            let mut digest = Digest::new();
            machine.hash(&mut digest);
            hash_instance(instance, &mut digest);
            self.colours.push(digest.value());
        }
    }

    /// Moves the instance at `order[i]` to place `i`.
    fn place<M: Subject>(&mut self, world: &mut World<M>, order: &[u32]) {
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
        let mut places = names.places.clone();
        for index in 0..places.len() {
            while places[index] as usize != index {
                let place = places[index] as usize;
                world.instances.swap(index, place);
                places.swap(index, place);
            }
        }
    }

    /// Tries every order of those who look alike, and leaves the world in that of the least fingerprint.
    fn break_ties<M: Subject>(&mut self, world: &mut World<M>, ties: &[bool], mut least: u64) -> u64 {
        let candidates = orders_within(ties);
        let (mut present, mut best) = (candidates[0].clone(), candidates[0].clone());
        for candidate in &candidates[1..] {
            self.place(world, &steps_between(&present, candidate));
            present.clone_from(candidate);
            self.count_believers(world);
            let print = self.fingerprint(world);
            if print < least {
                least = print;
                best.clone_from(candidate);
            }
        }
        self.place(world, &steps_between(&present, &best));
        self.count_believers(world);
        self.order = best.iter().map(|&place| self.order[place as usize]).collect();
        least
    }

    fn count_believers<M: Subject>(&self, world: &mut World<M>) {
        world.believers.iter_mut().for_each(Vec::clear);
        for index in 0..world.instances.len() {
            let id = InstanceId(index as u32);
            let believes = world.believes(id);
            let instance = &mut world.instances[index];
            instance.believes = believes;
            if believes {
                world.believers[instance.resource as usize].push(id);
            }
        }
    }

    /// The hash of a world in normal form: of all that its future depends on.
    fn fingerprint<M: Subject>(&self, world: &World<M>) -> u64 {
        let mut digest = Digest::new();
        for (place, instance) in world.instances.iter().enumerate() {
            if self.is_symmetric {
                digest.word(self.colours[place]);
            }
            if !self.is_symmetric || self.names.knows_another {
                instance.machine.hash(&mut digest);
                hash_instance(instance, &mut digest);
            }
        }
        for store in &world.stores {
            store.shelves.hash(&mut digest);
            store.replica.hash(&mut digest);
            (store.paused, store.grain, store.resumed).hash(&mut digest);
        }
        world.fences.hash(&mut digest);
        world.void_until.hash(&mut digest);
        // Messages under way are a bag.
        let flights = world.flights().fold(0_u64, |sum, (_, flight)| sum.wrapping_add(hash_flight(flight)));
        digest.word(flights);
        digest.value()
    }
}

/// All that counts of an instance but its machine.
fn hash_instance<M: Subject>(instance: &Instance<M>, digest: &mut Digest) {
    let caller = &instance.caller;
    (instance.state, caller.stage, caller.patient, caller.acquisition, caller.token).hash(digest);
    (caller.deadline, caller.asked, instance.lease_end, instance.resumed).hash(digest);
    (instance.trouble, instance.trouble_at_notice, instance.resource).hash(digest);
    (instance.incarnation, parts(instance.identity).map(|(_, incarnation)| incarnation)).hash(digest);
    (instance.to_store_cut, instance.from_store_cut, &instance.clock).hash(digest);
    (instance.setbacks, instance.fate, instance.cut_short).hash(digest);
}

fn hash_flight<M: Subject>(flight: &Flight<M>) -> u64 {
    let mut digest = Digest::new();
    (flight.instance, flight.tag, flight.store, flight.call.filter(|_| flight.awaited)).hash(&mut digest);
    (&flight.leg, flight.sent, flight.since, flight.sent_mono).hash(&mut digest);
    (flight.stalled, flight.is_copy, flight.awaited, flight.refused_by_itself).hash(&mut digest);
    (flight.prolonged, flight.trouble, flight.faults).hash(&mut digest);
    digest.value()
}

/// Every order of `ties.len() + 1` places in which only those change places that a row of ties connects. The first
/// changes nothing.
fn orders_within(ties: &[bool]) -> Vec<Vec<u32>> {
    let mut orders = vec![vec![0]];
    let mut group = 0;
    for (at, &tied) in ties.iter().enumerate() {
        let newcomer = at + 1;
        group = if tied { group } else { newcomer };
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
