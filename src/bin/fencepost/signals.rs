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
    quit: unix::Signal,
    user: [unix::Signal; 2],
    last: Option<Instant>,
    /// When SIGINT and SIGTERM came first.
    first: [Option<Instant>; 2],
}

/// A signal that has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) signal: Signal,
    /// What it is for.
    pub(crate) urgency: Urgency,
}

/// What a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It is none of our business: the child may know what it means.
    News,
    /// Something is to end.
    End,
    /// It came before, and somebody is out of patience with what was to end.
    EndNow,
}

impl Signals {
    /// From now on these signals do not end the command by themselves.
    pub(crate) fn listen() -> io::Result<Signals> {
        let user = [SignalKind::user_defined1(), SignalKind::user_defined2()].map(unix::signal);
        let [first, second] = user;
        Ok(Signals {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            quit: unix::signal(SignalKind::quit())?,
            user: [first?, second?],
            last: None,
            first: [None; 2],
        })
    }

    /// The next one, whatever it is for.
    pub(crate) async fn any(&mut self) -> Heard {
        let [first, second] = &mut self.user;
        let signal = tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
            _ = first.recv() => return Heard { signal: Signal::USR1, urgency: Urgency::News },
            _ = second.recv() => return Heard { signal: Signal::USR2, urgency: Urgency::News },
        };
        let now = Instant::now();
        self.last = Some(now);
        let first = match signal {
            Signal::INT => *self.first[0].get_or_insert(now),
            Signal::TERM => *self.first[1].get_or_insert(now),
            // To some programs these are news, however often they come.
            _ => now,
        };
        let urgency = if now - first > ECHO { Urgency::EndNow } else { Urgency::End };
        Heard { signal, urgency }
    }

    /// The next one that is to end something.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            let Heard { signal, urgency } = self.any().await;
            if urgency != Urgency::News {
                return signal;
            }
        }
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
