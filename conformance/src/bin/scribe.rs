//! `scribe PATH`: adds one to a number in a file, again and again, and writes down what was acknowledged. Tests
//! start several of them on one file, and kill them.

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use fencepost::engine::sqlite::{Sqlite, SqliteOptions};
use fencepost::store::{Answer, Expect, Op};
use fencepost_conformance::Caller;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: scribe PATH")?;
    let engine = Sqlite::open(path, &SqliteOptions::default())?;
    let caller = Caller::of(std::sync::Arc::new(engine), Duration::from_secs(60));
    loop {
        let key = || Box::from(*b"sum");
        let Answer::Found(found) = caller.insist("scribes", &Op::Get { key: key() })?.answer else {
            continue;
        };
        let sum: u64 = found.as_ref().map_or(Ok(0), |entry| entry.record.parse())?;
        let expect = found.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let record = (sum + 1).to_string().into();
        let put = Op::PutIf { key: key(), expect, record, ttl: None };
        if let Answer::Applied(revision) = caller.call("scribes", put)?.reply.answer {
            writeln!(stdout(), "{} {}", sum + 1, revision.0)?;
        }
    }
}
