//! What a page needs so that its script keeps it up to date (`assets/dashboard.js`): elements with `data-live` and an
//! id are replaced when a silo that they name changes.

use super::layout::{Chrome, Live};
use crate::http::Hub;

impl Chrome {
    /// The same page, kept up to date by its script. Call it before the data of the page is read.
    #[must_use]
    pub(super) fn live(self, hub: &Hub) -> Self {
        let path = self.look.path.clone();
        self.live_at(hub, path)
    }

    /// The same for the answer to a form, whose page is at another path.
    #[must_use]
    pub(super) fn live_at(mut self, hub: &Hub, path: String) -> Self {
        self.look.live = Some(Live {
            revision: hub.bus.current(),
            now: hub.clock.now(),
            path,
        });
        self
    }
}
