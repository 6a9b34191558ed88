//! What the system knows of this process, under the names that Prometheus's own clients use. Linux only.

use std::fs;

/// The unit of processor times in /proc: the kernel's interface has it fixed (proc_pid_stat(5), sysconf(3)).
const TICKS_PER_SECOND: f64 = 100.0;

/// What the system knows of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Processor time, in seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// Memory in use, in bytes.
    pub(super) resident_bytes: Option<f64>,
    /// Address space, in bytes.
    pub(super) virtual_bytes: Option<f64>,
    /// Open files and sockets.
    pub(super) open_fds: Option<f64>,
    /// The limit of them.
    pub(super) max_fds: Option<f64>,
}

impl Process {
    /// Reads all of it; elsewhere than on Linux there is nothing.
    pub(super) fn read() -> Self {
        let text =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            open_fds: open_fds(),
            ..Self::parse(&text("stat"), &text("status"), &text("limits"))
        }
    }

    fn parse(stat: &str, status: &str, limits: &str) -> Self {
        // The second field is the name in parentheses, with any character in it.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let number = line.trim().strip_suffix(" kB")?.parse::<f64>().ok()?;
            Some(number * 1024.0)
        };
        let max_fds = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        Self {
            // Fields 14 and 15 of the whole line.
            cpu_seconds: ticks(11)
                .zip(ticks(12))
                .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            resident_bytes: kibibytes("VmRSS:"),
            virtual_bytes: kibibytes("VmSize:"),
            open_fds: None,
            max_fds,
        }
    }
}

/// Newer kernels tell the number as the size of the folder; counting thousands of entries would take long.
fn open_fds() -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a number of files")]
    let number = |count: u64| Some(count as f64);
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => number(u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?),
        count => number(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 4 0 1234 9 9";
        let status = "Name:\tsilo-hub\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max open files            1024                 524288               files\n";
        let process = Process::parse(stat, status, limits);
        assert_eq!(
            process,
            Process {
                cpu_seconds: Some(3.0),
                resident_bytes: Some(1_048_576.0),
                virtual_bytes: Some(2_097_152.0),
                open_fds: None,
                max_fds: Some(1024.0),
            }
        );
        assert_eq!(Process::parse("", "", ""), Process::default());
        if cfg!(target_os = "linux") {
            let own = Process::read();
            assert!(own.resident_bytes.unwrap() > 1_000_000.0, "{own:?}");
            assert!(own.open_fds.unwrap() >= 3.0, "{own:?}");
            assert!(own.max_fds.is_some() && own.cpu_seconds.is_some());
        }
    }
}
