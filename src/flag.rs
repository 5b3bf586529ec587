//! Leadership: of all processes that stand, at most one has its flag raised, and everybody sees which.
//!
//! A raised flag is a held [`mutex`](mod@crate::mutex) whose record also names the process. So it ends by itself, on the
//! leader's own clock, before the store lets anybody else in, and each leadership has a fencing token, its *term*. Whoever
//! does not lead either stands, and sees the leader's record whenever its own claim is refused, or watches, and reads it.
//!
//! Ask [`Flag::raised`] on the guarded path: it reads the clock that it is given, so a process that stood still learns at
//! once that it leads no more. Events tell the same, once somebody moves the machine.
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | S1 | at rest | stand | may lead | standing | lock |
//! | S2 | at rest | stand | on standby, or unfit | watching | look |
//! | S3 | not at rest | stand | | the same | event rejected (standing) |
//! | W1 | watching | found another's record | its term is no lower than any seen | watching | event leader, if it is news |
//! | W2 | watching | found none, or its own | | watching | event leader (none), if one was seen |
//! | W3 | watching | found another's record | its term is lower | watching | |
//! | W4 | watching | wake | a check is due, or its time-out | watching | look |
//! | W5 | watching | peer freed the lock | | watching | look |
//! | W6 | watching | wake, or fit | may lead, and the others had their turn | standing | lock, forget the look |
//! | C1 | standing | the lock is held | | raised | event raised, event leader (itself) |
//! | C2 | standing | its claim is refused by another's record | | standing | as W1 or W3 |
//! | C3 | standing | unfit | | watching | wait for the lock no longer; look |
//! | H1 | raised | the lock is lost | | standing | event lowered (lost), event leader (none), lock |
//! | H2 | raised | resign | | lowering | event lowered (resigned), event leader (none), unlock |
//! | H3 | raised | unfit | | lowering | event lowered (unfit), event leader (none), unlock |
//! | H4 | raised | petition | about this term, and not told yet | raised | event petitioned |
//! | L1 | lowering | the lock is released | it has resigned | watching, for a turn | look |
//! | L2 | lowering | the lock is released | it may lead again | standing | lock |
//! | L3 | lowering | the lock is released | it may not | watching | look |
//! | N1 | not raised | resign | | the same | event rejected (not raised) |
//! | N2 | any other | fit, unfit | | the same | none: it is remembered |
//! | P1 | watching, standing | petition | another leads | the same | publish the petition |
//! | P2 | any | the term ends | its petition is under way | the same | event petition-ended (granted) |
//! | P3 | any | wake | its petition is due again | the same | publish the petition |
//! | P4 | any | wake | its petition was sent often enough | the same | event petition-ended (unanswered) |
//! | P5 | any | petition | nobody else leads, or one is under way | the same | event rejected (no leader, petitioning) |
//! | Z1 | at rest | close | | at rest | event closed |
//! | Z2 | watching | close | | closing | forget the look |
//! | Z3 | standing | close | | closing | wait for the lock no longer |
//! | Z4 | raised | close | | closing | event lowered (closing), event leader (none), unlock |
//! | Z5 | lowering, closing | close | | closing | |
//! | Z6 | closing | | the lock is at rest | at rest | event closed |
//!
//! A flag that closes drops its petition: event petition-ended (dropped). Answers of a shape that the call cannot have
//! are treated as unknown, and an unknown answer is no answer yet.
//!
//! # Example
//!
//! ```
//! use fencepost::flag::{Event, Flag, FlagConfig, Request};
//! use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
//! use fencepost::store::{Answer, FencingToken, Revision};
//! use fencepost::time::{Instant, Now, StoreTime};
//!
//! let terms = FlagConfig::new("billing", "billing-0").terms()?;
//! let mut flag = Flag::new(&terms, Identity(7));
//! let mut effects = Effects::new();
//! let now = Now::default();
//! flag.step(&terms, now, Input::Request(Request::Stand), &mut effects);
//! let Some(Effect::Store { call, .. }) = effects.pop() else { panic!("a claim goes to the store") };
//! // The host carries it there and brings the answer back.
//! let answer = Answer::Applied(Revision(42));
//! flag.step(&terms, now, Input::Reply { call, answer, at: StoreTime::ZERO }, &mut effects);
//! assert_eq!(effects.pop(), Some(Effect::Event(Event::Raised(FencingToken(42)))));
//! assert_eq!(flag.raised(Instant::ZERO), Some(FencingToken(42)));
//! // Whoever stood still for too long is told so by its own clock.
//! assert_eq!(flag.raised(Instant::MAX), None);
//! # Ok::<(), fencepost::flag::FlagConfigError>(())
//! ```

