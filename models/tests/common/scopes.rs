//! Scopes of every shape, for each algorithm.

use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::flag::{FlagConfig, FlagTerms};
use fencepost::job::{JobConfig, JobTerms, Misfire, Overlap};
use fencepost::lease::{LeaseConfig, Protection};
use fencepost::locker::{LockerConfig, LockerProtection, LockerTerms};
use fencepost::mutex::{Fairness, MutexConfig, MutexTerms};
use fencepost::once::{self, Delivery, OnceConfig, OnceTerms};
use fencepost::time::{Ppm, Span};
use fencepost::writer::{Arbiter, Backoff, WriterConfig, WriterTerms};
use fencepost_models::checker::{Budget, Scope, Spend};
use fencepost_models::property::{Property, PropertySet};
use fencepost_models::upstream::acyl_fake_locker::FakeConfig;
use fencepost_models::upstream::acyl_locker::AcylConfig;
use fencepost_models::upstream::calls_mutex::CallsConfig;
use fencepost_models::upstream::openshift_writerlease::WriterleaseConfig;
use fencepost_models::upstream::plugin_api_mutex::PluginApiConfig;
use fencepost_models::world::{Bounds, Setup};
use proptest::prelude::*;

const SECOND: Span = Span::from_secs(1);

/// A tick, two, and then a term.
const WAITS: Backoff = Backoff { first: Duration::from_secs(1), factor: 2, steps: 1, jitter: Ppm::ZERO };

/// A scope in ticks, before an algorithm gives it a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) instances: u32,
    /// A time to live, in ticks.
    pub(crate) ttl: u64,
    /// A message takes so many ticks at most.
    pub(crate) delay: u64,
    pub(crate) hints: bool,
    pub(crate) merges_hints: bool,
    /// Whether believed exclusion is judged whatever clocks do.
    pub(crate) strict: bool,
    pub(crate) budget: Budget,
    /// For how many ticks in a time to live the assumptions allow a clock to be wrong.
    pub(crate) drift: u64,
    /// How many ticks too early the assumptions allow an entry to expire.
    pub(crate) early: u64,
    pub(crate) judged: PropertySet,
    pub(crate) keeps_facts: bool,
    pub(crate) symmetry: bool,
}

impl Shape {
    /// So many instances, a time to live of so many ticks, messages that take one tick, and nothing that goes wrong.
    pub(crate) fn plain(instances: u32, ttl: u64) -> Shape {
        Shape {
            instances,
            ttl,
            delay: 1,
            hints: false,
            merges_hints: true,
            strict: false,
            budget: Budget::NONE,
            drift: 0,
            early: 0,
            judged: PropertySet::usual(),
            keeps_facts: false,
            symmetry: true,
        }
    }

    pub(crate) fn with(self, what: Spend, times: u8) -> Shape {
        Shape { budget: self.budget.with(what, times), ..self }
    }

    fn scope<C>(&self, config: C, tick: Span) -> Scope<C> {
        let bounds = Bounds {
            delay: tick * self.delay,
            slack: tick.minus(Span::from_nanos(1)),
            call: tick * (2 * self.delay).max(1),
            orphan: tick * (self.drift + u64::from(self.budget.left(Spend::Grain) > 0)),
            progress: tick * 1_000,
        };
        let Shape { instances, hints, merges_hints, strict, .. } = *self;
        let setup = Setup {
            config,
            instances,
            resources: 1,
            jobs: 0,
            stores: 1,
            hints,
            merges_hints,
            bounds,
            strict,
        };
        let Shape { budget, judged, keeps_facts, symmetry, .. } = *self;
        Scope { setup, tick, budget, judged, keeps_facts, symmetry, reduction: false, at_once: false }
    }

    /// For the mutex, if it accepts such a configuration.
    pub(crate) fn of_mutex(
        &self,
        fairness: Fairness,
        ablated: Option<Protection>,
    ) -> Option<Scope<MutexTerms>> {
        let spare = self.ttl.checked_sub(1 + self.drift + self.early).filter(|&spare| spare > 0)?;
        let timeout = Duration::from_secs(2 * self.delay + 1);
        let lease = LeaseConfig {
            ttl: Duration::from_secs(self.ttl),
            refresh_interval: Duration::from_secs(1),
            jitter: Ppm(0),
            renew_timeout: timeout.min(Duration::from_secs(spare) - Duration::from_nanos(1)),
            drift: Ppm((self.drift * 1_000_000 / self.ttl) as u32),
            delay_bound: Duration::from_secs(self.early),
            ablated,
        };
        let poll_interval = Duration::from_secs(1);
        let config =
            MutexConfig { lease, poll_interval, fairness, lock_delay: Duration::ZERO, metrics_group: None };
        Some(self.scope(config.terms().ok()?, SECOND))
    }

