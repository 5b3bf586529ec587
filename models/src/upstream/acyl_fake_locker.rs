//! acyl's fake provider: the same locker without PostgreSQL, within one process, for tests.
//!
//! The instances of a world are goroutines here, and the store is what they share: a slot that holds one token, a list of
//! contenders, and one mutex for all of it. Everything takes that mutex, and `Lock` keeps it while it waits.
//!
//! | operation | effect | answer |
//! |---|---|---|
//! | [`FakeOp::New`] | adds a contender | done |
//! | [`FakeOp::Notify`] | a message for every other contender, whether or not it has locked | done |
//! | [`FakeOp::Lock`] | takes the mutex and puts a token into the slot, if there is none | granted; or waiting, and the mutex is kept (F1) |
//! | [`FakeOp::GiveUp`] | gives the mutex back | done |
//! | [`FakeOp::Unlock`] | drops the contender and takes a token out, whoever's it is (F2, F3); if there is none, the next one is eaten (F4) | done |
//! | [`FakeOp::Receive`] | none | whether there is a message |
//!
//! While another one has the mutex, each but the last is answered by "blocked", and asked again.
//!
//! # Transitions
//!
//! | | phase | input | guard | next phase | effects |
//! |---|---|---|---|---|---|
//! | A1 | at rest | lock | | creating | new |
//! | C1 | creating | done | | notifying | notify |
//! | C2 | notifying | done | | locking | lock; its maximum begins, and never ends early (F2) |
//! | C3 | locking | granted | | delaying | |
//! | C4 | locking | lock timeout, context done | | giving up | give the mutex back, if it has it |
//! | C5 | giving up | done | | at rest | event failed; unlock: whoever fails releases (F2) |
//! | D1 | delaying | a message | | releasing, preempted | unlock |
//! | D2 | delaying | lock delay over | | holding | event acquired |
//! | H1 | holding | a message | | holding | event asked |
//! | H2 | holding | unlock | | releasing | unlock |
//! | R1 | releasing | done | | at rest | event released, or preempted |
//! | U1 | at rest, holding | unlock once more | | the same | unlock (F2, F4) |
//! | G1 | creating, notifying, locking | a message has waited for the preemption timeout | | the same | unlock (F3) |
//! | G2 | any | a maximum is over, whosever lock that was | | the same | unlock (F2) |
//!
//! What is left out: messages carry the receiver's own name and reason, which shows in no behaviour here; a caller that
//! does not receive (see [`super::acyl_locker`]).

use std::convert::Infallible;

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::store::Protocol;
use fencepost::time::{Instant, Now, Ppm, Span, StoreTime};
use serde::{Deserialize, Serialize};

use super::acyl_locker::{Event, Request};
use super::advisory::Session;
use crate::normal::Names;
use crate::store::{Mark, Serving, Simulated, Touch};
use crate::subject::{Ask, Knot, Preemption, Subject, Told};

/// The protocol of what goroutines share.
#[derive(Clone, Debug)]
pub struct Fake;

/// An operation of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FakeOp {
    /// Adds a contender.
    New(Session),
    /// A message for all others.
    Notify(Session),
    /// Waits for the slot.
    Lock(Session),
    /// Waits no longer.
    GiveUp(Session),
    /// Takes a token out.
    Unlock(Session),
    /// Whether there is a message.
    Receive(Session),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FakeAnswer {
    /// It is done, or there is a message.
    Done,
    /// The token is in the slot.
    Granted,
    /// Another one's is; or there is no message.
    Waiting,
    /// Another one has the mutex, or nobody knows.
    Blocked,
}

impl Protocol for Fake {
    type Op = FakeOp;
    type Answer = FakeAnswer;

    fn unknown() -> FakeAnswer {
        FakeAnswer::Blocked
    }
}

/// What goroutines share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shared {
    mutex: Option<Session>,
    token: Option<Mark>,
    /// Goroutines that wait for a token to take out.
    drains: u32,
    /// Each contender, and whether a message is offered to it.
    contenders: Vec<(Session, bool)>,
}

impl Shared {
    fn blocks(&self, object: &Session) -> bool {
        self.mutex.is_some_and(|owner| owner != *object)
    }
}

