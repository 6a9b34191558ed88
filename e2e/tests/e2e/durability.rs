//! What was acknowledged is there, whatever happens to the hub.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use silo_e2e::{Caller, Hub, PATIENCE, PAUSE};

const WRITERS: usize = 64;
/// The hub is killed once so many writes were acknowledged.
const KILL_AFTER: usize = 2000;

/// All rows of a silo's history, by following the links.
async fn history(caller: &Caller, silo: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut next = Some(format!("/silos/{silo}/history?limit=1000"));
    while let Some(path) = next {
        let response = caller
            .request(reqwest::Method::GET, &path)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        next = response.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            link[1..link.find('>').unwrap()].to_owned()
        });
        rows.extend(response.json::<Vec<Value>>().await.unwrap());
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_a_kill_at_its_revision() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let caller = Caller::new(&hub, &hub.admin_token());
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (caller, acknowledged) = (caller.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for round in 0_u32.. {
                    let ip = Ipv4Addr::from(0x0a00_0001 + round).to_string();
                    let answer = caller.put_ip("office", &format!("w{writer}"), &ip).await;
                    // No answer: the hub is gone, and this write may or may not be there.
                    let Some((status, body)) = answer else { break };
                    assert!(matches!(status, 200 | 201), "{status} {body}");
                    answers.push((format!("w{writer}"), ip, body["revision"].as_i64().unwrap()));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                answers
            })
        })
        .collect();
    let enough = async {
        while acknowledged.load(Ordering::Relaxed) < KILL_AFTER {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough)
        .await
        .expect("the hub acknowledges writes");
    hub.kill();
    let mut answers = Vec::new();
    for writer in writers {
        answers.extend(writer.await.unwrap());
    }
    assert!(answers.len() >= KILL_AFTER);
    let revisions: HashSet<i64> = answers.iter().map(|answer| answer.2).collect();
    assert_eq!(
        revisions.len(),
        answers.len(),
        "no two writes share a revision"
    );

    let hub = Hub::start(folder.path());
    let caller = Caller::new(&hub, &hub.admin_token());
    let rows = history(&caller, "office").await;
    let written: HashSet<(String, String, i64)> = rows
        .iter()
        .map(|row| {
            let text = |member: &str| row[member].as_str().unwrap().to_owned();
            (
                text("hostname"),
                text("new_ip"),
                row["revision"].as_i64().unwrap(),
            )
        })
        .collect();
    for answer in &answers {
        assert!(
            written.contains(answer),
            "acknowledged and lost: {answer:?}"
        );
    }
    // What was under way when the hub died may be there, at most one write a writer.
    assert!(written.len() <= answers.len() + WRITERS);
    let latest = rows[0]["revision"].as_i64().unwrap();
    let (_, body) = caller.put_ip("office", "after", "10.9.9.9").await.unwrap();
    assert!(body["revision"].as_i64().unwrap() > latest);
    println!(
        "{} writes acknowledged before the kill, {} found",
        answers.len(),
        written.len()
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_write_one_after_another_is_synced() {
    const WRITES: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let strace = [
        "strace",
        "-f",
        "-e",
        "trace=fsync,fdatasync",
        "-o",
        trace.to_str().unwrap(),
    ];
    let hub = Hub::start_under(&strace, folder.path());
    let caller = Caller::new(&hub, &hub.admin_token());
    let syncs = || {
        let text = std::fs::read_to_string(&trace).unwrap();
        text.lines()
            .filter(|line| line.contains("sync(") && line.contains("= 0"))
            .count()
    };
    let before = syncs();
    for round in 0..WRITES {
        let ip = format!("10.0.0.{}", round + 1);
        let (status, _) = caller.put_ip("office", "db", &ip).await.unwrap();
        assert!(matches!(status, 200 | 201));
    }
    let seen = syncs() - before;
    assert!(seen >= WRITES, "{WRITES} writes and only {seen} syncs");
    // What changes nothing needs no sync.
    let before = syncs();
    for _ in 0..WRITES {
        let (status, _) = caller.put_ip("office", "db", "10.0.0.50").await.unwrap();
        assert_eq!(status, 200);
    }
    assert!(
        syncs() - before < WRITES / 10,
        "unchanged writes are synced"
    );
    println!("{WRITES} writes: {seen} syncs");
    assert_eq!(hub.stop(), Some(0));
}
