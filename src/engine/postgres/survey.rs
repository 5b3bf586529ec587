//! Looking into the database, on a connection of its own.

use std::time::{SystemTime, UNIX_EPOCH};
use std::vec::Vec;

use alloc::boxed::Box;

use tokio::time::Instant;
use tokio_postgres::{Error, Row};

use super::PostgresError;
use super::dial::{Dial, entry, moment, told};
use super::schema::within;
use crate::engine::survey::{Stored, Survey};
use crate::time::StoreTime;

/// Nothing that is kept for ever has a moment at which it expires.
const SURVEY: &str = "
WITH now AS MATERIALIZED (SELECT clock_timestamp() AS moment)
SELECT now.moment, e.revision, e.record, e.space, e.key, nullif(e.expires, 'infinity') FROM now
LEFT JOIN {s}.entry e ON starts_with(e.space, $1) AND e.expires > now.moment ORDER BY e.space, e.key";

/// What lives in the spaces that begin with `prefix`.
pub(super) async fn survey(dial: &Dial, prefix: &str) -> Result<Survey, PostgresError> {
    let asked = "look into the store";
    let looking = async {
        let (client, connection) = dial.connect().await?;
        let moving = tokio::spawn(connection);
        let rows = client.query(&within(dial.schema(), SURVEY), &[&prefix]).await;
        drop(client);
        let _ = moving.await;
        rows.and_then(|rows| read(&rows)).map_err(|fault| dial.fault(asked, told(&fault)))
    };
    dial.in_time(Instant::now() + dial.call_max(), asked, looking).await
}

fn read(rows: &[Row]) -> Result<Survey, Error> {
    let at = rows.first().map(moment).transpose()?.unwrap_or(StoreTime::ZERO);
    let mut entries = Vec::new();
    for row in rows {
        // Where nothing was found, the clock stands alone.
        if let Some(entry) = entry(row)? {
            let until: Option<SystemTime> = row.try_get(5)?;
            let until = until.map(|until| until.duration_since(UNIX_EPOCH).unwrap_or_default());
            entries.push(Stored {
                space: row.try_get(3)?,
                key: Box::from(row.try_get::<_, &[u8]>(4)?),
                entry,
                until: until
                    .map(|until| StoreTime::from_nanos(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX))),
            });
        }
    }
    Ok(Survey { at, entries })
}
