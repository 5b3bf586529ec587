//! How connections are made: found, secured, set up, and given their statements.

use std::format;
use std::future::Future;
use std::string::{String, ToString};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::vec;
use std::vec::Vec;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, Row, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::payload;
use super::schema::{self, within};
use super::tls;
use super::{PostgresError, PostgresOptions};
use crate::engine::{EngineAnswer, EngineOp, Key, Reply, Request, Text};
use crate::store::{Answer, Entry, Expect, Revision};
use crate::time::{Span, StoreTime};

/// From here on a time to live is for ever: PostgreSQL's calendar does not end before, and its intervals are exact.
const FOR_EVER: Span = Span::from_secs(100 * 365 * 24 * 60 * 60);

/// A raw connection, which somebody has to move.
pub(super) type Connection = tokio_postgres::Connection<
    Socket,
    <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream,
>;

/// What an address looks like.
const ADDRESS: &str =
    "postgres://user:password@host:port/database?schema=…&sslmode=…, with %40 for an @ in the password";

/// Knows how to connect.
pub(super) struct Dial {
    /// One for each host.
    hosts: Vec<Config>,
    /// The one that would do last.
    last: AtomicUsize,
    tls: MakeRustlsConnect,
    options: PostgresOptions,
    server: String,
}

/// What a server said, in one line.
pub(super) fn told(fault: &Error) -> String {
    match fault.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(fault) {
            Some(source) => format!("{fault}: {source}"),
            None => fault.to_string(),
        },
    }
}

/// Whether a connection is of no use after this. The table stands in the module's documentation.
pub(super) fn breaks(fault: &Error) -> bool {
    let Some(state) = fault.code() else { return true };
    let code = state.code();
    let classes = ["08", "57P", "25", "0A", "26", "3F", "42", "58", "XX"];
    fault.is_closed() || classes.iter().any(|class| code.starts_with(class))
}

