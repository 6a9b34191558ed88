//! The database moves from one PostgreSQL to another, behind a switch.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use silo_e2e::postgres::Postgres;
use silo_e2e::switch::Switch;
use silo_e2e::{Caller, Hub, PATIENCE};

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn url(port: u16) -> String {
    format!("postgres://silo@127.0.0.1:{port}/silo")
}

/// Waits until a standby has all that its primary has.
async fn caught_up(primary: &Postgres, standby: &Postgres) {
    let counter = "SELECT value FROM counters WHERE name = 'revision'";
    let there = primary.ask("silo", counter);
    until("the standby has it too", async || {
        (standby.ask("silo", counter) == there).then_some(())
    })
    .await;
}

async fn read(caller: &Caller, path: &str) -> (u16, Option<String>, Value) {
    let answer = caller.request(Method::GET, path).send().await.unwrap();
    let status = answer.status().as_u16();
    let tag = answer.headers().get("etag");
    let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
    (status, tag, answer.json().await.unwrap_or_default())
}

async fn writes_again(caller: &Caller) -> i64 {
    until("writes are taken again", async || {
        let (status, record) = caller.put_ip("probe", "host", "10.9.0.1").await?;
        let revision = record["revision"].as_i64();
        revision.filter(|_| matches!(status, 200 | 201))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lacks_the_last_transactions_hands_out_no_revision_again() {
    let folder = tempfile::tempdir().unwrap();
    let primary = Postgres::start();
    primary.database("silo");
    let switch = Switch::start(primary.port());
    let hub = Hub::start_on(
        &url(switch.port()),
        &folder.path().join("hub.key"),
        folder.path(),
    );
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    let standby = primary.standby();
    caught_up(&primary, &standby).await;
    standby.stop();
    // From here on the replica hears nothing.
    let mut lost = Vec::new();
    for host in 2..10 {
        let ip = format!("10.0.0.{host}");
        let (_, record) = admin.put_ip("office", "db", &ip).await.unwrap();
        lost.push(record["revision"].as_i64().unwrap());
    }
    let (_, tag, _) = read(&admin, "/silos/office").await;
    let guest = hub.token(&["--name", "late", "--role", "read", "--silo", "office"]);
    let guest = Caller::new(&hub, &guest);
    until("the new token is known", async || {
        (guest.get("/silos/office").await.0 == 200).then_some(())
    })
    .await;

    primary.stop_at_once();
    standby.start_again();
    standby.promote();
    switch.lead_to(standby.port());
    let highest = *lost.iter().max().unwrap();
    let first = writes_again(&admin).await;
    assert!(
        first > highest,
        "{first} may have been handed out for other content, up to {highest}"
    );
    until("what is gone is not shown any more", async || {
        let (status, _, silo) = read(&admin, "/silos/office").await;
        (status == 200 && silo["dnsrecords"][0]["ip"] == "10.0.0.1").then_some(())
    })
    .await;
    let old = admin
        .request(Method::GET, "/silos/office")
        .header("if-none-match", tag.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(old.status(), 200);
    until("a token that is gone counts no more", async || {
        (guest.get("/silos/office").await.0 == 401).then_some(())
    })
    .await;
    let (status, record) = admin.put_ip("office", "db", "10.0.0.20").await.unwrap();
    assert_eq!(status, 200);
    assert!(record["revision"].as_i64().unwrap() > highest);
    // A stream that goes on where another one ended is told that it can't.
    let mut stream = admin
        .request(Method::GET, "/silos/office/events")
        .header("last-event-id", highest.to_string())
        .send()
        .await
        .unwrap();
    let mut told = String::new();
    while !told.contains("event: ") && !told.contains("event:") {
        let part = tokio::time::timeout(PATIENCE, stream.chunk())
            .await
            .unwrap();
        told.push_str(&String::from_utf8_lossy(&part.unwrap().unwrap()));
    }
    assert!(told.contains("reset"), "{told}");
    let said = hub.log().matches("may lack the last changes").count();
    assert_eq!(said, 1, "{}", hub.log());
    assert_eq!(hub.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_from_a_primary_that_has_become_a_standby() {
    let folder = tempfile::tempdir().unwrap();
    let old = Postgres::start();
    old.database("silo");
    let switch = Switch::start(old.port());
    let key = folder.path().join("hub.key");
    let hub = Hub::start_on(&url(switch.port()), &key, &folder.path().join("one"));
    let admin = Caller::new(&hub, &hub.admin_token());
    let guest = hub.token(&["--name", "guest", "--role", "read", "--silo", "*"]);
    for silo in ["held", "other"] {
        admin.put_ip(silo, "db", "10.0.0.1").await.unwrap();
    }
    let new = old.standby();
    caught_up(&old, &new).await;

    // The switchover: a clean stop, a promotion, and the old one follows. The name still leads to it.
    old.stop();
    new.promote();
    old.follow(&new);
    old.start_again();
    let other = Hub::start_on(&url(new.port()), &key, &folder.path().join("two"));
    let other_admin = admin.at(other.url());
    caught_up(&new, &old).await;
    old.ask("postgres", "SELECT pg_wal_replay_pause()");
    assert_eq!(
        other_admin
            .put_ip("other", "db", "10.0.0.2")
            .await
            .unwrap()
            .0,
        200
    );
    let path = format!("/tokens/{}", &guest[5..15]);
    let revoked = other_admin
        .request(Method::DELETE, &path)
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), 204);
    // The hub knows that it has no database: what it does not hold it does not get from the standby.
    until("the hub is not ready", async || {
        (admin.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for path in ["/silos/other/records/db", "/silos/other/history", "/silos"] {
            let (status, _, answer) = read(&admin, path).await;
            assert_eq!(status, 503, "{path}: {answer}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The name leads to the new primary; connections to the old one stay open.
    switch.lead_to(new.port());
    writes_again(&admin).await;
    for round in 0_u8..40 {
        let ip = format!("10.1.0.{round}");
        let (status, _) = admin.put_ip("own", "db", &ip).await.unwrap();
        assert!(matches!(status, 200 | 201), "{status}");
        for path in ["/silos/own/records/db", "/silos/own"] {
            let (status, _, answer) = read(&admin, path).await;
            assert_eq!(status, 200, "{path}");
            assert!(answer.to_string().contains(&ip), "{path}: {answer}");
        }
    }
    assert_eq!(Caller::new(&hub, &guest).get("/silos/other").await.0, 401);
    let (_, _, silo) = read(&admin, "/silos/other").await;
    assert_eq!(silo["dnsrecords"][0]["ip"], "10.0.0.2");
    assert_eq!(hub.stop(), Some(0));
}
