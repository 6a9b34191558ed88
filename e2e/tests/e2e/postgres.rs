//! Hubs on a PostgreSQL of their own.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use silo_e2e::postgres::Postgres;
use silo_e2e::{Caller, Hub, binary, logs, until};

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

#[tokio::test]
async fn a_missing_synchronous_standby_leaves_no_write_without_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let hub = Hub::start_on(&database, &folder.path().join("hub.key"), folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    // Commits wait for a standby that is not there.
    postgres.set("synchronous_standby_names", "'away'");
    until("the setting is in effect", async || {
        let set = postgres.ask("silo", "SHOW synchronous_standby_names");
        (set == "away").then_some(())
    })
    .await;
    let (status, problem) = admin.put_ip("office", "db", "10.0.0.2").await.unwrap();
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("/problems/outcome-unknown"))
    );
    assert_eq!(admin.get("/readyz").await.0, 503);
    let (status, silo) = admin.get("/silos/office").await;
    assert_eq!(
        (status, &silo["dnsrecords"][0]["ip"]),
        (200, &json!("10.0.0.1")),
        "what is not committed is not shown"
    );
    postgres.set("synchronous_standby_names", "''");
    until("the commit is known", async || {
        let (_, silo) = admin.get("/silos/office").await;
        (silo["dnsrecords"][0]["ip"] == "10.0.0.2").then_some(())
    })
    .await;
    until("the hub is ready", async || {
        (admin.get("/readyz").await.0 == 200).then_some(())
    })
    .await;

    postgres.set("synchronous_standby_names", "'away'");
    let write = tokio::spawn({
        let admin = admin.clone();
        async move { admin.put_ip("office", "db", "10.0.0.3").await }
    });
    until("a commit waits", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        (postgres.ask("silo", waiting) == "1").then_some(())
    })
    .await;
    assert_eq!(hub.stop(), Some(0));
    // It has got an answer, or its connection has ended.
    write.await.unwrap();
}

#[test]
fn an_expired_certificate_of_the_server_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let ca = postgres.serve_tls("2020-01-01");
    let url = format!(
        "{database}?sslmode=verify-full&sslrootcert={}",
        ca.display()
    );
    let output = serve(&url, folder.path());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("certificate expired"), "{error}");
}

#[test]
fn a_database_that_lacks_characters_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    postgres.ask(
        "postgres",
        "CREATE DATABASE narrow ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let url = format!("postgres://silo@127.0.0.1:{}/narrow", postgres.port());
    let output = serve(&url, folder.path());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("LATIN1") && error.contains("UTF8"),
        "{error}"
    );
    let tables = postgres.ask(
        "narrow",
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'",
    );
    assert_eq!(tables, "0", "nothing is made there");
}

#[tokio::test]
async fn no_parameter_of_the_url_gets_into_the_log() {
    let secret = "the-passphrase-of-the-key";
    logs::is_secret(secret);
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let url = format!("{database}?sslpassword={secret}&password={secret}");
    // Its log is searched for the secret when it has ended, also what the driver says.
    let hub = Hub::start_on(&url, &folder.path().join("hub.key"), folder.path());
    assert!(
        hub.log().contains("sslpassword is not supported"),
        "{}",
        hub.log()
    );
    postgres.stop();
    let admin = Caller::new(&hub, &hub.admin_token());
    until("the hub notices", async || {
        (admin.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    let listed = hub.cli(&["token", "list"]);
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    assert_eq!(hub.stop(), Some(0));
}

/// Runs a hub that is expected to end by itself.
fn serve(database: &str, folder: &Path) -> Output {
    Command::new(binary("silo-hub"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .env("SILO_HUB_DATABASE", database)
        .stdin(Stdio::null())
        .output()
        .expect("the hub can be started")
}
