//! A run told in plain words.

use std::fmt::Write as _;

use fencepost::store::FencingToken;
use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::property::Violation;
use fencepost_models::store::{Mark, Touch};
use fencepost_models::subject::{
    Ask, Ending, InstanceId, JobId, Occurrence, Play, Run, Subject, Tidings, Told, Writing,
};
use fencepost_models::world::{Action, FlightId, LegKind, Service, Stage, State, World};
use serde::Serialize;

/// What an instance looks like at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// It wants nothing.
    Idle,
    /// It waits for the lock.
    Waits,
    /// It believes that it holds the lock.
    Believes,
    /// It holds, but knows that its lease may have ended; or it is unlocking.
    Leaves,
    /// It stands still.
    Paused,
    /// It stands still, and would say that it holds.
    PausedBelieving,
    /// It is dead.
    Down,
}

impl Look {
    /// One character.
    pub const fn symbol(self) -> char {
        match self {
            Look::Idle => '·',
            Look::Waits => '○',
            Look::Believes => '●',
            Look::Leaves => '◐',
            Look::Paused => '‖',
            Look::PausedBelieving => '◉',
            Look::Down => '✗',
        }
    }
}

/// One moment of a story.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When, in nanoseconds of true time.
    pub at: u64,
    /// Which step, counted from zero; `None` for what happens by itself.
    pub step: Option<usize>,
    /// What happened.
    pub text: String,
    /// Who believes, waits, stands still, after it.
    pub looks: Vec<Look>,
    /// Whether something went wrong here.
    pub fault: bool,
    /// Whether it matters to somebody who wants the gist.
    pub notable: bool,
    /// What is broken here.
    pub broken: Vec<String>,
    /// Whether the failure that is told of comes from it; true, if nobody has asked.
    pub causal: bool,
}

/// What happened.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// Moment by moment.
    pub lines: Vec<Line>,
    /// From how many events the failure comes; `None`, if nobody has asked.
    pub causal: Option<usize>,
}

impl Story {
    /// Notes which of the steps the failure comes from.
    pub(crate) fn trace_back(&mut self, causes: &[bool]) {
        for line in &mut self.lines {
            line.causal = line.step.is_none_or(|step| causes.get(step).copied().unwrap_or_default());
        }
        self.causal = Some(causes.iter().filter(|is_cause| **is_cause).count());
    }
}

/// Listens to a run.
#[derive(Debug)]
pub(crate) struct Teller {
    lines: Vec<Line>,
    /// The lock's entry, and whether its end was told; one for each lock.
    entries: Vec<Option<(Mark, bool)>>,
    names: Vec<(FlightId, LegKind, String)>,
}

impl Teller {
    pub(crate) fn new<M: Subject>(world: &World<M>) -> Teller {
        let resources = world.instances().iter().map(|one| one.resource + 1).max().unwrap_or(0);
        Teller { lines: Vec::new(), entries: vec![None; resources as usize], names: Vec::new() }
    }

    pub(crate) fn hear<M: Subject>(&mut self, world: &World<M>, step: usize, action: &Action) {
        self.tell_expiry(world);
        let looks: Vec<_> = (0..world.instances().len()).map(|index| look(world, index)).collect();
        let (text, fault, notable) = self.describe(world, action);
        let at = world.now().as_nanos();
        self.lines.push(Line {
            at,
            step: Some(step),
            text,
            looks,
            fault,
            notable,
            broken: Vec::new(),
            causal: true,
        });
        self.note_entries(world);
        self.names.clear();
        self.names.extend(world.flights().map(|(id, flight)| {
            let call = flight.call.map_or_else(String::new, |call| noun(&format!("{call:?}")));
            let name = match flight.kind() {
                LegKind::Hint => format!("a hint to {}", flight.instance),
                LegKind::Write => format!("the write of {}", flight.instance),
                LegKind::Request | LegKind::Reply | LegKind::Lost | LegKind::Landed => {
                    format!("{}'s {call}", flight.instance)
                }
            };
            (id, flight.kind(), name)
        }));
    }

