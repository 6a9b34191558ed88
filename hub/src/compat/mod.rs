//! Protocols that others invented, so that what people run already can tell the hub an address: one
//! file a protocol. Each ends in the same commands of the registry as REST, under the rights of the token
//! that is shown, and answers in words of its own. Called by the router alone.

mod dyndns2;
mod update_key;

use axum::Router;
use axum::routing::any;

use crate::http::Foreign;

/// Which of the foreign protocols are spoken that not everybody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// sftdyn's update keys right behind the root's slash too.
    pub sftdyn: bool,
}

/// The routes of every foreign protocol.
pub fn routes(compat: &Compat) -> Foreign {
    // Any method: `get` would answer `HEAD` too, which must not change anything.
    let routes = Router::new()
        .route("/nic/update", any(dyndns2::update))
        .route("/v3/update", any(dyndns2::update))
        .route("/u/", any(update_key::below_u))
        .route("/u/{*key}", any(update_key::below_u));
    let routes = match compat.sftdyn {
        true => routes
            .route("/", any(update_key::root))
            .fallback(update_key::below_root),
        false => routes,
    };
    Foreign {
        routes,
        has_root: compat.sftdyn,
    }
}
