//! `fencepost elect`: a command wherever, and as long as, this process leads.

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::args::ElectArgs;
use crate::child::Ended;
use crate::failure::{Failure, LOST};
use crate::lock::{Contest, LEAVING, Tried};
use crate::session::{self, First, Session};
use crate::signals::{self, Signals};
use crate::tenure::Reason;
use crate::times::Wait;
use crate::voice::Voice;

pub(crate) async fn run(args: &ElectArgs, voice: Voice) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    let contest = Contest::new(&args.name, &args.hold, &args.command, voice)?;
    let session = match session::wait(Session::open(&args.common.store), &mut signals, || ()).await {
        First::Done(session) => session?,
        First::Interrupted(signal) => return Ok(signals::status(signal)),
    };
    let status = stand(args, &contest, &session, &mut signals, voice).await;
    session.close(LEAVING, &mut signals, voice).await;
    status
}

/// Stands for election until a signal comes, or once.
async fn stand(
    args: &ElectArgs,
    contest: &Contest<'_>,
    session: &Session,
    signals: &mut Signals,
    voice: Voice,
) -> Result<u8, Failure> {
    let mutex = contest.mutex(session)?;
    loop {
        let ended = match contest.compete(session, &mutex, Wait::Forever, signals).await? {
            Tried::Interrupted(status) => return Ok(status),
            Tried::Ran(ended) => ended,
        };
        let Ended { status, ref reason, interrupted } = ended;
        match (reason, interrupted) {
            (_, Some(signal)) => return Ok(signals::status(signal)),
            (Some(Reason::Lost(_)), None) if args.once => return Ok(LOST),
            (Some(Reason::Asked) | None, None) if args.once => return Ok(status),
            (Some(_) | None, None) => {}
        }
        let text = format!("the command has ended with status {status}; standing for election again");
        voice.note("stepped-down", &text, json!({ "key": args.name, "status": status }));
        let pause = sleep_until(Instant::now() + args.pause);
        if let First::Interrupted(signal) = session::wait(pause, signals, || ()).await {
            return Ok(signals::status(signal));
        }
    }
}
