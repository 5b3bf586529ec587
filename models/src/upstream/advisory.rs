//! A PostgreSQL server as acyl uses it: sessions, one advisory lock that they own, and one channel that they listen to.
//!
//! | operation | effect | answer |
//! |---|---|---|
//! | [`PgOp::Notify`] | opens the session, if there is room; a message to every listener, and to nobody who listens later | done, or error |
//! | [`PgOp::Listen`] | opens the listener's session, if there is room | done, or error |
//! | [`PgOp::Lock`] | takes the lock, again if the session owns it, or queues for it | granted, or waiting |
//! | [`PgOp::Fetch`] | takes the lock if the session is the first in the queue and nobody owns it | granted, or waiting |
//! | [`PgOp::Cancel`] | ends the session's query: it leaves the queue. What it owns, it owns | done |
//! | [`PgOp::Unlock`] | gives one of the session's holds back | done |
//! | [`PgOp::Receive`] | takes what has come for a listener | messages |
//! | [`PgOp::Ping`] | none: the server hears of the process | done |
//! | [`PgOp::Close`] | ends these sessions, and all that they own | done |
//!
//! A real server answers a query that waits when its turn has come; here its client asks whether it has. The server
//! notices that a process is gone when it has not heard of it for so long as [`PgOp::Ping`] says, and then ends its
//! sessions: that stands for whatever makes a server drop a connection. An operation on a session that was ended is an
//! error.

use fencepost::machine::{Identity, Relocate};
use fencepost::store::Protocol;
use fencepost::time::{Span, StoreTime};

use crate::normal::Names;
use crate::store::{Mark, Serving, Simulated, Touch};

/// The protocol of the server.
#[derive(Clone, Debug)]
pub struct Pg;

/// A connection of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// The process.
    pub process: Identity,
    /// Which of its connections.
    pub number: u32,
}

impl Session {
    /// See [`fencepost::machine::Machine::relocate`].
    pub fn relocate(&mut self, map: &mut impl Relocate) {
        map.serial(self.process, &mut self.number);
        map.identity(&mut self.process);
    }
}

/// A request to the server. `patience` is after how long it ends the sessions of a process that it does not hear of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PgOp {
    /// Tells every listener that there is a newer request.
    Notify {
        /// On which connection; it names the request, too.
        session: Session,
        /// How many connections there may be.
        room: u32,
        /// See [`PgOp`].
        patience: Span,
    },
    /// Listens from now on.
    Listen {
        /// On which connection.
        session: Session,
        /// How many connections there may be.
        room: u32,
    },
    /// Asks for the lock, and waits.
    Lock(Session),
    /// Whether the lock was granted.
    Fetch(Session),
    /// To wait no longer.
    Cancel(Session),
    /// Gives the lock back.
    Unlock(Session),
    /// What has come.
    Receive(Session),
    /// The process is there.
    Ping {
        /// The connection that is asked about.
        session: Session,
        /// See [`PgOp`].
        patience: Span,
    },
    /// The connections are closed.
    Close(Vec<Session>),
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PgAnswer {
    /// It is done.
    Done,
    /// The session owns the lock.
    Granted,
    /// It does not yet.
    Waiting,
    /// Whose requests are newer, in the order in which they came.
    Messages(Vec<Session>),
    /// It failed: it may or may not have been done.
    Error,
}

impl Protocol for Pg {
    type Op = PgOp;
    type Answer = PgAnswer;

    fn unknown() -> PgAnswer {
        PgAnswer::Error
    }
}

/// Who owns the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owned {
    session: Session,
    /// How often it was taken.
    count: u32,
    mark: Mark,
}

/// What the server knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Server {
    owned: Option<Owned>,
    queue: Vec<Session>,
    open: Vec<Session>,
    inboxes: Vec<(Session, Vec<Session>)>,
    /// Until when each process counts as alive.
    heard: Vec<(Identity, StoreTime)>,
}