    pub(crate) fn finish(mut self, violations: &[Violation]) -> Story {
        for violation in violations {
            let step = violation.action as usize;
            if let Some(line) = self.lines.iter_mut().find(|line| line.step == Some(step)) {
                line.broken.push(format!("{}: {}", violation.property, violation.sentence()));
                line.notable = true;
            }
        }
        Story { lines: self.lines, causal: None }
    }

    /// An entry that has come to its end by itself since the last step.
    fn tell_expiry<M: Subject>(&mut self, world: &World<M>) {
        let Some(store) = world.stores().first() else { return };
        for (resource, entry) in self.entries.iter_mut().enumerate() {
            let Some((mark, told)) = entry else { continue };
            let end = store.clock.when(mark.expires.as_nanos());
            if !*told && end <= world.now() && mark.expires.as_nanos() != u64::MAX {
                *told = true;
                let text = if resource == 0 {
                    format!("the entry of {} expires", mark.by.instance)
                } else {
                    format!("the entry of {} on lock {resource} expires", mark.by.instance)
                };
                let looks = self.lines.last().map(|line| line.looks.clone()).unwrap_or_default();
                let before = self.lines.last().map_or(0, |line| line.at);
                let (at, step, fault, notable) = (end.as_nanos().max(before), None, false, true);
                self.lines.push(Line {
                    at,
                    step,
                    text,
                    looks,
                    fault,
                    notable,
                    broken: Vec::new(),
                    causal: true,
                });
            }
        }
    }

    fn note_entries<M: Subject>(&mut self, world: &World<M>) {
        for (resource, entry) in self.entries.iter_mut().enumerate() {
            let mark = world.lock_mark(resource as u32);
            let same = matches!((&*entry, mark), (Some((old, _)), Some(new)) if old.expires == new.expires && old.by == new.by);
            if !same {
                *entry = mark.map(|mark| (mark, false));
            }
        }
    }

    /// What a message was called before the action: the request, also where its answer is meant.
    fn request(&self, id: FlightId) -> String {
        let known = self.names.iter().find(|(other, ..)| *other == id);
        known.map_or_else(|| "a message".to_owned(), |(.., name)| name.clone())
    }

    /// The message itself: an answer is not its request.
    fn message(&self, id: FlightId) -> String {
        let is_reply = self.names.iter().any(|(other, kind, _)| *other == id && *kind == LegKind::Reply);
        let name = self.request(id);
        if is_reply { format!("the answer to {name}") } else { name }
    }

