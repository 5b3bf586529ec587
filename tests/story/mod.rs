//! A story of any machine, told as a list of moments, inputs and what they bring about.

#[path = "../common/shift.rs"]
pub(crate) mod shift;

use fencepost::line::Owner;
use fencepost::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use fencepost::mutex;
use fencepost::run::{Record, Work};
use fencepost::store::{Answer, Entry, Expect, Op, Revision, StoreId};
use fencepost::time::{Instant, Now, Point, Span, StoreTime};

use shift::Speech;

/// The hero of every story.
pub(crate) const ME: Identity = Identity(7);
/// Another one's attempt.
pub(crate) const STRANGER: Owner = Owner { identity: Identity(8), attempt: 1 };

/// A machine of which stories can be told.
pub(crate) trait Hero: Speech {
    /// An effect in few words: requests in lower case, events as they are.
    fn tell(effect: &Effect<Self>) -> String;

    /// What holds after every step, beyond what holds for every machine.
    fn watch(&self, _: &Self::Config, _: Instant) -> Result<(), String> {
        Ok(())
    }
}

/// One machine and its host, who remembers which replies it still waits for.
#[derive(Clone, Debug)]
pub(crate) struct Story<M: Machine> {
    pub(crate) config: M::Config,
    pub(crate) machine: M,
    effects: Effects<M>,
    outstanding: Vec<M::Call>,
}

impl<M: Hero> Story<M> {
    pub(crate) fn of(config: M::Config) -> Story<M> {
        let machine = M::new(&config, ME);
        Story { config, machine, effects: Effects::new(), outstanding: Vec::new() }
    }

    /// `input` arrives after `ms` milliseconds, on a store's clock that reads the same, and `expected` is done.
    #[track_caller]
    pub(crate) fn at(mut self, ms: u64, input: Input<M>, expected: &str) -> Story<M> {
        if let Input::Reply { call, .. } = &input {
            assert!(self.outstanding.contains(call), "at {ms} ms nobody waits for {input:?}");
        }
        let effects = self.step(millis(ms), stamped(input.clone(), ms));
        let told: Vec<String> = effects.iter().map(M::tell).collect();
        assert_eq!(told.join(", "), expected, "at {ms} ms: {input:?}");
        self
    }

    /// It wants to be woken after so many milliseconds.
    #[track_caller]
    pub(crate) fn wakes(self, ms: u64) -> Story<M> {
        assert_eq!(self.deadline(), Some(millis(ms)), "{:?}", self.machine);
        self
    }

    /// It wants nothing any more.
    #[track_caller]
    pub(crate) fn rests(self) -> Story<M> {
        assert_eq!(self.deadline(), None, "{:?}", self.machine);
        self
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline(&self.config)
    }

    /// Takes a step and holds the machine to its promises; the effects, but for those that change nothing.
    #[track_caller]
    pub(crate) fn step(&mut self, mono: Instant, input: Input<M>) -> Vec<Effect<M>> {
        let woken = input == Input::Wake;
        if let Input::Reply { call, .. } = &input {
            self.outstanding.retain(|other| other != call);
        }
        self.machine.step(&self.config, Now { mono, ..Now::default() }, input, &mut self.effects);
        let mut effects: Vec<Effect<M>> = self.effects.drain().collect();
        effects.retain(|effect| self.carry_out(effect));
        let at_once = woken && self.deadline().is_some_and(|at| at <= mono);
        assert!(!at_once, "woken at its deadline, it wants to be woken again at once: {:?}", self.machine);
        assert_eq!(self.machine.watch(&self.config, mono), Ok(()), "{:?}", self.machine);
        effects
    }

    /// Keeps the host's books; false if there is nothing to do, because nobody waits for the reply to be forgotten.
    fn carry_out(&mut self, effect: &Effect<M>) -> bool {
        match effect {
            Effect::Store { call, .. } => {
                self.outstanding.retain(|other| other != call);
                self.outstanding.push(*call);
                true
            }
            Effect::Forget(call) => {
                let known = self.outstanding.len();
                self.outstanding.retain(|other| other != call);
                self.outstanding.len() != known
            }
            Effect::Publish(_) | Effect::Event(_) => true,
        }
    }
}

/// Holds a machine to its promises on a way of any steps. All it has done, in order.
pub(crate) fn walk<M: Hero>(
    config: M::Config,
    start: Instant,
    steps: Vec<(Wait, Input<M>)>,
) -> Vec<(Now, Input<M>, Vec<Effect<M>>)> {
    let (mut story, mut mono) = (Story::<M>::of(config), start);
    let steps = steps.into_iter().map(|(wait, input)| {
        mono = wait.end(mono, story.deadline());
        let effects = story.step(mono, input.clone());
        (Now { mono, ..Now::default() }, input, effects)
    });
    steps.collect()
}

