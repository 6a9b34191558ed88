//! Pages of other sites that may call the hub (CORS: the Fetch standard, section "HTTP extensions"): only those that the
//! configuration names, and with a token that the page itself sends. `Access-Control-Allow-Credentials` is never sent, so
//! browsers add no stored credentials.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::config::cors::Origin;

/// The methods that a page may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, PATCH, POST, DELETE");
/// The headers that a page may send, besides those that are always allowed.
const SENT: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-Match, If-None-Match, Prefer, Last-Event-ID, Silo-Agent, Silo-Applied, Content-Digest, Signature, Signature-Input",
);
/// The headers that a page may read, besides those that are always readable.
const READ: HeaderValue = HeaderValue::from_static(
    "ETag, Link, Location, Content-Location, Retry-After, Allow, Date, Preference-Applied, Silo-Changed, Silo-Database, Silo-Stale, WWW-Authenticate, Content-Digest, Signature, Signature-Input",
);
/// For how many seconds a browser may remember the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The pages that may call the hub.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Pages of these origins.
    pub fn new(origins: &[Origin]) -> Self {
        let origins = origins.iter();
        Self {
            origins: origins
                .filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok())
                .collect(),
        }
    }

    /// Whether pages of any origin may call.
    pub(super) fn is_used(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The origin of a request, if its pages may call.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if !self.is_used() {
            return None;
        }
        let mut shown = headers.get_all(ORIGIN).iter();
        let origin = shown
            .next()
            .filter(|origin| self.origins.contains(origin))?;
        shown.next().is_none().then(|| origin.clone())
    }

    /// Whether a page of another site that sends this may write: it may call, and sends a token itself. Browsers add the
    /// credentials of Basic on their own.
    pub(super) fn may_write(&self, headers: &HeaderMap, is_signed: bool) -> bool {
        let sends_bearer = || {
            let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
            let scheme = shown.and_then(|shown| shown.get(..7));
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
        };
        self.allowed(headers).is_some() && (is_signed || sends_bearer())
    }

    /// Whether a request is a preflight of a page that may call.
    pub(super) fn is_preflight(&self, method: &Method, headers: &HeaderMap) -> bool {
        *method == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.allowed(headers).is_some()
    }
}

/// The response to a preflight; [`add`] completes it.
pub(super) fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, SENT),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Completes a response where pages may call: `origin` is that of the request, if it may.
pub(super) fn add(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    }
}
