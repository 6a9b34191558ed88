//! The routes without a credential, and `/metrics`, which requires one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use silo_shared::api::CallerAddress;
use url::form_urlencoded;

use super::Hub;
use super::auth::Caller;
use super::client_ip::ClientIp;
use super::error::ApiError;

/// `GET /`; 400 for an update meant for another route, which would otherwise be lost.
pub(crate) async fn root(uri: Uri) -> Result<Json<Value>, ApiError> {
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
    Ok(Json(
        json!({ "message": "This is a Silo hub.", "openapi": "/openapi.json" }),
    ))
}

/// Parameters of updates that dyndns.py and similar clients send to `/`.
const UPDATES: [&str; 5] = ["host", "hostname", "myip", "ip", "ipaddr"];

/// `GET`, `POST`, `PUT /ping`
pub(super) async fn ping() -> Json<Value> {
    Json(json!({ "message": "PONG" }))
}

/// `GET /ip`: the caller's address; 503 if a trusted proxy does not report it.
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

/// `GET /healthz`: this process responds.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the database also responds and accepts writes.
pub(super) async fn readyz(State(hub): State<Arc<Hub>>) -> Result<Json<Value>, ApiError> {
    hub.store.ping().await.map_err(|_| ApiError::Unavailable)?;
    if !hub.registry.is_writable().await {
        return Err(ApiError::Unavailable);
    }
    Ok(Json(json!({ "status": "ok" })))
}

/// `GET /metrics`: for admins, in the Prometheus text format.
pub(super) async fn metrics(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let mut text = format!(
        "# HELP silo_revision The last committed revision that this hub knows of.\n\
         # TYPE silo_revision gauge\n\
         silo_revision {}\n\
         # HELP silo_deliveries Deliveries that are pending or failed.\n\
         # TYPE silo_deliveries gauge\n",
        hub.revision.current()
    );
    for count in hub.store.open_deliveries().await? {
        text += &format!(
            "silo_deliveries{{sink=\"{}\",state=\"{}\"}} {}\n",
            count.sink,
            count.state.as_str(),
            count.deliveries
        );
    }
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((StatusCode::OK, kind, text).into_response())
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
