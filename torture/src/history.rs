//! A journal becomes traces: one of what was locked, one of the jobs of each scheduler. The monitors of the models judge
//! them, as they judge every other run.

use std::time::Duration;

use fencepost::time::{Draw, Span};
use fencepost_models::clock::Time;
use fencepost_models::property::{Property, PropertySet};
use fencepost_models::recorded::{History, Jobs, Kind, Line, Locks, Recorded, Said};
use fencepost_models::subject::{Ask, InstanceId, JobId};
use fencepost_models::trace::{self, Deed, Divergence, FORMAT, Header, Message, Step, Trace, ending};
use fencepost_models::world::{Bounds, LegKind, Service, Setup, World};

use crate::journal::{Entry, Happened};
use crate::plan::{Fault, Hit, Plan};
use crate::words::{ATTEMPTS, Delivery, Moment, What};

/// How long an entry that nobody wants may outlive its time to live.
pub(crate) const ORPHAN_MAX: Duration = Duration::from_secs(2);

/// How long a write takes at most, unless somebody stood still meanwhile.
const WRITE_MAX: Duration = Duration::from_millis(250);

/// How long after the end of its lease a process that runs says that it holds no more: no operating system promises when
/// a process runs. Nothing but the saying may be late; what the handle answers is exact.
const NOTICE_MAX: Duration = Duration::from_secs(1);

/// What two clocks of a host may differ by in a short time; six times this, and a job is early.
const EARLY: Duration = Duration::from_millis(5);

/// Within what time everybody gets in, and every job that is due begins, once nothing is done to anybody any more.
pub(crate) fn progress_max(ttl: Duration) -> Duration {
    ttl * 4 + Duration::from_secs(10)
}

/// Which part of a journal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Locks,
    Jobs(Delivery),
}

impl Part {
    pub(crate) const ALL: [Part; 3] =
        [Part::Locks, Part::Jobs(Delivery::AtLeastOnce), Part::Jobs(Delivery::AtMostOnce)];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Part::Locks => "locks",
            Part::Jobs(delivery) => delivery.name(),
        }
    }

    /// The name of what replays it.
    const fn algorithm(self) -> &'static str {
        match self {
            Part::Locks => "recorded/locks",
            Part::Jobs(_) => "recorded/jobs",
        }
    }

    /// Which properties are judged, if not all that are promised. What is begun once or never may be lost with whoever
    /// had claimed it, so nobody can say whether it should have begun.
    fn judged(self, promises: &[Property]) -> Option<Vec<Property>> {
        let all = promises.iter().copied();
        let but_lost = || all.filter(|property| *property != Property::NoJobLost).collect();
        (self == Part::Jobs(Delivery::AtMostOnce)).then(but_lost)
    }
}

/// What a round was.
#[derive(Clone, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) seed: u64,
    pub(crate) plan: &'a Plan,
    pub(crate) workers: usize,
    pub(crate) fenced: bool,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) entries: &'a [Entry],
}

