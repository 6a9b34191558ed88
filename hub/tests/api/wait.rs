//! `Prefer: wait`: a read that answers once the silo differs.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{Actor, SetRecord};
use silo_hub::internals::store::Via;
use silo_shared::silo::{Addresses, Hostname, SiloId};
use tokio::task::{JoinHandle, JoinSet};

use crate::common::{Answer, DEADLINE, TestHub, text};

const OFFICE: &str = "/silos/office";

/// A read that waits, and of which the hub has taken notice already.
pub(crate) async fn waiting(
    hub: &TestHub,
    path: &str,
    tag: &str,
    prefer: &str,
) -> JoinHandle<Answer> {
    waiting_with(hub, path, &[("if-none-match", tag), ("prefer", prefer)]).await
}

async fn waiting_with(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> JoinHandle<Answer> {
    let spec = serde_json::json!({"name": "waiting", "role": "read", "silos": ["*"]});
    let (id, credential) = hub.token(spec).await;
    let mut call = hub.open_call(Method::GET, path).bearer(&credential);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    let waiting = tokio::spawn(async move { call.await });
    let noticed = async {
        loop {
            let list = hub.get("/tokens").await.json();
            let mut tokens = list.as_array().into_iter().flatten();
            let used = tokens
                .find(|token| token["id"] == id)
                .map(|token| &token["last_used_at"]);
            if used.is_some_and(|used| *used != Value::Null) {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, noticed)
        .await
        .expect("the read arrives");
    waiting
}

/// What another program may do to the same database.
pub(crate) fn set_db(ip: &str) -> SetRecord {
    SetRecord {
        actor: Actor {
            via: Via::Rest,
            token: None,
            client_ip: None,
        },
        id: SiloId::parse("office").expect("an id"),
        hostname: Hostname::parse("db").expect("a hostname"),
        addresses: Addresses::from_iter([ip.parse().expect("an address")]),
        cleared: None,
        attributes: Default::default(),
        precondition: Default::default(),
    }
}

pub(crate) async fn answer(waiting: JoinHandle<Answer>) -> Answer {
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("the read ends in time")
        .expect("the read does not panic")
}

#[tokio::test]
async fn a_waiting_read_answers_when_the_silo_changes() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
    // Another silo's change, and a write that changes nothing, are nothing to it.
    hub.put_silo("other", &[]).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert!(!read.is_finished());
    let made = hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let read = answer(read).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.body, made.body);
    assert_eq!(read.etag(), made.etag());
    assert_eq!(read.header("preference-applied"), Some("wait=300"));
}

#[tokio::test]
async fn each_format_waits_for_its_own_tag() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let tag = tag.replacen("\"", "", 1);
    let hosts = format!("\"{}-hosts\"", tag.trim_matches('"'));
    let read = waiting(&hub, "/silos/office?format=hosts", &hosts, "wait=300").await;
    hub.put_silo("other", &[]).await;
    assert!(!read.is_finished());
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    assert_eq!(answer(read).await.text(), "10.0.0.6 db\n");
}

#[tokio::test]
async fn a_waiting_read_ends_with_404_when_the_silo_is_deleted() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
    hub.delete(OFFICE).await;
    assert_eq!(answer(read).await.status, 404);
}

#[tokio::test]
async fn a_long_poll_with_a_revoked_token_gets_nothing() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
    let tokens = hub.get("/tokens").await.json();
    let waits = |token: &&Value| token["name"] == "waiting";
    let token = tokens.as_array().into_iter().flatten().find(waits);
    let id = text(&token.expect("it is listed")["id"]);
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let read = answer(read).await;
    assert_eq!(read.status, 401);
    assert!(!read.text().contains("10.0.0.6"), "{read:?}");
}

#[tokio::test]
async fn a_wait_without_a_change_ends_with_304() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let begin = Instant::now();
    let call = hub
        .get(OFFICE)
        .header("if-none-match", &tag)
        .header("prefer", "wait=1");
    let read = call.await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(read.status, 304);
    assert_eq!(read.etag(), tag);
    assert_eq!(read.header("preference-applied"), Some("wait=1"));
}

