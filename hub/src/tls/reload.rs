//! Reloads certificate and key when their files change, and on SIGHUP. If the new ones can't be used, the old identity
//! stays in use, and the error is logged once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use silo_shared::pin::Pin;

use super::TlsSettings;
use super::hangup::Hangup;
use super::identity::{Files, Identity, TlsError};
use crate::domain::time::Time;

/// The interval of the checks.
const LOOK: Duration = Duration::from_secs(2);

/// Stands for a certificate whose end can't be read, in milliseconds.
const UNREADABLE: i64 = i64::MIN;

fn end(identity: &Identity) -> i64 {
    identity.not_after().map_or(UNREADABLE, Time::as_millis)
}

/// The result of a check of the files.
#[derive(Debug)]
enum Look {
    Same,
    New(Identity),
    /// Invalid, and possibly only half written.
    Doubtful,
    /// Invalid in the same way as in the previous check, or when a check was requested.
    Wrong(TlsError),
}

/// Serves the identity from two files and follows their changes.
pub(crate) struct Reloader {
    settings: TlsSettings,
    config: RustlsConfig,
    ends: Arc<AtomicI64>,
    served: Files,
    pin: Pin,
    invitation_pin: Option<Pin>,
    /// The last content that differed from the one served, and whether its error was logged.
    seen: Option<(Result<Files, TlsError>, bool)>,
}

impl Reloader {
    /// Reads the files for the first time.
    pub(crate) fn open(settings: TlsSettings) -> Result<Self, TlsError> {
        let served = Files::read(&settings)?;
        let identity = served.identity(&settings)?;
        tracing::info!(
            "agents may pin this hub's key: pin_sha256: {}",
            identity.pin()
        );
        Ok(Self {
            config: RustlsConfig::from_config(identity.server_config()),
            ends: Arc::new(AtomicI64::new(end(&identity))),
            pin: identity.pin(),
            invitation_pin: identity.invitation_pin(),
            settings,
            served,
            seen: None,
        })
    }

    /// The listener's configuration; it is updated on reload.
    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// The pin of the key that is served at first. A new certificate usually has the same key.
    pub(crate) fn pin(&self) -> Pin {
        self.pin
    }

    /// The pin for invitations; see [`Identity::invitation_pin`].
    pub(crate) fn invitation_pin(&self) -> Option<Pin> {
        self.invitation_pin
    }

    /// Returns when the certificate that is served expires, also after a reload; `None`: it can't be read.
    pub(crate) fn ends(&self) -> impl Fn() -> Option<Time> + Send + Sync + 'static {
        let ends = Arc::clone(&self.ends);
        move || {
            let millis = ends.load(Ordering::Relaxed);
            (millis != UNREADABLE).then(|| Time::from_millis(millis))
        }
    }

    /// Runs forever; stop it by dropping the future.
    pub(crate) async fn follow(mut self) {
        let mut hangup = Hangup::listen();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let at_once = tokio::select! {
                () = hangup.comes() => true,
                _ = looks.tick() => false,
            };
            // Two small files: not worth a separate thread.
            let read = Files::read(&self.settings);
            match self.judge(read, at_once) {
                Look::Same | Look::Doubtful => {}
                Look::New(identity) => {
                    self.config.reload_from_config(identity.server_config());
                    self.ends.store(end(&identity), Ordering::Relaxed);
                    tracing::info!(
                        "serving a new certificate; its key's pin is {}",
                        identity.pin()
                    );
                }
                Look::Wrong(error) => {
                    tracing::error!("the old certificate stays in use: {error}");
                }
            }
        }
    }

    /// Certificate and key are two files, and neither is written atomically: an error must occur in two checks before
    /// it is logged, and is logged once.
    fn judge(&mut self, read: Result<Files, TlsError>, at_once: bool) -> Look {
        if read.as_ref() == Ok(&self.served) {
            self.seen = None;
            return Look::Same;
        }
        let known = self.seen.take().filter(|(seen, _)| *seen == read);
        let (is_known, was_said) = match &known {
            Some((_, said)) => (true, *said),
            None => (false, false),
        };
        let error = match read.clone().and_then(|files| {
            let identity = files.identity(&self.settings)?;
            Ok((files, identity))
        }) {
            Ok((files, identity)) => {
                self.served = files;
                return Look::New(identity);
            }
            Err(error) => error,
        };
        let say = at_once || (is_known && !was_said);
        self.seen = Some((read, was_said || say));
        if say {
            Look::Wrong(error)
        } else {
            Look::Doubtful
        }
    }
}
