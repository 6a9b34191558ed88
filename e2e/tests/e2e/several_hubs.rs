//! Three hubs on one PostgreSQL behind nginx, by the configuration of `docs/several-hubs.md`.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::postgres::{Postgres, free_port};
use silo_e2e::{Caller, Hub, Nginx, until};

const CLIENTS: usize = 32;
const SILOS: usize = 8;
const LENGTH: Duration = Duration::from_secs(30);
const KILL_AT: Duration = Duration::from_secs(6);
const STOP_AT: Duration = Duration::from_secs(15);
const AWAY: Duration = Duration::from_secs(5);
/// So many writes succeed while a hub is stopped, and as many before the next one is.
const WRITES_BETWEEN: usize = 4 * CLIENTS;

/// The balancer's configuration as the documentation prints it, for these ports.
fn balancer(ports: [u16; 3], listen: u16) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/several-hubs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page
        .split_once("```nginx\n")
        .expect("the page has a balancer");
    let mut config = rest.split_once("```").unwrap().0.to_owned();
    for (number, port) in (1..).zip(ports) {
        let printed = format!("10.0.0.{number}:8053");
        assert!(config.contains(&printed), "{config}");
        config = config.replace(&printed, &format!("127.0.0.1:{port}"));
    }
    assert!(config.contains("listen 80;"), "{config}");
    config.replace("listen 80;", &format!("listen 127.0.0.1:{listen};"))
}

/// What the clients did to one silo.
#[derive(Debug, Default)]
struct Tally {
    attempted: AtomicU32,
    acknowledged: std::sync::Mutex<Vec<(u32, i64)>>,
}

fn number(silo: &Value) -> Option<u32> {
    let ip: Ipv4Addr = silo["dnsrecords"][0]["ip"].as_str()?.parse().ok()?;
    Some(u32::from(ip) - u32::from(Ipv4Addr::new(10, 0, 0, 0)))
}

/// Reads the number and writes the next one unless another writer was faster; repeats until the end.
async fn count_up(caller: Caller, silo: usize, tally: Arc<Tally>, end: Instant) {
    let path = format!("/silos/counter-{silo}");
    while Instant::now() < end {
        let Ok(read) = caller.request(Method::GET, &path).send().await else {
            continue;
        };
        let Some(tag) = read.headers().get("etag").cloned() else {
            continue;
        };
        let Ok(body) = read.json::<Value>().await else {
            continue;
        };
        let Some(next) = number(&body).map(|number| number + 1) else {
            continue;
        };
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + next).to_string();
        let write = caller
            .request(Method::PUT, &path)
            .header("if-match", tag)
            .json(&json!({"dnsrecords": [{"hostname": "n", "ip": ip}]}));
        tally.attempted.fetch_add(1, Ordering::Relaxed);
        let Ok(answer) = write.send().await else {
            continue;
        };
        // Another client may have written the same number before: that is this one's 200, but not its increment.
        if answer.status() == 200 && answer.headers()["silo-changed"] == "?1" {
            let body: Value = answer.json().await.unwrap();
            let revision = body["revision"].as_i64().unwrap();
            tally.acknowledged.lock().unwrap().push((next, revision));
        }
    }
}

/// Writes the next number and reads, until it is told to stop; each request must succeed.
async fn put_and_get(caller: Caller, silo: usize, tally: Arc<Tally>, is_over: Arc<AtomicBool>) {
    let path = format!("/silos/counter-{silo}");
    for next in 1.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + next).to_string();
        let body = json!({"dnsrecords": [{"hostname": "n", "ip": ip}]});
        tally.attempted.fetch_add(1, Ordering::Relaxed);
        let write = caller.request(Method::PUT, &path).json(&body).send().await;
        let write = write.unwrap_or_else(|error| panic!("PUT {next} of silo {silo}: {error:?}"));
        assert_eq!(write.status(), 200, "PUT {next} of silo {silo}");
        let body: Value = write.json().await.unwrap();
        let revision = body["revision"].as_i64().unwrap();
        tally.acknowledged.lock().unwrap().push((next, revision));
        assert_eq!(caller.get(&path).await.0, 200, "GET {next} of silo {silo}");
    }
}

async fn history(caller: &Caller, silo: usize) -> Vec<(u32, i64)> {
    let mut rows = Vec::new();
    let mut next = Some(format!("/silos/counter-{silo}/history?limit=1000"));
    while let Some(path) = next {
        let answer = caller.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let link = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        for row in answer.json::<Vec<Value>>().await.unwrap() {
            let value = json!({"dnsrecords": [{"ip": row["new_ip"]}]});
            rows.push((number(&value).unwrap(), row["revision"].as_i64().unwrap()));
        }
    }
    rows
}

