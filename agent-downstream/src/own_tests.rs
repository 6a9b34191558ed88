//! Files of our own: their text, and plans over them.

use super::*;
use crate::plan::Answer;
use crate::policy::{Guarded, Policy};
use crate::suffix::{Suffix, SuffixOrder};
use silo_shared::api::DnsRecord;
use silo_shared::silo::Hostname;

const HOSTS: &str = "# silo-downstream keeps this file (format: hosts); edits are overwritten\n";
const UNBOUND: &str =
    "# silo-downstream keeps this file (format: unbound); edits are overwritten\nserver:\n";

fn pulled(id: &str, records: Option<&[(&str, &str)]>) -> Pulled {
    let record = |(hostname, ip): &(&str, &str)| DnsRecord {
        hostname: (*hostname).to_owned(),
        ip: (*ip).to_owned(),
    };
    Pulled {
        silo: SiloId::parse(id).unwrap(),
        answer: records.map(|records| Answer {
            records: records.iter().map(record).collect(),
            revision: 42,
        }),
    }
}

fn rules(suffix: Option<SuffixOrder>) -> Rules {
    let domain = Hostname::parse("lan").unwrap();
    Rules {
        policy: Policy::default(),
        hostnames: Vec::new(),
        guarded: Guarded::default(),
        force: false,
        adopt: false,
        suffix: suffix.map(|order| Suffix { domain, order }),
        format: None,
    }
}

/// The file after a run, and what the run says.
fn run(format: Format, file: &str, pulled: &[Pulled], rules: &Rules) -> (String, Vec<String>) {
    let plan = plan_own(format, file.as_bytes(), pulled, rules, &Known::default()).unwrap();
    let mut said = Vec::new();
    for report in &plan.reports {
        match &report.outcome {
            Ok(update) => {
                said.push(format!("{}: {update}", report.silo));
                said.extend(update.skipped.iter().map(ToString::to_string));
            }
            Err(refusal) => said.push(format!("{}: refused: {refusal}", report.silo)),
        }
    }
    said.extend(plan.dropped.iter().map(|silo| format!("{silo}: dropped")));
    (String::from_utf8(plan.bytes).unwrap(), said)
}

#[test]
fn each_format_has_its_lines() {
    let office = [
        ("db", "10.0.0.5"),
        ("db", "fd00::5"),
        ("a_b.lan", "10.0.0.6"),
    ];
    let home = [("tv", "10.0.0.5")];
    let silos = [pulled("office", Some(&office)), pulled("home", Some(&home))];
    let reverse = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    let a_b = "local-zone: \"a_b.lan.\" transparent\nlocal-data: \"a_b.lan. 60 IN A 10.0.0.6\"\nlocal-zone: \"6.0.0.10.in-addr.arpa.\" transparent\nlocal-data-ptr: \"10.0.0.6 60 a_b.lan.\"\n";
    // The first name of an address has the reverse name, also across silos.
    let tv = "local-zone: \"tv.\" transparent\nlocal-data: \"tv. 60 IN A 10.0.0.5\"\n";
    let cases = [
        (
            Format::Hosts,
            None,
            format!(
                "{HOSTS}# silo office\n10.0.0.6 a_b.lan\n10.0.0.5 db\nfd00::5 db\n# silo home\n10.0.0.5 tv\n"
            ),
        ),
        (
            Format::Hosts,
            Some(SuffixOrder::Before),
            format!(
                "{HOSTS}# silo office\n10.0.0.6 a_b.lan\n10.0.0.5 db.lan\n10.0.0.5 db\nfd00::5 db.lan\nfd00::5 db\n# silo home\n10.0.0.5 tv.lan\n10.0.0.5 tv\n"
            ),
        ),
        (
            Format::Unbound,
            None,
            format!(
                "{UNBOUND}# silo office\n{a_b}local-zone: \"db.\" transparent\nlocal-data: \"db. 60 IN A 10.0.0.5\"\nlocal-zone: \"5.0.0.10.in-addr.arpa.\" transparent\nlocal-data-ptr: \"10.0.0.5 60 db.\"\nlocal-data: \"db. 60 IN AAAA fd00::5\"\nlocal-zone: \"{reverse}\" transparent\nlocal-data-ptr: \"fd00::5 60 db.\"\n# silo home\n{tv}"
            ),
        ),
        (
            Format::Unbound,
            Some(SuffixOrder::Before),
            format!(
                "{UNBOUND}# silo office\n{a_b}local-zone: \"db.lan.\" transparent\nlocal-data: \"db.lan. 60 IN A 10.0.0.5\"\nlocal-zone: \"5.0.0.10.in-addr.arpa.\" transparent\nlocal-data-ptr: \"10.0.0.5 60 db.lan.\"\nlocal-zone: \"db.\" transparent\nlocal-data: \"db. 60 IN A 10.0.0.5\"\nlocal-data: \"db.lan. 60 IN AAAA fd00::5\"\nlocal-zone: \"{reverse}\" transparent\nlocal-data-ptr: \"fd00::5 60 db.lan.\"\nlocal-data: \"db. 60 IN AAAA fd00::5\"\n# silo home\nlocal-zone: \"tv.lan.\" transparent\nlocal-data: \"tv.lan. 60 IN A 10.0.0.5\"\n{tv}"
            ),
        ),
    ];
    for (format, order, expected) in cases {
        let rules = rules(order);
        let (file, said) = run(format, "", &silos, &rules);
        assert_eq!(file, expected);
        assert!(said[0].starts_with("office: new block"), "{said:?}");
        let (again, said) = run(format, &file, &silos, &rules);
        assert_eq!(again, file);
        assert_eq!(
            said,
            [
                "office: unchanged, revision 42",
                "home: unchanged, revision 42"
            ]
        );
        // A later run in the other format reads the file as well.
        let other = match format {
            Format::Hosts => Format::Unbound,
            Format::Unbound => Format::Hosts,
        };
        let failed = [pulled("office", None), pulled("home", None)];
        let (converted, _) = run(other, &file, &failed, &rules);
        assert_eq!(run(format, &converted, &failed, &rules).0, file);
    }
}

