//! Newer requests: who has to give way to whom, by when, and whether anybody gets in while they come.
//!
//! What a monitor has to know of them is kept here, beside what the world knows of every lock. A checker asks for none
//! of it: how long ago things were would multiply its states.

use fencepost::time::{Instant, Span, StoreTime};

use crate::clock::Time;
use crate::property::{Facts, Property, PropertySet};
use crate::store::{Mark, Tag, Touch};
use crate::subject::{Ask, InstanceId, Preemption, Subject, Told};
use crate::world::{Bounds, Stage, State, World};

/// The newest request that others can see.
#[derive(Clone, Copy, Debug)]
struct Newest {
    by: Tag,
    /// Since when they can.
    at: Time,
}

/// What is remembered of one lock.
#[derive(Clone, Copy, Debug)]
struct Bout {
    newest: Option<Newest>,
    /// Since when somebody wants the lock and nobody was granted it; [`Time::MAX`], if nobody does.
    row: Time,
}

/// What is remembered of one instance.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// When its caller was granted the lock; zero, if it does not hold.
    granted: Time,
    /// When it was first asked to yield since then; zero, if it was not.
    asked: Time,
    /// When it was asked last.
    heard: Time,
    /// When others could first see its present request; zero, if they could not.
    seen: Time,
    /// When that request first reached the store, as the record of it says.
    since: StoreTime,
}

const EMPTY: Seat = Seat {
    granted: Time::ZERO,
    asked: Time::ZERO,
    heard: Time::ZERO,
    seen: Time::ZERO,
    since: StoreTime::ZERO,
};

/// What the monitors remember of newer requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preemptions {
    bouts: Vec<Bout>,
    seats: Vec<Seat>,
}

impl Preemptions {
    pub(crate) fn reset(&mut self, resources: usize, instances: usize) {
        self.bouts.clear();
        self.bouts.resize(resources, Bout { newest: None, row: Time::MAX });
        self.seats.clear();
        self.seats.resize(instances, EMPTY);
    }

    /// What others could see is no longer known.
    pub(crate) fn forget_requests(&mut self) {
        self.bouts.iter_mut().for_each(|bout| bout.newest = None);
    }

    /// Whether it holds, and was asked to yield.
    pub(crate) fn is_asked(&self, id: InstanceId) -> bool {
        self.seats.get(id.index()).is_some_and(|seat| seat.asked != Time::ZERO)
    }

    pub(crate) fn died(&mut self, id: InstanceId) {
        if let Some(seat) = self.seats.get_mut(id.index()) {
            *seat = EMPTY;
        }
    }
}

/// The time that nobody can do anything about: messages under way, and timers that are late.
fn travel(bounds: &Bounds) -> Span {
    bounds.delay * 6 + bounds.slack * 4
}

impl<M: Subject> World<M> {
    /// Whether anybody asks what is remembered here.
    #[inline]
    pub(crate) fn watches_preemption(&self) -> bool {
        M::PREEMPTS && self.promises.has_any(PropertySet::of(&Property::OF_PREEMPTION))
    }

    fn terms_of_preemption(&self) -> Preemption {
        M::preemption(&self.config)
    }

    /// A record of a request was written, or deleted.
    pub(crate) fn note_request(&mut self, by: Tag, touch: Touch, asked: StoreTime) {
        let (resource, at) = (self.instances[by.instance.index()].resource as usize, self.now);
        let bout = &mut self.preemptions.bouts[resource];
        match touch {
            Touch::Wrote(_) => {
                bout.newest = Some(Newest { by, at });
                let (seat, instance) =
                    (&mut self.preemptions.seats[by.instance.index()], &self.instances[by.instance.index()]);
                if seat.seen == Time::ZERO && instance.wants(by.acquisition) {
                    (seat.seen, seat.since) = (at, asked);
                }
            }
            Touch::Deleted(_) => bout.newest = None,
            Touch::None | Touch::Refused(_) | Touch::Renewed(_) | Touch::Revoked(_) => {}
        }
    }

