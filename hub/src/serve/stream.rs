//! A connection's byte stream. It ends when the connection is closed by the limits, and when the client does not read
//! what it is sent.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connections::Connection;

/// How many bytes a client must read within the deadline: otherwise an occasional byte would suffice.
pub(super) const LEAST_TAKEN: usize = 16 * 1024;

/// A stream with a stall timeout.
#[derive(Debug)]
pub(super) struct StallGuard<S> {
    inner: S,
    connection: Arc<Connection>,
    stall: Duration,
    waiting: Option<Waiting>,
    replacing: Option<Replacing>,
}

/// A response that replaces one that hyper makes by itself.
#[derive(Debug)]
struct Replacing {
    /// The part not sent yet.
    rest: Bytes,
    /// The number of hyper's bytes that it replaces.
    stands_for: usize,
}

/// Since when a client has not received what it was sent, and what it has received since.
#[derive(Debug)]
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> StallGuard<S> {
    pub(super) fn new(inner: S, connection: Arc<Connection>, stall: Duration) -> Self {
        Self {
            inner,
            connection,
            stall,
            waiting: None,
            replacing: None,
        }
    }

    /// A replacement for hyper's own response, if `bytes` are one: hyper refuses unreadable requests with only a head,
    /// without an explanation.
    fn replacement(&self, bytes: &[u8]) -> Option<Replacing> {
        let status = status_of_own_answer(bytes)?;
        if self.connection.has_requests() {
            return None;
        }
        self.connection.report_no_http(status);
        Some(Replacing {
            rest: no_http(status).into(),
            stands_for: bytes.len(),
        })
    }

    fn check<T>(&self, context: &Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_pending() && self.connection.switch().is_cut(context) {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        }
        poll
    }

    /// Processes the result of an attempt to write `offered` bytes.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        offered: usize,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &poll {
            Poll::Ready(Ok(taken)) => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.taken += taken;
                    if *taken >= offered || waiting.taken >= LEAST_TAKEN {
                        self.waiting = None;
                        self.connection.switch().set_writing(false);
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let stall = self.stall;
                let waiting = self.waiting.get_or_insert_with(|| Waiting {
                    deadline: Box::pin(tokio::time::sleep(stall)),
                    taken: 0,
                });
                self.connection.switch().set_writing(true);
                if waiting.deadline.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
            }
        }
        self.check(context, poll)
    }
}

/// The status of a response that hyper makes by itself: a head without content, and without the header that all of the
/// hub's responses have.
fn status_of_own_answer(bytes: &[u8]) -> Option<&'static str> {
    let head = bytes.strip_prefix(b"HTTP/1.1 ")?;
    let status = [
        "400 Bad Request",
        "414 URI Too Long",
        "431 Request Header Fields Too Large",
    ]
    .into_iter()
    .find(|status| head.starts_with(status.as_bytes()))?;
    let head = head.strip_suffix(b"\r\n\r\n")?;
    let has = |text: &[u8]| head.windows(text.len()).any(|some| some == text);
    (has(b"content-length: 0") && !has(b"x-content-type-options")).then_some(status)
}

/// The response to a request that is not HTTP.
fn no_http(status: &str) -> String {
    const CAUSES: &str = "This is not a valid HTTP request. Usual causes:\n\
        - a blank, a quote, < or > in the URL: percent-encode it (a blank is %20); a router may have left <ipaddr> unfilled\n\
        - an Authorization field that is broken into lines: base64 without line breaks (base64 -w0)\n\
        - https:// to a port without TLS, or another protocol\n\
        - a URL or header fields that are too long (40 KiB)\n";
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{CAUSES}",
        CAUSES.len()
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.check(context, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replacing.is_none() {
            self.replacing = self.replacement(bytes);
        }
        let Some(mut replacing) = self.replacing.take() else {
            let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
            return self.written(context, bytes.len(), poll);
        };
        while !replacing.rest.is_empty() {
            let offered = replacing.rest.len();
            let poll = Pin::new(&mut self.inner).poll_write(context, &replacing.rest);
            match self.written(context, offered, poll) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(taken)) => drop(replacing.rest.split_to(taken)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.replacing = Some(replacing);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(replacing.stands_for))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = slices.iter().find(|slice| !slice.is_empty())
            && (self.replacing.is_some() || status_of_own_answer(first).is_some())
        {
            return self.poll_write(context, first);
        }
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(context, offered, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        self.check(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(context, poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_hyper_makes_by_itself_are_replaced() {
        let own =
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(
            status_of_own_answer(own.as_bytes()),
            Some("400 Bad Request")
        );
        for other in [
            own.replace("connection: close", "x-content-type-options: nosniff"),
            own.replace("400 Bad Request", "401 Unauthorized"),
            own.replace("length: 0", "length: 5") + "hello",
            own.trim_end().to_owned(),
            format!("x{own}"),
            String::new(),
        ] {
            assert_eq!(status_of_own_answer(other.as_bytes()), None, "{other}");
        }
        let answer = no_http("400 Bad Request");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(body.lines().count() == 5 && !body.contains("  "), "{body}");
    }
}
