//! How an algorithm is registered, and what the laboratory can then do with it.

use std::net::SocketAddr;

use fencepost_models::checker::Model;
use fencepost_models::fault::FaultSet;
use fencepost_models::property::{Property, PropertySet, Violation};
use fencepost_models::subject::Subject;
use fencepost_models::trace::{self, Divergence, FORMAT, Header, Shows, Step, Trace, TraceError, ending};
use fencepost_models::world::{Setup, World};
use rand_chacha::ChaCha8Rng;

use crate::causes::causes;
use crate::check::{self, Case, Check, CheckPlan, Checked, Counterexample, Progress, Ticks, Witness};
use crate::scenario::{Scenario, Shape, Storm};
use crate::scheduler::{End, Outcome, Simulator, Takeovers, take_over};
use crate::shrink::{Aim, Shrunk, shrink};
use crate::story::{Story, Teller};

/// The randomness from which a seed's configuration is drawn.
pub type Dice = ChaCha8Rng;

/// A flaw that an algorithm is known to have.
#[derive(Clone, Copy, Debug)]
pub struct Defect {
    /// Its label: `M1`.
    pub label: &'static str,
    /// What is wrong, in one sentence.
    pub sentence: &'static str,
    /// The properties that it breaks; the story is told by the first.
    pub breaks: &'static [Property],
    /// Whether a violation of one of them comes from it.
    pub recognise: fn(&Violation) -> bool,
}

/// What is said about an algorithm.
#[derive(Clone, Debug)]
pub struct Card {
    /// The name on the command line.
    pub name: String,
    /// One line.
    pub about: String,
    /// Counts up whenever its traces of before would no longer be the same.
    pub revision: u32,
    /// What it promises.
    pub promises: PropertySet,
    /// What is known to be wrong with it.
    pub defects: Vec<Defect>,
}

impl Card {
    /// The label of the known defect that a violation comes from.
    pub fn label(&self, violation: &Violation) -> Option<&'static str> {
        self.defects
            .iter()
            .find(|defect| defect.breaks.contains(&violation.property) && (defect.recognise)(violation))
            .map(|defect| defect.label)
    }

    /// Whether `violation` is what `shows` says.
    pub fn is_shown(&self, shows: &Shows, violation: &Violation) -> bool {
        violation.property == shows.property && self.label(violation) == shows.defect.as_deref()
    }
}

/// Draws the configuration of a seed.
type Configure<C> = Box<dyn Fn(&mut Dice) -> C + Send + Sync>;

/// Makes configurations from lengths in ticks.
type Cases<C> = Box<dyn Fn(&Ticks) -> Result<Vec<Case<C>>, String> + Send + Sync>;

/// Other configurations than one.
type Plainer<C> = Box<dyn Fn(&C) -> Vec<C> + Send + Sync>;

/// An algorithm with all that the laboratory has to know of it.
pub struct Registration<M: Subject> {
    card: Card,
    storm: Storm,
    configure: Configure<M::Config>,
    exhaustive: Option<(CheckPlan, Cases<M::Config>)>,
    usual: Option<M::Config>,
    plainer: Plainer<M::Config>,
}

impl<M: Subject> Registration<M> {
    /// Registers an algorithm under a name, with a line about it and a configuration for each seed. It promises
    /// what every lock does ([`PropertySet::usual`]) and meets every fault of a storm, until more is said.
    pub fn new(
        name: &str,
        about: &str,
        configure: impl Fn(&mut Dice) -> M::Config + Send + Sync + 'static,
    ) -> Registration<M> {
        let card = Card {
            name: name.to_owned(),
            about: about.to_owned(),
            revision: 1,
            promises: PropertySet::usual(),
            defects: Vec::new(),
        };
        Registration {
            card,
            storm: Storm {
                meets: FaultSet::storm(),
                always: FaultSet::NONE,
                at_times: FaultSet::NONE,
                strict: false,
            },
            configure: Box::new(configure),
            exhaustive: None,
            usual: None,
            plainer: Box::new(|_| Vec::new()),
        }
    }

    /// It can be checked exhaustively: with this plan, unless another one is asked for, in the configurations that
    /// `cases` makes of lengths in ticks.
    pub fn exhaustive(
        mut self,
        plan: CheckPlan,
        cases: impl Fn(&Ticks) -> Result<Vec<Case<M::Config>>, String> + Send + Sync + 'static,
    ) -> Self {
        self.exhaustive = Some((plan, Box::new(cases)));
        self
    }

