//! What the monitors know of writers: objects that are to have a value, and those who compete to write it.
//!
//! Everybody sees which value an object is to have, at a time of his own, and tries to write it. A unit of work reads
//! the object as its instance saw it last, which may be long ago, and writes by comparing the version, and the token,
//! if it has one. What comes of it decides what it says:
//!
//! | what it finds | result | again |
//! |---|---|---|
//! | the object has that value, or a later one | none; and that it was seen done, if its own instance has written it | no |
//! | the version is as it was read | extend | no |
//! | another version, or a lower token than one before | release | yes |
//! | an error, before or after it took effect | release | yes |
//! | it panics | | |
//!
//! Sooner or later an instance sees what another one has written, and says so.

use fencepost::store::FencingToken;
use fencepost::time::{Draw, Instant, Span};

use crate::clock::Time;
use crate::fault::Fault;
use crate::normal::Names;
use crate::property::{Cause, Facts, Property};
use crate::store::Tag;
use crate::subject::{Ending, InstanceId, JobId, Play, Subject, Tidings, Word, Writing};
use crate::world::{Stage, State, World};

/// An object as it is, or as somebody saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Object {
    /// Values are numbered in the order in which they are wanted; zero is none.
    value: u32,
    version: u32,
    writer: Option<InstanceId>,
}

/// A unit of work that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Unit {
    id: u32,
    read: Object,
    /// Its token, and on whose behalf it was given.
    token: Option<(FencingToken, Tag)>,
}

/// What is known of one instance and one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Hand {
    /// How it saw the object last.
    view: Object,
    /// The value that it tried last.
    wish: u32,
    /// Nobody has told it not to write that.
    is_open: bool,
    /// News of an older value came while this one was wanted.
    is_overlaid: bool,
    /// When it last tried that.
    wished: Time,
    /// The same, unless its unit has begun since.
    tried: Option<Time>,
    /// When a unit under it ended last.
    freed: Time,
    unit: Option<Unit>,
}

/// What is known of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Desk {
    hands: Vec<Hand>,
    /// Its caller waits to learn who leads.
    waits: bool,
    /// When it first had work since it started.
    asked: Option<Time>,
    /// A unit of it has panicked.
    panicked: bool,
    /// Since when it follows, if it does.
    follows: Option<Time>,
    /// When it last met the work of others, or failed, or began to lead.
    met: Time,
    /// How often since then, and since it follows, it was told to wait no longer; and when.
    cuts: [u32; 2],
    cut: Time,
    /// When a unit of it last ended.
    ended: Time,
}

/// What is known of all writers; nothing, where callers do something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Writes {
    /// Those of the first resource, then those of the second …
    objects: Vec<Object>,
    desks: Vec<Desk>,
}

impl Writes {
    pub(crate) fn reset(&mut self, objects: usize, desks: usize, hands: usize) {
        self.objects.clear();
        self.objects.resize_with(objects, Object::default);
        self.desks.clear();
        self.desks.resize_with(desks, || Desk { hands: vec![Hand::default(); hands], ..Desk::default() });
    }

    /// An instance died.
    pub(crate) fn died(&mut self, id: InstanceId) {
        if let Some(desk) = self.desks.get_mut(id.index()) {
            let hands = desk.hands.len();
            *desk = Desk { hands: vec![Hand::default(); hands], ..Desk::default() };
        }
    }

    /// Whether a unit of an instance runs.
    pub(crate) fn is_busy(&self, id: InstanceId) -> bool {
        self.desks.get(id.index()).is_some_and(Desk::is_busy)
    }

    fn hand(&self, id: InstanceId, job: JobId) -> Option<&Hand> {
        self.desks.get(id.index())?.hands.get(job.index())
    }

    fn hand_mut(&mut self, id: InstanceId, job: JobId) -> &mut Hand {
        &mut self.desks[id.index()].hands[job.index()]
    }

    /// Whether anybody waits to learn who leads, and has work.
    pub(crate) fn awaits(&self) -> bool {
        self.desks.iter().any(|desk| desk.waits && desk.asked.is_some())
    }

