//! Protocols that others invented, so that what people run already can tell the hub an address: one
//! file a protocol. Each ends in the same commands of the registry as REST, under the rights of the token
//! that is shown, and answers in words of its own. Called by the router alone.

mod dyndns2;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;

use crate::http::Hub;

/// The routes of every foreign protocol.
pub fn routes() -> Router<Arc<Hub>> {
    // Any method: `get` would answer `HEAD` too, which must not change anything.
    Router::new()
        .route("/nic/update", any(dyndns2::update))
        .route("/v3/update", any(dyndns2::update))
}
