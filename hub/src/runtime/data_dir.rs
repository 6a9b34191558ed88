//! The data directory: the embedded database's file, the lock that only one `serve` may hold, and the first admin
//! token. The hub's key, which may be elsewhere, is in `key_file`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use silo_shared::credential::Credential;
use silo_shared::{held, private_file};
use thiserror::Error;

use crate::auth::secrets::NoRandomness;

/// The embedded database's file in the data directory.
pub(crate) const DATABASE_FILE: &str = "hub.db";
/// The maximum number of symbolic links to follow.
const MAX_LINKS: usize = 40;

/// Why the data directory can't be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// A file or folder can't be created, read or written.
    #[error("{}: {cause}{}", path.display(), held::advice(cause))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The data directory is a file.
    #[error("{}: the data directory is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// Other users could put a key, a token or a database into the data directory.
    #[error("{}: the data directory {why}, so other users could put files into it: make it private with `chown` and `chmod 700`, or choose another (for a volume of Kubernetes, an `fsGroup` that no other user of the image is in)", path.display())]
    Open {
        /// The data directory.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// Other users own or can change the data directory, or a file in it (Windows).
    #[error(transparent)]
    NotTrusted(#[from] silo_shared::trusted_file::NotTrusted),
    /// Another hub serves this database.
    #[error(
        "{}: another silo-hub serves this database; an SQLite file is for one hub",
        .0.display()
    )]
    Locked(PathBuf),
    /// A file of the database belongs to another user.
    #[error(
        "{}: this file belongs to user {owner}, and this hub runs as user {me}, who may not write it; if root's command line made it before the service's first start: `chown {me} {}`",
        path.display(),
        path.display()
    )]
    OfOther {
        /// The file.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id of this process.
        me: u32,
    },
    /// The file has hard links in other folders, through which another hub could serve it.
    #[error(
        "{}: this file has other names too (hard links), and a hub on one of them would not share its log: remove them",
        .0.display()
    )]
    SeveralNames(PathBuf),
    /// The key file exists, but contains no key, or not the one that belongs to the database.
    #[error(
        "{}: {why}. Put the right file there, or name it with `key_file` (--key-file). If it is lost, `silo-hub key reset` creates a new one and deletes what the old one sealed: Bearer and Basic tokens stay valid, signing tokens must be recreated",
        path.display()
    )]
    Key {
        /// The key file.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
    /// The system returned no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl DataDirError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { path, cause }
    }
}

/// The content of the first admin token's file.
#[derive(Debug)]
pub enum TokenFile {
    /// No file.
    Absent,
    /// A complete credential.
    Whole(Credential),
    /// Anything else, such as a leftover of a killed start.
    Broken,
}

/// The data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Creates the directory, for this user alone, if it does not exist. One that other users may write to is refused, since its
    /// files are trusted. One that others may list is accepted, since each file is private.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        private_file::create_folder(path).map_err(|cause| {
            if path.exists() {
                DataDirError::NotAFolder(path.to_owned())
            } else {
                DataDirError::file(path)(cause)
            }
        })?;
        refuse_open_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the first admin token's file.
    pub fn admin_token_file(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    /// The path of the hub's key, unless `key_file` names another one.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("hub.key")
    }

    /// Reads the first admin token's file.
    pub fn read_admin_token(&self) -> Result<TokenFile, DataDirError> {
        let path = self.admin_token_file();
        Ok(match read_optional(&path)? {
            None => TokenFile::Absent,
            Some(text) => match Credential::parse(String::from_utf8_lossy(&text).trim()) {
                Ok(credential) => TokenFile::Whole(credential),
                Err(_) => TokenFile::Broken,
            },
        })
    }

    /// Writes the first admin token's file, which must not exist.
    pub fn write_admin_token(&self, credential: &Credential) -> Result<(), DataDirError> {
        write_private(
            &self.admin_token_file(),
            &format!("{}\n", credential.expose()),
        )
    }

    /// Removes the first admin token's file.
    pub fn remove_admin_token(&self) -> Result<(), DataDirError> {
        let path = self.admin_token_file();
        match held::remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(DataDirError::File { path, cause: error })
            }
            _ => Ok(()),
        }
    }
}

