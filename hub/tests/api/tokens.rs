//! `/tokens`: how tokens are made, listed and revoked, and that their secrets stay secret.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{DEADLINE, PAUSE, START, TestHub, dnsrecords, text};

#[tokio::test]
async fn a_new_token_shows_its_credential_only_once() {
    let hub = TestHub::start().await;
    let answer = hub
        .post("/tokens")
        .json(&json!({
            "name": "nas", "role": "write", "silos": ["Office", "lab-*"], "hostnames": ["nas", "nas-*"],
            "expires_at": "2027-01-01T00:00:00Z",
        }))
        .await;
    assert_eq!(answer.status, 201);
    let token = answer.json();
    let id = text(&token["id"]);
    let secret = text(&token["secret"]);
    assert_eq!(id.len(), 10);
    assert!(
        id.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
        "{id}"
    );
    let random = secret.strip_prefix(&format!("silo_{id}_")).unwrap();
    assert_eq!(random.len(), 43);
    assert!(
        random
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    );
    assert_eq!(token["name"], "nas");
    assert_eq!(token["role"], "write");
    assert_eq!(token["hostnames"], json!(["nas", "nas-*"]));
    assert_eq!(token["expires_at"], "2027-01-01T00:00:00.000Z");

    let list = hub.get("/tokens").await;
    assert_eq!(list.status, 200);
    assert!(!list.text().contains("secret"), "{list:?}");
    assert!(!list.text().contains(random), "{list:?}");
    let list = list.json();
    let tokens = list.as_array().unwrap();
    assert_eq!(tokens.len(), 2);
    let listed = tokens.iter().find(|token| token["id"] == id).unwrap();
    assert_eq!(listed["name"], "nas");
    assert_eq!(listed["role"], "write");
    assert_eq!(listed["silos"], json!(["office", "lab-*"]));
    assert_eq!(listed["last_used_at"], Value::Null);
    let first = tokens.iter().find(|token| token["id"] != id).unwrap();
    assert_eq!(first["role"], "admin");
    assert_eq!(first["last_used_at"], START);
}

#[tokio::test]
async fn the_last_use_is_shown_and_costs_no_revision() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[]).await;
    let (id, credential) = hub
        .token(json!({"name": "r", "role": "read", "silos": ["office"]}))
        .await;
    hub.pass(90);
    let read = hub
        .open_call(Method::GET, "/silos/office")
        .bearer(&credential)
        .await;
    assert_eq!(read.etag(), before.etag());
    let last_used = |list: Value| {
        let tokens = list.as_array().unwrap().clone();
        let token = tokens.into_iter().find(|token| token["id"] == id).unwrap();
        token["last_used_at"].clone()
    };
    assert_eq!(
        last_used(hub.get("/tokens").await.json()),
        "2026-01-02T03:05:35.678Z"
    );
    let hub = hub.restart().await;
    assert_eq!(
        last_used(hub.get("/tokens").await.json()),
        "2026-01-02T03:05:35.678Z"
    );
    assert_eq!(hub.get("/silos/office").await.body, before.body);
}

