//! The recurring job: whatever the number of instances, each occurrence of a schedule is run by one of them, once.
//!
//! Every instance looks at one record that says what was run last, and waits until the next occurrence is due on the
//! *store's* clock. Then it tries to take the job's lock, reads the record again under it, and claims the
//! occurrence there before the callback begins ([`crate::run`]). Whoever comes too late finds the occurrence
//! claimed and waits for the next.
//!
//! # What is promised
//!
//! | | |
//! |---|---|
//! | one at a time | as long as clocks keep their assumed drift and a callback ends when it is interrupted; the token protects a resource whatever happens |
//! | once per occurrence | an occurrence is claimed before its callback begins, and claimed once; a store that loses what it has acknowledged may let it be claimed again |
//! | none is lost | an occurrence is run, unless its claimant died or lost its lock, or a policy drops it: [`Misfire`], [`Overlap`] |
//! | no wall clock | what is due is decided by the store's clock; an instance only measures how long to wait |
//!
//! An instance that crashes before its claim is in the store has done nothing. One that crashes after it leaves the
//! occurrence claimed and unfinished: it is not run again, and the next one is, as soon as the lock has expired.
//! What is written after the callback is written on the claim's own revision, so a record never goes back.
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | S1 | at rest | start | | looking | get |
//! | W1 | looking | found | nothing is due | waiting | |
//! | W2 | looking | found | an occurrence is due | trying | the run enters |
//! | W3 | looking | found | the job was never seen | anchoring | put the anchor, if the record is as it was read |
//! | W4 | anchoring | answered | | looking | get |
//! | W5 | looking, anchoring | time-out | | looking | get |
//! | W6 | waiting | wake | the time has come | looking | get |
//! | W7 | waiting for the lock | peer freed the lock | | looking | get |
//! | Y1 | trying | the run has found the record | an occurrence is due | trying | claim it |
//! | Y2 | trying | the run has found the record | nothing is due any more, or closing | trying | the run leaves |
//! | Y3 | trying | the run left | | looking | get |
//! | Y4 | trying | the run was contended, refused or lost | | waiting for the lock | |
//! | Y5 | trying | the run began | | running | event began; interrupted, if closing |
//! | X1 | running | the run is interrupted | not told yet | running | event interrupted |
//! | X2 | running | finish | | settling | the run finishes |
//! | X3 | settling | the run settles | | settling | record the outcome; interrupted, if the lock was lost |
//! | X4 | settling | the run ended | | looking | event ended, get |
//! | Z1 | at rest | close | | at rest | event closed |
//! | Z2 | looking, anchoring, waiting | close | | at rest | event closed, forget the call |
//! | Z3 | trying | close | | trying, closing | the run leaves, if it has claimed nothing |
//! | Z4 | running | close | | running, closing | event interrupted, unless told |
//! | Z5 | settling | close | | settling, closing | |
//! | Z6 | closing | close | | closing | |
//! | Z7 | trying or settling, closing | the run ended | | at rest | event ended, if settling; closed |
//! | B1 | not at rest | start | | the same | event rejected (started) |
//! | B2 | not running | finish | | the same | event rejected (not running) |
//!
//! A run that has claimed its occurrence when the job is closed begins, and is interrupted at once: the occurrence is
//! spent, and only the callback can say what is to become of it.
//!
//! # Example
//!
//! ```
//! use core::time::Duration;
//! use fencepost::calendar::Schedule;
//! use fencepost::job::{Job, JobConfig, Request};
//! use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
//! use fencepost::time::Now;
//!
//! let terms = JobConfig::new(Schedule::every(Duration::from_secs(300))?).terms()?;
//! let mut job = Job::new(&terms, Identity(7));
//! let mut effects = Effects::new();
//! job.step(&terms, Now::default(), Input::Request(Request::Start), &mut effects);
//! // It looks at the record first. The host carries the request to the store and brings the answer back.
//! assert!(matches!(effects.drain().next(), Some(Effect::Store { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod meta;
mod words;

pub use config::{JobConfig, JobConfigBuilder, JobConfigError, JobTerms, Misfire, Overlap};
pub use meta::{Dropped, Meta, Outcome, Progress};
pub use words::{Call, Event, Misuse, Request};

use crate::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use crate::mutex::Freed;
use crate::run::{self, End, Key, Noted, Record, Run};
use crate::store::{Answer, Contract, Entry, Expect, Op};
use crate::time::{Instant, Now, Span, StoreTime};

