//! Long names: a silo's single-label names once more, under a suffix of the configuration (`db` also as `db.lan`).
//! Pure; `policy` accepts them, `hosts` and `own` write them.

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;
use serde::Deserialize;
use silo_shared::silo::{Hostname, InvalidHostname, Records};

use crate::change::NameChange;

/// The suffix of long names, and where they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suffix {
    /// The suffix, without a leading dot.
    pub(crate) domain: Hostname,
    /// The order of the two lines.
    pub(crate) order: SuffixOrder,
}

/// Whether the line of a long name is before or after that of the short one. Reverse lookups in a hosts file answer the
/// first name of the first line that has the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SuffixOrder {
    /// The short name is first.
    #[default]
    After,
    /// The long name is first.
    Before,
}

impl Suffix {
    /// The long name of a single-label name; fails if it would be too long.
    pub(crate) fn long_of(&self, short: &Hostname) -> Result<Hostname, InvalidHostname> {
        Hostname::parse(&format!("{short}{self}"))
    }

    /// The single-label name of which `name` is the long name.
    fn short_of(&self, name: &Hostname) -> Option<Hostname> {
        let short = name.as_str().strip_suffix(self.domain.as_str())?;
        let short = Hostname::parse(short.strip_suffix('.')?).ok()?;
        short.is_single_label().then_some(short)
    }

    /// Whether `name` is the long name of another name in `records`.
    pub(crate) fn is_long_name_in(&self, name: &Hostname, records: &Records) -> bool {
        self.short_of(name)
            .is_some_and(|short| records.contains_key(&short))
    }

    /// The changes without those of long names that happen to the short name as well.
    pub(crate) fn without_repeated(&self, changes: Vec<NameChange>) -> Vec<NameChange> {
        let is_repeated = |change: &NameChange| {
            self.short_of(change.name())
                .is_some_and(|short| changes.contains(&change.of(short)))
        };
        let repeated: Vec<bool> = changes.iter().map(is_repeated).collect();
        let mut repeated = repeated.into_iter();
        let mut kept = changes;
        kept.retain(|_| !repeated.next().unwrap_or(false));
        kept
    }
}

/// With the dot that separates it from a name.
impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}", self.domain)
    }
}

/// One line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The address.
    pub(crate) ip: IpAddr,
    /// The only name of the line.
    pub(crate) name: &'a Hostname,
}

/// The lines of a silo, by hostname. A long name with the same addresses as its short name is beside it.
pub(crate) fn lines<'a>(records: &'a Records, suffix: Option<&Suffix>) -> Vec<Line<'a>> {
    let pair_of = |name: &Hostname| {
        let long = suffix?.long_of(name).ok()?;
        let (long, addresses) = records.get_key_value(&long)?;
        (name.is_single_label() && records.get(name) == Some(addresses)).then_some(long)
    };
    let is_beside_short = |name: &Hostname| {
        let short = suffix.and_then(|suffix| suffix.short_of(name));
        short.is_some_and(|short| pair_of(&short) == Some(name))
    };
    let mut lines = Vec::new();
    for (name, addresses) in records {
        if is_beside_short(name) {
            continue;
        }
        let order = suffix.map(|suffix| suffix.order).unwrap_or_default();
        let names = match (pair_of(name), order) {
            (None, _) => vec![name],
            (Some(long), SuffixOrder::After) => vec![name, long],
            (Some(long), SuffixOrder::Before) => vec![long, name],
        };
        for ip in addresses.iter() {
            lines.extend(names.iter().map(|name| Line { ip, name }));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use silo_shared::silo::parse_address;

    fn suffix(order: SuffixOrder) -> Suffix {
        let domain = Hostname::parse("lan").unwrap();
        Suffix { domain, order }
    }

    fn records(lines: &[&str]) -> Records {
        let mut records = Records::new();
        for line in lines {
            let (ip, name) = line.split_once(' ').unwrap();
            let name = Hostname::parse(name).unwrap();
            records
                .entry(name)
                .or_default()
                .set(parse_address(ip).unwrap());
        }
        records
    }

    #[test]
    fn a_long_name_is_beside_its_short_name_in_the_configured_order() {
        type Case = (
            &'static [&'static str],
            &'static [&'static str],
            &'static [&'static str],
        );
        let cases: [Case; 5] = [
            // Another name sorts between them.
            (
                &["10.0.0.5 db", "10.0.0.6 db-2", "10.0.0.5 db.lan"],
                &["10.0.0.5 db", "10.0.0.5 db.lan", "10.0.0.6 db-2"],
                &["10.0.0.5 db.lan", "10.0.0.5 db", "10.0.0.6 db-2"],
            ),
            // Both families.
            (
                &[
                    "10.0.0.5 db",
                    "fd00::5 db",
                    "10.0.0.5 db.lan",
                    "fd00::5 db.lan",
                ],
                &[
                    "10.0.0.5 db",
                    "10.0.0.5 db.lan",
                    "fd00::5 db",
                    "fd00::5 db.lan",
                ],
                &[
                    "10.0.0.5 db.lan",
                    "10.0.0.5 db",
                    "fd00::5 db.lan",
                    "fd00::5 db",
                ],
            ),
            // The silo's own long name, with another address, is a name like others.
            (
                &["10.0.0.5 db", "10.0.0.9 db.lan"],
                &["10.0.0.5 db", "10.0.0.9 db.lan"],
                &["10.0.0.5 db", "10.0.0.9 db.lan"],
            ),
            // Only single labels have a long name.
            (
                &["10.0.0.5 a.b", "10.0.0.5 a.b.lan"],
                &["10.0.0.5 a.b", "10.0.0.5 a.b.lan"],
                &["10.0.0.5 a.b", "10.0.0.5 a.b.lan"],
            ),
            (
                &["10.0.0.5 db.lan"],
                &["10.0.0.5 db.lan"],
                &["10.0.0.5 db.lan"],
            ),
        ];
        for (given, after, before) in cases {
            let records = records(given);
            for (order, expected) in [(SuffixOrder::After, after), (SuffixOrder::Before, before)] {
                let suffix = suffix(order);
                let lines: Vec<String> = lines(&records, Some(&suffix))
                    .iter()
                    .map(|line| format!("{} {}", line.ip, line.name))
                    .collect();
                assert_eq!(lines, expected, "{given:?} {order:?}");
            }
        }
    }

    #[test]
    fn only_changes_of_long_names_that_the_short_name_has_too_are_left_out() {
        let name = |text| Hostname::parse(text).unwrap();
        let moved =
            |text, new: &str| NameChange::Moved(name(text), "10.0.0.5".to_owned(), new.to_owned());
        let changes = vec![
            moved("db", "10.0.0.6"),
            moved("db.lan", "10.0.0.6"),
            moved("nas", "10.0.0.6"),
            moved("nas.lan", "10.0.0.7"),
            NameChange::Removed(name("tv"), "10.0.0.5".to_owned()),
            NameChange::Removed(name("tv.lan"), "10.0.0.5".to_owned()),
            NameChange::Removed(name("old.lan"), "10.0.0.5".to_owned()),
        ];
        let kept = suffix(SuffixOrder::After).without_repeated(changes);
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        assert_eq!(
            kept,
            [
                "db 10.0.0.5 → 10.0.0.6",
                "nas 10.0.0.5 → 10.0.0.6",
                "nas.lan 10.0.0.5 → 10.0.0.7",
                "tv removed",
                "old.lan removed",
            ]
        );
    }
}
