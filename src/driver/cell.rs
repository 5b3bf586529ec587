//! A cell: one machine, its configuration, its outstanding requests and its caller, moved by whichever thread brings an
//! input.
//!
//! The thread that brings an input while nobody is at the machine has the turn: it steps the machine, carries the effects out,
//! feeds what the engine answers at once back in, and works off what others bring meanwhile. So an operation on an
//! engine that answers at once ends where it began, without another task or thread.
//!
//! A cell lives as long as somebody has a handle of it, or its machine has something to do: while it has a deadline, the
//! cell keeps itself alive. So what was dropped or cancelled is still followed up to its end.

use core::cell::RefCell;
use core::mem;
use core::panic::AssertUnwindSafe;
use std::boxed::Box;
use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::vec::Vec;

use super::calls::Calls;
use super::identity;
use super::index::Resident;
use super::pending::Pending;
use super::shared::Core;
use super::telling::{self, Word};
use super::timers::Timed;
use super::turns::Turns;
use super::wire::{Wire, WireKey};
use crate::driver::primitive::lock;
use crate::engine::{EngineAnswer, EngineOp, Key, Reply, Request, Responder, Text, clock};
use crate::machine::{AnswerOf, Effect, Effects, Input, OpOf};
use crate::store::StoreId;
use crate::time::{Draw, Instant, Now, StoreTime};

/// The caller's side of a machine: what is asked of it, and what becomes of what it tells.
///
/// Its methods are called by whoever has the turn, one at a time. They must not wait.
pub(crate) trait Caller<M: Wire>: Send + Sized + 'static {
    /// What handles ask.
    type Ask: Send;

    /// What to ask of the machine, if that still makes sense: another one's turn may have come since.
    fn ask(&mut self, machine: &M, ask: Self::Ask) -> Option<M::Request>;
    /// The machine was stepped. Belief is published here, before any event is told.
    fn stepped(&mut self, machine: &M);
    /// What the machine tells; what is to be asked next, if anything.
    fn event(&mut self, machine: &M, now: Instant, event: M::Event) -> Option<M::Request>;
    /// A request is sent.
    fn sent(&mut self, call: M::Call);
    /// The answer that the machine is about to get.
    fn answered(&mut self, call: M::Call, answer: &AnswerOf<M>, at: StoreTime);
    /// Word has come that something was freed; the machine is about to get it.
    fn hinted(&mut self, now: Instant);
    /// Hints may have been missed: what to ask of the machine, besides telling it that something may have been freed.
    fn missed(&mut self) -> Option<M::Request> {
        None
    }
    /// The store is closed: what to ask of the machine. From now on, it is asked for nothing else.
    fn shut(&mut self, machine: &M) -> Option<M::Request>;
    /// Nobody will wake the machine any more: whoever still waits is told.
    fn abandon(&mut self);
    /// What it is doing; `None`, if nothing.
    fn doing(&self) -> Option<&'static str>;
}

/// A number that no other cell of this process has.
fn number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// What is fed to a machine.
pub(crate) enum Inward<M: Wire, C: Caller<M>> {
    Ask(C::Ask),
    Reply { call: M::Call, number: u64, reply: Reply },
    Message(M::Message),
    Freed,
    Missed,
    Wake,
    Shut(Pending),
    Abandon,
}

/// A machine and what belongs to it.
pub(crate) struct Cell<M: Wire, C: Caller<M>> {
    core: Arc<Core>,
    id: u64,
    space: Arc<str>,
    config: Arc<M::Config>,
    turns: Turns<Inward<M, C>>,
    body: Mutex<Body<M, C>>,
}

struct Body<M: Wire, C: Caller<M>> {
    machine: M,
    caller: C,
    calls: Calls<M::Call>,
    draws: u64,
    /// When word came that something was freed which the machine has yet to get.
    freed: Option<Instant>,
    /// When its timer fires. It may be early.
    armed: Option<Instant>,
    /// Itself, while it has something to do.
    keeper: Option<Arc<Cell<M, C>>>,
    closing: Vec<Pending>,
    /// Nobody will wake it any more.
    abandoned: bool,
    /// Something that it calls has panicked: it is not stepped any more.
    broken: bool,
}

impl<M: Wire, C: Caller<M>> Body<M, C> {
    /// When the machine has something to do by itself, and will be woken for it.
    fn deadline(&self, config: &M::Config) -> Option<Instant> {
        self.machine.deadline(config).filter(|_| !self.broken && !self.abandoned)
    }

