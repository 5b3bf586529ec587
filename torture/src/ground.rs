//! The stores on which workers are tortured, and the ways to them.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use fencepost::engine::OpenError;
use fencepost::engine::survey::SurveyError;
use fencepost_conformance::server::PostgresServer;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::plan::Fault;
use crate::proxy::Proxy;

/// Why there is nothing to torture on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroundError {
    #[error(
        "{found:?} cannot be tortured; accepted: sqlite:PATH, and postgres://USER@HOST:PORT/DATABASE with one host"
    )]
    Address { found: String },
    #[error("{host} is no host that can be found: {source}")]
    Host { host: String, source: io::Error },
    #[error(
        "PostgreSQL is not installed, so no private server can be started; accepted: postgresql-15, or its programs in PATH"
    )]
    NotInstalled,
    #[error("the private PostgreSQL server has not started")]
    NotStarted,
    #[error("the store cannot be opened after the workers have left it: {0}")]
    Unopened(OpenError),
    #[error("the store cannot be looked into after the workers have left it: {0}")]
    Unseen(SurveyError),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What is asked of the thread that keeps the server.
enum Chore {
    Kill,
    Restart,
    Pause,
    Resume,
}

/// A PostgreSQL server of our own. Whoever starts it has to live as long as it does, so a thread keeps it.
#[derive(Debug)]
struct Keeper {
    chores: Option<mpsc::Sender<(Chore, oneshot::Sender<()>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    async fn start() -> Result<(Keeper, String), GroundError> {
        if !PostgresServer::is_installed() {
            return Err(GroundError::NotInstalled);
        }
        let (chores, asked) = mpsc::channel::<(Chore, oneshot::Sender<()>)>();
        let (started, url) = oneshot::channel();
        let thread = std::thread::Builder::new().name("server".into()).spawn(move || {
            let server = PostgresServer::start(&[]);
            let _ = started.send(server.url());
            for (chore, done) in asked {
                match chore {
                    Chore::Kill => server.kill(),
                    Chore::Restart => server.restart(),
                    Chore::Pause => server.pause(),
                    Chore::Resume => server.resume(),
                }
                let _ = done.send(());
            }
        })?;
        let keeper = Keeper { chores: Some(chores), thread: Some(thread) };
        let url = url.await.map_err(|_| GroundError::NotStarted)?;
        Ok((keeper, url))
    }

    fn ask(&self, chore: Chore) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        // A keeper that is gone drops the answer.
        let _ = self.chores.as_ref().map(|chores| chores.send((chore, done)));
        told
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.chores = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A store.
#[derive(Debug)]
pub(crate) struct Ground {
    url: String,
    /// Where its server listens, if it has one.
    server: Option<SocketAddr>,
    keeper: Option<Keeper>,
    /// The answer of a server that is being started.
    starting: Option<oneshot::Receiver<()>>,
    _folder: Option<TempDir>,
}

impl Ground {
    /// A file of our own.
    pub(crate) fn file() -> Result<Ground, GroundError> {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite:{}", folder.path().join("torture.db").display());
        Ok(Ground { url, server: None, keeper: None, starting: None, _folder: Some(folder) })
    }

    /// A server of our own.
    pub(crate) async fn private() -> Result<Ground, GroundError> {
        let (keeper, url) = Keeper::start().await?;
        let ground = Ground::of(&url)?;
        Ok(Ground { keeper: Some(keeper), ..ground })
    }

    /// Somebody else's store. Its server is not harmed.
    pub(crate) fn of(url: &str) -> Result<Ground, GroundError> {
        let server = match url.split_once(':') {
            Some(("sqlite", _)) => None,
            Some(("postgres" | "postgresql", _)) => Some(find(url)?),
            _ => return Err(GroundError::Address { found: url.into() }),
        };
        Ok(Ground { url: url.into(), server, keeper: None, starting: None, _folder: None })
    }

    /// What is tortured, in a word.
    pub(crate) fn engine(&self) -> &'static str {
        if self.server.is_some() { "postgres" } else { "sqlite" }
    }

    /// Which faults there can be.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let can = |fault: &Fault| {
            (!fault.needs_connection() || self.server.is_some())
                && (!fault.needs_server() || self.keeper.is_some())
        };
        Fault::ALL.into_iter().filter(can).collect()
    }

    /// Its address for whoever only looks.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A way to the server for one worker, if there is a server; and the address on that way, where calls are given up after
    /// so long.
    pub(crate) async fn way(&self, call_max: Duration) -> Result<(Option<Proxy>, String), GroundError> {
        let mut url = self.url.clone();
        let mut proxy = None;
        if let Some(server) = self.server {
            let way = Proxy::start(server).await?;
            url = on_port(&url, way.port()).ok_or_else(|| GroundError::Address { found: url.clone() })?;
            proxy = Some(way);
        }
        if !url.contains("call_max=") {
            url += if url.contains('?') { "&" } else { "?" };
            url += &format!("call_max={}ms", call_max.as_millis());
        }
        Ok((proxy, url))
    }

    /// Whether the server is there to be hit.
    pub(crate) fn is_up(&mut self) -> bool {
        match &mut self.starting {
            Some(starting) => match starting.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => false,
                Ok(()) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.starting = None;
                    true
                }
            },
            None => true,
        }
    }

    /// Stops the server, kills it, or lets it go on.
    pub(crate) async fn pause(&self) {
        self.chore(Chore::Pause).await;
    }

    pub(crate) async fn resume(&self) {
        self.chore(Chore::Resume).await;
    }

    pub(crate) async fn kill(&self) {
        self.chore(Chore::Kill).await;
    }

    /// Begins to start the server again.
    pub(crate) fn restart(&mut self) {
        self.starting = self.keeper.as_ref().map(|keeper| keeper.ask(Chore::Restart));
    }

    /// Waits until the server answers again.
    pub(crate) async fn be_up(&mut self) {
        if let Some(starting) = self.starting.take() {
            // If its keeper is gone, whoever asks the server will learn it.
            let _ = starting.await;
        }
    }

    async fn chore(&self, chore: Chore) {
        if let Some(keeper) = &self.keeper {
            let _ = keeper.ask(chore).await;
        }
    }
}