impl Simulated for Fake {
    type Shelf = Shared;

    fn serve(op: &FakeOp, shared: &mut Shared, serving: &mut Serving<'_>) -> FakeAnswer {
        serving.to_lock = true;
        match op {
            FakeOp::Receive(object) => {
                let has = shared.contenders.iter().any(|(other, message)| other == object && *message);
                if has { FakeAnswer::Done } else { FakeAnswer::Waiting }
            }
            FakeOp::New(object) | FakeOp::Notify(object) | FakeOp::Lock(object) if shared.blocks(object) => {
                FakeAnswer::Blocked
            }
            // Its own wait does not let its own unlock in, either.
            FakeOp::Unlock(_) if shared.mutex.is_some() => FakeAnswer::Blocked,
            FakeOp::New(object) => {
                shared.contenders.push((*object, false));
                FakeAnswer::Done
            }
            FakeOp::Notify(object) => {
                let others = shared.contenders.iter_mut().filter(|(other, _)| other != object);
                others.for_each(|(_, message)| *message = true);
                (serving.to_lock, serving.request) = (false, Some(serving.now));
                serving.touch = Touch::Wrote(None);
                FakeAnswer::Done
            }
            FakeOp::Lock(object) => {
                if let Some(mark) = shared.token {
                    shared.mutex = Some(*object);
                    serving.touch = Touch::Refused(mark);
                    return FakeAnswer::Waiting;
                }
                shared.mutex = None;
                serving.touch = Touch::Wrote(None);
                if shared.drains > 0 {
                    shared.drains -= 1;
                } else {
                    shared.token = Some(serving.mark(None));
                }
                FakeAnswer::Granted
            }
            FakeOp::GiveUp(object) => {
                shared.mutex.take_if(|owner| owner == object);
                FakeAnswer::Done
            }
            FakeOp::Unlock(object) => {
                shared.contenders.retain(|(other, _)| other != object);
                match shared.token.take() {
                    Some(mark) => serving.touch = Touch::Deleted(mark),
                    None => shared.drains += 1,
                }
                FakeAnswer::Done
            }
        }
    }

    fn is_read(_: &FakeOp) -> bool {
        false
    }

    fn lock(shared: &mut Shared) -> Option<&mut Mark> {
        shared.token.as_mut()
    }

    fn for_each_mark(shared: &mut Shared, look: &mut dyn FnMut(&mut Mark)) {
        shared.token.iter_mut().for_each(look);
    }

    fn sweep(_: &mut Shared, _: StoreTime) {}

    fn relocate_op(op: &mut FakeOp, names: &mut Names) {
        match op {
            FakeOp::New(object)
            | FakeOp::Notify(object)
            | FakeOp::Lock(object)
            | FakeOp::GiveUp(object)
            | FakeOp::Unlock(object)
            | FakeOp::Receive(object) => object.relocate(names),
        }
    }

    fn relocate_answer(_: &mut FakeAnswer, _: &mut Names) {}

    fn relocate_shelf(shared: &mut Shared, names: &mut Names) {
        shared.mutex.iter_mut().for_each(|object| object.relocate(names));
        shared.token.iter_mut().for_each(|mark| mark.relocate(names));
        // In which order they came does not matter.
        shared.contenders.iter_mut().for_each(|(object, _)| object.relocate(names));
        shared.contenders.sort_unstable();
    }
}

/// The lengths of the original; its defaults are those of [`super::acyl_locker::AcylConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeConfig {
    /// How long `Lock` waits, with the mutex. 20 s.
    pub lock_timeout: Span,
    /// How long after `Lock` a goroutine unlocks, whatever has happened since. 30 min 30 s.
    pub max_lock_duration: Span,
    /// How long a message waits before a goroutine unlocks. 10 s.
    pub preemption_timeout: Span,
    /// How long a lock that was taken is not told of. 10 s.
    pub lock_delay: Span,
    /// Between two looks at what a real goroutine would be woken by. 500 ms.
    pub poll: Span,
}