    /// What it is still doing, if it is not at rest.
    fn doing(&self, config: &M::Config) -> Option<&'static str> {
        let is_asking = self.deadline(config).is_some() || !self.calls.is_empty();
        self.caller.doing().or(is_asking.then_some("waiting for an answer of the store"))
    }
}

impl<M: Wire, C: Caller<M>> Cell<M, C> {
    /// A machine at rest in a space; `None`, if the store is closed.
    pub(crate) fn new(
        core: &Arc<Core>,
        space: Arc<str>,
        config: Arc<M::Config>,
        caller: impl FnOnce(&Weak<Cell<M, C>>) -> C,
    ) -> Option<Arc<Cell<M, C>>> {
        let identity = identity::fresh();
        let id = number();
        let cell = Arc::new_cyclic(|weak| Cell {
            id,
            space,
            turns: Turns::new(),
            body: Mutex::new(Body {
                machine: M::new(&config, identity),
                caller: caller(weak),
                calls: Calls::new(),
                draws: identity.0,
                freed: None,
                armed: None,
                keeper: None,
                closing: Vec::new(),
                abandoned: false,
                broken: false,
            }),
            config,
            core: core.clone(),
        });
        core.index().insert(id, &cell).then_some(cell)
    }

    /// What all machines of the store share.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Asks something of the machine.
    pub(crate) fn ask(self: &Arc<Self>, ask: C::Ask) {
        self.feed(Inward::Ask(ask));
    }

    /// Brings an input, and works it off, if nobody is at it.
    fn feed(self: &Arc<Self>, input: Inward<M, C>) {
        let Some(first) = self.turns.enter(input) else { return };
        let mut activation = Activation {
            cell: self,
            body: lock(&self.body),
            effects: Effects::new(),
            at_once: Row::new(),
            follow_ups: Row::new(),
        };
        let outer = telling::now_at(self.id);
        let mut next = Some(first);
        while let Some(first) = next {
            // Schedules and recorders of metrics are the user's.
            let worked = catch_unwind(AssertUnwindSafe(|| activation.work_off(first)));
            next = worked.err().and_then(|_| activation.break_off());
        }
        telling::now_at(outer);
        let keeper = activation.settle();
        drop(activation);
        // This may be the last reference but the caller's.
        drop(keeper);
    }
}

/// One thread's turn at a machine.
struct Activation<'a, M: Wire, C: Caller<M>> {
    cell: &'a Arc<Cell<M, C>>,
    body: MutexGuard<'a, Body<M, C>>,
    effects: Effects<M>,
    /// What the engine has answered at once.
    at_once: Row<(M::Call, u64, Reply)>,
    follow_ups: Row<M::Request>,
}

