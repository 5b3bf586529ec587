//! What a thread is at: whose machine it steps, and whom it is telling something.
//!
//! An engine that answers at once tells what was freed within the step that frees it, and whoever hears of that may free
//! something in turn. What is told while something is told waits until that is done, so a thread's stack does not grow with
//! the number of those who hear.

use core::cell::{Cell, RefCell};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::vec::Vec;

use super::index::Resident;

/// What a machine hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// Something was deleted in its space.
    Freed,
    /// Somebody has published this in its space.
    Message(Cow<'a, str>),
    /// Anything may have happened.
    Missed,
}

impl Word<'_> {
    fn kept(&self) -> Word<'static> {
        match self {
            Word::Freed => Word::Freed,
            Word::Message(text) => Word::Message(Cow::Owned(text.clone().into_owned())),
            Word::Missed => Word::Missed,
        }
    }
}

/// Who is to hear something, and what.
type News = (Vec<Arc<dyn Resident>>, Word<'static>);

std::thread_local! {
    /// At whose machine this thread is: a number that no two cells of the process have.
    static AT: Cell<u64> = const { Cell::new(u64::MAX) };
    /// What is to be told next; nothing, if this thread is not telling anything.
    static NEXT: RefCell<Option<VecDeque<News>>> = const { RefCell::new(None) };
}

/// At whose machine this thread is.
pub(crate) fn at() -> u64 {
    AT.get()
}

/// From now on, this thread is at that machine. Returns where it was before.
pub(crate) fn now_at(id: u64) -> u64 {
    AT.replace(id)
}

/// Tells them this: now, or as soon as this thread has told what it is telling.
pub(crate) fn tell(who: Vec<Arc<dyn Resident>>, word: &Word<'_>) {
    let Some(who) = defer(who, word) else { return };
    let _over = Over;
    hear(who, word);
    while let Ok(Some((who, word))) = NEXT.try_with(|next| next.borrow_mut().as_mut()?.pop_front()) {
        hear(who, &word);
    }
}

/// Puts it off, if this thread is telling something; if not, it is now.
fn defer(who: Vec<Arc<dyn Resident>>, word: &Word<'_>) -> Option<Vec<Arc<dyn Resident>>> {
    let mut who = Some(who);
    // A thread that comes to its end has no queue any more.
    let _ = NEXT.try_with(|next| match &mut *next.borrow_mut() {
        Some(next) => next.extend(who.take().map(|who| (who, word.kept()))),
        none => *none = Some(VecDeque::new()),
    });
    who
}

fn hear(who: Vec<Arc<dyn Resident>>, word: &Word<'_>) {
    who.into_iter().for_each(|resident| resident.hear(word));
}

/// This thread tells nothing any more.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        let _ = NEXT.try_with(|next| next.take());
    }
}
