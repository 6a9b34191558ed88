//! How many requests a token may make, and how large a request's head may be.

use std::num::NonZeroU32;

use reqwest::Method;
use serde_json::json;

use crate::common::{TestHub, raw_status};

#[tokio::test]
async fn a_token_over_its_requests_per_minute_gets_429() {
    let hub = TestHub::start_with(|settings| {
        settings.limits.requests_per_minute = NonZeroU32::new(6);
    })
    .await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let reader = hub.credential("read", &["office"], &[]).await;
    let writer = hub.credential("write", &["office"], &[]).await;
    let read = || hub.open_call(Method::GET, "/silos/office").bearer(&reader);
    for _ in 0..6 {
        assert_eq!(read().await.status, 200);
    }
    for _ in 0..3 {
        let answer = read().await;
        assert_eq!(answer.status, 429, "{answer:?}");
        assert_eq!(answer.json()["type"], "/problems/too-many-requests");
        assert_eq!(answer.header("retry-after"), Some("10"));
    }
    // Other tokens, and requests without one, are still served.
    let write = hub
        .open_call(Method::PUT, "/silos/office/records/db")
        .bearer(&writer)
        .json(&json!({"ip": "10.0.0.6"}));
    assert_eq!(write.await.status, 200);
    assert_eq!(hub.open_call(Method::GET, "/ping").await.status, 200);
    hub.pass(10);
    assert_eq!(read().await.status, 200);
    assert_eq!(read().await.status, 429);
    // A DDNS client gets its protocol's reply.
    for _ in 0..6 {
        hub.open_call(Method::GET, "/silos/office")
            .bearer(&writer)
            .await;
    }
    let answer = hub
        .open_call(Method::GET, "/nic/update?hostname=db&myip=10.0.0.7")
        .bearer(&writer)
        .in_words()
        .await;
    assert_eq!((answer.status, answer.text()), (503, "911\n"));
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(
        hub.get("/silos/office/records/db").await.json()["ips"],
        json!(["10.0.0.6"])
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let hub = TestHub::start().await;
    let ask = async |bytes: usize| {
        let request = format!(
            "GET /ping HTTP/1.1\r\nHost: hub\r\nX-Large: {}\r\nConnection: close\r\n\r\n",
            "x".repeat(bytes)
        );
        raw_status(&hub.raw(request).await)
    };
    assert_eq!(ask(32 * 1024).await, 200);
    assert_eq!(ask(128 * 1024).await, 431);
    assert_eq!(hub.open_call(Method::GET, "/ping").await.status, 200);
}
