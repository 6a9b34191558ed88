//! The file with the hub's key. The file is complete or absent, even after a kill or a power failure, and a key is
//! never overwritten.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use silo_shared::held;

use crate::auth::secrets::{HubKey, random_name};
use crate::runtime::data_dir::{
    DataDirError, beside, read_optional, real_file, sync_folder_of, write_private,
};

/// The maximum length of a key's file: 32 bytes in base64 and a newline.
const WHOLE: usize = 45;

/// The content of a key's file.
enum Content {
    /// No file.
    Absent,
    /// A key.
    Key(HubKey),
    /// The beginning of a key, or nothing, as after a power failure.
    CutShort,
    /// Something else, such as a file that `key_file` specifies by mistake.
    Foreign,
}

fn read(path: &Path) -> Result<Content, DataDirError> {
    if path.is_dir() {
        return Err(broken(
            path,
            "the hub's key must be a file, and this is a folder",
        ));
    }
    let Some(bytes) = read_optional(path)? else {
        return Ok(Content::Absent);
    };
    if let Some(key) = str::from_utf8(&bytes)
        .ok()
        .and_then(|text| HubKey::parse(text).ok())
    {
        return Ok(Content::Key(key));
    }
    // File systems fill parts that are not written yet with zeros.
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let written = bytes[..bytes.len() - zeros].trim_ascii_end();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let is_beginning = bytes.len() <= WHOLE && written.iter().all(is_base64);
    Ok(if written.is_empty() || is_beginning {
        Content::CutShort
    } else {
        Content::Foreign
    })
}

fn broken(path: &Path, why: &'static str) -> DataDirError {
    DataDirError::Key {
        path: path.to_owned(),
        why,
    }
}

impl Content {
    /// The key; `None` if there is no file.
    fn key(self, path: &Path) -> Result<Option<HubKey>, DataDirError> {
        match self {
            Self::Absent => Ok(None),
            Self::Key(key) => Ok(Some(key)),
            Self::CutShort => Err(broken(
                path,
                "this file is empty or truncated, as after a power failure: it does not contain the whole key",
            )),
            Self::Foreign => Err(broken(path, "not a valid hub key")),
        }
    }
}

/// Reads the hub's key; `None` if there is no file.
pub fn read_key(path: &Path) -> Result<Option<HubKey>, DataDirError> {
    read(path)?.key(path)
}

/// Returns the key for a database without one: the existing key, else a new one. Hubs that start at the same time get
/// the same key. Nothing was sealed with the key of a truncated file, so this puts it aside and replaces it.
pub fn make_key(path: &Path) -> Result<HubKey, DataDirError> {
    match read(path)? {
        Content::Absent => {}
        Content::CutShort => return replace_cut_short(path),
        content => return Ok(content.key(path)?.expect("a file that is there")),
    }
    let path = &real_file(path)?;
    let new = NewKey::write(path)?;
    // Unlike a rename, this does not overwrite a key that another hub has put there meanwhile.
    match std::fs::hard_link(&new.file, path) {
        Ok(()) => new.settle(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read_key(path)?.ok_or_else(|| DataDirError::file(path)(error))
        }
        // The file system has no hard links.
        Err(_) => {
            write_private(path, &new.text())?;
            new.settle(path)
        }
    }
}

/// Replaces a truncated file. If several hubs find it, one at a time does so, and the others find its key.
fn replace_cut_short(path: &Path) -> Result<HubKey, DataDirError> {
    let failed = |cause| DataDirError::file(path)(cause);
    let file = held::retry(|| File::open(path)).map_err(failed)?;
    // Closing the file handle releases the lock.
    file.lock().map_err(failed)?;
    match read(path)? {
        Content::CutShort => {
            tracing::warn!(
                "{}: this file is empty or truncated, and nothing was sealed with it: replacing it with a new key",
                path.display()
            );
            replace_key(path)
        }
        content => content
            .key(path)?
            .ok_or_else(|| failed(ErrorKind::NotFound.into())),
    }
}

/// Replaces the present file, if any, with a new key, and keeps it next to it under a new name.
pub fn replace_key(path: &Path) -> Result<HubKey, DataDirError> {
    let path = &real_file(path)?;
    let new = NewKey::write(path)?;
    put_aside(path)?;
    held::rename(&new.file, path).map_err(DataDirError::file(path))?;
    new.settle(path)
}

/// Gives the present file a second, unused name: `.old`, `.old.2`, `.old.3` and so on.
fn put_aside(path: &Path) -> Result<(), DataDirError> {
    let failed = |cause| DataDirError::file(path)(cause);
    for number in 1_u32.. {
        let old = match number {
            1 => beside(path, ".old"),
            _ => beside(path, &format!(".old.{number}")),
        };
        match std::fs::hard_link(path, &old) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) if old.symlink_metadata().is_ok() => {}
            // The file system has no hard links.
            Err(_) => {
                std::fs::rename(path, &old).map_err(failed)?;
                break;
            }
        }
    }
    sync_folder_of(path).map_err(failed)
}

/// A new key in a temporary file, which is deleted on drop.
struct NewKey {
    key: HubKey,
    file: PathBuf,
}

impl NewKey {
    /// Creates one next to the key's file, synced.
    fn write(path: &Path) -> Result<Self, DataDirError> {
        let file = beside(path, &format!(".new-{}", random_name()?));
        let new = Self {
            key: HubKey::generate()?,
            file,
        };
        write_private(&new.file, &new.text())?;
        Ok(new)
    }

    fn text(&self) -> String {
        format!("{}\n", self.key.encode())
    }

    /// Makes the key's final name durable.
    fn settle(self, path: &Path) -> Result<HubKey, DataDirError> {
        sync_folder_of(path).map_err(DataDirError::file(path))?;
        Ok(self.key.clone())
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        // It is absent if it was renamed; otherwise it was never used, or is a second name of the key's file.
        let _ = std::fs::remove_file(&self.file);
    }
}