#[tokio::test]
async fn a_revoked_token_stops() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let (id, credential) = hub
        .token(json!({"name": "r", "role": "read", "silos": ["office"]}))
        .await;
    let read = || {
        hub.open_call(Method::GET, "/silos/office")
            .bearer(&credential)
    };
    assert_eq!(read().await.status, 200);
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(read().await.status, 401);
    let list = hub.get("/tokens").await;
    assert!(!list.text().contains(&id), "{list:?}");
    for gone in [&*id, "aaaaaaaaaa", "x", "AAAAAAAAAA", "%ff"] {
        let status = hub.delete(&format!("/tokens/{gone}")).await.status;
        assert!(matches!(status, 400 | 404), "{gone}: {status}");
    }
    assert_eq!(hub.get("/silos").await.status, 200);
    let hub = hub.restart().await;
    let answer = hub
        .open_call(Method::GET, "/silos/office")
        .bearer(&credential)
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn an_expired_token_stops() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let (id, credential) = hub
        .token(json!({
            "name": "r", "role": "write", "silos": ["office"], "expires_at": "2026-01-02T03:05:05.678Z",
        }))
        .await;
    let read = || {
        hub.open_call(Method::GET, "/silos/office")
            .bearer(&credential)
    };
    hub.pass(59);
    assert_eq!(read().await.status, 200);
    hub.pass(1);
    assert_eq!(read().await.status, 401);
    let write = hub
        .open_call(Method::PUT, "/silos/office")
        .bearer(&credential)
        .json(&dnsrecords(&[("db", "10.0.0.5")]))
        .await;
    assert_eq!(write.status, 401);
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_not_made() {
    let hub = TestHub::start().await;
    let with = |member: &str, value: Value| {
        let mut spec = json!({"name": "nas", "role": "write", "silos": ["office"]});
        spec[member] = value;
        spec
    };
    for (spec, pointer) in [
        (json!([]), ""),
        (json!({"role": "admin"}), "/name"),
        (json!({"name": "nas", "silos": ["office"]}), "/role"),
        (with("name", json!("")), "/name"),
        (with("name", json!(7)), "/name"),
        (with("name", json!("a\r\nb")), "/name"),
        (with("name", json!("x".repeat(100_000))), "/name"),
        (with("role", json!("root")), "/role"),
        (with("role", json!("Admin")), "/role"),
        (with("role", json!(null)), "/role"),
        (json!({"name": "nas", "role": "read"}), "/silos"),
        (with("silos", json!([])), "/silos"),
        (with("silos", json!("office")), "/silos"),
        (with("silos", json!(null)), "/silos"),
        (with("silos", json!([7])), "/silos/0"),
        (with("silos", json!(["office", "a b"])), "/silos/1"),
        (with("silos", json!([""])), "/silos/0"),
        (with("silos", json!(["a/*"])), "/silos/0"),
        (with("hostnames", json!([])), "/hostnames"),
        (with("hostnames", json!("nas")), "/hostnames"),
        (with("hostnames", json!(["nas", "a b"])), "/hostnames/1"),
        (with("hostnames", json!(["nas", null])), "/hostnames/1"),
        (with("expires_at", json!("tomorrow")), "/expires_at"),
        (with("expires_at", json!(1_800_000_000)), "/expires_at"),
        (with("expires_at", json!("2027-01-01")), "/expires_at"),
        (
            with("expires_at", json!("2025-01-01T00:00:00Z")),
            "/expires_at",
        ),
    ] {
        let answer = hub.post("/tokens").json(&spec).await;
        assert_eq!(answer.status, 422, "{spec}");
        assert_eq!(answer.pointers(), [pointer], "{spec}");
    }
    let answer = hub
        .post("/tokens")
        .header("content-type", "application/json")
        .body("{")
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(hub.get("/tokens").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_admin_token_needs_no_silos() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let (_, credential) = hub.token(json!({"name": "second", "role": "admin"})).await;
    let list = hub
        .open_call(Method::GET, "/tokens")
        .bearer(&credential)
        .await;
    assert_eq!(list.json().as_array().unwrap().len(), 2);
    let answer = hub
        .open_call(Method::DELETE, "/silos/office")
        .bearer(&credential)
        .await;
    assert_eq!(answer.status, 204);
}

/// Makes a token of each role and uses it: the credentials, the first admin's among them.
async fn used_credentials(hub: &TestHub) -> Vec<String> {
    let mut credentials = vec![hub.admin.clone()];
    for role in ["read", "write", "admin"] {
        let silos: &[&str] = if role == "admin" { &[] } else { &["office"] };
        credentials.push(hub.credential(role, silos, &[]).await);
    }
    for credential in &credentials {
        let answer = hub
            .open_call(Method::GET, "/silos")
            .bearer(credential)
            .await;
        assert_eq!(answer.status, 200);
    }
    credentials
}

/// Whether a credential's secret, or any longer part of it, is among these bytes.
fn holds_secret(bytes: &[u8], credentials: &[String]) -> bool {
    credentials.iter().any(|credential| {
        let (_, secret) = credential.split_at(16);
        assert_eq!(secret.len(), 43);
        let (start, _) = secret.split_at(20);
        let (_, end) = secret.split_at(23);
        contains(bytes, start.as_bytes()) || contains(bytes, end.as_bytes())
    })
}

#[tokio::test]
async fn no_credential_is_in_the_databases_rows() {
    let hub = TestHub::start().await;
    let credentials = used_credentials(&hub).await;
    // What was used is written down at the latest when the hub ends.
    let (home, _) = hub.stop().await;
    let dump = home.dump().await;
    assert!(dump.iter().any(|value| value == b"a write token"));
    assert!(!dump.iter().any(|value| holds_secret(value, &credentials)));
}

#[tokio::test]
async fn no_credential_is_in_the_sqlite_files_bytes() {
    let hub = TestHub::start_on_sqlite().await;
    let credentials = used_credentials(&hub).await;
    let data = hub.data("");
    // While it runs, with the write-ahead log beside the database, and after it has ended.
    let running = bytes_of(&data);
    assert!(running.iter().any(|(name, _)| name == "hub.db-wal"));
    let (_home, _) = hub.stop().await;
    let mut looked_at_tokens = false;
    for (name, bytes) in running.into_iter().chain(bytes_of(&data)) {
        assert!(!holds_secret(&bytes, &credentials), "a secret is in {name}");
        looked_at_tokens |= contains(&bytes, b"a write token");
    }
    assert!(looked_at_tokens, "the tokens lie in another file");
}

/// The files of a data directory but the first admin token's.
fn bytes_of(data: &Path) -> Vec<(String, Vec<u8>)> {
    std::fs::read_dir(data)
        .expect("the folder is there")
        .map(|entry| {
            let entry = entry.expect("it can be listed");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("it can be read"))
        })
        .filter(|(name, _)| name != "admin.token")
        .collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_of_a_hub_on_sqlite_are_private_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let hub = TestHub::start_on_sqlite().await;
    hub.put_silo("office", &[]).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&hub.data("")), 0o700);
    let files = bytes_of(&hub.data(""));
    for (name, _) in files.iter().filter(|(name, _)| name != "hub.lock") {
        assert_eq!(mode(&hub.data(name)) & 0o077, 0, "{name}");
    }
}

#[tokio::test]
async fn tokens_of_the_command_line_count_beside_a_running_hub() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let command = |words: &[&str]| {
        let mut command = hub.home.program(&hub.settings);
        command.args(words);
        async move { command.output().await.unwrap() }
    };
    let made = command(&[
        "token", "create", "--name", "cli", "--role", "read", "--silo", "office",
    ])
    .await;
    assert!(made.status.success(), "{made:?}");
    let printed = String::from_utf8(made.stdout).unwrap();
    let credential = printed
        .split_ascii_whitespace()
        .find(|word| word.starts_with("silo_"))
        .unwrap();
    until_status(&hub, credential, 200).await;
    let id = credential.split('_').nth(1).unwrap();
    let revoked = command(&["token", "revoke", id]).await;
    assert!(revoked.status.success(), "{revoked:?}");
    until_status(&hub, credential, 401).await;
}

/// Asks until the hub answers with this status.
async fn until_status(hub: &TestHub, credential: &str, status: u16) {
    let asking = async {
        while hub
            .open_call(Method::GET, "/silos/office")
            .bearer(credential)
            .await
            .status
            != status
        {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .expect("the hub notices in time");
}
