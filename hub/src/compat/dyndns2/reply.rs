//! The return codes of dyndns2: one line per host, or one line for the whole request.

use std::fmt;

use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use silo_shared::silo::Addresses;

use crate::http::error::{ApiError, CHALLENGE_BASIC, UNAVAILABLE_RETRY_AFTER};

/// The result for one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It has these addresses now.
    Good(Addresses),
    /// It already had them.
    NoChange(Addresses),
    /// Not a hostname.
    NotFqdn,
    /// The token may not write it.
    NoHost,
    /// The address can't be used, or the silo is full.
    DnsErr,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(addresses) => write!(f, "good {}", Commas(addresses)),
            Self::NoChange(addresses) => write!(f, "nochg {}", Commas(addresses)),
            Self::NotFqdn => f.write_str("notfqdn"),
            Self::NoHost => f.write_str("nohost"),
            Self::DnsErr => f.write_str("dnserr"),
        }
    }
}

/// Formats addresses as ddclient 4 sends and reads them.
struct Commas<'a>(&'a Addresses);

impl fmt::Display for Commas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ip in self.0.iter() {
            write!(f, "{separator}{ip}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// A response to a whole request.
#[derive(Debug)]
pub(super) enum Reply {
    /// A line for each host, in the order of the request.
    Hosts(Vec<Word>),
    /// No hostname at all.
    NoHostname,
    /// Too many hostnames.
    TooManyHostnames,
    /// No valid credential, or the silo is not specified.
    BadAuth,
    /// A later try may succeed: 503, since inadyn stops permanently on anything but a 5xx.
    Later {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// Outside of the protocol, such as a body that is too large.
    Other(ApiError),
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unauthorized(_) => Self::BadAuth,
            ApiError::TooManyFailures { retry_after }
            | ApiError::TooManyRequests { retry_after } => Self::Later { retry_after },
            ApiError::Unavailable | ApiError::Internal => Self::Later {
                retry_after: UNAVAILABLE_RETRY_AFTER,
            },
            other => Self::Other(other),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = match self {
            Self::Hosts(words) => {
                let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
                lines.into_response()
            }
            Self::NoHostname => "notfqdn\n".into_response(),
            Self::TooManyHostnames => "numhost\n".into_response(),
            Self::BadAuth => {
                let basic = HeaderValue::from_static(CHALLENGE_BASIC);
                let headers = [(WWW_AUTHENTICATE, basic)];
                (StatusCode::UNAUTHORIZED, headers, "badauth\n").into_response()
            }
            Self::Later { retry_after } => {
                let headers = [(RETRY_AFTER, HeaderValue::from(retry_after))];
                (StatusCode::SERVICE_UNAVAILABLE, headers, "911\n").into_response()
            }
            Self::Other(error) => error.into_response(),
        };
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
        response
    }
}
