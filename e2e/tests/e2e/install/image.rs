//! Files written below a root, for an image of a machine.

use std::path::Path;
use std::process::Command;

use silo_e2e::binary;

use super::text;

/// An image with the folders that decide.
fn image(systemd: bool) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    let make = |path: &str| std::fs::create_dir_all(image.path().join(path)).unwrap();
    make("etc/cron.d");
    make("var/lib");
    make("usr/bin");
    std::fs::write(image.path().join("usr/bin/silo-downstream"), "").unwrap();
    if systemd {
        make("usr/lib/systemd/system");
        std::fs::write(image.path().join("usr/lib/systemd/systemd"), "").unwrap();
    }
    image
}

fn tree(image: &Path) -> Vec<String> {
    let found = Command::new("find")
        .arg(image)
        .args(["-printf", "%P %l\\n"])
        .output()
        .unwrap();
    let mut lines: Vec<String> = text(&found.stdout)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn below_a_root_files_are_written_and_nothing_is_started() {
    for (systemd, flags, expected) in [
        (
            true,
            "--every=1h",
            "etc/systemd/system/timers.target.wants/silo-downstream.timer /etc/systemd/system/silo-downstream.timer",
        ),
        (
            true,
            "--watch",
            "etc/systemd/system/multi-user.target.wants/silo-downstream-watch.service /etc/systemd/system/silo-downstream-watch.service",
        ),
        (false, "--every=1h", "etc/cron.d/silo-downstream"),
    ] {
        let image = image(systemd);
        let before = tree(image.path());
        let run = |words: &[&str]| {
            let mut command = Command::new(binary("silo-downstream"));
            // No program of the system can be called.
            let output = command
                .args(words)
                .arg("--root")
                .arg(image.path())
                .env("PATH", "")
                .output()
                .unwrap();
            assert!(output.status.success(), "{words:?}: {output:?}");
            text(&output.stdout)
        };
        let dry = run(&["install", flags, "--dry-run"]);
        let said = run(&["install", flags]);
        let after = tree(image.path());
        assert!(after.iter().any(|line| line == expected), "{after:?}");
        for line in said.lines() {
            let path = line.strip_prefix("wrote ").unwrap();
            assert!(dry.contains(path), "{dry}: {path}");
        }
        let again = run(&["install", flags]);
        assert!(
            again.lines().all(|line| line.starts_with("unchanged: ")),
            "{again}"
        );
        assert_eq!(tree(image.path()), after);
        run(&["uninstall"]);
        assert_eq!(tree(image.path()), before);
    }
}
