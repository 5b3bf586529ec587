//! Who asks a holder to yield: the newest counts, and each is heard once.

use super::board::Board;

/// What a holder is asked, from when it may be asked until nobody will ask any more.
#[derive(Debug)]
pub(crate) struct Asked<N>(Board<State<N>>);

#[derive(Debug)]
struct State<N> {
    /// The newest, until it was heard.
    notice: Option<N>,
    /// Nobody will ask any more.
    over: bool,
}

impl<N> Asked<N> {
    pub(crate) fn new() -> Asked<N> {
        Asked(Board::new(State { notice: None, over: false }))
    }

    /// Somebody asks.
    pub(crate) fn ask(&self, notice: N) {
        self.0.update(|state| {
            if !state.over {
                state.notice = Some(notice);
            }
        });
    }

    /// Nobody asks any more: it is not held.
    pub(crate) fn end(&self) {
        self.0.update(|state| (state.notice, state.over) = (None, true));
    }

    /// Whether somebody asks who was not heard.
    pub(crate) fn is_open(&self) -> bool {
        self.0.read(|state| state.notice.is_some())
    }

    /// Waits for somebody who asks and was not heard; `None`, if nobody will any more.
    pub(crate) async fn next(&self) -> Option<N> {
        loop {
            self.0.wait(|state| (state.notice.is_some() || state.over).then_some(())).await;
            // Another one who waits may have heard it first.
            let (notice, over) = self.0.update(|state| (state.notice.take(), state.over));
            if over || notice.is_some() {
                return notice;
            }
        }
    }
}
