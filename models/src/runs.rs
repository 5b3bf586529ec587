//! What the monitors know of jobs: what was accepted, what has begun, who was never answered.
//!
//! It is all seen from outside: a caller asked, a caller was told, a callback began. Where nobody can say what was
//! promised (two asked about one job at the same time, or the one who asked died before it was told) nothing is.

use fencepost::machine::Relocate;
use fencepost::time::Span;

use crate::checker::ANSWERS;
use crate::clock::Time;
use crate::fault::Fault;
use crate::normal::Names;
use crate::property::{Facts, Property};
use crate::subject::{Ask, InstanceId, JobId, Occurrence, Play, Run, Subject, Told};
use crate::world::{Stage, State, World};
use crate::writes::Writes;

/// A job that is to run once and has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Open {
    occurrence: Option<Occurrence>,
    due: Time,
    /// How much earlier it may begin: what no clock could know when it was asked for.
    early: Span,
    /// Somebody has said that it will not run it.
    given_up: bool,
}

/// An occurrence that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Begun {
    occurrence: Occurrence,
    times: u32,
    /// Who has begun it last, where anybody asks.
    by: Option<InstanceId>,
}

/// What is known of one job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Log {
    open: Option<Open>,
    begun: Vec<Begun>,
    last_began: Time,
    last_by: Option<InstanceId>,
    /// An earlier run was settled after the last one began.
    overtaken: bool,
}

/// What a caller has asked about a job and was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    job: JobId,
    at: Time,
    /// What is open if it is accepted.
    if_accepted: Option<Open>,
    /// What is open if it is declined.
    if_declined: Option<Open>,
    /// Nobody else asked about the job meanwhile.
    alone: bool,
}

/// What is known of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Player {
    run: Option<Run>,
    /// Its callback was told to stop.
    interrupted: bool,
    asked: Vec<Asked>,
    /// Since when it takes part; zero, if it does not.
    started: Time,
    /// Since when it is to close; zero, if it is not.
    closing: Time,
}

/// What is known of all jobs; nothing, where callers only lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Runs {
    /// Those of the first resource, then those of the second …
    logs: Vec<Log>,
    players: Vec<Player>,
    /// Until then, what the store acknowledged may turn out to be lost.
    void_until: Time,
    /// What is known of writers.
    pub(crate) writes: Writes,
}

impl Runs {
    pub(crate) fn reset(&mut self, logs: usize, players: usize) {
        self.logs.clear();
        self.logs.resize_with(logs, Log::default);
        self.players.clear();
        self.players.resize_with(players, Player::default);
        self.void_until = Time::ZERO;
        self.writes.reset(0, 0, 0);
    }

    /// The same, for writers of so many objects.
    pub(crate) fn reset_writers(&mut self, objects: usize, players: usize, each: usize) {
        self.reset(0, players);
        self.writes.reset(objects, players, each);
    }

    /// The callback that runs on an instance.
    pub(crate) fn run(&self, id: InstanceId) -> Option<&Run> {
        self.players.get(id.index())?.run.as_ref()
    }

    /// Whether a callback of an instance runs, whatever it does.
    pub(crate) fn is_busy(&self, id: InstanceId) -> bool {
        self.run(id).is_some() || self.writes.is_busy(id)
    }

    /// Whether an instance waits to be told something about a job.
    pub(crate) fn has_asked(&self, id: InstanceId, job: JobId) -> bool {
        self.players.get(id.index()).is_some_and(|player| player.asked.iter().any(|asked| asked.job == job))
    }

    /// Whether an instance is to close.
    pub(crate) fn is_closing(&self, id: InstanceId) -> bool {
        self.players.get(id.index()).is_some_and(|player| player.closing != Time::ZERO)
    }

    fn is_interrupted(&self, id: InstanceId) -> bool {
        self.players[id.index()].interrupted
    }

    /// What there is to wait for: the jobs that have still to begin, and whether anybody waits for an answer.
    pub(crate) fn sight(&self, play: Play, mut awaits: bool) -> u8 {
        awaits |= self.players.iter().any(|player| !player.asked.is_empty() || player.closing != Time::ZERO);
        let to_begin = match play {
            Play::Lock | Play::Lead => 0,
            // A recurring job is content while it runs.
            Play::Job => u8::from(self.players.iter().all(|player| player.run.is_none())),
            Play::Once => self.open() & (ANSWERS - 1),
            Play::Write => {
                awaits |= self.writes.awaits();
                self.writes.open() & (ANSWERS - 1)
            }
        };
        to_begin | if awaits { ANSWERS } else { 0 }
    }

