//! A request's relation to the contender's record: the newest request keeps it alive, and whoever finds another one's
//! there knows that it was superseded.
//!
//! There is one record, so there is one contender. Superseding is a compare-and-set on the record that was seen, so two
//! who come at one moment do not both believe that they are the newest. Of two whose first looks the store saw at one
//! moment, the one whose record is there stays.
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | S1 | out, leaving | lock | | looking | get |
//! | S2 | looking, in | found none | | joining | put, if absent |
//! | S3 | looking, in, joining | found its own | | in | news joined, unless it was in |
//! | S4 | looking, in, joining | found an older one, or one of lower priority, or its own of before | may be superseded | joining | put over it |
//! | S5 | looking, in, joining | found one of higher priority, or one that may not be superseded any more | | aside | news aside |
//! | S6 | looking, in, joining | found a newer one, or one as new | | out | news preempted |
//! | S7 | joining | applied | | in; looking, if its lease is over | news joined; or get |
//! | S8 | joining | refused, by nothing that is shown | | looking | get |
//! | S9 | looking, joining | time-out | | the same | the same again |
//! | S10 | in | renewal due, or its time-out | | in | keep |
//! | S11 | in | renewal refused, or lease over | | looking | get |
//! | S12 | aside | pause is over | | looking | get |
//! | S13 | in | leave | | leaving | delete |
//! | S14 | joining | leave | | leaving, revision to come | |
//! | S15 | looking, aside | leave | | out | forget the look |
//! | S16 | leaving | deleted, or gone | | out | |
//! | S17 | leaving | time-out | | leaving | delete, or get, again |
//! | S18 | leaving | a time to live has passed | | out | forget both |
//! | S19 | leaving, revision to come | joined, or found its own | | leaving | delete, forget the other call |
//! | S20 | leaving, revision to come | refused or found otherwise | | out | forget the other call |

use crate::lease::Lease;
use crate::line::Owner;
use crate::machine::{Effects, Relocate};
use crate::store::{Answer, Entry, Expect, Op, Revision};
use crate::time::{Instant, Now, Span, StoreTime};

use super::{Bid, Call, Contender, Key, Locker, LockerProtection, LockerTerms, Notice, Record};

type Out<'a> = &'a mut Effects<Locker>;

/// A request, as far as others are to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) owner: Owner,
    pub(super) bid: Bid,
    /// The store's time when it first asked, once it has heard from the store.
    pub(super) asked: Option<StoreTime>,
}

impl Claim {
    fn record(&self, since: StoreTime) -> Contender {
        let Bid { message, priority, patience: _ } = self.bid.clone();
        Contender { owner: self.owner, priority, asked: self.asked.unwrap_or(since), since, message }
    }

    fn put(&self, terms: &LockerTerms, expect: Expect, since: StoreTime, out: Out<'_>) {
        let record = Record::Contender(self.record(since));
        out.store(
            Call::Join,
            Op::PutIf { key: Key::Contender, expect, record, ttl: Some(terms.lease().ttl()) },
        );
    }

    /// See [`crate::machine::Machine::relocate`].
    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        self.owner.relocate(map);
        self.asked.iter_mut().for_each(|asked| map.store_time(asked));
    }

    /// What another one's record means to this request.
    fn judge(&self, terms: &LockerTerms, entry: &Entry<Contender>, at: StoreTime) -> Judgement {
        let Entry { record: other, revision } = entry;
        let under = Judgement::Over(*revision, other.since);
        if other.owner == self.owner {
            return Judgement::Own(*revision, other.since);
        }
        // What an earlier request of this caller has left behind protects nobody.
        if other.owner.identity == self.owner.identity {
            return under;
        }
        let is_as_new = other.asked >= self.asked.unwrap_or(at);
        if other.priority == self.bid.priority && is_as_new {
            return Judgement::Preempted(other.notice());
        }
        let is_settled = at >= other.since + terms.storm;
        if other.priority > self.bid.priority || is_settled { Judgement::Aside } else { under }
    }
}

/// What a record means to a request.
enum Judgement {
    /// It is its own.
    Own(Revision, StoreTime),
    /// It can be superseded, and the row that it is the last of goes on.
    Over(Revision, StoreTime),
    /// It may not be superseded now.
    Aside,
    /// It is newer.
    Preempted(Notice),
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is the contender, and may claim the lock.
    Joined,
    /// Another one is, for now.
    Aside,
    /// It was superseded.
    Preempted(Notice),
}

/// A request's relation to the contender's record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    Out,
    Looking {
        sent: Instant,
        since: Option<StoreTime>,
    },
    /// `first` is when it was put first: the lease on it may count from no later moment.
    Joining {
        expect: Expect,
        since: StoreTime,
        first: Instant,
        sent: Instant,
    },
    In {
        since: StoreTime,
        lease: Lease,
    },
    Aside {
        until: Instant,
    },
    Leaving {
        owner: Owner,
        revision: Option<Revision>,
        sent: Instant,
        give_up: Instant,
    },
}

