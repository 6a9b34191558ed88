//! Why a hostname could not be reported, and what to do about it.

use silo_shared::client::ClientError;
use silo_shared::silo::{Addresses, Hostname, SiloId};
use thiserror::Error;

use crate::discover::DiscoverError;
use crate::settings::Settings;

/// Why a hostname could not be reported, or the hub not be queried.
#[derive(Debug, Error)]
pub(crate) enum ReportError {
    /// The hub could not be called, or refused the request.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The hub reported success but its record differs.
    #[error(
        "the hub accepted {sent} but returned {held}: upgrade the hub, or check what answers at this URL"
    )]
    Contradiction {
        /// What was sent.
        sent: Addresses,
        /// What the hub returned.
        held: String,
    },
    /// The run's deadline has passed.
    #[error("timed out: a run ends after 30 s")]
    OutOfTime,
    /// No address can be reported.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
}

impl ReportError {
    /// The kind of failure; see [`ClientError::kind`].
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Client(error) => error.kind(),
            Self::Contradiction { .. } => "contradiction".to_owned(),
            Self::OutOfTime => "unreachable".to_owned(),
            Self::Discover(error) => error.kind(),
        }
    }
}

/// An error with the hub, and what to do about it.
pub(crate) fn explain(
    error: &ReportError,
    settings: &Settings,
    hostname: &Hostname,
    hub: &str,
) -> String {
    let ReportError::Client(error) = error else {
        return format!("{hub}: {error}");
    };
    match error {
        ClientError::Status { status, .. } => {
            let silo = &settings.silo;
            let hint = match status {
                401 if !settings.connection.signs() => {
                    " (the token is unknown, mistyped, expired or revoked)".to_owned()
                }
                403 => format!(" ({})", lacks_right(silo, hostname)),
                404 => {
                    format!(" (the token may not read silo {silo}, or `hub` is not the hub's URL)")
                }
                _ => String::new(),
            };
            format!("{error}{hint}")
        }
        error => error.to_string(),
    }
}

/// The right that a token lacks to write a record.
pub(crate) fn lacks_right(silo: &SiloId, hostname: &Hostname) -> String {
    format!(
        "the token lacks the right to write {hostname} in silo {silo}: it needs role `write`, and its silo and hostname lists must include them"
    )
}
