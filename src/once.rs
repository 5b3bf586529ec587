//! Jobs that run once: scheduled for a moment under a key, by any instance, and run then by one of them.
//!
//! A job is a record that is never just deleted: it goes from scheduled to claimed to done, failed or dead, and each
//! change is a compare-and-set on the revision that was read. Whoever finds a job due takes the lock of its key, reads
//! the record again and claims it before the callback begins ([`crate::run`]). Timers are hints: an instance
//! remembers when pending jobs are due, and lists them all now and then; what a record says decides.
//!
//! # What is promised
//!
//! | | [`Delivery::AtMostOnce`] | [`Delivery::AtLeastOnce`] |
//! |---|---|---|
//! | a callback begins | once or never | until it has succeeded, or all attempts are used up |
//! | it crashes before the claim is in the store | somebody else runs the job | the same |
//! | it crashes after that | the job is dead once its lock has expired | the next attempt, once its lock has expired |
//! | it loses its lock while the callback runs | the callback is told; the job is dead or failed | the callback is told; the next attempt may overlap with it, and has a higher token |
//! | the outcome is not recorded | the job is dead | the next attempt, although the last one may have succeeded |
//! | it is rescheduled while its callback runs | both generations run once | the new generation runs as well |
//!
//! Due is what the *store's* clock says is due: never earlier, whatever the clocks of instances show. Dead jobs stay in
//! the store until they are cancelled or rescheduled; others are kept until their retention is over.
//!
//! Memory: a time and a key for each pending job that this instance has heard of, and one timer for all.
//!
//! # Transitions
//!
//! | | state | input | guard | next state | effects |
//! |---|---|---|---|---|---|
//! | S1 | at rest | start | | started, listing | list the first page |
//! | S2 | started | stop | | stopping | runs leave, callbacks are interrupted, forget the listing |
//! | S3 | stopping | the last run ended, or there was none | | at rest | event stopped |
//! | S4 | at rest | stop | | at rest | event stopped |
//! | S5 | stopping | stop | | stopping | |
//! | S6 | started, stopping | start | | the same | event rejected (started) |
//! | L1 | listing | a full page | | listing | note what is pending; list the next page |
//! | L2 | listing | a page that is not full | | started | note what is pending |
//! | L3 | listing | time-out | | listing | list this page again |
//! | L4 | started | wake | time for the next listing | listing | list the first page |
//! | L5 | started | a peer has scheduled a job | | the same | note it |
//! | L6 | started | hints were missed | | listing | list the first page |
//! | F1 | started | any | a job is due, or to be looked at again, and a slot is free | trying | its run enters |
//! | F2 | trying | the run has found the record | it is to be run | trying | claim it |
//! | F3 | trying | the run has found the record | due later | trying | note it; the run leaves |
//! | F4 | trying | the run has found the record | its claimant is gone, and no attempt is left | trying | record that it is dead |
//! | F5 | trying | the run has found the record | nothing is to be done, or stopping | trying | the run leaves |
//! | F6 | trying | the run began | | running | event began; interrupted, if stopping |
//! | F7 | trying | the run ended | | slot free | look again soon, unless it left |
//! | F8 | running | the run is interrupted | not told yet | running | event interrupted |
//! | F9 | running | finish | | settling | the run finishes |
//! | F10 | settling | the run settles | | settling | record the outcome; interrupted, if the lock was lost |
//! | F11 | settling | the run ended | | slot free | event ended; look again soon, if it was not recorded |
//! | F12 | no callback runs in the slot | finish | | the same | event rejected (not running) |
//! | A1 | no request for the key is open | schedule, reschedule, cancel, find | | reading | get the record |
//! | A2 | a request for the key is open | schedule, reschedule, cancel, find | | the same | event rejected (busy) |
//! | A3 | reading | found | it may be changed | writing | put the new record, if the old one is as it was read |
//! | A4 | reading | found | it may not be changed | closed | event declined |
//! | A5 | reading for find | found | | closed | event found |
//! | A6 | writing | applied, or refused by what this very request wrote | | closed | event accepted; publish it and note it, if pending |
//! | A7 | writing | refused by anything else | it was sent once, or the generation that was read is still there | reading | get the record |
//! | A8 | reading, writing | time-out | | the same | the same again |
//! | A9 | writing | refused by another generation | it was sent more than once | closed | event declined (overtaken) |
//! | P1 | no page is asked for | list | | asked | list |
//! | P2 | a page is asked for | list | | the same | event rejected (busy) |
//! | P3 | a page is asked for | listed | | none is | event listed |
//! | P4 | a page is asked for | time-out | | the same | the same again |
//!
//! Requests about keys (A, P) are independent of whether jobs are run here (S), and never wait for a callback: a callback
//! may schedule, reschedule or cancel its own key. What comes of a callback whose record was changed meanwhile is
//! dropped; the callback is not told. A run that has claimed its job when the scheduler is stopped begins, and is
//! interrupted at once.
//!
//! # Example
//!
//! ```
//! use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
//! use fencepost::once::{Delivery, JobKey, Once, OnceConfig, Request, RunAt};
//! use fencepost::time::{Now, Span};
//!
//! let terms = OnceConfig::new(Delivery::AtMostOnce).terms()?;
//! let mut once = Once::<JobKey, String>::new(&terms, Identity(7));
//! let mut effects = Effects::new();
//! let request = Request::Schedule {
//!     key: JobKey::new("reminder 17")?,
//!     run_at: RunAt::In(Span::from_secs(3_600)),
//!     props: String::from("water the plants"),
//! };
//! once.step(&terms, Now::default(), Input::Request(request), &mut effects);
//! // It reads the record first. The host carries the request to the store and brings the answer back.
//! assert!(matches!(effects.drain().next(), Some(Effect::Store { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agenda;
mod ask;
mod config;
mod task;
mod words;

