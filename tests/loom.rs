//! The parts of the driver that several threads share, and the engine in memory, in every order in which their steps can meet.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --no-default-features --test loom
//! ```
//!
//! Their very files are compiled over loom's locks and atomics. Beside each stands what would go
//! wrong without the care that it takes, and loom has to find that.
#![cfg(loom)]
#![allow(dead_code, reason = "the parts have more than is looked at here")]
#![allow(clippy::disallowed_types, reason = "this is about threads")]

mod primitive {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("nothing panics under a lock here")
    }
}

/// Of the timers, only what has one matters here: the rest belongs to a runtime.
mod timers {
    use std::sync::Arc;

    pub(crate) trait Timed: Send + Sync {
        fn fire(self: Arc<Self>);
    }
}

mod driver {
    pub(crate) use super::primitive;
}

/// A clock that stands still.
mod clock {
    use fencepost::time::StoreTime;

    #[derive(Debug)]
    pub(crate) struct Anchored;

    impl Anchored {
        pub(crate) fn now() -> Anchored {
            Anchored
        }

        pub(crate) fn read(&self) -> StoreTime {
            StoreTime::from_nanos(1_000)
        }
    }
}

#[path = "../src/driver/asked.rs"]
mod asked;
#[path = "../src/driver/board.rs"]
mod board;
#[path = "../src/driver/calls.rs"]
mod calls;
#[path = "../src/driver/index.rs"]
mod index;
#[allow(unreachable_pub, reason = "it is public in the crate")]
#[path = "../src/engine/memory.rs"]
mod memory;
#[path = "../src/driver/pending.rs"]
mod pending;
#[path = "../src/driver/signals.rs"]
mod signals;
#[path = "../src/driver/telling.rs"]
mod telling;
#[path = "../src/driver/tenure.rs"]
mod tenure;
#[path = "../src/driver/turns.rs"]
mod turns;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use asked::Asked;
use board::Board;
use calls::Calls;
use fencepost::engine::{
    Ear, Engine, EngineAnswer, EngineOp, Hint, Key, Reply, Request, Responder, Text, survey,
};
use fencepost::store::{Answer, Expect, Op, Revision};
use fencepost::{engine, store, time};
use index::{Index, Resident};
use loom::future::block_on;
use loom::model;
use loom::model::Builder;
use loom::sync::Mutex;
use loom::thread;
use memory::Memory;
use pending::Pending;
use primitive::lock;
use signals::Signals;
use tenure::{Belief, Stage, Tenure};
use turns::Turns;

/// Loom finds an order in which this goes wrong.
fn rejected(broken: impl Fn() + Sync + Send + 'static) {
    assert!(catch_unwind(AssertUnwindSafe(|| bounded().check(broken))).is_err(), "nothing goes wrong");
}

/// With three threads, more than three preemptions would take minutes and show nothing new.
fn bounded() -> Builder {
    let mut bounded = Builder::new();
    bounded.preemption_bound = Some(3);
    bounded
}

// ── belief against lost and release ──

#[test]
fn whoever_has_seen_the_end_does_not_believe_any_more() {
    model(|| {
        let tenure = Arc::new(Tenure::<u64, ()>::new());
        tenure.belief().set(100);
        tenure.grant(1);
        let stepper = {
            let tenure = tenure.clone();
            thread::spawn(move || {
                // A renewal, and the loss after it.
                tenure.belief().set(200);
                tenure.end(());
                // News of another renewal came too late.
                tenure.belief().set(300);
            })
        };
        // At any moment, belief is one of those that were published.
        let remaining = tenure.belief().remaining(50);
        assert!([0, 50, 150].contains(&remaining), "{remaining}");
        block_on(tenure.ended());
        assert!(!tenure.belief().holds(50));
        stepper.join().unwrap();
        assert!(!tenure.belief().holds(50), "it does not come back");
    });
}

#[test]
fn telling_of_the_end_before_belief_is_taken_away_is_caught() {
    rejected(|| {
        let (belief, over) = (Arc::new(Belief::new()), Arc::new(Board::new(false)));
        belief.set(100);
        let stepper = {
            let (belief, over) = (belief.clone(), over.clone());
            thread::spawn(move || {
                over.update(|over| *over = true);
                belief.end();
            })
        };
        block_on(over.wait(|over| over.then_some(())));
        assert!(!belief.holds(50));
        stepper.join().unwrap();
    });
}

