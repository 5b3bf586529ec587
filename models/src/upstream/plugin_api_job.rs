//! The recurring job of Mattermost's plugin API: whoever holds the job's mutex looks when it finished last, and runs
//! it if that is long enough ago.
//!
//! When it is due is decided by the wall clock of whoever looks, against the wall clock of whoever finished (J4).
//! When it finished last is read from a replica (J3), and written whatever is there (J2).
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | S1 | at rest | start | | waiting, no time at all | none: one of W1 to W3 follows at once |
//! | W1 | waiting | any | the wait is over | locking | the mutex is locked, however long it takes |
//! | W2 | waiting | any | closing | at rest | event closed |
//! | W3 | waiting | any | both | locking, or at rest | as W1 or W2, as the draw says |
//! | L1 | locking | locked | | reading | get, from a replica |
//! | R1 | reading | any error | | unlocking, then to wait twice as long as last time | unlock |
//! | R2 | reading | found | not due | unlocking, then to wait until it is | unlock |
//! | R3 | reading | found | due, or never run | running | event began |
//! | C1 | running | finish | | saving, the time of this wall clock | set |
//! | V1 | saving | any answer | | unlocking, then to wait from the time it tried to save | unlock |
//! | U1 | unlocking | unlocked | | waiting | event ended, if it ran; then one of W1 to W3, if one may |
//! | K1 | waiting | close | | waiting, closing | none: W2 or W3 follows at once |
//! | K2 | locking, reading, running, saving, unlocking | close | | the same, closing | none: nobody looks before the next wait (J5) |
//! | K3 | running | close | by the callback | running, stuck | none: each waits for the other (J5) |
//! | K4 | at rest | close | | at rest | event closed |
//! | B1 | running, stuck | finish | | the same | none: its close has not returned |
//! | B2 | not at rest | start | | the same | event rejected |
//! | B3 | not running | finish | | the same | event rejected |
//!
//! The mutex takes its own transitions beside these: see [`super::plugin_api_mutex`].
//!
//! # What is left out
//!
//! A process that schedules the same key twice would have two loops; a start is rejected while there is one. An
//! interval of zero makes the original panic before anything happens, and a negative one makes it run without a
//! pause; neither is a length here. A record that nobody can decode is an error like any other.

use std::convert::Infallible;

use fencepost::machine::{Effects, Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Now, Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::kv::{KvAnswer, KvOp};
use super::mattermost::{self, Ready, Value};
use super::plugin_api_mutex::{PluginApiConfig, PluginApiMutex};
use super::table::{Table, TableOp};
use crate::store::LockKey;
use crate::subject::{Ask, JobId, Knot, Play, Run, Subject, Told};

/// How the job is scheduled, and how it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginApiJobConfig {
    /// How often it is to run.
    pub interval: Span,
    /// What that means.
    pub strategy: Strategy,
    /// Whether a close that is asked for while the callback runs is asked for by the callback.
    pub closes_inside: bool,
    /// The constants of its mutex.
    pub mutex: PluginApiConfig,
}

/// When a job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// An interval after it finished last.
    Interval,
    /// At the next multiple of the interval since the beginning of the first year of the calendar, which may follow
    /// the last run at once.
    RoundedInterval,
}

impl Default for PluginApiJobConfig {
    fn default() -> PluginApiJobConfig {
        PluginApiJobConfig {
            interval: Span::from_secs(300),
            strategy: Strategy::Interval,
            closes_inside: false,
            mutex: PluginApiConfig::default(),
        }
    }
}

/// From the beginning of the first year of the calendar to the Unix epoch.
const EPOCH_SECS: u128 = 62_135_596_800;

impl PluginApiJobConfig {
    /// How long to wait for the next run.
    fn next(&self, wall: Timestamp, last_finished: Option<Timestamp>) -> Span {
        let Some(last) = last_finished else { return Span::ZERO };
        let due = match self.strategy {
            Strategy::Interval => last + self.interval,
            Strategy::RoundedInterval => self.rounded_down(last + self.interval),
        };
        due.since(wall)
    }

