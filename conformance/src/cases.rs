//! The rows of the contract, one case each.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use fencepost::engine::survey::Stored;
use fencepost::engine::{EngineAnswer, EngineOp, Key, Reply, Request, Responder, Text};
use fencepost::store::{Answer, Entry, Op, Revision};
use fencepost::time::{Span, StoreTime};

use crate::caller::{Caller, Heard};
use crate::candidate::{Candidate, Settable};
use crate::crowd;
use crate::twin::{Breach, Rule, Twin, expecting};
use crate::walk;

type Case = fn(&mut Examiner<'_>) -> Result<(), Breach>;

/// Goes through everything that a store owes, and says what was broken first.
pub fn examine(candidate: &dyn Candidate) -> Result<(), Breach> {
    let cases: [Case; 16] = [
        a_read_shows_what_was_written,
        a_write_is_applied_if_it_finds_what_it_expects,
        a_renewal_prolongs_its_own_acquisition,
        a_deletion_removes_its_own_acquisition,
        a_page_has_what_comes_after_in_order,
        spaces_have_nothing_to_do_with_each_other,
        an_entry_lives_for_as_long_as_it_was_told_to,
        what_expired_is_gone_for_every_operation,
        revisions_grow_over_deletion_and_expiry,
        texts_and_keys_come_back_as_they_were,
        a_survey_shows_what_lives,
        walk::at_random,
        requests_about_a_space_keep_their_order,
        hints_are_heard,
        what_was_acknowledged_outlives_its_store,
        crowd::callers_at_once_find_an_order,
    ];
    let mut examiner = Examiner::new(candidate);
    for case in cases {
        examiner.space = Arc::from(format!("case/{}", examiner.cases));
        examiner.cases += 1;
        case(&mut examiner)?;
    }
    examiner.closes()
}

/// Sets the clock of a store back and ahead, and says whether an entry died by anything else than that clock: late, if it is
/// set back, and early, if it is set ahead.
pub fn examine_steps(candidate: &dyn Settable) -> Result<(), Breach> {
    const MINUTE: i64 = 60_000_000_000;
    let mut examiner = Examiner::new(candidate);
    let of = &mut examiner;
    let set = |of: &mut Examiner<'_>, nanos| {
        candidate.set_clock(nanos);
        of.twin.clock_was_set();
        of.ask(get("clock")).map(drop)
    };
    of.space = "steps".into();
    let first = of.written(put("a", None, "a", millis(20)))?;
    let deleted = of.written(put("b", None, "b", None))?;
    of.expect(Rule::DeleteIf, delete("b", deleted), &Answer::Applied(deleted))?;
    set(of, -MINUTE)?;
    of.wait_until(of.twin.last() + Span::from_millis(30))?;
    of.expect(Rule::NotEarly, get("a"), &Answer::Found(Some(entry(first, "a"))))?;
    of.expect(Rule::PutIf, put("a", None, "", None), &Answer::Refused(Some(entry(first, "a"))))?;
    // Revisions do not follow the clock.
    let again = of.written(put("b", None, "b", None))?;
    of.expect(Rule::Get, get("b"), &Answer::Found(Some(entry(again, "b"))))?;
    // A renewal counts from the new time.
    of.expect(Rule::Renew, renew("a", first, 20), &Answer::Applied(first))?;
    of.wait_until(of.twin.last() + Span::from_millis(20))?;
    of.expect(Rule::NotLate, get("a"), &Answer::Found(None))?;
    let second = of.written(put("a", None, "a", millis(30_000)))?;
    of.expect(Rule::NotEarly, get("a"), &Answer::Found(Some(entry(second, "a"))))?;
    set(of, MINUTE)?;
    of.expect(Rule::NotLate, get("a"), &Answer::Found(None))?;
    of.written(put("a", None, "next", None)).map(drop)
}

/// Two handles on one store, and its twin.
pub(crate) struct Examiner<'a> {
    pub(crate) candidate: &'a dyn Candidate,
    pub(crate) callers: [Caller; 2],
    pub(crate) twin: Twin,
    pub(crate) space: Arc<str>,
    cases: u32,
    calls: usize,
}