#[test]
fn of_two_ends_the_first_counts_and_both_who_wait_hear_the_same() {
    model(|| {
        let tenure = Arc::new(Tenure::<u64, u8>::new());
        tenure.grant(1);
        let enders = [1, 2].map(|end| {
            let tenure = tenure.clone();
            thread::spawn(move || tenure.end(end))
        });
        let heard = block_on(tenure.ended());
        for ender in enders {
            ender.join().unwrap();
        }
        assert_eq!(tenure.stage(), Stage::Over { granted: Some(1), end: heard });
    });
}

/// As desks do it: the machine was stepped, then its event is told.
#[test]
fn a_callback_that_heard_that_it_should_end_does_not_believe_any_more() {
    model(|| {
        let at = time::Instant::from_nanos;
        let signals = Arc::new(Signals::new(Some(at(100))));
        let stepper = {
            let signals = signals.clone();
            thread::spawn(move || {
                signals.believe(None);
                signals.interrupt();
                // The step that records its end comes later, and knows of no lease.
                signals.believe(None);
            })
        };
        block_on(signals.interrupted());
        assert!(signals.is_interrupted() && !signals.holds(at(50)));
        stepper.join().unwrap();
        assert_eq!(signals.remaining(at(50)), std::time::Duration::ZERO);
    });
}

#[test]
fn telling_a_callback_to_end_before_its_belief_is_taken_away_is_caught() {
    rejected(|| {
        let at = time::Instant::from_nanos;
        let signals = Arc::new(Signals::new(Some(at(100))));
        let stepper = {
            let signals = signals.clone();
            thread::spawn(move || {
                signals.interrupt();
                signals.believe(None);
            })
        };
        block_on(signals.interrupted());
        assert!(!signals.holds(at(50)));
        stepper.join().unwrap();
    });
}

// ── a holder that is asked to yield ──

#[test]
fn of_two_who_wait_each_hears_a_request_of_its_own_or_the_end() {
    bounded().check(|| {
        let asked = Arc::new(Asked::new());
        let waiter = {
            let asked = asked.clone();
            thread::spawn(move || block_on(asked.next()))
        };
        let asker = {
            let asked = asked.clone();
            thread::spawn(move || {
                asked.ask(1);
                asked.end();
            })
        };
        let mine = block_on(asked.next());
        let other = waiter.join().unwrap();
        asker.join().unwrap();
        assert!(mine.is_none() || other.is_none(), "it was heard twice");
        assert_eq!(block_on(asked.next()), None, "nobody asks any more");
        asked.ask(2);
        assert!(!asked.is_open(), "nor later");
    });
}

#[test]
fn looking_and_then_taking_without_looking_again_is_caught() {
    rejected(|| {
        let asked = Arc::new(Board::new(Some(1)));
        let hear = |asked: &Board<Option<u8>>| {
            let mut waiting = pin!(asked.wait(|notice| notice.map(|_| ())));
            let is_told = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            is_told.then(|| asked.update(Option::take))
        };
        let other = {
            let asked = asked.clone();
            thread::spawn(move || hear(&asked))
        };
        let mine = hear(&asked);
        let other = other.join().unwrap();
        assert!(mine != Some(None) && other != Some(None), "it was told of nothing");
    });
}

// ── wake-ups ──

#[test]
fn nobody_sleeps_through_a_change_even_if_another_one_stops_waiting() {
    bounded().check(|| {
        let board = Arc::new(Board::new(0));
        let waiter = {
            let board = board.clone();
            thread::spawn(move || block_on(board.wait(|value| (*value == 2).then_some(()))))
        };
        let changer = {
            let board = board.clone();
            thread::spawn(move || {
                board.update(|value| *value = 1);
                board.update(|value| *value = 2);
            })
        };
        // One who looks once and goes: his place is taken out, and no other.
        let mut once = Box::pin(board.wait(|value| (*value == 9).then_some(())));
        let waker = Waker::noop();
        assert!(once.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        drop(once);
        waiter.join().unwrap();
        changer.join().unwrap();
    });
}

/// Whether a waker was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn looking_first_and_leaving_the_waker_later_is_caught() {
    rejected(|| {
        let (value, waker) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(None::<Waker>)));
        let changer = {
            let (value, waker) = (value.clone(), waker.clone());
            thread::spawn(move || {
                *lock(&value) = true;
                if let Some(waker) = lock(&waker).take() {
                    waker.wake();
                }
            })
        };
        let woken = Arc::new(Woken::default());
        let waits = !*lock(&value);
        *lock(&waker) = Some(Waker::from(woken.clone()));
        changer.join().unwrap();
        assert!(!waits || woken.0.load(Ordering::SeqCst), "it sleeps for ever");
    });
}