    /// Which jobs are still to be begun, one bit each.
    fn open(&self) -> u8 {
        let is_open = |(index, log): (usize, &Log)| u8::from(log.open.is_some()) << index.min(7);
        self.logs.iter().enumerate().map(is_open).fold(0, |all, one| all | one)
    }

    /// Nothing that the store acknowledged so far counts, nor what it will before `until`.
    pub(crate) fn forget_all(&mut self, until: Time) {
        for log in &mut self.logs {
            *log = Log::default();
        }
        for asked in self.players.iter_mut().flat_map(|player| &mut player.asked) {
            asked.alone = false;
        }
        self.void_until = self.void_until.max(until);
    }

    /// An instance died: nobody will tell it anything.
    pub(crate) fn died(&mut self, id: InstanceId) {
        if let Some(player) = self.players.get_mut(id.index()) {
            *player = Player::default();
        }
        self.writes.died(id);
    }

    /// Something hit an instance: what may be begun once only, and was due, may have been begun and lost.
    pub(crate) fn excuse(&mut self, now: Time) {
        for log in &mut self.logs {
            log.open = log.open.filter(|open| open.due > now);
        }
    }

    fn ask(
        &mut self,
        id: InstanceId,
        log: usize,
        job: JobId,
        (now, if_accepted): (Time, Option<Open>),
        is_same: impl Fn(usize) -> bool,
    ) {
        let mut others = 0;
        for (index, player) in self.players.iter_mut().enumerate().filter(|(index, _)| is_same(*index)) {
            for asked in player.asked.iter_mut().filter(|asked| asked.job == job) {
                asked.alone = false;
                others += usize::from(index != id.index());
            }
        }
        let before = self.logs[log].open.take();
        let asked = Asked { job, at: now, if_accepted, if_declined: before, alone: others == 0 };
        self.players[id.index()].asked.push(asked);
    }

    fn answer(
        &mut self,
        id: InstanceId,
        log: usize,
        job: JobId,
        accepted: Option<Option<Occurrence>>,
        now: Time,
    ) {
        let asked = &mut self.players[id.index()].asked;
        let Some(at) = asked.iter().position(|asked| asked.job == job) else { return };
        let asked = asked.remove(at);
        let log = &mut self.logs[log];
        let is_begun = |occurrence| log.begun.iter().any(|begun| Some(begun.occurrence) == occurrence);
        log.open = match accepted {
            _ if !asked.alone || now < self.void_until => None,
            Some(occurrence) if is_begun(occurrence) => None,
            Some(occurrence) => asked.if_accepted.map(|open| Open { occurrence, ..open }),
            None => asked.if_declined,
        };
    }

    /// Somebody says that it will not run what is open, whether or not somebody asks about it at this moment.
    fn give_up(&mut self, log: usize, job: JobId) {
        let asked =
            self.players.iter_mut().flat_map(|player| &mut player.asked).filter(|asked| asked.job == job);
        let open = asked.filter_map(|asked| asked.if_declined.as_mut());
        open.chain(&mut self.logs[log].open).for_each(|open| open.given_up = true);
    }

    /// Whether what an instance has asked for, and nobody else meanwhile, takes the place of a job that was due, was given
    /// up, and never began: it is lost, whether or not the new one will run.
    fn was_given_up(&self, id: InstanceId, job: JobId, now: Time) -> bool {
        let asked = self.players[id.index()].asked.iter().find(|asked| asked.job == job && asked.alone);
        let before = asked.and_then(|asked| asked.if_declined);
        now >= self.void_until && before.is_some_and(|open| open.given_up && open.due <= now)
    }

    /// Nobody has to begin this occurrence any more.
    fn settle(&mut self, log: usize, run: Run) {
        let is_other = |open: &Open| open.occurrence != run.occurrence;
        let log = &mut self.logs[log];
        log.open = log.open.filter(is_other);
        for asked in self.players.iter_mut().flat_map(|player| &mut player.asked) {
            if asked.job == run.job {
                asked.if_declined = asked.if_declined.filter(is_other);
            }
        }
    }

