//! A service whose instances share a ledger: one of them writes to it at a time, a sum is made now and then, and reminders
//! are sent once.
//!
//! The ledger is the resource that the lock guards. It refuses every token lower than the highest that it has seen,
//! because no lock with a lease is safe for a slow writer without that.
#![allow(clippy::disallowed_types, reason = "a service has locks of its own")]

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, JobRun, Mutex, Once, OnceRun, Store};
use fencepost::job::JobConfig;
use fencepost::mutex::MutexConfig;
use fencepost::once::{Delivery, OnceConfig, RunAt};
use fencepost::store::FencingToken;
use fencepost::time::Span;

/// Whatever can go wrong when an instance is started or asked for something.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What all instances write to; in a real service, a database.
#[derive(Debug, Default)]
pub struct Ledger(Lock<Pages>);

#[derive(Debug, Default)]
struct Pages {
    highest: FencingToken,
    entries: Vec<u64>,
    sums: Vec<u64>,
    reminders: Vec<String>,
}

impl Ledger {
    fn pages<R>(&self, turn: impl FnOnce(&mut Pages) -> R) -> R {
        turn(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes an entry, unless somebody with a higher token was here.
    ///
    /// # Errors
    ///
    /// If the token is lower than the highest that was seen.
    pub fn write(&self, token: FencingToken, amount: u64) -> Result<(), Error> {
        self.pages(|pages| {
            if token < pages.highest {
                return Err(format!("token {} comes after {}", token.0, pages.highest.0).into());
            }
            pages.highest = token;
            pages.entries.push(amount);
            Ok(())
        })
    }

    /// The sum of all entries.
    pub fn total(&self) -> u64 {
        self.pages(|pages| pages.entries.iter().sum())
    }

    /// The sums that were made.
    pub fn sums(&self) -> Vec<u64> {
        self.pages(|pages| pages.sums.clone())
    }

    /// The reminders that were sent.
    pub fn reminders(&self) -> Vec<String> {
        self.pages(|pages| pages.reminders.clone())
    }
}

/// One instance of the service.
#[derive(Debug)]
pub struct Service {
    store: Store,
    ledger: Arc<Ledger>,
    writing: Mutex,
    reminders: Once<String>,
    summing: Job,
}

impl Service {
    /// Starts an instance.
    ///
    /// # Errors
    ///
    /// If the store refuses one of the handles.
    pub fn start(store: Store, ledger: Arc<Ledger>) -> Result<Service, Error> {
        let writing = Mutex::new(&store, "ledger", MutexConfig::default())?;
        let reminders = Once::new(&store, "reminders", OnceConfig::new(Delivery::AtMostOnce))?;
        let (to_remind, to_sum) = (ledger.clone(), ledger.clone());
        reminders.start(move |run: OnceRun<String>| {
            let ledger = to_remind.clone();
            async move { ledger.pages(|pages| pages.reminders.push(run.props().clone())) }
        })?;
        let every_hour = JobConfig::new(Schedule::every(Duration::from_secs(3_600))?);
        let summing = Job::schedule(&store, "sums", every_hour, move |run: JobRun| {
            let ledger = to_sum.clone();
            async move {
                if run.is_interrupted() {
                    return Err("the lock was lost before the sum was made");
                }
                ledger.pages(|pages| pages.sums.push(pages.entries.iter().sum()));
                Ok(())
            }
        })?;
        Ok(Service { store, ledger, writing, reminders, summing })
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

    /// Sends a reminder soon, from whichever instance comes first.
    ///
    /// # Errors
    ///
    /// If there is such a reminder already.
    pub async fn remind(&self, key: &str, text: &str) -> Result<(), Error> {
        Ok(self.reminders.schedule(key, RunAt::In(Span::ZERO), &text.into()).await?)
    }

    /// Ends this instance: what runs is waited for, what is held is released.
    ///
    /// # Errors
    ///
    /// If something has not ended within ten seconds; the error lists what.
    pub async fn stop(self) -> Result<(), Error> {
        self.summing.close().await;
        self.reminders.stop().await;
        Ok(self.store.close(Duration::from_secs(10)).await?)
    }
}
