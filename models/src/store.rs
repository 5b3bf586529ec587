//! The simulated store: it honours the contract, unless a fault makes it lie.
//!
//! Beside each entry it keeps a [`Mark`]: whose acquisition really wrote it and until when it really lives. No
//! machine ever sees a mark; the properties are judged by them.

use std::fmt::Debug;
use std::hash::Hash;

use fencepost::line;
use fencepost::machine::{Identity, Relocate};
use fencepost::store::{Answer, Contract, Entry, Expect, Op, Protocol, Revision};
use fencepost::time::{Span, StoreTime};

use crate::clock::{Clock, Time};
use crate::digest::Digest;
use crate::fault::{Fault, FaultSet};
use crate::normal::Names;
use crate::subject::InstanceId;

/// Names one acquisition of one instance, as the world counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The instance.
    pub instance: InstanceId,
    /// Which of its acquisitions.
    pub acquisition: u32,
}

/// What the world knows about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Whose it is.
    pub by: Tag,
    /// When its time to live was counted from last.
    pub touched: Time,
    /// When it expires on the store's clock.
    pub expires: StoreTime,
    /// Since when nobody wants it any more; [`Time::MAX`] while somebody does.
    pub abandoned: Time,
    /// When its owner was first told that it stands in its own way; [`Time::MAX`] before.
    pub noticed: Time,
    /// Whether another one has renewed it.
    pub renewed_by_another: bool,
    /// Whether its owner can renew it no more.
    pub revoked: bool,
}

impl Mark {
    /// Prolongs its life. A renewal that was sent after its owner gave it up does not make it any younger.
    pub fn renew(&mut self, serving: &Serving<'_>, expires: StoreTime) {
        self.expires = expires;
        self.renewed_by_another |= serving.by.instance != self.by.instance;
        if serving.truth - serving.age <= self.abandoned {
            self.touched = serving.truth;
        }
    }
}

/// What an operation did to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Nothing, or it was a read.
    None,
    /// It wrote the entry, over a live one or over none.
    Wrote(Option<Mark>),
    /// It was refused by a live entry.
    Refused(Mark),
    /// It prolonged the life of an entry; the mark is as it was before.
    Renewed(Mark),
    /// It deleted a live entry.
    Deleted(Mark),
    /// It took a live entry's owner the right to renew it, and nothing else; the mark is as it was before.
    Revoked(Mark),
}

/// The circumstances of one operation.
#[derive(Debug)]
pub struct Serving<'a> {
    /// The store's clock.
    pub now: StoreTime,
    /// True time.
    pub truth: Time,
    /// How long the request was on its way.
    pub age: Span,
    /// On whose behalf.
    pub by: Tag,
    /// Whether that acquisition is still wanted.
    pub wanted: bool,
    /// How far expiry is off.
    pub grain: Grain,
    /// The revision given last.
    pub counter: &'a mut u64,
    /// See [`SimStore::keys`].
    pub keys: Option<&'a mut Vec<u64>>,
    /// What was done: the answer to the monitors.
    pub touch: Touch,
    /// Whether it was done to the lock itself, and not to a key beside it.
    pub to_lock: bool,
    /// When the request first reached the store that it was done for, if it was done to where newer requests make
    /// themselves known.
    pub request: Option<StoreTime>,
    /// Whether the grain decided.
    pub grain_seen: bool,
}

impl Serving<'_> {
    /// Whether an entry that expires then is alive.
    pub fn is_live(&mut self, expires: StoreTime) -> bool {
        let truly = expires > self.now;
        if self.grain == Grain::default() {
            return truly;
        }
        let live = self.grain.is_live(expires, self.now);
        self.grain_seen |= truly != live;
        live
    }

    /// Whether the monitors have to look at what was done. Mostly, another one's entry is in the way, and wanted.
    pub(crate) fn is_notable(&self) -> bool {
        match &self.touch {
            Touch::Refused(mark) => mark.by == self.by || mark.abandoned != Time::MAX,
            touch => *touch != Touch::None,
        }
    }

    /// The mark of an entry that is written now and lives so long.
    pub fn mark(&self, ttl: Option<Span>) -> Mark {
        let expires = ttl.map_or(StoreTime::MAX, |ttl| self.now + ttl);
        let abandoned = if self.wanted { Time::MAX } else { self.truth };
        Mark {
            by: self.by,
            touched: self.truth,
            expires,
            abandoned,
            noticed: Time::MAX,
            renewed_by_another: false,
            revoked: false,
        }
    }

    /// The next revision, which `key` gets.
    pub fn revision(&mut self, key: &impl Hash) -> Revision {
        *self.counter += 1;
        if let Some(keys) = &mut self.keys {
            keys.push(Digest::of(key));
        }
        Revision(*self.counter)
    }
}

