//! `expires_after`: records that no write names any more are removed by the hub.

use std::sync::Arc;

use serde_json::{Value, json};
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::upkeep::{HeldTimes, Upkeep};

use crate::common::{START_MS, TestHub, dnsrecords, revision};

const DB: &str = "/silos/office/records/db";

/// The hub's own work on expiry, as of a start at this many seconds.
pub(crate) fn upkeep(open: &Arc<OpenHub>, since_seconds: i64) -> Upkeep {
    Upkeep {
        store: open.store.clone(),
        registry: open.registry.clone(),
        tokens: open.tokens.clone(),
        refused: open.refused.clone(),
        clock: open.clock.clone(),
        since: Time::from_millis(START_MS).plus_seconds(since_seconds),
        held: Arc::new(HeldTimes::begin(open.clock.reading(), None)),
        retention_days: 30,
    }
}

#[tokio::test]
async fn a_silent_record_is_removed_by_a_command_of_its_own() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[("nas", "10.0.0.7")]).await;
    hub.put(DB)
        .json(&json!({"ips": ["10.0.0.5", "fd00::5"], "expires_after": 1800}))
        .await;
    let before = hub.get("/silos/office").await;
    hub.pass(1799);
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get("/silos/office").await.body, before.body);
    hub.pass(1);
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 404);
    let after = hub.get("/silos/office").await;
    let number = revision(&after.json());
    assert!(number > revision(&before.json()));
    assert_eq!(
        after.json()["dnsrecords"],
        dnsrecords(&[("nas", "10.0.0.7")])["dnsrecords"]
    );
    assert_eq!(after.json()["updated_at"], "2026-01-02T03:34:05.678Z");
    let rows = hub.history("office").await;
    let row = |old: &str| {
        json!({
            "at": "2026-01-02T03:34:05.678Z", "revision": number, "hostname": "db",
            "old_ip": old, "new_ip": Value::Null, "via": "expiry",
            "token": Value::Null, "client_ip": Value::Null,
        })
    };
    assert_eq!(rows[..2], [row("10.0.0.5"), row("fd00::5")]);
    // Once.
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get("/silos/office").await.body, after.body);
}

#[tokio::test]
async fn each_record_expires_by_a_revision_of_its_own() {
    let (hub, open) = TestHub::start_in_parts().await;
    let body = json!({"ip": "10.0.0.5", "expires_after": 1800});
    for name in ["a", "b", "c"] {
        hub.put(&format!("/silos/office/records/{name}"))
            .json(&body)
            .await;
    }
    hub.pass(1800);
    upkeep(&open, 0).expire().await.unwrap();
    let silo = hub.get("/silos/office").await;
    assert_eq!(silo.json()["dnsrecords"], json!([]));
    let rows = hub.history("office").await;
    let mut revisions: Vec<_> = rows.iter().take(3).map(revision).collect();
    assert_eq!(revisions[0], revision(&silo.json()));
    revisions.dedup();
    assert_eq!(revisions.len(), 3);
}

#[tokio::test]
async fn an_unchanged_write_keeps_a_record() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    let body = json!({"ip": "10.0.0.5", "expires_after": 1800});
    let made = hub.put(DB).json(&body).await;
    let silo = hub.get("/silos/office").await;
    // By the record, again and again, and by the silo.
    for (seconds, path, body) in [
        (1000, DB, json!({"ip": "10.0.0.5"})),
        (1799, DB, json!({"ip": "10.0.0.5"})),
        (1799, "/silos/office", silo.json()),
        (1799, "/silos/office", dnsrecords(&[("db", "10.0.0.5")])),
    ] {
        hub.pass(seconds);
        assert_eq!(hub.put(path).json(&body).await.status, 200);
        upkeep.expire().await.unwrap();
        let record = hub.get(DB).await;
        assert_eq!((record.status, record.etag()), (200, made.etag()), "{path}");
    }
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
    hub.pass(1799);
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 200);
    hub.pass(1);
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 404);
}

#[tokio::test]
async fn a_refused_write_and_a_read_keep_nothing() {
    let (hub, open) = TestHub::start_in_parts().await;
    let body = json!({"ip": "10.0.0.5", "expires_after": 1800});
    hub.put(DB).json(&body).await;
    hub.pass(1799);
    let same = json!({"ip": "10.0.0.5"});
    let refused = hub
        .put(DB)
        .json(&same)
        .header("if-match", "\"stale\"")
        .await;
    assert_eq!(refused.status, 412);
    let reader = hub.credential("read", &["office"], &[]).await;
    let refused = hub.put(DB).bearer(&reader).json(&same).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        hub.get(DB).await.json()["last_seen"],
        "2026-01-02T03:04:05.678Z"
    );
    hub.pass(1);
    upkeep(&open, 0).expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 404);
}

