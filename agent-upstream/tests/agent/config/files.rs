//! The files that a configuration consists of: where they are, who may read and change them, their encoding.

use super::hub;
use crate::run::{Agent, TOKEN};

#[test]
fn a_file_that_is_not_there_is_named() {
    Agent::bare()
        .args(["--config", "no.yaml"])
        .run()
        .complains(2, &["no.yaml: there is no such file"]);
    Agent::with_file("hub: http://h\nsilo: office\ntoken_file: no.token\n")
        .run()
        .complains(2, &["token_file: no.token: there is no such file"]);
    Agent::bare()
        .args(["--config", "."])
        .run()
        .complains(2, &[".: "]);
}

#[cfg(unix)]
#[test]
fn a_token_path_that_is_not_a_regular_file_is_named_without_blocking() {
    let agent = || Agent::bare().args(["--hub", "http://127.0.0.1:1", "--silo", "office"]);
    let fifo = agent();
    let path = fifo.write("fifo", "", 0o600);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    fifo.args(["--token-file", "fifo"])
        .run()
        .complains(2, &["token_file: fifo: not a regular file"]);
    for file in ["/tmp", "/dev/zero"] {
        agent()
            .args(["--token-file", file])
            .run()
            .complains(2, &[&format!("token_file: {file}: not a regular file")]);
    }
}

#[cfg(unix)]
#[test]
fn a_token_readable_by_others_is_refused_unless_configured() {
    let hub = hub();
    let agent = || {
        let agent = Agent::with_file(&format!(
            "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\n",
            hub.url()
        ));
        agent.write("token", TOKEN, 0o644);
        agent
    };
    agent().run().complains(2, &["token", "0644", "chmod 600"]);
    assert_eq!(hub.lines(), [""; 0]);
    agent()
        .args(["--token-file-mode", "any"])
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");

    let inline = Agent::bare();
    let text = format!("hub: {}\ntoken: {TOKEN}\nsilo: office\n", hub.url());
    inline.write("open.yaml", &text, 0o640);
    inline
        .args(["--config", "open.yaml"])
        .run()
        .complains(2, &["open.yaml", "0640"]);
}

#[test]
fn relative_paths_begin_at_the_files_folder() {
    let hub = hub();
    let file = format!(
        "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\n",
        hub.url()
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let agent = || Agent::with_file(&file).in_folder(elsewhere.path());
    let with_token = agent();
    with_token.write("token", TOKEN, 0o600);
    with_token
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");
    std::fs::write(elsewhere.path().join("token"), TOKEN).unwrap();
    let there = elsewhere.path().join("token").display().to_string();
    let without = agent();
    let here = without.path("token").display().to_string();
    without.run().complains(2, &["token_file: ", &there, &here]);
}

#[cfg(unix)]
#[test]
fn root_refuses_files_that_others_decide_about() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let hub = hub();
    let file = format!(
        "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\nca_file: ca.pem\n",
        hub.url()
    );
    let agent = || {
        let agent = Agent::with_file(&file);
        agent.write("token", TOKEN, 0o600);
        // Read only where the hub is at https://, but judged always.
        agent.write("ca.pem", "", 0o644);
        agent
    };
    agent()
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");
    for name in ["upstream.yaml", "token", "ca.pem"] {
        let owned = || {
            let agent = agent().env("SUDO_UID", "");
            chown(agent.path(name), Some(12_345), None)
                .expect("this test changes owners: run it as root");
            agent
        };
        owned().run().complains(
            2,
            &[
                name,
                "belongs to user 12345",
                "chown root",
                "--trust-owner 12345",
            ],
        );
        for trusting in [
            owned().args(["--trust-owner", "12345"]),
            owned().env("SILO_UPSTREAM_TRUST_OWNER", "12345"),
            owned().env("SUDO_UID", "12345"),
        ] {
            trusting
                .run()
                .says("office: db set to 10.0.0.5, revision 42\n");
        }
        let written = agent();
        let mode = std::fs::Permissions::from_mode(0o602);
        std::fs::set_permissions(written.path(name), mode).unwrap();
        written.run().complains(2, &[name, "0602", "chmod"]);
    }
}