    /// Which objects still lack a value that somebody is at, one bit each; there is one resource.
    pub(crate) fn open(&self) -> u8 {
        let lacks = |(job, object): (usize, &Object)| {
            let is_open = |desk: &Desk| {
                desk.hands.get(job).is_some_and(|hand| hand.is_open && hand.wish > object.value)
            };
            u8::from(self.desks.iter().any(is_open)) << job.min(7)
        };
        self.objects.iter().enumerate().map(lacks).fold(0, |all, one| all | one)
    }

    /// Shows every name to `names`.
    pub(crate) fn relocate(&mut self, names: &mut Names) {
        for hand in self.desks.iter_mut().flat_map(|desk| &mut desk.hands) {
            if let Some(Unit { token: Some((token, tag)), .. }) = &mut hand.unit {
                names.token(token);
                names.tag(tag);
            }
        }
    }

    /// Drops what no monitor of a checker asks for: when something was.
    pub(crate) fn forget(&mut self, keeps_facts: bool) {
        for desk in &mut self.desks {
            let asked = desk.asked.map(|_| Time::ZERO);
            let (hands, waits, panicked) = (std::mem::take(&mut desk.hands), desk.waits, desk.panicked);
            let panicked = panicked && keeps_facts;
            *desk = Desk { hands, waits, asked, panicked, ..Desk::default() };
            for hand in &mut desk.hands {
                (hand.wished, hand.tried, hand.freed) = (Time::ZERO, None, Time::ZERO);
                hand.is_overlaid &= keeps_facts;
            }
        }
    }
}

impl Desk {
    fn is_busy(&self) -> bool {
        self.hands.iter().any(|hand| hand.unit.is_some())
    }

    /// Work of others was met, or its own has failed.
    fn meet(&mut self, now: Time) {
        if self.follows.is_none() {
            (self.follows, self.cuts[1]) = (Some(now), 0);
        }
        (self.met, self.cuts[0]) = (now, 0);
    }
}

impl<M: Subject> World<M> {
    fn object_of(&self, id: InstanceId, job: JobId) -> usize {
        self.instances[id.index()].resource as usize * self.jobs + job.index()
    }

    /// The value that an object is to have, as far as anybody knows.
    pub fn wanted(&self, resource: u32, job: JobId) -> u32 {
        let of_same = self.instances.iter().enumerate().filter(|(_, one)| one.resource == resource);
        let writes = &self.runs.writes;
        of_same
            .filter_map(|(index, _)| writes.hand(InstanceId(index as u32), job))
            .map(|hand| hand.wish)
            .max()
            .unwrap_or(0)
    }

    /// The value that an instance tried last for an object.
    pub fn wish(&self, id: InstanceId, job: JobId) -> u32 {
        self.runs.writes.hand(id, job).map_or(0, |hand| hand.wish)
    }

    /// Whether a unit of an instance runs for an object.
    pub fn is_writing(&self, id: InstanceId, job: JobId) -> bool {
        self.runs.writes.hand(id, job).is_some_and(|hand| hand.unit.is_some())
    }

    /// Whether an instance has not seen what an object has become.
    pub fn is_behind(&self, id: InstanceId, job: JobId) -> bool {
        let object = self.runs.writes.objects.get(self.object_of(id, job));
        let view = self.runs.writes.hand(id, job).map(|hand| hand.view.version);
        object.map(|object| object.version) != view
    }

    /// Whether a caller would say that about an object.
    pub(crate) fn may_write(&self, id: InstanceId, job: JobId, what: Writing) -> bool {
        let takes_part = self.instances[id.index()].caller.stage != Stage::Idle && !self.is_closing(id);
        M::PLAY == Play::Write
            && job.0 < self.jobs()
            && match what {
                // Nobody wishes for what he has ceased to wish for.
                Writing::Wish(value) => takes_part && value >= self.wish(id, job).max(1),
                Writing::Drop => takes_part,
                Writing::Look => takes_part && self.is_behind(id, job),
                Writing::Conclude(_) => self.is_writing(id, job),
            }
    }

