//! Why a hostname could not be reported, and what to do about it.

use std::sync::Arc;

use silo_shared::client::{ClientError, TokenVerdict};
use thiserror::Error;

use crate::discover::DiscoverError;
use crate::record::Record;
use crate::state::StateError;

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
        sent: String,
        /// What the hub returned.
        held: String,
    },
    /// The run's deadline has passed.
    #[error("timed out: a run ends after 30 s")]
    OutOfTime,
    /// It can't be noted that the hook is owed.
    #[error(transparent)]
    State(#[from] StateError),
    /// No address can be reported.
    #[error(transparent)]
    Discover(#[from] Arc<DiscoverError>),
}

impl From<DiscoverError> for ReportError {
    fn from(error: DiscoverError) -> Self {
        Self::Discover(Arc::new(error))
    }
}

impl ReportError {
    /// The kind of failure; see [`ClientError::kind`].
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Client(error) => error.kind(),
            Self::Contradiction { .. } => "contradiction".to_owned(),
            Self::OutOfTime => "unreachable".to_owned(),
            Self::State(_) => "state".to_owned(),
            Self::Discover(error) => error.kind(),
        }
    }

    /// Whether the hub has certainly changed nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Client(ClientError::Status {
                status: 400..=499,
                ..
            })
        )
    }

    /// Whether the hub accepted the token; `None`: unknown.
    pub(crate) fn token(&self) -> Option<TokenVerdict> {
        match self {
            Self::Client(error) => error.token(),
            _ => None,
        }
    }
}

/// An error with the hub, and what to do about it.
pub(crate) fn explain(error: &ReportError, record: &Record, hub: &str) -> String {
    let ReportError::Client(error) = error else {
        return format!("{hub}: {error}");
    };
    match error {
        ClientError::Status {
            status, is_signed, ..
        } => {
            let silo = &record.silo;
            let hint = match status {
                401 if !is_signed => {
                    " (the token is unknown, mistyped, expired or revoked)".to_owned()
                }
                403 => format!(" ({})", lacks_right(record)),
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
pub(crate) fn lacks_right(record: &Record) -> String {
    format!(
        "the token lacks the right to write {record}: it needs role `write`, and its silo and hostname lists must include them"
    )
}
