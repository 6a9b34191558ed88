//! Clients of event streams that are gone without having said so.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::client::Builder;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::connection::{Connection, Endpoint, self_signed};
use super::hub_with;

/// Several times what the hub needs to notice.
const LONG: Duration = Duration::from_secs(180);

/// A connection whose client still takes what comes, as its kernel would, but is not there any more: nothing that it
/// says arrives.
struct Muted {
    line: Connection,
    is_muted: Arc<AtomicBool>,
}

impl AsyncRead for Muted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_read(context, buffer)
    }
}

impl AsyncWrite for Muted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_muted.load(Ordering::Relaxed) {
            Poll::Ready(Ok(bytes.len()))
        } else {
            Pin::new(&mut self.line).poll_write(context, bytes)
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(context)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_over_http_2_ends_when_its_client_answers_no_ping() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), &self_signed(folder.path()));
    let endpoint = Endpoint::tls(&hub, folder.path());
    let open = async |dies: bool| {
        let line = Muted {
            line: endpoint.connect().await.unwrap(),
            is_muted: Arc::new(AtomicBool::new(false)),
        };
        let mute = Arc::clone(&line.is_muted);
        let (requests, connection) = Builder::new()
            .handshake::<_, std::io::Cursor<Vec<u8>>>(line)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let mut ready = requests.ready().await.unwrap();
        let request = Request::get(format!("{}/events", hub.url()))
            .header("authorization", format!("Bearer {}", hub.admin_token()))
            .body(())
            .unwrap();
        let answer = ready.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), 200);
        mute.store(dies, Ordering::Relaxed);
        (connection, ready, answer.into_body())
    };
    let (living, _requests, _stream) = open(false).await;
    let (dead, _requests, _stream) = open(true).await;
    timeout(LONG, dead)
        .await
        .expect("the hub closes the connection")
        .unwrap()
        .ok();
    assert!(
        !living.is_finished(),
        "a client that answers pings stays connected"
    );
}
