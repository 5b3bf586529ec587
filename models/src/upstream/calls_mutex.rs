//! The mutex of Mattermost's Calls plugin, made from a description of its behaviour only: the plugin API's mutex
//! with a configurable lease and a process-local mutex in front.
//!
//! The local mutex is taken before anything else and stays locked while the lock is held. The key lives for
//! *whole* seconds, so a short time to live becomes a shorter one (M7) or none at all (M6).
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | A1 | at rest | lock | | trying | insert, even if the context is done (M8) |
//! | A2 | at rest, or unlocking, or holding | cancel | | the same | none: nobody watches the context |
//! | A3 | at rest | unlock | | at rest | event rejected: the original warns |
//! | W1 | waiting | any | the wait is over | trying | insert |
//! | W2 | waiting | any | the context is done | at rest | event context-done |
//! | W3 | waiting | any | both | trying, or at rest | as W1 or W2, as the draw says |
//! | W4 | waiting | cancel | | waiting, context done | none: W2 or W3 follows at once |
//! | Y1 | trying | inserted | | holding | event acquired; the ticker starts |
//! | Y2 | trying | not inserted, or any error | | waiting, each time longer | |
//! | Y3 | trying | cancel | | trying, context done | none: the call goes on |
//! | H1 | holding | the refresher's tick | | holding | refresh |
//! | H2 | holding | refresh answered | | holding | as the refresher says |
//! | H3 | holding | unlock, whoever asks (M9) | no refresh under way | deleting | delete |
//! | H4 | holding | unlock, whoever asks (M9) | a refresh under way | joining | |
//! | J1 | joining | refresh answered | | deleting | delete |
//! | D1 | deleting | any answer | | at rest | event released |
//! | P1 | waiting, trying, joining, deleting | unlock | | dead | event panicked (M9) |
//! | B1 | not at rest | lock | | the same | event rejected |
//! | Z1 | dead | any | | dead | |
//!
//! At rest means that the local mutex is free. P1: it is locked, and there is no refresher to stop, so the channel
//! that an unlock closes is nil, or closed already.
//!
//! # What is left out
//!
//! One object serves one caller; M9 needs a second one only for its extra unlock. A lock asked for while the local
//! mutex is locked is rejected (B1), where the original would wait for it and ignore its context (M8).

use std::convert::Infallible;

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Now, Span};
use serde::{Deserialize, Serialize};

use super::kv::{Kv, KvAnswer, KvOp};
use super::mattermost::{self, Attempt, Call, Event, Ready, Refresher, Request};
use crate::subject::{Ask, Subject, Told};

/// The longest pause between two attempts, before its jitter, and the longest poll interval.
const POLL_MAX: Span = Span::from_secs(1);

/// How the mutex behaves. A field that is zero takes its default; lengths cannot be negative here, which the
/// original would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallsConfig {
    /// How long the lock of a dead holder lasts. Default 10 s.
    pub ttl: Span,
    /// The period of the refresher. Default 5 s, whatever `ttl` is.
    pub refresh_interval: Span,
    /// By how much the pause between two attempts grows. Default 500 ms.
    pub poll_interval: Span,
}

/// Why a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallsConfigError {
    /// The poll interval is too long.
    #[error("poll_interval is {poll}; it must be at most {POLL_MAX}")]
    Poll {
        /// The poll interval.
        poll: Span,
    },
    /// The refresh interval is too long for the time to live.
    #[error("refresh_interval is {refresh}; it must be at most half of ttl {ttl}")]
    Refresh {
        /// The refresh interval.
        refresh: Span,
        /// The time to live.
        ttl: Span,
    },
}

impl CallsConfig {
    /// What Calls itself uses; its callers wait 10 s at most.
    pub const PRODUCTION: CallsConfig = CallsConfig {
        ttl: Span::from_secs(4),
        refresh_interval: Span::from_secs(1),
        poll_interval: Span::from_millis(50),
    };

