//! `/status`, and the file by which the command line finds a running hub.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{TestHub, text};

fn run_file(hub: &TestHub) -> Value {
    serde_json::from_str(&hub.read("run.json")).expect("it is JSON")
}

#[tokio::test]
async fn the_credential_of_the_run_file_reads_the_status_of_its_process_only() {
    let hub = TestHub::start().await;
    let run = run_file(&hub);
    assert_eq!(run["pid"], std::process::id());
    assert_eq!(run["url"], format!("http://{}", hub.address));
    let credential = text(&run["credential"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(hub.data("run.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let get = |path: &str| hub.open_call(Method::GET, path).bearer(&credential);
    assert_eq!(get("/status").await.status, 200);
    for path in ["/metrics", "/silos", "/tokens"] {
        assert_eq!(get(path).await.status, 401, "{path}");
    }
    let reader = hub.credential("read", &["*"], &[]).await;
    let answer = hub.open_call(Method::GET, "/status").bearer(&reader).await;
    assert_eq!(answer.status, 403);
    assert_eq!(hub.open_call(Method::GET, "/status").await.status, 401);
    let hub = hub.restart().await;
    // Another process, another credential.
    let answer = hub
        .open_call(Method::GET, "/status")
        .bearer(&credential)
        .await;
    assert_eq!(answer.status, 401);
    let file = hub.data("run.json");
    assert!(file.exists());
    hub.stop().await;
    assert!(!file.exists(), "it is gone at stop");
}

#[tokio::test]
async fn the_status_tells_all_facts() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.token(json!({"name": "soon", "role": "metrics", "expires_at": "2026-01-12T00:00:00Z"}))
        .await;
    hub.token(json!({"name": "later", "role": "metrics", "expires_at": "2026-09-12T00:00:00Z"}))
        .await;
    // An agent that has applied an older state.
    let reader = hub.credential("read", &["office"], &[]).await;
    let answer = hub
        .open_call(Method::GET, "/silos/office")
        .bearer(&reader)
        .header("silo-agent", "nas;kind=downstream;version=\"0.2.0\"")
        .header("silo-applied", "\"5\"")
        .await;
    assert_eq!(answer.status, 200);
    // Until it is counted again.
    hub.pass(6);
    let status = hub.get("/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["listen"], json!([format!("http://{}", hub.address)]));
    let list = hub.get("/silos").await;
    let id = list.header("silo-database").unwrap();
    assert_eq!(status["database"]["id"], id.trim_matches('"'));
    assert_eq!(status["database"]["is_up"], true);
    assert_eq!(status["database"]["is_writable"], true);
    assert_eq!(status["stored"]["silos"], 1);
    assert_eq!(status["stored"]["records"], 1);
    assert_eq!(status["stored"]["tokens"], 4);
    assert_eq!(status["sinks"], json!([]));
    assert!(status["connections"]["open"].as_u64().unwrap() >= 1);
    assert_eq!(status["expires"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["expires"][0]["name"], "soon");
    // It ends in ten days.
    assert_eq!(status["is_well"], false);
    let what = text(&status["findings"][0]["what"]);
    assert!(what.starts_with("token soon ("), "{what}");
    for secret in [&reader, &hub.admin] {
        assert!(!status.to_string().contains(&secret[..20]), "{status}");
    }
}