/// How much earlier or later than it should a store lets entries expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Grain {
    /// So much too early.
    pub early: Span,
    /// So much too late.
    pub late: Span,
}

impl Grain {
    /// The fault that it is.
    pub(crate) fn fault(self) -> Fault {
        if self.early > self.late { Fault::ExpiryEarly } else { Fault::ExpiryLate }
    }

    fn is_live(self, expires: StoreTime, now: StoreTime) -> bool {
        expires + self.late > now + self.early
    }
}

/// A protocol that the simulated store can speak.
pub trait Simulated: Protocol + Clone + Debug + Send + Sync {
    /// The entries of one namespace.
    type Shelf: Clone + Eq + Hash + Debug + Default + Send + Sync;

    /// Whether what an operation does depends on when it was sent.
    const COUNTS_AGE: bool = false;

    /// Carries one operation out.
    fn serve(op: &Self::Op, shelf: &mut Self::Shelf, serving: &mut Serving<'_>) -> Self::Answer;

    /// Whether the operation only reads, so that a replica could answer it.
    fn is_read(op: &Self::Op) -> bool;

    /// The mark of the lock's entry, dead or alive.
    fn lock(shelf: &mut Self::Shelf) -> Option<&mut Mark>;

    /// Every mark.
    fn for_each_mark(shelf: &mut Self::Shelf, look: &mut dyn FnMut(&mut Mark));

    /// Removes what has expired if what expires at `dead` has, for all and for ever. What somebody may still find
    /// stays.
    fn sweep(shelf: &mut Self::Shelf, dead: StoreTime);

    /// Whether a request can do nothing any more, now or ever: all that may come of it is an answer.
    fn is_moot(op: &Self::Op, shelf: &Self::Shelf) -> bool {
        let _ = shelf;
        Self::is_read(op)
    }

    /// Shows every name in a request to `names`.
    fn relocate_op(op: &mut Self::Op, names: &mut Names);

    /// Shows every name in an answer to `names`.
    fn relocate_answer(answer: &mut Self::Answer, names: &mut Names);

    /// Shows every name on a shelf to `names`.
    fn relocate_shelf(shelf: &mut Self::Shelf, names: &mut Names);
}

/// A key or record of which the world knows the names inside.
pub trait Named {
    /// Shows them; see [`Relocate`].
    fn relocate(&mut self, map: &mut impl Relocate);

    /// Whether a record that is written over another one only takes its owner the right to renew it: the entry remains
    /// that one's, until it expires or its owner deletes it.
    fn revokes(&self) -> bool {
        false
    }

    /// When the request that it makes known first reached the store, if it says so.
    fn asked(&self) -> Option<StoreTime> {
        None
    }
}

impl Named for () {
    fn relocate(&mut self, _: &mut impl Relocate) {}
}

impl Named for Identity {
    fn relocate(&mut self, map: &mut impl Relocate) {
        map.identity(self);
    }
}

impl Named for line::Owner {
    fn relocate(&mut self, map: &mut impl Relocate) {
        line::Owner::relocate(self, map);
    }
}

impl Named for line::Key {
    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            line::Key::Lock => {}
            line::Key::Place(place) => place.relocate(map),
        }
    }
}

/// A key of which the world knows whether it is the lock itself.
pub trait LockKey {
    /// Whether this key is what the exclusion is about.
    fn is_lock(&self) -> bool {
        true
    }

    /// Whether a record under this key is a request that others have to give way to.
    fn is_request(&self) -> bool {
        false
    }
}

impl LockKey for () {}

impl LockKey for line::Key {
    fn is_lock(&self) -> bool {
        match self {
            line::Key::Lock => true,
            line::Key::Place(_) => false,
        }
    }
}

/// The entries of one namespace, in the order of keys.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Shelf<K, R>(Vec<Slot<K, R>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot<K, R> {
    key: K,
    entry: Entry<R>,
    mark: Mark,
}

