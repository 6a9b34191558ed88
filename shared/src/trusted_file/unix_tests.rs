use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

const OTHER: u32 = 12_345;

fn set(path: &Path, owner: u32, group: u32, mode: u32) {
    chown(path, Some(owner), Some(group)).expect("these tests change owners: run them as root");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

#[test]
fn what_others_own_or_can_write_is_refused_and_named() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("etc");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("agent.yaml");
    fs::write(&file, "").unwrap();
    // Owner, group and mode of the folder and of the file; the message if it is refused.
    for (of_folder, of_file, words) in [
        ((0, 0, 0o755), (0, 0, 0o644), None),
        ((0, 0, 0o775), (0, 0, 0o664), None),
        (
            (0, 0, 0o755),
            (OTHER, 0, 0o600),
            Some("belongs to user 12345"),
        ),
        (
            (0, 0, 0o755),
            (0, 0, 0o646),
            Some("is writable by everyone (mode 0646)"),
        ),
        (
            (0, 0, 0o755),
            (0, OTHER, 0o664),
            Some("is writable by group 12345 (mode 0664)"),
        ),
        ((0, 0, 0o755), (0, OTHER, 0o644), None),
        (
            (OTHER, 0, 0o755),
            (0, 0, 0o644),
            Some("belongs to user 12345"),
        ),
        (
            (0, 0, 0o777),
            (0, 0, 0o644),
            Some("is writable by everyone (mode 0777)"),
        ),
        (
            (0, OTHER, 0o775),
            (0, 0, 0o644),
            Some("is writable by group 12345 (mode 0775)"),
        ),
        ((0, 0, 0o1777), (0, 0, 0o644), None),
        (
            (0, 0, 0o1777),
            (OTHER, 0, 0o644),
            Some("belongs to user 12345"),
        ),
        (
            (OTHER, 0, 0o1777),
            (0, 0, 0o644),
            Some("belongs to user 12345"),
        ),
    ] {
        set(&folder, of_folder.0, of_folder.1, of_folder.2);
        set(&file, of_file.0, of_file.1, of_file.2);
        for kind in [
            Kind::Configuration,
            Kind::Token { any_owner: false },
            Kind::CaFile,
        ] {
            let case = format!("{of_folder:?} {of_file:?} {kind:?}");
            let judged = super::check_as_root(&Trust::new(None), None, kind, &file);
            match (judged, words) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => {
                    let error = error.to_string();
                    assert!(
                        error.starts_with(&file.display().to_string()),
                        "{case}: {error}"
                    );
                    assert!(error.contains(words), "{case}: {error}");
                    assert!(error.contains("run `ch"), "{case}: {error}");
                    assert_eq!(error.lines().count(), 1);
                }
                (judged, _) => panic!("{case}: {judged:?}"),
            }
        }
    }
    set(&folder, 0, 0, 0o755);
    let missing = folder.join("none");
    let judged = super::check_as_root(&Trust::new(None), None, Kind::Configuration, &missing);
    assert_eq!(judged, Ok(()));
}

#[test]
fn owners_can_be_accepted_and_writers_can_not() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("token");
    fs::write(&file, "").unwrap();
    let any = Kind::Token { any_owner: true };
    let token = Kind::Token { any_owner: false };
    for (mode, owner, caller, kind, accepted) in [
        (0o600, None, None, token, false),
        (0o600, Some(OTHER), None, token, true),
        (0o600, Some(OTHER + 1), None, token, false),
        (0o600, None, Some(OTHER), token, true),
        (0o600, None, Some(OTHER), Kind::Configuration, true),
        (0o600, None, Some(OTHER + 1), token, false),
        (0o644, None, None, any, true),
        (0o646, None, None, any, true),
        (0o646, Some(OTHER), None, token, false),
        (0o646, None, Some(OTHER), token, false),
    ] {
        set(&file, OTHER, 0, mode);
        let judged = super::check_as_root(&Trust::new(owner.map(Owner)), caller, kind, &file);
        assert_eq!(
            judged.is_ok(),
            accepted,
            "{mode:o} {owner:?} {caller:?} {kind:?}: {judged:?}"
        );
    }
    // A folder in which others could replace the token is refused nevertheless.
    set(base.path(), OTHER, 0, 0o700);
    let check = |kind| super::check_as_root(&Trust::new(None), None, kind, &file);
    assert_eq!(check(any), Ok(()));
    set(base.path(), OTHER, 0, 0o707);
    assert!(check(any).is_err());
    set(base.path(), 0, 0, 0o700);
}

#[test]
fn a_folder_far_above_is_checked_too() {
    let base = tempfile::tempdir().unwrap();
    let above = base.path().join("above");
    let folder = above.join("folder");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("program");
    fs::write(&file, "").unwrap();
    symlink(&file, base.path().join("link")).unwrap();
    set(&folder, 0, 0, 0o755);
    set(&file, 0, 0, 0o755);
    for (mode, owner, accepted) in [
        (0o755, 0, true),
        (0o1777, 0, true),
        (0o777, 0, false),
        (0o755, OTHER, false),
    ] {
        set(&above, owner, 0, mode);
        for path in [file.clone(), base.path().join("link")] {
            let judged = super::check_folders_as_root(&Trust::new(None), Kind::Program, &path);
            assert_eq!(judged.is_ok(), accepted, "{mode:o} {owner}: {judged:?}");
            let near = super::check_as_root(&Trust::new(None), None, Kind::Program, &path);
            assert_eq!(near, Ok(()));
        }
    }
    set(&above, 0, 0, 0o755);
}

#[test]
fn every_link_of_a_path_is_checked() {
    let base = tempfile::tempdir().unwrap();
    let folder = |name: &str, mode| {
        let folder = base.path().join(name);
        fs::create_dir(&folder).unwrap();
        set(&folder, 0, 0, mode);
        folder
    };
    let (etc, open, safe) = (
        folder("etc", 0o755),
        folder("open", 0o777),
        folder("safe", 0o755),
    );
    fs::write(safe.join("file"), "").unwrap();
    set(&safe.join("file"), 0, 0, 0o644);
    symlink("../safe/file", open.join("link")).unwrap();
    symlink("../open/link", etc.join("through-open")).unwrap();
    symlink("../safe/file", etc.join("direct")).unwrap();
    symlink("loop", etc.join("loop")).unwrap();
    fs::write(safe.join("theirs"), "").unwrap();
    set(&safe.join("theirs"), OTHER, 0, 0o644);
    symlink("../safe/theirs", etc.join("to-theirs")).unwrap();
    let check = |name: &str| {
        let file = etc.join(name);
        super::check_as_root(&Trust::new(None), None, Kind::CaFile, &file)
    };
    assert_eq!(check("direct"), Ok(()));
    assert_eq!(check("loop"), Ok(()));
    for (name, place) in [
        ("through-open", "/open is writable"),
        ("to-theirs", "/safe/theirs belongs"),
    ] {
        let error = check(name).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(name), "{error}");
    }
}