    /// Checks the configuration as the original does, its defaults filled in. The machine does not ask for it.
    ///
    /// # Errors
    ///
    /// [`CallsConfigError`] names the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), CallsConfigError> {
        let (ttl, refresh, poll) = (self.ttl(), self.refresh(), self.poll());
        if poll > POLL_MAX {
            return Err(CallsConfigError::Poll { poll });
        }
        if refresh.as_nanos() > ttl.as_nanos() / 2 {
            return Err(CallsConfigError::Refresh { refresh, ttl });
        }
        Ok(())
    }

    /// How long the key lives: the time to live, cut off to whole seconds. Zero means for ever.
    pub fn expire_in_secs(&self) -> u64 {
        self.ttl().as_nanos() / 1_000_000_000
    }

    fn ttl(&self) -> Span {
        or(self.ttl, Span::from_secs(10))
    }

    fn refresh(&self) -> Span {
        or(self.refresh_interval, Span::from_secs(5))
    }

    fn poll(&self) -> Span {
        or(self.poll_interval, Span::from_millis(500))
    }
}

fn or(span: Span, default: Span) -> Span {
    if span == Span::ZERO { default } else { span }
}

/// The mutex. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallsMutex(Phase);

/// `context` is when the caller's context ends. `pause` is the last pause without its jitter; it grows by one poll
/// interval each time, as far as [`POLL_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Waiting { context: Instant, pause: Span, until: Instant },
    Trying { context: Instant, pause: Span },
    Holding(Refresher),
    Joining,
    Deleting,
    Dead,
}

type Out<'a> = &'a mut Effects<CallsMutex>;

impl Machine for CallsMutex {
    type Config = CallsConfig;
    type Store = Kv<u8>;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    fn new(_: &CallsConfig, _: Identity) -> CallsMutex {
        CallsMutex(Phase::AtRest)
    }

    fn step(&mut self, config: &CallsConfig, now: Now, input: Input<CallsMutex>, out: Out<'_>) {
        match input {
            Input::Request(request) => self.request(config, now, request, out),
            Input::Reply { call: Call::Insert, answer, at: _ } => self.tried(config, now, &answer, out),
            Input::Reply { call: Call::Refresh, answer, at: _ } => self.refreshed(config, now, &answer, out),
            Input::Reply { call: Call::Delete, answer: _, at: _ } => self.deleted(out),
            Input::Message(never) => match never {},
            Input::Wake => self.wake(config, now, out),
        }
    }