use meta::Verdict;

/// The recurring job. One value serves one callback; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    run: Run<Meta>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Looking {
        sent: Instant,
    },
    Anchoring {
        sent: Instant,
    },
    /// `for_lock`: another one has the lock, so word that it is free ends the wait.
    Waiting {
        until: Instant,
        for_lock: bool,
    },
    /// `dropped`: what the claim that is under way drops.
    Trying {
        closing: bool,
        dropped: Dropped,
    },
    /// `told`: the callback knows that it should end.
    Running {
        closing: bool,
        told: bool,
    },
    Settling {
        closing: bool,
        outcome: Outcome,
    },
}

type Out<'a> = &'a mut Effects<Job>;
type RunEffects<'a> = &'a mut Effects<Run<Meta>>;

impl Machine for Job {
    type Config = JobTerms;
    type Store = Contract<Key, Record<Meta>>;
    type Request = Request;
    type Event = Event;
    type Message = Freed;
    type Call = Call;

    fn new(terms: &JobTerms, identity: Identity) -> Job {
        Job { run: Run::new(&terms.run, identity), phase: Phase::AtRest }
    }

    fn step(&mut self, terms: &JobTerms, now: Now, input: Input<Job>, out: Out<'_>) {
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call: Call::Run(call), answer, at } => {
                self.run(terms, now, Input::Reply { call, answer, at }, out);
            }
            Input::Reply { call: Call::Look, answer, at } => self.looked(terms, now, answer, at, out),
            Input::Reply { call: Call::Anchor, answer, .. } => self.anchored(now, &answer, out),
            Input::Message(Freed) => self.freed(now, out),
            Input::Wake => {
                self.run(terms, now, Input::Wake, out);
                self.wake(terms, now, out);
            }
        }
    }

    fn deadline(&self, terms: &JobTerms) -> Option<Instant> {
        let own = match self.phase {
            Phase::AtRest | Phase::Trying { .. } | Phase::Running { .. } | Phase::Settling { .. } => {
                Instant::MAX
            }
            Phase::Looking { sent } | Phase::Anchoring { sent } => sent + terms.timeout(),
            Phase::Waiting { until, .. } => until,
        };
        let at = own.min(self.run.deadline(&terms.run).unwrap_or(Instant::MAX));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        self.run.relocate(map);
        match &mut self.phase {
            Phase::AtRest | Phase::Trying { .. } | Phase::Running { .. } | Phase::Settling { .. } => {}
            Phase::Looking { sent } | Phase::Anchoring { sent } => map.instant(sent),
            Phase::Waiting { until, for_lock: _ } => map.deadline(until),
        }
    }
}

impl JobTerms {
    fn timeout(&self) -> Span {
        self.run.mutex.lease().timeout()
    }
}

impl Job {
    /// Until when the lock may be believed held, if it is.
    pub fn until(&self) -> Option<Instant> {
        self.run.until()
    }

