//! The handle of the leadership flag.

use core::time::Duration;
use std::string::String;
use std::sync::Arc;

use metrics::Gauge;
use tokio::sync::oneshot::{self, Sender};

use super::board::Board;
use super::cell::{Caller, Cell};
use super::error::{self, SetupError};
use super::observe;
use super::store::Store;
use super::tenure::Belief;
use crate::engine::clock;
use crate::flag as machine;
use crate::flag::{Call, Event, FlagConfig, Leader, Misuse, PetitionEnd, Process, Request};
use crate::machine::AnswerOf;
use crate::store::{Answer, FencingToken};
use crate::time::{Instant, StoreTime};

type FlagCell = Cell<machine::Flag, Desk>;

/// A flag: of all processes that stand for it, at most one has it raised, and everybody sees which. See
/// [`crate::flag`] for what is promised and how.
///
/// Clones are the same flag. When the last one is dropped, it closes, and nobody waits for that.
///
/// ```
/// use fencepost::driver::{Flag, Store};
/// use fencepost::flag::FlagConfig;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let flag = Flag::stand(&store, FlagConfig::new("billing", "billing-0"))?;
/// let term = flag.until_raised().await;
/// assert_eq!(flag.raised(), term);
/// assert_eq!(flag.leader().map(|leader| leader.process.to_string()).as_deref(), Some("billing-0"));
/// flag.close().await;
/// assert_eq!(flag.raised(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Flag {
    line: Arc<Lifeline>,
    view: Arc<Board<View>>,
}

/// Closes the flag when nobody has a handle of it any more.
#[derive(Debug)]
struct Lifeline(Arc<FlagCell>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.ask(Ask::Of(Request::Close));
    }
}

/// What is seen of the flag.
#[derive(Debug, Default)]
struct View {
    term: Option<Term>,
    leader: Option<Leader>,
    /// Who asks this process to resign, until that was heard or the term is over.
    petitioner: Option<Process>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Term {
    token: FencingToken,
    belief: Arc<Belief>,
}

impl View {
    /// The term of this process, if it may be believed now.
    fn raised(&self) -> Option<FencingToken> {
        let term = self.term.as_ref()?;
        term.belief.holds(clock::mono().as_nanos()).then_some(term.token)
    }
}

/// Why a petition was not sent, or has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PetitionError {
    /// No other process is seen to lead.
    #[error("there is nobody to ask: no other process is seen to lead")]
    NoLeader,
    /// A petition is under way.
    #[error("a petition is under way already; wait for its end")]
    UnderWay,
    /// The flag is closed.
    #[error("the flag is closed")]
    Closed,
}

impl Flag {
    /// Takes part in the leadership of [`FlagConfig::name`]: leads whenever nobody else does, or only watches, as the
    /// configuration says.
    ///
    /// # Errors
    ///
    /// [`SetupError`], if the configuration makes no sense or the store cannot keep it, or is closed.
    pub fn stand(store: &Store, config: FlagConfig) -> Result<Flag, SetupError> {
        let (terms, limits) = (config.terms()?, store.limits());
        error::long_enough(&limits, config.interval)?;
        let space = error::space(&limits, "flag", &config.name)?;
        let view = Arc::new(Board::new(View::default()));
        let (name, process) = (config.name.clone(), config.process.clone());
        let desk = Desk { name, process, view: view.clone(), asking: None, petition: None };
        let cell = Cell::new(&store.core, space.into(), Arc::new(terms), |_| desk);
        let cell = cell.ok_or_else(|| SetupError::Closed { key: config.name.clone() })?;
        gauge(&config.name, &config.process).increment(0.0);
        cell.ask(Ask::Of(Request::Stand));
        Ok(Flag { line: Arc::new(Lifeline(cell)), view })
    }

    /// The term of this process, if it leads now: one look at this machine's clock, and one at the end of the term. Ask it
    /// on the guarded path, and show it to whatever the leader writes to.
    pub fn raised(&self) -> Option<FencingToken> {
        self.view.read(View::raised)
    }

