//! acyl's preemptive locker over PostgreSQL: a session-level advisory lock, and a notification that makes others yield.
//!
//! `Lock` pins a connection of a pool, notifies, then listens, then queries for the lock, then waits out the lock delay.
//! A goroutine waits meanwhile for the first thing that happens: a foreign notification, the end of the context or of the
//! maximum duration, a session that broke. It offers one message to whoever may receive it, unlocks by itself if nobody
//! does in time, and ends.
//!
//! # Transitions
//!
//! | | phase | input | guard | next phase | effects |
//! |---|---|---|---|---|---|
//! | A1 | at rest, pausing | lock, or pause over | | notifying | notify, on a connection of the pool or a new one |
//! | N1 | notifying | done | | listening | listen, on a connection of its own |
//! | N2 | notifying | error | | failed | the connection stays pinned (L9) |
//! | L1 | listening | done | context not done | locking | lock |
//! | L2 | listening | error | | listening | listen again after 10 s, 20 s, 40 s, 60 s …, whatever the context says (L8) |
//! | L3 | listening | done | context done | failed | both connections stay until the goroutine ends |
//! | Q1 | locking | granted | no unlock was queued | delaying | |
//! | Q2 | locking | granted | an unlock was queued | delaying | unlock: it has what it has not (L1) |
//! | Q3 | locking | lock timeout, or context done | | failed | cancel the query; as L3 (L9) |
//! | D1 | delaying | a message is offered | | releasing, preempted | unlock |
//! | D2 | delaying | lock delay over | | holding | event acquired |
//! | H1 | holding | a message is offered | its caller receives | holding | event asked |
//! | H2 | holding | unlock | | releasing | unlock, close the listener |
//! | R1 | releasing | any answer, or 5 s over | | at rest | event released, or preempted; the connection goes to the pool, even if it still owns the lock (L7) |
//! | G1 | any with a goroutine | foreign notification, session error, end of context or maximum | it still waits | the same | offer a message for the preemption timeout; it waits for nothing more (L3) |
//! | G2 | any with a goroutine | the listener's connection breaks | it still waits | the same | it ends in silence (L4) |
//! | G3 | locking | the offer is over | | locking | queue an unlock |
//! | G4 | holding | the offer is over | | holding | unlock; nobody is told (L2) |
//! | F1 | failed | | its caller would wait for ever | pausing | |
//! | F2 | failed | | | at rest | event denied |
//!
//! # What is left out, and what is assumed
//!
//! - A caller who would wait for ever asks again when `Lock` fails, on a new locker, as it has to: a locker is used once.
//! - A query that waits is asked about every second, and so is a listener: see [`super::advisory`].
//! - The server ends the sessions of a process that it has not heard of for 15 s. How soon a real one notices depends on
//!   its configuration; upstream leaves it to the system's. A second of silence more or less changes no verdict.
//! - The server has room for few connections, so that a run can use them up (L9). The goroutine of a locker that failed
//!   ends after one preemption timeout, as if a notification had come at once: it is never held against the original that
//!   none does.
//! - L10 (limits of payload and key space) and L11 (a trap for who mends L4) are no behaviour in time.

use std::convert::Infallible;

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Now, Ppm, Span};
use serde::{Deserialize, Serialize};

use super::advisory::{Pg, PgAnswer, PgOp, Session};
use crate::subject::{Ask, Knot, Preemption, Subject, Told};

/// The lengths of the original. Those of its lock default to 20 s, 30 min 30 s, 10 s and 10 s; a run in which the
/// maximum is to matter needs a shorter one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcylConfig {
    /// How long the query for the lock may take. 20 s.
    pub lock_timeout: Span,
    /// How long after it was asked for a lock is offered a message. 30 min 30 s.
    pub max_lock_duration: Span,
    /// How long a message is offered before the goroutine unlocks. 10 s.
    pub preemption_timeout: Span,
    /// How long a lock that was taken is not told of. 10 s.
    pub lock_delay: Span,
    /// Whether its caller receives from the channel while it holds.
    pub attentive: bool,
    /// Between two pings. 3 s.
    pub ping_interval: Span,
    /// How long an unlock may take. 5 s.
    pub unlock_timeout: Span,
    /// The first pause of a listener that could not connect. 10 s; twice as long each time, up to six times as long.
    pub reconnect: Span,
    /// How long the server waits for a process that is silent. 15 s.
    pub session_timeout: Span,
    /// How many connections the server has room for.
    pub room: u32,
    /// Between two looks at what a real server would say by itself. 1 s.
    pub poll: Span,
    /// How long a caller who would wait for ever pauses when `Lock` has failed. 1 s.
    pub pause: Span,
}

