//! What a command holds while its child runs, whichever handle it is.

use std::time::Duration;

use fencepost::driver::{Guard, JobRun, OnceRun};

/// Why the child has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// What was held is lost.
    Lost(String),
    /// It is still held, but whoever runs the command wants it to end.
    Asked,
}

/// What is held.
pub(crate) trait Tenure {
    /// Waits until the child has to end.
    fn over(&self) -> impl Future<Output = Reason> + Send;
    /// For how long it is held from now on if nothing renews it; zero, if it is not held.
    fn remaining(&self) -> Duration;
}

impl Tenure for Guard {
    async fn over(&self) -> Reason {
        Reason::Lost(self.lost().await.to_string())
    }

    fn remaining(&self) -> Duration {
        Guard::remaining(self)
    }
}

impl Tenure for JobRun {
    async fn over(&self) -> Reason {
        self.interrupted().await;
        reason(self.is_held())
    }

    fn remaining(&self) -> Duration {
        JobRun::remaining(self)
    }
}

impl<P: Sync> Tenure for OnceRun<P> {
    async fn over(&self) -> Reason {
        self.interrupted().await;
        reason(self.is_held())
    }

    fn remaining(&self) -> Duration {
        OnceRun::remaining(self)
    }
}

fn reason(is_held: bool) -> Reason {
    if is_held { Reason::Asked } else { Reason::Lost("the lock of the job is lost".into()) }
}
