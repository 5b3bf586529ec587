//! `fencepost lock`: a command while a lock is held.

use std::ffi::OsString;
use std::time::Duration;

use fencepost::driver::{Guard, LockError, Mutex};
use fencepost::mutex::Release;
use serde_json::json;

use crate::args::{HoldArgs, LockArgs, OnLoss};
use crate::child::{Child, Ended, Policy, Stdin};
use crate::failure::{Failure, LOST};
use crate::holder::{self, Note};
use crate::session::{self, First, Session};
use crate::signals::{self, Signals};
use crate::tenure::{Reason, Tenure};
use crate::times::{Wait, told};
use crate::voice::Voice;

/// How long it takes at most to leave a queue, or to give back what came too late.
pub(crate) const LEAVING: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: &LockArgs, voice: Voice) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    let contest = Contest::new(&args.key, &args.hold, &args.command, voice)?;
    let session = match session::wait(Session::open(&args.common.store), &mut signals, || ()).await {
        First::Done(session) => session?,
        First::Interrupted(signal) => return Ok(signals::status(signal)),
    };
    let status = contest.hold_once(&session, args.wait, &mut signals).await;
    session.close(LEAVING, &mut signals, voice).await;
    status
}

/// Somebody who wants a lock, and what for.
struct Contest<'a> {
    key: &'a str,
    hold: &'a HoldArgs,
    command: &'a [OsString],
    policy: Policy,
    who: String,
    voice: Voice,
}

/// How it went.
enum Tried {
    /// A signal came first.
    Interrupted(u8),
    /// The command was run, and has ended so.
    Ran(Ended),
}

impl<'a> Contest<'a> {
    fn new(
        key: &'a str,
        hold: &'a HoldArgs,
        command: &'a [OsString],
        voice: Voice,
    ) -> Result<Contest<'a>, Failure> {
        let policy = Policy::of(&hold.loss, hold.ttl)?;
        let who = hold.who.clone().unwrap_or_else(holder::identity);
        Ok(Contest { key, hold, command, policy, who, voice })
    }

    /// Waits for the lock and runs the command, once.
    async fn hold_once(&self, session: &Session, wait: Wait, signals: &mut Signals) -> Result<u8, Failure> {
        let mutex = self.mutex(session)?;
        match self.compete(session, &mutex, wait, signals).await? {
            Tried::Interrupted(status) => Ok(status),
            Tried::Ran(Ended { reason: Some(Reason::Lost(_)), .. }) => Ok(LOST),
            Tried::Ran(ended) => Ok(ended.status),
        }
    }

    fn mutex(&self, session: &Session) -> Result<Mutex, Failure> {
        Ok(Mutex::new(&session.store, self.key, self.hold.mutex())?)
    }

    /// Waits for the lock, and runs the command under it.
    async fn compete(
        &self,
        session: &Session,
        mutex: &Mutex,
        wait: Wait,
        signals: &mut Signals,
    ) -> Result<Tried, Failure> {
        let acquire = async {
            match wait {
                Wait::No => mutex.try_lock().await,
                Wait::For(within) => mutex.lock_timeout(within).await,
                Wait::Forever => mutex.lock().await,
            }
        };
        let tell = || {
            let text = format!("waiting for {}", self.key);
            self.voice.note("waiting", &text, json!({ "key": self.key }));
        };
        // What is dropped here when a signal comes leaves the queue, and gives back what it got meanwhile.
        match session::wait(acquire, signals, tell).await {
            First::Interrupted(signal) => Ok(Tried::Interrupted(signals::status(signal))),
            First::Done(Ok(guard)) => self.hold(session, guard, signals).await.map(Tried::Ran),
            First::Done(Err(error)) => Err(refusal(error, wait)),
        }
    }

    /// Runs the command under a lock, and releases it.
    async fn hold(&self, session: &Session, guard: Guard, signals: &mut Signals) -> Result<Ended, Failure> {
        let token = guard.token();
        self.voice.event("acquired", json!({ "key": self.key, "token": token.0, "identity": self.who }));
        let note =
            Note::leave(&session.engine, &format!("mutex/{}", self.key), token, &self.who, self.command);
        let variables = vec![
            ("FENCEPOST_KEY", self.key.into()),
            ("FENCEPOST_TOKEN", token.0.to_string()),
            ("FENCEPOST_IDENTITY", self.who.clone()),
        ];
        let spawned = if guard.is_held() {
            Child::spawn(self.command, variables, Stdin::Inherited).await
        } else {
            Err(Failure::Lost { lock: self.key.into() })
        };
        let ended = match spawned {
            Ok(child) => child.tend(&guard, self.policy, Some(signals), self.voice).await,
            Err(failure) => Err(failure),
        };
        let lasted = Tenure::remaining(&guard) > Duration::ZERO;
        let release = guard.release().await;
        note.remove().await;
        let mut ended = ended?;
        self.judge(&mut ended, release, lasted);
        let (status, lost) = (ended.status, matches!(ended.reason, Some(Reason::Lost(_))));
        self.voice.event("ended", json!({ "key": self.key, "status": status, "lost": lost }));
        Ok(ended)
    }

    /// What the release says of the time in which the command ran.
    fn judge(&self, ended: &mut Ended, release: Release, lasted: bool) {
        match release {
            Release::Gone if ended.reason.is_none() && self.hold.loss.on_loss != OnLoss::Ignore => {
                let why = "the lock was gone before the command had ended";
                let text = format!("{why} with status {}", ended.status);
                self.voice.warn("lost", &text, json!({ "key": self.key, "status": ended.status }));
                ended.reason = Some(Reason::Lost(why.into()));
            }
            Release::Unknown if lasted => {
                let text = format!(
                    "nobody knows whether {} was released; it is free in {}",
                    self.key,
                    told(self.hold.ttl)
                );
                self.voice.warn("unreleased", &text, json!({ "key": self.key }));
            }
            Release::Clean | Release::Gone | Release::Unknown => {}
        }
    }
}

/// Why the lock was not taken, in the words of the command.
fn refusal(error: LockError, wait: Wait) -> Failure {
    match error {
        LockError::Contended { lock } => Failure::Contended { lock },
        LockError::TimedOut { lock, .. } if wait == Wait::No => Failure::Unanswered { lock },
        LockError::TimedOut { lock, waited } => Failure::TimedOut { lock, waited },
        other => Failure::Lock(other),
    }
}
