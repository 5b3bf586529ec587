//! The locker: a lock that the newest request wins. A newer request asks whoever holds, with a reason, to yield; whoever
//! only waits gives way at once.
//!
//! The newest request is a record in the store, the *contender*'s. Only the contender claims the lock, a newer request
//! writes itself over it, and whoever finds another one's record where its own was knows that it was superseded. A holder
//! looks for a contender whenever it renews, so no request can be lost; a published hint only makes it look sooner. A
//! holder that was asked ends its own belief when its grace is over. Should it not, the contender *revokes* it: it
//! rewrites the holder's entry, which the holder can renew no more, and enters when that entry has expired or was
//! acknowledged. So nobody enters beside a holder that believes, and each token is greater than the one before.
//!
//! A caller is told that it holds when the lock delay has passed; it stays the contender until then, so a newer request
//! can still make it give way. Requests supersede each other for a bounded time only: each record carries when its row
//! of requests began, and once that is long ago, nobody writes over it.
//!
//! # Transitions
//!
//! | | stage | input | guard | next stage | effects |
//! |---|---|---|---|---|---|
//! | A1 | at rest | lock | | waiting | look who is the contender |
//! | A2 | at rest, releasing | unlock, cancel, extend | | the same | event rejected (not held) |
//! | B1 | not at rest | lock | | the same | event rejected (busy) |
//! | B2 | waiting, settling | unlock, extend | | the same | event rejected (not held) |
//! | W1 | waiting | it is the contender | | waiting | publish "asked", ask for the lock; patience with a holder begins anew |
//! | W2 | waiting, settling | another one is, for now | | waiting | give the lock up, or wait for it no longer |
//! | W3 | waiting, settling | it was superseded | | at rest | event preempted; the lock as in W2 |
//! | W4 | waiting, settling | cancel, patience over; waiting: timeout over | | at rest | event cancelled or timed-out, leave; the lock as in W2 |
//! | W5 | waiting | its claim is refused | | waiting | look who is the contender; publish "asked", but for the first time |
//! | W6 | waiting, settling | hint "asked" | | the same | look who is the contender |
//! | W7 | waiting | the lock is taken | | settling | |
//! | W8 | settling | the lock is lost | | waiting | ask for the lock |
//! | W9 | settling | lock delay over | it is the contender | holding | event acquired, leave |
//! | V1 | waiting | a holder was met | of no higher priority | waiting, patient | |
//! | V2 | waiting, patient | patience with the holder over, or time-out | | waiting, patient | rewrite its entry as revoked |
//! | V3 | waiting, patient | revoked, or refused | | waiting | |
//! | V4 | waiting, patient | refused by the entry of its present claim | | as its claim says, which was applied | |
//! | V5 | waiting, patient | refused by an older entry of its own | | waiting | delete it |
//! | H1 | holding | a renewal is sent | | holding | look who is the contender |
//! | H2 | holding | hint "asked", or its own contender's record is gone | | holding | look who is the contender |
//! | H3 | holding | found another one, of no lower priority | not asked by that one | holding, asked | event asked |
//! | H4 | holding | look not answered in time | | holding | look again |
//! | H5 | holding, asked | preemption timeout over | | at rest | event lost (preempted), give the lock up |
//! | H6 | holding | maximum lock duration over | | at rest | event lost (too-long), give the lock up |
//! | H7 | holding | the lock is lost | | at rest | event lost |
//! | H8 | holding | cancel (it crossed the grant) | | at rest | event cancelled, give the lock up |
//! | H9 | holding | extend | | holding | renew the lock, as in H1 |
//! | H10 | holding | it is renewed on request | | holding | event extended |
//! | R1 | holding | unlock | | releasing | release the lock |
//! | R2 | releasing | released | | at rest | event released |
//! | K1 | any but waiting | its own entry is gone | | the same | look whether it was revoked |
//! | K2 | any | found its own entry revoked | | the same | delete it |
//!
//! Below this table lie those of the lock ([`crate::mutex`]) and of the contender's record (in `locker/standing.rs`).
//! Answers of a shape that a call cannot have are treated as unknown, and an unknown answer is no answer yet.
//!
//! # Example
//!
//! ```
//! use fencepost::locker::{Bid, Locker, LockerConfig, Request};
//! use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
//! use fencepost::time::{Instant, Now};
//!
//! let terms = LockerConfig::default().terms()?;
//! let mut locker = Locker::new(&terms, Identity(7));
//! let mut effects = Effects::new();
//! let request = Request::Lock(Bid::new("branch was pushed"));
//! locker.step(&terms, Now::default(), Input::Request(request), &mut effects);
//! // It looks who is the contender first. The host carries the request to the store and brings the answer back.
//! assert!(matches!(effects.drain().next(), Some(Effect::Store { .. })));
//! assert_eq!(locker.held(Instant::ZERO), None);
//! # Ok::<(), fencepost::lease::ConfigError>(())
//! ```

