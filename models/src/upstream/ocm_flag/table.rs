//! The table of the leadership package: one row for each flag, compared by version, aged by the database's clock.
//!
//! | operation | effect | answer |
//! |---|---|---|
//! | [`TableOp::Now`] | none | the database's clock |
//! | [`TableOp::Load`] | none | the row |
//! | [`TableOp::Insert`] | writes the first version, if there is no row | whether it wrote |
//! | [`TableOp::Update`] | writes the next version, if the row has this one and the holder that is asked for | whether it wrote |
//!
//! A row never goes. Whether it is old, its reader decides: by the time that it read before it, and the time that its
//! writer had read before *that* (G3). The [`Mark`] of a row follows what its holder is promised: an interval from that
//! time on.

use fencepost::machine::Identity;
use fencepost::store::{Protocol, Revision};
use fencepost::time::{Span, StoreTime};

use crate::normal::Names;
use crate::store::{Mark, Serving, Simulated, Touch};

/// The protocol of the table.
#[derive(Clone, Debug)]
pub struct Table;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableOp {
    /// What time is it? Answered by [`TableAnswer::Now`].
    Now,
    /// Reads the row. Answered by [`TableAnswer::Row`].
    Load,
    /// Answered by [`TableAnswer::Done`].
    Insert(Write),
    /// Answered by [`TableAnswer::Done`].
    Update {
        /// The version that it must have.
        version: Revision,
        /// Whether it must have the same holder.
        own: bool,
        /// What to write.
        write: Write,
    },
}

/// What a statement writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Who holds the flag.
    pub holder: Identity,
    /// The time that its writer had read.
    pub timestamp: StoreTime,
    /// How long it is promised; the monitors ask, the table does not know.
    pub interval: Span,
}

/// A row, as a reader sees it. Versions begin with one here, and with zero in the original.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Who holds the flag.
    pub holder: Identity,
    /// How often it was written.
    pub version: Revision,
    /// The time that its writer had read.
    pub timestamp: StoreTime,
}

/// What the database says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableAnswer {
    /// Its clock.
    Now(StoreTime),
    /// The row, if there is one.
    Row(Option<Row>),
    /// Whether it wrote.
    Done(bool),
    /// The statement failed: it may or may not have been carried out.
    Error,
}

impl Protocol for Table {
    type Op = TableOp;
    type Answer = TableAnswer;

    fn unknown() -> TableAnswer {
        TableAnswer::Error
    }
}

/// The row, and what the monitors know of it.
pub type Shelf = Option<(Row, Mark)>;

fn marked(write: &Write, serving: &Serving<'_>) -> Mark {
    Mark { expires: write.timestamp + write.interval, ..serving.mark(None) }
}

impl Table {
    /// Writes over a row of that version. What prolongs the very same acquisition, or that of a namesake, is a renewal.
    fn write_over(row: &mut Row, mark: &mut Mark, write: &Write, serving: &mut Serving<'_>) {
        let fresh = marked(write, serving);
        let is_namesake = row.holder == write.holder && mark.by.instance != serving.by.instance;
        if mark.by == serving.by || is_namesake {
            serving.touch = Touch::Renewed(*mark);
            mark.renew(serving, fresh.expires);
        } else {
            let stolen = mark.expires > serving.now && mark.by.instance != serving.by.instance;
            serving.touch = Touch::Wrote(stolen.then_some(*mark));
            *mark = fresh;
        }
        (row.holder, row.timestamp) = (write.holder, write.timestamp);
        row.version = Revision(row.version.0 + 1);
    }
}

impl Simulated for Table {
    type Shelf = Shelf;

    fn serve(op: &TableOp, shelf: &mut Shelf, serving: &mut Serving<'_>) -> TableAnswer {
        serving.to_lock = true;
        match (op, shelf) {
            (TableOp::Now, _) => TableAnswer::Now(serving.now),
            (TableOp::Load, shelf) => TableAnswer::Row(shelf.as_ref().map(|(row, _)| row.clone())),
            (TableOp::Insert(write), shelf @ None) => {
                let row = Row { holder: write.holder, version: Revision(1), timestamp: write.timestamp };
                *shelf = Some((row, marked(write, serving)));
                serving.touch = Touch::Wrote(None);
                TableAnswer::Done(true)
            }
            (TableOp::Update { version, own, write }, Some((row, mark)))
                if row.version == *version && (!own || row.holder == write.holder) =>
            {
                Table::write_over(row, mark, write, serving);
                TableAnswer::Done(true)
            }
            (TableOp::Insert(_), Some((_, mark))) | (TableOp::Update { .. }, Some((_, mark))) => {
                serving.touch = Touch::Refused(*mark);
                TableAnswer::Done(false)
            }
            (TableOp::Update { .. }, None) => TableAnswer::Done(false),
        }
    }

    fn is_read(op: &TableOp) -> bool {
        matches!(op, TableOp::Now | TableOp::Load)
    }

    fn lock(shelf: &mut Shelf) -> Option<&mut Mark> {
        shelf.as_mut().map(|(_, mark)| mark)
    }

    fn for_each_mark(shelf: &mut Shelf, look: &mut dyn FnMut(&mut Mark)) {
        shelf.iter_mut().for_each(|(_, mark)| look(mark));
    }

    /// No row ever goes.
    fn sweep(_: &mut Shelf, _: StoreTime) {}

    fn relocate_op(op: &mut TableOp, names: &mut Names) {
        match op {
            TableOp::Now | TableOp::Load => {}
            TableOp::Insert(write) => write.relocate(names),
            TableOp::Update { version, own: _, write } => {
                relocate_version(version, names);
                write.relocate(names);
            }
        }
    }

    fn relocate_answer(answer: &mut TableAnswer, names: &mut Names) {
        use fencepost::machine::Relocate;
        match answer {
            TableAnswer::Now(now) => names.store_time(now),
            TableAnswer::Row(row) => row.iter_mut().for_each(|row| row.relocate(names)),
            TableAnswer::Done(_) | TableAnswer::Error => {}
        }
    }

    fn relocate_shelf(shelf: &mut Shelf, names: &mut Names) {
        shelf.iter_mut().for_each(|(row, mark)| {
            row.relocate(names);
            mark.relocate(names);
        });
    }
}

fn relocate_version(version: &mut Revision, names: &mut impl fencepost::machine::Relocate) {
    names.revision(version);
}

impl Write {
    fn relocate(&mut self, names: &mut impl fencepost::machine::Relocate) {
        names.identity(&mut self.holder);
        names.store_time(&mut self.timestamp);
    }
}

impl Row {
    /// See [`fencepost::machine::Machine::relocate`].
    pub(super) fn relocate(&mut self, names: &mut impl fencepost::machine::Relocate) {
        names.identity(&mut self.holder);
        names.store_time(&mut self.timestamp);
        relocate_version(&mut self.version, names);
    }
}
