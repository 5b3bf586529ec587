//! Where every step from a node leads: worked out once for each instance that takes it, and put together from its parts.
//!
//! What an instance does depends on itself, on its own messages and on the stores, and changes nothing else, names and
//! places apart. So a step is tried in a world in which that instance is alone, and what it comes to is remembered. The
//! steps from a node are then looked up: for its group and its rest there are a new group and a new rest; the other
//! groups forget what the new rest lets them forget; and if a name is missing now, the parts that bear later ones get
//! others, which is remembered, too. The world remains the only one who knows what happens.
//!
//! Whatever does not fit into this is worked out in whole: a step that breaks something, or after which two believe;
//! hints, drifting clocks, jobs, what is scheduled at once, and whoever reads a wall clock. Where debug assertions are on,
//! every node is left both ways.

use hashbrown::HashTable;

use super::frozen::{NONE, Parts};
use super::{Budget, Choice, Model, NOON_TIME, Spend};
use fencepost::time::Span;

use crate::clock::Time;
use crate::digest::Fingerprint;
use crate::normal::{Bits, Normaliser, join, orders_within};
use crate::property::{Property, Violation};
use crate::subject::{InstanceId, Play, Subject};
use crate::world::{State, World};

/// Where callers take part in jobs: the bit of all who wait for an answer. Those before it are the jobs'.
pub const ANSWERS: u8 = 1 << (MOST - 1);

/// Instances that an explorer can tell apart.
const MOST: usize = 3;

/// The group of an outcome that nobody could afford so far.
const UNTRIED: u32 = NONE - 1;

/// Marks the number of a rest among those of groups.
const REST: u32 = 1 << 31;

/// Marks an order of places among sets of names.
const ORDER: u32 = 1 << 31;

/// A step from a node.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The fingerprint of the node it leads to.
    pub print: u64,
    /// That node as a row of its parts; empty, if its fingerprint was known.
    pub row: &'a [u32],
    /// Which instance of the node before stands at each place now.
    pub order: &'a [u32],
    /// Whether something goes wrong, or somebody does what he need not.
    pub is_fault: bool,
    /// Whether time passes.
    pub passes_time: bool,
    /// Whether it is the last one from this node.
    pub is_last: bool,
    /// What it breaks.
    pub violations: Vec<Violation>,
}

/// A step that was worked out.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    print: u64,
    row: Option<usize>,
    order: [u32; MOST],
    is_fault: bool,
    passes_time: bool,
    violations: Vec<Violation>,
}

/// What a step of one instance comes to: a group and a rest, in two words, and what it spends.
#[derive(Clone, Copy, Debug)]
struct Outcome([u32; 2]);

impl Outcome {
    /// How many bits a rest's number has.
    const BITS: u32 = 27;
    const FREE: u32 = 31;

    fn new([group, rest]: [u32; 2], spends: Option<Spend>) -> Outcome {
        let (kept, what) =
            (rest & ((1 << Outcome::BITS) - 1), spends.map_or(Outcome::FREE, |what| what as u32));
        // A number that does not fit must be worked out in whole.
        Outcome([if kept == rest { group } else { NONE }, kept | what << Outcome::BITS])
    }

    /// The group, or [`NONE`], if it must be worked out in whole; and the rest.
    fn parts(self) -> [u32; 2] {
        [self.0[0], self.0[1] & ((1 << Outcome::BITS) - 1)]
    }

    fn spends(self) -> Option<Spend> {
        Spend::ALL.get((self.0[1] >> Outcome::BITS) as usize).copied()
    }
}

/// What one instance can do: where the outcomes are.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    start: u32,
    /// How many are its own, how many are those of its messages, and that of a tick, unless something is due.
    counts: [u16; 3],
}

/// Rows that grow without ever moving, or having room for twice as much as they hold.
#[derive(Debug, Default)]
struct Rows(Vec<Vec<u32>>);

impl Rows {
    const BITS: u32 = 14;

