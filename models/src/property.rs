//! What must hold: written once, judged on every applied action, used by every scheduler.
//!
//! `docs/properties.md` states each property with its assumptions. The judging lives here as methods of the
//! [`World`], which calls them where something changed; nothing is searched for.

use std::fmt;

use fencepost::time::{Instant, Ppm, Span};
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::fault::{Fault, FaultSet};
use crate::store::{Mark, Simulated, Tag, Touch};
use crate::subject::{InstanceId, Knot, Play, Subject, Told};
use crate::world::{Bounds, FlightId, Instance, Stage, State, World};

/// A promise that an algorithm can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// No two instances believe at one moment that they hold.
    BelievedExclusion,
    /// A resource that refuses old tokens never accepts writes of two holders interleaved.
    FencedExclusion,
    /// Nobody takes a lock whose lease is still good.
    NoTheft,
    /// Only its own acquisition deletes a live entry.
    OwnerOnlyRelease,
    /// Only its own acquisition prolongs an entry.
    OwnerOnlyRenewal,
    /// A holder learns of its loss no later than its lease ends on its own clock.
    LossNoticed,
    /// What nobody wants any more is gone after its time to live.
    NoOrphan,
    /// A healthy holder keeps its lock, and one failed request does not cost it.
    Stability,
    /// After the last fault, everybody who waits gets in within a bound. Whoever would wait for ever is never turned
    /// away.
    Progress,
    /// Nobody waits for an entry of its own.
    Reconciliation,
    /// No lock is granted after its caller's deadline.
    Punctuality,
    /// No sequence of calls that the documentation allows crashes the process.
    NoPanic,
    /// First come, first served.
    Order,
    /// The same seed gives the same run.
    Determinism,
    /// No occurrence of a job begins more often than it may: once, or as often as it may be attempted.
    OncePerOccurrence,
    /// Whatever was accepted and is due begins.
    NoJobLost,
    /// No job begins before its time.
    NotEarly,
    /// Nobody is told of an older leader than before.
    TermsInOrder,
    /// Whoever has to give way to a newer request learns of it within a bound.
    PreemptionNoticed,
    /// Nobody holds for longer than it may, or than its grace once it was asked to yield; and nobody is put out before.
    BoundedHold,
    /// However many requests come, somebody gets in within a bound.
    NoStarvation,
    /// Once it has closed, nothing of it runs.
    NothingAfterClose,
    /// Work waits no longer than its writer's back-off says.
    Promptness,
}

impl Property {
    /// All of them, in the order of the design.
    pub const ALL: [Property; 23] = [
        Property::BelievedExclusion,
        Property::FencedExclusion,
        Property::NoTheft,
        Property::OwnerOnlyRelease,
        Property::OwnerOnlyRenewal,
        Property::LossNoticed,
        Property::NoOrphan,
        Property::Stability,
        Property::Progress,
        Property::Reconciliation,
        Property::Punctuality,
        Property::NoPanic,
        Property::Order,
        Property::Determinism,
        Property::OncePerOccurrence,
        Property::NoJobLost,
        Property::NotEarly,
        Property::TermsInOrder,
        Property::PreemptionNoticed,
        Property::BoundedHold,
        Property::NoStarvation,
        Property::NothingAfterClose,
        Property::Promptness,
    ];

    /// Those that locks promise beyond others in which newer requests win.
    pub const OF_PREEMPTION: [Property; 3] =
        [Property::PreemptionNoticed, Property::BoundedHold, Property::NoStarvation];

    /// Those that writers promise beyond what locks and jobs do.
    pub const OF_WRITERS: [Property; 2] = [Property::NothingAfterClose, Property::Promptness];

    /// Those that jobs promise beyond what locks do.
    pub const OF_JOBS: [Property; 3] = [Property::OncePerOccurrence, Property::NoJobLost, Property::NotEarly];

