//! The listener without TLS beside one with it: for `/ping`, and for signed requests, whose secret never
//! travels. Everything else is refused before anybody looks at it, and so are requests whose answer would
//! hold a secret.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;

/// Lets only `/ping` and signed requests through to `routes`, which judge the signature.
pub(super) fn only_signed(routes: Router) -> Router {
    routes.layer(from_fn(gate))
}

async fn gate(request: Request, next: Next) -> Response {
    if is_answered_with_secret(&request) {
        ApiError::Unencrypted.into_response()
    } else if request.uri().path() == "/ping" || claims_signature_alone(request.headers()) {
        next.run(request).await
    } else {
        ApiError::Unencrypted.into_response()
    }
}

/// Whether a request makes a token or rotates one, so that the answer holds the new secret. A signature keeps
/// it from being changed, not from being read.
fn is_answered_with_secret(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    request.method() == Method::POST
        && route.is_some_and(|route| route.as_str().starts_with("/tokens"))
}

/// Whether a request says that it is signed (RFC 9421 section 4.1), and shows no secret.
fn claims_signature_alone(headers: &HeaderMap) -> bool {
    headers.contains_key("signature-input") && !headers.contains_key(header::AUTHORIZATION)
}