    /// Shows every name to `names`.
    pub(crate) fn relocate(&mut self, names: &mut Names) {
        for log in &mut self.logs {
            names.time(&mut log.last_began);
            log.last_by.iter_mut().for_each(|by| names.instance(by));
            for begun in &mut log.begun {
                relocate_occurrence(&mut begun.occurrence, names);
                begun.by.iter_mut().for_each(|by| names.instance(by));
            }
            log.open.iter_mut().for_each(|open| open.relocate(names));
        }
        for player in &mut self.players {
            if let Some(run) = &mut player.run {
                run.occurrence.iter_mut().for_each(|one| relocate_occurrence(one, names));
                run.token.iter_mut().for_each(|token| names.token(token));
            }
            for asked in &mut player.asked {
                let outcomes = [&mut asked.if_accepted, &mut asked.if_declined];
                outcomes.into_iter().flatten().for_each(|open| open.relocate(names));
            }
        }
        self.writes.relocate(names);
    }

    /// Drops what no monitor of a checker asks for: since when somebody waits, and who it was.
    pub(crate) fn forget(&mut self, now: Time, keeps_facts: bool, has_spacing: bool) {
        for log in &mut self.logs {
            if !keeps_facts {
                (log.last_by, log.overtaken) = (None, false);
                log.begun.iter_mut().for_each(|begun| begun.by = None);
            }
            if !has_spacing {
                log.last_began = Time::ZERO;
            }
        }
        self.writes.forget(keeps_facts);
        for player in &mut self.players {
            player.started = Time::ZERO;
            player.asked.iter_mut().for_each(|asked| asked.at = Time::ZERO);
            player.asked.sort_unstable_by_key(|asked| asked.job);
            if player.closing != Time::ZERO {
                player.closing = crate::checker::NOON_TIME;
            }
        }
        if self.void_until <= now {
            self.void_until = Time::ZERO;
        }
    }

    /// Takes out what has begun, so that a survey shows whether anything else names it.
    pub(crate) fn take_begun(&mut self) -> Vec<Vec<Begun>> {
        self.logs.iter_mut().map(|log| std::mem::take(&mut log.begun)).collect()
    }

    /// Puts back what has begun and may begin again: what nobody names can not.
    pub(crate) fn put_begun(&mut self, begun: Vec<Vec<Begun>>, is_named: impl Fn(&Occurrence) -> bool) {
        for (log, mut begun) in self.logs.iter_mut().zip(begun) {
            begun.retain(|one| is_named(&one.occurrence));
            log.begun = begun;
        }
        self.sort_begun();
    }

    /// Puts what has begun into the order of names.
    pub(crate) fn sort_begun(&mut self) {
        for log in &mut self.logs {
            log.begun.sort_unstable_by_key(|one| match one.occurrence {
                Occurrence::At(time) => (time.as_nanos(), 0),
                Occurrence::Of(owner) => (owner.identity.0, owner.attempt),
                Occurrence::Due(time) => (time.as_nanos(), 0),
            });
        }
    }

    /// Exchanges two instances.
    pub(crate) fn swap(&mut self, one: usize, other: usize) {
        if !self.players.is_empty() {
            self.players.swap(one, other);
        }
    }

    /// Shows the names of what has begun to `names`.
    pub(crate) fn relocate_begun(&mut self, names: &mut Names) {
        let begun = self.logs.iter_mut().flat_map(|log| &mut log.begun);
        begun.for_each(|one| relocate_occurrence(&mut one.occurrence, names));
    }
}

impl Open {
    fn relocate(&mut self, names: &mut Names) {
        names.time(&mut self.due);
        self.occurrence.iter_mut().for_each(|one| relocate_occurrence(one, names));
    }
}

fn relocate_occurrence(occurrence: &mut Occurrence, names: &mut Names) {
    match occurrence {
        Occurrence::At(time) => names.store_time(time),
        Occurrence::Of(owner) => owner.relocate(names),
        Occurrence::Due(time) => names.timestamp(time),
    }
}

impl<M: Subject> World<M> {
    /// Which log is that of a job of an instance.
    fn log_of(&self, id: InstanceId, job: JobId) -> usize {
        self.instances[id.index()].resource as usize * self.jobs + job.index()
    }

    /// Which guarded resource an instance works on.
    #[inline]
    pub(crate) fn guarded_by(&self, id: InstanceId) -> usize {
        if !M::PLAY.has_jobs() {
            return self.instances[id.index()].resource as usize;
        }
        self.log_of(id, self.runs.run(id).map_or(JobId::default(), |run| run.job))
    }