impl Server {
    fn end(&mut self, ends: impl Fn(&Session) -> bool) {
        self.owned.take_if(|owned| ends(&owned.session));
        self.queue.retain(|session| !ends(session));
        self.open.retain(|session| !ends(session));
        self.inboxes.retain(|(session, _)| !ends(session));
    }

    /// Ends the sessions of processes that were not heard of for long.
    fn bury(&mut self, now: StoreTime) {
        let is_dead = |(_, until): &(Identity, StoreTime)| *until <= now;
        let dead: Vec<Identity> =
            self.heard.iter().filter(|one| is_dead(one)).map(|(process, _)| *process).collect();
        if !dead.is_empty() {
            self.heard.retain(|one| !is_dead(one));
            self.end(|session| dead.contains(&session.process));
        }
    }

    fn hear(&mut self, process: Identity, until: StoreTime, serving: &Serving<'_>) {
        match self.heard.iter_mut().find(|(other, _)| *other == process) {
            Some((_, heard)) => *heard = until.max(*heard),
            None => self.heard.push((process, until)),
        }
        if let Some(owned) = self.owned.as_mut().filter(|owned| owned.session.process == process) {
            owned.mark.renew(serving, until);
        }
    }

    fn open(&mut self, session: Session, room: u32) -> bool {
        let is_open = self.open.contains(&session);
        let has_room = is_open || self.open.len() < room as usize;
        if !is_open && has_room {
            self.open.push(session);
        }
        has_room
    }

    fn until(&self, process: Identity) -> StoreTime {
        self.heard.iter().find(|(other, _)| *other == process).map_or(StoreTime::ZERO, |(_, until)| *until)
    }

    /// Takes the lock for whoever is first in the queue, if that is this one.
    fn take(&mut self, session: Session, serving: &mut Serving<'_>) -> PgAnswer {
        if let Some(owned) = &self.owned {
            if owned.session != session {
                serving.touch = Touch::Refused(owned.mark);
            }
            return if owned.session == session { PgAnswer::Granted } else { PgAnswer::Waiting };
        }
        if self.queue.first() != Some(&session) {
            return PgAnswer::Waiting;
        }
        self.queue.remove(0);
        let mark = Mark { expires: self.until(session.process), ..serving.mark(None) };
        self.owned = Some(Owned { session, count: 1, mark });
        serving.touch = Touch::Wrote(None);
        PgAnswer::Granted
    }

    fn unlock(&mut self, session: Session, serving: &mut Serving<'_>) {
        let Some(owned) = self.owned.as_mut().filter(|owned| owned.session == session) else { return };
        owned.count -= 1;
        if owned.count == 0 {
            serving.touch = Touch::Deleted(owned.mark);
            self.owned = None;
        }
    }
}

impl Simulated for Pg {
    type Shelf = Server;

    /// Whether a sign of life that comes late makes the lock any younger.
    const COUNTS_AGE: bool = true;