pub use config::{Backoff, Delivery, OnceConfig, OnceConfigBuilder, OnceTerms};
pub use task::{State, Task};
pub use words::{
    Call, Declined, Event, JobKey, KEY_CHARS_MAX, Key, KeyError, Message, Misuse, PROPS_BYTES_MAX, Request,
    RunAt,
};

use alloc::vec::Vec;
use core::fmt::Debug;
use core::hash::Hash;

use crate::job::Outcome;
use crate::lease::Jittered;
use crate::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use crate::run::{self, End, Noted, Record, Run};
use crate::store::{Answer, Contract, Entry, Op};
use crate::time::{Instant, Now, Span, StoreTime};

use agenda::Agenda;
use ask::{Ask, Progress, Wish};
use task::Verdict;

/// What can be the key of a job.
pub trait Name: Clone + Ord + Hash + Debug + Send + Sync + 'static {}
impl<K: Clone + Ord + Hash + Debug + Send + Sync + 'static> Name for K {}

/// What a job's callback can get.
pub trait Props: Clone + Eq + Hash + Debug + Send + Sync + 'static {}
impl<P: Clone + Eq + Hash + Debug + Send + Sync + 'static> Props for P {}

/// A scheduler of jobs that run once, with keys `K` and props `P`; see the module documentation for its transitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Once<K, P> {
    identity: Identity,
    /// Numbers its requests and the attempts of its locks.
    serial: u32,
    phase: Phase,
    agenda: Agenda<K>,
    refresh: Refresh<K>,
    slots: Vec<Option<Slot<K, P>>>,
    /// Open requests; a call names the place of one, so they do not move.
    asks: Vec<Option<Ask<K, P>>>,
    page: Option<Page<K>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    AtRest,
    Started,
    Stopping,
}

/// The scheduler's own listings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Refresh<K> {
    Off,
    Resting { until: Instant },
    Listing { page: Page<K> },
}

/// A page that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Page<K> {
    after: Option<K>,
    limit: u32,
    sent: Instant,
}

/// A job that is tried or run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot<K, P> {
    key: K,
    run: Run<Task<P>>,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Turn {
    Trying,
    /// `told`: the callback knows that it should end.
    Running {
        told: bool,
    },
    Settling {
        outcome: Outcome,
    },
    /// The run has ended, but its lock follows up a request of unknown outcome.
    Draining,
}

