//! A lock of one's own, with a mistake: it claims a key for a while, tries again each second, and never renews.

use fencepost::machine::{Effects, Identity, Input, Input::Reply, Machine, Relocate};
use fencepost::store::{Answer, Contract, Expect::Absent, Op, Revision};
use fencepost::time::{Instant, Now, Ppm, Span};
use fencepost_sim::{Algorithm, Ask, Lab, Property, Registration, Subject, Told};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum MyLock<const FIXED: bool> {
    Idle,
    Claiming(Instant),          // when the claim was sent
    Waiting(Instant),           // when to try again
    Holding(Revision, Instant), // which entry, and until when
}

impl<const FIXED: bool> Machine for MyLock<FIXED> {
    type Config = Span; // how long an entry lives
    type Store = Contract<(), ()>; // one key, and nothing to write in it
    type Request = Ask;
    type Event = Told;
    type Message = ();
    type Call = Ask;
    fn new(_: &Span, _: Identity) -> Self {
        Self::Idle
    }
    fn step(&mut self, &ttl: &Span, Now { mono: now, .. }: Now, input: Input<Self>, out: &mut Effects<Self>) {
        *self = match (*self, input) {
            (Self::Idle, Input::Request(Ask::Lock)) | (Self::Waiting(_), Input::Wake) => {
                out.store(Ask::Lock, Op::PutIf { key: (), expect: Absent, record: (), ttl: Some(ttl) });
                Self::Claiming(now)
            }
            (Self::Claiming(sent), Reply { call: Ask::Lock, answer: Answer::Applied(revision), .. }) => {
                out.event(Told::Acquired(Some(revision.into())));
                let from = if FIXED { sent } else { now }; // the mistake: the store's count began earlier
                Self::Holding(revision, from + ttl.portion(Ppm::percent(90)))
            }
            (Self::Claiming(_), Reply { call: Ask::Lock, .. }) => Self::Waiting(now + Span::from_secs(1)),
            (Self::Holding(revision, _), Input::Request(Ask::Unlock)) => {
                out.store(Ask::Unlock, Op::DeleteIf { key: (), revision });
                out.event(Told::Released);
                Self::Idle
            }
            (same, _) => same,
        };
    }
    fn deadline(&self, _: &Span) -> Option<Instant> {
        if let Self::Waiting(until) = *self { Some(until) } else { None }
    }
    fn relocate(&mut self, map: &mut impl Relocate) {
        let (Self::Claiming(at) | Self::Waiting(at) | Self::Holding(_, at)) = self else { return };
        map.instant(at);
        let Self::Holding(revision, _) = self else { return };
        map.revision(revision);
    }
}

impl<const FIXED: bool> Subject for MyLock<FIXED> {
    fn request(ask: Ask) -> Option<Ask> {
        matches!(ask, Ask::Lock | Ask::Unlock).then_some(ask)
    }
    fn told(event: &Told) -> Told {
        *event
    }
    fn belief(&self) -> Option<Instant> {
        if let Self::Holding(_, until) = *self { Some(until) } else { None }
    }
    fn ttl(config: &Span) -> Span {
        *config
    }
}

pub(crate) fn my_lock<const FIXED: bool>(name: &str) -> impl Algorithm {
    let lock = Registration::<MyLock<FIXED>>::new(name, "claims a key for 15 s", |_| Span::from_secs(15));
    lock.promises(&[Property::BelievedExclusion, Property::NoTheft, Property::OwnerOnlyRelease])
}

fn main() -> std::process::ExitCode {
    let lab = Lab::new().with(my_lock::<false>("my-lock")).with(my_lock::<true>("my-lock-fixed"));
    lab.called("cargo run --release -p own-algorithm --").main()
}
