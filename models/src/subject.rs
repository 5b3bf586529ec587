//! What the world has to know of an algorithm beyond its being a machine.

use std::fmt;

use fencepost::line::Owner;
use fencepost::machine::Machine;
use fencepost::mutex::{Event, Fairness, Mutex, Patience, Request};
use fencepost::store::FencingToken;
use fencepost::time::{Instant, Ppm, Span, StoreTime, Timestamp};
use fencepost::writer::WorkResult;
use serde::{Deserialize, Serialize};

use crate::normal::Names;
use crate::store::Simulated;

/// Names an instance: A, B, C …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u32);

impl InstanceId {
    /// Its index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The instance of that name.
    pub fn named(name: &str) -> Option<InstanceId> {
        match name.as_bytes() {
            [letter @ b'A'..=b'Z'] => Some(InstanceId(u32::from(letter - b'A'))),
            [b'#', digits @ ..] => {
                std::str::from_utf8(digits).ok()?.parse().ok().filter(|&id| id >= 26).map(InstanceId)
            }
            _ => None,
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u8::try_from(self.0) {
            Ok(id @ 0..26) => f.pad(&char::from(b'A' + id).to_string()),
            Ok(_) | Err(_) => f.pad(&format!("#{}", self.0)),
        }
    }
}

/// Which of an algorithm's jobs; a recurring job is the only one, the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

impl JobId {
    /// Its index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.0 + 1)
    }
}

/// What tells one run of a job, and whatever repeats it, from every other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occurrence {
    /// A recurring job was due then. Later ones never come before it.
    At(StoreTime),
    /// The request that scheduled it.
    Of(Owner),
    /// Where nothing else tells: the wall time for which it was scheduled.
    Due(Timestamp),
}

/// A callback that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Of which job.
    pub job: JobId,
    /// Which occurrence, if the algorithm knows.
    pub occurrence: Option<Occurrence>,
    /// How often this occurrence was begun, this time included.
    pub attempt: u32,
    /// The token, if the algorithm gives one.
    pub token: Option<FencingToken>,
}

/// What an instance is entangled in that nothing outside can tell it of, or bring about the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knot {
    /// The end of what never began.
    Nothing,
    /// The end of what waits for a lock that is held meanwhile.
    Holder,
    /// The end of a callback, which waits for it.
    Callback,
    /// A table that is held until another instance lets go of something.
    Table,
    /// It gave the lock back by itself before it was told that it has it.
    Ghost,
    /// It gave the lock back by itself, and nobody was told.
    Dropped,
    /// It was asked to yield once, and nothing watches it any more.
    Delivered,
    /// What watched it has ended without a word.
    Nil,
    /// A connection that owns the lock was given back to a pool.
    Pooled,
    /// It keeps connections that nobody will ever close.
    Leaked,
    /// A context that has ended.
    Context,
}

/// What the world's callers do with an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Play {
    /// They lock and unlock.
    Lock,
    /// They start a recurring job, and are its callback.
    Job,
    /// They start a scheduler, have it run jobs once, and are the callbacks.
    Once,
    /// They take part in leadership, and lead when they are told so.
    Lead,
    /// They start a writer, try to bring objects to the values that are wanted, and are its units of work.
    Write,
}

impl Play {
    /// Whether there are jobs, and callbacks; or objects, and units of work.
    pub const fn has_jobs(self) -> bool {
        match self {
            Play::Job | Play::Once | Play::Write => true,
            Play::Lock | Play::Lead => false,
        }
    }
}

/// What a caller says about an object that a writer writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writing {
    /// It sees that the object is to have this value, and tries that.
    Wish(u32),
    /// It no longer wants anything of it.
    Drop,
    /// It sees the object as it is.
    Look,
    /// The unit that runs comes to its end.
    Conclude(Ending),
}

/// How a unit of work comes to its end, whatever the object says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// As it should.
    Well,
    /// With an error, and without doing anything.
    ErrorBefore,
    /// With an error, after doing its work.
    ErrorAfter,
    /// With a panic.
    Panic,
}

