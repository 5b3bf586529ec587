//! The lease mutex: at most one holder at a time, as long as clocks keep their assumed drift, and a fencing token
//! that protects the resource whatever they do.
//!
//! A waiter writes a record that names its own attempt, if there is none; the store's expiry takes it away from
//! a holder that died. The holder renews it, counts its lease from the moment it *sent* the request, stops
//! believing before the store does, and is told.
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | T1 | any waiting | any | the caller's patience is over | at rest, or withdrawing | event timed-out |
//! | T2 | holding | any | belief is over | at rest | event lost (expired), delete own revision, forget a renewal |
//! | A1 | at rest | lock | | claiming, or asking the line; pausing, while an old place is being left | claim, or list |
//! | A2 | at rest, withdrawing, releasing | unlock, extend, cancel | | the same | event rejected (not held) |
//! | A3 | any | own record deleted | | the same | publish "freed" |
//! | P1 | pausing | wake | pause is over | claiming, or asking the line | claim, or list |
//! | P2 | pausing | peer freed the lock, or an old place is gone | not leaving an old place | claiming, or asking the line | claim, or list |
//! | P3 | pausing | own stale record deleted, or gone | | claiming, or asking the line | claim, or list |
//! | Q1 | asking the line | nobody in front | | claiming | claim |
//! | Q2 | asking the line | somebody in front | | pausing | join, unless in line |
//! | Q3 | asking the line | time-out | | asking the line | list again |
//! | C1 | claiming | applied, or refused by this very attempt | lease not over | holding | event acquired, leave the line |
//! | C2 | claiming | applied, or refused by this very attempt | lease over | pausing | delete that revision |
//! | C3 | claiming | refused by an earlier attempt of its own | | pausing | delete that revision |
//! | C4 | claiming, asking the line | refused by another, somebody in front | once | at rest | event contended |
//! | C5 | claiming | refused by another | | pausing | join, unless in line or unordered |
//! | C6 | claiming | unknown | | claiming | none: the time-out repeats the claim |
//! | C7 | claiming | time-out | | claiming | the same claim again |
//! | K1 | any waiting | cancel | no claim outstanding | at rest | event cancelled, leave the line |
//! | K2 | claiming | cancel | | withdrawing | event cancelled, leave the line |
//! | K3 | holding | cancel (it crossed the grant) | | at rest | event cancelled, delete own revision, forget a renewal |
//! | D1 | withdrawing | applied, or found its own record | | at rest | delete that revision, forget the other call |
//! | D2 | withdrawing | refused or found otherwise | | at rest | forget the other call |
//! | D3 | withdrawing | time-out | | withdrawing | get |
//! | D4 | withdrawing | a time to live has passed | | at rest | forget the call |
//! | D5 | withdrawing | lock | | claiming, or asking the line | claim, or list: the leftover is met by C3 |
//! | H1 | holding | renewal due, or its time-out | | holding | renew |
//! | H2 | holding | renewal applied | | holding | event extended, if asked for |
//! | H3 | holding | renewal refused | | at rest | event lost (gone) |
//! | H4 | holding | renewal unknown | | holding | none: the time-out repeats it |
//! | H5 | holding | unlock | | releasing | delete own revision, forget a renewal |
//! | H6 | holding | extend | | holding | renew at once |
//! | R1 | releasing | applied | | at rest | event released (clean) |
//! | R2 | releasing | refused | | at rest | event released (gone; unknown and publish "freed", if it was sent twice) |
//! | R3 | releasing | time-out | | releasing | delete own revision again |
//! | R4 | releasing | a time to live has passed | | at rest | event released (unknown) |
//! | B1 | not at rest nor withdrawing | lock | | the same | event rejected (busy) |
//! | B2 | pausing, asking the line, claiming | unlock, extend | | the same | event rejected (not held) |
//!
//! Answers of a shape that the call cannot have are treated as unknown.
//!
//! # Example
//!
//! ```
//! use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
//! use fencepost::mutex::{Event, Mutex, MutexConfig, Patience, Request};
//! use fencepost::store::{Answer, Revision};
//! use fencepost::time::{Instant, Now, StoreTime};
//!
//! let terms = MutexConfig::default().terms()?;
//! let mut mutex = Mutex::new(&terms, Identity(7));
//! let mut effects = Effects::new();
//! let now = Now::default();
//! mutex.step(&terms, now, Input::Request(Request::Lock(Patience::Forever)), &mut effects);
//! let Some(Effect::Store { call, .. }) = effects.drain().next() else { panic!("a claim goes to the store") };
//! // The host carries it there and brings the answer back.
//! let answer = Answer::Applied(Revision(42));
//! mutex.step(&terms, now, Input::Reply { call, answer, at: StoreTime::ZERO }, &mut effects);
//! assert!(mutex.is_held(Instant::ZERO));
//! assert!(!mutex.is_held(Instant::MAX));
//! # Ok::<(), fencepost::lease::ConfigError>(())
//! ```