impl Standing {
    /// S1
    pub(super) fn look(&mut self, now: Now, out: Out<'_>) {
        if let Standing::Leaving { .. } = self {
            out.forget(Call::Join);
            out.forget(Call::Leave);
        }
        self.look_again(now, None, out);
    }

    fn look_again(&mut self, now: Now, since: Option<StoreTime>, out: Out<'_>) {
        *self = Standing::Looking { sent: now.mono, since };
        out.store(Call::Look, Op::Get { key: Key::Contender });
    }

    /// Whether its record is in the store, as far as it knows.
    pub(super) fn is_in(&self) -> bool {
        matches!(self, Standing::In { .. })
    }

    /// S13, S14, S15
    pub(super) fn leave(&mut self, terms: &LockerTerms, now: Now, owner: Owner, out: Out<'_>) {
        let (sent, give_up) = (now.mono, now.mono + terms.lease().ttl());
        match *self {
            Standing::Out | Standing::Leaving { .. } => {}
            Standing::Looking { .. } | Standing::Aside { .. } => {
                out.forget(Call::Look);
                *self = Standing::Out;
            }
            Standing::Joining { .. } => *self = Standing::Leaving { owner, revision: None, sent, give_up },
            Standing::In { lease, .. } => {
                out.forget(Call::Look);
                out.forget(Call::Keep);
                *self = Standing::Leaving { owner, revision: Some(lease.revision()), sent, give_up };
                delete(lease.revision(), out);
            }
        }
    }

    pub(super) fn deadline(&self, terms: &LockerTerms) -> Instant {
        let timeout = terms.lease().timeout();
        match self {
            Standing::Out => Instant::MAX,
            Standing::Looking { sent, .. } | Standing::Joining { sent, .. } => *sent + timeout,
            Standing::In { lease, .. } => lease.deadline(terms.lease()),
            Standing::Aside { until } => *until,
            Standing::Leaving { sent, give_up, .. } => (*sent + timeout).min(*give_up),
        }
    }

    /// S9, S10, S11, S12, S17, S18: what is due.
    pub(super) fn wake(&mut self, terms: &LockerTerms, now: Now, claim: Option<&Claim>, out: Out<'_>) {
        let overdue = |sent: Instant| now.mono >= sent + terms.lease().timeout();
        match self {
            Standing::Looking { sent, since } if overdue(*sent) => {
                let since = *since;
                self.look_again(now, since, out);
            }
            Standing::Joining { expect, since, sent, .. } if overdue(*sent) => {
                *sent = now.mono;
                if let Some(claim) = claim {
                    claim.put(terms, *expect, *since, out);
                }
            }
            Standing::In { since, lease } if !lease.is_held(now.mono) => {
                out.forget(Call::Keep);
                let since = *since;
                self.look_again(now, Some(since), out);
            }
            Standing::In { lease, .. } => {
                if lease.renews(terms.lease(), now.mono) {
                    let (key, ttl) = (Key::Contender, terms.lease().ttl());
                    out.store(Call::Keep, Op::Renew { key, revision: lease.revision(), ttl });
                }
            }
            Standing::Aside { until } if now.mono >= *until => self.look_again(now, None, out),
            Standing::Leaving { give_up, .. } if now.mono >= *give_up => {
                out.forget(Call::Look);
                out.forget(Call::Leave);
                *self = Standing::Out;
            }
            Standing::Leaving { sent, revision, .. } if overdue(*sent) => {
                *sent = now.mono;
                match *revision {
                    Some(revision) => delete(revision, out),
                    None => out.store(Call::Look, Op::Get { key: Key::Contender }),
                }
            }
            Standing::Out
            | Standing::Looking { .. }
            | Standing::Joining { .. }
            | Standing::Aside { .. }
            | Standing::Leaving { .. } => {}
        }
    }

    /// The record was shown: found, or in the way of a join.
    pub(super) fn shown(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        claim: &mut Claim,
        entry: Option<&Entry<Contender>>,
        at: StoreTime,
        out: Out<'_>,
    ) -> Option<News> {
        let asked = *claim.asked.get_or_insert(at);
        // A row that nothing bounds has no beginning that counts: each request begins one.
        let row = |since: StoreTime| if terms.storm == Span::MAX { asked } else { since };
        let own = match self {
            Standing::Looking { since, .. } => *since,
            Standing::Joining { since, .. } | Standing::In { since, .. } => Some(*since),
            Standing::Out | Standing::Aside { .. } | Standing::Leaving { .. } => return None,
        };
        match entry.map(|entry| claim.judge(terms, entry, at)) {
            // S2
            None => {
                self.join(terms, now, claim, Expect::Absent, row(own.unwrap_or(at)), out);
                None
            }
            // S3
            Some(Judgement::Own(revision, since)) => self.joined(terms, now, revision, since, out),
            // S4
            Some(Judgement::Over(revision, since)) => {
                self.join(
                    terms,
                    now,
                    claim,
                    Expect::Revision(revision),
                    row(since.min(own.unwrap_or(since))),
                    out,
                );
                None
            }
            // S5
            Some(Judgement::Aside) => {
                out.forget(Call::Keep);
                *self = Standing::Aside { until: terms.poll().after(now) };
                Some(News::Aside)
            }
            // S6
            Some(Judgement::Preempted(notice)) => {
                out.forget(Call::Keep);
                *self = Standing::Out;
                Some(News::Preempted(notice))
            }
        }
    }

