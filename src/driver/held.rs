//! Work that goes on only as long as a lock is held.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

/// Polls `future` until it has ended, or `lost` has. Before each poll the clock is looked at: what was paused beyond its
/// lease does not go on, and has `expired`.
pub(crate) async fn run_while_held<F: Future, L>(
    future: F,
    lost: impl Future<Output = L>,
    is_held: impl Fn() -> bool,
    expired: L,
) -> Result<F::Output, L> {
    let (mut future, mut lost, mut expired) = (pin!(future), pin!(lost), Some(expired));
    poll_fn(|context| {
        if let Poll::Ready(lost) = lost.as_mut().poll(context) {
            return Poll::Ready(Err(lost));
        }
        match expired.take_if(|_| !is_held()) {
            Some(expired) => Poll::Ready(Err(expired)),
            None => future.as_mut().poll(context).map(Ok),
        }
    })
    .await
}
