//! Watches that an embedded database's file stays where it was opened. SQLite continues with a file that was renamed or
//! deleted, and its writes are lost with the file.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::registry::Registry;
use crate::store::Store;

/// The interval of the checks.
const EVERY: Duration = Duration::from_secs(1);

/// Runs forever; stop it by dropping the future. While the file is missing, the registry accepts no writes.
pub(crate) async fn watch(file: Option<PathBuf>, store: Store, registry: Registry) {
    let Some(file) = file else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_gone = false;
    loop {
        ticks.tick().await;
        let is_gone = !store.is_file_in_place();
        if is_gone == was_gone {
            continue;
        }
        was_gone = is_gone;
        registry.write_health().note_file(is_gone);
        let file = file.display();
        if is_gone {
            tracing::error!(
                "{file}: the database's file was moved, replaced or removed while this hub serves it; writes are refused until it is back. To put a backup in its place, stop the hub first"
            );
        } else {
            tracing::info!("{file}: the database's file is back");
        }
    }
}
