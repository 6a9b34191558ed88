//! The data directory: the embedded database's file and the lock that only one `serve` holds, the
//! hub's key, the first admin token.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use silo_shared::credential::Credential;
use thiserror::Error;

use crate::secrets::{HubKey, NoRandomness};

/// The embedded database's file in the data directory.
pub const DATABASE_FILE: &str = "hub.db";

/// Why the data directory can't be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// A file or folder can't be made, read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The data directory is a file.
    #[error("{}: the data directory is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// Others could put a key, a token or a database into the data directory.
    #[error("{}: the data directory {why}, so that others could put files into it: make it private with `chown` and `chmod 700`, or choose another", path.display())]
    Open {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another hub serves this database.
    #[error(
        "{}: another silo-hub serves this database; an SQLite file is for one hub",
        .0.display()
    )]
    Locked(PathBuf),
    /// The key file is there, but holds no key, or not the one that the database knows.
    #[error(
        "{}: {why}. Put the right file there, or name it with `key_file` (--key-file). If it is lost, `silo-hub key reset` makes a new one and forgets what the old one sealed: Bearer and Basic go on, signing must be set up anew",
        path.display()
    )]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The system gave no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl DataDirError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { path, cause }
    }
}

/// What stands in the first admin token's file.
#[derive(Debug)]
pub enum TokenFile {
    /// No file.
    Absent,
    /// A whole credential.
    Whole(Credential),
    /// Something else, such as what a killed start left.
    Broken,
}

/// The data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Makes the directory (mode 0700) when there is none. One that somebody else may write in is refused:
    /// the files in it are believed. That others can list it is harmless, since each file is private.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt;
            builder.mode(0o700);
        }
        builder.create(path).map_err(|cause| match path.exists() {
            true => DataDirError::NotAFolder(path.to_owned()),
            false => DataDirError::file(path)(cause),
        })?;
        #[cfg(unix)]
        refuse_open_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where the first admin token lies.
    pub fn admin_token_file(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    /// Where the hub's key lies unless `key_file` names another place.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("hub.key")
    }

    /// Reads the first admin token's file.
    pub fn read_admin_token(&self) -> Result<TokenFile, DataDirError> {
        let path = self.admin_token_file();
        Ok(match read_optional(&path)? {
            None => TokenFile::Absent,
            Some(text) => match Credential::parse(text.trim()) {
                Ok(credential) => TokenFile::Whole(credential),
                Err(_) => TokenFile::Broken,
            },
        })
    }

    /// Writes the first admin token's file, which must not be there.
    pub fn write_admin_token(&self, credential: &Credential) -> Result<(), DataDirError> {
        write_private(
            &self.admin_token_file(),
            &format!("{}\n", credential.expose()),
        )
    }

    /// Removes the first admin token's file.
    pub fn remove_admin_token(&self) -> Result<(), DataDirError> {
        let path = self.admin_token_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(DataDirError::File { path, cause: error })
            }
            _ => Ok(()),
        }
    }
}

/// Makes an embedded database's file readable by its owner alone before SQLite opens it; its log
/// files take over the mode.
pub fn prepare_database_file(file: &Path) -> Result<(), DataDirError> {
    match write_private(file, "") {
        Err(DataDirError::File { cause, .. }) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Makes a new, empty file readable by its owner alone.
pub fn make_private_file(file: &Path) -> Result<(), DataDirError> {
    write_private(file, "")
}

/// Takes the lock that only one serving hub may hold on an embedded database; it ends with the file
/// handle.
pub fn lock_database_file(file: &Path) -> Result<File, DataDirError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    owner_only(&mut options);
    let lock = options.open(&path).map_err(DataDirError::file(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(DataDirError::Locked(file.to_owned())),
        Err(std::fs::TryLockError::Error(cause)) => Err(DataDirError::File { path, cause }),
    }
}

/// Reads the hub's key; `None` when there is no file.
pub fn read_key(path: &Path) -> Result<Option<HubKey>, DataDirError> {
    if path.is_dir() {
        return Err(DataDirError::Key {
            path: path.to_owned(),
            why: "the hub's key is a file, and this is a folder",
        });
    }
    read_optional(path)?
        .map(|text| {
            HubKey::parse(&text).map_err(|_| DataDirError::Key {
                path: path.to_owned(),
                why: "this is no hub key",
            })
        })
        .transpose()
}

/// The key of a database that knows none yet: the one that lies there, else a new one. Hubs that begin
/// at once get the same. A file that a killed first start left empty counts as none.
pub fn make_key(path: &Path) -> Result<HubKey, DataDirError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    owner_only(&mut options);
    let failed = |cause| DataDirError::file(path)(cause);
    let mut file = match options.open(path) {
        Ok(file) => file,
        // One that may only be read was made by somebody else, and is whole; a folder is refused.
        Err(cause) if path.exists() => return read_key(path)?.ok_or_else(|| failed(cause)),
        Err(cause) => return Err(failed(cause)),
    };
    // Whoever has the lock writes; whoever gets it next reads that. It ends with the file handle.
    file.lock().map_err(failed)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    if !text.is_empty() {
        return HubKey::parse(&text).map_err(|_| DataDirError::Key {
            path: path.to_owned(),
            why: "this is no hub key",
        });
    }
    let key = HubKey::generate()?;
    file.write_all(format!("{}\n", key.encode()).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder_of(path))
        .map_err(failed)?;
    Ok(key)
}

/// Puts a new key in place of the old one, which is kept beside it.
pub fn replace_key(path: &Path) -> Result<HubKey, DataDirError> {
    let old = path.with_extension("key.old");
    match std::fs::rename(path, &old) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(DataDirError::File {
                path: path.to_owned(),
                cause: error,
            });
        }
        _ => {}
    }
    make_key(path)
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
    if metadata.mode() & 0o022 != 0 {
        return refuse(format!("has mode {:04o}", metadata.mode() & 0o7777));
    }
    // Root runs the command line beside a hub that runs as another user.
    if ![me, 0].contains(&metadata.uid()) && me != 0 {
        return refuse(format!("belongs to user {}", metadata.uid()));
    }
    Ok(())
}

/// Reads a file that holds a secret; says so when others can read it as well.
fn read_optional(path: &Path) -> Result<Option<String>, DataDirError> {
    match std::fs::read_to_string(path) {
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
            Ok(Some(text))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(DataDirError::File {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// New files get mode 0600.
fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Writes a new file of mode 0600, synced with its folder before anyone relies on it.
fn write_private(path: &Path, text: &str) -> Result<(), DataDirError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    owner_only(&mut options);
    let write = || -> std::io::Result<()> {
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_folder_of(path)
    };
    write().map_err(DataDirError::file(path))
}

/// Makes a new file's name last.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
