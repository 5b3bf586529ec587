//! What happened, in one order: what workers said, what the resource decided, and what was done to whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::plan::Hit;
use crate::words::{ATTEMPTS, Delivery, Moment, Note, What, now};

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Moment,
    pub(crate) what: Happened,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Happened {
    /// A worker said something.
    Said {
        who: usize,
        life: u32,
        what: What,
    },
    /// The write that a worker showed last has arrived.
    Arrived {
        who: usize,
    },
    /// Something was done to a worker or to the server.
    Hit(Hit),
    /// What stood still goes on; what was down is up.
    Resumed {
        who: usize,
    },
    Restarted {
        who: usize,
    },
    /// The way of a worker to the server is whole again.
    Mended {
        who: usize,
    },
    ServerResumed,
    /// A worker has ended by itself.
    Panicked {
        who: usize,
    },
    /// From now on nothing is done to anybody.
    Healed,
    /// An entry was still there long after everybody had left: of this token, if it was the lock's.
    Orphan {
        token: Option<u64>,
    },
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) grants: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) losses: u64,
    pub(crate) denials: u64,
    pub(crate) jobs: u64,
    pub(crate) runs: u64,
    pub(crate) unknown: u64,
}

impl Counts {
    /// What each of them is called.
    pub(crate) const NAMES: [&'static str; 8] =
        ["grants", "writes", "refused", "losses", "denied", "jobs", "runs", "unknown"];

    pub(crate) fn each(&self) -> [u64; 8] {
        let Counts { grants, accepted, refused, losses, denials, jobs, runs, unknown } = *self;
        [grants, accepted, refused, losses, denials, jobs, runs, unknown]
    }

    pub(crate) fn each_mut(&mut self) -> [&mut u64; 8] {
        let Counts { grants, accepted, refused, losses, denials, jobs, runs, unknown } = self;
        [grants, accepted, refused, losses, denials, jobs, runs, unknown]
    }
}

/// The guarded resource: it refuses tokens lower than the highest that it has seen, if it is as it should be.
#[derive(Debug)]
struct Resource {
    highest: u64,
    fenced: bool,
}

impl Resource {
    fn take(&mut self, token: u64) -> bool {
        let accepted = token >= self.highest || !self.fenced;
        self.highest = self.highest.max(token);
        accepted
    }
}

#[derive(Debug)]
struct Pages {
    entries: Vec<Entry>,
    resource: Resource,
    counts: Counts,
    /// Unknown outcomes, as each life of each worker has counted them.
    unknown: BTreeMap<(usize, u32), u64>,
    done: Vec<bool>,
    /// Who was granted the lock last, and has not said since that it holds no more.
    holder: Option<usize>,
    /// Jobs at least once that were accepted, and whether they are settled.
    owed: BTreeMap<u32, bool>,
    settled: Vec<u32>,
}

impl Pages {
    fn settle(&mut self, job: u32) {
        self.settled.push(job);
        self.owed.entry(job).and_modify(|settled| *settled = true);
    }
}

/// The journal of a round. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pages: Arc<Mutex<Pages>>,
    /// Rung when somebody is done, or a job.
    news: Arc<Notify>,
}

