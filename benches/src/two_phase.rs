//! Two-phase commit, which stateright shows its speed with: the same states as in its example `2pc`, in other words.
//!
//! A coordinator asks so many members to commit. Each may prepare or give up by itself; the coordinator commits once
//! it has heard that all are prepared, and may give up before. What was sent stays sent, in any order.

use stateright::{Model, Property};

/// The protocol with so many members, at most 16.
#[derive(Clone, Copy, Debug)]
pub struct TwoPhase {
    /// How many.
    pub members: u8,
}

/// What the coordinator has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Nothing.
    Open,
    /// That all commit.
    Commit,
    /// That all give up.
    Abort,
}

/// What a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// Its work.
    Working,
    /// It waits for the decision.
    Prepared,
    /// It has committed.
    Committed,
    /// It has given up.
    Aborted,
}

/// A state. A row has a bit or a place for each member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    members: Vec<Member>,
    decision: Decision,
    /// Who has said that it is prepared.
    said: u16,
    /// Of whom the coordinator has heard it.
    heard: u16,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The coordinator decides.
    Decide(Decision),
    /// It hears that a member is prepared.
    Hear(u8),
    /// A member prepares.
    Prepare(u8),
    /// A member gives up by itself.
    GiveUp(u8),
    /// A member learns of the decision.
    Learn(u8),
}

impl Model for TwoPhase {
    type State = Standing;
    type Action = Event;

    fn init_states(&self) -> Vec<Standing> {
        let members = vec![Member::Working; usize::from(self.members)];
        vec![Standing { members, decision: Decision::Open, said: 0, heard: 0 }]
    }

    fn actions(&self, state: &Standing, events: &mut Vec<Event>) {
        let is_open = state.decision == Decision::Open;
        if is_open {
            if state.heard.count_ones() == u32::from(self.members) {
                events.push(Event::Decide(Decision::Commit));
            }
            events.push(Event::Decide(Decision::Abort));
        }
        for id in 0..self.members {
            if is_open && state.said >> id & 1 == 1 {
                events.push(Event::Hear(id));
            }
            if state.members[usize::from(id)] == Member::Working {
                events.extend([Event::Prepare(id), Event::GiveUp(id)]);
            }
            if !is_open {
                events.push(Event::Learn(id));
            }
        }
    }

    fn next_state(&self, state: &Standing, event: Event) -> Option<Standing> {
        let mut next = state.clone();
        match event {
            Event::Decide(decision) => next.decision = decision,
            Event::Hear(id) => next.heard |= 1 << id,
            Event::Prepare(id) => {
                next.members[usize::from(id)] = Member::Prepared;
                next.said |= 1 << id;
            }
            Event::GiveUp(id) => next.members[usize::from(id)] = Member::Aborted,
            Event::Learn(id) => {
                let is_commit = state.decision == Decision::Commit;
                next.members[usize::from(id)] = if is_commit { Member::Committed } else { Member::Aborted };
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<TwoPhase>> {
        vec![
            Property::sometimes("all give up", |_, state: &Standing| {
                state.members.iter().all(|&member| member == Member::Aborted)
            }),
            Property::sometimes("all commit", |_, state: &Standing| {
                state.members.iter().all(|&member| member == Member::Committed)
            }),
            Property::always("nobody commits beside one who gives up", |_, state: &Standing| {
                !(state.members.contains(&Member::Committed) && state.members.contains(&Member::Aborted))
            }),
        ]
    }
}
