//! Which connections are closed, and how responses are handed over.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::advance;

use super::connections::{Connection, Connections};
use super::service::Answer;
use crate::config::limits::Limits;

fn connections(connections: usize) -> Connections {
    Connections::new(Limits {
        connections,
        body_bytes: 1024 * 1024,
        head: Duration::from_secs(600),
        idle: Duration::from_secs(600),
        stall: Duration::from_secs(600),
        requests_per_minute: None,
    })
}

fn is_cut(connection: &Arc<Connection>) -> bool {
    let context = Context::from_waker(Waker::noop());
    connection.switch().is_cut(&context)
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_first_except_new_ones() {
    let connections = connections(3);
    let [sending, idle, running] = [(); 3].map(|()| connections.admit().expect("there is room"));
    let mut lying = sending.begin();
    lying.hands_over();
    let _request = running.begin();
    drop(idle.begin());
    advance(Duration::from_secs(5)).await;

    let new = connections.admit().expect("one gives way");
    assert!(is_cut(&idle));
    let newer = connections.admit().expect("one gives way");
    assert!(is_cut(&sending));
    assert!(!is_cut(&new));
    // A request on a connection that was closed has no effect any more.
    lying.waits_for_more();
    drop(lying);
    drop((sending, idle));

    let newest = connections.admit().expect("one gives way");
    assert!(is_cut(&new));
    let _requests = [newer.begin(), newest.begin()];
    assert!(connections.admit().is_none());
    assert!(!is_cut(&running));
}

/// A body that is pending between its frames.
struct Stream(Vec<Poll<&'static [u8]>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let data = self.0.remove(0).map(Bytes::from_static);
        data.map(|data| Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = |poll: &Poll<&[u8]>| match poll {
            Poll::Ready(data) => data.len() as u64,
            Poll::Pending => 0,
        };
        SizeHint::with_exact(self.0.iter().map(bytes).sum())
    }
}

#[tokio::test]
async fn a_response_is_sent_in_pieces_and_may_be_dropped_only_while_one_is_unread() {
    const KIB_40: &[u8] = &[7; 40 * 1024];
    let connections = connections(1);
    let only = connections.admit().expect("there is room");
    let frames = vec![
        Poll::Ready(KIB_40),
        Poll::Pending,
        Poll::Ready(b"end".as_slice()),
    ];
    let mut answer = Answer::in_pieces(Stream(frames), only.begin());
    let context = &mut Context::from_waker(Waker::noop());
    let mut left = KIB_40.len() as u64 + 3;
    for wanted in [16 * 1024, 16 * 1024, 8 * 1024, 0, 3] {
        assert_eq!(answer.size_hint().exact(), Some(left));
        assert!(!answer.is_end_stream());
        match Pin::new(&mut answer).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.into_data().expect("data");
                assert_eq!(data.len(), wanted);
                left -= wanted as u64;
            }
            Poll::Pending => {
                assert_eq!(wanted, 0);
                assert!(connections.admit().is_none(), "nothing is to be taken");
            }
            Poll::Ready(_) => panic!("it has ended"),
        }
    }
    assert!(answer.is_end_stream());
    let _other = connections.admit().expect("the end is not taken");
    assert!(is_cut(&only));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn many_connections_may_wait_to_be_accepted() {
    // More than the default of std's listeners (128), and fewer than any system allows.
    const CLIENTS: usize = 500;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _server = super::server(listener, &axum_server::Handle::new()).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap())
        .collect();
    assert_eq!(clients.len(), CLIENTS);
}