impl Round<'_> {
    /// One part of it as a trace, judged; and why it cannot have happened, if that is so: then the recording is wrong, and
    /// nothing was shown.
    pub(crate) fn judge(&self, part: Part) -> (Trace, Option<Divergence>) {
        match part {
            Part::Locks => self.judge_as::<Locks>(part),
            Part::Jobs(_) => self.judge_as::<Jobs>(part),
        }
    }

    fn judge_as<K: Kind>(&self, part: Part) -> (Trace, Option<Divergence>) {
        let (steps, lives, delay) = Writer::new(self, part).write();
        let setup = self.setup(part, lives, delay);
        let judged = part.judged(K::PROMISES);
        let promises = PropertySet::of(judged.as_deref().unwrap_or(K::PROMISES));
        let mut world = World::<Recorded<K>>::new(&setup, promises);
        let diverged = trace::replay(&mut world, &steps, |_, _, _| {}).err();
        let header = Header {
            format: FORMAT,
            algorithm: part.algorithm().into(),
            revision: 1,
            seed: Some(self.seed),
            shows: None,
            judged,
            setup: serde_json::to_value(&setup).unwrap_or_default(),
        };
        (Trace { header, steps, ending: ending(&world) }, diverged)
    }

    fn setup(&self, part: Part, lives: Vec<Vec<Vec<Line>>>, delay: Span) -> Setup<History> {
        let (jobs, attempts) = match part {
            Part::Locks => (0, 1),
            Part::Jobs(Delivery::AtLeastOnce) => (self.plan.jobs, ATTEMPTS),
            Part::Jobs(Delivery::AtMostOnce) => (self.plan.jobs, 1),
        };
        let ttl = self.plan.ttl.into();
        // In a history of jobs nothing is under way, and nobody has to notice anything: there, both only say how much
        // earlier than asked for a job may begin.
        let (delay, slack) = match part {
            Part::Locks => (delay, NOTICE_MAX.into()),
            Part::Jobs(_) => (EARLY.into(), EARLY.into()),
        };
        let bounds = Bounds {
            delay,
            slack,
            call: Span::from_secs(30),
            orphan: ORPHAN_MAX.into(),
            progress: progress_max(self.plan.ttl).into(),
        };
        Setup {
            config: History { ttl, attempts, fenced: self.fenced, lives },
            instances: self.workers as u32,
            resources: 1,
            jobs,
            stores: 1,
            hints: false,
            merges_hints: false,
            bounds,
            strict: false,
        }
    }
}

/// What is wrong with a worker's way to the server, as a trace says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    ToStore,
    FromStore,
}

/// Writes the steps of one part.
struct Writer<'a> {
    round: &'a Round<'a>,
    part: Part,
    steps: Vec<Step>,
    lives: Vec<Vec<Vec<Line>>>,
    gaps: Vec<Option<Gap>>,
    server_stopped: bool,
    /// How long a write took at most after nothing was done to anybody any more.
    delay: Duration,
}

