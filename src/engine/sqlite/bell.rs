//! What wakes the worker: the bell, a file that is written to when there are hints to be read, so that whoever watches it need
//! not poll; and a nudge from within the process. One thread waits for both, so that whoever hears of a hint is who reads it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloc::borrow::ToOwned;

/// The bell beside a database.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    path: PathBuf,
}

impl Bell {
    /// The bell of `database`, which is made if it is not there.
    pub(super) fn of(database: &Path) -> io::Result<Bell> {
        let mut path = database.as_os_str().to_owned();
        path.push("-bell");
        let bell = Bell { path: path.into() };
        bell.touch(b"").map(|()| bell)
    }

    /// Wakes everybody who listens, this process included.
    pub(super) fn ring(&self) {
        if let Err(fault) = self.touch(b"\n") {
            tracing::warn!(bell = ?self.path, %fault, "cannot ring; others will notice when they look next");
        }
    }

    // It is opened each time, so that a bell that somebody removed comes back.
    fn touch(&self, byte: &[u8]) -> io::Result<()> {
        OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?.write_all(byte)
    }

    /// Begins to listen. Where that cannot be had, one looks at intervals of `poll`.
    pub(super) fn listen(&self, poll: Duration) -> Listener {
        Listener::new(self, poll)
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{Listener, Nudge};
#[cfg(not(target_os = "linux"))]
pub(super) use polling::{Listener, Nudge};

#[cfg(target_os = "linux")]
mod linux {
    use super::Bell;
    use core::mem::MaybeUninit;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use alloc::borrow::ToOwned;
    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    /// Wakes the one who listens, from within the process.
    pub(in super::super) struct Nudge(OwnedFd);

    impl Nudge {
        pub(in super::super) fn new() -> io::Result<Nudge> {
            Ok(Nudge(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        /// Wakes the one who listens, or will listen next.
        pub(in super::super) fn give(&self) {
            // It fails only if more have been given than can be counted.
            let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
        }

        fn take(&self) {
            let _ = rustix::io::read(&self.0, &mut [0_u8; size_of::<u64>()]);
        }
    }

    /// Waits for the bell.
    pub(in super::super) struct Listener {
        bell: Bell,
        inotify: Option<OwnedFd>,
        poll: Duration,
    }

    fn watch(bell: &Bell) -> io::Result<OwnedFd> {
        // It may have been removed since it was rung last.
        bell.touch(b"")?;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, &bell.path, WatchFlags::MODIFY)?;
        Ok(inotify)
    }

    /// Which of them has something to be read, after as long as that takes, or `wait`.
    fn readable<const N: usize>(files: [&OwnedFd; N], wait: Option<Duration>) -> [bool; N] {
        let mut files = files.map(|file| PollFd::new(file, PollFlags::IN));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        // A signal, or whatever else goes wrong, costs one look for nothing.
        let failed = poll(&mut files, wait.as_ref()).is_err();
        files.map(|file| failed || !file.revents().is_empty())
    }

    impl Listener {
        pub(super) fn new(bell: &Bell, poll: Duration) -> Listener {
            let inotify = watch(bell).inspect_err(|fault| {
                tracing::warn!(bell = ?bell.path, %fault, ?poll, "cannot listen to the bell; polling instead");
            });
            Listener { bell: bell.to_owned(), inotify: inotify.ok(), poll }
        }

        /// Whether it is time to look for hints. It waits for that, or for a nudge, if there is nothing else to do.
        pub(in super::super) fn listen(&mut self, nudge: &Nudge, is_idle: bool) -> bool {
            let Some(inotify) = &self.inotify else {
                if is_idle && readable([&nudge.0], Some(self.poll)) == [true] {
                    nudge.take();
                }
                return true;
            };
            let wait = if is_idle { None } else { Some(Duration::ZERO) };
            let [rung, nudged] = readable([inotify, &nudge.0], wait);
            if nudged {
                nudge.take();
            }
            if rung && self.drain() {
                // The bell itself was removed: from now on, the one that is made in its place rings.
                *self = Listener::new(&self.bell, self.poll);
            }
            rung
        }

        /// Takes all events; whether one of them says that there is nothing to watch any more.
        fn drain(&self) -> bool {
            let Some(inotify) = &self.inotify else { return false };
            let mut buffer = [MaybeUninit::uninit(); 1024];
            let mut reader = Reader::new(inotify, &mut buffer);
            let mut gone = false;
            while let Ok(event) = reader.next() {
                gone |= event.events().contains(ReadFlags::IGNORED);
            }
            gone
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod polling {
    use super::Bell;
    use std::io;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    /// Wakes the one who listens, from within the process.
    pub(in super::super) struct Nudge {
        given: Mutex<bool>,
        changed: Condvar,
    }

    impl Nudge {
        pub(in super::super) fn new() -> io::Result<Nudge> {
            Ok(Nudge { given: Mutex::new(false), changed: Condvar::new() })
        }

        /// Wakes the one who listens, or will listen next.
        pub(in super::super) fn give(&self) {
            *self.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.changed.notify_one();
        }

        fn wait(&self, wait: Duration) {
            let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.changed.wait_timeout_while(given, wait, |given| !*given);
            *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
        }
    }

    /// Looks at intervals.
    pub(in super::super) struct Listener(Duration);

    impl Listener {
        pub(super) fn new(_: &Bell, poll: Duration) -> Listener {
            Listener(poll)
        }

        /// Whether it is time to look for hints: always. It waits for that, or for a nudge, if there is nothing else to do.
        pub(in super::super) fn listen(&mut self, nudge: &Nudge, is_idle: bool) -> bool {
            if is_idle {
                nudge.wait(self.0);
            }
            true
        }
    }
}
