//! The signals by which a process that stays is ended or told to read its configuration again.

use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End: SIGTERM and SIGINT; on Windows Ctrl-C, Ctrl-Break, and the end of the session.
    End,
    /// Read the configuration again: SIGHUP.
    Reload,
}

/// Receives signals. From its creation on, they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals(system::Signals);

impl Signals {
    /// Begins to receive; call it inside of a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        system::Signals::listen().map(Self)
    }

    /// Waits for the next signal. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        self.0.next().await
    }
}

#[cfg(unix)]
mod system {
    use std::io;

    use tokio::signal::unix::{self, SignalKind, signal};

    use super::Signal;

    #[derive(Debug)]
    pub(super) struct Signals {
        terminate: unix::Signal,
        interrupt: unix::Signal,
        hang_up: unix::Signal,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: signal(SignalKind::hangup())?,
            })
        }

        pub(super) async fn next(&mut self) -> Signal {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => Signal::End,
                _ = self.interrupt.recv() => Signal::End,
                _ = self.hang_up.recv() => Signal::Reload,
            }
        }
    }
}

#[cfg(windows)]
mod system {
    use std::io;

    use tokio::signal::windows;

    use super::Signal;

    #[derive(Debug)]
    pub(super) struct Signals {
        ctrl_c: windows::CtrlC,
        ctrl_break: windows::CtrlBreak,
        close: windows::CtrlClose,
        shutdown: windows::CtrlShutdown,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self {
                ctrl_c: windows::ctrl_c()?,
                ctrl_break: windows::ctrl_break()?,
                close: windows::ctrl_close()?,
                shutdown: windows::ctrl_shutdown()?,
            })
        }

        pub(super) async fn next(&mut self) -> Signal {
            tokio::select! {
                _ = self.ctrl_c.recv() => Signal::End,
                _ = self.ctrl_break.recv() => Signal::End,
                _ = self.close.recv() => Signal::End,
                _ = self.shutdown.recv() => Signal::End,
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::process::{Signal as Sent, getpid, kill_process};

    #[tokio::test]
    async fn each_signal_has_its_meaning() {
        let mut signals = Signals::listen().unwrap();
        for (sent, expected) in [
            (Sent::HUP, Signal::Reload),
            (Sent::TERM, Signal::End),
            (Sent::INT, Signal::End),
            (Sent::HUP, Signal::Reload),
        ] {
            kill_process(getpid(), sent).unwrap();
            assert_eq!(signals.next().await, expected, "{sent:?}");
        }
    }
}