    /// For the mutex without order, which accepts the configuration.
    pub(crate) fn of_plain_mutex(&self) -> Scope<MutexTerms> {
        self.of_mutex(Fairness::Unordered, None).expect("the configuration is sound")
    }

    /// For the locker, with lengths of so many ticks, if its mutex accepts such a configuration; what takes no tick is
    /// switched off.
    pub(crate) fn of_locker(
        &self,
        lengths: Lengths,
        ablated: Option<LockerProtection>,
    ) -> Option<Scope<LockerTerms>> {
        let ticks = |ticks: u64| (ticks > 0).then_some(Duration::from_secs(ticks));
        let config = LockerConfig {
            mutex: self.of_mutex(Fairness::Unordered, None)?.setup.config.config().clone(),
            lock_timeout: ticks(lengths.timeout),
            max_lock_duration: ticks(lengths.limit),
            preemption_timeout: ticks(lengths.grace),
            lock_delay: ticks(lengths.delay),
            storm_bound: ticks(lengths.storm),
            ablated,
        };
        Some(Shape::without_requests(self.scope(config.terms().ok()?, SECOND)))
    }

    /// Who watches newer requests remembers how long ago things were, of which a normal form knows nothing.
    fn without_requests<C>(scope: Scope<C>) -> Scope<C> {
        let judged = scope.judged.without(PropertySet::of(&Property::OF_PREEMPTION));
        Scope { judged, ..scope }
    }

    /// For the recurring job, on an interval of so many ticks, if its mutex accepts such a configuration.
    pub(crate) fn of_job(&self, interval: u64, policies: Policies) -> Option<Scope<JobTerms>> {
        let mutex = self.of_mutex(Fairness::Unordered, None)?.setup.config.config().clone();
        let config = JobConfig {
            misfire: policies.misfire,
            grace: Duration::from_secs(policies.grace),
            overlap: policies.overlap,
            look_interval: Duration::from_secs(policies.look),
            mutex,
            ..JobConfig::new(Schedule::Interval(SECOND * interval))
        };
        let scope = self.scope(config.terms().ok()?, SECOND);
        let judged = scope.judged.or(PropertySet::of(&[Property::OncePerOccurrence]));
        Some(Scope { setup: Setup { jobs: 1, ..scope.setup }, judged, ..scope })
    }