impl Turn {
    fn is_over(self) -> bool {
        match self {
            Turn::Draining => true,
            Turn::Trying | Turn::Running { .. } | Turn::Settling { .. } => false,
        }
    }
}

type Out<'a, K, P> = &'a mut Effects<Once<K, P>>;
type AnswerTo<K, P> = Answer<Key<K>, Record<Task<P>>>;
type RunInput<P> = Input<Run<Task<P>>>;
type RunEffects<'a, P> = &'a mut Effects<Run<Task<P>>>;

impl<K: Name, P: Props> Machine for Once<K, P> {
    type Config = OnceTerms;
    type Store = Contract<Key<K>, Record<Task<P>>>;
    type Request = Request<K, P>;
    type Event = Event<K, P>;
    type Message = Message<K>;
    type Call = Call;

    fn new(terms: &OnceTerms, identity: Identity) -> Once<K, P> {
        Once {
            identity,
            serial: 0,
            phase: Phase::AtRest,
            agenda: Agenda::new(),
            refresh: Refresh::Off,
            slots: (0..terms.config.slots).map(|_| None).collect(),
            asks: Vec::new(),
            page: None,
        }
    }

    fn step(&mut self, terms: &OnceTerms, now: Now, input: Input<Once<K, P>>, out: Out<'_, K, P>) {
        let at = store_time(&input);
        match input {
            Input::Request(request) => self.request(terms, now, request, out),
            Input::Reply { call: Call::Slot(place, call), answer, at } => {
                let answer = answer.narrow(of_run, Some);
                self.slot(terms, now, place, Input::Reply { call, answer, at }, out);
            }
            Input::Reply { call: Call::Ask(place), answer, at } => {
                self.answered(terms, now, place, answer, at, out);
            }
            Input::Reply { call: Call::List, answer, .. } => self.listed(answer, out),
            Input::Reply { call: Call::Refresh, answer, .. } => self.refreshed(terms, now, answer, out),
            Input::Message(Message::Scheduled { key, due, wait }) => self.heard(now, key, due, wait),
            Input::Wake => self.wake(terms, now, out),
        }
        self.dispatch(terms, now, at, out);
    }

    fn deadline(&self, terms: &OnceTerms) -> Option<Instant> {
        let timeout = terms.timeout();
        let runs = self.slots.iter().flatten().filter_map(|slot| slot.run.deadline(&terms.run));
        let asks = self.asks.iter().flatten().map(|ask| ask.sent + timeout);
        let page = self.page.iter().map(|page| page.sent + timeout);
        let at = runs.chain(asks).chain(page).min().unwrap_or(Instant::MAX);
        let agenda = if self.free_place().is_some() { self.agenda.deadline() } else { Instant::MAX };
        let at = at.min(agenda).min(self.refresh.deadline(timeout));
        (at != Instant::MAX).then_some(at)
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        map.serial(self.identity, &mut self.serial);
        self.agenda.relocate(map);
        self.refresh.relocate(map);
        self.slots.iter_mut().flatten().for_each(|slot| slot.run.relocate(map));
        self.asks.iter_mut().flatten().for_each(|ask| ask.relocate(self.identity, map));
        self.page.iter_mut().for_each(|page| map.instant(&mut page.sent));
        map.identity(&mut self.identity);
    }
}

impl<K> Refresh<K> {
    fn deadline(&self, timeout: Span) -> Instant {
        match self {
            Refresh::Off => Instant::MAX,
            Refresh::Resting { until } => *until,
            Refresh::Listing { page } => page.sent + timeout,
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Refresh::Off => {}
            Refresh::Resting { until } => map.deadline(until),
            Refresh::Listing { page } => map.instant(&mut page.sent),
        }
    }
}

impl<K: Name> Page<K> {
    fn op<R>(&self) -> Op<Key<K>, R> {
        let after = self.after.clone().map_or(Key::Jobs, Key::Job);
        Op::List { after, limit: self.limit }
    }
}

