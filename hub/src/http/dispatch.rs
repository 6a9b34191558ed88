//! The paths of requests to the routes. Requests with something to do for the layers (host, signature, `If-Match`) go
//! through them; most requests go past them; reads of a silo, which are most of a hub's requests, also go past the
//! router. For each request, axum clones what is behind a router or a layer, boxes its future, and stores the matched
//! path and its parameters in a map.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::IF_MATCH;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures_util::future::Either;
use tower::Service;

use super::observe::Observing;
use super::signing::is_of_signature;
use super::silos::ParsedRead;
use super::{Hub, host, silos};

/// Dispatches requests to the routes.
#[derive(Clone, Debug)]
pub struct RouteDispatch {
    /// For reads of silos without the router; `None`: all requests go through it.
    pub(super) hub: Option<Arc<Hub>>,
    /// Must respond like `layered` to requests that need no layers.
    pub(super) direct: Router,
    pub(super) layered: Router,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The future of a silo's read without the router.
pub struct ReadSilo(Read);

/// The future of the beginning is freed before the read waits.
enum Read {
    Begins(Boxed<ParsedRead>),
    Waits(Boxed<Response>),
}

impl Future for ReadSilo {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Read::Begins(read) => match ready!(read.as_mut().poll(context)) {
                    ParsedRead::Answer(answer) => return Poll::Ready(Ok(answer)),
                    ParsedRead::Wait(wait) => self.0 = Read::Waits(Box::pin(wait.answer())),
                },
                Read::Waits(wait) => return wait.as_mut().poll(context).map(Ok),
            }
        }
    }
}

impl Service<Request> for RouteDispatch {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Observing<ReadSilo>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if needs_layers(&request) {
            return Either::Right(self.layered.call(request));
        }
        match &self.hub {
            Some(hub) if reads_silo(&request) => {
                let running = hub.requests.begin_read(&request);
                let (parts, _) = request.into_parts();
                let read = silos::begin_read(Arc::clone(hub), parts);
                let read = ReadSilo(Read::Begins(Box::pin(read)));
                Either::Left(Observing::new(read, running))
            }
            _ => Either::Right(self.direct.call(request)),
        }
    }
}

/// Whether a layer has something to do for a request.
fn needs_layers(request: &Request) -> bool {
    let headers = request.headers();
    // Comparing each name costs less than lookups, which hash theirs.
    let mut names = headers.keys();
    names.any(|name| *name == IF_MATCH || is_of_signature(name))
        || host::problem(request.version(), headers).is_some()
}

/// Whether the router would certainly route a request to `GET /silos/{id}`.
fn reads_silo(request: &Request) -> bool {
    let id = request.uri().path().strip_prefix(silos::PATH);
    let is_plain = |id: &str| !id.is_empty() && !id.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    *request.method() == Method::GET && id.is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_plain_reads_of_a_silo_go_past_the_router() {
        for (method, target, is_read) in [
            (Method::GET, "/silos/office", true),
            (Method::GET, "/silos/office?format=zone", true),
            (Method::GET, "http://hub/silos/Office", true),
            (Method::GET, "/silos/not*valid", true),
            (Method::GET, "/silos/off%69ce", false),
            (Method::GET, "/silos/office/", false),
            (Method::GET, "/silos/office/events", false),
            (Method::GET, "/silos/office/records/db", false),
            (Method::GET, "/silos/", false),
            (Method::GET, "/silos", false),
            (Method::GET, "//silos/office", false),
            (Method::GET, "/Silos/office", false),
            (Method::HEAD, "/silos/office", false),
            (Method::PUT, "/silos/office", false),
            (Method::DELETE, "/silos/office", false),
        ] {
            let request = Request::builder().method(&method).uri(target);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(reads_silo(&request), is_read, "{method} {target}");
        }
    }

    #[test]
    fn only_requests_with_something_to_judge_go_through_the_layers() {
        for (headers, layered) in [
            (&[("host", "hub")][..], false),
            (
                &[("host", "hub:8080"), ("authorization", "Bearer x")],
                false,
            ),
            (&[("host", "hub"), ("if-none-match", "\"1\"")], false),
            (&[], true),
            (&[("host", "hub"), ("host", "hub")], true),
            (&[("host", "a b")], true),
            (&[("host", "hub"), ("if-match", "\"1\"")], true),
            (&[("host", "hub"), ("signature", "x")], true),
            (&[("host", "hub"), ("signature-input", "x")], true),
        ] {
            let mut request = Request::new(Body::empty());
            for (name, value) in headers {
                let value = value.parse().unwrap();
                request.headers_mut().append(*name, value);
            }
            assert_eq!(needs_layers(&request), layered, "{headers:?}");
        }
    }
}
