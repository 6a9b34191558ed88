//! Clients that close their half of the connection behind a request, and requests that are not valid HTTP.

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

/// An answer to each request, in their order; the connection's end too.
#[tokio::test]
async fn each_form_of_a_half_closed_request_is_answered() {
    let hub = TestHub::start().await;
    let admin = &hub.admin;
    let auth = format!("Host: hub\r\nAuthorization: Bearer {admin}\r\n");
    let put = |address: &str| {
        let body = format!("{{\"ip\":\"{address}\"}}");
        let length = body.len();
        format!("PUT {DB} HTTP/1.1\r\n{auth}Content-Length: {length}\r\n\r\n{body}")
    };
    let get = format!("GET {DB} HTTP/1.1\r\n{auth}\r\n");
    let chunked = format!("PUT {DB} HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n");
    for (what, sent, statuses, address) in [
        ("a length", put("10.0.0.1"), &[201][..], "10.0.0.1"),
        (
            "HTTP/1.0",
            put("10.0.0.2").replace("HTTP/1.1", "HTTP/1.0"),
            &[200],
            "10.0.0.2",
        ),
        (
            "chunks",
            format!("{chunked}9\r\n{{\"ip\":\"10\r\n8\r\n.0.0.3\"}}\r\n0\r\n\r\n"),
            &[200],
            "10.0.0.3",
        ),
        (
            "the last asks for the end",
            put("10.0.0.4").replace("Host:", "Connection: close\r\nHost:"),
            &[200],
            "10.0.0.4",
        ),
        (
            "several at once",
            format!("{}{get}{}{get}", put("10.0.0.5"), put("10.0.0.6")),
            &[200, 200, 200, 200],
            "10.0.0.6",
        ),
        // A write whose content is cut off is none.
        (
            "a cut length",
            put("10.0.0.7").replace("10.0.0.7\"}", "10.0"),
            &[400],
            "10.0.0.6",
        ),
        (
            "a cut chunk",
            format!("{chunked}11\r\n{{\"ip\":\"10.0"),
            &[400],
            "10.0.0.6",
        ),
        (
            "no last chunk",
            format!("{chunked}11\r\n{{\"ip\":\"10.0.0.8\"}}\r\n"),
            &[400],
            "10.0.0.6",
        ),
        (
            "a cut one behind a whole one",
            format!("{}{chunked}11\r\n", put("10.0.0.9")),
            &[200, 400],
            "10.0.0.9",
        ),
        (
            "a cut head",
            get[..get.len() - 2].to_owned(),
            &[],
            "10.0.0.9",
        ),
    ] {
        let answers = through_nc(&hub, &sent).await;
        let heads = answers.match_indices("HTTP/1.").map(|(at, _)| at);
        let found: Vec<u16> = heads
            .filter(|&at| at == 0 || answers[..at].ends_with('}'))
            .map(|at| answers[at + 9..at + 12].parse::<u16>().unwrap())
            .collect();
        assert_eq!(found, statuses, "{what}: {answers}");
        assert_eq!(hub.get(DB).await.json()["ips"], json!([address]), "{what}");
    }
}

#[tokio::test]
async fn a_half_closed_long_poll_is_answered_with_the_current_state() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let more = format!("If-None-Match: {tag}\r\nPrefer: wait=300\r\n");
    // The deadline of `through_nc` is far below the wait.
    assert!(DEADLINE.as_secs() < 300);
    let answer = through_nc(&hub, &request(&hub, "GET /silos/office", &more, "")).await;
    assert_eq!(raw_status(&answer), 304, "{answer}");
}

#[tokio::test]
async fn invalid_http_is_answered_with_the_usual_causes() {
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
            400,
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
