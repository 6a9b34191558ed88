//! The clocks when a run begins.

use crate::notes::{RunTime, Uptime};

/// The present time by both clocks.
#[expect(
    clippy::disallowed_methods,
    reason = "the agent's only look at the wall clock: what is made of it takes it as a value"
)]
pub(crate) fn run_time() -> RunTime {
    RunTime {
        wall_ms: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
        uptime: uptime(),
    }
}

/// A clock that no step of the wall clock moves and that counts from the machine's start, with the time for which it
/// slept (clock_gettime(2), `CLOCK_BOOTTIME`).
#[cfg(target_os = "linux")]
fn uptime() -> Option<Uptime> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
    let ms = i64::try_from(silo_shared::clock::since_boot_ms()).ok()?;
    Some(Uptime { boot, ms })
}

/// No such clock is known here.
#[cfg(not(target_os = "linux"))]
fn uptime() -> Option<Uptime> {
    None
}
