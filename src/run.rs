//! One run of something under a lock: claimed in its record before it begins, and its outcome written by whoever
//! claimed it, or by nobody. Recurring jobs and jobs that run once are made of such runs.
//!
//! A lock alone does not keep a piece of work from being done twice: it says that nobody else is at it *now*. The
//! record says what was done, and what was begun: it is read under the lock, the machine that embeds the run
//! decides from it, and the decision is claimed by compare-and-set on the revision that was read. Only then does
//! the callback begin. The outcome is written by compare-and-set on the claim's own revision, so that a run that
//! has lost its lock, and was overtaken, writes nothing.
//!
//! # Transitions
//!
//! | | stage | input | guard | next stage | effects |
//! |---|---|---|---|---|---|
//! | E1 | idle | enter | | entering | ask for the lock, once |
//! | E2 | entering | the lock is held | | reading | get the record |
//! | E3 | entering | the lock is not to be had | | idle | event ended (contended) |
//! | E4 | entering, reading | leave | | leaving | wait for the lock no longer, or unlock |
//! | G1 | reading | found | | deciding | event found |
//! | G2 | reading | time-out | | reading | get again |
//! | G3 | reading, deciding, claiming | the lock is lost | | idle | event ended (lost), forget the call |
//! | D1 | deciding | claim | | claiming | put the claim, if the record is as it was read |
//! | D2 | deciding | leave | | leaving | unlock |
//! | D3 | deciding | record | there is a record | recording | put this, if the record is as it was read |
//! | P1 | claiming | applied, or refused by this very claim | | running | event began |
//! | P2 | claiming | refused by anything else | | leaving | unlock |
//! | P3 | claiming | time-out | | claiming | the same claim again |
//! | X1 | running | the lock is lost | | running | event interrupted |
//! | X2 | running | finish | | stamping | get the record |
//! | O1 | stamping | found its own claim | | settling | event settle |
//! | O2 | stamping | found otherwise | | leaving, or idle | unlock |
//! | O3 | stamping | time-out | | stamping | get again |
//! | O4 | settling | record | | recording | put the outcome, if the claim still stands |
//! | O5 | recording | applied, or refused by this very outcome | | leaving, or idle | unlock |
//! | O6 | recording | refused by anything else | | leaving, or idle | unlock |
//! | O7 | recording | time-out | | recording | the same outcome again |
//! | O8 | recording a run that ended under the lock | the lock is lost | | idle | event ended (unknown), forget the call |
//! | O9 | stamping, recording | a time to live has passed | | leaving, or idle | forget the call, unlock |
//! | L1 | leaving | the lock is released, lost, or was never held | | idle | event ended |
//!
//! "Leaving, or idle": leaving, if the lock is still held. Requests that make no sense at a stage do nothing; answers
//! of a shape that the call cannot have are treated as unknown, and an unknown answer is no answer yet.
//!
//! # When it crashes
//!
//! | before | the record says | the next one to hold the lock |
//! |---|---|---|
//! | the claim is applied | what it said before | decides as if nothing had been |
//! | the callback begins | claimed, and never ended | cannot tell this from the next line: its policy decides |
//! | the callback ends | claimed, and never ended | its policy decides |
//! | the outcome is applied | claimed, and never ended | cannot tell this from the last line: its policy decides |
//! | the lock is released | the outcome | waits for the lock to expire |
//!
//! So a policy that never runs again what was claimed runs it at most once; one that does runs it at least once.

use core::fmt::Debug;
use core::hash::Hash;

use crate::line::{self, Owner};
use crate::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use crate::mutex::{self, Freed, Mutex, MutexTerms, Patience};
use crate::store::{Answer, Contract, Entry, Expect, FencingToken, Op, Revision};
use crate::time::{Instant, Now, Span, StoreTime};

