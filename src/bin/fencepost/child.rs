//! The child: how it is started, what it is told, and how it ends.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use crate::args::{LossArgs, OnLoss};
use crate::failure::Failure;
use crate::signals::{self, Heard, Signals, Urgency};
use crate::tenure::{Reason, Tenure};
use crate::times::told;
use crate::voice::Voice;

/// By how much the child is killed before its lease ends.
const MARGIN: Duration = Duration::from_millis(20);

/// How often to look whether all that it has started has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of a child whose lock is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    on_loss: OnLoss,
    grace: Duration,
}

impl Policy {
    /// For a lock, or a leadership, that lasts so long.
    pub(crate) fn of(loss: &LossArgs, ttl: Duration) -> Result<Policy, Failure> {
        let grace = loss.grace.unwrap_or(ttl / 6);
        // A lease that is renewed as it should be has more than half of its time left.
        if grace >= ttl / 2 {
            return Err(Failure::Usage(format!(
                "--grace {grace:?} is too long for a lock that lasts {ttl:?}; accepted: less than half of that"
            )));
        }
        Ok(Policy { on_loss: loss.on_loss, grace })
    }
}

/// Where a child's standard input comes from.
pub(crate) enum Stdin {
    /// From where ours comes.
    Inherited,
    /// From nowhere.
    Empty,
    /// This text.
    Text(String),
}

/// A process that runs on our behalf.
pub(crate) struct Child {
    process: tokio::process::Child,
    /// Whether it leads a process group of its own, to which signals then go.
    leads: bool,
}

/// How a child has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its status, as a shell has it.
    pub(crate) status: u8,
    /// Why it was told to end, if it was.
    pub(crate) reason: Option<Reason>,
    /// The last signal that was passed to it.
    pub(crate) interrupted: Option<Signal>,
}

impl Child {
    /// Starts it with these variables in its environment.
    pub(crate) async fn spawn(
        command: &[OsString],
        variables: Vec<(&str, String)>,
        stdin: Stdin,
    ) -> Result<Child, Failure> {
        let (program, arguments) = command.split_first().expect("the command line asks for a command");
        // A terminal sends its signals to the group of its own, and lets only that one read.
        let leads = !matches!(stdin, Stdin::Inherited) || !io::stdin().is_terminal();
        let mut command = Command::new(program);
        command.args(arguments).envs(variables).kill_on_drop(true).stdin(match stdin {
            Stdin::Inherited => Stdio::inherit(),
            Stdin::Empty => Stdio::null(),
            Stdin::Text(_) => Stdio::piped(),
        });
        if leads {
            command.process_group(0);
        }
        let spawned = command.spawn();
        let mut process = spawned.map_err(|source| Failure::Spawn { program: program.clone(), source })?;
        if let (Stdin::Text(text), Some(mut pipe)) = (stdin, process.stdin.take()) {
            // It fits into the pipe. Who does not read it need not.
            let _ = pipe.write_all(text.as_bytes()).await;
        }
        Ok(Child { process, leads })
    }

    /// Its number, as long as it was not waited for.
    fn pid(&self) -> Option<Pid> {
        self.process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
    }

    /// Sends it a signal, as long as it has not ended. Nobody else can have its number before it was waited for.
    fn send(&self, signal: Signal) {
        // It may have ended this very moment.
        let _ = self
            .pid()
            .map(|pid| if self.leads { kill_process_group(pid, signal) } else { kill_process(pid, signal) });
    }

    /// Passes a signal on that we got, unless the terminal has sent it to both of us: then the child knows what it means.
    /// Who is out of patience waits for the child no longer.
    fn pass(&self, Heard { signal, urgency }: Heard) {
        if !self.leads && matches!(signal, Signal::INT | Signal::QUIT) {
            return;
        }
        self.send(if urgency == Urgency::EndNow { Signal::KILL } else { signal });
    }

