//! The REST interface: the router with its layers, and what handlers share. One file per resource. What foreign
//! protocols need too, such as the caller and its address, is `pub(crate)`.

mod agent_claim;
pub(crate) mod agents;
mod audit;
pub(crate) mod auth;
pub(crate) mod bodies;
pub(crate) mod body_budget;
pub(crate) mod client_ip;
mod conditional;
pub(crate) mod connection;
mod content_tag;
mod cors;
pub(crate) mod database_copy;
mod date;
pub(crate) mod deliveries;
mod dispatch;
pub(crate) mod error;
pub(crate) mod events;
mod finish;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod history;
pub(crate) mod host;
mod invitation_exchange;
pub(crate) mod invitation_line;
mod invitations;
mod json;
pub(crate) mod load;
mod metrics;
pub(crate) mod monitor;
mod observe;
pub(crate) mod open;
pub(crate) mod openapi;
pub(crate) mod origin;
mod page;
mod parameters;
mod prefer;
mod problem_pages;
mod problems;
mod reach;
mod record_document;
pub(crate) mod record_filter;
mod record_list;
pub(crate) mod record_search;
mod records;
pub(crate) mod request;
pub(crate) mod revert;
mod session_notes;
pub(crate) mod session_watch;
pub(crate) mod signing;
mod silo_list;
mod silos;
pub(crate) mod site;
pub(crate) mod status;
mod token_rate;
mod tokens;
mod waiting;
mod watchers;

use std::sync::Arc;

use axum::Router;
use tower::{Layer, ServiceBuilder, layer::layer_fn};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::failure_limit::FailureLimit;
use crate::auth::secrets::HubKey;
use crate::auth::session_ids::SessionIds;
use crate::auth::token_cache::TokenCache;
use crate::deliver::attempts::Attempts;
use crate::domain::signed_not_before::KnownSignedNotBefore;
use crate::domain::time::Clock;
use crate::follow::bus::Bus;
use crate::follow::changes::Changes;
use crate::follow::database_health::DatabaseHealth;
use crate::follow::database_id::KnownDatabaseId;
use crate::read::view::View;
use crate::registry::Registry;
use crate::store::Store;

pub use body_budget::BodyBudgets;
pub use client_ip::TrustedProxies;
pub use cors::Cors;
pub use metrics::front as metrics_front;
pub use monitor::Monitor;
pub use observe::Requests;
pub use openapi::Document;
pub use session_notes::SessionNotes;
pub use signing::{InvitationLookups, Mismatches, ReadNonces};
pub use site::Sites;
pub use token_rate::TokenRate;
pub use watchers::Watchers;

use conditional::IfMatchLayer;
pub use date::DateGuard;
use dispatch::RouteDispatch;
use error::ApiError;
use finish::{Finish, FinishLayer};
use host::RequireHost;
use observe::Observe;
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
    pub bus: Bus,
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
    /// The id of the database, for every response.
    pub database_id: KnownDatabaseId,
    /// Counts wrong credentials.
    pub failures: FailureLimit,
    /// The nonces that signed reads have spent.
    pub nonces: ReadNonces,
    /// Logs signatures that do not match.
    pub mismatches: Mismatches,
    /// The session ids that were looked up.
    pub session_ids: SessionIds,
    /// Limits lookups of invitations.
    pub invitation_lookups: InvitationLookups,
    /// The sessions that are being noted as used.
    pub session_notes: SessionNotes,
    /// Signatures made before this time are refused.
    pub signed_not_before: KnownSignedNotBefore,
    /// Counts the requests of tokens.
    pub rate: TokenRate,
    /// The pages of other sites that may call from a browser.
    pub cors: Cors,
    /// Where browsers see the hub.
    pub sites: Sites,
    /// Whether there are pages for browsers.
    pub dashboard: bool,
    /// The memory for request bodies.
    pub body_budgets: BodyBudgets,
    /// The proxies that may report a client's address.
    pub trusted_proxies: TrustedProxies,
    /// The description of the interface.
    pub openapi: fn() -> &'static Document,
    /// Counts requests.
    pub requests: Requests,
    /// Counts waiting reads and event streams.
    pub watchers: Watchers,
    /// Counts attempts of deliveries.
    pub attempts: Attempts,
    /// What else the hub tells of itself.
    pub monitor: Monitor,
}

/// Routes besides those of REST: of foreign protocols, and pages for browsers.
#[derive(Debug, Default)]
pub struct Foreign {
    /// The routes.
    pub routes: Router<Arc<Hub>>,
    /// Whether they include `/` and a fallback.
    pub has_root: bool,
    /// The pages, all below `/dashboard`. Their own layer handles the host, and they know no signatures.
    pub pages: Router<Arc<Hub>>,
}

