//! A file's metadata: detects whether it is still the same file, and copies its owner, mode and extended attributes
//! (including ACLs and the SELinux label) to its replacement.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// A step that failed, and why.
pub(crate) type Failed = (&'static str, io::Error);

#[cfg(windows)]
pub(crate) use other::{Identity, copy, set_default_mode};
#[cfg(unix)]
pub(crate) use unix::{Identity, copy, set_default_mode};

#[cfg(unix)]
mod unix {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

    use xattr::FileExt;

    use super::{Failed, File, Metadata, Path, fmt, io};

    /// Attributes in which the kernel stores hashes of the file's contents (`evmctl(1)`): those of the old contents
    /// would be wrong.
    const OF_CONTENTS: [&str; 2] = ["security.ima", "security.evm"];

    /// Identifies a file and its last change.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Identity {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        /// Also changes with owner or mode; a replacement must not undo such a change.
        changed: (i64, i64),
    }

    impl Identity {
        pub(crate) fn of(metadata: &Metadata) -> Self {
            Self {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }
        }
    }

    /// The format in the state folder. Omits the device, whose number may change when the system restarts.
    impl fmt::Display for Identity {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let ((modified, modified_ns), (changed, changed_ns)) = (self.modified, self.changed);
            let Self { inode, size, .. } = self;
            write!(
                f,
                "{inode} {size} {modified}.{modified_ns} {changed}.{changed_ns}"
            )
        }
    }

    /// Copies the metadata of the file at `from` to `to`, which is open at `_path`.
    pub(crate) fn copy(from: &Path, to: &File, _path: &Path) -> Result<(), Failed> {
        let from = File::open(from).map_err(|cause| ("open it", cause))?;
        let old = from.metadata().map_err(|cause| ("inspect it", cause))?;
        let new = to
            .metadata()
            .map_err(|cause| ("inspect the new file", cause))?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(to, Some(old.uid()), Some(old.gid()))
                .map_err(|cause| ("give the new file the owner of the old one", cause))?;
        }
        copy_attributes(&from, to).map_err(|cause| {
            (
                "give the new file the extended attributes of the old one",
                cause,
            )
        })?;
        // Last, since a change of the owner clears mode bits.
        to.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
            .map_err(|cause| ("give the new file the mode of the old one", cause))
    }

    /// The mode of a hosts file that is recreated.
    pub(crate) fn set_default_mode(file: &File) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(0o644))
    }

    fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
        let (old, new) = (attributes(from)?, attributes(to)?);
        for (name, value) in &old {
            // A label that the file has from the folder already is not set again: that may require a privilege.
            if new.get(name) != Some(value) {
                to.set_xattr(name, value)?;
            }
        }
        // Attributes that only the new file has, such as the folder's default ACL, could give others access.
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            if !name.to_string_lossy().starts_with("security.") {
                to.remove_xattr(name)?;
            }
        }
        Ok(())
    }

    fn attributes(file: &File) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        let names = match file.list_xattr() {
            Ok(names) => names,
            // The filesystem does not support them.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut found = BTreeMap::new();
        for name in names {
            if OF_CONTENTS.iter().any(|skipped| name == *skipped) {
                continue;
            }
            // Removed since it was listed: ignored.
            if let Some(value) = file.get_xattr(&name)? {
                found.insert(name, value);
            }
        }
        Ok(found)
    }

    #[cfg(test)]
    mod tests {
        use super::Identity;

        /// One part of an identity, and another value of it.
        type Change = (&'static str, fn(&mut Identity));

        #[test]
        fn a_change_of_one_part_is_seen_now_and_in_what_the_state_folder_notes() {
            let identity = Identity {
                device: 1,
                inode: 2,
                size: 3,
                modified: (4, 5),
                changed: (6, 7),
            };
            let changes: [Change; 7] = [
                ("device", |identity| identity.device = 9),
                ("inode", |identity| identity.inode = 9),
                ("size", |identity| identity.size = 9),
                ("mtime, seconds", |identity| identity.modified.0 = 9),
                ("mtime, nanoseconds", |identity| identity.modified.1 = 9),
                ("ctime, seconds", |identity| identity.changed.0 = 9),
                ("ctime, nanoseconds", |identity| identity.changed.1 = 9),
            ];
            for (part, change) in changes {
                let mut other = identity.clone();
                change(&mut other);
                assert_ne!(other, identity, "{part}");
                // The number of a device may change from one start of the system to the next.
                let is_noted = part != "device";
                assert_eq!(
                    other.to_string() != identity.to_string(),
                    is_noted,
                    "{part}"
                );
            }
        }
    }
}

#[cfg(windows)]
mod other {
    use std::time::SystemTime;

    use silo_shared::windows::copy_security;

    use super::{Failed, File, Metadata, Path, fmt, io};

    /// The last change of a file.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Identity {
        size: u64,
        modified: Option<SystemTime>,
    }

    impl Identity {
        pub(crate) fn of(metadata: &Metadata) -> Self {
            Self {
                size: metadata.len(),
                modified: metadata.modified().ok(),
            }
        }
    }

    impl fmt::Display for Identity {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} {:?}", self.size, self.modified)
        }
    }

    /// Copies owner, access control list and attributes (hidden, system, read-only) of the file at `from` to the
    /// one at `to`.
    pub(crate) fn copy(from: &Path, _to: &File, to: &Path) -> Result<(), Failed> {
        copy_security(from, to).map_err(|cause| {
            (
                "give the new file the owner and the permissions of the old one",
                cause,
            )
        })?;
        // Windows keeps all attributes in what std calls permissions.
        std::fs::metadata(from)
            .and_then(|old| std::fs::set_permissions(to, old.permissions()))
            .map_err(|cause| ("give the new file the attributes of the old one", cause))
    }

    /// Nothing to do: inherited from the folder.
    pub(crate) fn set_default_mode(_file: &File) -> io::Result<()> {
        Ok(())
    }
}
