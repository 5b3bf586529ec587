//! A value that is waited for: whoever changes it wakes all who wait, and each looks for what concerns it.

use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::vec::Vec;

use crate::driver::primitive::{Mutex, lock};

/// A value that can be waited for.
#[derive(Debug)]
pub(crate) struct Board<S>(Mutex<Notes<S>>);

#[derive(Debug)]
struct Notes<S> {
    value: S,
    /// Counts the changes: a place in `wakers` is good until the next one.
    round: u64,
    /// Whoever has left has none.
    wakers: Vec<Option<Waker>>,
}

/// Where someone who waits has left his waker.
#[derive(Clone, Copy, Debug)]
struct Place {
    round: u64,
    index: usize,
}

impl<S> Board<S> {
    pub(crate) fn new(value: S) -> Board<S> {
        Board(Mutex::new(Notes { value, round: 0, wakers: Vec::new() }))
    }

    /// Looks at the value.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&lock(&self.0).value)
    }

    /// Changes the value, and wakes all who wait.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        let (result, wakers) = {
            let mut notes = lock(&self.0);
            notes.round += 1;
            (change(&mut notes.value), mem::take(&mut notes.wakers))
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
        result
    }

    /// Waits until `look` finds something.
    pub(crate) fn wait<R, F: FnMut(&S) -> Option<R>>(&self, look: F) -> Wait<'_, S, F> {
        Wait { board: self, look, place: None }
    }
}

/// Waits for a value to become what is wanted. Dropping it takes nothing but the wait away.
#[derive(Debug)]
pub(crate) struct Wait<'a, S, F> {
    board: &'a Board<S>,
    look: F,
    place: Option<Place>,
}

// Nothing in it is pinned: the board is borrowed, the function is called by reference.
impl<S, F> Unpin for Wait<'_, S, F> {}

impl<S, R, F: FnMut(&S) -> Option<R>> Future for Wait<'_, S, F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let this = &mut *self;
        let mut notes = lock(&this.board.0);
        if let Some(found) = (this.look)(&notes.value) {
            return Poll::Ready(found);
        }
        let waker = context.waker();
        let round = notes.round;
        match this.place.filter(|place| place.round == round) {
            Some(place) => notes.wakers[place.index].get_or_insert_with(|| waker.clone()).clone_from(waker),
            None => {
                this.place = Some(Place { round, index: notes.wakers.len() });
                notes.wakers.push(Some(waker.clone()));
            }
        }
        Poll::Pending
    }
}

impl<S, F> Drop for Wait<'_, S, F> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut notes = lock(&self.board.0);
        if place.round == notes.round {
            // The others' places stay good.
            notes.wakers[place.index] = None;
            while notes.wakers.last().is_some_and(Option::is_none) {
                notes.wakers.pop();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::pin::pin;
    use std::boxed::Box;

    use super::*;

    #[test]
    fn who_leaves_takes_nobody_elses_place_whatever_wakes_them() {
        let board = Board::new(0);
        let is_one = |value: &u8| (*value == 1).then_some(());
        // A waker that does nothing is one as well.
        let mut context = Context::from_waker(Waker::noop());
        let mut stays = pin!(board.wait(is_one));
        let mut leaves = Box::pin(board.wait(is_one));
        assert!(stays.as_mut().poll(&mut context).is_pending());
        assert!(leaves.as_mut().poll(&mut context).is_pending());
        drop(leaves);
        assert!(stays.as_mut().poll(&mut context).is_pending());
        board.update(|value| *value = 1);
        assert!(stays.as_mut().poll(&mut context).is_ready());
    }
}
