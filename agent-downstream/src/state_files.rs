//! Reading and replacing the files of the state folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::state_error::{StateError, error};

/// A file's bytes; `None`: it is not there.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error(path, "read", cause)),
    }
}

/// Replaces a file of the state folder (mode 0600): it holds the old or the new bytes, whatever happens.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let fail = |cause| error(path, "write", cause);
    let temp = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(cause) = written.and_then(|()| fs::rename(&temp, path)) {
        // The error that counts is the first one; a leftover is truncated by the next run.
        let _ = fs::remove_file(&temp);
        return Err(fail(cause));
    }
    path.parent().map_or(Ok(()), sync_folder).map_err(fail)
}

/// Makes renames and removals in a folder last through a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match File::open(folder)?.sync_all() {
        // Some network and FUSE filesystems know no fsync of folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        other => return other,
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
