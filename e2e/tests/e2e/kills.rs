//! A hub that is killed again and again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use silo_e2e::{Caller, Hub, PATIENCE, PAUSE};

const KILLS: u64 = 200;
const WRITERS: usize = 32;
/// A hub is killed after at most so many acknowledged writes.
const AT_MOST: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_no_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let random = RandomState::new();
    // The last acknowledged address and revision of each hostname, over all lives of the hub.
    let mut latest: HashMap<String, (String, i64)> = HashMap::new();
    let mut acknowledged_in_all = 0;
    for kill in 0..KILLS {
        let hub = Hub::start(folder.path());
        let caller = Caller::new(&hub, &hub.admin_token());
        check(&caller, &latest).await;
        let kill_after = usize::try_from(random.hash_one(kill) % AT_MOST).unwrap() + 1;
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (caller, acknowledged) = (caller.clone(), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    let hostname = format!("w{writer}");
                    let mut last = None;
                    for round in 0_u64.. {
                        let ip = format!("10.{}.{}.{}", kill % 256, round / 250, round % 250 + 1);
                        let answer = caller.put_ip("office", &hostname, &ip).await;
                        let Some((status, body)) = answer else { break };
                        assert!(matches!(status, 200 | 201), "{status} {body}");
                        last = Some((ip, body["revision"].as_i64().unwrap()));
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    (hostname, last)
                })
            })
            .collect();
        let enough = async {
            while acknowledged.load(Ordering::Relaxed) < kill_after {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, enough)
            .await
            .expect("the hub acknowledges writes");
        hub.kill();
        for writer in writers {
            let (hostname, last) = writer.await.unwrap();
            if let Some(last) = last {
                latest.insert(hostname, last);
            }
        }
        acknowledged_in_all += acknowledged.load(Ordering::Relaxed);
        let database = folder.path().join("data/hub.db");
        let checked = Command::new("sqlite3")
            .arg(database)
            .arg("PRAGMA integrity_check")
            .output();
        let checked = checked.expect("sqlite3 is installed");
        assert_eq!(
            String::from_utf8_lossy(&checked.stdout),
            "ok\n",
            "after kill {kill}"
        );
    }
    let hub = Hub::start(folder.path());
    check(&Caller::new(&hub, &hub.admin_token()), &latest).await;
    println!("{KILLS} kills, {acknowledged_in_all} acknowledged writes, none lost");
}

/// Every hostname has its last acknowledged write, or at a later one that was under way when the
/// hub died.
async fn check(caller: &Caller, latest: &HashMap<String, (String, i64)>) {
    for (hostname, (ip, revision)) in latest {
        let (status, record) = caller
            .get(&format!("/silos/office/records/{hostname}"))
            .await;
        assert_eq!(status, 200, "{hostname} is lost");
        let stored = record["revision"].as_i64().unwrap();
        assert!(
            stored >= *revision,
            "{hostname}: {stored} is before {revision}"
        );
        if stored == *revision {
            assert_eq!(record["ips"][0], ip.as_str(), "{hostname}");
        }
    }
}
