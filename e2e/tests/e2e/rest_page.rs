//! `docs/rest.md`: its lines of curl, and the programs and tools of others that it sets up, run as they are printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use silo_e2e::{CURL_HOME, Caller, Hub, TRUSTS_LOOPBACK};
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../docs/rest.md");

/// Ansible, at the version that was looked at.
const ANSIBLE: &str = "ansible-core==2.19.14";

/// A block of the page that is marked to be run.
fn block(name: &str, language: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("<!-- run: {name} -->\n```{language}\n"))
        .unwrap_or_else(|| panic!("the page has no {name}"));
    rest.split_once("\n```").expect("the block ends").0
}

/// A hub, and who calls it.
struct Office {
    hub: Hub,
    admin: Caller,
    token: String,
    folder: TempDir,
}

impl Office {
    fn start() -> Self {
        let folder = TempDir::with_prefix("silo-").unwrap();
        std::fs::write(folder.path().join("hub.yaml"), TRUSTS_LOOPBACK).unwrap();
        let hub = Hub::start(folder.path());
        Self {
            admin: Caller::new(&hub, &hub.admin_token()),
            token: hub.token(&["--name", "office", "--role", "write", "--silo", "office"]),
            hub,
            folder,
        }
    }

    /// Runs a program in a folder of its own with the variables of the page; answers what it prints.
    fn run(&self, program: &mut Command) -> String {
        let output = program
            .env("HUB", self.hub.url())
            .env("TOKEN", &self.token)
            .env("ADMIN", self.hub.admin_token())
            .env("CURL_HOME", CURL_HOME)
            .current_dir(self.folder.path())
            .output()
            .expect("the program is installed (scripts/test installs it)");
        printed(&output)
    }

