//! What a seed determines: the configuration, the workload, and which faults blow how hard.

use fencepost::time::{Ppm, Span};
use fencepost_models::clock::Time;
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::subject::{Ask, Play, Subject};
use fencepost_models::world::{Bounds, Setup};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One independent stream of randomness for each concern, so that switching a fault on reshuffles nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Configuration,
    Workload,
    Delays,
    Draws,
    Timers,
    /// Of one family of faults.
    Fault(Fault),
}

impl Stream {
    pub(crate) fn of(self, seed: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(match self {
            Stream::Configuration => 1,
            Stream::Workload => 2,
            Stream::Delays => 3,
            Stream::Draws => 4,
            Stream::Timers => 5,
            Stream::Fault(fault) => 16 + fault as u64,
        });
        rng
    }
}

/// Which faults a hunt may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Every seed switches each family on or off by itself.
    Storm,
    /// Only what no algorithm may be hurt by: duplicates, drift within bounds, lost and late hints, late expiry.
    Calm,
    /// None.
    None,
    /// Exactly these, in every seed.
    Only(FaultSet),
}

impl Faults {
    /// The families of [`Faults::Calm`].
    pub const CALM: [Fault; 7] = [
        Fault::Drift,
        Fault::StoreDrift,
        Fault::Duplicate,
        Fault::HintLost,
        Fault::HintLate,
        Fault::HintDuplicate,
        Fault::ExpiryLate,
    ];

    /// What `storm`, `calm`, `none` or a comma-separated list of families means.
    ///
    /// # Errors
    ///
    /// One line that says what is accepted.
    pub fn parse(text: &str) -> Result<Faults, String> {
        match text {
            "storm" => Ok(Faults::Storm),
            "calm" => Ok(Faults::Calm),
            "none" => Ok(Faults::None),
            list => list
                .split(',')
                .map(|name| Fault::named(name.trim()).ok_or_else(|| unknown_fault(name)))
                .collect::<Result<_, _>>()
                .map(Faults::Only),
        }
    }

    fn of_seed(self, rng: &mut ChaCha8Rng) -> FaultSet {
        match self {
            Faults::Storm => FaultSet::storm().iter().filter(|_| rng.random_bool(0.5)).collect(),
            Faults::Calm => FaultSet::of(&Faults::CALM),
            Faults::None => FaultSet::NONE,
            Faults::Only(faults) => faults,
        }
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Faults::Storm => f.write_str("storm"),
            Faults::Calm => f.write_str("calm"),
            Faults::None => f.write_str("none"),
            Faults::Only(faults) => {
                let names: Vec<_> = faults.iter().map(Fault::name).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

fn unknown_fault(name: &str) -> String {
    let names: Vec<_> = Fault::ALL.into_iter().map(Fault::name).collect();
    format!("there is no fault {name:?}; accepted are storm, calm, none, or a list of: {}", names.join(", "))
}

/// What callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// How long a lock is held: uniformly from nothing to this.
    pub hold_max: Span,
    /// How long a caller does something else: uniformly from nothing to this.
    pub think_max: Span,
    /// Whether callers also try, set deadlines, extend, and write late.
    pub varied: bool,
}

/// What a run is like from outside, before a seed is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many instances.
    pub instances: u32,
    /// How many locks they share.
    pub resources: u32,
    /// How long the storm lasts.
    pub storm: Span,
    /// Which faults it may contain.
    pub faults: Faults,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { instances: 3, resources: 1, storm: Span::from_secs(180), faults: Faults::Storm }
    }
}

/// Which faults a storm over an algorithm is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Storm {
    /// Those that its store and network know; half of them are switched on.
    pub(crate) meets: FaultSet,
    /// Those that are always switched on.
    pub(crate) always: FaultSet,
    /// Half of these are switched on, though they are no part of other storms.
    pub(crate) at_times: FaultSet,
    /// Whether properties are judged even where what they assume is broken.
    pub(crate) strict: bool,
}

/// How often something happens to a message.
pub(crate) type Odds = u32;

