//! Runs whose state folder knows nothing of a silo (it was lost, or this is the first run) on a hosts file that has
//! lines of it outside a block.

use std::fs;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, agent, block, run};

const THREE: &[(&str, &str)] = &[("db", "10.0.0.5"), ("nas", "10.0.0.7"), ("tv", "10.0.0.8")];
const FOUR: &[(&str, &str)] = &[
    ("db", "10.0.0.5"),
    ("nas", "10.0.0.7"),
    ("pc", "10.0.0.9"),
    ("tv", "10.0.0.8"),
];
const LINES: &str = "10.0.0.5 db\n10.0.0.7 nas\n10.0.0.8 tv\n";
const HEAD: &str = "127.0.0.1 localhost\n";

/// A hosts file as a run left it, its markers then removed, and no state folder.
fn without_markers_and_state() -> Sandbox {
    let sandbox = Sandbox::new(HEAD);
    sandbox.must_run(&FakeHub::office(42, THREE), &[]);
    assert_eq!(sandbox.text(), HEAD.to_owned() + &block("office", LINES));
    fs::write(sandbox.hosts(), HEAD.to_owned() + LINES).unwrap();
    fs::remove_dir_all(sandbox.path("state")).unwrap();
    sandbox.note_left(&sandbox.hosts());
    sandbox
}

#[test]
fn a_block_without_markers_is_not_touched_though_the_hub_has_added_a_record() {
    let hub = FakeHub::office(43, FOUR);
    let sandbox = without_markers_and_state();
    let before = sandbox.text();
    for verb in ["once", "check", "diff", "once"] {
        let ran = sandbox.run(&hub, &[verb]);
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for part in [
            "line 2 (`10.0.0.5 db`)",
            "line 3 (`10.0.0.7 nas`)",
            "line 4 (`10.0.0.8 tv`)",
            "`once --adopt`",
        ] {
            assert!(said.contains(part), "{verb}: {part}: {ran:?}");
        }
        assert_eq!(sandbox.text(), before, "{verb}");
    }
    let ran = sandbox.must_run(&hub, &["--adopt"]);
    assert_eq!(ran.stdout.matches("moved into it").count(), 3, "{ran:?}");
    let expected = HEAD.to_owned()
        + &block(
            "office",
            "10.0.0.5 db\n10.0.0.7 nas\n10.0.0.9 pc\n10.0.0.8 tv\n",
        );
    assert_eq!(sandbox.text(), expected);
    assert_eq!(
        sandbox.must_run(&hub, &[]).stdout,
        "office: unchanged, revision 43\n"
    );
}

#[test]
fn a_first_run_beside_one_line_of_the_users_own_writes_the_other_records() {
    let hub = FakeHub::office(42, FOUR);
    let own = HEAD.to_owned() + "10.0.0.5 db\n";
    let sandbox = Sandbox::new(&own);
    sandbox.note_left(&sandbox.hosts());
    for _ in 0..2 {
        let ran = sandbox.must_run(&hub, &[]);
        assert!(
            ran.stdout
                .contains("office: skipped db: line 2 of the hosts file defines it\n"),
            "{ran:?}"
        );
        let rest = block("office", "10.0.0.7 nas\n10.0.0.9 pc\n10.0.0.8 tv\n");
        assert_eq!(sandbox.text(), own.clone() + &rest);
    }
}

#[test]
fn clean_without_state_keeps_the_lines_and_prints_how_to_remove_them() {
    let hub = FakeHub::office(42, THREE);
    let sandbox = without_markers_and_state();
    let before = sandbox.text();
    let clean = |arguments: &[&str]| {
        run(agent()
            .args(sandbox.file_flags())
            .args(["clean", "--silo", "office"])
            .args(arguments))
    };
    for arguments in [&[][..], &["--adopt"]] {
        let ran = clean(arguments);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (
                0,
                "office: no block, and the state folder has no record of its lines: \
                 if lines without markers are left, run `once --adopt`, then `clean`\n"
            ),
            "{arguments:?}: {ran:?}"
        );
        assert_eq!(sandbox.text(), before, "{arguments:?}");
    }
    sandbox.must_run(&hub, &["--adopt"]);
    let ran = clean(&[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "office: block removed\n"),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), HEAD);
}
