//! Commands of the documentation's pages.

use std::process::{Output, Stdio};

/// What a command line of a page comes to in a shell.
pub(crate) async fn shell(command: &str) -> Output {
    let mut shell = tokio::process::Command::new("sh");
    shell.env("CURL_HOME", silo_e2e::CURL_HOME);
    let output = shell.args(["-ec", command]).stdin(Stdio::null()).output();
    output.await.expect("there is a shell")
}

/// What a command line of a page prints, which must succeed.
pub(crate) async fn printed(command: &str) -> String {
    let output = shell(command).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}
