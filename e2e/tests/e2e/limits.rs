//! Thousands of silent and slow clients must not delay normal ones.

mod bodies;
mod connection;
mod dead_peers;
mod early;
mod half_close;
mod http2;
mod memory;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use connection::{Connection, Endpoint, self_signed};
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use silo_e2e::{Hub, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SILENT: usize = 3500;
const SLOW_HEADS: usize = 1000;
const SLOW_BODIES: usize = 500;
/// What they may cost the hub, in KiB.
const MEMORY_KIB: u64 = 150 * 1024;

fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

fn address(hub: &Hub) -> SocketAddr {
    hub.url().split_once("//").unwrap().1.parse().unwrap()
}

/// The hub's resident memory, in KiB (proc_pid_status(5)).
fn memory_kib(hub: &Hub) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

/// Opens `count` connections and sends `begin` on each; without TLS if `begin` is empty.
async fn open(endpoint: &Endpoint, count: usize, begin: &str) -> Vec<Connection> {
    let mut lines = Vec::new();
    for _ in 0..count {
        // The hub may have cut it off already.
        let Ok(mut line) = (match begin {
            "" => endpoint.connect_tcp().await,
            _ => endpoint.connect().await,
        }) else {
            continue;
        };
        let _ = line.write_all(begin.as_bytes()).await;
        let _ = line.flush().await;
        lines.push(line);
    }
    lines
}

/// Sends a byte on each, repeatedly.
async fn trickle(mut lines: Vec<Connection>) {
    loop {
        for line in &mut lines {
            let _ = line.write_all(b"a").await;
            let _ = line.flush().await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn honest(hub: &Hub, one: &reqwest::Client) {
    let url = hub.url();
    let token = hub.admin_token();
    for number in 0..10 {
        let path = format!("{url}/silos/office/records/db");
        let body = json!({"ip": format!("10.0.0.{}", number + 1)});
        let answer = one.put(&path).bearer_auth(&token).json(&body).send().await;
        assert!(answer.unwrap().status().is_success());
        // And a client with a new connection each time.
        let answer = client().get(&path).bearer_auth(&token).send().await;
        assert_eq!(
            answer.unwrap().json::<serde_json::Value>().await.unwrap()["ips"][0],
            body["ip"]
        );
    }
}

/// Writes and reads once at a hub that was full of busy connections, and comes again while it is refused: a client sees
/// that a connection has ended before the hub counts the place as free. Each request has a connection of its own.
async fn honest_once_there_is_room(hub: &Hub) {
    let deadline = Instant::now() + PATIENCE;
    let path = format!("{}/silos/office/records/db", hub.url());
    for method in [Method::PUT, Method::GET] {
        loop {
            let mut request = client().request(method.clone(), &path);
            if method == Method::PUT {
                request = request.json(&json!({"ip": "10.0.0.1"}));
            }
            match request.bearer_auth(hub.admin_token()).send().await {
                Ok(answer) => {
                    assert!(answer.status().is_success(), "{answer:?}");
                    break;
                }
                Err(error) => assert!(Instant::now() < deadline, "no room: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn check_under_load(hub: &Hub, endpoint: &Endpoint) {
    let one = client();
    honest(hub, &one).await;
    let before = memory_kib(hub);
    let mut silent = open(endpoint, SILENT, "").await;
    honest(hub, &one).await;
    let head = "GET /silos HTTP/1.1\r\nHost: hub\r\nX-Slow: ";
    let heads = open(endpoint, SLOW_HEADS, head).await;
    assert!(heads.len() > SLOW_HEADS / 2, "{} got in", heads.len());
    let heads = tokio::spawn(trickle(heads));
    let body = format!(
        "PUT /silos/slow HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\nContent-Length: 100000\r\n\r\n{{",
        hub.admin_token()
    );
    let bodies = open(endpoint, SLOW_BODIES, &body).await;
    assert_eq!(bodies.len(), SLOW_BODIES);
    let bodies = tokio::spawn(trickle(bodies));
    for _ in 0..10 {
        honest(hub, &one).await;
    }
    let after = memory_kib(hub);
    println!(
        "{before} KiB before, {after} KiB among {} connections",
        SILENT + SLOW_HEADS + SLOW_BODIES
    );
    assert!(
        after < before + MEMORY_KIB,
        "{before} KiB before, {after} KiB after"
    );
    // Every silent connection is closed.
    let all_end = async {
        for line in &mut silent {
            let mut byte = [0];
            // A reset is an end too.
            let _ = line.read(&mut byte).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_end)
        .await
        .expect("the hub closes the connection in time");
    honest(hub, &one).await;
    heads.abort();
    bodies.abort();
}

/// Makes a silo whose answer is far longer than 16 KiB.
async fn make_large(hub: &Hub) {
    let rows: Vec<_> = (0..9000)
        .map(|row| json!({"hostname": format!("{}-{row}", "n".repeat(50)), "ip": "10.0.0.1"}))
        .collect();
    let put = client()
        .put(format!("{}/silos/large", hub.url()))
        .bearer_auth(hub.admin_token())
        .json(&json!({"dnsrecords": rows}));
    assert_eq!(put.send().await.unwrap().status(), 201);
}

fn hub_with(folder: &Path, config: &str) -> Hub {
    std::fs::write(folder.join("hub.yaml"), config).unwrap();
    Hub::start(folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_silent_and_slow_clients_do_not_delay_others() {
    allow_many_files();
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), "limits: {head_seconds: 5}\n");
    check_under_load(&hub, &Endpoint::plain(&hub)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_connections_do_not_delay_others_over_tls() {
    allow_many_files();
    let folder = tempfile::tempdir().unwrap();
    let config = self_signed(folder.path()) + "limits: {head_seconds: 5, connections: 700}\n";
    let hub = hub_with(folder.path(), &config);
    check_under_load(&hub, &Endpoint::tls(&hub, folder.path())).await;
    assert!(
        hub.log()
            .contains("limits.connections: 700 connections are open")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_open_files_is_raised_and_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let soft = ["sh", "-c", "ulimit -S -n 200 && exec \"$@\"", "sh"];
    let hub = Hub::start_under(&soft, &folder.path().join("soft"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hub.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
    assert_ne!(numbers[0], "200");
    drop(hub);

    let hard = ["sh", "-c", "ulimit -n 300 && exec \"$@\"", "sh"];
    let folder = folder.path().join("hard");
    std::fs::create_dir(&folder).unwrap();
    // Its default follows from the memory here.
    std::fs::write(folder.join("hub.yaml"), "limits: {connections: 8192}\n").unwrap();
    let hub = Hub::start_under(&hard, &folder);
    assert!(
        hub.log()
            .contains("limits.connections: 172 instead of 8192"),
        "{}",
        hub.log()
    );
    let silent = open(&Endpoint::plain(&hub), 400, "").await;
    honest(&hub, &client()).await;
    drop(silent);
}

#[test]
fn a_slow_reader_gets_its_response_and_a_stalled_one_is_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let config = "limits: {head_seconds: 1, idle_seconds: 1, stall_seconds: 2}\n";
    let hub = hub_with(folder.path(), config);
    let admin = hub.admin_token();
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(make_large(&hub));
    let get =
        format!("GET /silos/large HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {admin}\r\n\r\n");

    // Far more than the kernel buffers, and for longer than a client may take nothing.
    const TIMES: usize = 12;
    let mut slow = std::net::TcpStream::connect(address(&hub)).unwrap();
    let last = get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    slow.write_all((get.repeat(TIMES - 1) + &last).as_bytes())
        .unwrap();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        match slow.read(&mut piece).unwrap() {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
        // This is the client's slowness.
        std::thread::sleep(Duration::from_millis(8));
    }
    let answers = String::from_utf8(answer).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), TIMES);
    assert_eq!(answers.matches("\"revision\"").count(), TIMES);

    let mut lazy = std::net::TcpStream::connect(address(&hub)).unwrap();
    lazy.write_all(get.repeat(100).as_bytes()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // After the hub has closed the connection, it answers further data with a reset.
    while lazy.write_all(b"G").is_ok() {
        assert!(
            Instant::now() < deadline,
            "the hub keeps the connection open"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