mod config;
mod words;

pub use config::{Fairness, MutexConfig, MutexConfigBuilder, MutexTerms};
pub use words::{Call, Event, Freed, Loss, Misuse, Patience, Release, Request};

use crate::lease::{Lease, LeaseTerms, Protection};
use crate::line::{Key, Line, LineCall, LineOp, Owner, Place};
use crate::machine::{Effects, Identity, Input, Machine, Relocate};
use crate::store::{Answer, Contract, Entry, Expect, FencingToken, Op, Revision};
use crate::time::{Instant, Now, StoreTime};

/// The mutex. One value serves one caller at a time; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mutex {
    identity: Identity,
    /// Numbers the attempts; a claim that is repeated because nobody knows its outcome stays the same attempt.
    attempt: u32,
    phase: Phase,
    line: Line,
}

/// What a waiting caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Want {
    until: Instant,
    once: bool,
}

impl Want {
    fn new(terms: &MutexTerms, now: Now, patience: Patience) -> Want {
        let until = match patience {
            Patience::Once => now.mono + terms.entry_ttl,
            Patience::For(span) => now.mono + span,
            Patience::Forever => Instant::MAX,
        };
        Want { until, once: patience == Patience::Once }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
enum Phase {
    AtRest,
    Pausing {
        want: Want,
        until: Instant,
    },
    Asking {
        want: Want,
        sent: Instant,
    },
    /// `first` is when this attempt was sent first: its lease may count from no later moment.
    Claiming {
        want: Want,
        first: Instant,
        sent: Instant,
    },
    Withdrawing {
        sent: Instant,
        give_up: Instant,
    },
    Holding {
        lease: Lease,
        extending: bool,
    },
    /// `again`: it was sent more than once, so a refusal no longer tells who deleted the entry.
    Releasing {
        revision: Revision,
        sent: Instant,
        give_up: Instant,
        again: bool,
    },
}

type Out<'a> = &'a mut Effects<Mutex>;

impl Machine for Mutex {
    type Config = MutexTerms;
    type Store = Contract<Key, Owner>;
    type Request = Request;
    type Event = Event;
    type Message = Freed;
    type Call = Call;

    fn new(_: &MutexTerms, identity: Identity) -> Mutex {
        Mutex { identity, attempt: 0, phase: Phase::AtRest, line: Line::Out }
    }

    fn step(&mut self, terms: &MutexTerms, now: Now, input: Input<Mutex>, out: Out<'_>) {
        // The clock is read before the input: what has lapsed has lapsed, whatever comes now.
        self.lapse(terms, now, out);
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call, answer, at } => self.reply(terms, now, call, answer, at, out),
            Input::Message(Freed) => self.freed(terms, now, out),
            Input::Wake => self.wake(terms, now, out),
        }
    }