/// Of an address, what stands before the host and port, these, and what stands after them.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let (host, start) = (&rest[at..end], scheme.len() + 3 + at);
    let is_one = !host.is_empty() && !host.contains(',') && !host.contains('%');
    is_one.then(|| (&url[..start], host, &url[start + host.len()..]))
}

/// Where the server of an address listens.
fn find(url: &str) -> Result<SocketAddr, GroundError> {
    let wrong = || GroundError::Address { found: url.split('@').next_back().unwrap_or_default().into() };
    let (_, host, _) = split(url).ok_or_else(wrong)?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { host.to_owned() } else { format!("{host}:5432") };
    let found =
        with_port.to_socket_addrs().map_err(|source| GroundError::Host { host: host.into(), source })?;
    found.into_iter().next().ok_or_else(wrong)
}

/// The same address, by way of a port of this host.
fn on_port(url: &str, port: u16) -> Option<String> {
    let (before, _, after) = split(url)?;
    Some(format!("{before}127.0.0.1:{port}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_led_over_a_port_of_this_host() {
        for (url, host, over) in [
            ("postgres://app@db/locks", "db", "postgres://app@127.0.0.1:7/locks"),
            ("postgres://db:5433", "db:5433", "postgres://127.0.0.1:7"),
            (
                "postgresql://a:p%40s@[::1]:1/x?schema=y",
                "[::1]:1",
                "postgresql://a:p%40s@127.0.0.1:7/x?schema=y",
            ),
            ("postgres://app@db?sslmode=disable", "db", "postgres://app@127.0.0.1:7?sslmode=disable"),
        ] {
            assert_eq!(split(url).map(|(_, host, _)| host), Some(host), "{url}");
            assert_eq!(on_port(url, 7).as_deref(), Some(over), "{url}");
        }
        for url in ["postgres://app@one,two/x", "postgres://app@/x", "postgres:x", "postgres://%2Ftmp/x"] {
            assert!(matches!(find(url), Err(GroundError::Address { .. })), "{url}");
        }
        let error = find("postgres://app:secret@one,two/x").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn what_has_no_connection_cannot_be_cut_and_what_is_not_ours_is_not_harmed() {
        let file = Ground::of("sqlite:/tmp/x").unwrap();
        assert_eq!(file.faults(), [Fault::Stop, Fault::Kill]);
        let theirs = Ground::of("postgres://app@127.0.0.1:1/x").unwrap();
        assert!(
            theirs.faults().contains(&Fault::Cut)
                && !theirs.faults().iter().any(|fault| fault.needs_server())
        );
        assert!(
            matches!(Ground::of("memory:"), Err(GroundError::Address { .. })),
            "processes cannot share it"
        );
    }
}