mod config;
mod words;

pub use config::{FlagConfig, FlagConfigBuilder, FlagConfigError, FlagProtection, FlagTerms};
pub use words::{
    Call, Event, Leader, Lowered, Message, Misuse, NameError, PetitionEnd, Process, Record, Request,
};

use crate::line::{self, Owner};
use crate::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use crate::mutex::{self, Freed, Mutex, Patience};
use crate::store::{Answer, Contract, Entry, FencingToken, Op, Revision};
use crate::time::{Instant, Now, Span};

/// How often a petition is sent, once for each check, before it counts as unanswered.
pub const PETITIONS: u8 = 5;

/// The flag. One value serves one process; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flag {
    mutex: Mutex,
    stage: Stage,
    fit: bool,
    /// The highest term that was seen, its own included.
    term: Option<Revision>,
    /// Who leads under it, if that is another process and nothing else was seen since.
    leader: Option<Process>,
    petition: Option<Petition>,
    /// Numbers the petitions.
    petitions: u32,
    /// The last petition that the caller was told of.
    heard: Option<Owner>,
    /// A machine is asked who leads without its configuration. Laboratory only.
    #[cfg(feature = "ablation")]
    ablated: Option<FlagProtection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    AtRest,
    /// `turn`: until then others go first.
    Watching {
        turn: Instant,
        look: Look,
    },
    Standing,
    Raised,
    Lowering {
        resigned: bool,
    },
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Look {
    Sent(Instant),
    Due(Instant),
}

/// A petition of its own that has not come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Petition {
    term: Revision,
    again: Instant,
    left: u8,
}

type Out<'a> = &'a mut Effects<Flag>;
type AnswerTo = Answer<(), Record>;

impl Machine for Flag {
    type Config = FlagTerms;
    type Store = Contract<(), Record>;
    type Request = Request;
    type Event = Event;
    type Message = Message;
    type Call = Call;

    fn new(terms: &FlagTerms, identity: Identity) -> Flag {
        Flag {
            mutex: Mutex::new(&terms.mutex, identity),
            stage: Stage::AtRest,
            fit: true,
            term: None,
            leader: None,
            petition: None,
            petitions: 0,
            heard: None,
            #[cfg(feature = "ablation")]
            ablated: terms.config.ablated,
        }
    }