/// What a writer is told about its work on one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// To bring it to this value.
    Try(u32),
    /// That it was seen to have this value.
    Extend(u32),
    /// To do nothing about it.
    Remove,
    /// The unit for this value has ended.
    Done {
        /// The value.
        id: u32,
        /// What it says about who leads.
        result: WorkResult,
        /// Whether it is to be run again.
        retry: bool,
    },
    /// The unit for this value has panicked.
    Panicked(u32),
}

/// What a writer tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tidings {
    /// To run the unit that brings this object to this value; with a token, if the algorithm gives one.
    Work(JobId, u32, Option<FencingToken>),
    /// The unit of this object should end.
    Interrupted(JobId),
    /// Nothing more will be done about this value of this object.
    Settled(JobId, u32),
    /// It leads; with a token, if the algorithm gives one.
    Leads(Option<FencingToken>),
    /// It leads no longer, or never did.
    Follows,
    /// It is known who leads.
    Decided,
}

/// What a caller asks, in words that every lock has, or every job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// The lock, however long it takes.
    Lock,
    /// The lock, at once or not at all.
    TryLock,
    /// The lock, within so long on the instance's clock.
    LockFor(Span),
    /// To wait no longer.
    Cancel,
    /// To unlock what it holds; to resign.
    Unlock,
    /// To unlock once more than it locked, whatever it holds now.
    UnlockAgain,
    /// To renew at once.
    Extend,
    /// To begin with the job, or with the scheduler; to take part in leadership.
    Start,
    /// The callback has ended: well, or not.
    Finish(bool),
    /// To end the job, the scheduler or the part in leadership on this instance.
    Close,
    /// To run a job once, so long from now.
    Schedule(JobId, Span),
    /// To run it then instead.
    Reschedule(JobId, Span),
    /// Not to run it.
    Withdraw(JobId),
    /// Whether it is fit to lead.
    Fit(bool),
    /// That another one should no longer lead.
    Petition,
    /// Something about an object that is written to.
    Object(JobId, Writing),
    /// That whoever leads does so no longer, and that a wait is over.
    Expire,
    /// Nothing, but its host has found that hints may have been missed: an engine's listener was away for a while.
    Missed,
}

impl Ask {
    /// Whether it asks for the lock, or to take part.
    pub const fn wants(self) -> bool {
        matches!(self, Ask::Lock | Ask::TryLock | Ask::LockFor(_) | Ask::Start)
    }

    /// Whether it ends what the caller was granted.
    pub const fn ends(self) -> bool {
        matches!(self, Ask::Unlock | Ask::Finish(_))
    }

    /// The job that it is about, if it is about a single one.
    pub const fn job(self) -> Option<JobId> {
        match self {
            Ask::Schedule(job, _) | Ask::Reschedule(job, _) | Ask::Withdraw(job) => Some(job),
            _ => None,
        }
    }
}

/// What a caller was told, in words that every lock has, or every job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// It holds the lock; with a token, if the algorithm gives one.
    Acquired(Option<FencingToken>),
    /// It does not get the lock: contended, cancelled, timed out.
    Denied,
    /// The unlock has come to an end.
    Released,
    /// The lock was lost.
    Lost,
    /// The lease was prolonged.
    Extended,
    /// It holds, and somebody newer asks it to yield.
    Asked,
    /// It does not get the lock: somebody newer does.
    Preempted,
    /// It does not hold the lock any more: it had to yield, or its time was up.
    Ousted,
    /// The request made no sense.
    Rejected,
    /// The process died of a bug.
    Panicked,
    /// Its callback begins.
    Began(Run),
    /// Its callback must end: the lease is lost, or it is closing.
    Interrupted,
    /// What became of the run is settled; it waits for the next one.
    Ended,
    /// The job, or the scheduler, has ended on this instance.
    Closed,
    /// What was asked about that job is done; and what it made, if it scheduled it.
    Accepted(JobId, Option<Occurrence>),
    /// What was asked about that job was not done, and will not be.
    Declined(JobId),
    /// It will not run that job, though nobody took it back.
    GaveUp(JobId),
    /// Another one leads, under this term; or nobody does.
    Leads(Option<FencingToken>),
    /// Another one asks it to resign.
    Petitioned,
    /// What it asked of another one has come to an end.
    Answered,
    /// What a writer tells.
    Writer(Tidings),
}

