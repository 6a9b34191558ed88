//! Hubs on a PostgreSQL of their own.

use std::time::Instant;

use reqwest::Method;
use silo_e2e::postgres::Postgres;
use silo_e2e::{Caller, Hub, until};

#[tokio::test]
async fn a_hub_outlives_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let hub = Hub::start_on(&database, &folder.path().join("hub.key"), folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let (_, before) = admin.get("/silos/office").await;
    let read = async || {
        admin
            .request(Method::GET, "/silos/office")
            .send()
            .await
            .unwrap()
    };
    assert!(!read().await.headers().contains_key("silo-stale"));

    postgres.stop();
    let stale = until("reads continue and say that they are stale", async || {
        Some(read().await).filter(|answer| answer.headers().contains_key("silo-stale"))
    })
    .await;
    assert_eq!(stale.status(), 200);
    let seconds: i64 = stale.headers()["silo-stale"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((0..60).contains(&seconds));
    assert_eq!(stale.json::<serde_json::Value>().await.unwrap(), before);
    let write = admin
        .request(Method::PUT, "/silos/office/records/db")
        .body("{\"ip\":\"10.0.0.6\"}");
    let refused = write.send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    for path in [
        "/silos/other",
        "/silos",
        "/silos/office/history",
        "/silos/office/records/db",
    ] {
        assert_eq!(
            admin.get(path).await.0,
            503,
            "{path} is not cached, which is not a 404"
        );
    }
    assert_eq!(admin.get("/readyz").await.0, 503);
    assert_eq!(admin.get("/healthz").await.0, 200);

    postgres.start_again();
    until("writes are taken again", async || {
        let (status, _) = admin.put_ip("office", "db", "10.0.0.7").await?;
        (status == 200).then_some(())
    })
    .await;
    until("reads are fresh again", async || {
        (!read().await.headers().contains_key("silo-stale")).then_some(())
    })
    .await;
    let (_, after) = admin.get("/silos/office").await;
    assert_eq!(after["dnsrecords"][0]["ip"], "10.0.0.7");
    assert_eq!(hub.stop(), Some(0));
}

#[tokio::test]
async fn what_one_hub_writes_the_other_serves_soon() {
    const WRITES: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let key = folder.path().join("hub.key");
    let one = Hub::start_on(&database, &key, &folder.path().join("one"));
    let two = Hub::start_on(&database, &key, &folder.path().join("two"));
    let token = one.admin_token();
    let (writer, reader) = (Caller::new(&one, &token), Caller::new(&two, &token));
    let mut waits = Vec::new();
    for round in 0..WRITES {
        let ip = format!("10.0.0.{}", round + 1);
        let (status, _) = writer.put_ip("office", "db", &ip).await.unwrap();
        assert!(matches!(status, 200 | 201));
        let written = Instant::now();
        until("the other hub serves the write", async || {
            let (_, silo) = reader.get("/silos/office").await;
            (silo["dnsrecords"][0]["ip"] == ip.as_str()).then_some(())
        })
        .await;
        waits.push(written.elapsed());
    }
    waits.sort_unstable();
    println!(
        "seen on the other hub after {:?} at the median",
        waits[WRITES / 2]
    );
    // A token revoked on one hub stops on the other.
    let credential = one.token(&["--name", "r", "--role", "read", "--silo", "office"]);
    let guest = Caller::new(&two, &credential);
    until("a new token is known", async || {
        (guest.get("/silos/office").await.0 == 200).then_some(())
    })
    .await;
    let path = format!("/tokens/{}", &credential[5..15]);
    let revoked = writer.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(revoked.status(), 204);
    until("a revoked token is refused", async || {
        (guest.get("/silos/office").await.0 == 401).then_some(())
    })
    .await;
}