/// The same question to the board.
#[test]
fn who_looks_and_waits_is_woken() {
    model(|| {
        let board = Arc::new(Board::new(false));
        let changer = {
            let board = board.clone();
            thread::spawn(move || board.update(|value| *value = true))
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut wait = pin!(board.wait(|value| value.then_some(())));
        let waits = wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        changer.join().unwrap();
        assert!(!waits || woken.0.load(Ordering::SeqCst), "it sleeps for ever");
    });
}

// ── turns ──

/// Works off what there is; nobody else may be at it meanwhile.
fn work_off(turns: &Turns<u8>, done: &Mutex<Vec<u8>>, input: u8) {
    let mut turn = turns.enter(input);
    while let Some(input) = turn {
        done.try_lock().expect("nobody else is at it").push(input);
        turn = turns.next();
    }
}

#[test]
fn each_input_is_worked_off_once_and_one_at_a_time() {
    model(|| {
        let (turns, done) = (Arc::new(Turns::new()), Arc::new(Mutex::new(Vec::new())));
        let others = [1, 2].map(|input| {
            let (turns, done) = (turns.clone(), done.clone());
            thread::spawn(move || work_off(&turns, &done, input))
        });
        work_off(&turns, &done, 3);
        for other in others {
            other.join().unwrap();
        }
        let mut done = lock(&done).clone();
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3]);
    });
}

#[test]
fn ending_a_turn_after_having_looked_for_more_is_caught() {
    rejected(|| {
        let (queue, busy) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let done = Arc::new(Mutex::new(0));
        let bring = |queue: &Mutex<Vec<u8>>, busy: &Mutex<bool>, done: &Mutex<u8>| {
            lock(queue).push(1);
            if std::mem::replace(&mut *lock(busy), true) {
                return;
            }
            while lock(queue).pop().is_some() {
                *lock(done) += 1;
            }
            *lock(busy) = false;
        };
        let other = {
            let (queue, busy, done) = (queue.clone(), busy.clone(), done.clone());
            thread::spawn(move || bring(&queue, &busy, &done))
        };
        bring(&queue, &busy, &done);
        other.join().unwrap();
        assert_eq!(*lock(&done), 2);
    });
}

// ── replies against what supersedes them ──

/// What is fed to a machine that sends one request again and again, and how it knows which reply it wants.
fn check_replies(accept: fn(&mut Calls<()>, u64) -> bool) {
    enum Input {
        SendAgain,
        Reply(u64),
    }
    struct Body {
        calls: Calls<()>,
        latest: u64,
    }
    let turns = Arc::new(Turns::new());
    let body = Arc::new(Mutex::new(Body { calls: Calls::new(), latest: 0 }));
    let feed = move |turns: &Turns<Input>, body: &Mutex<Body>, input: Input| {
        let mut turn = turns.enter(input);
        while let Some(input) = turn {
            let mut body = lock(body);
            match input {
                Input::SendAgain => body.latest = body.calls.open(()),
                Input::Reply(number) => {
                    let (latest, accepted) = (body.latest, accept(&mut body.calls, number));
                    assert!(
                        !accepted || number == latest,
                        "a reply to {number} is taken for one to {latest}"
                    );
                }
            }
            drop(body);
            turn = turns.next();
        }
    };
    feed(&turns, &body, Input::SendAgain);
    let first = lock(&body).latest;
    let engine = {
        let (turns, body) = (turns.clone(), body.clone());
        thread::spawn(move || {
            feed(&turns, &body, Input::Reply(first));
            feed(&turns, &body, Input::Reply(first));
        })
    };
    feed(&turns, &body, Input::SendAgain);
    engine.join().unwrap();
}