/// One protection of a job, which a laboratory can switch off to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum JobProtection {
    /// What was claimed and never ended counts as done, or as one attempt.
    OccurrenceClaim,
    /// An outcome is written on the revision of its own claim only.
    FencedMetadata,
    /// A callback is told that the lock is lost, and a run that lost it is no success.
    InterruptOnLoss,
    /// What the record says decides, not the timer that led to it.
    Generation,
    /// A callback begins when its claim is known to be in the store.
    ClaimBeforeRun,
}

/// What a record of work must be able to do.
pub trait Work: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// See [`Machine::relocate`].
    fn relocate(&mut self, map: &mut impl Relocate);
}

/// The keys of a run's namespace, in the order in which a store lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Key {
    /// The lock under which it runs.
    Lock(line::Key),
    /// What was done, and what was begun.
    Work,
}

/// What is kept under these keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Record<W> {
    /// Who holds the lock.
    Lock(Owner),
    /// What was done, and what was begun.
    Work(W),
}

impl<W> Record<W> {
    fn lock(self) -> Option<Owner> {
        match self {
            Record::Lock(owner) => Some(owner),
            Record::Work(_) => None,
        }
    }

    /// The record of the work, if that is what it is.
    pub fn work(self) -> Option<W> {
        match self {
            Record::Lock(_) => None,
            Record::Work(work) => Some(work),
        }
    }
}

/// The outstanding requests of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Of its lock.
    Lock(mutex::Call),
    /// Read the record.
    Read,
    /// Claim the work.
    Claim,
    /// See whether the claim still stands, and what time it is.
    Stamp,
    /// Write the outcome.
    Record,
}

/// What the embedding machine asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request<W> {
    /// Try to take the lock, once, and read the record.
    Enter,
    /// Claim the work with this record, and begin. It answers [`Event::Found`] and must differ from what was found.
    Claim(W),
    /// There is nothing to do, or no wish to. Once a claim was made, it is too late for this.
    Leave,
    /// The callback has ended.
    Finish,
    /// The outcome, and how long it is kept. It answers [`Event::Settle`]; or [`Event::Found`], if what was found has
    /// come to an end without a callback.
    Record {
        /// What to write.
        work: W,
        /// How long it lives, on the store's clock; for ever, if `None`.
        ttl: Option<Span>,
    },
}

/// What the embedding machine is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<W> {
    /// The lock is held and this is the record: claim, or leave.
    Found {
        /// The record.
        entry: Option<Entry<W>>,
        /// The store's time when it was read.
        at: StoreTime,
    },
    /// The work is claimed; the callback begins.
    Began {
        /// The claim.
        work: W,
        /// The token of the lock.
        token: FencingToken,
    },
    /// The lock is lost while the callback runs. It should end soon.
    Interrupted,
    /// The callback has ended and its claim still stands: record the outcome.
    Settle {
        /// The claim.
        work: W,
        /// The store's time, not before the callback's end.
        at: StoreTime,
        /// Whether the callback has ended under the lock. If not, it was no success.
        held: bool,
    },
    /// It is idle again.
    Ended(End),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Another one holds the lock, or nobody knows who.
    Contended,
    /// It was left before it claimed anything.
    Left,
    /// The record changed before the claim arrived.
    Refused,
    /// The lock was lost before the callback began. The claim may have been applied all the same.
    Lost,
    /// The callback has run, or needs to run no more.
    Ran(Noted),
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Noted {
    /// It is in the store.
    Recorded,
    /// The record is another one's by now, so it was dropped.
    Superseded,
    /// The store gave no answer in time: it may be there or not.
    Unknown,
}

/// What never changes while a run runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How its lock is kept. It is tried once at a time, so fairness plays no part.
    pub mutex: MutexTerms,
    /// A protection that is off. Laboratory only.
    #[cfg(feature = "ablation")]
    pub ablated: Option<JobProtection>,
}

impl Terms {
    /// Whether a protection is on. Always, but in a laboratory.
    #[cfg(feature = "ablation")]
    pub fn has(&self, protection: JobProtection) -> bool {
        self.ablated != Some(protection)
    }

