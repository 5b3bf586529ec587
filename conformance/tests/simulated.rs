//! The store under every proof and every hunt does what it asks of real ones.

use fencepost_conformance::{Simulated, examine};

#[test]
fn the_simulated_store_honours_the_contract() {
    assert_eq!(examine(&Simulated::default()), Ok(()));
}
