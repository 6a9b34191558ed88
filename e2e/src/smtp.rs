//! An SMTP server of the test's own, in a temporary folder, which it may stop and start: Debian's
//! aiosmtpd, driven by `smtp_server.py`, which says which addresses it refuses.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::{PATIENCE, PAUSE};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/smtp_server.py");
/// The interpreter that Debian's package is for.
const PYTHON: &str = "/usr/bin/python3";

/// Who may send mail to a server that asks.
pub const USER: &str = "hub@example.net";
/// With what password.
pub const PASSWORD: &str = "correct horse";

/// How a server encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// It takes nothing before STARTTLS.
    StartTls,
    /// From the first byte.
    Tls,
    /// Not at all.
    None,
}

/// A running (or stopped) server.
#[derive(Debug)]
pub struct SmtpServer {
    folder: tempfile::TempDir,
    security: Security,
    asks: bool,
    port: u16,
    child: Option<Child>,
}

/// A mail as its receiver's program sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedMail(pub Value);

impl SmtpServer {
    /// Starts a server. `asks`: it takes mail only from [`USER`].
    pub fn start(security: Security, asks: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        if security != Security::None {
            make_certificate(folder.path());
        }
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n"))
            .expect("a temporary folder can be written");
        let mut this = Self {
            folder,
            security,
            asks,
            port: 0,
            child: None,
        };
        this.start_again();
        this
    }

    /// Starts a stopped server on the port that it had.
    pub fn start_again(&mut self) {
        let security = match self.security {
            Security::StartTls => "starttls",
            Security::Tls => "tls",
            Security::None => "none",
        };
        let mut command = Command::new(PYTHON);
        command.args([SCRIPT, "serve"]).arg(self.folder.path());
        command.args([&self.port.to_string(), security]);
        if self.asks {
            command.arg(USER).arg(self.folder.path().join("password"));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{PYTHON}: {error}"));
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("a pipe can be read");
        self.port = line.trim().parse().unwrap_or_else(|_| {
            panic!("the SMTP server did not start (is python3-aiosmtpd installed?)")
        });
        self.child = Some(child);
    }

    /// Stops the server; connections are refused from then on.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it is a child");
        }
    }

    /// The port on 127.0.0.1, which `localhost` names in the certificate.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Whether `busy@` and `later@` are asked to come again later, and `dropped@` gets no answer.
    pub fn set_busy(&self, busy: bool) {
        self.set("busy", busy);
    }

    /// Whether mail to `late@`, which is taken, gets no answer for now.
    pub fn set_late(&self, late: bool) {
        self.set("late", late);
    }

    fn set(&self, name: &str, is_set: bool) {
        let path = self.folder.path().join(name);
        let done = if is_set {
            std::fs::write(path, "")
        } else {
            std::fs::remove_file(path)
        };
        done.expect("a temporary folder can be written");
    }

    /// All mails that it has taken, oldest first.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder is there");
        let mut paths: Vec<_> = entries
            .map(|entry| entry.expect("the folder can be read").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .collect();
        paths.sort();
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).expect("the server wrote it");
            ReceivedMail(serde_json::from_str(&text).expect("the server writes JSON"))
        };
        paths.iter().map(read).collect()
    }

    /// Waits until there are as many mails, and gives them.
    pub fn wait_for(&self, count: usize) -> Vec<ReceivedMail> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            let log = self.log();
            assert!(
                Instant::now() < deadline,
                "{} of {count} mails came:\n{log}",
                mails.len()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// The commands that it was given, a line each, such as `RCPT a@example.net`.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ReceivedMail {
    /// Reads a file that a sendmail was given.
    pub fn read(path: &Path) -> Self {
        let mut command = Command::new(PYTHON);
        let output = command.args([SCRIPT, "read"]).arg(path).output();
        let output = output.unwrap_or_else(|error| panic!("{PYTHON}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout);
        Self(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}")))
    }

    /// A header, decoded; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let headers = self.0["headers"].as_array().into_iter().flatten();
        let mut named = headers.filter(|header| header[0] == name);
        let value = named.next().map_or("", |h| h[1].as_str().expect("a text"));
        assert!(named.next().is_none(), "duplicate {name}");
        value
    }

    /// The body of a media type, decoded; empty if there is none.
    pub fn part(&self, kind: &str) -> &str {
        let mut parts = self.0["parts"].as_array().into_iter().flatten();
        let part = parts.find(|part| part[0] == kind);
        part.map_or("", |part| part[1].as_str().expect("a text"))
    }

    /// The receivers of the envelope.
    pub fn receivers(&self) -> Vec<&str> {
        let receivers = self.0["to"].as_array().into_iter().flatten();
        receivers.map(|to| to.as_str().expect("a text")).collect()
    }
}

/// A certificate for localhost, and its key.
fn make_certificate(folder: &Path) {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .unwrap_or_else(|error| panic!("openssl: {error}"));
    assert!(output.status.success(), "{output:?}");
}
