use std::path::Path;

use silo_shared::silo::Hostname;

use super::*;
use crate::config::sinks::SinkSettings;
use crate::deliver::kinds::OpenSink;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY: &str = "key: { name: Silo., algorithm: hmac-sha256, secret_file: tsig.key }";

/// Opens a sink with these keys through the settings, as the hub does; returns its fingerprint.
fn open(folder: &Path, keys: &str) -> Result<String, String> {
    let text = format!("name: office\nkind: rfc2136\n{keys}");
    let list = vec![serde_yaml::from_str(&text).unwrap()];
    let opened = SinkSettings::read_list(list, folder).and_then(|list| OpenSink::open(&list[0]));
    opened
        .map(|sink| sink.fingerprint)
        .map_err(|error| error.to_string())
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = mode;
}

#[test]
fn servers_are_read_with_and_without_a_port() {
    for (text, read) in [
        ("127.0.0.1:5353", Some("127.0.0.1:5353")),
        ("127.0.0.1", Some("127.0.0.1:53")),
        ("[::1]:5353", Some("[::1]:5353")),
        ("[::1]", Some("[::1]:53")),
        ("::1", Some("[::1]:53")),
        ("localhost:5353", Some("localhost:5353")),
        ("ns.office.test", Some("ns.office.test:53")),
        ("", None),
        ("127.0.0.1:0", None),
        ("ns.office.test:0", None),
        ("ns.office.test:65536", None),
        ("127.0.0.300", None),
        ("dns://ns.office.test", None),
        ("ns office", None),
    ] {
        let server = Server::parse(text).map(|server| server.to_string());
        assert_eq!(server.as_deref(), read, "{text:?}");
    }
}

#[test]
fn names_are_completed_used_as_they_are_or_not_for_this_zone() {
    let zone = Zone::parse("Office.Test.").unwrap();
    let name = |text: &str| zone.name_for(&Hostname::parse(text).unwrap());
    assert_eq!(name("db").as_deref(), Ok("db.office.test"));
    assert_eq!(name("_x").as_deref(), Ok("_x.office.test"));
    assert_eq!(name("DB.office.test").as_deref(), Ok("db.office.test"));
    assert_eq!(name("a.b.office.test").as_deref(), Ok("a.b.office.test"));
    assert_eq!(name("office.test").as_deref(), Ok("office.test"));
    for other in ["db.home.test", "db.backoffice.test", "test.office"] {
        let why = format!("{other} is not in the zone office.test");
        assert_eq!(name(other), Err(why));
    }
    let long = [
        "a".repeat(60),
        "b".repeat(60),
        "c".repeat(60),
        "d".repeat(60),
    ]
    .join(".");
    let zone = Zone::parse(&long).unwrap();
    let why = zone.name_for(&Hostname::parse("too-long-a-name").unwrap());
    assert!(why.unwrap_err().ends_with("is too long for a DNS name"));
}

#[cfg(unix)]
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn setting_errors_name_the_field_and_hide_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("tsig.key"), &format!("{SECRET}\n"), 0o600);
    write(&at.join("open.key"), SECRET, 0o644);
    write(&at.join("no.key"), "not base64!", 0o600);
    let bind = format!("key k {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};");
    write(&at.join("session.key"), &bind, 0o600);
    write(&at.join("half.key"), &bind[..50], 0o600);
    write(&at.join("empty.key"), "", 0o600);
    let base = "server: 127.0.0.1\nzone: office.test\n";
    for (keys, why) in [
        (
            format!("zone: office.test\n{KEY}"),
            "missing field `server`",
        ),
        (format!("server: 127.0.0.1\n{KEY}"), "missing field `zone`"),
        (base.to_owned(), "office: key or key_file is missing"),
        (
            format!("{base}{KEY}\nkey_file: session.key"),
            "office: key and key_file: only one of them can be used",
        ),
        (format!("{base}{KEY}\nport: 53"), "unknown field `port`"),
        (
            format!("{base}{KEY}\nttl: -1"),
            "office: ttl: invalid type: integer `-1`, expected u32",
        ),
        (
            format!("{base}{KEY}\nttl: 2147483648"),
            "office: ttl: at most 2147483647 seconds",
        ),
        (
            format!("server: a b\nzone: office.test\n{KEY}"),
            "office: server: \"a b\" is neither an address nor a host name",
        ),
        (
            format!("server: 127.0.0.1\nzone: a..b\n{KEY}"),
            "office: zone: \"a..b\" is not a valid zone: a hostname must not contain an empty label",
        ),
        (
            format!("{base}{KEY}\nreverse: [office.test]"),
            "office: reverse: office.test is not a zone of whole labels",
        ),
        (
            format!("{base}{KEY}\nreverse: [300.192.in-addr.arpa]"),
            "office: reverse: 300.192.in-addr.arpa is not a zone of whole labels",
        ),
        (
            format!("{base}{}", KEY.replace("sha256", "md5")),
            "office: key.algorithm: \"hmac-md5\" is not one of",
        ),
        (
            format!("{base}{}", KEY.replace("Silo.", "'a..b'")),
            "office: key.name: \"a..b\" is not a valid key name",
        ),
        (
            format!("{base}{}", KEY.replace("tsig.key", "gone.key")),
            "office: key.secret_file: ",
        ),
        (
            format!("{base}{}", KEY.replace("tsig.key", "no.key")),
            "office: key.secret: not valid Base64",
        ),
        (
            format!("{base}{}", KEY.replace("tsig.key", "open.key")),
            "every user can read it",
        ),
        (
            format!("{base}key_file: open.key"),
            "every user can read it",
        ),
        (format!("{base}key_file: half.key"), "half.key: line 1: "),
    ] {
        let said = open(at, &keys).unwrap_err();
        assert!(said.contains(why), "{keys}\n{said}");
        assert!(!said.contains(&SECRET[..20]), "{said}");
    }
    for good in [
        KEY,
        "key_file: session.key",
        "key_file: not-yet-there.key",
        "key_file: empty.key",
        "key_file: session.key\nttl: 0\nadopt: true\nreverse: [2.0.192.in-addr.arpa, 8.b.d.0.1.0.0.2.ip6.arpa.]",
    ] {
        open(at, &format!("{base}{good}")).unwrap();
    }
}

#[test]
fn a_new_secret_is_a_changed_setting_and_a_new_session_key_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let base = "server: 127.0.0.1\nzone: office.test\n";
    let other = SECRET.replace("AAEC", "BBEC");
    let both = |secret: &str| {
        write(&at.join("tsig.key"), secret, 0o600);
        let bind = format!("key k {{ algorithm hmac-sha256; secret \"{secret}\"; }};");
        write(&at.join("session.key"), &bind, 0o600);
        (
            open(at, &format!("{base}{KEY}")).unwrap(),
            open(at, &format!("{base}key_file: session.key")).unwrap(),
        )
    };
    let (before, after) = (both(SECRET), both(&other));
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
}