    /// Its name on the command line and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Property::BelievedExclusion => "believed-exclusion",
            Property::FencedExclusion => "fenced-exclusion",
            Property::NoTheft => "no-theft",
            Property::OwnerOnlyRelease => "owner-only-release",
            Property::OwnerOnlyRenewal => "owner-only-renewal",
            Property::LossNoticed => "loss-noticed",
            Property::NoOrphan => "no-orphan",
            Property::Stability => "stability",
            Property::Progress => "progress",
            Property::Reconciliation => "reconciliation",
            Property::Punctuality => "punctuality",
            Property::NoPanic => "no-panic",
            Property::Order => "order",
            Property::Determinism => "determinism",
            Property::OncePerOccurrence => "once-per-occurrence",
            Property::NoJobLost => "no-job-lost",
            Property::NotEarly => "not-early",
            Property::TermsInOrder => "terms-in-order",
            Property::PreemptionNoticed => "preemption-noticed",
            Property::BoundedHold => "bounded-hold",
            Property::NoStarvation => "no-starvation",
            Property::NothingAfterClose => "nothing-after-close",
            Property::Promptness => "promptness",
        }
    }

    /// What it says, in one line.
    pub const fn sentence(self) -> &'static str {
        match self {
            Property::BelievedExclusion => "no two instances believe at one moment that they hold the lock",
            Property::FencedExclusion => "the guarded resource never accepts two holders' writes interleaved",
            Property::NoTheft => "nobody takes a lock whose lease is still good",
            Property::OwnerOnlyRelease => "only the owner releases",
            Property::OwnerOnlyRenewal => "only the owner renews",
            Property::LossNoticed => "a holder learns of its loss before its lease ends on its own clock",
            Property::NoOrphan => "a lock that nobody wants any more is free after its time to live",
            Property::Stability => "a healthy holder keeps its lock; one failed request does not cost it",
            Property::Progress => {
                "after the last fault, everybody who waits gets in; nobody patient is turned away"
            }
            Property::Reconciliation => "nobody waits for an entry of its own",
            Property::Punctuality => "no lock is granted after its caller's deadline",
            Property::NoPanic => "no allowed sequence of calls crashes the process",
            Property::Order => "first come, first served",
            Property::Determinism => "the same seed gives the same run",
            Property::OncePerOccurrence => "no occurrence of a job begins more often than it may",
            Property::NoJobLost => "every job that was accepted and is due begins within a bound",
            Property::NotEarly => "no job begins before its time",
            Property::TermsInOrder => "nobody is told of a leader older than one it was told of before",
            Property::PreemptionNoticed => {
                "whoever has to give way to a newer request learns of it within a bound"
            }
            Property::BoundedHold => {
                "nobody holds beyond its limit, or beyond its grace once it was asked to yield"
            }
            Property::NoStarvation => "however many requests come, somebody gets in within a bound",
            Property::NothingAfterClose => "once a writer has closed, nothing of it runs",
            Property::Promptness => "work waits no longer than its writer's back-off says",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PropertySet(u32);

impl PropertySet {
    /// These.
    pub fn of(properties: &[Property]) -> PropertySet {
        PropertySet(properties.iter().fold(0, |set, &property| set | 1 << property as u32))
    }

    /// All of them.
    pub fn all() -> PropertySet {
        PropertySet::of(&Property::ALL)
    }

    /// What every lock should promise: all but order, which costs a request more, and what jobs promise, or leaders, or
    /// locks in which newer requests win.
    pub fn usual() -> PropertySet {
        PropertySet::all()
            .without(PropertySet::of(&[Property::Order, Property::TermsInOrder]))
            .without(PropertySet::of(&Property::OF_JOBS))
            .without(PropertySet::of(&Property::OF_PREEMPTION))
            .without(PropertySet::of(&Property::OF_WRITERS))
    }

    /// Whether it contains `property`.
    pub const fn has(self, property: Property) -> bool {
        self.0 & (1 << property as u32) != 0
    }

    /// Whether it contains one of `others`.
    pub const fn has_any(self, others: PropertySet) -> bool {
        self.0 & others.0 != 0
    }

    /// What is in either.
    pub const fn or(self, other: PropertySet) -> PropertySet {
        PropertySet(self.0 | other.0)
    }

    /// What is in this one only.
    pub const fn without(self, other: PropertySet) -> PropertySet {
        PropertySet(self.0 & !other.0)
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Property> {
        Property::ALL.into_iter().filter(move |property| self.has(*property))
    }
}

/// How long it may take to get into line. Three round trips: the head of the line, the lock, the place. An old place
/// of which nobody knows whether it is there takes a time-out and two more to be left.
pub(crate) fn joining<M: Subject>(config: &M::Config, bounds: &Bounds) -> Span {
    bounds.delay * 10 + bounds.slack * 2 + M::ttl(config).portion(Ppm::percent(25))
}

/// How an acquisition's entry in the store came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is there, it expired, or its owner deleted it.
    #[default]
    Natural,
    /// Another one deleted it while it was alive.
    Deleted,
    /// Another one wrote over it while it was alive.
    Overwritten,
    /// Another one renewed it, and so decided when it ends.
    Renewed,
}

/// The circumstances of a violation: what a known defect is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Facts {
    /// What had hit the culprit since its last clean renewal.
    pub culprit: FaultSet,
    /// What had hit the other one.
    pub other: FaultSet,
    /// How the culprit's own entry had ended.
    pub fate: Fate,
    /// The entry was stored for a shorter time than was promised.
    pub cut_short: bool,
    /// The entry never expires.
    pub immortal: bool,
    /// The run of the other one was not settled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// A run that had begun before the other one was settled after it began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overtaken: bool,
    /// Somebody has given up what is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// It had been asked to yield.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// The token of the culprit's write was lower than one before it, and the resource took it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old_token: bool,
    /// The culprit's caller had ended its part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// How a writer came to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What somebody waits for in vain, so that others do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knot: Option<Knot>,
}

