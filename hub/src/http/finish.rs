//! Adds to every response, whichever route or layer made it: `X-Content-Type-Options`, `Silo-Database`, a correct `Date`
//! where hyper's is wrong, for a browser's fetch no challenge that would open a password prompt, and a 500 after a panic. One layer
//! for all of it, since tower-http's layer for panics boxes every body twice.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{DATE, Entry, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use pin_project_lite::pin_project;
use silo_shared::request_id::RequestScope;
use silo_shared::signing::answer::SILO_DATABASE;
use tower::{Layer, Service};

use super::cors::{self, Cors};
use super::date::DateGuard;
use super::error::{ApiError, CHALLENGE_BEARER};
use super::site;
use crate::follow::database_id::KnownDatabaseId;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The id of a request that has one because it failed or the log mentions it.
const SILO_REQUEST: HeaderName = HeaderName::from_static("silo-request");

/// `X-Content-Type-Options` of every response.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Finishes responses.
#[derive(Clone)]
pub(super) struct FinishLayer {
    /// Detects whether hyper's `Date` is right.
    pub(super) dates: Arc<DateGuard>,
    /// The id of the database.
    pub(super) database_id: KnownDatabaseId,
    /// The pages of other sites that may call.
    pub(super) cors: Arc<Cors>,
}

impl<S> Layer<S> for FinishLayer {
    type Service = Finish<S>;

    fn layer(&self, inner: S) -> Finish<S> {
        Finish {
            inner,
            dates: Arc::clone(&self.dates),
            database_id: self.database_id.clone(),
            cors: Arc::clone(&self.cors),
        }
    }
}

/// A service behind the layer.
#[derive(Clone, Debug)]
pub struct Finish<S> {
    inner: S,
    dates: Arc<DateGuard>,
    database_id: KnownDatabaseId,
    cors: Arc<Cors>,
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
        // As it is before anything is read for the response.
        let database_id = self.database_id.header();
        // Pages belong to their own site alone.
        let is_called = self.cors.is_used() && !site::is_page(request.uri().path());
        let cors = is_called.then(|| {
            let headers = request.headers();
            let is_preflight = self.cors.is_preflight(request.method(), headers);
            Box::new(Called {
                origin: self.cors.allowed(headers),
                preflight: is_preflight.then(cors::preflight),
            })
        });
        let mut scope = RequestScope::default();
        let answer = catch_unwind(AssertUnwindSafe(|| {
            scope.enter(|| self.inner.call(request.map(Body::new)))
        }));
        let answer = answer.map(|answer| AssertUnwindSafe(answer).catch_unwind());
        let dates = &self.dates;
        Finishing {
            answer: answer.ok(),
            scope,
            is_fetch,
            is_head,
            database_id: Some(database_id),
            dated_by: dates.is_needed().then(|| Arc::clone(dates)),
            cors,
        }
    }
}

pin_project! {
    /// The future of a response.
    pub struct Finishing<F> {
        // `None`: the inner service panicked in `call`.
        #[pin]
        answer: Option<CatchUnwind<AssertUnwindSafe<F>>>,
        scope: RequestScope,
        is_fetch: bool,
        is_head: bool,
        database_id: Option<HeaderValue>,
        // `None`: hyper's `Date` is right.
        dated_by: Option<Arc<DateGuard>>,
        // `None`: no page of another site may call.
        cors: Option<Box<Called>>,
    }
}

/// What is known of a request where pages of other sites may call.
struct Called {
    /// The page's origin, if it may call.
    origin: Option<HeaderValue>,
    /// The response, instead of any other.
    preflight: Option<Response>,
}

impl<F> Future for Finishing<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let preflight = this
            .cors
            .as_mut()
            .and_then(|called| called.preflight.take());
        let answer = match (preflight, this.answer.as_pin_mut()) {
            (Some(preflight), _) => Some(Ok(preflight)),
            (None, Some(answer)) => ready!(this.scope.enter(|| answer.poll(context))).ok(),
            (None, None) => None,
        };
        let mut answer = match answer {
            Some(Ok(answer)) => answer,
            // The log has the panic's message.
            None => {
                let answer = this.scope.enter(|| {
                    tracing::error!("a request panicked; it is answered 500");
                    ApiError::Internal.into_response()
                });
                if *this.is_head {
                    answer.map(|_| Body::empty())
                } else {
                    answer
                }
            }
        };
        let is_refused = answer.status() == StatusCode::UNAUTHORIZED;
        let headers = answer.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if let Some(id) = this.scope.id()
            && let Ok(id) = HeaderValue::try_from(id.to_string())
        {
            headers.insert(SILO_REQUEST, id);
        }
        if let Some(id) = this.database_id.take() {
            name_database(headers, id);
        }
        if let Some(called) = this.cors.take() {
            cors::add(headers, called.origin);
        }
        if let Some(dates) = this.dated_by {
            headers.insert(DATE, dates.date());
        }
        if is_refused && *this.is_fetch {
            leave_bearer_alone(headers);
        }
        Poll::Ready(Ok(answer))
    }
}

/// Adds the id of the database, unless the response has it already: then it is signed.
fn name_database(headers: &mut HeaderMap, id: HeaderValue) {
    match headers.entry(SILO_DATABASE) {
        Entry::Occupied(mut place) if place.get().is_empty() => drop(place.insert(id)),
        Entry::Occupied(_) => {}
        Entry::Vacant(place) => drop(place.insert(id)),
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
    use crate::domain::database_id::DatabaseId;
    use crate::domain::time::Clock;

    fn layer() -> FinishLayer {
        FinishLayer {
            dates: Arc::new(DateGuard::new(Clock::System)),
            database_id: KnownDatabaseId::new(DatabaseId::new(7)),
            cors: Arc::default(),
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