std::thread_local! {
    /// Where keys and records are put together.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A queue that seldom has more than one in it.
struct Row<T> {
    first: Option<T>,
    others: VecDeque<T>,
}

impl<T> Row<T> {
    const fn new() -> Row<T> {
        Row { first: None, others: VecDeque::new() }
    }

    fn push(&mut self, item: T) {
        match self.first {
            None => self.first = Some(item),
            Some(_) => self.others.push_back(item),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let next = self.others.pop_front();
        mem::replace(&mut self.first, next)
    }
}

impl<M: Wire, C: Caller<M>> Activation<'_, M, C> {
    fn work_off(&mut self, first: Inward<M, C>) {
        let mut next = Some(first);
        while let Some(input) = next {
            self.take(input);
            self.follow_up();
            next = self.cell.turns.next();
        }
    }

    /// What the inputs so far have brought about at once comes before what others bring.
    fn follow_up(&mut self) {
        loop {
            if let Some((call, number, reply)) = self.at_once.pop() {
                self.replied(call, number, reply);
            } else if let Some(request) = self.follow_ups.pop() {
                self.step(Input::Request(request));
            } else if let Some(heard) = self.heard() {
                self.freed(heard);
            } else {
                return;
            }
        }
    }

    /// Word that something was freed, once no answer is under way: whoever waits for one would not heed it, and what the
    /// answer says may be older.
    fn heard(&mut self) -> Option<Instant> {
        let body = &mut *self.body;
        body.freed.take_if(|_| body.calls.is_empty())
    }

    fn freed(&mut self, heard: Instant) {
        if let Some(message) = M::freed() {
            self.body.caller.hinted(heard);
            self.step(Input::Message(message));
        }
    }

    fn take(&mut self, input: Inward<M, C>) {
        let body = &mut *self.body;
        match input {
            Inward::Ask(ask) => {
                if let Some(request) = body.caller.ask(&body.machine, ask) {
                    self.step(Input::Request(request));
                }
            }
            Inward::Reply { call, number, reply } => self.replied(call, number, reply),
            Inward::Message(message) => self.step(Input::Message(message)),
            Inward::Freed => body.freed = Some(clock::mono()),
            Inward::Missed => {
                body.freed = Some(clock::mono());
                if let Some(request) = body.caller.missed() {
                    self.step(Input::Request(request));
                }
            }
            Inward::Wake => {
                body.armed = body.armed.filter(|at| *at > clock::mono());
                self.step(Input::Wake);
            }
            Inward::Shut(pending) => {
                body.closing.push(pending);
                if let Some(request) = body.caller.shut(&body.machine) {
                    self.step(Input::Request(request));
                }
            }
            Inward::Abandon => {
                body.abandoned = true;
                if let Some(request) = body.caller.shut(&body.machine) {
                    self.step(Input::Request(request));
                    self.follow_up();
                }
                self.body.caller.abandon();
            }
        }
    }

    fn replied(&mut self, call: M::Call, number: u64, reply: Reply) {
        let body = &mut *self.body;
        if !body.calls.close(call, number) {
            return;
        }
        let answer = read_answer::<M>(reply.answer);
        body.caller.answered(call, &answer, reply.at);
        self.step(Input::Reply { call, answer, at: reply.at });
    }

    fn step(&mut self, input: Input<M>) {
        let body = &mut *self.body;
        if body.broken {
            return;
        }
        let mono = clock::mono();
        body.draws = body.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let draw = Draw((identity::mixed(body.draws) >> 32) as u32);
        let now = Now { mono, wall: self.cell.core.timers().wall(mono), draw };
        body.machine.step(&self.cell.config, now, input, &mut self.effects);
        body.caller.stepped(&body.machine);
        self.carry_out(mono);
    }

    fn carry_out(&mut self, now: Instant) {
        let cell = self.cell;
        let body = &mut *self.body;
        for effect in self.effects.drain() {
            match effect {
                Effect::Store { store, call, op } => {
                    let number = body.calls.open(call);
                    body.caller.sent(call);
                    if let Some(reply) = send(cell, store, call, number, op) {
                        self.at_once.push((call, number, reply));
                    }
                }
                Effect::Forget(call) => body.calls.forget(call),
                Effect::Publish(message) => {
                    if let Some(text) = M::write_message(&message) {
                        cell.core.engine().publish(&cell.space, &text);
                    }
                }
                Effect::Event(event) => {
                    if let Some(request) = body.caller.event(&body.machine, now, event) {
                        self.follow_ups.push(request);
                    }
                }
            }
        }
    }

    /// Something that the machine or its caller calls has panicked: whoever waits is told, and nothing is sent any more.
    /// What it holds is free when its time to live has passed. Returns what others have brought meanwhile.
    fn break_off(&mut self) -> Option<Inward<M, C>> {
        (self.effects, self.at_once, self.follow_ups) = (Effects::new(), Row::new(), Row::new());
        let body = &mut *self.body;
        (body.calls, body.freed, body.broken) = (Calls::new(), None, true);
        // What has panicked may do so again, and so may whoever reads the log.
        let _ = catch_unwind(AssertUnwindSafe(|| body.caller.shut(&body.machine)));
        let _ = catch_unwind(AssertUnwindSafe(|| body.caller.abandon()));
        let space = &self.cell.space;
        let _ = catch_unwind(
            || tracing::error!(target: "fencepost", %space, "a schedule or a recorder has panicked"),
        );
        self.cell.turns.next()
    }

    /// Sets the timer, and stays alive as long as there is something to do. What it returns is to be dropped when
    /// no lock is held.
    fn settle(&mut self) -> Option<Arc<Cell<M, C>>> {
        let (cell, body) = (self.cell, &mut *self.body);
        let deadline = body.deadline(&cell.config);
        if let Some(at) = deadline
            && body.armed.is_none_or(|armed| at < armed)
        {
            let weak = Arc::downgrade(cell) as Weak<dyn Timed>;
            if cell.core.timers().set(cell.id, body.armed, at, weak) {
                body.armed = Some(at);
            } else {
                body.abandoned = true;
            }
        }
        if body.doing(&cell.config).is_none() {
            body.closing.clear();
        }
        if deadline.is_some() && !body.abandoned {
            body.keeper.get_or_insert_with(|| cell.clone());
            return None;
        }
        body.keeper.take()
    }
}

/// Sends a request. `Some`, if the answer is there at once.
fn send<M: Wire, C: Caller<M>>(
    cell: &Arc<Cell<M, C>>,
    store: StoreId,
    call: M::Call,
    number: u64,
    op: OpOf<M>,
) -> Option<Reply> {
    if store != StoreId::default() {
        tracing::error!(target: "fencepost", ?store, "a machine asks for a store that there is not");
        return Some(Reply::UNKNOWN);
    }
    let Some(op) = write_op::<M>(op) else {
        tracing::error!(target: "fencepost", space = %cell.space, "a record cannot be written as JSON");
        return Some(Reply::UNKNOWN);
    };
    let request = Request { space: cell.space.clone(), op };
    let engine = cell.core.engine();
    engine.answer(&request).or_else(|| {
        let cell = cell.clone();
        let responder = Responder::new(move |reply| cell.feed(Inward::Reply { call, number, reply }));
        engine.submit(request, responder);
        None
    })
}

fn write_op<M: Wire>(op: OpOf<M>) -> Option<EngineOp> {
    let mut failed = false;
    let op = op.map(write_key, |record: M::Record| {
        let text = write_record(&record);
        failed = text.is_none();
        text.unwrap_or_default()
    });
    (!failed).then_some(op)
}

fn write_key<K: WireKey>(key: K) -> Key {
    with_scratch(|bytes| {
        key.write(bytes);
        Box::from(&**bytes)
    })
}

fn write_record(record: &impl serde::Serialize) -> Option<Text> {
    with_scratch(|bytes| {
        serde_json::to_writer(&mut *bytes, record).ok()?;
        core::str::from_utf8(bytes).ok().map(Text::from)
    })
}

/// Gives it an empty buffer that need not be made each time.
fn with_scratch<R>(write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut bytes = SCRATCH.try_with(RefCell::take).unwrap_or_default();
    bytes.clear();
    let written = write(&mut bytes);
    // A thread that comes to its end keeps nothing any more.
    let _ = SCRATCH.try_with(|scratch| scratch.replace(bytes));
    written
}

/// What is not understood is no answer; in a listing, it is left out.
fn read_answer<M: Wire>(answer: EngineAnswer) -> AnswerOf<M> {
    answer.narrow(
        |key| <M::Key as WireKey>::read(&key),
        |record| match serde_json::from_str(&record) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(target: "fencepost", %error, record = &*record, "a record is not understood");
                None
            }
        },
    )
}