/// What a lock promises that lets newer requests win. What is switched off is [`Span::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// Within what time a holder learns of a newer request, if nothing goes wrong.
    pub notice: Span,
    /// Within what time a waiter does.
    pub waiter_notice: Span,
    /// How long a holder that was asked to yield may go on.
    pub grace: Span,
    /// How long anybody may hold.
    pub limit: Span,
    /// Within what time somebody gets in, however many requests come, if nothing goes wrong.
    pub contention: Span,
}

/// A lock, or a job, whose callers the world can play and whose promises it can judge.
pub trait Subject: Machine<Config: Serialize + for<'de> Deserialize<'de>, Store: Simulated> {
    /// The machine's request for what a caller asks; `None`, if the algorithm has no such request.
    fn request(ask: Ask) -> Option<Self::Request>;

    /// What an event tells the caller.
    fn told(event: &Self::Event) -> Told;

    /// Until when its handle would say that it holds the lock, on its own clock; [`Instant::MAX`], if it believes
    /// until it is told otherwise; `None`, if it does not hold.
    fn belief(&self) -> Option<Instant>;

    /// After how long the lock of a dead holder is promised to be free.
    fn ttl(config: &Self::Config) -> Span;

    /// By how much clocks may differ in speed for its promises to hold.
    fn drift(_: &Self::Config) -> Ppm {
        Ppm(200)
    }

    /// How much earlier than it should a store may let entries expire for its promises to hold.
    fn margin(_: &Self::Config) -> Span {
        Span::ZERO
    }

    /// The time from a request to its reply from which on it no longer promises stability.
    fn stable_round_trip(_: &Self::Config) -> Span {
        Span::MAX
    }

    /// What its callers do.
    const PLAY: Play = Play::Lock;

    /// How soon after one run of a recurring job the next one may begin at the earliest, from beginning to beginning;
    /// zero, if that is not promised.
    fn spacing(_: &Self::Config) -> Span {
        Span::ZERO
    }

    /// The longest time from one occurrence of a recurring job to the next; [`Span::MAX`], if nothing recurs.
    fn period(_: &Self::Config) -> Span {
        Span::MAX
    }

    /// How often a job that is to run once may be begun, when runs of it fail or die.
    fn attempts(_: &Self::Config) -> u32 {
        1
    }

    /// How much longer than a lock's waiter a job may have to wait that is due: for its being noticed, and for what
    /// passes between two attempts.
    fn lateness(_: &Self::Config) -> Span {
        Span::ZERO
    }

    /// For how long nobody leads at most, while somebody could, where nothing goes wrong and messages take no time;
    /// [`Span::MAX`], if that is not promised.
    fn takeover(_: &Self::Config) -> Span {
        Span::MAX
    }

    /// The same, once a holder has released.
    fn handover(config: &Self::Config) -> Span {
        Self::takeover(config)
    }

    /// Whether the guarded resource refuses tokens lower than the highest that it has seen.
    fn is_fenced(_: &Self::Config) -> bool {
        true
    }

    /// Whether it only says again what real processes were told; see [`crate::recorded`].
    const IS_RECORDED: bool = false;

    /// Shows every name in a hint to `names`.
    fn relocate_message(message: &mut Self::Message, names: &mut Names) {
        let _ = (message, names);
    }

    /// The longest length that is added to a remembered store time, or wall time, before it is compared with another.
    fn calendar_horizon(_: &Self::Config) -> Span {
        Span::ZERO
    }

    /// The same for the store time that an answer bears: for as long, a difference between it and a later time matters.
    fn answer_horizon(config: &Self::Config) -> Span {
        Self::calendar_horizon(config)
    }

    /// Whether a newer request makes those give way who wait, and asks whoever holds to yield.
    const PREEMPTS: bool = false;

