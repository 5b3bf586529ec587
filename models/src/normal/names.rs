//! The names in a world, and what becomes of each.

use fencepost::machine::{Identity, Relocate};
use fencepost::store::{FencingToken, Revision};
use fencepost::time::{Instant, Span, StoreTime, Timestamp};

use crate::clock::Time;
use crate::store::Tag;
use crate::subject::{InstanceId, Occurrence};
use crate::world::parts;

use super::{moved, noon};

/// Distinct values, each of which becomes its rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks {
    /// Those below 64, one bit each: most are, because a step begins where its values were ranks.
    pub(super) low: u64,
    /// The others. They are few.
    pub(super) high: Vec<u64>,
}

impl Ranks {
    pub(super) fn clear(&mut self) {
        self.low = 0;
        self.high.clear();
    }

    #[inline]
    pub(super) fn note(&mut self, value: u64) {
        if value < 64 {
            self.low |= 1 << value;
        } else if !self.high.contains(&value) {
            self.high.push(value);
        }
    }

    #[inline]
    pub(super) fn of(&self, value: u64) -> u64 {
        if value < 64 {
            u64::from((self.low & ((1 << value) - 1)).count_ones())
        } else {
            u64::from(self.low.count_ones()) + self.high.iter().filter(|&&other| other < value).count() as u64
        }
    }

    pub(super) fn has(&self, value: u64) -> bool {
        if value < 64 { self.low >> value & 1 == 1 } else { self.high.contains(&value) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        (0..64).filter(|value| self.low >> value & 1 == 1).chain(self.high.iter().copied())
    }

    pub(super) fn len(&self) -> u64 {
        u64::from(self.low.count_ones()) + self.high.len() as u64
    }
}

/// Points on one axis. Only the gaps between them count, and of a long gap only that it is long.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    /// In order.
    pub(super) points: Vec<u64>,
    pub(super) moved: Vec<u64>,
}

impl Axis {
    pub(super) fn clear(&mut self) {
        self.points.clear();
    }

    pub(super) fn note(&mut self, point: u64) {
        if let Err(at) = self.points.binary_search(&point) {
            self.points.insert(at, point);
        }
    }

    /// Moves `origin` to `home`. What comes after it keeps its distance; of a gap before it, that is left at most which
    /// is `far` where the gap ends.
    pub(super) fn shrink(&mut self, origin: u64, home: u64, far: impl Fn(u64) -> u64) {
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

    pub(super) fn moved(&self, point: u64) -> u64 {
        self.moved[self.points.partition_point(|&other| other < point)]
    }
}

/// What a walk through a world does with the names it meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pass {
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
    pub(super) pass: Pass,
    pub(super) now: Time,
    pub(super) store_now: StoreTime,
    /// How long ago the store's times were named, if that is the same for all of them; [`Span::MAX`], if it is not.
    pub(super) named: Span,
    /// What each instance's monotonic clock shows.
    pub(super) monos: Vec<Instant>,
    /// The clock of the machine that is being walked through.
    pub(super) here: Instant,
    pub(super) horizon: Span,
    pub(super) phase: Span,
    pub(super) ttl: Span,
    pub(super) slack: Span,
    /// How much later than they should the store lets entries expire, at most.
    pub(super) late: Span,
    pub(super) times: Axis,
    pub(super) stamps: Axis,
    pub(super) revisions: Ranks,
    /// The key of each revision, in their order; empty, where one is compared with those of other keys.
    pub(super) keys: Vec<u64>,
    /// The revisions that were noted, by their keys.
    pub(super) by_key: Vec<(u64, u64)>,
    pub(super) since: Ranks,
    /// The same, where lengths are added to them, and the future counts too.
    pub(super) store_times: Axis,
    pub(super) keeps_distances: bool,
    /// The oldest store time that an answer under way bears.
    pub(super) answered: StoreTime,
    /// Of each instance.
    pub(super) incarnations: Vec<Ranks>,
    /// Of each instance.
    pub(super) acquisitions: Vec<Ranks>,
    /// Of each identity.
    pub(super) serials: Vec<(Identity, Ranks)>,
    /// Where each instance goes.
    pub(super) places: Vec<u32>,
    /// Whether a machine knows another one's identity.
    pub(super) knows_another: bool,
    /// Whether serial numbers are kept as they are.
    pub(super) keeps_serials: bool,
}

impl Names {
    pub(super) fn survey(&mut self, instances: usize) {
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
    pub(super) fn departure(&mut self, time: &mut Time) {
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
    pub(super) fn answer(&mut self, at: &mut StoreTime) {
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
    pub(super) fn acquisition(&mut self, of: InstanceId, acquisition: &mut u32) {
        let ranks = &mut self.acquisitions[of.index()];
        match self.pass {
            Pass::Survey => ranks.note(u64::from(*acquisition)),
            Pass::Rename => *acquisition = ranks.of(u64::from(*acquisition)) as u32,
            Pass::Shift | Pass::Mask(_) | Pass::Permute => {}
        }
    }

    #[inline]
    pub(super) fn incarnation(&mut self, of: InstanceId, incarnation: &mut u32) {
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
    pub(super) fn grace(&mut self, deadline: &mut Instant) {
        if self.measures() && *deadline != Instant::MAX {
            *deadline = moved((*deadline).max(self.here - self.slack - Span::from_nanos(1)), self.here);
        }
    }

    /// When a request was sent that may prolong a lease: a time to live later is such a point.
    pub(super) fn sent(&mut self, sent: &mut Instant) {
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

    pub(super) fn number(&mut self, number: &mut u64) {
        let mut revision = Revision(*number);
        self.revision(&mut revision);
        *number = revision.0;
    }

    /// The key of a revision; the same for all, where nobody asks.
    fn key_of(&self, revision: u64) -> u64 {
        self.keys.get(revision.wrapping_sub(1) as usize).copied().unwrap_or(0)
    }

    /// Once all of them were noted.
    pub(super) fn sort_revisions(&mut self) {
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
    pub(super) fn has_lower(&self, revision: u64) -> bool {
        let key = self.key_of(revision);
        self.revisions.iter().any(|other| other < revision && self.key_of(other) == key)
    }
}

impl Names {
    /// Whether an occurrence was met in the survey.
    pub(super) fn has(&self, occurrence: &Occurrence) -> bool {
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