pub(crate) fn key(name: &str) -> Key {
    name.as_bytes().into()
}

pub(crate) fn millis(millis: u64) -> Option<Span> {
    Some(Span::from_millis(millis))
}

fn entry(revision: Revision, record: &str) -> Entry<Text> {
    Entry { revision, record: record.into() }
}

fn get(name: &str) -> EngineOp {
    Op::Get { key: key(name) }
}

/// Writes over an entry of this revision, or over none.
pub(crate) fn put(name: &str, over: Option<Revision>, record: &str, ttl: Option<Span>) -> EngineOp {
    Op::PutIf { key: key(name), expect: expecting(over), record: record.into(), ttl }
}

fn renew(name: &str, revision: Revision, ttl: u64) -> EngineOp {
    Op::Renew { key: key(name), revision, ttl: Span::from_millis(ttl) }
}

fn delete(name: &str, revision: Revision) -> EngineOp {
    Op::DeleteIf { key: key(name), revision }
}

impl Examiner<'_> {
    fn new(candidate: &dyn Candidate) -> Examiner<'_> {
        let callers = [(); 2].map(|()| Caller::new(candidate));
        let twin = Twin::new(callers[0].engine.limits());
        Examiner { candidate, callers, twin, space: "".into(), cases: 0, calls: 0 }
    }

    /// One of the two asks, and the twin judges the answer.
    pub(crate) fn ask(&mut self, op: EngineOp) -> Result<EngineAnswer, Breach> {
        self.calls += 1;
        let exchange = self.callers[self.calls % 2].call(&self.space, op)?;
        self.twin.judge(&exchange)?;
        Ok(exchange.reply.answer)
    }

    /// The answer has to be this one, whatever the twin says.
    fn expect(&mut self, rule: Rule, op: EngineOp, expected: &EngineAnswer) -> Result<(), Breach> {
        // Which promise is at stake, the case knows better than the twin.
        let answer = self.ask(op.clone()).map_err(|breach| match breach.rule {
            Rule::Get | Rule::PutIf | Rule::Renew | Rule::DeleteIf | Rule::List => Breach { rule, ..breach },
            _ => breach,
        })?;
        if answer == *expected {
            return Ok(());
        }
        Err(Breach::of(rule, format!("{op:?}: {answer:?} instead of {expected:?}")))
    }

    /// A write that has to be applied; its revision.
    fn written(&mut self, op: EngineOp) -> Result<Revision, Breach> {
        match self.ask(op.clone())? {
            Answer::Applied(revision) => Ok(revision),
            answer => Err(Breach::of(Rule::PutIf, format!("{op:?}: {answer:?} instead of applied"))),
        }
    }

    /// Waits until the store's clock shows this hour.
    pub(crate) fn wait_until(&mut self, hour: StoreTime) -> Result<(), Breach> {
        let until = Instant::now() + self.callers[0].patience;
        while self.twin.last() < hour {
            if Instant::now() > until {
                return Err(Breach::of(Rule::Clock, format!("it is not {hour:?} yet, and will not be")));
            }
            self.ask(get("clock"))?;
        }
        Ok(())
    }

    /// Closes both handles, one of them while it has much to do.
    fn closes(&self) -> Result<(), Breach> {
        let [busy, idle] = &self.callers;
        let (answer, answered) = channel();
        for number in 0..100 {
            let answer = answer.clone();
            let op = put(&number.to_string(), None, "", None);
            let to = Responder::new(move |reply| drop(answer.send(reply)));
            busy.engine.submit(Request { space: "close".into(), op }, to);
        }
        drop(answer);
        busy.engine.publish("close", "last words");
        busy.close()?;
        let last_words = Heard::Message("close".into(), "last words".into());
        if self.candidate.has_hints() && !idle.listener.hears(idle.patience, &last_words) {
            return Err(Breach::of(Rule::Hints, "what was published before the close was heard by nobody"));
        }
        busy.close()?;
        idle.close()?;
        let answers = std::iter::from_fn(|| answered.recv_timeout(busy.patience).ok()).count();
        if answers != 100 {
            return Err(Breach::of(
                Rule::Answered,
                format!("{answers} of 100 requests were answered in closing"),
            ));
        }
        match busy.call("close", get("0"))?.reply.answer {
            Answer::Unknown => Ok(()),
            answer => Err(Breach::of(Rule::Closed, format!("it is closed, and answers {answer:?}"))),
        }
    }
}

