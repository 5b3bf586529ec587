//! The engine in memory: a map in this process, and nothing outside it.
//!
//! It answers at once, on the caller's thread. What it keeps is gone when the process ends; its revisions go on from
//! the time of day in microseconds, so that a token of an earlier life of the process never comes back (as long as
//! that life wrote less than a million entries a second, and the clock was not set back).
//!
//! Nothing runs when an entry expires: it counts as gone from that moment on, and is swept away later. That costs no
//! timer, and at most as much memory again as the live entries need.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::vec::Vec;

use super::clock::Anchored;
use super::survey::{Stored, Survey, Surveying};
use super::{Ear, Engine, EngineAnswer, EngineOp, Hint, Reply, Request, Responder, Text};
use crate::driver::primitive::{AtomicBool, AtomicUsize, Mutex, Ordering, lock};
use crate::store::{Answer, Entry, Expect, Limits, Op, Revision};
use crate::time::{Span, StoreTime};

/// Stands between a space and a key in the map; no text has this byte in it.
const SEPARATOR: u8 = 0xff;
/// Below this size nothing is swept.
const SWEEP_MIN: usize = 64;

/// What [`Memory`] can do.
const LIMITS: Limits = Limits {
    ttl_min: Span::from_nanos(1),
    ttl_grain: Span::from_nanos(1),
    pushes: true,
    durable: false,
    key_bytes_max: 65_536,
};

/// An engine in memory. Each value is one process's access to a map that several may [share](Memory::share).
///
/// ```
/// use fencepost::engine::memory::Memory;
/// use fencepost::engine::{Engine, Request};
/// use fencepost::store::{Answer, Op};
///
/// let engine = Memory::new();
/// let get = Request { space: "mutex/a".into(), op: Op::Get { key: Box::from(*b"lock") } };
/// assert_eq!(engine.answer(&get).map(|reply| reply.answer), Some(Answer::Found(None)));
/// ```
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    ear: OnceLock<Arc<dyn Ear>>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    map: Mutex<Map>,
    /// Replaced as a whole, so that nobody holds the lock while it is listened to.
    ears: Mutex<Arc<[Arc<dyn Ear>]>>,
    /// How often they were told something.
    told: AtomicUsize,
    clock: Anchored,
}

#[derive(Debug)]
struct Map {
    /// By space, [`SEPARATOR`] and key.
    entries: BTreeMap<Box<[u8]>, Kept>,
    revision: u64,
    /// At which size it is swept next.
    sweep_at: usize,
    /// Where a name is put together.
    name: Vec<u8>,
}

#[derive(Debug)]
struct Kept {
    revision: Revision,
    record: Text,
    /// [`StoreTime::MAX`], if never.
    until: StoreTime,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        let clock = Anchored::now();
        let map = Map {
            entries: BTreeMap::new(),
            revision: clock.read().as_nanos() / 1_000,
            sweep_at: SWEEP_MIN,
            name: Vec::new(),
        };
        let ears: Arc<[Arc<dyn Ear>]> = Arc::new([]);
        Memory::of(Arc::new(Shared {
            map: Mutex::new(map),
            ears: Mutex::new(ears),
            told: AtomicUsize::new(0),
            clock,
        }))
    }

    /// Another one's access to the same entries: it hears what is told, and can be closed, on its own.
    pub fn share(&self) -> Memory {
        Memory::of(self.shared.clone())
    }

    fn of(shared: Arc<Shared>) -> Memory {
        Memory { shared, ear: OnceLock::new(), closed: AtomicBool::new(false) }
    }

    fn hush(&self) {
        if let Some(ear) = self.ear.get() {
            self.shared.change_ears(|ears| ears.retain(|other| !Arc::ptr_eq(other, ear)));
        }
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.hush();
    }
}

impl Engine for Memory {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        if self.ear.set(ear.clone()).is_ok() {
            self.shared.change_ears(|ears| ears.push(ear));
        }
    }

    fn answer(&self, request: &Request) -> Option<Reply> {
        if self.closed.load(Ordering::Acquire) {
            return Some(Reply::UNKNOWN);
        }
        let (answer, at) = {
            let mut map = lock(&self.shared.map);
            // Read under the lock, so that the times of answers are in the order of what was done.
            let at = self.shared.clock.read();
            (map.carry_out(&request.space, &request.op, at), at)
        };
        if let (Op::DeleteIf { .. }, Answer::Applied(_)) = (&request.op, &answer) {
            self.shared.tell(Hint::Freed { space: &request.space });
        }
        Some(Reply { answer, at })
    }

    fn submit(&self, request: Request, responder: Responder) {
        responder.answer(self.answer(&request).unwrap_or(Reply::UNKNOWN));
    }

    fn publish(&self, space: &str, text: &str) {
        if !self.closed.load(Ordering::Acquire) {
            self.shared.tell(Hint::Message { space, text });
        }
    }

    fn survey(&self, prefix: &str) -> Surveying<'_> {
        let at = self.shared.clock.read();
        let entries = lock(&self.shared.map).survey(prefix, at);
        Box::pin(core::future::ready(Ok(Survey { at, entries })))
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.closed.store(true, Ordering::Release);
            self.hush();
        })
    }
}

impl Shared {
    fn tell(&self, hint: Hint<'_>) {
        let ears = lock(&self.ears).clone();
        // Who hears first is the first to ask, mostly; so it is another one each time.
        let first = self.told.fetch_add(1, Ordering::Relaxed) % ears.len().max(1);
        let (later, sooner) = ears.split_at(first);
        sooner.iter().chain(later).for_each(|ear| ear.hear(hint));
    }

