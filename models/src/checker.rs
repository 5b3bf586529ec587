//! The world as a finite model: every order of events, every fault within a budget, for unbounded time.
//!
//! Time goes in whole ticks. What is due (a deadline, a message at the end of its delay) must happen before the
//! next tick; until then everything that may happen is tried in every order. Faults come from a [`Budget`], callers
//! lock and unlock whenever they like. A [`Node`] is a world in [normal form](crate::normal), so that there are
//! finitely many, and the graph of all of them says what can ever happen.
//!
//! The same [`Choice`]s can be made in a world that was never normalised: that is how a path becomes a
//! [trace](crate::trace) with real names and times ([`Walk`]).
//!
//! [`Model`] is a [`stateright::Model`] too: its explorer and its checkers can be let loose on the same graph.

mod explorer;
mod first;
mod frozen;

use std::fmt;
use std::hash::{Hash, Hasher};

use fencepost::machine::Identity;
use fencepost::store::StoreId;
use fencepost::time::{Draw, Span};

use crate::clock::{Rate, Time};
use crate::digest::Fingerprint;
use crate::normal::{NOON, Normaliser};
use crate::property::{Property, PropertySet};
use crate::store::Grain;
use crate::subject::{Ask, Ending, InstanceId, JobId, Play, Subject, Writing};
use crate::trace::{Step, describe};
use crate::world::{Action, Flight, FlightId, Leg, Service, Setup, Stage, State, World, parts};

pub use explorer::{ANSWERS, Arrival, Explorer};
pub use frozen::{Bridge, Parts};

/// What may go wrong, each so often as the [`Budget`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spend {
    /// An instance stands still for as long as it likes; its clocks go on.
    Pause,
    /// The same, and its clocks stand still too.
    Suspend,
    /// An instance dies. It may begin again at any time.
    Crash,
    /// A dead instance begins again under its old identity.
    Rejoin,
    /// A request or a reply is lost.
    Loss,
    /// A request is answered by an error, before or after it took effect.
    Unknown,
    /// A request is doubled.
    Duplicate,
    /// A request or a reply takes as long as it likes.
    Stall,
    /// A hint is lost.
    HintLoss,
    /// From now on entries expire a tick early, a tick late, or when they should.
    Grain,
    /// A clock skips a tick, or shows two for one.
    Drift,
    /// An instance's wall clock jumps by a time to live and a tick, to either side.
    Jump,
    /// A caller cancels.
    Cancel,
    /// A caller unlocks once too often.
    ExtraUnlock,
    /// A holder writes to the guarded resource.
    Write,
    /// A callback fails.
    Failure,
    /// A caller schedules a job.
    Schedule,
    /// A caller schedules a job for another time.
    Reschedule,
    /// A caller takes a job back.
    Withdraw,
    /// A process is not fit to lead. It may be fit again at any time.
    Unfit,
}

impl Spend {
    /// All of them.
    pub const ALL: [Spend; 20] = [
        Spend::Pause,
        Spend::Suspend,
        Spend::Crash,
        Spend::Rejoin,
        Spend::Loss,
        Spend::Unknown,
        Spend::Duplicate,
        Spend::Stall,
        Spend::HintLoss,
        Spend::Grain,
        Spend::Drift,
        Spend::Jump,
        Spend::Cancel,
        Spend::ExtraUnlock,
        Spend::Write,
        Spend::Failure,
        Spend::Schedule,
        Spend::Reschedule,
        Spend::Withdraw,
        Spend::Unfit,
    ];

    /// Its name on the command line: that of the option without its dashes.
    pub const fn name(self) -> &'static str {
        match self {
            Spend::Pause => "pauses",
            Spend::Suspend => "suspends",
            Spend::Crash => "crashes",
            Spend::Rejoin => "rejoins",
            Spend::Loss => "losses",
            Spend::Unknown => "unknowns",
            Spend::Duplicate => "duplicates",
            Spend::Stall => "stalls",
            Spend::HintLoss => "hint-losses",
            Spend::Grain => "grains",
            Spend::Drift => "drift",
            Spend::Jump => "jumps",
            Spend::Cancel => "cancels",
            Spend::ExtraUnlock => "extra-unlocks",
            Spend::Write => "writes",
            Spend::Failure => "failures",
            Spend::Schedule => "schedules",
            Spend::Reschedule => "reschedules",
            Spend::Withdraw => "withdrawals",
            Spend::Unfit => "unfits",
        }
    }
}

