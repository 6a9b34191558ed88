//! The only place that maps errors to statuses: `application/problem+json` (RFC 9457).
//!
//! `problems.rs` has the problem types with their slugs and pages. A 5xx hides its cause, which is logged once, here.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use silo_shared::api::{FieldError, PROBLEM_JSON, Problem};
use silo_shared::request_id;
use silo_shared::signing::MAX_CLOCK_OFFSET;
use silo_shared::silo::Hostname;

use super::problems::{self, Kind};
use crate::domain::invitation::InvitationEnd;
use crate::domain::precondition::silo_tag;
use crate::domain::time::Time;
use crate::registry::{ApplyError, Refusal};
use crate::store::StoreError;

/// Every way in which a request can fail.
#[derive(Debug)]
pub enum ApiError {
    /// The request is not readable HTTP or JSON: 400.
    Malformed(String),
    /// The body is not JSON, or is incomplete: 400.
    MalformedBody(String),
    /// Invalid values, each with its place: 422.
    Invalid(Vec<FieldError>),
    /// No credential, or a wrong one: 401.
    Unauthorized(&'static str),
    /// The signature is not accepted: 401.
    Signature(SignatureProblem),
    /// The credential does not permit this: 403.
    Forbidden(&'static str),
    /// The credential does not permit parts of the body: 403.
    ForbiddenPlaces(Vec<FieldError>),
    /// The requested resource does not exist: 404.
    NotFound(&'static str),
    /// The route exists, but not with this method: 405.
    MethodNotAllowed,
    /// An invitation has ended: 410.
    InvitationEnded(InvitationEnd),
    /// An invitation can't be confirmed: 409. The text is the reason.
    InvitationReplaced(Refusal),
    /// Too many invitations are open: 409.
    TooManyInvitations,
    /// The body arrived too slowly: 408.
    Timeout,
    /// `If-Match`, `If-None-Match` or the body's `revision` does not hold: 412.
    Precondition {
        /// The current entity tag without its quotes; `None`: there is no resource, or the layer that knows the tag
        /// adds it.
        tag: Option<String>,
        /// Whether `If-Match` contains it in a form that a proxy has changed.
        is_weakened: bool,
    },
    /// The body is too large: 413.
    TooLarge {
        /// The maximum size in bytes.
        limit: usize,
    },
    /// The body's `Content-Type` is not JSON: 415.
    MediaType,
    /// The body is compressed or has another content coding: 415.
    ContentEncoding,
    /// Too many wrong credentials from this address: 429.
    TooManyFailures {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// Too many requests by this token: 429.
    TooManyRequests {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// Sent without TLS to a listener for signed requests: 403.
    Unencrypted,
    /// The database is unavailable or read-only, or the hub is stopping: 503.
    Unavailable,
    /// Too many bodies are being received: 503.
    Busy,
    /// The write may have been committed: the database did not confirm: 503.
    OutcomeUnknown,
    /// A trusted proxy does not report the caller's address: 503. The text is the reason.
    CallerUnknown(String),
    /// Anything else: 500.
    Internal,
}

/// Why a signature is not accepted.
#[derive(Clone, Debug)]
pub enum SignatureProblem {
    /// It is incomplete or wrong.
    Wrong(String),
    /// It was made too long ago, or in the future.
    Clock {
        /// How far the signer's clock is behind this hub's, in milliseconds; negative: ahead.
        offset_ms: i64,
        /// This hub's time.
        now: Time,
    },
    /// The request was received before.
    Replay,
    /// A newer write was accepted before.
    Order,
    /// It was made before the database was restored from a copy.
    BeforeRestore,
}

impl SignatureProblem {
    fn kind(&self) -> &'static Kind {
        match self {
            Self::Wrong(_) => &problems::UNAUTHORIZED,
            Self::Clock { .. } => &problems::CLOCK,
            Self::Replay => &problems::REPLAY,
            Self::Order | Self::BeforeRestore => &problems::ORDER,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Wrong(detail) => detail.clone(),
            Self::Clock { offset_ms, now } => {
                let seconds = offset_ms.unsigned_abs() / 1000;
                let side = if *offset_ms < 0 { "after" } else { "before" };
                format!(
                    "the signature was made {seconds} s {side} this hub's time, {now}; at most {MAX_CLOCK_OFFSET} s are accepted"
                )
            }
            Self::Replay => Refusal::Replayed.to_string(),
            Self::Order => Refusal::Order.to_string(),
            Self::BeforeRestore => Refusal::SignedBeforeRestore.to_string(),
        }
    }
}

/// The challenges of a 401 (RFC 7617, RFC 6750).
pub(crate) const CHALLENGE_BASIC: &str = "Basic realm=\"silo\", charset=\"UTF-8\"";
pub(crate) const CHALLENGE_BEARER: &str = "Bearer realm=\"silo\"";

/// When a client should try again after a 503, in seconds.
pub(crate) const UNAVAILABLE_RETRY_AFTER: u64 = 5;

impl ApiError {
    /// An error for one wrong value.
    pub fn invalid(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Self::Invalid(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.to_string(),
        }])
    }

    /// The refusal of a precondition where the resource has no entity tag, or another layer adds it.
    pub(super) fn precondition_without_tag() -> Self {
        Self::Precondition {
            tag: None,
            is_weakened: false,
        }
    }

    /// The same error for a record, whose tag contains its hostname too.
    pub(super) fn of_record(self, hostname: &Hostname) -> Self {
        match self {
            Self::Precondition {
                tag: Some(revision),
                is_weakened,
            } => Self::Precondition {
                tag: Some(format!("{revision}-{hostname}")),
                is_weakened,
            },
            other => other,
        }
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind().status
    }

    fn kind(&self) -> &'static Kind {
        match self {
            Self::Malformed(_) | Self::MalformedBody(_) => &problems::MALFORMED,
            Self::Invalid(_) => &problems::INVALID,
            Self::Unauthorized(_) => &problems::UNAUTHORIZED,
            Self::Signature(problem) => problem.kind(),
            Self::Forbidden(_) | Self::ForbiddenPlaces(_) => &problems::FORBIDDEN,
            Self::NotFound(_) => &problems::NOT_FOUND,
            Self::MethodNotAllowed => &problems::METHOD_NOT_ALLOWED,
            Self::InvitationEnded(end) => match end {
                InvitationEnd::Expired => &problems::INVITATION_EXPIRED,
                InvitationEnd::Revoked => &problems::INVITATION_REVOKED,
                InvitationEnd::Used => &problems::INVITATION_USED,
            },
            Self::InvitationReplaced(_) => &problems::INVITATION_REPLACED,
            Self::TooManyInvitations => &problems::TOO_MANY_INVITATIONS,
            Self::Timeout => &problems::TIMEOUT,
            Self::Precondition { .. } => &problems::PRECONDITION,
            Self::TooLarge { .. } => &problems::TOO_LARGE,
            Self::MediaType => &problems::MEDIA_TYPE,
            Self::ContentEncoding => &problems::CONTENT_ENCODING,
            Self::TooManyFailures { .. } => &problems::TOO_MANY_FAILURES,
            Self::TooManyRequests { .. } => &problems::TOO_MANY_REQUESTS,
            Self::Unencrypted => &problems::UNENCRYPTED,
            Self::Unavailable | Self::Busy => &problems::UNAVAILABLE,
            Self::OutcomeUnknown => &problems::OUTCOME_UNKNOWN,
            Self::CallerUnknown(_) => &problems::CALLER_UNKNOWN,
            Self::Internal => &problems::INTERNAL,
        }
    }

    /// Adds the headers that belong to an error, whatever the body's format.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Unauthorized(_) | Self::Signature(_) => {
                // Two header fields in this order: most clients understand that.
                for challenge in [CHALLENGE_BASIC, CHALLENGE_BEARER] {
                    let challenge = HeaderValue::from_static(challenge);
                    headers.append(header::WWW_AUTHENTICATE, challenge);
                }
            }
            Self::ContentEncoding => {
                let identity = HeaderValue::from_static("identity");
                headers.insert(header::ACCEPT_ENCODING, identity);
            }
            Self::Precondition { tag: Some(tag), .. } => {
                if let Ok(etag) = HeaderValue::try_from(format!("\"{tag}\"")) {
                    headers.insert(header::ETAG, etag);
                }
            }
            Self::TooManyFailures { retry_after } | Self::TooManyRequests { retry_after } => {
                headers.insert(header::RETRY_AFTER, (*retry_after).into());
            }
            Self::Unavailable | Self::Busy | Self::OutcomeUnknown => {
                headers.insert(header::RETRY_AFTER, UNAVAILABLE_RETRY_AFTER.into());
            }
            _ => {}
        }
        if let Self::Signature(SignatureProblem::Clock { now, .. }) = self {
            // The sender uses it to measure its clock's offset.
            headers.insert(header::DATE, http_date(*now));
        }
    }

    /// A description of the error.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Malformed(detail) | Self::MalformedBody(detail) | Self::CallerUnknown(detail) => {
                detail.clone()
            }
            Self::Invalid(errors) | Self::ForbiddenPlaces(errors) => match errors.as_slice() {
                [only] => place(only),
                [first, ..] => format!("{} (and {} more)", place(first), errors.len() - 1),
                [] => "a value is wrong".to_owned(),
            },
            Self::Unauthorized(detail) | Self::Forbidden(detail) | Self::NotFound(detail) => {
                (*detail).to_owned()
            }
            Self::Signature(problem) => problem.detail(),
            Self::MethodNotAllowed => "the Allow header names the methods of this route".to_owned(),
            Self::InvitationEnded(end) => end.to_string(),
            Self::InvitationReplaced(refusal) => refusal.to_string(),
            Self::TooManyInvitations => Refusal::TooManyInvitations.to_string(),
            Self::Timeout => "the body did not arrive in time".to_owned(),
            Self::Precondition { is_weakened: true, .. } => "If-Match names the present entity tag as a proxy has changed it (W/ before it, or a content coding in it); have the proxy pass ETag on as it is, without compression".to_owned(),
            Self::Precondition { is_weakened: false, .. } => Refusal::Precondition {
                present: None,
                is_weakened: false,
            }
            .to_string(),
            Self::TooLarge { limit } => format!("a body has at most {limit} bytes here"),
            Self::MediaType => "send the body as Content-Type: application/json".to_owned(),
            Self::ContentEncoding => {
                "send the body uncompressed, without Content-Encoding".to_owned()
            }
            Self::TooManyFailures { retry_after } => {
                format!("too many wrong credentials came from this address; wait {retry_after} s")
            }
            Self::TooManyRequests { retry_after } => {
                format!("this token has used up its requests for this minute; wait {retry_after} s")
            }
            Self::Unencrypted => "without TLS this hub answers only /ping and signed requests, and none that returns a new secret: call it at https://, or sign (and never send a token here)".to_owned(),
            Self::Unavailable => {
                "the database does not answer, or takes no writes; try again".to_owned()
            }
            Self::Busy => "too many bodies are being received at the moment; try again".to_owned(),
            Self::OutcomeUnknown => ApplyError::Unknown.to_string(),
            Self::Internal => "the cause is in the hub's log".to_owned(),
        }
    }
}