/// The store's time, if this is an answer that bears it.
fn store_time<K: Name, P: Props>(input: &Input<Once<K, P>>) -> Option<StoreTime> {
    match input {
        Input::Reply { answer: Answer::Unknown, .. } => None,
        Input::Reply { at, .. } => Some(*at),
        Input::Request(_) | Input::Message(_) | Input::Wake => None,
    }
}

/// The same key in the words of a run.
fn of_run<K>(key: Key<K>) -> Option<run::Key> {
    match key {
        Key::Lock(_, key) => Some(run::Key::Lock(key)),
        Key::Job(_) => Some(run::Key::Work),
        Key::Jobs => None,
    }
}

/// The same key in the words of a scheduler.
fn of_job<K: Name>(job: &K, key: run::Key) -> Key<K> {
    match key {
        run::Key::Lock(key) => Key::Lock(job.clone(), key),
        run::Key::Work => Key::Job(job.clone()),
    }
}

/// The jobs of a page, if it is one.
fn read_page<K, P>(answer: AnswerTo<K, P>) -> Option<Vec<(K, Task<P>)>> {
    let Answer::Listed(page) = answer else { return None };
    let jobs = page.into_iter().filter_map(|(key, Entry { record, .. })| match key {
        Key::Job(key) => Some((key, record.work()?)),
        Key::Lock(..) | Key::Jobs => None,
    });
    Some(jobs.collect())
}

/// What callers and the store's lists say.
impl<K: Name, P: Props> Once<K, P> {
    /// How many pending jobs this instance remembers.
    pub fn pending(&self) -> usize {
        self.agenda.len()
    }

    /// The callbacks that run, in the order of their slots: the key of each, and until when its lock may be believed
    /// held.
    pub fn running(&self) -> impl Iterator<Item = (&K, Instant)> {
        let runs = self.slots.iter().flatten().filter(|slot| matches!(slot.turn, Turn::Running { .. }));
        runs.filter_map(|slot| Some((&slot.key, slot.run.until()?)))
    }

    fn request(&mut self, terms: &OnceTerms, now: Now, request: Request<K, P>, out: Out<'_, K, P>) {
        match request {
            Request::Start => self.start(terms, now, out),
            Request::Stop => self.stop(terms, now, out),
            Request::Schedule { key, run_at, props } => {
                self.ask(terms, now, key, Wish::Schedule { run_at, props }, out);
            }
            Request::Reschedule { key, run_at, props } => {
                self.ask(terms, now, key, Wish::Reschedule { run_at, props }, out);
            }
            Request::Cancel { key } => self.ask(terms, now, key, Wish::Cancel, out),
            Request::Find { key } => self.ask(terms, now, key, Wish::Find, out),
            Request::List { after, limit } => self.list(now, after, limit, out),
            Request::Refresh => self.missed(terms, now, out),
            Request::Finish { slot, outcome } => self.finish(terms, now, slot, outcome, out),
        }
    }

    fn start(&mut self, terms: &OnceTerms, now: Now, out: Out<'_, K, P>) {
        match self.phase {
            // S1
            Phase::AtRest => {
                self.phase = Phase::Started;
                self.send_refresh(terms, now, None, out);
            }
            // S6
            Phase::Started | Phase::Stopping => {
                out.event(Event::Rejected { key: None, misuse: Misuse::Started });
            }
        }
    }

    fn stop(&mut self, terms: &OnceTerms, now: Now, out: Out<'_, K, P>) {
        match self.phase {
            // S2
            Phase::Started => {
                self.phase = Phase::Stopping;
                self.agenda = Agenda::new();
                self.refresh = Refresh::Off;
                out.forget(Call::Refresh);
                for place in self.places() {
                    self.slot(terms, now, place, Input::Request(run::Request::Leave), out);
                    self.interrupt(place, out);
                }
                self.rest(out);
            }
            // S4
            Phase::AtRest => out.event(Event::Stopped),
            // S5
            Phase::Stopping => {}
        }
    }

    /// S3: nothing runs any more.
    fn rest(&mut self, out: Out<'_, K, P>) {
        if self.phase == Phase::Stopping && self.slots.iter().flatten().all(|slot| slot.turn.is_over()) {
            self.phase = Phase::AtRest;
            out.event(Event::Stopped);
        }
    }

