//! Several callers at once: whatever they do happens in some order.

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use fencepost::engine::Engine;
use fencepost::store::{Answer, Entry, Op, Revision};
use std::sync::Arc;

use crate::caller::Caller;
use crate::cases::{Examiner, key, put};
use crate::twin::{Breach, Rule};

/// How many there are, and how many times each of them adds one.
const CALLERS: usize = 8;
const ADDITIONS: u64 = 12;

/// They claim a key together, which one of them wins, and add to a number together, of which nothing is lost.
pub(crate) fn callers_at_once_find_an_order(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let engines: Vec<Arc<dyn Engine>> = (0..CALLERS / 2).map(|_| of.candidate.open()).collect();
    let callers: Vec<Caller> =
        (0..CALLERS).map(|number| Caller::of(engines[number / 2].clone(), of.candidate.patience())).collect();
    for round in 0..10 {
        one_wins(&callers, &format!("{}/claim/{round}", of.space))?;
    }
    nothing_is_lost(&callers, &format!("{}/sum", of.space))?;
    callers.iter().try_for_each(Caller::close)
}

/// Lets everybody do the same at once.
fn all<T: Send>(
    callers: &[Caller],
    what: impl Fn(usize, &Caller) -> Result<T, Breach> + Sync,
) -> Result<Vec<T>, Breach> {
    thread::scope(|scope| {
        let what = &what;
        let running: Vec<_> =
            callers.iter().enumerate().map(|(n, caller)| scope.spawn(move || what(n, caller))).collect();
        running.into_iter().map(|one| one.join().expect("a caller does not panic")).collect()
    })
}

fn one_wins(callers: &[Caller], space: &str) -> Result<(), Breach> {
    let winners = Mutex::new(Vec::new());
    let losers = all(callers, |number, caller| {
        let claim = put("a", None, &number.to_string(), None);
        match caller.call(space, claim)?.reply.answer {
            Answer::Applied(revision) => {
                winners.lock().expect("no panic").push((revision, number.to_string()));
                Ok(None)
            }
            Answer::Refused(Some(Entry { revision, record })) => Ok(Some((revision, record.to_string()))),
            answer => Err(Breach::of(Rule::Atomic, format!("a claim was answered by {answer:?}"))),
        }
    })?;
    let winners = winners.into_inner().expect("no panic");
    let [winner] = &winners[..] else {
        return Err(Breach::of(Rule::Atomic, format!("of {CALLERS} claims at once, these won: {winners:?}")));
    };
    match losers.iter().flatten().find(|shown| *shown != winner) {
        Some(shown) => {
            Err(Breach::of(Rule::Atomic, format!("{winner:?} won, and a loser was shown {shown:?}")))
        }
        None => Ok(()),
    }
}

/// Everybody reads a number and writes one more, as long as nobody else was faster.
fn nothing_is_lost(callers: &[Caller], space: &str) -> Result<(), Breach> {
    let sums = all(callers, |_, caller| {
        let mut mine = Vec::new();
        let until = Instant::now() + caller.patience;
        while mine.len() < ADDITIONS as usize {
            if Instant::now() > until {
                return Err(Breach::of(
                    Rule::Atomic,
                    format!("after {mine:?} nothing can be added any more"),
                ));
            }
            mine.extend(add_one(caller, space)?);
        }
        Ok(mine)
    })?;
    let mut sums: Vec<(u64, Revision)> = sums.into_iter().flatten().collect();
    sums.sort_unstable();
    let expected = 1..=CALLERS as u64 * ADDITIONS;
    if !sums.iter().map(|(sum, _)| *sum).eq(expected) || !sums.is_sorted_by_key(|(_, revision)| *revision) {
        return Err(Breach::of(Rule::Atomic, format!("additions were lost, or out of order: {sums:?}")));
    }
    Ok(())
}

/// The new number and its revision, if it was written.
fn add_one(caller: &Caller, space: &str) -> Result<Option<(u64, Revision)>, Breach> {
    let before = match caller.call(space, Op::Get { key: key("a") })?.reply.answer {
        Answer::Found(found) => found,
        answer => return Err(Breach::of(Rule::Get, format!("a read was answered by {answer:?}"))),
    };
    let sum = before.as_ref().map_or(0, |entry| entry.record.parse().unwrap_or(0)) + 1;
    let over = before.map(|entry| entry.revision);
    match caller.call(space, put("a", over, &sum.to_string(), None))?.reply.answer {
        Answer::Applied(revision) => Ok(Some((sum, revision))),
        Answer::Refused(_) => Ok(None),
        answer => Err(Breach::of(Rule::Known, format!("a write was answered by {answer:?}"))),
    }
}
