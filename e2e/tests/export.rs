//! Whole silos and databases carried by the command line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use silo_e2e::{Caller, Hub, PATIENCE};

/// Within what time a running hub sees what the command line did.
const NOTICED: Duration = Duration::from_millis(500);

/// What a command that went well printed.
fn printed(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line that a command which failed with 1 says.
fn failure(output: &Output) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

async fn put(caller: &Caller, hostname: &str, ip: &str) -> String {
    let (status, body) = caller.put_ip("office", hostname, ip).await.unwrap();
    assert!(matches!(status, 200 | 201), "{body}");
    body["revision"].to_string()
}

async fn records(caller: &Caller) -> Value {
    caller.get("/silos/office").await.1["dnsrecords"].clone()
}

#[tokio::test]
async fn a_revert_beside_a_running_hub_is_seen_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let first = put(&admin, "db", "10.0.0.5").await;
    put(&admin, "db", "10.0.0.6").await;
    put(&admin, "web", "10.0.0.7").await;
    let said = printed(&hub.cli(&["silo", "revert", "office", &first]));
    assert!(said.contains(&first), "{said}");
    // A machine that is busy with other tests may be slow; it must come by itself all the same.
    let started = Instant::now();
    while records(&admin).await != json!([{"hostname": "db", "ip": "10.0.0.5"}]) {
        assert!(started.elapsed() < PATIENCE, "the hub does not notice");
    }
    println!("noticed after {:?}, of {NOTICED:?}", started.elapsed());
    let (_, history) = admin.get("/silos/office/history").await;
    assert_eq!(history[0]["via"], "revert");
    let again = printed(&hub.cli(&["silo", "revert", "office", &first]));
    assert!(again.contains("nothing changed"), "{again}");
    let error = failure(&hub.cli(&["silo", "revert", "office", "5"]));
    assert!(error.contains(&first), "{error}");
    let error = failure(&hub.cli(&["silo", "revert", "home", "5"]));
    assert!(error.contains("home: there is no such silo"), "{error}");
}