    /// A1, A2: a request about a key.
    fn ask(&mut self, terms: &OnceTerms, now: Now, key: K, wish: Wish<P>, out: Out<'_, K, P>) {
        if self.asks.iter().flatten().any(|ask| ask.key == key) {
            return out.event(Event::Rejected { key: Some(key), misuse: Misuse::Busy });
        }
        let ask = Ask::new(key, wish, self.number(), now.mono);
        let place = self.asks.iter().position(Option::is_none).unwrap_or(self.asks.len());
        out.store(Call::Ask(place as u32), ask.op(terms));
        if place == self.asks.len() {
            self.asks.push(None);
        }
        self.asks[place] = Some(ask);
    }

    /// A number that no request or attempt of this incarnation has had.
    fn number(&mut self) -> u32 {
        let used = self.slots.iter().flatten().map(|slot| slot.run.name().attempt).max();
        self.serial = self.serial.max(used.unwrap_or(0)).wrapping_add(1);
        self.serial
    }

    /// A3 to A9: the store has answered a request about a key.
    fn answered(
        &mut self,
        terms: &OnceTerms,
        now: Now,
        place: u32,
        answer: AnswerTo<K, P>,
        at: StoreTime,
        out: Out<'_, K, P>,
    ) {
        let Some(Some(ask)) = self.asks.get_mut(place as usize) else { return };
        let (key, generation) = (ask.key.clone(), ask.makes(self.identity));
        match ask.answered(self.identity, answer, at) {
            Progress::Open => return,
            Progress::Next => {
                ask.sent = now.mono;
                return out.store(Call::Ask(place), ask.op(terms));
            }
            Progress::Anew => {
                let number = self.number();
                if let Some(Some(ask)) = self.asks.get_mut(place as usize) {
                    ask.sent = now.mono;
                    ask.renumber(number);
                    out.store(Call::Ask(place), ask.op(terms));
                }
                return;
            }
            Progress::Accepted { pending, was } => {
                out.event(Event::Accepted { key: key.clone(), generation });
                self.note(key, pending, was, at, out);
            }
            Progress::Declined(why) => out.event(Event::Declined { key, why }),
            Progress::Found(task) => out.event(Event::Found { key, task }),
        }
        self.asks[place as usize] = None;
        while self.asks.last().is_some_and(Option::is_none) {
            self.asks.pop();
        }
    }

    /// A6: what a request has changed about the agenda, here and elsewhere.
    fn note(
        &mut self,
        key: K,
        pending: Option<StoreTime>,
        was: Option<StoreTime>,
        at: StoreTime,
        out: Out<'_, K, P>,
    ) {
        if let Some(due) = was {
            self.agenda.remove(due, key.clone());
        }
        if let Some(due) = pending {
            out.publish(Message::Scheduled { key: key.clone(), due, wait: due.since(at) });
            if self.phase == Phase::Started {
                self.agenda.add(due, key);
            }
        }
    }

    /// L5: a hint.
    fn heard(&mut self, now: Now, key: K, due: StoreTime, wait: Span) {
        if self.phase == Phase::Started {
            self.agenda.add(due, key);
            self.agenda.expect(now.mono, wait);
        }
    }

    /// P1, P2: a page for a caller.
    fn list(&mut self, now: Now, after: Option<K>, limit: u32, out: Out<'_, K, P>) {
        if self.page.is_some() {
            return out.event(Event::Rejected { key: None, misuse: Misuse::Busy });
        }
        let page = Page { after, limit, sent: now.mono };
        out.store(Call::List, page.op());
        self.page = Some(page);
    }

    fn listed(&mut self, answer: AnswerTo<K, P>, out: Out<'_, K, P>) {
        // P3; P4 repeats what gave no answer.
        if self.page.is_some()
            && let Some(page) = read_page(answer)
        {
            self.page = None;
            out.event(Event::Listed { page });
        }
    }

    fn missed(&mut self, terms: &OnceTerms, now: Now, out: Out<'_, K, P>) {
        match self.phase {
            // L6
            Phase::Started => self.send_refresh(terms, now, None, out),
            Phase::AtRest | Phase::Stopping => {}
        }
    }

