//! Clients of others that send a whole body before they look at the answer: they see each answer that comes
//! before the body's end.

use std::process::Command;

use serde_json::json;

use super::{address, client, hub_with};

/// How often each answer is asked for.
const TRIES: usize = 20;

/// A token for another silo.
async fn elsewhere(hub: &silo_e2e::Hub) -> String {
    let made = client()
        .post(format!("{}/tokens", hub.url()))
        .bearer_auth(hub.admin_token())
        .json(&json!({"name": "elsewhere", "role": "read", "silos": ["elsewhere"]}))
        .send()
        .await
        .unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_http_client_and_curl_see_every_answer_before_the_end_of_a_body() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(folder.path(), "");
    let admin = format!("Bearer {}", hub.admin_token());
    let elsewhere = format!("Bearer {}", elsewhere(&hub).await);
    let (mib, form) = (1024 * 1024, "application/x-www-form-urlencoded");
    let cases = json!([
        ["PUT", "/silos/office", {"Authorization": &admin}, 2 * mib, 413],
        ["PUT", "/silos/office", {"Authorization": &admin}, 10 * mib, 413],
        ["PUT", "/silos/office", {}, 2 * mib, 401],
        ["PUT", "/silos/office", {"Authorization": &elsewhere}, mib, 403],
        ["PUT", "/silos/office", {"Authorization": &admin, "Content-Type": "text/xml"}, mib, 415],
        ["POST", "/tokens", {"Authorization": &elsewhere, "Content-Type": "application/json"}, 2 * mib, 403],
        ["POST", "/no/such/route", {"Content-Type": form}, 2 * mib, 404],
    ]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/limits/early.py");
    let python = Command::new("python3")
        .arg(script)
        .arg(address(&hub).to_string())
        .arg(TRIES.to_string())
        .arg(cases.to_string())
        .output()
        .unwrap();
    assert!(
        python.status.success(),
        "{}{}",
        String::from_utf8_lossy(&python.stdout),
        String::from_utf8_lossy(&python.stderr)
    );

    let body = folder.path().join("body");
    std::fs::write(&body, vec![b' '; 2 * mib]).unwrap();
    for case in cases.as_array().unwrap() {
        let (method, path) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        // curl sends `Expect: 100-continue` by default.
        for expect in [None, Some("Expect:")] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "60"]);
            curl.args(["--write-out", "\n%{http_code}", "--request", method]);
            curl.arg("--data-binary")
                .arg(format!("@{}", body.display()));
            if case[2]["Content-Type"].is_null() {
                curl.args(["--header", "Content-Type: application/json"]);
            }
            for (name, value) in case[2].as_object().unwrap() {
                curl.arg("--header")
                    .arg(format!("{name}: {}", value.as_str().unwrap()));
            }
            if let Some(expect) = expect {
                curl.args(["--header", expect]);
            }
            let told = curl.arg(format!("{}{path}", hub.url())).output().unwrap();
            let text = String::from_utf8_lossy(&told.stdout).into_owned();
            let errors = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(told.status.success(), "{case} {expect:?}: {text}{errors}");
            assert!(
                text.ends_with(&format!("\n{}", case[4])),
                "{case} {expect:?}: {text}{errors}"
            );
        }
    }
}
