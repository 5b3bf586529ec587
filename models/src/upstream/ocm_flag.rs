//! The leadership flag of OCM's SDK for Go: a row in a table, a bit in a process, and a loop that compares them.
//!
//! Each check is up to three statements: read the database's clock, load the row, write it. Each has a time-out of its
//! own; any error lowers the bit. Between two checks nothing does: the bit has no end of its own (G1), and closing stops
//! the loop and leaves it as it is (G2).
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | A1 | not built, closing, closed | stand | | asking the time | another flag: the bit is false; statement now |
//! | C1 | waiting | wake | | asking the time | statement now |
//! | C2 | asking the time | answered | | loading | statement load |
//! | C3 | loading | no row | | writing | insert |
//! | C4 | loading | its own holder, however old | | writing | update of that version and holder |
//! | C5 | loading | another holder | older than the interval | writing | update of that version |
//! | C6 | loading | another holder | not older | waiting, a check | lower |
//! | C7 | writing | written | | waiting, a check | raise |
//! | C8 | writing | not written | | waiting, a check | lower |
//! | E1 | asking, loading, writing | error, or the time-out | | waiting, a retry | lower |
//! | E2 | any | a statement is due | the context of the build has ended (G7) | waiting, a retry | lower |
//! | Z1 | waiting | close | | closed | event closed; the bit stays |
//! | Z2 | asking, loading, writing | close | | closing | event closed; the bit stays |
//! | Z3 | closing | the check goes on as above, and then | | closed | raise, or lower |
//! | Z4 | closing, closed | close | | dead | event panicked (G2) |
//! | B1 | built | stand | | the same | event rejected |
//!
//! Lower and raise tell the caller only where the bit changes.
//!
//! # What is left out
//!
//! G8: that processes which create the table at the same time disturb each other. The precheck, which the version that is
//! modelled does not have yet. Drivers that ignore a statement's deadline.

mod table;
#[cfg(test)]
mod tests;

use std::convert::Infallible;

use fencepost::lease::Jittered;
use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Now, Ppm, Span, StoreTime};
use serde::{Deserialize, Serialize};

use crate::subject::{Ask, Knot, Play, Subject, Told};
use crate::world::{identity, parts};
pub use table::{Row, Shelf, Table, TableAnswer, TableOp, Write};

/// What a builder is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OcmConfig {
    /// The interval: how old a row may get. 30 s.
    pub interval: Span,
    /// The time-out of each statement. 1 s.
    pub timeout: Span,
    /// By how much every delay is shorter or longer at most; the whole is allowed. 20 %.
    pub jitter: Ppm,
    /// Whether all processes were given the same name.
    pub namesakes: bool,
    /// After how long the context ends that the flag was built with; never, if `None`.
    pub build_deadline: Option<Span>,
}

impl Default for OcmConfig {
    fn default() -> OcmConfig {
        OcmConfig {
            interval: Span::from_secs(30),
            timeout: Span::from_secs(1),
            jitter: Ppm::percent(20),
            namesakes: false,
            build_deadline: None,
        }
    }
}

impl OcmConfig {
    fn part(&self, divisor: u64) -> Jittered {
        Jittered::around(Span::from_nanos(self.interval.as_nanos() / divisor), self.jitter)
    }

    fn check(&self) -> Jittered {
        self.part(2)
    }

    fn retry(&self) -> Jittered {
        self.part(10)
    }
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To build a flag.
    Build,
    /// To close it.
    Close,
}

/// What a caller could see by asking `Raised()` again and again, and what its calls return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The bit is set.
    Raised,
    /// The bit is cleared.
    Lowered,
    /// `Close` returned.
    Closed,
    /// There is a flag already.
    Rejected,
    /// The process died.
    Panicked,
}

/// The outstanding statements of a flag: one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Read the clock.
    Now,
    /// Load the row.
    Load,
    /// Insert or update it.
    Write,
}

/// The flag. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OcmFlag {
    holder: Identity,
    bit: bool,
    /// When the context of the build ends.
    context: Instant,
    closing: bool,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Waiting { until: Instant },
    Asking { sent: Instant },
    Loading { sent: Instant, now: StoreTime },
    Writing { sent: Instant },
    Dead,
}

type Out<'a> = &'a mut Effects<OcmFlag>;