/// How often each thing may still go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget([u8; Spend::ALL.len()]);

impl Budget {
    /// Nothing goes wrong.
    pub const NONE: Budget = Budget([0; Spend::ALL.len()]);

    /// With so much of `what`.
    pub const fn with(mut self, what: Spend, times: u8) -> Budget {
        self.0[what as usize] = times;
        self
    }

    /// How much of `what` is left.
    pub const fn left(&self, what: Spend) -> u8 {
        self.0[what as usize]
    }

    /// All of it.
    fn words(&self) -> [u64; 3] {
        let mut words = [0; 3];
        for (at, &left) in self.0.iter().enumerate() {
            words[at / 8] |= u64::from(left) << (at % 8 * 8);
        }
        words
    }

    fn spend(&mut self, what: Spend) {
        self.0[what as usize] = self.0[what as usize].saturating_sub(1);
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = Spend::ALL.into_iter().filter(|&what| self.left(what) > 0);
        f.debug_map().entries(left.map(|what| (what.name(), self.left(what)))).finish()
    }
}

/// Whose clock is wrong for a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// An instance's.
    Instance(InstanceId),
    /// The store's.
    Store,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Something happens at this tick.
    Do(Action),
    /// Time goes on.
    Tick,
    /// Time goes on, and somebody's clock does not.
    Skip(Whose),
    /// Time goes on, and somebody's clock goes on by two ticks.
    Double(Whose),
}

impl Choice {
    /// What it takes from the budget.
    pub fn spends<M: Subject>(&self, world: &World<M>) -> Option<Spend> {
        let action = match self {
            Choice::Tick => return None,
            Choice::Skip(_) | Choice::Double(_) => return Some(Spend::Drift),
            Choice::Do(action) => action,
        };
        Some(match *action {
            Action::Pause(_) => Spend::Pause,
            Action::Suspend(_) => Spend::Suspend,
            Action::Crash(_) => Spend::Crash,
            Action::Rejoin(_) => Spend::Rejoin,
            Action::Lose(id) => match world.flight(id)?.leg {
                Leg::Hint(_) => Spend::HintLoss,
                Leg::Request(_) | Leg::Reply(..) | Leg::Lost | Leg::Write { .. } | Leg::Landed => Spend::Loss,
            },
            Action::Serve(_, Service::ErrorBefore | Service::ErrorAfter) => Spend::Unknown,
            Action::Duplicate(_) => Spend::Duplicate,
            Action::Stall(_) => Spend::Stall,
            Action::SetGrain(..) => Spend::Grain,
            Action::Jump(..) => Spend::Jump,
            Action::Ask(_, Ask::Cancel | Ask::Close) => Spend::Cancel,
            Action::Ask(_, Ask::Finish(false)) => Spend::Failure,
            Action::Ask(_, Ask::Schedule(..)) => Spend::Schedule,
            Action::Ask(_, Ask::Reschedule(..)) => Spend::Reschedule,
            Action::Ask(_, Ask::Withdraw(_) | Ask::Expire) => Spend::Withdraw,
            Action::Ask(_, Ask::Fit(false)) => Spend::Unfit,
            Action::Ask(id, Ask::Object(job, what)) => return writing_spends(world, id, job, what),
            Action::Ask(_, Ask::UnlockAgain) => Spend::ExtraUnlock,
            Action::Write(_) => Spend::Write,
            _ => return None,
        })
    }
}

/// What is to be explored.
#[derive(Clone, Debug)]
pub struct Scope<C> {
    /// The world.
    pub setup: Setup<C>,
    /// How long a tick is. Every length in the setup should be a whole number of ticks.
    pub tick: Span,
    /// What may go wrong.
    pub budget: Budget,
    /// What is judged.
    pub judged: PropertySet,
    /// Whether violations of one property in different [circumstances](crate::property::Facts) are told apart.
    pub keeps_facts: bool,
    /// Whether instances that can be exchanged are, where the algorithm treats all alike.
    pub symmetry: bool,
    /// Whether steps that need not wait for others go first, where that [loses nothing](Model::first).
    pub reduction: bool,
    /// Whether callers schedule before time passes, or never.
    pub at_once: bool,
}

