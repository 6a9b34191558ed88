//! The record of what `install` wrote, so that `uninstall` removes exactly that.
//!
//! It holds the contents themselves, not only digests: the difference to a file that was edited can be shown.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::InstallError;
use super::plan::{Item, Manager};
use crate::private_file;

/// The format of the file.
const VERSION: u32 = 1;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// What runs the agent.
    pub(super) manager: Manager,
    /// The unit that is enabled.
    pub(super) unit: Option<String>,
    /// What was written.
    pub(super) items: Vec<Item>,
    /// The folders that were made for it, the outermost first.
    pub(super) folders: Vec<PathBuf>,
    /// By name: a task as Task Scheduler shows it, which is not as it was given.
    #[serde(default)]
    pub(super) registered: BTreeMap<String, String>,
}

impl Record {
    /// Nothing was written yet.
    pub(super) fn new(manager: Manager, unit: Option<String>) -> Self {
        Self {
            version: VERSION,
            manager,
            unit,
            items: Vec::new(),
            folders: Vec::new(),
            registered: BTreeMap::new(),
        }
    }

    /// Reads it; `None` if nothing is installed.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, InstallError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(InstallError::io(path)(error)),
        };
        let wrong = |cause: String| InstallError::Record {
            path: path.to_owned(),
            cause,
        };
        let record: Self =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match record.version {
            VERSION => Ok(Some(record)),
            other => Err(wrong(format!(
                "its version is {other}, this program knows {VERSION}"
            ))),
        }
    }

    /// The folders that records beside this one name: those made for the other agent.
    pub(super) fn folders_of_others(path: &Path) -> Result<Vec<PathBuf>, InstallError> {
        let mut folders = Vec::new();
        let entries = path
            .parent()
            .and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let other = entry.path();
            if other != path && other.extension().is_some_and(|end| end == "json") {
                folders.extend(
                    Self::read(&other)?
                        .into_iter()
                        .flat_map(|record| record.folders),
                );
            }
        }
        Ok(folders)
    }

    /// Writes it, in a folder that only this user can enter.
    pub(super) fn write(&self, path: &Path) -> Result<(), InstallError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            // Others must not lose their way through the folders above.
            super::disk::make_folders(folder.parent().unwrap_or(Path::new("/")))?;
            private_file::create_folder(folder).map_err(InstallError::io(folder))?;
        }
        let bytes = serde_json::to_vec_pretty(self).expect("a record is plain data");
        private_file::replace(path, &path.with_extension("tmp"), &bytes)
            .map_err(InstallError::io(path))
    }

    /// Removes it, and its folder if that is empty.
    pub(super) fn remove(path: &Path) -> Result<(), InstallError> {
        std::fs::remove_file(path).map_err(InstallError::io(path))?;
        if let Some(folder) = path.parent() {
            // Not empty: the other agent's is in it.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("install/a.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let mut record = Record::new(Manager::User, Some("a.timer".to_owned()));
        record.items = vec![
            Item::File {
                path: PathBuf::from("/a"),
                contents: "b\n".to_owned(),
            },
            Item::Link {
                path: PathBuf::from("/c"),
                target: PathBuf::from("/a"),
            },
            Item::Task {
                name: "t".to_owned(),
                contents: String::new(),
            },
        ];
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record.clone()));
        for (text, words) in [("{", "EOF"), ("{\"version\":2", "EOF")] {
            std::fs::write(&path, text).unwrap();
            let error = Record::read(&path).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("a.json"), "{error}");
        }
        record.version = 2;
        record.write(&path).unwrap();
        let error = Record::read(&path).unwrap_err().to_string();
        assert!(error.contains("its version is 2"), "{error}");
        Record::remove(&path).unwrap();
        assert!(!path.parent().unwrap().exists());
    }
}
