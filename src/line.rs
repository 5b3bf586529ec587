//! The queue of a fair lock: each waiter keeps a place of its own in the store, and the store's expiry clears
//! the places of waiters that crashed.
//!
//! A place is a key that sorts by the store's time at which its owner first asked, so the queue is the order of
//! keys, its head is a listing of one, and joining needs no counter and meets no contention. The queue is about
//! fairness only: the lock itself is still taken by compare-and-set, so a queue that lies costs order, never
//! exclusion. Two waiters whose requests overlap may enter in either order.
//!
//! | | state | input | next | sends |
//! |---|---|---|---|---|
//! | N1 | out | join | joining | put the place if absent |
//! | N2 | joining | applied, or refused by its own place | in; leaving, if its lease is over by then | delete, if leaving |
//! | N3 | joining | time-out | joining | the same again |
//! | N4 | in | renewal due, or time-out | in | renew |
//! | N5 | in | renewal refused, or its lease is over | out; leaving, if it may still be there | delete, if leaving |
//! | N6 | joining | leave | leaving, revision to come | |
//! | N7 | in | leave | leaving | delete |
//! | N8 | leaving | its place became known | leaving | delete |
//! | N9 | leaving | answered, or a time to live has passed | out | |
//! | N10 | leaving | time-out | leaving | delete again |
//! | N11 | leaving, revision to come | time-out | leaving | get |
//! | N12 | leaving, revision to come | found, or not | leaving, or out | delete, if found |

use crate::lease::{Lease, LeaseTerms};
use crate::machine::{Identity, Relocate};
use crate::store::{Answer, Expect, Op, Revision};
use crate::time::{Instant, Now, StoreTime};

/// Names one acquisition: the incarnation that wanted it, and which of its attempts it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Owner {
    /// The incarnation.
    pub identity: Identity,
    /// Its attempt.
    pub attempt: u32,
}

impl Owner {
    /// See [`crate::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        map.serial(self.identity, &mut self.attempt);
        map.identity(&mut self.identity);
    }
}

/// A place in the queue; the lowest is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Place {
    /// The store's time when its owner first saw that it had to wait.
    pub since: StoreTime,
    /// Whose it is.
    pub owner: Owner,
}

/// The keys of a lock's namespace, in the order in which a store lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Key {
    /// The lock itself.
    Lock,
    /// A place in its queue.
    Place(Place),
}

/// What a line asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineCall {
    /// Put a place.
    Join,
    /// Keep it alive.
    Keep,
    /// Give it up.
    Leave,
    /// Look whether it is there at all.
    Find,
}

/// A request of the line, to be sent under the call's name.
pub type LineOp = (LineCall, Op<Key, Owner>);

/// One waiter's relation to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// It has no place.
    Out,
    /// It has asked for a place.
    Joining {
        /// The place.
        place: Place,
        /// When it was asked for first: the lease on it may count from no later moment.
        first: Instant,
        /// When the request was sent last.
        sent: Instant,
    },
    /// It has a place, which it keeps alive as a lease.
    In {
        /// The place.
        place: Place,
        /// The lease on it.
        lease: Lease,
    },
    /// It no longer wants its place.
    Leaving {
        /// The place.
        place: Place,
        /// Its revision, once known.
        revision: Option<Revision>,
        /// When a request was sent last.
        sent: Instant,
        /// When it has expired anyway.
        give_up: Instant,
    },
}

impl Line {
    /// N1: asks for a place, unless there is one.
    pub fn join(&mut self, terms: &LeaseTerms, now: Now, place: Place) -> Option<LineOp> {
        match self {
            Line::Out => {
                *self = Line::Joining { place, first: now.mono, sent: now.mono };
                Some(put(terms, place))
            }
            Line::Joining { .. } | Line::In { .. } | Line::Leaving { .. } => None,
        }
    }

    /// N6, N7: gives its place up, if it has one.
    pub fn leave(&mut self, terms: &LeaseTerms, now: Now) -> Option<LineOp> {
        let (place, revision) = match *self {
            Line::Out | Line::Leaving { .. } => return None,
            Line::Joining { place, .. } => (place, None),
            Line::In { place, lease } => (place, Some(lease.revision())),
        };
        *self = Line::Leaving { place, revision, sent: now.mono, give_up: now.mono + terms.ttl() };
        revision.map(|revision| delete(place, revision))
    }

    /// Whether it still has a place that it no longer wants.
    pub fn is_leaving(&self) -> bool {
        matches!(self, Line::Leaving { .. })
    }

    /// Whether `place` is the one it holds or has asked for.
    pub fn is_at(&self, place: &Place) -> bool {
        match self {
            Line::Joining { place: own, .. } | Line::In { place: own, .. } => own == place,
            Line::Out | Line::Leaving { .. } => false,
        }
    }

    /// When something is to be done next.
    #[inline]
    pub fn deadline(&self, terms: &LeaseTerms) -> Instant {
        if matches!(self, Line::Out) { Instant::MAX } else { self.due(terms) }
    }