impl<K: Clone, R: Clone> Clone for Shelf<K, R> {
    fn clone(&self) -> Shelf<K, R> {
        Shelf(self.0.clone())
    }

    fn clone_from(&mut self, other: &Shelf<K, R>) {
        self.0.clone_from(&other.0);
    }
}

impl<K, R> Default for Shelf<K, R> {
    fn default() -> Self {
        Shelf(Vec::new())
    }
}

impl<K: Clone + Ord + Hash + LockKey, R: Clone + Named> Shelf<K, R> {
    /// Where the live entry of `key` is, or where one would go. An expired one is cleared away.
    #[inline(always)]
    fn find(&mut self, key: &K, serving: &mut Serving<'_>) -> Result<usize, usize> {
        (serving.to_lock, serving.request) = (key.is_lock(), key.is_request().then_some(serving.now));
        let at = self.0.binary_search_by(|slot| slot.key.cmp(key))?;
        if serving.is_live(self.0[at].mark.expires) {
            return Ok(at);
        }
        self.0.remove(at);
        Err(at)
    }

    /// Where the live entry of `key` is, if it has this revision.
    fn find_revision(&mut self, key: &K, revision: Revision, serving: &mut Serving<'_>) -> Option<usize> {
        self.find(key, serving).ok().filter(|&at| self.0[at].entry.revision == revision)
    }

    #[inline(never)]
    fn get(&mut self, key: &K, serving: &mut Serving<'_>) -> Answer<K, R> {
        Answer::Found(self.find(key, serving).ok().map(|at| self.0[at].entry.clone()))
    }

    #[inline]
    fn put_if(
        &mut self,
        key: &K,
        expect: Expect,
        record: &R,
        ttl: Option<Span>,
        serving: &mut Serving<'_>,
    ) -> Answer<K, R> {
        let found = self.find(key, serving);
        match (found, expect) {
            (Ok(at), Expect::Absent) => self.refuse(at, serving),
            (Ok(at), Expect::Revision(revision)) if self.0[at].entry.revision != revision => {
                self.refuse(at, serving)
            }
            (Err(_), Expect::Revision(_)) => Answer::Refused(None),
            (Ok(_), Expect::Revision(_)) | (Err(_), Expect::Absent) => {
                self.put(found, key, record, ttl, serving)
            }
        }
    }

    /// A live entry is in the way.
    #[inline]
    fn refuse(&self, at: usize, serving: &mut Serving<'_>) -> Answer<K, R> {
        let slot = &self.0[at];
        serving.touch = Touch::Refused(slot.mark);
        Answer::Refused(Some(slot.entry.clone()))
    }

    /// Puts an entry over the one that was found, or where there was none.
    #[inline(never)]
    fn put(
        &mut self,
        found: Result<usize, usize>,
        key: &K,
        record: &R,
        ttl: Option<Span>,
        serving: &mut Serving<'_>,
    ) -> Answer<K, R> {
        let revision = serving.revision(key);
        let entry = Entry { revision, record: record.clone() };
        if let (Ok(at), true) = (found, record.revokes()) {
            return self.revoke(at, entry, ttl, serving);
        }
        if let (Some(request), Some(asked)) = (&mut serving.request, record.asked()) {
            *request = asked;
        }
        let slot = Slot { key: key.clone(), entry, mark: serving.mark(ttl) };
        let over = match found {
            Ok(at) => Some(std::mem::replace(&mut self.0[at], slot).mark),
            Err(at) => {
                self.0.insert(at, slot);
                None
            }
        };
        serving.touch = Touch::Wrote(over);
        Answer::Applied(revision)
    }

    /// The entry remains its owner's, and lives on for so long.
    fn revoke(
        &mut self,
        at: usize,
        entry: Entry<R>,
        ttl: Option<Span>,
        serving: &mut Serving<'_>,
    ) -> Answer<K, R> {
        let (slot, revision) = (&mut self.0[at], entry.revision);
        serving.touch = Touch::Revoked(slot.mark);
        slot.entry = entry;
        let expires = serving.mark(ttl).expires;
        slot.mark = Mark { touched: serving.truth, expires, revoked: true, ..slot.mark };
        Answer::Applied(revision)
    }

