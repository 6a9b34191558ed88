//! The page of a record: its addresses over time, who changed it, and its settings.

use std::net::IpAddr;

use askama::Template;
use silo_shared::silo::{Hostname, SiloId};

use super::changes::Change;
use crate::dashboard::field_errors::FieldErrors;
use crate::dashboard::href::Href;
use crate::dashboard::layout::Chrome;
use crate::dashboard::list_view::ListView;
use crate::dashboard::paths::{below_silo, record_page, silo_page};
use crate::dashboard::silence::Tag;
use crate::dashboard::timeline::{Range, Timeline};
use crate::dashboard::when::When;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/record.html")]
pub(in crate::dashboard) struct RecordPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) id: SiloId,
    pub(in crate::dashboard) hostname: Hostname,
    /// `None`: it was removed.
    pub(in crate::dashboard) present: Option<Present>,
    pub(in crate::dashboard) range: Range,
    pub(in crate::dashboard) timeline: Timeline,
    /// How often its addresses changed in the last 30 days.
    pub(in crate::dashboard) often: String,
    pub(in crate::dashboard) changes: Vec<Change>,
    pub(in crate::dashboard) has_more: bool,
    /// `None`: the session may not change them.
    pub(in crate::dashboard) settings: Option<Settings>,
}

/// What a record holds.
#[derive(Debug)]
pub(in crate::dashboard) struct Present {
    pub(in crate::dashboard) v4: Option<IpAddr>,
    pub(in crate::dashboard) v6: Option<IpAddr>,
    pub(in crate::dashboard) comment: String,
    pub(in crate::dashboard) last_seen: When,
    pub(in crate::dashboard) changed: When,
    pub(in crate::dashboard) silence: Option<Tag>,
    /// In words.
    pub(in crate::dashboard) expires: String,
}

/// The form with the attributes.
#[derive(Debug, Default)]
pub(in crate::dashboard) struct Settings {
    pub(in crate::dashboard) comment: String,
    pub(in crate::dashboard) expires: String,
    pub(in crate::dashboard) unit: String,
    pub(in crate::dashboard) notify: String,
    pub(in crate::dashboard) tag: String,
    pub(in crate::dashboard) errors: FieldErrors,
}

impl Settings {
    /// The units of an expiry, the largest first.
    pub(in crate::dashboard) const UNITS: [(&'static str, i64); 4] = [
        ("days", 86_400),
        ("hours", 3600),
        ("minutes", 60),
        ("seconds", 1),
    ];

    const FIELDS: [&'static str; 3] = ["comment", "expires_after", "notify"];

    fn other_errors(&self) -> Vec<&str> {
        self.errors.beside(&Self::FIELDS)
    }

    /// The units, and which one is chosen.
    fn units(&self) -> [(&'static str, bool); 4] {
        Self::UNITS.map(|(name, _)| (name, name == self.unit))
    }
}

impl RecordPage {
    fn silo(&self) -> Href {
        silo_page(&self.id)
    }

    fn here(&self) -> Href {
        record_page(&self.id, &self.hostname)
    }

    /// The choices of the time that the picture covers: link, name, whether it is the present one.
    fn ranges(&self) -> [(Href, &'static str, bool); 3] {
        Range::ALL.map(|(range, name)| {
            let link = self.here().with("range", range.key());
            (link, name, range == self.range)
        })
    }

    fn history(&self) -> Href {
        below_silo(&self.id, "history").with("hostname", self.hostname.as_str())
    }

    fn edit(&self) -> String {
        let view = ListView::default().editing(Some(self.hostname.clone()));
        format!("{}#r-{}", view.link(&self.id), self.hostname)
    }

    fn settings_action(&self) -> String {
        format!("{}/settings", self.here())
    }
}
