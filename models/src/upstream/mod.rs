//! The originals as machines, behaviour by behaviour, flaws included.
//!
//! The labels M1 … M10 in these modules name the flaws of the originals; the rows of a transition table have
//! labels of their own.
//!
//! | module | holds |
//! |---|---|
//! | [`kv`] | the store of the Mattermost plugins: compare by value, expiry by the caller's wall clock |
//! | [`mattermost`] | what the two Mattermost mutexes share: words, context, refresher |
//! | [`plugin_api_mutex`] | the mutex of the plugin API |
//! | [`calls_mutex`] | the mutex of Calls |

#[cfg(test)]
mod bench;
pub mod calls_mutex;
pub mod kv;
pub mod mattermost;
pub mod plugin_api_mutex;
