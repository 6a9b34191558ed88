//! The temporary file next to the hosts file, until it replaces it.
//!
//! It is written under a separate name (`….part`) and gets the name from [`temp_path`] only when all of it is on disk.
//! So a file with that name is always complete: our new file, or a replaced hosts file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use silo_shared::private_file;

use crate::digest::digest;
use crate::metadata::Failed;
use crate::state::StateDir;

/// How long to wait for Windows programs that hold the file.
#[cfg(windows)]
const SHARING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

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
    /// Creates the file, which must not exist yet, and writes it; syncs nothing.
    pub(crate) fn write(temp: &Path, bytes: &[u8]) -> Result<Self, Failed> {
        let path = &part_path(temp);
        let file = private_file::create_new(path)
            .map_err(|cause| ("create a new file beside it", cause))?;
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
    #[cfg(not(windows))]
    pub(crate) fn rename(mut self, over: &Path) -> io::Result<()> {
        fs::rename(&self.path, over)?;
        self.renamed = true;
        Ok(())
    }

    /// Windows can't rename over a read-only file, or over one that a program has open without sharing.
    #[cfg(windows)]
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "the lint is about Unix modes"
    )]
    pub(crate) fn rename(mut self, over: &Path) -> io::Result<()> {
        const ACCESS_DENIED: i32 = 5;
        const SHARING_VIOLATION: i32 = 32;
        let mut permissions = fs::metadata(over)?.permissions();
        let read_only = permissions.readonly();
        if read_only {
            permissions.set_readonly(false);
            fs::set_permissions(over, permissions.clone())?;
        }
        let started = std::time::Instant::now();
        let renamed = loop {
            match fs::rename(&self.path, over) {
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(ACCESS_DENIED | SHARING_VIOLATION)
                    ) && started.elapsed() < SHARING_TIMEOUT =>
                {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                done => break done,
            }
        };
        self.renamed = renamed.is_ok();
        if read_only {
            permissions.set_readonly(true);
            fs::set_permissions(over, permissions)?;
        }
        renamed
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(
                "{}: cannot remove it: {error}; the next run does",
                self.path.display()
            );
        }
    }
}