    /// For jobs that run once, one or two of them, if their mutex accepts such a configuration.
    pub(crate) fn of_once(&self, jobs: u32, policies: OncePolicies) -> Option<Scope<OnceTerms>> {
        let mutex = self.of_mutex(Fairness::Unordered, None)?.setup.config.config().clone();
        let backoff = once::Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(2) };
        let delivery = match policies.attempts {
            0 => Delivery::AtMostOnce,
            attempts => Delivery::AtLeastOnce { attempts, backoff },
        };
        let config = OnceConfig {
            slots: 1,
            page: policies.page,
            refresh_interval: Duration::from_secs(policies.refresh),
            retention: Duration::from_secs(policies.retention),
            mutex,
            ..OnceConfig::new(delivery)
        };
        let scope = self.scope(config.terms().ok()?, SECOND);
        let of_jobs = [Property::OncePerOccurrence, Property::NoJobLost, Property::NotEarly];
        let judged = scope.judged.or(PropertySet::of(&of_jobs));
        Some(Scope { setup: Setup { jobs, ..scope.setup }, judged, ..scope })
    }

    /// For the flag, with a check every so many ticks, if its mutex accepts such a configuration.
    pub(crate) fn of_flag(&self, check: u64) -> Option<Scope<FlagTerms>> {
        let lease = self.of_mutex(Fairness::Unordered, None)?.setup.config.config().lease.clone();
        let config = FlagConfig {
            interval: lease.ttl,
            check_interval: Duration::from_secs(check),
            timeout: lease.renew_timeout,
            jitter: lease.jitter,
            drift: lease.drift,
            delay_bound: lease.delay_bound,
            ..FlagConfig::new("flag", "process")
        };
        let scope = self.scope(config.terms().ok()?, SECOND);
        let judged = scope.judged.or(PropertySet::of(&[Property::TermsInOrder]));
        Some(Scope { judged, ..scope })
    }

    /// For a writer of one object, under a lock or not, if its mutex accepts such a configuration.
    pub(crate) fn of_writer(&self, term: u64, locked: bool) -> Option<Scope<WriterTerms>> {
        let mutex = self.of_mutex(Fairness::Unordered, None)?.setup.config.config().clone();
        let config = WriterConfig {
            term: Duration::from_secs(term),
            retry_interval: Duration::from_secs(1),
            backoff: WAITS,
            slots: 1,
            arbiter: if locked { Arbiter::Lock(mutex) } else { Arbiter::Work },
            ..WriterConfig::default()
        };
        Some(Shape::writing(self.scope(config.terms().ok()?, SECOND)))
    }

    /// For the writer lease of OpenShift's router.
    pub(crate) fn of_writerlease(&self, lease: u64) -> Scope<WriterleaseConfig> {
        let (lease, retry_interval) = (SECOND * lease, SECOND);
        Shape::writing(self.scope(WriterleaseConfig { lease, retry_interval, backoff: WAITS }, SECOND))
    }

    fn writing<C>(scope: Scope<C>) -> Scope<C> {
        let of_writers = [Property::NoJobLost, Property::NothingAfterClose, Property::LossNoticed];
        let judged = scope.judged.or(PropertySet::of(&of_writers));
        Scope { setup: Setup { jobs: 1, ..scope.setup }, judged, ..scope }
    }

    /// For the plugin API's mutex, refreshed every so many seconds.
    pub(crate) fn of_plugin_api(&self, refresh: u64) -> Scope<PluginApiConfig> {
        let config = PluginApiConfig {
            ttl_secs: self.ttl,
            refresh_interval: Span::from_secs(refresh),
            poll_interval: SECOND,
            retry_min: SECOND,
            retry_max: SECOND * 2,
            jitter: Span::ZERO,
        };
        self.scope(config, SECOND)
    }

    /// For the Calls mutex. With ticks shorter than a second its keys live shorter than it says, or for ever.
    pub(crate) fn of_calls(&self, refresh: u64, tick: Span) -> Scope<CallsConfig> {
        let (ttl, refresh_interval) = (tick * self.ttl, tick * refresh);
        self.scope(CallsConfig { ttl, refresh_interval, poll_interval: tick }, tick)
    }
}

/// What a job does about what it missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policies {
    pub(crate) misfire: Misfire,
    pub(crate) overlap: Overlap,
    /// In ticks.
    pub(crate) grace: u64,
    /// In ticks.
    pub(crate) look: u64,
}

prop_compose! {
    fn some_policies()(
        misfire in prop::sample::select(vec![Misfire::Skip, Misfire::RunOnce]),
        overlap in prop::sample::select(vec![Overlap::Skip, Overlap::BufferOne]),
        grace in 0..=2u64,
        look in 1..=3u64,
    ) -> Policies {
        Policies { misfire, overlap, grace, look }
    }
}

pub(crate) fn a_job_scope() -> impl Strategy<Value = Scope<JobTerms>> {
    (a_shape(), 1..=3u64, some_policies())
        .prop_filter_map("the mutex would refuse it", |(shape, interval, policies)| {
            shape.of_job(interval, policies)
        })
}

/// How jobs that run once are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OncePolicies {
    /// At most once, if there are none.
    pub(crate) attempts: u32,
    pub(crate) page: u32,
    /// In ticks.
    pub(crate) refresh: u64,
    /// In ticks.
    pub(crate) retention: u64,
}

prop_compose! {
    fn some_once_policies()(
        attempts in 0..=3u32,
        page in 1..=3u32,
        refresh in 1..=3u64,
        retention in 1..=3u64,
    ) -> OncePolicies {
        OncePolicies { attempts, page, refresh, retention }
    }
}

