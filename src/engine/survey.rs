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

#[cfg(all(test, feature = "sqlite", feature = "tokio"))]
mod tests {
    use super::*;
    use crate::engine::memory::Memory;
    use crate::engine::sqlite::{Sqlite, SqliteOptions};
    use crate::engine::{Engine, EngineOp, Request, Responder};
    use crate::store::{Answer, Expect};
    use crate::time::Span;
    use std::string::ToString;

    async fn put(engine: &dyn Engine, space: &str, key: &[u8], ttl: Option<Span>) {
        let (answer, is_answered) = tokio::sync::oneshot::channel();
        let op = EngineOp::PutIf { key: key.into(), expect: Expect::Absent, record: "{}".into(), ttl };
        let responder = Responder::new(move |reply| drop(answer.send(reply.answer)));
        engine.submit(Request { space: space.into(), op }, responder);
        assert!(matches!(is_answered.await, Ok(Answer::Applied(_))));
    }

    async fn look(engine: &dyn Engine, prefix: &str) -> Vec<(String, Vec<u8>, bool)> {
        let survey = engine.survey(prefix).await.expect("it can be looked into");
        let shown = survey.entries.into_iter().map(|stored| {
            assert!(stored.until.is_none_or(|until| until > survey.at), "{stored:?} is alive");
            (stored.space, stored.key.to_vec(), stored.until.is_some())
        });
        shown.collect()
    }

    async fn check(engine: &dyn Engine) {
        let hour = Some(Span::from_secs(3_600));
        for (space, key, ttl) in [
            ("job/a", [1].as_slice(), None),
            ("mutex/A", &[0], hour),
            ("mutex/a", &[1, 0xff], None),
            ("mutex/a", &[0], hour),
            ("mutex/a_%", &[0], hour),
        ] {
            put(engine, space, key, ttl).await;
        }
        put(engine, "mutex/dead", &[0], Some(Span::from_millis(1))).await;
        while !look(engine, "mutex/dead").await.is_empty() {
            tokio::task::yield_now().await;
        }
        let entry = |space: &str, key: &[u8], expires| (space.to_string(), key.to_vec(), expires);
        let lock = [entry("mutex/a", &[0], true), entry("mutex/a", &[1, 0xff], false)];
        assert_eq!(look(engine, "mutex/a").await, [&lock[..], &[entry("mutex/a_%", &[0], true)]].concat());
        assert_eq!(look(engine, "mutex/a_").await, [entry("mutex/a_%", &[0], true)]);
        assert_eq!(look(engine, "").await.len(), 5);
        assert_eq!(look(engine, "nothing").await, []);
    }

    #[tokio::test]
    async fn memory_shows_what_lives_in_the_spaces_that_begin_so() {
        check(&Memory::new()).await;
    }

    #[tokio::test]
    async fn a_file_shows_what_lives_in_the_spaces_that_begin_so() {
        let folder = tempfile::tempdir().unwrap();
        check(&Sqlite::open(folder.path().join("locks.db"), &SqliteOptions::default()).unwrap()).await;
    }
}
