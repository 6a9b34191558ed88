//! The database moves from one server to another, behind a switch: PostgreSQL and MariaDB, each by the same tests.

mod servers;

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::Value;

use servers::Server;
use silo_e2e::mariadb::MariaDb;
use silo_e2e::postgres::Postgres;
use silo_e2e::switch::Switch;
use silo_e2e::{Caller, Hub, PATIENCE, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_postgres_that_lacks_the_last_transactions_hands_out_no_revision_again() {
    a_replica_lacks_the_last_transactions::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_mariadb_that_lacks_the_last_transactions_hands_out_no_revision_again() {
    a_replica_lacks_the_last_transactions::<MariaDb>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_starts_after_a_failover_of_postgres_hands_out_no_revision_again() {
    a_hub_starts_on_a_replica_that_lacks_transactions::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_starts_after_a_failover_of_mariadb_hands_out_no_revision_again() {
    a_hub_starts_on_a_replica_that_lacks_transactions::<MariaDb>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_from_a_primary_of_postgres_that_has_become_a_standby() {
    a_primary_becomes_a_standby::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_from_a_primary_of_mariadb_that_has_become_a_replica() {
    a_primary_becomes_a_standby::<MariaDb>().await;
}

/// Waits until a standby has all that its primary has.
async fn caught_up<S: Server>(primary: &S, standby: &S) {
    let counter = "SELECT value FROM counters WHERE name = 'revision'";
    let there = primary.ask_silo(counter);
    until("the standby has it too", async || {
        (standby.try_ask_silo(counter) == Some(there.clone())).then_some(())
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

/// A stream of the events of `office`.
struct Stream {
    response: Response,
    unread: String,
}

impl Stream {
    async fn begin(caller: &Caller, last: Option<i64>) -> Self {
        let mut request = caller
            .request(Method::GET, "/silos/office/events")
            .timeout(PATIENCE * 4);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self {
            response: request.send().await.unwrap(),
            unread: String::new(),
        }
    }

    /// The next event: its lines.
    async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let event = event.to_owned();
                self.unread = rest.to_owned();
                if event.starts_with("event:") {
                    return event;
                }
                continue;
            }
            let part = tokio::time::timeout(PATIENCE * 2, self.response.chunk());
            let part = part.await.expect("something comes").unwrap();
            let part = part.expect("the stream continues");
            self.unread.push_str(std::str::from_utf8(&part).unwrap());
        }
    }

    /// Skips what comes before an event that holds some words.
    async fn until(&mut self, words: &str) -> String {
        loop {
            let event = self.next().await;
            if event.contains(words) {
                return event;
            }
        }
    }
}

async fn a_replica_lacks_the_last_transactions<S: Server>() {
    let folder = tempfile::tempdir().unwrap();
    let mut primary = S::with_database();
    let switch = Switch::start(primary.at());
    let hub = Hub::start_on(
        &S::url(switch.port()),
        &folder.path().join("hub.key"),
        folder.path(),
    );
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    let mut open = Stream::begin(&admin, None).await;
    open.until("10.0.0.1").await;
    let standby = primary.standby();
    caught_up(&primary, &standby).await;
    standby.cut_off();
    // From here on the replica hears nothing.
    let mut lost = Vec::new();
    for host in 2..10 {
        let ip = format!("10.0.0.{host}");
        let (_, record) = admin.put_ip("office", "db", &ip).await.unwrap();
        lost.push(record["revision"].as_i64().unwrap());
    }
    open.until("10.0.0.9").await;
    let (_, tag, _) = read(&admin, "/silos/office").await;
    let guest = hub.token(&["--name", "late", "--role", "read", "--silo", "office"]);
    let guest = Caller::new(&hub, &guest);
    until("the new token is known", async || {
        (guest.get("/silos/office").await.0 == 200).then_some(())
    })
    .await;

    primary.crash();
    standby.promote_alone();
    switch.lead_to(standby.at());
    let highest = *lost.iter().max().unwrap();
    let first = writes_again(&admin).await;
    assert!(
        first > highest,
        "{first} may have been handed out for other content, up to {highest}"
    );
    // A stream that stayed open gets a reset, and then the state.
    open.until("event: reset").await;
    open.until("10.0.0.1\"").await;
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
    until("a removed token is no longer accepted", async || {
        (guest.get("/silos/office").await.0 == 401).then_some(())
    })
    .await;
    let (status, record) = admin.put_ip("office", "db", "10.0.0.20").await.unwrap();
    assert_eq!(status, 200);
    assert!(record["revision"].as_i64().unwrap() > highest);
    open.until("10.0.0.20").await;
    // A resumed stream gets a reset.
    let mut resumed = Stream::begin(&admin, Some(highest)).await;
    let told = resumed.next().await;
    assert!(told.contains("event: reset"), "{told}");
    let said = hub.log().matches("may lack the last changes").count();
    assert_eq!(said, 1, "{}", hub.log());
    assert_eq!(hub.stop(), Some(0));
}

/// No hub knows any more what was handed out.
async fn a_hub_starts_on_a_replica_that_lacks_transactions<S: Server>() {
    let folder = tempfile::tempdir().unwrap();
    let mut primary = S::with_database();
    let switch = Switch::start(primary.at());
    let start = || {
        let key = folder.path().join("hub.key");
        Hub::start_on(&S::url(switch.port()), &key, folder.path())
    };
    let hub = start();
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    let standby = primary.standby();
    caught_up(&primary, &standby).await;
    standby.cut_off();
    let mut highest = 0;
    for host in 2..10 {
        let ip = format!("10.0.0.{host}");
        let (_, record) = admin.put_ip("office", "db", &ip).await.unwrap();
        highest = record["revision"].as_i64().unwrap();
    }
    let (_, tag, _) = read(&admin, "/silos/office").await;
    hub.kill();
    primary.crash();
    standby.promote_alone();
    switch.lead_to(standby.at());

    let hub = start();
    let admin = admin.at(hub.url());
    let first = writes_again(&admin).await;
    assert!(first > highest, "{first} is not above {highest}");
    // As many changes as were lost.
    for host in 12..20 {
        let ip = format!("10.0.0.{host}");
        admin.put_ip("office", "db", &ip).await.unwrap();
        let answer = admin
            .request(Method::GET, "/silos/office")
            .header("if-none-match", tag.clone().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(hub.stop(), Some(0));
}

async fn a_primary_becomes_a_standby<S: Server>() {
    let folder = tempfile::tempdir().unwrap();
    let old = S::with_database();
    let switch = Switch::start(old.at());
    let key = folder.path().join("hub.key");
    let hub = Hub::start_on(&S::url(switch.port()), &key, &folder.path().join("one"));
    let admin = Caller::new(&hub, &hub.admin_token());
    let guest = hub.token(&["--name", "guest", "--role", "read", "--silo", "*"]);
    for silo in ["held", "other"] {
        admin.put_ip(silo, "db", "10.0.0.1").await.unwrap();
    }
    let new = old.standby();
    caught_up(&old, &new).await;

    // The name still leads to the old one.
    old.hand_over(&new);
    let other = Hub::start_on(&S::url(new.at()), &key, &folder.path().join("two"));
    let other_admin = admin.at(other.url());
    caught_up(&new, &old).await;
    old.pause_replay();
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
    switch.lead_to(new.at());
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
