//! Writes files, links and folders of the system atomically, whatever the umask is.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::InstallError;
use crate::held;

/// Makes a folder and those above with the mode that system folders have, whatever the umask is. On Windows they are
/// private: others would be able to write to them otherwise.
pub(crate) fn make_folders(folder: &Path) -> Result<(), InstallError> {
    if cfg!(windows) {
        return crate::private_file::create_folder(folder).map_err(InstallError::io(folder));
    }
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder).map_err(InstallError::io(folder))?;
        set_mode(folder, 0o755).map_err(InstallError::io(folder))?;
    }
    Ok(())
}

/// Makes the folder that a file is in.
pub(super) fn make_folder_of(path: &Path) -> Result<(), InstallError> {
    make_folders(path.parent().unwrap_or(Path::new("/")))
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    #[cfg(unix)]
    return fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(())
    }
}

/// A name in the same folder that systemd and cron ignore.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Replaces a file atomically with one that all may read.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temp = temporary(path);
    remove_leftover(&temp)?;
    let mut file = crate::private_file::create_new(&temp)?;
    file.write_all(bytes)?;
    set_mode(&temp, 0o644)?;
    file.sync_all()?;
    // Windows renames no file that is open, and shares none that is being made.
    drop(file);
    held::rename(&temp, path)
}

#[cfg(unix)]
pub(super) fn write_link(path: &Path, target: &Path) -> std::io::Result<()> {
    let temp = temporary(path);
    remove_leftover(&temp)?;
    std::os::unix::fs::symlink(target, &temp)?;
    fs::rename(&temp, path)
}

#[cfg(not(unix))]
pub(super) fn write_link(_path: &Path, _target: &Path) -> std::io::Result<()> {
    Err(std::io::Error::from(ErrorKind::Unsupported))
}

fn remove_leftover(temp: &Path) -> std::io::Result<()> {
    match fs::remove_file(temp) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