#[tokio::test]
async fn another_records_write_keeps_nothing() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put(DB)
        .json(&json!({"ip": "10.0.0.5", "expires_after": 1800}))
        .await;
    hub.pass(1799);
    hub.put("/silos/office/records/nas")
        .json(&json!({"ip": "10.0.0.7"}))
        .await;
    hub.pass(1);
    upkeep(&open, 0).expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 404);
    assert_eq!(hub.get("/silos/office/records/nas").await.status, 200);
}

#[tokio::test]
async fn time_before_the_hubs_start_does_not_count() {
    let (hub, open) = TestHub::start_in_parts().await;
    let body = json!({"ip": "10.0.0.5", "expires_after": 1800});
    hub.put(DB).json(&body).await;
    hub.pass(100_000);
    let restarted = upkeep(&open, 99_000);
    restarted.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 200);
    hub.pass(799);
    restarted.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 200);
    hub.pass(1);
    restarted.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 404);
}

#[tokio::test]
async fn a_record_without_expiry_stays() {
    let (hub, open) = TestHub::start_in_parts().await;
    let body = json!({"ip": "10.0.0.5", "expires_after": 1800});
    hub.put(DB).json(&body).await;
    hub.put("/silos/office/records/nas")
        .json(&json!({"ip": "10.0.0.7"}))
        .await;
    hub.put(DB).json(&json!({"expires_after": null})).await;
    let silo = hub.get("/silos/office").await;
    hub.pass(10_000_000);
    upkeep(&open, 0).expire().await.unwrap();
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
}

#[tokio::test]
async fn more_records_than_a_page_expire_at_once() {
    let (hub, open) = TestHub::start_in_parts().await;
    let names: Vec<String> = (0..600).map(|number| format!("h{number}")).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "10.0.0.1"))
        .collect();
    hub.put_silo("office", &rows).await;
    for name in &names {
        let path = format!("/silos/office/records/{name}");
        let answer = hub.put(&path).json(&json!({"expires_after": 1800})).await;
        assert_eq!(answer.status, 200);
    }
    hub.pass(1700);
    // The last ones were heard of; only memory knows it yet.
    for name in &names[550..] {
        hub.put(&format!("/silos/office/records/{name}"))
            .json(&json!({"ip": "10.0.0.1"}))
            .await;
    }
    hub.pass(100);
    upkeep(&open, 0).expire().await.unwrap();
    let left = hub.get("/silos/office").await.json()["dnsrecords"].clone();
    assert_eq!(left.as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn silence_while_the_database_takes_no_writes_does_not_count() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put(DB)
        .json(&json!({"ip": "10.0.0.5", "expires_after": 1800}))
        .await;
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let held = other.store.begin_write(&[]).await.unwrap();
    hub.pass(1000);
    let heartbeat = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    assert_eq!(heartbeat.status, 503);
    hub.pass(1000);
    drop(held);
    other.close().await;
    // Overdue by the stored time, but no report could be received until now.
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 200);
    hub.pass(1799);
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 200);
    hub.pass(1);
    upkeep.expire().await.unwrap();
    assert_eq!(hub.get(DB).await.status, 404);
}

#[tokio::test]
async fn only_expired_rows_are_removed() {
    const DAY: i64 = 86_400;
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("gone", &[("a", "10.0.0.1")]).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.delete("/silos/gone").await;
    let floor_before = open.store.position().await.unwrap();
    hub.pass(29 * DAY);
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    upkeep.purge().await.unwrap();
    assert_eq!(hub.history("office").await.len(), 2);
    assert_eq!(hub.history("gone").await.len(), 2);
    hub.pass(2 * DAY);
    upkeep.purge().await.unwrap();
    let rows = hub.history("office").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["new_ip"], "10.0.0.6");
    assert_eq!(hub.get("/silos/gone/history").await.status, 404);
    assert_eq!(
        hub.get("/silos/office").await.status,
        200,
        "silos themselves stay"
    );
    // A reader at an earlier revision must not rely on its cache.
    let position = open.store.position().await.unwrap();
    assert_eq!(position.feed_floor, floor_before.revision);
}
