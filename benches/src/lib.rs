//! What the benchmarks run: the reference workload on other people's machinery, what others show theirs with, and
//! a scheduler with very many jobs.

pub mod pending;
pub mod tokio_w;
pub mod two_phase;
