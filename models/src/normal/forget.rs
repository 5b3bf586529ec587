//! What is forgotten: all that neither a machine nor a monitor will ever ask for again.

use fencepost::machine::Identity;
use fencepost::time::{Instant, Span, StoreTime};

use crate::clock::Time;
use crate::property::{Fate, Property};
use crate::store::{Mark, Simulated};
use crate::subject::{InstanceId, Subject};
use crate::world::{Flight, Instance, Leg, Stage, State, World};

use super::Normaliser;

/// Why an instance may still be told something.
#[derive(Clone, Copy, Debug)]
struct Heed {
    /// It was refused by its own entry, which is still there.
    notices: bool,
    /// It waits for an answer, for a moment, or for the end of its callback.
    waits: bool,
}

impl Normaliser {
    /// Drops what nothing will ever ask for again.
    /// If only one instance is there, the others are left as they are.
    pub(super) fn forget<M: Subject>(&self, world: &mut World<M>, now: Time, only: Option<InstanceId>) {
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
            // Who wants nothing and waits for nothing is told nothing before it asks, and then it begins afresh. What runs
            // may outlive all that was wanted, and whoever hears of its end goes on.
            let waits = world.runs.is_busy(id)
                || !instance.awaited.is_empty()
                || instance.machine.deadline(&world.config).is_some();
            self.forget_of_instance(instance, Heed { notices, waits });
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

    fn forget_of_instance<M: Subject>(&self, instance: &mut Instance<M>, heed: Heed) {
        let (stage, Heed { notices, waits }) = (instance.caller.stage, heed);
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
    pub(super) fn forget_fences<M: Subject>(&self, world: &mut World<M>) {
        for fence in &mut world.fences {
            if !self.names.revisions.has(fence.token) {
                fence.writer = None;
                if !self.names.has_lower(fence.token) {
                    fence.token = 0;
                }
            }
        }
    }
}

/// Of a key that is not the lock itself, nobody asks since when it is of no use.
fn forget_of_key(mark: &mut Mark) {
    (mark.touched, mark.abandoned, mark.noticed) = (Time::ZERO, Time::MAX, Time::MAX);
    mark.renewed_by_another = false;
}