#[test]
fn a_reply_to_a_superseded_request_is_dropped() {
    model(|| check_replies(|calls, number| calls.close((), number)));
}

#[test]
fn telling_replies_by_their_name_only_is_caught() {
    rejected(|| check_replies(|_, _| true));
}

// ── closing ──

#[test]
fn who_closes_waits_for_all_and_is_woken() {
    model(|| {
        let (count, ended) = (Arc::new(Board::new(0)), Arc::new(Mutex::new(0)));
        let all_told = Pending::of(&count);
        let enders = [(); 2].map(|()| {
            let (pending, ended) = (Pending::of(&count), ended.clone());
            thread::spawn(move || {
                *lock(&ended) += 1;
                drop(pending);
            })
        });
        drop(all_told);
        block_on(count.wait(|count| (*count == 0).then_some(())));
        assert_eq!(*lock(&ended), 2);
        for ender in enders {
            ender.join().unwrap();
        }
    });
}

#[test]
fn not_waiting_until_all_were_told_is_caught() {
    rejected(|| {
        let (count, ended) = (Arc::new(Board::new(0)), Arc::new(Mutex::new(0)));
        let closer = {
            let (count, ended) = (count.clone(), ended.clone());
            let first = Pending::of(&count);
            thread::spawn(move || {
                *lock(&ended) += 1;
                drop(first);
                block_on(count.wait(|count| (*count == 0).then_some(())));
                assert_eq!(*lock(&ended), 2);
            })
        };
        // This one is told when the count may have been zero already.
        let second = Pending::of(&count);
        *lock(&ended) += 1;
        drop(second);
        closer.join().unwrap();
    });
}

/// What lives in a store, and notes what it was told.
struct Lodger {
    space: Arc<str>,
    shut: AtomicBool,
    heard: AtomicBool,
}

impl timers::Timed for Lodger {
    fn fire(self: Arc<Self>) {}
}

impl Resident for Lodger {
    fn space(&self) -> &Arc<str> {
        &self.space
    }

    fn hear(self: Arc<Self>, _: &telling::Word<'_>) {
        self.heard.store(true, Ordering::SeqCst);
    }

    fn abandon(self: Arc<Self>) {}

    fn shut(self: Arc<Self>, pending: Pending) {
        self.shut.store(true, Ordering::SeqCst);
        drop(pending);
    }

    fn doing(&self) -> Option<&'static str> {
        None
    }
}

fn lodger() -> Arc<Lodger> {
    Arc::new(Lodger { space: "a".into(), shut: AtomicBool::new(false), heard: AtomicBool::new(false) })
}

/// As a store does it: whoever moves in is told to end, or is refused.
#[test]
fn who_moves_in_while_a_store_is_closed_is_shut_or_refused() {
    model(|| {
        let (index, lodger) = (Arc::new(Index::new()), lodger());
        let mover = {
            let (index, lodger) = (index.clone(), lodger.clone());
            thread::spawn(move || index.insert(1, &lodger))
        };
        let count = Arc::new(Board::new(0));
        for resident in index.close() {
            resident.shut(Pending::of(&count));
        }
        let moved_in = mover.join().unwrap();
        assert_eq!(moved_in, lodger.shut.load(Ordering::SeqCst));
        assert!(!index.insert(2, &lodger), "nobody moves in any more");
        index.remove("a", 1);
    });
}

#[test]
fn looking_whether_it_is_closed_before_moving_in_is_caught() {
    rejected(|| {
        // Who lives there, and whether it is closed.
        let (homes, closed) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(false)));
        let mover = {
            let (homes, closed) = (homes.clone(), closed.clone());
            thread::spawn(move || {
                let is_open = !*lock(&closed);
                *lock(&homes) += u8::from(is_open);
                is_open
            })
        };
        *lock(&closed) = true;
        let shut = *lock(&homes);
        assert_eq!(mover.join().unwrap(), shut == 1);
    });
}

