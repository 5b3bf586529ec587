//! A request about one key: read what is kept of it, and change that by compare-and-set.
//!
//! It needs no lock: schedule, reschedule and cancel are single writes, each on the revision that was read, and
//! whoever runs the job finds his claim or his outcome refused. So none of them ever waits for a callback. A write
//! whose answer is lost is repeated, and recognised by the number of the request in the record. A generation never
//! comes back: if the one that was read is still there, nothing was written; if another one is, who repeated his write
//! cannot know whether it was there in between, and does not write once more.

use crate::line::Owner;
use crate::machine::{Identity, Relocate};
use crate::run::{Record, Work};
use crate::store::{Answer, Entry, Expect, Op};
use crate::time::{Instant, StoreTime};

use super::config::OnceTerms;
use super::task::{State, Task};
use super::words::{Declined, Key, RunAt};
use super::{Name, Props};

/// A request about one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ask<K, P> {
    pub(super) key: K,
    wish: Wish<P>,
    /// The number of the request: what it writes bears it.
    number: u32,
    pub(super) sent: Instant,
    stage: Stage<P>,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish<P> {
    Schedule { run_at: RunAt, props: P },
    Reschedule { run_at: RunAt, props: Option<P> },
    Cancel,
    Find,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<P> {
    Reading,
    /// `over`: the generation that was read. `again`: it was sent more than once.
    Writing {
        expect: Expect,
        task: Task<P>,
        over: Option<Owner>,
        again: bool,
    },
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress<P> {
    /// Nobody knows yet; the time-out asks again.
    Open,
    /// It asks this next.
    Next,
    /// It reads again, under a number that no write of it has borne.
    Anew,
    /// It is done. The job is pending and due then, or it was.
    Accepted {
        pending: Option<StoreTime>,
        was: Option<StoreTime>,
    },
    Declined(Declined),
    Found(Option<Task<P>>),
}

impl<K: Name, P: Props> Ask<K, P> {
    pub(super) fn new(key: K, wish: Wish<P>, number: u32, sent: Instant) -> Ask<K, P> {
        Ask { key, wish, number, sent, stage: Stage::Reading }
    }

    /// The generation that it makes, if it makes one.
    pub(super) fn makes(&self, identity: Identity) -> Option<Owner> {
        match self.wish {
            Wish::Schedule { .. } | Wish::Reschedule { .. } => Some(self.owner(identity)),
            Wish::Cancel | Wish::Find => None,
        }
    }

    fn owner(&self, identity: Identity) -> Owner {
        Owner { identity, attempt: self.number }
    }

    /// What it asks of the store.
    pub(super) fn op(&self, terms: &OnceTerms) -> Op<Key<K>, Record<Task<P>>> {
        let key = Key::Job(self.key.clone());
        match &self.stage {
            Stage::Reading => Op::Get { key },
            Stage::Writing { expect, task, .. } => {
                let (ttl, record) = (task.ttl(terms), Record::Work(task.clone()));
                Op::PutIf { key, expect: *expect, record, ttl }
            }
        }
    }

    /// A8: no answer has come in time.
    pub(super) fn overdue(&mut self, now: Instant) {
        self.sent = now;
        if let Stage::Writing { again, .. } = &mut self.stage {
            *again = true;
        }
    }

    pub(super) fn renumber(&mut self, number: u32) {
        self.number = number;
    }

    /// A3 to A7, A9: the store has answered.
    pub(super) fn answered(
        &mut self,
        identity: Identity,
        answer: Answer<Key<K>, Record<Task<P>>>,
        at: StoreTime,
    ) -> Progress<P> {
        let by = self.owner(identity);
        match (&self.stage, answer) {
            (Stage::Reading, Answer::Found(found)) => match found.map(read).transpose() {
                Ok(found) => self.read(by, found, at),
                Err(NotATask) => Progress::Open,
            },
            // A6
            (Stage::Writing { task, .. }, Answer::Applied(_)) => self.accepted(task),
            (Stage::Writing { over, again, .. }, Answer::Refused(found)) => match found.map(read).transpose()
            {
                Ok(Some(found)) if self.is_done(by, &found.record) => self.accepted(&found.record),
                Ok(found) => {
                    let is_untouched = over.is_some() && found.map(|found| found.record.generation) == *over;
                    self.overtaken(is_untouched, *again)
                }
                Err(NotATask) => Progress::Open,
            },
            // A8 repeats it.
            (
                Stage::Reading,
                Answer::Applied(_) | Answer::Refused(_) | Answer::Listed(_) | Answer::Unknown,
            )
            | (Stage::Writing { .. }, Answer::Found(_) | Answer::Listed(_) | Answer::Unknown) => {
                Progress::Open
            }
        }
    }

    /// A7, A9: somebody else has changed the record.
    fn overtaken(&mut self, is_untouched: bool, again: bool) -> Progress<P> {
        match (is_untouched, again) {
            // A9
            (false, true) => Progress::Declined(Declined::Overtaken),
            // A7
            (true, true | false) => {
                self.stage = Stage::Reading;
                Progress::Next
            }
            (false, false) => {
                self.stage = Stage::Reading;
                Progress::Anew
            }
        }
    }

    /// What to write over what was found, if anything.
    fn read(&mut self, by: Owner, found: Option<Entry<Task<P>>>, at: StoreTime) -> Progress<P> {
        let expect = found.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let found = found.map(|entry| entry.record);
        let over = found.as_ref().map(|task| task.generation);
        if let Some(task) = found.as_ref().filter(|task| self.is_done(by, task)) {
            return self.accepted(task);
        }
        let is_open = found.as_ref().is_some_and(|task| task.state.is_open());
        let task = match (&self.wish, found) {
            // A5
            (Wish::Find, found) => return Progress::Found(found),
            // A4
            (Wish::Schedule { .. }, _) if is_open => return Progress::Declined(Declined::Taken),
            (Wish::Reschedule { .. } | Wish::Cancel, None) => return Progress::Declined(Declined::Missing),
            (Wish::Cancel, Some(_)) if !is_open => return Progress::Declined(Declined::Missing),
            // A3
            (Wish::Schedule { run_at, props }, _) => Task::scheduled(by, run_at.moment(at), props.clone()),
            (Wish::Reschedule { run_at, props }, Some(task)) => {
                Task::scheduled(by, run_at.moment(at), props.clone().unwrap_or(task.props))
            }
            (Wish::Cancel, Some(task)) => Task { state: State::Cancelled { by, at }, ..task },
        };
        self.stage = Stage::Writing { expect, task, over, again: false };
        Progress::Next
    }

    /// Whether what is kept shows that this request was carried out.
    fn is_done(&self, by: Owner, task: &Task<P>) -> bool {
        match self.wish {
            Wish::Schedule { .. } | Wish::Reschedule { .. } => task.generation == by,
            Wish::Cancel => matches!(task.state, State::Cancelled { by: who, .. } if who == by),
            Wish::Find => false,
        }
    }

    /// It is done, and this is what is kept now.
    fn accepted(&self, task: &Task<P>) -> Progress<P> {
        match task.state {
            State::Scheduled => Progress::Accepted { pending: Some(task.due), was: None },
            State::Claimed { .. }
            | State::Done { .. }
            | State::Failed { .. }
            | State::Dead { .. }
            | State::Cancelled { .. } => Progress::Accepted { pending: None, was: Some(task.due) },
        }
    }

    /// See [`crate::machine::Machine::relocate`].
    pub(super) fn relocate(&mut self, identity: Identity, map: &mut impl Relocate) {
        map.serial(identity, &mut self.number);
        map.instant(&mut self.sent);
        match &mut self.wish {
            Wish::Schedule { run_at, .. } | Wish::Reschedule { run_at, .. } => run_at.relocate(map),
            Wish::Cancel | Wish::Find => {}
        }
        match &mut self.stage {
            Stage::Reading => {}
            Stage::Writing { expect, task, over, again: _ } => {
                expect.relocate(map);
                task.relocate(map);
                over.iter_mut().for_each(|over| over.relocate(map));
            }
        }
    }
}

impl RunAt {
    fn moment(self, at: StoreTime) -> StoreTime {
        match self {
            RunAt::In(span) => at + span,
            RunAt::At(moment) => moment,
        }
    }

    fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            RunAt::In(_) => {}
            RunAt::At(moment) => map.store_time(moment),
        }
    }
}

/// Another kind of record under the key of a job: the store speaks nonsense.
struct NotATask;

fn read<P>(entry: Entry<Record<Task<P>>>) -> Result<Entry<Task<P>>, NotATask> {
    let Entry { revision, record } = entry;
    record.work().map(|record| Entry { revision, record }).ok_or(NotATask)
}
