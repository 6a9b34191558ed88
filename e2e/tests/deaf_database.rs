//! A database whose connections go silent or break at each moment of a write, and a disk that stalls.
//! `SILO_TEST_ON` names the server; the tests of connections do nothing on SQLite, which has none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use silo_e2e::database::{Database, Kind};
use silo_e2e::forwarder::{Forwarder, How, Moment};
use silo_e2e::{Caller, Hub, PATIENCE, binary};

/// By when a caller has an answer: 15 s, and what a busy machine needs.
const ANSWERED: Duration = Duration::from_secs(20);
/// By when a hub that is asked to stop has ended: 10 s, and the same.
const ENDED: Duration = Duration::from_secs(15);
const TERMINATING: Duration = Duration::from_secs(20);

/// What a write was answered.
#[derive(Debug)]
struct Said {
    status: u16,
    etag: Option<String>,
    body: Value,
}

impl Said {
    fn is_unknown(&self) -> bool {
        self.status == 503 && self.body["type"] == "/problems/outcome-unknown"
    }

    fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

async fn send(request: RequestBuilder) -> Said {
    let began = Instant::now();
    let answer = request.send().await.expect("the hub answers");
    let status = answer.status().as_u16();
    let etag = answer.headers().get("etag");
    let etag = etag.map(|etag| etag.to_str().unwrap().to_owned());
    let body = answer.json().await.unwrap_or_default();
    assert!(
        began.elapsed() < ANSWERED,
        "answered {status} {body} only after {:?}",
        began.elapsed()
    );
    Said { status, etag, body }
}

fn put(caller: &Caller, path: &str, ip: &str, etag: Option<&str>) -> RequestBuilder {
    let request = caller.request(Method::PUT, path).json(&json!({ "ip": ip }));
    match etag {
        Some(etag) => request.header("if-match", etag),
        None => request,
    }
}

/// Asks again until the answer is as wished.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

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

/// One round: the connection breaks at the moment, under a write with `If-Match`, a removal and a new token.
/// Returns whether all three were done.
async fn one_break(scene: &Scene, moment: Moment, how: How, round: u8) -> bool {
    let Scene {
        admin, forwarder, ..
    } = scene;
    let what = format!("{moment:?} {how:?}");
    let (kept, gone) = (
        format!("/silos/kept-{round}/records/db"),
        format!("/silos/gone-{round}/records/db"),
    );
    let first = send(put(admin, &kept, "10.0.0.1", None)).await;
    assert_eq!(first.status, 201, "{what}: {first:?}");
    assert_eq!(send(put(admin, &gone, "10.0.0.1", None)).await.status, 201);

    forwarder.arm(moment, how);
    let new = json!({"name": format!("token-{round}"), "role": "admin"});
    let (written, removed, made) = tokio::join!(
        send(put(admin, &kept, "10.0.0.2", first.etag.as_deref())),
        send(admin.request(Method::DELETE, &gone)),
        send(admin.request(Method::POST, "/tokens").json(&new)),
    );
    assert!(forwarder.has_fired(), "{what}");
    // Writes go on, within 30 s of a network that heals at once.
    until("writes go on", async || {
        let said = send(put(
            admin,
            &format!("/silos/more/records/r{round}"),
            "10.0.0.9",
            None,
        ))
        .await;
        said.is_done().then_some(())
    })
    .await;

    for (said, done) in [(&written, 200), (&removed, 204), (&made, 201)] {
        assert!(
            said.status == done || said.status == 503,
            "{what}: {said:?}"
        );
    }
    let read = async |path: &str| {
        until("a read", async || {
            let (status, body) = admin.get(path).await;
            (status != 503).then_some((status, body))
        })
        .await
    };
    let is = |said: &Said, seen: bool, name: &str| {
        assert!(
            said.is_unknown() || said.is_done() == seen,
            "{what}: {name}: {said:?}, and it is {seen}"
        );
    };
    is(
        &written,
        read(&kept).await.1["ips"] == json!(["10.0.0.2"]),
        "the write",
    );
    is(&removed, read(&gone).await.0 == 404, "the removal");
    let tokens = read("/tokens").await.1;
    let name = format!("token-{round}");
    let live = tokens
        .as_array()
        .unwrap()
        .iter()
        .filter(|token| token["name"] == name.as_str());
    is(&made, live.count() == 1, "the token");
    if let Some(credential) = made.body["secret"].as_str() {
        assert_eq!(
            Caller::new(&scene.hub, credential).get("/tokens").await.0,
            200,
            "{what}"
        );
    } else {
        assert!(
            !made.is_done(),
            "{what}: a token without its secret: {}",
            made.status
        );
    }
    println!(
        "{what}: {} {} {}",
        written.status, removed.status, made.status
    );
    written.is_done() && removed.is_done() && made.is_done()
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
async fn a_hub_whose_database_is_silent_says_so_and_can_be_stopped() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_sessions_make_no_false_refusal() {
    let Some(scene) = Scene::begin() else { return };
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..6)
        .map(|number| {
            let (caller, over, done) = (scene.admin.clone(), Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                match number % 3 {
                    0 => count_up(&caller, number, &over, &done).await,
                    1 => make_and_remove(&caller, number, &over, &done).await,
                    _ => make_tokens(&caller, number, &over, &done).await,
                }
            })
        })
        .collect();
    let end = Instant::now() + TERMINATING;
    while Instant::now() < end {
        // Its own program takes long enough for some writes between two ends.
        scene.database.end_sessions();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    over.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    println!("{} writes were done", done.load(Ordering::Relaxed));
    assert!(done.load(Ordering::Relaxed) > 0);
    scene.end();
}

/// Writes with the tag of the last answer: nobody else writes there, so that it always holds.
async fn count_up(caller: &Caller, number: usize, over: &AtomicBool, done: &AtomicUsize) {
    let path = format!("/silos/count-{number}/records/db");
    let (mut etag, mut is_known): (Option<String>, bool) = (None, true);
    for round in 0_u32.. {
        if over.load(Ordering::Acquire) {
            return;
        }
        let ip = format!("10.{}.{}.1", round / 250 % 250, round % 250);
        let said = send(put(caller, &path, &ip, etag.as_deref())).await;
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
    let deadline = Instant::now() + PATIENCE;
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
fn a_hub_whose_server_never_answers_says_so_and_ends() {
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
