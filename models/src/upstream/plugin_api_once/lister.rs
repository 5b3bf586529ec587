//! Who lists the records: the start of the scheduler, and its poller.

use fencepost::machine::Relocate;
use fencepost::time::{Instant, Timestamp};

use super::super::kv::{KvAnswer, KvOp};
use super::super::mattermost::{self, Value};
use super::super::table::{TableAnswer, TableOp};
use super::{Call, Event, Key, PluginApiOnce, Stage, Turn};
use crate::subject::JobId;

/// What was found: which jobs, and when they are to run.
type Found = Vec<(JobId, Timestamp)>;

/// Where the listing is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lister {
    Off,
    Sleeping {
        until: Instant,
    },
    Listing {
        page: u32,
        found: Found,
    },
    /// The last of `rest` is being read.
    Reading {
        page: u32,
        is_full: bool,
        rest: Vec<JobId>,
        found: Found,
    },
    Tracking {
        found: Found,
    },
}

impl Lister {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Lister::Sleeping { until } => Some(*until),
            Lister::Off | Lister::Listing { .. } | Lister::Reading { .. } | Lister::Tracking { .. } => None,
        }
    }

    /// Whether it waits until it may change the map.
    pub(super) fn changes_map(&self) -> bool {
        matches!(self, Lister::Tracking { .. })
    }

    pub(super) fn relocate(&mut self, map: &mut impl Relocate) {
        match self {
            Lister::Off => {}
            Lister::Sleeping { until } => map.deadline(until),
            Lister::Listing { found, .. } | Lister::Reading { found, .. } | Lister::Tracking { found } => {
                found.iter_mut().for_each(|(_, run_at)| map.timestamp(run_at));
            }
        }
    }
}

impl PluginApiOnce {
    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        match self.stage {
            // S1
            Stage::Unstarted => {
                self.stage = Stage::Loading;
                self.list(turn, 0, Found::new());
            }
            // S2
            Stage::Loading | Stage::Started | Stage::Dead => turn.out.event(Event::Rejected),
        }
    }

    /// L9
    pub(super) fn poll(&mut self, turn: &mut Turn<'_>) {
        let Lister::Sleeping { until } = self.lister else { return };
        if turn.now.mono >= until {
            self.list(turn, 0, Found::new());
        }
    }

    fn list(&mut self, turn: &mut Turn<'_>, page: u32, found: Found) {
        self.lister = Lister::Listing { page, found };
        let (count, wall) = (turn.config.page, turn.now.wall);
        turn.out.store(Call::List, TableOp::Page { page, count, wall });
    }

    fn sleep(&mut self, turn: &Turn<'_>) {
        self.lister = Lister::Sleeping { until: turn.after(turn.config.poll_interval) };
    }

    pub(super) fn listed(&mut self, turn: &mut Turn<'_>, answer: TableAnswer<Key, Value>) {
        let Lister::Listing { page, found } = &mut self.lister else { return };
        match (answer, self.stage) {
            // L1
            (TableAnswer::Page(keys), Stage::Unstarted | Stage::Loading | Stage::Started | Stage::Dead) => {
                let (page, found) = (*page, std::mem::take(found));
                let is_full = keys.len() as u32 >= turn.config.page;
                let rest = keys.into_iter().rev().filter_map(Key::job).collect();
                self.turn_page(turn, page, is_full, rest, found);
            }
            // L7
            (TableAnswer::Row(_), Stage::Loading) => {
                (self.stage, self.lister) = (Stage::Unstarted, Lister::Off);
                turn.out.event(Event::NotStarted);
            }
            // L8
            (TableAnswer::Row(_), Stage::Unstarted | Stage::Started | Stage::Dead) => self.sleep(turn),
        }
    }

    /// Reads the next record of a page, or ends it.
    fn turn_page(&mut self, turn: &mut Turn<'_>, page: u32, is_full: bool, rest: Vec<JobId>, found: Found) {
        if let Some(job) = rest.last() {
            let get = KvOp::Get { wall: turn.now.wall };
            turn.out.store(Call::ReadListed, TableOp::Row(Key::Job(*job), get));
            self.lister = Lister::Reading { page, is_full, rest, found };
        } else if is_full {
            // L4
            self.list(turn, page + 1, found);
        } else {
            // L5
            self.lister = Lister::Tracking { found };
        }
    }

    pub(super) fn read_listed(&mut self, turn: &mut Turn<'_>, answer: &KvAnswer<Value>) {
        let Lister::Reading { page, is_full, rest, found } = &mut self.lister else { return };
        let (page, is_full) = (*page, *is_full);
        let (mut rest, mut found) = (std::mem::take(rest), std::mem::take(found));
        // L2, L3
        let run_at = mattermost::time_in(answer).ok().flatten();
        found.extend(rest.pop().zip(run_at));
        self.turn_page(turn, page, is_full, rest, found);
    }

    /// L6
    pub(super) fn track_found(&mut self, turn: &mut Turn<'_>) -> bool {
        let Lister::Tracking { found } = &mut self.lister else { return false };
        for (job, run_at) in std::mem::take(found) {
            self.track(turn, job, run_at);
        }
        self.stage = Stage::Started;
        self.sleep(turn);
        true
    }
}

impl Key {
    /// The job whose record it names.
    fn job(self) -> Option<JobId> {
        match self {
            Key::Job(job) => Some(job),
            Key::Mutex(_) => None,
        }
    }
}