    /// A caller asks for the lock.
    pub(crate) fn note_want(&mut self, id: InstanceId, ask: Ask) {
        if ask.wants() {
            let (resource, now) = (self.instances[id.index()].resource as usize, self.now);
            let row = &mut self.preemptions.bouts[resource].row;
            *row = (*row).min(now);
        }
    }

    /// A caller is told something: may it be?
    pub(crate) fn judge_preemption(&mut self, id: InstanceId, told: Told) {
        let (now, resource) = (self.now, self.instances[id.index()].resource as usize);
        let index = id.index();
        match told {
            Told::Acquired(_) => {
                self.preemptions.seats[index] = Seat { granted: now, ..EMPTY };
                self.preemptions.bouts[resource].row = Time::MAX;
            }
            Told::Asked => {
                let seat = &mut self.preemptions.seats[index];
                seat.heard = now;
                if seat.asked == Time::ZERO {
                    seat.asked = now;
                }
            }
            Told::Preempted => {
                self.judge_starvation(id);
                self.preemptions.seats[index] = EMPTY;
            }
            Told::Ousted => {
                self.judge_ousting(id);
                self.preemptions.seats[index] = EMPTY;
                self.begin_row(resource);
            }
            Told::Denied | Told::Lost | Told::Released | Told::Panicked => {
                self.preemptions.seats[index] = EMPTY;
                self.begin_row(resource);
            }
            _ => {}
        }
    }

    /// From now on those who wait are counted as if they had begun to.
    fn begin_row(&mut self, resource: usize) {
        let waits = |one: &crate::world::Instance<M>| {
            one.resource as usize == resource
                && one.caller.stage == Stage::Waiting
                && one.state != State::Down
        };
        let is_wanted = self.instances.iter().any(waits);
        self.preemptions.bouts[resource].row = if is_wanted { self.now } else { Time::MAX };
    }

    /// Since when nothing has gone wrong with any of these.
    fn calm_since(&self, ids: impl Iterator<Item = InstanceId>) -> Time {
        ids.map(|id| self.instances[id.index()].hit_at).fold(self.stores[0].resumed, Time::max)
    }

    /// A length as the slowest clock counts it.
    fn slowest(&self, span: Span) -> Span {
        span + span.portion(M::drift(&self.config))
    }

    fn travel(&self) -> Span {
        travel(&self.bounds)
    }

    /// For how long what hit a holder may keep it from hearing that it should yield, and from doing so.
    pub(crate) fn hearing(config: &M::Config, bounds: &Bounds) -> Span {
        let Preemption { notice, grace, .. } = M::preemption(config);
        let heard = notice + grace;
        heard + heard.portion(M::drift(config)) + travel(bounds)
    }

    /// Whether its lock was revoked, and something may have kept it from hearing in time that it should yield.
    pub(crate) fn is_revoked_unheard(&self, id: InstanceId) -> bool {
        let is_revoked = self.own_mark(id).is_some_and(|mark| mark.revoked);
        let calm = self.instances[id.index()].hit_in_possession.max(self.stores[0].resumed);
        is_revoked && calm != Time::ZERO && self.now <= calm + World::<M>::hearing(&self.config, &self.bounds)
    }

    /// The lock's entry, if it is that of its present acquisition.
    fn own_mark(&self, id: InstanceId) -> Option<Mark> {
        let instance = &self.instances[id.index()];
        self.lock_mark(instance.resource).filter(|mark| mark.by == instance.tag(id))
    }

    fn seen(&self, id: InstanceId) -> Time {
        self.preemptions.seats[id.index()].seen
    }

