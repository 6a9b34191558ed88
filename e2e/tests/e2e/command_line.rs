//! The hub's command line beside a running hub, and what the hub writes about itself.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use silo_e2e::{CLIENT, Caller, Hub, PATIENCE, PAUSE, TRUSTS_LOOPBACK, binary, until};

async fn wait_for_status(caller: &Caller, path: &str, status: u16) {
    until(&format!("{path} answers {status}"), async || {
        (caller.get(path).await.0 == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_made_and_revoked_beside_a_running_hub_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let credential = hub.token(&["--name", "reader", "--role", "read", "--silo", "office"]);
    let reader = Caller::new(&hub, &credential);
    wait_for_status(&reader, "/silos/office", 200).await;
    let id = &credential[5..15];
    let listed = hub.cli(&["token", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(id) && listed.contains("reader"), "{listed}");
    assert!(
        !listed.contains(&credential[16..]),
        "a listing shows a secret"
    );
    let started = Instant::now();
    assert!(hub.cli(&["token", "revoke", id]).status.success());
    wait_for_status(&reader, "/silos/office", 401).await;
    println!(
        "revoked by the command line, refused after {:?}",
        started.elapsed()
    );
    assert_eq!(hub.cli(&["token", "revoke", id]).status.code(), Some(1));
}

#[tokio::test]
async fn a_token_rotated_beside_a_running_hub_has_a_new_secret_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let old = hub.token(&["--name", "reader", "--role", "read", "--silo", "office"]);
    let id = &old[5..15];
    let rotate = |overlap: &str| {
        let output = hub.cli(&["token", "rotate", id, "--overlap", overlap]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let new = rotate("0");
    // From when on the old one is refused, the new one is known.
    wait_for_status(&Caller::new(&hub, &old), "/silos/office", 401).await;
    assert_eq!(Caller::new(&hub, &new).get("/silos/office").await.0, 200);
    let unknown = hub.cli(&["token", "rotate", "aaaaaaaaaa"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let wrong = hub.cli(&["token", "rotate", id, "--overlap", "7776001"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let log = hub.log();
    for credential in [&old, &new] {
        assert!(!log.contains(&credential[16..]), "a secret is in the log");
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log_at_any_level() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let wrong = format!("silo_aaaaaaaaaa_{}", "w".repeat(43));
    assert_eq!(Caller::new(&hub, &wrong).get("/silos/office").await.0, 401);
    let path = format!("/silos/office?token={wrong}");
    assert_eq!(admin.get(&path).await.0, 422, "no parameter of this route");
    let new = admin
        .request(reqwest::Method::POST, "/tokens")
        .json(&serde_json::json!({"name": "n", "role": "read", "silos": ["office"]}))
        .send()
        .await
        .unwrap();
    let new: serde_json::Value = new.json().await.unwrap();
    let secrets = [
        &hub.admin_token()[16..],
        &wrong[16..],
        &new["secret"].as_str().unwrap()[16..],
    ];
    let log = hub.log();
    assert!(
        log.contains("/silos/{id}"),
        "the log at debug level names routes:\n{log}"
    );
    for secret in secrets {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    let key = std::fs::read_to_string(hub.data_dir().join("hub.key")).unwrap();
    assert!(!log.contains(key.trim()));
}

#[tokio::test]
async fn usage_errors_exit_with_2_and_name_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("hub.yaml");
    std::fs::write(&config, "listen: 127.0.0.1:0\nlistn: 5\n").unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(binary("silo-hub"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, error) = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("listn") && error.contains("line 2"),
        "{error}"
    );
    let create = ["token", "create", "--init", "--name", "a", "--role", "read"];
    let (code, error) = run(&create);
    assert_eq!(code, Some(2));
    assert!(error.contains("--silo"), "{error}");
    let (code, _) = run(&["token", "revoke", "nonsense"]);
    assert_eq!(code, Some(2));
    let (code, error) = run(&["serve", "--database", "oracle://db"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("sqlite:"), "{error}");
    let (code, _) = run(&["frobnicate"]);
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn a_lost_key_is_named_and_can_be_reset() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let key = hub.data_dir().join("hub.key");
    std::fs::remove_file(&key).unwrap();
    let output = hub.cli(&["token", "list"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    for word in ["hub.key", "key_file", "silo-hub key reset"] {
        assert!(error.contains(word), "{error}");
    }
    assert!(
        !key.exists(),
        "a key that the database does not know is never created implicitly"
    );
    assert_eq!(hub.cli(&["key", "reset"]).status.code(), Some(0));
    assert_eq!(hub.cli(&["token", "list"]).status.code(), Some(0));
    let admin = Caller::new(&hub, &hub.admin_token());
    assert_eq!(admin.get("/silos").await.0, 200, "Bearer still works");
    // The running hub still has the old key: what it would seal could never be opened.
    let token = serde_json::json!({"name": "n", "role": "read", "silos": ["office"]});
    let made = admin
        .request(reqwest::Method::POST, "/tokens")
        .json(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 500);
    assert!(hub.log().contains("restart it"), "{}", hub.log());
}

#[tokio::test]
async fn a_second_hub_on_one_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let output = hub.cli(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("another silo-hub serves"), "{error}");
    // Nor from another data directory, on the same file.
    let database = format!("sqlite:{}", hub.data_dir().join("hub.db").display());
    let elsewhere = folder.path().join("elsewhere");
    let output = std::process::Command::new(binary("silo-hub"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database",
            &database,
            "--data-dir",
        ])
        .arg(elsewhere)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(hub.stop(), Some(0), "a stopped hub ends with 0");
}

#[cfg(unix)]
/// Waits until the hub has logged a line with these words.
#[cfg(unix)]
fn wait_for_log(hub: &Hub, words: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    let is_it = |line: &str| words.iter().all(|word| line.contains(word));
    while !hub.log().lines().any(is_it) {
        assert!(Instant::now() < deadline, "no {words:?} in {}", hub.log());
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn check_config_names_the_file_that_it_checks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.yaml");
    std::fs::write(&file, "listen: 127.0.0.1:7\n").unwrap();
    let checked = |arguments: &[&str]| {
        let mut command = Command::new(binary("silo-hub"));
        command.arg("check-config").args(arguments);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let file = file.to_str().unwrap();
    let said = checked(&["--config", file]);
    let first = format!("configuration: {file}\nlisten: 127.0.0.1:7\n");
    assert!(said.starts_with(&first), "{said}");
    let said = checked(&[]);
    assert!(said.contains("(no --config)"), "{said}");
    assert!(said.contains("listen: 127.0.0.1:8053"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_database_file_that_is_moved_away_is_logged_as_an_error_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let (file, aside) = (hub.data_dir().join("hub.db"), folder.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    let name = file.to_str().unwrap();
    wait_for_log(&hub, &["ERROR", name, "moved", "writes are refused"]);
    std::fs::rename(&aside, &file).unwrap();
    wait_for_log(&hub, &["INFO", name, "is back"]);
}

#[test]
fn a_relative_path_is_logged_with_where_it_leads() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let mut child = Command::new(binary("silo-hub"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "there"])
        .current_dir(&here)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = lines.by_ref().map_while(Result::ok);
    let is_listening = |line: &String| line.contains("listening on");
    let before: Vec<String> = log
        .by_ref()
        .take_while(|line| !is_listening(line))
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let leads = format!(
        "data_dir is a relative path: {}",
        here.join("there").display()
    );
    assert!(
        before.iter().any(|line| line.contains(&leads)),
        "{before:?}"
    );
}

#[tokio::test]
async fn files_with_secrets_are_private_to_their_owner() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(hub.data_dir()), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(hub.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 4, "database, log, key and token are there");
    // Also where the database is named by its URL.
    let named = folder.path().join("named.db");
    let database = format!("sqlite:{}", named.display());
    assert!(
        hub.cli(&["migrate", "--database", &database])
            .status
            .success()
    );
    assert_eq!(mode(&named), 0o600);
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    silo_e2e::write_private(&data_dir.join("hub.db"), &"no database".repeat(1000));
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(binary("silo-hub"))
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let data_dir = data_dir.to_str().unwrap();
    let (code, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("not a database") && error.contains("hub.db"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    let (code, error) = run(&["token", "list", "--data-dir", "/does/not/exist"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("/does/not/exist/hub.db"), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, error) = run(&["serve", "--data-dir", file.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(error.contains("not a folder"), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_credential_that_could_not_be_shown_does_not_stay_valid() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let data_dir = hub.data_dir().to_str().unwrap();
    let run = |arguments: &[&str]| {
        std::process::Command::new(binary("silo-hub"))
            .args(arguments)
            .args(["--data-dir", data_dir])
            .stdout(
                std::fs::File::options()
                    .write(true)
                    .open("/dev/full")
                    .unwrap(),
            )
            .output()
            .unwrap()
    };
    let create = run(&["token", "create", "--name", "lost", "--role", "admin"]);
    assert_eq!(create.status.code(), Some(1));
    let listed = hub.cli(&["token", "list"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("lost"));
    assert_eq!(run(&["token", "list"]).status.code(), Some(1));
    assert_eq!(run(&["config-example"]).status.code(), Some(1));
}

#[cfg(unix)]
#[tokio::test]
async fn a_hub_without_tls_goes_on_after_sighup_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    for times in 1..3 {
        hub.hang_up();
        until("the log says so", async || {
            (hub.log().matches("SIGHUP: nothing to read again").count() == times).then_some(())
        })
        .await;
    }
    assert_eq!(admin.get("/readyz").await.0, 200);
    assert_eq!(hub.stop(), Some(0));
}

#[tokio::test]
async fn a_silent_client_is_disconnected() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let address = hub.url().strip_prefix("http://").unwrap();
    let mut silent = std::net::TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    silent
        .read_to_end(&mut answer)
        .expect("the hub closes the connection");
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn update_keys_are_made_listed_and_revoked_beside_a_running_hub() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hub.yaml"), TRUSTS_LOOPBACK).unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let for_nas = ["update-key", "add", "--silo", "home", "--hostname", "nas"];
    let add = |more: &[&str]| hub.cli(&[&for_nas, more].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();

    let made = add(&[]);
    assert!(made.status.success(), "{made:?}");
    let key = text(&made.stdout);
    assert_eq!(key.len(), 22, "128 bits: {key}");
    let call = async |key: &str| {
        let path = format!("/u/{key}");
        let request = admin.request(reqwest::Method::GET, &path);
        let answer = request.header("x-forwarded-for", CLIENT).send().await;
        answer.unwrap().text().await.unwrap()
    };
    assert_eq!(call(&key).await, "OK");
    assert_eq!(call(&key).await, "UPTODATE");

    let weak = add(&["--key", "short?key=1"]);
    assert_eq!(weak.status.code(), Some(2));
    assert!(text(&weak.stderr).contains("--weak"), "{weak:?}");
    assert!(add(&["--key", "short?key=1", "--weak"]).status.success());
    assert_eq!(call("short?key=1").await, "UPTODATE");
    let twice = add(&["--key", "short?key=1", "--weak"]);
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");
    assert_eq!(add(&["--key", "a#b", "--weak"]).status.code(), Some(2));

    let listed = text(&hub.cli(&["update-key", "list"]).stdout);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(
        !listed.contains(&key) && !listed.contains("short"),
        "{listed}"
    );
    let id = listed.split(' ').next().unwrap().to_owned();
    assert!(hub.cli(&["update-key", "revoke", &id]).status.success());
    assert_eq!(call(&key).await, "BADKEY");
    assert_eq!(
        hub.cli(&["update-key", "revoke", &id]).status.code(),
        Some(1)
    );

    let log = hub.log();
    assert!(
        !log.contains(&key) && !log.contains("short"),
        "a key is in the log"
    );
    let database = std::fs::read(hub.data_dir().join("hub.db")).unwrap();
    let holds = |text: &str| database.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(
        !holds(&key) && !holds("short?key"),
        "a key is in the database"
    );
}
