use silo_shared::connection::Authentication;
use silo_shared::flags::{ConnectionFlags, OutputFlags};

use super::*;
use crate::CONFIG_EXAMPLE;
use crate::forget::DEFAULT;

const TOKEN: &str = "silo_abcdefgh12_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// A private file with this text.
fn private_file(text: &str) -> tempfile::NamedTempFile {
    let make = |path: &std::path::Path| silo_shared::private_file::create_new(path);
    let (made, path) = tempfile::Builder::new().make(make).unwrap().into_parts();
    // Windows does not share it before.
    drop(made);
    std::fs::write(&path, text).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    tempfile::NamedTempFile::from_parts(file, path)
}

fn load(text: &str, flags: Flags) -> Result<Settings, String> {
    let file = private_file(text);
    let flags = Flags {
        config: Some(file.path().to_owned()),
        ..flags
    };
    Settings::load(&flags).map_err(|error| error.to_string())
}

/// The records, as they are printed.
fn names(settings: &Settings) -> Vec<String> {
    settings.records.iter().map(ToString::to_string).collect()
}

fn minimal() -> String {
    format!("hub: http://hub:8053\ntoken: {TOKEN}\nsilo: office\nhostnames: [db]\n")
}

#[test]
fn a_file_is_enough() {
    let settings = load(&minimal(), Flags::default()).unwrap();
    assert_eq!(settings.connection.key().as_str(), "http://hub:8053/");
    assert_eq!(names(&settings), ["db in silo office"]);
    assert_eq!(settings.records[0].sources, AddressSource::Hub.into());
    assert_eq!(settings.records[0].rules.within, None);
    assert!(!settings.quiet);
}

#[test]
fn a_family_is_forgotten_by_default_only_with_an_interface() {
    let hour = ForgetAfter::Missing(DEFAULT);
    for (lines, expected) in [
        ("", ForgetAfter::Off),
        ("addresses: route\n", ForgetAfter::Off),
        ("addresses: {command: [x]}\n", ForgetAfter::Off),
        ("addresses: interface:eth0\n", hour),
        (
            "addresses: interface:eth0\nforget_family_after: off\n",
            ForgetAfter::Off,
        ),
        ("forget_family_after: 1h\n", hour),
    ] {
        let settings = load(&(minimal() + lines), Flags::default()).unwrap();
        assert_eq!(settings.records[0].forget, expected, "{lines}");
    }
}

#[test]
fn flags_beat_the_file() {
    let token = private_file(&TOKEN.replace("xx", "yy"));
    let flags = Flags {
        connection: ConnectionFlags {
            hub: vec!["https://other".to_owned()],
            token_file: Some(token.path().to_owned()),
            ..ConnectionFlags::default()
        },
        silo: SiloId::parse("home").ok(),
        hostnames: Some(vec![Hostname::parse("web").unwrap()]),
        addresses: Some(AddressSource::Route(None)),
        output: OutputFlags {
            quiet: Some(false),
            ..OutputFlags::default()
        },
        ..Flags::default()
    };
    let settings = load(&format!("{}quiet: true\n", minimal()), flags).unwrap();
    assert_eq!(settings.connection.key().as_str(), "https://other/");
    assert_eq!(
        settings.connection.hubs()[0].authentication,
        Authentication::Bearer(Secret::new(TOKEN.replace("xx", "yy")))
    );
    assert_eq!(names(&settings), ["web in silo home"]);
    assert_eq!(
        settings.records[0].sources,
        AddressSource::Route(None).into()
    );
    assert!(!settings.quiet);
}

