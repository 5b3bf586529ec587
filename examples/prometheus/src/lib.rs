//! What a service counts, for Prometheus to scrape. Its names stand in `docs/operations.md`.

use std::net::SocketAddr;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

/// In seconds: a lock that nobody wants takes less than the first, and a lease is lost after the last.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 15.0, 60.0];

/// Serves whatever is counted from now on, as text, at `http://ADDRESS/metrics`. Call it inside a tokio runtime, before the
/// first handle is made: handles look up what they count when they are made.
///
/// # Errors
///
/// If the address is not to be had, or a recorder is installed already.
pub fn serve_metrics(address: SocketAddr) -> Result<(), BuildError> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        // Buckets can be added up over all instances; the quantiles that would be there without them cannot.
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?
        .install()
}
