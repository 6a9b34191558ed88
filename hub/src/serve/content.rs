//! The content of a request, which handlers need not read to the end. The rest is discarded after the response.
//! Otherwise the connection (HTTP/1.1) or its stream (HTTP/2) would be reset, which hides the response from clients
//! that send everything before they read (Python's `http.client`) or treat the reset as a connection error (curl: 92).

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Buf;
use tokio::runtime::Handle;

use super::connections::{Connection, Running, UnauthenticatedRead};
use super::kill_switch::lock;

/// The maximum duration of discarding. Slower connections are closed; over HTTP/2, streams are.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum number of bytes to discard.
const MOST_DISCARDED: usize = 16 * 1024 * 1024;

/// The content of a request.
#[derive(Debug)]
pub(super) struct Content<B: Body + Send + Unpin + 'static>
where
    B::Data: Send,
    B::Error: Send,
{
    pub(super) inner: Option<B>,
    /// Takes the part that the handler does not read.
    pub(super) rest: Arc<Rest<B>>,
}

impl<B> Body for Content<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(inner).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.inner = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B> Drop for Content<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    fn drop(&mut self) {
        if !self.is_end_stream()
            && let Some(inner) = self.inner.take()
        {
            self.rest.leave(inner);
        }
    }
}

/// The part of a request's content that the handler did not read.
#[derive(Debug)]
pub(super) struct Rest<B> {
    connection: Arc<Connection>,
    /// Over HTTP/1.1, the client waits for a request for its content.
    expects: bool,
    holder: Mutex<Holder<B>>,
}

#[derive(Debug)]
enum Holder<B> {
    /// The handler has it, or has read all of it.
    Handler,
    /// It is held until the response: reading it sooner would request it (`Expect: 100-continue`).
    Here(B),
    /// The response is being sent.
    Answered,
}

impl<B> Rest<B> {
    pub(super) fn new(
        connection: &Arc<Connection>,
        is_http_2: bool,
        headers: &HeaderMap,
    ) -> Arc<Self> {
        Arc::new(Self {
            connection: Arc::clone(connection),
            expects: !is_http_2 && headers.contains_key(header::EXPECT),
            holder: Mutex::new(Holder::Handler),
        })
    }
}

impl<B> Rest<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    /// Takes the content that a handler does not read.
    fn leave(&self, body: B) {
        let mut holder = lock(&self.holder);
        match *holder {
            Holder::Answered => self.discard(body),
            Holder::Handler | Holder::Here(_) => *holder = Holder::Here(body),
        }
    }

    /// Records that the response with these headers is handed over; nothing is discarded before.
    pub(super) fn answered(&self, headers: &mut HeaderMap) {
        let mut holder = lock(&self.holder);
        if let Holder::Here(body) = std::mem::replace(&mut *holder, Holder::Answered) {
            if self.expects {
                // The client decides whether the content still follows (RFC 9110 section 10.1.1).
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            self.discard(body);
        }
    }

    /// Discards it in the background; meanwhile the connection may be closed in favor of new ones.
    fn discard(&self, body: B) {
        if let Ok(runtime) = Handle::try_current() {
            let running = self.connection.begin();
            let reading = self.connection.read_unauthenticated();
            runtime.spawn(discard(body, (reading, running)));
        }
    }
}

/// Reads content to its end, up to the limits: beyond them, hyper closes the connection or resets the stream.
async fn discard<B: Body + Unpin>(mut body: B, counted: (UnauthenticatedRead, Running)) {
    let all = async {
        let mut left = MOST_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Buf::remaining);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
    drop(body);
    drop(counted);
}