#[tokio::test]
async fn a_silo_that_differs_already_is_answered_at_once() {
    let hub = TestHub::start().await;
    let stale = hub.put_silo("office", &[]).await.etag();
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let read = hub
        .get(OFFICE)
        .header("if-none-match", &stale)
        .header("prefer", "wait=300")
        .await;
    assert_eq!((read.status, &read.body), (200, &made.body));
    let missing = hub
        .get("/silos/none")
        .header("if-none-match", &stale)
        .header("prefer", "wait=300");
    assert_eq!(missing.await.status, 404);
}

#[tokio::test]
async fn only_a_conditional_read_waits() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[]).await;
    let read = hub.get(OFFICE).header("prefer", "wait=300").await;
    assert_eq!((read.status, &read.body), (200, &made.body));
    assert_eq!(read.header("preference-applied"), None);
    // Other preferences are ignored.
    for prefer in [
        "return=minimal",
        "",
        // A parameter of another preference (RFC 7240 section 2).
        "handling=strict; wait=300",
        "foo=\"bar, wait=300\"",
    ] {
        let call = hub.get(OFFICE).header("if-none-match", &made.etag());
        let read = call.header("prefer", prefer).await;
        assert_eq!(read.status, 304, "{prefer}");
        assert_eq!(read.header("preference-applied"), None, "{prefer}");
    }
}

#[tokio::test]
async fn a_wait_that_can_not_be_honoured_takes_a_second() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let record = hub.get("/silos/office/records/db").await.etag();
    let records = hub.get("/records").await.etag();
    let mut reads = JoinSet::new();
    for (path, tag, status) in [
        (OFFICE, Some(&tag), 304),
        ("/silos/office/records", Some(&tag), 304),
        ("/silos/office/records/db", Some(&record), 304),
        ("/records", Some(&records), 304),
        ("/silos/none", None, 404),
        ("/silos/office/records/none", None, 404),
        ("/silos/none/records", None, 404),
    ] {
        for prefer in ["wait=3s", "wait", "wait=-1", "wait=300 seconds"] {
            let mut call = hub.get(path).header("prefer", prefer);
            if let Some(tag) = tag {
                call = call.header("if-none-match", tag);
            }
            // All at once, since each takes its second.
            reads.spawn(async move {
                let begin = Instant::now();
                let read = call.await;
                assert!(begin.elapsed() >= Duration::from_secs(1), "{path} {prefer}");
                assert_eq!(read.status, status, "{path} {prefer}: {read:?}");
                assert_eq!(read.header("preference-applied"), None, "{path} {prefer}");
            });
        }
    }
    reads.join_all().await;
    // What can be answered is.
    for prefer in ["wait=3s", "wait=300"] {
        let read = hub
            .get("/silos/office/records/db")
            .header("prefer", prefer)
            .await;
        assert_eq!(
            (read.status, read.header("preference-applied")),
            (200, None),
            "{prefer}"
        );
    }
}

/// Begins a read without a tag, of which the hub has taken notice already.
async fn waiting_for_any(hub: &TestHub, path: &str) -> JoinHandle<Answer> {
    waiting_with(hub, path, &[("prefer", "wait=300")]).await
}

#[tokio::test]
async fn what_is_not_there_yet_can_be_waited_for() {
    let hub = TestHub::start().await;
    for (number, path) in [
        OFFICE,
        "/silos/office?format=hosts",
        "/silos/office/records/db",
        "/silos/office/records",
    ]
    .into_iter()
    .enumerate()
    {
        let read = waiting_for_any(&hub, path).await;
        hub.put_silo("other", &[("db", &format!("10.0.1.{}", number + 1))])
            .await;
        assert!(!read.is_finished(), "{path}");
        hub.put_silo("office", &[("db", "10.0.0.5")]).await;
        let read = answer(read).await;
        assert_eq!(read.status, 200, "{path}: {read:?}");
        assert_eq!(
            read.header("preference-applied"),
            Some("wait=300"),
            "{path}"
        );
        assert!(read.text().contains("10.0.0.5"), "{path}: {read:?}");
        hub.delete(OFFICE).await;
    }
    // A silo without the record is not enough.
    let read = waiting_for_any(&hub, "/silos/office/records/web").await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert!(!read.is_finished());
    hub.put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.7")])
        .await;
    assert_eq!(answer(read).await.json()["ips"][0], "10.0.0.7");
    // What the token may not read never appears, and is not waited for.
    let stranger = hub.credential("read", &["lab"], &[]).await;
    for path in [
        "/silos/none",
        "/silos/none/records",
        "/silos/none/records/db",
    ] {
        let call = hub.open_call(Method::GET, path).bearer(&stranger);
        assert_eq!(
            call.header("prefer", "wait=300").await.status,
            404,
            "{path}"
        );
    }
    let over = hub.get("/silos/none").header("prefer", "wait=1").await;
    assert_eq!(over.status, 404);
}

