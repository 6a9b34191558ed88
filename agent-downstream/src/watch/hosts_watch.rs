//! Notices when the hosts file changes: on Linux by inotify(7), elsewhere by looking at it every two seconds.
//!
//! The folder is watched, since most programs replace the file, and the file itself, since it may be mounted here from
//! another folder. What is noticed is a hint; the caller compares the file with the state that it knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::metadata::Identity;

/// How often the file is looked at where no events tell of it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same where events do: they do not cross a network file system.
#[cfg(target_os = "linux")]
const LOOK_BESIDE_EVENTS: Duration = Duration::from_secs(60);

/// Something may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileEvent {
    /// Whether the last program that wrote the file has closed it, or has put a complete file in its place; `None` if
    /// nothing was seen of that.
    pub(super) is_closed: Option<bool>,
}

/// Watches one path.
#[derive(Debug)]
pub(super) struct HostsWatch {
    path: PathBuf,
    /// When the file was last looked at.
    looked_at: Instant,
    #[cfg(target_os = "linux")]
    events: Option<events::Events>,
}

impl HostsWatch {
    /// Begins to watch; call it inside of a tokio runtime.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            looked_at: Instant::now(),
            #[cfg(target_os = "linux")]
            events: events::Events::new(path)
                .inspect_err(|error| {
                    tracing::warn!(
                        "{}: cannot watch it: {error}; looking at it every {} s instead",
                        path.display(),
                        LOOK_EVERY.as_secs()
                    );
                })
                .ok(),
        }
    }

    /// The file's present identity, behind symbolic links; `None` if there is none.
    pub(super) fn look(&self) -> Option<Identity> {
        std::fs::metadata(&self.path)
            .ok()
            .map(|found| Identity::of(&found))
    }

    /// Waits until something may have changed, or until it is time to look. Cancel-safe.
    #[cfg(target_os = "linux")]
    pub(super) async fn changed(&mut self) -> FileEvent {
        let Some(events) = &mut self.events else {
            tokio::time::sleep_until(self.looked_at + LOOK_EVERY).await;
            self.looked_at = Instant::now();
            return FileEvent::default();
        };
        // What else the caller waits for does not put the look off.
        let next = tokio::time::timeout_at(self.looked_at + LOOK_BESIDE_EVENTS, events.next());
        match next.await {
            Ok(Ok(event)) => event,
            // Time to look; the folder may be another one by now.
            Err(_) => {
                self.looked_at = Instant::now();
                events.watch();
                FileEvent::default()
            }
            Ok(Err(error)) => {
                tracing::warn!("{}: cannot watch it: {error}", self.path.display());
                self.events = None;
                FileEvent::default()
            }
        }
    }

    /// Waits until it is time to look. Cancel-safe.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn changed(&mut self) -> FileEvent {
        tokio::time::sleep_until(self.looked_at + LOOK_EVERY).await;
        self.looked_at = Instant::now();
        FileEvent::default()
    }
}

#[cfg(target_os = "linux")]
mod events {
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use rustix::io::Errno;
    use tokio::io::unix::AsyncFd;

    use super::FileEvent;

    /// The events of a folder, and of the file itself.
    const WATCHED: WatchFlags = WatchFlags::MODIFY
        .union(WatchFlags::ATTRIB)
        .union(WatchFlags::CLOSE_WRITE)
        .union(WatchFlags::MOVED_FROM)
        .union(WatchFlags::MOVED_TO)
        .union(WatchFlags::CREATE)
        .union(WatchFlags::DELETE)
        .union(WatchFlags::DELETE_SELF)
        .union(WatchFlags::MOVE_SELF);
    /// The events after which no program writes the file.
    const CLOSED: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::MOVED_TO);
    /// The events of a program that writes it.
    const WRITTEN: ReadFlags = ReadFlags::MODIFY.union(ReadFlags::CREATE);
    const BUFFER: usize = 4096;

    #[derive(Debug)]
    pub(super) struct Events {
        path: PathBuf,
        /// The names of the file: of the path, and of what it leads to.
        names: BTreeSet<OsString>,
        queue: AsyncFd<OwnedFd>,
    }

    #[expect(
        deprecated,
        reason = "its replacement is unsafe, as a descriptor may be closed early; this one is owned until the end"
    )]
    fn register(queue: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::new(queue)
    }

    impl Events {
        pub(super) fn new(path: &Path) -> io::Result<Self> {
            let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let mut events = Self {
                path: std::path::absolute(path)?,
                names: BTreeSet::new(),
                queue: register(queue)?,
            };
            if events.watch() {
                Ok(events)
            } else {
                Err(io::Error::last_os_error())
            }
        }

        /// Watches the folder of the path, that of what it leads to, and the file: repeated after each event, since each
        /// of them may be another one by now. Returns whether at least one folder is watched.
        pub(super) fn watch(&mut self) -> bool {
            let target = self.path.canonicalize().ok();
            let mut is_watched = false;
            for file in [Some(&self.path), target.as_ref()].into_iter().flatten() {
                self.names.extend(file.file_name().map(ToOwned::to_owned));
                if let Some(folder) = file.parent() {
                    let watch =
                        inotify::add_watch(&self.queue, folder, WATCHED | WatchFlags::ONLYDIR);
                    is_watched |= watch.is_ok();
                }
            }
            if let Some(target) = target {
                // Without it, only a file mounted from elsewhere is not noticed at once.
                let _ = inotify::add_watch(&self.queue, target, WATCHED);
            }
            is_watched
        }

        /// Waits for events of the file. Cancel-safe.
        pub(super) async fn next(&mut self) -> io::Result<FileEvent> {
            loop {
                let mut ready = self.queue.readable().await?;
                let mut event: Option<FileEvent> = None;
                let mut buffer = [MaybeUninit::uninit(); BUFFER];
                let mut reader = inotify::Reader::new(self.queue.get_ref(), &mut buffer);
                loop {
                    match reader.next() {
                        Ok(found) => {
                            let name = found.file_name();
                            let is_ours = name.is_none_or(|name| {
                                self.names
                                    .iter()
                                    .any(|ours| ours.as_bytes() == name.to_bytes())
                            });
                            if is_ours {
                                let event = event.get_or_insert_default();
                                if found.events().intersects(CLOSED) {
                                    event.is_closed = Some(true);
                                } else if found.events().intersects(WRITTEN) {
                                    event.is_closed = Some(false);
                                }
                            }
                        }
                        Err(Errno::AGAIN) => break,
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                ready.clear_ready();
                if let Some(event) = event {
                    self.watch();
                    return Ok(event);
                }
            }
        }
    }
}
