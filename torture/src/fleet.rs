//! The workers as processes: started, stopped, killed and reaped, each by its own number.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::journal::Journal;
use crate::words::{Note, Order, Task};

/// A process that was signalled stands still within that, unless it hangs in the kernel.
const STOPPING_MAX: Duration = Duration::from_secs(1);

/// The orders to one worker. Whoever decides for the resource writes there, too.
type Orders = Arc<Mutex<ChildStdin>>;

/// A worker that runs, or stands still.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    pid: Pid,
    orders: Orders,
    hearing: JoinHandle<()>,
    pub(crate) is_stopped: bool,
}

impl Worker {
    /// Starts one. It is killed when it is dropped, and ends by itself when this process does: then nobody is at the other
    /// end of its pipe. If it stands still at that moment, its process group is orphaned, and the kernel hangs it up.
    pub(crate) async fn start(
        (who, life): (usize, u32),
        store: &str,
        task: Task,
        log: &Path,
        journal: &Journal,
    ) -> io::Result<Worker> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg("worker")
            .env("FENCEPOST_STORE", store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("the worker has ended already");
        let pid = process.id().and_then(|pid| Pid::from_raw(pid as i32)).ok_or_else(gone)?;
        let (input, output) =
            (process.stdin.take().ok_or_else(gone)?, process.stdout.take().ok_or_else(gone)?);
        let orders = Arc::new(Mutex::new(input));
        give(&orders, &Order::Begin(task)).await;
        let hearing = tokio::spawn(hear((who, life), output, orders.clone(), journal.clone()));
        Ok(Worker { process, pid, orders, hearing, is_stopped: false })
    }

    /// Gives an order. Whoever is dead does not hear it.
    pub(crate) async fn order(&self, order: &Order) {
        give(&self.orders, order).await;
    }

    /// Stops it. Returns when all of its threads stand still.
    pub(crate) async fn stop(&mut self) {
        self.is_stopped = true;
        self.signal(Signal::STOP);
        let still = async {
            while !stands_still(self.pid) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // One that hangs in the kernel does nothing, either.
        let _ = timeout(STOPPING_MAX, still).await;
    }

    pub(crate) fn resume(&mut self) {
        self.is_stopped = false;
        self.signal(Signal::CONT);
    }

    /// Kills it. Returns when it is gone and all that it said was heard.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::KILL);
        let _ = self.process.wait().await;
        self.hear_out().await;
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }

    /// Tells it to close its store and end. Whether it did so within that time, and well.
    pub(crate) async fn dismiss(mut self, within: Duration) -> bool {
        self.order(&Order::Stop).await;
        let ended = timeout(within, self.process.wait()).await;
        let is_well = matches!(ended, Ok(Ok(status)) if status.success());
        if ended.is_err() {
            self.signal(Signal::KILL);
            let _ = self.process.wait().await;
        }
        self.hear_out().await;
        is_well
    }

    /// Hears what is left in its pipe.
    async fn hear_out(&mut self) {
        let _ = (&mut self.hearing).await;
    }

    /// It is not reaped before it is waited for, so its number is its own.
    fn signal(&self, what: Signal) {
        if self.process.id().is_some() {
            let _ = kill_process(self.pid, what);
        }
    }
}

async fn give(orders: &Orders, order: &Order) {
    let line = serde_json::to_string(order).unwrap_or_default() + "\n";
    // It may be dead.
    let _ = orders.lock().await.write_all(line.as_bytes()).await;
}

async fn hear((who, life): (usize, u32), output: ChildStdout, orders: Orders, journal: Journal) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The last line of one that was killed may be half a line.
        let Ok(note) = serde_json::from_str::<Note>(&line) else { continue };
        if let Some(accepted) = journal.hear(who, life, &note) {
            give(&orders, &Order::Decided { accepted }).await;
        }
    }
}

/// Whether all threads of a process stand still.
fn stands_still(pid: Pid) -> bool {
    let threads =
        fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    threads.into_iter().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name stands in parentheses, and may contain any character; the state comes after it.
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        matches!(state, Some('T' | 't' | 'Z' | 'X') | None)
    })
}
