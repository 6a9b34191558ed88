use std::path::Path;

use silo_shared::config::parse_yaml;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    silo: Option<SiloId>,
    hostnames: Option<Vec<Hostname>>,
    records: Option<Vec<Entry>>,
    addresses: Option<Sources>,
    within: Option<Vec<Network>>,
    ipv6_suffix: Option<Ipv6Addr>,
    ipv6_prefix_len: Option<u8>,
}

fn resolve(text: &str) -> Result<Vec<Record>, String> {
    let file: File = parse_yaml(Path::new("u.yaml"), text).map_err(|error| error.to_string())?;
    let settings = RecordSettings {
        silo: file.silo,
        hostnames: file.hostnames,
        records: file.records,
        addresses: AddressSettings {
            addresses: file.addresses,
            within: file.within,
            ipv6_suffix: file.ipv6_suffix,
            ipv6_prefix_len: file.ipv6_prefix_len,
        },
        forget: None,
    };
    settings.resolve().map_err(|error| error.to_string())
}

#[test]
fn each_record_has_its_own_settings_and_else_the_general_ones() {
    let records = resolve(
        "addresses: interface:eth0
within: [10.0.0.0/8]
records:
  - {silo: office, hostname: db, expires_after: 1d, comment: rack 3}
  - silo: home
    hostname: db
    addresses: [hub, route]
    within: [192.0.2.0/24]
    ipv6_suffix: ::5
    ipv6_prefix_len: 56
    expires_after: 1800
    comment: null
",
    )
    .unwrap();
    let [db, home] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(db.to_string(), "db in silo office");
    assert_eq!(db.sources.to_string(), "interface:eth0");
    assert_eq!(db.rules.within, Some(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(db.rules.suffix, None);
    assert_eq!(db.forget, ForgetAfter::Missing(forget::DEFAULT));
    assert_eq!(db.attributes.expires_after, Some(86_400));
    assert_eq!(db.attributes.comment.as_deref(), Some("rack 3"));

    assert_eq!(home.to_string(), "db in silo home");
    assert_eq!(home.sources.to_string(), "hub, else route");
    assert_eq!(
        home.rules.within,
        Some(vec!["192.0.2.0/24".parse().unwrap()])
    );
    assert_eq!(
        home.rules.suffix,
        Suffix::new("::5".parse().unwrap(), 56).ok()
    );
    assert_eq!(home.forget, ForgetAfter::Off);
    assert_eq!(home.attributes.expires_after, Some(1800));
    assert_eq!(home.attributes.comment, None);
}

#[test]
fn wrong_records_are_named() {
    let long = "x".repeat(1001);
    let long = format!("records: [{{silo: a, hostname: db, comment: {long}}}]");
    for (text, words) in [
        (
            "silo: a\nrecords: [{silo: a, hostname: db}]",
            &["`records` and `silo`"][..],
        ),
        (
            "hostnames: [db]\nrecords: [{silo: a, hostname: db}]",
            &["`records` and `hostnames`"],
        ),
        ("records: []", &["`records` is empty"]),
        ("records: [{hostname: db}]", &["records[0]", "silo"]),
        (
            "records: [{silo: a, hostname: db}, {silo: A, hostname: DB.}]",
            &["records[1]", "db in silo a is listed twice"],
        ),
        (
            "records: [{silo: a, hostname: db, within: []}]",
            &["records[0]", "`within` is empty"],
        ),
        (
            "records: [{silo: a, hostname: db}, {silo: b, hostname: db, addresses: {web: ['http://192.168.1.1']}}]",
            &["records[1]", "`web`", "`within`"],
        ),
        (
            "records: [{silo: a, hostname: db, ipv6_prefix_len: 56}]",
            &["records[0]", "ipv6_suffix"],
        ),
        (
            "records: [{silo: a, hostname: db, hostnames: [x]}]",
            &["records[0]", "hostnames"],
        ),
        (
            "records: [{silo: a, hostname: db, expires_after: 1799}]",
            &["records[0].expires_after", "1800", "line 1"],
        ),
        (
            "records: [{silo: a, hostname: db, expires_after: 29m}]",
            &["records[0].expires_after", "1800"],
        ),
        (
            "records: [{silo: a, hostname: db, expires_after: -1}]",
            &["records[0].expires_after", "1800"],
        ),
        (
            "records: [{silo: a, hostname: db, expires_after: soon}]",
            &["records[0].expires_after", "1h"],
        ),
        (&long, &["records[0].comment", "1000"]),
        ("hostnames: [db]", &["--silo", "records"]),
    ] {
        let error = resolve(text).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

#[test]
fn the_machines_own_name_is_its_first_label() {
    assert_eq!(own_name("nas.home.arpa").unwrap().as_str(), "nas");
    assert_eq!(own_name("NAS").unwrap().as_str(), "nas");
    for name in ["", "localhost", "my nas", "10"] {
        let error = own_name(name).unwrap_err().to_string();
        assert!(error.contains("--hostnames"), "{error}");
    }
}

#[test]
fn only_attributes_that_differ_are_sent() {
    let ours = Attributes {
        comment: Some("x".to_owned()),
        expires_after: Some(3600),
    };
    let mut record: RecordDocument = serde_json::from_str(
        r#"{"hostname":"db","ips":[],"revision":1,"updated_at":"","last_seen":"","comment":"x"}"#,
    )
    .unwrap();
    assert_eq!(ours.not_in(None), ours);
    assert_eq!(ours.not_in(Some(&record)).to_string(), "expires_after");
    record.expires_after = Some(3600);
    assert!(ours.not_in(Some(&record)).is_empty());
    record.comment = None;
    assert_eq!(ours.not_in(Some(&record)).to_string(), "comment");
}
