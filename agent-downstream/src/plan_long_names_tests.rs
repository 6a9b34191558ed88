//! Long names of single-label names.

use super::super::*;
use super::{block, pulled, rules, run};
use crate::policy::Conflicts;
use crate::suffix::SuffixOrder;

/// What a run with a suffix has to make of a file and a silo's records.
struct LongNames {
    /// What the case shows.
    what: &'static str,
    suffix: &'static str,
    /// The file without the block of `office`.
    file: &'static str,
    records: &'static [(&'static str, &'static str)],
    /// The lines of the block of `office`.
    block: &'static str,
    said: &'static [&'static str],
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_single_label_name_gets_a_long_name_under_the_rules_of_names() {
    const NEW: &str = "office: new block with 1 name, revision 42";
    let cases = [
        LongNames {
            what: "only names of one label",
            suffix: "lan",
            file: "",
            records: &[("db", "10.0.0.5"), ("db", "fd00::5"), ("a.lan", "10.0.0.6")],
            block: "10.0.0.6 a.lan\n10.0.0.5 db\n10.0.0.5 db.lan\nfd00::5 db\nfd00::5 db.lan\n",
            said: &["office: new block with 3 names, revision 42"],
        },
        LongNames {
            what: "a public suffix that is configured, for these names only",
            suffix: "corp.example.com",
            file: "",
            records: &[("db", "10.0.0.5"), ("www.corp.example.com", "10.0.0.6")],
            block: "10.0.0.5 db\n10.0.0.5 db.corp.example.com\n",
            said: &[
                "office: new block with 2 names, revision 42",
                "office: skipped www.corp.example.com: not a private name (`policy.names` accepts more)",
            ],
        },
        LongNames {
            what: "none for a name that is not accepted, although the long one would be",
            suffix: "lan",
            file: "10.0.0.5 db other\n",
            records: &[
                ("db", "10.0.0.5"),
                ("metadata", "10.0.0.6"),
                ("vm", "10.0.0.7"),
            ],
            block: "",
            said: &[
                "office: new block without names, revision 42",
                "office: skipped db: line 1 of the hosts file defines it",
                "office: skipped metadata: a name that is never taken from a hub",
                "office: skipped vm: this machine's own name",
            ],
        },
        LongNames {
            what: "the hub's name",
            suffix: "lan",
            file: "",
            records: &[("hub", "10.0.0.5")],
            block: "10.0.0.5 hub\n",
            said: &[NEW, "office: skipped hub.lan: the hub's own name"],
        },
        LongNames {
            what: "a line outside with the same address",
            suffix: "lan",
            file: "10.0.0.5 db.lan db.example\n",
            records: &[("db", "10.0.0.5")],
            block: "10.0.0.5 db\n",
            said: &[
                NEW,
                "office: skipped db.lan: line 1 of the hosts file defines it",
            ],
        },
        LongNames {
            what: "a line outside with another address",
            suffix: "lan",
            file: "10.0.0.9 db.lan db.example\n",
            records: &[("db", "10.0.0.5")],
            block: "10.0.0.5 db\n",
            said: &[
                NEW,
                "office: skipped db.lan: line 1 of the hosts file defines it as 10.0.0.9, but the silo as 10.0.0.5: remove that line, run `once --adopt` to take it over, or accept it with `policy.conflicts: skip`",
            ],
        },
        LongNames {
            what: "the block of another silo",
            suffix: "lan",
            file: "# BEGIN silo home\n10.0.0.9 db.lan\n# END silo home\n",
            records: &[("db", "10.0.0.5")],
            block: "10.0.0.5 db\n",
            said: &[
                NEW,
                "office: skipped db.lan: the block of silo home defines it as 10.0.0.9, but the silo as 10.0.0.5 (`silo-downstream clean --silo home` removes that block)",
            ],
        },
        LongNames {
            what: "the silo's own long name",
            suffix: "lan",
            file: "",
            records: &[("db", "10.0.0.5"), ("db.lan", "10.0.0.9")],
            block: "10.0.0.5 db\n10.0.0.9 db.lan\n",
            said: &["office: new block with 2 names, revision 42"],
        },
        LongNames {
            what: "a long name that is too long",
            suffix: "a2345678901234567890123456789012345678901234567890.b2345678901234567890123456789012345678901234567890.c2345678901234567890123456789012345678901234567890.d2345678901234567890123456789012345678901234567890",
            file: "",
            records: &[(
                "x234567890123456789012345678901234567890123456789012345678901",
                "10.0.0.5",
            )],
            block: "10.0.0.5 x234567890123456789012345678901234567890123456789012345678901\n",
            said: &[
                NEW,
                "office: skipped x234567890123456789012345678901234567890123456789012345678901.a2345678901234567890123456789012345678901234567890.b2345678901234567890123456789012345678901234567890.c2345678901234567890123456789012345678901234567890.d2345678901234567890123456789012345678901234567890: a hostname has at most 253 characters",
            ],
        },
    ];
    for case in cases {
        let rules = Rules {
            guarded: Guarded {
                own: vec!["vm".to_owned()],
                hubs: vec!["hub.lan".to_owned()],
            },
            ..with_suffix(case.suffix)
        };
        let silos = [pulled("office", Some(case.records))];
        let (file, said) = run(case.file, &silos, &rules);
        assert_eq!(
            file,
            case.file.to_owned() + &block("office", case.block),
            "{}",
            case.what
        );
        assert_eq!(said, case.said, "{}", case.what);
        let (again, said) = run(&file, &silos, &rules);
        assert_eq!(again, file, "{}", case.what);
        assert_eq!(said[0], "office: unchanged, revision 42", "{}", case.what);
    }
}

