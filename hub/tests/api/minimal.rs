//! `Prefer: return=minimal` on writes (RFC 7240 section 4.2).

use reqwest::Method;
use serde_json::json;

use crate::common::{TestHub, dnsrecords, revision};

#[tokio::test]
async fn a_write_can_be_answered_without_the_representation() {
    let hub = TestHub::start().await;
    let first = revision(&hub.put_silo("back", &[("db", "10.0.0.5")]).await.json());
    hub.put_silo("back", &[("db", "10.0.0.6")]).await;
    let silo = || dnsrecords(&[("db", "10.0.0.5")]);
    let record = json!({"ip": "10.0.0.5"});
    let patch = json!({"set": [{"hostname": "db", "ip": "10.0.0.5"}]});
    for (method, path, body, created, has_tag) in [
        (Method::PUT, "/silos/a", silo(), true, false),
        (Method::PUT, "/silos/b/records/db", record, true, false),
        (Method::PATCH, "/silos/c/records", patch, true, true),
        (
            Method::POST,
            "/silos/back/revert",
            json!({"revision": first}),
            false,
            true,
        ),
    ] {
        for again in [false, true] {
            let is_new = created && !again;
            let call = hub.call(method.clone(), path).json(&body);
            let answer = call.header("prefer", "return=minimal, wait=5").await;
            let case = format!("{method} {path} {again}");
            assert_eq!(
                answer.status,
                if is_new { 201 } else { 204 },
                "{case}: {answer:?}"
            );
            assert_eq!(answer.text(), "", "{case}");
            assert_eq!(
                answer.header("preference-applied"),
                Some("return=minimal"),
                "{case}"
            );
            let changed = if again { "?0" } else { "?1" };
            assert_eq!(answer.header("silo-changed"), Some(changed), "{case}");
            assert_eq!(answer.header("location").is_some(), is_new, "{case}");
            for gone in ["content-type", "content-location"] {
                assert_eq!(answer.header(gone), None, "{case}");
            }
            // Not on a PUT (RFC 9110 section 9.3.4).
            assert_eq!(answer.header("etag").is_some(), has_tag, "{case}");
        }
    }
    for (prefer, path) in [
        ("return=representation", "/silos/a"),
        ("return", "/silos/a"),
    ] {
        let answer = hub.put(path).json(&silo()).header("prefer", prefer).await;
        assert_eq!(
            (answer.status, answer.header("preference-applied")),
            (200, None),
            "{prefer}"
        );
        assert!(!answer.body.is_empty());
    }
    // What is shown only once is shown, and an error is shown too.
    let token = hub
        .post("/tokens")
        .json(&json!({"name": "x", "role": "admin"}));
    let token = token.header("prefer", "return=minimal").await;
    assert!(token.json()["secret"].is_string(), "{token:?}");
    let wrong = hub
        .put("/silos/a")
        .json(&json!({}))
        .header("prefer", "return=minimal");
    assert_eq!(wrong.await.pointers(), ["/dnsrecords"]);
}