impl Default for AcylConfig {
    fn default() -> AcylConfig {
        AcylConfig {
            lock_timeout: Span::from_secs(20),
            max_lock_duration: Span::from_secs(30 * 60 + 30),
            preemption_timeout: Span::from_secs(10),
            lock_delay: Span::from_secs(10),
            attentive: true,
            ping_interval: Span::from_secs(3),
            unlock_timeout: Span::from_secs(5),
            reconnect: Span::from_secs(10),
            session_timeout: Span::from_secs(15),
            room: 100,
            poll: Span::from_secs(1),
            pause: Span::from_secs(1),
        }
    }
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The lock, with a context that ends after so long; [`Span::MAX`] is the background context.
    Lock(Span),
    /// To end that context.
    Cancel,
    /// To release.
    Unlock,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `Lock` returned the channel.
    Acquired,
    /// A message came on the channel.
    Asked,
    /// `Lock` returned the error that says so.
    Preempted,
    /// `Lock` returned another error.
    Failed,
    /// `Release` returned.
    Released,
    /// The model does not cover the request.
    Rejected,
}

/// The outstanding requests of a locker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Tell the others.
    Notify,
    /// Hear of the others.
    Listen,
    /// Query for the lock.
    Lock,
    /// Whether the query was answered.
    Fetch,
    /// End the query.
    Cancel,
    /// Give the lock back.
    Unlock,
    /// What has come.
    Receive,
    /// Keep the session alive, and see whether it is.
    Ping,
    /// Close connections.
    Close,
}

/// The locker. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcylLocker {
    identity: Identity,
    /// Numbers the connections.
    connections: u32,
    /// What was given back to the pool, and whether it still owns the lock.
    pool: Option<(Session, bool)>,
    /// Whether there are connections that nobody will ever close.
    leaks: bool,
    /// Connections of a locker that failed, and when its goroutine ends.
    failing: Option<(Vec<Session>, Instant)>,
    ping: Timer,
    /// Connections that are being closed.
    closing: Vec<Session>,
    phase: Phase,
}

/// Something that is done again and again, once it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Timer {
    next: Instant,
    /// Whether it is being done; then it is due when it is answered.
    under_way: bool,
}

impl Timer {
    const OFF: Timer = Timer { next: Instant::MAX, under_way: false };

    fn after(now: Now, period: Span) -> Timer {
        Timer { next: now.mono + period, under_way: false }
    }

    fn deadline(self) -> Instant {
        if self.under_way { Instant::MAX } else { self.next }
    }

    /// Whether it is to be done now; if so, it is under way.
    fn rings(&mut self, now: Now) -> bool {
        let rings = now.mono >= self.deadline() && self.next != Instant::MAX;
        self.under_way |= rings;
        rings
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Pausing { until: Instant },
    Notifying { pin: Pin },
    Listening { pin: Pin, pause: Span, retry: Instant },
    Locking { pin: Pin, until: Instant, fetch: Timer, unlock: bool },
    Delaying { pin: Pin, until: Instant },
    Holding { pin: Pin },
    Releasing { session: Session, owns: bool, until: Instant, preempted: bool },
}

/// A lock that is being used: its connections, and its goroutine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pin {
    session: Session,
    listener: Session,
    /// When the caller's context ends.
    context: Instant,
    /// When the maximum duration is over.
    end: Instant,
    receive: Timer,
    watch: Watch,
    /// Whether the pinger still runs: it ends with the first ping that fails.
    pings: bool,
    /// Whether an unlock of this connection has failed: it owns the lock for as long as it lives.
    owns: bool,
}

/// The goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Watch {
    Waiting,
    Offering {
        until: Instant,
    },
    /// It delivered its message, and ended.
    Delivered,
    /// It met a reconnection, and ended.
    Nil,
    /// It unlocked while the lock was being waited for.
    Ghost,
    /// It unlocked while the lock was held.
    Dropped,
}

