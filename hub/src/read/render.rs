//! Renders a silo in each representation.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;
use silo_shared::silo::Hostname;

use crate::domain::precondition::silo_tag;
use crate::domain::revision::Revision;
use crate::store::StoredSilo;

/// A representation of a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The JSON document.
    Json,
    /// Lines of a hosts file.
    Hosts,
    /// A fragment of a DNS zone file (RFC 1035 section 5).
    Zone,
}

impl Format {
    /// Every representation.
    pub const ALL: [Self; 3] = [Self::Json, Self::Hosts, Self::Zone];

    /// The representation's media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Hosts | Self::Zone => "text/plain; charset=utf-8",
        }
    }

    /// The opaque part of the entity tag of this representation at a revision.
    pub fn tag(self, revision: Revision) -> String {
        let mut tag = silo_tag(revision);
        match self {
            Self::Json => {}
            Self::Hosts => tag.push_str("-hosts"),
            Self::Zone => tag.push_str("-zone"),
        }
        tag
    }
}

/// The time-to-live in zone fragments, in seconds.
const ZONE_TTL: u32 = 30;

/// Renders a silo.
pub(crate) fn render(silo: &StoredSilo, format: Format) -> Vec<u8> {
    match format {
        Format::Json => json(silo),
        Format::Hosts => lines(silo, |text, hostname, ip| writeln!(text, "{ip} {hostname}")),
        Format::Zone => lines(silo, |text, hostname, ip| {
            if !hostname.is_dns_host_name() {
                return writeln!(
                    text,
                    "; skipped, because a host name in a zone can't contain \"_\": {hostname} {ip}"
                );
            }
            // A single label is relative to the origin of the including zone; a longer name is absolute.
            let dot = if hostname.is_single_label() { "" } else { "." };
            let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
            writeln!(text, "{hostname}{dot}\t{ZONE_TTL}\tIN\t{kind}\t{ip}")
        }),
    }
}

fn lines(
    silo: &StoredSilo,
    write: impl Fn(&mut String, &Hostname, IpAddr) -> std::fmt::Result,
) -> Vec<u8> {
    let mut text = String::new();
    for (hostname, addresses) in &silo.records {
        for ip in addresses.iter() {
            write(&mut text, hostname, ip).expect("writing to a String never fails");
        }
    }
    text.into_bytes()
}

fn json(silo: &StoredSilo) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        id: &'a str,
        dnsrecords: Vec<Row<'a>>,
        revision: Revision,
        updated_at: crate::domain::time::Time,
    }

    #[derive(Serialize)]
    struct Row<'a> {
        hostname: &'a str,
        ip: IpAddr,
    }

    let dnsrecords = silo
        .records
        .iter()
        .flat_map(|(hostname, addresses)| {
            addresses.iter().map(|ip| Row {
                hostname: hostname.as_str(),
                ip,
            })
        })
        .collect();
    let document = Document {
        id: silo.id.as_str(),
        dnsrecords,
        revision: silo.revision,
        updated_at: silo.updated_at,
    };
    serde_json::to_vec(&document).expect("a document of texts and numbers is valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Time;
    use silo_shared::silo::{Records, SiloId};

    #[test]
    fn each_representation_is_exact() {
        let silo = StoredSilo {
            id: SiloId::parse("office").unwrap(),
            revision: 41.into(),
            updated_at: Time::from_millis(1_767_323_045_678),
            records: Records::from([
                (
                    Hostname::parse("db").unwrap(),
                    ["10.0.0.5", "fd00::5"]
                        .map(|ip| ip.parse().unwrap())
                        .into_iter()
                        .collect(),
                ),
                (
                    Hostname::parse("my_pc").unwrap(),
                    [IpAddr::from([10, 0, 0, 6])].into_iter().collect(),
                ),
                (
                    Hostname::parse("nas.home.arpa").unwrap(),
                    [IpAddr::from([10, 0, 0, 7])].into_iter().collect(),
                ),
            ]),
        };
        let text = |format| String::from_utf8(render(&silo, format)).unwrap();
        assert_eq!(
            text(Format::Json),
            r#"{"id":"office","dnsrecords":[{"hostname":"db","ip":"10.0.0.5"},{"hostname":"db","ip":"fd00::5"},{"hostname":"my_pc","ip":"10.0.0.6"},{"hostname":"nas.home.arpa","ip":"10.0.0.7"}],"revision":41,"updated_at":"2026-01-02T03:04:05.678Z"}"#
        );
        assert_eq!(
            text(Format::Hosts),
            "10.0.0.5 db\nfd00::5 db\n10.0.0.6 my_pc\n10.0.0.7 nas.home.arpa\n"
        );
        assert_eq!(
            text(Format::Zone),
            "db\t30\tIN\tA\t10.0.0.5\ndb\t30\tIN\tAAAA\tfd00::5\n; skipped, because a host name in a zone can't contain \"_\": my_pc 10.0.0.6\nnas.home.arpa.\t30\tIN\tA\t10.0.0.7\n"
        );
        assert_eq!(
            Format::ALL.map(|format| format.tag(41.into())),
            ["41", "41-hosts", "41-zone"]
        );
    }
}