fn a_read_shows_what_was_written(of: &mut Examiner<'_>) -> Result<(), Breach> {
    of.expect(Rule::Get, get("a"), &Answer::Found(None))?;
    let revision = of.written(put("a", None, "first", None))?;
    of.expect(Rule::Get, get("a"), &Answer::Found(Some(entry(revision, "first"))))?;
    of.expect(Rule::Get, get("b"), &Answer::Found(None))?;
    let revision = of.written(put("a", Some(revision), "second", None))?;
    of.expect(Rule::Get, get("a"), &Answer::Found(Some(entry(revision, "second"))))
}

fn a_write_is_applied_if_it_finds_what_it_expects(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let rule = Rule::PutIf;
    of.expect(rule, put("a", Some(Revision(7)), "nothing there", None), &Answer::Refused(None))?;
    let first = of.written(put("a", None, "first", None))?;
    let there = Answer::Refused(Some(entry(first, "first")));
    of.expect(rule, put("a", None, "there already", None), &there)?;
    of.expect(rule, put("a", Some(Revision(first.0 + 1)), "not that one", None), &there)?;
    of.expect(rule, put("a", Some(Revision::ANY), "no such thing", None), &there)?;
    of.expect(rule, get("a"), &Answer::Found(Some(entry(first, "first"))))?;
    let second = of.written(put("a", Some(first), "second", None))?;
    let there = Answer::Refused(Some(entry(second, "second")));
    of.expect(rule, put("a", Some(first), "too late", None), &there)?;
    of.expect(rule, put("a", None, "still there", None), &there)
}

fn a_renewal_prolongs_its_own_acquisition(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let rule = Rule::Renew;
    of.expect(rule, renew("a", Revision(7), 50), &Answer::Refused(None))?;
    let first = of.written(put("a", None, "first", millis(30)))?;
    let begun = of.twin.last();
    of.expect(rule, renew("a", first, 90_000), &Answer::Applied(first))?;
    of.wait_until(begun + Span::from_millis(40))?;
    of.expect(Rule::NotEarly, get("a"), &Answer::Found(Some(entry(first, "first"))))?;
    let second = of.written(put("a", Some(first), "second", millis(20)))?;
    let begun = of.twin.last();
    of.expect(rule, renew("a", first, 90_000), &Answer::Refused(None))?;
    of.expect(rule, renew("a", Revision::ANY, 90_000), &Answer::Refused(None))?;
    of.wait_until(begun + Span::from_millis(25))?;
    of.expect(rule, renew("a", second, 90_000), &Answer::Refused(None))?;
    let third = of.written(put("a", None, "for ever", None))?;
    of.expect(rule, renew("a", third, 20), &Answer::Applied(third))?;
    let begun = of.twin.last();
    of.wait_until(begun + Span::from_millis(25))?;
    of.expect(Rule::NotLate, get("a"), &Answer::Found(None))
}

fn a_deletion_removes_its_own_acquisition(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let rule = Rule::DeleteIf;
    of.expect(rule, delete("a", Revision(7)), &Answer::Refused(None))?;
    let first = of.written(put("a", None, "first", millis(90_000)))?;
    let second = of.written(put("a", Some(first), "second", millis(90_000)))?;
    of.expect(rule, delete("a", first), &Answer::Refused(None))?;
    of.expect(rule, delete("a", Revision::ANY), &Answer::Refused(None))?;
    of.expect(rule, get("a"), &Answer::Found(Some(entry(second, "second"))))?;
    of.expect(rule, delete("a", second), &Answer::Applied(second))?;
    of.expect(rule, delete("a", second), &Answer::Refused(None))?;
    of.expect(rule, get("a"), &Answer::Found(None))
}