impl Machine for OcmFlag {
    type Config = OcmConfig;
    type Store = Table;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    /// The name of a process is that of its place, and so it is the same after a restart.
    fn new(config: &OcmConfig, own: Identity) -> OcmFlag {
        let name = parts(own).filter(|_| !config.namesakes).map(|(id, _)| identity(id.0, 0));
        OcmFlag {
            holder: name.unwrap_or_default(),
            bit: false,
            context: Instant::MAX,
            closing: false,
            phase: Phase::AtRest,
        }
    }

    fn step(&mut self, config: &OcmConfig, now: Now, input: Input<OcmFlag>, out: Out<'_>) {
        match input {
            Input::Request(Request::Build) => self.build(config, now, out),
            Input::Request(Request::Close) => self.close(out),
            Input::Reply { call: _, answer, at: _ } => self.answered(config, now, answer, out),
            Input::Message(never) => match never {},
            Input::Wake => self.wake(config, now, out),
        }
    }

    fn deadline(&self, config: &OcmConfig) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Asking { sent } | Phase::Loading { sent, .. } | Phase::Writing { sent } => {
                Some((*sent + config.timeout).min(self.context))
            }
            Phase::AtRest | Phase::Dead => None,
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.identity(&mut self.holder);
        map.deadline(&mut self.context);
        match &mut self.phase {
            Phase::Waiting { until } => map.deadline(until),
            Phase::Asking { sent } | Phase::Writing { sent } => map.instant(sent),
            Phase::Loading { sent, now } => {
                map.instant(sent);
                map.store_time(now);
            }
            Phase::AtRest | Phase::Dead => {}
        }
    }
}

impl OcmFlag {
    fn build(&mut self, config: &OcmConfig, now: Now, out: Out<'_>) {
        match (&self.phase, self.closing) {
            (Phase::Dead, _) => {}
            // A1
            (Phase::AtRest, _) | (_, true) => {
                [Call::Now, Call::Load, Call::Write].into_iter().for_each(|call| out.forget(call));
                (self.bit, self.closing) = (false, false);
                self.context = config.build_deadline.map_or(Instant::MAX, |span| now.mono + span);
                self.check(config, now, out);
            }
            // B1
            (
                Phase::Waiting { .. } | Phase::Asking { .. } | Phase::Loading { .. } | Phase::Writing { .. },
                false,
            ) => out.event(Event::Rejected),
        }
    }

    fn close(&mut self, out: Out<'_>) {
        match (&self.phase, self.closing) {
            (Phase::Dead, _) | (Phase::AtRest, false) => {}
            // Z4
            (_, true) => {
                self.phase = Phase::Dead;
                out.event(Event::Panicked);
            }
            // Z1
            (Phase::Waiting { .. }, false) => {
                (self.closing, self.phase) = (true, Phase::AtRest);
                out.event(Event::Closed);
            }
            // Z2
            (Phase::Asking { .. } | Phase::Loading { .. } | Phase::Writing { .. }, false) => {
                self.closing = true;
                out.event(Event::Closed);
            }
        }
    }

    /// C1
    fn check(&mut self, config: &OcmConfig, now: Now, out: Out<'_>) {
        self.phase = Phase::Asking { sent: now.mono };
        self.send(config, now, Call::Now, TableOp::Now, out);
    }

    fn send(&mut self, config: &OcmConfig, now: Now, call: Call, op: TableOp, out: Out<'_>) {
        // E2
        if now.mono >= self.context {
            return self.fail(config, now, out);
        }
        out.store(call, op);
    }

    /// E1: lowers, and tries again soon.
    fn fail(&mut self, config: &OcmConfig, now: Now, out: Out<'_>) {
        self.end(false, config.retry(), now, out);
    }

    /// A check has come to its end.
    fn end(&mut self, bit: bool, pause: Jittered, now: Now, out: Out<'_>) {
        // Z3
        self.phase = if self.closing { Phase::AtRest } else { Phase::Waiting { until: pause.after(now) } };
        if std::mem::replace(&mut self.bit, bit) != bit && !self.closing {
            out.event(if bit { Event::Raised } else { Event::Lowered });
        }
    }

