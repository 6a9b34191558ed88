//! Tells the other hubs of this database of wrong credentials, so that an address has ten a minute at all of
//! them together. The feed reads what the others told.

use std::time::Duration;

use crate::domain::time::Clock;
use crate::failure_limit::FailureLimit;
use crate::registry::{Registry, ShareFailures};

/// How long to wait after each telling: what a flood of guesses can make a hub write is bounded by this.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How many addresses are told at once.
const ADDRESSES: usize = 100;

/// Tells for ever; stop it by dropping the future.
pub async fn share(failures: FailureLimit, registry: Registry, clock: Clock) {
    loop {
        failures.untold().await;
        let now = clock.now();
        let untold = failures.take_untold(ADDRESSES, now);
        if untold.is_empty() {
            continue;
        }
        let command = ShareFailures {
            failures: untold.clone(),
            ended: FailureLimit::ended(now),
        };
        let pause = match registry.apply(command).await {
            Ok(()) => PAUSE,
            Err(error) => {
                tracing::warn!("the other hubs could not be told of wrong credentials: {error}");
                failures.put_back(&untold);
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}