/// Makes an embedded database's file readable only by its owner before SQLite opens it; its log files inherit the mode.
pub(crate) fn prepare_database_file(file: &Path) -> Result<(), DataDirError> {
    // A link may lead to a file that is not there yet.
    match write_private(&real_file(file)?, "") {
        Err(DataDirError::File { cause, .. }) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Refuses database files that belong to another user, for which SQLite would return only an error number. Commands run
/// as root create such files if they run before the service's first start.
#[cfg(unix)]
pub(crate) fn refuse_files_of_others(file: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    for end in ["", "-wal", "-shm", ".lock"] {
        let path = beside(file, end);
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        // If a group or others may write, the owner alone is not decisive.
        if ![0, metadata.uid()].contains(&me) && metadata.mode() & 0o022 == 0 {
            let owner = metadata.uid();
            return Err(DataDirError::OfOther { path, owner, me });
        }
    }
    Ok(())
}

/// Creates a new, empty file readable only by its owner.
pub(crate) fn make_private_file(file: &Path) -> Result<(), DataDirError> {
    write_private(file, "")
}

/// A path with a suffix appended to its file name.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The real path of a file that may not exist yet. Opening the file follows symbolic links, so paths derived from its
/// name must do so too.
pub(crate) fn real_file(file: &Path) -> Result<PathBuf, DataDirError> {
    let failed = |cause| DataDirError::file(file)(cause);
    let mut path = std::path::absolute(file).map_err(failed)?;
    // As many as the system follows.
    for _ in 0..MAX_LINKS {
        match silo_shared::folders::real(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found.map_err(failed),
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        match std::fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            // Neither a file nor a link: only the folder exists.
            Err(_) => {
                let name = path.file_name().ok_or(ErrorKind::InvalidInput);
                let name = name.map_err(|kind| failed(kind.into()))?;
                return Ok(silo_shared::folders::real(folder)
                    .map_err(failed)?
                    .join(name));
            }
        }
    }
    Err(failed(std::io::Error::other("too many symbolic links")))
}

/// Takes the lock that only one serving hub may hold on an embedded database, whichever path it uses; closing the
/// returned handle releases it. The lock is on a file next to the database's own. Only SQLite may open the database's
/// file: closing any handle of it releases SQLite's locks on it in this process.
pub(crate) fn lock_database_file(file: &Path) -> Result<File, DataDirError> {
    let real = real_file(file)?;
    let lock = try_lock_file(&beside(&real, ".lock"))?;
    let lock = lock.ok_or_else(|| DataDirError::Locked(file.to_owned()))?;
    #[cfg(unix)]
    refuse_other_names(file, &real)?;
    Ok(lock)
}

/// Takes a lock if it is free.
pub(crate) fn try_lock_file(path: &Path) -> Result<Option<File>, DataDirError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    owner_only(&mut options);
    let lock = held::retry(|| options.open(path)).map_err(DataDirError::file(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(cause)) => Err(DataDirError::file(path)(cause)),
    }
}

/// Refuses a file with additional hard links: SQLite's log and the hub's lock depend on the name. The file that a
/// killed restore leaves next to it (`.before-…`) is not used by a hub.
#[cfg(unix)]
fn refuse_other_names(file: &Path, real: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::MetadataExt;
    let of_file = match std::fs::metadata(real) {
        Ok(metadata) if metadata.nlink() > 1 => metadata,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(DataDirError::file(real)(cause)),
    };
    let failed = |cause| DataDirError::file(real)(cause);
    let aside = beside(real, ".before-");
    let aside = aside.as_os_str().as_encoded_bytes();
    let mut known = 1;
    for entry in std::fs::read_dir(real.parent().unwrap_or(Path::new("/"))).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_ours = path.as_os_str().as_encoded_bytes().starts_with(aside)
            && std::fs::symlink_metadata(&path)
                .is_ok_and(|other| (other.dev(), other.ino()) == (of_file.dev(), of_file.ino()));
        known += u64::from(is_ours);
    }
    if of_file.nlink() > known {
        return Err(DataDirError::SeveralNames(file.to_owned()));
    }
    Ok(())
}

#[cfg(unix)]
fn refuse_open_folder(path: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(DataDirError::file(path))?;
    let me = rustix::process::geteuid().as_raw();
    let refuse = |why| {
        let path = path.to_owned();
        Err(DataDirError::Open { path, why })
    };
    if metadata.mode() & 0o022 != 0 && !is_volume_of_own_group(&metadata) {
        return refuse(format!("has mode {:04o}", metadata.mode() & 0o7777));
    }
    // Root may run commands next to a hub that runs as another user.
    if ![me, 0].contains(&metadata.uid()) && me != 0 {
        return refuse(format!("belongs to user {}", metadata.uid()));
    }
    Ok(())
}

