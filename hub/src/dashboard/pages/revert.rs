//! The preview of a return to an earlier revision.

use askama::Template;
use silo_shared::silo::{Addresses, Family, Hostname, SiloId};

use crate::dashboard::href::Href;
use crate::dashboard::layout::Chrome;
use crate::dashboard::paths::{below_silo, silo_page};
use crate::dashboard::when::When;
use crate::domain::revision::Revision;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/revert.html")]
pub(in crate::dashboard) struct RevertPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) id: SiloId,
    pub(in crate::dashboard) revision: Revision,
    /// When the silo was at that revision.
    pub(in crate::dashboard) at: Option<When>,
    pub(in crate::dashboard) preview: Preview,
    /// Why it was not done.
    pub(in crate::dashboard) refused: Option<String>,
}

/// What would change.
#[derive(Debug)]
pub(in crate::dashboard) enum Preview {
    /// These records, of so many.
    Known {
        /// The revision that the silo has.
        present: Revision,
        rows: Vec<Difference>,
        /// How many records would change in all, in words.
        all: String,
        /// Whether only the first ones are shown.
        is_cut: bool,
    },
    /// It can't be done: why.
    Unknown(String),
}

/// A record that would change.
#[derive(Debug)]
pub(in crate::dashboard) struct Difference {
    pub(in crate::dashboard) hostname: Hostname,
    pub(in crate::dashboard) before: Addresses,
    pub(in crate::dashboard) after: Addresses,
}

impl RevertPage {
    fn action(&self) -> Href {
        below_silo(&self.id, "revert")
    }

    fn history(&self) -> Href {
        below_silo(&self.id, "history")
    }

    fn silo(&self) -> Href {
        silo_page(&self.id)
    }
}

impl Difference {
    /// In a word.
    fn kind(&self) -> &'static str {
        match (self.before.is_empty(), self.after.is_empty()) {
            (true, _) => "comes back",
            (_, true) => "is removed",
            (false, false) => "changes",
        }
    }

    /// The addresses that go.
    fn gone(&self) -> Vec<String> {
        self.only_in(&self.before, &self.after)
    }

    /// The addresses that come.
    fn added(&self) -> Vec<String> {
        self.only_in(&self.after, &self.before)
    }

    fn only_in(&self, these: &Addresses, others: &Addresses) -> Vec<String> {
        let differs = |family: &Family| these.get(*family) != others.get(*family);
        let families = [Family::V4, Family::V6].into_iter().filter(differs);
        families
            .filter_map(|family| these.get(family))
            .map(|ip| ip.to_string())
            .collect()
    }
}
