//! Commands and scripts of the documentation's pages that no client's own module tries.

use std::path::Path;

use serde_json::json;
use silo_e2e::stanza;

use crate::common::{TestHub, shell};
use crate::update_keys::{get, start, words};

const DYNDNS_PY: &str = include_str!("../../../docs/dyndns-py.md");
const UPDATE_KEYS: &str = include_str!("../../../docs/update-keys.md");
const NIC_UPDATE: &str = include_str!("../../../packaging/scripts/silo-nic-update.sh");

/// Each command in a block of a page that makes something in a hub says where that hub is: without, it would be
/// `./silo-data`.
#[test]
fn commands_that_make_something_name_the_data_directory() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    let docs = std::fs::read_dir(root.join("docs")).expect("there are pages");
    pages.extend(docs.map(|entry| entry.expect("a page").path()));
    let mut seen = 0;
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|end| end == "md"))
    {
        let text = std::fs::read_to_string(page).expect("a page is text");
        // Every second piece is a block.
        for line in text.split("```").skip(1).step_by(2).flat_map(str::lines) {
            let makes = [
                "silo-hub token create",
                "silo-hub update-key add --",
                "silo-hub silo import --",
            ];
            if makes.iter().any(|makes| line.contains(makes)) && !line.contains("--config") {
                seen += 1;
                let is_dynahost = line.contains("update-key add --dynahost");
                assert!(
                    line.contains("--data-dir") || is_dynahost,
                    "{}: {line}",
                    page.display()
                );
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

/// The page's script with the page's arguments, for this hub and with this `curl` configuration.
async fn nic_update(hub: &TestHub, login: &str, more: &str) -> (Option<i32>, String, String) {
    let config = hub.home.path().join("nic-update.conf");
    std::fs::write(
        &config,
        stanza(DYNDNS_PY, "config").replace("silo_…", login),
    )
    .expect("a file");
    let script = hub.home.path().join("silo-nic-update.sh");
    std::fs::write(&script, NIC_UPDATE).expect("a file");
    let line = stanza(DYNDNS_PY, "try")
        .trim()
        .replace("silo-nic-update.sh", &format!("sh {}", script.display()))
        .replace("/etc/silo/nic-update.conf", config.to_str().expect("UTF-8"))
        .replace("10.0.0.1:8053", &hub.address.to_string());
    let output = shell(&format!("{line} {more}")).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn the_script_for_dyndns_py_is_the_pages_and_is_quiet_without_a_change() {
    assert_eq!(stanza(DYNDNS_PY, "sh"), NIC_UPDATE);
    let cron = stanza(DYNDNS_PY, "cron").trim();
    let line = cron.strip_prefix("*/5 * * * * root /usr/local/bin/");
    assert_eq!(line, Some(stanza(DYNDNS_PY, "try").trim()));
    let hub = TestHub::start_behind_a_proxy().await;
    let host = "nas.dyn.example.com";
    assert!(stanza(DYNDNS_PY, "token").contains(&format!("--silo home --hostname {host}")));
    let token = hub.credential("write", &["home"], &[host]).await;
    let said = format!("{host}: good 192.0.2.7\n");
    assert_eq!(
        nic_update(&hub, &token, "").await,
        (Some(0), said, String::new())
    );
    let quiet = (Some(0), String::new(), String::new());
    assert_eq!(nic_update(&hub, &token, "").await, quiet);
    let (code, said, error) = nic_update(&hub, &token, "192.0.2.8,2001:db8::8").await;
    assert_eq!(code, Some(0), "{error}");
    assert!(said.contains("good 192.0.2.8,2001:db8::8"), "{said}");
    // As the table of the page has the URL.
    let url = format!(
        "http://{}/nic/update?hostname={host}&ipv4=192.0.2.9&ipv6=2001:db8::9",
        hub.address
    );
    let output = shell(&format!("curl -sS -u home:{token} '{url}'")).await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "good 192.0.2.9,2001:db8::9"
    );
    let record = format!("/silos/home/records/{host}");
    let before = hub.get(&record).await.json()["ips"].clone();
    let other = hub.credential("write", &["home"], &["cam"]).await;
    let wrong = "silo_aaaaaaaaaa_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    for (login, more, code, words) in [
        (wrong, "", 1, "401 badauth"),
        (&*other, "", 1, "nohost: the token may not write nas"),
        (&*token, "300.0.0.1", 1, "dnserr"),
        (&*token, "127.0.0.1", 1, "911"),
        (&*token, "a b", 2, "usage:"),
    ] {
        let (ended, said, error) = nic_update(&hub, login, more).await;
        assert_eq!((ended, &*said), (Some(code), ""), "{words}: {error}");
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_eq!(hub.get(&record).await.json()["ips"], before);
    assert_eq!(before, json!(["192.0.2.9", "2001:db8::9"]));
}

/// As far as it can be looked at without the name server.
#[tokio::test]
async fn the_configuration_for_moving_from_sftdyn_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("session.key");
    silo_e2e::write_private(
        &key,
        "key \"local-ddns\" {\n\talgorithm hmac-sha256;\n\tsecret \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\";\n};\n",
    );
    let stanza = stanza(UPDATE_KEYS, "hub");
    assert!(stanza.contains("\n    adopt: true\n"), "{stanza}");
    let check = async |text: &str| {
        let config = folder.path().join("hub.yaml");
        let text = text.replace("/run/named/session.key", key.to_str().expect("UTF-8"));
        std::fs::write(&config, text).expect("a file");
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_silo-hub"));
        let program = program.env_remove("SILO_HUB_DATABASE").arg("check-config");
        let output = program.arg("--config").arg(&config).output().await;
        output.expect("it runs")
    };
    let output = check(stanza).await;
    assert!(output.status.success(), "{output:?}");
    let wrong = check(&stanza.replace("adopt:", "adopts:")).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// The commands in running text, too, which are in no block.
#[test]
fn every_command_of_the_page_about_update_keys_names_the_data_directory() {
    let commands: Vec<&str> = UPDATE_KEYS
        .split("silo-hub update-key add --")
        .skip(1)
        .collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for rest in commands {
        assert!(rest.starts_with("data-dir "), "{rest}");
    }
}

#[tokio::test]
async fn the_loop_adds_all_keys_of_sftdyn() {
    let (hub, _open) = start(true).await;
    let folder = hub.home.path();
    let keys = "0123456789abcdef nas\n?host=cam&key=0123456789 cam.home.arpa\n";
    std::fs::write(folder.join("keys.txt"), keys).expect("a file");
    let data = hub.settings.data_dir.display().to_string();
    let run = async || {
        let text = stanza(UPDATE_KEYS, "add-all")
            .replace("/var/lib/silo-hub", &data)
            .replace(
                "silo-hub update-key",
                &format!("{} update-key", env!("CARGO_BIN_EXE_silo-hub")),
            );
        let mut command = hub.home.shell();
        command.current_dir(folder).args(["-c", &text]);
        command.output().await.expect("there is a shell")
    };
    let output = run().await;
    assert!(output.status.success(), "{output:?}");
    for key in ["/u/0123456789abcdef", "/?host=cam&key=0123456789"] {
        assert_eq!(get(&hub, key, "192.0.2.7").await, words(200, "OK"), "{key}");
    }
    assert_eq!(
        hub.get("/silos/home/records/cam.home.arpa").await.status,
        200
    );
    // Once more: refused, and nothing changes.
    let again = run().await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    std::fs::write(folder.join("keys.txt"), "short nas\n").expect("a file");
    let refused = run().await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("fewer than 16"),
        "{refused:?}"
    );
}
