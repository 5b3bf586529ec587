//! The key-value store of Mattermost's plugins: rows are compared by value, and whoever asks brings the clock.
//!
//! A row expires at a moment in wall-clock milliseconds, and it is the *asking* application server's wall clock
//! that decides whether that moment has passed. A server whose clock is ahead therefore purges a row that its
//! owner just wrote (M4); one whose clock is behind refuses to see that a row is dead.
//!
//! | operation | effect | answer |
//! |---|---|---|
//! | [`KvOp::Insert`] | deletes the row if it is purgeable; writes, if no row is left | whether it wrote |
//! | [`KvOp::Update`] | writes value and expiry, if the row is live and has the old value | whether it wrote |
//! | [`KvOp::Delete`] | deletes the row, whoever wrote it | true |
//! | [`KvOp::Get`] | none | the value of a live row |
//! | [`KvOp::Set`] | writes, whatever is there | true |
//!
//! A row is *live* if it never expires or expires after the caller's now, *purgeable* if it expires before it; in
//! the very millisecond in which it expires it is neither. The original deletes and inserts in two statements.
//! One does here: whatever comes between them makes the insert fail, as if it had come before both.
//!
//! A lock needs one row, which is what is here; jobs need several: [`super::table`].
//!
//! The [`Mark`] of a row follows the true store's clock instead: what the row's owner was promised.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use fencepost::store::Protocol;
use fencepost::time::{Span, StoreTime, Timestamp};

use crate::normal::Names;
use crate::store::{Mark, Serving, Simulated, Touch};

/// The protocol of the store, for one key with values `V`.
#[derive(Clone, Debug)]
pub struct Kv<V>(PhantomData<V>);

/// A request to the store. `wall` is the caller's wall clock when it sent the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvOp<V> {
    /// Writes, if there is no row. Answered by [`KvAnswer::Done`].
    Insert {
        /// What to write.
        value: V,
        /// How long it lives; for ever, if zero.
        expire_in_secs: u64,
        /// The caller's clock.
        wall: Timestamp,
    },
    /// Writes, if there is a live row with the old value. Answered by [`KvAnswer::Done`].
    Update {
        /// The value it must have.
        old: V,
        /// The value to write.
        new: V,
        /// How long it lives from now on; for ever, if zero.
        expire_in_secs: u64,
        /// The caller's clock.
        wall: Timestamp,
    },
    /// Deletes, whatever is there. Answered by [`KvAnswer::Done`].
    Delete,
    /// Reads. Answered by [`KvAnswer::Found`].
    Get {
        /// The caller's clock.
        wall: Timestamp,
    },
    /// Writes, whatever is there. Answered by [`KvAnswer::Done`].
    Set {
        /// What to write.
        value: V,
        /// How long it lives; for ever, if zero.
        expire_in_secs: u64,
        /// The caller's clock.
        wall: Timestamp,
    },
}

impl<V> KvOp<V> {
    /// The same with other values.
    pub(super) fn map<W>(self, value_of: impl Fn(V) -> W) -> KvOp<W> {
        match self {
            KvOp::Insert { value, expire_in_secs, wall } => {
                KvOp::Insert { value: value_of(value), expire_in_secs, wall }
            }
            KvOp::Update { old, new, expire_in_secs, wall } => {
                KvOp::Update { old: value_of(old), new: value_of(new), expire_in_secs, wall }
            }
            KvOp::Delete => KvOp::Delete,
            KvOp::Get { wall } => KvOp::Get { wall },
            KvOp::Set { value, expire_in_secs, wall } => {
                KvOp::Set { value: value_of(value), expire_in_secs, wall }
            }
        }
    }
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvAnswer<V> {
    /// Whether it was done.
    Done(bool),
    /// The value of a live row.
    Found(Option<V>),
    /// It failed: it may or may not have been done.
    Error,
}

impl<V: Clone + Eq + Hash + Debug + Send + Sync + 'static> Protocol for Kv<V> {
    type Op = KvOp<V>;
    type Answer = KvAnswer<V>;

