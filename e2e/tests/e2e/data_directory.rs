//! Which folders are accepted as the data directory.

use silo_e2e::binary;

/// The folder is trusted: a token file in it becomes the admin token at the first start.
#[cfg(unix)]
#[test]
fn a_data_directory_that_others_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let list = |arguments: &[&str]| {
        let output = std::process::Command::new(binary("silo-hub"))
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    for mode in [0o777, 0o1777, 0o770, 0o702] {
        std::fs::set_permissions(&data, PermissionsExt::from_mode(mode)).unwrap();
        for arguments in [&["serve"][..], &["migrate"]] {
            let (code, error) = list(arguments);
            assert_eq!(code, Some(2), "{mode:o}: {error}");
            assert!(
                error.contains(&format!(
                    "/data: the data directory has mode {mode:04o}, so"
                )),
                "{error}"
            );
        }
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "{mode:o}");
    }
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(list(&["migrate"]).0, Some(0));
}

/// Kubernetes gives a volume to root and to the group `fsGroup`, with the setgid bit, at each start of a pod.
#[cfg(target_os = "linux")]
#[test]
fn a_volume_of_a_group_without_other_users_is_a_data_directory() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let hub = folder.path().join("silo-hub");
    std::fs::copy(binary("silo-hub"), &hub).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // No user of this system has these numbers.
    let (user, volume) = (54_320, 54_321);
    let migrate = |owner: u32, group: u32, mode: u32| {
        chown(&data, Some(owner), Some(group)).unwrap();
        std::fs::set_permissions(&data, PermissionsExt::from_mode(mode)).unwrap();
        let output = std::process::Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args([&format!("--groups={volume},2"), "--"])
            .arg(&hub)
            .args(["migrate", "--data-dir"])
            .arg(&data)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    for (owner, group, mode) in [
        (0, volume, 0o2777),
        (0, volume, 0o0775),
        (user, volume, 0o2775),
        (0, user + 5, 0o2775),
        // A group of a user of this system, `bin`.
        (0, 2, 0o2775),
    ] {
        let (code, error) = migrate(owner, group, mode);
        assert_eq!(code, Some(2), "{owner} {group} {mode:o}: {error}");
        assert!(error.contains("`fsGroup`"), "{error}");
    }
    for mode in [0o2775, 0o2770] {
        let (code, error) = migrate(0, volume, mode);
        assert_eq!(code, Some(0), "{mode:o}: {error}");
    }
    assert!(data.join("hub.db").exists());
}
