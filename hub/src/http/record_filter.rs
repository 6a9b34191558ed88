//! Which records a list is asked for.

use std::net::IpAddr;

use silo_shared::silo::{Family, Hostname, parse_address};
use url::form_urlencoded::Serializer;

use super::error::ApiError;
use super::request::Query;
use crate::store::StoredRecord;

/// The longest text to search for, in characters: that of the longest comment.
const MAX_TEXT: usize = 1000;

/// The parameters `q`, `hostname` and `address`; a record must match all that are there.
#[derive(Debug, Default)]
pub(crate) struct RecordFilter {
    /// In lower case.
    text: Option<String>,
    hostname: Option<Hostname>,
    address: Option<IpAddr>,
}

impl RecordFilter {
    /// The records with a text; an empty one: all.
    pub(crate) fn of_text(text: &str) -> Result<Self, ApiError> {
        if text.chars().count() > MAX_TEXT {
            let detail = format!("at most {MAX_TEXT} characters");
            return Err(ApiError::invalid("/q", detail));
        }
        Ok(Self {
            text: Some(text.to_lowercase()).filter(|text| !text.is_empty()),
            ..Self::default()
        })
    }

    /// Reads the parameters.
    pub(super) fn of(query: &Query) -> Result<Self, ApiError> {
        let of_text = Self::of_text(query.get("q").unwrap_or_default())?;
        let address = query.get("address").map(parse_address).transpose();
        Ok(Self {
            text: of_text.text,
            hostname: query.parse("hostname")?,
            address: address.map_err(|error| ApiError::invalid("/address", error))?,
        })
    }

    /// The only hostname that matches.
    pub(super) fn hostname(&self) -> Option<&Hostname> {
        self.hostname.as_ref()
    }

    /// Whether each record with the right hostname matches.
    pub(crate) fn takes_all(&self) -> bool {
        self.text.is_none() && self.address.is_none()
    }

    /// Whether a record matches.
    pub(crate) fn takes(&self, record: &StoredRecord) -> bool {
        let is_at = |ip: &IpAddr| record.addresses.get(Family::of(*ip)) == Some(*ip);
        self.hostname
            .as_ref()
            .is_none_or(|hostname| *hostname == record.hostname)
            && self.address.as_ref().is_none_or(is_at)
            && self.text.as_ref().is_none_or(|text| has(record, text))
    }

    /// The parameters again, for the next page.
    pub(super) fn next_query(&self, after: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("after", after);
        let given = [
            ("q", self.text.clone()),
            ("hostname", self.hostname.as_ref().map(ToString::to_string)),
            ("address", self.address.map(|ip| ip.to_string())),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

/// Whether the text is a part of the hostname, an address or the comment, whatever the case of letters.
fn has(record: &StoredRecord, text: &str) -> bool {
    let comment = record.attributes.comment.as_deref();
    record.hostname.as_str().contains(text)
        || record
            .addresses
            .iter()
            .any(|ip| ip.to_string().contains(text))
        || comment.is_some_and(|comment| comment.to_lowercase().contains(text))
}

#[cfg(test)]
mod tests {
    use silo_shared::silo::Addresses;

    use super::*;
    use crate::domain::change::Attributes;
    use crate::domain::time::Time;

    #[test]
    fn a_text_is_found_in_hostname_addresses_and_comment() {
        let record = StoredRecord {
            hostname: Hostname::parse("nas-1.lan").unwrap(),
            addresses: Addresses::from_iter(["10.0.0.57", "fd00::a"].map(|ip| ip.parse().unwrap())),
            attributes: Attributes {
                comment: Some("Rack 3, 100% Ümlaut".to_owned()),
                notify: Some("ops@example.org".to_owned()),
                ..Attributes::default()
            },
            revision: 1.into(),
            addresses_at: 1.into(),
            updated_at: Time::from_millis(0),
            last_seen: Time::from_millis(0),
        };
        for (text, is_found) in [
            ("nas", true),
            ("NAS-1", true),
            (".lan", true),
            ("0.0.5", true),
            ("10.0.0.57", true),
            ("fd00::A", true),
            ("rack 3", true),
            ("100%", true),
            ("%", true),
            ("_", false),
            ("Ü", true),
            ("ümlaut", true),
            ("ÜMLAUT", true),
            ("", true),
            // Not everybody may see it.
            ("ops", false),
            ("10.0.0.57 fd00", false),
            ("db", false),
        ] {
            let text = Some(text.to_lowercase()).filter(|text| !text.is_empty());
            let filter = RecordFilter {
                text,
                ..RecordFilter::default()
            };
            assert_eq!(filter.takes(&record), is_found, "{filter:?}");
        }
        for (hostname, address, is_found) in [
            (Some("nas-1.lan"), None, true),
            (Some("nas-1"), None, false),
            (None, Some("fd00::a"), true),
            (None, Some("10.0.0.5"), false),
            (Some("nas-1.lan"), Some("10.0.0.57"), true),
            (Some("db"), Some("10.0.0.57"), false),
        ] {
            let filter = RecordFilter {
                hostname: hostname.map(|name| Hostname::parse(name).unwrap()),
                address: address.map(|ip| ip.parse().unwrap()),
                text: None,
            };
            assert_eq!(filter.takes(&record), is_found, "{filter:?}");
        }
    }

    #[test]
    fn the_next_page_has_the_same_filter() {
        let filter = RecordFilter {
            text: Some("a b&c/ü".to_owned()),
            hostname: Some(Hostname::parse("db").unwrap()),
            address: Some("fd00::5".parse().unwrap()),
        };
        assert_eq!(
            filter.next_query("office/db"),
            "after=office%2Fdb&q=a+b%26c%2F%C3%BC&hostname=db&address=fd00%3A%3A5"
        );
        let none = RecordFilter::default();
        assert_eq!(
            (none.next_query("db"), none.takes_all()),
            ("after=db".to_owned(), true)
        );
    }
}