/// The graph of everything that can happen within a [`Scope`].
#[derive(Clone, Debug)]
pub struct Model<M: Subject> {
    scope: Scope<M::Config>,
}

/// A state: a world in normal form, and what may still go wrong.
#[derive(Clone)]
pub struct Node<M: Subject> {
    /// The world, at noon.
    pub world: World<M>,
    /// What may still go wrong.
    pub budget: Budget,
    /// What was broken by the step that led here.
    pub broken: PropertySet,
    print: u64,
}

impl<M: Subject> Node<M> {
    /// What tells it from every other node.
    pub fn print(&self) -> u64 {
        self.print
    }

    /// The memory it takes, in bytes, as far as the number of its parts tells.
    pub fn bytes(&self) -> usize {
        size_of::<Node<M>>() + self.world.bytes()
    }
}

/// A world that was never normalised, on its way along a path.
#[derive(Clone, Debug)]
pub struct Walk<M: Subject> {
    /// The world.
    pub world: World<M>,
    /// The tick.
    pub now: Time,
    /// What may still go wrong.
    pub budget: Budget,
    /// What has happened so far.
    pub steps: Vec<Step>,
}

impl<M: Subject> Model<M> {
    /// The graph of this scope.
    pub fn new(scope: Scope<M::Config>) -> Model<M> {
        Model { scope }
    }

    /// What is explored.
    pub fn scope(&self) -> &Scope<M::Config> {
        &self.scope
    }

    /// Whether instances that can be exchanged are.
    pub fn sorts(&self) -> bool {
        let is_symmetric = M::PLAY != Play::Write && M::is_symmetric(&self.scope.setup.config);
        self.scope.symmetry && is_symmetric && self.scope.setup.resources == 1
    }

    /// What brings its worlds to normal form; one for each thread.
    pub fn normaliser(&self) -> Normaliser {
        Normaliser::new::<M>(&self.scope, self.sorts())
    }

    /// Where every path begins. The first tick is the first: a time of zero means never.
    pub fn start(&self) -> Walk<M> {
        let mut world = World::new(&self.scope.setup, self.scope.judged);
        if M::PLAY.has_jobs() {
            world.stores.iter_mut().for_each(|store| store.keys = Some(Vec::new()));
        }
        Walk { world, now: Time::ZERO + self.scope.tick, budget: self.scope.budget, steps: Vec::new() }
    }

    /// The node of a world as it is at `now`.
    pub fn node(
        &self,
        mut world: World<M>,
        now: Time,
        budget: Budget,
        normaliser: &mut Normaliser,
    ) -> Node<M> {
        let broken = world.verdict().broken();
        world.forgive();
        let print = self.settle(&mut world, now, &budget, normaliser);
        Node { world, budget, broken, print }
    }

    /// Turns a world, as it is at `now`, into that of its node. Gives the node's fingerprint.
    pub fn settle(
        &self,
        world: &mut World<M>,
        now: Time,
        budget: &Budget,
        normaliser: &mut Normaliser,
    ) -> u64 {
        self.seal(normaliser.normalise(world, now, budget), budget)
    }

    /// The fingerprint of a node, from that of its world.
    fn seal(&self, world: u64, budget: &Budget) -> u64 {
        let mut print = Fingerprint::new();
        print.word(world);
        budget.words().into_iter().for_each(|word| print.word(word));
        print.value()
    }

    /// The node that every path begins with.
    pub fn root(&self, normaliser: &mut Normaliser) -> Node<M> {
        let Walk { world, now, budget, .. } = self.start();
        self.node(world, now, budget, normaliser)
    }

    /// Everything that can happen next, in an order that depends on the world only.
    pub fn choices(&self, world: &World<M>, now: Time, budget: &Budget, out: &mut Vec<Choice>) {
        out.clear();
        for index in 0..world.instances().len() {
            self.choices_of_instance(world, now, InstanceId(index as u32), budget, out);
        }
        for (id, flight) in world.flights() {
            self.choices_of_flight(world, now, (id, flight), budget, out);
        }
        if budget.left(Spend::Grain) > 0 {
            let (zero, tick) = (Span::ZERO, self.scope.tick);
            for (early, late) in [(zero, zero), (tick, zero), (zero, tick)] {
                let grain = Grain { early, late };
                if grain != world.stores()[0].grain {
                    offer(world, now, budget, out, Action::SetGrain(StoreId(0), grain));
                }
            }
        }
        if world.overdue(now + self.scope.tick).is_none() {
            out.push(Choice::Tick);
            self.offer_drift(world, budget, out);
        }
    }