impl Watch {
    fn deadline(self, pin: &Pin) -> Instant {
        match self {
            Watch::Waiting => pin.context.min(pin.end),
            Watch::Offering { until } => until,
            Watch::Delivered | Watch::Nil | Watch::Ghost | Watch::Dropped => Instant::MAX,
        }
    }
}

type Out<'a> = &'a mut Effects<AcylLocker>;

impl Machine for AcylLocker {
    type Config = AcylConfig;
    type Store = Pg;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    fn new(_: &AcylConfig, identity: Identity) -> AcylLocker {
        AcylLocker {
            identity,
            connections: 0,
            pool: None,
            leaks: false,
            failing: None,
            ping: Timer::OFF,
            closing: Vec::new(),
            phase: Phase::AtRest,
        }
    }

    fn step(&mut self, config: &AcylConfig, now: Now, input: Input<AcylLocker>, out: Out<'_>) {
        match input {
            Input::Request(request) => self.request(config, now, request, out),
            Input::Reply { call, answer, at: _ } => self.reply(config, now, call, answer, out),
            Input::Message(never) => match never {},
            Input::Wake => {}
        }
        self.run(config, now, out);
    }

    fn deadline(&self, _: &AcylConfig) -> Option<Instant> {
        let own = match &self.phase {
            Phase::AtRest | Phase::Notifying { .. } => Instant::MAX,
            Phase::Pausing { until } => *until,
            Phase::Listening { retry, .. } => *retry,
            Phase::Locking { pin, until, fetch, .. } => (*until).min(pin.context).min(fetch.deadline()),
            Phase::Delaying { until, .. } | Phase::Releasing { until, .. } => *until,
            Phase::Holding { .. } => Instant::MAX,
        };
        let of_pin =
            self.watched().map_or(Instant::MAX, |pin| pin.receive.deadline().min(pin.watch.deadline(pin)));
        let failing = self.failing.as_ref().map_or(Instant::MAX, |(_, until)| *until);
        let at = own.min(of_pin).min(failing).min(self.ping.deadline());
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        // Zero is the number of no connection, and remains so.
        map.serial(self.identity, &mut 0);
        map.serial(self.identity, &mut self.connections);
        map.identity(&mut self.identity);
        if let Some((session, _)) = &mut self.pool {
            session.relocate(map);
        }
        self.closing.iter_mut().for_each(|session| session.relocate(map));
        if let Some((sessions, until)) = &mut self.failing {
            sessions.iter_mut().for_each(|session| session.relocate(map));
            map.deadline(until);
        }
        self.ping.relocate(map);
        match &mut self.phase {
            Phase::AtRest => {}
            Phase::Pausing { until } => map.deadline(until),
            Phase::Notifying { pin } | Phase::Holding { pin } => pin.relocate(map),
            Phase::Listening { pin, pause: _, retry } => {
                pin.relocate(map);
                map.deadline(retry);
            }
            Phase::Locking { pin, until, fetch, unlock: _ } => {
                pin.relocate(map);
                map.deadline(until);
                fetch.relocate(map);
            }
            Phase::Delaying { pin, until } => {
                pin.relocate(map);
                map.deadline(until);
            }
            Phase::Releasing { session, owns: _, until, preempted: _ } => {
                session.relocate(map);
                map.deadline(until);
            }
        }
    }
}

impl Timer {
    fn relocate(&mut self, map: &mut impl Relocate) {
        map.deadline(&mut self.next);
    }
}

impl Pin {
    fn relocate(&mut self, map: &mut impl Relocate) {
        self.session.relocate(map);
        self.listener.relocate(map);
        map.deadline(&mut self.context);
        map.deadline(&mut self.end);
        self.receive.relocate(map);
        if let Watch::Offering { until } = &mut self.watch {
            map.deadline(until);
        }
    }
}

impl AcylLocker {
    /// The lock in use, if its goroutine runs, or has run.
    fn watched(&self) -> Option<&Pin> {
        match &self.phase {
            Phase::Locking { pin, .. } | Phase::Delaying { pin, .. } | Phase::Holding { pin } => Some(pin),
            Phase::AtRest
            | Phase::Pausing { .. }
            | Phase::Notifying { .. }
            | Phase::Listening { .. }
            | Phase::Releasing { .. } => None,
        }
    }

