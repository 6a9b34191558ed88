//! Agents that sign, with an interceptor that records, forges and replays.

mod forged;
mod settings;

use std::path::PathBuf;
use std::process::{Command, Output};

use silo_e2e::interceptor::{Exchange, Interceptor, send};
use silo_e2e::{Caller, Hub, binary, logs, write_private};

/// A hub that trusts the loopback as a proxy, an interceptor in front of it, and a machine with a token.
struct Scene {
    folder: tempfile::TempDir,
    hub: Hub,
    interceptor: Interceptor,
    admin: Caller,
    credential: String,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("hub.yaml"),
            "trusted_proxies: [127.0.0.0/8]\n",
        )
        .unwrap();
        let hub = Hub::start_on_chosen(folder.path());
        let interceptor = Interceptor::start(hub.url());
        let admin = Caller::new(&hub, &hub.admin_token());
        admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
        let credential = hub.token(&["--name", "m", "--role", "write", "--silo", "office"]);
        write_private(&folder.path().join("token"), &credential);
        std::fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
        Self {
            folder,
            hub,
            interceptor,
            admin,
            credential,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn agent(&self, program: &str, url: &str, more: &[&str]) -> Output {
        let mut command = Command::new(binary(program));
        command
            .args(["--hub", url, "--silo", "office", "--token-file"])
            .arg(self.path("token"))
            .args(more);
        if program == "silo-downstream" {
            command.arg("--hosts-file").arg(self.path("hosts"));
            command.arg("--state-dir").arg(self.path("state"));
        } else {
            command.args(["--hostnames", "nas"]);
        }
        logs::run(&mut command)
    }

    fn downstream(&self) -> Output {
        self.agent("silo-downstream", &self.interceptor.url(), &["once"])
    }

    fn upstream(&self) -> Output {
        self.agent("silo-upstream", &self.interceptor.url(), &["once"])
    }

    fn hosts(&self) -> String {
        std::fs::read_to_string(self.path("hosts")).unwrap()
    }

    async fn nas(&self) -> serde_json::Value {
        self.admin.get("/silos/office/records/nas").await.1
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_done(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[tokio::test]
async fn a_recorded_session_holds_no_credential_and_can_not_be_played_again() {
    let scene = Scene::new().await;
    assert_done(&scene.upstream());
    assert_done(&scene.downstream());
    assert_done(&scene.agent("silo-upstream", &scene.interceptor.url(), &["check"]));
    let session = scene.interceptor.take();
    let kinds: Vec<String> = session.iter().map(Exchange::line).collect();
    for kind in [
        "GET /ip",
        "PUT /silos/office/records/nas",
        "GET /silos/office",
    ] {
        assert!(kinds.iter().any(|line| line == kind), "{kind}: {kinds:?}");
    }
    // The secret may hold `_` itself.
    let secret = scene.credential.splitn(3, '_').nth(2).unwrap().to_owned();
    let admin_before = scene.admin.get("/silos/office").await;
    let hub = scene
        .hub
        .url()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    for (number, exchange) in session.iter().enumerate() {
        for message in [&exchange.request, &exchange.answer] {
            let message = text(message);
            assert!(
                !message.contains(&secret) && !message.to_lowercase().contains("authorization:"),
                "{message}"
            );
        }
        // As from elsewhere each time: refusals are counted.
        let head = format!("\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n");
        let request = text(&exchange.request).replacen("\r\n\r\n", &head, 1);
        let answer = text(&send(hub, request.as_bytes()).unwrap());
        // A HEAD has no content that names the problem.
        let is_named = exchange.line().starts_with("HEAD ") || answer.contains("/problems/replay");
        assert!(
            answer.starts_with("HTTP/1.1 401") && is_named,
            "{}: {answer}",
            exchange.line()
        );
    }
    assert_eq!(scene.admin.get("/silos/office").await, admin_before);
}

#[tokio::test]
async fn within_refuses_the_address_of_a_relay() {
    let scene = Scene::new().await;
    let output = scene.agent(
        "silo-upstream",
        &scene.interceptor.url(),
        &["--within", "10.1.0.0/16"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("10.0.0.7"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(scene.nas().await["status"], 404, "nothing was written");
    let output = scene.agent(
        "silo-upstream",
        &scene.interceptor.url(),
        &["--within", "10.0.0.0/16"],
    );
    assert_done(&output);
}