    /// What can happen next to a message.
    fn choices_of_flight(
        &self,
        world: &World<M>,
        now: Time,
        (id, flight): (FlightId, &Flight<M>),
        budget: &Budget,
        out: &mut Vec<Choice>,
    ) {
        let mut offer = |action: Action| offer(world, now, budget, out, action);
        match &flight.leg {
            Leg::Request(_) => {
                offer(Action::Serve(id, Service::Done));
                offer(Action::Serve(id, Service::ErrorBefore));
                offer(Action::Serve(id, Service::ErrorAfter));
                if !flight.is_copy {
                    offer(Action::Duplicate(id));
                }
            }
            Leg::Reply(..) | Leg::Hint(_) | Leg::Write { .. } => offer(Action::Deliver(id)),
            // A host is patient: it gives up when it must, and no sooner.
            Leg::Lost if world.due(id).is_some_and(|due| due < now + self.scope.tick) => {
                offer(Action::GiveUp(id));
            }
            Leg::Lost | Leg::Landed => {}
        }
        offer(Action::Lose(id));
        if !flight.stalled && !matches!(flight.leg, Leg::Hint(_)) {
            offer(Action::Stall(id));
        }
    }

    /// What an instance and its caller can do next.
    fn choices_of_instance(
        &self,
        world: &World<M>,
        now: Time,
        id: InstanceId,
        budget: &Budget,
        out: &mut Vec<Choice>,
    ) {
        let mut offer = |action: Action| offer(world, now, budget, out, action);
        let instance = world.instance(id);
        match instance.state {
            State::Up => {
                offer(Action::Wake(id));
                self.offer_asks(world, id, &mut offer);
                for action in [Action::Pause(id), Action::Suspend(id), Action::Crash(id)] {
                    offer(action);
                }
                if world.believes_at(id, now) {
                    offer(Action::Write(id));
                }
                let jump = (M::ttl(world.config()) + self.scope.tick).as_nanos() as i64;
                offer(Action::Jump(id, jump));
                offer(Action::Jump(id, -jump));
            }
            State::Paused => {
                offer(Action::Resume(id));
                offer(Action::Crash(id));
            }
            State::Down => {
                offer(Action::Restart(id));
                offer(Action::Rejoin(id));
            }
        }
    }

    /// What a caller may ask next.
    fn offer_asks(&self, world: &World<M>, id: InstanceId, offer: &mut impl FnMut(Action)) {
        let stage = world.instance(id).caller.stage;
        let (begin, end) = match M::PLAY {
            Play::Lock => (Ask::Lock, Ask::Unlock),
            Play::Lead => (Ask::Start, Ask::Unlock),
            Play::Job | Play::Once | Play::Write => (Ask::Start, Ask::Finish(true)),
        };
        match stage {
            Stage::Idle => offer(Action::Ask(id, begin)),
            Stage::Holding => offer(Action::Ask(id, end)),
            Stage::Waiting | Stage::Leaving => {}
        }
        match M::PLAY {
            Play::Lock => {
                offer(Action::Ask(id, Ask::Cancel));
                offer(Action::Ask(id, Ask::UnlockAgain));
            }
            Play::Lead => {
                offer(Action::Ask(id, Ask::Fit(world.instance(id).part.is_unfit())));
                offer(Action::Ask(id, Ask::UnlockAgain));
                if !world.is_closing(id) {
                    offer(Action::Ask(id, Ask::Close));
                }
            }
            Play::Job | Play::Once => {
                offer(Action::Ask(id, Ask::Finish(false)));
                if !world.is_closing(id) {
                    offer(Action::Ask(id, Ask::Close));
                }
            }
            Play::Write => {
                if !world.is_closing(id) {
                    offer(Action::Ask(id, Ask::Close));
                }
                offer_writing(world, id, offer);
            }
        }
        if M::PLAY == Play::Once {
            let soon = self.scope.tick;
            for job in (0..world.jobs()).map(JobId) {
                offer(Action::Ask(id, Ask::Schedule(job, soon)));
                offer(Action::Ask(id, Ask::Reschedule(job, soon)));
                offer(Action::Ask(id, Ask::Withdraw(job)));
            }
        }
    }

