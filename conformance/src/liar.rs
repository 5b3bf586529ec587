//! Engines that lie: each of them breaks one rule, and has to be found out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fencepost::engine::survey::Surveying;
use fencepost::engine::{Ear, Engine, EngineAnswer, Key, Reply, Request, Responder, Text};
use fencepost::store::{Answer, Entry, Expect, Limits, Op, Revision};
use fencepost::time::{Span, StoreTime};

use crate::candidate::Candidate;
use crate::twin::Rule;

/// What an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A quarter of each time to live is missing.
    ExpiresEarly,
    /// A quarter of each time to live is added.
    ExpiresLate,
    /// Revisions begin anew with each life of a key.
    ReusesRevisions,
    /// A refused write is applied.
    AppliesRefused,
    /// A write that finds another revision is applied: updates are lost, if somebody else was faster.
    ComparesNothing,
    /// A renewal prolongs whatever is there.
    RenewsAnything,
    /// A deletion removes whatever is there.
    DeletesAnything,
    /// A deletion is not carried out.
    DeletesNothing,
    /// A read shows what it has shown before.
    ReadsStale,
    /// Pages run backwards.
    ListsBackwards,
    /// A page has one more than was asked for.
    ListsTooMuch,
    /// Keys of different spaces are the same.
    MixesSpaces,
    /// The clock stands still.
    ClockStands,
    /// The clock runs at double speed.
    ClockRaces,
    /// Every tenth answer is unknown, though it is known.
    KnowsNothing,
    /// Every tenth request is forgotten.
    ForgetsRequests,
    /// A write is put off for a while, and whatever comes meanwhile overtakes it.
    Reorders,
    /// A survey leaves out what comes last.
    HidesFromSurveys,
    /// Nobody hears anything.
    IsDeaf,
    /// What was published just before the close is heard by nobody.
    SwallowsLastWords,
    /// Everything is lost with the last handle.
    LosesEverything,
    /// It goes on after it was closed.
    OutlivesItself,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 22] = [
        Lie::ExpiresEarly,
        Lie::ExpiresLate,
        Lie::ReusesRevisions,
        Lie::AppliesRefused,
        Lie::ComparesNothing,
        Lie::RenewsAnything,
        Lie::DeletesAnything,
        Lie::DeletesNothing,
        Lie::ReadsStale,
        Lie::ListsBackwards,
        Lie::ListsTooMuch,
        Lie::MixesSpaces,
        Lie::ClockStands,
        Lie::ClockRaces,
        Lie::KnowsNothing,
        Lie::ForgetsRequests,
        Lie::Reorders,
        Lie::HidesFromSurveys,
        Lie::IsDeaf,
        Lie::SwallowsLastWords,
        Lie::LosesEverything,
        Lie::OutlivesItself,
    ];

    /// The rule that it breaks.
    pub fn breaks(self) -> Rule {
        match self {
            Lie::ExpiresEarly => Rule::NotEarly,
            Lie::ExpiresLate => Rule::NotLate,
            Lie::ReusesRevisions => Rule::RevisionsGrow,
            Lie::AppliesRefused | Lie::ComparesNothing | Lie::MixesSpaces => Rule::PutIf,
            Lie::RenewsAnything => Rule::Renew,
            Lie::DeletesAnything | Lie::DeletesNothing => Rule::DeleteIf,
            Lie::ReadsStale => Rule::Get,
            Lie::ListsBackwards | Lie::ListsTooMuch => Rule::List,
            Lie::ClockStands | Lie::ClockRaces => Rule::Clock,
            Lie::KnowsNothing => Rule::Known,
            Lie::ForgetsRequests => Rule::Answered,
            Lie::Reorders => Rule::Order,
            Lie::HidesFromSurveys => Rule::Survey,
            Lie::IsDeaf | Lie::SwallowsLastWords => Rule::Hints,
            Lie::LosesEverything => Rule::Durable,
            Lie::OutlivesItself => Rule::Closed,
        }
    }
}

/// A store whose handles lie.
#[derive(Debug)]
pub struct Liar<C> {
    honest: C,
    lie: Lie,
    memory: Arc<Mutex<Memory>>,
}

/// What a liar remembers.
#[derive(Debug, Default)]
struct Memory {
    requests: u64,
    /// The revision before the first one of each life.
    births: BTreeMap<(Arc<str>, Key), u64>,
    shown: BTreeMap<(Arc<str>, Key), EngineAnswer>,
    clock: Option<StoreTime>,
    handles: u32,
}

