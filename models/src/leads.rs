//! What the monitors know of leadership: who could lead, since when nobody does, which terms a caller was told of; and
//! what the world has to know of our flag.

use fencepost::flag::{Event, Flag, FlagTerms, Lowered, Message, Record, Request};
use fencepost::machine::Relocate;
use fencepost::mutex::Mutex;
use fencepost::store::Revision;
use fencepost::time::{Instant, Ppm, Span};

use crate::clock::Time;
use crate::normal::Names;
use crate::property::{Facts, Property};
use crate::store::Named;
use crate::subject::{Ask, InstanceId, Play, Subject, Told};
use crate::world::{Instance, Stage, State, World};

/// An instance's part in leadership; nothing, where nobody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Part {
    unfit: bool,
    /// Since when it is to close; zero, if it is not.
    closing: Time,
    /// Since when it could lead; zero, if it could not.
    able: Time,
    /// The highest term that its caller was told of.
    pub(crate) seen: Revision,
}

impl Part {
    /// Whether its caller wants it to lead no more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing != Time::ZERO
    }

    /// Whether its caller has said that it is not fit to lead.
    pub(crate) fn is_unfit(&self) -> bool {
        self.unfit
    }

    /// Whether it may lead, if it takes part.
    pub(crate) fn may_lead(&self) -> bool {
        !self.unfit && !self.is_closing()
    }

    /// Drops what no monitor of a checker asks for: since when.
    pub(crate) fn forget(&mut self, keeps_terms: bool) {
        self.able = Time::ZERO;
        if self.is_closing() {
            self.closing = crate::checker::NOON_TIME;
        }
        if !keeps_terms {
            self.seen = Revision::default();
        }
    }
}

impl<M: Subject> World<M> {
    /// A caller asks something that concerns leadership.
    pub(crate) fn note_ask_of_leader(&mut self, id: InstanceId, ask: Ask) {
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        let part = &mut instance.part;
        match ask {
            Ask::Start | Ask::Unlock if !part.unfit => part.able = now,
            Ask::Fit(true) if part.unfit => {
                part.unfit = false;
                part.able = now;
            }
            Ask::Fit(false) => (part.unfit, part.able) = (true, Time::ZERO),
            // Whoever takes no part has nothing to close.
            Ask::Close | Ask::UnlockAgain if instance.caller.stage == Stage::Idle => {}
            Ask::Close | Ask::UnlockAgain => {
                part.able = Time::ZERO;
                if part.closing == Time::ZERO {
                    part.closing = now;
                }
                if instance.caller.stage == Stage::Holding {
                    self.leave(id);
                }
            }
            _ => {}
        }
    }

    /// A caller is told something that concerns leadership: may it be?
    pub(crate) fn note_told_of_leaders(&mut self, id: InstanceId, told: Told) {
        let index = id.index();
        match told {
            Told::Acquired(_) => self.judge_leaders_of(self.instances[index].resource),
            Told::Released | Told::Lost => self.note_end_of_term(id),
            Told::Closed => {
                let part = &mut self.instances[index].part;
                (part.closing, part.able) = (Time::ZERO, Time::ZERO);
            }
            Told::Leads(Some(term)) => {
                let term = Revision(term.0);
                if term < self.instances[index].part.seen {
                    self.violated(Property::TermsInOrder, id, None, Facts::default());
                }
                self.instances[index].part.seen = term;
            }
            _ => {}
        }
    }

    fn note_end_of_term(&mut self, id: InstanceId) {
        let resource = self.instances[id.index()].resource as usize;
        self.leaderless[resource] = self.now;
    }

    /// A new incarnation will know nothing.
    pub(crate) fn note_death_of_part(&mut self, id: InstanceId) {
        if M::PLAY == Play::Lead {
            if self.instances[id.index()].caller.stage == Stage::Holding {
                self.note_end_of_term(id);
            }
            self.instances[id.index()].part = Part::default();
        }
    }

