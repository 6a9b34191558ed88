//! Routes without credentials, and the responses for missing routes and wrong methods.

use std::net::TcpListener;
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use crate::common::{Home, TestHub, raw_status};

#[tokio::test]
async fn ping_answers_get_post_and_put() {
    let hub = TestHub::start().await;
    for method in [Method::GET, Method::POST, Method::PUT] {
        let answer = hub.open_call(method.clone(), "/ping").await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.text(), r#"{"message":"PONG"}"#);
    }
    let answer = hub.open_call(Method::DELETE, "/ping").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.allowed(), ["GET", "HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn ip_is_the_callers_address_as_json_or_bare() {
    let hub = TestHub::start().await;
    let answer = hub.open_call(Method::GET, "/ip").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), r#"{"ip":"127.0.0.1"}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = hub
        .open_call(Method::GET, "/ip")
        .header("accept", "text/plain")
        .await;
    assert_eq!(answer.text(), "127.0.0.1");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
}

/// A listener for both families, as the hub makes one of `[::]`: Windows leaves out IPv4 unless it is asked for.
fn on_both_families() -> TcpListener {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.set_only_v6(false).expect("both families");
    let address: std::net::SocketAddr = "[::]:0".parse().expect("an address");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(16).expect("it listens");
    socket.into()
}

