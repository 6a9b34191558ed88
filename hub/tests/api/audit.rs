//! `GET /audit`: what was done to tokens, and refused credentials by address and minute.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{START, TestHub, text};
use crate::expiry::upkeep;

fn wrong() -> String {
    format!("silo_aaaaaaaaaa_{}", "x".repeat(43))
}

async fn audit(hub: &TestHub) -> Vec<Value> {
    hub.walk("/audit?limit=1000").await.concat()
}

/// Shows a wrong credential as if from an address.
async fn fail(hub: &TestHub, ip: &str) {
    let call = hub.open_call(Method::GET, "/silos").bearer(&wrong());
    let answer = call.seen_from(ip).await;
    assert!(matches!(answer.status, 401 | 429), "{answer:?}");
}

#[tokio::test]
async fn token_changes_are_listed_with_their_actor() {
    let hub = TestHub::start().await;
    let admin = hub.admin.split('_').nth(1).unwrap().to_owned();
    let spec = json!({"name": "nas", "role": "write", "silos": ["office"]});
    let (id, credential) = hub.token(spec).await;
    let rotate = format!("/tokens/{id}/rotate");
    let rotated = hub.open_call(Method::POST, &rotate).bearer(&credential);
    assert_eq!(rotated.json(&json!({"overlap": 0})).await.status, 201);
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    // What was refused was not done.
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 404);
    assert_eq!(
        hub.post("/tokens").json(&json!({"name": "x"})).await.status,
        422
    );
    let mut program = hub.home.program(&hub.settings);
    let create = [
        "token", "create", "--name", "c", "--role", "read", "--silo", "a",
    ];
    let output = program.args(create).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let by_hand = String::from_utf8(output.stdout).unwrap();

    let rows = audit(&hub).await;
    let row = |event: &str, token: &str, by: Option<&str>| {
        json!({"at": START, "event": event, "token": token, "by": by,
            "via": by.map(|_| "rest"), "client_ip": by.map(|_| "127.0.0.1"), "count": 1})
    };
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert_eq!(rows[0]["event"], "created");
    assert_eq!(
        (&rows[0]["via"], &rows[0]["token"]),
        (&json!("cli"), &json!(by_hand[5..15]))
    );
    assert_eq!(rows[1], row("revoked", &id, Some(&admin)));
    assert_eq!(rows[2], row("rotated", &id, Some(&id)));
    assert_eq!(rows[3], row("created", &id, Some(&admin)));
    assert_eq!(rows[4], row("created", &admin, None));

    let pages = hub.walk("/audit?limit=2").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), rows);
    let dump = hub.home.dump().await;
    let secret = &credential.as_bytes()[16..];
    let holds = |value: &Vec<u8>| value.windows(secret.len()).any(|at| at == secret);
    assert!(!dump.iter().any(holds));
}

#[tokio::test]
async fn the_audit_is_for_admins() {
    let hub = TestHub::start().await;
    let writer = hub.credential("write", &["*"], &[]).await;
    let as_writer = hub.open_call(Method::GET, "/audit").bearer(&writer);
    assert_eq!(as_writer.await.status, 403);
    assert_eq!(hub.open_call(Method::GET, "/audit").await.status, 401);
    assert_eq!(hub.get("/audit?limit=0").await.pointers(), ["/limit"]);
    assert_eq!(hub.get("/audit?cursor=x").await.pointers(), ["/cursor"]);
    assert_eq!(hub.post("/audit").await.allowed(), ["GET", "HEAD"]);
}

#[tokio::test]
async fn refused_credentials_are_counted_by_address_and_minute() {
    let hub = TestHub::start_behind_a_proxy().await;
    for _ in 0..15 {
        fail(&hub, "192.0.2.1").await;
    }
    for host in 1..=3 {
        fail(&hub, &format!("2001:db8::{host}")).await;
    }
    hub.pass(60);
    fail(&hub, "192.0.2.1").await;
    // No credential was sent here.
    assert_eq!(hub.open_call(Method::GET, "/silos").await.status, 401);
    // A stopping hub writes down what it has not yet.
    let hub = hub.restart().await;
    let mut rows = audit(&hub).await;
    rows.retain(|row| row["event"] == "refused");
    let mut seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                text(&row["at"]),
                text(&row["client_ip"]),
                row["count"].as_i64().unwrap(),
            )
        })
        .collect();
    seen.sort();
    let minute = |at: &str| format!("2026-01-02T{at}:00.000Z");
    let expected = [
        (minute("03:04"), "192.0.2.1".to_owned(), 15),
        (minute("03:04"), "2001:db8::".to_owned(), 3),
        (minute("03:05"), "192.0.2.1".to_owned(), 1),
    ];
    assert_eq!(seen, expected);
    assert_eq!(rows[0]["token"], Value::Null);
}

#[tokio::test]
async fn an_attacker_fills_neither_memory_nor_disk_and_old_rows_go() {
    let (hub, open) = TestHub::start_in_parts_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let upkeep = upkeep(&open, 0);
    for host in 0..250 {
        fail(&hub, &format!("192.0.2.{host}")).await;
    }
    upkeep.write_down().await.unwrap();
    assert_eq!(audit(&hub).await.len(), 1, "the minute has not ended");
    hub.pass(60);
    upkeep.write_down().await.unwrap();
    let rows = audit(&hub).await;
    assert_eq!(rows.len(), 1 + 101);
    let count = |row: &Value| row["count"].as_i64().unwrap();
    assert_eq!(rows.iter().map(count).sum::<i64>(), 1 + 250);
    let others: Vec<_> = rows.iter().filter(|row| count(row) > 1).collect();
    assert_eq!((others.len(), &others[0]["client_ip"]), (1, &Value::Null));
    upkeep.write_down().await.unwrap();
    assert_eq!(audit(&hub).await, rows, "each is written once");

    hub.pass(31 * 86_400);
    let kept = hub
        .token(json!({"name": "k", "role": "read", "silos": ["a"]}))
        .await
        .0;
    upkeep.purge().await.unwrap();
    let rows = audit(&hub).await;
    assert_eq!((rows.len(), &rows[0]["token"]), (1, &json!(kept)));
}
