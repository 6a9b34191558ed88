//! Has the kernel look whether a client is still there: one that went away without a word (a laptop that sleeps, a
//! network that is gone) would keep its event stream for ever.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// After so long without a segment the client's kernel is asked.
const IDLE: Duration = Duration::from_secs(30);
/// How long one question waits for its answer.
const INTERVAL: Duration = Duration::from_secs(10);
/// How many questions go unanswered.
#[cfg(unix)]
const PROBES: u32 = 3;
/// How long what was sent may go without acknowledgement, at least.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Sets a connection up. A client may leave its answer untouched for `stall`, which the hub sees to by itself.
pub(super) fn set(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // While something is unacknowledged nothing is asked; a closed window counts too (tcp(7)).
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