    /// Adds a row, and tells where it is.
    fn push(&mut self, row: &[u32]) -> u32 {
        if self.0.last().is_none_or(|block| block.len() + row.len() > 1 << Rows::BITS) {
            self.0.push(Vec::with_capacity(1 << Rows::BITS));
        }
        let block = self.0.len() - 1;
        let at = (block << Rows::BITS | self.0[block].len()) as u32;
        self.0[block].extend(row);
        at
    }

    fn at(&self, at: u32) -> &[u32] {
        &self.0[(at >> Rows::BITS) as usize][(at & ((1 << Rows::BITS) - 1)) as usize..]
    }

    fn at_mut(&mut self, at: u32) -> &mut [u32] {
        &mut self.0[(at >> Rows::BITS) as usize][(at & ((1 << Rows::BITS) - 1)) as usize..]
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|block| block.capacity() * size_of::<u32>()).sum()
    }
}

/// What follows from two numbers.
#[derive(Debug, Default)]
struct Memo(HashTable<([u32; 2], u32)>);

impl Memo {
    #[inline]
    fn hash([one, other]: [u32; 2]) -> u64 {
        let mut print = Fingerprint::new();
        print.word(u64::from(one) << 32 | u64::from(other));
        print.value()
    }

    #[inline]
    fn find(&self, key: [u32; 2]) -> Option<u32> {
        self.0.find(Memo::hash(key), |(other, _)| *other == key).map(|(_, value)| *value)
    }

    fn add(&mut self, key: [u32; 2], value: u32) {
        self.0.insert_unique(Memo::hash(key), (key, value), |(key, _)| Memo::hash(*key));
    }
}

/// Works out every step from a node. One for each thread.
#[derive(Debug)]
pub struct Explorer<'a, M: Subject> {
    model: &'a Model<M>,
    normaliser: Normaliser,
    parts: Parts<M>,
    /// Whether what an instance does concerns nobody else.
    is_local: bool,
    sorts: bool,
    reduces: bool,
    /// The node that is being left, or an instance alone.
    node: World<M>,
    /// Where a step is tried.
    trial: World<M>,
    /// A dead instance at each place.
    nobody: World<M>,
    choices: Vec<Choice>,
    /// Of a group and a rest, where its steps are.
    alone: Memo,
    /// Counts in two words, and then two words for each outcome.
    steps: Rows,
    /// Of a group and another rest, the group that is left.
    stays: Memo,
    /// Of a part and a set of names, or an order of places, the same part among them.
    renamed: Memo,
    names: Vec<Bits>,
    numbers_of_names: HashTable<u32>,
    found: Vec<Step>,
    rows: Vec<u32>,
}