/// Whether a folder is a volume that was made writable for a group without other users, as Kubernetes does for `fsGroup`:
/// root's, with the setgid bit. It restores this mode at each start, so that the hub can't make the folder private.
#[cfg(unix)]
fn is_volume_of_own_group(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    const SETGID: u32 = 0o2000;
    let (mode, group) = (metadata.mode(), metadata.gid());
    if mode & 0o002 != 0 || mode & SETGID == 0 || metadata.uid() != 0 {
        return false;
    }
    let is_ours = rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups()
            .is_ok_and(|groups| groups.iter().any(|own| own.as_raw() == group));
    let read = |file: &str| match std::fs::read(file) {
        // An image may have no such file.
        Err(error) if error.kind() == ErrorKind::NotFound => Some(String::new()),
        read => Some(String::from_utf8_lossy(&read.ok()?).into_owned()),
    };
    let me = rustix::process::geteuid().as_raw();
    is_ours
        && read("/etc/passwd")
            .zip(read("/etc/group"))
            .is_some_and(|(users, groups)| !has_other_users(group, me, &users, &groups))
}

/// Whether a group has users besides `me` and root, according to the lines of passwd(5) and group(5).
#[cfg(unix)]
fn has_other_users(group: u32, me: u32, users: &str, groups: &str) -> bool {
    let fields = |line: &str| -> Vec<String> { line.split(':').map(str::to_owned).collect() };
    let number = |field: Option<&String>| field?.trim().parse::<u32>().ok();
    let own_name = users.lines().map(fields).find_map(|user| {
        (number(user.get(2)) == Some(me)).then(|| user.first().cloned().unwrap_or_default())
    });
    let by_user = users.lines().map(fields).any(|user| {
        number(user.get(3)) == Some(group) && ![Some(me), Some(0)].contains(&number(user.get(2)))
    });
    let by_group = groups.lines().map(fields).any(|line| {
        let members = line.get(3).map_or("", String::as_str).split(',');
        let mut members = members.map(str::trim).filter(|name| !name.is_empty());
        number(line.get(2)) == Some(group)
            && members.any(|name| name != "root" && Some(name) != own_name.as_deref())
    });
    by_user || by_group
}

/// Also refuses files in it that others own or can write. Services are accepted: an administrator may run commands next
/// to a hub that runs as one.
#[cfg(windows)]
fn refuse_open_folder(path: &Path) -> Result<(), DataDirError> {
    use silo_shared::trusted_file::{Kind, Trust};
    let trust = Trust::default().with_services();
    Ok(trust.check(Kind::DataDirectory, path)?)
}

/// Reads a file that contains a secret; warns if others can read it.
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    match held::read(path) {
        Ok(text) => {
            #[cfg(unix)]
            if let Ok(metadata) = std::fs::metadata(path) {
                let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777;
                if mode & 0o077 != 0 {
                    let path = path.display();
                    tracing::warn!(
                        "{path}: others can read it (mode {mode:04o}): run `chmod 600 {path}`"
                    );
                }
            }
            #[cfg(windows)]
            if let Ok(Some(why)) = silo_shared::windows::readable_by_others(path) {
                tracing::warn!("{}: contains a secret, but {why}", path.display());
            }
            Ok(Some(text))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(DataDirError::File {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Creates files with mode 0600.
pub(crate) fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Writes a new file of mode 0600, and syncs it and its folder.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), DataDirError> {
    let write = || -> std::io::Result<()> {
        let mut file = private_file::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_folder_of(path)
    };
    write().map_err(DataDirError::file(path))
}

/// Makes a new file's name durable.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let here = folder.as_os_str().is_empty();
        File::open(if here { Path::new(".") } else { folder })?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::has_other_users;

    #[test]
    fn a_volumes_group_must_have_no_other_users() {
        let users = "root:x:0:0::/root:/bin/sh\nsilo:x:1000:1000::/:\nother:x:1001:2001::/:\n";
        for (group, members, others) in [
            (2000, "", false),
            (2000, "data:x:2000:", false),
            (2000, "data:x:2000:silo,root", false),
            (2000, "data:x:2000:silo,other", true),
            (2000, "data:x:20000:other\nfaulty", false),
            (1000, "silo:x:1000:", false),
            (2001, "", true),
            (2001, "other:x:2001:", true),
        ] {
            let found = has_other_users(group, 1000, users, members);
            assert_eq!(found, others, "{group} {members:?}");
        }
        assert!(
            has_other_users(1000, 1001, users, ""),
            "of another user's group"
        );
        assert!(
            has_other_users(2000, 1002, "", "data:x:2000:silo"),
            "me has no name"
        );
    }
}