    /// Whether somebody who has to give way does not know it, though it had the time to learn of it.
    pub(crate) fn judge_notice(&mut self, id: InstanceId) {
        let instance = &self.instances[id.index()];
        let resource = instance.resource as usize;
        let Some(Newest { by, at }) = self.preemptions.bouts[resource].newest else { return };
        if by.instance == id || instance.state != State::Up || self.stores[0].paused {
            return;
        }
        let asker = &self.instances[by.instance.index()];
        if !asker.wants(by.acquisition) || asker.caller.stage != Stage::Waiting || asker.state != State::Up {
            return;
        }
        let seat = self.preemptions.seats[id.index()];
        let since = match instance.caller.stage {
            Stage::Holding if seat.heard < self.seen(by.instance) && seat.granted != Time::ZERO => {
                seat.granted
            }
            // Of two whose requests were seen, the store says which is newer: not the one whose caller asked later, but
            // the one that reached the store later. Where that may be the one that was seen first (its record had
            // expired), nothing is said.
            Stage::Waiting
                if seat.seen != Time::ZERO
                    && seat.seen < self.seen(by.instance)
                    && seat.since < self.preemptions.seats[by.instance.index()].since =>
            {
                seat.seen
            }
            // Whoever has the lock and was not told is to be told of whatever comes.
            Stage::Waiting if seat.seen == Time::ZERO && self.own_mark(id).is_some() => instance.caller.asked,
            Stage::Holding | Stage::Waiting | Stage::Idle | Stage::Leaving => return,
        };
        let calm = self.calm_since([id, by.instance].into_iter());
        let Preemption { notice, waiter_notice, .. } = self.terms_of_preemption();
        let notice = if instance.caller.stage == Stage::Waiting { waiter_notice } else { notice };
        let due = since.max(at).max(calm) + self.slowest(notice) + self.travel();
        if notice != Span::MAX && self.now > due {
            self.violated(Property::PreemptionNoticed, id, Some(by.instance), Facts::default());
        }
    }

    /// Whether somebody goes on to hold though its time is up.
    pub(crate) fn judge_tenure(&mut self, id: InstanceId) {
        let seat = self.preemptions.seats[id.index()];
        let instance = &self.instances[id.index()];
        if seat.granted == Time::ZERO
            || instance.caller.stage != Stage::Holding
            || instance.state == State::Down
        {
            return;
        }
        let Preemption { grace, limit, .. } = self.terms_of_preemption();
        let late = self.bounds.slack * 2;
        let end = |since: Time, span: Span| {
            if span == Span::MAX { Time::MAX } else { since + self.slowest(span) + late }
        };
        let asked = if seat.asked == Time::ZERO { Time::MAX } else { end(seat.asked, grace) };
        let is_over = self.now > end(seat.granted, limit).min(asked);
        let mono = Instant::from_nanos(instance.clock.read(self.now));
        if is_over && instance.machine.belief().is_some_and(|until| mono < until) && self.is_belief_judged() {
            let facts = Facts { asked: seat.asked != Time::ZERO, ..Facts::default() };
            self.violated(Property::BoundedHold, id, None, facts);
        }
    }

    /// Nobody is put out before its time is up.
    fn judge_ousting(&mut self, id: InstanceId) {
        let seat = self.preemptions.seats[id.index()];
        let Preemption { grace, limit, .. } = self.terms_of_preemption();
        let fastest = |span: Span| span.minus(span.portion(M::drift(&self.config)));
        let is_long = |since: Time, span: Span| since != Time::ZERO && self.now >= since + fastest(span);
        if !is_long(seat.granted, limit) && !is_long(seat.asked, grace) && self.is_belief_judged() {
            self.violated(Property::BoundedHold, id, None, Facts::default());
        }
    }

    /// Somebody is turned away for a newer request: was anybody let in lately?
    fn judge_starvation(&mut self, id: InstanceId) {
        let resource = self.instances[id.index()].resource;
        let row = self.preemptions.bouts[resource as usize].row;
        let peers = (0..self.instances.len()).map(|index| InstanceId(index as u32));
        let calm = self.calm_since(peers.filter(|peer| self.instances[peer.index()].resource == resource));
        let Preemption { contention, .. } = self.terms_of_preemption();
        if row == Time::MAX || contention == Span::MAX || self.stores[0].paused {
            return;
        }
        // Whoever died or stands still may have been the one to enter: its record and its lock have to expire.
        let mourning = M::ttl(&self.config) * 2;
        if self.now > row.max(calm) + self.slowest(contention + mourning) + self.travel() {
            self.violated(Property::NoStarvation, id, None, Facts::default());
        }
    }
}
