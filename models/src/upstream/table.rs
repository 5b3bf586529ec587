//! Several rows of the store of Mattermost's plugins, each of which is a row of [`super::kv`].
//!
//! | operation | effect | answer | who answers |
//! |---|---|---|---|
//! | [`TableOp::Row`] | as the row's operation says | the row's | the master, or for a read a replica |
//! | [`TableOp::Page`] | none | the keys of live rows, in order, from an offset on | a replica |
//!
//! Pages are counted by *offset*: a row that goes while somebody turns the pages lets another one slip from the next
//! page to the last one, and it is not seen (O10).
//!
//! Only the rows of locks have an owner. What is done to others is none of the monitors' business.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use fencepost::store::Protocol;
use fencepost::time::{StoreTime, Timestamp};

use super::kv::{Kv, KvAnswer, KvOp, Row};
use crate::normal::Names;
use crate::store::{LockKey, Mark, Named, Serving, Simulated, Touch};

/// The protocol of the store, for keys `K` with values `V`.
#[derive(Clone, Debug)]
pub struct Table<K, V>(PhantomData<(K, V)>);

/// A request to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableOp<K, V> {
    /// About one row. Answered by [`TableAnswer::Row`].
    Row(K, KvOp<V>),
    /// Lists keys. Answered by [`TableAnswer::Page`].
    Page {
        /// Which page, the first being 0.
        page: u32,
        /// How many keys a page has.
        count: u32,
        /// The caller's clock.
        wall: Timestamp,
    },
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableAnswer<K, V> {
    /// What it says about one row. [`KvAnswer::Error`] answers a listing, too.
    Row(KvAnswer<V>),
    /// The keys of a page.
    Page(Vec<K>),
}

impl<K, V> TableAnswer<K, V> {
    /// What it says about a row.
    pub(super) fn row(self) -> KvAnswer<V> {
        match self {
            TableAnswer::Row(answer) => answer,
            TableAnswer::Page(_) => KvAnswer::Error,
        }
    }
}

/// The rows of one namespace, in the order of keys.
pub type Rows<K, V> = BTreeMap<K, Row<V>>;

impl<K, V> Protocol for Table<K, V>
where
    K: Clone + Ord + Hash + Debug + Send + Sync + 'static,
    V: Clone + Eq + Hash + Debug + Send + Sync + 'static,
{
    type Op = TableOp<K, V>;
    type Answer = TableAnswer<K, V>;

    fn unknown() -> TableAnswer<K, V> {
        TableAnswer::Row(KvAnswer::Error)
    }
}

