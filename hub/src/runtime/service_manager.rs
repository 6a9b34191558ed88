//! Notifies systemd (sd_notify(3)), if configured, that the hub listens, that it stops, and, while it works, that it is
//! alive. Without `NOTIFY_SOCKET`, sends nothing.

use std::time::Duration;

use crate::domain::time::Clock;
use crate::follow::database_health::DatabaseHealth;
use crate::store::Store;

/// The hub listens.
pub(crate) fn ready() {
    tell(Word::Ready);
}

/// The hub is stopping.
pub(crate) fn stopping() {
    tell(Word::Stopping);
}

/// Sends keep-alives forever, four in each watchdog timeout, but only while the database responds or the hub has
/// detected that it does not: then reads continue, and a restart would not help. A hub that hangs sends none.
pub(crate) async fn stay_alive(store: Store, database_health: DatabaseHealth, clock: Clock) {
    let Some(patience) = watchdog() else {
        return std::future::pending().await;
    };
    let pause = patience / 4;
    loop {
        let answered = tokio::time::timeout(pause, store.position()).await;
        if matches!(answered, Ok(Ok(_))) || database_health.stale_for(clock.monotonic()).is_some() {
            tell(Word::Alive);
        } else {
            tracing::warn!(
                "the database does not answer, and the hub has not detected it: no keep-alive sent"
            );
        }
        tokio::time::sleep(pause).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Ready,
    Alive,
    Stopping,
}

#[cfg(unix)]
fn tell(word: Word) {
    use sd_notify::NotifyState;
    let state = match word {
        Word::Ready => NotifyState::Ready,
        Word::Alive => NotifyState::Watchdog,
        Word::Stopping => NotifyState::Stopping,
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify the service manager ({word:?}): {error}");
    }
}

/// The watchdog timeout of the service manager, if it has one.
#[cfg(unix)]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(unix))]
fn tell(_word: Word) {}

#[cfg(not(unix))]
fn watchdog() -> Option<Duration> {
    None
}