    /// The run is over: is nobody raised though somebody could be, and who has not closed?
    pub(crate) fn judge_leaders(&mut self) {
        if M::PLAY != Play::Lead || self.healed == Time::MAX {
            return;
        }
        for resource in 0..self.leaderless.len() as u32 {
            self.judge_leaders_of(resource);
        }
        for index in 0..self.instances.len() {
            let Part { closing, .. } = self.instances[index].part;
            let is_up = self.instances[index].state == State::Up;
            if closing != Time::ZERO && is_up && self.now > closing.max(self.healed) + self.bounds.progress {
                self.violated(Property::Progress, InstanceId(index as u32), None, Facts::default());
            }
        }
    }

    /// Was nobody raised for longer than may be, since everything was healed?
    fn judge_leaders_of(&mut self, resource: u32) {
        let of_same = |one: &Instance<M>| one.resource == resource && one.state == State::Up;
        let leads = |one: &Instance<M>| of_same(one) && one.caller.stage == Stage::Holding;
        if self.healed == Time::MAX || self.instances.iter().any(leads) {
            return;
        }
        let able = self.instances.iter().enumerate();
        let able = able.filter(|(_, one)| of_same(one) && one.part.able != Time::ZERO);
        let Some((index, first)) = able.min_by_key(|(_, one)| one.part.able) else { return };
        let since = first.part.able.max(self.healed).max(self.leaderless[resource as usize]);
        let takeover = M::takeover(&self.config);
        let traffic = self.bounds.delay * 8 + self.bounds.slack * 4 + self.bounds.orphan;
        if takeover != Span::MAX && self.now > since + takeover + traffic {
            let id = InstanceId(index as u32);
            let owner = self.lock_mark(resource).map(|mark| mark.by.instance).filter(|owner| *owner != id);
            self.violated(Property::Progress, id, owner, Facts::default());
        }
    }
}

impl Named for Record {
    fn relocate(&mut self, map: &mut impl Relocate) {
        self.owner.relocate(map);
    }
}

impl Subject for Flag {
    const PLAY: Play = Play::Lead;
    const READS_WALL: bool = false;

    fn request(ask: Ask) -> Option<Request> {
        Some(match ask {
            Ask::Start => Request::Stand,
            Ask::Unlock => Request::Resign,
            Ask::Close | Ask::UnlockAgain => Request::Close,
            Ask::Fit(fit) => Request::Fit(fit),
            Ask::Petition => Request::Petition,
            _ => return None,
        })
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Raised(term) => Told::Acquired(Some(*term)),
            Event::Lowered(Lowered::Lost(_)) => Told::Lost,
            Event::Lowered(Lowered::Resigned | Lowered::Unfit | Lowered::Closing) => Told::Released,
            Event::Leader(leader) => Told::Leads(leader.as_ref().map(|leader| leader.term)),
            Event::Petitioned { .. } => Told::Petitioned,
            Event::PetitionEnded(_) => Told::Answered,
            Event::Closed => Told::Closed,
            Event::Rejected(_) => Told::Rejected,
        }
    }

    fn belief(&self) -> Option<Instant> {
        self.until()
    }

    fn ttl(config: &FlagTerms) -> Span {
        Mutex::ttl(config.mutex())
    }

    fn drift(config: &FlagTerms) -> Ppm {
        Mutex::drift(config.mutex())
    }

    fn margin(config: &FlagTerms) -> Span {
        Mutex::margin(config.mutex())
    }

    fn stable_round_trip(config: &FlagTerms) -> Span {
        Mutex::stable_round_trip(config.mutex())
    }

    fn takeover(config: &FlagTerms) -> Span {
        config.takeover()
    }

    fn handover(config: &FlagTerms) -> Span {
        let longest = config.check().longest();
        longest + longest.portion(Self::drift(config))
    }

    fn relocate_message(message: &mut Message, names: &mut Names) {
        match message {
            Message::Freed => {}
            Message::Petition { term, number, by: _ } => {
                names.token(term);
                number.relocate(names);
            }
        }
    }

    fn reads_store_time(_: &FlagTerms) -> bool {
        false
    }

    fn is_symmetric(_: &FlagTerms) -> bool {
        true
    }
}
