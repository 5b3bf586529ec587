//! Runs many seeds and sorts what they find.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fencepost::time::Span;
use fencepost_models::digest::Digest;
use fencepost_models::fault::Ledger;
use fencepost_models::property::Property;
use fencepost_models::trace::{Shows, Trace};

use crate::algorithm::Algorithm;
use crate::report;
use crate::scenario::{Faults, Shape};
use crate::scheduler::Outcome;
use crate::story::Story;

/// A hunt that is being put together; [`hunt`] begins one.
#[derive(Clone)]
pub struct Hunt<'a> {
    algorithm: &'a dyn Algorithm,
    shape: Shape,
    from: u64,
    until: Until,
    jobs: usize,
    command: String,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Seeds(u64),
    Elapsed(Duration),
}

/// Begins a hunt: 10,000 seeds from seed 1, three instances, three stormy minutes each, on all cores.
///
/// ```
/// use fencepost::mutex::{Mutex, MutexConfig};
/// use fencepost_sim::{Registration, hunt};
///
/// let terms = MutexConfig::default().terms()?;
/// let mutex = Registration::<Mutex>::new("mutex", "the lease mutex", move |_| terms.clone());
/// hunt(&mutex).seeds(50).run().expect_clean();
/// # Ok::<(), fencepost::lease::ConfigError>(())
/// ```
pub fn hunt(algorithm: &dyn Algorithm) -> Hunt<'_> {
    let jobs = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (shape, until, command) = (Shape::default(), Until::Seeds(10_000), "cargo lab".to_owned());
    Hunt { algorithm, shape, from: 1, until, jobs, command }
}

/// How a hunt is going, for whoever watches it.
#[derive(Debug, Default)]
pub struct Watch {
    /// Seeds done.
    pub seeds: AtomicU64,
    /// Events applied.
    pub events: AtomicU64,
    /// Simulated nanoseconds.
    pub simulated: AtomicU64,
    /// Violations, by property.
    pub violations: [AtomicU64; Property::ALL.len()],
    /// Set it to end the hunt soon. Several hunts may share it.
    pub stop: Arc<AtomicBool>,
}

/// Failures of one kind.
#[derive(Clone, Debug)]
pub struct Group {
    /// The property that is broken.
    pub property: Property,
    /// The label of the known defect that it comes from.
    pub defect: Option<&'static str>,
    /// How many seeds show it.
    pub count: u64,
    /// The first few of them.
    pub seeds: Vec<u64>,
}

impl Group {
    /// The first seed that shows it.
    pub fn first(&self) -> u64 {
        self.seeds.first().copied().unwrap_or_default()
    }
}

/// One failure, told and made small.
#[derive(Clone, Debug)]
pub struct Find {
    /// What it is.
    pub group: Group,
    /// The seed whose story is told: of the first few, the one with the shortest.
    pub seed: u64,
    /// After how many seeds it was found.
    pub after: u64,
    /// How many steps it had.
    pub steps: usize,
    /// The shrunk trace.
    pub trace: Trace,
    /// Its story.
    pub story: Story,
    /// The line that replays it.
    pub replay: String,
}

/// What a hunt came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The algorithm.
    pub algorithm: String,
    /// The first seed.
    pub from: u64,
    /// How many seeds were run.
    pub seeds: u64,
    /// How many events were applied.
    pub events: u64,
    /// How often somebody got the lock.
    pub acquisitions: u64,
    /// How long the runs were, in true time.
    pub simulated: Span,
    /// How long the hunt took.
    pub elapsed: Duration,
    /// The hash of all runs: the same for the same seeds, whatever the machine and the number of jobs.
    pub hash: u64,
    /// What went wrong in all runs.
    pub ledger: Ledger,
    /// The failures, grouped by property and defect.
    pub groups: Vec<Group>,
    /// One failure of each kind, told.
    pub finds: Vec<Find>,
    /// Known defects that were not found.
    pub missing: Vec<&'static str>,
    /// Whether it was ended before it was done.
    pub interrupted: bool,
}

impl Report {
    /// Whether nothing was broken.
    pub fn is_clean(&self) -> bool {
        self.groups.is_empty()
    }

    /// The finds that no known defect explains.
    pub fn unknown(&self) -> impl Iterator<Item = &Find> {
        self.finds.iter().filter(|find| find.group.defect.is_none())
    }

    /// The find of a known defect.
    pub fn find(&self, defect: &str) -> Option<&Find> {
        self.finds.iter().find(|find| find.group.defect == Some(defect))
    }