impl Dial {
    pub(super) fn new(url: &str, options: &PostgresOptions) -> Result<Dial, PostgresError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let schema = &options.schema;
        let begins = schema.chars().next().is_some_and(|first| first.is_ascii_lowercase());
        if !begins || !schema.chars().all(is_plain) || schema.len() > 40 || schema.starts_with("pg_") {
            return Err(PostgresError::Address {
                what: "schema",
                found: schema.clone(),
                accepted: "a lower-case letter, then lower-case letters, digits and _; 40 bytes at most; not pg_…",
            });
        }
        let (url, security) = tls::Security::read(url)?;
        let mut config: Config = url.parse().map_err(|fault: Error| PostgresError::Address {
            what: "address",
            found: told(&fault),
            accepted: ADDRESS,
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PostgresError::Address {
                what: "address",
                found: "no host".into(),
                accepted: ADDRESS,
            });
        }
        config.ssl_mode(security.mode());
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.tcp_user_timeout(options.call_max);
        // The system counts this one in whole seconds, and none is none.
        config.keepalives_idle(options.call_max.max(Duration::from_secs(1)));
        if config.get_application_name().is_none() {
            config.application_name("fencepost");
        }
        let server = place(&config);
        Ok(Dial {
            tls: security.connector()?,
            hosts: each(&config),
            last: AtomicUsize::new(0),
            options: options.clone(),
            server,
        })
    }

    /// Where it connects to, without the password.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The name of the schema, which is also that of the channel.
    pub(super) fn schema(&self) -> &str {
        &self.options.schema
    }

    /// For how long one waits for anything.
    pub(super) fn call_max(&self) -> Duration {
        self.options.call_max
    }

    pub(super) fn fault(&self, asked: &'static str, found: String) -> PostgresError {
        PostgresError::Server { asked, server: self.server.clone(), found }
    }

    fn refused(&self, asked: &'static str) -> impl Fn(Error) -> PostgresError {
        move |fault| self.fault(asked, told(&fault))
    }

    /// What becomes of `what`, if it ends in time.
    pub(super) async fn in_time<T>(
        &self,
        until: Instant,
        asked: &'static str,
        what: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        match timeout_at(until, what).await {
            Ok(done) => done,
            Err(_) => {
                let (server, waited) = (self.server.clone(), self.options.call_max);
                Err(PostgresError::TimedOut { asked, server, waited })
            }
        }
    }

    /// A connection to the server that takes writes. Each host has its share of the time, beginning with the one that would do
    /// last: one that has died says nothing.
    pub(super) async fn connect(&self) -> Result<(Client, Connection), PostgresError> {
        let until = Instant::now() + self.options.call_max;
        let mut faults = Vec::new();
        let (count, first) = (self.hosts.len(), self.last.load(Ordering::Relaxed));
        for tried in 0..count {
            let (at, left) = ((first + tried) % count, u32::try_from(count - tried).unwrap_or(u32::MAX));
            let (host, waited) = (&self.hosts[at], until.saturating_duration_since(Instant::now()) / left);
            match timeout(waited, host.connect(self.tls.clone())).await {
                Ok(Ok(connected)) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(connected);
                }
                Ok(Err(fault)) => faults.push((host, told(&fault))),
                Err(_) => {
                    faults.push((host, format!("no answer within its share of {:?}", self.options.call_max)))
                }
            }
        }
        let said = match &faults[..] {
            [(_, said)] => said.clone(),
            all => all
                .iter()
                .map(|(host, said)| format!("{}: {said}", place(host)))
                .collect::<Vec<_>>()
                .join("; "),
        };
        Err(self.fault("connect", said))
    }

    /// A session that is ready for requests, and its connection.
    pub(super) async fn session(&self) -> Result<(Session, Connection), PostgresError> {
        let (client, mut connection) = self.connect().await?;
        let ready = self.made_ready(client);
        tokio::pin!(ready);
        let ended = tokio::select! {
            session = &mut ready => return Ok((session?, connection)),
            ended = &mut connection => ended,
        };
        drop(connection);
        // Whoever asked knows best what was said.
        ready.await?;
        let found = ended.err().map_or("the connection ended".into(), |fault| told(&fault));
        Err(self.fault("set a session up", found))
    }

    async fn made_ready(&self, mut client: Client) -> Result<Session, PostgresError> {
        self.set_up(&client).await?;
        let schema = self.schema();
        let found =
            schema::migrate(&mut client, schema).await.map_err(self.refused("make or read the schema"))?;
        if found > schema::VERSION {
            return Err(PostgresError::Newer { schema: schema.into(), found, known: schema::VERSION });
        }
        let advance = within(schema, "SELECT {s}.advance()");
        client.batch_execute(&advance).await.map_err(self.refused("use the schema"))?;
        let statements =
            Statements::prepare(&client, schema).await.map_err(self.refused("use the schema"))?;
        let durable =
            "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'";
        let row = client.query_one(durable, &[]).await.map_err(self.refused("read its settings"))?;
        Ok(Session { client, statements, durable: row.get(0) })
    }

    async fn set_up(&self, client: &Client) -> Result<(), PostgresError> {
        let ms = self.options.call_max.as_millis().max(1);
        let settings = format!(
            "SET search_path TO pg_catalog; SET statement_timeout TO {ms}; SET lock_timeout TO {ms};
             SET idle_in_transaction_session_timeout TO {ms}; SET default_transaction_isolation TO 'read committed'"
        );
        client.batch_execute(&settings).await.map_err(self.refused("set a session up"))?;
        let wanted =
            "SELECT current_setting('server_encoding'), current_setting('server_version_num')::integer";
        let row = client.query_one(wanted, &[]).await.map_err(self.refused("read its settings"))?;
        let (encoding, version): (String, i32) = (row.get(0), row.get(1));
        let unfit = |found, accepted| PostgresError::Unfit { server: self.server.clone(), found, accepted };
        if encoding != "UTF8" {
            return Err(unfit(format!("encoding {encoding}"), "a database in UTF8"));
        }
        if version < 120_000 {
            return Err(unfit(format!("version {version}"), "PostgreSQL 12 or newer"));
        }
        Ok(())
    }
}

