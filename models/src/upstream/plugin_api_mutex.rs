//! The mutex of Mattermost's plugin API: one row with one constant value, refreshed until the first error.
//!
//! Whoever inserts the row holds the lock and believes so until it unlocks; nothing ever tells it otherwise. Every
//! owner writes the same value, so a late refresh (M3) or unlock (M2) meets a successor's row and succeeds.
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | A1 | at rest | lock | | waiting, no time at all | none: one of W1 to W3 follows at once |
//! | A2 | at rest, or unlocking, or holding | cancel | | the same | none: nobody watches the context |
//! | W1 | waiting | any | the wait is over | trying | insert |
//! | W2 | waiting | any | the context is done | at rest | event context-done |
//! | W3 | waiting | any | both | trying, or at rest | as W1 or W2, as the draw says (M8) |
//! | W4 | waiting | cancel | | waiting, context done | none: W2 or W3 follows at once |
//! | Y1 | trying | inserted | | holding | event acquired; the ticker starts |
//! | Y2 | trying | not inserted | | waiting, one poll | |
//! | Y3 | trying | any error | | waiting, twice as long as last time | |
//! | Y4 | trying | cancel | | trying, context done | none: the call goes on |
//! | H1 | holding | the refresher's tick | | holding | refresh |
//! | H2 | holding | refresh answered | | holding | as the refresher says |
//! | H3 | holding | unlock | no refresh under way | deleting | delete |
//! | H4 | holding | unlock | a refresh under way | joining | |
//! | J1 | joining | refresh answered | | deleting | delete |
//! | D1 | deleting | any answer | | at rest | event released |
//! | P1 | not holding | unlock | | dead | event panicked |
//! | B1 | not at rest | lock | | the same | event rejected |
//! | Z1 | dead | any | | dead | |
//!
//! # What is left out
//!
//! One object serves one caller. M5 needs two goroutines that share an object, so it cannot be shown here; a lock
//! asked for while one is held or wanted is rejected (B1), where the original would begin a second wait. The
//! original lets an unlock that meets another one wait for the refresher before it panics; P1 does not wait.

use std::convert::Infallible;

use fencepost::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Now, Span};
use serde::{Deserialize, Serialize};

use super::kv::{Kv, KvAnswer, KvOp};
use super::mattermost::{self, Attempt, Call, Event, Ready, Refresher, Request, Value};
use crate::subject::{Ask, Subject, Told};

/// The constants of the original, which no caller can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginApiConfig {
    /// How long the row lives. 15.
    pub ttl_secs: u64,
    /// The period of the refresher. 7.5 s.
    pub refresh_interval: Span,
    /// The wait after another one was found to hold the lock. 1 s.
    pub poll_interval: Span,
    /// What the wait after the first error is twice of. 1 s.
    pub retry_min: Span,
    /// The longest wait after an error. 300 s.
    pub retry_max: Span,
    /// By how much a wait is shorter or longer at most. 250 ms.
    pub jitter: Span,
}

impl Default for PluginApiConfig {
    fn default() -> PluginApiConfig {
        PluginApiConfig {
            ttl_secs: 15,
            refresh_interval: Span::from_millis(7_500),
            poll_interval: Span::from_secs(1),
            retry_min: Span::from_secs(1),
            retry_max: Span::from_secs(300),
            jitter: Span::from_millis(250),
        }
    }
}

impl PluginApiConfig {
    pub(super) fn wait_after_error(&self, last: Span, now: Now) -> Span {
        let base = if last == Span::ZERO { self.retry_min } else { last };
        self.jittered((base * 2).min(self.retry_max), now)
    }

    fn wait_after_contention(&self, now: Now) -> Span {
        self.jittered(self.poll_interval, now)
    }

    fn jittered(&self, wait: Span, now: Now) -> Span {
        (wait + (self.jitter * 2).drawn(now.draw)).minus(self.jitter)
    }
}

/// The mutex. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginApiMutex(Phase);

/// `context` is when the caller's context ends. `last` is the last wait, its jitter included: an error doubles it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Waiting { context: Instant, last: Span, until: Instant },
    Trying { context: Instant, last: Span },
    Holding(Refresher),
    Joining,
    Deleting,
    Dead,
}

type Out<'a> = &'a mut Effects<PluginApiMutex>;

impl Machine for PluginApiMutex {
    type Config = PluginApiConfig;
    type Store = Kv<u8>;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    fn new(_: &PluginApiConfig, _: Identity) -> PluginApiMutex {
        PluginApiMutex(Phase::AtRest)
    }