impl<'a, M: Subject> Explorer<'a, M> {
    /// An explorer of that graph.
    pub fn new(model: &'a Model<M>) -> Explorer<'a, M> {
        let scope = model.scope();
        let setup = &scope.setup;
        let node = model.start().world;
        let mut nobody = node.clone();
        nobody.instances.iter_mut().for_each(|instance| instance.state = State::Down);
        let asks = scope.keeps_facts || scope.judged.has(Property::Order);
        let keeps_distances = M::calendar_horizon(&setup.config) > Span::ZERO;
        let is_local =
            !(M::READS_WALL || setup.hints || asks || keeps_distances || M::PLAY.has_jobs() || scope.at_once)
                && setup.resources == 1
                && (1..=MOST).contains(&node.instances.len());
        Explorer {
            model,
            normaliser: model.normaliser(),
            parts: Parts::new(!is_local),
            is_local,
            sorts: model.sorts(),
            reduces: model.reduces(),
            trial: node.clone(),
            node,
            nobody,
            choices: Vec::new(),
            alone: Memo::default(),
            steps: Rows::default(),
            stays: Memo::default(),
            renamed: Memo::default(),
            names: Vec::new(),
            numbers_of_names: HashTable::new(),
            found: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// How many numbers a row has.
    pub fn row_len(&self) -> usize {
        self.node.instances.len() + if self.is_local { 2 } else { 3 }
    }

    /// The fingerprint of the node that every path begins with. Its row goes to the end of `row`.
    pub fn root(&mut self, row: &mut Vec<u32>) -> u64 {
        let mut root = self.model.root(&mut self.normaliser);
        self.parts.freeze(&mut root.world, &root.budget, &mut self.normaliser, row);
        root.print()
    }

    /// What nodes are made of.
    pub fn parts(&self) -> &Parts<M> {
        &self.parts
    }

    /// The same, for those who add to it.
    pub fn parts_mut(&mut self) -> &mut Parts<M> {
        &mut self.parts
    }

    /// Who waits for an answer in a node, and who holds or stands still: a bit for each place. Where callers take part
    /// in jobs, the first bits are for the jobs that have still to begin, and [`ANSWERS`] is for all who wait for an
    /// answer.
    pub fn sight(&self, row: &[u32]) -> [u8; 2] {
        let groups = &row[2..self.node.instances.len() + 2];
        if M::PLAY == Play::Lead {
            return [self.in_want_of_a_leader(groups), 0];
        }
        if M::PLAY.has_jobs() {
            let awaits = groups.iter().any(|&group| self.parts.group(group).is_leaving);
            return [self.parts.rest(row[0]).runs.sight(M::PLAY, awaits), 0];
        }
        groups.iter().enumerate().fold([0, 0], |[waiting, busy], (place, &group)| {
            let group = self.parts.group(group);
            [waiting | u8::from(group.waits) << place, busy | u8::from(group.is_busy) << place]
        })
    }

    /// All places, if nobody leads though somebody can; and whoever closes.
    fn in_want_of_a_leader(&self, groups: &[u32]) -> u8 {
        let all = || groups.iter().map(|&group| self.parts.group(group));
        let is_wanted = all().any(|group| group.is_able) && !all().any(|group| group.holds);
        let closing =
            all().enumerate().fold(0, |all, (place, group)| all | u8::from(group.is_leaving) << place);
        if is_wanted { (1 << MOST) - 1 } else { closing }
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let memos = [&self.alone, &self.stays, &self.renamed];
        self.parts.bytes()
            + memos.into_iter().map(|memo| memo.0.allocation_size()).sum::<usize>()
            + self.steps.bytes()
            + self.names.capacity() * size_of::<Bits>()
            + self.numbers_of_names.allocation_size()
    }

    /// Takes every step from a node, in order. Of those who are `known`, the row need not be told.
    pub fn leave(
        &mut self,
        row: &[u32],
        known: impl Fn(u64) -> bool,
        mut tell: impl FnMut(&Self, Arrival<'_>),
    ) {
        self.forget();
        if !(self.is_local && self.leave_by_parts(row)) {
            self.forget();
            self.leave_in_whole(row, &known);
        } else if cfg!(debug_assertions) {
            self.check(row);
        }
        let mut found = std::mem::take(&mut self.found);
        let (count, length) = (found.len(), self.row_len());
        for (at, step) in found.drain(..).enumerate() {
            let Step { print, row, order, is_fault, passes_time, violations } = step;
            let row = row.map_or(&[][..], |start| &self.rows[start..start + length]);
            // What there is to wait for stands at the places of jobs, and those stay.
            let order = if M::PLAY.has_jobs() { [0, 1, 2] } else { order };
            let (order, is_last) = (&order[..self.node.instances.len()], at + 1 == count);
            tell(self, Arrival { print, row, order, is_fault, passes_time, is_last, violations });
        }
        self.found = found;
    }

    fn forget(&mut self) {
        self.found.clear();
        self.rows.clear();
    }

    /// Leaves a node once more, and asserts that it comes to the same.
    fn check(&mut self, row: &[u32]) {
        let (found, rows) = (std::mem::take(&mut self.found), std::mem::take(&mut self.rows));
        self.leave_in_whole(row, &|_| false);
        assert_eq!((&found, &rows), (&self.found, &self.rows), "{row:?}");
    }

    fn leave_in_whole(&mut self, row: &[u32], known: &impl Fn(u64) -> bool) {
        let mut budget = Budget::NONE;
        self.parts.thaw(row, &mut self.node, &mut budget);
        let mut choices = std::mem::take(&mut self.choices);
        self.model.choices(&self.node, NOON_TIME, &budget, &mut choices);
        if self.reduces
            && let Some(first) = self.model.first(&self.node, &choices, &mut self.trial)
        {
            choices.retain(|choice| choice.whose(&self.node) == Some(first));
        }
        for &choice in &choices {
            let (world, mut now, mut budget) = (&mut self.trial, NOON_TIME, budget);
            world.become_like(&self.node);
            let is_fault = choice.spends(world).is_some();
            self.model.make(choice, world, &mut now, &mut budget, |_, _, _| {});
            let violations = world.verdict().violations().to_vec();
            let print = self.model.settle(world, now, &budget, &mut self.normaliser);
            let mut order = [0, 1, 2];
            order.iter_mut().zip(self.normaliser.order()).for_each(|(place, &index)| *place = index);
            let row = (!known(print)).then_some(self.rows.len());
            if row.is_some() {
                self.parts.freeze(world, &budget, &mut self.normaliser, &mut self.rows);
            }
            let passes_time = !matches!(choice, Choice::Do(_));
            self.found.push(Step { print, row, order, is_fault, passes_time, violations });
        }
        self.choices = choices;
    }

    /// Whether that could be done.
    fn leave_by_parts(&mut self, row: &[u32]) -> bool {
        let (rest, budget, groups) = (row[0], row[1], &row[2..]);
        let left = self.parts.budget(budget);
        let untrue = groups.iter().filter(|&&group| !self.parts.group(group).is_true).count();
        if left.left(Spend::Grain) > 0 || left.left(Spend::Drift) > 0 || untrue > 1 {
            return false;
        }
        let mut all = [Steps::default(); MOST];
        for (place, &group) in groups.iter().enumerate() {
            all[place] = self.steps_of(group, rest, place, budget);
        }
        let all = &mut all[..groups.len()];
        for half in 0..2 {
            for (place, steps) in all.iter_mut().enumerate() {
                for at in 0..steps.counts[half] {
                    let outcome = self.next(steps);
                    let ([mut group, mut rest], spends) = (outcome.parts(), outcome.spends());
                    let Some(budget) = self.parts.spend(budget, spends) else { continue };
                    if group == UNTRIED {
                        let number = usize::from(at + if half == 0 { 0 } else { steps.counts[0] });
                        [group, rest] = self.try_later(groups[place], row[0], place, number);
                        let known = Outcome::new([group, rest], spends);
                        self.steps.at_mut(steps.start - 2)[..2].copy_from_slice(&known.0);
                    }
                    if group == NONE || !self.step(row, place, [group, rest], budget, spends.is_some()) {
                        return false;
                    }
                }
            }
        }
        // Or somebody is due.
        if all.iter().any(|steps| steps.counts[2] == 0) {
            return true;
        }
        let mut next = [0; MOST];
        let mut after = None;
        for (place, steps) in all.iter_mut().enumerate() {
            let [group, rest] = self.next(steps).parts();
            if group == NONE || after.is_some_and(|after| after != rest) {
                return false;
            }
            (next[place], after) = (group, Some(rest));
        }
        after.is_some_and(|rest| self.arrive(rest, budget, &next[..groups.len()], false, true))
    }

    fn next(&self, steps: &mut Steps) -> Outcome {
        let words = self.steps.at(steps.start);
        steps.start += 2;
        Outcome([words[0], words[1]])
    }

    /// The instance at one place takes a step.
    fn step(
        &mut self,
        row: &[u32],
        place: usize,
        [group, rest]: [u32; 2],
        budget: u32,
        is_fault: bool,
    ) -> bool {
        let (before, mut next) = (row[0], [0; MOST]);
        let count = row.len() - 2;
        next[..count].copy_from_slice(&row[2..]);
        next[place] = group;
        if rest != before {
            for other in (0..count).filter(|&other| other != place) {
                let left = self.stay(next[other], rest, other);
                if left == NONE {
                    return false;
                }
                next[other] = left;
            }
        }
        self.arrive(rest, budget, &next[..count], is_fault, false)
    }

    /// What the instance of that group does if nothing happens but to the stores.
    fn stay(&mut self, group: u32, rest: u32, place: usize) -> u32 {
        if let Some(left) = self.stays.find([group, rest]) {
            return left;
        }
        self.thaw_alone(group, rest, place);
        self.trial.become_like(&self.node);
        let [left, same] = self.settle_alone(NOON_TIME, place);
        let left = if same == rest { left } else { NONE };
        self.stays.add([group, rest], left);
        left
    }

    /// The choices of an instance that is alone, and how many of them are its own.
    fn choices_alone(&mut self, place: usize) -> usize {
        let (id, budget) = (InstanceId(place as u32), &self.model.scope().budget);
        self.choices.clear();
        self.model.choices_of_instance(&self.node, NOON_TIME, id, budget, &mut self.choices);
        let own = self.choices.len();
        for flight in self.node.flights() {
            self.model.choices_of_flight(&self.node, NOON_TIME, flight, budget, &mut self.choices);
        }
        own
    }

    fn steps_of(&mut self, group: u32, rest: u32, place: usize, budget: u32) -> Steps {
        if let Some(start) = self.alone.find([group, rest]) {
            return Steps { start: start + 2, counts: counts_in(self.steps.at(start)) };
        }
        self.thaw_alone(group, rest, place);
        let own = self.choices_alone(place);
        let mut choices = std::mem::take(&mut self.choices);
        let of_messages = choices.len() - own;
        let ticks = self.node.overdue(NOON_TIME + self.model.scope().tick).is_none();
        choices.extend(ticks.then_some(Choice::Tick));
        let mut words = vec![(own as u32) << 1 | u32::from(ticks), of_messages as u32];
        let counts = counts_in(&words);
        for &choice in &choices {
            let spends = choice.spends(&self.node);
            let is_tried = self.parts.spend(budget, spends).is_some();
            let parts = if is_tried { self.try_alone(choice, place) } else { [UNTRIED, 0] };
            words.extend(Outcome::new(parts, spends).0);
        }
        self.choices = choices;
        let start = self.steps.push(&words);
        self.alone.add([group, rest], start);
        Steps { start: start + 2, counts }
    }

    /// What comes of a choice that nobody could afford before.
    fn try_later(&mut self, group: u32, rest: u32, place: usize, number: usize) -> [u32; 2] {
        self.thaw_alone(group, rest, place);
        self.choices_alone(place);
        self.try_alone(self.choices[number], place)
    }

    /// Makes the node a world in which but one instance is dead.
    fn thaw_alone(&mut self, group: u32, rest: u32, place: usize) {
        self.node.become_like(&self.nobody);
        self.parts.thaw_rest(rest, &mut self.node);
        self.parts.thaw_group(group, place, &mut self.node);
        self.node.name_believers();
    }

    fn try_alone(&mut self, choice: Choice, place: usize) -> [u32; 2] {
        let (world, mut now, mut budget) = (&mut self.trial, NOON_TIME, Budget::NONE);
        world.become_like(&self.node);
        self.model.make(choice, world, &mut now, &mut budget, |_, _, _| {});
        if !world.verdict().violations().is_empty() {
            return [NONE, NONE];
        }
        self.settle_alone(now, place)
    }

    /// What the instance at that place has become, and the rest.
    fn settle_alone(&mut self, now: Time, place: usize) -> [u32; 2] {
        let (world, normaliser, id) = (&mut self.trial, &mut self.normaliser, InstanceId(place as u32));
        normaliser.settle_alone(world, now, id);
        [self.parts.freeze_group(world, id, normaliser), self.parts.freeze_rest(world, normaliser)]
    }

    /// Brings what a step has come to into normal form, and notes it.
    fn arrive(&mut self, rest: u32, budget: u32, groups: &[u32], is_fault: bool, passes_time: bool) -> bool {
        let start = self.rows.len();
        self.rows.extend([rest, budget]);
        self.rows.extend(groups);
        if !self.rename(start) {
            return false;
        }
        let (world, order) = self.sort(start);
        let print = self.model.seal(world, self.parts.budget(budget));
        let (row, violations) = (Some(start), Vec::new());
        self.found.push(Step { print, row, order, is_fault, passes_time, violations });
        true
    }

    /// Gives every name its rank. Says whether that was possible.
    fn rename(&mut self, start: usize) -> bool {
        let parts = &self.parts;
        let row = &self.rows[start..];
        let (mut names, mut believers) = (Bits::PRESENT, 0);
        for &group in &row[2..] {
            let group = parts.group(group);
            let Some(bits) = group.bits() else { return false };
            names = names.or(bits);
            believers += u32::from(group.believes);
        }
        let rest = parts.rest(row[0]);
        let Some([of_stores, of_fence]) = rest.bits.filter(|_| believers < 2) else { return false };
        names = names.or(of_stores);
        let mut of_rest = of_stores;
        // A token that nothing else bears is as good as none, or as any that is as high.
        let (mut is_borne, mut is_same) = (true, true);
        if let Some(token) = Bits::revision(rest.token) {
            is_borne = token.without(names) == Bits::default();
            let kept = match (is_borne, names.has_none_of(Bits::revisions_below(rest.token))) {
                (true, _) => of_fence,
                (false, true) => Bits::default(),
                (false, false) => token,
            };
            is_same = is_borne || (!rest.has_writer && kept == token);
            (names, of_rest) = (names.or(kept), of_rest.or(kept));
        } else if rest.token != 0 {
            return false;
        }
        let ranked = names.ranked();
        is_same &= rest.counter == names.revisions();
        if is_same && ranked == names {
            return true;
        }
        let changes = |bits: Bits| bits.without(ranked) != Bits::default();
        let does_rest = !is_same || changes(of_rest);
        let set = self.number_of_names(if is_borne { names } else { names.marked() });
        self.replace(start, set, does_rest, |parts, group| parts.group(group).bits().is_some_and(changes));
        true
    }

    /// Replaces the parts of a row by those that they become among other names, or at other places.
    fn replace(
        &mut self,
        start: usize,
        how: u32,
        does_rest: bool,
        does_group: impl Fn(&Parts<M>, u32) -> bool,
    ) {
        let mut next = [0; MOST + 2];
        let length = self.row_len();
        next[..length].copy_from_slice(&self.rows[start..]);
        let mut is_known = true;
        for (at, number) in next[..length].iter_mut().enumerate() {
            let does = match at {
                0 => does_rest,
                1 => false,
                _ => does_group(&self.parts, *number),
            };
            if does {
                let key = if at == 0 { *number | REST } else { *number };
                match self.renamed.find([key, how]) {
                    Some(other) => *number = other,
                    None => is_known = false,
                }
            }
        }
        if !is_known {
            let row = &self.rows[start..];
            let (world, mut budget) = (&mut self.trial, Budget::NONE);
            self.parts.thaw(row, world, &mut budget);
            let order = orders(how);
            match how & ORDER {
                0 => self.normaliser.rename(world, NOON_TIME, &Budget::NONE),
                _ => self.normaliser.place(world, &order[..length - 2]),
            }
            let mut fresh = Vec::with_capacity(length);
            self.parts.freeze(world, &budget, &mut self.normaliser, &mut fresh);
            for at in 0..length {
                // What is at a place came from another one, if places change.
                let from = if at >= 2 && how & ORDER != 0 { order[at - 2] as usize + 2 } else { at };
                let number = self.rows[start + from];
                let key = if at == 0 { number | REST } else { number };
                if at != 1 && self.renamed.find([key, how]).is_none() {
                    self.renamed.add([key, how], fresh[at]);
                }
            }
            next[..length].copy_from_slice(&fresh);
        } else if how & ORDER != 0 {
            let order = orders(how);
            let moved = next;
            for at in 2..length {
                next[at] = moved[order[at - 2] as usize + 2];
            }
        }
        self.rows[start..].copy_from_slice(&next[..length]);
    }

    fn number_of_names(&mut self, names: Bits) -> u32 {
        let hash = |names: &Bits| {
            let mut print = Fingerprint::new();
            print.word(names.0 as u64);
            print.word((names.0 >> 64) as u64);
            print.value()
        };
        let Explorer { names: all, numbers_of_names: numbers, .. } = self;
        if let Some(&number) = numbers.find(hash(&names), |&number| all[number as usize] == names) {
            return number;
        }
        let number = all.len() as u32;
        numbers.insert_unique(hash(&names), number, |&number| hash(&all[number as usize]));
        all.push(names);
        number
    }

    /// Puts the instances of a row in order. Gives the fingerprint, and where each was before.
    fn sort(&mut self, start: usize) -> (u64, [u32; MOST]) {
        let mut order = [0, 1, 2];
        let count = self.row_len() - 2;
        if !self.sorts || count == 1 {
            return (self.print(start), order);
        }
        let colour =
            |explorer: &Self, place: usize| explorer.parts.group(explorer.rows[start + 2 + place]).colour;
        let mut colours = [0; MOST];
        (0..count).for_each(|place| colours[place] = colour(self, place));
        order[..count].sort_by_key(|&place| colours[place as usize]);
        colours[..count].sort_unstable();
        self.put(start, order);
        let least = self.print(start);
        if colours[..count].windows(2).all(|pair| pair[0] != pair[1]) {
            return (least, order);
        }
        self.break_ties(start, &colours[..count], order, least)
    }

    fn break_ties(
        &mut self,
        start: usize,
        colours: &[u64],
        order: [u32; MOST],
        mut least: u64,
    ) -> (u64, [u32; MOST]) {
        let (mut sorted, length) = ([0; MOST + 2], self.row_len());
        sorted[..length].copy_from_slice(&self.rows[start..]);
        let (mut best, mut best_order) = (sorted, order);
        for candidate in &orders_within(colours)[1..] {
            self.rows[start..].copy_from_slice(&sorted[..length]);
            let mut steps = [0, 1, 2];
            steps[..candidate.len()].copy_from_slice(candidate);
            self.put(start, steps);
            let print = self.print(start);
            if print < least {
                least = print;
                best[..length].copy_from_slice(&self.rows[start..]);
                best_order = steps.map(|place| order[place as usize]);
            }
        }
        self.rows[start..].copy_from_slice(&best[..length]);
        (least, best_order)
    }

    /// Puts the instance at `order[i]` to place `i`.
    fn put(&mut self, start: usize, order: [u32; MOST]) {
        if order != [0, 1, 2] {
            let how = order[0] | order[1] << 2 | order[2] << 4 | ORDER;
            self.replace(start, how, true, |_, _| true);
        }
    }

    /// The fingerprint of the world of a row.
    fn print(&self, start: usize) -> u64 {
        let row = &self.rows[start..];
        let groups = || row[2..].iter().map(|&group| self.parts.group(group));
        let whole = usize::from(groups().any(|group| group.knows_another));
        let flights = groups().map(|group| group.flights).fold(0, u64::wrapping_add);
        join(groups().map(|group| group.faces[whole]), self.parts.rest(row[0]).print, flights)
    }
}

/// How many outcomes follow after two words, as [`Steps`] has it.
fn counts_in(words: &[u32]) -> [u16; 3] {
    [(words[0] >> 1) as u16, words[1] as u16, (words[0] & 1) as u16]
}

/// The order of places that has that number.
fn orders(how: u32) -> [u32; MOST] {
    [how & 3, how >> 2 & 3, how >> 4 & 3]
}
