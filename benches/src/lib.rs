//! What the benchmarks compare us with: the reference workload on other people's machinery.

pub mod tokio_w;
