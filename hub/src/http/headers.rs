//! Header fields that several resources set.

use axum::body::Body;
use axum::http::header::{CONTENT_LOCATION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::error::ApiError;

/// `Cache-Control` of what only the client may store, and must revalidate each time.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Whether a write changed anything, as a boolean of Structured Fields (RFC 9651).
pub(super) const SILO_CHANGED: HeaderName = HeaderName::from_static("silo-changed");

/// `Preference-Applied` (RFC 7240 section 3).
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The answer to a write, without the representation if the client prefers that (RFC 7240 section 4.2).
pub(super) fn representation_or_none(mut response: Response, is_minimal: bool) -> Response {
    if !is_minimal {
        return response;
    }
    *response.body_mut() = Body::empty();
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_LOCATION);
    let applied = HeaderValue::from_static("return=minimal");
    headers.insert(PREFERENCE_APPLIED, applied);
    response
}

pub(super) fn changed(changed: bool) -> HeaderValue {
    HeaderValue::from_static(if changed { "?1" } else { "?0" })
}

/// A header value of texts that were parsed before, and so contain no control characters.
pub(super) fn header_value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|_| ApiError::Internal)
}
