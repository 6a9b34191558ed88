//! The page that asks whether to delete a silo.

use askama::Template;
use silo_shared::silo::SiloId;

use crate::dashboard::href::Href;
use crate::dashboard::layout::Chrome;
use crate::dashboard::numbers::counted;
use crate::dashboard::paths::{below_silo, silo_page};
use crate::domain::revision::Revision;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/delete.html")]
pub(in crate::dashboard) struct DeletePage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) id: SiloId,
    pub(in crate::dashboard) records: usize,
    /// What the question is about.
    pub(in crate::dashboard) revision: Revision,
}

impl DeletePage {
    fn action(&self) -> Href {
        below_silo(&self.id, "delete")
    }

    fn back(&self) -> Href {
        silo_page(&self.id)
    }

    fn content(&self) -> String {
        counted(self.records, "record", "records")
    }
}
