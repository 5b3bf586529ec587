//! A service whose instances share a ledger: one of them leads, one of them writes to it at a time, a sum is made now and
//! then, and reminders are sent once.
#![allow(clippy::disallowed_types, reason = "a service has locks of its own")]

mod ledger;

pub use ledger::Ledger;

use std::sync::Arc;
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Flag, Job, JobRun, Mutex, Once, OnceRun, Store};
use fencepost::flag::FlagConfig;
use fencepost::job::JobConfig;
use fencepost::mutex::MutexConfig;
use fencepost::once::{Delivery, OnceConfig, RunAt};

/// Whatever can go wrong when an instance is started or asked for something.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// One instance of the service.
#[derive(Debug)]
pub struct Service {
    store: Store,
    ledger: Arc<Ledger>,
    leading: Flag,
    writing: Mutex,
    reminders: Once<String>,
    summing: Job,
}

impl Service {
    /// Starts an instance of this name, which the others see if it leads.
    ///
    /// # Errors
    ///
    /// If the store refuses one of the handles.
    pub fn start(store: Store, name: &str, ledger: Arc<Ledger>) -> Result<Service, Error> {
        let leading = Flag::stand(&store, FlagConfig::new("service", name))?;
        let writing = Mutex::new(&store, "ledger", MutexConfig::default())?;
        let reminders = Once::new(&store, "reminders", OnceConfig::new(Delivery::AtMostOnce))?;
        let (to_remind, to_sum) = (ledger.clone(), ledger.clone());
        reminders.start(move |run: OnceRun<String>| {
            let ledger = to_remind.clone();
            async move { ledger.remind(run.props()) }
        })?;
        let every_hour = JobConfig::new(Schedule::every(Duration::from_secs(3_600))?);
        let summing = Job::schedule(&store, "sums", every_hour, move |run: JobRun| {
            let ledger = to_sum.clone();
            async move {
                if run.is_interrupted() {
                    return Err("the lock was lost before the sum was made");
                }
                ledger.sum();
                Ok(())
            }
        })?;
        Ok(Service { store, ledger, leading, writing, reminders, summing })
    }

    /// Writes a balance over all before it, if this instance leads: false, if another one does. The term of the leader is
    /// a token like any other.
    ///
    /// # Errors
    ///
    /// If a later leader was here.
    pub fn lead(&self) -> Result<bool, Error> {
        // Asked anew each time: a leader that was paused for too long leads no more, and finds out here.
        let Some(term) = self.leading.raised() else { return Ok(false) };
        self.ledger.balance(term).map(|()| true)
    }

    /// Who leads, as far as this instance has heard.
    pub fn leader(&self) -> Option<String> {
        self.leading.leader().map(|leader| leader.process.to_string())
    }

    /// Writes an entry, one instance at a time.
    ///
    /// # Errors
    ///
    /// If the lock is not to be had within ten seconds, is lost on the way, or was another one's meanwhile.
    pub async fn write(&self, amount: u64) -> Result<(), Error> {
        let guard = self.writing.lock_timeout(Duration::from_secs(10)).await?;
        let token = guard.token();
        guard.run_while_held(async { self.ledger.write(token, amount) }).await??;
        guard.release().await;
        Ok(())
    }

    /// Sends a reminder after a while, from whichever instance comes first.
    ///
    /// # Errors
    ///
    /// If there is such a reminder that was not sent yet.
    pub async fn remind(&self, key: &str, after: Duration, text: &str) -> Result<(), Error> {
        Ok(self.reminders.schedule(key, RunAt::In(after.into()), &text.into()).await?)
    }

    /// Ends this instance: what runs is waited for, what is held is released.
    ///
    /// # Errors
    ///
    /// If something has not ended within ten seconds; the error lists what.
    pub async fn stop(self) -> Result<(), Error> {
        self.leading.close().await;
        self.summing.close().await;
        self.reminders.stop().await;
        Ok(self.store.close(Duration::from_secs(10)).await?)
    }
}