impl<C: Candidate> Liar<C> {
    /// A store that lies so.
    pub fn new(honest: C, lie: Lie) -> Liar<C> {
        Liar { honest, lie, memory: Arc::default() }
    }
}

impl<C: Candidate> Candidate for Liar<C> {
    fn open(&self) -> Arc<dyn Engine> {
        let engine = self.honest.open();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.handles += 1;
        let handle = memory.handles;
        let (memory, late, closed) = (self.memory.clone(), Arc::default(), Arc::default());
        Arc::new(Handle { engine, lie: self.lie, memory, handle, late, closed })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

#[derive(Debug)]
struct Handle {
    engine: Arc<dyn Engine>,
    lie: Lie,
    memory: Arc<Mutex<Memory>>,
    handle: u32,
    /// What was put off.
    late: Arc<Mutex<Vec<(Request, Responder)>>>,
    closed: Arc<AtomicBool>,
}

fn catch_up(engine: &dyn Engine, late: &Mutex<Vec<(Request, Responder)>>) {
    let late = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
    late.into_iter().for_each(|(request, responder)| engine.submit(request, responder));
}

fn ask(engine: &dyn Engine, request: &Request) -> Reply {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    engine.submit(request.clone(), Responder::new(move |reply| drop(answer.send(reply))));
    answered.recv().unwrap_or(Reply::UNKNOWN)
}

/// The key that a request is about, if it is about one.
fn key_of(request: &Request) -> Option<Key> {
    match &request.op {
        Op::Get { key } | Op::PutIf { key, .. } | Op::Renew { key, .. } | Op::DeleteIf { key, .. } => {
            Some(key.clone())
        }
        Op::List { .. } => None,
    }
}

impl Handle {
    fn lie(&self, mut request: Request) -> Option<Reply> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.requests += 1;
        let is_tenth = memory.requests.is_multiple_of(10);
        let asked = request.clone();
        if self.lie == Lie::ForgetsRequests && is_tenth {
            return None;
        }
        if self.lie == Lie::ReusesRevisions {
            memory.count_from_the_beginning(&mut request);
        }
        self.bend(&mut request);
        let mut reply = ask(&*self.engine, &request);
        match (self.lie, &mut reply.answer) {
            (Lie::KnowsNothing, answer) if is_tenth => *answer = Answer::Unknown,
            (Lie::AppliesRefused, Answer::Refused(Some(found))) => self.write_over(&request, found),
            (Lie::ComparesNothing, Answer::Refused(Some(found))) => {
                if let Op::PutIf { expect: expect @ Expect::Revision(_), .. } = &mut request.op {
                    *expect = Expect::Revision(found.revision);
                    reply = ask(&*self.engine, &request);
                }
            }
            (Lie::ListsBackwards, Answer::Listed(page)) => page.reverse(),
            (Lie::ReusesRevisions, answer) => memory.show_from_the_beginning(&asked, answer),
            (Lie::ReadsStale, answer) => memory.remember(&asked, answer),
            (Lie::LosesEverything, Answer::Found(found)) if self.handle > 2 => *found = None,
            _ => {}
        }
        self.bend_clock(&mut memory, &mut reply);
        Some(reply)
    }

    fn reorder(&self, request: Request, responder: Responder) {
        if !matches!(request.op, Op::PutIf { .. }) {
            self.engine.submit(request, responder);
            return catch_up(&*self.engine, &self.late);
        }
        self.late.lock().unwrap_or_else(PoisonError::into_inner).push((request, responder));
        let (engine, late) = (self.engine.clone(), self.late.clone());
        std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(5));
            catch_up(&*engine, &late);
        });
    }

    /// Says it a moment later, unless that is too late.
    fn hesitate(&self, space: String, text: String) {
        let (engine, closed) = (self.engine.clone(), self.closed.clone());
        std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(5));
            if !closed.load(Ordering::Relaxed) {
                engine.publish(&space, &text);
            }
        });
    }

    fn write_over(&self, request: &Request, found: &Entry<Text>) {
        let mut request = request.clone();
        if let Op::PutIf { expect, .. } = &mut request.op {
            *expect = Expect::Revision(found.revision);
            ask(&*self.engine, &request);
        }
    }

    /// Asks for something else than was asked for.
    fn bend(&self, request: &mut Request) {
        let stretch = |ttl: &mut Span, quarters: u64| *ttl = Span::from_nanos(ttl.as_nanos() / 4) * quarters;
        match (self.lie, &mut request.op) {
            (Lie::ExpiresEarly, Op::PutIf { ttl: Some(ttl), .. }) => stretch(ttl, 3),
            (Lie::ExpiresLate, Op::PutIf { ttl: Some(ttl), .. }) => stretch(ttl, 5),
            (Lie::RenewsAnything, Op::Renew { key, revision, .. })
            | (Lie::DeletesAnything, Op::DeleteIf { key, revision }) => {
                let get = Request { space: request.space.clone(), op: Op::Get { key: key.clone() } };
                if let Answer::Found(Some(found)) = ask(&*self.engine, &get).answer {
                    *revision = found.revision;
                }
            }
            (Lie::DeletesNothing, Op::DeleteIf { key, revision }) => {
                let (key, revision) = (key.clone(), *revision);
                request.op = Op::Renew { key, revision, ttl: Span::MAX };
            }
            (Lie::ListsTooMuch, Op::List { limit, .. }) => *limit += 1,
            (Lie::MixesSpaces, _) => request.space = "all".into(),
            _ => {}
        }
    }

    fn bend_clock(&self, memory: &mut Memory, reply: &mut Reply) {
        let first = *memory.clock.get_or_insert(reply.at);
        match self.lie {
            Lie::ClockStands => reply.at = first,
            Lie::ClockRaces => reply.at = reply.at + reply.at.since(first),
            _ => {}
        }
    }
}

