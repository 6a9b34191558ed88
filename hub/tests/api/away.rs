//! A database that takes no writes for a while.

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::open_hub::OpenHub;
use tokio::task::JoinSet;

use crate::common::{TestHub, text};

/// Longer in a row than a client's patience, if each waited for the database by itself.
const WRITERS: usize = 20;

#[tokio::test]
async fn writes_are_503_all_at_once_reads_go_on_and_the_hub_recovers() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let held = other.store.begin_write(&[]).await.unwrap();
    let mut writes = JoinSet::new();
    for number in 0..WRITERS {
        let call = hub
            .put(&format!("/silos/office/records/h{number}"))
            .json(&json!({"ip": "10.0.0.6"}));
        writes.spawn(async move { call.await });
    }
    assert_eq!(hub.get("/silos/office").await.body, made.body);
    assert_eq!(hub.open_call(Method::GET, "/healthz").await.status, 200);
    while let Some(answer) = writes.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds > 0);
        // What went wrong inside is for the log alone.
        let problem = answer.json();
        assert_eq!(problem["type"], "/problems/unavailable");
        let detail = text(&problem["detail"]).to_lowercase();
        assert!(
            !detail.contains("lock") && !detail.contains("sql"),
            "{detail}"
        );
    }
    drop(held);
    other.close().await;
    assert_eq!(hub.get("/silos/office").await.body, made.body);
    let answer = hub
        .put("/silos/office/records/db")
        .json(&json!({"ip": "10.0.0.6"}))
        .await;
    assert_eq!(answer.status, 200);
}