impl Default for FakeConfig {
    fn default() -> FakeConfig {
        FakeConfig {
            lock_timeout: Span::from_secs(20),
            max_lock_duration: Span::from_secs(30 * 60 + 30),
            preemption_timeout: Span::from_secs(10),
            lock_delay: Span::from_secs(10),
            poll: Span::from_millis(500),
        }
    }
}

/// The outstanding operations of a goroutine and of those that it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// What the caller waits for.
    Do,
    /// Whether there is a message.
    Receive,
    /// An unlock that nobody waits for.
    Unlock,
}

/// The locker over the fake provider. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FakeLocker {
    identity: Identity,
    /// Numbers the objects.
    objects: u32,
    context: Instant,
    phase: Phase,
    /// When what is blocked is tried again; never, while it is under way.
    retry: Instant,
    /// When it looks for a message; never, while it does.
    receive: Instant,
    /// When a message has waited for long.
    offered: Instant,
    /// Unlocks that nobody waits for, and when each is tried.
    unlocks: Vec<(Instant, Session)>,
    /// Whether the first of them is under way.
    unlocking: bool,
    /// Whether that one comes of a message that nobody received.
    forced: bool,
    /// Its maximum was over while it had the lock, and its goroutine has unlocked.
    put_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Creating,
    Notifying,
    Locking { until: Instant },
    GivingUp,
    Delaying { until: Instant },
    Holding,
    Releasing { preempted: bool },
}

type Out<'a> = &'a mut Effects<FakeLocker>;

impl Machine for FakeLocker {
    type Config = FakeConfig;
    type Store = Fake;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    fn new(_: &FakeConfig, identity: Identity) -> FakeLocker {
        FakeLocker {
            identity,
            objects: 0,
            context: Instant::MAX,
            phase: Phase::AtRest,
            retry: Instant::MAX,
            receive: Instant::MAX,
            offered: Instant::MAX,
            unlocks: Vec::new(),
            unlocking: false,
            forced: false,
            put_out: false,
        }
    }

    fn step(&mut self, config: &FakeConfig, now: Now, input: Input<FakeLocker>, out: Out<'_>) {
        match input {
            Input::Request(request) => self.request(now, request, out),
            Input::Reply { call: Call::Do, answer, at: _ } => self.done(config, now, answer, out),
            Input::Reply { call: Call::Receive, answer, at: _ } => self.received(config, now, answer, out),
            Input::Reply { call: Call::Unlock, answer, at: _ } => self.unlocked(config, now, answer),
            Input::Message(never) => match never {},
            Input::Wake => {}
        }
        self.run(config, now, out);
    }

    fn deadline(&self, _: &FakeConfig) -> Option<Instant> {
        let own = match self.phase {
            Phase::Locking { until } => until.min(self.context),
            Phase::Delaying { until } => until,
            Phase::AtRest
            | Phase::Creating
            | Phase::Notifying
            | Phase::GivingUp
            | Phase::Holding
            | Phase::Releasing { .. } => Instant::MAX,
        };
        let unlock = self.unlocks.iter().map(|(at, _)| *at).min().filter(|_| !self.unlocking);
        let at = own.min(self.retry).min(self.receive).min(self.offered).min(unlock.unwrap_or(Instant::MAX));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.serial(self.identity, &mut self.objects);
        map.identity(&mut self.identity);
        for at in [&mut self.context, &mut self.retry, &mut self.receive, &mut self.offered] {
            map.deadline(at);
        }
        for (at, object) in &mut self.unlocks {
            map.deadline(at);
            object.relocate(map);
        }
        match &mut self.phase {
            Phase::Locking { until } | Phase::Delaying { until } => map.deadline(until),
            Phase::AtRest
            | Phase::Creating
            | Phase::Notifying
            | Phase::GivingUp
            | Phase::Holding
            | Phase::Releasing { .. } => {}
        }
    }
}

impl FakeLocker {
    fn object(&self) -> Session {
        Session { process: self.identity, number: self.objects }
    }

