//! This version's programs on what released versions left: `e2e/fixtures`.
//!
//! `SILO_TEST_ON` says on which database, by
//! `scripts/test --on postgres upgrade::`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use silo_e2e::database::{Database, Kind};
use silo_e2e::{CLIENT, Caller, Hub, TRUSTS_LOOPBACK, binary, logs};

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/0.1.0")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(fixture(name)).unwrap()
}

/// Lets the tests name the address that a request is from.
fn trust_loopback(folder: &Path) {
    let config = folder.join("hub.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + TRUSTS_LOOPBACK).unwrap();
}

fn token(name: &str) -> String {
    read(&format!("tokens/{name}")).trim().to_owned()
}

fn expected() -> Value {
    serde_json::from_str(&read("expected.json")).unwrap()
}

/// Copies a folder of the fixture; the copies are their owner's alone, which Git does not keep.
fn copy(from: &Path, to: &Path) {
    private_folder(to);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let new = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &new);
        } else {
            fs::copy(entry.path(), &new).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn private_folder(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

/// A hub's folder as 0.1.0 left it, on the database that `SILO_TEST_ON` names.
struct Left {
    folder: tempfile::TempDir,
    database: Option<Database>,
}

impl Left {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        copy(&fixture("hub"), at);
        let data = at.join("data");
        private_folder(&data);
        let database = Database::create(Kind::chosen());
        match &database {
            None => fs::rename(at.join("hub.db"), data.join("hub.db")).unwrap(),
            Some(database) => database.load(&fixture(match Kind::chosen() {
                Kind::MariaDb => "mariadb.sql",
                _ => "postgres.sql",
            })),
        }
        fs::rename(at.join("hub.key"), data.join("hub.key")).unwrap();
        trust_loopback(at);
        logs::is_secret(token("update-key").as_str());
        Self { folder, database }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start(&self) -> Hub {
        let at = self.folder.path();
        match &self.database {
            None => Hub::start(at),
            Some(own) => Hub::start_on(own.url().as_str(), &self.data().join("hub.key"), at),
        }
    }
}

async fn pages(admin: &Caller, path: &str) -> Value {
    let mut rows = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let answer = admin.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let link = answer.headers().get("link");
        let link = link.map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        rows.extend(answer.json::<Vec<Value>>().await.unwrap());
    }
    rows.into()
}

/// Only the members of the older version: newer ones may be added.
fn like(expected: &Value, found: &Value) -> Value {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), like(value, found.get(key)?))))
            .collect(),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found);
            pairs
                .map(|(expected, found)| like(expected, found))
                .collect()
        }
        _ => found.clone(),
    }
}

fn assert_like(expected: &Value, found: &Value, what: &str) {
    assert_eq!(&like(expected, found), expected, "{what}");
}

async fn assert_silos(admin: &Caller) {
    let expected = expected();
    for silo in expected["silos"].as_array().unwrap() {
        let id = silo["silo"]["id"].as_str().unwrap();
        let path = format!("/silos/{id}");
        let answer = admin.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.headers()["etag"], silo["etag"].as_str().unwrap());
        assert_like(&silo["silo"], &answer.json().await.unwrap(), id);
    }
    let ids: Vec<_> = expected["silos"].as_array().unwrap().iter().collect();
    let listed = pages(admin, "/silos").await;
    assert_eq!(listed.as_array().unwrap().len(), ids.len(), "{listed}");
    for (id, rows) in expected["history"].as_object().unwrap() {
        let found = pages(admin, &format!("/silos/{id}/history?limit=1000")).await;
        assert_like(rows, &found, id);
    }
}

/// What does not travel by an export alone.
async fn assert_records(admin: &Caller) {
    for silo in expected()["silos"].as_array().unwrap() {
        let id = silo["silo"]["id"].as_str().unwrap();
        for record in silo["records"].as_array().unwrap() {
            let hostname = record["hostname"].as_str().unwrap();
            let (_, found) = admin.get(&format!("/silos/{id}/records/{hostname}")).await;
            assert_like(record, &found, hostname);
        }
    }
}

