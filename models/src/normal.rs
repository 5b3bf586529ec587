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

use std::hash::Hash;

use fencepost::machine::{Identity, Relocate};
use fencepost::store::{FencingToken, Revision};
use fencepost::time::{Draw, Instant, Point, Span, StoreTime, Timestamp};

use crate::checker::{Budget, Scope, Spend};
use crate::clock::{Time, WALL_ORIGIN};
use crate::digest::Fingerprint;
use crate::property::{Fate, Fence, Property, PropertySet, joining};
use crate::store::{Mark, SimStore, Simulated, Tag};
use crate::subject::{InstanceId, Occurrence, Play, Subject};
use crate::world::{Bounds, Flight, Instance, Leg, Stage, State, World, parts};

/// What every clock shows in a world in normal form, in nanoseconds since its origin: long after anything a world
/// remembers, and a whole number of milliseconds.
pub const NOON: u64 = 1_000_000_000_000_000;

const MILLI: u64 = 1_000_000;

/// Distinct values, each of which becomes its rank.
#[derive(Clone, Debug, Default)]
struct Ranks {
    /// Those below 64, one bit each: most are, because a step begins where its values were ranks.
    low: u64,
    /// The others. They are few.
    high: Vec<u64>,
}

impl Ranks {
    fn clear(&mut self) {
        self.low = 0;
        self.high.clear();
    }

    #[inline]
    fn note(&mut self, value: u64) {
        if value < 64 {
            self.low |= 1 << value;
        } else if !self.high.contains(&value) {
            self.high.push(value);
        }
    }

    #[inline]
    fn of(&self, value: u64) -> u64 {
        if value < 64 {
            u64::from((self.low & ((1 << value) - 1)).count_ones())
        } else {
            u64::from(self.low.count_ones()) + self.high.iter().filter(|&&other| other < value).count() as u64
        }
    }

    fn has(&self, value: u64) -> bool {
        if value < 64 { self.low >> value & 1 == 1 } else { self.high.contains(&value) }
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        (0..64).filter(|value| self.low >> value & 1 == 1).chain(self.high.iter().copied())
    }

    fn len(&self) -> u64 {
        u64::from(self.low.count_ones()) + self.high.len() as u64
    }
}

/// Points on one axis. Only the gaps between them count, and of a long gap only that it is long.
#[derive(Clone, Debug, Default)]
struct Axis {
    /// In order.
    points: Vec<u64>,
    moved: Vec<u64>,
}

impl Axis {
    fn clear(&mut self) {
        self.points.clear();
    }

    fn note(&mut self, point: u64) {
        if let Err(at) = self.points.binary_search(&point) {
            self.points.insert(at, point);
        }
    }

    /// Moves `origin` to `home`. What comes after it keeps its distance; of a gap before it, that is left at most which
    /// is `far` where the gap ends.
    fn shrink(&mut self, origin: u64, home: u64, far: impl Fn(u64) -> u64) {
        let (mut last, mut last_moved) = (origin, home);
        self.moved.clear();
        self.moved.extend(self.points.iter().rev().map(|&point| {
            if point >= origin {
                return home + (point - origin);
            }
            last_moved -= (last - point).min(far(last));
            last = point;
            last_moved
        }));
        self.moved.reverse();
    }

