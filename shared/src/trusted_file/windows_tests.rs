use std::collections::BTreeMap;
use std::fs;

use super::*;

const ALICE: &str = "S-1-5-21-1-2-3-1001";
/// Of SYSTEM, and no one else may change it.
const CLOSED: &str = "O:SYG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;;0x1200a9;;;BU)";
/// As `C:\ProgramData`: users may add to it.
const ADDABLE: &str = "O:SYG:SYD:P(A;OICI;FA;;;SY)(A;CI;DCLCRPCR;;;BU)";
/// As a folder made below `C:\`.
const OPEN: &str = "O:BAG:SYD:AI(A;OICIID;FA;;;SY)(A;OICIID;0x1301bf;;;AU)";
/// Made by a user.
const ALICES: &str = "O:S-1-5-21-1-2-3-1001G:SYD:AI(A;ID;FA;;;SY)";

/// Judges a file as if the paths had these descriptors, and all others that of `CLOSED`.
fn judged(
    kind: Kind,
    file: &Path,
    descriptors: &[(&Path, &str)],
    trusted: &[&str],
) -> Result<(), String> {
    let descriptors: BTreeMap<&Path, &str> = descriptors.iter().copied().collect();
    let trusted = Trusted::users(trusted.iter().map(|sid| Sid::new(sid)));
    let read = |path: &Path| {
        if !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((*descriptors.get(path).unwrap_or(&CLOSED)).to_owned())
    };
    judge(kind, file, &trusted, &read).map_err(|error| error.to_string())
}

#[test]
fn what_users_planted_in_a_folder_of_silo_is_refused_and_named() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let (data, silo) = (base.join("ProgramData"), base.join("ProgramData/Silo"));
    fs::create_dir_all(&silo).unwrap();
    let file = silo.join("downstream.yaml");
    fs::write(&file, "").unwrap();
    for (of_data, of_silo, of_file, expected) in [
        (ADDABLE, CLOSED, CLOSED, None),
        // The folder as older versions left it, with the list of %ProgramData%.
        (
            ADDABLE,
            ADDABLE,
            CLOSED,
            Some((&silo, "can be changed by Users")),
        ),
        (
            ADDABLE,
            CLOSED,
            ALICES,
            Some((&file, "belongs to S-1-5-21-1-2-3-1001")),
        ),
        (
            ADDABLE,
            CLOSED,
            OPEN,
            Some((&file, "can be changed by Authenticated Users")),
        ),
        (
            ADDABLE,
            ALICES,
            CLOSED,
            Some((&silo, "belongs to S-1-5-21-1-2-3-1001")),
        ),
        (
            OPEN,
            CLOSED,
            CLOSED,
            Some((&data, "can be changed by Authenticated Users")),
        ),
        (
            ADDABLE,
            CLOSED,
            "O:BAG:SYD:NO_ACCESS_CONTROL",
            Some((&file, "can be changed by everyone")),
        ),
        (
            ADDABLE,
            CLOSED,
            "nonsense",
            Some((&file, "can be changed by everyone")),
        ),
    ] {
        let descriptors = [
            (data.as_path(), of_data),
            (silo.as_path(), of_silo),
            (file.as_path(), of_file),
        ];
        for kind in [
            Kind::Configuration,
            Kind::Token { any_owner: false },
            Kind::CaFile,
            Kind::Program,
            Kind::Record,
        ] {
            let case = format!("{of_data} {of_silo} {of_file} {kind:?}");
            match (judged(kind, &file, &descriptors, &[]), expected) {
                (Ok(()), None) => {}
                (Err(error), Some((place, words))) => {
                    assert!(error.starts_with(file.to_str().unwrap()), "{case}: {error}");
                    assert!(error.contains(words), "{case}: {error}");
                    let command = format!("`icacls \"{}\" /", place.display());
                    assert!(error.contains(&command), "{case}: {error}");
                    assert_eq!(error.lines().count(), 1, "{error}");
                }
                (judged, _) => panic!("{case}: {judged:?}"),
            }
        }
    }
}