/// How a writer came to break a promise, where the property alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The term of one who says that it leads has passed on its own clock.
    Lapsed,
    /// News of an older value came while a newer one was wanted.
    Overlaid,
    /// Nothing that would say who leads will ever come.
    Undecided,
    /// Other work was being done meanwhile, or its wait had been ended.
    HeldUp,
    /// A unit of it had panicked.
    Panicked,
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// When.
    pub at: Time,
    /// By which of the applied actions, counted from zero.
    pub action: u64,
    /// Who did what it must not, or is in a state in which it must not be.
    #[serde(with = "crate::trace::instance")]
    pub culprit: InstanceId,
    /// The other one concerned, if there is one.
    #[serde(with = "crate::trace::maybe_instance")]
    pub other: Option<InstanceId>,
    /// The circumstances.
    pub facts: Facts,
}

impl Violation {
    /// What happened, in words.
    pub fn sentence(&self) -> String {
        let culprit = self.culprit;
        let other = self.other.map_or_else(|| "another".to_owned(), |other| other.to_string());
        match self.property {
            Property::BelievedExclusion => format!("{other} and {culprit} both believe they hold the lock"),
            Property::FencedExclusion if self.facts.old_token => {
                format!("a write of {culprit} was accepted after one of {other}, whose token is newer")
            }
            Property::FencedExclusion => format!("writes of {culprit} and {other} bear the same token"),
            Property::NoTheft => format!("{culprit} took the lock while the lease of {other} was good"),
            Property::OwnerOnlyRelease => format!("{culprit} deleted the entry of {other}"),
            Property::OwnerOnlyRenewal => format!("{culprit} renewed the entry of {other}"),
            Property::LossNoticed => format!("{culprit} still believes after its lease has ended"),
            Property::NoOrphan => format!("the entry of {culprit} is still there, and nobody wants it"),
            Property::Stability => format!("{culprit} lost the lock without need"),
            Property::Progress => format!("{culprit} has waited in vain"),
            Property::Reconciliation => format!("{culprit} waits for its own entry"),
            Property::Punctuality => format!("{culprit} was granted the lock after its deadline"),
            Property::NoPanic => format!("{culprit} panicked"),
            Property::Order => format!("{culprit} was served before {other}, who had asked long before"),
            Property::Determinism => "the same seed gave another run".to_owned(),
            Property::OncePerOccurrence => match self.other {
                Some(other) => format!("{culprit} begins again what {other} has begun"),
                None => format!("{culprit} begins what has begun before"),
            },
            Property::NoJobLost => format!("a job that is due does not begin, though {culprit} is there"),
            Property::NotEarly => format!("{culprit} begins a job before its time"),
            Property::TermsInOrder => {
                format!("{culprit} is told of a leader older than one it was told of before")
            }
            Property::PreemptionNoticed => format!("{culprit} does not know that {other} is newer"),
            Property::BoundedHold if self.facts.asked => {
                format!("{culprit} was asked to yield, and holds on")
            }
            Property::BoundedHold => format!("{culprit} holds for longer or shorter than it may"),
            Property::NoStarvation => format!("{culprit} is turned away like all before, and nobody gets in"),
            Property::NothingAfterClose => format!("{culprit} has closed, and a unit of it runs"),
            Property::Promptness => format!("work of {culprit} has waited for longer than its back-off"),
        }
    }
}