    /// A caller asks something that concerns jobs.
    pub(crate) fn note_ask(&mut self, id: InstanceId, ask: Ask) {
        match M::PLAY {
            Play::Lock => return,
            Play::Lead => return self.note_ask_of_leader(id, ask),
            Play::Job | Play::Once | Play::Write => {}
        }
        let now = self.now;
        match ask {
            Ask::Close => {
                let player = &mut self.runs.players[id.index()];
                if player.closing == Time::ZERO {
                    player.closing = now;
                }
                self.note_close(id);
            }
            Ask::Finish(succeeded) => {
                // Whatever becomes of the outcome, it has run.
                // Nobody asks about a recurring job, so nobody has to hear of it: there may be very many instances.
                let concerns = succeeded && M::PLAY == Play::Once;
                if let Some(run) = self.runs.run(id).copied().filter(|_| concerns) {
                    let log = self.log_of(id, run.job);
                    self.runs.settle(log, run);
                }
                if !succeeded && !self.runs.is_interrupted(id) {
                    self.note(id, Fault::CallbackFails);
                }
            }
            Ask::Schedule(job, span) | Ask::Reschedule(job, span) => {
                let early =
                    span.portion(M::drift(&self.config)) + self.bounds.delay * 4 + self.bounds.slack * 2;
                self.note_ask_about(
                    id,
                    job,
                    Some(Open { occurrence: None, due: now + span, early, given_up: false }),
                );
            }
            Ask::Withdraw(job) => self.note_ask_about(id, job, None),
            Ask::Start => {
                self.runs.players[id.index()].started = now;
                self.note_start(id);
            }
            Ask::Expire => self.note_expire(id),
            _ => {}
        }
    }

    fn note_ask_about(&mut self, id: InstanceId, job: JobId, if_accepted: Option<Open>) {
        let (log, resource) = (self.log_of(id, job), self.instances[id.index()].resource);
        let (now, instances) = (self.now, &self.instances);
        let is_same = |other: usize| instances[other].resource == resource;
        self.runs.ask(id, log, job, (now, if_accepted), is_same);
    }

    /// A caller is told something that concerns jobs: may it be?
    pub(crate) fn note_told(&mut self, id: InstanceId, told: Told) {
        match told {
            Told::Began(run) => self.judge_beginning(id, run),
            Told::Accepted(job, occurrence) => {
                if occurrence.is_some() && self.runs.was_given_up(id, job, self.now) {
                    let facts = Facts { given_up: true, ..Facts::default() };
                    self.violated(Property::NoJobLost, id, None, facts);
                }
                let log = self.log_of(id, job);
                self.runs.answer(id, log, job, Some(occurrence), self.now);
            }
            Told::Declined(job) => {
                let log = self.log_of(id, job);
                self.runs.answer(id, log, job, None, self.now);
            }
            Told::GaveUp(job) => {
                let log = self.log_of(id, job);
                self.runs.give_up(log, job);
            }
            Told::Interrupted => self.runs.players[id.index()].interrupted = true,
            Told::Ended => self.note_end_of_run(id),
            Told::Closed => {
                self.note_end_of_run(id);
                self.judge_close(id);
                let player = &mut self.runs.players[id.index()];
                (player.started, player.closing) = (Time::ZERO, Time::ZERO);
            }
            _ => {}
        }
    }

    fn note_end_of_run(&mut self, id: InstanceId) {
        self.disbelieve(id);
        let player = &mut self.runs.players[id.index()];
        player.interrupted = false;
        let Some(run) = player.run.take() else { return };
        let log = self.log_of(id, run.job);
        let last_by = self.runs.logs[log].last_by;
        self.runs.logs[log].overtaken |= last_by.is_some_and(|last| last != id);
    }