    /// Waits until it has ended, and sees to it that it does when it has to.
    pub(crate) async fn tend(
        mut self,
        tenure: &impl Tenure,
        policy: Policy,
        mut signals: Option<&mut Signals>,
        voice: Voice,
    ) -> Result<Ended, Failure> {
        let group = self.pid().filter(|_| self.leads);
        let mut over = pin!(tenure.over());
        let mut heard = false;
        let mut interrupted = None;
        let mut course = Course::Safe;
        loop {
            let alarm = course.alarm(tenure, policy);
            tokio::select! {
                status = self.process.wait() => {
                    if let (Some(group), Course::Asked { kill, .. }) = (group, &course) {
                        end_all(group, *kill).await;
                    }
                    return Ok(Ended { status: number(status?), reason: course.reason().cloned(), interrupted });
                }
                reason = &mut over, if !heard => {
                    heard = true;
                    course = course.over(&self, policy, reason, voice);
                }
                heard = next(&mut signals) => {
                    if heard.urgency != Urgency::News {
                        interrupted = Some(heard.signal);
                    }
                    self.pass(heard);
                }
                () = ring(alarm) => course = course.rung(&self, tenure, policy, voice),
            }
        }
    }
}

/// How far a child is from its end.
#[derive(Debug)]
enum Course {
    /// It may go on.
    Safe,
    /// It may go on, though what it rests on is lost.
    Heedless,
    /// It was asked to end, and is killed then.
    Asked { reason: Reason, kill: Instant },
    /// It was killed.
    Killed { reason: Reason },
}

impl Course {
    fn alarm(&self, tenure: &impl Tenure, policy: Policy) -> Option<Instant> {
        match self {
            Course::Safe if policy.on_loss == OnLoss::Signal => {
                // Once nothing is left, the tenure says so itself.
                let left = tenure.remaining();
                (!left.is_zero()).then(|| Instant::now() + left.saturating_sub(policy.grace))
            }
            Course::Asked { kill, .. } => Some(*kill),
            Course::Safe | Course::Heedless | Course::Killed { .. } => None,
        }
    }

    /// Why it was told to end, if it was.
    fn reason(&self) -> Option<&Reason> {
        match self {
            Course::Safe | Course::Heedless => None,
            Course::Asked { reason, .. } | Course::Killed { reason } => Some(reason),
        }
    }

    fn over(self, child: &Child, policy: Policy, reason: Reason, voice: Voice) -> Course {
        let Course::Safe = self else { return self };
        let on_loss = match reason {
            // Who is asked to end may take the time it is given.
            Reason::Asked => OnLoss::Signal,
            Reason::Lost(ref why) => {
                voice.warn("lost", why, json!({ "on_loss": format!("{:?}", policy.on_loss).to_lowercase() }));
                policy.on_loss
            }
        };
        match on_loss {
            OnLoss::Ignore => Course::Heedless,
            OnLoss::Kill => {
                child.send(Signal::KILL);
                Course::Killed { reason }
            }
            OnLoss::Signal => {
                child.send(Signal::TERM);
                Course::Asked { reason, kill: Instant::now() + policy.grace }
            }
        }
    }

    fn rung(self, child: &Child, tenure: &impl Tenure, policy: Policy, voice: Voice) -> Course {
        match self {
            Course::Safe => {
                let left = tenure.remaining();
                if left.is_zero() || left > policy.grace {
                    return Course::Safe;
                }
                let why = format!("the lock could not be renewed, and ends in {}", told(left));
                voice.warn(
                    "losing",
                    &why,
                    json!({ "left_ms": u64::try_from(left.as_millis()).unwrap_or(0) }),
                );
                child.send(Signal::TERM);
                let kill = Instant::now() + left.saturating_sub(MARGIN);
                Course::Asked { reason: Reason::Lost(why), kill }
            }
            Course::Asked { reason, .. } => {
                child.send(Signal::KILL);
                Course::Killed { reason }
            }
            Course::Heedless | Course::Killed { .. } => self,
        }
    }
}

async fn ring(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => sleep_until(alarm).await,
        None => std::future::pending().await,
    }
}

async fn next(signals: &mut Option<&mut Signals>) -> Heard {
    match signals {
        Some(signals) => signals.any().await,
        None => std::future::pending().await,
    }
}

/// Gives what a child has left running the time that the child had, too, and no more.
async fn end_all(group: Pid, kill: Instant) {
    // Only where nothing is left of it could the group be another one's by now.
    while test_kill_process_group(group).is_ok() {
        if kill <= Instant::now() {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        sleep_until(kill.min(Instant::now() + LOOK)).await;
    }
}

/// A status as a shell has it.
fn number(status: ExitStatus) -> u8 {
    let by_signal = || status.signal().and_then(Signal::from_named_raw).map(signals::status);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.or_else(by_signal).unwrap_or(u8::MAX)
}
