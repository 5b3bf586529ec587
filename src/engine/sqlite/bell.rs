//! The bell: a file that is written to when there are hints to be read, so that whoever watches it need not poll.

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
pub(super) use linux::Listener;

#[cfg(target_os = "linux")]
mod linux {
    use super::Bell;
    use core::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use alloc::borrow::ToOwned;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    /// How often to look although nothing rang.
    const LOOK: Duration = Duration::from_millis(500);

    /// Waits for the bell.
    pub(in super::super) struct Listener {
        bell: Bell,
        inotify: Option<OwnedFd>,
        poll: Duration,
    }

    fn watch(bell: &Bell) -> std::io::Result<OwnedFd> {
        // It may have been removed since it was rung last.
        bell.touch(b"")?;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, &bell.path, WatchFlags::MODIFY)?;
        Ok(inotify)
    }

    impl Listener {
        pub(super) fn new(bell: &Bell, poll: Duration) -> Listener {
            let inotify = watch(bell).inspect_err(|fault| {
                tracing::warn!(bell = ?bell.path, %fault, ?poll, "cannot listen to the bell; polling instead");
            });
            Listener { bell: bell.to_owned(), inotify: inotify.ok(), poll }
        }

        /// Returns when it is time to look for hints.
        pub(in super::super) fn wait(&mut self) {
            let Some(inotify) = &self.inotify else {
                return std::thread::park_timeout(self.poll);
            };
            let look = Timespec::try_from(LOOK).ok();
            // A signal, or whatever else goes wrong, costs one look for nothing.
            if poll(&mut [PollFd::new(inotify, PollFlags::IN)], look.as_ref()) == Ok(0) {
                return;
            }
            if self.drain() {
                // The bell itself was removed: from now on, the one that is made in its place rings.
                *self = Listener::new(&self.bell, self.poll);
            }
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
pub(super) struct Listener(Duration);

#[cfg(not(target_os = "linux"))]
impl Listener {
    fn new(_: &Bell, poll: Duration) -> Listener {
        Listener(poll)
    }

    /// Returns when it is time to look for hints.
    pub(super) fn wait(&mut self) {
        std::thread::park_timeout(self.0);
    }
}