#[cfg(unix)]
#[test]
fn root_runs_no_command_that_others_decide_about() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let hub = hub();
    let agent = || {
        let agent = Agent::with_file("").env("SUDO_UID", "");
        agent.write("token", TOKEN, 0o600);
        agent.write("address.sh", "#!/bin/sh\necho 10.0.0.5\n", 0o755);
        let file = format!(
            "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\naddresses: {{command: [{}]}}\n",
            hub.url(),
            agent.path("address.sh").display()
        );
        agent.write("upstream.yaml", &file, 0o600);
        agent
    };
    agent()
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");
    let owned = agent();
    chown(owned.path("address.sh"), Some(12_345), None)
        .expect("this test changes owners: run it as root");
    owned
        .run()
        .complains(2, &["command: ", "address.sh", "belongs to user 12345"]);
    let written = agent();
    let mode = std::fs::Permissions::from_mode(0o757);
    std::fs::set_permissions(written.path("address.sh"), mode).unwrap();
    written
        .run()
        .complains(2, &["command: ", "address.sh", "0757"]);
}

/// The folder of the state belongs to another user, or others can write it.
#[cfg(unix)]
#[test]
fn as_root_a_state_folder_of_others_is_refused_with_the_remedy() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    let hub = hub();
    let agent = |owner: u32, mode: u32, parent_mode: u32| {
        let agent = Agent::new(&hub.url(), "").env("SUDO_UID", "");
        let (parent, folder) = (agent.path("var"), agent.path("var/silo"));
        std::fs::create_dir_all(&folder).unwrap();
        let set = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&folder, mode);
        set(&parent, parent_mode);
        chown(&folder, Some(owner), None).expect("this test changes owners: run it as root");
        symlink(&folder, agent.path("link")).unwrap();
        let state_dir = agent.path("link");
        agent.env("SILO_UPSTREAM_STATE_DIR", state_dir.to_str().unwrap())
    };
    for (owner, mode, parent_mode, words) in [
        (
            12_345,
            0o700,
            0o755,
            &["the state folder", "belongs to user 12345", "chown root"][..],
        ),
        (
            0,
            0o700,
            0o757,
            &["var is writable by everyone", "chmod go-w"],
        ),
    ] {
        agent(owner, mode, parent_mode).run().complains(2, words);
        let checked = agent(owner, mode, parent_mode).args(["check"]).run();
        assert_eq!(checked.code, Some(1), "{checked:?}");
        let is_told =
            |line: &str| line.starts_with("FAILED") && words.iter().all(|word| line.contains(word));
        assert!(checked.stdout.lines().any(is_told), "{checked:?}");
    }
    for trusting in [
        agent(0, 0o700, 0o755),
        agent(0, 0o700, 0o1777),
        agent(12_345, 0o700, 0o755).args(["--trust-owner", "12345"]),
        agent(12_345, 0o700, 0o755).env("SUDO_UID", "12345"),
    ] {
        trusting
            .run()
            .says("office: db set to 10.0.0.5, revision 42\n");
    }
    let open = agent(0, 0o722, 0o755).run();
    assert_eq!(open.code, Some(1), "{open:?}");
    assert!(open.stderr.contains("other users can write"), "{open:?}");
}

#[test]
fn a_relative_ca_file_or_state_dir_is_relative_to_the_file() {
    let hub = hub();
    let elsewhere = tempfile::tempdir().unwrap();
    let make = |key: &str, path: &std::path::Path| match key {
        "state_dir" => std::fs::create_dir(path).unwrap(),
        _ => std::fs::write(path, "").unwrap(),
    };
    for key in ["ca_file", "state_dir"] {
        let agent = || {
            Agent::new(&hub.url(), &format!("{key}: {key}.here\n"))
                .without_state_dir()
                .in_folder(elsewhere.path())
        };
        let mut found = agent();
        make(key, &found.path(&format!("{key}.here")));
        found
            .run_again()
            .says("office: db set to 10.0.0.5, revision 42\n");
        if key == "state_dir" {
            let files = std::fs::read_dir(found.path("state_dir.here")).unwrap();
            assert_eq!(files.count(), 1);
        }
        // Missing there, but present in the working directory.
        let there = elsewhere.path().join(format!("{key}.here"));
        make(key, &there);
        let confused = agent();
        let here = confused.path(&format!("{key}.here")).display().to_string();
        let key = format!("{key}: ");
        confused
            .run()
            .complains(2, &[&key, &here, there.to_str().unwrap()]);
    }
}

#[test]
fn a_byte_order_mark_is_left_out_and_utf_16_is_named() {
    let hub = hub();
    let text = format!(
        "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\n",
        hub.url()
    );
    let with_mark = Agent::with_file(&format!("\u{feff}{text}"));
    with_mark.write("token", &format!("\u{feff}{TOKEN}\r\n"), 0o600);
    with_mark
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = Agent::with_file("");
    std::fs::write(wide.path("upstream.yaml"), utf16).unwrap();
    wide.run().complains(2, &["upstream.yaml", "UTF-16"]);
}
