//! What a process uses (proc(5)).

use std::fs::{read_dir, read_to_string};
use std::time::Duration;

/// Ticks of utime and stime a second: USER_HZ is 100 everywhere that Linux runs (sysconf(3)).
const TICKS: u64 = 100;

/// What a process uses at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
    /// The CPU time so far, exact to 10 ms.
    pub cpu: Duration,
}

impl Usage {
    /// Of a running process.
    ///
    /// # Panics
    ///
    /// If there is no such process.
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let status = read("status");
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("{pid} has no {name}"))
        };
        let stat = read("stat");
        // The name, in parentheses, may contain blanks.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        let descriptors = read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
        Self {
            rss_kib: number("VmRSS:"),
            descriptors: descriptors.count(),
            threads: number("Threads:"),
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
        }
    }
}
