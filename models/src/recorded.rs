//! Histories of real processes, as machines that say once more what was said.
//!
//! Somebody who watches real processes knows what their callers asked and were told, what stood still, died and was cut
//! off, and when. Written down as a [`Trace`](crate::trace::Trace) of a [`Recorded`] machine, such a history is applied
//! to a [`World`](crate::world::World) like any other run, and the same monitors judge it. The machine decides nothing:
//! its configuration is the [`History`], and at each deadline it tells the next line.
//!
//! | state | input | next line | what happens |
//! |---|---|---|---|
//! | any | wake | a [`Said`] | R1: its caller is told so; belief is what the line says |
//! | any | wake | [`Said::Claimed`] | R2: its entry is put into the store, for ever: it was still there in the end |
//! | any | wake | none | R3: nothing |
//! | any | request, reply, message | – | R4: nothing: what real callers asked has been answered already |

use std::marker::PhantomData;

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::store::{Contract, Expect, FencingToken, Op};
use fencepost::time::{Instant, Now, Span, StoreTime};
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::property::Property;
use crate::subject::{Ask, JobId, Occurrence, Play, Run, Subject, Told};
use crate::world::{CLOCK_STEP, parts};

/// What was recorded: the configuration of a [`Recorded`] machine.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// How long an entry lives that nobody renews.
    pub ttl: Span,
    /// How often a job may be begun that is to run once.
    pub attempts: u32,
    /// Whether the guarded resource refused old tokens. If not, each write that was recorded was accepted.
    pub fenced: bool,
    /// What each incarnation of each instance was told, in the order of time.
    pub lives: Vec<Vec<Vec<Line>>>,
}

/// Something that was told at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, since the run began.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// What a caller was told, or found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
pub enum Said {
    /// The store has its entry, and nobody will ever see it go.
    Claimed,
    /// It holds the lock, and its handle says so until then.
    Granted {
        /// The fencing token.
        token: u64,
        /// Until when, if nothing renews it.
        until: Time,
    },
    /// Its handle was asked, and says that it holds until then.
    Believes {
        /// Until when, if nothing renews it.
        until: Time,
    },
    /// It did not get the lock.
    Denied,
    /// Its release has come to an end.
    Released,
    /// The lock is lost.
    Lost,
    /// Its process ended by itself, which it should not.
    Panicked,
    /// Its callback begins.
    Began {
        /// Of which job.
        job: u32,
        /// Which attempt, counted from one.
        attempt: u32,
        /// The fencing token.
        token: u64,
        /// Until when it believes that it holds the job's lock, if nothing renews it.
        until: Time,
    },
    /// Its callback has come to its end.
    Ended,
    /// A job was scheduled as it had asked.
    Accepted {
        /// Which.
        job: u32,
    },
    /// A job was not scheduled.
    Declined {
        /// Which.
        job: u32,
    },
}

/// What was recorded of processes that lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Locks {}

/// What was recorded of processes that run jobs once. Each job is scheduled once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Jobs {}

/// What the callers of a history did.
pub trait Kind: Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static {
    /// Their part.
    const PLAY: Play;

    /// What they are held to. Real processes are scheduled by an operating system that promises nothing, so nothing is
    /// asked for that counts how long a healthy process takes.
    const PROMISES: &'static [Property];

    /// Whether they ask this.
    fn asks(ask: Ask) -> bool;
}

impl Kind for Locks {
    const PLAY: Play = Play::Lock;
    const PROMISES: &'static [Property] = &[
        Property::BelievedExclusion,
        Property::FencedExclusion,
        Property::LossNoticed,
        Property::NoOrphan,
        Property::Progress,
        Property::NoPanic,
    ];

    fn asks(ask: Ask) -> bool {
        matches!(ask, Ask::Lock | Ask::LockFor(_) | Ask::Cancel | Ask::Unlock)
    }
}

impl Kind for Jobs {
    const PLAY: Play = Play::Once;
    const PROMISES: &'static [Property] = &[
        Property::BelievedExclusion,
        Property::FencedExclusion,
        Property::Progress,
        Property::NoPanic,
        Property::OncePerOccurrence,
        Property::NoJobLost,
        Property::NotEarly,
    ];

    fn asks(ask: Ask) -> bool {
        matches!(ask, Ask::Start | Ask::Schedule(..) | Ask::Finish(_))
    }
}