    fn rounded_down(&self, time: Timestamp) -> Timestamp {
        let interval = u128::from(self.interval.as_nanos().max(1));
        let since_the_first_year = EPOCH_SECS * 1_000_000_000 + u128::from(time.as_nanos());
        time - Span::from_nanos((since_the_first_year % interval) as u64)
    }
}

/// The rows of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Its mutex.
    Mutex,
    /// When it finished last.
    Metadata,
}

impl LockKey for Key {
    fn is_lock(&self) -> bool {
        match self {
            Key::Mutex => true,
            Key::Metadata => false,
        }
    }
}

/// What a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To schedule the job.
    Start,
    /// The callback returns.
    Finish,
    /// To close the job.
    Close,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The callback is called.
    Began,
    /// The mutex under which the callback ran is unlocked.
    Ended,
    /// `Close` returned.
    Closed,
    /// The request is one that the model does not cover.
    Rejected,
}

/// The outstanding requests of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Its mutex's.
    Mutex(mattermost::Call),
    /// Read when it finished last.
    Read,
    /// Write when it finished last.
    Save,
}

/// The job. See the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginApiJob {
    mutex: PluginApiMutex,
    phase: Phase,
    /// Whether it was told to stop. Nobody looks at it but a wait.
    closing: bool,
}

/// `last` is the last wait, as far as it counts: an error doubles it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Waiting { last: Span, until: Instant },
    Locking { last: Span },
    Reading { last: Span },
    Running { stuck: bool },
    Saving { finished: Timestamp },
    Unlocking { wait: Span, ran: bool },
}

type Out<'a> = &'a mut Effects<PluginApiJob>;

impl Machine for PluginApiJob {
    type Config = PluginApiJobConfig;
    type Store = Table<Key, Value>;
    type Request = Request;
    type Event = Event;
    type Message = Infallible;
    type Call = Call;

    fn new(config: &PluginApiJobConfig, identity: Identity) -> PluginApiJob {
        let mutex = PluginApiMutex::new(&config.mutex, identity);
        PluginApiJob { mutex, phase: Phase::AtRest, closing: false }
    }

    fn step(&mut self, config: &PluginApiJobConfig, now: Now, input: Input<PluginApiJob>, out: Out<'_>) {
        match input {
            Input::Request(request) => self.request(config, now, request, out),
            Input::Reply { call: Call::Mutex(call), answer, at } => {
                let answer = mattermost::heard(answer.row());
                self.drive(config, now, Input::Reply { call, answer, at }, out);
            }
            Input::Reply { call: Call::Read, answer, at: _ } => self.read(config, now, &answer.row(), out),
            Input::Reply { call: Call::Save, answer: _, at: _ } => self.saved(config, now, out),
            Input::Message(never) => match never {},
            Input::Wake => {
                self.wait(config, now, out);
                self.drive(config, now, Input::Wake, out);
            }
        }
    }

    fn deadline(&self, config: &PluginApiJobConfig) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::AtRest
            | Phase::Locking { .. }
            | Phase::Reading { .. }
            | Phase::Running { .. }
            | Phase::Saving { .. }
            | Phase::Unlocking { .. } => self.mutex.deadline(&config.mutex),
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        self.mutex.relocate(map);
        match &mut self.phase {
            Phase::Waiting { last: _, until } => map.deadline(until),
            Phase::Saving { finished } => map.timestamp(finished),
            Phase::AtRest
            | Phase::Locking { .. }
            | Phase::Reading { .. }
            | Phase::Running { .. }
            | Phase::Unlocking { .. } => {}
        }
    }
}

