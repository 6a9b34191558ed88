//! How a hub starts: the first admin token, the hub's key, the data directory's lock, and what a
//! restart keeps.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use reqwest::Method;
use serde_json::json;
use silo_hub::domain::time::Clock;
use silo_hub::settings::HubSettings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{DEADLINE, START_MS, TestHub, listener, raw_status, revision, settings};

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .expect("the file is there")
        .permissions()
        .mode()
        & 0o777
}

/// A folder with the settings of a hub in it.
fn folder() -> (Arc<TempDir>, HubSettings) {
    let dir = Arc::new(TempDir::new().expect("a folder can be made"));
    let settings = settings(dir.path());
    std::fs::create_dir(&settings.data_dir).expect("it is new");
    (dir, settings)
}

/// Why a hub on these settings does not start.
async fn refusal(settings: &HubSettings) -> String {
    let clock = Clock::Set(Arc::new(AtomicI64::new(START_MS)));
    let run = silo_hub::run(listener(), settings.clone(), clock, std::future::pending());
    tokio::time::timeout(DEADLINE, run)
        .await
        .expect("it gives up in time")
        .expect_err("it must not start")
        .to_string()
}

/// What the program does with these settings.
async fn program(settings: &HubSettings, words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_silo-hub"));
    command
        .kill_on_drop(true)
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&settings.data_dir)
        .args(words);
    tokio::time::timeout(DEADLINE, command.output())
        .await
        .expect("it ends in time")
        .expect("it can be run")
}

#[tokio::test]
async fn a_first_start_leaves_an_admin_token_for_its_owner() {
    let hub = TestHub::start().await;
    let file = hub.read("admin.token");
    let credential = file.trim_end();
    assert!(credential.starts_with("silo_"));
    assert_eq!(credential.len(), "silo_".len() + 10 + 1 + 43);
    #[cfg(unix)]
    {
        assert_eq!(mode(&hub.data("admin.token")), 0o600);
        assert_eq!(mode(&hub.data("hub.key")), 0o600);
    }
    let answer = hub
        .open_call(Method::GET, "/tokens")
        .bearer(credential)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()[0]["role"], "admin");
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let hub = TestHub::start().await;
    let silo = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.put("/silos/office/records/db")
        .json(&json!({"comment": "rack 3"}))
        .await;
    let silo_now = hub.get("/silos/office").await;
    let record = hub.get("/silos/office/records/db").await;
    let history = hub.history("office").await;
    let (token, key) = (hub.read("admin.token"), hub.read("hub.key"));
    let reader = hub.credential("read", &["office"], &[]).await;

    let hub = hub.restart().await;
    assert_eq!(hub.read("admin.token"), token);
    assert_eq!(hub.read("hub.key"), key);
    let read = hub.get("/silos/office").await;
    assert_eq!((&read.body, read.etag()), (&silo_now.body, silo_now.etag()));
    assert_eq!(hub.get("/silos/office/records/db").await.body, record.body);
    assert_eq!(hub.history("office").await, history);
    let answer = hub
        .open_call(Method::GET, "/silos/office")
        .bearer(&reader)
        .await;
    assert_eq!(answer.status, 200);
    let next = hub.put_silo("other", &[]).await;
    assert!(revision(&next.json()) > revision(&silo_now.json()));
    assert!(revision(&silo_now.json()) > revision(&silo.json()));
}

#[tokio::test]
async fn another_databases_token_is_not_valid_and_left_alone() {
    let other = TestHub::start().await;
    let hub = TestHub::start().await;
    let own = hub.admin.clone();
    std::fs::copy(other.data("admin.token"), hub.data("admin.token")).unwrap();
    let hub = hub.restart().await;
    assert_eq!(hub.admin, other.admin);
    assert_eq!(hub.get("/silos").await.status, 401);
    let answer = hub.open_call(Method::GET, "/tokens").bearer(&own).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_whole_credential_that_lies_there_is_taken() {
    let (dir, settings) = folder();
    let credential = format!("silo_abcdefgh12_{}", "Ab-_9".repeat(9).get(..43).unwrap());
    let file = settings.data_dir.join("admin.token");
    std::fs::write(&file, format!("{credential}\n")).unwrap();
    let hub = TestHub::start_in(dir, settings).await;
    assert_eq!(hub.read("admin.token"), format!("{credential}\n"));
    let answer = hub
        .open_call(Method::GET, "/tokens")
        .bearer(&credential)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()[0]["id"], "abcdefgh12");
    assert_eq!(answer.json()[0]["role"], "admin");
}

#[tokio::test]
async fn a_broken_token_file_is_made_anew() {
    for broken in [
        "",
        "\n",
        "silo_abcdefgh12_half",
        "silo_",
        "something else\n",
    ] {
        let (dir, settings) = folder();
        let file = settings.data_dir.join("admin.token");
        std::fs::write(&file, broken).unwrap();
        let hub = TestHub::start_in(dir, settings).await;
        assert_ne!(hub.read("admin.token"), broken);
        #[cfg(unix)]
        assert_eq!(mode(&file), 0o600);
        assert_eq!(hub.get("/tokens").await.status, 200, "{broken:?}");
    }
}