/// Nobody stands still: an answer that waits for somebody who does is taken for one that is a time to live old.
pub(crate) fn a_once_scope() -> impl Strategy<Value = Scope<OnceTerms>> {
    let asks = (1..=3u8, 0..=1u8, 0..=1u8);
    (a_shape(), 1..=2u32, some_once_policies(), asks).prop_filter_map(
        "the mutex would refuse it",
        |(shape, jobs, policies, (schedules, reschedules, withdrawals))| {
            let budget = [
                (Spend::Schedule, schedules),
                (Spend::Reschedule, reschedules),
                (Spend::Withdraw, withdrawals),
                (Spend::Pause, 0),
                (Spend::Suspend, 0),
            ];
            let shape = budget.into_iter().fold(shape, |shape, (what, times)| shape.with(what, times));
            shape.of_once(jobs, policies)
        },
    )
}

pub(crate) fn a_flag_scope() -> impl Strategy<Value = Scope<FlagTerms>> {
    (a_shape(), 1..=2u64).prop_filter_map("the mutex would refuse it", |(shape, check)| shape.of_flag(check))
}

/// The lengths of a locker, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    timeout: u64,
    limit: u64,
    grace: u64,
    delay: u64,
    storm: u64,
}

prop_compose! {
    fn some_lengths()(
        timeout in prop::sample::select(vec![0, 0, 2, 4]),
        limit in prop::sample::select(vec![0, 0, 2, 4]),
        grace in 0..=2u64,
        delay in 0..=2u64,
        storm in prop::sample::select(vec![0, 0, 2, 4]),
    ) -> Lengths {
        Lengths { timeout, limit, grace, delay, storm }
    }
}

/// Scopes for the locker, mostly with every protection.
pub(crate) fn a_locker_scope() -> impl Strategy<Value = Scope<LockerTerms>> {
    let one = prop::sample::select(vec![
        LockerProtection::RevokeBeforeEntry,
        LockerProtection::RecordedRequest,
        LockerProtection::ListenBeforeClaim,
        LockerProtection::WaiterLooks,
        LockerProtection::StormBound,
        LockerProtection::OwnLimit,
    ]);
    let ablated = prop_oneof![2 => Just(None), 1 => one.prop_map(Some)];
    (a_shape(), some_lengths(), ablated)
        .prop_filter_map("the mutex would refuse it", |(shape, lengths, ablated)| {
            shape.of_locker(lengths, ablated)
        })
}

/// Scopes for a writer.
pub(crate) fn a_writer_scope() -> impl Strategy<Value = Scope<WriterTerms>> {
    (a_shape(), 1..=3u64, any::<bool>())
        .prop_filter_map("the mutex would refuse it", |(shape, term, locked)| shape.of_writer(term, locked))
}

/// Scopes for the writer lease of OpenShift's router.
pub(crate) fn a_writerlease_scope() -> impl Strategy<Value = Scope<WriterleaseConfig>> {
    (a_shape(), 1..=3u64).prop_map(|(shape, lease)| shape.of_writerlease(lease))
}

/// A little of much, or more of two things, which then meet more often.
fn a_budget() -> impl Strategy<Value = Budget> {
    let often = prop::sample::select(vec![0, 0, 0, 1, 1, 2, 3]);
    let much = prop::collection::vec(often, Spend::ALL.len()).prop_map(|amounts| {
        let of = |budget: Budget, (what, often)| budget.with(what, often);
        Spend::ALL.into_iter().zip(amounts).fold(Budget::NONE, of)
    });
    let two = prop::sample::subsequence(Spend::ALL.to_vec(), 2);
    let two = (two, 1..=4u8, 1..=4u8).prop_map(|(two, one, other)| {
        // Only the dead can rejoin.
        let crashes = if two.contains(&Spend::Rejoin) { other } else { 0 };
        Budget::NONE.with(Spend::Crash, crashes).with(two[0], one).with(two[1], other)
    });
    prop_oneof![much, two]
}

fn some_properties() -> impl Strategy<Value = PropertySet> {
    let few = prop::sample::subsequence(Property::ALL.to_vec(), 0..=Property::ALL.len());
    let order = PropertySet::of(&[Property::Order]);
    let troubles = PropertySet::of(&[Property::Stability, Property::Reconciliation]);
    prop_oneof![
        4 => Just(PropertySet::usual()),
        2 => Just(PropertySet::usual().or(order)),
        2 => Just(PropertySet::usual().without(troubles)),
        4 => few.prop_map(|few| PropertySet::of(&few)),
    ]
}

