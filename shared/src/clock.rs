//! Clocks of the system that no step of the wall clock moves (clock_gettime(2)).

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine's start, without the time for which it slept (`CLOCK_MONOTONIC`).
pub fn monotonic_ms() -> u64 {
    milliseconds(ClockId::Monotonic)
}

/// Milliseconds since the machine's start, with the time for which it slept (`CLOCK_BOOTTIME`).
#[cfg(target_os = "linux")]
pub fn since_boot_ms() -> u64 {
    milliseconds(ClockId::Boottime)
}

fn milliseconds(clock: ClockId) -> u64 {
    let at = clock_gettime(clock);
    let seconds = u64::try_from(at.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(at.tv_nsec).unwrap_or_default();
    seconds * 1000 + nanoseconds / 1_000_000
}