    fn send_refresh(&mut self, terms: &OnceTerms, now: Now, after: Option<K>, out: Out<'_, K, P>) {
        let page = Page { after, limit: terms.config.page, sent: now.mono };
        out.store(Call::Refresh, page.op());
        self.refresh = Refresh::Listing { page };
    }

    fn refreshed(&mut self, terms: &OnceTerms, now: Now, answer: AnswerTo<K, P>, out: Out<'_, K, P>) {
        let Refresh::Listing { .. } = self.refresh else { return };
        // L3 repeats what gave no answer.
        let Some(page) = read_page(answer) else { return };
        let is_full = page.len() >= terms.config.page as usize;
        let last = page.last().map(|(key, _)| key.clone());
        for (key, task) in page {
            self.remember(now, key, &task);
        }
        match last.filter(|_| is_full) {
            // L1
            Some(last) => self.send_refresh(terms, now, Some(last), out),
            // L2
            None => {
                let config = &terms.config;
                let rest = Jittered::around(config.refresh_interval.into(), config.mutex.lease.jitter);
                self.refresh = Refresh::Resting { until: rest.after(now) };
            }
        }
    }

    /// L1, L2: what a listing says of a job.
    fn remember(&mut self, now: Now, key: K, task: &Task<P>) {
        // What is tried or run here is looked at when it ends.
        let is_at_hand = self.slots.iter().flatten().any(|slot| slot.key == key && !slot.turn.is_over());
        if is_at_hand || self.agenda.is_watched(&key) {
            return;
        }
        match task.state {
            State::Scheduled => self.agenda.add(task.due, key),
            // Its claimant may have died. If not, he holds the lock.
            State::Claimed { .. } => self.agenda.watch(key, now.mono),
            State::Done { .. } | State::Failed { .. } | State::Dead { .. } | State::Cancelled { .. } => {}
        }
    }

    fn wake(&mut self, terms: &OnceTerms, now: Now, out: Out<'_, K, P>) {
        for place in self.places() {
            let slot = self.slots[place as usize].as_ref();
            if slot.and_then(|slot| slot.run.deadline(&terms.run)).is_some_and(|at| now.mono >= at) {
                self.slot(terms, now, place, Input::Wake, out);
            }
        }
        let overdue = |sent: Instant| now.mono >= sent + terms.timeout();
        // A8
        for (place, ask) in self.asks.iter_mut().enumerate() {
            if let Some(ask) = ask.as_mut().filter(|ask| overdue(ask.sent)) {
                ask.overdue(now.mono);
                out.store(Call::Ask(place as u32), ask.op(terms));
            }
        }
        // P4
        if let Some(page) = self.page.as_mut().filter(|page| overdue(page.sent)) {
            page.sent = now.mono;
            out.store(Call::List, page.op());
        }
        match &mut self.refresh {
            // L3
            Refresh::Listing { page } if overdue(page.sent) => {
                page.sent = now.mono;
                out.store(Call::Refresh, page.op());
            }
            // L4
            Refresh::Resting { until } if now.mono >= *until => self.send_refresh(terms, now, None, out),
            Refresh::Off | Refresh::Resting { .. } | Refresh::Listing { .. } => {}
        }
    }
}

/// What runs.
impl<K: Name, P: Props> Once<K, P> {
    fn places(&self) -> core::ops::Range<u16> {
        0..self.slots.len() as u16
    }

    fn free_place(&self) -> Option<u16> {
        self.places().find(|place| self.slots[*place as usize].is_none())
    }

    fn place_of(&self, key: &K) -> Option<u16> {
        let has_key = |place: &u16| self.slots[*place as usize].as_ref().is_some_and(|slot| slot.key == *key);
        self.places().find(has_key)
    }

    fn turn(&mut self, place: u16) -> Option<&mut Turn> {
        Some(&mut self.slots.get_mut(place as usize)?.as_mut()?.turn)
    }