fn with_suffix(domain: &str) -> Rules {
    let domain = Hostname::parse(domain).unwrap();
    let order = SuffixOrder::After;
    Rules {
        suffix: Some(Suffix { domain, order }),
        ..rules()
    }
}

#[test]
fn long_names_follow_the_configuration_and_count_no_losses() {
    let rules = with_suffix("lan");
    let short: Vec<(String, String)> = (0..10)
        .map(|n| (format!("h{n}"), "10.0.0.1".to_owned()))
        .collect();
    let records = |count: usize| -> Vec<(&str, &str)> {
        short[..count]
            .iter()
            .map(|(name, ip)| (name.as_str(), ip.as_str()))
            .collect()
    };
    let (whole, _) = run("", &[pulled("office", Some(&records(10)))], &rules);
    // Nine names of one label: the limit begins at ten.
    let (nine, _) = run("", &[pulled("office", Some(&records(9)))], &rules);
    let (_, said) = run(&nine, &[pulled("office", Some(&records(1)))], &rules);
    assert_eq!(said, ["office: 8 removed, revision 42"]);
    let (_, said) = run(&whole, &[pulled("office", Some(&records(4)))], &rules);
    assert!(said[0].contains("dropped 6 of 10 names"), "{said:?}");
    // Another suffix, another order, and none.
    let (_, said) = run(
        &whole,
        &[pulled("office", Some(&records(10)))],
        &with_suffix("home.arpa"),
    );
    assert_eq!(said, ["office: 10 added, 10 removed, revision 42"]);
    let mut before = with_suffix("lan");
    before.suffix.as_mut().unwrap().order = SuffixOrder::Before;
    let (file, said) = run(&whole, &[pulled("office", Some(&records(10)))], &before);
    assert_eq!(said, ["office: block repaired, revision 42"]);
    assert!(file.contains("office (silo-downstream keeps this block; edits are overwritten)\n10.0.0.1 h0.lan\n10.0.0.1 h0\n"), "{file}");
    let (_, said) = run(
        &whole,
        &[pulled("office", Some(&records(10)))],
        &self::rules(),
    );
    assert_eq!(said, ["office: 10 removed, revision 42"]);
    // What happens to both names is said once.
    let one = block("office", "10.0.0.5 db\n10.0.0.5 db.lan\n");
    let (_, said) = run(
        &one,
        &[pulled("office", Some(&[("db", "10.0.0.6")]))],
        &rules,
    );
    assert_eq!(said, ["office: db 10.0.0.5 → 10.0.0.6, revision 42"]);
}

#[test]
fn a_long_name_goes_to_the_first_silo_that_defines_it() {
    let silos = [
        pulled("office", Some(&[("db", "10.0.0.5")])),
        pulled("home", Some(&[("db.lan", "10.0.0.9")])),
    ];
    let (file, said) = run("", &silos, &with_suffix("lan"));
    assert_eq!(
        file,
        block("office", "10.0.0.5 db\n10.0.0.5 db.lan\n") + &block("home", "")
    );
    assert_eq!(said[2], "home: skipped db.lan: silo office has it already");
    let mut refusing = with_suffix("lan");
    refusing.policy.conflicts = Some(Conflicts::Refuse);
    let (_, said) = run("10.0.0.5 db.lan x\n", &silos[..1], &refusing);
    assert!(
        said[0].contains("refused: db.lan is defined elsewhere"),
        "{said:?}"
    );
}