/// The machine that says again what was said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recorded<K> {
    identity: Identity,
    /// How many lines it has told.
    told: u32,
    belief: Option<Instant>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Recorded<K> {
    fn line(&self, history: &History) -> Option<Line> {
        let (id, incarnation) = parts(self.identity)?;
        history.lives.get(id.index())?.get(incarnation as usize)?.get(self.told as usize).copied()
    }

    /// A moment of the run on the clock of this instance.
    fn on_own_clock(&self, at: Time) -> Instant {
        let origin = parts(self.identity).map_or(0, |(id, _)| u64::from(id.0 + 1) * CLOCK_STEP);
        Instant::from_nanos(origin.saturating_add(at.as_nanos()))
    }

    fn tell(&mut self, said: Said, effects: &mut Effects<Self>) {
        match said {
            Said::Granted { until, .. } | Said::Believes { until } | Said::Began { until, .. } => {
                self.belief = Some(self.on_own_clock(until));
            }
            Said::Denied | Said::Released | Said::Lost | Said::Panicked | Said::Ended => self.belief = None,
            Said::Accepted { .. } | Said::Declined { .. } => {}
            Said::Claimed => {
                let op = Op::PutIf { key: (), expect: Expect::Absent, record: self.identity, ttl: None };
                return effects.store(Call::Claim, op);
            }
        }
        effects.event(said);
    }
}

/// Its only request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Puts the entry that was still there in the end.
    Claim,
}

impl<K: Kind> Machine for Recorded<K> {
    type Config = History;
    type Store = Contract<(), Identity>;
    type Request = Ask;
    type Event = Said;
    type Message = ();
    type Call = Call;

    fn new(_: &History, identity: Identity) -> Self {
        Recorded { identity, told: 0, belief: None, kind: PhantomData }
    }

    fn step(&mut self, history: &History, _: Now, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Wake => {
                // R1, R2, R3.
                if let Some(line) = self.line(history) {
                    self.told += 1;
                    self.tell(line.said, effects);
                }
            }
            // R4. Who unlocks, or ends a run, believes no more: it said so before it asked the store.
            Input::Request(Ask::Unlock | Ask::Finish(_)) => self.belief = None,
            Input::Request(_) | Input::Reply { .. } | Input::Message(()) => {}
        }
    }

    fn deadline(&self, history: &History) -> Option<Instant> {
        self.line(history).map(|line| self.on_own_clock(line.at))
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.identity(&mut self.identity);
        self.belief.iter_mut().for_each(|until| map.deadline(until));
    }
}

impl<K: Kind> Subject for Recorded<K> {
    const PLAY: Play = K::PLAY;
    const READS_WALL: bool = false;
    const IS_RECORDED: bool = true;

    fn request(ask: Ask) -> Option<Ask> {
        K::asks(ask).then_some(ask)
    }

    fn told(said: &Said) -> Told {
        match *said {
            Said::Granted { token, .. } => Told::Acquired(Some(FencingToken(token))),
            Said::Believes { .. } => Told::Extended,
            // Nobody is told of it, so it is no event.
            Said::Claimed => Told::Rejected,
            Said::Denied => Told::Denied,
            Said::Released => Told::Released,
            Said::Lost => Told::Lost,
            Said::Panicked => Told::Panicked,
            Said::Began { job, attempt, token, .. } => Told::Began(Run {
                job: JobId(job),
                occurrence: Some(occurrence(job)),
                attempt,
                token: Some(FencingToken(token)),
            }),
            Said::Ended => Told::Ended,
            Said::Accepted { job } => Told::Accepted(JobId(job), Some(occurrence(job))),
            Said::Declined { job } => Told::Declined(JobId(job)),
        }
    }

    fn belief(&self) -> Option<Instant> {
        self.belief
    }

    fn ttl(history: &History) -> Span {
        history.ttl
    }

    fn attempts(history: &History) -> u32 {
        history.attempts
    }

    fn is_fenced(history: &History) -> bool {
        history.fenced
    }

    fn reads_store_time(_: &History) -> bool {
        false
    }
}

/// Each job has one occurrence, as it is scheduled once at most.
fn occurrence(job: u32) -> Occurrence {
    Occurrence::At(StoreTime::from_nanos(u64::from(job)))
}