/// The same for each host of a configuration.
fn each(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    let is_of_all = |len: usize| len <= 1 || len == count;
    // What makes no sense is for the library to refuse.
    if count <= 1 || ![hosts.len(), addresses.len(), ports.len()].into_iter().all(is_of_all) {
        return vec![config.clone()];
    }
    let one = |at: usize| {
        let mut one = without_host(config);
        match hosts.get(at) {
            Some(Host::Tcp(name)) => _ = one.host(name),
            #[cfg(unix)]
            Some(Host::Unix(path)) => _ = one.host_path(path),
            None => {}
        }
        if let Some(address) = addresses.get(at) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(at).or(ports.first()) {
            one.port(*port);
        }
        one
    };
    (0..count).map(one).collect()
}

/// All that a configuration says but where: there is no way to take a host out of one.
fn without_host(config: &Config) -> Config {
    let mut other = Config::new();
    other
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    config.get_user().map(|user| other.user(user));
    config.get_password().map(|password| other.password(password));
    config.get_dbname().map(|name| other.dbname(name));
    config.get_options().map(|options| other.options(options));
    config.get_application_name().map(|name| other.application_name(name));
    config.get_connect_timeout().map(|timeout| other.connect_timeout(*timeout));
    config.get_tcp_user_timeout().map(|timeout| other.tcp_user_timeout(*timeout));
    config.get_keepalives_interval().map(|interval| other.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| other.keepalives_retries(retries));
    other
}

/// Hosts, ports and database of a configuration.
fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5_432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let hosts: Vec<String> =
        if config.get_hosts().is_empty() { addresses.collect() } else { hosts.collect() };
    format!("{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// Through this a connection is asked, which somebody has to move meanwhile.
pub(super) struct Session {
    client: Client,
    statements: Statements,
    durable: bool,
}

struct Statements {
    get: Statement,
    put_if: Statement,
    renew: Statement,
    delete_if: Statement,
    list: Statement,
    publish: Statement,
    sweep: Statement,
}

impl Statements {
    async fn prepare(client: &Client, schema: &str) -> Result<Statements, Error> {
        let prepare = async |sql: &str| client.prepare(&within(schema, sql)).await;
        Ok(Statements {
            get: prepare(schema::GET).await?,
            put_if: prepare("SELECT * FROM {s}.put_if($1, $2, $3, $4, $5)").await?,
            renew: prepare(schema::RENEW).await?,
            delete_if: prepare("SELECT * FROM {s}.delete_if($1, $2, $3, $4)").await?,
            list: prepare(schema::LIST).await?,
            publish: prepare("SELECT pg_notify('{s}', $1)").await?,
            sweep: prepare("SELECT {s}.sweep()").await?,
        })
    }
}

/// One renewal.
pub(super) struct Renewal<'a> {
    pub(super) space: &'a str,
    pub(super) key: &'a [u8],
    pub(super) revision: Revision,
    pub(super) ttl: Span,
}

/// What fits into a `bigint`: all revisions that a sequence gives.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// In microseconds, rounded up; nothing, if it is for ever.
fn micros(ttl: Span) -> Option<i64> {
    (ttl < FOR_EVER).then(|| integer(ttl.as_nanos().div_ceil(1_000)))
}