    /// Whether a protection is on. Always, but in a laboratory.
    #[cfg(not(feature = "ablation"))]
    pub const fn has(&self, _: JobProtection) -> bool {
        true
    }

    fn timeout(&self) -> Span {
        self.mutex.lease().timeout()
    }
}

/// A run. One value serves one run after the other; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run<W> {
    mutex: Mutex,
    stage: Stage<W>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<W> {
    Idle,
    Entering,
    Reading { sent: Instant },
    Deciding { expect: Expect },
    Claiming { expect: Expect, work: W, sent: Instant },
    Running { tenure: Tenure },
    Stamping { tenure: Tenure, sent: Instant, give_up: Instant },
    Settling { tenure: Tenure, give_up: Instant },
    Recording { tenure: Tenure, outcome: W, ttl: Option<Span>, sent: Instant, give_up: Instant },
    Leaving { end: End },
}

/// A claim, and whether the lock under which it was made is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tenure {
    claim: Revision,
    held: bool,
}

type Out<'a, W> = &'a mut Effects<Run<W>>;
type AnswerTo<W> = Answer<Key, Record<W>>;

impl<W: Work> Machine for Run<W> {
    type Config = Terms;
    type Store = Contract<Key, Record<W>>;
    type Request = Request<W>;
    type Event = Event<W>;
    type Message = Freed;
    type Call = Call;

    fn new(terms: &Terms, identity: Identity) -> Run<W> {
        Run { mutex: Mutex::new(&terms.mutex, identity), stage: Stage::Idle }
    }

    fn step(&mut self, terms: &Terms, now: Now, input: Input<Run<W>>, out: Out<'_, W>) {
        // The clock is read before the input: a lease that has ended is lost, whatever comes now.
        self.lapse(terms, now, out);
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call, answer, at } => self.reply(terms, now, call, answer, at, out),
            Input::Message(Freed) => self.lock(terms, now, Input::Message(Freed), out),
            Input::Wake => {
                self.lock(terms, now, Input::Wake, out);
                self.wake(terms, now, out);
            }
        }
    }

    fn deadline(&self, terms: &Terms) -> Option<Instant> {
        let own = match &self.stage {
            Stage::Idle
            | Stage::Entering
            | Stage::Deciding { .. }
            | Stage::Running { .. }
            | Stage::Settling { .. }
            | Stage::Leaving { .. } => Instant::MAX,
            Stage::Reading { sent } | Stage::Claiming { sent, .. } => *sent + terms.timeout(),
            Stage::Stamping { sent, give_up, .. } | Stage::Recording { sent, give_up, .. } => {
                (*sent + terms.timeout()).min(*give_up)
            }
        };
        let at = own.min(self.mutex.deadline(&terms.mutex).unwrap_or(Instant::MAX));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        self.mutex.relocate(map);
        self.stage.relocate(map);
    }
}

impl<W: Work> Stage<W> {
    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Stage::Idle | Stage::Entering | Stage::Leaving { .. } => {}
            Stage::Reading { sent } => map.instant(sent),
            Stage::Deciding { expect } => expect.relocate(map),
            Stage::Claiming { expect, work, sent } => {
                expect.relocate(map);
                work.relocate(map);
                map.instant(sent);
            }
            Stage::Running { tenure } => map.revision(&mut tenure.claim),
            Stage::Stamping { tenure, sent, give_up } => {
                map.revision(&mut tenure.claim);
                map.instant(sent);
                map.deadline(give_up);
            }
            Stage::Settling { tenure, give_up } => {
                map.revision(&mut tenure.claim);
                map.deadline(give_up);
            }
            Stage::Recording { tenure, outcome, ttl: _, sent, give_up } => {
                map.revision(&mut tenure.claim);
                outcome.relocate(map);
                map.instant(sent);
                map.deadline(give_up);
            }
        }
    }
}

impl<W: Work> Run<W> {
    /// An idle run whose attempts go on from this number: for a machine that has several runs of one identity.
    pub(crate) fn resumed(identity: Identity, attempt: u32) -> Run<W> {
        Run { mutex: Mutex::resumed(identity, attempt), stage: Stage::Idle }
    }

