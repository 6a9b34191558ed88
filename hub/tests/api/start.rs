//! How a hub starts: the first admin token, the hub's key, the data directory's lock, and what a
//! restart keeps.

#[cfg(unix)]
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::settings::HubSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{DEADLINE, Home, TestHub, raw_status, refusal, revision};

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .expect("the file is there")
        .permissions()
        .mode()
        & 0o777
}

/// A home with a data directory, and the settings of a hub in it.
async fn furnished() -> (Arc<Home>, HubSettings) {
    let home = Arc::new(Home::new());
    let settings = home.settings();
    std::fs::create_dir(&settings.data_dir).expect("it is new");
    (home, settings)
}

/// What the program does with these settings.
async fn program(home: &Home, settings: &HubSettings, words: &[&str]) -> Output {
    let mut command = home.program(settings);
    command.args(["--listen", "127.0.0.1:0"]).args(words);
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
async fn another_databases_token_file_is_invalid_and_kept() {
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
async fn an_existing_complete_credential_is_used() {
    let (home, settings) = furnished().await;
    let credential = format!("silo_abcdefgh12_{}", "Ab-_9".repeat(9).get(..43).unwrap());
    let file = settings.data_dir.join("admin.token");
    std::fs::write(&file, format!("{credential}\n")).unwrap();
    let hub = TestHub::start_in(home, settings).await;
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
async fn a_broken_token_file_is_replaced() {
    for broken in [
        "",
        "\n",
        "silo_abcdefgh12_half",
        "silo_",
        "something else\n",
    ] {
        let (home, settings) = furnished().await;
        let file = settings.data_dir.join("admin.token");
        std::fs::write(&file, broken).unwrap();
        let hub = TestHub::start_in(home, settings).await;
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
async fn a_moved_token_file_is_not_recreated() {
    let hub = TestHub::start().await;
    let admin = hub.admin.clone();
    std::fs::remove_file(hub.data("admin.token")).unwrap();
    let hub = hub.restart().await;
    assert!(!hub.data("admin.token").exists());
    let answer = hub.open_call(Method::GET, "/tokens").bearer(&admin).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_missing_or_wrong_key_stops_the_start_with_the_remedy() {
    let other = TestHub::start().await;
    let hub = TestHub::start().await;
    let admin = hub.admin.clone();
    let good = hub.read("hub.key");
    let (home, settings) = hub.stop().await;
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
            let output = program(&home, &settings, words).await;
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
    let hub = TestHub::start_in(home, settings).await;
    let answer = hub.open_call(Method::GET, "/tokens").bearer(&admin).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_key_reset_bearer_and_basic_still_work() {
    let hub = TestHub::start().await;
    let old = hub.read("hub.key");
    let (home, settings) = hub.stop().await;
    std::fs::remove_file(settings.data_dir.join("hub.key")).unwrap();
    let output = program(&home, &settings, &["key", "reset"]).await;
    assert!(output.status.success(), "{output:?}");
    let hub = TestHub::start_in(home, settings).await;
    assert_ne!(hub.read("hub.key"), old);
    #[cfg(unix)]
    assert_eq!(mode(&hub.data("hub.key")), 0o600);
    assert_eq!(hub.get("/tokens").await.status, 200);
}

#[tokio::test]
async fn the_key_file_may_be_elsewhere() {
    let (home, mut settings) = furnished().await;
    let elsewhere = home.path().join("shared.key");
    settings.key_file = Some(elsewhere.clone());
    let hub = TestHub::start_in(home, settings).await;
    assert!(!hub.data("hub.key").exists());
    #[cfg(unix)]
    assert_eq!(mode(&elsewhere), 0o600);
    let hub = hub.restart().await;
    assert_eq!(hub.get("/tokens").await.status, 200);
    let (_home, mut settings) = hub.stop().await;
    settings.key_file = None;
    let said = refusal(&settings).await;
    assert!(said.contains("silo-hub key reset"), "{said}");
}

#[tokio::test]
async fn a_second_hub_on_one_sqlite_file_is_refused() {
    // A server is for as many as like: see `several_hubs`.
    let hub = TestHub::start_on_sqlite().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let said = refusal(&hub.settings).await;
    assert!(
        said.contains(hub.settings.data_dir.to_str().unwrap()),
        "{said}"
    );
    let output = program(&hub.home, &hub.settings, &["serve"]).await;
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    // The first one keeps running.
    assert_eq!(hub.get("/silos/office").await.body, made.body);
    assert_eq!(hub.put_silo("office", &[]).await.status, 200);
    // And once it has ended, another one may.
    let hub = hub.restart().await;
    assert_eq!(hub.get("/silos/office").await.status, 200);
}

#[tokio::test]
async fn acknowledged_writes_are_stored_after_a_stop() {
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
    // The hub requests the body: it has started to process the request.
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
    let (home, settings) = stopping.await.unwrap();
    let hub = TestHub::start_in(home, settings).await;
    let record = hub.get("/silos/office/records/db").await.json();
    assert_eq!(record["ips"], json!(["10.0.0.5"]));
}