    fn serve(op: &PgOp, server: &mut Server, serving: &mut Serving<'_>) -> PgAnswer {
        server.bury(serving.now + serving.grain.early - serving.grain.late);
        serving.to_lock = true;
        let is_open = |server: &Server, session: &Session| server.open.contains(session);
        match op {
            PgOp::Notify { session, room, patience } => {
                if !server.open(*session, *room) {
                    return PgAnswer::Error;
                }
                server.hear(session.process, serving.now + *patience, serving);
                server.inboxes.iter_mut().for_each(|(_, inbox)| inbox.push(*session));
                (serving.to_lock, serving.request) = (false, Some(serving.now));
                serving.touch = Touch::Wrote(None);
                PgAnswer::Done
            }
            PgOp::Listen { session, room } => {
                if !server.open(*session, *room) {
                    return PgAnswer::Error;
                }
                if server.inboxes.iter().all(|(other, _)| other != session) {
                    server.inboxes.push((*session, Vec::new()));
                }
                PgAnswer::Done
            }
            PgOp::Lock(session) | PgOp::Fetch(session) if !is_open(server, session) => PgAnswer::Error,
            PgOp::Lock(session) => {
                if let Some(owned) = server.owned.as_mut().filter(|owned| owned.session == *session) {
                    owned.count += 1;
                    return PgAnswer::Granted;
                }
                server.queue.push(*session);
                server.take(*session, serving)
            }
            PgOp::Fetch(session) => server.take(*session, serving),
            PgOp::Cancel(session) => {
                server.queue.retain(|other| other != session);
                PgAnswer::Done
            }
            PgOp::Unlock(session) if !is_open(server, session) => PgAnswer::Error,
            PgOp::Unlock(session) => {
                server.unlock(*session, serving);
                PgAnswer::Done
            }
            PgOp::Receive(session) => match server.inboxes.iter_mut().find(|(other, _)| other == session) {
                Some((_, inbox)) => PgAnswer::Messages(std::mem::take(inbox)),
                None => PgAnswer::Error,
            },
            PgOp::Ping { session, .. } if !is_open(server, session) => PgAnswer::Error,
            PgOp::Ping { session, patience } => {
                server.hear(session.process, serving.now + *patience, serving);
                PgAnswer::Done
            }
            PgOp::Close(sessions) => {
                server.end(|session| sessions.contains(session));
                PgAnswer::Done
            }
        }
    }

    fn is_read(_: &PgOp) -> bool {
        false
    }

    fn lock(server: &mut Server) -> Option<&mut Mark> {
        server.owned.as_mut().map(|owned| &mut owned.mark)
    }

    fn for_each_mark(server: &mut Server, look: &mut dyn FnMut(&mut Mark)) {
        server.owned.iter_mut().for_each(|owned| look(&mut owned.mark));
    }

    fn sweep(server: &mut Server, dead: StoreTime) {
        server.bury(dead);
    }

    fn relocate_op(op: &mut PgOp, names: &mut Names) {
        match op {
            PgOp::Notify { session, .. }
            | PgOp::Listen { session, .. }
            | PgOp::Lock(session)
            | PgOp::Fetch(session)
            | PgOp::Cancel(session)
            | PgOp::Unlock(session)
            | PgOp::Receive(session)
            | PgOp::Ping { session, .. } => session.relocate(names),
            PgOp::Close(sessions) => sessions.iter_mut().for_each(|session| session.relocate(names)),
        }
    }

    fn relocate_answer(answer: &mut PgAnswer, names: &mut Names) {
        if let PgAnswer::Messages(sessions) = answer {
            relocate_inbox(sessions, names);
        }
    }

    /// Only the queue has an order: of all else it does not matter, and of messages neither does how often they came.
    fn relocate_shelf(server: &mut Server, names: &mut Names) {
        let Server { owned, queue, open, inboxes, heard } = server;
        if let Some(owned) = owned {
            owned.session.relocate(names);
            owned.mark.relocate(names);
        }
        queue.iter_mut().chain(open.iter_mut()).for_each(|session| session.relocate(names));
        for (session, inbox) in inboxes.iter_mut() {
            session.relocate(names);
            relocate_inbox(inbox, names);
        }
        for (process, until) in heard.iter_mut() {
            Relocate::identity(names, process);
            names.expiry(until);
        }
        open.sort_unstable();
        inboxes.sort_unstable();
        heard.sort_unstable();
    }
}

