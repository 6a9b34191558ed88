//! The layer around all routes of REST. Requests without a signature pass at no cost.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::Either;
use silo_shared::signing::answer;
use tower::{Layer, Service};

use super::verify::{Signer, admit, is_signed, signer};
use crate::http::Hub;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::registry::{Signed, SpendNonceOnly};
use crate::store::WriteScope;

/// The routes that ignore credentials.
const OPEN: [&str; 6] = [
    "/ping",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/problems/{slug}",
    "/",
];
/// The routes that respond with a stream.
const STREAMS: [&str; 2] = ["/events", "/silos/{id}/events"];

/// Whether a route ignores credentials.
pub(crate) fn is_open(route: &str) -> bool {
    OPEN.contains(&route)
}

/// Verifies signed requests and signs their responses.
#[derive(Clone)]
pub(in crate::http) struct SigningLayer {
    /// For tokens and nonces.
    pub(in crate::http) hub: Arc<Hub>,
}

impl<S> Layer<S> for SigningLayer {
    type Service = Signing<S>;

    fn layer(&self, inner: S) -> Signing<S> {
        Signing {
            layer: self.clone(),
            inner,
        }
    }
}

/// A route behind the layer.
#[derive(Clone)]
pub(in crate::http) struct Signing<S> {
    layer: SigningLayer,
    inner: S,
}

type Boxed = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request> for Signing<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Boxed>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !is_signed(request.headers()) || !verifies(&request) {
            return Either::Left(self.inner.call(request));
        }
        let hub = Arc::clone(&self.layer.hub);
        // The service that was polled until ready must serve this request.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        Either::Right(Box::pin(
            async move { Ok(serve(&hub, inner, request).await) },
        ))
    }
}

/// Whether signatures are verified at this request's route; the fallback has none.
fn verifies(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    route.is_none_or(|route| !is_open(route.as_str()))
}

async fn serve<S>(hub: &Arc<Hub>, inner: S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (mut parts, body) = request.into_parts();
    let Ok(ClientIp { ip, .. }) = ClientIp::from_request_parts(&mut parts, hub).await;
    let now = hub.clock.now();
    // As it is before anything is read for the response.
    let database_id = hub.database_id.header();
    let has_content = !body.is_end_stream();
    let signer = match signer(hub, &parts, has_content, ip, now).await {
        Ok(signer) => signer,
        Err(error) => return error.into_response(),
    };
    let route = parts.extensions.get::<MatchedPath>();
    let is_stream = route.is_some_and(|route| STREAMS.contains(&route.as_str()));
    let response = match admit(hub, &signer, has_content, is_stream, ip, now).await {
        Err(error) => error.into_response(),
        Ok(verified) => {
            // Not signed, so that a relay could choose the format with it.
            parts.headers.remove(header::ACCEPT);
            let write = verified.write.clone();
            parts.extensions.insert(verified);
            let response = call(inner, Request::from_parts(parts, body)).await;
            match write.and_then(|write| write.rest()) {
                None => response,
                // Refused before a command ran: a replay must fail too.
                Some(write) => {
                    debug_assert!(
                        !response.status().is_success(),
                        "a handler wrote without Caller::apply, so a replay would write again"
                    );
                    let nothing = Signed {
                        write,
                        place: WriteScope::Unscoped,
                        command: SpendNonceOnly,
                    };
                    match crate::http::auth::apply(hub, ip, nothing).await {
                        Ok(()) => response,
                        Err(error) => error.into_response(),
                    }
                }
            }
        }
    };
    sign(hub, &signer, response, database_id, is_stream).await
}

/// Calls the route; a panic becomes a response, which can be signed.
async fn call<S>(mut inner: S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let called = AssertUnwindSafe(async { inner.call(request).await });
    match called.catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => ApiError::Internal.into_response(),
    }
}

/// Signs a response. A stream is not signed: it has no end to wait for.
async fn sign(
    hub: &Hub,
    signer: &Signer,
    response: Response,
    database_id: HeaderValue,
    may_stream: bool,
) -> Response {
    let (mut parts, body) = response.into_parts();
    let is_stream = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream {
        debug_assert!(
            may_stream,
            "a stream must not start before its nonce is stored"
        );
        return Response::from_parts(parts, body);
    }
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!("cannot sign a response: {error}");
        ApiError::Internal.into_response()
    };
    // Every response but a stream is in memory already.
    let content = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(content) => content,
        Err(error) => return failed(&error),
    };
    // An outer layer drops the content of a response to HEAD.
    let sent = match signer.head.method {
        Method::HEAD => &[],
        _ => &content[..],
    };
    parts.headers.insert(answer::SILO_DATABASE, database_id);
    let created = hub.clock.now().as_millis().div_euclid(1000);
    let signed = answer::sign(
        parts.status.as_u16(),
        &mut parts.headers,
        sent,
        &signer.head,
        &signer.key,
        signer.keyid().as_str(),
        created,
    );
    match signed {
        Ok(()) => Response::from_parts(parts, Body::from(content)),
        Err(error) => failed(&error),
    }
}