fn a_page_has_what_comes_after_in_order(of: &mut Examiner<'_>) -> Result<(), Breach> {
    // Bytes decide, not letters: a key is no text, and nobody's language orders it.
    let keys: [&[u8]; 8] = [b"\0", b"A", b"a", b"a\0", b"ab", b"b", b"\x7f\xff", b"\xff"];
    let mut page = Vec::new();
    for at in [3, 7, 0, 5, 1, 6, 2, 4] {
        let (key, record) = (Key::from(keys[at]), Text::from(at.to_string()));
        let op = Op::PutIf { key: key.clone(), expect: expecting(None), record: record.clone(), ttl: None };
        let revision = of.written(op)?;
        page.push((key, Entry { revision, record }));
    }
    page.sort_by(|(one, _), (other, _)| one.cmp(other));
    let list = |after: &[u8], limit| Op::List { after: after.into(), limit };
    let listed = |range: std::ops::Range<usize>| Answer::Listed(page[range].to_vec());
    of.expect(Rule::List, list(b"a", 2), &listed(3..5))?;
    of.expect(Rule::List, list(b"b", 9), &listed(6..8))?;
    of.expect(Rule::List, list(b"", 3), &listed(0..3))?;
    of.expect(Rule::List, list(b"aa", 1), &listed(4..5))?;
    of.expect(Rule::List, list(b"", 0), &listed(0..0))?;
    of.expect(Rule::List, list(b"\xff", 9), &listed(8..8))?;
    // Only now, as nobody knows how long all of this takes on a busy machine.
    let (key, Entry { revision, .. }) = page.remove(4);
    of.expect(
        Rule::Renew,
        Op::Renew { key, revision, ttl: Span::from_millis(20) },
        &Answer::Applied(revision),
    )?;
    of.wait_until(of.twin.last() + Span::from_millis(20))?;
    of.expect(Rule::List, list(b"", 9), &Answer::Listed(page))
}

fn spaces_have_nothing_to_do_with_each_other(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let one = of.space.clone();
    let revision = of.written(put("a", None, "one", None))?;
    of.space = format!("{one}/other").into();
    of.expect(Rule::Get, get("a"), &Answer::Found(None))?;
    of.expect(Rule::List, Op::List { after: key(""), limit: 9 }, &Answer::Listed(Vec::new()))?;
    of.expect(Rule::DeleteIf, delete("a", revision), &Answer::Refused(None))?;
    of.expect(Rule::Renew, renew("a", revision, 1), &Answer::Refused(None))?;
    of.written(put("a", None, "other", None))?;
    of.space = one;
    of.expect(Rule::Get, get("a"), &Answer::Found(Some(entry(revision, "one"))))
}

fn an_entry_lives_for_as_long_as_it_was_told_to(of: &mut Examiner<'_>) -> Result<(), Breach> {
    for ttl in [1, 7, 30] {
        let revision = of.written(put("a", None, "short", millis(ttl)))?;
        let dies = of.twin.last() + Span::from_millis(ttl);
        while of.twin.last() < dies {
            let answer = of.ask(get("a"))?;
            let expected = (of.twin.last() < dies).then(|| entry(revision, "short"));
            if answer != Answer::Found(expected) {
                let what = format!("{answer:?} at {:?} of an entry that dies at {dies:?}", of.twin.last());
                return Err(Breach::of(Rule::NotEarly, what));
            }
        }
        of.expect(Rule::NotLate, get("a"), &Answer::Found(None))?;
    }
    of.written(put("b", None, "for ever", Some(Span::MAX)))?;
    of.written(put("c", None, "for ever", None))?;
    of.written(put("d", None, "for a century", Some(Span::from_secs(3_000_000_000))))?;
    of.ask(get("b")).and_then(|_| of.ask(get("c"))).and_then(|_| of.ask(get("d"))).map(drop)
}

