//! Merges pending deliveries of a state sink written by version 0.1.0: it wrote one delivery per
//! change, with all its hostnames, where this version keeps one open delivery per hostname. After
//! start all pending deliveries are checked, later only new ones, since a hub of 0.1.0 may share
//! the database during an upgrade.

use std::sync::atomic::Ordering;

use super::worker::{RoundError, Worker};
use crate::registry::{MERGED_TOGETHER, MergeDeliveries};

impl Worker {
    /// Checks the next deliveries and merges some; false: there are no more. Each transaction
    /// handles a few rows, so that other writers are not blocked for long.
    pub(super) async fn merge_some(&self) -> Result<bool, RoundError> {
        let (store, registry) = (&self.context.store, &self.context.registry);
        let after = self.merged.load(Ordering::Acquire);
        let Some(page) = store.pending_page(&self.sink.name, after).await? else {
            return Ok(false);
        };
        if page.unmerged.is_empty() {
            self.merged.store(page.last, Ordering::Release);
            return Ok(true);
        }
        for names in page.unmerged.chunks(MERGED_TOGETHER) {
            let command = || MergeDeliveries {
                sink: self.sink.name.clone(),
                names: names.to_vec(),
            };
            while registry.apply(command()).await? {
                if self.context.bus.is_stopping() {
                    return Ok(false);
                }
            }
        }
        // Reads the same page again: merged deliveries are no longer in it.
        Ok(true)
    }
}
