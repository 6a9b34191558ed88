//! Settings: the example file, and the precedence of sources.

use std::path::Path;

use clap::Parser;

use super::*;
use crate::cli::Cli;
use crate::policy::{Conflicts, MaxRemoved};

fn merge(yaml: &str, flags: &[&str]) -> Result<Settings, ConfigError> {
    let flags = Cli::parse_from([&["silo-downstream"], flags].concat()).flags;
    Settings::parse(Some(("downstream.yaml".into(), yaml.to_owned())), &flags)
}

fn hub(settings: &Settings) -> &ConnectionSettings {
    match &settings.hub {
        HubSource::Own(connection) => connection,
        HubSource::Pyddns { .. } => panic!("a pyDDNS file"),
    }
}

fn ids(settings: &Settings) -> Vec<&str> {
    settings.silos.iter().map(SiloId::as_str).collect()
}

fn suffix(domain: &str, order: SuffixOrder) -> Option<Suffix> {
    let domain = Hostname::parse(domain).unwrap();
    Some(Suffix { domain, order })
}

fn globs(texts: &[&str]) -> Vec<Glob> {
    texts
        .iter()
        .map(|text| Glob::parse(text).unwrap())
        .collect()
}

#[cfg(unix)]
#[test]
fn the_example_is_a_configuration_and_shows_the_defaults() {
    let settings = merge(crate::CONFIG_EXAMPLE, &[]).unwrap();
    assert_eq!(ids(&settings), ["office"]);
    // Uncommenting every key results in a valid configuration too.
    let whole: String = crate::CONFIG_EXAMPLE
        .lines()
        .map(|line| {
            let text = line.trim_start();
            let indent = &line[..line.len() - text.len()];
            match text.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => format!("{indent}{key}\n"),
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let settings = merge(&whole, &[]).unwrap();
    assert_eq!(settings.hostnames, globs(&["db", "nas-*"]));
    assert_eq!(settings.policy.networks.as_ref().map(Vec::len), Some(2));
    let unset = merge("", &[]).unwrap();
    assert_eq!(settings.hosts_file, unset.hosts_file);
    assert_eq!(settings.state_dir, unset.state_dir);
    assert_eq!(settings.in_place, unset.in_place);
    assert_eq!(settings.suffix, suffix("lan", SuffixOrder::After));
    assert_eq!(unset.suffix, None);
    // If unset, a name is skipped as well, but a wrong address fails the run.
    assert_eq!(settings.policy.conflicts, Some(Conflicts::Skip));
    assert_eq!(unset.policy.conflicts, None);
    assert_eq!(settings.policy.max_removed, unset.policy.max_removed);
}

#[test]
fn a_whole_file_is_read() {
    let settings = merge(
        "hub: http://h\ntoken_file: t\ntoken_file_mode: any\nauth: signed\nca_file: c\nsilos: [a, B]\nhostnames: ['x*']\nhosts_file: /h\nstate_dir: /s\nin_place: true\nsuffix: LAN.\nsuffix_order: before\nquiet: true\nlog_format: json\n\
         policy:\n  names: ['*.corp']\n  networks: [10.0.0.0/8, 10.0.0.5, fd00::5]\n  conflicts: refuse\n  max_removed: {percent: 20}\n",
        &[],
    )
    .unwrap();
    assert_eq!(ids(&settings), ["a", "b"]);
    assert_eq!(settings.hostnames, globs(&["x*"]));
    assert_eq!(settings.hosts_file, Path::new("/h"));
    assert_eq!(settings.state_dir, Path::new("/s"));
    assert!(settings.in_place == InPlace::Allowed && settings.quiet);
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.suffix, suffix("lan", SuffixOrder::Before));
    assert_eq!(hub(&settings).token_file_mode, Some(TokenFileMode::Any));
    assert_eq!(hub(&settings).auth, Some(AuthMode::Signed));
    assert_eq!(settings.policy.conflicts, Some(Conflicts::Refuse));
    let networks = settings.policy.networks.unwrap();
    let networks: Vec<String> = networks.iter().map(|net| net.0.to_string()).collect();
    assert_eq!(networks, ["10.0.0.0/8", "10.0.0.5/32", "fd00::5/128"]);
    assert_eq!(
        settings.policy.max_removed,
        MaxRemoved {
            percent: 20,
            from: 10
        }
    );
}

#[test]
fn flags_beat_the_file() {
    let yaml = "hub: http://file\ntoken_file: file.token\nsilos: [file]\nhostnames: [file]\nhosts_file: /file\nstate_dir: /file\nin_place: true\n";
    let flags = [
        "--hub",
        "http://flag",
        "--token-file",
        "flag.token",
        "--silo",
        "a,b",
        "--silo",
        "c",
        "--hostnames",
        "x,y",
        "--hosts-file",
        "/flag",
        "--state-dir",
        "/flag",
        "--in-place=false",
    ];
    let settings = merge(yaml, &flags).unwrap();
    assert_eq!(hub(&settings).hubs, ["http://flag"]);
    assert_eq!(
        hub(&settings).token_file.as_deref(),
        Some(Path::new("flag.token"))
    );
    assert_eq!(ids(&settings), ["a", "b", "c"]);
    assert_eq!(settings.hostnames, globs(&["x", "y"]));
    assert_eq!(settings.hosts_file, Path::new("/flag"));
    assert_eq!(settings.state_dir, Path::new("/flag"));
    assert_eq!(settings.in_place, InPlace::Never);
    for (text, flag, expected) in [
        ("", "--in-place", InPlace::Allowed),
        ("", "--in-place=yes", InPlace::Allowed),
        ("", "--in-place=always", InPlace::Always),
        ("in_place: always\n", "--quiet", InPlace::Always),
        ("in_place: always\n", "--in-place=false", InPlace::Never),
    ] {
        let settings = merge(&format!("silo: a\n{text}"), &[flag]).unwrap();
        assert_eq!(settings.in_place, expected, "{text} {flag}");
    }
    assert!(merge("silo: a\nin_place: sometimes\n", &[]).is_err());
    for (text, flags, expected) in [
        (
            "",
            &["--suffix", "lan"][..],
            suffix("lan", SuffixOrder::After),
        ),
        (
            "suffix: lan\n",
            &["--suffix", "home.arpa"],
            suffix("home.arpa", SuffixOrder::After),
        ),
        (
            "suffix: lan\n",
            &["--suffix-order", "before"],
            suffix("lan", SuffixOrder::Before),
        ),
        (
            "suffix: lan\nsuffix_order: before\n",
            &["--suffix-order=after"],
            suffix("lan", SuffixOrder::After),
        ),
    ] {
        let settings = merge(&format!("silo: a\n{text}"), flags).unwrap();
        assert_eq!(settings.suffix, expected, "{text} {flags:?}");
    }
    // A token file from flags overrides a token from the file.
    let settings = merge("token: x\n", &["--token-file", "t"]).unwrap();
    assert_eq!(hub(&settings).token, None);
}

#[cfg(unix)]
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_file_of_its_own_needs_a_format_and_excludes_the_hosts_file() {
    const DEFAULT: &str = "/etc/unbound/unbound.conf.d/silo.conf";
    let (hosts, unbound) = (Some(Format::Hosts), Some(Format::Unbound));
    for (yaml, flags, path, format) in [
        ("file: /own\nformat: hosts\n", &[][..], "/own", hosts),
        ("file: /own\nformat: unbound\n", &[], "/own", unbound),
        ("format: unbound\n", &[], DEFAULT, unbound),
        ("", &["--format", "unbound"], DEFAULT, unbound),
        (
            "",
            &["--file", "/flag", "--format", "hosts"],
            "/flag",
            hosts,
        ),
        (
            "file: /own\nformat: hosts\n",
            &["--file", "/flag"],
            "/flag",
            hosts,
        ),
        (
            "file: /own\nformat: hosts\n",
            &["--format", "unbound"],
            "/own",
            unbound,
        ),
        (
            "file: /own\nformat: hosts\n",
            &["--hosts-file", "/flag"],
            "/flag",
            None,
        ),
        (
            "hosts_file: /h\n",
            &["--file", "/flag", "--format", "hosts"],
            "/flag",
            hosts,
        ),
        (
            "hosts_file: /h\n",
            &["--format", "unbound"],
            DEFAULT,
            unbound,
        ),
    ] {
        let settings = merge(yaml, flags).unwrap();
        assert_eq!(settings.hosts_file, Path::new(path), "{yaml} {flags:?}");
        assert_eq!(settings.format, format, "{yaml} {flags:?}");
    }
    for (yaml, flags, part) in [
        ("file: /own\n", &[][..], "without `format`"),
        ("format: hosts\n", &[], "without `file`"),
        ("format: bind\n", &[], "bind"),
        (
            "hosts_file: /h\nfile: /own\nformat: hosts\n",
            &[],
            "keep one",
        ),
        (
            "hosts_file: /h\nformat: unbound\n",
            &[],
            "set `file` instead",
        ),
        (
            "",
            &["--hosts-file", "/h", "--format", "hosts"],
            "set `file` instead",
        ),
        ("", &["--hosts-file", "/h", "--file", "/f"], "keep one"),
        (
            "file: /etc/hosts\nformat: hosts\n",
            &["--force"],
            "system's hosts file",
        ),
        (
            "file: /etc/../etc/hosts\nformat: unbound\n",
            &["--force"],
            "system's hosts file",
        ),
    ] {
        let error = merge(yaml, flags).unwrap_err().to_string();
        assert!(error.contains(part), "{yaml} {flags:?}: {error}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (yaml, parts) in [
        (
            "hub: http://h\nhubb: x\n",
            &["downstream.yaml", "hubb", "line 2"][..],
        ),
        ("policy:\n  nets: []\n", &["nets", "line 2"]),
        ("policy:\n  max_removed: {per: 1}\n", &["per", "line 2"]),
        (
            "hub: h\npolicy:\n  max_removed: {percent: 101}\n",
            &["percent", "100"],
        ),
        (
            "policy:\n  networks: [10.0.0.5, 10.0.0]\n",
            &["policy.networks[1]", "line 2", "not a network"],
        ),
        ("policy:\n  networks: []\n", &["networks", "empty"]),
        ("policy:\n  conflicts: ask\n", &["conflicts", "ask"]),
        (
            "policy:\n  names:\n  - '*.corp'\n  - '[a-z]'\n",
            &["policy.names[1]", "line 4"],
        ),
        (
            "hostnames: [db, '']\n",
            &["hostnames[1]", "line 1", "empty"],
        ),
        (
            "hostnames: ['nas ?*']\n",
            &["hostnames[0]", "line 1", "glob"],
        ),
        ("silos: [a b]\n", &["silos", "line 1"]),
        (
            "silo: a\nsuffix: .lan\n",
            &["suffix", "line 2", "empty label"],
        ),
        (
            "suffix_order: before\n",
            &["`suffix_order`", "without `suffix`"],
        ),
        (
            "suffix: lan\nsuffix_order: first\n",
            &["suffix_order", "first"],
        ),
        ("silo: a\nsilos: [b]\n", &["`silo` and `silos`"]),
        ("silos: [a, A]\n", &["silo a is given twice"]),
    ] {
        let error = merge(yaml, &[]).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{yaml}: {error}");
        }
    }
    assert!(merge("", &[]).unwrap().some_silos().is_err());
}

#[test]
fn a_pyddns_file_is_accepted() {
    let make = |path: &std::path::Path| silo_shared::private_file::create_new(path);
    let file = tempfile::Builder::new()
        .make(make)
        .unwrap()
        .into_temp_path();
    let yaml = "endpoint: http://hub.lan:81\nusername: carol\npassword: hush\nsilo_id: Office\nhostnames:\n- web\n- db\ngetIpFrom: ServerApi\n";
    let load = |flags: &[&str]| {
        let flags = Cli::parse_from([&["silo-downstream"], flags].concat()).flags;
        Settings::parse(Some((file.to_path_buf(), yaml.to_owned())), &flags).unwrap()
    };
    let settings = load(&[]);
    assert_eq!(ids(&settings), ["office"]);
    assert_eq!(settings.hostnames, globs(&["web", "db"]));
    assert_eq!(settings.policy, Policy::default());
    let connection = settings.connection().unwrap();
    assert_eq!(connection.key().as_str(), "http://hub.lan:81/");
    let settings = load(&[
        "--hub",
        "http://other:1",
        "--silo",
        "home",
        "--hostnames",
        "nas",
    ]);
    assert_eq!(
        settings.connection().unwrap().key().as_str(),
        "http://other:1/"
    );
    assert_eq!(
        (ids(&settings), settings.hostnames.clone()),
        (vec!["home"], globs(&["nas"]))
    );
}