/// What a seed came to.
#[derive(Clone, Debug)]
pub(crate) struct Scenario<C> {
    pub(crate) setup: Setup<C>,
    pub(crate) workload: Workload,
    pub(crate) faults: FaultSet,
    /// The odds of each fault for one message or one call, of 2³².
    pub(crate) odds: [Odds; Fault::ALL.len()],
    /// The mean time between two faults of a family.
    pub(crate) gaps: [Span; Fault::ALL.len()],
    pub(crate) drift: Ppm,
    pub(crate) margin: Span,
    pub(crate) ttl: Span,
    pub(crate) heal: Time,
    pub(crate) drain: Time,
    pub(crate) end: Time,
}

/// Chances of one in so many.
const ODDS: [u32; 4] = [8, 30, 120, 500];

/// The odds of what is not drawn.
const SELDOM: Odds = u32::MAX / 12;

/// How often the like of it happens in a storm.
const SELDOM_GAP: u64 = 3;

/// How many jobs callers schedule on each resource.
const JOBS: u32 = 3;

impl<C: Clone> Scenario<C> {
    pub(crate) fn of_seed<M: Subject<Config = C>>(
        seed: u64,
        shape: &Shape,
        storm: &Storm,
        configure: impl Fn(&mut ChaCha8Rng) -> C,
    ) -> Scenario<C> {
        let mut rng = Stream::Configuration.of(seed);
        let config = configure(&mut rng);
        let drawn = shape.faults.of_seed(&mut rng).and(storm.meets);
        let faults = if shape.faults == Faults::Storm { drawn.or(storm.always) } else { drawn };
        let delay_max = pick(&mut rng, &[5, 20, 50]);
        let slack = pick(&mut rng, &[0, 1, 10]);
        let hold_max = Span::from_millis(pick(&mut rng, &[200, 2_000, 8_000, 20_000]));
        let think_max = Span::from_millis(pick(&mut rng, &[100, 1_000, 5_000]));
        let ttl = M::ttl(&config);
        let odds =
            Fault::ALL.map(|fault| if is_drawn(fault) { u32::MAX / pick(&mut rng, &ODDS) } else { SELDOM });
        let gap = |divisor: u64| Span::from_nanos(shape.storm.as_nanos() / divisor);
        let gaps = Fault::ALL
            .map(|fault| if is_drawn(fault) { gap(pick(&mut rng, &[2, 5, 12])) } else { gap(SELDOM_GAP) });
        let bounds =
            bounds(shape.instances, ttl, hold_max, Span::from_millis(delay_max), Span::from_millis(slack));
        let bounds = Bounds { progress: bounds.progress + M::lateness(&config), ..bounds };
        // Long enough for a storm of requests to be one.
        let contention = if M::PREEMPTS { M::preemption(&config).contention } else { Span::ZERO };
        let patience = if contention == Span::MAX { Span::ZERO } else { contention * 2 };
        let calm = ttl * 3 + patience;
        let heal = Time::ZERO + shape.storm;
        let drain = heal + calm;
        let (drift, margin) = (M::drift(&config), M::margin(&config));
        let hints = rng.random_bool(0.75);
        let faults = if shape.faults == Faults::Storm {
            faults.or(storm.at_times.iter().filter(|_| rng.random_bool(0.5)).collect())
        } else {
            faults
        };
        let faults = faults.without(impossible::<M>(&config, hints));
        Scenario {
            setup: Setup {
                config,
                instances: shape.instances,
                resources: shape.resources,
                jobs: jobs::<M>(),
                stores: 1,
                hints,
                merges_hints: false,
                bounds,
                strict: storm.strict,
            },
            workload: Workload { hold_max, think_max, varied: true },
            faults,
            odds,
            gaps,
            drift,
            margin,
            ttl,
            heal,
            drain,
            end: drain + bounds.progress + Span::from_secs(1),
        }
    }

