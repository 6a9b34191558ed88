//! The page of a silo: its records, with the forms that add, edit and delete them, and the last change with its undo.

use std::net::IpAddr;

use askama::Template;
use silo_shared::silo::{Hostname, SiloId};

use crate::dashboard::field_errors::FieldErrors;
use crate::dashboard::href::Href;
use crate::dashboard::layout::Chrome;
use crate::dashboard::list_view::{ListView, PAGE, SortBy};
use crate::dashboard::numbers::{counted, grouped};
use crate::dashboard::paths::{below_silo, record_page, silo_page};
use crate::dashboard::silence::Tag;
use crate::dashboard::when::When;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/silo.html")]
pub(in crate::dashboard) struct SiloPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) id: SiloId,
    pub(in crate::dashboard) view: ListView,
    /// How many records the silo has.
    pub(in crate::dashboard) all: usize,
    /// How many of them the filter takes.
    pub(in crate::dashboard) found: usize,
    pub(in crate::dashboard) rows: Vec<Row>,
    pub(in crate::dashboard) last_change: Option<LastChange>,
    pub(in crate::dashboard) rights: Rights,
    pub(in crate::dashboard) add: RecordForm,
    /// Why the last change could not be taken back.
    pub(in crate::dashboard) undo_refused: Option<&'static str>,
}

/// What the session may do in the silo.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::dashboard) struct Rights {
    /// Write some records.
    pub(in crate::dashboard) writes: bool,
    /// Replace all of it.
    pub(in crate::dashboard) replaces: bool,
    /// Make tokens for machines.
    pub(in crate::dashboard) is_admin: bool,
}

/// A record.
#[derive(Debug)]
pub(in crate::dashboard) struct Row {
    pub(in crate::dashboard) hostname: Hostname,
    pub(in crate::dashboard) v4: Option<IpAddr>,
    pub(in crate::dashboard) v6: Option<IpAddr>,
    pub(in crate::dashboard) comment: String,
    pub(in crate::dashboard) last_seen: When,
    pub(in crate::dashboard) changed: When,
    pub(in crate::dashboard) silence: Option<Tag>,
    /// Its entity tag.
    pub(in crate::dashboard) tag: String,
    pub(in crate::dashboard) may_edit: bool,
    /// The form in its place.
    pub(in crate::dashboard) form: Option<RecordForm>,
}

/// A form with a record.
#[derive(Clone, Debug, Default)]
pub(in crate::dashboard) struct RecordForm {
    pub(in crate::dashboard) hostname: String,
    pub(in crate::dashboard) ip4: String,
    pub(in crate::dashboard) ip6: String,
    pub(in crate::dashboard) comment: String,
    /// The entity tag of the record that it was made for.
    pub(in crate::dashboard) tag: String,
    pub(in crate::dashboard) errors: FieldErrors,
}

/// The newest rows of the history.
#[derive(Debug)]
pub(in crate::dashboard) struct LastChange {
    pub(in crate::dashboard) at: When,
    pub(in crate::dashboard) revision: String,
    pub(in crate::dashboard) hostname: Hostname,
    pub(in crate::dashboard) old: Option<IpAddr>,
    pub(in crate::dashboard) new: Option<IpAddr>,
    /// Whether other addresses changed with it.
    pub(in crate::dashboard) has_more: bool,
    pub(in crate::dashboard) by: String,
    /// Whether it is the state of the silo, and may be taken back.
    pub(in crate::dashboard) is_undoable: bool,
}

impl RecordForm {
    const FIELDS: [&'static str; 4] = ["hostname", "ip4", "ip6", "comment"];

    /// What is wrong with none of its fields.
    fn other_errors(&self) -> Vec<&str> {
        self.errors.beside(&Self::FIELDS)
    }
}

impl SiloPage {
    fn columns(&self) -> [(SortBy, &'static str); 5] {
        [
            (SortBy::Hostname, "Hostname"),
            (SortBy::V4, "IPv4"),
            (SortBy::V6, "IPv6"),
            (SortBy::LastSeen, "Last seen"),
            (SortBy::Changed, "Changed"),
        ]
    }

    fn sorted_by(&self, sort: SortBy) -> Href {
        self.view.sorted_by(sort).link(&self.id)
    }

    /// `ascending`, `descending`, or empty: the list is sorted by something else.
    fn direction(&self, sort: SortBy) -> &'static str {
        match (self.view.sort == sort, self.view.is_descending) {
            (false, _) => "",
            (true, false) => "ascending",
            (true, true) => "descending",
        }
    }

    /// The silo, with the same list.
    fn here(&self) -> Href {
        self.view.editing(None).link(&self.id)
    }

    fn add_action(&self) -> Href {
        self.here()
    }

    fn edit(&self, row: &Row) -> String {
        let view = self.view.editing(Some(row.hostname.clone()));
        format!("{}#r-{}", view.link(&self.id), row.hostname)
    }

    fn save_action(&self, row: &Row) -> Href {
        let record = record_page(&self.id, &row.hostname);
        self.view.editing(None).query_of(record)
    }

    fn delete_action(&self, row: &Row) -> Href {
        let path = format!("{}/delete", record_page(&self.id, &row.hostname));
        self.view
            .editing(None)
            .query_of(crate::dashboard::href::href(&path))
    }

    fn record(&self, hostname: &Hostname) -> Href {
        record_page(&self.id, hostname)
    }

    fn below(&self, name: &str) -> Href {
        below_silo(&self.id, name)
    }

    fn undo_action(&self) -> Href {
        self.view.editing(None).query_of(self.below("undo"))
    }

    fn without_filter(&self) -> Href {
        silo_page(&self.id)
    }

    /// Such as `1–100 of 250 records`.
    fn extent(&self) -> String {
        let of = if self.view.is_filtered() {
            format!(
                "{} of {}",
                grouped(self.found as u64),
                counted(self.all, "record", "records")
            )
        } else {
            counted(self.found, "record", "records")
        };
        if self.found <= PAGE {
            return of;
        }
        let first = (self.view.page - 1) * PAGE + 1;
        let last = first + self.rows.len() - 1;
        format!("{}–{} of {of}", grouped(first as u64), grouped(last as u64))
    }

    fn previous(&self) -> Option<Href> {
        let page = self.view.page - 1;
        (page > 0).then(|| self.view.on_page(page).link(&self.id))
    }

    fn next(&self) -> Option<Href> {
        let has_next = self.view.page * PAGE < self.found;
        has_next.then(|| self.view.on_page(self.view.page + 1).link(&self.id))
    }
}

#[cfg(test)]
#[path = "silo_tests.rs"]
mod tests;
