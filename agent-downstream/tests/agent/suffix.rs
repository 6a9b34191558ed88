//! Long names in the hosts file.

use std::fs;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, agent, block, run};

const RECORDS: &[(&str, &str)] = &[
    ("db", "10.0.0.5"),
    ("db-2", "10.0.0.6"),
    ("nas.lan", "10.0.0.7"),
];
const LINES: &str =
    "10.0.0.5 db\n10.0.0.5 db.lan\n10.0.0.6 db-2\n10.0.0.6 db-2.lan\n10.0.0.7 nas.lan\n";

#[test]
fn long_names_are_written_once_shown_by_diff_and_removed_by_clean() {
    let hub = FakeHub::office(42, RECORDS);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let ran = sandbox.must_run(&hub, &["diff", "--suffix", "lan"]);
    for line in LINES.lines() {
        assert!(ran.stdout.contains(&format!("\n+{line}\n")), "{ran:?}");
    }
    // From the environment.
    let with_variable = || {
        let mut agent = agent();
        agent.env("SILO_DOWNSTREAM_SUFFIX", "lan");
        run(agent.args(sandbox.flags(&hub)))
    };
    let ran = with_variable();
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "office: new block with 5 names, revision 42\n")
    );
    let expected = "127.0.0.1 localhost\n".to_owned() + &block("office", LINES);
    assert_eq!(sandbox.text(), expected);
    let ran = with_variable();
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "office: unchanged, revision 42\n")
    );
    assert_eq!(sandbox.text(), expected);

    // Lines that lost their block are found again, long names too.
    fs::write(
        sandbox.hosts(),
        expected
            .replace("# BEGIN silo", "# was")
            .replace("# END silo", "# was"),
    )
    .unwrap();
    let ran = sandbox.must_run(&hub, &["clean"]);
    assert!(
        ran.stdout
            .contains("(`10.0.0.5 db.lan`), which had lost its block, removed"),
        "{ran:?}"
    );
    assert!(!sandbox.text().contains("10.0.0"), "{}", sandbox.text());
}

#[test]
fn the_order_is_that_of_the_configuration() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5")]);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    fs::write(
        sandbox.path("downstream.yaml"),
        "suffix: lan\nsuffix_order: before\n",
    )
    .unwrap();
    sandbox.must_run(&hub, &[]);
    let expected = block("office", "10.0.0.5 db.lan\n10.0.0.5 db\n");
    assert_eq!(
        sandbox.text(),
        "127.0.0.1 localhost\n".to_owned() + &expected
    );
}

#[test]
fn a_conflict_of_a_long_name_fails_the_run_and_check_until_it_is_solved() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5")]);
    let sandbox = Sandbox::new("10.0.0.9 db.lan\n");
    for verb in ["check", "once"] {
        let ran = sandbox.run(&hub, &[verb, "--suffix", "lan"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(
            said.contains("skipped db.lan: line 1 of the hosts file defines it as 10.0.0.9"),
            "{said}"
        );
    }
    sandbox.must_run(&hub, &["once", "--suffix", "lan", "--adopt"]);
    assert_eq!(
        sandbox.text(),
        block("office", "10.0.0.5 db\n10.0.0.5 db.lan\n")
    );
}