    fn request(&mut self, now: Now, request: Request, out: Out<'_>) {
        match (self.phase, request) {
            // A1
            (Phase::AtRest, Request::Lock(span)) => {
                self.objects += 1;
                self.put_out = false;
                (self.context, self.offered) = (now.mono + span, Instant::MAX);
                self.receive = now.mono;
                self.go(Phase::Creating, out);
            }
            // H2
            (Phase::Holding, Request::Unlock) => self.go(Phase::Releasing { preempted: false }, out),
            // U1
            (Phase::AtRest, Request::Unlock) => self.unlocks.push((now.mono, self.object())),
            (
                Phase::AtRest
                | Phase::Creating
                | Phase::Notifying
                | Phase::Locking { .. }
                | Phase::GivingUp
                | Phase::Delaying { .. }
                | Phase::Holding
                | Phase::Releasing { .. },
                Request::Cancel,
            ) => self.context = self.context.min(now.mono),
            (
                Phase::Creating
                | Phase::Notifying
                | Phase::Locking { .. }
                | Phase::GivingUp
                | Phase::Delaying { .. }
                | Phase::Holding
                | Phase::Releasing { .. },
                Request::Lock(_),
            )
            | (
                Phase::Creating
                | Phase::Notifying
                | Phase::Locking { .. }
                | Phase::GivingUp
                | Phase::Delaying { .. }
                | Phase::Releasing { .. },
                Request::Unlock,
            ) => out.event(Event::Rejected),
        }
    }

    fn go(&mut self, phase: Phase, out: Out<'_>) {
        self.phase = phase;
        self.again(out);
    }

    /// Does what its phase is for, for the first time or once more.
    fn again(&mut self, out: Out<'_>) {
        let object = self.object();
        self.retry = Instant::MAX;
        out.store(
            Call::Do,
            match self.phase {
                Phase::Creating => FakeOp::New(object),
                Phase::Notifying => FakeOp::Notify(object),
                Phase::Locking { .. } => FakeOp::Lock(object),
                Phase::GivingUp => FakeOp::GiveUp(object),
                Phase::Releasing { .. } => FakeOp::Unlock(object),
                Phase::AtRest | Phase::Delaying { .. } | Phase::Holding => return,
            },
        );
    }

    fn done(&mut self, config: &FakeConfig, now: Now, answer: FakeAnswer, out: Out<'_>) {
        if matches!(answer, FakeAnswer::Blocked | FakeAnswer::Waiting) {
            self.retry = now.mono + config.poll;
            return;
        }
        match self.phase {
            Phase::Creating => self.go(Phase::Notifying, out),
            // C2
            Phase::Notifying => {
                self.unlocks.push((now.mono + config.max_lock_duration, self.object()));
                self.go(Phase::Locking { until: now.mono + config.lock_timeout }, out);
            }
            // C3
            Phase::Locking { .. } => self.phase = Phase::Delaying { until: now.mono + config.lock_delay },
            // C5
            Phase::GivingUp => {
                self.unlocks.push((now.mono, self.object()));
                self.rest(out, Event::Failed);
            }
            // R1
            Phase::Releasing { preempted } => {
                self.rest(out, if preempted { Event::Preempted } else { Event::Released });
            }
            Phase::AtRest | Phase::Delaying { .. } | Phase::Holding => {}
        }
    }

    fn rest(&mut self, out: Out<'_>, event: Event) {
        self.phase = Phase::AtRest;
        (self.receive, self.offered) = (Instant::MAX, Instant::MAX);
        out.forget(Call::Receive);
        out.event(event);
    }

    fn received(&mut self, config: &FakeConfig, now: Now, answer: FakeAnswer, out: Out<'_>) {
        if answer != FakeAnswer::Done {
            self.receive = now.mono + config.poll;
            return;
        }
        match self.phase {
            // D1
            Phase::Delaying { .. } => self.go(Phase::Releasing { preempted: true }, out),
            // H1
            Phase::Holding => out.event(Event::Asked),
            Phase::Creating | Phase::Notifying | Phase::Locking { .. } => {
                self.offered = now.mono + config.preemption_timeout;
            }
            Phase::AtRest | Phase::GivingUp | Phase::Releasing { .. } => {}
        }
    }

    fn unlocked(&mut self, config: &FakeConfig, now: Now, answer: FakeAnswer) {
        self.unlocking = false;
        let Some(first) = self.unlocks.first_mut() else { return };
        if answer == FakeAnswer::Blocked {
            first.0 = now.mono + config.poll;
        } else {
            self.unlocks.remove(0);
            self.forced = false;
        }
    }

