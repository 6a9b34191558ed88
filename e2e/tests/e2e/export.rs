//! Whole silos and databases carried by the command line.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::{Caller, Hub, PATIENCE, binary, until};

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
    // A machine that is busy with other tests may be slow; it must arrive without further calls.
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

/// Runs the command line on a data directory that no hub serves.
fn cli(data_dir: &Path, input: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(binary("silo-hub"))
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input is gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A file that is cut off, wrong or missing is named, and makes no database.
fn refuse_wrong_files(data_dir: &Path, bare: &str) {
    let cut = bare.rsplit_once("\n{\"end").unwrap().0;
    let error = failure(&cli(data_dir, cut, &["silo", "import", "-"]));
    assert!(error.contains("truncated after line 4"), "{error}");
    let error = failure(&cli(
        data_dir,
        &bare.replace("10.0.0.5", "10.0.0"),
        &["silo", "import", "-"],
    ));
    assert!(error.contains("line 3: "), "{error}");
    let error = failure(&cli(data_dir, "", &["silo", "import", "/does/not/exist"]));
    assert!(error.contains("/does/not/exist"), "{error}");
    let nowhere = data_dir.with_file_name("nowhere");
    failure(&cli(&nowhere, "nonsense", &["silo", "import", "-"]));
    assert!(!nowhere.exists(), "a wrong file makes no database");
    assert_eq!(
        cli(&nowhere, "", &["silo", "export"]).status.code(),
        Some(2)
    );
}

#[tokio::test]
async fn an_export_moves_a_hub_and_its_key_moves_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    put(&admin, "db", "10.0.0.5").await;
    let last = put(&admin, "db", "10.0.0.6").await;
    let add = ["update-key", "add", "--silo", "office", "--hostname", "db"];
    let key = printed(&hub.cli(&add));
    let text = printed(&hub.cli(&["silo", "export"]));
    let bare = printed(&hub.cli(&["silo", "export", "--no-tokens"]));
    for kind in ["\"token\":{", "\"update_key\":{"] {
        assert!(text.contains(kind) && !bare.contains(kind), "{kind}");
    }
    assert!(!text.contains(key.trim()));
    assert!(!text.contains(&hub.admin_token()[16..]));

    let target = folder.path().join("target");
    let wrong_key = cli(&target, &text, &["silo", "import", "-"]);
    assert_eq!(wrong_key.status.code(), Some(2));
    let error = String::from_utf8(wrong_key.stderr).unwrap();
    assert!(
        error.contains("hub.key") && error.contains("--no-tokens"),
        "{error}"
    );
    assert!(
        !target.join("hub.key").exists(),
        "no key is made for nothing"
    );
    std::fs::copy(hub.data_dir().join("hub.key"), target.join("hub.key")).unwrap();
    let said = printed(&cli(&target, &text, &["silo", "import", "-"]));
    assert!(said.contains("1 silos (1 new"), "{said}");
    assert_eq!(printed(&cli(&target, "", &["silo", "export"])), text);

    let file = folder.path().join("export.jsonl");
    std::fs::write(&file, &bare).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    let import = ["silo", "import", file.to_str().unwrap()];
    printed(&cli(&elsewhere, "", &import));
    let again = printed(&cli(&elsewhere, "", &import));
    assert!(
        again.contains("(0 new, 0 changed), 2 history rows (0 new, 0 left out)"),
        "{again}"
    );
    assert_eq!(
        printed(&cli(&elsewhere, "", &["silo", "export", "--no-tokens"])),
        bare
    );

    refuse_wrong_files(&elsewhere, &bare);

    // Also an empty hub that serves, which keeps the revisions.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let empty = Hub::start(&other);
    let caller = Caller::new(&empty, &empty.admin_token());
    assert_eq!(caller.get("/silos/office").await.0, 404);
    printed(&cli(empty.data_dir(), &bare, &["silo", "import", "-"]));
    assert_eq!(
        caller.get("/silos/office").await,
        admin.get("/silos/office").await
    );
    let (_, next) = caller.put_ip("office", "db", "10.0.0.8").await.unwrap();
    assert!(next["revision"].as_i64() > last.parse().ok());
    assert_eq!(records(&caller).await[0]["ip"], "10.0.0.8");

    // A hub that serves notices what is imported beside it, and its tokens too.
    put(&admin, "db", "10.0.0.7").await;
    printed(&cli(hub.data_dir(), &text, &["silo", "import", "-"]));
    let started = Instant::now();
    while records(&admin).await != json!([{"hostname": "db", "ip": "10.0.0.6"}]) {
        assert!(started.elapsed() < PATIENCE, "the hub does not notice");
    }
    let (_, now) = admin.get("/silos/office").await;
    assert!(now["revision"].as_i64() > last.parse().ok());
    let (_, history) = admin.get("/silos/office/history").await;
    assert_eq!(history[0]["via"], "import");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_beside_a_writer_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    put(&admin, "db", "10.0.0.1").await;
    let writer = tokio::spawn({
        let admin = admin.clone();
        async move {
            for round in 0_u32.. {
                let ip = std::net::Ipv4Addr::from(0x0a00_0002 + round);
                put(&admin, "db", &ip.to_string()).await;
            }
        }
    });
    let (mut before, mut exports) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while exports < 20 || before <= 4 {
        assert!(Instant::now() < deadline, "the writer writes meanwhile");
        exports += 1;
        let text = printed(&hub.cli(&["silo", "export", "--no-tokens"]));
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let newest = &lines[lines.len() - 2]["history"];
        assert_eq!(lines[1]["silo"]["revision"], newest["revision"]);
        assert_eq!(lines[1]["silo"]["records"][0]["ips"][0], newest["new_ip"]);
        assert!(lines.len() >= before);
        before = lines.len();
    }
    writer.abort();
}

