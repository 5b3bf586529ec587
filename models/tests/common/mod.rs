//! What the tests of the checked world share.

pub(crate) mod liar;
mod orders;
pub(crate) mod pair;
pub(crate) mod scopes;