impl<'a> Writer<'a> {
    fn new(round: &'a Round<'a>, part: Part) -> Writer<'a> {
        Writer {
            round,
            part,
            steps: Vec::new(),
            lives: vec![vec![Vec::new()]; round.workers],
            gaps: vec![None; round.workers],
            server_stopped: false,
            delay: WRITE_MAX,
        }
    }

    fn write(mut self) -> (Vec<Step>, Vec<Vec<Vec<Line>>>, Span) {
        for (at, event) in self.events() {
            self.add(at, event);
        }
        self.step(self.round.ended, Deed::End);
        (self.steps, self.lives, self.delay.into())
    }

    /// All that happened, in the order of time. A write is there twice: when its worker had last asked whether it holds,
    /// and when it arrived.
    fn events(&self) -> Vec<(Moment, Event)> {
        let mut healed = Moment::MAX;
        let mut shown = vec![0; self.round.workers];
        let mut events = Vec::new();
        for (index, entry) in self.round.entries.iter().enumerate() {
            match entry.what {
                Happened::Said { who, what: What::Writes { checked, until, .. }, .. } => {
                    let arrived = self.round.entries.get(index + 1).map_or(entry.at, |next| next.at);
                    shown[who] = if until > checked { checked } else { Moment::MAX };
                    if until > checked {
                        events.push((
                            checked,
                            Event::Writes { who, until, arrived, is_healed: checked > healed },
                        ));
                    }
                }
                Happened::Arrived { who } if shown[who] == Moment::MAX => {}
                what => events.push((entry.at, Event::Plain(what))),
            }
            if entry.what == Happened::Healed {
                healed = entry.at;
            }
        }
        self.add_orphans(&mut events);
        events.sort_by_key(|(at, _)| *at);
        events
    }

    /// An entry that was still there in the end was put there by whoever was granted its token; or, if nobody was, by
    /// whoever asked last and did not get it.
    fn add_orphans(&self, events: &mut Vec<(Moment, Event)>) {
        let orphans = self.round.entries.iter().filter_map(|entry| match entry.what {
            Happened::Orphan { token } => Some(token),
            _ => None,
        });
        for orphan in orphans {
            let is_grant = |what: What| matches!(what, What::Granted { token, .. } if Some(token) == orphan);
            let is_ask = |what: What| matches!(what, What::Asks { .. });
            let owner = self.last(is_grant).or_else(|| self.last(is_ask));
            if let Some((at, who)) = owner {
                // Just before the grant, which is at the same moment; and just after the question.
                let place = events.iter().position(|(other, event)| {
                    *other == at
                        && matches!(event, Event::Plain(Happened::Said { who: its, .. }) if *its == who)
                });
                let place = place.unwrap_or(events.len()) + usize::from(self.last(is_grant).is_none());
                events.insert(place.min(events.len()), (at, Event::Claimed { who }));
            }
        }
    }

    fn last(&self, is_it: impl Fn(What) -> bool) -> Option<(Moment, usize)> {
        self.round.entries.iter().rev().find_map(|entry| match entry.what {
            Happened::Said { who, what, .. } if is_it(what) => Some((entry.at, who)),
            _ => None,
        })
    }

    fn time(&self, at: Moment) -> Time {
        Time::from_nanos(at.saturating_sub(self.round.began))
    }

    fn step(&mut self, at: Moment, deed: Deed) {
        self.steps.push(Step { t: self.time(at), draw: Draw(0), deed });
    }

    fn ask(&mut self, at: Moment, who: usize, what: Ask) {
        self.step(at, Deed::Ask { who: name(who), what });
    }

    /// Its caller is told something.
    fn tell(&mut self, at: Moment, who: usize, said: Said) {
        let line = Line { at: self.time(at), said };
        if let Some(life) = self.lives[who].last_mut() {
            life.push(line);
        }
        self.step(at, Deed::Wake { who: name(who) });
    }

    fn add(&mut self, at: Moment, event: Event) {
        match event {
            Event::Writes { who, until, arrived, is_healed } if self.part == Part::Locks => {
                self.add_write(at, who, until, arrived, is_healed);
            }
            Event::Writes { .. } => {}
            Event::Claimed { who } if self.part == Part::Locks => self.add_claim(at, who),
            Event::Claimed { .. } => {}
            Event::Plain(Happened::Said { who, what, .. }) => match self.part {
                Part::Locks => self.add_of_lock(at, who, what),
                Part::Jobs(delivery) => self.add_of_job(at, who, what, delivery),
            },
            Event::Plain(Happened::Arrived { who }) => {
                if self.part == Part::Locks {
                    self.step(at, Deed::Deliver { message: message(who, LegKind::Write, None) });
                }
            }
            Event::Plain(Happened::Hit(hit)) => self.add_hit(at, hit),
            Event::Plain(Happened::Resumed { who }) => self.step(at, Deed::Resume { who: name(who) }),
            Event::Plain(Happened::Restarted { who }) => self.add_restart(at, who),
            Event::Plain(Happened::Mended { who }) => self.mend(at, who),
            Event::Plain(Happened::ServerResumed) => {
                if std::mem::take(&mut self.server_stopped) {
                    self.step(at, Deed::StoreResume { store: 0 });
                }
            }
            Event::Plain(Happened::Panicked { who }) => {
                self.tell(at, who, Said::Panicked);
            }
            Event::Plain(Happened::Healed) => self.step(at, Deed::Heal),
            Event::Plain(Happened::Orphan { .. }) => {}
        }
    }

    fn add_write(&mut self, at: Moment, who: usize, until: Moment, arrived: Moment, is_healed: bool) {
        self.tell(at, who, Said::Believes { until: self.time(until) });
        self.step(at, Deed::Write { who: name(who) });
        let took = Duration::from_nanos(arrived.saturating_sub(at));
        if is_healed {
            // Nothing goes wrong any more: this is how long writes take here.
            self.delay = self.delay.max(took);
        } else if took > WRITE_MAX {
            self.step(at, Deed::Stall { message: message(who, LegKind::Write, None) });
        }
    }

    fn add_claim(&mut self, at: Moment, who: usize) {
        self.tell(at, who, Said::Claimed);
        let claim = |leg| message(who, leg, Some("Claim"));
        self.step(at, Deed::Serve { message: claim(LegKind::Request), how: Service::Done });
        self.step(at, Deed::Deliver { message: claim(LegKind::Reply) });
    }

    fn add_of_lock(&mut self, at: Moment, who: usize, what: What) {
        match what {
            What::Asks { within: None } => self.ask(at, who, Ask::Lock),
            What::Asks { within: Some(within) } => self.ask(at, who, Ask::LockFor(within.into())),
            What::Granted { token, until } => {
                let until = self.time(until);
                self.tell(at, who, Said::Granted { token, until });
            }
            What::Denied => self.tell(at, who, Said::Denied),
            What::Cancels => self.ask(at, who, Ask::Cancel),
            What::Unlocks => self.ask(at, who, Ask::Unlock),
            What::Released => self.tell(at, who, Said::Released),
            What::Lost => self.tell(at, who, Said::Lost),
            What::Up
            | What::Registers { .. }
            | What::Writes { .. }
            | What::Schedules { .. }
            | What::Accepted { .. }
            | What::Declined { .. }
            | What::Begins { .. }
            | What::Ends { .. }
            | What::Done => {}
        }
    }

    fn add_of_job(&mut self, at: Moment, who: usize, what: What, of: Delivery) {
        match what {
            What::Up => self.ask(at, who, Ask::Start),
            What::Schedules { delivery, job, after } if delivery == of => {
                self.ask(at, who, Ask::Schedule(JobId(job), after.into()));
            }
            What::Accepted { delivery, job } if delivery == of => self.tell(at, who, Said::Accepted { job }),
            What::Declined { delivery, job } if delivery == of => self.tell(at, who, Said::Declined { job }),
            What::Begins { delivery, job, attempt, token, until } if delivery == of => {
                let until = self.time(until);
                self.tell(at, who, Said::Began { job, attempt, token, until });
            }
            What::Ends { delivery, succeeded, .. } if delivery == of => {
                self.ask(at, who, Ask::Finish(succeeded));
                self.tell(at, who, Said::Ended);
            }
            _ => {}
        }
    }

    fn add_hit(&mut self, at: Moment, hit: Hit) {
        let who = name(hit.who);
        match hit.fault {
            Fault::Stop => self.step(at, Deed::Pause { who }),
            Fault::Kill => {
                self.step(at, Deed::Crash { who });
            }
            Fault::Cut => {
                self.mend(at, hit.who);
                self.break_way(at, hit.who, Gap::ToStore);
                self.mend(at, hit.who);
            }
            Fault::Drop => {
                self.mend(at, hit.who);
                self.break_way(at, hit.who, Gap::ToStore);
            }
            Fault::Stall => {
                self.mend(at, hit.who);
                self.break_way(at, hit.who, Gap::FromStore);
            }
            // A trace has no word for a way that is slow.
            Fault::Delay => self.mend(at, hit.who),
            Fault::ServerStop => {
                self.step(at, Deed::StorePause { store: 0 });
                self.server_stopped = true;
            }
            Fault::ServerKill => self.step(at, Deed::StoreRestart { store: 0 }),
        }
    }

    fn add_restart(&mut self, at: Moment, who: usize) {
        // A new life begins with an unbroken way.
        self.gaps[who] = None;
        self.lives[who].push(Vec::new());
        self.step(at, Deed::Restart { who: name(who) });
    }

    fn break_way(&mut self, at: Moment, who: usize, gap: Gap) {
        self.gaps[who] = Some(gap);
        self.set_way(at, who, gap, true);
    }

    fn mend(&mut self, at: Moment, who: usize) {
        if let Some(gap) = self.gaps[who].take() {
            self.set_way(at, who, gap, false);
        }
    }

    fn set_way(&mut self, at: Moment, who: usize, gap: Gap, cut: bool) {
        let who = name(who);
        self.step(
            at,
            match gap {
                Gap::ToStore => Deed::CutToStore { who, cut },
                Gap::FromStore => Deed::CutFromStore { who, cut },
            },
        );
    }
}

/// Something that a trace tells.
#[derive(Clone, Copy, Debug)]
enum Event {
    Plain(Happened),
    Writes { who: usize, until: Moment, arrived: Moment, is_healed: bool },
    Claimed { who: usize },
}

fn name(who: usize) -> InstanceId {
    InstanceId(who as u32)
}

fn message(who: usize, leg: LegKind, call: Option<&str>) -> Message {
    Message { who: name(who), leg, call: call.map(str::to_owned), nth: 0 }
}

#[cfg(test)]
mod tests;
