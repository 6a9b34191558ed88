//! Refuses writes that a page of another site makes a browser send.

use axum::http::request::Parts;
use axum::http::{Method, header};

use super::cors::Cors;
use super::error::ApiError;
use super::signing::Verified;

/// Refuses a write with `Sec-Fetch-Site: cross-site` or with an `Origin` that is not this host.
///
/// Pages that may call the hub may also write.
pub(super) fn refuse_foreign_write(request: &Parts, cors: &Cors) -> Result<(), ApiError> {
    let reads = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_signed = request.extensions.get::<Verified>().is_some();
    if reads || cors.may_write(&request.headers, is_signed) {
        Ok(())
    } else {
        refuse_foreign(request)
    }
}

/// The same for any method, for routes that change something on `GET`.
pub(crate) fn refuse_foreign(request: &Parts) -> Result<(), ApiError> {
    let is_cross = is_cross_site(request);
    (!is_cross).then_some(()).ok_or(ApiError::Forbidden(
        "a page of another site may not write here",
    ))
}

/// The same for routes that change something on `GET` with a credential that browsers store and send by themselves.
/// Over plain HTTP, browsers do not send which page a followed link is on, so all followed links are refused there.
pub(crate) fn refuse_followed_link(request: &Parts) -> Result<(), ApiError> {
    refuse_foreign(request)?;
    let headers = &request.headers;
    let is_followed = headers.contains_key("upgrade-insecure-requests");
    if is_followed && !headers.contains_key("sec-fetch-site") {
        Err(ApiError::Forbidden(
            "a browser may not write here over plain HTTP: any page could have made it",
        ))
    } else {
        Ok(())
    }
}

fn is_cross_site(request: &Parts) -> bool {
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