    /// For how long this process leads from now on if nothing renews its term; zero, if it does not lead.
    pub fn remaining(&self) -> Duration {
        let now = clock::mono().as_nanos();
        let left = |view: &View| view.term.as_ref().map_or(0, |term| term.belief.remaining(now));
        Duration::from_nanos(self.view.read(left))
    }

    /// Who was seen to lead last, this process included.
    pub fn leader(&self) -> Option<Leader> {
        self.view.read(|view| view.leader.clone())
    }

    /// Waits until this process leads: its term; `None`, if the flag was closed.
    ///
    /// Cancel safe.
    pub async fn until_raised(&self) -> Option<FencingToken> {
        let raised = |view: &View| match view.raised() {
            Some(term) => Some(Some(term)),
            None => view.closed.then_some(None),
        };
        self.view.wait(raised).await
    }

    /// Waits until this process does not lead, or not under this term any more.
    ///
    /// Cancel safe.
    pub async fn until_lowered(&self, term: FencingToken) {
        let is_over = |view: &View| view.term.as_ref().is_none_or(|current| current.token != term);
        self.view.wait(|view| is_over(view).then_some(())).await;
    }

    /// Waits until another leader is seen than this one, or none: whom it sees. `None` as well, if the flag was closed.
    ///
    /// Cancel safe.
    pub async fn until_leader_is_not(&self, leader: Option<&Leader>) -> Option<Leader> {
        let is_news = |view: &View| view.leader.as_ref() != leader || view.closed;
        self.view.wait(|view| is_news(view).then(|| view.leader.clone())).await
    }

    /// Waits until another process asks this one, which leads, to resign: who. `None`, if the flag was closed.
    ///
    /// Each petition is heard by one who waits. Cancel safe.
    pub async fn petitioned(&self) -> Option<Process> {
        let is_asked = |view: &View| (view.petitioner.is_some() || view.closed).then_some(());
        loop {
            self.view.wait(is_asked).await;
            // Another one who waits may have heard it first, or the term may be over.
            let (petitioner, closed) = self.view.update(|view| (view.petitioner.take(), view.closed));
            if closed || petitioner.is_some() {
                return petitioner;
            }
        }
    }

    /// Lowers the flag and lets others have a turn, if this process leads; it stands again afterwards.
    pub fn resign(&self) {
        self.cell().ask(Ask::Of(Request::Resign));
    }

    /// Says whether this process is fit to lead. One that is not lowers its flag, and does not stand until it is fit.
    pub fn set_fit(&self, fit: bool) {
        self.cell().ask(Ask::Of(Request::Fit(fit)));
    }

    /// Asks the leader to resign, and says what came of that.
    ///
    /// Cancel safe: the petition goes on.
    ///
    /// # Errors
    ///
    /// [`PetitionError`].
    pub async fn petition(&self) -> Result<PetitionEnd, PetitionError> {
        let (reply, answer) = oneshot::channel();
        self.cell().ask(Ask::Petition(reply));
        answer.await.unwrap_or(Err(PetitionError::Closed))
    }

    /// Takes part no longer.
    ///
    /// Cancel safe: once it was polled, the flag closes, whether anybody waits for that or not.
    pub async fn close(&self) {
        self.cell().ask(Ask::Of(Request::Close));
        self.view.wait(|view| view.closed.then_some(())).await;
    }

    fn cell(&self) -> &Arc<FlagCell> {
        &self.line.0
    }
}

/// What is asked of a flag.
#[derive(Debug)]
pub(crate) enum Ask {
    Of(Request),
    Petition(Sender<PetitionAnswer>),
}

type PetitionAnswer = Result<PetitionEnd, PetitionError>;

/// The callers' side of a flag.
#[derive(Debug)]
pub(crate) struct Desk {
    name: String,
    process: String,
    view: Arc<Board<View>>,
    /// Who has asked last. Whether the machine took it is known when the next one asks: it refuses at once.
    asking: Option<Sender<PetitionAnswer>>,
    petition: Option<Sender<PetitionAnswer>>,
}

