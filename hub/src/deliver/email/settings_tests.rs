use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use silo_shared::config::ConfigError;

use super::super::super::sink::{EventSink, Sink};
use crate::config::sinks::SinkSettings;
use crate::deliver::kinds::OpenSink;

const GOOD: &str =
    "smtp: { host: mail.example.net }\nfrom: silo@example.net\nto: [a@example.net]\n";

fn open(folder: &Path, keys: &str) -> Result<OpenSink, ConfigError> {
    let text = format!("name: mail\nkind: email\n{keys}");
    let list = vec![serde_yaml::from_str(&text).unwrap()];
    OpenSink::open(&SinkSettings::read_list(list, folder)?[0])
}

fn sink(keys: &str) -> Box<dyn EventSink> {
    match open(Path::new("/"), keys).unwrap().sink {
        Sink::Event(sink) => sink,
        Sink::State(_) => panic!("mail is for events"),
    }
}

fn secret(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn settings_have_defaults_and_times_have_units() {
    let plain = sink(GOOD);
    assert_eq!(plain.gather().as_secs(), 0);
    assert_eq!(plain.unseen_after(), None);
    assert_eq!(plain.max_attempts(), 20);
    for (text, seconds) in [("90s", 90), ("1m", 60), ("2h", 7200), ("1h30m", 5400)] {
        let keys = format!("{GOOD}digest: {text}\nunseen_after: {text}\n");
        let sink = sink(&keys);
        assert_eq!(sink.gather().as_secs(), seconds, "{text}");
        assert_eq!(sink.unseen_after().unwrap().as_secs(), seconds, "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_settings_are_named_by_their_key() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "password", "hush\n");
    std::fs::write(folder.path().join("empty.pem"), "no certificate\n").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("broken.pem"), broken).unwrap();
    let login = "username: u, password_file: password";
    let base = |smtp: &str| GOOD.replace("host: mail.example.net", smtp);
    let host = |more: &str| base(&format!("host: mail.example.net, {more}"));
    let more = |line: &str| format!("{GOOD}{line}\n");
    let without = |key: &str| {
        let lines = GOOD.lines().filter(|line| !line.starts_with(key));
        lines.collect::<Vec<_>>().join("\n")
    };
    for (keys, words) in [
        (more("retries: 3"), "unknown field `retries`"),
        (host("password: hush"), "unknown field `password`"),
        (without("smtp"), "one of smtp and sendmail"),
        (more("sendmail: /bin/true"), "one of smtp and sendmail"),
        (without("from"), "sinks: mail: missing field `from`"),
        (without("to"), "`to` is empty"),
        (
            GOOD.replace("silo@example.net", "silo"),
            "from: not a single mail address",
        ),
        (
            GOOD.replace("[a@example.net]", "[a@example.net, b]"),
            "to[1]: not a single mail address",
        ),
        (
            GOOD.replace("[a@example.net]", "['a@example.net, b@example.net']"),
            "to[0]: not a single mail address",
        ),
        (
            GOOD.replace("[a@example.net]", "['a@example.net junk']"),
            "to[0]: not a single",
        ),
        (
            GOOD.replace("[a@example.net]", "[\"a@example.net\\r\\nBcc: b@c\"]"),
            "to[0]: not a single",
        ),
        (
            more("allow_to: ['*@ok.example', 'x y@z']"),
            "allow_to[1]: not a pattern",
        ),
        (
            more("subject: 'a {host}'"),
            "subject: {host} is not a placeholder",
        ),
        (
            more("subject: \"a\\nBcc: {new}\""),
            "subject: must be one line",
        ),
        (more("subject: ''"), "subject: must be one line"),
        (more("text: '{'"), "text: a { is not closed"),
        (more("html: '{ip}'"), "html: {ip} is not a placeholder"),
        (more("digest: 1"), "digest: not a time such as"),
        (GOOD.replace("[a@example.net]", "5"), "to: not a list"),
        (GOOD.replace("[a@example.net]", "[5]"), "to: not a list"),
        (more("allow_to: { a: b }"), "allow_to: not a list"),
        (more("digest: '60'"), "digest: not a time such as"),
        (more("digest: -1m"), "digest: not a time such as"),
        (more("digest: 25h"), "digest: at most 24h"),
        (more("unseen_after: 59s"), "unseen_after: at least 1m"),
        (
            more("unseen_after: 2 fortnights"),
            "unseen_after: not a time such as",
        ),
        (more("max_attempts: 0"), "max_attempts: at least 1"),
        (base("host: 'a b'"), "smtp: host: neither"),
        (more("max_attempts: many"), "max_attempts: invalid type"),
        (host("port: 0"), "smtp: port: 0"),
        (host("port: 70000"), "smtp.port: invalid value"),
        (host("tls: maybe"), "maybe"),
        (host("hello: 'a b'"), "smtp: hello: not a hostname"),
        (host("hello: ''"), "smtp: hello: not a hostname"),
        (host("username: u"), "smtp: username and password_file"),
        (
            host("password_file: password"),
            "smtp: username and password_file",
        ),
        (
            host("username: u, password_file: away"),
            "smtp: password_file: ",
        ),
        (host("ca_file: away.pem"), "away.pem: "),
        (
            host("ca_file: empty.pem"),
            "empty.pem: holds no PEM certificate",
        ),
        (host("ca_file: broken.pem"), "smtp: certificates: "),
        (
            host("tls: none, ca_file: empty.pem"),
            "smtp: ca_file: there is no",
        ),
        (
            host(&format!("tls: none, {login}")),
            "smtp: tls: none would send the password",
        ),
    ] {
        let error = open(folder.path(), &keys)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}\n{keys}");
        assert!(
            !error.contains("hush") && !error.contains("a@example"),
            "{error}"
        );
    }
    for good in [
        host(&format!(
            "tls: none, allow_plaintext_password: true, {login}"
        )),
        base(&format!("host: '::1', tls: none, {login}")),
        base(&format!("host: LocalHost, tls: none, {login}")),
        host("tls: none"),
        GOOD.replace("[a@example.net]", "a@example.net"),
        GOOD.replace("to: [a@example.net]", "allow_to: ['*']"),
    ] {
        open(folder.path(), &good).unwrap_or_else(|error| panic!("{error}\n{good}"));
    }
}

#[test]
fn another_password_is_another_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let keys = GOOD.replace(
        "mail.example.net",
        "mail.example.net, username: u, password_file: password",
    );
    secret(folder.path(), "password", "one");
    let one = open(folder.path(), &keys).unwrap().fingerprint;
    secret(folder.path(), "password", "two");
    let two = open(folder.path(), &keys).unwrap().fingerprint;
    assert_ne!(one, two);
}