    /// The words for an action, whether it is a fault, and whether it is notable.
    fn describe<M: Subject>(&self, world: &World<M>, action: &Action) -> (String, bool, bool) {
        let told = tell(world);
        let with = |text: String| if told.is_empty() { text } else { format!("{text}; {told}") };
        let fault = |text: String| (with(text), true, true);
        let quiet = |text: String| (with(text), false, !told.is_empty());
        let sent = sent(world);
        match *action {
            Action::Ask(id, ask) => (with(format!("{id} {}{sent}", asks(ask))), false, true),
            Action::Write(id) => quiet(format!("{id} writes to the guarded resource")),
            Action::Forget(id) => fault(format!("the caller of {id} will not unlock")),
            Action::Wake(id) => quiet(format!("{id} wakes{sent}")),
            Action::Serve(id, how) => self.served(world, id, how),
            Action::Deliver(id) => quiet(format!("{} arrives{sent}", self.message(id))),
            Action::Lose(id) => fault(format!("{} is lost", self.message(id))),
            Action::Duplicate(id) => fault(format!("{} is doubled on its way", self.message(id))),
            Action::Stall(id) => fault(format!("{} gets stuck on its way", self.message(id))),
            Action::GiveUp(id) => (
                with(format!(
                    "{} has been unanswered for too long: its host reports an error",
                    self.request(id)
                )),
                false,
                true,
            ),
            Action::Pause(id) => fault(format!("{id} is paused; its clocks go on")),
            Action::Suspend(id) => fault(format!("{id} is suspended, and its clocks with it")),
            Action::Resume(id) => (with(format!("{id} goes on")), false, true),
            Action::Crash(id) => fault(format!("{id} crashes")),
            Action::Restart(id) => (with(format!("{id} restarts and remembers nothing")), false, true),
            Action::Rejoin(id) => fault(format!("{id} restarts and remembers nothing but its name")),
            Action::SetRate(id, rate) => fault(format!("the clocks of {id} run {}", speed(rate.0))),
            Action::Jump(id, nanos) => fault(format!("the wall clock of {id} jumps {}", jump(nanos))),
            Action::CutToStore(id, true) => fault(format!("requests of {id} no longer reach the store")),
            Action::CutFromStore(id, true) => fault(format!("replies no longer reach {id}")),
            Action::CutToStore(id, false) => (format!("requests of {id} reach the store again"), false, true),
            Action::CutFromStore(id, false) => (format!("replies reach {id} again"), false, true),
            Action::StorePause(_) => fault("the store stands still".to_owned()),
            Action::StoreResume(_) => ("the store goes on".to_owned(), false, true),
            Action::StoreRestart(_) => fault("the store restarts; whatever was under way is gone".to_owned()),
            Action::StoreRate(_, rate) => fault(format!("the store's clock runs {}", speed(rate.0))),
            Action::Lag(_) => fault("the store's replica stops following".to_owned()),
            Action::CatchUp(_) => ("the store's replica has caught up".to_owned(), false, true),
            Action::FailOver(_) => {
                fault("the lagging replica takes over; the last writes are lost".to_owned())
            }
            Action::SetGrain(_, grain) if grain.early > Span::ZERO => {
                fault(format!("entries expire up to {} early", grain.early))
            }
            Action::SetGrain(_, grain) if grain.late > Span::ZERO => {
                fault(format!("entries expire up to {} late", grain.late))
            }
            Action::SetGrain(..) => ("entries expire in time again".to_owned(), false, true),
            Action::StoreJump(_, nanos) => {
                fault(format!("the store's clock is set: it jumps {}", jump(nanos)))
            }
            Action::WipeCounter(_) => {
                fault("the store forgets its counter: revisions begin again".to_owned())
            }
            Action::Heal => ("from now on nothing goes wrong".to_owned(), false, true),
            Action::End => ("the run ends".to_owned(), false, true),
        }
    }

    fn served<M: Subject>(&self, world: &World<M>, id: FlightId, how: Service) -> (String, bool, bool) {
        let name = self.request(id);
        if world.flight(id).is_some_and(|flight| flight.kind() == LegKind::Lost) {
            return (format!("{name} is lost on the broken link"), true, true);
        }
        let did = match world.touched() {
            Some((by, touch, to_lock)) => outcome(by.instance, touch, written::<M>(to_lock)),
            None => String::new(),
        };
        let notable = !matches!(world.touched(), Some((_, Touch::Refused(_) | Touch::None, _)) | None);
        match how {
            Service::Done => (format!("{name}{did}"), false, notable),
            Service::ErrorBefore => {
                (format!("{name}: the store answers with an error, and has done nothing"), true, true)
            }
            Service::ErrorAfter => (format!("{name}{did}, but the store answers with an error"), true, true),
            Service::Stale => (format!("{name} is answered by the lagging replica"), true, true),
            Service::ReadError => {
                (format!("{name}: the replica is away, and the answer is an error"), true, true)
            }
        }
    }
}

/// What it is that an operation wrote.
fn written<M: Subject>(to_lock: bool) -> &'static str {
    match M::PLAY {
        _ if to_lock => "the lock",
        Play::Lock => "its place in line",
        Play::Lead => "the flag",
        Play::Job => "the record",
        Play::Once => "the entry",
        Play::Write => "an entry",
    }
}

fn outcome(by: InstanceId, touch: Touch, what: &str) -> String {
    let whose = |mark: Mark| {
        if mark.by.instance == by { "its own".to_owned() } else { format!("that of {}", mark.by.instance) }
    };
    match touch {
        Touch::None => " changes nothing".to_owned(),
        Touch::Wrote(None) => format!(" is applied: {what} is {by}'s"),
        Touch::Wrote(Some(over)) => format!(" is applied over a live entry, {}", whose(over)),
        Touch::Refused(mark) => format!(" is refused: there is an entry, {}", whose(mark)),
        Touch::Renewed(mark) => format!(" is applied: the entry it prolongs is {}", whose(mark)),
        Touch::Revoked(mark) => format!(" is applied: the entry it revokes is {}", whose(mark)),
        Touch::Deleted(mark) => format!(" is applied: the entry it deletes is {}", whose(mark)),
    }
}