    /// F1: fills the free slots with what is due.
    fn dispatch(&mut self, terms: &OnceTerms, now: Now, at: Option<StoreTime>, out: Out<'_, K, P>) {
        if self.phase != Phase::Started {
            return;
        }
        if let Some(at) = at {
            self.agenda.aim(now.mono, at);
        }
        let mut busy = Vec::new();
        while let Some(place) = self.free_place()
            && let Some(key) = self.agenda.pick(now.mono, at)
        {
            if self.place_of(&key).is_some() {
                busy.push(key);
            } else {
                self.enter(terms, now, place, key, out);
            }
        }
        // Only now, so that each is met once.
        for key in busy {
            self.agenda.watch(key, terms.run.mutex.poll().after(now));
        }
    }

    fn enter(&mut self, terms: &OnceTerms, now: Now, place: u16, key: K, out: Out<'_, K, P>) {
        let run = Run::resumed(self.identity, self.number().wrapping_sub(1));
        // Of whom this place was before.
        out.forget(Call::Slot(place, run::Call::Lock(crate::mutex::Call::Release)));
        self.slots[place as usize] = Some(Slot { key, run, turn: Turn::Trying });
        self.slot(terms, now, place, Input::Request(run::Request::Enter), out);
    }

    /// Hands a run an input, and does what it says.
    fn slot(&mut self, terms: &OnceTerms, now: Now, place: u16, input: RunInput<P>, out: Out<'_, K, P>) {
        let Some(Some(slot)) = self.slots.get_mut(place as usize) else { return };
        let mut effects = Effects::new();
        slot.run.step(&terms.run, now, input, &mut effects);
        while let Some(effect) = effects.pop() {
            let Some(Some(slot)) = self.slots.get_mut(place as usize) else { return };
            match effect {
                Effect::Store { store, call, op } => {
                    out.store_at(
                        store,
                        Call::Slot(place, call),
                        op.map(|key| of_job(&slot.key, key), |it| it),
                    );
                }
                Effect::Forget(call) => out.forget(Call::Slot(place, call)),
                // Nobody waits for the lock of a job; he would find the job done.
                Effect::Publish(_) => {}
                Effect::Event(event) => self.told(terms, now, place, event, &mut effects, out),
            }
        }
        let is_drained = |slot: &Slot<K, P>| {
            slot.turn.is_over() && slot.run.is_idle() && slot.run.deadline(&terms.run).is_none()
        };
        if self.slots[place as usize].as_ref().is_some_and(is_drained) {
            self.slots[place as usize] = None;
        }
    }

    /// What a run tells.
    fn told(
        &mut self,
        terms: &OnceTerms,
        now: Now,
        place: u16,
        event: run::Event<Task<P>>,
        effects: RunEffects<'_, P>,
        out: Out<'_, K, P>,
    ) {
        match event {
            run::Event::Found { entry, at } => {
                if let Some(answer) = self.decide(terms, place, entry, at) {
                    self.answer(terms, now, place, answer, effects);
                }
            }
            run::Event::Began { work: task, token } => {
                // F6
                let Some(Some(slot)) = self.slots.get_mut(place as usize) else { return };
                slot.turn = Turn::Running { told: false };
                out.event(Event::Began { slot: place, key: slot.key.clone(), token, task });
                if self.phase != Phase::Started {
                    self.interrupt(place, out);
                }
            }
            // F8
            run::Event::Interrupted => self.interrupt(place, out),
            run::Event::Settle { work, at, held } => {
                let answer = self.settle(terms, place, work, at, held);
                self.answer(terms, now, place, answer, effects);
            }
            run::Event::Ended(end) => self.ended(terms, now, place, end, out),
        }
    }