#[test]
fn wrong_settings_are_named() {
    for (lines, words) in [
        ("hostname: db\n", &["line 5", "hostname"][..]),
        ("within: [10.0.0.0/33]\n", &["line 5", "within[0]"]),
        ("within: []\n", &["within", "empty"]),
        ("ipv6_suffix: ::5::\n", &["line 5", "ipv6_suffix"]),
        ("ipv6_prefix_len: 64\n", &["ipv6_prefix_len", "ipv6_suffix"]),
        (
            "ipv6_suffix: ::5\nipv6_prefix_len: 128\n",
            &["ipv6_prefix_len", "128"],
        ),
        ("ipv6_suffix: fd00::5\n", &["ipv6_suffix", "fd00::5", "64"]),
        ("addresses: nowhere\n", &["line 5", "addresses"]),
        ("log_format: xml\n", &["line 5", "log_format"]),
        (
            "forget_family_after: 1w\n",
            &["line 5", "forget_family_after", "1h"],
        ),
        (
            "forget_family_after: 3600\n",
            &["line 5", "forget_family_after"],
        ),
        ("token_file: x\n", &["token", "token_file"]),
        ("records: [{silo: home}]\n", &["`records` and `silo`"]),
        (
            "addresses: {web: ['http://192.168.1.1/ip']}\n",
            &["`web`", "`within`", "https://"],
        ),
    ] {
        let error = load(&(minimal() + lines), Flags::default()).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{lines}: {error}");
        }
    }
    for (missing, word) in [
        ("hub", "--hub"),
        ("token", "--token-file"),
        ("silo", "--silo"),
    ] {
        let text: String = minimal()
            .lines()
            .filter(|line| !line.starts_with(&format!("{missing}:")))
            .map(|line| format!("{line}\n"))
            .collect();
        let error = load(&text, Flags::default()).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let error = load(&minimal().replace("[db]", "[]"), Flags::default()).unwrap_err();
    assert!(error.contains("hostnames"), "{error}");
}

#[test]
fn a_hostname_given_twice_is_reported_once() {
    let settings = load(
        &minimal().replace("[db]", "[db, DB, web]"),
        Flags::default(),
    )
    .unwrap();
    assert_eq!(
        names(&settings),
        ["db in silo office", "web in silo office"]
    );
}

#[test]
fn a_pyddns_file_is_accepted() {
    let text = "endpoint: http://hub:81\nusername: carol\npassword: secret\nsilo_id: office\nhostnames:\n- db\n";
    for (line, source) in [
        ("", AddressSource::Hub),
        ("getIpFrom: ServerApi", AddressSource::Hub),
        ("getIpFrom: Socket", AddressSource::Route(None)),
    ] {
        let settings = load(&format!("{text}{line}"), Flags::default()).unwrap();
        assert_eq!(settings.records[0].sources, source.into());
        assert_eq!(names(&settings), ["db in silo office"]);
        assert!(matches!(
            settings.connection.hubs()[0].authentication,
            Authentication::Basic { .. }
        ));
    }
    let error = load(&text.replace("- db", ""), Flags::default()).unwrap_err();
    assert!(error.contains("hostnames"), "{error}");
}

/// Settings that are commented out in the example: `#key: value`, with their continuation lines (`#  …`); prose has a
/// space after the `#`.
fn commented_settings() -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for line in CONFIG_EXAMPLE.lines() {
        let Some(rest) = line.strip_prefix('#') else {
            open = false;
            continue;
        };
        if rest.starts_with("  ") && open {
            let block = blocks.last_mut().unwrap();
            block.push_str(rest);
            block.push('\n');
        } else if rest.starts_with(|c: char| c.is_ascii_lowercase()) {
            blocks.push(format!("{rest}\n"));
            open = true;
        } else {
            open = false;
        }
    }
    blocks
}

#[test]
fn the_example_is_a_configuration_with_every_key() {
    let path = Path::new("upstream.yaml");
    let file: File = parse_yaml(path, CONFIG_EXAMPLE).unwrap();
    assert!(!file.hub.0.is_empty() && file.token_file.is_some() && file.silo.is_some());
    let blocks = commented_settings();
    for block in &blocks {
        parse_yaml::<File>(path, block).unwrap_or_else(|error| panic!("{block}{error}"));
    }
    for key in [
        "hub",
        "token",
        "token_file",
        "token_file_mode",
        "auth",
        "ca_file",
        "pin_sha256",
        "silo",
        "hostnames",
        "records",
        "addresses",
        "within",
        "ipv6_suffix",
        "ipv6_prefix_len",
        "forget_family_after",
        "state_dir",
        "bind_interface",
        "on_change",
        "quiet",
        "log_format",
    ] {
        let begins = |line: &str| line.starts_with(&format!("{key}:"));
        assert!(
            CONFIG_EXAMPLE.lines().any(begins) || blocks.iter().any(|block| begins(block)),
            "{key} is missing"
        );
    }
}