fn what_expired_is_gone_for_every_operation(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let mut dead = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        dead.push(of.written(put(name, None, "short", millis(5)))?);
    }
    of.wait_until(of.twin.last() + Span::from_millis(5))?;
    of.expect(Rule::Renew, renew("a", dead[0], 90_000), &Answer::Refused(None))?;
    of.expect(Rule::DeleteIf, delete("b", dead[1]), &Answer::Refused(None))?;
    of.expect(Rule::PutIf, put("c", Some(dead[2]), "over the dead", None), &Answer::Refused(None))?;
    of.expect(Rule::List, Op::List { after: key(""), limit: 9 }, &Answer::Listed(Vec::new()))?;
    let next = of.written(put("d", None, "next", None))?;
    of.expect(Rule::Renew, renew("d", dead[3], 1), &Answer::Refused(None))?;
    of.expect(Rule::DeleteIf, delete("d", dead[3]), &Answer::Refused(None))?;
    of.expect(Rule::Get, get("d"), &Answer::Found(Some(entry(next, "next"))))?;
    of.expect(Rule::Get, get("e"), &Answer::Found(None))
}

fn revisions_grow_over_deletion_and_expiry(of: &mut Examiner<'_>) -> Result<(), Breach> {
    for _ in 0..3 {
        let revision = of.written(put("a", None, "deleted", None))?;
        of.expect(Rule::DeleteIf, delete("a", revision), &Answer::Applied(revision))?;
        of.written(put("a", None, "short", millis(3)))?;
        of.wait_until(of.twin.last() + Span::from_millis(3))?;
    }
    Ok(())
}

fn texts_and_keys_come_back_as_they_were(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let long = "ß\u{1F980}\"'\\%$1\n\t:".repeat(5_000);
    let longest = "k".repeat(of.callers[0].engine.limits().key_bytes_max);
    for (name, record) in
        [("", "an empty key"), ("a", ""), ("b", "{\"n\":1}"), ("c", &long), (&longest, "a long key")]
    {
        let revision = of.written(put(name, None, record, None))?;
        of.expect(Rule::Get, get(name), &Answer::Found(Some(entry(revision, record))))?;
    }
    let one = of.space.clone();
    for space in ["", "mutex/ß\u{1F980} \"'%/\\"] {
        of.space = format!("{one}{space}/odd").into();
        of.written(put("a", None, "", None))?;
    }
    Ok(())
}

/// People look by prefixes of spaces, whatever these mean in patterns.
fn a_survey_shows_what_lives(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let one = of.space.clone();
    let mut stored = Vec::new();
    for (space, name, ttl) in [
        ("job/a", "\u{1}", None),
        ("mutex/A", "\0", millis(3_600_000)),
        ("mutex/a", "\0", millis(3_600_000)),
        ("mutex/a", "\u{1}ß", None),
        ("mutex/a_%", "\0", millis(3_600_000)),
    ] {
        of.space = format!("{one}/{space}").into();
        let revision = of.written(put(name, None, space, ttl))?;
        let until = ttl.map(|ttl| of.twin.last() + ttl);
        let entry = entry(revision, space);
        stored.push(Stored { space: String::from(&*of.space), key: key(name), entry, until });
    }
    of.space = format!("{one}/mutex/dead").into();
    of.written(put("a", None, "", millis(5)))?;
    of.wait_until(of.twin.last() + Span::from_millis(5))?;
    for (prefix, range) in [("", 0..5), ("mutex/a", 2..5), ("mutex/a_", 4..5), ("mutex/b", 0..0)] {
        let Some(survey) = of.callers[0].survey(&format!("{one}/{prefix}"))? else { return Ok(()) };
        if survey.entries != stored[range.clone()] {
            let what = format!("{prefix:?}: {:?} instead of {:?}", survey.entries, &stored[range]);
            return Err(Breach::of(Rule::Survey, what));
        }
    }
    Ok(())
}

