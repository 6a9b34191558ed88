//! What calls update keys: the timers of `docs/update-keys.md`, and curl.

use std::process::{Command, Output, Stdio};

use silo_e2e::{CURL_HOME, stanza};
use silo_hub::internals::open_hub::OpenHub;

use crate::common::{TestHub, printed, shell};
use crate::update_keys::{add, start};

const PAGE: &str = include_str!("../../../docs/update-keys.md");

/// The page's URL with this hub and this key.
fn filled(text: &str, hub: &TestHub, key: &str) -> String {
    let url = "https://hub.example.net/u/KEY";
    assert!(text.contains(url), "{text}");
    text.replace(url, &format!("http://{}/u/{key}", hub.address))
}

/// Runs the line of the service as systemd does (systemd.service(5), "COMMAND LINES"): without a shell.
async fn run_service(hub: &TestHub, key: &str) -> (Option<i32>, String, String) {
    let service = filled(
        stanza(PAGE, "silo-update.service"),
        hub,
        &key.replace('%', "%%").replace('$', "$$"),
    );
    let line = service
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let line = line.expect("a service runs something");
    let words: Vec<String> = line
        .split(' ')
        .map(|word| word.replace("%%", "%").replace("$$", "$"))
        .collect();
    let mut command = tokio::process::Command::new(&words[0]);
    command.env("CURL_HOME", CURL_HOME);
    let output = command.args(&words[1..]).stdin(Stdio::null()).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.expect("the program is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

#[tokio::test]
async fn the_pages_timers_set_the_record_and_fail_on_a_wrong_key() {
    let (hub, open) = start(false).await;
    for (at, key) in [
        "0123456789abcdef",
        "?hostname=nas.example.org&password=0123",
        "host=nas.example.org,key=4bea92410b3146d0cfe",
        "with%2Fslash/and$-0123456789",
        "with~!*+;:@-0123",
    ]
    .into_iter()
    .enumerate()
    {
        let hostname = format!("h{at}");
        add(&open, key, &hostname).await.expect("a key");
        for answer in ["OK", "UPTODATE"] {
            let (code, said, error) = run_service(&hub, key).await;
            assert_eq!((code, &*said), (Some(0), answer), "{key}: {error}");
            assert_eq!(error, "", "{key}");
        }
        let record = hub.get(&format!("/silos/office/records/{hostname}")).await;
        assert_eq!(record.json()["ips"][0], "192.0.2.7", "{key}");
        let line = filled(stanza(PAGE, "cron"), &hub, key);
        let command = line.trim().strip_prefix("*/5 * * * * nobody ");
        let command = command.expect("a line of /etc/cron.d");
        assert_eq!(printed(command).await, "", "cron sends no mail");
    }
    let (code, said, error) = run_service(&hub, "0123456789abcdeX").await;
    assert_eq!((code, &*said), (Some(22), ""), "{error}");
    assert!(error.contains("403"), "{error}");
    let line = filled(stanza(PAGE, "cron"), &hub, "0123456789abcdeX");
    let output = shell(line.trim().trim_start_matches("*/5 * * * * nobody ")).await;
    assert_eq!(output.status.code(), Some(22));
}

#[test]
fn systemd_takes_the_pages_units() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let units = ["silo-update.service", "silo-update.timer"].map(|name| {
        let file = folder.path().join(name);
        // With a key that needs its percent sign written twice.
        let text = stanza(PAGE, name).replace("KEY", "with%%2Fslash-0123456789?a=b,c&d");
        std::fs::write(&file, text).expect("a file can be written");
        file
    });
    let verified = Command::new("systemd-analyze")
        .args(["--man=no", "verify"])
        .args(units)
        .output()
        .expect("systemd-analyze is installed");
    let error = String::from_utf8_lossy(&verified.stderr);
    // The machine's own units are looked at too.
    assert!(!error.contains("silo-update"), "{error}");
    assert!(verified.status.success(), "{error}");
}

#[tokio::test]
async fn curl_gets_all_five_answers() {
    let (hub, open) = start(true).await;
    add(&open, "?host=nas&key=0123456789", "nas")
        .await
        .expect("a key");
    add(&open, "schlüssel 0123456789", "db")
        .await
        .expect("a key");
    let curl = async |path: &str| {
        let url = format!("http://{}{path}", hub.address);
        printed(&format!("curl -sS -w ' %{{http_code}}' '{url}'")).await
    };
    for before in ["/u/", "/"] {
        for key in [
            "?host=nas&key=0123456789",
            "schl%C3%BCssel%200123456789",
            "schlüssel%200123456789",
        ] {
            hub.delete("/silos/office").await;
            let path = format!("{before}{key}");
            assert_eq!(curl(&path).await, "OK 200", "{path}");
            assert_eq!(curl(&path).await, "UPTODATE 200", "{path}");
        }
        assert_eq!(curl(&format!("{before}no-such-key")).await, "BADKEY 403");
        assert_eq!(curl(before).await, "192.0.2.7 200");
    }
    let other = OpenHub::open(&hub.settings, hub.clock())
        .await
        .expect("it opens beside the hub");
    let held = other.store.begin_write(&[]).await.expect("no other writer");
    assert_eq!(curl("/u/?host=nas&key=0123456789").await, "FAIL 500");
    drop(held);
    other.close().await;
    let failed = run_service(&hub, "?host=nas&key=0123456789").await;
    assert_eq!(failed.0, Some(0), "{failed:?}");
}
