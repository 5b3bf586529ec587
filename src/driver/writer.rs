//! The handle of the writer lease.

mod desk;

use core::time::Duration;
use std::boxed::Box;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time;

use self::desk::{Ask, Desk, View, Work, WriterCell};
use super::board::Board;
use super::cell::Cell;
use super::error::{self, SetupError};
use super::signals::Signals;
use super::store::Store;
use crate::engine::clock;
use crate::once::Name;
use crate::store::FencingToken;
use crate::writer::{Arbiter, End, Request, State, Unit, WorkId, WorkResult, WriterConfig};

/// A writer: every instance wants the same work done, and whoever succeeds leads; the others let their work wait, and
/// forget what they see done. See [`crate::writer`] for what is promised and how.
///
/// Clones are the same writer. When the last one is dropped, it stops, and nobody waits for that. Work that keeps a clone
/// of its own writer keeps it running until it is stopped or the store is closed.
///
/// ```
/// use fencepost::driver::{Store, Worked, WriterLease};
/// use fencepost::writer::{End, Unit, WorkId, WorkResult, WriterConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // With the default arbiter, the work itself decides who leads, and the store is asked for nothing.
/// let store = Store::memory();
/// let writer = WriterLease::start(&store, "routes", WriterConfig::default())?;
/// let attempt = writer.attempt("route 5", Unit::new(WorkId(17)), |_run| async {
///     // Write it, unless it is written already; after a conflict: Worked::again(WorkResult::Release).
///     Worked::done(WorkResult::Extend)
/// });
/// assert_eq!(attempt.settled().await, End::Done);
/// assert!(writer.wait().await, "its work has succeeded, so it leads");
/// writer.stop().await;
/// assert!(!writer.is_leader());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WriterLease<K: Name> {
    line: Arc<Lifeline<K>>,
    view: Arc<Board<View>>,
}

impl<K: Name> Clone for WriterLease<K> {
    fn clone(&self) -> WriterLease<K> {
        WriterLease { line: self.line.clone(), view: self.view.clone() }
    }
}

/// Stops the writer when nobody has a handle of it any more.
#[derive(Debug)]
struct Lifeline<K: Name>(Arc<WriterCell<K>>);

impl<K: Name> Drop for Lifeline<K> {
    fn drop(&mut self) {
        self.0.ask(Ask::Of(Request::Stop));
    }
}

/// What one run of a unit of work has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worked {
    /// What it says about who leads.
    pub result: WorkResult,
    /// Whether it is to be run again.
    pub retry: bool,
}

impl Worked {
    /// It need not be run again.
    pub const fn done(result: WorkResult) -> Worked {
        Worked { result, retry: false }
    }

    /// It is to be run again, after [`WriterConfig::retry_interval`].
    pub const fn again(result: WorkResult) -> Worked {
        Worked { result, retry: true }
    }
}

/// One run of a unit of work, as the work knows it. Cheap to clone, if its key is.
#[derive(Clone, Debug)]
pub struct WorkRun<K> {
    key: K,
    id: WorkId,
    token: Option<FencingToken>,
    signals: Arc<Signals>,
}

impl<K> WorkRun<K> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Which piece of work.
    pub fn id(&self) -> WorkId {
        self.id
    }

    /// What to show to whatever it writes to; `None`, if the work itself decides who leads.
    pub fn token(&self) -> Option<FencingToken> {
        self.token
    }

    /// Whether the lock is held now under which it runs; see [`Guard::is_held`](super::Guard::is_held). Never, if the work
    /// itself decides who leads: then there is none.
    pub fn is_held(&self) -> bool {
        self.signals.holds(clock::mono())
    }

    /// Whether it should end soon.
    pub fn is_interrupted(&self) -> bool {
        self.signals.is_interrupted()
    }

    /// Waits until it should end soon: its lock is lost or is to be left, or its writer stops. Nobody ends it by force.
    ///
    /// Cancel safe.
    pub async fn interrupted(&self) {
        self.signals.interrupted().await;
    }
}

/// Work that was tried. Dropping it takes nothing away but the wait for its end.
#[derive(Debug)]
pub struct Attempt(oneshot::Receiver<End>);

impl Attempt {
    /// Waits until nothing more will be done for this piece of work: why.
    ///
    /// Cancel safe: the work goes on.
    pub async fn settled(self) -> End {
        // Nobody is left to tell it: the writer has stopped, or its runtime has.
        self.0.await.unwrap_or(End::Stopped)
    }
}

