//! Parses the output of `plesk bin dns --info ZONE`.
//!
//! One record per line: the name with its trailing dot, the type and the value, without a TTL:
//! `db.example.com. A 10.0.0.5`, `example.com. MX 10 mail.example.com.`; several blanks may
//! separate type and value. Empty lines and messages such as `SUCCESS: Getting information for
//! Domain '…' completed` surround them. The commands are those of Plesk's reference (command line
//! for Linux, "dns: DNS Zones on Domains"); the line format is the one that published scripts
//! expect and quote. To be safe, a TTL, a class, and a name without trailing dot or relative to the
//! zone are accepted too; other lines are skipped.

use std::collections::HashMap;
use std::net::IpAddr;

use silo_shared::silo::{Family, Hostname};

use super::super::job::printable;
use super::super::zone_name::ZoneName;

/// The types that identify a line as a record; a name with one of them exists at Plesk.
const TYPES: [&str; 22] = [
    "A", "AAAA", "AFSDB", "CAA", "CNAME", "DNAME", "DNSKEY", "DS", "HINFO", "HTTPS", "MX", "NAPTR",
    "NS", "PTR", "RP", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA", "TXT",
];

/// The records of one zone, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing(HashMap<String, Shown>);

/// The records of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// The addresses.
    pub(super) addresses: Vec<ShownAddress>,
    /// Whether it is a CNAME, which excludes addresses.
    pub(super) is_alias: bool,
    /// An address line that could not be parsed.
    pub(super) unreadable: Option<String>,
}

/// An address, and its notation at Plesk, which `--del` requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownAddress {
    /// The address.
    pub(super) ip: IpAddr,
    /// As printed.
    pub(super) text: String,
}

impl Listing {
    /// Parses the output for a zone.
    pub(super) fn parse(zone: &Hostname, printed: &str) -> Self {
        let mut names: HashMap<String, Shown> = HashMap::new();
        for line in printed.lines() {
            let Some((name, kind, value)) = record(line) else {
                continue;
            };
            let shown = names.entry(whole_name(name, zone)).or_default();
            match kind.as_str() {
                "A" => shown.add(address(Family::V4, &value), line),
                "AAAA" => shown.add(address(Family::V6, &value), line),
                "CNAME" => shown.is_alias = true,
                _ => {}
            }
        }
        Self(names)
    }

    /// The records of a name; `None`: Plesk does not have the name.
    pub(super) fn at(&self, zone_name: &ZoneName) -> Option<&Shown> {
        self.0.get(zone_name.name().as_str())
    }
}

impl Shown {
    fn add(&mut self, address: Option<ShownAddress>, line: &str) {
        match address {
            Some(address) => self.addresses.push(address),
            None => self.unreadable = Some(printable(line)),
        }
    }

    /// Whether the name has an address.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.ip == ip)
    }
}

/// Name, type and value of a line, if it is a record.
fn record(line: &str) -> Option<(&str, String, Vec<&str>)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let mut rest = words.skip_while(|word| {
        word.eq_ignore_ascii_case("IN") || word.bytes().all(|byte| byte.is_ascii_digit())
    });
    let kind = rest.next()?.to_ascii_uppercase();
    TYPES
        .contains(&kind.as_str())
        .then(|| (name, kind, rest.collect()))
}

fn whole_name(name: &str, zone: &Hostname) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None if lower == "@" || lower == zone.as_str() => zone.to_string(),
        None if lower.ends_with(&format!(".{zone}")) => lower,
        None => format!("{lower}.{zone}"),
    }
}

fn address(family: Family, value: &[&str]) -> Option<ShownAddress> {
    let [text] = value else {
        return None;
    };
    let ip: IpAddr = text.parse().ok()?;
    (Family::of(ip) == family).then(|| ShownAddress {
        ip,
        text: (*text).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone_name(label: &str) -> ZoneName {
        ZoneName::parse("example.com", label).unwrap()
    }

    fn parse(printed: &str) -> Listing {
        Listing::parse(zone_name("").zone(), printed)
    }

    fn texts(listing: &Listing, label: &str) -> Option<Vec<String>> {
        let addresses = &listing.at(&zone_name(label))?.addresses;
        Some(addresses.iter().map(|shown| shown.text.clone()).collect())
    }

    #[test]
    fn a_zone_as_plesk_prints_it() {
        let listing = parse(
            "example.com. NS ns1.example.com.\nexample.com. A  10.0.0.1\nexample.com. MX 10 mail.example.com.\n\
             db.example.com. A 10.0.0.5\ndb.example.com. AAAA 2001:0db8::5\nwww.example.com. CNAME example.com.\n\
             _dmarc.example.com. TXT v=DMARC1; p=none A 10.9.9.9\n\n\
             SUCCESS: Getting information for Domain 'example.com' completed\n",
        );
        assert_eq!(texts(&listing, ""), Some(vec!["10.0.0.1".to_owned()]));
        assert_eq!(
            texts(&listing, "db"),
            Some(vec!["10.0.0.5".to_owned(), "2001:0db8::5".to_owned()])
        );
        let db = listing.at(&zone_name("db")).unwrap();
        assert!(db.has("2001:db8::5".parse().unwrap()) && !db.is_alias);
        assert!(listing.at(&zone_name("www")).unwrap().is_alias);
        assert_eq!(texts(&listing, "_dmarc"), Some(Vec::new()));
        assert_eq!(listing.at(&zone_name("web")), None);
        assert_eq!(listing.0.len(), 4);
    }

    #[test]
    fn other_ways_to_write_a_record_are_read() {
        for line in [
            "db.example.com. A 10.0.0.5",
            "DB.Example.COM. a 10.0.0.5",
            "db.example.com A 10.0.0.5",
            "db A 10.0.0.5",
            "db.example.com. 3600 A 10.0.0.5",
            "db.example.com. IN A 10.0.0.5",
            "\tdb.example.com.\t300\tIN\tA\t10.0.0.5\r",
        ] {
            let found = texts(&parse(line), "db");
            assert_eq!(found, Some(vec!["10.0.0.5".to_owned()]), "{line:?}");
        }
        assert_eq!(texts(&parse("@ A 10.0.0.5"), "").unwrap().len(), 1);
    }

    #[test]
    fn an_address_that_cannot_be_read_is_kept_in_mind() {
        for line in [
            "db.example.com. A 10.0.0",
            "db.example.com. A",
            "db.example.com. A 10.0.0.5 10.0.0.6",
            "db.example.com. AAAA 10.0.0.5",
            "db.example.com. A 2001:db8::5",
        ] {
            let listing = parse(line);
            let shown = listing.at(&zone_name("db")).unwrap();
            assert_eq!(shown.unreadable.as_deref(), Some(line));
            assert!(shown.addresses.is_empty());
        }
    }

    proptest! {
        #[test]
        fn text_of_any_kind_never_breaks_the_parser(printed in "(.|\n){0,300}") {
            parse(&printed);
        }

        #[test]
        fn every_printed_address_is_found(ips in prop::collection::vec(any::<u32>(), 1..20)) {
            let lines: Vec<String> = ips
                .iter()
                .map(|ip| format!("db.example.com. A {}", std::net::Ipv4Addr::from(*ip)))
                .collect();
            let listing = parse(&lines.join("\n"));
            let shown = listing.at(&zone_name("db")).unwrap();
            prop_assert_eq!(shown.addresses.len(), ips.len());
            prop_assert_eq!(&shown.unreadable, &None);
        }
    }
}