    #[inline(never)]
    fn renew(&mut self, key: &K, revision: Revision, ttl: Span, serving: &mut Serving<'_>) -> Answer<K, R> {
        let Some(at) = self.find_revision(key, revision, serving) else { return Answer::Refused(None) };
        let mark = &mut self.0[at].mark;
        serving.touch = Touch::Renewed(*mark);
        (mark.touched, mark.expires) = (serving.truth, serving.now + ttl);
        Answer::Applied(revision)
    }

    #[inline(never)]
    fn delete_if(&mut self, key: &K, revision: Revision, serving: &mut Serving<'_>) -> Answer<K, R> {
        let found = match revision {
            Revision::ANY => self.find(key, serving).ok(),
            revision => self.find_revision(key, revision, serving),
        };
        let Some(at) = found else { return Answer::Refused(None) };
        let slot = self.0.remove(at);
        serving.touch = Touch::Deleted(slot.mark);
        Answer::Applied(slot.entry.revision)
    }

    #[inline(never)]
    fn list(&mut self, after: &K, limit: u32, serving: &mut Serving<'_>) -> Answer<K, R> {
        self.0.retain(|slot| serving.is_live(slot.mark.expires));
        let first = self.0.partition_point(|slot| slot.key <= *after);
        let page = self.0[first..].iter().take(limit as usize);
        Answer::Listed(page.map(|slot| (slot.key.clone(), slot.entry.clone())).collect())
    }
}

impl<K, R> Simulated for Contract<K, R>
where
    K: Clone + Ord + Hash + Debug + LockKey + Named + Send + Sync + 'static,
    R: Clone + Eq + Hash + Debug + Named + Send + Sync + 'static,
{
    type Shelf = Shelf<K, R>;

    #[inline]
    fn serve(op: &Op<K, R>, shelf: &mut Shelf<K, R>, serving: &mut Serving<'_>) -> Answer<K, R> {
        match op {
            Op::PutIf { key, expect, record, ttl } => shelf.put_if(key, *expect, record, *ttl, serving),
            Op::Get { key } => shelf.get(key, serving),
            Op::Renew { key, revision, ttl } => shelf.renew(key, *revision, *ttl, serving),
            Op::DeleteIf { key, revision } => shelf.delete_if(key, *revision, serving),
            Op::List { after, limit } => shelf.list(after, *limit, serving),
        }
    }

    fn is_read(op: &Op<K, R>) -> bool {
        matches!(op, Op::Get { .. } | Op::List { .. })
    }

    fn lock(shelf: &mut Shelf<K, R>) -> Option<&mut Mark> {
        shelf.0.iter_mut().find(|slot| slot.key.is_lock()).map(|slot| &mut slot.mark)
    }

    fn for_each_mark(shelf: &mut Shelf<K, R>, look: &mut dyn FnMut(&mut Mark)) {
        shelf.0.iter_mut().for_each(|slot| look(&mut slot.mark));
    }

    /// A revision that is not there will never come back.
    fn is_moot(op: &Op<K, R>, shelf: &Shelf<K, R>) -> bool {
        let is_gone = |revision: Revision| {
            revision != Revision::ANY && shelf.0.iter().all(|slot| slot.entry.revision != revision)
        };
        match op {
            Op::Get { .. } | Op::List { .. } => true,
            Op::Renew { revision, .. } | Op::DeleteIf { revision, .. } => is_gone(*revision),
            Op::PutIf { expect: Expect::Revision(revision), .. } => is_gone(*revision),
            Op::PutIf { expect: Expect::Absent, .. } => false,
        }
    }

    fn sweep(shelf: &mut Shelf<K, R>, dead: StoreTime) {
        shelf.0.retain(|slot| slot.mark.expires > dead);
    }

    fn relocate_op(op: &mut Op<K, R>, names: &mut Names) {
        match op {
            Op::Get { key } | Op::List { after: key, .. } => key.relocate(names),
            Op::PutIf { key, expect, record, .. } => {
                key.relocate(names);
                record.relocate(names);
                if let Expect::Revision(revision) = expect {
                    names.revision(revision);
                }
            }
            Op::Renew { key, revision, .. } | Op::DeleteIf { key, revision } => {
                key.relocate(names);
                names.revision(revision);
            }
        }
    }

    fn relocate_answer(answer: &mut Answer<K, R>, names: &mut Names) {
        match answer {
            Answer::Applied(revision) => names.revision(revision),
            Answer::Refused(entry) | Answer::Found(entry) => {
                entry.iter_mut().for_each(|entry| relocate_entry(entry, names));
            }
            Answer::Listed(page) => page.iter_mut().for_each(|(key, entry)| {
                key.relocate(names);
                relocate_entry(entry, names);
            }),
            Answer::Unknown => {}
        }
    }

    fn relocate_shelf(shelf: &mut Shelf<K, R>, names: &mut Names) {
        for slot in &mut shelf.0 {
            slot.key.relocate(names);
            relocate_entry(&mut slot.entry, names);
            slot.mark.relocate(names);
        }
    }
}