impl Session {
    /// Whether acknowledged writes survive a crash of the server.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    async fn row(&self, statement: &Statement, with: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.client.query_one(statement, with).await
    }

    /// Carries a request out.
    pub(super) async fn carry_out(&self, Request { space, op }: &Request) -> Result<Reply, Error> {
        let (space, statements) = (&**space, &self.statements);
        match op {
            EngineOp::Get { key } => {
                let row = self.row(&statements.get, &[&space, &&**key]).await?;
                Ok(Reply { answer: Answer::Found(entry(&row)?), at: moment(&row)? })
            }
            EngineOp::PutIf { key, expect, record, ttl } => {
                let expected = match expect {
                    Expect::Absent => None,
                    Expect::Revision(revision) => Some(integer(revision.0)),
                };
                let ttl = ttl.and_then(micros);
                let row =
                    self.row(&statements.put_if, &[&space, &&**key, &expected, &&**record, &ttl]).await?;
                put(&row)
            }
            EngineOp::Renew { key, revision, ttl } => {
                let replies = self.renew(&[Renewal { space, key, revision: *revision, ttl: *ttl }]).await?;
                Ok(replies.into_iter().next().unwrap_or(Reply::UNKNOWN))
            }
            EngineOp::DeleteIf { key, revision } => {
                let hint = payload::freed(space);
                let row =
                    self.row(&statements.delete_if, &[&space, &&**key, &integer(revision.0), &hint]).await?;
                done(&row, *revision)
            }
            EngineOp::List { after, limit } => {
                let rows =
                    self.client.query(&statements.list, &[&space, &&**after, &i64::from(*limit)]).await?;
                page(&rows)
            }
        }
    }

    /// Carries renewals out, all of them in one transaction, and answers each.
    pub(super) async fn renew(&self, renewals: &[Renewal<'_>]) -> Result<Vec<Reply>, Error> {
        let mut order: Vec<usize> = (0..renewals.len()).collect();
        // Two that lock several keys must not lock them in different orders.
        order.sort_by_key(|&at| (renewals[at].space, renewals[at].key));
        let sorted = || order.iter().map(|&at| &renewals[at]);
        let spaces: Vec<&str> = sorted().map(|renewal| renewal.space).collect();
        let keys: Vec<&[u8]> = sorted().map(|renewal| renewal.key).collect();
        let revisions: Vec<i64> = sorted().map(|renewal| integer(renewal.revision.0)).collect();
        let ttls: Vec<Option<i64>> = sorted().map(|renewal| micros(renewal.ttl)).collect();
        let rows = self.client.query(&self.statements.renew, &[&spaces, &keys, &revisions, &ttls]).await?;
        let mut replies = vec![Reply::UNKNOWN; renewals.len()];
        for (&at, row) in order.iter().zip(&rows) {
            replies[at] = done(row, renewals[at].revision)?;
        }
        Ok(replies)
    }

    /// Passes a message on.
    pub(super) async fn publish(&self, space: &str, text: &str) -> Result<(), Error> {
        self.row(&self.statements.publish, &[&payload::message(space, text)]).await.map(drop)
    }

    /// Clears away what expired and what nobody took over.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        self.row(&self.statements.sweep, &[]).await.map(drop)
    }
}

/// The store's clock, in column 0.
pub(super) fn moment(row: &Row) -> Result<StoreTime, Error> {
    let at: SystemTime = row.try_get(0)?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(StoreTime::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
}

fn revision(given: i64) -> Revision {
    Revision(u64::try_from(given).unwrap_or(0))
}

/// The entry in columns 1 and 2, if there is one.
pub(super) fn entry(row: &Row) -> Result<Option<Entry<Text>>, Error> {
    let Some(given) = row.try_get::<_, Option<i64>>(1)? else { return Ok(None) };
    let record: &str = row.try_get(2)?;
    Ok(Some(Entry { revision: revision(given), record: Text::from(record) }))
}

fn put(row: &Row) -> Result<Reply, Error> {
    let (given, content): (Option<i64>, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
    let entry =
        given.map(|given| Entry { revision: revision(given), record: content.unwrap_or_default().into() });
    let answer = match (row.try_get(1)?, entry) {
        (true, Some(entry)) => Answer::Applied(entry.revision),
        (true, None) => Answer::Unknown,
        (false, entry) => Answer::Refused(entry),
    };
    Ok(Reply { answer, at: moment(row)? })
}

fn done(row: &Row, revision: Revision) -> Result<Reply, Error> {
    let answer = if row.try_get(1)? { Answer::Applied(revision) } else { Answer::Refused(None) };
    Ok(Reply { answer, at: moment(row)? })
}

/// There is a row even if there is no entry: it tells the time.
fn page(rows: &[Row]) -> Result<Reply, Error> {
    let mut page = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(entry) = entry(row)? {
            let key: &[u8] = row.try_get(3)?;
            page.push((Key::from(key), entry));
        }
    }
    let at = rows.first().map_or(Ok(StoreTime::ZERO), moment)?;
    let answer: EngineAnswer = if rows.is_empty() { Answer::Unknown } else { Answer::Listed(page) };
    Ok(Reply { answer, at })
}

/// How long to wait before the next attempt: random, and doubling.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) const FIRST: Backoff = Backoff(Duration::from_millis(20));

    pub(super) async fn wait(&mut self) {
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        tokio::time::sleep(self.0.mul_f64(0.5 + random)).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
    }
}
