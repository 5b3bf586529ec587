//! Tables, functions and statements.
//!
//! What decides stands in functions, so that each operation is one statement: first the key is locked, then the clock is
//! read, then the entry is looked at, all of it as `READ COMMITTED` shows it.

use std::format;
use std::string::String;

use tokio_postgres::{Client, Error};

/// The newest version of the schema. A step to each version stands in [`MIGRATIONS`].
pub(super) const VERSION: i32 = 1;
/// What leads from each version to the next one. `{s}` is the name of the schema.
const MIGRATIONS: [&str; VERSION as usize] = [FIRST];

const FIRST: &str = r#"
CREATE TABLE {s}.version (version integer NOT NULL);
INSERT INTO {s}.version VALUES (0);

CREATE TABLE {s}.entry (
    space text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    revision bigint NOT NULL,
    record text NOT NULL,
    expires timestamptz NOT NULL,
    PRIMARY KEY (space, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE SEQUENCE {s}.revision CACHE 1;

-- An assignment is worked out on the spot; PERFORM would start an executor each time. What it assigns says nothing.
CREATE FUNCTION {s}.lock_key(_space text, _key bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a store needs READ COMMITTED, not %', current_setting('transaction_isolation');
    END IF;
    RETURN pg_advisory_xact_lock(hashtextextended('{s}/' || encode(_key, 'hex') || '/' || _space, 0));
END $$;

-- Whoever sets the sequence excludes those who draw from it.
CREATE FUNCTION {s}.advance() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    _last bigint;
    _micros bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('{s}/revision', 1));
    SELECT last_value INTO _last FROM {s}.revision;
    _micros := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    IF _micros > _last THEN
        PERFORM setval('{s}.revision', _micros);
    END IF;
END $$;

-- Said to be stable, as what it adds is: so it is inlined.
CREATE FUNCTION {s}.after(_moment timestamptz, _ttl bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT coalesce(_moment + _ttl * interval '1 microsecond', 'infinity')
$$;

CREATE FUNCTION {s}.put_if(
    _space text, _key bytea, _expected bigint, _record text, _ttl bigint,
    OUT moment timestamptz, OUT applied boolean, OUT given bigint, OUT content text
) LANGUAGE plpgsql AS $$
DECLARE
    _done text := {s}.lock_key(_space, _key);
BEGIN
    moment := clock_timestamp();
    SELECT e.revision, e.record INTO given, content FROM {s}.entry e
        WHERE e.space = _space AND e.key = _key AND e.expires > moment;
    applied := given IS NOT DISTINCT FROM _expected;
    IF NOT applied THEN
        RETURN;
    END IF;
    _done := pg_advisory_xact_lock_shared(hashtextextended('{s}/revision', 1));
    given := nextval('{s}.revision');
    content := NULL;
    INSERT INTO {s}.entry VALUES (_space, _key, given, _record, {s}.after(moment, _ttl))
        ON CONFLICT ON CONSTRAINT entry_pkey DO UPDATE
        SET revision = excluded.revision, record = excluded.record, expires = excluded.expires;
END $$;

CREATE FUNCTION {s}.renew(
    _space text, _key bytea, _revision bigint, _ttl bigint, OUT moment timestamptz, OUT applied boolean
) LANGUAGE plpgsql AS $$
DECLARE
    _done text := {s}.lock_key(_space, _key);
BEGIN
    moment := clock_timestamp();
    UPDATE {s}.entry e SET expires = {s}.after(moment, _ttl)
        WHERE e.space = _space AND e.key = _key AND e.revision = _revision AND e.expires > moment;
    applied := FOUND;
END $$;

CREATE FUNCTION {s}.delete_if(
    _space text, _key bytea, _revision bigint, _hint text, OUT moment timestamptz, OUT applied boolean
) LANGUAGE plpgsql AS $$
DECLARE
    _done text := {s}.lock_key(_space, _key);
BEGIN
    moment := clock_timestamp();
    DELETE FROM {s}.entry e
        WHERE e.space = _space AND e.key = _key AND e.revision = _revision AND e.expires > moment;
    applied := FOUND;
    IF applied THEN
        _done := pg_notify('{s}', _hint);
    END IF;
END $$;

-- Clears away what expired and what nobody took over. One at a time is enough.
CREATE FUNCTION {s}.sweep() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    _count bigint := 0;
BEGIN
    IF pg_try_advisory_xact_lock(hashtextextended('{s}/sweep', 2)) THEN
        DELETE FROM {s}.entry WHERE expires <= clock_timestamp() AND ctid = ANY (ARRAY(
            SELECT e.ctid FROM {s}.entry e WHERE e.expires <= clock_timestamp() LIMIT 1000 FOR UPDATE SKIP LOCKED));
        GET DIAGNOSTICS _count = ROW_COUNT;
    END IF;
    RETURN _count;
END $$;
"#;

/// Reads one entry, and the clock.
pub(super) const GET: &str = "
WITH now AS MATERIALIZED (SELECT clock_timestamp() AS moment)
SELECT now.moment, e.revision, e.record FROM now
LEFT JOIN {s}.entry e ON e.space = $1 AND e.key = $2 AND e.expires > now.moment";

/// Reads a page, and the clock.
pub(super) const LIST: &str = "
WITH now AS MATERIALIZED (SELECT clock_timestamp() AS moment)
SELECT now.moment, e.revision, e.record, e.key FROM now
LEFT JOIN LATERAL (
    SELECT * FROM {s}.entry e WHERE e.space = $1 AND e.key > $2 AND e.expires > now.moment ORDER BY e.key LIMIT $3
) e ON true ORDER BY e.key";

/// Renews many, one after the other, in the order in which they are given.
pub(super) const RENEW: &str = "
SELECT r.moment, r.applied
FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS a (space, key, revision, ttl, number),
    LATERAL {s}.renew(a.space, a.key, a.revision, a.ttl) r
ORDER BY a.number";

/// `sql` in the schema of this name.
pub(super) fn within(schema: &str, sql: &str) -> String {
    sql.replace("{s}", schema)
}

/// Tables are looked up as rows: what a session has cached of names may be older than a lock that it was given.
const HAS_SCHEMA: &str = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
const HAS_TABLES: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = 'version')";

/// The version of the schema, if there is one.
async fn version(client: &Client, schema: &str) -> Result<Option<i32>, Error> {
    if !client.query_one(HAS_TABLES, &[&schema]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let row = client.query_one(&format!("SELECT version FROM {schema}.version"), &[]).await?;
    row.try_get(0).map(Some)
}

/// Brings the schema up to date, unless it is newer than what is known here. Returns its version.
pub(super) async fn migrate(client: &mut Client, schema: &str) -> Result<i32, Error> {
    if let Some(found) = version(client, schema).await?.filter(|found| *found >= VERSION) {
        return Ok(found);
    }
    let transaction = client.transaction().await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/schema', 3))";
    transaction.execute(lock, &[&schema]).await?;
    let found = version(transaction.client(), schema).await?;
    let exists = transaction.query_one(HAS_SCHEMA, &[&schema]).await?;
    // Whoever has been given the schema needs no right to create one.
    if !exists.try_get::<_, bool>(0)? {
        transaction.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
    }
    let done = usize::try_from(found.unwrap_or(0)).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done) {
        transaction.batch_execute(&within(schema, step)).await?;
    }
    if done < MIGRATIONS.len() {
        transaction.execute(&format!("UPDATE {schema}.version SET version = $1"), &[&VERSION]).await?;
    }
    transaction.commit().await?;
    Ok(found.unwrap_or(0).max(VERSION))
}