    /// The name of its latest attempt: what a claim of this run bears.
    pub fn name(&self) -> Owner {
        self.mutex.name()
    }

    /// Whether it is between two runs. Its lock may still have a withdrawn request to follow up.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Whether its callback runs, as far as it knows.
    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// Whether the lock was held without a break since the claim, as far as it knows. False, if nothing is claimed.
    pub fn is_tenured(&self) -> bool {
        match &self.stage {
            Stage::Running { tenure }
            | Stage::Stamping { tenure, .. }
            | Stage::Settling { tenure, .. }
            | Stage::Recording { tenure, .. } => tenure.held,
            Stage::Idle
            | Stage::Entering
            | Stage::Reading { .. }
            | Stage::Deciding { .. }
            | Stage::Claiming { .. }
            | Stage::Leaving { .. } => false,
        }
    }

    /// Until when its lock may be believed held, if it is.
    pub fn until(&self) -> Option<Instant> {
        self.mutex.until()
    }

    fn lapse(&mut self, terms: &Terms, now: Now, out: Out<'_, W>) {
        if self.mutex.until().is_some_and(|until| now.mono >= until) {
            self.lock(terms, now, Input::Wake, out);
        }
    }

    /// Hands the lock an input.
    fn lock(&mut self, terms: &Terms, now: Now, input: Input<Mutex>, out: Out<'_, W>) {
        let mut effects = Effects::new();
        self.mutex.step(&terms.mutex, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { store, call, op } => {
                    out.store_at(store, Call::Lock(call), op.map(Key::Lock, Record::Lock));
                }
                Effect::Forget(call) => out.forget(Call::Lock(call)),
                Effect::Publish(Freed) => out.publish(Freed),
                Effect::Event(event) => self.told(terms, now, event, out),
            }
        }
        // E3: one attempt is one attempt, whatever has come of it.
        if matches!(self.stage, Stage::Entering) && self.mutex.is_pausing() {
            self.lock(terms, now, Input::Request(mutex::Request::Cancel), out);
        }
    }

    /// What the lock tells.
    fn told(&mut self, terms: &Terms, now: Now, event: mutex::Event, out: Out<'_, W>) {
        use mutex::Event as E;
        match (&mut self.stage, event) {
            // E2
            (Stage::Entering, E::Acquired(_)) => self.read(now, out),
            // E3
            (
                Stage::Entering,
                E::Contended | E::TimedOut | E::Cancelled | E::Released(_) | E::Lost(_) | E::Rejected(_),
            ) => self.end(End::Contended, out),
            // G3
            (Stage::Reading { .. } | Stage::Deciding { .. } | Stage::Claiming { .. }, E::Lost(_)) => {
                out.forget(Call::Read);
                out.forget(Call::Claim);
                self.end(End::Lost, out);
            }
            // X1
            (Stage::Running { tenure }, E::Lost(_)) => {
                if terms.has(JobProtection::InterruptOnLoss) {
                    tenure.held = false;
                    out.event(Event::Interrupted);
                }
            }
            // O8
            (Stage::Recording { tenure: Tenure { held: true, .. }, .. }, E::Lost(_)) => {
                out.forget(Call::Record);
                self.end(End::Ran(Noted::Unknown), out);
            }
            (
                Stage::Stamping { tenure, .. }
                | Stage::Settling { tenure, .. }
                | Stage::Recording { tenure, .. },
                E::Lost(_),
            ) => tenure.held &= !terms.has(JobProtection::InterruptOnLoss),
            // L1
            (
                Stage::Leaving { end },
                E::Contended | E::TimedOut | E::Cancelled | E::Released(_) | E::Lost(_) | E::Rejected(_),
            ) => {
                let end = *end;
                self.end(end, out);
            }
            (Stage::Idle, _)
            | (Stage::Entering | Stage::Leaving { .. }, E::Extended(_))
            | (Stage::Leaving { .. }, E::Acquired(_))
            | (
                Stage::Reading { .. }
                | Stage::Deciding { .. }
                | Stage::Claiming { .. }
                | Stage::Running { .. }
                | Stage::Stamping { .. }
                | Stage::Settling { .. }
                | Stage::Recording { .. },
                E::Acquired(_)
                | E::Contended
                | E::TimedOut
                | E::Cancelled
                | E::Extended(_)
                | E::Released(_)
                | E::Rejected(_),
            ) => {}
        }
    }

    fn request(&mut self, terms: &Terms, now: Now, request: Request<W>, out: Out<'_, W>) {
        match (&self.stage, request) {
            // E1
            (Stage::Idle, Request::Enter) => {
                self.stage = Stage::Entering;
                self.lock(terms, now, Input::Request(mutex::Request::Lock(Patience::Once)), out);
            }
            // E4
            (Stage::Entering, Request::Leave) => {
                self.stage = Stage::Leaving { end: End::Left };
                self.lock(terms, now, Input::Request(mutex::Request::Cancel), out);
            }
            // E4, D2
            (Stage::Reading { .. } | Stage::Deciding { .. }, Request::Leave) => {
                out.forget(Call::Read);
                self.leave(terms, now, End::Left, out);
            }
            // D1
            (Stage::Deciding { expect }, Request::Claim(work)) => {
                let expect = *expect;
                self.claim(terms, now, expect, work, out);
            }
            // X2
            (Stage::Running { tenure }, Request::Finish) => {
                let (tenure, sent, give_up) = (*tenure, now.mono, now.mono + terms.mutex.entry_ttl());
                self.stage = Stage::Stamping { tenure, sent, give_up };
                out.store(Call::Stamp, Op::Get { key: Key::Work });
            }
            // O4
            (Stage::Settling { tenure, give_up }, Request::Record { work: outcome, ttl }) => {
                let (tenure, sent, give_up) = (*tenure, now.mono, *give_up);
                self.stage = Stage::Recording { tenure, outcome, ttl, sent, give_up };
                self.send_outcome(terms, out);
            }
            // D3
            (Stage::Deciding { expect: Expect::Revision(read) }, Request::Record { work: outcome, ttl }) => {
                let (tenure, sent) = (Tenure { claim: *read, held: true }, now.mono);
                let give_up = now.mono + terms.mutex.entry_ttl();
                self.stage = Stage::Recording { tenure, outcome, ttl, sent, give_up };
                self.send_outcome(terms, out);
            }
            (Stage::Deciding { expect: Expect::Absent }, Request::Record { .. }) => {}
            (Stage::Idle, Request::Claim(_) | Request::Leave | Request::Finish | Request::Record { .. })
            | (
                Stage::Entering | Stage::Reading { .. },
                Request::Enter | Request::Claim(_) | Request::Finish | Request::Record { .. },
            )
            | (Stage::Deciding { .. }, Request::Enter | Request::Finish)
            | (
                Stage::Running { .. },
                Request::Enter | Request::Claim(_) | Request::Leave | Request::Record { .. },
            )
            | (
                Stage::Settling { .. },
                Request::Enter | Request::Claim(_) | Request::Leave | Request::Finish,
            )
            | (
                Stage::Claiming { .. }
                | Stage::Stamping { .. }
                | Stage::Recording { .. }
                | Stage::Leaving { .. },
                Request::Enter
                | Request::Claim(_)
                | Request::Leave
                | Request::Finish
                | Request::Record { .. },
            ) => {}
        }
    }

    /// G2, P3, O3, O7, O9: time has passed.
    fn wake(&mut self, terms: &Terms, now: Now, out: Out<'_, W>) {
        let overdue = |sent: Instant| now.mono >= sent + terms.timeout();
        match &mut self.stage {
            // O9
            Stage::Stamping { give_up, .. } | Stage::Recording { give_up, .. } if now.mono >= *give_up => {
                out.forget(Call::Stamp);
                out.forget(Call::Record);
                self.leave(terms, now, End::Ran(Noted::Unknown), out);
            }
            // G2
            Stage::Reading { sent } if overdue(*sent) => self.read(now, out),
            // P3
            Stage::Claiming { sent, .. } if overdue(*sent) => {
                *sent = now.mono;
                self.send_claim(out);
            }
            // O3
            Stage::Stamping { sent, .. } if overdue(*sent) => {
                *sent = now.mono;
                out.store(Call::Stamp, Op::Get { key: Key::Work });
            }
            // O7
            Stage::Recording { sent, .. } if overdue(*sent) => {
                *sent = now.mono;
                self.send_outcome(terms, out);
            }
            Stage::Idle
            | Stage::Entering
            | Stage::Reading { .. }
            | Stage::Deciding { .. }
            | Stage::Claiming { .. }
            | Stage::Running { .. }
            | Stage::Stamping { .. }
            | Stage::Settling { .. }
            | Stage::Recording { .. }
            | Stage::Leaving { .. } => {}
        }
    }

    fn reply(
        &mut self,
        terms: &Terms,
        now: Now,
        call: Call,
        answer: AnswerTo<W>,
        at: StoreTime,
        out: Out<'_, W>,
    ) {
        match call {
            Call::Lock(call) => {
                let answer = answer.narrow(
                    |key| match key {
                        Key::Lock(key) => Some(key),
                        Key::Work => None,
                    },
                    Record::lock,
                );
                self.lock(terms, now, Input::Reply { call, answer, at }, out);
            }
            Call::Read => self.found(answer, at, out),
            Call::Claim => self.claimed(terms, now, answer, out),
            Call::Stamp => self.stamped(terms, now, answer, at, out),
            Call::Record => self.recorded(terms, now, answer, out),
        }
    }

    fn read(&mut self, now: Now, out: Out<'_, W>) {
        self.stage = Stage::Reading { sent: now.mono };
        out.store(Call::Read, Op::Get { key: Key::Work });
    }

    fn found(&mut self, answer: AnswerTo<W>, at: StoreTime, out: Out<'_, W>) {
        let Stage::Reading { .. } = self.stage else { return };
        // G1; G2 repeats what gave no answer.
        let Some(entry) = read_work(answer) else { return };
        let expect = entry.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        self.stage = Stage::Deciding { expect };
        out.event(Event::Found { entry, at });
    }

    fn claim(&mut self, terms: &Terms, now: Now, expect: Expect, work: W, out: Out<'_, W>) {
        self.stage = Stage::Claiming { expect, work, sent: now.mono };
        self.send_claim(out);
        if !terms.has(JobProtection::ClaimBeforeRun) {
            self.begin(now, Revision::ANY, out);
        }
    }

    fn send_claim(&self, out: Out<'_, W>) {
        if let Stage::Claiming { expect, work, .. } = &self.stage {
            let (key, record) = (Key::Work, Record::Work(work.clone()));
            out.store(Call::Claim, Op::PutIf { key, expect: *expect, record, ttl: None });
        }
    }

    fn claimed(&mut self, terms: &Terms, now: Now, answer: AnswerTo<W>, out: Out<'_, W>) {
        match &mut self.stage {
            Stage::Claiming { work, .. } => match read_write(answer, work) {
                // P1
                Written::Applied(revision) => self.begin(now, revision, out),
                // P2
                Written::Refused => self.leave(terms, now, End::Refused, out),
                // P3 repeats it.
                Written::Unknown => {}
            },
            // Only where a callback does not wait for its claim.
            Stage::Running { tenure } if tenure.claim == Revision::ANY => {
                if let Answer::Applied(revision) = answer {
                    tenure.claim = revision;
                }
            }
            Stage::Idle
            | Stage::Entering
            | Stage::Reading { .. }
            | Stage::Deciding { .. }
            | Stage::Running { .. }
            | Stage::Stamping { .. }
            | Stage::Settling { .. }
            | Stage::Recording { .. }
            | Stage::Leaving { .. } => {}
        }
    }

    fn begin(&mut self, now: Now, claim: Revision, out: Out<'_, W>) {
        // What has lapsed has lapsed before the answer came: without the lock nothing begins.
        let Some(token) = self.mutex.held(now.mono) else { return };
        let running = Stage::Running { tenure: Tenure { claim, held: true } };
        if let Stage::Claiming { work, .. } = core::mem::replace(&mut self.stage, running) {
            out.event(Event::Began { work, token });
        }
    }

    fn stamped(&mut self, terms: &Terms, now: Now, answer: AnswerTo<W>, at: StoreTime, out: Out<'_, W>) {
        let Stage::Stamping { tenure, give_up, .. } = self.stage else { return };
        // O3 repeats what gave no answer.
        let Some(found) = read_work(answer) else { return };
        let fenced = terms.has(JobProtection::FencedMetadata);
        match found.filter(|entry| entry.revision == tenure.claim || !fenced) {
            // O1
            Some(entry) => {
                self.stage = Stage::Settling { tenure, give_up };
                out.event(Event::Settle { work: entry.record, at, held: tenure.held });
            }
            // O2
            None => self.leave(terms, now, End::Ran(Noted::Superseded), out),
        }
    }

    fn send_outcome(&self, terms: &Terms, out: Out<'_, W>) {
        if let Stage::Recording { tenure, outcome, ttl, .. } = &self.stage {
            let fenced = terms.has(JobProtection::FencedMetadata);
            let expect = Expect::Revision(if fenced { tenure.claim } else { Revision::ANY });
            let (key, record) = (Key::Work, Record::Work(outcome.clone()));
            out.store(Call::Record, Op::PutIf { key, expect, record, ttl: *ttl });
        }
    }

    fn recorded(&mut self, terms: &Terms, now: Now, answer: AnswerTo<W>, out: Out<'_, W>) {
        let Stage::Recording { outcome, .. } = &self.stage else { return };
        match read_write(answer, outcome) {
            // O5
            Written::Applied(_) => self.leave(terms, now, End::Ran(Noted::Recorded), out),
            // O6
            Written::Refused => self.leave(terms, now, End::Ran(Noted::Superseded), out),
            // O7 repeats it.
            Written::Unknown => {}
        }
    }

    /// Releases the lock, if it is held, and ends.
    fn leave(&mut self, terms: &Terms, now: Now, end: End, out: Out<'_, W>) {
        self.stage = Stage::Leaving { end };
        self.lock(terms, now, Input::Request(mutex::Request::Unlock), out);
    }

    fn end(&mut self, end: End, out: Out<'_, W>) {
        self.stage = Stage::Idle;
        out.event(Event::Ended(end));
    }
}