    fn moved(&self, point: u64) -> u64 {
        self.moved[self.points.partition_point(|&other| other < point)]
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
    /// It replaces those by distances that need not be compared with others.
    Shift,
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
    /// How long ago the store's times were named, if that is the same for all of them; [`Span::MAX`], if it is not.
    named: Span,
    /// What each instance's monotonic clock shows.
    monos: Vec<Instant>,
    /// The clock of the machine that is being walked through.
    here: Instant,
    horizon: Span,
    phase: Span,
    ttl: Span,
    slack: Span,
    /// How much later than they should the store lets entries expire, at most.
    late: Span,
    times: Axis,
    stamps: Axis,
    revisions: Ranks,
    /// The key of each revision, in their order; empty, where one is compared with those of other keys.
    keys: Vec<u64>,
    /// The revisions that were noted, by their keys.
    by_key: Vec<(u64, u64)>,
    since: Ranks,
    /// The same, where lengths are added to them, and the future counts too.
    store_times: Axis,
    keeps_distances: bool,
    /// The oldest store time that an answer under way bears.
    answered: StoreTime,
    /// Of each instance.
    incarnations: Vec<Ranks>,
    /// Of each instance.
    acquisitions: Vec<Ranks>,
    /// Of each identity.
    serials: Vec<(Identity, Ranks)>,
    /// Where each instance goes.
    places: Vec<u32>,
    /// Whether a machine knows another one's identity.
    knows_another: bool,
    /// Whether serial numbers are kept as they are.
    keeps_serials: bool,
}

impl Names {
    fn survey(&mut self, instances: usize) {
        self.pass = Pass::Survey;
        [&mut self.revisions, &mut self.since].into_iter().for_each(Ranks::clear);
        for of_each in [&mut self.incarnations, &mut self.acquisitions] {
            of_each.resize_with(instances, Ranks::default);
            of_each.iter_mut().for_each(Ranks::clear);
        }
        self.serials.clear();
        self.times.clear();
        self.stamps.clear();
        self.store_times.clear();
        self.answered = StoreTime::MAX;
    }

    /// Whether points in time become distances from now.
    fn measures(&self) -> bool {
        matches!(self.pass, Pass::Rename | Pass::Shift)
    }

    /// A point in true time that is compared with others of its kind, and with now. Zero and "never" stay.
    pub fn time(&mut self, time: &mut Time) {
        if *time == Time::ZERO || *time == Time::MAX {
            return;
        }
        match self.pass {
            Pass::Survey => self.times.note(time.as_nanos()),
            Pass::Rename => *time = Time::from_nanos(self.times.moved(time.as_nanos())),
            Pass::Shift => *time = moved(*time, self.now),
            Pass::Mask(_) | Pass::Permute => {}
        }
    }

    /// A point in true time from which a message is on its way; how long ago does not matter once it is due.
    fn departure(&mut self, time: &mut Time) {
        if self.measures() {
            *time = moved(*time, self.now);
        }
    }

    /// When an entry expires on the store's clock; once it has for all and for ever, it does not matter when.
    pub fn expiry(&mut self, time: &mut StoreTime) {
        if self.measures() && *time != StoreTime::MAX {
            *time = moved((*time).max(self.store_now - self.late), self.store_now);
        }
    }

    /// The store time that an answer bears. Whoever gets it may count from then, as from nothing that it remembers.
    fn answer(&mut self, at: &mut StoreTime) {
        if self.pass == Pass::Survey && *at != StoreTime::ZERO {
            self.answered = self.answered.min(*at);
        }
        self.store_time(at);
    }

    /// A reading of a wall clock to which an entry's life may be added.
    pub fn reading(&mut self, time: &mut Timestamp, life: Span) {
        if self.pass == Pass::Survey {
            self.stamps.note((*time + life).as_nanos());
        }
        self.timestamp(time);
    }

    /// A point on wall clocks that is compared with their readings.
    pub fn timestamp(&mut self, time: &mut Timestamp) {
        match self.pass {
            Pass::Survey => self.stamps.note(time.as_nanos()),
            Pass::Rename => *time = Timestamp::from_nanos(self.stamps.moved(time.as_nanos())),
            Pass::Shift | Pass::Mask(_) | Pass::Permute => {}
        }
    }

    /// On whose behalf something was done.
    pub fn tag(&mut self, tag: &mut Tag) {
        self.acquisition(tag.instance, &mut tag.acquisition);
        self.instance(&mut tag.instance);
    }

    #[inline]
    fn acquisition(&mut self, of: InstanceId, acquisition: &mut u32) {
        let ranks = &mut self.acquisitions[of.index()];
        match self.pass {
            Pass::Survey => ranks.note(u64::from(*acquisition)),
            Pass::Rename => *acquisition = ranks.of(u64::from(*acquisition)) as u32,
            Pass::Shift | Pass::Mask(_) | Pass::Permute => {}
        }
    }