    fn run(&mut self, config: &FakeConfig, now: Now, out: Out<'_>) {
        let is_due = |at: Instant| at != Instant::MAX && now.mono >= at;
        if is_due(self.receive) {
            self.receive = Instant::MAX;
            out.store(Call::Receive, FakeOp::Receive(self.object()));
        }
        // G1, or whoever receives now has received.
        if is_due(self.offered) || (self.offered != Instant::MAX && self.is_received()) {
            self.offered = Instant::MAX;
            if self.is_received() {
                self.received(config, now, FakeAnswer::Done, out);
            } else {
                self.unlocks.insert(0, (now.mono, self.object()));
                self.forced = true;
            }
        }
        match self.phase {
            // C4
            Phase::Locking { until } if now.mono >= until.min(self.context) => {
                out.forget(Call::Do);
                self.go(Phase::GivingUp, out);
            }
            // D2
            Phase::Delaying { until } if now.mono >= until => {
                self.phase = Phase::Holding;
                out.event(Event::Acquired);
            }
            Phase::AtRest
            | Phase::Creating
            | Phase::Notifying
            | Phase::Locking { .. }
            | Phase::GivingUp
            | Phase::Delaying { .. }
            | Phase::Holding
            | Phase::Releasing { .. } => {}
        }
        if is_due(self.retry) {
            self.again(out);
        }
        self.unlock(now, out);
    }

    fn is_received(&self) -> bool {
        matches!(self.phase, Phase::Delaying { .. } | Phase::Holding)
    }

    /// U1, C5, G1, G2: the first unlock that is due and that nobody waits for.
    fn unlock(&mut self, now: Now, out: Out<'_>) {
        if self.unlocking {
            return;
        }
        // Since when one is due that is, nobody asks.
        self.unlocks.sort_by_key(|(at, _)| now.mono.max(*at));
        if let Some((_, object)) = self.unlocks.first().copied().filter(|(at, _)| now.mono >= *at) {
            self.unlocking = true;
            self.put_out |= object == self.object() && self.is_received();
            out.store(Call::Unlock, FakeOp::Unlock(object));
        }
    }
}

impl Subject for FakeLocker {
    const READS_WALL: bool = false;
    const PREEMPTS: bool = true;

    /// It only asks whether an object is its own.
    fn is_symmetric(_: &FakeConfig) -> bool {
        true
    }

    fn reads_store_time(_: &FakeConfig) -> bool {
        false
    }

    fn request(ask: Ask) -> Option<Request> {
        match ask {
            Ask::Lock => Some(Request::Lock(Span::MAX)),
            Ask::LockFor(span) => Some(Request::Lock(span)),
            Ask::Cancel => Some(Request::Cancel),
            Ask::Unlock | Ask::UnlockAgain => Some(Request::Unlock),
            _ => None,
        }
    }

    fn told(event: &Event) -> Told {
        super::acyl_locker::told(event)
    }

    fn belief(&self) -> Option<Instant> {
        (self.phase == Phase::Holding).then_some(Instant::MAX)
    }

    fn ttl(config: &FakeConfig) -> Span {
        config.max_lock_duration
    }

    fn drift(_: &FakeConfig) -> Ppm {
        Ppm::ZERO
    }

    fn preemption(config: &FakeConfig) -> Preemption {
        let notice = config.poll * 2;
        Preemption {
            notice,
            waiter_notice: Span::MAX,
            grace: config.preemption_timeout,
            limit: config.max_lock_duration,
            contention: Span::MAX,
        }
    }

    /// The mutex is held by whoever waits with it; or an unlock comes of what was never locked, or of a maximum.
    fn knot(&self) -> Option<Knot> {
        if self.forced {
            return Some(Knot::Ghost);
        }
        if self.put_out {
            return Some(Knot::Dropped);
        }
        match self.phase {
            Phase::Locking { .. } | Phase::GivingUp => Some(Knot::Table),
            Phase::AtRest
            | Phase::Creating
            | Phase::Notifying
            | Phase::Delaying { .. }
            | Phase::Holding
            | Phase::Releasing { .. } => None,
        }
    }
}
