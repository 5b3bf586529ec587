//! Opening a store by its address.
//!
//! | address | store | options |
//! |---|---|---|
//! | `memory:` | [the memory of this process](super::memory), empty each time; feature `tokio` | none |
//! | `sqlite:PATH` | a file (`engine::sqlite`), which is made if it is not there | `synchronous=full` or `normal`, `call_max=5s`, `poll=20ms` |
//! | `postgres://…` | a database (`engine::postgres`); or `postgresql://…` | `schema=fencepost`, `call_max=5s`, `connections=4`, `sslmode=prefer`, `sslrootcert=FILE`, and those of tokio-postgres |
//!
//! Options stand after a `?`, with `&` between them; these are their defaults. Lengths of time are in `s` or `ms`.

use std::string::String;
use std::sync::Arc;

use super::Engine;
#[cfg(feature = "tokio")]
use super::memory::Memory;
#[cfg(feature = "postgres")]
use super::postgres::{Postgres, PostgresError, PostgresOptions};
#[cfg(feature = "sqlite")]
use super::sqlite::{Sqlite, SqliteError, SqliteOptions, Synchronous};

/// Every address that can be opened, and the feature that it needs.
const ADDRESSES: &str =
    "memory: (feature tokio), sqlite:PATH (feature sqlite), postgres://HOST/DATABASE (feature postgres)";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing is known under such an address.
    #[error("{found} is no address of a store; accepted: {accepted}")]
    Scheme {
        /// What was found. What follows the scheme, which may be a password, is left out.
        found: String,
        /// What a build with all features accepts.
        accepted: &'static str,
    },
    /// This program was built without the engine.
    #[error("{found} needs the cargo feature {feature}, without which fencepost was built")]
    Feature {
        /// What was found.
        found: &'static str,
        /// What it needs.
        feature: &'static str,
    },
    /// An option makes no sense.
    #[error("option {name}={found}; accepted: {accepted}")]
    Option {
        /// Its name.
        name: String,
        /// Its value.
        found: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The file could not be opened.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// The database could not be opened.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// There is no thread to open it.
    #[cfg(feature = "sqlite")]
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Opens the store at `address`; see the module documentation for what that may be.
///
/// It takes as long as the option `call_max` at most. It does not block: files are opened by a thread. For a database it
/// has to be called within a runtime of tokio, which then does the work of the engine.
///
/// Cancel safe: nothing is left open. A file or a schema that was made is there.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("locks.db");
/// let address = format!("sqlite:{}?synchronous=normal", path.display());
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let engine = runtime.block_on(fencepost::engine::open(&address))?;
/// assert!(!engine.limits().durable);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
pub async fn open(address: &str) -> Result<Arc<dyn Engine>, OpenError> {
    match address.split_once(':') {
        #[cfg(feature = "tokio")]
        Some(("memory", "")) => Ok(Arc::new(Memory::new())),
        #[cfg(feature = "sqlite")]
        Some(("sqlite", rest)) => open_sqlite(rest).await,
        #[cfg(not(feature = "sqlite"))]
        Some(("sqlite", _)) => Err(OpenError::Feature { found: "sqlite:", feature: "sqlite" }),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => open_postgres(address).await,
        #[cfg(not(feature = "postgres"))]
        Some(("postgres" | "postgresql", _)) => {
            Err(OpenError::Feature { found: "postgres:", feature: "postgres" })
        }
        other => {
            let scheme = other.map_or(address, |(scheme, _)| scheme);
            let found = scheme.chars().take(40).chain(other.map(|_| ':')).collect();
            Err(OpenError::Scheme { found, accepted: ADDRESSES })
        }
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use options::{SPANS, span, take};

/// How options are read.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod options {
    use std::time::Duration;

    use super::OpenError;
    use crate::engine::address::Address;

    pub(super) fn wrong(name: &str, found: &str, accepted: &'static str) -> OpenError {
        OpenError::Option { name: name.into(), found: found.into(), accepted }
    }

    /// Reads an option into `to`, if it is there.
    pub(super) fn take<T>(
        address: &mut Address<'_>,
        name: &str,
        to: &mut T,
        read: impl FnOnce(&str) -> Option<T>,
        accepted: &'static str,
    ) -> Result<(), OpenError> {
        if let Some(found) = address.take(name) {
            *to = read(found).ok_or_else(|| wrong(name, found, accepted))?;
        }
        Ok(())
    }

    /// What a length of time looks like.
    pub(super) const SPANS: &str = "a length of time such as 5s or 500ms, from 1ms to an hour";

    pub(super) fn span(text: &str) -> Option<Duration> {
        let millis = match text.strip_suffix("ms") {
            Some(number) => number.parse().ok()?,
            None => text.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1_000)?,
        };
        (1..=3_600_000).contains(&millis).then(|| Duration::from_millis(millis))
    }
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(rest: &str) -> Result<Arc<dyn Engine>, OpenError> {
    const ACCEPTED: &str = "synchronous, call_max, poll";
    let mut address = super::address::Address::read(rest);
    let mut options = SqliteOptions::default();
    let synchronous = |text: &str| match text {
        "full" => Some(Synchronous::Full),
        "normal" => Some(Synchronous::Normal),
        _ => None,
    };
    take(&mut address, "synchronous", &mut options.synchronous, synchronous, "full, normal")?;
    take(&mut address, "call_max", &mut options.call_max, span, SPANS)?;
    take(&mut address, "poll", &mut options.poll, span, SPANS)?;
    if let Some((name, found)) = address.unknown() {
        return Err(options::wrong(name, found, ACCEPTED));
    }
    if address.base().is_empty() {
        return Err(OpenError::Scheme { found: "sqlite: without a path".into(), accepted: ADDRESSES });
    }
    let path = std::path::PathBuf::from(address.base());
    let (opened, is_open) = tokio::sync::oneshot::channel();
    let opening = move || drop(opened.send(Sqlite::open(path, &options)));
    std::thread::Builder::new().name("fencepost-open".into()).spawn(opening)?;
    match is_open.await {
        Ok(engine) => Ok(Arc::new(engine?)),
        Err(_) => Err(OpenError::Thread(std::io::Error::other("it ended without a word"))),
    }
}

#[cfg(feature = "postgres")]
async fn open_postgres(address: &str) -> Result<Arc<dyn Engine>, OpenError> {
    let mut address = super::address::Address::read(address);
    let mut options = PostgresOptions::default();
    let connections = |text: &str| text.parse().ok().filter(|count| (1..=64).contains(count));
    take(&mut address, "schema", &mut options.schema, |text| Some(text.into()), "a name")?;
    take(&mut address, "call_max", &mut options.call_max, span, SPANS)?;
    take(&mut address, "connections", &mut options.connections, connections, "a number from 1 to 64")?;
    // The largest of the engine's futures, and the least often used one.
    let opened: Postgres = std::boxed::Box::pin(Postgres::open(&address.rest(), &options)).await?;
    Ok(Arc::new(opened))
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite", feature = "tokio"))]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::time::Duration;

    /// What is said about an address that cannot be opened.
    fn refusal(address: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(open(address)).expect_err("nothing can be opened there").to_string()
    }

    #[test]
    fn an_address_that_makes_no_sense_is_told_what_would() {
        for (address, told) in [
            (
                "redis://user:secret@host",
                "redis: is no address of a store; accepted: memory: (feature tokio), sqlite:PATH",
            ),
            ("locks.db", "locks.db is no address of a store"),
            ("", " is no address of a store"),
            ("sqlite:?call_max=1s", "sqlite: without a path is no address of a store"),
            ("sqlite:x?synchronous=off", "option synchronous=off; accepted: full, normal"),
            ("sqlite:x?mode=ro", "option mode=ro; accepted: synchronous, call_max, poll"),
            ("sqlite:x?call_max=5", "option call_max=5; accepted: a length of time such as 5s or 500ms"),
            ("sqlite:x?call_max=0s", "option call_max=0s"),
            ("sqlite:x?poll=2h", "option poll=2h"),
            ("postgres://h/d?connections=0", "option connections=0; accepted: a number from 1 to 64"),
            ("postgres://h/d?call_max=-1s", "option call_max=-1s"),
            ("postgres://h/d?colour=red", "colour"),
            ("postgresql://h:port/d", "address: "),
            ("postgres://", "address: no host"),
        ] {
            let said = refusal(address);
            assert!(said.contains(told) && !said.contains("secret"), "{address}: {said}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_in_seconds_and_milliseconds() {
        assert_eq!(span("5s"), Some(Duration::from_secs(5)));
        assert_eq!(span("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "s", "ms", "5", "1.5s", "0ms", "3601s", "18446744073709551615s", "5 s"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
