//! Folders accessed by descriptor, so that they can't be swapped for other folders.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::Uid;
use thiserror::Error;

/// The mode bits that allow group and others to write.
const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);

/// Why a folder is not used.
#[derive(Debug, Error)]
pub(super) enum FolderError {
    /// It can't be opened.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// Another user owns it.
    #[error(
        "{path}: is owned by the user {owner}, must be owned by {wanted}",
        path = .path.display()
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
        /// The required owner.
        wanted: String,
    },
    /// Other users can write to it.
    #[error("{path}: group or others may write there (mode {mode:04o}): run `chmod go-w` on it", path = .0.display(), mode = .1.bits())]
    Open(PathBuf, Mode),
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// Why a file in a folder is not read.
#[derive(Debug, Error)]
pub(super) enum FileError {
    /// It is a symbolic link.
    #[error("a symbolic link")]
    Link,
    /// It is a folder, a pipe, a device or a socket.
    #[error("not a regular file")]
    Kind,
    /// Another user owns it.
    #[error("owned by the user {0}")]
    Owner(u32),
    /// It has further hard links, perhaps elsewhere.
    #[error("has other names too (hard links)")]
    Linked,
    /// Other users can write to it.
    #[error("group or others may write it (mode {mode:04o})", mode = .0.bits())]
    Open(Mode),
    /// It is too large.
    #[error("larger than {0} bytes")]
    Large(u64),
    /// It can't be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Folder {
    /// Opens a folder that only root and `me` may change, and checks the same for all its ancestors.
    ///
    /// An ancestor with the sticky bit (`/tmp`) may be writable by all users.
    pub(super) fn open(path: &Path, me: Uid) -> Result<Self, FolderError> {
        let unreadable =
            |path: &Path, error: io::Error| FolderError::Unreadable(path.to_owned(), error);
        let real = path
            .canonicalize()
            .map_err(|error| unreadable(path, error))?;
        let mut folder = Self {
            fd: rustix::fs::open("/", folder_flags(), Mode::empty())
                .map_err(|error| unreadable(Path::new("/"), error.into()))?,
            path: PathBuf::from("/"),
        };
        folder.check_trusted(me, true)?;
        for component in real.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let below = folder.path.join(name);
            let fd = rustix::fs::openat(&folder.fd, name, folder_flags(), Mode::empty())
                .map_err(|error| unreadable(&below, error.into()))?;
            folder = Self { fd, path: below };
            folder.check_trusted(me, folder.path != real)?;
        }
        Ok(folder)
    }

    /// Opens a subfolder, which must be owned by `owner` and writable only by its owner.
    pub(super) fn child(&self, name: &str, owner: Uid) -> Result<Self, FolderError> {
        let path = self.path.join(name);
        let opened = rustix::fs::openat(&self.fd, name, folder_flags(), Mode::empty());
        let child = match opened {
            Ok(fd) => Self { fd, path },
            Err(error) => return Err(FolderError::Unreadable(path, error.into())),
        };
        let stat = child.stat()?;
        child.check_owner(&stat, &[owner])?;
        child.check_closed(&stat)?;
        Ok(child)
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn stat(&self) -> Result<Stat, FolderError> {
        rustix::fs::fstat(&self.fd)
            .map_err(|error| FolderError::Unreadable(self.path.clone(), error.into()))
    }

    fn check_trusted(&self, me: Uid, sticky_will_do: bool) -> Result<(), FolderError> {
        let stat = self.stat()?;
        self.check_owner(&stat, &[Uid::ROOT, me])?;
        if sticky_will_do && Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX) {
            return Ok(());
        }
        self.check_closed(&stat)
    }

    fn check_owner(&self, stat: &Stat, owners: &[Uid]) -> Result<(), FolderError> {
        if owners.iter().any(|owner| owner.as_raw() == stat.st_uid) {
            return Ok(());
        }
        let mut wanted: Vec<String> = owners
            .iter()
            .map(|owner| {
                if owner.is_root() {
                    "root".to_owned()
                } else {
                    format!("the user {}", owner.as_raw())
                }
            })
            .collect();
        wanted.dedup();
        Err(FolderError::Owner {
            path: self.path.clone(),
            owner: stat.st_uid,
            wanted: wanted.join(" or "),
        })
    }

    fn check_closed(&self, stat: &Stat) -> Result<(), FolderError> {
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(OTHERS_WRITE) {
            Err(FolderError::Open(self.path.clone(), mode))
        } else {
            Ok(())
        }
    }

    /// The names in it, without `.` and `..`, sorted, at most `limit`.
    pub(super) fn names(&self, limit: usize) -> io::Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)?.take(limit) {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether an entry of this name exists, including a symbolic link.
    pub(super) fn has(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a regular file with a single link, owned by `owner`, of at most `limit` bytes; `None`:
    /// not found.
    pub(super) fn read(
        &self,
        name: &CStr,
        owner: Uid,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, FileError> {
        // NONBLOCK: opening a pipe must not wait for its other end.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::MLINK) => return Err(FileError::Link),
            // A socket.
            Err(Errno::NXIO | Errno::OPNOTSUPP) => return Err(FileError::Kind),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileError::Kind);
        }
        if stat.st_uid != owner.as_raw() {
            return Err(FileError::Owner(stat.st_uid));
        }
        // Removed in the meantime; its content no longer counts.
        if stat.st_nlink == 0 {
            return Ok(None);
        }
        if stat.st_nlink > 1 {
            return Err(FileError::Linked);
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(OTHERS_WRITE) {
            return Err(FileError::Open(mode));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            Err(FileError::Large(limit))
        } else {
            Ok(Some(bytes))
        }
    }

    /// Replaces a file atomically and durably.
    pub(super) fn replace(&self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let draft = format!(".{name}.tmp");
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let mut file = File::from(rustix::fs::openat(&self.fd, &draft, flags, mode)?);
        // Independent of the umask.
        rustix::fs::fchmod(&file, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.fd, &draft, &self.fd, name)?;
        rustix::fs::fsync(&self.fd)?;
        Ok(())
    }

    /// Removes a file if it exists.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens or creates the file that a running worker locks.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(fd))
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