/// Above the limit to which the log is cut.
const LOG_LIMIT: u64 = 36 * 1024 * 1024;

/// How many large writes add more than that limit to a log that can't start over.
const MANY: u8 = 150;

/// Replaces all records of a large silo several times.
async fn write_large(admin: &Caller, times: u8) {
    for round in 0..times {
        let records: Vec<_> = (0..800)
            .map(|number| {
                let ip = format!("10.{round}.{}.{}", number / 200, number % 200);
                json!({ "hostname": format!("host-{number}"), "ip": ip })
            })
            .collect();
        let request = admin.request(Method::PUT, "/silos/large");
        let answer = request.json(&json!({ "dnsrecords": records })).send();
        let status = answer.await.unwrap().status().as_u16();
        assert!(matches!(status, 200 | 201), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_an_export_does_not_make_the_log_grow() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    // More than a pipe takes.
    write_large(&admin, 5).await;
    let mut child = Command::new(binary("silo-hub"))
        .args(["silo", "export", "--data-dir"])
        .arg(hub.data_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun, and its reader stops here.
    let mut output = child.stdout.take().unwrap();
    let mut first = [0];
    output.read_exact(&mut first).unwrap();
    write_large(&admin, MANY).await;
    let log = hub.data_dir().join("hub.db-wal");
    let size = std::fs::metadata(&log).unwrap().len();
    assert!(size < LOG_LIMIT, "{size}");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.lines().last().unwrap().contains("\"end\""));
    let left = std::fs::read_dir(hub.data_dir()).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("export")
    });
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_long_read_made_grow_is_cut_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    put(&admin, "db", "10.0.0.1").await;
    let mut reader = Command::new("sqlite3")
        .arg(hub.data_dir().join("hub.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed");
    let mut input = reader.stdin.take().unwrap();
    // It keeps its own output until it ends.
    input
        .write_all(b"BEGIN; SELECT count(*) FROM silos;\n.shell echo done\n")
        .unwrap();
    let mut counted = [0];
    reader
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut counted)
        .unwrap();
    write_large(&admin, MANY).await;
    let log = hub.data_dir().join("hub.db-wal");
    let size = || std::fs::metadata(&log).unwrap().len();
    assert!(size() > LOG_LIMIT, "{} keeps what is read", size());
    drop(input);
    assert!(reader.wait().unwrap().success());
    until("the log is cut", async || {
        put(&admin, "db", "10.0.0.1").await;
        put(&admin, "db", "10.0.0.2").await;
        (size() < LOG_LIMIT).then_some(())
    })
    .await;
}
