//! Messages under way.

use std::ops::{Index, IndexMut};

use fencepost::machine::{AnswerOf, Machine, OpOf};
use fencepost::store::StoreId;
use fencepost::time::{Instant, StoreTime};
use serde::{Deserialize, Serialize};

use super::Instance;
use crate::clock::Time;
use crate::fault::FaultSet;
use crate::store::Tag;
use crate::subject::InstanceId;

/// Names a message or request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(pub u32);

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leg<M: Machine> {
    /// On its way to the store.
    Request(OpOf<M>),
    /// On its way back.
    Reply(AnswerOf<M>, StoreTime),
    /// Nowhere; its instance does not know yet.
    Lost,
    /// A hint on its way to an instance.
    Hint(M::Message),
    /// A write on its way to a guarded resource.
    Write {
        /// Which of them: that of what the caller held when it wrote.
        resource: u32,
        /// The fencing token.
        token: u64,
    },
    /// Nowhere any more: its place is free for another message.
    Landed,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegKind {
    /// To the store.
    Request,
    /// From the store.
    Reply,
    /// Lost.
    Lost,
    /// From a peer.
    Hint,
    /// To the guarded resource.
    Write,
    /// Over.
    Landed,
}

/// A message under way.
#[derive(Clone, Debug)]
pub struct Flight<M: Machine> {
    /// Whose: the sender of a request, the addressee of a reply or hint.
    pub instance: InstanceId,
    /// On behalf of which acquisition.
    pub tag: Tag,
    /// The store concerned.
    pub store: StoreId,
    /// The call, for requests and replies.
    pub call: Option<M::Call>,
    /// Where it is.
    pub leg: Leg<M>,
    /// When the request was sent.
    pub sent: Time,
    /// When this leg began.
    pub since: Time,
    /// Its number in the order of sending.
    pub serial: u64,
    /// Whether it is exempt from the delay bound.
    pub stalled: bool,
    /// Whether it is the second copy of a request.
    pub is_copy: bool,
    pub(crate) sent_mono: Instant,
    /// The trouble its instance was in when it was sent.
    pub(crate) trouble: u32,
    pub(crate) awaited: bool,
    /// The store refused it for an entry of the same acquisition.
    pub(crate) refused_by_itself: bool,
    /// It prolonged the entry of its own acquisition.
    pub(crate) prolonged: bool,
    pub(crate) faults: FaultSet,
}

impl<M: Machine> Flight<M> {
    /// A message of an instance, or to it, that is no call.
    #[inline]
    pub(super) fn new(now: Time, id: InstanceId, instance: &Instance<M>, leg: Leg<M>) -> Flight<M> {
        Flight {
            instance: id,
            tag: instance.tag(id),
            store: StoreId::default(),
            call: None,
            leg,
            sent: now,
            since: now,
            serial: 0,
            stalled: false,
            is_copy: false,
            sent_mono: Instant::ZERO,
            trouble: instance.trouble,
            awaited: false,
            refused_by_itself: false,
            prolonged: false,
            faults: FaultSet::NONE,
        }
    }

    /// What kind of message it is.
    pub fn kind(&self) -> LegKind {
        match self.leg {
            Leg::Request(_) => LegKind::Request,
            Leg::Reply(..) => LegKind::Reply,
            Leg::Lost => LegKind::Lost,
            Leg::Hint(_) => LegKind::Hint,
            Leg::Write { .. } => LegKind::Write,
            Leg::Landed => LegKind::Landed,
        }
    }

    /// What has happened to it.
    pub fn faults(&self) -> FaultSet {
        self.faults
    }

    /// Whether its instance still waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }
}

/// All messages under way, each in a place that is free again when it has landed.
#[derive(Debug)]
pub(crate) struct Flights<M: Machine> {
    places: Vec<Flight<M>>,
    free: Vec<FlightId>,
    fresh: Vec<FlightId>,
    sent: u64,
}

impl<M: Machine> Clone for Flights<M> {
    fn clone(&self) -> Flights<M> {
        let Flights { places, free, fresh, sent } = self;
        Flights { places: places.clone(), free: free.clone(), fresh: fresh.clone(), sent: *sent }
    }

    fn clone_from(&mut self, other: &Flights<M>) {
        self.places.clone_from(&other.places);
        self.free.clone_from(&other.free);
        self.fresh.clone_from(&other.fresh);
        self.sent = other.sent;
    }
}

impl<M: Machine> Flights<M> {
    pub(super) const fn new() -> Flights<M> {
        Flights { places: Vec::new(), free: Vec::new(), fresh: Vec::new(), sent: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.free.clear();
        self.fresh.clear();
        self.sent = 0;
    }

    /// Those that were sent since the last [`Flights::settle`], in order.
    pub(super) fn fresh(&self) -> &[FlightId] {
        &self.fresh
    }

    /// Nothing counts as fresh any more.
    #[inline]
    pub(super) fn settle(&mut self) {
        self.fresh.clear();
    }

    /// One that has not landed.
    #[inline]
    pub(super) fn get(&self, id: FlightId) -> Option<&Flight<M>> {
        self.places.get(id.0 as usize).filter(|flight| !matches!(flight.leg, Leg::Landed))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (FlightId, &Flight<M>)> {
        let with_id = self.places.iter().enumerate().map(|(index, flight)| (FlightId(index as u32), flight));
        with_id.filter(|(_, flight)| !matches!(flight.leg, Leg::Landed))
    }

    /// The memory that they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Flight<M>>()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (FlightId, &mut Flight<M>)> {
        let with_id = self.places.iter_mut().enumerate();
        let with_id = with_id.map(|(index, flight)| (FlightId(index as u32), flight));
        with_id.filter(|(_, flight)| !matches!(flight.leg, Leg::Landed))
    }

    /// Gives up the places of those that have landed and of others that need not be kept. The rest get new names.
    pub(crate) fn compact(&mut self, keeps: impl Fn(&Flight<M>) -> bool) {
        self.places.retain(|flight| !matches!(flight.leg, Leg::Landed) && keeps(flight));
        self.free.clear();
        self.fresh.clear();
    }

    /// Takes over a message that is under way.
    pub(crate) fn push(&mut self, flight: Flight<M>) -> FlightId {
        self.places.push(flight);
        FlightId(self.places.len() as u32 - 1)
    }

    /// Puts messages into an order in which they are those of these instances. Others come last.
    pub(crate) fn interleave(&mut self, order: impl Iterator<Item = InstanceId>) {
        for (place, owner) in order.enumerate() {
            if let Some(at) = self.places[place..].iter().position(|flight| flight.instance == owner) {
                self.places[place..=place + at].rotate_right(1);
            }
        }
    }

    /// Sends a message.
    // Inlined, so that it is written to its place and nowhere before.
    #[inline(always)]
    pub(super) fn launch(&mut self, flight: Flight<M>) -> FlightId {
        self.sent += 1;
        let flight = Flight { serial: self.sent, ..flight };
        let id = self.free.pop().unwrap_or(FlightId(self.places.len() as u32));
        match self.places.get_mut(id.0 as usize) {
            Some(place) => *place = flight,
            None => self.places.push(flight),
        }
        self.fresh.push(id);
        id
    }

    /// A message has come to its end.
    #[inline(always)]
    pub(super) fn land(&mut self, id: FlightId) -> Leg<M> {
        let leg = std::mem::replace(&mut self[id].leg, Leg::Landed);
        self.release(id);
        leg
    }

    /// The place of a message that has landed is free again.
    #[inline]
    pub(super) fn release(&mut self, id: FlightId) {
        self.free.push(id);
    }

    /// Nobody waits for the answer any more. Gives what had happened to it.
    pub(super) fn disown(&mut self, id: FlightId) -> FaultSet {
        let flight = &mut self[id];
        flight.awaited = false;
        let faults = flight.faults;
        if !matches!(flight.leg, Leg::Request(_)) {
            self.land(id);
        }
        faults
    }
}

/// A message under way, or one that has just landed.
impl<M: Machine> Index<FlightId> for Flights<M> {
    type Output = Flight<M>;
    #[inline]
    fn index(&self, id: FlightId) -> &Flight<M> {
        &self.places[id.0 as usize]
    }
}

impl<M: Machine> IndexMut<FlightId> for Flights<M> {
    #[inline]
    fn index_mut(&mut self, id: FlightId) -> &mut Flight<M> {
        &mut self.places[id.0 as usize]
    }
}
