//! The REST interface: the router with its layers, and what handlers share. One file per resource. What foreign
//! protocols need too, such as the caller and its address, is `pub(crate)`.

mod audit;
pub(crate) mod auth;
mod bodies;
pub(crate) mod body_budget;
pub(crate) mod client_ip;
mod conditional;
pub(crate) mod connection;
mod date;
mod deliveries;
mod dispatch;
pub(crate) mod error;
mod events;
mod finish;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod history;
mod host;
mod json;
pub(crate) mod open;
pub(crate) mod origin;
mod page;
mod parameters;
mod prefer;
mod problem_pages;
mod problems;
mod records;
pub(crate) mod request;
pub(crate) mod signing;
mod silos;
mod token_rate;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::routing::{delete, get, post};
use tower::{Layer, ServiceBuilder, layer::layer_fn};
use tower_http::trace::TraceLayer;

use crate::auth::failure_limit::FailureLimit;
use crate::auth::secrets::HubKey;
use crate::auth::token_cache::TokenCache;
use crate::domain::signed_not_before::KnownSignedNotBefore;
use crate::domain::time::Clock;
use crate::follow::changes::Changes;
use crate::follow::database_health::DatabaseHealth;
use crate::follow::revision::Revision;
use crate::read::view::View;
use crate::registry::Registry;
use crate::store::Store;

pub use body_budget::BodyBudgets;
pub use client_ip::TrustedProxies;
pub use signing::{Mismatches, ReadNonces};
pub use token_rate::TokenRate;

use conditional::IfMatchLayer;
pub use date::DateGuard;
use dispatch::RouteDispatch;
use error::ApiError;
use finish::{Finish, FinishLayer};
use host::RequireHost;
use signing::SigningLayer;

/// The state of all handlers.
#[derive(Debug)]
pub struct Hub {
    /// For reads that the view does not serve.
    pub store: Store,
    /// For writes.
    pub registry: Registry,
    /// For reads of silos.
    pub view: View,
    /// The known tokens.
    pub tokens: TokenCache,
    /// Announces committed revisions.
    pub revision: Revision,
    /// Recent changes, for streams of all silos.
    pub changes: Changes,
    /// Seals the signing keys of new tokens.
    pub key: HubKey,
    /// Whether the database is available.
    pub database_health: DatabaseHealth,
    /// The clock.
    pub clock: Clock,
    /// Detects whether hyper's `Date` is right.
    pub dates: Arc<DateGuard>,
    /// Counts wrong credentials.
    pub failures: FailureLimit,
    /// The nonces that signed reads have spent.
    pub nonces: ReadNonces,
    /// Logs signatures that do not match.
    pub mismatches: Mismatches,
    /// Signatures made before this time are refused.
    pub signed_not_before: KnownSignedNotBefore,
    /// Counts the requests of tokens.
    pub rate: TokenRate,
    /// The memory for request bodies.
    pub body_budgets: BodyBudgets,
    /// The proxies that may report a client's address.
    pub trusted_proxies: TrustedProxies,
}

/// Routes of foreign protocols.
#[derive(Debug, Default)]
pub struct Foreign {
    /// The routes.
    pub routes: Router<Arc<Hub>>,
    /// Whether they include `/` and a fallback.
    pub has_root: bool,
}

/// All routes with the layers around them.
pub type Front = Finish<RouteDispatch>;

/// Every route of REST but the root. Their first segments are no update keys: see
/// [`crate::domain::update_key::TAKEN`].
pub(crate) fn own_routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/ping", get(open::ping).post(open::ping).put(open::ping))
        .route("/ip", get(open::ip))
        .route("/healthz", get(open::healthz))
        .route("/readyz", get(open::readyz))
        .route("/metrics", get(open::metrics))
        .route("/silos", get(silos::list))
        .route(
            "/silos/{id}",
            get(silos::read).put(silos::replace).delete(silos::remove),
        )
        .route(
            "/silos/{id}/records/{hostname}",
            get(records::read).put(records::set).delete(records::remove),
        )
        .route("/silos/{id}/history", get(history::list))
        .route("/silos/{id}/events", get(events::of_silo))
        .route("/events", get(events::of_all))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{token}", delete(tokens::revoke))
        .route("/tokens/{token}/rotate", post(tokens::rotate))
        .route("/audit", get(audit::list))
        .route("/problems/{slug}", get(problem_pages::page))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{delivery}/retry", post(deliveries::retry))
}

/// Every route of REST and `foreign` ones, which share its layers.
pub fn front(hub: Arc<Hub>, foreign: Foreign) -> Front {
    let routes = own_routes().merge(foreign.routes);
    let has_root = foreign.has_root;
    let routes = match has_root {
        true => routes,
        false => routes
            .route("/", get(open::root))
            .fallback(|| async { ApiError::NotFound("there is no such route") }),
    };
    let direct = routes.method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed });
    // As one layer: each layer of a router costs an allocation per request.
    let layered = direct.clone().layer(
        ServiceBuilder::new()
            .layer(layer_fn(RequireHost::new))
            .layer(SigningLayer {
                hub: Arc::clone(&hub),
                has_fallback: !has_root,
            })
            // Inside of the signing layer: its response is signed, too.
            .layer(IfMatchLayer),
    );
    let dates = Arc::clone(&hub.dates);
    let direct = direct.with_state(Arc::clone(&hub));
    let dispatch = RouteDispatch::new(Arc::clone(&hub), direct, layered.with_state(hub));
    // Requests are traced at debug level only: otherwise the layer is left out.
    let dispatch = match tracing::enabled!(tracing::Level::DEBUG) {
        true => dispatch.map(|routes| {
            routes.layer(
                TraceLayer::new_for_http()
                    // A 5xx is logged with its cause where it occurs.
                    .on_failure(())
                    .make_span_with(span),
            )
        }),
        false => dispatch,
    };
    FinishLayer { dates }.layer(dispatch)
}

/// Contains the route and never the target, which may contain a secret.
fn span(request: &Request) -> tracing::Span {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str);
    tracing::debug_span!("request", method = %request.method(), route)
}
