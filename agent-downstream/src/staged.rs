//! The temp file beside the hosts file, until it takes its place.
//!
//! It is written under a name of its own (`….part`) and gets the name that [`temp_path`] gives only when
//! all of it is on disk. So what lies there is always whole: our new file, or the one that came out of the
//! hosts file's place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use silo_shared::private_file;

use crate::digest::digest;
use crate::metadata::Failed;
use crate::state::StateDir;

/// How long Windows programs that hold the file are waited for.
#[cfg(windows)]
const SHARING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Where the temp file lies: always the same place for one state folder, so that the next run finds
/// what a killed one left.
pub(crate) fn temp_path(hosts: &Path, state: &StateDir) -> PathBuf {
    let hash = digest(state.path().as_os_str().as_encoded_bytes());
    let mut name = std::ffi::OsString::from(".");
    name.push(hosts.file_name().unwrap_or_default());
    name.push(format!(".silo-{}", &hash[..16]));
    hosts.with_file_name(name)
}

/// The name under which a temp file is written.
pub(crate) fn part_path(temp: &Path) -> PathBuf {
    let mut name = temp.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// A temp file beside the hosts file; gone when this is dropped, unless renamed.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    /// Open for writing.
    pub(crate) file: File,
    renamed: bool,
}

impl Staged {
    /// Makes the file, which must not be there yet, and writes it; nothing is synced.
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

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in the hosts file's place and the hosts file at `temp`, where it then stays. `false`, with
    /// nothing changed but this file's name, where the system or the filesystem can't do that.
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

    /// Other systems have nothing of the kind that is known to work.
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

    /// Windows renames over no read-only file and over none that a program holds without sharing.
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
