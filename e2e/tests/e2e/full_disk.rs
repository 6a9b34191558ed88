//! A hub whose disk is full: writes are refused and said to be, reads continue, nothing is lost, and with
//! room again everything is as before.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use silo_e2e::postgres::Postgres;
use silo_e2e::{Caller, Hub, binary};
use tokio::task::JoinSet;

/// The size of the small disks: SQLite's log has all migrations until it is emptied, PostgreSQL's empty database
/// has more than seven MiB.
const SQLITE_DISK: &str = "4m";
const POSTGRES_DISK: &str = "12m";
const WRITERS: usize = 16;
/// Tells a test that it runs in its own namespace.
const INSIDE: &str = "SILO_TEST_IN_NAMESPACE";

/// Runs this program's test `name` again in a mount namespace of its own, where it may mount what goes
/// with it; answers whether this is that run.
fn is_in_namespace(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let id = Command::new("id").arg("-u").output().unwrap();
    assert_eq!(id.stdout, b"0\n", "this test mounts: run it as root");
    let again = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("full_disk::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, error) = (text(&again.stdout), text(&again.stderr));
    assert!(
        again.status.success() && said.contains("1 passed"),
        "{said}{error}"
    );
    false
}

/// A small disk, which a file of zeros fills.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str, owner: Option<&str>) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(at);
        assert!(mount.status().unwrap().success(), "{mount:?}");
        if let Some(owner) = owner {
            let chown = Command::new("chown").arg(owner).arg(at).status();
            assert!(chown.unwrap().success());
        }
        Self(at.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        let error = std::iter::repeat_with(|| ballast.write_all(&[0; 4096]))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

/// A hub, and what it acknowledged: address and revision, oldest first.
struct Client {
    caller: Caller,
    written: Vec<(String, i64)>,
}

impl Client {
    async fn put(&self, number: usize) -> (u16, String, Value) {
        let ip = format!("10.0.{}.{}", number / 250, number % 250 + 1);
        let (status, body) = self.caller.put_ip("office", "db", &ip).await.unwrap();
        (status, ip, body)
    }

    /// Writes until the hub refuses; answers what it says.
    async fn write_until_refused(&mut self) -> Value {
        loop {
            let (status, ip, body) = self.put(self.written.len()).await;
            match status {
                200 | 201 => self.written.push((ip, body["revision"].as_i64().unwrap())),
                _ => {
                    assert_eq!(status, 503, "{body}");
                    return body;
                }
            }
            assert!(self.written.len() < 20_000, "the disk does not get full");
        }
    }

    async fn write(&mut self) {
        let (status, ip, body) = self.put(self.written.len()).await;
        assert_eq!(status, 200, "{body}");
        self.written.push((ip, body["revision"].as_i64().unwrap()));
    }

    /// What is read is exactly what was acknowledged.
    async fn check(&self) {
        let (status, silo) = self.caller.get("/silos/office").await;
        let (ip, revision) = self.written.last().unwrap();
        assert_eq!(status, 200, "{silo}");
        assert_eq!(silo["dnsrecords"][0]["ip"], *ip);
        assert_eq!(silo["revision"], *revision);
        let mut rows = Vec::new();
        let mut next = Some("/silos/office/history?limit=1000".to_owned());
        while let Some(path) = next {
            let request = self.caller.request(reqwest::Method::GET, &path);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            next = answer.headers().get("link").map(|link| {
                let link = link.to_str().unwrap();
                link[1..link.find('>').unwrap()].to_owned()
            });
            rows.extend(answer.json::<Vec<Value>>().await.unwrap());
        }
        let history: Vec<_> = rows
            .iter()
            .rev()
            .map(|row| {
                let ip = row["new_ip"].as_str().unwrap().to_owned();
                (ip, row["revision"].as_i64().unwrap())
            })
            .collect();
        assert_eq!(history, self.written);
    }
}

/// The error of a command that failed.
fn failure(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    error
}

/// What must be said where people look: that a disk is full, and which.
fn assert_said(text: &str, database: &str) {
    let said = text.lines().any(|line| {
        line.contains("the disk of the database")
            && line.contains(database)
            && line.contains("full")
    });
    let shown: Vec<_> = text
        .lines()
        .filter(|line| !line.contains(" DEBUG "))
        .collect();
    assert!(said, "{}", shown.join("\n"));
}

/// Fills the disk under a hub, looks what it does, and makes room again.
async fn endure(hub: &Hub, disk: &Disk, database: &str) -> Client {
    let mut client = Client {
        caller: Caller::new(hub, &hub.admin_token()),
        written: Vec::new(),
    };
    let (status, _) = client
        .caller
        .put_ip("home", "nas", "10.1.0.1")
        .await
        .unwrap();
    assert_eq!(status, 201);
    let (status, ip, body) = client.put(0).await;
    assert_eq!(status, 201);
    client
        .written
        .push((ip, body["revision"].as_i64().unwrap()));

    disk.fill();
    let problem = client.write_until_refused().await;
    assert_eq!(problem["type"], "/problems/unavailable");
    let inside = problem.to_string().to_lowercase();
    assert!(
        !inside.contains("sql") && !inside.contains("://"),
        "{inside}"
    );
    assert_said(&hub.log(), database);
    println!("{} writes, then: {problem}", client.written.len());
    client.check().await;
    // A silo that was not read before comes from the database.
    let (status, silo) = client.caller.get("/silos/home").await;
    assert_eq!(
        (status, &silo["dnsrecords"][0]["ip"]),
        (200, &"10.1.0.1".into())
    );
    // Reads continue; but a balancer's other hubs may take writes.
    assert_eq!(client.caller.get("/readyz").await.0, 503);
    assert_eq!(client.caller.get("/healthz").await.0, 200);
    // Writers that share a commit, too.
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let caller = client.caller.clone();
        let hostname = format!("h{number}");
        writers.spawn(async move { caller.put_ip("home", &hostname, "10.1.0.2").await });
    }
    while let Some(answer) = writers.join_next().await {
        assert_eq!(answer.unwrap().unwrap().0, 503);
    }
    assert_eq!(client.caller.get("/silos/home").await, (200, silo));

    disk.make_room();
    client.write().await;
    assert_eq!(client.caller.get("/readyz").await.0, 200);
    client.check().await;
    client
}

#[tokio::test]
async fn a_full_disk_under_sqlite_refuses_writes_and_loses_nothing() {
    if !is_in_namespace("a_full_disk_under_sqlite_refuses_writes_and_loses_nothing") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&folder.path().join("data"), SQLITE_DISK, None);
    let hub = Hub::start(folder.path());
    let file = hub.data_dir().join("hub.db").display().to_string();
    let mut client = endure(&hub, &disk, &file).await;

    // The command line beside it.
    disk.fill();
    client.write_until_refused().await;
    let token = ["token", "create", "--name", "nas", "--role", "admin"];
    assert_said(&failure(&hub.cli(&token)), &file);
    let list = hub.cli(&["token", "list"]);
    assert!(list.status.success());
    assert!(!String::from_utf8(list.stdout).unwrap().contains("nas"));

    // A hub that is killed and restarted on the full disk.
    hub.kill();
    let hub = Hub::start(folder.path());
    client.caller = Caller::new(&hub, &hub.admin_token());
    client.check().await;
    client.write_until_refused().await;
    disk.make_room();
    client.write().await;
    client.check().await;

    // A stopped hub leaves no files for the log behind: without room for new ones nothing starts.
    let data_dir = hub.data_dir().to_owned();
    assert_eq!(hub.stop(), Some(0));
    disk.fill();
    for arguments in [
        ["token", "list"].as_slice(),
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let output = Command::new(binary("silo-hub"))
            .args(arguments)
            .arg("--data-dir")
            .arg(&data_dir)
            .output()
            .unwrap();
        assert_said(&failure(&output), &file);
    }
    disk.make_room();
    let hub = Hub::start(folder.path());
    client.caller = Caller::new(&hub, &hub.admin_token());
    client.check().await;
}

#[tokio::test]
async fn a_full_disk_under_postgres_refuses_writes_and_loses_nothing() {
    if !is_in_namespace("a_full_disk_under_postgres_refuses_writes_and_loses_nothing") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = tempfile::tempdir().unwrap();
    let disk = Disk::mount(at.path(), POSTGRES_DISK, Some("postgres"));
    let postgres = Postgres::start();
    let database = postgres.database_in("silo", &disk.0);
    let hub = Hub::start_on(&database, &folder.path().join("hub.key"), folder.path());
    let shown = database.replace("silo@", "");
    endure(&hub, &disk, &shown).await;
}
