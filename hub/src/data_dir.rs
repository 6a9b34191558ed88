//! The data directory: the lock that only one `serve` holds, the hub's key, the first admin token.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use silo_shared::credential::Credential;
use thiserror::Error;

use crate::secrets::{HubKey, NoRandomness};

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
    /// Another hub serves from this directory.
    #[error(
        "{}: another silo-hub serves from this data directory; several hubs share a database on a server, not an SQLite file",
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
    /// Makes the directory (mode 0700) when there is none.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt;
            builder.mode(0o700);
        }
        builder.create(path).map_err(DataDirError::file(path))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where the embedded database lies.
    pub fn database_file(&self) -> PathBuf {
        self.path.join("hub.db")
    }

    /// Makes the embedded database's file readable by its owner alone before SQLite opens it; its log
    /// files take over the mode.
    pub fn prepare_database_file(&self) -> Result<(), DataDirError> {
        match write_private(&self.database_file(), "") {
            Err(DataDirError::File { cause, .. }) if cause.kind() == ErrorKind::AlreadyExists => {
                Ok(())
            }
            done => done,
        }
    }

    /// Where the first admin token lies.
    pub fn admin_token_file(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    /// Where the hub's key lies unless `key_file` names another place.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("hub.key")
    }

    /// Takes the lock that only one serving hub may hold; it ends with the file handle.
    pub fn lock(&self) -> Result<File, DataDirError> {
        let path = self.path.join("hub.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(DataDirError::file(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(DataDirError::Locked(self.path.clone())),
            Err(std::fs::TryLockError::Error(cause)) => Err(DataDirError::File { path, cause }),
        }
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

/// Reads the hub's key; `None` when there is no file.
pub fn read_key(path: &Path) -> Result<Option<HubKey>, DataDirError> {
    read_optional(path)?
        .map(|text| {
            HubKey::parse(&text).map_err(|_| DataDirError::Key {
                path: path.to_owned(),
                why: "this is no hub key",
            })
        })
        .transpose()
}

/// Makes a new hub's key; when another hub was faster, reads that one's.
pub fn make_key(path: &Path) -> Result<HubKey, DataDirError> {
    let key = HubKey::generate()?;
    match write_private(path, &format!("{}\n", key.encode())) {
        Ok(()) => Ok(key),
        Err(DataDirError::File { cause, .. }) if cause.kind() == ErrorKind::AlreadyExists => {
            read_key(path)?.ok_or(DataDirError::Key {
                path: path.to_owned(),
                why: "it went away",
            })
        }
        Err(error) => Err(error),
    }
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

fn read_optional(path: &Path) -> Result<Option<String>, DataDirError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(DataDirError::File {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Writes a new file of mode 0600, synced with its folder before anyone relies on it.
fn write_private(path: &Path, text: &str) -> Result<(), DataDirError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let write = || -> std::io::Result<()> {
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        #[cfg(unix)]
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(DataDirError::file(path))
}
