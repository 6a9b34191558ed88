//! Refuses writes that a page of another site makes a browser send.

use axum::http::request::Parts;
use axum::http::{Method, header};

use super::error::ApiError;

/// Refuses a write with `Sec-Fetch-Site: cross-site` or with an `Origin` that is not this host.
pub(super) fn refuse_foreign_write(request: &Parts) -> Result<(), ApiError> {
    let reads = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if reads {
        Ok(())
    } else {
        refuse_foreign(request)
    }
}

/// The same for any method, for routes that change something on `GET`.
pub(crate) fn refuse_foreign(request: &Parts) -> Result<(), ApiError> {
    let foreign = is_foreign(request);
    (!foreign).then_some(()).ok_or(ApiError::Forbidden(
        "a page of another site may not write here",
    ))
}

/// The same for routes that change something on `GET` with a credential that browsers store and send by themselves.
/// Over plain HTTP, browsers do not send which page a followed link is on, so all followed links are refused there.
pub(crate) fn refuse_followed_link(request: &Parts) -> Result<(), ApiError> {
    refuse_foreign(request)?;
    let headers = &request.headers;
    let is_followed = headers.contains_key("upgrade-insecure-requests");
    match is_followed && !headers.contains_key("sec-fetch-site") {
        true => Err(ApiError::Forbidden(
            "a browser may not write here over plain HTTP: any page could have made it",
        )),
        false => Ok(()),
    }
}

fn is_foreign(request: &Parts) -> bool {
    let headers = &request.headers;
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site")
    {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    // HTTP/2 has the host in the target, HTTP/1.1 in a header.
    let here = match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok()),
    };
    let there = origin
        .to_str()
        .ok()
        .and_then(|origin| Some(origin.split_once("://")?.1));
    match (here, there) {
        (Some(here), Some(there)) => !here.eq_ignore_ascii_case(there),
        _ => true,
    }
}
