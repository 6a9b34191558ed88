//! Copies of the database made beside a running hub, and put back.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::Value;
use silo_e2e::{Caller, Hub, binary};

fn cli(data_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(binary("silo-hub"))
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap()
}

fn done(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

fn refused(output: &Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

fn names(folder: &Path) -> HashSet<String> {
    let names = std::fs::read_dir(folder).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

async fn tag(caller: &Caller, path: &str) -> String {
    let answer = caller.request(Method::GET, path).send().await.unwrap();
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_is_whole_and_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    let writer = tokio::spawn({
        let admin = admin.clone();
        async move {
            for round in 0_u32.. {
                let ip = std::net::Ipv4Addr::from(0x0a00_0002 + round).to_string();
                let answer = admin.put_ip("office", "db", &ip).await;
                assert_eq!(answer.unwrap().0, 200);
            }
        }
    });
    let mut rows = 0;
    for round in 0..10 {
        let file = folder.path().join(format!("{round}.db"));
        let name = file.to_str().unwrap();
        done(&hub.cli(&["backup", name]));
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let error = refused(&hub.cli(&["backup", name]), 1);
        assert!(error.contains(name), "{error}");
        let other = folder.path().join(format!("{round}"));
        done(&cli(&other, &["restore", name]));
        let export = cli(&other, &["silo", "export", "--no-tokens"]);
        let lines: Vec<Value> = String::from_utf8(export.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let newest = &lines[lines.len() - 2]["history"];
        assert_eq!(lines[1]["silo"]["revision"], newest["revision"]);
        assert_eq!(lines[1]["silo"]["records"][0]["ips"][0], newest["new_ip"]);
        assert!(lines.len() >= rows);
        rows = lines.len();
    }
    assert!(rows > 4, "the writer writes meanwhile");
    writer.abort();
    assert!(
        names(folder.path())
            .iter()
            .all(|name| !name.contains("part"))
    );
}

#[tokio::test]
async fn no_tag_handed_out_before_a_restore_matches_anything_new() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    let backup = folder.path().join("old.db");
    let backup = backup.to_str().unwrap();
    done(&hub.cli(&["backup", backup]));
    let backed_up = tag(&admin, "/silos/office").await;
    let mut tags = HashSet::new();
    for host in 2..30 {
        let ip = format!("10.0.0.{host}");
        admin.put_ip("office", "db", &ip).await.unwrap();
        tags.insert(tag(&admin, "/silos/office").await);
        tags.insert(tag(&admin, "/silos/office/records/db").await);
    }
    let token = hub.token(&["--name", "late", "--role", "read", "--silo", "office"]);
    let error = refused(&hub.cli(&["restore", backup]), 1);
    assert!(error.contains("another silo-hub serves"), "{error}");
    let data_dir = hub.data_dir().to_owned();
    assert_eq!(hub.stop(), Some(0));
    std::fs::write(data_dir.join("hub.db.restoring"), "left by a killed run").unwrap();
    done(&cli(&data_dir, &["restore", backup]));
    let left = names(&data_dir);
    let aside: Vec<_> = left
        .iter()
        .filter(|name| name.contains(".before-"))
        .collect();
    assert_eq!(aside.len(), 1, "{left:?}");
    assert!(!left.contains("hub.db.restoring"), "{left:?}");

    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    assert_eq!(Caller::new(&hub, &token).get("/silos/office").await.0, 401);
    // What was backed up is what it was, by its own tag; every later tag is of nothing.
    assert_eq!(tag(&admin, "/silos/office").await, backed_up);
    let matches = async |tag: &str, path: &str| {
        let request = admin
            .request(Method::GET, path)
            .header("if-none-match", tag);
        request.send().await.unwrap().status().as_u16() == 304
    };
    for host in 2..12 {
        for tag in &tags {
            assert!(!matches(tag, "/silos/office").await, "{tag}");
            assert!(!matches(tag, "/silos/office/records/db").await, "{tag}");
        }
        let ip = format!("10.9.0.{host}");
        admin.put_ip("office", "db", &ip).await.unwrap();
        assert!(!tags.contains(&tag(&admin, "/silos/office").await));
    }
    assert_eq!(hub.stop(), Some(0));
    // The way back from the way back.
    let aside = data_dir.join(aside[0]);
    done(&cli(&data_dir, &["restore", aside.to_str().unwrap()]));
    let export = cli(&data_dir, &["silo", "export"]);
    let export = String::from_utf8(export.stdout).unwrap();
    assert!(export.contains("10.0.0.29") && !export.contains("10.9.0."));
}

#[tokio::test]
async fn a_file_that_is_not_a_backup_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    for host in 1..40 {
        let name = format!("h{host}");
        admin.put_ip("office", &name, "10.0.0.1").await.unwrap();
    }
    let good = folder.path().join("good.db");
    done(&hub.cli(&["backup", good.to_str().unwrap()]));
    let data_dir = hub.data_dir().to_owned();
    assert_eq!(hub.stop(), Some(0));
    let before = cli(&data_dir, &["silo", "export"]).stdout;
    let files = names(&data_dir);
    let good = std::fs::read(good).unwrap();
    let mut damaged = good.clone();
    // The pages behind the first, which holds the schema.
    damaged[4096..].fill(0x5a);
    let cases: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("text", b"SQLite, but not really"),
        ("short", &good[..5000]),
        ("damaged", &damaged),
        ("magic", b"SQLite format 3\0"),
    ];
    for (name, bytes) in cases {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let output = cli(&data_dir, &["restore", file.to_str().unwrap()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{name}: {error}"
        );
        assert_eq!(names(&data_dir), files, "{name}: {error}");
        assert_eq!(cli(&data_dir, &["silo", "export"]).stdout, before, "{name}");
    }
    for missing in ["/does/not/exist", "/"] {
        let error = refused(&cli(&data_dir, &["restore", missing]), 1);
        assert!(error.contains(missing), "{error}");
    }
}

#[tokio::test]
async fn a_broken_database_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    let backup = folder.path().join("good.db");
    let backup = backup.to_str().unwrap();
    done(&hub.cli(&["backup", backup]));
    let data_dir = hub.data_dir().to_owned();
    let mut hub = hub;
    // What is in the database's place; `None`: nothing.
    for broken in [Some("no database".repeat(1000)), Some(String::new()), None] {
        hub.kill();
        let file = data_dir.join("hub.db");
        match &broken {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        assert!(
            data_dir.join("hub.db-wal").exists(),
            "a kill leaves the log"
        );
        done(&cli(&data_dir, &["restore", backup]));
        hub = Hub::start(folder.path());
        let admin = Caller::new(&hub, &hub.admin_token());
        let (status, body) = admin.get("/silos/office").await;
        assert_eq!(
            (status, &body["dnsrecords"][0]["ip"]),
            (200, &"10.0.0.1".into()),
            "{broken:?}"
        );
    }
}

#[tokio::test]
async fn what_has_no_file_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy");
    for command in ["backup", "restore"] {
        let url = "postgres://silo:secret@db.lan/silo";
        let arguments = [command, file.to_str().unwrap(), "--database", url];
        let error = refused(&cli(folder.path(), &arguments), 2);
        assert!(
            error.contains("pg_dump") && error.contains("mariadb-dump"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
    let nowhere = folder.path().join("nowhere");
    refused(&cli(&nowhere, &["backup", file.to_str().unwrap()]), 2);
    assert!(!nowhere.exists() && !file.exists());
}

/// SQLite applies the log to whatever file lies beside it.
#[tokio::test]
async fn a_copy_put_beside_the_log_of_another_file_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let copy = folder.path().join("copy.db");
    let backup = hub.cli(&["backup", copy.to_str().unwrap()]);
    assert!(backup.status.success(), "{backup:?}");
    for number in 0..200 {
        let silo = format!("office{number}");
        admin.put_ip(&silo, "db", "10.0.0.5").await.unwrap();
    }
    let data_dir = hub.data_dir().to_owned();
    hub.kill();
    std::fs::copy(&copy, data_dir.join("hub.db")).unwrap();
    let output = Command::new(binary("silo-hub"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("hub.db-wal") && error.contains("silo-hub restore"),
        "{error}"
    );
}
