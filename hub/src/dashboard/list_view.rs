//! How the list of a silo's records is shown: what is searched for, in which order, and which page. It is in the query of
//! the page, and of its forms, so that a form leads back to the same list.

use std::cmp::Ordering;

use silo_shared::silo::{Family, Hostname, SiloId};

use super::href::Href;
use super::paths::silo_page;
use crate::domain::time::Time;
use crate::http::request::Query;
use crate::store::StoredRecord;

/// How many records a page of the list has.
pub(super) const PAGE: usize = 100;

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SortBy {
    #[default]
    Hostname,
    V4,
    V6,
    LastSeen,
    Changed,
}

/// How a list is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListView {
    /// The text that is searched for.
    pub(super) q: String,
    /// Whether only silent records are shown.
    pub(super) silent: bool,
    pub(super) sort: SortBy,
    pub(super) is_descending: bool,
    /// From 1.
    pub(super) page: usize,
    /// The record that is edited.
    pub(super) edit: Option<Hostname>,
}

impl SortBy {
    const ALL: [Self; 5] = [
        Self::Hostname,
        Self::V4,
        Self::V6,
        Self::LastSeen,
        Self::Changed,
    ];

    /// Its name in the query.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
            Self::LastSeen => "seen",
            Self::Changed => "changed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.key() == text)
    }

    /// The order of two records; those without an address of the family come last, whatever the direction.
    pub(super) fn compare(
        self,
        (a, a_seen): (&StoredRecord, Time),
        (b, b_seen): (&StoredRecord, Time),
        is_descending: bool,
    ) -> Ordering {
        let turned = |order: Ordering| {
            if is_descending {
                order.reverse()
            } else {
                order
            }
        };
        let by_address = |family: Family| match (a.addresses.get(family), b.addresses.get(family)) {
            (Some(a), Some(b)) => turned(a.cmp(&b)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        match self {
            Self::Hostname => turned(a.hostname.cmp(&b.hostname)),
            Self::V4 => by_address(Family::V4),
            Self::V6 => by_address(Family::V6),
            // What is nearer comes first.
            Self::LastSeen => turned(b_seen.cmp(&a_seen)),
            Self::Changed => turned(b.updated_at.cmp(&a.updated_at)),
        }
    }
}

impl ListView {
    /// Of a request. What is not understood is left out.
    pub(super) fn of(query: &Query) -> Self {
        let get = |name| query.get(name).unwrap_or_default();
        Self {
            q: get("q").trim().to_owned(),
            silent: get("show") == "silent",
            sort: SortBy::parse(get("sort")).unwrap_or_default(),
            is_descending: get("order") == "desc",
            page: get("page").parse().unwrap_or(1).max(1),
            edit: Hostname::parse(get("edit")).ok(),
        }
    }

    /// The list of a silo, shown like this.
    pub(super) fn link(&self, id: &SiloId) -> Href {
        self.query_of(silo_page(id))
    }

    /// A link with this query.
    pub(super) fn query_of(&self, link: Href) -> Href {
        let page = self.page.to_string();
        link.with("q", &self.q)
            .with("show", if self.silent { "silent" } else { "" })
            .with("sort", self.sort_key())
            .with("order", self.order_key())
            .with("page", if self.page > 1 { &page } else { "" })
            .with("edit", self.edit.as_ref().map_or("", Hostname::as_str))
    }

    /// The order in the query; empty: by hostname.
    pub(super) fn sort_key(&self) -> &'static str {
        match self.sort {
            SortBy::Hostname => "",
            other => other.key(),
        }
    }

    /// The direction in the query.
    pub(super) fn order_key(&self) -> &'static str {
        if self.is_descending { "desc" } else { "" }
    }

    /// Whether some records are left out.
    pub(super) fn is_filtered(&self) -> bool {
        self.silent || !self.q.is_empty()
    }

    /// The same, on another page.
    #[must_use]
    pub(super) fn on_page(&self, page: usize) -> Self {
        Self {
            page,
            edit: None,
            ..self.clone()
        }
    }

    /// The same, sorted by a column; the other way round if it is already.
    #[must_use]
    pub(super) fn sorted_by(&self, sort: SortBy) -> Self {
        Self {
            sort,
            is_descending: self.sort == sort && !self.is_descending,
            ..self.on_page(1)
        }
    }

    /// The same, with a record to edit, or none.
    #[must_use]
    pub(super) fn editing(&self, edit: Option<Hostname>) -> Self {
        Self {
            edit,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use silo_shared::silo::Addresses;

    use super::*;
    use crate::domain::change::Attributes;

    #[test]
    fn a_view_is_the_same_after_its_link() {
        let id = SiloId::parse("office").unwrap();
        let plain = ListView {
            page: 1,
            ..ListView::default()
        };
        let full = ListView {
            q: "a&b".to_owned(),
            silent: true,
            sort: SortBy::LastSeen,
            is_descending: true,
            page: 3,
            edit: Some(Hostname::parse("db").unwrap()),
        };
        assert_eq!(plain.link(&id).to_string(), "/dashboard/silos/office");
        let link = full.link(&id).to_string();
        assert_eq!(
            link,
            "/dashboard/silos/office?q=a%26b&show=silent&sort=seen&order=desc&page=3&edit=db"
        );
        for view in [plain, full] {
            let link = view.link(&id).to_string();
            let query = link.split_once('?').map_or("", |(_, query)| query);
            assert_eq!(ListView::of(&Query::parsed(query)), view);
        }
        let odd = Query::parsed("sort=color&page=-1&edit=a%20b&order=up");
        assert_eq!(
            ListView::of(&odd).link(&id).to_string(),
            "/dashboard/silos/office"
        );
    }

    #[test]
    fn records_without_an_address_come_last() {
        let record = |hostname: &str, ips: &[&str]| StoredRecord {
            hostname: Hostname::parse(hostname).unwrap(),
            addresses: Addresses::from_iter(ips.iter().map(|ip| ip.parse().unwrap())),
            attributes: Attributes::default(),
            revision: 1.into(),
            addresses_at: 1.into(),
            updated_at: Time::from_millis(0),
            last_seen: Time::from_millis(0),
        };
        let records = [
            record("a", &["fd00::1"]),
            record("b", &["10.0.0.10"]),
            record("c", &["10.0.0.9"]),
        ];
        for (is_descending, wanted) in [(false, "cba"), (true, "bca")] {
            let mut sorted: Vec<_> = records.iter().collect();
            let zero = Time::from_millis(0);
            sorted.sort_by(|a, b| SortBy::V4.compare((a, zero), (b, zero), is_descending));
            let names: String = sorted
                .iter()
                .map(|record| record.hostname.as_str())
                .collect();
            assert_eq!(names, wanted);
        }
    }
}
