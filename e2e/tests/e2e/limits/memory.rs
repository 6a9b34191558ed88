//! What a hub with the limits of a machine of 256 MiB takes at most under attack.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use h2::client::Builder;
use http::Request;
use serde_json::json;
use silo_e2e::Hub;
use silo_hub::internals::limits::{default_body_mib, default_connections};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::{Endpoint, self_signed};
use super::{allow_many_files, client, honest, honest_once_there_is_room, hub_with};

const MIB: u64 = 1024 * 1024;
const MEMORY: u64 = 256 * MIB;
const BODY: usize = MIB as usize;
/// How long attackers continue once all are connected.
const SIEGE: Duration = Duration::from_secs(5);

/// The most memory that the hub has ever had resident, in KiB (proc_pid_status(5)).
fn peak_kib(hub: &Hub) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

/// The configuration of a hub that found 256 MiB of memory.
fn limits_of_256_mib() -> String {
    format!(
        "limits: {{connections: {}, body_mib: {}}}\n",
        default_connections(Some(MEMORY)),
        default_body_mib(Some(MEMORY))
    )
}

fn start(folder: &Path, is_tls: bool) -> (Hub, Arc<Endpoint>) {
    allow_many_files();
    let limits = limits_of_256_mib();
    let (hub, endpoint) = if is_tls {
        let hub = hub_with(folder, &(self_signed(folder) + &limits));
        let endpoint = Endpoint::tls(&hub, folder);
        (hub, endpoint)
    } else {
        let hub = hub_with(folder, &limits);
        let endpoint = Endpoint::plain(&hub);
        (hub, endpoint)
    };
    (hub, Arc::new(endpoint))
}

/// Opens so many connections, a few at a time, and sends these bytes on each as fast as the hub takes them; takes no
/// answer.
async fn attack(endpoint: &Arc<Endpoint>, count: usize, words: &Arc<Vec<u8>>) -> JoinSet<()> {
    let handshakes = Arc::new(Semaphore::new(64));
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (endpoint, words) = (Arc::clone(endpoint), Arc::clone(words));
        let turn = Arc::clone(&handshakes).acquire_owned().await.unwrap();
        all.spawn(async move {
            // The hub may close the connection at any time.
            let Ok(mut line) = endpoint.connect().await else {
                return;
            };
            drop(turn);
            let sent = async {
                line.write_all(&words).await?;
                line.flush().await
            };
            if sent.await.is_ok() {
                let mut byte = [0];
                let _ = line.read(&mut byte).await;
                tokio::time::sleep(SIEGE).await;
            }
        });
    }
    tokio::time::sleep(SIEGE).await;
    all
}

/// While attackers hold connections that may be closed for others.
async fn check(hub: &Hub, what: &str) {
    honest(hub, &client()).await;
    check_peak(hub, what);
}

/// After attackers with valid tokens.
async fn check_afterwards(hub: &Hub, what: &str) {
    honest_once_there_is_room(hub).await;
    check_peak(hub, what);
}

fn check_peak(hub: &Hub, what: &str) {
    let peak = peak_kib(hub);
    println!("{what}: at most {peak} KiB");
    assert!(peak <= MEMORY / 1024, "{what}: {peak} KiB");
}

