//! Names for incarnations, each unique for ever.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Identity;

/// Where the identities of this process begin.
static ORIGIN: OnceLock<u64> = OnceLock::new();
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no randomness ({0}), so nobody can be told apart")]
pub struct NoRandomness(getrandom::Error);

/// Makes sure that this process can name its incarnations.
pub(crate) fn prepare() -> Result<(), NoRandomness> {
    if ORIGIN.get().is_none() {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(NoRandomness)?;
        let _ = ORIGIN.set(u64::from_ne_bytes(bytes));
    }
    Ok(())
}

/// A name that no other incarnation has or had.
///
/// Within a process each number is used once, and mixing loses none; processes begin anywhere among 2^64 numbers.
/// A million processes that have a million incarnations each meet with a probability of less than one in ten.
pub(crate) fn fresh() -> Identity {
    let origin = ORIGIN.get().copied().unwrap_or_default();
    Identity(mixed(origin.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))))
}

/// A permutation of all numbers that leaves no order in them: the finaliser of SplitMix64 (Steele, Lea, Flood: Fast
/// splittable pseudorandom number generators, 2014).
pub(crate) fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_incarnations_of_a_process_have_one_name() {
        prepare().unwrap();
        let names: BTreeSet<_> = (0..10_000).map(|_| fresh()).collect();
        assert_eq!(names.len(), 10_000);
        assert!(ORIGIN.get().is_some_and(|origin| *origin != 0));
    }
}