/// What callers were told by the last action.
fn tell<M: Subject>(world: &World<M>) -> String {
    let mut text = String::new();
    for (id, told) in world.told() {
        let words = match told {
            Told::Acquired(Some(token)) => format!("{id} holds the lock, token {}", token.0),
            Told::Acquired(None) => format!("{id} holds the lock"),
            Told::Denied => format!("{id} does not get the lock"),
            Told::Released => format!("{id} has released"),
            Told::Lost => format!("{id} is told that it has lost the lock"),
            Told::Extended if M::IS_RECORDED => format!("{id} holds"),
            Told::Extended => format!("{id} has renewed on request"),
            Told::Rejected => format!("{id} is told that this makes no sense now"),
            Told::Panicked => format!("{id} panics"),
            Told::Began(run) => begins(*id, run),
            Told::Asked => format!("{id} is asked to yield"),
            Told::Preempted => format!("{id} is turned away for a newer request"),
            Told::Ousted => format!("{id} is put out"),
            Told::Interrupted => format!("{id}'s callback is told to stop"),
            Told::Ended => format!("{id}'s run is settled"),
            Told::Closed => format!("{id} has closed"),
            Told::Accepted(job, _) => format!("{id} is told that this is done for {job}"),
            Told::Declined(job) => format!("{id} is told that this is not done for {job}"),
            Told::GaveUp(job) => format!("{id} gives {job} up"),
            Told::Leads(Some(term)) => format!("{id} sees a leader, term {}", term.0),
            Told::Leads(None) => format!("{id} sees no leader"),
            Told::Petitioned => format!("{id} is asked to resign"),
            Told::Answered => format!("{id}'s petition has come to an end"),
            Told::Writer(tidings) => tells(*id, *tidings),
        };
        let _ = write!(text, "{}{words}", if text.is_empty() { "" } else { "; " });
    }
    text
}

/// What a writer tells.
fn tells(id: InstanceId, tidings: Tidings) -> String {
    let with =
        |token: Option<FencingToken>| token.map_or_else(String::new, |token| format!(", token {}", token.0));
    match tidings {
        Tidings::Work(job, value, token) => {
            format!("{id} begins to write {value} to object {}{}", job.0 + 1, with(token))
        }
        Tidings::Interrupted(job) => format!("{id}'s unit for object {} is told to stop", job.0 + 1),
        Tidings::Settled(job, value) => format!("{id} is done with {value} for object {}", job.0 + 1),
        Tidings::Leads(token) => format!("{id} leads{}", with(token)),
        Tidings::Follows => format!("{id} does not lead"),
        Tidings::Decided => format!("{id}'s wait for who leads is over"),
    }
}

fn begins(id: InstanceId, run: &Run) -> String {
    let token = run.token.map_or_else(String::new, |token| format!(", token {}", token.0));
    let attempt = if run.attempt > 1 { format!(", attempt {}", run.attempt) } else { String::new() };
    let due = match run.occurrence {
        Some(Occurrence::At(time)) => format!(" of {time:?}"),
        Some(Occurrence::Of(_) | Occurrence::Due(_)) | None => String::new(),
    };
    format!("{id} begins {}{due}{attempt}{token}", run.job)
}

/// What the last action sent.
fn sent<M: Subject>(world: &World<M>) -> String {
    let calls: Vec<_> = world
        .fresh()
        .iter()
        .filter_map(|id| world.flight(*id))
        .filter_map(|flight| flight.call)
        .map(|call| noun(&format!("{call:?}")))
        .collect();
    let with_article = |call: String| {
        let article = if call.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!("{article} {call}")
    };
    let calls: Vec<_> = calls.into_iter().map(with_article).collect();
    if calls.is_empty() { String::new() } else { format!(" and sends {}", calls.join(", ")) }
}