    /// This is its configuration by default: what takeover times are measured with.
    pub fn usually(mut self, config: M::Config) -> Self {
        self.usual = Some(config);
        self
    }

    /// A story that stays long may be told in these other configurations: whatever users may choose, and what is the
    /// model's own.
    pub fn plainer(mut self, others: impl Fn(&M::Config) -> Vec<M::Config> + Send + Sync + 'static) -> Self {
        self.plainer = Box::new(others);
        self
    }

    /// It promises these properties and no others.
    pub fn promises(mut self, properties: &[Property]) -> Self {
        self.card.promises = PropertySet::of(properties);
        self
    }

    /// It promises these properties, too.
    pub fn also(mut self, properties: &[Property]) -> Self {
        self.card.promises = self.card.promises.or(PropertySet::of(properties));
        self
    }

    /// Its store and network know these faults and no others.
    pub fn meets(mut self, faults: FaultSet) -> Self {
        self.storm.meets = faults;
        self
    }

    /// Every storm over it contains these faults, whether or not storms usually do.
    pub fn suffers(mut self, faults: FaultSet) -> Self {
        self.storm.always = faults;
        self.storm.meets = self.storm.meets.or(faults);
        self
    }

    /// Storms over it may contain these faults, too, though no others do: each in half of the seeds.
    pub fn suffers_at_times(mut self, faults: FaultSet) -> Self {
        self.storm.at_times = faults;
        self.storm.meets = self.storm.meets.or(faults);
        self
    }

    /// It makes its promises without any assumption about clocks and stores, and is held to them.
    pub fn strictly(mut self) -> Self {
        self.storm.strict = true;
        self
    }

    /// It has these flaws.
    pub fn known_defects(mut self, defects: &[Defect]) -> Self {
        self.card.defects = defects.to_vec();
        self
    }

    /// The version of the algorithm.
    pub fn revision(mut self, revision: u32) -> Self {
        self.card.revision = revision;
        self
    }

    fn scenario(&self, seed: u64, shape: &Shape) -> Scenario<M::Config> {
        Scenario::of_seed::<M>(seed, shape, &self.storm, &self.configure)
    }

    /// The properties that are judged when a trace is applied.
    fn judged(&self, header: &Header) -> PropertySet {
        let judged = header.judged.as_deref().map_or(self.card.promises, PropertySet::of);
        let shown = header.shows.as_ref().map(|shows| PropertySet::of(&[shows.property]));
        judged.or(shown.unwrap_or_default())
    }

    /// A trace of steps that were found elsewhere, applied once more, strictly: what is written down is what was seen.
    fn retrace(&self, setup: &Setup<M::Config>, steps: Vec<Step>, header: Header) -> Option<Trace> {
        let mut world = World::<M>::new(setup, self.judged(&header));
        trace::replay(&mut world, &steps, |_, _, _| {}).ok()?;
        let Trace { steps, ending, header: plain } = self.trace(&world, setup, steps, header.seed);
        Some(Trace { header: Header { setup: plain.setup, ..header }, steps, ending })
    }

    fn model(&self, plan: &CheckPlan, case: &Case<M::Config>) -> Result<Model<M>, String> {
        let tells_apart = self.card.defects.len() > 1;
        let plan = CheckPlan { strict: plan.strict || self.storm.strict, ..plan.clone() };
        check::scope::<M>(&plan, case, self.card.promises, tells_apart).map(Model::new)
    }

    fn cases(&self, plan: &CheckPlan) -> Result<Vec<Case<M::Config>>, String> {
        let (_, cases) = self.exhaustive.as_ref().ok_or_else(|| check::no_ticks(&self.card))?;
        plan.validate()?;
        cases(&plan.ticks())
    }

    fn check_case(
        &self,
        plan: &CheckPlan,
        case: &Case<M::Config>,
        watch: &dyn Fn(Progress) -> bool,
    ) -> Result<Checked, String> {
        let label = |violation: &Violation| self.card.label(violation);
        let model = self.model(plan, case)?;
        let check = Check { plan, model: &model, promises: self.card.promises, label: &label };
        let (checked, witnesses) = check.run(watch).map_err(|error| format!("{}: {error}", case.name))?;
        let counterexamples = witnesses.into_iter().map(|witness| self.counterexample(&model, witness));
        Ok(Checked { counterexamples: counterexamples.collect::<Result<_, _>>()?, ..checked })
    }

