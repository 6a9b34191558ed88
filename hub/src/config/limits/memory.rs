//! Determines the available memory, and the default limits that depend on it.

use std::path::{Path, PathBuf};

use super::{LEAST_BODY_MIB, MOST_BODY_MIB};

const MIB: u64 = 1024 * 1024;
/// The maximum memory of a connection before a request is complete: buffers of an unfinished head, of TLS and of
/// HTTP/2.
const CONNECTION_BYTES: u64 = 128 * 1024;
/// The minimum of the default for connections.
const LEAST_CONNECTIONS: usize = 128;
/// The maximum of the default for connections.
const MOST_CONNECTIONS: usize = 8192;
/// The maximum of the default for the memory of bodies, in MiB.
const MOST_DEFAULT_BODY_MIB: usize = 512;

/// The default maximum number of connections for this much memory, in bytes: as many as fit into a quarter of it in the
/// worst case, from 128 to 8192. `None`: the memory is unknown.
pub fn default_connections(memory: Option<u64>) -> usize {
    share(memory, 4 * CONNECTION_BYTES).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)
}

/// The default memory for all bodies together, in MiB, for this much memory in bytes: an eighth of it, from 4 to 512.
pub fn default_body_mib(memory: Option<u64>) -> usize {
    share(memory, 8 * MIB).clamp(LEAST_BODY_MIB, MOST_DEFAULT_BODY_MIB.min(MOST_BODY_MIB))
}

fn share(memory: Option<u64>, unit: u64) -> usize {
    memory.map_or(usize::MAX, |memory| {
        usize::try_from(memory / unit).unwrap_or(usize::MAX)
    })
}

/// The memory that this process may use, in bytes: the limit of its control groups, but at most the machine's memory.
/// `None`: unknown.
pub(super) fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

/// The same for a system whose files are below `root`.
fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(root.join(path)).ok();
    let machine = read(Path::new("proc/meminfo")).and_then(|text| mem_total(&text));
    let groups = read(Path::new("proc/self/cgroup")).unwrap_or_default();
    let limits = groups
        .lines()
        .filter_map(limit_files)
        .flatten()
        .filter_map(|path| read(&path))
        // `max`: no limit (cgroup v2). Version 1 has a number larger than any memory instead.
        .filter_map(|text| text.trim().parse().ok());
    limits.chain(machine).min()
}

/// `MemTotal` (proc_meminfo(5)).
fn mem_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files that may limit the memory of a group and of its ancestors, from a line of `/proc/self/cgroup`
/// (cgroups(7)). In a container, the group's path may be the host's: then its files are at the root.
fn limit_files(line: &str) -> Option<Vec<PathBuf>> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let path = Path::new(path.trim_start_matches('/'));
    let files = path
        .ancestors()
        .map(|group| Path::new(mount).join(group).join(file));
    Some(files.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_from_memory() {
        const GIB: u64 = 1024 * MIB;
        for (memory, connections, body_mib) in [
            (Some(0), 128, 4),
            (Some(32 * MIB), 128, 4),
            (Some(64 * MIB), 128, 8),
            (Some(128 * MIB), 256, 16),
            (Some(256 * MIB), 512, 32),
            (Some(512 * MIB), 1024, 64),
            (Some(GIB), 2048, 128),
            (Some(2 * GIB), 4096, 256),
            (Some(4 * GIB), 8192, 512),
            (Some(64 * GIB), 8192, 512),
            (Some(u64::MAX), 8192, 512),
            (None, 8192, 512),
        ] {
            assert_eq!(default_connections(memory), connections, "{memory:?}");
            assert_eq!(default_body_mib(memory), body_mib, "{memory:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_smallest_of_what_groups_and_machine_say_counts() {
        let machine = ("proc/meminfo", "MemTotal:  2048 kB\nMemFree:  1 kB\n");
        for (what, files, available) in [
            ("nothing", &[][..], None),
            ("a machine", &[machine], Some(2048 * 1024)),
            (
                "version 2",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "4096\n"),
                ],
                Some(4096),
            ),
            (
                "version 2, a group around it",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                    ("sys/fs/cgroup/a/memory.max", "8192\n"),
                ],
                Some(8192),
            ),
            (
                "version 2, in a container",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/memory.max", "4096\n"),
                ],
                Some(4096),
            ),
            (
                "version 2, in a container that sees the host's path",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/system.slice/docker-1.scope\n"),
                    ("sys/fs/cgroup/memory.max", "4096\n"),
                ],
                Some(4096),
            ),
            (
                "version 2, no limit",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/a\n"),
                    ("sys/fs/cgroup/a/memory.max", "max\n"),
                ],
                Some(2048 * 1024),
            ),
            (
                "more than the machine has",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/a\n"),
                    ("sys/fs/cgroup/a/memory.max", "99999999999\n"),
                ],
                Some(2048 * 1024),
            ),
            (
                "version 1",
                &[
                    machine,
                    ("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/a\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"),
                ],
                Some(4096),
            ),
            (
                "version 1, no limit",
                &[
                    machine,
                    ("proc/self/cgroup", "4:memory:/\n0::/\n"),
                    (
                        "sys/fs/cgroup/memory/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                Some(2048 * 1024),
            ),
            (
                "no machine",
                &[
                    ("proc/self/cgroup", "nonsense\n0::/a:b\n"),
                    ("sys/fs/cgroup/a:b/memory.max", "4096\n"),
                ],
                Some(4096),
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            assert_eq!(available_below(root.path()), available, "{what}");
        }
    }
}
