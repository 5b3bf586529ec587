//! Whoever goes first in a check could as well have gone last.

use super::scopes::{OncePolicies, Policies, Shape};
use fencepost::job::{Job, Misfire, Overlap};
use fencepost::once::Once;
use fencepost_models::checker::{Choice, Model, NOON_TIME, Node, Scope, Spend};
use fencepost_models::normal::Normaliser;
use fencepost_models::property::PropertySet;
use fencepost_models::subject::{InstanceId, JobId, Subject};
use proptest::prelude::*;

/// What two steps come to: the node, and what they break.
#[derive(Debug, PartialEq)]
struct Both {
    print: u64,
    broken: PropertySet,
}

struct Orders<M: Subject> {
    model: Model<M>,
    normaliser: Normaliser,
}

impl<M: Subject> Orders<M> {
    fn new(scope: Scope<M::Config>) -> Orders<M> {
        let model = Model::<M>::new(Scope { reduction: true, keeps_facts: false, ..scope });
        let normaliser = model.normaliser();
        Orders { model, normaliser }
    }

    fn choices(&self, node: &Node<M>) -> Vec<Choice> {
        let mut choices = Vec::new();
        self.model.choices(&node.world, NOON_TIME, &node.budget, &mut choices);
        choices
    }

    /// Makes both choices in a world that is not normalised in between, so that messages keep their names; none, if
    /// the second cannot be made after the first.
    fn both(&mut self, node: &Node<M>, one: Choice, other: Choice) -> Option<Both> {
        let (mut world, mut now, mut budget) = (node.world.clone(), NOON_TIME, node.budget);
        self.model.make(one, &mut world, &mut now, &mut budget, |_, _, _| {});
        if let Choice::Do(action) = other {
            world.check(now, &action).ok()?;
        }
        self.model.make(other, &mut world, &mut now, &mut budget, |_, _, _| {});
        let node = self.model.node(world, now, budget, &mut self.normaliser);
        Some(Both { print: node.print(), broken: node.broken })
    }

    /// Each step of one instance that is no fault, before and after each step of somebody else. Gives how many pairs
    /// there are, or one that does not come to the same.
    fn compare(&mut self, node: &Node<M>, first: InstanceId) -> Result<usize, String> {
        let (own, others): (Vec<Choice>, Vec<Choice>) =
            self.choices(node).into_iter().partition(|choice| choice.whose(&node.world) == Some(first));
        let own: Vec<Choice> =
            own.into_iter().filter(|choice| choice.spends(&node.world).is_none()).collect();
        if own.is_empty() || others.contains(&Choice::Tick) {
            return Err(format!("{first} has nothing to do before time passes in {node:?}"));
        }
        for &one in &own {
            for &other in &others {
                let orders = [self.both(node, one, other), self.both(node, other, one)];
                if orders[0].is_none() || orders[0] != orders[1] {
                    return Err(format!("{one:?} and {other:?} in {node:?}: {orders:?}"));
                }
            }
        }
        Ok(own.len() * others.len())
    }

    /// Walks at random, and compares wherever somebody goes first, by the rule or by another one.
    fn walk(
        &mut self,
        draws: &[u32],
        rule: impl Fn(&Model<M>, &Node<M>, &[Choice]) -> Option<InstanceId>,
    ) -> Result<usize, String> {
        let mut node = self.model.root(&mut self.normaliser);
        let mut pairs = 0;
        for &draw in draws {
            let choices = self.choices(&node);
            if let Some(first) = rule(&self.model, &node, &choices) {
                pairs += self.compare(&node, first)?;
            }
            node = self.model.follow(&node, choices[draw as usize % choices.len()], &mut self.normaliser);
        }
        Ok(pairs)
    }
}

/// Who goes first.
fn the_rule<M: Subject>(model: &Model<M>, node: &Node<M>, choices: &[Choice]) -> Option<InstanceId> {
    model.first(&node.world, choices, &mut node.world.clone())
}

