//! A hub that a scenario runs against, and the scenario's process, which asks for what a browser cannot do.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use silo_e2e::http_server::Response;
use silo_e2e::postgres::Postgres;
use silo_e2e::webhook_receiver::{self, Receiver};
use silo_e2e::{Hub, npm, write_private};

/// The packages of npm that the scenarios use, also for the scripts.
const PACKAGES: &str = include_str!("../../../dashboard/packages");
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard");

/// By which names browsers call a hub that listens on loopback; the second one is no secure context without TLS.
const NAMES: [&str; 2] = ["127.0.0.1", "hub.test"];

/// What a hub has beside its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum With {
    Nothing,
    /// Its own certificate.
    Tls,
    /// A database server that can be stopped.
    Postgres,
    /// A sink, whose receiver refuses the first message.
    Webhook,
}

/// A hub and the name by which the browser calls it.
pub(super) struct Stage {
    hub: Option<Hub>,
    name: &'static str,
    postgres: Option<(Postgres, String)>,
    receiver: Option<Receiver>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn start(with: With, name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Self {
            hub: None,
            name,
            postgres: None,
            receiver: None,
            folder,
        };
        match with {
            With::Nothing => {}
            With::Tls => stage.write_certificate(),
            With::Postgres => {
                let postgres = Postgres::start();
                let database = postgres.database("silo");
                stage.postgres = Some((postgres, database));
            }
            With::Webhook => stage.write_sink(),
        }
        stage.start_hub("127.0.0.1:0");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_certificate(&self) {
        let at = self.folder.path().display();
        let made = Command::new(silo_e2e::binary("silo-hub"))
            .args(["tls", "self-signed", "--name", self.name, "--out"])
            .arg(self.folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let config = format!("tls: {{cert: {at}/cert.pem, key: {at}/key.pem}}\n");
        std::fs::write(self.path("hub.yaml"), config).unwrap();
    }

    fn write_sink(&mut self) {
        let receiver = Receiver::start();
        receiver.answer_next(Response::text(410, ""));
        write_private(&self.path("hook.secret"), webhook_receiver::SECRET);
        let config = format!(
            "sinks:\n  - name: hook\n    kind: webhook\n    url: {}\n    secret_file: hook.secret\n",
            receiver.url()
        );
        std::fs::write(self.path("hub.yaml"), config).unwrap();
        self.receiver = Some(receiver);
    }

    fn start_hub(&mut self, listen: &str) {
        let folder = self.folder.path();
        self.hub = Some(match &self.postgres {
            None => Hub::start_under_at(&[], folder, listen),
            Some((_, database)) => Hub::start_at(listen, database, &folder.join("hub.key"), folder),
        });
    }

    fn hub(&self) -> &Hub {
        self.hub.as_ref().expect("the hub runs")
    }

    /// What the scenario is told.
    fn settings(&self) -> Value {
        let url = self.hub().url();
        let origin = url.replace(NAMES[0], self.name);
        json!({"url": url, "origin": origin, "token": self.hub().admin_token()})
    }

    /// Does what the scenario asks for.
    fn answer(&mut self, question: &Value) -> Value {
        match question["ask"].as_str().unwrap_or_default() {
            "cli" => {
                let arguments: Vec<String> =
                    serde_json::from_value(question["arguments"].clone()).unwrap();
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let output = self.hub().cli(&arguments);
                let [out, err] = [output.stdout, output.stderr]
                    .map(|b| String::from_utf8_lossy(&b).into_owned());
                json!({"code": output.status.code(), "out": out, "err": err})
            }
            "stop-hub" => {
                let url = self.hub().url().to_owned();
                let code = self.hub.take().and_then(Hub::stop);
                json!({"code": code, "url": url})
            }
            "start-hub" => {
                let url = question["url"].as_str().unwrap();
                let (_, listen) = url.split_once("://").unwrap();
                self.start_hub(listen);
                json!({})
            }
            "stop-database" => {
                self.postgres.as_ref().unwrap().0.stop();
                json!({})
            }
            "start-database" => {
                self.postgres.as_ref().unwrap().0.start_again();
                json!({})
            }
            "messages" => {
                let receiver = self.receiver.as_ref().unwrap();
                let of = |message: &webhook_receiver::Message| json!(message.answered);
                json!({"answered": receiver.messages().iter().map(of).collect::<Vec<_>>()})
            }
            other => json!({"error": format!("nothing answers {other:?}")}),
        }
    }
}

/// A running scenario, killed if the test ends before it.
struct Scenario(Child);

impl Drop for Scenario {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a scenario against a hub on loopback and against one under a name of its own.
pub(super) fn run(scenario: &str, with: With) {
    let mut stages = NAMES.map(|name| Stage::start(with, name));
    let settings: Vec<Value> = stages.iter().map(Stage::settings).collect();
    let packages: Vec<&str> = PACKAGES.split_whitespace().collect();
    let mut node = Command::new("node");
    node.arg(Path::new(SCENARIOS).join("run.mjs"))
        .arg(scenario)
        .env("SILO_NPM", npm::packages(&packages))
        .env("SILO_STAGES", json!(settings).to_string())
        .env(
            "SILO_PICTURES",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if with == With::Tls {
        // The scenario's own calls of a hub that made its own certificate.
        node.env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
            .env("NODE_NO_WARNINGS", "1");
    }
    let child = node
        .spawn()
        .expect("node is installed (scripts/test installs it)");
    let mut scenario_process = Scenario(child);
    let child = &mut scenario_process.0;
    let mut answers = child.stdin.take().expect("it is piped");
    let questions = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut stderr = child.stderr.take().expect("it is piped");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        // What is not UTF-8 is of no use here.
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut done = Value::Null;
    for line in questions.lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            println!("{line}");
            continue;
        };
        if message["done"].is_array() {
            done = message["done"].clone();
            continue;
        }
        let index = message["stage"]
            .as_u64()
            .and_then(|at| usize::try_from(at).ok());
        let answer = stages[index.expect("a question names its stage")].answer(&message);
        writeln!(answers, "{answer}").expect("the scenario listens");
    }
    let status = child.wait().expect("a child can be waited for");
    let errors = errors.join().expect("reading does not panic");
    assert!(
        status.success(),
        "{scenario} ended with {status}:\n{errors}"
    );
    // Each of the two ran, and looked at pages.
    let looked_at = done.as_array().map_or(0, |done| {
        let has_pages = |ran: &&Value| {
            ran["pages"]
                .as_array()
                .is_some_and(|pages| !pages.is_empty())
        };
        done.iter().filter(has_pages).count()
    });
    assert_eq!(looked_at, stages.len(), "{done}");
    println!("{done}");
}