    fn step(&mut self, config: &PluginApiConfig, now: Now, input: Input<PluginApiMutex>, out: Out<'_>) {
        match input {
            Input::Request(request) => self.request(config, now, request, out),
            Input::Reply { call: Call::Insert, answer, at: _ } => self.tried(config, now, &answer, out),
            Input::Reply { call: Call::Refresh, answer, at: _ } => self.refreshed(config, now, &answer, out),
            Input::Reply { call: Call::Delete, answer: _, at: _ } => self.deleted(out),
            Input::Message(never) => match never {},
            Input::Wake => self.wake(config, now, out),
        }
    }

    fn deadline(&self, _: &PluginApiConfig) -> Option<Instant> {
        match &self.0 {
            Phase::Waiting { context, until, .. } => Some((*until).min(*context)),
            Phase::Holding(refresher) => refresher.deadline(),
            Phase::AtRest | Phase::Trying { .. } | Phase::Joining | Phase::Deleting | Phase::Dead => None,
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        match &mut self.0 {
            Phase::Waiting { context, last: _, until } => {
                map.deadline(context);
                map.deadline(until);
            }
            Phase::Trying { context, last: _ } => map.deadline(context),
            Phase::Holding(refresher) => refresher.relocate(map),
            Phase::AtRest | Phase::Joining | Phase::Deleting | Phase::Dead => {}
        }
    }
}

impl PluginApiMutex {
    /// Lets it take one input as a part of a larger machine, whose table has more rows than its own. Its requests go
    /// out by `send`. Gives what its caller is told: one thing at most.
    pub(super) fn drive(
        &mut self,
        config: &PluginApiConfig,
        now: Now,
        input: Input<PluginApiMutex>,
        mut send: impl FnMut(Call, KvOp<Value>),
    ) -> Option<Event> {
        let (mut effects, mut told) = (Effects::new(), None);
        self.step(config, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { call, op, .. } => send(call, op.map(Value::Lock)),
                Effect::Event(event) => told = Some(event),
                // It does neither.
                Effect::Forget(_) | Effect::Publish(_) => {}
            }
        }
        told
    }

    fn request(&mut self, config: &PluginApiConfig, now: Now, request: Request, out: Out<'_>) {
        match (&mut self.0, request) {
            // A1
            (Phase::AtRest, Request::Lock(span)) => {
                let (context, last, until) = (now.mono + span, Span::ZERO, now.mono);
                self.0 = Phase::Waiting { context, last, until };
                self.wait(config, now, out);
            }
            // W4
            (Phase::Waiting { context, .. }, Request::Cancel) => {
                *context = now.mono.min(*context);
                self.wait(config, now, out);
            }
            // Y4
            (Phase::Trying { context, .. }, Request::Cancel) => *context = now.mono.min(*context),
            // H3
            (Phase::Holding(refresher), Request::Unlock) if !refresher.is_calling() => self.delete(out),
            // H4
            (Phase::Holding(_), Request::Unlock) => self.0 = Phase::Joining,
            // P1
            (
                Phase::AtRest
                | Phase::Waiting { .. }
                | Phase::Trying { .. }
                | Phase::Joining
                | Phase::Deleting,
                Request::Unlock,
            ) => {
                self.0 = Phase::Dead;
                out.event(Event::Panicked);
            }
            // B1
            (
                Phase::Waiting { .. }
                | Phase::Trying { .. }
                | Phase::Holding(_)
                | Phase::Joining
                | Phase::Deleting,
                Request::Lock(_),
            ) => out.event(Event::Rejected),
            // A2, Z1
            (Phase::AtRest | Phase::Holding(_) | Phase::Joining | Phase::Deleting, Request::Cancel)
            | (Phase::Dead, Request::Lock(_) | Request::Cancel | Request::Unlock) => {}
        }
    }

    fn wake(&mut self, config: &PluginApiConfig, now: Now, out: Out<'_>) {
        match &mut self.0 {
            Phase::Waiting { .. } => self.wait(config, now, out),
            // H1
            Phase::Holding(refresher) => {
                if refresher.wake(now, config.refresh_interval) {
                    out.store(Call::Refresh, mattermost::refresh(config.ttl_secs, now.wall));
                }
            }
            Phase::AtRest | Phase::Trying { .. } | Phase::Joining | Phase::Deleting | Phase::Dead => {}
        }
    }

    /// W1, W2, W3: what a wait comes to.
    fn wait(&mut self, config: &PluginApiConfig, now: Now, out: Out<'_>) {
        let Phase::Waiting { context, last, until } = self.0 else { return };
        match mattermost::select(now, until, context) {
            Ready::Neither => {}
            Ready::Timer => {
                self.0 = Phase::Trying { context, last };
                out.store(Call::Insert, mattermost::insert(config.ttl_secs, now.wall));
            }
            Ready::Context => {
                self.0 = Phase::AtRest;
                out.event(Event::ContextDone);
            }
        }
    }