    /// Whether a callback runs.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    fn request(&mut self, terms: &JobTerms, now: Now, request: Request, out: Out<'_>) {
        match (self.phase, request) {
            // S1
            (Phase::AtRest, Request::Start) => self.look(now, out),
            // B1
            (
                Phase::Looking { .. }
                | Phase::Anchoring { .. }
                | Phase::Waiting { .. }
                | Phase::Trying { .. }
                | Phase::Running { .. }
                | Phase::Settling { .. },
                Request::Start,
            ) => out.event(Event::Rejected(Misuse::Started)),
            // X2
            (Phase::Running { closing, told: _ }, Request::Finish(outcome)) => {
                self.phase = Phase::Settling { closing, outcome };
                self.run(terms, now, Input::Request(run::Request::Finish), out);
                if !self.run.is_tenured() {
                    self.disown();
                }
            }
            // B2
            (
                Phase::AtRest
                | Phase::Looking { .. }
                | Phase::Anchoring { .. }
                | Phase::Waiting { .. }
                | Phase::Trying { .. }
                | Phase::Settling { .. },
                Request::Finish(_),
            ) => out.event(Event::Rejected(Misuse::NotRunning)),
            // Z1
            (Phase::AtRest, Request::Close) => out.event(Event::Closed),
            // Z2
            (Phase::Looking { .. } | Phase::Anchoring { .. } | Phase::Waiting { .. }, Request::Close) => {
                out.forget(Call::Look);
                out.forget(Call::Anchor);
                self.close(out);
            }
            // Z3
            (Phase::Trying { closing: false, dropped }, Request::Close) => {
                self.phase = Phase::Trying { closing: true, dropped };
                self.run(terms, now, Input::Request(run::Request::Leave), out);
            }
            // Z4
            (Phase::Running { closing: false, told }, Request::Close) => {
                self.phase = Phase::Running { closing: true, told };
                self.interrupt(out);
            }
            // Z5
            (Phase::Settling { closing: false, outcome }, Request::Close) => {
                self.phase = Phase::Settling { closing: true, outcome };
            }
            // Z6
            (
                Phase::Trying { closing: true, .. }
                | Phase::Running { closing: true, .. }
                | Phase::Settling { closing: true, .. },
                Request::Close,
            ) => {}
        }
    }

    /// W5, W6: time has passed.
    fn wake(&mut self, terms: &JobTerms, now: Now, out: Out<'_>) {
        match self.phase {
            Phase::Looking { sent } | Phase::Anchoring { sent } if now.mono >= sent + terms.timeout() => {
                out.forget(Call::Anchor);
                self.look(now, out);
            }
            Phase::Waiting { until, .. } if now.mono >= until => self.look(now, out),
            Phase::AtRest
            | Phase::Looking { .. }
            | Phase::Anchoring { .. }
            | Phase::Waiting { .. }
            | Phase::Trying { .. }
            | Phase::Running { .. }
            | Phase::Settling { .. } => {}
        }
    }

    fn freed(&mut self, now: Now, out: Out<'_>) {
        // W7
        if let Phase::Waiting { for_lock: true, .. } = self.phase {
            self.look(now, out);
        }
    }

    fn look(&mut self, now: Now, out: Out<'_>) {
        self.phase = Phase::Looking { sent: now.mono };
        out.store(Call::Look, Op::Get { key: Key::Work });
    }

    fn looked(
        &mut self,
        terms: &JobTerms,
        now: Now,
        answer: Answer<Key, Record<Meta>>,
        at: StoreTime,
        out: Out<'_>,
    ) {
        let Phase::Looking { .. } = self.phase else { return };
        // W5 repeats what gave no answer.
        let Some(found) = run::read_work(answer) else { return };
        match meta::verdict(terms, at, found.as_ref().map(|entry| &entry.record)) {
            // W1
            Verdict::Wait(due) => {
                let wait = due.map_or(terms.look, |due| due.since(at).min(terms.look));
                self.phase = Phase::Waiting { until: now.mono + wait, for_lock: false };
            }
            // W2
            Verdict::Run(_) => {
                self.phase = Phase::Trying { closing: false, dropped: Dropped::default() };
                self.run(terms, now, Input::Request(run::Request::Enter), out);
            }
            // W3
            Verdict::Anchor => self.anchor(now, found.as_ref(), at, out),
        }
    }

    /// Notes that the job was seen, unless somebody else is faster: then his anchor is as good.
    fn anchor(&mut self, now: Now, found: Option<&Entry<Meta>>, at: StoreTime, out: Out<'_>) {
        self.phase = Phase::Anchoring { sent: now.mono };
        let expect = found.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let record = Record::Work(Meta::anchor(at, self.run.name()));
        out.store(Call::Anchor, Op::PutIf { key: Key::Work, expect, record, ttl: None });
    }

    fn anchored(&mut self, now: Now, answer: &Answer<Key, Record<Meta>>, out: Out<'_>) {
        let Phase::Anchoring { .. } = self.phase else { return };
        match answer {
            // W4
            Answer::Applied(_) | Answer::Refused(_) => self.look(now, out),
            // W5 looks what has come of it.
            Answer::Found(_) | Answer::Listed(_) | Answer::Unknown => {}
        }
    }

    /// Hands the run an input, and does what it says.
    fn run(&mut self, terms: &JobTerms, now: Now, input: Input<Run<Meta>>, out: Out<'_>) {
        let mut effects = Effects::new();
        self.run.step(&terms.run, now, input, &mut effects);
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Store { store, call, op } => out.store_at(store, Call::Run(call), op),
                Effect::Forget(call) => out.forget(Call::Run(call)),
                Effect::Publish(Freed) => out.publish(Freed),
                Effect::Event(event) => self.told(terms, now, event, &mut effects, out),
            }
        }
    }

    /// What the run tells.
    fn told(
        &mut self,
        terms: &JobTerms,
        now: Now,
        event: run::Event<Meta>,
        effects: RunEffects<'_>,
        out: Out<'_>,
    ) {
        match event {
            run::Event::Found { entry, at } => {
                let answer = self.decide(terms, entry.as_ref(), at);
                self.run.step(&terms.run, now, Input::Request(answer), effects);
            }
            run::Event::Began { work, token } => {
                let Phase::Trying { closing, dropped } = self.phase else { return };
                // Y5
                self.phase = Phase::Running { closing, told: false };
                out.event(Event::Began {
                    occurrence: work.occurrence,
                    token,
                    runs: work.runs.saturating_sub(1),
                    dropped,
                });
                if closing {
                    self.interrupt(out);
                }
            }
            // X1
            run::Event::Interrupted => self.interrupt(out),
            run::Event::Settle { work, at, held } => {
                let work = self.settle(work, at, held);
                self.run.step(
                    &terms.run,
                    now,
                    Input::Request(run::Request::Record { work, ttl: None }),
                    effects,
                );
            }
            run::Event::Ended(end) => self.ended(terms, now, end, out),
        }
    }

    /// Y1, Y2: what to do about the record that was read under the lock.
    fn decide(&mut self, terms: &JobTerms, found: Option<&Entry<Meta>>, at: StoreTime) -> run::Request<Meta> {
        let found = found.map(|entry| &entry.record);
        match (&mut self.phase, meta::verdict(terms, at, found)) {
            (Phase::Trying { closing: false, dropped }, Verdict::Run(occurrence)) => {
                *dropped = Dropped::by(terms, at, found, occurrence);
                run::Request::Claim(Meta::claim(terms, found, occurrence, at, self.run.name()))
            }
            (_, Verdict::Run(_) | Verdict::Wait(_) | Verdict::Anchor) => run::Request::Leave,
        }
    }

    /// X3: success is recorded only of what ended under the lock.
    fn settle(&mut self, claim: Meta, at: StoreTime, held: bool) -> Meta {
        if !held {
            self.disown();
        }
        claim.ended(at, self.outcome())
    }

    fn disown(&mut self) {
        if let Phase::Settling { outcome, .. } = &mut self.phase {
            *outcome = Outcome::Interrupted;
        }
    }

    fn outcome(&self) -> Outcome {
        match self.phase {
            Phase::Settling { outcome, .. } => outcome,
            Phase::AtRest
            | Phase::Looking { .. }
            | Phase::Anchoring { .. }
            | Phase::Waiting { .. }
            | Phase::Trying { .. }
            | Phase::Running { .. } => Outcome::Interrupted,
        }
    }

    fn ended(&mut self, terms: &JobTerms, now: Now, end: End, out: Out<'_>) {
        match (self.phase, end) {
            // Z7
            (Phase::Trying { closing: true, .. }, _) => self.close(out),
            // Y3
            (Phase::Trying { closing: false, .. }, End::Left | End::Ran(_)) => self.look(now, out),
            // Y4
            (Phase::Trying { closing: false, .. }, End::Contended | End::Refused | End::Lost) => {
                self.phase = Phase::Waiting { until: terms.run.mutex.poll().after(now), for_lock: true };
            }
            // X4, Z7
            (Phase::Settling { closing, outcome }, end) => {
                let noted = match end {
                    End::Ran(noted) => noted,
                    End::Contended | End::Left | End::Refused | End::Lost => Noted::Unknown,
                };
                out.event(Event::Ended { outcome, noted });
                if closing { self.close(out) } else { self.look(now, out) }
            }
            (
                Phase::AtRest
                | Phase::Looking { .. }
                | Phase::Anchoring { .. }
                | Phase::Waiting { .. }
                | Phase::Running { .. },
                _,
            ) => {}
        }
    }

    /// Tells the callback that it should end, once.
    fn interrupt(&mut self, out: Out<'_>) {
        if let Phase::Running { told: told @ false, .. } = &mut self.phase {
            *told = true;
            out.event(Event::Interrupted);
        }
    }

    fn close(&mut self, out: Out<'_>) {
        self.phase = Phase::AtRest;
        out.event(Event::Closed);
    }
}