impl Memory {
    /// What the asker calls revision 1 is the first of this life.
    fn count_from_the_beginning(&self, request: &mut Request) {
        let Some(key) = key_of(request) else { return };
        let birth = self.births.get(&(request.space.clone(), key)).copied().unwrap_or(0);
        let (Op::PutIf { expect: Expect::Revision(revision), .. }
        | Op::Renew { revision, .. }
        | Op::DeleteIf { revision, .. }) = &mut request.op
        else {
            return;
        };
        *revision = Revision(revision.0.saturating_add(birth));
    }

    fn show_from_the_beginning(&mut self, request: &Request, answer: &mut EngineAnswer) {
        let Some(key) = key_of(request) else { return };
        let place = (request.space.clone(), key);
        if let (Op::PutIf { expect: Expect::Absent, .. }, Answer::Applied(revision)) = (&request.op, &*answer)
        {
            self.births.insert(place.clone(), revision.0 - 1);
        }
        let birth = self.births.get(&place).copied().unwrap_or(0);
        match answer {
            Answer::Applied(revision)
            | Answer::Found(Some(Entry { revision, .. }))
            | Answer::Refused(Some(Entry { revision, .. })) => revision.0 -= birth.min(revision.0),
            Answer::Found(None) | Answer::Refused(None) | Answer::Listed(_) | Answer::Unknown => {}
        }
    }

    /// A read shows what the first one has shown.
    fn remember(&mut self, request: &Request, answer: &mut EngineAnswer) {
        if let (Op::Get { key }, Answer::Found(Some(_))) = (&request.op, &*answer) {
            let place = (request.space.clone(), key.clone());
            *answer = self.shown.entry(place).or_insert_with(|| answer.clone()).clone();
        }
    }
}

impl Engine for Handle {
    fn limits(&self) -> Limits {
        self.engine.limits()
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        if self.lie != Lie::IsDeaf {
            self.engine.listen(ear);
        }
    }

    fn submit(&self, request: Request, responder: Responder) {
        if self.lie == Lie::Reorders {
            return self.reorder(request, responder);
        }
        match self.lie(request) {
            Some(reply) => responder.answer(reply),
            None => std::mem::forget(responder),
        }
    }

    fn publish(&self, space: &str, text: &str) {
        if self.lie == Lie::SwallowsLastWords {
            return self.hesitate(space.into(), text.into());
        }
        self.engine.publish(space, text);
    }

    fn survey(&self, prefix: &str) -> Surveying<'_> {
        let looking = self.engine.survey(prefix);
        Box::pin(async move {
            let mut survey = looking.await?;
            if self.lie == Lie::HidesFromSurveys {
                survey.entries.pop();
            }
            Ok(survey)
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        if self.lie == Lie::OutlivesItself {
            return Box::pin(std::future::ready(()));
        }
        self.closed.store(true, Ordering::Relaxed);
        self.engine.close()
    }
}