impl<M: Wire, C: Caller<M>> Timed for Cell<M, C> {
    fn fire(self: Arc<Self>) {
        self.feed(Inward::Wake);
    }
}

impl<M: Wire, C: Caller<M>> Resident for Cell<M, C> {
    fn space(&self) -> &Arc<str> {
        &self.space
    }

    fn hear(self: Arc<Self>, word: &Word<'_>) {
        let input = match word {
            Word::Freed => Some(Inward::Freed),
            Word::Message(text) => M::read_message(text).map(Inward::Message),
            Word::Missed => Some(Inward::Missed),
        };
        if let Some(input) = input {
            self.feed(input);
        }
    }

    fn shut(self: Arc<Self>, pending: Pending) {
        self.feed(Inward::Shut(pending));
    }

    fn doing(&self) -> Option<&'static str> {
        lock(&self.body).doing(&self.config)
    }

    fn abandon(self: Arc<Self>) {
        self.feed(Inward::Abandon);
    }
}

impl<M: Wire, C: Caller<M>> Drop for Cell<M, C> {
    fn drop(&mut self) {
        self.core.index().remove(&self.space, self.id);
        if let Some(armed) = lock(&self.body).armed {
            self.core.timers().remove(self.id, armed);
        }
    }
}

impl<M: Wire, C: Caller<M>> core::fmt::Debug for Cell<M, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cell").field("space", &self.space).finish_non_exhaustive()
    }
}
