//! The first page: the silos that the session may read, and a search over all of their records.

use std::net::IpAddr;

use askama::Template;
use silo_shared::silo::{Hostname, SiloId};

use crate::dashboard::field_errors::FieldErrors;
use crate::dashboard::href::{Href, href};
use crate::dashboard::layout::Chrome;
use crate::dashboard::numbers::grouped;
use crate::dashboard::paths::{record_page, silo_page};
use crate::dashboard::when::When;
use crate::http::status::Finding;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/home.html")]
pub(in crate::dashboard) struct HomePage {
    pub(in crate::dashboard) chrome: Chrome,
    /// What needs a hand.
    pub(in crate::dashboard) needs: Vec<Finding>,
    /// The text that is searched for.
    pub(in crate::dashboard) q: String,
    /// What is found; `None`: nothing is searched for.
    pub(in crate::dashboard) results: Option<Results>,
    pub(in crate::dashboard) silos: Vec<SiloRow>,
    /// Where the next page begins.
    pub(in crate::dashboard) next: Option<SiloId>,
    pub(in crate::dashboard) is_first: bool,
    /// `None`: the session may make none.
    pub(in crate::dashboard) new_silo: Option<NewSilo>,
    pub(in crate::dashboard) steps: Option<Steps>,
}

/// A silo.
#[derive(Debug)]
pub(in crate::dashboard) struct SiloRow {
    pub(in crate::dashboard) id: SiloId,
    pub(in crate::dashboard) revision: String,
    pub(in crate::dashboard) records: i64,
    pub(in crate::dashboard) changed: When,
    pub(in crate::dashboard) agents: Agents,
}

/// How many agents of a silo say what they have applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dashboard) struct Agents {
    pub(in crate::dashboard) all: usize,
    pub(in crate::dashboard) current: usize,
}

/// The records that a search has found.
#[derive(Debug)]
pub(in crate::dashboard) struct Results {
    pub(in crate::dashboard) rows: Vec<FoundRow>,
    /// Where the next page begins.
    pub(in crate::dashboard) next: Option<String>,
}

/// A record that was found.
#[derive(Debug)]
pub(in crate::dashboard) struct FoundRow {
    pub(in crate::dashboard) silo: SiloId,
    pub(in crate::dashboard) hostname: Hostname,
    pub(in crate::dashboard) addresses: Vec<IpAddr>,
    pub(in crate::dashboard) comment: String,
}

/// The form that makes a silo.
#[derive(Debug, Default)]
pub(in crate::dashboard) struct NewSilo {
    pub(in crate::dashboard) id: String,
    pub(in crate::dashboard) errors: FieldErrors,
    /// Whether it is shown without a click.
    pub(in crate::dashboard) is_open: bool,
}

/// The way to the first name, until an agent has called.
#[derive(Debug)]
pub(in crate::dashboard) struct Steps {
    /// Where the hub is called.
    pub(in crate::dashboard) hub: String,
    /// The silo that is there, if any.
    pub(in crate::dashboard) silo: Option<SiloId>,
    pub(in crate::dashboard) has_record: bool,
    /// Whether the session may make tokens.
    pub(in crate::dashboard) makes_tokens: bool,
}

impl HomePage {
    fn next_page(&self) -> Option<Href> {
        let next = self.next.as_ref()?;
        Some(href("/dashboard/").with("after", next.as_str()))
    }
}

impl SiloRow {
    fn page(&self) -> Href {
        silo_page(&self.id)
    }
}

impl Agents {
    /// Whether each has applied the newest revision.
    fn are_current(self) -> bool {
        self.current == self.all
    }
}

impl FoundRow {
    fn page(&self) -> Href {
        record_page(&self.silo, &self.hostname)
    }

    fn silo_page(&self) -> Href {
        silo_page(&self.silo)
    }
}

impl Results {
    fn next_page(&self, q: &str) -> Option<Href> {
        let next = self.next.as_deref()?;
        Some(href("/dashboard/").with("q", q).with("after", next))
    }
}

impl Steps {
    /// The silo of the commands.
    fn name(&self) -> &str {
        self.silo.as_ref().map_or("home", SiloId::as_str)
    }
}

#[cfg(test)]
#[path = "home_tests.rs"]
mod tests;