/// Formats one error; the empty pointer means the whole document and is not printed.
fn place(error: &FieldError) -> String {
    if error.pointer.is_empty() {
        error.detail.clone()
    } else {
        format!("{}: {}", error.pointer, error.detail)
    }
}

/// A time in the format of HTTP (RFC 9110 section 5.6.7).
pub(super) fn http_date(time: Time) -> HeaderValue {
    let time = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .ok()
        .and_then(|text| HeaderValue::try_from(text).ok())
        .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let kind = self.kind();
        let problem = Problem {
            kind: format!("/problems/{}", kind.slug),
            title: kind.title.to_owned(),
            status: kind.status.as_u16(),
            detail: self.detail(),
            errors: match &self {
                Self::Invalid(errors) | Self::ForbiddenPlaces(errors) => errors.clone(),
                // The pointer to the whole document (RFC 6901).
                Self::TooLarge { .. } | Self::MalformedBody(_) => {
                    vec![FieldError {
                        pointer: String::new(),
                        detail: self.detail(),
                    }]
                }
                _ => Vec::new(),
            },
            request_id: request_id::current().map(|id| id.to_string()),
        };
        let mut response = (kind.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        self.add_headers(headers);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<Arc<StoreError>> for ApiError {
    fn from(error: Arc<StoreError>) -> Self {
        Self::from(Arc::as_ref(&error))
    }
}

impl From<&StoreError> for ApiError {
    fn from(error: &StoreError) -> Self {
        tracing::error!("{error}");
        match error {
            StoreError::Database(_)
            | StoreError::Full { .. }
            | StoreError::NoAnswer
            | StoreError::Open { .. }
            | StoreError::Malformed { .. } => Self::Unavailable,
            StoreError::Schema(_) | StoreError::NoHub { .. } | StoreError::Corrupt(_) => {
                Self::Internal
            }
        }
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Refused(refusal) => refusal.into(),
            ApplyError::Store(error) => Self::from(Arc::as_ref(&error)),
            ApplyError::Stopping | ApplyError::FileGone => Self::Unavailable,
            ApplyError::TimedOut => {
                tracing::error!("{error}");
                Self::Unavailable
            }
            ApplyError::Unknown => {
                tracing::error!("the database did not say in time whether a write was committed");
                Self::OutcomeUnknown
            }
            // Its location was logged when it happened.
            ApplyError::Panicked => Self::Internal,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Replayed => Self::Signature(SignatureProblem::Replay),
            Refusal::Order => Self::Signature(SignatureProblem::Order),
            Refusal::SignedBeforeRestore => Self::Signature(SignatureProblem::BeforeRestore),
            Refusal::NoSilo => Self::NotFound("there is no such silo"),
            Refusal::NoRecord => Self::NotFound("there is no such record"),
            Refusal::NoToken => Self::NotFound("there is no such token"),
            Refusal::RotatedAlready => Self::Forbidden(
                "this secret has been rotated already, and the new one was used: only the new one may rotate the token",
            ),
            Refusal::NoInvitation => {
                Self::NotFound("there is no invitation with this id that can still be used")
            }
            Refusal::TooManyInvitations => Self::TooManyInvitations,
            Refusal::InvitationEnded(end) => Self::InvitationEnded(end),
            Refusal::InvitationReplaced | Refusal::InvitationNotRedeemed => {
                Self::InvitationReplaced(refusal)
            }
            Refusal::WrongProof => Self::invalid("/proof", refusal),
            Refusal::NoUpdateKey => Self::NotFound("there is no such update key"),
            Refusal::WrongSecid => Self::Forbidden("this secid may not set this host"),
            Refusal::TooManyUnconfirmed => {
                Self::Forbidden("too many hosts are waiting to be confirmed by an admin")
            }
            Refusal::BoundMeanwhile => Self::Unavailable,
            Refusal::KeyTaken => Self::invalid("/key", refusal),
            Refusal::BadToken(wrong) => Self::invalid(wrong.pointer(), wrong.error),
            Refusal::NoSink => Self::NotFound("there is no such sink"),
            Refusal::SinkGone => Self::NotFound("no hub has this delivery's sink any more"),
            Refusal::NoDelivery => Self::NotFound("there is no such delivery"),
            Refusal::Precondition {
                present,
                is_weakened,
            } => Self::Precondition {
                tag: present.map(silo_tag),
                is_weakened,
            },
            Refusal::OtherKey => {
                tracing::error!("{refusal}");
                Self::Internal
            }
            // The body may contain `ip`, `ips` or nothing at all.
            Refusal::TooManyRecords => Self::invalid("", refusal),
            Refusal::NoAddress => Self::invalid("/ip", refusal),
            Refusal::NoAddressAt(index) => Self::invalid(format!("/set/{index}/ip"), refusal),
            Refusal::NoRecordAt(index) => Self::invalid(format!("/remove/{index}"), refusal),
        }
    }
}
