//! Header fields that several resources set.

use axum::http::{HeaderName, HeaderValue};

use super::error::ApiError;

/// `Cache-Control` of what only the client may store, and must revalidate each time.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Whether a write changed anything, as a boolean of Structured Fields (RFC 9651).
pub(super) const SILO_CHANGED: HeaderName = HeaderName::from_static("silo-changed");

pub(super) fn changed(changed: bool) -> HeaderValue {
    HeaderValue::from_static(match changed {
        true => "?1",
        false => "?0",
    })
}

/// A header value of texts that were parsed before, and so contain no control characters.
pub(super) fn header_value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|_| ApiError::Internal)
}
