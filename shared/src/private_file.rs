//! Files and folders that only their owner may use (mode 0600 and 0700 on Unix; on Windows SYSTEM, Administrators, and
//! a user who is not elevated). Files are replaced atomically.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::held;
#[cfg(windows)]
use crate::windows;

/// Creates a file that does not exist yet, open for writing.
pub fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        // Until it has its list, other programs can't open it.
        options.share_mode(0).access_mode(windows::TO_PROTECT);
    }
    let file = options.open(path)?;
    #[cfg(windows)]
    windows::private_list(path)
        .and_then(|list| windows::protect_open(&file, &list))
        .inspect_err(|_| {
            // The first error is the one to report.
            let _ = fs::remove_file(path);
        })?;
    Ok(file)
}

/// Replaces the file at `path` atomically: it contains the old or the new bytes even after a crash. `temp` is in the
/// same folder; a leftover of a killed run is deleted. The caller syncs the folder.
pub fn replace(path: &Path, temp: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = create_over(temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| held::rename(temp, path))
        .inspect_err(|_| {
            // The first error is the one to report; the next write removes the file.
            let _ = fs::remove_file(temp);
        })
}

fn create_over(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            held::remove(path)?;
            // Windows frees the name only when no program has the removed file open.
            held::retry_to_replace(|| create_new(path))
        }
        other => other,
    }
}

/// Creates a private folder and those above it, as far as they are missing. On Windows, those in `%ProgramData%\Silo` are
/// made for the accounts that run the agents.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    #[cfg(not(unix))]
    {
        let path = std::path::absolute(path)?;
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|folder| !folder.exists())
            .collect();
        #[cfg(windows)]
        refuse_top(&missing)?;
        for folder in missing.into_iter().rev() {
            builder.recursive(false).create(folder)?;
            protect_folder(folder).inspect_err(|_| {
                // Left as it is, others could put files into it.
                let _ = fs::remove_dir(folder);
            })?;
        }
        if !path.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
    }
    #[cfg(unix)]
    builder.create(path)?;
    Ok(())
}

/// Creates a folder, unless it exists, that SYSTEM, Administrators and LOCAL SERVICE may use, and gives them all that is in
/// it. The caller makes sure that no one else can have put something into it.
#[cfg(windows)]
pub fn share_with_local_service(folder: &Path) -> io::Result<()> {
    use crate::folders::Purpose;
    create_folder(folder)?;
    let list = crate::descriptor::folder_list(Purpose::Service, None);
    windows::protect(folder, &list)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            share_with_local_service(&path)?;
        } else if kind.is_file() {
            // Its own list, such as that of a key, inherits nothing.
            let list = windows::descriptor(folder)?.private_file(None);
            windows::protect(&path, &list)?;
        }
    }
    Ok(())
}

/// Refuses to make `%ProgramData%\Silo` as an ordinary user: it would belong to that user, who could not make the folders in
/// it, and services and elevated programs would refuse it from then on.
#[cfg(windows)]
fn refuse_top(missing: &[&Path]) -> io::Result<()> {
    use crate::folders::{Purpose, program_data};
    const ACCESS_DENIED: i32 = 5;
    let top = program_data();
    let is_top = |folder: &&Path| Purpose::of(folder, &top) == Purpose::Top;
    if missing.iter().any(is_top) && !windows::account::is_privileged() {
        return Err(io::Error::from_raw_os_error(ACCESS_DENIED));
    }
    Ok(())
}

#[cfg(windows)]
fn protect_folder(folder: &Path) -> io::Result<()> {
    use crate::folders::Purpose;
    use crate::windows::account;
    let purpose = Purpose::of(folder, &crate::folders::program_data());
    windows::protect(
        folder,
        &crate::descriptor::folder_list(purpose, account::owner_of_private_files()),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A private file with this text, as a token is.
    pub(crate) fn temporary(text: &str) -> tempfile::NamedTempFile {
        let make = |path: &std::path::Path| super::create_new(path);
        let (made, path) = tempfile::Builder::new().make(make).unwrap().into_parts();
        // Windows does not share it before.
        drop(made);
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        tempfile::NamedTempFile::from_parts(file, path)
    }

    #[test]
    fn replace_ignores_what_a_killed_run_left_and_keeps_the_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temp) = (folder.path().join("file"), folder.path().join("file.tmp"));
        fs::write(&temp, "half of what a killed run").unwrap();
        for text in ["one", "two"] {
            replace(&path, &temp, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert!(!temp.exists());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt, symlink};
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            // A symbolic link at the path of the temporary file is not followed.
            let other = folder.path().join("other");
            symlink(&other, &temp).unwrap();
            replace(&path, &temp, b"three").unwrap();
            assert!(!other.exists());
        }
        assert!(create_new(&path).is_err());
    }

    #[cfg(windows)]
    #[test]
    fn what_is_given_to_local_service_is_closed_to_users() {
        use crate::descriptor::{Access, LOCAL_SERVICE, Sid, Trusted};
        let folder = tempfile::Builder::new().make(create_folder).unwrap();
        let inner = folder.path().join("backups");
        create_folder(&inner).unwrap();
        let key = folder.path().join("hub.key");
        drop(create_new(&key).unwrap());
        share_with_local_service(folder.path()).unwrap();
        // Wine keeps of a list what a mode can say, so that the entry of LOCAL SERVICE is not seen there.
        let trusted = [Some(Sid::new(LOCAL_SERVICE)), account_of_tests()];
        let trusted = Trusted::users(trusted.into_iter().flatten());
        for path in [folder.path(), &inner, &key] {
            for access in [Access::Read, Access::Write] {
                let found = windows::descriptor(path).unwrap();
                assert_eq!(found.open_to(access, &trusted), None, "{found:?}");
            }
        }
    }

    #[cfg(windows)]
    fn account_of_tests() -> Option<crate::descriptor::Sid> {
        crate::windows::account::user().cloned()
    }

    #[cfg(windows)]
    #[test]
    fn what_is_made_is_closed_to_others() {
        use crate::descriptor::{Access, Trusted};
        use crate::windows::{account, descriptor};
        // Not in a folder of std's, whose list Wine lets all below inherit.
        let base = tempfile::Builder::new().make(create_folder).unwrap();
        let folder = base.path().join("a").join("b");
        create_folder(&folder).unwrap();
        let user = Trusted::users(account::user().cloned());
        for (path, access) in [
            (base.path().join("a"), Access::Write),
            (folder.clone(), Access::Write),
        ] {
            let found = descriptor(&path).unwrap();
            assert_eq!(found.open_to(access, &user), None, "{found:?}");
        }
        let file = folder.join("key");
        drop(create_new(&file).unwrap());
        let found = descriptor(&file).unwrap();
        for access in [Access::Read, Access::Write] {
            assert_eq!(found.open_to(access, &user), None, "{found:?}");
        }
    }
}
