//! Bodies that come slowly, on as many connections as there may be.

use std::time::Duration;

use silo_e2e::{PATIENCE, TRUSTS_LOOPBACK};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connection::{Connection, Endpoint};
use super::{client, honest, honest_once_there_is_room, hub_with};

/// What a hub sends when it waits for a body (RFC 9110 section 15.2.1).
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Begins a request whose content has so many bytes, and sends nothing of them; the hub waits for them.
async fn begin(endpoint: &Endpoint, start: &str, length: usize) -> Connection {
    let head = format!(
        "{start}\r\nHost: hub\r\nContent-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    let mut line = endpoint.connect().await.unwrap();
    line.write_all(head.as_bytes()).await.unwrap();
    let mut said = vec![0; GO_ON.len()];
    line.read_exact(&mut said).await.unwrap();
    assert_eq!(String::from_utf8(said).unwrap(), GO_ON);
    line
}

/// The bytes received until the hub closes the connection; it may do so with a reset.
async fn rest(line: &mut Connection) -> String {
    let mut text = Vec::new();
    let read = async { while matches!(line.read_buf(&mut text).await, Ok(1..)) {} };
    timeout(2 * PATIENCE, read)
        .await
        .expect("the hub closes the connection");
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_bodies_of_strangers_make_room() {
    const FORM: &str = "secid=0f1e2d3c4b5a-of-this-test&host=nas";
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "{TRUSTS_LOOPBACK}compat: {{dynahost: {{silo: home, hostnames: [nas]}}}}\n\
        limits: {{connections: 20, idle_seconds: 2}}\n"
    );
    let hub = hub_with(folder.path(), &config);
    let endpoint = Endpoint::plain(&hub);
    // The caller's address is what is published: loopback itself would be refused.
    let form = "Content-Type: application/x-www-form-urlencoded\r\nX-Forwarded-For: 192.0.2.7";
    let mut slow = Vec::new();
    for path in ["/update", "/log"].into_iter().cycle().take(50) {
        let start = format!("POST {path} HTTP/1.1\r\n{form}");
        slow.push(begin(&endpoint, &start, 1000).await);
    }
    honest(&hub, &client()).await;
    for line in slow.iter_mut().take(30) {
        // It is not served in any case.
        assert!(!rest(line).await.contains("200 OK"));
    }
    // Among them one whose secid comes, if late: that is no silence between requests.
    let start = format!("POST /update HTTP/1.1\r\n{form}");
    let mut late = begin(&endpoint, &start, FORM.len()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    late.write_all(FORM.as_bytes()).await.unwrap();
    assert!(rest(&mut late).await.ends_with("\r\n\r\nOK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_bodies_of_others_are_served_and_take_their_places_for_half_a_minute() {
    const BODY: &str = r#"{"dnsrecords":[]}"#;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), "limits: {connections: 20}\n");
    let endpoint = Endpoint::plain(&hub);
    let start = format!(
        "PUT /silos/slow HTTP/1.1\r\nAuthorization: Bearer {}",
        hub.admin_token()
    );
    let mut busy = Vec::new();
    for _ in 0..20 {
        busy.push(begin(&endpoint, &start, BODY.len()).await);
    }
    // No body is dropped.
    for _ in 0..20 {
        let mut refused = endpoint.connect().await.unwrap();
        let _ = refused
            .write_all(b"GET /ping HTTP/1.1\r\nHost: hub\r\n\r\n")
            .await;
        assert_eq!(rest(&mut refused).await, "");
    }
    // Admitted bodies are served, each freeing a place.
    let mut done = busy.pop().unwrap();
    done.write_all(BODY.as_bytes()).await.unwrap();
    let answer = rest(&mut done).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    drop(done);
    honest_once_there_is_room(&hub).await;
    for line in &mut busy {
        let answer = rest(line).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    honest_once_there_is_room(&hub).await;
}
