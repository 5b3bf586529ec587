//! SQLite honours the contract, and says what it can about its file.

use fencepost::engine::sqlite::{SqliteOptions, Synchronous};
use fencepost_conformance::{Sqlite, examine};

#[test]
fn sqlite_honours_the_contract() {
    assert_eq!(examine(&Sqlite::new(SqliteOptions::default())), Ok(()));
}

#[test]
fn sqlite_that_syncs_less_honours_the_contract() {
    let mut options = SqliteOptions::default();
    options.synchronous = Synchronous::Normal;
    assert_eq!(examine(&Sqlite::new(options)), Ok(()));
}