    /// A callback begins: too early, once too often, too soon after the last one?
    fn judge_beginning(&mut self, id: InstanceId, run: Run) {
        let (now, most) = (self.now, M::attempts(&self.config));
        let at = self.log_of(id, run.job);
        self.runs.players[id.index()].run = Some(run);
        let is_void = now < self.runs.void_until;
        let log = &mut self.runs.logs[at];
        let open = log.open.filter(|open| open.occurrence == run.occurrence);
        let is_early = open.is_some_and(|open| now + open.early < open.due);
        let (last_began, last_by) = (log.last_began, log.last_by);
        if !is_void {
            (log.last_began, log.last_by) = (now, Some(id));
        }
        let overtaken = std::mem::take(&mut log.overtaken);
        // Others have to run it only if this attempt may fail.
        if run.attempt >= most {
            self.runs.settle(at, run);
        }
        let beside = last_by.is_some_and(|last| self.is_beside(id, run.job, last));
        let log = &mut self.runs.logs[at];
        let repeats = run.occurrence.filter(|_| !is_void).and_then(|one| log.begin(one, id, most));
        if is_early {
            self.violated(Property::NotEarly, id, None, Facts::default());
        }
        let facts = Facts { beside, overtaken, ..Facts::default() };
        if let Some(other) = repeats {
            self.violated(Property::OncePerOccurrence, id, other, facts);
        }
        // Whoever stood still together with its clocks begins late what it had claimed.
        let may_judge = self.is_belief_judged();
        let spacing = M::spacing(&self.config);
        if spacing > Span::ZERO
            && last_began != Time::ZERO
            && now < last_began + spacing
            && !is_void
            && may_judge
        {
            self.violated(Property::OncePerOccurrence, id, last_by, facts);
        }
    }

    /// Whether a run of that job on another instance is not settled.
    fn is_beside(&self, id: InstanceId, job: JobId, other: InstanceId) -> bool {
        other != id && self.runs.run(other).is_some_and(|run| run.job == job)
    }

    /// The run is over: what was accepted and never begun, who was never answered?
    pub(crate) fn judge_jobs(&mut self) {
        if self.healed == Time::MAX {
            return;
        }
        for index in 0..self.runs.players.len() {
            let id = InstanceId(index as u32);
            let player = &self.runs.players[index];
            let closing = Some(player.closing).filter(|since| *since != Time::ZERO);
            let first = player.asked.iter().map(|asked| asked.at).chain(closing).min();
            let is_up = self.instances[index].state == State::Up;
            if first.is_some_and(|since| is_up && self.is_long_ago(since, Span::ZERO)) {
                self.violated(Property::Progress, id, None, Facts::default());
            }
        }
        self.judge_writes();
        for index in 0..self.runs.logs.len() {
            // Somebody has to be there who could run it.
            let Some(id) = self.first_player(index / self.jobs.max(1)) else { continue };
            let log = &self.runs.logs[index];
            let is_lost = log.open.is_some_and(|open| self.is_long_ago(open.due, Span::ZERO));
            let period = M::period(&self.config);
            let is_silent =
                M::PLAY == Play::Job && period != Span::MAX && self.is_long_ago(log.last_began, period);
            if is_lost || is_silent {
                let other = log.last_by.filter(|by| *by != id);
                let facts =
                    Facts { given_up: log.open.is_some_and(|open| open.given_up), ..Facts::default() };
                self.violated(Property::NoJobLost, id, other, facts);
            }
        }
    }

    /// Whether more than the bound has passed since then and `grace` later, and since everything was healed.
    pub(crate) fn is_long_ago(&self, since: Time, grace: Span) -> bool {
        self.now > since.max(self.healed) + grace + self.bounds.progress
    }

    /// Somebody who has taken part for long.
    fn first_player(&self, resource: usize) -> Option<InstanceId> {
        let takes_part = |index: &usize| {
            let (instance, player) = (&self.instances[*index], &self.runs.players[*index]);
            instance.resource as usize == resource
                && instance.state == State::Up
                && instance.caller.stage == Stage::Waiting
                && player.closing == Time::ZERO
                && self.is_long_ago(player.started, Span::ZERO)
        };
        (0..self.instances.len()).find(takes_part).map(|index| InstanceId(index as u32))
    }
}

impl Log {
    /// An occurrence begins. Gives who has begun it before, as far as that is known, if that was once too often.
    fn begin(&mut self, occurrence: Occurrence, by: InstanceId, most: u32) -> Option<Option<InstanceId>> {
        let found = self.begun.iter_mut().find(|begun| begun.occurrence == occurrence);
        if let Some(begun) = found {
            let before = begun.by;
            (begun.times, begun.by) = (begun.times.saturating_add(1).min(most + 1), Some(by));
            return (begun.times > most).then_some(before);
        }
        self.begun.push(Begun { occurrence, times: 1, by: Some(by) });
        None
    }
}
