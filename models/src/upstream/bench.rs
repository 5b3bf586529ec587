//! Two callers at one table, for tests that read like stories.

use fencepost::machine::{Effect, Effects, Identity, Input, Machine};
use fencepost::time::{Draw, Instant, Now, Span, StoreTime, Timestamp};

use super::kv::{Kv, KvAnswer, KvOp, Row};
use super::mattermost::{Call, Event, Request};
use crate::clock::Time;
use crate::store::{Grain, Serving, Simulated, Tag, Touch};
use crate::subject::{InstanceId, Subject};

pub(super) const A: InstanceId = InstanceId(0);
pub(super) const B: InstanceId = InstanceId(1);
/// The draw that makes no jitter, and lets a timer win over a context.
pub(super) const MIDDLE: Draw = Draw(1 << 31);

pub(super) fn wall(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Carries `op` out at a table whose clock shows `millis`.
pub(super) fn serve<V>(
    op: &KvOp<V>,
    shelf: &mut Option<Row<V>>,
    millis: u64,
    by: InstanceId,
) -> (KvAnswer<V>, Touch)
where
    Kv<V>: Simulated<Op = KvOp<V>, Answer = KvAnswer<V>, Shelf = Option<Row<V>>>,
{
    let nanos = millis * 1_000_000;
    let mut serving = Serving {
        now: StoreTime::from_nanos(nanos),
        truth: Time::from_nanos(nanos),
        age: Span::ZERO,
        by: Tag { instance: by, acquisition: 1 },
        wanted: true,
        grain: Grain::default(),
        counter: &mut 0,
        touch: Touch::None,
        to_lock: false,
        grain_seen: false,
    };
    let answer = Kv::serve(op, shelf, &mut serving);
    (answer, serving.touch)
}

struct Caller<M: Machine> {
    machine: M,
    wall_ahead_millis: u64,
    under_way: Vec<(Call, KvOp<u8>)>,
    told: Vec<Event>,
}

/// A and B at one table. Nothing happens by itself.
pub(super) struct Bench<M: Machine> {
    config: M::Config,
    callers: [Caller<M>; 2],
    pub(super) table: Option<Row<u8>>,
    pub(super) draw: Draw,
    millis: u64,
}

impl<M> Bench<M>
where
    M: Subject + Machine<Store = Kv<u8>, Request = Request, Event = Event, Call = Call>,
{
    pub(super) fn new(config: M::Config) -> Bench<M> {
        let callers = [0, 1].map(|id| {
            let machine = M::new(&config, Identity(id));
            Caller { machine, wall_ahead_millis: 0, under_way: Vec::new(), told: Vec::new() }
        });
        Bench { config, callers, table: None, draw: MIDDLE, millis: 0 }
    }

    /// From now on it is so many milliseconds after the beginning.
    pub(super) fn at(&mut self, millis: u64) -> &mut Bench<M> {
        self.millis = millis;
        self
    }

    pub(super) fn put_clock_forward(&mut self, who: InstanceId, millis: u64) {
        self.callers[who.index()].wall_ahead_millis = millis;
    }

    fn step(&mut self, who: InstanceId, input: Input<M>) {
        let caller = &mut self.callers[who.index()];
        let mono = Instant::from_nanos(self.millis * 1_000_000);
        let now = Now { mono, wall: wall(self.millis + caller.wall_ahead_millis), draw: self.draw };
        let mut effects = Effects::new();
        caller.machine.step(&self.config, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { call, op, .. } => caller.under_way.push((call, op)),
                Effect::Event(event) => caller.told.push(event),
                Effect::Forget(_) | Effect::Publish(_) => panic!("neither mutex does this"),
            }
        }
    }

    pub(super) fn ask(&mut self, who: InstanceId, request: Request) {
        self.step(who, Input::Request(request));
    }

    pub(super) fn wake(&mut self, who: InstanceId) {
        self.step(who, Input::Wake);
    }

    /// The requests of `who` that are under way, in the order of sending.
    pub(super) fn under_way(&self, who: InstanceId) -> Vec<Call> {
        self.callers[who.index()].under_way.iter().map(|(call, _)| *call).collect()
    }

    /// Carries the oldest of them out and brings the answer back.
    pub(super) fn serve(&mut self, who: InstanceId) -> Touch {
        let (call, op) = self.callers[who.index()].under_way.remove(0);
        let (answer, touch) = serve(&op, &mut self.table, self.millis, who);
        self.step(who, Input::Reply { call, answer, at: StoreTime::ZERO });
        touch
    }

    /// Carries the oldest of them out and loses the answer.
    pub(super) fn serve_in_vain(&mut self, who: InstanceId) -> Touch {
        let (call, op) = self.callers[who.index()].under_way.remove(0);
        let (_, touch) = serve(&op, &mut self.table, self.millis, who);
        self.step(who, Input::Reply { call, answer: KvAnswer::Error, at: StoreTime::ZERO });
        touch
    }

    /// Fails the oldest of them.
    pub(super) fn fail(&mut self, who: InstanceId) {
        let (call, _) = self.callers[who.index()].under_way.remove(0);
        self.step(who, Input::Reply { call, answer: KvAnswer::Error, at: StoreTime::ZERO });
    }

    /// What `who` was told since this was asked last.
    pub(super) fn told(&mut self, who: InstanceId) -> Vec<Event> {
        std::mem::take(&mut self.callers[who.index()].told)
    }

    pub(super) fn believes(&self, who: InstanceId) -> bool {
        self.callers[who.index()].machine.belief().is_some()
    }

    /// In how many milliseconds `who` wants to be woken.
    pub(super) fn wakes_in(&self, who: InstanceId) -> Option<u64> {
        let deadline = self.callers[who.index()].machine.deadline(&self.config)?;
        Some(deadline.as_nanos().saturating_sub(self.millis * 1_000_000) / 1_000_000)
    }

    /// `who` asks with the background context and takes a free key at once.
    pub(super) fn lock(&mut self, who: InstanceId) -> Touch {
        self.ask(who, Request::Lock(Span::MAX));
        let touch = self.serve(who);
        assert_eq!(self.told(who), [Event::Acquired]);
        touch
    }
}