    #[inline]
    fn incarnation(&mut self, of: InstanceId, incarnation: &mut u32) {
        let ranks = &mut self.incarnations[of.index()];
        match self.pass {
            Pass::Survey => ranks.note(u64::from(*incarnation)),
            Pass::Rename => *incarnation = ranks.of(u64::from(*incarnation)) as u32,
            Pass::Shift | Pass::Mask(_) | Pass::Permute => {}
        }
    }

    pub(crate) fn instance(&mut self, id: &mut InstanceId) {
        if self.pass == Pass::Permute {
            id.0 = self.places[id.index()];
        }
    }

    /// A point that is compared with now after a grace that is shorter than the horizon.
    fn grace(&mut self, deadline: &mut Instant) {
        if self.measures() && *deadline != Instant::MAX {
            *deadline = moved((*deadline).max(self.here - self.slack - Span::from_nanos(1)), self.here);
        }
    }

    /// When a request was sent that may prolong a lease: a time to live later is such a point.
    fn sent(&mut self, sent: &mut Instant) {
        if *sent != Instant::MAX {
            let mut end = *sent + self.ttl;
            self.grace(&mut end);
            *sent = end - self.ttl;
        }
    }

    pub(crate) fn token(&mut self, token: &mut FencingToken) {
        let mut revision = Revision(token.0);
        self.revision(&mut revision);
        *token = revision.into();
    }

    fn number(&mut self, number: &mut u64) {
        let mut revision = Revision(*number);
        self.revision(&mut revision);
        *number = revision.0;
    }

    /// The key of a revision; the same for all, where nobody asks.
    fn key_of(&self, revision: u64) -> u64 {
        self.keys.get(revision.wrapping_sub(1) as usize).copied().unwrap_or(0)
    }

    /// Once all of them were noted.
    fn sort_revisions(&mut self) {
        let mut by_key = std::mem::take(&mut self.by_key);
        by_key.clear();
        if !self.keys.is_empty() {
            by_key.extend(self.revisions.iter().map(|revision| (self.key_of(revision), revision)));
            by_key.sort_unstable();
        }
        self.by_key = by_key;
    }

    fn rank_of_revision(&self, revision: u64) -> u64 {
        if self.by_key.is_empty() {
            return self.revisions.of(revision);
        }
        let own = (self.key_of(revision), revision);
        self.by_key.partition_point(|other| *other < own) as u64
    }