mod config;
mod key;
mod standing;
mod words;

pub use config::{LockerConfig, LockerConfigBuilder, LockerProtection, LockerTerms};
pub use key::{LockKey, NotificationPayload, Part};
pub use words::{Bid, Call, Contender, Event, Hint, Key, Loss, Misuse, Notice, Record, Request};

use crate::line::{self, Owner};
use crate::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use crate::mutex::{self, Freed, Mutex, Patience};
use crate::store::{Answer, Contract, Entry, Expect, FencingToken, Op, Revision, StoreId};
use crate::time::{Instant, Now, StoreTime};

use standing::{Claim, News, Standing};

/// The locker. One value serves one caller at a time; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Locker {
    identity: Identity,
    /// It numbers the requests, too.
    mutex: Mutex,
    standing: Standing,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    AtRest,
    Waiting { want: Want, rival: Option<Rival> },
    Settling { want: Want, until: Instant },
    Holding { tenure: Tenure },
    Releasing,
}

/// What a waiting caller wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Want {
    claim: Claim,
    /// When its patience is over.
    until: Instant,
    /// When it is over unless the lock is taken by then.
    take_by: Instant,
}

/// Who holds the lock that the contender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Rival {
    owner: Owner,
    revision: Revision,
    /// When it is revoked; never, if that is switched off.
    due: Instant,
}

/// How long a holder may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tenure {
    priority: u8,
    /// The end of its maximum duration.
    limit: Instant,
    /// The end of its grace, once it was asked.
    grace: Instant,
    /// Who asked last.
    asker: Option<Owner>,
    /// When it looked for a contender, if that was not answered.
    looked: Option<Instant>,
}

impl Tenure {
    fn end(&self) -> Instant {
        self.limit.min(self.grace)
    }

    /// Whether a contender is one that the holder has not been told of, and has to make way for.
    fn has_to_hear_of(&self, contender: &Contender, own: Identity) -> bool {
        let is_other = contender.owner.identity != own && self.asker != Some(contender.owner);
        is_other && contender.priority >= self.priority
    }
}

type Out<'a> = &'a mut Effects<Locker>;
type AnswerTo = Answer<Key, Record>;

impl Machine for Locker {
    type Config = LockerTerms;
    type Store = Contract<Key, Record>;
    type Request = Request;
    type Event = Event;
    type Message = Hint;
    type Call = Call;

    fn new(terms: &LockerTerms, identity: Identity) -> Locker {
        let mutex = Mutex::new(&terms.mutex, identity);
        Locker { identity, mutex, standing: Standing::Out, stage: Stage::AtRest }
    }