prop_compose! {
    /// A scope of any shape.
    pub(crate) fn a_shape()(
        instances in 1..=3u32,
        ttl in 3..=5u64,
        delay in 0..=2u64,
        hints in any::<bool>(),
        merges_hints in any::<bool>(),
        strict in any::<bool>(),
        budget in a_budget(),
        drift in prop::sample::select(vec![0, 0, 1]),
        early in prop::sample::select(vec![0, 0, 1]),
        judged in some_properties(),
        keeps_facts in any::<bool>(),
        symmetry in any::<bool>(),
    ) -> Shape {
        Shape {
            instances, ttl, delay, hints, merges_hints, strict, budget, drift, early, judged, keeps_facts, symmetry,
        }
    }
}

/// Mostly nothing.
pub(crate) fn an_ablation() -> impl Strategy<Value = Option<Protection>> {
    let one = prop::sample::select(vec![
        Protection::Identity,
        Protection::CompareOnRelease,
        Protection::DeadlineFromSend,
        Protection::RetryInsideTtl,
        Protection::Reconciliation,
        Protection::DriftMargin,
    ]);
    prop_oneof![2 => Just(None), 1 => one.prop_map(Some)]
}

/// Scopes for the mutex.
pub(crate) fn a_mutex_scope() -> impl Strategy<Value = Scope<MutexTerms>> {
    let fairness = prop::sample::select(vec![Fairness::Unordered, Fairness::Fifo]);
    (a_shape(), fairness, an_ablation())
        .prop_filter_map("it is refused", |(shape, fairness, ablated)| shape.of_mutex(fairness, ablated))
}

/// Scopes for the plugin API's mutex.
pub(crate) fn a_plugin_api_scope() -> impl Strategy<Value = Scope<PluginApiConfig>> {
    (a_shape(), 1..=3u64).prop_map(|(shape, refresh)| shape.of_plugin_api(refresh))
}

prop_compose! {
    /// The lengths of acyl's lockers, in ticks, and whether callers receive while they hold.
    fn some_acyl_lengths()(
        lock_timeout in 2..=4u64,
        limit in prop::sample::select(vec![0, 0, 3, 5]),
        preemption in 1..=2u64,
        delay in 1..=2u64,
        poll in 1..=2u64,
        attentive in any::<bool>(),
        room in prop::sample::select(vec![4, 6, 12]),
    ) -> AcylConfig {
        AcylConfig {
            lock_timeout: SECOND * lock_timeout,
            max_lock_duration: if limit > 0 { SECOND * limit } else { Span::MAX },
            preemption_timeout: SECOND * preemption,
            lock_delay: SECOND * delay,
            attentive,
            ping_interval: SECOND,
            unlock_timeout: SECOND,
            reconnect: SECOND,
            session_timeout: SECOND * 3,
            room,
            poll: SECOND * poll,
            pause: SECOND,
        }
    }
}

/// Scopes for acyl's locker. What only newer requests are asked about is simulated only.
pub(crate) fn an_acyl_scope() -> impl Strategy<Value = Scope<AcylConfig>> {
    (a_shape(), some_acyl_lengths()).prop_map(|(shape, config)| {
        let scope = shape.scope(AcylConfig { session_timeout: SECOND * shape.ttl, ..config }, SECOND);
        Shape::without_requests(scope)
    })
}

/// Scopes for its fake.
pub(crate) fn a_fake_scope() -> impl Strategy<Value = Scope<FakeConfig>> {
    (a_shape(), some_acyl_lengths()).prop_map(|(shape, config)| {
        let AcylConfig { lock_timeout, preemption_timeout, lock_delay, poll, .. } = config;
        let max_lock_duration = SECOND * (shape.ttl + 2);
        let config = FakeConfig { lock_timeout, max_lock_duration, preemption_timeout, lock_delay, poll };
        Shape::without_requests(shape.scope(config, SECOND))
    })
}

/// Scopes for the Calls mutex.
pub(crate) fn a_calls_scope() -> impl Strategy<Value = Scope<CallsConfig>> {
    let tick = prop::sample::select(vec![1_000, 500, 250]).prop_map(Span::from_millis);
    (a_shape(), 1..=2u64, tick).prop_map(|(shape, refresh, tick)| shape.of_calls(refresh, tick))
}
