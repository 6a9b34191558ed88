//! The history of a silo: who changed what, when and by what way.

use std::net::IpAddr;

use askama::Template;
use silo_shared::silo::{Hostname, SiloId};

use crate::dashboard::href::Href;
use crate::dashboard::layout::Chrome;
use crate::dashboard::paths::{below_silo, record_page, silo_page};
use crate::dashboard::when::When;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/history.html")]
pub(in crate::dashboard) struct HistoryPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) id: SiloId,
    /// What was typed into the filter.
    pub(in crate::dashboard) hostname: String,
    pub(in crate::dashboard) hostname_error: Option<String>,
    pub(in crate::dashboard) token: String,
    /// Whether tokens and addresses of clients are shown.
    pub(in crate::dashboard) is_admin: bool,
    pub(in crate::dashboard) may_revert: bool,
    pub(in crate::dashboard) rows: Vec<Change>,
    /// Where the next page begins.
    pub(in crate::dashboard) next: Option<String>,
    pub(in crate::dashboard) is_first: bool,
}

/// A change of one address.
#[derive(Debug)]
pub(in crate::dashboard) struct Change {
    pub(in crate::dashboard) at: When,
    pub(in crate::dashboard) revision: String,
    pub(in crate::dashboard) hostname: Hostname,
    /// 4 or 6.
    pub(in crate::dashboard) family: i64,
    pub(in crate::dashboard) old: Option<IpAddr>,
    pub(in crate::dashboard) new: Option<IpAddr>,
    pub(in crate::dashboard) way: String,
    /// For admins.
    pub(in crate::dashboard) token: Option<String>,
    /// For admins.
    pub(in crate::dashboard) client_ip: Option<IpAddr>,
    /// Whether it is the last row of its revision, which leads to the preview.
    pub(in crate::dashboard) ends_revision: bool,
}

impl HistoryPage {
    fn silo(&self) -> Href {
        silo_page(&self.id)
    }

    fn here(&self) -> Href {
        below_silo(&self.id, "history")
    }

    fn record(&self, hostname: &Hostname) -> Href {
        record_page(&self.id, hostname)
    }

    fn revert(&self, row: &Change) -> Href {
        below_silo(&self.id, "revert").with("revision", &row.revision)
    }

    fn is_filtered(&self) -> bool {
        !self.hostname.is_empty() || !self.token.is_empty()
    }

    fn first_page(&self) -> Href {
        let first = self.here().with("hostname", &self.hostname);
        first.with("token", &self.token)
    }

    fn next_page(&self) -> Option<Href> {
        let next = self.next.as_deref()?;
        Some(self.first_page().with("cursor", next))
    }
}
