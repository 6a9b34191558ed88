//! SIGHUP, which asks a running hub to reload its certificate.

/// Receives SIGHUP, where there is such a thing. Once it exists, the signal does not end the process any more.
#[derive(Debug)]
pub(crate) struct Hangup {
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    /// Starts to receive; the log says if that is not possible.
    pub(crate) fn listen() -> Self {
        Self {
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                .inspect_err(|error| tracing::warn!("cannot listen for SIGHUP: {error}"))
                .ok(),
        }
    }

    /// Completes at the next signal.
    pub(crate) async fn comes(&mut self) {
        #[cfg(unix)]
        if let Some(hangup) = &mut self.hangup
            && hangup.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