    fn offer_drift(&self, world: &World<M>, budget: &Budget, out: &mut Vec<Choice>) {
        if budget.left(Spend::Drift) == 0 {
            return;
        }
        let up = |id: &InstanceId| world.instance(*id).state == State::Up;
        let instances = (0..world.instances().len() as u32).map(InstanceId).filter(up).map(Whose::Instance);
        for whose in instances.chain([Whose::Store]) {
            out.push(Choice::Skip(whose));
            out.push(Choice::Double(whose));
        }
    }

    /// Makes a choice. `note` hears of each action before it is applied, and when.
    pub fn make(
        &self,
        choice: Choice,
        world: &mut World<M>,
        now: &mut Time,
        budget: &mut Budget,
        mut note: impl FnMut(&World<M>, Time, Action),
    ) {
        if let Some(what) = choice.spends(world) {
            budget.spend(what);
        }
        let next = *now + self.scope.tick;
        match choice {
            Choice::Do(action) => {
                note(world, *now, action);
                world.apply(*now, action, Draw(0));
            }
            Choice::Tick => *now = next,
            Choice::Skip(whose) | Choice::Double(whose) => {
                let rate = if matches!(choice, Choice::Skip(_)) { Rate::STOPPED } else { Rate::DOUBLE };
                for (at, rate) in [(*now, rate), (next, Rate::TRUE)] {
                    let action = match whose {
                        Whose::Instance(id) => Action::SetRate(id, rate),
                        Whose::Store => Action::StoreRate(StoreId(0), rate),
                    };
                    note(world, at, action);
                    world.apply(at, action, Draw(0));
                }
                *now = next;
            }
        }
        if !matches!(choice, Choice::Do(_)) {
            if self.scope.at_once {
                *budget = budget.with(Spend::Schedule, 0);
            }
            world.pass_to(*now);
        }
    }

    /// The node to which a choice leads.
    pub fn follow(&self, node: &Node<M>, choice: Choice, normaliser: &mut Normaliser) -> Node<M> {
        let (mut world, mut now, mut budget) = (node.world.clone(), NOON_TIME, node.budget);
        self.make(choice, &mut world, &mut now, &mut budget, |_, _, _| {});
        self.node(world, now, budget, normaliser)
    }
}

/// What it takes from the budget that somebody says that about an object.
fn writing_spends<M: Subject>(world: &World<M>, id: InstanceId, job: JobId, what: Writing) -> Option<Spend> {
    let wanted = world.wanted(world.instance(id).resource, job);
    match what {
        Writing::Wish(value) if value > wanted => Some(Spend::Schedule),
        Writing::Wish(value) if value == world.wish(id, job) => Some(Spend::Reschedule),
        Writing::Wish(_) | Writing::Look | Writing::Conclude(Ending::Well) => None,
        Writing::Drop => Some(Spend::Withdraw),
        Writing::Conclude(Ending::ErrorBefore | Ending::ErrorAfter) => Some(Spend::Unknown),
        Writing::Conclude(Ending::Panic) => Some(Spend::Failure),
    }
}

/// What a caller may say about the objects that its writer writes to.
fn offer_writing<M: Subject>(world: &World<M>, id: InstanceId, offer: &mut impl FnMut(Action)) {
    offer(Action::Ask(id, Ask::Expire));
    for job in (0..world.jobs()).map(JobId) {
        let mut say = |what: Writing| offer(Action::Ask(id, Ask::Object(job, what)));
        let wanted = world.wanted(world.instance(id).resource, job);
        (wanted.max(1)..=wanted + 1).for_each(|value| say(Writing::Wish(value)));
        say(Writing::Drop);
        say(Writing::Look);
        [Ending::Well, Ending::ErrorBefore, Ending::ErrorAfter, Ending::Panic]
            .into_iter()
            .for_each(|ending| say(Writing::Conclude(ending)));
    }
}

