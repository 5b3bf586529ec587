//! A writer: takes the lock, waits for a line, and writes it to the page without looking whether it still holds the lock.
//!
//! ```text
//! cargo run --package fenced-resource -- /tmp/fenced
//! ```
//!
//! Start it in two terminals, with a folder that is there. Stop the first one with Ctrl-Z, give the second one a line, bring
//! the first one back with `fg`, and give it a line: the page refuses it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use fenced_resource::Page;
use fencepost::driver::blocking::{Mutex, Store};
use fencepost::mutex::MutexConfig;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: fenced-resource FOLDER")?);
    let page = Page::open(&folder.join("page.db"))?;
    let store = Store::open(&format!("sqlite:{}", folder.join("locks.db").display()))?;
    let secs = Duration::from_secs;
    let config =
        MutexConfig::builder().ttl(secs(6)).refresh_interval(secs(2)).renew_timeout(secs(1)).build()?;
    let mutex = Mutex::new(&store, "page", config)?;

    let guard = mutex.lock()?;
    writeln!(io::stdout(), "holding, token {}", guard.token().0)?;
    let mut text = String::new();
    io::stdin().read_line(&mut text)?;
    // A careful writer would look at guard.is_held() first, and still be too late if it is paused just here.
    let written = page.write(guard.token(), text.trim_end());
    writeln!(io::stdout(), "held: {}", guard.is_held())?;
    guard.release();
    store.close(Duration::from_secs(10))?;
    Ok(written?)
}
