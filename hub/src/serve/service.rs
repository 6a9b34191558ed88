//! Notifies a connection when a request starts on it and when the response is handed over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body as AnyBody, Bytes};
use axum::http::{HeaderName, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::Service;

use super::connections::{Connection, Running};
use super::content::{Content, Rest};
use super::stream::LEAST_TAKEN;
use crate::http::connection::ConnectionHandle;

/// Requests with this header may wait (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(super) struct CountingService<S> {
    inner: S,
    connection: Arc<Connection>,
}

impl<S> CountingService<S> {
    pub(super) fn new(inner: S, connection: Arc<Connection>) -> Self {
        Self { inner, connection }
    }
}

impl<S, A, B> Service<Request<A>> for CountingService<S>
where
    S: Service<Request<AnyBody>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    A: Body<Data = Bytes> + Send + Unpin + 'static,
    A::Error: Into<BoxError> + Send,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future, A>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let is_http_2 = request.version() == Version::HTTP_2;
        let rest = (!request.body().is_end_stream())
            .then(|| Rest::new(&self.connection, is_http_2, request.headers()));
        let (mut parts, inner) = request.into_parts();
        let content = match &rest {
            // Most requests have no content and need no box for it.
            None => {
                // Over HTTP/2, the stream shows when the client has disconnected.
                if !is_http_2 && parts.headers.contains_key(&PREFER) {
                    parts
                        .extensions
                        .insert(ConnectionHandle::new(Arc::clone(&self.connection) as Arc<_>));
                }
                AnyBody::empty()
            }
            Some(rest) => {
                parts
                    .extensions
                    .insert(ConnectionHandle::new(Arc::clone(&self.connection) as Arc<_>));
                AnyBody::new(Content {
                    inner: Some(inner),
                    rest: Arc::clone(rest),
                })
            }
        };
        let request = Request::from_parts(parts, content);
        Answering {
            running: Some(self.connection.begin()),
            inner: self.inner.call(request),
            rest,
            is_http_2,
        }
    }
}

pin_project! {
    /// The future of a response.
    pub(super) struct Answering<F, A> {
        running: Option<Running>,
        #[pin]
        inner: F,
        rest: Option<Arc<Rest<A>>>,
        is_http_2: bool,
    }
}

impl<F, A, B, E> Future for Answering<F, A>
where
    F: Future<Output = Result<Response<B>, E>>,
    A: Body + Send + Unpin + 'static,
    A::Data: Send,
    A::Error: Send,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(context));
        if let Some(rest) = this.rest.take()
            && let Ok(answer) = &mut answer
        {
            rest.answered(answer.headers_mut());
        }
        let running = this.running.take();
        Poll::Ready(answer.map(|answer| {
            answer.map(|inner| match running {
                Some(running) if *this.is_http_2 => Answer::in_pieces(inner, running),
                running => Answer {
                    inner,
                    delivery: Delivery::AtOnce { _running: running },
                },
            })
        }))
    }
}

pin_project! {
    /// The body of a response.
    pub(super) struct Answer<B> {
        #[pin]
        inner: B,
        delivery: Delivery,
    }
}

/// How the body of a response is handed over.
enum Delivery {
    /// As it comes: over HTTP/1.1, the connection's stream detects whether the client receives it.
    AtOnce { _running: Option<Running> },
    /// An HTTP/2 client limits how much it accepts, and may be silent while its stream is busy with other data. So the
    /// body is handed over piece by piece.
    InPieces(Pieces),
}

struct Pieces {
    running: Running,
    /// Received from the body, and not handed over yet.
    rest: Bytes,
}

impl Pieces {
    fn poll_frame<B: Body<Data = Bytes>>(
        &mut self,
        body: Pin<&mut B>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let Poll::Ready(next) = body.poll_frame(context) else {
                self.running.waits_for_more();
                return Poll::Pending;
            };
            match next.map(|next| next.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.running.hands_over();
        let piece = self.rest.split_to(self.rest.len().min(LEAST_TAKEN));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.delivery {
            Delivery::AtOnce { .. } => this.inner.poll_frame(context),
            Delivery::InPieces(pieces) => pieces.poll_frame(this.inner, context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest() == 0 && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest();
        let inner = self.inner.size_hint();
        let mut both = SizeHint::new();
        // The upper bound first: the lower one must not exceed it.
        if let Some(upper) = inner.upper() {
            both.set_upper(upper + rest);
        }
        both.set_lower(inner.lower() + rest);
        both
    }
}

impl<B> Answer<B> {
    pub(super) fn in_pieces(inner: B, mut running: Running) -> Self {
        running.hands_over();
        let rest = Bytes::new();
        Self {
            inner,
            delivery: Delivery::InPieces(Pieces { running, rest }),
        }
    }

    /// The number of bytes received from the body and not handed over yet.
    fn rest(&self) -> u64 {
        match &self.delivery {
            Delivery::AtOnce { .. } => 0,
            Delivery::InPieces(pieces) => pieces.rest.len() as u64,
        }
    }
}
