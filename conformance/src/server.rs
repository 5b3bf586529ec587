//! Private servers for tests: started in a folder of their own on a free port, stopped at the end of the test, whatever
//! its end, and with the test's process if that is killed.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// Nobody: as whom a server runs that refuses to run as root.
const NOBODY: u32 = 65_534;
/// A server that has not started by then never will.
const START_MAX: Duration = Duration::from_secs(60);

/// A PostgreSQL server. What cannot be had panics and says why: a test without its server proves nothing.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    running: Mutex<Option<Child>>,
}

impl PostgresServer {
    /// Makes a cluster and starts it, with settings such as `fsync=off`.
    pub fn start(settings: &[&str]) -> PostgresServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))
                .expect("the folder is given to the server's user");
        }
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port").port();
        let settings = settings.iter().map(|&setting| setting.into()).collect();
        let server =
            PostgresServer { programs: programs(), folder, port, settings, running: Mutex::new(None) };
        let data = server.data();
        server.run(
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"],
        );
        server.restart();
        server
    }

    /// Whether its programs are there: for whoever can do without it, as a benchmark can.
    pub fn is_installed() -> bool {
        found().is_some()
    }

    /// Where it is reached, as the superuser that made it.
    pub fn url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    /// Where `role` reaches `database`.
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_string_lossy().into_owned()
    }

    /// A program of the server's, as the server's user. It ends with this process.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(self.programs.join(program)).current_dir(self.folder.path()).env_remove("PGOPTIONS");
        command
    }

    fn run(&self, program: &str, with: &[&str]) -> String {
        let output = self.command(program).args(with).output().expect("setpriv of util-linux is there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {with:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Kills it, if it runs, and starts it on what it left behind. Returns when it answers.
    pub fn restart(&self) {
        self.kill();
        let until = Instant::now() + START_MAX;
        while Instant::now() < until {
            let mut child = self.spawn();
            if self.is_ready(&mut child, until) {
                *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
                return;
            }
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start on port {}: {log}", self.port);
    }

    fn spawn(&self) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a log in the temporary folder");
        let mut command = self.command("postgres");
        command.args(["-D", &self.data(), "-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "recovery_init_sync_method=syncfs"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("setpriv of util-linux is there")
    }

    /// Whether it answers before it ends.
    fn is_ready(&self, child: &mut Child, until: Instant) -> bool {
        let port = self.port.to_string();
        while Instant::now() < until && child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let mut asked = self.command("pg_isready");
            if asked
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status()
                .is_ok_and(|status| status.success())
            {
                return true;
            }
        }
        false
    }

    /// Kills it as a crash does: all of its processes at once.
    pub fn kill(&self) {
        let child = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            signal(&child, Signal::KILL);
            child.wait().expect("a killed server ends");
        }
    }

    /// Stops it and all of its processes for a while: open connections hang.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, what: Signal) {
        if let Some(child) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            signal(child, what);
        }
    }

    /// From now on it encrypts what it is asked to, with this certificate and key in PEM.
    pub fn serve_tls(&self, certificate: &Path, key: &Path) {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.folder.path().join("data").join(name);
            fs::copy(from, &to).expect("a certificate and a key");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("a key that is nobody else's");
            if is_root() {
                chown(&to, Some(NOBODY), Some(NOBODY)).expect("the key is given to the server's user");
            }
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
    }

    /// Does something as the superuser, and returns what it says.
    pub fn sql(&self, statement: &str) -> String {
        self.run(
            "psql",
            &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", statement],
        )
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    geteuid().is_root()
}

/// Its processes are leaders of sessions of their own, so a signal to its group would miss them. The first one goes
/// first, lest it start new ones.
fn signal(child: &Child, what: Signal) {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    for pid in [child.id() as i32].into_iter().chain(children) {
        // It may have ended by itself.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, what));
    }
}

/// Where the newest server lies.
fn programs() -> PathBuf {
    found()
        .expect("PostgreSQL is not installed: apt-get install postgresql-15, or put its programs into PATH")
}

fn found() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.filter_map(|version| {
        let programs = version.path().join("bin");
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        programs.join("initdb").exists().then_some((number, programs))
    });
    let in_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    };
    found.max().map(|(_, programs)| programs).or_else(in_path)
}