    #[inline]
    fn deadline(&self, terms: &MutexTerms) -> Option<Instant> {
        let lease = &terms.lease;
        let at = self.phase.deadline(lease).min(self.line.deadline(lease));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.serial(self.identity, &mut self.attempt);
        map.identity(&mut self.identity);
        self.line.relocate(map);
        match &mut self.phase {
            Phase::AtRest => {}
            Phase::Pausing { want, until } => {
                map.deadline(&mut want.until);
                map.deadline(until);
            }
            Phase::Asking { want, sent } => {
                map.deadline(&mut want.until);
                map.instant(sent);
            }
            Phase::Claiming { want, first, sent } => {
                map.deadline(&mut want.until);
                map.instant(first);
                map.instant(sent);
            }
            Phase::Withdrawing { sent, give_up } => {
                map.instant(sent);
                map.deadline(give_up);
            }
            Phase::Holding { lease, extending: _ } => lease.relocate(map),
            Phase::Releasing { revision, sent, give_up, again: _ } => {
                map.revision(revision);
                map.instant(sent);
                map.deadline(give_up);
            }
        }
    }
}

impl Phase {
    fn deadline(&self, terms: &LeaseTerms) -> Instant {
        match self {
            Phase::AtRest => Instant::MAX,
            Phase::Pausing { want, until } => (*until).min(want.until),
            Phase::Asking { want, sent } | Phase::Claiming { want, sent, .. } => {
                (*sent + terms.timeout()).min(want.until)
            }
            Phase::Withdrawing { sent, give_up } | Phase::Releasing { sent, give_up, .. } => {
                (*sent + terms.timeout()).min(*give_up)
            }
            Phase::Holding { lease, .. } => lease.deadline(terms),
        }
    }

    /// When time alone ends it: a caller's patience, or belief.
    fn end(&self) -> Instant {
        match self {
            Phase::Pausing { want, .. } | Phase::Asking { want, .. } | Phase::Claiming { want, .. } => {
                want.until
            }
            Phase::Holding { lease, .. } => lease.until(),
            Phase::AtRest | Phase::Withdrawing { .. } | Phase::Releasing { .. } => Instant::MAX,
        }
    }
}

impl Mutex {
    /// The token of the lock, if it is held at `now`: reads the clock it is given, so a process that was paused
    /// past its lease gets `None` at once.
    pub fn held(&self, now: Instant) -> Option<FencingToken> {
        match &self.phase {
            Phase::Holding { lease, .. } if lease.is_held(now) => Some(lease.revision().into()),
            Phase::AtRest
            | Phase::Pausing { .. }
            | Phase::Asking { .. }
            | Phase::Claiming { .. }
            | Phase::Withdrawing { .. }
            | Phase::Holding { .. }
            | Phase::Releasing { .. } => None,
        }
    }

    /// Whether the lock is held at `now`; see [`Mutex::held`].
    pub fn is_held(&self, now: Instant) -> bool {
        self.held(now).is_some()
    }