/// Each acknowledged increment is in the history, once, under a revision of its own.
async fn nothing_lost_or_repeated(admin: &Caller, tallies: &[Arc<Tally>]) {
    let (mut all, mut acknowledged_in_all) = (HashSet::new(), 0);
    for (silo, tally) in tallies.iter().enumerate() {
        let rows = history(admin, silo).await;
        let (_, body) = admin.get(&format!("/silos/counter-{silo}")).await;
        let last = number(&body).unwrap();
        // The first row made the silo.
        assert_eq!(
            usize::try_from(last).unwrap(),
            rows.len() - 1,
            "silo {silo}"
        );
        for (_, revision) in &rows {
            assert!(all.insert(*revision), "revision {revision} was taken twice");
        }
        let acknowledged = tally.acknowledged.lock().unwrap();
        for done in acknowledged.iter() {
            assert_eq!(
                rows.iter().filter(|row| *row == done).count(),
                1,
                "{done:?}"
            );
        }
        let attempted = tally.attempted.load(Ordering::Relaxed);
        assert!(acknowledged.len() <= usize::try_from(last).unwrap() && last <= attempted);
        assert!(!acknowledged.is_empty());
        acknowledged_in_all += acknowledged.len();
    }
    println!(
        "{acknowledged_in_all} acknowledged increments, {} rows of history",
        all.len()
    );
}

/// Makes the silos, each with the number 0.
async fn make_silos(admin: &Caller, count: usize) -> Vec<Arc<Tally>> {
    for silo in 0..count {
        let begin = json!({"dnsrecords": [{"hostname": "n", "ip": "10.0.0.0"}]});
        let path = format!("/silos/counter-{silo}");
        let put = admin.request(Method::PUT, &path).json(&begin);
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    (0..count).map(|_| Arc::default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_lose_and_repeat_nothing_through_a_kill_and_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let key = folder.path().join("hub.key");
    let ports = [free_port(), free_port(), free_port()];
    let start = |number: usize, folder: &Path| {
        let listen = format!("127.0.0.1:{}", ports[number]);
        Hub::start_at(
            &listen,
            &database,
            &key,
            &folder.join(format!("hub-{number}")),
        )
    };
    let first = start(0, folder.path());
    let second = start(1, folder.path());
    let third = start(2, folder.path());
    let front = free_port();
    let _nginx = Nginx::start(folder.path(), &balancer(ports, front), front);
    let admin = Caller::new(&first, &first.admin_token()).at(&format!("http://127.0.0.1:{front}"));
    let tallies = make_silos(&admin, SILOS).await;

    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let silo = client % SILOS;
            let tally = Arc::clone(&tallies[silo]);
            tokio::spawn(count_up(admin.clone(), silo, tally, began + LENGTH))
        })
        .collect();
    tokio::time::sleep_until((began + KILL_AT).into()).await;
    second.kill();
    let second = start(1, folder.path());
    tokio::time::sleep_until((began + STOP_AT).into()).await;
    postgres.stop();
    tokio::time::sleep(AWAY).await;
    postgres.start_again();
    for client in clients {
        client.await.unwrap();
    }

    nothing_lost_or_repeated(&admin, &tallies).await;
    drop((first, second, third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    let key = folder.path().join("hub.key");
    let ports = [free_port(), free_port(), free_port()];
    let start = |number: usize| {
        let listen = format!("127.0.0.1:{}", ports[number]);
        let folder = folder.path().join(format!("hub-{number}"));
        Hub::start_at(&listen, &database, &key, &folder)
    };
    let mut hubs = [0, 1, 2].map(|number| Some(start(number)));
    let token = hubs[0].as_ref().unwrap().admin_token();
    let front = free_port();
    let _nginx = Nginx::start(folder.path(), &balancer(ports, front), front);
    let admin = Caller::of(&format!("http://127.0.0.1:{front}"), &token);
    let tallies = make_silos(&admin, CLIENTS).await;

    let is_over = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|silo| {
            let tally = Arc::clone(&tallies[silo]);
            tokio::spawn(put_and_get(
                admin.clone(),
                silo,
                tally,
                Arc::clone(&is_over),
            ))
        })
        .collect();
    let some_writes = async || {
        let written = || -> usize {
            let tallies = tallies.iter();
            tallies
                .map(|tally| tally.acknowledged.lock().unwrap().len())
                .sum()
        };
        let enough = written() + WRITES_BETWEEN;
        until("the clients write", async || {
            // A client ends only by a failed request, which is reported below.
            let has_failed = clients.iter().any(|client| client.is_finished());
            (has_failed || written() >= enough).then_some(())
        })
        .await;
    };
    for number in [0, 1, 2, 0, 1, 2] {
        some_writes().await;
        let hub = hubs[number].take().unwrap();
        let stopped = tokio::task::spawn_blocking(|| hub.stop()).await.unwrap();
        assert_eq!(stopped, Some(0), "hub {number}");
        some_writes().await;
        hubs[number] = Some(start(number));
    }
    some_writes().await;
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }

    nothing_lost_or_repeated(&admin, &tallies).await;
}
