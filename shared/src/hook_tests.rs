use super::*;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

fn input(json: &str) -> HookInput {
    HookInput {
        silo: "office,home".to_owned(),
        revision: "42,7".to_owned(),
        file: Some(PathBuf::from("/etc/hosts")),
        json: json.as_bytes().to_owned(),
    }
}

fn hook(argv: &[&str]) -> Hook {
    let argv = argv.iter().map(ToString::to_string).collect();
    let hook = Hook::new(argv, Trust::default()).expect("root may trust it");
    hook.expect("it names a program")
}

fn shell(script: &str) -> Hook {
    hook(&["/bin/sh", "-c", script])
}

fn run(hook: &Hook, json: &str) -> Result<(), HookError> {
    hook.run(&input(json), &AtomicBool::new(false))
}

#[test]
fn a_hook_gets_its_input_and_a_clean_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (said, seen) = (
        folder.path().join("stdin"),
        folder.path().join("environment"),
    );
    let script = format!(
        "cat > {} && /usr/bin/env > {}",
        said.display(),
        seen.display()
    );
    run(&shell(&script), "{\"silos\":[]}").unwrap();
    assert_eq!(fs::read_to_string(said).unwrap(), "{\"silos\":[]}");
    let seen = fs::read_to_string(seen).unwrap();
    let mut names: Vec<&str> = seen
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        // Variables that the shell sets itself.
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
        .collect();
    names.sort_unstable();
    let inherited = INHERITED
        .iter()
        .filter(|name| std::env::var_os(name).is_some());
    let mut expected: Vec<&str> = ["SILO_HOOK_FILE", "SILO_HOOK_REVISION", "SILO_HOOK_SILO"]
        .iter()
        .chain(inherited)
        .copied()
        .collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for line in [
        "SILO_HOOK_SILO=office,home",
        "SILO_HOOK_REVISION=42,7",
        "SILO_HOOK_FILE=/etc/hosts",
    ] {
        assert!(seen.lines().any(|found| found == line), "{seen}");
    }
}

#[test]
fn how_a_hook_ends_is_told() {
    // More than a pipe holds, for a hook that reads none of it.
    let long = "x".repeat(1 << 20);
    run(&shell("exit 0"), &long).unwrap();
    run(&shell("cat > /dev/null"), &long).unwrap();
    let error = |hook: &Hook| run(hook, "{}").unwrap_err().to_string();
    assert_eq!(
        error(&shell("exit 3")),
        "on_change: /bin/sh failed, exit status: 3: it runs again"
    );
    assert!(error(&shell("kill -9 $$")).contains("signal: 9"));
    assert!(error(&hook(&["/no/such/program"])).contains("cannot start /no/such/program: "));
    assert_eq!(
        error(&hook(&["no-such-program"])),
        "on_change: no-such-program: not found in PATH: write the absolute path of the program"
    );
    // Found in PATH.
    run(&hook(&["true"]), "{}").unwrap();
}

#[test]
fn a_hook_that_takes_too_long_or_is_stopped_ends_with_its_children() {
    for (timeout, stop, expected) in [
        (Duration::from_millis(100), false, "was killed"),
        (Duration::from_secs(600), true, "was stopped"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let noted = folder.path().join("child");
        let script = format!("sleep 600 & echo $! > {}; wait", noted.display());
        let stop = AtomicBool::new(stop);
        let hook = shell(&script);
        let ended = hook.run_within(&input("{}"), &stop, timeout);
        let error = ended.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        // If the shell was killed before it started a child, there is none that could survive.
        let Ok(child) = fs::read_to_string(&noted)
            .unwrap_or_default()
            .trim()
            .parse()
        else {
            continue;
        };
        let child = rustix::process::Pid::from_raw(child).unwrap();
        let started = Instant::now();
        while is_running(child) {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{child:?} survived"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a process exists and is not a zombie, which its new parent has yet to reap.
fn is_running(process: rustix::process::Pid) -> bool {
    let stat = format!("/proc/{}/stat", process.as_raw_nonzero());
    fs::read_to_string(stat).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_that_others_can_change_or_that_is_relative_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("reload");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let path = program.to_str().unwrap().to_owned();
    let new = |program: &str| Hook::new(vec![program.to_owned()], Trust::default());
    assert_eq!(Hook::new(Vec::new(), Trust::default()).unwrap(), None);
    for relative in ["", "./reload", "hooks/reload", "../reload"] {
        let error = new(relative).unwrap_err().to_string();
        assert!(
            error.starts_with("on_change: ") && error.contains("absolute path"),
            "{error}"
        );
    }
    for (owner, mode, why) in [
        (0, 0o755, None),
        (0, 0o757, Some("is writable by everyone (mode 0757)")),
        (12_345, 0o755, Some("belongs to user 12345")),
    ] {
        chown(&program, Some(owner), Some(0)).expect("these tests change owners: run them as root");
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        match (new(&path), why) {
            (Ok(hook), None) => assert_eq!(hook.unwrap().program().unwrap(), program),
            (Err(error), Some(why)) => {
                let error = error.to_string();
                assert!(
                    error.starts_with("on_change: ") && error.contains(why),
                    "{error}"
                );
                // Also if it changes between two runs.
                let hook = Hook {
                    argv: vec![path.clone()],
                    trust: Trust::default(),
                };
                assert!(run(&hook, "{}").unwrap_err().to_string().contains(why));
            }
            (found, why) => panic!("{mode:o}: {found:?} {why:?}"),
        }
    }
}