    /// The workload by which simulators are compared: no faults, no hints, only locking and unlocking.
    pub(crate) fn reference(
        config: C,
        ttl: Span,
        instances: u32,
        resources: u32,
        length: Span,
    ) -> Scenario<C> {
        let (delay, slack) = (Span::from_millis(50), Span::ZERO);
        let workload =
            Workload { hold_max: Span::from_secs(20), think_max: Span::from_secs(5), varied: false };
        let bounds =
            Bounds { progress: Span::MAX, ..bounds(instances, ttl, workload.hold_max, delay, slack) };
        let end = Time::ZERO + length;
        Scenario {
            setup: Setup {
                config,
                instances,
                resources,
                jobs: 0,
                stores: 1,
                hints: false,
                merges_hints: false,
                bounds,
                strict: false,
            },
            workload,
            faults: FaultSet::NONE,
            odds: [0; Fault::ALL.len()],
            gaps: [Span::MAX; Fault::ALL.len()],
            drift: Ppm::ZERO,
            margin: Span::ZERO,
            ttl,
            heal: end,
            drain: end,
            end,
        }
    }
}

/// Whether a family strikes by itself over locks, and so has odds and gaps of its own. A reused name comes with a
/// restart; a callback fails, the store's clock is set, and reads fail, by odds that are always the same.
fn is_drawn(fault: Fault) -> bool {
    !matches!(fault, Fault::IdentityReused | Fault::CallbackFails | Fault::StoreJump | Fault::ReadsFail)
}

fn jobs<M: Subject>() -> u32 {
    match M::PLAY {
        Play::Lock | Play::Lead => 0,
        Play::Job => 1,
        Play::Once | Play::Write => JOBS,
    }
}

/// What cannot happen: a run in which it is switched on would say nothing about it.
fn impossible<M: Subject>(config: &M::Config, hints: bool) -> FaultSet {
    let mut faults = FaultSet::NONE;
    if M::margin(config) == Span::ZERO {
        faults.add(Fault::ExpiryEarly);
    }
    let cancel = if M::PLAY == Play::Lock { Ask::Cancel } else { Ask::Close };
    for (ask, fault) in [(cancel, Fault::Cancel), (Ask::UnlockAgain, Fault::UnlockTwice)] {
        if M::request(ask).is_none() {
            faults.add(fault);
        }
    }
    let about_hints = FaultSet::of(&[Fault::HintLost, Fault::HintLate, Fault::HintDuplicate]);
    if hints { faults } else { faults.or(about_hints) }
}

/// How long things may take: a waiter waits for a dead holder, then for every other one's turn.
fn bounds(instances: u32, ttl: Span, hold_max: Span, delay: Span, slack: Span) -> Bounds {
    let hand_off = Span::from_secs(8) + delay * 8;
    Bounds {
        delay,
        slack,
        call: Span::from_secs(30),
        orphan: Span::from_secs(1) + delay * 2,
        progress: ttl * 3 + Span::from_secs(35) + (hold_max + hand_off) * u64::from(instances),
    }
}

/// One of these.
pub(crate) fn pick<T: Clone>(rng: &mut impl Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())].clone()
}

/// How long a message takes at least.
pub(crate) const DELAY_MIN: Span = Span::from_millis(1);

/// A length from nothing up to `most`.
#[inline]
pub(crate) fn up_to(rng: &mut impl Rng, most: Span) -> Span {
    let draw = u128::from(rng.next_u64());
    // `draw / 2⁶⁴` of `most + 1`.
    Span::from_nanos(((draw * u128::from(most.as_nanos()) + draw) >> 64) as u64)
}

/// A length from a millisecond up to `most`, where every order of magnitude is as likely as any other.
pub(crate) fn skewed(rng: &mut impl Rng, most: Span) -> Span {
    let least = 1_000_000_u64;
    let doublings = (most.as_nanos() / least).max(1).ilog2() + 1;
    let scale = least << rng.random_range(0..doublings);
    Span::from_nanos(scale + up_to(rng, Span::from_nanos(scale)).as_nanos()).min(most)
}
