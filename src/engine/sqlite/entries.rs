//! One request, inside a transaction.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Params, Result, Row, params};

use super::hints;
use crate::engine::{EngineAnswer, EngineOp, Key, Request, Text};
use crate::store::{Answer, Entry, Expect, Revision};
use crate::time::{Span, StoreTime};

/// At how many entries a transaction looks for each that it puts, in case they are dead.
const SWEEP: u32 = 16;
pub(super) const WALK: &str =
    "SELECT space, key, expires FROM entry WHERE (space, key) >= (?, ?) ORDER BY space, key LIMIT ?";
pub(super) const LIST: &str = "SELECT revision, record, key FROM entry
    WHERE space = ? AND key > ? AND expires > ? ORDER BY key LIMIT ?";

/// Where an entry stands: its space and its key.
pub(super) type Place = (String, Vec<u8>);

/// A transaction.
pub(super) struct Transaction<'a> {
    database: &'a Connection,
    now: i64,
    /// Whether there are hints to be read once it is committed.
    pub(super) hints: bool,
    /// How many entries were put.
    puts: u32,
}

/// What fits into SQLite's integers: all of time until 2262, and "never".
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The entry in columns 0 and 1.
pub(super) fn entry(row: &Row<'_>) -> Result<Entry<Text>> {
    Ok(Entry { revision: revision(row.get(0)?), record: row.get(1)? })
}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

impl<'a> Transaction<'a> {
    /// One that is carried out at `now` on the store's clock.
    pub(super) fn new(database: &'a Connection, now: StoreTime) -> Transaction<'a> {
        Transaction { database, now: integer(now.as_nanos()), hints: false, puts: 0 }
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.database.prepare_cached(sql)
    }

    fn execute(&self, sql: &str, with: impl Params) -> Result<bool> {
        Ok(self.prepare(sql)?.execute(with)? > 0)
    }

    /// Carries a request out.
    pub(super) fn carry_out(&mut self, Request { space, op }: &Request) -> Result<EngineAnswer> {
        match op {
            EngineOp::Get { key } => self.find(space, key).map(Answer::Found),
            EngineOp::PutIf { key, expect, record, ttl } => self.put_if(space, key, *expect, record, *ttl),
            EngineOp::Renew { key, revision, ttl } => self.renew(space, key, *revision, *ttl),
            EngineOp::DeleteIf { key, revision } => self.delete_if(space, key, *revision),
            EngineOp::List { after, limit } => self.list(space, after, *limit),
        }
    }

    /// Passes a message on.
    pub(super) fn publish(&mut self, space: &str, text: &str) -> Result<()> {
        self.hints = true;
        hints::write(self.database, space, Some(text))
    }

    fn find(&self, space: &str, key: &Key) -> Result<Option<Entry<Text>>> {
        let sql = "SELECT revision, record FROM entry WHERE space = ? AND key = ? AND expires > ?";
        self.prepare(sql)?.query_row(params![space, key, self.now], entry).optional()
    }

    fn put_if(
        &mut self,
        space: &str,
        key: &Key,
        expect: Expect,
        record: &Text,
        ttl: Option<Span>,
    ) -> Result<EngineAnswer> {
        let found = self.find(space, key)?;
        let is_as_expected = match expect {
            Expect::Absent => found.is_none(),
            Expect::Revision(revision) => found.as_ref().is_some_and(|found| found.revision == revision),
        };
        if !is_as_expected {
            return Ok(Answer::Refused(found));
        }
        let given = self.next_revision()?;
        let expires = ttl.map_or(i64::MAX, |ttl| self.after(ttl));
        self.execute(
            "INSERT INTO entry (space, key, revision, record, expires) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (space, key) DO UPDATE SET (revision, record, expires)
                 = (excluded.revision, excluded.record, excluded.expires)",
            params![space, key, given, record, expires],
        )?;
        self.puts += 1;
        Ok(Answer::Applied(revision(given)))
    }

    /// One more than the last one, or the clock in microseconds if that is more: what a file that was lost has
    /// counted, nobody knows, but it has not counted faster than that.
    fn next_revision(&self) -> Result<i64> {
        let last: i64 = self.prepare("SELECT revision FROM counter")?.query_row([], |row| row.get(0))?;
        let next = last.saturating_add(1).max(self.now / 1_000);
        // Nobody else writes meanwhile; and what returns what it has updated makes a table for that each time.
        if !self.execute("UPDATE counter SET revision = ? WHERE rowid = 1", [next])? {
            return Err(Error::StatementChangedRows(0));
        }
        Ok(next)
    }

    fn after(&self, ttl: Span) -> i64 {
        self.now.saturating_add(integer(ttl.as_nanos()))
    }

    fn renew(&self, space: &str, key: &Key, of: Revision, ttl: Span) -> Result<EngineAnswer> {
        let sql = "UPDATE entry SET expires = ? WHERE space = ? AND key = ? AND revision = ? AND expires > ?";
        let applied = self.execute(sql, params![self.after(ttl), space, key, integer(of.0), self.now])?;
        Ok(if applied { Answer::Applied(of) } else { Answer::Refused(None) })
    }

    fn delete_if(&mut self, space: &str, key: &Key, of: Revision) -> Result<EngineAnswer> {
        let sql = "DELETE FROM entry WHERE space = ? AND key = ? AND revision = ? AND expires > ?";
        if !self.execute(sql, params![space, key, integer(of.0), self.now])? {
            return Ok(Answer::Refused(None));
        }
        self.hints = true;
        hints::write(self.database, space, None)?;
        Ok(Answer::Applied(of))
    }

    fn list(&self, space: &str, after: &Key, limit: u32) -> Result<EngineAnswer> {
        let mut statement = self.prepare(LIST)?;
        let page = statement.query_map(params![space, after, self.now, limit], |row| {
            Ok((row.get::<_, Vec<u8>>(2).map(Box::from)?, entry(row)?))
        })?;
        page.collect::<Result<_>>().map(Answer::Listed)
    }

    /// Goes on from `swept` in the order of entries, looks at a few for each that this transaction has put, and clears those
    /// away that are dead: nobody may come to take them over.
    ///
    /// An index would find them at once, and cost every write a page more.
    pub(super) fn sweep(&self, swept: &mut Place) -> Result<()> {
        if self.puts == 0 {
            return Ok(());
        }
        let (dead, next) = self.walk(swept, self.puts.saturating_mul(SWEEP))?;
        for (space, key) in dead {
            self.execute("DELETE FROM entry WHERE space = ? AND key = ?", params![space, key])?;
        }
        *swept = next;
        Ok(())
    }

    /// Which of the next `count` entries are dead, and where to go on: with the last of them, or at the beginning.
    fn walk(&self, (space, key): &Place, count: u32) -> Result<(Vec<Place>, Place)> {
        let place = |row: &Row<'_>| -> Result<Place> { Ok((row.get(0)?, row.get(1)?)) };
        let (mut dead, mut next, mut seen) = (Vec::new(), Place::default(), 0);
        let mut statement = self.prepare(WALK)?;
        let mut rows = statement.query(params![space, key, count])?;
        while let Some(row) = rows.next()? {
            seen += 1;
            if seen == count {
                next = place(row)?;
            }
            if row.get::<_, i64>(2)? <= self.now {
                dead.push(place(row)?);
            }
        }
        Ok((dead, next))
    }
}
