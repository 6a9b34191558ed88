//! dynahost's protocol as `docs/dynahost.md` describes it: the page's own configuration and lines of curl,
//! with the provider's address and the mail program replaced by the test's.

use std::process::Command;

use silo_e2e::provider::{PASSWORD, Provider, USERNAME};
use silo_e2e::{CLIENT, CURL_HOME, Caller, Hub, TRUSTS_LOOPBACK, until};

const PAGE: &str = include_str!("../../../docs/dynahost.md");
const SECID: &str = "0f1e2d3c4b5a-of-this-test";

/// The page's text between two marks.
fn block(begin: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(begin).unwrap();
    rest.split_once("```").unwrap().0
}

fn hub(folder: &std::path::Path, provider: &Provider) -> Hub {
    let config = block("```yaml\n")
        .replace("preset: ovh", &format!("url: {:?}", provider.url()))
        .replace("/usr/sbin/sendmail", "/bin/true");
    std::fs::write(folder.join("hub.yaml"), config + TRUSTS_LOOPBACK).unwrap();
    Hub::start_under(&["env", "RUST_LOG=trace"], folder)
}

/// What the lines of a block answer.
fn run(hub: &Hub, name: &str, secid: &str) -> String {
    let script = block(&format!("<!-- run: {name} -->\n```sh\n"));
    let in_query = |text: &str| text.replace(':', "%3A").replace(' ', "%20");
    // In the query the login is percent-encoded, in the form curl does it.
    let script = script.replace("&login=$LOGIN&pass=$PASS", "&login=$Q_LOGIN&pass=$Q_PASS");
    let output = Command::new("sh")
        .args(["-euc", &script])
        .env("CURL_HOME", CURL_HOME)
        .env("HUB", hub.url())
        .env("SECID", secid)
        .env("LOGIN", USERNAME)
        .env("PASS", PASSWORD)
        .env("Q_LOGIN", in_query(USERNAME))
        .env("Q_PASS", in_query(PASSWORD))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        said
    } else {
        String::from_utf8(output.stderr).unwrap()
    }
}

