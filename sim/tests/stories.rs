//! What the laboratory promises of the stories it tells: short, of the same failure, and of nothing beside it.

mod common;

use fencepost::mutex::{Mutex, MutexConfig};
use fencepost::store::StoreId;
use fencepost::time::Span;
use fencepost_models::clock::Time;
use fencepost_models::property::PropertySet;
use fencepost_models::trace::{Deed, Step};
use fencepost_models::world::{Action, Bounds, Refusal, Setup, World};
use fencepost_sim::{Ask, InstanceId, Line, Trace, hunt, report};

use common::{algorithm, assert_found, assert_shown};

#[test]
fn whoever_polls_is_told_of_in_few_moments() {
    let report = assert_found("upstream/acyl-fake-locker", 3, &["F1", "F2", "F3", "F4"]);
    for find in &report.finds {
        let (label, events) = (find.group.defect, find.trace.steps.len());
        let told = report::told(&find.story).len();
        let causal = find.story.causal.expect("the trace says what it shows");
        assert!(told <= 20, "{label:?} is told in {told} moments");
        assert!(events <= 40 && causal <= events, "{label:?} takes {events} events, {causal} of them causal");
        let mut faults = find.story.lines.iter().filter(|line| line.fault);
        assert!(faults.all(|line| line.causal), "{label:?}: what went wrong is never left aside");
    }
}

#[test]
fn what_happens_again_and_again_is_told_once() {
    let report = hunt(&*algorithm("upstream/calls-mutex")).seeds(30).run();
    let mut story = report.find("M9").expect("a second unlock panics").story.clone();
    let told = report::told(&story).len();
    for seconds in [2, 1] {
        let again = Line { at: seconds * 1_000_000_000, ..story.lines[0].clone() };
        story.lines.insert(1, again);
    }
    assert_eq!(report::told(&story).len(), told);
    let gist = report::gist(&story);
    assert!(
        gist.contains("asks for the lock and sends an insert, and again 2 times until 00:02.000"),
        "{gist}"
    );
}

#[test]
fn a_bystander_is_left_aside_and_the_rest_is_not() {
    let algorithm = algorithm("upstream/calls-mutex");
    let report = hunt(&*algorithm).seeds(30).run();
    let mut trace = report.find("M9").expect("a second unlock panics").trace.clone();
    assert_shown(&*algorithm, &trace);
    let causal = |trace: &Trace| algorithm.replay(trace).expect("its own trace").story;
    assert_eq!(causal(&trace).causal, Some(trace.steps.len()));
    trace.header.setup["instances"] = 2.into();
    let deed = Deed::Ask { who: InstanceId(1), what: Ask::Lock };
    trace.steps.insert(0, Step { t: trace.steps[0].t, draw: Default::default(), deed });
    let story = causal(&trace);
    assert_eq!(story.causal, Some(trace.steps.len() - 1));
    let of_bystander: Vec<_> = story.lines.iter().map(|line| !line.causal).collect();
    assert_eq!(of_bystander, [true, false, false]);
    let shown = report::timeline(&story, false);
    assert!(!shown.contains("B asks") && shown.contains("1 events aside"), "{shown}");
    assert!(report::timeline(&story, true).contains("B asks"));
}

#[test]
fn nothing_is_healed_before_every_store_can_be_reached() {
    let second = Span::from_secs(1);
    let bounds = Bounds { delay: second, slack: Span::ZERO, call: second, orphan: second, progress: second };
    let setup = Setup {
        config: MutexConfig::default().terms().expect("the defaults are sound"),
        instances: 1,
        resources: 1,
        jobs: 0,
        stores: 1,
        hints: false,
        merges_hints: false,
        bounds,
        strict: false,
    };
    let mut world = World::<Mutex>::new(&setup, PropertySet::all());
    let (a, store) = (InstanceId(0), StoreId(0));
    let hurts = [Action::CutToStore(a, true), Action::CutFromStore(a, true), Action::StorePause(store)];
    let heals = [Action::CutToStore(a, false), Action::CutFromStore(a, false), Action::StoreResume(store)];
    for (hurt, heal) in hurts.into_iter().zip(heals) {
        world.apply(Time::ZERO, hurt, Default::default());
        assert_eq!(world.check(Time::ZERO, &Action::Heal), Err(Refusal::State), "{hurt:?}");
        world.apply(Time::ZERO, heal, Default::default());
        assert_eq!(world.check(Time::ZERO, &Action::Heal), Ok(()));
    }
}