/// How long until the next input comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    For(Span),
    UntilDeadline,
}

impl Wait {
    fn end(self, now: Instant, deadline: Option<Instant>) -> Instant {
        match self {
            Wait::For(span) => now + span,
            Wait::UntilDeadline => deadline.unwrap_or(now).max(now),
        }
    }
}

pub(crate) fn millis<C>(ms: u64) -> Point<C> {
    Point::ZERO + Span::from_millis(ms)
}

/// The input with the time of a store whose clock shows `ms`.
pub(crate) fn stamped<M: Machine>(mut input: Input<M>, ms: u64) -> Input<M> {
    if let Input::Reply { at, .. } = &mut input {
        *at = millis::<_>(ms);
    }
    input
}

pub(crate) fn entry<R>(record: R, revision: u64) -> Entry<R> {
    Entry { revision: Revision(revision), record }
}

/// A point on the store's clock in milliseconds.
pub(crate) fn ms(at: StoreTime) -> u64 {
    at.as_nanos() / 1_000_000
}

/// A request of a lock in few words.
pub(crate) fn tell_lock<K, R>(call: mutex::Call, op: &Op<K, R>) -> String {
    match (call, op) {
        (mutex::Call::Claim, Op::PutIf { .. }) => String::from("lock"),
        (mutex::Call::Renew, Op::Renew { revision, .. }) => format!("renew r{}", revision.0),
        (mutex::Call::Release, Op::DeleteIf { revision, .. }) => format!("unlock r{}", revision.0),
        (mutex::Call::Inspect, Op::Get { .. }) => String::from("inspect"),
        (call, op) => panic!("a lock that is tried once asks for {call:?}: {:?}", op_name(op)),
    }
}

fn op_name<K, R>(op: &Op<K, R>) -> &'static str {
    match op {
        Op::Get { .. } => "get",
        Op::PutIf { .. } => "put",
        Op::Renew { .. } => "renew",
        Op::DeleteIf { .. } => "delete",
        Op::List { .. } => "list",
    }
}

/// On what a write depends, in few words.
pub(crate) fn tell_expect(expect: &Expect) -> String {
    match expect {
        Expect::Absent => String::from("new"),
        Expect::Revision(Revision(revision)) => format!("r{revision}"),
    }
}

/// Where every request of a job goes.
pub(crate) fn is_first(store: StoreId) -> bool {
    store == StoreId::default()
}

pub(crate) fn relocate_record<W: Work>(record: &mut Record<W>, map: &mut impl Relocate) {
    match record {
        Record::Lock(owner) => owner.relocate(map),
        Record::Work(work) => work.relocate(map),
    }
}

/// A lock that is tried once has no places in a queue, so keys name nothing.
pub(crate) fn relocate_answer<K, W: Work>(answer: &mut Answer<K, Record<W>>, map: &mut impl Relocate) {
    let mut relocate = |entry: &mut Entry<Record<W>>| {
        map.revision(&mut entry.revision);
        relocate_record(&mut entry.record, map);
    };
    match answer {
        Answer::Refused(entry) | Answer::Found(entry) => entry.iter_mut().for_each(relocate),
        Answer::Listed(page) => page.iter_mut().for_each(|(_, entry)| relocate(entry)),
        Answer::Applied(revision) => map.revision(revision),
        Answer::Unknown => {}
    }
}

pub(crate) fn relocate_op<K, W: Work>(op: &mut Op<K, Record<W>>, map: &mut impl Relocate) {
    match op {
        Op::Get { .. } | Op::List { .. } => {}
        Op::PutIf { expect, record, .. } => {
            expect.relocate(map);
            relocate_record(record, map);
        }
        Op::Renew { revision, .. } | Op::DeleteIf { revision, .. } => map.revision(revision),
    }
}

/// Every row of a transition table in `docs` has its label in the name of a test in `tests`.
#[track_caller]
pub(crate) fn check_told(docs: &str, tests: &str) {
    let names = tests.lines().filter_map(|line| line.strip_prefix("fn ")?.split_once('('));
    let told: Vec<String> =
        names.flat_map(|(name, _)| name.split('_').map(str::to_uppercase).collect::<Vec<_>>()).collect();
    let labels: Vec<&str> = docs.lines().filter_map(row_label).collect();
    assert!(labels.len() >= 5, "the table was not found");
    let untold: Vec<&&str> = labels.iter().filter(|label| !told.iter().any(|told| told == **label)).collect();
    assert!(untold.is_empty(), "no story tells {untold:?}");
}

/// The label of a row of a transition table: a letter and a number.
fn row_label(line: &str) -> Option<&str> {
    let (label, _) = line.strip_prefix("//! | ")?.split_once(" |")?;
    let number = label.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
    number.parse::<u32>().is_ok().then_some(label)
}
