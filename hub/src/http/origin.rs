//! Writes that a page of another site makes a browser send are refused.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Refuses a write with `Sec-Fetch-Site: cross-site` or with an `Origin` that is not this host.
pub(super) async fn refuse_foreign_writes(request: Request, next: Next) -> Response {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !reads && is_foreign(&request) {
        return ApiError::Forbidden("a page of another site may not write here").into_response();
    }
    next.run(request).await
}

fn is_foreign(request: &Request) -> bool {
    let headers = request.headers();
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site")
    {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let here = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| host(headers));
    let there = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|o| o.1);
    match (here, there) {
        (Some(here), Some(there)) => !here.eq_ignore_ascii_case(there),
        _ => true,
    }
}

fn host(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(header::HOST)?.to_str().ok()?.to_owned())
}
