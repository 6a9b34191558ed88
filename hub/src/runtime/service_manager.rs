//! Tells systemd how the hub is (sd_notify(3)), where it asks to be told: that it listens, that it stops,
//! and as long as it really works, that it is alive. Without `NOTIFY_SOCKET` nothing is told.

use std::time::Duration;

use crate::domain::time::Clock;
use crate::follow::database_health::DatabaseHealth;
use crate::store::Store;

/// The hub listens.
pub(crate) fn ready() {
    tell(Word::Ready);
}

/// The hub ends what runs.
pub(crate) fn stopping() {
    tell(Word::Stopping);
}

/// Tells for ever that the hub is alive, four times in the time that the service manager waits, but only
/// while either the database answers or the hub has noticed that it does not: reads go on then, and a new
/// start would change nothing. A hub that hangs is silent.
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
            tracing::warn!("the database does not answer, and nobody has noticed");
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
        tracing::warn!("cannot tell the service manager {word:?}: {error}");
    }
}

/// How long the service manager waits for a sign of life, if it does.
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