/// Whether an operation of one acquisition may end or prolong an entry: its own, or an older one of its instance.
fn is_owner(by: Tag, mark: Mark) -> bool {
    by.instance == mark.by.instance && by.acquisition >= mark.by.acquisition
}

/// Whether what breaks the property is that something does not come.
fn is_waiting(property: Property) -> bool {
    matches!(property, Property::Progress | Property::NoJobLost)
}

/// The last holder that wrote to the guarded resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Fence {
    pub(crate) token: u64,
    pub(crate) writer: Option<(InstanceId, u32)>,
}

/// The violations of a run: the first of each property.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    broken: PropertySet,
    violations: Vec<Violation>,
}

impl Verdict {
    /// The first violation of each property, in the order of time.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What was broken.
    pub fn broken(&self) -> PropertySet {
        self.broken
    }

    pub(crate) fn clear(&mut self) {
        self.broken = PropertySet::default();
        self.violations.clear();
    }
}

impl<M: Subject> World<M> {
    pub(crate) fn violated(
        &mut self,
        property: Property,
        culprit: InstanceId,
        other: Option<InstanceId>,
        facts: Facts,
    ) {
        if !self.promises.has(property) || self.verdict.broken.has(property) {
            return;
        }
        self.verdict.broken.0 |= 1 << property as u32;
        let (at, action) = (self.now, self.applied.saturating_sub(1));
        let hits = |id: InstanceId| self.instances.get(id.index()).map_or(FaultSet::NONE, |one| one.hits(at));
        let facts = Facts {
            culprit: facts.culprit.or(hits(culprit)),
            other: facts.other.or(other.map_or(FaultSet::NONE, hits)),
            knot: self.knot_of(culprit, is_waiting(property)),
            asked: facts.asked || self.preemptions.is_asked(culprit),
            ..facts
        };
        let facts = if is_waiting(property) { self.with_set_clock(facts) } else { facts };
        self.verdict.violations.push(Violation { property, at, action, culprit, other, facts });
    }

    /// What `id` is entangled in; or, if it waits, anybody who works on the same.
    fn knot_of(&self, id: InstanceId, waits: bool) -> Option<Knot> {
        if M::PREEMPTS || !waits {
            let is_gone = |one: &Instance<M>| M::PREEMPTS && one.state == State::Down;
            let own = self.instances.get(id.index()).filter(|one| !is_gone(one));
            let own = own.and_then(|one| one.machine.knot());
            return own.or_else(|| self.knot_around(id).filter(|_| waits));
        }
        self.knot_around(id)
    }