    /// Whether a lower revision of the same key was noted.
    fn has_lower(&self, revision: u64) -> bool {
        let key = self.key_of(revision);
        self.revisions.iter().any(|other| other < revision && self.key_of(other) == key)
    }
}

impl Names {
    /// Whether an occurrence was met in the survey.
    fn has(&self, occurrence: &Occurrence) -> bool {
        match occurrence {
            // What is computed from a time that is known lies after it.
            Occurrence::At(time) => {
                self.store_times.points.first().is_some_and(|&first| first <= time.as_nanos())
            }
            Occurrence::Of(_) if self.keeps_serials => true,
            Occurrence::Of(owner) => {
                let of_same = self.serials.iter().find(|(identity, _)| *identity == owner.identity);
                of_same.is_some_and(|(_, ranks)| ranks.has(u64::from(owner.attempt)))
            }
            Occurrence::Due(time) => self.stamps.points.binary_search(&time.as_nanos()).is_ok(),
        }
    }
}

impl Relocate for Names {
    fn instant(&mut self, instant: &mut Instant) {
        if !self.measures() || *instant == Instant::MAX {
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
        if self.measures() && *deadline != Instant::MAX {
            *deadline = moved((*deadline).max(self.here), self.here);
        }
    }

    fn store_time(&mut self, time: &mut StoreTime) {
        if *time == StoreTime::ZERO {
            return;
        }
        match self.pass {
            Pass::Survey if self.keeps_distances => self.store_times.note(time.as_nanos()),
            Pass::Rename if self.keeps_distances => {
                *time = StoreTime::from_nanos(self.store_times.moved(time.as_nanos()));
            }
            Pass::Survey => self.since.note(time.as_nanos()),
            Pass::Rename => {
                // `since` has the store's now as its last element, and so the present keeps its name.
                let before = self.since.len() - 1 - self.since.of(time.as_nanos());
                *time = noon() - Span::from_nanos(before);
            }
            Pass::Shift => {
                // They had ranks when they were named, and keep them; only the present is another.
                let age = self.store_now.since(*time);
                let since = if age < self.named { age } else { age.minus(self.named) + Span::from_nanos(1) };
                *time = noon() - since;
            }
            Pass::Mask(_) | Pass::Permute => {}
        }
    }

    fn timestamp(&mut self, time: &mut Timestamp) {
        if *time != Timestamp::ZERO {
            Names::timestamp(self, time);
        }
    }

    fn count(&mut self, count: &mut u64) {
        if self.pass == Pass::Rename {
            *count = 0;
        }
    }

    fn revision(&mut self, revision: &mut Revision) {
        if *revision == Revision::ANY {
            return;
        }
        match self.pass {
            Pass::Survey => self.revisions.note(revision.0),
            Pass::Rename => revision.0 = self.rank_of_revision(revision.0) + 1,
            Pass::Shift | Pass::Mask(_) | Pass::Permute => {}
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
            Pass::Shift => {}
        }
    }

    fn serial(&mut self, identity: Identity, serial: &mut u32) {
        if self.keeps_serials {
            return;
        }
        let of_same = self.serials.iter_mut().find(|(other, _)| *other == identity);
        match (self.pass, of_same) {
            (Pass::Survey, Some((_, ranks))) => ranks.note(u64::from(*serial)),
            (Pass::Survey, None) => {
                let mut ranks = Ranks::default();
                ranks.note(u64::from(*serial));
                self.serials.push((identity, ranks));
            }
            (Pass::Rename, Some((_, ranks))) => *serial = ranks.of(u64::from(*serial)) as u32,
            (Pass::Rename, None) | (Pass::Shift | Pass::Mask(_) | Pass::Permute, _) => {}
        }
    }
}

/// A set of names, one bit for each, in fields of which each has room for one more than it may hold. The numbers of most
/// names are their ranks: then the bits of their field begin at its end and leave none out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Bits(pub(crate) u128);

impl Bits {
    /// How many revisions, store times, incarnations and acquisitions of one instance, and attempts of one incarnation.
    const WIDTHS: [u32; 5] = [15, 7, 4, 6, 4];
    const INSTANCES: u32 = 3;
    /// Where the fields of each kind begin.
    const STARTS: [u32; 5] = {
        let [revisions, since, incarnations, acquisitions, _] = Bits::WIDTHS;
        let (after_since, each) = (revisions + since + 2, incarnations + 1);
        let after_incarnations = after_since + each * Bits::INSTANCES;
        let after_acquisitions = after_incarnations + (acquisitions + 1) * Bits::INSTANCES;
        [0, revisions + 1, after_since, after_incarnations, after_acquisitions]
    };
    /// The present is a store time that is always there.
    pub(crate) const PRESENT: Bits = Bits(1 << Bits::STARTS[1]);
    /// The last bit of each field.
    const ENDS: u128 = {
        let (mut ends, mut kind) = (0, 0);
        while kind < 5 {
            let fields = match kind {
                0 | 1 => 1,
                4 => Bits::INSTANCES * Bits::WIDTHS[2],
                _ => Bits::INSTANCES,
            };
            let mut field = 0;
            while field < fields {
                ends |= 1 << (Bits::STARTS[kind] + field * (Bits::WIDTHS[kind] + 1));
                field += 1;
            }
            kind += 1;
        }
        ends
    };

    /// Adds the names of one field; says whether there is room for them.
    fn add(&mut self, kind: usize, field: u32, names: u64) -> bool {
        let width = Bits::WIDTHS[kind];
        self.0 |= u128::from(names) << (Bits::STARTS[kind] + field * (width + 1));
        names >> width == 0
    }

    /// Those that are their own ranks among these.
    pub(crate) fn ranked(self) -> Bits {
        Bits(self.0 & !(self.0 + Bits::ENDS))
    }

