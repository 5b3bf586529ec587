//! What the tests of the checked world share.

pub(crate) mod liar;
pub(crate) mod pair;
pub(crate) mod scopes;
