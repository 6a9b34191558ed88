//! Update keys, as in sftdyn: a request for a URL that contains the key sets one record to the client's address.
//! `/u/{key}`, and with `compat.sftdyn` the key directly after the root's slash.
//!
//! The key is everything after the slash, path and query, as sent: nothing is decoded. People choose such keys, so
//! guessing is limited: after ten wrong ones in a minute from an address, all its requests are refused unchecked until
//! the minute ends.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use silo_shared::api::Problem;

use super::{InTheOpen, not_allowed};
use crate::domain::update_key::{RawKey, UpdateKey};
use crate::http::Hub;
use crate::http::client_ip::{ClientIp, NoCallerAddress};
use crate::http::error::ApiError;
use crate::http::openapi::{problem_sets, tags};
use crate::http::origin::refuse_foreign;
use crate::http::site::accepts_html;
use crate::registry::{ApplyError, Refusal, SetByUpdateKey};
use crate::store::Queries;

/// Paths at the root that browsers request by themselves: not counted as guesses.
const ASKED_BY_BROWSERS: [&str; 2] = ["/favicon.ico", "/robots.txt"];

/// The responses of sftdyn.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The record was changed.
    Ok,
    /// The record already had this address.
    UpToDate,
    /// Unknown key.
    BadKey,
    /// Too many wrong keys from this address; the seconds until keys are checked again.
    LockedOut(u64),
    /// The hub failed.
    Fail,
    /// The caller's address, for an empty key.
    Address(IpAddr),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Ok => (StatusCode::OK, "OK".to_owned()),
            Self::UpToDate => (StatusCode::OK, "UPTODATE".to_owned()),
            Self::BadKey => (StatusCode::FORBIDDEN, "BADKEY".to_owned()),
            Self::LockedOut(seconds) => {
                let headers = [(RETRY_AFTER, HeaderValue::from(seconds))];
                return (headers, Self::BadKey.into_response()).into_response();
            }
            Self::Fail => (StatusCode::INTERNAL_SERVER_ERROR, "FAIL".to_owned()),
            Self::Address(ip) => (StatusCode::OK, ip.to_string()),
        };
        let headers = [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
        ];
        (status, headers, text).into_response()
    }
}

/// Sets a record by an update key
///
/// Sets the record of the key to the address that the request comes from, as sftdyn does. The key is the only credential. See
/// docs/update-keys.md.
#[utoipa::path(
    get,
    path = "/u/{key}",
    operation_id = "callUpdateKey",
    tag = tags::FOREIGN,
    security(()),
    params(("key" = String, Path)),
    responses(
        (status = 200, description = "`OK`: changed; `UPTODATE`: it was so already.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        (status = 403, description = "`BADKEY`; with `Retry-After`, too many wrong keys came from this address. A problem, if a page of another site sent it.", content((String = "text/plain"), (Problem = "application/problem+json")), headers(("Cache-Control" = String), ("Retry-After" = String))),
        (status = 500, description = "`FAIL`: the cause is in the hub's log.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        problem_sets::Foreign,
    ),
)]
pub(super) async fn below_u(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    answer(&hub, request, "/u/").await
}

/// Sets a record by an update key, at the root
///
/// Only with `compat.sftdyn`; else 404. The root without a key then answers the address that the request comes from.
#[utoipa::path(
    get,
    path = "/{key}",
    operation_id = "callUpdateKeyAtRoot",
    tag = tags::FOREIGN,
    security(()),
    params(("key" = String, Path)),
    responses(
        (status = 200, description = "`OK`: changed; `UPTODATE`: it was so already.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        (status = 403, description = "`BADKEY`; with `Retry-After`, too many wrong keys came from this address. A problem, if a page of another site sent it.", content((String = "text/plain"), (Problem = "application/problem+json")), headers(("Cache-Control" = String), ("Retry-After" = String))),
        (status = 500, description = "`FAIL`: the cause is in the hub's log.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        problem_sets::ForeignAtRoot,
    ),
)]
pub(super) async fn below_root(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let path = request.uri().path();
    let not_found = || ApiError::NotFound("there is no such route").into_response();
    // The target of CONNECT has no slash.
    if ASKED_BY_BROWSERS.contains(&path) || !path.starts_with('/') {
        return not_found();
    }
    // A path of several segments that is not a key is a mistyped route.
    let is_one = !path[1..].contains('/');
    match carry_out_request(&hub, request, "/").await {
        Ok(Answer::BadKey | Answer::LockedOut(_)) if !is_one => not_found(),
        Ok(answer) => answer.into_response(),
        Err(response) => response,
    }
}