/// Adds an action to what can happen next, if it can, and if there is enough of what it takes.
fn offer<M: Subject>(world: &World<M>, now: Time, budget: &Budget, out: &mut Vec<Choice>, action: Action) {
    let choice = Choice::Do(action);
    let is_affordable = choice.spends(world).is_none_or(|what| budget.left(what) > 0);
    if is_affordable && world.check(now, &action).is_ok() {
        out.push(choice);
    }
}

/// When it is in a node.
pub const NOON_TIME: Time = Time::from_nanos(NOON);

impl<M: Subject> Walk<M> {
    /// Makes a choice, and writes down what was done.
    pub fn make(&mut self, model: &Model<M>, choice: Choice) {
        let Walk { world, now, budget, steps } = self;
        model.make(choice, world, now, budget, |world, t, action| {
            steps.push(Step { t, draw: Draw(0), deed: describe(world, &action) });
        });
    }

    /// Applies an action now, whatever it costs, and writes it down.
    pub fn apply(&mut self, action: Action) {
        self.steps.push(Step { t: self.now, draw: Draw(0), deed: describe(&self.world, &action) });
        self.world.apply(self.now, action, Draw(0));
    }

    /// The node of the world as it is.
    pub fn node(&self, model: &Model<M>, normaliser: &mut Normaliser) -> Node<M> {
        model.node(self.world.clone(), self.now, self.budget, normaliser)
    }
}

impl<M: Subject> PartialEq for Node<M> {
    fn eq(&self, other: &Node<M>) -> bool {
        (self.print, self.broken) == (other.print, other.broken)
    }
}

impl<M: Subject> Hash for Node<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.print, self.broken).hash(state);
    }
}

/// The world in words, for whoever explores it.
impl<M: Subject> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, instance) in self.world.instances().iter().enumerate() {
            let id = InstanceId(index as u32);
            let belief = if self.world.believes(id) { ", believes" } else { "" };
            writeln!(f, "{id}: {:?}, {}{belief}", instance.state, instance.caller.stage)?;
            writeln!(f, "   {}", humane(&format!("{:?}", instance.machine)))?;
        }
        for shelf in &self.world.stores()[0].shelves {
            writeln!(f, "store: {}", humane(&format!("{shelf:?}")))?;
        }
        for (_, flight) in self.world.flights() {
            let awaited = if flight.is_awaited() { "" } else { ", nobody waits for it" };
            let leg = humane(&format!("{:?}", flight.leg));
            writeln!(f, "under way, of {}: {leg}{awaited}", flight.instance)?;
        }
        writeln!(f, "may still go wrong: {:?}", self.budget)?;
        for property in self.broken.iter() {
            writeln!(f, "BROKEN: {property}: {}", property.sentence())?;
        }
        Ok(())
    }
}

/// Times as distances from now, and identities as instances.
fn humane(debug: &str) -> String {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '.';
    let mut text = String::new();
    for part in debug.split_inclusive(|letter| !is_word(letter)) {
        let word = part.trim_end_matches(|letter| !is_word(letter));
        let seconds = word.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
        let noon = NOON as f64 / 1e9;
        match seconds.map(|seconds| seconds - noon).filter(|distance| distance.abs() < noon / 2.0) {
            Some(distance) if distance.abs() < 1e-6 => text.push_str("now"),
            Some(distance) => text.push_str(&format!("now{distance:+.3}s")),
            None => match word.parse().ok().and_then(|number| parts(Identity(number))) {
                Some((id, incarnation)) => text.push_str(&format!("{id}.{incarnation}")),
                None => text.push_str(word),
            },
        }
        text.push_str(&part[word.len()..]);
    }
    text
}

