//! A layer that refuses requests without exactly one valid host: a proxy could route them to another hub than this one.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv6Addr;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderMap, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use tower::Service;

use super::error::ApiError;

/// Responds 400 to a request over HTTP/1.1 without `Host`, and to every request with two, or with an invalid one (RFC
/// 9112 section 3.2). HTTP/2 has the host in the target.
#[derive(Clone, Debug)]
pub(super) struct RequireHost<S> {
    inner: S,
}

impl<S> RequireHost<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Request> for RequireHost<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match problem(request.version(), request.headers()) {
            None => Either::Left(self.inner.call(request)),
            Some(why) => {
                let refusal = ApiError::Malformed(format!("Host: {why}"));
                Either::Right(ready(Ok(refusal.into_response())))
            }
        }
    }
}

/// What is wrong with the host of a request.
pub(crate) fn problem(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => (version == Version::HTTP_11).then_some("it is missing"),
        (Some(_), Some(_)) => Some("it is duplicated"),
        (Some(host), None) => (!is_host(host.as_bytes()))
            .then_some("not a valid host name or address with an optional port"),
    }
}

/// Whether it is `uri-host [ ":" port ]` (RFC 3986 section 3.2.2) with a non-empty host, as `http` requires (RFC 9110
/// section 4.2.1).
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, rest)| {
            let port = rest.strip_prefix(':');
            address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || port.is_some_and(is_port))
        });
    }
    match text.split_once(':') {
        None => is_name(text),
        Some((name, port)) => is_name(name) && is_port(port),
    }
}

/// Digits, or empty.
fn is_port(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (text.is_empty() || text.parse::<u16>().is_ok())
}

/// A registered name or an IPv4 address.
fn is_name(text: &str) -> bool {
    let is_plain = |piece: &str| piece.bytes().all(is_plain);
    if is_plain(text) {
        return !text.is_empty();
    }
    let mut pieces = text.split('%');
    let starts_plain = pieces.next().is_some_and(is_plain);
    let is_encoded = |piece: &str| {
        let hex = piece.as_bytes().get(..2);
        hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) && is_plain(piece)
    };
    starts_plain && pieces.all(is_encoded)
}

/// Unreserved, or a sub-delimiter (RFC 3986 sections 2.2 and 2.3).
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9')
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'('..=b',' | b';' | b'=')
}
