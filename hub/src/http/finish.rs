//! Adds to every response, whichever route or layer made it: `X-Content-Type-Options`, a correct `Date` where hyper's
//! is wrong, for a browser's fetch no challenge that would open a password prompt, and a 500 after a panic. One layer
//! for all of it, since tower-http's layer for panics boxes every body twice.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{DATE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::date::DateGuard;
use super::error::{ApiError, CHALLENGE_BEARER};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// `X-Content-Type-Options` of every response.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Finishes responses.
#[derive(Clone)]
pub(super) struct FinishLayer {
    /// Detects whether hyper's `Date` is right.
    pub(super) dates: Arc<DateGuard>,
}

impl<S> Layer<S> for FinishLayer {
    type Service = Finish<S>;

    fn layer(&self, inner: S) -> Finish<S> {
        Finish {
            inner,
            dates: Arc::clone(&self.dates),
        }
    }
}

/// A service behind the layer.
#[derive(Clone, Debug)]
pub struct Finish<S> {
    inner: S,
    dates: Arc<DateGuard>,
}

impl<S> Finish<S> {
    /// Maps the inner service.
    pub(super) fn map_inner(self, change: impl FnOnce(S) -> S) -> Self {
        Self {
            inner: change(self.inner),
            dates: self.dates,
        }
    }
}

impl<S, B> Service<Request<B>> for Finish<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Finishing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_fetch = is_fetch(request.headers());
        let is_head = *request.method() == Method::HEAD;
        let answer = catch_unwind(AssertUnwindSafe(|| self.inner.call(request.map(Body::new))));
        let answer = answer.map(|answer| AssertUnwindSafe(answer).catch_unwind());
        let dates = &self.dates;
        Finishing {
            answer: answer.ok(),
            is_fetch,
            is_head,
            dated_by: dates.is_needed().then(|| Arc::clone(dates)),
        }
    }
}

pin_project! {
    /// The future of a response.
    pub struct Finishing<F> {
        // `None`: the inner service panicked in `call`.
        #[pin]
        answer: Option<CatchUnwind<AssertUnwindSafe<F>>>,
        is_fetch: bool,
        is_head: bool,
        // `None`: hyper's `Date` is right.
        dated_by: Option<Arc<DateGuard>>,
    }
}

impl<F> Future for Finishing<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.answer.as_pin_mut() {
            Some(answer) => ready!(answer.poll(context)).ok(),
            None => None,
        };
        let mut answer = match answer {
            Some(Ok(answer)) => answer,
            // The log has the panic's message.
            None => {
                let answer = ApiError::Internal.into_response();
                match *this.is_head {
                    true => answer.map(|_| Body::empty()),
                    false => answer,
                }
            }
        };
        let is_refused = answer.status() == StatusCode::UNAUTHORIZED;
        let headers = answer.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if let Some(dates) = this.dated_by {
            headers.insert(DATE, dates.date());
        }
        if is_refused && *this.is_fetch {
            leave_bearer_alone(headers);
        }
        Poll::Ready(Ok(answer))
    }
}

/// Whether the request is a fetch by a script or for a part of a page, rather than a navigation (Fetch Metadata Request
/// Headers, sections 2.1 and 2.2).
fn is_fetch(headers: &HeaderMap) -> bool {
    // Most callers are not browsers, and a lookup would hash each name.
    let mut names = headers.keys();
    if !names.any(|name| name.as_str().starts_with("sec-fetch-")) {
        return false;
    }
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode != "navigate",
        None => headers
            .get(SEC_FETCH_DEST)
            .is_some_and(|destination| destination == "empty"),
    }
}

/// Keeps only the Bearer challenge if there is one: foreign protocols send only Basic.
fn leave_bearer_alone(headers: &mut HeaderMap) {
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    if challenges
        .into_iter()
        .any(|challenge| challenge == CHALLENGE_BEARER)
    {
        let bearer = HeaderValue::from_static(CHALLENGE_BEARER);
        headers.insert(WWW_AUTHENTICATE, bearer);
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::domain::time::Clock;

    fn layer() -> FinishLayer {
        FinishLayer {
            dates: Arc::new(DateGuard::new(Clock::System)),
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let later =
            service_fn(async |_: Request| -> Result<Response, Infallible> { panic!("later") });
        let answer = layer().layer(later).oneshot(Request::new(Body::empty()));
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(answer.headers().contains_key(X_CONTENT_TYPE_OPTIONS));
        let at_once = service_fn(|request: Request| {
            assert_ne!(request.uri().path(), "/", "at once");
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
        let answer = layer().layer(at_once).oneshot(Request::new(Body::empty()));
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