    /// A caller says something about an object. What that comes to, its machine is told.
    pub(crate) fn note_writing(&mut self, id: InstanceId, job: JobId, what: Writing, draw: Draw) {
        let now = self.now;
        match what {
            Writing::Wish(value) => {
                let desk = &mut self.runs.writes.desks[id.index()];
                desk.asked = desk.asked.or(Some(now));
                let hand = &mut desk.hands[job.index()];
                hand.is_overlaid &= hand.wish == value;
                (hand.wish, hand.is_open) = (value, true);
                (hand.wished, hand.tried) = (now, Some(now));
                self.say(id, job, Word::Try(value), draw);
            }
            Writing::Drop => {
                let hand = self.runs.writes.hand_mut(id, job);
                (hand.is_open, hand.tried) = (false, None);
                self.say(id, job, Word::Remove, draw);
            }
            Writing::Look => {
                let object = self.runs.writes.objects[self.object_of(id, job)];
                self.runs.writes.hand_mut(id, job).view = object;
                if object.writer != Some(id) {
                    self.say(id, job, Word::Extend(object.value), draw);
                }
            }
            Writing::Conclude(ending) => self.conclude(id, job, ending, draw),
        }
    }

    /// A unit comes to its end.
    fn conclude(&mut self, id: InstanceId, job: JobId, ending: Ending, draw: Draw) {
        let Some(unit) = self.runs.writes.hand_mut(id, job).unit.take() else { return };
        let now = self.now;
        let desk = &mut self.runs.writes.desks[id.index()];
        (desk.ended, desk.hands[job.index()].freed) = (now, now);
        desk.panicked |= ending == Ending::Panic;
        if ending != Ending::Well {
            self.note(id, Fault::CallbackFails);
        }
        let done = |result, retry| Word::Done { id: unit.id, result, retry };
        use fencepost::writer::WorkResult as Is;
        let word = match ending {
            Ending::Panic => Word::Panicked(unit.id),
            _ if unit.read.value >= unit.id => {
                if unit.read.writer == Some(id) && unit.read.value == unit.id {
                    self.say(id, job, Word::Extend(unit.id), draw);
                }
                done(Is::None, false)
            }
            Ending::ErrorBefore => done(Is::Release, true),
            Ending::ErrorAfter => {
                self.store_value(id, job, &unit);
                done(Is::Release, true)
            }
            Ending::Well if self.store_value(id, job, &unit) => {
                let object = self.runs.writes.objects[self.object_of(id, job)];
                self.runs.writes.hand_mut(id, job).view = object;
                done(Is::Extend, false)
            }
            Ending::Well => done(Is::Release, true),
        };
        self.say(id, job, word, draw);
    }

    /// Writes to an object, unless its version or its token is against it.
    fn store_value(&mut self, id: InstanceId, job: JobId, unit: &Unit) -> bool {
        let (object, resource) = (self.object_of(id, job), self.guarded_by(id));
        let is_fenced = unit.token.is_some_and(|(token, _)| token.0 < self.fences[resource].token);
        let object = &mut self.runs.writes.objects[object];
        if is_fenced || object.version != unit.read.version {
            return false;
        }
        *object = Object { value: unit.id, version: object.version + 1, writer: Some(id) };
        if let Some((token, tag)) = unit.token {
            self.judge_write(id, resource, token.0, tag.acquisition);
        }
        true
    }

    /// A machine is told something about an object.
    fn say(&mut self, id: InstanceId, job: JobId, word: Word, draw: Draw) {
        use fencepost::writer::WorkResult as Is;
        let now = self.now;
        let desk = &mut self.runs.writes.desks[id.index()];
        match word {
            Word::Extend(value) => {
                desk.meet(now);
                let hand = &mut desk.hands[job.index()];
                hand.is_overlaid |= hand.is_open && value < hand.wish;
            }
            Word::Done { result: Is::Release, .. } | Word::Panicked(_) => desk.meet(now),
            Word::Done { result: Is::None | Is::Extend, .. } | Word::Try(_) | Word::Remove => {}
        }
        // When it is run again is another matter than when it is first run.
        if let Word::Done { retry: true, .. } | Word::Panicked(_) = word {
            desk.hands[job.index()].tried = None;
        }
        if let Some(request) = M::work(job, word) {
            self.step(id, fencepost::machine::Input::Request(request), draw);
        }
        let instance = &mut self.instances[id.index()];
        let has_succeeded = matches!(word, Word::Done { result: Is::Extend, .. });
        if has_succeeded && instance.caller.stage == Stage::Holding && instance.caller.token.is_none() {
            let mono = Instant::from_nanos(instance.clock.read(now));
            instance.lease_end = mono + M::ttl(&self.config);
        }
    }

