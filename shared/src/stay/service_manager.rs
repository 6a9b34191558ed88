//! Notifies systemd (sd_notify(3)), if it asked for that by `NOTIFY_SOCKET`. Does nothing otherwise, and on Windows.

use std::time::Duration;

/// A message without contents.
#[derive(Clone, Copy, Debug)]
enum Message {
    Ready,
    Reloading,
    Stopping,
    Alive,
}

/// The process works: it watches, even if no hub was reached yet.
pub fn ready() {
    system::tell(Message::Ready);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    system::tell(Message::Reloading);
}

/// The process is ending.
pub fn stopping() {
    system::tell(Message::Stopping);
}

/// The process is alive: call it from the loop that does the work, so that a loop that hangs does not.
pub fn alive() {
    system::tell(Message::Alive);
}

/// One line about what the process waits for, which `systemctl status` shows.
pub fn status(line: &str) {
    system::status(line);
}

/// How often to call [`alive`]; `None` if systemd does not wait for it (`WatchdogSec=`).
pub fn watchdog_interval() -> Option<Duration> {
    system::watchdog().map(|timeout| timeout / 4)
}

#[cfg(unix)]
mod system {
    use std::time::Duration;

    use sd_notify::NotifyState;

    use super::Message;

    pub(super) fn tell(message: Message) {
        send(match message {
            Message::Ready => sd_notify::notify(&[NotifyState::Ready]),
            // systemd requires the time with it (sd_notify(3)).
            Message::Reloading => NotifyState::monotonic_usec_now()
                .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
            Message::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Message::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        });
    }

    pub(super) fn status(line: &str) {
        let line = line.replace('\n', " ");
        send(sd_notify::notify(&[NotifyState::Status(&line)]));
    }

    fn send(sent: std::io::Result<()>) {
        if let Err(error) = sent {
            tracing::warn!("cannot notify the service manager: {error}");
        }
    }

    pub(super) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }
}

#[cfg(not(unix))]
mod system {
    use std::time::Duration;

    use super::Message;

    pub(super) fn tell(_message: Message) {}

    pub(super) fn status(_line: &str) {}

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }
}