#[tokio::test]
async fn ip_of_a_mapped_peer_is_printed_as_ipv4() {
    let home = Arc::new(Home::new());
    let settings = home.settings();
    let listener = on_both_families();
    let port = listener.local_addr().unwrap().port();
    let mut hub = TestHub::start_on(listener, home, settings).await;
    hub.address = ([127, 0, 0, 1], port).into();
    let answer = hub.open_call(Method::GET, "/ip").await;
    assert_eq!(answer.text(), r#"{"ip":"127.0.0.1"}"#);
}

#[tokio::test]
async fn forwarded_addresses_count_only_from_a_trusted_proxy() {
    let strict = TestHub::start().await;
    let trusting = TestHub::start_behind_a_proxy().await;
    for (header, value, client) in [
        ("x-forwarded-for", "192.0.2.7", "192.0.2.7"),
        ("x-forwarded-for", "::ffff:192.0.2.7", "192.0.2.7"),
        ("x-forwarded-for", "2001:db8::7", "2001:db8::7"),
        // The client's own value precedes the proxy's.
        ("x-forwarded-for", "10.9.9.9, 192.0.2.7", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7;proto=https", "192.0.2.7"),
        ("forwarded", "for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
    ] {
        let ask = |hub: &TestHub| hub.open_call(Method::GET, "/ip").header(header, value);
        let told = ask(&strict).await;
        assert_eq!(told.json(), json!({"ip": "127.0.0.1"}), "{header}: {value}");
        let told = ask(&trusting).await;
        assert_eq!(told.json(), json!({"ip": client}), "{header}: {value}");
    }
}

#[tokio::test]
async fn ip_is_refused_if_a_trusted_proxy_names_no_client() {
    let trusting = TestHub::start_behind_a_proxy().await;
    let ask = || trusting.open_call(Method::GET, "/ip");
    for call in [
        ask(),
        ask().header("x-real-ip", "192.0.2.7"),
        ask().header("x-forwarded-for", ""),
        ask().header("x-forwarded-for", "unknown"),
        ask().header("x-forwarded-for", "192.0.2.7,"),
        ask()
            .header("x-forwarded-for", "192.0.2.7")
            .header("forwarded", "for=192.0.2.8"),
        ask().header("accept", "text/plain"),
    ] {
        let answer = call.await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["type"], "/problems/caller-unknown");
        assert!(answer.text().contains("trusted_proxies"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_running_hub_is_healthy_and_ready() {
    let hub = TestHub::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(hub.open_call(Method::GET, path).await.status, 200, "{path}");
        assert_eq!(
            hub.open_call(Method::HEAD, path).await.status,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_root_links_to_the_description() {
    let hub = TestHub::start().await;
    for accept in ["*/*", "application/json"] {
        let answer = hub
            .open_call(Method::GET, "/")
            .header("accept", accept)
            .await;
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert!(body["message"].is_string(), "{body}");
        assert_eq!(body["openapi"], "/openapi.json");
    }
}

#[tokio::test]
async fn credentials_are_ignored_on_open_routes() {
    let hub = TestHub::start().await;
    let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
    for _ in 0..4 {
        for path in ["/ping", "/ip", "/healthz", "/readyz", "/"] {
            let answer = hub.open_call(Method::GET, path).bearer(&wrong).await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    // Nor were they counted as failures.
    let answer = hub.open_call(Method::GET, "/silos").bearer(&wrong).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn metrics_are_for_admins() {
    let hub = TestHub::start().await;
    assert_eq!(hub.open_call(Method::GET, "/metrics").await.status, 401);
    let reader = hub.credential("read", &["*"], &[]).await;
    let answer = hub.open_call(Method::GET, "/metrics").bearer(&reader).await;
    assert_eq!(answer.status, 403);
    let answer = hub.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
}

#[tokio::test]
async fn unknown_routes_are_problems_404() {
    let hub = TestHub::start().await;
    for path in [
        "/nothing",
        "/silos/",
        "/silos/office/",
        "/silos/office/records/",
        "/silos/office/nothing",
        "/silos/office/records/db/more",
        "/tokens/",
        "/token/",
        "/records/",
        "/records/db",
        "/silos/office/revert/",
        "//silos",
        "/SILOS",
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST] {
            let answer = hub.call(method.clone(), path).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.json()["type"], "/problems/not-found");
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn wrong_methods_are_405_with_allow() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let silo = vec!["DELETE", "GET", "HEAD", "PUT"];
    let read = vec!["GET", "HEAD"];
    for (path, wrong, allowed) in [
        ("/", vec!["POST", "PUT", "DELETE", "PATCH"], read.clone()),
        ("/ip", vec!["POST", "PUT", "DELETE"], read.clone()),
        ("/healthz", vec!["POST"], read.clone()),
        ("/readyz", vec!["PUT"], read.clone()),
        ("/metrics", vec!["POST"], read.clone()),
        ("/status", vec!["POST"], read.clone()),
        (
            "/silos",
            vec!["POST", "PUT", "DELETE", "PATCH"],
            read.clone(),
        ),
        ("/silos/office", vec!["POST", "PATCH"], silo.clone()),
        ("/silos/office/records/db", vec!["POST", "PATCH"], silo),
        (
            "/silos/office/records",
            vec!["POST", "PUT", "DELETE"],
            vec!["GET", "HEAD", "PATCH"],
        ),
        (
            "/silos/office/revert",
            vec!["GET", "HEAD", "PUT", "DELETE", "PATCH"],
            vec!["POST"],
        ),
        (
            "/records",
            vec!["POST", "PUT", "DELETE", "PATCH"],
            read.clone(),
        ),
        (
            "/token",
            vec!["POST", "PUT", "DELETE", "PATCH"],
            read.clone(),
        ),
        ("/version", vec!["POST", "PUT"], read.clone()),
        (
            "/silos/office/history",
            vec!["POST", "PUT", "DELETE"],
            read.clone(),
        ),
        (
            "/silos/office/agents",
            vec!["POST", "PUT", "DELETE"],
            read.clone(),
        ),
        (
            "/tokens",
            vec!["PUT", "DELETE"],
            vec!["GET", "HEAD", "POST"],
        ),
        (
            "/tokens/aaaaaaaaaa",
            vec!["GET", "HEAD", "PUT", "POST"],
            vec!["DELETE", "PATCH"],
        ),
        (
            "/tokens/aaaaaaaaaa/rotate",
            vec!["GET", "HEAD", "PUT", "DELETE"],
            vec!["POST"],
        ),
        ("/audit", vec!["POST", "DELETE"], read.clone()),
        ("/events", vec!["POST", "PUT"], read.clone()),
        ("/silos/office/events", vec!["POST", "PUT"], read.clone()),
        ("/deliveries", vec!["POST", "PUT", "DELETE"], read.clone()),
        (
            "/deliveries/1/retry",
            vec!["GET", "HEAD", "PUT", "DELETE"],
            vec!["POST"],
        ),
        (
            "/problems/invalid",
            vec!["POST", "PUT", "DELETE"],
            read.clone(),
        ),
    ] {
        for method in wrong {
            let method: Method = method.parse().unwrap();
            let answer = hub.call(method.clone(), path).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.allowed(), allowed, "{method} {path}");
            if method != Method::HEAD {
                assert_eq!(answer.json()["type"], "/problems/method-not-allowed");
            }
        }
    }
    assert_eq!(hub.get("/silos/office").await.status, 200);
}

#[tokio::test]
async fn head_has_the_headers_of_get_for_every_read() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5"), ("nas", "10.0.0.7")])
        .await;
    for path in [
        "/",
        "/ping",
        "/ip",
        "/healthz",
        "/readyz",
        "/metrics",
        "/silos",
        "/silos?limit=1",
        "/silos/office",
        "/silos/office?format=hosts",
        "/silos/office?format=zone",
        "/silos/office/records/db",
        "/silos/office/history?limit=1",
        "/tokens",
        "/audit",
        "/deliveries",
        "/problems/invalid",
        "/problems/none",
        "/silos/none",
        "/nothing",
        "/silos?limit=0",
    ] {
        let got = hub.get(path).await;
        let told = hub.head(path).await;
        assert_eq!(told.status, got.status, "{path}");
        for name in ["content-type", "content-length", "etag", "link", "vary"] {
            if (path, name) == ("/metrics", "content-length") {
                // What it tells changes with each request.
                continue;
            }
            assert_eq!(told.header(name), got.header(name), "{name} of {path}");
        }
    }
    let tag = hub.get("/silos/office").await.etag();
    let told = hub
        .head("/silos/office")
        .header("if-none-match", &tag)
        .await;
    assert_eq!(told.status, 304);
    // Of a stream, that it would begin.
    for path in ["/events", "/silos/office/events"] {
        let told = hub.head(path).await;
        assert_eq!(told.status, 200, "{path}");
        assert_eq!(told.header("content-type"), Some("text/event-stream"));
    }
}

#[tokio::test]
async fn broken_requests_are_refused_and_the_hub_keeps_running() {
    let hub = TestHub::start().await;
    for request in [
        "GET /silos HTTP/1.1\r\n\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET /%ff HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
        "GET /silos/%zz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
        "GET /silos/%ff HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
        "GET /silos/a%2fb HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
        "PUT /silos/office HTTP/1.1\r\nHost: hub\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
    ] {
        let request = request.replacen("\r\n\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        let status = raw_status(&hub.raw(&request).await);
        assert!((400..500).contains(&status), "{request:?}: {status}");
    }
    assert_eq!(hub.open_call(Method::GET, "/ping").await.status, 200);
}