    /// Nobody who waits remembers for how long the store's clock has been wrong.
    fn with_set_clock(&self, mut facts: Facts) -> Facts {
        if self.stores.iter().any(|store| store.was_set) {
            facts.other.add(Fault::StoreJump);
        }
        facts
    }

    /// What anybody is entangled in who works on the same as `id`.
    fn knot_around(&self, id: InstanceId) -> Option<Knot> {
        let resource = self.instances.get(id.index())?.resource;
        let peers = self.instances.iter().filter(|one| one.resource == resource && one.state != State::Down);
        peers.filter_map(|one| one.machine.knot()).next()
    }

    /// Whether believed exclusion can be asked for: not while clocks stand still or writes were lost.
    pub(crate) fn is_belief_judged(&self) -> bool {
        self.strict || self.now >= self.void_until
    }

    /// What an operation on the lock's entry says about theft, ownership, reconciliation and orphans.
    #[inline]
    pub(crate) fn judge_touch(&mut self, flight: FlightId, touch: Touch, to_lock: bool) {
        let (by, hits) = self.sender(flight);
        let facts = |world: &Self| Facts { culprit: hits, ..world.facts(by.instance) };
        match touch {
            Touch::None => {}
            Touch::Wrote(None) => self.note_new_entry(by.instance, to_lock),
            Touch::Wrote(Some(over)) => {
                if over.by != by && to_lock {
                    self.ended(over, Fate::Overwritten);
                    let facts = facts(self);
                    self.violated(Property::NoTheft, by.instance, Some(over.by.instance), facts);
                }
                self.note_new_entry(by.instance, to_lock);
            }
            Touch::Renewed(mark) if !is_owner(by, mark) => {
                let facts = facts(self);
                self.ended(mark, Fate::Renewed);
                self.violated(Property::OwnerOnlyRenewal, by.instance, Some(mark.by.instance), facts);
            }
            Touch::Deleted(mark) if !is_owner(by, mark) => {
                let facts = facts(self);
                self.ended(mark, Fate::Deleted);
                self.violated(Property::OwnerOnlyRelease, by.instance, Some(mark.by.instance), facts);
            }
            Touch::Refused(mark) if to_lock => self.judge_refusal(flight, mark),
            // Who was revoked will learn of it, and nobody has entered.
            Touch::Revoked(_) | Touch::Renewed(_) | Touch::Deleted(_) | Touch::Refused(_) => {}
        }
    }

    /// A new entry begins a new fate; is it stored for as long as it is promised?
    fn note_new_entry(&mut self, id: InstanceId, to_lock: bool) {
        if !to_lock {
            return;
        }
        let promised = M::ttl(&self.config);
        let now = self.stores[0].now(self.now);
        let instance = &mut self.instances[id.index()];
        let mark = M::Store::lock(&mut self.stores[0].shelves[instance.resource as usize]);
        let stored = mark.map_or(promised, |mark| mark.expires.since(now));
        (instance.fate, instance.cut_short) = (Fate::Natural, stored * 10 < promised * 9);
    }

    /// What is known about the acquisition of `id`.
    fn facts(&self, id: InstanceId) -> Facts {
        let instance = &self.instances[id.index()];
        Facts { fate: instance.fate, cut_short: instance.cut_short, ..Facts::default() }
    }

    /// The same; of leaders that share an entry, whoever it is said to be, each decides how long the other's lives.
    fn facts_of_rival(&self, id: InstanceId) -> Facts {
        let facts = self.facts(id);
        let is_shared = M::PLAY == Play::Lead && self.is_shared(id);
        Facts { fate: if is_shared { Fate::Renewed } else { facts.fate }, ..facts }
    }

    /// Whether another one has renewed the entry of whoever holds what `id` wants.
    fn is_shared(&self, id: InstanceId) -> bool {
        let resource = self.instances[id.index()].resource;
        self.lock_mark(resource).is_some_and(|mark| mark.renewed_by_another)
    }

