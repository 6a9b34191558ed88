//! `If-Match` on reads (RFC 9110 section 13.1.1), for all routes of REST: a layer inspects the route's response. So the
//! condition is evaluated only where the response would otherwise be a success (section 13.2.1), and before
//! `If-None-Match` (section 13.2.2), since a 304 becomes a 412 too. Writes evaluate their preconditions inside the
//! transaction.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use tower::{Layer, Service};

use super::error::ApiError;
use super::request::tag_list;
use crate::domain::precondition::TagList;

/// Evaluates `If-Match` of `GET` and `HEAD`.
#[derive(Clone)]
pub(super) struct IfMatchLayer;

impl<S> Layer<S> for IfMatchLayer {
    type Service = IfMatch<S>;

    fn layer(&self, inner: S) -> IfMatch<S> {
        IfMatch { inner }
    }
}

/// A route behind the layer.
#[derive(Clone)]
pub(super) struct IfMatch<S> {
    inner: S,
}

type Boxed = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request> for IfMatch<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Boxed>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !request.headers().contains_key(IF_MATCH) || !only_reads(&request) {
            return Either::Left(self.inner.call(request));
        }
        let wanted = tag_list(request.headers(), IF_MATCH);
        let answer = self.inner.call(request);
        Either::Right(Box::pin(async move { Ok(judge(wanted, answer.await?)) }))
    }
}

fn only_reads(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The response if the condition holds, else a 412.
fn judge(wanted: Result<Option<TagList>, ApiError>, answer: Response) -> Response {
    if !matches!(answer.status(), StatusCode::OK | StatusCode::NOT_MODIFIED) {
        return answer;
    }
    let wanted = match wanted {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return answer,
        Err(error) => return error.into_response(),
    };
    let etag = answer.headers().get(ETAG);
    if matches!(wanted, TagList::Any) || wanted.matches_strongly(etag.and_then(opaque)) {
        return answer;
    }
    let mut refusal = ApiError::precondition_without_tag().into_response();
    if let Some(etag) = etag {
        refusal.headers_mut().insert(ETAG, etag.clone());
    }
    refusal
}

/// The text between the quotes of a strong entity tag.
fn opaque(etag: &HeaderValue) -> Option<&str> {
    etag.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')
}