/// A choice with its description, for whoever explores the graph.
#[derive(Clone, PartialEq, Eq)]
pub struct Move {
    /// The choice.
    pub choice: Choice,
    words: String,
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Choice {
    /// What happens, in words.
    pub fn words<M: Subject>(&self, world: &World<M>) -> String {
        let whose = |whose: &Whose| match whose {
            Whose::Instance(id) => format!("{id}'s clock"),
            Whose::Store => "the store's clock".to_owned(),
        };
        let action = match self {
            Choice::Tick => return "a tick passes".to_owned(),
            Choice::Skip(who) => return format!("a tick passes, and {} stands still", whose(who)),
            Choice::Double(who) => return format!("a tick passes, and {} shows two", whose(who)),
            Choice::Do(action) => action,
        };
        let flight = |id: FlightId| {
            world.flight(id).map_or_else(String::new, |flight| {
                let call = flight.call.map_or_else(String::new, |call| format!(" {call:?}"));
                let stale =
                    if flight.is_awaited() || call.is_empty() { "" } else { " that nobody waits for" };
                format!("{}'s{call} {:?}{stale}", flight.instance, flight.kind()).to_lowercase()
            })
        };
        match *action {
            Action::Ask(id, ask) => format!("{id} asks: {ask:?}").to_lowercase(),
            Action::Wake(id) => format!("{id} wakes"),
            Action::Serve(id, Service::Done) => format!("the store serves {}", flight(id)),
            Action::Serve(id, how) => format!("the store serves {}: {how:?}", flight(id)),
            Action::Deliver(id) => format!("{} arrives", flight(id)),
            Action::Lose(id) => format!("{} is lost", flight(id)),
            Action::Duplicate(id) => format!("{} is doubled", flight(id)),
            Action::Stall(id) => format!("{} takes as long as it likes", flight(id)),
            Action::GiveUp(id) => format!("{} is given up", flight(id)),
            Action::Write(id) => format!("{id} writes to the guarded resource"),
            Action::Pause(id) => format!("{id} is paused"),
            Action::Suspend(id) => format!("{id} is suspended, its clocks too"),
            Action::Resume(id) => format!("{id} goes on"),
            Action::Crash(id) => format!("{id} dies"),
            Action::Restart(id) => format!("{id} begins again"),
            Action::Rejoin(id) => format!("{id} begins again under its old identity"),
            other => format!("{other:?}"),
        }
    }
}

type Condition<M> = fn(&Model<M>, &Node<M>) -> bool;

fn holds<M: Subject, const PROPERTY: usize>(_: &Model<M>, node: &Node<M>) -> bool {
    !node.broken.has(Property::ALL[PROPERTY])
}

impl<M: Subject> stateright::Model for Model<M> {
    type State = Node<M>;
    type Action = Move;

    fn init_states(&self) -> Vec<Node<M>> {
        vec![self.root(&mut self.normaliser())]
    }

    fn actions(&self, node: &Node<M>, actions: &mut Vec<Move>) {
        let mut choices = Vec::new();
        self.choices(&node.world, NOON_TIME, &node.budget, &mut choices);
        let named = |choice: Choice| Move { choice, words: choice.words(&node.world) };
        actions.extend(choices.into_iter().map(named));
    }

    fn next_state(&self, node: &Node<M>, step: Move) -> Option<Node<M>> {
        Some(self.follow(node, step.choice, &mut self.normaliser()))
    }

    fn properties(&self) -> Vec<stateright::Property<Model<M>>> {
        let all: [Condition<M>; Property::ALL.len()] = [
            holds::<M, 0>,
            holds::<M, 1>,
            holds::<M, 2>,
            holds::<M, 3>,
            holds::<M, 4>,
            holds::<M, 5>,
            holds::<M, 6>,
            holds::<M, 7>,
            holds::<M, 8>,
            holds::<M, 9>,
            holds::<M, 10>,
            holds::<M, 11>,
            holds::<M, 12>,
            holds::<M, 13>,
            holds::<M, 14>,
            holds::<M, 15>,
            holds::<M, 16>,
            holds::<M, 17>,
            holds::<M, 18>,
            holds::<M, 19>,
            holds::<M, 20>,
            holds::<M, 21>,
            holds::<M, 22>,
        ];
        let judged = Property::ALL.into_iter().zip(all).filter(|(one, _)| self.scope.judged.has(*one));
        judged.map(|(one, holds)| stateright::Property::always(one.name(), holds)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_to_people_names_distances_and_instances() {
        let debug = "Owner { identity: Identity(8589934593), until: 1000003s, sent: 999998.5s, at: 1000000s, ttl: 3s }";
        let shown =
            "Owner { identity: Identity(B.1), until: now+3.000s, sent: now-1.500s, at: now, ttl: 3s }";
        assert_eq!(humane(debug), shown);
    }
}