/// A run over a file in the format `hosts`, after its first line.
struct Case {
    what: &'static str,
    file: &'static str,
    pulled: Vec<Pulled>,
    expected: &'static str,
    said: &'static [&'static str],
}

#[test]
fn the_whole_file_is_ours() {
    let db = |ip| pulled("office", Some(&[("db", ip)][..]));
    let cases = [
        Case {
            what: "a change",
            file: "# silo office\n10.0.0.5 db\n",
            pulled: vec![db("10.0.0.6")],
            expected: "# silo office\n10.0.0.6 db\n",
            said: &["office: db 10.0.0.5 → 10.0.0.6, revision 42"],
        },
        Case {
            what: "a failed pull keeps its lines, and their names",
            file: "# silo home\n10.0.0.5 db\n# silo office\n",
            pulled: vec![db("10.0.0.6"), pulled("home", None)],
            expected: "# silo office\n# silo home\n10.0.0.5 db\n",
            said: &[
                "office: unchanged, revision 42",
                "skipped db: silo home has it already",
            ],
        },
        Case {
            what: "silos have the order of the configuration, and the first one wins",
            file: "# silo home\n10.0.0.9 db\n# silo office\n",
            pulled: vec![db("10.0.0.6"), pulled("home", Some(&[("db", "10.0.0.9")]))],
            expected: "# silo office\n10.0.0.6 db\n# silo home\n",
            said: &[
                "office: db 10.0.0.6 added, revision 42",
                "home: db removed, revision 42",
                "skipped db: silo office has it already",
            ],
        },
        Case {
            what: "edits are overwritten",
            file: "# silo office\n10.0.0.5 db # mine\n10.0.0.9 other.name more\n\u{e9}",
            pulled: vec![db("10.0.0.5")],
            expected: "# silo office\n10.0.0.5 db\n",
            said: &["office: db 10.0.0.5 added, revision 42"],
        },
        Case {
            what: "a repair is said",
            file: "10.0.0.1 x\n# silo office\r\n10.0.0.5 db\r\n",
            pulled: vec![db("10.0.0.5")],
            expected: "# silo office\n10.0.0.5 db\n",
            said: &["office: block repaired, revision 42"],
        },
        Case {
            what: "silos that are no longer configured go",
            file: "# silo old\n10.0.0.5 db\n# silo office\n",
            pulled: vec![db("10.0.0.6")],
            expected: "# silo office\n10.0.0.6 db\n",
            said: &["office: db 10.0.0.6 added, revision 42", "old: dropped"],
        },
        Case {
            what: "the second section of a silo is no part of it",
            file: "# silo office\n# silo office\n10.0.0.5 db\n",
            pulled: vec![pulled("office", None)],
            expected: "# silo office\n",
            said: &[],
        },
    ];
    for case in cases {
        let file = format!("{HOSTS}{}", case.file);
        let (new, said) = run(Format::Hosts, &file, &case.pulled, &rules(None));
        assert_eq!(new, format!("{HOSTS}{}", case.expected), "{}", case.what);
        assert_eq!(said, case.said, "{}", case.what);
    }
}

#[test]
fn a_file_of_others_is_replaced_only_by_force() {
    let silos = [pulled("office", Some(&[("db", "10.0.0.5")]))];
    let plan = |file: &str, force| {
        let rules = Rules {
            force,
            ..rules(None)
        };
        plan_own(
            Format::Hosts,
            file.as_bytes(),
            &silos,
            &rules,
            &Known::default(),
        )
    };
    let ours = format!("{HOSTS}# silo office\n10.0.0.5 db\n");
    for foreign in [
        "127.0.0.1 localhost\n",
        "# silo office\n",
        "\u{feff}",
        " # silo-downstream keeps this file",
    ] {
        assert_eq!(
            plan(foreign, false).unwrap_err(),
            NoPlan::NotOurs,
            "{foreign:?}"
        );
        assert_eq!(
            plan(foreign, true).unwrap().bytes,
            ours.as_bytes(),
            "{foreign:?}"
        );
    }
    for empty in ["", "\n"] {
        assert_eq!(plan(empty, false).unwrap().bytes, ours.as_bytes());
    }
}

#[test]
fn too_many_removed_names_are_refused() {
    let names: Vec<String> = (0..10).map(|n| format!("10.0.0.1 h{n}\n")).collect();
    let file = format!("{HOSTS}# silo office\n{}", names.concat());
    let silos = [pulled("office", Some(&[]))];
    let plan = plan_own(
        Format::Hosts,
        file.as_bytes(),
        &silos,
        &rules(None),
        &Known::default(),
    )
    .unwrap();
    assert!(plan.reports[0].outcome.is_err());
    assert_eq!(plan.bytes, file.as_bytes());
}