impl<K: Name> WriterLease<K> {
    /// A writer that runs work from now on, until it is stopped. Those of one name share a lock, if
    /// [`WriterConfig::arbiter`] asks for one; if not, no store is asked for anything.
    ///
    /// # Errors
    ///
    /// [`SetupError`], if the configuration makes no sense or the store cannot keep it, or is closed.
    pub fn start(store: &Store, name: &str, config: WriterConfig) -> Result<WriterLease<K>, SetupError> {
        let (terms, limits) = (config.terms()?, store.limits());
        if let Arbiter::Lock(mutex) = &config.arbiter {
            error::long_enough(&limits, mutex.lease.ttl)?;
        }
        let space = error::space(&limits, "writer", name)?;
        let view = Arc::new(Board::new(View::default()));
        let has_lock = terms.mutex().is_some();
        let cell = Cell::new(&store.core, space.into(), Arc::new(terms), |me| {
            Desk::new(me.clone(), name, has_lock, view.clone())
        });
        let cell = cell.ok_or_else(|| SetupError::Closed { key: name.into() })?;
        cell.ask(Ask::Of(Request::Start));
        Ok(WriterLease { line: Arc::new(Lifeline(cell)), view })
    }

    /// Tries this work under that key, when this writer leads or competes, in place of what waits there. Work that panics
    /// has failed, and is run again.
    ///
    /// The work is made anew for each run. After [`WriterLease::stop`], it is settled at once ([`End::Stopped`]).
    pub fn attempt<C, F>(&self, key: K, unit: Unit, work: C) -> Attempt
    where
        C: Fn(WorkRun<K>) -> F + Send + Sync + 'static,
        F: Future<Output = Worked> + Send + 'static,
    {
        let (reply, settled) = oneshot::channel();
        let work: Work<K> = Arc::new(move |run| Box::pin(work(run)));
        self.cell().ask(Ask::Try { key, unit, work, reply });
        Attempt(settled)
    }

    /// This piece of work was seen done, by another one or by itself: it is settled here, and a newer one under that key
    /// is not.
    pub fn extend(&self, key: K, id: WorkId) {
        self.cell().ask(Ask::Of(Request::Extend(key, id)));
    }

    /// Does nothing more under that key. Work that runs is not interrupted, nor run again.
    pub fn remove(&self, key: K) {
        self.cell().ask(Ask::Of(Request::Remove(key)));
    }

    /// Whoever leads does so no longer: a leader steps down, a follower waits no longer. It is on its way when this returns; another
    /// thread may be at it.
    pub fn expire(&self) {
        self.cell().ask(Ask::Of(Request::Expire));
    }

    /// How many keys have work, running or waiting.
    pub fn len(&self) -> usize {
        self.view.read(|view| view.len)
    }

    /// Whether there is no work.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it stands. A leader whose term has passed is a follower.
    pub fn state(&self) -> State {
        let now = clock::mono();
        self.view.read(|view| match view.state {
            State::Leader if !view.leads(now) => State::Follower,
            state => state,
        })
    }

    /// Whether it leads now: one look at this machine's clock, and one at the end of its term, or of its lock.
    pub fn is_leader(&self) -> bool {
        let now = clock::mono();
        self.view.read(|view| view.leads(now))
    }

    /// Waits until it is known who leads, because something has come to its end since the start, or the writer has
    /// stopped: whether this one leads.
    ///
    /// Cancel safe.
    pub async fn wait(&self) -> bool {
        self.view.wait(|view| (view.decided || view.stopped).then_some(())).await;
        self.is_leader()
    }

    /// As [`WriterLease::wait`], but not longer than so: `None`, if it is not known by then.
    ///
    /// Cancel safe.
    pub async fn wait_timeout(&self, within: Duration) -> Option<bool> {
        time::timeout(within, self.wait()).await.ok()
    }

    /// Runs nothing any more. What waits is settled ([`End::Stopped`]), what runs is interrupted, and waited for.
    ///
    /// Cancel safe: once it was polled, it stops, whether anybody waits for that or not. Work must not wait for its own
    /// writer to stop.
    pub async fn stop(&self) {
        self.cell().ask(Ask::Of(Request::Stop));
        self.view.wait(|view| view.stopped.then_some(())).await;
    }

    fn cell(&self) -> &Arc<WriterCell<K>> {
        &self.line.0
    }
}