impl PluginApiJob {
    fn request(&mut self, config: &PluginApiJobConfig, now: Now, request: Request, out: Out<'_>) {
        match (&mut self.phase, request) {
            // S1
            (Phase::AtRest, Request::Start) => self.rest(config, now, Span::ZERO, out),
            // K1
            (Phase::Waiting { .. }, Request::Close) => {
                self.closing = true;
                self.wait(config, now, out);
            }
            // K2, K3
            (Phase::Running { stuck }, Request::Close) => {
                *stuck |= config.closes_inside;
                self.closing = true;
            }
            // K2
            (
                Phase::Locking { .. }
                | Phase::Reading { .. }
                | Phase::Saving { .. }
                | Phase::Unlocking { .. },
                Request::Close,
            ) => self.closing = true,
            // K4
            (Phase::AtRest, Request::Close) => out.event(Event::Closed),
            // C1
            (Phase::Running { stuck: false }, Request::Finish) => {
                let (value, wall) = (Value::Time(now.wall), now.wall);
                self.phase = Phase::Saving { finished: now.wall };
                let set = KvOp::Set { value, expire_in_secs: 0, wall };
                out.store(Call::Save, TableOp::Row(Key::Metadata, set));
            }
            // B1
            (Phase::Running { stuck: true }, Request::Finish) => {}
            // B2, B3
            (
                Phase::Waiting { .. }
                | Phase::Locking { .. }
                | Phase::Reading { .. }
                | Phase::Saving { .. }
                | Phase::Unlocking { .. },
                Request::Start | Request::Finish,
            )
            | (Phase::Running { .. }, Request::Start)
            | (Phase::AtRest, Request::Finish) => out.event(Event::Rejected),
        }
    }

    /// The loop begins again with a wait.
    fn rest(&mut self, config: &PluginApiJobConfig, now: Now, wait: Span, out: Out<'_>) {
        let last = wait.min(config.mutex.retry_max);
        self.phase = Phase::Waiting { last, until: now.mono + wait };
        self.wait(config, now, out);
    }

    /// W1, W2, W3: what a wait comes to.
    fn wait(&mut self, config: &PluginApiJobConfig, now: Now, out: Out<'_>) {
        let Phase::Waiting { last, until } = self.phase else { return };
        let stop = if self.closing { now.mono } else { Instant::MAX };
        match mattermost::select(now, until, stop) {
            Ready::Neither => {}
            Ready::Timer => {
                self.phase = Phase::Locking { last };
                self.drive(config, now, Input::Request(mattermost::Request::Lock(Span::MAX)), out);
            }
            Ready::Context => {
                (self.phase, self.closing) = (Phase::AtRest, false);
                out.event(Event::Closed);
            }
        }
    }

    /// Lets the mutex take an input, and goes on when it says so.
    fn drive(&mut self, config: &PluginApiJobConfig, now: Now, input: Input<PluginApiMutex>, out: Out<'_>) {
        let told = self.mutex.drive(&config.mutex, now, input, |call, op| {
            out.store(Call::Mutex(call), TableOp::Row(Key::Mutex, op));
        });
        match told {
            Some(mattermost::Event::Acquired) => self.locked(now, out),
            Some(mattermost::Event::Released) => self.unlocked(config, now, out),
            // Nobody cancels the lock, and it is unlocked once.
            Some(
                mattermost::Event::ContextDone | mattermost::Event::Rejected | mattermost::Event::Panicked,
            )
            | None => {}
        }
    }

    /// L1
    fn locked(&mut self, now: Now, out: Out<'_>) {
        let Phase::Locking { last } = self.phase else { return };
        self.phase = Phase::Reading { last };
        out.store(Call::Read, TableOp::Row(Key::Metadata, KvOp::Get { wall: now.wall }));
    }

    /// U1
    fn unlocked(&mut self, config: &PluginApiJobConfig, now: Now, out: Out<'_>) {
        let Phase::Unlocking { wait, ran } = self.phase else { return };
        if ran {
            out.event(Event::Ended);
        }
        self.rest(config, now, wait, out);
    }

    fn unlock(&mut self, config: &PluginApiJobConfig, now: Now, wait: Span, ran: bool, out: Out<'_>) {
        self.phase = Phase::Unlocking { wait, ran };
        self.drive(config, now, Input::Request(mattermost::Request::Unlock), out);
    }