    fn step(&mut self, terms: &LockerTerms, now: Now, input: Input<Locker>, out: Out<'_>) {
        // The clock is read before the input: what has lapsed has lapsed, whatever comes now.
        self.lapse(terms, now, out);
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call, answer, at } => self.reply(terms, now, call, answer, at, out),
            Input::Message(hint) => self.hear(terms, now, hint, out),
            Input::Wake => self.wake(terms, now, out),
        }
        self.settle(terms, now, out);
    }

    fn deadline(&self, terms: &LockerTerms) -> Option<Instant> {
        let own = match &self.stage {
            Stage::AtRest | Stage::Releasing => Instant::MAX,
            Stage::Waiting { want, rival } if terms.has(LockerProtection::RevokeBeforeEntry) => {
                want.end().min(rival.as_ref().map_or(Instant::MAX, |rival| rival.due))
            }
            Stage::Waiting { want, .. } => want.end(),
            Stage::Settling { want, until } if self.may_be_told(terms) => (*until).min(want.until),
            Stage::Settling { want, .. } => want.until,
            Stage::Holding { tenure } => {
                let looked = tenure.looked.map_or(Instant::MAX, |sent| sent + terms.lease().timeout());
                tenure.end().min(looked)
            }
        };
        let lock = self.mutex.deadline(&terms.mutex).unwrap_or(Instant::MAX);
        let at = own.min(lock).min(self.standing.deadline(terms));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.identity(&mut self.identity);
        self.mutex.relocate(map);
        self.standing.relocate(map);
        match &mut self.stage {
            Stage::AtRest | Stage::Releasing => {}
            Stage::Waiting { want, rival } => {
                want.relocate(map);
                if let Some(Rival { owner, revision, due }) = rival {
                    owner.relocate(map);
                    map.revision(revision);
                    map.deadline(due);
                }
            }
            Stage::Settling { want, until } => {
                want.relocate(map);
                map.deadline(until);
            }
            Stage::Holding { tenure } => {
                map.deadline(&mut tenure.limit);
                map.deadline(&mut tenure.grace);
                tenure.asker.iter_mut().for_each(|owner| owner.relocate(map));
                tenure.looked.iter_mut().for_each(|sent| map.instant(sent));
            }
        }
    }
}

impl Want {
    fn end(&self) -> Instant {
        self.until.min(self.take_by)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        self.claim.relocate(map);
        map.deadline(&mut self.until);
        map.deadline(&mut self.take_by);
    }
}

impl Locker {
    /// The token of the lock, if its caller holds it at `now`: reads the clock it is given, so a process that was paused
    /// past its lease, its grace or its limit gets `None` at once.
    pub fn held(&self, now: Instant) -> Option<FencingToken> {
        match &self.stage {
            Stage::Holding { tenure } if now < tenure.end() => self.mutex.held(now),
            Stage::AtRest
            | Stage::Waiting { .. }
            | Stage::Settling { .. }
            | Stage::Holding { .. }
            | Stage::Releasing => None,
        }
    }

