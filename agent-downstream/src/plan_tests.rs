//! Whole plans: several silos together, and what is printed about them.

#[path = "plan_long_names_tests.rs"]
mod long_names;

use super::*;
use crate::policy::Conflicts;

fn pulled(id: &str, records: Option<&[(&str, &str)]>) -> Pulled {
    Pulled {
        silo: SiloId::parse(id).unwrap(),
        answer: records.map(|records| Answer {
            records: records
                .iter()
                .map(|(hostname, ip)| DnsRecord {
                    hostname: (*hostname).to_owned(),
                    ip: (*ip).to_owned(),
                })
                .collect(),
            revision: 42,
        }),
    }
}

fn rules() -> Rules {
    Rules {
        policy: Policy::default(),
        hostnames: Vec::new(),
        guarded: Guarded::default(),
        force: false,
        adopt: false,
        suffix: None,
        format: None,
    }
}

fn run(file: &str, pulled: &[Pulled], rules: &Rules) -> (String, Vec<String>) {
    run_knowing(file, pulled, rules, &Known::default())
}

fn run_knowing(
    file: &str,
    pulled: &[Pulled],
    rules: &Rules,
    known: &Known,
) -> (String, Vec<String>) {
    // A file without any line ending gets that of the system.
    let native = |text: String| {
        if cfg!(windows) && !file.contains('\n') {
            text.replace("\r\n", "\n")
        } else {
            text
        }
    };
    let plan = plan(file.as_bytes(), pulled, rules, known).unwrap();
    let said = plan
        .reports
        .iter()
        .flat_map(|report| {
            let silo = &report.silo;
            match &report.outcome {
                Ok(update) => std::iter::once(format!("{silo}: {update}"))
                    .chain(update.skipped.iter().map(|skip| format!("{silo}: {skip}")))
                    .collect(),
                Err(refusal) => vec![format!("{silo}: refused: {refusal}")],
            }
        })
        .chain(plan.stale.iter().map(ToString::to_string))
        .collect();
    (native(String::from_utf8(plan.bytes).unwrap()), said)
}

fn block(id: &str, lines: &str) -> String {
    format!(
        "# BEGIN silo {id} (silo-downstream keeps this block; edits are overwritten)\n{lines}# END silo {id}\n"
    )
}

#[test]
fn updates_list_their_changes() {
    let old = block(
        "office",
        "10.0.0.5 db\n10.0.0.7 nas\n10.0.0.8 tv\n10.0.0.9 x\n",
    );
    let say = |records: &[(&str, &str)]| {
        let (_, said) = run(&old, &[pulled("office", Some(records))], &rules());
        said.into_iter().next().unwrap()
    };
    let same = [
        ("db", "10.0.0.5"),
        ("nas", "10.0.0.7"),
        ("tv", "10.0.0.8"),
        ("x", "10.0.0.9"),
    ];
    assert_eq!(say(&same), "office: unchanged, revision 42");
    let mut moved = same;
    moved[0].1 = "10.0.0.6";
    assert_eq!(say(&moved), "office: db 10.0.0.5 → 10.0.0.6, revision 42");
    assert_eq!(
        say(&[
            ("db", "10.0.0.5"),
            ("new", "10.0.0.1"),
            ("tv", "10.0.0.8"),
            ("x", "10.0.0.1")
        ]),
        "office: nas removed, new 10.0.0.1 added, x 10.0.0.9 → 10.0.0.1, revision 42"
    );
    assert_eq!(
        say(&[
            ("db", "10.0.0.1"),
            ("a", "10.0.0.1"),
            ("b", "10.0.0.1"),
            ("c", "10.0.0.1")
        ]),
        "office: 3 added, 1 changed, 3 removed, revision 42"
    );
    let (file, said) = run("", &[pulled("office", Some(&[]))], &rules());
    assert_eq!(file, block("office", ""));
    assert_eq!(said, ["office: new block without names, revision 42"]);
}

#[test]
fn an_update_that_skips_a_name_with_another_address_is_wrong() {
    for (file, wrong) in [
        ("", false),
        ("10.0.0.5 db\n", false),
        ("10.0.0.9 db\n", true),
    ] {
        let office = [pulled(
            "office",
            Some(&[("db", "10.0.0.5"), ("nas", "10.0.0.7")]),
        )];
        let plan = plan(file.as_bytes(), &office, &rules(), &Known::default()).unwrap();
        let update = plan.reports[0].outcome.as_ref().unwrap();
        assert_eq!(update.is_wrong(), wrong, "{file:?}: {update}");
    }
}