    fn ended(&mut self, mark: Mark, fate: Fate) {
        let owner = &mut self.instances[mark.by.instance.index()];
        if owner.caller.acquisition == mark.by.acquisition {
            owner.fate = fate;
        }
    }

    /// A claim was refused: is what refused it an orphan, or the claimant's own?
    fn judge_refusal(&mut self, flight: FlightId, mark: Mark) {
        let (tag, sent, is_copy) = self.claim(flight);
        self.judge_orphan(mark, sent, Some(tag.instance));
        let grace = self.bounds.delay * 2 + self.bounds.slack;
        if tag != mark.by || is_copy {
            return;
        }
        let by = mark.by.instance;
        let owner = &self.instances[by.index()];
        let waits = owner.caller.stage == Stage::Waiting && owner.caller.acquisition == mark.by.acquisition;
        let undisturbed = owner.trouble == owner.trouble_at_notice && self.stores[0].resumed <= mark.noticed;
        if waits && mark.noticed != Time::MAX && sent > mark.noticed + grace && undisturbed {
            self.violated(Property::Reconciliation, by, None, Facts::default());
        }
    }

    /// Is an entry that nobody wants older than it may get, for somebody who asks at `asked`?
    pub(crate) fn judge_orphan(&mut self, mark: Mark, asked: Time, met_by: Option<InstanceId>) {
        if mark.abandoned == Time::MAX {
            return;
        }
        let since = mark.abandoned.max(mark.touched);
        if asked > since + M::ttl(&self.config) + self.bounds.orphan {
            let other = met_by.filter(|&id| id != mark.by.instance);
            let fate = if mark.renewed_by_another { Fate::Renewed } else { Fate::Natural };
            let facts = Facts { immortal: mark.expires.as_nanos() == u64::MAX, fate, ..Facts::default() };
            self.violated(Property::NoOrphan, mark.by.instance, other, facts);
        }
    }

    /// After a step of `id`: does it believe beside another one, or longer than its lease lasts?
    #[inline]
    pub(crate) fn judge_step(&mut self, id: InstanceId) {
        if self.watches_preemption() {
            self.judge_notice(id);
            self.judge_tenure(id);
        }
        let now = self.now;
        let instance = &mut self.instances[id.index()];
        let until = instance.machine.belief();
        if until.is_none() && !instance.believes && instance.caller.stage != Stage::Holding {
            return;
        }
        let mono = Instant::from_nanos(instance.clock.read(now));
        let believes = until.is_some_and(|until| mono < until);
        let overdue = mono > instance.lease_end + self.bounds.slack;
        if overdue && instance.caller.stage == Stage::Holding && instance.state == State::Up {
            let cause = self.cause_of_belief([id, id]);
            self.violated(Property::LossNoticed, id, None, Facts { cause, ..Facts::default() });
        }
        let instance = &mut self.instances[id.index()];
        if !believes && !instance.believes {
            return;
        }
        let newly = believes && !instance.believes;
        instance.believes = believes;
        let resource = self.guarded_by(id);
        if newly {
            self.believers[resource].push(id);
            self.forget_notice(id);
        } else if !believes {
            self.believers[resource].retain(|&other| other != id);
        }
        if believes && self.believers[resource].len() > 1 {
            self.judge_rivals(id, resource);
        }
    }

    /// Whoever holds does not wait for its own entry any more. A job holds and waits in turn in one acquisition.
    fn forget_notice(&mut self, id: InstanceId) {
        let resource = self.instances[id.index()].resource as usize;
        if M::PLAY != Play::Lock
            && let Some(mark) = M::Store::lock(&mut self.stores[0].shelves[resource])
            && mark.by.instance == id
        {
            mark.noticed = Time::MAX;
        }
    }