    fn wake(&mut self, config: &OcmConfig, now: Now, out: Out<'_>) {
        let due = self.deadline(config).is_some_and(|deadline| now.mono >= deadline);
        match &self.phase {
            Phase::Waiting { .. } if due => self.check(config, now, out),
            Phase::Asking { .. } | Phase::Loading { .. } | Phase::Writing { .. } if due => {
                [Call::Now, Call::Load, Call::Write].into_iter().for_each(|call| out.forget(call));
                self.fail(config, now, out);
            }
            Phase::AtRest
            | Phase::Waiting { .. }
            | Phase::Asking { .. }
            | Phase::Loading { .. }
            | Phase::Writing { .. }
            | Phase::Dead => {}
        }
    }

    fn answered(&mut self, config: &OcmConfig, now: Now, answer: TableAnswer, out: Out<'_>) {
        match (&self.phase, answer) {
            (Phase::AtRest | Phase::Waiting { .. } | Phase::Dead, _) => {}
            // C2
            (Phase::Asking { .. }, TableAnswer::Now(time)) => {
                self.phase = Phase::Loading { sent: now.mono, now: time };
                self.send(config, now, Call::Load, TableOp::Load, out);
            }
            (Phase::Loading { now: time, .. }, TableAnswer::Row(row)) => {
                let write = Write { holder: self.holder, timestamp: *time, interval: config.interval };
                self.loaded(config, now, write, row, out);
            }
            // C7, C8
            (Phase::Writing { .. }, TableAnswer::Done(written)) => {
                self.end(written, config.check(), now, out);
            }
            // E1
            (
                Phase::Asking { .. } | Phase::Loading { .. } | Phase::Writing { .. },
                TableAnswer::Now(_) | TableAnswer::Row(_) | TableAnswer::Done(_) | TableAnswer::Error,
            ) => self.fail(config, now, out),
        }
    }

    fn loaded(&mut self, config: &OcmConfig, now: Now, write: Write, row: Option<Row>, out: Out<'_>) {
        let op = match row {
            // C3
            None => TableOp::Insert(write),
            // C4
            Some(row) if row.holder == self.holder => {
                TableOp::Update { version: row.version, own: true, write }
            }
            // C5
            Some(row) if write.timestamp.since(row.timestamp) > config.interval => {
                TableOp::Update { version: row.version, own: false, write }
            }
            // C6
            Some(_) => return self.end(false, config.check(), now, out),
        };
        self.phase = Phase::Writing { sent: now.mono };
        self.send(config, now, Call::Write, op, out);
    }
}

impl Subject for OcmFlag {
    const PLAY: Play = Play::Lead;
    const READS_WALL: bool = false;

    /// Nobody can resign, and the version that is modelled knows no precheck.
    fn request(ask: Ask) -> Option<Request> {
        match ask {
            Ask::Start => Some(Request::Build),
            Ask::Close | Ask::UnlockAgain => Some(Request::Close),
            _ => None,
        }
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Raised => Told::Acquired(None),
            Event::Lowered => Told::Lost,
            Event::Closed => Told::Closed,
            Event::Rejected => Told::Rejected,
            Event::Panicked => Told::Panicked,
        }
    }

    /// What `Raised()` reads, whoever asks, and whenever.
    fn belief(&self) -> Option<Instant> {
        (self.bit && self.phase != Phase::Dead).then_some(Instant::MAX)
    }

    /// The longest of what is added to the moment at which a statement was sent.
    fn horizon(config: &OcmConfig) -> Span {
        config.interval.max(config.timeout)
    }

    fn ttl(config: &OcmConfig) -> Span {
        config.interval
    }

    fn takeover(config: &OcmConfig) -> Span {
        // A check that has just missed it; the next; and the statements of both, each within its time-out.
        config.interval + config.check().longest() + config.timeout * 6 + config.retry().longest()
    }

    fn calendar_horizon(config: &OcmConfig) -> Span {
        config.interval
    }

    fn knot(&self) -> Option<Knot> {
        // Until it fails for the first time, nobody could tell.
        let is_at_an_end = |until: &Instant| self.context <= *until;
        match &self.phase {
            Phase::Waiting { until } if is_at_an_end(until) => Some(Knot::Context),
            Phase::AtRest
            | Phase::Waiting { .. }
            | Phase::Asking { .. }
            | Phase::Loading { .. }
            | Phase::Writing { .. }
            | Phase::Dead => None,
        }
    }
}