    fn watched_mut(&mut self) -> Option<&mut Pin> {
        match &mut self.phase {
            Phase::Locking { pin, .. } | Phase::Delaying { pin, .. } | Phase::Holding { pin } => Some(pin),
            Phase::AtRest
            | Phase::Pausing { .. }
            | Phase::Notifying { .. }
            | Phase::Listening { .. }
            | Phase::Releasing { .. } => None,
        }
    }

    fn request(&mut self, config: &AcylConfig, now: Now, request: Request, out: Out<'_>) {
        match (&mut self.phase, request) {
            (Phase::AtRest, Request::Lock(span)) => self.begin(config, now, now.mono + span, out),
            (Phase::Pausing { .. }, Request::Cancel) => {
                self.phase = Phase::AtRest;
                out.event(Event::Failed);
            }
            (
                Phase::Notifying { pin }
                | Phase::Listening { pin, .. }
                | Phase::Locking { pin, .. }
                | Phase::Delaying { pin, .. }
                | Phase::Holding { pin },
                Request::Cancel,
            ) => pin.context = pin.context.min(now.mono),
            // H2
            (Phase::Holding { pin }, Request::Unlock) => {
                let pin = pin.clone();
                self.release(config, now, pin, false, out);
            }
            (
                Phase::Pausing { .. }
                | Phase::Notifying { .. }
                | Phase::Listening { .. }
                | Phase::Locking { .. }
                | Phase::Delaying { .. }
                | Phase::Holding { .. }
                | Phase::Releasing { .. },
                Request::Lock(_),
            )
            | (
                Phase::AtRest
                | Phase::Pausing { .. }
                | Phase::Notifying { .. }
                | Phase::Listening { .. }
                | Phase::Locking { .. }
                | Phase::Delaying { .. }
                | Phase::Releasing { .. },
                Request::Unlock,
            )
            | (Phase::AtRest | Phase::Releasing { .. }, Request::Cancel) => out.event(Event::Rejected),
        }
    }

    fn connect(&mut self) -> Session {
        self.connections += 1;
        Session { process: self.identity, number: self.connections }
    }

    /// A1
    fn begin(&mut self, config: &AcylConfig, now: Now, context: Instant, out: Out<'_>) {
        // A session enters again what it owns, and gives one of its holds back.
        let (session, owns) = self.pool.take().unwrap_or_else(|| (self.connect(), false));
        let listener = self.connect();
        let end = now.mono + config.max_lock_duration;
        let (receive, watch) = (Timer::OFF, Watch::Waiting);
        if self.ping == Timer::OFF {
            self.ping = Timer::after(now, config.ping_interval);
        }
        self.phase = Phase::Notifying {
            pin: Pin { session, listener, context, end, receive, watch, pings: true, owns },
        };
        let (room, patience) = (config.room, config.session_timeout);
        out.store(Call::Notify, PgOp::Notify { session, room, patience });
    }

