//! `/silos/{id}/history`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{START, TestHub, revision, text};

const HISTORY: &str = "/silos/office/history";

#[tokio::test]
async fn an_address_changed_is_a_row() {
    let hub = TestHub::start().await;
    let (writer_id, writer) = hub
        .token(json!({"name": "nas", "role": "write", "silos": ["office"]}))
        .await;
    let first = revision(
        &hub.put_silo("office", &[("db", "10.0.0.5"), ("db", "fd00::5")])
            .await
            .json(),
    );
    hub.pass(1);
    let answer = hub
        .open_call(Method::PUT, "/silos/office/records/db")
        .bearer(&writer)
        .json(&json!({"ip": "10.0.0.6"}))
        .await;
    let second = revision(&answer.json());
    hub.pass(1);
    hub.delete("/silos/office/records/db?family=6").await;
    let third = revision(&hub.get("/silos/office").await.json());
    let admin_id = hub.admin.split('_').nth(1).unwrap().to_owned();
    let row = |at: &str, revision: i64, old: Value, new: Value, token: &str| {
        json!({
            "at": at, "revision": revision, "hostname": "db", "old_ip": old, "new_ip": new,
            "via": "rest", "token": token, "client_ip": "127.0.0.1",
        })
    };
    let rows = [
        row(
            "2026-01-02T03:04:07.678Z",
            third,
            json!("fd00::5"),
            Value::Null,
            &admin_id,
        ),
        row(
            "2026-01-02T03:04:06.678Z",
            second,
            json!("10.0.0.5"),
            json!("10.0.0.6"),
            &writer_id,
        ),
        row(START, first, Value::Null, json!("10.0.0.5"), &admin_id),
        row(START, first, Value::Null, json!("fd00::5"), &admin_id),
    ];
    let answer = hub.get(HISTORY).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.next_link(), None);
    assert_eq!(answer.json(), json!(rows));
    // Actor and address are only shown to admins.
    let reader = hub.credential("read", &["office"], &[]).await;
    for credential in [&reader, &writer] {
        let answer = hub.open_call(Method::GET, HISTORY).bearer(credential).await;
        let mut bare = json!(rows);
        for row in bare.as_array_mut().unwrap() {
            let row = row.as_object_mut().unwrap();
            row.remove("token");
            row.remove("client_ip");
        }
        assert_eq!(answer.json(), bare);
    }
}

#[tokio::test]
async fn pages_hold_every_row_once_newest_first() {
    let hub = TestHub::start().await;
    for round in 0..5 {
        let ip = |host: usize| format!("10.0.{round}.{host}");
        let v6 = format!("fd00::{round}");
        hub.put_silo(
            "office",
            &[("c", &ip(1)), ("a", &ip(2)), ("b", &ip(3)), ("b", &v6)],
        )
        .await;
        hub.put_silo("other", &[("x", &ip(9))]).await;
    }
    let all = hub.history("office").await;
    assert_eq!(all.len(), 20);
    assert!(
        all.windows(2)
            .all(|pair| revision(&pair[0]) >= revision(&pair[1]))
    );
    for limit in [1, 3, 4, 7, 19, 20, 21] {
        let pages = hub.walk(&format!("{HISTORY}?limit={limit}")).await;
        assert_eq!(pages.len(), 20_usize.div_ceil(limit), "limit {limit}");
        assert_eq!(pages.concat(), all, "limit {limit}");
    }
    for limit in [1, 2, 3, 10, 11] {
        let pages = hub
            .walk(&format!("{HISTORY}?hostname=B.&limit={limit}"))
            .await;
        let expected: Vec<_> = all
            .iter()
            .filter(|row| row["hostname"] == "b")
            .cloned()
            .collect();
        assert_eq!(expected.len(), 10);
        assert_eq!(pages.len(), 10_usize.div_ceil(limit), "limit {limit}");
        assert_eq!(pages.concat(), expected, "limit {limit}");
    }
    assert_eq!(
        hub.get(&format!("{HISTORY}?hostname=none")).await.text(),
        "[]"
    );
}

#[tokio::test]
async fn changes_between_two_pages_shift_nothing() {
    let hub = TestHub::start().await;
    for host in 1..=6 {
        hub.put_silo("office", &[("db", &format!("10.0.0.{host}"))])
            .await;
    }
    let old = hub.history("office").await;
    let mut rows = Vec::new();
    let mut next = Some(format!("{HISTORY}?limit=2"));
    let mut host = 100;
    while let Some(path) = next {
        let answer = hub.get(&path).await;
        rows.extend(answer.json().as_array().unwrap().clone());
        next = answer.next_link();
        host += 1;
        hub.put_silo("office", &[("db", &format!("10.0.0.{host}"))])
            .await;
    }
    assert_eq!(rows, old);
}

#[tokio::test]
async fn a_page_holds_100_rows_by_default() {
    let hub = TestHub::start().await;
    let names: Vec<String> = (0..1001).map(|number| format!("h{number}")).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "10.0.0.1"))
        .collect();
    hub.put_silo("office", &rows).await;
    for (query, count) in [("", 100), ("?limit=1000", 1000), ("?limit=1", 1)] {
        let answer = hub.get(&format!("{HISTORY}{query}")).await;
        assert_eq!(answer.json().as_array().unwrap().len(), count);
        assert!(answer.next_link().is_some());
    }
    let pages = hub.walk(HISTORY).await;
    let mut seen: Vec<_> = pages
        .concat()
        .iter()
        .map(|row| text(&row["hostname"]))
        .collect();
    seen.sort_unstable();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(seen, names);
}

#[tokio::test]
async fn there_is_no_history_of_what_never_was_or_may_not_be_read() {
    let hub = TestHub::start().await;
    assert_eq!(hub.get(HISTORY).await.status, 404);
    hub.put_silo("office", &[]).await;
    assert_eq!(hub.get(HISTORY).await.text(), "[]");
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let stranger = hub.credential("write", &["home"], &[]).await;
    let answer = hub.open_call(Method::GET, HISTORY).bearer(&stranger).await;
    assert_eq!(answer.status, 404);
    hub.delete("/silos/office").await;
    assert_eq!(hub.get(HISTORY).await.json().as_array().unwrap().len(), 2);
    let answer = hub.open_call(Method::GET, HISTORY).bearer(&stranger).await;
    assert_eq!(answer.status, 404);
}