    fn tried(&mut self, config: &PluginApiConfig, now: Now, answer: &KvAnswer<u8>, out: Out<'_>) {
        let Phase::Trying { context, last } = self.0 else { return };
        let next = match Attempt::of(answer) {
            // Y1
            Attempt::Won => {
                self.0 = Phase::Holding(Refresher::start(now, config.refresh_interval));
                return out.event(Event::Acquired);
            }
            // Y2
            Attempt::Contended => config.wait_after_contention(now),
            // Y3
            Attempt::Failed => config.wait_after_error(last, now),
        };
        self.0 = Phase::Waiting { context, last: next, until: now.mono + next };
        self.wait(config, now, out);
    }

    fn refreshed(&mut self, config: &PluginApiConfig, now: Now, answer: &KvAnswer<u8>, out: Out<'_>) {
        match &mut self.0 {
            // H2
            Phase::Holding(refresher) => {
                if refresher.answered(now, config.refresh_interval, answer) {
                    out.store(Call::Refresh, mattermost::refresh(config.ttl_secs, now.wall));
                }
            }
            // J1
            Phase::Joining => self.delete(out),
            Phase::AtRest | Phase::Waiting { .. } | Phase::Trying { .. } | Phase::Deleting | Phase::Dead => {}
        }
    }

    fn delete(&mut self, out: Out<'_>) {
        self.0 = Phase::Deleting;
        out.store(Call::Delete, KvOp::Delete);
    }

    /// D1
    fn deleted(&mut self, out: Out<'_>) {
        let Phase::Deleting = self.0 else { return };
        self.0 = Phase::AtRest;
        out.event(Event::Released);
    }
}

impl Subject for PluginApiMutex {
    fn request(ask: Ask) -> Option<Request> {
        mattermost::request(ask)
    }

    fn told(event: &Event) -> Told {
        mattermost::told(event)
    }

    fn belief(&self) -> Option<Instant> {
        match &self.0 {
            Phase::Holding(_) => Some(Instant::MAX),
            Phase::AtRest
            | Phase::Waiting { .. }
            | Phase::Trying { .. }
            | Phase::Joining
            | Phase::Deleting
            | Phase::Dead => None,
        }
    }

    fn ttl(config: &PluginApiConfig) -> Span {
        Span::from_secs(config.ttl_secs)
    }

    fn phase(config: &PluginApiConfig) -> Span {
        config.refresh_interval
    }

    /// It has no identities at all.
    fn is_symmetric(_: &PluginApiConfig) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use fencepost::time::Draw;

    use super::*;
    use crate::store::Touch;
    use crate::upstream::bench::{A, B, Bench, MIDDLE};

    fn bench() -> Bench<PluginApiMutex> {
        Bench::new(PluginApiConfig::default())
    }

