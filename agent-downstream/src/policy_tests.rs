//! The policy: each kind of record that must be rejected, and what is accepted.

use super::*;
use crate::hosts::Definer;
use silo_shared::silo::{Addresses, SiloId};

fn record(hostname: &str, ip: &str) -> DnsRecord {
    DnsRecord {
        hostname: hostname.to_owned(),
        ip: ip.to_owned(),
    }
}

fn glob(text: &str) -> Glob {
    Glob::parse(text).unwrap()
}

fn guarded() -> Guarded {
    Guarded {
        own: vec!["laptop.example.com".to_owned(), "laptop".to_owned()],
        hubs: vec!["hub.lan".to_owned()],
    }
}

fn line(number: usize, ip: &str) -> Definition {
    Definition {
        by: Definer::Line(number),
        addresses: vec![ip.parse().unwrap()],
    }
}

/// Judges one record; `Ok` with the accepted record, `Err` with the line about the skipped one.
fn judge_one(policy: &Policy, hostname: &str, ip: &str) -> Result<String, String> {
    let lines = HashMap::from([("printer".to_owned(), line(3, "10.0.0.9"))]);
    let taken = Taken {
        elsewhere: Some(&lines),
        silos: HashMap::from([("nas".to_owned(), SiloId::parse("home").unwrap())]),
        ..Taken::default()
    };
    let judged = policy
        .judge(&[record(hostname, ip)], &[], &guarded(), &taken)
        .unwrap();
    match (judged.accepted.first_key_value(), judged.skipped.as_slice()) {
        (Some((name, addresses)), []) => Ok(format!("{name} {addresses}")),
        (None, [skipped]) => Err(skipped.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_record_is_accepted_or_skipped_with_its_reason() {
    let policy = Policy::default();
    let cases: &[(&str, &str, Result<&str, &str>)] = &[
        ("db", "10.0.0.5", Ok("db 10.0.0.5")),
        ("DB.", "10.0.0.5", Ok("db 10.0.0.5")),
        ("db", "fd00::5", Ok("db fd00::5")),
        ("db", "::ffff:10.0.0.5", Ok("db 10.0.0.5")),
        ("db", "8.8.8.8", Ok("db 8.8.8.8")),
        ("a.b.home.arpa", "10.0.0.5", Ok("a.b.home.arpa 10.0.0.5")),
        ("db.internal", "10.0.0.5", Ok("db.internal 10.0.0.5")),
        ("db.lan", "10.0.0.5", Ok("db.lan 10.0.0.5")),
        ("db.test", "10.0.0.5", Ok("db.test 10.0.0.5")),
        (
            "github.com",
            "10.0.0.5",
            Err("github.com: not a private name"),
        ),
        (
            "home.arpa",
            "10.0.0.5",
            Err("home.arpa: not a private name"),
        ),
        ("lan.evil", "10.0.0.5", Err("not a private name")),
        (
            "db.local",
            "10.0.0.5",
            Err("db.local: .local belongs to multicast DNS"),
        ),
        (
            "localhost",
            "10.0.0.5",
            Err("\"localhost\": this name is reserved"),
        ),
        ("LocalHost.", "10.0.0.5", Err("reserved")),
        ("a.localhost", "10.0.0.5", Err("reserved")),
        (
            "localhost.lan",
            "10.0.0.5",
            Err("localhost.lan: a name that is never taken"),
        ),
        ("ip6-localhost", "10.0.0.5", Err("reserved")),
        ("wpad", "10.0.0.5", Err("wpad: a name that is never taken")),
        ("WPAD", "10.0.0.5", Err("wpad: a name that is never taken")),
        ("wpad.lan", "10.0.0.5", Err("never taken")),
        ("isatap", "10.0.0.5", Err("never taken")),
        ("localdomain", "10.0.0.5", Err("never taken")),
        ("localhost4", "10.0.0.5", Err("never taken")),
        ("LocalHost6", "10.0.0.5", Err("never taken")),
        ("metadata", "10.0.0.5", Err("never taken")),
        ("metadata.google.internal.", "10.0.0.5", Err("never taken")),
        ("instance-data", "10.0.0.5", Err("never taken")),
        ("host.docker.internal", "10.0.0.5", Err("never taken")),
        ("_gateway", "10.0.0.5", Err("never taken")),
        // Only whole names.
        ("metadata.lan", "10.0.0.5", Ok("metadata.lan 10.0.0.5")),
        (
            "instance-data.lan",
            "10.0.0.5",
            Ok("instance-data.lan 10.0.0.5"),
        ),
        (
            "x.metadata.google.internal",
            "10.0.0.5",
            Ok("x.metadata.google.internal 10.0.0.5"),
        ),
        (
            "docker.internal",
            "10.0.0.5",
            Ok("docker.internal 10.0.0.5"),
        ),
        ("localhost4.lan", "10.0.0.5", Ok("localhost4.lan 10.0.0.5")),
        ("db", "::127.0.0.1", Err("is not another machine's")),
        ("db", "::2", Err("is not another machine's")),
        ("db", "64:ff9b::7f00:1", Err("is not another machine's")),
        ("db", "64:ff9b:1::7f00:1", Err("is not another machine's")),
        ("db", "::ffff:0:7f00:1", Err("is not another machine's")),
        ("db", "2002:7f00:1::1", Err("is not another machine's")),
        ("db", "2002:a9fe:a9fe::", Err("is not another machine's")),
        ("db", "64:ff9b::a9fe:a9fe", Err("is not another machine's")),
        ("db", "64:ff9b::e000:1", Err("is not another machine's")),
        ("db", "64:ff9b::a00:5", Ok("db 64:ff9b::a00:5")),
        ("db", "2002:a00:5::1", Ok("db 2002:a00:5::1")),
        ("db", "::ffff:127.0.0.1", Err("a loopback address")),
        ("db", "fec0::1", Err("a site-local address")),
        ("db", "feff::1", Err("a site-local address")),
        ("db", "240.0.0.1", Err("240.0.0.0/4")),
        ("db", "255.255.255.254", Err("240.0.0.0/4")),
        ("db", "223.255.255.254", Ok("db 223.255.255.254")),
        ("laptop", "10.0.0.5", Err("laptop: this machine's own name")),
        ("laptop.lan", "10.0.0.5", Err("this machine's own name")),
        ("laptop.home.arpa", "10.0.0.5", Err("own name")),
        ("laptop.internal", "10.0.0.5", Err("own name")),
        ("laptop.local", "10.0.0.5", Err("own name")),
        ("LAPTOP.test", "10.0.0.5", Err("own name")),
        ("laptop2.lan", "10.0.0.5", Ok("laptop2.lan 10.0.0.5")),
        ("x.laptop.lan", "10.0.0.5", Ok("x.laptop.lan 10.0.0.5")),
        ("laptop.x.lan", "10.0.0.5", Ok("laptop.x.lan 10.0.0.5")),
        (
            "db",
            "0.0.0.1",
            Err("db 0.0.0.1: not the address of a machine (0.0.0.0/8)"),
        ),
        (
            "db",
            "::ffff:0.255.255.255",
            Err("0.255.255.255: not the address of a machine"),
        ),
        ("db", "1.0.0.0", Ok("db 1.0.0.0")),
        (
            "db",
            "255.255.255.255",
            Err("db 255.255.255.255: the broadcast address"),
        ),
        ("hub.lan", "10.0.0.5", Err("hub.lan: the hub's own name")),
        (
            "printer",
            "10.0.0.5",
            Err("printer: line 3 of the hosts file defines it"),
        ),
        ("nas", "10.0.0.5", Err("nas: silo home has it already")),
        (
            "a\n10.0.0.1 github.com",
            "10.0.0.5",
            Err("\"a\\n10.0.0.1 github.com\": a hostname's labels"),
        ),
        ("a b", "10.0.0.5", Err("a hostname's labels")),
        ("", "10.0.0.5", Err("must not be empty")),
        ("db", "127.0.0.1", Err("db 127.0.0.1: a loopback address")),
        ("db", "::1", Err("db ::1: a loopback address")),
        (
            "db",
            "169.254.1.1",
            Err("db 169.254.1.1: a link-local address"),
        ),
        ("db", "fe80::1", Err("db fe80::1: a link-local address")),
        ("db", "0.0.0.0", Err("db 0.0.0.0: the unspecified address")),
        (
            "db",
            "10.0.0.5\n1.1.1.1 x",
            Err("db \"10.0.0.5\\n1.1.1.1 x\": not an IPv4 or IPv6 address"),
        ),
    ];
    for (hostname, ip, expected) in cases {
        match (judge_one(&policy, hostname, ip), expected) {
            (Ok(accepted), Ok(expected)) => assert_eq!(accepted, *expected),
            (Err(skipped), Err(part)) => {
                assert!(skipped.contains(part), "{hostname} {ip}: {skipped}");
                assert!(
                    skipped.starts_with("skipped ") && !skipped.contains('\n'),
                    "{skipped}"
                );
            }
            (judged, _) => panic!("{hostname} {ip}: {judged:?}"),
        }
    }
}

#[test]
fn more_names_and_networks_are_accepted_when_the_policy_names_them() {
    let policy = Policy {
        names: vec![glob("*.Corp.example"), glob("*.local")],
        networks: Some(vec![
            "10.0.0.0/8".parse().unwrap(),
            "127.0.0.0/8".parse().unwrap(),
        ]),
        ..Policy::default()
    };
    assert_eq!(
        judge_one(&policy, "db.corp.example", "10.0.0.5").unwrap(),
        "db.corp.example 10.0.0.5"
    );
    assert_eq!(
        judge_one(&policy, "db.local", "10.0.0.5").unwrap(),
        "db.local 10.0.0.5"
    );
    // Loopback is explicitly configured here.
    assert_eq!(
        judge_one(&policy, "db", "127.0.0.1").unwrap(),
        "db 127.0.0.1"
    );
    let skipped = judge_one(&policy, "db", "192.168.0.1").unwrap_err();
    assert!(skipped.contains("outside `policy.networks`"), "{skipped}");
    assert!(judge_one(&policy, "db", "fd00::5").is_err());
    // Names that must never come from a hub are rejected regardless of `names`.
    let policy = Policy {
        names: vec![glob("*")],
        ..Policy::default()
    };
    for name in [
        "wpad",
        "wpad.example.com",
        "isatap.x",
        "laptop",
        "laptop.example.com",
        "laptop.local",
        "hub.lan",
        "localhost",
        "printer",
    ] {
        assert!(judge_one(&policy, name, "10.0.0.5").is_err(), "{name}");
    }
    assert!(judge_one(&policy, "github.com", "10.0.0.5").is_ok());
}

#[test]
fn the_filter_selects_quietly() {
    let records = [
        record("db", "10.0.0.5"),
        record("nas-1", "10.0.0.7"),
        record("github.com", "10.0.0.1"),
        record("bad name", "10.0.0.1"),
        record("NAS-2", "127.0.0.1"),
    ];
    let wanted = [glob("NAS-*")];
    let judged = Policy::default()
        .judge(&records, &wanted, &guarded(), &Taken::default())
        .unwrap();
    let names: Vec<&str> = judged.accepted.keys().map(Hostname::as_str).collect();
    assert_eq!(names, ["nas-1"]);
    let skipped: Vec<String> = judged.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(skipped, ["skipped nas-2 127.0.0.1: a loopback address"]);
}

#[test]
fn one_bad_family_does_not_cost_the_other_and_a_name_is_skipped_once() {
    let records = [
        record("db", "10.0.0.5"),
        record("db", "10.0.0.6"),
        record("db", "fe80::1"),
        record("wpad", "10.0.0.1"),
        record("wpad", "fd00::1"),
    ];
    let judged = Policy::default()
        .judge(&records, &[], &guarded(), &Taken::default())
        .unwrap();
    let db = &judged.accepted[&Hostname::parse("db").unwrap()];
    assert_eq!(
        *db,
        ["10.0.0.5".parse().unwrap()]
            .into_iter()
            .collect::<Addresses>()
    );
    let skipped: Vec<String> = judged.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "skipped db 10.0.0.6: a second IPv4 address",
            "skipped db fe80::1: a link-local address",
            "skipped wpad: a name that is never taken from a hub",
        ]
    );
}

#[test]
fn conflicts_refuse_the_whole_pull_when_so_configured() {
    let policy = Policy {
        conflicts: Some(Conflicts::Refuse),
        ..Policy::default()
    };
    let lines = HashMap::from([("db".to_owned(), line(1, "10.0.0.9"))]);
    let taken = Taken {
        elsewhere: Some(&lines),
        ..Taken::default()
    };
    let refusal = policy
        .judge(&[record("db", "10.0.0.5")], &[], &guarded(), &taken)
        .unwrap_err();
    assert!(refusal.to_string().contains("line 1"), "{refusal}");
    // For other reasons, names are still only skipped.
    assert!(
        policy
            .judge(&[record("wpad", "10.0.0.5")], &[], &guarded(), &taken)
            .is_ok()
    );
}

#[test]
fn more_records_than_a_silo_holds_are_refused() {
    let many = |count: usize| -> Vec<DnsRecord> {
        (0..count)
            .map(|n| record(&format!("h{n}"), "10.0.0.5"))
            .collect()
    };
    let judge = |records: &[DnsRecord]| {
        Policy::default().judge(records, &[], &guarded(), &Taken::default())
    };
    assert_eq!(
        judge(&many(MAX_RECORDS)).unwrap().accepted.len(),
        MAX_RECORDS
    );
    assert_eq!(
        judge(&many(MAX_RECORDS + 1)).unwrap_err(),
        Refusal::TooMany(MAX_RECORDS + 1)
    );
}

#[test]
fn a_pull_that_drops_too_much_is_refused() {
    // Names in the block, names of these in the response, percent, from: refused?
    for (present, kept, percent, from, refused) in [
        (10, 5, 50, 10, false),
        (10, 4, 50, 10, true),
        (10, 0, 50, 10, true),
        (9, 0, 50, 10, false),
        (9, 0, 50, 9, true),
        (100, 50, 50, 10, false),
        (100, 49, 50, 10, true),
        (10, 0, 100, 10, false),
        (10, 9, 0, 10, true),
        (10, 10, 0, 10, false),
        (0, 0, 0, 0, false),
    ] {
        let policy = Policy {
            max_removed: MaxRemoved { percent, from },
            ..Policy::default()
        };
        let name = |n: usize| format!("h{n}");
        let block: Records = (0..present)
            .map(|n| (Hostname::parse(&name(n)).unwrap(), Addresses::default()))
            .collect();
        // Names that this machine's own settings reject were not removed by the hub.
        let answer: Vec<DnsRecord> = (0..kept).map(|n| record(&name(n), "127.0.0.1")).collect();
        let judged = policy
            .judge(&answer, &[glob("other")], &guarded(), &Taken::default())
            .unwrap();
        assert_eq!(
            policy.check_removed(&block, &judged).is_err(),
            refused,
            "{present} {kept} {percent} {from}"
        );
    }
}

#[test]
fn a_name_is_lost_by_what_the_hub_sends_and_not_by_this_machines_settings() {
    let policy = Policy {
        max_removed: MaxRemoved {
            percent: 0,
            from: 1,
        },
        ..Policy::default()
    };
    // `db` in the block, its addresses in the response, whether another silo has it, `hostnames`: lost?
    for (had, offered, is_with_silo, hostnames, lost) in [
        ("10.0.0.5", &["10.0.0.5"][..], false, "*", false),
        ("10.0.0.5", &["10.0.0.6"], false, "*", false),
        ("10.0.0.5", &[], false, "*", true),
        // None of its new addresses is accepted.
        ("10.0.0.5", &["127.0.0.1"], false, "*", true),
        // The address that it had is not accepted any more.
        ("127.0.0.1", &["127.0.0.1"], false, "*", false),
        ("10.0.0.5", &["10.0.0.5"], true, "*", true),
        ("10.0.0.5", &["127.0.0.1"], false, "nas", false),
    ] {
        let mut addresses = Addresses::default();
        addresses.set(had.parse().unwrap());
        let db = Hostname::parse("db").unwrap();
        let block = Records::from([(db, addresses)]);
        let answer: Vec<DnsRecord> = offered.iter().map(|ip| record("db", ip)).collect();
        let mut taken = Taken::default();
        if is_with_silo {
            let home = SiloId::parse("home").unwrap();
            taken.silos.insert("db".to_owned(), home);
        }
        let judged = policy
            .judge(&answer, &[glob(hostnames)], &guarded(), &taken)
            .unwrap();
        assert_eq!(
            policy.check_removed(&block, &judged).is_err(),
            lost,
            "{had} {offered:?} {is_with_silo} {hostnames}"
        );
    }
}

#[test]
fn a_name_that_is_defined_elsewhere_is_wrong_when_the_addresses_differ() {
    for (there, offered, conflicts, wrong, text) in [
        (
            &["10.0.0.5"][..],
            &["10.0.0.5"][..],
            None,
            false,
            "line 3 of the hosts file defines it",
        ),
        (
            &["10.0.0.5"],
            &["10.0.0.5", "fd00::5"],
            None,
            false,
            "line 3 of the hosts file defines it",
        ),
        (
            &["10.0.0.9"],
            &["127.0.0.1"],
            None,
            false,
            "line 3 of the hosts file defines it",
        ),
        (
            &["10.0.0.5", "fd00::9"],
            &["10.0.0.5", "fd00::5"],
            None,
            true,
            "line 3 of the hosts file defines it as 10.0.0.5 fd00::9, but the silo as 10.0.0.5 fd00::5: remove that line, run `once --adopt` to take it over, or accept it with `policy.conflicts: skip`",
        ),
        (
            &["10.0.0.9"],
            &["10.0.0.5"],
            Some(Conflicts::Skip),
            false,
            "line 3 of the hosts file defines it as 10.0.0.9, but the silo as 10.0.0.5",
        ),
    ] {
        let definition = Definition {
            by: Definer::Line(3),
            addresses: there.iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        let lines = HashMap::from([("db".to_owned(), definition)]);
        let taken = Taken {
            elsewhere: Some(&lines),
            ..Taken::default()
        };
        let policy = Policy {
            conflicts,
            ..Policy::default()
        };
        let records: Vec<DnsRecord> = offered.iter().map(|ip| record("db", ip)).collect();
        let judged = policy.judge(&records, &[], &guarded(), &taken).unwrap();
        let [skipped] = judged.skipped.as_slice() else {
            panic!("{judged:?}")
        };
        assert_eq!(skipped.is_wrong(), wrong, "{text}");
        assert_eq!(skipped.to_string(), format!("skipped db: {text}"));
    }
}
