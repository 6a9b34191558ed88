//! Certificates that are replaced, and those that cannot be used.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use silo_e2e::{PATIENCE, PAUSE, binary};

use super::{Site, pin_of, run, said, self_signed, text};

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

/// A key and a certificate as sftdyn's instructions make them with OpenSSL 3.0: of X.509 version 1.
fn by_openssl_without_extensions(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (key, config, cert) = (path("rsa.pem"), path("rsa.cnf"), path("version1.pem"));
    let openssl = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        said(&run("openssl", &arguments))
    };
    openssl(&format!("genrsa -out {key} 2048"));
    std::fs::write(&config, "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
    let make =
        format!("req -x509 -config {config} -key {key} -subj /CN=hub.lan -days 365 -out {cert}");
    // Since 3.4 OpenSSL adds extensions by itself, unless it is given an option that 3.0 does not know.
    let version_1 = format!("{make} -x509v1");
    let version_1: Vec<&str> = version_1.split(' ').collect();
    if !run("openssl", &version_1).status.success() {
        openssl(&make);
    }
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
