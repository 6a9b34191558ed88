//! Watches that an embedded database's file stays where it was opened. SQLite continues with a file that was renamed or
//! deleted, and its writes are lost with the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::registry::Registry;

/// The interval of the checks.
const EVERY: Duration = Duration::from_secs(1);

/// Runs forever; stop it by dropping the future. While the file is missing, the registry accepts no writes.
pub(crate) async fn watch(file: Option<PathBuf>, registry: Registry) {
    let Some((file, opened)) = file.and_then(|file| Some((file.clone(), identity(&file)?))) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_gone = false;
    loop {
        ticks.tick().await;
        let is_gone = identity(&file) != Some(opened);
        if is_gone == was_gone {
            continue;
        }
        was_gone = is_gone;
        registry.write_health().note_file(is_gone);
        let file = file.display();
        match is_gone {
            true => tracing::error!(
                "{file}: the database's file was moved, replaced or removed while this hub serves it; writes are refused until it is back. To put a backup in its place, stop the hub first"
            ),
            false => tracing::info!("{file}: the database's file is back"),
        }
    }
}

/// Identifies a file; `None`: it does not exist, or the system has no such identifier.
#[cfg(unix)]
fn identity(file: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Windows does not allow moving or deleting an open file.
#[cfg(not(unix))]
fn identity(_file: &Path) -> Option<(u64, u64)> {
    None
}
