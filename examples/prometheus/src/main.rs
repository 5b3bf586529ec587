//! A service with a lock and a job, and what it counts.
//!
//! ```text
//! cargo run --package prometheus 127.0.0.1:9000
//! curl http://127.0.0.1:9000/metrics
//! ```

use std::time::Duration;

use fencepost::calendar::Schedule;
use fencepost::driver::{Job, Mutex, Store};
use fencepost::job::JobConfig;
use fencepost::mutex::MutexConfig;
use prometheus::serve_metrics;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).ok_or("usage: prometheus ADDRESS:PORT")?;
    serve_metrics(address.parse()?)?;
    let store = Store::open("memory:").await?;
    // Of many locks one group makes one series.
    let grouped = MutexConfig::builder().metrics_group("accounts").build()?;
    let accounts =
        ["alice", "bob"].map(|name| Mutex::new(&store, &format!("account/{name}"), grouped.clone()));
    let [alice, bob] = accounts;
    let (alice, bob) = (alice?, bob?);
    let every_second = JobConfig::new(Schedule::every(Duration::from_secs(1))?);
    let transfers = Job::schedule(&store, "transfers", every_second, move |_run| {
        let (alice, bob) = (alice.clone(), bob.clone());
        async move {
            let (from, to) = (alice.lock().await?, bob.lock().await?);
            to.release().await;
            from.release().await;
            Ok::<_, fencepost::driver::LockError>(())
        }
    })?;
    tokio::signal::ctrl_c().await?;
    transfers.close().await;
    Ok(store.close(Duration::from_secs(10)).await?)
}
