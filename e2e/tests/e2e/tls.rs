//! TLS in the hub and in both agents, by OpenSSL and curl, as `docs/tls.md` has it.

mod agents;
mod mix_ups;
mod plain;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use silo_e2e::{Hub, PATIENCE, PAUSE, binary, logs, write_private};

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

/// A client that takes any certificate: what is served is looked at apart.
fn client(keeps: usize) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .pool_max_idle_per_host(keeps)
        .timeout(PATIENCE)
        .build()
        .unwrap()
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_served_without_a_lost_request() {
    let site = Site::new(&["127.0.0.1"]);
    let admin = site.hub.admin_token();
    let url = format!("{}/silos/office", site.hub.url());
    let body = json!({"dnsrecords": [{"hostname": "db", "ip": "10.0.0.5"}]});
    let put = async |body: &Value| {
        let request = client(1).put(&url).bearer_auth(&admin).json(body);
        request.send().await.unwrap()
    };
    let tag = put(&body).await.headers()["etag"].clone();
    // A request that is under way through all of it.
    let waiting = client(1)
        .get(&url)
        .bearer_auth(&admin)
        .header("if-none-match", tag)
        .header("prefer", "wait=120")
        .timeout(Duration::from_secs(120));
    let waiting = tokio::spawn(waiting.send());
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let (url, admin) = (url.clone(), admin.clone());
            // Half of them use a new connection each time.
            let client = client(number % 2);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).bearer_auth(&admin).send().await;
                    assert_eq!(answer.expect("no request is lost").status(), 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut pins = vec![site.pin.clone()];
    for round in 0..4 {
        let fresh = site.path(&format!("fresh-{round}"));
        let pin = self_signed(&fresh, &["127.0.0.1"]);
        assert!(!pins.contains(&pin));
        // One after the other, and each in place: neither fits the other for a moment.
        for name in ["key.pem", "cert.pem"] {
            std::fs::copy(fresh.join(name), site.path(name)).unwrap();
        }
        if round % 2 == 0 {
            site.hub.hang_up();
        }
        let before = done.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while site.served() != pin {
            assert!(
                Instant::now() < deadline,
                "the old certificate is still served"
            );
        }
        while done.load(Ordering::Relaxed) == before {
            assert!(Instant::now() < deadline, "no request is answered");
            tokio::time::sleep(PAUSE).await;
        }
        pins.push(pin);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request is lost");
    }
    assert!(!waiting.is_finished(), "nothing has changed yet");
    put(&json!({"dnsrecords": []})).await;
    let answer = waiting.await.unwrap().expect("its connection was kept");
    assert_eq!(answer.status(), 200);
    println!(
        "{} requests through 4 certificates",
        done.load(Ordering::Relaxed)
    );
}

#[test]
fn what_can_not_be_used_leaves_the_old_certificate() {
    let site = Site::new(&["127.0.0.1"]);
    let (cert, key) = (site.path("cert.pem"), site.path("key.pem"));
    let good = std::fs::read(&cert).unwrap();
    let other = site.path("other");
    self_signed(&other, &["127.0.0.1"]);
    let refused = |field: &str, path: &Path, why: &str| {
        let line = site.wait_for_log(why);
        let place = format!("tls.{field}: {}: ", path.display());
        assert!(
            line.contains(&place) && line.contains("stays in use"),
            "{line}"
        );
        assert_eq!(site.served(), site.pin);
    };
    // Noticed by itself, and said once however often it is looked at.
    std::fs::write(&cert, "nonsense").unwrap();
    refused("cert", &cert, "holds no PEM certificate");
    std::fs::write(&cert, &good[..good.len() / 2]).unwrap();
    refused("cert", &cert, "broken");
    let said = site.hub.log().matches("holds no PEM certificate").count();
    assert_eq!(said, 1);
    // Logged immediately after the signal.
    std::fs::copy(other.join("cert.pem"), &cert).unwrap();
    site.hub.hang_up();
    refused("key", &key, "this is not the key of the certificate");
    std::fs::remove_file(&cert).unwrap();
    site.hub.hang_up();
    refused("cert", &cert, "No such file");
    std::fs::write(&cert, &good).unwrap();
    let key_text = std::fs::read(&key).unwrap();
    std::fs::write(&key, "nonsense").unwrap();
    site.hub.hang_up();
    refused("key", &key, "holds no PEM private key");
    std::fs::write(&key, key_text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        site.hub.hang_up();
        // The log has hexadecimal dumps too.
        refused("key", &key, "its mode is 0644");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    // And fixed.
    for name in ["key.pem", "cert.pem"] {
        let text = std::fs::read(other.join(name)).unwrap();
        std::fs::write(site.path(name), text).unwrap();
    }
    site.wait_for_log("serving a new certificate");
    assert_eq!(site.served(), pin_of(&other.join("cert.pem")));
    assert!(!site.hub.log().contains("PRIVATE KEY"));
}

/// A key and a certificate as sftdyn's instructions make them: of X.509 version 1.
fn by_openssl_without_extensions(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (key, request, cert) = (path("rsa.pem"), path("rsa.csr"), path("version1.pem"));
    let openssl = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        said(&run("openssl", &arguments))
    };
    openssl(&format!("genrsa -out {key} 2048"));
    openssl(&format!(
        "req -new -key {key} -subj /CN=hub.lan -out {request}"
    ));
    openssl(&format!(
        "x509 -req -days 365 -in {request} -signkey {key} -out {cert}"
    ));
    let shown = openssl(&format!("x509 -in {cert} -noout -text"));
    assert!(shown.contains("Version: 1 (0x0)"), "{shown}");
    (key, cert)
}

