//! The script that does ipupdater's client's part, as `docs/ipupdater.md` shows it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use silo_e2e::interceptor::Interceptor;
use silo_e2e::{Caller, Hub, TRUSTS_LOOPBACK, stanza, write_private};

use super::text;

const PAGE: &str = include_str!("../../../../docs/ipupdater.md");
const SCRIPT: &str = include_str!("../../../../packaging/scripts/silo-ipupdate.py");

#[test]
fn the_page_shows_the_script_and_python_3_6_can_read_it() {
    assert_eq!(stanza(PAGE, "python"), SCRIPT);
    let parse = "import ast, sys; ast.parse(sys.argv[1], feature_version=(3, 6))";
    let parsed = Command::new("python3").args(["-c", parse, SCRIPT]).output();
    let parsed = parsed.expect("python3 is installed");
    assert!(parsed.status.success(), "{}", text(&parsed.stderr));
    // Of the standard library, what is newer than 3.6.
    for newer in [
        "hmac.digest",
        "removeprefix",
        "capture_output",
        "fromisoformat",
    ] {
        assert!(!SCRIPT.contains(newer), "{newer}");
    }
    let cron = stanza(PAGE, "cron").trim();
    let line = cron.strip_prefix("*/5 * * * * root /usr/local/bin/");
    assert_eq!(line, Some(stanza(PAGE, "try").trim()));
}

/// A machine with the script, which seems to be at 10.0.0.7, and an interceptor on the way to the hub.
struct Machine {
    folder: tempfile::TempDir,
    _hub: Hub,
    interceptor: Interceptor,
    admin: Caller,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hub.yaml"), TRUSTS_LOOPBACK).unwrap();
        let hub = Hub::start(folder.path());
        let command = stanza(PAGE, "token").trim();
        let arguments = command
            .strip_prefix("silo-hub token create --data-dir /var/lib/silo-hub ")
            .expect("the page makes a token");
        let credential = hub.token(&arguments.split(' ').collect::<Vec<_>>());
        write_private(&folder.path().join("token"), &format!("{credential}\n"));
        Self {
            interceptor: Interceptor::start(hub.url()),
            admin: Caller::new(&hub, &hub.admin_token()),
            folder,
            _hub: hub,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The page's command in a shell, with more arguments and variables before it.
    fn run(&self, name: &str, before: &str, more: &str) -> Output {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../packaging/scripts/silo-ipupdate.py"
        );
        let line = stanza(PAGE, name)
            .trim()
            .replace("silo-ipupdate.py", script)
            .replace("http://10.0.0.1:8053", &self.interceptor.url())
            .replace("/etc/silo/token", self.path("token").to_str().unwrap())
            .replace(
                "/var/lib/silo-ipupdate",
                self.path("state").to_str().unwrap(),
            );
        let line = format!("{before} {line} {more}");
        Command::new("sh").args(["-c", &line]).output().unwrap()
    }

    fn update(&self, more: &str) -> (Option<i32>, String, String) {
        let output = self.run("try", "", more);
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    async fn ips(&self) -> serde_json::Value {
        self.admin.get("/silos/home/records/nas").await.1["ips"].clone()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("state").join("log")).unwrap_or_default()
    }
}

/// Runs a command with a wall clock that is off; the monotonic clock is unchanged.
fn faketime(offset: &str) -> String {
    format!("FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 faketime -f '{offset}'")
}

