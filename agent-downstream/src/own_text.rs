//! The text of a file of our own. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use silo_shared::silo::{Hostname, Records, SiloId, parse_address};

use crate::format::Format;
use crate::suffix::{Line, Suffix, lines};

/// The beginning of the first line, up to the format.
const HEAD: &str = "# silo-downstream keeps this file (format: ";
const NOTE: &str = "); edits are overwritten";
/// The beginning of the comment before a silo's lines.
const SILO: &str = "# silo ";
/// The lifetime of answers, in seconds: caches behind the server soon notice a change. Unbound's default is an hour.
const TTL: u32 = 60;

/// The lines of a silo.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) silo: SiloId,
    pub(crate) records: Records,
}

/// Whether this program wrote the file.
pub(crate) fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(HEAD.as_bytes())
}

/// The silos in a file of our own, in its order; `None` for other files. The second of two sections of one silo, and lines
/// in another form than ours, are skipped: someone edited the file.
pub(crate) fn sections(bytes: &[u8]) -> Option<Vec<Section>> {
    if !is_ours(bytes) {
        return None;
    }
    let mut found: Vec<Section> = Vec::new();
    let mut is_new = false;
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Some(id) = line.strip_prefix(SILO) {
            is_new = SiloId::parse(id).is_ok_and(|silo| {
                let is_new = found.iter().all(|section| section.silo != silo);
                if is_new {
                    let records = Records::new();
                    found.push(Section { silo, records });
                }
                is_new
            });
        } else if let Some((ip, name)) = read(line)
            && let Some(section) = found.last_mut().filter(|_| is_new)
        {
            section.records.entry(name).or_default().set(ip);
        }
    }
    Some(found)
}

/// The record of a line, in either format.
fn read(line: &str) -> Option<(IpAddr, Hostname)> {
    let (ip, name) = match line.strip_prefix("local-data: \"") {
        None => line.split_once(' ')?,
        Some(data) => {
            let fields: Vec<&str> = data.strip_suffix('"')?.split(' ').collect();
            match fields.as_slice() {
                [name, _ttl, "IN", "A" | "AAAA", ip] => (*ip, *name),
                _ => return None,
            }
        }
    };
    Some((parse_address(ip).ok()?, Hostname::parse(name).ok()?))
}

/// The file with these silos. Lines end with LF.
pub(crate) fn encode(
    format: Format,
    silos: &[(&SiloId, &Records)],
    suffix: Option<&Suffix>,
) -> Vec<u8> {
    let mut text = format!("{HEAD}{}{NOTE}\n", format.as_str());
    if format == Format::Unbound {
        text.push_str("server:\n");
    }
    let mut reversed = BTreeSet::new();
    for (silo, records) in silos {
        text.push_str(&format!("{SILO}{silo}\n"));
        let lines = lines(records, suffix);
        match format {
            Format::Hosts => {
                for Line { ip, name } in lines {
                    text.push_str(&format!("{ip} {name}\n"));
                }
            }
            Format::Unbound => unbound(&lines, &mut reversed, &mut text),
        }
    }
    text.into_bytes()
}

/// Local data, unbound.conf(5). A name consists of letters, digits, `-`, `_` and dots, so that quotes are enough.
///
/// Each name and each reverse name is a zone of its own, of type `transparent`: other types of the name are answered
/// with "no data", so that single-label names are not asked of the root servers and a public AAAA record does not
/// bypass the silo's A record; every other name is resolved as before. Without these lines, unbound would make one zone
/// of what all names have in common, for single labels the root.
///
/// `reversed` holds the addresses that have a PTR record already: two would be answered in any order. The first name of
/// an address gets it, as in a hosts file.
fn unbound(lines: &[Line<'_>], reversed: &mut BTreeSet<IpAddr>, text: &mut String) {
    let mut zones = BTreeSet::new();
    for Line { ip, name } in lines {
        if zones.insert(*name) {
            text.push_str(&format!("local-zone: \"{name}.\" transparent\n"));
        }
        let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
        text.push_str(&format!("local-data: \"{name}. {TTL} IN {kind} {ip}\"\n"));
        if reversed.insert(*ip) {
            let zone = reverse_name(*ip);
            text.push_str(&format!(
                "local-zone: \"{zone}\" transparent\nlocal-data-ptr: \"{ip} {TTL} {name}.\"\n"
            ));
        }
    }
}

/// The name of an address's PTR record (RFC 1035 section 3.5, RFC 3596 section 2.5), with the final dot.
fn reverse_name(ip: IpAddr) -> String {
    let mut name = String::new();
    let full = "a String takes every write";
    match ip {
        IpAddr::V4(ip) => {
            for byte in ip.octets().iter().rev() {
                write!(name, "{byte}.").expect(full);
            }
            name + "in-addr.arpa."
        }
        IpAddr::V6(ip) => {
            for byte in ip.octets().iter().rev() {
                write!(name, "{:x}.{:x}.", byte & 15, byte >> 4).expect(full);
            }
            name + "ip6.arpa."
        }
    }
}
/// Sections as [`encode`] takes them.
pub(crate) fn pairs(sections: &[Section]) -> Vec<(&SiloId, &Records)> {
    sections
        .iter()
        .map(|section| (&section.silo, &section.records))
        .collect()
}
