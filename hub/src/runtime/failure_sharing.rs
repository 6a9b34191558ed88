//! Tells the other hubs of this database of wrong credentials, so that an address has ten a minute at all of
//! them together. The feed reads what the others told.

use std::time::{Duration, Instant};

use crate::auth::failure_limit::FailureLimit;
use crate::domain::time::Clock;
use crate::registry::{Registry, ShareFailures};

/// How long to wait after each telling at least.
const PAUSE: Duration = Duration::from_millis(100);
/// How many times as long as the telling took, in case the database is slow: strangers decide how much there
/// is to tell, and must not keep others from writing.
const PAUSES: u32 = 5;
/// How many addresses are told at once.
const ADDRESSES: usize = 100;

/// Tells for ever; stop it by dropping the future.
pub(super) async fn share(failures: FailureLimit, registry: Registry, clock: Clock) {
    let mut failing = false;
    loop {
        failures.unshared().await;
        let unshared = failures.take_untold(ADDRESSES, clock.reading());
        if unshared.is_empty() {
            continue;
        }
        let began = Instant::now();
        match registry.apply(ShareFailures(unshared)).await {
            Ok(()) => failing = false,
            // Told once more, what was written after all would count twice: this hub counts them in any case.
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!("the other hubs could not be told of wrong credentials: {error}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE.max(began.elapsed() * PAUSES)).await;
    }
}