#[tokio::test]
async fn the_documented_commands_work_and_no_secret_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(&["pi.dyn.example.net"]);
    let hub = hub(folder.path(), &provider);
    let admin = Caller::new(&hub, &hub.admin_token());
    assert_eq!(run(&hub, "plain", SECID), "OKOK");
    let record = admin.get("/silos/home/records/nas.dyn.example.net").await;
    assert_eq!(record.1["ips"], serde_json::json!([CLIENT]));
    let log = run(&hub, "log", SECID);
    assert!(log.contains("<td>192.0.2.7</td><td>dynahost</td>"), "{log}");

    assert_eq!(run(&hub, "whole", SECID), "OKOK");
    until("the provider is told", async || {
        (!provider.updates().is_empty()).then_some(())
    })
    .await;
    until("it is written down", async || {
        let done = admin.get("/deliveries?sink=ovh&state=done").await.1;
        done.as_array().filter(|done| done.len() == 1).map(|_| ())
    })
    .await;
    assert_eq!(provider.requests(), 1, "once for four calls");
    let record = admin.get("/silos/home/records/pi.dyn.example.net").await;
    assert_eq!(record.1["notify"], "ann@example.net");

    let guess = "another-secid-of-this-test";
    assert!(run(&hub, "plain", guess).contains("403"));
    assert!(run(&hub, "log", guess).contains("403"));

    let said = hub.log();
    assert!(
        said.contains("route=\"/update\""),
        "routes are named:\n{said}"
    );
    for secret in [
        SECID,
        guess,
        USERNAME,
        PASSWORD,
        "correct%20horse",
        "ann@example.net",
    ] {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn an_admin_confirms_and_opens_hosts_by_pattern() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(&[]);
    let hub = hub(folder.path(), &provider);
    let admin = Caller::new(&hub, &hub.admin_token());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let add = |hosts: &str| hub.cli(&["update-key", "add", "--dynahost", hosts]);
    let list = || text(&hub.cli(&["update-key", "list"]).stdout);

    assert_eq!(run(&hub, "plain", SECID), "OKOK");
    for name in ["web-1.dyn", "web-2.dyn", "db.dyn", "web-3.other"] {
        let name = format!("{name}.example.net");
        let record = format!("/silos/home/records/{name}");
        let put = admin.request(reqwest::Method::PUT, &record);
        let put = put.json(&serde_json::json!({"ip": "192.0.2.9"}));
        assert!(put.send().await.unwrap().status().is_success(), "{name}");
    }
    // Hosts that have a record are opened, within compat.dynahost.hostnames alone.
    let opened = add("web-*");
    assert!(opened.status.success(), "{opened:?}");
    let lines = text(&opened.stdout);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for name in [
        "web-1.dyn.example.net is open",
        "web-2.dyn.example.net is open",
    ] {
        assert!(lines.contains(name), "{lines}");
    }
    assert_eq!(list().matches("open to the first secid").count(), 2);
    assert!(list().contains("not confirmed"), "{}", list());
    // A host that a secid has taken is confirmed.
    let confirmed = add("*AS.dyn.*");
    let said = text(&confirmed.stdout);
    assert!(
        said.contains("nas.dyn.example.net is confirmed"),
        "{confirmed:?}"
    );
    assert!(!list().contains("not confirmed"), "{}", list());
    let all = text(&add("*").stdout);
    assert_eq!(all.lines().count(), 4, "{all}");

    let none = add("printer-*");
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(text(&none.stderr).contains("matches printer-*"), "{none:?}");
    for wrong in ["web *", "a..b", ""] {
        assert_eq!(add(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn an_admin_opens_confirms_and_revokes_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(&[]);
    let hub = hub(folder.path(), &provider);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let host = "nas.dyn.example.net";
    let add = |host: &str| hub.cli(&["update-key", "add", "--dynahost", host]);
    let list = || text(&hub.cli(&["update-key", "list"]).stdout);

    assert_eq!(run(&hub, "plain", SECID), "OKOK");
    assert!(
        list().ends_with("dynahost: bound by first use, not confirmed"),
        "{}",
        list()
    );
    let confirmed = add(host);
    assert!(
        text(&confirmed.stdout).contains("is confirmed"),
        "{confirmed:?}"
    );
    assert!(list().ends_with("dynahost: bound"), "{}", list());
    assert!(text(&add(host).stdout).contains("revoke the binding"));
    let id = list().split(' ').next().unwrap().to_owned();
    assert!(hub.cli(&["update-key", "revoke", &id]).status.success());
    assert_eq!(list(), "");
    assert!(run(&hub, "plain", SECID).contains("403"), "it has a record");
    assert!(text(&add(host).stdout).contains("is open"));
    assert!(
        list().ends_with("dynahost: open to the first secid"),
        "{}",
        list()
    );
    assert_eq!(run(&hub, "plain", SECID), "OKOK");

    let outside = add("nas.example.org");
    assert_eq!(outside.status.code(), Some(2));
    assert!(
        text(&outside.stderr).contains("not within compat.dynahost.hostnames (*.dyn.example.net)")
    );
    let both = hub.cli(&["update-key", "add", "--dynahost", host, "--silo", "home"]);
    assert_eq!(both.status.code(), Some(2));
    let checked = hub.cli(&["check-config"]);
    let words = "dynahost: hostnames *.dyn.example.net of the silo home";
    assert!(text(&checked.stdout).contains(words), "{checked:?}");

    // Without the protocol in the configuration, there is nothing to open and there are no logins.
    let config = |text: &str| std::fs::write(folder.path().join("hub.yaml"), text).unwrap();
    config("{}\n");
    let missing = add(host);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        text(&missing.stderr).contains("compat.dynahost"),
        "{missing:?}"
    );
    config("sinks: [{name: ovh, kind: dyndns2, preset: ovh, logins: dynahost}]\n");
    let checked = hub.cli(&["check-config"]);
    assert_eq!(checked.status.code(), Some(2));
    let words = "sinks: ovh: logins: dynahost requires compat.dynahost";
    assert!(text(&checked.stderr).contains(words), "{checked:?}");
    config("compat: {dynahost: {silo: home, hostnames: ['a b']}}\n");
    let checked = hub.cli(&["check-config"]);
    let said = text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        said.contains("hub.yaml: compat.dynahost.hostnames[0]: "),
        "{said}"
    );
}
