//! `join` and `leave` of both agents: files, rights and exit codes are those of the system that this runs on.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::{binary, logs, write_private};

use super::{INSTALLED, Site};

/// A machine that is to join.
struct Machine<'a> {
    site: &'a Site,
    kind: &'static str,
}

impl Machine<'_> {
    /// A file beside the configuration.
    fn file(&self, end: &str) -> PathBuf {
        self.site.path(&format!("joined/{}.{end}", self.kind))
    }

    fn run(&self, words: &[&str], line: Option<&str>) -> (Option<i32>, String) {
        let mut command = Command::new(binary(&format!("silo-{}", self.kind)));
        command.args(words).arg("--config").arg(self.file("yaml"));
        command
            .arg("--state-dir")
            .arg(self.site.path("joined-state"));
        if cfg!(windows) {
            // Wine's user owns all files there.
            command.arg("--trust-owner=S-1-5-21-0-0-0-1000");
        }
        if self.kind == "downstream" {
            command.arg("--hosts-file").arg(self.site.hosts());
        }
        if let Some(line) = line {
            let file = self.site.path("line");
            write_private(&file, line);
            command.stdin(File::open(file).unwrap());
        }
        let Output {
            status,
            stdout,
            stderr,
        } = logs::run(&mut command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout) + &text(&stderr))
    }

    fn join(&self, line: &str) -> (Option<i32>, String) {
        self.run(&["join", "-", "--no-schedule"], Some(line))
    }

    fn is_joined(&self) -> [bool; 3] {
        ["yaml", "token", "joined"].map(|end| self.file(end).exists())
    }
}

/// The line of a new invitation, and its id.
async fn invite(site: &Site, spec: Value) -> (String, String) {
    let call = site.admin.request(Method::POST, "/invitations");
    let made = call.json(&spec).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    (text("invitation"), text("id"))
}

/// The token that an invitation made, if it is still valid.
async fn token(site: &Site, invitation: &str) -> Option<String> {
    let (_, all) = site.admin.get("/invitations").await;
    let all = all.as_array().unwrap();
    let found = all.iter().find(|found| found["id"] == invitation);
    let id = found.unwrap()["token"].as_str()?.to_owned();
    let (_, tokens) = site.admin.get("/tokens").await;
    let tokens = tokens.as_array().unwrap();
    tokens.iter().any(|token| token["id"] == *id).then_some(id)
}

#[tokio::test]
async fn a_downstream_joins_by_a_line_and_leaves() {
    let _turn = INSTALLED.lock().await;
    let site = Site::new("joining");
    site.put("files", "10.0.0.9").await;
    let before = site.text();
    let spec = json!({"role": "read", "silos": [site.silo], "urls": [site.url]});
    let (line, invitation) = invite(&site, spec).await;
    let machine = Machine {
        site: &site,
        kind: "downstream",
    };
    let (code, said) = machine.join(&line);
    assert_eq!(code, Some(0), "{said}");
    assert!(site.text().contains("10.0.0.9 files"), "{}", site.text());
    assert_eq!(machine.is_joined(), [true; 3], "{said}");
    assert!(!machine.file("join.pending").exists());
    assert!(token(&site, &invitation).await.is_some());
    // What it wrote is accepted by later runs.
    let (code, said) = machine.run(&["check"], None);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = machine.join(&line);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("joined by this invitation already"), "{said}");

    let (code, said) = machine.run(&["leave"], None);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(site.text(), before);
    assert!(!site.path("joined").exists(), "{said}");
    assert_eq!(token(&site, &invitation).await, None);
}

#[tokio::test]
async fn an_upstream_joins_by_a_line_and_leaves() {
    let _turn = INSTALLED.lock().await;
    let site = Site::new("joining-upstream");
    let spec =
        json!({"role": "write", "silos": [site.silo], "hostnames": ["nas"], "urls": [site.url]});
    let (line, invitation) = invite(&site, spec).await;
    let machine = Machine {
        site: &site,
        kind: "upstream",
    };
    // The hub sees this machine at a loopback address, which is of no use to others: only the first run fails.
    let (code, said) = machine.join(&line);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the first run failed"), "{said}");
    assert_eq!(machine.is_joined(), [true; 3], "{said}");
    let configuration = fs::read_to_string(machine.file("yaml")).unwrap();
    assert!(
        configuration.contains("hostnames: [\"nas\"]"),
        "{configuration}"
    );
    assert!(token(&site, &invitation).await.is_some());

    let (code, said) = machine.run(&["leave", "--keep-records"], None);
    assert_eq!(code, Some(0), "{said}");
    assert!(!site.path("joined").exists(), "{said}");
    assert_eq!(token(&site, &invitation).await, None);
}
