//! The goroutines of a scheduler: those of jobs, and those of callers.

use fencepost::machine::{Identity, Input, Machine, Relocate};
use fencepost::time::{Instant, Span, Timestamp};

use super::super::kv::{KvAnswer, KvOp};
use super::super::mattermost::{self, Value};
use super::super::plugin_api_mutex::{PluginApiConfig, PluginApiMutex};
use super::super::table::TableOp;
use super::{Call, Event, Key, PluginApiOnce, Stage, Turn};
use crate::subject::{JobId, Knot};

/// What works on one job, with a mutex of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Goroutine {
    job: JobId,
    mutex: PluginApiMutex,
    work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Job(Job),
    Ask(Asked),
}

/// A job that sleeps until its time. `signalled` is whether it was told to end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    run_at: Timestamp,
    fails: u32,
    signalled: bool,
    phase: JobPhase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum JobPhase {
    Sleeping { until: Instant },
    Locking,
    Reading,
    Queueing,
    Running { returns: bool },
    Deleting,
    Dropping,
    Unlocking,
}

/// What a caller asked for. `then` is when the job is to run once it has been cancelled; `inside` is the goroutine
/// whose callback waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    then: Option<Timestamp>,
    inside: Option<u32>,
    phase: AskPhase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum AskPhase {
    Begun,
    Schedule { run_at: Timestamp, at: Scheduling },
    Cancel { object: Object, at: Cancelling },
    CancelKey(CancellingKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheduling {
    AwaitingStart,
    Locking,
    Saving,
    Unlocking { saved: bool },
    Tracking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cancelling {
    Locking,
    Deleting,
    Dropping,
    Joining,
    Unlocking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CancellingKey {
    AwaitingMap,
    Locking,
    Deleting,
    Unlocking,
}

/// What became of the goroutine of a job object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Object {
    /// It was never started.
    Unstarted,
    /// It is at this place.
    At(u32),
    /// It is gone.
    Gone,
}

impl Goroutine {
    pub(super) fn deadline(&self, config: &PluginApiConfig) -> Option<Instant> {
        let sleeps = match &self.work {
            Work::Job(Job { phase: JobPhase::Sleeping { until }, .. }) => Some(*until),
            Work::Job(_) | Work::Ask(_) => None,
        };
        sleeps.into_iter().chain(self.mutex.deadline(config)).min()
    }

    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        self.mutex.relocate(map);
        match &mut self.work {
            Work::Job(job) => {
                map.timestamp(&mut job.run_at);
                if let JobPhase::Sleeping { until } = &mut job.phase {
                    map.deadline(until);
                }
            }
            Work::Ask(asked) => {
                asked.then.iter_mut().for_each(|run_at| map.timestamp(run_at));
                if let AskPhase::Schedule { run_at, .. } = &mut asked.phase {
                    map.timestamp(run_at);
                }
            }
        }
    }

    /// Whether it holds the map, so that nobody can change it.
    pub(super) fn holds_map(&self) -> bool {
        match &self.work {
            Work::Ask(Asked { phase: AskPhase::CancelKey(at), .. }) => *at != CancellingKey::AwaitingMap,
            Work::Ask(_) | Work::Job(_) => false,
        }
    }

    /// Whether it waits until it may hold the map.
    pub(super) fn wants_map(&self) -> bool {
        match &self.work {
            Work::Ask(Asked { phase: AskPhase::CancelKey(at), .. }) => *at == CancellingKey::AwaitingMap,
            Work::Ask(_) | Work::Job(_) => false,
        }
    }

    /// Whether it waits until it may change the map.
    pub(super) fn changes_map(&self) -> bool {
        match &self.work {
            Work::Job(job) => job.phase == JobPhase::Dropping,
            Work::Ask(Asked { phase: AskPhase::Schedule { at, .. }, .. }) => *at == Scheduling::Tracking,
            Work::Ask(Asked { phase: AskPhase::Cancel { at, .. }, .. }) => *at == Cancelling::Dropping,
            Work::Ask(Asked { phase: AskPhase::Begun | AskPhase::CancelKey(_), .. }) => false,
        }
    }

    fn is_asked_inside(&self, callback: u32) -> bool {
        match &self.work {
            Work::Ask(asked) => asked.inside == Some(callback),
            Work::Job(_) => false,
        }
    }

    fn phase(&self) -> Option<&JobPhase> {
        match &self.work {
            Work::Job(job) => Some(&job.phase),
            Work::Ask(_) => None,
        }
    }
}

/// What will never come.
impl PluginApiOnce {
    pub(super) fn knot_at(&self, at: u32) -> Option<Knot> {
        match &self.goroutine(at)?.work {
            Work::Job(Job { phase: JobPhase::Running { returns: true }, .. }) => Some(Knot::Callback),
            Work::Job(_) => None,
            Work::Ask(asked) => match asked.phase {
                AskPhase::Cancel { object, at: Cancelling::Joining } => self.knot_of_join(object),
                AskPhase::CancelKey(_) => self.knot_of_map(at),
                AskPhase::Begun | AskPhase::Schedule { .. } | AskPhase::Cancel { .. } => None,
            },
        }
    }

    /// A goroutine that is not asleep when it is signalled wants the mutex.
    fn knot_of_join(&self, object: Object) -> Option<Knot> {
        match object {
            Object::Unstarted => Some(Knot::Nothing),
            Object::At(_) => Some(Knot::Holder),
            Object::Gone => None,
        }
    }

    fn knot_of_map(&self, at: u32) -> Option<Knot> {
        let is_held = self.goroutine(at).is_some_and(Goroutine::holds_map);
        let is_wanted =
            self.lister.changes_map() || self.goroutines.iter().flatten().any(Goroutine::changes_map);
        (is_held && is_wanted).then_some(Knot::Table)
    }
}

/// Coming and going.
impl PluginApiOnce {
    pub(super) fn goroutine(&self, at: u32) -> Option<&Goroutine> {
        self.goroutines.get(at as usize)?.as_ref()
    }

    fn goroutine_mut(&mut self, at: u32) -> Option<&mut Goroutine> {
        self.goroutines.get_mut(at as usize)?.as_mut()
    }

    fn job_mut(&mut self, at: u32) -> Option<&mut Job> {
        match &mut self.goroutine_mut(at)?.work {
            Work::Job(job) => Some(job),
            Work::Ask(_) => None,
        }
    }

    fn asked_mut(&mut self, at: u32) -> Option<&mut Asked> {
        match &mut self.goroutine_mut(at)?.work {
            Work::Ask(asked) => Some(asked),
            Work::Job(_) => None,
        }
    }

    /// Starts a goroutine at the first place that is free.
    fn spawn(&mut self, turn: &Turn<'_>, job: JobId, work: Work) -> u32 {
        let mutex = PluginApiMutex::new(&turn.config.mutex, Identity::default());
        let at = self.goroutines.iter().position(Option::is_none).unwrap_or(self.goroutines.len());
        if at == self.goroutines.len() {
            self.goroutines.push(None);
        }
        self.goroutines[at] = Some(Goroutine { job, mutex, work });
        at as u32
    }

    /// A goroutine ends. Its mutex is at rest, so nothing comes back for whoever takes its place.
    fn end(&mut self, at: u32) {
        self.goroutines[at as usize] = None;
        while let Some(None) = self.goroutines.last() {
            self.goroutines.pop();
        }
        let joins = self.goroutines.iter_mut().flatten().filter_map(|goroutine| match &mut goroutine.work {
            Work::Ask(Asked { phase: AskPhase::Cancel { object, .. }, .. }) => Some(object),
            Work::Ask(_) | Work::Job(_) => None,
        });
        for object in joins.chain(self.handles.values_mut()).filter(|object| **object == Object::At(at)) {
            *object = Object::Gone;
        }
    }

    /// Starts the goroutine of a job, if it has none here.
    pub(super) fn track(&mut self, turn: &Turn<'_>, job: JobId, run_at: Timestamp) -> Object {
        if self.tracked.contains_key(&job) {
            return Object::Unstarted;
        }
        let phase = JobPhase::Sleeping { until: turn.after(run_at.since(turn.now.wall)) };
        let at = self.spawn(turn, job, Work::Job(Job { run_at, fails: 0, signalled: false, phase }));
        self.tracked.insert(job, at);
        Object::At(at)
    }

    /// Lets the mutex of a goroutine take an input, and goes on when it says so.
    pub(super) fn drive(&mut self, turn: &mut Turn<'_>, at: u32, input: Input<PluginApiMutex>) {
        let Some(goroutine) = self.goroutine_mut(at) else { return };
        let (job, out) = (goroutine.job, &mut *turn.out);
        let told = goroutine.mutex.drive(&turn.config.mutex, turn.now, input, |call, op| {
            out.store(Call::Mutex(at, call), TableOp::Row(Key::Mutex(job), op));
        });
        match told {
            Some(mattermost::Event::Acquired) => self.locked(turn, at),
            Some(mattermost::Event::Released) => self.unlocked(turn, at),
            // Nobody cancels a lock, and each is unlocked once.
            Some(
                mattermost::Event::ContextDone | mattermost::Event::Rejected | mattermost::Event::Panicked,
            )
            | None => {}
        }
    }

    fn lock(&mut self, turn: &mut Turn<'_>, at: u32) {
        self.drive(turn, at, Input::Request(mattermost::Request::Lock(Span::MAX)));
    }

    fn unlock(&mut self, turn: &mut Turn<'_>, at: u32) {
        self.drive(turn, at, Input::Request(mattermost::Request::Unlock));
    }

    fn delete(&self, turn: &mut Turn<'_>, at: u32) {
        let Some(goroutine) = self.goroutine(at) else { return };
        turn.out.store(Call::Delete(at), TableOp::Row(Key::Job(goroutine.job), KvOp::Delete));
    }

    fn locked(&mut self, turn: &mut Turn<'_>, at: u32) {
        let Some(Goroutine { job, work, .. }) = self.goroutine_mut(at) else { return };
        let (job, wall) = (*job, turn.now.wall);
        match work {
            // G3
            Work::Job(one) => {
                one.phase = JobPhase::Reading;
                turn.out.store(Call::Read(at), TableOp::Row(Key::Job(job), KvOp::Get { wall }));
            }
            Work::Ask(asked) => match &mut asked.phase {
                // A4
                AskPhase::Schedule { run_at, at: phase } => {
                    *phase = Scheduling::Saving;
                    let insert = KvOp::Insert { value: Value::Time(*run_at), expire_in_secs: 0, wall };
                    turn.out.store(Call::Save(at), TableOp::Row(Key::Job(job), insert));
                }
                // C2
                AskPhase::Cancel { at: phase, .. } => {
                    *phase = Cancelling::Deleting;
                    self.delete(turn, at);
                }
                // K3
                AskPhase::CancelKey(phase) => {
                    *phase = CancellingKey::Deleting;
                    self.delete(turn, at);
                }
                AskPhase::Begun => {}
            },
        }
    }

    pub(super) fn deleted(&mut self, turn: &mut Turn<'_>, at: u32) {
        let Some(goroutine) = self.goroutine_mut(at) else { return };
        match &mut goroutine.work {
            // G11
            Work::Job(job) => job.phase = JobPhase::Dropping,
            Work::Ask(asked) => match &mut asked.phase {
                // C3
                AskPhase::Cancel { at: phase, .. } => *phase = Cancelling::Dropping,
                // K4
                AskPhase::CancelKey(phase) => {
                    *phase = CancellingKey::Unlocking;
                    self.unlock(turn, at);
                }
                AskPhase::Begun | AskPhase::Schedule { .. } => {}
            },
        }
    }

    fn unlocked(&mut self, turn: &mut Turn<'_>, at: u32) {
        let Some(Goroutine { job, work, .. }) = self.goroutine_mut(at) else { return };
        match work {
            // G13
            Work::Job(job) if job.signalled => self.end(at),
            // G14
            Work::Job(job) => job.phase = JobPhase::Sleeping { until: turn.after(turn.config.retry) },
            Work::Ask(Asked { phase, then, .. }) => match phase {
                // A7
                AskPhase::Schedule { at: phase @ Scheduling::Unlocking { saved: true }, .. } => {
                    *phase = Scheduling::Tracking;
                }
                // A6
                AskPhase::Schedule { .. } => {
                    turn.out.event(Event::Declined(*job));
                    self.end(at);
                }
                // C6, K5
                AskPhase::Cancel { .. } | AskPhase::CancelKey(_) => match then.take() {
                    Some(run_at) => self.schedule(turn, at, run_at),
                    None => {
                        turn.out.event(Event::Accepted(*job, None));
                        self.end(at);
                    }
                },
                AskPhase::Begun => {}
            },
        }
    }

    /// The map is free for it to change.
    pub(super) fn change_map(&mut self, turn: &mut Turn<'_>, at: u32) {
        let Some(Goroutine { job, work, .. }) = self.goroutine_mut(at) else { return };
        let id = *job;
        match work {
            // G12
            Work::Job(job) => {
                (job.phase, job.signalled) = (JobPhase::Unlocking, true);
                self.tracked.remove(&id);
                self.unlock(turn, at);
            }
            Work::Ask(asked) => match &mut asked.phase {
                // A8
                AskPhase::Schedule { run_at, .. } => {
                    let run_at = *run_at;
                    self.end(at);
                    let object = self.track(turn, id, run_at);
                    self.handles.insert(id, object);
                    turn.out.event(Event::Accepted(id, Some(run_at)));
                }
                // C4
                AskPhase::Cancel { object, at: phase } => {
                    *phase = Cancelling::Joining;
                    let object = *object;
                    self.tracked.remove(&id);
                    self.signal(object);
                }
                AskPhase::Begun | AskPhase::CancelKey(_) => {}
            },
        }
    }
}

/// What the goroutine of a job does by itself.
impl PluginApiOnce {
    /// G1
    pub(super) fn wake_sleeper(&mut self, turn: &mut Turn<'_>, at: u32) {
        let Some(job) = self.job_mut(at) else { return };
        let JobPhase::Sleeping { until } = job.phase else { return };
        if turn.now.mono >= until {
            job.phase = JobPhase::Locking;
            self.lock(turn, at);
        }
    }

    /// Tells a goroutine to end. It looks only while it sleeps, and when it would sleep.
    fn signal(&mut self, object: Object) {
        let Object::At(at) = object else { return };
        let Some(job) = self.job_mut(at) else { return };
        job.signalled = true;
        // G2
        if matches!(job.phase, JobPhase::Sleeping { .. }) {
            self.end(at);
        }
    }

    pub(super) fn read(&mut self, turn: &mut Turn<'_>, at: u32, answer: &KvAnswer<Value>) {
        let Some(job) = self.job_mut(at) else { return };
        match mattermost::time_in(answer) {
            // G7
            Ok(Some(run_at)) if run_at == job.run_at => {
                job.phase = JobPhase::Queueing;
                self.callbacks.push(at);
            }
            // G6
            Ok(_) => {
                job.phase = JobPhase::Deleting;
                self.delete(turn, at);
            }
            // G5
            Err(()) if job.fails >= turn.config.fails_allowed => {
                job.phase = JobPhase::Deleting;
                let id = self.goroutine(at).map(|goroutine| goroutine.job);
                id.into_iter().for_each(|id| turn.out.event(Event::GaveUp(id)));
                self.delete(turn, at);
            }
            // G4
            Err(()) => {
                job.fails += 1;
                job.phase = JobPhase::Unlocking;
                self.unlock(turn, at);
            }
        }
    }

    pub(super) fn finish(&mut self, turn: &mut Turn<'_>) {
        let at = self.callbacks.first().copied();
        match at.and_then(|at| self.job_mut(at)) {
            // G10, and G9 follows at once if it can
            Some(Job { phase: JobPhase::Running { returns }, .. }) if !*returns => *returns = true,
            // F1
            Some(_) | None => turn.out.event(Event::Rejected),
        }
    }

    /// Whoever holds the callback lock begins to run, or returns.
    pub(super) fn settle_callbacks(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(&at) = self.callbacks.first() else { return false };
        let waits = self.goroutines.iter().flatten().any(|goroutine| goroutine.is_asked_inside(at));
        let Some(id) = self.goroutine(at).map(|goroutine| goroutine.job) else { return false };
        let Some(job) = self.job_mut(at) else { return false };
        match job.phase {
            // G8
            JobPhase::Queueing => {
                job.phase = JobPhase::Running { returns: false };
                turn.out.event(Event::Began(id, job.run_at));
                true
            }
            // G9
            JobPhase::Running { returns: true } if !waits => {
                job.phase = JobPhase::Deleting;
                self.callbacks.remove(0);
                turn.out.event(Event::Ended);
                self.delete(turn, at);
                true
            }
            JobPhase::Running { .. }
            | JobPhase::Sleeping { .. }
            | JobPhase::Locking
            | JobPhase::Reading
            | JobPhase::Deleting
            | JobPhase::Dropping
            | JobPhase::Unlocking => false,
        }
    }
}

/// What a caller asks for.
impl PluginApiOnce {
    pub(super) fn begin_ask(&mut self, turn: &Turn<'_>, job: JobId) -> u32 {
        let runs = |at: &&u32| {
            let phase = self.goroutine(**at).and_then(Goroutine::phase);
            phase.is_some_and(|phase| matches!(phase, JobPhase::Running { .. }))
        };
        let inside = self.callbacks.first().filter(|_| turn.config.asks_inside).filter(runs).copied();
        self.spawn(turn, job, Work::Ask(Asked { then: None, inside, phase: AskPhase::Begun }))
    }

    /// `ScheduleOnce`
    pub(super) fn schedule(&mut self, turn: &mut Turn<'_>, at: u32, run_at: Timestamp) {
        let (stage, without_key) = (self.stage, turn.config.without_key);
        let Some(job) = self.goroutine(at).map(|goroutine| goroutine.job) else { return };
        let Some(asked) = self.asked_mut(at) else { return };
        match stage {
            // A3
            Stage::Started if without_key != Some(job) => {
                asked.phase = AskPhase::Schedule { run_at, at: Scheduling::Locking };
                self.lock(turn, at);
            }
            // A2
            Stage::Loading => asked.phase = AskPhase::Schedule { run_at, at: Scheduling::AwaitingStart },
            // A1
            Stage::Unstarted | Stage::Started | Stage::Dead => {
                turn.out.event(Event::Declined(job));
                self.end(at);
            }
        }
    }

    /// A5
    pub(super) fn saved(&mut self, turn: &mut Turn<'_>, at: u32, answer: &KvAnswer<Value>) {
        let Some(asked) = self.asked_mut(at) else { return };
        let AskPhase::Schedule { at: phase, .. } = &mut asked.phase else { return };
        *phase = Scheduling::Unlocking { saved: *answer == KvAnswer::Done(true) };
        self.unlock(turn, at);
    }

    /// Cancels a job by its handle or by its key, and then schedules it, if asked to.
    pub(super) fn cancel(&mut self, turn: &mut Turn<'_>, job: JobId, then: Option<Timestamp>) {
        let by_key = turn.config.cancels_by_key;
        let handle = self.handles.remove(&job).filter(|_| !by_key);
        let at = self.begin_ask(turn, job);
        let Some(asked) = self.asked_mut(at) else { return };
        asked.then = then;
        match handle {
            Some(object) => self.cancel_object(turn, at, object),
            None => asked.phase = AskPhase::CancelKey(CancellingKey::AwaitingMap),
        }
    }

    /// C1
    fn cancel_object(&mut self, turn: &mut Turn<'_>, at: u32, object: Object) {
        let Some(asked) = self.asked_mut(at) else { return };
        asked.phase = AskPhase::Cancel { object, at: Cancelling::Locking };
        self.lock(turn, at);
    }

    /// Nobody waits to change the map, so it may be held.
    pub(super) fn hold_map(&mut self, turn: &mut Turn<'_>, at: u32) -> bool {
        let Some(job) = self.goroutine(at).map(|goroutine| goroutine.job) else { return false };
        let tracked = self.tracked.get(&job).copied();
        let Some(asked) = self.asked_mut(at) else { return false };
        match tracked {
            // K6
            None if turn.config.without_key == Some(job) => self.panic(turn),
            // K2
            None => {
                asked.phase = AskPhase::CancelKey(CancellingKey::Locking);
                self.lock(turn, at);
            }
            // K1
            Some(place) => self.cancel_object(turn, at, Object::At(place)),
        }
        true
    }

    /// Lets a caller go on that waits for something else in this process than the map.
    pub(super) fn settle_ask(&mut self, turn: &mut Turn<'_>, at: u32) -> bool {
        let stage = self.stage;
        let Some(asked) = self.asked_mut(at) else { return false };
        match &mut asked.phase {
            // A2
            AskPhase::Schedule { run_at, at: Scheduling::AwaitingStart } if stage != Stage::Loading => {
                let run_at = *run_at;
                self.schedule(turn, at, run_at);
                true
            }
            // C5
            AskPhase::Cancel { object: Object::Gone, at: phase @ Cancelling::Joining } => {
                *phase = Cancelling::Unlocking;
                self.unlock(turn, at);
                true
            }
            AskPhase::Begun
            | AskPhase::Schedule { .. }
            | AskPhase::Cancel { .. }
            | AskPhase::CancelKey(_) => false,
        }
    }
}