/// A call's name as a noun.
fn noun(call: &str) -> String {
    let call = call.trim_start_matches("Line(").trim_start_matches("Run(").trim_start_matches("Lock(");
    call.replace('(', " ").replace(')', "").to_lowercase()
}

fn asks(ask: Ask) -> String {
    match ask {
        Ask::Lock => "asks for the lock".to_owned(),
        Ask::TryLock => "tries the lock".to_owned(),
        Ask::LockFor(span) => format!("asks for the lock for at most {span}"),
        Ask::Cancel => "no longer wants the lock".to_owned(),
        Ask::Unlock => "unlocks".to_owned(),
        Ask::UnlockAgain => "unlocks, or closes, once more".to_owned(),
        Ask::Extend => "asks to renew at once".to_owned(),
        Ask::Start => "takes part".to_owned(),
        Ask::Finish(true) => "has done what its callback had to".to_owned(),
        Ask::Finish(false) => "fails in its callback".to_owned(),
        Ask::Close => "closes".to_owned(),
        Ask::Schedule(job, span) => format!("schedules {job} in {span}"),
        Ask::Reschedule(job, span) => format!("schedules {job} in {span} instead"),
        Ask::Withdraw(job) => format!("takes {job} back"),
        Ask::Fit(true) => "is fit to lead".to_owned(),
        Ask::Fit(false) => "is not fit to lead".to_owned(),
        Ask::Petition => "asks the leader to resign".to_owned(),
        Ask::Object(job, what) => says(job, what),
        Ask::Expire => "is told that nobody leads any more".to_owned(),
        Ask::Missed => "learns that hints may have been missed".to_owned(),
    }
}

/// What a caller says about an object.
fn says(job: JobId, what: Writing) -> String {
    let object = format!("object {}", job.0 + 1);
    match what {
        Writing::Wish(value) => format!("sees that {object} is to be {value}, and tries that"),
        Writing::Drop => format!("no longer wants anything of {object}"),
        Writing::Look => format!("sees what another one has made of {object}"),
        Writing::Conclude(Ending::Well) => format!("has done what it could for {object}"),
        Writing::Conclude(Ending::ErrorBefore) => format!("gets an error from {object}, which is as it was"),
        Writing::Conclude(Ending::ErrorAfter) => format!("gets an error from {object}, whatever it has done"),
        Writing::Conclude(Ending::Panic) => format!("panics in its unit for {object}"),
    }
}

fn speed(ppm: i32) -> String {
    match ppm {
        0 => "true again".to_owned(),
        1.. => format!("{ppm} ppm fast"),
        _ => format!("{} ppm slow", ppm.unsigned_abs()),
    }
}

fn jump(nanos: i64) -> String {
    let span = Span::from_nanos(nanos.unsigned_abs());
    format!("{span} {}", if nanos < 0 { "back" } else { "ahead" })
}

fn look<M: Subject>(world: &World<M>, index: usize) -> Look {
    let id = InstanceId(index as u32);
    let instance = world.instance(id);
    let believes = world.believes(id);
    match (instance.state, instance.caller.stage) {
        (State::Down, _) => Look::Down,
        (State::Paused, _) if believes => Look::PausedBelieving,
        (State::Paused, _) => Look::Paused,
        (State::Up, _) if believes => Look::Believes,
        (State::Up, Stage::Waiting) => Look::Waits,
        (State::Up, Stage::Holding | Stage::Leaving) => Look::Leaves,
        (State::Up, Stage::Idle) => Look::Idle,
    }
}

/// Minutes, seconds, milliseconds; hours and finer digits where there are some.
pub fn clock(at: u64) -> String {
    let time = Time::from_nanos(at).as_nanos();
    let (minutes, nanos) = (time / 60_000_000_000, time % 60_000_000_000);
    let (seconds, millis) = (nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000_000);
    if minutes < 60 {
        return format!("{minutes:02}:{seconds:02}.{millis:03}");
    }
    format!("{}:{:02}:{seconds:02}.{millis:03}", minutes / 60, minutes % 60)
}
