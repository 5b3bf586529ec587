//! A suite that cannot fail proves nothing: engines that break one rule each are found out.

use fencepost::engine::sqlite::{SqliteOptions, Synchronous};
use fencepost_conformance::{Liar, Lie, Sqlite, examine};

/// An honest engine below, so that what is found is the lie.
fn honest() -> Sqlite {
    let mut options = SqliteOptions::default();
    options.synchronous = Synchronous::Normal;
    Sqlite::new(options)
}

#[test]
fn an_honest_engine_passes() {
    assert_eq!(examine(&honest()), Ok(()));
}

#[test]
fn every_lie_is_found_out() {
    for lie in Lie::ALL {
        println!("{lie:?}");
        let found = examine(&Liar::new(honest(), lie));
        let rule = found.as_ref().map_err(|breach| breach.rule);
        assert_eq!(rule, Err(lie.breaks()), "{lie:?}: {found:?}");
    }
}
