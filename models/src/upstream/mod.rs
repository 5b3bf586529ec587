//! The originals as machines, behaviour by behaviour, flaws included.
//!
//! The labels M1 … M10, J1 … J5, O1 … O11 and W1 … W10 in these modules name the flaws of the originals; the rows of a
//! transition table have labels of their own.
//!
//! | module | holds |
//! |---|---|
//! | [`kv`] | the store of the Mattermost plugins: compare by value, expiry by the caller's wall clock |
//! | [`table`] | several rows of that store, as jobs need them |
//! | [`mattermost`] | what the Mattermost machines share: words, context, refresher |
//! | [`plugin_api_mutex`] | the mutex of the plugin API |
//! | [`calls_mutex`] | the mutex of Calls |
//! | [`plugin_api_job`] | the recurring job of the plugin API |
//! | [`plugin_api_once`] | its jobs that are to run once |
//! | [`advisory`] | a PostgreSQL server: sessions, an advisory lock, a channel |
//! | [`acyl_locker`] | acyl's preemptive locker over it |
//! | [`ocm_flag`] | the leadership flag of OCM's SDK, and its table |
//! | [`openshift_writerlease`] | the writer lease of OpenShift's router |
//! | [`acyl_fake_locker`] | the same over its fake provider, within one process |

pub mod acyl_fake_locker;
pub mod acyl_locker;
pub mod advisory;
#[cfg(test)]
mod bench;
pub mod calls_mutex;
pub mod kv;
pub mod mattermost;
pub mod ocm_flag;
pub mod openshift_writerlease;
pub mod plugin_api_job;
pub mod plugin_api_mutex;
pub mod plugin_api_once;
pub mod table;
