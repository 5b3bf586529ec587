//! `fencepost elect`: a command wherever, and as long as, this process leads.

use std::time::Duration;

use fencepost::driver::Flag;
use fencepost::flag::FlagConfig;
use fencepost::store::FencingToken;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::args::ElectArgs;
use crate::child::{Child, Ended, Policy, Stdin};
use crate::failure::{Failure, LOST};
use crate::holder;
use crate::lock::LEAVING;
use crate::session::{self, First, Session};
use crate::signals::{self, Signals};
use crate::tenure::{Reason, Tenure};
use crate::voice::Voice;

pub(crate) async fn run(args: &ElectArgs, voice: Voice) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    let policy = Policy::of(&args.loss, args.interval)?;
    let session = match session::wait(Session::open(&args.common.store), &mut signals, || ()).await {
        First::Done(session) => session?,
        First::Interrupted(signal) => return Ok(signals::status(signal)),
    };
    let process = args.process.clone().unwrap_or_else(holder::identity);
    let status = match Flag::stand(&session.store, config(args, &process)) {
        Ok(flag) => Candidate { args, policy, process, flag, voice }.stand(&mut signals).await,
        Err(error) => Err(error.into()),
    };
    session.close(LEAVING, &mut signals, voice).await;
    status
}

fn config(args: &ElectArgs, process: &str) -> FlagConfig {
    let defaults = FlagConfig::new(&args.name, process);
    FlagConfig {
        interval: args.interval,
        check_interval: defaults.check_interval.min(args.interval / 6),
        timeout: defaults.timeout.min(args.interval / 6),
        delay_bound: defaults.delay_bound.min(args.interval / 20),
        ..defaults
    }
}

/// A term of leadership.
struct Term<'a> {
    flag: &'a Flag,
    token: FencingToken,
}

impl Tenure for Term<'_> {
    async fn over(&self) -> Reason {
        self.flag.until_lowered(self.token).await;
        Reason::Lost("this process does not lead any more".into())
    }

    fn remaining(&self) -> Duration {
        if self.flag.raised() == Some(self.token) { self.flag.remaining() } else { Duration::ZERO }
    }
}

/// Who stands for election.
struct Candidate<'a> {
    args: &'a ElectArgs,
    policy: Policy,
    process: String,
    flag: Flag,
    voice: Voice,
}

impl Candidate<'_> {
    /// Leads whenever it can, until a signal comes; or once.
    async fn stand(&self, signals: &mut Signals) -> Result<u8, Failure> {
        let name = &self.args.name;
        loop {
            let tell = || {
                let leader = self.flag.leader().map(|leader| leader.process.to_string());
                let by = leader.as_ref().map_or_else(String::new, |leader| format!("; {leader} leads"));
                self.voice.note(
                    "waiting",
                    &format!("waiting to lead {name}{by}"),
                    json!({ "key": name, "leader": leader }),
                );
            };
            let token = match session::wait(self.flag.until_raised(), signals, tell).await {
                First::Done(Some(token)) => token,
                First::Done(None) => return Err(Failure::Unanswered { lock: format!("flag/{name}") }),
                First::Interrupted(signal) => return Ok(signals::status(signal)),
            };
            let ended = self.lead(token, signals).await?;
            match (ended.interrupted, &ended.reason) {
                (Some(signal), _) => return Ok(signals::status(signal)),
                (None, Some(Reason::Lost(_))) if self.args.once => return Ok(LOST),
                (None, Some(Reason::Asked) | None) if self.args.once => return Ok(ended.status),
                (None, Some(_) | None) => {}
            }
            let text =
                format!("the command has ended with status {}; standing for election again", ended.status);
            self.voice.note("stepped-down", &text, json!({ "key": name, "status": ended.status }));
            let pause = sleep_until(Instant::now() + self.args.pause);
            if let First::Interrupted(signal) = session::wait(pause, signals, || ()).await {
                return Ok(signals::status(signal));
            }
            self.flag.set_fit(true);
        }
    }

    /// Runs the command while it leads. Afterwards it leads no longer, and does not stand until it is said to be fit.
    async fn lead(&self, token: FencingToken, signals: &mut Signals) -> Result<Ended, Failure> {
        let name = &self.args.name;
        self.voice.event("leads", json!({ "key": name, "token": token.0, "identity": self.process }));
        let variables = vec![
            ("FENCEPOST_KEY", name.clone()),
            ("FENCEPOST_TOKEN", token.0.to_string()),
            ("FENCEPOST_IDENTITY", self.process.clone()),
        ];
        let term = Term { flag: &self.flag, token };
        let ended = match Child::spawn(&self.args.command, variables, Stdin::Inherited).await {
            Ok(child) => child.tend(&term, self.policy, Some(signals), self.voice).await,
            Err(failure) => Err(failure),
        };
        self.flag.set_fit(false);
        // Others may lead from then on. If the store cannot be told, they may when the interval is over.
        let _ = timeout_at(Instant::now() + LEAVING, self.flag.until_lowered(token)).await;
        let ended = ended?;
        let lost = matches!(ended.reason, Some(Reason::Lost(_)));
        self.voice.event("ended", json!({ "key": name, "status": ended.status, "lost": lost }));
        Ok(ended)
    }
}