    fn reply(&mut self, config: &AcylConfig, now: Now, call: Call, answer: PgAnswer, out: Out<'_>) {
        let failed = answer == PgAnswer::Error;
        match (call, &mut self.phase) {
            // N1, N2
            (Call::Notify, Phase::Notifying { pin }) => {
                let pin = pin.clone();
                if failed {
                    self.leaks = true;
                    return self.fail(config, now, &pin, out);
                }
                self.listen(config, pin, config.reconnect, out);
            }
            (Call::Listen, Phase::Listening { pin, pause, retry }) => {
                if failed {
                    // L2
                    *retry = now.mono + *pause;
                    *pause = (*pause * 2).min(config.reconnect * 6);
                    return;
                }
                let pin = pin.clone();
                self.query(config, now, pin, out);
            }
            (Call::Lock | Call::Fetch, Phase::Locking { pin, fetch, unlock, .. }) => match answer {
                // Q1, Q2
                PgAnswer::Granted => {
                    let (mut pin, unlock) = (pin.clone(), *unlock);
                    if unlock {
                        pin.watch = Watch::Ghost;
                        out.store(Call::Unlock, PgOp::Unlock(pin.session));
                    }
                    self.phase = Phase::Delaying { pin, until: now.mono + config.lock_delay };
                }
                PgAnswer::Waiting => *fetch = Timer::after(now, config.poll),
                PgAnswer::Error | PgAnswer::Done | PgAnswer::Messages(_) => {
                    let pin = pin.clone();
                    self.fail_late(config, now, &pin, out);
                }
            },
            // Of what it does by itself, nobody hears.
            (Call::Unlock, Phase::Delaying { pin, .. } | Phase::Holding { pin }) => pin.owns |= failed,
            // R1
            (Call::Unlock, Phase::Releasing { session, owns, preempted, .. }) => {
                let (session, owns, preempted) = (*session, *owns || failed, *preempted);
                self.end(session, owns, preempted, out);
            }
            (Call::Close, _) => {
                if failed {
                    self.close(Vec::new(), out);
                } else {
                    self.closing.clear();
                }
            }
            (Call::Receive, _) => self.received(config, now, answer),
            (Call::Ping, _) => {
                self.ping = Timer::after(now, config.ping_interval);
                if failed && let Some(pin) = self.watched_mut().filter(|pin| pin.pings) {
                    pin.pings = false;
                    offer(config, now, pin);
                }
            }
            (Call::Notify | Call::Listen | Call::Lock | Call::Fetch | Call::Cancel | Call::Unlock, _) => {}
        }
    }

    fn listen(&mut self, config: &AcylConfig, pin: Pin, pause: Span, out: Out<'_>) {
        out.store(Call::Listen, PgOp::Listen { session: pin.listener, room: config.room });
        self.phase = Phase::Listening { pin, pause, retry: Instant::MAX };
    }

    /// L1, L3: it listens, and its goroutine begins.
    fn query(&mut self, config: &AcylConfig, now: Now, mut pin: Pin, out: Out<'_>) {
        pin.receive = Timer::after(now, config.poll);
        if now.mono >= pin.context {
            return self.fail_late(config, now, &pin, out);
        }
        out.store(Call::Lock, PgOp::Lock(pin.session));
        let fetch = Timer { next: Instant::MAX, under_way: true };
        self.phase = Phase::Locking { pin, until: now.mono + config.lock_timeout, fetch, unlock: false };
    }

    /// Q3, L3: `Lock` fails, and its goroutine goes on for a while.
    fn fail_late(&mut self, config: &AcylConfig, now: Now, pin: &Pin, out: Out<'_>) {
        self.close_failing(out);
        out.forget(Call::Lock);
        out.forget(Call::Fetch);
        out.forget(Call::Receive);
        out.store(Call::Cancel, PgOp::Cancel(pin.session));
        self.failing = Some((vec![pin.session, pin.listener], now.mono + config.preemption_timeout));
        self.fail(config, now, pin, out);
    }

    fn close_failing(&mut self, out: Out<'_>) {
        if let Some((sessions, _)) = self.failing.take() {
            self.close(sessions, out);
        }
    }

    /// Closes these, and what was to be closed before: that needs nobody's consent.
    fn close(&mut self, sessions: Vec<Session>, out: Out<'_>) {
        self.closing.extend(sessions);
        out.store(Call::Close, PgOp::Close(self.closing.clone()));
    }

    /// F1, F2
    fn fail(&mut self, config: &AcylConfig, now: Now, pin: &Pin, out: Out<'_>) {
        if pin.context == Instant::MAX {
            self.phase = Phase::Pausing { until: now.mono + config.pause };
        } else {
            self.phase = Phase::AtRest;
            out.event(Event::Failed);
        }
    }

    fn release(&mut self, config: &AcylConfig, now: Now, pin: Pin, preempted: bool, out: Out<'_>) {
        out.forget(Call::Receive);
        self.close(vec![pin.listener], out);
        // A second unlock is an error, and nothing else.
        if matches!(pin.watch, Watch::Ghost | Watch::Dropped) {
            out.forget(Call::Unlock);
            return self.end(pin.session, pin.owns, preempted, out);
        }
        out.store(Call::Unlock, PgOp::Unlock(pin.session));
        let (session, owns, until) = (pin.session, pin.owns, now.mono + config.unlock_timeout);
        self.phase = Phase::Releasing { session, owns, until, preempted };
    }

