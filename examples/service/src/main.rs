//! Two instances of the service on one store in memory.
//!
//! ```text
//! cargo run --package service
//! ```

use std::sync::Arc;
use std::time::Duration;

use fencepost::driver::Store;
use fencepost::engine::memory::Memory;
use service::{Error, Ledger, Service};

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Each instance would open a store of its own: Store::open("postgres://…").
    let memory = Memory::new();
    let ledger = Arc::new(Ledger::default());
    let here = Service::start(Store::start(memory.share())?, "here", ledger.clone())?;
    let there = Service::start(Store::start(memory.share())?, "there", ledger.clone())?;
    for amount in 1..=10 {
        tokio::try_join!(here.write(amount), there.write(amount))?;
    }
    here.remind("17", Duration::ZERO, "water the plants").await?;
    println!("{} leads", here.leader().unwrap_or_else(|| "nobody".into()));
    there.stop().await?;
    here.stop().await?;
    println!("{} in the ledger, reminders {:?}", ledger.total(), ledger.reminders());
    Ok(())
}
