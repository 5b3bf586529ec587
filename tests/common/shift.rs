//! A machine knows no names and no hours: the same inputs, an hour later and under other names, do the same. Nor does it
//! know for how long a deadline has been past.

use fencepost::line::{Key, Owner};
use fencepost::machine::{AnswerOf, Effect, Effects, Identity, Input, Machine, Relocate};
use fencepost::mutex::{Event, Mutex};
use fencepost::store::{Answer, Entry, FencingToken, Op, Revision};
use fencepost::time::{Instant, Now, Point, Span, StoreTime};

/// Another world: each kind of name and each clock is moved by a distance of its own. "Never" stays what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shift {
    /// Into the other world.
    There,
    /// And home again.
    Back,
}

impl Shift {
    fn moved(self, value: u64, by: u64) -> u64 {
        match self {
            Shift::There => value.wrapping_add(by),
            Shift::Back => value.wrapping_sub(by),
        }
    }

    fn point<C>(self, point: &mut Point<C>, by: Span) {
        if *point != Point::MAX {
            *point = Point::from_nanos(self.moved(point.as_nanos(), by.as_nanos()));
        }
    }
}

impl Relocate for Shift {
    fn instant(&mut self, instant: &mut Instant) {
        self.point(instant, Span::from_secs(3_600));
    }

    fn store_time(&mut self, time: &mut StoreTime) {
        self.point(time, Span::from_secs(86_400));
    }

    fn revision(&mut self, revision: &mut Revision) {
        revision.0 = self.moved(revision.0, 1_000);
    }

    fn identity(&mut self, identity: &mut Identity) {
        identity.0 = self.moved(identity.0, 500);
    }

    fn serial(&mut self, identity: Identity, serial: &mut u32) {
        // Each identity counts from a number of its own.
        let here = match self {
            Shift::There => identity.0,
            Shift::Back => identity.0.wrapping_sub(500),
        };
        *serial = self.moved(u64::from(*serial), 10 + here % 7) as u32;
    }
}

/// Another memory: whatever deadline is past at this moment might be just past.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forget(pub(crate) Instant);

impl Relocate for Forget {
    fn deadline(&mut self, deadline: &mut Instant) {
        *deadline = self.0.max(*deadline);
    }

    fn instant(&mut self, _: &mut Instant) {}
    fn store_time(&mut self, _: &mut StoreTime) {}
    fn revision(&mut self, _: &mut Revision) {}
    fn identity(&mut self, _: &mut Identity) {}
    fn serial(&mut self, _: Identity, _: &mut u32) {}
}

/// What a machine hears and says, as far as it names times, revisions and identities.
pub(crate) trait Speech: Machine {
    fn heard(input: &mut Input<Self>, map: &mut impl Relocate);
    fn said(effect: &mut Effect<Self>, map: &mut impl Relocate);
}

/// Runs `steps` here, in the other world, and with a memory that forgets ages; compares the machines and all they do
/// after each.
pub(crate) fn check_relocation<M: Speech>(
    config: &M::Config,
    identity: Identity,
    steps: &[(Now, Input<M>)],
) -> Result<(), String> {
    check_shift(config, identity, steps)?;
    check_forgetting(config, identity, steps)
}

fn check_forgetting<M: Machine>(
    config: &M::Config,
    identity: Identity,
    steps: &[(Now, Input<M>)],
) -> Result<(), String> {
    let mut knows = M::new(config, identity);
    let mut forgets = knows.clone();
    let (mut effects, mut effects_of_other) = (Effects::new(), Effects::new());
    for (number, (now, input)) in steps.iter().enumerate() {
        let mut memory = Forget(now.mono);
        forgets.relocate(&mut memory);
        knows.step(config, *now, input.clone(), &mut effects);
        forgets.step(config, *now, input.clone(), &mut effects_of_other);
        let [done, done_by_other] =
            [&mut effects, &mut effects_of_other].map(|effects| effects.drain().collect::<Vec<_>>());
        same(number, "effects of one that forgets ages", &done, done_by_other, |_| {})?;
        let mut known = knows.clone();
        known.relocate(&mut memory);
        same(number, "state of one that forgets ages", &known, forgets.clone(), |machine| {
            machine.relocate(&mut memory);
        })?;
    }
    Ok(())
}