    /// It is told to wait no longer.
    pub(crate) fn note_expire(&mut self, id: InstanceId) {
        let now = self.now;
        if let Some(desk) = self.runs.writes.desks.get_mut(id.index()) {
            (desk.cuts, desk.cut) = (desk.cuts.map(|cuts| cuts + 1), now);
        }
    }

    /// A writer starts, and its caller waits to learn who leads.
    pub(crate) fn note_start(&mut self, id: InstanceId) {
        if let Some(desk) = self.runs.writes.desks.get_mut(id.index()) {
            (desk.waits, desk.asked, desk.panicked) = (true, None, false);
        }
    }

    /// A writer is to close: whatever it has not done is not wanted of it any more.
    pub(crate) fn note_close(&mut self, id: InstanceId) {
        if let Some(desk) = self.runs.writes.desks.get_mut(id.index()) {
            desk.hands.iter_mut().for_each(|hand| hand.is_open = false);
        }
    }

    /// A writer has closed: nothing of it may run.
    pub(crate) fn judge_close(&mut self, id: InstanceId) {
        let Some(desk) = self.runs.writes.desks.get_mut(id.index()) else { return };
        let runs = desk.is_busy();
        desk.waits = false;
        // It reads everything anew when it starts again.
        desk.hands.iter_mut().for_each(|hand| hand.wish = 0);
        if runs {
            self.violated(Property::NothingAfterClose, id, None, Facts::default());
        }
    }

    /// What a writer tells its caller.
    pub(crate) fn hear_writer(&mut self, id: InstanceId, tidings: Tidings, mono: Instant) {
        let now = self.now;
        match tidings {
            Tidings::Work(job, value, token) => self.judge_unit(id, job, value, token),
            Tidings::Leads(token) => {
                let desk = &mut self.runs.writes.desks[id.index()];
                (desk.follows, desk.met) = (None, now);
                let ttl = M::ttl(&self.config);
                let instance = &mut self.instances[id.index()];
                // What ends after a close makes nobody take part again.
                if instance.caller.stage != Stage::Idle {
                    (instance.caller.stage, instance.caller.token) = (Stage::Holding, token);
                    instance.lease_end = mono + ttl;
                }
            }
            Tidings::Follows => {
                let desk = &mut self.runs.writes.desks[id.index()];
                desk.follows = None;
                desk.meet(now);
                let instance = &mut self.instances[id.index()];
                if instance.caller.stage != Stage::Holding {
                    return;
                }
                (instance.caller.stage, instance.caller.asked) = (Stage::Waiting, now);
                instance.lease_end = Instant::MAX;
                // Whoever still holds the lock leaves it when nothing runs under it.
                if instance.machine.belief().is_none() {
                    self.abandon(id);
                    let caller = &mut self.instances[id.index()].caller;
                    (caller.token, caller.acquisition) = (None, caller.acquisition + 1);
                }
            }
            Tidings::Decided => self.runs.writes.desks[id.index()].waits = false,
            Tidings::Settled(job, value) => self.judge_settled(id, job, value),
            Tidings::Interrupted(_) => {}
        }
    }

    /// Nothing more will be done about a value: is it not wanted any more, or is it there?
    fn judge_settled(&mut self, id: InstanceId, job: JobId, value: u32) {
        let object = self.runs.writes.objects[self.object_of(id, job)];
        let desk = &self.runs.writes.desks[id.index()];
        let hand = &desk.hands[job.index()];
        if hand.is_open && hand.wish == value && object.value < value {
            let cause = hand.is_overlaid.then_some(Cause::Overlaid);
            self.violated(Property::NoJobLost, id, None, Facts { cause, ..Facts::default() });
        }
    }

