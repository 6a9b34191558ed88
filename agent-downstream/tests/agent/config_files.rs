//! Configuration files: who may have written them, in which encoding, and where the paths in them begin.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::chown;
use std::path::Path;

use crate::fake_hub::FakeHub;
#[cfg(target_os = "linux")]
use crate::sandbox::need_root;
use crate::sandbox::{Sandbox, agent, block, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];
#[cfg(target_os = "linux")]
const OTHER: u32 = 12_345;

/// A sandbox whose configuration says everything, with paths that begin at its folder.
fn configured(hub: &FakeHub) -> Sandbox {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let text = format!(
        "hub: {}\ntoken_file: token\nsilos: [office]\nhosts_file: etc/hosts\nstate_dir: state\n",
        hub.url()
    );
    fs::write(sandbox.path("downstream.yaml"), text).unwrap();
    sandbox
}

fn command(sandbox: &Sandbox, working_directory: &Path) -> std::process::Command {
    let mut command = agent();
    command.current_dir(working_directory);
    command.arg("--config").arg(sandbox.path("downstream.yaml"));
    command
}

#[test]
fn relative_paths_begin_at_the_configurations_folder() {
    let hub = FakeHub::office(42, DB);
    let sandbox = configured(&hub);
    let ran = run(&mut command(&sandbox, Path::new("/")));
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = format!("127.0.0.1 localhost\n{}", block("office", "10.0.0.5 db\n"));
    assert_eq!(sandbox.text(), expected);
    assert!(sandbox.path("state/lock").exists());
}

#[test]
fn a_relative_path_that_leads_elsewhere_than_before_is_refused_and_both_are_named() {
    let hub = FakeHub::office(42, DB);
    for (name, line) in [
        ("token", "token_file"),
        ("etc/hosts", "hosts_file"),
        ("state", "state_dir"),
        ("ca.pem", "ca_file"),
    ] {
        let sandbox = configured(&hub);
        let here = tempfile::tempdir().unwrap();
        let here = here.path().canonicalize().unwrap();
        #[cfg(windows)]
        let here = crate::sandbox::plain(&here);
        if line == "ca_file" {
            let config = sandbox.path("downstream.yaml");
            let text = fs::read_to_string(&config).unwrap() + "ca_file: ca.pem\n";
            fs::write(config, text).unwrap();
        } else if line != "state_dir" {
            fs::remove_file(sandbox.path(name)).unwrap();
        }
        fs::create_dir_all(here.join(name).parent().unwrap()).unwrap();
        fs::write(here.join(name), "").unwrap();
        let ran = run(&mut command(&sandbox, &here));
        assert_eq!(ran.code, 2, "{line}: {ran:?}");
        let elsewhere = name
            .split('/')
            .fold(here.clone(), |path, part| path.join(part));
        for path in [sandbox.path(name), elsewhere] {
            // Windows has two separators.
            let plain = |text: &str| text.replace('\\', "/");
            assert!(
                plain(&ran.stderr).contains(&plain(path.to_str().unwrap())),
                "{line}: {ran:?}"
            );
        }
        assert!(ran.stderr.contains(&format!("{line}: ")), "{ran:?}");
        // A flag in its place says where it is.
        if line == "token_file" {
            let mut with_flag = command(&sandbox, &here);
            fs::write(
                sandbox.path("other"),
                format!("silo_abcdefgh12_{}\n", "x".repeat(43)),
            )
            .unwrap();
            sandbox.set_mode("other", 0o600);
            with_flag.arg("--token-file").arg(sandbox.path("other"));
            let ran = run(&mut with_flag);
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_configuration_or_token_and_utf_16_is_named() {
    let hub = FakeHub::office(42, DB);
    let sandbox = configured(&hub);
    for name in ["downstream.yaml", "token"] {
        let plain = fs::read_to_string(sandbox.path(name)).unwrap();
        fs::write(sandbox.path(name), format!("\u{feff}{plain}")).unwrap();
        let ran = run(&mut command(&sandbox, Path::new("/")));
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        for units in [format!("\u{feff}{plain}"), plain.clone()] {
            let bytes: Vec<u8> = units.encode_utf16().flat_map(u16::to_le_bytes).collect();
            fs::write(sandbox.path(name), bytes).unwrap();
            let ran = run(&mut command(&sandbox, Path::new("/")));
            assert_eq!(ran.code, 2, "{name}: {ran:?}");
            let path = sandbox.path(name).display().to_string();
            assert!(
                ran.stderr.contains(&path) && ran.stderr.contains("UTF-16"),
                "{name}: {ran:?}"
            );
        }
        fs::write(sandbox.path(name), plain).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn root_refuses_files_that_others_decide_about() {
    need_root();
    let hub = FakeHub::office(42, DB);
    for name in ["downstream.yaml", "token", "ca.pem", "state"] {
        let sandbox = configured(&hub);
        let config = sandbox.path("downstream.yaml");
        let text = fs::read_to_string(&config).unwrap() + "ca_file: ca.pem\n";
        fs::write(config, text).unwrap();
        // Read only where the hub is at https://, but judged always.
        fs::write(sandbox.path("ca.pem"), "").unwrap();
        fs::create_dir(sandbox.path("state")).unwrap();
        sandbox.set_mode("state", 0o700);
        let run_with = |arguments: &[&str], variables: &[(&str, &str)]| {
            let mut command = command(&sandbox, Path::new("/"));
            command.env_remove("SUDO_UID").args(arguments);
            run(command.envs(variables.iter().copied()))
        };
        assert_eq!(run_with(&[], &[]).code, 0, "{name}");
        chown(sandbox.path(name), Some(OTHER), None).unwrap();
        let before = sandbox.text();
        let ran = run_with(&[], &[]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        let path = sandbox.path(name).display().to_string();
        for words in [
            path.as_str(),
            "belongs to user 12345",
            "chown root",
            "--trust-owner 12345",
        ] {
            assert!(ran.stderr.contains(words), "{name}: {words}: {ran:?}");
        }
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert_eq!(sandbox.text(), before);
        for (arguments, variables, code) in [
            (&["--trust-owner", "12345"][..], &[][..], 0),
            (&["--trust-owner", "12346"], &[], 2),
            (&[], &[("SILO_DOWNSTREAM_TRUST_OWNER", "12345")], 0),
            (&[], &[("SUDO_UID", "12345")], 0),
            (&[], &[("SUDO_UID", "12346")], 2),
            (
                &["--token-file-mode", "any"],
                &[],
                if name == "token" { 0 } else { 2 },
            ),
        ] {
            let ran = run_with(arguments, variables);
            assert_eq!(
                ran.code, code,
                "{name} {arguments:?} {variables:?}: {ran:?}"
            );
        }
        chown(sandbox.path(name), Some(0), None).unwrap();
        // Written by others, no owner helps.
        let mode = if name == "state" { 0o702 } else { 0o602 };
        sandbox.set_mode(name, mode);
        let ran = run_with(&["--trust-owner", "12345"], &[]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        assert!(ran.stderr.contains("chmod"), "{name}: {ran:?}");
    }
    // It is a flag and a variable only: a file that says it would say so of itself.
    let sandbox = configured(&hub);
    let config = sandbox.path("downstream.yaml");
    let text = fs::read_to_string(&config).unwrap() + "trust_owner: 12345\n";
    fs::write(config, text).unwrap();
    let ran = run(&mut command(&sandbox, Path::new("/")));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("unknown field"), "{ran:?}");
}