/// All routes with the layers around them.
pub type Front = Finish<RouteDispatch>;

/// Every route of REST but the root. Their first segments are no update keys: see
/// [`crate::domain::update_key::TAKEN`].
pub(crate) fn own_routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(open::ping))
        .routes(routes!(open::ip))
        .routes(routes!(open::healthz))
        .routes(routes!(open::readyz))
        .routes(routes!(openapi::read))
        .routes(routes!(problem_pages::page))
        .routes(routes!(open::version))
        .routes(routes!(silo_list::list))
        .routes(routes!(record_search::search))
        .routes(routes!(silos::read, silos::replace, silos::remove))
        .routes(routes!(record_list::list, record_list::change))
        .routes(routes!(revert::revert))
        .routes(routes!(records::read, records::set, records::remove))
        .routes(routes!(history::list))
        .routes(routes!(agents::list))
        .routes(routes!(events::of_silo))
        .routes(routes!(events::of_all))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::own))
        .routes(routes!(tokens::revoke, tokens::change))
        .routes(routes!(tokens::rotate))
        .routes(routes!(invitations::list, invitations::create))
        .routes(routes!(invitation_exchange::read, invitations::revoke))
        .routes(routes!(invitation_exchange::redeem))
        .routes(routes!(invitation_exchange::confirm))
        .routes(routes!(audit::list))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::retry))
        .routes(routes!(metrics::read))
        .routes(routes!(status::read))
}

/// The root, where no foreign protocol has it.
pub(crate) fn root_route() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new().routes(routes!(open::root))
}

/// Every route of REST and `foreign` ones. Only those of REST have signatures and conditional reads: foreign protocols
/// know neither, and some write on `GET`.
pub fn front(hub: Arc<Hub>, foreign: Foreign) -> Front {
    let dispatch = dispatch(&hub, foreign);
    finish(&hub, dispatch)
}

/// The same behind a gate, which wraps the routes and so sees every request.
pub(crate) fn front_behind(
    hub: &Arc<Hub>,
    foreign: Foreign,
    gate: impl Fn(Router) -> Router,
) -> Front {
    let RouteDispatch {
        direct, layered, ..
    } = dispatch(hub, foreign);
    let gated = RouteDispatch {
        hub: None,
        direct: gate(direct),
        layered: gate(layered),
    };
    finish(hub, gated)
}

/// Counts the requests of all routes, and finishes responses.
fn finish(hub: &Hub, dispatch: RouteDispatch) -> Front {
    let observe = |routes: Router| {
        let requests = hub.requests.clone();
        routes.layer(layer_fn(move |inner| Observe {
            inner,
            requests: requests.clone(),
        }))
    };
    let observed = RouteDispatch {
        hub: dispatch.hub,
        direct: observe(dispatch.direct),
        layered: observe(dispatch.layered),
    };
    let dates = Arc::clone(&hub.dates);
    let database_id = hub.database_id.clone();
    let cors = Arc::new(hub.cors.clone());
    let finish = FinishLayer {
        dates,
        database_id,
        cors,
    };
    finish.layer(observed)
}

fn dispatch(hub: &Arc<Hub>, foreign: Foreign) -> RouteDispatch {
    let own = if foreign.has_root {
        own_routes()
    } else {
        own_routes()
            .merge(root_route())
            .fallback(|| async { ApiError::NotFound("there is no such route") })
    };
    let not_allowed = || async { ApiError::MethodNotAllowed };
    let own = Router::from(own).method_not_allowed_fallback(not_allowed);
    let foreign_routes = foreign.routes.method_not_allowed_fallback(not_allowed);
    // As one layer: each layer of a router costs an allocation per request.
    let own_layers = ServiceBuilder::new()
        .layer(layer_fn(RequireHost::new))
        .layer(SigningLayer {
            hub: Arc::clone(hub),
        })
        // Inside of the signing layer: its response is signed, too.
        .layer(IfMatchLayer);
    let layered = own.clone().layer(own_layers);
    let layered = layered.merge(foreign_routes.clone().layer(layer_fn(RequireHost::new)));
    let layered = layered.merge(foreign.pages.clone());
    let direct = own.merge(foreign_routes).merge(foreign.pages);
    RouteDispatch {
        hub: Some(Arc::clone(hub)),
        direct: direct.with_state(Arc::clone(hub)),
        layered: layered.with_state(Arc::clone(hub)),
    }
}