#[test]
fn wrong_settings_end_with_2_and_name_setting_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    self_signed(folder.path(), &["localhost"]);
    self_signed(&folder.path().join("other"), &["localhost"]);
    std::fs::write(folder.path().join("empty"), "").unwrap();
    let try_with = |verb: &str, arguments: &[&str]| {
        let mut all = vec![verb, "--listen", "127.0.0.1:0", "--data-dir"];
        let data = path("data");
        all.push(&data);
        all.extend(arguments);
        let output = run(binary("silo-hub").to_str().unwrap(), &all);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        text(&output.stderr)
    };
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let (rsa_key, version_1) = by_openssl_without_extensions(folder.path());
    for (cert, key, field, why) in [
        (
            version_1.clone(),
            rsa_key.clone(),
            "tls.cert",
            "is of X.509 version 1",
        ),
        (
            version_1,
            rsa_key,
            "tls.cert",
            "`silo-hub tls self-signed --name HOST --out FOLDER`",
        ),
        (path("none"), key.clone(), "tls.cert", "No such file"),
        (
            path("empty"),
            key.clone(),
            "tls.cert",
            "holds no PEM certificate",
        ),
        (
            key.clone(),
            key.clone(),
            "tls.cert",
            "holds no PEM certificate",
        ),
        (cert.clone(), path("none"), "tls.key", "No such file"),
        (
            cert.clone(),
            path("other/key.pem"),
            "tls.key",
            "this is not the key of the certificate",
        ),
    ] {
        for verb in ["check-config", "serve"] {
            let error = try_with(verb, &["--tls-cert", &cert, "--tls-key", &key]);
            let file = if field == "tls.cert" { &cert } else { &key };
            for word in [field, file.as_str(), why] {
                assert!(error.contains(word), "{verb}: no {word} in {error}");
            }
        }
    }
    assert!(!folder.path().join("data").exists(), "nothing was begun");
    assert!(try_with("check-config", &["--tls-cert", &cert]).contains("tls.key"));
    assert!(try_with("check-config", &["--tls-key", &key]).contains("tls.cert"));
    assert!(
        try_with("check-config", &["--tls-plain-listen", "127.0.0.1:0"])
            .contains("tls.plain_listen")
    );
    let make = |arguments: &[&str]| {
        let all = [&["tls", "self-signed", "--out"], arguments].concat();
        let output = run(binary("silo-hub").to_str().unwrap(), &all);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        text(&output.stderr)
    };
    let before = std::fs::read(&cert).unwrap();
    assert!(
        make(&[folder.path().to_str().unwrap(), "--name", "localhost"]).contains("not overwritten")
    );
    assert_eq!(std::fs::read(&cert).unwrap(), before);
    assert!(make(&[&path("new"), "--name", "no name"]).contains("no name"));
    assert!(make(&[&path("new"), "--name", "a", "--days", "0"]).contains("--days"));
    assert!(make(&[&path("new")]).contains("--name"));
    assert!(!folder.path().join("new").exists());
}
