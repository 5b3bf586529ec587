//! The engine in memory honours the contract.

use fencepost_conformance::{Memory, examine};

#[test]
fn memory_honours_the_contract() {
    assert_eq!(examine(&Memory::default()), Ok(()));
}
