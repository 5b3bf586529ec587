//! Who holds what, for people: a note beside each acquisition of this command, under its fencing token.
//!
//! A lock's record names its holder by a random number, which is all that a lock needs. The note says whom to call. It is no
//! more than that: nothing waits for it, and nothing depends on it.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use fencepost::engine::{Engine, EngineAnswer, EngineOp, Key, Request, Responder, Text};
use fencepost::store::{Answer, Expect, FencingToken};
use fencepost::time::Span;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Where the notes lie.
pub(crate) const SPACE: &str = "holder";
/// How long a note outlives its writer.
const TTL: Duration = Duration::from_secs(60);

/// Who holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Whom to call.
    pub(crate) who: String,
    /// What runs, without its arguments: they may be nobody's business.
    pub(crate) runs: String,
}

/// Who we are, if nobody says otherwise.
pub(crate) fn identity() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(std::env::var_os);
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string().into());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{}@{host}:{}", user.to_string_lossy(), std::process::id())
}

/// The key of a note.
pub(crate) fn key(space: &str, token: u64) -> Key {
    [space.as_bytes(), &[0], &token.to_be_bytes()].concat().into()
}

/// Asks a store something.
pub(crate) async fn ask(engine: &dyn Engine, space: &str, op: EngineOp) -> EngineAnswer {
    let (answer, is_answered) = oneshot::channel();
    let request = Request { space: space.into(), op };
    // Whoever asked may have gone.
    let responder = Responder::new(move |reply| drop(answer.send(reply.answer)));
    match engine.answer(&request) {
        Some(reply) => reply.answer,
        None => {
            engine.submit(request, responder);
            is_answered.await.unwrap_or(Answer::Unknown)
        }
    }
}

/// A note that is kept until it is taken away.
pub(crate) struct Note {
    stop: oneshot::Sender<()>,
    keeping: JoinHandle<()>,
}

impl Note {
    /// Leaves a note that `who` holds what lies in `space`. It waits for nothing.
    pub(crate) fn leave(
        engine: &Arc<dyn Engine>,
        space: &str,
        token: FencingToken,
        who: &str,
        command: &[OsString],
    ) -> Note {
        let runs = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        let holder = Holder { who: who.into(), runs };
        let (stop, is_stopped) = oneshot::channel();
        let keeping = tokio::spawn(keep(engine.clone(), key(space, token.0), holder, is_stopped));
        Note { stop, keeping }
    }

    /// Takes it away.
    pub(crate) async fn remove(self) {
        drop(self.stop);
        // If it cannot be taken away, it expires.
        let _ = self.keeping.await;
    }
}

async fn keep(engine: Arc<dyn Engine>, key: Key, holder: Holder, mut stop: oneshot::Receiver<()>) {
    let Ok(text) = serde_json::to_string(&holder) else { return };
    let ttl = Span::from(TTL);
    let put = EngineOp::PutIf {
        key: key.clone(),
        expect: Expect::Absent,
        record: Text::from(text),
        ttl: Some(ttl),
    };
    let Answer::Applied(revision) = ask(&*engine, SPACE, put).await else { return };
    loop {
        let next = Instant::now() + TTL / 3;
        if timeout_at(next, &mut stop).await.is_ok() {
            ask(&*engine, SPACE, EngineOp::DeleteIf { key, revision }).await;
            return;
        }
        ask(&*engine, SPACE, EngineOp::Renew { key: key.clone(), revision, ttl }).await;
    }
}

/// Who holds what lies in `space` under this token, if there is a note.
pub(crate) fn read(notes: &[fencepost::engine::survey::Stored], space: &str, token: u64) -> Option<Holder> {
    let key = key(space, token);
    let note = notes.iter().find(|note| note.key == key)?;
    serde_json::from_str(&note.entry.record).ok()
}