fn done(said: &str) -> (Option<i32>, String, String) {
    (Some(0), said.to_owned(), String::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_reports_changes_is_quiet_without_and_shows_the_last() {
    let machine = Machine::new();
    let none = machine.run("last", "", "");
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert_eq!(machine.update(""), done("home: nas is 10.0.0.7\n"));
    assert_eq!(machine.ips().await, serde_json::json!(["10.0.0.7"]));
    for _ in 0..2 {
        assert_eq!(machine.update(""), done(""), "nothing has changed");
    }
    assert_eq!(machine.log().lines().count(), 1, "{}", machine.log());
    let changed = "home: nas is 10.0.0.8, was 10.0.0.7\n";
    assert_eq!(machine.update("--address 10.0.0.8"), done(changed));
    let last = text(&machine.run("last", "", "").stdout);
    assert!(last.starts_with("10.0.0.8 20"), "{last}");
    let log = machine.log();
    assert!(
        log.contains("Z home: nas is 10.0.0.8, was 10.0.0.7\n"),
        "{log}"
    );
    // Another client has set it: that is corrected and reported.
    machine
        .admin
        .put_ip("home", "nas", "10.0.0.9")
        .await
        .unwrap();
    let again = "home: nas is 10.0.0.8\n";
    assert_eq!(machine.update("--address 10.0.0.8"), done(again));
    // The secret does not travel.
    let token = std::fs::read_to_string(machine.path("token")).unwrap();
    let secret = token.trim().splitn(3, '_').nth(2).unwrap();
    for exchange in machine.interceptor.take() {
        assert!(!text(&exchange.request).contains(secret));
    }
}

/// The script ended with this code and one line that holds these words.
fn failed(output: &Output, code: i32, words: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}: {error}");
    assert!(error.contains(words), "{words}: {error}");
    assert!(!error.contains("Traceback"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(text(&output.stdout), "", "{words}");
}

fn refuses_forged_answers(machine: &Machine) {
    let forged = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"ip\":\"6.6.6.6\"}";
    machine.interceptor.forge(|_| forged.as_bytes().to_vec());
    failed(&machine.run("try", "", ""), 1, "is not signed");
    machine.interceptor.forge(|exchange| {
        let answer = text(&exchange.answer);
        answer.replace("10.0.0.7", "10.6.6.6").into_bytes()
    });
    failed(&machine.run("try", "", ""), 1, "its signature is wrong");
    machine.interceptor.forge(|_| b"no HTTP\r\n\r\n".to_vec());
    failed(&machine.run("try", "", ""), 1, "cannot be reached");
    machine
        .interceptor
        .forge(|exchange| exchange.answer.clone());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_of_the_script_has_its_code_and_its_words_and_changes_nothing() {
    let machine = Machine::new();
    assert_eq!(machine.update(""), done("home: nas is 10.0.0.7\n"));
    let token = machine.path("token");
    let (good, open) = (std::fs::read(&token).unwrap(), machine.path("open"));
    std::fs::write(&open, &good).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let no_token = machine.path("no-token");
    write_private(&no_token, "cumuli123\n");
    let unknown = machine.path("unknown");
    write_private(&unknown, &format!("silo_aaaaaaaaaa_{}\n", "x".repeat(43)));
    let file = |path: &Path| format!("--token-file {}", path.display());
    for (more, code, words) in [
        (file(&open), 2, "others can read it: run `chmod 600"),
        (file(&no_token), 2, "holds no token"),
        (file(&machine.path("none")), 2, "No such file"),
        (file(&unknown), 1, "401: the hub does not know the token"),
        ("--hub hub.lan:8053".to_owned(), 2, "expected a URL such as"),
        (
            "--hub http://127.0.0.1:x".to_owned(),
            2,
            "the port is not a number",
        ),
        (
            "--hub http://127.0.0.1:1".to_owned(),
            1,
            "cannot be reached",
        ),
        (
            "--hostname cam --address 10.0.0.9".to_owned(),
            1,
            "403: the token may not do this",
        ),
        (
            "--within 192.0.2.0/24".to_owned(),
            1,
            "10.0.0.7 is not within 192.0.2.0/24",
        ),
        ("--address 0.0.0.0".to_owned(), 1, "is not a usable address"),
    ] {
        failed(&machine.run("try", "", &more), code, words);
    }
    for more in ["--address nowhere", "--hostname a/b", "--silo ''"] {
        let output = machine.run("try", "", more);
        assert_eq!(output.status.code(), Some(2), "{more}: {output:?}");
    }
    // A clock that is off, by name and with its offset.
    for (offset, side) in [("-1000s", "behind"), ("+1000s", "ahead of")] {
        let faked = machine.run("try", &faketime(offset), "");
        failed(&faked, 1, "401 clock: this machine's clock is ");
        assert!(text(&faked.stderr).contains(side), "{faked:?}");
    }
    // What the hub has taken is said where the state folder can't be written.
    let elsewhere = format!("--state-dir {}/below", token.display());
    let unkept = machine.run("try", "", &elsewhere);
    assert_eq!(unkept.status.code(), Some(1), "{unkept:?}");
    let words = "the hub has 10.0.0.7, but the state folder can't be written";
    assert!(text(&unkept.stderr).contains(words), "{unkept:?}");
    // A newer write was accepted already.
    let newer = machine.run("try", &faketime("+100s"), "--address 10.0.0.7");
    assert_eq!(newer.status.code(), Some(0), "{newer:?}");
    failed(
        &machine.run("try", "", "--address 10.0.0.7"),
        1,
        "401 order",
    );
    refuses_forged_answers(&machine);
    assert_eq!(machine.ips().await, serde_json::json!(["10.0.0.7"]));
    assert!(
        machine.log().contains("Z failed: GET /ip: 401 clock"),
        "{}",
        machine.log()
    );
}