/// Asks much without waiting for answers: what was asked before is done before.
fn requests_about_a_space_keep_their_order(of: &mut Examiner<'_>) -> Result<(), Breach> {
    let (answer, answered) = channel::<(usize, Reply)>();
    let engine = &of.callers[0].engine;
    for number in 0..200 {
        let name = (number / 2).to_string();
        let op = if number % 2 == 0 { put(&name, None, &name, None) } else { get(&name) };
        let answer = answer.clone();
        let to = Responder::new(move |reply| drop(answer.send((number, reply))));
        let request = Request { space: of.space.clone(), op };
        match engine.answer(&request) {
            Some(reply) => to.answer(reply),
            None => engine.submit(request, to),
        }
    }
    for _ in 0..200 {
        let Ok((number, reply)) = answered.recv_timeout(of.callers[0].patience) else {
            return Err(Breach::of(Rule::Answered, "of 200 requests at once, some were not answered"));
        };
        let is_seen = match &reply.answer {
            Answer::Found(found) => {
                found.as_ref().is_some_and(|found| *found.record == (number / 2).to_string())
            }
            Answer::Applied(_) => true,
            Answer::Refused(_) | Answer::Listed(_) | Answer::Unknown => false,
        };
        if !is_seen {
            return Err(Breach::of(
                Rule::Order,
                format!("request {number}, sent after its write: {reply:?}"),
            ));
        }
    }
    Ok(())
}

fn hints_are_heard(of: &mut Examiner<'_>) -> Result<(), Breach> {
    if !of.candidate.has_hints() {
        return Ok(());
    }
    let heard_by_both = |of: &Examiner<'_>, hint: &Heard| {
        for (who, caller) in of.callers.iter().enumerate() {
            if !caller.listener.hears(caller.patience, hint) {
                let heard = caller.listener.heard();
                let last = &heard[heard.len().saturating_sub(5)..];
                return Err(Breach::of(
                    Rule::Hints,
                    format!("handle {who} has not heard {hint:?}; last {last:?}"),
                ));
            }
        }
        Ok(())
    };
    let one = of.space.clone();
    for space in [format!("{one}"), format!("{one} ß\"'\\:\u{1F980}"), "s".repeat(300)] {
        of.space = space.as_str().into();
        let revision = of.written(put("a", None, "", None))?;
        of.expect(Rule::DeleteIf, delete("a", revision), &Answer::Applied(revision))?;
        heard_by_both(of, &Heard::Freed(space.clone()))?;
        for text in ["", "freed", "ß\u{1F980}\"'\\:\n"] {
            of.callers[1].engine.publish(&space, text);
            heard_by_both(of, &Heard::Message(space.clone(), text.into()))?;
        }
    }
    // Some stores cannot carry so much: then everybody has to look.
    let long = "x".repeat(20_000);
    of.callers[0].engine.publish(&one, &long);
    heard_by_both(of, &Heard::Message(one.to_string(), long))
}

fn what_was_acknowledged_outlives_its_store(of: &mut Examiner<'_>) -> Result<(), Breach> {
    if !of.candidate.is_durable() {
        return Ok(());
    }
    let kept = of.written(put("kept", None, "kept", None))?;
    of.written(put("short", None, "short", millis(5)))?;
    let gone = of.written(put("gone", None, "gone", None))?;
    of.expect(Rule::DeleteIf, delete("gone", gone), &Answer::Applied(gone))?;
    of.candidate.restart();
    of.callers[1].insist(&of.space, &get("clock"))?;
    for at in 0..of.callers.len() {
        of.callers[at].close()?;
        of.callers[at] = Caller::new(of.candidate);
        of.callers[at].insist(&of.space, &get("clock"))?;
    }
    of.expect(Rule::Durable, get("kept"), &Answer::Found(Some(entry(kept, "kept"))))?;
    of.expect(Rule::Durable, get("gone"), &Answer::Found(None))?;
    of.written(put("gone", None, "again", None))?;
    of.wait_until(of.twin.last() + Span::from_millis(5))?;
    of.written(put("short", None, "again", None))?;
    of.written(put("kept", Some(kept), "over it", None)).map(drop)
}