    /// R1: whatever has become of the unlock, the connection is given back.
    fn end(&mut self, session: Session, owns: bool, preempted: bool, out: Out<'_>) {
        self.pool = Some((session, owns));
        self.phase = Phase::AtRest;
        out.event(if preempted { Event::Preempted } else { Event::Released });
    }

    /// G1, G2: what the listener has heard.
    fn received(&mut self, config: &AcylConfig, now: Now, answer: PgAnswer) {
        let own = self.identity;
        let Some(pin) = self.watched_mut() else { return };
        pin.receive = Timer::after(now, config.poll);
        match answer {
            PgAnswer::Messages(sessions) => {
                if sessions.iter().any(|session| session.process != own || *session != pin.session) {
                    offer(config, now, pin);
                }
            }
            PgAnswer::Error => {
                // It connects again, and listens again; of the goroutine, nothing is left.
                if pin.watch == Watch::Waiting {
                    pin.watch = Watch::Nil;
                }
                pin.receive = Timer::OFF;
            }
            PgAnswer::Done | PgAnswer::Granted | PgAnswer::Waiting => {}
        }
    }

    /// What is due, and what may be delivered.
    fn run(&mut self, config: &AcylConfig, now: Now, out: Out<'_>) {
        if self.ping.rings(now) {
            self.send_ping(config, out);
        }
        if self.failing.as_ref().is_some_and(|(_, until)| now.mono >= *until) {
            self.close_failing(out);
        }
        if let Some(pin) = self.watched_mut() {
            if pin.receive.rings(now) {
                out.store(Call::Receive, PgOp::Receive(pin.listener));
            }
            if pin.watch == Watch::Waiting && now.mono >= pin.context.min(pin.end) {
                offer(config, now, pin);
            }
        }
        self.deliver(config, now, out);
        match &mut self.phase {
            Phase::Pausing { until } if now.mono >= *until => self.begin(config, now, Instant::MAX, out),
            Phase::Listening { pin, pause, retry } if now.mono >= *retry => {
                let (pin, pause) = (pin.clone(), *pause);
                self.listen(config, pin, pause, out);
            }
            // Q3
            Phase::Locking { pin, until, .. } if now.mono >= (*until).min(pin.context) => {
                let pin = pin.clone();
                self.fail_late(config, now, &pin, out);
            }
            Phase::Locking { pin, fetch, .. } => {
                if fetch.rings(now) {
                    out.store(Call::Fetch, PgOp::Fetch(pin.session));
                }
            }
            // D2
            Phase::Delaying { pin, until } if now.mono >= *until => {
                self.phase = Phase::Holding { pin: pin.clone() };
                out.event(Event::Acquired);
                self.deliver(config, now, out);
            }
            Phase::Releasing { session, owns: _, until, preempted } if now.mono >= *until => {
                let (session, preempted) = (*session, *preempted);
                out.forget(Call::Unlock);
                self.end(session, true, preempted, out);
            }
            Phase::AtRest
            | Phase::Pausing { .. }
            | Phase::Notifying { .. }
            | Phase::Listening { .. }
            | Phase::Delaying { .. }
            | Phase::Holding { .. }
            | Phase::Releasing { .. } => {}
        }
    }

    /// The pinger begins with the pinned connection, before anything else does.
    fn send_ping(&mut self, config: &AcylConfig, out: Out<'_>) {
        let pinned = match &self.phase {
            Phase::AtRest | Phase::Pausing { .. } => self.pool.map(|(session, _)| session),
            Phase::Releasing { session, .. } => Some(*session),
            Phase::Notifying { pin }
            | Phase::Listening { pin, .. }
            | Phase::Locking { pin, .. }
            | Phase::Delaying { pin, .. }
            | Phase::Holding { pin } => Some(pin.session),
        };
        let nobody = Session { process: self.identity, number: 0 };
        let (session, patience) = (pinned.unwrap_or(nobody), config.session_timeout);
        out.store(Call::Ping, PgOp::Ping { session, patience });
    }

