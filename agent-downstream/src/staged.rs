//! The temporary file next to the hosts file, until it replaces it.
//!
//! It is written under a separate name (`….part`) and gets the name from [`temp_path`] only when all of it is on disk.
//! So a file with that name is always complete: our new file, or a replaced hosts file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::digest::digest;
use crate::metadata::Failed;
use crate::read_only;
use crate::state::StateDir;

/// The path of the temporary file: always the same for one state folder, so that the next run finds the leftover of a
/// killed one.
pub(crate) fn temp_path(hosts: &Path, state: &StateDir) -> PathBuf {
    let hash = digest(state.path().as_os_str().as_encoded_bytes());
    let mut name = std::ffi::OsString::from(".");
    name.push(hosts.file_name().unwrap_or_default());
    name.push(format!(".silo-{}", &hash[..16]));
    hosts.with_file_name(name)
}

/// The name under which a temporary file is written.
pub(crate) fn part_path(temp: &Path) -> PathBuf {
    let mut name = temp.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// A temporary file next to the hosts file; removed on drop, unless renamed.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    /// Open for writing.
    pub(crate) file: File,
    renamed: bool,
}

impl Staged {
    /// Creates the file, which must not exist yet, and writes it; syncs nothing. It replaces the one at `like`, if there
    /// is one.
    pub(crate) fn write(temp: &Path, like: Option<&Path>, bytes: &[u8]) -> Result<Self, Failed> {
        let path = &part_path(temp);
        let file = create(path, like).map_err(|cause| ("create a new file beside it", cause))?;
        let mut staged = Self {
            path: path.to_owned(),
            file,
            renamed: false,
        };
        staged
            .file
            .write_all(bytes)
            .map_err(|cause| ("write a new file beside it", cause))?;
        Ok(staged)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Exchanges it with the hosts file, which is then at `temp`. `false`, with nothing changed but this file's name,
    /// if the system or the filesystem does not support that.
    #[cfg(target_os = "linux")]
    pub(crate) fn exchange(&mut self, with: &Path, temp: &Path) -> io::Result<bool> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        fs::rename(&self.path, temp)?;
        self.path = temp.to_owned();
        match renameat_with(CWD, temp, CWD, with, RenameFlags::EXCHANGE) {
            Ok(()) => {
                self.renamed = true;
                Ok(true)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Other systems have no equivalent that is known to work.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn exchange(&mut self, _with: &Path, _temp: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// Renames it over the hosts file.
    pub(crate) fn rename(&mut self, over: &Path) -> io::Result<()> {
        // Windows refuses to replace a read-only file. The new one is read-only already, so that this is not lost when
        // this run is killed: `restore_read_only`.
        let was_read_only = read_only::set(over, false)?;
        let renamed = fs::rename(&self.path, over);
        self.renamed = renamed.is_ok();
        if was_read_only && !self.renamed {
            read_only::set(over, true)?;
        }
        renamed
    }
}

/// Creates an empty file.
#[cfg(not(windows))]
fn create(path: &Path, _like: Option<&Path>) -> io::Result<File> {
    silo_shared::private_file::create_new(path)
}

/// Creates an empty file with the alternate streams of the one at `like`. It inherits the access control list of the
/// folder, as the hosts file did when it was made.
#[cfg(windows)]
fn create(path: &Path, like: Option<&Path>) -> io::Result<File> {
    use std::fs::OpenOptions;
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let Some(like) = like else {
        return Ok(file);
    };
    drop(file);
    let copy = || {
        // All streams, by CopyFileExW.
        silo_shared::held::retry(|| fs::copy(like, path))?;
        read_only::set(path, false)?;
        // A virus scanner may look at the copy.
        let file = silo_shared::held::retry(|| OpenOptions::new().write(true).open(path))?;
        // Not when it is opened: Windows would have to be told that it is hidden.
        file.set_len(0)?;
        Ok(file)
    };
    copy().inspect_err(|_| {
        // The first error is the one to report; the next run removes the file.
        let _ = remove(path);
    })
}

/// Removes a temporary file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    read_only::set(path, false)?;
    silo_shared::held::remove(path)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(
                "{}: cannot remove it: {error}; the next run does",
                self.path.display()
            );
        }
    }
}