    fn answer(
        &mut self,
        terms: &OnceTerms,
        now: Now,
        place: u16,
        answer: run::Request<Task<P>>,
        effects: RunEffects<'_, P>,
    ) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.run.step(&terms.run, now, Input::Request(answer), effects);
        }
    }

    /// F2 to F5: what to do about the record that was read under the lock.
    fn decide(
        &mut self,
        terms: &OnceTerms,
        place: u16,
        found: Option<Entry<Task<P>>>,
        at: StoreTime,
    ) -> Option<run::Request<Task<P>>> {
        let slot = self.slots.get(place as usize)?.as_ref()?;
        let Some(Entry { record: task, .. }) = found.filter(|_| self.phase == Phase::Started) else {
            // F5
            return Some(run::Request::Leave);
        };
        let request = match task.verdict(terms, at) {
            // F2
            Verdict::Claim => run::Request::Claim(task.claimed(slot.run.name(), at)),
            // F3
            Verdict::Later(due) => {
                self.agenda.add(due, slot.key.clone());
                run::Request::Leave
            }
            // F4
            Verdict::Bury => {
                run::Request::Record { work: Task { state: State::Dead { at }, ..task }, ttl: None }
            }
            // F5
            Verdict::Leave => run::Request::Leave,
        };
        Some(request)
    }

    /// F10: success is recorded only of what ended under the lock.
    fn settle(
        &mut self,
        terms: &OnceTerms,
        place: u16,
        claim: Task<P>,
        at: StoreTime,
        held: bool,
    ) -> run::Request<Task<P>> {
        if !held {
            self.disown(place);
        }
        let outcome = match self.turn(place) {
            Some(Turn::Settling { outcome }) => *outcome,
            Some(Turn::Trying | Turn::Running { .. } | Turn::Draining) | None => Outcome::Interrupted,
        };
        let task = claim.ended(terms, at, outcome);
        if let (State::Scheduled, Phase::Started) = (task.state, self.phase)
            && let Some(Some(slot)) = self.slots.get(place as usize)
        {
            self.agenda.add(task.due, slot.key.clone());
        }
        run::Request::Record { ttl: task.ttl(terms), work: task }
    }

    fn disown(&mut self, place: u16) {
        if let Some(Turn::Settling { outcome }) = self.turn(place) {
            *outcome = Outcome::Interrupted;
        }
    }

    /// F9, F12: a callback has ended.
    fn finish(&mut self, terms: &OnceTerms, now: Now, place: u16, outcome: Outcome, out: Out<'_, K, P>) {
        match self.turn(place) {
            Some(turn @ Turn::Running { .. }) => *turn = Turn::Settling { outcome },
            Some(Turn::Trying | Turn::Settling { .. } | Turn::Draining) | None => {
                return out.event(Event::Rejected { key: None, misuse: Misuse::NotRunning });
            }
        }
        self.slot(terms, now, place, Input::Request(run::Request::Finish), out);
        if let Some(Some(slot)) = self.slots.get(place as usize)
            && !slot.run.is_tenured()
        {
            self.disown(place);
        }
    }

    /// F7, F11: a run has ended.
    fn ended(&mut self, terms: &OnceTerms, now: Now, place: u16, end: End, out: Out<'_, K, P>) {
        let Some(Some(slot)) = self.slots.get_mut(place as usize) else { return };
        let key = slot.key.clone();
        let turn = core::mem::replace(&mut slot.turn, Turn::Draining);
        let (soon, later) = (terms.run.mutex.poll().after(now), now.mono + terms.run.mutex.entry_ttl());
        let again = match end {
            End::Left | End::Ran(Noted::Recorded) => None,
            End::Refused | End::Lost | End::Ran(Noted::Superseded) => Some(soon),
            // Somebody is at it, or the store is silent. By then it will be seen what has become of it.
            End::Contended | End::Ran(Noted::Unknown) => Some(later),
        };
        if let Turn::Settling { outcome } = turn {
            let noted = match end {
                End::Ran(noted) => noted,
                End::Contended | End::Left | End::Refused | End::Lost => Noted::Unknown,
            };
            out.event(Event::Ended { slot: place, key: key.clone(), outcome, noted });
        }
        if self.phase == Phase::Started {
            self.agenda.nudge(now.mono);
            if let Some(until) = again {
                self.agenda.watch(key, until);
            }
        }
        self.rest(out);
    }

    /// Tells a callback that it should end, once.
    fn interrupt(&mut self, place: u16, out: Out<'_, K, P>) {
        if let Some(Some(Slot { key, turn: Turn::Running { told: told @ false }, .. })) =
            self.slots.get_mut(place as usize)
        {
            *told = true;
            out.event(Event::Interrupted { slot: place, key: key.clone() });
        }
    }
}