fn check_shift<M: Speech>(
    config: &M::Config,
    identity: Identity,
    steps: &[(Now, Input<M>)],
) -> Result<(), String> {
    let mut here = M::new(config, identity);
    let mut there = here.clone();
    there.relocate(&mut Shift::There);
    let (mut effects_here, mut effects_there) = (Effects::new(), Effects::new());
    for (number, (now, input)) in steps.iter().enumerate() {
        let (mut later, mut renamed) = (*now, input.clone());
        Shift::There.instant(&mut later.mono);
        M::heard(&mut renamed, &mut Shift::There);
        here.step(config, *now, input.clone(), &mut effects_here);
        there.step(config, later, renamed, &mut effects_there);
        same(number, "state", &here, there.clone(), |machine| machine.relocate(&mut Shift::Back))?;
        same(number, "deadline", &here.deadline(config), there.deadline(config), |at| {
            at.iter_mut().for_each(|at| Shift::Back.instant(at));
        })?;
        let [done_here, done_there] =
            [&mut effects_here, &mut effects_there].map(|effects| effects.drain().collect::<Vec<_>>());
        same(number, "effects", &done_here, done_there, |effects| {
            effects.iter_mut().for_each(|effect| M::said(effect, &mut Shift::Back));
        })?;
    }
    Ok(())
}

fn same<T: PartialEq + core::fmt::Debug>(
    step: usize,
    what: &str,
    here: &T,
    mut there: T,
    home: impl FnOnce(&mut T),
) -> Result<(), String> {
    home(&mut there);
    if *here == there { Ok(()) } else { Err(format!("step {step}: {what} {here:?}, elsewhere {there:?}")) }
}

impl Speech for Mutex {
    fn heard(input: &mut Input<Mutex>, map: &mut impl Relocate) {
        if let Input::Reply { answer, at, .. } = input {
            map.store_time(at);
            relocate_answer(answer, map);
        }
    }

    fn said(effect: &mut Effect<Mutex>, map: &mut impl Relocate) {
        match effect {
            Effect::Store { op, .. } => relocate_op(op, map),
            Effect::Event(Event::Acquired(token)) => {
                let mut revision = Revision(token.0);
                map.revision(&mut revision);
                *token = FencingToken::from(revision);
            }
            Effect::Event(Event::Extended(until)) => map.instant(until),
            Effect::Event(_) | Effect::Forget(_) | Effect::Publish(_) => {}
        }
    }
}

fn relocate_key(key: &mut Key, map: &mut impl Relocate) {
    if let Key::Place(place) = key {
        place.relocate(map);
    }
}

fn relocate_entry(entry: &mut Entry<Owner>, map: &mut impl Relocate) {
    map.revision(&mut entry.revision);
    entry.record.relocate(map);
}

fn relocate_answer(answer: &mut AnswerOf<Mutex>, map: &mut impl Relocate) {
    match answer {
        Answer::Applied(revision) => map.revision(revision),
        Answer::Refused(entry) | Answer::Found(entry) => {
            entry.iter_mut().for_each(|entry| relocate_entry(entry, map));
        }
        Answer::Listed(page) => page.iter_mut().for_each(|(key, entry)| {
            relocate_key(key, map);
            relocate_entry(entry, map);
        }),
        Answer::Unknown => {}
    }
}

fn relocate_op(op: &mut Op<Key, Owner>, map: &mut impl Relocate) {
    match op {
        Op::Get { key } | Op::List { after: key, .. } => relocate_key(key, map),
        Op::PutIf { key, record, .. } => {
            relocate_key(key, map);
            record.relocate(map);
        }
        Op::Renew { key, revision, .. } | Op::DeleteIf { key, revision } => {
            relocate_key(key, map);
            map.revision(revision);
        }
    }
}