/// What an answer to a write means.
enum Written {
    Applied(Revision),
    Refused,
    Unknown,
}

/// What an answer to a write of `work` means: a refusal that shows the very same record is its own echo.
fn read_write<W: Work>(answer: AnswerTo<W>, work: &W) -> Written {
    match answer {
        Answer::Applied(revision) => Written::Applied(revision),
        Answer::Refused(Some(Entry { record: Record::Work(found), revision })) if found == *work => {
            Written::Applied(revision)
        }
        Answer::Refused(None | Some(Entry { record: Record::Work(_), .. })) => Written::Refused,
        Answer::Refused(Some(Entry { record: Record::Lock(_), .. }))
        | Answer::Found(_)
        | Answer::Listed(_)
        | Answer::Unknown => Written::Unknown,
    }
}

/// What a read has found; `None`, if it gave no answer.
pub(crate) fn read_work<W: Work>(answer: AnswerTo<W>) -> Option<Option<Entry<W>>> {
    match answer {
        Answer::Found(None) => Some(None),
        Answer::Found(Some(Entry { revision, record })) => {
            record.work().map(|record| Some(Entry { revision, record }))
        }
        Answer::Applied(_) | Answer::Refused(_) | Answer::Listed(_) | Answer::Unknown => None,
    }
}
