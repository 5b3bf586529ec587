//! What a held lock costs in memory.
#![cfg(feature = "tokio")]

use allocation_counter::measure;
use fencepost::driver::{Guard, Mutex, Store};
use fencepost::mutex::MutexConfig;

const LOCKS: usize = 10_000;
const BYTES_MAX: i64 = 1_024;

/// Its handle, its machine, its guard, its timer, and what the engine in memory keeps of it, all together.
#[tokio::test]
async fn ten_thousand_held_locks_take_less_than_a_kilobyte_each_and_give_it_back() {
    let store = Store::memory();
    let mut held: Vec<(Mutex, Guard)> = Vec::with_capacity(LOCKS);
    let names: Vec<_> = (0..LOCKS).map(|number| format!("lock {number}")).collect();
    let mut futures = Vec::with_capacity(1);
    let taken = measure(|| {
        for name in &names {
            let mutex = Mutex::new(&store, name, MutexConfig::default()).expect("it is a key");
            // On the engine in memory, it is ready when it is polled first.
            futures.push(Box::pin(async move {
                let guard = mutex.lock().await.expect("nobody else wants it");
                (mutex, guard)
            }));
            let mut future = futures.pop().expect("it was pushed just now");
            let waker = std::task::Waker::noop();
            match future.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
                std::task::Poll::Ready(lock) => held.push(lock),
                std::task::Poll::Pending => panic!("it waits"),
            }
        }
    });
    assert!(held.iter().all(|(_, guard)| guard.is_held()));
    let each = taken.bytes_current / LOCKS as i64;
    println!("{each} bytes in {} allocations per held lock", taken.count_current / LOCKS as i64);
    assert!(each < BYTES_MAX, "{each} bytes per held lock");

    let given_back = measure(|| held.clear());
    let left = (taken.bytes_current + given_back.bytes_current) / LOCKS as i64;
    assert!(left < 16, "{left} bytes are left of each lock");
}