#[tokio::test]
async fn a_hub_whose_tokens_were_all_revoked_makes_no_new_one() {
    let hub = TestHub::start().await;
    let id = hub.admin.split('_').nth(1).unwrap().to_owned();
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    std::fs::remove_file(hub.data("admin.token")).unwrap();
    let hub = hub.restart().await;
    assert!(!hub.data("admin.token").exists());
    // A revoked one that still lies there is not valid either.
    std::fs::write(
        hub.data("admin.token"),
        format!("silo_{id}_{}", "x".repeat(43)),
    )
    .unwrap();
    let hub = hub.restart().await;
    assert_eq!(hub.get("/tokens").await.status, 401);
}

#[tokio::test]
async fn a_moved_token_file_is_not_made_again() {
    let hub = TestHub::start().await;
    let admin = hub.admin.clone();
    std::fs::remove_file(hub.data("admin.token")).unwrap();
    let hub = hub.restart().await;
    assert!(!hub.data("admin.token").exists());
    let answer = hub.open_call(Method::GET, "/tokens").bearer(&admin).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_missing_or_other_key_stops_the_start_and_says_what_to_do() {
    let other = TestHub::start().await;
    let hub = TestHub::start().await;
    let admin = hub.admin.clone();
    let good = hub.read("hub.key");
    let (dir, settings) = hub.stop().await;
    let file = settings.data_dir.join("hub.key");
    for (case, text) in [
        ("missing", None),
        ("other", Some(other.read("hub.key"))),
        ("broken", Some("no key\n".to_owned())),
        ("empty", Some(String::new())),
    ] {
        match &text {
            None => std::fs::remove_file(&file).unwrap(),
            Some(text) => std::fs::write(&file, text).unwrap(),
        }
        let said = refusal(&settings).await;
        for word in [file.to_str().unwrap(), "key_file", "silo-hub key reset"] {
            assert!(said.contains(word), "{case}: no {word} in: {said}");
        }
        for words in [
            ["serve"].as_slice(),
            &["token", "create", "--name", "x", "--role", "admin"],
        ] {
            let output = program(&settings, words).await;
            assert_eq!(
                output.status.code(),
                Some(2),
                "{case} {words:?}: {output:?}"
            );
            let said = String::from_utf8_lossy(&output.stderr);
            for word in [file.to_str().unwrap(), "key_file", "silo-hub key reset"] {
                assert!(said.contains(word), "{case}: no {word} in: {said}");
            }
        }
        // Nothing was put in its place.
        assert_eq!(std::fs::read_to_string(&file).ok(), text, "{case}");
    }
    std::fs::write(&file, good).unwrap();
    let hub = TestHub::start_in(dir, settings).await;
    let answer = hub.open_call(Method::GET, "/tokens").bearer(&admin).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_key_reset_bearer_and_basic_go_on() {
    let hub = TestHub::start().await;
    let old = hub.read("hub.key");
    let (dir, settings) = hub.stop().await;
    std::fs::remove_file(settings.data_dir.join("hub.key")).unwrap();
    let output = program(&settings, &["key", "reset"]).await;
    assert!(output.status.success(), "{output:?}");
    let hub = TestHub::start_in(dir, settings).await;
    assert_ne!(hub.read("hub.key"), old);
    #[cfg(unix)]
    assert_eq!(mode(&hub.data("hub.key")), 0o600);
    assert_eq!(hub.get("/tokens").await.status, 200);
}

#[tokio::test]
async fn the_key_may_lie_elsewhere() {
    let (dir, mut settings) = folder();
    let elsewhere = dir.path().join("shared.key");
    settings.key_file = Some(elsewhere.clone());
    let hub = TestHub::start_in(dir, settings).await;
    assert!(!hub.data("hub.key").exists());
    #[cfg(unix)]
    assert_eq!(mode(&elsewhere), 0o600);
    let hub = hub.restart().await;
    assert_eq!(hub.get("/tokens").await.status, 200);
    let (_dir, mut settings) = hub.stop().await;
    settings.key_file = None;
    let said = refusal(&settings).await;
    assert!(said.contains("silo-hub key reset"), "{said}");
}

#[tokio::test]
async fn a_second_hub_on_one_data_directory_is_refused() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let said = refusal(&hub.settings).await;
    assert!(
        said.contains(hub.settings.data_dir.to_str().unwrap()),
        "{said}"
    );
    let output = program(&hub.settings, &["serve"]).await;
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    // The first one goes on.
    assert_eq!(hub.get("/silos/office").await.body, made.body);
    assert_eq!(hub.put_silo("office", &[]).await.status, 200);
    // And once it has ended, another one may.
    let hub = hub.restart().await;
    assert_eq!(hub.get("/silos/office").await.status, 200);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_stop() {
    let hub = TestHub::start().await;
    let mut last = String::new();
    for number in 1..=20 {
        let answer = hub
            .put_silo("office", &[("db", &format!("10.0.0.{number}"))])
            .await;
        last = answer.etag();
    }
    let hub = hub.restart().await;
    assert_eq!(hub.get("/silos/office").await.etag(), last);
}

#[tokio::test]
async fn a_stopping_hub_finishes_what_runs() {
    let hub = TestHub::start().await;
    let address = hub.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = r#"{"ip":"10.0.0.5"}"#;
    let head = format!(
        "PUT /silos/office/records/db HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        hub.admin,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The hub asks for the body: it has begun.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let stopping = tokio::spawn(hub.stop());
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, refused)
        .await
        .expect("the hub stops to listen in time");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(raw_status(&answer), 201, "{answer}");
    let (dir, settings) = stopping.await.unwrap();
    let hub = TestHub::start_in(dir, settings).await;
    let record = hub.get("/silos/office/records/db").await.json();
    assert_eq!(record["ips"], json!(["10.0.0.5"]));
}