    /// Runs lines of curl, each of which must succeed; answers what they print.
    fn curl(&self, lines: &str) -> String {
        let script = format!(
            "set -euo pipefail\ncurl() {{ command curl --fail-with-body -sS \"$@\"; echo; }}\n{lines}\n"
        );
        self.run(Command::new("bash").args(["-c", &script]))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.admin.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn names(&self) -> Value {
        let list = self.get("/silos/office/records").await;
        let of = |record: &Value| json!([record["hostname"], record["ips"], record["comment"]]);
        list.as_array().expect("a list").iter().map(of).collect()
    }
}

fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Backs the silo up by pages, changes it, and restores it.
async fn backed_up(office: &Office, all: &Value) {
    let block = block("backup", "sh");
    let (backup, restore) = block.split_once("\njq -c -s").expect("it has two parts");
    let pages = backup.replace("/silos/office/records\n", "/silos/office/records?limit=3\n");
    assert_ne!(pages, backup);
    office.curl(&pages);
    let lines = std::fs::read_to_string(office.folder.path().join("office.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4, "{lines}");
    let change = r#"curl -H "Authorization: Bearer $TOKEN" -X PATCH $HUB/silos/office/records -d '{"set":[{"hostname":"db","ip4":"10.0.0.6","ip6":null,"comment":"x"},{"hostname":"web","ip6":"fd00::8"}],"remove":["nas"]}'"#;
    office.curl(change);
    assert_ne!(office.names().await, *all);
    office.curl(&format!("jq -c -s{restore}"));
    assert_eq!(office.names().await, *all);
}

#[tokio::test]
async fn the_pages_lines_of_curl_do_what_it_says() {
    let office = Office::start();
    let silo = office.curl(block("silo", "sh"));
    assert_eq!(silo.matches("\"dnsrecords\"").count(), 2, "{silo}");
    let record = office.curl(block("record", "sh"));
    assert!(record.contains(silo_e2e::CLIENT), "{record}");
    assert_eq!(
        office.names().await,
        json!([
            ["db", ["10.0.0.5", "fd00::5"], null],
            ["me", ["192.0.2.7"], null]
        ])
    );
    let before = office.get("/silos/office").await;
    let records = office.curl(block("records", "sh"));
    assert!(records.contains("rack 3"), "{records}");
    let all = json!([
        ["db", ["10.0.0.5", "fd00::5"], null],
        ["me", ["192.0.2.7"], null],
        ["nas", ["10.0.0.7"], null],
        ["web", ["10.0.0.8"], "rack 3"],
    ]);
    assert_eq!(office.names().await, all);
    backed_up(&office, &all).await;
    let found = office.curl(block("search", "sh"));
    assert_eq!(found.matches("\"silo\":\"office\"").count(), 3, "{found}");
    let reverted = office.curl(block("revert", "sh"));
    assert!(
        reverted.contains("\"dnsrecords\":[{\"hostname\":\"db\""),
        "{reverted}"
    );
    let after = office.get("/silos/office").await;
    assert_ne!(after["revision"], before["revision"]);

    let (id, _) = office.token[5..].split_once('_').unwrap();
    let tokens = block("tokens", "sh").replace("abcdefgh12", id);
    // It shows itself before it is revoked.
    let mut lines: Vec<&str> = tokens.lines().collect();
    let revoke = lines
        .iter()
        .position(|line| line.contains("DELETE"))
        .unwrap();
    let revoke = lines.remove(revoke);
    lines.push(revoke);
    let shown = office.curl(&lines.join("\n"));
    assert!(
        shown.contains("\"silos\":[\"office\",\"lab-*\"]"),
        "{shown}"
    );
    assert!(shown.contains("\"api\":1"), "{shown}");
}

#[tokio::test]
async fn the_pages_python_and_node_converge() {
    let office = Office::start();
    for (program, language) in [("python3", "python"), ("node", "js")] {
        let name = if language == "js" { "node" } else { language };
        let file = office.folder.path().join(format!("program.{language}"));
        std::fs::write(&file, block(name, language)).unwrap();
        let (first, words) = match language {
            "python" => ("?1", "nas ['10.0.0.7'] "),
            _ => ("?0", "nas 10.0.0.7 "),
        };
        for changed in [first, "?0"] {
            let said = office.run(Command::new(program).arg(&file));
            assert_eq!(said, format!("{words}{changed}\n"));
        }
        assert_eq!(office.names().await, json!([["nas", ["10.0.0.7"], null]]));
    }
    assert_eq!(
        office
            .get("/silos/office/history")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// The folder of Ansible, installed by pip when it is not there yet.
fn ansible() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(ANSIBLE.replace("==", "-"));
    let there = Command::new("python3")
        .args(["-c", "import ansible.cli.playbook"])
        .env("PYTHONPATH", &folder)
        .output()
        .expect("python3 is installed (scripts/test installs it)");
    if !there.status.success() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", ANSIBLE]);
        let installed = pip.arg("--target").arg(&folder).output().unwrap();
        let why = String::from_utf8_lossy(&installed.stderr);
        assert!(
            installed.status.success(),
            "{ANSIBLE} can't be installed: {why}"
        );
    }
    folder
}

#[tokio::test]
async fn the_pages_playbook_converges() {
    let office = Office::start();
    let folder = ansible();
    let playbook = office.folder.path().join("names.yaml");
    std::fs::write(&playbook, block("ansible", "yaml")).unwrap();
    let play = || {
        let mut command = Command::new("python3");
        command
            .args(["-m", "ansible", "playbook"])
            .arg(&playbook)
            .env("PYTHONPATH", &folder)
            .env("ANSIBLE_LOCAL_TEMP", office.folder.path().join("ansible"))
            .env("ANSIBLE_HOME", office.folder.path().join("ansible"))
            .env("LC_ALL", "C.UTF-8");
        office.run(&mut command)
    };
    for (changed, why) in [(1, "the first run"), (0, "a second run")] {
        let recap = play();
        let expected = format!("changed={changed} ");
        assert!(
            recap.contains("ok=1 ") && recap.contains(&expected),
            "{why}: {recap}"
        );
        assert!(recap.contains("failed=0"), "{why}: {recap}");
    }
    assert_eq!(
        office.names().await,
        json!([
            ["db", ["10.0.0.5", "fd00::5"], null],
            ["nas", ["10.0.0.7"], "by Ansible"]
        ])
    );
    // What somebody else has changed is put right, and said.
    office.admin.put_ip("office", "nas", "10.0.0.99").await;
    assert!(play().contains("changed=1 "));
}
