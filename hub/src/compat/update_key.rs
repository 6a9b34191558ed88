//! Update keys, as sftdyn has them: whoever calls a URL that holds the key sets one record to its own
//! address. `/u/{key}`, and with `compat.sftdyn` the key right behind the root's slash.
//!
//! The key is everything behind the slash, path and query, as it travels: nothing is decoded. People
//! choose such keys, so guessing is limited: after ten wrong ones a minute from an address, nothing from
//! there is looked at until the minute ends.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use silo_shared::silo::check_address;

use super::not_allowed;
use crate::domain::update_key::RawKey;
use crate::http::Hub;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::origin::refuse_foreign;
use crate::registry::{ApplyError, Refusal, SetByUpdateKey};

/// Paths at the root that browsers ask for by themselves: no guess.
const ASKED_BY_BROWSERS: [&str; 2] = ["/favicon.ico", "/robots.txt"];

/// What sftdyn answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The record has another address now.
    Ok,
    /// It had this one already.
    UpToDate,
    /// There is no such key, or too many were tried.
    BadKey,
    /// The hub could not do it.
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

/// `/u/{key…}`.
pub(super) async fn below_u(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    answer(&hub, request, "/u/").await
}

/// `/{key}`: what no other route takes.
pub(super) async fn below_root(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let path = request.uri().path();
    // What has more than one segment is a mistyped route rather than a key. CONNECT has none at all.
    let segments = path.split('/').skip(1);
    if ASKED_BY_BROWSERS.contains(&path) || segments.count() != 1 {
        return ApiError::NotFound("there is no such route").into_response();
    }
    answer(&hub, request, "/").await
}

/// `/`: the caller's address, but to a browser.
pub(super) async fn root(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let is_browser = request
        .headers()
        .get_all(ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")));
    if is_browser {
        return crate::http::open::root().await.into_response();
    }
    answer(&hub, request, "/").await
}

async fn answer(hub: &Arc<Hub>, request: Request, before: &str) -> Response {
    if *request.method() != Method::GET {
        return not_allowed("GET");
    }
    let (mut parts, _) = request.into_parts();
    if let Err(error) = refuse_foreign(&parts) {
        return error.into_response();
    }
    let Ok(ClientIp(ip)) = ClientIp::from_request_parts(&mut parts, hub).await;
    carry_out(hub, key_bytes(&parts.uri, before), ip)
        .await
        .into_response()
}

/// What stands behind the slash, path and query.
fn key_bytes<'a>(uri: &'a Uri, before: &str) -> &'a [u8] {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    target.strip_prefix(before).unwrap_or("").as_bytes()
}

async fn carry_out(hub: &Hub, key: &[u8], ip: IpAddr) -> Answer {
    if key.is_empty() {
        return Answer::Address(ip);
    }
    let now = hub.clock.now();
    if hub.failures.is_over(ip, now) {
        return Answer::BadKey;
    }
    let hash = match RawKey::of(key) {
        Ok(key) => hub.key.update_key_hash(&key),
        Err(_) => return bad_key(hub, ip),
    };
    // A look first, so that guesses wait for no writer.
    match hub.store.update_key(&hash).await {
        Ok(Some(_)) => {}
        Ok(None) => return bad_key(hub, ip),
        Err(error) => return failed(&error),
    }
    // Of many guesses at once, others may have failed meanwhile.
    if hub.failures.is_over(ip, hub.clock.now()) {
        return Answer::BadKey;
    }
    let ip = match check_address(ip) {
        Ok(ip) => ip,
        Err(why) => return failed(&why),
    };
    match hub.registry.apply(SetByUpdateKey { hash, ip }).await {
        Ok((_, true)) => Answer::Ok,
        Ok((_, false)) => Answer::UpToDate,
        Err(ApplyError::Refused(Refusal::NoUpdateKey)) => bad_key(hub, ip),
        Err(error) => failed(&error),
    }
}

fn failed(why: &dyn std::fmt::Display) -> Answer {
    tracing::error!("an update key could not be followed: {why}");
    Answer::Fail
}

fn bad_key(hub: &Hub, ip: IpAddr) -> Answer {
    // Counted; from the eleventh on nothing is looked at.
    let _ = hub.failures.count(ip, hub.clock.now());
    Answer::BadKey
}