#[test]
fn what_is_missing_is_judged_by_its_folder() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let file = base.join("none");
    let judged = |of_base| judged(Kind::Configuration, &file, &[(&base, of_base)], &[]);
    assert_eq!(judged(CLOSED), Ok(()));
    assert!(judged(ADDABLE).is_err());
}

#[test]
fn everything_in_a_state_folder_is_looked_at() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let state = base.join("state");
    fs::create_dir(&state).unwrap();
    let journal = state.join("journal-0123");
    fs::write(&journal, "").unwrap();
    for (of_base, of_state, of_journal, accepted) in [
        (ADDABLE, CLOSED, CLOSED, true),
        (ADDABLE, CLOSED, ALICES, false),
        (ADDABLE, CLOSED, OPEN, false),
        (ADDABLE, ADDABLE, CLOSED, false),
        (ADDABLE, ALICES, CLOSED, false),
        (OPEN, CLOSED, CLOSED, false),
    ] {
        let descriptors = [
            (base.as_path(), of_base),
            (state.as_path(), of_state),
            (journal.as_path(), of_journal),
        ];
        let found = judged(Kind::StateFolder, &state, &descriptors, &[]);
        assert_eq!(
            found.is_ok(),
            accepted,
            "{of_base} {of_state} {of_journal}: {found:?}"
        );
        let found = judged(
            Kind::StateFolder,
            &state,
            &descriptors,
            &[ALICE, "AU", "BU"],
        );
        assert_eq!(found, Ok(()));
    }
}

#[test]
fn a_token_of_any_owner_needs_a_closed_folder_nevertheless() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let token = base.join("token");
    fs::write(&token, "").unwrap();
    let any = Kind::Token { any_owner: true };
    let judged = |of_base, of_token| {
        let descriptors = [(base.as_path(), of_base), (token.as_path(), of_token)];
        judged(any, &token, &descriptors, &[])
    };
    assert_eq!(judged(CLOSED, ALICES), Ok(()));
    assert!(judged(OPEN, CLOSED).is_err());
}

#[cfg(unix)]
#[test]
fn a_link_is_judged_by_its_folder_and_by_what_it_leads_to() {
    use std::os::unix::fs::symlink;
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let folder = |name: &str| {
        let folder = base.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (data, open, safe) = (folder("data"), folder("open"), folder("safe"));
    let file = safe.join("file");
    fs::write(&file, "").unwrap();
    // As a junction in %ProgramData% that a user made before Silo's folder was there.
    symlink(&safe, data.join("Silo")).unwrap();
    symlink(&file, open.join("link")).unwrap();
    symlink(open.join("link"), safe.join("through-open")).unwrap();
    let judged = |path: &Path, of_file| {
        let descriptors = [
            (data.as_path(), ADDABLE),
            (open.as_path(), OPEN),
            (file.as_path(), of_file),
        ];
        judged(Kind::Configuration, path, &descriptors, &[])
    };
    assert_eq!(judged(&file, CLOSED), Ok(()));
    for path in [
        data.join("Silo/file"),
        open.join("link"),
        safe.join("through-open"),
    ] {
        let error = judged(&path, CLOSED).unwrap_err();
        assert!(error.contains("can be changed by"), "{error}");
    }
    symlink(&file, safe.join("direct")).unwrap();
    assert_eq!(judged(&safe.join("direct"), CLOSED), Ok(()));
    let error = judged(&safe.join("direct"), ALICES).unwrap_err();
    assert!(error.contains("belongs to"), "{error}");
}

#[test]
fn permissions_that_can_not_be_read_are_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
    let error = judge(Kind::Configuration, file.path(), &Trusted::default(), &read).unwrap_err();
    assert!(error.to_string().contains("can't be read"), "{error}");
}

#[test]
fn services_are_trusted_only_where_it_is_asked_for() {
    let user = Sid::new(ALICE);
    let trusted = |trust: Trust| trusted(&trust, Some(&user));
    assert_eq!(trusted(Trust::default()), Trusted::users([user.clone()]));
    assert!(trusted(Trust::default().with_services()).services);
}