    fn judge_rivals(&mut self, id: InstanceId, resource: usize) {
        let mut at = 0;
        while let Some(&rival) = self.believers[resource].get(at) {
            if rival != id && !self.still_believes(rival) {
                self.instances[rival.index()].believes = false;
                self.believers[resource].remove(at);
                continue;
            }
            if rival != id && self.is_belief_judged() {
                let (stale, other) = self.tell_stale(rival, id);
                let ended = self.instances[stale.index()].caller.stage == Stage::Idle;
                let cause = self.cause_of_belief([rival, id]);
                let facts = Facts { ended, cause, ..self.facts_of_rival(stale) };
                self.violated(Property::BelievedExclusion, stale, Some(other), facts);
            }
            at += 1;
        }
    }

    /// Of two who believe, the one whose entry is not there comes first.
    fn tell_stale(&self, one: InstanceId, two: InstanceId) -> (InstanceId, InstanceId) {
        let resource = self.instances[one.index()].resource;
        let holder = self.living_mark(resource).map(|mark| mark.by.instance);
        if holder == Some(one) { (two, one) } else { (one, two) }
    }

    fn still_believes(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id.index()];
        let mono = Instant::from_nanos(instance.clock.read(self.now));
        instance.state != State::Down && instance.machine.belief().is_some_and(|until| mono < until)
    }

    /// What a caller was told: may it be told that, now?
    pub(crate) fn judge_told(&mut self, id: InstanceId, told: Told) {
        let now = self.now;
        let slack = self.bounds.slack;
        let instance = &self.instances[id.index()];
        match told {
            Told::Acquired(_) => {
                let mono = Instant::from_nanos(instance.clock.read(now));
                // Nobody who has stopped waiting may be granted the lock, and nobody too late.
                let waits = instance.caller.stage == Stage::Waiting;
                if !waits || mono > instance.caller.deadline + slack {
                    self.violated(Property::Punctuality, id, None, Facts::default());
                }
                self.judge_order(id);
            }
            Told::Lost | Told::Interrupted if self.is_closing(id) => {}
            Told::Lost | Told::Interrupted => {
                if instance.trouble <= 1 && self.is_belief_judged() && !self.is_revoked_unheard(id) {
                    let fate = if self.is_shared(id) { Fate::Renewed } else { Fate::Natural };
                    self.violated(Property::Stability, id, None, Facts { fate, ..Facts::default() });
                }
            }
            Told::Panicked => self.violated(Property::NoPanic, id, None, Facts::default()),
            Told::Denied => {
                if instance.caller.stage == Stage::Waiting && instance.caller.patient {
                    self.violated(Property::Progress, id, None, Facts::default());
                }
            }
            Told::Released
            | Told::Extended
            | Told::Asked
            | Told::Preempted
            | Told::Ousted
            | Told::Rejected
            | Told::Began(_)
            | Told::Ended
            | Told::Closed
            | Told::Accepted(..)
            | Told::Declined(_)
            | Told::GaveUp(_)
            | Told::Leads(_)
            | Told::Petitioned
            | Told::Answered
            | Told::Writer(_) => {}
        }
        match M::PLAY {
            Play::Lock => {}
            Play::Lead => self.note_told_of_leaders(id, told),
            Play::Job | Play::Once | Play::Write => self.note_told(id, told),
        }
        if self.watches_preemption() {
            self.judge_preemption(id, told);
        }
    }

    /// Was somebody served out of turn? Whoever was hit by a fault may have lost its place, or seen a wrong queue.
    fn judge_order(&mut self, id: InstanceId) {
        let served = &self.instances[id.index()];
        if !self.promises.has(Property::Order) || served.trouble > 0 || served.caller.stage != Stage::Waiting
        {
            return;
        }
        let joining = joining::<M>(&self.config, &self.bounds);
        let overtaken = |other: &Instance<M>| {
            other.resource == served.resource
                && (other.state, other.caller.stage, other.trouble) == (State::Up, Stage::Waiting, 0)
                && other.caller.asked + joining < served.caller.asked
        };
        if let Some(other) = self.instances.iter().position(overtaken) {
            self.violated(Property::Order, id, Some(InstanceId(other as u32)), Facts::default());
        }
    }

    /// A write with the caller's token reaches the guarded resource.
    pub(crate) fn judge_write(&mut self, id: InstanceId, resource: usize, token: u64, acquisition: u32) {
        let fence = &mut self.fences[resource];
        if token < fence.token {
            return self.judge_old_write(id, resource);
        }
        let before = std::mem::replace(fence, Fence { token, writer: Some((id, acquisition)) });
        if let Some((other, its_acquisition)) = before.writer
            && before.token == token
            && (other, its_acquisition) != (id, acquisition)
        {
            self.violated(Property::FencedExclusion, id, Some(other), Facts::default());
        }
    }

    /// A write arrives whose token is lower than one before it. A resource that is as it should be refuses it.
    fn judge_old_write(&mut self, id: InstanceId, resource: usize) {
        if !M::is_fenced(&self.config) {
            let newer = self.fences[resource].writer.map(|(newer, _)| newer);
            self.violated(
                Property::FencedExclusion,
                id,
                newer,
                Facts { old_token: true, ..Facts::default() },
            );
        }
    }

    /// Who holds, as far as its caller knows, though its lease has ended on its own clock, and is not about to wake?
    pub(crate) fn judge_losses(&mut self) {
        for index in 0..self.instances.len() {
            let (id, instance) = (InstanceId(index as u32), &self.instances[index]);
            let mono = Instant::from_nanos(instance.clock.read(self.now));
            let overdue = mono > instance.lease_end + self.bounds.slack && self.wake_at(id) > self.now;
            if overdue && instance.caller.stage == Stage::Holding && instance.state == State::Up {
                let cause = self.cause_of_belief([id, id]);
                self.violated(Property::LossNoticed, id, None, Facts { cause, ..Facts::default() });
            }
        }
    }

    /// The run is over: who still waits, what is still there, who was never told?
    pub(crate) fn judge_end(&mut self) {
        self.judge_losses();
        let watched = if self.watches_preemption() { self.instances.len() } else { 0 };
        for id in (0..watched as u32).map(InstanceId) {
            self.judge_notice(id);
            self.judge_tenure(id);
        }
        for index in 0..self.instances.len() {
            let id = InstanceId(index as u32);
            let instance = &self.instances[index];
            // Whoever takes part in jobs waits for what is due, and may do so for long.
            let waits = match instance.caller.stage {
                Stage::Waiting => M::PLAY == Play::Lock,
                Stage::Leaving => true,
                Stage::Idle | Stage::Holding => false,
            };
            if !waits || instance.state != State::Up {
                continue;
            }
            let since = instance.caller.asked.max(self.healed);
            if self.healed != Time::MAX && self.now > since + self.bounds.progress {
                let mark = self.lock_mark(self.instances[index].resource);
                let owner = mark.map(|mark| mark.by.instance).filter(|owner| *owner != id);
                let immortal = mark.is_some_and(|mark| mark.expires.as_nanos() == u64::MAX);
                self.violated(Property::Progress, id, owner, Facts { immortal, ..Facts::default() });
            }
        }
        self.judge_jobs();
        self.judge_leaders();
        for store in 0..self.stores.len() {
            let now = self.stores[store].now(self.now);
            for resource in 0..self.stores[store].shelves.len() {
                let mark = M::Store::lock(&mut self.stores[store].shelves[resource]).copied();
                if let Some(mark) = mark.filter(|mark| mark.expires > now) {
                    self.judge_orphan(mark, self.now, None);
                }
            }
        }
    }

    /// For so long after a breach of the assumptions, believed exclusion is not promised.
    pub(crate) fn void_for(&mut self, span: Span) {
        self.void_until = self.void_until.max(self.now + span);
    }
}
