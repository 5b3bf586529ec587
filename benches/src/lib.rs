//! What the benchmarks compare us with: the reference workload on other people's machinery, and
//! what others show theirs with.

pub mod tokio_w;
pub mod two_phase;
