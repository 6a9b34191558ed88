//! The listener without TLS beside the one with TLS.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use silo_e2e::{Hub, PATIENCE, TRUSTS_LOOPBACK, binary};

use super::{configured, run, said, self_signed, text};

/// Where a hub listens without TLS; it tells so after the other address.
fn plain_url(hub: &Hub) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = hub.log();
        let said = log.split_once("listening on http://");
        if let Some((address, _)) = said.and_then(|(_, rest)| rest.split_once(' ')) {
            return format!("http://{address}");
        }
        assert!(Instant::now() < deadline, "{log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn without_tls_only_ping_and_signed_requests_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    self_signed(folder.path(), &["localhost"]);
    let config = configured(folder.path(), "plain_listen") + "compat: {sftdyn: true}\n";
    std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
    let hub = Hub::start(folder.path());
    let plain = plain_url(&hub);
    let bearer = format!("Authorization: Bearer {}", hub.admin_token());
    let signed = "Signature-Input: silo=(\"@method\");keyid=\"aaaaaaaaaa\"";
    let ask = |path: &str, headers: &[&str]| {
        let mut arguments = vec!["-sS", "-w", "\n%{http_code}"];
        for header in headers {
            arguments.extend(["-H", header]);
        }
        let url = format!("{plain}{path}");
        arguments.push(&url);
        let answer = said(&run("curl", &arguments));
        let (body, status) = answer.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    };
    assert_eq!(ask("/ping", &[]).0, "200");
    assert_eq!(ask("/ping", &[&bearer]).0, "200");
    for (path, headers) in [
        ("/silos", vec![bearer.as_str()]),
        ("/silos", vec![bearer.as_str(), signed]),
        ("/silos", vec![]),
        ("/ip", vec![]),
        ("/", vec![]),
        ("/", vec![signed]),
        ("/healthz", vec![signed]),
        ("/readyz", vec![signed]),
        ("/pinge", vec![]),
        ("/u/key", vec![]),
        ("/nic/update?hostname=db", vec![]),
    ] {
        let (status, body) = ask(path, &headers);
        assert_eq!(status, "403", "{path} {headers:?}: {body}");
        assert!(body.contains("/problems/unencrypted"), "{path}: {body}");
    }
    // Behind the gate the signature itself is judged; protocols with secrets have no routes there.
    for path in ["/silos", "/u/key", "/key", "/nic/update?hostname=db"] {
        assert_eq!(ask(path, &[signed]).0, "401", "{path}");
    }
    // The response to a signed request is readable on the network: it never contains a new secret.
    for path in ["/tokens", "/tokens/aaaaaaaaaa/rotate"] {
        let url = format!("{plain}{path}");
        let answer = said(&run("curl", &["-sS", "-X", "POST", "-H", signed, &url]));
        assert!(answer.contains("/problems/unencrypted"), "{path}: {answer}");
    }
    assert_eq!(ask("/tokens", &[signed]).0, "401");
    assert_eq!(hub.stop(), Some(0));
}

/// Adds an update key of the silo `home` to a new hub; returns its id.
fn add_key(data: &Path, key: &str, hostname: &str) -> String {
    let mut command = Command::new(binary("silo-hub"));
    command
        .args(["update-key", "add", "--init", "--silo", "home"])
        .args(["--key", key, "--hostname", hostname, "--data-dir"])
        .arg(data);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stderr);
    let (_, rest) = said.split_once("update key ").unwrap();
    rest.split_once(';').unwrap().0.to_owned()
}

/// Writes a configuration with these lines below `tls`.
fn configure(folder: &Path, allow: &str) {
    let config = configured(folder, "plain_listen") + TRUSTS_LOOPBACK;
    let config = config.replace(
        "plain_listen: 127.0.0.1:0\n",
        &format!("plain_listen: 127.0.0.1:0\n{allow}"),
    );
    std::fs::write(folder.join("hub.yaml"), config).unwrap();
}