fn relocate_entry<R: Named>(entry: &mut Entry<R>, names: &mut Names) {
    names.revision(&mut entry.revision);
    entry.record.relocate(names);
}

/// One store with its clock, its namespaces and its lies.
#[derive(Debug)]
pub struct SimStore<P: Simulated> {
    /// Its clock.
    pub clock: Clock,
    /// The revision given last.
    pub counter: u64,
    /// The key that each revision was given to, as a number, where somebody asks: a checker whose algorithm only
    /// compares revisions of one key.
    pub keys: Option<Vec<u64>>,
    /// Its namespaces.
    pub shelves: Vec<P::Shelf>,
    /// What a replica that stopped following still has.
    pub replica: Option<Vec<P::Shelf>>,
    /// Whether it stands still.
    pub paused: bool,
    /// When it last began to work again.
    pub resumed: Time,
    /// How far expiry is off.
    pub grain: Grain,
    /// Faults that hit it and that no operation has met yet.
    pub pending: FaultSet,
    /// Whether its clock was ever set.
    pub was_set: bool,
}

impl<P: Simulated> Clone for SimStore<P> {
    fn clone(&self) -> SimStore<P> {
        let (clock, shelves, replica) = (self.clock.clone(), self.shelves.clone(), self.replica.clone());
        SimStore { clock, keys: self.keys.clone(), shelves, replica, ..*self }
    }

    fn clone_from(&mut self, other: &SimStore<P>) {
        let (mut shelves, mut replica) = (std::mem::take(&mut self.shelves), self.replica.take());
        let mut keys = self.keys.take();
        shelves.clone_from(&other.shelves);
        replica.clone_from(&other.replica);
        keys.clone_from(&other.keys);
        *self = SimStore { clock: other.clock.clone(), keys, shelves, replica, ..*other };
    }
}

impl<P: Simulated> SimStore<P> {
    /// An empty store with so many namespaces.
    pub fn new(shelves: usize) -> SimStore<P> {
        SimStore {
            clock: Clock::starting_at(0),
            counter: 0,
            keys: None,
            shelves: vec![P::Shelf::default(); shelves],
            replica: None,
            paused: false,
            resumed: Time::ZERO,
            grain: Grain::default(),
            pending: FaultSet::NONE,
            was_set: false,
        }
    }

    /// Its clock at `now`.
    pub fn now(&self, now: Time) -> StoreTime {
        StoreTime::from_nanos(self.clock.read(now))
    }

    /// What expires on its clock then, or before, has expired.
    pub fn dead(&self, now: Time) -> StoreTime {
        self.now(now) + self.grain.early - self.grain.late
    }

    /// From now on expiry is off by so much. What has expired stays so.
    pub fn set_grain(&mut self, now: Time, grain: Grain) {
        let dead = self.dead(now);
        let shelves = self.shelves.iter_mut().chain(self.replica.iter_mut().flatten());
        shelves.for_each(|shelf| P::sweep(shelf, dead));
        self.grain = grain;
    }

    /// Its clock is set ahead, or back, by so many nanoseconds.
    pub fn set_clock(&mut self, now: Time, nanos: i64) {
        self.clock.set(now, nanos);
        self.was_set = true;
    }

    /// The replica stops following.
    pub fn lag(&mut self) {
        self.replica = Some(self.shelves.clone());
    }

    /// The lagging replica takes over: what it had not seen is lost, and revisions jump ahead.
    pub fn fail_over(&mut self) {
        if let Some(shelves) = self.replica.take() {
            self.shelves = shelves;
            self.counter += 1_000;
            self.pending.add(Fault::Failover);
        }
    }
}
