//! The signals that people and supervisors send.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::Instant;

/// What comes so soon after a signal belongs to it: a supervisor may tell the process and its group.
const ECHO: Duration = Duration::from_millis(500);

/// What interrupts the command, or is passed to its child.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    last: Option<Instant>,
}

impl Signals {
    /// From now on these signals do not end the command by themselves.
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            last: None,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
        };
        self.last = Some(Instant::now());
        signal
    }

    /// The next one of somebody who is out of patience.
    pub(crate) async fn again(&mut self) -> Signal {
        loop {
            let last = self.last;
            let signal = self.next().await;
            if last.is_none_or(|last| last.elapsed() > ECHO) {
                return signal;
            }
        }
    }
}

/// The status of what a signal has ended.
pub(crate) fn status(signal: Signal) -> u8 {
    u8::try_from(signal.as_raw()).map_or(u8::MAX, |number| 128 + number % 128)
}