    #[test]
    fn errors_double_the_wait_up_to_five_minutes_and_contention_makes_it_one_second() {
        let mut bench = bench();
        bench.ask(A, Request::Lock(Span::MAX));
        let mut now = 0;
        for expected in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            bench.fail(A);
            assert_eq!(bench.wakes_in(A), Some(expected * 1_000));
            now += expected * 1_000;
            bench.at(now).wake(A);
        }
        bench.lock(B);
        bench.serve(A);
        assert_eq!(bench.wakes_in(A), Some(1_000));
        bench.at(now + 1_000).wake(A);
        bench.fail(A);
        assert_eq!(bench.wakes_in(A), Some(2_000));
    }

    #[test]
    fn jitter_is_a_quarter_of_a_second_either_way_and_is_doubled_too() {
        for (draw, first, second) in [(Draw(0), 1_750, 3_250), (MIDDLE, 2_000, 4_000)] {
            let mut bench = bench();
            bench.draw = draw;
            bench.ask(A, Request::Lock(Span::MAX));
            bench.fail(A);
            assert_eq!(bench.wakes_in(A), Some(first));
            bench.at(first).wake(A);
            bench.fail(A);
            assert_eq!(bench.wakes_in(A), Some(second));
        }
        let late = Now { draw: Draw(u32::MAX), ..Now::default() };
        assert!(PluginApiConfig::default().wait_after_contention(late) < Span::from_millis(1_250));
    }

    #[test]
    fn m1_m2_one_error_costs_the_lock_and_the_late_unlock_costs_the_next_one_its_own() {
        let mut bench = bench();
        bench.lock(A);
        bench.at(7_500).wake(A);
        bench.fail(A);
        assert_eq!((bench.wakes_in(A), bench.told(A)), (None, vec![]), "nobody is told");
        assert_eq!(bench.at(15_001).lock(B), Touch::Wrote(None));
        assert!(bench.believes(A) && bench.believes(B));
        bench.at(16_000).ask(A, Request::Unlock);
        assert!(matches!(bench.serve(A), Touch::Deleted(mark) if mark.by.instance == B));
        assert!(bench.believes(B) && bench.table.is_none());
    }

    #[test]
    fn m3_a_refresh_that_stalled_prolongs_the_row_of_another_and_learns_nothing() {
        let mut bench = bench();
        bench.lock(A);
        bench.at(7_500).wake(A);
        bench.at(15_001).lock(B);
        assert!(matches!(bench.serve(A), Touch::Renewed(mark) if mark.by.instance == B));
        assert!(bench.believes(A) && bench.believes(B));
        assert_eq!(bench.under_way(A), [Call::Refresh], "and the tick of 15 s follows at once");
    }

    #[test]
    fn m4_a_fast_wall_clock_takes_a_lock_whose_lease_is_good() {
        let mut bench = bench();
        bench.lock(A);
        bench.put_clock_forward(B, 14_002);
        let theft = bench.at(1_000).lock(B);
        assert!(matches!(theft, Touch::Wrote(Some(mark)) if mark.by.instance == A));
        assert!(bench.believes(A) && bench.believes(B));
        bench.at(7_500).wake(A);
        assert!(matches!(bench.serve(A), Touch::Renewed(mark) if mark.by.instance == B));
    }

    #[test]
    fn m8_a_context_that_is_done_races_the_first_attempt() {
        for (draw, acquired) in [(Draw(0), true), (Draw(1), false)] {
            let mut bench = bench();
            bench.draw = draw;
            bench.ask(A, Request::Lock(Span::ZERO));
            assert_eq!(bench.under_way(A).is_empty(), !acquired);
            assert_eq!(bench.told(A).contains(&Event::ContextDone), !acquired);
        }
    }

    #[test]
    fn m10_a_lost_answer_makes_a_caller_wait_out_its_own_row() {
        let mut bench = bench();
        bench.ask(A, Request::Lock(Span::MAX));
        bench.serve_in_vain(A);
        bench.at(2_000).wake(A);
        assert!(matches!(bench.serve(A), Touch::Refused(mark) if mark.by.instance == A));
        bench.at(15_001).wake(A);
        bench.serve(A);
        assert_eq!(bench.told(A), [Event::Acquired]);
    }

    #[test]
    fn a_context_is_observed_in_the_wait_only() {
        let mut bench = bench();
        bench.ask(A, Request::Lock(Span::from_secs(1)));
        bench.at(5_000).wake(A);
        bench.ask(A, Request::Cancel);
        assert_eq!(bench.told(A), [], "the call goes on");
        bench.serve(A);
        assert_eq!(bench.told(A), [Event::Acquired]);
        bench.ask(A, Request::Cancel);
        assert!(bench.believes(A));

        bench.ask(B, Request::Lock(Span::from_secs(1)));
        bench.at(6_000).serve(B);
        assert_eq!(bench.told(B), [Event::ContextDone]);
        bench.ask(B, Request::Lock(Span::MAX));
        bench.serve(B);
        assert_eq!(bench.told(B), []);
        bench.ask(B, Request::Cancel);
        assert_eq!(bench.told(B), [Event::ContextDone]);
    }

    #[test]
    fn an_unlock_waits_for_the_refresher_and_ignores_errors() {
        let mut bench = bench();
        bench.lock(A);
        bench.at(7_500).wake(A);
        bench.ask(A, Request::Unlock);
        assert!(!bench.believes(A));
        assert_eq!(bench.under_way(A), [Call::Refresh]);
        bench.serve(A);
        assert_eq!(bench.under_way(A), [Call::Delete]);
        bench.fail(A);
        assert_eq!(bench.told(A), [Event::Released]);
        assert!(bench.table.is_some());
    }

    #[test]
    fn an_unlock_without_a_lock_kills_the_process() {
        let mut bench = bench();
        bench.lock(B);
        bench.ask(A, Request::Lock(Span::MAX));
        bench.serve(A);
        bench.ask(A, Request::Unlock);
        assert_eq!(bench.told(A), [Event::Panicked]);
        bench.at(60_000).wake(A);
        bench.ask(A, Request::Lock(Span::MAX));
        assert_eq!((bench.told(A), bench.under_way(A), bench.wakes_in(A)), (vec![], vec![], None));
    }
}