#[test]
fn line_numbers_are_a_list() {
    for (lines, text) in [
        (&[2][..], "2"),
        (&[2, 5], "2 and 5"),
        (&[2, 5, 9], "2, 5 and 9"),
    ] {
        assert_eq!(numbers(lines), text);
    }
}

#[test]
fn an_edited_block_is_put_right() {
    let edited = block("office", "10.0.0.5   db # mine\n");
    let (file, said) = run(
        &edited,
        &[pulled("office", Some(&[("db", "10.0.0.5")]))],
        &rules(),
    );
    assert_eq!(file, block("office", "10.0.0.5 db\n"));
    assert_eq!(said, ["office: block repaired, revision 42"]);
}

#[test]
fn a_failed_pull_keeps_its_block_and_does_not_hold_up_the_others() {
    let file = block("office", "10.0.0.5 db\n") + &block("home", "10.0.0.7 nas\n");
    let silos = [
        pulled("office", None),
        pulled("home", Some(&[("nas", "10.0.0.8"), ("db", "10.0.0.1")])),
    ];
    let (file, said) = run(&file, &silos, &rules());
    assert_eq!(
        file,
        block("office", "10.0.0.5 db\n") + &block("home", "10.0.0.8 nas\n")
    );
    assert_eq!(
        said,
        [
            "home: nas 10.0.0.7 → 10.0.0.8, revision 42",
            "home: skipped db: silo office has it already",
        ]
    );
}

#[test]
fn the_first_silo_of_the_configuration_wins_a_name_wherever_its_block_is() {
    let file = block("home", "10.0.0.7 db\n") + &block("office", "");
    let silos = [
        pulled("office", Some(&[("db", "10.0.0.5")])),
        pulled("home", Some(&[("db", "10.0.0.7")])),
    ];
    let (file, said) = run(&file, &silos, &rules());
    assert_eq!(file, block("home", "") + &block("office", "10.0.0.5 db\n"));
    assert_eq!(
        said,
        [
            "office: db 10.0.0.5 added, revision 42",
            "home: db removed, revision 42",
            "home: skipped db: silo office has it already",
        ]
    );
}

#[test]
fn a_refused_pull_keeps_its_block_whose_names_no_other_silo_gets() {
    let names: Vec<String> = (0..10).map(|n| format!("10.0.0.1 h{n}\n")).collect();
    let home = block("home", &names.concat());
    let silos = [
        pulled("office", Some(&[("h3", "10.0.0.9"), ("db", "10.0.0.5")])),
        pulled("home", Some(&[])),
    ];
    let (file, said) = run(&home, &silos, &rules());
    assert_eq!(file, home.clone() + &block("office", "10.0.0.5 db\n"));
    assert_eq!(
        said[..2],
        [
            "office: new block with 1 name, revision 42",
            "office: skipped h3: silo home has it already",
        ]
    );
    assert!(
        said[2].starts_with("home: refused: the hub dropped 10 of 10 names"),
        "{said:?}"
    );
    let forced = Rules {
        force: true,
        ..rules()
    };
    let (file, said) = run(&home, &silos, &forced);
    assert_eq!(
        file,
        block("home", "") + &block("office", "10.0.0.5 db\n10.0.0.9 h3\n")
    );
    assert_eq!(said[1], "home: 10 removed, revision 42");
}

#[test]
fn refused_conflicts_cascade_and_end() {
    let mut rules = rules();
    rules.policy.conflicts = Some(Conflicts::Refuse);
    let both = |id| pulled(id, Some(&[("db", "10.0.0.5")][..]));
    let (file, said) = run("10.0.0.1 db\n", &[both("a"), both("b"), both("c")], &rules);
    assert_eq!(file, "10.0.0.1 db\n");
    assert_eq!(said.len(), 3);
    assert!(
        said.iter()
            .all(|line| line.contains("refused: db is defined elsewhere")),
        "{said:?}"
    );
}