    fn read(&mut self, config: &PluginApiJobConfig, now: Now, answer: &KvAnswer<Value>, out: Out<'_>) {
        let Phase::Reading { last } = self.phase else { return };
        let Ok(last_finished) = mattermost::time_in(answer) else {
            // R1
            return self.unlock(config, now, config.mutex.wait_after_error(last, now), false, out);
        };
        let wait = config.next(now.wall, last_finished);
        if wait > Span::ZERO {
            // R2
            self.unlock(config, now, wait, false, out);
        } else {
            // R3
            self.phase = Phase::Running { stuck: false };
            out.event(Event::Began);
        }
    }

    /// V1
    fn saved(&mut self, config: &PluginApiJobConfig, now: Now, out: Out<'_>) {
        let Phase::Saving { finished } = self.phase else { return };
        self.unlock(config, now, config.next(now.wall, Some(finished)), true, out);
    }
}

impl Subject for PluginApiJob {
    fn request(ask: Ask) -> Option<Request> {
        match ask {
            Ask::Start => Some(Request::Start),
            Ask::Finish(_) => Some(Request::Finish),
            Ask::Close => Some(Request::Close),
            _ => None,
        }
    }

    fn told(event: &Event) -> Told {
        match event {
            Event::Began => Told::Began(Run { job: JobId(0), occurrence: None, attempt: 1, token: None }),
            Event::Ended => Told::Ended,
            Event::Closed => Told::Closed,
            Event::Rejected => Told::Rejected,
        }
    }

