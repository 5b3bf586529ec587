//! Two callers at one table, for tests that read like stories.

use fencepost::machine::{AnswerOf, Effect, Effects, Input, Machine, OpOf};
use fencepost::store::Protocol;
use fencepost::time::{Draw, Instant, Now, Span, StoreTime, Timestamp};

use super::kv::{Kv, KvAnswer, KvOp, Row};
use super::mattermost;
use crate::clock::Time;
use crate::store::{Grain, Serving, Simulated, Tag, Touch};
use crate::subject::{InstanceId, Knot, Subject};
use crate::world::identity;

pub(super) const A: InstanceId = InstanceId(0);
pub(super) const B: InstanceId = InstanceId(1);
/// The draw that makes no jitter, and lets a timer win over a context.
pub(super) const MIDDLE: Draw = Draw(1 << 31);

type ShelfOf<M> = <<M as Machine>::Store as Simulated>::Shelf;

pub(super) fn wall(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Carries `op` out at a row whose clock shows `millis`.
pub(super) fn serve<V>(
    op: &KvOp<V>,
    row: &mut Option<Row<V>>,
    millis: u64,
    by: InstanceId,
) -> (KvAnswer<V>, Touch)
where
    Kv<V>: Simulated<Op = KvOp<V>, Answer = KvAnswer<V>, Shelf = Option<Row<V>>>,
{
    serve_at::<Kv<V>>(op, row, millis, by)
}

/// Carries `op` out at a shelf whose clock shows `millis`.
pub(super) fn serve_at<P: Simulated>(
    op: &P::Op,
    shelf: &mut P::Shelf,
    millis: u64,
    by: InstanceId,
) -> (P::Answer, Touch) {
    let nanos = millis * 1_000_000;
    let mut serving = Serving {
        now: StoreTime::from_nanos(nanos),
        truth: Time::from_nanos(nanos),
        age: Span::ZERO,
        by: Tag { instance: by, acquisition: 1 },
        wanted: true,
        grain: Grain::default(),
        counter: &mut 0,
        keys: None,
        touch: Touch::None,
        to_lock: false,
        request: None,
        grain_seen: false,
    };
    let answer = P::serve(op, shelf, &mut serving);
    (answer, serving.touch)
}

struct Caller<M: Machine> {
    machine: M,
    wall_ahead_millis: u64,
    under_way: Vec<(M::Call, OpOf<M>)>,
    told: Vec<M::Event>,
}

/// A and B at one table. Nothing happens by itself.
pub(super) struct Bench<M: Subject> {
    config: M::Config,
    callers: [Caller<M>; 2],
    pub(super) table: ShelfOf<M>,
    /// What a replica that stopped following still has.
    replica: Option<ShelfOf<M>>,
    pub(super) draw: Draw,
    millis: u64,
}

impl<M: Subject> Bench<M> {
    pub(super) fn new(config: M::Config) -> Bench<M> {
        let callers = [0, 1].map(|id| {
            let machine = M::new(&config, identity(id, 0));
            Caller { machine, wall_ahead_millis: 0, under_way: Vec::new(), told: Vec::new() }
        });
        Bench { config, callers, table: ShelfOf::<M>::default(), replica: None, draw: MIDDLE, millis: 0 }
    }

    /// From now on it is so many milliseconds after the beginning.
    pub(super) fn at(&mut self, millis: u64) -> &mut Bench<M> {
        self.millis = millis;
        self
    }

    pub(super) fn put_clock_forward(&mut self, who: InstanceId, millis: u64) {
        self.callers[who.index()].wall_ahead_millis = millis;
    }

    /// From now on reads are answered by a replica that does not follow.
    pub(super) fn lag(&mut self) {
        self.replica = Some(self.table.clone());
    }

    pub(super) fn catch_up(&mut self) {
        self.replica = None;
    }

    fn step(&mut self, who: InstanceId, input: Input<M>) {
        let caller = &mut self.callers[who.index()];
        let mono = Instant::from_nanos(self.millis * 1_000_000);
        let now = Now { mono, wall: wall(self.millis + caller.wall_ahead_millis), draw: self.draw };
        let mut effects = Effects::new();
        caller.machine.step(&self.config, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Store { call, op, .. } => {
                    let is_new = caller.under_way.iter().all(|(other, _)| *other != call);
                    assert!(is_new, "{call:?} is under way already");
                    caller.under_way.push((call, op));
                }
                Effect::Event(event) => caller.told.push(event),
                Effect::Forget(call) => caller.under_way.retain(|(other, _)| *other != call),
                Effect::Publish(_) => panic!("no original does this"),
            }
        }
    }

    pub(super) fn ask(&mut self, who: InstanceId, request: M::Request) {
        self.step(who, Input::Request(request));
    }

    pub(super) fn wake(&mut self, who: InstanceId) {
        self.step(who, Input::Wake);
    }

    /// The requests of `who` that are under way, in the order of sending.
    pub(super) fn under_way(&self, who: InstanceId) -> Vec<M::Call> {
        self.callers[who.index()].under_way.iter().map(|(call, _)| *call).collect()
    }

    fn answer(&mut self, who: InstanceId, call: M::Call, answer: AnswerOf<M>) {
        self.step(who, Input::Reply { call, answer, at: StoreTime::ZERO });
    }

    fn carry_out(&mut self, who: InstanceId) -> (M::Call, AnswerOf<M>, Touch) {
        let (call, op) = self.callers[who.index()].under_way.remove(0);
        let replica = self.replica.as_mut().filter(|_| M::Store::is_read(&op));
        let shelf = replica.unwrap_or(&mut self.table);
        let (answer, touch) = serve_at::<M::Store>(&op, shelf, self.millis, who);
        (call, answer, touch)
    }

    /// Carries the oldest of them out and brings the answer back.
    pub(super) fn serve(&mut self, who: InstanceId) -> Touch {
        let (call, answer, touch) = self.carry_out(who);
        self.answer(who, call, answer);
        touch
    }

    /// Carries the oldest of them out and loses the answer.
    pub(super) fn serve_in_vain(&mut self, who: InstanceId) -> Touch {
        let (call, _, touch) = self.carry_out(who);
        self.answer(who, call, M::Store::unknown());
        touch
    }

    /// Fails the oldest of them.
    pub(super) fn fail(&mut self, who: InstanceId) {
        let (call, _) = self.callers[who.index()].under_way.remove(0);
        self.answer(who, call, M::Store::unknown());
    }

    /// Carries out whatever `who` asks of the store, until it asks for no more.
    pub(super) fn settle(&mut self, who: InstanceId) -> &mut Bench<M> {
        while !self.under_way(who).is_empty() {
            self.serve(who);
        }
        self
    }

    /// What `who` was told since this was asked last.
    pub(super) fn told(&mut self, who: InstanceId) -> Vec<M::Event> {
        std::mem::take(&mut self.callers[who.index()].told)
    }

    pub(super) fn believes(&self, who: InstanceId) -> bool {
        self.callers[who.index()].machine.belief().is_some()
    }

    pub(super) fn knot(&self, who: InstanceId) -> Option<Knot> {
        self.callers[who.index()].machine.knot()
    }

    /// In how many milliseconds `who` wants to be woken.
    pub(super) fn wakes_in(&self, who: InstanceId) -> Option<u64> {
        let deadline = self.callers[who.index()].machine.deadline(&self.config)?;
        Some(deadline.as_nanos().saturating_sub(self.millis * 1_000_000) / 1_000_000)
    }
}

impl<M: Subject + Machine<Request = mattermost::Request, Event = mattermost::Event>> Bench<M> {
    /// `who` asks with the background context and takes a free key at once.
    pub(super) fn lock(&mut self, who: InstanceId) -> Touch {
        self.ask(who, mattermost::Request::Lock(Span::MAX));
        let touch = self.serve(who);
        assert_eq!(self.told(who), [mattermost::Event::Acquired]);
        touch
    }
}
