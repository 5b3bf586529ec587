//! Whoever sees the normal form of a world sees all of it that counts.

mod common;

use std::collections::{BTreeSet, VecDeque};

use common::liar::{self, Liar};
use common::pair::{Taste, a_taste, check};
use common::scopes::{
    Shape, a_calls_scope, a_fake_scope, a_flag_scope, a_job_scope, a_locker_scope, a_mutex_scope,
    a_once_scope, a_plugin_api_scope, a_writer_scope, a_writerlease_scope, an_acyl_scope,
};
use fencepost::flag::Flag;
use fencepost::job::Job;
use fencepost::line::Owner;
use fencepost::locker::Locker;
use fencepost::machine::{Effect, Effects, Identity, Input, Machine, Relocate};
use fencepost::mutex::{Call, Fairness, Freed, Mutex, MutexConfig, MutexTerms, Patience, Request};
use fencepost::once::Once;
use fencepost::store::{Answer, Entry, Op, Revision};
use fencepost::time::{Instant, Now, Span, StoreTime, Timestamp};
use fencepost::writer::WriterLease;
use fencepost_models::checker::{Choice, Model, NOON_TIME, Scope, Spend, Walk};
use fencepost_models::property::{Property, PropertySet};
use fencepost_models::subject::{JobId, Subject};
use fencepost_models::upstream::acyl_fake_locker::FakeLocker;
use fencepost_models::upstream::acyl_locker::AcylLocker;
use fencepost_models::upstream::calls_mutex::CallsMutex;
use fencepost_models::upstream::openshift_writerlease::Writerlease;
use fencepost_models::upstream::plugin_api_mutex::PluginApiMutex;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseResult, TestRunner};
use stateright::{Checker, Model as _};

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn some_draws() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), 1..160)
}