#[tokio::test]
async fn a_waiting_record_answers_when_it_changes_or_goes() {
    const DB: &str = "/silos/office/records/db";
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for (number, (change, status)) in [
        (Some(serde_json::json!({"ip": "10.0.0.6"})), 200),
        (Some(serde_json::json!({"comment": "rack 3"})), 200),
        (None, 404),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = hub.get(DB).await.etag();
        let read = waiting(&hub, DB, &tag, "wait=300").await;
        let other = hub.put("/silos/office/records/web");
        let ip = format!("10.0.1.{}", tag.len() % 200 + number);
        assert!(other.json(&serde_json::json!({"ip": ip})).await.status < 300);
        assert!(!read.is_finished());
        let made = match change {
            Some(body) => hub.put(DB).json(&body).await.status,
            None => hub.delete(DB).await.status,
        };
        assert!(matches!(made, 200 | 204));
        let read = answer(read).await;
        assert_eq!(read.status, status, "{read:?}");
    }
    // A condition that fails is not waited for.
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let tag = hub.get(DB).await.etag();
    let call = hub
        .get(DB)
        .header("if-none-match", &tag)
        .header("if-match", "\"1\"");
    assert_eq!(call.header("prefer", "wait=300").await.status, 412);
}

#[tokio::test]
async fn a_wait_is_at_most_300_seconds() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "respond-async, wait=100000").await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert_eq!(
        answer(read).await.header("preference-applied"),
        Some("wait=300")
    );
}

#[tokio::test]
async fn many_waiting_reads_hear_of_one_change() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let mut reads = Vec::new();
    for _ in 0..20 {
        reads.push(waiting(&hub, OFFICE, &tag, "wait=300").await);
    }
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for read in reads {
        assert_eq!(answer(read).await.body, made.body);
    }
}

#[tokio::test]
async fn a_stopping_hub_ends_waiting_reads() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
    hub.stop().await;
    let read = answer(read).await;
    assert_eq!(read.status, 304);
    assert_eq!(read.etag(), tag);
}

#[tokio::test]
async fn another_programs_change_is_seen_and_wakes_waiting_reads() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("nas", "10.0.0.7")]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let written = other.registry.apply(set_db("10.0.0.5")).await.unwrap();
    let read = answer(read).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.etag(), format!("\"{}\"", written.record.revision));
    assert_eq!(text(&read.json()["dnsrecords"][0]["hostname"]), "db");
    // This hub's own next write takes a later revision.
    let made = hub.put_silo("office", &[]).await.json();
    assert!(crate::common::revision(&made) > written.record.revision.into());
    other.close().await;
}

#[tokio::test]
async fn a_client_with_a_newer_state_is_not_sent_the_older_one() {
    // No task of this hub looks for other programs' changes.
    let (hub, _open) = TestHub::start_in_parts().await;
    let old = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    for (ip, prefer) in [("10.0.0.6", "handling=lenient"), ("10.0.0.7", "wait=0")] {
        for format in ["json", "hosts"] {
            hub.get(&format!("{OFFICE}?format={format}")).await;
        }
        let written = other.registry.apply(set_db(ip)).await.unwrap();
        let number = written.record.revision;
        for (format, tag) in [
            ("json", format!("\"{number}\"")),
            ("hosts", format!("\"{number}-hosts\"")),
        ] {
            let read = hub
                .get(&format!("{OFFICE}?format={format}"))
                .header("if-none-match", &format!("{}, {tag}", old.etag()))
                .header("prefer", prefer)
                .await;
            assert_eq!((read.status, read.etag()), (304, tag), "{format} {prefer}");
        }
    }
    other.close().await;
}
