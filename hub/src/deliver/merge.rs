//! Merges what version 0.1.0 owes a state sink: it wrote a delivery for each change, with all of its
//! hostnames, where this version keeps one open delivery a hostname. After start all that is owed is looked
//! through, later only what is new, since a hub of 0.1.0 may share the database during an upgrade.

use std::sync::atomic::Ordering;

use super::worker::{RoundError, Worker};
use crate::registry::{MERGED_TOGETHER, MergeDeliveries};

impl Worker {
    /// Looks through the next deliveries and merges some; false: there are no more. A few rows a
    /// transaction, so that other writers get their turn in between.
    pub(super) async fn merge_some(&self) -> Result<bool, RoundError> {
        let (store, registry) = (&self.context.store, &self.context.registry);
        let after = self.merged.load(Ordering::Acquire);
        let Some(page) = store.owed_page(&self.sink.name, after).await? else {
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
                if self.context.revision.is_stopping() {
                    return Ok(false);
                }
            }
        }
        // The same page once more: what is merged is not looked at again.
        Ok(true)
    }
}