impl<K, V> Simulated for Table<K, V>
where
    K: Clone + Ord + Hash + Debug + LockKey + Send + Sync + 'static,
    V: Clone + Eq + Hash + Debug + Named + Send + Sync + 'static,
{
    type Shelf = Rows<K, V>;

    const COUNTS_AGE: bool = Kv::<V>::COUNTS_AGE;

    fn serve(op: &TableOp<K, V>, rows: &mut Rows<K, V>, serving: &mut Serving<'_>) -> TableAnswer<K, V> {
        match op {
            TableOp::Row(key, op) => {
                let mut row = rows.remove(key);
                let answer = Kv::serve(op, &mut row, serving);
                if let Some(row) = row {
                    rows.insert(key.clone(), row);
                }
                serving.to_lock = key.is_lock();
                let is_owned =
                    serving.to_lock || !matches!(serving.touch, Touch::Renewed(_) | Touch::Deleted(_));
                serving.touch = if is_owned { serving.touch } else { Touch::None };
                TableAnswer::Row(answer)
            }
            TableOp::Page { page, count, wall } => {
                let live = rows.iter().filter(|(_, row)| row.is_live(*wall)).map(|(key, _)| key.clone());
                let (page, count) = (*page as usize, *count as usize);
                TableAnswer::Page(live.skip(page * count).take(count).collect())
            }
        }
    }

    fn is_read(op: &TableOp<K, V>) -> bool {
        match op {
            TableOp::Row(_, op) => Kv::is_read(op),
            TableOp::Page { .. } => true,
        }
    }

    fn lock(rows: &mut Rows<K, V>) -> Option<&mut Mark> {
        rows.iter_mut().find(|(key, _)| key.is_lock()).map(|(_, row)| &mut row.mark)
    }

    fn for_each_mark(rows: &mut Rows<K, V>, look: &mut dyn FnMut(&mut Mark)) {
        rows.values_mut().for_each(|row| look(&mut row.mark));
    }

    /// No row is dead for all: a slow clock may still find it alive.
    fn sweep(_: &mut Rows<K, V>, _: StoreTime) {}

    fn relocate_op(op: &mut TableOp<K, V>, names: &mut Names) {
        match op {
            TableOp::Row(_, op) => {
                Kv::relocate_op(op, names);
                match op {
                    KvOp::Insert { value, .. } | KvOp::Set { value, .. } => value.relocate(names),
                    KvOp::Update { old, new, .. } => {
                        old.relocate(names);
                        new.relocate(names);
                    }
                    KvOp::Delete | KvOp::Get { .. } => {}
                }
            }
            TableOp::Page { wall, .. } => names.timestamp(wall),
        }
    }

    fn relocate_answer(answer: &mut TableAnswer<K, V>, names: &mut Names) {
        match answer {
            TableAnswer::Row(KvAnswer::Found(Some(value))) => value.relocate(names),
            TableAnswer::Row(KvAnswer::Found(None) | KvAnswer::Done(_) | KvAnswer::Error)
            | TableAnswer::Page(_) => {}
        }
    }

    fn relocate_shelf(rows: &mut Rows<K, V>, names: &mut Names) {
        for row in rows.values_mut() {
            row.relocate(names);
            row.value.relocate(names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::InstanceId;
    use crate::upstream::bench::{A, B, serve_at, wall};
    use crate::upstream::mattermost::Value;

    /// A is the lock.
    impl LockKey for char {
        fn is_lock(&self) -> bool {
            *self == 'a'
        }
    }

    type Letters = Table<char, Value>;

    fn set(key: char, expire_in_secs: u64) -> TableOp<char, Value> {
        TableOp::Row(key, KvOp::Set { value: Value::Time(wall(1)), expire_in_secs, wall: wall(0) })
    }

    fn done(op: TableOp<char, Value>, rows: &mut Rows<char, Value>, by: InstanceId) -> Touch {
        let (answer, touch) = serve_at::<Letters>(&op, rows, 0, by);
        assert_eq!(answer, TableAnswer::Row(KvAnswer::Done(true)));
        touch
    }

    fn page(rows: &mut Rows<char, Value>, page: u32, millis: u64) -> Vec<char> {
        let op = TableOp::Page { page, count: 2, wall: wall(millis) };
        match serve_at::<Letters>(&op, rows, millis, B) {
            (TableAnswer::Page(keys), Touch::None) => keys,
            other => panic!("{other:?} is no page"),
        }
    }

    #[test]
    fn a_page_has_the_live_keys_in_order_from_an_offset_on() {
        let mut rows = Rows::new();
        for (key, secs) in [('d', 0), ('a', 0), ('c', 1), ('b', 0)] {
            done(set(key, secs), &mut rows, A);
        }
        assert_eq!(
            [0, 1, 2].map(|number| page(&mut rows, number, 999)),
            [vec!['a', 'b'], vec!['c', 'd'], vec![]]
        );
        assert_eq!([0, 1].map(|number| page(&mut rows, number, 1_000)), [vec!['a', 'b'], vec!['d']]);
    }

    #[test]
    fn o10_a_row_that_goes_while_the_pages_are_turned_hides_another_one() {
        let mut rows = Rows::new();
        for key in ['a', 'b', 'c', 'd'] {
            done(set(key, 0), &mut rows, A);
        }
        assert_eq!(page(&mut rows, 0, 0), ['a', 'b']);
        done(TableOp::Row('a', KvOp::Delete), &mut rows, A);
        assert_eq!(page(&mut rows, 1, 0), ['d'], "nobody has seen c");
    }

    #[test]
    fn a_row_has_an_owner_only_if_it_is_the_locks() {
        let mut rows = Rows::new();
        for (key, is_owned) in [('a', true), ('b', false)] {
            done(set(key, 0), &mut rows, A);
            let value = Value::Time(wall(1));
            let update = KvOp::Update { old: value, new: value, expire_in_secs: 0, wall: wall(0) };
            let renewal = done(TableOp::Row(key, update), &mut rows, B);
            let deletion = done(TableOp::Row(key, KvOp::Delete), &mut rows, B);
            assert_eq!(matches!(renewal, Touch::Renewed(mark) if mark.by.instance == A), is_owned);
            assert_eq!(matches!(deletion, Touch::Deleted(mark) if mark.by.instance == A), is_owned);
            assert_eq!(Letters::lock(&mut rows), None);
        }
    }

    #[test]
    fn a_replica_may_answer_what_only_reads() {
        let reads = [
            TableOp::Row('a', KvOp::Get { wall: wall(0) }),
            TableOp::Page { page: 0, count: 1, wall: wall(0) },
        ];
        assert!(reads.iter().all(Letters::is_read));
        assert!(![set('a', 0), TableOp::Row('a', KvOp::Delete)].iter().any(Letters::is_read));
        assert_eq!(Letters::unknown().row(), KvAnswer::Error);
    }
}
