//! Foreign protocols, so that existing clients can send an address to the hub: one file per protocol. Each runs the
//! same commands of the registry as REST, with the rights of the token used, and responds in its own format. Called
//! only by the router.

mod dynahost;
mod dyndns2;
#[doc(hidden)]
pub mod openapi;
mod update_key;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::config::compat::Compat;
use crate::deliver::kinds::OpenSink;
use crate::http::error::ApiError;
use crate::http::{Foreign, Hub};
use crate::tls::PlainAllow;
use dynahost::DynahostRoutes;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use dyndns2::fuzz;

/// The routes of dyndns2; also in the form of UniFi routers, with an extra slash.
const DYNDNS2_ROUTES: [&str; 8] = [
    "/nic/update",
    "//nic/update",
    "/nic//update",
    "/nic/update/",
    "/v3/update",
    "//v3/update",
    "/v3//update",
    "/v3/update/",
];

/// The route of update keys.
const UPDATE_KEY_ROUTE: &str = "/u/{*key}";

/// The maximum size of a form, in bytes: several times what the most and longest values need, all percent-encoded.
/// Unauthenticated clients send such forms, and each parameter uses many times its size in memory.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// Marks a request without TLS, where another listener has TLS, and contains what is allowed for it.
#[derive(Clone, Debug)]
pub(crate) struct InTheOpen(pub(crate) Arc<PlainAllow>);

/// The routes of foreign protocols on the listener without TLS.
pub(crate) fn routes_in_the_open(allowed: &PlainAllow) -> Foreign {
    let mut routes = Router::new();
    if allowed.dyndns2 {
        for route in DYNDNS2_ROUTES {
            routes = routes.route(route, any(dyndns2::update));
        }
    }
    if !allowed.update_keys.is_empty() {
        routes = routes.route(UPDATE_KEY_ROUTE, any(update_key::below_u));
    }
    Foreign {
        routes,
        ..Foreign::default()
    }
}

/// Whether a request without TLS is for a route that allows it; the route checks token and key.
pub(crate) fn is_allowed_in_the_open(request: &Request, InTheOpen(allowed): &InTheOpen) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    route.is_some_and(|route| match route.as_str() {
        UPDATE_KEY_ROUTE => !allowed.update_keys.is_empty(),
        route => allowed.dyndns2 && DYNDNS2_ROUTES.contains(&route),
    })
}

/// The routes of all foreign protocols. `sinks`: the configured sinks.
pub fn routes(compat: &Compat, sinks: &[Arc<OpenSink>]) -> Foreign {
    // Any method: `get` would handle `HEAD` too, which must not change anything.
    let routes = DYNDNS2_ROUTES
        .into_iter()
        .fold(Router::new(), |routes, route| {
            routes.route(route, any(dyndns2::update))
        });
    let routes = routes
        .route("/u/", any(update_key::below_u))
        .route(UPDATE_KEY_ROUTE, any(update_key::below_u));
    let routes = match &compat.dynahost {
        Some(settings) => with_dynahost(routes, DynahostRoutes::new(settings.clone(), sinks)),
        None => routes,
    };
    let routes = if compat.sftdyn {
        routes
            .route("/", any(update_key::root))
            .fallback(update_key::below_root)
    } else {
        routes
    };
    Foreign {
        routes,
        has_root: compat.sftdyn,
        pages: Router::new(),
    }
}

/// 405, with the allowed methods.
fn not_allowed(methods: &'static str) -> Response {
    let mut response = ApiError::MethodNotAllowed.into_response();
    let allow = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, allow);
    response
}

fn with_dynahost(routes: Router<Arc<Hub>>, door: DynahostRoutes) -> Router<Arc<Hub>> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::update_key::TAKEN;
    use crate::http::own_routes;

    /// Segments without a route of REST or a foreign protocol: the pages for browsers, what browsers ask for by
    /// themselves, and what is kept for routes to come.
    const NO_ROUTES: [&str; 4] = ["dashboard", "favicon.ico", "invitations", "robots.txt"];

    /// The paths of a router's routes, out of what axum shows of it.
    pub(super) fn paths(routes: &Router<Arc<Hub>>) -> BTreeSet<String> {
        let shown = format!("{routes:?}");
        let paths = shown.split("RouteId(").filter_map(|piece| {
            let (_, path) = piece.split_once("): \"/")?;
            Some(format!("/{}", path.split('"').next()?))
        });
        paths.collect()
    }

    fn first_segments(routes: &Router<Arc<Hub>>) -> BTreeSet<String> {
        let paths = paths(routes);
        let first = paths
            .iter()
            .filter_map(|path| path.split('/').find(|segment| !segment.is_empty()));
        first
            .filter(|segment| !segment.starts_with('{'))
            .map(str::to_owned)
            .collect()
    }

    /// With `compat.sftdyn` a key stands where these would be taken for the route.
    #[test]
    fn update_keys_named_like_any_route_are_taken() {
        let compat = "{sftdyn: true, dynahost: {silo: home, hostnames: [nas]}}";
        let compat: Compat = serde_yaml::from_str(compat).unwrap();
        let mut found = first_segments(&own_routes().into());
        found.extend(first_segments(&routes(&compat, &[]).routes));
        for known in ["silos", "ping", "nic", "u", "update"] {
            assert!(found.contains(known), "{known} is not seen: {found:?}");
        }
        found.extend(NO_ROUTES.map(str::to_owned));
        assert_eq!(found, TAKEN.map(str::to_owned).into());
    }
}
