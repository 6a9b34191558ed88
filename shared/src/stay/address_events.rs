//! Changes of this machine's addresses and links, as the system reports them.
//!
//! On Linux by netlink (rtnetlink(7)), on Windows by the IP Helper API (`NotifyIpInterfaceChange`). Elsewhere there are
//! none, and the caller only looks from time to time, as it does behind the events.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::sync::Notify;

use super::debounce::{Debounced, Events};

/// The system's events, each burst of them as one; none if they can't be received.
pub struct AddressEvents {
    events: Debounced<SystemEvents>,
    /// Events come until it is dropped.
    _listener: Option<system::Listener>,
}

impl fmt::Debug for AddressEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressEvents").finish_non_exhaustive()
    }
}

/// Each of them.
#[derive(Debug)]
struct SystemEvents(Arc<Notify>);

impl AddressEvents {
    /// Begins to receive, on a thread of its own. Without events, changes are noticed by
    /// looking, which is said in the log.
    pub fn listen() -> Self {
        let notify = Arc::new(Notify::new());
        let listener = match system::listen(Arc::clone(&notify)) {
            Ok(listener) => Some(listener),
            Err(error) => {
                if error.kind() != io::ErrorKind::Unsupported {
                    tracing::warn!("changes of addresses are noticed late: {error}");
                }
                None
            }
        };
        Self {
            events: Debounced::new(SystemEvents(notify)),
            _listener: listener,
        }
    }

    /// Waits for the end of the next burst: until the system is silent for 200 ms, at most for 1 s. Cancel-safe.
    pub async fn next(&mut self) {
        self.events.next().await;
    }
}

impl Events for SystemEvents {
    async fn next(&mut self) {
        self.0.notified().await;
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::sync::Arc;

    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{Socket, SocketAddr};
    use tokio::sync::Notify;

    /// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h).
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    /// The kernel's messages are smaller (netlink(7)); what is cut off is not used.
    const BUFFER: usize = 8192;

    /// The thread ends with the process.
    pub(super) struct Listener;

    pub(super) fn listen(notify: Arc<Notify>) -> io::Result<Listener> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        let receive = move || {
            loop {
                // What a message says is not used: the caller looks at the addresses themselves, so that a lost message
                // does no harm.
                match socket.recv(&mut Vec::with_capacity(BUFFER), 0) {
                    Ok(_) => notify.notify_one(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The kernel dropped messages, since too many came at once: that means changes, too.
                    Err(error) if rustix::io::Errno::from_io_error(&error) == Some(NOBUFS) => {
                        notify.notify_one();
                    }
                    Err(error) => {
                        tracing::warn!(
                            "changes of addresses are noticed late from now on: {error}"
                        );
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("addresses".to_owned());
        thread.spawn(receive).map(|_| Listener)
    }

    const NOBUFS: rustix::io::Errno = rustix::io::Errno::NOBUFS;
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::sync::Arc;

    use netwatcher::{WatchHandle, watch_interfaces_with_callback};
    use tokio::sync::Notify;

    pub(super) type Listener = WatchHandle;

    /// The first event comes at once.
    pub(super) fn listen(notify: Arc<Notify>) -> io::Result<Listener> {
        // What has changed is not used: the caller looks at the addresses themselves.
        watch_interfaces_with_callback(move |_| notify.notify_one())
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod system {
    use std::io;
    use std::sync::Arc;

    use tokio::sync::Notify;

    pub(super) struct Listener;

    pub(super) fn listen(_: Arc<Notify>) -> io::Result<Listener> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
