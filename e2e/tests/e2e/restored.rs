//! A database that was put back by its own tools, and `silo-hub restored` after it: ETags, the tokens and views of hubs
//! that run, a DNS server, and signed requests from before.
//!
//! `SILO_TEST_ON` says on which database: an SQLite file by copying it, PostgreSQL by `pg_dump` and `pg_restore`, MariaDB by
//! `mariadb-dump` and `mariadb`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::database::{Database, Kind};
use silo_e2e::dns::{DnsServer, Program, ZONE};
use silo_e2e::interceptor::{Interceptor, send};
use silo_e2e::{Caller, Hub, binary, logs, until, write_private};

/// A hub's folder and its database.
struct Place {
    folder: tempfile::TempDir,
    database: Option<Database>,
}

impl Place {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
        Self {
            folder,
            database: Database::create(Kind::chosen()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        match &self.database {
            Some(database) => database.url().to_string(),
            None => format!("sqlite:{}", self.path("data/hub.db").display()),
        }
    }

    fn start(&self) -> Hub {
        let key = self.path("data/hub.key");
        Hub::start_on(&self.url(), &key, self.folder.path())
    }

    /// The command line, whether a hub runs or not.
    fn cli(&self, arguments: &[&str]) -> Output {
        let output = Command::new(binary("silo-hub"))
            .args(arguments)
            .arg("--data-dir")
            .arg(self.path("data"))
            .env("SILO_HUB_DATABASE", self.url())
            .output();
        output.unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn copy(&self) -> PathBuf {
        let file = self.path("copy");
        match &self.database {
            Some(database) => database.dump(&file),
            None => {
                self.done(&["backup", file.to_str().unwrap()]);
            }
        }
        file
    }

    /// Puts a copy back as an administrator does; an SQLite file only while no hub serves.
    fn put_back(&self, copy: &Path) {
        match &self.database {
            Some(database) => database.put_back(copy),
            None => {
                std::fs::copy(copy, self.path("data/hub.db")).unwrap();
            }
        }
    }
}

async fn put(admin: &Caller, hostname: &str, ip: &str) {
    let (status, body) = admin.put_ip("office", hostname, ip).await.unwrap();
    assert!(matches!(status, 200 | 201), "{body}");
}

async fn address(admin: &Caller, hostname: &str) -> Value {
    let path = format!("/silos/office/records/{hostname}");
    admin.get(&path).await.1["ips"].clone()
}

fn sink(server: &DnsServer) -> String {
    let own = server.folder().display();
    let keys = server
        .sink()
        .replace("secret_file: ", &format!("secret_file: {own}/"));
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("sinks:\n  - name: dns\n    kind: rfc2136\n{keys}")
}

#[tokio::test]
async fn after_a_restored_dump_the_zone_is_corrected_and_no_etag_is_reused() {
    let server = DnsServer::start(Program::Bind);
    let place = Place::new(&sink(&server));
    let name = format!("db.{ZONE}");
    let answers = async |ip: &str| {
        until(ip, async || {
            (server.lookup(&name, "A") == [ip]).then_some(())
        })
        .await;
    };
    let hub = place.start();
    let admin = Caller::new(&hub, &hub.admin_token());
    put(&admin, "db", "192.0.2.10").await;
    answers("192.0.2.10").await;
    until("nothing is owed", async || {
        let owed = admin.get("/deliveries?state=pending").await;
        (owed.1 == json!([])).then_some(())
    })
    .await;
    let copy = place.copy();
    put(&admin, "db", "192.0.2.11").await;
    answers("192.0.2.11").await;
    let (_, newest) = admin.get("/silos/office").await;
    assert_eq!(hub.stop(), Some(0));
    place.put_back(&copy);
    let said = place.done(&["restored"]);
    assert!(said.contains("revisions continue above"), "{said}");
    let hub = place.start();
    let admin = Caller::new(&hub, &hub.admin_token());
    assert_eq!(address(&admin, "db").await, json!(["192.0.2.10"]));
    answers("192.0.2.10").await;
    put(&admin, "db", "192.0.2.12").await;
    let (_, next) = admin.get("/silos/office").await;
    assert!(next["revision"].as_i64() > newest["revision"].as_i64());
    answers("192.0.2.12").await;
}

#[tokio::test]
async fn a_running_hub_drops_its_caches_when_its_database_is_restored() {
    let place = Place::new("");
    let mut hub = place.start();
    let mut admin = Caller::new(&hub, &hub.admin_token());
    put(&admin, "db", "10.0.0.1").await;
    let copy = place.copy();
    put(&admin, "db", "10.0.0.2").await;
    let arguments = ["--name", "late", "--role", "read", "--silo", "office"];
    let late = hub.token(&arguments);
    let reader = Caller::new(&hub, &late);
    assert_eq!(reader.get("/silos/office").await.0, 200);
    assert_eq!(address(&admin, "db").await, json!(["10.0.0.2"]));
    let (_, newest) = admin.get("/silos/office").await;
    let newest = newest["revision"].as_i64().unwrap();
    // Nothing may replace an SQLite file beside a hub that has it open.
    if Kind::chosen() == Kind::Sqlite {
        assert_eq!(hub.stop(), Some(0));
        place.put_back(&copy);
        hub = place.start();
        admin = Caller::new(&hub, &hub.admin_token());
    } else {
        place.put_back(&copy);
    }
    place.done(&["restored"]);
    let reader = reader.at(hub.url());
    until("the view is dropped", async || {
        let (_, silo) = admin.get("/silos/office").await;
        let expected = json!([{"hostname": "db", "ip": "10.0.0.1"}]);
        (silo["dnsrecords"] == expected).then_some(())
    })
    .await;
    until("the tokens are dropped", async || {
        (reader.get("/silos/office").await.0 == 401).then_some(())
    })
    .await;
    put(&admin, "db", "10.0.0.3").await;
    let (_, next) = admin.get("/silos/office").await;
    assert!(next["revision"].as_i64() > Some(newest));
    // A resumed stream gets a reset.
    let resumed = admin
        .request(Method::GET, "/events")
        .header("last-event-id", newest.to_string());
    let mut response = resumed.send().await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    let first = String::from_utf8_lossy(&first).into_owned();
    assert!(first.starts_with("event: reset"), "{first}");
}

#[tokio::test]
async fn requests_recorded_before_a_restore_can_not_be_replayed() {
    let place = Place::new("trusted_proxies: [127.0.0.0/8]\n");
    let hub = place.start();
    let admin = Caller::new(&hub, &hub.admin_token());
    put(&admin, "db", "10.0.0.1").await;
    let credential = hub.token(&["--name", "m", "--role", "write", "--silo", "office"]);
    write_private(&place.path("token"), &credential);
    let copy = place.copy();
    let interceptor = Interceptor::start(hub.url());
    let mut upstream = Command::new(binary("silo-upstream"));
    upstream
        .args([
            "--hub",
            &interceptor.url(),
            "--silo",
            "office",
            "--token-file",
        ])
        .arg(place.path("token"))
        .args(["--hostnames", "nas", "once"]);
    let output = logs::run(&mut upstream);
    assert!(output.status.success(), "{output:?}");
    let session = interceptor.take();
    assert!(
        session
            .iter()
            .any(|exchange| exchange.line().starts_with("PUT "))
    );
    let listens = hub.url().trim_start_matches("http://").to_owned();
    let key = place.path("data/hub.key");
    assert_eq!(hub.stop(), Some(0));
    place.put_back(&copy);
    place.done(&["restored"]);
    // Where it was, since a signature names the host.
    let hub = Hub::start_at(&listens, &place.url(), &key, place.folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    for exchange in &session {
        let answer = send(listens.parse().unwrap(), &exchange.request).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 401") && answer.contains("/problems/order"),
            "{}: {answer}",
            exchange.line()
        );
    }
    assert_eq!(admin.get("/silos/office/records/nas").await.0, 404);
}
