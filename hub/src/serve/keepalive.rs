//! Configures TCP keepalive. Otherwise a client that disappeared silently (a sleeping laptop, a lost network) would
//! keep its event stream open forever.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// The idle time before the first probe.
const IDLE: Duration = Duration::from_secs(30);
/// The interval between probes.
const INTERVAL: Duration = Duration::from_secs(10);
/// The number of unanswered probes before the connection is closed.
#[cfg(unix)]
const PROBES: u32 = 3;
/// The minimum time that sent data may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Configures a connection. A client may leave its response unread for `stall`, which the hub enforces itself.
pub(super) fn set(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // While data is unacknowledged, no probes are sent; a closed window counts too (tcp(7)).
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED.max(2 * stall)))?;
    #[cfg(not(target_os = "linux"))]
    let _ = stall;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_is_gone_is_noticed_while_nothing_and_while_something_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        for (stall, unacknowledged) in [(1, 60), (30, 60), (600, 1200)] {
            set(&stream, Duration::from_secs(stall)).unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
            assert_eq!(
                socket.tcp_user_timeout().unwrap(),
                Some(Duration::from_secs(unacknowledged))
            );
        }
    }
}