    fn unknown() -> KvAnswer<V> {
        KvAnswer::Error
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row<V> {
    pub(super) value: V,
    /// In milliseconds since the Unix epoch, on the clock of whoever wrote it; never, if zero.
    expire_at_millis: u64,
    pub(super) mark: Mark,
}

impl<V> Row<V> {
    pub(super) fn is_live(&self, wall: Timestamp) -> bool {
        self.expire_at_millis == 0 || self.expire_at_millis > millis(wall)
    }

    fn is_purgeable(&self, wall: Timestamp) -> bool {
        self.expire_at_millis != 0 && self.expire_at_millis < millis(wall)
    }

    fn is_truly_live(&self, now: StoreTime) -> bool {
        self.mark.expires > now
    }

    /// Shows its names to `names`, but for those in its value.
    pub(super) fn relocate(&mut self, names: &mut Names) {
        self.mark.relocate(names);
        if self.expire_at_millis != 0 {
            let mut at = Timestamp::from_nanos(self.expire_at_millis.saturating_mul(1_000_000));
            names.timestamp(&mut at);
            self.expire_at_millis = millis(at);
        }
    }
}

fn millis(wall: Timestamp) -> u64 {
    wall.as_nanos() / 1_000_000
}

fn expire_at_millis(wall: Timestamp, expire_in_secs: u64) -> u64 {
    if expire_in_secs == 0 { 0 } else { millis(wall).saturating_add(expire_in_secs.saturating_mul(1_000)) }
}

/// The mark of a row written now: its life counts from when its writer's clock was read, which is when it was sent.
fn mark(serving: &Serving<'_>, expire_in_secs: u64) -> Mark {
    let ttl = (expire_in_secs != 0).then(|| Span::from_secs(expire_in_secs));
    let mark = serving.mark(ttl);
    let expires = if ttl.is_some() { mark.expires - serving.age } else { mark.expires };
    Mark { expires, ..mark }
}

impl<V: Clone + Eq + Hash + Debug + Send + Sync + 'static> Simulated for Kv<V> {
    type Shelf = Option<Row<V>>;

    const COUNTS_AGE: bool = true;

    fn serve(op: &KvOp<V>, shelf: &mut Option<Row<V>>, serving: &mut Serving<'_>) -> KvAnswer<V> {
        serving.to_lock = true;
        match op {
            KvOp::Insert { value, expire_in_secs, wall } => {
                let purged = shelf.take_if(|row| row.is_purgeable(*wall));
                if let Some(row) = shelf {
                    serving.touch = Touch::Refused(row.mark);
                    return KvAnswer::Done(false);
                }
                let expire_at_millis = expire_at_millis(*wall, *expire_in_secs);
                let mark = mark(serving, *expire_in_secs);
                *shelf = Some(Row { value: value.clone(), expire_at_millis, mark });
                // A row that was purged though its promised time was not over has been stolen.
                let stolen = purged.filter(|row| row.is_truly_live(serving.now));
                serving.touch = Touch::Wrote(stolen.map(|row| row.mark));
                KvAnswer::Done(true)
            }
            KvOp::Update { old, new, expire_in_secs, wall } => {
                let Some(row) = shelf.as_mut().filter(|row| row.value == *old && row.is_live(*wall)) else {
                    return KvAnswer::Done(false);
                };
                serving.touch = Touch::Renewed(row.mark);
                let renewed = mark(serving, *expire_in_secs);
                row.mark.renew(serving, renewed.expires);
                row.expire_at_millis = expire_at_millis(*wall, *expire_in_secs);
                row.value = new.clone();
                KvAnswer::Done(true)
            }
            KvOp::Delete => {
                if let Some(row) = shelf.take().filter(|row| row.is_truly_live(serving.now)) {
                    serving.touch = Touch::Deleted(row.mark);
                }
                KvAnswer::Done(true)
            }
            KvOp::Get { wall } => {
                let live = shelf.as_ref().filter(|row| row.is_live(*wall));
                KvAnswer::Found(live.map(|row| row.value.clone()))
            }
            KvOp::Set { value, expire_in_secs, wall } => {
                let expire_at_millis = expire_at_millis(*wall, *expire_in_secs);
                let mark = mark(serving, *expire_in_secs);
                let over = shelf.replace(Row { value: value.clone(), expire_at_millis, mark });
                let over = over.filter(|row| row.is_truly_live(serving.now));
                serving.touch = Touch::Wrote(over.map(|row| row.mark));
                KvAnswer::Done(true)
            }
        }
    }

    fn is_read(op: &KvOp<V>) -> bool {
        match op {
            KvOp::Get { .. } => true,
            KvOp::Insert { .. } | KvOp::Update { .. } | KvOp::Delete | KvOp::Set { .. } => false,
        }
    }

    fn lock(shelf: &mut Option<Row<V>>) -> Option<&mut Mark> {
        shelf.as_mut().map(|row| &mut row.mark)
    }

    fn for_each_mark(shelf: &mut Option<Row<V>>, look: &mut dyn FnMut(&mut Mark)) {
        shelf.iter_mut().for_each(|row| look(&mut row.mark));
    }

    /// No row is dead for all: a slow clock may still find it alive.
    fn sweep(_: &mut Option<Row<V>>, _: StoreTime) {}

    fn relocate_op(op: &mut KvOp<V>, names: &mut Names) {
        match op {
            KvOp::Insert { wall, expire_in_secs, .. }
            | KvOp::Update { wall, expire_in_secs, .. }
            | KvOp::Set { wall, expire_in_secs, .. } => {
                names.reading(wall, Span::from_secs(*expire_in_secs));
            }
            KvOp::Get { wall } => names.timestamp(wall),
            KvOp::Delete => {}
        }
    }

    fn relocate_answer(_: &mut KvAnswer<V>, _: &mut Names) {}

    fn relocate_shelf(shelf: &mut Option<Row<V>>, names: &mut Names) {
        shelf.iter_mut().for_each(|row| row.relocate(names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::bench::{A, B, serve, wall};

    fn insert(value: char, secs: u64, wall_millis: u64) -> KvOp<char> {
        KvOp::Insert { value, expire_in_secs: secs, wall: wall(wall_millis) }
    }

    fn update(old: char, new: char, wall_millis: u64) -> KvOp<char> {
        KvOp::Update { old, new, expire_in_secs: 15, wall: wall(wall_millis) }
    }

    #[test]
    fn a_row_is_neither_live_nor_purgeable_in_the_millisecond_in_which_it_expires() {
        let mut written = None;
        serve(&insert('a', 15, 1_000), &mut written, 0, A);
        for (at, live, purgeable) in [(15_999, true, false), (16_000, false, false), (16_001, false, true)] {
            let (found, _) = serve(&KvOp::Get { wall: wall(at) }, &mut written.clone(), at - 1_000, B);
            assert_eq!(found, KvAnswer::Found(live.then_some('a')), "read at {at}");
            let (updated, _) = serve(&update('a', 'b', at), &mut written.clone(), at - 1_000, B);
            assert_eq!(updated, KvAnswer::Done(live), "updated at {at}");
            let (inserted, _) = serve(&insert('b', 15, at), &mut written.clone(), at - 1_000, B);
            assert_eq!(inserted, KvAnswer::Done(purgeable), "inserted at {at}");
        }
    }

    #[test]
    fn m4_a_fast_clock_purges_a_live_row_and_a_true_one_only_a_dead_row() {
        let mut table = None;
        serve(&insert('a', 15, 0), &mut table, 0, A);
        let mark = table.as_ref().unwrap().mark;
        let (_, refused) = serve(&insert('b', 15, 1_000), &mut table.clone(), 1_000, B);
        assert_eq!(refused, Touch::Refused(mark));
        let (_, theft) = serve(&insert('b', 15, 15_001), &mut table.clone(), 1_000, B);
        assert_eq!(theft, Touch::Wrote(Some(mark)));
        let (_, takeover) = serve(&insert('b', 15, 15_001), &mut table.clone(), 15_001, B);
        assert_eq!(takeover, Touch::Wrote(None));
        let (_, slow) = serve(&insert('b', 15, 15_000), &mut table, 60_000, B);
        assert_eq!(slow, Touch::Refused(mark), "a slow clock keeps a dead row");
    }

    #[test]
    fn an_update_asks_for_the_value_and_leaves_the_creator() {
        let mut table = None;
        serve(&insert('a', 15, 0), &mut table, 0, A);
        let before = table.as_ref().unwrap().mark;
        assert_eq!(
            serve(&update('x', 'b', 1_000), &mut table, 1_000, B),
            (KvAnswer::Done(false), Touch::None)
        );
        let (answer, touch) = serve(&update('a', 'b', 1_000), &mut table, 1_000, B);
        assert_eq!((answer, touch), (KvAnswer::Done(true), Touch::Renewed(before)));
        let row = table.as_ref().unwrap();
        assert_eq!((row.value, row.mark.by), ('b', before.by));
        assert_eq!(row.mark.expires, before.expires + Span::from_secs(1));
    }

    #[test]
    fn a_delete_asks_for_nothing_and_counts_only_what_truly_lived() {
        let mut table = None;
        serve(&insert('a', 15, 0), &mut table, 0, A);
        let mark = table.as_ref().unwrap().mark;
        assert_eq!(
            serve(&KvOp::Delete, &mut table.clone(), 1, B),
            (KvAnswer::Done(true), Touch::Deleted(mark))
        );
        assert_eq!(serve(&KvOp::Delete, &mut table, 15_000, B), (KvAnswer::Done(true), Touch::None));
        assert_eq!(serve(&KvOp::Delete, &mut table, 15_000, B), (KvAnswer::Done(true), Touch::None));
    }

    #[test]
    fn a_set_asks_for_nothing_and_its_row_is_the_setters() {
        let mut table = None;
        serve(&insert('a', 0, 0), &mut table, 0, A);
        let before = table.as_ref().unwrap().mark;
        let set = KvOp::Set { value: 'b', expire_in_secs: 0, wall: wall(0) };
        assert_eq!(serve(&set, &mut table, 1, B), (KvAnswer::Done(true), Touch::Wrote(Some(before))));
        let row = table.as_ref().unwrap();
        assert_eq!((row.value, row.mark.by.instance), ('b', B));
    }

    #[test]
    fn m6_a_row_without_expiry_never_goes() {
        let mut table = None;
        serve(&insert('a', 0, 1_000), &mut table, 0, A);
        let (answer, _) = serve(&insert('b', 15, u64::MAX / 1_000_000), &mut table, 1 << 40, B);
        assert_eq!(answer, KvAnswer::Done(false));
        assert_eq!(Kv::lock(&mut table).unwrap().expires, StoreTime::MAX);
    }
}
