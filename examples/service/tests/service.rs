//! Two instances, as in the example's main.
#![allow(clippy::disallowed_types, reason = "a test has a deadline")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::driver::Store;
use fencepost::engine::memory::Memory;
use service::{Error, Ledger, Service};

const SOON: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn instances_write_in_turns_sum_once_and_remind_once() -> Result<(), Error> {
    let memory = Memory::new();
    let ledger = Arc::new(Ledger::default());
    let start = |name| Service::start(Store::start(memory.share())?, name, ledger.clone());
    let (here, there) = (start("here")?, start("there")?);
    for amount in 1..=10 {
        tokio::try_join!(here.write(amount), there.write(amount))?;
    }
    assert_eq!(ledger.total(), 2 * 55);
    here.remind("17", Duration::ZERO, "water the plants").await?;
    here.remind("18", HOUR, "buy a watering can").await?;
    assert!(there.remind("18", HOUR, "again").await.is_err(), "the key is taken");
    let began = Instant::now();
    while !here.lead()? {
        assert!(began.elapsed() < SOON, "the first one that stood does not lead");
        tokio::task::yield_now().await;
    }
    while there.leader().as_deref() != Some("here") {
        assert!(began.elapsed() < SOON, "the other one does not see it");
        tokio::task::yield_now().await;
    }
    assert!(!there.lead()?, "one of them leads");
    assert_eq!(ledger.written(), 2 * 55);
    while ledger.reminders().is_empty() || ledger.sums().is_empty() {
        assert!(began.elapsed() < SOON, "nobody reminds or sums");
        tokio::task::yield_now().await;
    }
    here.stop().await?;
    while !there.lead()? {
        assert!(began.elapsed() < SOON, "nobody leads after it");
        tokio::task::yield_now().await;
    }
    there.stop().await?;
    assert_eq!(ledger.reminders(), ["water the plants"]);
    assert_eq!(ledger.sums().len(), 1, "one of the two has made it");
    Ok(())
}

#[test]
fn a_writer_with_an_old_token_is_refused() {
    let ledger = Ledger::default();
    assert!(ledger.write(fencepost::store::FencingToken(7), 1).is_ok());
    let error = ledger.write(fencepost::store::FencingToken(6), 1).expect_err("it comes too late");
    assert_eq!(error.to_string(), "token 6 comes after 7");
    assert!(ledger.balance(fencepost::store::FencingToken(3)).is_ok(), "terms are counted for themselves");
    let error = ledger.balance(fencepost::store::FencingToken(2)).expect_err("so does this");
    assert_eq!(error.to_string(), "token 2 comes after 3");
}

#[test]
fn the_program_runs_to_its_end() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_service")).output().expect("it is there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("leads") && said.contains("110 in the ledger"), "{said}");
}
