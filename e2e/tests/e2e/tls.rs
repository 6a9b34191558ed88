//! TLS in the hub and in both agents, by OpenSSL and curl, as `docs/tls.md` has it.

mod agents;
mod certificates;
mod mix_ups;
mod plain;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use silo_e2e::{Hub, PATIENCE, binary, logs, write_private};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command says on stdout; it must end well.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        // No state of an upstream agent is left on this machine.
        .env("STATE_DIRECTORY", "/dev/null/state")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// A block of the documentation, by its language and by words in it.
fn stanza(language: &str, words: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tls.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .find(|block| block.contains(words))
        .unwrap_or_else(|| panic!("docs/tls.md has no {language} with {words}"))
        .to_owned()
}

fn pin_of(cert: &Path) -> String {
    let command =
        stanza("sh", "openssl x509").replace("/etc/silo/cert.pem", cert.to_str().unwrap());
    said(&run("sh", &["-c", &command])).trim().to_owned()
}

/// Makes `cert.pem` and `key.pem` by the hub's own command line; answers the pin that it prints.
fn self_signed(folder: &Path, names: &[&str]) -> String {
    let mut arguments = vec!["tls", "self-signed", "--out", folder.to_str().unwrap()];
    for name in names {
        arguments.extend(["--name", name]);
    }
    let printed = said(&run(binary("silo-hub").to_str().unwrap(), &arguments));
    let (_, pin) = printed.split_once("pin_sha256: sha256//").unwrap();
    pin.trim().to_owned()
}

/// The documentation's configuration of a hub, for this folder and any port.
fn configured(folder: &Path, words: &str) -> String {
    stanza("yaml", words)
        .replace("/etc/silo", folder.to_str().unwrap())
        .replace("0.0.0.0:8053", "127.0.0.1:0")
        .replace("0.0.0.0:8052", "127.0.0.1:0")
}

struct Site {
    folder: tempfile::TempDir,
    hub: Hub,
    pin: String,
}

impl Site {
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pin = self_signed(folder.path(), names);
        let config = configured(folder.path(), "key.pem\n");
        std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
        let hub = Hub::start(folder.path());
        assert!(hub.url().starts_with("https://127.0.0.1:"), "{}", hub.url());
        Self { folder, hub, pin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn port(&self) -> &str {
        self.hub.url().rsplit(':').next().unwrap()
    }

    /// The pin that the hub serves now.
    fn served(&self) -> String {
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509 > {}",
            self.port(),
            self.path("served.pem").display()
        );
        said(&run("sh", &["-c", &script]));
        pin_of(&self.path("served.pem"))
    }

    fn wait_for_log(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.hub.log();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no {words:?} in:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn agent(&self, program: &str, arguments: &[&str]) -> Output {
        write_private(&self.path("token"), &self.hub.admin_token());
        if !self.path("hosts").exists() {
            std::fs::write(self.path("hosts"), "127.0.0.1 localhost\n").unwrap();
        }
        let mut command = Command::new(binary(program));
        command.args(["--silo", "office", "--token-file"]);
        command.arg(self.path("token"));
        if program == "silo-upstream" {
            let config = self.path("upstream.yaml");
            write_private(&config, "addresses: { command: [echo, 10.0.0.5] }\n");
            command
                .arg("--config")
                .arg(config)
                .args(["--hostnames", "db"]);
        } else {
            command.arg("--hosts-file").arg(self.path("hosts"));
            command.arg("--state-dir").arg(self.path("state"));
        }
        logs::run(command.args(arguments))
    }

    fn hosts(&self) -> String {
        std::fs::read_to_string(self.path("hosts")).unwrap()
    }
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let site = Site::new(&["localhost", "127.0.0.1"]);
    let cert = site.path("cert.pem");
    let ping = |arguments: &[&str]| {
        let url = format!("https://localhost:{}/ping", site.port());
        let write = "%{http_code} %{http_version}";
        let cert = cert.to_str().unwrap();
        let all = [
            "-sS",
            "--cacert",
            cert,
            "-o",
            "/dev/null",
            "-w",
            write,
            &url,
        ];
        run("curl", &[&all, arguments].concat())
    };
    for (arguments, answer) in [
        (&["--tlsv1.2", "--tls-max", "1.2"][..], "200 2"),
        (&["--tlsv1.3"], "200 2"),
        (&["--http1.1", "--tlsv1.2", "--tls-max", "1.2"], "200 1.1"),
        (&["--http1.1"], "200 1.1"),
    ] {
        assert_eq!(said(&ping(arguments)), answer, "{arguments:?}");
    }
    let at = format!("127.0.0.1:{}", site.port());
    for (version, spoken) in [("-tls1_1", false), ("-tls1", false), ("-tls1_2", true)] {
        let level = ["s_client", "-connect", &at, "-cipher", "DEFAULT@SECLEVEL=0"];
        let output = run("openssl", &[&level[..], &[version]].concat());
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.success(), spoken, "{version}: {all}");
        // An alert came: it was the hub that refused, not this OpenSSL.
        assert_eq!(
            all.contains("SSL alert number"),
            !spoken,
            "{version}: {all}"
        );
    }
}

