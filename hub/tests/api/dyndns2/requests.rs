//! Requests in every shape: methods, forms, and the very bytes of old clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

use super::{WorkerContext, basic, lines};
use crate::common::Call;

#[tokio::test]
async fn a_post_is_as_good_by_query_or_by_form() {
    let office = WorkerContext::start().await;
    let post = |path: &str| basic(&office.hub, Method::POST, path, "", &office.token);
    let form = |call: Call| call.header("content-type", "application/x-www-form-urlencoded");
    let by_query = post("/nic/update?hostname=nas&myip=192.0.2.1").await;
    assert_eq!(lines(&by_query), "good 192.0.2.1");
    let by_form = form(post("/v3/update"))
        .body("hostname=nas,db&myip=192.0.2.2")
        .await;
    assert_eq!(lines(&by_form), "good 192.0.2.2|good 192.0.2.2");
    let by_both = form(post("/nic/update?hostname=nas"))
        .body("myip=192.0.2.3")
        .await;
    assert_eq!(lines(&by_both), "good 192.0.2.3");
    // Another body is not looked at.
    let other = post("/nic/update?hostname=nas&myip=192.0.2.3")
        .json(&json!({"myip": "192.0.2.4"}))
        .await;
    assert_eq!(lines(&other), "nochg 192.0.2.3");
    // A form has room for twenty hosts, and no more than that needs.
    let pair = STANDARD.encode(format!("any:{}", office.token));
    let long = form(office.hub.open_call(Method::POST, "/nic/update"))
        .header("authorization", &format!("Basic {pair}"))
        .body(format!("hostname=nas&more={}", "x".repeat(64 * 1024)));
    assert_eq!(long.await.status, 413);
    // A client without permission is refused before its body is read.
    let big = office
        .hub
        .raw(
            "POST /nic/update HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99999999\r\n\r\n",
        )
        .await;
    assert!(big.starts_with("HTTP/1.1 401 "), "{big}");
}

#[tokio::test]
async fn other_methods_are_405_and_change_nothing() {
    let office = WorkerContext::start().await;
    let pair = STANDARD.encode(format!("any:{}", office.token));
    for path in ["/nic/update", "/v3/update"] {
        let path = format!("{path}?hostname=nas&myip=192.0.2.1");
        for method in [
            Method::HEAD,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ] {
            let answer = office
                .hub
                .open_call(method.clone(), &path)
                .header("authorization", &format!("Basic {pair}"))
                .await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.allowed(), ["GET", "POST"], "{method} {path}");
        }
    }
    assert_eq!(office.hub.get("/silos/office").await.status, 404);
    for path in ["/nic/update/x", "/nic", "/nic/status", "/v3/update/x"] {
        assert_eq!(office.hub.get(path).await.status, 404, "{path}");
    }
}

/// `GET` changes something here, and browsers keep passwords of Basic.
#[tokio::test]
async fn other_sites_pages_are_refused() {
    let office = WorkerContext::start().await;
    let pair = STANDARD.encode(format!("any:{}", office.token));
    for method in [Method::GET, Method::POST] {
        for (header, value) in [
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
        ] {
            let answer = office
                .hub
                .open_call(method.clone(), "/nic/update?hostname=nas&myip=192.0.2.1")
                .header("authorization", &format!("Basic {pair}"))
                .header(header, value)
                .await;
            assert_eq!(answer.status, 403, "{method} {header}: {value}");
        }
    }
    assert_eq!(office.hub.get("/silos/office").await.status, 404);
}

/// The requests byte for byte, as ddclient 3.10, inadyn 2.10 and a FRITZ!Box send them.
#[tokio::test]
async fn old_clients_bytes_are_understood() {
    let office = WorkerContext::start().await;
    office
        .set("nas", json!({"ip": "10.0.0.5", "ipv6_suffix": "::5"}))
        .await;
    let basic = STANDARD.encode(format!("office:{}", office.token));
    let lines = |request: &str, version: &str, host: &str| {
        format!(
            "GET {request} HTTP/{version}\r\nHost: {host}\r\nAuthorization: Basic {basic}\r\n\
             User-Agent: test\r\nConnection: close\r\n\r\n"
        )
    };
    let fritz = "/nic/update?hostname=nas,router&myip=192.0.2.7&myipv6=2001:db8:ff::1\
                 &ip6lanprefix=2001:db8:1:2::/64";
    for (request, status, body) in [
        (
            lines(
                "/nic/update?system=dyndns&hostname=a,b&myip=192.0.2.1",
                "1.1",
                "10.0.0.1:8053",
            ),
            "HTTP/1.1 200 OK",
            "good 192.0.2.1\ngood 192.0.2.1\n",
        ),
        (
            lines("/nic/update?hostname=a&myip=192.0.2.2", "1.0", "10.0.0.1"),
            "HTTP/1.0 200 OK",
            "good 192.0.2.2\n",
        ),
        (
            lines(fritz, "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "good 192.0.2.7,2001:db8:1:2::5\ngood 192.0.2.7,2001:db8:ff::1\n",
        ),
        // What it has no value for stays empty; what people typed goes out as it is.
        (
            lines(
                "/nic/update?hostname=b\u{fc}ro&myip=192.0.2.8&myipv6=&ip6lanprefix=",
                "1.1",
                "hub",
            ),
            "HTTP/1.1 200 OK",
            "good 192.0.2.8\n",
        ),
        (
            lines("/nic/update?hostname=|{nas}|&myip=192.0.2.8", "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "notfqdn\n",
        ),
        (
            lines("/nic/update?hostname=&myip=192.0.2.8", "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "notfqdn\n",
        ),
        (
            lines("/nic/update?hostname=50%&myip=192.0.2.8", "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "notfqdn\n",
        ),
        (
            "GET /nic/update?hostname=a HTTP/1.0\r\n\r\n".to_owned(),
            "HTTP/1.0 401 Unauthorized",
            "badauth\n",
        ),
    ] {
        let answer = office.hub.raw(&request).await;
        let (head, content) = answer.split_once("\r\n\r\n").expect("a head ends");
        assert_eq!(head.lines().next(), Some(status), "{request}");
        assert_eq!(content, body, "{request}");
        let head = head.to_ascii_lowercase();
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
    assert_eq!(office.ips("xn--bro-hoa").await, json!(["192.0.2.8"]));
}
