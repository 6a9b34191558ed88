//! Protocols that others invented, so that what people run already can tell the hub an address: one
//! file a protocol. Each ends in the same commands of the registry as REST, under the rights of the token
//! that is shown, and answers in words of its own. Called by the router alone.

mod dynahost;
mod dyndns2;
mod update_key;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::deliver::settings::OpenSink;
use crate::http::error::ApiError;
use crate::http::{Foreign, Hub};
use dynahost::Door;

pub use dynahost::{Dynahost, Hostnames};
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use dyndns2::fuzz;

/// The longest form, in bytes: several times what the most and longest values need, all percent-encoded.
/// Strangers send such forms, and each parameter costs many times its bytes.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// Which of the foreign protocols are spoken that not everybody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// sftdyn's update keys right behind the root's slash too.
    pub sftdyn: bool,
    /// dynahost's `/update` and `/log`.
    pub dynahost: Option<Dynahost>,
}

/// The routes of every foreign protocol. `sinks`: who is told of changes.
pub fn routes(compat: &Compat, sinks: &[Arc<OpenSink>]) -> Foreign {
    // Any method: `get` would answer `HEAD` too, which must not change anything.
    let routes = Router::new()
        .route("/nic/update", any(dyndns2::update))
        .route("/v3/update", any(dyndns2::update))
        .route("/u/", any(update_key::below_u))
        .route("/u/{*key}", any(update_key::below_u));
    let routes = match &compat.dynahost {
        Some(settings) => with_dynahost(routes, Door::new(settings.clone(), sinks)),
        None => routes,
    };
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

/// 405, with the methods that there are.
fn not_allowed(methods: &'static str) -> Response {
    let mut response = ApiError::MethodNotAllowed.into_response();
    let allow = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, allow);
    response
}

fn with_dynahost(routes: Router<Arc<Hub>>, door: Door) -> Router<Arc<Hub>> {
    let update = Arc::new(door);
    let log = Arc::clone(&update);
    routes
        .route(
            "/update",
            any(async move |State(hub): State<Arc<Hub>>, request: Request| {
                update.update(&hub, request).await
            }),
        )
        .route(
            "/log",
            any(async move |State(hub): State<Arc<Hub>>, request: Request| {
                log.log(&hub, request).await
            }),
        )
}
