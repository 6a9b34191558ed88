//! What a write tells the main loop of `watch` before it ends, and how the main loop shortens it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use silo_shared::silo::SiloId;
use tokio::sync::Notify;

/// Shared by the thread that writes and the main loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    hurried: Condvar,
    in_place: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The entity tags of the silos in the file that is put in place.
    applied: BTreeMap<SiloId, String>,
    is_hurried: bool,
}

impl Progress {
    /// A file with these silos is about to be put in place.
    pub(crate) fn about_to_apply(&self, applied: BTreeMap<SiloId, String>) {
        self.state().applied = applied;
    }

    /// The file is in place; what follows is a check.
    pub(crate) fn is_in_place(&self) {
        self.0.in_place.notify_one();
    }

    /// Waits until a file is in place; returns the entity tags of its silos. Cancel-safe.
    pub(crate) async fn in_place(&self) -> BTreeMap<SiloId, String> {
        self.0.in_place.notified().await;
        self.state().applied.clone()
    }

    /// Ends the present pause, and skips the further ones: there is something newer to write.
    pub(crate) fn hurry(&self) {
        self.state().is_hurried = true;
        self.0.hurried.notify_all();
    }

    /// Blocks this thread for this long, or until it is hurried.
    pub(crate) fn pause(&self, pause: Duration) {
        let waiting = |state: &mut State| !state.is_hurried;
        // A panic of the other thread ends the pause early.
        drop(
            self.0
                .hurried
                .wait_timeout_while(self.state(), pause, waiting),
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_main_loop_hears_what_is_in_place_and_ends_the_pause() {
        let progress = Progress::default();
        let of_thread = progress.clone();
        let writing = std::thread::spawn(move || {
            let office = SiloId::parse("office").unwrap();
            of_thread.about_to_apply(BTreeMap::from([(office, "\"7\"".to_owned())]));
            of_thread.is_in_place();
            // The test would not end.
            of_thread.pause(Duration::MAX);
        });
        let applied = progress.in_place().await;
        assert_eq!(applied.into_values().collect::<Vec<_>>(), ["\"7\""]);
        progress.hurry();
        writing.join().unwrap();
        // Also a pause that begins later.
        progress.pause(Duration::MAX);
    }
}