    fn counterexample(&self, model: &Model<M>, witness: Witness<M>) -> Result<Counterexample, String> {
        let Witness { property, defect, walk } = witness;
        let setup = &model.scope().setup;
        let plain = self.trace(&walk.world, setup, Vec::new(), None).header;
        let header = Header {
            shows: Some(Shows { property, defect: defect.map(str::to_owned) }),
            judged: Some(model.scope().judged.iter().collect()),
            ..plain
        };
        let trace = self.retrace(setup, walk.steps, header).ok_or_else(|| {
            format!("the path that breaks {property} cannot be applied again; please report this")
        })?;
        let story = self.replay(&trace).map_err(|error| error.to_string())?.story;
        Ok(Counterexample { property, defect, trace, story })
    }

    fn trace(
        &self,
        world: &World<M>,
        setup: &Setup<M::Config>,
        steps: Vec<Step>,
        seed: Option<u64>,
    ) -> Trace {
        let header = Header {
            format: FORMAT,
            algorithm: self.card.name.clone(),
            revision: self.card.revision,
            seed,
            shows: None,
            judged: None,
            setup: serde_json::to_value(setup).unwrap_or_default(),
        };
        Trace { header, steps, ending: ending(world) }
    }
}

/// Runs seeds one after the other.
pub trait Runner {
    /// Runs one seed.
    fn run(&mut self, seed: u64) -> Outcome;
}

struct Seeds<'a, M: Subject> {
    registration: &'a Registration<M>,
    shape: Shape,
    simulator: Option<Simulator<M>>,
}

impl<M: Subject> Runner for Seeds<'_, M> {
    fn run(&mut self, seed: u64) -> Outcome {
        let scenario = self.registration.scenario(seed, &self.shape);
        let promises = self.registration.card.promises;
        let simulator =
            self.simulator.get_or_insert_with(|| Simulator::new(seed, scenario.clone(), promises));
        simulator.run(seed, scenario, false)
    }
}

/// What a trace came to when it was applied again.
#[derive(Debug)]
pub struct Replayed {
    /// What happened.
    pub story: Story,
    /// The hash, the violations and the ledger.
    pub outcome: Outcome,
    /// Where it parted ways with the trace.
    pub divergence: Option<Divergence>,
}

/// A registered algorithm of any type.
pub trait Algorithm: Send + Sync {
    /// What is said about it.
    fn card(&self) -> &Card;

    /// A runner for one thread.
    fn runner(&self, shape: &Shape) -> Box<dyn Runner + '_>;

    /// The whole trace of a seed.
    fn record(&self, shape: &Shape, seed: u64) -> Trace;

    /// Applies a trace again.
    ///
    /// # Errors
    ///
    /// [`TraceError`], if it is no trace of this algorithm. A trace of another version is applied: it diverges or
    /// it does not.
    fn replay(&self, trace: &Trace) -> Result<Replayed, TraceError>;

    /// How it is checked exhaustively, unless something else is asked for; `None`, if it cannot be.
    fn check_plan(&self) -> Option<&CheckPlan> {
        None
    }

    /// Checks each of its configurations exhaustively. `watch` hears how far it is, and says whether to go on.
    ///
    /// # Errors
    ///
    /// One line that says what about the plan is wrong.
    fn check(&self, plan: &CheckPlan, watch: &dyn Fn(Progress) -> bool) -> Result<Vec<Checked>, String> {
        let _ = (plan, watch);
        Err(check::no_ticks(self.card()))
    }

    /// How long it takes until another one holds, once a holder has come to each kind of end, in so many seeds each;
    /// `None`, if it says nothing of its usual configuration.
    fn takeovers(&self, instances: u32, seeds: u64) -> Option<Vec<Takeovers>> {
        let _ = (instances, seeds);
        None
    }

    /// Serves stateright's explorer on an address of this machine, for ever.
    ///
    /// # Errors
    ///
    /// As [`Algorithm::check`].
    fn explore(&self, plan: &CheckPlan, address: SocketAddr) -> Result<(), String> {
        let _ = (plan, address);
        Err(check::no_ticks(self.card()))
    }