#[test]
fn once_a_store_is_closed_nobody_in_it_hears_of_what_became_free() {
    model(|| {
        let (index, lodger) = (Arc::new(Index::new()), lodger());
        assert!(index.insert(1, &lodger));
        let engine = {
            let index = index.clone();
            thread::spawn(move || engine::Ear::hear(&*index, engine::Hint::Freed { space: "a" }))
        };
        index.close();
        engine.join().unwrap();
        lodger.heard.store(false, Ordering::SeqCst);
        for hint in [engine::Hint::Freed { space: "a" }, engine::Hint::Gap] {
            engine::Ear::hear(&*index, hint);
        }
        assert!(!lodger.heard.load(Ordering::SeqCst));
    });
}

// ── the engine in memory ──

/// Counts what it hears.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn heard(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Ear for Count {
    fn hear(&self, _: Hint<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn listening(engine: &Memory) -> Arc<Count> {
    let count = Arc::new(Count::default());
    engine.listen(count.clone());
    count
}

fn ask(engine: &Memory, op: EngineOp) -> EngineAnswer {
    engine.answer(&Request { space: "a".into(), op }).map_or(Answer::Unknown, |reply| reply.answer)
}

fn claim(engine: &Memory) -> Option<Revision> {
    let op = Op::PutIf { key: Key::from(*b"k"), expect: Expect::Absent, record: "x".into(), ttl: None };
    match ask(engine, op) {
        Answer::Applied(revision) => Some(revision),
        _ => None,
    }
}

fn release(engine: &Memory, revision: Revision) -> EngineAnswer {
    ask(engine, Op::DeleteIf { key: Key::from(*b"k"), revision })
}

#[test]
fn whoever_is_refused_hears_of_the_release_that_came_after() {
    model(|| {
        let ours = Memory::new();
        let theirs = ours.share();
        let ear = listening(&ours);
        let held = claim(&theirs).expect("it is free");
        let holder = thread::spawn(move || release(&theirs, held));
        let before = ear.heard();
        let claimed = claim(&ours);
        assert_eq!(holder.join().unwrap(), Answer::Applied(held));
        match claimed {
            Some(token) => assert!(token > held),
            None => assert!(ear.heard() > before, "it would wait for ever"),
        }
    });
}

#[test]
fn telling_of_a_release_before_it_is_done_is_caught() {
    rejected(|| {
        let (held, ear) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(0)));
        let holder = {
            let (held, ear) = (held.clone(), ear.clone());
            thread::spawn(move || {
                *lock(&ear) += 1;
                *lock(&held) = false;
            })
        };
        let before = *lock(&ear);
        let is_refused = *lock(&held);
        holder.join().unwrap();
        assert!(!is_refused || *lock(&ear) > before, "it would wait for ever");
    });
}

#[test]
fn of_two_claims_at_once_one_is_applied() {
    model(|| {
        let ours = Memory::new();
        let theirs = ours.share();
        let other = thread::spawn(move || claim(&theirs));
        let mine = claim(&ours);
        let other = other.join().unwrap();
        assert!(mine.is_some() != other.is_some(), "{mine:?} {other:?}");
    });
}

#[test]
fn whoever_begins_to_listen_while_another_one_closes_hears_and_the_other_does_not() {
    model(|| {
        let first = Memory::new();
        let (second, third) = (first.share(), first.share());
        let gone = listening(&first);
        let closer = thread::spawn(move || {
            block_on(first.close());
            first
        });
        let stays = listening(&second);
        let first = closer.join().unwrap();
        third.publish("a", "b");
        assert_eq!((gone.heard(), stays.heard()), (0, 1));
        assert_eq!(claim(&first), None, "it is closed");
        assert!(claim(&second).is_some(), "and nothing of it was written");
    });
}

#[test]
fn changing_who_listens_without_the_lock_is_caught() {
    rejected(|| {
        let ears = Arc::new(Mutex::new(vec![1]));
        let change = |ears: &Mutex<Vec<u8>>, change: fn(&mut Vec<u8>)| {
            let mut changed = lock(ears).clone();
            change(&mut changed);
            *lock(ears) = changed;
        };
        let closer = {
            let ears = ears.clone();
            thread::spawn(move || change(&ears, |ears| ears.retain(|ear| *ear != 1)))
        };
        change(&ears, |ears| ears.push(2));
        closer.join().unwrap();
        assert_eq!(*lock(&ears), [2]);
    });
}
