//! `cors_origins`: pages of other sites that may call the hub.

use reqwest::Method;
use serde_json::json;

use crate::common::{Answer, Call, TestHub, dnsrecords};
use crate::signing::{Signer, slug};

const PAGE: &str = "https://home.lan";
const DB: &str = "/silos/office/records/db";

async fn hub() -> TestHub {
    let hub = TestHub::start_with(|settings| {
        settings.cors_origins = ["https://home.lan", "http://10.0.0.9:8123"]
            .map(|origin| origin.parse().expect("an origin"))
            .to_vec();
    })
    .await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub
}

/// A call as a browser makes it for a page.
fn of_page(call: Call, origin: &str) -> Call {
    call.header("origin", origin)
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "cors")
}

/// The names in a header's list, in lower case.
fn list(answer: &Answer, name: &str) -> Vec<String> {
    let value = answer.header(name).unwrap_or_default();
    value
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

#[tokio::test]
async fn a_preflight_allows_what_pages_need() {
    let hub = hub().await;
    for origin in [PAGE, "http://10.0.0.9:8123"] {
        for path in [DB, "/silos/none", "/tokens", "/token"] {
            let call = hub.open_call(Method::OPTIONS, path);
            let call = of_page(call, origin)
                .header("access-control-request-method", "PATCH")
                .header("access-control-request-headers", "authorization,if-match");
            let answer = call.await;
            assert_eq!(answer.status, 204, "{path}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert!(answer.values("vary").contains(&"Origin"), "{answer:?}");
            let methods = list(&answer, "access-control-allow-methods");
            for method in ["get", "head", "put", "patch", "post", "delete"] {
                assert!(methods.contains(&method.to_owned()), "{methods:?}");
            }
            let headers = list(&answer, "access-control-allow-headers");
            for header in [
                "authorization",
                "content-type",
                "if-match",
                "if-none-match",
                "prefer",
            ] {
                assert!(headers.contains(&header.to_owned()), "{headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn named_pages_may_call_with_a_token_that_they_send() {
    let hub = hub().await;
    let write = hub.put(DB).json(&json!({"ip": "10.0.0.6"}));
    let made = of_page(write, PAGE).await;
    assert_eq!(made.status, 200, "{made:?}");
    let read = of_page(hub.get("/silos/office"), PAGE).await;
    let refused = of_page(hub.open_call(Method::GET, "/silos/office"), PAGE).await;
    let missing = of_page(hub.get("/silos/none"), PAGE).await;
    let unknown = of_page(hub.get("/nothing"), PAGE).await;
    for (answer, status) in [
        (&made, 200),
        (&read, 200),
        (&refused, 401),
        (&missing, 404),
        (&unknown, 404),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some(PAGE),
            "{answer:?}"
        );
        let exposed = list(answer, "access-control-expose-headers");
        for header in [
            "etag",
            "link",
            "location",
            "retry-after",
            "silo-changed",
            "silo-stale",
            "silo-database",
            "preference-applied",
            "content-location",
        ] {
            assert!(exposed.contains(&header.to_owned()), "{exposed:?}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    let stream = crate::common::client()
        .get(format!("http://{}/events", hub.address))
        .bearer_auth(&hub.admin)
        .header("origin", PAGE);
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.headers()["access-control-allow-origin"], PAGE);
    // A signature is made by the page as well.
    let credential = hub.credential("write", &["office"], &[]).await;
    let signer = Signer::of(&credential);
    let draft = signer
        .draft(Method::PUT, DB)
        .json(&json!({"ip": "10.0.0.7"}));
    let shot = signer.sign(&hub, draft);
    assert_eq!(of_page(shot.call(&hub), PAGE).await.status, 200);
}

#[tokio::test]
async fn no_other_page_may_and_none_with_a_stored_password() {
    let hub = hub().await;
    let before = hub.get("/silos/office").await;
    for origin in [
        "https://evil.example",
        "https://home.lan.evil.example",
        "http://home.lan",
        "https://home.lan:444",
        "null",
    ] {
        let write = of_page(hub.put(DB).json(&json!({"ip": "10.0.0.6"})), origin).await;
        assert_eq!(
            (write.status, slug(&write)),
            (403, "forbidden".to_owned()),
            "{origin}"
        );
        let call = of_page(hub.open_call(Method::OPTIONS, DB), origin);
        let preflight = call.header("access-control-request-method", "PUT").await;
        assert_eq!(preflight.status, 405, "{origin}");
        for answer in [
            &write,
            &preflight,
            &of_page(hub.get("/silos/office"), origin).await,
        ] {
            assert_eq!(
                answer.header("access-control-allow-origin"),
                None,
                "{origin}"
            );
            assert!(answer.values("vary").contains(&"Origin"), "{answer:?}");
        }
    }
    // A browser sends a password that it has stored on its own, also for a form of the page.
    let stored = hub
        .open_call(Method::PUT, "/silos/office")
        .login("me", &hub.admin);
    let stored = of_page(stored.json(&dnsrecords(&[])), PAGE).await;
    assert_eq!(stored.status, 403);
    let twice = hub
        .put(DB)
        .header("origin", PAGE)
        .header("origin", "https://evil.example");
    assert_eq!(twice.json(&json!({"ip": "10.0.0.6"})).await.status, 403);
    // Foreign protocols write on GET, which needs no preflight.
    let update = hub.get("/nic/update?hostname=db&myip=10.0.0.6");
    assert_eq!(of_page(update, PAGE).await.status, 403);
    assert_eq!(hub.get("/silos/office").await.body, before.body);
}

#[tokio::test]
async fn without_origins_nothing_is_added() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let read = of_page(hub.get("/silos/office"), PAGE).await;
    assert_eq!(read.header("access-control-allow-origin"), None);
    assert_eq!(read.values("vary"), ["Accept"]);
    let preflight = hub
        .open_call(Method::OPTIONS, "/silos/office")
        .header("origin", PAGE);
    let preflight = preflight
        .header("access-control-request-method", "PUT")
        .await;
    assert_eq!(preflight.status, 405);
}