    pub(crate) fn or(self, other: Bits) -> Bits {
        Bits(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Bits) -> Bits {
        Bits(self.0 & !other.0)
    }

    pub(crate) fn has_none_of(self, other: Bits) -> bool {
        self.0 & other.0 == 0
    }

    /// Another set, for other uses of the same names.
    pub(crate) fn marked(self) -> Bits {
        Bits(self.0 | 1 << 127)
    }

    /// How many revisions there are.
    pub(crate) fn revisions(self) -> u64 {
        u64::from((self.0 & Bits::revisions_below(u64::MAX).0).count_ones())
    }

    /// The revisions below one.
    pub(crate) fn revisions_below(revision: u64) -> Bits {
        Bits((1 << revision.saturating_sub(1).min(u64::from(Bits::WIDTHS[0]))) - 1)
    }

    /// That revision alone, if there is room for it.
    pub(crate) fn revision(revision: u64) -> Option<Bits> {
        (1..=u64::from(Bits::WIDTHS[0])).contains(&revision).then(|| Bits(1 << (revision - 1)))
    }
}

impl Names {
    /// The names that were noted; none, if they are too many, or if there are times further than `far` ago.
    fn bits(&self, far: Span) -> Option<Bits> {
        let mut bits = Bits::default();
        let is_recent = self.times.points.first().is_none_or(|&first| first + far.as_nanos() >= NOON);
        let all = [&self.revisions].into_iter().chain(&self.incarnations).chain(&self.acquisitions);
        let mut fits =
            is_recent && self.stamps.points.is_empty() && all.into_iter().all(|one| one.high.is_empty());
        fits &= bits.add(0, 0, self.revisions.low >> 1);
        for &time in &self.since.high {
            let age = NOON.saturating_sub(time);
            fits &= age < 63 && time <= NOON && bits.add(1, 0, 1 << age.min(63));
        }
        for (index, ranks) in self.incarnations.iter().enumerate() {
            fits &= bits.add(2, index as u32, ranks.low);
        }
        for (index, ranks) in self.acquisitions.iter().enumerate() {
            fits &= bits.add(3, index as u32, ranks.low);
        }
        for (identity, ranks) in &self.serials {
            fits &= match parts(*identity) {
                Some((id, incarnation)) if incarnation < Bits::WIDTHS[2] => {
                    bits.add(4, id.0 * Bits::WIDTHS[2] + incarnation, ranks.low) && ranks.high.is_empty()
                }
                Some(_) => false,
                None => ranks.low <= 1 && ranks.high.is_empty(),
            };
        }
        (fits && self.incarnations.len() <= Bits::INSTANCES as usize).then_some(bits)
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

    /// Drops what nothing will ever ask for again.
    /// If only one instance is there, the others are left as they are.
    fn forget<M: Subject>(&self, world: &mut World<M>, now: Time, only: Option<InstanceId>) {
        if M::PLAY.has_jobs() {
            let has_spacing = M::spacing(&world.config) > Span::ZERO;
            world.runs.forget(now, self.keeps_facts, has_spacing);
        }
        for store in &mut world.stores {
            if store.resumed + self.bounds.delay + self.bounds.slack < now {
                store.resumed = Time::ZERO;
            }
            store.pending = Default::default();
            let dead = store.dead(now);
            for shelf in &mut store.shelves {
                M::Store::sweep(shelf, dead);
                let lock = M::Store::lock(shelf).copied();
                M::Store::for_each_mark(shelf, &mut forget_of_key);
                if let (Some(mark), Some(lock)) = (M::Store::lock(shelf), lock) {
                    *mark = self.forget_of_lock::<M>(lock);
                }
            }
        }
        let (stores, instances) = (&world.stores, &world.instances);
        world.flights.compact(|flight| match &flight.leg {
            Leg::Request(op) if !flight.awaited => {
                let resource = instances[flight.instance.index()].resource as usize;
                !M::Store::is_moot(op, &stores[flight.store.0 as usize].shelves[resource])
            }
            Leg::Request(_) | Leg::Reply(..) | Leg::Lost | Leg::Hint(_) | Leg::Write { .. } | Leg::Landed => {
                true
            }
        });
        for (index, instance) in world.instances.iter_mut().enumerate() {
            let id = InstanceId(index as u32);
            if only.is_some_and(|only| only != id) {
                continue;
            }
            let lock = M::Store::lock(&mut world.stores[0].shelves[instance.resource as usize]);
            let owns = lock.as_ref().is_some_and(|mark| mark.by == instance.tag(id));
            let notices = lock.is_some_and(|mark| {
                // That it stands in its own way matters while it waits for that very entry.
                let waits = instance.caller.stage == Stage::Waiting
                    && instance.caller.acquisition == mark.by.acquisition;
                if mark.by.instance == id && !waits {
                    mark.noticed = Time::MAX;
                }
                mark.noticed != Time::MAX && mark.by.instance == id
            });
            if instance.state == State::Down {
                instance.machine = M::new(&world.config, Identity::default());
            }
            self.forget_of_instance(instance, &world.config, notices, world.runs.is_busy(id));
            self.forget_hits(instance, now, owns);
        }
        for (id, flight) in world.flights.iter_mut() {
            let instance = &mut world.instances[flight.instance.index()];
            let lock = M::Store::lock(&mut world.stores[0].shelves[instance.resource as usize]).copied();
            self.forget_of_flight(flight, instance, now, lock);
            if let (Leg::Reply(_, at), false) = (&mut flight.leg, M::reads_store_time(&world.config)) {
                *at = StoreTime::ZERO;
            }
            if let Some(call) = flight.call.filter(|_| flight.awaited) {
                instance.awaited.push((call, id));
            }
        }
        world.instances.iter_mut().for_each(|instance| instance.resumed = Time::ZERO);
    }

    /// Whether anybody asks how much trouble an instance is in, or what it was hit by when it was in none. Who asks for
    /// reconciliation only asks whether there was any since.
    fn keeps_trouble(&self) -> bool {
        let asked = [Property::Stability, Property::Order];
        self.keeps_facts || asked.into_iter().any(|property| self.judged.has(property))
    }

    /// `notices` says whether it was refused by its own entry, which is still there; `is_busy`, whether a callback of it
    /// runs.
    fn forget_of_instance<M: Subject>(
        &self,
        instance: &mut Instance<M>,
        config: &M::Config,
        notices: bool,
        is_busy: bool,
    ) {
        let stage = instance.caller.stage;
        if stage != Stage::Waiting {
            (instance.caller.deadline, instance.caller.patient) = (Instant::MAX, false);
        }
        if stage != Stage::Holding {
            instance.lease_end = Instant::MAX;
        }
        if stage != Stage::Holding && instance.machine.belief().is_none() {
            instance.caller.token = None;
        }
        if stage != Stage::Waiting || !self.judged.has(Property::Order) {
            instance.caller.asked = Time::ZERO;
        }
        // Who wants nothing and waits for nothing is told nothing before it asks, and then it begins afresh. What runs may
        // outlive all that was wanted, and whoever hears of its end goes on.
        let waits = is_busy || !instance.awaited.is_empty() || instance.machine.deadline(config).is_some();
        if !self.keeps_trouble() {
            let since = notices && instance.trouble != instance.trouble_at_notice;
            (instance.trouble, instance.trouble_at_notice) = (u32::from(since), 0);
        } else if !notices {
            instance.trouble_at_notice = 0;
            if stage == Stage::Idle && !waits {
                instance.trouble = 0;
            }
        }
        if !self.keeps_facts {
            (instance.fate, instance.cut_short) = (Fate::Natural, false);
            instance.setbacks = Default::default();
        }
        instance.pending = Default::default();
        instance.part.forget(self.judged.has(Property::TermsInOrder));
        instance.awaited.clear();
    }

    /// What hit whoever `owns` the lock's entry counts for a while. For others, only monitors ask that a checker does not have.
    fn forget_hits<M: Subject>(&self, instance: &mut Instance<M>, now: Time, owns: bool) {
        let hit = instance.hit_in_possession;
        let counts = owns && self.hearing > Span::ZERO && now <= hit + self.hearing;
        instance.hit_in_possession = if counts { hit } else { Time::ZERO };
        instance.hit_at = Time::ZERO;
    }

    /// `lock` is the mark of the lock's entry, if there is one.
    fn forget_of_flight<M: Subject>(
        &self,
        flight: &mut Flight<M>,
        instance: &Instance<M>,
        now: Time,
        lock: Option<Mark>,
    ) {
        let (is_request, is_lost) = (matches!(flight.leg, Leg::Request(_)), matches!(flight.leg, Leg::Lost));
        let may_prolong = match flight.leg {
            Leg::Request(_) => flight.awaited,
            Leg::Reply(..) => flight.prolonged,
            Leg::Lost | Leg::Hint(_) | Leg::Write { .. } | Leg::Landed => false,
        };
        if !may_prolong {
            (flight.sent_mono, flight.prolonged) = (Instant::MAX, false);
        }
        // A renewal that something went wrong with, or that takes too long, makes nothing good.
        let is_clean = flight.faults.is_empty() && now <= flight.sent + self.bounds.delay * 2;
        let makes_good = may_prolong && is_clean && self.keeps_trouble();
        if !makes_good {
            flight.trouble = 0;
        }
        let is_timed = makes_good && (flight.trouble > 0 || self.keeps_facts);
        if !is_timed {
            flight.sent = if is_request { self.forget_age::<M>(flight.sent, now, lock) } else { Time::ZERO };
        }
        // What cannot arrive begins its way anew when it can. Whoever waits for what is lost gives up all the same.
        flight.stalled &= !is_lost;
        let waits = match flight.leg {
            Leg::Reply(..) | Leg::Hint(_) | Leg::Lost => instance.state == State::Paused,
            Leg::Request(_) | Leg::Write { .. } | Leg::Landed => false,
        };
        flight.since = match flight.leg {
            _ if flight.stalled || waits => now,
            Leg::Reply(..) | Leg::Hint(_) | Leg::Lost => flight.since.max(instance.resumed),
            Leg::Request(_) | Leg::Write { .. } | Leg::Landed => flight.since,
        };
        if !self.keeps_facts {
            flight.faults = Default::default();
        }
        flight.refused_by_itself &= self.judged.has(Property::Reconciliation);
        let is_named = match flight.leg {
            Leg::Request(_) | Leg::Write { .. } => true,
            Leg::Reply(..) => flight.refused_by_itself,
            Leg::Lost | Leg::Hint(_) | Leg::Landed => false,
        };
        if !is_named {
            flight.tag.acquisition = instance.caller.acquisition;
        }
        (flight.serial, flight.is_copy) = (0, flight.is_copy && is_request);
    }

    /// What is left of when a request was sent, where only the monitors ask. They ask whether that was long after its
    /// lock was given up, and whether it was long after its owner noticed. Of what is given up or noticed later, it was
    /// not; and so the last moment of which the same is true will do.
    fn forget_age<M: Subject>(&self, sent: Time, now: Time, lock: Option<Mark>) -> Time {
        if M::Store::COUNTS_AGE {
            return sent;
        }
        let Some(mark) = lock else { return Time::ZERO };
        let end = mark.abandoned.max(mark.touched) + self.names.ttl + self.bounds.orphan;
        let notice = mark.noticed + self.bounds.delay * 2 + self.bounds.slack;
        match (sent > end, sent > notice) {
            (false, false) => Time::ZERO,
            (true, false) => now.min(notice),
            (false, true) => now.min(end),
            (true, true) => now,
        }
    }

    fn forget_of_lock<M: Subject>(&self, mut mark: Mark) -> Mark {
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
        mark
    }

    /// A fence whose token nobody bears any more only refuses what is lower.
    fn forget_fences<M: Subject>(&self, world: &mut World<M>) {
        for fence in &mut world.fences {
            if !self.names.revisions.has(fence.token) {
                fence.writer = None;
                if !self.names.has_lower(fence.token) {
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

/// The fingerprint of an instance at its place.
fn print_of_instance<M: Subject>(place: usize, one: &Instance<M>, colour: Option<u64>, whole: bool) -> u64 {
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

/// Of a key that is not the lock itself, nobody asks since when it is of no use.
fn forget_of_key(mark: &mut Mark) {
    (mark.touched, mark.abandoned, mark.noticed) = (Time::ZERO, Time::MAX, Time::MAX);
    mark.renewed_by_another = false;
}

/// All that counts of an instance but its machine.
fn hash_instance<M: Subject>(instance: &Instance<M>, print: &mut Fingerprint) {
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
