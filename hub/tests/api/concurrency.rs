//! Concurrent clients: no write is lost, no two states share an ETag, no client reads an older state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::common::{PAUSE, TestHub, client, dnsrecords, revision, text};

/// A client of its own for a task, speaking as admin.
#[derive(Clone)]
struct Peer {
    client: Client,
    base: String,
    admin: String,
}

impl Peer {
    fn of(hub: &TestHub) -> Self {
        Self {
            client: client(),
            base: format!("http://{}", hub.address),
            admin: hub.admin.clone(),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        tag: Option<&str>,
    ) -> (u16, Value) {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.admin);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        let response = request.send().await.expect("the hub answers");
        let status = response.status().as_u16();
        let body = response.bytes().await.expect("the body comes");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, None, None).await
    }

    async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::PUT, path, Some(body), None).await
    }
}

fn tag(document: &Value) -> String {
    format!("\"{}\"", revision(document))
}

async fn joined<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut outcomes = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        outcomes.push(outcome.expect("no task panics"));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_different_hostnames_lose_nothing() {
    const WRITES: usize = 200;
    let hub = TestHub::start().await;
    let start = Arc::new(Barrier::new(2));
    let mut tasks = JoinSet::new();
    for writer in ["a", "b"] {
        let (peer, start) = (Peer::of(&hub), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            let mut requests = JoinSet::new();
            for number in 0..WRITES {
                let peer = peer.clone();
                requests.spawn(async move {
                    let path = format!("/silos/office/records/{writer}-{number}");
                    let body = json!({"ip": format!("10.0.0.{}", number + 1)});
                    let mut answer = peer.put(&path, &body).await;
                    // So many at once: on a busy machine one waits too long for a connection to the database.
                    while answer.0 == 503 {
                        tokio::time::sleep(PAUSE).await;
                        answer = peer.put(&path, &body).await;
                    }
                    answer
                });
            }
            joined(requests).await
        });
    }
    let answers = joined(tasks).await.concat();
    for (status, record) in &answers {
        assert_eq!(*status, 201, "{record}");
    }
    let revisions: BTreeSet<_> = answers.iter().map(|(_, record)| revision(record)).collect();
    assert_eq!(
        revisions.len(),
        2 * WRITES,
        "each change has a revision of its own"
    );
    let silo = hub.get("/silos/office").await.json();
    assert_eq!(silo["dnsrecords"].as_array().unwrap().len(), 2 * WRITES);
    assert_eq!(Some(&revision(&silo)), revisions.last());
    assert_eq!(hub.history("office").await.len(), 2 * WRITES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_of_many_compare_and_swap_writers_wins_each_tag() {
    const WRITERS: usize = 12;
    const ROUNDS: usize = 15;
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let peers: Vec<_> = (0..WRITERS).map(|_| Peer::of(&hub)).collect();
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        let before = hub.get("/silos/office").await.json();
        let start = Arc::new(Barrier::new(WRITERS));
        let mut tasks = JoinSet::new();
        for (writer, peer) in peers.iter().enumerate() {
            let (peer, start, tag) = (peer.clone(), Arc::clone(&start), tag(&before));
            tasks.spawn(async move {
                let body = dnsrecords(&[("db", &format!("10.{round}.0.{}", writer + 1))]);
                start.wait().await;
                peer.send(Method::PUT, "/silos/office", Some(&body), Some(&tag))
                    .await
            });
        }
        let answers = joined(tasks).await;
        let won: Vec<_> = answers
            .iter()
            .filter(|(status, _)| *status == 200)
            .collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert!(
            answers
                .iter()
                .all(|(status, _)| matches!(status, 200 | 412))
        );
        assert_eq!(hub.get("/silos/office").await.json(), won[0].1);
        assert!(
            seen.insert(revision(&won[0].1)),
            "no tag is given out twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_and_swap_writers_lose_no_update() {
    const WRITERS: usize = 8;
    const UPDATES: usize = 10;
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let start = Arc::new(Barrier::new(WRITERS));
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (peer, start) = (Peer::of(&hub), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            let mut revisions = Vec::new();
            for update in 0..UPDATES {
                loop {
                    let (_, mut silo) = peer.get("/silos/office").await;
                    let tag = tag(&silo);
                    let rows = silo["dnsrecords"].as_array_mut().expect("an array");
                    rows.push(json!({"hostname": format!("w{writer}-{update}"), "ip": "10.0.0.1"}));
                    let (status, written) = peer
                        .send(Method::PUT, "/silos/office", Some(&silo), Some(&tag))
                        .await;
                    match status {
                        200 => {
                            revisions.push(revision(&written));
                            break;
                        }
                        412 => {}
                        other => panic!("{other}: {written}"),
                    }
                }
            }
            revisions
        });
    }
    let revisions = joined(tasks).await.concat();
    let distinct: BTreeSet<_> = revisions.iter().collect();
    assert_eq!(distinct.len(), WRITERS * UPDATES);
    let silo = hub.get("/silos/office").await.json();
    assert_eq!(
        silo["dnsrecords"].as_array().unwrap().len(),
        WRITERS * UPDATES
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_concurrent_put_creates_a_silo() {
    const WRITERS: usize = 12;
    let hub = TestHub::start().await;
    for round in 0..10 {
        let start = Arc::new(Barrier::new(WRITERS));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let start = Arc::clone(&start);
            let call = hub
                .put(&format!("/silos/s{round}"))
                .header("if-none-match", "*")
                .json(&dnsrecords(&[("db", &format!("10.0.0.{}", writer + 1))]));
            tasks.spawn(async move {
                start.wait().await;
                call.await.status
            });
        }
        let mut statuses = joined(tasks).await;
        statuses.sort_unstable();
        assert_eq!(statuses[0], 201);
        assert!(
            statuses[1..].iter().all(|status| *status == 412),
            "{statuses:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_reads_its_own_write_on_another_connection_under_load() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for writer in 0..6 {
        let (peer, stop) = (Peer::of(&hub), Arc::clone(&stop));
        load.spawn(async move {
            let mut number = 0_u32;
            while !stop.load(Ordering::Acquire) {
                number += 1;
                let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number);
                // Half of the load is on the very silo that is looked at.
                let silo = if writer % 2 == 0 { "office" } else { "other" };
                let path = format!("/silos/{silo}/records/load-{writer}");
                let (status, answer) = peer.put(&path, &json!({"ip": ip})).await;
                assert!(matches!(status, 200 | 201), "{answer}");
                peer.get(&format!("/silos/{silo}")).await;
            }
            number
        });
    }
    let (writer, reader) = (Peer::of(&hub), Peer::of(&hub));
    for number in 1..=150_u32 {
        let ip = std::net::Ipv4Addr::from(0x0a01_0000 + number).to_string();
        let (_, written) = writer
            .put("/silos/office/records/db", &json!({"ip": ip}))
            .await;
        let (_, silo) = reader.get("/silos/office").await;
        assert!(revision(&silo) >= revision(&written));
        let rows = silo["dnsrecords"].as_array().unwrap();
        assert!(
            rows.contains(&json!({"hostname": "db", "ip": ip})),
            "{silo}"
        );
        let (_, record) = reader.get("/silos/office/records/db").await;
        assert_eq!(record, written);
    }
    stop.store(true, Ordering::Release);
    assert!(joined(load).await.iter().all(|writes| *writes > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_always_shows_the_same_records() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (peer, stop) = (Peer::of(&hub), Arc::clone(&stop));
        readers.spawn(async move {
            let mut states = BTreeMap::new();
            let mut last = 0;
            while !stop.load(Ordering::Acquire) {
                let (status, silo) = peer.get("/silos/office").await;
                assert_eq!(status, 200);
                assert!(revision(&silo) >= last, "a reader never goes back in time");
                last = revision(&silo);
                states.insert(last, silo);
            }
            states
        });
    }
    let writer = Peer::of(&hub);
    let mut written = BTreeMap::from([(
        revision(&hub.get("/silos/office").await.json()),
        hub.get("/silos/office").await.json(),
    )]);
    for number in 1..=100 {
        let names: Vec<String> = (0..40).map(|host| format!("h{host}")).collect();
        let ip = format!("10.0.0.{number}");
        let rows: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), ip.as_str()))
            .collect();
        let (_, silo) = writer.put("/silos/office", &dnsrecords(&rows)).await;
        written.insert(revision(&silo), silo);
    }
    stop.store(true, Ordering::Release);
    for states in joined(readers).await {
        for (revision, silo) in states {
            assert_eq!(Some(&silo), written.get(&revision));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_commands_harm_none_of_those_beside_them() {
    const COMMANDS: usize = 300;
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let start = Arc::new(Barrier::new(COMMANDS));
    let mut tasks = JoinSet::new();
    for number in 0..COMMANDS {
        let start = Arc::clone(&start);
        let good = hub.put(&format!("/silos/office/records/good-{number}"));
        let (call, expected) = match number % 6 {
            0 => (
                hub.put("/silos/office")
                    .header("if-match", "\"stale\"")
                    .json(&dnsrecords(&[])),
                412,
            ),
            1 => (hub.delete("/silos/none"), 404),
            2 => (
                hub.put("/silos/office/records/new")
                    .json(&json!({"comment": "no address"})),
                422,
            ),
            3 => (hub.delete("/silos/office/records/none"), 404),
            _ => (good.json(&json!({"ip": "10.0.0.6"})), 201),
        };
        tasks.spawn(async move {
            start.wait().await;
            (call.await, expected)
        });
    }
    let mut revisions = BTreeSet::new();
    for (answer, expected) in joined(tasks).await {
        assert_eq!(answer.status, expected, "{answer:?}");
        if expected == 201 {
            revisions.insert(revision(&answer.json()));
        }
    }
    assert_eq!(revisions.len(), COMMANDS / 3);
    let (first, last) = (revisions.first().unwrap(), revisions.last().unwrap());
    assert_eq!(
        last - first + 1,
        revisions.len() as i64,
        "a refused command takes no revision"
    );
    let silo = hub.get("/silos/office").await.json();
    let names: Vec<_> = silo["dnsrecords"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(&row["hostname"]))
        .collect();
    assert_eq!(names.len(), COMMANDS / 3 + 1);
    assert_eq!(names[0], "db");
}