async fn assert_credentials(hub: &Hub) {
    let admin = Caller::new(hub, &token("admin"));
    let mut tokens = expected()["tokens"].clone();
    for token in tokens.as_array_mut().unwrap() {
        // It has been used since.
        token.as_object_mut().unwrap().remove("last_used_at");
    }
    // 0.1.0 listed them in the order in which they were made.
    let by_id = |token: &Value| token["id"].as_str().unwrap().to_owned();
    tokens.as_array_mut().unwrap().sort_by_key(by_id);
    assert_like(&tokens, &pages(&admin, "/tokens").await, "tokens");
    for (name, silo, status) in [
        ("admin", "lab", 200),
        ("writer", "office", 200),
        ("writer", "lab", 404),
        ("reader", "office", 200),
        ("rotated", "lab", 200),
        ("revoked", "office", 401),
    ] {
        let caller = Caller::new(hub, &token(name));
        let path = format!("/silos/{silo}");
        assert_eq!(caller.get(&path).await.0, status, "{name} on {silo}");
    }
    let key = token("update-key");
    for path in [
        format!("/u/{key}"),
        "/update?secid=secid-of-the-fixture&host=pi.dyn.example.net".to_owned(),
    ] {
        let url = format!("{}{path}", hub.url());
        let answer = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let answer = answer.get(url).header("x-forwarded-for", CLIENT);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

/// Done deliveries stay done, pending ones stay pending.
async fn assert_deliveries(admin: &Caller) {
    let expected = expected()["deliveries"].take();
    let found = pages(admin, "/deliveries?limit=1000").await;
    let done = |rows: &Value, sink: &str| -> Vec<Value> {
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["sink"] == sink && row["state"] == "done")
            .map(|row| json!([row["id"], row["revision"], row["done_at"]]))
            .collect()
    };
    let owed = |rows: &Value, sink: &str| -> Vec<Value> {
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["sink"] == sink && row["state"] == "pending")
            .map(|row| {
                json!([
                    row["id"],
                    row["event"],
                    row["silo"],
                    row["revision"],
                    row["at"]
                ])
            })
            .collect()
    };
    for sink in ["taken", "provider"] {
        assert_eq!(done(&found, sink), done(&expected, sink), "{sink}");
        assert!(!done(&found, sink).is_empty() && owed(&found, sink).is_empty());
    }
    assert_eq!(owed(&found, "away"), owed(&expected, "away"));
    assert!(!owed(&found, "away").is_empty());
    // A state sink publishes the current state: the number of rows does not matter.
    let newest = |rows| {
        let rows = owed(rows, "provider-away");
        let newest = rows.into_iter().max_by_key(|row| row[3].as_i64());
        newest.map(|row| json!([row[2], row[3]]))
    };
    assert_eq!(newest(&found), newest(&expected));
    assert!(newest(&found).is_some());
}

#[tokio::test]
async fn a_hub_finds_everything_that_an_older_version_stored() {
    let left = Left::new();
    // Twice, since the first start migrates.
    for _ in 0..2 {
        let hub = left.start();
        let admin = Caller::new(&hub, &token("admin"));
        assert_silos(&admin).await;
        assert_records(&admin).await;
        assert_deliveries(&admin).await;
        assert_eq!(hub.stop(), Some(0));
    }
    let hub = left.start();
    assert_credentials(&hub).await;
    // The two keys have set what they are for, and nothing else.
    let admin = Caller::new(&hub, &token("admin"));
    for (silo, hostname) in [("office", "printer"), ("home", "pi.dyn.example.net")] {
        let (_, silo) = admin.get(&format!("/silos/{silo}/history?limit=1")).await;
        let row = &silo[0];
        let told = [&row["hostname"], &row["old_ip"], &row["new_ip"]];
        assert_eq!(told, [hostname, "127.0.0.1", CLIENT], "{silo}");
    }
    let writer = Caller::new(&hub, &token("writer"));
    let (status, record) = writer.put_ip("office", "nas", "10.0.0.8").await.unwrap();
    assert_eq!(status, 200);
    let last = expected()["silos"]
        .as_array()
        .unwrap()
        .iter()
        .map(revision)
        .max();
    assert!(record["revision"].as_i64() > last, "{record}");
}

