//! Signatures that others make and verify: an implementation that is not ours, and the pages of the
//! documentation, run as they are printed.

mod ipupdater;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use silo_e2e::interceptor::Interceptor;
use silo_e2e::{Caller, Hub, write_private};

const PAGE: &str = include_str!("../../../docs/signing.md");

/// The independent implementation, at the version that was looked at.
const PACKAGE: &str = "http-message-signatures==3.0.0";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program prints, which must succeed.
fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The folder of the Python package, installed by pip when it is not there yet.
fn package() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-signatures");
    let there = Command::new("python3")
        .args(["-c", "import http_message_signatures"])
        .env("PYTHONPATH", &folder)
        .output()
        .expect("python3 is installed (scripts/test installs it)");
    if !there.status.success() {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--upgrade",
            PACKAGE,
            "--target",
        ]);
        let installed = pip.arg(&folder).output().unwrap();
        assert!(
            installed.status.success(),
            "{PACKAGE} can't be installed (Debian's python3-pip brings pip): {}",
            text(&installed.stderr)
        );
    }
    folder
}

#[test]
fn an_independent_implementation_signs_for_the_hub_and_verifies_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/e2e/signed_by_others/independent.py"
    );
    let output = Command::new("python3")
        .args([script, hub.url()])
        .env("PYTHONPATH", package())
        .env("TOKEN", hub.admin_token())
        .output()
        .unwrap();
    assert_eq!(
        printed(&output).lines().collect::<Vec<_>>(),
        [
            "PUT /silos/office/records/nas 201",
            "GET /silos/office 200",
            "GET /silos/office 304",
            "GET /silos/office?format=hosts 200",
            "GET /ip 200",
            "GET /silos/none 404",
            "PUT /silos/office/records/nas 412",
            "PUT /silos/office/records/nas 422",
            "DELETE /silos/office/records/nas?family=4 204",
        ]
    );
}

/// A program of the page.
fn from_page(name: &str, language: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("<!-- run: {name} -->\n```{language}\n"))
        .expect("the page has it");
    rest.split_once("\n```").unwrap().0
}

/// Runs a documented program against a hub, and against a hub behind an interceptor.
async fn try_out(interpreters: &[&str], name: &str, language: &str) {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let interceptor = Interceptor::start(hub.url());
    let token = folder.path().join("nas.token");
    let credential = hub.token(&["--name", "n", "--role", "write", "--silo", "office"]);
    write_private(&token, &format!("{credential}\n"));
    let program = folder.path().join("program");
    std::fs::write(&program, from_page(name, language)).unwrap();
    let url = interceptor.loopback_url();
    for interpreter in interpreters {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(interpreter);
            command.arg(&program).args(arguments);
            command.env("TOKEN_FILE", &token).output().unwrap()
        };
        let record = format!("{url}/silos/office/records/nas");
        let admin = Caller::new(&hub, &hub.admin_token());
        let written = printed(&run(&[
            "PUT",
            &record,
            r#"{"ip":"10.0.0.7","comment":"it's 5% ü"}"#,
        ]));
        assert!(
            written.contains("10.0.0.7") && written.contains("5% ü"),
            "{written}"
        );
        let stored = admin.get("/silos/office/records/nas").await.1;
        assert_eq!(stored["ips"], serde_json::json!(["10.0.0.7"]));
        let hosts = printed(&run(&["GET", &format!("{url}/silos/office?format=hosts")]));
        assert_eq!(hosts, "10.0.0.7 nas\n");
        // A refusal of the hub's own is printed, and fails.
        let refused = run(&["GET", &format!("{url}/silos/other")]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            text(&refused.stdout).contains("/problems/not-found"),
            "{refused:?}"
        );
        // What is not the hub's own is not printed.
        interceptor.take();
        interceptor.forge(|exchange| {
            let answer = String::from_utf8_lossy(&exchange.answer).into_owned();
            answer.replace("10.0.0.7", "10.6.6.6").into_bytes()
        });
        let forged = run(&["GET", &record]);
        interceptor.forge(|exchange| exchange.answer.clone());
        assert_eq!(forged.status.code(), Some(1), "{forged:?}");
        assert!(
            text(&forged.stderr).contains("is not signed by the hub"),
            "{forged:?}"
        );
        assert_eq!(text(&forged.stdout), "");
        let secret = credential.splitn(3, '_').nth(2).unwrap();
        assert!(
            interceptor
                .take()
                .iter()
                .all(|exchange| !text(&exchange.request).contains(secret))
        );
        assert_eq!(printed(&run(&["DELETE", &record])), "");
        assert_eq!(admin.get("/silos/office/records/nas").await.0, 404);
    }
}

#[tokio::test]
async fn the_printed_shell_script_signs_and_verifies() {
    try_out(&["sh", "bash"], "shell", "sh").await;
}

#[tokio::test]
async fn the_printed_python_signs_and_verifies() {
    try_out(&["python3"], "python", "python").await;
}
