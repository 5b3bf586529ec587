//! What the benchmarks run: the reference workload on other people's machinery, what others show theirs with, a
//! scheduler with very many jobs, and an engine that is watched.

pub mod pending;
pub mod table;
pub mod tokio_w;
pub mod two_phase;
pub mod watched;