    fn step(&mut self, terms: &FlagTerms, now: Now, input: Input<Flag>, out: Out<'_>) {
        // The clock is read before the input: a leadership that has ended is lost, whatever comes now.
        self.lapse(terms, now, out);
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call: Call::Lock(call), answer, at } => {
                self.overhear(call, &answer, out);
                let answer = answer.narrow(|()| Some(line::Key::Lock), |record| Some(record.owner));
                self.lock(terms, now, Input::Reply { call, answer, at }, out);
            }
            Input::Reply { call: Call::Look, answer, .. } => self.looked(terms, now, answer, out),
            Input::Message(Message::Freed) => self.freed(terms, now, out),
            Input::Message(Message::Petition { term, number, by }) => self.petitioned(term, number, by, out),
            Input::Wake => {
                self.lock(terms, now, Input::Wake, out);
                self.wake(terms, now, out);
            }
        }
    }

    fn deadline(&self, terms: &FlagTerms) -> Option<Instant> {
        let own = match self.stage {
            Stage::Watching { turn, look } => {
                let turn = if self.may_lead(terms) { turn } else { Instant::MAX };
                turn.min(look.deadline(terms))
            }
            Stage::AtRest | Stage::Standing | Stage::Raised | Stage::Lowering { .. } | Stage::Closing => {
                Instant::MAX
            }
        };
        let again = self.petition.map_or(Instant::MAX, |petition| petition.again);
        let of_lock = self.mutex.deadline(&terms.mutex).unwrap_or(Instant::MAX);
        let at = own.min(again).min(of_lock);
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.serial(self.identity(), &mut self.petitions);
        self.mutex.relocate(map);
        match &mut self.stage {
            Stage::Watching { turn, look } => {
                map.deadline(turn);
                match look {
                    Look::Sent(at) => map.instant(at),
                    Look::Due(at) => map.deadline(at),
                }
            }
            Stage::AtRest
            | Stage::Standing
            | Stage::Raised
            | Stage::Lowering { resigned: _ }
            | Stage::Closing => {}
        }
        self.term.iter_mut().for_each(|term| map.revision(term));
        self.heard.iter_mut().for_each(|owner| owner.relocate(map));
        if let Some(Petition { term, again, left: _ }) = &mut self.petition {
            map.revision(term);
            map.deadline(again);
        }
    }
}

impl Look {
    fn deadline(self, terms: &FlagTerms) -> Instant {
        match self {
            Look::Sent(at) => at + terms.timeout(),
            Look::Due(at) => at,
        }
    }
}

impl FlagTerms {
    fn timeout(&self) -> Span {
        self.mutex.lease().timeout()
    }
}

/// What can be asked of a flag at any time.
impl Flag {
    /// The term of this process, if it leads at `now`: reads the clock that it is given, so a process that was paused past
    /// its leadership gets `None` at once.
    pub fn raised(&self, now: Instant) -> Option<FencingToken> {
        match self.until() {
            Some(until) if now < until => self.term.map(FencingToken::from),
            Some(_) | None => None,
        }
    }

    /// Until when this process may believe that it leads, if it does.
    pub fn until(&self) -> Option<Instant> {
        match self.stage {
            Stage::Raised if !self.has(FlagProtection::SelfExpiry) => Some(Instant::MAX),
            Stage::Raised => self.mutex.until(),
            Stage::Lowering { .. } if !self.has(FlagProtection::LowerFirst) => Some(Instant::MAX),
            Stage::AtRest
            | Stage::Watching { .. }
            | Stage::Standing
            | Stage::Lowering { .. }
            | Stage::Closing => None,
        }
    }

    /// The highest term that was seen, whoever's it was.
    pub fn term(&self) -> Option<FencingToken> {
        self.term.map(FencingToken::from)
    }

    /// Who leads, as far as this process has seen: itself only as long as [`Flag::raised`] says so.
    pub fn leader(&self, terms: &FlagTerms, now: Instant) -> Option<Leader> {
        if let Some(term) = self.raised(now) {
            return Some(Leader { process: terms.process.clone(), term });
        }
        self.leader.clone().zip(self.term()).map(|(process, term)| Leader { process, term })
    }

    /// Whether a protection is on. Always, but in a laboratory.
    #[cfg(feature = "ablation")]
    fn has(&self, protection: FlagProtection) -> bool {
        self.ablated != Some(protection)
    }

    /// Whether a protection is on. Always, but in a laboratory.
    #[cfg(not(feature = "ablation"))]
    const fn has(&self, _: FlagProtection) -> bool {
        true
    }

    fn identity(&self) -> Identity {
        self.mutex.name().identity
    }

    fn may_lead(&self, terms: &FlagTerms) -> bool {
        self.fit && !terms.config.standby
    }
}

impl Flag {
    fn lapse(&mut self, terms: &FlagTerms, now: Now, out: Out<'_>) {
        if self.mutex.until().is_some_and(|until| now.mono >= until) {
            self.lock(terms, now, Input::Wake, out);
        }
    }