/// `/`: the caller's address, except for browsers.
pub(super) async fn root(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    if accepts_html(request.headers()) {
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        return crate::http::open::root(State(hub), uri, headers)
            .await
            .into_response();
    }
    answer(&hub, request, "/").await
}

async fn answer(hub: &Arc<Hub>, request: Request, before: &str) -> Response {
    match carry_out_request(hub, request, before).await {
        Ok(answer) => answer.into_response(),
        Err(response) => response,
    }
}

async fn carry_out_request(
    hub: &Arc<Hub>,
    request: Request,
    before: &str,
) -> Result<Answer, Response> {
    if *request.method() != Method::GET {
        return Err(not_allowed("GET"));
    }
    let (mut parts, _) = request.into_parts();
    refuse_foreign(&parts).map_err(IntoResponse::into_response)?;
    let Ok(client) = ClientIp::from_request_parts(&mut parts, hub).await;
    let in_the_open = parts.extensions.get::<InTheOpen>();
    // At the root, a path of several segments is a mistyped route, not a guess.
    let counts = before != "/" || parts.uri.path().matches('/').count() == 1;
    let key = key_bytes(&parts.uri, before);
    Ok(carry_out(hub, key, client, in_the_open, counts).await)
}

/// Everything after the slash: path and query.
fn key_bytes<'a>(uri: &'a Uri, before: &str) -> &'a [u8] {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    target.strip_prefix(before).unwrap_or("").as_bytes()
}

async fn carry_out(
    hub: &Hub,
    key: &[u8],
    client: ClientIp,
    in_the_open: Option<&InTheOpen>,
    counts: bool,
) -> Answer {
    let ip = client.ip;
    if key.is_empty() {
        return match client.named() {
            Ok(ip) => Answer::Address(ip),
            Err(why) => no_address(hub, &why),
        };
    }
    if let Some(seconds) = hub.failures.over_for(ip, hub.clock.reading()) {
        return Answer::LockedOut(seconds);
    }
    let Ok(key) = RawKey::of(key) else {
        return bad_key(hub, ip, counts);
    };
    // Checked before writing, so that guesses do not wait for the writer. A key is tried as sent, then without the
    // slash or question mark that some clients append.
    let mut known = None;
    for key in [Some(key.clone()), key.without_end()].into_iter().flatten() {
        let hash = hub.key.update_key_hash(&key);
        match hub.store.update_key(&hash).await {
            Ok(None) => {}
            Ok(Some(UpdateKey { id, .. }))
                if in_the_open.is_some_and(|allowed| !allowed.0.update_keys.contains(&id)) =>
            {
                tracing::warn!(update_key = %id, "an update key that tls.plain_allow does not list was called without TLS and refused: it travels in clear text");
                return Answer::BadKey;
            }
            Ok(Some(_)) => {
                known = Some(hash);
                break;
            }
            Err(error) => return failed(&error),
        }
    }
    let Some(hash) = known else {
        return bad_key(hub, ip, counts);
    };
    // Of many guesses at once, others may have failed meanwhile.
    if let Some(seconds) = hub.failures.over_for(ip, hub.clock.reading()) {
        return Answer::LockedOut(seconds);
    }
    let ip = match client.implied() {
        Ok(ip) => ip,
        Err(why) => return no_address(hub, &why),
    };
    match hub.registry.apply(SetByUpdateKey { hash, ip }).await {
        Ok((_, true)) => Answer::Ok,
        Ok((_, false)) => Answer::UpToDate,
        Err(ApplyError::Refused(Refusal::NoUpdateKey)) => bad_key(hub, ip, counts),
        Err(error) => failed(&error),
    }
}

fn failed(why: &dyn std::fmt::Display) -> Answer {
    tracing::error!("cannot carry out the call of an update key: {why}");
    Answer::Fail
}

/// The caller's address can't be published: the operator must fix that.
fn no_address(hub: &Hub, why: &NoCallerAddress) -> Answer {
    hub.trusted_proxies.report(why, &hub.clock);
    Answer::Fail
}

/// `counts`: whether this was a guess. From the eleventh on, nothing is checked.
fn bad_key(hub: &Hub, ip: IpAddr, counts: bool) -> Answer {
    if counts {
        let _ = hub.failures.count(ip, hub.clock.reading());
    }
    Answer::BadKey
}
