//! A file of our own: created, kept and removed.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{Sandbox, agent, names_beside, run};

const HEAD: &str = "# silo-downstream keeps this file (format: hosts); edits are overwritten\n";
const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

/// A sandbox whose configuration is about `dns/silo` in it.
fn sandbox(format: &str) -> Sandbox {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    fs::create_dir(sandbox.path("dns")).unwrap();
    let (file, state) = (sandbox.path("dns/silo"), sandbox.path("state"));
    let yaml = format!(
        "file: {}\nformat: {format}\nstate_dir: {}\n",
        file.display(),
        state.display()
    );
    fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
    sandbox
}

/// A run with that configuration, against a hub.
fn once(sandbox: &Sandbox, hub: &FakeHub, arguments: &[&str]) -> crate::sandbox::Ran {
    let config = sandbox.path("downstream.yaml");
    let token = sandbox.path("token");
    run(agent()
        .arg("--config")
        .arg(config)
        .arg("--token-file")
        .arg(token)
        .args(["--hub", &hub.url(), "--silo", "office"])
        .args(arguments))
}

fn text(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path("dns/silo")).unwrap()
}

#[test]
fn it_is_created_kept_repaired_and_removed() {
    let hub = FakeHub::office(42, DB);
    let sandbox = sandbox("hosts");
    let file = sandbox.path("dns/silo");
    let ran = once(&sandbox, &hub, &["check"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout
            .contains("silo is not there yet; the first run makes it"),
        "{ran:?}"
    );
    let ran = once(&sandbox, &hub, &["diff"]);
    assert!(
        ran.stdout.contains("+# silo office\n+10.0.0.5 db\n"),
        "{ran:?}"
    );
    assert!(!file.exists(), "check and diff create nothing");

    let expected = format!("{HEAD}# silo office\n10.0.0.5 db\n");
    let ran = once(&sandbox, &hub, &[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "office: new block with 1 name, revision 42\n"),
        "{ran:?}"
    );
    assert_eq!(text(&sandbox), expected);
    #[cfg(unix)]
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o644
    );
    let ran = once(&sandbox, &hub, &[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "office: unchanged, revision 42\n")
    );
    let ran = once(&sandbox, &hub, &["check"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("can be replaced"),
        "{ran:?}"
    );

    fs::write(&file, expected.replace("db", "db # mine\n10.0.0.9 x")).unwrap();
    let ran = once(&sandbox, &hub, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(text(&sandbox), expected);

    // A silo that can't be pulled keeps its lines.
    hub.now(|_| Reply::problem(503, "later"));
    assert_eq!(once(&sandbox, &hub, &[]).code, 1);
    assert_eq!(text(&sandbox), expected);
    assert_eq!(
        names_beside(&file),
        [""; 0],
        "no other file is left in the folder"
    );
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");

    for expected in ["removed\n", "no such file\n"] {
        let ran = once(&sandbox, &hub, &["clean"]);
        assert!(ran.code == 0 && ran.stdout.ends_with(expected), "{ran:?}");
        assert!(!file.exists());
    }
}

#[test]
fn a_hub_that_fails_at_first_creates_nothing() {
    let hub = FakeHub::start(|_| Reply::problem(503, "later"));
    let sandbox = sandbox("hosts");
    assert_eq!(once(&sandbox, &hub, &[]).code, 1);
    assert!(!sandbox.path("dns/silo").exists());
    fs::remove_dir(sandbox.path("dns")).unwrap();
    hub.now_office(42, DB);
    for verb in ["once", "check"] {
        let ran = once(&sandbox, &hub, &[verb]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.replace('\\', "/").contains("dns/silo"), "{said}");
    }
}

#[test]
fn files_of_others_are_refused_and_force_keeps_a_backup() {
    let hub = FakeHub::office(42, DB);
    let sandbox = sandbox("hosts");
    let foreign = "10.0.0.1 of-others\n";
    fs::write(sandbox.path("dns/silo"), foreign).unwrap();
    for verb in ["once", "check", "diff", "clean"] {
        let ran = once(&sandbox, &hub, &[verb]);
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(
            said.contains("was not written by silo-downstream"),
            "{verb}: {said}"
        );
        assert_eq!(text(&sandbox), foreign, "{verb}");
    }
    let ran = once(&sandbox, &hub, &["once", "--force"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        text(&sandbox),
        format!("{HEAD}# silo office\n10.0.0.5 db\n")
    );
    let ran = once(&sandbox, &hub, &["restore"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(text(&sandbox), foreign);
}

#[cfg(unix)]
#[test]
fn the_systems_hosts_file_is_refused_by_every_path() {
    let before = fs::read("/etc/hosts").unwrap();
    let hub = FakeHub::office(42, DB);
    let sandbox = sandbox("hosts");
    let link = sandbox.path("dns/link");
    symlink("/etc/hosts", &link).unwrap();
    let link = link.display().to_string();
    for path in ["/etc/hosts", "/etc/../etc/hosts", &link] {
        let ran = once(&sandbox, &hub, &["once", "--force", "--file", path]);
        assert_eq!(ran.code, 2, "{path}: {ran:?}");
        assert!(ran.stderr.contains("the system's hosts file"), "{ran:?}");
    }
    assert_eq!(fs::read("/etc/hosts").unwrap(), before);
}

#[test]
fn two_configurations_share_a_state_folder() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5"), ("localhost.lan", "10.0.0.6")]);
    let sandbox = sandbox("hosts");
    fs::write(sandbox.hosts(), "10.0.0.5 db x\n").unwrap();
    // What is skipped differs, and is said once by each.
    let blocks = |arguments: &[&str]| sandbox.must_run(&hub, arguments).stdout;
    assert!(blocks(&["--quiet"]).contains("skipped db"));
    assert!(
        !once(&sandbox, &hub, &["--quiet"])
            .stdout
            .contains("skipped db")
    );
    assert_eq!(blocks(&["--quiet"]), "");
    assert_eq!(once(&sandbox, &hub, &["--quiet"]).stdout, "");
}

#[test]
fn a_silo_of_several_is_removed_alone_and_a_renamed_one_is_dropped() {
    let hub = FakeHub::start(|request| {
        if request.path.contains("home") {
            Reply::silo(request, "home", 7, &[("tv", "10.0.0.7")])
        } else {
            Reply::silo(request, "office", 42, DB)
        }
    });
    let sandbox = sandbox("hosts");
    let ran = once(&sandbox, &hub, &["--silo", "home"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let both = format!("{HEAD}# silo office\n10.0.0.5 db\n# silo home\n10.0.0.7 tv\n");
    assert_eq!(text(&sandbox), both);
    assert_eq!(once(&sandbox, &hub, &["clean"]).code, 0);
    assert_eq!(text(&sandbox), format!("{HEAD}# silo home\n10.0.0.7 tv\n"));
    let ran = once(&sandbox, &hub, &[]);
    assert!(
        ran.code == 0 && ran.stdout.contains("home: not in the configuration"),
        "{ran:?}"
    );
    assert_eq!(
        text(&sandbox),
        format!("{HEAD}# silo office\n10.0.0.5 db\n")
    );
}
