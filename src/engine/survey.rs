//! Looking into a store: what lies in it, for people who have to know. Nothing that decides rests on it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use super::{Key, Text};
use crate::store::Entry;
use crate::time::StoreTime;

/// What lay in a store at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The store's clock then.
    pub at: StoreTime,
    /// What was alive, in the order of spaces and keys.
    pub entries: Vec<Stored>,
}

/// A live entry, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its space.
    pub space: String,
    /// Its key there.
    pub key: Key,
    /// Its revision and its text.
    pub entry: Entry<Text>,
    /// When it expires on the store's clock, unless it is renewed; never, if `None`.
    pub until: Option<StoreTime>,
}

/// Why a store could not be looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SurveyError {
    /// Engines need not be able to.
    #[error("this engine cannot be looked into; accepted: SQLite, PostgreSQL, the engine in memory")]
    Unsupported,
    /// The store refused, or did not answer.
    #[error("cannot look into the store: {found}")]
    Store {
        /// What was said.
        found: String,
    },
}

/// A survey under way.
pub type Surveying<'a> = Pin<Box<dyn Future<Output = Result<Survey, SurveyError>> + Send + 'a>>;
