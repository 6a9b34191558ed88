//! The routes without a credential, and `/version`, which requires one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION, VARY};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::api::CallerAddress;
use url::form_urlencoded;

use super::Hub;
use super::auth::Caller;
use super::client_ip::ClientIp;
use super::error::ApiError;
use super::headers::PRIVATE;
use super::openapi::{self, tags};
use super::site::{self, accepts_html};
use utoipa::ToSchema;

/// A greeting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Greeting {
    #[schema(example = "This is a Silo hub.")]
    message: &'static str,
    /// The path of this document.
    #[schema(example = "/openapi.json")]
    openapi: &'static str,
}

/// The answer to a ping.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pong {
    #[schema(example = "PONG")]
    message: &'static str,
}

/// The answer of a hub that is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Names this service
///
/// A request with a parameter such as `hostname` or `myip` is refused (400): it was meant for a DDNS protocol.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "readRoot",
    tag = tags::OPEN,
    security(()),
    responses(
        (status = 200, description = "A greeting, with the path of this document.", body = Greeting, headers(("Vary" = String))),
        (status = 303, description = "With `Accept: text/html`, as browsers send it: the dashboard, unless it is switched off.", headers(("Location" = String), ("Vary" = String))),
        openapi::problem_sets::OpenRead,
    ),
)]
pub(crate) async fn root(
    State(hub): State<Arc<Hub>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = uri.query().unwrap_or("").as_bytes();
    let is_update = form_urlencoded::parse(query).any(|(name, _)| {
        UPDATES
            .iter()
            .any(|update| name.eq_ignore_ascii_case(update))
    });
    if is_update {
        let detail =
            "nothing is updated here: send updates to /nic/update?hostname=NAME&myip=ADDRESS";
        return Err(ApiError::Malformed(detail.to_owned()));
    }
    let vary = [(VARY, "Accept")];
    if hub.dashboard && accepts_html(&headers) {
        let to = [(LOCATION, site::START)];
        return Ok((StatusCode::SEE_OTHER, vary, to).into_response());
    }
    let greeting = Greeting {
        message: "This is a Silo hub.",
        openapi: "/openapi.json",
    };
    Ok((vary, Json(greeting)).into_response())
}

/// Parameters of updates that dyndns.py and similar clients send to `/`.
const UPDATES: [&str; 5] = ["host", "hostname", "myip", "ip", "ipaddr"];

/// Checks the connection
#[utoipa::path(
    method(get, post, put),
    path = "/ping",
    operation_id = "ping",
    tag = tags::OPEN,
    security(()),
    responses(
        (status = 200, description = "The hub answers.", body = Pong),
        openapi::problem_sets::OpenRead,
    ),
)]
pub(super) async fn ping() -> Json<Pong> {
    Json(Pong { message: "PONG" })
}

/// Returns the address that the request comes from
///
/// `X-Forwarded-For` and `Forwarded` count only from a proxy in `trusted_proxies`. A signed request is verified, and its answer
/// signed.
#[utoipa::path(
    get,
    path = "/ip",
    operation_id = "readCallerAddress",
    tag = tags::OPEN,
    security(()),
    responses(
        (status = 200, description = "The address, as JSON; with `Accept: text/plain` the bare address.", content((CallerAddress = "application/json"), (String = "text/plain")), headers(("Cache-Control" = String), ("Vary" = String))),
        openapi::problem_sets::CallerAddress,
    ),
)]
pub(super) async fn ip(
    client: ClientIp,
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Response {
    let ip = match client.named() {
        Ok(ip) => ip,
        Err(why) => {
            hub.trusted_proxies.report(&why, &hub.clock);
            return ApiError::CallerUnknown(why.to_string()).into_response();
        }
    };
    let headers_out = [(CACHE_CONTROL, "no-store"), (VARY, "Accept")];
    if prefers_text(request.headers()) {
        let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        (headers_out, kind, ip.to_string()).into_response()
    } else {
        (headers_out, Json(CallerAddress { ip })).into_response()
    }
}

/// Tells whether the hub runs
///
/// Balancers use this one: without its database the hub still answers reads.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "readHealth",
    tag = tags::OPEN,
    security(()),
    responses(
        (status = 200, description = "This process answers.", body = Health),
        openapi::problem_sets::OpenRead,
    ),
)]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Tells whether the hub can write
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readReadiness",
    tag = tags::OPEN,
    security(()),
    responses(
        (status = 200, description = "The database answers and takes writes.", body = Health),
        openapi::problem_sets::Readiness,
    ),
)]
pub(super) async fn readyz(State(hub): State<Arc<Hub>>) -> Result<Json<Health>, ApiError> {
    hub.store.ping().await.map_err(|_| ApiError::Unavailable)?;
    if !hub.registry.is_writable().await {
        return Err(ApiError::Unavailable);
    }
    Ok(Json(Health { status: "ok" }))
}

/// The versions.
#[derive(Debug, Serialize, ToSchema)]
struct Version {
    /// Of the hub (Semantic Versioning).
    #[schema(example = "0.2.0")]
    version: &'static str,
    /// Of its interface.
    #[schema(minimum = 1, example = 1)]
    api: u32,
}

/// The version of this interface. It would change with one that clients of this one can't use.
const API: u32 = 1;

/// Names the versions of the hub and of its interface
///
/// With any credential.
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "readVersion",
    tag = tags::OPERATION,
    responses(
        (status = 200, description = "The versions.", body = Version, headers(("Cache-Control" = String))),
        openapi::problem_sets::List,
    ),
)]
pub(super) async fn version(_: Caller) -> Response {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        api: API,
    };
    ([(CACHE_CONTROL, PRIVATE)], Json(version)).into_response()
}

/// Whether `Accept` prefers plain text to JSON (RFC 9110 section 12.5.1): it lists text, and does not list JSON with
/// the same or a higher weight, or any other type with a higher weight.
pub(super) fn prefers_text(headers: &HeaderMap) -> bool {
    let (mut text, mut json, mut any) = (0.0, 0.0, 0.0);
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or("").split(',') {
            let mut parts = range.split(';');
            let kind = parts.next().unwrap_or("").trim().to_ascii_lowercase();
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok())
                .unwrap_or(1.0);
            match kind.as_str() {
                "text/plain" => text = weight.max(text),
                "application/json" | "application/*" => json = weight.max(json),
                "*/*" => any = weight.max(any),
                _ => {}
            }
        }
    }
    text > json && text >= any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_only_if_preferred() {
        for (accept, text) in [
            ("", false),
            ("*/*", false),
            ("text/html,*/*", false),
            ("text/plain", true),
            ("Text/Plain; charset=utf-8", true),
            ("text/plain, */*", true),
            ("text/plain;q=0.9, */*;q=0.1", true),
            ("text/plain;q=0.1, */*", false),
            ("text/*", false),
            ("application/json, text/plain, */*", false),
            ("application/json;q=0.5, text/plain", true),
            ("text/plain;q=0, application/json", false),
            ("text/plain;q=0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(prefers_text(&headers), text, "{accept}");
        }
    }
}