#[test]
fn over_http_2_too_pages_of_other_sites_may_not_write() {
    let site = Site::new(&["127.0.0.1"]);
    let bearer = format!("Authorization: Bearer {}", site.hub.admin_token());
    let url = format!("{}/silos/office/records/db", site.hub.url());
    let put = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let cert = site.path("cert.pem");
        let output = run(
            "curl",
            &[
                &[
                    "-sS",
                    "--http2",
                    "--cacert",
                    cert.to_str().unwrap(),
                    "-X",
                    "PUT",
                ][..],
                &["-H", &bearer, "-H", &origin, "-d", "{\"ip\":\"10.0.0.5\"}"],
                &[
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code} %{http_version}",
                    &url,
                ],
            ]
            .concat(),
        );
        said(&output)
    };
    // Refused before its content was read, the request ends without an error.
    for _ in 0..10 {
        assert_eq!(put("https://evil.example"), "403 2");
    }
    assert_eq!(
        put("https://127.0.0.1"),
        "403 2",
        "another port is another origin"
    );
    assert_eq!(put(site.hub.url()), "201 2");
}

#[test]
fn the_pages_stanzas_work_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let path = binary("silo-hub").parent().unwrap().display().to_string();
    let shell = |script: &str| {
        let script = format!("set -e\nPATH={path}:$PATH\n{script}");
        said(&run("sh", &["-c", &script]))
    };
    let make = stanza("sh", "self-signed").replace("/etc/silo", at);
    assert!(make.contains("--name hub.lan"), "{make}");
    let printed = shell(&make.replace("--name 10.0.0.1", "--name 127.0.0.1"));
    assert!(
        printed.contains(&format!("cert: \"{at}/cert.pem\"")),
        "{printed}"
    );
    let pin = pin_of(&folder.path().join("cert.pem"));
    assert!(
        printed.contains(&format!("pin_sha256: sha256//{pin}")),
        "{printed}"
    );
    let (hub_part, _) = printed.split_once("\n\n").unwrap();
    for config in [
        hub_part.to_owned(),
        configured(folder.path(), "plain_listen"),
        configured(folder.path(), "plain_allow"),
        configured(folder.path(), "requests_per_minute"),
    ] {
        let file = folder.path().join("one.yaml");
        std::fs::write(&file, &config).unwrap();
        let checked = shell(&format!(
            "silo-hub check-config --config {}",
            file.display()
        ));
        assert_eq!(config.contains("tls:"), checked.contains(&pin), "{checked}");
    }
    std::fs::write(
        folder.path().join("hub.yaml"),
        configured(folder.path(), "key.pem\n"),
    )
    .unwrap();
    let hub = Hub::start(folder.path());
    let port = hub.url().rsplit(':').next().unwrap();
    const PRINTED: &str = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
    let calls = stanza("sh", "curl --insecure")
        .replace(PRINTED, &pin)
        .replace("/etc/silo", at)
        .replace("hub.lan:8053", &format!("hub.lan:{port}"))
        .replace(
            "curl ",
            &format!("curl -sS --resolve hub.lan:{port}:127.0.0.1 "),
        );
    assert_eq!(shell(&calls).matches("PONG").count(), 2, "{calls}");
    for (program, words) in [("upstream", PRINTED), ("downstream", "ca_file")] {
        let config = stanza("yaml", words)
            .replace(PRINTED, &pin)
            .replace("/etc/silo/ca.pem", &format!("{at}/cert.pem"))
            .replace("hub.lan:8053", &format!("127.0.0.1:{port}"));
        let more = match program {
            "upstream" => "addresses: {command: [echo, 10.0.0.5]}\nhostnames: [db]\n".to_owned(),
            _ => format!("hosts_file: {at}/hosts\nstate_dir: {at}/state\n"),
        };
        let token = folder.path().join("token");
        write_private(&token, &hub.admin_token());
        std::fs::write(folder.path().join("hosts"), "").unwrap();
        let file = folder.path().join(format!("{program}.yaml"));
        write_private(
            &file,
            &format!(
                "{config}{more}silo: office\ntoken_file: {}\n",
                token.display()
            ),
        );
        shell(&format!("silo-{program} --config {}", file.display()));
    }
    let hosts = std::fs::read_to_string(folder.path().join("hosts")).unwrap();
    assert!(hosts.contains("10.0.0.5 db"), "{hosts}");
}