fn revision(silo: &Value) -> i64 {
    silo["silo"]["revision"].as_i64().unwrap()
}

#[tokio::test]
async fn an_older_versions_export_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create(Kind::chosen());
    let data = folder.path().join("data");
    private_folder(&data);
    let key = data.join("hub.key");
    fs::copy(fixture("hub/hub.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["hub.yaml", "webhook.secret", "provider.password"] {
        let new = folder.path().join(name);
        fs::copy(fixture("hub").join(name), &new).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    }
    trust_loopback(folder.path());
    logs::is_secret(token("update-key").as_str());
    let mut import = Command::new(binary("silo-hub"));
    import.args(["silo", "import"]).arg(fixture("export.jsonl"));
    import
        .arg("--data-dir")
        .arg(&data)
        .env_remove("SILO_HUB_DATABASE");
    if let Some(database) = &database {
        import.env("SILO_HUB_DATABASE", database.url().as_str());
    }
    done(&import.output().unwrap());
    let hub = match &database {
        None => Hub::start(folder.path()),
        Some(own) => Hub::start_on(own.url().as_str(), &key, folder.path()),
    };
    assert_silos(&Caller::new(&hub, &token("admin"))).await;
    assert_credentials(&hub).await;
}

fn done(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    out
}

/// The first sixteen digits by which the downstream agent names what it remembers.
fn name_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Every file below a folder, and what is in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_agents_go_on_from_what_an_older_version_left() {
    let left = Left::new();
    let hub = left.start();
    let old_url = read("upstream/upstream.yaml");
    let old_url = old_url
        .lines()
        .next()
        .unwrap()
        .strip_prefix("hub: ")
        .unwrap();
    let upstream = left.folder.path().join("upstream");
    let downstream = left.folder.path().join("downstream");
    copy(&fixture("upstream"), &upstream);
    copy(&fixture("downstream"), &downstream);
    // The hub has another address than the one of the fixture, and the hosts file another path.
    for file in [
        upstream.join("upstream.yaml"),
        downstream.join("downstream.yaml"),
    ] {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old_url), "{text}");
        fs::write(&file, text.replace(old_url, hub.url())).unwrap();
    }
    let state = downstream.join("state");
    let remembered = state.join(format!("silo-office-{}.json", name_of(old_url)));
    let text = fs::read_to_string(&remembered).unwrap();
    assert!(text.contains(old_url), "{text}");
    fs::remove_file(&remembered).unwrap();
    let remembered = state.join(format!("silo-office-{}.json", name_of(hub.url())));
    fs::write(&remembered, text.replace(old_url, hub.url())).unwrap();

    let agent = |program: &str, folder: &Path, words: &[&str]| {
        let mut command = Command::new(binary(program));
        command.current_dir(folder).args(words);
        done(&logs::run(&mut command))
    };
    let before = (contents(&upstream), contents(&downstream.join("state")));
    let hosts = fs::read(downstream.join("hosts")).unwrap();
    let said = agent("silo-upstream", &upstream, &["--config", "upstream.yaml"]);
    assert!(said.contains("unchanged"), "{said}");
    let words = ["--config", "downstream.yaml", "--quiet", "once"];
    assert_eq!(agent("silo-downstream", &downstream, &words), "");
    assert_eq!(fs::read(downstream.join("hosts")).unwrap(), hosts);
    assert_eq!(contents(&upstream), before.0);
    let kept = contents(&downstream.join("state"));
    for file in &before.1 {
        assert!(kept.contains(file), "{}", file.0.display());
    }
    assert_silos(&Caller::new(&hub, &token("admin"))).await;

    // And they keep working: a change gets into the hosts file.
    let config = upstream.join("upstream.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("10.0.0.7", "10.0.0.8")).unwrap();
    let said = agent("silo-upstream", &upstream, &["--config", "upstream.yaml"]);
    assert!(said.contains("10.0.0.8"), "{said}");
    agent("silo-downstream", &downstream, &words);
    let hosts = fs::read_to_string(downstream.join("hosts")).unwrap();
    assert!(hosts.contains("10.0.0.8 nas"), "{hosts}");
}