impl Desk {
    fn raise(&mut self, token: FencingToken, until: Option<Instant>) {
        let belief = Arc::new(Belief::new());
        if let Some(until) = until {
            belief.set(until.as_nanos());
        }
        self.view.update(|view| view.term = Some(Term { token, belief }));
        tracing::info!(target: "fencepost", flag = self.name, term = token.0, "flag raised");
        gauge(&self.name, &self.process).increment(1.0);
    }

    fn lower(&self) {
        self.view.update(|view| {
            if let Some(term) = view.term.take() {
                term.belief.end();
            }
            view.petitioner = None;
        });
        tracing::info!(target: "fencepost", flag = self.name, "flag lowered");
        gauge(&self.name, &self.process).decrement(1.0);
    }

    fn is_closed(&self) -> bool {
        self.view.read(|view| view.closed)
    }

    fn reply(to: Option<Sender<PetitionAnswer>>, answer: PetitionAnswer) {
        if let Some(to) = to {
            // Who asked may have gone.
            let _ = to.send(answer);
        }
    }
}

/// Shows whether this process leads, under the name that the flag of OCM's SDK has for that. It is counted up and down, so that
/// whoever else stands or watches here under the same names does not hide that one of them leads.
fn gauge(name: &str, process: &str) -> Gauge {
    let labels = [("name", String::from(name)), ("process", String::from(process))];
    metrics::gauge!("fencepost_leadership_flag_state", &labels)
}

impl Caller<machine::Flag> for Desk {
    type Ask = Ask;

    fn ask(&mut self, _: &machine::Flag, ask: Ask) -> Option<Request> {
        if self.asking.is_some() {
            self.petition = self.asking.take();
        }
        match ask {
            Ask::Of(request) => Some(request),
            // The reply is dropped: nobody would bring the answer.
            Ask::Petition(_) if self.is_closed() => None,
            Ask::Petition(reply) => {
                self.asking = Some(reply);
                Some(Request::Petition)
            }
        }
    }

    fn stepped(&mut self, machine: &machine::Flag) {
        self.view.read(|view| {
            if let Some(term) = &view.term {
                match machine.until() {
                    Some(until) => term.belief.set(until.as_nanos()),
                    None => term.belief.end(),
                }
            }
        });
    }

    fn event(&mut self, machine: &machine::Flag, _: Instant, event: Event) -> Option<Request> {
        match event {
            Event::Raised(token) => self.raise(token, machine.until()),
            Event::Lowered(_) => self.lower(),
            Event::Leader(leader) => self.view.update(|view| view.leader = leader),
            Event::Petitioned { by } => self.view.update(|view| view.petitioner = Some(by)),
            Event::PetitionEnded(end) => {
                let petition = self.petition.take();
                Desk::reply(petition.or_else(|| self.asking.take()), Ok(end));
            }
            Event::Closed => self.view.update(|view| {
                view.leader = None;
                view.closed = true;
            }),
            Event::Rejected(Misuse::NoLeader) => {
                Desk::reply(self.asking.take(), Err(PetitionError::NoLeader))
            }
            Event::Rejected(Misuse::Petitioning) => {
                Desk::reply(self.asking.take(), Err(PetitionError::UnderWay));
            }
            // It is started once; who resigns without leading has what he wanted.
            Event::Rejected(Misuse::Standing | Misuse::NotRaised) => {}
        }
        None
    }

    fn sent(&mut self, _: Call) {}

    fn answered(&mut self, _: Call, answer: &AnswerOf<machine::Flag>, _: StoreTime) {
        match answer {
            Answer::Unknown => observe::unknown(&self.name),
            Answer::Applied(_) | Answer::Refused(_) | Answer::Found(_) | Answer::Listed(_) => {}
        }
    }

    fn hinted(&mut self, _: Instant) {}

    fn shut(&mut self, _: &machine::Flag) -> Option<Request> {
        Some(Request::Close)
    }

    fn abandon(&mut self) {
        (self.asking, self.petition) = (None, None);
        self.view.update(|view| view.closed = true);
        if self.view.read(|view| view.term.is_some()) {
            self.lower();
        }
    }

    fn doing(&self) -> Option<&'static str> {
        (!self.is_closed()).then_some("lowering a flag")
    }
}
