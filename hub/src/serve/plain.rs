//! The listener without TLS beside one with it: for `/ping`, and for signed requests, whose secret never
//! travels. Everything else is refused before anybody looks at it, and so are requests whose answer would
//! hold a secret.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::http::signing::is_open;

/// Lets only `/ping` and signed requests through to `routes`, which judge the signature.
pub(super) fn only_signed(routes: Router) -> Router {
    routes.layer(from_fn(gate))
}

async fn gate(request: Request, next: Next) -> Response {
    match may_pass(&request) {
        true => next.run(request).await,
        false => ApiError::Unencrypted.into_response(),
    }
}

fn may_pass(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    match route.map(MatchedPath::as_str) {
        Some("/ping") => true,
        // Nobody would look at the signature.
        Some(route) if is_open(route) => false,
        // The answer holds a new token's secret. A signature keeps it from being changed, not from being read.
        Some(route) if route.starts_with("/tokens") && request.method() == Method::POST => false,
        _ => claims_signature_alone(request.headers()),
    }
}

/// Whether a request says that it is signed (RFC 9421 section 4.1), and shows no secret.
fn claims_signature_alone(headers: &HeaderMap) -> bool {
    headers.contains_key("signature-input") && !headers.contains_key(header::AUTHORIZATION)
}