    /// For tests.
    ///
    /// # Panics
    ///
    /// If anything was broken: with the story of each failure and the line that replays it.
    #[track_caller]
    pub fn expect_clean(&self) {
        let stories: Vec<_> = self.finds.iter().map(report::plain_find).collect();
        assert!(self.is_clean(), "{} is broken\n\n{}", self.algorithm, stories.join("\n"));
    }
}

/// A property, and the known defect that broke it.
type Kind = (Property, Option<&'static str>);

#[derive(Default)]
struct Tally {
    seeds: u64,
    events: u64,
    acquisitions: u64,
    simulated: u64,
    hash: u64,
    ledger: Ledger,
    groups: BTreeMap<Kind, (u64, Vec<u64>)>,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.acquisitions += outcome.acquisitions;
        self.simulated += outcome.length.as_nanos();
        self.hash = self.hash.wrapping_add(Digest::of(&(seed, outcome.hash)));
        self.ledger.merge(&outcome.ledger);
    }

    fn hit(&mut self, property: Property, defect: Option<&'static str>, seed: u64) {
        let (count, seeds) = self.groups.entry((property, defect)).or_default();
        *count += 1;
        keep_lowest(seeds, seed);
    }

    fn merge(&mut self, other: Tally) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.acquisitions += other.acquisitions;
        self.simulated += other.simulated;
        self.hash = self.hash.wrapping_add(other.hash);
        self.ledger.merge(&other.ledger);
        for (kind, (count, seeds)) in other.groups {
            let (sum, lowest) = self.groups.entry(kind).or_default();
            *sum += count;
            seeds.into_iter().for_each(|seed| keep_lowest(lowest, seed));
        }
    }
}

/// Of each kind of failure, so many are shrunk, and the one that becomes shortest is told.
const TOLD_FROM: usize = 4;

fn keep_lowest(seeds: &mut Vec<u64>, seed: u64) {
    let at = seeds.partition_point(|&other| other < seed);
    seeds.insert(at, seed);
    seeds.truncate(TOLD_FROM);
}

/// Workers take so many seeds at a time.
const CHUNK: u64 = 32;
/// Each seed divisible by this is run twice, the second time in a simulator that has run nothing before.
const TWICE: u64 = 509;

