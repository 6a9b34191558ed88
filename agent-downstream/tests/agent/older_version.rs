//! State folders that version 0.1.0 left.

use std::fs;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, agent, block, new, old, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5"), ("nas", "10.0.0.7")];

/// What version 0.1.0 left when it was killed while it wrote in place: its journal, its backups and the memory.
#[test]
fn the_journal_of_an_older_version_is_carried_out() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(old());
    sandbox.note_left(&sandbox.hosts());
    fs::remove_dir_all(sandbox.path("state")).unwrap();
    fs::create_dir(sandbox.path("state")).unwrap();
    sandbox.set_mode("state", 0o700);
    let name = sandbox.name_of_hosts();
    let put = |kind: &str, bytes: &[u8]| {
        fs::write(sandbox.path(&format!("state/{kind}-{name}")), bytes).unwrap();
    };
    let (old, new) = (old(), new());
    let journal = format!(
        "silo-downstream journal 1 {} {}\n{old}{new}",
        old.len(),
        new.len()
    );
    put("journal", journal.as_bytes());
    put("backup", old.as_bytes());
    fs::write(
        sandbox.path(&format!("state/backup-{name}.previous")),
        "127.0.0.1 localhost\n",
    )
    .unwrap();
    // The tail is written, the beginning is not.
    let torn = format!("{old}{}", &new[old.len()..]);
    fs::write(sandbox.hosts(), &torn).unwrap();
    // Where writing in place is not allowed, nothing is done.
    let ran = sandbox.run(&hub, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("--in-place"), "{ran:?}");
    assert_eq!(sandbox.text(), torn);
    let listed = run(agent()
        .args(sandbox.file_flags())
        .args(["restore", "--list"]));
    assert_eq!(
        (listed.code, listed.stdout.lines().count()),
        (0, 2),
        "{listed:?}"
    );
    sandbox.must_run(&hub, &["--in-place"]);
    assert_eq!(sandbox.text(), new);
    assert!(!sandbox.path(&format!("state/journal-{name}")).exists());
    assert_eq!(
        sandbox.must_run(&hub, &[]).stdout,
        "office: unchanged, revision 42\n"
    );
}

/// What 0.1.0 left: no notes but what the hub said, and what was skipped of it.
#[test]
fn lines_that_an_older_version_wrote_are_taken_back() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5"), ("nas", "10.0.0.7")]);
    let sandbox = Sandbox::new("10.0.0.7 nas\n");
    fs::create_dir(sandbox.path("state")).unwrap();
    sandbox.set_mode("state", 0o700);
    // The name is a digest of the hub's URL; a run of this version tells which.
    sandbox.run(&hub, &[]);
    let name = fs::read_dir(sandbox.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("silo-office-"))
        .unwrap();
    for entry in fs::read_dir(sandbox.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("/notes-") {
            fs::remove_file(path).unwrap();
        }
    }
    let remembered = format!(
        r#"{{"hub":"{}","silo":"office","tag":"\"42\"","document":{{"id":"office","dnsrecords":[{{"hostname":"db","ip":"10.0.0.5"}},{{"hostname":"nas","ip":"10.0.0.7"}}],"revision":42,"updated_at":"2026-11-28T20:06:09.224Z"}},"skipped":["skipped nas: line 1 of the hosts file defines it"]}}"#,
        hub.url()
    );
    fs::write(sandbox.path("state").join(name), remembered).unwrap();
    fs::write(sandbox.hosts(), "10.0.0.7 nas\n10.0.0.5 db\n").unwrap();
    hub.now_office(43, &[("db", "10.0.0.6"), ("nas", "10.0.0.7")]);
    sandbox.must_run(&hub, &[]);
    assert_eq!(
        sandbox.text(),
        "10.0.0.7 nas\n".to_owned() + &block("office", "10.0.0.6 db\n")
    );
}