/// Whoever receives asks whose they are, and neither in which order they came nor how often.
fn relocate_inbox(sessions: &mut Vec<Session>, names: &mut Names) {
    sessions.iter_mut().for_each(|session| session.relocate(names));
    sessions.sort_unstable();
    sessions.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::bench::{A, B, serve_at};

    const ROOM: u32 = 4;
    const PATIENCE: Span = Span::from_secs(15);

    fn session(process: u64, number: u32) -> Session {
        Session { process: Identity(process), number }
    }

    fn done(server: &mut Server, millis: u64, op: PgOp) -> PgAnswer {
        let by = if matches!(&op, PgOp::Lock(one) | PgOp::Fetch(one) if one.process == Identity(2)) {
            B
        } else {
            A
        };
        serve_at::<Pg>(&op, server, millis, by).0
    }

    fn notify(session: Session) -> PgOp {
        PgOp::Notify { session, room: ROOM, patience: PATIENCE }
    }

    #[test]
    fn the_lock_goes_to_the_first_in_the_queue() {
        let (mut server, [a, b, c]) = (Server::default(), [1, 2, 3].map(|process| session(process, 1)));
        for one in [a, b, c] {
            assert_eq!(done(&mut server, 0, notify(one)), PgAnswer::Done);
        }
        assert_eq!(done(&mut server, 1, PgOp::Lock(a)), PgAnswer::Granted);
        assert_eq!(done(&mut server, 2, PgOp::Lock(b)), PgAnswer::Waiting);
        assert_eq!(done(&mut server, 3, PgOp::Lock(c)), PgAnswer::Waiting);
        assert_eq!(done(&mut server, 4, PgOp::Unlock(a)), PgAnswer::Done);
        assert_eq!(done(&mut server, 5, PgOp::Fetch(c)), PgAnswer::Waiting);
        assert_eq!(done(&mut server, 6, PgOp::Fetch(b)), PgAnswer::Granted);
    }

    #[test]
    fn l5_whoever_listens_later_hears_nothing() {
        let (mut server, listener) = (Server::default(), session(1, 2));
        done(&mut server, 0, notify(session(2, 1)));
        done(&mut server, 1, PgOp::Listen { session: listener, room: ROOM });
        assert_eq!(done(&mut server, 2, PgOp::Receive(listener)), PgAnswer::Messages(Vec::new()));
        done(&mut server, 3, notify(session(3, 1)));
        assert_eq!(done(&mut server, 4, PgOp::Receive(listener)), PgAnswer::Messages(vec![session(3, 1)]));
        assert_eq!(done(&mut server, 5, PgOp::Receive(listener)), PgAnswer::Messages(Vec::new()));
    }

    #[test]
    fn l7_a_session_enters_again_what_it_owns() {
        let (mut server, a) = (Server::default(), session(1, 1));
        done(&mut server, 0, notify(a));
        assert_eq!(done(&mut server, 1, PgOp::Lock(a)), PgAnswer::Granted);
        assert_eq!(done(&mut server, 2, PgOp::Lock(a)), PgAnswer::Granted);
        done(&mut server, 3, PgOp::Unlock(a));
        assert!(Pg::lock(&mut server).is_some());
        done(&mut server, 4, PgOp::Unlock(a));
        assert!(Pg::lock(&mut server).is_none());
    }

    #[test]
    fn l6_a_process_that_is_not_heard_of_loses_its_sessions() {
        let (mut server, a) = (Server::default(), session(1, 1));
        done(&mut server, 0, notify(a));
        done(&mut server, 1, PgOp::Lock(a));
        done(&mut server, 10_000, PgOp::Ping { session: a, patience: PATIENCE });
        assert_eq!(done(&mut server, 24_999, PgOp::Fetch(a)), PgAnswer::Granted);
        assert_eq!(done(&mut server, 25_000, PgOp::Fetch(a)), PgAnswer::Error);
        assert!(Pg::lock(&mut server).is_none());
    }

    #[test]
    fn l9_there_is_no_room_for_more_connections_than_there_may_be() {
        let mut server = Server::default();
        for number in 0..ROOM {
            assert_eq!(done(&mut server, 0, notify(session(1, number))), PgAnswer::Done);
        }
        assert_eq!(done(&mut server, 1, notify(session(1, ROOM))), PgAnswer::Error);
        done(&mut server, 2, PgOp::Close(vec![session(1, 0)]));
        assert_eq!(done(&mut server, 3, notify(session(1, ROOM))), PgAnswer::Done);
    }
}
