//! Clients that close their half of the connection behind a request, over TLS; and requests that are not valid HTTP.

use silo_e2e::Hub;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::connection::{Endpoint, self_signed};
use super::{PATIENCE, hub_with};

/// How a client closes its half.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// By a `close_notify` (RFC 8446 section 6.1), then the connection's.
    Notify,
    /// The connection's alone, as programs do that know no better.
    Connection,
}

fn put(hub: &Hub, address: &str) -> String {
    let (token, body) = (hub.admin_token(), format!("{{\"ip\":\"{address}\"}}"));
    let length = body.len();
    format!(
        "PUT /silos/office/records/db HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

async fn answer(mut stream: TlsStream<TcpStream>, request: &str, close: Close) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    match close {
        Close::Notify => stream.shutdown().await.unwrap(),
        Close::Connection => stream.get_mut().0.shutdown().await.unwrap(),
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_requests_are_answered_over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), &self_signed(folder.path()));
    let endpoint = Endpoint::tls(&hub, folder.path());
    for close in [Close::Notify, Close::Connection] {
        for number in 1..=20 {
            let stream = endpoint.connect_tls().await.unwrap();
            let address = format!("10.0.0.{number}");
            let answer = answer(stream, &put(&hub, &address), close).await;
            assert!(answer.starts_with("HTTP/1.1 20"), "{close:?}: {answer}");
            assert!(answer.contains(&address), "{close:?}: {answer}");
        }
        // A write whose content is cut off is none.
        let stream = endpoint.connect_tls().await.unwrap();
        let request = put(&hub, "10.0.0.99");
        let answer = answer(stream, &request[..request.len() - 2], close).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{close:?}: {answer}"
        );
        let read = endpoint.connect_tls().await.unwrap();
        let request = put(&hub, "").replace("PUT", "GET");
        let stored = self::answer(read, &request, close).await;
        assert!(stored.contains("10.0.0.20"), "{close:?}: {stored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_http_is_logged_once_a_minute_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), "");
    let endpoint = Endpoint::plain(&hub);
    for number in 0..20 {
        let mut stream = endpoint.connect().await.unwrap();
        let request = format!(
            "GET /nic/update?hostname=my pc{number} HTTP/1.1\r\nHost: the-host\r\nX-Own: the-field\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    // Whatever is logged of a request is logged before the hub ends.
    let log = folder.path().join("hub.log");
    assert_eq!(hub.stop(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("invalid HTTP"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("127.0.0.1: ") && lines[0].contains("400"),
        "{lines:?}"
    );
    let of_hub = log.lines().filter(|line| line.contains(" silo_hub"));
    for line in of_hub {
        for content in ["/nic/update", "my pc", "the-host", "the-field"] {
            assert!(!line.contains(content), "{content}: {line}");
        }
    }
}

/// How many descriptors of the hub are sockets.
fn sockets(hub: &Hub) -> usize {
    let folder = format!("/proc/{}/fd", hub.pid());
    let links = std::fs::read_dir(folder).unwrap().flatten();
    links
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_continues_after_a_half_close_and_ends_when_its_client_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), &self_signed(folder.path()));
    let endpoint = Endpoint::tls(&hub, folder.path());
    let write = async |address: &str| {
        let stream = endpoint.connect_tls().await.unwrap();
        let answer = answer(stream, &put(&hub, address), Close::Notify).await;
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    };
    let before = sockets(&hub);
    write("10.0.0.1").await;
    let mut streams = Vec::new();
    for path in ["/events", "/silos/office/events"] {
        let mut stream = endpoint.connect_tls().await.unwrap();
        let token = hub.admin_token();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        streams.push((stream, String::new()));
    }
    // Each event comes, though the client's half is closed.
    for (number, address) in ["10.0.0.1", "10.0.0.2", "10.0.0.3"].iter().enumerate() {
        if number > 0 {
            write(address).await;
        }
        for (stream, read) in &mut streams {
            let events = number + 1;
            while read.matches("event: silo").count() < events {
                let mut bytes = [0; 4096];
                let more = timeout(PATIENCE, stream.read(&mut bytes)).await;
                let more = more.unwrap().unwrap();
                assert!(more > 0, "the stream ended: {read}");
                read.push_str(std::str::from_utf8(&bytes[..more]).unwrap());
            }
        }
    }
    assert!(streams[1].1.contains("10.0.0.3"), "{}", streams[1].1);
    assert!(sockets(&hub) >= before + 2);
    // A client that is gone is noticed by the comment that is sent to it.
    drop(streams);
    let gone = async {
        while sockets(&hub) > before {
            tokio::time::sleep(silo_e2e::PAUSE).await;
        }
    };
    timeout(PATIENCE * 2, gone).await.unwrap();
}
