//! A connection's bytes. It ends when the connection is cut off, and when the client does not take what it
//! is sent.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection::Connection;

/// How much a client must take within the deadline, in bytes: else a byte now and then would do.
pub(super) const LEAST_TAKEN: usize = 16 * 1024;

/// A stream under watch.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    connection: Arc<Connection>,
    stall: Duration,
    waiting: Option<Waiting>,
}

/// Since when a client has not taken what it was sent, and what it has taken since.
#[derive(Debug)]
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, connection: Arc<Connection>, stall: Duration) -> Self {
        Self {
            inner,
            connection,
            stall,
            waiting: None,
        }
    }

    fn check<T>(&self, context: &Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_pending() && self.connection.wire().is_cut(context) {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        }
        poll
    }

    /// What became of an attempt to write `offered` bytes.
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
                        self.connection.wire().set_writing(false);
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
                self.connection.wire().set_writing(true);
                if waiting.deadline.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
            }
        }
        self.check(context, poll)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.check(context, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, bytes.len(), poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
