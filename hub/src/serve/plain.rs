//! The additional listener without TLS: for `/ping`, and for signed requests, which do not contain the secret. All
//! other requests are refused before any processing, and so are requests whose response would contain a secret. The
//! operator may allow specific DDNS routes too (`tls.plain_allow`), for devices without TLS.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;

use crate::compat::{self, InTheOpen};
use crate::http::error::ApiError;
use crate::http::signing::is_open;
use crate::http::{self, Front, Hub};
use crate::tls::PlainAllow;

/// Lets only `/ping`, signed requests and the allowed routes through to the hub's routes, which verify the signature or
/// secret.
pub(super) fn gated(hub: &Arc<Hub>, allowed: PlainAllow) -> Front {
    let foreign = compat::routes_in_the_open(&allowed);
    let allowed = InTheOpen(Arc::new(allowed));
    http::front_behind(hub, foreign, move |routes| {
        let allowed = allowed.clone();
        routes.layer(from_fn(move |mut request: Request, next: Next| {
            let allowed = allowed.clone();
            async move {
                if !may_pass(&request) && !compat::is_allowed_in_the_open(&request, &allowed) {
                    return ApiError::Unencrypted.into_response();
                }
                request.extensions_mut().insert(allowed);
                next.run(request).await
            }
        }))
    })
}

fn may_pass(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    match route.map(MatchedPath::as_str) {
        Some("/ping") => true,
        // The signature would not be verified.
        Some(route) if is_open(route) => false,
        // The response contains a new token's secret. A signature protects its integrity, not its confidentiality.
        Some(route) if route.starts_with("/tokens") && request.method() == Method::POST => false,
        // So does that with an invitation.
        Some("/invitations") if request.method() == Method::POST => false,
        _ => claims_signature_alone(request.headers()),
    }
}

/// Whether a request has a signature (RFC 9421 section 4.1), and contains no secret.
fn claims_signature_alone(headers: &HeaderMap) -> bool {
    headers.contains_key("signature-input") && !headers.contains_key(header::AUTHORIZATION)
}
