//! Clients that close their half of the connection behind a request, and requests that are no HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{DEADLINE, TestHub, raw_status};

const DB: &str = "/silos/office/records/db";

/// What comes back of a request whose sender closes its half at once, as `printf … | nc` does.
async fn through_nc(hub: &TestHub, request: &str) -> String {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

fn request(hub: &TestHub, line: &str, more: &str, body: &str) -> String {
    let (admin, length) = (&hub.admin, body.len());
    format!(
        "{line} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {admin}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn half_closed_requests_are_answered() {
    let hub = TestHub::start().await;
    for number in 0..50 {
        let body = format!("{{\"ip\":\"10.0.0.{number}\"}}");
        let answer = through_nc(&hub, &request(&hub, &format!("PUT {DB}"), "", &body)).await;
        assert!(
            matches!(raw_status(&answer), 200 | 201),
            "{number}: {answer}"
        );
        let answer = through_nc(&hub, &request(&hub, "GET /silos/office", "", "")).await;
        assert_eq!(raw_status(&answer), 200, "{number}: {answer}");
    }
    assert_eq!(hub.get(DB).await.json()["ips"], json!(["10.0.0.49"]));
}

#[tokio::test]
async fn a_half_closed_request_that_waits_is_answered_with_what_is_known() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let more = format!("If-None-Match: {tag}\r\nPrefer: wait=300\r\n");
    // The deadline of `through_nc` is far below the wait.
    assert!(DEADLINE.as_secs() < 300);
    let answer = through_nc(&hub, &request(&hub, "GET /silos/office", &more, "")).await;
    assert_eq!(raw_status(&answer), 304, "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_the_usual_causes() {
    let hub = TestHub::start().await;
    let wrapped = "Authorization: Basic aG9tZTpzaWxvX2FhYWFhYWFhYWFf\r\nYWFhYWFhYWE=\r\n";
    for (what, head, status) in [
        (
            "a blank",
            "GET /nic/update?hostname=my pc HTTP/1.1\r\nHost: hub\r\n\r\n".to_owned(),
            400,
        ),
        (
            "unfilled",
            "GET /nic/update?myip=<ipaddr> HTTP/1.1\r\nHost: hub\r\n\r\n".to_owned(),
            0,
        ),
        (
            "wrapped",
            format!("GET /silos HTTP/1.1\r\nHost: hub\r\n{wrapped}\r\n"),
            400,
        ),
        ("no HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned(), 400),
        (
            "long",
            format!(
                "GET /silos HTTP/1.1\r\nHost: hub\r\nx: {}\r\n\r\n",
                "x".repeat(80_000)
            ),
            431,
        ),
    ] {
        let answer = hub.raw(&head).await;
        if status == 0 {
            // Some parsers take it.
            assert!(raw_status(&answer) >= 400, "{what}: {answer}");
            continue;
        }
        assert_eq!(raw_status(&answer), status, "{what}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("nosniff"), "{what}: {answer}");
        assert!(
            body.contains("percent-encode") && body.contains("base64 -w0"),
            "{what}: {answer}"
        );
    }
    // Its own 400 stays as it is.
    let answer = hub
        .raw("GET /silos HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(raw_status(&answer), 400);
    assert!(answer.contains("/problems/malformed"), "{answer}");
}