    // Kept apart, so that whoever stands in no line pays for one look at that and no more.
    #[inline(never)]
    fn due(&self, terms: &LeaseTerms) -> Instant {
        match self {
            Line::Out => Instant::MAX,
            Line::Joining { sent, .. } => *sent + terms.timeout(),
            Line::In { lease, .. } => lease.deadline(terms),
            Line::Leaving { sent, give_up, .. } => (*sent + terms.timeout()).min(*give_up),
        }
    }

    /// N3, N4, N9, N10: time has passed.
    pub fn wake(&mut self, terms: &LeaseTerms, now: Now) -> Option<LineOp> {
        let overdue = |sent: Instant| now.mono >= sent + terms.timeout();
        match self {
            Line::Out => None,
            Line::Joining { place, sent, .. } => overdue(*sent).then(|| {
                *sent = now.mono;
                put(terms, *place)
            }),
            Line::In { lease, .. } if !lease.is_held(now.mono) => self.leave(terms, now),
            Line::In { place, lease } => {
                let (place, revision) = (*place, lease.revision());
                lease.renews(terms, now.mono).then(|| keep(terms, place, revision))
            }
            Line::Leaving { give_up, .. } if now.mono >= *give_up => {
                *self = Line::Out;
                None
            }
            Line::Leaving { place, revision, sent, .. } => overdue(*sent).then(|| {
                *sent = now.mono;
                match *revision {
                    Some(revision) => delete(*place, revision),
                    None => (LineCall::Find, Op::Get { key: Key::Place(*place) }),
                }
            }),
        }
    }

    /// N2, N5, N8, N9: the store has answered.
    pub fn answered(
        &mut self,
        terms: &LeaseTerms,
        now: Now,
        call: LineCall,
        answer: &Answer<Key, Owner>,
    ) -> Option<LineOp> {
        match (call, answer) {
            (LineCall::Join, Answer::Applied(revision)) => self.joined(terms, now, *revision),
            // A place carries its owner's name, so only its owner's own earlier request can stand in the way.
            (LineCall::Join, Answer::Refused(Some(entry))) => self.joined(terms, now, entry.revision),
            (LineCall::Keep, Answer::Applied(_)) => {
                if let Line::In { lease, .. } = self {
                    lease.renewed(terms, now);
                }
                None
            }
            (LineCall::Find, Answer::Found(Some(entry))) => self.joined(terms, now, entry.revision),
            (LineCall::Find, Answer::Found(None)) => {
                if self.is_leaving() {
                    *self = Line::Out;
                }
                None
            }
            (LineCall::Join, Answer::Refused(None))
            | (LineCall::Keep, Answer::Refused(_))
            | (LineCall::Leave, Answer::Applied(_) | Answer::Refused(_)) => {
                *self = Line::Out;
                None
            }
            // No answer yet: the time-out repeats the request.
            (
                LineCall::Join | LineCall::Keep | LineCall::Leave,
                Answer::Unknown | Answer::Found(_) | Answer::Listed(_),
            )
            | (
                LineCall::Find,
                Answer::Unknown | Answer::Applied(_) | Answer::Refused(_) | Answer::Listed(_),
            ) => None,
        }
    }

    fn joined(&mut self, terms: &LeaseTerms, now: Now, revision: Revision) -> Option<LineOp> {
        match self {
            Line::Joining { place, first, .. } => {
                let place = *place;
                if let Some(lease) = Lease::granted(terms, revision, *first, now) {
                    *self = Line::In { place, lease };
                    return None;
                }
                let give_up = now.mono + terms.ttl();
                *self = Line::Leaving { place, revision: Some(revision), sent: now.mono, give_up };
                Some(delete(place, revision))
            }
            Line::Leaving { place, revision: known, sent, .. } => {
                (*known, *sent) = (Some(revision), now.mono);
                Some(delete(*place, revision))
            }
            Line::Out | Line::In { .. } => None,
        }
    }

    /// See [`crate::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Line::Out => {}
            Line::Joining { place, first, sent } => {
                place.relocate(map);
                map.instant(first);
                map.instant(sent);
            }
            Line::In { place, lease } => {
                place.relocate(map);
                lease.relocate(map);
            }
            Line::Leaving { place, revision, sent, give_up } => {
                place.relocate(map);
                if let Some(revision) = revision {
                    map.revision(revision);
                }
                map.instant(sent);
                map.deadline(give_up);
            }
        }
    }
}

impl Place {
    /// See [`crate::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        map.store_time(&mut self.since);
        self.owner.relocate(map);
    }
}

fn put(terms: &LeaseTerms, place: Place) -> LineOp {
    let (key, record, ttl) = (Key::Place(place), place.owner, Some(terms.ttl()));
    (LineCall::Join, Op::PutIf { key, expect: Expect::Absent, record, ttl })
}

fn keep(terms: &LeaseTerms, place: Place, revision: Revision) -> LineOp {
    (LineCall::Keep, Op::Renew { key: Key::Place(place), revision, ttl: terms.ttl() })
}

fn delete(place: Place, revision: Revision) -> LineOp {
    (LineCall::Leave, Op::DeleteIf { key: Key::Place(place), revision })
}