impl Journal {
    pub(crate) fn new(workers: usize, fenced: bool) -> Journal {
        let pages = Pages {
            entries: Vec::new(),
            resource: Resource { highest: 0, fenced },
            counts: Counts::default(),
            unknown: BTreeMap::new(),
            done: vec![false; workers],
            holder: None,
            owed: BTreeMap::new(),
            settled: Vec::new(),
        };
        Journal { pages: Arc::new(Mutex::new(pages)), news: Arc::new(Notify::new()) }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is done at this moment.
    pub(crate) fn note(&self, what: Happened) {
        let mut pages = self.pages();
        if let Happened::Restarted { who } = what {
            pages.done[who] = false;
        }
        pages.entries.push(Entry { at: now(), what });
    }

    /// Hears a worker. If it shows a token to the resource, the decision is the answer.
    pub(crate) fn hear(&self, who: usize, life: u32, note: &Note) -> Option<bool> {
        let mut pages = self.pages();
        let pages = &mut *pages;
        let what = note.what;
        pages.entries.push(Entry { at: note.at, what: Happened::Said { who, life, what } });
        let seen = pages.unknown.entry((who, life)).or_default();
        pages.counts.unknown += note.unknown.saturating_sub(*seen);
        *seen = note.unknown.max(*seen);
        let mut decision = None;
        match what {
            What::Registers { token } => decision = Some(pages.resource.take(token)),
            What::Writes { token, .. } => {
                let accepted = pages.resource.take(token);
                decision = Some(accepted);
                pages.counts.accepted += u64::from(accepted);
                pages.counts.refused += u64::from(!accepted);
                pages.entries.push(Entry { at: now(), what: Happened::Arrived { who } });
            }
            What::Granted { .. } => {
                pages.counts.grants += 1;
                pages.holder = Some(who);
            }
            What::Lost => {
                pages.counts.losses += 1;
                pages.holder = pages.holder.filter(|holder| *holder != who);
            }
            What::Unlocks => pages.holder = pages.holder.filter(|holder| *holder != who),
            What::Denied => pages.counts.denials += 1,
            What::Accepted { delivery, job } => {
                pages.counts.jobs += 1;
                if delivery == Delivery::AtLeastOnce {
                    let settled = pages.settled.contains(&job);
                    pages.owed.insert(job, settled);
                }
            }
            What::Begins { delivery, job, attempt, .. } => {
                pages.counts.runs += 1;
                // Of the last attempt nobody owes more than that it begins.
                if delivery == Delivery::AtLeastOnce && attempt >= ATTEMPTS {
                    pages.settle(job);
                }
            }
            What::Ends { delivery: Delivery::AtLeastOnce, job, succeeded: true } => pages.settle(job),
            What::Done => pages.done[who] = true,
            What::Up
            | What::Asks { .. }
            | What::Cancels
            | What::Released
            | What::Schedules { .. }
            | What::Declined { .. }
            | What::Ends { .. } => {}
        }
        self.news.notify_one();
        decision
    }

    /// Waits until every worker is done, and every job that has to be.
    pub(crate) async fn quiet(&self) {
        loop {
            let heard = self.news.notified();
            {
                let pages = self.pages();
                if pages.done.iter().all(|&done| done) && pages.owed.values().all(|&settled| settled) {
                    return;
                }
            }
            heard.await;
        }
    }

    /// Who holds the lock, as far as anybody knows.
    pub(crate) fn holder(&self) -> Option<usize> {
        self.pages().holder
    }

    pub(crate) fn counts(&self) -> Counts {
        self.pages().counts
    }

    /// All of it.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.pages().entries.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(journal: &Journal, what: What) -> Option<bool> {
        journal.hear(0, 0, &Note { at: now(), unknown: 0, what })
    }

    #[test]
    fn a_resource_refuses_old_tokens_and_one_without_fencing_takes_them() {
        for fenced in [true, false] {
            let journal = Journal::new(1, fenced);
            assert_eq!(told(&journal, What::Registers { token: 5 }), Some(true));
            let old = told(&journal, What::Writes { token: 4, checked: 0, until: 0 });
            assert_eq!(old, Some(!fenced), "fenced: {fenced}");
            assert_eq!(told(&journal, What::Writes { token: 5, checked: 0, until: 0 }), Some(true));
            assert_eq!(journal.counts().refused, u64::from(fenced));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nothing_is_quiet_while_a_worker_or_a_job_is_owed() {
        let journal = Journal::new(1, true);
        let is_quiet = async |journal: &Journal| {
            let mut quiet = std::pin::pin!(journal.quiet());
            std::future::poll_fn(|context| std::task::Poll::Ready(quiet.as_mut().poll(context).is_ready()))
                .await
        };
        assert!(!is_quiet(&journal).await, "a worker is not done");
        told(&journal, What::Done);
        assert!(is_quiet(&journal).await);
        let delivery = Delivery::AtLeastOnce;
        told(&journal, What::Accepted { delivery, job: 3 });
        assert!(!is_quiet(&journal).await, "a job is owed");
        told(&journal, What::Ends { delivery, job: 3, succeeded: false });
        assert!(!is_quiet(&journal).await, "it has failed, and may be tried again");
        told(&journal, What::Ends { delivery, job: 3, succeeded: true });
        assert!(is_quiet(&journal).await);
        journal.note(Happened::Restarted { who: 0 });
        assert!(!is_quiet(&journal).await, "who began again has to finish again");
    }
}