/// As a test of proptest: a complaint is to be read, and so is not escaped.
fn accepts<M: Subject>(scope: Scope<M::Config>, taste: Taste, draws: &[u32]) -> TestCaseResult {
    check::<M>(scope, taste, draws).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nobody_can_tell_a_mutex_from_its_normal_form(
        scope in a_mutex_scope(), taste in a_taste(), draws in some_draws(),
    ) {
        accepts::<Mutex>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_a_recurring_job(scope in a_job_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<Job>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_jobs_that_run_once(scope in a_once_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<Once<JobId, ()>>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_a_flag(scope in a_flag_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<Flag>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_a_locker(scope in a_locker_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<Locker>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_the_mutex_of_the_plugin_api(
        scope in a_plugin_api_scope(), taste in a_taste(), draws in some_draws(),
    ) {
        accepts::<PluginApiMutex>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_a_writer(scope in a_writer_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<WriterLease<JobId>>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_the_writer_lease_of_openshift(
        scope in a_writerlease_scope(), taste in a_taste(), draws in some_draws(),
    ) {
        accepts::<Writerlease>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_the_locker_of_acyl(scope in an_acyl_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<AcylLocker>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_its_fake(scope in a_fake_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<FakeLocker>(scope, taste, &draws)?;
    }

    #[test]
    fn nor_the_mutex_of_calls(scope in a_calls_scope(), taste in a_taste(), draws in some_draws()) {
        accepts::<CallsMutex>(scope, taste, &draws)?;
    }
}

/// Whether one of some hundred walks through such scopes tells an algorithm from its normal form.
fn is_caught<M: Subject>(scopes: impl Strategy<Value = Scope<M::Config>>) -> bool {
    let mut runner = TestRunner::deterministic();
    let walks = (scopes, a_taste(), some_draws());
    (0..400).any(|_| {
        let (scope, taste, draws) = walks.new_tree(&mut runner).expect("there are such scopes").current();
        check::<M>(scope, taste, &draws).is_err()
    })
}

#[test]
fn whoever_hides_a_name_is_caught() {
    assert!(is_caught::<Liar<Mutex, { liar::HIDES_INSTANTS }>>(a_mutex_scope()));
    assert!(is_caught::<Liar<Mutex, { liar::HIDES_REVISIONS }>>(a_mutex_scope()));
    assert!(is_caught::<Liar<Mutex, { liar::HIDES_IDENTITIES }>>(a_mutex_scope()));
}

#[test]
fn whoever_denies_what_it_depends_on_is_caught() {
    assert!(is_caught::<Liar<Mutex, { liar::DENIES_STORE_TIME }>>(a_mutex_scope()));
    assert!(is_caught::<Liar<Mutex, { liar::DENIES_HORIZON }>>(a_mutex_scope()));
    assert!(is_caught::<Liar<Mutex, { liar::DENIES_ORDER }>>(a_mutex_scope()));
    assert!(is_caught::<Liar<PluginApiMutex, { liar::DENIES_WALL }>>(a_plugin_api_scope()));
    let paused = Shape::plain(1, 3).with(Spend::Pause, 2).of_plugin_api(2);
    assert!(!is_caught::<PluginApiMutex>(Just(paused.clone())));
    assert!(is_caught::<Liar<PluginApiMutex, { liar::DENIES_PHASE }>>(Just(paused)));
    assert!(is_caught::<Liar<Once<JobId, ()>, { liar::DENIES_ANSWERS }>>(a_once_scope()));
}

#[test]
fn whoever_tells_the_truth_is_not() {
    assert!(!is_caught::<Liar<Mutex, { liar::HONEST }>>(a_mutex_scope()));
}

/// Makes the same choices in both, and says after which of them the two were not the same any more.
fn parted<M: Subject>(
    model: &Model<M>,
    mut one: Walk<M>,
    mut other: Walk<M>,
    draws: &[u32],
) -> Option<usize> {
    let mut normaliser = model.normaliser();
    let mut choices = Vec::new();
    draws.iter().position(|&draw| {
        model.choices(&one.world, one.now, &one.budget, &mut choices);
        let choice = choices[draw as usize % choices.len()];
        one.make(model, choice);
        other.make(model, choice);
        one.node(model, &mut normaliser) != other.node(model, &mut normaliser)
    })
}

/// A walk that begins so many ticks later.
fn later<M: Subject>(model: &Model<M>, ticks: u32) -> Walk<M> {
    let mut walk = model.start();
    (0..ticks).for_each(|_| walk.make(model, Choice::Tick));
    walk
}

/// All that the normal form of a walk is made of, and that of its normal form.
fn body<M: Subject>(walk: &Walk<M>, model: &Model<M>) -> [String; 2] {
    let mut normaliser = model.normaliser();
    let node = walk.node(model, &mut normaliser);
    let again = model.node(node.world.clone(), NOON_TIME, node.budget, &mut normaliser);
    [node, again].map(|node| format!("{} {:?}", node.print(), node.world))
}

fn check_twice<M: Subject>(scope: Scope<M::Config>, draws: &[u32]) -> TestCaseResult {
    let model = Model::<M>::new(scope);
    let (mut walk, mut choices) = (model.start(), Vec::new());
    for &draw in draws {
        model.choices(&walk.world, walk.now, &walk.budget, &mut choices);
        walk.make(&model, choices[draw as usize % choices.len()]);
        let [once, twice] = body(&walk, &model);
        prop_assert_eq!(once, twice);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_hour_at_which_a_walk_begins_does_not_matter(
        scope in a_mutex_scope(), ticks in 1..1_000u32, draws in some_draws(),
    ) {
        let model = Model::<Mutex>::new(scope);
        prop_assert_eq!(parted(&model, model.start(), later(&model, ticks), &draws), None);
    }

    #[test]
    fn nor_does_it_for_who_reads_wall_clocks(
        scope in a_calls_scope(), ticks in 1..1_000u32, draws in some_draws(),
    ) {
        let model = Model::<CallsMutex>::new(scope);
        prop_assert_eq!(parted(&model, model.start(), later(&model, ticks), &draws), None);
    }

    #[test]
    fn a_normal_form_is_its_own(scope in a_mutex_scope(), draws in some_draws()) {
        check_twice::<Mutex>(scope, &draws)?;
    }

    #[test]
    fn and_with_rows_and_wall_clocks_too(scope in a_plugin_api_scope(), draws in some_draws()) {
        check_twice::<PluginApiMutex>(scope, &draws)?;
    }
}

#[test]
fn a_walk_in_which_something_has_happened_is_another() {
    let model = Model::<Mutex>::new(Shape::plain(2, 4).of_plain_mutex());
    let (lock, tick) = (0, 2);
    let mut asked = model.start();
    let mut choices = Vec::new();
    model.choices(&asked.world, asked.now, &asked.budget, &mut choices);
    asked.make(&model, choices[lock]);
    assert_eq!(parted(&model, model.start(), asked, &[tick]), Some(0));
}

/// How many nodes there are, found one breadth after the other.
fn count<M: Subject>(model: &Model<M>) -> usize {
    let mut normaliser = model.normaliser();
    let root = model.root(&mut normaliser);
    let mut seen = BTreeSet::from([root.print()]);
    let (mut queue, mut choices) = (VecDeque::from([root]), Vec::new());
    while let Some(node) = queue.pop_front() {
        model.choices(&node.world, NOON_TIME, &node.budget, &mut choices);
        for &choice in &choices {
            let next = model.follow(&node, choice, &mut normaliser);
            assert_eq!(next.broken.iter().next(), None, "{choice:?} after {node:?} breaks nothing");
            if seen.insert(next.print()) {
                queue.push_back(next);
            }
        }
    }
    seen.len()
}

/// How many nodes stateright finds: breadth first, depth first.
fn counts_of_stateright(model: &Model<Mutex>) -> [usize; 2] {
    let breadth_first = model.clone().checker().spawn_bfs().join().unique_state_count();
    let depth_first = model.clone().checker().spawn_dfs().join().unique_state_count();
    [breadth_first, depth_first]
}

#[test]
fn stateright_finds_the_same_nodes_and_more_where_names_count() {
    // With messages this slow, a holder may lose its lock without any fault.
    let judged = PropertySet::usual().without(PropertySet::of(&[Property::Stability]));
    let plain = || Shape { judged, ..Shape::plain(2, 4) };
    let cases = [
        (plain(), 3_448, 6_893),
        (plain().with(Spend::ExtraUnlock, 1), 6_896, 13_786),
        (plain().with(Spend::Crash, 1), 23_640, 47_272),
        (Shape { delay: 0, ..plain() }.with(Spend::Pause, 1), 1_446, 2_888),
    ];
    for (shape, alike, named) in cases {
        for (symmetry, nodes) in [(true, alike), (false, named)] {
            let model = Model::<Mutex>::new(Shape { symmetry, ..shape.clone() }.of_plain_mutex());
            assert_eq!(count(&model), nodes, "symmetry {symmetry}, {:?}", shape.budget);
            assert_eq!(counts_of_stateright(&model), [nodes; 2], "symmetry {symmetry}, {:?}", shape.budget);
        }
    }
}

/// What a mutex hears, with names from so small a world that they often meet.
fn an_input() -> impl Strategy<Value = Input<Mutex>> {
    let owner =
        (7..10u64, 0..4u32).prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt });
    let entry =
        (owner, 1..6u64).prop_map(|(record, revision)| Entry { revision: Revision(revision), record });
    let answer = prop_oneof![
        2 => (1..6u64).prop_map(|revision| Answer::Applied(Revision(revision))),
        2 => prop::option::of(entry.clone()).prop_map(Answer::Refused),
        1 => prop::option::of(entry).prop_map(Answer::Found),
        1 => Just(Answer::Unknown),
    ];
    let call =
        prop::sample::select(vec![Call::Claim, Call::Claim, Call::Renew, Call::Release, Call::Inspect]);
    let reply = (call, answer).prop_map(|(call, answer)| Input::Reply { call, answer, at: StoreTime::ZERO });
    let request = prop::sample::select(vec![
        Request::Lock(Patience::Forever),
        Request::Lock(Patience::Once),
        Request::Cancel,
        Request::Unlock,
        Request::Extend,
    ]);
    prop_oneof![
        3 => request.prop_map(Input::Request), 5 => reply, 1 => Just(Input::Message(Freed)), 3 => Just(Input::Wake),
    ]
}

/// Steps with the moments at which they come, and what another's clocks show then.
fn some_steps() -> impl Strategy<Value = Vec<(Now, Input<Mutex>, Timestamp, StoreTime)>> {
    let step = (0..3_000u64, an_input(), any::<u32>(), any::<u32>());
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut mono = Instant::ZERO;
        let timed = steps.into_iter().map(|(millis, input, wall, store)| {
            mono = mono + Span::from_millis(millis);
            let [wall, store] = [wall, store].map(|secs| u64::from(secs) * 1_000_000_000);
            let now = Now { mono, ..Now::default() };
            (now, input, Timestamp::from_nanos(wall), StoreTime::from_nanos(store))
        });
        timed.collect()
    })
}

/// The world in which two identities have changed names.
#[derive(Clone, Copy)]
struct Exchange(Identity, Identity);

impl Relocate for Exchange {
    fn instant(&mut self, _: &mut Instant) {}
    fn store_time(&mut self, _: &mut StoreTime) {}
    fn revision(&mut self, _: &mut Revision) {}
    fn identity(&mut self, identity: &mut Identity) {
        *identity = match *identity {
            one if one == self.0 => self.1,
            other if other == self.1 => self.0,
            third => third,
        };
    }
    fn serial(&mut self, _: Identity, _: &mut u32) {}
}

impl Exchange {
    fn heard(mut self, mut input: Input<Mutex>) -> Input<Mutex> {
        if let Input::Reply { answer: Answer::Refused(Some(entry)) | Answer::Found(Some(entry)), .. } =
            &mut input
        {
            entry.record.relocate(&mut self);
        }
        input
    }

    fn said(mut self, mut effect: Effect<Mutex>) -> Effect<Mutex> {
        if let Effect::Store { op: Op::PutIf { record, .. }, .. } = &mut effect {
            record.relocate(&mut self);
        }
        effect
    }
}

const ME: Identity = Identity(7);

fn unordered() -> MutexTerms {
    MutexConfig::default().terms().expect("the defaults are sound")
}

/// A step of a mutex, and what it does.
fn step(mutex: &mut Mutex, now: Now, input: Input<Mutex>) -> Vec<Effect<Mutex>> {
    let mut effects = Effects::new();
    mutex.step(&unordered(), now, input, &mut effects);
    effects.drain().collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_mutex_reads_no_wall_clock_and_without_a_queue_no_store_time(steps in some_steps()) {
        prop_assert!(!Mutex::READS_WALL && !Mutex::reads_store_time(&unordered()));
        let (mut one, mut other) = (Mutex::new(&unordered(), ME), Mutex::new(&unordered(), ME));
        for (now, input, wall, store) in steps {
            let mut elsewhere = input.clone();
            if let Input::Reply { at, .. } = &mut elsewhere {
                *at = store;
            }
            prop_assert_eq!(step(&mut one, now, input), step(&mut other, Now { wall, ..now }, elsewhere));
            prop_assert_eq!(&one, &other);
        }
    }

    #[test]
    fn a_mutex_without_a_queue_treats_all_names_alike(steps in some_steps(), other in 8..10u64) {
        prop_assert!(Mutex::is_symmetric(&unordered()));
        let exchange = Exchange(ME, Identity(other));
        let (mut here, mut there) = (Mutex::new(&unordered(), ME), Mutex::new(&unordered(), Identity(other)));
        for (now, input, _, _) in steps {
            let done = step(&mut here, now, input.clone());
            let done_there = step(&mut there, now, exchange.heard(input));
            prop_assert_eq!(done, done_there.into_iter().map(|one| exchange.said(one)).collect::<Vec<_>>());
            let mut back = there.clone();
            back.relocate(&mut exchange.clone());
            prop_assert_eq!(&here, &back);
        }
    }
}

#[test]
fn a_mutex_with_a_queue_promises_less() {
    let fifo = MutexConfig { fairness: Fairness::Fifo, ..MutexConfig::default() };
    let fifo = fifo.terms().expect("the defaults are sound");
    assert!(Mutex::reads_store_time(&fifo) && !Mutex::is_symmetric(&fifo));
}