    /// A unit begins: may it, and is it about time?
    fn judge_unit(&mut self, id: InstanceId, job: JobId, value: u32, token: Option<FencingToken>) {
        let is_late = self.is_late(id, job);
        let desk = &mut self.runs.writes.desks[id.index()];
        let hand = &desk.hands[job.index()];
        let is_held_up =
            desk.cuts[0] > 0 || hand.tried.is_some_and(|tried| desk.ended > tried) || desk.is_busy();
        let tag = self.instances[id.index()].tag(id);
        let token = token.map(|token| (token, tag));
        let hand = &mut desk.hands[job.index()];
        let read = hand.view;
        (hand.unit, hand.tried) = (Some(Unit { id: value, read, token }), None);
        if self.instances[id.index()].caller.stage == Stage::Idle {
            self.violated(Property::NothingAfterClose, id, None, Facts::default());
        }
        if is_late {
            let cause = is_held_up.then_some(Cause::HeldUp);
            self.violated(Property::Promptness, id, None, Facts { cause, ..Facts::default() });
        }
    }

    /// Whether work has waited for longer than its instance waits for others.
    fn is_late(&self, id: InstanceId, job: JobId) -> bool {
        let (instance, desk) = (&self.instances[id.index()], &self.runs.writes.desks[id.index()]);
        let Hand { tried: Some(tried), freed, .. } = desk.hands[job.index()] else { return false };
        let followed = desk.follows.map_or(Span::ZERO, |follows| desk.met.since(follows));
        let margin = |span: Span| span.portion(M::drift(&self.config)) + self.bounds.slack * 2;
        let patience = M::patience(&self.config, followed + margin(followed), desk.cuts);
        let since = tried.max(freed).max(desk.met).max(desk.cut).max(instance.resumed);
        patience != Span::MAX && self.now > since + patience + margin(patience)
    }

    /// Whose term has passed on its own clock, of those who say that they lead.
    pub(crate) fn cause_of_belief(&self, ids: [InstanceId; 2]) -> Option<Cause> {
        let has_lapsed = |id: InstanceId| {
            let instance = &self.instances[id.index()];
            Instant::from_nanos(instance.clock.read(self.now)) > instance.lease_end
        };
        (M::PLAY == Play::Write && ids.into_iter().any(has_lapsed)).then_some(Cause::Lapsed)
    }

    /// The run is over: what was wanted and never written, who waits in vain to learn who leads?
    pub(crate) fn judge_writes(&mut self) {
        for index in 0..self.runs.writes.desks.len() {
            let (id, desk) = (InstanceId(index as u32), &self.runs.writes.desks[index]);
            let instance = &self.instances[index];
            let is_there = instance.state == State::Up && instance.caller.stage != Stage::Idle;
            if !is_there || self.runs.is_closing(id) {
                continue;
            }
            // A unit that has not ended may yet do its work.
            let is_busy = desk.is_busy();
            let waits =
                desk.waits && !is_busy && desk.asked.is_some_and(|asked| self.is_long_ago(asked, Span::ZERO));
            let panicked = desk.panicked.then_some(Cause::Panicked);
            let lost = desk.hands.iter().enumerate().find(|(job, hand)| {
                let object = self.runs.writes.objects[self.object_of(id, JobId(*job as u32))];
                hand.is_open
                    && !is_busy
                    && hand.wish > object.value
                    && self.is_long_ago(hand.wished, Span::ZERO)
            });
            let erased = lost.filter(|(_, hand)| hand.is_overlaid).map(|_| Cause::Overlaid);
            let is_lost = lost.is_some();
            if waits {
                let cause = panicked.or(Some(Cause::Undecided));
                self.violated(Property::Progress, id, None, Facts { cause, ..Facts::default() });
            }
            if is_lost {
                let cause = panicked.or(erased);
                self.violated(Property::NoJobLost, id, None, Facts { cause, ..Facts::default() });
            }
        }
    }
}