#[test]
fn a_stale_block_gives_its_names_to_a_configured_silo_and_is_named() {
    let old = block(
        "old",
        "10.0.0.5 db\n10.0.0.7 nas\nfd00::7 nas\n10.0.0.8 tv\n",
    );
    let office = [pulled(
        "office",
        Some(&[("db", "10.0.0.6"), ("nas", "10.0.0.7")]),
    )];
    // Not ours, or not stale yet.
    let (file, said) = run(&old, &office, &rules());
    assert_eq!(file, old.clone() + &block("office", ""));
    assert_eq!(
        said,
        [
            "office: new block without names, revision 42",
            "office: skipped db: the block of silo old defines it as 10.0.0.5, but the silo as 10.0.0.6 (`silo-downstream clean --silo old` removes that block)",
            "office: skipped nas: the block of silo old defines it as 10.0.0.7 fd00::7, but the silo as 10.0.0.7 (`silo-downstream clean --silo old` removes that block)",
        ]
    );
    let known = Known {
        stale: [SiloId::parse("old").unwrap()].into(),
        ..Known::default()
    };
    let (file, said) = run_knowing(&old, &office, &rules(), &known);
    assert_eq!(
        file,
        block("old", "10.0.0.8 tv\n") + &block("office", "10.0.0.6 db\n10.0.0.7 nas\n")
    );
    assert_eq!(
        said,
        [
            "office: new block with 2 names, revision 42",
            "the block of silo old is stale: no run has configured that silo for a day; removed 3 lines from it, whose names other silos have; `silo-downstream clean --silo old` removes it",
        ]
    );
    // After they were removed.
    let (again, said) = run_knowing(&file, &office, &rules(), &known);
    assert_eq!(again, file);
    assert!(
        said[1].ends_with("for a day; `silo-downstream clean --silo old` removes it"),
        "{said:?}"
    );
}

#[test]
fn lines_that_lost_their_block_count_as_part_of_it() {
    let names: Vec<(String, &str)> = (0..10).map(|n| (format!("h{n}"), "10.0.0.1")).collect();
    let written: Records = names
        .iter()
        .map(|(name, ip)| {
            let ips = [ip.parse().unwrap()];
            (Hostname::parse(name).unwrap(), ips.into_iter().collect())
        })
        .collect();
    let known = Known {
        written: [(SiloId::parse("office").unwrap(), written)].into(),
        ..Known::default()
    };
    let file: String = names
        .iter()
        .map(|(name, ip)| format!("{ip} {name}\n"))
        .collect();
    let (same, said) = run_knowing(&file, &[pulled("office", Some(&[]))], &rules(), &known);
    assert_eq!(same, file);
    assert!(said[0].contains("dropped 10 of 10 names"), "{said:?}");
    // A failed pull leaves them unchanged, and no other silo gets their names.
    let silos = [
        pulled("office", None),
        pulled("home", Some(&[("h1", "10.0.0.9")])),
    ];
    let (kept, said) = run_knowing(&file, &silos, &rules(), &known);
    assert_eq!(kept, file.clone() + &block("home", ""));
    assert!(
        said[1].contains("home: skipped h1: line 2 of the hosts file defines it as 10.0.0.1"),
        "{said:?}"
    );
}

#[test]
fn lines_of_a_silo_that_is_not_configured_stay_and_define_their_names() {
    let known = Known {
        written: [(
            SiloId::parse("old").unwrap(),
            [(
                Hostname::parse("db").unwrap(),
                ["10.0.0.5".parse().unwrap()].into_iter().collect(),
            )]
            .into(),
        )]
        .into(),
        ..Known::default()
    };
    let nas = ("nas", "10.0.0.7");
    for (what, file, skipped) in [
        (
            "once",
            "10.0.0.5 db\n",
            "db: line 1 of the hosts file defines it as 10.0.0.5",
        ),
        // Twice would be ambiguous for a silo that is configured.
        (
            "twice",
            "10.0.0.5 db\n10.0.0.5 db\n",
            "db: line 1 of the hosts file defines it as 10.0.0.5",
        ),
    ] {
        let office = [pulled("office", Some(&[("db", "10.0.0.6"), nas]))];
        let (new, said) = run_knowing(file, &office, &rules(), &known);
        assert_eq!(
            new,
            file.to_owned() + &block("office", "10.0.0.7 nas\n"),
            "{what}"
        );
        assert!(
            said[1].starts_with(&format!("office: skipped {skipped}")),
            "{what}: {said:?}"
        );
    }
    // The same line goes into the block of its silo while that is configured.
    let old = [pulled("old", Some(&[("db", "10.0.0.6")]))];
    let (new, _) = run_knowing("10.0.0.5 db\n", &old, &rules(), &known);
    assert_eq!(new, block("old", "10.0.0.6 db\n"));
}

/// A record of a hub's answer.
type Sent = (&'static str, &'static str);

const DB: Sent = ("db", "10.0.0.5");

const NAS: Sent = ("nas", "10.0.0.7");

const NAS6: Sent = ("nas", "fd00::7");

const TV: Sent = ("tv", "10.0.0.8");

