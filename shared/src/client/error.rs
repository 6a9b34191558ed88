//! Why a call to a hub failed, and whether the hub accepted the token.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{Database, MAX_ANSWER_BYTES};
use crate::signing::MAX_CLOCK_OFFSET;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No response: connection refused, timeout, connection lost.
    #[error("cannot reach the hub at {hub}: {cause}")]
    Unreachable {
        /// Scheme, host and port.
        hub: String,
        /// The error, innermost cause last.
        cause: String,
    },
    /// What answers there does not prove to be the hub: its certificate is not trusted, or it has another key than the
    /// pinned one. Nothing was sent.
    ///
    /// A refusal, as a 401 is: no other hub is asked instead, which would hide it.
    #[error("cannot trust the hub at {hub}: {cause}")]
    Untrusted {
        /// Scheme, host and port.
        hub: String,
        /// What is wrong with its certificate or key.
        cause: String,
    },
    /// The hub responded with an error status (or a redirect, which is not followed).
    #[error("the hub at {hub} answered {status}: {detail}")]
    Status {
        /// Scheme, host and port.
        hub: String,
        /// The HTTP status.
        status: u16,
        /// The problem's detail, or a short description of the status.
        detail: String,
        /// Whether the response is signed with the token's key, so that the hub knows the token.
        is_signed: bool,
    },
    /// The response is not from a hub.
    #[error("{hub}: the answer does not come from a Silo hub: {cause}")]
    NotAHub {
        /// Scheme, host and port.
        hub: String,
        /// The reason.
        cause: String,
    },
    /// This client signs, and the response is not signed.
    #[error("{hub}: the hub or a proxy answered {status} unsigned{hint}")]
    Unsigned {
        /// Scheme, host and port.
        hub: String,
        /// The HTTP status, unverified.
        status: u16,
        /// The possible cause.
        hint: &'static str,
    },
    /// This client signs, and the response's signature does not match.
    #[error(
        "{hub}: the answer is not from the hub: {cause}; a proxy or an attacker changes or forges answers"
    )]
    Forged {
        /// Scheme, host and port.
        hub: String,
        /// What is wrong with the signature.
        cause: String,
    },
    /// The hub refused a signature because of its time.
    #[error("{hub}: this machine's clock is {} s {} the hub's, and a signature may be off by {MAX_CLOCK_OFFSET} s: set the clock", .behind_seconds.unsigned_abs(), if *.behind_seconds < 0 { "ahead of" } else { "behind" })]
    Clock {
        /// Scheme, host and port.
        hub: String,
        /// How far this machine's clock is behind, in seconds; negative: ahead.
        behind_seconds: i64,
    },
    /// The response is larger than [`MAX_ANSWER_BYTES`].
    #[error("{hub}: the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge {
        /// Scheme, host and port.
        hub: String,
    },
    /// The hubs of the configuration serve several databases.
    #[error(
        "{} serves database {}, and {} serves database {}: all hubs in `hub` must serve one database; remove the wrong one",
        .found.hub, .found.id, .known.hub, .known.id
    )]
    OtherDatabase {
        /// That of the hubs until now.
        known: Database,
        /// That of another hub.
        found: Database,
    },
    /// No hub of several is available; the failure of each that was asked.
    #[error("{}", joined(.0))]
    AllHubs(Vec<ClientError>),
    /// The client can't be created, for example because of a certificate file without certificates.
    #[error("{0}")]
    Setup(String),
}

impl ClientError {
    /// The kind of failure: an ongoing failure keeps its kind, even if other parts of its message change.
    pub fn kind(&self) -> String {
        match self {
            Self::Unreachable { .. } => "unreachable".to_owned(),
            Self::Untrusted { .. } => "untrusted".to_owned(),
            Self::Status { status, .. } => format!("status {status}"),
            Self::NotAHub { .. } => "not a hub".to_owned(),
            Self::Unsigned { status, .. } => format!("unsigned {status}"),
            Self::Forged { .. } => "forged".to_owned(),
            Self::Clock { .. } => "clock".to_owned(),
            Self::TooLarge { .. } => "too large".to_owned(),
            Self::OtherDatabase { .. } => "other database".to_owned(),
            Self::AllHubs(failures) => {
                let kinds = failures.iter().map(Self::kind);
                kinds
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            Self::Setup(_) => "setup".to_owned(),
        }
    }

    /// Whether another hub of the same database may answer: this one can't be reached, or answers 503.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Status { status: 503, .. }
                | Self::Unsigned { status: 503, .. }
                | Self::AllHubs(_)
        )
    }

    /// Whether the hub accepted the token; `None`: unknown. A hub signs its responses for a token that it knows, with
    /// any status: a signature refused because of its time or as a replay does not mean a wrong token.
    pub fn token(&self) -> Option<TokenVerdict> {
        match self {
            Self::Clock { .. } => Some(TokenVerdict::Accepted),
            Self::Status {
                is_signed: true, ..
            } => Some(TokenVerdict::Accepted),
            Self::Status { status: 401, .. } | Self::Unsigned { status: 401, .. } => {
                Some(TokenVerdict::Refused)
            }
            Self::Status {
                status: 403 | 404, ..
            } => Some(TokenVerdict::Accepted),
            Self::AllHubs(failures) => failures.iter().find_map(Self::token),
            _ => None,
        }
    }
}

/// The failures of several hubs in one line.
fn joined(failures: &[ClientError]) -> String {
    let words: Vec<String> = failures.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// Whether the hub accepted the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// The hub knows it.
    Accepted,
    /// The hub does not know it, or it is no longer valid.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unsigned_401_means_a_refused_token() {
        use TokenVerdict::{Accepted, Refused};
        let hub = String::new;
        let answered = |status, is_signed| ClientError::Status {
            hub: hub(),
            status,
            detail: String::new(),
            is_signed,
        };
        let unsigned = |status| ClientError::Unsigned {
            hub: hub(),
            status,
            hint: "",
        };
        let cases = [
            (answered(401, false), Some(Refused)),
            (answered(403, false), Some(Accepted)),
            (answered(404, false), Some(Accepted)),
            (answered(429, false), None),
            (answered(503, false), None),
            // Problems such as `order` and `replay`.
            (answered(401, true), Some(Accepted)),
            (answered(503, true), Some(Accepted)),
            (unsigned(401), Some(Refused)),
            (unsigned(502), None),
            (
                ClientError::Clock {
                    hub: hub(),
                    behind_seconds: 400,
                },
                Some(Accepted),
            ),
            (
                ClientError::Unreachable {
                    hub: hub(),
                    cause: String::new(),
                },
                None,
            ),
        ];
        for (error, verdict) in cases {
            assert_eq!(error.token(), verdict, "{error:?}");
        }
    }
}