    fn join(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        claim: &Claim,
        expect: Expect,
        since: StoreTime,
        out: Out<'_>,
    ) {
        out.forget(Call::Keep);
        *self = Standing::Joining { expect, since, first: now.mono, sent: now.mono };
        claim.put(terms, expect, since, out);
    }

    /// S3, S7: its record is in the store.
    fn joined(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        revision: Revision,
        since: StoreTime,
        out: Out<'_>,
    ) -> Option<News> {
        let first = match self {
            Standing::In { .. } => return None,
            Standing::Joining { first, .. } => *first,
            // How long it will last, nobody knows: it is renewed at once.
            Standing::Looking { .. } | Standing::Out | Standing::Aside { .. } | Standing::Leaving { .. } => {
                now.mono
            }
        };
        let is_known = matches!(self, Standing::Joining { .. });
        let Some(mut lease) = Lease::granted(terms.lease(), revision, first, now) else {
            self.look_again(now, Some(since), out);
            return None;
        };
        if !is_known {
            lease.renew_now(now.mono);
        }
        *self = Standing::In { since, lease };
        Some(News::Joined)
    }

    /// S7, S8: what has become of a join.
    pub(super) fn answered_join(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        claim: &mut Claim,
        answer: Answer<Key, Record>,
        at: StoreTime,
        out: Out<'_>,
    ) -> Option<News> {
        let Standing::Joining { since, .. } = *self else { return None };
        match answer {
            Answer::Applied(revision) => self.joined(terms, now, revision, since, out),
            Answer::Refused(Some(Entry { revision, record: Record::Contender(record) })) => {
                let entry = Entry { revision, record };
                self.shown(terms, now, claim, Some(&entry), at, out)
            }
            Answer::Refused(_) => {
                self.look_again(now, Some(since), out);
                None
            }
            Answer::Unknown | Answer::Found(_) | Answer::Listed(_) => None,
        }
    }

    /// S10, S11: what has become of a renewal.
    pub(super) fn answered_keep(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        answer: &Answer<Key, Record>,
        out: Out<'_>,
    ) {
        let Standing::In { since, lease } = self else { return };
        match answer {
            Answer::Applied(_) => lease.renewed(terms.lease(), now),
            Answer::Refused(_) if !terms.has(LockerProtection::WaiterLooks) => {
                lease.renewed(terms.lease(), now)
            }
            Answer::Refused(_) => {
                let since = *since;
                self.look_again(now, Some(since), out);
            }
            Answer::Unknown | Answer::Found(_) | Answer::Listed(_) => {}
        }
    }

    /// S19, S20: whether a record that nobody wants any more was put, and is there.
    pub(super) fn answered_leaving(
        &mut self,
        now: Now,
        call: Call,
        answer: &Answer<Key, Record>,
        out: Out<'_>,
    ) {
        let Standing::Leaving { owner, revision: revision @ None, sent, .. } = self else { return };
        let own = match answer {
            Answer::Applied(applied) => Some(*applied),
            Answer::Refused(Some(entry)) | Answer::Found(Some(entry)) => match &entry.record {
                Record::Contender(contender) if contender.owner == *owner => Some(entry.revision),
                Record::Contender(_) | Record::Held { .. } | Record::Revoked(_) => None,
            },
            Answer::Refused(None) | Answer::Found(None) => None,
            Answer::Unknown | Answer::Listed(_) => return,
        };
        out.forget(if call == Call::Look { Call::Join } else { Call::Look });
        match own {
            Some(own) => {
                (*revision, *sent) = (Some(own), now.mono);
                delete(own, out);
            }
            None => *self = Standing::Out,
        }
    }

    /// S16: whether a deletion that was asked for has come to its end.
    pub(super) fn answered_leave(&mut self, answer: &Answer<Key, Record>) {
        let is_over = matches!(answer, Answer::Applied(_) | Answer::Refused(_));
        if is_over && matches!(self, Standing::Leaving { revision: Some(_), .. }) {
            *self = Standing::Out;
        }
    }

    /// See [`crate::machine::Machine::relocate`].
    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Standing::Out => {}
            Standing::Looking { sent, since } => {
                map.instant(sent);
                since.iter_mut().for_each(|since| map.store_time(since));
            }
            Standing::Joining { expect, since, first, sent } => {
                expect.relocate(map);
                map.store_time(since);
                map.instant(first);
                map.instant(sent);
            }
            Standing::In { since, lease } => {
                map.store_time(since);
                lease.relocate(map);
            }
            Standing::Aside { until } => map.deadline(until),
            Standing::Leaving { owner, revision, sent, give_up } => {
                owner.relocate(map);
                revision.iter_mut().for_each(|revision| map.revision(revision));
                map.instant(sent);
                map.deadline(give_up);
            }
        }
    }
}

fn delete(revision: Revision, out: Out<'_>) {
    out.store(Call::Leave, Op::DeleteIf { key: Key::Contender, revision });
}