    /// Makes a trace as small as it gets while it still shows the same.
    ///
    /// # Errors
    ///
    /// As [`Algorithm::replay`].
    fn shrink(
        &self,
        trace: &Trace,
        shows: &Shows,
        tick: &dyn Fn(usize),
    ) -> Result<Option<Shrunk>, TraceError>;
}

impl<M: Subject> Algorithm for Registration<M> {
    fn card(&self) -> &Card {
        &self.card
    }

    fn runner(&self, shape: &Shape) -> Box<dyn Runner + '_> {
        Box::new(Seeds { registration: self, shape: *shape, simulator: None })
    }

    fn record(&self, shape: &Shape, seed: u64) -> Trace {
        let scenario = self.scenario(seed, shape);
        let mut simulator = Simulator::<M>::new(seed, scenario.clone(), self.card.promises);
        simulator.run(seed, scenario.clone(), true);
        let steps = simulator.take_steps();
        self.trace(simulator.world(), &scenario.setup, steps, Some(seed))
    }

    fn replay(&self, trace: &Trace) -> Result<Replayed, TraceError> {
        let setup: Setup<M::Config> = trace.setup()?;
        let mut world = World::<M>::new(&setup, self.judged(&trace.header));
        let mut teller = Teller::new(&world);
        let divergence =
            trace::replay(&mut world, &trace.steps, |world, index, action| teller.hear(world, index, action))
                .err();
        let divergence = divergence.or_else(|| trace::compare(&world, &trace.ending));
        let outcome = Outcome {
            events: world.applied(),
            length: world.now().since(Default::default()),
            hash: world.hash(),
            acquisitions: 0,
            violations: world.verdict().violations().to_vec(),
            ledger: world.ledger().clone(),
        };
        let mut story = teller.finish(&outcome.violations);
        if let Some(shows) = &trace.header.shows {
            let target = |violation: &Violation| self.card.is_shown(shows, violation);
            let causes = causes::<M>(&setup, &trace.steps, self.judged(&trace.header), target);
            causes.into_iter().for_each(|causes| story.trace_back(&causes));
        }
        Ok(Replayed { story, outcome, divergence })
    }

    fn check_plan(&self) -> Option<&CheckPlan> {
        self.exhaustive.as_ref().map(|(plan, _)| plan)
    }

    fn check(&self, plan: &CheckPlan, watch: &dyn Fn(Progress) -> bool) -> Result<Vec<Checked>, String> {
        let results = self.cases(plan)?.into_iter().map(|case| {
            let parts = plan.parts();
            let mut parts = parts.iter().map(|part| self.check_case(part, &case, watch));
            let first = parts.next().ok_or("there is no fault to try by itself")??;
            let whole = parts.try_fold(first, |whole, part| Ok::<_, String>(whole.and(part?)))?;
            Ok(Checked { case: case.name, ..whole })
        });
        results.collect()
    }

    fn takeovers(&self, instances: u32, seeds: u64) -> Option<Vec<Takeovers>> {
        let config = self.usual.as_ref()?;
        let of = |end, hints| take_over::<M>(config, instances, seeds, end, hints);
        let all = End::ALL.into_iter().map(|end| of(end, true));
        Some(all.chain([of(End::Release, false)]).collect())
    }

    fn explore(&self, plan: &CheckPlan, address: SocketAddr) -> Result<(), String> {
        let case = self.cases(plan)?.into_iter().next().ok_or("there is no configuration to explore")?;
        stateright::Model::checker(self.model(plan, &case)?).serve(address);
        Ok(())
    }

    fn shrink(
        &self,
        trace: &Trace,
        shows: &Shows,
        tick: &dyn Fn(usize),
    ) -> Result<Option<Shrunk>, TraceError> {
        let setup: Setup<M::Config> = trace.setup()?;
        let target = |violation: &Violation| self.card.is_shown(shows, violation);
        let header = Header { shows: Some(shows.clone()), ..trace.header.clone() };
        let judged = self.judged(&header);
        let aim = Aim { judged, target, plainer: &*self.plainer };
        let Some((setup, steps, tries)) = shrink::<M>(setup, trace.steps.clone(), aim, tick) else {
            return Ok(None);
        };
        let Some(smaller) = self.retrace(&setup, steps, header) else { return Ok(None) };
        Ok(Some(Shrunk { from: trace.steps.len(), trace: smaller, tries }))
    }
}