    /// Hands the lock an input, does what it says, and goes on from there.
    fn lock(&mut self, terms: &FlagTerms, now: Now, input: Input<Mutex>, out: Out<'_>) {
        let before = self.stage;
        let mut effects = Effects::new();
        self.mutex.step(&terms.mutex, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { store, call, op } => {
                    let record = |owner| Record { owner, process: terms.process.clone() };
                    out.store_at(store, Call::Lock(call), op.map(|_| (), record));
                }
                Effect::Forget(call) => out.forget(Call::Lock(call)),
                Effect::Publish(Freed) => out.publish(Message::Freed),
                Effect::Event(event) => self.told(terms, now, event, out),
            }
        }
        match (before, self.stage) {
            // H1, L2
            (Stage::Raised | Stage::Lowering { .. }, Stage::Standing) => self.stand(terms, now, out),
            // L1, L3
            (Stage::Lowering { .. }, Stage::Watching { .. }) => self.look(now, out),
            (_, Stage::Closing) => self.settle(terms, out),
            (
                Stage::AtRest
                | Stage::Watching { .. }
                | Stage::Standing
                | Stage::Raised
                | Stage::Lowering { .. }
                | Stage::Closing,
                _,
            ) => {}
        }
    }

    /// What the lock tells.
    fn told(&mut self, terms: &FlagTerms, now: Now, event: mutex::Event, out: Out<'_>) {
        use mutex::Event as E;
        match (self.stage, event) {
            // C1
            (Stage::Standing, E::Acquired(term)) => {
                self.stage = Stage::Raised;
                out.event(Event::Raised(term));
                self.lead(terms, term, out);
            }
            // H1
            (Stage::Raised, E::Lost(loss)) => {
                self.stage = Stage::Standing;
                self.lower(Lowered::Lost(loss), out);
            }
            (Stage::Lowering { resigned }, E::Released(_)) => {
                let others_first = if resigned { terms.turn } else { Span::ZERO };
                self.stage = if self.may_lead(terms) && !resigned {
                    Stage::Standing
                } else {
                    Stage::Watching { turn: now.mono + others_first, look: Look::Due(now.mono) }
                };
            }
            (
                Stage::AtRest
                | Stage::Watching { .. }
                | Stage::Standing
                | Stage::Raised
                | Stage::Lowering { .. }
                | Stage::Closing,
                E::Acquired(_)
                | E::Contended
                | E::TimedOut
                | E::Cancelled
                | E::Extended(_)
                | E::Released(_)
                | E::Lost(_)
                | E::Rejected(_),
            ) => {}
        }
    }

    fn request(&mut self, terms: &FlagTerms, now: Now, request: Request, out: Out<'_>) {
        match (self.stage, request) {
            // S1, S2
            (Stage::AtRest, Request::Stand) if self.may_lead(terms) => self.stand(terms, now, out),
            (Stage::AtRest, Request::Stand) => self.watch(now, out),
            // S3
            (
                Stage::Watching { .. }
                | Stage::Standing
                | Stage::Raised
                | Stage::Lowering { .. }
                | Stage::Closing,
                Request::Stand,
            ) => out.event(Event::Rejected(Misuse::Standing)),
            // H2
            (Stage::Raised, Request::Resign) => {
                self.stage = Stage::Lowering { resigned: true };
                self.release(terms, now, Lowered::Resigned, out);
            }
            // N1
            (
                Stage::AtRest
                | Stage::Watching { .. }
                | Stage::Standing
                | Stage::Lowering { .. }
                | Stage::Closing,
                Request::Resign,
            ) => out.event(Event::Rejected(Misuse::NotRaised)),
            (_, Request::Fit(fit)) => self.judge(terms, now, fit, out),
            // P1, P5
            (_, Request::Petition) => self.petition(terms, now, out),
            (_, Request::Close) => self.close(terms, now, out),
        }
    }

    /// Says whether it is fit to lead.
    fn judge(&mut self, terms: &FlagTerms, now: Now, fit: bool, out: Out<'_>) {
        self.fit = fit;
        match (self.stage, fit) {
            // W6
            (Stage::Watching { turn, .. }, true) => {
                if now.mono >= turn && self.may_lead(terms) {
                    self.stand(terms, now, out);
                }
            }
            // C3
            (Stage::Standing, false) => {
                self.watch(now, out);
                self.lock(terms, now, Input::Request(mutex::Request::Cancel), out);
            }
            // H3
            (Stage::Raised, false) => {
                self.stage = Stage::Lowering { resigned: false };
                self.release(terms, now, Lowered::Unfit, out);
            }
            // N2
            (Stage::Watching { .. }, false)
            | (Stage::Standing | Stage::Raised, true)
            | (Stage::AtRest | Stage::Lowering { .. } | Stage::Closing, _) => {}
        }
    }

    fn close(&mut self, terms: &FlagTerms, now: Now, out: Out<'_>) {
        if self.petition.take().is_some() {
            out.event(Event::PetitionEnded(PetitionEnd::Dropped));
        }
        let before = core::mem::replace(&mut self.stage, Stage::Closing);
        match before {
            // Z1
            Stage::AtRest => self.rest(out),
            // Z2
            Stage::Watching { .. } => {
                out.forget(Call::Look);
                self.settle(terms, out);
            }
            // Z3
            Stage::Standing => self.lock(terms, now, Input::Request(mutex::Request::Cancel), out),
            // Z4
            Stage::Raised => self.release(terms, now, Lowered::Closing, out),
            // Z5
            Stage::Lowering { .. } | Stage::Closing => {}
        }
    }

    /// Z6: ends, once nothing of its lock is under way.
    fn settle(&mut self, terms: &FlagTerms, out: Out<'_>) {
        if self.mutex.deadline(&terms.mutex).is_none() {
            self.rest(out);
        }
    }

    fn rest(&mut self, out: Out<'_>) {
        (self.stage, self.leader, self.heard) = (Stage::AtRest, None, None);
        out.event(Event::Closed);
    }

    /// P3, P4, W4, W6: time has passed.
    fn wake(&mut self, terms: &FlagTerms, now: Now, out: Out<'_>) {
        if let Some(petition) = self.petition.filter(|petition| now.mono >= petition.again) {
            self.send_petition(terms, now, petition, out);
        }
        match self.stage {
            Stage::Watching { turn, .. } if now.mono >= turn && self.may_lead(terms) => {
                self.stand(terms, now, out);
            }
            Stage::Watching { look, .. } if now.mono >= look.deadline(terms) => self.look(now, out),
            Stage::AtRest
            | Stage::Watching { .. }
            | Stage::Standing
            | Stage::Raised
            | Stage::Lowering { .. }
            | Stage::Closing => {}
        }
    }

    fn freed(&mut self, terms: &FlagTerms, now: Now, out: Out<'_>) {
        self.lock(terms, now, Input::Message(Freed), out);
        // W5
        if let Stage::Watching { .. } = self.stage {
            self.look(now, out);
        }
    }

    /// Asks for the lock, however long it takes.
    fn stand(&mut self, terms: &FlagTerms, now: Now, out: Out<'_>) {
        if let Stage::Watching { .. } = core::mem::replace(&mut self.stage, Stage::Standing) {
            out.forget(Call::Look);
        }
        self.lock(terms, now, Input::Request(mutex::Request::Lock(Patience::Forever)), out);
    }

    fn watch(&mut self, now: Now, out: Out<'_>) {
        self.stage = Stage::Watching { turn: now.mono, look: Look::Due(now.mono) };
        self.look(now, out);
    }

    fn look(&mut self, now: Now, out: Out<'_>) {
        if let Stage::Watching { look, .. } = &mut self.stage {
            *look = Look::Sent(now.mono);
            out.store(Call::Look, Op::Get { key: () });
        }
    }

    fn looked(&mut self, terms: &FlagTerms, now: Now, answer: AnswerTo, out: Out<'_>) {
        let Stage::Watching { look, .. } = &mut self.stage else { return };
        match answer {
            Answer::Found(found) => {
                *look = Look::Due(terms.check.after(now));
                self.see(found, out);
            }
            // W4 repeats what gave no answer.
            Answer::Applied(_) | Answer::Refused(_) | Answer::Listed(_) | Answer::Unknown => {}
        }
    }

    /// C2: whoever refuses its claim leads.
    fn overhear(&mut self, call: mutex::Call, answer: &AnswerTo, out: Out<'_>) {
        if let (Stage::Standing, mutex::Call::Claim, Answer::Refused(Some(entry))) =
            (self.stage, call, answer)
            && entry.record.owner.identity != self.identity()
        {
            self.see(Some(entry.clone()), out);
        }
    }

    /// W1, W2, W3: what there is in the store, seen by one who does not lead.
    fn see(&mut self, found: Option<Entry<Record>>, out: Out<'_>) {
        let own = self.identity();
        let Some(Entry { revision, record }) = found.filter(|entry| entry.record.owner.identity != own)
        else {
            return self.see_nobody(out);
        };
        let is_old = self.term.is_some_and(|term| revision < term) && self.has(FlagProtection::TermOrder);
        let is_known = self.term == Some(revision) && self.leader.as_ref() == Some(&record.process);
        if is_old || is_known {
            return;
        }
        self.end_term(revision, out);
        self.leader = Some(record.process.clone());
        out.event(Event::Leader(Some(Leader { process: record.process, term: revision.into() })));
    }

    fn see_nobody(&mut self, out: Out<'_>) {
        if self.leader.take().is_some() {
            self.grant(out);
            out.event(Event::Leader(None));
        }
    }

    /// Another term has begun.
    fn end_term(&mut self, next: Revision, out: Out<'_>) {
        if self.term.replace(next) != Some(next) {
            self.grant(out);
        }
    }

    /// P2: the leader that was asked to resign leads no more.
    fn grant(&mut self, out: Out<'_>) {
        if self.petition.take().is_some() {
            out.event(Event::PetitionEnded(PetitionEnd::Granted));
        }
    }

    /// Its own term begins.
    fn lead(&mut self, terms: &FlagTerms, term: FencingToken, out: Out<'_>) {
        self.end_term(Revision(term.0), out);
        self.leader = None;
        out.event(Event::Leader(Some(Leader { process: terms.process.clone(), term })));
    }

    /// Its own term is over.
    fn lower(&mut self, why: Lowered, out: Out<'_>) {
        self.heard = None;
        out.event(Event::Lowered(why));
        out.event(Event::Leader(None));
    }

    fn release(&mut self, terms: &FlagTerms, now: Now, why: Lowered, out: Out<'_>) {
        self.lower(why, out);
        self.lock(terms, now, Input::Request(mutex::Request::Unlock), out);
    }

    fn petition(&mut self, terms: &FlagTerms, now: Now, out: Out<'_>) {
        match (self.petition, self.leader.is_some(), self.term) {
            (None, true, Some(term)) => {
                self.petitions = self.petitions.wrapping_add(1);
                self.send_petition(terms, now, Petition { term, again: now.mono, left: PETITIONS }, out);
            }
            (Some(_), ..) => out.event(Event::Rejected(Misuse::Petitioning)),
            (None, ..) => out.event(Event::Rejected(Misuse::NoLeader)),
        }
    }

    fn send_petition(&mut self, terms: &FlagTerms, now: Now, petition: Petition, out: Out<'_>) {
        let Some(left) = petition.left.checked_sub(1) else {
            self.petition = None;
            return out.event(Event::PetitionEnded(PetitionEnd::Unanswered));
        };
        self.petition = Some(Petition { again: terms.check.after(now), left, ..petition });
        let number = Owner { identity: self.identity(), attempt: self.petitions };
        out.publish(Message::Petition { term: petition.term.into(), number, by: terms.process.clone() });
    }

    /// H4: another one asks it to resign.
    fn petitioned(&mut self, term: FencingToken, number: Owner, by: Process, out: Out<'_>) {
        let is_meant = matches!(self.stage, Stage::Raised) && self.term() == Some(term);
        if is_meant && self.heard != Some(number) {
            self.heard = Some(number);
            out.event(Event::Petitioned { by });
        }
    }
}