/// Whoever can do something, whatever it tells.
fn anybody<M: Subject>(_: &Model<M>, node: &Node<M>, choices: &[Choice]) -> Option<InstanceId> {
    let mut own = choices.iter().filter(|choice| choice.spends(&node.world).is_none());
    own.find_map(|choice| choice.whose(&node.world)).filter(|_| !choices.contains(&Choice::Tick))
}

fn a_shape() -> impl Strategy<Value = Shape> {
    let faults = [
        Spend::Crash,
        Spend::Unknown,
        Spend::Loss,
        Spend::Failure,
        Spend::Pause,
        Spend::Duplicate,
        Spend::Stall,
        Spend::Grain,
        Spend::Cancel,
    ];
    let some = prop::collection::vec((prop::sample::select(faults.to_vec()), 1..=2u8), 0..=3);
    (2..=3u32, 3..=4u64, some).prop_map(|(instances, ttl, faults)| {
        let prompt = Shape { delay: 0, ..Shape::plain(instances, ttl) };
        faults.into_iter().fold(prompt, |shape, (what, times)| shape.with(what, times))
    })
}

/// Jobs that run once, of which one or two are scheduled.
fn a_scope() -> impl Strategy<Value = Scope<fencepost::once::OnceTerms>> {
    (a_shape(), 1..=2u32, 0..=2u32).prop_filter_map("the mutex would refuse it", |(shape, jobs, attempts)| {
        let policies = OncePolicies { attempts, page: 3, refresh: 2, retention: 1 };
        shape.with(Spend::Schedule, jobs as u8).of_once(jobs, policies)
    })
}

fn a_recurring_scope() -> impl Strategy<Value = Scope<fencepost::job::JobTerms>> {
    (a_shape(), 1..=3u64).prop_filter_map("the mutex would refuse it", |(shape, interval)| {
        let policies = Policies { misfire: Misfire::RunOnce, overlap: Overlap::Skip, grace: 1, look: 2 };
        shape.of_job(interval, policies)
    })
}

fn some_draws() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), 1..200)
}

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_a_scheduler_hears_first_it_could_as_well_hear_last(scope in a_scope(), draws in some_draws()) {
        let mut orders = Orders::<Once<JobId, ()>>::new(scope);
        prop_assert!(orders.model.reduces());
        orders.walk(&draws, the_rule).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn and_so_could_a_recurring_job(scope in a_recurring_scope(), draws in some_draws()) {
        let mut orders = Orders::<Job>::new(scope);
        prop_assert!(orders.model.reduces());
        orders.walk(&draws, the_rule).map_err(TestCaseError::fail)?;
    }
}

/// How many of some walks find two orders that differ, and how many pairs the others have compared.
fn outcomes(rule: impl Fn(&Model<Job>, &Node<Job>, &[Choice]) -> Option<InstanceId>) -> (usize, usize) {
    let shape = Shape { delay: 0, ..Shape::plain(2, 3) };
    let policies = Policies { misfire: Misfire::RunOnce, overlap: Overlap::Skip, grace: 1, look: 2 };
    let scope = shape.with(Spend::Crash, 1).of_job(2, policies).expect("the mutex accepts it");
    let mut orders = Orders::<Job>::new(scope);
    (0..20_u32).fold((0, 0), |(differ, pairs), walk| {
        let draws: Vec<u32> =
            (0..200_u32).map(|step| (step * 7 + walk).wrapping_mul(2_654_435_761) >> 8).collect();
        match orders.walk(&draws, &rule) {
            Ok(more) => (differ, pairs + more),
            Err(_) => (differ + 1, pairs),
        }
    })
}

#[test]
fn pairs_are_compared_and_another_rule_is_caught() {
    let (differ, pairs) = outcomes(the_rule);
    assert_eq!(differ, 0);
    assert!(pairs > 100, "{pairs} pairs");
    let (differ, _) = outcomes(anybody);
    assert!(differ > 0, "the order of what is told counts");
}
