//! An algorithm that tells a checker less than the truth about itself, in one respect.

use fencepost::machine::{AnswerOf, Effect, Effects, Identity, Input, Machine, Relocate};
use fencepost::store::Revision;
use fencepost::time::{Instant, Now, Ppm, Span, StoreTime};
use fencepost_models::subject::{Ask, Play, Subject, Told};

/// It tells the truth.
pub(crate) const HONEST: u8 = 0;
/// It does not show its instants.
pub(crate) const HIDES_INSTANTS: u8 = 1;
/// It does not show its revisions.
pub(crate) const HIDES_REVISIONS: u8 = 2;
/// It does not show its identities.
pub(crate) const HIDES_IDENTITIES: u8 = 3;
/// It says that it reads no wall clock.
pub(crate) const DENIES_WALL: u8 = 4;
/// It says that it remembers no store time.
pub(crate) const DENIES_STORE_TIME: u8 = 5;
/// It says that it adds no length to an instant.
pub(crate) const DENIES_HORIZON: u8 = 6;
/// It says that it has no ticker.
pub(crate) const DENIES_PHASE: u8 = 7;
/// It says that it treats all instances alike.
pub(crate) const DENIES_ORDER: u8 = 8;

/// It says that it counts nothing from when it was answered.
pub(crate) const DENIES_ANSWERS: u8 = 9;

/// `M`, but for one lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Liar<M, const LIE: u8>(M);

impl<M: Machine, const LIE: u8> Machine for Liar<M, LIE> {
    type Config = M::Config;
    type Store = M::Store;
    type Request = M::Request;
    type Event = M::Event;
    type Message = M::Message;
    type Call = M::Call;

    fn new(config: &M::Config, identity: Identity) -> Self {
        Liar(M::new(config, identity))
    }

    fn step(&mut self, config: &M::Config, now: Now, input: Input<Self>, out: &mut Effects<Self>) {
        let mut effects = Effects::new();
        self.0.step(config, now, heard(input), &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { store, call, op } => out.store_at(store, call, op),
                Effect::Forget(call) => out.forget(call),
                Effect::Publish(message) => out.publish(message),
                Effect::Event(event) => out.event(event),
            }
        }
    }

    fn deadline(&self, config: &M::Config) -> Option<Instant> {
        self.0.deadline(config)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        self.0.relocate(&mut Partly::<_, LIE>(map));
    }
}

fn heard<M: Machine, const LIE: u8>(input: Input<Liar<M, LIE>>) -> Input<M> {
    match input {
        Input::Request(request) => Input::Request(request),
        Input::Reply { call, answer, at } => {
            let answer: AnswerOf<M> = answer;
            Input::Reply { call, answer, at }
        }
        Input::Message(message) => Input::Message(message),
        Input::Wake => Input::Wake,
    }
}

/// Shows all names but those that are hidden.
struct Partly<'a, R, const LIE: u8>(&'a mut R);

impl<R: Relocate, const LIE: u8> Relocate for Partly<'_, R, LIE> {
    fn instant(&mut self, instant: &mut Instant) {
        if LIE != HIDES_INSTANTS {
            self.0.instant(instant);
        }
    }

    fn deadline(&mut self, deadline: &mut Instant) {
        if LIE != HIDES_INSTANTS {
            self.0.deadline(deadline);
        }
    }

    fn store_time(&mut self, time: &mut StoreTime) {
        self.0.store_time(time);
    }

    fn revision(&mut self, revision: &mut Revision) {
        if LIE != HIDES_REVISIONS {
            self.0.revision(revision);
        }
    }

    fn identity(&mut self, identity: &mut Identity) {
        if LIE != HIDES_IDENTITIES {
            self.0.identity(identity);
        }
    }

    fn serial(&mut self, identity: Identity, serial: &mut u32) {
        self.0.serial(identity, serial);
    }
}

impl<M: Subject, const LIE: u8> Subject for Liar<M, LIE> {
    fn request(ask: Ask) -> Option<M::Request> {
        M::request(ask)
    }

    fn told(event: &M::Event) -> Told {
        M::told(event)
    }

    fn belief(&self) -> Option<Instant> {
        self.0.belief()
    }

    fn ttl(config: &M::Config) -> Span {
        M::ttl(config)
    }

    fn drift(config: &M::Config) -> Ppm {
        M::drift(config)
    }

    fn margin(config: &M::Config) -> Span {
        M::margin(config)
    }

    const READS_WALL: bool = M::READS_WALL && LIE != DENIES_WALL;

    fn reads_store_time(config: &M::Config) -> bool {
        M::reads_store_time(config) && LIE != DENIES_STORE_TIME
    }

    fn horizon(config: &M::Config) -> Span {
        if LIE == DENIES_HORIZON { Span::ZERO } else { M::horizon(config) }
    }

    fn phase(config: &M::Config) -> Span {
        if LIE == DENIES_PHASE { Span::ZERO } else { M::phase(config) }
    }

    const PLAY: Play = M::PLAY;

    fn attempts(config: &M::Config) -> u32 {
        M::attempts(config)
    }

    fn calendar_horizon(config: &M::Config) -> Span {
        M::calendar_horizon(config)
    }

    fn answer_horizon(config: &M::Config) -> Span {
        if LIE == DENIES_ANSWERS { Span::ZERO } else { M::answer_horizon(config) }
    }

    fn is_symmetric(config: &M::Config) -> bool {
        M::is_symmetric(config) || LIE == DENIES_ORDER
    }
}
