//! Shares wrong credentials with the other hubs of this database, so that the limit of ten a minute per address applies
//! to all of them together. The feed reads what other hubs shared.

use std::time::{Duration, Instant};

use crate::auth::failure_limit::FailureLimit;
use crate::domain::time::Clock;
use crate::registry::{Registry, ShareFailures};

/// The minimum pause after each write.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause as a multiple of the write's duration, in case the database is slow: strangers decide how much there is to
/// share, and must not block other writers.
const PAUSES: u32 = 5;
/// The maximum number of addresses per write.
const ADDRESSES: usize = 100;

/// Runs forever; stop it by dropping the future.
pub(super) async fn share(failures: FailureLimit, registry: Registry, clock: Clock) {
    let mut failing = false;
    loop {
        failures.unshared().await;
        let unshared = failures.take_unshared(ADDRESSES, clock.reading());
        if unshared.is_empty() {
            continue;
        }
        let began = Instant::now();
        match registry.apply(ShareFailures(unshared)).await {
            Ok(()) => failing = false,
            // Not repeated: if it was committed after all, it would count twice. This hub counts these failures in any
            // case.
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!("cannot share wrong credentials with the other hubs: {error}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE.max(began.elapsed() * PAUSES)).await;
    }
}