    fn deadline(&self, _: &CallsConfig) -> Option<Instant> {
        match &self.0 {
            Phase::Waiting { context, until, .. } => Some((*until).min(*context)),
            Phase::Holding(refresher) => refresher.deadline(),
            Phase::AtRest | Phase::Trying { .. } | Phase::Joining | Phase::Deleting | Phase::Dead => None,
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        match &mut self.0 {
            Phase::Waiting { context, pause: _, until } => {
                map.deadline(context);
                map.deadline(until);
            }
            Phase::Trying { context, pause: _ } => map.deadline(context),
            Phase::Holding(refresher) => refresher.relocate(map),
            Phase::AtRest | Phase::Joining | Phase::Deleting | Phase::Dead => {}
        }
    }
}

impl CallsMutex {
    fn request(&mut self, config: &CallsConfig, now: Now, request: Request, out: Out<'_>) {
        match (&mut self.0, request) {
            // A1
            (Phase::AtRest, Request::Lock(span)) => {
                self.attempt(config, now, now.mono + span, Span::ZERO, out)
            }
            // W4
            (Phase::Waiting { context, .. }, Request::Cancel) => {
                *context = now.mono.min(*context);
                self.wait(config, now, out);
            }
            // Y3
            (Phase::Trying { context, .. }, Request::Cancel) => *context = now.mono.min(*context),
            // H3
            (Phase::Holding(refresher), Request::Unlock) if !refresher.is_calling() => self.delete(out),
            // H4
            (Phase::Holding(_), Request::Unlock) => self.0 = Phase::Joining,
            // P1
            (
                Phase::Waiting { .. } | Phase::Trying { .. } | Phase::Joining | Phase::Deleting,
                Request::Unlock,
            ) => {
                self.0 = Phase::Dead;
                out.event(Event::Panicked);
            }
            // A3, B1
            (Phase::AtRest, Request::Unlock)
            | (
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

    fn wake(&mut self, config: &CallsConfig, now: Now, out: Out<'_>) {
        match &mut self.0 {
            Phase::Waiting { .. } => self.wait(config, now, out),
            // H1
            Phase::Holding(refresher) => {
                if refresher.wake(now, config.refresh()) {
                    out.store(Call::Refresh, mattermost::refresh(config.expire_in_secs(), now.wall));
                }
            }
            Phase::AtRest | Phase::Trying { .. } | Phase::Joining | Phase::Deleting | Phase::Dead => {}
        }
    }

    /// W1, W2, W3: what a wait comes to.
    fn wait(&mut self, config: &CallsConfig, now: Now, out: Out<'_>) {
        let Phase::Waiting { context, pause, until } = self.0 else { return };
        match mattermost::select(now, until, context) {
            Ready::Neither => {}
            Ready::Timer => self.attempt(config, now, context, pause, out),
            Ready::Context => {
                self.0 = Phase::AtRest;
                out.event(Event::ContextDone);
            }
        }
    }

    fn attempt(&mut self, config: &CallsConfig, now: Now, context: Instant, pause: Span, out: Out<'_>) {
        self.0 = Phase::Trying { context, pause };
        out.store(Call::Insert, mattermost::insert(config.expire_in_secs(), now.wall));
    }

    fn tried(&mut self, config: &CallsConfig, now: Now, answer: &KvAnswer<u8>, out: Out<'_>) {
        let Phase::Trying { context, pause } = self.0 else { return };
        match Attempt::of(answer) {
            // Y1
            Attempt::Won => {
                self.0 = Phase::Holding(Refresher::start(now, config.refresh()));
                out.event(Event::Acquired);
            }
            // Y2
            Attempt::Contended | Attempt::Failed => {
                let pause = (pause + config.poll()).min(POLL_MAX);
                self.0 = Phase::Waiting { context, pause, until: now.mono + pause + pause.drawn(now.draw) };
                self.wait(config, now, out);
            }
        }
    }

    fn refreshed(&mut self, config: &CallsConfig, now: Now, answer: &KvAnswer<u8>, out: Out<'_>) {
        match &mut self.0 {
            // H2
            Phase::Holding(refresher) => {
                if refresher.answered(now, config.refresh(), answer) {
                    out.store(Call::Refresh, mattermost::refresh(config.expire_in_secs(), now.wall));
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

impl Subject for CallsMutex {
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

    /// What is configured, and so promised; the key may live shorter (M7) or for ever (M6).
    fn ttl(config: &CallsConfig) -> Span {
        config.ttl()
    }

    fn phase(config: &CallsConfig) -> Span {
        config.refresh()
    }

    /// It has no identities at all.
    fn is_symmetric(_: &CallsConfig) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use fencepost::time::{Draw, StoreTime};

    use super::*;
    use crate::store::{Simulated, Touch};
    use crate::upstream::bench::{A, B, Bench, MIDDLE};

    fn config(ttl_millis: u64, refresh_millis: u64, poll_millis: u64) -> CallsConfig {
        CallsConfig {
            ttl: Span::from_millis(ttl_millis),
            refresh_interval: Span::from_millis(refresh_millis),
            poll_interval: Span::from_millis(poll_millis),
        }
    }

    #[test]
    fn zero_fields_take_defaults_that_do_not_follow_one_another() {
        let refusal = |config: CallsConfig| config.validate().err().map(|error| error.to_string());
        assert_eq!(refusal(CallsConfig::default()), None);
        assert_eq!(refusal(CallsConfig::PRODUCTION), None);
        let sentence = "refresh_interval is 5s; it must be at most half of ttl 4s";
        assert_eq!(refusal(config(4_000, 0, 0)).as_deref(), Some(sentence));
        assert_eq!(refusal(config(4_000, 2_000, 1_000)), None);
        let sentence = "poll_interval is 1.001s; it must be at most 1s";
        assert_eq!(
            refusal(config(4_000, 3_000, 1_001)).as_deref(),
            Some(sentence),
            "the poll is checked first"
        );
    }

    #[test]
    fn m6_half_a_second_becomes_for_ever() {
        let config = config(500, 250, 50);
        assert_eq!(config.validate(), Ok(()));
        let mut bench = Bench::<CallsMutex>::new(config);
        bench.lock(A);
        // A dies. B asks a year later.
        bench.at(365 * 86_400_000).ask(B, Request::Lock(Span::MAX));
        assert!(matches!(bench.serve(B), Touch::Refused(mark) if mark.expires == StoreTime::MAX));
    }

    #[test]
    fn m7_a_second_and_ninety_nine_hundredths_become_one() {
        let config = config(1_990, 990, 50);
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(CallsMutex::ttl(&config), Span::from_millis(1_990));
        let mut bench = Bench::<CallsMutex>::new(config);
        bench.lock(A);
        bench.at(990).wake(A);
        assert_eq!(bench.at(1_001).lock(B), Touch::Wrote(None), "A's refresh is 11 ms late");
        assert!(bench.believes(A) && bench.believes(B));
    }

    #[test]
    fn m8_a_context_that_is_done_gets_a_free_key_and_is_observed_in_the_wait_only() {
        let mut bench = Bench::<CallsMutex>::new(CallsConfig::PRODUCTION);
        bench.draw = Draw(1);
        bench.ask(A, Request::Lock(Span::ZERO));
        bench.serve(A);
        assert_eq!(bench.told(A), [Event::Acquired]);
        bench.ask(B, Request::Lock(Span::ZERO));
        bench.serve(B);
        assert_eq!(bench.told(B), [Event::ContextDone]);
        bench.ask(B, Request::Unlock);
        assert_eq!(bench.told(B), [Event::Rejected], "the local mutex is free again");
    }

    #[test]
    fn m9_an_extra_unlock_warns_or_releases_or_kills() {
        let mut bench = Bench::<CallsMutex>::new(CallsConfig::PRODUCTION);
        bench.ask(A, Request::Unlock);
        assert_eq!(bench.told(A), [Event::Rejected]);
        bench.lock(A);
        bench.ask(B, Request::Lock(Span::MAX));
        bench.serve(B);
        bench.ask(B, Request::Unlock);
        assert_eq!(bench.told(B), [Event::Panicked]);
        bench.at(60_000).wake(B);
        assert_eq!((bench.under_way(B), bench.wakes_in(B)), (vec![], None));

        // A's other goroutine unlocks what it never locked.
        bench.at(500).ask(A, Request::Unlock);
        assert!(matches!(bench.serve(A), Touch::Deleted(mark) if mark.by.instance == A));
        assert_eq!(bench.told(A), [Event::Released]);
    }

    #[test]
    fn failure_and_contention_alike_pause_longer_each_time_up_to_two_seconds() {
        let least = (Draw(0), [400, 800, 1_000, 1_000]);
        let middle = (MIDDLE, [600, 1_200, 1_500, 1_500]);
        let most = (Draw(u32::MAX), [799, 1_599, 1_999, 1_999]);
        for (draw, pauses) in [least, middle, most] {
            let mut bench = Bench::<CallsMutex>::new(config(100_000, 1_000, 400));
            bench.lock(B);
            bench.draw = draw;
            bench.ask(A, Request::Lock(Span::MAX));
            let mut now = 0;
            for (pause, fails) in pauses.into_iter().zip([true, false, true, false]) {
                if fails {
                    bench.fail(A);
                } else {
                    bench.serve(A);
                }
                assert_eq!(bench.wakes_in(A), Some(pause));
                // The longest pause ends within a millisecond that has begun.
                now += pause + 1;
                bench.at(now).wake(A);
            }
        }
    }

    #[test]
    fn m1_m2_one_error_costs_the_lock_and_the_late_unlock_costs_the_next_one_its_own() {
        let mut bench = Bench::<CallsMutex>::new(CallsConfig::PRODUCTION);
        bench.lock(A);
        bench.at(1_000).wake(A);
        bench.fail(A);
        assert_eq!((bench.wakes_in(A), bench.told(A)), (None, vec![]), "nobody is told");
        assert_eq!(bench.at(4_001).lock(B), Touch::Wrote(None));
        bench.ask(A, Request::Unlock);
        assert!(matches!(bench.serve(A), Touch::Deleted(mark) if mark.by.instance == B));
        assert!(bench.believes(B) && Kv::lock(&mut bench.table).is_none());
    }

    #[test]
    fn an_unlock_waits_for_the_refresher() {
        let mut bench = Bench::<CallsMutex>::new(CallsConfig::PRODUCTION);
        bench.lock(A);
        bench.at(1_000).wake(A);
        bench.ask(A, Request::Unlock);
        assert!(!bench.believes(A));
        assert_eq!(bench.under_way(A), [Call::Refresh]);
        bench.fail(A);
        assert_eq!(bench.under_way(A), [Call::Delete]);
        bench.serve(A);
        assert_eq!(bench.told(A), [Event::Released]);
    }
}