/// The status of a call by curl.
fn code(url: &str, more: &[&str]) -> String {
    let mut arguments = vec!["-sS", "-o", "/dev/null", "-w", "%{http_code}"];
    arguments.extend(["-H", "X-Forwarded-For: 192.0.2.7"]);
    arguments.extend(more);
    arguments.push(url);
    said(&run("curl", &arguments))
}

#[test]
fn without_tls_chosen_update_keys_and_tokens_for_hostnames_are_let_in_where_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    self_signed(folder.path(), &["localhost"]);
    let data = folder.path().join("data");
    let (chosen, other) = ("0123456789abcdef", "fedcba9876543210");
    let id = add_key(&data, chosen, "nas");
    let other_id = add_key(&data, other, "cam");
    for (allow, key_passes, dyndns2_passes) in [
        ("", false, false),
        (
            &*format!("  plain_allow: {{update_keys: [{id}]}}\n"),
            true,
            false,
        ),
        ("  plain_allow: {dyndns2: true}\n", false, true),
        (
            &*format!("  plain_allow: {{dyndns2: true, update_keys: [{id}]}}\n"),
            true,
            true,
        ),
    ] {
        configure(folder.path(), allow);
        let hub = Hub::start(folder.path());
        let plain = plain_url(&hub);
        let status = |passes: bool| if passes { "200" } else { "403" };
        let call = |key: &str| code(&format!("{plain}/u/{key}"), &[]);
        assert_eq!(call(chosen), status(key_passes), "{allow}");
        assert_eq!(call(other), "403", "{allow}");
        assert_eq!(call("no-such-key-0000"), "403", "{allow}");
        let token = |more: &[&str]| {
            let arguments = ["--name", "r", "--role", "write", "--silo", "home"];
            format!("home:{}", hub.token(&[&arguments, more].concat()))
        };
        let narrow = token(&["--hostname", "tv"]);
        let (wide, admin) = (token(&[]), format!("home:{}", hub.admin_token()));
        let glob = token(&["--hostname", "t*"]);
        let update = format!("{plain}/nic/update?hostname=tv");
        assert_eq!(code(&update, &["-u", &narrow]), status(dyndns2_passes));
        for login in [&wide, &glob, &admin] {
            let refused = if dyndns2_passes { "401" } else { "403" };
            assert_eq!(code(&update, &["-u", login]), refused, "{allow}");
        }
        // Nothing else has become open.
        for (path, more) in [
            ("/silos/home", &["-u", &*narrow][..]),
            ("/silos/home/records/tv", &["-u", &*narrow, "-X", "PUT"]),
            ("/u/", &[]),
            ("/ip", &[]),
        ] {
            assert_eq!(
                code(&format!("{plain}{path}"), more),
                "403",
                "{allow} {path}"
            );
        }
        let log = hub.log();
        assert_eq!(
            log.contains("anyone on the network path can read"),
            !allow.is_empty(),
            "{log}"
        );
        if key_passes {
            assert!(log.contains(&other_id), "{log}");
        }
        // With TLS both keys count.
        let url = format!("{}/u/{other}", hub.url());
        assert_eq!(code(&url, &["--insecure"]), "200");
        assert_eq!(hub.stop(), Some(0));
    }
}

#[test]
fn a_wrong_exception_without_tls_is_named() {
    let folder = tempfile::tempdir().unwrap();
    self_signed(folder.path(), &["localhost"]);
    for (wrong, words) in [
        (
            "  plain_allow: {update_keys: [0123456789abcdef]}\n",
            "tls.plain_allow.update_keys",
        ),
        ("  plain_allow: {rest: true}\n", "rest"),
    ] {
        configure(folder.path(), wrong);
        let file = folder.path().join("hub.yaml");
        let arguments = ["check-config", "--config", file.to_str().unwrap()];
        let output = run(binary("silo-hub").to_str().unwrap(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(words), "{output:?}");
    }
}
