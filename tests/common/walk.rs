//! Any sequence of inputs, and the way of a mutex through it.

use fencepost::line::{Key, Owner};
use fencepost::machine::{Effect, Identity, Input};
use fencepost::mutex::{Call, Fairness, Mutex, Patience, Request};
use fencepost::store::{Answer, Entry, Revision};
use fencepost::time::{Draw, Instant, Now, Span, StoreTime};
use proptest::prelude::*;

use super::{FIND, FREED, JOIN, KEEP, LEAVE, Story, WAKE, entry, millis, place};

/// Names from so small a world that they often meet.
fn an_owner() -> impl Strategy<Value = Owner> {
    (7..9u64, 0..5u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt })
}

fn an_entry() -> impl Strategy<Value = Entry<Owner>> {
    (1..9u64, an_owner()).prop_map(|(revision, record)| entry(record, revision))
}

fn a_key() -> impl Strategy<Value = Key> {
    let place = (0..3u64, an_owner()).prop_map(|(since, owner)| Key::Place(place(since, owner)));
    prop_oneof![1 => Just(Key::Lock), 4 => place]
}

/// Any answer, whether or not any call could have it.
fn an_answer() -> impl Strategy<Value = Answer<Key, Owner>> {
    prop_oneof![
        3 => (1..9u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        2 => prop::option::of(an_entry()).prop_map(Answer::Refused),
        1 => prop::option::of(an_entry()).prop_map(Answer::Found),
        2 => prop::collection::vec((a_key(), an_entry()), 0..3).prop_map(Answer::Listed),
        1 => Just(Answer::Unknown),
    ]
}

fn a_call() -> impl Strategy<Value = Call> {
    let seldom = prop::sample::select(vec![Call::Release, Call::Inspect, JOIN, KEEP, LEAVE, FIND]);
    prop_oneof![1 => Just(Call::Claim), 1 => Just(Call::Look), 1 => Just(Call::Renew), 2 => seldom]
}

fn an_input() -> impl Strategy<Value = Input<Mutex>> {
    let span = prop_oneof![(0..30_000u64).prop_map(Span::from_millis), Just(Span::MAX)];
    let request = prop_oneof![
        Just(Patience::Once).prop_map(Request::Lock),
        span.prop_map(|span| Request::Lock(Patience::For(span))),
        Just(Request::Lock(Patience::Forever)),
        Just(Request::Cancel),
        Just(Request::Unlock),
        Just(Request::Extend),
    ];
    let reply = (a_call(), an_answer(), 0..3u64).prop_map(|(call, answer, at)| Input::Reply {
        call,
        answer,
        at: StoreTime::ZERO + Span::from_millis(at),
    });
    prop_oneof![2 => request.prop_map(Input::Request), 6 => reply, 1 => Just(FREED), 3 => Just(WAKE)]
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

fn a_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        6 => (0..200u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        2 => (0..9_000u64).prop_map(|ms| Wait::For(Span::from_millis(ms))),
        6 => Just(Wait::UntilDeadline),
    ]
}

pub(crate) fn fairness() -> impl Strategy<Value = Fairness> {
    prop::sample::select(vec![Fairness::Unordered, Fairness::Fifo])
}

pub(crate) type Steps = Vec<(Wait, Input<Mutex>)>;

pub(crate) fn steps() -> impl Strategy<Value = Steps> {
    prop::collection::vec((a_wait(), an_input()), 1..80)
}

/// Holds a mutex to its promises on a way of any steps; see [`Story::step`]. All it has done, in order.
pub(crate) fn walk(fairness: Fairness, start: Instant, steps: Steps) -> Vec<Effect<Mutex>> {
    let (mut story, mut now) = (Story::of(fairness), start);
    let mut effects = Vec::new();
    for (wait, input) in steps {
        now = wait.end(now, story.deadline());
        effects.extend(story.step(now, input));
    }
    effects
}

/// The steps with the moments at which a mutex meets them.
pub(crate) fn timed(fairness: Fairness, steps: Steps, draws: Vec<u32>) -> Vec<(Now, Input<Mutex>)> {
    let (mut story, mut mono) = (Story::of(fairness), millis(1));
    let steps = steps.into_iter().zip(draws).map(|((wait, input), draw)| {
        mono = wait.end(mono, story.deadline());
        story.step(mono, input.clone());
        (Now { mono, draw: Draw(draw), ..Now::default() }, input)
    });
    steps.collect()
}
