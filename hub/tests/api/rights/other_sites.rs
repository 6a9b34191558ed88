//! Requests that a browser sends for pages of other sites.

use reqwest::Method;
use serde_json::json;

use super::OFFICE;
use crate::common::{Call, TestHub, dnsrecords};

#[tokio::test]
async fn writes_of_other_sites_pages_are_refused() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let here = format!("http://{}", hub.address);
    let writes = || -> Vec<Call> {
        vec![
            hub.put(OFFICE).json(&dnsrecords(&[("db", "10.0.0.5")])),
            hub.put("/silos/office/records/db")
                .json(&json!({"ip": "10.0.0.5"})),
        ]
    };
    let own = hub.admin.split('_').nth(1).expect("a credential has an id");
    let harmful = || -> Vec<Call> {
        vec![
            hub.put(OFFICE).json(&dnsrecords(&[])),
            hub.put("/silos/office/records/db")
                .json(&json!({"ip": "10.0.0.6"})),
            hub.delete(OFFICE),
            hub.delete("/silos/office/records/db"),
            hub.post("/tokens")
                .json(&json!({"name": "x", "role": "admin"})),
            hub.post(&format!("/tokens/{own}/rotate")).json(&json!({})),
            hub.delete(&format!("/tokens/{own}")),
            hub.post("/deliveries/1/retry"),
            // Forms need no leave of the browser (CORS): they are what other sites can send.
            hub.put(OFFICE)
                .header("content-type", "application/x-www-form-urlencoded")
                .body("{\"dnsrecords\":[]}"),
            hub.get("/nic/update?hostname=db&myip=10.0.0.6"),
            hub.post("/nic/update?hostname=db&myip=10.0.0.6"),
            hub.get("/v3/update?hostname=db&myip=10.0.0.6"),
        ]
    };
    let elsewhere = "http://evil.example".to_owned();
    let other_port = format!("http://{}:1", hub.address.ip());
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("origin", elsewhere.as_str()),
        ("origin", "https://hub.example"),
        ("origin", other_port.as_str()),
        ("origin", "null"),
    ] {
        for call in harmful() {
            let answer = call.header(header, value).await;
            assert_eq!(answer.status, 403, "{header}: {value}");
        }
        assert_eq!(
            hub.get(OFFICE).header(header, value).await.status,
            200,
            "{header}: {value}"
        );
    }
    for (header, value) in [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("origin", here.as_str()),
    ] {
        for call in writes() {
            assert_eq!(
                call.header(header, value).await.status,
                200,
                "{header}: {value}"
            );
        }
    }
    assert_eq!(hub.get(OFFICE).await.body, before.body);
    assert_eq!(hub.get("/tokens").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_link_that_a_browser_follows_over_plain_http_writes_nothing() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let writer = hub.credential("write", &["office"], &[]).await;
    // It says of no page, and sends the password that it keeps.
    let followed = || {
        hub.open_call(Method::GET, "/nic/update?hostname=db&myip=10.0.0.6")
            .bearer(&writer)
            .header("upgrade-insecure-requests", "1")
    };
    assert_eq!(followed().await.status, 403);
    assert_eq!(hub.get(OFFICE).await.body, before.body);
    // Over TLS it would have said that the address was typed.
    let typed = followed().header("sec-fetch-site", "none").await;
    assert_eq!(typed.text(), "good 10.0.0.6\n");
}