async fn token(hub: &Hub, role: &str, silo: &str) -> String {
    let made = client()
        .post(format!("{}/tokens", hub.url()))
        .bearer_auth(hub.admin_token())
        .json(&json!({"name": "attacker", "role": role, "silos": [silo]}))
        .send()
        .await
        .unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

/// A whole head, and all of its body but the last byte.
fn nearly_a_put(token: &str) -> Arc<Vec<u8>> {
    let head = format!(
        "PUT /silos/office HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\nContent-Length: {BODY}\r\n\r\n"
    );
    let mut words = head.into_bytes();
    words.resize(words.len() + BODY - 1, b' ');
    Arc::new(words)
}

/// A head of 32 KiB without its end.
fn nearly_a_head() -> Arc<Vec<u8>> {
    let mut words = b"GET /silos HTTP/1.1\r\nHost: hub\r\nX-Large: ".to_vec();
    words.resize(32 * 1024, b'x');
    Arc::new(words)
}

/// More than the hub lets in. Handshakes cost the attackers more than the hub's answers, so they are fewer over TLS.
fn attackers(is_tls: bool) -> usize {
    if is_tls { 1000 } else { 2200 }
}

async fn bodies_without_the_right(is_tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (hub, endpoint) = start(folder.path(), is_tls);
    let token = token(&hub, "read", "elsewhere").await;
    let attackers = attack(&endpoint, attackers(is_tls), &nearly_a_put(&token)).await;
    check(&hub, "bodies without the right").await;
    drop(attackers);
}

async fn bodies_with_the_right(is_tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (hub, endpoint) = start(folder.path(), is_tls);
    let token = token(&hub, "write", "office").await;
    let attackers = attack(&endpoint, attackers(is_tls), &nearly_a_put(&token)).await;
    // Authenticated clients may take all places for a while: they only delay each other.
    drop(attackers);
    check_afterwards(&hub, "bodies with the right").await;
}

async fn heads(is_tls: bool, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (hub, endpoint) = start(folder.path(), is_tls);
    let attackers = attack(&endpoint, count, &nearly_a_head()).await;
    check(&hub, "unfinished heads").await;
    drop(attackers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_bodies_without_the_right_cost_no_memory() {
    bodies_without_the_right(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_bodies_without_the_right_cost_no_memory_over_tls_either() {
    bodies_without_the_right(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_bodies_with_the_right_cost_bounded_memory() {
    bodies_with_the_right(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_bodies_with_the_right_cost_bounded_memory_over_tls_too() {
    bodies_with_the_right(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_thousand_unfinished_heads_cost_bounded_memory() {
    heads(false, 8000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_heads_cost_bounded_memory_over_tls_too() {
    heads(true, attackers(true)).await;
}

/// Sends bodies on many streams of many HTTP/2 connections.
async fn bodies_over_http_2(role: &str, silo: &str) {
    const STREAMS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let (hub, endpoint) = start(folder.path(), true);
    let bearer = format!("Bearer {}", token(&hub, role, silo).await);
    let url = format!("{}/silos/office", hub.url());
    let handshakes = Arc::new(Semaphore::new(64));
    let mut attackers = JoinSet::new();
    for _ in 0..600 {
        let (endpoint, bearer, url) = (Arc::clone(&endpoint), bearer.clone(), url.clone());
        let turn = Arc::clone(&handshakes).acquire_owned().await.unwrap();
        attackers.spawn(async move {
            let Ok(line) = endpoint.connect().await else {
                return;
            };
            let Ok((mut requests, connection)) = Builder::new()
                .handshake::<_, std::io::Cursor<Vec<u8>>>(line)
                .await
            else {
                return;
            };
            drop(turn);
            let driven = tokio::spawn(connection);
            let mut held = Vec::new();
            for _ in 0..STREAMS {
                let request = Request::put(&url).header("authorization", &bearer);
                let Ok(mut ready) = requests.clone().ready().await else {
                    break;
                };
                let Ok((answer, mut body)) = ready.send_request(request.body(()).unwrap(), false)
                else {
                    break;
                };
                // As much as the hub says that it takes is sent at once.
                let _ = body.send_data(std::io::Cursor::new(vec![b' '; 128 * 1024]), false);
                held.push((answer, body));
                requests = ready;
            }
            let _ = tokio::time::timeout(3 * SIEGE, driven).await;
            drop(held);
        });
    }
    tokio::time::sleep(SIEGE).await;
    if role == "write" {
        // Who has the right may take all places for a while.
        attackers.shutdown().await;
        check_afterwards(&hub, "bodies over HTTP/2").await;
    } else {
        check(&hub, "bodies over HTTP/2").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_the_right_cost_no_memory_over_http_2_either() {
    bodies_over_http_2("read", "elsewhere").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_with_the_right_cost_bounded_memory_over_http_2_too() {
    bodies_over_http_2("write", "office").await;
}