    /// Until when the lock may be believed held, if it is.
    pub fn until(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Holding { lease, .. } => Some(lease.until()),
            Phase::AtRest
            | Phase::Pausing { .. }
            | Phase::Asking { .. }
            | Phase::Claiming { .. }
            | Phase::Withdrawing { .. }
            | Phase::Releasing { .. } => None,
        }
    }

    /// A mutex at rest whose attempts go on from this number: for a machine that has several of one identity.
    pub(crate) fn resumed(identity: Identity, attempt: u32) -> Mutex {
        Mutex { identity, attempt, phase: Phase::AtRest, line: Line::Out }
    }

    /// Gives the number of an attempt away, which it will not make: for a machine that names something else by it, and
    /// wants one row of numbers.
    pub(crate) fn take_number(&mut self) -> u32 {
        self.attempt = self.attempt.wrapping_add(1);
        self.attempt
    }

    /// The name of its latest attempt.
    pub(crate) fn name(&self) -> Owner {
        Owner { identity: self.identity, attempt: self.attempt }
    }

    /// Whether it waits for another attempt.
    pub(crate) fn is_pausing(&self) -> bool {
        matches!(self.phase, Phase::Pausing { .. })
    }

    /// T1, T2: what time alone has ended.
    #[inline]
    fn lapse(&mut self, terms: &MutexTerms, now: Now, out: Out<'_>) {
        if now.mono >= self.phase.end() {
            self.end(terms, now, out);
        }
    }

    #[cold]
    fn end(&mut self, terms: &MutexTerms, now: Now, out: Out<'_>) {
        if let Phase::Holding { lease, .. } = self.phase {
            out.event(Event::Lost(Loss::Expired));
            self.drop_lease(terms, lease.revision(), out);
        } else {
            out.event(Event::TimedOut);
            self.withdraw(terms, now, out);
        }
    }

    /// Nobody waits for the outcome of this release: if it fails, the time to live does its work.
    fn drop_lease(&mut self, terms: &MutexTerms, revision: Revision, out: Out<'_>) {
        out.forget(Call::Renew);
        self.delete(terms, revision, out);
        self.phase = Phase::AtRest;
    }

    fn request(&mut self, terms: &MutexTerms, now: Now, request: Request, out: Out<'_>) {
        match (self.phase, request) {
            // A1
            (Phase::AtRest, Request::Lock(patience)) => {
                self.attempt(terms, now, Want::new(terms, now, patience), out);
                self.lapse(terms, now, out);
            }
            // D5
            (Phase::Withdrawing { .. }, Request::Lock(patience)) => {
                out.forget(Call::Claim);
                out.forget(Call::Inspect);
                self.attempt(terms, now, Want::new(terms, now, patience), out);
                self.lapse(terms, now, out);
            }
            // B1
            (
                Phase::Pausing { .. }
                | Phase::Asking { .. }
                | Phase::Claiming { .. }
                | Phase::Holding { .. }
                | Phase::Releasing { .. },
                Request::Lock(_),
            ) => out.event(Event::Rejected(Misuse::Busy)),
            // K1, K2
            (Phase::Pausing { .. } | Phase::Asking { .. } | Phase::Claiming { .. }, Request::Cancel) => {
                out.event(Event::Cancelled);
                self.withdraw(terms, now, out);
            }
            // K3
            (Phase::Holding { lease, .. }, Request::Cancel) => {
                out.event(Event::Cancelled);
                self.drop_lease(terms, lease.revision(), out);
            }
            // H5
            (Phase::Holding { lease, .. }, Request::Unlock) => {
                self.release(terms, now, lease.revision(), out)
            }
            // H6
            (Phase::Holding { mut lease, .. }, Request::Extend) => {
                lease.renew_now(now.mono);
                self.phase = Phase::Holding { lease, extending: true };
                self.wake(terms, now, out);
            }
            // A2, B2
            (
                Phase::AtRest | Phase::Withdrawing { .. } | Phase::Releasing { .. },
                Request::Cancel | Request::Unlock | Request::Extend,
            )
            | (
                Phase::Pausing { .. } | Phase::Asking { .. } | Phase::Claiming { .. },
                Request::Unlock | Request::Extend,
            ) => out.event(Event::Rejected(Misuse::NotHeld)),
        }
    }

    fn wake(&mut self, terms: &MutexTerms, now: Now, out: Out<'_>) {
        send_line(self.line.wake(&terms.lease, now), out);
        let overdue = |sent: Instant| now.mono >= sent + terms.lease.timeout();
        match &mut self.phase {
            // P1
            Phase::Pausing { want, until } if now.mono >= *until => {
                let want = *want;
                self.attempt(terms, now, want, out);
            }
            // Q3
            Phase::Asking { want, sent } if overdue(*sent) => {
                let want = *want;
                self.attempt(terms, now, want, out);
            }
            // C7
            Phase::Claiming { want, sent, .. } if overdue(*sent) => {
                if terms.lease.has(Protection::Reconciliation) {
                    *sent = now.mono;
                    self.send_claim(terms, out);
                } else {
                    let want = *want;
                    self.claim(terms, now, want, out);
                }
            }
            // D3, D4
            Phase::Withdrawing { sent, give_up } => {
                if now.mono >= *give_up {
                    out.forget(Call::Claim);
                    out.forget(Call::Inspect);
                    self.phase = Phase::AtRest;
                } else if overdue(*sent) {
                    *sent = now.mono;
                    out.store(Call::Inspect, Op::Get { key: Key::Lock });
                }
            }
            // H1
            Phase::Holding { lease, .. } => {
                if lease.renews(&terms.lease, now.mono) {
                    let (key, revision, ttl) = (Key::Lock, lease.revision(), terms.entry_ttl);
                    out.store(Call::Renew, Op::Renew { key, revision, ttl });
                }
            }
            // R3, R4
            Phase::Releasing { revision, sent, give_up, again } => {
                if now.mono >= *give_up {
                    out.forget(Call::Release);
                    out.event(Event::Released(Release::Unknown));
                    self.phase = Phase::AtRest;
                } else if overdue(*sent) {
                    (*sent, *again) = (now.mono, true);
                    let revision = *revision;
                    self.delete(terms, revision, out);
                }
            }
            Phase::AtRest | Phase::Pausing { .. } | Phase::Asking { .. } | Phase::Claiming { .. } => {}
        }
    }

    fn freed(&mut self, terms: &MutexTerms, now: Now, out: Out<'_>) {
        // P2
        if let Phase::Pausing { want, .. } = self.phase
            && !self.line.is_leaving()
        {
            self.attempt(terms, now, want, out);
        }
    }

    fn reply(
        &mut self,
        terms: &MutexTerms,
        now: Now,
        call: Call,
        answer: Answer<Key, Owner>,
        at: StoreTime,
        out: Out<'_>,
    ) {
        match call {
            Call::Claim => self.claimed(terms, now, &answer, at, out),
            Call::Renew => self.renewed(terms, now, &answer, out),
            Call::Release => self.released(terms, now, &answer, out),
            Call::Inspect => self.inspected(terms, &answer, out),
            Call::Look => self.looked(terms, now, &answer, at, out),
            Call::Line(call) => {
                let was_leaving = self.line.is_leaving();
                send_line(self.line.answered(&terms.lease, now, call, &answer), out);
                if was_leaving {
                    // Whoever had to wait for the old place to go need not pause any longer.
                    self.freed(terms, now, out);
                }
            }
        }
    }

    fn claimed(
        &mut self,
        terms: &MutexTerms,
        now: Now,
        answer: &Answer<Key, Owner>,
        at: StoreTime,
        out: Out<'_>,
    ) {
        let outcome = self.read_claim(terms, answer);
        match (self.phase, outcome) {
            (Phase::Claiming { want, first, .. }, Claimed::Won(revision)) => {
                match Lease::granted(&terms.lease, revision, first, now) {
                    // C1
                    Some(lease) => {
                        self.phase = Phase::Holding { lease, extending: false };
                        out.event(Event::Acquired(revision.into()));
                        send_line(self.line.leave(&terms.lease, now), out);
                    }
                    // C2
                    None => self.discard(terms, now, want, revision, out),
                }
            }
            // C3
            (Phase::Claiming { want, .. }, Claimed::Leftover(revision)) => {
                self.discard(terms, now, want, revision, out);
            }
            // C4
            (Phase::Claiming { want: Want { once: true, .. }, .. }, Claimed::Contended) => {
                out.event(Event::Contended);
                self.rest(terms, now, out);
            }
            // C5
            (Phase::Claiming { want, .. }, Claimed::Contended) => self.stand_by(terms, now, want, at, out),
            // D1
            (Phase::Withdrawing { .. }, Claimed::Won(revision) | Claimed::Leftover(revision)) => {
                self.delete(terms, revision, out);
                out.forget(Call::Inspect);
                self.phase = Phase::AtRest;
            }
            // D2
            (Phase::Withdrawing { .. }, Claimed::Contended) => {
                out.forget(Call::Inspect);
                self.phase = Phase::AtRest;
            }
            // C6
            (Phase::Claiming { .. } | Phase::Withdrawing { .. }, Claimed::Unknown)
            | (
                Phase::AtRest
                | Phase::Pausing { .. }
                | Phase::Asking { .. }
                | Phase::Holding { .. }
                | Phase::Releasing { .. },
                _,
            ) => {}
        }
    }

    fn renewed(&mut self, terms: &MutexTerms, now: Now, answer: &Answer<Key, Owner>, out: Out<'_>) {
        let Phase::Holding { lease, extending } = &mut self.phase else { return };
        match answer {
            // H2
            Answer::Applied(_) => {
                lease.renewed(&terms.lease, now);
                if core::mem::take(extending) {
                    out.event(Event::Extended(lease.until()));
                }
            }
            // H3
            Answer::Refused(_) => {
                out.event(Event::Lost(Loss::Gone));
                self.phase = Phase::AtRest;
            }
            // H4
            Answer::Unknown | Answer::Found(_) | Answer::Listed(_) => {}
        }
    }

    fn released(&mut self, terms: &MutexTerms, now: Now, answer: &Answer<Key, Owner>, out: Out<'_>) {
        let twice = matches!(self.phase, Phase::Releasing { again: true, .. });
        let release = match answer {
            Answer::Applied(_) => Release::Clean,
            Answer::Refused(_) if twice => Release::Unknown,
            Answer::Refused(_) => Release::Gone,
            // R3 repeats it.
            Answer::Unknown | Answer::Found(_) | Answer::Listed(_) => return,
        };
        // A3
        if release != Release::Gone {
            out.publish(Freed);
        }
        match self.phase {
            // R1, R2
            Phase::Releasing { .. } => {
                out.event(Event::Released(release));
                self.phase = Phase::AtRest;
            }
            // P3
            Phase::Pausing { .. } => self.freed(terms, now, out),
            Phase::AtRest
            | Phase::Asking { .. }
            | Phase::Claiming { .. }
            | Phase::Withdrawing { .. }
            | Phase::Holding { .. } => {}
        }
    }

    fn inspected(&mut self, terms: &MutexTerms, answer: &Answer<Key, Owner>, out: Out<'_>) {
        let Phase::Withdrawing { .. } = self.phase else { return };
        match answer {
            Answer::Found(found) => {
                // D1
                if let Some(entry) = found
                    && entry.record.identity == self.owner(terms).identity
                {
                    self.delete(terms, entry.revision, out);
                }
                // D2
                out.forget(Call::Claim);
                self.phase = Phase::AtRest;
            }
            // D3 repeats it.
            Answer::Unknown | Answer::Applied(_) | Answer::Refused(_) | Answer::Listed(_) => {}
        }
    }

    fn looked(
        &mut self,
        terms: &MutexTerms,
        now: Now,
        answer: &Answer<Key, Owner>,
        at: StoreTime,
        out: Out<'_>,
    ) {
        let Phase::Asking { want, .. } = self.phase else { return };
        match answer {
            Answer::Listed(page) => match page.first() {
                // Q2
                Some((Key::Place(head), _)) if !self.line.is_at(head) => {
                    self.stand_by(terms, now, want, at, out)
                }
                // Q1
                Some((Key::Place(_) | Key::Lock, _)) | None => self.claim(terms, now, want, out),
            },
            // Q3 repeats it.
            Answer::Unknown | Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) => {}
        }
    }

    /// Makes one attempt: claims, or asks the line first.
    #[inline(always)]
    fn attempt(&mut self, terms: &MutexTerms, now: Now, want: Want, out: Out<'_>) {
        match terms.config.fairness {
            Fairness::Unordered => self.claim(terms, now, want, out),
            Fairness::Fifo if self.line.is_leaving() => self.pause(terms, now, want),
            Fairness::Fifo => {
                out.store(Call::Look, Op::List { after: Key::Lock, limit: 1 });
                self.phase = Phase::Asking { want, sent: now.mono };
            }
        }
    }

    #[inline(always)]
    fn claim(&mut self, terms: &MutexTerms, now: Now, want: Want, out: Out<'_>) {
        self.attempt = self.attempt.wrapping_add(1);
        self.phase = Phase::Claiming { want, first: now.mono, sent: now.mono };
        self.send_claim(terms, out);
    }

    #[inline(always)]
    fn send_claim(&self, terms: &MutexTerms, out: Out<'_>) {
        let (record, ttl) = (self.owner(terms), Some(terms.entry_ttl));
        out.store(Call::Claim, Op::PutIf { key: Key::Lock, expect: Expect::Absent, record, ttl });
    }

    /// Another one holds the lock: takes a place in line, if there is one, and pauses.
    #[inline]
    fn stand_by(&mut self, terms: &MutexTerms, now: Now, want: Want, at: StoreTime, out: Out<'_>) {
        if want.once {
            out.event(Event::Contended);
            return self.rest(terms, now, out);
        }
        match terms.config.fairness {
            Fairness::Unordered => {}
            Fairness::Fifo => self.join(terms, now, at, out),
        }
        self.pause(terms, now, want);
    }

    #[inline(never)]
    fn join(&mut self, terms: &MutexTerms, now: Now, at: StoreTime, out: Out<'_>) {
        let place = Place { since: at, owner: self.owner(terms) };
        if let Some(join) = self.line.join(&terms.lease, now, place) {
            // What is still heard of an old place must not be taken for news of the new one.
            out.forget(Call::Line(LineCall::Keep));
            out.forget(Call::Line(LineCall::Leave));
            out.forget(Call::Line(LineCall::Find));
            send_line(Some(join), out);
        }
    }

    fn pause(&mut self, terms: &MutexTerms, now: Now, want: Want) {
        self.phase = Phase::Pausing { want, until: terms.poll.after(now) };
    }

    /// Deletes a record of its own that is of no use, and tries again.
    fn discard(&mut self, terms: &MutexTerms, now: Now, want: Want, revision: Revision, out: Out<'_>) {
        self.delete(terms, revision, out);
        self.pause(terms, now, want);
    }

    /// The caller waits no longer.
    fn withdraw(&mut self, terms: &MutexTerms, now: Now, out: Out<'_>) {
        match self.phase {
            Phase::Claiming { sent, .. } => {
                send_line(self.line.leave(&terms.lease, now), out);
                self.phase = Phase::Withdrawing { sent, give_up: now.mono + terms.entry_ttl };
            }
            Phase::Pausing { .. } => self.rest(terms, now, out),
            Phase::Asking { .. } => {
                out.forget(Call::Look);
                self.rest(terms, now, out);
            }
            Phase::AtRest | Phase::Withdrawing { .. } | Phase::Holding { .. } | Phase::Releasing { .. } => {}
        }
    }

    fn rest(&mut self, terms: &MutexTerms, now: Now, out: Out<'_>) {
        send_line(self.line.leave(&terms.lease, now), out);
        self.phase = Phase::AtRest;
    }

    fn release(&mut self, terms: &MutexTerms, now: Now, revision: Revision, out: Out<'_>) {
        out.forget(Call::Renew);
        self.delete(terms, revision, out);
        let (sent, give_up) = (now.mono, now.mono + terms.entry_ttl);
        self.phase = Phase::Releasing { revision, sent, give_up, again: false };
    }

    fn delete(&self, terms: &MutexTerms, revision: Revision, out: Out<'_>) {
        let compare = terms.lease.has(Protection::CompareOnRelease);
        let revision = if compare { revision } else { Revision::ANY };
        out.store(Call::Release, Op::DeleteIf { key: Key::Lock, revision });
    }

    /// The name that a claim writes.
    fn owner(&self, terms: &MutexTerms) -> Owner {
        if terms.lease.has(Protection::Identity) {
            Owner { identity: self.identity, attempt: self.attempt }
        } else {
            Owner { identity: Identity(0), attempt: 0 }
        }
    }

    /// What an answer to a claim means.
    fn read_claim(&self, terms: &MutexTerms, answer: &Answer<Key, Owner>) -> Claimed {
        let own = self.owner(terms);
        match answer {
            Answer::Applied(revision) => Claimed::Won(*revision),
            Answer::Refused(Some(Entry { record, revision })) if record.identity == own.identity => {
                if *record == own {
                    Claimed::Won(*revision)
                } else if terms.lease.has(Protection::Reconciliation) {
                    Claimed::Leftover(*revision)
                } else {
                    Claimed::Contended
                }
            }
            Answer::Refused(_) => Claimed::Contended,
            Answer::Unknown | Answer::Found(_) | Answer::Listed(_) => Claimed::Unknown,
        }
    }
}

/// What the answer to a claim means.
enum Claimed {
    /// The record of this very attempt is there.
    Won(Revision),
    /// A record of an earlier attempt of this incarnation is there.
    Leftover(Revision),
    /// Another one's record is there, or was.
    Contended,
    /// Nobody knows.
    Unknown,
}

fn send_line(op: Option<LineOp>, out: Out<'_>) {
    if let Some((call, op)) = op {
        out.store(Call::Line(call), op);
    }
}