    fn change_ears(&self, change: impl FnOnce(&mut Vec<Arc<dyn Ear>>)) {
        let mut ears = lock(&self.ears);
        let mut changed = ears.to_vec();
        change(&mut changed);
        *ears = changed.into();
    }
}

impl Map {
    fn survey(&self, prefix: &str, at: StoreTime) -> Vec<Stored> {
        let alive =
            self.entries.iter().filter(|(name, kept)| name.starts_with(prefix.as_bytes()) && kept.until > at);
        let stored = alive.filter_map(|(name, kept)| {
            let end = name.iter().position(|byte| *byte == SEPARATOR)?;
            let (space, key) = (core::str::from_utf8(&name[..end]).ok()?, Box::from(&name[end + 1..]));
            let until = (kept.until < StoreTime::MAX).then_some(kept.until);
            Some(Stored { space: space.into(), key, entry: kept.show(), until })
        });
        // The separator is greater than any text, so the map has longer names first.
        let mut stored: Vec<_> = stored.collect();
        stored.sort_by(|one, other| (&one.space, &one.key).cmp(&(&other.space, &other.key)));
        stored
    }

    fn carry_out(&mut self, space: &str, op: &EngineOp, at: StoreTime) -> EngineAnswer {
        match op {
            Op::Get { key } => Answer::Found(self.find(space, key, at).map(|kept| kept.show())),
            Op::PutIf { key, expect, record, ttl } => {
                let found = self.find(space, key, at);
                let is_met = match (expect, &found) {
                    (Expect::Absent, None) => true,
                    (Expect::Revision(revision), Some(kept)) => kept.revision == *revision,
                    (Expect::Absent, Some(_)) | (Expect::Revision(_), None) => false,
                };
                if !is_met {
                    return Answer::Refused(found.map(|kept| kept.show()));
                }
                let until = ttl.map_or(StoreTime::MAX, |ttl| at + ttl);
                Answer::Applied(self.put(record.clone(), until, at))
            }
            Op::Renew { key, revision, ttl } => match self.find(space, key, at) {
                Some(kept) if kept.revision == *revision => {
                    kept.until = at + *ttl;
                    Answer::Applied(*revision)
                }
                _ => Answer::Refused(None),
            },
            Op::DeleteIf { key, revision } => match self.find(space, key, at) {
                Some(kept) if kept.revision == *revision => {
                    self.entries.remove(&*self.name);
                    Answer::Applied(*revision)
                }
                _ => Answer::Refused(None),
            },
            Op::List { after, limit } => Answer::Listed(self.list(space, after, *limit as usize, at)),
        }
    }

    /// The live entry under this key, whose name stays in [`Map::name`].
    fn find(&mut self, space: &str, key: &[u8], at: StoreTime) -> Option<&mut Kept> {
        self.name(space, key);
        self.entries.get_mut(&*self.name).filter(|kept| kept.is_live(at))
    }

    fn name(&mut self, space: &str, key: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(space.as_bytes());
        self.name.push(SEPARATOR);
        self.name.extend_from_slice(key);
    }

    /// Writes under the name that was looked for last.
    fn put(&mut self, record: Text, until: StoreTime, at: StoreTime) -> Revision {
        self.revision += 1;
        let revision = Revision(self.revision);
        let kept = Kept { revision, record, until };
        match self.entries.get_mut(&*self.name) {
            Some(before) => *before = kept,
            None => {
                self.sweep(at);
                self.entries.insert(Box::from(&*self.name), kept);
            }
        }
        revision
    }

    /// Drops what has expired, whenever there are twice as many entries as were left the last time.
    fn sweep(&mut self, at: StoreTime) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, kept| kept.is_live(at));
            self.sweep_at = SWEEP_MIN.max(self.entries.len() * 2);
        }
    }

    fn list(
        &mut self,
        space: &str,
        after: &[u8],
        limit: usize,
        at: StoreTime,
    ) -> Vec<(super::Key, Entry<Text>)> {
        self.name(space, after);
        let prefix = space.len() + 1;
        let (start, _) = self.name.split_at(prefix);
        self.entries
            .range::<[u8], _>((Bound::Excluded(&*self.name), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(start))
            .filter(|(_, kept)| kept.is_live(at))
            .take(limit)
            .map(|(name, kept)| (Box::from(&name[prefix..]), kept.show()))
            .collect()
    }
}

impl Kept {
    fn is_live(&self, at: StoreTime) -> bool {
        at < self.until
    }

    fn show(&self) -> Entry<Text> {
        Entry { revision: self.revision, record: self.record.clone() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Writes down that it has heard something.
    struct Named(u8, Arc<Mutex<Vec<u8>>>);

    impl Ear for Named {
        fn hear(&self, _: Hint<'_>) {
            lock(&self.1).push(self.0);
        }
    }

    #[test]
    fn everybody_hears_each_hint_once_and_each_time_another_one_first() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let engines: [Memory; 3] = {
            let first = Memory::new();
            [first.share(), first.share(), first]
        };
        for (name, engine) in (0..).zip(&engines) {
            engine.listen(Arc::new(Named(name, heard.clone())));
        }
        (0..4).for_each(|_| engines[0].publish("space", "text"));
        assert_eq!(*lock(&heard), [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]);
    }
}
