//! A database whose connections go silent, break or bring an error at each moment of a write, and a disk that stalls.
//! `SILO_TEST_ON` names the server; the tests of connections do nothing on SQLite, which has none.

mod made_up_errors;
pub(crate) mod writes;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use silo_e2e::database::{Database, Kind};
use silo_e2e::forwarder::{Forwarder, How, Moment};
use silo_e2e::{Caller, Hub, PATIENCE, binary, until};
use writes::{Write, at_once, put, send, signed_put};

/// By when a hub that is asked to stop has ended: 10 s, and what a busy machine needs.
const ENDED: Duration = Duration::from_secs(15);
/// By when writes continue after the network has healed.
const HEALED: Duration = Duration::from_secs(30);
const TERMINATING: Duration = Duration::from_secs(20);

struct Scene {
    hub: Hub,
    admin: Caller,
    forwarder: Forwarder,
    database: Database,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn begin() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(Kind::chosen())?;
        let forwarder = Forwarder::start(database.url());
        let url = forwarder.url(database.url());
        let hub = Hub::start_on(&url, &folder.path().join("hub.key"), folder.path());
        let admin = Caller::new(&hub, &hub.admin_token());
        Some(Self {
            hub,
            admin,
            forwarder,
            database,
            _folder: folder,
        })
    }

    /// Stops the hub, which takes 10 s at most.
    fn end(self) {
        let began = Instant::now();
        assert_eq!(self.hub.stop(), Some(0));
        assert!(
            began.elapsed() < ENDED,
            "it took {:?} to stop",
            began.elapsed()
        );
    }
}

