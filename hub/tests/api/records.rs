//! `/silos/{id}/records/{hostname}`: one hostname, its addresses and what it carries beside them.

mod attributes;
mod put;

use serde_json::{Value, json};

use crate::common::{TestHub, revision};

const DB: &str = "/silos/office/records/db";

#[tokio::test]
async fn an_unchanged_put_moves_only_last_seen() {
    let hub = TestHub::start().await;
    let made = hub
        .put(DB)
        .json(&json!({"ips": ["10.0.0.5", "fd00::5"]}))
        .await;
    let silo = hub.get("/silos/office").await;
    let history = hub.history("office").await;
    let mut expected = made.json();
    for (seconds, last_seen, body) in [
        (
            60,
            "2026-01-02T03:05:05.678Z",
            json!({"ips": ["fd00::5", "10.0.0.5"]}),
        ),
        (60, "2026-01-02T03:06:05.678Z", json!({"ip": "10.0.0.5"})),
        (
            30,
            "2026-01-02T03:06:35.678Z",
            json!({"ip": "::ffff:10.0.0.5"}),
        ),
    ] {
        hub.pass(seconds);
        let again = hub.put(DB).json(&body).await;
        expected["last_seen"] = json!(last_seen);
        assert_eq!((again.status, again.json()), (200, expected.clone()));
        assert_eq!(again.etag(), made.etag());
        assert_eq!(hub.get(DB).await.json(), expected);
        assert_eq!(hub.get(DB).await.etag(), made.etag());
    }
    // A PUT of the whole silo names its records, too.
    hub.pass(25);
    hub.put("/silos/office").json(&silo.json()).await;
    expected["last_seen"] = json!("2026-01-02T03:07:00.678Z");
    assert_eq!(hub.get(DB).await.json(), expected);
    let after = hub.get("/silos/office").await;
    assert_eq!((&after.body, after.etag()), (&silo.body, silo.etag()));
    assert_eq!(hub.history("office").await, history);
}

#[tokio::test]
async fn last_seen_survives_a_restart() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    hub.pass(60);
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let hub = hub.restart().await;
    let record = hub.get(DB).await;
    assert_eq!(record.json()["last_seen"], "2026-01-02T03:05:05.678Z");
    assert_eq!(record.etag(), made.etag());
}

#[tokio::test]
async fn a_record_or_one_family_can_be_removed() {
    let hub = TestHub::start().await;
    hub.put_silo(
        "office",
        &[("db", "10.0.0.5"), ("db", "fd00::5"), ("nas", "fd00::7")],
    )
    .await;
    assert_eq!(hub.delete(&format!("{DB}?family=6")).await.status, 204);
    assert_eq!(hub.get(DB).await.json()["ips"], json!(["10.0.0.5"]));
    assert_eq!(hub.delete(&format!("{DB}?family=6")).await.status, 404);
    let silo = hub.get("/silos/office").await;
    for wrong in ["5", "", "ipv4", "4%20"] {
        let answer = hub.delete(&format!("{DB}?family={wrong}")).await;
        assert_eq!(answer.status, 422, "family {wrong:?}");
    }
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
    assert_eq!(hub.delete(DB).await.status, 204);
    assert_eq!(hub.get(DB).await.status, 404);
    assert_eq!(hub.delete(DB).await.status, 404);
    assert_eq!(hub.delete("/silos/none/records/db").await.status, 404);
    // The last one's removal leaves an empty silo.
    assert_eq!(
        hub.delete("/silos/office/records/nas?family=6")
            .await
            .status,
        204
    );
    let silo = hub.get("/silos/office").await;
    assert_eq!(silo.status, 200);
    assert_eq!(silo.json()["dnsrecords"], json!([]));
    let removed: Vec<_> = hub
        .history("office")
        .await
        .iter()
        .take(3)
        .map(|row| {
            (
                row["hostname"].clone(),
                row["old_ip"].clone(),
                row["new_ip"].clone(),
            )
        })
        .collect();
    assert_eq!(
        removed,
        [
            (json!("nas"), json!("fd00::7"), Value::Null),
            (json!("db"), json!("10.0.0.5"), Value::Null),
            (json!("db"), json!("fd00::5"), Value::Null),
        ]
    );
}

#[tokio::test]
async fn a_missing_record_is_404() {
    let hub = TestHub::start().await;
    assert_eq!(hub.get(DB).await.status, 404);
    hub.put_silo("office", &[("nas", "10.0.0.7")]).await;
    assert_eq!(hub.get(DB).await.status, 404);
    assert_eq!(hub.get(DB).await.json()["type"], "/problems/not-found");
}

#[tokio::test]
async fn hostnames_of_the_path_fold_like_those_of_a_body() {
    let hub = TestHub::start().await;
    for (path, hostname) in [
        ("DB.Lan", "db.lan"),
        ("db.lan.", "db.lan"),
        ("b%C3%BCcher", "xn--bcher-kva"),
        ("_dmarc.lan", "_dmarc.lan"),
    ] {
        let path = format!("/silos/Office/records/{path}");
        let answer = hub.put(&path).json(&json!({"ip": "10.0.0.5"})).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let place = format!("/silos/office/records/{hostname}");
        assert_eq!(answer.header("content-location"), Some(&*place));
        assert_eq!(answer.json()["hostname"], hostname);
        assert_eq!(hub.get(&path).await.body, hub.get(&place).await.body);
    }
}

#[tokio::test]
async fn a_record_is_read_conditionally() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let tag = made.etag();
    for tags in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let answer = hub.get(DB).header("if-none-match", &tags).await;
        assert_eq!(answer.status, 304, "{tags}");
        assert_eq!(answer.etag(), tag);
        assert_eq!(
            answer.header("cache-control"),
            made.header("cache-control"),
            "a 304 has the Cache-Control of a 200 (RFC 9110 section 15.4.5)"
        );
    }
    let number = revision(&made.json());
    for tags in [format!("\"{number}\""), "\"x\"".to_owned()] {
        let answer = hub.get(DB).header("if-none-match", &tags).await;
        assert_eq!(answer.status, 200, "{tags}");
    }
    assert_eq!(
        hub.get("/silos/office/records/none")
            .header("if-none-match", "*")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_deletion_reports_that_it_changed_the_silo() {
    let hub = TestHub::start().await;
    for path in [DB, "/silos/office"] {
        hub.put_silo("office", &[("db", "10.0.0.5"), ("nas", "10.0.0.6")])
            .await;
        let answer = hub.delete(path).await;
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        assert_eq!(answer.header("silo-changed"), Some("?1"), "{path}");
        let again = hub.delete(path).await;
        assert_eq!(again.status, 404, "{path}: {again:?}");
        assert_eq!(again.header("silo-changed"), None, "{path}");
    }
}