/// A file with all of DB, NAS and NAS6 outside a block.
const THREE: &str = "127.0.0.1 localhost\n10.0.0.5 db\n10.0.0.7 nas\nfd00::7 nas\n";

#[test]
fn without_notes_a_pull_is_refused_if_most_of_its_records_are_outside() {
    let beside = format!("10.0.0.5 db\n{}", block("office", "10.0.0.8 tv\n"));
    let moved = ("db", "10.0.0.6");
    let (one, twice) = ("10.0.0.5 db\n", "10.0.0.5 db\n10.0.0.5 db\n");
    let alias = "10.0.0.5 db\n10.0.0.5 db db2\n";
    let cases: [(&str, &str, &[Sent], &[usize]); 7] = [
        ("beside a line of another form", alias, &[DB], &[1]),
        ("all", THREE, &[DB, NAS, NAS6], &[2, 3, 4]),
        ("one was added", THREE, &[DB, NAS, NAS6, TV], &[2, 3, 4]),
        ("one was moved", THREE, &[moved, NAS, NAS6], &[3, 4]),
        ("the only one", one, &[DB], &[1]),
        ("one twice", twice, &[DB], &[1, 2]),
        ("beside a block", &beside, &[DB, TV, NAS, NAS6], &[1]),
    ];
    for (what, file, records, lines) in cases {
        let office = [pulled("office", Some(records))];
        let (new, said) = run(file, &office, &rules());
        assert_eq!(new, file, "{what}: {said:?}");
        assert!(said[0].starts_with("office: refused: "), "{what}: {said:?}");
        assert!(said[0].contains("`once --adopt`"), "{what}: {said:?}");
        for line in lines {
            let line = format!("line {line} ");
            assert!(said[0].contains(&line), "{what}: {line}: {said:?}");
        }
        // Each of the remedies ends it.
        let adopting = Rules {
            adopt: true,
            ..rules()
        };
        let mut skipping = rules();
        skipping.policy.conflicts = Some(Conflicts::Skip);
        for rules in [adopting, skipping] {
            let (_, said) = run(file, &office, &rules);
            assert!(!said[0].contains("refused: "), "{what}: {said:?}");
        }
    }
}

#[test]
fn without_notes_fewer_records_outside_define_their_names() {
    let (pc, pi) = (("pc", "10.0.0.9"), ("pi", "10.0.0.10"));
    let (one, alias, comment) = ("10.0.0.5 db\n", "10.0.0.5 db db2\n", "10.0.0.5 db # mine\n");
    let three_more = "10.0.0.9 pc\n10.0.0.10 pi\n10.0.0.8 tv\n";
    let cases: [(&str, &str, &[Sent], &str, usize); 5] = [
        ("half", THREE, &[DB, TV, pc, pi, NAS, NAS6], three_more, 2),
        ("one of two", one, &[DB, TV], "10.0.0.8 tv\n", 1),
        ("one more name", alias, &[DB], "", 1),
        ("a comment", comment, &[DB], "", 1),
        ("not ours alone", alias, &[DB, TV], "10.0.0.8 tv\n", 1),
    ];
    for (what, file, records, expected, line) in cases {
        let (new, said) = run(file, &[pulled("office", Some(records))], &rules());
        let expected = file.to_owned() + &block("office", expected);
        assert_eq!(new, expected, "{what}: {said:?}");
        let skipped = format!("office: skipped db: line {line} of the hosts file defines it");
        assert!(said.contains(&skipped), "{what}: {said:?}");
    }
}

#[test]
fn many_refused_silos_on_a_long_file_are_refused_in_one_pass() {
    // Each of 300 silos has a name that a line defines, in a file of 100 000 lines.
    let mut file: String = (0..100_000)
        .map(|n| format!("10.0.0.1 x{n} y{n}\n"))
        .collect();
    let names: Vec<String> = (0..300).map(|n| format!("x{n}")).collect();
    file.push_str("10.0.0.1 last\n");
    let silos: Vec<Pulled> = names
        .iter()
        .enumerate()
        .map(|(n, name)| pulled(&format!("s{n}"), Some(&[(name, "10.0.0.2")])))
        .collect();
    let mut rules = rules();
    rules.policy.conflicts = Some(Conflicts::Refuse);
    let known = Known::default();
    let context = PlanContext::new(
        HostsFile::parse(file.as_bytes()).unwrap(),
        &silos,
        &rules,
        &known,
    )
    .unwrap();
    let (decided, refused) = context.decide(&silos, &BTreeMap::new());
    assert_eq!((decided.len(), refused.len()), (0, 300));
}