/// One round: the connection breaks at the moment, under a write of each kind. Returns whether all were done.
async fn one_break(scene: &Scene, moment: Moment, how: How, round: u8) -> bool {
    let Scene {
        admin, forwarder, ..
    } = scene;
    let what = format!("{moment:?} {how:?}");
    let mut writes = Vec::new();
    for kind in writes::Kind::ALL {
        let name = format!("w{round}-{}", writes.len());
        writes.push(Write::prepare(admin, kind, name).await);
    }
    forwarder.arm(moment, how);
    let said = at_once(admin, &writes).await;
    assert!(forwarder.has_fired(), "{what}");
    let healed = Instant::now();
    until("writes continue", async || {
        let path = format!("/silos/more/records/r{round}");
        let said = send(put(admin, &path, "10.0.0.9", None)).await;
        said.is_done().then_some(())
    })
    .await;
    assert!(healed.elapsed() < HEALED, "{what}: {:?}", healed.elapsed());
    let mut all_done = true;
    for (write, said) in writes.iter().zip(&said) {
        println!("{what}: {:?} {}", write.kind, said.status);
        all_done &= write.check(admin, said, &what).await;
    }
    all_done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_costs_no_write_and_no_truth() {
    let Some(scene) = Scene::begin() else { return };
    let table = [
        (Moment::Begin, How::Reset, true),
        (Moment::Inside, How::Reset, true),
        (Moment::Commit, How::Reset, true),
        (Moment::CommitAnswer, How::Reset, true),
        (Moment::CommitAnswer, How::Silence, true),
        (Moment::Begin, How::Silence, false),
        (Moment::Commit, How::Silence, false),
        (Moment::Inside, How::Silence, false),
    ];
    for (round, (moment, how, all_done)) in (0..).zip(table) {
        let done = one_break(&scene, moment, how, round).await;
        assert!(
            done || !all_done,
            "{moment:?} {how:?}: the hub could have found out"
        );
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_without_database_responses_logs_it_and_can_be_stopped() {
    let Some(scene) = Scene::begin() else { return };
    let admin = &scene.admin;
    assert_eq!(admin.get("/readyz").await.0, 200);
    scene.forwarder.arm(Moment::Inside, How::Silence);
    scene.forwarder.silence_new(true);
    let writes = async {
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..20 {
            let path = format!("/silos/office/records/h{number}");
            writes.spawn(send(put(admin, &path, "10.0.0.1", None)));
        }
        while let Some(said) = writes.join_next().await {
            let said = said.unwrap();
            assert_eq!(said.status, 503, "{said:?}");
        }
    };
    let unready = until("readyz says so", async || {
        (admin.get("/readyz").await.0 == 503).then_some(())
    });
    tokio::join!(writes, unready);
    scene.end();
}

/// As a firewall does that has forgotten idle connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_after_the_network_has_forgotten_every_connection_is_done() {
    let Some(scene) = Scene::begin() else { return };
    let path = "/silos/office/records/db";
    for round in 1..5_u8 {
        let ip = format!("10.0.0.{round}");
        let said = send(put(&scene.admin, path, &ip, None)).await;
        assert!(said.is_done(), "{round}: {said:?}");
        let (status, record) = scene.admin.get(path).await;
        assert_eq!((status, &record["ips"]), (200, &json!([ip])));
        scene.forwarder.forget();
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_hub_uses_each_connection_before_a_firewall_forgets_it() {
    let Some(scene) = Scene::begin() else { return };
    // The writer, and several readers at once.
    let said = send(put(
        &scene.admin,
        "/silos/office/records/db",
        "10.0.0.1",
        None,
    ))
    .await;
    assert!(said.is_done(), "{said:?}");
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let caller = scene.admin.clone();
        reads.spawn(async move { caller.get("/silos/office/history").await.0 });
    }
    assert!(reads.join_all().await.iter().all(|status| *status == 200));
    scene.forwarder.begin_to_watch();
    until("something is sent on each connection", async || {
        scene.forwarder.all_were_used().then_some(())
    })
    .await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_sessions_make_no_false_refusal() {
    let Some(scene) = Scene::begin() else { return };
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let (caller, over, done) = (scene.admin.clone(), Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                match number % 4 {
                    0 | 1 => count_up(&caller, number, &over, &done).await,
                    2 => make_and_remove(&caller, number, &over, &done).await,
                    _ => make_tokens(&caller, number, &over, &done).await,
                }
            })
        })
        .collect();
    let end = Instant::now() + TERMINATING;
    while Instant::now() < end {
        // Some writes lie between two ends, unless sessions take long to begin.
        let (before, pause) = (
            done.load(Ordering::Relaxed),
            Instant::now() + Duration::from_millis(500),
        );
        while done.load(Ordering::Relaxed) < before + 3 && Instant::now() < pause {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        scene.database.end_sessions();
    }
    over.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    println!("{} writes were done", done.load(Ordering::Relaxed));
    assert!(done.load(Ordering::Relaxed) > 0);
    scene.end();
}

/// Writes with the ETag of the last response: there is no other writer, so it always matches. Odd numbers sign.
async fn count_up(caller: &Caller, number: usize, over: &AtomicBool, done: &AtomicUsize) {
    let path = format!("/silos/count-{number}/records/db");
    let (mut etag, mut is_known): (Option<String>, bool) = (None, true);
    for round in 0_u32.. {
        if over.load(Ordering::Acquire) {
            return;
        }
        let ip = format!("10.{}.{}.1", round / 250 % 250, round % 250);
        let write = if number % 2 == 1 { signed_put } else { put };
        let said = send(write(caller, &path, &ip, etag.as_deref())).await;
        if said.is_done() {
            done.fetch_add(1, Ordering::Relaxed);
            (etag, is_known) = (said.etag, true);
        } else if said.status == 503 {
            is_known &= !said.is_unknown();
        } else {
            assert!(said.status == 412 && !is_known, "false: {said:?}");
            let read = send(caller.request(Method::GET, &path)).await;
            if read.status == 200 {
                etag = read.etag;
            }
        }
    }
}

/// A record that was made is there to be removed.
async fn make_and_remove(caller: &Caller, number: usize, over: &AtomicBool, done: &AtomicUsize) {
    let path = format!("/silos/gone-{number}/records/db");
    while !over.load(Ordering::Acquire) {
        if !send(put(caller, &path, "10.0.0.1", None)).await.is_done() {
            continue;
        }
        let mut is_known = true;
        loop {
            let said = send(caller.request(Method::DELETE, &path)).await;
            match said.status {
                204 => break,
                503 => is_known &= !said.is_unknown(),
                _ => {
                    assert!(said.status == 404 && !is_known, "false: {said:?}");
                    break;
                }
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Of each name there is one token at most, and a 201 brings its secret.
async fn make_tokens(caller: &Caller, number: usize, over: &AtomicBool, done: &AtomicUsize) {
    let (mut made, mut unknown) = (0, 0);
    let name = format!("made-by-{number}");
    while !over.load(Ordering::Acquire) {
        let new = json!({ "name": name, "role": "admin" });
        let said = send(caller.request(Method::POST, "/tokens").json(&new)).await;
        match said.status {
            201 => made += 1,
            503 if said.is_unknown() => unknown += 1,
            503 => {}
            _ => panic!("false: {said:?}"),
        }
    }
    // Not by `until`: a future with an async closure can't be spawned.
    let deadline = Instant::now() + PATIENCE * 2;
    let tokens = loop {
        let (status, tokens) = caller.get("/tokens").await;
        if status == 200 {
            break tokens;
        }
        assert!(Instant::now() < deadline, "the tokens are not listed");
    };
    let there = tokens.as_array().unwrap().iter();
    let there = there.filter(|token| token["name"] == name.as_str()).count();
    assert!(
        (made..=made + unknown).contains(&there),
        "{made} made, {unknown} unknown, {there} there"
    );
    done.fetch_add(made, Ordering::Relaxed);
}

/// Starts a hub against a server that accepts connections and says nothing.
fn start_in_vain(folder: &std::path::Path) -> (std::process::Child, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = match Kind::chosen() {
        Kind::MariaDb => "mysql",
        Kind::Sqlite | Kind::Postgres => "postgres",
    };
    let url = format!("{scheme}://silo@{}/silo", listener.local_addr().unwrap());
    let child = Command::new(binary("silo-hub"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .env("SILO_HUB_DATABASE", url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child, listener)
}

fn wait(child: &mut std::process::Child, deadline: Duration) -> Option<i32> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it has not ended after {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_hub_can_be_stopped_while_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, listener) = start_in_vain(folder.path());
    let _connection = listener.accept().unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(wait(&mut child, ENDED), Some(0));
}

#[test]
fn a_hub_whose_server_never_answers_logs_it_and_exits() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, listener) = start_in_vain(folder.path());
    let _connection = listener.accept().unwrap();
    assert_eq!(wait(&mut child, PATIENCE), Some(1));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let at = listener.local_addr().unwrap().to_string();
    assert!(said.contains(&at) && said.contains("answered"), "{said}");
}

/// An SQLite file on a disk that takes its time, whatever `SILO_TEST_ON` names: a commit there can't be left
/// alone, but its callers need not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_to_a_stalled_disk_is_awaited_but_not_by_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let path = "/silos/office/records/db";
    assert_eq!(send(put(&admin, path, "10.0.0.1", None)).await.status, 201);
    assert_eq!(admin.get("/silos/office").await.0, 200);
    let mut stall = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync",
        ])
        .args(["-e", "inject=fsync,fdatasync:delay_enter=40000000"])
        .args(["-p", &hub.pid().to_string()])
        .spawn()
        .expect("strace is installed");
    // Every thread of the hub, or the one that writes might be missed.
    let tasks = format!("/proc/{}/task", hub.pid());
    until("strace holds the hub", async || {
        let mut threads = std::fs::read_dir(&tasks).unwrap().map_while(Result::ok);
        let is_held = |thread: std::fs::DirEntry| {
            let status = std::fs::read_to_string(thread.path().join("status"));
            status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        };
        threads.all(is_held).then_some(())
    })
    .await;
    let said = send(put(&admin, path, "10.0.0.2", None)).await;
    assert!(said.is_unknown(), "{said:?}");
    assert_eq!(admin.get("/readyz").await.0, 503);
    let pid = stall.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    stall.wait().unwrap();
    until("this hub's reads show the commit", async || {
        let (_, silo) = admin.get("/silos/office").await;
        (silo["dnsrecords"][0]["ip"] == "10.0.0.2").then_some(())
    })
    .await;
    assert_eq!(send(put(&admin, path, "10.0.0.3", None)).await.status, 200);
    assert_eq!(hub.stop(), Some(0));
}