    /// Until when its caller may believe that it holds the lock, if it does.
    pub fn until(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Holding { tenure } => self.mutex.until().map(|until| until.min(tenure.end())),
            Stage::AtRest | Stage::Waiting { .. } | Stage::Settling { .. } | Stage::Releasing => None,
        }
    }

    /// Whether its caller holds, and was asked to yield.
    pub fn is_asked(&self) -> bool {
        match &self.stage {
            Stage::Holding { tenure } => tenure.asker.is_some(),
            Stage::AtRest | Stage::Waiting { .. } | Stage::Settling { .. } | Stage::Releasing => false,
        }
    }

    /// W4, H5, H6, H7: what time alone has ended.
    fn lapse(&mut self, terms: &LockerTerms, now: Now, out: Out<'_>) {
        if self.mutex.until().is_some_and(|until| now.mono >= until) {
            self.lock(terms, now, Input::Wake, out);
        }
        match &self.stage {
            Stage::Waiting { want, .. } if now.mono >= want.end() => {
                self.end_wait(terms, now, Event::TimedOut, out)
            }
            Stage::Settling { want, .. } if now.mono >= want.until => {
                self.end_wait(terms, now, Event::TimedOut, out)
            }
            Stage::Holding { tenure } if now.mono >= tenure.end() => {
                let loss = if now.mono >= tenure.limit { Loss::TooLong } else { Loss::Preempted };
                self.give_up(terms, now, Event::Lost(loss), out);
            }
            Stage::AtRest
            | Stage::Waiting { .. }
            | Stage::Settling { .. }
            | Stage::Holding { .. }
            | Stage::Releasing => {}
        }
    }

    fn request(&mut self, terms: &LockerTerms, now: Now, request: Request, out: Out<'_>) {
        match (&self.stage, request) {
            // A1
            (Stage::AtRest, Request::Lock(bid)) => self.begin(terms, now, bid, out),
            // B1
            (
                Stage::Waiting { .. } | Stage::Settling { .. } | Stage::Holding { .. } | Stage::Releasing,
                Request::Lock(_),
            ) => out.event(Event::Rejected(Misuse::Busy)),
            // W4
            (Stage::Waiting { .. } | Stage::Settling { .. }, Request::Cancel) => {
                self.end_wait(terms, now, Event::Cancelled, out);
            }
            // H8
            (Stage::Holding { .. }, Request::Cancel) => self.give_up(terms, now, Event::Cancelled, out),
            // R1
            (Stage::Holding { .. }, Request::Unlock) => {
                self.stage = Stage::Releasing;
                self.stop_looking(out);
                self.lock(terms, now, Input::Request(mutex::Request::Unlock), out);
            }
            // H9
            (Stage::Holding { .. }, Request::Extend) => {
                self.lock(terms, now, Input::Request(mutex::Request::Extend), out);
            }
            // A2, B2
            (Stage::AtRest | Stage::Releasing, Request::Cancel | Request::Unlock | Request::Extend)
            | (Stage::Waiting { .. } | Stage::Settling { .. }, Request::Unlock | Request::Extend) => {
                out.event(Event::Rejected(Misuse::NotHeld));
            }
        }
    }

    fn begin(&mut self, terms: &LockerTerms, now: Now, bid: Bid, out: Out<'_>) {
        let owner = Owner { identity: self.identity, attempt: self.mutex.take_number() };
        let until = bid.patience.map_or(Instant::MAX, |patience| now.mono + patience);
        let claim = Claim { owner, bid, asked: None };
        let want = Want { claim, until, take_by: now.mono + terms.timeout };
        self.stage = Stage::Waiting { want, rival: None };
        if terms.has(LockerProtection::ListenBeforeClaim) {
            self.standing.look(now, out);
        } else {
            out.publish(Hint::Asked);
            self.lock(terms, now, Input::Request(mutex::Request::Lock(Patience::Forever)), out);
        }
        self.lapse(terms, now, out);
    }

    /// The caller waits no longer.
    fn end_wait(&mut self, terms: &LockerTerms, now: Now, event: Event, out: Out<'_>) {
        out.event(event);
        if let Stage::Waiting { want, .. } | Stage::Settling { want, .. } = &self.stage {
            let owner = want.claim.owner;
            self.standing.leave(terms, now, owner, out);
        }
        self.stage = Stage::AtRest;
        self.drop_lock(terms, now, out);
    }

    /// The caller holds no longer, and nobody waits for the outcome.
    fn give_up(&mut self, terms: &LockerTerms, now: Now, event: Event, out: Out<'_>) {
        out.event(event);
        self.stage = Stage::AtRest;
        self.stop_looking(out);
        self.drop_lock(terms, now, out);
    }

    /// Gives the lock up, or waits for it no longer, whatever the lock is at.
    fn drop_lock(&mut self, terms: &LockerTerms, now: Now, out: Out<'_>) {
        out.forget(Call::Revoke);
        self.lock(terms, now, Input::Request(mutex::Request::Cancel), out);
    }

    /// A look that is under way is no longer a holder's.
    fn stop_looking(&mut self, out: Out<'_>) {
        out.forget(Call::Look);
    }

    fn wake(&mut self, terms: &LockerTerms, now: Now, out: Out<'_>) {
        self.lock(terms, now, Input::Wake, out);
        let claim = match &self.stage {
            Stage::Waiting { want, .. } | Stage::Settling { want, .. } => Some(&want.claim),
            Stage::AtRest | Stage::Holding { .. } | Stage::Releasing => None,
        };
        self.standing.wake(terms, now, claim, out);
        match &mut self.stage {
            // V2
            Stage::Waiting { rival: Some(rival), .. } if now.mono >= rival.due => {
                if !terms.has(LockerProtection::RevokeBeforeEntry) {
                    // The next claim is written over the holder's entry.
                    return;
                }
                rival.due = now.mono + terms.lease().timeout();
                if self.standing.is_in() {
                    let (expect, record) = (Expect::Revision(rival.revision), Record::Revoked(rival.owner));
                    let ttl = Some(terms.mutex.entry_ttl());
                    out.store(Call::Revoke, Op::PutIf { key: Key::Lock, expect, record, ttl });
                }
            }
            // H4
            Stage::Holding { tenure }
                if tenure.looked.is_some_and(|at| now.mono >= at + terms.lease().timeout()) =>
            {
                look(now, &mut tenure.looked, out);
            }
            Stage::AtRest
            | Stage::Waiting { .. }
            | Stage::Settling { .. }
            | Stage::Holding { .. }
            | Stage::Releasing => {}
        }
    }

    fn hear(&mut self, terms: &LockerTerms, now: Now, hint: Hint, out: Out<'_>) {
        match (hint, &mut self.stage) {
            (Hint::Freed, _) => self.lock(terms, now, Input::Message(Freed), out),
            // W6
            (Hint::Asked, Stage::Waiting { .. } | Stage::Settling { .. }) => self.look_around(terms, out),
            // H2
            (Hint::Asked, Stage::Holding { tenure }) => look(now, &mut tenure.looked, out),
            (Hint::Asked, Stage::AtRest | Stage::Releasing) => {}
        }
    }

    /// Looks whether its record is still the contender's. If that is not answered, it will look again.
    fn look_around(&mut self, terms: &LockerTerms, out: Out<'_>) {
        if self.standing.is_in() && terms.has(LockerProtection::WaiterLooks) {
            out.store(Call::Look, Op::Get { key: Key::Contender });
        }
    }

    fn reply(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        call: Call,
        answer: AnswerTo,
        at: StoreTime,
        out: Out<'_>,
    ) {
        match call {
            Call::Lock(call) => self.lock_replied(terms, now, call, answer, at, out),
            Call::Look => self.looked(terms, now, answer, at, out),
            Call::Join => match &mut self.stage {
                Stage::Waiting { want, .. } | Stage::Settling { want, .. } => {
                    let claim = &mut want.claim;
                    let news = self.standing.answered_join(terms, now, claim, answer, at, out);
                    self.stand(terms, now, news, out);
                }
                Stage::AtRest | Stage::Holding { .. } | Stage::Releasing => {
                    self.standing.answered_leaving(now, call, &answer, out);
                }
            },
            Call::Keep => self.standing.answered_keep(terms, now, &answer, out),
            Call::Leave => {
                self.standing.answered_leave(&answer);
                // H2
                if let (Stage::Holding { tenure }, Answer::Refused(_)) = (&mut self.stage, &answer) {
                    look(now, &mut tenure.looked, out);
                }
            }
            Call::Revoke => self.revoked(terms, now, answer, at, out),
            Call::Inspect => self.inspected(&answer, out),
            Call::Acknowledge => {
                if let Answer::Applied(_) = answer {
                    out.publish(Hint::Freed);
                    self.lock(terms, now, Input::Message(Freed), out);
                }
            }
        }
    }

    fn looked(&mut self, terms: &LockerTerms, now: Now, answer: AnswerTo, at: StoreTime, out: Out<'_>) {
        let found = match &answer {
            Answer::Found(None) => None,
            Answer::Found(Some(Entry { revision, record: Record::Contender(contender) })) => {
                Some(Entry { revision: *revision, record: contender.clone() })
            }
            Answer::Found(Some(_))
            | Answer::Unknown
            | Answer::Applied(_)
            | Answer::Refused(_)
            | Answer::Listed(_) => return,
        };
        match &mut self.stage {
            Stage::Waiting { want, .. } | Stage::Settling { want, .. } => {
                let claim = &mut want.claim;
                let news = self.standing.shown(terms, now, claim, found.as_ref(), at, out);
                self.stand(terms, now, news, out);
            }
            // H3
            Stage::Holding { tenure } => {
                tenure.looked = None;
                let other = found.map(|entry| entry.record);
                if let Some(contender) = other.filter(|other| tenure.has_to_hear_of(other, self.identity)) {
                    tenure.asker = Some(contender.owner);
                    tenure.grace = tenure.grace.min(terms.end_after(now.mono, terms.grace));
                    out.event(Event::Asked(contender.notice()));
                }
            }
            Stage::AtRest | Stage::Releasing => self.standing.answered_leaving(now, Call::Look, &answer, out),
        }
    }

    /// What has become of its place as the contender.
    fn stand(&mut self, terms: &LockerTerms, now: Now, news: Option<News>, out: Out<'_>) {
        match news {
            None => {}
            // W1
            Some(News::Joined) => {
                out.publish(Hint::Asked);
                if let Stage::Waiting { rival, .. } = &mut self.stage {
                    // While its record was not there, nobody could hear of it.
                    if let Some(rival) = rival {
                        rival.due = now.mono + terms.patience();
                    }
                    self.lock(terms, now, Input::Request(mutex::Request::Lock(Patience::Forever)), out);
                }
            }
            // W2
            Some(News::Aside) => {
                if let Stage::Waiting { want, .. } | Stage::Settling { want, .. } = &self.stage {
                    self.stage = Stage::Waiting { want: want.clone(), rival: None };
                }
                self.drop_lock(terms, now, out);
            }
            // W3
            Some(News::Preempted(notice)) => {
                out.event(Event::Preempted(notice));
                self.stage = Stage::AtRest;
                self.drop_lock(terms, now, out);
            }
        }
    }

    /// Hands the lock an input.
    fn lock(&mut self, terms: &LockerTerms, now: Now, input: Input<Mutex>, out: Out<'_>) {
        let mut effects = Effects::new();
        self.mutex.step(&terms.mutex, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { store, call, op } => self.send(terms, now, (store, call, op), out),
                Effect::Forget(call) => out.forget(Call::Lock(call)),
                Effect::Publish(Freed) => out.publish(Hint::Freed),
                Effect::Event(event) => self.told(terms, now, event, out),
            }
        }
    }

    /// Sends what the lock asks of the store, and looks beside it.
    fn send(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        (store, call, op): (StoreId, mutex::Call, Op<line::Key, Owner>),
        out: Out<'_>,
    ) {
        let priority = self.priority();
        let mut op = op.map(|_| Key::Lock, |owner| Record::Held { owner, priority });
        match (call, &mut self.stage) {
            (mutex::Call::Claim, Stage::Waiting { rival: Some(rival), .. })
                if !terms.has(LockerProtection::RevokeBeforeEntry) && now.mono >= rival.due =>
            {
                if let Op::PutIf { expect, .. } = &mut op {
                    *expect = Expect::Revision(rival.revision);
                }
                out.store_at(store, Call::Lock(call), op);
            }
            // H1
            (mutex::Call::Renew, Stage::Holding { tenure }) => {
                out.store_at(store, Call::Lock(call), op);
                if terms.has(LockerProtection::RecordedRequest) {
                    look(now, &mut tenure.looked, out);
                }
            }
            (
                mutex::Call::Claim
                | mutex::Call::Renew
                | mutex::Call::Release
                | mutex::Call::Inspect
                | mutex::Call::Look
                | mutex::Call::Line(_),
                _,
            ) => out.store_at(store, Call::Lock(call), op),
        }
    }

    fn priority(&self) -> u8 {
        match &self.stage {
            Stage::Waiting { want, .. } | Stage::Settling { want, .. } => want.claim.bid.priority,
            Stage::Holding { tenure } => tenure.priority,
            Stage::AtRest | Stage::Releasing => 0,
        }
    }

    /// What the lock tells.
    fn told(&mut self, terms: &LockerTerms, now: Now, event: mutex::Event, out: Out<'_>) {
        use mutex::Event as E;
        match (&mut self.stage, event) {
            // W7
            (Stage::Waiting { want, .. }, E::Acquired(_)) => {
                out.forget(Call::Revoke);
                let until = now.mono + terms.delay;
                self.stage = Stage::Settling { want: want.clone(), until };
                if !terms.has(LockerProtection::WaiterLooks) {
                    out.store(Call::Look, Op::Get { key: Key::Contender });
                }
            }
            // W8
            (Stage::Settling { want, .. }, E::Lost(_)) => {
                self.stage = Stage::Waiting { want: want.clone(), rival: None };
                self.lock(terms, now, Input::Request(mutex::Request::Lock(Patience::Forever)), out);
            }
            // H7
            (Stage::Holding { .. }, E::Lost(loss)) => {
                out.event(Event::Lost(match loss {
                    mutex::Loss::Expired => Loss::Expired,
                    mutex::Loss::Gone => Loss::Gone,
                }));
                self.stage = Stage::AtRest;
                self.stop_looking(out);
            }
            // H10
            (Stage::Holding { tenure }, E::Extended(until)) => {
                out.event(Event::Extended(until.min(tenure.end())));
            }
            // R2
            (Stage::Releasing, E::Released(release)) => {
                out.event(Event::Released(release));
                self.stage = Stage::AtRest;
            }
            (Stage::AtRest, _)
            | (
                Stage::Waiting { .. },
                E::Contended
                | E::TimedOut
                | E::Cancelled
                | E::Extended(_)
                | E::Released(_)
                | E::Lost(_)
                | E::Rejected(_),
            )
            | (Stage::Settling { .. }, E::Extended(_))
            | (
                Stage::Settling { .. } | Stage::Holding { .. },
                E::Acquired(_) | E::Contended | E::TimedOut | E::Cancelled | E::Released(_) | E::Rejected(_),
            )
            | (
                Stage::Releasing,
                E::Acquired(_)
                | E::Contended
                | E::TimedOut
                | E::Cancelled
                | E::Extended(_)
                | E::Lost(_)
                | E::Rejected(_),
            ) => {}
        }
    }

    fn lock_replied(
        &mut self,
        terms: &LockerTerms,
        now: Now,
        call: mutex::Call,
        answer: AnswerTo,
        at: StoreTime,
        out: Out<'_>,
    ) {
        if call == mutex::Call::Claim {
            self.meet(terms, now, &answer, out);
        }
        let is_gone =
            matches!((call, &answer), (mutex::Call::Renew | mutex::Call::Release, Answer::Refused(_)));
        let own = self.mutex.name();
        let answer = answer.narrow(|_| Some(line::Key::Lock), |record| owner_of(record, own));
        self.lock(terms, now, Input::Reply { call, answer, at }, out);
        // K1
        if is_gone && !matches!(self.stage, Stage::Waiting { .. }) {
            out.store(Call::Inspect, Op::Get { key: Key::Lock });
        }
        if !terms.has(LockerProtection::ListenBeforeClaim)
            && matches!(self.stage, Stage::Waiting { rival: Some(_), .. })
            && self.standing == Standing::Out
        {
            self.standing.look(now, out);
        }
    }

    /// W5, V1: who holds the lock that it waits for?
    fn meet(&mut self, terms: &LockerTerms, now: Now, answer: &AnswerTo, out: Out<'_>) {
        let Stage::Waiting { want, rival } = &mut self.stage else { return };
        let Answer::Refused(entry) = answer else { return };
        let met = entry.as_ref().and_then(|entry| match &entry.record {
            Record::Held { owner, priority } => {
                let yields = owner.identity != self.identity && *priority <= want.claim.bid.priority;
                yields.then_some((*owner, entry.revision))
            }
            Record::Revoked(_) | Record::Contender(_) => None,
        });
        let is_known = rival.is_some_and(|rival| met.is_some_and(|(_, revision)| revision == rival.revision));
        if !is_known {
            let due = now.mono + terms.patience();
            *rival = met.map(|(owner, revision)| Rival { owner, revision, due });
        } else if terms.has(LockerProtection::RecordedRequest) {
            out.publish(Hint::Asked);
        }
        self.look_around(terms, out);
    }

    /// V3, V4, V5
    fn revoked(&mut self, terms: &LockerTerms, now: Now, answer: AnswerTo, at: StoreTime, out: Out<'_>) {
        let Stage::Waiting { rival, .. } = &mut self.stage else { return };
        match &answer {
            Answer::Refused(Some(Entry { record: Record::Held { owner, .. }, revision }))
                if owner.identity == self.identity =>
            {
                *rival = None;
                if *owner == self.mutex.name() && !self.mutex.is_pausing() {
                    out.forget(Call::Lock(mutex::Call::Claim));
                    self.lock_replied(terms, now, mutex::Call::Claim, answer, at, out);
                } else {
                    out.store(Call::Acknowledge, Op::DeleteIf { key: Key::Lock, revision: *revision });
                }
            }
            Answer::Applied(_) | Answer::Refused(_) => *rival = None,
            Answer::Unknown | Answer::Found(_) | Answer::Listed(_) => {}
        }
    }

    /// K2
    fn inspected(&mut self, answer: &AnswerTo, out: Out<'_>) {
        let Answer::Found(Some(Entry { revision, record: Record::Revoked(owner) })) = answer else { return };
        if owner.identity == self.identity {
            out.store(Call::Acknowledge, Op::DeleteIf { key: Key::Lock, revision: *revision });
        }
    }

    /// W9: tells its caller that it holds, if it may.
    fn settle(&mut self, terms: &LockerTerms, now: Now, out: Out<'_>) {
        let Stage::Settling { want, until } = &self.stage else { return };
        let Some(token) = self.mutex.held(now.mono).filter(|_| now.mono >= *until && self.may_be_told(terms))
        else {
            return;
        };
        let Claim { owner, bid, .. } = &want.claim;
        let (owner, priority, limit) = (*owner, bid.priority, terms.end_after(now.mono, terms.limit));
        let tenure = Tenure { priority, limit, grace: Instant::MAX, asker: None, looked: None };
        self.stage = Stage::Holding { tenure };
        out.event(Event::Acquired(token));
        self.standing.leave(terms, now, owner, out);
    }

    /// Whether nobody has superseded it, as far as it knows.
    fn may_be_told(&self, terms: &LockerTerms) -> bool {
        self.standing.is_in() || !terms.has(LockerProtection::ListenBeforeClaim)
    }
}

/// Looks for a contender.
fn look(now: Now, looked: &mut Option<Instant>, out: Out<'_>) {
    *looked = Some(now.mono);
    out.store(Call::Look, Op::Get { key: Key::Contender });
}

/// Whose entry that is, as the lock is to see it. A revoked one is never that of the attempt that is under way: it is a
/// leftover, or another one's.
fn owner_of(record: Record, own: Owner) -> Option<Owner> {
    match record {
        Record::Held { owner, .. } => Some(owner),
        Record::Revoked(owner) if owner == own => {
            Some(Owner { attempt: owner.attempt.wrapping_sub(1), ..owner })
        }
        Record::Revoked(owner) => Some(owner),
        Record::Contender(_) => None,
    }
}
