//! What operators look at: metrics in a real Prometheus, the dashboard and the alerts of `packaging/`, the status on the
//! command line, and the way from an answer to its log lines.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use silo_e2e::postgres::free_port;
use silo_e2e::webhook_receiver::{Receiver, SECRET};
use silo_e2e::{Caller, Hub, PATIENCE, PAUSE, binary, logs, until, write_private};
use tempfile::TempDir;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a hub writes soon after it listens.
fn run_file(hub: &Hub) -> Value {
    let path = hub.data_dir().join("run.json");
    let deadline = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{}", hub.log());
        std::thread::sleep(PAUSE);
    }
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A hub with TLS, a sink and a listener for metrics.
struct Site {
    folder: TempDir,
    hub: Hub,
    http: Client,
    _receiver: Receiver,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let made = Command::new(binary("silo-hub"))
            .args(["tls", "self-signed", "--name", "localhost", "--out"])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        write_private(&folder.path().join("hook.secret"), SECRET);
        let config = format!(
            "tls: {{cert: {0}/cert.pem, key: {0}/key.pem}}\nmetrics_listen: 127.0.0.1:0\n\
             sinks:\n  - {{name: hook, kind: webhook, url: \"{1}\", secret_file: hook.secret}}\n",
            folder.path().display(),
            receiver.url()
        );
        std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
        let hub = Hub::start(folder.path());
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self {
            folder,
            hub,
            http,
            _receiver: receiver,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> u16 {
        let url = format!("{}{path}", self.hub.url());
        let mut call = self.http.request(method, url);
        call = call.bearer_auth(self.hub.admin_token());
        if let Some(body) = body {
            call = call.json(&body);
        }
        call.send().await.unwrap().status().as_u16()
    }

    /// The URL of the metrics, which needs no credential.
    fn metrics_url(&self) -> String {
        let run = run_file(&self.hub);
        let urls = run["listen"].as_array().unwrap().iter();
        let mut urls = urls.filter_map(Value::as_str);
        urls.find(|url| url.ends_with("/metrics"))
            .unwrap()
            .to_owned()
    }

    async fn metrics(&self) -> String {
        let answer = self.http.get(self.metrics_url()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }
}

/// A Prometheus that scrapes one target each second.
struct Prometheus {
    child: Child,
    url: String,
    http: Client,
}

impl Prometheus {
    async fn start(folder: &Path, target: &str) -> Self {
        let config = folder.join("prometheus.yml");
        let scrape = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
             - {{job_name: silo, static_configs: [{{targets: [\"{target}\"]}}]}}\n"
        );
        std::fs::write(&config, scrape).unwrap();
        let port = free_port();
        let log = std::fs::File::create(folder.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("scripts/test installs prometheus");
        let http = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        Self { child, url, http }
    }

    /// The results of a query; none while it does not answer.
    async fn query(&self, query: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/query", self.url);
        let url = url::Url::parse_with_params(&url, [("query", query)]).unwrap();
        let answer = self.http.get(url).send().await;
        let Ok(answer) = answer else {
            return Vec::new();
        };
        let answer: Value = answer.json().await.unwrap_or_default();
        let results = answer["data"]["result"].as_array();
        results.cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The queries of the dashboard, with its variables set.
fn queries() -> Vec<String> {
    let dashboard = std::fs::read_to_string(packaging("grafana/silo.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let queries: Vec<_> = targets
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query
                .replace("$__rate_interval", "30s")
                .replace("$instance", ".*")
        })
        .collect();
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("scripts/test installs prometheus");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn each_query_of_the_dashboard_has_a_result_in_a_real_prometheus() {
    let site = Site::start();
    let target = site.metrics_url();
    let target = target.strip_prefix("http://").unwrap();
    let target = target.strip_suffix("/metrics").unwrap();
    let prometheus = Prometheus::start(site.folder.path(), target).await;
    let mut number = 0;
    until("five scrapes of a hub under load", async || {
        number += 1;
        let ip = json!({"ip": format!("10.0.0.{}", number % 250)});
        site.call(Method::PUT, "/silos/office/records/db", Some(ip))
            .await;
        site.call(Method::GET, "/silos/office", None).await;
        let scrapes = prometheus
            .query(
                "count_over_time(silo_http_request_seconds_count{route=\"/silos/{id}\"}[5m]) >= 5",
            )
            .await;
        (!scrapes.is_empty()).then_some(())
    })
    .await;
    for query in queries() {
        let found = prometheus.query(&query).await;
        assert!(!found.is_empty(), "no result: {query}");
        let value = |result: &Value| {
            let value = result["value"][1].as_str().unwrap_or_default();
            value.parse::<f64>().unwrap_or(f64::NAN)
        };
        assert!(
            found.iter().any(|result| value(result).is_finite()),
            "{query}: {found:?}"
        );
        println!("{} results: {query}", found.len());
    }
    let up = prometheus.query("up{job=\"silo\"} == 1").await;
    assert_eq!(up.len(), 1);
}

#[tokio::test]
async fn promtool_accepts_the_metrics_and_the_alerts_name_only_what_is_exported() {
    let site = Site::start();
    site.call(Method::GET, "/silos", None).await;
    let metrics = site.metrics().await;
    let checked = promtool(&["check", "metrics"], &metrics);
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    let alerts = packaging("prometheus/alerts.yml");
    let alerts = std::fs::read_to_string(alerts).unwrap();
    let expressions = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let expressions: Vec<_> = expressions.map(str::to_owned).chain(queries()).collect();
    let mut named = 0;
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("silo_") || word.starts_with("process_")) {
            let mut lines = metrics.lines();
            let is_exported = lines.any(|line| {
                line.strip_prefix(word)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            });
            // A label's value may look like a name.
            assert!(
                is_exported || word == "silo_events",
                "{word} in {expression}"
            );
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
    let rules = packaging("prometheus/alerts_test.yml");
    let tested = promtool(&["test", "rules", rules.to_str().unwrap()], "");
    assert!(tested.status.success(), "{tested:?}");
}

#[tokio::test]
async fn the_status_is_well_exits_with_0_and_is_gone_with_the_hub() {
    let site = Site::start();
    site.call(
        Method::PUT,
        "/silos/office/records/db",
        Some(json!({"ip": "10.0.0.5"})),
    )
    .await;
    run_file(&site.hub);
    let status = site.hub.cli(&["status"]);
    let shown = text(&status.stdout);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(
        shown.starts_with(concat!("silo-hub ", env!("CARGO_PKG_VERSION"), ": well\n")),
        "{shown}"
    );
    assert!(shown.contains("\nDatabase     answers  sqlite:"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "a colour in a pipe: {shown}");
    let status = site.hub.cli(&["status", "--json"]);
    let facts: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(facts["is_well"], true, "{facts}");
    assert_eq!(facts["sinks"][0]["name"], "hook");
    // From afar, with a token for it and the pin of the hub.
    let token = site.hub.token(&["--name", "watch", "--role", "metrics"]);
    let file = site.folder.path().join("watch.token");
    write_private(&file, &token);
    let run = run_file(&site.hub);
    let pin = run["pin_sha256"].as_str().unwrap();
    let far = |more: &[&str]| {
        let mut command = Command::new(binary("silo-hub"));
        command.args(["status", "--hub", site.hub.url()]).args(more);
        command.output().unwrap()
    };
    let file = file.to_str().unwrap();
    let status = far(&["--token-file", file, "--pin-sha256", pin]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    // Misused: no token; not trusted: no pin.
    assert_eq!(far(&[]).status.code(), Some(2));
    let untrusted = far(&["--token-file", file]);
    assert_eq!(untrusted.status.code(), Some(1), "{untrusted:?}");
    for output in [&status, &untrusted] {
        logs::assert_clean("status", &text(&output.stdout));
        logs::assert_clean("status", &text(&output.stderr));
    }
    let data = site.hub.data_dir().to_owned();
    let beside = || {
        let mut command = Command::new(binary("silo-hub"));
        command
            .arg("status")
            .arg("--data-dir")
            .arg(&data)
            .output()
            .unwrap()
    };
    let left = std::fs::read(data.join("run.json")).unwrap();
    assert_eq!(site.hub.stop(), Some(0));
    let gone = beside();
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(text(&gone.stderr).contains("no hub is running"), "{gone:?}");
    // As a killed hub leaves it.
    std::fs::write(data.join("run.json"), left).unwrap();
    let killed = beside();
    assert_eq!(killed.status.code(), Some(1), "{killed:?}");
    assert!(text(&killed.stderr).contains("has ended"), "{killed:?}");
}

#[tokio::test]
async fn a_failing_sink_needs_a_hand() {
    let folder = tempfile::tempdir().unwrap();
    write_private(&folder.path().join("hook.secret"), SECRET);
    let closed = format!("http://127.0.0.1:{}/", free_port());
    let config = format!(
        "sinks:\n  - {{name: hook, kind: webhook, url: \"{closed}\", secret_file: hook.secret}}\n"
    );
    std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let shown = until("the failure shows", async || {
        let status = hub.cli(&["status"]);
        let shown = text(&status.stdout);
        (status.status.code() == Some(1)).then_some(shown)
    })
    .await;
    assert!(shown.contains(": 1 thing needs a hand\n"), "{shown}");
    assert!(
        shown.contains("\n! sink hook: 1 delivery pending: "),
        "{shown}"
    );
    assert!(
        shown.contains("\nSinks        retrying  hook  webhook, 1 pending"),
        "{shown}"
    );
}

#[tokio::test]
async fn an_answer_leads_to_its_log_lines() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let (status, problem) = admin.get("/silos/none").await;
    assert_eq!(status, 404);
    let id = problem["request_id"].as_str().unwrap();
    assert_eq!(id.len(), 16);
    let mark = format!("request_id={id}");
    let line = line_with(&hub, &[&mark, "DEBUG silo_hub::http"]).await;
    for part in [
        "method=\"GET\"",
        "route=\"/silos/{id}\"",
        "status=\"404\"",
        "ms=",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("none"), "the path is not logged: {line}");
    let put = admin
        .request(Method::PUT, "/silos/office/records/db")
        .json(&json!({"ip": "10.0.0.5"}))
        .send()
        .await
        .unwrap();
    let id = put.headers()["silo-request"].to_str().unwrap().to_owned();
    let mark = format!("request_id={id}");
    let line = line_with(&hub, &[&mark, "changed office: db is 10.0.0.5"]).await;
    for part in [
        "INFO",
        "silo=\"office\"",
        "revision=",
        "via=\"rest\"",
        "token_id=",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

async fn line_with(hub: &Hub, marks: &[&str]) -> String {
    until(&format!("a line with {marks:?}"), async || {
        let log = hub.log();
        let mut lines = log.lines();
        let found = lines.find(|line| marks.iter().all(|mark| line.contains(mark)));
        found.map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn long_work_shows_progress_on_a_terminal_and_nothing_in_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let export = folder.path().join("export.jsonl");
    let exported = hub.cli(&["silo", "export", "--no-tokens"]);
    assert_eq!(text(&exported.stderr), "");
    std::fs::write(&export, &exported.stdout).unwrap();
    let program = binary("silo-hub");
    let program = program.to_str().unwrap();
    let data = hub.data_dir().to_str().unwrap().to_owned();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (arguments, shown) in [
        (
            format!("backup {} --data-dir {data}", at("copy.db")),
            "copying",
        ),
        (format!("silo export --data-dir {data}"), "exporting"),
        (
            format!(
                "silo import {} --data-dir {}",
                at("export.jsonl"),
                at("new")
            ),
            "importing",
        ),
        (format!("migrate --data-dir {}", at("newer")), "migrating"),
        (
            format!("restore {} --data-dir {}", at("copy.db"), at("new")),
            "restoring",
        ),
    ] {
        let command = format!("{program} {arguments}");
        let terminal = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let output = text(&terminal.stdout);
        assert!(terminal.status.success(), "{output}");
        assert!(output.contains(shown), "{arguments}: {output:?}");
        logs::assert_clean("the command line", &output);
    }
    let copied = hub.cli(&["backup", &at("other.db")]);
    assert_eq!(text(&copied.stderr), "");
    let imported = hub.cli(&["silo", "import", &at("export.jsonl")]);
    assert_eq!(text(&imported.stderr), "");
}
