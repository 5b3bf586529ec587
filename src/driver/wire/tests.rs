use core::cmp::Ordering;
use core::fmt::Debug;
use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::flag::{self, Flag, Process};
use crate::job::{Job, Meta, Outcome, Progress};
use crate::line::{self, Owner, Place};
use crate::locker::{self, Contender, Locker};
use crate::machine::Identity;
use crate::mutex::Mutex;
use crate::once::{self, JobKey, Message, Once, State, Task};
use crate::run::{self, Record};
use crate::store::FencingToken;
use crate::time::{Span, StoreTime};
use crate::writer::WriterLease;

fn bytes(key: &impl WireKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

fn owners() -> impl Strategy<Value = Owner> {
    (prop_oneof![0..3u64, any::<u64>()], prop_oneof![0..3u32, any::<u32>()])
        .prop_map(|(identity, attempt)| Owner { identity: Identity(identity), attempt })
}

fn line_keys() -> impl Strategy<Value = line::Key> {
    let places = (prop_oneof![0..3u64, any::<u64>()], owners())
        .prop_map(|(since, owner)| Place { since: StoreTime::from_nanos(since), owner });
    prop_oneof![Just(line::Key::Lock), places.prop_map(line::Key::Place)]
}

fn run_keys() -> impl Strategy<Value = run::Key> {
    prop_oneof![line_keys().prop_map(run::Key::Lock), Just(run::Key::Work)]
}

fn job_keys() -> impl Strategy<Value = JobKey> {
    // Bytes that collide with separators, and characters of several bytes, in names that begin alike.
    prop_oneof!["[\u{0}\u{1}aÿ\u{ffff}]{1,4}", "[a-c]{1,3}", "\\PC{1,20}"]
        .prop_map(|name| JobKey::new(&name).unwrap())
}

fn once_keys() -> impl Strategy<Value = once::Key<JobKey>> {
    prop_oneof![
        (job_keys(), line_keys()).prop_map(|(job, key)| once::Key::Lock(job, key)),
        Just(once::Key::Jobs),
        job_keys().prop_map(once::Key::Job),
    ]
}

fn locker_keys() -> impl Strategy<Value = locker::Key> {
    prop_oneof![Just(locker::Key::Lock), Just(locker::Key::Contender)]
}

fn check_key<K: WireKey>(one: &K, other: &K) -> Result<(), TestCaseError> {
    prop_assert_eq!(bytes(one).cmp(&bytes(other)), one.cmp(other));
    prop_assert_eq!(K::read(&bytes(one)), Some(one.clone()));
    let mut longer = bytes(one);
    longer.extend_from_slice(b"\0\0\0");
    prop_assert_ne!(K::read(&longer), Some(one.clone()));
    Ok(())
}

proptest! {
    #[test]
    fn keys_of_a_lock_sort_as_their_bytes(one in line_keys(), other in line_keys()) {
        check_key(&one, &other)?;
    }

    #[test]
    fn keys_of_a_run_sort_as_their_bytes(one in run_keys(), other in run_keys()) {
        check_key(&one, &other)?;
    }

    #[test]
    fn keys_of_a_scheduler_sort_as_their_bytes(one in once_keys(), other in once_keys()) {
        check_key(&one, &other)?;
    }

    #[test]
    fn keys_of_a_preemptive_lock_sort_as_their_bytes(one in locker_keys(), other in locker_keys()) {
        check_key(&one, &other)?;
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = (line::Key::read(&bytes), run::Key::read(&bytes), once::Key::<JobKey>::read(&bytes));
        let _ = locker::Key::read(&bytes);
    }
}

/// An encoding that does not keep the order, which the tests above must reject.
#[test]
fn an_encoding_that_ends_texts_with_a_plain_nul_is_caught() {
    let plain = |job: &str, rest: u8| {
        let mut bytes = job.as_bytes().to_vec();
        bytes.extend_from_slice(&[0, rest]);
        bytes
    };
    assert_eq!(("a", 1).cmp(&("a\0", 0)), Ordering::Less);
    assert_eq!(plain("a", 1).cmp(&plain("a\0", 0)), Ordering::Greater);
}

/// What instances of other versions read and write. Changing a line here is changing the format.
#[test]
fn the_format_is_pinned() {
    fn check<R: Serialize + DeserializeOwned + PartialEq + Debug>(record: R, text: &str) {
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<R>(text).unwrap(), record);
    }
    let owner = Owner { identity: Identity(u64::MAX), attempt: 3 };
    let at = StoreTime::from_nanos;
    check::<<Mutex as Wire>::Record>(owner, r#"{"identity":18446744073709551615,"attempt":3}"#);
    check::<<WriterLease<u8> as Wire>::Record>(owner, r#"{"identity":18446744073709551615,"attempt":3}"#);
    check::<<Job as Wire>::Record>(
        Record::Lock(owner),
        r#"{"Lock":{"identity":18446744073709551615,"attempt":3}}"#,
    );
    let owner = Owner { identity: Identity(7), attempt: 3 };
    let progress = Progress::Ended { at: at(30), outcome: Outcome::Succeeded };
    let meta = Meta { occurrence: at(10), started: at(20), busy_since: None, progress, runs: 4, owner };
    check::<<Job as Wire>::Record>(
        Record::Work(Meta { busy_since: Some(at(15)), ..meta }),
        r#"{"Work":{"occurrence":10,"started":20,"busy_since":15,"progress":{"ended":{"at":30,"outcome":"succeeded"}},"runs":4,"owner":{"identity":7,"attempt":3}}}"#,
    );
    check::<<Job as Wire>::Record>(
        Record::Work(meta),
        r#"{"Work":{"occurrence":10,"started":20,"progress":{"ended":{"at":30,"outcome":"succeeded"}},"runs":4,"owner":{"identity":7,"attempt":3}}}"#,
    );
    type Scheduler = Once<JobKey, Payload>;
    let state = State::Claimed { by: owner, at: at(5) };
    let props = Payload::new(r#"{"a":"b"}"#);
    check::<<Scheduler as Wire>::Record>(
        Record::Work(Task { due: at(9), generation: owner, attempt: 1, state, props }),
        r#"{"Work":{"due":9,"generation":{"identity":7,"attempt":3},"attempt":1,"state":{"claimed":{"by":{"identity":7,"attempt":3},"at":5}},"props":"{\"a\":\"b\"}"}}"#,
    );
    let message =
        Message::Scheduled { key: JobKey::new("k").unwrap(), due: at(9), wait: Span::from_nanos(4) };
    let text = r#"{"scheduled":{"key":"k","due":9,"wait":4}}"#;
    assert_eq!(Scheduler::write_message(&message).as_deref(), Some(text));
    assert_eq!(Scheduler::read_message(text), Some(message));
    assert_eq!(Scheduler::read_message("{}"), None);

    let process = Process::new("p").unwrap();
    check::<<Flag as Wire>::Record>(
        flag::Record { owner, process: process.clone() },
        r#"{"owner":{"identity":7,"attempt":3},"process":"p"}"#,
    );
    let petition = flag::Message::Petition { term: FencingToken(5), number: owner, by: process };
    let text = r#"{"petition":{"term":5,"number":{"identity":7,"attempt":3},"by":"p"}}"#;
    assert_eq!(Flag::write_message(&petition).as_deref(), Some(text));
    assert_eq!(Flag::read_message(text), Some(petition));
    assert_eq!(Flag::write_message(&flag::Message::Freed), None, "engines say that themselves");

    check::<<Locker as Wire>::Record>(
        locker::Record::Held { owner, priority: 1 },
        r#"{"Held":{"owner":{"identity":7,"attempt":3},"priority":1}}"#,
    );
    check::<<Locker as Wire>::Record>(
        locker::Record::Revoked(owner),
        r#"{"Revoked":{"identity":7,"attempt":3}}"#,
    );
    let message = "m".into();
    check::<<Locker as Wire>::Record>(
        locker::Record::Contender(Contender { owner, priority: 1, asked: at(9), since: at(8), message }),
        r#"{"Contender":{"owner":{"identity":7,"attempt":3},"priority":1,"asked":9,"since":8,"message":"m"}}"#,
    );
    assert_eq!(Locker::write_message(&locker::Hint::Asked).as_deref(), Some(r#""asked""#));
    assert_eq!(Locker::read_message(r#""asked""#), Some(locker::Hint::Asked));
    assert_eq!(Locker::write_message(&locker::Hint::Freed), None, "engines say that themselves");

    let hex = |key: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        key(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let place = line::Key::Place(Place { since: at(258), owner });
    let job = JobKey::new("a\0b").unwrap();
    assert_eq!(hex(&|bytes| line::Key::Lock.write(bytes)), "00");
    assert_eq!(hex(&|bytes| ().write(bytes)), "00");
    assert_eq!(hex(&|bytes| locker::Key::Lock.write(bytes)), "00");
    assert_eq!(hex(&|bytes| locker::Key::Contender.write(bytes)), "01");
    assert_eq!(hex(&|bytes| place.write(bytes)), "010000000000000102000000000000000700000003");
    assert_eq!(hex(&|bytes| run::Key::Lock(line::Key::Lock).write(bytes)), "0000");
    assert_eq!(hex(&|bytes| run::Key::Work.write(bytes)), "01");
    assert_eq!(hex(&|bytes| once::Key::Lock(job.clone(), line::Key::Lock).write(bytes)), "006100ff620000");
    assert_eq!(hex(&|bytes| once::Key::<JobKey>::Jobs.write(bytes)), "01");
    assert_eq!(hex(&|bytes| once::Key::Job(job.clone()).write(bytes)), "02610062");
}
