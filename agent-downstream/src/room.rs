//! Checks whether a new hosts file could be created next to the old one, without creating it.

use std::path::Path;

#[cfg(not(unix))]
pub(crate) use other::{lacking, unmapped_owner};
#[cfg(unix)]
pub(crate) use unix::{lacking, unmapped_owner};

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::Path;

    /// The space for a block of usual size in addition to the present file, in bytes.
    const BLOCK: u64 = 4096;

    /// Why the folder's filesystem lacks space for a new file slightly larger than `length` bytes.
    pub(crate) fn lacking(folder: &Path, length: usize) -> Option<String> {
        // If this fails, the run itself will find out.
        let found = rustix::fs::statvfs(folder).ok()?;
        let free = if rustix::process::geteuid().is_root() {
            found.f_bfree
        } else {
            found.f_bavail
        };
        let unit = found.f_frsize.max(1);
        let needed = (length as u64).div_ceil(unit) + BLOCK.div_ceil(unit);
        // Filesystems without an inode table report zero inodes in total.
        if found.f_files > 0 && found.f_ffree == 0 {
            return Some(format!(
                "{} has no free inode for a new file",
                folder.display()
            ));
        }
        (found.f_blocks > 0 && free < needed).then(|| {
            let (free, needed) = (free * unit / 1024, needed * unit / 1024);
            format!(
                "the disk of {} is full: {free} KiB free, {needed} KiB needed",
                folder.display()
            )
        })
    }

    /// Why a new file can't get the owner of the one at `path`: the owner has no number in this user namespace
    /// (user_namespaces(7)).
    pub(crate) fn unmapped_owner(path: &Path) -> Option<String> {
        let metadata = fs::metadata(path).ok()?;
        let is_mapped = |map: &str, id: u32| {
            // Without this file, the system has no user namespaces.
            fs::read_to_string(map).map_or(true, |map| maps(&map, id))
        };
        if is_mapped("/proc/self/uid_map", metadata.uid())
            && is_mapped("/proc/self/gid_map", metadata.gid())
        {
            return None;
        }
        Some(
            "its owner is unknown in this user namespace, so that a new file can't have it"
                .to_owned(),
        )
    }

    /// Whether a map contains this id: lines of first id inside, first id outside, count.
    fn maps(map: &str, id: u32) -> bool {
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            match (numbers.next(), numbers.next(), numbers.next()) {
                (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => {
                    (first..first.saturating_add(count)).contains(&u64::from(id))
                }
                _ => false,
            }
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_id_outside_every_range_of_the_map_is_unmapped() {
            for (map, id, expected) in [
                ("         0          0 4294967295\n", 65534, true),
                ("         0       1000          1\n", 0, true),
                ("         0       1000          1\n", 65534, false),
                ("0 100000 65536\n70000 1000 1\n", 70000, true),
                ("0 100000 65536\n70000 1000 1\n", 69999, false),
                ("", 0, false),
            ] {
                assert_eq!(maps(map, id), expected, "{map:?} {id}");
            }
        }
    }
}

#[cfg(not(unix))]
mod other {
    use super::Path;

    /// Unknown in advance.
    pub(crate) fn lacking(_folder: &Path, _length: usize) -> Option<String> {
        None
    }

    /// A new file gets its owner from its folder.
    pub(crate) fn unmapped_owner(_path: &Path) -> Option<String> {
        None
    }
}