    /// As long as the callback runs: nothing tells it that the mutex was lost.
    fn belief(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { .. } => Some(Instant::MAX),
            Phase::AtRest
            | Phase::Waiting { .. }
            | Phase::Locking { .. }
            | Phase::Reading { .. }
            | Phase::Saving { .. }
            | Phase::Unlocking { .. } => None,
        }
    }

    fn ttl(config: &PluginApiJobConfig) -> Span {
        PluginApiMutex::ttl(&config.mutex)
    }

    const PLAY: Play = Play::Job;

    fn knot(&self) -> Option<Knot> {
        match self.phase {
            Phase::Running { stuck: true } => Some(Knot::Callback),
            Phase::Running { stuck: false }
            | Phase::AtRest
            | Phase::Waiting { .. }
            | Phase::Locking { .. }
            | Phase::Reading { .. }
            | Phase::Saving { .. }
            | Phase::Unlocking { .. } => None,
        }
    }

    /// A rounded interval promises nothing: a run that ends just before a multiple is followed by the next one.
    fn spacing(config: &PluginApiJobConfig) -> Span {
        match config.strategy {
            Strategy::Interval => config.interval,
            Strategy::RoundedInterval => Span::ZERO,
        }
    }

    fn period(config: &PluginApiJobConfig) -> Span {
        config.interval
    }

    fn calendar_horizon(config: &PluginApiJobConfig) -> Span {
        config.interval
    }

    fn reads_store_time(_: &PluginApiJobConfig) -> bool {
        false
    }

    fn phase(config: &PluginApiJobConfig) -> Span {
        PluginApiMutex::phase(&config.mutex)
    }

    /// It has no identities at all.
    fn is_symmetric(_: &PluginApiJobConfig) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Touch;
    use crate::subject::InstanceId;
    use crate::upstream::bench::{A, B, Bench};

    const MINUTE: u64 = 60_000;

    /// Every five minutes.
    fn bench() -> Bench<PluginApiJob> {
        Bench::new(PluginApiJobConfig::default())
    }

    /// `who` starts, finds that it is due, and calls the callback.
    fn begin(bench: &mut Bench<PluginApiJob>, who: InstanceId) {
        bench.ask(who, Request::Start);
        assert_eq!(bench.settle(who).told(who), [Event::Began]);
    }

    fn end(bench: &mut Bench<PluginApiJob>, who: InstanceId) {
        bench.ask(who, Request::Finish);
        assert_eq!(bench.settle(who).told(who), [Event::Ended]);
    }

    #[test]
    fn a_job_runs_at_once_and_then_an_interval_after_it_finished_wherever_that_was() {
        let mut bench = bench();
        begin(&mut bench, A);
        bench.at(2_000);
        end(&mut bench, A);
        assert_eq!(bench.wakes_in(A), Some(5 * MINUTE));
        bench.at(3 * MINUTE).ask(B, Request::Start);
        assert_eq!(bench.settle(B).told(B), [], "it is not due");
        assert_eq!(bench.wakes_in(B), Some(2 * MINUTE + 2_000));
        bench.at(5 * MINUTE + 2_000).wake(B);
        assert_eq!(bench.settle(B).told(B), [Event::Began]);
        bench.wake(A);
        assert_eq!(
            (bench.settle(A).told(A), bench.wakes_in(A)),
            (vec![], Some(1_000)),
            "it waits for the mutex"
        );
    }

    #[test]
    fn a_rounded_interval_is_counted_from_the_first_year_and_may_follow_at_once() {
        let at = |secs: u64| Timestamp::from_nanos(secs * 1_000_000_000);
        let config = |interval| {
            let strategy = Strategy::RoundedInterval;
            PluginApiJobConfig {
                interval: Span::from_secs(interval),
                strategy,
                ..PluginApiJobConfig::default()
            }
        };
        assert_eq!(config(300).next(at(299), None), Span::ZERO);
        assert_eq!(config(300).next(at(299), Some(at(299))), Span::from_secs(1));
        assert_eq!(config(300).next(at(300), Some(at(299))), Span::ZERO);
        assert_eq!(config(300).next(at(300), Some(at(300))), Span::from_secs(300));
        // The first day of the first year was a Monday, that of the epoch was a Thursday.
        assert_eq!(config(7 * 86_400).next(at(1), Some(at(1))), Span::from_secs(4 * 86_400 - 1));
    }

    #[test]
    fn a_failed_read_doubles_the_last_wait_and_starts_nothing() {
        let mut bench = bench();
        bench.ask(A, Request::Start);
        let mut now = 0;
        for expected in [2_000, 4_000, 8_000] {
            bench.serve(A);
            assert_eq!(bench.under_way(A), [Call::Read]);
            bench.fail(A);
            assert_eq!((bench.settle(A).told(A), bench.wakes_in(A)), (vec![], Some(expected)));
            now += expected;
            bench.at(now).wake(A);
        }
        assert_eq!(bench.settle(A).told(A), [Event::Began]);
        bench.at(now);
        end(&mut bench, A);
        bench.at(now + 5 * MINUTE).wake(A);
        bench.serve(A);
        bench.fail(A);
        assert_eq!(
            bench.settle(A).wakes_in(A),
            Some(5 * MINUTE),
            "twice the interval, but five minutes at most"
        );
    }

    #[test]
    fn j1_a_failed_refresh_lets_two_run_at_once() {
        let mut bench = bench();
        begin(&mut bench, A);
        bench.at(7_500).wake(A);
        bench.fail(A);
        bench.at(15_001);
        begin(&mut bench, B);
        assert!(bench.believes(A) && bench.believes(B));
    }

    #[test]
    fn j2_one_that_was_overtaken_sets_the_time_back() {
        let mut bench = bench();
        begin(&mut bench, A);
        bench.at(7_500).wake(A);
        bench.fail(A);
        bench.at(15_001);
        begin(&mut bench, B);
        bench.at(20_000).ask(A, Request::Finish);
        // A's write is slow. Meanwhile B ends.
        bench.at(MINUTE);
        end(&mut bench, B);
        bench.settle(A);
        let last = bench.table.get(&Key::Metadata).map(|row| row.value);
        assert_eq!(last, Some(Value::Time(Timestamp::from_nanos(20_000_000_000))));
        bench.at(5 * MINUTE + 20_000).wake(A);
        assert!(
            bench.settle(A).told(A).contains(&Event::Began),
            "40 s sooner than five minutes after B ended"
        );
    }

    #[test]
    fn j3_who_reads_a_replica_that_lags_runs_once_more() {
        for lags in [false, true] {
            let mut bench = bench();
            begin(&mut bench, A);
            bench.lag();
            bench.ask(B, Request::Start);
            bench.settle(B);
            end(&mut bench, A);
            if !lags {
                bench.catch_up();
            }
            bench.at(1_000).wake(B);
            assert_eq!(bench.settle(B).told(B).contains(&Event::Began), lags);
        }
    }

    #[test]
    fn j3_so_does_who_comes_after_a_save_that_failed() {
        let mut bench = bench();
        begin(&mut bench, A);
        bench.ask(A, Request::Finish);
        assert_eq!(bench.under_way(A), [Call::Save]);
        bench.fail(A);
        assert_eq!(bench.settle(A).told(A), [Event::Ended]);
        assert_eq!(bench.wakes_in(A), Some(5 * MINUTE), "A itself remembers");
        begin(&mut bench, B);
    }

    #[test]
    fn j4_a_clock_that_is_behind_stamps_a_time_that_is_long_ago_for_the_others() {
        let mut bench = bench();
        bench.put_clock_forward(B, 6 * MINUTE);
        begin(&mut bench, A);
        end(&mut bench, A);
        begin(&mut bench, B);
    }

    #[test]
    fn j4_a_clock_that_was_once_far_ahead_silences_the_job_for_as_long() {
        let mut bench = bench();
        let decades = 70 * 365 * 86_400_000;
        bench.put_clock_forward(A, decades);
        begin(&mut bench, A);
        end(&mut bench, A);
        bench.put_clock_forward(A, 0);
        for who in [A, B] {
            bench.at(5 * MINUTE);
            bench.ask(who, Request::Close);
            bench.settle(who).told(who);
            bench.ask(who, Request::Start);
            assert_eq!((bench.settle(who).told(who), bench.wakes_in(who)), (vec![], Some(decades)));
        }
    }

    #[test]
    fn j5_a_close_waits_as_long_as_another_one_runs() {
        let mut bench = bench();
        begin(&mut bench, A);
        bench.ask(B, Request::Start);
        bench.settle(B);
        bench.ask(B, Request::Close);
        for second in 1..=30 {
            bench.at(second * 1_000).wake(A);
            bench.settle(A).wake(B);
            assert_eq!(bench.settle(B).told(B), []);
        }
        end(&mut bench, A);
        bench.at(31_000).wake(B);
        assert_eq!(bench.settle(B).told(B), [Event::Closed]);
    }

    #[test]
    fn j5_a_close_waits_for_a_callback_and_one_by_the_callback_waits_for_ever() {
        for (closes_inside, told) in [(false, vec![Event::Ended, Event::Closed]), (true, vec![])] {
            let mut bench =
                Bench::<PluginApiJob>::new(PluginApiJobConfig { closes_inside, ..Default::default() });
            begin(&mut bench, A);
            bench.ask(A, Request::Close);
            assert_eq!(bench.told(A), []);
            bench.ask(A, Request::Finish);
            assert_eq!(bench.settle(A).told(A), told);
            bench.at(7_500).wake(A);
            assert_eq!(bench.knot(A), closes_inside.then_some(Knot::Callback));
            assert_eq!(bench.settle(A).table.contains_key(&Key::Mutex), closes_inside);
        }
    }

    #[test]
    fn a_close_in_a_wait_is_at_once_and_a_job_may_be_scheduled_anew() {
        let mut bench = bench();
        begin(&mut bench, A);
        end(&mut bench, A);
        bench.ask(A, Request::Close);
        assert_eq!((bench.told(A), bench.wakes_in(A)), (vec![Event::Closed], None));
        bench.ask(A, Request::Close);
        assert_eq!(bench.told(A), [Event::Closed]);
        bench.ask(A, Request::Finish);
        assert_eq!(bench.told(A), [Event::Rejected]);
        bench.at(5 * MINUTE);
        begin(&mut bench, A);
        bench.ask(A, Request::Start);
        assert_eq!(bench.told(A), [Event::Rejected]);
    }

    #[test]
    fn the_monitors_see_the_mutex_and_not_the_metadata() {
        let mut bench = bench();
        bench.ask(A, Request::Start);
        assert_eq!(bench.serve(A), Touch::Wrote(None));
        bench.settle(A);
        bench.ask(A, Request::Finish);
        assert_eq!(bench.serve(A), Touch::Wrote(None));
        assert!(matches!(bench.serve(A), Touch::Deleted(mark) if mark.by.instance == A));
    }
}