impl Hunt<'_> {
    /// So many seeds.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.until = Until::Seeds(seeds);
        self
    }

    /// As many seeds as fit into this time.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.until = Until::Elapsed(time);
        self
    }

    /// From this seed on.
    pub fn from_seed(mut self, seed: u64) -> Self {
        self.from = seed;
        self
    }

    /// With so many instances.
    pub fn instances(mut self, instances: u32) -> Self {
        self.shape.instances = instances;
        self
    }

    /// With so long a storm in each run.
    pub fn storm(mut self, length: Span) -> Self {
        self.shape.storm = length;
        self
    }

    /// With these faults.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.shape.faults = faults;
        self
    }

    /// On so many threads. What is found does not depend on it.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// How the command line that replays a seed begins.
    pub fn command(mut self, command: &str) -> Self {
        command.clone_into(&mut self.command);
        self
    }

    /// Runs it.
    pub fn run(&self) -> Report {
        self.run_watched(&Watch::default())
    }

    /// Runs it, and lets somebody watch and stop it.
    pub fn run_watched(&self, watch: &Watch) -> Report {
        let start = Instant::now();
        let tally = self.sweep(watch, start);
        let groups: Vec<_> = tally
            .groups
            .iter()
            .map(|(&(property, defect), (count, seeds))| Group {
                property,
                defect,
                count: *count,
                seeds: seeds.clone(),
            })
            .collect();
        let finds = self.tell_all(self.representatives(&groups));
        let declared = self.algorithm.card().defects.iter().map(|defect| defect.label);
        let missing =
            declared.filter(|label| !groups.iter().any(|group| group.defect == Some(label))).collect();
        Report {
            algorithm: self.algorithm.card().name.clone(),
            from: self.from,
            seeds: tally.seeds,
            events: tally.events,
            acquisitions: tally.acquisitions,
            simulated: Span::from_nanos(tally.simulated),
            elapsed: start.elapsed(),
            hash: tally.hash,
            ledger: tally.ledger,
            groups,
            finds,
            missing,
            interrupted: watch.stop.load(Ordering::Relaxed),
        }
    }

    fn sweep(&self, watch: &Watch, start: Instant) -> Tally {
        let (next, total) = (AtomicU64::new(0), Mutex::new(Tally::default()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    let tally = self.work(&next, watch, start);
                    if let Ok(mut total) = total.lock() {
                        total.merge(tally);
                    }
                });
            }
        });
        total.into_inner().unwrap_or_default()
    }

    fn work(&self, next: &AtomicU64, watch: &Watch, start: Instant) -> Tally {
        let mut runner = self.algorithm.runner(&self.shape);
        let mut tally = Tally::default();
        loop {
            let first = next.fetch_add(CHUNK, Ordering::Relaxed);
            let last = match self.until {
                Until::Seeds(seeds) => seeds.min(first + CHUNK),
                Until::Elapsed(time) if start.elapsed() < time => first + CHUNK,
                Until::Elapsed(_) => first,
            };
            if first >= last || watch.stop.load(Ordering::Relaxed) {
                return tally;
            }
            for seed in first..last {
                if watch.stop.load(Ordering::Relaxed) {
                    return tally;
                }
                let seed = self.from.wrapping_add(seed);
                let outcome = runner.run(seed);
                self.judge(seed, &outcome, &mut tally, watch);
            }
        }
    }

    fn judge(&self, seed: u64, outcome: &Outcome, tally: &mut Tally, watch: &Watch) {
        tally.add(seed, outcome);
        for violation in &outcome.violations {
            tally.hit(violation.property, self.algorithm.card().label(violation), seed);
            watch.violations[violation.property as usize].fetch_add(1, Ordering::Relaxed);
        }
        let twice = seed == self.from || seed.is_multiple_of(TWICE);
        if twice && self.algorithm.runner(&self.shape).run(seed).hash != outcome.hash {
            tally.hit(Property::Determinism, None, seed);
            watch.violations[Property::Determinism as usize].fetch_add(1, Ordering::Relaxed);
        }
        watch.seeds.fetch_add(1, Ordering::Relaxed);
        watch.events.fetch_add(outcome.events, Ordering::Relaxed);
        watch.simulated.fetch_add(outcome.length.as_nanos(), Ordering::Relaxed);
    }

    /// One group for each known defect, by the property that tells its story best, and every unknown one.
    fn representatives(&self, groups: &[Group]) -> Vec<Group> {
        let defects = &self.algorithm.card().defects;
        let known = defects.iter().filter_map(|defect| {
            let all = groups.iter().filter(|group| group.defect == Some(defect.label));
            all.min_by_key(|group| defect.breaks.iter().position(|property| *property == group.property))
                .cloned()
        });
        let unknown = groups.iter().filter(|group| group.defect.is_none()).cloned();
        known.chain(unknown).collect()
    }

    /// Shrinks one failure of each kind, on all threads.
    fn tell_all(&self, groups: Vec<Group>) -> Vec<Find> {
        let (next, finds) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(groups.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                        let Some(group) = groups.get(index) else { return };
                        let find = self.tell(group.clone());
                        if let Ok(mut finds) = finds.lock() {
                            finds.insert(index, find);
                        }
                    }
                });
            }
        });
        finds.into_inner().unwrap_or_default().into_values().collect()
    }

    fn tell(&self, group: Group) -> Find {
        let shows = Shows { property: group.property, defect: group.defect.map(str::to_owned) };
        let shrunk = group.seeds.iter().map(|&seed| self.shrink(seed, &shows));
        let (seed, steps, trace) =
            shrunk.min_by_key(|(_, _, trace)| trace.steps.len()).expect("a group has a seed");
        let story = self.algorithm.replay(&trace).map(|replayed| replayed.story).unwrap_or_default();
        let after = group.first().wrapping_sub(self.from) + 1;
        Find { group, seed, after, steps, trace, story, replay: self.replay_line(seed) }
    }

    /// Records a seed and makes its trace small; the whole trace, if that fails.
    fn shrink(&self, seed: u64, shows: &Shows) -> (u64, usize, Trace) {
        let recorded = self.algorithm.record(&self.shape, seed);
        let steps = recorded.steps.len();
        let shrunk = self.algorithm.shrink(&recorded, shows, &|_| {}).ok().flatten();
        (seed, steps, shrunk.map_or(recorded, |shrunk| shrunk.trace))
    }

    fn replay_line(&self, seed: u64) -> String {
        let (name, usual) = (&self.algorithm.card().name, Shape::default());
        let mut line = format!("{} replay {name} --seed {seed}", self.command);
        if self.shape.instances != usual.instances {
            line += &format!(" --instances {}", self.shape.instances);
        }
        if self.shape.storm != usual.storm {
            line += &format!(" --hours {}", self.shape.storm.as_secs_f64() / 3_600.0);
        }
        if self.shape.faults != usual.faults {
            line += &format!(" --faults {}", self.shape.faults);
        }
        line
    }
}