    /// G3, G4, D1, H1: what becomes of a message that is being offered.
    fn deliver(&mut self, config: &AcylConfig, now: Now, out: Out<'_>) {
        match &mut self.phase {
            // G3
            Phase::Locking { pin: Pin { watch: watch @ Watch::Offering { .. }, .. }, unlock, .. } => {
                if let Watch::Offering { until } = *watch
                    && now.mono >= until
                {
                    (*watch, *unlock) = (Watch::Ghost, true);
                }
            }
            // D1
            Phase::Delaying { pin, .. } if matches!(pin.watch, Watch::Offering { .. }) => {
                let pin = pin.clone();
                self.release(config, now, pin, true, out);
            }
            Phase::Holding { pin } => {
                let Watch::Offering { until } = pin.watch else { return };
                if config.attentive {
                    // H1
                    pin.watch = Watch::Delivered;
                    out.event(Event::Asked);
                } else if now.mono >= until {
                    // G4
                    pin.watch = Watch::Dropped;
                    out.store(Call::Unlock, PgOp::Unlock(pin.session));
                }
            }
            Phase::AtRest
            | Phase::Pausing { .. }
            | Phase::Notifying { .. }
            | Phase::Listening { .. }
            | Phase::Locking { .. }
            | Phase::Delaying { .. }
            | Phase::Releasing { .. } => {}
        }
    }
}

/// G1: the goroutine has met the first thing, and offers its message.
fn offer(config: &AcylConfig, now: Now, pin: &mut Pin) {
    if pin.watch == Watch::Waiting {
        pin.watch = Watch::Offering { until: now.mono + config.preemption_timeout };
    }
}

pub(super) fn told(event: &Event) -> Told {
    match event {
        Event::Acquired => Told::Acquired(None),
        Event::Asked => Told::Asked,
        Event::Preempted => Told::Preempted,
        Event::Failed => Told::Denied,
        Event::Released => Told::Released,
        Event::Rejected => Told::Rejected,
    }
}

impl Subject for AcylLocker {
    const READS_WALL: bool = false;
    const PREEMPTS: bool = true;

    /// It only asks whether a session is its own.
    fn is_symmetric(_: &AcylConfig) -> bool {
        true
    }

    fn reads_store_time(_: &AcylConfig) -> bool {
        false
    }

    fn request(ask: Ask) -> Option<Request> {
        match ask {
            Ask::Lock => Some(Request::Lock(Span::MAX)),
            Ask::LockFor(span) => Some(Request::Lock(span)),
            Ask::Cancel => Some(Request::Cancel),
            Ask::Unlock => Some(Request::Unlock),
            _ => None,
        }
    }

    fn told(event: &Event) -> Told {
        told(event)
    }

    fn belief(&self) -> Option<Instant> {
        matches!(self.phase, Phase::Holding { .. }).then_some(Instant::MAX)
    }

    fn ttl(config: &AcylConfig) -> Span {
        config.session_timeout
    }

    fn drift(_: &AcylConfig) -> Ppm {
        Ppm::ZERO
    }

    fn lateness(config: &AcylConfig) -> Span {
        config.lock_timeout + config.max_lock_duration + config.preemption_timeout
    }

    /// A notification arrives at once; the maximum duration is followed by the preemption timeout. A waiter learns that it
    /// was superseded once it has the lock: how the original is made, though its documentation says otherwise.
    fn preemption(config: &AcylConfig) -> Preemption {
        Preemption {
            notice: config.poll * 2 + Span::from_millis(500),
            waiter_notice: Span::MAX,
            grace: config.preemption_timeout,
            limit: config.max_lock_duration + config.preemption_timeout,
            contention: Span::MAX,
        }
    }

    fn knot(&self) -> Option<Knot> {
        let of_goroutine = self.watched().and_then(|pin| match pin.watch {
            Watch::Delivered => Some(Knot::Delivered),
            Watch::Nil => Some(Knot::Nil),
            Watch::Ghost => Some(Knot::Ghost),
            Watch::Dropped => Some(Knot::Dropped),
            Watch::Waiting | Watch::Offering { .. } => None,
        });
        let is_pooled = self.pool.is_some_and(|(_, owns)| owns) || self.watched().is_some_and(|pin| pin.owns);
        let pooled = is_pooled.then_some(Knot::Pooled);
        of_goroutine.or(pooled).or(self.leaks.then_some(Knot::Leaked))
    }
}
