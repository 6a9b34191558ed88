//! The agents against a real hub, on Windows too: `scripts/test-windows` runs these tests once with `silo-hub.exe`, and once
//! with a hub on Linux.
//!
//! `SILO_TEST_HUB` is the URL of a hub that runs already, `SILO_TEST_HUB_TOKEN` its admin token. Without them each test starts
//! its own. Tests use silos of their own, so that they can share a hub.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod joining;
mod left_state;
#[cfg(windows)]
mod schedule;
#[cfg(windows)]
mod service;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use reqwest::Method;
use serde_json::json;
use silo_e2e::{Caller, Hub, binary, logs, until, write_private};
use tokio::sync::Mutex;

/// What `install` has written, and `leave` removes, is noted at one place of the machine.
static INSTALLED: Mutex<()> = Mutex::const_new(());

/// A hub, and a folder for the agents' files.
struct Site {
    folder: tempfile::TempDir,
    admin: Caller,
    url: String,
    silo: &'static str,
    _own: Option<Hub>,
}

impl Site {
    fn new(silo: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let given = std::env::var("SILO_TEST_HUB").ok();
        let (own, url, token) = match given {
            Some(url) => (None, url, std::env::var("SILO_TEST_HUB_TOKEN").unwrap()),
            None => {
                let hub = Hub::start(&folder.path().join("hub"));
                let (url, token) = (hub.url().to_owned(), hub.admin_token());
                (Some(hub), url, token)
            }
        };
        let site = Self {
            admin: Caller::of(&url, &token),
            folder,
            url,
            silo,
            _own: own,
        };
        write_private(&site.path("token"), &token);
        // No configuration of this machine plays a part.
        write_private(&site.path("downstream.yaml"), "");
        fs::write(site.hosts(), "127.0.0.1 localhost\r\n").unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hosts(&self) -> PathBuf {
        self.path("hosts")
    }

    fn text(&self) -> String {
        String::from_utf8(fs::read(self.hosts()).unwrap()).unwrap()
    }

    async fn put(&self, hostname: &str, ip: &str) {
        self.admin.put_ip(self.silo, hostname, ip).await.unwrap();
    }

    fn downstream(&self, verb: &str) -> Command {
        let mut command = Command::new(binary("silo-downstream"));
        command.args([verb, "--hub", &self.url, "--silo", self.silo]);
        for (flag, name) in [
            ("--config", "downstream.yaml"),
            ("--token-file", "token"),
            ("--hosts-file", "hosts"),
            ("--state-dir", "state"),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        command
    }

    /// Reports what a command prints as `db`.
    fn upstream(&self, verb: &str, ip: &str) -> Command {
        let echo = if cfg!(windows) {
            "cmd, /c, echo"
        } else {
            "echo"
        };
        let config = format!(
            "hub: {}\ntoken_file: token\nsilo: {}\nhostnames: [db]\nstate_dir: upstream-state\naddresses: {{ command: [{echo}, {ip}] }}\n",
            self.url, self.silo
        );
        write_private(&self.path("upstream.yaml"), &config);
        let mut command = Command::new(binary("silo-upstream"));
        command.arg(verb).arg("--config");
        command.arg(self.path("upstream.yaml"));
        command
    }

    /// The addresses of `db` at the hub.
    async fn db(&self) -> String {
        let path = format!("/silos/{}/records/db", self.silo);
        self.admin.get(&path).await.1["ips"].to_string()
    }
}

/// What a run printed; it has to succeed.
fn said(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = logs::run(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(status.success(), "{status}: {stdout}{stderr}");
    stdout
}

/// An agent that stays; killed when dropped.
struct Staying {
    child: Child,
    output: PathBuf,
}

impl Staying {
    fn start(mut command: Command, output: &Path) -> Self {
        let file = File::create(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .unwrap();
        Self {
            child,
            output: output.to_owned(),
        }
    }

    /// Waits for a condition while the agent runs.
    async fn until(&mut self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        until(what, async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.said());
            is_so().await.then_some(())
        })
        .await;
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn once_brings_an_address_from_one_machine_to_the_other() {
    let site = Site::new("portable-once");
    assert!(said(&mut site.upstream("once", "10.0.0.7")).contains("10.0.0.7"));
    assert!(said(&mut site.upstream("once", "10.0.0.7")).contains("unchanged"));
    said(&mut site.downstream("once"));
    assert!(
        site.text().contains("\r\n10.0.0.7 db\r\n"),
        "{}",
        site.text()
    );
    assert!(said(&mut site.upstream("once", "10.0.0.8")).contains("10.0.0.7 → 10.0.0.8"));
    let diff = said(&mut site.downstream("diff"));
    assert!(diff.contains("+10.0.0.8 db"), "{diff}");
    assert!(said(&mut site.downstream("once")).contains("10.0.0.8"));
    assert!(
        site.text().contains("\r\n10.0.0.8 db\r\n"),
        "{}",
        site.text()
    );
    assert!(said(&mut site.downstream("once")).contains("unchanged"));
    said(&mut site.downstream("status"));
    assert!(said(&mut site.downstream("check")).contains("token: accepted"));
    assert!(said(&mut site.upstream("check", "10.0.0.8")).contains("token: accepted"));
    said(&mut site.downstream("clean"));
    assert_eq!(site.text(), "127.0.0.1 localhost\r\n");
    said(&mut site.upstream("remove", "10.0.0.8"));
    assert_eq!(site.db().await, "null");
}

#[tokio::test]
async fn a_change_reaches_a_downstream_that_stays() {
    let site = Site::new("portable-downstream");
    site.put("db", "10.0.0.5").await;
    let mut agent = Staying::start(site.downstream("watch"), &site.path("said"));
    for ip in ["10.0.0.5", "10.0.0.6", "10.0.0.7"] {
        site.put("db", ip).await;
        let line = format!("\r\n{ip} db\r\n");
        agent
            .until(ip, async || {
                // While it is being replaced, Windows refuses to read it.
                fs::read_to_string(site.hosts()).is_ok_and(|text| text.contains(&line))
            })
            .await;
    }
    // Printed when the write has ended, after which what others write is a change.
    let output = agent.output.clone();
    let line = "10.0.0.6 → 10.0.0.7";
    agent
        .until(line, async || {
            fs::read_to_string(&output).is_ok_and(|said| said.contains(line))
        })
        .await;
    // What another program removes is put back.
    fs::write(site.hosts(), "127.0.0.1 localhost\r\n").unwrap();
    agent
        .until("the block again", async || {
            fs::read_to_string(site.hosts()).is_ok_and(|text| text.contains("\r\n10.0.0.7 db\r\n"))
        })
        .await;
}

#[tokio::test]
async fn an_upstream_that_stays_corrects_its_record() {
    let site = Site::new("portable-upstream");
    let mut agent = Staying::start(site.upstream("watch", "10.0.0.5"), &site.path("said"));
    agent
        .until("the report", async || site.db().await.contains("10.0.0.5"))
        .await;
    // The agent must wait at the hub before the change: it says so by its poll, which nothing here sees. Each change is
    // corrected, however late it comes.
    site.put("db", "10.0.0.9").await;
    agent
        .until("the correction", async || {
            site.db().await.contains("10.0.0.5")
        })
        .await;
}

#[tokio::test]
async fn a_log_file_has_what_would_have_been_printed() {
    let site = Site::new("portable-log");
    site.put("db", "10.0.0.5").await;
    let log = site.path("agent.log");
    let printed = said(site.downstream("once").arg("--log-file").arg(&log));
    assert_eq!(printed, "");
    let text = fs::read_to_string(&log).unwrap();
    let line = format!("Z {}: new block with 1 name, revision ", site.silo);
    assert!(text.contains(&line), "{text}");
}

/// Bytes outside of the block stay, whatever they are; the first run looks for the names of the silo in every line.
#[tokio::test]
async fn a_hosts_file_of_a_hundred_thousand_lines_keeps_them() {
    let site = Site::new("portable-large");
    let lines: String = (0..100_000)
        .map(|n| {
            format!(
                "10.{}.{}.{} h{n} h{n}.lan # {n}\r\n",
                n >> 16,
                (n >> 8) & 255,
                n & 255
            )
        })
        .collect();
    fs::write(site.hosts(), &lines).unwrap();
    site.put("db", "10.0.0.5").await;
    site.put("h7", "10.9.9.9").await;
    let ran = logs::run(&mut site.downstream("once"));
    // A name that a line outside defines otherwise is skipped.
    assert_eq!(ran.status.code(), Some(1));
    let text = site.text();
    let added = text.strip_prefix(&lines).unwrap();
    assert!(added.contains("10.0.0.5 db\r\n"), "{added}");
    assert!(!added.contains("h7"), "{added}");
    assert_eq!(
        added.lines().count() + added.matches('\r').count(),
        6,
        "{added:?}"
    );
    said(&mut site.downstream("clean"));
    assert_eq!(site.text().len(), lines.len());
    assert!(site.text() == lines);
}

/// History and refusals of wrong tokens, over plain HTTP.
#[tokio::test]
async fn the_hub_serves_history_and_refuses_wrong_tokens() {
    let site = Site::new("portable-rest");
    site.put("db", "10.0.0.5").await;
    site.put("db", "10.0.0.6").await;
    let (status, history) = site.admin.get("/silos/portable-rest/history").await;
    assert_eq!(status, 200);
    assert!(history.to_string().contains("10.0.0.6"), "{history}");
    let other = site
        .admin
        .with("silo_abcdefgh12_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_eq!(other.get("/silos/portable-rest").await.0, 401);
    let deleted = site.admin.request(Method::DELETE, "/silos/portable-rest");
    assert_eq!(deleted.send().await.unwrap().status(), 204);
    let made = site.admin.request(Method::PUT, "/silos/portable-rest");
    let made = made.json(&json!({"dnsrecords": []})).send().await.unwrap();
    assert!(made.status().is_success(), "{}", made.status());
}