    /// How newer requests are met. Asked only if it preempts.
    fn preemption(_: &Self::Config) -> Preemption {
        Preemption {
            notice: Span::MAX,
            waiter_notice: Span::MAX,
            grace: Span::MAX,
            limit: Span::MAX,
            contention: Span::MAX,
        }
    }

    /// A writer's request for what is said about its work on one object; `None`, if it has none.
    fn work(_: JobId, _: Word) -> Option<Self::Request> {
        None
    }

    /// How long at most a writer lets work wait after it was tried, or after it met the work of others, once it has
    /// followed for so long; and if it was told to wait no longer so often since it met that, and since it follows.
    /// [`Span::MAX`], if that is not promised.
    fn patience(_: &Self::Config, _followed: Span, _cuts: [u32; 2]) -> Span {
        Span::MAX
    }

    /// What it is entangled in.
    fn knot(&self) -> Option<Knot> {
        None
    }

    /// Whether its machine reads the wall clock. A checker forgets the errors of wall clocks that nobody reads.
    const READS_WALL: bool = true;

    /// Whether its machine remembers the store's clock. A checker forgets times that nobody asks for.
    fn reads_store_time(_: &Self::Config) -> bool {
        true
    }

    /// The longest length that its machine adds to an instant, or takes away, before it compares it with now. A
    /// checker does not tell older instants apart.
    fn horizon(config: &Self::Config) -> Span {
        Self::ttl(config)
    }

    /// The period of its machine's tickers, of which the phase counts however old they are; zero, if it has none.
    fn phase(_: &Self::Config) -> Span {
        Span::ZERO
    }

    /// Whether it treats all instances alike, so that nothing depends on the order of identities.
    fn is_symmetric(_: &Self::Config) -> bool {
        false
    }
}

impl Subject for Mutex {
    fn request(ask: Ask) -> Option<Request> {
        Some(match ask {
            Ask::Lock => Request::Lock(Patience::Forever),
            Ask::TryLock => Request::Lock(Patience::Once),
            Ask::LockFor(span) => Request::Lock(Patience::For(span)),
            Ask::Cancel => Request::Cancel,
            Ask::Unlock | Ask::UnlockAgain => Request::Unlock,
            Ask::Extend => Request::Extend,
            _ => return None,
        })
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Acquired(token) => Told::Acquired(Some(*token)),
            Event::Contended | Event::TimedOut | Event::Cancelled => Told::Denied,
            Event::Extended(_) => Told::Extended,
            Event::Released(_) => Told::Released,
            Event::Lost(_) => Told::Lost,
            Event::Rejected(_) => Told::Rejected,
        }
    }

    fn belief(&self) -> Option<Instant> {
        self.until()
    }

    fn ttl(config: &Self::Config) -> Span {
        config.entry_ttl()
    }

    fn drift(config: &Self::Config) -> Ppm {
        config.config().lease.drift
    }

    fn margin(config: &Self::Config) -> Span {
        config.config().lease.delay_bound.into()
    }

    /// A reply must come before its request is sent again. One renewal, which starts when it is due or when the claim
    /// is answered, may be lost; the reply to the second must come before belief ends.
    fn stable_round_trip(config: &Self::Config) -> Span {
        let lease = config.lease();
        let after_one_loss = lease.belief().minus(lease.timeout());
        let half = Span::from_nanos(after_one_loss.as_nanos() / 2);
        lease.timeout().min(after_one_loss.minus(lease.refresh().longest())).min(half)
    }

    /// The time to live passes on the store's clock, then somebody asks.
    fn takeover(config: &Self::Config) -> Span {
        let waits = config.entry_ttl() + config.poll().longest();
        waits + waits.portion(Self::drift(config))
    }

    fn handover(config: &Self::Config) -> Span {
        let longest = config.poll().longest();
        longest + longest.portion(Self::drift(config))
    }

    const READS_WALL: bool = false;

    /// Only a place in a queue is named by it.
    fn reads_store_time(config: &Self::Config) -> bool {
        config.config().fairness == Fairness::Fifo
    }

    /// The identities of those who asked at one moment decide their order in a queue.
    fn is_symmetric(config: &Self::Config) -> bool {
        config.config().fairness == Fairness::Unordered
    }
}
